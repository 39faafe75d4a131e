"""Appearance of figures: empty figures, colours and markers of series, frames, text.

Matplotlib is imported only when a figure is drawn.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ABREAST",
    "COLOURS",
    "RIGHT",
    "WRONG",
    "Look",
    "bare_axis",
    "blank_figure",
    "by_name",
    "draw_intervals",
    "label_points",
    "looks",
    "no_formulas",
    "open_axis",
    "panel_grid",
    "plain_log_axis",
    "plain_text",
]

T = TypeVar("T")

#: Okabe and Ito (2008) without black, which is reserved for other things, and without yellow, which
#: is faint on white paper; last the wine of Tol (2021). Distinct in all kinds of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
#: Colours of the predicted class: right and wrong.
RIGHT, WRONG = COLOURS[0], COLOURS[1]

#: Panels in a row of a grid.
ABREAST = 3

_MARKERS = "osD^vP*X<>"


def blank_figure(width: float, height: float, *, title: str = "") -> "Figure":
    """An empty figure with automatic layout that needs no screen; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title)
    return figure


def panel_grid(
    count: int,
    width: float,
    height: float,
    *,
    beside: float = 0.0,
    sharey: bool = False,
    title: str = "",
) -> tuple["Figure", list["Axes"]]:
    """A figure with a grid of ``count`` panels, :data:`ABREAST` in a row; panel sizes in inches.

    ``beside`` is the width reserved next to the grid, for example for a legend.
    """
    columns = min(count, ABREAST)
    rows = math.ceil(count / columns)
    figure = blank_figure(width * columns + beside, height * rows, title=title)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel().tolist()
    for empty in panels[count:]:
        empty.remove()
    return figure, panels[:count]


@contextmanager
def no_formulas() -> Iterator[None]:
    """Draw text literally: no sign in a class name starts a formula."""
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}):
        yield


@contextmanager
def plain_text() -> Iterator[None]:
    """Draw text literally, see :func:`no_formulas`, and small."""
    import matplotlib

    with matplotlib.rc_context({"font.size": 9}), no_formulas():
        yield


class Look(NamedTuple):
    """Appearance of a series."""

    colour: str
    """As ``#rrggbb``."""
    marker: str
    """Marker of matplotlib, which distinguishes the series in grey."""


def looks(count: int) -> list[Look]:
    """Appearance of each series: no two share a colour, and neighbours do not share a marker.

    Up to seven series have the colours of :data:`COLOURS`, in order; more have shades of viridis,
    which are in order in grey too.

    Parameters
    ----------
    count : int
        Number of series, up to 100.

    Raises
    ------
    ValueError
        When there are more series than shades.
    """
    if count > 100:
        raise ValueError(f"{count} series cannot be told apart: draw at most 100 in a figure")
    chosen = COLOURS[:count]
    if count > len(COLOURS):
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        # The last tenth of viridis is a yellow that is faint on white paper.
        shades = colormaps["viridis"]
        chosen = tuple(to_hex(shades(0.9 * n / (count - 1))) for n in range(count))
    return [Look(colour, _MARKERS[n % len(_MARKERS)]) for n, colour in enumerate(chosen)]


def by_name(found: Mapping[str, T] | T, kind: type[T], what: str) -> Mapping[str, T]:
    """Results of a ``kind`` by the names of their systems; a single one is named "the system".

    Raises
    ------
    TypeError
        For something that is not such a result.
    ValueError
        Without a result; the message says that there is no ``what`` to draw.
    """
    if isinstance(found, kind):
        return {"the system": found}
    given = found.values() if isinstance(found, Mapping) else [found]
    others = [each for each in given if not isinstance(each, kind)]
    if others or not isinstance(found, Mapping):
        raise TypeError(
            f"give results of {kind.__name__} by name, such as {{'sharp': found}}, or one, not "
            f"{type(others[0]).__name__}"
        )
    if not found:
        raise ValueError(f"there is no {what} to draw: give at least one result, by its name")
    return found


def open_axis(axis: "Axes") -> None:
    """Draw the frame of an axis without its top and right, and a light grid below the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.3, linewidth=0.6)
    axis.set_axisbelow(True)


def plain_log_axis(axis: "Axes", which: Literal["x", "y"], *, minor: Any = "") -> None:  # noqa: ANN401
    """Make an axis logarithmic, with plain numbers instead of formulas.

    Between the decades there are no labels, unless a matplotlib formatter ``minor`` gives them.
    """
    axis.set(**{f"{which}scale": "log"})
    scale = axis.xaxis if which == "x" else axis.yaxis
    scale.set_major_formatter("{x:g}")
    scale.set_minor_formatter(minor)


def draw_intervals(
    axis: "Axes",
    at: Sequence[float] | np.ndarray,
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    look: Look,
    *,
    label: str = "",
    joined: bool = False,
) -> None:
    """Draw points and the intervals that exist; an interval need not contain its point.

    Parameters
    ----------
    axis : Axes
    at : sequence of float
        Position of each point across.
    values : sequence of float
    intervals : sequence of (float, float)
        Lower and upper end of each; NaN where there is none.
    look : Look
    label : str
        Label for the legend.
    joined : bool
        Connect the points by a line.
    """
    low, high = zip(*intervals, strict=True)
    axis.vlines(at, low, high, color=look.colour, linewidth=1.5, alpha=0.6)
    line = f"{look.marker}{'-' if joined else ''}"
    axis.plot(at, values, line, color=look.colour, label=label, ms=4.5, linewidth=1)


def bare_axis(axis: "Axes") -> None:
    """Remove the scales of a picture: its pixels need none."""
    axis.set_xticks([])
    axis.set_yticks([])


_Point = tuple[float, float]


class _Box(NamedTuple):
    """A box on the page, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "_Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def gaps(self, points: np.ndarray) -> np.ndarray:
        """Distances ``[N]`` of points ``[N, 2]`` from the box, 0 inside."""
        low, high = (self.left, self.bottom), (self.right, self.top)
        return np.hypot(*np.maximum(np.maximum(low - points, points - high), 0.0).T)

    def holds(self, other: "_Box") -> bool:
        across = self.left <= other.left and other.right <= self.right
        return across and self.bottom <= other.bottom and other.top <= self.top


def label_points(
    axis: "Axes",
    points: Sequence[_Point],
    labels: Sequence[str],
    *,
    colours: Sequence[str],
    lines: Sequence[tuple[_Point, _Point]] = (),
    size: float = 7.5,
) -> None:
    """Write a label beside each point, without covering other labels, points or the edge.

    Each label goes to the nearest free place where it crosses few lines, with a thin line to its
    point if that is far. If no place is free, it goes where it covers the least. Call this last: it
    fixes the layout of the figure.

    Parameters
    ----------
    axis : Axes
        Axes with data and limits set.
    points : sequence of (float, float)
        In data coordinates.
    labels : sequence of str
        One for each point.
    colours : sequence of str
        One for each label.
    lines : sequence of two points
        Horizontal or vertical lines, in data coordinates, that labels should not cross.
    size : float, points
        Size of the letters.
    """
    from matplotlib.patheffects import withStroke

    figure = axis.get_figure(root=True)
    assert figure is not None
    axis.set(xlim=axis.get_xlim(), ylim=axis.get_ylim())  # so that labels do not change the limits
    figure.canvas.draw()  # gives the axis its place in the figure
    pixel = 72 / figure.dpi

    def on_page(where: object) -> np.ndarray:
        return axis.transData.transform(np.reshape(np.asarray(where, float), (-1, 2))) * pixel

    spots = on_page(points)
    taken = [_Box(x - 4, y - 4, x + 4, y + 4) for x, y in spots]
    crossed = []
    for line in lines:
        ends = on_page(line)
        (left, bottom), (right, top) = ends.min(0), ends.max(0)
        crossed.append(_Box(left - 0.5, bottom - 0.5, right + 0.5, top + 0.5))
    frame = _Box(*(np.asarray(axis.get_window_extent().extents) * pixel))
    for (x, y), point, label, colour in zip(spots, points, labels, colours, strict=True):
        style = {"fontsize": size, "va": "center", "ha": "center"}
        tried = axis.text(0, 0, label, **style)
        drawn = tried.get_window_extent()
        tried.remove()
        # Glyphs are rounded to pixels: add one point on each side.
        across, up = drawn.width * pixel + 2, drawn.height * pixel + 1
        others = spots[(spots != (x, y)).any(1)]
        place, led = _free(
            x, y, across, up, others=others, taken=taken, crossed=crossed, frame=frame
        )
        taken.append(place)
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.7, "shrinkA": 0}
        axis.annotate(
            label,
            point,
            xytext=((place.left + place.right) / 2 - x, (place.bottom + place.top) / 2 - y),
            textcoords="offset points",
            color=colour,
            zorder=4,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops=line if led else None,
            **style,
        )


def _free(
    x: float,
    y: float,
    across: float,
    up: float,
    *,
    others: np.ndarray,
    taken: Sequence[_Box],
    crossed: Sequence[_Box],
    frame: _Box,
) -> tuple[_Box, bool]:
    """Cheapest place for a label of a size, and whether it needs a line to its point."""
    cheapest, best = math.inf, (_Box(x, y, x, y), False)
    for away in (3.0, 8.0, 14.0, 21.0, 29.0, 38.0, 50.0, 65.0):
        for turn in np.arange(16) * np.pi / 8 + np.pi / 4:
            left = x + (across / 2 + away) * np.cos(turn) - across / 2
            bottom = y + (up / 2 + away) * np.sin(turn) - up / 2
            box = _Box(left, bottom, left + across, bottom + up)
            own = float(box.gaps(np.array([[x, y]]))[0])
            gaps = box.gaps(others)
            cost = away + 4 * sum(box.meets(other) for other in crossed)
            # Nearer to another point, the label would be read as that point's.
            cost += 12 * int((gaps < own + 4).sum())
            cost += 1e3 * sum(box.meets(other) for other in taken)
            cost += 1e4 * (not frame.holds(box))
            if cost < cheapest:
                cheapest, best = cost, (box, own > 10 or bool((gaps < own).any()))
    return best
