"""Where picture files are: named one by one, in folders, in zips.

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
    """A file, and where it was found."""

    source: Path | Member
    """What is read."""
    inside: PurePath
    """Its path below the folder or zip that was given; the name of one that was named."""


@dataclass(frozen=True)
class FoundFiles:
    """Files that were found."""

    files: tuple[FoundFile, ...]
    """In the order given, those of a folder or zip by their paths in it, alike in both."""
    skipped: int
    """Files of the folders and zips that were passed over, for what they are called or for being
    none, as pipes."""


def readable_formats() -> list[str]:
    """Formats that are read here, of those that this Pillow has.

    Named, so that no other reader sees a file from a stranger: that of PostScript starts a program.
    """
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def picture_suffixes() -> set[str]:
    """What the files of formats that can be read are called."""
    known = set(readable_formats())
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in known}


def name_of(source: PictureSource) -> str:
    """What a file is called in messages; one of a zip by the path of this and its own."""
    return source.path if isinstance(source, Member) else str(source)


def content_of(source: PictureSource) -> bytes:
    """The bytes of a file.

    Raises
    ------
    OSError
        When it cannot be opened.
    ValueError
        When the zip that it is in is damaged there.
    """
    if not isinstance(source, Member):
        return Path(source).read_bytes()
    try:
        return source.read()
    except ZIP_ERRORS as error:
        raise ValueError(f"{name_of(source)} cannot be read from its zip: {error}") from error


def holds_several(path: Path) -> bool:
    """Whether a path is a folder or a zip, of which the files are meant."""
    return path.is_dir() or path.suffix.lower() == ".zip"


def find_files(
    sources: Sequence[Path | str], suffixes: Collection[str], held: ExitStack
) -> FoundFiles:
    """Find the files that were named, and those of folders and zips.

    Parameters
    ----------
    sources : sequence of path
        Files, taken by their word, whatever they are called; folders, with those in them, also
        behind links; and zips. Of the last two, files with other suffixes are passed over, and so
        are hidden ones, and pipes and the like.
    suffixes : collection of str
        In lower case, with their dots.
    held : ExitStack
        Closes the zips, whose files can be read until then.

    Returns
    -------
    FoundFiles

    Raises
    ------
    OSError
        When a source is not there, or a folder cannot be looked into.
    ValueError
        When a zip is none, is encrypted, or has names that lead outside of it.
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
    """Whether a file of a folder is neither hidden nor a pipe, which may never end."""
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
    """All files of a folder, those behind links too."""

    def refuse(error: OSError) -> NoReturn:  # a folder that is not looked into is no empty one
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
