"""``lens2label study``: what its commands are told, and what they do."""

import contextlib
import json
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from joint.checkpoint import check_writable, write_atomically
from joint.complete import places
from joint.device import usable_device
from joint.look import no_formulas
from joint.options import check_figure, check_file, named_numbers
from joint.point import AS_BUILT, every_point
from joint.report.figures import FigureFormat, figures_in
from joint.settings import ConfigError, OptionError

from .confirm import confirm
from .create import create_study
from .elsewhere import elsewhere
from .findings.atlas import atlas
from .findings.report import report
from .findings.selection import select_designs
from .findings.table import rows, to_csv, to_json, to_text
from .live import progress, watch
from .page.charts import selection_figure
from .page.whole import study_html, write_study_html
from .ray_pool import RayEach
from .rehearsal import rehearse
from .search import check_search
from .space import levels_shown, load_study
from .store import RUNS_FOLDER, STUDY_FILE, Ledger, open_study, without_weights
from .work import run_study, work

__all__ = ["main"]

_USAGE = """usage: lens2label study COMMAND [OPTIONS]

commands:
  run      train every design of a study that is not done yet
  work     join a study as one more worker, on this machine or another
  watch    how far it is, what is running, and how long it will take
  list     a row for each run: its design, its state, what it measured
  report   designs with intervals, the comparisons that were planned, the Pareto front
  select   the designs that are good enough, and the cheapest of them
  judge    the designs in other light, at other rates or distances, without training
  atlas    whether the seeds of each design have learned the same element
  confirm  write a study of the best design, or the cheapest good one, and a baseline, fresh seeds

lens2label study COMMAND --help explains the options."""


@dataclass(frozen=True, kw_only=True)
class _Moved:
    data: Path | None = None
    """Where the scenes are now, seen from here, if not where the study says: they are known by what
    they hold, as in train --resume, and the study stays as it is."""
    data_root: Annotated[Path | None, tyro.conf.arg(name="data.root")] = None
    """Likewise, the pictures of a table."""
    data_groups: Annotated[Path | None, tyro.conf.arg(name="data.groups")] = None
    """Likewise, the table of the groups of class folders."""
    data_duplicates: Annotated[Path | None, tyro.conf.arg(name="data.duplicates")] = None
    """Likewise, the table of the duplicates of HAM10000."""
    data_truth: Annotated[Path | None, tyro.conf.arg(name="data.truth")] = None
    """Likewise, the labels of an ISIC challenge."""
    data_metadata: Annotated[Path | None, tyro.conf.arg(name="data.metadata")] = None
    """Likewise, its metadata."""

    def where(self, ledger: Ledger) -> dict[str, Path]:
        """What is given, by the names of the settings."""
        there = places(ledger.study.base.data)
        # As in train: of a table, --data is the table itself.
        whole = next((name for name in ("table", "root", "path") if name in there), "root")
        given = {
            whole: self.data,
            **({} if self.data_root is None else {"root": self.data_root}),
            "groups": self.data_groups,
            "duplicates": self.data_duplicates,
            "truth": self.data_truth,
            "metadata": self.data_metadata,
        }
        return {name: place for name, place in given.items() if place is not None}


@dataclass(frozen=True)
class RunOptions(_Moved):
    """Train every design of a study; what is done already is not trained again.

    For example:

        lens2label study run edge.toml --dry-run

        lens2label study run edge.toml --output studies/edge --workers 2

    Eight side by side on a GPU:

        lens2label study run studies/edge --executor ray --gpus-per-run 0.125 --workers 8
    """

    study: Annotated[Path, tyro.conf.Positional]
    """The study: a .toml or .json file; or the folder of its ledger, to go on."""
    output: Path | None = None
    """Folder of the ledger; the same study there goes on."""
    earlier: Path | None = None
    """Folder of another study: the runs that both have, and that are done there, are copied before
    the first run, so that more levels or seeds cost their own runs alone."""
    dry_run: bool = False
    """Check the study, try each design on two grey pictures, print the designs and what the plan
    compares and requires, and write nothing."""
    workers: int = 1
    """Runs that are trained side by side."""
    threads: int = 1
    """Threads of each."""
    together: int = 1
    """Runs that each trains at once, as an ensemble: small nets keep a GPU busy so."""
    device: str | None = None
    """Where to train: cpu, cuda, cuda:1, ...; by default cpu, or cuda where a run holds a GPU."""
    executor: Literal["process", "ray"] = "process"
    """What starts the workers: processes of this machine, or a Ray cluster that sees the folder."""
    ray_address: str | None = None
    """Of the cluster, such as auto; by default a new one on this machine."""
    cpus_per_run: float = 1.0
    """Cores of the cluster that each run holds."""
    gpus_per_run: float = 0.0
    """GPUs of the cluster that each run holds; 0.125 puts eight on one."""
    retry_failed: bool = False
    """Also try again what failed before."""
    quiet: bool = False
    """Print nothing but errors."""


@dataclass(frozen=True)
class WorkOptions(_Moved):
    """Join a study as one more worker; any number of them share its folder.

    For example:

        lens2label study work studies/edge --device cuda:1
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    device: str = "cpu"
    """Where to train."""
    together: int = 1
    """Runs that it trains at once, as an ensemble, where their scenes and networks are alike."""


@dataclass(frozen=True)
class WatchOptions:
    """Show how far a study is until it has ended, whoever works on it.

    On a terminal the table stays in place; elsewhere a line is printed when something has ended.
    For example:

        lens2label study watch studies/edge
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    every: float = 2.0
    """Seconds between two looks."""
    once: bool = False
    """Look once, and leave."""
    json: bool = False
    """Print a line of JSON when something has changed."""


@dataclass(frozen=True)
class ConfirmOptions:
    """Write a study that tests the best design against a baseline on fresh seeds.

    The best is the one with the best mean of the plan's metric on the validation part, of those
    that meet what the plan requires, or may. The baseline is the first design by default; of a
    search, the best of its first round, or the second best; of a plan that requires a margin to the
    best of all, that one, unless it is the one to confirm. What is found by looking is lucky as
    well as good: only the new study may say "better", and which of the two are good enough; it
    requires the same.
    For example:

        lens2label study confirm studies/edge --seeds 6
        lens2label study confirm studies/light --cheapest photons
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger of the study that is over."""
    output: Path | None = None
    """Folder of the new ledger; by default beside the old one, with -confirm at its end."""
    seeds: int = 6
    """Fresh seeds; fewer than 6 cannot show anything."""
    design: int | None = None
    """Number of the design, if it is not to be the best."""
    cheapest: tuple[str, ...] | None = None
    """Take the design with the least of this cost, of those that meet what the plan requires,
    instead of the best; a study with one cost needs no name."""
    baseline: int | None = None
    """Number of the other one."""


@dataclass(frozen=True)
class ListOptions:
    """Print a row for each run: its design, its state, and the metric of the plan.

    All that was measured is in --csv and --json. For example:

        lens2label study list studies/edge --csv runs.csv
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    csv: Path | None = None
    """Write the rows to this file too."""
    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class ReportOptions:
    """Say what the runs show, as planned before they were made.

    For example:

        lens2label study report studies/edge --json
        lens2label study report studies/edge --html edge.html
        lens2label study report studies/edge --figures plots --figure-format svg
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    metric: str | None = None
    """What is compared; that of the plan by default."""
    html: Path | None = None
    """Write a page with figures to this file too."""
    figures: Path | None = None
    """Write each figure of that page to a file in this folder too, for slides and print."""
    figure_format: FigureFormat = "pdf"
    """Of these files."""
    csv: Path | None = None
    """Write a row for each design to this file too."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print JSON instead of text."""


@dataclass(frozen=True)
class SelectOptions:
    """Say which designs are shown to meet requirements, and which of those cost least.

    Bounds are of metrics, of one class too, and of costs. A design must meet all of them, on other
    seeds and lesions as well: fix them before you look. Without any, those of the plan.
    For example:

        lens2label study select studies/light
        lens2label study select studies/light --at-least recall.mel=0.8 --at-most bpp=0.5
        lens2label study select studies/light --within 0.01
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    at_least: tuple[str, ...] = ()
    """Metrics or costs, and the least that they may be: recall.mel=0.8."""
    at_most: tuple[str, ...] = ()
    """Metrics or costs, and the most that they may be: bpp=0.5."""
    within: float | None = None
    """How far a design may be behind the best of all, in the metric."""
    metric: str | None = None
    """Of --within; that of the plan by default."""
    figure: Path | None = None
    """Draw the designs beside what is required to this file too: .png, .pdf or .svg."""
    csv: Path | None = None
    """Write a row for each design to this file too."""
    json: bool = False
    """Print JSON instead of text."""


@dataclass(frozen=True)
class JudgeOptions(_Moved):
    """Judge the trained runs elsewhere: in other light, at other rates, distances, motion.

    A row for each design, a column for each point, with the bits of a codec there; and what the
    plan compares, at each of them. A design that lacks a point is left out there.
    For example:

        lens2label study judge studies/light --photons 30 300 3000
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    photons: tuple[float, ...] = ()
    """Light, photons/pixel."""
    quality: tuple[float, ...] = ()
    """Operating points of a codec that has several: 0 to levels - 1 of a learned one, 1 to 100 of
    JPEG, 0 to 100 of lossy WebP and AVIF; each at each light."""
    distance: tuple[float, ...] = ()
    """Metres from a lens to all scenes; each at each light and quality."""
    motion: tuple[float, ...] = ()
    """RMS distance by which scenes move behind a shutter, pixels; each at each of the others."""
    metric: str | None = None
    """What is compared; that of the plan by default."""
    batch_size: int = 64
    """Pictures in one pass."""
    device: str = "cpu"
    """Where to compute."""
    csv: Path | None = None
    """Write a row for each design at each point to this file too."""
    json: bool = False
    """Print JSON instead of text."""


@dataclass(frozen=True)
class AtlasOptions:
    """Compare the learned elements of the seeds of each design, and of the designs.

    Up to shift, sign and order, and turns where training turned its pictures; against what a
    shared start and chance make alike.
    For example:

        lens2label study atlas studies/edge --designs 0 3
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    designs: tuple[int, ...] | None = None
    """Numbers of some designs; by default all."""
    json: bool = False
    """Print JSON instead of text."""


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands.

    Returns
    -------
    int
        The exit status: 2 for an unknown command, 1 for a study of which every run failed.
    """
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command not in _COMMANDS:
        asked = command in ("-h", "--help")
        print(_USAGE, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    return _COMMANDS[command](rest) or 0


def _run(arguments: Sequence[str]) -> int:
    options = tyro.cli(RunOptions, args=arguments, prog="lens2label study run")
    if options.dry_run:
        with warnings.catch_warnings():
            if options.quiet:
                warnings.simplefilter("ignore")
            _show_plan(options)
        return 0
    _check_counts(options)
    device = options.device or ("cuda" if options.gpus_per_run else "cpu")
    if options.executor == "process":
        _check_alone(options)
        usable_device(device)  # before anything is written
    with warnings.catch_warnings():
        if options.quiet:
            warnings.simplefilter("ignore")
        ledger = _ledger(options)
    if options.retry_failed:
        ledger.reset_failed()
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
    ledger = ledger.refreshed()
    tally = ledger.tally()
    if not options.quiet:
        print(report(ledger))
        if left := tally.total - tally.finished:
            print(f"stopped with {left} runs to go: lens2label study run {ledger.folder}")
    return int(tally.failed == tally.total)


def _ledger(options: RunOptions) -> Ledger:
    """The study to run: written now, or there already."""
    if options.study.is_dir():
        if options.output not in (None, options.study):
            raise ConfigError(
                f"{options.study} is the ledger of a study: it goes on there, without --output"
            )
        if options.earlier is not None:
            raise ConfigError(
                f"{options.study} is the ledger of a study, which is fixed: --earlier belongs to "
                "a new one, of a study file"
            )
        return open_study(options.study)
    if options.output is None:
        raise ConfigError("give --output, the folder of the ledger")
    if options.output.is_file():
        raise OptionError(f"--output: {options.output} is a file, name a folder")
    study = load_study(options.study)
    check_search(study)
    return create_study(study, options.output, earlier=options.earlier)


def _show_plan(options: RunOptions) -> None:
    """What a study file asks for, checked as before its first run."""
    if options.study.is_dir():
        raise ConfigError(
            f"{options.study} is the ledger of a study: lens2label study watch --once says how far "
            "it is"
        )
    study = load_study(options.study)
    check_search(study)
    if options.output is not None and (options.output / STUDY_FILE).exists():
        ledger = create_study(study, options.output)  # refuses another study that is there
    else:
        with tempfile.TemporaryDirectory() as folder:
            ledger = create_study(study, folder)
    configs = [study.config(design, study.seeds[0]) for design in ledger.designs]
    tried = rehearse(ledger.designs, configs)
    designs, seeds = ledger.wanted // len(study.seeds), len(study.seeds)
    print(f"{designs} designs x {seeds} seeds: {ledger.wanted} runs")
    if options.earlier is not None:
        known = replace(ledger, folder=open_study(options.earlier).folder).tally().done
        print(f"of which {known} are done in {options.earlier}")
    first = "" if len(ledger.designs) == designs else " of the first round of the search"
    print(f"\ndesigns{first}:")
    for number, design in enumerate(ledger.designs):
        print(f"  {number}: {levels_shown(design)}")
    if tried:
        print(f"\n{tried} of these were built, and tried on two grey pictures")
    pairs = ledger.pairs()
    if pairs:
        print(f"\nthe plan compares, by {study.plan.metric}:")
        for pair in pairs:
            print(f"  {pair.name}")
    if study.plan.requirements:
        print("\nthe plan requires of a design that is good enough:")
        for told in study.plan.requirements.told(study.plan.metric):
            print(f"  {told}")


def _check_counts(options: RunOptions) -> None:
    """Refuse what no worker starts with, before anything is written."""
    for name in ("workers", "threads", "together"):
        if getattr(options, name) < 1:
            raise OptionError(f"--{name} must be at least 1, not {getattr(options, name)}")


def _check_alone(options: RunOptions) -> None:
    given = {
        "--ray-address": options.ray_address is not None,
        "--cpus-per-run": options.cpus_per_run != 1,
        "--gpus-per-run": options.gpus_per_run != 0,
    }
    for name in (name for name, there in given.items() if there):
        raise ConfigError(f"{name} belongs to a Ray cluster: add --executor ray, or leave it out")


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


def _work(arguments: Sequence[str]) -> None:
    options = tyro.cli(WorkOptions, args=arguments, prog="lens2label study work")
    worked = work(
        options.folder,
        device=options.device,
        together=options.together,
        data=options.where(open_study(options.folder)),
    )
    print(f"{worked.done} done, {worked.failed} failed")
    if worked.stopped:
        print(f"stopped and saved; to go on: lens2label study work {options.folder}")


def _watch(arguments: Sequence[str]) -> None:
    options = tyro.cli(WatchOptions, args=arguments, prog="lens2label study watch")
    if not 0 < options.every < math.inf:
        raise OptionError(f"--every must be positive and finite, in seconds, not {options.every:g}")
    if options.once:
        ledger = open_study(options.folder)
        now = progress(ledger)
        lines = [now.to_json()] if options.json else [*now.table(ledger), *now.idle(options.folder)]
        print("\n".join(lines))
        return
    with contextlib.suppress(KeyboardInterrupt):  # how one stops watching
        watch(options.folder, every=options.every, as_json=options.json)


def _confirm(arguments: Sequence[str]) -> None:
    options = tyro.cli(ConfirmOptions, args=arguments, prog="lens2label study confirm")
    old = options.folder
    beside = old if old.name not in ("", "..") else old.resolve()  # the folder that one is in
    new = options.output or beside.with_name(f"{old.resolve().name}-confirm")
    made = confirm(
        open_study(old),
        new,
        seeds=options.seeds,
        design=options.design,
        baseline=options.baseline,
        cheapest=_cost(options.cheapest),
    )
    print(f"{made.study.question}\nto find out: lens2label study run {new}")


def _cost(given: tuple[str, ...] | None) -> str | bool:
    """The one cost that is named, or whether it is the only one that there is."""
    if given and len(given) > 1:
        raise OptionError(f"--cheapest is of one cost, not of {', '.join(given)}")
    return given[0] if given else given is not None


def _list(arguments: Sequence[str]) -> None:
    options = tyro.cli(ListOptions, args=arguments, prog="lens2label study list")
    check_file("--csv", options.csv)
    ledger = open_study(options.folder)
    table = rows(ledger)
    if options.csv is not None:
        write_atomically(options.csv, to_csv(table).encode())
    print(to_json(table) if options.json else to_text(table, metric=ledger.study.plan.metric))
    if not options.json:
        _tell_chance(ledger)


def _tell_chance(ledger: Ledger) -> None:
    """Say which designs a search has drawn, as it was asked for them and had no answer."""
    drawn = ledger.by_chance()
    if drawn:
        print(
            f"\ndrawn by chance after the first round of the search, as nothing was "
            f"known, or no proposal was allowed: designs {', '.join(map(str, drawn))}"
        )


def _report(arguments: Sequence[str]) -> None:
    options = tyro.cli(ReportOptions, args=arguments, prog="lens2label study report")
    check_file("--csv", options.csv)
    check_file("--html", options.html)
    if options.figures is not None:
        if options.figures.is_file():
            raise OptionError(f"--figures: {options.figures} is a file, name a folder")
        check_writable(options.figures / "figure")
    ledger = open_study(options.folder)
    found = report(ledger, metric=options.metric)
    if options.json or not options.quiet:
        print(found.to_json() if options.json else found)
    if not (options.json or options.quiet):
        _tell_chance(ledger)
    gone = without_weights(ledger)
    if gone and not (options.json or options.quiet):
        print(
            f"\n{gone} of the runs that are done have no weights any more; this report needs none. "
            f"To train one again, delete its folder in {ledger.folder / RUNS_FOLDER}"
        )
    if options.csv is not None:
        write_atomically(options.csv, found.to_csv().encode())
    with ExitStack() as also:
        given = {"judged": found, "progress": not options.quiet}
        if options.figures is not None:
            also.enter_context(figures_in(options.figures, ending=options.figure_format))
        if options.html is not None:
            write_study_html(ledger, options.html, **given)
        elif options.figures is not None:
            study_html(ledger, **given)
    for written in filter(None, (options.html, options.figures)):
        if not (options.quiet or options.json):
            print(f"wrote {written}")


def _select(arguments: Sequence[str]) -> None:
    options = tyro.cli(SelectOptions, args=arguments, prog="lens2label study select")
    check_file("--csv", options.csv)
    check_figure("--figure", options.figure)
    found = select_designs(
        open_study(options.folder),
        at_least=named_numbers("--at-least", options.at_least, "recall.mel=0.8"),
        at_most=named_numbers("--at-most", options.at_most, "bpp=0.5"),
        within=options.within,
        metric=options.metric,
    )
    print(found.to_json() if options.json else found)
    if options.csv is not None:
        write_atomically(options.csv, found.to_csv().encode())
    if options.figure is not None:
        from joint.figure.file import save_figure  # noqa: PLC0415 - others start faster

        with no_formulas():
            save_figure(selection_figure(found), options.figure, dpi=150)


def _judge(arguments: Sequence[str]) -> None:
    options = tyro.cli(JudgeOptions, args=arguments, prog="lens2label study judge")
    if options.batch_size < 1:
        raise OptionError(f"--batch-size must be 1 or more, not {options.batch_size}")
    check_file("--csv", options.csv)
    points = every_point(options.photons, options.quality, options.distance, options.motion)
    if points == [AS_BUILT]:
        raise OptionError(
            "give at least one point, such as --photons 30 300; what the runs came to where they "
            "were tested says lens2label study report"
        )
    ledger = open_study(options.folder)
    found = elsewhere(
        ledger,
        points,
        metric=options.metric,
        device=options.device,
        batch_size=options.batch_size,
        data=options.where(ledger),
    )
    print(found.to_json() if options.json else found)
    if options.csv is not None:
        write_atomically(options.csv, found.to_csv().encode())


def _atlas(arguments: Sequence[str]) -> None:
    options = tyro.cli(AtlasOptions, args=arguments, prog="lens2label study atlas")
    found = atlas(open_study(options.folder), designs=options.designs)
    print(json.dumps(found.to_dict(), indent=1) if options.json else found)


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int | None]] = {
    "run": _run,
    "work": _work,
    "watch": _watch,
    "list": _list,
    "report": _report,
    "select": _select,
    "judge": _judge,
    "atlas": _atlas,
    "confirm": _confirm,
}
