"""From picture files to 8-bit arrays of one size, many at a time.

Threads, not processes: Pillow lets go of the interpreter while it decodes and resizes (1.9 times
as fast on two cores for the 600x450 originals), and nothing has to be copied between processes.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, NamedTuple, TypeAlias, final, get_args

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from .archive import Member, listed

__all__ = ["SUFFIXES", "Decoder", "Geometry", "Picture", "fit"]

Geometry: TypeAlias = Literal["crop", "squeeze"]

#: Suffixes of the pictures that a folder may hold.
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Named, so that Pillow tries no other decoder on a file from a stranger.
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_SIXTEEN_BITS = 65535
# Pictures under way at once: bounds the memory, large enough to keep every thread busy.
_BLOCK = 256


class Picture(NamedTuple):
    """The files of one image."""

    image: Member
    mask: Member | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Decoder:
    """How files become arrays.

    Orientation tags are obeyed, in images and in masks alike. Grey, palette, CMYK and 16-bit
    pictures become 8-bit RGB; an alpha channel and an embedded colour profile are dropped. Images
    are reduced with a Lanczos filter on the sRGB codes, masks by area: a pixel is on the lesion
    when at least half of it is.

    Parameters
    ----------
    image_size : int, pixels
        Side of the square result, 8 to 1024.
    geometry : {"crop", "squeeze"}
        The largest centred square (pixels stay square), or the whole frame squeezed into one.
    workers : int, optional
        Threads; one for each core by default.
    progress : bool
        Show a bar, on a terminal.
    white_level : int
        Code of grey pictures of 16 bits that becomes 255, brighter ones too: 4095 where a camera
        of 12 bits has filled the low ones.

    Raises
    ------
    ValueError
        When an option is outside of what it allows.
    """

    image_size: int
    geometry: Geometry = "crop"
    workers: int | None = None
    progress: bool = True
    white_level: int = _SIXTEEN_BITS

    def __post_init__(self) -> None:
        if type(self.image_size) is not int or not 8 <= self.image_size <= 1024:
            raise ValueError(
                f"image_size must be an integer from 8 to 1024 pixels, got {self.image_size!r}"
            )
        if self.geometry not in get_args(Geometry):
            raise ValueError(
                f"geometry must be 'crop' (centred square) or 'squeeze' (whole frame), "
                f"got {self.geometry!r}"
            )
        if self.workers is not None and (type(self.workers) is not int or self.workers < 1):
            raise ValueError(f"workers must be a positive integer or None, got {self.workers!r}")
        if type(self.white_level) is not int or not 1 <= self.white_level <= _SIXTEEN_BITS:
            raise ValueError(
                f"white_level must be a code of 16 bits, 1 to {_SIXTEEN_BITS}, "
                f"got {self.white_level!r}"
            )

    def image(self, data: bytes) -> tuple[np.ndarray, tuple[int, int]]:
        """Decode a picture to uint8 ``[3, S, S]``, and tell the (width, height) that it had."""
        picture = _open(data)
        small = fit(
            _rgb(picture, self.white_level),
            self.image_size,
            self.geometry,
            Image.Resampling.LANCZOS,
        )
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1)), picture.size

    def mask(self, data: bytes, frame: tuple[int, int]) -> np.ndarray:
        """Decode the mask of a picture of size ``frame`` to uint8 ``[S, S]``, 1 on the lesion."""
        picture = _open(data)
        if picture.size != frame:
            raise ValueError(
                f"the mask is {picture.width}x{picture.height} but its image is "
                f"{frame[0]}x{frame[1]}"
            )
        codes = np.asarray(picture if picture.mode in ("1", "L", "I;16") else picture.convert("L"))
        # Half of the brightest value reads 0/1, 0/255 and a mask that was once a JPEG alike.
        on = Image.fromarray((codes > codes.max() / 2).astype(np.uint8) * 255)
        small = fit(on, self.image_size, self.geometry, Image.Resampling.BOX)
        return (np.asarray(small) >= 128).astype(np.uint8)

    def decode(
        self, pictures: Sequence[Picture], title: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Decode all of them in order: image uint8 ``[3, S, S]``, mask uint8 ``[S, S]`` or None.

        Raises
        ------
        ValueError
            At the end, when files could not be used: all of them by name, each with its reason.
        """
        Image.init()  # registers the decoders once, before the threads need them
        failures = []
        threads = self.workers or os.cpu_count() or 1
        bar = tqdm(
            total=len(pictures), desc=title, unit="image", disable=None if self.progress else True
        )
        with bar, ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(pictures), _BLOCK):
                for result in pool.map(self._decode_one, pictures[start : start + _BLOCK]):
                    bar.update()
                    if isinstance(result, str):
                        failures.append(result)
                    else:
                        yield result
        if failures:
            raise ValueError(
                f"{len(failures)} of {len(pictures)} images cannot be used: "
                f"{listed(failures, len(failures))}; "
                "replace these files, or remove them with their rows of metadata"
            )

    def _decode_one(self, picture: Picture) -> tuple[np.ndarray, np.ndarray | None] | str:
        file = picture.image
        # A damaged file can make Pillow and zlib raise almost anything; all of it means the same.
        try:
            image, frame = self.image(file.read())
            if picture.mask is None:
                return image, None
            file = picture.mask
            return image, self.mask(file.read(), frame)
        except Exception as error:
            return f"{file.path} ({error or type(error).__name__})"


def fit(
    picture: Image.Image, image_size: int, geometry: Geometry, resample: Image.Resampling
) -> Image.Image:
    """Bring a picture to a square of ``image_size`` pixels; antialiased when it gets smaller."""
    width, height = picture.size
    box = (0, 0, width, height)
    if geometry == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
    return picture.resize((image_size, image_size), resample, box=box)


def _open(data: bytes) -> Image.Image:
    try:
        picture = Image.open(BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise ValueError(f"no picture in {', '.join(_FORMATS)}") from None
    # Pillow warns here, and refuses at twice as many: a short file may claim 700 MB of memory.
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and picture.width * picture.height > most:
        raise ValueError(
            f"it claims {picture.width}x{picture.height} pixels, and at most {most} are decoded"
        )
    return ImageOps.exif_transpose(picture)


def _rgb(picture: Image.Image, white_level: int) -> Image.Image:
    if picture.mode.startswith("I;16"):
        codes = np.asarray(picture).astype(np.uint32)
        if white_level == _SIXTEEN_BITS and 0 < codes.max() <= _SIXTEEN_BITS // 16:
            warnings.warn(
                f"a picture of 16 bits holds no code above {codes.max()}, and becomes nearly "
                "black: give white_level, such as 4095, if its camera has 12 bits",
                stacklevel=2,
            )
        scaled = (255 * codes.clip(max=white_level) + white_level // 2) // white_level
        picture = Image.fromarray(scaled.astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ValueError(f"mode {picture.mode} names no white level; save it with 8 or 16 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")  # palettes warn when they go to RGB at once
    return picture.convert("RGB")
