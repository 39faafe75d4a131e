"""JPEG files as libjpeg writes them, with the price of each of their blocks on request."""

from abc import ABC
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .codec import spread, whole_number
from .files import FileCodec, check_subsampling, write_file
from .jpeg_scan import BLOCK, jpeg_block_bits, read_scan

__all__ = ["JPEG", "JPEGFiles"]


class JPEGFiles(FileCodec, ABC):
    """Baseline JPEG files of one scan, with Huffman tables optimised for each picture."""

    _FORMAT = "JPEG"
    _FEATURE = "jpg"
    _MAX_SIDE = 65500  # of libjpeg

    def _encode(self, picture: NDArray[np.uint8]) -> bytes:
        options = self._options(picture.shape[-1])
        plain = write_file(picture, self._FORMAT, options)
        # Optimising, Pillow gives libjpeg one buffer for the whole file and fails where that does
        # not fit ("broken data stream"), as with noise at high quality: such a file stays plain.
        buffer = max(2**16, (2 if options.get("quality", 95) >= 95 else 1) * picture[..., 0].size)
        if len(plain) >= buffer:
            return plain
        return write_file(picture, self._FORMAT, {**options, "optimize": True})

    def _check_whole(self, data: bytes) -> None:
        # Also because a progressive file of a few bytes can order thousands of passes.
        read_scan(data)


class JPEG(JPEGFiles):
    """Baseline JPEG (ITU-T T.81), with Huffman tables optimised for each picture.

    Only noise at the highest qualities, more than Pillow's buffer holds, keeps standard tables.
    The price and the gradient are those of :class:`FileCodec`. With ``block_bits`` the map is
    exact instead: each block's own bits, from the file's entropy-coded scan, over the block's
    pixels (:func:`jpeg_block_bits`), while ``side_bits`` is what belongs to no block: markers,
    tables, stuffing and padding.

    The files are plain JFIF of one scan. :meth:`decompress` reads grey and colour.

    Parameters
    ----------
    quality : int
        1 to 100, libjpeg's scale; may be set at any time.
    subsampling : {"4:2:0", "4:2:2", "4:4:4"}
        Resolution of the chrominance; without effect on grey pictures.
    block_bits : bool
        Whether the map shows where the bits went. It takes 1 to 3 ms for a colour picture of
        128×128.

    Raises
    ------
    ValueError
        If the quality or the subsampling is none of these.
    """

    def __init__(
        self, quality: int = 75, *, subsampling: str = "4:2:0", block_bits: bool = False
    ) -> None:
        super().__init__()
        self.quality = whole_number("quality", quality, 1, 100)
        self.subsampling = check_subsampling(subsampling)
        self.block_bits = block_bits

    def extra_repr(self) -> str:
        """Show the settings."""
        shown = f"quality={self.quality}, subsampling={self.subsampling!r}"
        return f"{shown}, block_bits=True" if self.block_bits else shown

    def _options(self, channels: int) -> dict[str, Any]:
        del channels
        quality = whole_number("quality", self.quality, 1, 100)
        return {"quality": quality, "subsampling": self.subsampling}

    def _price(
        self, files: list[bytes], channels: int, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        if not (self.block_bits and files):
            return super()._price(files, channels, size)
        blocks = torch.from_numpy(np.stack([jpeg_block_bits(data) for data in files]))
        total = torch.tensor([float(8 * len(data)) for data in files], dtype=torch.float64)
        return spread(blocks[:, None], BLOCK, size), total - blocks.flatten(1).sum(1)
