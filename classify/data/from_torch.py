"""Conversion of torch and torchvision data sets into arrays of pictures and labels.

::

    dataset[i] = (picture, label) ──► codes [N, C, H, W], labels [N] ──► LesionDataset
    dataset.classes, .samples, Subset.indices ──► names of classes and pictures
"""

import math
import operator
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset
from tqdm import tqdm

from .archive import listed
from .arrays import (
    DEPTHS,
    Names,
    SceneEncoding,
    as_integer,
    as_tensor,
    looks_turned,
    warn_of_classes,
)
from .dataset import LesionDataset
from .decode import TRANSPARENT, with_alpha

__all__ = ["from_torch"]

# Modes of PIL whose channels are no colours; those of CMYK would pass for four.
_TO_RGB = ("P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
_GREY = ("L", "LA")


def from_torch(
    dataset: Dataset[Any],
    classes: Sequence[str] | None = None,
    *,
    groups: Names | None = None,
    identifiers: Names | None = None,
    bit_depth: Literal[8, 16] = 8,
    encoding: SceneEncoding | None = None,
    progress: bool = True,
) -> LesionDataset:
    """Read a map-style torch data set, such as torchvision's, into memory.

    Each picture is read once, so a random transform would be fixed for ever. Use the augmentation
    of :func:`joint.fit` instead.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Data set with a length, and items ``(picture, label)``; further entries are ignored. A
        picture is a Tensor ``[C, H, W]`` or ``[H, W]``, an array ``[H, W, C]`` or ``[H, W]``, or a
        PIL image: floats in 0..1, or codes of 8 or 16 bits, where the largest code is white. All
        have one shape. PIL images with palette, CMYK, YCbCr, HSV or LAB become RGB, and alpha is
        dropped.
    classes : sequence of str, optional
        Names of the classes. By default the ``classes`` of the data set (for a ``Subset``, of its
        source), with several words joined by commas, or "0", "1", ... if it has none.
    groups : sequence of str or int, length N, optional
        Lesion (or patient) of each picture, whose pictures a split keeps together. By default each
        picture is a group of its own, since such a data set does not state groups.
    identifiers : sequence of str or int, length N, optional
        Unique names. By default the paths of torchvision's folders below their root, otherwise row
        numbers. A ``Subset`` uses those of its source.
    bit_depth : {8, 16}
        Bits of the codes that floats are rounded to.
    encoding : {"srgb", "linear"}, optional
        Meaning of the codes, see :class:`LesionDataset`. By default 8-bit codes are sRGB, as in
        picture files; 16-bit codes may be raw data of a camera, and the encoding is None.
    progress : bool
        Show a progress bar, on a terminal.

    Returns
    -------
    LesionDataset

    Raises
    ------
    TypeError
        When the data set has no length, or its items are not pairs.
    ValueError
        When an item is not a picture, has another shape than the first or values outside 0..1, and
        as in :class:`LesionDataset`.

    Warns
    -----
    UserWarning
        When the classes have no names, and a number below the highest label has no picture; when
        there is only one class, and ``classes`` is not given. When PIL images have transparent
        parts, as in :func:`ImageFolder`. When all pictures become nearly black, see
        :class:`LesionDataset`: 12-bit codes in 16 bits, or 0 and 1 in uint8.
    """
    count = _length(dataset)
    if bit_depth not in DEPTHS.values():
        raise ValueError(f"bit_depth must be 8 or 16, not {bit_depth!r}")
    images, labels, clear = torch.empty(0), [], []
    for row in tqdm(range(count), unit="image", disable=None if progress else True):
        picture, label = _pair(dataset, row)
        if isinstance(picture, Image.Image):
            picture, opaque = _light(picture)
            if not opaque:
                clear.append(row)
        codes = _codes(picture, row, bit_depth)
        if row == 0:
            images = torch.empty(count, *codes.shape, dtype=codes.dtype)
        if (codes.shape, codes.dtype) != (images.shape[1:], images.dtype):
            raise ValueError(
                f"picture {row} is {codes.dtype} {list(codes.shape)}, but those before are "
                f"{images.dtype} {list(images.shape[1:])}: resize and crop all of them to one "
                "size, and convert them to one mode and type, in the transform of the data set"
            )
        images[row] = codes
        labels.append(label)
    known = _attribute(dataset, "classes") if classes is None else classes
    names = _names(dataset, count) if identifiers is None else identifiers
    named = bool(known)
    known = known or [str(label) for label in range(max(labels) + 1)]
    # A tuple of words each, as ImageNet has them.
    known = [", ".join(name) if isinstance(name, tuple) else name for name in known]
    if not named or (classes is None and len(known) == 1):
        warn_of_classes(labels, known, where=f"the {type(dataset).__name__}")
    sixteen = images.dtype == torch.uint16
    found = LesionDataset(
        images=images,
        labels=labels,
        groups=names if groups is None else groups,
        identifiers=names,
        classes=known,
        encoding="srgb" if encoding is None and not sixteen else encoding,
    )
    if clear:
        names = listed(found.identifiers[row] for row in clear)
        warnings.warn(TRANSPARENT.format(f"{len(clear)} of {count} images", names), stacklevel=2)
    return found


def _length(dataset: Dataset[Any]) -> int:
    try:
        count = operator.length_hint(dataset, -1)
    except TypeError:
        count = -1
    if count < 0 or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"from_torch reads map-style data sets, with a length and items, but "
            f"{type(dataset).__name__} has none: make a list of its pairs, such as list(dataset)"
        )
    if count == 0:
        raise ValueError(f"the data set is empty: {type(dataset).__name__} has no items")
    return count


def _pair(dataset: Dataset[Any], row: int) -> tuple[object, int]:
    item = dataset[row]
    if not isinstance(item, Sequence) or isinstance(item, str) or len(item) < 2:
        raise TypeError(
            f"item {row} must begin with a picture and its label, an integer, not "
            f"{type(item).__name__}: wrap the data set in one whose __getitem__ returns "
            "(picture, label)"
        )
    label = as_integer(item[1])
    if label is None:
        raise TypeError(
            f"the label of item {row} must be an integer, the index of its class, not "
            f"{type(item[1]).__name__}: convert it in the data set, such as {_as_label(item[1])}"
        )
    if label < 0:
        raise ValueError(
            f"item {row} has the label {label}, but classes are counted from 0: leave out items "
            "without a label, for instance with torch.utils.data.Subset"
        )
    return item[0], label


def _as_label(label: object) -> str:
    """How to make an integer of a label that is none."""
    shape = getattr(label, "shape", () if isinstance(label, bool | float) else None)
    if shape == ():
        return "int(label), if what it holds is that number"
    if shape == (1,):  # whose argmax is 0, whatever the class
        return "int(label[0]) of one in an array"
    return (
        "classes.index(label) of a name, or int(label.argmax()) of a vector that is 1 at its class"
    )


def _light(picture: Image.Image) -> tuple[np.ndarray, bool]:
    """What a picture of PIL has of light, ``[H, W, C]`` or ``[H, W]``, and whether it is opaque."""
    grey = picture.mode in _GREY
    picture, opaque = with_alpha(picture)
    if picture.mode in _TO_RGB:
        picture = picture.convert("L" if grey else "RGB")
    return np.array(picture), opaque


def _codes(picture: object, row: int, bit_depth: int) -> Tensor:
    """A picture as codes ``[C, H, W]``."""
    turned = isinstance(picture, np.ndarray) and picture.ndim == 3  # as in files: channels last
    if not isinstance(picture, Tensor | np.ndarray):
        raise ValueError(
            f"picture {row} must be a Tensor, an array or a PIL image, not {type(picture).__name__}"
        )
    values = as_tensor(picture).detach().cpu()
    values = values.movedim(-1, 0) if turned else values
    values = values[None] if values.ndim == 2 else values
    # An array of channels first would pass for one of 3 rows, and as many channels as columns.
    first = turned and looks_turned(values.transpose(1, 2)[None])
    if values.ndim != 3 or looks_turned(values[None]) or first:
        raise ValueError(
            f"picture {row} must be [C, H, W] as a Tensor and [H, W, C] as an array, not "
            f"{type(picture).__name__} {list(picture.shape)}: permute(2, 0, 1) turns a Tensor, "
            "and torch.from_numpy makes one of an array that begins with its channels"
        )
    if values.dtype in DEPTHS:
        return values
    if not values.is_floating_point():
        raise ValueError(
            f"picture {row} must be floats in 0..1, or codes of uint8 or uint16, not {values.dtype}"
        )
    if not bool(((values >= -1e-6) & (values <= 1 + 1e-6)).all()):
        low, high = float(values.min()), float(values.max())
        raise ValueError(
            f"picture {row} has values from {low:.3g} to {high:.3g}, and light lies in 0..1: "
            f"{_remedy(low, high)}"
        )
    codes = (values.double().clamp(0, 1) * (2**bit_depth - 1)).round()
    return codes.to(torch.int32).to(torch.uint8 if bit_depth == 8 else torch.uint16)


def _remedy(low: float, high: float) -> str:
    """What to do about floats that reach from ``low`` to ``high``."""
    if not math.isfinite(high - low):
        return "check where they were computed, for instance by a division of 0 by 0"
    if low >= 0 and high > 2:
        return "divide codes of 8 bits by 255, or give them as uint8"
    return (
        "remove Normalize from the transform, since the classifier normalises, and random "
        "transforms, since training augments"
    )


def _attribute(dataset: object, name: str) -> Any:  # noqa: ANN401 - whatever theirs is
    """What a data set, or that which it is a subset of, knows under a name."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return getattr(dataset, name, None)


def _names(dataset: object, count: int) -> list[str]:
    if isinstance(dataset, Subset):
        whole = _names(dataset.dataset, operator.length_hint(dataset.dataset))
        return [whole[index] for index in dataset.indices]
    samples, root = getattr(dataset, "samples", None), getattr(dataset, "root", None)
    if samples is None or root is None or len(samples) != count:
        return [str(row) for row in range(count)]
    return [Path(path).relative_to(root).as_posix() for path, _ in samples]
