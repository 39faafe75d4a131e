"""Labelled pictures held as arrays: the data type that every loader returns.

Pictures stay integer codes of 8 or 16 bits and, if they come from a cache, on disk (a memory map);
a subset shares them. :meth:`LesionDataset.gather` copies a batch.
"""

import operator
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from .arrays import (
    DEPTHS,
    Array,
    Arrays,
    Index,
    Names,
    SceneEncoding,
    as_index,
    as_names,
    check_scene_encoding,
    checked_images,
    checked_labels,
    checked_masks,
    content_hash,
    looks_turned,
    mapped_files,
    warn_of_nearly_black,
)
from .table import is_missing

__all__ = [
    "LESION_CLASSES",
    "Batch",
    "Lesion",
    "LesionDataset",
    "check_classes",
    "check_dataset",
    "joined",
]

#: The seven diagnoses of HAM10000, in the order used for all labels, logits and tables.
LESION_CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


_ROWS = 256  # pictures hashed at once

#: Advice in errors for a torch data set.
FROM_TORCH = "convert a torch data set with classify.from_torch(dataset, groups=)"


class Lesion(NamedTuple):
    """One labelled picture."""

    image: Tensor
    """Codes, uint8 or uint16 ``[C, H, W]``."""
    label: int
    """Index into :attr:`LesionDataset.classes`."""
    mask: Tensor | None
    """True on the lesion, bool ``[H, W]``; None if the source has no mask."""
    group: str
    """Lesion of the picture; a split must not divide the pictures of one group."""
    identifier: str
    """Name of the picture, unique in its data set."""


class Batch(NamedTuple):
    """Several pictures at once."""

    images: Tensor
    """Codes, uint8 or uint16 ``[B, C, H, W]``."""
    labels: Tensor
    """int64 ``[B]``."""

    def take(self, rows: Tensor) -> "Batch":
        """Copy the pictures ``rows`` (int64 ``[M]``, repeats allowed), on their device."""
        images = self.images
        # Torch supports few uint16 operations; the bits are the same.
        if images.dtype == torch.uint16:
            images = images.view(torch.int16)
        return Batch(images.index_select(0, rows).view(self.images.dtype), self.labels[rows])


def _collated(lesions: Sequence[Lesion], **_: object) -> Batch:
    """Collate several items for torch's ``DataLoader``, as :meth:`LesionDataset.gather` does."""
    # torch supports few uint16 operations; the bits are the same.
    kind = lesions[0].image.dtype
    bits = [item.image.view(torch.int16 if kind == torch.uint16 else kind) for item in lesions]
    labels = torch.tensor([item.label for item in lesions])
    return Batch(torch.stack(bits).view(kind), labels)


# By default a loader stacks the fields of an item, and a mask that is None cannot be stacked. This
# registers another way (see the docstring of torch's default_collate).
default_collate_fn_map[Lesion] = _collated


@final
class LesionDataset:
    """Pictures with labels, groups and, where known, lesion masks.

    ``dataset[i]`` is a :class:`Lesion`; all attributes are in the order of the rows. The arrays are
    checked once, at construction; :meth:`subset` shares them. torch's ``DataLoader`` combines
    several items into a :class:`Batch`, as :meth:`gather` does.

    Parameters
    ----------
    images : Tensor or array, uint8 or uint16 ``[N, C, H, W]``
        Codes, on the CPU; the largest code of the type is white. May be a memory map (open it with
        ``mode="c"``). If its file is written to later, reading from it raises an error. For a
        Tensor made from such a map, the file is unknown and not checked.
    labels : Tensor, array or sequence of int, ``[N]``
        Indices into ``classes``.
    groups : sequence of str or int, length N
        Lesion (or patient) of each picture. Give a picture of an unknown lesion its own group, such
        as its identifier; "NA", "unknown", ... are refused.
    identifiers : sequence of str or int, length N
        Unique name of each picture.
    classes : sequence of str
        Names of the classes.
    masks : Tensor or array, bool or uint8 ``[N, H, W]``, optional
        Non-zero on the lesion.
    has_mask : Tensor or array, bool ``[N]``, optional
        Which pictures have a mask; by default all of them if ``masks`` is given.
    metadata : mapping of str to array of length N, optional
        Further columns (age, sex, site, ...).
    encoding : {"srgb", "linear"}, optional
        Meaning of the codes: sRGB as in a picture file, or proportional to light as in a camera's
        raw data. A system that expects another encoding is then refused. If not given, the system's
        setting is used.
    fingerprint : str, optional
        Identity of the content. By default it is hashed from classes, names, labels, groups,
        pictures and masks at first use.

    Raises
    ------
    ValueError
        When lengths, types or labels do not agree, a name or group is missing or a name is not
        unique, or there is no picture at all.

    Warns
    -----
    UserWarning
        When there are more than four channels and at most four columns: the channels seem to come
        last. When no fingerprint is given, and no 16-bit code is above 4095, or no 8-bit code above
        1: the pictures become nearly black.
    """

    def __init__(
        self,
        *,
        images: Array,
        labels: Array | Sequence[int],
        groups: Names,
        identifiers: Names,
        classes: Sequence[str] = LESION_CLASSES,
        masks: Array | None = None,
        has_mask: Array | None = None,
        metadata: Mapping[str, np.ndarray | Sequence[object]] | None = None,
        encoding: SceneEncoding | None = None,
        fingerprint: str = "",
    ) -> None:
        files = mapped_files(images, masks)
        images = checked_images(images)
        check_scene_encoding(encoding)
        count = len(images)
        names = as_names(identifiers, "identifiers", count)
        if len(set(names)) < count:
            name, times = Counter(names).most_common(1)[0]
            raise ValueError(f"identifiers must be unique, but {name!r} occurs {times} times")
        if looks_turned(images):
            _, channels, height, width = images.shape
            warnings.warn(
                f"images {list(images.shape)} are taken as {channels} channels of {height} x "
                f"{width} pixels; if the channels come last, give np.moveaxis(images, -1, 1)",
                stacklevel=2,
            )
        if not fingerprint:  # loaders of files warn for each picture
            warn_of_nearly_black(images, stacklevel=2)
        listed = classes.tolist() if isinstance(classes, np.ndarray) else tuple(classes)
        kinds = as_names(listed, "classes", len(listed))
        if not kinds or len(set(kinds)) < len(kinds):
            raise ValueError(f"classes must be different names, at least one, got {kinds}")
        masks, has_mask = checked_masks(masks, has_mask, images)
        columns = {}
        if metadata is not None:  # not its truth value, which a DataFrame lacks
            columns = {name: np.asarray(column) for name, column in metadata.items()}
        for name, column in columns.items():
            if column.shape[:1] != (count,):
                raise ValueError(
                    f"metadata column {name!r} has shape {column.shape}; it needs {count} rows, "
                    "one for each image"
                )
        self._arrays = Arrays(
            images=images,
            labels=checked_labels(labels, kinds, count),
            groups=_checked_groups(groups, names),
            identifiers=names,
            classes=kinds,
            masks=masks,
            has_mask=has_mask,
            metadata=columns,
            encoding=encoding,
            hashed_encoding=encoding,
            given_fingerprint=fingerprint,
            files=files,
        )
        self._rows = torch.arange(count)

    @classmethod
    def _view(cls, arrays: Arrays, rows: Tensor) -> "LesionDataset":
        view = object.__new__(cls)
        view._arrays = arrays
        view._rows = rows
        return view

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Lesion:
        try:
            position = operator.index(index)
        except TypeError:
            raise TypeError(
                f"an index must be an integer, got {index!r}; use subset(...) for a smaller "
                "data set and gather(...) for a batch"
            ) from None
        if not -len(self) <= position < len(self):
            raise IndexError(f"index {position} is out of range for {len(self)} images")
        row, arrays = int(self._rows[position]), self._arrays
        arrays.check_files()
        mask = None
        if arrays.masks is not None and arrays.has_mask[row]:
            mask = arrays.masks[row] != 0
        return Lesion(
            image=arrays.images[row].clone(),
            label=int(arrays.labels[row]),
            mask=mask,
            group=arrays.groups[row],
            identifier=arrays.identifiers[row],
        )

    def __iter__(self) -> Iterator[Lesion]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.image_size
        counts = zip(self.classes, self.counts.tolist(), strict=True)
        return (
            f"LesionDataset({len(self)} images [{self.channels}, {height}, {width}]"
            f"{'' if self.bit_depth == 8 else f' of {self.bit_depth} bits'} of "
            f"{len(set(self.groups))} lesions: "
            + ", ".join(f"{name} {count}" for name, count in counts)
            + ")"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return self._arrays.classes

    @property
    def channels(self) -> int:
        """Number of channels C of the pictures."""
        return self._arrays.images.shape[1]

    @property
    def bit_depth(self) -> int:
        """Bits of a code: 8 or 16."""
        return DEPTHS[self._arrays.images.dtype]

    @property
    def encoding(self) -> SceneEncoding | None:
        """Encoding of the codes, ``srgb`` or ``linear``; None if it was not given."""
        return self._arrays.encoding

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the pictures, in pixels."""
        height, width = self._arrays.images.shape[2:]
        return height, width

    @cached_property
    def labels(self) -> Tensor:
        """Label of each row, int64 ``[N]``."""
        return self._arrays.labels[self._rows]

    @property
    def targets(self) -> Tensor:
        """The labels ``[N]``, under the name that torchvision uses."""
        return self.labels

    @cached_property
    def counts(self) -> Tensor:
        """Pictures of each class, int64 ``[K]``."""
        return torch.bincount(self.labels, minlength=len(self.classes))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Lesion of each row."""
        return tuple(self._arrays.groups[row] for row in self._rows.tolist())

    @cached_property
    def identifiers(self) -> tuple[str, ...]:
        """Name of each row."""
        return tuple(self._arrays.identifiers[row] for row in self._rows.tolist())

    @cached_property
    def has_mask(self) -> Tensor:
        """Which rows have a lesion mask, bool ``[N]``."""
        return self._arrays.has_mask[self._rows]

    @cached_property
    def metadata(self) -> dict[str, np.ndarray]:
        """Further columns, each of length N."""
        rows = self._rows.numpy()
        return {name: column[rows] for name, column in self._arrays.metadata.items()}

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the content.

        The fingerprint of a subset derives from that of its source and from its picture names, in
        their order. A subset of a subset therefore agrees with the same subset taken at once.
        """
        if torch.equal(self._rows, torch.arange(len(self._arrays.identifiers))):
            return self._arrays.fingerprint
        return content_hash(self._arrays.fingerprint, self.identifiers)

    def gather(self, index: Index) -> Batch:
        """Copy the rows ``index`` (int ``[B]``, repeats allowed) into one contiguous batch.

        Raises
        ------
        ValueError
            When the index is not integers ``[B]`` or bool ``[N]``, or when the file of the pictures
            was modified.
        IndexError
            When a row is beyond the last one.
        """
        self._arrays.check_files()
        rows = self._rows[as_index(index, len(self))]
        return Batch(self._arrays.images, self._arrays.labels).take(rows)

    def gather_masks(self, index: Index) -> Tensor:
        """Copy the lesion masks of the rows ``index``, bool ``[B, H, W]``.

        Raises
        ------
        ValueError
            When one of the rows has no mask; also as in :meth:`gather`.
        IndexError
            When a row is beyond the last one.
        """
        self._arrays.check_files()
        rows = self._rows[as_index(index, len(self))]
        without = rows[~self._arrays.has_mask[rows]]
        if self._arrays.masks is None or len(without) > 0:
            names = [self._arrays.identifiers[row] for row in without[:3].tolist()]
            raise ValueError(
                f"{len(without)} of the {len(rows)} images have no lesion mask ({', '.join(names)}"
                f"{', ...' if len(without) > len(names) else ''}); "
                "use dataset.subset(dataset.has_mask)"
            )
        return self._arrays.masks.index_select(0, rows) != 0

    def subset(self, index: Index) -> "LesionDataset":
        """Return a data set of the rows ``index`` (int ``[M]``, or bool ``[N]``), in that order.

        Raises
        ------
        ValueError
            When no row is left or a row occurs twice. Oversample when drawing batches instead: a
            picture that occurs twice could be put into two parts by a later split.
        IndexError
            When a row is beyond the last one.
        """
        positions = as_index(index, len(self))
        rows = self._rows[positions]
        if len(rows) == 0:
            raise ValueError("a subset needs at least one image, got an empty index")
        if len(torch.unique(rows)) < len(rows):
            raise ValueError(
                "a subset contains each image once, but the index repeats some; "
                "repeat images with gather(...) instead, after the split"
            )
        return self._view(self._arrays, rows)

    def taken_as(self, encoding: SceneEncoding | None) -> "LesionDataset":
        """Return the same data set with another ``encoding`` of its codes.

        For linear light in file formats that usually hold sRGB. The fingerprint does not change.

        Raises
        ------
        ValueError
            When the encoding is unknown.
        """
        check_scene_encoding(encoding)
        return self._view(self._arrays.taken_as(encoding), self._rows)

    def grouped(self, groups: Names) -> "LesionDataset":
        """Return the same pictures with other groups, for instance by patient.

        For sources without groups, and to split, resample and test by a coarser unit than the
        lesion. The groups are part of the fingerprint: for a run this is another data set.

        Parameters
        ----------
        groups : sequence of str or int, length N
            Lesion (or patient) of each row, such as ``dataset.metadata["patient_id"]``.

        Returns
        -------
        LesionDataset

        Raises
        ------
        ValueError
            When there is not one name for each row, or one is missing ("NA", "unknown", ...).
        """
        names = _checked_groups(groups, self.identifiers)
        whole = list(self._arrays.groups)
        for row, name in zip(self._rows.tolist(), names, strict=True):
            whole[row] = name
        return self._view(self._arrays.grouped(tuple(whole)), self._rows)

    def redrawn(self, images: Array, *, masks: Array | None = None) -> "LesionDataset":
        """Return a data set with another picture in each row; all other columns and encoding stay.

        Parameters
        ----------
        images : Tensor or array, uint8 or uint16 ``[N, C, H, W]``
            The new pictures, of any size.
        masks : Tensor or array, bool or uint8 ``[N, H, W]``, optional
            Their masks; by default none.

        Raises
        ------
        ValueError
            When they do not fit the rows.
        """
        if len(images) != len(self):
            raise ValueError(f"{len(self)} rows need as many images, got {len(images)}")
        made = LesionDataset(
            images=images,
            labels=self.labels,
            groups=self.groups,
            identifiers=self.identifiers,
            classes=self.classes,
            masks=masks,
            metadata=self.metadata,
            encoding=self._arrays.hashed_encoding,
        )
        return made.taken_as(self.encoding)

    def same_set_as(self, other: "LesionDataset") -> bool:
        """Return whether both are parts of one data set, as after a split.

        Parameters
        ----------
        other : LesionDataset

        Returns
        -------
        bool
        """
        return self._arrays.identifiers is other._arrays.identifiers

    def shared(self, other: "LesionDataset", *, named: bool = False) -> tuple[str, ...]:
        """Return the names of the pictures that are also in ``other``.

        For two parts of one data set, these are the rows in both. For two data sets, they are the
        pictures with equal codes, whatever their names. Pictures of a single colour, such as black
        frames, must also have equal names, since their codes may be equal by chance.

        Parameters
        ----------
        other : LesionDataset
        named : bool
            Return only pictures that also have the same name in ``other``.

        Returns
        -------
        tuple of str

        Raises
        ------
        TypeError
            When ``other`` is not a :class:`LesionDataset`.
        """
        check_dataset(other)
        if self.same_set_as(other):
            rows = self._rows[torch.isin(self._rows, other._rows)]
            return tuple(self._arrays.identifiers[row] for row in rows.tolist())
        if self._kind != other._kind:
            return ()
        names: dict[bytes, set[str]] = defaultdict(set)
        for name, codes in zip(other.identifiers, other._hashes, strict=True):
            names[codes].add(name)
        return tuple(
            name
            for row, (name, codes) in enumerate(zip(self.identifiers, self._hashes, strict=True))
            if codes in names and (name in names[codes] or not (named or _is_flat(self[row].image)))
        )

    @property
    def _kind(self) -> tuple[int, ...]:
        return (*self._arrays.images.shape[1:], self.bit_depth)

    @cached_property
    def _hashes(self) -> list[bytes]:
        """Hashes of the codes of each row, comparable between sets of one kind."""
        return [
            sha256(codes).digest()
            for block in torch.arange(len(self)).split(_ROWS)
            for codes in self.gather(block).images.numpy()
        ]


def _is_flat(image: Tensor) -> bool:
    codes = image.numpy()
    return bool((codes == codes[:, :1, :1]).all())


def _checked_groups(groups: Names, identifiers: Sequence[str]) -> tuple[str, ...]:
    """Checked groups of the pictures with these identifiers; an identifier is always allowed."""
    names = as_names(groups, "groups", len(identifiers))
    for position, (name, own) in enumerate(zip(names, identifiers, strict=True)):
        if name != own and is_missing(name):
            raise ValueError(
                f"groups[{position}] is {name!r}, which is not a group: give a picture of an "
                "unknown lesion its own group, such as its identifier"
            )
    return names


def joined(parts: Sequence[LesionDataset], places: Sequence[Tensor]) -> LesionDataset | None:
    """The data set of which these are ``parts``, each at its ``places`` in it, int64 ``[M]``.

    None if the parts do not share their arrays, or lack a place for a picture.
    """
    arrays = parts[0]._arrays
    if any(part._arrays is not arrays for part in parts) or any(
        len(part) != len(place) for part, place in zip(parts, places, strict=True)
    ):
        return None
    rows = torch.cat([part._rows for part in parts])
    return LesionDataset._view(arrays, rows[torch.cat(list(places)).argsort()])


def check_dataset(dataset: object) -> None:
    """Raise a TypeError unless ``dataset`` is a :class:`LesionDataset`."""
    if not isinstance(dataset, LesionDataset):
        remedy = f"; {FROM_TORCH}" if isinstance(dataset, Dataset | DataLoader) else ""
        raise TypeError(
            f"dataset must be a classify.LesionDataset, not {type(dataset).__name__}{remedy}"
        )


def check_classes(dataset: LesionDataset) -> None:
    """Raise an error for a ``dataset`` that cannot train a classifier.

    Raises
    ------
    TypeError
        When ``dataset`` is not a :class:`LesionDataset`.
    ValueError
        When fewer than two classes have pictures.
    """
    check_dataset(dataset)
    present = [dataset.classes[label] for label in dataset.counts.nonzero().flatten().tolist()]
    if len(present) < 2:
        raise ValueError(
            f"the data set of {len(dataset)} pictures has only one class ({present[0]}); it cannot "
            "train a classifier, nor be divided to train one: add pictures of at least one other "
            "class"
        )
