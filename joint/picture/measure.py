"""Codecs measured on picture files at several settings: bytes, and error of the decoded pictures.

::

    pictures ─read, checked─► each codec at each setting ─► size, MSE, SSIM, MS-SSIM  [N, n]
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor
from tqdm import tqdm

from classify.data.table import mask_name
from compress import Codec, ms_ssim, ms_ssim_scales, ssim
from compress.metrics import SSIM_WINDOW
from joint.judge.point import at_quality
from joint.stages import Encoding

from .file import code_picture, read_picture
from .folder import FailedFile
from .source import PictureSource, find_files, name_of, picture_suffixes

__all__ = [
    "CodecPoint",
    "CodecSweep",
    "MeasuredCodec",
    "MeasuredPictures",
    "check_sweeps",
    "measure_pictures",
]

Array = npt.NDArray[np.float64]


class CodecPoint(NamedTuple):
    """A codec at one setting."""

    value: object
    """Value of the setting, for tables; None for a codec without settings."""
    codec: Codec
    quality: float | None = None
    """Quality of the codec; None for its own."""


@dataclass(frozen=True)
class CodecSweep:
    """A codec, and the settings at which it is measured."""

    name: str
    setting: str
    """Name of the setting that changes from point to point, such as ``quality``; empty for a single
    point."""
    points: tuple[CodecPoint, ...]
    encoding: Encoding = "srgb"
    """Encoding of the codec's input."""


@dataclass(frozen=True, eq=False)
class MeasuredCodec:
    """Measurements of a codec on N pictures at n settings; arrays ``[N, n]``."""

    name: str
    setting: str
    values: tuple[object, ...]
    size: Array
    """Bytes of the files, headers included."""
    mse: Array
    """Mean squared error over pixels and channels, of 8-bit values in 0..1."""
    ssim: Array
    """SSIM; nan if a picture is too small."""
    ms_ssim: Array
    """MS-SSIM; nan if a picture is too small."""


@dataclass(frozen=True, eq=False)
class MeasuredPictures:
    """Measurements of several codecs on the same pictures."""

    names: tuple[str, ...]
    """Names of the N pictures that every codec takes."""
    pixels: Array
    """``[N]``, height times width."""
    scales: int | None
    """Number of scales of MS-SSIM: as many of its five as fit the smallest readable picture; None
    if not even one fits, so that there is no SSIM either."""
    codecs: tuple[MeasuredCodec, ...]
    failed: tuple[FailedFile, ...]
    """Pictures that were left out for all codecs, because they cannot be read or one codec does not
    take them."""


def measure_pictures(
    sources: Sequence[Path | str],
    sweeps: Sequence[CodecSweep],
    *,
    image_size: int | None = None,
    limit: int | None = None,
    least_side: int = 1,
    progress: bool = False,
) -> MeasuredPictures:
    """Code every picture with every codec at every setting, and decode it.

    All pictures are read once before the first is coded, so that errors show at once. A picture
    that one codec does not take is left out for all, because curves are compared on the same
    pictures.

    Parameters
    ----------
    sources : sequence of path
        Pictures, folders and zips, as in :func:`compress_files`; masks among their pictures,
        ``<picture>_segmentation``, are skipped.
    sweeps : sequence of CodecSweep
        The codecs. For a codec that takes only three channels, grey becomes three equal channels.
    image_size : int, pixels, optional
        Side of the square to which each picture is cropped (at its centre) and reduced; smaller
        pictures are left out. By default each keeps its size.
    limit : int, optional
        Take at most this many of the pictures, evenly spread.
    least_side : int, pixels
        Leave out pictures whose height or width is less: SSIM needs 11.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    MeasuredPictures

    Raises
    ------
    OSError
        When a source does not exist.
    ValueError
        When there are no codecs, two with the same name, no pictures, or none that every codec
        takes, or when the size or the limit is below 1.
    """
    check_sweeps(sweeps)
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel, got {image_size}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 picture, got {limit}")
    rows: list[_Row] = []
    failed: list[FailedFile] = []
    with ExitStack() as held:
        found = find_files(sources, picture_suffixes(), held)
        masks = {mask_name(file.inside.stem) for file in found.files}
        given = [file.source for file in found.files if file.inside.stem not in masks]
        if not given:
            raise ValueError(
                f"there is no picture in {', '.join(map(str, sources))}: no file ends in one of "
                f"{', '.join(sorted(picture_suffixes()))} ({found.skipped} others)"
            )
        if limit is not None and limit < len(given):
            given = [given[place * len(given) // limit] for place in range(limit)]
        whole: list[tuple[PictureSource, int]] = []
        for source in given:
            try:
                height, width = _read(source, sweeps, image_size)[None].shape[-2:]
                if min(height, width) < least_side:
                    raise ValueError(
                        f"{name_of(source)} has {height}x{width} pixels, but at least "
                        f"{least_side}x{least_side} are needed"
                    )
                whole.append((source, min(height, width)))
            except (ValueError, OSError) as error:
                failed.append(FailedFile(name_of(source), str(error)))
        side = min((side for _, side in whole), default=0)
        scales = ms_ssim_scales((side, side)) if side >= SSIM_WINDOW else None
        for source, _ in tqdm(whole, unit="picture", disable=None if progress else True):
            try:
                rows.append(_measure(source, sweeps, image_size, scales))
            except (ValueError, OSError) as error:
                failed.append(FailedFile(name_of(source), str(error)))
    if not rows:
        raise ValueError(
            f"none of {len(given)} pictures can be coded by every codec, the first because of "
            f"{failed[0]}"
        )
    return MeasuredPictures(
        names=tuple(row.name for row in rows),
        pixels=np.array([row.pixels for row in rows], dtype=float),
        scales=scales,
        codecs=tuple(
            MeasuredCodec(
                sweep.name,
                sweep.setting,
                tuple(point.value for point in sweep.points),
                *np.moveaxis(np.array([row.cells[place] for row in rows]), 2, 0),
            )
            for place, sweep in enumerate(sweeps)
        ),
        failed=tuple(failed),
    )


def check_sweeps(sweeps: Sequence[CodecSweep]) -> None:
    """Raise a ValueError if there is no codec, or if two have the same name."""
    names = [sweep.name for sweep in sweeps]
    if not names or not all(sweep.points for sweep in sweeps):
        raise ValueError("there is no codec to measure, or one has no setting")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"several codecs are called {', '.join(twice)}: give each once, with all its values"
        )


class _Row(NamedTuple):
    """Measurements of all codecs on one picture."""

    name: str
    pixels: int
    cells: list[list[tuple[float, float, float, float]]]
    """Size, MSE, SSIM and MS-SSIM of each codec, at each setting."""


def _read(
    source: PictureSource, sweeps: Sequence[CodecSweep], image_size: int | None
) -> dict[int | None, Tensor]:
    """A picture by number of channels, as codecs need it; None is the picture as it is."""
    images: dict[int | None, Tensor] = {}
    images[None] = read_picture(source, channels=None, image_size=image_size)
    for sweep in sweeps:
        for point in sweep.points:
            channels = _channels(point.codec)
            if channels in images:
                continue
            try:
                images[channels] = read_picture(source, channels=channels, image_size=image_size)
            except ValueError as error:
                raise ValueError(f"{sweep.name}: {error}") from error
    return images


def _channels(codec: Codec) -> int | None:
    """Channels of a codec's input, as in :func:`joint.picture.file.picture_for`."""
    return getattr(codec, "channels", 3)


def _measure(
    source: PictureSource,
    sweeps: Sequence[CodecSweep],
    image_size: int | None,
    scales: int | None,
) -> _Row:
    name, images = name_of(source), _read(source, sweeps, image_size)
    cells = []
    for sweep in sweeps:
        own = []
        for point in sweep.points:
            image = images[_channels(point.codec)]
            try:
                with at_quality(point.codec, point.quality):
                    coded = code_picture(name, image, point.codec, encoding=sweep.encoding)
            except ValueError as error:
                raise ValueError(f"{sweep.name}: {error}") from error
            mse = float((coded.levels.double() - image.double()).square().mean())
            alike = (math.nan, math.nan)
            if scales is not None:
                pair = coded.levels, image
                alike = float(ssim(*pair)), float(ms_ssim(*pair, scales=scales))
            own.append((float(len(coded.data)), mse, *alike))
        cells.append(own)
    height, width = images[None].shape[-2:]
    return _Row(name, height * width, cells)
