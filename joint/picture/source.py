"""Finding picture files: single ones, in folders, in zips.

::

    a.png, in/, all.zip ─find_files─► each file, and its path below what was given
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import NoReturn, TypeAlias

from PIL import Image

from classify.data.archive import ZIP_ERRORS, Archive, Member, folders_below, passed_over

__all__ = [
    "FoundFile",
    "FoundFiles",
    "PictureSource",
    "content_of",
    "find_files",
    "holds_several",
    "name_of",
    "picture_suffixes",
    "readable_formats",
]

PictureSource: TypeAlias = Path | str | Member
"""A file by its path, or one within a zip."""

_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP", "AVIF")


@dataclass(frozen=True)
class FoundFile:
    """A file, and its place in the folder or zip."""

    source: Path | Member
    """The file to read."""
    inside: PurePath
    """Its path inside the given folder or zip; the name of a file that was given itself."""


@dataclass(frozen=True)
class FoundFiles:
    """Result of :func:`find_files`."""

    files: tuple[FoundFile, ...]
    """The files in the order given; those of a folder or zip sorted by their paths inside."""
    skipped: int
    """Number of entries in the folders and zips that were skipped, because of their suffix or
    because they are no regular files, such as pipes."""


def readable_formats() -> list[str]:
    """Formats that are read here, as far as the installed Pillow has them.

    The list is explicit, so that no other reader opens a file from a stranger: the one of
    PostScript starts a program.
    """
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def picture_suffixes() -> set[str]:
    """Suffixes of the readable formats."""
    known = set(readable_formats())
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in known}


def name_of(source: PictureSource) -> str:
    """Name of a file in messages; in a zip, the path of the zip and the path inside."""
    return source.path if isinstance(source, Member) else str(source)


def content_of(source: PictureSource) -> bytes:
    """The bytes of a file.

    Raises
    ------
    OSError
        When it cannot be opened.
    ValueError
        When it is a damaged part of a zip.
    """
    if not isinstance(source, Member):
        return Path(source).read_bytes()
    try:
        return source.read()
    except ZIP_ERRORS as error:
        raise ValueError(f"{name_of(source)} cannot be read from its zip: {error}") from error


def holds_several(path: Path) -> bool:
    """Whether a path is a folder or a zip."""
    return path.is_dir() or path.suffix.lower() == ".zip"


def find_files(
    sources: Sequence[Path | str], suffixes: Collection[str], held: ExitStack
) -> FoundFiles:
    """Find the given files, and those in the given folders and zips.

    Parameters
    ----------
    sources : sequence of path
        Files, of any suffix; folders, with subfolders and links; and zips. In folders and zips,
        files with other suffixes, hidden files, pipes and the like are skipped.
    suffixes : collection of str
        In lower case, with their dots.
    held : ExitStack
        Closes the zips; their files can be read until then.

    Returns
    -------
    FoundFiles

    Raises
    ------
    OSError
        When a source does not exist, or a folder cannot be read.
    ValueError
        When a zip is invalid or encrypted, or has names that lead outside it.
    """
    found: list[FoundFile] = []
    skipped = 0
    for path in map(Path, sources):
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}")
        if not holds_several(path):
            found.append(FoundFile(path, PurePath(path.name)))
            continue
        below = _below(path) if path.is_dir() else _packed(path, held)
        for file in sorted(below, key=lambda file: file.inside.as_posix()):
            if file.inside.suffix.lower() in suffixes and _is_usable(file):
                found.append(file)
            else:
                skipped += 1
    return FoundFiles(tuple(found), skipped)


def _is_usable(file: FoundFile) -> bool:
    """Whether a file of a folder is neither hidden nor a pipe, whose reading may never end."""
    if passed_over(file.inside.as_posix()):
        return False
    path = file.source
    return isinstance(path, Member) or not path.exists() or path.is_file()


def _packed(path: Path, held: ExitStack) -> Iterator[FoundFile]:
    """All files of a zip."""
    for member in held.enter_context(Archive(path)).members:
        named = replace(member, path=f"{path}/{member.path}")
        yield FoundFile(named, PurePosixPath(member.path))


def _below(folder: Path) -> Iterator[FoundFile]:
    """All files of a folder, including those behind links."""

    def refuse(error: OSError) -> NoReturn:  # an unreadable folder must not count as empty
        raise error

    for root, folders, names in folders_below(folder, refuse):
        inside = Path(root).relative_to(folder)
        folders[:] = [  # hidden folders are counted as skipped, hidden links not followed
            name
            for name in folders
            if not (
                Path(root, name).is_symlink() and passed_over(f"{(inside / name).as_posix()}/_")
            )
        ]
        yield from (FoundFile(Path(root, name), inside / name) for name in names)
