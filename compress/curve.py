"""Rate-quality curves and their differences, the Bjontegaard deltas.

Quality is any number that increases with the rate: PSNR in dB, MS-SSIM, the accuracy of a
classifier on the reconstructions. An accuracy measured on few pictures often does not increase from
one rate to the next. Such a curve has a quality at each rate, but no unique rate at a given
quality: the difference in rate is then refused, not smoothed.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from .given import is_number

__all__ = ["Interpolation", "RateCurve", "bd_quality", "bd_rate"]

Interpolation = Literal["pchip", "akima"]

LEAST_POINTS = 4
"""Minimum number of points of a curve."""

Array = NDArray[np.float64]


def bd_rate(
    anchor_rate: ArrayLike,
    anchor_quality: ArrayLike,
    test_rate: ArrayLike,
    test_quality: ArrayLike,
    *,
    method: Interpolation = "pchip",
    minimum_overlap: float = 0.5,
) -> float:
    """Return the rate difference of the test to the anchor at equal quality, in percent.

    The logarithm of the rate is interpolated over quality, by piecewise cubics through every point,
    and the difference is averaged over the qualities that both curves reach. Negative values mean
    that the test needs fewer bits. Points may be in any order, rates in any unit.

    Parameters
    ----------
    anchor_rate, test_rate : array_like
        Rates ``[n]``, at least 4, for instance in bits per pixel.
    anchor_quality, test_quality : array_like
        Quality at each rate ``[n]``, strictly increasing with the rate.
    method : {"pchip", "akima"}
        Slopes of the cubics: Fritsch and Carlson's, which stay monotone (used by JVET), or Akima's,
        which follow the curve more closely (used by Herglotz et al.).
    minimum_overlap : float
        Required overlap of the quality ranges, as a share of the narrower one, 0..1.

    Returns
    -------
    float
        Percent: -50 for half the bits.

    Raises
    ------
    ValueError
        If a curve has fewer than 4 points, a rate that is not positive, a value that is not finite,
        or a quality that does not increase with the rate; if the curves do not overlap enough; or
        if an argument is not one of those allowed.

    References
    ----------
    Bjøntegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001;
    with piecewise interpolation as in ITU-T HSTP-VID-WPOM, 2020. Herglotz et al., "The Bjøntegaard
    bible", IEEE TIP 33, 2024.
    """
    anchor = _check(anchor_rate, anchor_quality, "anchor", grows=True)
    test = _check(test_rate, test_quality, "test", grows=True)
    return _rate_difference(anchor, test, method, minimum_overlap)


def bd_quality(
    anchor_rate: ArrayLike,
    anchor_quality: ArrayLike,
    test_rate: ArrayLike,
    test_quality: ArrayLike,
    *,
    method: Interpolation = "pchip",
    minimum_overlap: float = 0.5,
) -> float:
    """Return the quality difference of the test to the anchor at equal rate.

    Quality is interpolated over the logarithm of the rate, and the difference averaged over the
    logarithms of the rates that both curves reach. The quality may also stay equal or decrease from
    one rate to the next, as an accuracy can.

    Parameters
    ----------
    anchor_rate, test_rate, method : as in :func:`bd_rate`
    anchor_quality, test_quality : array_like
        Quality at each rate ``[n]``.
    minimum_overlap : float
        As in :func:`bd_rate`, but for the range of the logarithms of the rates.

    Returns
    -------
    float
        In the unit of quality, dB for PSNR. Positive values mean that the test is better.

    Raises
    ------
    ValueError
        As in :func:`bd_rate`, except that the quality need not increase.
    """
    anchor = _check(anchor_rate, anchor_quality, "anchor")
    test = _check(test_rate, test_quality, "test")
    return _quality_difference(anchor, test, method, minimum_overlap)


@dataclass(frozen=True)
class RateCurve:
    """Rate and quality of a codec over its settings.

    At 128×128 pixels the header is a third of a small file, so a curve includes its header size:
    compare files with files, or both curves :meth:`without_header`.

    Raises
    ------
    ValueError
        If there is not one quality, and one header or a common one, for each rate; or a header is
        not finite, negative, or larger than its rate.
    """

    name: str
    rate: tuple[float, ...]
    """Mean size of the files at each setting, bits per pixel."""
    quality: tuple[float, ...]
    """Mean quality at each setting; for :func:`bd_rate` it must increase with the rate."""
    header: float | tuple[float, ...] | None = None
    """Part of each rate that does not depend on the picture, bits per pixel: one number for all
    settings, or one for each; None if unknown."""

    def __post_init__(self) -> None:
        """Convert lists, arrays and other sequences of numbers to tuples."""
        rate, quality = np.asarray(self.rate, np.float64), np.asarray(self.quality, np.float64)
        _check_shapes(rate, quality, self.name)
        object.__setattr__(self, "rate", tuple(rate.tolist()))
        object.__setattr__(self, "quality", tuple(quality.tolist()))
        if self.header is None:
            return
        header = np.asarray(self.header, np.float64)
        if header.shape not in ((), rate.shape):
            raise ValueError(
                f"the curve {self.name!r} needs one header, or one for each of its {rate.size} "
                f"rates, got headers {list(header.shape)}."
            )
        each = np.broadcast_to(header, rate.shape)
        wrong = ~(np.isfinite(each) & (each >= 0)) | (each > rate)
        if wrong.any():
            pairs = zip(each[wrong], rate[wrong], strict=True)
            named = ", ".join(f"{part:g} of {whole:g}" for part, whole in pairs)
            raise ValueError(
                f"the curve {self.name!r} has headers (of rates) {named}: a header is finite, 0 or "
                "more, and no more than its rate."
            )
        kept = tuple(header.tolist()) if header.ndim else float(header)
        object.__setattr__(self, "header", kept)

    def without_header(self) -> "RateCurve":
        """Return the curve of the rates minus their headers.

        Returns
        -------
        RateCurve
            A curve with header 0.

        Raises
        ------
        ValueError
            If the header is unknown.
        """
        if self.header is None:
            raise ValueError(
                f"the header of the curve {self.name!r} is unknown. Give it with "
                "dataclasses.replace(curve, header=bits_per_pixel), or define header_bytes in your "
                "codec before rate_curve measures it."
            )
        rate = np.asarray(self.rate) - np.asarray(self.header)
        return replace(self, rate=rate, header=0.0)

    def bd_rate(
        self,
        anchor: "RateCurve",
        *,
        method: Interpolation = "pchip",
        minimum_overlap: float = 0.5,
    ) -> float:
        """Return the rate difference to ``anchor`` at equal quality, in percent: :func:`bd_rate`.

        Parameters
        ----------
        anchor : RateCurve
        method, minimum_overlap : as in the function :func:`bd_rate`

        Returns
        -------
        float

        Raises
        ------
        TypeError
            When ``anchor`` is not a curve.
        ValueError
            As in the function :func:`bd_rate`.
        """
        _check_curve(anchor)
        a, b = (_check(c.rate, c.quality, c.name, grows=True) for c in (anchor, self))
        return _rate_difference(a, b, method, minimum_overlap)

    def bd_quality(
        self,
        anchor: "RateCurve",
        *,
        method: Interpolation = "pchip",
        minimum_overlap: float = 0.5,
    ) -> float:
        """Return the quality difference to ``anchor`` at equal rate: :func:`bd_quality`.

        Parameters
        ----------
        anchor : RateCurve
        method, minimum_overlap : as in the function :func:`bd_quality`

        Returns
        -------
        float

        Raises
        ------
        TypeError
            When ``anchor`` is not a curve.
        ValueError
            As in the function :func:`bd_quality`.
        """
        _check_curve(anchor)
        a, b = (_check(c.rate, c.quality, c.name) for c in (anchor, self))
        return _quality_difference(a, b, method, minimum_overlap)


class _Points(NamedTuple):
    """A curve that can be interpolated, by increasing rate."""

    name: str
    log_rate: Array
    quality: Array


def _check_curve(anchor: object) -> None:
    if not isinstance(anchor, RateCurve):
        raise TypeError(
            f"anchor must be a RateCurve, not {type(anchor).__name__}: make one with "
            "RateCurve('name', rates, qualities)."
        )


def _check_shapes(rate: Array, quality: Array, name: str) -> None:
    if rate.ndim != 1 or rate.shape != quality.shape:
        raise ValueError(
            f"the curve {name!r} needs one quality for each rate, got rates {list(rate.shape)} and "
            f"qualities {list(quality.shape)}."
        )


def _check(rate: ArrayLike, quality: ArrayLike, name: str, *, grows: bool = False) -> _Points:
    """Check and sort the points; with ``grows``, the quality must increase with the rate."""
    r, q = np.asarray(rate, np.float64), np.asarray(quality, np.float64)
    _check_shapes(r, q, name)
    if r.size < LEAST_POINTS:
        raise ValueError(
            f"the curve {name!r} has {r.size} points; at least {LEAST_POINTS} are needed."
        )
    order = np.argsort(r, kind="stable")
    r, q = r[order], q[order]
    points = [f"({x:g}, {y:g})" for x, y in zip(r, q, strict=True)]
    steps = [f"{first} to {second}" for first, second in itertools.pairwise(points)]

    def refuse_if(wrong: NDArray[np.bool_], fault: str, advice: str) -> None:
        if wrong.any():
            texts = points if wrong.size == len(points) else steps
            named = ", ".join(itertools.compress(texts, wrong))
            raise ValueError(f"the curve {name!r} {fault} at (rate, quality) {named}. {advice}")

    refuse_if(
        ~(np.isfinite(r) & np.isfinite(q)),
        "is not finite",
        "Leave out lossless points, and measure the others again.",
    )
    refuse_if(r <= 0, "has a rate that is not positive", "Rates are bits, header included or not.")
    log_rate = np.log(r)
    refuse_if(np.diff(log_rate) <= 0, "has two points of equal rate", "Average them first.")
    if grows:
        refuse_if(
            np.diff(q) <= 0,
            "is not monotone, its quality does not increase with the rate",
            "Measure on more pictures or seeds, compare an increasing part of the curve, or use "
            "bd_quality, the difference at equal rate.",
        )
    return _Points(name, log_rate, q)


def _rate_difference(
    anchor: _Points, test: _Points, method: Interpolation, minimum_overlap: float
) -> float:
    """Return the mean difference of the log rates as percent."""
    curves = [(curve.name, curve.quality, curve.log_rate) for curve in (anchor, test)]
    low, high = _common("quality", curves, minimum_overlap, float)
    return 100 * math.expm1(_mean_difference(curves, low, high, method))


def _quality_difference(
    anchor: _Points, test: _Points, method: Interpolation, minimum_overlap: float
) -> float:
    """Return the mean difference of the qualities."""
    curves = [(curve.name, curve.log_rate, curve.quality) for curve in (anchor, test)]
    low, high = _common("rate", curves, minimum_overlap, math.exp)
    return _mean_difference(curves, low, high, method)


def _common(
    axis: str,
    curves: list[tuple[str, Array, Array]],
    minimum_overlap: float,
    shown: Callable[[float], float],
) -> tuple[float, float]:
    """Return the interval of the abscissa that both curves reach, if it is wide enough."""
    if not is_number(minimum_overlap) or not 0 <= minimum_overlap <= 1:
        raise ValueError(f"minimum_overlap must be 0 to 1, got {minimum_overlap!r}.")
    ends = [(float(x[0]), float(x[-1])) for _, x, _ in curves]
    low, high = max(a for a, _ in ends), min(b for _, b in ends)
    share = (high - low) / min(b - a for a, b in ends)
    intervals = " and ".join(
        f"{name!r} from {shown(a):g} to {shown(b):g}"
        for (name, _, _), (a, b) in zip(curves, ends, strict=True)
    )
    if not share > 0:
        raise ValueError(
            f"the curves have no {axis} in common: {intervals}. Measure settings that overlap."
        )
    if share < minimum_overlap:
        raise ValueError(
            f"the curves share {share:.0%} of the narrower range of {axis}, less than "
            f"minimum_overlap={minimum_overlap}: {intervals}. Measure settings that overlap, or "
            "allow less."
        )
    return low, high


def _mean_difference(
    curves: list[tuple[str, Array, Array]], low: float, high: float, method: Interpolation
) -> float:
    """Return the mean over ``low..high`` of the second curve minus the first."""
    if method not in get_args(Interpolation):
        allowed = " or ".join(map(repr, get_args(Interpolation)))
        raise ValueError(f"method must be {allowed}, got {method!r}.")
    interpolator = PchipInterpolator if method == "pchip" else Akima1DInterpolator
    first, second = (float(interpolator(x, y).integrate(low, high)) for _, x, y in curves)
    return (second - first) / (high - low)
