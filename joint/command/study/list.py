"""``lens2label study list``: a row for each run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.command.options import check_file
from joint.saved.checkpoint import write_atomically
from joint.study.findings.table import rows, to_csv, to_json, to_text
from joint.study.race_decision import race_note
from joint.study.store import open_study

from .by_chance import tell_chance

__all__ = ["ListOptions", "main"]


@dataclass(frozen=True)
class ListOptions:
    """Print a row for each run: its design, its state, and the metric of the plan.

    --csv and --json give all results. For example:

        lens2label study list studies/edge --csv runs.csv
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    csv: Path | None = None
    """Also write the rows to this file."""
    json: bool = False
    """Print JSON instead of a table."""

    def check(self) -> None:
        """Refuse a folder for a file, by an OptionError.

        By a CheckpointError, a file that cannot be written.
        """
        check_file("--csv", self.csv)


def main(arguments: Sequence[str]) -> int:
    """Print a row for each run; returns the exit status."""
    options = tyro.cli(ListOptions, args=arguments, prog="lens2label study list")
    options.check()
    ledger = open_study(options.folder)
    table = rows(ledger)
    if options.csv is not None:
        write_atomically(options.csv, to_csv(table).encode())
    print(to_json(table) if options.json else to_text(table, metric=ledger.study.plan.metric))
    if not options.json:
        tell_chance(ledger)
        if (told := race_note(ledger)) is not None:
            print(f"\n{told}")
    return 0
