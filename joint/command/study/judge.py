"""``lens2label study judge``: evaluate the trained runs at other operating points."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.command.options import OperatingPoints, check_file, check_least
from joint.judge.point import AS_BUILT
from joint.saved.checkpoint import write_atomically
from joint.settings import OptionError
from joint.study.elsewhere import elsewhere
from joint.study.store import open_study

from .moved import Moved

__all__ = ["JudgeOptions", "main"]


@dataclass(frozen=True)
class JudgeOptions(Moved, OperatingPoints):
    """Evaluate the trained runs elsewhere: at other light, rates, distances or motion.

    The table has a row per design and a column per point, with the codec's bits there, followed by
    the comparisons of the plan at each point. A design that lacks a point is left out there.
    For example:

        lens2label study judge studies/light --photons 30 300 3000
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    photons: tuple[float, ...] = ()
    """Light, photons/pixel."""
    quality: tuple[float, ...] = ()
    """Operating points of a codec with several: 0 to levels - 1 of a learned one, 1 to 100 of JPEG,
    0 to 100 of lossy WebP and AVIF; each is combined with each light."""
    distance: tuple[float, ...] = ()
    """Metres from a lens to all scenes; each is combined with each light and quality."""
    motion: tuple[float, ...] = ()
    """RMS motion of scenes behind a shutter, pixels; each is combined with each of the others."""
    metric: str | None = None
    """Metric to compare; by default that of the plan."""
    batch_size: int = 64
    """Pictures per forward pass."""
    device: str = "cpu"
    """Device to compute on."""
    csv: Path | None = None
    """Also write a row for each design at each point to this file."""
    json: bool = False
    """Print JSON instead of text."""

    def check(self) -> None:
        """Refuse options that cannot be, by an OptionError.

        By a CheckpointError, a file that cannot be written.
        """
        check_least(self, batch_size=1)
        check_file("--csv", self.csv)
        self.check_points()
        if self.points() == [AS_BUILT]:
            raise OptionError(
                "give at least one point, such as --photons 30 300; for results at the points "
                "where the runs were tested, use lens2label study report"
            )


def main(arguments: Sequence[str]) -> int:
    """Judge the runs elsewhere; returns the exit status."""
    options = tyro.cli(JudgeOptions, args=arguments, prog="lens2label study judge")
    options.check()
    ledger = open_study(options.folder)
    found = elsewhere(
        ledger,
        options.points(),
        metric=options.metric,
        device=options.device,
        batch_size=options.batch_size,
        data=options.where(ledger),
    )
    print(found.to_json() if options.json else found)
    if options.csv is not None:
        write_atomically(options.csv, found.to_csv().encode())
    return 0
