"""Codecs that everybody has: baselines whose files any viewer opens.

==================  ==========  ========================================================
codec               channels    settings
==================  ==========  ========================================================
:class:`JPEG`       1, 3        quality, subsampling
:class:`WebP`       1, 3, 4     quality, lossless, method
:class:`JPEG2000`   1, 3        compression ratio or PSNR, irreversible
:class:`AVIF`       1, 3        quality, speed, subsampling
:class:`PNG`        1, 3, 4     optimize
==================  ==========  ========================================================

:func:`jpeg_block_bits` reads from a JPEG file what each of its blocks costs.
"""

import io
import re
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor

from .codec import (
    Codec,
    Coded,
    check_finite,
    check_image,
    check_payloads,
    check_same_size,
    spread,
)
from .container import MAX_VALUES, CorruptStream
from .jpeg_scan import BLOCK, jpeg_block_bits, read_scan
from .quantize import Generators

__all__ = ["AVIF", "JPEG", "JPEG2000", "PNG", "FileCodec", "WebP"]

_ORIENTATION = 0x0112  # EXIF


class FileCodec(Codec, ABC):
    """A codec whose files Pillow writes and reads.

    ::

        image ─8 bit─► file ─► decoded [B,C,H,W]
                        ├─ what a constant picture costs too ─► side_bits
                        └─ the rest ─► bits_map

    ``forward`` writes and reads the actual file in both modes, under ``torch.compile`` as it does
    without: Pillow is nothing to trace, so the compiler's graph breaks here, and ``fullgraph=True``
    is refused. The reconstruction has the identity as its gradient to the picture (straight through
    the whole codec, clipping included); the bits have none. ``bits_map`` and ``side_bits`` sum to
    the file, 8 bits for each of its bytes: ``side_bits`` is the file of a constant grey picture of
    the same size and settings (:meth:`header_bytes`), the map what the content costs on top, spread
    evenly over the pixels. A file smaller than that is all ``side_bits``, and its map is 0.

    The files have no checksum of ours. :meth:`decompress` takes what :meth:`compress` writes and
    refuses what Pillow cannot read to the end, other formats, kinds of picture that are never
    written here (animations, palettes, CMYK, 16 bits, turned by EXIF), and sizes beyond
    ``MAX_VALUES``, before a pixel is decoded. Any damage of a PNG is noticed, by the checksums that
    it has; within the data of the other formats it decodes as something else.
    """

    _FORMAT: ClassVar[str]
    _FEATURE: ClassVar[str]  # what Pillow calls the library behind it
    _MAX_SIDE: ClassVar[int] = MAX_VALUES

    def __init__(self) -> None:
        super().__init__()
        self._channels: tuple[int, ...] = (1, 3)
        # Kinds of picture that a file may hold, in Pillow's words, and what they are read as.
        self._modes = {"L": "L", "RGB": "RGB"}
        known = {*features.codecs, *features.modules}  # others are asked for with a warning
        if self._FEATURE not in known or not features.check(self._FEATURE):
            raise ImportError(
                f"{type(self).__name__} needs a Pillow that was built with {self._FEATURE!r}; "
                f"this one, {Image.__version__}, was not. Its wheels have it: "
                "pip install --upgrade --force-reinstall 'Pillow>=11.3'."
            )

    def forward(self, image: Tensor, *, generator: Generators | None = None) -> Coded:
        """Code and decode ``image`` ``[B, C, H, W]``; values are clipped to 0..1.

        Raises
        ------
        ValueError
            If the pictures have other channels, are not finite, or too large for the format.
        """
        del generator  # nothing here is random
        if torch.compiler.is_compiling():
            # Not as a decorator: that imports the compiler, which takes a second.
            opaque: Callable[[Tensor], Coded] = torch.compiler.disable(self._coded)  # pyright: ignore
            return opaque(image)
        return self._coded(image)

    def _coded(self, image: Tensor) -> Coded:
        files = self.compress(image)
        decoded = self.decompress(files).to(image)
        like = image.detach().to(torch.promote_types(image.dtype, torch.float32))
        content, side = self._price(files, image.shape[1], (image.shape[-2], image.shape[-1]))
        return Coded(
            # The bracket is exactly 0: the value is the decoded one, the gradient that of image.
            reconstruction=decoded + (image - image.detach()),
            latent=None,
            bits_map=content.to(like),
            side_bits=side.to(like),
            rate="bytes",
        )

    @torch.no_grad()
    def compress(self, image: Tensor) -> list[bytes]:
        """Write each picture ``[B, C, H, W]`` as a file of 8 bits per value; clips to 0..1.

        Raises
        ------
        ValueError
            If the pictures have other channels, are not finite, or too large for the format.
        """
        check_image(image, self._channels)
        check_finite(image, "the values")
        self._check_size((image.shape[-2], image.shape[-1]), image.shape[1])
        # In half precision the products would not be exact enough to round.
        x = image.to(torch.promote_types(image.dtype, torch.float32))
        levels = (255 * x.clamp(0, 1)).round().to("cpu", torch.uint8)
        return [self._encode(picture) for picture in levels.movedim(1, -1).numpy()]

    def decompress(self, payloads: list[bytes]) -> Tensor:
        """Return Pillow's decode ``[B, C, H, W]``, float32 on the CPU, multiples of 1/255.

        Raises
        ------
        CorruptStream
            If a payload is not a complete file of this format, or not of a kind that
            :meth:`compress` writes.
        ValueError
            If there are no payloads, or their pictures differ in shape.
        """
        check_payloads(payloads)
        pictures = [self._decode(data, f"payload {i}") for i, data in enumerate(payloads)]
        check_same_size([picture.shape for picture in pictures])
        return torch.from_numpy(np.stack(pictures)).movedim(-1, 1).contiguous() / 255

    def header_bytes(self, size: tuple[int, int], channels: int = 3) -> int:
        """Return the length of the file of a constant grey picture with the same settings.

        Parameters
        ----------
        size : (int, int)
            Height and width, pixels.
        channels : int
            Channels; a fourth one is opaque.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            If the format has no such pictures.
        """
        if channels not in self._channels or min(size) < 1:
            raise ValueError(
                f"{self._FORMAT} here takes pictures of {_either(self._channels)} channels and at "
                f"least 1x1 pixels, got {channels} and {size[0]}x{size[1]}."
            )
        self._check_size(size, channels)
        grey = np.full((*size, channels), 128, np.uint8)
        grey[..., 3:] = 255
        return len(self._encode(grey))

    @abstractmethod
    def _options(self, channels: int) -> dict[str, Any]:
        """Return the options of Pillow's writer."""

    @abstractmethod
    def _check_whole(self, data: bytes) -> None:
        """Raise a CorruptStream if the file is cut, continued, or would be costly to open.

        Anything else that goes wrong here is taken as a file that is cut.
        """

    def _price(
        self, files: list[bytes], channels: int, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the bits of the pixels ``[B, 1, H, W]`` and of the rest ``[B]``, float64."""
        total = torch.tensor([float(8 * len(data)) for data in files], dtype=torch.float64)
        side = total.clamp_max(8 * self.header_bytes(size, channels))
        content = (total - side) / (size[0] * size[1])
        return content.view(-1, 1, 1, 1).repeat(1, 1, *size), side

    def _check_size(self, size: tuple[int, int], channels: int) -> None:
        height, width = size
        if max(size) > self._MAX_SIDE or channels * height * width > MAX_VALUES:
            raise ValueError(
                f"a {height}x{width} picture is too large for {self._FORMAT}: at most "
                f"{self._MAX_SIDE} pixels along a side and {MAX_VALUES} values here. "
                "Code it in tiles."
            )

    def _encode(self, picture: NDArray[np.uint8]) -> bytes:
        """Write one picture ``[H, W, C]``."""
        return _write(picture, self._FORMAT, self._options(picture.shape[-1]))

    def _decode(self, data: bytes, name: str) -> NDArray[np.uint8]:
        """Read one file to values ``[H, W, C]``."""
        try:
            self._check_whole(data)
            with Image.open(io.BytesIO(data), formats=[self._FORMAT]) as picture:
                self._check_kind(picture)
                picture.load()
                turned = picture.getexif().get(_ORIENTATION, 1)
                if turned != 1:
                    raise CorruptStream(
                        f"turned by its EXIF orientation {turned}, which is never written here."
                    )
                mode = self._modes[picture.mode]
                values = np.asarray(picture if picture.mode == mode else picture.convert(mode))
        except CorruptStream as error:
            raise CorruptStream(f"{name}: {error}") from error
        # Pillow's readers raise nearly anything on damaged input: OSError, SyntaxError, KeyError,
        # struct.error, RuntimeError, DecompressionBombError and, where they are errors, warnings.
        except Exception as error:
            raise CorruptStream(f"{name}: not a complete {self._FORMAT} file ({error}).") from error
        return values[..., None] if values.ndim == 2 else values

    def _check_kind(self, picture: Image.Image) -> None:
        """Refuse an opened file whose picture is of a kind that is never written here."""
        if picture.mode not in self._modes:
            raise CorruptStream(
                f"a {self._FORMAT} of mode {picture.mode}, not {_either(tuple(self._modes))}."
            )
        if getattr(picture, "is_animated", False):
            raise CorruptStream(f"a {self._FORMAT} of several pictures, not of one.")
        if picture.width * picture.height * len(picture.getbands()) > MAX_VALUES:
            raise CorruptStream(f"{picture.height}x{picture.width} is too large.")


class JPEGFiles(FileCodec, ABC):
    """Baseline JPEG files of one scan, with Huffman tables optimised for each picture."""

    _FORMAT = "JPEG"
    _FEATURE = "jpg"
    _MAX_SIDE = 65500  # of libjpeg

    def _encode(self, picture: NDArray[np.uint8]) -> bytes:
        options = self._options(picture.shape[-1])
        plain = _write(picture, self._FORMAT, options)
        # Optimising, Pillow gives libjpeg one buffer for the whole file and fails where that does
        # not fit ("broken data stream"), as with noise at high quality: such a file stays plain.
        buffer = max(2**16, (2 if options.get("quality", 95) >= 95 else 1) * picture[..., 0].size)
        if len(plain) >= buffer:
            return plain
        return _write(picture, self._FORMAT, {**options, "optimize": True})

    def _check_whole(self, data: bytes) -> None:
        # Also because a progressive file of a few bytes can order thousands of passes.
        read_scan(data)


class JPEG(JPEGFiles):
    """Baseline JPEG (ITU-T T.81), with Huffman tables optimised for each picture.

    The price and the gradient are those of :class:`FileCodec`. With ``block_bits`` the map is
    exact instead: each block's own bits, from the file's entropy-coded scan, over the block's
    pixels (:func:`jpeg_block_bits`), while ``side_bits`` is what belongs to no block: markers,
    tables, stuffing and padding.

    The files are plain JFIF of one scan. :meth:`decompress` reads grey and colour.

    Parameters
    ----------
    quality : int
        1 to 100, libjpeg's scale.
    subsampling : {"4:2:0", "4:2:2", "4:4:4"}
        Resolution of the chrominance; without effect on grey pictures.
    block_bits : bool
        Whether the map shows where the bits went. It takes 3 to 6 ms for a colour picture of
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
        return {"quality": self.quality, "subsampling": self.subsampling}

    def _price(
        self, files: list[bytes], channels: int, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        if not self.block_bits:
            return super()._price(files, channels, size)
        blocks = torch.from_numpy(np.stack([jpeg_block_bits(data) for data in files]))
        total = torch.tensor([float(8 * len(data)) for data in files], dtype=torch.float64)
        return spread(blocks[:, None], BLOCK, size), total - blocks.flatten(1).sum(1)


class WebP(FileCodec):
    """WebP, lossy (VP8) or lossless (VP8L).

    The price and the gradient are those of :class:`FileCodec`. A WebP file is RGB or RGBA and
    cannot say that it was grey, hence ``channels``: grey is written as RGB, and read as the luma
    of what Pillow decodes. Lossy, the chrominance is always subsampled 4:2:0.

    Parameters
    ----------
    quality : int
        0 to 100. For lossless files it is not a quality but the effort.
    lossless : bool
        Whether 8-bit pictures come back exactly, and all four channels of them.
    method : int
        0 (fast) to 6 (slow and small).
    channels : {3, 1, 4}
        Channels of the pictures: RGB, grey, or RGB with opacity.

    Raises
    ------
    ValueError
        If a setting is none of these.
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
        # An opacity of 1 everywhere is not written: such a file is RGB.
        modes = {1: {"RGB": "L"}, 3: {"RGB": "RGB"}, 4: {"RGBA": "RGBA", "RGB": "RGBA"}}
        if channels not in modes:
            raise ValueError(f"channels must be 1, 3 or 4 for WebP, got {channels!r}.")
        self.channels = channels
        self._channels = (channels,)
        self._modes = modes[channels]

    def extra_repr(self) -> str:
        """Show the settings."""
        return (
            f"quality={self.quality}, lossless={self.lossless}, method={self.method}, "
            f"channels={self.channels}"
        )

    def _options(self, channels: int) -> dict[str, Any]:
        del channels
        return {
            "quality": self.quality,
            "lossless": self.lossless,
            "method": self.method,
            "exact": self.lossless,  # keep the colour of what is transparent
        }

    def _check_whole(self, data: bytes) -> None:
        length, kind = struct.unpack_from("<4xI4x4s", data)
        _check_length(data, length + 8)
        # libwebp reserves the canvas as soon as it opens a file.
        if kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            sides = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"VP8X":
            low, high = struct.unpack_from("<HBHB", data, 24)[::2], data[26:30:3]
            sides = tuple(a + (b << 16) + 1 for a, b in zip(low, high, strict=True))
        else:
            sides = tuple(side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        if sides[0] * sides[1] * self.channels > MAX_VALUES:
            raise CorruptStream(f"{sides[1]}x{sides[0]} is too large.")


class JPEG2000(FileCodec):
    """JPEG 2000 (ISO/IEC 15444-1) in the JP2 container, one tile and one quality layer.

    The price and the gradient are those of :class:`FileCodec`. Of ``rate`` and ``psnr`` at most
    one is given; with neither, everything is kept, which with ``irreversible=False`` is lossless.

    Parameters
    ----------
    rate : float, optional
        Compression ratio to aim at, 1 or more: raw bytes over those of the codestream. It is met
        roughly on small pictures, and never below the headers.
    psnr : float, optional
        Fidelity to aim at, dB, above 0.
    irreversible : bool
        The 9/7 wavelet and a rotated colour space in floating point, better for lossy files,
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
        if rate is not None and psnr is not None:
            raise ValueError(f"give rate or psnr, not both: got {rate!r} and {psnr!r}.")
        if rate is not None and not 1 <= rate < float("inf"):
            raise ValueError(f"rate must be a compression ratio of at least 1, got {rate!r}.")
        if psnr is not None and not 0 < psnr < float("inf"):
            raise ValueError(f"psnr must be a positive number of dB, got {psnr!r}.")
        self.rate = rate
        self.psnr = psnr
        self.irreversible = irreversible

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"rate={self.rate}, psnr={self.psnr}, irreversible={self.irreversible}"

    def _options(self, channels: int) -> dict[str, Any]:
        options: dict[str, Any] = {"irreversible": self.irreversible, "mct": int(channels == 3)}
        if self.psnr is not None:
            options |= {"quality_mode": "dB", "quality_layers": [self.psnr]}
        elif self.rate is not None:
            options |= {"quality_mode": "rates", "quality_layers": [self.rate]}
        return options

    def _check_whole(self, data: bytes) -> None:
        _check_boxes(data)


class AVIF(FileCodec):
    """AVIF, a still picture of the video codec AV1.

    The price and the gradient are those of :class:`FileCodec`. Grey pictures have no chrominance
    (4:0:0). The files are written on one thread, so they do not depend on the machine's number.

    The frame inside a damaged file may be larger than the picture that the file announces, which
    is what is checked; libavif bounds it at 2^28 pixels and scales it.

    Parameters
    ----------
    quality : int
        0 to 100, libavif's scale. 100 is not lossless: the colours are still converted.
    speed : int
        0 (slow, and better for its bytes) to 10 (fast).
    subsampling : {"4:2:0", "4:2:2", "4:4:4"}
        Resolution of the chrominance; without effect on grey pictures.

    Raises
    ------
    ValueError
        If a setting is none of these.
    ImportError
        If Pillow was built without AVIF.
    """

    _FORMAT = "AVIF"
    _FEATURE = "avif"
    _MAX_SIDE = 32768  # of libavif's reader

    def __init__(self, quality: int = 75, *, speed: int = 6, subsampling: str = "4:2:0") -> None:
        super().__init__()
        self.quality = whole_number("quality", quality, 0, 100)
        self.speed = whole_number("speed", speed, 0, 10)
        self.subsampling = check_subsampling(subsampling)

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"quality={self.quality}, speed={self.speed}, subsampling={self.subsampling!r}"

    def _options(self, channels: int) -> dict[str, Any]:
        return {
            "quality": self.quality,
            "speed": self.speed,
            "subsampling": "4:0:0" if channels == 1 else self.subsampling,
            "max_threads": 1,
        }

    def _check_whole(self, data: bytes) -> None:
        _check_boxes(data)

    def _decode(self, data: bytes, name: str) -> NDArray[np.uint8]:
        values = super()._decode(data, name)
        # Before version 13, Pillow shows a picture without chrominance as three equal channels.
        settings = re.search(rb"av1C..(.)", data, re.DOTALL)
        return values[..., :1] if settings and settings[1][0] & 0x10 else values


class PNG(FileCodec):
    """PNG: lossless for 8-bit pictures, grey, RGB or RGB with opacity.

    The price and the gradient are those of :class:`FileCodec`.

    Parameters
    ----------
    optimize : bool
        Whether to spend time on smaller files.
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
        place, name = 8, b""
        while name != b"IEND":
            length, name = struct.unpack_from(">I4s", data, place)
            (check,) = struct.unpack_from(">I", data, place + 8 + length)
            # Pillow does not check all of them.
            if zlib.crc32(data[place + 4 : place + 8 + length]) != check:
                raise CorruptStream("damaged: a checksum does not match.")
            place += 12 + length
        _check_length(data, place)


def whole_number(name: str, value: int, low: int, high: int) -> int:
    """Return ``value``, or raise a ValueError unless it is one of ``low`` to ``high``."""
    if value not in range(low, high + 1):
        raise ValueError(f"{name} must be a whole number of {low} to {high}, got {value!r}.")
    return int(value)


def check_subsampling(value: str, allowed: tuple[str, ...] = ("4:2:0", "4:2:2", "4:4:4")) -> str:
    """Return ``value``, or raise a ValueError unless it is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"subsampling must be one of {allowed}, got {value!r}.")
    return value


def _write(picture: NDArray[np.uint8], kind: str, options: dict[str, Any]) -> bytes:
    """Write one picture ``[H, W, C]`` as a file."""
    file = io.BytesIO()
    channels = picture.shape[-1]
    Image.fromarray(picture[..., 0] if channels == 1 else picture).save(file, kind, **options)
    return file.getvalue()


def _check_boxes(data: bytes) -> None:
    """Follow the boxes of a JPEG 2000 or AVIF file, each with its length in front."""
    place, names = 0, []
    while place < len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if length < 8 or name in names:
            raise CorruptStream(f"a box {name!r} without a length, or for the second time.")
        place += length
        names.append(name)
    _check_length(data, place)


def _check_length(data: bytes, length: int) -> None:
    if len(data) != length:
        raise CorruptStream(f"cut or continued: {len(data)} bytes, by its own account {length}.")


def _either(names: tuple[object, ...]) -> str:
    return " or ".join(str(name) for name in names)
