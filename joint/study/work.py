"""Workers: any number of them, on any number of machines that share the folder of a study.

::

    work ──► next pending run ──lock──► train ──► test ──► result.json ──► next ...
                    ▲                     │
                    └── a worker killed here leaves a checkpoint, and its lock is gone with it

A worker needs only the folder. Whatever starts it (a shell, a batch system, an ``Executor``) need
not stay.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TextIO, TypeAlias

import torch

from classify import LesionDataset
from joint.config.scenes import DataConfig
from joint.device import usable_device
from joint.run.stop import graceful_stop
from joint.saved.folder import FAILURE_FILE, RunFolder, is_done, lock_run
from joint.saved.lock import RunLocked

from .attempt import begin, end, take_back
from .ledger import Ledger, PlannedRun, StudyError, Tally
from .live import Board
from .machine import check_files, loaded, of_the_machine
from .preflight import check_classes
from .process_pool import ProcessEach, WorkerLost
from .race_decision import halted
from .run import execute
from .scenes import check_same, scenes_now
from .search import ask_next, check_search
from .space import levels_shown
from .store import STUDY_FILE, open_study, refreshed
from .together import companions, train_together

__all__ = ["Worked", "run_study", "work"]

# Workers that may be lost without the end of a run in between, per worker at work.
_PATIENCE = 4
_STOPPING = "the workers finish their steps and save; Ctrl-C again leaves at once"

_Outcome: TypeAlias = Literal["done", "failed", "stopped", "passed"]


class Worked(NamedTuple):
    """What a worker has done."""

    done: int
    """Number of runs that this worker has trained."""
    failed: int
    """Number of runs that failed in this worker."""
    stopped: bool
    """Whether it was asked to stop."""


# ------------------------------------------------------------------------------------ one worker


def work(
    folder: Path | str,
    *,
    device: torch.device | str = "cpu",
    together: int = 1,
    stop: Callable[[], bool] | None = None,
    wait_for_others: bool = True,
    poll: float = 1.0,
    data: Mapping[str, Path | str] | None = None,
) -> Worked:
    """Train one run of a study after the other, until none is left.

    A failed run is recorded with its traceback, and the next one is taken; so is a run that, alone,
    has ended its worker three times without progress. SIGTERM and Ctrl-C save and stop.

    Parameters
    ----------
    folder : path
        Folder of the study.
    device : torch.device or str
        Device to train on.
    together : int
        Largest number of runs that are trained at once, by :func:`joint.fit_ensemble`, if they have
        scenes, networks and training in common; other runs are trained one by one.
    stop : callable, optional
        Called after the steps; once it returns True, the run is saved and the worker stops.
    wait_for_others : bool
        Stay while other workers are busy, to continue runs that they leave if they are killed.
    poll : float
        Seconds between two checks of the other workers.
    data : mapping, optional
        Where the files of the scenes are now, on this machine, by the names of the settings:
        ``{"root": "/scratch/ham10000.zip"}``. They are recognised by their content; the study and
        its runs are not changed.

    Raises
    ------
    ValueError
        For fewer than one run at once.
    StudyError
        When there is no study in the folder, or one of another version of the library; when it is
        moved or deleted meanwhile; when ``data`` names files that the scenes do not have, or that
        differ between designs; when a race cannot decide, as its runs were given up or none has
        the number.
    OSError, CheckpointError
        When the disk is full or gone, or the scenes cannot be read, or moved scenes differ from
        those of the runs that are there: every run would fail in the same way.

    Warns
    -----
    UserWarning
        When runs that were to be trained together are not; or when the study is older than the
        record of what the codes of a data set mean, and its systems took them for something else:
        it continues in the same way.
    """
    if together < 1:
        raise ValueError(f"a worker trains one run at once, or more, not {together}")
    ledger = open_study(folder)
    device = usable_device(device)
    load = scenes_now(ledger, data or {})
    counts = {"done": 0, "failed": 0}
    with graceful_stop() as asked:

        def leave() -> bool:
            return asked() or (stop is not None and stop())

        if not ledger.study.varies("data") and ledger.tally().pending:
            # Faults of the scenes are found before a run is held.
            _check_classes(ledger, load(ledger.study.base.data))
        ahead: set[PlannedRun] = set()
        while not leave():
            # Looked up again each time: an ended run may be pending again if it is retried.
            for run, before in zip(ledger.runs, ledger.states(), strict=True):
                # Another worker may have taken it while this one was at earlier runs.
                if before in ("done", "failed") or ledger.state(run) != "pending":
                    continue
                _check_there(ledger)
                if together > 1 and run not in ahead:
                    others = companions(ledger, run, together, without=ahead)
                    ahead |= {run, *others}
                    _train_ahead(ledger, others, load, device, leave, moved=bool(data))
                outcome = _attempt(ledger, run, load, device, leave, moved=bool(data))
                if outcome == "stopped":
                    return Worked(**counts, stopped=True)
                if outcome != "passed":
                    counts[outcome] += 1
            # Nothing to take now: a search or a race may add runs, here or elsewhere.
            asked_more = ask_next(ledger) or refreshed(ledger)
            news, ledger = asked_more is not ledger, asked_more
            if news:
                continue
            tally = ledger.tally()
            if tally.finished < tally.total and (why := halted(ledger)) is not None:
                raise StudyError(why)
            if tally.finished == tally.total or not wait_for_others:
                break
            _sleep(poll, leave)
        return Worked(**counts, stopped=leave())


def _train_ahead(
    ledger: Ledger,
    runs: Sequence[PlannedRun],
    load: Callable[[DataConfig], LesionDataset],
    device: torch.device,
    leave: Callable[[], bool],
    *,
    moved: bool,
) -> None:
    """Train several runs at once if possible; each is then tested, or fails, on its own."""
    if len(runs) < 2 or leave():
        return
    try:
        config = ledger.config(runs[0])
        for run in runs:
            check_files(ledger.config(run), RunFolder(ledger.path(run)))

        def taken(data: DataConfig) -> LesionDataset:
            scenes = loaded(load, data)
            if moved:
                check_same(ledger, config, runs, scenes)
            return scenes

        with _named(ledger, runs):
            train_together(ledger, runs, taken, device=device, stop=leave)
    except Exception as error:
        if isinstance(error, StudyError) or of_the_machine(error):
            raise
        warnings.warn(f"{len(runs)} runs are trained one by one: {error}", stacklevel=3)


def _attempt(
    ledger: Ledger,
    run: PlannedRun,
    load: Callable[[DataConfig], LesionDataset],
    device: torch.device,
    leave: Callable[[], bool],
    *,
    moved: bool = False,
) -> _Outcome:
    """Take a run, unless another worker is faster."""
    if leave():
        return "stopped"
    config = ledger.config(run)
    try:
        with lock_run(ledger.path(run)) as folder:
            if is_done(folder.path) or (folder.path / FAILURE_FILE).exists():
                return "passed"  # another worker was faster
            started = False
            try:
                began = time.monotonic()
                with _named(ledger, [run]):
                    # A worker without scenes has not begun the run.
                    scenes = loaded(load, config.data)
                    _check_classes(ledger, scenes)
                    check_files(config, folder)
                    if moved:
                        check_same(ledger, config, [run], scenes)
                    begin(folder, config.system.files())
                    started = True
                    done = execute(config, folder, scenes, device=device, stop=leave)
                if done:
                    end(folder, seconds=time.monotonic() - began)
            except Exception as error:
                if isinstance(error, StudyError):
                    raise
                if of_the_machine(error):
                    if started:
                        take_back(folder)
                    raise
                _check_there(ledger)  # if it is gone, the run is not at fault
                folder.fail(error)
                return "failed"
            return "done" if done else "stopped"
    except RunLocked:
        return "passed"


@contextmanager
def _named(ledger: Ledger, runs: Sequence[PlannedRun]) -> Iterator[None]:
    """Prefix each warning within the block with the runs that it is about."""
    which = "; ".join(
        f"design {run.design} ({levels_shown(ledger.designs[run.design])}), seed {run.seed}"
        for run in runs
    )
    show = warnings.showwarning

    def named(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        show(f"{which}: {message}", category, filename, lineno, file, line)

    # Not `catch_warnings`, which would let each run repeat a warning that all have in common.
    warnings.showwarning = named
    try:
        yield
    finally:
        warnings.showwarning = show


def _check_there(ledger: Ledger) -> None:
    """Refuse to continue where the study was moved away: that would make a second folder."""
    if not (ledger.folder / STUDY_FILE).exists():
        raise StudyError(
            f"the study is no longer in {ledger.folder}: it was moved or deleted while a worker "
            "was using it. Move it while nobody works on it, and start the workers at the new place"
        )


def _check_classes(ledger: Ledger, scenes: LesionDataset) -> None:
    """Refuse a study that is judged by a class that its scenes do not have."""
    try:
        check_classes(ledger.study.plan, scenes.classes)
    except ValueError as error:
        raise StudyError(f"{error}. Describe the study in a new file") from None


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
    together: int = 1,
    executor: Executor | None = None,
    progress: bool = True,
    warn: bool = True,
    poll: float = 1.0,
    data: Mapping[str, Path | str] | None = None,
) -> Tally:
    """Run a study with several processes, until every run is done or has failed.

    A script that calls this needs ``if __name__ == "__main__":``, as the processes import it.

    Parameters
    ----------
    folder : path
        Folder of the study.
    workers : int
        Number of processes; on a CPU, one for each core.
    device : str
        Device of each process.
    threads : int
        Threads of each process: several processes with one thread are faster than one with several.
    together : int
        Runs that each process trains at once, as in :func:`work`.
    executor : concurrent.futures.Executor, optional
        Starts the workers, here or on other machines that share the folder; by default each worker
        is a new process. It is left open.
    progress : bool
        Show the progress of the study.
    warn : bool
        Let the workers print warnings on what they build and train.
    poll : float
        Seconds between two checks of the folder.
    data : mapping, optional
        Where the files of the scenes are now, as in :func:`work`, on the machine of each worker.

    Returns
    -------
    Tally
        Numbers of runs in each state; some are pending after a request to stop.

    Raises
    ------
    ValueError
        For fewer than one worker, thread or run at once.
    WorkerLost
        When workers are lost repeatedly, and no run ends in between.
    StudyError, OSError, CheckpointError
        Errors with which a worker could not continue.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"a study needs at least one worker and thread: {workers}, {threads}")
    if together < 1:
        raise ValueError(f"a worker trains one run at once, or more, not {together}")
    ledger = open_study(folder)
    check_search(ledger.study)
    # A path through links of this machine may not exist on others.
    now = {name: str(Path(place).absolute()) for name, place in (data or {}).items()}
    scenes_now(ledger, now)  # refuses what no worker could load
    if executor is None:
        usable_device(device)  # checked here only; devices elsewhere are not known
    own = ProcessEach() if executor is None else None
    pool: Executor = own or executor  # pyright: ignore[reportAssignmentType]
    place = str(ledger.folder.absolute())  # workers may have another current folder

    def start() -> Future[Worked]:
        return pool.submit(_worker, place, device, threads, together, poll, warn, now)

    try:
        with graceful_stop(notice=_STOPPING if progress else None) as asked:
            _attend(ledger, start, workers, asked, Board(ledger, shown=progress), poll)
    finally:
        if own is not None:
            own.shutdown(cancel_futures=True)
    return refreshed(ledger).tally()


def _attend(
    ledger: Ledger,
    start: Callable[[], Future[Worked]],
    workers: int,
    asked: Callable[[], bool],
    board: Board,
    poll: float,
) -> None:
    """Keep so many workers busy until there is nothing left to do."""
    tally = ledger.tally()
    at_work = {start() for _ in range(min(workers, tally.total - tally.finished))}
    lost, finished = 0, tally.finished
    while at_work and not asked():
        ended, at_work = wait(at_work, timeout=poll, return_when=FIRST_COMPLETED)
        ledger = refreshed(ledger)
        tally = board.show(ledger)
        if tally.finished > finished:
            lost, finished = 0, tally.finished
        for future in ended:
            error = future.exception()
            if error is None:
                continue
            lost += 1
            # A run that kills its workers is given up after a few; this has another cause.
            if not isinstance(error, WorkerLost) or lost > _PATIENCE * workers:
                raise error
            if tally.finished < tally.total:
                at_work.add(start())


def _worker(
    folder: str,
    device: str,
    threads: int,
    together: int,
    poll: float,
    warn: bool,
    data: Mapping[str, str],
) -> Worked:
    """Body of a worker process, which may set torch's threads."""
    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.showwarning = _say
        if not warn:
            warnings.simplefilter("ignore")
        return work(folder, device=device, together=together, poll=poll, data=data)


def _say(message: Warning | str, *_: object) -> None:
    """Print a warning as the command line does, without its place in the library."""
    print(f"lens2label: warning: {message}", file=sys.stderr)
