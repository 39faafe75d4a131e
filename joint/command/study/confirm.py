"""``lens2label study confirm``: a new study that tests a result on fresh seeds."""

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

    The best design has the best mean of the plan's metric on the validation part, among those that
    meet, or may meet, the requirements of the plan. The baseline is by default the first design; in
    a search, the best of its first round, or the second best if that is the one to confirm. If the
    plan requires a margin to the best of all, the baseline is that best design, unless it is the
    one to confirm. The best of many designs is partly lucky: only the new study may say "better",
    and which of the two are good enough; it has the same requirements.
    For example:

        lens2label study confirm studies/edge --seeds 6
        lens2label study confirm studies/light --cheapest photons
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger of the finished study."""
    output: Path | None = None
    """Folder of the new ledger; by default next to the old one, with -confirm added to its name."""
    seeds: int = 6
    """Fresh seeds; fewer than 6 cannot show anything."""
    design: int | None = None
    """Number of the design to confirm, instead of the best."""
    cheapest: tuple[str, ...] | None = None
    """Confirm the design with the lowest value of this cost, among those that meet the requirements
    of the plan, instead of the best; if the study has one cost, no name is needed."""
    baseline: int | None = None
    """Number of the baseline design."""


def main(arguments: Sequence[str]) -> int:
    """Write the study of fresh seeds; returns the exit status."""
    options = tyro.cli(ConfirmOptions, args=arguments, prog="lens2label study confirm")
    old = options.folder
    beside = old if old.name not in ("", "..") else old.resolve()  # the real name of the folder
    new = options.output or beside.with_name(f"{old.resolve().name}-confirm")
    made = confirm(
        open_study(old),
        new,
        seeds=options.seeds,
        design=options.design,
        baseline=options.baseline,
        cheapest=_cost(options.cheapest),
    )
    print(f"{made.study.question}\nto answer it: lens2label study run {new}")
    return 0


def _cost(given: tuple[str, ...] | None) -> str | bool:
    """The named cost, or whether to use the only cost of the study."""
    if given and len(given) > 1:
        raise OptionError(f"--cheapest takes one cost, not {', '.join(given)}")
    return given[0] if given else given is not None
