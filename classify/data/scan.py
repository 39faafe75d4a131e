"""What an audit knows of pictures: every one is read once, of one data set or of several.

::

    codes ─┬─ digest ─────────────────────────────────────────────► content: equal pixels
           ├─ range of each channel ──────────────────────────────► blank
           └─ one encoding ── 20 x 20, 32 x 32 ── one grey, if need be ──► small
"""

from hashlib import sha256
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .arrays import as_levels
from .dataset import LesionDataset, check_dataset
from .near import Thumbnails, thumbnails
from .skin import srgb_codes

__all__ = ["Scan", "scan"]

_ROWS = 256  # pictures read at once
_BLANK = 4  # codes by which a channel of a blank picture may vary: JPEG of a flat one does
_LEAST = 8  # pixels along a side
_GREY = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601, as of grey files


class Scan(NamedTuple):
    """Of N pictures, those of one data set after those of another."""

    content: Tensor
    """A number for each picture, int64 ``[N]``, the same for equal pixels."""
    blank: Tensor
    """Pictures of one colour, bool ``[N]``."""
    small: Thumbnails


def scan(*datasets: LesionDataset) -> Scan:
    """Read every picture once, and reduce all of them to what can be compared.

    Parameters
    ----------
    *datasets : LesionDataset
        At least one, of 8 pixels a side or more. Where they differ: 8 bits count as the 16 bits of
        the same light; linear light is encoded as sRGB where another set says it is that; colours
        become grey where another set is grey, be it in three equal channels; sizes are free, and
        pixels equal in one size alone.

    Returns
    -------
    Scan

    Raises
    ------
    TypeError
        For what is no data set of this library.
    ValueError
        When pictures are too small, or of numbers of channels that nothing makes comparable.
    """
    for dataset in datasets:
        check_dataset(dataset)
        if min(dataset.image_size) < _LEAST:
            raise ValueError(
                f"an audit compares pictures of at least {_LEAST} pixels a side, got "
                f"{dataset.image_size}"
            )
    channels = {dataset.channels for dataset in datasets}
    if len(channels) > 1 and channels != {1, 3}:
        raise ValueError(
            f"pictures of {' and '.join(map(str, sorted(channels)))} channels cannot be compared: "
            "give sets of as many channels, or of 1 and of 3, whose grey is compared"
        )
    side = min(min(dataset.image_size) for dataset in datasets)
    depth = max(dataset.bit_depth for dataset in datasets)
    encoded = {dataset.encoding for dataset in datasets} >= {"linear", "srgb"}
    numbers: dict[tuple[tuple[int, ...], bytes], int] = {}
    content, blank, small, greys = [], [], [], set()
    for dataset in datasets:
        grey = dataset.channels in (1, 3)
        for rows in torch.arange(len(dataset)).split(_ROWS):
            images = dataset.gather(rows).images
            for codes in images.numpy():
                whole = codes if dataset.bit_depth == depth else codes.astype(np.uint16) * 257
                known = codes.shape, sha256(whole.tobytes()).digest()
                content.append(numbers.setdefault(known, len(numbers)))
            grey = grey and bool((images == images[:, :1]).all())
            flat = as_levels(images).flatten(2)
            # Between two codes, as levels are rounded.
            limit = (_BLANK + 0.5) * 255 / (2**dataset.bit_depth - 1)
            blank.append(((flat.amax(2) - flat.amin(2)) <= limit).all(1))
            if encoded and dataset.encoding == "linear":
                images = srgb_codes(as_levels(images) / 255, 16)
            small.append(thumbnails(images, side))
        greys.add(grey)
    if len(channels) > 1 or len(greys) > 1:
        small = [Thumbnails(*map(_grey, found)) for found in small]
    coarse, fine = (torch.cat(parts) for parts in zip(*small, strict=True))
    return Scan(torch.tensor(content), torch.cat(blank), Thumbnails(coarse, fine))


def _grey(pictures: Tensor) -> Tensor:
    """``[N, 1, H, W]`` of pictures of one channel or of three."""
    if pictures.shape[1] == 1:
        return pictures
    weights = _GREY.to(pictures.dtype)[:, None, None]
    return (weights * pictures).sum(1, keepdim=True)
