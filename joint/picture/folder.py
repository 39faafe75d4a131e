"""Many pictures, or folders and zips of them, as files of a codec and back.

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
"""By this, the files of a codec are known in a folder."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class DecodedFile:
    """A picture that was decoded."""

    path: str
    """The file written."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""


@dataclass(frozen=True)
class FailedFile:
    """A file that nothing could be made of."""

    path: str
    """The file read."""
    error: str
    """What is wrong with it."""

    def __str__(self) -> str:
        """One line, which has the path in it."""
        return self.error if self.path in self.error else f"{self.path}: {self.error}"


@dataclass(frozen=True)
class FilesWritten:
    """What became of many files."""

    folder: str
    """Where the files were written."""
    sources: tuple[str, ...]
    """The file read, of each one written."""
    written: tuple[CompressedFile, ...] | tuple[DecodedFile, ...]
    """The files written."""
    failed: tuple[FailedFile, ...]
    """Those of which nothing could be made."""
    skipped: int
    """Files of the folders and zips that were passed over, for what they are called or for being
    none, as pipes."""
    size: int | None = None
    """Bytes of the coded files that were written; None where they were decoded."""
    quality: float | None = None
    """At which all were coded; None: that of the codec, or they were decoded."""
    found: QualityFound | None = None
    """How the quality was found."""
    there: int = 0
    """Files that were there already, and were left."""

    @property
    def bpp(self) -> float | None:
        """Bits of the coded files that were written over their pixels, headers included."""
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
        """Lines for people; which files failed is not in them."""
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
                    "quality was found on other pictures, whose files keep to it: "
                    f"{'look at more (--bpp-pictures), or ' if part else ''}ask for less"
                )
        if self.there:
            lines.append(f"{_counted(self.there, 'file')} there already")
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
    """Code pictures, each into a file of its own, as :func:`joint.compress_file` does.

    A picture of a folder or a zip keeps its path in it, one given by name keeps its name; the
    suffix becomes ``.l2l``. What is wrong with one picture does not stop the others.

    Parameters
    ----------
    sources : sequence of path
        Pictures, folders and zips. Of a folder, and of those in it, also behind links, and of a
        zip, all files are taken that end as a format that can be read; hidden ones, and pipes and
        the like, are not.
    folder : path
        Where to write; it is made.
    codec : compress.Codec
        Such as :func:`joint.load_codec` returns.
    quality : float, optional
        Operating point of a codec that has several.
    bpp : float, bits/pixel, optional
        Instead: the best quality within this rate, see :func:`find_quality`.
    bpp_pictures : int
        On how many of the pictures to find it at most.
    encoding : {"srgb", "linear"}
        What the codec was trained on.
    overwrite : bool
        Replace files that are there.
    skip_existing : bool
        Instead: leave them, and go on where such a call was stopped. Files are whole or absent;
        whether the same codec and quality wrote them is not looked at. With ``bpp`` the quality is
        found as if there were none, and so again the same.
    progress : bool
        Show a progress bar, on a terminal.

    Returns
    -------
    FilesWritten

    Raises
    ------
    OSError, ValueError
        Before anything is written: when a source is not there, there is no picture, two would
        become one file, a file is there already, or the codec has no such quality.
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
    encoding: Encoding = "srgb",
    overwrite: bool = False,
    skip_existing: bool = False,
    progress: bool = False,
) -> FilesWritten:
    """Decode files into pictures, each as :func:`joint.decompress_file` does.

    Parameters
    ----------
    sources : sequence of path
        Files of a codec, folders and zips; of these, and of folders in them, all ``.l2l`` are
        taken.
    folder : path
        Where to write pictures of the same paths and names, as ``.png``.
    codec : compress.Codec
        The one that wrote the files.
    encoding : {"srgb", "linear"}
        As the files were written with.
    overwrite : bool
        Replace pictures that are there.
    skip_existing : bool
        Instead: leave them, and go on where such a call was stopped.
    progress : bool
        Show a progress bar, on a terminal.

    Returns
    -------
    FilesWritten

    Raises
    ------
    OSError, ValueError
        Before anything is written: when a source is not there, there is no file, two would become
        one picture, or a picture is there already.
    CheckpointError
        When a picture cannot be written.
    """

    def decode(source: PictureSource, target: Path) -> DecodedFile:
        height, width = decompress_file(source, target, codec, encoding=encoding)
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
    """Which files are read, each with the one that is written, and how many are not."""

    pairs: list[tuple[PictureSource, Path]]
    sources: list[PictureSource]
    """Also of the files that are there and are left."""
    skipped: int

    @property
    def there(self) -> int:
        """How many of them."""
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
    """Find the files, and refuse what would end in a muddle."""
    if overwrite and skip_existing:
        raise ValueError("replace the files that are there, or leave them: not both")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: several files are written to a folder")
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
    # Not that of Path, which raises where a name is too long.
    there = {target for target in origin if os.path.exists(target)}
    if there and not (overwrite or skip_existing):
        first = next(target for target in origin if target in there)
        raise ValueError(
            f"{_counted(len(there), 'file')} would be replaced, the first {first}: choose "
            "another folder, or --overwrite (overwrite=True), or leave them, --skip-existing "
            "(skip_existing=True)"
        )
    left = there if skip_existing else ()
    pairs = [(path, target) for target, path in origin.items() if target not in left]
    return _Plan(pairs, list(origin.values()), found.skipped)


def _each(
    plan: _Plan, make: Callable[[PictureSource, Path], Made], *, progress: bool
) -> tuple[tuple[str, ...], tuple[Made, ...], tuple[FailedFile, ...]]:
    """Make each file of a plan; what was read, what was made of it, and what failed."""
    # One at a time: on a processor, batches of pictures of 176x176 or more save no time.
    made: list[tuple[str, Made]] = []
    failed: list[FailedFile] = []
    bar = tqdm(plan.pairs, unit="picture", disable=None if progress else True)
    for source, target in bar:
        try:
            made.append((name_of(source), make(source, target)))
        except (ValueError, OSError) as error:
            failed.append(FailedFile(name_of(source), str(error)))
        except CheckpointError as error:  # of a disk that is full, no other can be made either
            cause = error.__cause__
            if not (isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG):
                raise
            failed.append(FailedFile(name_of(source), str(error)))
    return tuple(s for s, _ in made), tuple(m for _, m in made), tuple(failed)


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
