"""Spatial frequencies: which ones reach the classifier, and how much systems rely on each."""

from collections.abc import Mapping
from typing import final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from joint.analysis import Kept, Reliance, RingScores
from joint.panel.look import blank_figure, by_name, looks, no_formulas, open_axis, plain_log_axis

__all__ = ["kept_figure", "reliance_figure"]

_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "---", "+++")


@final
class _PlainNumbers(LogFormatter):
    """Plain labels where matplotlib puts labels between decades, which would be formulas."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


@no_formulas()
def kept_figure(found: Kept, *, title: str = "") -> Figure:
    """Draw which frequencies and regions of the scene reach the classifier, with intervals.

    Parameters
    ----------
    found : joint.analysis.Kept
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.
    """
    figure = blank_figure(12.5, 3.9, title=title)
    power, coherence, difference = figure.subplots(1, 3)
    step = 0.7 / len(found.systems)
    for number, (system, look) in enumerate(
        zip(found.systems, looks(len(found.systems)), strict=True)
    ):
        middle = [(annulus.low + annulus.high) / 2 for annulus in system.annuli]
        colour = look.colour
        for axis, name in ((power, "power"), (coherence, "coherence")):
            values = [getattr(annulus, name) for annulus in system.annuli]
            low, high = zip(*(getattr(a, f"{name}_interval") for a in system.annuli), strict=True)
            axis.plot(middle, values, f"{look.marker}-", ms=4, color=colour, label=system.name)
            axis.fill_between(middle, low, high, color=colour, alpha=0.25, linewidth=0)
        there = [d for d in system.differences if not np.isnan(d.rms)]
        at = np.arange(len(there)) + step * (number - (len(found.systems) - 1) / 2)
        hatch = _HATCHES[number % len(_HATCHES)]  # in addition to the colour, for print in grey
        difference.bar(
            at, [d.rms for d in there], 0.9 * step, color=colour, hatch=hatch, edgecolor="white"
        )
        low, high = zip(*(d.interval for d in there), strict=True)
        difference.vlines(at, low, high, color="black", linewidth=1.2)
        difference.set_xticks(range(len(there)), labels=[d.region for d in there])
    power.axhline(1, color="grey", linestyle="--", linewidth=1)
    power.set(xlim=(0, 0.5), xlabel="spatial frequency, cycles/pixel")
    plain_log_axis(power, "y", minor=_PlainNumbers())
    power.set_ylabel("power, classifier input / scene")
    coherence.set(ylim=(0, 1.02), xlim=(0, 0.5), xlabel="spatial frequency, cycles/pixel")
    coherence.set_ylabel("coherence with the scene")
    difference.set_ylabel("RMS difference to scene, codes of 8 bits")
    difference.set_xlabel(f"shades, black lines: {100 * found.level:g} % intervals over lesions")
    for axis in (power, coherence, difference):
        open_axis(axis)
    figure.legend(
        *coherence.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8
    )
    return figure


@no_formulas()
def reliance_figure(
    found: Mapping[str, Reliance] | Reliance, *, metric: str = "balanced_accuracy", title: str = ""
) -> Figure:
    """Draw the effect of each ring of the scenes' frequencies, above the power in it.

    A line spans a ring, and a shade is its interval. The frequency axis is in octaves; frequency 0
    is drawn one octave below the first boundary.

    Parameters
    ----------
    found : mapping of name to Reliance, or one
        Results of several systems, or of rings removed and rings kept alone. The lower panel shows
        the power of the first.
    metric : {"accuracy", "balanced_accuracy", "auc"}
        Metric whose change is drawn.
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.

    Raises
    ------
    TypeError
        For something that is not such a result.
    ValueError
        For another metric, or without a result.
    """
    found = by_name(found, Reliance, "reliance")
    if metric not in RingScores._fields:
        raise ValueError(f"metric must be one of {', '.join(RingScores._fields)}, not {metric!r}")
    figure = blank_figure(6.8, 4.8, title=title)
    change, power = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    every = [ring for each in found.values() for ring in each.rings]
    start = min(ring.low or ring.high / 2 for ring in every)
    for (name, each), look in zip(found.items(), looks(len(found)), strict=True):
        for number, ring in enumerate(each.rings):
            ends = np.array([max(ring.low, start), ring.high])
            score = getattr(ring.change, metric)
            change.fill_between(ends, *score.interval, color=look.colour, alpha=0.2, linewidth=0)
            change.plot(ends, [score.value] * 2, color=look.colour, linewidth=1.5)
            change.plot(
                np.sqrt(ends.prod()),
                score.value,
                look.marker,
                ms=5,
                color=look.colour,
                label=name if number == 0 else None,
            )
    first = next(iter(found.values()))
    for ring in first.rings:
        power.fill_between(
            [max(ring.low, start), ring.high], 0, 100 * ring.power, color="grey", alpha=0.5
        )
    change.axhline(0, color="grey", linestyle="--", linewidth=1)
    level = 100 * first.level
    named = {"auc": "AUC"}.get(metric, metric.replace("_", " "))
    change.set_ylabel(f"change of {named}\n(shades: {level:g} % intervals)", fontsize=9)
    ends = sorted({end for ring in every for end in (ring.low, ring.high)})
    power.set_xscale("log", base=2)
    power.set_xticks(
        [max(end, start) for end in ends], labels=[f"{end:.3g}" for end in ends], fontsize=8
    )
    power.minorticks_off()
    power.set(ylabel="% of variance", xlabel="spatial frequency of the scene, cycles/pixel")
    for axis in (change, power):
        open_axis(axis)
    if len(found) > 1:
        change.legend(fontsize=8)
    return figure
