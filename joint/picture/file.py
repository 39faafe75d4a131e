"""Single picture files: read, coded with the codec of a run, decoded, written.

A coded file is what the codec wrote; behind ``LIN`` and a zero byte, if the codec was given linear
light. So the file says by itself what its decoded values are.
"""

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
    "mark_of",
    "picture_for",
    "read_picture",
    "write_picture",
]

#: Lossless formats; a decoded picture should not lose quality again.
LOSSLESS = {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}

_LINEAR = b"LIN\0"  # no codec of this library begins its files so

_SAMPLE_FORMAT, _SIGNED = 339, 2  # the tag of TIFF that says what numbers codes are


@dataclass(frozen=True)
class CompressedFile:
    """Result of compressing a picture."""

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
    """PSNR of the decoded file against the 8-bit picture, dB; None if they are equal."""

    def __str__(self) -> str:
        """One readable line."""
        fidelity = "lossless" if self.psnr is None else f"PSNR {self.psnr:.2f} dB"
        return (
            f"{self.path}: {self.size} bytes, {self.bpp:.4f} bits/pixel "
            f"({self.height}x{self.width}), {fidelity}"
        )


class CodedPicture(NamedTuple):
    """A coded picture that is not written yet, and its decoded values."""

    data: bytes
    """The whole file, header included."""
    levels: Tensor
    """``[1, C, H, W]`` in 0..1, rounded to 8 bits as a picture file holds them."""


class _Unfit(ValueError):
    """The error of a valid picture that the codec does not take."""


def picture_for(codec: Codec, source: PictureSource) -> Tensor:
    """Read a picture with the channels that a codec takes, see :func:`read_picture`.

    These are its ``channels``; None for a codec that takes both grey and colour. A custom codec
    without ``channels`` gets RGB.
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
        From a JPEG with several pictures, as phones write them, the first is read.
    channels : {3, 1, None}
        3: RGB, to which grey pictures, palettes, CMYK, YCbCr and Lab are converted. 1: grey; a
        colour picture is refused. None: grey for a grey file (mode L, 1 or LA of Pillow), RGB for
        any other. An alpha channel is dropped only if the picture is opaque.
    image_size : int, pixels, optional
        Side of the square to which the picture is cropped (at its centre) and reduced, as in
        training. By default it keeps its size.

    Raises
    ------
    ValueError
        When the file is not a complete picture, has other channels, 16 bits or signed codes, has
        transparent parts, or is smaller than ``image_size``.
    OSError
        When the file cannot be opened.
    """
    if channels not in (1, 3, None):
        raise ValueError(
            f"pictures of 1 or 3 channels can be read, not of {channels}: a codec with other "
            "channels, such as those of a packed mosaic, takes tensors, "
            "joint.load_codec(run).compress(mosaics)"
        )
    path, content = name_of(source), io.BytesIO(content_of(source))
    try:
        with Image.open(content, formats=readable_formats()) as opened:
            if sixteen_bits(opened):  # of colour, Pillow silently drops the lower eight
                raise _Unfit(
                    f"{path} is a 16-bit picture, but only 8-bit sRGB pictures are coded: convert "
                    "it, with 255 * code / white or, for linear light, 255 * optics.linear_to_srgb("
                    "code / white), where white is the white_level of the training data (65535, "
                    "or 4095 for a 12-bit camera)"
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
                    f"{path} has signed codes, -128 to 127, which Pillow reads as 0 to 255: add "
                    "128, or the value that makes 0 black, and save it unsigned"
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
                    f"{path} has transparent parts, which no codec here keeps: flatten it onto its "
                    "background, or save it without its alpha channel"
                )
            if image_size is not None:
                width, height = picture.size
                if min(width, height) < image_size:
                    raise _Unfit(
                        f"{path} has {height}x{width} pixels, and is not enlarged to a square of "
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
        When the suffix is not that of a lossless format, the picture has neither 1 nor 3 channels,
        or values are not finite.
    """
    path = Path(path)
    kind = LOSSLESS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path} must end in one of {', '.join(LOSSLESS)}")
    if image.ndim != 4 or image.shape[0] != 1 or image.shape[1] not in (1, 3):
        raise ValueError(f"expected one picture [1, 1 or 3, H, W], got {list(image.shape)}")
    if not image.isfinite().all():
        raise ValueError(f"a picture for {path} must be finite, got NaN or infinite values")
    # Half precision is too coarse for rounding.
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
        Codec, as returned by :func:`joint.load_codec`. It takes only pictures with its
        ``channels``; for 3 channels, grey pictures become three equal channels. JPEG, JPEG 2000,
        AVIF and PNG that are not from a run have ``channels=None``: grey pictures stay grey.
    quality : float, optional
        Quality of a codec that has several; see :func:`compress.quality_for`.
    encoding : {"srgb", "linear"}
        Encoding in which the codec was trained (:attr:`ImagingSystem.encoding`); with ``linear``
        the picture is converted to light first, and the file says so in its first four bytes.

    Raises
    ------
    ValueError
        When the picture cannot be read, when the codec raises an error on it, or has no such
        quality; when the target is the picture itself, a folder, or ends in ``/``. Any other file
        of that name is replaced.
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
    """Code one picture, and decode the result, without writing a file.

    Parameters
    ----------
    name : str
        Name of the picture, for messages.
    image : Tensor
        ``[1, C, H, W]`` in 0..1, as read by :func:`read_picture`.
    codec : compress.Codec
        Codec, as returned by :func:`joint.load_codec`.
    encoding : {"srgb", "linear"}
        Encoding in which the codec was trained.

    Returns
    -------
    CodedPicture

    Raises
    ------
    ValueError
        When the codec raises an error, except for lack of memory or a missing library, or when the
        coded picture decodes to values that are not finite.
    """
    with _naming(name, codec, ValueError), torch.no_grad():
        (data,) = codec.compress(as_coded(image, encoding))
        decoded = _shown(_decoded(codec, data), encoding)
    return CodedPicture(mark_of(encoding) + data, (255 * decoded.float().clamp(0, 1)).round() / 255)


def decompress_file(source: PictureSource, target: Path | str, codec: Codec) -> tuple[int, int]:
    """Decode a file of :func:`compress_file` into a lossless picture; returns (H, W).

    The encoding with which it was written is in the file.

    Parameters
    ----------
    source : path or classify.data.archive.Member
        File of :func:`compress_file`.
    target : path
        Picture to write, in a lossless format.
    codec : Codec
        The codec that wrote the file.

    Returns
    -------
    (int, int)
        Height and width, pixels.

    Raises
    ------
    compress.CorruptStream
        When the file is damaged, was written with other parameters, or decodes to values that are
        not finite, or when a custom codec raises any other error; the message names the file.
    ValueError, CheckpointError
        When the picture cannot be written.
    """
    check_target(source, target)
    data = content_of(source)
    encoding: Encoding = "linear" if data.startswith(_LINEAR) else "srgb"
    with _naming(name_of(source), codec, CorruptStream):
        decoded = _decoded(codec, data.removeprefix(_LINEAR))
    write_picture(target, _shown(decoded, encoding))
    return decoded.shape[-2], decoded.shape[-1]


@contextmanager
def _naming(name: str, codec: Codec, kind: type[ValueError]) -> Iterator[None]:
    """Convert any error of a codec to ``kind``, with the name of the file.

    Lack of memory and a missing library are not converted, because they are not the file's fault.
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
    """Decoded values of a file; an error if they are not finite, as with damaged parameters."""
    decoded = codec.decompress([data])
    if not decoded.isfinite().all():
        raise ValueError(
            f"{type(codec).__name__} decodes its file to values that are not finite: its training "
            "diverged, or its parameters are damaged"
        )
    return decoded


def mark_of(encoding: Encoding) -> bytes:
    """What :func:`compress_file` writes in front of the bytes of a codec."""
    return _LINEAR if encoding == "linear" else b""


def as_coded(image: Tensor, encoding: Encoding) -> Tensor:
    """A picture of a file ``[B, C, H, W]``, converted to the encoding of a codec."""
    return srgb_to_linear(image) if encoding == "linear" else image


def _shown(decoded: Tensor, encoding: Encoding) -> Tensor:
    """Decoded values of a codec, converted to the codes of a picture file."""
    return linear_to_srgb(decoded.float().clamp(0, 1)) if encoding == "linear" else decoded


def check_target(source: PictureSource, target: Path | str) -> None:
    """Raise a ValueError if the target is the source file, or a folder.

    A string that ends in a separator means a folder, even if that does not exist; a Path has lost
    the separator.
    """
    if not isinstance(source, Member) and Path(source).resolve() == Path(target).resolve():
        raise ValueError(f"{target} is the source file itself: choose another target")
    if os.path.isdir(target) or os.fspath(target).endswith(("/", os.sep)):
        raise ValueError(f"{target} is a folder: name a file in it")
