"""Pass two artificial pictures through each design, to check it before hours of training."""

import warnings
from collections.abc import Sequence

import torch

from joint.config.run import RunConfig
from joint.run.build import build_system
from joint.settings import ConfigError

from .axis import Design
from .preflight import SIZE_IN_FILES, scenes_of
from .space import levels_shown

__all__ = ["rehearse"]

_CLASSES = 7  # if not known yet; only the last layer's shape depends on it


def rehearse(designs: Sequence[Design], configs: Sequence[RunConfig]) -> int:
    """Build every system and pass two grey pictures through it, of the size of the data.

    Parameters
    ----------
    designs : sequence of dict
    configs : sequence of RunConfig
        Configuration of each design.

    Returns
    -------
    int
        Number of designs that were tried: those whose configuration gives the size of their scenes
        and whose files are on this machine.

    Raises
    ------
    ConfigError
        With the design and the reason: every run of it would fail.
    """
    tried: dict[str, None] = {}
    count = 0
    for design, config in zip(designs, configs, strict=True):
        if isinstance(config.data, SIZE_IN_FILES):
            continue
        if not all(path.exists() for path in config.system.files()):
            continue  # the files may be on the machines of the workers
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
