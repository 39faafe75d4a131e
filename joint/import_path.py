"""Objects outside the library, by their import path in a configuration."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from .settings import ConfigError

__all__ = ["Argument", "NotHere", "check_arguments", "imported"]

Argument: TypeAlias = bool | int | float | str
"""What a configuration can hand to what it names."""


class NotHere(ConfigError):
    """A module that cannot be imported on this machine, but perhaps on another."""


def imported(path: str, setting: str) -> object:
    """Import the object at a path.

    The object is not called: a configuration may come from a stranger.

    Parameters
    ----------
    path : str
        Module and name, as in an import.
    setting : str
        Dotted path of the setting, for messages.

    Raises
    ------
    NotHere
        When its module cannot be imported, whatever error that raises: it may need something that
        only another machine has.
    ConfigError
        When the module has no such name.
    """
    module, _, name = path.rpartition(".")
    try:
        home = importlib.import_module(module)
    except ImportError as error:
        raise NotHere(
            f"{setting}={path!r} cannot be imported: {error}; install its package, or name the "
            "folder that the module is in with PYTHONPATH"
        ) from error
    except Exception as error:
        raise NotHere(
            f"{setting}={path!r} cannot be imported: {module} raises {type(error).__name__}: "
            f"{error}"
        ) from error
    try:
        return getattr(home, name)
    except AttributeError as error:
        raise ConfigError(f"{setting}={path!r} cannot be imported: {error}") from error


def check_arguments(
    function: Callable[..., Any],
    given: Sequence[object],
    named: Mapping[str, object],
    *,
    path: str,
    setting: str,
) -> None:
    """Refuse arguments that a class or a function does not take.

    Parameters
    ----------
    function : callable
    given : sequence
        Its positional arguments.
    named : mapping
        Its keyword arguments.
    path : str
        Its import path.
    setting : str
        Dotted path of the setting that holds the named ones.

    Raises
    ------
    ConfigError
        With these arguments, and those that it takes.
    """
    signature = inspect.signature(function)
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        taken = [*signature.parameters][len(given) :]
        raise ConfigError(
            f"{path} does not take {dict(named)}: {error}; set {setting} from its "
            f"parameters, {', '.join(taken) or 'of which it has none'}"
        ) from error
