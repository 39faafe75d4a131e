"""Which designs meet a requirement, how sure that is, and which of them cost least.

::

    at_least, at_most, within the best ─┐ one-sided p of each, the largest counts
    outcomes ──resample──► Draws ───────┴──────────────► p of each design ──holm──► meets or not
    costs of the designs ───────────────────────────────────────────────────────► the cheapest
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, final

from scipy import special

from classify import Interval
from joint.analysis.record import plain
from joint.cells import aligned, as_csv
from joint.metric import (
    STUDY_METRICS,
    check_study_metric,
    is_study_metric,
    lower_is_better,
    scores_nothing,
)
from joint.settings import nearest
from joint.study.axis import Design
from joint.study.significance import holm
from joint.study.store import Ledger, done_before, given_up

from .draws import Draws, resample
from .inference import Outcome
from .table import COSTS, Row, design_costs, front_costs, outcomes, rows

__all__ = ["Candidate", "Selection", "Verdict", "select_designs"]

Verdict = Literal["meets", "perhaps", "does not"]


@final
@dataclass(frozen=True)
class Candidate:
    """One design against the requirements."""

    number: int
    """Of the design, as in the ledger."""
    levels: Design
    """What it chooses on each axis."""
    means: dict[str, float | None]
    """Over its seeds, of each metric that is required."""
    intervals: dict[str, Interval | None]
    """Of these, two-sided at one less alpha; None with fewer than two seeds."""
    costs: dict[str, float | None]
    """Means over the runs that are done, of :attr:`Study.costs`, else of :data:`COSTS`."""
    p: float
    """One-sided, that it does not meet them all: the largest of the requirements; 1 where runs are
    missing, or nothing can be said."""
    adjusted_p: float
    """The same, adjusted for the designs that could have met them (:func:`holm`)."""
    verdict: Verdict
    """``meets`` where that is shown; ``perhaps`` where the means do, or runs are missing; else
    ``does not``."""
    held_back: str | None
    """The requirement that it does not meet or that is the least sure, or what is missing; None
    where it meets all."""


@final
@dataclass(frozen=True)
class Selection:
    """Designs that meet requirements, and those that do not."""

    requirements: tuple[str, ...]
    """In words."""
    designs: tuple[Candidate, ...]
    """Those that meet them first, then those that perhaps do; each by the first cost."""
    cheapest: dict[str, tuple[int, ...]]
    """Of those that meet them, the designs that have least of each cost."""
    costs: tuple[str, ...]
    """Those of the study's that differ between the designs, of the usual ones of a front, and all
    that are bounded; means over runs, photons a picture and not a pixel."""
    alpha: float
    """One-sided level: half that of the plan, of which one end of an interval has as much."""
    tested: int
    """Designs that the p are adjusted for: those within what is required of costs."""
    notes: tuple[str, ...] = ()
    """Why intervals may be too narrow, if so."""

    def meeting(self) -> tuple[Candidate, ...]:
        """The designs that are shown to meet all requirements."""
        return tuple(each for each in self.designs if each.verdict == "meets")

    def __str__(self) -> str:
        names = list(self.designs[0].means) if self.designs else []
        lines = [f"designs of {', '.join(self.requirements)}"]
        head = ("", "design", *names, *self.costs, "p", "held back by")
        lines += aligned([head, *(self._cells(each, names) for each in self.designs)])
        for name, numbers in self.cheapest.items():
            value = next(each.costs[name] for each in self.designs if each.number == numbers[0])
            which = f"design{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
            lines.append(f"the least {name} of those that meet them: {value:.6g}, {which}")
        if not self.meeting():
            lines.append("no design is shown to meet them")
        lines += self.notes
        lines.append(
            f"p: one-sided, over seeds and lesions, adjusted for {self.tested} designs (Holm); "
            f"shown at {self.alpha:g}, if the requirements were fixed before anybody looked"
        )
        return "\n".join(lines)

    def _cells(self, each: Candidate, names: Sequence[str]) -> tuple[str, ...]:
        values = []
        for name in names:
            mean, interval = each.means[name], each.intervals[name]
            ends = "" if interval is None else " [{:.4g}, {:.4g}]".format(*interval)
            values.append("-" if mean is None else f"{mean:.4g}{ends}")
        spent = [each.costs[name] for name in self.costs]
        levels = ", ".join(f"{name}={level}" for name, level in each.levels.items())
        return (
            each.verdict,
            f"{each.number}: {levels}",
            *values,
            *("-" if value is None else f"{value:.6g}" for value in spent),
            f"{each.adjusted_p:.3g}",
            each.held_back or "",
        )

    def to_json(self) -> str:
        """JSON of everything."""
        return json.dumps(plain(asdict(self)), indent=1, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """CSV with a row for each design, in their order; what is not there is empty."""
        return as_csv([_row(each) for each in self.designs])


def _row(each: Candidate) -> dict[str, Any]:
    ends = {name: interval or (None, None) for name, interval in each.intervals.items()}
    return {
        "design": each.number,
        **{f"axis.{name}": level for name, level in each.levels.items()},
        "verdict": each.verdict,
        **each.means,
        **{f"{name}.low": low for name, (low, _) in ends.items()},
        **{f"{name}.high": high for name, (_, high) in ends.items()},
        **{f"cost.{name}": value for name, value in each.costs.items()},
        "p": each.p,
        "adjusted_p": each.adjusted_p,
        "held_back": each.held_back,
    }


class _Requirement(NamedTuple):
    """A number that a design shall have at least, or at most."""

    name: str
    bound: float
    least: bool
    """Whether ``bound`` is the least; otherwise the most."""

    def __str__(self) -> str:
        return f"{self.name} {'>=' if self.least else '<='} {self.bound:g}"

    def spare(self, value: float) -> float:
        """By how much a value is on the right side."""
        return value - self.bound if self.least else self.bound - value


class _Answer(NamedTuple):
    """What is known of one requirement of one design."""

    requirement: str
    met: bool
    """By the mean, or the cost as it is."""
    p: float
    of_cost: bool = False


def select_designs(
    ledger: Ledger,
    *,
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
    within: float | None = None,
    metric: str | None = None,
) -> Selection:
    """Say which designs of a study meet requirements, and which of those cost least.

    A design must meet all of them, each by a one-sided test over seeds and lesions: then none needs
    a correction for their number (Berger, Technometrics 24 (1982) 295). The p of the designs are
    adjusted for the number of designs, so that at most ``alpha`` of such studies call any of them
    wrongly one that meets the requirements. Costs are taken as they are.

    Parameters
    ----------
    ledger : Ledger
        The study, finished or not.
    at_least, at_most : mapping from str to float, optional
        Bounds of metrics (:data:`STUDY_METRICS`, also of one class, as ``recall.mel``) and of the
        study's costs, by name; a name that is both is the metric.
    within : float, optional
        How far a design may be behind the best of all, in ``metric``: it is compared in pairs with
        each of the others, so that the best need not be known.
    metric : str, optional
        Of ``within``; that of the plan by default.

    Returns
    -------
    Selection

    Raises
    ------
    ValueError
        Without a requirement; for a name that is no metric and no cost of the study, a bound that
        is no finite number, a margin that is not positive and finite, a metric without a margin,
        or one that no run has.
    """
    if metric is not None and within is None:
        raise ValueError(f"metric={metric!r} is that of a margin: give within=, too")
    if within is not None and not (math.isfinite(within) and within > 0):
        raise ValueError(
            f"within is a positive, finite margin, not {within}: that a design is not at all "
            "behind the best, no number of runs can show"
        )
    asked = [*_bounds("at_least", at_least, True), *_bounds("at_most", at_most, False)]
    if not asked and within is None:
        raise ValueError("give at least one requirement: at_least, at_most or within")
    plan = ledger.study.plan
    metric = metric or plan.metric
    if within is not None:
        check_study_metric(metric)
    table = rows(ledger)
    spent = design_costs(table)
    known_costs = tuple(dict.fromkeys(name for each in spent.values() for name in each)) or COSTS
    for name in (each.name for each in asked):
        if not is_study_metric(name) and name not in known_costs:
            raise ValueError(
                f"{name!r} is no metric of a study, and none of its costs, {', '.join(known_costs)}"
                f"{nearest(name, (*known_costs, *STUDY_METRICS), always=False)}"
            )
    measured = [*dict.fromkeys(each.name for each in asked if is_study_metric(each.name))]
    if within is not None and metric not in measured:
        measured.append(metric)
    ended = {name: outcomes(ledger, name) for name in measured}
    draws = {
        name: resample(runs, metric=name, resamples=plan.resamples) for name, runs in ended.items()
    }
    waits = [n for n in range(len(ledger.designs)) if _has_runs_to_go(table, n)]
    answers = {
        number: [
            *(
                _of_mean(draws[each.name], number, each)
                if each.name in draws
                else _of_cost(spent[number].get(each.name), each)
                for each in asked
            ),
            *([] if within is None else [_behind_best(draws[metric], number, within, waits)]),
        ]
        for number in range(len(ledger.designs))
    }
    missing = {number: _missing(table, ended, number) for number in answers}
    p = {
        number: 1.0 if missing[number] else max(each.p for each in own)
        for number, own in answers.items()
    }
    # A design that costs too much was never in question.
    tested = [n for n, own in answers.items() if all(each.met for each in own if each.of_cost)]
    adjusted = dict(zip(tested, holm([p[number] for number in tested]), strict=True))
    alpha = plan.alpha / 2
    candidates = []
    for number, levels in enumerate(ledger.designs):
        shown = adjusted.get(number, 1.0) <= alpha
        verdict, held_back = _verdict(answers[number], shown, missing[number])
        own = {name: draws[name] for name in measured if number in draws[name].designs}
        judged = {name: each.of(number, level=1 - plan.alpha) for name, each in own.items()}
        candidates.append(
            Candidate(
                number,
                levels,
                {name: judged[name].mean if name in judged else None for name in measured},
                {name: judged[name].interval if name in judged else None for name in measured},
                spent[number],
                p[number],
                adjusted.get(number, 1.0),
                verdict,
                held_back,
            )
        )
    told = [str(each) for each in asked]
    told += [] if within is None else [_margin(metric, within)]
    bounded = [each.name for each in asked if each.name not in draws]
    costs = tuple(dict.fromkeys([*front_costs([*spent.values()]), *bounded]))
    notes = [each.note for each in draws.values() if each.note is not None]
    before = done_before(ledger)
    if before:
        notes.append(f"{before} of {len(table)} runs were there before this study was written")
    return Selection(
        tuple(told),
        _ordered(candidates, costs),
        _cheapest(candidates, costs),
        costs,
        alpha,
        len(tested),
        tuple(dict.fromkeys(notes)),
    )


def _bounds(
    argument: str, given: Mapping[str, float] | None, least: bool
) -> Iterable[_Requirement]:
    for name, bound in (given or {}).items():
        if not math.isfinite(bound):
            raise ValueError(f"{argument} of {name} is a finite number, not {bound}")
        yield _Requirement(name, float(bound), least)


def _margin(metric: str, within: float) -> str:
    return f"within {within:g} of the best {metric}"


def _of_mean(draws: Draws, number: int, asked: _Requirement) -> _Answer:
    if number not in draws.designs:
        return _Answer(f"no {asked.name}", False, 1.0)
    alone = [float(other == number) for other in draws.designs]
    mean = float(draws.means[draws.place(number)])
    p = _one_sided(draws, alone, asked.bound, asked.spare(mean))
    if draws.lesions is not None and scores_nothing(draws.metric):
        share, bound = (mean, asked.bound) if asked.least else (1 - mean, 1 - asked.bound)
        p = max(p, _by_chance(share * draws.lesions, draws.lesions, bound))
    return _Answer(str(asked), asked.spare(mean) >= 0, p)


def _by_chance(right: float, lesions: float, bound: float) -> float:
    """P of so many right of so many lesions, or more, of which each is right with a chance.

    No lesions vary more (Clopper and Pearson, Biometrika 26 (1934) 404). Where all but a few are
    right, their spread as it was drawn is next to nothing, which says little of others.
    """
    if not 0 < bound < 1:
        return float(bound >= 1)
    return 1.0 if right <= 0 else float(special.betainc(right, lesions - right + 1, bound))


def _of_cost(value: float | None, asked: _Requirement) -> _Answer:
    if value is None:
        return _Answer(str(asked), False, 1.0)  # of a run that is not done
    met = asked.spare(value) >= 0
    return _Answer(str(asked), met, 0.0 if met else 1.0, of_cost=True)


def _behind_best(draws: Draws, number: int, within: float, waits: Sequence[int]) -> _Answer:
    """Whether a design is behind none of the others by the margin, some of which may still run."""
    if number not in draws.designs:
        return _Answer(f"no {draws.metric}", False, 1.0)
    sign = -1.0 if lower_is_better(draws.metric) else 1.0
    own = draws.place(number)
    met, p = True, 0.0
    if others := len({*waits} - {number}):
        told = f"{others} of the others {'has' if others == 1 else 'have'} not ended"
        return _Answer(told, True, 1.0)
    for other in range(len(draws.designs)):
        if other == own:
            continue
        weights = [sign * ((at == own) - (at == other)) for at in range(len(draws.designs))]
        ahead = sign * float(draws.means[own] - draws.means[other])
        met = met and ahead + within >= 0
        p = max(p, _one_sided(draws, weights, -within, ahead + within))
    return _Answer(_margin(draws.metric, within), met, p)


def _one_sided(draws: Draws, weights: Sequence[float], bound: float, spare: float) -> float:
    """P that a weighted sum of means is not beyond ``bound``, to which there is ``spare``."""
    found = draws.infer(weights, null=bound)
    if found.interval is None:
        return 1.0
    alike = found.interval.low == found.interval.high  # of all seeds and lesions
    p = float(spare < 0) if alike else found.p / 2 if spare > 0 else 1 - found.p / 2
    if draws.lesions is None:
        return p
    if not scores_nothing(draws.metric):
        return 1.0 if alike else p
    # If a share of at least ``spare`` of all lesions were otherwise, so many would hide it with
    # this chance (the rule of three: Hanley and Lippman-Hand, JAMA 249 (1983) 1743).
    return max(p, (1 - min(max(spare, 0.0), 1.0)) ** draws.lesions)


def _missing(
    table: Sequence[Row], ended: Mapping[str, Mapping[int, Sequence[Outcome]]], number: int
) -> str | None:
    """What a design lacks to be judged."""
    states = [row.state for row in table if row.design == number]
    wanted = len(states)
    if _has_runs_to_go(table, number):
        done = states.count("done")
        return f"{done} of {wanted} runs are done" if done else "no run is done"
    for name, runs in ended.items():
        failed = sum(run.value is None for run in runs[number])
        if failed and not scores_nothing(name):
            return f"{failed} of {wanted} runs failed, which have no {name}"
    return None if "done" in states else f"all {wanted} runs failed"


def _has_runs_to_go(table: Sequence[Row], number: int) -> bool:
    """Whether a design has runs that have not ended; one that its machine gave up has not."""
    return any(
        row.design == number
        and (row.state in ("pending", "running") or given_up(row.error, row.message))
        for row in table
    )


def _verdict(
    answers: Sequence[_Answer], shown: bool, missing: str | None
) -> tuple[Verdict, str | None]:
    wrong = [each.requirement for each in answers if not each.met]
    if missing is not None:
        excess = [each.requirement for each in answers if each.of_cost and not each.met]
        return ("does not", ", ".join(excess)) if excess else ("perhaps", missing)
    if wrong:
        return "does not", ", ".join(wrong)
    if shown:
        return "meets", None
    return "perhaps", max(answers, key=lambda each: each.p).requirement


def _ordered(candidates: Sequence[Candidate], costs: Sequence[str]) -> tuple[Candidate, ...]:
    verdicts = ("meets", "perhaps", "does not")

    def place(each: Candidate) -> tuple[float, ...]:
        spent = [math.inf if (cost := each.costs[name]) is None else cost for name in costs]
        return (verdicts.index(each.verdict), *spent, each.number)

    return tuple(sorted(candidates, key=place))


def _cheapest(candidates: Sequence[Candidate], costs: Sequence[str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name in costs:
        spent = {
            each.number: cost
            for each in candidates
            if each.verdict == "meets" and (cost := each.costs[name]) is not None
        }
        if spent:
            least = min(spent.values())
            found[name] = tuple(number for number, cost in spent.items() if cost == least)
    return found
