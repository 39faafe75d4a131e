"""Each design on two made-up pictures, before hours of training: whether its system works."""

import warnings
from collections.abc import Sequence

import torch

from joint.config.run import RunConfig
from joint.run.build import build_system
from joint.settings import ConfigError

from .ahead import TOLD_BY_FILES, scenes_of
from .axis import Design
from .space import levels_shown

__all__ = ["rehearse"]

_CLASSES = 7  # where nobody knows yet; no stage's shape depends on it but the last layer's


def rehearse(designs: Sequence[Design], configs: Sequence[RunConfig]) -> int:
    """Build every system and let two grey pictures through, of those that the data will have.

    Parameters
    ----------
    designs : sequence of dict
    configs : sequence of RunConfig
        One for each.

    Returns
    -------
    int
        Designs that were tried: those whose configuration tells the size of their scenes, and
        whose files are here.

    Raises
    ------
    ConfigError
        Which design, and why: every run of it would fail.
    """
    tried: dict[str, None] = {}
    count = 0
    for design, config in zip(designs, configs, strict=True):
        if isinstance(config.data, TOLD_BY_FILES):
            continue
        if not all(path.exists() for path in config.system.files()):
            continue  # where the workers are, they may be there
        count += 1
        size, channels = scenes_of(config)
        key = f"{config.system.model_dump_json(exclude={'seed'})}{size}{channels}"
        if key in tried:
            continue
        tried[key] = None
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                system = build_system(
                    config.system, image_size=size, channels=channels, classes=_CLASSES
                ).eval()
                scenes = torch.full((2, channels, *size), 0.5)
                system(scenes, generator=torch.Generator().manual_seed(0))
        except MemoryError:
            raise
        except Exception as error:
            raise ConfigError(
                f"the design {levels_shown(design)} fails on pictures of {size[0]} x {size[1]}, "
                f"and so would every run of it: {error}"
            ) from error
    return count
