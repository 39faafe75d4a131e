"""``lens2label study work``: one more worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.study.store import open_study
from joint.study.work import work

from .moved import Moved

__all__ = ["WorkOptions", "main"]


@dataclass(frozen=True)
class WorkOptions(Moved):
    """Join a study as one more worker; any number of them share its folder.

    For example:

        lens2label study work studies/edge --device cuda:1
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    device: str = "cpu"
    """Where to train."""
    together: int = 1
    """Runs to train at once, as an ensemble, if their scenes and networks are the same."""


def main(arguments: Sequence[str]) -> int:
    """Work on a study until there is nothing to do; returns the exit status."""
    options = tyro.cli(WorkOptions, args=arguments, prog="lens2label study work")
    worked = work(
        options.folder,
        device=options.device,
        together=options.together,
        data=options.where(open_study(options.folder)),
    )
    print(f"{worked.done} done, {worked.failed} failed")
    if worked.stopped:
        print(f"stopped and saved; to continue: lens2label study work {options.folder}")
    return 0
