"""A run as a folder: its files, who writes it, and its progress.

::

    runs/3f9c0a1b2c4d/                    named by the digest of the configuration
        config.json                       the configuration
        environment.json                  machine, device and versions
        start.json                        trained stages that it started with, if any
        lock.json                         the process that writes, while there is one
        history.jsonl                     one line an epoch
        tensorboard/                      curves for TensorBoard, if requested
        checkpoint.safetensors            newest state of the training
        checkpoint.previous.safetensors   the checkpoint before
        best.safetensors                  weights of the best epoch
        predictions.safetensors           scores of each test picture
        failure.json                      the error, if the run failed
        result.json                       written last: that it exists means "done"
        predictions.previous.safetensors  those before the run was continued for more epochs
        result.previous.json              the result before that

Nothing here depends on a clock, and a folder may be copied anywhere.
"""

import contextlib
import json
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from joint.judge.evaluation import Evaluation
from joint.parallel import rank
from joint.parse import parse_json

from .checkpoint import (
    CheckpointError,
    latest_head,
    load_latest,
    remove_leftovers,
    save_checkpoint,
    write_atomically,
)
from .environment import environment
from .lock import holder_of, locked

__all__ = [
    "RunFolder",
    "RunState",
    "RunSummary",
    "as_path",
    "is_done",
    "list_runs",
    "lock_run",
    "read_history",
    "read_result",
    "summarise_run",
    "why_not_begun",
]

CONFIG_FILE, ENVIRONMENT_FILE = "config.json", "environment.json"
HISTORY_FILE, BEST_FILE = "history.jsonl", "best.safetensors"
CHECKPOINT_FILE, PREVIOUS_FILE = "checkpoint.safetensors", "checkpoint.previous.safetensors"
PREDICTIONS_FILE, RESULT_FILE = "predictions.safetensors", "result.json"
FAILURE_FILE, START_FILE = "failure.json", "start.json"
_PREVIOUS_PREDICTIONS_FILE = "predictions.previous.safetensors"
_PREVIOUS_RESULT_FILE = "result.previous.json"

_T = TypeVar("_T")

RunState: TypeAlias = Literal["done", "running", "interrupted", "failed"]


def as_path(given: object, name: str = "directory") -> Path:
    """The path that was given as ``name``.

    Raises
    ------
    TypeError
        For what is none.
    ValueError
        For an empty one, which would be the working folder.
    """
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"{name} must be a path, a str or a Path, not {type(given).__name__}")
    if given == "":
        raise ValueError(f"{name} is empty: name a folder, or give '.' for the working folder")
    return Path(given)


# --------------------------------------------------------------------------------- who writes it


@final
@dataclass(frozen=True)
class RunFolder:
    """A run folder, which no other process writes while :func:`lock_run` holds it."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return any((self.path / name).exists() for name in (CHECKPOINT_FILE, PREVIOUS_FILE))

    def save_checkpoint(self, tensors: Mapping[str, Tensor], head: Mapping[str, Any]) -> None:
        """Write ``tensors`` of any shape and the ``head``; keep the checkpoint before."""
        save_checkpoint(
            self.path / CHECKPOINT_FILE, tensors, head, previous=self.path / PREVIOUS_FILE
        )

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The newest checkpoint that is whole, see :func:`joint.saved.checkpoint.load_latest`."""
        return load_latest(self.path / CHECKPOINT_FILE, self.path / PREVIOUS_FILE)

    def load_head(self) -> dict[str, Any]:
        """Header of the newest checkpoint, without reading its tensors; moves no file."""
        return latest_head(self.path / CHECKPOINT_FILE, self.path / PREVIOUS_FILE)

    def append_history(self, record: Mapping[str, Any]) -> None:
        """Add the line of an epoch, a ``record`` that JSON can hold.

        Raises
        ------
        CheckpointError
            When it cannot be written, as on a full disk.
        """
        line = json.dumps(record, allow_nan=False) + "\n"
        path = self.path / HISTORY_FILE
        try:
            with path.open("ab", buffering=0) as file:
                file.write(line.encode())
        except OSError as error:
            raise CheckpointError(
                f"cannot write {path}: {error.strerror or error}; the checkpoints are intact. Make "
                "room or choose another folder, then resume"
            ) from error

    def rewrite_history(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Replace all lines by ``records``: epochs after the checkpoint resumed from are gone."""
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        write_atomically(self.path / HISTORY_FILE, lines.encode())

    def record_environment(self, device: torch.device | str) -> None:
        """Add the machine, its software and the ``device`` to ``environment.json``.

        Nothing is added if the last entry is the same.
        """
        path = self.path / ENVIRONMENT_FILE
        known = _read_json(path)
        if not isinstance(known, list) or not all(isinstance(each, dict) for each in known):
            known = []  # missing, or damaged: where it runs now is still worth knowing
        now = asdict(environment(device))
        if not known or known[-1] != now:
            _write_json(path, [*known, now])

    def record_start(self, start: Mapping[str, str]) -> None:
        """Write which trained stages the run starts with; no file if there are none.

        Parameters
        ----------
        start : mapping of str to str
            Digest of the weights of each trained stage, by its name.
        """
        path = self.path / START_FILE
        if start:
            _write_json(path, start)
        else:
            path.unlink(missing_ok=True)  # of an earlier attempt

    def recorded_start(self) -> dict[str, str]:
        """The digests that :meth:`record_start` wrote; empty without a file.

        Raises
        ------
        CheckpointError
            When the file is damaged.
        """
        path = self.path / START_FILE
        if not path.exists():
            return {}
        start = _read_json(path)
        if not isinstance(start, dict) or not all(isinstance(d, str) for d in start.values()):
            raise CheckpointError(
                f"{path} is damaged: it has no digests of the stages that the run began with"
            )
        return start

    def save_predictions(self, evaluation: Evaluation, classes: Iterable[str]) -> None:
        """Write the scores of each test picture of an ``evaluation``; nothing without a classifier.

        ``classes`` are their names, in the order of the scores.
        """
        if evaluation.logits is None:
            return
        tensors = {
            "logits": torch.from_numpy(evaluation.logits.astype(np.float32)),
            "labels": torch.from_numpy(evaluation.labels.astype(np.int64)),
        }
        head = {
            "classes": list(classes),
            "identifiers": evaluation.identifiers,
            "groups": evaluation.groups,
        }
        save_checkpoint(self.path / PREDICTIONS_FILE, tensors, head)

    def begin(self) -> None:
        """Remove the result or failure of an earlier attempt: the run is no longer failed, or done.

        An earlier result is kept under other names, because its weights may be replaced soon.
        """
        (self.path / FAILURE_FILE).unlink(missing_ok=True)
        predictions = self.path / PREDICTIONS_FILE
        if is_done(self.path):
            os.replace(self.path / RESULT_FILE, self.path / _PREVIOUS_RESULT_FILE)
            with contextlib.suppress(FileNotFoundError):  # there is no classifier
                os.replace(predictions, self.path / _PREVIOUS_PREDICTIONS_FILE)
        predictions.unlink(missing_ok=True)  # of a test that was ended before its result

    def fail(self, error: BaseException) -> None:
        """Write the ``error`` to ``failure.json``, if the disk allows it."""
        with contextlib.suppress(CheckpointError):
            failure = {
                "error": type(error).__name__,
                "message": str(error),
                "traceback": "".join(traceback.format_exception(error)),
            }
            _write_json(self.path / FAILURE_FILE, failure)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``: from now on the run is done."""
        _write_json(self.path / RESULT_FILE, result)


@contextmanager
def lock_run(directory: Path | str | RunFolder) -> Iterator[RunFolder]:
    """Lock a run folder, to be its only writer, see :func:`joint.saved.lock.locked`.

    Of processes that train one system together, the first holds it for all.

    Parameters
    ----------
    directory : path, or RunFolder
        Created if it does not exist. A RunFolder, which is held already, is returned as it is.

    Yields
    ------
    RunFolder
        Held until the block ends.

    Raises
    ------
    TypeError
        When ``directory`` is no path.
    ValueError
        For an empty path, which would be the working folder.
    RunLocked
        When another process holds it; the message tells which one, where and since when.
    CheckpointError
        When nothing can be written there.
    """
    if isinstance(directory, RunFolder):
        yield directory
        return
    path = as_path(directory)
    if rank() > 0:
        yield RunFolder(path)
        return
    with locked(path) as alone:
        if alone:
            remove_leftovers(path)
        yield RunFolder(path)


# -------------------------------------------------------------------------------- what lies in it


def read_history(directory: Path | str) -> list[dict[str, Any]]:
    """Lines of ``history.jsonl`` in ``directory``.

    An incomplete last line, of a writer that was killed, is left out. Before the run has started
    there are no lines, whether its folder exists or not.

    Raises
    ------
    CheckpointError
        When another line is damaged; the message names it.
    """
    path = as_path(directory) / HISTORY_FILE
    if not path.exists():
        return []
    *lines, torn = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_json(line)
            if not isinstance(record, dict):
                raise ValueError("it is no JSON object")
            records.append(record)
        except ValueError as error:
            if number == len(lines) and not torn:
                break
            raise CheckpointError(f"line {number} of {path} is damaged: {error}") from error
    return records


def is_done(directory: Path | str) -> bool:
    """Whether the run in ``directory`` is finished and has a result."""
    return (as_path(directory) / RESULT_FILE).exists()


def why_not_begun(directory: Path | str) -> str | None:
    """Why no run may start in ``directory``, which has no checkpoint; None if one may.

    A new run would replace the best weights and the result of an earlier one: if these are there,
    somebody has removed only its checkpoints.
    """
    path = as_path(directory)
    left = [name for name in (BEST_FILE, RESULT_FILE) if (path / name).exists()]
    if not left:
        return None
    return (
        f"has {' and '.join(left)} of a run, but no {CHECKPOINT_FILE} to continue from: restore "
        f"it from a copy, or choose another folder; for a new run here, delete {' and '.join(left)}"
    )


def read_result(directory: Path | str) -> dict[str, Any]:
    """Content of ``result.json``.

    Raises
    ------
    CheckpointError
        When the run is not done, or the file is damaged.
    """
    path = as_path(directory) / RESULT_FILE
    result = _read_json(path)
    if result is None and not path.exists():
        raise CheckpointError(f"there is no {path}: the run is not done")
    if not isinstance(result, dict) or not isinstance(result.get("test"), dict):
        raise CheckpointError(
            f"{path} is damaged: it has no numbers of a test; remove it and resume the run "
            "(--resume), which tests it again"
        )
    return result


# ------------------------------------------------------------------------------- how far it came


@final
@dataclass(frozen=True)
class RunSummary:
    """How far a run has come, without opening its weights."""

    path: Path
    state: RunState
    epochs: int
    """That have ended."""
    of: int | None
    """That were asked for; None when the configuration cannot be read."""
    monitor: str | None
    """Validation number that the best epoch is known by."""
    latest: float | None
    """Its value after the last epoch."""
    note: str = ""
    """Who is writing, why it failed, or what of it is damaged."""


def summarise_run(directory: Path | str) -> RunSummary:
    """Progress of the run in ``directory``.

    ``done`` if there is a result, ``running`` while a process holds the folder, ``failed`` if there
    is a ``failure.json``, and otherwise ``interrupted``.

    Raises
    ------
    NotADirectoryError
        When ``directory`` is no folder.
    """
    folder = as_path(directory)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: give that of a run")
    state: RunState = "interrupted"
    note = ""
    holder, failure = holder_of(folder), _read_json(folder / FAILURE_FILE)
    if is_done(folder):
        state = "done"
        try:
            read_result(folder)
        except CheckpointError as error:
            note = str(error)
    elif holder is not None:
        state, note = "running", str(holder)
    elif isinstance(failure, dict):
        state, note = "failed", str(failure.get("message"))
    try:
        records = read_history(folder)
    except CheckpointError as error:
        records, note = [], str(error)
    training = _entry(_read_json(folder / CONFIG_FILE), "training", dict)
    of, monitor = _entry(training, "epochs", int), _entry(training, "monitor", str)
    measured = _entry(records[-1], "validation", dict) if records else None
    latest = _entry(measured, monitor, (int, float))
    return RunSummary(folder, state, len(records), of, monitor, latest, note)


def _entry(found: object, name: str | None, kind: type[_T] | tuple[type[_T], ...]) -> _T | None:
    """Entry of a JSON object; None if it is no object, or the entry is of another type."""
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, kind) else None


def list_runs(root: Path | str) -> list[RunSummary]:
    """Every run folder directly in ``root``, by name; ``root`` itself if it is one.

    Raises
    ------
    NotADirectoryError
        When ``root`` is no folder.
    """
    root = as_path(root, "root")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is no folder: give the one that holds the run folders")
    # None that is hidden, as half of a copy is.
    inside = (path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    folders = [root, *sorted(inside)]
    return [summarise_run(path) for path in folders if (path / CONFIG_FILE).is_file()]


def _write_json(path: Path, content: object) -> None:
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _read_json(path: Path) -> Any:  # noqa: ANN401
    """Content of a JSON file; None when it is missing or none."""
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
