"""Checks of the arrays of a data set (codes, names, labels, masks, rows), and their container.

Each array is checked once, when the data set is made.
"""

import hashlib
import json
import operator
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from .archive import listed

__all__ = [
    "DEPTHS",
    "Array",
    "Arrays",
    "Index",
    "MappedFile",
    "Names",
    "SceneEncoding",
    "as_index",
    "as_integer",
    "as_levels",
    "as_names",
    "as_tensor",
    "check_scene_encoding",
    "checked_images",
    "checked_labels",
    "checked_masks",
    "content_hash",
    "looks_turned",
    "mapped_files",
    "nearly_black",
    "warn_of_absent",
    "warn_of_classes",
    "warn_of_grey",
    "warn_of_nearly_black",
]

Array: TypeAlias = Tensor | np.ndarray
Names: TypeAlias = Sequence[str] | Sequence[int] | np.ndarray | Tensor
Index: TypeAlias = Tensor | np.ndarray | Sequence[int]
SceneEncoding: TypeAlias = Literal["srgb", "linear"]

_ROWS = 64  # pictures read at once
_COLOURS = 4  # channels that come last in most arrays of pictures, at most
#: The codes that pictures may be, and their bits.
DEPTHS = {torch.uint8: 8, torch.uint16: 16}


def as_levels(images: Tensor) -> Tensor:
    """Codes as levels of 8 bits, those of 16 bits between whole ones.

    Parameters
    ----------
    images : Tensor, uint8 or uint16 ``[...]``

    Returns
    -------
    Tensor, float32 ``[...]``
        In 0..255.

    Raises
    ------
    ValueError
        When they are no codes.
    """
    if images.dtype not in DEPTHS:
        raise ValueError(f"levels are of uint8 or uint16 codes, got {images.dtype}")
    if images.dtype == torch.uint16:
        # By way of int32, for which torch has all operations; 65535 / 257 is 255.
        return images.view(torch.int16).int().bitwise_and_(0xFFFF).float().div_(257)
    return images.float()


def as_integer(value: object) -> int | None:
    """An integer of Python, NumPy or torch as int; None for what is none, as True and 2.0."""
    if isinstance(value, Tensor) and (value.ndim > 0 or value.dtype == torch.bool):
        return None
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        return None


def as_tensor(array: Array | Sequence[int]) -> Tensor:
    """Tensor of what may be an array, also one of big-endian files or one that runs backwards."""
    if isinstance(array, np.ndarray):
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        if any(stride < 0 for stride in array.strides):
            array = array.copy()
    return torch.as_tensor(array)


def checked_images(images: Array) -> Tensor:
    """Codes ``[N, C, H, W]``, of one picture at least."""
    try:
        images = as_tensor(images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            "images must be one array or Tensor of codes [N, C, H, W], as torch.stack makes of "
            f"Tensors of one size, got {type(images).__name__} ({error})"
        ) from error
    if images.ndim != 4 or images.dtype not in DEPTHS:
        raise ValueError(
            f"images must be uint8 or uint16 codes [N, C, H, W], got {images.dtype} "
            f"{list(images.shape)}; turn values in [0, 1] into codes with "
            "(x * 255).round().to(torch.uint8), or 65535 and torch.uint16"
        )
    if images.numel() == 0:
        raise ValueError(f"the data set is empty: images has shape {list(images.shape)}")
    return images


def looks_turned(images: Array) -> bool:
    """Whether pictures ``[N, C, H, W]`` may be ``[N, H, W, C]`` instead."""
    return images.ndim == 4 and images.shape[3] <= _COLOURS < images.shape[1]


def as_names(names: Names, what: str, count: int) -> tuple[str, ...]:
    """``count`` names as strings; a missing one is refused."""
    values = names.tolist() if isinstance(names, Tensor | np.ndarray) else names
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != count:
        listed = isinstance(values, Sequence) and not isinstance(values, str)
        given = len(values) if listed else repr(values)
        raise ValueError(f"{what} needs {count} names, one for each image, got {given}")
    for position, value in enumerate(values):
        # A missing name (NaN, None, "") would silently make one lesion of many.
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise ValueError(
                f"{what}[{position}] is {value!r}; a name is a non-empty str or an int"
            )
    return tuple(map(str, values))


def warn_of_classes(
    labels: Array | Sequence[int],
    classes: Sequence[str],
    *,
    where: str,
    or_else: str = "",
) -> None:
    """Warn if the labels, from which the classes are taken, have one class or leave some out.

    Do not call it if the user gave the names of the classes: a test set may lack some.

    Parameters
    ----------
    labels : Tensor, array or sequence of int, ``[N]``
        Indices into ``classes``.
    classes : sequence of str
        Names that were made of the labels.
    where : str
        What has them, for the message.
    or_else : str
        What else may be done about one class.
    """
    present = sorted({int(label) for label in labels})
    if len(present) == 1:
        warnings.warn(
            f"{where} has pictures of one class only, {classes[present[0]]}: a trained run can be "
            "tested on them, given the names of all its classes, but they cannot train or compare "
            f"classifiers. To train, add pictures of at least one other class{or_else}",
            stacklevel=3,
        )
    elif empty := sorted(set(range(len(classes))) - set(present)):
        named = listed(classes[label] for label in empty)
        warnings.warn(
            f"{where} has labels up to {present[-1]} and no picture of {named}, but a classifier "
            "would have outputs for them: number the labels from 0 without gaps, or give the names "
            "of all classes if they are intended",
            stacklevel=3,
        )


def warn_of_absent(
    present: Iterable[str], classes: Iterable[str], *, where: str, stacklevel: int = 3
) -> None:
    """Warn if some of the ``classes`` that the user named are not ``present``.

    Parameters
    ----------
    present, classes : iterable of str
        Names.
    where : str
        What has no picture of them, for the message.
    stacklevel : int
        As of :func:`warnings.warn`, counted from here.
    """
    there = set(present)
    if absent := [name for name in classes if name not in there]:
        warnings.warn(
            f"{where} has no picture of {listed(absent)}, which classes= lists: a run with this "
            "class can be tested on the others, but a classifier trained here would not learn it",
            stacklevel=stacklevel,
        )


def warn_of_grey(images: Tensor, *, where: str) -> None:
    """Warn if all pictures are grey in several channels.

    Parameters
    ----------
    images : Tensor, uint8 or uint16 ``[N, C, H, W]``
        Read up to the first with a colour.
    where : str
        What has them, for the message.
    """
    if images.shape[1] == 1:
        return
    for block in images.split(_ROWS):
        codes = block.numpy()
        if (codes[:, 1:] != codes[:, :1]).any():
            return
    warnings.warn(
        f"{where} has only grey pictures, and each becomes three equal channels, for each of which "
        "a sensor has separate light and noise: three times the light of a monochrome camera, and "
        "three planes to code. Give channels=1 (--data.channels 1) for such a camera, or "
        "channels=3 if three are intended",
        stacklevel=3,
    )


def nearly_black(brightest: int, *, depth: int) -> str:
    """What is said of codes of which the ``brightest`` is nearly black; nothing of others.

    Of 16 bits, those of a camera of 12 are, which nobody scaled; of 8 bits, 0 and 1. All black is
    meant.
    """
    if not 0 < brightest <= (4095 if depth == 16 else 1):
        return ""
    # The next power of two: the same words for all pictures of a camera, shown once.
    return f"holds no code above {2 ** brightest.bit_length() - 1}, and becomes nearly black"


def warn_of_nearly_black(images: Tensor, *, stacklevel: int) -> None:
    """Warn where no code of ``images`` is bright, see :func:`nearly_black`.

    Parameters
    ----------
    images : Tensor, uint8 or uint16 ``[N, C, H, W]``
        Read up to the first bright one.
    stacklevel : int
        As of :func:`warnings.warn`, counted from here.
    """
    depth, brightest = DEPTHS[images.dtype], 0
    for block in images.split(_ROWS):
        brightest = max(brightest, int(block.numpy().max()))  # which torch has not of uint16
        if brightest and not nearly_black(brightest, depth=depth):
            return
    if said := nearly_black(brightest, depth=depth):
        white = 2**depth - 1
        camera = f", codes * ({white} / 4095) of a camera of 12 bits" if depth == 16 else ""
        warnings.warn(
            f"the data set {said}: scale the codes so that {white} is white{camera}",
            stacklevel=stacklevel + 1,
        )


class MappedFile(NamedTuple):
    """A file that a data set reads its pictures from while it is used, and its state at first."""

    path: str
    state: tuple[int, ...]

    @classmethod
    def of(cls, path: str) -> "MappedFile":
        """A file as it is now."""
        return cls(path, _state(path))

    def check(self) -> None:
        """Refuse, by a ValueError, a file that was written to: what it showed may be no more.

        That is told by its size and time, so one that was touched is refused, too.
        """
        try:
            now = _state(self.path)
        except OSError:  # of a file without a name, the map still has the content
            return
        # So it has where another file was given the name.
        if now[:2] == self.state[:2] and now != self.state:
            raise ValueError(
                f"{self.path} was modified, or touched, while a data set reads its pictures from "
                "it: open it again, and replace such a file by renaming a new one, as "
                "classify.save_scenes does"
            )


def _state(path: str) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def mapped_files(*arrays: object) -> tuple[MappedFile, ...]:
    """The files of those arrays that are memory maps of what they do not write, or views of some.

    A Tensor does not say what its memory is of: the file of ``torch.from_numpy(mapped)`` is
    not found.
    """
    paths = []
    for array in arrays:
        owner = array
        while isinstance(owner, np.ndarray):
            if isinstance(owner, np.memmap) and owner.filename and owner.mode in ("c", "r"):
                paths.append(str(owner.filename))
            owner = owner.base
    return tuple(map(MappedFile.of, dict.fromkeys(paths)))


def check_scene_encoding(encoding: SceneEncoding | None) -> None:
    """Refuse an ``encoding`` that is unknown.

    Raises
    ------
    ValueError
        When it is neither of the two, nor None.
    """
    if encoding is not None and encoding not in get_args(SceneEncoding):
        raise ValueError(f"encoding must be 'srgb', 'linear' or None, got {encoding!r}")


def checked_labels(labels: Array | Sequence[int], classes: tuple[str, ...], count: int) -> Tensor:
    """Labels int64 ``[count]``, each of one of the ``classes``."""
    try:
        labels = as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"labels must be {count} integers, one for each image: the position of its class in "
            f"{classes}, not its name ({error})"
        ) from error
    if labels.shape != (count,) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels must be {count} integers, one for each image, got {labels.dtype} "
            f"{list(labels.shape)}"
        )
    labels = labels.to(torch.int64)
    wrong = torch.nonzero((labels < 0) | (labels >= len(classes))).flatten()
    if len(wrong) > 0:
        raise ValueError(
            f"labels must lie in 0..{len(classes) - 1} for the classes {classes}, but labels"
            f"[{int(wrong[0])}] is {int(labels[wrong[0]])} ({len(wrong)} such labels in all)"
        )
    return labels


def checked_masks(
    masks: Array | None, has_mask: Array | None, images: Tensor
) -> tuple[Tensor | None, Tensor]:
    """Masks ``[N, H, W]`` that fit the images, if there are any, and which are real ``[N]``."""
    count, _, height, width = images.shape
    if masks is None:
        if has_mask is not None:
            raise ValueError("has_mask says which masks are real; give masks with it")
        return None, torch.zeros(count, dtype=torch.bool)
    masks = as_tensor(masks)
    if masks.shape != (count, height, width) or masks.dtype not in (torch.bool, torch.uint8):
        raise ValueError(
            f"masks must be bool or uint8 {[count, height, width]} to fit the images, got "
            f"{masks.dtype} {list(masks.shape)}"
        )
    if has_mask is None:
        return masks, torch.ones(count, dtype=torch.bool)
    has_mask = torch.as_tensor(has_mask)
    if has_mask.shape != (count,) or has_mask.dtype != torch.bool:
        raise ValueError(
            f"has_mask must be bool [{count}], got {has_mask.dtype} {list(has_mask.shape)}"
        )
    return masks, has_mask


def as_index(index: Index, count: int) -> Tensor:
    """Positions as int64, from integers or from a bool mask over all rows."""
    try:
        index = torch.as_tensor(index, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"an index must be integers [M] or bool [{count}]: {error}") from error
    if index.numel() == 0 and index.dtype != torch.bool:
        return index.to(torch.int64).flatten()
    if index.dtype == torch.bool and index.shape == (count,):
        return torch.nonzero(index).flatten()
    if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
        raise ValueError(
            f"an index must be integers [M] or bool [{count}], got {index.dtype} "
            f"{list(index.shape)}"
        )
    index = index.to(torch.int64)
    beyond = index[(index < -count) | (index >= count)]
    if len(beyond):
        raise IndexError(f"index {int(beyond[0])} is out of range for {count} images")
    return index


def content_hash(*parts: object) -> str:
    """SHA-256 of values that JSON can hold: how every fingerprint here is made."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, eq=False, kw_only=True)
class Arrays:
    """The checked arrays that a data set and all its subsets share."""

    images: Tensor
    labels: Tensor
    groups: tuple[str, ...]
    identifiers: tuple[str, ...]
    classes: tuple[str, ...]
    masks: Tensor | None
    has_mask: Tensor
    metadata: dict[str, np.ndarray]
    encoding: SceneEncoding | None
    hashed_encoding: SceneEncoding | None
    """What it was when the arrays were put together: it is a part of their identity."""
    given_fingerprint: str
    files: tuple[MappedFile, ...] = ()
    """What images and masks are read from while they are used."""

    def check_files(self) -> None:
        """Refuse to read on from a file that was written to."""
        for file in self.files:
            file.check()

    def taken_as(self, encoding: SceneEncoding | None) -> "Arrays":
        """The same, said to be of another encoding; the identity stays."""
        known = self.given_fingerprint or vars(self).get("fingerprint", "")
        return replace(self, encoding=encoding, given_fingerprint=known)

    def grouped(self, groups: tuple[str, ...]) -> "Arrays":
        """The same in other groups, which have another identity."""
        known = self.given_fingerprint  # without one they are hashed with everything else
        return replace(
            self,
            groups=groups,
            given_fingerprint=known and content_hash("grouped", known, groups),
        )

    def __getstate__(self) -> dict[str, Any]:
        self.check_files()
        # A copy has pixels of its own, whatever becomes of the files.
        state = dict(vars(self)) | {"files": ()}
        # A pickled uint16 tensor cannot be read (torch 2.15); its bits can, and say the same.
        if self.images.dtype == torch.uint16:
            state["images"] = self.images.view(torch.int16)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["images"].dtype == torch.int16:
            state = state | {"images": state["images"].view(torch.uint16)}
        vars(self).update(state)

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the content: what was given, or the hash of all of it."""
        if self.given_fingerprint:
            return self.given_fingerprint
        self.check_files()
        pixels = hashlib.sha256()
        for block in self.images.split(256):  # a memory map need not fit into memory
            pixels.update(block.numpy().tobytes())
        if self.masks is not None:
            for block, real in zip(self.masks.split(256), self.has_mask.split(256), strict=True):
                # As a file holds them: whatever is not 0 is 1, and what is no mask is nothing.
                pixels.update(((block != 0) & real[:, None, None]).numpy().tobytes())
        return content_hash(
            pixels.hexdigest(),
            list(self.images.shape),
            self.has_mask.tolist(),
            self.labels.tolist(),
            self.classes,
            self.groups,
            self.identifiers,
            # What was hashed before there were these two stays as it was.
            *([] if self.hashed_encoding is None else [self.hashed_encoding]),
            *([] if self.images.dtype == torch.uint8 else [str(self.images.dtype)]),
        )
