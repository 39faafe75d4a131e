"""Sampling grids and transform sizes.

Every grid of this package is ``(i - N // 2) * spacing``: the origin falls on a sample, also for
an even number of samples.
"""

import torch
from torch import Tensor

from .quantity import check_positive, check_scalar, index_of

__all__ = ["coordinates", "fast_size", "frequencies", "is_smooth"]


def coordinates(
    size: int,
    *,
    spacing: float = 1.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Positions ``(i - size // 2) * spacing`` of the samples.

    Parameters
    ----------
    size : int
        Samples.
    spacing : float
        Sampling interval, in metres or pixels: the unit of the result.
    device, dtype : optional
        Of the result.

    Returns
    -------
    Tensor ``[size]``

    Raises
    ------
    TypeError
        For a spacing that is not one number.
    ValueError
        For a size that is not a whole number of at least 1.
    """
    size = _samples("size", size)
    if not torch.compiler.is_compiling():
        check_scalar("spacing", spacing, "metres or pixels")
    return (torch.arange(size, device=device, dtype=dtype) - size // 2) * spacing


def frequencies(
    size: int,
    *,
    spacing: float = 1.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Centred frequencies ``(i - size // 2) / (size * spacing)``.

    Parameters
    ----------
    size : int
        Samples.
    spacing : float
        Sampling interval, in metres or pixels.
    device, dtype : optional
        Of the result.

    Returns
    -------
    Tensor ``[size]``, cycles per unit of the spacing

    Raises
    ------
    TypeError
        For a spacing that is not one number.
    ValueError
        For a size that is not a whole number of at least 1, or a spacing that is not positive.
    """
    size = _samples("size", size)
    if not torch.compiler.is_compiling():
        check_scalar("spacing", spacing, "metres or pixels")
        check_positive("spacing", spacing, "metres or pixels")
    return coordinates(size, spacing=1.0 / (size * spacing), device=device, dtype=dtype)


def fast_size(minimum: int) -> int:
    """Return the smallest even number >= ``minimum`` with no prime factor above 5.

    Transforms of such sizes are up to six times faster than their odd or prime neighbours, and
    an even last dimension lets a real transform drop exactly half of the spectrum.

    Raises
    ------
    ValueError
        For a minimum that is not a whole number of at least 1.
    """
    minimum = _samples("minimum", minimum)
    size = minimum + minimum % 2
    while not is_smooth(size):
        size += 2
    return size


def _samples(name: str, given: int) -> int:
    if torch.compiler.is_compiling():
        return given  # reading a size would compile for this size only
    samples = index_of(given)
    if samples is None or samples < 1:
        raise ValueError(f"{name} must be a whole number, at least one sample, not {given}")
    return samples


def is_smooth(number: int) -> bool:
    """Whether a number has no prime factor above 5."""
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1
