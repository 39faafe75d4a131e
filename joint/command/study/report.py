"""``lens2label study report``: results of the runs, judged by the plan."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.command.options import check_file, check_page
from joint.report.figures import FigureFormat, figures_in
from joint.saved.checkpoint import check_writable, write_atomically
from joint.settings import OptionError
from joint.study.findings.report import report
from joint.study.ledger import RUNS_FOLDER, without_weights
from joint.study.page.whole import study_html, write_study_html
from joint.study.store import open_study

from .by_chance import tell_chance

__all__ = ["ReportOptions", "main"]


@dataclass(frozen=True)
class ReportOptions:
    """Print the results of a study, judged by the plan that was fixed before the first run.

    For example:

        lens2label study report studies/edge --json
        lens2label study report studies/edge --html edge.html
        lens2label study report studies/edge --figures plots --figure-format svg
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    metric: str | None = None
    """Metric to compare; by default that of the plan."""
    html: Path | None = None
    """Also write a page with figures to this file."""
    figures: Path | None = None
    """Also write each figure of that page to a file in this folder, for slides and print."""
    figure_format: FigureFormat = "pdf"
    """File format of these figures."""
    csv: Path | None = None
    """Also write a row for each design to this file."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print JSON instead of text."""

    def check(self) -> None:
        """Refuse a folder for a file, and a page that is no HTML, by an OptionError.

        By a CheckpointError, a file that cannot be written.
        """
        check_file("--csv", self.csv)
        check_file("--html", self.html)
        check_page("--html", self.html)
        if self.figures is not None:
            if self.figures.is_file():
                raise OptionError(f"--figures: {self.figures} is a file, name a folder")
            check_writable(self.figures / "figure")


def main(arguments: Sequence[str]) -> int:
    """Print the results; returns the exit status."""
    options = tyro.cli(ReportOptions, args=arguments, prog="lens2label study report")
    options.check()
    ledger = open_study(options.folder)
    found = report(ledger, metric=options.metric)
    if options.json or not options.quiet:
        print(found.to_json() if options.json else found)
    if not (options.json or options.quiet):
        tell_chance(ledger)
    gone = without_weights(ledger)
    if gone and not (options.json or options.quiet):
        print(
            f"\n{gone} finished runs no longer have weights; this report does not need them. "
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
    return 0
