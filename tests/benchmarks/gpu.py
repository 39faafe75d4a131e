"""Everything that the pages say of a GPU, one measurement after the other.

::

    python tests/benchmarks/gpu.py --data ham10000.zip --output runs/gpu --minutes 30

Each is a command of its own, as a page gives it. Its output goes to ``OUTPUT/NAME.txt``, how it
ended and the seconds of each try to ``OUTPUT/gpu.json``. What ended well is not measured again;
what the time was too short for is stopped, and the study of the seed goes on from there the next
time. ``--fast --device cpu`` tries every command on a few small phantoms.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from joint import environment
from joint.device import usable_device
from joint.saved.checkpoint import write_atomically

ROOT = Path(__file__).parents[2]
# For a stage of the study to finish its step and save.
_GRACE = 30


class Measurement(NamedTuple):
    """A command of python, how many of it run at once, and whether also when it was done before."""

    words: Sequence[str]
    workers: int = 1
    again: bool = False


def measurements(
    data: str, device: str, output: Path, workers: int, *, fast: bool
) -> dict[str, Measurement]:
    """What is measured, in its order: the cheap ones first, by name."""
    speed = ("examples/train_gpu.py", "--data", data, "--device", device)
    seed = ("examples/ham10000/reproduce.py", "--data", data, "--device", device)
    if fast:
        speed += ("--limit", "120", "--image-size", "16", "--epochs", "1")
        seed += ("--fast",)
    published = (*seed, "--protocol", "seed", "--output", str(output / "published"))
    whole = (*seed, "--seeds", "1" if fast else "8", "--output", str(output / "study"))
    ensemble = ("tests/benchmarks/ensemble.py", "--device", device)
    sizes = ("--size", "32", "64", "128", "--batch", "32", "128", "--members", "4", "8")
    if fast:
        sizes = ("--size", "16", "--batch", "8", "--members", "2", "--rounds", "1")
    stages = ("--longest-first", "--stages-only")
    return {
        "speed": Measurement((*speed, "--compile", "--output", str(output / "speed"))),
        "speed_1024": Measurement(
            (*speed, "--batch-size", "1024", "--output", str(output / "speed_1024"))
        ),
        "ensemble": Measurement((*ensemble, *sizes)),
        "tests": Measurement(("-m", "pytest", "-q", "-n0", "tests/contracts/test_cuda.py")),
        "published": Measurement((*published, "--stages-only")),
        "published_report": Measurement((*published, "--report"), again=True),
        "study": Measurement((*whole, *stages), workers),
        "study_report": Measurement((*whole, "--report"), again=True),
    }


def measure(given: Measurement, log: Path, seconds: float) -> tuple[str, float]:
    """Run a command to its end, or until the time is over: how it ended, and its seconds."""
    started = time.perf_counter()
    with log.open("a") as written:
        running = [
            subprocess.Popen(
                (sys.executable, *given.words), cwd=ROOT, stdout=written, stderr=subprocess.STDOUT
            )
            for _ in range(given.workers)
        ]
        try:
            for each in running:
                each.wait(max(0.0, seconds - (time.perf_counter() - started)))
            ended = "done" if all(each.returncode == 0 for each in running) else "failed"
        except subprocess.TimeoutExpired:
            ended = "stopped"
            for each in running:
                each.terminate()
            for each in running:
                try:
                    each.wait(_GRACE)
                except subprocess.TimeoutExpired:
                    each.kill()
    return ended, round(time.perf_counter() - started, 1)


def main(given: Sequence[str] | None = None) -> Mapping[str, Mapping[str, object]]:
    """Measure what is missing in the time that there is."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--data", default="phantom", help="path of HAM10000: folder or zip")
    asked.add_argument("--device", default="cuda")
    asked.add_argument("--output", type=Path, default=Path("runs/gpu"))
    asked.add_argument("--minutes", type=float, default=60.0)
    asked.add_argument("--workers", type=int, default=14, help="processes of the whole study")
    asked.add_argument("--only", nargs="*", help="names of measurements; all by default")
    asked.add_argument("--fast", action="store_true", help="a few small pictures: does it run?")
    options = asked.parse_args(given)
    device, output = usable_device(options.device), options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    data = options.data if options.data == "phantom" else str(Path(options.data).absolute())
    all_of_them = measurements(data, str(device), output, options.workers, fast=options.fast)
    if unknown := {*(options.only or ())} - all_of_them.keys():
        asked.error(f"no such measurement: {', '.join(sorted(unknown))}; {', '.join(all_of_them)}")
    file, end = output / "gpu.json", time.perf_counter() + 60 * options.minutes
    known = json.loads(file.read_text())["measured"] if file.is_file() else {}
    for name in options.only or all_of_them:
        before, asked_for = known.get(name, {}), all_of_them[name]
        if before.get("ended") == "done" and not asked_for.again:
            continue
        if (left := end - time.perf_counter() - _GRACE) <= 0:
            break
        ended, seconds = measure(asked_for, output / f"{name}.txt", left)
        # Without the folders of one machine.
        words = (w.rpartition("/")[2] if w.startswith("/") else w for w in asked_for.words)
        known[name] = {
            "command": " ".join(("python", *words)),
            "workers": asked_for.workers,
            "ended": ended,
            "seconds": [*before.get("seconds", ()), seconds],
        }
        told = {"environment": asdict(environment(device)), "measured": known}
        write_atomically(file, (json.dumps(told, indent=2) + "\n").encode())
        print(f"{name}: {ended} after {seconds} s", flush=True)
    return known


if __name__ == "__main__":
    main()
