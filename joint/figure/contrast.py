"""Contrast by class and plane, and recall and confusion against contrast."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from joint.analysis import ConfusionContrast, ContrastByClass, ContrastSweep, PairContrast
from joint.panel.dodged import Spread, dodged_figure
from joint.panel.look import (
    ABREAST,
    COLOURS,
    WRONG,
    blank_figure,
    by_name,
    label_points,
    looks,
    no_formulas,
    open_axis,
    panel_grid,
)

__all__ = ["confused_pairs_figure", "contrast_figure", "sweep_figure"]

_MEASURES = {
    "gcnr": "gCNR",
    "soft_gcnr": "soft gCNR",
    "cnr": "CNR",
    "rms": "RMS contrast",
    "weber": "Weber contrast",
    "michelson": "Michelson contrast",
    "delta_e": "ΔE (CIEDE2000)",
}

# Least share of the requested contrast at which a point counts as having that contrast.
_BEHIND = 0.98


@no_formulas()
def contrast_figure(
    found: Mapping[str, ContrastByClass] | ContrastByClass, *, title: str = ""
) -> Figure:
    """Draw the contrast of each class at several planes, or in several systems, side by side.

    Parameters
    ----------
    found : mapping of str to joint.analysis.ContrastByClass, or one
        Results of one measure and the same classes, by the name of the plane or system. Classes
        without a picture in the first result are left out.
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
        Without results, or for results with different measures or classes.
    """
    found = by_name(found, ContrastByClass, "contrast")
    first, *others = found.values()
    names = [row.name for row in first.classes]
    for each in others:
        if each.measure != first.measure or [row.name for row in each.classes] != names:
            raise ValueError(
                "a figure shows the contrast of one measure for the same classes, not "
                f"{first.measure} of {', '.join(names)}, and {each.measure} of "
                f"{', '.join(row.name for row in each.classes)}"
            )
    there = [k for k, row in enumerate(first.classes) if row.pictures]
    series = {}
    for name, each in found.items():
        rows = [each.classes[k] for k in there]
        series[name] = Spread([row.median for row in rows], [row.interval for row in rows])
    quantity = _MEASURES.get(first.measure, first.measure)
    return dodged_figure([names[k] for k in there], series, quantity=quantity, title=title)


@no_formulas()
def sweep_figure(found: Mapping[str, ContrastSweep] | ContrastSweep, *, title: str = "") -> Figure:
    """Draw recall of the same lesions against their contrast: one panel per system, three in a row.

    A marker is hollow if half of a class reaches less than 0.98 of the requested contrast, because
    colours that a picture cannot show are clipped.

    Parameters
    ----------
    found : mapping of str to joint.analysis.ContrastSweep, or one
        Results by the name of the system.
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
        Without a result.
    """
    found = by_name(found, ContrastSweep, "sweep")
    figure, axes = panel_grid(len(found), 5.0, 3.9, beside=1.4, sharey=True, title=title)
    hollow = False
    for axis, (name, sweep) in zip(axes, found.items(), strict=True):
        for k, (label, look) in enumerate(
            zip(sweep.classes, looks(len(sweep.classes)), strict=True)
        ):
            axis.plot(
                sweep.factors,
                sweep.recall[:, k],
                f"{look.marker}-",
                ms=4,
                linewidth=1.2,
                color=look.colour,
                label=label,
            )
            behind = sweep.achieved[:, k] < _BEHIND
            hollow |= bool(behind.any())
            axis.scatter(
                np.asarray(sweep.factors)[behind],
                sweep.recall[behind, k],
                marker=look.marker,
                s=16,
                facecolors="white",
                edgecolors=look.colour,
                zorder=3,
            )
        low, high = zip(*sweep.balanced_intervals, strict=True)
        axis.plot(
            sweep.factors, sweep.balanced_accuracy, "k-", linewidth=2.2, label="balanced accuracy"
        )
        axis.fill_between(
            sweep.factors,
            low,
            high,
            color="black",
            alpha=0.15,
            linewidth=0,
            label=f"its {100 * sweep.level:g} % interval",
        )
        axis.axvline(1, color="grey", linestyle=":", linewidth=1)
        axis.set(xlabel="contrast, as a multiple of the picture's own", ylim=(0, 1))
        axis.set_title(name, fontsize=9)
        open_axis(axis)
    for first in axes[::ABREAST]:
        first.set_ylabel("recall of each class")
    if hollow:
        axes[-1].scatter(
            [],
            [],
            s=16,
            facecolors="white",
            edgecolors="black",
            label=f"below {_BEHIND:g} of the\ncontrast, by clipping",
        )
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    return figure


@no_formulas()
def confused_pairs_figure(
    found: ConfusionContrast, *, marked: tuple[str, str] | None = None, title: str = ""
) -> Figure:
    """Draw how often each pair of classes is confused against their distance in contrast.

    The axis reaches beyond the points by their own range at most: an arrow at its end marks an
    interval that goes on.

    Parameters
    ----------
    found : joint.analysis.ConfusionContrast
    marked : (str, str), optional
        Names of two classes whose pair is drawn in a separate colour.
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.
    """
    figure = blank_figure(7.2, 4.8)
    axis = figure.subplots()
    colours, arrows = [], False
    left, right = _reach(found.pairs)
    for pair in found.pairs:
        strong = marked is not None and {pair.first, pair.second} == {*marked}
        colours.append(WRONG if strong else COLOURS[0])
        low, high = pair.distance_interval
        axis.hlines(pair.confusion, max(low, left), min(high, right), color=colours[-1], alpha=0.3)
        for end, arrow, beyond in ((left, "<", low < left), (right, ">", high > right)):
            if beyond:
                axis.plot(end, pair.confusion, arrow, ms=4, color=colours[-1], alpha=0.5)
                arrows = True
        axis.vlines(pair.distance, *pair.confusion_interval, color=colours[-1], alpha=0.3)
        axis.plot(
            pair.distance, pair.confusion, "D" if strong else "o", ms=5, color=colours[-1], zorder=3
        )
    low, high = found.interval
    axis.set_title(
        f"{title}{': ' if title else ''}Spearman {found.spearman:+.2f} [{low:+.2f}, {high:+.2f}]; "
        f"lines: {100 * found.level:g} % intervals over {found.unit}"
        f"{', arrows: beyond the axis' if arrows else ''}",
        fontsize=9,
    )
    measure = _MEASURES.get(found.measure, found.measure.replace("_", " "))
    apart = {"wasserstein": "Wasserstein distance", "separation": "separation"}[found.distance]
    axis.set_xlabel(f"{apart} of the two classes in {measure}")
    axis.set_ylabel("share confused, mean of both ways")
    open_axis(axis)
    label_points(
        axis,
        [(pair.distance, pair.confusion) for pair in found.pairs],
        [f"{pair.first}-{pair.second}" for pair in found.pairs],
        colours=colours,
        lines=[
            line
            for pair in found.pairs
            for line in (
                (
                    (max(pair.distance_interval[0], left), pair.confusion),
                    (min(pair.distance_interval[1], right), pair.confusion),
                ),
                (
                    (pair.distance, pair.confusion_interval[0]),
                    (pair.distance, pair.confusion_interval[1]),
                ),
            )
        ],
    )
    return figure


def _reach(pairs: Sequence[PairContrast]) -> tuple[float, float]:
    """Ends of the axis of distances: the points, and at most their range again at either side."""
    places = [pair.distance for pair in pairs]
    first, last = min(places), max(places)
    room = (last - first) or abs(last) or 1.0
    return first - room, last + room
