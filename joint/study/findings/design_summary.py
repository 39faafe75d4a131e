"""The designs of a study side by side: the mean of each, what it costs, and which are ahead.

::

    outcomes, rows ─► estimate and costs of each design ─┬─► front, share of the hypervolume
                                                         └─► best first; what luck would bring
"""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from joint.judge.metric import lower_is_better, scores_nothing
from joint.study.axis import Design
from joint.study.ledger import Ledger
from joint.study.race_decision import seeds_ended
from joint.study.significance import expected_maximum
from joint.train.rate_weight import ON_TARGET

from .inference import Outcome, score
from .pareto import DIMENSIONS, hypervolume_shares, pareto_front, reference_of
from .statistics import Estimate, estimate
from .table import Row, design_costs, front_costs

__all__ = ["DesignSummary", "known_costs", "luck_of_best", "mean_rates", "summaries"]


@final
@dataclass(frozen=True)
class DesignSummary:
    """Results of one design over its seeds."""

    number: int
    """Number of the design, as in the ledger."""
    levels: Design
    """Level on each axis."""
    estimate: Estimate
    """Mean of the plan's metric over seeds, with its interval."""
    costs: dict[str, float | None]
    """Means over the finished runs: of :attr:`Study.costs`, or else of :data:`COSTS`."""
    on_front: bool
    """Whether no other design has a better metric at costs that are all as low, of those of
    :func:`front_costs`, see :func:`pareto_front`. False if no run is done. In a race, the designs
    that have all seeds are compared."""
    share: float | None = None
    """Share of the hypervolume of metric and :func:`front_costs` that this design alone adds, 0..1,
    see :func:`hypervolume_shares`; None if there are more than three such costs, or none."""
    bpp: float | None = None
    """Bits per pixel on the test part, mean over the finished runs; None without a codec."""
    rate_target: float | None = None
    """Bits per pixel that training aims at, ``objective.rate_target``; None without one."""

    @property
    def off_target(self) -> bool:
        """Whether the rate is more than 5 % off its target, so that it is compared at another."""
        if self.bpp is None or self.rate_target is None:
            return False
        return abs(self.bpp / self.rate_target - 1) > ON_TARGET


def known_costs(designs: Sequence[DesignSummary]) -> list[str]:
    """Costs that at least one of the designs has a value for."""
    names = dict.fromkeys(name for each in designs for name in each.costs)
    return [name for name in names if any(each.costs[name] is not None for each in designs)]


def summaries(
    ledger: Ledger, ended: dict[int, list[Outcome]], metric: str, table: Sequence[Row]
) -> tuple[DesignSummary, ...]:
    """All designs of a study, best first; in a race, those with the most seeds first.

    Parameters
    ----------
    ledger : Ledger
        The study.
    ended : dict of int to list of Outcome
        Runs of each design that have ended, see :func:`outcomes`.
    metric : str
        Metric to judge by.
    table : sequence of Row
        Its runs as rows.
    """
    plan = ledger.study.plan
    spent, done = design_costs(table), {row.design for row in table if row.state == "done"}
    rates, race = mean_rates(table), ledger.study.race is not None
    seeds = seeds_ended(ledger) if race else Counter[int]()
    whole = {n for n in spent if not race or seeds[n] == len(ledger.study.seeds)}
    found = []
    for number, levels in enumerate(ledger.designs):
        judged = estimate(
            ended[number], metric=metric, level=1 - plan.alpha, resamples=plan.resamples
        )
        if number in done and not ended[number]:
            judged = replace(judged, note=f"design {number} has no {metric}")
        found.append((number, levels, judged, spent[number]))
    counted = front_costs([own for _, _, judged, own in found if judged.mean is not None])
    # If all runs failed, the cost is unknown, and their 0 is not a result. The means of a design
    # that a race has stopped are not compared with those of others either.
    values = np.array(
        [
            [_number(judged.mean if number in done & whole else None)]
            + [_number(own[name]) for name in counted]
            for number, _, judged, own in found
        ]
    )
    best_is_low = lower_is_better(metric)
    minimise = [best_is_low, *(True for _ in counted)]
    front = pareto_front(values, minimise=minimise)
    shares = _shares(values, minimise)
    targets = {number: _target(ledger, ledger.designs[number]) for number in rates}
    made = [
        DesignSummary(
            number, levels, judged, spent, bool(on), share, rates.get(number), targets.get(number)
        )
        for (number, levels, judged, spent), on, share in zip(found, front, shares, strict=True)
    ]

    def place(summary: DesignSummary) -> tuple[int, float]:
        mean = summary.estimate.mean
        value = math.inf if mean is None else mean if best_is_low else -mean
        return -seeds[summary.number], value

    return tuple(sorted(made, key=place))


def _target(ledger: Ledger, levels: Design) -> float | None:
    """Rate that a design's training aims at."""
    with suppress(ValueError):  # the user's class may take other arguments by now
        return ledger.study.config(levels, ledger.study.seeds[0]).objective.rate_target
    return None


def _shares(values: np.ndarray, minimise: Sequence[bool]) -> list[float | None]:
    """Share of the hypervolume that each design alone adds, for the metric and the costs."""
    whole = np.asarray(np.isfinite(values).all(1))
    least, most = DIMENSIONS
    if not whole.any() or not least <= values.shape[1] <= most:
        return [None] * len(values)
    # A design with a missing cost is on no front and adds nothing.
    values = np.where(whole[:, None], values, math.nan)
    _, end = reference_of(values, minimise)
    shares = hypervolume_shares(values, end.tolist(), minimise=minimise)
    return [
        float(share) if there and math.isfinite(share) else None
        for share, there in zip(shares, whole, strict=True)
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def mean_rates(table: Sequence[Row]) -> dict[int, float]:
    """Mean bits per pixel of each design that has a codec, over its finished runs."""
    found: dict[int, list[float]] = {}
    for row in table:
        if (bpp := row.numbers.get("bpp")) is not None:
            found.setdefault(row.design, []).append(bpp)
    return {number: float(np.mean(own)) for number, own in found.items()}


def luck_of_best(designs: Sequence[Sequence[Outcome]], metric: str) -> float | None:
    """Expected lead of the best design with a number, if designs differ by seeds alone.

    A seed's common effect on all designs puts none of them ahead. It is removed, as the mean of
    each seed, if the designs share two or more seeds.
    """
    found = [
        {run.seed: score(run) for run in runs if run.value is not None or scores_nothing(metric)}
        for runs in designs
    ]
    found = [values for values in found if values]
    several = [np.array([*values.values()]) for values in found if len(values) > 1]
    if not several:
        return None
    shared = sorted(set.intersection(*map(set, found)))
    if len(found) > 1 and len(shared) > 1:
        table = np.array([[values[seed] for seed in shared] for values in found])
        rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
        variance = (rest**2).sum() / ((len(found) - 1) * (len(shared) - 1))
        error = variance * np.mean([1 / len(values) for values in found])
    else:
        error = np.mean([values.var(ddof=1) / len(values) for values in several])
    return expected_maximum(len(found)) * math.sqrt(float(error))
