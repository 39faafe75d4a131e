"""A race: every design gets the first seeds, and only the better ones get further seeds.

::

    designs, first seeds ──runs──► validation part ──the best share──► their next seeds ──► ...
                                        │
                                        └── all others stop: nothing is spent on them any more

This is successive halving (Jamieson and Talwalkar, AISTATS 2016; Li et al., JMLR 18 (2018) 185)
with seeds instead of epochs as the budget: every run is complete. It is a race (Maron and Moore,
NIPS 6, 1994) that decides by a share, not by a test.

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
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from joint.judge.metric import STUDY_METRICS, is_study_metric, lower_is_better, scores_nothing
from joint.saved.folder import HISTORY_FILE, RESULT_FILE
from joint.settings import Settings, nearest

from .sampler import is_sought
from .validation import on_validation

if TYPE_CHECKING:
    from .store import Ledger, PlannedRun

__all__ = [
    "Race",
    "called",
    "called_first",
    "halted",
    "may_be_called",
    "race_note",
    "seeds_ended",
]


class Race(Settings):
    """Number of seeds that designs get before only the better ones continue.

    Examples
    --------
    Of 32 designs and eight seeds, 32 runs on the first seed, 16 on the second, 8 on the next two
    and 4 on the last four: 80 runs, of 256.

    >>> race = Race(rungs=(1, 2, 4), keep=0.5)
    >>> race.sizes(32, 8)
    {1: 32, 2: 16, 4: 8, 8: 4}
    """

    rungs: tuple[int, ...] = Field(min_length=1)
    """Numbers of seeds at which a decision is made, such as (1, 2, 4); designs that are left after
    the last one get all seeds of the study."""
    keep: float = Field(default=0.5, gt=0, lt=1)
    """Share of the designs that continue, rounded up; all that are equal at the limit continue."""
    metric: str | None = None
    """Metric that decides: its mean on the validation part over the seeds so far. By default that
    of the plan."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.rungs[0] < 1 or any(one >= other for one, other in pairwise(self.rungs)):
            raise ValueError(
                f"the rungs must be increasing numbers of seeds, from 1, such as [1, 2, 4], not "
                f"{list(self.rungs)}"
            )
        return self

    def check(self, metric: str, seeds: int) -> None:
        """Refuse a race that never ends on so many ``seeds``, or whose metric it cannot measure.

        Parameters
        ----------
        metric : str
            Metric of the plan.
        seeds : int

        Raises
        ------
        ValueError
            The message says what is needed.
        """
        if self.rungs[-1] >= seeds:
            raise ValueError(
                f"the last rung of the race has {self.rungs[-1]} seeds, and the study {seeds}: "
                "no seeds are left for the designs that continue. Give the study more seeds, or "
                "leave out rungs"
            )
        sought = self.metric or metric
        if not (is_study_metric(sought) and is_sought(sought)):
            known = [name for name in STUDY_METRICS if is_sought(name)]
            raise ValueError(
                f"{sought} is not measured on the validation part, where a race decides: give the "
                f"race another metric{nearest(sought, known)}"
            )

    def kept(self, designs: int) -> int:
        """Number of ``designs`` that continue, if no two are equal at the limit."""
        return math.ceil(round(self.keep * designs, 9))  # 0.07 * 100 is slightly above 7

    def told(self, metric: str) -> str:
        """The race in words, for a plan with this ``metric``."""
        rungs = ", ".join(map(str, self.rungs))
        return (
            f"after {rungs} seeds, the best {self.keep:g} by {self.metric or metric} on the "
            "validation part continue"
        )

    def sizes(self, designs: int, seeds: int) -> dict[int, int]:
        """Number of designs that get each number of seeds, if no two are equal at a limit.

        Parameters
        ----------
        designs, seeds : int
            Numbers of the study.

        Returns
        -------
        dict from int to int
            Number of designs by number of seeds, for each rung and for all seeds.
        """
        found = {}
        for rung in (*self.rungs, seeds):
            found[rung] = designs
            designs = self.kept(designs)
        return found


def called_first(
    race: Race | None, planned: Sequence["PlannedRun"], seeds: Sequence[int]
) -> tuple["PlannedRun", ...]:
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


def may_be_called(ledger: "Ledger") -> int:
    """Number of further runs that a race will call, or more if designs are equal at a limit.

    Parameters
    ----------
    ledger : Ledger

    Returns
    -------
    int
        0 without a race, or after its last decision.
    """
    race = ledger.study.race
    if race is None:
        return 0
    have = Counter(run.design for run in ledger.runs)
    most = max(have.values(), default=0)
    rungs = [rung for rung in (*race.rungs, len(ledger.study.seeds)) if rung >= most]
    total, count = 0, [*have.values()].count(most)
    for rung, after in pairwise(rungs):
        count = race.kept(count)
        total += count * (after - rung)
    return total


def called(ledger: "Ledger") -> tuple["PlannedRun", ...]:
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


def halted(ledger: "Ledger") -> str | None:
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


def _decided(ledger: "Ledger") -> tuple[tuple["PlannedRun", ...], str | None]:
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


def _best(ledger: "Ledger", count: int, ended: Mapping["PlannedRun", str]) -> set[int]:
    """The designs with the best means, and those that are equal to the last of them."""
    values: dict[int, list[float]] = {}
    for run, state in ended.items():
        values.setdefault(run.design, []).append(_value(ledger, run, done=state == "done"))
    known = {run.design for run, state in ended.items() if state == "done"}
    means = {number: math.fsum(values[number]) / len(values[number]) for number in known}
    means = {number: mean for number, mean in means.items() if mean > -math.inf}
    ranked = sorted(means.values(), reverse=True)[:count]
    return {number for number, mean in means.items() if mean >= ranked[-1]}


def _metric(ledger: "Ledger") -> str:
    race = ledger.study.race
    return (race and race.metric) or ledger.study.plan.metric


def _value(ledger: "Ledger", run: "PlannedRun", *, done: bool) -> float:
    """Value of an ended run, higher is better; minus infinity without a number."""
    metric = _metric(ledger)
    value = _measured(ledger, run, metric) if done else None
    if value is None or not math.isfinite(value):
        return 0.0 if scores_nothing(metric) else -math.inf
    return -value if lower_is_better(metric) else value


# Cache of what was read of a run, valid while its files are the same: races are read every second.
_READ: dict[tuple[Path, str, tuple[int, ...]], float | None] = {}


def _measured(ledger: "Ledger", run: "PlannedRun", metric: str) -> float | None:
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


def seeds_ended(ledger: "Ledger") -> Counter[int]:
    """Number of seeds on which each design of a study has ended, by its number."""
    return Counter(
        run.design
        for run, state in zip(ledger.runs, ledger.states(), strict=True)
        if state == "done" or (state == "failed" and not ledger.is_machine_fault(run))
    )


def race_note(ledger: "Ledger") -> str | None:
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
