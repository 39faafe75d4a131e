"""``lens2label study``: what its commands are told, and what they do."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.checkpoint import write_atomically
from joint.evaluate import usable_device

from .report import report
from .space import load_study
from .store import create_study, open_study
from .table import rows, to_csv, to_json, to_text
from .work import run_study, work

__all__ = ["main"]

_USAGE = """usage: lens2label study COMMAND [OPTIONS]

commands:
  run      train every design of a study that is not done yet
  work     join a study as one more worker, on this machine or another
  list     a row for each run: its design, its state, what it measured
  report   designs with intervals, the comparisons that were planned, the Pareto front

lens2label study COMMAND --help explains the options."""


@dataclass(frozen=True)
class RunOptions:
    """Train every design of a study; what is done already is not trained again.

    Example:

        lens2label study run edge.toml --output studies/edge --workers 2
    """

    study: Annotated[Path, tyro.conf.Positional]
    """The study: a .toml or .json file."""
    output: Path
    """Folder of the ledger; the same study there goes on."""
    workers: int = 1
    """Processes that train side by side."""
    threads: int = 1
    """Threads of each."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    retry_failed: bool = False
    """Also try again what failed before."""
    quiet: bool = False
    """Print nothing but errors."""


@dataclass(frozen=True)
class WorkOptions:
    """Join a study as one more worker; any number of them share its folder."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    device: str = "cpu"
    """Where to train."""


@dataclass(frozen=True)
class ListOptions:
    """Print a row for each run."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    csv: Path | None = None
    """Write the rows to this file too."""
    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class ReportOptions:
    """Say what the runs show, as planned before they were made."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    metric: str | None = None
    """What is compared; that of the plan by default."""
    json: bool = False
    """Print JSON instead of text."""


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands; returns the exit status, 2 for an unknown one."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command not in _COMMANDS:
        asked = command in ("-h", "--help")
        print(_USAGE, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    _COMMANDS[command](rest)
    return 0


def _run(arguments: Sequence[str]) -> None:
    options = tyro.cli(RunOptions, args=arguments, prog="lens2label study run")
    usable_device(options.device)  # before anything is written
    ledger = create_study(load_study(options.study), options.output)
    if options.retry_failed:
        ledger.reset_failed()
    run_study(
        options.output,
        workers=options.workers,
        threads=options.threads,
        device=options.device,
        progress=not options.quiet,
    )
    if not options.quiet:
        print(report(ledger))


def _work(arguments: Sequence[str]) -> None:
    options = tyro.cli(WorkOptions, args=arguments, prog="lens2label study work")
    worked = work(options.folder, device=options.device)
    print(f"{worked.done} done, {worked.failed} failed")


def _list(arguments: Sequence[str]) -> None:
    options = tyro.cli(ListOptions, args=arguments, prog="lens2label study list")
    table = rows(open_study(options.folder))
    if options.csv is not None:
        write_atomically(options.csv, to_csv(table).encode())
    print(to_json(table) if options.json else to_text(table))


def _report(arguments: Sequence[str]) -> None:
    options = tyro.cli(ReportOptions, args=arguments, prog="lens2label study report")
    found = report(open_study(options.folder), metric=options.metric)
    print(found.to_json() if options.json else found)


_COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "run": _run,
    "work": _work,
    "list": _list,
    "report": _report,
}
