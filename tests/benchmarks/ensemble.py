"""Several runs in one process: stacked by ``joint.fit_ensemble``, against one after the other.

::

    OMP_NUM_THREADS=1 python tests/benchmarks/ensemble.py
    python tests/benchmarks/ensemble.py --device cuda --size 32 64 128 --batch 32 128 --members 4 8

Whole training steps are timed, with feed, views, cameras, objective, clipping and optimiser; both
ways in turn, in rounds, on the same pictures. Printed are the least times of a step of all members
together, the CPU time of one thread or the time of the GPU, and their ratio: above 1 the stack is
faster.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import torch

import joint
from classify import LesionPhantom
from joint.feed import Feed, as_scenes
from joint.train.loop import begun
from joint.train.stack import Stack
from joint.train.step import Graph, Passes, steps

CODECS = {
    "none": joint.NoneConfig(),
    "autoencoder": joint.AutoencoderConfig(),
    "hyperprior": joint.HyperpriorConfig(),
}
STEPS = 4


def epochs(
    members: int,
    size: int,
    batch: int,
    codec: str,
    camera: bool,
    device: torch.device,
    precision: Literal["float32", "bfloat16"],
) -> dict[str, Callable[[], None]]:
    """An epoch of steps, stacked and one by one."""
    data = LesionPhantom(STEPS * batch, size, progress=False)
    config = joint.SystemConfig(
        front_end=joint.KernelConfig() if camera else joint.NoneConfig(),
        sensor=joint.SensorConfig() if camera else joint.NoneConfig(),
        codec=CODECS[codec],
    )
    training = joint.Training(batch_size=batch, precision=precision)
    objective = joint.Objective(distortion=float(codec != "none"))
    feed = Feed(data, device)
    runs = []
    for _ in range(members):
        system = joint.build_system(config, image_size=(size, size), channels=3, classes=7)
        begin = (system.to(device).train(), objective, training, data, data, None)
        runs.append(begun(*begin, resume=False))
    look, _ = as_scenes(data.gather(torch.tensor([0, 1])), device)

    def passed(group: list, graph: Passes) -> None:
        with graph.ready() as passing:
            for _ in steps(group, passing, feed, progress=False):
                pass
        for run in group:
            run.step, run.seen, run.sums = 0, 0, {}

    def one_by_one() -> None:
        for run in runs:
            passed([run], Graph(run))

    return {"stacked": lambda: passed(runs, Stack(runs, look)), "one by one": one_by_one}


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"


def taken(call: Callable[[], None], device: torch.device) -> float:
    """Milliseconds of a step."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - began) / STEPS
    began = time.process_time()
    call()
    return 1e3 * (time.process_time() - began) / STEPS


def main() -> None:
    """Measure what the options say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--members", type=int, nargs="+", default=[8])
    parser.add_argument("--codec", choices=CODECS, nargs="+", default=["none", "autoencoder"])
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    rows = []
    for members, size, batch, codec, camera in cases(options):
        found = epochs(members, size, batch, codec, camera, device, options.precision)
        times: dict[str, list[float]] = {name: [] for name in found}
        for number in range(options.rounds + 1):
            for name, call in found.items():
                spent = taken(call, device)
                if number:  # the first round warms up
                    times[name].append(spent)
        least = {name: min(spent) for name, spent in times.items()}
        rows.append(
            {"members": members, "size": size, "batch": batch, "codec": codec, "camera": camera}
            | {"precision": options.precision, "device": _name(device)}
            | {"ms": times, "ratio": least["one by one"] / least["stacked"]}
        )
        print(
            f"{members} members, {size} px, batches of {batch}, codec {codec}, "
            f"{'with' if camera else 'without'} camera: stacked {least['stacked']:.0f} ms, one by "
            f"one {least['one by one']:.0f} ms, ratio {rows[-1]['ratio']:.2f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows))


def cases(options: argparse.Namespace) -> Iterator[tuple[int, int, int, str, bool]]:
    """What is measured, in order."""
    for members in options.members:
        for size in options.size:
            for batch in options.batch:
                for codec in options.codec:
                    for camera in (False, True):
                        yield members, size, batch, codec, camera


if __name__ == "__main__":
    main()
