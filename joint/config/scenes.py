"""Data sets of a run: the configuration of each kind, recognition of a path, and loading.

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
from joint.settings import ConfigError, Settings
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
    """Procedural skin lesions that the library generates."""

    kind: Literal["phantom"] = "phantom"
    # Far more than fit into any memory.
    count: int = Field(default=1600, ge=1, le=10**9)
    """Number of pictures."""
    image_size: int = Field(default=64, ge=16, le=512)
    """Pixels along a side."""
    difficulty: float = Field(default=0.5, ge=0, le=1)
    """How often a lesion shows the structures of another class."""
    contrast: float = Field(default=1.0, ge=0, le=2)
    """Scale of the difference between lesion and skin."""
    balance: float = Field(default=0.5, ge=0, le=1)
    """Exponent on the class shares of HAM10000: 1 gives its imbalance, 0 equal shares."""
    skin: Literal["light", "medium", "dark"] | tuple[float, float] = "light"
    """Healthy skin: a name, or a range of its melanosome fraction within 0 to 0.5."""
    blur: float = Field(default=0.0, ge=0, le=1e-3)
    """Standard deviation of a Gaussian blur on the skin, in metres."""
    wavelengths: tuple[float, ...] | None = None
    """Wavelengths of the bands of a spectral camera, metres; red, green and blue by default."""
    bit_depth: Literal[8, 16] = 8
    """Bits of the codes; rounding to 8 bits errs as much as the shot noise of 150 000 photons."""
    encoding: Encoding = "srgb"
    """srgb: codes by the sRGB curve; linear: codes proportional to light."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the pictures."""


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
    """CSV of picture pairs that show the same lesion under two lesion names."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many pictures, in the class shares of the whole."""


class ISICConfig(Settings):
    """Pictures of the ISIC 2018 or 2019 challenge as downloaded: a folder or a zip."""

    kind: Literal["isic"] = "isic"
    root: Path
    """The folder or zip."""
    image_size: int = Field(default=128, ge=8, le=1024)
    """Pixels along a side."""
    geometry: Literal["crop", "squeeze"] = "crop"
    """Central square with isotropic pixels, or the whole frame squeezed to a square."""
    truth: Path | None = None
    """The ground truth table, needed if root has several."""
    metadata: Path | None = None
    """The metadata table, needed if root has several."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many pictures, in the class shares of the whole."""


class ClassFolders(Settings):
    """Pictures in one folder per class."""

    kind: Literal["folders"] = "folders"
    root: Path
    """Folder that holds the class folders."""
    image_size: int = Field(default=128, ge=8, le=1024)
    """Pixels along a side."""
    geometry: Literal["crop", "squeeze"] = "crop"
    """Central square with isotropic pixels, or the whole frame squeezed to a square."""
    classes: tuple[str, ...] | None = None
    """Class names in the order of the labels; a class may have no folder. By default the folder
    names, sorted."""
    groups: Path | None = None
    """Table that assigns pictures to groups, such as lesions or patients: a CSV with the columns
    image and group (or patient_id, or lesion_id). Without it each picture is its own group."""
    bit_depth: Literal[8, 16] | None = None
    """16 keeps all bits of 16-bit files; 8 reduces them to 8 bits. The default reduces them, too,
    with a warning."""
    white_level: int = Field(default=65535, ge=1, le=65535)
    """White code of 16-bit pictures, such as 4095 for those of a 12-bit camera."""
    channels: Literal[1, 3] | None = None
    """1 for a monochrome camera: the grey of the files, or the luminance of colour files. 3 copies
    grey to three equal channels. The default copies it, too, with a warning."""
    encoding: Encoding | None = None
    """Meaning of the codes: srgb, or linear, proportional to light. By default sRGB for 8 bits; for
    16 bits, or with a white level, the encoding of the system."""


class ImageTableConfig(Settings):
    """Pictures in a folder or zip, and a table with their labels."""

    kind: Literal["table"] = "table"
    table: Path
    """The table: a CSV, or text separated by tabs or semicolons; inside root, or elsewhere."""
    root: Path | None = None
    """Folder or zip of the pictures; by default the folder of the table."""
    image: str | None = None
    """Column of the file names of the pictures; by default image, image_name, image_id, isic_id,
    file_name, filename, file or path."""
    label: str = "label"
    """Column of the class names."""
    group: str | None = None
    """Column that assigns pictures to groups, such as lesions or patients; by default group,
    patient_id or lesion_id. Without such a column each picture is its own group."""
    mask: str | None = None
    """Column of the file names of the masks; by default a mask has the picture's name with
    _segmentation."""
    classes: tuple[str, ...] | None = None
    """Class names in the order of the labels; a class may have no row. By default those of the
    table, sorted."""
    image_size: int = Field(default=128, ge=8, le=1024)
    """Pixels along a side."""
    geometry: Literal["crop", "squeeze"] = "crop"
    """Central square with isotropic pixels, or the whole frame squeezed to a square."""
    bit_depth: Literal[8, 16] | None = None
    """16 keeps all bits of 16-bit files; 8 reduces them to 8 bits. The default reduces them, too,
    with a warning."""
    white_level: int = Field(default=65535, ge=1, le=65535)
    """White code of 16-bit pictures, such as 4095 for those of a 12-bit camera."""
    channels: Literal[1, 3] | None = None
    """1 for a monochrome camera: the grey of the files, or the luminance of colour files. 3 copies
    grey to three equal channels. The default copies it, too, with a warning."""
    encoding: Encoding | None = None
    """Meaning of the codes: srgb, or linear, proportional to light. By default sRGB for 8 bits; for
    16 bits, or with a white level, the encoding of the system."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many pictures, in the class shares of the whole."""


class MedMNISTConfig(Settings):
    """A MedMNIST file."""

    kind: Literal["medmnist"] = "medmnist"
    path: Path
    """The .npz file."""
    image_size: int | None = Field(default=None, ge=8, le=1024)
    """Pixels along a side; the file's own by default."""
    encoding: Encoding | None = None
    """Meaning of the codes: srgb, or linear, proportional to light. By default sRGB for colour
    pictures; for grey ones the encoding of the system."""


class SceneFileConfig(Settings):
    """Scenes of any size, bit depth and number of channels in one file of arrays."""

    kind: Literal["file"] = "file"
    path: Path
    """The .npz file, see classify.SceneFile."""
    image_size: ClassVar[None] = None
    """None: scenes keep the size of the file."""


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
    """Configuration of the scenes at ``source``; the kind is recognised from what is there.

    - ``phantom``: the generated lesions of the library.
    - An ``.npz`` file: scenes if it has ``images``, otherwise MedMNIST.
    - A ``.csv`` or ``.tsv``: a table of labels.
    - A folder with a ground truth of the ISIC challenges: ISIC.
    - A folder of folders without a HAM10000 name, and without pictures, tables or zips beside
      them: class folders. So is a zip of such a folder that has no tables or zips inside.
    - A folder without a HAM10000 name and with one ``.csv``: a table and its pictures.
    - Any other folder or zip: HAM10000, with a list of cross-lesion duplicates if there is one
      beside it.

    Parameters
    ----------
    source : path or str
    image_size : int, pixels
        Side of the scenes, unless the file fixes it.

    Returns
    -------
    DataConfig

    Raises
    ------
    ConfigError
        When nothing is there, or when pictures have no table of labels, or several.
    """
    if str(source) == "phantom":
        return PhantomConfig(image_size=image_size)
    path = Path(source)
    if not path.exists():
        inside = path.suffix.lower() in _TABLES and not path.is_absolute()
        raise ConfigError(
            f"there is nothing at {path}; give a folder, a zip, or 'phantom'"
            + (
                "; for a table inside a zip, give [data] kind = 'table', table and root in a "
                "settings file (--config)"
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

# Settings of how files are decoded and what their codes mean; not the choice of pictures or size.
_READING = ("geometry", "bit_depth", "white_level", "channels", "encoding")


def read_like(data: _Data, other: DataConfig) -> _Data:
    """Configuration of scenes with the reading settings of another one, as far as both have them.

    This applies to two configurations of one kind, and to picture files with any ``other`` but the
    phantom, which has no files. All others are returned unchanged.

    Parameters
    ----------
    data : DataConfig
        Configuration of the scenes.
    other : DataConfig
        Source of geometry, bit depth, white level, channels and encoding.

    Returns
    -------
    DataConfig
        ``data`` with these settings.
    """
    files = hasattr(data, "geometry") and not isinstance(other, PhantomConfig)
    if not (files or type(data) is type(other)):
        return data
    ours, theirs = type(data).model_fields, type(other).model_fields
    common = [name for name in _READING if name in ours and name in theirs]
    return data.model_copy(update={name: getattr(other, name) for name in common})


def _are_class_folders(entries: Sequence[Path]) -> bool:
    """Whether a folder holds folders, and no pictures, tables or zips beside them."""
    folders = [e for e in entries if e.is_dir() and not passed_over(f"{e.name}/_")]
    # HAM10000 as it was downloaded may lie one folder deeper.
    inside = (path for folder in folders for path in folder.glob("*[Hh][Aa][Mm]10000*"))
    data = {"", ".zip", *_TABLES}
    if any(path.is_file() and path.suffix.lower() in data for path in inside):
        return False
    beside = {entry.suffix.lower() for entry in entries if entry.is_file()}
    return bool(folders) and beside.isdisjoint({*SUFFIXES, *_TABLES, ".zip"})


def _is_zip_of_class_folders(path: Path) -> bool:
    """Whether a zip holds pictures only in folders, and no other kind of data set.

    Tables and further zips count wherever they lie: HAM10000 and ISIC may be packed in one folder.
    """
    try:
        with Archive(path) as archive:
            depth, folders = class_folders(archive)
            members = archive.members
    except (OSError, ValueError):  # no usable zip; the loader reports it
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
    """The only table of a folder; None if zips or folders may hold HAM10000.

    The loader of HAM10000 finds its metadata by the file name. Under another name they are an
    ordinary table, with ``label="dx"``.
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
    """Whether an ``.npz`` file holds scenes; an invalid file is reported by its loader."""
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
