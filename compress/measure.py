"""Measure codecs on a set of pictures, with files: rate curves, and the quality for a rate.

::

    pictures ─compress─► files ─decompress─► 8 bits ─► fidelity ─┐
                           └─────────────────► bytes ────────────┴─► a point of a RateCurve
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .codec import Codec
from .curve import RateCurve
from .given import is_number, whole_number
from .metrics import psnr

__all__ = ["quality_for", "rate_curve"]

_MOST = 2**31  # pictures at a time
_BRIGHTEST = 2.0  # largest value of pictures that may have been meant for 0..1


def rate_curve(
    name: str,
    codecs: Iterable[Codec],
    pictures: Tensor,
    *,
    metric: Callable[[Tensor, Tensor], Tensor] = psnr,
    batch_size: int = 32,
) -> RateCurve:
    """Measure the rate curve of codecs: code every picture into a file, and decode the file.

    A point is the mean size of the files, including headers, and the mean quality of the decoded
    pictures, rounded to 8 bits as in a picture file. Settings that give the same point are merged.
    The curve includes the header sizes if every codec states them (:meth:`Codec.header_bytes`); a
    file that is shorter than its header counts as header only. If a picture is decoded without any
    error, its PSNR, and so the mean, is infinite; Bjontegaard deltas refuse such a point.

    Parameters
    ----------
    name : str
        Name of the curve.
    codecs : iterable of Codec
        One for each point, in any order. It may be a generator that yields the same codec
        repeatedly, each time at another quality.
    pictures : Tensor
        Pictures in 0..1 ``[N, C, H, W]``.
    metric : callable
        Function of the decoded and the original pictures ``[B, C, H, W]``, both in 0..1, that
        returns a number for each ``[B]``, where higher is better. Its arguments are float32, or
        float64 if the pictures are.
    batch_size : int
        Number of pictures to code at a time.

    Returns
    -------
    RateCurve
        Points by increasing rate.

    Raises
    ------
    ValueError
        If there is no codec, or an item is not a codec; if there are no pictures, or they do not
        fit a codec or are far outside 0..1; if the metric does not give one number per picture.
    """
    batch_size = whole_number("batch_size", batch_size, 1, _MOST)
    if isinstance(codecs, nn.Module | str) or not isinstance(codecs, Iterable):
        raise ValueError(
            "codecs must be several, one for each point of the curve, such as map(JPEG, (10, 50)); "
            f"got one {type(codecs).__name__}: put it in a list."
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
            with torch.no_grad():  # only here: the iterable of codecs may train them
                files = codec.compress(part)
                decoded = codec.decompress(files).to(part.device, dtype)
                levels = (255 * decoded.clamp(0, 1)).round() / 255
            sizes += map(len, files)
            judged = metric(levels, part.to(dtype))
            shape = getattr(judged, "shape", None)  # a user's metric may return anything
            if shape != (len(part),):
                given = type(judged).__name__ if shape is None else tuple(shape)
                raise ValueError(
                    f"metric must give a number for each of {len(part)} pictures, as "
                    f"compress.psnr does, not {given}"
                )
            fidelity += judged.tolist()
        point = 8 * sum(sizes) / _pixels(pictures), math.fsum(fidelity) / len(fidelity)
        header = None
        if isinstance(codec, Codec):  # a user's codec need not be one
            _, channels, *size = pictures.shape
            header = codec.header_bytes((size[0], size[1]), channels)
        points[point] = header and 8 * sum(min(n, header) for n in sizes) / _pixels(pictures)
    if not points:
        raise ValueError(f"the curve {name!r} needs one codec for each point, got none.")
    rate, quality = zip(*sorted(points), strict=True)
    headers = tuple(header for _, header in sorted(points.items()) if header is not None)
    return RateCurve(name, rate, quality, header=headers if len(headers) == len(points) else None)


@torch.no_grad()
def quality_for(
    codec: Codec,
    pictures: Tensor | list[Tensor] | tuple[Tensor, ...],
    bpp: float,
    *,
    batch_size: int = 32,
) -> float:
    """Return the highest quality at which the files of pictures stay within a rate.

    It is found by bisection on actual files; the next higher quality exceeds the rate. If the files
    of a codec do not always grow with the quality, an even higher quality may also fit. The codec
    is not changed: set its ``quality`` to the result. For a budget of bytes for a single picture,
    give ``8 * bytes / (H * W)``.

    Parameters
    ----------
    codec : Codec
        One with several :meth:`Codec.qualities`: JPEG, DifferentiableJPEG without its own tables,
        lossy WebP, AVIF, learned codecs of several levels.
    pictures : Tensor, or a list or tuple of them
        Pictures in 0..1 ``[N, C, H, W]``; or several such tensors of different sizes.
    bpp : float, bits/pixel
        Maximum total size of the files over their total pixels, including headers.
    batch_size : int
        Number of pictures to code at a time.

    Returns
    -------
    float
        One of the qualities.

    Raises
    ------
    ValueError
        If the codec has no such quality, or its lowest quality exceeds the rate; if the rate is not
        positive; if there are no pictures, or they do not fit the codec or are far outside 0..1.
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
    allowed = bpp * (1 + 1e-9)  # tolerates rounding of a byte budget per pixel
    qualities = codec.qualities()
    if len(qualities) < 2:
        raise ValueError(
            f"this {type(codec).__name__} has no quality to choose. JPEG, lossy WebP, AVIF and "
            "learned codecs built and trained with levels=2 or more have one. With one level, the "
            "rate is determined by the weight of the rate in training; JPEG2000(rate) takes its "
            "rate directly."
        )

    def rate(step: int) -> float:
        parts = (part for alike in every for part in alike.split(batch_size))
        with codec.at(qualities[step]):
            return 8 * sum(len(file) for part in parts for file in codec.compress(part)) / pixels

    needed = rate(0)
    if needed > allowed:
        raise ValueError(
            f"the lowest quality takes {needed:.4g} bits per pixel, more than {bpp:g}: allow more, "
            "or use a codec with lower rates."
        )
    fits, over = 0, len(qualities)
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if rate(middle) <= allowed else (fits, middle)
    return qualities[fits]


def _check_pictures(pictures: Tensor) -> None:
    if not isinstance(pictures, Tensor):
        given = type(pictures).__name__
        raise ValueError(f"expected pictures, a tensor [N, C, H, W], got {given}.")
    if pictures.shape[:1] == (0,):
        raise ValueError(f"there are no pictures in {list(pictures.shape)}: nothing to measure.")
    # A camera may overshoot; 8-bit codes reach 255, and pictures centred at 0 reach -1.
    low, high = pictures.aminmax() if pictures.numel() else (0, 0)  # without pixels
    if high > _BRIGHTEST or low < -_BRIGHTEST / 4:
        raise ValueError(
            f"expected pictures in 0..1, but these range from {float(low):g} to {float(high):g}: "
            "divide 8-bit values by 255."
        )


def _pixels(pictures: Tensor) -> int:
    return len(pictures) * pictures.shape[-2] * pictures.shape[-1]
