"""Results as JSON can hold them."""

from typing import Any

from classify import Interval
from classify.metrics import plain

__all__ = ["named", "plain"]


def named(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Named tuples as dictionaries, but intervals as pairs."""
    if isinstance(value, Interval) or not isinstance(value, tuple):
        return value
    fields = getattr(value, "_fields", None)
    if fields is None:
        return [named(part) for part in value]
    return {name: named(part) for name, part in zip(fields, value, strict=True)}
