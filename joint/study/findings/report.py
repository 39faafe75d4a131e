"""What a study has shown and what it has not: planned comparisons first, then exploration."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import indent
from typing import Any, final

from joint.cells import aligned, as_csv
from joint.judge.metric import scores_nothing
from joint.record import as_json
from joint.study.ledger import Ledger, Tally, check_design, is_machine_fault
from joint.study.provenance import (
    EnvironmentDifference,
    changed_inputs,
    changed_note,
    environment_differences,
    other_pictures,
)
from joint.study.race_decision import race_note
from joint.study.sampler import Listed
from joint.study.space import Pair, levels_shown, numbers_shown
from joint.study.store import done_before
from joint.train.rate_weight import ON_TARGET

from .design_summary import DesignSummary, known_costs, luck_of_best, mean_rates, summaries
from .inference import Outcome, check_paired, merged_notes
from .selection import Selection, judged_selection
from .statistics import PairedDifference, adjusted, compare, unpaired
from .table import COSTS, Row, axis_cells, front_costs, outcomes, rows

__all__ = [
    "Failure",
    "StudyReport",
    "compare_designs",
    "report",
]

_KINDS = 5  # reasons for failures that are printed
_SHOWN = 8  # designs that a note names


@final
@dataclass(frozen=True)
class Failure:
    """One reason why runs failed."""

    error: str
    """Its kind."""
    message: str
    """Message of the first of these runs."""
    designs: tuple[int, ...]
    """Numbers of the designs that failed for it."""
    runs: int
    """Number of runs that failed for it."""
    of_the_machine: bool = False
    """Whether the machine ended them: such runs count as not ended until they are tried again."""

    def __str__(self) -> str:
        first = self.message.strip().partition("\n")[0]
        which = numbers_shown("design", self.designs)
        not_ended = ", which count as not ended" if self.of_the_machine else ""
        return f"{self.runs} of {which}{not_ended}: {self.error}: {first}"


@final
@dataclass(frozen=True)
class StudyReport:
    """Everything that a study has shown so far."""

    name: str
    question: str
    """Question that the study is to answer, in its own words."""
    metric: str
    tally: Tally
    """Number of runs in each state."""
    planned: tuple[PairedDifference, ...]
    """Comparisons named in the plan, with p adjusted for their number."""
    designs: tuple[DesignSummary, ...]
    """All designs, best first (exploration). In a race, those with the most seeds first."""
    luck: float | None
    """Expected lead of the best design over the mean of all, among designs with a number, if they
    differed by chance over seeds only. None if no design has a number from two seeds; if the plan
    that is judged here names all designs in comparisons, so that nobody selects among them by their
    results; and in a race, where designs have different numbers of seeds."""
    doubt: str | None
    """Why no planned comparison can show anything; None if one can."""
    failures: tuple[Failure, ...] = ()
    """Reasons why runs failed, the most frequent first."""
    environments: tuple[EnvironmentDifference, ...] = ()
    """Differences between the runs in versions and devices."""
    before: int = 0
    """Number of runs that were already done when the plan was written."""
    plan_metric: str = ""
    """Metric of the plan; ``metric`` may be another one."""
    explored: tuple[PairedDifference, ...] = ()
    """The plan's comparisons, by another metric than its own: exploration."""
    changed: tuple[int, ...] = ()
    """Designs with runs that used other pictures or files, because files were replaced."""
    selection: Selection | None = None
    """Which designs meet the requirements of the plan; None if it has none."""
    unjudged: str | None = None
    """Why this cannot be decided, for example because no run has a required number."""
    race: str | None = None
    """Progress of the race and what it means for the means; None without a race."""
    level: float = 0.95
    """Level of the intervals of the designs: 1 - alpha of the plan."""

    @property
    def other_pictures(self) -> str | None:
        """Warning that files were replaced during the study; None if they were not."""
        return other_pictures(self.changed)

    @property
    def off_target(self) -> str | None:
        """Warning that names the designs off their target rate; None if there are none."""
        off = sorted((each for each in self.designs if each.off_target), key=lambda d: d.number)
        if not off:
            return None
        told = [f"design {d.number} has {d.bpp:.4g}, not {d.rate_target:g}" for d in off[:_SHOWN]]
        more = [f"and {len(off) - _SHOWN} more"] if len(off) > _SHOWN else []
        return (
            f"{len(off)} of {len(self.designs)} designs are more than {100 * ON_TARGET:g} % off "
            f"their objective.rate_target, bits/pixel: {', '.join(told + more)}. Designs with the "
            "same target may differ in rate: compare them as curves, or train for more epochs"
        )

    @property
    def notes(self) -> list[str]:
        """Remarks on the intervals of the designs."""
        judged = [(each.number, each.estimate) for each in self.designs]
        without = [each.note for _, each in judged if each.mean is None and each.note is not None]
        known = {number: [each.note] for number, each in judged if each.mean is not None}
        return [*merged_notes(known), *dict.fromkeys(without)]

    def __str__(self) -> str:
        tally = self.tally
        lines = [f"study {self.name!r}" + (f": {self.question}" if self.question else "")]
        lines.append(
            f"{tally.total} runs: {tally.done} done, {tally.failed} failed, {tally.running} "
            f"running, {tally.pending} to go"
        )
        lines += self._failed()
        lines += [f"  warning: {difference}" for difference in self.environments]
        lines += [] if self.other_pictures is None else [f"  warning: {self.other_pictures}"]
        lines += ["", "planned before the first run"]
        if self.before:
            lines.append(f"  {self.before} of {tally.total} runs were done before this plan")
        if self.doubt is not None:
            lines.append(f"  {self.doubt}")
        if self.off_target is not None:
            lines.append(f"  {self.off_target}")
        another = self.metric != self.plan_metric
        nothing = f" for {self.metric}: the plan is for {self.plan_metric}" if another else ""
        lines += [indent(str(contrast), "  ") for contrast in self.planned]
        lines += [] if self.selection is None else indent(str(self.selection), "  ").splitlines()
        lines += [] if self.unjudged is None else [f"  requirements not judged: {self.unjudged}"]
        lines += [] if self.planned or self.selection or self.unjudged else [f"  nothing{nothing}"]
        order = "best first" if self.race is None else "those with most seeds first"
        lines += ["", f"exploration: {self.metric} of {len(self.designs)} designs, {order}"]
        known = known_costs(self.designs)
        head = ("", "design", "mean", f"{100 * self.level:g} % interval", "runs", *known, "failed")
        lines += aligned([head, *(_cells(design, known) for design in self.designs)])
        if any(design.on_front for design in self.designs):
            there = [each.costs for each in self.designs if each.estimate.mean is not None]
            counted = ", ".join(front_costs(there))
            which = f" ({counted})" if counted else ""
            others = "no design" if self.race is None else "no other design with all seeds"
            lines.append(f"  *: {others} is ahead at costs that are all as low{which}")
        if "photons" in known:
            lines.append(
                "  photons: per pixel at full scale. This is the light that the camera collects, "
                "not what the lamp emits: a larger stop or pixel collects more of the same light"
            )
        lines += [indent(str(contrast), "  ") for contrast in self.explored]
        lines += [f"  {note}" for note in self.notes]
        lines += [] if self.race is None else [f"  {self.race}"]
        count = sum(design.estimate.mean is not None for design in self.designs)
        if self.luck is not None and round(self.luck, 4) > 0 and count > 1:
            lines.append(
                f"  by chance over seeds alone, the best of {count} equal designs would be "
                f"{self.luck:.4f} above their mean: confirm a choice on fresh seeds"
            )
        return "\n".join(lines)

    def _failed(self) -> list[str]:
        """Lines on failed runs; the mean alone does not tell failed runs from a poor design."""
        if not self.failures:
            return []
        counts = "scores 0" if scores_nothing(self.metric) else "is left out"
        if all(failure.of_the_machine for failure in self.failures):
            counts = "counts as not ended"
        more = len(self.failures) - _KINDS
        return [
            f"  a run that failed {counts}; to retry after fixing the cause: "
            "lens2label study run FOLDER --retry-failed",
            *(f"  {failure}" for failure in self.failures[:_KINDS]),
            *([f"  and {more} more reasons: lens2label study list FOLDER"] if more > 0 else []),
        ]

    def to_json(self) -> str:
        """JSON of all fields; NaN becomes null."""
        content = as_json(vars(self) | {"off_target": self.off_target})
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """CSV with one row per design, best first; missing values are empty."""
        cells = [
            {
                "design": each.number,
                **axis_cells(each.levels),
                self.metric: each.estimate.mean,
                "low": None if each.estimate.interval is None else each.estimate.interval.low,
                "high": None if each.estimate.interval is None else each.estimate.interval.high,
                "runs": each.estimate.count,
                "failed": each.estimate.failed,
                **{(n if n in COSTS else f"cost.{n}"): v for n, v in each.costs.items()},
                "on_front": each.on_front,
                "hypervolume_share": each.share,
            }
            for each in self.designs
        ]
        return as_csv(cells)


def report(ledger: Ledger, *, metric: str | None = None) -> StudyReport:
    """Judge a study, finished or not, as its plan says.

    Parameters
    ----------
    ledger : Ledger
        The study.
    metric : str, optional
        Metric to judge by; by default that of the plan. With another metric nothing was planned,
        and the plan's comparisons count as exploration.

    Raises
    ------
    ValueError
        For an unknown metric, or one that no run has or, for a planned comparison, that one of its
        two designs lacks. Designs tested on different pictures are no error: their comparison
        reports that.
    """
    plan = ledger.study.plan
    planned = metric is None or metric == plan.metric
    metric = metric or plan.metric
    table = rows(ledger)  # before the outcomes: a run that is done in it then has an outcome too
    ended = outcomes(ledger, metric)
    lacking = {row.design for row in table if row.state == "done" and not ended[row.design]}
    pairs = ledger.pairs()
    for pair in pairs if planned else ():
        _check_measured(lacking, (pair.first, pair.second), metric)
    rates, changed = mean_rates(table), changed_inputs(ledger)
    contrasts = adjusted(
        [
            _contrast(
                ledger,
                ended,
                pair,
                metric,
                planned,
                lacking=lacking,
                rates=rates,
                changed=changed,
            )
            for pair in pairs
        ]
    )
    selection, unjudged = None, None
    if planned and plan.requirements:
        try:
            selection = judged_selection(
                ledger,
                plan.requirements,
                metric,
                table=table,
                known={metric: ended},
                changed=changed,
            )
        except ValueError as error:  # the rest of the report does not depend on this
            unjudged = str(error)
    return StudyReport(
        name=ledger.study.name,
        question=ledger.study.question,
        metric=metric,
        tally=ledger.tally(),
        planned=contrasts if planned else (),
        designs=summaries(ledger, ended, metric, table),
        luck=luck_of_best(list(ended.values()), metric) if _chosen_among(ledger, planned) else None,
        doubt=ledger.study.doubt(len(pairs)) if planned else None,
        failures=_failures(table),
        environments=environment_differences(ledger),
        changed=tuple(sorted(changed)),
        before=done_before(ledger) if planned else 0,
        plan_metric=plan.metric,
        explored=() if planned else contrasts,
        selection=selection,
        unjudged=unjudged,
        race=race_note(ledger),
        level=1 - ledger.study.plan.alpha,
    )


def _chosen_among(ledger: Ledger, planned: bool) -> bool:
    """Whether somebody may select among all designs by their results, on the same seeds."""
    return ledger.study.race is None and not (planned and _named(ledger))


def _named(ledger: Ledger) -> bool:
    """Whether a comparison named each design before the first run, as in a confirmation."""
    compared = {number for pair in ledger.pairs() for number in (pair.first, pair.second)}
    return isinstance(ledger.study.sampler, Listed) and len(compared) == len(ledger.designs)


def _contrast(
    ledger: Ledger,
    ended: Mapping[int, Sequence[Outcome]],
    pair: Pair,
    metric: str,
    planned: bool,
    *,
    lacking: Collection[int],
    rates: Mapping[int, float],
    changed: Mapping[int, str],
) -> PairedDifference:
    """Comparison of two designs of the plan; if they cannot be paired, it says so.

    ``lacking`` are the designs that are done and do not have the metric, ``changed`` those with
    runs that used other pictures or files.
    """
    plan = ledger.study.plan
    runs = ended[pair.first], ended[pair.second]
    told: dict[str, Any] = {
        "metric": metric,
        "name": pair.name,
        "seeds": ledger.study.seeds,
        "planned": planned,
        "alpha": plan.alpha,
    }
    without = [f"design {n} has no {metric}" for n in (pair.first, pair.second) if n in lacking]
    if without:
        return unpaired(*runs, **told, note=", ".join(without))
    note = changed_note(changed, pair.first) or changed_note(changed, pair.second)
    if note is not None:
        return unpaired(*runs, **told, note=note)
    parts = [run.predictions for run in (*runs[0], *runs[1]) if run.predictions is not None]
    try:
        check_paired(parts)
    except ValueError:  # the rest of the report does not depend on this
        return unpaired(*runs, **told)
    found = compare(*runs, **told, resamples=plan.resamples)
    if metric == "bpp" or not {pair.first, pair.second} <= rates.keys():
        return found
    return replace(found, bpp=(rates[pair.first], rates[pair.second]))


def _failures(table: Sequence[Row]) -> tuple[Failure, ...]:
    reasons: dict[tuple[str, str], list[Row]] = {}
    for row in table:
        if row.state == "failed":
            reasons.setdefault(_reason(row), []).append(row)
    return tuple(
        Failure(
            own[0].error or "unknown",
            own[0].message or "",
            tuple(sorted({row.design for row in own})),
            len(own),
            is_machine_fault(own[0].error, own[0].message),
        )
        for own in sorted(reasons.values(), key=len, reverse=True)
    )


def _reason(row: Row) -> tuple[str, str]:
    """Kind and message of a failure, without what differs between runs: folder and time.

    For a failure of the machine, the kind alone: the message names processes, hosts and free space.
    """
    if is_machine_fault(row.error, row.message):
        return row.error or "unknown", ""
    told = (row.message or "").replace(row.digest, "")
    return row.error or "unknown", re.sub(r"\b(epoch|step) \d+", r"\1", told)


def compare_designs(
    ledger: Ledger, first: int, second: int, *, metric: str | None = None
) -> PairedDifference:
    """Compare two designs of a study by their numbers. This is exploration.

    Parameters
    ----------
    ledger : Ledger
    first, second : int
        Numbers of the designs.
    metric : str, optional
        Metric to compare; by default that of the plan.

    Returns
    -------
    PairedDifference

    Raises
    ------
    ValueError
        For a number that is not a design, or a metric that the runs do not have.
    """
    for number in (first, second):
        check_design(ledger, number)
    plan = ledger.study.plan
    metric = metric or plan.metric
    done = {run.design for run in ledger.done()}
    ended = outcomes(ledger, metric)
    _check_measured({n for n in done if not ended[n]}, (first, second), metric)
    return compare(
        ended[first],
        ended[second],
        metric=metric,
        name=f"design {first} against design {second}",
        seeds=ledger.study.seeds,
        alpha=plan.alpha,
        resamples=plan.resamples,
    )


def _check_measured(lacking: Collection[int], numbers: Sequence[int], metric: str) -> None:
    """Refuse to compare designs that are done and do not have the metric."""
    for number in numbers:
        if number in lacking:
            raise ValueError(
                f"design {number} has no {metric}: it cannot be compared; choose another metric"
            )


def _cells(summary: DesignSummary, costs: Sequence[str]) -> tuple[str, ...]:
    judged = summary.estimate
    interval = "" if judged.interval is None else f"{judged.interval:.4f}"
    values = [summary.costs[name] for name in costs]
    spent = ["-" if value is None else f"{value:.6g}" for value in values]
    return (
        "*" if summary.on_front else " ",
        f"{summary.number}: {levels_shown(summary.levels)}",
        "-" if judged.mean is None else f"{judged.mean:.4f}",
        interval,
        str(judged.count),
        *spent,
        str(judged.failed) if judged.failed else "",
    )
