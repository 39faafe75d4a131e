"""From picture files to arrays of codes of one size, many at a time.

Threads, not processes: Pillow lets go of the interpreter while it decodes and resizes (1.9 times
as fast on two cores for the 600x450 originals), and nothing has to be copied between processes.
"""

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Literal, NamedTuple, TypeAlias, final, get_args

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from tqdm import tqdm

from .archive import Member, listed
from .arrays import SceneEncoding, as_integer, nearly_black
from .colour import in_srgb, is_srgb
from .sixteen import WholeCodes, apart, grey_codes, sixteen_bits, whole_picture

__all__ = [
    "SUFFIXES",
    "TRANSPARENT",
    "UNREAD",
    "Decoded",
    "Decoder",
    "Geometry",
    "Picture",
    "as_rgb",
    "check_pages",
    "fit",
    "with_alpha",
]

#: What is said of pictures that are transparent somewhere: how many, and their names.
TRANSPARENT = (
    "{} have transparent parts, and are read as opaque, with the colours stored there: {}; if "
    "these are not intended, flatten the pictures onto their background"
)
_OTHER_COLOURS = (
    "{} have a colour profile that is not applied, as their 16 bits are kept: {}; convert them to "
    "sRGB if they are in other colours"
)
_UNREAD_PROFILE = (
    "{} have a colour profile that cannot be read, or that of another kind of picture, and are "
    "taken as sRGB: {}; convert them to sRGB if they are in other colours"
)

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
# Codes below it are labels; what is left by a JPEG has some near white, too. And how many greys in
# areas are labels at most; a soft edge that was enlarged pixel by pixel has more.
_LABELS = 32
_RIPPLE = 16  # a JPEG, saved as PNG later, leaves a plane by up to the brightest code / 16
_SPOT = 9  # pixels amid their like, fewer of which a soft edge has by chance
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
    notes: tuple[str, ...] = ()
    """Notes for the user, see :meth:`Decoder.decode`.

    Some are templates with two ``{}``, which ``str.format`` fills: how many pictures, such as
    ``2 of 5 images``, and their names. All braces of a note are those.
    """


@final
@dataclass(frozen=True, kw_only=True)
class Decoder:
    """How files become arrays.

    Orientation tags are applied, in images and in masks. Grey, palette and CMYK pictures become
    RGB, or all become grey if one channel is requested. 16-bit pictures are reduced to 8 bits
    unless 16 are requested. Pictures with a colour profile are converted to sRGB, unless their
    codes are not sRGB; if 16 bits are kept, a profile of other colours is dropped, with a warning.
    An alpha channel is also dropped, with a warning if anything is transparent.
    Images are reduced with a Lanczos filter on the codes, masks by area: a pixel is on the lesion
    when more than about half of it is. Masks that are transparent somewhere are refused, and so
    are maps of several labels (0, 1, 2, or 0, 1, 255; areas of several greys or colours), of which
    one is the lesion: in colour, it is on black. Soft edges are no labels, but those that have
    areas of less than 32 greys, as of a very wide blur or of a tiny mask that was enlarged pixel by
    pixel, are taken for some.

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
        Code that becomes white in 16-bit pictures, as do brighter codes: 4095 for a 12-bit camera
        that fills the low bits. 8-bit pictures are not changed, with a warning.
    bit_depth : {8, 16}, optional
        Bits of the codes. With 16, files of another depth are refused; by default 8, with a
        warning if a file has more.
    channels : {1, 3}, optional
        3 (the default) also makes three channels of grey pictures; 1 converts colours to the
        luminance of their codes (ITU-R BT.709), and keeps grey.
    profiles : bool
        Whether colour profiles are applied; False if the codes are linear light.
    depth_advice : str
        Advice in the warning of ``bit_depth``.
    white_advice : str
        Advice in the warning of pictures that become nearly black, for a 12-bit camera.

    Raises
    ------
    ValueError
        When an option is out of its range.
    """

    image_size: int
    geometry: Geometry = "crop"
    workers: int | None = None
    progress: bool = True
    white_level: int = _SIXTEEN_BITS
    bit_depth: Literal[8, 16] | None = None
    channels: Literal[1, 3] | None = None
    profiles: bool = True
    depth_advice: str = (
        "give bit_depth=16 (--data.bit-depth 16) to keep them all, or 8 if that is intended"
    )
    white_advice: str = "give white_level (--data.white-level), such as 4095,"

    def __post_init__(self) -> None:
        size = as_integer(self.image_size)
        if size is None or not 8 <= size <= 1024:
            raise ValueError(
                f"image_size must be an integer from 8 to 1024 pixels, got {self.image_size!r}: "
                "files become squares of this side; an oblong picture is loaded as an array, with "
                "SceneFile or LesionDataset"
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
        """Data type of the codes."""
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
            notes = self._notes(whole)
            profile = self._profile(_untouched(data))
            if profile is not None and not is_srgb(profile):
                notes = (*notes, _OTHER_COLOURS)
            return Decoded(self._deep(whole.codes), (width, height), notes)
        raw = _untouched(data)
        deep = self._sixteen(data) if sixteen_bits(raw) else None
        if deep is not None:
            eight = _at_white(deep.codes, self.white_level, 255).astype(np.uint8)
            grey = raw.mode == "LA" or raw.mode.startswith("I;16")
            picture = Image.fromarray(eight[..., 0] if grey else eight)
            whole, notes = self._in_srgb(picture, raw, self._notes(deep))
        else:
            whole, notes = self._eight(raw)
        if self.bit_depth is None and sixteen_bits(raw):
            notes = (f"a picture of 16 bits is reduced to 8: {self.depth_advice}", *notes)
        if self.channels == 1:
            whole = whole.convert("L", (*_LUMINANCE, 0.0))
        small = np.asarray(fit(whole, self.image_size, self.geometry, Image.Resampling.LANCZOS))
        codes = np.ascontiguousarray(np.moveaxis(np.atleast_3d(small), 2, 0))
        return Decoded(codes, whole.size, notes)

    def _eight(self, raw: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
        """An 8-bit picture in RGB, and notes on it."""
        picture = ImageOps.exif_transpose(raw)
        whole, opaque = as_rgb(picture)
        notes = () if opaque else (TRANSPARENT,)
        if self.white_level != _SIXTEEN_BITS:
            return whole, (
                f"an 8-bit picture is not changed: white_level={self.white_level} is a code of "
                "16-bit pictures; leave it out, or scale the codes of the files so that 255 is "
                "white, and give their encoding",
                *notes,
            )
        grey_or_inks = picture.mode in ("1", "L", "LA", "CMYK")
        return self._in_srgb(picture if grey_or_inks else whole, raw, notes)

    def _in_srgb(
        self, picture: Image.Image, raw: Image.Image, notes: tuple[str, ...]
    ) -> tuple[Image.Image, tuple[str, ...]]:
        """A picture of 8 bits in the RGB of sRGB, by the profile of its file, and the notes."""
        profile = self._profile(raw)
        if profile is not None:
            try:
                return in_srgb(picture, profile), notes
            except ValueError:
                notes = (*notes, _UNREAD_PROFILE)
        return picture.convert("RGB"), notes

    def _profile(self, raw: Image.Image) -> bytes | None:
        """The colour profile of a picture, where one counts."""
        counts = self.profiles and self.white_level == _SIXTEEN_BITS
        return (counts and raw.info.get("icc_profile")) or None

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

    def _notes(self, whole: WholeCodes) -> tuple[str, ...]:
        """What is to be said of a picture of 16 bits: of its white level and alpha."""
        brightest, notes = int(whole.codes.max()), []
        if brightest > self.white_level:
            notes.append(
                # The next power of two here too.
                f"a picture of 16 bits has codes above white_level={self.white_level}, up to "
                f"{2 ** brightest.bit_length() - 1}, which all become white: give the code that is "
                "white in these files, unless they are overexposed"
            )
        if self.white_level == _SIXTEEN_BITS and nearly_black(brightest, depth=16):
            notes.append(
                f"a picture of 16 bits {nearly_black(brightest, depth=16)}: {self.white_advice} if "
                "its camera has 12 bits"
            )
        return (*notes, *(() if whole.opaque else (TRANSPARENT,)))

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
            raise ValueError("the mask has transparent parts; flatten it to black and white")
        exact = raw.format not in ("JPEG", "MPO")  # which leave any values
        if raw.mode.startswith("I;16"):
            codes = grey_codes(raw)
        elif picture.mode in ("1", "L", "I", "F"):
            codes = np.asarray(picture)
        elif exact:
            codes = _on_black(np.asarray(picture.convert("RGB")))
        else:
            codes = np.asarray(picture.convert("L"))
        if np.isnan(codes.max()):
            raise ValueError("the mask holds NaN; save it in black and white")
        if exact:
            _check_one_label(codes)
        # Half of the brightest value reads 0/1, 0/255 and a mask that was once a JPEG alike.
        on = Image.fromarray((codes > codes.max() / 2).astype(np.uint8) * 255)
        small = fit(on, self.image_size, self.geometry, Image.Resampling.BOX)
        return (np.asarray(small) >= 128).astype(np.uint8)

    def decode(
        self, pictures: Sequence[Picture], title: str, warn: Callable[[str], object] | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Decode all of them in order: image ``[C, S, S]``, mask uint8 ``[S, S]`` or None.

        ``warn`` is called at the end with each thing that is to be said of some, once for all of
        them; by default it warns.

        Raises
        ------
        ValueError
            At the end, when files could not be used: all of them by name, each with its reason.

        Warns
        -----
        UserWarning
            When pictures are transparent somewhere, are nearly black or brighter than their white
            level, lose bits, or have a colour profile that is not applied.
        """
        failures: list[tuple[str, str]] = []
        each = self.decode_each(pictures, title, lambda *failure: failures.append(failure), warn)
        yield from ((image.codes, mask) for _, image, mask in each)
        if failures:
            raise ValueError(
                f"{len(failures)} of {len(pictures)} images cannot be used: "
                f"{_by_reason(failures)}; "
                "replace these files, or remove them, and their rows where a table has some"
            )

    def decode_each(
        self,
        pictures: Sequence[Picture],
        title: str,
        failed: Callable[[str, str], object],
        warn: Callable[[str], object] | None = None,
    ) -> Iterator[tuple[int, "Decoded", np.ndarray | None]]:
        """Decode those that can be used: their places in the order, images and masks.

        ``failed`` is called with the path of each other file, and the reason; ``warn`` as of
        :meth:`decode`.

        Warns
        -----
        UserWarning
            As :meth:`decode`.
        """
        Image.init()  # registers the decoders once, before the threads need them
        noted: dict[str, list[str]] = defaultdict(list)
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
                    for note in image.notes:
                        noted[note].append(pictures[place].image.path)
                    yield place, image, mask
        for note, names in noted.items():
            said = note.format(f"{len(names)} of {len(pictures)} images", listed(names))
            (warn or partial(warnings.warn, stacklevel=2))(said)

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
            f"it claims {picture.width}x{picture.height} pixels, but at most {most} are decoded"
        )
    check_pages(picture)
    return picture


def check_pages(picture: Image.Image) -> None:
    """Refuse a stack or an animation, of which the first page would pass for the whole."""
    frames = getattr(picture, "n_frames", 1)
    # Not in a JPEG, behind which phones put the brightness of a screen, or depth.
    if frames > 1 and picture.format not in ("MPO", "TIFF"):
        raise ValueError(f"it holds {frames} frames; save one picture per file")
    if not isinstance(picture, TiffImagePlugin.TiffImageFile) or frames == 1:
        return
    pages = 0
    for page in range(picture.n_frames):
        picture.seek(page)
        pages += not picture.tag_v2.get(_SUBFILE, 0) & 1  # not a thumbnail of another page
    picture.seek(0)
    if pages > 1:
        raise ValueError(
            f"it holds {pages} pages; save one picture per file, or an array [N, C, H, W] for "
            "classify.SceneFile"
        )


def _check_one_label(codes: np.ndarray) -> None:
    """Refuse a map of several labels, the largest of which would pass for the lesion."""
    if codes.dtype.kind not in "iu":
        return
    others = codes[codes != codes.max()]
    small = others.size and others.min() < others.max() < _LABELS
    if small or _has_plateau(codes):
        values = listed(map(str, np.unique(codes).tolist()), 6)
        raise ValueError(
            f"the mask holds the values {values}, and does not say which of these labels is the "
            "lesion; save it in black and white"
        )


def _has_plateau(codes: np.ndarray) -> bool:
    """Whether there are areas of labels between the darkest and the brightest.

    A soft edge has none, or where it was enlarged pixel by pixel, areas of many codes beside a
    larger bright one.
    """
    low, high = int(codes.min()), int(codes.max())
    ripple = (high - low) // _RIPPLE
    between = (codes > low + ripple) & (codes < high - ripple)
    if not between.any():
        return False
    centre, area = codes[1:-1, 1:-1], between[1:-1, 1:-1]
    height, width = centre.shape
    for row, column in np.ndindex(3, 3):
        area &= codes[row : row + height, column : column + width] == centre
    _, sizes = np.unique(centre[area], return_counts=True)
    if sizes.max(initial=0) < _SPOT:
        return False
    bright = codes >= high - ripple
    return len(sizes) < _LABELS or bool(between.sum() > bright.sum())


def _on_black(colours: np.ndarray) -> np.ndarray:
    """Codes ``[H, W]`` of a mask uint8 ``[H, W, 3]`` that is grey, or has one colour on black.

    With one colour, each channel is the brightest times its share of that colour, but for rounding,
    by less than a code, and for what a JPEG left: by up to the brightest code / 16, and more along
    edges, which are narrower than a spot of another label.
    """
    red, green, blue = np.moveaxis(colours, 2, 0)
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    codes = np.maximum(np.maximum(red, green), blue)
    colour = np.median(colours[codes > codes.max() // 2], axis=0)
    share = (colour / (colour.max() or 1)).astype(np.float32)
    limit = 1 + colour.max() // _RIPPLE - 1e-3  # float32 is rounded
    off = (np.abs(colours - codes[..., None] * share) >= limit).any(2)
    height, width = codes.shape
    amid = off[1:-1, 1:-1].copy()
    for row, column in np.ndindex(3, 3):
        amid &= off[row : row + height - 2, column : column + width - 2]
    if amid.sum() >= _SPOT:
        raise ValueError(
            "the mask holds several colours, and does not say which of these labels is the "
            "lesion; save it in black and white"
        )
    return codes


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
        raise ValueError(f"mode {picture.mode} has no defined white; save it with 8 or 16 bits")
    picture, opaque = with_alpha(picture)
    return picture.convert("RGB"), opaque
