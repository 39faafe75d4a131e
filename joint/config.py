"""Everything that a run is, as data: checked, immutable, hashable, JSON.

The same models make the command line (``joint.cli``) and rebuild a saved run
(:func:`joint.load_run`).
"""

import difflib
import hashlib
import json
import math
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

import classify
import optics

from .checkpoint import write_atomically
from .codecs import CodecConfig, FactorizedConfig
from .folder import BEST_FILE, CHECKPOINT_FILE
from .front_ends import FrontEndConfig, KernelConfig, LensConfig
from .objective import Objective
from .settings import NoneConfig, Settings, added
from .system import Encoding
from .training import Training

__all__ = [
    "ClassFolders",
    "ClassifierConfig",
    "ConfigError",
    "DataConfig",
    "HAM10000Config",
    "ISICConfig",
    "MedMNISTConfig",
    "PhantomConfig",
    "RunConfig",
    "SceneFileConfig",
    "SensorConfig",
    "SplitConfig",
    "SystemConfig",
    "data_config",
    "load_config",
    "models_in",
    "save_config",
]

CONFIG_FILE = "config.json"


class ConfigError(ValueError):
    """A configuration that cannot be read; the message names the place and the remedy."""


# --------------------------------------------------------------------------------------- scenes


class PhantomConfig(Settings):
    """The embedded procedural lesions."""

    kind: Literal["phantom"] = "phantom"
    count: int = Field(default=1600, ge=1)
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
    groups: Path | None = added(None)
    """Table that says which pictures belong together, of one lesion or patient: a CSV of the
    columns image and group (or patient_id, or lesion_id); without, each is one of its own."""
    bit_depth: Literal[8, 16] | None = added(None)
    """16 keeps all bits of files that have as many; 8 reduces them, and so does the default, with a
    warning."""
    white_level: int = added(65535, ge=1, le=65535)
    """Code of pictures of 16 bits that is white, such as 4095 for those of a camera of 12 bits."""
    encoding: Encoding | None = added(None)
    """What the codes are: srgb, or linear, proportional to light; by default sRGB for 8 bits, and
    for 16, or with a white level, what the system takes them for."""


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
    PhantomConfig | HAM10000Config | ISICConfig | ClassFolders | MedMNISTConfig | SceneFileConfig,
    Field(discriminator="kind"),
]


class SplitConfig(Settings):
    """How the scenes are divided."""

    fractions: tuple[float, float, float] = (0.7, 0.2, 0.1)
    """Shares of training, validation and test."""
    by: Literal["lesion", "image"] = "lesion"
    """lesion keeps all pictures of a lesion together; image is the leaky split of many papers."""
    method: Literal["balanced", "hash"] = "balanced"
    """balanced keeps every class in proportion; with hash, a lesion stays where it is when others
    are added or removed."""
    folds: int | None = Field(default=None, ge=3)
    """Divide into this many folds instead: one for the test, the next for validation, the others
    for training; fractions and method are then of no account."""
    fold: int = Field(default=0, ge=0)
    """Which of the folds is the test part, from 0."""
    seed: int = 0
    """Source of the division."""

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if self.fold and not (self.folds and self.fold < self.folds):
            raise ValueError(
                f"fold={self.fold} is not there: there are {self.folds or 'no'} folds, counted "
                "from 0"
            )
        if self.folds is None:
            self._check_fractions()
        return self

    def _check_fractions(self) -> None:
        """As :func:`classify.split` would, before any data is read."""
        shares = self.fractions
        if min(shares) <= 0:
            raise ValueError(f"fractions must be positive, got {shares}")
        if not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise ValueError(f"fractions must sum to 1, but {shares} sum to {sum(shares):g}")


# --------------------------------------------------------------------------------------- system


class SensorConfig(Settings):
    """An image sensor, see optics.Sensor."""

    kind: Literal["sensor"] = "sensor"
    photons: float = Field(default=10_000.0, gt=0)
    """Mean photons on a pixel at full scale over the whole exposure time."""
    quantum_efficiency: float = Field(default=0.6, gt=0, le=1)
    """Electrons for each photon."""
    read_noise: float = Field(default=2.0, ge=0)
    """Noise of the read-out, electrons RMS."""
    dark_current: float = Field(default=0.0, ge=0)
    """Thermal electrons, electrons/s."""
    exposure_time: float = Field(default=0.01, gt=0)
    """Exposure time, s."""
    full_well: float | None = Field(default=None, gt=0)
    """Capacity of a pixel, electrons; unlimited by default."""
    bit_depth: int | None = Field(default=10, ge=1, le=16)
    """Resolution of the converter, bits; null does not round, and one DN is its whole range."""
    gain: float | None = Field(default=None, gt=0)
    """Electrons for one DN; by default full scale gives the top code."""
    black_level: float = Field(default=0, ge=0)
    """Offset of the converter, whole DN; keeps noise about zero from being cut."""
    prnu: float = Field(default=0.0, ge=0)
    """Spread of the pixels' sensitivities, fraction RMS."""
    dsnu: float = Field(default=0.0, ge=0)
    """Spread of the pixels' offsets in the dark, electrons RMS."""
    binning: int = Field(default=1, ge=1)
    """Side of the blocks of pixels whose charges are read as one."""
    cfa: str | None = None
    """Colour filter array of 2 x 2 pixels, such as rggb; without one a pixel sees all colours."""
    demosaicing: optics.Demosaicing = "bilinear"
    """Interpolation of the colours: bilinear, or the sharper malvar."""
    trainable_gain: bool = False
    """Learn the gain."""
    shot_noise: Literal["gaussian", "poisson", "none"] = "gaussian"
    """Exact (poisson), fast (gaussian), or none."""
    converter: optics.Converter = "straight_through"
    """Gradient of the converter; dithered is exact below half a DN of read noise too."""

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        # The sensor knows what fits together; a fault should show before any data is read.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optics.Sensor(**self.model_dump(exclude={"kind", "prnu", "dsnu"}))
        return self


class ClassifierConfig(Settings):
    """A classifier, see classify.backbone."""

    kind: Literal["classifier"] = "classifier"
    name: str = "resnet_s"
    """One of classify.BACKBONES."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in classify.BACKBONES:
            raise ValueError(f"no backbone is called {name!r}; choose from {[*classify.BACKBONES]}")
        return name

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the last layer."""
    head: Literal["linear", "cosine"] = "linear"
    """The last layer: linear, or of cosines, as a margin (LDAM) wants it."""
    weights: Path | None = None
    """State dict to start from, .safetensors or .pth."""


class SystemConfig(Settings):
    """Front end, sensor, codec, classifier."""

    front_end: FrontEndConfig = KernelConfig()
    """The camera element."""
    sensor: Annotated[SensorConfig | NoneConfig, Field(discriminator="kind")] = SensorConfig()
    """Photons to codes."""
    codec: CodecConfig = FactorizedConfig()
    """The compressor."""
    classifier: Annotated[ClassifierConfig | NoneConfig, Field(discriminator="kind")] = (
        ClassifierConfig()
    )
    """The judge."""
    encoding: Encoding = "srgb"
    """srgb: scenes are sRGB codes, linearised before the optics; linear: they are light."""
    seed: int = 0
    """Source of the initial weights."""

    @model_validator(mode="after")
    def _restores_what_is_read(self) -> Self:
        restores = isinstance(self.front_end, LensConfig) and self.front_end.restoration is not None
        if restores and isinstance(self.sensor, SensorConfig) and self.sensor.binning > 1:
            raise ValueError(
                "front_end.restoration undoes the blur on pixels of the scene, and "
                f"sensor.binning={self.sensor.binning} adds them up: set one of the two"
            )
        return self


class RunConfig(Settings):
    """One run: scenes, system, objective, training."""

    data: DataConfig = PhantomConfig()
    """The scenes."""
    split: SplitConfig = SplitConfig()
    """How they are divided."""
    system: SystemConfig = SystemConfig()
    """The stages."""
    objective: Objective = Objective(rate=0.1, distortion=10.0)
    """What is trained for."""
    training: Training = Training(monitor="balanced_accuracy")
    """How it is trained."""

    def canonical(self) -> str:
        """JSON with sorted keys: equal configurations give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, allow_nan=False)

    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of :meth:`canonical`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]


def data_config(source: Path | str, *, image_size: int = 128) -> DataConfig:
    """Configuration of the scenes at ``source``, by what lies there.

    ``phantom`` is the embedded default; an ``.npz`` file is one of scenes if it has ``images``,
    and otherwise MedMNIST; a folder that holds nothing but folders without a HAM10000 name is class
    folders; a folder with a ground truth of the ISIC challenges is ISIC; any other folder or zip is
    HAM10000, with a list of cross-lesion duplicates where one lies beside it.

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
        When nothing is there.
    """
    if str(source) == "phantom":
        return PhantomConfig(image_size=image_size)
    path = Path(source)
    if not path.exists():
        raise ConfigError(f"there is nothing at {path}; give a folder, a zip, or 'phantom'")
    if path.suffix == ".npz":
        return SceneFileConfig(path=path) if _holds_scenes(path) else MedMNISTConfig(path=path)
    if path.is_dir():
        entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        if any("groundtruth" in entry.name.lower() for entry in entries):
            return ISICConfig(root=path, image_size=image_size)
        named = any("ham10000" in entry.name.lower() for entry in entries)
        if entries and not named and all(entry.is_dir() for entry in entries):
            return ClassFolders(root=path, image_size=image_size)
    folder = path if path.is_dir() else path.parent
    duplicates = folder / "cross_lesion_duplicates.csv"
    return HAM10000Config(
        root=path,
        image_size=image_size,
        duplicates=duplicates if duplicates.is_file() else None,
    )


def _holds_scenes(path: Path) -> bool:
    """Whether an ``.npz`` is one of scenes; what is no file of arrays at all, its loader says."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "images.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def load_config(path: Path | str) -> RunConfig:
    """Read a configuration from JSON; ``path`` is the file or a run folder.

    Raises
    ------
    ConfigError
        When the file is missing or not JSON, or a key or value is not known; each is listed with
        its place, and the nearest known key.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CONFIG_FILE
    try:
        return RunConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        folder = path.parent
        written = any((folder / name).is_file() for name in (BEST_FILE, CHECKPOINT_FILE))
        if path.name == CONFIG_FILE and not path.exists() and written:
            raise ConfigError(
                f"{folder} has no {CONFIG_FILE}: it was written by joint.fit, which is given a "
                "system and no configuration. Build the system as it was built for fit, and load "
                "its weights with joint.load_fitted(system, directory), or those of its codec "
                "alone with joint.load_codec(directory, codec=codec)"
            ) from error
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        faults = "\n  ".join(_fault(fault) for fault in error.errors())
        raise ConfigError(f"{path} is not a valid configuration:\n  {faults}") from error


def save_config(config: RunConfig, directory: Path | str) -> None:
    """Write the ``config.json`` of ``config`` into ``directory``, whole or not at all."""
    text = json.dumps(config.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"
    write_atomically(Path(directory) / CONFIG_FILE, text.encode())


def _fault(fault: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] != "extra_forbidden":
        return f"{place}: {fault['msg']}, not {fault.get('input')!r}"
    *parents, key = fault["loc"]
    near = difflib.get_close_matches(str(key), _known_keys(parents), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{place}: no such key{hint}"


def _known_keys(parents: list[Any]) -> list[str]:
    """Keys of the model that a path of a validation error leads to (union tags included)."""
    models: list[Any] = [RunConfig]
    for part in parents:
        inner = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        if inner:
            models = [m for annotation in inner for m in models_in(annotation)]
        else:  # the tag of a union
            models = [
                m
                for m in models
                if m.model_fields.get("kind") is not None and m.model_fields["kind"].default == part
            ] or models
    return [key for model in models for key in model.model_fields]


def models_in(annotation: object) -> list[Any]:
    """Models of settings that an annotation allows, those in its unions included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in models_in(part)]
