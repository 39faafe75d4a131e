"""Files that are complete or absent: checkpoints as safetensors with a JSON header.

Nothing here can execute code from a file, and a file under its final name is always complete: it
is written under a temporary name, forced to the disk, and renamed. Later damage by a disk or a copy
is detected by a checksum.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from joint.caution import caution
from joint.parse import parse_json

_T = TypeVar("_T")

__all__ = [
    "CheckpointDamaged",
    "CheckpointError",
    "check_writable",
    "digest",
    "latest_head",
    "load_checkpoint",
    "load_head",
    "load_latest",
    "load_weights",
    "remove_leftovers",
    "save_checkpoint",
    "write_atomically",
]

_HEAD, _CHECKSUM = "lens2label", "crc32"
_FORMAT = 1
_CONFIG = "config.json"  # of a run folder, see joint.saved.folder
_LEFTOVER = re.compile(r"\..+\.\d+-[0-9a-f]{8}")  # see _beside; it had the file's name in it
_PROTOCOLS = (b"\2", b"\3", b"\4", b"\5")  # of pickle
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib")


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, read, or used for this system."""


class CheckpointDamaged(CheckpointError):
    """A checkpoint is damaged; an older one may be intact."""


def write_atomically(path: Path, content: bytes, *, previous: Path | None = None) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the whole new one.

    Parameters
    ----------
    path : Path
        The file; its folder is made.
    content : bytes
        All of it.
    previous : Path, optional
        In the same folder: what the old file is called from now on. There is always a file under
        ``path`` or, on a file system without hard links, for a moment under ``previous`` alone.

    Raises
    ------
    CheckpointError
        When the disk refuses (full, read-only, ...); the old file is untouched then and the
        temporary one removed.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            _keep(path, previous)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        # Not those of Path, which raise where a name is too long.
        older = os.path.exists(path) or (previous is not None and os.path.exists(previous))
        kept = "the file written before it is intact" if older else "nothing was kept"
        remedy = "Make room or choose another folder"
        if error.errno == errno.ENAMETOOLONG:
            remedy = "Choose a shorter name"
        if previous is not None:  # the state of something that goes on from it
            remedy += ", then resume"
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}; {kept}. {remedy}"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone already where all went well
            os.unlink(temporary)


def _beside(path: Path) -> Path:
    """A name in the same folder that nobody has; short, for that of the file may be the longest."""
    return path.with_name(f".l2l.{os.getpid()}-{secrets.token_hex(4)}")


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before its content takes time to make.

    Raises
    ------
    CheckpointError
        When no file can be made in its folder or, where that is not there, in the next above it.
    """
    try:
        folder = next(each for each in path.absolute().parents if each.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}. Choose another folder"
        ) from error


def _keep(path: Path, previous: Path) -> None:
    """Call a file ``previous`` too, so that there is no moment without one under its own name."""
    # A writer that was killed after this left both names to one file, where a rename of one to the
    # other does nothing, by POSIX, and would leave the third name that is made here.
    with contextlib.suppress(FileNotFoundError):
        if path.samefile(previous):
            return
    link = _beside(path)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links: a reader finds `previous` for a moment
        os.replace(path, previous)
        return
    os.replace(link, previous)


def _sync_folder(folder: Path) -> None:
    # The rename itself is only safe from a power cut once the folder is on the disk. Some file
    # systems cannot do this for folders; the rename is atomic there all the same.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that killed writers of :func:`write_atomically` left in a folder.

    Call it only when no process is writing there.
    """
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _LEFTOVER.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)


def save_checkpoint(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    head: Mapping[str, Any],
    *,
    previous: Path | str | None = None,
) -> None:
    """Write named tensors and a header for JSON as one safetensors file, atomically.

    With ``previous``, the existing file is kept under that name.

    Parameters
    ----------
    path : path
        Not of a name that pickles have, such as ``x.pt``: it would not be read again.
    tensors : mapping of str to Tensor, of any shapes
    head : mapping
        What JSON can hold.
    previous : path, optional

    Raises
    ------
    CheckpointError
        For a path of such a name, and when it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() in _PICKLES:
        raise CheckpointError(
            f"{path} has the name of a pickle, which load_checkpoint does not read, and was not "
            f"written: name it {path.with_suffix('.safetensors').name}"
        )
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps({"format": _FORMAT, **head}, allow_nan=False)
    metadata = {_HEAD: text, _CHECKSUM: _checksum(stored, text)}
    write_atomically(
        path,
        safetensors.torch.save(stored, metadata),
        previous=None if previous is None else Path(previous),
    )


def load_checkpoint(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of :func:`save_checkpoint`: the tensors, on the CPU, and the header.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    (dict of Tensor, dict)
        Tensors of any shape by name, and the head.

    Raises
    ------
    CheckpointDamaged
        When the file was cut off, or changed since it was written.
    CheckpointError
        When it is missing, a pickle, of another format, or not a checkpoint of this library.
    """
    return _read(Path(path), whole=True)


def load_head(path: Path | str) -> dict[str, Any]:
    """Only the header of a file of :func:`save_checkpoint`, without reading a tensor.

    Damaged tensors are only detected by :func:`load_checkpoint`, by their checksum.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict

    Raises
    ------
    CheckpointDamaged
        When the file was cut off, or its head cannot be read.
    CheckpointError
        As :func:`load_checkpoint`.
    """
    return _read(Path(path), whole=False)[1]


def _read(path: Path, *, whole: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint, none where the ``whole`` is not asked for, and its head."""
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    if path.suffix.lower() in _PICKLES:
        raise _pickle_refused(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            head = parse_json(metadata.get(_HEAD, "null"))
            names = file.keys() if whole else ()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        # Not before: the length with which a safetensors file begins can look like a pickle.
        if _begins_as_pickle(path):
            raise _pickle_refused(path) from error
        raise CheckpointDamaged(
            f"{path} is damaged or not a safetensors file ({error}); delete it and resume from an "
            "older one, or start again"
        ) from error
    if not isinstance(head, dict) or not isinstance(head.get("format"), int):
        raise CheckpointError(f"{path} is a safetensors file but not a checkpoint of this library")
    if whole and metadata.get(_CHECKSUM) != _checksum(tensors, metadata[_HEAD]):
        raise CheckpointDamaged(
            f"{path} is damaged (its content does not have the checksum that it was written with); "
            "delete it and resume from an older one, or start again"
        )
    if head["format"] != _FORMAT:
        raise CheckpointError(
            f"{path} is a checkpoint of format {head['format']}, and this version of lens2label "
            f"reads format {_FORMAT}: use the version that environment.json beside it names"
        )
    return tensors, head


def load_latest(path: Path, previous: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the newest checkpoint, or the one before it if the newest is damaged or missing.

    This gives a warning, and the damaged file is renamed to a name with ``damaged`` in it. Only for
    the process that may write there.

    Raises
    ------
    CheckpointError
        When neither can be read; or when the newest is complete but of another format, because an
        older one would then undo work.
    """
    found, used = _latest(path, previous, load_checkpoint)
    if used == path:
        return found
    missing = not path.exists()
    aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
    with contextlib.suppress(OSError):
        os.replace(path, aside)
    what = "missing" if missing else f"damaged and now called {aside.name}"
    caution(
        f"{path} is {what}; the checkpoint before it, {previous.name}, is used instead",
    )
    return found


def latest_head(path: Path, previous: Path) -> dict[str, Any]:
    """Header of the newest checkpoint, or of the one before it, as in :func:`load_latest`.

    No file is renamed, and there is no warning, so that it may be used while another process
    writes.

    Raises
    ------
    CheckpointError
        As :func:`load_latest`.
    """
    return _latest(path, previous, load_head)[0]


def _latest(path: Path, previous: Path, read: Callable[[Path], _T]) -> tuple[_T, Path]:
    """What the newest checkpoint that can be read says, and which of the two that is."""
    try:
        return read(path), path
    except CheckpointError as error:
        if path.exists() and not isinstance(error, CheckpointDamaged):
            raise
        try:
            return read(previous), previous
        except CheckpointError as older:
            raise type(error)(f"{error}. Nor is there an older one: {older}") from older


def _checksum(tensors: Mapping[str, Tensor], head: str) -> str:
    """CRC-32 of the content of a checkpoint: against accidents, not against attacks."""
    value = zlib.crc32(head.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def _begins_as_pickle(path: Path) -> bool:
    """Whether a file begins as torch.save (a zip) or pickle (protocol 2 or later) do."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        start = file.read(4)
        return start == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in _PROTOCOLS)
    return False


def _pickle_refused(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is a pickle, by its name or its first bytes, and was not read: reading one can "
        "run whatever code it holds. Only safetensors files are read, such as lens2label writes"
    )


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy ``tensors`` into a module whose state has exactly these names and shapes.

    Parameters
    ----------
    module : nn.Module
    tensors : mapping of str to Tensor, of any shapes
    source : str
        Where they come from, for the message.

    Raises
    ------
    CheckpointError
        When the module is of another architecture; the first differences are named. Also for the
        tensors of a whole training run, which hold more than weights.
    """
    own = module.state_dict()
    if not own.keys() & tensors.keys() and any(n.startswith("system.") for n in tensors):
        raise CheckpointError(
            f"{source} is where a training is (weights, optimiser, sums), and not the weights of "
            "a system alone: use joint.load_fitted(system, directory), or the tensors of "
            "best.safetensors beside it"
        )
    differences = list(_differences(own, tensors))
    if differences:
        shown = "; ".join(differences[:5])
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise CheckpointError(
            f"{source} holds another architecture than this system: {shown}{more}. "
            f"{_what_fits(source)}"
        )
    with torch.no_grad():
        module.load_state_dict(dict(tensors))


def _what_fits(source: str) -> str:
    """How the system that a file is of is come by."""
    path = Path(source)
    if not path.is_file():
        return "Both must be built alike"
    if (path.parent / _CONFIG).is_file():
        return (
            f"joint.load_run({str(path.parent)!r}) builds the one that it is of, by the {_CONFIG} "
            "beside it"
        )
    return (
        f"There is no {_CONFIG} beside it that says how the one that it is of was built: build it "
        "as for joint.fit, then joint.load_fitted(system, directory)"
    )


def _differences(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in own.items():
        if name not in other:
            yield f"{name} {tuple(tensor.shape)} is missing from it"
        elif other[name].shape != tensor.shape:
            yield f"{name} is {tuple(other[name].shape)} there and {tuple(tensor.shape)} here"
    for name in other:
        if name not in own:
            yield f"{name} is unknown here"


def digest(module: nn.Module) -> str:
    """SHA-256 of the names and the values of a module's state."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        kind = f"{name} {value.dtype} {tuple(value.shape)}"
        found.update(kind.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()
