"""The best quality of a codec within a rate, found on picture files."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compress import AVIF, JPEG, Codec, DifferentiableJPEG, LearnedCodec, WebP, quality_for
from joint.stages import Encoding

from .file import as_coded, picture_for
from .source import PictureSource

__all__ = ["QualityFound", "find_quality"]

#: Values of the pictures that are coded together in search of a quality: those of a net's layers
#: are a hundred times as many.
_TOGETHER = 2**18


@dataclass(frozen=True)
class QualityFound:
    """The best quality within a rate, and what it was found on."""

    quality: float
    """Of the codec."""
    bpp: float
    """The most that the files of these pictures were to take on average, bits per pixel."""
    pictures: int
    """How many it was found on."""
    of: int
    """How many there are, less those that turned out to be unreadable."""

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
    """Find the best quality at which the files of pictures keep a rate on average.

    It is :func:`compress.quality_for` on ``most`` of the pictures, evenly spread, of whatever size
    and kind, grey or colour. What cannot be read, or the codec does not take, is left out.

    Parameters
    ----------
    codec : compress.Codec
        One with a quality to choose.
    sources : sequence of path or classify.data.archive.Member
        Pictures.
    bpp : float, bits/pixel
        Most that the files may take on average, headers included.
    most : int
        How many pictures to look at, at most.
    encoding : {"srgb", "linear"}
        What the codec was trained on.

    Returns
    -------
    QualityFound

    Raises
    ------
    ValueError
        When no picture can be read, the codec has no quality to choose (as
        :class:`compress.DifferentiableJPEG` with tables of its own has not) or needs more at its
        coarsest one, or a number is not positive.
    """
    if most < 1:
        raise ValueError(f"a quality is found on at least 1 picture, not on {most}")
    if not isinstance(codec, LearnedCodec | JPEG | DifferentiableJPEG | WebP | AVIF):
        raise ValueError(f"{type(codec).__name__} has no qualities to choose: leave bpp out")
    spread = [i * len(sources) // most for i in range(most)] if most < len(sources) else []
    order = dict.fromkeys([*spread, *range(len(sources))])  # the rest in place of what is damaged
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
            f"there is no quality to find: none of the {len(errors)} pictures can be read, the "
            f"first because {errors[0]}"
            if errors
            else "there is no quality to find: there are no pictures"
        )
    pictures = [as_coded(torch.cat(alike), encoding) for alike in by_size.values()]
    together = max(1, _TOGETHER // max(alike[0].numel() for alike in pictures))
    return QualityFound(
        quality=quality_for(codec, pictures, bpp, batch_size=together),
        bpp=bpp,
        pictures=sum(map(len, pictures)),
        of=len(sources) - len(errors),
    )
