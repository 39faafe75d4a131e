"""The front of a study: designs by metric and costs, their probabilities and hypervolume.

::

    table, Draws ──fronts──► Front: FrontPoint of each design, Hypervolume of all
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from classify import Interval
from classify.intervals import check_resampling
from joint.judge.metric import lower_is_better
from joint.record import Record
from joint.study.axis import Design

from .draws import Draws
from .inference import added_by_noise, degrees_of_freedom, student, variance_of
from .pareto import (
    DIMENSIONS,
    front_probability,
    hypervolume,
    hypervolume_shares,
    pareto_front,
    reference_of,
    volumes_of,
)
from .table import COSTS, Row, design_costs, front_costs

__all__ = ["Front", "FrontPoint", "Hypervolume", "fronts"]

Array = npt.NDArray[Any]

_WORK = 300_000_000  # cells over all draws, some seconds; if there are more, fewer draws are used


@final
@dataclass(frozen=True)
class Hypervolume:
    """Volume of the space of metric and costs that a front dominates."""

    value: float
    """Hypervolume of the means, in the product of the units."""
    interval: Interval | None
    """Interval over seeds and lesions, with costs and reference fixed; None with fewer than two
    seeds."""
    reference: dict[str, float]
    """Reference point at which the volume ends: the metric and each cost by name."""
    of_box: float
    """``value`` as a fraction, 0..1, of the volume of one design with the best value of every
    number. It is low where a good metric is expensive. NaN if the reference ends before that
    design."""


@final
@dataclass(frozen=True)
class FrontPoint:
    """One design with its metric and costs."""

    design: int
    levels: Design
    value: float
    """Mean of the metric over seeds."""
    interval: Interval | None
    """Interval over seeds and lesions."""
    costs: dict[str, float]
    on_front: bool
    """Whether no design is better at costs that are all as low, as measured."""
    probability: float | None
    """Share of the draws of seeds and lesions in which it is on the front; None with fewer than two
    seeds. If seeds differ on single lesions, it is closer to that of other designs than it should
    be: the draws contain that noise three times, see :attr:`Draws.drawn`."""
    share: float | None
    """Share of the hypervolume that this design alone adds, 0..1; None without a volume."""


@final
@dataclass(frozen=True)
class Front(Record):
    """The front of the metric against one or more costs."""

    metric: str
    costs: tuple[str, ...]
    """Names of the costs."""
    points: tuple[FrontPoint, ...]
    """Designs with known costs, sorted by the first cost."""
    unit: str
    """What the intervals are over."""
    left_out: tuple[int, ...]
    """Designs without the metric or one of the costs."""
    hypervolume: Hypervolume | None
    """None without designs, or against more than three costs."""

    def __str__(self) -> str:
        lines = [f"front of {self.metric} against {', '.join(self.costs)}, over {self.unit}"]
        if self.hypervolume is not None:
            whole = self.hypervolume
            interval = "" if whole.interval is None else f" {whole.interval:.6g}"
            ends = ", ".join(f"{name} {value:.6g}" for name, value in whole.reference.items())
            share = f", {whole.of_box:.0%} of the box of the best of each"
            lines.append(
                f"  hypervolume {whole.value:.6g}{interval}"
                f"{'' if math.isnan(whole.of_box) else share}, up to {ends}"
            )
        for point in self.points:
            spent = ", ".join(f"{value:.6g} {name}" for name, value in point.costs.items())
            sure = "" if point.probability is None else f", on the front in {point.probability:.0%}"
            interval = "" if point.interval is None else f" {point.interval:.4f}"
            mark = "*" if point.on_front else " "
            adds = f", adds {point.share:.1%}" if point.on_front and point.share is not None else ""
            lines.append(
                f"  {mark} {point.design}: {spent}: {point.value:.4f}{interval}{sure}{adds}"
            )
        return "\n".join(lines)


def fronts(
    table: Sequence[Row],
    draws: Draws,
    *,
    costs: Sequence[str] | None = None,
    level: float = 0.95,
    reference: Mapping[str, float] | None = None,
) -> tuple[Front, ...]:
    """Front of the metric against each cost, and against all of them together.

    Parameters
    ----------
    table : sequence of Row
        From :func:`rows`.
    draws : Draws
        Draws of the metric; not of a :class:`Race`, which chooses seeds by results.
    costs : sequence of str, optional
        Some of :attr:`Study.costs`, or of :data:`COSTS` if the study names none. By default those
        that differ between designs; of :data:`COSTS`, only photons, bits, pixels and
        multiply-accumulates.
    level : float
        Level of the intervals.
    reference : mapping from str to float, optional
        Point at which the hypervolume ends, by name of metric and costs; use the same one for
        studies whose volumes are to be compared. By default, and for names not in it, it is a tenth
        of the range beyond the worst of the designs in the table of that front, so that the ends
        of a front count too (Ishibuchi et al., Evolutionary Computation 26 (2018) 411).

    Returns
    -------
    tuple of Front
        The interval of a hypervolume is Student's, from the spread of the draws, around the volume
        less its bias. The bias is what draws of seeds and lesions add: a front of noisy means is
        too good, and quantiles of the draws contain this twice. Noise of single seeds on single
        lesions counts as in :func:`infer`.

    Raises
    ------
    ValueError
        For an unknown cost, or a reference for neither the metric nor a cost.
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
            f"the reference names {wrong[0]!r}, not one of {draws.metric}, {', '.join(there)}"
        )
    levels = {row.design: row.levels for row in table}
    if costs is None:
        costs = front_costs([spent[number] for number in draws.designs])
    costs = [*dict.fromkeys(costs)]
    chosen: list[tuple[str, ...]] = [(name,) for name in costs]
    if len(chosen) > 1:
        chosen.append(tuple(costs))
    return tuple(_front(levels, spent, draws, names, level, reference or {}) for names in chosen)


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
    """Hypervolume of a front against ``costs [M, D]``, and the share of each design."""
    both = np.column_stack([draws.means, costs])
    known = np.isfinite(both).all(1)
    least, most = DIMENSIONS
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
    less_is_better: bool,
    used: Array,
    value: float,
    level: float,
) -> Interval | None:
    """Interval of the volume of the designs ``used``; the others are on no front of the draws."""
    if len(draws.drawn) == 0:
        return None
    sides = end[1:] - costs[used]
    reach_over = (sides > 0).all(1)
    sides = sides[reach_over]
    size = math.prod(len(np.unique(side)) for side in sides.T)
    count = min(len(draws.drawn), max(100, _WORK // max(size, 1)))

    def volumes(drawn: Array) -> Array:
        gains = (end[0] - drawn if less_is_better else drawn - end[0])[:count, used][:, reach_over]
        # A draw without any run of a design says nothing about it; the design is left out.
        return volumes_of(np.nan_to_num(gains, nan=0.0).clip(min=0), sides)

    both, of_seeds, of_lesions = map(volumes, (draws.drawn, draws.of_seeds, draws.of_lesions))
    seeds = int(np.isfinite(draws.values[used]).sum(1).min(initial=draws.values.shape[1]))
    if seeds < 2:
        return None
    freedom = degrees_of_freedom(
        float(of_seeds.var()), seeds, float(of_lesions.var()), draws.telling
    )
    variance = variance_of(float(both.var()), float(of_seeds.var()), float(of_lesions.var()), seeds)
    centre = value - added_by_noise(value, both, of_seeds, of_lesions)
    (low, high), _ = student(centre, math.sqrt(variance), freedom, level=level)
    return Interval(max(0.0, low), max(0.0, high))
