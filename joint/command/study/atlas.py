"""``lens2label study atlas``: whether seeds learned the same element."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.record import print_json
from joint.study.findings.atlas import atlas
from joint.study.store import open_study

__all__ = ["AtlasOptions", "main"]


@dataclass(frozen=True)
class AtlasOptions:
    """Compare the learned elements between seeds of a design, and between designs.

    Elements count as the same up to shift, sign and order, and up to turns if training turned its
    pictures. Similarity is compared with what a shared start and chance give.
    For example:

        lens2label study atlas studies/edge --designs 0 3
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the ledger."""
    designs: tuple[int, ...] | None = None
    """Numbers of the designs to compare; by default all."""
    json: bool = False
    """Print JSON instead of text."""


def main(arguments: Sequence[str]) -> int:
    """Compare the learned elements; returns the exit status."""
    options = tyro.cli(AtlasOptions, args=arguments, prog="lens2label study atlas")
    found = atlas(open_study(options.folder), designs=options.designs)
    (print_json if options.json else print)(found)
    return 0
