"""Training, validation and test parts that share no lesion.

A random split of pictures puts pictures of one lesion into both training and test: with 80 % of
HAM10000 for training, this concerns 39 % of the test pictures and 67 % of the melanomas. Here whole
groups are assigned, and every class is divided in proportion.

There are two methods. ``balanced`` uses all groups, so that every part gets its share of every
class. ``hash`` uses only the name of each group, so that a group stays in its part when others are
added or removed. Neither depends on the order of the rows. ``given_split`` takes an existing split.
"""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import numpy as np
import torch
from torch import Tensor

from .archive import listed
from .arrays import as_integer
from .dataset import LesionDataset, check_classes, joined

__all__ = ["Split", "given_split", "k_folds", "split"]

By: TypeAlias = Literal["lesion", "image"]
Method: TypeAlias = Literal["balanced", "hash"]

# What parts are called in tables, in lower case.
_PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
_PART_OF = {word: part for part, words in _PARTS.items() for word in words}


@final
@dataclass(frozen=True, eq=False)
class Split:
    """The parts of a data set; unpacks to them: ``train, validation, test = split(dataset)``.

    Printing it shows a table, and whether parts share lesions or lack a class.
    """

    train: LesionDataset
    validation: LesionDataset | None
    """None for a split into two parts."""
    test: LesionDataset
    """The part that results are computed on."""
    indices: tuple[Tensor, ...]
    """Rows of the data set in each part, ascending int64."""
    by: By
    """What is kept together: ``lesion`` or ``image``."""
    seed: int
    method: Method | Literal["given"] = "balanced"
    """Method of :func:`split`; ``given`` for :func:`given_split`."""
    fold: tuple[int, int] | None = None
    """Index of the test fold, from 0, and number of folds; None except for :func:`k_folds`."""

    def __iter__(self) -> Iterator[LesionDataset]:
        return iter(self.parts.values())

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def parts(self) -> dict[str, LesionDataset]:
        """The parts by name: ``train``, ``validation`` where there is one, ``test``."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def whole(self) -> LesionDataset | None:
        """The data set that was split; None if the parts come from several data sets."""
        return joined(list(self), self.indices)

    @property
    def shared_lesions(self) -> float:
        """Share of the test images whose lesion is also in training; 0 for a split by lesion."""
        known = set(self.train.groups)
        return sum(group in known for group in self.test.groups) / len(self.test)

    @property
    def absent(self) -> tuple[tuple[str, str], ...]:
        """Each (class, part) such that the part has no image of the class."""
        counts = torch.stack([part.counts for part in self])
        return tuple(
            (name, part)
            for label, name in enumerate(self.train.classes)
            for row, part in enumerate(self.parts)
            if counts[:, label].any() and not counts[row, label]
        )

    def __str__(self) -> str:
        header = ["", "pictures", "lesions", *self.train.classes]
        rows = [
            [name, len(part), len(set(part.groups)), *part.counts.tolist()]
            for name, part in self.parts.items()
        ]
        cells = [header, *([str(cell) for cell in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in cells
        ]
        how = f"split by {self.by}"
        if self.fold is not None:
            how = f"fold {self.fold[0]} of {self.fold[1]} by {self.by}"
        elif self.method == "hash":
            how += " and its hash"
        how += f", seed {self.seed}"
        if self.method == "given":
            how = "split as it was given"
        shared = f"{self.shared_lesions:.1%} of the test pictures share their lesion with training"
        groups = [group for part in self for group in part.groups]
        if len(set(groups)) == len(groups):
            # This holds for every such data set, and does not show that patients were separated.
            shared = "every picture is a group of its own, so that no lesion can be shared"
        lines.append(f"{how}: {shared}")
        why = "" if self.method == "given" else ": too few lesions"
        lines += [f"{name} is absent from {part}{why}" for name, part in self.absent]
        return "\n".join(lines)


def split(
    dataset: LesionDataset,
    fractions: Sequence[float] = (0.7, 0.2, 0.1),
    *,
    by: By = "lesion",
    seed: int = 0,
    method: Method = "balanced",
) -> Split:
    """Divide a data set into training, validation and test parts.

    ``balanced``: groups are assigned one after another. Large groups come first, and those of
    similar size in an order hashed from ``seed`` and their names. Each group goes to the part that
    is the least full, for its classes, relative to the part's fraction (Sainte-Laguë's rule). Sizes
    are similar if they have the same ``floor(4 log2(size))``: up to 7 pictures only equal sizes,
    then ranges about a fifth wide (8 and 9, 10 and 11, 12 and 13, 14 and 15, 16 to 19, ...). Each
    part thus gets its share of every class and of lesions with many pictures, independently of the
    order of rows and without a random-number generator. A class with at least as many groups as
    there are parts is in every part (this can fail where groups mix classes: see
    :attr:`Split.absent`). Where a part would stay empty, as with two lesions of each class in three
    parts, a group of a class with fewer groups than parts goes to the part that is the least full
    over all classes.

    ``hash``: the part of a group depends only on ``seed``, ``fractions`` and the group's name.
    Adding or removing groups does not move others; a larger training fraction (with smaller test
    and validation fractions) removes no group from training. In return, sizes and class shares hold
    only in expectation. A class with G groups of s pictures has ``G f +- sqrt(G f (1 - f))``
    groups in a part of fraction f: the 73 df of HAM10000 have 15 +- 3 in a test part of 20 %.
    A renamed group may move: join known duplicates before the first split.

    Parameters
    ----------
    dataset : LesionDataset
        Data set to divide.
    fractions : sequence of 2 or 3 float
        Shares of training, validation and test, or of training and test; they sum to 1.
    by : {"lesion", "image"}
        Assign whole groups, or single images. Most published numbers are of splits by image, whose
        test results are too good: see :attr:`Split.shared_lesions`.
    seed : int
        Another seed gives another split.
    method : {"balanced", "hash"}
        Stratified, or by the hash of each group's name, for data sets that still grow.

    Returns
    -------
    Split

    Raises
    ------
    TypeError
        When ``dataset`` is not a :class:`LesionDataset`.
    ValueError
        When ``fractions`` are not positive numbers of sum 1, ``by``, ``seed`` or ``method`` is
        invalid, the data set has only one class, or a part would be empty.

    Warns
    -----
    UserWarning
        When each class lies in one group of several pictures, so that no class can be in two parts:
        the groups may be the labels, or cases and controls, instead of lesions.
    """
    shares = _checked(fractions)
    seed = _checked_seed(by, seed)
    if method not in get_args(Method):
        raise ValueError(f"method must be 'balanced' or 'hash', got {method!r}")
    check_classes(dataset)
    part = _part_of_each(dataset, shares, by, seed, method)
    indices = [np.flatnonzero(part == p) for p in range(len(shares))]
    if not all(map(len, indices)):
        groups = len(set(dataset.groups if by == "lesion" else dataset.identifiers))
        raise ValueError(
            f"{len(dataset)} pictures of {groups} groups are too few for the fractions "
            f"{tuple(fractions)}: the parts would have {', '.join(str(len(i)) for i in indices)}"
        )
    _warn_of_coarse_groups(dataset, by)
    return _as_split(dataset, indices, by, seed, method)


def given_split(dataset: LesionDataset, parts: Sequence[str] | np.ndarray) -> Split:
    """Divide a data set by an existing split: the name of a part for each picture.

    Parameters
    ----------
    dataset : LesionDataset
        Data set to divide.
    parts : sequence of str, length N
        ``train`` (or ``training``), ``validation`` (``val``, ``valid``) or ``test`` (``testing``)
        for each row, in lower or upper case: a column of a table, such as
        ``dataset.metadata["part"]``. The validation part may be missing.

    Returns
    -------
    Split
        With ``method="given"``; ``by`` is ``lesion`` if no lesion is in two parts.

    Raises
    ------
    TypeError
        When ``dataset`` is not a :class:`LesionDataset`.
    ValueError
        When there is not one name for each row, or a name is unknown; when the training or the test
        part is empty; when the data set has only one class.

    Warns
    -----
    UserWarning
        When a lesion is in more than one part.

    Examples
    --------
    >>> dataset = ImageTable("labels.csv")
    >>> parts = given_split(dataset, dataset.metadata["part"])
    """
    check_classes(dataset)
    if isinstance(parts, str) or not isinstance(parts, Iterable):
        raise ValueError(f"parts needs {len(dataset)} words, one for each image, got {parts!r}")
    words = list(map(str, parts))
    if len(words) != len(dataset):
        raise ValueError(f"parts needs {len(dataset)} words, one for each image, got {len(words)}")
    part = np.array(list(map(part_of, words)))
    if not part.all():
        found = Counter(word for word, name in zip(words, part, strict=True) if not name)
        raise ValueError(
            "the part of a picture must be train, validation or test, but these were given: "
            f"{listed(f'{word!r} ({count} times)' for word, count in found.most_common())}; rename "
            "the parts, and leave out the pictures that are in none"
        )
    indices = [np.flatnonzero(part == name) for name in _PARTS]
    for name, index in zip(_PARTS, indices, strict=True):
        if len(index) == 0 and name != "validation":
            raise ValueError(
                f"no picture is in the {name} part: parts has {listed(sorted(set(words)))}"
            )
    pairs = set(zip(dataset.groups, part.tolist(), strict=True))
    several = [group for group, times in Counter(group for group, _ in pairs).items() if times > 1]
    if several:
        warnings.warn(
            f"{len(several)} of {len(set(dataset.groups))} lesions (or patients) are in more than "
            f"one part of the given split: {listed(sorted(several), 3)}; test results of such a "
            "split are too good",
            stacklevel=2,
        )
    by: By = "image" if several else "lesion"
    return _as_split(dataset, [index for index in indices if len(index)], by, 0, "given")


def part_of(word: str) -> str:
    """The part that a ``word`` of a table or a folder names; empty if it names none."""
    return _PART_OF.get(word.strip().lower(), "")


def k_folds(
    dataset: LesionDataset,
    folds: int = 5,
    *,
    by: By = "lesion",
    seed: int = 0,
    validation: bool = False,
) -> tuple[Split, ...]:
    """Divide a data set into folds, each of which is the test part once.

    The groups are assigned as by :func:`split` with ``balanced``, to parts of equal fractions.
    Every image is tested exactly once, no group is in two parts, and a class with at least
    ``folds`` groups is in every fold. The share of each class in a fold differs from its share in
    the data set by at most ``(largest + 1) / images of the fold``, with ``largest`` the size of the
    largest group, if each group has one class (for HAM10000 with 10 folds: 0.001, one image).

    ::

        fold:      0      1      2      3      4
        split 0:  test   (val)  train  train  train
        split 1:  train  test   (val)  train  train
        split 4:  (val)  train  train  train  test

    Parameters
    ----------
    dataset : LesionDataset
        Data set to divide.
    folds : int
        Number of folds; at least 2, or 3 with a validation part.
    by : {"lesion", "image"}
        Assign whole groups, or single images, as in :func:`split`.
    seed : int
        Another seed gives other folds.
    validation : bool
        Use the fold after the test fold for validation, to choose epochs and thresholds; otherwise
        it belongs to training.

    Returns
    -------
    tuple of Split, length ``folds``

    Raises
    ------
    TypeError
        When ``dataset`` is not a :class:`LesionDataset`.
    ValueError
        When ``folds``, ``by`` or ``seed`` is invalid, the data set has only one class, or a fold
        would be empty.

    Warns
    -----
    UserWarning
        As :func:`split`.
    """
    least = 3 if validation else 2
    number = as_integer(folds)
    if number is None or number < least:
        raise ValueError(
            f"folds must be an integer of at least {least}"
            f"{' (train, validation, test)' if validation else ' (train, test)'}, got {folds!r}"
        )
    folds, seed = number, _checked_seed(by, seed)
    check_classes(dataset)
    fold = _part_of_each(dataset, np.full(folds, 1 / folds), by, seed, "folds")
    sizes = np.bincount(fold, minlength=folds)
    if not sizes.all():
        raise ValueError(
            f"{len(dataset)} pictures are too few, or in too few groups, for {folds} folds: they "
            f"would have {listed(map(str, sizes))}; ask for fewer folds"
        )
    _warn_of_coarse_groups(dataset, by)
    splits = []
    for test in range(folds):
        parts = [fold == test]
        if validation:
            parts.insert(0, fold == (test + 1) % folds)
        parts.insert(0, ~np.logical_or.reduce(parts))
        indices = [np.flatnonzero(part) for part in parts]
        splits.append(_as_split(dataset, indices, by, seed, "balanced", (test, folds)))
    return tuple(splits)


def _checked_seed(by: str, seed: object) -> int:
    if by not in get_args(By):
        raise ValueError(f"by must be 'lesion' or 'image', got {by!r}")
    number = as_integer(seed)
    if number is None:
        raise ValueError(f"seed must be an integer, got {seed!r}")
    return number


def _warn_of_coarse_groups(dataset: LesionDataset, by: By) -> None:
    """Warn where each class lies in one group: what is trained on is then never tested."""
    groups, classes = set(dataset.groups), int((dataset.counts > 0).sum())
    pairs = set(zip(dataset.labels.tolist(), dataset.groups, strict=True))
    if by == "lesion" and len(pairs) == classes and len(groups) < len(dataset):
        warnings.warn(
            f"each of the {classes} classes lies in one of only {len(groups)} groups "
            f"({listed(sorted(groups), 3)}), so that no class can be in both training and test: "
            "are these labels, or cases and controls? Load the data with the column of the lesions "
            "or patients as group=, or with that of the pictures if there is none",
            stacklevel=3,
        )


def _part_of_each(
    dataset: LesionDataset, shares: np.ndarray, by: By, seed: int, method: Method | Literal["folds"]
) -> np.ndarray:
    """Part of each image, int64 ``[N]``."""
    names, group = np.unique(
        dataset.groups if by == "lesion" else dataset.identifiers, return_inverse=True
    )
    if method == "hash":
        part = np.array([_drawn(seed, name, shares) for name in names])
        return part[group]
    counts = np.zeros((len(names), len(dataset.classes)), dtype=np.int64)
    np.add.at(counts, (group, dataset.labels.numpy()), 1)
    order = sorted(
        range(len(names)),
        key=lambda row: (-_size_class(int(counts[row].sum())), _hashed(seed, names[row])),
    )
    part = np.empty(len(names), dtype=np.int64)
    part[order] = _dealt(counts[order], shares, level=method == "folds")
    if method == "balanced" and len(names) >= len(shares) > len(np.unique(part)):
        part[order] = _dealt(counts[order], shares, level=False, scarce=True)
    return part[group]


def _as_split(
    dataset: LesionDataset,
    indices: Sequence[np.ndarray],
    by: By,
    seed: int,
    method: Method | Literal["given"],
    fold: tuple[int, int] | None = None,
) -> Split:
    rows = tuple(map(torch.from_numpy, indices))
    parts = [dataset.subset(index) for index in rows]
    validation = parts[1] if len(parts) == 3 else None
    return Split(parts[0], validation, parts[-1], rows, by, seed, method, fold)


def _checked(fractions: Sequence[float]) -> np.ndarray:
    try:
        shares = np.asarray(fractions, dtype=np.float64)
    except (TypeError, ValueError):  # words, or lists of several lengths
        shares = np.empty(0)
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


def _size_class(size: int) -> int:
    """``floor(4 log2(size))`` in integer arithmetic: up to 7 each size is its own class.

    With the order of exact sizes the seed would have no effect where patients differ in their
    numbers of pictures.
    """
    return (size**4).bit_length() - 1


def _hashed(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _drawn(seed: int, name: str, shares: np.ndarray) -> int:
    """Part of one group: where its hash, read as a number in [0, 1), falls among the fractions."""
    where = int.from_bytes(_hashed(seed, name)[:8]) / 2**64
    # Rounding can leave the sum of all fractions below 1; the last part ends at 1.
    return int(np.searchsorted(np.cumsum(shares[:-1]), where, side="right"))


def _dealt(
    counts: np.ndarray, shares: np.ndarray, *, level: bool, scarce: bool = False
) -> np.ndarray:
    """Part of each group, for counts ``[groups, classes]`` in the order of dealing.

    Equal shares tie often. With ``level``, the part with the fewest images then takes the group;
    without it, the first part does, and so gets the remainder of every class. Where all classes
    have fewer groups than there are parts, the smallest part then gets nothing. With ``scarce``,
    the part that is the emptiest over all classes takes such a group, and no part stays empty.
    """
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
        if scarce:
            if most.any():
                score = (have.sum(axis=1) + count.sum() / 2) / shares
            empty = ~have.any(axis=1)
            if len(counts) - row <= empty.sum():
                most = empty
        score[most < most.max()] = np.inf
        first = score.argmin()
        if level:
            tied = np.flatnonzero(score <= score[first] * (1 + 1e-12))
            first = tied[have[tied].sum(axis=1).argmin()]
        part[row] = first
        have[part[row]] += count
        left -= mine
    return part
