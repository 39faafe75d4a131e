"""``lens2label study select``: the designs that meet requirements."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.command.options import check_figure, check_file, named_numbers
from joint.panel.look import no_formulas
from joint.saved.checkpoint import write_atomically
from joint.study.findings.selection import select_designs
from joint.study.page.charts import selection_figure
from joint.study.store import open_study

__all__ = ["SelectOptions", "main"]


@dataclass(frozen=True)
class SelectOptions:
    """Print which designs are shown to meet requirements, and which of those cost least.

    Requirements are bounds of metrics, also of one class, and of costs. A design must meet all of
    them, for other seeds and lesions as well: fix them before you look at results. By default they
    are those of the plan.
    For example:

        lens2label study select studies/light
        lens2label study select studies/light --at-least recall.mel=0.8 --at-most bpp=0.5
        lens2label study select studies/light --within 0.01
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    at_least: tuple[str, ...] = ()
    """Metrics or costs with their lower bounds: recall.mel=0.8."""
    at_most: tuple[str, ...] = ()
    """Metrics or costs with their upper bounds: bpp=0.5."""
    within: float | None = None
    """Largest distance of a design from the best of all, in the metric."""
    metric: str | None = None
    """Metric for --within; by default that of the plan."""
    figure: Path | None = None
    """Also draw the designs with the requirements to this file: .png, .pdf or .svg."""
    csv: Path | None = None
    """Also write a row for each design to this file."""
    json: bool = False
    """Print JSON instead of text."""

    def check(self) -> None:
        """Refuse a folder for a file, by an OptionError.

        By a CheckpointError, a file that cannot be written.
        """
        check_file("--csv", self.csv)
        check_figure("--figure", self.figure)


def main(arguments: Sequence[str]) -> int:
    """Print which designs are good enough; returns the exit status."""
    options = tyro.cli(SelectOptions, args=arguments, prog="lens2label study select")
    options.check()
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
    return 0
