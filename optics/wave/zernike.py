"""Zernike polynomials in Noll's order, with unit RMS over the unit disk.

R. J. Noll, J. Opt. Soc. Am. 66, 207-211 (1976). The angle is ``theta = atan2(y, x)``, with ``+x``
to the right (increasing column) and ``+y`` down (increasing row): Noll 2 rises to the right, Noll
3 downwards.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from optics.grid import coordinates
from optics.quantity import check_positive, image_size, index_of, whole_number

__all__ = [
    "ansi_to_noll",
    "chosen_indices",
    "fringe_to_noll",
    "nm_to_noll",
    "noll_to_ansi",
    "noll_to_nm",
    "zernike",
    "zernike_at",
    "zernike_basis",
]

# Number of fringe polynomials in the set of the University of Arizona.
_FRINGES = 37


def noll_to_nm(index: int) -> tuple[int, int]:
    """Radial order n and signed azimuthal frequency m of Noll's index ``j >= 1``.

    An even index is a cosine, ``m > 0``; an odd one a sine, ``m < 0`` (Noll 1976, eq. (1)).

    Parameters
    ----------
    index : int
        Noll's, from 1.

    Returns
    -------
    (int, int)

    Raises
    ------
    ValueError
        For an index below 1.
    """
    index = whole_number("noll_index", index)
    order = (math.isqrt(8 * index - 7) - 1) // 2
    place = index - order * (order + 1) // 2 - 1
    frequency = 2 * (place // 2) + 1 if order % 2 else 2 * ((place + 1) // 2)
    return order, -frequency if index % 2 else frequency


def nm_to_noll(order: int, frequency: int) -> int:
    """Noll's index of radial order n and signed azimuthal frequency m (cosine for ``m > 0``).

    Parameters
    ----------
    order : int
        Radial order n.
    frequency : int
        Azimuthal frequency m.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        Unless they are whole numbers, ``|m| <= n`` and ``n - |m|`` is even.
    """
    whole = index_of(order) is not None and index_of(frequency) is not None
    size = abs(frequency) if whole else 0
    if not whole or order < 0 or size > order or (order - size) % 2:
        raise ValueError(
            "order and frequency must be whole numbers with |m| <= n and n - |m| even, not n = "
            f"{order}, m = {frequency}"
        )
    first = order * (order + 1) // 2 + 1
    if frequency == 0:
        return first
    # The pair of a frequency stands next to each other; the even one is the cosine.
    index = first + size - 1
    return index if (index % 2 == 0) == (frequency > 0) else index + 1


def noll_to_ansi(index: int) -> int:
    """Index of ANSI Z80.28, ``(n (n + 2) + m) / 2`` from 0, of Noll's index from 1.

    Both sets have unit RMS and the cosine for ``m > 0``, so that a coefficient keeps its value.
    (In ANSI drawings y points up: there the sines have the opposite sign.)

    Parameters
    ----------
    index : int
        Noll's, from 1.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        For an index below 1.
    """
    order, frequency = noll_to_nm(index)
    return (order * (order + 2) + frequency) // 2


def ansi_to_noll(index: int) -> int:
    """Noll's index, from 1, of an index of ANSI Z80.28, from 0.

    Parameters
    ----------
    index : int
        Of ANSI, from 0.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        For an index below 0.
    """
    index = whole_number("index of ANSI Z80.28", index, least=0)
    order = (math.isqrt(8 * index + 1) - 1) // 2
    return nm_to_noll(order, 2 * index - order * (order + 2))


def fringe_to_noll(index: int) -> int:
    """Noll's index, from 1, of a fringe index of the University of Arizona, 1 to 37.

    Fringe polynomials are ordered by ``n + |m|``, up to 10, with the larger frequency and the
    cosine first; the last, 37, is the spherical one of order 12 (Wyant and Creath, Applied Optics
    and Optical Engineering 11, 1992, table III).

    Parameters
    ----------
    index : int
        Fringe, 1 to 37: piston, tilt x, tilt y, defocus, astigmatism, ...

    Returns
    -------
    int

    Raises
    ------
    ValueError
        For an index outside of 1 to 37.

    Notes
    -----
    A fringe polynomial is 1 at the rim instead of having unit RMS: divide a fringe coefficient by
    ``sqrt(n + 1)`` for ``m = 0``, or by ``sqrt(2 (n + 1))`` otherwise, to get the coefficient of
    Noll's index. (If the instrument's y points up, the sines have the opposite sign.)
    """
    index = whole_number("fringe index", index)
    if index > _FRINGES:
        raise ValueError(f"fringe index must be from 1 to {_FRINGES}, not {index}")
    if index == _FRINGES:
        return nm_to_noll(12, 0)
    # Group g, of n + |m| = 2 g, ends with the square of g + 1, which has m = 0.
    group = math.isqrt(index - 1)
    left = (group + 1) ** 2 - index
    frequency = (left + 1) // 2
    return nm_to_noll(2 * group - frequency, -frequency if left % 2 else frequency)


def zernike(noll_index: int, rho: Tensor, theta: Tensor) -> Tensor:
    """Zernike polynomial with unit RMS over the unit disk, 0 outside of it.

    ``sqrt(n + 1) R_n^0(rho)`` for ``m = 0``, otherwise ``sqrt(2 (n + 1)) R_n^m(rho)`` times
    ``cos(m theta)`` for even or ``sin(m theta)`` for odd indices (Noll 1976, eqs. (1)-(2)).

    Parameters
    ----------
    noll_index : int
        From 1: piston, tilt x, tilt y, defocus, ...
    rho : Tensor of any shape
        Radius as a fraction of the disk's, not negative.
    theta : Tensor of any shape
        Angle ``atan2(y, x)``, radians; broadcasts with ``rho``.

    Returns
    -------
    Tensor of the broadcast shape, with gradients to both. Computed in float64, rounded once.

    Raises
    ------
    ValueError
        For an index below 1, or arguments that are not real floating point or do not broadcast.

    Notes
    -----
    ``R_n^m = rho^m P_k^(0,m)(2 rho^2 - 1)``, ``k = (n - m) / 2``, by the three-term recurrence of
    the Jacobi polynomials (DLMF 18.9.2), which keeps 1e-12 where the sum of powers with its
    alternating factorials loses all digits above n = 40.
    """
    whole_number("noll_index", noll_index)
    for name, value in (("rho", rho), ("theta", theta)):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name} must be a real floating-point tensor, not {kind}")
    try:
        torch.broadcast_shapes(rho.shape, theta.shape)
    except RuntimeError:
        raise ValueError(
            f"rho and theta must broadcast, not {tuple(rho.shape)} and {tuple(theta.shape)}"
        ) from None
    dtype = torch.promote_types(rho.dtype, theta.dtype)
    return _inside(noll_index, rho.double(), theta.double(), 1.0).to(dtype)


def zernike_at(indices: Sequence[int], y: Tensor, x: Tensor, *, rim: float | Tensor) -> Tensor:
    """Polynomials at places in radii of the disk, ``[J, ...]``: continued to ``rim``, 0 beyond."""
    y, x = torch.broadcast_tensors(y, x)
    rho, theta = torch.hypot(y, x), torch.atan2(y, x)
    return torch.stack([_inside(index, rho, theta, rim) for index in indices])


def chosen_indices(indices: object, count: int) -> tuple[int, ...]:
    """Noll's indices of a sequence, or the first ``count`` of them where there is none.

    A TypeError for what is no sequence, a ValueError for what is no index.
    """
    if indices is None:
        return tuple(range(1, count + 1))
    text = isinstance(indices, str)
    if not isinstance(indices, Iterable) or text or getattr(indices, "ndim", 1) == 0:
        raise TypeError(f"indices must be a sequence of Noll's, such as [4, 11], not {indices!r}")
    return tuple(whole_number("each of indices", index) for index in indices)


def zernike_basis(
    indices: int | Sequence[int],
    size: int | tuple[int, int],
    *,
    diameter: float | Tensor,
    spacing: float | Tensor,
    soft_edge: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Zernike polynomials sampled on the grid ``(i - N // 2) * spacing``.

    Parameters
    ----------
    indices : int or sequence of int
        Number of polynomials, from Noll index 1 on; or a sequence of Noll indices.
    size : int or (int, int)
        Samples (H, W).
    diameter, spacing : float or Tensor (scalar)
        Diameter of the disk and sampling interval, metres.
    soft_edge : bool
        Continue the polynomials by ``sqrt(1/2)`` samples beyond the rim, as far as the soft edge of
        :func:`~optics.wave.aperture.circular_aperture` of the same diameter extends.
    device, dtype
        Of the result: by default the device of a tensor among the arguments, and
        ``torch.get_default_dtype()``. It is computed in float64 and rounded once.

    Returns
    -------
    Tensor ``[J, H, W]``
        Polynomials with unit RMS over the disk and 0 outside, so that the RMS of a sum is the norm
        of its coefficients. Due to sampling, inner products (means over the samples in the disk)
        have errors: with N samples across, 24 or more, up to ``3.5 / N`` among the first 11,
        ``5 / N`` among 21, ``7.5 / N`` among 37 and ``18 / N`` among 66.

    Raises
    ------
    TypeError
        For indices that are neither a whole number nor a sequence.
    ValueError
        For an empty sequence or an index below 1, a size that is not positive, or lengths that are
        not positive scalars.
    """
    # Of numpy's too; a tensor of one index is no count.
    count = index_of(indices) if getattr(indices, "ndim", 0) == 0 else None
    numbers = chosen_indices(indices, 0) if count is None else range(1, count + 1)
    if not numbers:
        raise ValueError(f"indices must hold at least one polynomial, not {indices}")
    height, width = image_size(size)
    for name, value in (("diameter", diameter), ("spacing", spacing)):
        check_positive(name, value, "metres")
        if isinstance(value, Tensor):
            if value.ndim:
                raise ValueError(f"{name} must be a scalar, in metres, not {tuple(value.shape)}")
            device = value.device if device is None else device
    y = coordinates(height, device=device)[:, None]
    x = coordinates(width, device=device)
    diameter, spacing = (
        v.to(device=device, dtype=torch.float64) if isinstance(v, Tensor) else v
        for v in (diameter, spacing)
    )
    step = 2 * spacing / diameter
    rim = 1.0 + math.sqrt(0.5) * step if soft_edge else 1.0
    # Angles and distances in samples are constants: no gradient passes the origin's square root.
    rho, theta = torch.hypot(y, x) * step, torch.atan2(*torch.broadcast_tensors(y, x))
    planes = [_inside(number, rho, theta, rim) for number in numbers]
    return torch.stack(planes).to(dtype or torch.get_default_dtype())


def _inside(index: int, rho: Tensor, theta: Tensor, rim: float | Tensor) -> Tensor:
    """Polynomial up to ``rim``, 0 beyond."""
    order, frequency = noll_to_nm(index)
    inside = ~(rho > rim)  # what is no number stays none
    # Far outside a power overflows, and 0 times infinity would be the gradient.
    radial = _radial(order, abs(frequency), torch.where(inside, rho, 0.0))
    if frequency == 0:
        values = math.sqrt(order + 1) * radial + 0.0 * theta
    else:
        angle = abs(frequency) * theta
        wave = torch.cos(angle) if frequency > 0 else torch.sin(angle)
        values = math.sqrt(2 * (order + 1)) * radial * wave
    return torch.where(inside, values, 0.0)


def _radial(order: int, frequency: int, rho: Tensor) -> Tensor:
    """``R_n^m(rho) = rho^m P_k^(0,m)(2 rho^2 - 1)``, which is 1 at the rim."""
    x = 2 * rho * rho - 1
    # A piston too stays part of the graph, with gradient 0.
    m, before, value = frequency, torch.zeros_like(rho), 1.0 + 0.0 * rho
    for k in range((order - frequency) // 2):
        # DLMF 18.9.2 with alpha = 0, beta = m.
        if k == 0:
            slope, shift, back = (m + 2) / 2, -m / 2, 0.0
        else:
            scale = 2 * (k + 1) * (k + m + 1) * (2 * k + m)
            slope = (2 * k + m + 1) * (2 * k + m + 2) * (2 * k + m) / scale
            shift = -(2 * k + m + 1) * m * m / scale
            back = 2 * k * (k + m) * (2 * k + m + 2) / scale
        before, value = value, (slope * x + shift) * value - back * before
    return value * rho**frequency if frequency else value
