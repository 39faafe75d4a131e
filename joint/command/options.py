"""Options that several commands share, their checks, and how files that failed are reported.

A stage is chosen by its kind (``--codec jpeg``) and then has its own options
(``--system.codec.quality 50``); ``--help`` shows the options of the kinds chosen so far.
"""

import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from joint.caution import caution
from joint.config.classifier import CLASSIFIER_KINDS
from joint.config.codecs import CODEC_KINDS, RATED_KINDS
from joint.config.front_ends import FRONT_END_KINDS
from joint.config.restoration import RESTORATION_KINDS
from joint.config.run import RunConfig, load_config
from joint.config.scenes import DataConfig, PhantomConfig, data_config
from joint.config.sensor import SENSOR_KINDS
from joint.judge.point import OperatingPoint, every_point
from joint.saved.checkpoint import check_writable
from joint.saved.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    RunFolder,
    summarise_run,
)
from joint.settings import ConfigError, OptionError, Settings

__all__ = [
    "RANGES",
    "RESAMPLES",
    "Choice",
    "OperatingPoints",
    "Scenes",
    "check_figure",
    "check_file",
    "check_least",
    "check_page",
    "check_run_folder",
    "check_trained",
    "named_numbers",
    "scenes_at",
    "tell_failed",
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
RANGES: Sequence[tuple[str, str, Callable[[float], bool]]] = (
    ("photons", "positive and finite", lambda number: 0 < number < math.inf),
    ("quality", "at least 0 and finite", lambda number: 0 <= number < math.inf),
    ("distance", "positive", lambda number: number > 0),
    ("motion", "at least 0 and finite", lambda number: 0 <= number < math.inf),
)


class OperatingPoints:
    """Operating points of a command: all combinations of the options of these names."""

    photons: tuple[float, ...]
    quality: tuple[float, ...]
    distance: tuple[float, ...]
    motion: tuple[float, ...]

    def points(self) -> list[OperatingPoint]:
        """Every combination; of none, the system's own."""
        return every_point(self.photons, self.quality, self.distance, self.motion)

    def check_points(self) -> None:
        """Refuse numbers that are out of range whatever the system is, by an OptionError."""
        for name, needed, allowed in RANGES:
            for number in getattr(self, name):
                if not allowed(number):
                    raise OptionError(f"--{name} must be {needed}, not {number:g}")


@dataclass(frozen=True)
class Choice:
    """What a run starts from; its single options follow."""

    config: Path | None = None
    """Start from the settings in this JSON or TOML file or run folder; missing fields have their
    defaults. For the weights of a run see --start. If there are learning rates of stages,
    --training.learning-rates replaces all of them, and --training.learning-rates.codec one; the
    same holds for other mappings."""
    data: str | None = None
    """phantom, or the path of HAM10000 (folder or zip), of class folders, of a table of labels
    (.csv, beside its pictures or with --data.root), of a MedMNIST .npz, or of an .npz of scenes."""
    front_end: (
        Literal["kernel", "fourier", "lens", "psf", "compound", "shutter", "custom", "none"] | None
    ) = None
    """Kind of the optics."""
    sensor: Literal["sensor", "none"] | None = None
    """With or without a sensor."""
    restoration: Literal["unet", "custom", "none"] | None = None
    """Kind of the network that restores the sensor's picture."""
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
    """Kind of the image codec."""
    classifier: Literal["classifier", "custom", "none"] | None = None
    """With or without a classifier, or a custom one."""

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


class Scenes(Settings):
    """Scenes of a command that takes no other part of a configuration."""

    data: DataConfig = PhantomConfig()
    """The scenes."""


def scenes_at(source: str, image_size: int) -> DataConfig:
    """As :func:`joint.data_config`, of a size that is checked later, with the other options."""
    data = data_config(source)
    return data if data.image_size is None else data.model_copy(update={"image_size": image_size})


def check_run_folder(folder: Path) -> None:
    """Refuse what is no run folder, before anything is loaded."""
    if not (folder / CONFIG_FILE).is_file():
        if any((folder / name).is_file() for name in (BEST_FILE, CHECKPOINT_FILE)):
            load_config(folder)  # says what to do with a folder that joint.fit wrote
        raise ConfigError(
            f"cannot read {folder}: it is no run folder, which has a {CONFIG_FILE}; lens2label "
            "train --output makes one, and lens2label runs lists those in a folder"
        )


def check_trained(folder: Path) -> None:
    """Refuse what is no run folder, and warn of a run that is not done.

    Nothing else in what is made of its weights tells that they are those so far.
    """
    check_run_folder(folder)
    found = summarise_run(folder)
    # A copy of the configuration and the weights alone, as for a camera, does not tell how far.
    if found.state == "done" or not RunFolder(folder).has_checkpoint():
        return
    again = shlex.join(["lens2label", "train", "--output", str(folder), "--resume"])
    now = f"It is trained by {found.note}" if found.state == "running" else f"To finish it: {again}"
    caution(
        f"the run in {folder} is not done ({found.state}, {found.epochs} of "
        f"{'?' if found.of is None else found.of} epochs), so its weights are those so far. "
        f"{now}"
    )


def check_least(options: object, **least: int) -> None:
    """Refuse whole numbers that are too small, of those that are given."""
    for name, bound in least.items():
        value = getattr(options, name)
        if value is not None and value < bound:
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


def check_page(option: str, path: Path | None) -> None:
    """Refuse a file that no page is written to; a folder is refused where the page is written."""
    if path is None or path.is_dir() or path.suffix.lower() in (".html", ".htm"):
        return
    raise OptionError(
        f"{option} writes an .html, not {path}; for a PDF print that page, or give --figures "
        "FOLDER for its figures alone"
    )


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


def tell_failed(failed: Sequence[object], done: int) -> int:
    """Name the files of which nothing could be made, beside those done; returns the exit status."""
    if not failed:
        return 0
    sys.stdout.flush()  # before what follows it, where both go to one file
    lines = "".join(f"\n  {file}" for file in failed)
    count = len(failed)
    print(f"lens2label: {count} of {count + done} files could not be used:{lines}", file=sys.stderr)
    return 1
