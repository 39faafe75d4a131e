"""``lens2label study confirm``: a study of what was found, on fresh seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.settings import OptionError
from joint.study.confirm import confirm
from joint.study.store import open_study

__all__ = ["ConfirmOptions", "main"]


@dataclass(frozen=True)
class ConfirmOptions:
    """Write a study that tests the best design against a baseline on fresh seeds.

    The best is the one with the best mean of the plan's metric on the validation part, of those
    that meet what the plan requires, or may. The baseline is the first design by default; of a
    search, the best of its first round, or the second best; of a plan that requires a margin to the
    best of all, that one, unless it is the one to confirm. What is found by looking is lucky as
    well as good: only the new study may say "better", and which of the two are good enough; it
    requires the same.
    For example:

        lens2label study confirm studies/edge --seeds 6
        lens2label study confirm studies/light --cheapest photons
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger of the study that is over."""
    output: Path | None = None
    """Folder of the new ledger; by default beside the old one, with -confirm at its end."""
    seeds: int = 6
    """Fresh seeds; fewer than 6 cannot show anything."""
    design: int | None = None
    """Number of the design, if it is not to be the best."""
    cheapest: tuple[str, ...] | None = None
    """Take the design with the least of this cost, of those that meet what the plan requires,
    instead of the best; a study with one cost needs no name."""
    baseline: int | None = None
    """Number of the other one."""


def main(arguments: Sequence[str]) -> int:
    """Write the study of fresh seeds; returns the exit status."""
    options = tyro.cli(ConfirmOptions, args=arguments, prog="lens2label study confirm")
    old = options.folder
    beside = old if old.name not in ("", "..") else old.resolve()  # the folder that one is in
    new = options.output or beside.with_name(f"{old.resolve().name}-confirm")
    made = confirm(
        open_study(old),
        new,
        seeds=options.seeds,
        design=options.design,
        baseline=options.baseline,
        cheapest=_cost(options.cheapest),
    )
    print(f"{made.study.question}\nto find out: lens2label study run {new}")
    return 0


def _cost(given: tuple[str, ...] | None) -> str | bool:
    """The one cost that is named, or whether it is the only one that there is."""
    if given and len(given) > 1:
        raise OptionError(f"--cheapest is of one cost, not of {', '.join(given)}")
    return given[0] if given else given is not None
