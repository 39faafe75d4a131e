"""Designs at one rate: the weight that follows a target, against one weight for all.

::

    OMP_NUM_THREADS=1 python tests/benchmarks/equal_rate.py --output docs/results/equal_rate.json
    OMP_NUM_THREADS=1 python tests/benchmarks/equal_rate.py --data HAM10000.zip --size 32 \\
        --epochs 6 --batch-size 32 --seeds 0 --targets 0.35 \\
        --output docs/results/equal_rate_ham10000.json

Trains camera, codec and classifier together on phantoms, or on HAM10000, for each target, camera,
codec and seed: once with ``Objective(rate_target=)``, and once with the weight at which that one
ended, held from the start; and, for each camera, codec and seed, with the default weight. The rate
is that of the validation part at the end, of the codec's own count and of whole files; a file of a
learned codec has 27 bytes that are the same for every picture, which is said apart.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

import classify
import compress
import joint
import optics

CODECS = {"factorized": compress.FactorizedCodec, "hyperprior": compress.HyperpriorCodec}
CAMERAS = ("sharp", "poor")


def layer(given: int, made: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(given, made, 3, stride=2, padding=1), nn.BatchNorm2d(made), nn.ReLU()


def system(camera: str, codec: str, *, size: int, seed: int) -> joint.ImagingSystem:
    """A camera, sharp and in good light or blurred and in the dark, and small nets behind it."""
    radius = torch.arange(-3.0, 4.0)
    blur = torch.exp(-(radius[:, None] ** 2 + radius**2) / (2 * 1.5**2))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        front = optics.LearnedKernel(
            blur[None] / blur.sum() if camera == "poor" else "identity", 7, signed=False
        )
        front.requires_grad_(camera == "sharp")  # the blur stays
        return joint.ImagingSystem(
            front_end=front,
            sensor=optics.Sensor(300 if camera == "poor" else 4000),
            codec=CODECS[codec](),
            classifier=nn.Sequential(
                *layer(3, 16),
                *layer(16, 32),
                *layer(32, 64),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(64, 7),
            ),
        )


def trained(
    made: joint.ImagingSystem,
    parts: classify.Split,
    asked: argparse.Namespace,
    seed: int,
    *,
    rate: float = 0.1,
    target: float | None = None,
) -> dict[str, float | None]:
    """Numbers of the validation part after a training."""
    objective = joint.Objective(rate=rate, distortion=10.0, rate_target=target)
    config = joint.Training(
        epochs=asked.epochs, batch_size=asked.batch_size, seed=seed, restore_best=False
    )
    assert parts.validation is not None
    history = joint.fit(
        made, parts.train, parts.validation, objective=objective, config=config, progress=False
    )
    found = joint.evaluate(made, parts.validation, objective=objective, count_bytes=True)
    assert found.report is not None
    last = history.epochs[-1].train
    return {
        "weight": last.get("rate_weight", objective.rate),
        "bpp_training": last["rate"],
        "bpp": found.bpp,
        "bpp_bytes": found.bpp_bytes,
        "psnr": found.psnr,
        "distortion": found.losses["distortion"],
        "task": found.losses["task"],
        "balanced_accuracy": found.report.balanced_accuracy,
    }


def runs(asked: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Every training."""
    if asked.data is None:
        scenes = classify.LesionPhantom(asked.pictures, image_size=asked.size, balance=0.0)
    else:
        scenes = classify.HAM10000(asked.data, image_size=asked.size)
    parts = classify.split(scenes, seed=0)
    for seed, codec, camera in itertools.product(asked.seeds, asked.codecs, CAMERAS):
        what = {"seed": seed, "codec": codec, "camera": camera}

        def made(what: dict = what) -> joint.ImagingSystem:
            return system(**what, size=asked.size)

        found = trained(made(), parts, asked, seed)
        yield {**what, "kind": "default weight", "target": None, **found}
        for target in asked.targets:
            found = trained(made(), parts, asked, seed, target=target)
            yield {**what, "kind": "target", "target": target, **found}
            found = trained(made(), parts, asked, seed, rate=found["weight"] or 0.0)
            yield {**what, "kind": "held weight", "target": target, **found}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--codecs", nargs="+", choices=[*CODECS], default=[*CODECS])
    parser.add_argument("--data", type=Path, help="HAM10000, instead of phantoms")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--targets", type=float, nargs="+", default=[0.4, 0.8])
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    found = []
    for run in runs(asked):
        found.append(run)
        print(json.dumps(run), flush=True)
    if asked.output:
        asked.output.write_text(json.dumps({"runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
