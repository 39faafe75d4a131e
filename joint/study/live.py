"""Progress of a study and its remaining time, from the files of its runs, on any machine.

Durations are recorded by a worker, or are differences between times of files written by one
process, so the clocks of workers need not agree.
"""

import contextlib
import json
import math
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, final

from joint.cells import aligned
from joint.parse import parse_json
from joint.record import as_json
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import CONFIG_FILE, HISTORY_FILE, RESULT_FILE, read_history

from .ledger import ATTEMPTS_FILE, Ledger, PlannedRun, PlannedRunState, Tally
from .space import levels_shown
from .store import open_study, refreshed

__all__ = ["Board", "Progress", "RunProgress", "progress", "watch"]

_SAMPLE = 24  # finished runs from which the duration of others is estimated


@final
@dataclass(frozen=True)
class RunProgress:
    """A run that a worker is training."""

    digest: str
    design: int
    seed: int
    epochs: int
    """Epochs that have ended."""
    of: int | None
    """Epochs in total; None if its configuration cannot be read."""
    images_per_second: float | None
    """Training speed in the last epoch."""
    seconds_left: float | None
    """Seconds left for the run; None while unknown."""


@final
@dataclass(frozen=True)
class Progress:
    """Progress of a study."""

    name: str
    tally: Tally
    running: tuple[RunProgress, ...]
    """Each run that a worker holds."""
    seconds_left: float | None
    """Seconds left for the study, with the present number of workers; None while unknown."""

    def __str__(self) -> str:
        tally, left = self.tally, ""
        if self.seconds_left is not None:
            left = f"; about {_duration(self.seconds_left)} left"
        return (
            f"{tally.finished}/{tally.total} runs ended ({tally.failed} failed), "
            f"{tally.running} running, {tally.pending} to go{left}"
        )

    def table(self, ledger: Ledger) -> list[str]:
        """Text lines for ``ledger``: the whole study, and a row for each running run."""
        lines = [f"{self.name}: {self}"]
        if self.running:
            head = ("run", "design", "seed", "epoch", "images/s", "left")
            lines += aligned([head, *(_cells(going, ledger) for going in self.running)])
        return lines

    def idle(self, folder: Path | str) -> list[str]:
        """A line on how to continue the study in ``folder``, if nobody works on it."""
        if self.tally.running or not self.tally.pending:
            return []
        return [f"nobody is working on it; to continue: lens2label study run {folder}"]

    def to_json(self) -> str:
        """All fields in one line of JSON."""
        return json.dumps(as_json(vars(self)), allow_nan=False)


def progress(ledger: Ledger) -> Progress:
    """Determine the progress of a study once.

    Parameters
    ----------
    ledger : Ledger
        The study; for a search, as of its last :func:`refreshed`.
    """
    states = ledger.states()
    counts = {state: states.count(state) for state in ("running", "done", "failed")}
    tally = Tally(pending=ledger.wanted - sum(counts.values()), **counts)
    own = [run for run, state in zip(ledger.runs, states, strict=True) if state == "running"]
    pace = _pace(ledger, states)
    going = tuple(_going(ledger, run, pace) for run in own)
    left = None
    known = [one.seconds_left for one in going if one.seconds_left is not None]
    if pace is not None and len(known) == len(going) > 0:
        left = (sum(known) + pace * _epochs_to_go(ledger, states, tally)) / len(going)
    elif tally.finished == tally.total:
        left = 0.0
    return Progress(ledger.study.name, tally, going, left)


def _epochs_to_go(ledger: Ledger, states: Sequence[PlannedRunState], tally: Tally) -> float:
    """Epochs of all runs not yet begun; for designs still to be chosen, those of the base."""
    waits = [run for run, state in zip(ledger.runs, states, strict=True) if state == "pending"]
    unknown = (tally.pending - len(waits)) * ledger.study.base.training.epochs
    if not ledger.study.varies("training.epochs"):
        return unknown + len(waits) * ledger.study.base.training.epochs
    return unknown + sum(ledger.config(run).training.epochs for run in waits)


def _going(ledger: Ledger, run: PlannedRun, pace: float | None) -> RunProgress:
    path = ledger.path(run)
    ended, speed, of = 0, None, None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        of = int(parse_json((path / CONFIG_FILE).read_bytes())["training"]["epochs"])
    with contextlib.suppress(CheckpointError):
        records = read_history(path)
        ended, speed = len(records), records[-1].get("images_per_second") if records else None
    own = _seconds_an_epoch(path, HISTORY_FILE, ended) or pace
    left = None if own is None or of is None else max(0, of - ended) * own
    return RunProgress(run.digest, run.design, run.seed, ended, of, speed, left)


def _pace(ledger: Ledger, states: tuple[PlannedRunState, ...]) -> float | None:
    """Seconds per epoch, with the evaluation of a run shared by its epochs; None if unknown."""
    found = []
    order = [(run, state) for run, state in zip(ledger.runs, states, strict=True)]
    for run, state in reversed(order):
        if state not in ("done", "running") or len(found) == _SAMPLE:
            continue
        path = ledger.path(run)
        with contextlib.suppress(CheckpointError):
            until = RESULT_FILE if state == "done" else HISTORY_FILE
            found.append(_seconds_an_epoch(path, until, len(read_history(path))))
    known = [seconds for seconds in found if seconds is not None]
    return statistics.median(known) if known else None


def _seconds_an_epoch(path: Path, until: str, ended: int) -> float | None:
    """Mean over the epochs since the last start of a run; None before one has ended.

    For a finished run it is recorded by its worker, as a copy may have other file times.
    """
    try:
        start = path / ATTEMPTS_FILE
        last = parse_json(start.read_bytes().splitlines()[-1])
        began, seconds = last.get("epochs", 0), last.get("seconds")
        if seconds is None:
            seconds = (path / until).stat().st_mtime - start.stat().st_mtime
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    known = isinstance(seconds, int | float) and 0 < seconds < math.inf
    return seconds / (ended - began) if known and ended > began else None


def _cells(going: RunProgress, ledger: Ledger) -> tuple[str, ...]:
    return (
        going.digest,
        f"{going.design}: {levels_shown(ledger.designs[going.design])}",
        str(going.seed),
        f"{going.epochs}/{'?' if going.of is None else going.of}",
        "-" if going.images_per_second is None else f"{going.images_per_second:.0f}",
        "-" if going.seconds_left is None else _duration(going.seconds_left),
    )


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


# ------------------------------------------------------------------------------------------ shown


@final
class Board:
    """Display of progress: on a terminal a table that stays in place, elsewhere a line when a run
    has ended.
    """  # noqa: D205

    def __init__(self, ledger: Ledger, *, stream: TextIO | None = None, shown: bool = True) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = shown
        self._live = shown and self._stream.isatty()
        self._ended = ledger.tally().finished
        self._drawn = 0

    def show(self, ledger: Ledger) -> Tally:
        """Update the display; returns the tally."""
        if not self._shown:
            return ledger.tally()
        now = progress(ledger)
        if self._live:
            columns, height = shutil.get_terminal_size()
            lines = [line[: columns - 1] for line in now.table(ledger)[: height - 1]]
            # Move up to the start of the last drawing, and clear everything below.
            above = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
            self._stream.write(above + "".join(f"{line}\n" for line in lines))
            self._drawn = len(lines)
        elif now.tally.finished != self._ended:
            self._stream.write(f"{now}\n")
        self._ended = now.tally.finished
        self._stream.flush()
        return now.tally


def watch(
    folder: Path | str,
    *,
    every: float = 2.0,
    as_json: bool = False,
    stop: Callable[[], bool] | None = None,
    stream: TextIO | None = None,
) -> Tally:
    """Show the progress of a study until it has ended, whoever works on it.

    Parameters
    ----------
    folder : path
        Folder of the study.
    every : float
        Seconds between two updates.
    as_json : bool
        Write a line of JSON at each change, for a script; see :class:`Progress`.
    stop : callable, optional
        Called after each update; watching ends once it returns True.
    stream : text file, optional
        Output; by default standard output.

    Raises
    ------
    ValueError
        When ``every`` is not positive.
    StudyError
        When there is no study in the folder.
    """
    if not 0 < every < math.inf:
        raise ValueError(f"the time between two updates must be positive, not {every:g} s")
    out = sys.stdout if stream is None else stream
    ledger = open_study(folder)
    board, last = Board(ledger, stream=out), None
    if not as_json:
        now = progress(ledger)
        if not out.isatty():
            out.write(f"{now}\n")
        out.writelines(f"{line}\n" for line in now.idle(folder))
        out.flush()
    while True:
        if as_json:
            now = progress(ledger)
            tally = now.tally
            if now != last:
                out.write(f"{now.to_json()}\n")
                out.flush()
            last = now
        else:
            tally = board.show(ledger)
        if tally.finished == tally.total or (stop is not None and stop()):
            return tally
        time.sleep(every)
        ledger = refreshed(ledger)
