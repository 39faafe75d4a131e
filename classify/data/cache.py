"""Decoded pictures on disk, keyed by what they were decoded from.

An entry is a folder with ``images.npy``, ``masks.npy`` where there are masks, and
``manifest.json``. It is written beside its final name, flushed to the disk and then renamed:
either it is there whole or it is not there. Entries may be deleted at any time.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from .archive import Archive, Member
from .arrays import content_hash
from .decode import Decoder, Picture

__all__ = ["CacheOption", "Pixels", "load_pixels"]

CacheOption: TypeAlias = str | os.PathLike[str] | Literal[False] | None

# Raise it when a decoder or the layout below changes: old entries are then never opened.
_VERSION = 5
_SAMPLES, _SAMPLE = 64, 1 << 20  # blocks of a file that its checksum covers, and their bytes
_CODE = np.dtype(np.uint8)
_STALE = 24 * 3600  # seconds after which an unfinished entry that nobody holds is a dead one's


class Pixels(NamedTuple):
    """What was decoded."""

    images: Tensor
    """uint8 or uint16 ``[N, C, S, S]``."""
    masks: Tensor | None
    """uint8 ``[N, S, S]``, 1 on the lesion; None where no image has one."""
    has_mask: Tensor | None
    """bool ``[N]``, or None like the masks."""
    digest: str
    """SHA-256 of all of it."""
    notes: tuple[str, ...] = ()
    """What is to be said of the pictures, each time."""


def load_pixels(
    archive: Archive,
    find: Callable[[], Sequence[Picture]],
    *,
    identifiers: Sequence[str],
    members: Iterable[Member],
    decoder: Decoder,
    cache: CacheOption = None,
    stacklevel: int = 3,
) -> Pixels:
    """Open the decoded pictures of an archive, decoding them first where that was not done yet.

    Parameters
    ----------
    archive : Archive
        Where the pictures lie.
    find : callable
        Finds the files, one :class:`Picture` for each identifier; asked only when they have to be
        decoded.
    identifiers : sequence of str, length N
        Names of the pictures, in order.
    members : iterable of Member
        The files whose change makes a cache entry worthless.
    decoder : Decoder
        How to decode.
    cache : path, False or None
        Folder for the entry; False to keep the arrays in memory. By default
        ``<name of the archive>.cache`` beside the archive, which may be moved or copied together
        with it, or the user's cache folder where that cannot be written, or memory where neither
        can. In a cache folder that archives may share, an entry of a folder is known by where
        that folder lies, too.
    stacklevel : int
        As of :func:`warnings.warn`, counted from here.

    Raises
    ------
    OSError
        When the given cache folder cannot be written, or the disk is full.

    Warns
    -----
    UserWarning
        As :meth:`Decoder.decode`, also where the pictures were decoded before.
    """
    pixels = _loaded(archive, find, identifiers, members, decoder, cache)
    for note in pixels.notes:
        warnings.warn(note, stacklevel=stacklevel)
    return pixels


def _loaded(
    archive: Archive,
    find: Callable[[], Sequence[Picture]],
    identifiers: Sequence[str],
    members: Iterable[Member],
    decoder: Decoder,
    cache: CacheOption,
) -> Pixels:
    options = ""
    if decoder.white_level != Decoder.white_level:
        options += f"-{decoder.white_level}"
    # None and 8 have the same codes, but not the same to say of them.
    options += {None: "", 8: "-8bit", 16: "-16bit"}[decoder.bit_depth]
    if decoder.channels == 1:
        options += "-grey"
    if not decoder.profiles:
        options += "-raw"
    files = sorted((member.path, member.size, member.stamp) for member in members)
    entries = [
        place / f"{decoder.geometry}{decoder.image_size}-{_key(identifiers, files, whose)}{options}"
        for place, whose in _places(archive.root, cache)
    ]
    for entry in entries:
        if pixels := _opened(entry):
            return pixels
    pictures = find()
    entry, draft = _drafted(entries, _bytes_needed(pictures, decoder), must=cache is not None)
    notes: list[str] = []
    decoded = decoder.decode(pictures, f"decoding {archive.root.name}", notes.append)
    if entry is None or draft is None:
        return _in_memory(decoded, pictures, decoder)._replace(notes=tuple(notes))
    try:
        with _held(draft):
            _write(draft, decoded, pictures, decoder, notes)
            _publish(draft, entry)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write the decoded images to {entry.parent}: {error.strerror}; give another "
            "folder as cache, or cache=False to keep them in memory",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):  # goes only when nothing is in it
            entry.parent.rmdir()
    pixels = _opened(entry)
    if pixels is None:
        raise OSError(f"the cache in {entry.parent} was damaged right after it was written")
    return pixels


def _key(
    identifiers: Sequence[str], files: Sequence[tuple[str, int, int]], whose: Sequence[str]
) -> str:
    return content_hash(_VERSION, identifiers, files, *whose)[:24]


def _places(root: Path, cache: CacheOption) -> list[tuple[Path, list[str]]]:
    """Folders for an entry, and by what its key tells the archive from others that share them.

    Pictures without compression are of one size, and a reproducible tar dates them alike: files of
    a folder are not told by their names, sizes and times alone. Those of a zip have checksums.
    """
    if cache is False:
        return []
    root = root.resolve()
    where = [str(root)] if root.is_dir() else []
    if cache is not None and cache is not True:
        return [(Path(cache).expanduser(), where)]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = root.name if root.is_dir() else root.stem
    return [(root.parent / f"{name}.cache", []), (base / "lens2label", where)]


def _bytes_needed(pictures: Sequence[Picture], decoder: Decoder) -> int:
    planes = decoder.planes * decoder.dtype.itemsize + any(picture.mask for picture in pictures)
    return len(pictures) * planes * decoder.image_size**2


def _drafted(
    entries: Sequence[Path], needed: int, *, must: bool
) -> tuple[Path, Path] | tuple[None, None]:
    """Make an empty folder for the first of the entries whose place can take it."""
    reasons = []
    for entry in entries:
        place = entry.parent
        draft = place / f".{entry.name}.{uuid.uuid4().hex}.draft"
        try:
            place.mkdir(parents=True, exist_ok=True)
            _sweep(place, _now(place))
            free = shutil.disk_usage(place).free
            if free < needed:
                raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} free")
            draft.mkdir()
        except OSError as error:
            reasons.append(f"{place}: {error.strerror}")
        else:
            return entry, draft
    if entries and must:
        raise OSError(
            f"cannot keep decoded images in {'; '.join(reasons)}; give another folder as cache, or "
            "cache=False to keep them in memory"
        )
    return None, None


def _now(place: Path) -> float:
    """Time by the clock of the file system, which dates the drafts: this machine's may be off."""
    probe = place / f".{uuid.uuid4().hex}.clock"
    probe.mkdir()
    try:
        return probe.stat().st_mtime
    finally:
        probe.rmdir()


def _sweep(place: Path, now: float) -> None:
    for draft in place.glob(".*.draft"):
        with suppress(OSError):
            # Clocks jump: the age of a draft is not enough where it can be held.
            if abs(now - draft.stat().st_mtime) > _STALE and not _in_use(draft):
                shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _held(draft: Path) -> Iterator[None]:
    """Hold a draft, so that nobody who sweeps takes it for that of a build that was killed."""
    handle = None
    with suppress(OSError):  # a system without locks on folders: there, the age alone tells
        handle = os.open(draft, os.O_RDONLY)
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _in_use(draft: Path) -> bool:
    """Whether the process that builds a draft is still there."""
    if fcntl is None:
        return False
    try:
        handle = os.open(draft, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _stream(
    decoded: Iterable[tuple[np.ndarray, np.ndarray | None]],
    blank: np.ndarray,
    images: IO[bytes],
    masks: IO[bytes] | None,
) -> str:
    """Append rows to files, one by one: a full disk is an error here, not a dead process."""
    digest = hashlib.sha256()
    for image, mask in decoded:
        planes = [(images, image), (masks, blank if mask is None else mask)]
        for file, plane in planes:
            if file is not None:
                content = plane.tobytes()
                file.write(content)
                digest.update(content)
    return digest.hexdigest()


def _in_memory(
    decoded: Iterable[tuple[np.ndarray, np.ndarray | None]],
    pictures: Sequence[Picture],
    decoder: Decoder,
) -> Pixels:
    size = decoder.image_size
    has_mask = _has_mask(pictures)
    images, masks = BytesIO(), BytesIO() if has_mask.any() else None
    digest = _stream(decoded, np.zeros((size, size), np.uint8), images, masks)
    return _as_pixels(
        np.frombuffer(images.getbuffer(), decoder.dtype).reshape(-1, decoder.planes, size, size),
        None if masks is None else np.frombuffer(masks.getbuffer(), np.uint8),
        has_mask,
        digest,
    )


def _has_mask(pictures: Sequence[Picture]) -> np.ndarray:
    return np.array([picture.mask is not None for picture in pictures])


def _as_pixels(
    images: np.ndarray, masks: np.ndarray | None, has_mask: np.ndarray, digest: str
) -> Pixels:
    if masks is None:
        return Pixels(torch.from_numpy(images), None, None, digest)
    count, _, height, width = images.shape
    masks = masks.reshape(count, height, width)
    return Pixels(
        torch.from_numpy(images), torch.from_numpy(masks), torch.from_numpy(has_mask), digest
    )


def _write(
    draft: Path,
    decoded: Iterable[tuple[np.ndarray, np.ndarray | None]],
    pictures: Sequence[Picture],
    decoder: Decoder,
    notes: Sequence[str],
) -> None:
    """Fill the folder of an entry: arrays first, then the manifest, all of it on the disk."""
    size, has_mask = decoder.image_size, _has_mask(pictures)
    with ExitStack() as files:
        shape = (len(pictures), decoder.planes, size, size)
        images = _array_file(files, draft / "images.npy", shape, decoder.dtype)
        masks = None
        if has_mask.any():
            masks = _array_file(files, draft / "masks.npy", (len(pictures), size, size))
        digest = _stream(decoded, np.zeros((size, size), np.uint8), images, masks)
    with (draft / "has_mask.npy").open("xb") as file:
        np.save(file, has_mask)
    about = {
        path.name: {"bytes": path.stat().st_size, "checksum": _checksum(path)}
        for path in sorted(draft.iterdir())
    }
    body = {"version": _VERSION, "digest": digest, "files": about, "notes": notes}
    manifest = {"entry": body, "checksum": zlib.crc32(json.dumps(body).encode())}
    (draft / "manifest.json").write_text(json.dumps(manifest, indent=1))
    for path in (*draft.iterdir(), draft):
        _flush(path)


def _array_file(
    files: ExitStack, path: Path, shape: tuple[int, ...], dtype: np.dtype = _CODE
) -> IO[bytes]:
    file = files.enter_context(path.open("xb"))
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def _flush(path: Path) -> None:
    with suppress(PermissionError):  # Windows opens no folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _publish(draft: Path, entry: Path) -> None:
    """Give a finished entry its name, unless another process was faster."""
    try:
        draft.replace(entry)
    except OSError:
        if _opened(entry) is None:  # something damaged holds the name
            aside = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}.draft")
            entry.replace(aside)
            if aside.is_dir():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.unlink()
            draft.replace(entry)


def _opened(entry: Path) -> Pixels | None:
    """Map an entry into memory, or None where it is missing or not what was written."""
    try:
        manifest = json.loads((entry / "manifest.json").read_text())
        body = manifest["entry"]
        if manifest["checksum"] != zlib.crc32(json.dumps(body).encode()):
            return None
        arrays: dict[str, Any] = {}
        for name, about in body["files"].items():
            path = entry / name
            if path.stat().st_size != about["bytes"] or _checksum(path) != about["checksum"]:
                return None
            # Copy on write: torch asks for writable memory, and the file must stay as it is.
            arrays[name] = np.load(path, mmap_mode="c", allow_pickle=False)
        return _as_pixels(
            arrays["images.npy"], arrays.get("masks.npy"), arrays["has_mask.npy"], body["digest"]
        )._replace(notes=tuple(body["notes"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _checksum(path: Path) -> int:
    """CRC-32 of a file's size and of blocks spread over it; of all of it up to 64 MiB."""
    size = path.stat().st_size
    checksum = zlib.crc32(str(size).encode())
    step = max(_SAMPLE, (size - _SAMPLE) // (_SAMPLES - 1))
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            checksum = zlib.crc32(file.read(_SAMPLE), checksum)
    return checksum
