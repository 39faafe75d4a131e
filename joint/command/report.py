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

from .options import RESAMPLES, check_least, check_page, check_run_folder

__all__ = ["ReportOptions", "main"]


@dataclass(frozen=True)
class ReportOptions:
    """Write one HTML page of a trained run, or of several side by side.

    The page is one file with its pictures in it; it needs no network and runs no script. It holds
    pictures of the data set, and names of pictures and lesions: share it only where these are
    allowed.
    For example:

        lens2label report runs/plain runs/edge --output report.html
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Finished run folders of lens2label train; each is compared with the first."""
    output: Path = Path("report.html")
    """File to write, an .html; an existing one is replaced."""
    figures: Path | None = None
    """Also write each figure of the page to a file in this folder, for slides and print."""
    figure_format: Literal["pdf", "svg", "png"] = "pdf"
    """File format of these figures."""
    quick: bool = False
    """Leave out the parts that evaluate the system many times: where accuracy is lost, robustness,
    optimal images, information about the class at each plane, lesions at other contrasts."""
    pictures: int = 500
    """Largest number of pictures of the test part for contrast, rate by region, costs, losses and
    robustness; the classification uses all of them."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of the lesions, for the intervals."""
    batch_size: int = 64
    """Pictures per forward pass."""
    device: str = "cpu"
    """Device to compute on."""
    quiet: bool = False
    """Print nothing but errors."""

    def check(self) -> None:
        """Refuse numbers that are out of range, and a file that is no page, by an OptionError."""
        check_least(self, pictures=1, resamples=1, batch_size=1)
        check_page("--output", self.output)


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
    """Names of run folders; those of a study, whose folders are digests, by their designs."""
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
