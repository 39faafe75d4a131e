"""Workers: any number of them, on any number of machines that share the folder of a study.

::

    work ──► next pending run ──lock──► train ──► test ──► result.json ──► next ...
                    ▲                     │
                    └── a worker killed here leaves a checkpoint, and its lock is gone with it

A worker knows the folder and nothing else; whoever starts it (a shell, a batch system, an
``Executor``) need not come back.
"""

import errno
import json
import multiprocessing
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, final

import torch

from classify import LesionDataset
from joint.build import build_data
from joint.config import DataConfig
from joint.evaluate import usable_device
from joint.folder import (
    CHECKPOINT_FILE,
    FAILURE_FILE,
    HISTORY_FILE,
    RunFolder,
    hold,
    is_done,
)
from joint.lock import RunLocked
from joint.parse import parse_json
from joint.stop import graceful_stop

from .live import Board
from .run import execute
from .search import ask_next, check_search
from .store import ATTEMPTS_FILE, Ledger, PlannedRun, StudyError, Tally, open_study

__all__ = ["ProcessEach", "RunAbandoned", "Worked", "WorkerLost", "run_study", "work"]

# Starts of a run that may end without a word and without progress: killed, out of memory.
_PATIENCE = 3
_DATA_SETS = 2  # that a worker keeps

_Outcome: TypeAlias = Literal["done", "failed", "stopped", "passed"]


class WorkerLost(RuntimeError):
    """A process ended without an answer: it was killed, or crashed."""


class Worked(NamedTuple):
    """What a worker did."""

    done: int
    """Runs that this worker has trained."""
    failed: int
    """Runs that failed here."""
    stopped: bool
    """It was asked to leave."""


class RunAbandoned(RuntimeError):
    """A run that takes its workers with it."""


class _Scenes:
    """Data sets by their configuration: each is built once, and the last few are kept."""

    def __init__(self) -> None:
        self._kept: dict[str, LesionDataset] = {}

    def __call__(self, config: DataConfig) -> LesionDataset:
        key = config.model_dump_json()
        dataset = self._kept.pop(key) if key in self._kept else build_data(config)
        self._kept[key] = dataset  # the last one used is the last to go
        while len(self._kept) > _DATA_SETS:
            del self._kept[next(iter(self._kept))]
        return dataset


# ------------------------------------------------------------------------------------ one worker


def work(
    folder: Path | str,
    *,
    device: torch.device | str = "cpu",
    stop: Callable[[], bool] | None = None,
    wait_for_others: bool = True,
    poll: float = 1.0,
) -> Worked:
    """Take one run of a study after the other, until none is left.

    A run that fails is recorded, with its traceback, and the next one taken; so is one that
    three times ended its worker without progress. SIGTERM, and Ctrl-C, save and leave.

    Parameters
    ----------
    folder : path
        Of the study.
    device : torch.device or str
        Where to train.
    stop : callable, optional
        Asked after the steps; once it says True, the run is saved and the worker leaves.
    wait_for_others : bool
        Stay while others still work: what they leave behind, if they are killed, is taken up.
    poll : float
        Seconds between two looks at the others.

    Raises
    ------
    StudyError
        When there is no study in the folder, or one of another version of the library.
    OSError, CheckpointError
        When the disk is full or gone, or the scenes cannot be read: every run would fail alike.
    """
    ledger = open_study(folder)
    device = usable_device(device)
    load = _Scenes()
    counts = {"done": 0, "failed": 0}
    with graceful_stop() as asked:

        def leave() -> bool:
            return asked() or (stop is not None and stop())

        if not _data_differ(ledger) and ledger.tally().pending:
            load(ledger.study.base.data)  # what is wrong with it is found before a run is held
        ended: set[PlannedRun] = set()
        while not leave():
            for run in ledger.runs:
                if run in ended:
                    continue
                state = ledger.state(run)
                if state == "running":
                    continue
                if state == "pending":
                    outcome = _attempt(ledger, run, load, device, leave)
                    if outcome == "stopped":
                        return Worked(**counts, stopped=True)
                    if outcome == "passed":
                        continue
                    counts[outcome] += 1
                ended.add(run)
            # Nothing to take: a search may have more to ask, here or elsewhere.
            asked_more = ask_next(ledger) or ledger.refreshed()
            news, ledger = asked_more is not ledger, asked_more
            if news:
                continue
            if len(ended) == ledger.wanted or not wait_for_others:
                break
            _sleep(poll, leave)
        return Worked(**counts, stopped=leave())


def _attempt(
    ledger: Ledger,
    run: PlannedRun,
    load: Callable[[DataConfig], LesionDataset],
    device: torch.device,
    leave: Callable[[], bool],
) -> _Outcome:
    """Take a run, unless somebody else is faster."""
    if leave():
        return "stopped"
    config = ledger.config(run)
    try:
        with hold(ledger.path(run)) as folder:
            if is_done(folder.path) or (folder.path / FAILURE_FILE).exists():
                return "passed"  # and somebody else was
            try:
                _begin(folder)
                done = execute(config, folder, load(config.data), device=device, stop=leave)
            except Exception as error:
                if isinstance(error, StudyError) or _of_the_machine(error):
                    raise
                folder.fail(error)
                return "failed"
            return "done" if done else "stopped"
    except RunLocked:
        return "passed"


def _data_differ(ledger: Ledger) -> bool:
    """Whether designs differ in their scenes."""
    paths = [path for axis in ledger.study.axes.values() for path in axis.paths()]
    return any(path.split(".")[0] == "data" for path in paths)


def _begin(folder: RunFolder) -> None:
    """Note the start of a run, and refuse one that takes its workers with it."""
    path = folder.path / ATTEMPTS_FILE
    checkpoint = folder.path / CHECKPOINT_FILE
    reached = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
    earlier = list(_attempts(path))
    if len(earlier) >= _PATIENCE and all(
        attempt.get("reached", "unknown") == reached for attempt in earlier[-_PATIENCE:]
    ):
        raise RunAbandoned(
            f"{_PATIENCE} starts from one point ended without a word, the last in process "
            f"{earlier[-1].get('pid')} on {earlier[-1].get('host')}: killed, perhaps for want of "
            "memory. Put that right, then reset the failed runs of the study"
        )
    history = folder.path / HISTORY_FILE
    start = {
        "reached": reached,
        "epochs": history.read_bytes().count(b"\n") if history.exists() else 0,
        "pid": os.getpid(),
        "host": platform.node(),
    }
    with path.open("a") as file:
        file.write(json.dumps(start) + "\n")


def _attempts(path: Path) -> Iterable[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            attempt = parse_json(line)
        except ValueError:  # torn: its writer was killed
            attempt = None
        yield attempt if isinstance(attempt, dict) else {}


def _of_the_machine(error: BaseException) -> bool:
    """Whether a disk is to blame, which every other run would meet too."""
    causes = (error, error.__cause__)
    broken = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES)
    return any(isinstance(cause, OSError) and cause.errno in broken for cause in causes)


def _sleep(seconds: float, leave: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not leave():
        time.sleep(min(0.1, seconds))


# ---------------------------------------------------------------------------------- many workers


def run_study(
    folder: Path | str,
    *,
    workers: int = 1,
    device: str = "cpu",
    threads: int = 1,
    executor: Executor | None = None,
    progress: bool = True,
    poll: float = 1.0,
) -> Tally:
    """Run a study with several processes, until every run is done or has failed.

    A script that calls this needs ``if __name__ == "__main__":``, as the processes import it.

    Parameters
    ----------
    folder : path
        Of the study.
    workers : int
        Processes; on a CPU, one for each core.
    device : str
        Where each of them trains.
    threads : int
        Of each process: several processes of one thread are faster than one of several.
    executor : concurrent.futures.Executor, optional
        What starts the workers, here or on other machines that share the folder; by default a new
        process for each. It is left open.
    progress : bool
        Show how far the study has come.
    poll : float
        Seconds between two looks at the folder.

    Returns
    -------
    Tally
        Of the runs; some are pending after a request to stop.

    Raises
    ------
    ValueError
        For fewer than one worker or thread.
    WorkerLost
        When workers are lost again and again, and no run ends in between.
    StudyError, OSError, CheckpointError
        What a worker could not go on with.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"a study needs at least one worker and thread: {workers}, {threads}")
    ledger = open_study(folder)
    check_search(ledger.study)
    if executor is None:
        usable_device(device)  # elsewhere it is not known here
    own = ProcessEach() if executor is None else None
    pool: Executor = own or executor  # pyright: ignore[reportAssignmentType]
    place = str(ledger.folder.resolve())  # others may be elsewhere in the tree

    def start() -> Future[Worked]:
        return pool.submit(_worker, place, device, threads, poll)

    try:
        with graceful_stop() as asked:
            _attend(ledger, start, workers, asked, Board(ledger, shown=progress), poll)
    finally:
        if own is not None:
            own.shutdown(cancel_futures=True)
    return ledger.refreshed().tally()


def _attend(
    ledger: Ledger,
    start: Callable[[], Future[Worked]],
    workers: int,
    asked: Callable[[], bool],
    board: Board,
    poll: float,
) -> None:
    """Keep so many workers at work until there is nothing to do."""
    tally = ledger.tally()
    at_work = {start() for _ in range(min(workers, tally.total - tally.finished))}
    lost, finished = 0, tally.finished
    while at_work and not asked():
        ended, at_work = wait(at_work, timeout=poll, return_when=FIRST_COMPLETED)
        ledger = ledger.refreshed()
        tally = board.show(ledger)
        if tally.finished > finished:
            lost, finished = 0, tally.finished
        for future in ended:
            error = future.exception()
            if error is None:
                continue
            lost += 1
            # A run that kills its workers is given up after a few; this is something else.
            if not isinstance(error, WorkerLost) or lost > (_PATIENCE + 1) * workers:
                raise error
            if tally.finished < tally.total:
                at_work.add(start())


def _worker(folder: str, device: str, threads: int, poll: float) -> Worked:
    """What a process of its own does: the threads of torch are its to set."""
    torch.set_num_threads(threads)
    return work(folder, device=device, poll=poll)


@final
class ProcessEach(Executor):
    """An executor with a new process for each call: one that is killed takes no other with it.

    ``ProcessPoolExecutor`` ends all of its processes when one is killed.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._started: list[tuple[BaseProcess, threading.Thread]] = []

    def submit(self, fn: Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Start a process that calls ``fn`` with ``args`` and ``kwargs``."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_answer, args=(sender, fn, args, kwargs))
        process.start()
        sender.close()  # the process has its own: its end is the end of the pipe
        thread = threading.Thread(target=_await, args=(process, receiver, future), daemon=True)
        thread.start()
        self._started.append((process, thread))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and ``wait`` for the processes.

        With ``cancel_futures``, they are asked to end first (SIGTERM).
        """
        for process, _ in self._started:
            if cancel_futures and process.is_alive():
                process.terminate()
        for _, thread in self._started if wait else ():
            thread.join()


def _answer(
    sender: Connection, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    try:
        answer = (True, fn(*args, **kwargs))
    except Exception as error:
        answer = (False, error)
    sender.send(answer)


def _await(process: BaseProcess, receiver: Connection, future: Future[Any]) -> None:
    try:
        good, answer = receiver.recv()
    except EOFError:
        process.join()
        lost = WorkerLost(f"process {process.pid} ended with status {process.exitcode}")
        good, answer = False, lost
    except Exception as error:  # an answer that cannot be unpickled
        good, answer = False, error
    receiver.close()
    process.join()
    if good:
        future.set_result(answer)
    else:
        future.set_exception(answer)
