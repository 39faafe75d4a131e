"""Labelled folders: one folder of pictures for each class."""

import os
import posixpath
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from .archive import Archive, Member, listed, passed_over
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
from .decode import SUFFIXES, UNREAD, Decoder, Geometry, Picture
from .split import part_of
from .table import (
    GROUPS,
    IMAGES,
    as_path,
    check_grouped,
    check_once,
    coarser_columns,
    column_of,
    composed,
    may_group,
    paths_below,
    read_header,
    read_table,
    warn_of_alike,
    warn_of_placeholders,
)

__all__ = ["ImageFolder", "class_folders"]

_FEW = 10  # pictures that are looked for in other letters


def ImageFolder(
    root: str | os.PathLike[str],
    *,
    image_size: int = 128,
    geometry: Geometry = "crop",
    classes: Sequence[str] | None = None,
    groups: str | os.PathLike[str] | None = None,
    bit_depth: Literal[8, 16] | None = None,
    white_level: int = Decoder.white_level,
    channels: Literal[1, 3] | None = None,
    encoding: SceneEncoding | None = None,
    cache: CacheOption = None,
    workers: int | None = None,
    progress: bool = True,
) -> LesionDataset:
    """Load pictures in class folders, ``root/<class>/.../<file>``, from a folder or a zip.

    Folders do not say which pictures belong together (one lesion, one patient), which a split by
    lesion needs: give a table with ``groups``, or use :meth:`LesionDataset.grouped` on the result.
    Otherwise every picture is a group of its own, named like the picture: its path below ``root``.
    Files that are not pictures (``.jpg .jpeg .jpe .jfif .png .bmp .tif .tiff .webp``), or are
    beside the class folders, are ignored.

    A divided data set, ``root/<part>/<class>/.../<file>`` with only folders called ``train``,
    ``val``, ``test`` or another name of :func:`given_split`, gets the classes of all parts and a
    column ``part``: ``given_split(dataset, dataset.metadata["part"])``.

    Parameters
    ----------
    root : path
        Folder, or zip with the class folders at its top or in one folder there.
    image_size : int, pixels
        Side of the square pictures, 8 to 1024.
    geometry : {"crop", "squeeze"}
        ``crop`` takes the centred square of the frame; ``squeeze`` scales the whole frame to one.
    classes : sequence of str, optional
        The class folders in the wanted order of labels; it may include classes without a folder
        here, such as those of a run. By default the folders, sorted as text: ``10`` comes before
        ``2``. Accented letters, also of groups, are converted to Unicode's NFC.
    groups : path, optional
        CSV, or tab-separated text, with a column ``image`` (or ``file``, or another one of
        :func:`ImageTable`) and a column ``group`` (or ``patient_id``, or ``lesion_id``: the first
        of these three; else the only one with the name of a group, such as ``scene`` or ``Subject
        ID``). An image is named by its path below ``root``, or by the end of that path, at least
        the file name, with or without suffix; or by an absolute path, or one with ``..`` from the
        folder of the table. Every picture needs a row; other rows are ignored.
    bit_depth : {8, 16}, optional
        Bits of the codes. 16 keeps those of PNG and TIFF files, grey or colour, and refuses files
        of another depth. 8 reduces 16-bit files, and so does the default, with a warning.
    white_level : int
        Code that is white in 16-bit pictures: 4095 for a 12-bit camera that fills the low bits.
        8-bit pictures are not changed, with a warning.
    channels : {1, 3}, optional
        1 for a monochrome camera: grey files are kept, and colours become the luminance of their
        codes (ITU-R BT.709). 3 makes three equal channels of grey, each of which has its own light
        and noise in a sensor; so does the default, with a warning if all pictures are grey.
    encoding : {"srgb", "linear"}, optional
        Meaning of the codes, see :class:`LesionDataset`. By default 8-bit codes are sRGB, as in
        picture files; with ``bit_depth=16`` or a ``white_level`` they may be raw data of a camera,
        and the encoding is None. Files with another colour profile are converted to sRGB, unless 16
        bits are kept, ``white_level`` is given, or the encoding is linear.
    cache, workers, progress
        As in :func:`HAM10000`. A picture replaced by another one of equal size and modification
        time is not noticed: then delete the cache.

    Returns
    -------
    LesionDataset

    Raises
    ------
    FileNotFoundError
        When ``root`` or ``groups`` does not exist.
    ValueError
        When there are no class folders, one of them has no picture, ``classes`` lacks one or lists
        one twice, or pictures cannot be used. The message lists all of them. When the table of
        groups lacks a column or pictures, or is ambiguous. When an option is unknown.
    TypeError
        When ``groups`` is not a path.
    OSError
        When the cache cannot be written.

    Warns
    -----
    UserWarning
        When there is only one class, and ``classes`` is not given; when a class of ``classes`` has
        no folder; when all pictures are grey and ``channels`` is not given; when pictures have
        transparent parts, have codes above ``white_level``, become nearly black, lose bits, or have
        a colour profile that is not applied, as where 16 bits are kept; when classes have names of
        the parts of a split. When class folders contain pictures of a format that is not read
        (``.heic .gif .jp2 .dcm`` ...), or their names differ only in case or spaces. When the table
        of groups has a column that joins whole groups, as patients join lesions, and the used
        column is not called ``group``; when names of groups differ only in case or spaces, or as
        ``1``, ``01``, ``1.0``; or when a group that looks like a placeholder for an unknown value
        (``?``, ``9999``) has more than a fifth of at least 20 pictures.
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
    if groups is not None and not isinstance(groups, str | os.PathLike):
        raise TypeError(
            f"groups must be the path of a table, not {type(groups).__name__}: pass groups in "
            "memory to .grouped(groups) of the returned data set, in the order of its identifiers"
        )
    with Archive(root) as archive:
        by_class, parts = _by_class(archive)
        names = _class_names(archive, by_class, classes)
        rows = [
            (label, member) for label, name in enumerate(names) for member in by_class.get(name, [])
        ]
        members = [member for _, member in rows]
        identifiers = [member.path for member in members]
        together = identifiers
        if groups is not None:
            together = _groups(Path(groups), identifiers, archive.root)
        pixels = load_pixels(
            archive,
            lambda: [Picture(member) for member in members],
            identifiers=identifiers,
            members=members,
            decoder=decoder,
            cache=cache,
        )
    labels = [label for label, _ in rows]
    if classes is None:
        or_else = "" if parts or len(names) > 1 else _of_folders_below(archive, members)
        warn_of_classes(labels, names, where=str(root), or_else=or_else)
    else:
        warn_of_absent(by_class, names, where=str(root))
    if channels is None:
        warn_of_grey(pixels.images, where=str(root))
    dataset = LesionDataset(
        images=pixels.images,
        labels=labels,
        groups=identifiers,
        identifiers=identifiers,
        classes=names,
        metadata={"part": np.array([parts[name] for name in identifiers])} if parts else None,
        fingerprint=content_hash(pixels.digest, names, labels, identifiers),
    ).taken_as(decoder.encoding if encoding is None else encoding)
    return dataset if groups is None else dataset.grouped(together)


def _groups(path: Path, identifiers: Sequence[str], root: Path) -> list[str]:
    """Group of each picture, by a table that names it by its path or the end of that."""
    path = path.expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no table of groups at {path}")
    content = path.read_bytes()
    header = read_header(content)
    image = column_of(IMAGES, header) or IMAGES[0]
    table = read_table(content, (image,), str(path))
    column = column_of(GROUPS, header)
    others = [name for name in table if may_group(name)]
    if column is None and len(others) == 1:  # it is here to say what belongs together
        column = others[0]
    if column is None:
        raise ValueError(
            f"{path} has no column of groups: it needs one of the columns {', '.join(GROUPS)}, and "
            f"has {', '.join(table)}"
        )
    for name, values in coarser_columns(table, column).items():
        warnings.warn(
            f"the groups of {path} are the {len(set(table[column]))} of {column!r}, and its column "
            f"{name!r} of {values} values joins them: call the one that a split must not divide "
            f"{GROUPS[0]!r}",
            stacklevel=3,
        )
    groups = list(map(composed, table[column]))
    warn_of_alike(groups, what="group", where=str(path), column=column, numbers=True, stacklevel=3)
    names = [*map(as_path, paths_below(table[image], path.parent, root))]
    check_once(names, str(path))
    group_of = dict(zip(names, groups, strict=True))
    top = root.resolve().name if root.is_dir() else root.stem
    keys = [_key(identifier, group_of, top, str(path)) for identifier in identifiers]
    together = [group_of.get(key, "") for key in keys]
    without = [name for name, key in zip(identifiers, keys, strict=True) if not key]
    hint = _in_other_letters(without, names, top)
    check_grouped(identifiers, together, column=column, where=str(path), hint=hint)
    warn_of_placeholders(together, where=str(path), column=column, stacklevel=3)
    if unclear := [key for key, times in Counter(keys).items() if times > 1]:
        raise ValueError(
            f"{path} has rows whose names fit several pictures: {listed(unclear)}; give their "
            "paths below the folder"
        )
    return together


def _key(identifier: str, known: dict[str, str], root: str, where: str) -> str:
    """Name of a picture in a table: its path, or an end of that, also without the suffix."""
    # A table beside the folder names its pictures with that folder.
    path = [as_path(root), *as_path(identifier).split("/")]
    for start in range(len(path)):
        name = "/".join(path[start:])
        found = [key for key in (name, name.rpartition(".")[0]) if key in known]
        if len({known[key] for key in found}) > 1:
            raise ValueError(f"{where} has several groups for one picture: {listed(found)}")
        if found:
            return found[0]
    return ""


def _in_other_letters(identifiers: Sequence[str], names: Sequence[str], root: str) -> str:
    """What an error adds where a table has the first pictures but for their capital letters."""
    small = {name.casefold(): name for name in names}
    known = dict.fromkeys(small, "")
    keys = [_key(i.casefold(), known, root.casefold(), "") for i in identifiers[:_FEW]]
    meant = [f"{small[key]} ({i})" for key, i in zip(keys, identifiers, strict=False) if key]
    return f"; names are case-sensitive: {listed(meant)}" if meant else ""


def _by_class(archive: Archive) -> tuple[dict[str, list[Member]], dict[str, str]]:
    """Pictures of each class folder, also of those that have none; the part of each, where said."""
    depth, folders = class_folders(archive)
    pictures = [member for member in archive.members if member.suffix in SUFFIXES]
    split = {member.path: member.path.split("/")[depth:] for member in pictures}
    inside = {path: below for path, below in split.items() if len(below) > 1}
    called = sorted(filter(part_of, folders))
    direct = [path for path, below in inside.items() if part_of(below[0]) and len(below) == 2]
    if len(called) == len(folders) > 1 and inside and not direct:
        classes = {path: composed(below[1]) for path, below in inside.items()}
        parts = {path: part_of(below[0]) for path, below in inside.items()}
    else:
        classes = {path: composed(below[0]) for path, below in inside.items()}
        parts = {}
        if len(called) > 1:
            others = sorted(set(folders) - set(called))
            beside = [*(f"{name}/" for name in others), *direct]
            warnings.warn(
                f"classes of {archive.root} have names of parts of a split: {listed(called)}. If "
                "they are parts, keep only <part>/<class>/<picture> there: remove "
                f"{listed(beside, 3)}",
                stacklevel=3,
            )
    unread = [m.path for m in archive.members if m.suffix in UNREAD]
    if unread := [path for path in unread if path.count("/") > depth]:
        warnings.warn(
            f"{len(unread)} files of {archive.root} are pictures of a format that is not read, and "
            f"are ignored: {listed(unread, 3)}; save them as PNG, or remove them",
            stacklevel=3,
        )
    known = classes.values() if parts else map(composed, folders)
    found: dict[str, list[Member]] = {name: [] for name in sorted(set(known))}
    for member in pictures:
        if member.path in classes:
            found[classes[member.path]].append(member)
    return found, parts


def _of_folders_below(archive: Archive, members: Sequence[Member]) -> str:
    """Name the folders that may be the classes, where all pictures lie below one that is none."""
    folders = [member.path.split("/")[:-1] for member in members]
    top = posixpath.commonpath(map("/".join, folders)).split("/")
    below = sorted({folder[len(top)] for folder in folders if len(folder) > len(top)})
    if len(below) < 2:
        return ""
    give = archive.root.joinpath(*top) if archive.root.is_dir() else f"a zip of {'/'.join(top)}"
    return f"; or, if the classes are the folders below it, {listed(below)}, give {give}"


def class_folders(archive: Archive) -> tuple[int, set[str]]:
    """How deep in an archive the folders lie that may be classes, and their names."""
    if archive.root.is_dir():
        folders = {entry.name for entry in archive.root.iterdir() if entry.is_dir()}
        return 0, {name for name in folders if not passed_over(f"{name}/_")}
    paths = [member.path.split("/") for member in archive.members]
    # Most zips hold the one folder that was packed, and some a file or two beside it.
    tops = {path[0] for path in paths if len(path) > 1}
    depth = int(len(tops) == 1 and any(len(path) > 2 for path in paths))
    return depth, {path[depth] for path in paths if len(path) > depth + 1}


def _class_names(
    archive: Archive, by_class: dict[str, list[Member]], classes: Sequence[str] | None
) -> list[str]:
    if not by_class:
        raise ValueError(
            f"{archive.root} has no class folders; expected one folder of pictures for each class"
        )
    warn_of_alike(
        list(by_class),
        what="class",
        where=str(archive.root),
        column="the names of its folders",
        numbers=False,
        stacklevel=3,
    )
    names = sorted(by_class) if classes is None else [composed(str(n)) for n in classes]
    if len(set(names)) < len(names) or not by_class.keys() <= set(names):
        raise ValueError(
            f"classes must name each class folder of {archive.root} once: it has "
            f"{listed(sorted(by_class))}, got {listed(names)}"
        )
    if empty := [name for name in sorted(by_class) if not by_class[name]]:
        raise ValueError(
            f"{archive.root} has class folders without a picture ({' '.join(SUFFIXES)}): "
            f"{listed(empty)}; fill or remove them, or convert pictures of other formats"
        )
    return names
