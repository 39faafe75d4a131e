"""``lens2label study check``: whether every file of a study is whole and in its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.record import print_json
from joint.study.check import check_study

__all__ = ["CheckOptions", "main"]


@dataclass(frozen=True)
class CheckOptions:
    """Read every file of a study once, without the scenes, and list those that are not whole.

    A file or run is listed if it is damaged, missing, of another run or configuration, of no run,
    or begun and not held by any worker, each with what to do about it. Nothing is changed. Of
    weights, only the header is read. The exit status is 0 if all is whole, otherwise 1.
    For example:

        lens2label study check studies/edge
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    json: bool = False
    """Print JSON instead of text."""


def main(arguments: Sequence[str]) -> int:
    """Check the files; returns the exit status."""
    options = tyro.cli(CheckOptions, args=arguments, prog="lens2label study check")
    found = check_study(options.folder)
    (print_json if options.json else print)(found)
    return 0 if found.whole else 1
