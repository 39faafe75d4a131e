"""How fast a GPU trains, or several.

The small classifier, and a whole camera with ResNet-18, in several precisions. One process trains
on one device; the line below shares every step among all GPUs of a machine::

    python examples/train_gpu.py --data ham10000.zip --device cuda
    torchrun --nproc-per-node 8 examples/train_gpu.py --data ham10000.zip --device cuda

The pictures stay on the device as 8-bit codes and are gathered, turned and exposed there. Writes
``speed.json``: images/s of the fastest epoch, its seconds and pictures; of a GPU, how busy it was
and the most memory in use.
"""

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch.profiler import ProfilerActivity, profile

import classify
import joint
from joint.device import usable_device
from joint.script import without_traceback


@dataclass(frozen=True)
class Options:
    """Measure the speed of training on a device, in several precisions."""

    data: str = "phantom"
    """phantom, or the path of HAM10000: the folder or the zip, as downloaded."""
    limit: int | None = None
    """Use only this many; 2000 phantoms by default."""
    image_size: int = 128
    """Pixels along a side."""
    batch_size: int = 256
    """Pictures a step, all processes together."""
    epochs: int = 2
    """Epochs that are timed, after one to warm up."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """Where to train; cuda gives each process of torchrun a GPU of its own."""
    compile: bool = False
    """Try torch.compile too; it takes a minute or two before the first step."""
    output: Path = Path("runs/train_gpu")
    """Folder of speed.json."""


# %%
# What is timed.
SYSTEMS = {
    "small classifier": joint.SystemConfig(
        front_end=joint.NoneConfig(), sensor=joint.NoneConfig(), codec=joint.NoneConfig()
    ),
    "camera + sensor + codec + ResNet-18": joint.SystemConfig(
        front_end=joint.KernelConfig(),
        sensor=joint.SensorConfig(photons=2000),
        codec=joint.FactorizedConfig(),
        classifier=joint.ClassifierConfig(name="resnet18"),
    ),
}


def settings(options: Options, device: torch.device) -> dict[str, dict[str, Any]]:
    """The ways of training that are compared, by name."""
    fastest = joint.preferred_precision(device)
    ways: dict[str, dict[str, Any]] = {
        "float32, contiguous": {"channels_last": False},
        "float32, channels last": {},
        f"{fastest}, channels last": {"precision": fastest},
    }
    if options.compile:
        ways[f"{fastest}, channels last, compiled"] = {"precision": fastest, "compile": True}
    return ways


def main(options: Options) -> list[dict[str, object]]:
    """Time every system in every way, print a table, and write it."""
    with joint.launched(usable_device(options.device)) as device:
        source = joint.data_config(options.data, image_size=options.image_size)
        sized = {"count" if source.kind == "phantom" else "limit": options.limit or 2000}
        if options.limit or source.kind == "phantom":
            source = source.model_copy(update=sized)
        parts = classify.split(joint.build_data(source, progress=True))
        rows: list[dict[str, object]] = []
        for name, config in SYSTEMS.items():
            for way, changes in settings(options, device).items():
                found = _time(config, options, changes, device, parts)
                rows.append({"system": name, "way": way} | found)
                if os.environ.get("RANK", "0") == "0":  # each at once: the next may take minutes
                    options.output.mkdir(parents=True, exist_ok=True)
                    path = options.output / "speed.json"
                    path.write_text(json.dumps(rows, indent=2) + "\n")
                    shown = "  ".join(f"{key}: {value}" for key, value in rows[-1].items())
                    print(shown, flush=True)
    return rows


def _time(
    config: joint.SystemConfig,
    options: Options,
    changes: dict[str, Any],
    device: torch.device,
    parts: classify.Split,
) -> dict[str, object]:
    train, validation, _ = parts
    assert validation is not None
    objective = joint.Objective(rate=0.1, distortion=1.0)
    if config.codec.kind == "none":
        objective = joint.Objective()
    training = joint.Training(
        epochs=1 + options.epochs, batch_size=options.batch_size, restore_best=False, **changes
    )

    def run(training: joint.Training) -> joint.History:
        system = joint.build_system(
            config, image_size=train.image_size, channels=3, classes=len(train.classes)
        )
        return joint.fit(
            system, train, validation,
            objective=objective, config=training, device=device, progress=False,
        )  # fmt: skip

    records = run(training).epochs[1:]
    speed = max(record.images_per_second for record in records)
    row: dict[str, object] = {
        "images/s": round(speed, 1),
        "seconds an epoch": round(len(train) / speed, 2),
        "pictures an epoch": len(train),
        "device": _name(device),
        "batch": options.batch_size,
        "pixels": options.image_size,
    }
    if device.type == "cuda":  # on a CPU the peak is that of the process, of all rows before too
        row["peak memory, MB"] = round((records[-1].peak_memory or 0) / 1e6)
        with profile(activities=[ProfilerActivity.CUDA]) as trace:
            run(training.model_copy(update={"epochs": 1}))
        busy = [e.time_range for e in trace.events() or () if e.device_type.name == "CUDA"]
        span = max(time.end for time in busy) - min(time.start for time in busy)
        row["GPU busy"] = round(sum(time.elapsed_us() for time in busy) / span, 3)
    return row


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
