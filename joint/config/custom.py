"""A camera element whose class is outside of the library, by its import path.

::

    "mylab.filters.ColourFilter" ──import──► class of optics.FrontEnd ──init_args──► the element
"""

import importlib
import inspect
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

import optics
from joint.settings import ConfigError, FrozenDict, Settings

__all__ = ["CustomConfig", "build_custom"]

_Argument: TypeAlias = bool | int | float | str


class CustomConfig(Settings):
    """A class of your own, of optics.FrontEnd, that Python can import.

    A run folder holds its weights and this path, not its code: whoever loads the run needs the
    module, and a run is not trained anew because the code has changed.
    """

    kind: Literal["custom"] = "custom"
    class_path: str = Field(default="", pattern=r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)+)?$")
    """Its module and its name, as in an import: mylab.filters.ColourFilter."""
    init_args: Annotated[dict[str, _Argument], AfterValidator(FrozenDict)] = FrozenDict()
    """What it is made with. Parameters that are called image_size, (H, W), and channels are those
    of the scenes, unless they are given here."""


def build_custom(
    config: CustomConfig, image_size: tuple[int, int], channels: int
) -> optics.FrontEnd:
    """Import the class of a configuration, and make its element.

    Parameters
    ----------
    config : CustomConfig
    image_size : (int, int), pixels
        Height and width of the scenes.
    channels : int
        Of the scenes.

    Returns
    -------
    optics.FrontEnd

    Raises
    ------
    ConfigError
        Without a path, for one that cannot be imported or is no class of ``optics.FrontEnd``, and
        for arguments that it does not take.
    """
    kind = _imported(config.class_path)
    taken = inspect.signature(kind).parameters
    scenes = {"image_size": image_size, "channels": channels}
    arguments = {name: scenes[name] for name in scenes if name in taken} | config.init_args
    try:
        inspect.signature(kind).bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"{config.class_path} cannot be made with {arguments}: {error}; set "
            f"front_end.init_args from its parameters, {', '.join(taken) or 'of which it has none'}"
        ) from error
    return kind(**arguments)


def _imported(path: str) -> type[optics.FrontEnd]:
    module, _, name = path.rpartition(".")
    if not module:
        raise ConfigError(
            "front_end.kind='custom' needs front_end.class_path, the module and the name of a "
            "class, such as mylab.filters.ColourFilter"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"front_end.class_path={path!r} cannot be imported: {error}; install its package, or "
            "name the folder that the module is in with PYTHONPATH"
        ) from error
    # Nothing else is called: a configuration may come from a stranger.
    if not (isinstance(found, type) and issubclass(found, optics.FrontEnd)):
        raise ConfigError(f"front_end.class_path={path!r} must be a class of optics.FrontEnd")
    return found
