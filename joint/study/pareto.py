"""Designs that no other one beats in everything at once, and how sure that is.

::

    means [M], costs [M, D] ──pareto_front──► on the front or not
    draws [R, M] of the means ─────┼──front_probability──► in how many of the draws
                 reference [1 + D] ┴──hypervolume──► how much of the space it dominates
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
from scipy import stats

from classify import Interval
from classify.intervals import check_resampling
from joint.analysis.record import plain

from .axis import Design
from .draws import Draws
from .inference import degrees_of_freedom, lower_is_better
from .table import COSTS, Row, design_costs

__all__ = [
    "Front",
    "FrontPoint",
    "Hypervolume",
    "front_probability",
    "fronts",
    "hypervolume",
    "hypervolume_shares",
    "pareto_front",
]

Array = npt.NDArray[Any]

_OBJECTIVES = (2, 4)  # of a hypervolume
_MARGIN = 0.1  # of the range of the designs, by which the reference lies beyond the worst
_CELLS = 10_000_000  # that are held at once: 80 MB
_WORK = 300_000_000  # cells over all draws: some seconds; beyond it, fewer draws are taken


def pareto_front(values: npt.ArrayLike, *, minimise: Sequence[bool]) -> npt.NDArray[np.bool_]:
    """Tell which points are not dominated.

    A point is dominated by another that is as good in every number and better in one. Equal points
    do not dominate each other. A point with a number missing (nan) is not comparable: it is not on
    the front, and keeps no other from it.

    Parameters
    ----------
    values : array ``[M, D]``
        D numbers of M designs.
    minimise : sequence of bool, length D
        Whether a smaller one is better.

    Returns
    -------
    array of bool ``[M]``

    Raises
    ------
    ValueError
        When the shapes do not fit.
    """
    points = np.asarray(values, dtype=float)
    if points.ndim != 2 or points.shape[1] != len(minimise) or len(minimise) == 0:
        raise ValueError(
            f"a front needs values [M, D] and D directions, not {points.shape} and "
            f"{len(minimise)}; D is 1 or more"
        )
    points = np.where(minimise, points, -points)
    known = np.logical_not(np.isnan(points).any(1))
    front = np.zeros(len(points), dtype=np.bool_)
    for number in np.flatnonzero(known):
        no_worse = (points <= points[number]).all(1)
        better = (points < points[number]).any(1)
        front[number] = not (no_worse & better).any()
    return front


def front_probability(
    drawn: npt.ArrayLike, costs: npt.ArrayLike, *, minimise: bool = False
) -> npt.NDArray[np.float64]:
    """In how many draws of the metric a design is on the front of metric and costs.

    Parameters
    ----------
    drawn : array ``[R, M]``
        The metric of M designs, drawn anew R times: :attr:`Draws.drawn`.
    costs : array ``[M, D]``
        Costs that are known as they are; less is better.
    minimise : bool
        Whether a smaller metric is better.

    Returns
    -------
    array ``[M]``
        Shares of the draws in which it has a number, 0..1. nan without any, and for a design with
        a cost missing.

    Raises
    ------
    ValueError
        When the shapes do not fit.
    """
    drawn, costs = np.asarray(drawn, dtype=float), np.asarray(costs, dtype=float)
    if drawn.ndim != 2 or costs.ndim != 2 or len(costs) != drawn.shape[1]:
        raise ValueError(
            f"the front of draws [R, M] needs costs [M, D], not {drawn.shape} and {costs.shape}"
        )
    known = np.isfinite(costs).all(1)
    found = np.full(len(costs), math.nan)
    if len(drawn) == 0:
        return found
    losses = drawn if minimise else -drawn
    for number in np.flatnonzero(known):
        # Only designs that ask for no more of anything can push it from the front.
        rivals = known & (costs <= costs[number]).all(1)
        cheaper = (costs < costs[number]).any(1)
        own = losses[:, [number]]
        there = np.isfinite(own[:, 0])  # a draw of its runs that are not done says nothing
        beaten = (losses < own) | (cheaper & (losses == own))
        if there.any():
            found[number] = 1 - float((beaten & rivals).any(1)[there].mean())
    return found


def hypervolume(
    values: npt.ArrayLike, reference: Sequence[float], *, minimise: Sequence[bool]
) -> float:
    """Volume of what a set of designs dominates, up to a reference point.

    The S-metric of Zitzler and Thiele (IEEE Transactions on Evolutionary Computation 3 (1999) 257),
    exact: the space is cut at every cost of a design, and each cell is as high as the best design
    that costs no more.

    Parameters
    ----------
    values : array ``[M, D]``
        D numbers of M designs, 2 to 4. A design with a number missing (nan) dominates nothing, and
        neither does one that is not better than the reference in all of them.
    reference : sequence of float, length D
        Where the volume ends: worse than what counts.
    minimise : sequence of bool, length D
        Whether a smaller one is better.

    Returns
    -------
    float
        In the product of the units of the numbers: it depends on the reference and on the scales.

    Raises
    ------
    ValueError
        When the shapes do not fit, or the reference is not finite.
    """
    gains = _gains(values, reference, minimise)
    return float(_volumes(gains[None, :, 0], gains[:, 1:])[0])


def hypervolume_shares(
    values: npt.ArrayLike, reference: Sequence[float], *, minimise: Sequence[bool]
) -> npt.NDArray[np.float64]:
    """Share of the hypervolume that each design alone adds: what is lost without it.

    Parameters
    ----------
    values, reference, minimise
        As of :func:`hypervolume`.

    Returns
    -------
    array ``[M]``
        0..1; 0 for one that is not on the front or has a twin there, so that they do not sum to 1.
        nan where nothing is dominated.

    Raises
    ------
    ValueError
        As :func:`hypervolume`.
    """
    gains = _gains(values, reference, minimise)
    ways = [False] * gains.shape[1]
    front = np.flatnonzero(pareto_front(gains, minimise=ways))
    whole = _volumes(gains[None, front, 0], gains[front, 1:])[0]
    shares = np.zeros(len(gains))
    if not whole > 0:
        return np.full(len(gains), math.nan)
    for number in front:
        rest = np.delete(gains, number, axis=0)
        rest = rest[pareto_front(rest, minimise=ways)]  # those behind it may come forward
        shares[number] = max(0.0, 1 - float(_volumes(rest[None, :, 0], rest[:, 1:])[0] / whole))
    return shares


def _gains(values: npt.ArrayLike, reference: Sequence[float], minimise: Sequence[bool]) -> Array:
    """By how much designs are better than the reference, ``[M, D]``; 0 where one is not in all."""
    points, end = np.asarray(values, dtype=float), np.asarray(reference, dtype=float)
    least, most = _OBJECTIVES
    count = len(minimise)
    if points.ndim != 2 or points.shape[1] != count or end.shape != (count,):
        raise ValueError(
            f"a hypervolume needs values [M, D], and a reference and directions of length D, not "
            f"{points.shape}, {end.shape} and {count}"
        )
    if not least <= count <= most:
        raise ValueError(f"a hypervolume is of {least} to {most} numbers, not {count}")
    if not np.isfinite(end).all():
        raise ValueError(f"the reference of a hypervolume must be finite, not {end.tolist()}")
    gains = np.where(minimise, end - points, points - end)
    return np.where((gains > 0).all(1, keepdims=True), gains, 0.0)


def _volumes(drawn: Array, fixed: Array) -> Array:
    """Volumes ``[R]`` of M boxes: their first side is drawn ``[R, M]``, the others not ``[M, D]``.

    Boxes stand in one corner. The space of the fixed sides is cut at each of them; in a cell, the
    longest first side of the boxes that reach over it counts.
    """
    cuts, places = zip(*(np.unique(side, return_inverse=True) for side in fixed.T), strict=True)
    shape = tuple(len(cut) for cut in cuts)
    size = math.prod(shape)
    if size == 0:
        return np.zeros(len(drawn))
    flat = np.asarray(np.ravel_multi_index(tuple(place.ravel() for place in places), shape))
    cells = np.ones(1)
    for cut in cuts:
        cells = np.outer(cells, np.diff(cut, prepend=0.0)).ravel()
    found = []
    for first in range(0, len(drawn), step := max(1, _CELLS // size)):
        part = drawn[first : first + step]
        best = np.zeros((len(part), size))
        for box, place in enumerate(flat.tolist()):
            np.maximum(best[:, place], part[:, box], out=best[:, place])
        best = best.reshape(-1, *shape)
        for axis in range(1, best.ndim):  # a longer box reaches over the cells of the shorter
            best = np.flip(np.maximum.accumulate(np.flip(best, axis), axis), axis)
        found.append(best.reshape(len(part), size) @ cells)
    return np.concatenate(found) if found else np.zeros(0)


def reference_of(values: Array, minimise: Sequence[bool]) -> tuple[Array, Array]:
    """The best of each number of the designs ``[M, D]``, and a tenth of the range beyond the worst.

    Designs with a number missing do not count; at least one has all.
    """
    known = values[np.isfinite(values).all(1)]
    lowest, highest = known.min(0), known.max(0)
    best, worst = np.where(minimise, lowest, highest), np.where(minimise, highest, lowest)
    span = highest - lowest
    # Designs that are alike in a number still need some room behind them.
    span = np.where(span > 0, span, np.where(worst != 0, np.abs(worst), 1.0))
    return best, worst + _MARGIN * np.where(minimise, span, -span)


@final
@dataclass(frozen=True)
class Hypervolume:
    """How much of the space of metric and costs a front dominates."""

    value: float
    """Of the means, in the product of their units."""
    interval: Interval | None
    """Over seeds and lesions, with the costs and the reference as they are; None with fewer than
    two seeds."""
    reference: dict[str, float]
    """Where the volume ends, the metric and each cost by name."""
    of_box: float
    """``value`` of what one design as good as the best in each number would dominate, 0..1: it is
    low where much must be paid for much."""


@final
@dataclass(frozen=True)
class FrontPoint:
    """A design among the metric and the costs."""

    design: int
    levels: Design
    value: float
    """The metric, mean over seeds."""
    interval: Interval | None
    """Over seeds and lesions."""
    costs: dict[str, float]
    on_front: bool
    """No design is better at costs as low, as they were measured."""
    probability: float | None
    """Share of the draws of seeds and lesions in which it is; None with fewer than two seeds."""
    share: float | None
    """Of the hypervolume, what this design alone adds, 0..1; None without a volume."""


@final
@dataclass(frozen=True)
class Front:
    """The metric against costs."""

    metric: str
    costs: tuple[str, ...]
    """Some of the study's."""
    points: tuple[FrontPoint, ...]
    """Designs whose costs are known, by the first cost."""
    unit: str
    """What the intervals are over."""
    left_out: tuple[int, ...]
    """Designs without the metric or one of the costs."""
    hypervolume: Hypervolume | None
    """None without designs, and against more than three costs."""

    def __str__(self) -> str:
        lines = [f"front of {self.metric} against {', '.join(self.costs)}, over {self.unit}"]
        if self.hypervolume is not None:
            whole = self.hypervolume
            interval = "" if whole.interval is None else " [{:.6g}, {:.6g}]".format(*whole.interval)
            ends = ", ".join(f"{name} {value:.6g}" for name, value in whole.reference.items())
            lines.append(
                f"  hypervolume {whole.value:.6g}{interval}, {whole.of_box:.0%} of the box of the "
                f"best of each, up to {ends}"
            )
        for point in self.points:
            spent = ", ".join(f"{value:.6g} {name}" for name, value in point.costs.items())
            sure = "" if point.probability is None else f", on the front in {point.probability:.0%}"
            interval = "" if point.interval is None else " [{:.4f}, {:.4f}]".format(*point.interval)
            mark = "*" if point.on_front else " "
            adds = f", adds {point.share:.1%}" if point.on_front and point.share is not None else ""
            lines.append(
                f"  {mark} {point.design}: {spent}: {point.value:.4f}{interval}{sure}{adds}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return plain(asdict(self))


def fronts(
    table: Sequence[Row],
    draws: Draws,
    *,
    costs: Sequence[str] | None = None,
    level: float = 0.95,
    reference: Mapping[str, float] | None = None,
) -> tuple[Front, ...]:
    """The front of the metric against each cost, and against all of them at once.

    Parameters
    ----------
    table : sequence of Row
        Of :func:`rows`.
    draws : Draws
        Of the metric.
    costs : sequence of str, optional
        Some of :attr:`Study.costs`, or of :data:`COSTS` where it names none; by default those that
        differ between designs, of :data:`COSTS` photons, bits, pixels and multiply-accumulates.
    level : float
        Of the intervals.
    reference : mapping from str to float, optional
        Where the hypervolume ends, of the metric and costs by name: the same for studies whose
        volumes are to be compared. By default, and for names that are not in it, the worst of the
        designs on that front's table, and a tenth of their range beyond it: so the ends of a front
        count too (Ishibuchi et al., Evolutionary Computation 26 (2018) 411).

    Returns
    -------
    tuple of Front
        The interval of a hypervolume is Student's, from the spread of the draws, about the volume
        less its bias, the lead of the mean of the draws over it: a front of noisy means is too
        good, and quantiles of the draws have that twice.

    Raises
    ------
    ValueError
        For a cost that is unknown, or a reference of neither the metric nor a cost.
    """
    check_resampling(1, level)
    spent = design_costs(table)
    there = tuple(dict.fromkeys(name for each in spent.values() for name in each)) or COSTS
    unknown = [name for name in costs or () if name not in there]
    if unknown:
        raise ValueError(f"there is no cost {unknown[0]!r}; choose from {', '.join(there)}")
    wrong = [name for name in reference or () if name not in (draws.metric, *there)]
    if wrong:
        raise ValueError(
            f"the reference names {wrong[0]!r}, which is none of {draws.metric}, {', '.join(there)}"
        )
    levels = {row.design: row.levels for row in table}
    if costs is None:
        counted = COSTS[:4] if there == COSTS else there
        costs = [name for name in counted if _differs(spent, draws.designs, name)]
    chosen: list[tuple[str, ...]] = [(name,) for name in costs]
    if len(chosen) > 1:
        chosen.append(tuple(costs))
    return tuple(_front(levels, spent, draws, names, level, reference or {}) for names in chosen)


def _differs(
    spent: Mapping[int, Mapping[str, float | None]], designs: Sequence[int], name: str
) -> bool:
    known = {spent[number].get(name) for number in designs} - {None}
    return len(known) > 1


def _front(
    levels: Mapping[int, Design],
    spent: Mapping[int, Mapping[str, float | None]],
    draws: Draws,
    names: Sequence[str],
    level: float,
    reference: Mapping[str, float],
) -> Front:
    rows = np.array(
        [
            [math.nan if (v := spent[number].get(name)) is None else v for name in names]
            for number in draws.designs
        ],
        dtype=float,
    ).reshape(len(draws.designs), len(names))
    low = lower_is_better(draws.metric)
    both = np.column_stack([draws.means, rows])
    on = pareto_front(both, minimise=[low, *(True for _ in names)])
    chance = front_probability(draws.drawn, rows, minimise=low)
    whole, shares = _hypervolume(draws, rows, names, chance, level, reference)
    points = []
    for place, number in enumerate(draws.designs):
        if not np.isfinite(both[place]).all():
            continue
        points.append(
            FrontPoint(
                number,
                levels[number],
                float(draws.means[place]),
                draws.of(number, level=level).interval,
                dict(zip(names, rows[place].tolist(), strict=True)),
                bool(on[place]),
                None if math.isnan(chance[place]) else float(chance[place]),
                None if math.isnan(shares[place]) else float(shares[place]),
            )
        )
    points.sort(key=lambda point: (*point.costs.values(), point.design))
    there = {point.design for point in points}
    missing = [number for number in levels if number not in there]
    return Front(draws.metric, tuple(names), tuple(points), draws.unit, tuple(missing), whole)


def _hypervolume(
    draws: Draws,
    costs: Array,
    names: Sequence[str],
    chance: Array,
    level: float,
    given: Mapping[str, float],
) -> tuple[Hypervolume | None, Array]:
    """The hypervolume of a front against ``costs [M, D]``, and the share of each design."""
    both = np.column_stack([draws.means, costs])
    known = np.isfinite(both).all(1)
    least, most = _OBJECTIVES
    if not known.any() or not least <= both.shape[1] <= most:
        return None, np.full(len(both), math.nan)
    low = [lower_is_better(draws.metric), *(True for _ in names)]
    both[~known] = math.nan
    best, end = reference_of(both, low)
    named = (draws.metric, *names)
    end = np.array([given.get(name, default) for name, default in zip(named, end, strict=True)])
    value = hypervolume(both, end.tolist(), minimise=low)
    box = hypervolume(best[None], end.tolist(), minimise=low)
    found = Hypervolume(
        value,
        _volume_interval(draws, costs, end, low[0], known & (chance > 0), value, level),
        dict(zip(named, end.tolist(), strict=True)),
        value / box if box > 0 else math.nan,
    )
    return found, hypervolume_shares(both, end.tolist(), minimise=low)


def _volume_interval(
    draws: Draws,
    costs: Array,
    end: Array,
    low: bool,
    used: Array,
    value: float,
    level: float,
) -> Interval | None:
    """Interval of the volume of the designs ``used``: the others are on no front of the draws."""
    if len(draws.drawn) == 0:
        return None
    sides = end[1:] - costs[used]
    reach_over = (sides > 0).all(1)
    sides = sides[reach_over]
    size = math.prod(len(np.unique(side)) for side in sides.T)
    count = min(len(draws.drawn), max(100, _WORK // max(size, 1)))

    def volumes(drawn: Array) -> Array:
        gains = (end[0] - drawn if low else drawn - end[0])[:count, used][:, reach_over]
        # A draw without a run of a design says nothing of it: as if it were not there.
        return _volumes(np.nan_to_num(gains, nan=0.0).clip(min=0), sides)

    both, of_seeds, of_lesions = map(volumes, (draws.drawn, draws.of_seeds, draws.of_lesions))
    seeds = int(np.isfinite(draws.values[used]).sum(1).min(initial=draws.values.shape[1]))
    if seeds < 2:
        return None
    freedom = degrees_of_freedom(
        float(of_seeds.var()), seeds, float(of_lesions.var()), draws.lesions or 2
    )
    reach = float(stats.t.ppf((1 + level) / 2, freedom) * both.std())
    centre = 2 * value - float(both.mean())
    return Interval(max(0.0, centre - reach), max(0.0, centre + reach))
