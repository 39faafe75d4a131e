"""The tables beside pictures: what they say of each, and which rows a limit keeps."""

import csv
import hashlib
from collections.abc import Sequence

import numpy as np

from .archive import Archive, listed
from .decode import Picture

__all__ = ["Table", "chosen_rows", "mask_name", "pictures_of", "read_table", "typed_column"]

Table = dict[str, list[str]]
"""A column of cells for each name."""

_FEW = 6  # images that a limit leaves to each class, so that three parts of a split can have some
_SUFFIXES = (".jpg", ".jpeg", ".png")
_UNKNOWN = ("", "NA", "unknown")  # ages


def read_table(content: bytes, needed: Sequence[str], where: str) -> Table:
    """Parse CSV, or tab-separated text, into columns; no needed cell may be empty."""
    try:
        text = content.decode("utf-8-sig")
        tab = "\t" in text.partition("\n")[0]
        lines = list(csv.reader(text.splitlines(), "excel-tab" if tab else "excel"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{where} is not a table in UTF-8: {error}") from error
    header = [name.strip() for name in lines[0]] if lines else []
    if absent := [name for name in needed if name not in header]:
        raise ValueError(
            f"{where} lacks the columns {', '.join(absent)}; it has {', '.join(header) or 'none'}"
        )
    rows = [(number, line) for number, line in enumerate(lines[1:], start=2) if line]
    if not rows:
        raise ValueError(f"{where} is empty: it has a header but no rows")
    required = [header.index(name) for name in needed]
    bad = [
        f"line {number}"
        for number, line in rows
        if len(line) != len(header) or not all(line[column].strip() for column in required)
    ]
    if bad:
        raise ValueError(
            f"{where} has rows of another length than its header, or without "
            f"{', '.join(needed)}: {listed(bad)}"
        )
    return {name: [line[i].strip() for _, line in rows] for i, name in enumerate(header)}


def chosen_rows(
    identifiers: Sequence[str], diagnoses: Sequence[str], limit: int | None
) -> list[int]:
    """Rows to keep, in the order of their identifiers."""
    rows = sorted(range(len(identifiers)), key=identifiers.__getitem__)
    if limit is None:
        return rows
    classes, label, counts = np.unique(diagnoses, return_inverse=True, return_counts=True)
    if type(limit) is not int or limit < len(classes):
        raise ValueError(
            f"limit must be None or at least {len(classes)} images, one for each class, "
            f"got {limit!r}"
        )
    left = dict(enumerate(_quotas(counts, limit)))
    keep = []
    for row in sorted(rows, key=lambda row: hashlib.sha256(identifiers[row].encode()).digest()):
        if left[label[row]] > 0:
            left[label[row]] -= 1
            keep.append(row)
    return sorted(keep, key=identifiers.__getitem__)


def _quotas(counts: np.ndarray, limit: int) -> list[int]:
    """Share ``limit`` out in proportion (largest remainders), a few for each class first."""
    if limit >= counts.sum():
        return counts.tolist()
    few = np.minimum(counts, min(_FEW, limit // len(counts)))
    share = (counts - few) * ((limit - few.sum()) / (counts - few).sum())
    quotas = few + share.astype(int)
    largest = np.argsort(share.astype(int) - share, kind="stable")
    quotas[largest[: limit - quotas.sum()]] += 1
    return quotas.tolist()


def typed_column(name: str, column: Sequence[str], *, where: str = "the metadata") -> np.ndarray:
    """Cells as an array: ages are numbers, nan where unknown, everything else is text."""
    if name != "age":
        return np.array(column)
    try:
        return np.array([float(age) if age not in _UNKNOWN else np.nan for age in column])
    except ValueError as error:
        raise ValueError(f"{where} has an age that is not a number: {error}") from error


def mask_name(identifier: str) -> str:
    """Name, without a suffix, of the file that holds the mask of a picture."""
    return f"{identifier}_segmentation"


def pictures_of(
    archive: Archive, identifiers: Sequence[str], wanted: set[str], *, table: str, column: str
) -> list[Picture]:
    """Picture and mask of each row; ``table`` and ``column`` say in an error whose row it is."""
    files = archive.pictures(wanted, _SUFFIXES)
    missing = [name for name in identifiers if name not in files]
    if missing:
        unreadable = [f"{path} ({why})" for path, why in archive.unreadable.items()]
        raise ValueError(
            f"{len(missing)} of {len(identifiers)} rows of the {table} have no picture in "
            f"{archive.root}: {listed(missing)}; expected <{column}>.jpg, .jpeg or .png, anywhere "
            "below it" + (f". Zips that cannot be read: {listed(unreadable)}" if unreadable else "")
        )
    return [Picture(files[name], files.get(mask_name(name))) for name in identifiers]
