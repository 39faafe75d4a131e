"""Decisions of a race: which runs it has called, given those that ended.

::

    Ledger ──runs of a rung ended──► means on the validation part ──called──► runs of the next rung

Which runs are called depends on the files of all runs only, and not on what was called before:
every reader of the folder gets the same ones, also if a failed run is retried.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from joint.judge.metric import lower_is_better, scores_nothing
from joint.saved.folder import HISTORY_FILE, RESULT_FILE

from .ledger import Ledger, PlannedRun
from .race import Race
from .significance import settled
from .validation import on_validation

__all__ = ["called", "called_first", "halted", "race_note", "seeds_ended"]


def called_first(
    race: Race | None, planned: Sequence[PlannedRun], seeds: Sequence[int]
) -> tuple[PlannedRun, ...]:
    """Runs of a study that are called in any case: all if there is no race.

    Parameters
    ----------
    race : Race or None
        Of the study.
    planned : sequence of PlannedRun
        Each design on each seed.
    seeds : sequence of int
        Of the study, in their order.

    Returns
    -------
    tuple of PlannedRun
    """
    first = set(seeds if race is None else seeds[: race.rungs[0]])
    return tuple(run for run in planned if run.seed in first)


def called(ledger: Ledger) -> tuple[PlannedRun, ...]:
    """Runs that a race has called, given the ended runs: all if there is no race.

    A decision is made when all runs of its rung have ended. Designs are ranked by their means over
    the seeds so far. A failed run scores 0 if the metric is a share of correct results; for another
    metric its design has no number. A design without a number, or without a finished run, does not
    continue; if no design has a number, nothing is decided. A run that its machine gave up has not
    ended.

    Parameters
    ----------
    ledger : Ledger
        The study; its :attr:`Ledger.runs` are not used: earlier calls decide nothing.

    Returns
    -------
    tuple of PlannedRun
        Seed by seed.

    Raises
    ------
    CheckpointError
        When the files of a run are damaged.
    """
    return _decided(ledger)[0]


def halted(ledger: Ledger) -> str | None:
    """Why a race cannot continue although all called runs were tried; None if it can.

    Parameters
    ----------
    ledger : Ledger

    Returns
    -------
    str or None
        With what to do about it.

    Raises
    ------
    CheckpointError
        When the files of a run are damaged.
    """
    return _decided(ledger)[1]


def _decided(ledger: Ledger) -> tuple[tuple[PlannedRun, ...], str | None]:
    """The called runs, and why no next decision is possible although no run is left."""
    race, seeds, planned = ledger.study.race, ledger.study.seeds, ledger.planned
    if race is None:
        return planned, None
    states = dict(zip(planned, replace(ledger, runs=planned).states(), strict=True))
    place = {seed: number for number, seed in enumerate(seeds)}
    have = dict.fromkeys(range(len(ledger.designs)), race.rungs[0])
    why, on = None, {*have}
    for rung, after in pairwise((*race.rungs, len(seeds))):
        ended = {r: s for r, s in states.items() if r.design in on and place[r.seed] < rung}
        if not {*ended.values()} <= {"done", "failed"}:
            break
        lost = sum(
            state == "failed" and ledger.is_machine_fault(run) for run, state in ended.items()
        )
        if lost:
            why = (
                f"the race in {ledger.folder} cannot decide: {lost} of the runs that it needs were "
                f"given up, killed or out of memory: fix the cause, then {_AGAIN}"
            )
            break
        on = _best(ledger, race.kept(len(on)), ended)
        if not on:
            why = (
                f"no remaining design of the race in {ledger.folder} has a {_metric(ledger)} on "
                "the validation part, which decides the race (lens2label study list FOLDER says "
                f"what failed): fix the cause, then {_AGAIN}; or start a study with another metric"
            )
            break
        have |= dict.fromkeys(on, after)
    return tuple(run for run in planned if place[run.seed] < have[run.design]), why


_AGAIN = "lens2label study run FOLDER --retry-failed"


def _best(ledger: Ledger, count: int, ended: Mapping[PlannedRun, str]) -> set[int]:
    """The designs with the best means, and those that are equal to the last of them."""
    values: dict[int, list[float]] = {}
    for run, state in ended.items():
        values.setdefault(run.design, []).append(_value(ledger, run, done=state == "done"))
    known = {run.design for run, state in ended.items() if state == "done"}
    means = {number: float(settled(np.mean(values[number]))) for number in known}
    means = {number: mean for number, mean in means.items() if mean > -math.inf}
    ranked = sorted(means.values(), reverse=True)[:count]
    return {number for number, mean in means.items() if mean >= ranked[-1]}


def _metric(ledger: Ledger) -> str:
    race = ledger.study.race
    return (race and race.metric) or ledger.study.plan.metric


def _value(ledger: Ledger, run: PlannedRun, *, done: bool) -> float:
    """Value of an ended run, higher is better; minus infinity without a number."""
    metric = _metric(ledger)
    value = _measured(ledger, run, metric) if done else None
    if value is None or not math.isfinite(value):
        return 0.0 if scores_nothing(metric) else -math.inf
    return -value if lower_is_better(metric) else value


# Cache of what was read of a run, valid while its files are the same: races are read every second.
_READ: dict[tuple[Path, str, tuple[int, ...]], float | None] = {}


def _measured(ledger: Ledger, run: PlannedRun, metric: str) -> float | None:
    path = ledger.path(run)
    stamp: list[int] = []
    with suppress(FileNotFoundError):  # reported where the file is read
        for name in (RESULT_FILE, HISTORY_FILE):
            there = (path / name).stat()
            stamp += there.st_ino, there.st_mtime_ns, there.st_size
    key = (path, metric, tuple(stamp))
    if key not in _READ:
        _READ[key] = on_validation(ledger, run, metric)
    return _READ[key]


def seeds_ended(ledger: Ledger) -> Counter[int]:
    """Number of seeds on which each design of a study has ended, by its number."""
    return Counter(
        run.design
        for run, state in zip(ledger.runs, ledger.states(), strict=True)
        if state == "done" or (state == "failed" and not ledger.is_machine_fault(run))
    )


def race_note(ledger: Ledger) -> str | None:
    """Progress of a study's race, and what it means for the means; None without a race.

    Parameters
    ----------
    ledger : Ledger

    Returns
    -------
    str or None
    """
    race = ledger.study.race
    if race is None:
        return None
    had = seeds_ended(ledger)
    counts = Counter(had[number] for number in range(len(ledger.designs)))
    have = ", ".join(f"{counts[n]} with {n} seed{'s' * (n != 1)}" for n in sorted(counts))
    told = (
        f"a race, decided by {_metric(ledger)} on the validation part: of {len(ledger.designs)} "
        f"designs, {have}" + " so far" * (had.total() < ledger.wanted)
    )
    if len(ledger.runs) == len(called_first(race, ledger.planned, ledger.study.seeds)):
        return told
    return (
        f"{told}. Designs continued because of their results, so their means are too good and "
        "those of the others too bad: confirm a choice on fresh seeds (lens2label study "
        "confirm)"
    )
