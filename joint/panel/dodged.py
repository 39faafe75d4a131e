"""Figure of numbers with intervals for several series, side by side at each name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .look import blank_figure, draw_intervals, looks, open_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Spread", "dodged_figure"]


class Spread(NamedTuple):
    """Values and their intervals."""

    values: Sequence[float]
    intervals: Sequence[tuple[float, float]]
    """Lower and upper end of each; nan where there is none."""


def dodged_figure(
    names: Sequence[str],
    series: Mapping[str, Spread],
    *,
    quantity: str,
    even: float | None = None,
    joined: bool = False,
    title: str = "",
) -> "Figure":
    """Draw points with intervals, with the series side by side at each name.

    Parameters
    ----------
    names : sequence of str
        Names below the axis.
    series : mapping of str to Spread
        Numbers of each series, one for each name.
    quantity : str
        Label of the numbers.
    even : float, optional
        Value of no effect, marked by a horizontal line.
    joined : bool
        Connect the points of a series by lines.
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width = max(5.0, min(10.5, 1.2 + 0.28 * len(names) * (len(series) + 1.2)))
    figure = blank_figure(width, 3.1, title=title)
    axis = figure.subplots()
    places = np.arange(len(names))
    step = 0.6 / max(1, len(series))
    for number, (label, look) in enumerate(zip(series, looks(len(series)), strict=True)):
        at = places + step * (number - (len(series) - 1) / 2)
        draw_intervals(axis, at, *series[label], look, label=label, joined=joined)
    if even is not None:
        axis.axhline(even, color="grey", linestyle="--", linewidth=1)
    long = 0.09 * sum(len(name) + 2 for name in names) > width - 2
    slant = {"rotation": 25, "ha": "right"} if long else {}
    axis.set_xticks(places, labels=list(names), **slant)
    axis.set_ylabel(quantity)
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    open_axis(axis)
    return figure
