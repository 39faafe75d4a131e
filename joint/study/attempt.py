"""The starts of a run: one line each in its folder, with process and place."""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from joint.parse import parse_json
from joint.saved.checkpoint import write_atomically
from joint.saved.folder import CHECKPOINT_FILE, HISTORY_FILE, RunFolder

from .ledger import ATTEMPTS_FILE, read_table

# Not in the lines of the starts: those are taken back, and deleted for another try.
_FILES_FILE = "files.json"

__all__ = [
    "RunAbandoned",
    "attempts",
    "began_with",
    "begin",
    "end",
    "ended_epochs",
    "lost_together",
    "take_back",
    "why_abandoned",
]

# Starts of a run alone that may end without a message and without progress: killed, out of memory.
_PATIENCE = 3


class RunAbandoned(RuntimeError):
    """A run that repeatedly ended its workers."""


def begin(folder: RunFolder, files: Sequence[Path] = (), *, together: int = 1) -> None:
    """Record the start of a run, as one of ``together``; refuse one that keeps ending its workers.

    A run without a checkpoint reads the ``files`` that it starts from now: their digests are
    recorded in a separate file, which is kept as long as the results of the run.

    Raises
    ------
    RunAbandoned
        When the run has ended its worker three times, as :func:`why_abandoned` says.
    """
    reason = why_abandoned(folder.path)
    if reason is not None:
        raise RunAbandoned(reason)
    start = {
        "reached": _reached(folder.path),
        "epochs": ended_epochs(folder.path),
        "pid": os.getpid(),
        "host": platform.node(),
        "together": together,
    }
    if files and not folder.has_checkpoint():
        digests = {str(path): _digest(path, path.stat().st_mtime_ns) for path in files}
        write_atomically(folder.path / _FILES_FILE, json.dumps(digests).encode())
    with (folder.path / ATTEMPTS_FILE).open("a") as file:
        file.write(json.dumps(start) + "\n")


@lru_cache(maxsize=64)
def _digest(path: Path, changed: int) -> str:
    """Digest of a file as last written; cached, as many runs of a study start from the same one."""
    del changed  # only part of the cache key
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def began_with(folder: Path) -> dict[str, str]:
    """Digests of the files that a run started from, by path; empty if not recorded."""
    return read_table(folder / _FILES_FILE)


def end(folder: RunFolder, *, seconds: float) -> None:
    """Record with the last start of a run how many seconds it took until its end.

    A copied folder keeps this time, whatever the times of its files.
    """
    path = folder.path / ATTEMPTS_FILE
    with suppress(ValueError):  # a partly written line
        *before, last = path.read_bytes().splitlines()
        lines = [*before, json.dumps({**parse_json(last), "seconds": seconds}).encode()]
        write_atomically(path, b"".join(line + b"\n" for line in lines))


def take_back(folder: RunFolder) -> None:
    """Remove the last start: it ended with a message and was not the fault of the run."""
    path = folder.path / ATTEMPTS_FILE
    with suppress(OSError):
        lines = path.read_bytes().splitlines(keepends=True)
        os.truncate(path, sum(map(len, lines[:-1])))  # works on a full disk too


def why_abandoned(folder: Path) -> str | None:
    """Why a run is not started again from its last point; None if it may be.

    Starts together with other runs do not count: they may end because of another run, and
    :func:`lost_together` allows one of them.
    """
    alone = [
        attempt for attempt in attempts(folder / ATTEMPTS_FILE) if attempt.get("together", 1) == 1
    ][-_PATIENCE:]
    reached = _reached(folder)
    if len(alone) < _PATIENCE or any(a.get("reached", "unknown") != reached for a in alone):
        return None
    return (
        f"{_PATIENCE} starts from the same point ended without a message, the last in process "
        f"{alone[-1].get('pid')} on {alone[-1].get('host')}: killed, perhaps for lack of memory. "
        "Fix the cause, then continue with lens2label study run FOLDER --retry-failed"
    )


def attempts(path: Path) -> Iterable[dict[str, Any]]:
    """The starts in the file; empty if it cannot be read."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            attempt = parse_json(line)
        except ValueError:  # a partly written line: its writer was killed
            attempt = None
        yield attempt if isinstance(attempt, dict) else {}


def lost_together(folder: Path) -> bool:
    """Whether a run was already started from its last point together with others, in vain.

    Memory that is too small for several runs may be enough for one.
    """
    reached = _reached(folder)
    return any(
        attempt.get("reached", "unknown") == reached and attempt.get("together", 1) != 1
        for attempt in attempts(folder / ATTEMPTS_FILE)
    )


def ended_epochs(folder: Path) -> int:
    """Number of epochs in the history of a run."""
    history = folder / HISTORY_FILE
    return history.read_bytes().count(b"\n") if history.exists() else 0


def _reached(folder: Path) -> int | None:
    """Time at which the checkpoint was written, by its writer's clock; None without one."""
    checkpoint = folder / CHECKPOINT_FILE
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
