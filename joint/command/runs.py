"""``lens2label runs``: run folders, and how far they have come."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.record import print_json
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import RunSummary, list_runs
from joint.train.listen import retell, tensorboard_writer

__all__ = ["RunsOptions", "main"]


@dataclass(frozen=True)
class RunsOptions:
    """List the run folders in a folder, and their progress.

    done: there is a result; running: a process holds the folder; failed: why; interrupted:
    lens2label train --output FOLDER --resume continues it. For example:

        lens2label runs runs
        lens2label runs studies/edge/runs --tensorboard curves
    """

    root: Annotated[Path, tyro.conf.Positional]
    """Folder of the run folders, or one of them."""
    tensorboard: Path | None = None
    """Also write the epochs of each run so far for TensorBoard, into a folder of its name in this
    one. Needs pip install "lens2label[tensorboard]"."""
    json: bool = False
    """Print JSON instead of a table."""


def main(arguments: Sequence[str]) -> int:
    """List run folders; returns the exit status."""
    options = tyro.cli(RunsOptions, args=arguments, prog="lens2label runs")
    runs = list_runs(options.root)
    if options.tensorboard is not None:
        for run in runs:
            _log_elsewhere(run.path, options.tensorboard / run.path.absolute().name)
    if options.json:
        print_json(runs)
    elif runs:
        width = max(len(run.path.name) for run in runs)
        print("\n".join(_line(run, width) for run in runs))
    else:
        print(f"no run folder in {options.root}")
    return 0


def _log_elsewhere(run: Path, folder: Path) -> None:
    """Write the epochs of a run so far for TensorBoard, leaving the run folder alone."""
    with tensorboard_writer(folder) as log:
        try:
            retell(run, [log])
        except CheckpointError as error:  # the others can be read
            print(f"lens2label: {error}", file=sys.stderr)


def _line(run: RunSummary, width: int) -> str:
    epochs = f"{run.epochs}/{'?' if run.of is None else run.of}"
    value = "" if run.latest is None else f"{run.monitor} {run.latest:.4f}"
    note = f"  ({run.note})" if run.note else ""
    return f"{run.path.name:<{width}}  {run.state:<11}  {epochs:>9} epochs  {value}{note}".rstrip()
