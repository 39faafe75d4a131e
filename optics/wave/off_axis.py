"""Wavefronts off the axis: Zernike coefficients at places of the image.

::

    Seidel's terms ────────seidel_coefficients──┐
    table along a radius ──field_coefficients───┴─► [P, Q, L or 1, J] ──Aberration──► Pupil
                                                                      ──► VaryingImaging

The places span the image from border to border, and the image height is 1 at its corners. The axes
of image and pupil are parallel, with +x and +y those of the image: light that lags in the half of
the pupil towards +x goes towards +x.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from optics.quantity import (
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
    """Zernike coefficients of the Seidel aberrations at places of the image.

    ``W = W040 r^4 + W131 r^2 (h . r) + W222 (h . r)^2 + W220 h^2 r^2 + W020 r^2 + W111 (h . r)``
    with the pupil coordinate r, 1 at the rim, and the image coordinate h, 1 at the corners (Born
    and Wolf, Principles of Optics, sec. 5.3; the coefficients are in Wyant and Creath, Applied
    Optics and Optical Engineering 11, 1992, sec. III). The Zernike polynomials represent it
    exactly.

    Parameters
    ----------
    places : int or (int, int)
        Number of places (P, Q), two or more along each side; the first and the last lie on the
        border of the image.
    size : int or (int, int), pixels
        Height and width of the image; only their ratio matters.
    spherical, coma, astigmatism, field_curvature : float or Tensor, scalar or ``[L]``, metres
        W040, W131, W222 and W220: optical path at the rim of the pupil for a corner of the image;
        half a wave is ``0.5 * 550e-9``. ``[L]`` are those of each wavelength. W > 0 means that
        light lags at the rim: the focus is then behind the sensor. Positive coma flares away from
        the axis. It moves the centroid of the light by as much as a tilt of W131 does, or of
        ``(1 + e**2) W131`` with a central obscuration of e of the diameter; the opposite tilt
        compensates this. W220 is the sagittal field curvature: that of Petzval plus half of W222.
    defocus, tilt : float or Tensor, scalar or ``[L]``, metres
        W020 and W111. With ``[L]`` they are axial and lateral colour: a tilt of W moves the corner
        outwards by ``2 W N`` with the working f-number N, :attr:`Pupil.image_distance` over the
        diameter. PSFs that shift magnify the image, and change the irradiance of a uniform scene by
        the ratio of the areas. For distortion, a larger shift, use :class:`Projection`.

    Returns
    -------
    Tensor ``[P, Q, L or 1, 11]``, metres RMS
        Coefficients of Noll indices 1 to 11, for :class:`Aberration`, with gradients to all
        tensors.

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
    """Zernike coefficients at places of the image, from a table of a lens along one radius.

    A rotationally symmetric lens has the same wavefront at every azimuth, rotated with the place:
    a pair ``c cos(m theta) + s sin(m theta)`` at an azimuth larger by a is the same with
    ``theta - a``. Between heights the coefficients are interpolated linearly.

    Parameters
    ----------
    table : Tensor ``[R, J]``, or ``[R, L, J]`` for each of L wavelengths, metres RMS
        Coefficients at R heights, of the path by which light lags. Multiply coefficients in waves
        by the wavelength, and convert fringe polynomials as :func:`fringe_to_noll` says. In
        OpticStudio a path is positive if the light is ahead: change the sign, see
        :func:`import_zernikes`. A parameter is trained.
    heights : Tensor or sequence ``[R]``
        Image heights in any common unit, increasing from 0, the axis, to the corner of the image.
    places, size
        As in :func:`seidel_coefficients`.
    indices : sequence of int, optional
        Noll indices, by default ``1, ..., J``. They must contain both of each pair, sine and
        cosine.
    angle : float, radians
        Azimuth of the table's points, from +x to +y; by default along y. As the lens is mirror
        symmetric, y may point up, in image and pupil alike, as in most programs, or down.

    Returns
    -------
    Tensor ``[P, Q, L or 1, J]``, metres RMS
        For :class:`Aberration` with the same indices; linear in the table.

    Raises
    ------
    TypeError
        When the table is not a Tensor, the angle not one number, or heights or indices not a
        sequence.
    ValueError
        When table or angle are not real and finite of these shapes, the heights are not finite, not
        increasing from 0 or not R of them, an index is given twice or without the other of its
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
            f"heights must increase from 0, the axis, to the corner of the picture, not "
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
                f"indices must hold both of a pair, but {partner}, the partner of {number}, is "
                "missing: add it, with zeros where the table has none"
            )
        # A cosine loses to its sine what the sine gives back.
        turn[..., indices.index(partner), place] = torch.sin(frequency * angle)
    return turn
