"""Standard codecs besides JPEG: baselines whose files any viewer opens.

==================  ==========  ========================================================
codec               channels    settings
==================  ==========  ========================================================
:class:`WebP`       1, 3, 4     quality, lossless, method
:class:`JPEG2000`   1, 3        compression ratio or PSNR, irreversible
:class:`AVIF`       1, 3        quality, speed, subsampling
:class:`PNG`        1, 3, 4     optimize
==================  ==========  ========================================================

Their base class is in :mod:`compress.files`, and JPEG in :mod:`compress.jpeg_file`.
"""

import re
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import MAX_VALUES, CorruptStream
from .files import FileCodec, check_length, check_subsampling
from .given import is_number, whole_number

__all__ = ["AVIF", "JPEG2000", "PNG", "WebP"]


class WebP(FileCodec):
    """WebP, lossy (VP8) or lossless (VP8L).

    Bits and gradient are those of :class:`FileCodec`. A WebP file is RGB or RGBA
    and cannot mark a picture as grey, hence ``channels``: grey is written as RGB, and read as the
    luma of Pillow's decode. Lossy files always subsample the chrominance 4:2:0.

    Parameters
    ----------
    quality : int
        0 to 100; may be set at any time. For lossless files it is the effort, not a quality.
    lossless : bool
        Whether 8-bit pictures are preserved exactly, in all four channels.
    method : int
        0 (fast) to 6 (slow and small).
    channels : {3, 1, 4}
        Channels of the pictures: RGB, grey, or RGB with opacity. The fourth channel is lossless,
        and the colour of fully transparent pixels is kept, so that it may also be the fourth plane
        of a mosaic.

    Raises
    ------
    ValueError
        If a setting is not one of these.
    """

    _FORMAT = "WEBP"
    _FEATURE = "webp"
    _MAX_SIDE = 16383

    def __init__(
        self, quality: int = 75, *, lossless: bool = False, method: int = 4, channels: int = 3
    ) -> None:
        super().__init__()
        self.quality = whole_number("quality", quality, 0, 100)
        self.lossless = lossless
        self.method = whole_number("method", method, 0, 6)
        # An opacity of 1 everywhere is not written; such a file is RGB.
        modes = {1: {"RGB": "L"}, 3: {"RGB": "RGB"}, 4: {"RGBA": "RGBA", "RGB": "RGBA"}}
        self.channels = whole_number("channels", channels, 1, 4)
        if self.channels not in modes:
            raise ValueError(f"channels must be 1, 3 or 4 for WebP, got {channels!r}.")
        self._channels = (self.channels,)
        self._modes = modes[self.channels]

    def qualities(self) -> range:
        """Return 0 to 100; none for lossless files."""
        return range(0 if self.lossless else 101)

    def extra_repr(self) -> str:
        """Show the settings."""
        return (
            f"quality={self.quality}, lossless={self.lossless}, method={self.method}, "
            f"channels={self.channels}"
        )

    def _options(self, channels: int) -> dict[str, Any]:
        del channels
        return {
            "quality": whole_number("quality", self.quality, 0, 100),
            "lossless": self.lossless,
            "method": whole_number("method", self.method, 0, 6),
            # Keep the colour of transparent pixels: opacity may be the fourth plane of a mosaic.
            "exact": self.channels == 4,
        }

    def _check_whole(self, data: bytes) -> None:
        _check_start(data[:4] + data[8:12], b"RIFFWEBP")
        length, kind = struct.unpack_from("<4xI4x4s", data)
        check_length(data, length + 8)
        # libwebp reserves the canvas as soon as it opens a file.
        if kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            sides = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"VP8X":
            low, high = struct.unpack_from("<HBHB", data, 24)[::2], data[26:30:3]
            sides = tuple(a + (b << 16) + 1 for a, b in zip(low, high, strict=True))
        else:
            sides = tuple(side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        if sides[0] * sides[1] * self._channels[0] > MAX_VALUES:
            raise CorruptStream(f"{sides[1]}x{sides[0]} is too large.")


class JPEG2000(FileCodec):
    """JPEG 2000 (ISO/IEC 15444-1) in the JP2 container, one tile and one quality layer.

    Bits and gradient are those of :class:`FileCodec`. Give at most one of
    ``rate`` and ``psnr``; with neither, all data are kept, which with ``irreversible=False`` is
    lossless.

    Parameters
    ----------
    rate : float, optional
        Target compression ratio, 1 or more: raw bytes over bytes of the codestream. Small pictures
        reach it only roughly, and a file is never smaller than its headers.
    psnr : float, optional
        Target PSNR, dB, above 0.
    irreversible : bool
        Use the 9/7 wavelet and a rotated colour space in floating point, better for lossy files,
        instead of the reversible 5/3 wavelet.

    Raises
    ------
    ValueError
        If both are given, or one is out of range.
    """

    _FORMAT = "JPEG2000"
    _FEATURE = "jpg_2000"

    def __init__(
        self,
        rate: float | None = None,
        *,
        psnr: float | None = None,
        irreversible: bool = True,
    ) -> None:
        super().__init__()
        self.rate = rate
        self.psnr = psnr
        self.irreversible = irreversible
        self._check_aim()

    def _check_aim(self) -> None:
        rate, psnr = self.rate, self.psnr
        if rate is not None and psnr is not None:
            raise ValueError(f"give rate or psnr, not both: got {rate!r} and {psnr!r}.")
        if rate is not None and not (is_number(rate) and 1 <= rate < float("inf")):
            raise ValueError(f"rate must be a compression ratio of at least 1, got {rate!r}.")
        if psnr is not None and not (is_number(psnr) and 0 < psnr < float("inf")):
            raise ValueError(f"psnr must be a positive number of dB, got {psnr!r}.")

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"rate={self.rate}, psnr={self.psnr}, irreversible={self.irreversible}"

    def _options(self, channels: int) -> dict[str, Any]:
        self._check_aim()
        options: dict[str, Any] = {"irreversible": self.irreversible, "mct": int(channels == 3)}
        if self.psnr is not None:
            options |= {"quality_mode": "dB", "quality_layers": [self.psnr]}
        elif self.rate is not None:
            options |= {"quality_mode": "rates", "quality_layers": [self.rate]}
        return options

    def _check_whole(self, data: bytes) -> None:
        _check_start(data[4:12], b"jP  \r\n\x87\n")
        _check_boxes(data)


class AVIF(FileCodec):
    """AVIF, a still picture of the video codec AV1.

    Bits and gradient are those of :class:`FileCodec`. Grey pictures have no chrominance
    (4:0:0). Files are written on one thread, so they do not depend on the number of cores.

    The frame inside a damaged file may be larger than the announced picture, whose size is checked;
    libavif limits the frame to 2^28 pixels and scales it.

    Parameters
    ----------
    quality : int
        0 to 100, libavif's scale; may be set at any time. 100 is not lossless: the colours are
        still converted.
    speed : int
        0 (slow, smaller files) to 10 (fast).
    subsampling : {"4:2:0", "4:2:2", "4:4:4"}
        Resolution of the chrominance; no effect on grey pictures.

    Raises
    ------
    ValueError
        If a setting is not one of these.
    ImportError
        If Pillow was built without AVIF.
    """

    _FORMAT = "AVIF"
    _FEATURE = "avif"
    _MAX_SIDE = 32768  # limit of libavif's reader

    def __init__(self, quality: int = 75, *, speed: int = 6, subsampling: str = "4:2:0") -> None:
        super().__init__()
        self.quality = whole_number("quality", quality, 0, 100)
        self.speed = whole_number("speed", speed, 0, 10)
        self.subsampling = check_subsampling(subsampling)

    def qualities(self) -> range:
        """Return 0 to 100."""
        return range(101)

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"quality={self.quality}, speed={self.speed}, subsampling={self.subsampling!r}"

    def _options(self, channels: int) -> dict[str, Any]:
        return {
            "quality": whole_number("quality", self.quality, 0, 100),
            "speed": whole_number("speed", self.speed, 0, 10),
            "subsampling": "4:0:0" if channels == 1 else check_subsampling(self.subsampling),
            "max_threads": 1,
        }

    def _check_whole(self, data: bytes) -> None:
        _check_start(data[4:8], b"ftyp")  # followed by one of several brands
        _check_boxes(data)

    def _decode(self, data: bytes, name: str) -> NDArray[np.uint8]:
        values = super()._decode(data, name)
        # Before version 13, Pillow shows a picture without chrominance as three equal channels.
        settings = re.search(rb"av1C..(.)", data, re.DOTALL)
        return values[..., :1] if settings and settings[1][0] & 0x10 else values


class PNG(FileCodec):
    """PNG: lossless for 8-bit pictures, grey, RGB or RGB with opacity.

    Bits and gradient are those of :class:`FileCodec`.

    Parameters
    ----------
    optimize : bool
        Whether to spend more time for smaller files.
    """

    _FORMAT = "PNG"
    _FEATURE = "zlib"

    def __init__(self, *, optimize: bool = True) -> None:
        super().__init__()
        self._channels = (1, 3, 4)
        self._modes = {"L": "L", "RGB": "RGB", "RGBA": "RGBA"}
        self.optimize = optimize

    def extra_repr(self) -> str:
        """Show the setting."""
        return f"optimize={self.optimize}"

    def _options(self, channels: int) -> dict[str, Any]:
        del channels
        return {"optimize": self.optimize}

    def _check_whole(self, data: bytes) -> None:
        _check_start(data[:8], b"\x89PNG\r\n\x1a\n")
        (depth,) = struct.unpack_from("B", data, 24)
        if depth == 16:  # Pillow would drop the lower eight bits of colour
            raise CorruptStream("a PNG of 16 bits, which this codec never writes.")
        place, name = 8, b""
        while name != b"IEND":
            length, name = struct.unpack_from(">I4s", data, place)
            (check,) = struct.unpack_from(">I", data, place + 8 + length)
            # Pillow does not check all of them.
            if zlib.crc32(data[place + 4 : place + 8 + length]) != check:
                raise CorruptStream("damaged: a checksum does not match.")
            place += 12 + length
        check_length(data, place)


def _check_start(start: bytes, expected: bytes) -> None:
    """Raise an error for another format, whose length fields would be meaningless."""
    if start != expected:
        raise ValueError("it does not start as one")


def _check_boxes(data: bytes) -> None:
    """Follow the boxes of a JPEG 2000 or AVIF file, each with its length in front."""
    place, names = 0, []
    while place < len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if length < 8 or name in names:
            raise CorruptStream(f"a box {name!r} without a length, or repeated.")
        place += length
        names.append(name)
    check_length(data, place)
