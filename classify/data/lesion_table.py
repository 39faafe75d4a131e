"""Data sets whose table names each picture but not its path: HAM10000 and the ISIC challenges.

::

    table ─limit─► rows ─names─► pictures, masks ─decode─► codes ─┐
                    └── diagnoses, groups, further columns ───────┴─► LesionDataset
"""

from collections.abc import Sequence

import numpy as np

from .archive import Archive, listed
from .arrays import content_hash
from .cache import CacheOption, load_pixels
from .dataset import LesionDataset
from .decode import Decoder, Picture
from .table import Table, age_column, chosen_rows, is_missing, mask_name, unreadable_zips

__all__ = ["dataset_of_rows", "lesion_groups", "pictures_of"]

_SUFFIXES = (".jpg", ".jpeg", ".png")


def lesion_groups(lesions: Sequence[str], identifiers: Sequence[str]) -> list[str]:
    """Group of each picture: its lesion, or the picture itself where that is unknown."""
    pairs = zip(lesions, identifiers, strict=True)
    return [name if is_missing(lesion) else lesion for lesion, name in pairs]


def dataset_of_rows(
    archive: Archive,
    table: Table,
    *,
    column: str,
    title: str,
    ages: Sequence[str],
    diagnoses: Sequence[str],
    classes: tuple[str, ...],
    groups: Sequence[str],
    decoder: Decoder,
    cache: CacheOption,
    limit: int | None,
) -> LesionDataset:
    """Read the pictures that the rows of a table name, in the order of their names.

    ``column`` has the names, ``title`` is the name of the table in errors, ``ages`` are the columns
    of years, and ``diagnoses`` and ``groups`` belong to its rows. All other columns become
    ``metadata``. Masks are found as ``<picture>_segmentation``. Call it directly from the public
    function, so that warnings point to the user's line.
    """
    rows = chosen_rows(table[column], diagnoses, limit)
    columns = {name: [cells[row] for row in rows] for name, cells in table.items()}
    identifiers = columns.pop(column)
    where = f"{archive.root}: the metadata"
    metadata = {
        name: age_column(cells, where=where) if name in ages else np.array(cells)
        for name, cells in columns.items()
    }
    wanted = {*identifiers, *map(mask_name, identifiers)}
    pixels = load_pixels(
        archive,
        lambda: pictures_of(archive, identifiers, wanted, table=title, column=column),
        identifiers=identifiers,
        members=[m for m in archive.members if m.stem in wanted or m.suffix == ".zip"],
        decoder=decoder,
        cache=cache,
        stacklevel=4,
    )
    labels = [classes.index(diagnoses[row]) for row in rows]
    groups = [groups[row] for row in rows]
    return LesionDataset(
        images=pixels.images,
        labels=labels,
        groups=groups,
        identifiers=identifiers,
        classes=classes,
        masks=pixels.masks,
        has_mask=pixels.has_mask,
        metadata=metadata,
        fingerprint=content_hash(pixels.digest, classes, labels, groups, identifiers),
    ).taken_as("srgb")


def pictures_of(
    archive: Archive, identifiers: Sequence[str], wanted: set[str], *, table: str, column: str
) -> list[Picture]:
    """Picture and mask of each row; ``table`` and ``column`` say in an error whose row it is."""
    files = archive.pictures(wanted, _SUFFIXES)
    missing = [name for name in identifiers if name not in files]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(identifiers)} rows of the {table} have no picture in "
            f"{archive.root}: {listed(missing)}; expected <{column}>.jpg, .jpeg or .png, anywhere "
            f"below it{unreadable_zips(archive)}"
        )
    return [Picture(files[name], files.get(mask_name(name))) for name in identifiers]
