"""The starts of a run: a line in its folder for each, by whom and from where."""

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

from .store import ATTEMPTS_FILE

# Not in the lines of the starts, which are taken back, and deleted to try again.
_FILES_FILE = "files.json"

__all__ = [
    "RunAbandoned",
    "attempts",
    "began_with",
    "begin",
    "end",
    "ended_epochs",
    "given_up",
    "lost_together",
    "take_back",
]

# Starts of a run alone that may end without a word and without progress: killed, out of memory.
_PATIENCE = 3


class RunAbandoned(RuntimeError):
    """A run that takes its workers with it."""


def begin(folder: RunFolder, files: Sequence[Path] = (), *, together: int = 1) -> None:
    """Note the start of a run, among so many, and refuse one that takes its workers with it.

    One that has no checkpoint yet reads the ``files`` that it begins with now: their digests are
    noted in a file of their own, which lasts as long as what was made of them.

    Raises
    ------
    RunAbandoned
        When it has done so three times, as :func:`given_up` tells.
    """
    reason = given_up(folder.path)
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
    """Of a file as it was written last; many runs of a study begin with one."""
    del changed  # of the key alone
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def began_with(folder: Path) -> dict[str, str]:
    """Digests of the files that a run began with, by their paths; empty where nothing tells."""
    try:
        found = parse_json((folder / _FILES_FILE).read_bytes())
    except (OSError, ValueError):  # a run is not lost for want of it
        return {}
    return found if isinstance(found, dict) else {}


def end(folder: RunFolder, *, seconds: float) -> None:
    """Note with the last start of a run that it took so many seconds from there to its end.

    A folder that was copied says the same, whatever the times of its files.
    """
    path = folder.path / ATTEMPTS_FILE
    with suppress(ValueError):  # a line that was torn as it was written
        *before, last = path.read_bytes().splitlines()
        lines = [*before, json.dumps({**parse_json(last), "seconds": seconds}).encode()]
        write_atomically(path, b"".join(line + b"\n" for line in lines))


def take_back(folder: RunFolder) -> None:
    """Leave out the last start: what ended it was said in words, and was no fault of the run."""
    path = folder.path / ATTEMPTS_FILE
    with suppress(OSError):
        lines = path.read_bytes().splitlines(keepends=True)
        os.truncate(path, sum(map(len, lines[:-1])))  # for which a full disk has room


def given_up(folder: Path) -> str | None:
    """Why a run is not started again from where it is; None where it may be.

    Starts among others do not count: they end for others' faults too, and :func:`lost_together`
    allows one.
    """
    alone = [
        attempt for attempt in attempts(folder / ATTEMPTS_FILE) if attempt.get("together", 1) == 1
    ][-_PATIENCE:]
    reached = _reached(folder)
    if len(alone) < _PATIENCE or any(a.get("reached", "unknown") != reached for a in alone):
        return None
    return (
        f"{_PATIENCE} starts from one point ended without a word, the last in process "
        f"{alone[-1].get('pid')} on {alone[-1].get('host')}: killed, perhaps for want of memory. "
        "Put that right, then go on with lens2label study run FOLDER --retry-failed"
    )


def attempts(path: Path) -> Iterable[dict[str, Any]]:
    """The lines of the file, empty where one cannot be read."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            attempt = parse_json(line)
        except ValueError:  # torn: its writer was killed
            attempt = None
        yield attempt if isinstance(attempt, dict) else {}


def lost_together(folder: Path) -> bool:
    """Whether a run was started from where it is among others already, and came no further.

    What several runs have no room for, one may have.
    """
    reached = _reached(folder)
    return any(
        attempt.get("reached", "unknown") == reached and attempt.get("together", 1) != 1
        for attempt in attempts(folder / ATTEMPTS_FILE)
    )


def ended_epochs(folder: Path) -> int:
    """Lines of its history."""
    history = folder / HISTORY_FILE
    return history.read_bytes().count(b"\n") if history.exists() else 0


def _reached(folder: Path) -> int | None:
    """When the checkpoint was written, by the clock of its writer; None where there is none."""
    checkpoint = folder / CHECKPOINT_FILE
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
