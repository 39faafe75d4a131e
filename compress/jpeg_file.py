"""JPEG files as libjpeg writes them, optionally with the bits of each block."""

import functools
import threading
from abc import ABC
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageFile
from torch import Tensor

from .codec import spread
from .files import FileCodec, check_subsampling, write_file
from .given import whole_number
from .jpeg_scan import BLOCK, jpeg_block_bits, read_scan

__all__ = ["JPEG", "JPEGFiles", "standard_tables"]

# ITU-T T.81, tables K.1 and K.2; rows are vertical frequencies.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *4 * ((99, 99, 99, 99, 99, 99, 99, 99),),
)


_BUFFER = threading.Lock()
_TABLES = 2**11  # bytes of four Huffman tables of any kind, and more


class JPEGFiles(FileCodec, ABC):
    """Baseline JPEG files of one scan, with Huffman tables optimised for each picture."""

    _FORMAT = "JPEG"
    _FEATURE = "jpg"
    _MAX_SIDE = 65500  # of libjpeg

    def _encode(self, picture: NDArray[np.uint8]) -> bytes:
        options = self._options(picture.shape[-1])
        plain = write_file(picture, self._FORMAT, options)
        # Optimising, Pillow gives libjpeg one buffer for the whole file and fails where that does
        # not fit ("broken data stream"), as with noise at high quality. Its least size is a number
        # of all threads, so those that need another wait. Stuffed bytes at most double a scan.
        options["optimize"] = True
        needed = 2 * len(plain) + _TABLES
        if needed <= max(2**16, 2 * picture[..., 0].size):
            return write_file(picture, self._FORMAT, options)
        with _BUFFER:
            before = ImageFile.MAXBLOCK
            ImageFile.MAXBLOCK = max(before, needed)
            try:
                return write_file(picture, self._FORMAT, options)
            finally:
                ImageFile.MAXBLOCK = before

    def _check_whole(self, data: bytes) -> None:
        # Also because a progressive file of a few bytes can order thousands of passes.
        read_scan(data)


class JPEG(JPEGFiles):
    """Baseline JPEG (ITU-T T.81), with Huffman tables optimised for each picture.

    Bits and gradient are those of :class:`FileCodec`. With ``block_bits`` the map is exact instead:
    the bits of each block in the entropy-coded scan of the file, spread over the block's pixels
    (:func:`jpeg_block_bits`). ``side_bits`` are then the bits that belong to no block: markers,
    tables, stuffing and padding.

    The files are plain JFIF with one scan. :meth:`decompress` reads grey and colour.

    Parameters
    ----------
    quality : int
        1 to 100, libjpeg's scale; may be set at any time.
    subsampling : {"4:2:0", "4:2:2", "4:4:4"}
        Resolution of the chrominance; no effect on grey pictures.
    block_bits : bool
        Whether the map has the exact bits of each block. It takes 1 to 3 ms for a colour picture of
        128×128.

    Raises
    ------
    ValueError
        If the quality or the subsampling is not one of these.
    """

    def __init__(
        self, quality: int = 75, *, subsampling: str = "4:2:0", block_bits: bool = False
    ) -> None:
        super().__init__()
        self.quality = whole_number("quality", quality, 1, 100)
        self.subsampling = check_subsampling(subsampling)
        self.block_bits = block_bits

    def qualities(self) -> range:
        """Return 1 to 100."""
        return range(1, 101)

    def extra_repr(self) -> str:
        """Show the settings."""
        shown = f"quality={self.quality}, subsampling={self.subsampling!r}"
        return f"{shown}, block_bits=True" if self.block_bits else shown

    def _options(self, channels: int) -> dict[str, Any]:
        # Not as a quality: below 95, Pillow's buffer would be half as large.
        tables = _in_rows(whole_number("quality", self.quality, 1, 100))
        subsampling = check_subsampling(self.subsampling)
        return {"qtables": tables[: min(channels, 2)], "subsampling": subsampling}

    def _price(
        self, files: list[bytes], channels: int, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        if not (self.block_bits and files):
            return super()._price(files, channels, size)
        blocks = torch.from_numpy(np.stack([jpeg_block_bits(data) for data in files]))
        total = torch.tensor([float(8 * len(data)) for data in files], dtype=torch.float64)
        return spread(blocks[:, None], BLOCK, size), total - blocks.flatten(1).sum(1)


def standard_tables(quality: int) -> Tensor:
    """Return libjpeg's quantisation tables ``[2, 8, 8]``, luminance and chrominance, 1 to 255.

    The tables of ITU-T T.81, annex K, are quality 50. They are scaled by ``50 / quality`` below 50
    and by ``2 - quality / 50`` above. Rows are vertical frequencies.

    Raises
    ------
    ValueError
        If the quality is not a whole number of 1 to 100.
    """
    quality = whole_number("quality", quality, 1, 100)
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    tables = torch.tensor((_LUMINANCE, _CHROMINANCE))
    return ((tables * percent + 50) // 100).clamp(1, 255)


@functools.cache
def _in_rows(quality: int) -> list[list[int]]:
    """Return the standard tables as Pillow takes them; every file asks for some."""
    return standard_tables(quality).flatten(1).tolist()
