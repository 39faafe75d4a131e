"""What is outside of the library, by its import path in a configuration."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from .settings import ConfigError

__all__ = ["Argument", "check_arguments", "imported"]

Argument: TypeAlias = bool | int | float | str
"""What a configuration can hand to what it names."""


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
    ConfigError
        Where it cannot be imported; the cause is the import's own error.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{setting}={path!r} cannot be imported: {error}; install its package, or name the "
            "folder that the module is in with PYTHONPATH"
        ) from error


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
