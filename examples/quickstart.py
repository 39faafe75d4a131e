"""From light to label in minutes.

A classifier alone, a codec alone, and both with a camera as one graph, on embedded phantom lesions
or HAM10000 (``--data``). Prints a table; writes metrics and a figure.
"""

import copy
import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

import classify
import compress
import optics
from joint import (
    Evaluation,
    ImagingSystem,
    Objective,
    Training,
    build_data,
    data_config,
    evaluate,
    fit,
)
from joint.figure import save_figure, system_figure


@dataclass(frozen=True)
class Options:
    """Train a classifier, a codec, and then camera, codec and classifier as one graph."""

    data: str = "phantom"
    """phantom, or the path of HAM10000: the folder or the zip, as downloaded."""
    limit: int | None = None
    """Use only this many pictures, in the class shares of the whole; 1600 phantoms by default."""
    image_size: int = 64
    """Pixels along a side."""
    start: Literal["unsharp", "identity", "laplacian", "log", "random"] = "unsharp"
    """Kernel from which the camera element learns."""
    kernel_size: int = 7
    """Odd number of taps along a side of it."""
    photons: float = 2000.0
    """Mean photons on a pixel at full scale; fewer are noisier."""
    rate: float = 0.1
    """Price of one bit per pixel in the joint loss."""
    epochs: int = 16
    """Epochs of the classifier and of the joint training; the codec takes half as many."""
    batch_size: int = 32
    """Pictures a step."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    seed: int = 0
    """Source of all randomness."""
    output: Path = Path("runs/quickstart")
    """Run folder; a number is added to the name where it exists already."""
    resume: bool = False
    """Continue an interrupted run in the run folder instead."""


def main(options: Options) -> dict[str, Evaluation]:
    """Run the three trainings and return the evaluation of each row of the table."""
    folder = options.output if options.resume else _free(options.output)
    source = data_config(options.data, image_size=options.image_size)
    sized = {"count" if source.kind == "phantom" else "limit": options.limit or 1600}
    if options.limit or source.kind == "phantom":
        source = source.model_copy(update=sized)
    scenes = build_data(source, progress=True)
    training_set, validation_set, test_set = parts = classify.split(scenes, seed=options.seed)
    print(parts)
    torch.manual_seed(options.seed)  # of the initial weights; all else has seeds of its own

    def train(name: str, system: ImagingSystem, objective: Objective, config: Training) -> None:
        print(f"\n== {name} ({folder / name})")
        fit(
            system,
            training_set,
            validation_set,
            objective=objective,
            config=config,
            directory=folder / name,
            resume=options.resume,
            device=options.device,
        )

    epochs, batch, seed = options.epochs, options.batch_size, options.seed
    training = Training(epochs=epochs, batch_size=batch, seed=seed, monitor="balanced_accuracy")
    task = Objective(class_weight_power=0.5)
    fidelity = Objective(task=0.0, rate=1.0, distortion=100.0)
    rate = options.rate
    everything = Objective(class_weight_power=0.5, rate=rate, distortion=10 * rate)
    front_end = optics.LearnedKernel(options.start, options.kernel_size)
    sensor = optics.Sensor(options.photons, black_level=10, trainable_gain=True)

    # (a) The classifier on perfect pictures, (b) a codec that knows nothing of labels.
    classifier = classify.backbone(classes=len(scenes.classes), image_size=scenes.image_size)
    train("classifier", ImagingSystem(classifier=classifier), task, training)
    codec = compress.FactorizedCodec()
    short = training.model_copy(update={"epochs": max(epochs // 2, 1), "monitor": "loss"})
    train("codec", ImagingSystem(codec=codec), fidelity, short)

    # (c) Camera, codec and classifier as one graph; it starts from (a) and (b).
    stages = {"front_end": front_end, "sensor": sensor, "codec": codec, "classifier": classifier}
    joint = ImagingSystem(**stages).to(options.device)
    rows = {
        "classifier alone": ImagingSystem(classifier=classifier),
        "codec + classifier, frozen pair": ImagingSystem(codec=codec, classifier=classifier),
        "camera + frozen pair": joint,
    }
    results = {name: evaluate(system, test_set) for name, system in rows.items()}
    joint = copy.deepcopy(joint)
    slow = {"learning_rates": {"codec": 1e-3, "classifier": 1e-3, "front_end": 5e-3}}
    train("joint", joint, everything, training.model_copy(update=slow))
    results["camera + codec + classifier, joint"] = evaluate(joint, test_set, count_bytes=True)

    print(f"\nTest set, {len(test_set)} pictures\n{_table(results)}")
    metrics = {
        "options": {name: str(value) for name, value in asdict(options).items()},
        "test": {name: result.to_dict() for name, result in results.items()},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    figure = system_figure(joint, test_set, results["camera + codec + classifier, joint"])
    save_figure(figure, folder / "figure.png")
    print(f"\n{folder / 'figure.png'} shows what the classifier sees.")
    return results


def _table(results: dict[str, Evaluation]) -> str:
    names = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "bpp", "psnr", "throughput")
    heads = ("accuracy", "balanced", "macro F1", "AUC", "bit/pixel", "PSNR dB", "light")
    lines = [f"{'':<36}" + "".join(f"{head:>11}" for head in heads)]
    for row, result in results.items():
        values = [result.scalars()[name] for name in names]
        cells = "".join(f"{'-':>11}" if v is None else f"{v:>11.3f}" for v in values)
        lines.append(f"{row:<36}{cells}")
    return "\n".join(lines)


def _free(folder: Path) -> Path:
    names = itertools.chain([folder], (Path(f"{folder}-{n}") for n in itertools.count(2)))
    return next(name for name in names if not name.exists())


if __name__ == "__main__":
    main(tyro.cli(Options))
