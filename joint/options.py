"""What the commands of the command line are told, made from the configuration models.

A stage is chosen by its kind (``--codec jpeg``) and then has its own options
(``--system.codec.quality 50``); ``--help`` shows the options of the kinds chosen so far.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import BaseModel

from .checkpoint import check_writable
from .config.classifier import CLASSIFIER_KINDS
from .config.codecs import CODEC_KINDS, RATED_KINDS
from .config.front_ends import FRONT_END_KINDS
from .config.restoration import RESTORATION_KINDS
from .config.run import RunConfig, SplitConfig, SystemConfig, load_config, run_directory
from .config.scenes import DataConfig, PhantomConfig, data_config
from .config.sensor import SENSOR_KINDS
from .export import DeployedEnd, DeployedPlane
from .metric import check_study_metric
from .point import OperatingPoint, every_point
from .settings import OptionError, Settings
from .stages import Stage
from .view_average import Views

__all__ = [
    "RESAMPLES",
    "AuditOptions",
    "Choice",
    "DescribeOptions",
    "Described",
    "EvaluateOptions",
    "ExportOptions",
    "PredictOptions",
    "ReportOptions",
    "RunsOptions",
    "Scenes",
    "TrainOptions",
    "check_figure",
    "check_file",
    "check_least",
    "named_numbers",
    "scenes_at",
]

_KINDS: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "front_end": FRONT_END_KINDS,
    "sensor": SENSOR_KINDS,
    "restoration": RESTORATION_KINDS,
    "codec": CODEC_KINDS,
    "classifier": CLASSIFIER_KINDS,
}


# Bootstrap resamples behind an interval that is printed.
RESAMPLES = 1000
# What the numbers of an operating point must be, whatever system it is of.
_RANGES: Sequence[tuple[str, str, Callable[[float], bool]]] = (
    ("photons", "positive and finite", lambda number: 0 < number < math.inf),
    ("quality", "at least 0 and finite", lambda number: 0 <= number < math.inf),
    ("distance", "positive", lambda number: number > 0),
    ("motion", "at least 0 and finite", lambda number: 0 <= number < math.inf),
)


def scenes_at(source: str, image_size: int) -> DataConfig:
    """As :func:`joint.data_config`, of a size that is checked later, with the other options."""
    data = data_config(source)
    return data if data.image_size is None else data.model_copy(update={"image_size": image_size})


def check_least(options: object, **least: int) -> None:
    """Refuse whole numbers that are too small."""
    for name, bound in least.items():
        value = getattr(options, name)
        if value < bound:
            option = f"--{name.replace('_', '-')}"
            raise OptionError(f"{option} must be at least {bound}, not {value}")


def check_file(option: str, path: Path | None) -> None:
    """Refuse a folder where a file is to be written, and a place where none can be."""
    if path is None:
        return
    if path.is_dir():
        raise OptionError(f"{option}: {path} is a folder, name a file in it")
    check_writable(path)


def check_figure(option: str, path: Path | None) -> None:
    """Refuse a folder, and a file that no figure is written to."""
    check_file(option, path)
    if path is not None and path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise OptionError(f"{option} writes a .png, .pdf or .svg, not {path}")


@dataclass(frozen=True)
class Choice:
    """What a run starts from; its single options follow."""

    config: Path | None = None
    """Start from the settings in this JSON or TOML file or run folder; what they leave out is as by
    default. For the weights of a run see --start. Where they have rates of stages,
    --training.learning-rates replaces them all, and --training.learning-rates.codec one; so it is
    with other mappings."""
    data: str | None = None
    """phantom, or the path of HAM10000 (folder or zip), of class folders, of a table of labels
    (.csv, beside its pictures or with --data.root), of a MedMNIST .npz, or of an .npz of scenes."""
    front_end: Literal["kernel", "fourier", "lens", "psf", "shutter", "custom", "none"] | None = (
        None
    )
    """Kind of the camera element."""
    sensor: Literal["sensor", "none"] | None = None
    """With or without a sensor."""
    restoration: Literal["unet", "custom", "none"] | None = None
    """Kind of what is computed of its pictures."""
    codec: (
        Literal[
            "factorized",
            "hyperprior",
            "autoencoder",
            "kmeans",
            "jpeg",
            "differentiable_jpeg",
            "webp",
            "jpeg2000",
            "avif",
            "png",
            "custom",
            "none",
        ]
        | None
    ) = None
    """Kind of the compressor."""
    classifier: Literal["classifier", "custom", "none"] | None = None
    """With or without a classifier, or one of your own."""

    def start(self) -> RunConfig:
        """The configuration before single options."""
        config = RunConfig() if self.config is None else load_config(self.config)
        updates: dict[str, Any] = {}
        for stage, kinds in _KINDS.items():
            kind = getattr(self, stage)
            if kind is not None and kind != getattr(config.system, stage).kind:
                updates[stage] = kinds[kind]()
        system = config.system.model_copy(update=updates)
        data = config.data
        if self.data is not None:
            data = scenes_at(self.data, config.data.image_size or 128)
        objective, training = config.objective, config.training
        # What a stage that is chosen away, or has no rate to learn, cannot be trained for.
        if self.codec is not None and self.codec not in RATED_KINDS:
            without = {"rate": 0.0, "rate_target": None} | (
                {"distortion": 0.0} if self.codec == "none" else {}
            )
            objective = objective.model_copy(update=without)
        if self.classifier == "none":
            objective = objective.model_copy(update={"task": 0.0})
            training = training.model_copy(update={"monitor": "loss"})
        return config.model_copy(
            update={"system": system, "data": data, "objective": objective, "training": training}
        )


@dataclass(frozen=True)
class TrainOptions:
    """Train a system and write a run folder.

    The folder receives config.json, environment.json, history.jsonl (a line an epoch), the newest
    two checkpoints, best.safetensors, and at the end predictions.safetensors and result.json (the
    test part, by the weights of the best epoch or, with --training.no-restore-best, of the last).
    SIGTERM or Ctrl-C finish the step, save and leave with status 0; a second Ctrl-C leaves at
    once; --resume goes on, even after a kill. A * ends the line of an epoch that is the best so
    far.

    A kind has options of its own: --help after --codec jpeg, or after --data and a path, shows
    those. Of its choices, none leaves the stage out, and None asks for nothing: what --config says,
    or the default. For example:

        lens2label train --output runs/edge --front-end fourier --system.front-end.start spiral
        lens2label train --output runs/tuned --config runs/edge --start runs/edge --data clinic
    """

    choice: Annotated[Choice, tyro.conf.arg(name="")]
    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    output: Path | None = None
    """Run folder."""
    root: Path | None = None
    """Instead of --output: a folder in this one, named by the digest of the configuration."""
    start: Path | None = None
    """Run folder whose trained weights the run begins with, instead of random ones; --config takes
    its configuration, and no weights. Not with --root, whose names tell nothing of it."""
    start_stages: tuple[Stage, ...] = ()
    """Take the weights of these stages only; by default of all that the run has."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    resume: bool = False
    """Continue the run in the folder; start it if there is none; show its result if it is done.
    Where the files of its scenes or its teacher were moved, give --output, and --data and --teacher
    as where they are now: they are known by what they hold."""
    tensorboard: bool = False
    """Also write the numbers of each epoch for TensorBoard, to tensorboard/ in the run folder; may
    be given or left out whenever the run goes on. Needs pip install "lens2label[tensorboard]"."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print nothing but the result, as JSON."""
    configured: Annotated[bool, tyro.conf.Fixed, tyro.conf.Suppress] = False
    """Whether anything of the configuration was asked for, its defaults included."""

    def folder(self) -> Path:
        """Where the run goes."""
        if (self.output is None) == (self.root is None):
            raise OptionError(
                "give either --output, the run folder, or --root, the folder of run folders"
            )
        if self.start_stages and self.start is None:
            raise OptionError("--start-stages needs --start, the run that has their weights")
        if self.root is not None:
            if self.start is not None:
                raise OptionError(
                    "--start needs --output: a folder named by its configuration alone would be "
                    "taken for the run that begins without"
                )
            return run_directory(self.root, self.run)
        return self.output or Path()


class Described(Settings):
    """Of a configuration, what a camera and its scenes are."""

    system: SystemConfig = SystemConfig()
    data: DataConfig = PhantomConfig()


@dataclass(frozen=True)
class DescribeOptions:
    """Say what a camera is in numbers, before it is trained or after.

    Scale, depth of field, Strehl ratio, spot and contrast of its lens; threshold, saturation and
    dynamic range of its sensor; what is read out; and where the simulation is not to be trusted.
    A run folder is described as it was trained; without one, the options are those of train. For
    example:

        lens2label describe runs/edge
        lens2label describe --front-end lens --system.front-end.focus 0.3
    """

    choice: Annotated[Choice, tyro.conf.arg(name="")]
    described: Annotated[Described, tyro.conf.arg(name="")]
    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder of lens2label train; its scenes are not needed."""
    json: bool = False
    """Print all of it as JSON: every place of the picture too."""

    def check(self) -> None:
        """Refuse a run folder with settings of another camera."""
        if self.run is not None and (self.choice, self.described) != (Choice(), Described()):
            raise OptionError(
                f"{self.run} is a run with settings of its own; to change some of them, give "
                f"--config {self.run} instead, and the others"
            )


class Scenes(Settings):
    """Scenes of a command that takes no other part of a configuration."""

    data: DataConfig = PhantomConfig()
    """The scenes."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate a trained run and print its numbers.

    For example:

        lens2label evaluate runs/edge --part validation --json
        lens2label evaluate runs/edge --views dihedral --adjust balanced_accuracy
        lens2label evaluate runs/edge --adjust balanced_accuracy --within accuracy=0.01
        lens2label evaluate runs/edge --photons 100 1000 10000
        lens2label evaluate runs/edge --refer mel bcc --sensitivity 0.95 --assurance 0.9
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of lens2label train."""
    part: Literal["train", "validation", "test"] = "test"
    """Which part of the split of that run."""
    data: str | None = None
    """Evaluate all of these scenes instead (as in train, and with their --data options, which
    --help after it shows; without, their files are read like those of the run)."""
    scenes: Annotated[Scenes | None, tyro.conf.arg(name="")] = None
    photons: tuple[float, ...] = ()
    """Another light, photons/pixel, with the sensor's gain in proportion; of several, one
    evaluation each."""
    quality: tuple[float, ...] = ()
    """Another operating point of a codec that has several: 0 to levels - 1 of a learned one, 1 to
    100 of JPEG, 0 to 100 of lossy WebP and AVIF; of several, one evaluation each, at each light."""
    distance: tuple[float, ...] = ()
    """Metres from a lens to all scenes; of several, one evaluation each, at each light and
    quality."""
    motion: tuple[float, ...] = ()
    """RMS distance by which scenes move during the exposure, pixels, of a shutter; of several, one
    evaluation each, at each light, quality and distance."""
    views: Views = "identity"
    """Views of each scene over which the classifier's probabilities are averaged: the scene as it
    is; with its mirror image; the flips of both axes; or these and their quarter turns."""
    adjust: str | None = None
    """Also report the class scores less tau times the logarithms of the class shares in training
    (Menon et al., 2021), with the tau that is best by this metric on the validation part."""
    at_least: tuple[str, ...] = ()
    """With --adjust: what other metrics keep on the validation part, such as accuracy=0.8; tau is
    the best of those that keep it. On other pictures either may be less."""
    within: tuple[str, ...] = ()
    """With --adjust: how far other metrics may stay below the best that any tau has on the
    validation part, such as accuracy=0.01."""
    taus: tuple[float, ...] = ()
    """With --adjust: the values of tau to choose from; -1, -0.95 ... 2 if none are given."""
    refer: tuple[str, ...] = ()
    """Also judge the run as a referral: it refers the pictures of these classes, from a cutoff
    that is chosen on the validation part."""
    sensitivity: float | None = None
    """With --refer: the least share of these pictures that is referred, such as 0.95."""
    specificity: float | None = None
    """With --refer, instead: the least share of the others that is left."""
    assurance: float | None = None
    """With --refer: confidence that this is kept on other pictures too, such as 0.9; without, it
    is kept on the validation part, and elsewhere by half of all cutoffs."""
    prevalence: float | None = None
    """With --refer: share of pictures to refer where the system will work, for the predictive
    values there."""
    batch_size: int = 64
    """Pictures in one pass."""
    count_bytes: bool = True
    """Write every picture with the codec and count the bytes."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of the lesions, for the intervals; 0 for none."""
    device: str = "cpu"
    """Where to compute."""
    json: bool = False
    """Print JSON instead of tables: an object, or a list where several were asked for."""
    csv: Path | None = None
    """Also write all numbers with their intervals to this file, a row for each that was asked
    for."""
    figure: Path | None = None
    """Also draw a number against the light, quality, distance or motion that was asked for, to this
    .png, .pdf or .svg."""
    figure_metric: str | None = None
    """Which number: a metric of the report, or another of the result, such as psnr_scene; by
    default balanced_accuracy, or psnr_scene without a classifier."""

    def check(self) -> None:
        """Refuse numbers that are out of range whatever the run is, by an OptionError.

        By a CheckpointError, files that cannot be written.
        """
        check_least(self, batch_size=1, resamples=0)
        check_file("--csv", self.csv)
        if self.figure is not None:
            check_figure("--figure", self.figure)
            if len(set(self.points())) < 2:
                raise OptionError(
                    "--figure draws against what was asked for: give several, such as --photons "
                    "100 1000 10000"
                )
            if self.figure_metric is not None:
                try:
                    check_study_metric(self.figure_metric)
                except ValueError as error:
                    raise OptionError(f"--figure-metric: {error}") from error
        elif self.figure_metric is not None:
            raise OptionError("--figure-metric needs --figure, the file to draw to")
        for name, needed, allowed in _RANGES:
            for number in getattr(self, name):
                if not allowed(number):
                    raise OptionError(f"--{name} must be {needed}, not {number:g}")
        self._check_referral()

    def _check_referral(self) -> None:
        goals = [name for name in ("sensitivity", "specificity") if getattr(self, name) is not None]
        if not self.refer:
            for name in (*goals, "assurance", "prevalence"):
                if getattr(self, name) is not None:
                    raise OptionError(
                        f"--{name} needs --refer, the classes to refer, such as --refer mel"
                    )
            return
        if len(goals) != 1:
            raise OptionError(
                "--refer needs one goal that its cutoff keeps: --sensitivity 0.95, or "
                "--specificity 0.9"
            )
        for name in (*goals, "assurance", "prevalence"):
            number = getattr(self, name)
            if number is not None and not 0 < number < 1 and not (name in goals and number == 1):
                raise OptionError(f"--{name} must lie between 0 and 1, not {number:g}")

    def points(self) -> list[OperatingPoint]:
        """Where to evaluate."""
        return every_point(self.photons, self.quality, self.distance, self.motion)

    def bounds(self) -> dict[str, dict[str, float]]:
        """The numbers of --at-least and of --within; whether there are such metrics is not read."""
        for option in ("at_least", "within", "taus"):
            if getattr(self, option) and self.adjust is None:
                raise OptionError(
                    f"--{option.replace('_', '-')} needs --adjust, the metric that tau is chosen "
                    "by, such as --adjust balanced_accuracy"
                )
        return {
            "at_least": named_numbers("--at-least", self.at_least, "accuracy=0.8"),
            "within": named_numbers("--within", self.within, "accuracy=0.01"),
        }


def named_numbers(option: str, words: Sequence[str], example: str) -> dict[str, float]:
    """``name=number`` of each word of an ``option``; an OptionError, with an ``example``, else."""
    numbers: dict[str, float] = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (name and math.isfinite(number)):
            raise OptionError(
                f"{option} takes a metric and a number, such as {example}, not {word!r}"
            )
        if name in numbers:
            raise OptionError(f"{option} names {name} twice: give one number for it")
        numbers[name] = number
    return numbers


@dataclass(frozen=True)
class ReportOptions:
    """Write one HTML page of a trained run, or of several side by side.

    The page is one file with its pictures in it; it needs no network and runs no script. It holds
    pictures of the data set: pass it on only where they may be. For example:

        lens2label report runs/plain runs/edge --output report.html
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders of lens2label train that are done; each is compared with the first."""
    output: Path = Path("report.html")
    """File to write; one that is there is replaced."""
    figures: Path | None = None
    """Also write each figure of the page to a file in this folder, for slides and print."""
    figure_format: Literal["pdf", "svg", "png"] = "pdf"
    """Of these files."""
    quick: bool = False
    """Leave out what evaluates the system many times: where accuracy is lost, robustness, optimal
    images, what can be told of the class at each plane, lesions at other contrasts."""
    pictures: int = 500
    """Measure contrast, rate by region, costs, losses and robustness on at most so many pictures
    of the test part; the classification is of all of them."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of the lesions, for the intervals."""
    batch_size: int = 64
    """Pictures in one pass."""
    device: str = "cpu"
    """Where to compute."""
    quiet: bool = False
    """Print nothing but errors."""

    def check(self) -> None:
        """Refuse numbers that are out of range, by an OptionError."""
        check_least(self, pictures=1, resamples=1, batch_size=1)


@dataclass(frozen=True)
class PredictOptions:
    """Say what pictures show, by a trained run.

    Each is cropped and reduced as the pictures that the run was trained on, and passes its whole
    system, simulated optics and sensor among it. The data of the run need not be there. A picture
    that cannot be used does not stop the others; it is named at the end, and the status is 1. For
    example:

        lens2label predict runs/edge lesion.jpg clinic/ --csv said.csv
        lens2label predict runs/edge clinic/ --photons 300 --temperature 1.6
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of lens2label train."""
    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE")]
    """Picture files, or folders and zips of them."""
    views: Views = "identity"
    """Views of each picture over which the probabilities are averaged, as in evaluate."""
    photons: float | None = None
    """Another light, photons/pixel, with the sensor's gain in proportion. A run of a photon range
    draws that of each picture from its name, unless it is given."""
    quality: float | None = None
    """Another operating point of a codec that has several, as in evaluate."""
    distance: float | None = None
    """Metres from a lens to all pictures."""
    motion: float | None = None
    """RMS distance by which pictures move during the exposure, pixels, of a shutter."""
    white_level: int | None = None
    """Code of pictures of 16 bits that is white, such as 4095 for those of a camera of 12 bits; by
    default that of the training."""
    bit_depth: Literal[8, 16] | None = None
    """16 keeps all bits of files that have as many; 8 reduces them; by default as in the
    training."""
    temperature: float = 1.0
    """By which scores are divided before the softmax: that of classify.fit_temperature on the
    validation part makes probabilities as sure as they are right."""
    seed: int = 0
    """Source of the sensor's noise, with the name of each file: one picture under two names, such
    as a PNG and a TIFF, has two draws of it."""
    batch_size: int = 64
    """Pictures in one pass."""
    device: str = "cpu"
    """Where to compute."""
    json: bool = False
    """Print JSON, a list with the probability of each class, instead of a table."""
    csv: Path | None = None
    """Also write the probabilities to this file, a row for each picture."""
    quiet: bool = False
    """Show no progress."""

    def check(self) -> None:
        """Refuse numbers that are out of range and a folder for a file, by an OptionError.

        By a CheckpointError, a file that cannot be written.
        """
        check_least(self, batch_size=1)
        ranges = (*_RANGES, ("temperature", "positive and finite", lambda t: 0 < t < math.inf))
        for name, needed, allowed in ranges:
            number = getattr(self, name)
            if number is not None and not allowed(number):
                raise OptionError(f"--{name} must be {needed}, not {number:g}")
        if self.white_level is not None and not 1 <= self.white_level <= 65535:
            raise OptionError(
                f"--white-level must be a code of 16 bits, 1 to 65535, not {self.white_level}"
            )
        check_file("--csv", self.csv)
        if not self.pictures:
            raise OptionError("there is no picture: name files, folders or zips after the run")


@dataclass(frozen=True)
class ExportOptions:
    """Write what is deployed of a trained run as one file that runs without this library.

    Either kind takes any number of pictures of the run's size and gives the scores of its classes,
    or what comes before. It is read again and compared with the run on some of its test pictures.
    For example:

        lens2label export runs/edge edge.onnx
        lens2label export runs/edge camera.onnx --plane codes --until latent
        lens2label export runs/edge server.onnx --plane latent
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of lens2label train."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """File to write; one that is there is replaced. A .pt2 is read by torch.export.load, a .onnx by
    ONNX Runtime and the like (pip install "lens2label[onnx]")."""
    plane: DeployedPlane = "measurement"
    """Where it begins: the codes that the camera writes (DN), the camera's picture, the latent of a
    learned codec, or what the decoder hands to the classifier."""
    until: DeployedEnd = "scores"
    """Where it ends: at the latent that a learned codec would write, at the picture behind the
    codec, or at the scores of the classes."""
    quality: float | None = None
    """Operating point of a learned codec with several levels, 0 to levels - 1."""
    pictures: int = 64
    """Of the test part, to compare on."""
    json: bool = False
    """Print JSON instead of a line."""

    def check(self) -> None:
        """Refuse numbers that are out of range, by an OptionError."""
        check_least(self, pictures=1)


@dataclass(frozen=True)
class RunsOptions:
    """List the run folders in a folder, and how far they have come.

    done: there is a result; running: a process holds the folder; failed: why; interrupted:
    lens2label train --output FOLDER --resume goes on. For example:

        lens2label runs runs
        lens2label runs studies/edge/runs --tensorboard curves
    """

    root: Annotated[Path, tyro.conf.Positional]
    """Folder of the run folders, or one of them."""
    tensorboard: Path | None = None
    """Also write what the runs have told so far for TensorBoard, into a folder of its name for each
    run in this one. Needs pip install "lens2label[tensorboard]"."""
    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class AuditOptions:
    """Look for duplicates, leaks between the parts of a split, contradictions and empty pictures.

    The status is 1 when something is in more than one part. For example:

        lens2label audit --data ham10000.zip --split.by image
        lens2label audit --data labels.csv --data.root pictures --data.group patient_id
    """

    data: str = "phantom"
    """Scenes, as in train, and with their --data options, which --help after it shows."""
    image_size: int = 128
    """Pixels along a side, where --data.image-size does not say; train begins with 64."""
    scenes: Annotated[Scenes, tyro.conf.arg(name="")] = field(default_factory=Scenes)
    split: SplitConfig = field(default_factory=SplitConfig)
    threshold: float = 0.975
    """Correlation above which two pictures are near duplicates."""
    align: bool = True
    """Also find crops and shifts."""
    json: bool = False
    """Print JSON instead of text."""

    def check(self) -> None:
        """Refuse numbers that are out of range, by an OptionError."""
        if not 0 < self.threshold < 1:
            raise OptionError(
                f"--threshold must be a correlation between 0 and 1, not {self.threshold:g}"
            )
