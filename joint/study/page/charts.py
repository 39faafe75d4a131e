"""Charts of a study: designs, effects, fronts and curves; ``elements`` draws learned elements."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from classify import Interval
from joint.judge.metric import lower_is_better
from joint.panel.look import (
    ABREAST,
    COLOURS,
    blank_figure,
    draw_intervals,
    label_points,
    looks,
    open_axis,
    panel_grid,
)
from joint.parse import is_number
from joint.study.axis import Design, level_key
from joint.study.condition import ABSENT
from joint.study.findings.design_summary import DesignSummary
from joint.study.findings.effects import Effects
from joint.study.findings.front import Front
from joint.study.findings.rate_accuracy import RateAccuracy, RateFamily
from joint.study.findings.selection import Selection

if TYPE_CHECKING:  # slow to import, and only a figure needs it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "designs_figure",
    "effects_figure",
    "front_figure",
    "level_words",
    "pairs_figure",
    "parallel_figure",
    "rate_accuracy_figure",
    "rate_families",
    "selection_figure",
]

_UNITS = {
    "photons": "photons/pixel at full scale",
    "bits": "bits/picture",
    "pixels": "values converted/picture",
    "macs": "multiply-accumulates/picture",
    "parameters": "parameters",
}
_MOST = 40  # designs in a list, or curves in a figure


def designs_figure(designs: Sequence[DesignSummary], *, metric: str) -> "Figure":
    """Draw the mean of each design with its interval, the best at the top."""
    shown = [each for each in designs if each.estimate.mean is not None][:_MOST]
    figure = blank_figure(8.0, 1.2 + 0.26 * max(3, len(shown)))
    axis = figure.subplots()
    for place, each in enumerate(shown):
        assert each.estimate.mean is not None
        colour, filled = (COLOURS[0], COLOURS[0]) if each.on_front else ("grey", "white")
        _bar(axis, each.estimate.interval, place, colour, upright=False)
        # The first point of each kind carries its name, so the legend has each name once.
        name = "on the front of all costs" if each.on_front else "not on the front"
        told = {line.get_label() for line in axis.lines}
        axis.plot(
            each.estimate.mean, place, "o", color=colour, markerfacecolor=filled, ms=5,
            label="_" + name if name in told else name,
        )  # fmt: skip
    axis.set_yticks(range(len(shown)), labels=[_name(d.number, d.levels) for d in shown])
    axis.set_ylim(max(3, len(shown)) - 0.4, -0.6)
    units = dict.fromkeys(d.estimate.unit for d in shown if d.estimate.interval is not None)
    over = f"; bars: intervals over {' or '.join(units)}" if units else ""
    axis.set_xlabel(_words(metric) + over)
    if shown:
        figure.legend(loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    open_axis(axis)
    return figure


def selection_figure(found: Selection) -> "Figure":
    """Draw results and costs of each design with the requirements, in the order of the table.

    There is a panel for each required metric, with its bounds, and one for each cost.
    """
    shown = found.designs[:_MOST]
    metrics = list(shown[0].means) if shown else []
    names = [*metrics, *found.costs]
    figure = blank_figure(3.4 + 2.4 * max(1, len(names)), 1.4 + 0.26 * max(3, len(shown)))
    panels = figure.subplots(1, max(1, len(names)), sharey=True, squeeze=False)[0]
    looks_of = {"meets": (COLOURS[0], COLOURS[0]), "perhaps": (COLOURS[0], "white")}
    for panel, name in zip(panels, names, strict=False):
        for place, each in enumerate(shown):
            value = each.means[name] if name in metrics else each.costs[name]
            if value is None:
                continue
            colour, face = looks_of.get(each.verdict, ("grey", "white"))
            _bar(panel, each.intervals.get(name), place, colour, upright=False)
            panel.plot(value, place, "o", color=colour, markerfacecolor=face, ms=5)
        if name not in metrics:
            _spread_out(panel, [v for each in shown if (v := each.costs[name]) is not None])
        for bound in (each for each in found.bounds if each.name == name):
            panel.axvline(bound.value, color="black", linestyle="--", linewidth=1)
        panel.set_xlabel(_words(name) if name in metrics else _UNITS.get(name, name))
        open_axis(panel)
    panels[0].set_yticks(range(len(shown)), labels=[_name(d.number, d.levels) for d in shown])
    panels[0].set_ylim(max(3, len(shown)) - 0.4, -0.6)
    return figure


def effects_figure(found: Effects) -> "Figure":
    """Draw the mean of each level of each axis, with the interval of its effect."""
    axes = [each for each in found.axes if any(math.isfinite(p.mean) for p in each.levels)]
    width = max(3.5, 0.45 * max((len(each.levels) for each in axes), default=1))
    figure, panels = panel_grid(max(1, len(axes)), width, 2.9, sharey=True)
    for panel, each in zip(panels, axes, strict=False):
        places = range(len(each.levels))
        middle = [level.mean - level.effect for level in each.levels]
        for place, level, centre in zip(places, each.levels, middle, strict=True):
            apart = level.effect_interval
            if apart is not None:
                shifted = Interval(centre + apart.low, centre + apart.high)
                _bar(panel, shifted, place, COLOURS[0])
        numbers = all(is_number(level.level) for level in each.levels)
        panel.plot(
            places,
            [level.mean for level in each.levels],
            "o-" if numbers else "o",
            color=COLOURS[0],
            ms=4,
            linewidth=1,
        )
        panel.axhline(middle[0], color="grey", linestyle="--", linewidth=1)
        labels = [level_words(level.level) for level in each.levels]
        slanted = sum(map(len, labels)) > 8 * width
        panel.set_xticks(
            places, labels=labels, **({"rotation": 30, "ha": "right"} if slanted else {})
        )
        panel.set_xlim(-0.5, len(labels) - 0.5)
        share = each.share.value
        panel.set_title(each.axis + (f": {share:.0%} of variance" if math.isfinite(share) else ""))
        open_axis(panel)
    for panel in panels[::ABREAST]:
        panel.set_ylabel(_words(found.metric))
    if not axes:
        panels[0].set_axis_off()
    return figure


def pairs_figure(found: Effects) -> "Figure":
    """Draw shares of the variance: axes on the diagonal, pairs off the diagonal."""
    names = [each.axis for each in found.axes]
    shares = np.full((len(names), len(names)), math.nan)
    for number, each in enumerate(found.axes):
        shares[number, number] = each.share.value
    for pair in found.pairs:
        if pair.share is not None:
            one, other = (names.index(name) for name in pair.axes)
            shares[max(one, other), min(one, other)] = pair.share.value
    side = 2.4 + 0.7 * len(names)
    figure = blank_figure(side + 1, side)
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
    """Draw the metric against a cost; the fuller a point, the more often it is on the front."""
    (cost,) = found.costs
    figure = blank_figure(6.6, 3.8)
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
    axis.set_xlabel(_UNITS.get(cost, cost))  # a cost made by a formula has no unit
    if len({point.costs[cost] for point in found.points}) < len(found.points):
        axis.set_title("points of equal cost are drawn side by side", loc="right", fontsize=8)
    axis.set_ylabel(_words(found.metric) + (" (lower is better)" if low else ""))
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


def rate_families(found: RateAccuracy) -> tuple[RateFamily, ...]:
    """Families that :func:`rate_accuracy_figure` draws: curves first, then single points."""
    if len(found.families) <= _MOST:
        return found.families
    # The sort is stable: families with equal keys keep their order.
    return tuple(sorted(found.families, key=lambda each: len(each.points) < 2)[:_MOST])


def rate_accuracy_figure(found: RateAccuracy) -> "Figure":
    """Draw accuracy against bits, a line for each family of :func:`rate_families`."""
    families = rate_families(found)
    figure = blank_figure(8.4, max(4.0, 0.18 * len(families)))  # one legend line per family
    axis = figure.subplots()
    for family, look in zip(families, looks(len(families)), strict=True):
        draw_intervals(
            axis,
            [point.rate for point in family.points],
            [point.accuracy for point in family.points],
            [point.interval or (math.nan, math.nan) for point in family.points],
            look,
            label=family.name.replace("_", " "),
            joined=True,
        )
    axis.set_xlabel("bits/picture")
    axis.set_ylabel(_words(found.metric))
    _spread_out(axis, [point.rate for family in families for point in family.points])
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    open_axis(axis)
    return figure


def parallel_figure(designs: Sequence[DesignSummary], *, metric: str) -> "Figure":
    """Draw each design as a line over its levels, costs and metric; the metric sets its shade."""
    from matplotlib import colormaps

    shown = [each for each in designs if each.estimate.mean is not None]
    names = [
        name
        for name in dict.fromkeys(name for each in shown for name in each.levels)
        if len({level_key(each.levels[name]) for each in shown if name in each.levels}) > 1
    ]
    chosen = [[each.levels.get(name, ABSENT) for each in shown] for name in names]
    costs = [
        name
        for name in dict.fromkeys(name for each in shown for name in each.costs)
        if len({each.costs[name] for each in shown} - {None}) > 1
        and [each.costs[name] for each in shown] not in chosen  # a cost that is an axis itself
    ]
    scales = [_Scale(name, values) for name, values in zip(names, chosen, strict=True)]
    scales += [
        _Scale(
            _UNITS.get(name, name),
            [ABSENT if (cost := each.costs[name]) is None else cost for each in shown],
        )
        for name in costs
    ]
    scales.append(_Scale(_words(metric), [each.estimate.mean for each in shown], marks=2))
    figure = blank_figure(max(6.0, 1.5 * len(scales)), 4.0)
    axis = figure.subplots()
    shade = colormaps["viridis_r" if lower_is_better(metric) else "viridis"]
    for number in range(len(shown) - 1, -1, -1):  # the best is drawn last, on top
        places = [scale.places[number] for scale in scales]
        look = {"color": shade(0.95 * places[-1]), "alpha": 0.8, "linewidth": 1.3}
        axis.plot(range(len(scales)), places, "-", **look)
        known = [column for column, place in enumerate(places) if math.isfinite(place)]
        for one, other in itertools.pairwise(known):
            if other > one + 1:  # dotted across axes that the design does not have
                axis.plot([one, other], [places[one], places[other]], ":", **look)
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
    """One axis of parallel coordinates, which maps values to places in 0..1."""

    def __init__(self, name: str, values: Sequence[Any], *, marks: int = 6) -> None:
        self.name = name
        numbers = [value for value in values if is_number(value)]
        there = [value for value in values if value is not ABSENT]
        if len(numbers) < len(there) or not numbers:  # None counts as a level
            known = list(dict.fromkeys(map(level_key, there)))
            # Numbers in ascending order, then everything else.
            known.sort(key=lambda key: key[1] if is_number(key[1]) else math.inf)
            step = 1 / max(1, len(known) - 1)
            self.places = [
                math.nan if value is ABSENT else known.index(level_key(value)) * step
                for value in values
            ]
            self.ticks = [(n * step, level_words(key[1])) for n, key in enumerate(known)]
            return
        low, high = min(numbers), max(numbers)
        logarithmic = low > 0 and high / low > 20

        def place(value: Any) -> float:  # noqa: ANN401
            if value is ABSENT:
                return math.nan
            if high == low:
                return 0.5
            if logarithmic:
                return math.log(value / low) / math.log(high / low)
            return (value - low) / (high - low)

        self.places = [place(value) for value in values]
        distinct = sorted(set(numbers))
        marked = distinct if len(distinct) <= marks else [low, high]
        self.ticks = [*zip(map(place, marked), _told_apart(marked), strict=True)]


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
    """Make an axis logarithmic if costs are far apart, with plain numbers as labels."""
    if not _far(values):
        return
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    reach = max(values) / min(values)
    between = "" if reach >= 100 else "25" if reach >= 10 else "2357"
    axis.xaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in between else "")


def _beside(values: Sequence[float]) -> list[float]:
    """Move points of equal cost side by side, within about a fiftieth of the axis."""
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
    """Colour between white and the first colour."""
    full = [int(COLOURS[0][n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (1 - share * (1 - part) for part in full)
    return red, green, blue


def _words(metric: str) -> str:
    words = {"auc": "AUC", "nll": "NLL, nats", "psnr": "PSNR, dB", "ssim": "SSIM"}
    words["psnr_scene"] = "PSNR against the scene, dB"
    return words.get(metric, metric.replace("_", " "))


def _name(number: int, levels: Design) -> str:
    return f"{number}: " + ", ".join(f"{name}={level_words(v)}" for name, v in levels.items())


def level_words(value: object) -> str:
    """A level of an axis as text, shortened if it is long."""
    text = f"{value:g}" if is_number(value) else str(value).replace("_", " ")
    return text if len(text) <= 32 else f"{text[:31]}…"


def _told_apart(values: Sequence[float]) -> list[str]:
    """Numbers with four digits, or with as many more as distinguish different ones."""
    labels: list[str] = []
    for digits in range(4, 18):  # 17 digits distinguish any two floats
        labels = [_short(value, digits) for value in values]
        if len(set(labels)) == len(values):
            break
    return labels


def _short(value: float, digits: int) -> str:
    """A number with so many digits, and a prefix if it is large."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if prefix == 'k' else size):.{digits}g} {prefix}"
    return f"{value:.{digits}g}"
