"""HAM10000 as downloaded: 10015 dermoscopic pictures of pigmented lesions."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .archive import ZIP_ERRORS, Archive, Member, listed
from .cache import CacheOption
from .dataset import LESION_CLASSES, LesionDataset
from .decode import Decoder, Geometry
from .lesion_table import dataset_of_rows, lesion_groups
from .table import Table, check_once, read_table

__all__ = ["HAM10000"]

_METADATA, _TABLES = "ham10000_metadata", ("", ".csv", ".tab", ".tsv", ".txt")
_NEEDED = ("lesion_id", "image_id", "dx")


def HAM10000(
    root: str | os.PathLike[str],
    *,
    image_size: int = 128,
    geometry: Geometry = "crop",
    duplicates: str | os.PathLike[str] | None = None,
    cache: CacheOption = None,
    workers: int | None = None,
    progress: bool = True,
    limit: int | None = None,
) -> LesionDataset:
    """Load HAM10000, decoded once into a cache of 8-bit arrays.

    The folder or zip may have the layout of Kaggle (``HAM10000_metadata.csv`` and folders of
    pictures) or of Dataverse (``HAM10000_metadata`` or ``.tab`` beside zips, or everything in one
    zip). Pictures are found by name, ``<image_id>.jpg``, ``.jpeg`` or ``.png``, and masks as
    ``<image_id>_segmentation.png``, anywhere below ``root``. Pictures without a row of metadata
    (the ISIC 2018 test set) are ignored. Rows are sorted by image id.

    Parameters
    ----------
    root : path
        Folder or zip. Nothing is extracted.
    image_size : int, pixels
        Side of the square pictures, 8 to 1024.
    geometry : {"crop", "squeeze"}
        ``crop`` takes the centred square of the 4:3 frame, which keeps pixels square; ``squeeze``
        scales the whole frame to a square.
    duplicates : path, optional
        CSV with columns ``image_a,image_b``: pairs that show one lesion under two lesion ids
        [2]_. Their lesions become one group.
    cache : path, False or None
        Folder for the decoded pictures; False keeps them in memory. By default
        ``<name of root>.cache`` beside ``root``, or ``~/.cache/lens2label`` if that cannot be
        written. The entry is renewed when a picture, the size or the geometry changes. A picture
        has changed if its CRC-32 (in a zip) or its size or modification time (in a folder) has.
    workers : int, optional
        Number of decoding threads; by default one per core.
    progress : bool
        Show a progress bar while decoding, on a terminal.
    limit : int, optional
        Keep only this many images, chosen before decoding. They are divided among the classes in
        proportion, with at least six of each where possible, and are the same every time.

    Returns
    -------
    LesionDataset
        ``groups`` are lesions; a picture whose lesion is unknown ("NA", "unknown", ...) is a group
        of its own. ``metadata`` has ``lesion_id``, ``dx_type``, ``age`` (years, NaN where unknown),
        ``sex``, ``localization`` and any further columns. The codes are sRGB.

    Raises
    ------
    FileNotFoundError
        When ``root`` or ``duplicates`` does not exist.
    ValueError
        When the metadata is missing, incomplete or has an unknown diagnosis, when rows have no
        picture, or when pictures or masks cannot be used. The message lists all of them.
    OSError
        When the cache cannot be written.

    References
    ----------
    .. [1] Tschandl, Rosendahl, Kittler, "The HAM10000 dataset", Sci Data 5:180161 (2018),
       doi:10.7910/DVN/DBW86T (CC BY-NC 4.0).
    .. [2] Abhishek, Jain, Hamarneh, "Investigating the quality of DermaMNIST and Fitzpatrick17k",
       Sci Data 12:196 (2025).
    """
    decoder = Decoder(
        image_size=image_size, geometry=geometry, workers=workers, progress=progress, bit_depth=8
    )
    with Archive(root) as archive:
        table = _read_metadata(archive)
        groups, diagnoses = _merged(table, duplicates), table.pop("dx")
        return dataset_of_rows(
            archive,
            table,
            column="image_id",
            title="metadata",
            ages=("age",),
            diagnoses=diagnoses,
            classes=LESION_CLASSES,
            groups=groups,
            decoder=decoder,
            cache=cache,
            limit=limit,
        )


def _read_metadata(archive: Archive) -> Table:
    """Read and check the metadata: a column of strings for each name."""
    files = _metadata_files(archive.members) or _metadata_files(archive.deep)
    if not files:
        raise ValueError(
            f"{archive.root} has no metadata: expected HAM10000_metadata.csv, .tab or without a "
            f"suffix, found {listed(sorted({m.name for m in archive.members}), 5) or 'no files'}. "
            "Other data sets are read from one folder per class (classify.ImageFolder; with "
            "--data, no pictures, tables or zips may lie beside these folders), or with a table of "
            "labels (classify.ImageTable; --data labels.csv --data.root pictures)"
        )
    try:
        texts = {member.read() for member in files}
    except (*ZIP_ERRORS, OSError) as error:
        paths = listed(member.path for member in files)
        raise ValueError(f"{archive.root}: {paths} cannot be read: {error}") from error
    if len(texts) > 1:
        raise ValueError(
            f"{archive.root} has different metadata files: "
            f"{listed(member.path for member in files)}; keep one"
        )
    where = f"{archive.root}: {files[0].path}"
    table = read_table(texts.pop(), _NEEDED, where)
    names, diagnoses = table["image_id"], table["dx"]
    check_once(names, where)
    unknown = sorted(set(diagnoses) - set(LESION_CLASSES))
    if unknown:
        rows = [
            f"{name} ({dx})" for name, dx in zip(names, diagnoses, strict=True) if dx in unknown
        ]
        raise ValueError(
            f"{where} has the unknown dx {listed(map(repr, unknown))}; allowed are "
            f"{', '.join(LESION_CLASSES)}. Rows: {listed(rows)}"
        )
    return table


def _metadata_files(members: Iterable[Member]) -> list[Member]:
    return [m for m in members if m.stem.lower() == _METADATA and m.suffix in _TABLES]


def _merged(table: Table, duplicates: str | os.PathLike[str] | None) -> list[str]:
    """Group of each row: its lesion, or the first of the lesions that duplicates join.

    A picture of an unknown lesion is a group of its own.
    """
    lesions = lesion_groups(table["lesion_id"], table["image_id"])
    if duplicates is None:
        return lesions
    path = Path(duplicates).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"the list of duplicates {path} does not exist or is not a file")
    pairs = read_table(path.read_bytes(), ("image_a", "image_b"), str(path))
    names, lesion = np.unique(lesions, return_inverse=True)
    row_of = {name: row for row, name in enumerate(table["image_id"])}
    unknown = sorted({*pairs["image_a"], *pairs["image_b"]} - row_of.keys())
    if unknown:
        raise ValueError(f"{path} names images that the metadata does not have: {listed(unknown)}")
    ends = [[lesion[row_of[name]] for name in pairs[side]] for side in ("image_a", "image_b")]
    links = coo_array((np.ones(len(ends[0])), ends), shape=(len(names), len(names)))
    _, component = connected_components(links, directed=False)
    _, first = np.unique(component, return_index=True)
    return names[first[component[lesion]]].tolist()
