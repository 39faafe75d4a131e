"""The ledger of a study: a folder of plain files, without a server or database.

::

    STUDY/
        study.json                study and plan; written first
        designs/<number>.json     designs that a search has chosen since
        runs/<digest>/            one run each, see joint.saved; the name is its configuration
            attempts.jsonl        one line for each start; at the end it gets the duration
            result.json           written last: done
            failure.json          why there is no result

The state of a run is determined by its files: held by a worker is *running*, with a result
*done*, with a reason *failed*, anything else is *pending* (to be started, or to be resumed).
Folders may be copied, and merged with rsync.
"""

import hashlib
import json
import math
import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np
from pydantic import ValidationError

from classify.judged import Judged
from classify.metric_names import METRICS
from joint.caution import caution
from joint.config.faults import fault_line
from joint.config.run import RunConfig
from joint.parse import parse_json
from joint.saved.checkpoint import CheckpointError, write_atomically
from joint.saved.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    FAILURE_FILE,
    PREDICTIONS_FILE,
    RESULT_FILE,
    hold,
    read_result,
)
from joint.saved.lock import LOCK_FILE, holder_of
from joint.saved.predictions import Predictions, load_predictions
from joint.settings import ConfigError

from .axis import Design
from .condition import axes_of
from .race import called, called_first, may_be_called
from .sampler import Search
from .space import Pair, Study

__all__ = [
    "AFTERWARDS",
    "ATTEMPTS_FILE",
    "DESIGNS_FOLDER",
    "FORMAT",
    "RUNS_FOLDER",
    "STUDY_FILE",
    "Ledger",
    "Misplaced",
    "PlannedRun",
    "RunState",
    "StudyError",
    "Tally",
    "check_design",
    "design_path",
    "done_before",
    "is_machine_fault",
    "open_study",
    "read_design",
    "read_failure",
    "read_study",
    "read_table",
    "seeded",
    "with_next",
    "without_weights",
    "write_new",
]

STUDY_FILE, RUNS_FOLDER, ATTEMPTS_FILE = "study.json", "runs", "attempts.jsonl"
DESIGNS_FOLDER = "designs"
FORMAT = 1
AFTERWARDS = "a study is fixed before its first run, and what it calls planned may not have been"

RunState: TypeAlias = Literal["pending", "running", "done", "failed"]


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
    """A study in its folder."""

    folder: Path
    """Folder of the study."""
    study: Study
    """The study as written before the first run."""
    designs: tuple[Design, ...]
    """Its designs; for a search, those chosen so far, see :meth:`refreshed`."""
    runs: tuple[PlannedRun, ...]
    """Its runs, seed by seed, so that early results cover all designs. For a race, those that it
    has called, see :meth:`refreshed`."""
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
        return len(self.runs) + may_be_called(self)

    def refreshed(self) -> "Ledger":
        """The same study, with what a search or a race has chosen meanwhile.

        A race may also call fewer runs than before: it decides again if a failed run is retried.

        Raises
        ------
        StudyError
            When a design that a search has chosen cannot be read.
        CheckpointError
            When a run that decides a race is damaged.
        """
        if self.study.race is not None:
            runs = called(self)
            return self if runs == self.runs else replace(self, runs=runs)
        ledger = self
        while (more := with_next(ledger)) is not None:
            ledger = more
        return ledger

    def add(self, design: Design, *, by_chance: bool = False) -> "Ledger":
        """Add ``design`` to a search; if another worker was faster, its design is taken.

        The file records whether the design was drawn ``by_chance``.
        """
        number = len(self.designs)
        config = self.study.config(design, self.study.seeds[0])
        runs = [(seeded(config, seed).digest(), seed) for seed in self.study.seeds]
        path = design_path(self, number)
        path.parent.mkdir(exist_ok=True)
        drawn = {"by_chance": True} if by_chance else {}
        write_new(path, {"design": design, "runs": dict(runs), **drawn})
        return self.refreshed()

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

    def state(self, run: PlannedRun) -> RunState:
        """State of ``run``."""
        return _state(self.path(run))

    def states(self) -> tuple[RunState, ...]:
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
            with hold(self.path(run)) as folder:
                for name in (FAILURE_FILE, ATTEMPTS_FILE):
                    (folder.path / name).unlink(missing_ok=True)
        return len(failed)


def open_study(folder: Path | str) -> Ledger:
    """Open the study in ``folder``.

    Raises
    ------
    StudyError
        When there is none, or it cannot be read.
    CheckpointError
        When a run that decides a race is damaged.

    Warns
    -----
    UserWarning
        When its file was changed after it was written.
    """
    ledger, sealed = read_study(folder)
    if not sealed:
        caution(
            f"{ledger.folder / STUDY_FILE} was changed after it was written: {AFTERWARDS}. "
            "Describe another study in a separate file; --earlier copies the runs that both have"
        )
    return ledger.refreshed()


def read_study(folder: Path | str) -> tuple[Ledger, bool]:
    """The study in ``folder`` as written, and whether its file is unchanged.

    Raises
    ------
    StudyError
        When there is none, or it cannot be read.
    """
    folder = Path(folder)
    path = folder / STUDY_FILE
    try:
        content = parse_json(path.read_bytes())
        if content["format"] != FORMAT:
            raise StudyError(f"{path} has format {content['format']}, not {FORMAT}")
        study = Study.model_validate(content["study"])
        runs = tuple(PlannedRun(**run) for run in content["runs"])
        designs = tuple(content["designs"])
        _check_designs(designs, runs)
        if type(content["done_before"]) is not int:
            raise ValueError(f"{content['done_before']!r} runs were done before it was written")
        first = called_first(study.race, runs, study.seeds)
        return Ledger(folder, study, designs, first, runs), content["seal"] == seal(content)
    except FileNotFoundError as error:
        raise StudyError(
            f"there is no study in {folder}: lens2label study run writes one, or create_study"
        ) from error
    except OSError as error:
        raise StudyError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        faults = "\n  ".join(
            fault_line(fault, Study, whole="the study") for fault in error.errors()
        )
        raise StudyError(f"{path} is not a valid study:\n  {faults}") from error
    except StudyError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _check_designs(designs: Sequence[object], runs: Sequence[PlannedRun]) -> None:
    """Refuse what is JSON but no ledger, before a run is looked up in it."""
    for number, design in enumerate(designs):
        if not isinstance(design, dict):
            raise ValueError(f"design {number} is {design!r}, not a table")
    for number, run in enumerate(runs):
        if run.design not in range(len(designs)):
            raise ValueError(
                f"run {number} is of design {run.design!r}, of {len(designs)} counted from 0"
            )


def seal(content: Mapping[str, Any]) -> str:
    """Digest of what a study file fixes: the study, its designs and runs."""
    fixed = {name: content[name] for name in ("study", "designs", "runs")}
    text = json.dumps(fixed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def done_before(ledger: Ledger) -> int:
    """Number of runs of a study that were already done when it was written."""
    return parse_json((ledger.folder / STUDY_FILE).read_bytes())["done_before"]


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


def with_next(ledger: Ledger) -> Ledger | None:
    """The study with the next design of its search; None if there is none yet.

    Raises
    ------
    StudyError
        When the design cannot be read.
    """
    if not isinstance(ledger.study.sampler, Search) or len(ledger.runs) >= ledger.wanted:
        return None
    chosen = read_design(ledger, len(ledger.designs))
    if chosen is None:
        return None
    design, runs = chosen
    runs = (*ledger.runs, *runs)
    return replace(ledger, designs=(*ledger.designs, design), runs=runs, planned=runs)


def read_design(ledger: Ledger, number: int) -> tuple[Design, tuple[PlannedRun, ...]] | None:
    """A design that a search has chosen, and its runs; None if it has not been chosen yet.

    Raises
    ------
    StudyError
        When it cannot be read.
    """
    path = design_path(ledger, number)
    try:
        content = parse_json(path.read_bytes())
        design = content["design"]
        runs = tuple(PlannedRun(of, number, seed) for of, seed in content["runs"].items())
        if design.keys() != set(axes_of(design, ledger.study.axes)):
            raise ValueError("it has levels on other axes than the study")
        if [run.seed for run in runs] != list(ledger.study.seeds):
            raise ValueError("it has other seeds than the study")
        return design, runs
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StudyError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _state(path: Path) -> RunState:
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


def seeded(config: RunConfig, seed: int) -> RunConfig:
    """The ``config``, which was checked already, with another ``seed``."""
    system = config.system.model_copy(update={"seed": seed})
    training = config.training.model_copy(update={"seed": seed})
    return config.model_copy(update={"system": system, "training": training})


def write_new(path: Path, content: object) -> bool:
    """Write ``content`` to ``path`` unless it exists; of two concurrent writers, one succeeds."""
    own = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
    _write(own, content)
    try:
        os.link(own, path)  # unlike a rename, it replaces nothing
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        os.replace(own, path)
    finally:
        own.unlink(missing_ok=True)
    return True


def _write(path: Path, content: object) -> None:
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
