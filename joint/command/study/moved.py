"""Where the scenes of a study are now: what ``run``, ``work`` and ``judge`` are told alike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.run.complete import places
from joint.study.store import Ledger

__all__ = ["Moved"]


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Places of the scenes that are not those of the study file."""

    data: Path | None = None
    """Where the scenes are now, seen from here, if not where the study says: they are known by what
    they hold, as in train --resume, and the study stays as it is."""
    data_root: Annotated[Path | None, tyro.conf.arg(name="data.root")] = None
    """Likewise, the pictures of a table."""
    data_groups: Annotated[Path | None, tyro.conf.arg(name="data.groups")] = None
    """Likewise, the table of the groups of class folders."""
    data_duplicates: Annotated[Path | None, tyro.conf.arg(name="data.duplicates")] = None
    """Likewise, the table of the duplicates of HAM10000."""
    data_truth: Annotated[Path | None, tyro.conf.arg(name="data.truth")] = None
    """Likewise, the labels of an ISIC challenge."""
    data_metadata: Annotated[Path | None, tyro.conf.arg(name="data.metadata")] = None
    """Likewise, its metadata."""

    def where(self, ledger: Ledger) -> dict[str, Path]:
        """What is given, by the names of the settings."""
        there = places(ledger.study.base.data)
        # As in train: of a table, --data is the table itself.
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
