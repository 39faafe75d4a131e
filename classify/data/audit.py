"""Errors in a data set, and in a split of it, found before training.

The loaders refuse unreadable files, missing rows and unknown labels, and name them. The audit looks
for errors in data that can be read: duplicates, leaks, contradictory labels and empty pictures.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from .archive import listed
from .dataset import LesionDataset, check_dataset
from .near import near_pairs
from .scan import scan
from .split import Split

__all__ = [
    "Audit",
    "Conflict",
    "Leak",
    "Near",
    "audit",
    "check_threshold",
    "found_line",
    "near_words",
    "passed_over",
]

Parts: TypeAlias = Split | Mapping[str, LesionDataset]

_ROWS = 256  # masks read at once


class Near(NamedTuple):
    """Two pictures that differ, but not by much."""

    first: str
    second: str
    """Identifiers."""
    similarity: float
    """Correlation in the best pose, after alignment if that was needed."""
    same_group: bool
    same_label: bool


class Conflict(NamedTuple):
    """Equal pixels, or one group, with several labels."""

    kind: Literal["pixels", "group"]
    """Pictures with equal pixels, or all pictures of one group."""
    images: tuple[str, ...]
    labels: tuple[str, ...]
    """Class of each image."""


class Leak(NamedTuple):
    """An image, group or duplicate that is in more than one part of a split."""

    kind: Literal["image", "group", "exact", "near"]
    """Kind of leak: one identifier, one group, equal pixels, or a near duplicate."""
    names: tuple[str, ...]
    """The identifier, the group, or the pictures."""
    parts: tuple[str, ...]
    """The parts that contain the identifier or group, or the part of each picture."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Audit:
    """Findings of :func:`audit`. Printing it lists them; an empty field means none was found."""

    images: int
    """Number of pictures that were checked."""
    groups: int
    """Number of lesions, or other groups, among them."""
    exact: tuple[tuple[str, ...], ...]
    """Sets of pictures with equal pixels, as identifiers."""
    near: tuple[Near, ...]
    """Pairs of near duplicates that are not exact ones, the most similar first."""
    complete: bool
    """False when near duplicates may be missing: there were more than a million pairs, not all
    candidates were aligned, or blank pictures were skipped."""
    aligned: bool
    """False when so many pictures look alike that only the most similar pairs were aligned: crops
    and shifts may be missing."""
    conflicts: tuple[Conflict, ...]
    """Equal pixels, or one group, with different labels. A patient may have lesions of several
    classes; a single lesion may not. For similar pictures see :attr:`near` with ``same_label``
    False."""
    blank: tuple[str, ...]
    """Pictures of one colour, such as black ones: no channel varies by more than 4 codes. They are
    searched for exact duplicates, but not for near ones."""
    empty_masks: tuple[str, ...]
    """Pictures whose mask marks nothing."""
    stopped: bool = False
    """True when there were more than a million pairs of near duplicates: only a million are listed,
    and leaks may be missing."""
    parts: tuple[str, ...] = ()
    """Names of the parts of the split; empty if no split was given."""
    leaks: tuple[Leak, ...] = ()
    """Pictures or groups that are in more than one part of the split."""
    shared_lesions: float | None = None
    """Share of the test images whose group is also in training; None without these two parts."""

    def to_dict(self) -> dict[str, object]:
        """Return all fields, in types that JSON can hold."""
        records: dict[str, object] = {
            name: [record._asdict() for record in getattr(self, name)]
            for name in ("near", "conflicts", "leaks")
        }
        return vars(self) | records

    def __str__(self) -> str:
        strangers = [pair for pair in self.near if not pair.same_group]
        disagreeing = [pair for pair in self.near if not pair.same_label]
        lines = [
            f"audit of {self.images} pictures in {self.groups} groups",
            found_line("exact duplicates (equal pixels)", map(" = ".join, self.exact), "sets"),
            found_line(
                "near duplicates (flip, rotation, JPEG, small crop or shift)",
                map(near_words, self.near),
                "pairs",
                self._passed_over(),
            ),
            found_line("  of these in different groups", map(near_words, strangers), "pairs"),
            found_line("  of these under different labels", map(near_words, disagreeing), "pairs"),
            self._labelled("pixels", "label conflicts (equal pixels)"),
            # For patients this is usually correct.
            self._labelled(
                "group", "groups with several labels (an error for lesions, not for patients)"
            ),
            found_line("blank pictures (one colour)", self.blank, "pictures"),
            found_line("empty masks", self.empty_masks, "pictures"),
        ]
        if self.parts:
            lines.append(f"split into {', '.join(self.parts)}, found in more than one part:")
            lines += [self._leaked(kind) for kind in ("image", "group", "exact", "near")]
        if self.shared_lesions is not None:
            lines.append(
                f"  {self.shared_lesions:.1%} of the test pictures share their group with training"
            )
        return "\n".join(lines)

    def _passed_over(self) -> str:
        return passed_over(self.stopped, self.aligned, len(self.blank))

    def _labelled(self, kind: str, what: str) -> str:
        cases = [conflict for conflict in self.conflicts if conflict.kind == kind]
        return found_line(what, map(_conflict, cases), "cases")

    def _leaked(self, kind: str) -> str:
        what = {"image": "pictures", "group": "groups", "exact": "exact duplicates"}
        what = what.get(kind, "near duplicates")
        leaks = [leak for leak in self.leaks if leak.kind == kind]
        more = self._passed_over() if kind == "near" else ""
        return found_line(f"  {what}", map(_leak, leaks), more=more)


def audit(
    dataset: LesionDataset,
    split: Parts | None = None,
    *,
    threshold: float = 0.975,
    align: bool = True,
) -> Audit:
    """Look for duplicates, leaks, contradictions and empty pictures.

    ::

        images ─┬─ SHA-256 ───────────────────────────────► equal pixels
                └─ 20 x 20 ── all pairs, eight poses ──┬──► r > threshold ────────► near
                                                       └──► r > 0.88 ── aligned ──► near

    Near duplicates are pairs that correlate above ``threshold`` in one of the eight poses of the
    square, after averaging to 20 x 20 cells and subtracting the mean of each channel. This finds
    flips, rotations by right angles, JPEG and changes of contrast. Small crops and shifts are found
    by alignment: pairs that are somewhat similar, and more so to first order in scale and shift
    (tangent distance [1]_), are registered at 32 x 32 pixels by Gauss-Newton steps [2]_. They must
    then correlate above 0.98 (or ``threshold`` if that is higher). Alignment covers 8 % of half the
    side, that is, crops that keep at least 95 % of the side. Areas that are black in both pictures,
    such as the surround of a dermoscope, do not count as similarity: without them and the cells
    beside them the pictures must correlate as much, if a quarter of the frame is left.

    On one core the 10 015 pictures of HAM10000 take half a minute; the time of the plain comparison
    grows with the square of their number. Alignment has a budget: at most the million most similar
    pairs and poses, of which at most 50 000 are registered. Pictures of a common layout can use it
    up; ``aligned`` is then False. Memory in addition to the pictures: 40 kB per picture, the
    budget, and a block of pairs.

    Parameters
    ----------
    dataset : LesionDataset
        Data set to check; its pictures need at least 8 pixels along a side.
    split : Split, or mapping of str to LesionDataset, optional
        Parts of the data set, matched by identifier. In a mapping, use the names ``train``,
        ``validation`` and ``test`` for these parts. Pictures may be in no part.
    threshold : float
        Correlation above which a pair counts as near duplicates, in (0, 1).
    align : bool
        Also find crops and shifts. If False, only the 20 x 20 comparison is used.

    Returns
    -------
    Audit

    Raises
    ------
    TypeError
        When ``dataset`` is not a :class:`LesionDataset`, or ``split`` not a split.
    ValueError
        When ``threshold`` is not in (0, 1), the pictures are too small, or parts contain images
        that the data set does not have.

    References
    ----------
    .. [1] Simard, LeCun, Denker, "Efficient pattern recognition using a new transformation
       distance", NIPS 5 (1992).
    .. [2] Lucas, Kanade, "An iterative image registration technique with an application to stereo
       vision", IJCAI (1981).

    Examples
    --------
    >>> parts = split(dataset)
    >>> print(audit(dataset, parts))
    """
    check_dataset(dataset)
    check_threshold(threshold)
    names, labels = dataset.identifiers, dataset.labels.tolist()
    parts = _parts(split)
    sides = _sides(dataset, parts)
    read = scan(dataset)
    exact = _repeated(read.content)
    pairs = near_pairs(read.small, read.content, read.blank, threshold=threshold, align=align)
    near = [
        Near(
            names[a],
            names[b],
            round(value, 4),
            dataset.groups[a] == dataset.groups[b],
            labels[a] == labels[b],
        )
        for (a, b), value in zip(pairs.rows.tolist(), pairs.similarity.tolist(), strict=True)
    ]
    copies = [tuple(names[row] for row in rows) for rows in exact]
    known = set(parts["train"].groups) if "train" in parts else set()
    shared = None
    if known and "test" in parts:
        shared = float(np.mean([group in known for group in parts["test"].groups]))
    return Audit(
        images=len(dataset),
        groups=len(set(dataset.groups)),
        exact=tuple(copies),
        near=tuple(near),
        complete=pairs.complete and pairs.aligned and not bool(read.blank.any()),
        stopped=not pairs.complete,
        aligned=pairs.aligned,
        conflicts=tuple(_conflicts(dataset, exact)),
        blank=tuple(names[row] for row in torch.nonzero(read.blank).flatten().tolist()),
        empty_masks=_empty_masks(dataset),
        parts=tuple(parts),
        leaks=tuple(_leaks(parts, sides, copies, [(pair.first, pair.second) for pair in near])),
        shared_lesions=shared,
    )


# ------------------------------------------------------------------------------------ the pictures


def check_threshold(threshold: float) -> None:
    """Raise a ValueError unless ``threshold`` is a correlation between 0 and 1."""
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be a correlation between 0 and 1, got {threshold!r}")


def _empty_masks(dataset: LesionDataset) -> tuple[str, ...]:
    empty, marked = [], torch.nonzero(dataset.has_mask).flatten()
    for start in range(0, len(marked), _ROWS):
        rows = marked[start : start + _ROWS]
        nothing = ~dataset.gather_masks(rows).flatten(1).any(1)
        empty += [dataset.identifiers[row] for row in rows[nothing].tolist()]
    return tuple(empty)


def _repeated(content: Tensor) -> list[list[int]]:
    rows = defaultdict(list)
    for row, number in enumerate(content.tolist()):
        rows[number].append(row)
    return [same for same in rows.values() if len(same) > 1]


# ------------------------------------------------------------------------------ labels and parts


def _conflicts(dataset: LesionDataset, exact: Sequence[Sequence[int]]) -> Iterator[Conflict]:
    labels = dataset.labels.tolist()
    groups = defaultdict(list)
    for row, group in enumerate(dataset.groups):
        groups[group].append(row)
    cases: list[tuple[Literal["pixels", "group"], Sequence[int]]] = [
        *(("pixels", rows) for rows in exact),
        *(("group", rows) for rows in groups.values()),
    ]
    for kind, rows in cases:
        if len({labels[row] for row in rows}) > 1:
            yield Conflict(
                kind,
                tuple(dataset.identifiers[row] for row in rows),
                tuple(dataset.classes[labels[row]] for row in rows),
            )


def _parts(split: Parts | None) -> dict[str, LesionDataset]:
    if split is None:
        return {}
    found = split.parts if isinstance(split, Split) else split
    if not isinstance(found, Mapping):
        raise TypeError(
            'split must be a Split, or a mapping such as {"train": dataset, "test": another}, '
            f"not {type(split).__name__}"
        )
    for part in found.values():
        check_dataset(part)
    return dict(found)


def _sides(dataset: LesionDataset, parts: Mapping[str, LesionDataset]) -> dict[str, list[str]]:
    """Parts that each identifier is in."""
    sides = defaultdict(list)
    for name, part in parts.items():
        for identifier in part.identifiers:
            sides[identifier].append(name)
    strangers = sorted(sides.keys() - set(dataset.identifiers))
    if strangers:
        raise ValueError(
            f"the parts of the split hold {len(strangers)} pictures that the data set does not "
            f"have: {listed(strangers)}; audit the data set that was split"
        )
    return sides


def _leaks(
    parts: Mapping[str, LesionDataset],
    sides: Mapping[str, Sequence[str]],
    copies: Sequence[tuple[str, ...]],
    near: Sequence[tuple[str, ...]],
) -> Iterator[Leak]:
    for identifier, found in sides.items():
        if len(found) > 1:
            yield Leak("image", (identifier,), tuple(found))
    groups = defaultdict(list)
    for name, part in parts.items():
        for group in dict.fromkeys(part.groups):
            groups[group].append(name)
    for group, found in groups.items():
        if len(found) > 1:
            yield Leak("group", (group,), tuple(found))
    kinds: list[tuple[Literal["exact", "near"], Sequence[tuple[str, ...]]]] = [
        ("exact", copies),
        ("near", near),
    ]
    for kind, pictures in kinds:
        for names in pictures:
            placed = [(name, part) for name in names for part in sides.get(name, ())]
            # A picture that is in two parts is a leaked image, not a duplicate of itself.
            if len({name for name, _ in placed}) > 1 and len({part for _, part in placed}) > 1:
                yield Leak(kind, tuple(n for n, _ in placed), tuple(p for _, p in placed))


# -------------------------------------------------------------------------------------- in words


def found_line(what: str, names: Iterable[str], unit: str = "", more: str = "") -> str:
    """Number of findings, and the first of them."""
    texts = list(names)
    if not texts:
        return f"{what}: none{more}"
    return f"{what}: {len(texts)}{f' {unit}' if unit else ''}{more}: {listed(texts)}"


def passed_over(stopped: bool, aligned: bool, blank: int) -> str:
    """What the search for near duplicates left out."""
    said = ", and more that are not listed" if stopped else ""
    if not aligned:
        said += ", with only the most alike pairs aligned (others may be crops or shifts)"
    return said + (f", with {blank} blank pictures skipped" if blank else "")


def near_words(pair: Near) -> str:
    """Two pictures and their similarity."""
    return f"{pair.first} ~ {pair.second} ({pair.similarity:.3f})"


def _conflict(conflict: Conflict) -> str:
    pairs = zip(conflict.images, conflict.labels, strict=True)
    return " / ".join(f"{image} ({label})" for image, label in pairs)


def _leak(leak: Leak) -> str:
    if len(leak.names) == 1:
        return f"{leak.names[0]} ({', '.join(leak.parts)})"
    return " ~ ".join(f"{name} ({part})" for name, part in zip(leak.names, leak.parts, strict=True))
