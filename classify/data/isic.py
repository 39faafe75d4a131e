"""The classification tasks of the ISIC challenges of 2018 and 2019."""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .archive import Archive, Member, listed
from .cache import CacheOption
from .dataset import LESION_CLASSES, LesionDataset
from .decode import Decoder, Geometry
from .lesion_table import dataset_of_rows, lesion_groups
from .table import (
    Table,
    check_once,
    given_table,
    is_missing,
    read_header,
    read_member,
    read_table,
)

__all__ = ["ISIC"]

# Columns of the ground truth and our names for them, in our order.
_COLUMNS = {
    "AKIEC": "akiec",
    "AK": "akiec",
    "BCC": "bcc",
    "BKL": "bkl",
    "DF": "df",
    "MEL": "mel",
    "NV": "nv",
    "VASC": "vasc",
    "SCC": "scc",
    "UNK": "unk",
}


def ISIC(
    root: str | os.PathLike[str],
    *,
    image_size: int = 128,
    geometry: Geometry = "crop",
    truth: str | os.PathLike[str] | None = None,
    metadata: str | os.PathLike[str] | None = None,
    cache: CacheOption = None,
    workers: int | None = None,
    progress: bool = True,
    limit: int | None = None,
) -> LesionDataset:
    """Load a part of the ISIC 2018 (task 3) or ISIC 2019 challenge, as downloaded.

    The folder or zip contains the ground truth, a CSV with one column per class and a single 1 in
    each row (``image,MEL,NV,BCC,AKIEC,BKL,DF,VASC`` in 2018 [1]_; ``image,MEL,NV,BCC,AK,BKL,DF,
    VASC,SCC,UNK`` in 2019 [2]_), and the pictures ``<image>.jpg``, ``.jpeg`` or ``.png`` anywhere
    below it, also in inner zips. A mask is found as ``<image>_segmentation.png``. Rows are sorted
    by name; pictures without a row are ignored.

    A CSV of metadata with a row for these images (``..._LesionGroupings.csv`` of 2018,
    ``..._Metadata.csv`` of 2019), also in inner zips, is joined, and its ``lesion_id`` gives the
    groups. Of several tables, one with ``lesion_id`` is used. An image without a lesion id (empty,
    "NA", "N/A", "nan", "None", "NULL", "<NA>" or "unknown": 2 084 of the 25 331 of 2019) is a group
    of its own. If no image has a lesion id, a warning says so: every image is then its own group,
    and a split can put one lesion into both training and test.

    Parameters
    ----------
    root : path
        Folder or zip. Nothing is extracted.
    image_size : int, pixels
        Side of the square pictures, 8 to 1024.
    geometry : {"crop", "squeeze"}
        ``crop`` takes the centred square of the frame, which keeps pixels square; ``squeeze``
        scales the whole frame to a square.
    truth : path, optional
        The ground truth: its path or name below ``root`` (plain files are searched before inner
        zips), or a file elsewhere. Required if ``root`` has several (training and test).
    metadata : path, optional
        The table of metadata, given in the same way.
    cache, workers, progress, limit
        As in :func:`HAM10000`.

    Returns
    -------
    LesionDataset
        ``classes`` are those of HAM10000, in its order, and for 2019 also ``scc`` and, if an image
        has it, ``unk``. AK (actinic keratosis) of 2019 is ``akiec``. ``metadata`` has the other
        columns; ``age_approx`` is in years, NaN where unknown. The codes are sRGB.

    Raises
    ------
    FileNotFoundError
        When ``root``, ``truth`` or ``metadata`` does not exist.
    ValueError
        When the ground truth is missing, ambiguous, has other classes, rows that are not one-hot or
        several rows for an image; when metadata lack images or list one twice; when several
        different files have the given name; when rows have no picture, or pictures or masks cannot
        be used. The message lists all of them.
    OSError
        When the cache cannot be written.

    Warns
    -----
    UserWarning
        When no image has a lesion id.

    References
    ----------
    .. [1] Codella et al., "Skin Lesion Analysis Toward Melanoma Detection 2018",
       arXiv:1902.03368; https://challenge.isic-archive.com/data/#2018.
    .. [2] https://challenge.isic-archive.com/data/#2019.
    """
    decoder = Decoder(
        image_size=image_size, geometry=geometry, workers=workers, progress=progress, bit_depth=8
    )
    with Archive(root) as archive:
        where, table = _read_truth(archive, truth)
        names, diagnoses, classes = _diagnoses(table, where)
        columns = {name: cells for name, cells in table.items() if name not in _COLUMNS}
        columns |= _joined(archive, metadata, names)
        if all(map(is_missing, columns.get("lesion_id", ()))):
            warnings.warn(
                f"{archive.root} has no lesion_id for any image: each image is a group of its own, "
                "and a split can put pictures of one lesion into both training and test; give the "
                "table that has lesion_id with metadata=",
                UserWarning,
                stacklevel=2,
            )
        return dataset_of_rows(
            archive,
            columns,
            column="image",
            title="ground truth",
            ages=("age", "age_approx"),
            diagnoses=diagnoses,
            classes=classes,
            groups=lesion_groups(columns.get("lesion_id", [""] * len(names)), names),
            decoder=decoder,
            cache=cache,
            limit=limit,
        )


def _is_truth(header: Sequence[str]) -> bool:
    return "image" in header and "MEL" in header and "NV" in header


def _is_metadata(header: Sequence[str]) -> bool:
    return "image" in header and not _is_truth(header)


def _read_truth(archive: Archive, given: str | os.PathLike[str] | None) -> tuple[str, Table]:
    """Location and columns of the ground truth: the given table, or the only one."""
    if given is not None:
        where, content = given_table(archive, given, what="ground truth", option="truth")
        return where, read_table(content, ("image",), where)
    tables = _tables(archive.members, archive, _is_truth)
    tables = tables or _tables(archive.deep, archive, _is_truth)
    if not tables:
        names = listed(sorted({member.name for member in archive.members}), 5)
        raise ValueError(
            f"{archive.root} has no ground truth: expected a .csv with the columns image, MEL, NV, "
            "... (ISIC2018_Task3_..._GroundTruth.csv, ISIC_2019_..._GroundTruth.csv), found "
            f"{names or 'no files'}"
        )
    if len(set(tables.values())) > 1:
        raise ValueError(
            f"{archive.root} has several tables of ground truth: {listed(tables)}; name the one to "
            "use with truth="
        )
    path, content = next(iter(tables.items()))
    where = f"{archive.root}: {path}"
    return where, read_table(content, ("image",), where)


def _tables(
    members: Iterable[Member], archive: Archive, fits: Callable[[Sequence[str]], bool]
) -> dict[str, bytes]:
    """Contents by path of the CSV files with a fitting header."""
    found = {}
    for member in members:
        if member.suffix == ".csv":
            content = read_member(member, archive)
            if fits(read_header(content)):
                found[member.path] = content
    return found


def _diagnoses(table: Table, where: str) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Names of the images, their classes, and all classes."""
    names = table["image"]
    check_once(names, where)
    columns = [column for column in _COLUMNS if column in table]
    kinds = [_COLUMNS[column] for column in columns]
    allowed = (LESION_CLASSES, (*LESION_CLASSES, "scc"), (*LESION_CLASSES, "scc", "unk"))
    if tuple(kinds) not in allowed:
        raise ValueError(
            f"{where} has the class columns {', '.join(columns) or 'none'}; expected MEL, NV, BCC, "
            "AKIEC (or AK), BKL, DF, VASC, and in 2019 also SCC and UNK"
        )
    try:
        cells = np.array([table[column] for column in columns], dtype=np.float64).T
    except ValueError as error:
        raise ValueError(f"{where} has a label that is not a number: {error}") from error
    one_hot = np.isin(cells, (0, 1)).all(axis=1) & (cells.sum(axis=1) == 1)
    if not one_hot.all():
        bad = [
            f"{names[row]} ({' '.join(f'{cell:g}' for cell in cells[row])})"
            for row in np.flatnonzero(~one_hot)
        ]
        raise ValueError(
            f"{where} has {len(bad)} rows that are not one-hot: {listed(bad)}; a row needs a "
            f"single 1, and 0 elsewhere, in {', '.join(columns)}"
        )
    diagnoses = [kinds[label] for label in cells.argmax(axis=1)]
    if "unk" not in diagnoses:  # the column exists in the training set of 2019, but is empty
        kinds = [kind for kind in kinds if kind != "unk"]
    return names, diagnoses, tuple(kinds)


def _joined(archive: Archive, given: str | os.PathLike[str] | None, names: Sequence[str]) -> Table:
    """Columns of the metadata in the order of ``names``; empty if there are no metadata."""
    if given is not None:
        where, content = given_table(archive, given, what="metadata", option="metadata")
        tables = [(where, read_table(content, ("image",), where))]
    else:
        tables = _metadata(archive.members, archive, names)
        if not any("lesion_id" in table for _, table in tables):
            tables = _metadata(archive.deep, archive, names)
        tables = [entry for entry in tables if "lesion_id" in entry[1]] or tables
    if not tables:
        return {}
    if len(tables) > 1:
        raise ValueError(
            f"several tables of metadata have these images: {listed(where for where, _ in tables)}"
            "; name the one to use with metadata="
        )
    where, table = tables[0]
    check_once(table["image"], where)
    row_of = {name: row for row, name in enumerate(table["image"])}
    if absent := [name for name in names if name not in row_of]:
        raise ValueError(
            f"{where} has no row for {len(absent)} of {len(names)} images: {listed(absent)}; "
            "give a table that has them all with metadata="
        )
    rows = [row_of[name] for name in names]
    return {name: [cells[row] for row in rows] for name, cells in table.items()}


def _metadata(
    members: Iterable[Member], archive: Archive, names: Sequence[str]
) -> list[tuple[str, Table]]:
    """Tables of metadata with a row for any of these images, without copies."""
    places: dict[bytes, str] = {}
    for path, content in _tables(members, archive, _is_metadata).items():
        places.setdefault(content, f"{archive.root}: {path}")
    tables = [(where, read_table(content, ("image",), where)) for content, where in places.items()]
    # The folder may also hold metadata of another part.
    return [entry for entry in tables if not set(names).isdisjoint(entry[1]["image"])]
