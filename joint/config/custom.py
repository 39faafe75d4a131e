"""A stage whose class is outside the library and is given by its import path.

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

# Base classes, as messages name them.
_BASES: dict[type[nn.Module], str] = {
    optics.FrontEnd: "optics.FrontEnd",
    compress.Codec: "compress.Codec",
    nn.Module: "torch.nn.Module",
}
# Arguments whose values follow from the scenes and the other stages.
_DECIDED = ("image_size", "channels", "in_channels", "scene_size", "out_channels", "classes")


class CustomConfig(Settings):
    """A class of your own that Python can import.

    It is a subclass of ``optics.FrontEnd`` for a front end, of ``compress.Codec`` for a codec, and
    of ``torch.nn.Module`` for a restoration or a classifier.

    A run folder holds its weights and this path, not its code: loading the run needs the module,
    and a change of the code does not cause a new training.
    """

    kind: Literal["custom"] = "custom"
    class_path: str = Field(default="", pattern=r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)+)?$")
    """Module and name of the class, as in an import: mylab.filters.ColourFilter."""
    init_args: Annotated[dict[str, Argument], AfterValidator(FrozenDict)] = FrozenDict()
    """Arguments of the constructor. Unless given here, parameters with these names are filled in:
    image_size, (H, W), and channels or in_channels of its input; for a restoration also scene_size
    and out_channels, those of the scene; for a classifier also classes, their number."""


def build_custom(
    config: CustomConfig, base: type[_Module], stage: Stage, **decided: int | tuple[int, int]
) -> _Module:
    """Import the class of a configuration, and construct the stage.

    Parameters
    ----------
    config : CustomConfig
    base : type
        Required base class.
    stage : str
        Name of the stage, for messages.
    **decided : int or (int, int)
        Values from the scenes and other stages, by parameter name; the class takes any of them.

    Returns
    -------
    nn.Module
        An instance of ``base``.

    Raises
    ------
    ConfigError
        When the path is empty, cannot be imported or is no subclass of ``base``, when methods or
        attributes are missing, and for arguments that the class does not take.
    """
    kind = _imported(config.class_path, base, stage)
    made = kind(**_arguments(kind, config, stage, decided))
    try:
        check_stage(stage, made)
    except TypeError as error:
        raise ConfigError(f"{stage}.class_path={config.class_path!r}: {error}") from error
    return made


def check_custom(config: CustomConfig, stage: Stage) -> None:
    """Refuse arguments that the class of a configuration does not take, before construction.

    If its package is not installed, nothing is checked: the stage may be built elsewhere.

    Parameters
    ----------
    config : CustomConfig
    stage : str
        Name of the stage.

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
    """Arguments for the class ``kind``; a ConfigError for those that it does not take."""
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
    # Only subclasses of the base are called: a configuration may come from a stranger.
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{stage}.class_path={path!r} must be a subclass of {_BASES[base]}")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ConfigError(
            f"{stage}.class_path={path!r} is an abstract class: it does not implement {missing}"
        )
    return found
