"""Warnings that are told where they can be acted on: at the line that called this library."""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator

import torch

__all__ = ["caution", "told_once"]

# What may stand between a caller and the function that warns.
_BETWEEN = (
    f"{os.path.dirname(__file__)}{os.sep}",
    f"{os.path.dirname(torch.__file__)}{os.sep}",
    contextlib.__file__,
)

_NUMBERS = re.compile(r"\d[\d.,]*(e[+-]?\d+)?")


def caution(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is of neither this package, torch nor contextlib.

    A count of frames would be of one way here alone, and a function is called from several.

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
    """Tell of warnings that are alike the first, and how many there were.

    Afterwards, as :func:`caution` does, also where that ends in an error. What filters leave out,
    or make an error, they do at once. A function that evaluates hundreds of systems would bury its
    result in them.

    Parameters
    ----------
    by_number : bool
        Tell of each number: by default those are alike that differ in their numbers alone.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            # Behind the user's filters: all that they let pass are counted.
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
