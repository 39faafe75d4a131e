"""``lens2label study watch``: progress of a study."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.settings import OptionError
from joint.study.live import progress, watch
from joint.study.store import open_study

__all__ = ["WatchOptions", "main"]


@dataclass(frozen=True)
class WatchOptions:
    """Show the progress of a study until it has ended, whoever works on it.

    On a terminal the table is updated in place; otherwise a line is printed when a run has ended.
    For example:

        lens2label study watch studies/edge
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    every: float = 2.0
    """Seconds between two updates."""
    once: bool = False
    """Print the state once and exit."""
    json: bool = False
    """Print a line of JSON at each change."""

    def check(self) -> None:
        """Refuse options that cannot be, by an OptionError."""
        if not 0 < self.every < math.inf:
            raise OptionError(
                f"--every must be positive and finite, in seconds, not {self.every:g}"
            )


def main(arguments: Sequence[str]) -> int:
    """Show the progress of a study; returns the exit status."""
    options = tyro.cli(WatchOptions, args=arguments, prog="lens2label study watch")
    options.check()
    if options.once:
        ledger = open_study(options.folder)
        now = progress(ledger)
        lines = [now.to_json()] if options.json else [*now.table(ledger), *now.idle(options.folder)]
        print("\n".join(lines))
        return 0
    with suppress(KeyboardInterrupt):  # the usual way to stop watching
        watch(options.folder, every=options.every, as_json=options.json)
    return 0
