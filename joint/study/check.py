"""Check that the files of a study are whole, and that each belongs to the run of its folder.

::

    study.json, designs/ ──► planned runs ──► runs/<digest>/ ──► StudyFault: file, what, remedy
                                                   │
        configuration = design and seed · result = scores · history = heads of the weights

Each file is read once; scenes are not read. Of weights only the header is read: a damaged body is
found by its checksum when the weights are loaded.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

from joint.config.run import RunConfig, load_config
from joint.record import as_json
from joint.saved.checkpoint import CheckpointError, load_head
from joint.saved.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    FAILURE_FILE,
    HISTORY_FILE,
    PREDICTIONS_FILE,
    PREVIOUS_FILE,
    RESULT_FILE,
    read_history,
)
from joint.saved.lock import LOCK_FILE
from joint.settings import ConfigError

from .ledger import (
    DESIGNS_FOLDER,
    RUNS_FOLDER,
    Ledger,
    Misplaced,
    PlannedRun,
    PlannedRunState,
    StudyError,
    Tally,
    design_path,
    read_failure,
)
from .sampler import Search
from .store import AFTERWARDS, STUDY_FILE, read_design, read_study, refreshed, with_next

__all__ = ["FaultKind", "StudyCheck", "StudyFault", "check_study"]

FaultKind: TypeAlias = Literal["damaged", "missing", "swapped", "changed", "begun", "foreign"]

# A file of a run folder, the kind of fault, and its description.
_Finding: TypeAlias = tuple[str, FaultKind, str]

_SHOWN = 5  # paths shown for one fault


@final
@dataclass(frozen=True)
class StudyFault:
    """A file or folder that differs from what the study wrote."""

    path: Path
    """Path relative to the folder of the study."""
    kind: FaultKind
    """``damaged``: it cannot be read; ``missing``: it should be there; ``swapped``: it is whole but
    of another run; ``changed``: it is of another configuration than the study makes; ``begun``: a
    run that no worker holds and that has not ended; ``foreign``: it belongs to no run."""
    words: str
    """Description of the fault."""
    remedy: str
    """What to do about it."""


@final
@dataclass(frozen=True)
class StudyCheck:
    """Result of :func:`check_study`."""

    folder: Path
    """Folder of the study."""
    runs: Tally
    """Number of runs in each state. Files of runs that a worker holds were not checked."""
    faults: tuple[StudyFault, ...]
    """Faults of the study and its designs, then run by run."""

    @property
    def whole(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.runs._asdict().items())
        alike: dict[tuple[str, str, str], list[Path]] = {}
        for fault in self.faults:
            alike.setdefault((fault.kind, fault.words, fault.remedy), []).append(fault.path)
        lines = [f"{self.folder}: {self.runs.total} runs: {counts}"]
        for (kind, words, remedy), paths in alike.items():
            more = [f"  and {len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else []
            shown = [f"  {path}" for path in paths[:_SHOWN]]
            lines += ["", f"{kind}: {words}", *shown, *more, f"  remedy: {remedy}"]
        return "\n".join(lines if self.faults else [*lines, "all files are whole"])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: the fields by name, and whether the study is ``whole``."""
        return as_json(vars(self) | {"whole": self.whole})


def check_study(folder: Path | str) -> StudyCheck:
    """Read every file of a study once, and list those that are damaged or misplaced.

    Parameters
    ----------
    folder : path
        Folder of the study; nothing in it is changed. Scenes are not needed, so a copy on another
        machine can be checked.

    Returns
    -------
    StudyCheck
        Of weights, only the headers were read. A run that a worker holds is skipped, and a failed
        run is not a fault.

    Raises
    ------
    StudyError
        When there is no study in the folder, or its file cannot be read.
    """
    ledger, sealed = read_study(folder)
    faults = []
    if not sealed:
        faults.append(
            StudyFault(
                Path(STUDY_FILE),
                "changed",
                f"it was changed after it was written: {AFTERWARDS}",
                "restore the file, or describe another study in a separate file and give this "
                "folder as --earlier",
            )
        )
    ledger, others, damaged = _designs(ledger)
    faults += damaged
    states: Counter[str] = Counter(pending=ledger.wanted - len(ledger.runs))
    wanted = {*ledger.runs}
    # A race decides again if a failed run is retried, and not at all if a run is damaged: runs that
    # it called before may be there.
    for run in ledger.planned:
        there = ledger.path(run).exists()
        state = ledger.state(run) if ledger.path(run).is_dir() else "pending"
        if run in wanted:
            states[state] += 1
        if run in wanted or there:
            faults += _of_run(ledger, run, state)
    faults += _foreign(ledger, {*others, *(run.digest for run in ledger.planned)})
    tally = Tally(*(states[state] for state in Tally._fields))  # pyright: ignore
    return StudyCheck(ledger.folder, tally, tuple(faults))


# ------------------------------------------------------------------------------------ the designs


def _designs(ledger: Ledger) -> tuple[Ledger, set[str], list[StudyFault]]:
    """The study with the designs of its search, as far as they are whole.

    Also the digests of the runs of later designs, and the faults.
    """
    with suppress(CheckpointError):  # a damaged run that decides a race is checked below
        ledger = ledger if isinstance(ledger.study.sampler, Search) else refreshed(ledger)
    while True:
        try:
            more = with_next(ledger)
        except StudyError:  # the file of a design is checked below
            break
        if more is None:
            break
        ledger = more
    folder, sampler = ledger.folder / DESIGNS_FOLDER, ledger.study.sampler
    names = sorted(n for n in _listed(folder) if not n.startswith("."))  # not one being written
    given = range(sampler.first, sampler.count) if isinstance(sampler, Search) else range(0)
    numbers = {design_path(ledger, number).name: number for number in given}
    faults, others = [], set[str]()
    remedy = (
        "restore it from a copy; or delete it, and the search chooses another design in its place "
        "(the runs of this one then belong to no design)"
    )
    behind = [numbers[name] for name in names if numbers.get(name, -1) >= len(ledger.designs)]
    for number in range(len(ledger.designs), max(behind, default=-1) + 1):
        path = design_path(ledger, number).relative_to(ledger.folder)
        try:
            found = read_design(ledger, number)
        except StudyError as error:
            words = str(error).replace(str(ledger.folder / path), "it")
            faults.append(StudyFault(path, "damaged", words, remedy))
            continue
        if found is None:
            words = "there are later designs, which no report counts without it"
            again = "restore it from a copy; or continue, and the search chooses one in its place"
            faults.append(StudyFault(path, "missing", words, again))
        else:
            others |= {run.digest for run in found[1]}
    words = "no search of the study has chosen a design of this name"
    faults += [
        StudyFault(Path(DESIGNS_FOLDER, name), "foreign", words, _MOVE)
        for name in names
        if name not in numbers
    ]
    return ledger, others, faults


# --------------------------------------------------------------------------------------- the runs

_MOVE = "move it elsewhere, or delete it: nothing uses it"


def _foreign(ledger: Ledger, known: set[str]) -> Iterator[StudyFault]:
    for name in sorted(_listed(ledger.folder / RUNS_FOLDER) - known):
        words = "it does not belong to any run of the study"
        if name.startswith(".copied-"):
            words = "it is part of a copy that was interrupted"
        yield StudyFault(Path(RUNS_FOLDER, name), "foreign", words, _MOVE)


def _of_run(ledger: Ledger, run: PlannedRun, state: PlannedRunState) -> Iterator[StudyFault]:
    folder = ledger.path(run)
    place = folder.relative_to(ledger.folder)
    config = None
    try:
        config = ledger.config(run)
    except StudyError:
        words = "its design and seed now give another configuration than the one it is named after"
        remedy = (
            "use the version of lens2label that its environment.json names, or put the files of "
            "the study and its designs back as they were"
        )
        yield StudyFault(place, "changed", words, remedy)
    except ValueError as error:  # an invalid choice, or a user's class that has changed
        remedy = (
            "put the files of the study and its designs back as they were, or use the version of "
            "lens2label, and of your own classes, with which they were written"
        )
        yield StudyFault(place, "changed", str(error), remedy)
    if folder.exists() and not folder.is_dir():
        yield StudyFault(place, "damaged", "it is a file, not the folder of a run", _MOVE)
    elif folder.exists() and state != "running":
        yield from _Folder(ledger, run, state, config).faults()


class _Folder:
    """Folder of a run that no worker holds, with each file read once."""

    def __init__(
        self, ledger: Ledger, run: PlannedRun, state: PlannedRunState, config: RunConfig | None
    ) -> None:
        self.ledger, self.run, self.state, self.config = ledger, run, state, config
        self.path = ledger.path(run)
        self.names = _listed(self.path) - {LOCK_FILE}
        self.again = f"lens2label study work {ledger.folder}"

    def faults(self) -> Iterator[StudyFault]:
        """All faults of the folder."""
        heads, damaged = self._heads()
        result, of_result = self._result()
        history, of_history = self._history(result)
        swapped = {
            name: why
            for name, head in heads.items()
            if (why := self._swapped(name, head, result)) is not None
        }
        own = {name: head for name, head in heads.items() if name not in swapped}
        torn = [name for name, head in own.items() if not _tells(head, history)]
        if torn and len(torn) == len(own):  # then the history is of another run
            if not of_history:
                words = "its epochs are not those of the weights beside it"
                of_history.append((HISTORY_FILE, "swapped", words))
        else:
            swapped |= dict.fromkeys(torn, "its epochs are not those of history.jsonl")
        resumable = any(
            name in heads and name not in swapped for name in (CHECKPOINT_FILE, PREVIOUS_FILE)
        )
        tested_again = self._anew()
        if resumable:
            tested_again = (
                f"delete {RESULT_FILE} in its folder, then {self.again}: it goes on from its "
                "checkpoint and is tested again"
            )
        for name, kind, words in (*self._of_config(result), *of_result, *of_history):
            spoilt = name == CONFIG_FILE and name in self.names  # it is never overwritten
            remedy = f"delete it; and {tested_again}" if spoilt else tested_again
            yield self._fault(name, kind, words, remedy)
        for name in damaged:
            words = "its header cannot be read, or its end is missing"
            yield self._fault(name, "damaged", words, self._without(name, resumable=resumable))
        for name, words in swapped.items():
            yield self._fault(name, "swapped", words, self._without(name, resumable=resumable))
        yield from self._of_state()

    def _fault(self, name: str, kind: FaultKind, words: str, remedy: str) -> StudyFault:
        return StudyFault((self.path / name).relative_to(self.ledger.folder), kind, words, remedy)

    def _anew(self) -> str:
        return f"delete the folder of the run, then {self.again}: it is trained again"

    def _without(self, name: str, *, resumable: bool) -> str:
        """What to do about unusable weights."""
        needed = name == BEST_FILE or not resumable
        if self.state == "done":
            needed = name == self._tested()
        return self._anew() if needed else "delete it: nothing needs it"

    def _tested(self) -> str | None:
        """Name of the weights file that was tested."""
        if self.config is None:
            return None
        return BEST_FILE if self.config.training.restore_best else CHECKPOINT_FILE

    def _of_config(self, result: object) -> Iterator[_Finding]:
        if CONFIG_FILE in self.names:
            try:
                digest = load_config(self.path).digest()
            except ConfigError:
                yield CONFIG_FILE, "damaged", "it is not a valid configuration"
            else:
                if digest != self.run.digest:
                    yield CONFIG_FILE, "changed", "it is not the configuration of its folder's name"
        elif result is not None:
            yield CONFIG_FILE, "missing", "the run cannot be loaded without it"

    def _result(self) -> tuple[dict[str, Any] | None, list[_Finding]]:
        """Result of the run, and faults of the result and its scores."""
        if self.state != "done":
            return None, []
        try:
            result = self.ledger.result(self.run)
        except Misplaced:
            return None, [(RESULT_FILE, "swapped", "it is of another run")]
        except CheckpointError:
            return None, [(RESULT_FILE, "damaged", "it is not a complete result")]
        try:
            scores = self.ledger.predictions(self.run)
        except Misplaced:
            words = "its scores do not give the numbers of the test in result.json"
            return result, [(PREDICTIONS_FILE, "swapped", words)]
        except CheckpointError:
            return result, [(PREDICTIONS_FILE, "damaged", "its scores are incomplete")]
        if scores is None and result["test"].get("accuracy") is not None:
            words = "the run has a classifier, and no comparison can be made without its scores"
            return result, [(PREDICTIONS_FILE, "missing", words)]
        return result, []

    def _history(
        self, result: Mapping[str, Any] | None
    ) -> tuple[list[dict[str, Any]] | None, list[_Finding]]:
        """Epochs, and faults of the history."""
        try:
            history = read_history(self.path)
        except (CheckpointError, OSError):
            return None, [(HISTORY_FILE, "damaged", "a line of it cannot be read")]
        wanted = None if result is None else result.get("epochs")
        if wanted is None or len(history) == wanted:
            return history, []
        if HISTORY_FILE not in self.names:
            return [], [(HISTORY_FILE, "missing", "a search and the page of the study need it")]
        return history, [(HISTORY_FILE, "damaged", "it lacks epochs that result.json counts")]

    def _heads(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Headers of the weights by file, and the files without one."""
        heads, damaged = {}, []
        for name in (BEST_FILE, CHECKPOINT_FILE, PREVIOUS_FILE):
            if name in self.names:
                head = _head(self.path / name)
                if head is None:
                    damaged.append(name)
                else:
                    heads[name] = head
        return heads, damaged

    def _swapped(
        self, name: str, head: Mapping[str, Any], result: Mapping[str, Any] | None
    ) -> str | None:
        """Why weights are not those of the run; None if nothing contradicts it."""
        identity = head["identity"]
        if self.config is not None:
            for part in ("training", "objective"):
                wanted = getattr(self.config, part).model_dump(mode="json")
                if identity.get(part, wanted) != wanted:
                    return f"they are of a training with another {part}"
        if result is None:
            return None
        scenes = result.get("scenes", identity)  # missing in artificial results
        for part in ("train", "validation"):
            if identity.get(part) != scenes.get(part):
                return f"they are of another {part} set than result.json says"
        if name == self._tested() == BEST_FILE and head.get("epoch") != result.get("best_epoch"):
            return "they are of another epoch than the best one that result.json names"
        return None

    def _of_state(self) -> Iterator[StudyFault]:
        if self.state == "done":
            name = self._tested()
            if name is not None and name not in self.names:
                words = (
                    "the trained weights are gone. A report does not need them; evaluating the run "
                    "elsewhere or comparing what it has learned does"
                )
                yield self._fault(name, "missing", words, self._anew())
        elif self.state == "failed":
            if not read_failure(self.path):
                remedy = f"lens2label study run {self.ledger.folder} --retry-failed"
                yield self._fault(FAILURE_FILE, "damaged", "it gives no reason", remedy)
        elif self.names:
            words = "the run was begun, has not ended, and no worker holds it"
            yield self._fault("", "begun", words, f"{self.again}: a worker continues it")


def _tells(head: Mapping[str, Any], history: list[dict[str, Any]] | None) -> bool:
    """Whether weights and history are of the same training, as far as both say."""
    if history is None:
        return True
    records = head.get("records")
    if isinstance(records, list):
        return all(one == other for one, other in zip(records, history, strict=False))
    epoch, validation = head.get("epoch"), head.get("validation")
    if not isinstance(epoch, int) or validation is None:
        return True
    return epoch >= len(history) or history[epoch].get("validation") == validation


def _head(path: Path) -> dict[str, Any] | None:
    """Header of a weights file; None if it cannot be read."""
    try:
        head = load_head(path)
    except CheckpointError:
        return None
    return head if isinstance(head.get("identity"), dict) else None


def _listed(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()
