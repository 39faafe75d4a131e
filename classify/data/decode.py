"""From picture files to arrays of codes of one size, many at a time.

Threads, not processes: Pillow lets go of the interpreter while it decodes and resizes (1.9 times
as fast on two cores for the 600x450 originals), and nothing has to be copied between processes.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, NamedTuple, TypeAlias, final, get_args

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from tqdm import tqdm

from .archive import Member, listed
from .arrays import SceneEncoding, as_integer
from .sixteen import WholeCodes, apart, grey_codes, sixteen_bits, whole_picture

__all__ = [
    "SUFFIXES",
    "UNREAD",
    "Decoded",
    "Decoder",
    "Geometry",
    "Picture",
    "as_rgb",
    "check_pages",
    "fit",
    "warn_of_nearly_black",
    "warn_of_transparent",
    "with_alpha",
]

Geometry: TypeAlias = Literal["crop", "squeeze"]

#: Suffixes of the pictures that a folder may hold.
SUFFIXES = (".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
#: Suffixes of other pictures, which are not read.
UNREAD = (".avif", ".dcm", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jxl")
# Named, so that Pillow tries no other decoder on a file from a stranger.
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_SIXTEEN_BITS = 65535
# Pictures under way at once: bounds the memory, large enough to keep every thread busy.
_BLOCK = 256
# Of red, green and blue in the luminance of sRGB's primaries (ITU-R BT.709).
_LUMINANCE = (0.2126, 0.7152, 0.0722)
_SUBFILE = 254  # the tag of TIFF whose first bit says that a page is the thumbnail of another
_LABELS = 32  # codes below it are labels; what is left by a JPEG has some near white, too
_MANY = 10  # files, more of which have their common reason said once


class Picture(NamedTuple):
    """The files of one image."""

    image: Member
    mask: Member | None = None


class Decoded(NamedTuple):
    """A picture that was decoded."""

    codes: np.ndarray
    """``[C, S, S]``."""
    frame: tuple[int, int]
    """(width, height) that the file has, pixels."""
    opaque: bool
    """Whether nothing shows through."""


@final
@dataclass(frozen=True, kw_only=True)
class Decoder:
    """How files become arrays.

    Orientation tags are obeyed, in images and in masks alike. Grey, palette and CMYK pictures
    become RGB, or all of them grey where one channel is asked for, and those of 16 bits have 8
    where they are not asked for; an embedded colour profile is dropped, and so is an alpha channel,
    with a warning where it lets anything through.
    Images are reduced with a Lanczos filter on the codes, masks by area: a pixel is on the lesion
    when more than about half of it is. Masks that are transparent somewhere are refused, and so
    are maps of several labels (0, 1, 2, or 0, 1, 255), of which one is the lesion.

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
        Code of pictures of 16 bits that becomes white, brighter ones too: 4095 where a camera of
        12 bits has filled the low ones. Those of 8 bits stay as they are, with a warning.
    bit_depth : {8, 16}, optional
        Of the codes. With 16, files of another depth are refused; by default they are 8, with a
        warning where a file has more.
    channels : {1, 3}, optional
        3 (the default) makes three of grey pictures, too; 1 makes colours grey by the luminance of
        their codes (ITU-R BT.709), and leaves grey as it is.
    depth_advice : str
        What that warning tells to do.
    white_advice : str
        What a warning of pictures that become nearly black tells to do, where their camera has 12
        bits.

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
    bit_depth: Literal[8, 16] | None = None
    channels: Literal[1, 3] | None = None
    depth_advice: str = "give bit_depth=16 to keep them all, or 8 if that is meant"
    white_advice: str = "give white_level, such as 4095,"

    def __post_init__(self) -> None:
        size = as_integer(self.image_size)
        if size is None or not 8 <= size <= 1024:
            raise ValueError(
                f"image_size must be an integer from 8 to 1024 pixels, got {self.image_size!r}"
            )
        if self.geometry not in get_args(Geometry):
            raise ValueError(
                f"geometry must be 'crop' (centred square) or 'squeeze' (whole frame), "
                f"got {self.geometry!r}"
            )
        workers = as_integer(self.workers)
        if self.workers is not None and (workers is None or workers < 1):
            raise ValueError(f"workers must be a positive integer or None, got {self.workers!r}")
        white = as_integer(self.white_level)
        if white is None or not 1 <= white <= _SIXTEEN_BITS:
            raise ValueError(
                f"white_level must be a code of 16 bits, 1 to {_SIXTEEN_BITS}, "
                f"got {self.white_level!r}"
            )
        if self.bit_depth not in (8, 16, None):
            raise ValueError(f"bit_depth must be 8, 16 or None, got {self.bit_depth!r}")
        channels = as_integer(self.channels)
        if self.channels is not None and channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey), 3 or None, got {self.channels!r}")
        # Products of NumPy's integers wrap.
        checked = {
            "image_size": size,
            "workers": workers,
            "white_level": white,
            "channels": channels,
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def dtype(self) -> np.dtype:
        """Of the codes."""
        return np.dtype(np.uint16 if self.bit_depth == 16 else np.uint8)

    @property
    def planes(self) -> int:
        """Channels of the codes."""
        return 1 if self.channels == 1 else 3

    @property
    def encoding(self) -> SceneEncoding | None:
        """What the codes are, where nobody said: those of a camera's raw data may be anything."""
        raw = self.bit_depth == 16 or self.white_level != _SIXTEEN_BITS
        return None if raw else "srgb"

    def image(self, data: bytes) -> "Decoded":
        """Decode a picture."""
        if self.bit_depth == 16:
            whole = whole_picture(lambda: _untouched(data))
            height, width, _ = whole.codes.shape
            return Decoded(self._deep(whole.codes), (width, height), whole.opaque)
        raw = _untouched(data)
        if self.bit_depth is None and sixteen_bits(raw):
            warnings.warn(
                f"a picture of 16 bits is reduced to 8: {self.depth_advice}", stacklevel=2
            )
        deep = self._sixteen(data) if sixteen_bits(raw) else None
        if deep is not None:
            self._check_white(int(deep.codes.max()))
            eight = _at_white(deep.codes, self.white_level, 255).astype(np.uint8)
            whole, opaque = Image.fromarray(eight), deep.opaque
        else:
            whole, opaque = as_rgb(ImageOps.exif_transpose(raw))
            if self.white_level != _SIXTEEN_BITS:
                warnings.warn(
                    f"a picture of 8 bits stays as it is: white_level={self.white_level} is a code "
                    "of those of 16; leave it out, or scale the codes of the files so that 255 is "
                    "white, and give the encoding that they have",
                    stacklevel=2,
                )
        if self.channels == 1:
            whole = whole.convert("L", (*_LUMINANCE, 0.0))
        small = np.asarray(fit(whole, self.image_size, self.geometry, Image.Resampling.LANCZOS))
        codes = np.ascontiguousarray(np.moveaxis(np.atleast_3d(small), 2, 0))
        return Decoded(codes, whole.size, opaque)

    def _sixteen(self, data: bytes) -> WholeCodes | None:
        """All 16 bits of a picture; None where Pillow has the high bytes alone, as of CMYK.

        These are 8 bits that were cut instead of rounded, and those of a camera of 12 nearly black.
        """
        try:
            return whole_picture(lambda: _untouched(data))
        except ValueError:
            if self.white_level != _SIXTEEN_BITS or apart(_untouched(data)):
                raise
            return None

    def _deep(self, codes: np.ndarray) -> np.ndarray:
        """Codes uint16 ``[H, W, 3]`` at their white level, reduced to ``[C, S, S]``."""
        self._check_white(int(codes.max()))
        codes = _at_white(codes, self.white_level, _SIXTEEN_BITS)
        if self.channels == 1:
            codes = np.rint(codes @ np.array(_LUMINANCE))[..., None]
        small = []
        for colour in np.moveaxis(codes, 2, 0):
            # Pillow resizes no colours of 16 bits, but floats, which hold them all.
            plane = Image.fromarray(np.ascontiguousarray(colour, np.float32))
            reduced = fit(plane, self.image_size, self.geometry, Image.Resampling.LANCZOS)
            small.append(np.asarray(reduced))
        return np.rint(np.stack(small).clip(0, _SIXTEEN_BITS)).astype(np.uint16)

    def _check_white(self, brightest: int) -> None:
        """Warn where the brightest code of a picture does not fit the white level."""
        if brightest > self.white_level:
            warnings.warn(
                # The next power of two here too.
                f"a picture of 16 bits has codes above white_level={self.white_level}, up to "
                f"{2 ** brightest.bit_length() - 1}, which all become white: give the code that is "
                "white in these files, unless they are overexposed",
                stacklevel=3,
            )
        if self.white_level == _SIXTEEN_BITS:
            warn_of_nearly_black(
                brightest,
                what="a picture of 16 bits",
                remedy=f"{self.white_advice} if its camera has 12 bits",
                stacklevel=3,
            )

    def mask(self, data: bytes, frame: tuple[int, int]) -> np.ndarray:
        """Decode the mask of a picture of size ``frame`` to uint8 ``[S, S]``, 1 on the lesion."""
        raw = _untouched(data)
        picture = ImageOps.exif_transpose(raw)
        if picture.size != frame:
            raise ValueError(
                f"the mask is {picture.width}x{picture.height} but its image is "
                f"{frame[0]}x{frame[1]}"
            )
        picture, opaque = with_alpha(picture)
        if not opaque:
            raise ValueError("the mask is transparent somewhere; flatten it to black and white")
        if raw.mode.startswith("I;16"):
            codes = grey_codes(raw)
        else:
            plain = picture.mode in ("1", "L", "I", "F")
            codes = np.asarray(picture if plain else picture.convert("L"))
        if np.isnan(codes.max()):
            raise ValueError("the mask holds NaN; save it in black and white")
        if raw.format not in ("JPEG", "MPO"):  # which leave any values
            _check_one_label(codes)
        # Half of the brightest value reads 0/1, 0/255 and a mask that was once a JPEG alike.
        on = Image.fromarray((codes > codes.max() / 2).astype(np.uint8) * 255)
        small = fit(on, self.image_size, self.geometry, Image.Resampling.BOX)
        return (np.asarray(small) >= 128).astype(np.uint8)

    def decode(
        self, pictures: Sequence[Picture], title: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Decode all of them in order: image ``[C, S, S]``, mask uint8 ``[S, S]`` or None.

        Raises
        ------
        ValueError
            At the end, when files could not be used: all of them by name, each with its reason.

        Warns
        -----
        UserWarning
            At the end, when pictures are transparent somewhere: once, with their names.
        """
        failures: list[tuple[str, str]] = []
        each = self.decode_each(pictures, title, lambda *failure: failures.append(failure))
        yield from ((image.codes, mask) for _, image, mask in each)
        if failures:
            raise ValueError(
                f"{len(failures)} of {len(pictures)} images cannot be used: "
                f"{_by_reason(failures)}; "
                "replace these files, or remove them, and their rows where a table has some"
            )

    def decode_each(
        self, pictures: Sequence[Picture], title: str, failed: Callable[[str, str], object]
    ) -> Iterator[tuple[int, "Decoded", np.ndarray | None]]:
        """Decode those that can be used: their places in the order, images and masks.

        ``failed`` is called with the path of each other file, and the reason.

        Warns
        -----
        UserWarning
            As :meth:`decode`.
        """
        Image.init()  # registers the decoders once, before the threads need them
        clear: list[str] = []
        threads = self.workers or os.cpu_count() or 1
        bar = tqdm(
            total=len(pictures), desc=title, unit="image", disable=None if self.progress else True
        )
        with bar, ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(pictures), _BLOCK):
                block = pictures[start : start + _BLOCK]
                for place, result in enumerate(pool.map(self._decode_one, block), start):
                    bar.update()
                    if isinstance(result, _Failure):
                        failed(result.path, result.reason)
                        continue
                    image, mask = result
                    if not image.opaque:
                        clear.append(pictures[place].image.path)
                    yield place, image, mask
        warn_of_transparent(clear, len(pictures), flatten="the files", stacklevel=2)

    def _decode_one(self, picture: Picture) -> "tuple[Decoded, np.ndarray | None] | _Failure":
        file = picture.image
        # A damaged file can make Pillow and zlib raise almost anything; all of it means the same.
        try:
            image = self.image(file.read())
            if picture.mask is None:
                return image, None
            file = picture.mask
            return image, self.mask(file.read(), image.frame)
        except Exception as error:
            return _Failure(file.path, str(error) or type(error).__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A file that could not be used."""

    path: str
    reason: str


def _by_reason(failures: Sequence[tuple[str, str]]) -> str:
    """All paths with their reasons; of a reason that many have, once: a whole folder."""
    paths: dict[str, list[str]] = {}
    for path, reason in failures:
        paths.setdefault(reason, []).append(path)
    said = []
    for reason, names in paths.items():
        groups = [", ".join(names)] if len(names) > _MANY else names
        said += [f"{group} ({reason})" for group in groups]
    return listed(said, len(said))


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


def _untouched(data: bytes) -> Image.Image:
    """Open a picture, of which nothing but its head is read yet."""
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
    check_pages(picture)
    return picture


def check_pages(picture: Image.Image) -> None:
    """Refuse a stack or an animation, of which the first page would pass for the whole."""
    frames = getattr(picture, "n_frames", 1)
    # Not in a JPEG, behind which phones put the brightness of a screen, or depth.
    if frames > 1 and picture.format not in ("MPO", "TIFF"):
        raise ValueError(f"it holds {frames} frames; save one picture a file")
    if not isinstance(picture, TiffImagePlugin.TiffImageFile) or frames == 1:
        return
    pages = 0
    for page in range(picture.n_frames):
        picture.seek(page)
        pages += not picture.tag_v2.get(_SUBFILE, 0) & 1  # not a thumbnail of another page
    picture.seek(0)
    if pages > 1:
        raise ValueError(
            f"it holds {pages} pages; save one picture a file, or an array [N, C, H, W] for "
            "classify.SceneFile"
        )


def _check_one_label(codes: np.ndarray) -> None:
    """Refuse a map of several labels, the largest of which would pass for the lesion."""
    others = codes[codes != codes.max()]
    if codes.dtype.kind in "iu" and others.size and others.min() < others.max() < _LABELS:
        values = listed(map(str, np.unique(codes).tolist()), 6)
        raise ValueError(
            f"the mask holds the values {values}, labels of which it does not say which are the "
            "lesion; save it in black and white"
        )


def warn_of_nearly_black(brightest: int, *, what: str, remedy: str, stacklevel: int) -> None:
    """Warn where the ``brightest`` of codes of 16 bits is one of 12: which nobody scaled."""
    if 0 < brightest <= _SIXTEEN_BITS // 16:
        warnings.warn(
            # The next power of two: the same words for all pictures of a camera, shown once.
            f"{what} holds no code above {2 ** brightest.bit_length() - 1}, and becomes nearly "
            f"black: {remedy}",
            stacklevel=stacklevel + 1,
        )


def warn_of_transparent(clear: Sequence[str], count: int, *, flatten: str, stacklevel: int) -> None:
    """Warn where some of ``count`` pictures, of the names ``clear``, are transparent somewhere."""
    if clear:
        warnings.warn(
            f"{len(clear)} of {count} images are transparent somewhere, and are taken as if they "
            f"were not, with the colours that lie under it: {listed(clear)}; if these are not "
            f"meant, flatten {flatten} onto their background",
            stacklevel=stacklevel + 1,
        )


def _at_white(codes: np.ndarray, white_level: int, top: int) -> np.ndarray:
    """Codes of 16 bits as those of which ``top`` is white."""
    if white_level == top:
        return codes
    codes = codes.astype(np.uint32).clip(max=white_level)
    return (top * codes + white_level // 2) // white_level


def with_alpha(picture: Image.Image) -> tuple[Image.Image, bool]:
    """As RGBA where something may show through, and whether nothing does."""
    if not picture.has_transparency_data or picture.mode.startswith("I;16"):
        return picture, True
    picture = picture.convert("RGBA")  # palettes warn when they go to RGB at once
    return picture, picture.getchannel("A").getextrema() == (255, 255)


def as_rgb(picture: Image.Image) -> tuple[Image.Image, bool]:
    """In red, green and blue of 8 bits, and whether it is opaque."""
    if picture.mode in ("I", "F"):
        raise ValueError(f"mode {picture.mode} names no white level; save it with 8 or 16 bits")
    picture, opaque = with_alpha(picture)
    return picture.convert("RGB"), opaque
