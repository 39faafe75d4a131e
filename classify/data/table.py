"""The tables beside pictures: what they say of each, and which rows a limit keeps."""

import csv
import difflib
import hashlib
import io
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .archive import ZIP_ERRORS, Archive, Member, listed
from .arrays import as_integer

__all__ = [
    "GROUPS",
    "IMAGES",
    "UNLABELLED",
    "Table",
    "age_column",
    "as_path",
    "check_columns",
    "check_grouped",
    "check_once",
    "chosen_rows",
    "coarser_columns",
    "column_of",
    "composed",
    "given_table",
    "is_missing",
    "mask_name",
    "may_group",
    "number_column",
    "paths_below",
    "read_header",
    "read_member",
    "read_table",
    "text_of",
    "unreadable_zips",
    "warn_of_alike",
    "warn_of_commas",
    "warn_of_placeholders",
]

Table = dict[str, list[str]]
"""A column of cells for each name."""

_FEW = 6  # images that a limit leaves to each class, so that three parts of a split can have some
#: Cells of no label, in lower case: what pandas, SQL and Excel write.
UNLABELLED = ("", "na", "n/a", "#n/a", "nan", "none", "null", "<na>")
# Words that stand for an unknown patient where somebody did not leave the cell empty.
_PLACEHOLDERS = {"?", "??", "???", "-", "--", "---", ".", "_", "xx", "xxx", "unk", "n.a.", "tbd"}
_PLACEHOLDERS |= {"missing", "not available", "-1", "999", "9999", "99999"}
_MANY = 20  # pictures, of fewer of which a fifth may be of one patient
_MISSING = (*UNLABELLED, "unknown")  # of lesions, patients and measures; it is a diagnosis, too
#: Columns that name the pictures; of several in a table, the first of these.
IMAGES = ("image", "image_name", "image_id", "isic_id", "file_name", "filename", "file", "path")
#: Columns that say what belongs together; of several in a table, the first of these.
GROUPS = ("group", "patient_id", "lesion_id")
# Those that say it in words of their own.
_GROUPED = re.compile(
    r"(group|patient|lesion|subject|person|participant|case"
    r"|scene|session|sequence|series|clip|video)s?[\W_]*(id|no|nr|number|name|code|key)?[\W_]*",
    re.IGNORECASE,
)
_QUOTED = r'(?<![^\t,;])"[^"]*(?:""[^"]*)*"'  # a quote opens a cell only where the cell begins
_HEAD = re.compile(rf"(?:{_QUOTED}|[^\r\n])*")
# Lines before the header: empty ones, and that in which Excel is told what divides the cells.
_BEFORE = re.compile(r"(?:(?:sep=[^\r\n])?[ ]*(?:\r\n|\r|\n))*", re.IGNORECASE)
_SPACE = re.compile(r"(?<!\d) | (?!\d)")  # but not between numbers
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_WHOLE = re.compile(r"0*([0-9]+)(?:\.0*)?")


def is_missing(cell: str) -> bool:
    """Whether a cell says that what it is for is not known."""
    return cell.strip().lower() in _MISSING


def column_of(names: Sequence[str], header: Sequence[str]) -> str | None:
    """First of some names that a header has; if it has none, whatever their capital letters."""
    alike = {name.lower(): name for name in reversed(header)}
    found = [name for name in names if name in header]
    found += [alike[name] for name in names if name in alike]
    return found[0] if found else None


def may_group(column: str) -> bool:
    """Whether the name of a column suggests that it says what belongs together."""
    return _GROUPED.fullmatch(column) is not None


def coarser_columns(table: Table, column: str) -> dict[str, int]:
    """Columns that are named as groups and join whole groups of ``column``: how many values each.

    As patients join lesions. A number of a visit or a session, which many patients share and of
    which one has several, joins none; and the name of a column ``group`` says that it is meant.
    """
    groups = table[column]
    found: dict[str, int] = {}
    if column.lower() == GROUPS[0]:
        return found
    for name, cells in table.items():
        # Of cases and controls there are two, of as many patients as there are.
        if name == column or not may_group(name) or name.casefold() == "case":
            continue
        known = [(g, cell) for g, cell in zip(groups, cells, strict=True) if not is_missing(cell)]
        parts, values = {g for g, _ in known}, {cell for _, cell in known}
        if 1 < len(values) < len(parts) == len(set(known)):  # one value would leave one group
            found[name] = len(values)
    return found


def warn_of_alike(
    names: Sequence[str], *, what: str, where: str, column: str, numbers: bool, stacklevel: int
) -> None:
    """Warn where names differ in capital letters or spaces alone, or in how a number is written.

    What Unicode has no shape of (its category Cf, as a space of no width) makes no difference.

    Parameters
    ----------
    names : sequence of str
        Each once or several times.
    what : str
        What each is a name of.
    where, column : str
        The table and its column, for the message.
    numbers : bool
        Whether ``1``, ``01`` and ``1.0`` are alike, too.
    stacklevel : int
        As of :func:`warnings.warn`, counted from here.
    """
    alike: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        shown = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
        key = _SPACE.sub("", " ".join(shown.casefold().split()))
        whole = _WHOLE.fullmatch(key) if numbers else None
        alike.setdefault(whole[1] if whole else key, []).append(name)
    if several := [name for group in alike.values() if len(group) > 1 for name in group]:
        # Spaces of several kinds look alike, unless as Python writes them.
        said = [name if name.isprintable() else repr(name) for name in several]
        differ = "capital letters or spaces" + (", or in how a number is written" * numbers)
        warnings.warn(
            f"{where} has a {what} for each of {listed(said)}, which differ only in {differ}: "
            f"write them the same way in {column} if they are one",
            stacklevel=stacklevel + 1,
        )


def read_header(content: bytes) -> list[str]:
    """Names of the columns, read as the table will be; none where it cannot be a table."""
    try:
        _, header = next(_rows(content.decode("utf-8-sig", "replace"), strict=False), (1, []))
    except ValueError:
        return []
    return [name.strip() for name in header]


def _rows(text: str, *, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Line at which each row begins, and its cells, which may have line breaks in quotes.

    A quote that is not closed takes what comes next for a part of its cell, rows and all.
    """
    before = _BEFORE.match(text)
    start = before.end() if before else 0
    skipped, text = len(text[:start].splitlines()), text[start:]
    divider = _divider(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=divider, strict=strict)
    line, width = skipped + 1, 0
    try:
        for cells in reader:
            width = width or len(cells)
            if width > 1 and any(_holds_rows(cell, divider, width) for cell in cells):
                raise csv.Error("a cell in quotes holds whole rows")
            yield line, cells
            line = skipped + reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"the row that begins in line {line} cannot be read ({error}); close each quote that "
            "opens a cell, and write those within it twice"
        ) from error


def _holds_rows(cell: str, divider: str, width: int) -> bool:
    """Whether a cell of several lines divides as a table of so many columns does."""
    breaks = len(re.findall(r"\r\n|\r|\n", cell))
    return breaks > 0 and cell.count(divider) == breaks * (width - 1)


def _divider(text: str) -> str:
    """What divides the cells of the header: tabs, or semicolons as Excel's, outside of quotes."""
    head = _HEAD.match(text)
    bare = re.sub(_QUOTED, "", head[0]) if head else ""
    return "\t" if "\t" in bare else max(",;", key=bare.count)


def text_of(content: bytes, where: str) -> str:
    """Text of a table, which is UTF-8."""
    if b"\0" in content:
        raise ValueError(
            f"{where} is not a table in UTF-8: it has bytes of zero, as UTF-16 has (the Unicode "
            "text of Excel); save it as CSV in UTF-8"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} is not a table in UTF-8 ({error}); save it as CSV in UTF-8"
        ) from error


def read_table(content: bytes, needed: Sequence[str], where: str) -> Table:
    """Parse CSV, or text divided by tabs or semicolons; no needed cell may be empty.

    Each column has a name of its own; those without a name are left out.
    """
    text = text_of(content, where)
    try:
        lines = list(_rows(text))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    header = [name.strip() for name in lines[0][1]] if lines else []
    # Of two columns of one name the last would be left; those without one mean nothing.
    check_columns(header, [*needed, *filter(None, header)], where)
    rows = [(number, line) for number, line in lines[1:] if line]
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
    return {name: [line[i].strip() for _, line in rows] for i, name in enumerate(header) if name}


def check_columns(
    header: Sequence[str], needed: Sequence[str], where: str, *, remedy: str = ""
) -> None:
    """Refuse a table without the columns that are needed, naming the nearest that it has."""
    if twice := [name for name in dict.fromkeys(needed) if list(header).count(name) > 1]:
        raise ValueError(f"{where} has several columns of the name {', '.join(twice)}")
    absent = [name for name in dict.fromkeys(needed) if name not in header]
    if not absent:
        return
    known = {name.lower(): name for name in header}
    # By one who mistypes the first letter least of all: age is not a slip of image.
    alike = [[word for word in known if word[:1] == name[:1].lower()] for name in absent]
    near = [
        difflib.get_close_matches(name.lower(), words, n=1)
        for name, words in zip(absent, alike, strict=True)
    ]
    hints = [known[found[0]] for found in near if found]
    if len(header) == 1:  # the whole line, where something else divides it
        remedy = "cells are divided by commas, semicolons or tabs"
    raise ValueError(
        f"{where} lacks the columns {', '.join(absent)}; it has {', '.join(header) or 'none'}"
        + (f": did you mean {', '.join(hints)}?" if hints else "")
        + (f"; {remedy}" if remedy else "")
    )


def check_once(names: Sequence[str], where: str) -> None:
    """Refuse a table that has several rows for one image."""
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{where} has several rows for one image: {listed(twice)}")


def warn_of_placeholders(
    groups: Sequence[str], *, where: str, column: str, stacklevel: int
) -> None:
    """Warn where many pictures are of a group whose name is a word for what is not known.

    Parameters
    ----------
    groups : sequence of str
        Of each picture.
    where, column : str
        The table and its column, for the message.
    stacklevel : int
        As of :func:`warnings.warn`, counted from here.
    """
    name, times = Counter(groups).most_common(1)[0]
    if name.strip().lower() in _PLACEHOLDERS and len(groups) >= _MANY and 5 * times > len(groups):
        warnings.warn(
            f"{where} has {times} of {len(groups)} pictures in one group {name!r}, which looks "
            f"like a placeholder for an unknown value: if so, give each of them its own {column}",
            stacklevel=stacklevel + 1,
        )


def check_grouped(
    names: Sequence[str],
    groups: Sequence[str],
    *,
    column: str,
    where: str,
    hint: str = "",
) -> None:
    """Refuse a table that leaves open what a picture belongs to: unknown is no group."""
    if absent := [name for name, group in zip(names, groups, strict=True) if is_missing(group)]:
        raise ValueError(
            f"{where} has no {column} for {len(absent)} of {len(names)} pictures: "
            f"{listed(absent)}; add them (give a picture of an unknown one a unique name){hint}"
        )


def given_table(
    archive: Archive, given: str | os.PathLike[str], *, what: str, option: str
) -> tuple[str, bytes]:
    """Where a table is that was given by its path or name below the archive, and its content."""
    inside = Path(given).as_posix()
    # Zips inside are looked into only where the table is in none of the plain files.
    for members in (lambda: archive.members, lambda: archive.deep):
        found = [m for m in members() if m.path == inside]
        found = found or [m for m in members() if m.name == inside]
        contents = {m.path: read_member(m, archive) for m in found}
        if len(set(contents.values())) > 1:
            raise ValueError(
                f"{archive.root} has different files of the name {inside}: {listed(contents)}; "
                f"give the path of the one to use with {option}="
            )
        if contents:
            path, content = next(iter(contents.items()))
            return f"{archive.root}: {path}", content
    path = Path(given).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"the {what} {given} is neither a file below {archive.root} nor elsewhere"
        )
    return str(path), path.read_bytes()


def read_member(member: Member, archive: Archive) -> bytes:
    """Content of a table in an archive."""
    try:
        return member.read()
    except (*ZIP_ERRORS, OSError) as error:
        raise ValueError(f"{archive.root}: {member.path} cannot be read: {error}") from error


def chosen_rows(
    identifiers: Sequence[str], diagnoses: Sequence[str], limit: int | None
) -> list[int]:
    """Rows to keep, in the order of their identifiers."""
    rows = sorted(range(len(identifiers)), key=identifiers.__getitem__)
    if limit is None:
        return rows
    classes, label, counts = np.unique(diagnoses, return_inverse=True, return_counts=True)
    number = as_integer(limit)
    if number is None or number < len(classes):
        raise ValueError(
            f"limit must be None or at least {len(classes)} images, one for each class, "
            f"got {limit!r}"
        )
    left = dict(enumerate(_quotas(counts, number)))
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


def age_column(column: Sequence[str], *, where: str) -> np.ndarray:
    """Ages as numbers, nan where unknown."""
    try:
        return np.array([np.nan if is_missing(age) else float(age) for age in column])
    except ValueError as error:
        raise ValueError(f"{where} has an age that is not a number: {error}") from error


def number_column(column: Sequence[str]) -> np.ndarray:
    """Numbers, where all that is known is one; otherwise the text as it is.

    Whole numbers are int64 where all are known, others float64 with nan where unknown. What begins
    with zeros, as numbers of patients do, is a name, and stays one.
    """
    known = [cell for cell in column if not is_missing(cell)]
    if not known or any(_is_name(cell) for cell in known):
        return np.array(column)
    if len(known) == len(column) and all(cell.lstrip("+-").isdecimal() for cell in known):
        return np.array([int(cell) for cell in column], dtype=np.int64)
    return np.array([np.nan if is_missing(cell) else float(cell) for cell in column])


def warn_of_commas(table: Table, *, where: str, stacklevel: int) -> None:
    """Warn of columns of numbers some of which have a comma: they stay text.

    ``1,500`` is 1.5 in some languages and 1500 in others.

    Parameters
    ----------
    table : mapping of str to list of str
        Columns that may hold numbers.
    where : str
        The table, for the message.
    stacklevel : int
        As of :func:`warnings.warn`, counted from here.
    """
    for name, column in table.items():
        known = [cell for cell in column if not is_missing(cell)]
        commas = [cell for cell in known if _DECIMAL_COMMA.fullmatch(cell)]
        others = (cell for cell in known if not _DECIMAL_COMMA.fullmatch(cell))
        if commas and not any(map(_is_name, others)):
            warnings.warn(
                f"{where} has numbers with a comma in {name}, such as {commas[0]}, which are read "
                "as text: write a decimal comma as a point, and no separators of thousands",
                stacklevel=stacklevel + 1,
            )


def _is_name(cell: str) -> bool:
    digits = cell.lstrip("+-")
    if "_" in cell:  # which Python leaves out of numbers
        return True
    try:
        fits = abs(float(cell)) < 2**53  # beyond it, a float is not the number any more
    except ValueError:
        return True
    return not fits or (len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal())


def as_path(name: str) -> str:
    """Path that a cell names: in Unicode's NFC, as macOS writes an accent behind its letter."""
    return composed(name).replace("\\", "/").removeprefix("./")


def paths_below(names: Sequence[str], folder: Path, root: Path) -> list[str]:
    """The path below ``root`` of each that is absolute or leads upwards; any other as it is.

    Parameters
    ----------
    names : sequence of str
        Cells of a table.
    folder : path
        Of the table, from which a path leads upwards.
    root : path
        Folder of the pictures.
    """
    start = folder.resolve()
    tops = [Path(as_path(str(top))) for top in (root.absolute(), root.resolve())]

    def below(name: str) -> str:
        path = as_path(name)
        if not (Path(path).is_absolute() or ".." in path.split("/")):
            return name
        whole = Path(as_path(os.path.normpath(start / path)))
        inside = (whole.relative_to(top) for top in tops if whole.is_relative_to(top))
        return next((path.as_posix() for path in inside), name)

    return [below(name) for name in names]


def composed(name: str) -> str:
    """Return a name in Unicode's NFC: that of a class or group is one, however it is written."""
    return unicodedata.normalize("NFC", name)


def mask_name(identifier: str) -> str:
    """Name, without a suffix, of the file that holds the mask of a picture."""
    return f"{identifier}_segmentation"


def unreadable_zips(archive: Archive) -> str:
    """What an error adds that misses files, where they may be in a zip that cannot be read."""
    unreadable = [f"{path} ({why})" for path, why in archive.unreadable.items()]
    return f". Zips that cannot be read: {listed(unreadable)}" if unreadable else ""
