"""Warnings that point to the user's line of code that called this library."""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator

import torch

__all__ = ["caution", "told_once"]

# Modules that may be on the stack between the user's code and the function that warns.
_BETWEEN = (
    f"{os.path.dirname(__file__)}{os.sep}",
    f"{os.path.dirname(torch.__file__)}{os.sep}",
    contextlib.__file__,
)

_NUMBERS = re.compile(r"\d[\d.,]*(e[+-]?\d+)?")


def caution(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is not in this package, torch or contextlib.

    A fixed ``stacklevel`` would not do: a function is called in several ways within the package.

    Parameters
    ----------
    text : str
    category : type of Warning
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


@contextlib.contextmanager
def told_once(*, by_number: bool = False) -> Iterator[None]:
    """Show the first of several similar warnings, with their number.

    It is shown at the end of the block as by :func:`caution`, also if the block ends in an error.
    Warnings that filters ignore, or turn into an error, are handled at once. A function that
    evaluates hundreds of systems would otherwise bury its result in warnings.

    Parameters
    ----------
    by_number : bool
        Count warnings that differ only in their numbers separately; by default they are similar.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            # Added after the user's filters: warnings that those pass are counted.
            warnings.simplefilter("always", append=True)
            yield
    finally:
        alike: dict[tuple[type[Warning], str], list[str]] = {}
        for each in caught:
            text = str(each.message)
            key = text if by_number else _NUMBERS.sub("#", text)
            alike.setdefault((each.category, key), []).append(text)
        for (category, _), texts in alike.items():
            more = "" if len(texts) == 1 else f" ({len(texts)} warnings of this kind)"
            caution(texts[0] + more, category)
