"""Results of a study as rows, one per run, for CSV and JSON; and the outcomes of each design."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from classify.judged import Judged
from classify.metric_names import METRICS, class_column, is_metric, of_class
from joint.cells import aligned, as_csv
from joint.judge.metric import check_study_metric, is_term
from joint.saved.folder import PREDICTIONS_FILE, RESULT_FILE
from joint.saved.predictions import Predictions
from joint.study.axis import Design, Level
from joint.study.derived import cost
from joint.study.ledger import Ledger, PlannedRun, PlannedRunState, read_failure
from joint.study.sampler import MEASURED_COSTS
from joint.study.space import levels_shown

from .inference import Outcome

__all__ = [
    "COSTS",
    "Row",
    "axis_cells",
    "design_costs",
    "front_costs",
    "measured",
    "outcomes",
    "rows",
    "to_csv",
    "to_json",
    "to_text",
]

COSTS = MEASURED_COSTS
"""Costs of a run, see :class:`Costs`."""


@final
@dataclass(frozen=True)
class Row:
    """One run."""

    digest: str
    """Name of the run folder."""
    state: PlannedRunState
    design: int
    """Number of the design."""
    levels: Design
    """Level on each axis."""
    seed: int
    best_epoch: int | None
    """Best epoch, counted from 0; None while the run is not done."""
    numbers: dict[str, float | None]
    """Costs, and results on the test part; empty while the run is not done."""
    error: str | None
    """Kind of failure."""
    costs: dict[str, float | None] = field(default_factory=dict)
    """Values of :attr:`Study.costs`; empty if the study names none."""
    message: str | None = None
    """Message of the failure."""

    def flat(self) -> dict[str, Any]:
        """The cells by column; an axis has the column ``axis.<name>``, see :attr:`levels`.

        The prefix is needed because an axis may be named like another column, such as bits. A cost
        made by a formula of the study has the column ``cost.<name>``.
        """
        return {
            "digest": self.digest,
            "state": self.state,
            "design": self.design,
            **axis_cells(self.levels),
            "seed": self.seed,
            "best_epoch": self.best_epoch,
            **self.numbers,
            **{f"cost.{name}": value for name, value in self.costs.items() if name not in COSTS},
            "error": self.error,
            "message": self.message,
        }


def axis_cells(design: Design) -> dict[str, Level]:
    """The levels of a design as cells by column, ``axis.<name>``."""
    return {f"axis.{name}": level for name, level in design.items()}


def rows(ledger: Ledger) -> tuple[Row, ...]:
    """One row for each run of ``ledger``, in any state."""
    return tuple(
        _row(ledger, run, state) for run, state in zip(ledger.runs, ledger.states(), strict=True)
    )


def design_costs(table: Sequence[Row]) -> dict[int, dict[str, float | None]]:
    """Means of the study's costs over the finished runs in ``table``, by design.

    These are :attr:`Study.costs`, or :data:`COSTS` if the study names none.
    """
    names = tuple(dict.fromkeys(name for row in table for name in row.costs)) or COSTS
    found: dict[int, dict[str, float | None]] = {}
    for number in dict.fromkeys(row.design for row in table):
        own = [
            row.costs or row.numbers
            for row in table
            if row.design == number and row.state == "done"
        ]
        found[number] = {name: _mean(own, name) for name in names}
    return found


def front_costs(spent: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Costs that count for the front of all costs: those that differ between designs.

    Parameters
    ----------
    spent : sequence of mapping
        Costs of each design that has a result, see :func:`design_costs`.

    Returns
    -------
    list of str
        Of :data:`COSTS` only photons, bits, pixels and multiply-accumulates; of costs that a study
        names, any.
    """
    there = tuple(dict.fromkeys(name for each in spent for name in each))
    counted = COSTS[:4] if there == COSTS else there
    return [name for name in counted if len({each.get(name) for each in spent} - {None}) > 1]


def _mean(own: Sequence[dict[str, float | None]], name: str) -> float | None:
    values = [value for numbers in own if (value := numbers.get(name)) is not None]
    return float(np.mean(values)) if values else None


def to_csv(table: Sequence[Row]) -> str:
    """``table`` as CSV; missing values are empty."""
    return as_csv([row.flat() for row in table])


def to_json(table: Sequence[Row]) -> str:
    """``table`` as a JSON list."""
    return json.dumps([row.flat() for row in table], indent=1, allow_nan=False) + "\n"


def to_text(table: Sequence[Row], *, metric: str | None = None) -> str:
    """``table`` as text for reading: each run, its state, its levels, and why it failed.

    Parameters
    ----------
    table : sequence of Row
        From :func:`rows`.
    metric : str, optional
        Result on the test part to show as well, for runs that have it.

    Returns
    -------
    str
    """
    shown = [metric] if metric and any(row.numbers.get(metric) is not None for row in table) else []
    head = ("run", "state", "design", "seed", *shown, "")
    lines = [
        (
            row.digest,
            row.state,
            f"{row.design}: {levels_shown(row.levels)}",
            str(row.seed),
            *("" if (v := row.numbers.get(name)) is None else f"{v:.4f}" for name in shown),
            _failure(row),
        )
        for row in table
    ]
    return "\n".join(aligned([head, *lines]))


def _failure(row: Row) -> str:
    """Why a run failed, in one line."""
    if row.error is None:
        return ""
    first = (row.message or "").strip().partition("\n")[0]
    return f"{row.error}: {first}" if first else row.error


def outcomes(ledger: Ledger, metric: str) -> dict[int, list[Outcome]]:
    """Outcomes of the ended runs of each design, by its number.

    A run that its machine ended, killed again and again or out of memory, says nothing about its
    design: it does not count as ended until it is tried again.

    Parameters
    ----------
    ledger : Ledger
    metric : str
        Name of the metric.

    Returns
    -------
    dict of int to list of Outcome
        A design that cannot have the metric has an empty list, for example the rate of a design
        without a codec.

    Raises
    ------
    ValueError
        For an unknown metric; for one that no run has, or that some runs of a design lack; if the
        scores of a run are missing.
    CheckpointError
        If files of a run are damaged.
    """
    check_study_metric(metric)
    found: dict[int, list[Outcome]] = {number: [] for number in range(len(ledger.designs))}
    lacking: dict[int, _NotMeasured] = {}
    for run, state in zip(ledger.runs, ledger.states(), strict=True):
        if state == "failed" and not ledger.is_machine_fault(run):
            found[run.design].append(Outcome(run.seed, None))
        elif state == "done":
            try:
                found[run.design].append(_outcome(ledger, run, metric))
            except _NotMeasured as error:
                lacking.setdefault(run.design, error)
    known = {n for n, runs in found.items() if any(run.value is not None for run in runs)}
    for number, error in lacking.items():
        # Leaving out single runs would be a selection among them.
        if number in known or not known:
            raise error
        found[number] = []
    return found


def _row(ledger: Ledger, run: PlannedRun, state: PlannedRunState) -> Row:
    numbers: dict[str, float | None] = {}
    best = error = message = None
    if state == "done":
        result = ledger.result(run)
        best = result.get("best_epoch")
        measured = {**result.get("costs", {}), **result["test"]}
        numbers = {
            name: value
            for name, value in measured.items()
            if value is None or (isinstance(value, int | float) and name != "count")
        }
        numbers.pop("rate", None)  # text, or None
        numbers.pop("report", None)
        reported = result["test"].get("report") or {}
        numbers |= {name: reported[name] for name in METRICS if name in reported}
        if of_class(ledger.study.plan.metric):
            numbers[ledger.study.plan.metric] = _of_class(reported, ledger.study.plan.metric)
    elif state == "failed":
        failure = read_failure(ledger.path(run))
        error, message = str(failure.get("error", "unknown")), str(failure.get("message", ""))
    levels = ledger.designs[run.design]
    costs = {name: cost(text, levels, numbers) for name, text in ledger.study.costs.items()}
    return Row(
        run.digest, state, run.design, levels, run.seed, best, numbers, error, costs, message
    )


def _of_class(reported: Mapping[str, Any], metric: str) -> float | None:
    """Number of one class in a report as :meth:`classify.Report.to_dict` wrote it."""
    number, name = of_class(metric) or ("", "")
    classes, values = reported.get("classes", ()), reported.get(class_column(number), ())
    return values[classes.index(name)] if name in classes and values else None


class _NotMeasured(ValueError):
    """A finished run does not have the metric."""


def _outcome(ledger: Ledger, run: PlannedRun, metric: str) -> Outcome:
    test, predictions = ledger.result(run)["test"], ledger.predictions(run)
    if is_metric(metric):
        value = None if predictions is None else measured(predictions, metric)
        lacks = "it has no classifier, or its test part lacks classes"
        if predictions is None and test.get("accuracy") is not None:
            # Not _NotMeasured: the design is kept, as the missing file has nothing to do with it.
            raise ValueError(
                f"run {run.digest} has no {metric}: its classifier's scores are missing, as "
                f"{PREDICTIONS_FILE} is gone from {ledger.path(run)}. Copy it there, or remove "
                f"{RESULT_FILE}, and a worker tests the run again"
            )
    else:
        value = test.get(metric)
        lacks = "its objective has no such term" if is_term(metric) else "it has no such stage"
    if value is None or not math.isfinite(value):
        raise _NotMeasured(f"run {run.digest} has no {metric}: {lacks}; choose another metric")
    return Outcome(run.seed, value, predictions)


def measured(part: Predictions, metric: str) -> float:
    """One of :data:`classify.metric_names.METRICS`, also of one class, from test scores."""
    judged = Judged(part.logits.astype(float), part.labels, classes=part.classes)
    return float(judged.measure(np.ones((1, len(part.labels))), [metric])[metric][0])
