"""Single pictures, as files: read, coded with the codec of a run, decoded, written."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from classify.data.archive import Member
from classify.data.decode import as_rgb, check_pages, fit
from classify.data.sixteen import sixteen_bits
from compress import Codec, CorruptStream, psnr
from joint.judge.point import at_quality
from joint.saved.checkpoint import write_atomically
from joint.stages import Encoding
from optics import linear_to_srgb, srgb_to_linear

from .source import PictureSource, content_of, name_of, readable_formats

__all__ = [
    "CodedPicture",
    "CompressedFile",
    "as_coded",
    "check_target",
    "code_picture",
    "compress_file",
    "decompress_file",
    "picture_for",
    "read_picture",
    "write_picture",
]

#: Formats that keep every value; a picture that was decoded should not be coded again unasked.
LOSSLESS = {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}

_SAMPLE_FORMAT, _SIGNED = 339, 2  # the tag of TIFF that says what numbers codes are


@dataclass(frozen=True)
class CompressedFile:
    """What became of a picture."""

    path: str
    """The file written."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    size: int
    """Bytes of the file."""
    bpp: float
    """Bits per pixel, header included."""
    psnr: float | None
    """Of what the file decodes to against the 8-bit picture, dB; None where they are equal."""

    def __str__(self) -> str:
        """One line for people."""
        fidelity = "lossless" if self.psnr is None else f"PSNR {self.psnr:.2f} dB"
        return (
            f"{self.path}: {self.size} bytes, {self.bpp:.4f} bits/pixel "
            f"({self.height}x{self.width}), {fidelity}"
        )


class CodedPicture(NamedTuple):
    """A picture in a file, which is not written yet, and what that decodes to."""

    data: bytes
    """The whole file, header included."""
    levels: Tensor
    """``[1, C, H, W]`` in 0..1, rounded to 8 bits as a picture file holds them."""


class _Unfit(ValueError):
    """A whole picture, but none that the codec takes."""


def picture_for(codec: Codec, source: PictureSource) -> Tensor:
    """Read a picture with the channels that a codec takes, see :func:`read_picture`.

    They are its ``channels``: None of one that takes grey and colour as they come. A codec of
    somebody's own that says nothing of them is given RGB.
    """
    return read_picture(source, channels=getattr(codec, "channels", 3))


def read_picture(
    source: PictureSource, *, channels: int | None = 3, image_size: int | None = None
) -> Tensor:
    """Read an 8-bit picture as ``[1, channels, H, W]`` in 0..1.

    Parameters
    ----------
    source : path or classify.data.archive.Member
        BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF, WebP or AVIF; a camera's orientation is applied.
        Of a JPEG that holds several pictures, as those of phones may, it is the first.
    channels : {3, 1, None}
        RGB, which grey pictures, palettes, CMYK, YCbCr and Lab become; or grey; or, None, grey of a
        grey file (L, 1 or LA in Pillow's words) and RGB of another. A colour picture is not turned
        grey unasked, and an alpha channel is dropped only where it lets nothing through.
    image_size : int, pixels, optional
        Side of the square that it is cropped (at its centre) and reduced to, as pictures for
        training are. By default it has its own size.

    Raises
    ------
    ValueError
        When the file is not a whole picture, has other channels, 16 bits or signed codes, is
        transparent somewhere, or smaller than ``image_size``.
    OSError
        When it cannot be opened.
    """
    if channels not in (1, 3, None):
        raise ValueError(
            f"pictures of 1 or 3 channels can be read, not of {channels}: a codec of other "
            "channels, as of the phases of a packed mosaic, takes tensors, "
            "joint.load_codec(run).compress(mosaics)"
        )
    path, content = name_of(source), io.BytesIO(content_of(source))
    try:
        with Image.open(content, formats=readable_formats()) as opened:
            if sixteen_bits(opened):  # of colour, Pillow drops the lower eight without a word
                raise _Unfit(
                    f"{path} is a picture of 16 bits, and files are coded of 8, as sRGB: convert "
                    "it, with 255 * code / white or, of linear light, 255 * optics.linear_to_srgb("
                    "code / white), white being the white_level that the data were trained with "
                    "(65535, or 4095 of a camera of 12 bits)"
                )
            grey = opened.mode in ("L", "1", "LA")
            channels = channels or (1 if grey else 3)
            if opened.mode in ("I", "F") or (channels == 1 and not grey):
                raise _Unfit(
                    f"{path} is a picture of mode {opened.mode}; this codec "
                    f"takes {'RGB' if channels == 3 else 'grey'} pictures of 8 bits: convert it"
                )
            if _is_signed(opened):
                raise _Unfit(
                    f"{path} is a picture of signed codes, -128 to 127, which Pillow reads as if "
                    "they were of 0 to 255: add 128, or what makes 0 black, and save it unsigned"
                )
            try:
                check_pages(opened)
            except ValueError as error:
                held = str(error).partition(";")[0]
                raise _Unfit(f"{path}: {held}, and one is coded: choose it") from error
            # As every viewer shows it.
            picture, opaque = as_rgb(ImageOps.exif_transpose(opened))
            if not opaque:
                raise _Unfit(
                    f"{path} is transparent somewhere, which no codec here keeps: flatten it onto "
                    "its background, or save it without its alpha channel"
                )
            if image_size is not None:
                width, height = picture.size
                if min(width, height) < image_size:
                    raise _Unfit(
                        f"{path} is of {height}x{width} pixels, and is not enlarged to a square of "
                        f"{image_size}: leave it out, or choose a smaller square"
                    )
                picture = fit(picture, image_size, "crop", Image.Resampling.LANCZOS)
            values = np.asarray(picture if channels == 3 else picture.getchannel(0))
    except UnidentifiedImageError as error:
        kinds = ", ".join(readable_formats())
        raise ValueError(
            f"{path} is not a picture that can be read: it is none of {kinds}"
        ) from error
    except _Unfit:
        raise
    except Exception as error:  # Pillow raises nearly anything on a damaged file
        raise ValueError(f"{path} is not a picture that can be read: {error}") from error
    tensor = torch.from_numpy(values.copy()).float() / 255
    return (tensor[None] if values.ndim == 2 else tensor.movedim(-1, 0))[None]


def _is_signed(picture: Image.Image) -> bool:
    """Whether a picture is a TIFF of signed codes."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    return _SIGNED in picture.tag_v2.get(_SAMPLE_FORMAT, ())


def write_picture(path: Path | str, image: Tensor) -> None:
    """Write a picture ``[1, C, H, W]`` in 0..1 as 8 bits, without loss, all or nothing.

    Raises
    ------
    ValueError
        For a suffix of no lossless format, pictures of neither 1 nor 3 channels, or values that are
        not finite.
    """
    path = Path(path)
    kind = LOSSLESS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path} must end in one of {', '.join(LOSSLESS)}")
    if image.ndim != 4 or image.shape[0] != 1 or image.shape[1] not in (1, 3):
        raise ValueError(f"expected one picture [1, 1 or 3, H, W], got {list(image.shape)}")
    if not image.isfinite().all():
        raise ValueError(f"a picture for {path} must be finite, got NaN or infinite values")
    # In half precision the products are not exact enough to round.
    levels = (255 * image[0].float().clamp(0, 1)).round().to("cpu", torch.uint8)
    levels = levels.movedim(0, -1).numpy()
    content = io.BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).save(content, kind)
    write_atomically(path, content.getvalue())


def compress_file(
    source: PictureSource,
    target: Path | str,
    codec: Codec,
    *,
    quality: float | None = None,
    encoding: Encoding = "srgb",
) -> CompressedFile:
    """Code one picture with a codec into a file.

    Parameters
    ----------
    source : path or classify.data.archive.Member
        The picture.
    target : path
        The file to write.
    codec : compress.Codec
        Such as :func:`joint.load_codec` returns. One of ``channels`` takes no other pictures; grey
        ones become three equal channels for one of 3. JPEG, JPEG 2000, AVIF and PNG that are not of
        a run have none: a grey picture stays grey.
    quality : float, optional
        Operating point of a codec that has several; see :func:`compress.quality_for`.
    encoding : {"srgb", "linear"}
        What the codec was trained on (:attr:`ImagingSystem.encoding`): with ``linear``, it is given
        the light of the picture.

    Raises
    ------
    ValueError
        When the picture cannot be read, or the codec raises anything on it, or it has no such
        quality; or when the target is the picture itself, a folder, or ends as one, in ``/``.
        Another file of that name is replaced.
    CheckpointError
        When the file cannot be written.
    """
    check_target(source, target)
    image = picture_for(codec, source)
    with at_quality(codec, quality):
        data, levels = code_picture(name_of(source), image, codec, encoding=encoding)
    fidelity = float(psnr(levels, image))
    write_atomically(Path(target), data)  # of a picture that fails, no file is left
    height, width = image.shape[-2:]
    return CompressedFile(
        path=str(target),
        height=height,
        width=width,
        size=len(data),
        bpp=8 * len(data) / (height * width),
        psnr=None if fidelity == float("inf") else fidelity,
    )


def code_picture(
    name: str, image: Tensor, codec: Codec, *, encoding: Encoding = "srgb"
) -> CodedPicture:
    """Code one picture into a file, and decode that, without writing it.

    Parameters
    ----------
    name : str
        Of the picture, for messages.
    image : Tensor
        ``[1, C, H, W]`` in 0..1, as :func:`read_picture` reads it.
    codec : compress.Codec
        Such as :func:`joint.load_codec` returns.
    encoding : {"srgb", "linear"}
        What the codec was trained on.

    Returns
    -------
    CodedPicture

    Raises
    ------
    ValueError
        When the codec raises anything on it but for too little memory or a missing library, or its
        file decodes to values that are not finite.
    """
    with _naming(name, codec, ValueError), torch.no_grad():
        (data,) = codec.compress(as_coded(image, encoding))
        decoded = _shown(_decoded(codec, data), encoding)
    return CodedPicture(data, (255 * decoded.float().clamp(0, 1)).round() / 255)


def decompress_file(
    source: PictureSource, target: Path | str, codec: Codec, *, encoding: Encoding = "srgb"
) -> tuple[int, int]:
    """Decode what :func:`compress_file` wrote into a lossless picture; returns (H, W).

    Parameters
    ----------
    source : path or classify.data.archive.Member
        File of :func:`compress_file`.
    target : path
        Picture to write, of a lossless format.
    codec : Codec
        The one that wrote the file.
    encoding : {"srgb", "linear"}
        As the file was written with.

    Returns
    -------
    (int, int)
        Height and width, pixels.

    Raises
    ------
    compress.CorruptStream
        When the file is damaged, or other parameters wrote it, or a codec of one's own raises
        anything else on it, or it decodes to values that are not finite; the message names it.
    ValueError, CheckpointError
        When the picture cannot be written.
    """
    check_target(source, target)
    data = content_of(source)
    with _naming(name_of(source), codec, CorruptStream):
        decoded = _decoded(codec, data)
    write_picture(target, _shown(decoded, encoding))
    return decoded.shape[-2], decoded.shape[-1]


@contextmanager
def _naming(name: str, codec: Codec, kind: type[ValueError]) -> Iterator[None]:
    """What a codec raises on a file as ``kind``, with its name: one's own may raise anything.

    Not so what no file is to blame for: too little memory, or a library that is not there.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, ImportError):
        raise
    except ValueError as error:
        raise kind(f"{name}: {str(error).removeprefix('payload 0: ')}") from error
    except Exception as error:
        raised = f"{type(codec).__name__} raised {type(error).__name__}: {error}"
        raise kind(f"{name}: {raised}") from error


def _decoded(codec: Codec, data: bytes) -> Tensor:
    """What a file decodes to, if that is a picture: parameters of a net may not be finite."""
    decoded = codec.decompress([data])
    if not decoded.isfinite().all():
        raise ValueError(
            f"{type(codec).__name__} decodes its file to values that are not finite: its training "
            "diverged, or its parameters are damaged"
        )
    return decoded


def as_coded(image: Tensor, encoding: Encoding) -> Tensor:
    """A picture of a file ``[B, C, H, W]``, as a codec of this encoding is given it."""
    return srgb_to_linear(image) if encoding == "linear" else image


def _shown(decoded: Tensor, encoding: Encoding) -> Tensor:
    """What a codec decodes to, as a picture file has it."""
    return linear_to_srgb(decoded.float().clamp(0, 1)) if encoding == "linear" else decoded


def check_target(source: PictureSource, target: Path | str) -> None:
    """Raise a ValueError where a target is the file that is read, or a folder.

    One that ends in a separator is meant to be one, there or not; a Path has lost it.
    """
    if not isinstance(source, Member) and Path(source).resolve() == Path(target).resolve():
        raise ValueError(f"{target} is the file that is read: choose another target")
    if os.path.isdir(target) or os.fspath(target).endswith(("/", os.sep)):
        raise ValueError(f"{target} is a folder: name a file in it")
