"""Rate against distortion of codecs on picture files, and the differences of their curves.

::

    size, MSE, SSIM, MS-SSIM of N pictures ─pooled by pixels─► a curve of each codec ─┐
    halves of the pictures, for all codecs alike ─────────────────────────────────────┴─► BD-rate

As in the CLIC challenge, bits and squared errors of all pictures are summed before they are
divided and converted to dB: a large picture counts by its pixels, and a lossless one does not make
the total PSNR infinite. ``compress.rate_curve``, for pictures of one size, takes the mean PSNR of
the pictures instead, which is higher (Jensen's inequality).
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, final, get_args

import numpy as np
import numpy.typing as npt

from classify.intervals import (
    check_resampling,
    halves,
    membership,
    source,
    typical_interval,
    typical_p,
)
from compress.metrics import SSIM_WINDOW
from joint.cells import aligned
from joint.picture.measure import MeasuredCodec, MeasuredPictures
from joint.record import Record

from .curve_difference import (
    MINIMUM_OVERLAP,
    DrawnCurve,
    RateDifference,
    check_overlap,
    curve_difference,
    falls,
    told_difference,
    told_setting,
)

__all__ = [
    "DISTORTIONS",
    "Distortion",
    "DistortionCurve",
    "DistortionPoint",
    "RateDistortion",
    "rate_distortion",
]

Distortion = Literal["psnr", "ssim", "ms_ssim"]

DISTORTIONS: dict[Distortion, str] = {"psnr": "PSNR, dB", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}
"""Fidelity metrics of the curves, with their names for tables."""

Array = npt.NDArray[np.float64]


class DistortionPoint(NamedTuple):
    """Results of a codec at one setting over all pictures."""

    value: object
    """Value of the setting; None without one."""
    bpp: float
    """Bits of all files, headers included, over all pixels."""
    psnr: float
    """PSNR of the mean squared error over all pixels, dB; infinite if all are lossless."""
    ssim: float
    """Mean SSIM, weighted by the pixels of each picture; nan if a picture is too small."""
    ms_ssim: float
    """Mean MS-SSIM, likewise."""


@final
@dataclass(frozen=True)
class DistortionCurve:
    """A codec at several settings."""

    name: str
    setting: str
    """Name of the setting that changes from point to point, such as ``quality``; empty for a single
    point."""
    points: tuple[DistortionPoint, ...]
    """Points in the order of the settings."""
    falls: tuple[tuple[float, float], ...]
    """Pairs of rates between which the metric falls, and is pooled for the differences. This
    happens for a JPEG that is coded again: it is nearly exact at its own quality, and worse at a
    better one. Lossless points are not considered."""


@final
@dataclass(frozen=True)
class RateDistortion(Record):
    """Fidelity against bits per pixel of several codecs, on the same pictures."""

    metric: Distortion
    """Metric at equal values of which the bits are compared."""
    level: float
    """Confidence level of the intervals, which are over pictures."""
    pictures: int
    pixels: int
    """Number of pixels of all pictures."""
    scales: int | None
    """Number of scales of MS-SSIM; fewer than five if a picture is smaller than 161 pixels."""
    curves: tuple[DistortionCurve, ...]
    """Curves in the order of the given codecs."""
    anchor: str
    """Name of the reference codec."""
    differences: tuple[RateDifference, ...]
    """Differences from the anchor, of every other curve with a lossy point; their ``accuracy`` is
    the metric. p and verdicts are not corrected for the number of comparisons."""

    def __str__(self) -> str:
        alike = (
            f"SSIM, MS-SSIM: none, as a picture is smaller than {SSIM_WINDOW}x{SSIM_WINDOW}"
            if self.scales is None
            else f"SSIM, MS-SSIM of {self.scales} {'scale' if self.scales == 1 else 'scales'}: "
            "mean over pictures, weighted by pixels"
        )
        lines = [
            f"{self.pictures} {'picture' if self.pictures == 1 else 'pictures'}, {self.pixels} "
            "pixels; bits/pixel: whole files, headers included, over all pixels;",
            f"PSNR: of the mean squared error over all pixels; {alike}",
        ]
        table = [["codec", "setting", "bits/pixel", *DISTORTIONS.values()]]
        for curve in self.curves:
            for each in curve.points:
                at = told_setting(curve.setting, each.value)
                psnr = "lossless" if math.isinf(each.psnr) else f"{each.psnr:.2f}"
                alike = [f"{x:.4f}" if math.isfinite(x) else "" for x in (each.ssim, each.ms_ssim)]
                table.append([curve.name, at, f"{each.bpp:.4f}", psnr, *alike])
        lines += aligned(table)
        name = _called(self.metric)
        for curve in self.curves:
            for low, high in curve.falls:
                lines.append(
                    f"  {curve.name}: {name} falls from {low:.4f} to {high:.4f} bits/pixel, and is "
                    "pooled for the differences"
                )
        if self.differences:
            lines.append(
                f"bits at equal {name} (BD-rate), and {DISTORTIONS[self.metric]}, at equal rate; "
                f"{100 * self.level:g} % intervals over pictures"
            )
            lines += [f"  {told_difference(each, name)}" for each in self.differences]
        return "\n".join(lines)


def _called(metric: Distortion) -> str:
    """A metric without its unit."""
    return DISTORTIONS[metric].partition(",")[0]


def rate_distortion(
    measured: MeasuredPictures,
    *,
    metric: Distortion = "psnr",
    anchor: str | None = None,
    minimum_overlap: float = MINIMUM_OVERLAP,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> RateDistortion:
    """Curves of fidelity against bits per pixel, and their differences from one of them.

    The same halves of the pictures are drawn for all codecs, so that the difficulty of the pictures
    cancels in the differences; rates and fidelity are pooled on each half. A point that is lossless
    on all pictures is left out of the differences, for every metric, because it would widen their
    range. So is a point that is lossless on all pictures of a half, on that half.

    Parameters
    ----------
    measured : MeasuredPictures
        Result of :func:`joint.picture.measure.measure_pictures`.
    metric : {"psnr", "ssim", "ms_ssim"}
        Metric at equal values of which bits are compared; MS-SSIM itself, not in dB.
    anchor : str, optional
        Name of the reference codec; the first by default.
    minimum_overlap : float
        Share of the narrower curve's range that both must cover, 0..1; smaller by default than in
        :func:`compress.bd_rate`.
    resamples : int
        Number of random halves; for few pictures every half once. 0 for no intervals.
    level : float
        Confidence level in (0, 1).
    seed : int
        Random seed of the halves.

    Returns
    -------
    RateDistortion

    Raises
    ------
    ValueError
        For an invalid metric, anchor, overlap, number of halves or level, or a metric for which a
        picture is too small.

    References
    ----------
    :func:`compress.bd_rate`; the intervals are those of :func:`rate_curves`.
    """
    if metric not in get_args(Distortion):
        raise ValueError(f"metric must be one of {', '.join(get_args(Distortion))}, not {metric!r}")
    if metric != "psnr" and measured.scales is None:
        raise ValueError(
            f"a picture is smaller than {SSIM_WINDOW}x{SSIM_WINDOW} pixels, and has no {metric}: "
            "leave it out, or compare by psnr"
        )
    names = [codec.name for codec in measured.codecs]
    anchor = names[0] if anchor is None else anchor
    if anchor not in names:
        raise ValueError(f"there is no codec {anchor!r}: choose from {', '.join(names)}")
    check_overlap(minimum_overlap)
    if resamples:
        check_resampling(resamples, level)
    count = len(measured.names)
    drawn = np.zeros((0, count))
    if resamples:
        chunks = halves(membership(None, count), resamples, source(None, seed))
        drawn = np.concatenate([*chunks])
    curves = tuple(_curve(codec, measured.pixels, metric) for codec in measured.codecs)
    lines = {codec.name: _drawn(codec, measured.pixels, drawn, metric) for codec in measured.codecs}
    # Where every half was drawn, it is not draws that are missing.
    every = len(drawn) == 2**count - 1
    few = f"{count} {'picture is' if count == 1 else 'pictures are'}" if every else None
    differences = tuple(
        curve_difference(
            lines[name],
            lines[anchor],
            minimum_overlap=minimum_overlap,
            level=level,
            judge=lambda _, draws: (typical_interval(draws, level), typical_p(draws)),
            metric=_called(metric),
            few=few,
        )
        for name in names
        if name != anchor and np.isfinite(lines[name].accuracy).any()
    )
    return RateDistortion(
        metric=metric,
        level=level,
        pictures=count,
        pixels=int(measured.pixels.sum()),
        scales=measured.scales,
        curves=curves,
        anchor=anchor,
        differences=differences,
    )


def _pooled(codec: MeasuredCodec, pixels: Array, weights: Array) -> dict[str, Array]:
    """Rates and fidelity ``[r, n]`` of all pictures, each counted by its ``weights`` ``[r, N]``."""
    counted = weights * pixels
    shares = counted / counted.sum(1, keepdims=True)
    with np.errstate(divide="ignore"):  # of no error at all
        psnr = -10 * np.log10(shares @ codec.mse)
    return {
        "bpp": 8 * (weights @ codec.size) / counted.sum(1, keepdims=True),
        "psnr": psnr,
        "ssim": shares @ codec.ssim,
        "ms_ssim": shares @ codec.ms_ssim,
    }


def _curve(codec: MeasuredCodec, pixels: Array, metric: Distortion) -> DistortionCurve:
    whole = _pooled(codec, pixels, np.ones((1, len(pixels))))
    points = tuple(
        DistortionPoint(value, **{name: float(each[0, place]) for name, each in whole.items()})
        for place, value in enumerate(codec.values)
    )
    lossy = sorted((p.bpp, getattr(p, metric)) for p in points if math.isfinite(p.psnr))
    fallen = falls([rate for rate, _ in lossy], [number for _, number in lossy])
    return DistortionCurve(codec.name, codec.setting, points, fallen)


def _drawn(codec: MeasuredCodec, pixels: Array, drawn: Array, metric: Distortion) -> DrawnCurve:
    """A curve on halves of the pictures; of what is lossless, any metric is infinite."""
    whole = _pooled(codec, pixels, np.ones((1, len(pixels))))
    part = _pooled(codec, pixels, drawn)
    own, halved = (np.where(np.isinf(of["psnr"]), np.inf, of[metric]) for of in (whole, part))
    return DrawnCurve(codec.name, whole["bpp"][0], own[0], part["bpp"], halved)
