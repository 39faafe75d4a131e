"""From light to label in minutes.

A classifier alone, a codec alone, and both with a camera as one graph, on embedded phantom lesions
or HAM10000 (``--data``). Prints a table; writes metrics and a figure.
"""

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tyro

import joint
from joint.figure import save_figure, system_figure
from joint.run.complete import complete_run
from joint.script import without_traceback


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
    """Of the classifier; the others take half. * marks the best so far."""
    batch_size: int = 32
    """Pictures a step."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    seed: int = 0
    """Source of all randomness."""
    output: Path = Path("runs/quickstart")
    """Run folder; a number is added to the name where it exists already."""
    resume: bool = False
    """Go on with the run that was interrupted in --output itself, with the options it had."""


def main(options: Options) -> dict[str, joint.Evaluation]:
    """Run the three trainings and return the evaluation of each row of the table."""
    epochs, rate, seed = options.epochs, options.rate, options.seed
    training = joint.Training(
        epochs=epochs, batch_size=options.batch_size, seed=seed, monitor="balanced_accuracy"
    )
    short = training.model_copy(update={"epochs": max(epochs // 2, 1)})
    task = joint.Objective(class_weight_power=0.5)
    fidelity = joint.Objective(task=0.0, rate=1.0, distortion=100.0)
    everything = joint.Objective(class_weight_power=0.5, rate=rate, distortion=10 * rate)
    front_end = joint.KernelConfig(start=options.start, kernel_size=options.kernel_size)
    sensor = joint.SensorConfig(photons=options.photons, black_level=10, trainable_gain=True)

    folder = options.output if options.resume else _free(options.output)
    source = joint.data_config(options.data, image_size=options.image_size)
    sized = {"count" if source.kind == "phantom" else "limit": options.limit or 1600}
    if options.limit or source.kind == "phantom":
        source = source.model_copy(update=sized)
    none = joint.NoneConfig()
    bare = joint.SystemConfig(front_end=none, sensor=none, codec=none, classifier=none, seed=seed)
    begun = joint.RunConfig(data=source, split=joint.SplitConfig(seed=seed), system=bare)
    parts = joint.build_split(begun, joint.build_data(source, progress=True))
    print(parts)

    def train(
        name: str, stages: dict, start: dict, **rest: joint.Objective | joint.Training
    ) -> joint.ImagingSystem:
        print(f"\n== {name} ({folder / name})")
        config = begun.model_copy(update={"system": bare.model_copy(update=stages), **rest})
        resume, device, path = options.resume, options.device, folder / name
        try:
            return complete_run(config, parts, path, start=start, resume=resume, device=device)
        except joint.ConfigError as error:
            if not resume:
                raise
            why = str(error).partition(",")[0]
            raise SystemExit(f"{why}: give the options it had, or another --output") from error

    # (a) The classifier on perfect pictures, (b) a codec that knows nothing of labels.
    label, bits = {"classifier": joint.ClassifierConfig()}, {"codec": joint.FactorizedConfig()}
    classifier = train("classifier", label, {}, objective=task, training=training)
    blind = short.model_copy(update={"monitor": "loss"})
    codec = train("codec", bits, {}, objective=fidelity, training=blind)

    # (c) Camera, codec and classifier as one graph; it starts from (a) and (b).
    pair = {"codec": codec.codec, "classifier": classifier.classifier}
    camera = {"front_end": front_end, "sensor": sensor}
    with_camera = joint.build_system(
        bare.model_copy(update=camera),
        image_size=parts.test.image_size,
        channels=parts.test.channels,
        classes=len(parts.test.classes),
    )
    slow = {"learning_rates": {"codec": 1e-3, "classifier": 1e-3, "front_end": 5e-3}}
    slowly = short.model_copy(update=slow)
    whole = train("joint", camera | label | bits, pair, objective=everything, training=slowly)
    rows = {
        "classifier alone": classifier,
        "codec + classifier, frozen pair": joint.ImagingSystem(**pair),
        "camera + frozen pair": joint.ImagingSystem(
            front_end=with_camera.front_end, sensor=with_camera.sensor, **pair
        ).to(options.device),
    }
    results = {name: joint.evaluate(system, parts.test) for name, system in rows.items()}
    last = "camera + codec + classifier, joint"
    results[last] = joint.evaluate(whole, parts.test, count_bytes=True)

    print(f"\nTest set, {len(parts.test)} pictures; PSNR to the scene\n{_table(results)}")
    metrics = {
        "options": {name: str(value) for name, value in asdict(options).items()},
        "test": {name: result.to_dict() for name, result in results.items()},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    save_figure(system_figure(whole, parts.test, results[last]), folder / "figure.png")
    print(f"\n{folder / 'figure.png'} shows what the classifier sees.")
    return results


def _table(results: dict[str, joint.Evaluation]) -> str:
    names = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "bpp", "psnr_scene", "throughput")
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
    with without_traceback():
        main(tyro.cli(Options))
