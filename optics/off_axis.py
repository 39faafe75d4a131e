"""Wavefronts off the axis: Zernike coefficients in places of the picture.

::

    Seidel's terms ────────seidel_coefficients──┐
    table along a radius ──field_coefficients───┴─► [P, Q, L or 1, J] ──Aberration──► Pupil
                                                                      ──► VaryingImaging

The places span the picture from the first pixel to the last, and a height is 1 at its corners. Axes
of picture and pupil are parallel, as +x and +y of the image: light that lags in the half of the
pupil towards +x goes towards +x.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .quantity import (
    as_numbers,
    as_real,
    check_finite,
    check_real,
    check_scalar,
    full_precision,
    image_size,
    looked_at,
)
from .zernike import chosen_indices, nm_to_noll, noll_to_nm

__all__ = ["field_coefficients", "seidel_coefficients"]


def seidel_coefficients(
    places: int | tuple[int, int],
    *,
    size: int | tuple[int, int],
    spherical: float | Tensor = 0.0,
    coma: float | Tensor = 0.0,
    astigmatism: float | Tensor = 0.0,
    field_curvature: float | Tensor = 0.0,
    defocus: float | Tensor = 0.0,
    tilt: float | Tensor = 0.0,
) -> Tensor:
    """Zernike coefficients of Seidel's aberrations in places of the picture.

    ``W = W040 r^4 + W131 r^2 (h . r) + W222 (h . r)^2 + W220 h^2 r^2 + W020 r^2 + W111 (h . r)``
    with the point r of the pupil, 1 at its rim, and h of the picture, 1 at its corners (Born and
    Wolf, Principles of Optics, sec. 5.3; Wyant and Creath, Applied Optics and Optical Engineering
    11, 1992, sec. III, have the coefficients): written in Zernike polynomials it is exact.

    Parameters
    ----------
    places : int or (int, int)
        How many (P, Q), two or more along each side, of which the first and the last lie on the
        picture's border.
    size : int or (int, int), pixels
        Height and width of the picture: their ratio counts.
    spherical, coma, astigmatism, field_curvature : float or Tensor, scalar or ``[L]``, metres
        W040, W131, W222 and W220: optical path at the rim of the pupil for a corner of the
        picture; half a wave is ``0.5 * 550e-9``. ``[L]`` are those of each wavelength. Light that
        lags at the rim, W > 0, has its focus behind the sensor, and positive coma flares away from
        the axis, and moves the mean of the light by as much as a tilt of W131, or of
        ``(1 + e**2) W131`` with a central stop of e of the diameter: the opposite tilt takes it
        back. W220 is the sagittal one, Petzval's and half of W222.
    defocus, tilt : float or Tensor, scalar or ``[L]``, metres
        W020 and W111, which with ``[L]`` are axial and lateral colour: a tilt of W moves the corner
        outwards by ``2 W N`` with the working f-number N, :attr:`Pupil.image_distance` over the
        diameter. PSFs that move magnify the picture, and change the irradiance of an even scene by
        the ratio of the areas. Distortion moves farther, and is :class:`Projection`'s.

    Returns
    -------
    Tensor ``[P, Q, L or 1, 11]``, metres RMS
        Of Noll's 1 to 11, as :class:`Aberration` takes them, with gradients to all tensors.

    Raises
    ------
    ValueError
        For fewer than two places along a side, or terms that are not finite, or not one number or
        one for each wavelength.
    """
    named = {
        "spherical": spherical,
        "coma": coma,
        "astigmatism": astigmatism,
        "field_curvature": field_curvature,
        "defocus": defocus,
        "tilt": tilt,
    }
    terms = [_term(name, value) for name, value in named.items()]
    if len({len(term) for term in terms if len(term) > 1}) > 1:
        given = ", ".join(f"{len(term)} of {name}" for name, term in zip(named, terms, strict=True))
        raise ValueError(f"terms must be one number or one for each wavelength, not {given}")
    dtype = torch.get_default_dtype()
    for value in named.values():
        if isinstance(value, Tensor):
            dtype = torch.promote_types(dtype, value.dtype)
    w040, w131, w222, w220, w020, w111 = torch.broadcast_tensors(*terms)
    y, x = (h[..., None].to(w040.device) for h in place_heights(places, size))
    # r^2, r^4, r^3 cos and r^2 cos^2 in Noll's polynomials, of unit RMS.
    square = w220 * (x**2 + y**2) + w020 + w222 * (x**2 + y**2) / 2
    along = w111 + w131 * 2 / 3
    none = torch.zeros_like(square)
    return torch.stack(
        (
            square / 2 + w040 / 3,
            along * x / 2,
            along * y / 2,
            (square + w040) / math.sqrt(12),
            w222 * x * y / math.sqrt(6),
            w222 * (x**2 - y**2) / math.sqrt(24),
            w131 * y / math.sqrt(72),
            w131 * x / math.sqrt(72),
            none,
            none,
            w040 / math.sqrt(180) + none,
        ),
        -1,
    ).to(dtype)


def field_coefficients(
    table: Tensor,
    heights: Tensor | Sequence[float],
    *,
    places: int | tuple[int, int],
    size: int | tuple[int, int],
    indices: Sequence[int] | None = None,
    angle: float = math.pi / 2,
) -> Tensor:
    """Zernike coefficients in places of the picture from a table of a lens along one radius.

    A lens of revolution has the same wavefront all around, turned with the place: a pair ``c cos(m
    theta) + s sin(m theta)`` at an angle further by a is that with ``theta - a``. Between heights
    the coefficients are interpolated linearly.

    Parameters
    ----------
    table : Tensor ``[R, J]``, or ``[R, L, J]`` for each of L wavelengths, metres RMS
        Coefficients at R heights, of the path by which light lags: of waves, times the wavelength;
        of fringe polynomials, as :func:`fringe_to_noll` says. Those of OpticStudio, where a path is
        positive if the light is ahead, have the other sign, see :func:`import_zernikes`. A
        parameter is trained.
    heights : Tensor or sequence ``[R]``
        Of the points of the image, in one unit, whatever it is: growing from 0, the axis, to the
        corner of the picture.
    places, size
        As in :func:`seidel_coefficients`.
    indices : sequence of int, optional
        Noll's, by default ``1, ..., J``: both of each pair, sine and cosine.
    angle : float, radians
        In which the table's points lie, from +x to +y: by default along y. A lens looks in a mirror
        as it does itself, so that it does not matter whether y points up, in picture and pupil
        alike, as in most programs, or down.

    Returns
    -------
    Tensor ``[P, Q, L or 1, J]``, metres RMS
        For :class:`Aberration` with the same indices; linear in the table.

    Raises
    ------
    TypeError
        When the table is no Tensor, the angle not one number, or heights or indices are no sequence
        of them.
    ValueError
        When table or angle are not real and finite of these shapes, the heights are not finite, do
        not grow from 0 or are not as many, an index is given twice or without the other of its
        pair, or there are fewer than two places along a side.
    """
    check_real("table", table, "[R, J] or [R, L, J]")
    check_finite("table", table.detach(), "metres RMS")
    check_scalar("angle", angle, "radians")
    check_finite("angle", angle, "radians")
    heights = as_numbers("heights", heights, dtype=torch.float64, device=table.device)
    if table.ndim not in (2, 3) or heights.shape != table.shape[:1] or len(heights) < 2:
        raise ValueError(
            "table must be [R, J] or [R, L, J], at R heights of 2 or more, not "
            f"{tuple(table.shape)} at {tuple(heights.shape)}"
        )
    check_finite("heights", heights.detach(), "any unit")
    if looked_at(heights) and not (bool((heights.diff() > 0).all()) and float(heights[0]) == 0):
        raise ValueError(
            f"heights must grow from 0, the axis, to the corner of the picture, not "
            f"{heights.tolist()}"
        )
    terms = table.shape[-1]
    y, x = (h.to(table.device) for h in place_heights(places, size))
    turn = _turn(chosen_indices(indices, terms), terms, torch.atan2(y, x) - angle)
    height = torch.hypot(y, x).clamp_max(1) * heights[-1]
    above = torch.searchsorted(heights, height).clamp(1, len(heights) - 1)
    below = above - 1
    share = (height - heights[below]) / (heights[above] - heights[below])
    rows = table if table.ndim == 3 else table[:, None]
    share = share[..., None, None].to(table)
    between = torch.lerp(rows[below], rows[above], share)
    with full_precision(between):
        return between @ turn.mT.to(between)


def _term(name: str, value: float | Tensor) -> Tensor:
    """A term in float64, ``[L or 1]``."""
    check_finite(name, value, "metres")
    value = as_real(name, value).double()
    if value.ndim > 1 or not value.numel():
        raise ValueError(
            f"{name} must be one number or [L], one for each wavelength, in metres, not "
            f"{tuple(value.shape)}"
        )
    return value.reshape(-1)


def place_heights(
    places: int | tuple[int, int], size: int | tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Rows and columns of the places from the middle, in half diagonals, float64 ``[P, Q]``."""
    rows, columns = image_size(places, "places")
    if min(rows, columns) < 2:
        raise ValueError(
            f"places must be (P, Q), two or more along each side of the picture, not {places}"
        )
    height, width = image_size(size)
    diagonal = math.hypot(height, width)
    y = torch.linspace(-1, 1, rows, dtype=torch.float64) * (height / diagonal)
    x = torch.linspace(-1, 1, columns, dtype=torch.float64) * (width / diagonal)
    y, x = torch.meshgrid(y, x, indexing="ij")
    return y, x


def _turn(indices: tuple[int, ...], terms: int, angle: Tensor) -> Tensor:
    """Matrices ``[..., J, J]`` that turn a wavefront by angles ``[...]``."""
    if len(indices) != terms or len(set(indices)) < terms:
        raise ValueError(f"indices must be {terms} of Noll's, each once, not {list(indices)}")
    turn = angle.new_zeros(*angle.shape, terms, terms)
    for place, number in enumerate(indices):
        order, frequency = noll_to_nm(number)
        turn[..., place, place] = torch.cos(frequency * angle)
        if frequency == 0:
            continue
        partner = nm_to_noll(order, -frequency)
        if partner not in indices:
            raise ValueError(
                f"indices must hold both of a pair, and {number} turns into {partner}: give it "
                "too, with zeros where the table has none"
            )
        # A cosine loses to its sine what the sine gives back.
        turn[..., indices.index(partner), place] = torch.sin(frequency * angle)
    return turn
