"""Results as JSON can hold them."""

from typing import Any

import numpy as np

from classify import Interval

__all__ = ["named", "plain"]


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """What JSON can hold: NaN becomes None, arrays and tuples lists."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value


def named(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Named tuples as dictionaries, but intervals as pairs."""
    if isinstance(value, Interval) or not isinstance(value, tuple):
        return value
    fields = getattr(value, "_fields", None)
    if fields is None:
        return [named(part) for part in value]
    return {name: named(part) for name, part in zip(fields, value, strict=True)}
