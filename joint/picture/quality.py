"""The best quality of a codec within a rate, found on picture files."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compress import Codec, quality_for
from joint.stages import Encoding

from .file import as_coded, mark_of, picture_for
from .source import PictureSource

__all__ = ["QualityFound", "find_quality"]

#: Number of pixel values that are coded together in the search of a quality: the layers of a
#: network hold a hundred times as many.
_TOGETHER = 2**18


@dataclass(frozen=True)
class QualityFound:
    """The best quality within a rate, and the pictures on which it was found."""

    quality: float
    """Quality of the codec."""
    bpp: float
    """Limit of the mean rate of the files, bits per pixel."""
    pictures: int
    """Number of pictures on which it was found."""
    of: int
    """Number of all pictures, without unreadable ones."""

    def __str__(self) -> str:
        """One line; the quality in full, so that it can be given again."""
        told = f"quality {self.quality:.12g}, the best within {self.bpp:g} bits/pixel"
        if self.of == 1:
            return told
        return f"{told} for {self.pictures} of {self.of} pictures"


def find_quality(
    codec: Codec,
    sources: Sequence[PictureSource],
    bpp: float,
    *,
    most: int = 32,
    encoding: Encoding = "srgb",
) -> QualityFound:
    """Find the best quality at which the mean rate of the files stays within a limit.

    It is :func:`compress.quality_for` on at most ``most`` of the pictures, evenly spread, of any
    size, grey or colour. Pictures that cannot be read, or that the codec does not take, are left
    out.

    Parameters
    ----------
    codec : compress.Codec
        A codec with a choice of qualities.
    sources : sequence of path or classify.data.archive.Member
        Pictures.
    bpp : float, bits/pixel
        Limit of the mean rate of the files, headers included.
    most : int
        Largest number of pictures to use.
    encoding : {"srgb", "linear"}
        Encoding in which the codec was trained.

    Returns
    -------
    QualityFound

    Raises
    ------
    ValueError
        When no picture can be read, the codec has no choice of qualities (as
        :class:`compress.DifferentiableJPEG` with its own tables) or exceeds the rate even at its
        lowest quality, or a number is not positive.
    """
    if most < 1:
        raise ValueError(f"a quality is found on at least 1 picture, not on {most}")
    if len(codec.qualities()) == 0:
        raise ValueError(f"{type(codec).__name__} has no choice of qualities: leave bpp out")
    spread = [i * len(sources) // most for i in range(most)] if most < len(sources) else []
    order = dict.fromkeys([*spread, *range(len(sources))])  # others replace unreadable pictures
    by_size: dict[tuple[int, ...], list[Tensor]] = {}
    errors: list[Exception] = []
    for index in order:
        try:
            picture = picture_for(codec, sources[index])
        except (ValueError, OSError) as error:
            errors.append(error)
            continue
        by_size.setdefault(tuple(picture.shape), []).append(picture)
        if sum(map(len, by_size.values())) == most:
            break
    if not by_size:
        if len(errors) == 1:
            raise errors[0]
        raise ValueError(
            f"no quality can be found: none of the {len(errors)} pictures can be read, the first "
            f"because of {errors[0]}"
            if errors
            else "no quality can be found: there are no pictures"
        )
    pictures = [as_coded(torch.cat(alike), encoding) for alike in by_size.values()]
    together = max(1, _TOGETHER // max(alike[0].numel() for alike in pictures))
    count = sum(map(len, pictures))
    pixels = sum(len(alike) * alike.shape[-2] * alike.shape[-1] for alike in pictures)
    mark = 8 * len(mark_of(encoding)) * count / pixels  # which the codec does not write
    if mark and 0 < bpp <= mark:
        raise ValueError(
            f"{bpp:g} bits per pixel are too few for files of linear light: of these pictures, "
            f"{mark:.4g} alone say that it is: allow more"
        )
    return QualityFound(
        quality=quality_for(codec, pictures, bpp - mark if mark else bpp, batch_size=together),
        bpp=bpp,
        pictures=count,
        of=len(sources) - len(errors),
    )
