"""A stage whose class is outside of the library, by its import path.

::

    "mylab.filters.ColourFilter" ──import──► class of the stage ──init_args──► the stage
"""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field
from torch import nn

import compress
import optics
from joint.import_path import Argument, NotHere, check_arguments, imported
from joint.settings import ConfigError, FrozenDict, Settings
from joint.stages import Stage, check_stage

__all__ = ["CustomConfig", "build_custom", "check_custom"]

_Module = TypeVar("_Module", bound=nn.Module)

# What the classes are of.
_BASES: dict[type[nn.Module], str] = {
    optics.FrontEnd: "optics.FrontEnd",
    compress.Codec: "compress.Codec",
    nn.Module: "torch.nn.Module",
}
# What scenes and other stages decide, of one stage or another.
_DECIDED = ("image_size", "channels", "in_channels", "scene_size", "out_channels", "classes")


class CustomConfig(Settings):
    """A class of your own that Python can import.

    Of ``optics.FrontEnd`` for a front end, of ``compress.Codec`` for a codec, and of
    ``torch.nn.Module`` for a restoration or a classifier.

    A run folder holds its weights and this path, not its code: whoever loads the run needs the
    module, and a run is not trained anew because the code has changed.
    """

    kind: Literal["custom"] = "custom"
    class_path: str = Field(default="", pattern=r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)+)?$")
    """Its module and its name, as in an import: mylab.filters.ColourFilter."""
    init_args: Annotated[dict[str, Argument], AfterValidator(FrozenDict)] = FrozenDict()
    """What it is made with. Unless given here, parameters of these names are told what scenes and
    other stages decide: image_size, (H, W), and channels or in_channels of what it is shown; a
    restoration also those of the scene, scene_size and out_channels; a classifier classes, how
    many there are."""


def build_custom(
    config: CustomConfig, base: type[_Module], stage: Stage, **decided: int | tuple[int, int]
) -> _Module:
    """Import the class of a configuration, and make a stage of it.

    Parameters
    ----------
    config : CustomConfig
    base : type
        What the class must be of.
    stage : str
        Which stage it is, for messages.
    **decided : int or (int, int)
        What scenes and other stages decide, by the names of parameters that ask for it.

    Returns
    -------
    nn.Module
        Of the class ``base``.

    Raises
    ------
    ConfigError
        Without a path, for one that cannot be imported or is no class of ``base``, for methods and
        attributes that it lacks, and for arguments that it does not take.
    """
    kind = _imported(config.class_path, base, stage)
    made = kind(**_arguments(kind, config, stage, decided))
    try:
        check_stage(stage, made)
    except TypeError as error:
        raise ConfigError(f"{stage}.class_path={config.class_path!r}: {error}") from error
    return made


def check_custom(config: CustomConfig, stage: Stage) -> None:
    """Refuse arguments that the class of a configuration does not take, before it is made.

    Where its package is not installed here, nothing is said: it may be where the stage is made.

    Parameters
    ----------
    config : CustomConfig
    stage : str
        Which stage it is.

    Raises
    ------
    ConfigError
        As :func:`build_custom`.
    """
    base = {"front_end": optics.FrontEnd, "codec": compress.Codec}.get(stage, nn.Module)
    try:
        kind = _imported(config.class_path, base, stage)
    except NotHere:
        return
    _arguments(kind, config, stage, dict.fromkeys(_DECIDED, "as the scenes are"))


def _arguments(
    kind: type[nn.Module],
    config: CustomConfig,
    stage: Stage,
    decided: Mapping[str, object],
) -> dict[str, Any]:
    """What the class ``kind`` is made with; a ConfigError for what it does not take."""
    taken = inspect.signature(kind).parameters
    arguments = {**{name: decided[name] for name in decided if name in taken}, **config.init_args}
    check_arguments(kind, (), arguments, path=config.class_path, setting=f"{stage}.init_args")
    return arguments


def _imported(path: str, base: type[_Module], stage: Stage) -> type[_Module]:
    if not path:
        raise ConfigError(
            f"{stage}.kind='custom' needs {stage}.class_path, the module and the name of a class, "
            "such as mylab.filters.ColourFilter"
        )
    found = imported(path, f"{stage}.class_path")
    # Nothing else is called: a configuration may come from a stranger.
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{stage}.class_path={path!r} must be a class of {_BASES[base]}")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ConfigError(
            f"{stage}.class_path={path!r} is not written to the end: it has no {missing}"
        )
    return found
