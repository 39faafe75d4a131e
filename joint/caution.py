"""Warnings that are told where they can be acted on: at the line that called this library."""

import contextlib
import os
import sys
import warnings

import torch

__all__ = ["caution"]

# What may stand between a caller and the function that warns.
_BETWEEN = (
    f"{os.path.dirname(__file__)}{os.sep}",
    f"{os.path.dirname(torch.__file__)}{os.sep}",
    contextlib.__file__,
)


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
