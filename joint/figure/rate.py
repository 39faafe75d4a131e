"""Accuracy or fidelity against the rate of several codecs."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from joint.analysis import AccuracyPoint, RateCurves, RateDistortion
from joint.analysis.rate_distortion import DISTORTIONS
from joint.panel.look import blank_figure, looks, no_formulas, open_axis

__all__ = ["distortion_figure", "rate_figure"]


@no_formulas()
def rate_figure(found: RateCurves, *, title: str = "") -> Figure:
    """Draw accuracy against bits per pixel, a line for each codec.

    Each point has its interval; a dashed line with a band is the system without a codec.

    Parameters
    ----------
    found : joint.analysis.RateCurves
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.

    Raises
    ------
    TypeError
        For the curves of a study, which :func:`joint.study.page.charts.rate_accuracy_figure` draws.
    """
    if not isinstance(found, RateCurves):
        raise TypeError(
            "rate_figure draws the RateCurves of joint.analysis.rate_curves, not a "
            f"{type(found).__name__}; joint.study.page.charts.rate_accuracy_figure draws the "
            "curves of a study (joint.study.rate_accuracy)"
        )
    figure = blank_figure(7.0, 4.4, title=title)
    axis = figure.subplots()
    for curve, look in zip(found.curves, looks(len(found.curves)), strict=True):
        rates = [each.rate for each in curve.points]
        name = curve.name if curve.counted else f"{curve.name} (estimated rates)"
        axis.errorbar(
            rates,
            [each.accuracy for each in curve.points],
            yerr=[*zip(*map(_reach, curve.points), strict=True)],
            fmt=f"{look.marker}-",
            color=look.colour,
            ms=4.5,
            linewidth=1.2,
            elinewidth=0.9,
            label=name,
        )
    if found.uncoded is not None:
        if found.uncoded.interval is not None:
            axis.axhspan(*found.uncoded.interval, color="grey", alpha=0.12, linewidth=0)
        level = found.uncoded.accuracy
        axis.axhline(level, color="grey", linestyle="--", linewidth=1, label="without a codec")
    _against_rate(axis)
    intervals = f"{100 * found.level:g} % intervals over {found.unit}"
    axis.set_ylabel(f"{found.metric.replace('_', ' ')}\n({intervals})")
    return figure


@no_formulas()
def distortion_figure(found: RateDistortion, *, title: str = "") -> Figure:
    """Draw fidelity against bits per pixel, a line for each codec.

    The fidelity is the metric at equal values of which ``found`` compares bits. A lossless point
    has no finite PSNR and is drawn as a vertical line at its rate.

    Parameters
    ----------
    found : joint.analysis.RateDistortion
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.

    Raises
    ------
    TypeError
        For another result.
    """
    if not isinstance(found, RateDistortion):
        raise TypeError(
            "distortion_figure draws the RateDistortion of joint.analysis.rate_distortion, not a "
            f"{type(found).__name__}"
        )
    figure = blank_figure(7.0, 4.4, title=title)
    axis = figure.subplots()
    for curve, look in zip(found.curves, looks(len(found.curves)), strict=True):
        points = sorted((each.bpp, getattr(each, found.metric)) for each in curve.points)
        drawn = [point for point in points if math.isfinite(point[1])]
        style = {"color": look.colour, "linewidth": 1.2}
        if drawn:
            rates, numbers = zip(*drawn, strict=True)
            axis.plot(rates, numbers, f"{look.marker}-", ms=4.5, label=curve.name, **style)
        for rate in [rate for rate, number in points if not math.isfinite(number)]:
            name = "" if drawn else curve.name
            axis.axvline(rate, linestyle=":", label=f"{name} (lossless)" if name else None, **style)
    axis.set_ylabel(DISTORTIONS[found.metric])
    _against_rate(axis)
    return figure


def _against_rate(axis: Axes) -> None:
    """Label the rate axis, and put the names beside the curves, where they cover nothing."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))  # curves may span one decade
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    axis.set_xlabel("bits/pixel")
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    open_axis(axis)


def _reach(each: AccuracyPoint) -> tuple[float, float]:
    """Distance of the ends of an interval below and above its number; 0 without an interval."""
    if each.interval is None:
        return 0.0, 0.0
    low, high = each.interval
    return max(0.0, each.accuracy - low), max(0.0, high - each.accuracy)
