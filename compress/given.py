"""Arguments that are numbers: the one rule of all codecs, by which True is none."""

import operator
from numbers import Real
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

__all__ = ["is_number", "whole_number"]


def is_number(value: object) -> bool:
    """Whether a value is one real number; True and False are none.

    NumPy scalars and 0-d arrays and tensors count.
    """
    if isinstance(value, Tensor):
        return value.ndim == 0 and not value.is_complex() and value.dtype != torch.bool
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "iuf"
    return isinstance(value, Real) and not isinstance(value, bool)


def whole_number(
    name: str, value: SupportsIndex, low: int, high: int, *, otherwise: str = ""
) -> int:
    """Return ``value`` as an int, or raise a ValueError unless it is one of ``low`` to ``high``.

    NumPy integers are accepted; floats are not, not even 4.0, nor is True. ``otherwise`` is text
    for the error, of what else is allowed.
    """
    try:
        whole = operator.index(value) if is_number(value) else low - 1
    except TypeError:
        whole = low - 1
    if not low <= whole <= high:
        raise ValueError(
            f"{name} must be a whole number of {low} to {high}{otherwise}, got {value!r}."
        )
    return whole
