"""Reading of JSON as this library writes it, and of TOML; a ValueError for anything else."""

import json
import math
import tomllib
from typing import Any, TypeGuard

__all__ = ["is_number", "parse_json", "parse_toml", "with_nulls"]


def parse_json(content: bytes | str) -> Any:  # noqa: ANN401 - whatever JSON says
    """Value of a JSON document.

    Raises
    ------
    ValueError
        For anything else: broken or nested beyond what Python can follow, NaN, an infinity, a
        number that a float64 does not hold, or text that no UTF-8 can write.
    """
    try:
        value = json.loads(content, parse_float=_number, parse_int=_integer, parse_constant=_number)
        if isinstance(content, str) or b"\\ud" in content.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_toml(content: bytes) -> dict[str, Any]:
    """Tables of a TOML document.

    Raises
    ------
    ValueError
        For anything else: broken, nested beyond what Python can follow, or no UTF-8.
    """
    try:
        return tomllib.loads(content.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def with_nulls(value: Any) -> Any:  # noqa: ANN401
    """The same value with None for each word ``"null"``, as TOML has no null."""
    if isinstance(value, dict):
        return {key: with_nulls(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_nulls(inner) for inner in value]
    return None if value == "null" else value


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number as in JSON; True is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{_shortened(text)} is no number that JSON allows")
    return value


def _integer(text: str) -> int:
    _number(text)
    return int(text)


def _shortened(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:12]}... ({len(text)} characters)"
