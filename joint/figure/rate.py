"""What bits buy: accuracy against the rate of several codecs."""

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from joint.analysis import AccuracyPoint, RateCurves
from joint.panel.look import blank_figure, looks, no_formulas, open_axis

__all__ = ["rate_figure"]


@no_formulas()
def rate_figure(found: RateCurves, *, title: str = "") -> Figure:
    """Draw accuracy against bits per pixel, a line for each codec.

    A codec's interval is that of each point; a dashed line with a band is the system without one.

    Parameters
    ----------
    found : joint.analysis.RateCurves
    title : str
        Of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        For :func:`save_figure`.

    Raises
    ------
    TypeError
        For the curves of a study: they are drawn by :func:`joint.study.page.charts.rate_figure`.
    """
    if not isinstance(found, RateCurves):
        raise TypeError(
            f"rate_figure draws the RateCurves of joint.analysis.rate_curves, not a "
            f"{type(found).__name__}; joint.study.page.charts.rate_figure draws the curves of a "
            "study (joint.study.rate_accuracy)"
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
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))  # curves may lie in one decade
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    axis.set_xlabel("bits/pixel")
    intervals = f"{100 * found.level:g} % intervals over {found.unit}"
    axis.set_ylabel(f"{found.metric.replace('_', ' ')}\n({intervals})")
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))  # covers no interval
    open_axis(axis)
    return figure


def _reach(each: AccuracyPoint) -> tuple[float, float]:
    """How far an interval reaches below and above its number; nowhere without one."""
    if each.interval is None:
        return 0.0, 0.0
    low, high = each.interval
    return max(0.0, each.accuracy - low), max(0.0, high - each.accuracy)
