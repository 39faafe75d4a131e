"""Base class of codecs whose files Pillow writes and reads."""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ClassVar, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor

from .codec import (
    Codec,
    Coded,
    call_unseen,
    check_finite,
    check_image,
    check_payloads,
    check_same_size,
)
from .container import MAX_VALUES, CorruptStream
from .quantize import Generators

__all__ = ["FileCodec", "check_length", "check_subsampling", "write_file"]

_ORIENTATION = 0x0112  # EXIF


class FileCodec(Codec, ABC):
    """A codec whose files Pillow writes and reads.

    ::

        image ─8 bit─► file ─► decoded [B,C,H,W]
                        ├─ bits of a constant picture ─► side_bits
                        └─ the rest ─► bits_map

    ``forward`` writes and reads the actual file in both modes, also under ``torch.compile``: Pillow
    cannot be traced, so the compiler's graph breaks here, and ``fullgraph=True`` is refused. The
    gradient of the reconstruction to the picture is the identity (straight through the whole codec,
    including clipping); the bits have no gradient. ``bits_map`` and ``side_bits`` sum to the size
    of the file, 8 bits per byte. ``side_bits`` is the file of a constant grey picture with the same
    size and settings (:meth:`header_bytes`). The map holds the remaining bits of the content,
    spread evenly over the pixels. If a file is smaller than that, all its bits are ``side_bits``,
    and its map is 0.

    The files have no checksum of this library. :meth:`decompress` reads what :meth:`compress`
    writes. It refuses files that Pillow cannot read completely, other formats, kinds of picture
    that are never written here (animations, palettes, CMYK, 16 bits, turned by EXIF), and sizes
    beyond ``MAX_VALUES``, before a pixel is decoded. PNG's own checksums detect any damage; in the
    other formats, damaged data may decode to a wrong picture.
    """

    _FORMAT: ClassVar[str]
    _FEATURE: ClassVar[str]  # Pillow's name of the library
    _MAX_SIDE: ClassVar[int] = MAX_VALUES

    def __init__(self) -> None:
        super().__init__()
        self._channels: tuple[int, ...] = (1, 3)
        # Mode that files are read as; None keeps grey and colour.
        self.channels: int | None = None
        # Pillow modes that a file may have, and the mode that they are read as.
        self._modes = {"L": "L", "RGB": "RGB"}
        known = {*features.codecs, *features.modules}  # Pillow warns about unknown names
        if self._FEATURE not in known or not features.check(self._FEATURE):
            raise ImportError(
                f"{type(self).__name__} needs a Pillow built with {self._FEATURE!r}; the installed "
                f"one, {Image.__version__}, was not. Pillow's wheels have it: "
                "pip install --upgrade --force-reinstall 'Pillow>=11.3'."
            )

    def takes(self, channels: int) -> bool:
        """Return whether its files can have this number of channels.

        Parameters
        ----------
        channels : int
            Number of channels of a picture.

        Returns
        -------
        bool
        """
        return channels in self._channels

    def forward(self, image: Tensor, *, generator: Generators | None = None) -> Coded:
        """Code and decode ``image`` ``[B, C, H, W]``; values are clipped to 0..1.

        Raises
        ------
        ValueError
            If the pictures have other channels, are not finite, or too large for the format.
        """
        del generator  # nothing here is random
        if torch.compiler.is_compiling():
            # Not as a decorator, which would import the compiler and take a second.
            opaque: Callable[[Tensor], Coded] = torch.compiler.disable(self._coded)  # pyright: ignore
            return opaque(image)
        return self._coded(image)

    def _coded(self, image: Tensor) -> Coded:
        check_image(image, self._channels)
        written: list[Coded] = []
        call_unseen(lambda values: written.append(self._written(values)), image)
        (coded,) = written
        # The bracket is exactly 0: the value is the decoded one, the gradient goes to image.
        return replace(coded, reconstruction=coded.reconstruction + (image - image.detach()))

    def _written(self, image: Tensor) -> Coded:
        """Write and read the files; without a gradient."""
        files = self.compress(image)
        content, side = self._price(files, image.shape[1], (image.shape[-2], image.shape[-1]))
        dtype = torch.promote_types(image.dtype, torch.float32)
        return Coded(
            reconstruction=self.decompress(files).to(image) if files else torch.empty_like(image),
            latent=None,
            bits_map=content.to(image.device, dtype),
            side_bits=side.to(image.device, dtype),
            rate="bytes",
        )

    @torch.no_grad()
    def compress(self, image: Tensor) -> list[bytes]:
        """Write each picture ``[B, C, H, W]`` as a file of 8 bits per value, clipped to 0..1.

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
        return torch.from_numpy(np.stack(pictures)).movedim(-1, 1).contiguous().float() / 255

    def header_bytes(self, size: tuple[int, int], channels: int = 3) -> int:
        """Return the length of the file of a constant grey picture with the same settings.

        Parameters
        ----------
        size : (int, int)
            Height and width, pixels.
        channels : int
            Number of channels; a fourth channel is opaque.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            If the format does not support such pictures, or ``size`` is not a size.
        """
        sides = tuple(size) if isinstance(size, Iterable) else ()
        if len(sides) != 2 or not all(isinstance(side, SupportsIndex) for side in sides):
            raise ValueError(f"expected a size (H, W), whole numbers of pixels, got {size!r}.")
        if not self.takes(channels) or min(size) < 1:
            raise ValueError(
                f"{self._FORMAT} takes pictures of {_either(self._channels)} channels and at least "
                f"1x1 pixels, got {channels} and {size[0]}x{size[1]}."
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
        """Raise a CorruptStream if the file is cut, too long, or would be costly to open.

        Any other exception raised here counts as a cut file.
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
        return write_file(picture, self._FORMAT, self._options(picture.shape[-1]))

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
                        f"turned by its EXIF orientation {turned}, which this codec never writes."
                    )
                mode = self._modes[picture.mode]
                values = np.asarray(picture if picture.mode == mode else picture.convert(mode))
        except CorruptStream as error:
            raise CorruptStream(f"{name}: {error}") from error
        # Pillow's readers raise many exceptions on damaged input: OSError, SyntaxError, KeyError,
        # struct.error, RuntimeError, DecompressionBombError and, if made errors, warnings.
        except Exception as error:
            raise CorruptStream(f"{name}: not a complete {self._FORMAT} file ({error}).") from error
        return values[..., None] if values.ndim == 2 else values

    def _check_kind(self, picture: Image.Image) -> None:
        """Raise an error for an opened file of a kind that this codec never writes."""
        if picture.mode not in self._modes:
            raise CorruptStream(
                f"a {self._FORMAT} of mode {picture.mode}, not {_either(tuple(self._modes))}."
            )
        if getattr(picture, "is_animated", False):
            raise CorruptStream(f"a {self._FORMAT} with several pictures instead of one.")
        if picture.width * picture.height * len(picture.getbands()) > MAX_VALUES:
            raise CorruptStream(f"{picture.height}x{picture.width} is too large.")


def write_file(picture: NDArray[np.uint8], kind: str, options: dict[str, Any]) -> bytes:
    """Write one picture ``[H, W, C]`` as a file."""
    file = io.BytesIO()
    channels = picture.shape[-1]
    Image.fromarray(picture[..., 0] if channels == 1 else picture).save(file, kind, **options)
    return file.getvalue()


def check_length(data: bytes, length: int) -> None:
    """Raise a CorruptStream unless a file has the length that it states."""
    if len(data) != length:
        raise CorruptStream(f"cut or too long: {len(data)} bytes, but the file states {length}.")


def check_subsampling(value: str, allowed: tuple[str, ...] = ("4:2:0", "4:2:2", "4:4:4")) -> str:
    """Return ``value``, or raise a ValueError unless it is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"subsampling must be one of {allowed}, got {value!r}.")
    return value


def _either(names: tuple[object, ...]) -> str:
    return " or ".join(str(name) for name in names)
