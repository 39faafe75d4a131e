"""A race: every design has the first seeds, and only the better ones have the seeds after them.

::

    designs, first seeds ──runs──► validation part ──the best share──► their next seeds ──► ...
                                        │
                                        └── all others stop: nothing is spent on them any more

Successive halving (Jamieson and Talwalkar, AISTATS 2016; Li et al., JMLR 18 (2018) 185), where what
is rationed are seeds and not epochs: every run is a whole one. It is a race (Maron and Moore, NIPS
6, 1994) whose decisions are a share and no test.

A decision is a function of the runs' files alone. Whoever reads the folder comes to the same one,
and no worker remembers anything.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from joint.judge.metric import STUDY_METRICS, is_study_metric, lower_is_better, scores_nothing
from joint.settings import Settings, nearest

from .sampler import is_sought
from .validation import on_validation

if TYPE_CHECKING:
    from .store import Ledger, PlannedRun

__all__ = ["Race", "called", "may_be_called", "race_told", "raced", "seeds_called"]


class Race(Settings):
    """How many seeds the designs of a study have before the better ones go on.

    Examples
    --------
    Of 32 designs and eight seeds, 32 runs on the first seed, 16 on the second, 8 on the next two
    and 4 on the last four: 80 runs, of 256.

    >>> race = Race(rungs=(1, 2, 4), keep=0.5)
    >>> race.sizes(32, 8)
    {1: 32, 2: 16, 4: 8, 8: 4}
    """

    rungs: tuple[int, ...] = Field(min_length=1)
    """Seeds that a design has at each decision, such as (1, 2, 4); those that are left after the
    last one have all seeds of the study."""
    keep: float = Field(default=0.5, gt=0, lt=1)
    """The share of the designs that goes on, rounded up; all that are equal at the border do."""
    metric: str | None = None
    """What decides, on the validation part: its mean over the seeds so far. That of the plan by
    default."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.rungs[0] < 1 or any(one >= other for one, other in pairwise(self.rungs)):
            raise ValueError(
                f"the rungs are numbers of seeds that grow, from 1 on, such as [1, 2, 4], not "
                f"{list(self.rungs)}"
            )
        return self

    def check(self, metric: str, seeds: int) -> None:
        """Refuse a race that never ends on so many ``seeds``, or by no number that it can see.

        Parameters
        ----------
        metric : str
            Of the plan.
        seeds : int

        Raises
        ------
        ValueError
            With what it should be.
        """
        if self.rungs[-1] >= seeds:
            raise ValueError(
                f"the last rung of the race has {self.rungs[-1]} seeds, and the study {seeds}: "
                "there are none left for the designs that go on. Give it more seeds, or leave out "
                "rungs"
            )
        sought = self.metric or metric
        if not (is_study_metric(sought) and is_sought(sought)):
            known = [name for name in STUDY_METRICS if is_sought(name)]
            raise ValueError(
                f"{sought} is not measured on the validation part, where a race decides: give the "
                f"race another metric{nearest(sought, known)}"
            )

    def kept(self, designs: int) -> int:
        """How many of so many ``designs`` go on, if no two are equal at the border."""
        return math.ceil(round(self.keep * designs, 9))  # 0.07 * 100 is a little above 7

    def told(self, metric: str) -> str:
        """The race in words, of a plan with this ``metric``."""
        rungs = ", ".join(map(str, self.rungs))
        return (
            f"after {rungs} seeds, the best {self.keep:g} by {self.metric or metric} on the "
            "validation part go on"
        )

    def sizes(self, designs: int, seeds: int) -> dict[int, int]:
        """How many designs come to have so many seeds, if no two are equal at a border.

        Parameters
        ----------
        designs, seeds : int
            Of the study.

        Returns
        -------
        dict from int to int
            Designs by seeds, of each rung and of all seeds.
        """
        found = {}
        for rung in (*self.rungs, seeds):
            found[rung] = designs
            designs = self.kept(designs)
        return found


def raced(
    race: Race | None, runs: Sequence["PlannedRun"], seeds: Sequence[int]
) -> tuple[tuple["PlannedRun", ...], tuple["PlannedRun", ...]]:
    """All runs of a study, parted into those that are run in any case and those that may be.

    Parameters
    ----------
    race : Race or None
        Of the study.
    runs : sequence of PlannedRun
        Each design on each seed.
    seeds : sequence of int
        Of the study, in their order.

    Returns
    -------
    tuple of PlannedRun, tuple of PlannedRun
    """
    first = set(seeds if race is None else seeds[: race.rungs[0]])
    now = tuple(run for run in runs if run.seed in first)
    return now, tuple(run for run in runs if run.seed not in first)


def seeds_called(ledger: "Ledger") -> Counter[int]:
    """How many seeds each design of a study has so far, by its number."""
    return Counter(run.design for run in ledger.runs)


def _in_it(ledger: "Ledger") -> tuple[list[int], list[int]]:
    """The designs that have gone furthest; their number of seeds, and those of rungs to come."""
    have = seeds_called(ledger)
    most = max(have.values(), default=0)
    race, seeds = ledger.study.race, len(ledger.study.seeds)
    rungs = [] if race is None else [rung for rung in (*race.rungs, seeds) if rung >= most]
    return [number for number, count in have.items() if count == most], rungs


def may_be_called(ledger: "Ledger") -> int:
    """How many more runs a race will call; more only where designs are equal at a border.

    Parameters
    ----------
    ledger : Ledger

    Returns
    -------
    int
        0 where there is no race, or it has made its last decision.
    """
    race = ledger.study.race
    if race is None:
        return 0
    designs, rungs = _in_it(ledger)
    total, count = 0, len(designs)
    for rung, after in pairwise(rungs):
        count = race.kept(count)
        total += count * (after - rung)
    return total


def called(ledger: "Ledger") -> tuple["PlannedRun", ...]:
    """The runs that the next decision of a race calls, once all runs before it have ended.

    The designs are ranked by their means over the seeds so far. A run that failed scores 0 where
    the metric is a share of what should be got right; of another metric its design has no number.
    A run that its machine gave up says nothing: its design is known by its other seeds. A design
    without a number, or of which no run is done, does not go on, unless all are so.

    Parameters
    ----------
    ledger : Ledger

    Returns
    -------
    tuple of PlannedRun
        Seed by seed; empty while runs have not ended, and where there is nothing to decide.

    Raises
    ------
    CheckpointError
        When the files of a run are damaged.
    """
    race = ledger.study.race
    designs, rungs = _in_it(ledger)
    states = ledger.states()
    if race is None or len(rungs) < 2 or not {*states} <= {"done", "failed"}:
        return ()
    values: dict[int, list[float]] = {number: [] for number in designs}
    for run, state in zip(ledger.runs, states, strict=True):
        if run.design in values and not (state == "failed" and ledger.gave_up(run)):
            values[run.design].append(_value(ledger, run, done=state == "done"))
    known = {run.design for run, state in zip(ledger.runs, states, strict=True) if state == "done"}
    means = {n: math.fsum(own) / len(own) for n, own in values.items() if n in known}
    ranked = sorted((mean for mean in means.values() if mean > -math.inf), reverse=True)
    border = ranked[: race.kept(len(designs))][-1] if ranked else -math.inf
    on = {number for number in designs if means.get(number, -math.inf) >= border}
    seeds = set(ledger.study.seeds[rungs[0] : rungs[1]])
    return tuple(run for run in ledger.reserve if run.design in on and run.seed in seeds)


def _metric(ledger: "Ledger") -> str:
    race = ledger.study.race
    return (race and race.metric) or ledger.study.plan.metric


def _value(ledger: "Ledger", run: "PlannedRun", *, done: bool) -> float:
    """Of a run that has ended, the more the better; minus infinity where it has no number."""
    metric = _metric(ledger)
    value = on_validation(ledger, run, metric) if done else None
    if value is None or not math.isfinite(value):
        return 0.0 if scores_nothing(metric) else -math.inf
    return -value if lower_is_better(metric) else value


def race_told(ledger: "Ledger") -> str | None:
    """How far the race of a study is, and what that makes of its means; None without one.

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
    _, rungs = _in_it(ledger)
    counts = Counter(seeds_called(ledger).values())
    have = ", ".join(f"{counts[n]} with {n} seed{'s' * (n > 1)}" for n in sorted(counts))
    told = (
        f"a race, decided by {_metric(ledger)} on the validation part: of {len(ledger.designs)} "
        f"designs, {have}"
    )
    if len(rungs) > 1:
        told += " so far"
    last = max((rung for rung in race.rungs if rung < max(counts, default=0)), default=None)
    if last is None:
        return told
    seeds = "their first seed" if last == 1 else f"their first {last} seeds"
    return (
        f"{told}. Those that went on were chosen among all by {seeds}, so that their means are too "
        "good and those of the others too bad: confirm a choice on fresh seeds (lens2label study "
        "confirm)"
    )
