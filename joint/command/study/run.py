"""``lens2label study run``: train every design of a study, or show its plan."""

import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from joint.command.options import check_least
from joint.device import usable_device
from joint.settings import ConfigError, OptionError
from joint.study.create import create_study
from joint.study.findings.report import report
from joint.study.ledger import Ledger
from joint.study.process_pool import WorkerLost
from joint.study.ray_pool import RayEach
from joint.study.rehearsal import rehearse
from joint.study.sampler import Search
from joint.study.search import check_search
from joint.study.space import levels_shown, load_study
from joint.study.store import STUDY_FILE, open_study, refreshed
from joint.study.work import run_study

from .moved import Moved

__all__ = ["RunOptions", "main"]


@dataclass(frozen=True)
class RunOptions(Moved):
    """Train every design of a study; finished runs are not trained again.

    For example:

        lens2label study run edge.toml --dry-run

        lens2label study run edge.toml --output studies/edge --workers 2

    Eight runs side by side on a GPU:

        lens2label study run studies/edge --executor ray --gpus-per-run 0.125 --workers 8
    """

    study: Annotated[Path, tyro.conf.Positional]
    """The study: a .toml or .json file, or the folder of its ledger to continue."""
    output: Path | None = None
    """Folder of the ledger; if it holds the same study, that continues."""
    earlier: Path | None = None
    """Folder of another study: runs that both studies have and that are done there are copied
    before the first run, so that more levels or seeds need only their own runs."""
    dry_run: bool = False
    """Check the study, pass two grey pictures through each design, print the designs and what the
    plan compares and requires, and write nothing."""
    workers: int = 1
    """Number of workers; each trains one run at a time, or several with --together."""
    threads: int = 1
    """Threads of each worker."""
    together: int = 1
    """Runs that each worker trains at once, as an ensemble, which uses a GPU better for small
    networks."""
    device: str | None = None
    """Where to train: cpu, cuda, cuda:1, ...; by default cpu, or cuda if each run holds a GPU."""
    executor: Literal["process", "ray"] = "process"
    """How workers start: as processes of this machine, or on a Ray cluster that sees the folder."""
    ray_address: str | None = None
    """Address of the cluster, such as auto; by default a new one on this machine."""
    cpus_per_run: float = 1.0
    """Cores of the cluster that each run holds."""
    gpus_per_run: float = 0.0
    """GPUs of the cluster that each run holds; 0.125 puts eight on one."""
    retry_failed: bool = False
    """Also retry runs that failed before."""
    quiet: bool = False
    """Print nothing but errors."""

    def check(self) -> None:
        """Refuse options with which no worker can start, by an OptionError.

        By a ConfigError, options of a cluster without one.
        """
        check_least(self, workers=1, threads=1, together=1)
        of_cluster = {
            "--ray-address": self.ray_address is not None,
            "--cpus-per-run": self.cpus_per_run != 1,
            "--gpus-per-run": self.gpus_per_run != 0,
        }
        for name, given in of_cluster.items():
            if given and self.executor == "process":
                raise ConfigError(
                    f"{name} applies to a Ray cluster only: add --executor ray, or leave it out"
                )


def main(arguments: Sequence[str]) -> int:
    """Train every design, or show the plan; returns the exit status."""
    options = tyro.cli(RunOptions, args=arguments, prog="lens2label study run")
    if options.dry_run:
        with warnings.catch_warnings():
            if options.quiet:
                warnings.simplefilter("ignore")
            _show_plan(options)
        return 0
    options.check()
    device = options.device or ("cuda" if options.gpus_per_run else "cpu")
    if options.executor == "process":
        usable_device(device)  # before anything is written
    with warnings.catch_warnings():
        if options.quiet:
            warnings.simplefilter("ignore")
        ledger = _ledger(options)
    if options.retry_failed:
        ledger.reset_failed()
    try:
        with _pool(options) as pool:
            run_study(
                ledger.folder,
                workers=options.workers,
                threads=options.threads,
                together=options.together,
                device=device,
                executor=pool,
                progress=not options.quiet,
                warn=not options.quiet,
                data=options.where(ledger),
            )
    except WorkerLost as error:
        print(f"lens2label: {error}", file=sys.stderr)
        return 1
    ledger = refreshed(ledger)
    tally = ledger.tally()
    if not options.quiet:
        print(report(ledger))
        if left := tally.total - tally.finished:
            print(
                f"stopped, {left} runs pending; to continue: lens2label study run {ledger.folder}"
            )
    return int(tally.failed == tally.total)


def _ledger(options: RunOptions) -> Ledger:
    """The study to run: written now, or there already."""
    if options.study.is_dir():
        ledger = open_study(options.study)
        if options.output not in (None, options.study):
            raise ConfigError(
                f"{options.study} is the ledger of a study and continues there: leave out --output"
            )
        if options.earlier is not None:
            raise ConfigError(
                f"{options.study} is the ledger of a study, which is fixed: --earlier applies only "
                "to a new study, from a study file"
            )
        return ledger
    if options.output is None:
        raise ConfigError("give --output, the folder of the ledger")
    if options.output.is_file():
        raise OptionError(f"--output: {options.output} is a file, name a folder")
    study = load_study(options.study)
    check_search(study)
    return create_study(study, options.output, earlier=options.earlier)


def _show_plan(options: RunOptions) -> None:
    """Print what a study file asks for, checked as before its first run."""
    if options.study.is_dir():
        open_study(options.study)  # refuses a folder that is no ledger
        raise ConfigError(
            f"{options.study} is the ledger of a study, not a study file: lens2label study watch "
            "--once shows its progress"
        )
    study = load_study(options.study)
    check_search(study)
    if options.output is not None and (options.output / STUDY_FILE).exists():
        ledger = create_study(study, options.output)  # refuses if another study is there
    else:
        with tempfile.TemporaryDirectory() as folder:
            ledger = create_study(study, folder)
    configs = [study.config(design, study.seeds[0]) for design in ledger.designs]
    tried = rehearse(ledger.designs, configs)
    search = study.sampler if isinstance(study.sampler, Search) else None
    designs, seeds = search.count if search else len(ledger.designs), len(study.seeds)
    print(f"{designs} designs x {seeds} seeds: {_runs_wanted(ledger)}")
    if options.earlier is not None:
        there = replace(ledger, folder=open_study(options.earlier).folder)
        known = (there if search else refreshed(there)).tally().done
        print(f"of which {known} are done in {options.earlier}")
    first = " in the first round of the search" if designs > len(ledger.designs) else ""
    print(f"\ndesigns{first}:")
    for number, design in enumerate(ledger.designs):
        print(f"  {number}: {levels_shown(design)}")
    if tried:
        print(f"\n{tried} of these were built and tried on two grey pictures")
    pairs = ledger.pairs()
    if pairs:
        print(f"\nthe plan compares, by {study.plan.metric}:")
        for pair in pairs:
            print(f"  {pair.name}")
    if study.plan.requirements:
        print("\nthe plan requires of a design that is good enough:")
        for told in study.plan.requirements.told(study.plan.metric):
            print(f"  {told}")


def _runs_wanted(ledger: Ledger) -> str:
    """Number of runs in total; for a race, on how many seeds."""
    race, seeds = ledger.study.race, len(ledger.study.seeds)
    if race is None:
        return f"{ledger.wanted} runs"
    sizes = race.sizes(len(ledger.designs), seeds)
    told = ", ".join(f"{designs} have {rung}" for rung, designs in sizes.items())
    return (
        f"at most {len(ledger.planned)} runs, and {ledger.wanted} in a race ({told}; more where "
        "some are equal)"
    )


@contextmanager
def _pool(options: RunOptions) -> Iterator[Executor | None]:
    if options.executor == "process":
        yield None
        return
    pool = RayEach(options.ray_address, cpus=options.cpus_per_run, gpus=options.gpus_per_run)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
