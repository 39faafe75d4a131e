"""Panels of a report on a classifier: its confusion matrix, and how sure it is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from classify import Reliability
from classify.intervals import wilson_intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["SHADE", "draw_confusion", "draw_reliability", "label_recalls"]

#: What the shades of a confusion matrix are, for its colour bar.
SHADE = "share of the true class"

_BLUE = (0.13, 0.44, 0.71)


def draw_confusion(axis: "Axes", confusion: np.ndarray, classes: Sequence[str]) -> "AxesImage":
    """Draw a confusion matrix: shade by share of the true class, number by count.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Where it is drawn.
    confusion : array ``[K, K]``
        Counts, a row for each true class.
    classes : sequence of str
        Names of the classes.

    Returns
    -------
    matplotlib.image.AxesImage
        For a colour bar.
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
    # Text of ticks is read as the axes were made to, whatever holds here.
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
        Of :func:`draw_confusion`.
    recall : array ``[K]``
        Of each class.
    intervals : array ``[K, 2]``
        nan where there is none.
    heading : str
        Stands below the column.
    """
    beside = axis.get_yaxis_transform()  # across in widths of the axes, down in rows
    for row, (value, (low, high)) in enumerate(zip(recall, intervals, strict=True)):
        text = "no interval" if np.isnan(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"
        axis.text(1.03, row, text, transform=beside, va="center", fontsize=8)
    axis.text(1.03, -0.02, heading, transform=axis.transAxes, va="top", fontsize=8)


def draw_reliability(axis: "Axes", reliability: Reliability, *, level: float = 0.95) -> None:
    """Draw how often predictions are right, by confidence; a shade tells the share of pictures.

    Bars below the diagonal are too sure, bars above it not sure enough; lines are Wilson's
    intervals of ``level``, for which each picture is evidence of its own.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Where it is drawn.
    reliability : classify.Reliability
    level : float
        Of the intervals, such as 0.95.
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
    axis.set_ylabel("share of right predictions")
