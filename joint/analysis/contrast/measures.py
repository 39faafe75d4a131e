"""Measures of the contrast of a lesion against the skin around it.

::

    picture [B, C, H, W] ─► light ─► Y, L*a*b* ─┐
                                                ├─ lesion against ring ─► Contrast
    mask [B, H, W] ─► lesion, ring, contour ────┘

Every measure is a differentiable function of the picture (but the histogram's gCNR, which has
:attr:`Contrast.soft_gcnr` as its twin), so what measures a camera can also train one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from joint.analysis.colour import ciede2000, exact, lab, luminance, root
from joint.analysis.region import check_masks, contour, octant, skin_ring
from joint.stages import Encoding, check_codes
from optics import srgb_to_linear
from optics.quantity import full_precision

from .gcnr import generalised_cnr

__all__ = ["MEASURES", "Causes", "Contrast", "Measure", "Undefined", "contrast"]

OneNumber = Literal["weber", "michelson", "rms", "cnr", "gcnr", "soft_gcnr", "delta_e", "edge"]
Measure = Literal[OneNumber, "octants"]

#: Names of the measures, the fields of :class:`Contrast`.
MEASURES: tuple[Measure, ...] = get_args(Measure)


class Causes(NamedTuple):
    """Reasons why a measure may not exist, bool ``[B]`` each."""

    no_lesion: Tensor
    """The mask is empty."""
    too_small: Tensor
    """In a plane with fewer pixels than the scene, no pixel is covered by half or more."""
    no_ring: Tensor
    """The lesion leaves no skin in the frame, between the ring's radii."""
    dark_ring: Tensor
    """The skin has no light."""
    dark: Tensor
    """Neither lesion nor skin has light."""
    flat: Tensor
    """Lesion and skin are constant: there is no spread to compare a difference with."""
    no_colour: Tensor
    """The plane does not have three colours, only brightness."""
    no_contour: Tensor
    """No border crosses the frame."""
    not_finite: Tensor
    """A value of the picture is NaN or infinite; then no measure exists."""


@dataclass(frozen=True)
class Undefined:
    """A measure that does not exist for some pictures, where it is NaN."""

    measure: Measure
    reason: str
    rows: tuple[int, ...]
    """Positions of the pictures."""

    @property
    def count(self) -> int:
        """Pictures."""
        return len(self.rows)

    def __str__(self) -> str:
        return f"{self.measure}: {self.count} undefined, {self.reason}"


_REASONS = {
    "no_lesion": "the mask is empty",
    "too_small": "the lesion covers no pixel of the plane by half or more",
    "no_ring": "no skin is left around the lesion",
    "dark_ring": "the skin has no light",
    "dark": "lesion and skin have no light",
    "flat": "lesion and skin are constant",
    "no_colour": "the plane does not have three colours",
    "no_contour": "no border of the lesion crosses the frame",
    "not_finite": "the picture has values that are not finite",
}
_GENERAL = ("no_lesion", "too_small", "no_ring", "not_finite")
# In the order in which they are blamed.
_CAUSES: dict[Measure, tuple[str, ...]] = {
    "weber": (*_GENERAL, "dark_ring"),
    "michelson": (*_GENERAL, "dark"),
    "rms": (*_GENERAL, "dark"),
    "cnr": (*_GENERAL, "flat"),
    "gcnr": _GENERAL,
    "soft_gcnr": _GENERAL,
    "delta_e": (*_GENERAL, "no_colour"),
    "edge": ("no_lesion", "too_small", "no_contour", "not_finite"),
    "octants": ("no_lesion", "too_small", "no_contour", "not_finite"),
}

# Of the two that have one, which are opposite.
_SIGNS = {"weber": ", negative: darker lesion", "michelson": ", positive: darker lesion"}


@dataclass(frozen=True)
class Contrast:
    """Contrast of lesions against the skin around them; NaN where a measure does not exist.

    M is the lesion, B the ring; Y is linear luminance, mu and s are mean and deviation over the
    pixels.
    """

    weber: Tensor
    """``(Y_M - Y_B) / Y_B``; negative for a dark lesion ``[B]``."""
    michelson: Tensor
    """``(Y_B - Y_M) / (Y_B + Y_M)``; positive for a dark lesion ``[B]``."""
    rms: Tensor
    """``s / mu`` of Y over lesion and ring together ``[B]``.

    The RMS of ``(Y - mu) / mu`` (Kukkonen et al., Vision Res. 33:1431, 1993); Peli's (JOSA A
    7:2032, 1990) is s alone, of values whose white is 1.
    """
    cnr: Tensor
    """``|mu_M - mu_B| / sqrt((s_M^2 + s_B^2) / 2)`` of Y ``[B]``.

    It uses the mean of the variances: sqrt(2) times the CNR with their sum, as in ultrasound
    (Rodriguez-Molares et al., IEEE TUFFC 67:745, 2020).
    """
    gcnr: Tensor
    """1 - overlap of the histograms of Y; no gradient ``[B]``. See :func:`generalised_cnr`."""
    soft_gcnr: Tensor
    """The same of histograms with linear bins, which have a gradient ``[B]``."""
    delta_e: Tensor
    """CIEDE2000 between the mean L*a*b* colours ``[B]``."""
    edge: Tensor
    """Mean length of the gradient of L*a*b* along the contour, ΔE*ab / pixel ``[B]``."""
    octants: Tensor
    """The same in each octant about the centroid, the first from +x towards +y ``[B, 8]``."""
    causes: Causes
    """Reasons for missing values, by picture."""

    def __str__(self) -> str:
        lines = [f"contrast of {len(self.weber)} pictures; their median, least and most"]
        for measure in MEASURES:
            values = getattr(self, measure).detach().flatten()
            there = values[~values.isnan()]
            if len(there):
                median = float(there.double().quantile(0.5))
                low, high = float(there.min()), float(there.max())
                sign = _SIGNS.get(measure, "")
                lines.append(f"{measure:10} {median:8.3f} [{low:.3f}, {high:.3f}]{sign}")
        return "\n".join([*lines, *map(str, self.undefined)])

    @property
    def undefined(self) -> tuple[Undefined, ...]:
        """Measures that are NaN, with reasons; for ``octants``, pictures with one NaN or more."""
        return tuple(self._undefined())

    def _undefined(self) -> Iterator[Undefined]:
        for measure in MEASURES:
            missing = getattr(self, measure).detach().isnan()
            left = missing.flatten(1).any(1) if missing.ndim > 1 else missing
            for cause in _CAUSES[measure]:
                here = left & getattr(self.causes, cause)
                left = left & ~here
                yield from _undefined_rows(measure, _REASONS[cause], here)
            other = (
                "the border does not cross all octants"
                if measure == "octants"
                else "the light is too bright to be squared in its precision"
            )
            yield from _undefined_rows(measure, other, left)

    def border_score(self, threshold: float = 2.0) -> Tensor:
        """B of the ABCD rule: number of octants with an abrupt pigment border, 0..8, ``[B]``.

        An octant is abrupt if its sharpness is above ``threshold``, in ΔE*ab / pixel. The rule
        leaves this to the eye, and the value depends on the pixel size. Octants whose border lies
        outside the frame count as the mean of the others; NaN if all do.

        References
        ----------
        Stolz et al., Eur. J. Dermatol. 4:521 (1994).
        """
        seen = ~self.octants.isnan()
        abrupt = (self.octants > threshold) & seen
        return 8 * abrupt.sum(-1).to(self.octants.dtype) / seen.sum(-1)

    @classmethod
    def concatenate(cls, parts: Sequence["Contrast"]) -> "Contrast":
        """The pictures of several results ``parts``, one after the other."""
        joined = [
            torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(cls)
            if field.name != "causes"
        ]
        causes = zip(*(part.causes for part in parts), strict=True)
        return cls(*joined, causes=Causes(*map(torch.cat, causes)))


def contrast(
    images: Tensor,
    masks: Tensor,
    *,
    inner: float = 2.0,
    outer: float = 10.0,
    encoding: Encoding = "srgb",
    bins: int = 64,
) -> Contrast:
    """Measure the contrast of lesions against a ring of skin around them.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]``, white at 1
        Three channels are red, green and blue. Of any other number the mean is taken as a
        brightness: ``delta_e`` does not exist, and ``edge`` and ``octants`` are of L* alone.
    masks : Tensor, bool ``[B, H, W]``
        True on the lesion. No gradient flows to them.
    inner, outer : float, pixels
        The ring's distances from the lesion; the defaults are meant for 200 x 150 pixels.
    encoding : {"srgb", "linear"}
        What the pictures are, as in :class:`joint.ImagingSystem`.
    bins : int
        Of the histograms of gCNR.

    Returns
    -------
    Contrast
        NaN, never 0, where a measure does not exist: :attr:`Contrast.undefined` says why. The
        gradient of a NaN is 0 for its own picture and does not touch the others. A picture that
        holds a value that is no finite number, wherever it is, has no measure.

    Raises
    ------
    TypeError
        When pictures or masks are not Tensors.
    ValueError
        When pictures and masks do not fit, the ring has no width, the encoding is unknown or
        there are fewer than 2 bins; on a CPU also for sRGB that cannot be meant to lie in 0..1.

    Examples
    --------
    A loss that keeps the visibility of a lesion through a codec::

        before, after = contrast(scene, masks), contrast(decoded, masks)
        loss = (after.delta_e - before.delta_e).square().nanmean()
    """
    check_masks(masks, images)
    check_codes(images, encoding)
    ring = skin_ring(masks, inner=inner, outer=outer)
    coloured = images.shape[1] == 3
    with full_precision(images):
        images = exact(images)
        # One such value would be in every sum of its picture, and in the gradients of all weights
        # that made the batch.
        finite = images.isfinite().flatten(1).all(1)
        images = torch.where(finite[:, None, None, None], images, 0)
        light = srgb_to_linear(images) if encoding == "srgb" else images
        if not coloured:
            light = light.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        bright, colours = luminance(light), lab(light)
        stats = _statistics(bright, masks, ring)
        means = _region_means(colours, masks, ring)
        border = contour(masks)
        edge, octants = _sharpness(colours, border, octant(masks))
        overlap, soft = (
            generalised_cnr(bright, masks, ring, bins=bins, soft=kind) for kind in (False, True)
        )
    causes = Causes(
        no_lesion=stats.count[:, 0] == 0,
        too_small=torch.zeros_like(stats.flat),
        no_ring=stats.count[:, 1] == 0,
        dark_ring=stats.mean[:, 1] <= 0,
        dark=stats.mean.sum(-1) <= 0,
        flat=stats.flat,
        no_colour=torch.full_like(stats.flat, not coloured),
        no_contour=~border.flatten(1).any(1),
        not_finite=~finite,
    )
    there = ~(causes.no_lesion | causes.no_ring) & finite
    lesion, skin = stats.mean.unbind(-1)
    both = (stats.count * stats.mean).sum(-1) / stats.count.sum(-1).clamp_min(1)
    return Contrast(
        weber=_ratio(lesion - skin, skin, there & ~causes.dark_ring),
        michelson=_ratio(skin - lesion, skin + lesion, there & ~causes.dark),
        rms=_ratio(root(stats.total_variance, negligible=0), both, there & ~causes.dark),
        cnr=_ratio(
            (lesion - skin).abs(),
            root(stats.variance.mean(-1), negligible=0),
            there & ~causes.flat,
        ),
        gcnr=_known(overlap, finite),
        soft_gcnr=_known(soft, finite),
        delta_e=_known(ciede2000(means[:, 0], means[:, 1]), there & ~causes.no_colour),
        edge=_known(edge, finite),
        octants=_known(octants, finite[:, None]),
        causes=causes,
    )


class _Statistics(NamedTuple):
    count: Tensor  # [B, 2], lesion and ring
    mean: Tensor  # [B, 2]
    variance: Tensor  # [B, 2]
    total_variance: Tensor  # [B], both together
    flat: Tensor  # [B], no spread within either, or none that can be squared


def _statistics(bright: Tensor, masks: Tensor, ring: Tensor) -> _Statistics:
    """Moments of the luminance in both regions, around their means: no digits cancel.

    Each picture has a unit of its own.
    """
    # The ratios made of them have no unit, and squares of faint light vanish: in units of a power
    # of 2, which rounds nothing, the brightest pixel is about 1.
    limits = torch.finfo(bright.dtype)
    largest = torch.where(masks | ring, bright.detach().abs(), 0).amax((-2, -1), keepdim=True)
    largest = largest.clamp(limits.tiny, limits.max / 8)
    bright = bright * (largest.frexp().mantissa / largest)
    count = torch.stack((masks, ring), 1).sum((-2, -1)).to(bright.dtype)
    mean = _region_means(bright[:, None], masks, ring)[..., 0]
    lesion, skin = mean[:, :1, None], mean[:, 1:, None]
    apart = torch.where(masks, bright - lesion, torch.where(ring, bright - skin, 0))
    variance = _region_means(apart.square()[:, None], masks, ring)[..., 0]
    # Told by the extremes: the mean of equal numbers need not be that number.
    extremes = [
        torch.where(region, bright, math.inf).amin((-2, -1))
        >= torch.where(region, bright, -math.inf).amax((-2, -1))
        for region in (masks, ring)
    ]
    shares = count / count.sum(-1, keepdim=True).clamp_min(1)
    between = shares.prod(-1) * (mean[:, 0] - mean[:, 1]).square()
    total = (shares * variance).sum(-1) + between
    flat = (extremes[0] & extremes[1]) | (variance.sum(-1) == 0)
    return _Statistics(count, mean, variance, total, flat)


def _region_means(values: Tensor, masks: Tensor, ring: Tensor) -> Tensor:
    """Means of ``[B, F, H, W]`` over both regions, ``[B, 2, F]``; 0 where one is empty."""
    weights = torch.stack((masks, ring), 1).flatten(2).to(values.dtype)
    count = weights.sum(-1, keepdim=True)
    return weights @ values.flatten(2).transpose(1, 2) / count.clamp_min(1)


def _sharpness(colours: Tensor, border: Tensor, octants: Tensor) -> tuple[Tensor, Tensor]:
    """Mean |grad Lab| along the contour ``[B]`` and in each octant of it ``[B, 8]``.

    The gradient is Sobel's, taken at the pixels of the contour only; outside of the frame the
    picture repeats its last pixels.
    """
    count, height, width = border.shape
    picture, y, x = border.nonzero(as_tuple=True)
    step = torch.arange(-1, 2, device=border.device)
    rows = (y[:, None, None] + step[:, None]).clamp(0, height - 1)
    columns = (x[:, None, None] + step).clamp(0, width - 1)
    around = colours.permute(0, 2, 3, 1)[picture[:, None, None], rows, columns]  # [n, 3, 3, 3]
    smooth, slope = (
        torch.tensor(taps, dtype=colours.dtype, device=colours.device)
        for taps in ((0.25, 0.5, 0.25), (-0.5, 0.0, 0.5))
    )
    down = torch.einsum("nyxc,y,x->nc", around, slope, smooth)
    right = torch.einsum("nyxc,y,x->nc", around, smooth, slope)
    length = root((down.square() + right.square()).sum(-1))
    cell = 8 * picture + octants[picture, y, x]
    pixels = torch.bincount(cell, minlength=8 * count).view(count, 8)
    total = colours.new_zeros(8 * count).index_add(0, cell, length).view(count, 8)
    return (
        _ratio(total.sum(-1), pixels.sum(-1).to(total.dtype), pixels.sum(-1) > 0),
        _ratio(total, pixels.to(total.dtype), pixels > 0),
    )


def _ratio(above: Tensor, below: Tensor, there: Tensor) -> Tensor:
    """Quotient where it exists, else NaN, whose gradient is 0."""
    return _known(above / torch.where(there, below, 1), there)


def _known(values: Tensor, there: Tensor) -> Tensor:
    return torch.where(there, values, math.nan)


def _undefined_rows(measure: Measure, reason: str, rows: Tensor) -> Iterator[Undefined]:
    if bool(rows.any()):
        yield Undefined(measure, reason, tuple(rows.nonzero().flatten().tolist()))
