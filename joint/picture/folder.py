"""Compression and decompression of many pictures, also in folders and zips.

::

    in/x.jpg, in/b/y.png ─compress─► files/x.l2l, files/b/y.l2l ─decompress─► out/x.png, out/b/y.png
"""

import errno
import math
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from compress import Codec
from joint.judge.point import at_quality
from joint.saved.checkpoint import CheckpointError
from joint.stages import Encoding

from .file import CompressedFile, check_target, compress_file, decompress_file
from .quality import QualityFound, find_quality
from .source import PictureSource, find_files, name_of, picture_suffixes

__all__ = [
    "CODED_SUFFIX",
    "DecodedFile",
    "FailedFile",
    "FilesWritten",
    "compress_files",
    "decompress_files",
]

CODED_SUFFIX = ".l2l"
"""Suffix of the files of a codec."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class DecodedFile:
    """Result of decoding a picture."""

    path: str
    """The file written."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be processed."""

    path: str
    """The file read."""
    error: str
    """The reason."""

    def __str__(self) -> str:
        """One line that contains the path."""
        return self.error if self.path in self.error else f"{self.path}: {self.error}"


@dataclass(frozen=True)
class FilesWritten:
    """Result of compressing or decompressing many files."""

    folder: str
    """Folder of the written files."""
    sources: tuple[str, ...]
    """Source file of each written file."""
    written: tuple[CompressedFile, ...] | tuple[DecodedFile, ...]
    """The files written."""
    failed: tuple[FailedFile, ...]
    """Files that could not be processed."""
    skipped: int
    """Number of entries in the folders and zips that were skipped, because of their suffix or
    because they are no regular files, such as pipes."""
    size: int | None = None
    """Total bytes of the coded files that were written; None after decoding."""
    quality: float | None = None
    """Quality at which all were coded; None for the codec's own, and after decoding."""
    found: QualityFound | None = None
    """The search of the quality, if a rate was given."""
    there: int = 0
    """Number of files that existed already, and were kept."""

    @property
    def bpp(self) -> float | None:
        """Bits per pixel of all coded files that were written, headers included."""
        pixels = sum(file.height * file.width for file in self.written)
        return None if self.size is None or not pixels else 8 * self.size / pixels

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        coded: dict[str, Any] = {}
        if self.size is not None:
            found = None if self.found is None else asdict(self.found)
            coded = {"size": self.size, "bpp": self.bpp, "quality": self.quality, "found": found}
        pairs = zip(self.sources, self.written, strict=True)
        return {
            "folder": self.folder,
            **coded,
            "skipped": self.skipped,
            "there": self.there,
            "failed": [asdict(file) for file in self.failed],
            "pictures": [{"source": source} | asdict(file) for source, file in pairs],
        }

    def __str__(self) -> str:
        """Readable lines, without the names of failed files."""
        told = [f"{self.folder}: {_counted(len(self.written), 'picture')}"]
        if self.size is not None and self.bpp is not None:
            told += [f"{self.size} bytes", f"{self.bpp:.4f} bits/pixel"]
            known = [file.psnr for file in self.written if isinstance(file, CompressedFile)]
            finite = [value for value in known if value is not None]
            if finite:
                told.append(f"PSNR {math.fsum(finite) / len(finite):.2f} dB on average")
            if len(finite) < len(known):
                told.append(f"{len(known) - len(finite)} lossless")
        lines = [", ".join(told)]
        if self.found is not None:
            lines.append(str(self.found))
            if self.bpp is not None and self.bpp > self.found.bpp * (1 + 1e-9):
                part = self.found.pictures < self.found.of
                lines.append(
                    f"the files written now take more than {self.found.bpp:g} bits/pixel: the "
                    "quality was found on other pictures, whose files meet that rate: "
                    f"{'look at more (--bpp-pictures), or ' if part else ''}ask for less"
                )
        if self.there:
            lines.append(f"{_counted(self.there, 'file')} already exist")
        if self.skipped:
            lines.append(f"{_counted(self.skipped, 'file')} skipped")
        return "\n".join(lines)


def compress_files(
    sources: Sequence[Path | str],
    folder: Path | str,
    codec: Codec,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    bpp_pictures: int = 32,
    encoding: Encoding = "srgb",
    overwrite: bool = False,
    skip_existing: bool = False,
    progress: bool = False,
) -> FilesWritten:
    """Code pictures, each into its own file, as :func:`joint.compress_file`.

    A picture in a folder or zip keeps its path inside, a single one its name; the suffix becomes
    ``.l2l``. An error with one picture does not stop the others.

    Parameters
    ----------
    sources : sequence of path
        Pictures, folders and zips. From folders, with subfolders and links, and zips, all files
        with the suffix of a readable format are taken, except hidden ones, pipes and the like.
    folder : path
        Target folder; it is created.
    codec : compress.Codec
        Codec, as returned by :func:`joint.load_codec`.
    quality : float, optional
        Quality of a codec that has several.
    bpp : float, bits/pixel, optional
        Use the best quality within this rate instead, see :func:`find_quality`.
    bpp_pictures : int
        Largest number of pictures on which that quality is found.
    encoding : {"srgb", "linear"}
        Encoding in which the codec was trained.
    overwrite : bool
        Replace existing files.
    skip_existing : bool
        Keep existing files instead, to continue a call that was stopped. Files are complete or
        absent; whether the same codec and quality wrote them is not checked. With ``bpp`` the
        quality is found as if there were no files, and is therefore the same again.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    FilesWritten

    Raises
    ------
    OSError, ValueError
        Before anything is written: when a source does not exist, there is no picture, two pictures
        would become the same file, a file exists already, or the codec has no such quality.
    CheckpointError
        When a file cannot be written.
    """
    if quality is not None and bpp is not None:
        raise ValueError("give a quality or bpp, the rate to find it for, not both")
    found = None

    def code(source: PictureSource, target: Path) -> CompressedFile:
        return compress_file(source, target, codec, encoding=encoding)

    with ExitStack() as held:
        plan = _plan(
            sources,
            folder,
            picture_suffixes(),
            CODED_SUFFIX,
            held,
            overwrite=overwrite,
            skip_existing=skip_existing,
        )
        if bpp is not None and plan.pairs:
            found = find_quality(codec, plan.sources, bpp, most=bpp_pictures, encoding=encoding)
            quality = found.quality
        with at_quality(codec, quality):
            read, written, failed = _each(plan, code, progress=progress)
    return FilesWritten(
        folder=str(folder),
        sources=read,
        written=written,
        failed=failed,
        skipped=plan.skipped,
        size=sum(file.size for file in written),
        quality=quality,
        found=found,
        there=plan.there,
    )


def decompress_files(
    sources: Sequence[Path | str],
    folder: Path | str,
    codec: Codec,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    progress: bool = False,
) -> FilesWritten:
    """Decode files into pictures, each as :func:`joint.decompress_file`.

    Parameters
    ----------
    sources : sequence of path
        Files of a codec, folders and zips; from folders, with subfolders, and zips, all ``.l2l``
        are taken.
    folder : path
        Target folder, for pictures with the same paths and names, as ``.png``.
    codec : compress.Codec
        The codec that wrote the files.
    overwrite : bool
        Replace existing pictures.
    skip_existing : bool
        Keep existing pictures instead, to continue a call that was stopped.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    FilesWritten

    Raises
    ------
    OSError, ValueError
        Before anything is written: when a source does not exist, there is no file, two files would
        become the same picture, or a picture exists already.
    CheckpointError
        When a picture cannot be written.
    """

    def decode(source: PictureSource, target: Path) -> DecodedFile:
        height, width = decompress_file(source, target, codec)
        return DecodedFile(str(target), height, width)

    with ExitStack() as held:
        plan = _plan(
            sources,
            folder,
            {CODED_SUFFIX},
            ".png",
            held,
            overwrite=overwrite,
            skip_existing=skip_existing,
        )
        read, written, failed = _each(plan, decode, progress=progress)
    return FilesWritten(
        folder=str(folder),
        sources=read,
        written=written,
        failed=failed,
        skipped=plan.skipped,
        there=plan.there,
    )


@dataclass(frozen=True)
class _Plan:
    """Files to read, each with its target, and the number of skipped entries."""

    pairs: list[tuple[PictureSource, Path]]
    sources: list[PictureSource]
    """All sources, including those whose targets exist and are kept."""
    skipped: int

    @property
    def there(self) -> int:
        """Number of existing targets that are kept."""
        return len(self.sources) - len(self.pairs)


def _plan(
    sources: Sequence[Path | str],
    folder: Path | str,
    suffixes: Collection[str],
    suffix: str,
    held: ExitStack,
    *,
    overwrite: bool,
    skip_existing: bool,
) -> _Plan:
    """Find the files, and refuse conflicts before anything is written."""
    if overwrite and skip_existing:
        raise ValueError("overwrite and skip_existing exclude each other: give one of them")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder for several files")
    found = find_files(sources, suffixes, held)
    origin: dict[Path, PictureSource] = {}
    for file in found.files:
        target = folder / file.inside.with_suffix(suffix)
        if target in origin:
            raise ValueError(
                f"{name_of(origin[target])} and {name_of(file.source)} would both become {target}: "
                "rename one of them, or write them to different folders"
            )
        check_target(file.source, target)
        origin[target] = file.source
    if not origin:
        raise ValueError(
            f"there is nothing to do in {', '.join(map(str, sources))}: no file ends in one of "
            f"{', '.join(sorted(suffixes))} ({found.skipped} others)"
        )
    # Not Path.exists, which raises if a name is too long.
    there = {target for target in origin if os.path.exists(target)}
    if there and not (overwrite or skip_existing):
        first = next(target for target in origin if target in there)
        raise ValueError(
            f"{_counted(len(there), 'file')} would be replaced, the first {first}: choose "
            "another folder, replace them with --overwrite (overwrite=True), or keep them with "
            "--skip-existing (skip_existing=True)"
        )
    left = there if skip_existing else ()
    pairs = [(path, target) for target, path in origin.items() if target not in left]
    return _Plan(pairs, list(origin.values()), found.skipped)


def _each(
    plan: _Plan, make: Callable[[PictureSource, Path], Made], *, progress: bool
) -> tuple[tuple[str, ...], tuple[Made, ...], tuple[FailedFile, ...]]:
    """Make each file of a plan; returns sources, results and failures."""
    # One at a time: on a processor, batches of pictures of 176x176 or more save no time.
    made: list[tuple[str, Made]] = []
    failed: list[FailedFile] = []
    bar = tqdm(plan.pairs, unit="picture", disable=None if progress else True)
    for source, target in bar:
        try:
            made.append((name_of(source), make(source, target)))
        except (ValueError, OSError) as error:
            failed.append(FailedFile(name_of(source), str(error)))
        except CheckpointError as error:  # the disk is full, and all other files would fail too
            cause = error.__cause__
            if not (isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG):
                raise
            failed.append(FailedFile(name_of(source), str(error)))
    return tuple(s for s, _ in made), tuple(m for _, m in made), tuple(failed)


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
