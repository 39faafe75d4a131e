"""Panels of a classification report: confusion matrix, reliability, and curves."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from classify import OperatingCurve, Reliability
from classify.intervals import wilson_intervals

from .look import looks, open_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

__all__ = [
    "SHADE",
    "draw_confusion",
    "draw_precision_recall",
    "draw_reliability",
    "draw_roc",
    "label_recalls",
]

_Points = tuple[np.ndarray, np.ndarray]

#: Meaning of the shades of a confusion matrix, for its colour bar.
SHADE = "share of the true class"

_BLUE = (0.13, 0.44, 0.71)


def draw_confusion(axis: "Axes", confusion: np.ndarray, classes: Sequence[str]) -> "AxesImage":
    """Draw a confusion matrix: shades show the share of the true class, numbers the count.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Axes to draw into.
    confusion : array ``[K, K]``
        Counts, a row for each true class.
    classes : sequence of str
        Names of the classes.

    Returns
    -------
    matplotlib.image.AxesImage
        Image for a colour bar.
    """
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawn = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(counts)):
        for column in range(len(counts)):
            colour = "white" if share[row, column] > 0.55 else "black"
            axis.text(
                column,
                row,
                f"{counts[row, column]}",
                ha="center",
                va="center",
                color=colour,
                fontsize=8,
            )
    # Tick labels follow the settings at creation of the axes, whatever holds here.
    names = {"labels": list(classes), "parse_math": False}
    axis.set_xticks(range(len(classes)), rotation=45, ha="right", rotation_mode="anchor", **names)
    axis.set_yticks(range(len(classes)), **names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    return drawn


def label_recalls(
    axis: "Axes", recall: np.ndarray, intervals: np.ndarray, *, heading: str = "recall"
) -> None:
    """Write the recall of each class, and its interval, to the right of a confusion matrix.

    Parameters
    ----------
    axis : Axes
        Axes of :func:`draw_confusion`.
    recall : array ``[K]``
        Recall of each class.
    intervals : array ``[K, 2]``
        Interval of each; NaN where there is none.
    heading : str
        Text below the column.
    """
    beside = axis.get_yaxis_transform()  # x in widths of the axes, y in rows
    for row, (value, (low, high)) in enumerate(zip(recall, intervals, strict=True)):
        text = "no interval" if np.isnan(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"
        axis.text(1.03, row, text, transform=beside, va="center", fontsize=8)
    axis.text(1.03, -0.02, heading, transform=axis.transAxes, va="top", fontsize=8)


def draw_reliability(axis: "Axes", reliability: Reliability, *, level: float = 0.95) -> None:
    """Draw accuracy against confidence; the shade of a bar shows its share of the pictures.

    Bars below the diagonal are overconfident, bars above it underconfident. Lines are Wilson
    intervals of ``level``, which count each picture as independent.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Axes to draw into.
    reliability : classify.Reliability
    level : float
        Level of the intervals, such as 0.95.
    """
    edges, count = reliability.edges, reliability.count
    share = count / count.sum()
    filled = count > 0
    axis.bar(
        edges[:-1][filled],
        reliability.accuracy[filled],
        np.diff(edges)[filled],
        align="edge",
        color=[(*_BLUE, 0.25 + 0.75 * part / share.max()) for part in share[filled]],
        edgecolor="white",
    )
    at = reliability.confidence[filled]
    low, high = wilson_intervals(reliability.accuracy[filled], count[filled], level=level).T
    axis.vlines(at, low, high, color="black", linewidth=1)
    axis.plot(at, reliability.accuracy[filled], "o", color="black", ms=3)
    axis.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.set_xlabel(
        f"confidence; darker bars hold more pictures\nlines: {100 * level:g} % Wilson intervals"
    )
    axis.set_ylabel("share of correct predictions")


def draw_roc(axis: "Axes", curves: Mapping[str, OperatingCurve | None]) -> "list[Line2D]":
    """Draw receiver operating characteristics; the dashed diagonal is chance.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Axes to draw into.
    curves : mapping of str to classify.OperatingCurve
        Curves by their legend labels. A curve that does not exist, or None, keeps its colour and
        its place in the legend.

    Returns
    -------
    list of matplotlib.lines.Line2D
        One for each, for a legend.
    """
    axis.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    found = {
        label: None
        if curve is None or math.isnan(curve.auc)
        else (curve.false_positive_rate, curve.recall)
        for label, curve in curves.items()
    }
    axis.set(xlabel="false positive rate (1 − specificity)", ylabel="recall (sensitivity)")
    return _draw_curves(axis, found)


def draw_precision_recall(
    axis: "Axes", curves: Mapping[str, OperatingCurve | None]
) -> "list[Line2D]":
    """Draw precision against recall; a dotted line at the prevalence is chance.

    Each step has the precision of its end, so that the area is the average precision. Of several
    thresholds with the same recall, the highest is drawn: the others find nothing more.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Axes to draw into.
    curves : mapping of str to classify.OperatingCurve
        As for :func:`draw_roc`.

    Returns
    -------
    list of matplotlib.lines.Line2D
        One for each, for a legend.
    """
    found: dict[str, _Points | None] = {}
    for (label, curve), look in zip(curves.items(), looks(len(curves)), strict=True):
        found[label] = None
        if curve is not None and curve.pictures:
            axis.axhline(curve.prevalence, color=look.colour, linestyle=":", linewidth=1)
            rises = 1 + np.flatnonzero(np.diff(curve.recall))
            # Precision without any positive is a convention: use that of the end of the first step.
            precision = curve.precision[np.append(rises[0], rises)]
            found[label] = (np.append(0, curve.recall[rises]), precision)
    axis.set(xlabel="recall (sensitivity)", ylabel="precision")
    return _draw_curves(axis, found, drawstyle="steps-pre")


def _draw_curves(
    axis: "Axes",
    curves: Mapping[str, _Points | None],
    *,
    drawstyle: Literal["default", "steps-pre"] = "default",
) -> "list[Line2D]":
    """Draw lines in the unit square; a curve without points has only its legend entry."""
    lines = []
    for number, (label, look) in enumerate(zip(curves, looks(len(curves)), strict=True)):
        points = curves[label]
        (line,) = axis.plot(
            *(([], []) if points is None else points),
            f"{look.marker}-",
            color=look.colour,
            label=label,
            linewidth=1.3,
            markersize=3.5,
            drawstyle=drawstyle,
        )
        if points is not None:  # markers at even distances, offset from those of other curves
            line.set_markevery((0.25 * number / len(curves), 0.25))
        lines.append(line)
    ticks = np.linspace(0, 1, 6)
    # A small margin, so that no curve lies on the frame.
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, aspect="equal")
    open_axis(axis)
    return lines
