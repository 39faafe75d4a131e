"""What a codec makes of a set of pictures, in files: its curve, and the quality that meets a rate.

::

    pictures ─compress─► files ─decompress─► 8 bits ─► fidelity ─┐
                           └─────────────────► bytes ────────────┴─► a point of a RateCurve
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .classical import AVIF, WebP
from .codec import Codec, is_number, whole_number
from .curve import RateCurve
from .jpeg import DifferentiableJPEG
from .jpeg_file import JPEG
from .learned import QUALITY_STEPS, LearnedCodec
from .metrics import psnr

__all__ = ["quality_for", "rate_curve"]

_MOST = 2**31  # pictures at a time
_BRIGHTEST = 2.0  # of what may have been meant for 0..1


def rate_curve(
    name: str,
    codecs: Iterable[Codec],
    pictures: Tensor,
    *,
    metric: Callable[[Tensor, Tensor], Tensor] = psnr,
    batch_size: int = 32,
) -> RateCurve:
    """Measure a curve: every picture coded into a file, and the file decoded.

    A point is the mean size of the files, headers included, and the mean fidelity of what they
    decode to, rounded to 8 bits as a picture file holds it. Settings that come to the same point
    are one. The curve knows the headers where every codec does (:meth:`Codec.header_bytes`); a file
    that is shorter than its header is all header. Where a picture comes back exactly, its PSNR and
    so the mean are infinite, a point that Bjontegaard deltas refuse.

    Parameters
    ----------
    name : str
        Of the curve.
    codecs : iterable of Codec
        One for each point, in any order. It may be a generator that yields one codec again and
        again, each time at another quality.
    pictures : Tensor
        Pictures in 0..1 ``[N, C, H, W]``.
    metric : callable
        From what is decoded and the pictures ``[B, C, H, W]``, both in 0..1, to a number for each
        ``[B]``, which is greater for better ones. It is given single precision, or double where
        the pictures are.
    batch_size : int
        How many to code at a time.

    Returns
    -------
    RateCurve
        By increasing rate.

    Raises
    ------
    ValueError
        If there is no codec, or something else, there are no pictures, they do not fit one or are
        far outside of 0..1, or the metric does not give a number for each of them.
    """
    batch_size = whole_number("batch_size", batch_size, 1, _MOST)
    if isinstance(codecs, nn.Module | str) or not isinstance(codecs, Iterable):
        raise ValueError(
            "codecs must be several, one for each point of the curve, such as map(JPEG, (10, 50)); "
            f"got one {type(codecs).__name__}: put it into a list."
        )
    _check_pictures(pictures)
    points: dict[tuple[float, float], float | None] = {}
    for codec in codecs:
        if isinstance(codec, type) or not hasattr(codec, "decompress"):
            raise ValueError(f"codecs must be codecs, such as JPEG(50), got {codec!r}.")
        sizes, fidelity = [], []
        # A code of 8 bits has more digits than bfloat16.
        dtype = torch.promote_types(pictures.dtype, torch.float32)
        for part in pictures.split(batch_size):
            with torch.no_grad():  # here alone: what yields the codecs may train them
                files = codec.compress(part)
                decoded = codec.decompress(files).to(part.device, dtype)
                levels = (255 * decoded.clamp(0, 1)).round() / 255
            sizes += map(len, files)
            judged = metric(levels, part.to(dtype))
            shape = getattr(judged, "shape", None)  # whose a metric of others need not have
            if shape != (len(part),):
                given = type(judged).__name__ if shape is None else tuple(shape)
                raise ValueError(
                    f"metric must give a number for each of {len(part)} pictures, as "
                    f"compress.psnr does, not {given}"
                )
            fidelity += judged.tolist()
        point = 8 * sum(sizes) / _pixels(pictures), math.fsum(fidelity) / len(fidelity)
        header = None
        if isinstance(codec, Codec):  # one of others need not be
            _, channels, *size = pictures.shape
            header = codec.header_bytes((size[0], size[1]), channels)
        points[point] = header and 8 * sum(min(n, header) for n in sizes) / _pixels(pictures)
    if not points:
        raise ValueError(f"the curve {name!r} needs a codec for each of its points, got none.")
    rate, quality = zip(*sorted(points), strict=True)
    headers = tuple(header for _, header in sorted(points.items()) if header is not None)
    return RateCurve(name, rate, quality, header=headers if len(headers) == len(points) else None)


@torch.no_grad()
def quality_for(
    codec: LearnedCodec | JPEG | DifferentiableJPEG | WebP | AVIF,
    pictures: Tensor | list[Tensor] | tuple[Tensor, ...],
    bpp: float,
    *,
    batch_size: int = 32,
) -> float:
    """Return the best quality at which the files of pictures take no more than a rate.

    It is found by bisection, on files; the next better quality takes more. A codec whose files do
    not always grow with the quality may have a better one that fits, beyond one that does not. The
    codec is left as it was: set its ``quality`` to what is returned. One picture alone is given
    the quality of its own at which it keeps a budget of bytes, ``8 * bytes / (H * W)``.

    Parameters
    ----------
    codec : LearnedCodec of several levels, JPEG, DifferentiableJPEG, WebP or AVIF
        What has a ``quality`` that can be set, and not tables of its own in place of one.
    pictures : Tensor, or a list or tuple of them
        Pictures in 0..1 ``[N, C, H, W]``; or several such, each of its own size.
    bpp : float, bits/pixel
        Most that the files of all may take over their pixels, headers included.
    batch_size : int
        How many to code at a time.

    Returns
    -------
    float
        A whole number but for learned codecs.

    Raises
    ------
    ValueError
        If the codec has no such quality, or needs more at its coarsest one, or the rate is not
        positive, or there are no pictures, or they do not fit the codec or are far outside of 0..1.
    """
    if not is_number(bpp) or not 0 < bpp < math.inf:
        raise ValueError(f"bpp must be a positive number of bits per pixel, got {bpp!r}.")
    batch_size = whole_number("batch_size", batch_size, 1, _MOST)
    every = [*pictures] if isinstance(pictures, list | tuple) else [pictures]
    if not every:
        raise ValueError("there are no pictures: nothing to measure.")
    for alike in every:
        _check_pictures(alike)
    pixels = sum(map(_pixels, every))
    allowed = bpp * (1 + 1e-9)  # a budget of bytes, over the pixels, has been rounded
    least, greatest = _range(codec)
    before = codec.quality
    tables = codec.log_tables.clone() if isinstance(codec, DifferentiableJPEG) else None

    def rate(step: int) -> float:
        if isinstance(codec, LearnedCodec):
            codec.quality = step / QUALITY_STEPS
        else:
            codec.quality = step
        parts = (part for alike in every for part in alike.split(batch_size))
        return 8 * sum(len(file) for part in parts for file in codec.compress(part)) / pixels

    try:
        needed = rate(least)
        if needed > allowed:
            raise ValueError(
                f"the coarsest quality takes {needed:.4g} bits per pixel, more than {bpp:g}: "
                "allow more, or take a codec that goes lower."
            )
        fits, over = least, greatest + 1
        while over - fits > 1:
            middle = (fits + over) // 2
            fits, over = (middle, over) if rate(middle) <= allowed else (fits, middle)
    finally:
        codec.quality = before  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(codec, DifferentiableJPEG) and tables is not None:
            codec.log_tables.copy_(tables)  # which need not be quite those of the quality
    return fits / QUALITY_STEPS if isinstance(codec, LearnedCodec) else fits


def _range(codec: Codec) -> tuple[int, int]:
    """Return the coarsest and the finest quality of a codec, in its steps."""
    if isinstance(codec, LearnedCodec) and codec.levels > 1:
        return 0, QUALITY_STEPS * (codec.levels - 1)
    if isinstance(codec, JPEG):
        return 1, 100
    if isinstance(codec, DifferentiableJPEG):
        if codec.quality is None:
            raise ValueError(
                "this DifferentiableJPEG has tables of its own, trained or set, which are those of "
                "no quality, and another quality would replace them. Set codec.quality to give "
                "them up; what trained tables take, the weight of the rate in their training "
                "decides."
            )
        return 1, 100
    if isinstance(codec, AVIF) or (isinstance(codec, WebP) and not codec.lossless):
        return 0, 100
    raise ValueError(
        f"this {type(codec).__name__} has no quality to choose. JPEG, lossy WebP, AVIF and learned "
        "codecs that are made and trained with levels=2 or more have one; what one of one level "
        "takes, the weight of the rate in its training decides; JPEG2000(rate) is given its rate."
    )


def _check_pictures(pictures: Tensor) -> None:
    if not isinstance(pictures, Tensor):
        given = type(pictures).__name__
        raise ValueError(f"expected pictures, a tensor [N, C, H, W], got {given}.")
    if pictures.shape[:1] == (0,):
        raise ValueError(f"there are no pictures in {list(pictures.shape)}: nothing to measure.")
    # A camera may overshoot; codes of 8 bits reach 255, and pictures about 0 reach -1.
    low, high = pictures.aminmax() if pictures.numel() else (0, 0)  # those of no pixels fit none
    if high > _BRIGHTEST or low < -_BRIGHTEST / 4:
        raise ValueError(
            f"expected pictures in 0..1, and these reach from {float(low):g} to {float(high):g}: "
            "divide 8-bit values by 255."
        )


def _pixels(pictures: Tensor) -> int:
    return len(pictures) * pictures.shape[-2] * pictures.shape[-1]
