"""``lens2label report``: a run as a page, or several side by side."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from joint.report import figures_in, write_report
from joint.saved.checkpoint import CheckpointError
from joint.study import StudyError, open_study
from joint.study.space import levels_shown

from .options import RESAMPLES, check_least, check_run_folder

__all__ = ["ReportOptions", "main"]


@dataclass(frozen=True)
class ReportOptions:
    """Write one HTML page of a trained run, or of several side by side.

    The page is one file with its pictures in it; it needs no network and runs no script. It holds
    pictures of the data set, and names of pictures and lesions: pass it on only where they may be.
    For example:

        lens2label report runs/plain runs/edge --output report.html
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders of lens2label train that are done; each is compared with the first."""
    output: Path = Path("report.html")
    """File to write; one that is there is replaced."""
    figures: Path | None = None
    """Also write each figure of the page to a file in this folder, for slides and print."""
    figure_format: Literal["pdf", "svg", "png"] = "pdf"
    """Of these files."""
    quick: bool = False
    """Leave out what evaluates the system many times: where accuracy is lost, robustness, optimal
    images, what can be told of the class at each plane, lesions at other contrasts."""
    pictures: int = 500
    """Measure contrast, rate by region, costs, losses and robustness on at most so many pictures
    of the test part; the classification is of all of them."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of the lesions, for the intervals."""
    batch_size: int = 64
    """Pictures in one pass."""
    device: str = "cpu"
    """Where to compute."""
    quiet: bool = False
    """Print nothing but errors."""

    def check(self) -> None:
        """Refuse numbers that are out of range, by an OptionError."""
        check_least(self, pictures=1, resamples=1, batch_size=1)


def main(arguments: Sequence[str]) -> int:
    """Write a page; returns the exit status."""
    options = tyro.cli(ReportOptions, args=arguments, prog="lens2label report")
    options.check()
    for run in options.runs:
        check_run_folder(run)
    folder = options.figures
    also = figures_in(folder, ending=options.figure_format) if folder else nullcontext()
    with also:
        write_report(
            options.runs,
            options.output,
            names=_names_of(options.runs),
            quick=options.quick,
            pictures=options.pictures,
            resamples=options.resamples,
            batch_size=options.batch_size,
            device=options.device,
            progress=not options.quiet,
        )
    if not options.quiet:
        print(f"wrote {options.output}" + (f", and its figures to {folder}" if folder else ""))
    return 0


def _names_of(runs: Sequence[Path]) -> list[str]:
    """What run folders are called: those of a study, named by digests, by their designs."""
    places = [run.resolve() for run in runs]
    told: dict[Path, str] = {}
    for folder in {place.parent.parent for place in places}:
        # There is none, or it is damaged: the runs are whole.
        with suppress(StudyError, CheckpointError):
            study = open_study(folder)
            for run in study.planned:
                design = levels_shown(study.designs[run.design]) or f"design {run.design}"
                told[study.path(run)] = f"{design}, seed {run.seed}"
    return [told.get(place, place.name) for place in places]
