"""Pictures of a folder or zip, and a table of their labels."""

import os
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from .archive import Archive, Member, listed
from .arrays import (
    SceneEncoding,
    check_scene_encoding,
    content_hash,
    warn_of_absent,
    warn_of_classes,
    warn_of_grey,
)
from .cache import CacheOption, load_pixels
from .dataset import LesionDataset
from .decode import SUFFIXES, Decoder, Geometry, Picture
from .table import (
    GROUPS,
    IMAGES,
    UNLABELLED,
    Table,
    as_path,
    check_columns,
    check_grouped,
    check_once,
    chosen_rows,
    coarser_columns,
    column_of,
    composed,
    given_table,
    is_missing,
    mask_name,
    may_group,
    number_column,
    paths_below,
    read_header,
    read_table,
    text_of,
    unreadable_zips,
    warn_of_alike,
    warn_of_commas,
    warn_of_placeholders,
)

__all__ = ["ImageTable"]

_FEW = 10  # names that are looked for in other letters


def ImageTable(  # noqa: PLR0913 - four columns, and what pictures of a folder can be told
    table: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    image: str | None = None,
    label: str = "label",
    group: str | None = None,
    mask: str | None = None,
    classes: Sequence[str] | None = None,
    image_size: int = 128,
    geometry: Geometry = "crop",
    bit_depth: Literal[8, 16] | None = None,
    white_level: int = Decoder.white_level,
    channels: Literal[1, 3] | None = None,
    encoding: SceneEncoding | None = None,
    cache: CacheOption = None,
    workers: int | None = None,
    progress: bool = True,
    limit: int | None = None,
) -> LesionDataset:
    """Load pictures of a folder or zip, labelled by a table with columns such as ``image,label``.

    ::

        image,label,patient_id,age            pictures/      a.jpg  b.jpg
        a.jpg,benign,P1,61             +      pictures/more/ c.png          ─►  LesionDataset
        more/c,malignant,P2,

    A cell names a picture by its path below ``root``, or by the end of that path if it is unique:
    the file name, with or without its suffix (``.jpg .jpeg .jpe .jfif .png .bmp .tif .tiff
    .webp``). The path may also be absolute, or relative to the folder of the table with ``..``.
    Accented letters match in either Unicode form (NFC, or macOS's NFD); labels and groups are
    converted to NFC. Zips in ``root`` are searched for pictures that are not found outside them. A
    mask is found as ``<picture>_segmentation``, beside the picture or elsewhere (but not beside
    another picture of the same name), unless a column names the masks. Rows are sorted by name.

    Parameters
    ----------
    table : path
        CSV in UTF-8, or text with tabs or semicolons as separators, with a header: a file, or its
        path or name below ``root``.
    root : path, optional
        Folder or zip of the pictures; by default the folder of the table. Nothing is extracted.
    image : str, optional
        Column of the pictures; by default the first existing one of ``image``, ``image_name``,
        ``image_id``, ``isic_id``, ``file_name``, ``filename``, ``file``, ``path``. If none exists
        in lower case, upper and mixed case are accepted.
    label : str
        Column of the class of each picture, as text or as a number. For a table with one column per
        class, as in the ISIC challenges, use :func:`ISIC`.
    group : str, optional
        Column of the lesion or patient, whose pictures a split keeps together; by default the first
        existing one of ``group``, ``patient_id`` and ``lesion_id``, found as for ``image``. If
        there is none, or if this is the column of the pictures, every picture is a group of its
        own, and a split can put pictures of one patient into both training and test.
    mask : str, optional
        Column of the masks, named like the pictures; an empty cell means no mask.
    classes : sequence of str, optional
        The labels in the wanted order; it may include classes without a picture in this table, such
        as those of a run. By default the labels of the table, sorted, numbers by value.
    image_size : int, pixels
        Side of the square pictures, 8 to 1024.
    geometry : {"crop", "squeeze"}
        ``crop`` takes the centred square of the frame; ``squeeze`` scales the whole frame to one.
    bit_depth, white_level, channels, encoding
        Meaning of the codes, as in :func:`ImageFolder`.
    cache, workers, progress, limit
        As in :func:`HAM10000`; see :func:`ImageFolder` for changes of a picture that the cache does
        not notice.

    Returns
    -------
    LesionDataset
        ``identifiers`` are the cells that name the pictures. ``metadata`` has the other columns,
        including that of the groups. A column is numeric if all its known cells are numbers (int64,
        or float64 with NaN where a cell is empty, "NA", "N/A", "#N/A", "nan", "None", "NULL",
        "<NA>" or "unknown"), and text otherwise.

    Raises
    ------
    FileNotFoundError
        When ``table`` or ``root`` does not exist.
    ValueError
        When a column is missing, or several have one name; when rows have no picture, no label (any
        of these words except "unknown", unless ``classes`` names it) or no group, or several rows
        have one picture; when a cell names several pictures, or a missing mask; when ``classes``
        lacks a class of the table, or lists one twice; when pictures or masks cannot be used. The
        message lists all of them. Also when an option is unknown.
    OSError
        When the cache cannot be written.

    Warns
    -----
    UserWarning
        When ``root`` is given and has pictures without a row, which are ignored. When there is only
        one class, and ``classes`` is not given; when a class of ``classes`` has no row. When no
        ``group`` is given, and a column with the name of a group (``patient``, ``Subject ID``,
        ``scene``, ``session``, ``video``) has some value several times, or joins whole groups of
        the column that was found (unless that is ``group``). When labels or groups differ only in
        case or spaces, or groups as ``1``, ``01`` and ``1.0`` do; when a group that looks like a
        placeholder for an unknown value (``?``, ``9999``) has more than a fifth of at least 20
        pictures. When numbers of another column have a comma (``1,5``) and stay text. When
        all pictures are grey and ``channels`` is not given. When pictures have transparent parts,
        have codes above ``white_level``, become nearly black, lose bits, or have a colour profile
        that is not applied, as where 16 bits are kept.
    """
    check_scene_encoding(encoding)
    decoder = Decoder(
        image_size=image_size,
        geometry=geometry,
        workers=workers,
        progress=progress,
        white_level=white_level,
        bit_depth=bit_depth,
        channels=channels,
        profiles=encoding != "linear",
    )
    with _archive(table, root) as archive:
        where, content = _content(table, archive)
        text_of(content, where)  # first, since a wrong text encoding would hide columns
        said = _columns(
            read_header(content), where, image=image, label=label, group=group, mask=mask
        )
        cells = read_table(content, (said.image,), where)
        for column in {said.label, said.group} - {None, said.image}:
            cells[column] = list(map(composed, cells[column]))
        names = cells[said.image]
        check_once(names, where)
        kinds = _classes(cells, said, classes, where)
        groups = names
        if said.group is not None:
            groups = cells[said.group]
            check_grouped(names, groups, column=said.group, where=where)
            if said.group != said.image:
                warn_of_alike(
                    groups,
                    what="group",
                    where=where,
                    column=said.group,
                    numbers=True,
                    stacklevel=2,
                )
                warn_of_placeholders(groups, where=where, column=said.group, stacklevel=2)
        if group is None:
            _warn_of_groups(cells, said, where)
        more = [name for name in cells if name not in (said.image, said.label, said.mask)]
        measures = {name: cells[name] for name in more if name != said.group}
        warn_of_commas(measures, where=where, stacklevel=2)
        rows = chosen_rows(names, cells[said.label], limit)
        path = Path(table).expanduser()
        folder = path.parent if path.is_file() else archive.root
        paths = {
            column: paths_below(cells[column], folder, archive.root)
            for column in {said.image, said.mask} - {None}
        }
        pictures = _pictures(archive, cells | paths, said, rows, where=where, warn=root is not None)
        pixels = load_pixels(
            archive,
            lambda: pictures,
            # Not the names: the same files may be a picture's and its mask's in another way.
            identifiers=["\0".join(file.path for file in p if file) for p in pictures],
            members={file.path: file for p in pictures for file in p if file}.values(),
            decoder=decoder,
            cache=cache,
        )
    labels = [kinds.index(cells[said.label][row]) for row in rows]
    if classes is None and len(kinds) == 1:  # of several, a limit may have left some out
        warn_of_classes(labels, kinds, where=str(table))
    if channels is None:
        warn_of_grey(pixels.images, where=str(table))
    identifiers, groups = [names[row] for row in rows], [groups[row] for row in rows]
    return LesionDataset(
        images=pixels.images,
        labels=labels,
        groups=groups,
        identifiers=identifiers,
        classes=kinds,
        masks=pixels.masks,
        has_mask=pixels.has_mask,
        metadata={name: number_column([cells[name][row] for row in rows]) for name in more},
        fingerprint=content_hash(pixels.digest, kinds, labels, groups, identifiers),
    ).taken_as(decoder.encoding if encoding is None else encoding)


class _Columns(NamedTuple):
    """Names of the columns that are read."""

    image: str
    label: str
    group: str | None
    mask: str | None


def _archive(table: str | os.PathLike[str], root: str | os.PathLike[str] | None) -> Archive:
    if root is not None:
        return Archive(root)
    path = Path(table).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no table at {path}; give the path of its file, or root= and its name there"
        )
    return Archive(path.parent)


def _content(table: str | os.PathLike[str], archive: Archive) -> tuple[str, bytes]:
    """Location and bytes of the table: a given file comes before one in the archive."""
    path = Path(table).expanduser()
    if path.is_file():
        return str(path), path.read_bytes()
    return given_table(archive, table, what="table", option="table")


def _columns(
    header: Sequence[str],
    where: str,
    *,
    image: str | None,
    label: str,
    group: str | None,
    mask: str | None,
) -> _Columns:
    """The columns that were given, or found by their usual names."""
    if label is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise ValueError(
            f"{where}: label must name a column, not None, since a data set has a label for each "
            "picture; for pictures without labels use joint.predict"
        )
    if image is None:
        image = column_of(IMAGES, header) or IMAGES[0]
    if group is None:
        # A diagnosis may be called "group"; it is not what the pictures of a lesion share.
        group = column_of(GROUPS, [name for name in header if name not in (image, label, mask)])
    check_columns(
        header,
        [name for name in (image, label, group, mask) if name is not None],
        where,
        remedy="name these columns with image= and label= (--data.image, --data.label)",
    )
    return _Columns(image, label, group, mask)


def _classes(
    cells: Table, said: _Columns, classes: Sequence[str] | None, where: str
) -> tuple[str, ...]:
    """Names of the classes, in the order of the labels."""
    wanted = () if classes is None else tuple(composed(str(name)) for name in classes)
    names, labels = cells[said.image], cells[said.label]
    absent = [
        name
        for name, label in zip(names, labels, strict=True)
        if label.lower() in UNLABELLED and label not in wanted
    ]
    if absent:
        raise ValueError(
            f"{where} has no {said.label} for {len(absent)} of {len(names)} pictures: "
            f"{listed(absent)}; fill these cells, or remove the rows (or, if such a word is a "
            "class, name it in classes=)"
        )
    found = _in_order(sorted(set(labels)), said.label, where)
    warn_of_alike(found, what="class", where=where, column=said.label, numbers=False, stacklevel=3)
    if classes is None:
        return found
    if len(set(wanted)) < len(wanted) or not set(found) <= set(wanted):
        raise ValueError(
            f"classes must name each {said.label} of {where} once: it has {listed(found)}, got "
            f"{listed(wanted)}"
        )
    warn_of_absent(found, wanted, where=where, stacklevel=4)
    return wanted


def _warn_of_groups(cells: Table, said: _Columns, where: str) -> None:
    """Warn of a column that may be the group, and was not given as such."""
    if said.group is not None:
        count = len(set(cells[said.group]))
        for name, values in coarser_columns(cells, said.group).items():
            if name in (said.image, said.label, said.mask):
                continue
            warnings.warn(
                f"the groups of {where} are the {count} values of {said.group!r}, but its column "
                f"{name!r} with {values} values joins them: if a split must keep its values "
                f"together, give group={name!r} (--data.group {shlex.quote(name)}), otherwise "
                f"group={said.group!r}",
                stacklevel=3,
            )
        return
    for name, column in cells.items():
        known = [cell for cell in column if not is_missing(cell)]
        several = len(known) - len(set(known))
        if name in (said.image, said.label, said.mask) or not several or not may_group(name):
            continue
        warnings.warn(
            f"{where} has a column {name!r} with {len(set(known))} values for {len(known)} "
            "pictures, but each picture is taken as a lesion of its own: if the column says which "
            f"pictures belong together, give group={name!r} (--data.group {shlex.quote(name)}), "
            f"otherwise group={said.image!r}",
            stacklevel=3,
        )


def _in_order(labels: list[str], column: str, where: str) -> tuple[str, ...]:
    """Labels in sorted order: by value if all are numbers."""
    values = number_column(labels)
    if values.dtype.kind not in "if" or np.isnan(values).any():
        return tuple(labels)
    equal = [label for label, value in zip(labels, values, strict=True) if sum(values == value) > 1]
    if equal:
        raise ValueError(
            f"{where} writes the same number in several ways in {column}: {listed(equal)}; use one "
            "way for each class"
        )
    return tuple(labels[row] for row in np.argsort(values))


def _pictures(
    archive: Archive, cells: Table, said: _Columns, rows: Sequence[int], *, where: str, warn: bool
) -> list[Picture]:
    """Picture and mask of each of the rows."""
    names = cells[said.image]
    asked = [names[row] for row in rows]
    if said.mask is not None:
        asked += [name for row in rows if (name := cells[said.mask][row])]
    members, find = archive.members, _finder(archive, archive.members)
    if not all(map(find, asked)):
        members, find = archive.deep, _finder(archive, archive.deep)
    images = _one_for_each([names[row] for row in rows], find, archive, where, "picture")
    if twice := [path for path, n in Counter(m.path for m in images).items() if n > 1]:
        cell = [f"{n} ({m.path})" for n, m in zip(asked, images, strict=False) if m.path in twice]
        raise ValueError(f"{where} has several rows for one picture: {listed(cell)}")
    if said.mask is None:
        masks = _masks_by_name(images, find, archive)
    else:
        column = [cells[said.mask][row] for row in rows]
        masks = _masks_by_column(column, images, find, archive, where)
    if warn:
        known = {member.path for member in (*images, *masks) if member is not None}
        of_table = names if said.mask is None else [*names, *cells[said.mask]]
        known |= {member.path for name in of_table for member in find(name)}
        _warn_of_others([m for m in members if m.path not in known], archive, where)
    return list(map(Picture, images, masks))


def _finder(archive: Archive, members: Iterable[Member]) -> Callable[[str], list[Member]]:
    """What finds the pictures that a name may mean: by its path, else by the end of one."""
    paths: dict[str, list[Member]] = {}
    ends: dict[str, list[Member]] = {}
    root = archive.root.resolve()
    top = as_path(root.name if root.is_dir() else root.stem)
    for member in members:
        suffix = member.suffix
        if suffix not in SUFFIXES:
            continue
        path = as_path(member.path)
        # A table beside the folder names its pictures with that folder.
        whole = [top, *path.split("/")]
        tails = ["/".join(whole[start:]) for start in range(len(whole))]
        for known, keys in ((paths, [path]), (ends, tails)):
            for key in keys:
                known.setdefault(key, []).append(member)
                known.setdefault(key[: -len(suffix)], []).append(member)

    def find(name: str) -> list[Member]:
        key = as_path(name)
        return paths.get(key) or ends.get(key) or []

    return find


def _one_for_each(
    names: Sequence[str],
    find: Callable[[str], list[Member]],
    archive: Archive,
    where: str,
    what: str,
) -> list[Member]:
    found = list(map(find, names))
    if missing := [name for name, files in zip(names, found, strict=True) if not files]:
        raise ValueError(
            f"{len(missing)} of {len(names)} rows of {where} have no {what} in {archive.root}: "
            f"{listed(missing)}; expected a path below it, or a file name with or without suffix "
            f"({' '.join(SUFFIXES)}){_in_other_letters(missing, archive)}{unreadable_zips(archive)}"
        )
    unclear = [
        f"{name} ({listed((member.path for member in files), 3)})"
        for name, files in zip(names, found, strict=True)
        if len(files) > 1
    ]
    if unclear:
        raise ValueError(
            f"{where} has names that fit several files of {archive.root}: {listed(unclear)}; give "
            "more of their paths"
        )
    return [files[0] for files in found]


def _in_other_letters(names: Sequence[str], archive: Archive) -> str:
    """Text for an error where the first names differ from those of files only in case."""
    meant = []
    for name in names[:_FEW]:
        end = f"/{as_path(name)}".casefold()
        for member in archive.deep:
            path = f"/{as_path(member.path)}".casefold()
            if member.suffix in SUFFIXES and end in (
                path[-len(end) :],
                path.removesuffix(member.suffix)[-len(end) :],
            ):
                meant.append(f"{name} ({member.path})")
                break
    return f"; names are case-sensitive: {listed(meant)}" if meant else ""


def _masks_by_column(
    column: Sequence[str],
    images: Sequence[Member],
    find: Callable[[str], list[Member]],
    archive: Archive,
    where: str,
) -> list[Member | None]:
    there = iter(_one_for_each([n for n in column if n], find, archive, where, "mask"))
    masks = [next(there) if name else None for name in column]
    if same := [image.path for image, mask in zip(images, masks, strict=True) if image is mask]:
        raise ValueError(f"{where} names pictures as their own masks: {listed(same)}")
    return masks


def _masks_by_name(
    images: Sequence[Member], find: Callable[[str], list[Member]], archive: Archive
) -> list[Member | None]:
    """The mask of each picture that has one: beside it, or elsewhere if the name is unique."""
    found = []
    for image in images:
        folder, slash, _ = image.path.rpartition("/")
        name = mask_name(image.stem)
        near, far = find(f"{folder}{slash}{name}"), find(name)
        found.append(_not_anothers(near, image, find) or _not_anothers(far, image, find))
    several = [listed((m.path for m in files), 3) for files in found if len(files) > 1]
    shared = Counter(files[0].path for files in found if files)
    several += [path for path, times in shared.items() if times > 1]
    if several:
        raise ValueError(
            f"several masks in {archive.root} fit the same picture: {listed(several)}; name the "
            "masks in a column of the table, and give that as mask="
        )
    return [files[0] if files else None for files in found]


def _not_anothers(
    masks: Iterable[Member], image: Member, find: Callable[[str], list[Member]]
) -> list[Member]:
    """The masks that are beside ``image``, or beside no picture of the same name."""
    left, own = [], image.path.rpartition("/")[0]
    for mask in masks:
        folder, slash, _ = mask.path.rpartition("/")
        # A mask found only by the end of its path is elsewhere.
        beside = {m.path.rpartition("/")[0] for m in find(f"{folder}{slash}{image.stem}")}
        if folder == own or folder not in beside:
            left.append(mask)
    return left


def _warn_of_others(members: Iterable[Member], archive: Archive, where: str) -> None:
    others = [
        member.path
        for member in members
        if member.name.lower().endswith(SUFFIXES) and not member.stem.endswith(mask_name(""))
    ]
    if others:
        warnings.warn(
            f"{where} has no row for {len(others)} pictures of {archive.root}, which are ignored: "
            f"{listed(others)}",
            stacklevel=4,
        )
