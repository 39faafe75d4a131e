"""Designs that meet requirements, with tests, and the cheapest of them.

::

    at_least, at_most, within the best ─┐ one-sided p of each, the largest counts
    outcomes ──resample──► Draws ───────┴──────────────► p of each design ──holm──► meets or not
    costs of the designs ───────────────────────────────────────────────────────► the cheapest
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

from pydantic import ValidationError

from classify import Interval
from joint.cells import aligned, as_csv
from joint.config.faults import fault_line
from joint.judge.metric import check_study_metric, scores_nothing
from joint.record import Record
from joint.study.axis import Design
from joint.study.ledger import Ledger, is_machine_fault
from joint.study.provenance import changed_inputs, changed_note, other_pictures
from joint.study.requirements import Bound, Requirements, check_reached
from joint.study.significance import holm
from joint.study.space import levels_shown, numbers_shown
from joint.study.store import done_before

from .draws import Draws, resample
from .inference import Outcome, merged_notes
from .one_sided import Answer, behind_best, of_cost, of_mean
from .table import Row, axis_cells, design_costs, front_costs, outcomes, rows

__all__ = ["Candidate", "Selection", "Verdict", "judged_selection", "select_designs"]

Verdict = Literal["meets", "perhaps", "does not"]


@final
@dataclass(frozen=True)
class Candidate:
    """One design judged by the requirements."""

    number: int
    """Number of the design, as in the ledger."""
    levels: Design
    """Level on each axis."""
    means: dict[str, float | None]
    """Mean over seeds of each required metric."""
    intervals: dict[str, Interval | None]
    """Two-sided intervals of these means, at 1 - alpha; None with fewer than two seeds."""
    costs: dict[str, float | None]
    """Means over the finished runs, of :attr:`Study.costs` or else of :data:`COSTS`."""
    p: float
    """One-sided p that it does not meet all requirements: the largest p of them; 1 if runs are
    missing or nothing can be said."""
    adjusted_p: float
    """The same p, adjusted for the designs that could have met the requirements (:func:`holm`)."""
    verdict: Verdict
    """``meets`` if that is shown; ``perhaps`` if only the means meet the requirements, or runs are
    missing; otherwise ``does not``."""
    held_back: str | None
    """The requirement that it does not meet or that is least certain, or what is missing; None if
    it meets all."""


@final
@dataclass(frozen=True)
class Selection(Record):
    """Result of :func:`select_designs`: each design judged by the requirements."""

    requirements: tuple[str, ...]
    """In words."""
    designs: tuple[Candidate, ...]
    """Designs that meet them, then those that perhaps do, then others; each by the first cost."""
    cheapest: dict[str, tuple[int, ...]]
    """For each cost, the designs with the lowest value among those that meet the requirements."""
    costs: tuple[str, ...]
    """Costs in the table: those that differ between designs, of the usual costs of a front, and all
    bounded ones; means over runs, in the units of :class:`Costs`."""
    alpha: float
    """One-sided level: half that of the plan, like one end of a two-sided interval."""
    tested: int
    """Number of designs for which p is adjusted: those that meet the bounds of costs."""
    notes: tuple[str, ...] = ()
    """Why intervals may be too narrow, if so."""
    planned: bool = False
    """Whether the requirements are those of the plan, fixed before the first run."""
    bounds: tuple[Bound, ...] = ()
    """Requirements that bound one number."""

    def meeting(self) -> tuple[Candidate, ...]:
        """The designs that are shown to meet all requirements."""
        return tuple(each for each in self.designs if each.verdict == "meets")

    def __str__(self) -> str:
        lines = [f"designs by the requirements {', '.join(self.requirements)}"]
        return "\n".join([*lines, *aligned(self.cells()), *self.conclusions()])

    def cells(self) -> list[tuple[str, ...]]:
        """Table for reading: column names, then a row for each design."""
        names = list(self.designs[0].means) if self.designs else []
        head = ("", "design", *names, *self.costs, "p", "held back by")
        return [head, *(self._cells(each, names) for each in self.designs)]

    def conclusions(self) -> list[str]:
        """The cheapest designs and remarks, one line each."""
        lines = []
        for name, numbers in self.cheapest.items():
            value = next(each.costs[name] for each in self.designs if each.number == numbers[0])
            which = numbers_shown("design", numbers)
            lines.append(f"lowest {name} of those that meet them: {value:.6g}, {which}")
        if not self.meeting():
            lines.append("no design is shown to meet them")
        lines += self.notes
        provided = "" if self.planned else ", if the requirements were fixed before any results"
        lines.append(
            f"p: one-sided, over seeds and lesions, adjusted for {self.tested} designs (Holm); "
            f"shown at {self.alpha:g}{provided}"
        )
        return lines

    def _cells(self, each: Candidate, names: Sequence[str]) -> tuple[str, ...]:
        values = []
        for name in names:
            mean, interval = each.means[name], each.intervals[name]
            ends = "" if interval is None else f" {interval:.4g}"
            values.append("-" if mean is None else f"{mean:.4g}{ends}")
        spent = [each.costs[name] for name in self.costs]
        return (
            each.verdict,
            f"{each.number}: {levels_shown(each.levels)}",
            *values,
            *("-" if value is None else f"{value:.6g}" for value in spent),
            f"{each.adjusted_p:.3g}",
            each.held_back or "",
        )

    def to_json(self) -> str:
        """JSON of everything."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """CSV with one row per design, in order; missing values are empty."""
        return as_csv([_row(each) for each in self.designs])


def _row(each: Candidate) -> dict[str, Any]:
    ends = {name: interval or (None, None) for name, interval in each.intervals.items()}
    return {
        "design": each.number,
        **axis_cells(each.levels),
        "verdict": each.verdict,
        **each.means,
        **{f"{name}.low": low for name, (low, _) in ends.items()},
        **{f"{name}.high": high for name, (_, high) in ends.items()},
        **{f"cost.{name}": value for name, value in each.costs.items()},
        "p": each.p,
        "adjusted_p": each.adjusted_p,
        "held_back": each.held_back,
    }


def select_designs(
    ledger: Ledger,
    *,
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
    within: float | None = None,
    metric: str | None = None,
) -> Selection:
    """Determine which designs of a study meet requirements, and which of those cost least.

    A design must meet all requirements, each by a one-sided test over seeds and lesions; then no
    correction for the number of requirements is needed (Berger, Technometrics 24 (1982) 295). The p
    of the designs are adjusted for the number of designs, so that in at most ``alpha`` of such
    studies any design is wrongly said to meet the requirements. Costs have no uncertainty.

    Parameters
    ----------
    ledger : Ledger
        The study, finished or not.
    at_least, at_most : mapping from str to float, optional
        Bounds of metrics (:data:`STUDY_METRICS`, also of one class, such as ``recall.mel``) and of
        the study's costs, by name; a name that is both is the metric.
    within : float, optional
        Largest distance of a design from the best of all, in ``metric``. It is compared in pairs
        with each other design, so that the best need not be known.
    metric : str, optional
        Metric for ``within``; by default that of the plan.

    Returns
    -------
    Selection
        By default by the requirements of the plan.

    Raises
    ------
    ValueError
        Without any requirement, here or in the plan; for a name that is neither a metric nor a cost
        of the study, a bound that is not finite or that its metric cannot reach, a margin that is
        not positive and finite, a metric without a margin, or one that no run has; for a race,
        which chooses seeds by results.
    """
    plan = ledger.study.plan
    if metric is not None and within is None:
        raise ValueError(f"metric={metric!r} applies to a margin: give within= as well")
    if ledger.study.race is not None:
        raise ValueError(
            "a race has chosen the seeds of its designs by their results, so no p of them is "
            "valid: confirm its result on fresh seeds (lens2label study confirm)"
        )
    planned = not (at_least or at_most or within is not None)
    wanted = plan.requirements if planned else _given(at_least or {}, at_most or {}, within)
    if not wanted:
        raise ValueError(
            "give at least one requirement: at_least, at_most or within; the plan has none"
        )
    metric = metric or plan.metric
    if wanted.within is not None:
        check_study_metric(metric)
    return judged_selection(ledger, wanted, metric, planned=planned)


def _given(
    at_least: Mapping[str, float], at_most: Mapping[str, float], within: float | None
) -> Requirements:
    try:
        wanted = Requirements(at_least=dict(at_least), at_most=dict(at_most), within=within)
    except ValidationError as error:
        faults = [fault_line(fault, Requirements) for fault in error.errors()]
        raise ValueError("; ".join(faults)) from None
    check_reached(wanted)
    return wanted


def judged_selection(
    ledger: Ledger,
    wanted: Requirements,
    metric: str,
    *,
    planned: bool = True,
    table: Sequence[Row] | None = None,
    known: Mapping[str, Mapping[int, Sequence[Outcome]]] | None = None,
    changed: Mapping[int, str] | None = None,
) -> Selection:
    """:func:`select_designs` on files that were read already: ``known`` outcomes by metric."""
    plan = ledger.study.plan
    table = rows(ledger) if table is None else table
    changed = changed_inputs(ledger) if changed is None else changed
    spent = design_costs(table)
    wanted.check_names(ledger.study.cost_names)
    measured = [*wanted.metrics()]
    if wanted.within is not None and metric not in measured:
        measured.append(metric)
    known = known or {}
    ended = {name: known.get(name) or outcomes(ledger, name) for name in measured}
    draws = {
        name: resample(runs, metric=name, resamples=plan.resamples) for name, runs in ended.items()
    }
    runs = {number: [row for row in table if row.design == number] for number in spent}
    wait = [number for number, own in runs.items() if _has_runs_to_go(own)]
    judged = [
        _Judged(
            tuple(_answers(wanted, metric, number, draws, spent[number], wait)),
            changed_note(changed, number)
            or _missing(runs[number], {name: of[number] for name, of in ended.items()}),
        )
        for number in range(len(ledger.designs))
    ]
    # A design that costs too much is not tested.
    tested = [number for number, each in enumerate(judged) if not each.excess]
    adjusted = dict(zip(tested, holm([judged[number].p for number in tested]), strict=True))
    candidates, noted = [], {}
    for number, levels in enumerate(ledger.designs):
        p = adjusted.get(number, 1.0)
        verdict, held_back = judged[number].verdict(shown=p <= plan.alpha / 2)
        found = {
            name: each.of(number, level=1 - plan.alpha) if number in each.designs else None
            for name, each in draws.items()
        }
        if said := [each.note for each in found.values() if each is not None]:
            noted[number] = said
        candidates.append(
            Candidate(
                number,
                levels,
                {name: each and each.mean for name, each in found.items()},
                {name: each and each.interval for name, each in found.items()},
                spent[number],
                judged[number].p,
                p,
                verdict,
                held_back,
            )
        )
    bounded = [each.name for each in wanted.bounds() if each.name not in draws]
    costs = tuple(dict.fromkeys([*front_costs([*spent.values()]), *bounded]))
    notes = merged_notes(noted)
    if (said := other_pictures(changed)) is not None:
        notes.append(said)
    before = done_before(ledger)
    if before:
        notes.append(f"{before} of {len(table)} runs were done before this study was written")
    return Selection(
        tuple(wanted.told(metric)),
        _ordered(candidates, costs),
        _cheapest(candidates, costs),
        costs,
        plan.alpha / 2,
        len(tested),
        tuple(notes),
        planned,
        wanted.bounds(),
    )


class _Judged(NamedTuple):
    """Results of one design for each requirement."""

    answers: tuple[Answer, ...]
    missing: str | None
    """What is missing to judge it."""

    @property
    def p(self) -> float:
        """P of the least certain requirement."""
        return 1.0 if self.missing else max(each.p for each in self.answers)

    @property
    def excess(self) -> list[str]:
        """Bounds of costs that it exceeds, in words."""
        return [each.requirement for each in self.answers if each.of_cost and not each.met]

    def verdict(self, *, shown: bool) -> tuple[Verdict, str | None]:
        """Verdict, and what holds the design back; ``shown`` is whether p is small enough."""
        if self.missing is not None:
            return (
                ("does not", ", ".join(self.excess)) if self.excess else ("perhaps", self.missing)
            )
        wrong = [each.requirement for each in self.answers if not each.met]
        if wrong:
            return "does not", ", ".join(wrong)
        if shown:
            return "meets", None
        return "perhaps", max(self.answers, key=lambda each: each.p).requirement


def _answers(
    wanted: Requirements,
    metric: str,
    number: int,
    draws: Mapping[str, Draws],
    spent: Mapping[str, float | None],
    wait: Sequence[int],
) -> Iterator[Answer]:
    for bound in wanted.bounds():
        known = draws.get(bound.name)
        yield (
            of_cost(spent.get(bound.name), bound)
            if known is None
            else of_mean(known, number, bound)
        )
    if wanted.within is not None:
        *_, told = wanted.told(metric)
        yield behind_best(draws[metric], number, wanted.within, told, wait)


def _missing(own: Sequence[Row], ended: Mapping[str, Sequence[Outcome]]) -> str | None:
    """What is missing to judge a design, from its rows and its outcomes by metric."""
    wanted, done = len(own), sum(row.state == "done" for row in own)
    if _has_runs_to_go(own):
        return f"{done} of {wanted} runs are done" if done else "no run is done"
    for name, runs in ended.items():
        failed = sum(run.value is None for run in runs)
        if failed and not scores_nothing(name):
            return f"{failed} of {wanted} runs failed, and have no {name}"
    return None if done else f"all {wanted} runs failed"


def _has_runs_to_go(own: Sequence[Row]) -> bool:
    """Whether a design has runs that have not ended, or that the machine gave up."""
    return any(
        row.state in ("pending", "running") or is_machine_fault(row.error, row.message)
        for row in own
    )


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
