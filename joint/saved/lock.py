"""Lock of a folder: one writer, and no lock that outlives its process."""

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import final

from joint.caution import caution
from joint.parse import parse_json

from .checkpoint import CheckpointError

try:
    import fcntl
except ImportError:  # a platform without it, such as Windows
    fcntl = None

__all__ = ["LOCK_FILE", "Holder", "RunLocked", "holder_of", "locked"]

LOCK_FILE = "lock.json"


class RunLocked(CheckpointError):
    """Another process, or another part of this one, is writing the run."""


@final
@dataclass(frozen=True)
class Holder:
    """The process that writes a folder; all None if only its existence is known."""

    pid: int | None = None
    host: str | None = None
    since: str | None = None
    """UTC, for people only."""

    def __str__(self) -> str:
        if self.pid is None:
            return "another process"
        return f"process {self.pid} on {self.host} since {self.since}"


@contextmanager
def locked(folder: Path, *, patience: float = 0.5) -> Iterator[bool]:
    """Hold ``folder`` exclusively within the block, by ``flock`` on a file in it.

    The kernel releases the lock when the process ends, however it ends; the file of a killed
    process blocks nobody, nor does a copy of a folder that was in use. A forked process also holds
    the lock, as long as it lives.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    patience : float
        Seconds to wait: :func:`holder_of` takes the lock for a moment.

    Yields
    ------
    bool
        False where there are no locks (a platform without ``flock``, some network file systems);
        a warning has said so.

    Raises
    ------
    RunLocked
        When somebody else is in; who, where and since when.
    CheckpointError
        When nothing can be written there.
    """
    handle = _acquired(folder, patience)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                os.unlink(folder / LOCK_FILE)
            os.close(handle)


def holder_of(folder: Path) -> Holder | None:
    """The process that writes a folder now; None if there is none, or it cannot be known."""
    path = folder / LOCK_FILE
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        if fcntl is not None:
            # Shared: others may ask at the same time.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path)
    except OSError:
        return None
    finally:
        os.close(handle)
    return None


def _acquired(folder: Path, patience: float) -> int | None:
    """Descriptor that holds the lock; None where there are no locks."""
    path = folder / LOCK_FILE
    give_up = time.monotonic() + patience
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise CheckpointError(
                f"cannot write {folder}: {error.strerror or error}. Choose another folder"
            ) from error
        try:
            if fcntl is None:
                raise OSError("this platform has no flock")
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            if time.monotonic() > give_up:
                raise RunLocked(
                    f"{folder} is being written by {_read(path)}: wait for it, stop it, or choose "
                    "another folder"
                ) from error
            time.sleep(0.02)
            continue
        except OSError as error:
            os.close(handle)
            with contextlib.suppress(OSError):
                os.unlink(path)
            caution(
                f"{folder} cannot be locked ({error.strerror or error}): nothing keeps a second "
                "process from writing it too",
            )
            return None
        # The one before may have deleted the file meanwhile; then the lock keeps nobody away.
        if _is_at(handle, path):
            _write(handle)
            return handle
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _write(handle: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = Holder(os.getpid(), platform.node(), since)
    with contextlib.suppress(OSError):  # a full disk; it is the lock that counts
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(asdict(holder)).encode())


def _read(path: Path) -> Holder:
    try:
        return Holder(**parse_json(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return Holder()
