"""Files by name, in a folder or in a zip: the official downloads come as either, or as both."""

import errno
import lzma
import os
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from shutil import copyfileobj
from types import TracebackType
from typing import IO, final

__all__ = ["ZIP_ERRORS", "Archive", "Member", "folders_below", "listed", "passed_over"]

#: What reading a damaged zip, or one packed by an unknown method, raises.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    EOFError,
)


_OF_SYSTEMS = ("__MACOSX", "lost+found", "System Volume Information", "$RECYCLE.BIN")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive."""

    path: str
    """Path below the root, with ``/``; a zip inside the archive counts as a folder."""
    size: int
    """Bytes."""
    stamp: int
    """Changes with the content: CRC-32 in a zip, modification time (ns) in a folder."""
    open: Callable[[], IO[bytes]]
    """Opens the content. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Name without its suffix."""
        return _parted(self.name)[0]

    @property
    def suffix(self) -> str:
        """Suffix in lower case, with its dot."""
        return _parted(self.name)[1].lower()

    def read(self) -> bytes:
        """Read the whole content."""
        with self.open() as file:
            return file.read()


@final
class Archive:
    """The files below a folder or inside a zip, read in place and never extracted.

    Hidden files, folders of an operating system (``__MACOSX``, ``lost+found``) and this project's
    ``*.cache`` folders are passed over.
    A context manager: it holds open files.

    Parameters
    ----------
    root : path
        Folder or zip.

    Raises
    ------
    FileNotFoundError
        When ``root`` does not exist.
    ValueError
        When it is neither a folder nor a readable zip, is encrypted, or has names that lead
        outside; when folders below it cannot be read, or links lead nowhere: all of them by name.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).expanduser()
        self.unreadable: dict[str, str] = {}
        """Zips inside the archive that could not be opened, and why; filled by :attr:`deep`."""
        self._open = ExitStack()
        if not self.root.exists():
            raise FileNotFoundError(
                f"{self.root} does not exist; give the folder or the zip of the data set"
            )
        if self.root.is_dir():
            self.members = sorted(_members_below(self.root), key=lambda member: member.path)
        else:
            try:
                self.members = self._members_of(self._open.enter_context(self.root.open("rb")))
            except (*ZIP_ERRORS, ValueError) as error:
                self.close()
                raise ValueError(f"{self.root} is not a folder or a usable zip: {error}") from error

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file that is held open."""
        self._open.close()

    @cached_property
    def deep(self) -> list[Member]:
        """The members, then those of the zips among them (one level, as Dataverse packs them).

        A zip inside a zip is first copied to a temporary file, since a compressed one cannot be
        read at random places.
        """
        found = list(self.members)
        for member in self.members:
            if member.suffix == ".zip":
                try:
                    inner = self._members_of(self._inner_file(member), f"{member.path}/")
                except (*ZIP_ERRORS, ValueError) as error:
                    self.unreadable[member.path] = str(error)
                else:
                    found += inner
        return found

    def pictures(self, stems: Collection[str], suffixes: Collection[str]) -> dict[str, Member]:
        """Find the files with these stems and suffixes, wherever they lie.

        A file that is there twice (Kaggle's folders come in two spellings) is taken once.

        Raises
        ------
        ValueError
            When two different files claim one stem.
        """
        found: dict[str, Member] = {}
        unclear = []
        for member in self.deep:
            if member.suffix in suffixes and member.stem in stems:
                first = found.setdefault(member.stem, member)
                if member is not first and not self._equal(first, member):
                    unclear.append(f"{first.path} and {member.path}")
        if unclear:
            raise ValueError(
                f"{self.root} has different files for one name: {listed(unclear)}; "
                "keep one of each, or give the folder that has only those"
            )
        return found

    def _equal(self, first: Member, second: Member) -> bool:
        """Whether two files have one content, as far as their checksums tell in a zip.

        Those of a folder are read whole: of bitmaps, which are all of one size, two masks may
        differ in a few bytes anywhere. Asked only when pictures are decoded, which reads one of
        the two anyway.
        """
        if first.size != second.size:
            return False
        if not self.root.is_dir():
            return first.stamp == second.stamp
        try:
            return first.read() == second.read()
        except (*ZIP_ERRORS, OSError):
            return False

    def _members_of(self, file: IO[bytes], prefix: str = "") -> list[Member]:
        # Given the file rather than its name, ZipFile leaves closing to us and counts no
        # references, which threads could race on.
        try:
            archive = self._open.enter_context(zipfile.ZipFile(file))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise ValueError("its table of contents leads outside of it") from error
        if not all(info.filename for info in archive.infolist()):
            raise ValueError("it has a file without a name")
        infos = [info for info in archive.infolist() if not info.is_dir()]
        paths = [info.filename.replace("\\", "/") for info in infos]
        outside = [path for path in paths if ".." in path.split("/") or re.match(r"/|\w:", path)]
        if outside:
            raise ValueError(f"it has names that lead outside of it: {listed(outside)}")
        if any(info.flag_bits & 1 for info in infos):
            raise ValueError("it is encrypted; unpack it with its password and give the folder")
        members = [
            Member(prefix + path, info.file_size, info.CRC, partial(archive.open, info))
            for path, info in zip(paths, infos, strict=True)
            if not passed_over(path)
        ]
        return sorted(members, key=lambda member: member.path)

    def _inner_file(self, member: Member) -> IO[bytes]:
        if self.root.is_dir():
            return self._open.enter_context(member.open())
        file = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        try:
            with member.open() as packed:
                copyfileobj(packed, file, 1 << 20)
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot unpack {member.path} into {tempfile.gettempdir()}: {error.strerror}; "
                f"set TMPDIR to a folder with room, or unpack {self.root} and give its folder",
            ) from error
        return file


def _parted(name: str) -> tuple[str, str]:
    """Stem and suffix as of pathlib, whose own take seconds for the names of HAM10000."""
    stem, dot, ending = name.rpartition(".")
    return (stem, dot + ending) if stem and ending else (name, "")


def passed_over(path: str) -> bool:
    """Whether a file is hidden, or lies where no data set keeps its files."""
    *folders, name = path.split("/")
    return name.startswith(".") or any(
        folder.startswith(".") or folder in _OF_SYSTEMS or folder.endswith(".cache")
        for folder in folders
    )


def folders_below(
    root: Path, refuse: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk as :func:`os.walk` does, by name and through links, each folder once.

    A link to a folder of the same tree is passed over, for that has a name of its own; of several
    links to one folder elsewhere, the first by name counts. So the order of the file system decides
    nothing. Folders that are taken out of the names are not looked into.
    """
    whole, seen = os.path.realpath(root), set[tuple[int, int]]()
    for folder, names, files in os.walk(root, followlinks=True, onerror=refuse):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            names.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        names[:] = sorted(n for n in names if not _leads_within(os.path.join(folder, n), whole))
        yield folder, names, sorted(files)


def _leads_within(path: str, whole: str) -> bool:
    """Whether it is a link to a folder of the tree ``whole`` that the walk looks into by itself."""
    if not os.path.islink(path):
        return False
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(whole):
        return False
    return not passed_over(Path(os.path.relpath(real, whole), "_").as_posix().removeprefix("./"))


def _members_below(root: Path) -> list[Member]:
    """The files of a folder; what cannot be read is refused, as it may be a part of the data."""
    found: list[Member] = []
    failed: list[OSError] = []
    for folder, names, files in folders_below(root, failed.append):
        names[:] = [name for name in names if not passed_over(f"{name}/_")]
        for name in files:
            if passed_over(name):
                continue
            path = Path(folder, name)
            try:
                status = path.stat()
            except OSError as error:
                failed.append(error)
                continue
            if stat.S_ISREG(status.st_mode):
                inside, opener = path.relative_to(root).as_posix(), partial(path.open, "rb")
                found.append(Member(inside, status.st_size, status.st_mtime_ns, opener))
    if failed:
        raise ValueError(
            f"{root} has what cannot be read, and may be a part of the data: "
            f"{listed(sorted(map(_said, failed)))}; make it readable, or take it out"
        )
    return found


def _said(error: OSError) -> str:
    leads = Path(error.filename).is_symlink() and f"a link to {os.readlink(error.filename)}: "
    return f"{error.filename} ({leads or ''}{error.strerror})"


def listed(names: Iterable[str], most: int = 10) -> str:
    """Name the first of many things, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
