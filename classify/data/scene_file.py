"""Scenes of any size, depth and number of channels in one file of NumPy arrays."""

import os
import struct
import uuid
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from .arrays import looks_turned, warn_of_classes
from .dataset import LesionDataset, check_dataset

__all__ = ["SceneFile", "save_scenes"]

_NEEDED = ("images", "labels")
_FURTHER = ("groups", "identifiers", "classes", "channels", "encoding", "masks", "has_mask")
_WORDS = ("groups", "identifiers", "classes", "encoding")
_COLUMN = "metadata."
# One damaged label must not cost a name for each class up to it.
_MOST_CLASSES = 10_000
_LARGE = ("images", "masks")  # what is left in the file
_LOCAL_HEAD, _LENGTHS = 30, 26  # bytes of a file's own head in a zip; where its lengths stand


def SceneFile(path: str | os.PathLike[str]) -> LesionDataset:
    """Load scenes from an ``.npz`` of plain arrays, written by :func:`save_scenes` or ``np.savez``.

    ::

        np.savez("scenes.npz", images=codes, labels=labels, classes=["benign", "malignant"],
                 groups=patients, encoding="linear")

    Nothing is resized or reduced: 16-bit pictures, many bands and oblong frames are kept. Pictures
    of an uncompressed file stay on disk and are read when needed; the file is read once completely,
    for its checksums. Such a file must not be modified while the data set is in use, otherwise
    reading raises an error; :func:`save_scenes` may replace it.

    Parameters
    ----------
    path : path
        The ``.npz``. Its arrays, of which only the first two are required:

        - ``images``: codes, uint8 or uint16 ``[N, C, H, W]``; the largest code is white,
        - ``labels``: integers ``[N]``,
        - ``classes``: names ``[K]``; by default numbers from 0,
        - ``groups``: str or int ``[N]``, the lesion or patient that a split must not divide; by
          default each picture is a group of its own,
        - ``identifiers``: str or int ``[N]``; by default numbers from 0,
        - ``channels``: C, needed for pictures of at most 4 columns and more channels than that,
          which look as if their channels came last,
        - ``encoding``: ``"srgb"`` or ``"linear"``, see :class:`LesionDataset`,
        - ``masks``: bool or uint8 ``[N, H, W]``, non-zero on the lesion, with ``has_mask``, bool
          ``[N]``, if some have none,
        - ``metadata.<name>``: further columns ``[N]``.

    Returns
    -------
    LesionDataset

    Raises
    ------
    FileNotFoundError
        When ``path`` does not exist.
    ValueError
        When it is not such a file, or its arrays do not fit together; the message has its name.

    Warns
    -----
    UserWarning
        When there is only one class. When the file has no names of classes, and a number below the
        highest label has no picture. When all pictures become nearly black, see
        :class:`LesionDataset`.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file; give an .npz of scenes")
    arrays = _read(path)
    images, labels = arrays["images"], arrays["labels"]
    try:
        _check_layout(images, arrays.get("channels"))
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels must be integers [N], got {labels.dtype} {list(labels.shape)}"
            )
        names = arrays.get("classes")
        classes = _classes(names, labels)
        if labels.size and (names is None or len(classes) == 1):
            warn_of_classes(labels, classes, where=str(path))
        numbers = np.arange(images.shape[0] if images.ndim else 0)
        identifiers = arrays.get("identifiers", numbers)
        with warnings.catch_warnings():
            # Here the file has said how many channels there are.
            warnings.filterwarnings("ignore", message=".*if the channels come last")
            return LesionDataset(
                images=images,
                labels=labels.astype(np.int64),
                groups=arrays.get("groups", identifiers),
                identifiers=identifiers,
                classes=classes,
                masks=arrays.get("masks"),
                has_mask=arrays.get("has_mask"),
                metadata={
                    name.removeprefix(_COLUMN): column
                    for name, column in arrays.items()
                    if name.startswith(_COLUMN)
                },
                encoding=arrays["encoding"].item() if "encoding" in arrays else None,
            )
    except (TypeError, ValueError) as error:  # of torch, for letters where numbers belong
        raise ValueError(f"{path}: {error}") from error


def save_scenes(dataset: LesionDataset, path: str | os.PathLike[str]) -> None:
    """Write scenes to an ``.npz``, which :func:`SceneFile` loads with the same content.

    The ``fingerprint`` of the loaded data set is a hash of the content, as for a
    :class:`LesionDataset` of the same arrays. It differs from that of a phantom, of decoded files,
    or of a part of a data set, which depend on their origin; resume a run with the data set that it
    began with. An encoding given by :meth:`LesionDataset.taken_as` becomes part of the content.

    Parameters
    ----------
    dataset : LesionDataset
        Data set to write; of a subset, only its rows.
    path : path
        File name ending in ``.npz``. An existing file is replaced when the new one is complete.

    Raises
    ------
    TypeError
        When ``dataset`` is not a :class:`LesionDataset`.
    ValueError
        When the suffix is not ``.npz``, or a column of metadata contains Python objects.
    OSError
        When the file cannot be written.
    """
    check_dataset(dataset)
    path = Path(path).expanduser()
    if path.suffix != ".npz":
        raise ValueError(f"scenes are saved as .npz, not {path.name!r}")
    if objects := [name for name, column in dataset.metadata.items() if column.dtype.hasobject]:
        raise ValueError(
            f"the columns {', '.join(objects)} hold Python objects, which no file takes: give "
            "numbers or np.array(..., dtype=str)"
        )
    rows = np.arange(len(dataset))
    batch = dataset.gather(rows)
    arrays: dict[str, Any] = {
        "images": batch.images.numpy(),
        "labels": batch.labels.numpy(),
        "groups": np.array(dataset.groups),
        "identifiers": np.array(dataset.identifiers),
        "classes": np.array(dataset.classes),
    }
    if looks_turned(batch.images.numpy()):
        arrays["channels"] = np.array(dataset.channels)
    if dataset.encoding is not None:
        arrays["encoding"] = np.array(dataset.encoding)
    if bool(dataset.has_mask.any()):
        marked = dataset.has_mask.numpy()
        masks = np.zeros((len(dataset), *dataset.image_size), bool)
        masks[marked] = dataset.gather_masks(rows[marked]).numpy()
        arrays |= {"masks": masks, "has_mask": marked}
    arrays |= {f"{_COLUMN}{name}": column for name, column in dataset.metadata.items()}
    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.draft")
    try:
        with draft.open("xb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file, none of them a stranger."""
    try:
        # Opened here, because NumPy leaves a file that is no zip open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            names = list(stored.keys())
            if absent := [name for name in _NEEDED if name not in names]:
                raise ValueError(f"it lacks the arrays {', '.join(absent)}")
            known = (*_NEEDED, *_FURTHER)
            strange = [n for n in names if n not in known and not n.startswith(_COLUMN)]
            if strange:
                raise ValueError(
                    f"it holds {', '.join(strange)}, which mean nothing here; the arrays are "
                    f"{', '.join(known)} and {_COLUMN}<name>"
                )
            mapped = _mapped(file, path)
            arrays = {name: mapped[name] if name in mapped else stored[name] for name in names}
            if wrong := [n for n in names if not isinstance(arrays[n], np.ndarray)]:
                raise ValueError(f"these are no arrays: {', '.join(wrong)}")
            if arrays.get("encoding", np.array("")).shape != ():
                raise ValueError("encoding must be one word")
            channels = arrays.get("channels", np.array(0))
            if channels.shape != () or channels.dtype.kind not in "iu":
                raise ValueError("channels must be one integer")
            for array in arrays.values():
                if array.dtype.kind == "U":  # NumPy stores numbers, and not all of them are letters
                    "".join(array.reshape(-1).tolist()).encode()
            for name in _WORDS:  # bytes, as HDF5 and older NumPy have them
                if name in arrays and arrays[name].dtype.kind == "S":
                    arrays[name] = np.char.decode(arrays[name], "utf-8")
            return arrays
    # NumPy raises nearly anything on a damaged file.
    except Exception as error:
        raise ValueError(f"{path} is not an .npz of scenes: {error}") from error


def _mapped(file: IO[bytes], path: Path) -> dict[str, np.ndarray]:
    """The large arrays, where they lie in the file as they would in memory."""
    found = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name not in _LARGE or info.compress_type != zipfile.ZIP_STORED:
                continue
            with archive.open(info) as member:
                version = np.lib.format.read_magic(member)
                if version != (1, 0):
                    continue
                shape, by_columns, dtype = np.lib.format.read_array_header_1_0(member)
                start = member.tell()
                while member.read(1 << 20):  # to its end, where the checksum is compared
                    pass
            if dtype.hasobject or 0 in shape:
                continue
            file.seek(info.header_offset + _LENGTHS)
            start += info.header_offset + _LOCAL_HEAD + sum(struct.unpack("<HH", file.read(4)))
            # Copy on write: torch asks for writable memory, and the file must stay as it is.
            order = "F" if by_columns else "C"
            array = np.memmap(path, dtype, "c", offset=start, shape=shape, order=order)
            if array.flags.aligned:
                found[name] = array
    return found


def _check_layout(images: np.ndarray, channels: np.ndarray | None) -> None:
    """Refuse pictures that seem to have their channels last, unless they say how many there are."""
    if channels is None:
        if looks_turned(images):
            raise ValueError(
                f"images {list(images.shape)} seem to have their channels last; save "
                "np.moveaxis(images, -1, 1), or, if they do not, also save channels="
                f"{images.shape[1]}"
            )
    elif images.ndim == 4 and images.shape[1] != channels:
        raise ValueError(
            f"images {list(images.shape)} have {images.shape[1]} channels, but the file says "
            f"{channels}; images must be [N, C, H, W]"
        )


def _classes(names: np.ndarray | None, labels: np.ndarray) -> list[str]:
    if names is not None:
        return [str(name) for name in names.reshape(-1).tolist()]
    count = 1 + int(labels.max(initial=0))
    if count > _MOST_CLASSES:
        raise ValueError(
            f"labels go up to {count - 1}, but there are no classes: give their names with the "
            f"labels, or labels below {_MOST_CLASSES}"
        )
    return list(map(str, range(count)))
