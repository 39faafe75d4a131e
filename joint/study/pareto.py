"""Designs that no other one beats in everything at once, and how sure that is.

::

    means [M], costs [M, D] ──pareto_front──► on the front or not
    draws [R, M] of the means ─────┴──front_probability──► in how many of the draws
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from classify import Interval
from joint.analysis.record import plain

from .axis import Design
from .draws import Draws
from .inference import lower_is_better
from .table import COSTS, Row, design_costs

__all__ = ["Front", "FrontPoint", "front_probability", "fronts", "pareto_front"]

Array = npt.NDArray[Any]


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

    def __str__(self) -> str:
        lines = [f"front of {self.metric} against {', '.join(self.costs)}, over {self.unit}"]
        for point in self.points:
            spent = ", ".join(f"{value:.6g} {name}" for name, value in point.costs.items())
            sure = "" if point.probability is None else f", on the front in {point.probability:.0%}"
            interval = "" if point.interval is None else " [{:.4f}, {:.4f}]".format(*point.interval)
            mark = "*" if point.on_front else " "
            lines.append(f"  {mark} {point.design}: {spent}: {point.value:.4f}{interval}{sure}")
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

    Returns
    -------
    tuple of Front

    Raises
    ------
    ValueError
        For a cost that is unknown.
    """
    spent = design_costs(table)
    there = tuple(dict.fromkeys(name for each in spent.values() for name in each)) or COSTS
    unknown = [name for name in costs or () if name not in there]
    if unknown:
        raise ValueError(f"there is no cost {unknown[0]!r}; choose from {', '.join(there)}")
    levels = {row.design: row.levels for row in table}
    if costs is None:
        counted = COSTS[:4] if there == COSTS else there
        costs = [name for name in counted if _differs(spent, draws.designs, name)]
    chosen: list[tuple[str, ...]] = [(name,) for name in costs]
    if len(chosen) > 1:
        chosen.append(tuple(costs))
    return tuple(_front(levels, spent, draws, names, level) for names in chosen)


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
            )
        )
    points.sort(key=lambda point: (*point.costs.values(), point.design))
    there = {point.design for point in points}
    missing = [number for number in levels if number not in there]
    return Front(draws.metric, tuple(names), tuple(points), draws.unit, tuple(missing))
