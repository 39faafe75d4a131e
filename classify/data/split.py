"""Training, validation and test parts that share no lesion.

A random split of pictures puts two pictures of one lesion on both sides: for HAM10000 and a test
share of 20 %, 39 % of the test pictures and 67 % of the melanomas. Here whole groups move, and
every class is shared out in proportion.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import numpy as np
import torch
from torch import Tensor

from .dataset import LesionDataset, check_classes

__all__ = ["Split", "split"]

By: TypeAlias = Literal["lesion", "image"]


@final
@dataclass(frozen=True, eq=False)
class Split:
    """The parts of a data set; unpacks to them: ``train, validation, test = split(dataset)``.

    Printing it shows a table, and says what a reader of results has to know.
    """

    train: LesionDataset
    validation: LesionDataset | None
    """None when the split was in two."""
    test: LesionDataset
    indices: tuple[Tensor, ...]
    """Rows of the data set in each part, ascending int64."""
    by: By
    seed: int

    def __iter__(self) -> Iterator[LesionDataset]:
        return iter(self._parts.values())

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def _parts(self) -> dict[str, LesionDataset]:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def shared_lesions(self) -> float:
        """Share of the test images whose lesion is in training too; 0 for a split by lesion."""
        known = set(self.train.groups)
        return sum(group in known for group in self.test.groups) / len(self.test)

    @property
    def absent(self) -> tuple[tuple[str, str], ...]:
        """Each (class, part) where a class of the data set has no image."""
        counts = torch.stack([part.counts for part in self])
        return tuple(
            (name, part)
            for label, name in enumerate(self.train.classes)
            for row, part in enumerate(self._parts)
            if counts[:, label].any() and not counts[row, label]
        )

    def __str__(self) -> str:
        header = ["", "images", "lesions", *self.train.classes]
        rows = [
            [name, len(part), len(set(part.groups)), *part.counts.tolist()]
            for name, part in self._parts.items()
        ]
        cells = [header, *([str(cell) for cell in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])],
            )
            for row in cells
        ]
        lines.append(
            f"split by {self.by}, seed {self.seed}: {self.shared_lesions:.1%} of the test images "
            "share their lesion with training"
        )
        lines += [f"{name} is absent from {part}: too few lesions" for name, part in self.absent]
        return "\n".join(lines)


def split(
    dataset: LesionDataset,
    fractions: Sequence[float] = (0.7, 0.2, 0.1),
    *,
    by: By = "lesion",
    seed: int = 0,
) -> Split:
    """Divide a data set into training, validation and test part, stratified by class.

    Groups are dealt out one after another, large ones first and equal ones in an order hashed
    from ``seed`` and their names; each goes to the part that is the least full, for its classes,
    in proportion to the part's fraction (Sainte-Laguë's rule). So each part gets its share of
    every class and of lesions with many pictures, the order of rows plays no role, and no
    random-number generator does. A class with at least as many groups as there are parts is in
    every part (where groups mix classes that can fail: :attr:`Split.absent` tells).

    Parameters
    ----------
    dataset : LesionDataset
        What to divide.
    fractions : sequence of 2 or 3 float
        Shares of training, validation and test, or of training and test; they sum to 1.
    by : {"lesion", "image"}
        Move whole groups; or single images, as most published numbers did: their test results are
        too good, see :attr:`Split.shared_lesions`.
    seed : int
        Another seed, another split.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        When the fractions are no shares, ``by`` or ``seed`` is unknown, the data set has only one
        class, or a part would be empty.
    """
    shares = _checked(fractions)
    if by not in get_args(By):
        raise ValueError(f"by must be 'lesion' or 'image', got {by!r}")
    if type(seed) is not int:
        raise ValueError(f"seed must be an integer, got {seed!r}")
    check_classes(dataset)
    names, group = np.unique(
        dataset.groups if by == "lesion" else dataset.identifiers, return_inverse=True
    )
    counts = np.zeros((len(names), len(dataset.classes)), dtype=np.int64)
    np.add.at(counts, (group, dataset.labels.numpy()), 1)
    order = sorted(
        range(len(names)), key=lambda row: (-counts[row].sum(), _hashed(seed, names[row]))
    )
    part = np.empty(len(names), dtype=np.int64)
    part[order] = _dealt(counts[order], shares)
    indices = tuple(torch.from_numpy(np.flatnonzero(part[group] == p)) for p in range(len(shares)))
    if not all(map(len, indices)):
        raise ValueError(
            f"{len(dataset)} images of {len(names)} groups are too few for the fractions "
            f"{tuple(fractions)}: the parts would have {', '.join(str(len(i)) for i in indices)}"
        )
    parts = [dataset.subset(index) for index in indices]
    validation = parts[1] if len(parts) == 3 else None
    return Split(parts[0], validation, parts[-1], indices, by, seed)


def _checked(fractions: Sequence[float]) -> np.ndarray:
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape not in ((2,), (3,)):
        raise ValueError(
            f"fractions must be two (train, test) or three (train, validation, test) numbers, "
            f"got {fractions!r}"
        )
    if not (np.isfinite(shares) & (shares > 0)).all():
        raise ValueError(f"fractions must be positive, got {tuple(fractions)}")
    if not math.isclose(shares.sum(), 1, abs_tol=1e-6):
        raise ValueError(f"fractions must sum to 1, but {tuple(fractions)} sum to {shares.sum():g}")
    return shares


def _hashed(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _dealt(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Part of each group, for counts ``[groups, classes]`` in the order of dealing."""
    total = counts.sum(axis=0)
    have = np.zeros((len(shares), len(total)))
    left = (counts > 0).sum(axis=0)  # groups of each class that are still to come
    part = np.empty(len(counts), dtype=np.int64)
    for row, count in enumerate(counts):
        mine = count > 0
        fullness = (have[:, mine] + count[mine] / 2) / np.outer(shares, total[mine])
        score = fullness @ (count[mine] / total[mine])  # in a mixed group the rare class counts
        # Each part that lacks a class takes one of its last groups.
        lacking = have[:, mine] == 0
        urgent = lacking & (left[mine] <= lacking.sum(axis=0))
        most = urgent.sum(axis=1)
        score[most < most.max()] = np.inf
        part[row] = score.argmin()
        have[part[row]] += count
        left -= mine
    return part
