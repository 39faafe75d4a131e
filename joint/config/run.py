"""The configuration of a run: checked, immutable, hashable data that can be written as JSON.

The same models define the command line (``joint.cli``) and rebuild a saved run
(:func:`joint.load_run`).
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from joint.objective import Objective
from joint.parse import parse_toml, with_nulls
from joint.saved.checkpoint import write_atomically
from joint.saved.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    as_path,
)
from joint.settings import ConfigError, NoneConfig, Settings
from joint.stages import STAGES, Encoding
from joint.train.training import Training

from .classifier import ClassifierConfig
from .codecs import CodecConfig, FactorizedConfig
from .compound import CompoundConfig
from .custom import CustomConfig, check_custom
from .faults import fault_line
from .front_ends import FrontEndConfig, KernelConfig, LensConfig, ShutterConfig, lens_of
from .psf import PSFConfig
from .restoration import RestorationConfig
from .scenes import DataConfig, PhantomConfig
from .sensor import SensorConfig

__all__ = [
    "RunConfig",
    "SplitConfig",
    "SystemConfig",
    "load_config",
    "run_directory",
    "save_config",
]


# ---------------------------------------------------------------------------------------- split


class SplitConfig(Settings):
    """Division of the scenes into training, validation and test."""

    fractions: tuple[float, float, float] = (0.7, 0.2, 0.1)
    """Shares of training, validation and test."""
    by: Literal["lesion", "image"] = "lesion"
    """lesion keeps all pictures of a lesion in one part; image divides single pictures, which lets
    a lesion leak into several parts, as in many papers."""
    method: Literal["balanced", "hash"] = "balanced"
    """balanced keeps the class shares equal in all parts; with hash, a lesion stays in its part
    when others are added or removed."""
    folds: int | None = Field(default=None, ge=3)
    """Divide into this many folds instead: one for test, the next for validation, the others for
    training. fractions and method are then ignored."""
    fold: int = Field(default=0, ge=0)
    """Index of the fold that is the test part, from 0."""
    seed: int = 0
    """Random seed of the division."""
    column: str | None = None
    """Column of the data set that assigns each picture to train, validation (or val) or test.
    fractions, by, method and seed are then ignored."""

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if self.column is not None and self.folds is not None:
            raise ValueError(
                f"column={self.column!r} and folds={self.folds} both divide the pictures: give one "
                "of the two"
            )
        if self.fold and not (self.folds and self.fold < self.folds):
            raise ValueError(
                f"fold={self.fold} does not exist: there are {self.folds or 'no'} folds, counted "
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


def _with_kinds(settings: type[Settings], given: Any) -> Any:  # noqa: ANN401 - whatever is given
    """The same tables, with the default's kind in those without a kind whose keys it all has.

    As on the command line, where ``--system.sensor.photons 300`` needs no kind.
    """
    if not isinstance(given, Mapping):
        return given
    merged = dict(given)
    for name, field in settings.model_fields.items():
        own, default = given.get(name), field.default
        if not (isinstance(own, Mapping) and isinstance(default, Settings)) or "kind" in own:
            continue
        known = type(default).model_fields
        if "kind" in known and own.keys() <= known.keys():
            merged[name] = {"kind": known["kind"].default, **own}
    return merged


class SystemConfig(Settings):
    """The stages of a system: front end, sensor, restoration, codec and classifier."""

    front_end: FrontEndConfig = KernelConfig()
    """The optics: a lens or another element in front of the sensor."""
    sensor: Annotated[SensorConfig | NoneConfig, Field(discriminator="kind")] = SensorConfig()
    """The image sensor, which converts photons to codes."""
    restoration: RestorationConfig = NoneConfig()
    """Network that restores the sensor's picture before codec and classifier."""
    codec: CodecConfig = FactorizedConfig()
    """The image codec, which compresses the picture."""
    classifier: Annotated[
        ClassifierConfig | CustomConfig | NoneConfig, Field(discriminator="kind")
    ] = ClassifierConfig()
    """The classifier, which assigns the picture to a class."""
    encoding: Encoding = "srgb"
    """srgb: scenes are sRGB codes, which are linearised before the optics; linear: scenes are
    proportional to light."""
    # What torch.manual_seed takes.
    seed: int = Field(default=0, ge=-(2**63), lt=2**64)
    """Random seed of the initial weights."""

    @model_validator(mode="before")
    @classmethod
    def _of_default_kinds(cls, given: object) -> object:
        return _with_kinds(cls, given)

    @model_validator(mode="after")
    def _restores_what_is_read(self) -> Self:
        path, lens = lens_of(self.front_end)
        restores = isinstance(lens, LensConfig | PSFConfig) and lens.restoration
        if restores and isinstance(self.sensor, SensorConfig) and self.sensor.binning > 1:
            raise ValueError(
                f"{path}.restoration undoes the blur on single pixels, but "
                f"sensor.binning={self.sensor.binning} sums them: set one of the two"
            )
        if restores and isinstance(self.sensor, SensorConfig) and self.sensor.hands_on_mosaic:
            raise ValueError(
                f"{path}.restoration undoes the blur of pictures in full colour, but "
                f"sensor.demosaicing={self.sensor.demosaicing!r} gives the mosaic: set "
                "sensor.demosaicing='bilinear' or 'malvar', or leave out the restoration"
            )
        return self

    @model_validator(mode="after")
    def _counts_light_once(self) -> Self:
        (path, lens), sensor = lens_of(self.front_end), self.sensor
        if lens is None or not isinstance(sensor, SensorConfig):
            return self
        divided = lens.colour.filters != "none" and lens.colour.share != 1
        if sensor.cfa is not None and divided:
            raise ValueError(
                f"sensor.cfa={sensor.cfa!r} puts each pixel behind a single filter, which receives "
                f"all of its light: set {path}.colour.share=1"
            )
        return self

    @model_validator(mode="after")
    def _blurs(self) -> Self:
        # Not in PSFConfig: a kind is chosen before its options are read.
        path, lens = lens_of(self.front_end)
        if isinstance(lens, PSFConfig) and lens.file is None and not lens.trained:
            raise ValueError(
                f"{path}.kind='psf' without a file is a point, which blurs nothing: give "
                f"{path}.file, or {path}.trained=true to learn from a point"
            )
        return self

    def without_files(self) -> Self:
        """The same stages without the files of initial weights, which a checkpoint replaces.

        A system that is built from it has the same architecture, and needs weights.
        """
        system, (_, lens) = self, lens_of(self.front_end)
        if isinstance(self.classifier, ClassifierConfig):
            judge = self.classifier.model_copy(update={"weights": None})
            system = system.model_copy(update={"classifier": judge})
        if isinstance(lens, PSFConfig):
            system = system.with_lens(lens.model_copy(update={"file": None}))
        return system

    def files(self) -> tuple[Path, ...]:
        """The files that :meth:`without_files` leaves out."""
        judge, (_, lens) = self.classifier, lens_of(self.front_end)
        given = (
            judge.weights if isinstance(judge, ClassifierConfig) else None,
            lens.file if isinstance(lens, PSFConfig) else None,
        )
        return tuple(path for path in given if path is not None)

    def with_lens(self, lens: LensConfig | PSFConfig | CompoundConfig) -> Self:
        """The same stages with this ``lens``; with a shutter, it replaces the shutter's lens."""
        front_end: Settings = lens
        if isinstance(self.front_end, ShutterConfig):
            front_end = self.front_end.model_copy(update={"lens": lens})
        return self.model_copy(update={"front_end": front_end})


class RunConfig(Settings):
    """The configuration of a run: scenes, system, objective and training."""

    data: DataConfig = PhantomConfig()
    """The data set of scenes."""
    split: SplitConfig = SplitConfig()
    """Division of the scenes into training, validation and test."""
    system: SystemConfig = SystemConfig()
    """The stages of the system."""

    @field_validator("system")
    @classmethod
    def _at_the_bands_of_the_scenes(
        cls, system: SystemConfig, info: ValidationInfo
    ) -> SystemConfig:
        data, (path, lens) = info.data.get("data"), lens_of(system.front_end)
        bands = data.wavelengths if isinstance(data, PhantomConfig) else None
        if lens is None or bands is None:
            return system
        if getattr(lens, "spectral_response", ()):
            return system  # its wavelengths are those within each channel
        if lens.wavelengths not in (None, bands):
            raise ValueError(
                f"{path}.wavelengths {lens.wavelengths} are not those of the scenes, "
                f"data.wavelengths {bands}: leave them out, or give the same"
            )
        if isinstance(lens, PSFConfig):  # it checks for itself whether it needs them
            return system
        lens = type(lens).model_validate({**dict(lens), "wavelengths": bands})
        return system.with_lens(lens)

    objective: Objective = Objective(rate=0.1, distortion=10.0)
    """The loss that training minimises."""
    training: Training = Training(monitor="balanced_accuracy")
    """Settings of the training."""
    teacher: Path | None = None
    """Run folder of a teacher for knowledge distillation: its system, as it was tested, gives the
    class scores that this system learns beside the labels; objective.distillation is their
    weight."""

    @model_validator(mode="before")
    @classmethod
    def _from_its_own_defaults(cls, given: object) -> object:
        # A table that sets one field keeps a run's defaults for the others, some of which differ
        # from the defaults of Objective or Training.
        if not isinstance(given, Mapping):
            return given
        tables: dict[str, Any] = _with_kinds(cls, given)
        merged = dict(tables)
        for name, field in cls.model_fields.items():
            default, own = field.default, tables.get(name)
            if isinstance(default, Settings) and isinstance(own, Mapping):
                merged[name] = {key: getattr(default, key) for key in default.model_fields_set}
                merged[name] |= own
        return merged

    @model_validator(mode="after")
    def _comes_back(self) -> Self:
        check_comes_back(self)
        return self

    @model_validator(mode="after")
    def _is_taught(self) -> Self:
        if self.objective.distillation and self.teacher is None:
            raise ValueError(
                f"objective.distillation={self.objective.distillation:g} needs a teacher: give "
                "teacher, a run folder (--teacher RUN), or objective.distillation=0"
            )
        return self

    def canonical(self) -> str:
        """JSON with sorted keys: equal configurations give equal text."""
        content = _without_minus_zero(self.model_dump(mode="json"))
        return json.dumps(content, sort_keys=True, allow_nan=False)

    # Compares the text that names run folders: in Python True equals 1, which a custom class may
    # tell apart.
    def __eq__(self, other: object) -> bool:
        """Whether the other configuration is the same run: both have the same :meth:`digest`."""
        if not isinstance(other, RunConfig):
            return NotImplemented
        return self.canonical() == other.canonical()

    def __hash__(self) -> int:
        """Hash of :meth:`canonical`: equal configurations have equal hashes."""
        return hash(self.canonical())

    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of :meth:`canonical`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]


def _without_minus_zero(content: Any) -> Any:  # noqa: ANN401 - whatever JSON says
    """The same content with 0.0 for -0.0, which is equal but would be written differently."""
    if isinstance(content, dict):
        return {name: _without_minus_zero(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_without_minus_zero(value) for value in content]
    return 0.0 if isinstance(content, float) and content == 0 else content


def check_comes_back(config: RunConfig) -> None:
    """Refuse a section of a user-defined class: the file of the run would lose its additions.

    Raises
    ------
    ConfigError
        With the section and the remedy.
    """
    for path, found, known in _foreign(config, ""):
        raise ConfigError(
            f"{path} is of the class {found.__module__}.{found.__qualname__}, and {CONFIG_FILE} "
            f"would bring it back as {known}: a configuration holds classes of your own only as "
            "stages that a path names (kind='custom'). Train the system with joint.fit(), which "
            f"takes an objective and a training of any class, or make the section of {known}"
        )


def check_own(config: RunConfig) -> None:
    """Check the classes and functions outside the library that a configuration names.

    Raises
    ------
    ConfigError
        As :func:`joint.config.custom.check_custom` and :meth:`joint.term.Term.check`.
    """
    for stage in STAGES:
        custom = getattr(config.system, stage)
        if isinstance(custom, CustomConfig):
            check_custom(custom, stage)
    for name, term in config.objective.terms.items():
        term.check(name)


def _foreign(settings: Settings, place: str) -> Iterator[tuple[str, type[Settings], str]]:
    """Path, class and declared classes of each section whose class is not a declared one."""
    for name, field in type(settings).model_fields.items():
        value, path = getattr(settings, name), f"{place}{name}"
        if not isinstance(value, Settings):
            continue
        declared = [*_settings_in(field.annotation)]
        if type(value) in declared:
            yield from _foreign(value, f"{path}.")
        else:
            known = [kind.__name__ for kind in declared if isinstance(value, kind)]
            yield path, type(value), " or ".join(known or (kind.__name__ for kind in declared))


def _settings_in(annotation: Any) -> Iterator[type[Settings]]:  # noqa: ANN401 - as typing has it
    """The classes of settings that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _settings_in(inner)


def rests_untrained(config: RunConfig, *, head_loaded: bool = True) -> bool:
    """Whether the classifier or its last layer stays random, because no epoch trains it.

    False for a custom classifier, which may be made with trained weights, and if the objective
    has no weight for task and distillation, where random weights do no harm.

    Parameters
    ----------
    config : RunConfig
    head_loaded : bool
        Whether the file of initial weights, if there is one, gives the last layer too: weights of
        other classes do not. Only the built classifier knows.
    """
    judge, objective, training = config.system.classifier, config.objective, config.training
    random = isinstance(judge, ClassifierConfig) and (judge.weights is None or not head_loaded)
    used = objective.task > 0 or objective.distillation > 0
    epochs = range(min(training.epochs, 2 * training.turn_epochs))  # two turns, and they repeat
    return random and used and not any("classifier" in training.learning(e) for e in epochs)


def run_directory(root: Path | str, config: RunConfig) -> Path:
    """The folder of a ``config`` under ``root``: equal configurations share a folder."""
    return Path(root) / config.digest()


def load_config(path: Path | str) -> RunConfig:
    """Read a configuration from JSON or TOML; ``path`` is the file or a run folder.

    Missing fields are as in ``RunConfig()``. In a ``.toml`` the string ``"null"`` is read as null.

    Raises
    ------
    ConfigError
        When the file is missing or neither JSON nor TOML, or when keys or values are not valid;
        each is listed with its place, and an unknown key with the nearest known one.
    TypeError, ValueError
        When ``path`` is no path, or empty.
    """
    path = as_path(path, "path")
    if path.is_dir():
        path = path / CONFIG_FILE
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".toml":
            return RunConfig.model_validate(with_nulls(parse_toml(content)))
        return RunConfig.model_validate_json(content)
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
        faults = [fault_line(fault, RunConfig) for fault in error.errors()]
        if any(fault["type"] == "extra_forbidden" for fault in error.errors()) and (
            path.with_name(ENVIRONMENT_FILE).is_file()  # that of a saved run, which nobody typed
        ):
            faults.append(
                "another version of lens2label may have written this run, with keys that this one "
                f"does not know: {ENVIRONMENT_FILE} beside it names its version"
            )
        lines = "\n  ".join(faults)
        raise ConfigError(f"{path} is not a valid configuration:\n  {lines}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def save_config(config: RunConfig, directory: Path | str) -> None:
    """Write the ``config.json`` of ``config`` into ``directory``, whole or not at all."""
    text = json.dumps(config.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"
    write_atomically(Path(directory) / CONFIG_FILE, text.encode())
