"""The command line, made from the configuration models.

A stage is chosen by its kind (``--codec jpeg``) and then has its own options
(``--system.codec.quality 50``); ``--help`` shows the options of the kinds chosen so far.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import BaseModel

from .build import build_data, build_split, build_system, load_codec, load_run
from .checkpoint import CheckpointError, load_checkpoint, load_weights, write_atomically
from .codecs import CODEC_KINDS, RATED_KINDS
from .config import (
    ClassifierConfig,
    ConfigError,
    FourierConfig,
    KernelConfig,
    RunConfig,
    SensorConfig,
    data_config,
    load_config,
    save_config,
)
from .evaluate import evaluate, usable_device
from .picture import compress_file, decompress_file
from .run import BEST_FILE, CHECKPOINT_FILE, TrainingDiverged
from .settings import NoneConfig
from .train import fit

__all__ = ["main"]

_KINDS: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "front_end": {"kernel": KernelConfig, "fourier": FourierConfig, "none": NoneConfig},
    "sensor": {"sensor": SensorConfig, "none": NoneConfig},
    "codec": CODEC_KINDS,
    "classifier": {"classifier": ClassifierConfig, "none": NoneConfig},
}


# Bootstrap resamples behind an interval that is printed.
RESAMPLES = 1000


@dataclass(frozen=True)
class Choice:
    """What a run starts from; its single options follow."""

    config: Path | None = None
    """Start from this JSON file or run folder instead of the defaults."""
    data: str | None = None
    """phantom, or the path of HAM10000 (folder or zip), of class folders, or of a MedMNIST .npz."""
    front_end: Literal["kernel", "fourier", "none"] | None = None
    """Kind of the camera element."""
    sensor: Literal["sensor", "none"] | None = None
    """With or without a sensor."""
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
            "none",
        ]
        | None
    ) = None
    """Kind of the compressor."""
    classifier: Literal["classifier", "none"] | None = None
    """With or without a classifier."""

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
            data = data_config(self.data, image_size=config.data.image_size or 128)
        objective, training = config.objective, config.training
        # What a stage that is chosen away, or has no rate to learn, cannot be trained for.
        if self.codec is not None and self.codec not in RATED_KINDS:
            without = {"rate": 0.0} | ({"distortion": 0.0} if self.codec == "none" else {})
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

    The folder receives config.json, history.jsonl, checkpoint.safetensors, best.safetensors and
    metrics.json (the best epoch on the test set). Example:

        lens2label train --output runs/edge --front-end fourier --system.front-end.start spiral
    """

    output: Path
    """Run folder."""
    choice: Annotated[Choice, tyro.conf.arg(name="")]
    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    resume: bool = False
    """Continue the run in the folder; start it if there is none."""
    quiet: bool = False
    """Print nothing but errors."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate a trained run and print its numbers.

    Example:

        lens2label evaluate runs/edge --part validation --json
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of lens2label train."""
    part: Literal["train", "validation", "test"] = "test"
    """Which part of the split of that run."""
    data: str | None = None
    """Evaluate all of these scenes instead (as in train)."""
    batch_size: int = 64
    """Pictures in one pass."""
    count_bytes: bool = True
    """Write every picture with the codec and count the bytes."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of the lesions, for the intervals; 0 for none."""
    device: str = "cpu"
    """Where to compute."""
    json: bool = False
    """Print JSON instead of tables."""


@dataclass(frozen=True)
class CompressOptions:
    """Code a picture with the codec of a trained run into a file.

    Example:

        lens2label compress lesion.png lesion.l2l --codec runs/codec
    """

    source: Annotated[Path, tyro.conf.Positional]
    """Picture of 8 bits, RGB or grey as the codec takes it."""
    target: Annotated[Path, tyro.conf.Positional]
    """File to write."""
    codec: Path
    """Run folder of lens2label train."""
    quality: float | None = None
    """Operating point, 0 to levels - 1, of a codec that has several; by default the middle."""
    json: bool = False
    """Print JSON instead of a line."""


@dataclass(frozen=True)
class DecompressOptions:
    """Decode a file of lens2label compress into a picture.

    Example:

        lens2label decompress lesion.l2l decoded.png --codec runs/codec
    """

    source: Annotated[Path, tyro.conf.Positional]
    """File of lens2label compress."""
    target: Annotated[Path, tyro.conf.Positional]
    """Picture to write: .png, .bmp or .tif."""
    codec: Path
    """Run folder whose codec wrote the file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``lens2label``; returns the exit status, 2 for a mistake of the user."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command not in _COMMANDS:
        print(_USAGE, file=sys.stdout if command in ("-h", "--help") else sys.stderr)
        return 0 if command in ("-h", "--help") else 2
    try:
        _COMMANDS[command](rest)
    except (ConfigError, CheckpointError, TrainingDiverged, ValueError, OSError) as error:
        print(f"lens2label: {error}", file=sys.stderr)
        return 2
    return 0


_USAGE = """usage: lens2label COMMAND [OPTIONS]

commands:
  train      train a system and write a run folder
  evaluate   evaluate a trained run
  compress   code a picture with the codec of a run
  decompress decode such a file

lens2label COMMAND --help explains the options."""


def _train_options(arguments: Sequence[str]) -> TrainOptions:
    """Read the kinds first, then everything with the options that these kinds have."""
    choice, _ = tyro.cli(Choice, args=arguments, return_unknown_args=True, add_help=False)
    return tyro.cli(
        TrainOptions,
        args=arguments,
        prog="lens2label train",
        default=TrainOptions(output=tyro.MISSING, choice=choice, run=choice.start()),
        config=(tyro.conf.AvoidSubcommands,),
    )


def _train(arguments: Sequence[str]) -> None:
    options = _train_options(arguments)
    usable_device(options.device)  # before anything is loaded
    config, folder = options.run, options.output
    started = (folder / CHECKPOINT_FILE).exists()
    if started and not options.resume:
        raise CheckpointError(
            f"{folder} already holds a run; pass --resume or choose another folder"
        )
    if started:
        saved = load_config(folder)
        chosen = options.choice != Choice() or config != RunConfig()
        if chosen and config != saved:
            raise ConfigError(
                f"{folder} is resumed as it was started, and the options given say otherwise: "
                "leave them out, or choose another folder"
            )
        config = saved
    say = _silent if options.quiet else print
    dataset = build_data(config.data, progress=not options.quiet)
    parts = build_split(config, dataset)
    say(parts)
    train, validation, test = parts
    system = build_system(
        config.system,
        image_size=dataset.image_size,
        channels=dataset.channels,
        classes=len(dataset.classes),
    )
    save_config(config, folder)
    history = fit(
        system,
        train,
        validation,
        objective=config.objective,
        config=config.training,
        directory=folder,
        resume=options.resume,
        device=options.device,
        progress=not options.quiet,
    )
    weights, _ = load_checkpoint(folder / BEST_FILE)
    load_weights(system, weights, source=str(folder / BEST_FILE))
    result = evaluate(
        system, test, objective=config.objective, count_bytes=True, resamples=RESAMPLES
    )
    metrics = {"best_epoch": history.best_epoch, "test": result.to_dict()}
    write_atomically(folder / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    say(_summary(result.scalars()))


def _evaluate(arguments: Sequence[str]) -> None:
    options = tyro.cli(EvaluateOptions, args=arguments, prog="lens2label evaluate")
    config, system, parts = load_run(options.run)
    dataset = getattr(parts, options.part)
    if options.data is not None:
        dataset = build_data(data_config(options.data, image_size=dataset.image_size[0]))
        if dataset.classes != parts.train.classes:
            raise ConfigError(
                f"{options.data} has the classes {', '.join(dataset.classes)}, but the run was "
                f"trained on {', '.join(parts.train.classes)}"
            )
    system.to(usable_device(options.device))
    result = evaluate(
        system,
        dataset,
        objective=config.objective,
        batch_size=options.batch_size,
        count_bytes=options.count_bytes,
        resamples=options.resamples,
    )
    if options.json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    if result.report is not None:
        print(result.report)
    print(_summary(result.scalars()))


def _compress(arguments: Sequence[str]) -> None:
    options = tyro.cli(CompressOptions, args=arguments, prog="lens2label compress")
    codec = load_codec(options.codec)
    done = compress_file(options.source, options.target, codec, quality=options.quality)
    print(done.json() if options.json else done)


def _decompress(arguments: Sequence[str]) -> None:
    options = tyro.cli(DecompressOptions, args=arguments, prog="lens2label decompress")
    height, width = decompress_file(options.source, options.target, load_codec(options.codec))
    print(f"{options.target}: {height}x{width} pixels")


_COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "compress": _compress,
    "decompress": _decompress,
}


def _summary(scalars: Mapping[str, float | None]) -> str:
    lines = [f"{name:<18} {value:.4f}" for name, value in scalars.items() if value is not None]
    return "\n".join(lines)


def _silent(*_: object) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
