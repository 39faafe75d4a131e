"""MTF of a whole camera from one picture of a slanted edge, after ISO 12233.

::

    picture ──rows' centroids──► line ──bins across it──► edge ──difference──► line spread
    [..., H, W]                  angle   1/4 pixel        profile   window         │ DFT
                                                      lsf [..., N]            mtf [..., F]
"""

import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from optics.grid import coordinates
from optics.lens_data.measured import code_step
from optics.quantity import (
    as_picture,
    check_between,
    check_finite,
    check_real,
    check_scalar,
    check_tensor,
    mapped,
    whole_number,
)

__all__ = ["SlantedEdge", "slanted_edge_mtf"]

# Least number of pixels that the profile needs on either side of the edge.
_LEAST_SIDE = 4
# Scatter of the rows' centroids about the line, in pixels, from which on an edge is not straight.
_CROOKED = 1.0
# Part of a border that has the outermost value where it is cut off; noise of the other one, in
# codes and in parts of the step, that it would show too, by mean second differences: 2 of them are
# a deviation, and a smooth tail has none.
_CUT_OFF, _CODES, _NOISE = 0.5, 1.5, 1e-3
# Part of the step by which a side may slope: beyond this, and beyond so many standard errors, the
# light is uneven, or the blur is wider than the picture.
_SLOPED, _SURE = 0.03, 4.0


class SlantedEdge(NamedTuple):
    """Result of :func:`slanted_edge_mtf` for pictures ``[..., H, W]``.

    Attributes
    ----------
    mtf : Tensor ``[..., F]``
        Modulation transfer function, 1 at frequency 0.
    frequency : Tensor ``[F]``, cycles/pixel
        Frequencies, measured perpendicular to the edge.
    angle : Tensor ``[...]``, radians
        Angle from a column to the edge, positive if the edge goes to +x as y grows.
    lsf : Tensor ``[..., N]``, 1/pixel
        Line spread function perpendicular to the edge, with an integral of 1 over the picture,
        without the window. It includes the width of a bin, which is corrected in the MTF.
    position : Tensor ``[..., N]``, pixels
        Positions of the line spread function, relative to the edge. The steps, one bin each, are
        not exactly equal.
    """

    mtf: Tensor
    frequency: Tensor
    angle: Tensor
    lsf: Tensor
    position: Tensor

    def frequency_at(self, contrast: float = 0.5) -> Tensor:
        """Lowest frequency at which the MTF falls to a contrast, interpolated: MTF50 for 0.5.

        Parameters
        ----------
        contrast : float
            In (0, 1).

        Returns
        -------
        Tensor ``[...]``, cycles/pixel
            NaN if the MTF stays above up to the last frequency, or is below at the first.

        Raises
        ------
        TypeError
            When the contrast is not one number.
        ValueError
            When the contrast is not between 0 and 1.
        """
        check_scalar("contrast", contrast)
        if not 0 < contrast < 1:
            raise ValueError(f"contrast must lie between 0 and 1, not at {contrast}")
        frequency, order = self.frequency.sort()  # which may be in any order
        mtf = self.mtf[..., order]
        below = mtf < contrast
        # The first of them; 0 too where there is none.
        after = below.to(torch.int8).argmax(-1, keepdim=True)
        before = (after - 1).clamp_min(0)
        above, under = mtf.gather(-1, before), mtf.gather(-1, after)
        near, far = frequency.to(above)[before], frequency.to(above)[after]
        # What is discarded must not divide by zero: its slope would be NaN.
        there = after > 0
        share = (above - contrast) / torch.where(there, above - under, 1.0)
        return torch.where(there, near + (far - near) * share, math.nan)[..., 0]


def slanted_edge_mtf(
    picture: Tensor | np.ndarray, *, frequency: Tensor | None = None, oversampling: int = 4
) -> SlantedEdge:
    """Modulation transfer function (MTF) from a picture of an edge a few degrees off a column.

    This is the e-SFR of ISO 12233:2017, annex D. The centroids of the rows' differences give the
    line of the edge. The pixels are sorted by their distance from it into bins of a quarter pixel,
    as far as half of the rows reach. The difference of this profile, under a Hamming window, is
    Fourier transformed, and corrected for the MTF of bins and differences. Frequencies are measured
    perpendicular to the edge, not along the row. The result includes everything that affected the
    picture: lens, pixel, colour filter array, codec. It also includes uneven light, as a slope of
    the sides counts as blur or as contrast: light that changes by 10 % over the picture, across the
    edge, changes the contrast by 2.5 %, up or down depending on its direction, if the dark side is
    black, and by more if the step is smaller.

    Parameters
    ----------
    picture : Tensor or array, real ``[..., H, W]``
        Linear light of any scale, also integers as of a PNG (convert sRGB with
        :func:`optics.srgb_to_linear`), evenly illuminated and not clipped at either end. One
        straight edge must run from the first row to the last, 2 to 10 degrees off a column. For an
        edge along a row give ``picture.mT``. The line is fitted for each channel.
    frequency : Tensor, real ``[F]``, cycles/pixel, optional
        From 0 to half the oversampling; by default 101 values from 0 to 1, or to that half.
    oversampling : int
        Bins per pixel.

    Returns
    -------
    SlantedEdge
        In the dtype of the picture; single precision for half, torch's default type for integers.
        :func:`optics.psf_from_mtf` makes a PSF of its curve. It depends differentiably on every
        value of the picture, so that it can be part of a loss. Line spread functions of several
        pictures are cut to the shortest.

    Raises
    ------
    TypeError
        For a picture that is neither a Tensor nor an array, or frequencies that are not a Tensor.
    ValueError
        For a picture that is not real and finite, too small, or without one straight edge that
        crosses all rows; for frequencies beyond those of the bins; under ``torch.vmap``, as the
        edge decides the number of bins (for which ``torch.compile`` also makes no single graph).

    Warns
    -----
    UserWarning
        When a side seems to be clipped: more than half of the border of the bright side has the
        largest value, or of the dark side the smallest, and that value is the end of the picture's
        integer type (of int16 -32768, not 0), or has no noise although the other side has. In a
        picture without noise, or of fractions, a clipped edge cannot be distinguished from a steep
        one otherwise.

        When a side slopes by more than 3 % of the step, from the edge to the border, in a fit to
        its outer half: the light is uneven, or the blur is as wide as the picture.

    Notes
    -----
    For a Gaussian blur of 0.5 to 1.5 pixels in 64 x 64, at 2 to 10 degrees, the error is below
    0.005 at every frequency up to 1. The window cuts part of a wide line spread, which raises the
    contrast, the more the narrower the picture is, whatever its number of rows: for a Gaussian of
    1.5 pixels by 0.012 in a width of 40, 0.004 in 64 and 0.002 in 100; for diffraction with
    ``lambda N`` of 2.2 pixels, whose line spread does not end, by 0.025 in 64 and 0.011 in 144.
    Noise of 1 % of the step scatters the MTF by up to 0.02 in 64 x 64. As a modulus it stays above
    zero: beyond the cut-off it is 0.03 due to noise.
    """
    ends = _ends(picture)
    picture = as_picture("picture", picture)
    check_real("picture", picture, "[..., H, W]")
    check_finite("picture", picture)
    if picture.numel() == 0:
        raise ValueError(f"picture must hold at least one [H, W], not {tuple(picture.shape)}")
    if mapped(picture):
        raise ValueError(
            "where the edge is decides how many bins there are, which torch.vmap hides: give the "
            "pictures [..., H, W] in one call, which measures each by itself"
        )
    oversampling = whole_number("oversampling", oversampling)
    if frequency is None:
        frequency = torch.linspace(0, min(1, oversampling / 2), 101, dtype=torch.float64)
    check_tensor("frequency", frequency)
    if frequency.ndim != 1 or not frequency.is_floating_point():
        raise ValueError(
            f"frequency must be real [F], in cycles/pixel, not {frequency.dtype} "
            f"{tuple(frequency.shape)}"
        )
    check_between("frequency", frequency, 0, oversampling / 2, "cycles/pixel")
    frequency = frequency.to(picture.device)
    double = picture.double()
    found = [
        _measure(each, frequency.double(), oversampling)
        for each in double.reshape(-1, *picture.shape[-2:])
    ]
    measured = [one for one, _ in found]
    flat = double.detach().reshape(-1, *picture.shape[-2:])
    if any(_cut_off(each, ends[1]) for each in flat):
        warnings.warn(
            "the bright side of the edge has one value, the largest, as of a saturated picture, "
            "whose contrast comes out too high: expose shorter",
            UserWarning,
            stacklevel=2,
        )
    if any(_cut_off(-each, -ends[0]) for each in flat):
        warnings.warn(
            "the dark side of the edge has one value, the smallest, as of a picture whose black is "
            "cut off, whose contrast comes out too high, or of a side without light: raise the "
            "black level, or light the dark side more",
            UserWarning,
            stacklevel=2,
        )
    if (sloped := max(sloped for _, sloped in found)) > _SLOPED:
        warnings.warn(
            f"a side of the edge slopes by {100 * sloped:.2g} % of the step, as of uneven light, "
            "which is taken for blur or for contrast: light it evenly, divide by a picture of the "
            "light alone, or, of a wide blur, give more columns",
            UserWarning,
            stacklevel=2,
        )
    # Of edges that stand elsewhere the bins on either side are more or fewer; all are even in
    # number about the edge.
    length = min(len(one.lsf) for one in measured)
    cut = [(len(one.lsf) - length) // 2 for one in measured]
    shape = picture.shape[:-2]
    mtf = torch.stack([one.mtf for one in measured]).reshape(*shape, -1)
    angle = torch.stack([one.angle for one in measured]).reshape(shape)
    lsf, position = (
        torch.stack([values[k : k + length] for values, k in zip(each, cut, strict=True)])
        for each in ([one.lsf for one in measured], [one.position for one in measured])
    )
    kind = picture.dtype
    return SlantedEdge(
        mtf.to(kind),
        frequency.to(kind),
        angle.to(kind),
        lsf.reshape(*shape, -1).to(kind),
        position.reshape(*shape, -1).to(kind),
    )


def _measure(picture: Tensor, frequency: Tensor, oversampling: int) -> tuple[SlantedEdge, float]:
    """What one picture ``[H, W]`` shows, and the part of the step by which a side slopes."""
    height, width = picture.shape
    middle, slope = _line(picture)
    x = torch.arange(width, dtype=torch.float64, device=picture.device)
    edge = middle + slope * coordinates(height, device=picture.device)
    least = math.floor(min(float(edge.detach().min()), width - 1 - float(edge.detach().max())))
    if least < _LEAST_SIDE:
        raise ValueError(
            f"the edge comes within {least} pixels of a side of the picture {height} x {width}; "
            f"give at least {_LEAST_SIDE} on both, and as many as the blur is wide"
        )
    # As far as half of the rows reach: a window as narrow as the edge is close would narrow with
    # every row, and its cut would lift the contrast.
    side = math.floor(min(float(middle.detach()), width - 1 - float(middle.detach())))
    distance = x - edge[:, None]
    bins = ((distance.detach() + side) * oversampling).floor().long()
    count = 2 * side * oversampling
    near = (bins >= 0) & (bins < count)
    empty = picture.new_zeros(count)
    members = empty.scatter_add(0, bins[near], torch.ones_like(picture)[near])
    # Whole pixels up to the first bin that these rows leave empty.
    outward = (coordinates(count, device=picture.device) + 0.5).abs() / oversampling
    gaps = outward[members == 0]
    full = min(side, math.floor(float(gaps.min()))) if len(gaps) else side
    if full < least:
        raise ValueError(
            f"an edge at {math.degrees(slope.detach().atan()):.3g} degrees leaves some of the "
            f"{oversampling} bins of a pixel empty; tilt it by 2 to 10 degrees, give more rows, or "
            "a lower oversampling"
        )
    kept = slice((side - full) * oversampling, (side + full) * oversampling)
    side, members = full, members[kept]
    profile = empty.scatter_add(0, bins[near], picture[near])[kept] / members
    spread = profile.diff()
    # The pixels of a bin are seldom even about its middle: their mean is where it stands. It is
    # this that makes cutting the rows to whole periods of the grid unnecessary.
    centre = empty.scatter_add(0, bins[near], distance[near])[kept] / members
    place = (centre[1:] + centre[:-1]) / 2
    # Distances are along a row: across the edge they are shorter by cos(angle).
    across = slope.atan().cos()
    lsf = spread / (spread.sum() * centre.diff() * across)
    spread = spread * (0.54 + 0.46 * torch.cos(math.pi * place / side))
    # Along a row the edge is stretched by 1 / cos(angle).
    along = frequency * across
    # Each step lies evenly between the places of its two bins, which are unequally far apart.
    steps = spread * torch.sinc(along[:, None] * centre.diff())
    turns = 2 * math.pi * along[:, None] * place
    real, imaginary = (steps * turns.cos()).sum(-1), (steps * turns.sin()).sum(-1)
    # One for the width of a bin, one for the difference of two, one for the evenness of a step.
    left = torch.sinc(along / oversampling) ** 3
    mtf = _modulus(real, imaginary) / (spread.sum().abs() * left)
    sloped = _sloped(centre.detach(), (profile / (profile[-1] - profile[0])).detach(), side)
    return SlantedEdge(mtf, frequency, slope.atan(), lsf, place * across), sloped


def _ends(picture: Tensor | np.ndarray) -> tuple[float, float]:
    """Lowest and highest value of the type of a picture of whole numbers; infinite of fractions."""
    if isinstance(picture, np.ndarray):
        whole = np.iinfo(picture.dtype) if picture.dtype.kind in "ui" else None
    else:
        kind = picture.dtype if isinstance(picture, Tensor) else torch.bool
        counted = not (kind.is_floating_point or kind.is_complex or kind == torch.bool)
        whole = torch.iinfo(kind) if counted else None
    if whole is None:
        return -math.inf, math.inf
    return float(whole.min), float(whole.max)


def _cut_off(picture: Tensor, highest: float) -> bool:
    """Whether the bright side of an edge ``[H, W]`` is cut off at the largest value."""
    dark, bright = picture[:, :2], picture[:, -2:]
    if bright.mean() < dark.mean():
        dark, bright = bright, dark
    largest = picture.max()
    if float((bright == largest).double().mean()) <= _CUT_OFF:
        return False
    noise = float(dark.diff(n=2, dim=0).abs().mean())
    told = max(_CODES * float(code_step(picture)), _NOISE * float(bright.mean() - dark.mean()))
    return float(largest) >= highest or noise > told


def _sloped(distance: Tensor, profile: Tensor, side: int) -> float:
    """Change of a side of the edge from there to its end, the larger of the two; 0 if by chance.

    By the least-squares line through the outer half of each.
    """
    outer = len(profile) // 4
    if outer < 3:
        return 0.0
    x = torch.stack([distance[:outer], distance[-outer:]])
    y = torch.stack([profile[:outer], profile[-outer:]])
    x, y = (each - each.mean(1, keepdim=True) for each in (x, y))
    power = x.square().sum(1)
    slope = (x * y).sum(1) / power
    noise = (y - slope[:, None] * x).square().sum(1) / (outer - 2)
    sure = slope.abs() > _SURE * (noise / power).sqrt()
    return float((slope.abs() * sure).max()) * side


def _modulus(real: Tensor, imaginary: Tensor) -> Tensor:
    # The root's slope is infinite at 0.
    power = real.square() + imaginary.square()
    dark = power < torch.finfo(power.dtype).tiny
    return torch.where(dark, 0.0, torch.where(dark, 1.0, power).sqrt())


def _line(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Column of the edge in the row ``H // 2``, and by how many columns it moves in a row."""
    height, width = picture.shape
    if min(height, width) < 2 * _LEAST_SIDE:
        raise ValueError(
            f"picture must be at least {2 * _LEAST_SIDE} x {2 * _LEAST_SIDE} pixels, not "
            f"{height} x {width}"
        )
    across = float((picture[:, -2:].mean() - picture[:, :2].mean()).detach())
    down = float((picture[-2:].mean() - picture[:2].mean()).detach())
    if abs(down) > abs(across):
        raise ValueError(
            "the edge runs along the rows rather than across them; give picture.mT, and crop it "
            "so that one edge runs from the first row to the last"
        )
    steps = picture.diff(dim=1) * math.copysign(1.0, across)
    x = torch.arange(width - 1, dtype=torch.float64, device=picture.device) + 0.5
    y = coordinates(height, device=picture.device)
    middle, slope = picture.new_tensor(width / 2 - 0.5), picture.new_zeros(())
    scatter = math.inf
    for _ in range(3):  # the window follows the line
        place = (x - (middle + slope * y)[:, None]) / width
        lit = (0.54 + 0.46 * torch.cos(2 * math.pi * place.clamp(-0.5, 0.5))) * steps
        total = lit.sum(1)
        if not bool((total > 0).all()):
            scatter = math.inf
            break
        centroid = (lit * x).sum(1) / total
        slope = (y * (centroid - centroid.mean())).sum() / (y * (y - y.mean())).sum()
        middle = centroid.mean() - slope * y.mean()
        scatter = float((centroid - middle - slope * y).detach().square().mean().sqrt())
    if not scatter < _CROOKED:
        raise ValueError(
            "picture has no straight edge from the first row to the last, or too much noise about "
            "it; crop it to one edge, or average more pictures"
        )
    way = abs(float(slope.detach())) * height
    if way < 1:
        raise ValueError(
            f"the edge moves by {way:.2g} pixels over {height} rows, less than the one that shows "
            "it in all phases of the grid; tilt it by 2 to 10 degrees, or give more rows"
        )
    return middle, slope
