"""Warnings that say the same of many devices or levels, told once."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["told_once"]

_NUMBERS = re.compile(r"\d[\d.,]*(e[+-]?\d+)?")


@contextmanager
def told_once() -> Iterator[None]:
    """Tell of warnings that differ in their numbers alone the first, and how many there were.

    Afterwards, at the caller of who uses this, also where that ends in an error. What filters leave
    out, or make an error, they do at once. A function that evaluates hundreds of systems would bury
    its result in them.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield
    finally:
        alike: dict[tuple[type[Warning], str], list[str]] = {}
        for each in caught:
            text = str(each.message)
            alike.setdefault((each.category, _NUMBERS.sub("#", text)), []).append(text)
        for (category, _), texts in alike.items():
            more = "" if len(texts) == 1 else f" ({len(texts)} warnings of this kind)"
            warnings.warn(texts[0] + more, category, stacklevel=4)  # this, contextlib, its user
