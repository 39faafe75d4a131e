"""Files that are whole or absent: checkpoints as safetensors with a JSON head.

Nothing here can execute code from a file, and a file under its final name is always complete: it
is written under a temporary name, forced to the disk, and renamed.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

__all__ = [
    "CheckpointError",
    "load_checkpoint",
    "load_weights",
    "save_checkpoint",
    "write_atomically",
]

_HEAD = "lens2label"
_FORMAT = 1


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, read, or used for this system."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the whole new one.

    Raises
    ------
    CheckpointError
        When the disk refuses (full, read-only, ...); the old file is untouched then and the
        temporary one removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        kept = "the file written before it is intact" if path.exists() else "nothing was kept"
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}; {kept}. Make room or choose another "
            "folder, then resume"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone already where all went well
            os.unlink(temporary)


def _sync_folder(folder: Path) -> None:
    # The rename itself is only safe from a power cut once the folder is on the disk. Some file
    # systems cannot do this for folders; the rename is atomic there all the same.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], head: Mapping[str, Any]) -> None:
    """Write named tensors and a JSON-able head as one safetensors file, atomically."""
    content = safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
        metadata={_HEAD: json.dumps({"format": _FORMAT, **head}, allow_nan=False)},
    )
    write_atomically(path, content)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_checkpoint` wrote: the tensors, on the CPU, and the head.

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, or not a checkpoint of this library.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            head = json.loads((file.metadata() or {}).get(_HEAD, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}); delete it and resume from an "
            "older one, or start again"
        ) from error
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} is a safetensors file but not a checkpoint of this library, format {_FORMAT}"
        )
    return tensors, head


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy ``tensors`` into a module whose state has exactly these names and shapes.

    Raises
    ------
    CheckpointError
        When the module is of another architecture; the first differences are named.
    """
    own = module.state_dict()
    differences = list(_differences(own, tensors))
    if differences:
        shown = "; ".join(differences[:5])
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise CheckpointError(
            f"{source} holds another architecture than this system: {shown}{more}. Build the "
            "system from the configuration saved beside the checkpoint"
        )
    with torch.no_grad():
        module.load_state_dict(dict(tensors))


def _differences(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in own.items():
        if name not in other:
            yield f"{name} {tuple(tensor.shape)} is missing from it"
        elif other[name].shape != tensor.shape:
            yield f"{name} is {tuple(other[name].shape)} there and {tuple(tensor.shape)} here"
    for name in other:
        if name not in own:
            yield f"{name} is unknown here"
