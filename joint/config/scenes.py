"""The scenes of a run as data: what can be told of each source, what lies at a path, and loading.

::

    path ── data_config ──► DataConfig ── build_data ──► LesionDataset
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field

import classify
from classify.data.archive import Archive, passed_over
from classify.data.decode import SUFFIXES
from classify.data.folder import class_folders
from joint.settings import ConfigError, Settings, added
from joint.stages import Encoding

__all__ = [
    "ClassFolders",
    "DataConfig",
    "HAM10000Config",
    "ISICConfig",
    "ImageTableConfig",
    "MedMNISTConfig",
    "PhantomConfig",
    "SceneFileConfig",
    "build_data",
    "data_config",
    "read_like",
]

_TABLES = (".csv", ".tsv")
_DUPLICATES = "cross_lesion_duplicates.csv"  # what goes with HAM10000


class PhantomConfig(Settings):
    """The embedded procedural lesions."""

    kind: Literal["phantom"] = "phantom"
    # Many more than any memory holds.
    count: int = Field(default=1600, ge=1, le=10**9)
    """Pictures."""
    image_size: int = Field(default=64, ge=16, le=512)
    """Pixels along a side."""
    difficulty: float = Field(default=0.5, ge=0, le=1)
    """How often a class shows the structures of another."""
    contrast: float = Field(default=1.0, ge=0, le=2)
    """Scale of the lesion's difference to the skin."""
    balance: float = Field(default=0.5, ge=0, le=1)
    """Class shares are those of HAM10000 to this power: 1 is its imbalance, 0 none."""
    skin: Literal["light", "medium", "dark"] | tuple[float, float] = "light"
    """Healthy skin: a name, or a range of its melanosome fraction within 0 to 0.5."""
    blur: float = Field(default=0.0, ge=0, le=1e-3)
    """Standard deviation of a Gaussian blur on the skin, in metres."""
    wavelengths: tuple[float, ...] | None = None
    """Bands of a spectral camera in metres; red, green and blue by default."""
    bit_depth: Literal[8, 16] = added(8)
    """Of the codes; 8 bits err as much as the shot noise of 150 000 photons."""
    encoding: Encoding = added("srgb")
    """Codes by the curve of sRGB, or linear: proportional to light."""
    seed: int = Field(default=0, ge=0)
    """Source of the pictures."""


class HAM10000Config(Settings):
    """HAM10000 as downloaded: a folder or a zip."""

    kind: Literal["ham10000"] = "ham10000"
    root: Path
    """The folder or zip."""
    image_size: int = Field(default=128, ge=8, le=1024)
    """Pixels along a side."""
    geometry: Literal["crop", "squeeze"] = "crop"
    """Central square with isotropic pixels, or the whole frame squeezed to a square."""
    duplicates: Path | None = None
    """CSV of picture pairs that show one lesion under two names."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many pictures, in the class shares of the whole."""


class ISICConfig(Settings):
    """A part of the ISIC 2018 or 2019 challenge as downloaded: a folder or a zip."""

    kind: Literal["isic"] = "isic"
    root: Path
    """The folder or zip."""
    image_size: int = Field(default=128, ge=8, le=1024)
    """Pixels along a side."""
    geometry: Literal["crop", "squeeze"] = "crop"
    """Central square with isotropic pixels, or the whole frame squeezed to a square."""
    truth: Path | None = None
    """The ground truth, where root has several."""
    metadata: Path | None = None
    """The table of metadata, where root has several."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many pictures, in the class shares of the whole."""


class ClassFolders(Settings):
    """A folder for each class."""

    kind: Literal["folders"] = "folders"
    root: Path
    """Folder of the class folders."""
    image_size: int = Field(default=128, ge=8, le=1024)
    """Pixels along a side."""
    geometry: Literal["crop", "squeeze"] = "crop"
    """Central square with isotropic pixels, or the whole frame squeezed to a square."""
    classes: tuple[str, ...] | None = added(None)
    """The classes in the order that the labels shall have, some of which may have no folder; the
    folders, sorted, by default."""
    groups: Path | None = added(None)
    """Table that says which pictures belong together, of one lesion or patient: a CSV of the
    columns image and group (or patient_id, or lesion_id); without, each is one of its own."""
    bit_depth: Literal[8, 16] | None = added(None)
    """16 keeps all bits of files that have as many; 8 reduces them, and so does the default, with a
    warning."""
    white_level: int = added(65535, ge=1, le=65535)
    """Code of pictures of 16 bits that is white, such as 4095 for those of a camera of 12 bits."""
    channels: Literal[1, 3] | None = added(None)
    """1 for a camera without colours, whose grey is that of the files, or their colours' luminance;
    3 makes three equal ones of grey, and so does the default, with a warning."""
    encoding: Encoding | None = added(None)
    """What the codes are: srgb, or linear, proportional to light; by default sRGB for 8 bits, and
    for 16, or with a white level, what the system takes them for."""


class ImageTableConfig(Settings):
    """Pictures of a folder or zip, and a table that says what each shows."""

    kind: Literal["table"] = "table"
    table: Path
    """The table: a CSV, or text divided by tabs or semicolons; below root, or elsewhere."""
    root: Path | None = None
    """Folder or zip of the pictures; by default the folder of the table."""
    image: str | None = None
    """Column that names the pictures; by default image, image_name, image_id, isic_id, file_name,
    filename, file or path."""
    label: str = "label"
    """Column of the classes."""
    group: str | None = None
    """Column that says which pictures belong together, of one lesion or patient; by default group,
    patient_id or lesion_id, and without any each picture is one of its own."""
    mask: str | None = None
    """Column that names the masks; by default one is found as the picture's name and
    _segmentation."""
    classes: tuple[str, ...] | None = None
    """The classes in the order that the labels shall have, some of which may have no row; those of
    the table, sorted, by default."""
    image_size: int = Field(default=128, ge=8, le=1024)
    """Pixels along a side."""
    geometry: Literal["crop", "squeeze"] = "crop"
    """Central square with isotropic pixels, or the whole frame squeezed to a square."""
    bit_depth: Literal[8, 16] | None = None
    """16 keeps all bits of files that have as many; 8 reduces them, and so does the default, with a
    warning."""
    white_level: int = Field(default=65535, ge=1, le=65535)
    """Code of pictures of 16 bits that is white, such as 4095 for those of a camera of 12 bits."""
    channels: Literal[1, 3] | None = added(None)
    """1 for a camera without colours, whose grey is that of the files, or their colours' luminance;
    3 makes three equal ones of grey, and so does the default, with a warning."""
    encoding: Encoding | None = None
    """What the codes are: srgb, or linear, proportional to light; by default sRGB for 8 bits, and
    for 16, or with a white level, what the system takes them for."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many pictures, in the class shares of the whole."""


class MedMNISTConfig(Settings):
    """A MedMNIST file."""

    kind: Literal["medmnist"] = "medmnist"
    path: Path
    """The .npz file."""
    image_size: int | None = Field(default=None, ge=8, le=1024)
    """Pixels along a side; the file's own by default."""
    encoding: Encoding | None = added(None)
    """What the codes are: srgb, or linear, proportional to light; by default sRGB for colour
    pictures, and for grey ones what the system takes them for."""


class SceneFileConfig(Settings):
    """Scenes of any size, depth and number of channels in one file of arrays."""

    kind: Literal["file"] = "file"
    path: Path
    """The .npz file, see classify.SceneFile."""
    image_size: ClassVar[None] = None
    """As they are in the file."""


DataConfig = Annotated[
    PhantomConfig
    | HAM10000Config
    | ISICConfig
    | ClassFolders
    | ImageTableConfig
    | MedMNISTConfig
    | SceneFileConfig,
    Field(discriminator="kind"),
]


def data_config(source: Path | str, *, image_size: int = 128) -> DataConfig:
    """Configuration of the scenes at ``source``, by what lies there.

    ``phantom`` is the embedded default; an ``.npz`` file is one of scenes if it has ``images``,
    and otherwise MedMNIST; a ``.csv`` or ``.tsv`` is a table of labels; a folder that holds folders
    without a HAM10000 name, and beside them no pictures, tables or zips, is class folders, and so
    is a zip of one that has neither tables nor zips in it; a folder with a ground truth of the ISIC
    challenges is ISIC; one without a HAM10000 name and with one ``.csv`` is a table and its
    pictures; any other folder or zip is HAM10000, with a list of cross-lesion duplicates where one
    lies beside it.

    Parameters
    ----------
    source : path or str
    image_size : int, pixels
        Side of the scenes, where it is free.

    Returns
    -------
    DataConfig

    Raises
    ------
    ConfigError
        When nothing is there, or pictures without a table of their labels.
    """
    if str(source) == "phantom":
        return PhantomConfig(image_size=image_size)
    path = Path(source)
    if not path.exists():
        inside = path.suffix.lower() in _TABLES and not path.is_absolute()
        raise ConfigError(
            f"there is nothing at {path}; give a folder, a zip, or 'phantom'"
            + (
                "; a table inside a zip is read by a file of settings, with [data] kind = 'table', "
                "table and root (--config)"
                if inside
                else ""
            )
        )
    if path.suffix.lower() == ".npz":
        return SceneFileConfig(path=path) if _holds_scenes(path) else MedMNISTConfig(path=path)
    if path.suffix.lower() in _TABLES and path.is_file():
        return ImageTableConfig(table=path, image_size=image_size)
    if path.is_dir():
        entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        if any("groundtruth" in entry.name.lower() for entry in entries):
            return ISICConfig(root=path, image_size=image_size)
        named = any("ham10000" in entry.name.lower() for entry in entries)
        if not named and _are_class_folders(entries):
            return ClassFolders(root=path, image_size=image_size)
        if not named and (table := _table_beside_pictures(path, entries)):
            return ImageTableConfig(table=table, root=path, image_size=image_size)
    elif _is_zip_of_class_folders(path):
        return ClassFolders(root=path, image_size=image_size)
    folder = path if path.is_dir() else path.parent
    duplicates = folder / _DUPLICATES
    return HAM10000Config(
        root=path,
        image_size=image_size,
        duplicates=duplicates if duplicates.is_file() else None,
    )


_Data = TypeVar("_Data", bound=DataConfig)

# How files become codes, and what these are: not which pictures they are, nor their size.
_READING = ("geometry", "bit_depth", "white_level", "channels", "encoding")


def read_like(data: _Data, other: DataConfig) -> _Data:
    """Scenes that are read as those of another configuration are, as far as both kinds have it.

    So are scenes of one kind, and picture files as any scenes but those of the phantom, which are
    drawn. Others say themselves what they are.

    Parameters
    ----------
    data : DataConfig
        Of the scenes.
    other : DataConfig
        Which says the geometry, the depth, the white level, the channels and the encoding.

    Returns
    -------
    DataConfig
        That of the scenes, with these settings.
    """
    files = hasattr(data, "geometry") and not isinstance(other, PhantomConfig)
    if not (files or type(data) is type(other)):
        return data
    ours, theirs = type(data).model_fields, type(other).model_fields
    common = [name for name in _READING if name in ours and name in theirs]
    return data.model_copy(update={name: getattr(other, name) for name in common})


def _are_class_folders(entries: Sequence[Path]) -> bool:
    """Whether a folder holds folders, and beside them nothing that a data set consists of."""
    folders = [e for e in entries if e.is_dir() and not passed_over(f"{e.name}/_")]
    # HAM10000 as it was downloaded may lie one folder deeper.
    inside = (path for folder in folders for path in folder.glob("*[Hh][Aa][Mm]10000*"))
    data = {"", ".zip", *_TABLES}
    if any(path.is_file() and path.suffix.lower() in data for path in inside):
        return False
    beside = {entry.suffix.lower() for entry in entries if entry.is_file()}
    return bool(folders) and beside.isdisjoint({*SUFFIXES, *_TABLES, ".zip"})


def _is_zip_of_class_folders(path: Path) -> bool:
    """Whether a zip holds pictures in folders alone, and no other kind of data set.

    Tables and further zips count wherever they lie: HAM10000 and ISIC may be packed in one folder.
    """
    try:
        with Archive(path) as archive:
            depth, folders = class_folders(archive)
            members = archive.members
    except (OSError, ValueError):  # no usable zip, which its loader says
        return False
    pictures = [member for member in members if member.suffix in SUFFIXES]
    others = [member for member in members if member.suffix not in SUFFIXES]
    named = any("ham10000" in name.lower() for name in {*folders, *(m.name for m in others)})
    return (
        not named
        and {member.suffix for member in others}.isdisjoint({*_TABLES, ".zip"})
        and any(member.path.count("/") > depth for member in pictures)
    )


def _table_beside_pictures(folder: Path, entries: Sequence[Path]) -> Path | None:
    """The one table of a folder; None where zips or folders may hold HAM10000.

    HAM10000's loader knows its metadata by their file's name: under another, they are a table like
    any other, with ``label="dx"``.
    """
    suffixes = {entry.suffix.lower() for entry in entries if entry.is_file()}
    tables = [e for e in entries if e.suffix.lower() in _TABLES and e.name != _DUPLICATES]
    if len(tables) == 1 and ".zip" not in suffixes:
        return tables[0]
    if suffixes.isdisjoint(SUFFIXES):
        return None
    raise ConfigError(
        f"{folder} has pictures and {'several tables' if tables else 'no table of their labels'}: "
        f"give the table instead, and the folder as its root (--data labels.csv --data.root "
        f"{folder}), or sort the pictures into a folder for each class"
    )


def _holds_scenes(path: Path) -> bool:
    """Whether an ``.npz`` is one of scenes; what is no file of arrays at all, its loader says."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "images.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def build_data(config: DataConfig, *, progress: bool = False) -> classify.LesionDataset:
    """Load the scenes of a ``config``; with ``progress``, show a bar."""
    match config:
        case PhantomConfig():
            return classify.LesionPhantom(
                config.count,
                config.image_size,
                seed=config.seed,
                difficulty=config.difficulty,
                contrast=config.contrast,
                balance=config.balance,
                skin=config.skin,
                blur=config.blur,
                wavelengths=config.wavelengths,
                bit_depth=config.bit_depth,
                encoding=config.encoding,
                progress=progress,
            )
        case HAM10000Config():
            return classify.HAM10000(
                config.root,
                image_size=config.image_size,
                geometry=config.geometry,
                duplicates=config.duplicates,
                limit=config.limit,
                progress=progress,
            )
        case ISICConfig():
            return classify.ISIC(
                config.root,
                image_size=config.image_size,
                geometry=config.geometry,
                truth=config.truth,
                metadata=config.metadata,
                limit=config.limit,
                progress=progress,
            )
        case ClassFolders():
            return classify.ImageFolder(
                config.root,
                image_size=config.image_size,
                geometry=config.geometry,
                classes=config.classes,
                groups=config.groups,
                bit_depth=config.bit_depth,
                white_level=config.white_level,
                channels=config.channels,
                encoding=config.encoding,
                progress=progress,
            )
        case ImageTableConfig():
            return classify.ImageTable(
                config.table,
                config.root,
                image=config.image,
                label=config.label,
                group=config.group,
                mask=config.mask,
                classes=config.classes,
                image_size=config.image_size,
                geometry=config.geometry,
                bit_depth=config.bit_depth,
                white_level=config.white_level,
                channels=config.channels,
                encoding=config.encoding,
                limit=config.limit,
                progress=progress,
            )
        case MedMNISTConfig():
            return classify.MedMNIST(
                config.path, part="all", image_size=config.image_size, encoding=config.encoding
            )
        case SceneFileConfig():
            return classify.SceneFile(config.path)
