"""Samples ``[H, W]`` as files for manufacturers: a 16-bit greyscale TIFF, and a table.

Both contain metadata as JSON: in the tag ImageDescription, and in lines that begin with ``#``. The
modules ``fabrication`` and ``plate_file`` define the meaning of the numbers.
"""

import contextlib
import io
import json
import math
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from optics.quantity import is_number

__all__ = [
    "CODES",
    "ENDINGS",
    "ORIENTATION",
    "as_number",
    "as_table",
    "as_tiff",
    "check_format",
    "check_samples",
    "metadata_number",
    "read_table",
    "read_tiff",
    "target_paths",
    "write_all",
]

#: The highest code of 16 bits.
CODES = 65535
#: Of the files that can be read.
ENDINGS = (".tif", ".tiff", ".csv")
ORIENTATION = "row 0 is the least y, +y is down; column 0 is the least x, +x is to the right"
# What parts numbers and is no comma, nor a space beside one.
_PARTED = re.compile(r";|[^\s,]\s+[^\s,]")
# One comma, semicolon or tab with the spaces about it, or spaces: two of the former part an
# empty cell.
_SEPARATOR = re.compile(r"\s*[,;]\s*|[^\S\t]*\t[^\S\t]*|\s+")
_DESCRIPTION = 270  # TIFF 6.0, section 8: ImageDescription, X and Y resolution and their unit
_RESOLUTION_X, _RESOLUTION_Y, _RESOLUTION_UNIT, _CENTIMETRE = 282, 283, 296, 3


def as_tiff(codes: np.ndarray, metadata: dict[str, Any], *, spacing: float) -> bytes:
    """TIFF of ``uint16`` codes ``[H, W]``, whose samples are ``spacing`` metres apart."""
    from PIL import Image, TiffImagePlugin  # noqa: PLC0415 - importing optics stays cheap

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[_DESCRIPTION] = json.dumps(metadata)
    tags[_RESOLUTION_X] = tags[_RESOLUTION_Y] = 0.01 / spacing
    tags[_RESOLUTION_UNIT] = _CENTIMETRE
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, format="TIFF", tiffinfo=tags)
    return buffer.getvalue()


def read_tiff(content: bytes, *, bare: bool = False) -> tuple[np.ndarray, dict[str, Any]]:
    """Codes and metadata of a TIFF of :func:`as_tiff`; a ValueError states the fault.

    ``bare`` also reads files of other programs, and 32-bit floating point: if the description is
    not one of :func:`as_tiff`, the metadata are empty.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    try:
        with Image.open(io.BytesIO(content), formats=["TIFF"]) as image:
            mode, description = image.mode, image.tag_v2.get(_DESCRIPTION)  # pyright: ignore[reportAttributeAccessIssue]
            pages = getattr(image, "n_frames", 1)
            codes = np.asarray(image)
    except UnidentifiedImageError:
        raise ValueError("it is not a TIFF") from None
    except Exception as error:  # Pillow raises nearly anything on a damaged file
        raise ValueError(f"the TIFF is damaged: {error}") from error
    if pages > 1:
        raise ValueError(f"the TIFF has {pages} pages, but must have one: save that page alone")
    if not (mode.startswith("I;16") or (bare and mode == "F")):
        raise ValueError(f"the TIFF must be 16-bit greyscale, not of mode {mode!r}")
    if bare and not _is_ours(description):
        return codes, {}
    if not isinstance(description, str):
        raise ValueError("the TIFF has no ImageDescription with the metadata of its samples")
    return codes, _parsed("ImageDescription", description)


def as_table(numbers: np.ndarray, metadata: dict[str, Any], *, digits: int) -> bytes:
    """Table of ``numbers`` ``[H, W]``, a row for each y, so many digits behind the point."""
    buffer = io.StringIO()
    for key, value in metadata.items():
        buffer.write(f"# {key}: {json.dumps(value)}\n")
    np.savetxt(buffer, numbers, fmt=f"%.{digits}f", delimiter=",")
    return buffer.getvalue().encode("ascii")


def read_table(content: bytes, *, bare: bool = False) -> tuple[np.ndarray, dict[str, Any]]:
    """Numbers and metadata that :func:`as_table` wrote; a ValueError says what is wrong.

    ``bare`` reads tables of other programs too: where no line names a format of ours, what begins
    with ``#`` is a remark, and semicolons, tabs and spaces part numbers as commas do. A comma in
    front of a digit, where others part, is refused: it may be a decimal one. So is an empty cell,
    without which the numbers behind it would move.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError("the table is not text") from None
    # JSON, as we write it; what others say of their format has no quotes.
    bare = bare and not any(re.match(r'#\s*format:\s*"', line) for line in lines)
    metadata: dict[str, Any] = {}
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        if bare and line.startswith("#"):
            continue
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            metadata[key.strip()] = _parsed(f"line {number}", value)
        elif line.strip():
            if bare and re.search(r",\d", line) and _PARTED.search(line):
                raise ValueError(
                    f"line {number} has commas and other separators, so that a comma may be a "
                    "decimal one: write decimals with a point, and part numbers in one way"
                )
            # A tab in front parts the first cell; one behind ends the last, as some write it.
            cells = _SEPARATOR.split(line.rstrip().lstrip(" ")) if bare else line.split(",")
            empty = next((i for i, cell in enumerate(cells, 1) if not cell.strip()), None)
            if empty is not None:
                raise ValueError(
                    f"line {number} has an empty cell, column {empty}: write a number in each, "
                    "such as one between its neighbours, and no separator behind the last"
                )
            try:
                rows.append([float(cell) for cell in cells])
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            if len(rows[-1]) != len(rows[0]):
                raise ValueError(
                    f"line {number} has {len(rows[-1])} numbers, the first row {len(rows[0])}"
                )
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1 if rows else 0), metadata


def check_format(metadata: object, name: str, version: int) -> None:
    """Raise a ValueError unless the metadata are those of a format and its version."""
    if not isinstance(metadata, dict) or metadata.get("format") != name:
        raise ValueError(f"its metadata does not name the format {name!r}")
    if metadata.get("version") != version:
        raise ValueError(f"version must be {version}, not {metadata.get('version')!r}")


def check_samples(numbers: np.ndarray, metadata: dict[str, Any], what: str) -> None:
    """Raise a ValueError unless there are as many numbers as the metadata say, all finite."""
    if list(numbers.shape) != metadata.get("size"):
        raise ValueError(
            f"it holds {list(numbers.shape)} samples, but its metadata says {metadata.get('size')}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError(f"it has {what} that are NaN or infinite")


def metadata_number(
    metadata: dict[str, Any], key: str, *, unit: str = "metres", positive: bool = False
) -> float:
    """Value of ``key``, which ends with its unit; a ValueError unless it is a finite number."""
    value = metadata.get(key)
    number = as_number(value)
    if number is None or (positive and not number > 0):
        raise ValueError(
            f"{key.rpartition('_')[0]} must be {'positive' if positive else 'a number'}, in "
            f"{unit}, not {value!r}"
        )
    return number


def as_number(value: object) -> float | None:
    """A real finite number, of Python, numpy or torch, or None for anything else."""
    several_or_trained = isinstance(value, Tensor) and (value.ndim > 0 or value.requires_grad)
    if several_or_trained or not is_number(value):
        return None
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except OverflowError:  # a whole number beyond float64
        return None
    return number if math.isfinite(number) else None


def target_paths(
    path: str | Path, parts: Sequence[str] = ("",), *, overwrite: bool
) -> tuple[Path, ...]:
    """``PATH<part>.tif`` and ``PATH<part>.csv`` of each part; a FileExistsError for what is there.

    One of :data:`ENDINGS` behind PATH is left out; a ValueError for the ending of another format,
    three letters or more, which would not be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS and len(ending) > 3 and ending[1:].isalpha():
        raise ValueError(
            f"{path}: a .tif and a .csv are written, no {ending}; give the path without an ending"
        )
    stem = path.with_suffix("") if path.suffix.lower() in ENDINGS else path
    targets = tuple(
        stem.with_name(f"{stem.name}{part}{ending}")
        for part in parts
        for ending in (".tif", ".csv")
    )
    for target in targets:
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists; choose another path or give overwrite=True")
    return targets


def write_all(targets: Sequence[Path], contents: Sequence[bytes]) -> None:
    """Write all files beside their places first, then move them there."""
    temporary = [t.with_name(f".{t.name}.{os.getpid()}-{secrets.token_hex(4)}") for t in targets]
    try:
        for target, file, content in zip(targets, temporary, contents, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
        for target, file in zip(targets, temporary, strict=True):
            os.replace(file, target)
    finally:
        for file in temporary:
            with contextlib.suppress(OSError):  # gone already where all went well
                file.unlink()


def _is_ours(description: object) -> bool:
    """Whether a description is the JSON of a format of ours, or was before it was damaged."""
    return isinstance(description, str) and '"format"' in description


def _parsed(where: str, text: str) -> Any:  # noqa: ANN401 - whatever JSON says
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{where} is not the JSON of its metadata") from None
