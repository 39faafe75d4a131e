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
    """Read every file of a study once, without the scenes, and name what is not whole.

    That is what is damaged, missing, of another run or of another configuration, begun and held by
    nobody, or of no run; each with what to do about it. Nothing is changed. Of weights the head is
    read. The exit status is 0 when all is whole, and 1 when it is not.
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
