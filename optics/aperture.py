"""Apertures: openings with soft edges, and coded patterns of many.

An opening is an amplitude in [0, 1] on the grid ``(i - N // 2) * spacing``. A sample that the edge
passes through carries the part of its square that is open, so that sizes have a gradient and the
sum over the samples is the area; a hard edge has neither.
"""

import math
import warnings
from typing import Literal, get_args

import torch
from torch import Tensor

from .constraint import clip
from .grid import coordinates
from .quantity import (
    check_finite,
    check_positive,
    check_scalar,
    device_for,
    image_size,
    looked_at,
    one_number,
    whole_number,
)

__all__ = [
    "CodedPattern",
    "annular_aperture",
    "circular_aperture",
    "coded_aperture",
    "extent",
    "mura_decoder",
    "rectangular_aperture",
    "spider",
]

CodedPattern = Literal["random", "mura", "fractal_zone", "fresnel_zone"]

# Samples: of narrower zones nothing is left but grey.
_NARROWEST = 0.02
# Of an edge along the samples the smaller part of its normal, below which it is none.
_UPRIGHT = 1e-6
# Parts of the grid: an opening as large as it is not larger by rounding.
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
    """Circular opening, about the sample ``(H // 2, W // 2)`` or beside it.

    A sample that the rim crosses has the part of its square that is open, exactly.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    diameter, spacing : float or Tensor ``[...]``
        Diameter of the opening and distance of the samples, metres. Tensors carry a gradient,
        and their shape goes in front of the result's.
    centre : (float or Tensor ``[...]``, float or Tensor ``[...]``)
        Place (y, x) of its middle, metres from that sample: of an aperture beside the axis, or a
        rim that cuts off light (:class:`Vignetting`). What then lies beyond the grid is cut away.
    device, dtype
        Of the result: by default the device of the first tensor given, and
        ``torch.get_default_dtype()``. It is computed in float64 and rounded once.

    Returns
    -------
    Tensor ``[..., H, W]``
        Amplitude in [0, 1]. Its sum times ``spacing**2`` is the area ``pi R**2``; the sum of its
        squares, the light, is less, by one per cent at 64 samples across.

    Raises
    ------
    TypeError
        When the centre is not a pair of numbers or Tensors.
    ValueError
        For a size, diameter or spacing that is not positive, or a centre that is not finite.

    Warns
    -----
    UserWarning
        When the opening, given in floats, is larger than the grid, with the part cut away.

    Notes
    -----
    A circle smaller than one sample passes its area there, so that a pinhole is not lit more than
    it is open. An even grid has one more sample on its negative side, so that a diameter of
    ``N * spacing``, which nothing warns of, loses half a sample on the other: 0.2 % of the area at
    64 samples. A diameter of ``(N - 1) * spacing`` is whole.
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
    return _disk(height, width, radius, y, x).to(dtype or torch.get_default_dtype())


def annular_aperture(
    size: int | tuple[int, int],
    *,
    outer_diameter: float | Tensor,
    inner_diameter: float | Tensor,
    spacing: float | Tensor,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Ring-shaped opening: a circular one with a round stop in its middle.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    outer_diameter, inner_diameter, spacing : float or Tensor ``[...]``
        Metres, the inner diameter the smaller one. See :func:`circular_aperture`.
    device, dtype
        See :func:`circular_aperture`.

    Returns
    -------
    Tensor ``[..., H, W]``
        Amplitude in [0, 1].

    Raises
    ------
    ValueError
        For a size, diameter or spacing that is not positive, or a stop as large as the opening.

    Warns
    -----
    UserWarning
        When the ring, given in floats, is larger than the grid, with the part cut away.
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
    ring = _disk(height, width, _in_samples(outer_diameter, spacing, device) / 2)
    ring = ring - _disk(height, width, _in_samples(inner_diameter, spacing, device) / 2)
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
        Extent along the rows' and the columns' index, and distance of the samples, metres.
    device, dtype
        See :func:`circular_aperture`.

    Returns
    -------
    Tensor ``[..., H, W]``
        Amplitude in [0, 1]: the part of each sample's square that is open. Its sum times
        ``spacing**2`` is the area, exactly.

    Raises
    ------
    ValueError
        For a size, height, width or spacing that is not positive.

    Warns
    -----
    UserWarning
        When the opening, given in floats, is larger than the grid, with the part cut away.

    Notes
    -----
    An even grid has one more sample on its negative side, so that a width of ``(N - 1) * spacing``
    is whole, and one of ``N * spacing``, which nothing warns of, loses half a sample on the other:
    each such side 0.8 % of the area at 64 samples.
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
    """What the vanes that hold a secondary mirror leave open; times an aperture, a telescope's.

    Bars from the sample ``(H // 2, W // 2)`` outwards, evenly around it. Each makes a spike across
    itself on both sides of an image: four of them make four, three six.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    vanes : int
        How many.
    width, spacing : float or Tensor ``[...]``
        Width of a vane and distance of the samples, metres. Tensors carry a gradient.
    angle : float, radians
        Of the first vane, from +x to +y.
    device, dtype
        See :func:`circular_aperture`.

    Returns
    -------
    Tensor ``[..., H, W]``
        Amplitude in [0, 1]: the part of each sample's square that is open, exactly but where vanes
        meet, which the central stop of an :func:`annular_aperture` hides.

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


def coded_aperture(
    size: int | tuple[int, int],
    *,
    pattern: CodedPattern = "random",
    cells: int | None = None,
    open_fraction: float = 0.5,
    stage: int = 3,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Aperture with a code, for imaging without a lens.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    pattern : {"random", "mura", "fractal_zone", "fresnel_zone"}
        ``"random"``: exactly ``open_fraction`` of the cells, to the nearest cell, drawn without
        order. ``"mura"``: modified uniformly redundant array of ``cells x cells``, half open,
        whose cyclic correlation with :func:`mura_decoder` is a single peak; its first cell lies
        on the central one. ``"fractal_zone"``: zone plate on the triadic Cantor set of the given
        ``stage`` in the squared radius, with fractal foci on the axis. ``"fresnel_zone"``: zones
        of equal area, every second one open, the central one first; ``cells`` of them.
    cells : int, optional
        Cells along each side of ``"random"`` (by default each sample is a cell) and ``"mura"`` (an
        odd prime; by default H), of which H and W must be multiples; zones of ``"fresnel_zone"``
        (by default as many as the grid holds with an outermost one of two samples).
    open_fraction : float
        Of ``"random"``, in [0, 1].
    stage : int
        Of ``"fractal_zone"``: 0 is the open disk, s has ``2**s`` open zones.
    generator : torch.Generator
        Needed for ``"random"``.
    device, dtype
        Of the result, by default the CPU and ``torch.get_default_dtype()``.

    Returns
    -------
    Tensor ``[H, W]``
        Amplitude: 0 or 1, with soft edges for the zone plates, which fill the largest disk that
        is symmetric on the grid.

    Raises
    ------
    TypeError
        For a fraction that is not one number.
    ValueError
        For a pattern that is not known, a number of cells that does not fit, a fraction outside
        of [0, 1], a negative stage, zones less than 0.02 samples wide, or a missing generator.

    Warns
    -----
    UserWarning
        When the narrowest zone of a plate is under one sample, with its width: it becomes grey.

    Notes
    -----
    MURA: S. R. Gottesman, E. E. Fenimore, Appl. Opt. 28, 4344-4352 (1989), eqs. (7)-(8). Fractal
    zone plates: G. Saavedra, W. D. Furlan, J. A. Monsoriu, Opt. Lett. 28, 971-973 (2003).
    """
    height, width = image_size(size)
    cells = None if cells is None else whole_number("cells", cells)
    if pattern == "random":
        mask = _random(height, width, cells, open_fraction, generator)
    elif pattern == "mura":
        mask = _enlarged(_mura(height if cells is None else cells), height, width)
    elif pattern == "fractal_zone":
        mask = _zones(height, width, _cantor(height, width, stage))
    elif pattern == "fresnel_zone":
        mask = _zones(height, width, _fresnel(height, width, cells))
    else:
        raise ValueError(f"pattern must be one of {get_args(CodedPattern)}, not {pattern!r}")
    return mask.to(device=device, dtype=dtype or torch.get_default_dtype())


def mura_decoder(
    cells: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Decoding array ``[p, p]`` of a MURA: +1 where it is open, -1 where closed.

    ``sum_ij A[i, j] G[i + k, j + l]``, cyclic, is ``(p**2 - 1) / 2`` at ``k = l = 0`` and 0
    elsewhere, exactly (Gottesman & Fenimore 1989, eq. (9)): the first cell alone is +1 though
    it is closed. It lies on ``(p // 2, p // 2)``.

    Parameters
    ----------
    cells : int
        Cells p along a side, an odd prime.
    device, dtype : optional
        Of the result.

    Returns
    -------
    Tensor ``[p, p]``

    Raises
    ------
    ValueError
        When ``cells`` is not an odd prime.
    """
    decoder = 2 * _mura(whole_number("cells", cells)) - 1
    decoder[cells // 2, cells // 2] = 1
    return decoder.to(device=device, dtype=dtype or torch.get_default_dtype())


def extent(lit: Tensor) -> tuple[float, float]:
    """Where an opening ``[N]`` begins and ends, in samples from the axis, each a spacing wide."""
    at = lit.nonzero()[:, 0]
    return int(at[0]) - len(lit) // 2 - 0.5, int(at[-1]) - len(lit) // 2 + 0.5


def _in_samples(
    length: float | Tensor, spacing: float | Tensor, device: torch.device | str | None
) -> Tensor:
    """Ratio of two lengths in float64, with two dimensions of one sample at its end."""
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


def _disk(
    height: int,
    width: int,
    radius: Tensor,
    centre_y: Tensor | float = 0.0,
    centre_x: Tensor | float = 0.0,
) -> Tensor:
    """Part of each sample's square that a disk covers, all ``[..., 1, 1]`` in samples.

    Exact, and so is its derivative, the length of the rim within the square. The disk's part in
    the rectangle from its centre to (y, x) is ``x y`` where that corner lies within, and else
    ``A(x) + A(y) - pi R^2 / 4``, of the areas A(t) under the rim from 0 to t; with the sign of
    ``x y``, a square is the difference of four such rectangles.
    """
    y = _edges(height, radius.device)[:, None] - centre_y
    x = _edges(width, radius.device) - centre_x
    quarter = torch.pi * radius**2 / 4

    def under(t: Tensor) -> Tensor:
        inside = t.abs() < radius
        rim = torch.where(inside, (radius - t) * (radius + t), 1.0).sqrt()
        # The angle by both sides of its triangle: the terms' large slopes at the rim then cancel.
        area = (t * rim + radius**2 * torch.atan2(t, rim)) / 2
        return torch.where(inside, area, quarter * t.sign())

    # With its sign, and not by |x|, whose slope at 0 is none: there a centre lies on an edge.
    outside = under(y) * x.sign() + (under(x) - quarter * x.sign()) * y.sign()
    within = torch.where(y**2 + x**2 <= radius**2, y * x, outside)
    covered = clip(within.diff(dim=-2).diff(dim=-1))
    # Beyond the rim the difference is of rounding errors.
    rows, columns = (coordinates(n, device=radius.device) for n in (height, width))
    v = ((rows[:, None] - centre_y).abs() - 0.5).clamp_min(0.0)
    u = ((columns - centre_x).abs() - 0.5).clamp_min(0.0)
    return torch.where(torch.hypot(v, u) < radius, covered, 0.0)


def _beside(away: Tensor, c: float, s: float) -> Tensor:
    """Part of a unit square on one side of a straight edge whose normal is (c, s) or (-s, c).

    Its centre lies ``away`` samples within. As a function of that the part is the integral of a
    trapezium, the mean of a box as wide as the larger of |c| and |s| over the smaller.
    """
    wide, narrow = max(abs(c), abs(s)), min(abs(c), abs(s))
    if narrow < _UPRIGHT:
        return clip(away / wide + 0.5)

    def integral(t: Tensor) -> Tensor:  # of clip(t / wide + 1 / 2)
        t = t + wide / 2
        return (t.clamp(0, wide).square() / 2) / wide + (t - wide).clamp_min(0)

    return (integral(away + narrow / 2) - integral(away - narrow / 2)) / narrow


def _edges(samples: int, device: torch.device) -> Tensor:
    """Where the squares of a row of samples begin, and the last one ends."""
    return torch.arange(samples + 1, dtype=torch.float64, device=device) - samples // 2 - 0.5


def _bar(samples: int, extent: Tensor, device: torch.device | str | None) -> Tensor:
    """Coverage of a row of samples by an interval about the central one."""
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
    """How far a row of samples reaches to either side of the centre of sample ``N // 2``."""
    return samples // 2 + 0.5, (samples - 1) // 2 + 0.5


def _whole(extent: float, samples: int) -> float:
    """Part of an interval about the central one of a row of samples that lies on it."""
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
            f"the aperture reaches beyond the grid, which cuts away {100 * part:.3g} % of its "
            f"area ({name} = {value} m)",
            UserWarning,
            stacklevel=3,
        )


def _random(
    height: int,
    width: int,
    cells: int | None,
    open_fraction: float,
    generator: torch.Generator | None,
) -> Tensor:
    if not isinstance(generator, torch.Generator):
        raise ValueError(
            f"generator must be a torch.Generator for pattern='random', not {generator!r}"
        )
    check_scalar("open_fraction", open_fraction)
    if not 0 <= open_fraction <= 1:
        raise ValueError(f"open_fraction must be in [0, 1], not {open_fraction}")
    rows, columns = (height, width) if cells is None else (cells, cells)
    total = rows * columns
    order = torch.randperm(total, generator=generator, device=generator.device)
    mask = (order < round(open_fraction * total)).to(torch.float64)
    return _enlarged(mask.reshape(rows, columns), height, width)


def _mura(cells: int) -> Tensor:
    """MURA ``[p, p]`` of zeros and ones, its first cell on the central one."""
    prime = cells > 2 and all(cells % divisor for divisor in range(2, math.isqrt(cells) + 1))
    if not prime:
        raise ValueError(f"cells must be an odd prime for pattern='mura', not {cells}")
    residues = {i * i % cells for i in range(1, cells)}
    sign = torch.tensor([1.0 if i in residues else -1.0 for i in range(cells)], dtype=torch.float64)
    mask = (sign[:, None] * sign > 0).to(torch.float64)
    mask[:, 0] = 1.0
    mask[0, :] = 0.0
    return mask.roll((cells // 2, cells // 2), (0, 1))


def _enlarged(mask: Tensor, height: int, width: int) -> Tensor:
    rows, columns = mask.shape
    if height % rows or width % columns:
        raise ValueError(
            f"size must be a multiple of the {rows} x {columns} cells, not {(height, width)}"
        )
    return mask.repeat_interleave(height // rows, 0).repeat_interleave(width // columns, 1)


def _cantor(height: int, width: int, stage: int) -> list[tuple[float, float]]:
    """Open parts of [0, 1] after so many removals of the middle third."""
    stage = whole_number("stage", stage, least=0)
    _check_outermost(height, width, 3.0**-stage, f"stage={stage}")
    parts = [(0.0, 1.0)]
    for _ in range(stage):
        thirds = [(a, a + (b - a) / 3, b - (b - a) / 3, b) for a, b in parts]
        parts = [part for a, c, d, b in thirds for part in ((a, c), (d, b))]
    return parts


def _fresnel(height: int, width: int, zones: int | None) -> list[tuple[float, float]]:
    """Every second of so many parts of [0, 1], the first one open."""
    if zones is None:
        # The outermost zone is radius / (2 zones) wide.
        zones = max(1, int(_plate_radius(height, width) / 4))
    _check_outermost(height, width, 1 / zones, f"cells={zones}")
    return [(i / zones, (i + 1) / zones) for i in range(0, zones, 2)]


def _plate_radius(height: int, width: int) -> float:
    return (min(height, width) - 1) // 2 + 0.5


def _check_outermost(height: int, width: int, share: float, given: str) -> None:
    """Refuse zones of which the outermost one, a share of the squared radius, is next to nothing.

    They grow in number without bound, and what they make of a sample stays the same grey.
    """
    outermost = _plate_radius(height, width) * (1 - math.sqrt(1 - share))
    if outermost < _NARROWEST:
        raise ValueError(
            f"{given} makes an outermost zone {outermost:.2g} samples wide, which must be "
            f"{_NARROWEST:g} at least: use more samples than {(height, width)}, fewer zones or a "
            "lower stage"
        )


def _zones(height: int, width: int, parts: list[tuple[float, float]]) -> Tensor:
    """Disk whose transmission is 1 in the given parts of its squared radius."""
    radius = _plate_radius(height, width)
    narrowest = radius * min(math.sqrt(b) - math.sqrt(a) for a, b in parts)
    if narrowest < 1:
        warnings.warn(
            f"the narrowest zone is {narrowest:.3g} samples wide and becomes grey; use more "
            f"samples than {(height, width)}, fewer zones or a lower stage",
            UserWarning,
            stacklevel=3,
        )
    mask = torch.zeros(height, width, dtype=torch.float64)
    for part in parts:  # one after the other, for the samples are many
        inner, outer = radius * torch.tensor(part, dtype=torch.float64).sqrt()[:, None, None]
        mask += _disk(height, width, outer) - _disk(height, width, inner)
    return clip(mask)
