"""Options for scenes that were moved, common to ``run``, ``work`` and ``judge``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.run.resume import places
from joint.study.ledger import Ledger

__all__ = ["Moved"]


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Paths of the scenes that differ from those in the study file."""

    data: Path | None = None
    """Where the scenes are now, as a path on this machine, if not where the study says. They are
    recognised by their content, as in train --resume, and the study is not changed."""
    data_root: Annotated[Path | None, tyro.conf.arg(name="data.root")] = None
    """The same for the pictures of a table."""
    data_groups: Annotated[Path | None, tyro.conf.arg(name="data.groups")] = None
    """The same for the table of the groups of class folders."""
    data_duplicates: Annotated[Path | None, tyro.conf.arg(name="data.duplicates")] = None
    """The same for the table of the duplicates of HAM10000."""
    data_truth: Annotated[Path | None, tyro.conf.arg(name="data.truth")] = None
    """The same for the labels of an ISIC challenge."""
    data_metadata: Annotated[Path | None, tyro.conf.arg(name="data.metadata")] = None
    """The same for the metadata of an ISIC challenge."""

    def where(self, ledger: Ledger) -> dict[str, Path]:
        """The given paths, by the names of the settings."""
        there = places(ledger.study.base.data)
        # As in train: with a table, --data is the table itself.
        whole = next((name for name in ("table", "root", "path") if name in there), "root")
        given = {
            whole: self.data,
            **({} if self.data_root is None else {"root": self.data_root}),
            "groups": self.data_groups,
            "duplicates": self.data_duplicates,
            "truth": self.data_truth,
            "metadata": self.data_metadata,
        }
        return {name: place for name, place in given.items() if place is not None}
