"""The ledger of a study: its designs, its runs, and what became of each.

::

    runs/<digest>/            one run each, see joint.saved; the name is its configuration
        attempts.jsonl        one line for each start; at the end it gets the duration
        result.json           written last: done
        failure.json          why there is no result

The state of a run is determined by its files: held by a worker is *running*, with a result
*done*, with a reason *failed*, anything else is *pending* (to be started, or to be resumed).
"""

import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np

from classify.judged import Judged
from classify.metric_names import METRICS
from joint.config.run import RunConfig
from joint.parse import parse_json
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    FAILURE_FILE,
    PREDICTIONS_FILE,
    RESULT_FILE,
    lock_run,
    read_result,
)
from joint.saved.lock import LOCK_FILE, holder_of
from joint.saved.predictions import Predictions, load_predictions
from joint.settings import ConfigError

from .axis import Design
from .sampler import Search
from .space import Pair, Study

__all__ = [
    "ATTEMPTS_FILE",
    "DESIGNS_FOLDER",
    "RUNS_FOLDER",
    "Ledger",
    "Misplaced",
    "PlannedRun",
    "PlannedRunState",
    "StudyError",
    "Tally",
    "check_design",
    "design_path",
    "is_machine_fault",
    "read_failure",
    "read_table",
    "without_weights",
]

RUNS_FOLDER, ATTEMPTS_FILE = "runs", "attempts.jsonl"
DESIGNS_FOLDER = "designs"

PlannedRunState: TypeAlias = Literal["pending", "running", "done", "failed"]


class StudyError(ConfigError):
    """A folder holds no study, or another one than expected."""


class Misplaced(CheckpointError):
    """A file of a run folder is whole, but of another run."""


@final
@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    digest: str
    """Digest of its configuration, and the name of its folder."""
    design: int
    """Number of its design."""
    seed: int


class Tally(NamedTuple):
    """Number of runs in each state."""

    pending: int
    """Runs that nobody has begun, or that can be resumed."""
    running: int
    """Runs whose folder a worker holds."""
    done: int
    """Runs with a result."""
    failed: int
    """Runs that left a reason for their failure."""

    @property
    def finished(self) -> int:
        """Runs that have come to an end."""
        return self.done + self.failed

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


@final
@dataclass(frozen=True, eq=False)
class Ledger:
    """A study in its folder: its designs and runs, and what became of each."""

    folder: Path
    """Folder of the study."""
    study: Study
    """The study as written before the first run."""
    designs: tuple[Design, ...]
    """Its designs; for a search, those chosen so far, see :func:`refreshed`."""
    runs: tuple[PlannedRun, ...]
    """Its runs, seed by seed, so that early results cover all designs. For a race, those that it
    has called, see :func:`refreshed`."""
    planned: tuple[PlannedRun, ...]
    """The same, with runs that a race has not called: it may, or their designs are out of it."""

    @property
    def wanted(self) -> int:
        """Number of runs in total, with those that a search or a race has not chosen yet.

        For a race it increases if designs are equal at a limit, as all of them continue.
        """
        sampler = self.study.sampler
        if isinstance(sampler, Search):
            return sampler.count * len(self.study.seeds)
        race, called = self.study.race, len(self.runs)
        if race is None:
            return called
        have = Counter(run.design for run in self.runs)
        return called + race.further(have.values(), len(self.study.seeds))

    def by_chance(self) -> tuple[int, ...]:
        """Numbers of the designs that were drawn at random after a search's first round."""
        if not isinstance(self.study.sampler, Search):
            return ()
        return tuple(
            number
            for number in range(self.study.sampler.first, len(self.designs))
            if parse_json(design_path(self, number).read_bytes()).get("by_chance")
        )

    def path(self, run: PlannedRun) -> Path:
        """Folder of ``run``."""
        return self.folder / RUNS_FOLDER / run.digest

    def config(self, run: PlannedRun) -> RunConfig:
        """Configuration of ``run``.

        Raises
        ------
        StudyError
            When this version of the library makes another configuration of it, or files changed.
        """
        config = self.study.config(self.designs[run.design], run.seed)
        if config.digest() != run.digest:
            raise StudyError(
                f"the settings of run {run.digest} of the study in {self.folder} have changed "
                f"({config.digest()}): it was written by another version of lens2label, or one of "
                "its files was changed. Finish it with that version, restore the file, or start a "
                "new folder"
            )
        return config

    def pairs(self) -> tuple[Pair, ...]:
        """Pairs of designs that the plan compares."""
        return self.study.pairs(self.designs)

    def state(self, run: PlannedRun) -> PlannedRunState:
        """State of ``run``."""
        return _state(self.path(run))

    def states(self) -> tuple[PlannedRunState, ...]:
        """State of each run, in the order of :attr:`runs`."""
        root = self.folder / RUNS_FOLDER
        there = set(os.listdir(root)) if root.is_dir() else set()
        return tuple(
            _state(root / run.digest) if run.digest in there else "pending" for run in self.runs
        )

    def done(self) -> tuple[PlannedRun, ...]:
        """Runs that have a result, in the order of :attr:`runs`."""
        states = zip(self.runs, self.states(), strict=True)
        return tuple(run for run, state in states if state == "done")

    def is_machine_fault(self, run: PlannedRun) -> bool:
        """Whether a run failed because of its machine, which says nothing about its design.

        Parameters
        ----------
        run : PlannedRun

        Returns
        -------
        bool
        """
        if self.state(run) != "failed":  # a folder may hold an old failure and a result
            return False
        failure = read_failure(self.path(run))
        return is_machine_fault(failure.get("error"), failure.get("message"))

    def tally(self) -> Tally:
        """Number of runs in each state; runs that are still to be chosen count as pending."""
        counts = Counter(self.states())
        counts["pending"] += self.wanted - len(self.runs)
        return Tally(*(counts[state] for state in Tally._fields))  # pyright: ignore

    def result(self, run: PlannedRun) -> dict[str, Any]:
        """Result of ``run``, once it is done.

        Raises
        ------
        CheckpointError
            When it cannot be read, or is of another run; the message says what to do.
        """
        try:
            result = read_result(self.path(run))
            of = result.get("digest", run.digest)  # missing in artificial results
            if of != run.digest:
                raise Misplaced(
                    f"{self.path(run) / RESULT_FILE} is damaged: it is that of the run {of}"
                )
            for name, found in (
                ("costs", result.get("costs", {})),
                ("report", result["test"].get("report") or {}),
            ):
                if not isinstance(found, dict):
                    raise CheckpointError(
                        f"{self.path(run) / RESULT_FILE} is damaged: its {name} is "
                        f"{json.dumps(found)}, not a table"
                    )
            return result
        except CheckpointError as error:
            raise type(error)(
                f"{error}. Remove the file if it is damaged: a worker then continues from the "
                "checkpoint in its folder and writes it again"
            ) from error

    def predictions(self, run: PlannedRun) -> Predictions | None:
        """Scores of each test picture of ``run``, once it is done; None without scores.

        Raises
        ------
        CheckpointError
            When scores or result cannot be read, or when a number of the report is not that of the
            scores, as for a run whose files were mixed up; the message says what to do.
        """
        path = self.path(run) / PREDICTIONS_FILE
        if not path.exists():
            return None
        again = f"Remove {RESULT_FILE} in its folder, and a worker tests the run again"
        test = self.result(run)["test"]
        try:
            found = load_predictions(path)
        except CheckpointError as error:
            raise CheckpointError(f"{path} is damaged. {again}") from error
        # Two runs may have the same accuracy; the log-loss depends on every score.
        stated = {**(test.get("report") or {}), "accuracy": test.get("accuracy")}
        said = {name: stated[name] for name in METRICS if stated.get(name) is not None}
        scores = Judged(found.logits.astype(float), found.labels, classes=found.classes)
        here = scores.measure(np.ones((1, len(found.labels))), said)
        for name, value in said.items():
            if not isinstance(value, int | float) or not math.isclose(
                here[name][0], value, rel_tol=1e-6, abs_tol=1e-9
            ):
                raise Misplaced(f"{path} does not belong to the test in {RESULT_FILE}. {again}")
        return found

    def reset_failed(self) -> int:
        """Make failed runs pending again, after their cause was fixed.

        For a race, this includes failed runs that it does not call now.

        Returns
        -------
        int
            Number of such runs.
        """
        failed = [run for run in self.planned if self.state(run) == "failed"]
        for run in failed:
            with lock_run(self.path(run)) as folder:
                for name in (FAILURE_FILE, ATTEMPTS_FILE):
                    (folder.path / name).unlink(missing_ok=True)
        return len(failed)


def without_weights(ledger: Ledger) -> int:
    """Number of finished runs whose trained weights are gone; their results do not need them."""
    study = ledger.study
    trained = [study.config(design, study.seeds[0]).training for design in ledger.designs]
    names = [BEST_FILE if training.restore_best else CHECKPOINT_FILE for training in trained]
    return sum(not (ledger.path(run) / names[run.design]).exists() for run in ledger.done())


def check_design(ledger: Ledger, number: int) -> None:
    """Raise a ValueError for a number that is not a design."""
    count = len(ledger.designs)
    if not 0 <= number < count:
        raise ValueError(f"there is no design {number}: they are counted from 0 to {count - 1}")


# Names of errors of a failed run that are not an outcome of its design, and the texts of torch's
# RuntimeErrors of this kind.
_OF_THE_MACHINE = ("RunAbandoned", "OutOfMemoryError", "MemoryError")
_WORDS_OF_THE_MACHINE = (
    "DefaultCPUAllocator: ",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "uncorrectable ECC error",
)


def is_machine_fault(error: str | None, message: str | None) -> bool:
    """Whether a run failed because of its machine: killed repeatedly, or out of memory.

    That says nothing about its design. The run counts as not ended until it is tried again.

    Parameters
    ----------
    error, message : str or None
        As :func:`read_failure` gives them.
    """
    words = message or ""
    return error in _OF_THE_MACHINE or any(each in words for each in _WORDS_OF_THE_MACHINE)


def read_failure(folder: Path) -> dict[str, Any]:
    """Content of :meth:`joint.saved.folder.RunFolder.fail`; empty if it cannot be read."""
    return read_table(folder / FAILURE_FILE)


def read_table(path: Path) -> dict[str, Any]:
    """Table in a JSON file; empty if it cannot be read."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def design_path(ledger: Ledger, number: int) -> Path:
    """File of a design that a search has chosen."""
    return ledger.folder / DESIGNS_FOLDER / f"{number:04}.json"


def _state(path: Path) -> PlannedRunState:
    try:
        names = set(os.listdir(path))
    except FileNotFoundError:
        return "pending"
    if RESULT_FILE in names:
        return "done"
    # Files that a killed process leaves behind do not count as held.
    if LOCK_FILE in names and holder_of(path) is not None:
        return "running"
    return "failed" if FAILURE_FILE in names else "pending"
