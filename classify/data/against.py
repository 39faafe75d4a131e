"""What two data sets share, before one is judged by a classifier that was trained on the other.

::

    dataset ────┐
                ├─ equal pixels · near duplicates · groups of one name ─► images to leave out
    reference ──┘
"""

from collections import defaultdict
from collections.abc import Set
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from .audit import Near, check_threshold, found_line, near_words, passed_over
from .dataset import LesionDataset, check_dataset
from .near import near_pairs
from .scan import Scan, scan

__all__ = ["CrossAudit", "Same", "audit_against"]


class Same(NamedTuple):
    """Pictures of equal pixels in two data sets."""

    images: tuple[str, ...]
    """Identifiers in the audited set."""
    reference_images: tuple[str, ...]
    """Identifiers in the reference."""
    same_label: bool
    """Whether all of them are of one class, by its name."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class CrossAudit:
    """What :func:`audit_against` found. Printing it says so in words; empty fields are good news.

    "Reference" is the set that the other one is compared with.
    """

    images: int
    """Pictures that were audited."""
    reference_images: int
    """Pictures that they were compared with."""
    exact: tuple[Same, ...]
    """Pictures of equal pixels that are in both sets."""
    near: tuple[Near, ...]
    """Near duplicates that are no exact ones, the most similar first: an audited picture, and one
    of the reference. Groups and labels are the same where their names are."""
    groups: tuple[str, ...]
    """Lesions, or other groups, that are named in both sets."""
    other_names: bool
    """True when names mean other things in the two sets, as numbers from 0 do: fewer than half of
    the pictures that have one name in both are alike. Then groups named in both are no finding."""
    touched: tuple[str, ...]
    """Audited pictures to leave out: they have a duplicate in the reference, exact or near, or are
    of a group that is named there."""
    reference_touched: tuple[str, ...]
    """The pictures of the reference of which this is so."""
    blank: int
    """Pictures of one colour, in both sets: compared for equal pixels alone."""
    complete: bool
    """False when near duplicates may be missing: see :attr:`stopped`, :attr:`aligned` and
    :attr:`blank`."""
    stopped: bool
    """True when the search for near duplicates stopped at a million pairs."""
    aligned: bool
    """False when only the most alike pairs were aligned: crops and shifts may be missing."""

    @property
    def touched_share(self) -> float:
        """Share of the audited pictures that are to be left out."""
        return len(self.touched) / self.images

    @property
    def reference_touched_share(self) -> float:
        """Share of the pictures of the reference that are in the audited set as well."""
        return len(self.reference_touched) / self.reference_images

    def to_dict(self) -> dict[str, object]:
        """Everything, as what JSON can hold."""
        return {
            **vars(self),
            "exact": [record._asdict() for record in self.exact],
            "near": [record._asdict() for record in self.near],
            "touched_share": self.touched_share,
            "reference_touched_share": self.reference_touched_share,
        }

    def __str__(self) -> str:
        strangers = [pair for pair in self.near if not pair.same_group]
        disagreeing = [
            *(_same(each) for each in self.exact if not each.same_label),
            *(near_words(pair) for pair in self.near if not pair.same_label),
        ]
        unlike = ", no finding: pictures of one name differ, so names mean other things"
        lines = [
            f"audit of {self.images} images against {self.reference_images} others",
            found_line("exact duplicates (equal pixels)", map(_same, self.exact), "sets"),
            found_line(
                "near duplicates (flip, rotation, JPEG, small crop or shift)",
                map(near_words, self.near),
                "pairs",
                passed_over(self.stopped, self.aligned, self.blank),
            ),
            found_line("  of these in different groups", map(near_words, strangers), "pairs"),
            found_line("duplicates under different labels", disagreeing, "cases"),
            found_line(
                "groups named in both",
                self.groups,
                "groups",
                unlike if self.groups and self.other_names else "",
            ),
            found_line(
                "images to leave out",
                self.touched,
                f"of {self.images} ({self.touched_share:.1%})",
            ),
            found_line(
                "  because of these others",
                self.reference_touched,
                f"of {self.reference_images} ({self.reference_touched_share:.1%})",
            ),
        ]
        return "\n".join(lines)


def audit_against(
    dataset: LesionDataset,
    reference: LesionDataset,
    *,
    threshold: float = 0.975,
    align: bool = True,
) -> CrossAudit:
    """Look for pictures and lesions that a data set shares with another one.

    For a test set from elsewhere and the set that a classifier was trained on: what both have makes
    the results too good. Pictures are compared as :func:`audit` does within one set, each of one
    set with each of the other. The sets may differ in size, in depth, in that one is grey, and in
    encoding, if each says its own (:attr:`LesionDataset.encoding`); exact duplicates have one size
    and as many channels, and are near ones otherwise. Frames of other proportions differ: read
    files of both sets with one geometry.

    On one core, 10 000 pictures against 10 000 take half a minute; the time goes with the product
    of both numbers. Memory beyond the pictures is as for :func:`audit` of both together.

    Parameters
    ----------
    dataset : LesionDataset
        The pictures that are audited, of 8 pixels a side or more, such as a test set.
    reference : LesionDataset
        Those that they must not be among, such as the training part of another set. Classes and
        groups are compared by their names.
    threshold : float
        Correlation above which a pair counts as near duplicates, in (0, 1).
    align : bool
        Also find crops and shifts.

    Returns
    -------
    CrossAudit

    Raises
    ------
    TypeError
        For what is no data set of this library.
    ValueError
        When the threshold is none, pictures are too small, or the sets have different numbers of
        channels other than 1 and 3.

    Examples
    --------
    >>> found = audit_against(clinic, split(ham).train)
    >>> rest = clinic.subset([name not in {*found.touched} for name in clinic.identifiers])
    """
    check_dataset(dataset)
    check_dataset(reference)
    check_threshold(threshold)
    read = scan(dataset, reference)
    count = len(dataset)
    pairs = near_pairs(
        read.small, read.content, read.blank, threshold=threshold, align=align, first=count
    )
    rows = [(a, b - count) for a, b in pairs.rows.tolist()]
    exact = _equal(read.content, count)
    shared = set(dataset.groups) & set(reference.groups)
    # A search that stopped did not look at all pictures of one name.
    other_names = pairs.complete and _names_differ(dataset, reference, read, {*rows})
    touched, touching = [torch.zeros(len(each), dtype=torch.bool) for each in (dataset, reference)]
    for left, right in [*exact, *(([a], [b]) for a, b in rows)]:
        touched[left], touching[right] = True, True
    if not other_names:
        touched |= torch.tensor([group in shared for group in dataset.groups])
        touching |= torch.tensor([group in shared for group in reference.groups])
    blank = int(read.blank.sum())
    names, others = dataset.identifiers, reference.identifiers
    classes, theirs = _classes(dataset), _classes(reference)
    return CrossAudit(
        images=count,
        reference_images=len(reference),
        exact=tuple(
            Same(
                tuple(names[row] for row in left),
                tuple(others[row] for row in right),
                len({*(classes[row] for row in left), *(theirs[row] for row in right)}) == 1,
            )
            for left, right in exact
        ),
        near=tuple(
            Near(
                names[a],
                others[b],
                round(value, 4),
                dataset.groups[a] == reference.groups[b],
                classes[a] == theirs[b],
            )
            for (a, b), value in zip(rows, pairs.similarity.tolist(), strict=True)
        ),
        groups=tuple(group for group in dict.fromkeys(dataset.groups) if group in shared),
        other_names=other_names,
        touched=_names(dataset, touched),
        reference_touched=_names(reference, touching),
        blank=blank,
        complete=pairs.complete and pairs.aligned and not blank,
        stopped=not pairs.complete,
        aligned=pairs.aligned,
    )


def _equal(content: Tensor, count: int) -> list[tuple[list[int], list[int]]]:
    """Rows of equal content among the first ``count``, and among the rest."""
    rows: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for row, number in enumerate(content.tolist()):
        rows[number][row >= count].append(row if row < count else row - count)
    return [each for each in rows.values() if all(each)]


def _names_differ(
    dataset: LesionDataset, reference: LesionDataset, read: Scan, near: Set[tuple[int, int]]
) -> bool:
    """Whether most pictures of one name in both are not alike; blank ones say nothing."""
    places = {name: row for row, name in enumerate(reference.identifiers)}
    named = [(row, places[name]) for row, name in enumerate(dataset.identifiers) if name in places]
    ours, theirs = (part.tolist() for part in read.content.split([len(dataset), len(reference)]))
    flat = read.blank.tolist()
    named = [(a, b) for a, b in named if not (flat[a] or flat[len(dataset) + b])]
    alike = sum(ours[a] == theirs[b] or (a, b) in near for a, b in named)
    return 2 * alike < len(named)


def _classes(dataset: LesionDataset) -> list[str]:
    return [dataset.classes[label] for label in dataset.labels.tolist()]


def _names(dataset: LesionDataset, chosen: Tensor) -> tuple[str, ...]:
    return tuple(dataset.identifiers[row] for row in torch.nonzero(chosen).flatten().tolist())


def _same(same: Same) -> str:
    return " = ".join(map(", ".join, (same.images, same.reference_images)))
