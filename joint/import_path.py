"""What is outside of the library, by its import path in a configuration."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from .settings import ConfigError

__all__ = ["Argument", "NotHere", "check_arguments", "imported"]

Argument: TypeAlias = bool | int | float | str
"""What a configuration can hand to what it names."""


class NotHere(ConfigError):
    """What cannot be imported on this machine, and perhaps on another."""


def imported(path: str, setting: str) -> object:
    """What Python finds at a path.

    Nothing of it is called: a configuration may come from a stranger.

    Parameters
    ----------
    path : str
        Module and name, as in an import.
    setting : str
        Dotted path of the setting, for messages.

    Raises
    ------
    NotHere
        Where its module cannot be imported, whatever that raises: it may do anything, and need
        what another machine has.
    ConfigError
        Where the module has no such name.
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
        What it is handed in order.
    named : mapping
        What it is handed by name.
    path : str
        Where it was found.
    setting : str
        Dotted path of the setting that holds the named ones.

    Raises
    ------
    ConfigError
        Which ones, and those that it takes.
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
