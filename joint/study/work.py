"""Workers: any number of them, on any number of machines that share the folder of a study.

::

    work ──► next pending run ──lock──► train ──► test ──► result.json ──► next ...
                    ▲                     │
                    └── a worker killed here leaves a checkpoint, and its lock is gone with it

A worker knows the folder and nothing else; whoever starts it (a shell, a batch system, an
``Executor``) need not come back.
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
from joint.config.run import RunConfig
from joint.config.scenes import DataConfig, build_data
from joint.device import usable_device
from joint.run.build import build_split
from joint.run.complete import places
from joint.run.stop import graceful_stop
from joint.saved.folder import FAILURE_FILE, RunFolder, hold, is_done
from joint.saved.lock import RunLocked

from .ahead import check_classes
from .attempt import begin, end, take_back
from .live import Board
from .machine import NoInput, check_files, loaded, of_the_machine
from .process_pool import ProcessEach, WorkerLost
from .race import halted
from .run import execute
from .search import ask_next, check_search
from .space import levels_shown, varies
from .store import STUDY_FILE, Ledger, PlannedRun, StudyError, Tally, open_study
from .together import companions, train_together

__all__ = ["Worked", "run_study", "scenes_now", "work"]

# Workers that may be lost without an end of a run in between, for each that works.
_PATIENCE = 4
# Data sets that a worker keeps for runs to come.
_KEPT = 2
_STOPPING = "the workers finish their steps and save; Ctrl-C again leaves at once"

_Outcome: TypeAlias = Literal["done", "failed", "stopped", "passed"]


class Worked(NamedTuple):
    """What a worker did."""

    done: int
    """Runs that this worker has trained."""
    failed: int
    """Runs that failed here."""
    stopped: bool
    """It was asked to leave."""


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
    """Take one run of a study after the other, until none is left.

    A run that fails is recorded, with its traceback, and the next one taken; so is one that
    three times, alone, ended its worker without progress. SIGTERM, and Ctrl-C, save and leave.

    Parameters
    ----------
    folder : path
        Of the study.
    device : torch.device or str
        Where to train.
    together : int
        Up to so many runs are trained at once, by :func:`joint.fit_ensemble`, where they have
        scenes, networks and training in common; others, and what cannot be stacked, one by one.
    stop : callable, optional
        Asked after the steps; once it says True, the run is saved and the worker leaves.
    wait_for_others : bool
        Stay while others still work: what they leave behind, if they are killed, is taken up.
    poll : float
        Seconds between two looks at the others.
    data : mapping, optional
        Where the files of the scenes lie now, seen from here, by the names of the settings:
        ``{"root": "/scratch/ham10000.zip"}``. They are known by what they hold; the study, and its
        runs, stay as they were described.

    Raises
    ------
    ValueError
        For fewer than one run at once.
    StudyError
        When there is no study in the folder, or one of another version of the library; when it is
        moved or deleted meanwhile; when its scenes have no such files, or designs have others;
        when a race has nothing to decide by, as its runs were given up or none has the number.
    OSError, CheckpointError
        When the disk is full or gone, or the scenes cannot be read, or lie elsewhere now and are
        others than those of the runs that are there: every run would fail alike.

    Warns
    -----
    UserWarning
        When runs that were to be trained together are not; or when the study is of a time when
        data sets did not say what their codes are, and its systems took them for something else:
        it goes on as it began.
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

        if not varies(ledger.study, "data") and ledger.tally().pending:
            # What is wrong with it is found before a run is held.
            _check_classes(ledger, load(ledger.study.base.data))
        ahead: set[PlannedRun] = set()
        while not leave():
            # Anew each time: what had ended may be pending again, as where it is tried again.
            for run, before in zip(ledger.runs, ledger.states(), strict=True):
                # Others may have taken it, while this worker was at those before it.
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
            # Nothing to take: a search or a race may have more, here or elsewhere.
            asked_more = ask_next(ledger) or ledger.refreshed()
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


class KeptScenes:
    """Data sets by their configuration: each is built once, and the last few are kept."""

    def __init__(self) -> None:
        self._kept: dict[str, LesionDataset] = {}

    def __call__(self, config: DataConfig) -> LesionDataset:
        """The data set of a configuration."""
        key = config.model_dump_json()
        dataset = self._kept.pop(key) if key in self._kept else build_data(config)
        self._kept[key] = dataset  # the last one used is the last to go
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return dataset


def scenes_now(
    ledger: Ledger, where: Mapping[str, Path | str]
) -> Callable[[DataConfig], LesionDataset]:
    """What loads the scenes of a study, of which some files lie elsewhere now.

    Raises
    ------
    StudyError
        When its scenes have no such files, or designs have others.
    """
    load, described = KeptScenes(), ledger.study.base.data
    set_by_axes = {path for axis in ledger.study.axes for path in ledger.study.sets(axis)}
    for name in where:
        if set_by_axes & {"data", f"data.{name}"}:
            raise StudyError(
                f"designs of the study in {ledger.folder} differ in data.{name}: no one place is "
                "that of all of them. Put each where the study says"
            )
        if name not in places(described):
            files = ", ".join(f"data.{each}" for each in places(described)) or "no files at all"
            raise StudyError(
                f"the scenes of the study in {ledger.folder} ({described.kind}) have {files}, and "
                f"no data.{name}"
            )
    now = {name: Path(place) for name, place in where.items()}
    return lambda data: load(data.model_copy(update=now))


def _check_same(
    ledger: Ledger, config: RunConfig, runs: Sequence[PlannedRun], scenes: LesionDataset
) -> None:
    """Refuse scenes from elsewhere that are others than those of the runs that are there."""

    def refused(path: Path) -> NoInput:
        return NoInput(
            f"the scenes that are said to be those of the study hold something else than those "
            f"of the run in {path}: say where the same are (--data), or start a new study"
        )

    there = [*_made_of(ledger, config, runs)]
    if not there:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # training says it again
            parts = build_split(config, scenes).parts
    except ValueError as error:  # those of the runs could be divided
        raise refused(there[0][0]) from error
    ours = {name: part.fingerprint for name, part in parts.items()}
    for path, theirs in there:
        if any(theirs.get(name, own) != own for name, own in ours.items()):
            raise refused(path)


def _made_of(
    ledger: Ledger, config: RunConfig, runs: Sequence[PlannedRun]
) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Digests of the parts that some runs have begun with, and those of one that is done."""
    for folder in (RunFolder(ledger.path(run)) for run in runs):
        if folder.has_checkpoint():
            yield folder.path, folder.load_checkpoint()[1].get("identity", {})
    for run, state in zip(ledger.runs, ledger.states(), strict=True):
        other = ledger.config(run) if state == "done" else None
        if other is not None and (other.data, other.split) == (config.data, config.split):
            yield ledger.path(run), ledger.result(run).get("scenes", {})
            return


def _train_ahead(
    ledger: Ledger,
    runs: Sequence[PlannedRun],
    load: Callable[[DataConfig], LesionDataset],
    device: torch.device,
    leave: Callable[[], bool],
    *,
    moved: bool,
) -> None:
    """Train several runs at once, if they can be; each is tested, or fails, on its own."""
    if len(runs) < 2 or leave():
        return
    try:
        config = ledger.config(runs[0])
        for run in runs:
            check_files(ledger.config(run), RunFolder(ledger.path(run)))

        def taken(data: DataConfig) -> LesionDataset:
            scenes = loaded(load, data)
            if moved:
                _check_same(ledger, config, runs, scenes)
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
    """Take a run, unless somebody else is faster."""
    if leave():
        return "stopped"
    config = ledger.config(run)
    try:
        with hold(ledger.path(run)) as folder:
            if is_done(folder.path) or (folder.path / FAILURE_FILE).exists():
                return "passed"  # and somebody else was
            started = False
            try:
                began = time.monotonic()
                with _named(ledger, [run]):
                    # A worker without scenes has begun nothing.
                    scenes = loaded(load, config.data)
                    _check_classes(ledger, scenes)
                    check_files(config, folder)
                    if moved:
                        _check_same(ledger, config, [run], scenes)
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
                _check_there(ledger)  # else it is no fault of the run
                folder.fail(error)
                return "failed"
            return "done" if done else "stopped"
    except RunLocked:
        return "passed"


@contextmanager
def _named(ledger: Ledger, runs: Sequence[PlannedRun]) -> Iterator[None]:
    """Let each warning meanwhile say of which runs it is: of many, nobody could tell."""
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

    # No `catch_warnings`: it would let what all runs say alike be said again by each.
    warnings.showwarning = named
    try:
        yield
    finally:
        warnings.showwarning = show


def _check_there(ledger: Ledger) -> None:
    """Refuse to go on where the study was: that would make a second one, without its file."""
    if not (ledger.folder / STUDY_FILE).exists():
        raise StudyError(
            f"the study is no longer in {ledger.folder}: it was moved or deleted while a worker "
            "was at it. Move it while nobody works on it, and start the workers where it is now"
        )


def _check_classes(ledger: Ledger, scenes: LesionDataset) -> None:
    """Refuse a study that is judged by a class which its scenes do not have."""
    try:
        check_classes(ledger.study.plan, scenes.classes)
    except ValueError as error:
        raise StudyError(f"{error}. Describe the study anew") from None


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
        Of the study.
    workers : int
        Processes; on a CPU, one for each core.
    device : str
        Where each of them trains.
    threads : int
        Of each process: several processes of one thread are faster than one of several.
    together : int
        Runs that each of them trains at once, as in :func:`work`.
    executor : concurrent.futures.Executor, optional
        What starts the workers, here or on other machines that share the folder; by default a new
        process for each. It is left open.
    progress : bool
        Show how far the study has come.
    warn : bool
        Let the workers warn of what they build and train.
    poll : float
        Seconds between two looks at the folder.
    data : mapping, optional
        Where the files of the scenes lie now, as in :func:`work`; seen from each worker.

    Returns
    -------
    Tally
        Of the runs; some are pending after a request to stop.

    Raises
    ------
    ValueError
        For fewer than one worker, thread or run at once.
    WorkerLost
        When workers are lost again and again, and no run ends in between.
    StudyError, OSError, CheckpointError
        What a worker could not go on with.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"a study needs at least one worker and thread: {workers}, {threads}")
    if together < 1:
        raise ValueError(f"a worker trains one run at once, or more, not {together}")
    ledger = open_study(folder)
    check_search(ledger.study)
    # Where a link leads here is of no use to other machines.
    now = {name: str(Path(place).absolute()) for name, place in (data or {}).items()}
    scenes_now(ledger, now)  # refuses what no worker could load
    if executor is None:
        usable_device(device)  # elsewhere it is not known here
    own = ProcessEach() if executor is None else None
    pool: Executor = own or executor  # pyright: ignore[reportAssignmentType]
    place = str(ledger.folder.absolute())  # others may be elsewhere in the tree

    def start() -> Future[Worked]:
        return pool.submit(_worker, place, device, threads, together, poll, warn, now)

    try:
        with graceful_stop(notice=_STOPPING if progress else None) as asked:
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
    """What a process of its own does: the threads of torch are its to set."""
    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.showwarning = _say
        if not warn:
            warnings.simplefilter("ignore")
        return work(folder, device=device, together=together, poll=poll, data=data)


def _say(message: Warning | str, *_: object) -> None:
    """Warn as the command line does: where in the library it was said is of no use to a user."""
    print(f"lens2label: warning: {message}", file=sys.stderr)
