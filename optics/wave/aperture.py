"""Apertures: openings with soft edges.

An opening is an amplitude in [0, 1] on the grid ``(i - N // 2) * spacing``. A sample on the edge
has the open fraction of its square, so that sizes have a gradient and the sum over the samples is
the area. A hard edge has neither property.
"""

import math
import warnings

import torch
from torch import Tensor

from optics.constraint import clip
from optics.grid import coordinates
from optics.quantity import (
    check_finite,
    check_positive,
    device_for,
    image_size,
    looked_at,
    one_number,
    whole_number,
)

__all__ = [
    "annular_aperture",
    "circular_aperture",
    "disk",
    "extent",
    "rectangular_aperture",
    "spider",
]

# Below this smaller component of its normal an edge counts as parallel to the samples.
_UPRIGHT = 1e-6
# Tolerance, relative to the grid: an opening as large as the grid is not larger by rounding.
_LARGER = 1 + 1e-6


def circular_aperture(
    size: int | tuple[int, int],
    *,
    diameter: float | Tensor,
    spacing: float | Tensor,
    centre: tuple[float | Tensor, float | Tensor] = (0.0, 0.0),
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Circular opening, centred on the sample ``(H // 2, W // 2)`` or elsewhere.

    A sample on the rim has the open fraction of its square, exactly.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    diameter, spacing : float or Tensor ``[...]``
        Diameter of the opening and sampling interval, metres. Tensors carry a gradient, and their
        shape becomes the leading dimensions of the result.
    centre : (float or Tensor ``[...]``, float or Tensor ``[...]``)
        Position (y, x) of the centre, metres from that sample, as for an off-axis aperture or a
        displaced rim (:class:`Vignetting`). What then lies beyond the grid is cut off.
    device, dtype
        Of the result: by default the device of the first tensor given, and
        ``torch.get_default_dtype()``. It is computed in float64 and rounded once.

    Returns
    -------
    Tensor ``[..., H, W]``
        Amplitude in [0, 1]. Its sum times ``spacing**2`` is the area ``pi R**2``. The sum of its
        squares, the light, is smaller, by one per cent at 64 samples across.

    Raises
    ------
    TypeError
        When the centre is not a pair of numbers or Tensors.
    ValueError
        For a size, diameter or spacing that is not positive, or a centre that is not finite.

    Warns
    -----
    UserWarning
        When the opening, given in floats, is larger than the grid; the warning states the part that
        is cut off.

    Notes
    -----
    A circle smaller than one sample has its area as the amplitude there, so that a pinhole does not
    transmit more than its area. An even grid has one more sample on its negative side. A diameter
    of ``N * spacing`` therefore loses half a sample on the other side, 0.2 % of the area at 64
    samples, without a warning. A diameter of ``(N - 1) * spacing`` is complete.
    """
    height, width = image_size(size)
    check_positive("diameter", diameter, "metres")
    check_positive("spacing", spacing, "metres")
    if not (isinstance(diameter, Tensor) or isinstance(spacing, Tensor)):
        across = diameter / spacing
        if across > _LARGER * min(height, width):
            kept = _open(across, height, width) / (math.pi * across**2 / 4)
            _warn_cut(1 - kept, "diameter", diameter)
    middle = _pair(centre)
    device = device_for(device, diameter, spacing, *middle)
    radius = _in_samples(diameter, spacing, device) / 2
    y, x = (_in_samples(part, spacing, device) for part in middle)
    return disk(height, width, radius, y, x).to(dtype or torch.get_default_dtype())


def annular_aperture(
    size: int | tuple[int, int],
    *,
    outer_diameter: float | Tensor,
    inner_diameter: float | Tensor,
    spacing: float | Tensor,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Annular opening: a circular one with a central circular obscuration.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    outer_diameter, inner_diameter, spacing : float or Tensor ``[...]``
        Diameters, the inner one smaller, and sampling interval, metres. See
        :func:`circular_aperture`.
    device, dtype
        See :func:`circular_aperture`.

    Returns
    -------
    Tensor ``[..., H, W]``
        Amplitude in [0, 1].

    Raises
    ------
    ValueError
        For a size, diameter or spacing that is not positive, or an inner diameter that is not
        smaller than the outer one.

    Warns
    -----
    UserWarning
        When the ring, given in floats, is larger than the grid; the warning states the part that is
        cut off.
    """
    height, width = image_size(size)
    check_positive("outer_diameter", outer_diameter, "metres")
    check_positive("inner_diameter", inner_diameter, "metres")
    check_positive("spacing", spacing, "metres")
    _check_smaller(inner_diameter, outer_diameter)
    if not (
        isinstance(outer_diameter, Tensor)
        or isinstance(inner_diameter, Tensor)
        or isinstance(spacing, Tensor)
    ):
        outer, inner = outer_diameter / spacing, inner_diameter / spacing
        if outer > _LARGER * min(height, width):
            kept = _open(outer, height, width) - _open(inner, height, width)
            kept /= math.pi * (outer**2 - inner**2) / 4
            _warn_cut(1 - kept, "outer_diameter", outer_diameter)
    device = device_for(device, outer_diameter, inner_diameter, spacing)
    ring = disk(height, width, _in_samples(outer_diameter, spacing, device) / 2)
    ring = ring - disk(height, width, _in_samples(inner_diameter, spacing, device) / 2)
    return clip(ring).to(dtype or torch.get_default_dtype())


def rectangular_aperture(
    size: int | tuple[int, int],
    *,
    height: float | Tensor,
    width: float | Tensor,
    spacing: float | Tensor,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Rectangular opening, centred on the sample ``(H // 2, W // 2)``.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    height, width, spacing : float or Tensor ``[...]``
        Height along y, width along x, and sampling interval, metres.
    device, dtype
        See :func:`circular_aperture`.

    Returns
    -------
    Tensor ``[..., H, W]``
        Amplitude in [0, 1]: the open fraction of each sample's square. Its sum times ``spacing**2``
        is the area, exactly.

    Raises
    ------
    ValueError
        For a size, height, width or spacing that is not positive.

    Warns
    -----
    UserWarning
        When the opening, given in floats, is larger than the grid; the warning states the part that
        is cut off.

    Notes
    -----
    An even grid has one more sample on its negative side. A width of ``(N - 1) * spacing`` is
    complete. A width of ``N * spacing`` loses half a sample on the other side, 0.8 % of the area at
    64 samples for each such axis, without a warning.
    """
    rows, columns = image_size(size)
    check_positive("height", height, "metres")
    check_positive("width", width, "metres")
    check_positive("spacing", spacing, "metres")
    if not (isinstance(height, Tensor) or isinstance(width, Tensor) or isinstance(spacing, Tensor)):
        tall, wide = height / spacing, width / spacing
        if tall > _LARGER * rows or wide > _LARGER * columns:
            kept = _whole(tall, rows) * _whole(wide, columns)
            _warn_cut(1 - kept, "height and width", (height, width))
    device = device_for(device, height, width, spacing)
    vertical = _bar(rows, _in_samples(height, spacing, device), device)[..., :, None]
    horizontal = _bar(columns, _in_samples(width, spacing, device), device)[..., None, :]
    return (vertical * horizontal).to(dtype or torch.get_default_dtype())


def spider(
    size: int | tuple[int, int],
    *,
    vanes: int,
    width: float | Tensor,
    spacing: float | Tensor,
    angle: float = 0.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Opening between the spider vanes that hold a secondary mirror; multiply it by an aperture.

    The vanes are bars from the sample ``(H // 2, W // 2)`` outwards, at equal angles. Each causes a
    diffraction spike perpendicular to itself, on both sides of the image of a point: four vanes
    give four spikes, three give six.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    vanes : int
        Number of vanes.
    width, spacing : float or Tensor ``[...]``
        Width of a vane and sampling interval, metres. Tensors carry a gradient.
    angle : float, radians
        Direction of the first vane, from +x to +y.
    device, dtype
        See :func:`circular_aperture`.

    Returns
    -------
    Tensor ``[..., H, W]``
        Amplitude in [0, 1]: the open fraction of each sample's square. It is exact except where
        vanes meet, which the obscuration of an :func:`annular_aperture` hides.

    Raises
    ------
    TypeError
        When the angle is not one number.
    ValueError
        For a size, width or spacing that is not positive, an angle that is not finite, or no vane.
    """
    height, columns = image_size(size)
    vanes = whole_number("vanes", vanes)
    check_positive("width", width, "metres")
    check_positive("spacing", spacing, "metres")
    angle = one_number("angle", angle, "radians")
    check_finite("angle", angle, "radians")
    device = device_for(device, width, spacing)
    half = _in_samples(width, spacing, device) / 2
    y = coordinates(height, device=device)[:, None]
    x = coordinates(columns, device=device)
    covered = torch.zeros((), dtype=torch.float64, device=device)
    for vane in range(vanes):
        turned = angle + 2 * math.pi * vane / vanes
        c, s = math.cos(turned), math.sin(turned)
        across, along = c * y - s * x, c * x + s * y
        bar = _beside(half - across, c, s) - _beside(-half - across, c, s)
        covered = covered + bar * _beside(along, c, s)
    return clip(1 - covered).to(dtype or torch.get_default_dtype())


def extent(lit: Tensor) -> tuple[float, float]:
    """Ends of an opening ``[N]``, in samples from the axis; each sample is one spacing wide."""
    at = lit.nonzero()[:, 0]
    return int(at[0]) - len(lit) // 2 - 0.5, int(at[-1]) - len(lit) // 2 + 0.5


def disk(
    height: int,
    width: int,
    radius: Tensor,
    centre_y: Tensor | float = 0.0,
    centre_x: Tensor | float = 0.0,
) -> Tensor:
    """Fraction of each sample's square that a disk covers; arguments ``[..., 1, 1]``, in samples.

    It is exact, and so is its derivative, the length of the rim within the square. The area of the
    disk in the rectangle from its centre to (y, x) is ``x y`` if that corner lies within the disk,
    otherwise ``A(x) + A(y) - pi R^2 / 4``, with the area A(t) under the rim from 0 to t. With the
    sign of ``x y``, a square is the difference of four such rectangles.
    """
    y = _edges(height, radius.device)[:, None] - centre_y
    x = _edges(width, radius.device) - centre_x
    quarter = torch.pi * radius**2 / 4

    def under(t: Tensor) -> Tensor:
        inside = t.abs() < radius
        rim = torch.where(inside, (radius - t) * (radius + t), 1.0).sqrt()
        # With atan2 the large slopes of both terms at the rim cancel.
        area = (t * rim + radius**2 * torch.atan2(t, rim)) / 2
        return torch.where(inside, area, quarter * t.sign())

    # With the sign of x instead of |x|, whose slope at 0 is undefined: a centre may lie on an edge.
    outside = under(y) * x.sign() + (under(x) - quarter * x.sign()) * y.sign()
    within = torch.where(y**2 + x**2 <= radius**2, y * x, outside)
    covered = clip(within.diff(dim=-2).diff(dim=-1))
    # Beyond the rim the difference holds only rounding errors.
    rows, columns = (coordinates(n, device=radius.device) for n in (height, width))
    v = ((rows[:, None] - centre_y).abs() - 0.5).clamp_min(0.0)
    u = ((columns - centre_x).abs() - 0.5).clamp_min(0.0)
    return torch.where(torch.hypot(v, u) < radius, covered, 0.0)


def _in_samples(
    length: float | Tensor, spacing: float | Tensor, device: torch.device | str | None
) -> Tensor:
    """Ratio of two lengths in float64, with two trailing dimensions of size 1."""
    length, spacing = (
        x.to(device=device, dtype=torch.float64) if isinstance(x, Tensor) else x
        for x in (length, spacing)
    )
    return torch.as_tensor(length / spacing, dtype=torch.float64, device=device)[..., None, None]


def _pair(centre: tuple[float | Tensor, float | Tensor]) -> tuple[float | Tensor, float | Tensor]:
    try:
        y, x = centre
    except (TypeError, ValueError):
        raise TypeError(
            f"centre must be (y, x), metres, not {centre!r}: give both, each a number or a Tensor"
        ) from None
    check_finite("centre", y, "metres")
    check_finite("centre", x, "metres")
    return y, x


def _beside(away: Tensor, c: float, s: float) -> Tensor:
    """Fraction of a unit square on one side of a straight edge with normal (c, s) or (-s, c).

    Its centre lies ``away`` samples inside the edge. As a function of that distance, the fraction
    is the integral of a trapezium: a box as wide as the larger of |c| and |s|, averaged over the
    smaller.
    """
    wide, narrow = max(abs(c), abs(s)), min(abs(c), abs(s))
    if narrow < _UPRIGHT:
        return clip(away / wide + 0.5)

    def integral(t: Tensor) -> Tensor:  # of clip(t / wide + 1 / 2)
        t = t + wide / 2
        return (t.clamp(0, wide).square() / 2) / wide + (t - wide).clamp_min(0)

    return (integral(away + narrow / 2) - integral(away - narrow / 2)) / narrow


def _edges(samples: int, device: torch.device) -> Tensor:
    """Edges ``[N + 1]`` of the squares of a row of samples."""
    return torch.arange(samples + 1, dtype=torch.float64, device=device) - samples // 2 - 0.5


def _bar(samples: int, extent: Tensor, device: torch.device | str | None) -> Tensor:
    """Coverage of a row of samples by an interval centred on the central sample."""
    distance = coordinates(samples, device=device).abs()
    extent = extent[..., 0]
    return torch.minimum(clip(extent / 2 - distance + 0.5), extent)


def _check_smaller(inner: float | Tensor, outer: float | Tensor) -> None:
    tensors = [x for x in (inner, outer) if isinstance(x, Tensor)]
    if torch.compiler.is_compiling() or not all(looked_at(x) for x in tensors):
        return
    if bool(torch.as_tensor(inner >= outer).any()):
        raise ValueError(
            f"inner_diameter must be smaller than outer_diameter, in metres; got {inner} and "
            f"{outer}"
        )


def _sides(samples: int) -> tuple[float, float]:
    """Extent of a row of samples to either side of the centre of sample ``N // 2``."""
    return samples // 2 + 0.5, (samples - 1) // 2 + 0.5


def _whole(extent: float, samples: int) -> float:
    """Fraction of an interval about the central sample that lies on the row of samples."""
    return sum(min(extent / 2, side) for side in _sides(samples)) / extent


def _open(diameter: float, height: int, width: int) -> float:
    """Area of a circle about the central sample that lies on a grid, all in samples."""
    radius = diameter / 2

    def chords(y: float) -> float:
        return (y * math.sqrt(max(0.0, radius**2 - y * y)) + radius**2 * math.asin(y / radius)) / 2

    def quarter(top: float, side: float) -> float:
        top = min(top, radius)
        # Below `flat` a chord is wider than the grid; above, the chord counts.
        flat = min(top, math.sqrt(max(0.0, radius**2 - side**2)))
        return side * flat + chords(top) - chords(flat)

    return sum(quarter(top, side) for top in _sides(height) for side in _sides(width))


def _warn_cut(part: float, name: str, value: float | tuple[float, float]) -> None:
    # Half a millionth: an opening that ends with the grid does not reach beyond it by rounding.
    if part > 5e-7 and not torch.compiler.is_compiling():
        warnings.warn(
            f"the aperture is larger than the grid, which cuts off {100 * part:.3g} % of its "
            f"area ({name} = {value} m)",
            UserWarning,
            stacklevel=3,
        )
