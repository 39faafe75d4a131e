"""Contrast of a whole camera from one picture of a tilted edge, after ISO 12233.

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

from .grid import coordinates
from .measured import code_step
from .quantity import (
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

# Pixels of the picture on either side of the edge that the profile needs at least.
_LEAST_SIDE = 4
# Scatter of the rows' centroids about the line, in pixels, that no straight edge has.
_CROOKED = 1.0
# Part of the bright border that has the largest value where it is saturated; noise of the dark one,
# in codes and in parts of the step, that a bright one shows too, by mean second differences: 2 of
# them are a deviation, and a smooth tail has none.
_SATURATED, _CODES, _NOISE = 0.5, 1.5, 1e-3


class SlantedEdge(NamedTuple):
    """What :func:`slanted_edge_mtf` measured in pictures ``[..., H, W]``.

    Attributes
    ----------
    mtf : Tensor ``[..., F]``
        Contrast at each frequency, 1 at zero.
    frequency : Tensor ``[F]``, cycles/pixel
        Across the edge.
    angle : Tensor ``[...]``, radians
        From a column to the edge, positive where the edge goes to +x as y grows.
    lsf : Tensor ``[..., N]``, 1/pixel
        Line spread function across the edge, with an integral of 1 over the picture; without the
        window. It holds the width of a bin, which the MTF does not.
    position : Tensor ``[..., N]``, pixels
        Where the line spread function was measured, from the edge; its steps, of a bin each, are
        not quite even.
    """

    mtf: Tensor
    frequency: Tensor
    angle: Tensor
    lsf: Tensor
    position: Tensor

    def frequency_at(self, contrast: float = 0.5) -> Tensor:
        """Lowest frequency at which the contrast has fallen so far: MTF50 for 0.5, linear between.

        Parameters
        ----------
        contrast : float
            In (0, 1).

        Returns
        -------
        Tensor ``[...]``, cycles/pixel
            NaN where it stays above up to the last frequency, or is below at the first.

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
        frequency, order = self.frequency.sort()  # they are told in any order
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
    """Modulation transfer function from a picture of an edge that is a few degrees off a column.

    The e-SFR of ISO 12233:2017, annex D: the centroids of the rows' differences give the line of
    the edge; the pixels are sorted by their distance from it into bins of a quarter pixel, as far
    as half of the rows reach; the difference of this profile, under a Hamming window, is
    transformed, and what bins and differences take is given back. Frequencies are counted across
    the edge, not along the row. What is measured is all that happened to the picture: lens, pixel,
    colour filter array, codec.

    Parameters
    ----------
    picture : Tensor or array, real ``[..., H, W]``
        Linear light of any scale, also whole numbers as of a PNG (sRGB as fractions through
        :func:`optics.srgb_to_linear`), not saturated, with one straight edge that runs from the
        first row to the last: 2 to 10 degrees off a column. For one along a row give
        ``picture.mT``. Each channel has a line of its own.
    frequency : Tensor, real ``[F]``, cycles/pixel, optional
        From 0 to half the oversampling; by default 101 from 0 to 1, or to that half.
    oversampling : int
        Bins in a pixel.

    Returns
    -------
    SlantedEdge
        Of the type of the picture, single precision for half and torch's default type for whole
        numbers; :func:`optics.psf_from_mtf` makes a PSF of its curve. It follows every value of the
        picture, and so can be part of a loss. Line spread functions of several pictures are as long
        as the shortest.

    Raises
    ------
    TypeError
        For a picture that is no Tensor and no array, or frequencies that are no Tensor.
    ValueError
        For a picture that is not real and finite, too small, or without one straight edge that
        crosses all rows; for frequencies that these bins do not hold; under ``torch.vmap``,
        for the edge decides how many bins there are (and ``torch.compile`` makes no single graph).

    Warns
    -----
    UserWarning
        When the bright side looks saturated: more than half of its border has the largest value,
        which is the highest of the picture's whole numbers or has none of the noise that the dark
        side has. Of a picture without noise, or in fractions of one, nothing else tells a clipped
        edge from a steep one.

    Notes
    -----
    A Gaussian blur of 0.5 to 1.5 pixels in 64 x 64, at 2 to 10 degrees, is met within 0.005 at
    every frequency up to 1. The window takes part of a wide spread, which lifts the contrast, the
    more the narrower the picture is, whatever its rows: a Gaussian of 1.5 pixels by 0.012 in a
    width of 40, 0.004 in 64 and 0.002 in 100, and diffraction with ``lambda N`` of 2.2 pixels,
    whose spread has no end, by 0.025 in 64 and 0.011 in 144. Noise of 1 % of the step scatters it
    by up to 0.02 in 64 x 64, and as a modulus it stays above zero: beyond the cut-off it reads 0.03
    of noise.
    """
    highest = _highest(picture)
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
    measured = [
        _measure(each, frequency.double(), oversampling)
        for each in double.reshape(-1, *picture.shape[-2:])
    ]
    if any(_saturated(each, highest) for each in double.detach().reshape(-1, *picture.shape[-2:])):
        warnings.warn(
            "the bright side of the edge has one value, the largest, as of a saturated picture, "
            "whose contrast comes out too high: expose shorter",
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


def _measure(picture: Tensor, frequency: Tensor, oversampling: int) -> SlantedEdge:
    """What one picture ``[H, W]`` shows."""
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
    return SlantedEdge(mtf, frequency, slope.atan(), lsf, place * across)


def _highest(picture: Tensor | np.ndarray) -> float:
    """Highest value of the type of a picture of whole numbers; infinity of fractions."""
    if isinstance(picture, np.ndarray):
        return np.iinfo(picture.dtype).max if picture.dtype.kind in "ui" else math.inf
    if not isinstance(picture, Tensor) or picture.is_floating_point() or picture.is_complex():
        return math.inf
    return math.inf if picture.dtype == torch.bool else torch.iinfo(picture.dtype).max


def _saturated(picture: Tensor, highest: float) -> bool:
    """Whether the bright side of an edge ``[H, W]`` is cut off at the largest value."""
    dark, bright = picture[:, :2], picture[:, -2:]
    if bright.mean() < dark.mean():
        dark, bright = bright, dark
    largest = picture.max()
    if float((bright == largest).double().mean()) <= _SATURATED:
        return False
    noise = float(dark.diff(n=2, dim=0).abs().mean())
    told = max(_CODES * float(code_step(picture)), _NOISE * float(bright.mean() - dark.mean()))
    return float(largest) >= highest or noise > told


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
