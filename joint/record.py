"""Results as JSON."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from os import PathLike, fspath
from typing import Any

from classify import Interval

__all__ = ["Record", "as_json", "print_json"]


class Record:
    """A dataclass whose fields are its JSON."""

    def to_dict(self) -> dict[str, Any]:
        """The fields for JSON, by name: an interval as a pair, and None for NaN or infinity."""
        return _by_field(self)


def as_json(value: Any) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """A result as values of JSON; a number that is not finite becomes None.

    Parameters
    ----------
    value : object
        An object with ``to_dict`` becomes the result of that, another dataclass or named tuple a
        dictionary by field, an interval a pair; arrays and tensors become lists, and paths text.

    Returns
    -------
    object
        Dictionaries, lists, text, numbers, True, False and None.
    """
    if hasattr(value, "to_dict"):
        return as_json(value.to_dict())
    if is_dataclass(value):
        return _by_field(value)
    if isinstance(value, Mapping):
        return {key: as_json(part) for key, part in value.items()}
    if hasattr(value, "_asdict") and not isinstance(value, Interval):
        return as_json(value._asdict())
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    if hasattr(value, "tolist"):  # of NumPy or torch
        return as_json(value.tolist())
    if isinstance(value, PathLike):
        return fspath(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _by_field(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    return {each.name: as_json(getattr(value, each.name)) for each in fields(value)}


def print_json(value: object) -> None:
    """Print a result as JSON, see :func:`as_json`."""
    print(json.dumps(as_json(value), indent=2, allow_nan=False))
