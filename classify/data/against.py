"""Pictures and groups that two data sets share, such as a training set and an external test set.

::

    dataset ────┐
                ├─ equal pixels · near duplicates · groups of one name ─┐
    reference ──┘                                                       │
                         images to leave out ◄── all of their groups ◄──┘
"""

from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple, final

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
    """Whether all of them have the same class, by name."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class CrossAudit:
    """Findings of :func:`audit_against`. Printing it lists them; an empty field means none.

    "Reference" is the data set that the audited one is compared with.
    """

    images: int
    """Number of audited pictures."""
    reference_images: int
    """Number of pictures of the reference."""
    exact: tuple[Same, ...]
    """Pictures of equal pixels that are in both sets."""
    near: tuple[Near, ...]
    """Near duplicates that are not exact ones, the most similar first: an audited picture, and one
    of the reference. Groups and labels are compared by name."""
    groups: tuple[str, ...]
    """Names of lesions, or other groups, that are in both sets."""
    uncounted: tuple[str, ...]
    """Of these, names that do not count, because each set may have numbered its groups: names that
    are only digits, and names that in both sets are the name of their only picture."""
    names: int
    """Number of picture names that are in both sets."""
    names_alike: int
    """Of these, the pictures that are duplicates, exact or near."""
    touched: tuple[str, ...]
    """Audited pictures to leave out: those with an exact or near duplicate in the reference, those
    of a group that is also there, and all others of their groups."""
    reference_touched: tuple[str, ...]
    """The corresponding pictures of the reference, with all others of their groups."""
    blank: int
    """Number of pictures of one colour, in both sets; they are duplicates only if pixels and names
    are equal."""
    complete: bool
    """False when near duplicates may be missing: see :attr:`stopped`, :attr:`aligned` and
    :attr:`blank`."""
    stopped: bool
    """True when there were more than a million pairs of near duplicates: only a million are listed,
    but :attr:`touched` includes all of them."""
    aligned: bool
    """False when only the most similar pairs were aligned: crops and shifts may be missing."""

    @property
    def touched_share(self) -> float:
        """Share of the audited pictures that are to be left out."""
        return len(self.touched) / self.images

    @property
    def reference_touched_share(self) -> float:
        """Share of the pictures of the reference that are also in the audited set."""
        return len(self.reference_touched) / self.reference_images

    def to_dict(self) -> dict[str, object]:
        """Return all fields, in types that JSON can hold."""
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
        numbers = f", of which {len(self.uncounted)} may be numbers of each set and do not count"
        lines = [
            f"audit of {self.images} pictures against {self.reference_images} others",
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
                numbers if self.uncounted else "",
            ),
            f"names in both: {self.names}, {self.names_alike} alike",
            found_line(
                "pictures to leave out",
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

    Use it for an external test set and the training set of a classifier: shared pictures make test
    results too good. Pictures are compared as in :func:`audit`, each of one set with each of the
    other. The sets may differ in picture size, bit depth, colour or grey, and encoding, if each
    states its own (:attr:`LesionDataset.encoding`). Exact duplicates have equal size and channels;
    otherwise duplicates are near ones. Frames of different proportions do not match: read the files
    of both sets with the same geometry.

    Groups are equal if their names are, unless each set may have numbered its groups: names that
    are only digits, or in both sets the name of their only picture. If such names do mean the same
    groups, add a prefix to both (:meth:`LesionDataset.grouped`). Blank pictures are equal if their
    pixels and names are.

    On one core, 10 000 pictures against 10 000 take half a minute; the time grows with the product
    of both numbers. Memory in addition to the pictures is as for :func:`audit` of both together.

    Parameters
    ----------
    dataset : LesionDataset
        The audited pictures, at least 8 pixels along a side, such as a test set.
    reference : LesionDataset
        The pictures that they must not share, such as the training part of another set. Classes and
        groups are compared by name.
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
        When an argument is not a :class:`LesionDataset`.
    ValueError
        When ``threshold`` is not in (0, 1), pictures are too small, or the sets have different
        numbers of channels other than 1 and 3.

    Examples
    --------
    >>> found = audit_against(clinic, split(ham).train)
    >>> known = {*found.touched}
    >>> rest = clinic.subset([name not in known for name in clinic.identifiers])
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
    names, others = dataset.identifiers, reference.identifiers
    exact = _equal(read, names, others)
    shared = set(dataset.groups) & set(reference.groups)
    uncounted = {group for group in shared if group.isdecimal()}
    uncounted |= _own_names(dataset) & _own_names(reference)
    touched, touching = pairs.touched.split([count, len(reference)])
    for left, right in exact:
        touched[left], touching[right] = True, True
    alike = {(names[a], others[b]) for a, b in rows}
    alike |= {(names[a], others[b]) for left, right in exact for a in left for b in right}
    named = set(names) & set(others)
    blank = int(read.blank.sum())
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
        uncounted=tuple(group for group in dict.fromkeys(dataset.groups) if group in uncounted),
        names=len(named),
        names_alike=sum((name, name) in alike for name in named),
        touched=_touched(dataset, touched, shared - uncounted),
        reference_touched=_touched(reference, touching, shared - uncounted),
        blank=blank,
        complete=pairs.complete and pairs.aligned and not blank,
        stopped=not pairs.complete,
        aligned=pairs.aligned,
    )


def _equal(
    read: Scan, names: Sequence[str], others: Sequence[str]
) -> list[tuple[list[int], list[int]]]:
    """Rows of equal content in both sets; of blank pictures, only those of one name, too."""
    rows: dict[tuple[int, str], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    count, named = len(names), zip((*names, *others), read.blank.tolist(), strict=True)
    for row, (number, (name, blank)) in enumerate(zip(read.content.tolist(), named, strict=True)):
        side = rows[number, name if blank else ""]
        side[row >= count].append(row if row < count else row - count)
    return [each for each in rows.values() if all(each)]


def _own_names(dataset: LesionDataset) -> set[str]:
    """Groups of one picture that are its name."""
    count, named = Counter(dataset.groups), zip(dataset.groups, dataset.identifiers, strict=True)
    return {group for group, name in named if group == name and count[group] == 1}


def _touched(dataset: LesionDataset, rows: Tensor, groups: Set[str]) -> tuple[str, ...]:
    """Names of the pictures of these rows, of these groups, and of the groups of these rows."""
    known = {group for group, row in zip(dataset.groups, rows.tolist(), strict=True) if row}
    known |= groups
    named = zip(dataset.identifiers, dataset.groups, strict=True)
    return tuple(name for name, group in named if group in known)


def _classes(dataset: LesionDataset) -> list[str]:
    return [dataset.classes[label] for label in dataset.labels.tolist()]


def _same(same: Same) -> str:
    return " = ".join(map(", ".join, (same.images, same.reference_images)))
