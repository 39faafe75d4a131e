"""Figures of a study."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from classify import Interval
from joint.look import COLOURS, label_points, looks, open_axis

from .atlas import Atlas, Learned
from .axis import Design
from .effects import Effects
from .element import Element
from .inference import lower_is_better
from .pareto import Front
from .rate_accuracy import RateAccuracy
from .report import DesignSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "atlas_figure",
    "contact_figures",
    "designs_figure",
    "effects_figure",
    "front_figure",
    "pairs_figure",
    "parallel_figure",
    "rate_figure",
]

Array = npt.NDArray[Any]

_UNITS = {
    "photons": "photons/pixel at full scale",
    "bits": "bits/picture",
    "pixels": "values converted/picture",
    "macs": "multiply-accumulates/picture",
    "parameters": "parameters",
}
_MOST = 40  # designs in a list
_ROWS, _COLUMNS = 6, 8  # designs and seeds of a contact sheet


def designs_figure(designs: Sequence[DesignSummary], *, metric: str) -> "Figure":
    """Draw the mean of each design with its interval, the best on top."""
    shown = [each for each in designs if each.estimate.mean is not None][:_MOST]
    figure = _figure(8.0, 1.2 + 0.26 * max(3, len(shown)))
    axis = figure.subplots()
    for place, each in enumerate(shown):
        assert each.estimate.mean is not None
        colour, filled = (COLOURS[0], COLOURS[0]) if each.on_front else ("grey", "white")
        _bar(axis, each.estimate.interval, place, colour, upright=False)
        # Its name is the word of its first point, so that each stands in the legend once.
        name = "on the front of all costs" if each.on_front else "not on the front"
        told = {line.get_label() for line in axis.lines}
        axis.plot(
            each.estimate.mean, place, "o", color=colour, markerfacecolor=filled, ms=5,
            label="_" + name if name in told else name,
        )  # fmt: skip
    axis.set_yticks(range(len(shown)), labels=[_name(d.number, d.levels) for d in shown])
    axis.set_ylim(max(3, len(shown)) - 0.4, -0.6)
    units = dict.fromkeys(d.estimate.unit for d in shown if d.estimate.interval is not None)
    over = f"; lines: intervals over {' or '.join(units)}" if units else ""
    axis.set_xlabel(_words(metric) + over)
    if shown:
        figure.legend(loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    open_axis(axis)
    return figure


def effects_figure(found: Effects) -> "Figure":
    """Draw the means of the levels of each axis, with intervals of their effects."""
    axes = [each for each in found.axes if any(math.isfinite(p.mean) for p in each.levels)]
    columns = min(3, max(1, len(axes)))
    rows = max(1, math.ceil(len(axes) / columns))
    most = max((len(each.levels) for each in axes), default=1)
    figure = _figure(max(3.5, 0.45 * most) * columns, 2.9 * rows)
    panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True, squeeze=False)).ravel()
    for panel, each in zip(panels, axes, strict=False):
        places = range(len(each.levels))
        middle = [level.mean - level.effect for level in each.levels]
        for place, level, centre in zip(places, each.levels, middle, strict=True):
            apart = level.effect_interval
            if apart is not None:
                shifted = Interval(centre + apart.low, centre + apart.high)
                _bar(panel, shifted, place, COLOURS[0])
        numbers = all(_is_number(level.level) for level in each.levels)
        panel.plot(
            places,
            [level.mean for level in each.levels],
            "o-" if numbers else "o",
            color=COLOURS[0],
            ms=4,
            linewidth=1,
        )
        panel.axhline(middle[0], color="grey", linestyle="--", linewidth=1)
        labels = [_level(level.level) for level in each.levels]
        slanted = sum(map(len, labels)) > 8 * max(3.5, 0.45 * most)
        panel.set_xticks(
            places, labels=labels, **({"rotation": 30, "ha": "right"} if slanted else {})
        )
        panel.set_xlim(-0.5, len(labels) - 0.5)
        share = each.share.value
        panel.set_title(each.axis + (f": {share:.0%} of variance" if math.isfinite(share) else ""))
        open_axis(panel)
    for panel in panels[::columns]:
        panel.set_ylabel(_words(found.metric))
    for panel in panels[len(axes) :]:
        panel.set_axis_off()
    return figure


def pairs_figure(found: Effects) -> "Figure":
    """Draw shares of the variance: of axes on the diagonal, of pairs beside it."""
    names = [each.axis for each in found.axes]
    shares = np.full((len(names), len(names)), math.nan)
    for number, each in enumerate(found.axes):
        shares[number, number] = each.share.value
    for pair in found.pairs:
        if pair.share is not None:
            one, other = (names.index(name) for name in pair.axes)
            shares[max(one, other), min(one, other)] = pair.share.value
    side = 2.4 + 0.7 * len(names)
    figure = _figure(side + 1, side)
    axis = figure.subplots()
    drawn = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(np.isfinite(shares)), strict=True):
        share = shares[row, column]
        colour = "white" if share > 0.55 else "black"
        axis.text(column, row, f"{share:.0%}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(names)), labels=names, rotation=30, ha="right")
    axis.set_yticks(range(len(names)), labels=names)
    axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    figure.colorbar(drawn, ax=axis, shrink=0.7, label="share of the variance")
    return figure


def front_figure(found: Front) -> "Figure":
    """Draw the metric against a cost; the fuller a point, the surer it is on the front."""
    (cost,) = found.costs
    figure = _figure(6.6, 3.8)
    axis = figure.subplots()
    low = lower_is_better(found.metric)
    ahead = sorted((p for p in found.points if p.on_front), key=lambda p: p.costs[cost])
    axis.step(
        [p.costs[cost] for p in ahead],
        [p.value for p in ahead],
        where="post",
        color="grey",
        linewidth=1,
        zorder=1,
    )
    places = _beside([point.costs[cost] for point in found.points])
    for point, x in zip(found.points, places, strict=True):
        sure = float(point.on_front) if point.probability is None else point.probability
        _bar(axis, point.interval, x, COLOURS[0], alpha=0.15 + 0.45 * sure)
        axis.scatter(
            x,
            point.value,
            s=36,
            facecolor=_mixed(sure),
            edgecolor=COLOURS[0],
            zorder=3,
        )
    axis.set_xlabel(_UNITS[cost])
    axis.set_ylabel(_words(found.metric) + (" (less is better)" if low else ""))
    _spread_out(axis, [point.costs[cost] for point in found.points])
    open_axis(axis)
    spots = [(x, point.value) for x, point in zip(places, found.points, strict=True)]
    bars = [
        ((x, point.interval.low), (x, point.interval.high))
        for x, point in zip(places, found.points, strict=True)
        if point.interval is not None
    ]
    names = [str(point.design) for point in found.points]
    label_points(axis, spots, names, colours=["black"] * len(names), lines=bars, size=8)
    return figure


def rate_figure(found: RateAccuracy) -> "Figure":
    """Draw accuracy against bits, a line for each family."""
    figure = _figure(8.4, 4.0)
    axis = figure.subplots()
    for family, look in zip(found.families, looks(len(found.families)), strict=True):
        for point in family.points:
            _bar(axis, point.interval, point.rate, look.colour, alpha=0.45)
        axis.plot(
            [point.rate for point in family.points],
            [point.accuracy for point in family.points],
            f"{look.marker}-",
            color=look.colour,
            label=family.name.replace("_", " "),
            ms=4.5,
            linewidth=1,
        )
    axis.set_xlabel("bits/picture")
    axis.set_ylabel(_words(found.metric))
    _spread_out(axis, [point.rate for family in found.families for point in family.points])
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    open_axis(axis)
    return figure


def parallel_figure(designs: Sequence[DesignSummary], *, metric: str) -> "Figure":
    """Draw each design as a line over its choices, its costs and the metric, shaded by the last."""
    from matplotlib import colormaps

    shown = [each for each in designs if each.estimate.mean is not None]
    names = [
        name
        for name in dict.fromkeys(name for each in shown for name in each.levels)
        if len({_key(each.levels[name]) for each in shown}) > 1
    ]
    chosen = [[each.levels[name] for each in shown] for name in names]
    costs = [
        name
        for name in dict.fromkeys(name for each in shown for name in each.costs)
        if len({each.costs[name] for each in shown} - {None}) > 1
        and [each.costs[name] for each in shown] not in chosen  # light that is an axis itself
    ]
    scales = [_Scale(name, [each.levels[name] for each in shown]) for name in names]
    scales += [
        _Scale(_UNITS.get(name, name), [each.costs[name] for each in shown]) for name in costs
    ]
    scales.append(_Scale(_words(metric), [each.estimate.mean for each in shown], marks=2))
    figure = _figure(max(6.0, 1.5 * len(scales)), 4.0)
    axis = figure.subplots()
    shade = colormaps["viridis_r" if lower_is_better(metric) else "viridis"]
    for number in range(len(shown) - 1, -1, -1):  # the best on top
        places = [scale.places[number] for scale in scales]
        axis.plot(
            range(len(scales)),
            places,
            "-",
            color=shade(0.95 * places[-1]),
            alpha=0.8,
            linewidth=1.3,
        )
    for column, scale in enumerate(scales):
        axis.axvline(column, color="black", linewidth=0.8)
        for place, label in scale.ticks:
            axis.annotate(
                label,
                (column, place),
                (3, 0),
                textcoords="offset points",
                fontsize=7.5,
                va="center",
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.8, "lw": 0},
            )
    labels = [scale.name.replace("/", "/\n").replace(" at ", "\nat ") for scale in scales]
    axis.set_xticks(range(len(scales)), labels=labels, fontsize=8)
    axis.set_yticks([])
    axis.set_ylim(-0.05, 1.05)
    axis.set_xlim(-0.1, len(scales) - 0.55)
    axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    return figure


class _Scale:
    """One axis of parallel coordinates: values to places in 0..1."""

    def __init__(self, name: str, values: Sequence[Any], *, marks: int = 6) -> None:
        self.name = name
        numbers = [value for value in values if _is_number(value)]
        if len(numbers) < len([value for value in values if value is not None]) or not numbers:
            known = list(dict.fromkeys(map(_key, values)))
            step = 1 / max(1, len(known) - 1)
            self.places = [known.index(_key(value)) * step for value in values]
            self.ticks = [(n * step, _level(key[1])) for n, key in enumerate(known)]
            return
        low, high = min(numbers), max(numbers)
        logarithmic = low > 0 and high / low > 20

        def place(value: float | None) -> float:
            if value is None:
                return math.nan
            if high == low:
                return 0.5
            if logarithmic:
                return math.log(value / low) / math.log(high / low)
            return (value - low) / (high - low)

        self.places = [place(value) for value in values]
        distinct = sorted(set(numbers))
        marked = distinct if len(distinct) <= marks else [low, high]
        self.ticks = [(place(value), _short(value)) for value in marked]


# ------------------------------------------------------------------------------ learned elements


def atlas_figure(found: Atlas) -> "Figure":
    """Draw the similarity of every two elements, and their agreement beyond start and chance."""
    count = len(found.elements)
    figure = _figure(10.0, 5.0)
    for axis, matrix, title in zip(
        figure.subplots(1, 2),
        (found.similarity, found.agreement.clip(0, 1)),
        ("similarity", "agreement beyond start and chance"),
        strict=True,
    ):
        drawn = axis.imshow(matrix, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        figure.colorbar(drawn, ax=axis, shrink=0.75)
        axis.set_title(title)
        designs = [each.design for each in found.elements]
        edges = [n for n in range(1, count) if designs[n] != designs[n - 1]]
        for edge in edges:
            axis.axhline(edge - 0.5, color="white", linewidth=0.8)
            axis.axvline(edge - 0.5, color="white", linewidth=0.8)
        starts = [0, *edges]
        middles = [(a + b - 1) / 2 for a, b in zip(starts, [*edges, count], strict=True)]
        names = [str(designs[n]) for n in starts]
        axis.set_xticks(middles, labels=names)
        axis.set_yticks(middles, labels=names)
        axis.set(xlabel="design, its seeds side by side", ylabel="design")
    return figure


def contact_figures(
    elements: Sequence[Learned], levels: Mapping[int, Design]
) -> list[tuple["Figure", tuple[int, ...]]]:
    """Draw the elements of every design on a sheet, and below each its transfer function.

    The first column is the start of the first seed. A filter is drawn in its own scale: what takes
    light off is blue, as the mean over the colours; where nothing does, in the colours of its
    channels, by the square root of the light. Of several filters, the first four. Transfer
    functions are moduli, mean over the channels, with the frequency 0 in the middle.

    Returns
    -------
    list of (Figure, tuple of int)
        A sheet, and the designs that are on it.
    """
    by_design: dict[int, list[Learned]] = {}
    for each in elements:
        by_design.setdefault(each.design, []).append(each)
    numbers = list(by_design)
    sheets = []
    for first in range(0, len(numbers), _ROWS):
        chosen = numbers[first : first + _ROWS]
        columns = 1 + min(_COLUMNS, max(len(by_design[number]) for number in chosen))
        width, height = 1.15 * columns + 1.9, 2.45 * len(chosen)
        figure = _figure(width, height)
        figure.set_layout_engine("none")  # an even grid needs no search for one
        grid = figure.subplots(
            2 * len(chosen),
            columns,
            squeeze=False,
            gridspec_kw={
                "left": 1.9 / width,
                "right": 0.99,
                "bottom": 0.05 / height,
                "top": 1 - 0.25 / height,
                "wspace": 0.08,
                "hspace": 0.22,
            },
        )
        for row, number in enumerate(chosen):
            own = by_design[number]
            drawn = [("start", own[0].start)]
            drawn += [(f"seed {each.seed}", each.element) for each in own[: columns - 1]]
            for axis in grid[2 * row : 2 * row + 2, len(drawn) :].flat:
                axis.set_axis_off()
            for column, (title, element) in enumerate(drawn):
                upper, lower = grid[2 * row, column], grid[2 * row + 1, column]
                _show(upper, element)
                upper.set_title(title, fontsize=8)
                transfer = _transfer(element)
                peak = float(transfer.max()) or 1.0
                lower.imshow(transfer, cmap="gray", vmin=0, vmax=peak, interpolation="nearest")
                for axis in (upper, lower):
                    axis.set(xticks=[], yticks=[])
                    axis.spines[:].set_color("lightgrey")
            words = "\n".join(f"{name}={_level(v)}" for name, v in levels[number].items())
            grid[2 * row, 0].annotate(
                f"{number}:\n{words}",
                (-0.12, 0.5),
                xycoords="axes fraction",
                ha="right",
                va="center",
                fontsize=8,
            )
        sheets.append((figure, tuple(chosen)))
    return sheets


def _show(axis: "Axes", element: Element) -> None:
    tiles = element.parts[:4]
    signed = not np.iscomplexobj(tiles) and bool((tiles < -1e-9 * np.abs(tiles).max()).any())
    if signed:
        shown = _tiled(tiles.mean((1, 2)))
        limit = float(np.abs(shown).max()) or 1.0
        axis.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        return
    light = np.square(np.abs(tiles)) if np.iscomplexobj(tiles) else tiles.clip(0)
    channels = light.reshape(len(light), -1, *light.shape[-2:])
    if channels.shape[1] != 3:
        channels = channels.mean(1, keepdims=True).repeat(3, 1)
    picture = np.stack([_tiled(channels[:, c]) for c in range(3)], -1)
    axis.imshow(np.sqrt(picture / (picture.max() or 1.0)), interpolation="nearest")


def _tiled(filters: Array) -> Array:
    """Up to four filters ``[F, h, w]`` in a square."""
    if len(filters) == 1:
        return filters[0]
    gap = np.pad(filters, ((0, -len(filters) % 2), (0, 1), (0, 1)))
    rows = [np.hstack(list(gap[n : n + 2])) for n in range(0, len(gap), 2)]
    return np.vstack(rows)


def _transfer(element: Element) -> Array:
    parts = element.parts[:4]
    size = max(33, *parts.shape[-2:])
    modulus = np.abs(np.fft.fftshift(np.fft.fft2(parts, (size, size)), (-2, -1)))
    return _tiled(modulus.mean((1, 2)))


# ---------------------------------------------------------------------------------------- parts


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _bar(
    axis: "Axes",
    interval: Interval | None,
    at: float,
    colour: str,
    *,
    upright: bool = True,
    alpha: float = 0.6,
) -> None:
    if interval is None:
        return
    draw = axis.vlines if upright else axis.hlines
    draw(at, interval.low, interval.high, color=colour, linewidth=1.5, alpha=alpha)


def _spread_out(axis: "Axes", values: Sequence[float]) -> None:
    """A logarithmic axis where costs lie far apart, with numbers as they are read."""
    if not _far(values):
        return
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")


def _beside(values: Sequence[float]) -> list[float]:
    """Points of one cost beside one another, within a fiftieth of the axis or so."""
    apart = _far(values)
    reach = math.log(max(values) / min(values)) if apart else max(values) - min(values)
    found = []
    for number, value in enumerate(values):
        alike = [n for n, other in enumerate(values) if other == value]
        step = 0.012 * reach * (alike.index(number) - (len(alike) - 1) / 2)
        found.append(value * math.exp(step) if apart else value + step)
    return found


def _far(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) >= 5


def _mixed(share: float) -> tuple[float, float, float]:
    """From white to the first colour."""
    full = [int(COLOURS[0][n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (1 - share * (1 - part) for part in full)
    return red, green, blue


def _words(metric: str) -> str:
    return {"auc": "AUC", "nll": "NLL, nats", "psnr": "PSNR, dB", "ssim": "SSIM"}.get(
        metric, metric.replace("_", " ")
    )


def _name(number: int, levels: Design) -> str:
    return f"{number}: " + ", ".join(f"{name}={_level(v)}" for name, v in levels.items())


def _level(value: object) -> str:
    text = f"{value:g}" if _is_number(value) else str(value).replace("_", " ")
    return text if len(text) <= 32 else f"{text[:31]}…"


def _short(value: float) -> str:
    """Four digits, and the prefix of a large number."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if prefix == 'k' else size):.4g} {prefix}"
    return f"{value:.4g}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(value: object) -> tuple[str, object]:
    return type(value).__name__, value
