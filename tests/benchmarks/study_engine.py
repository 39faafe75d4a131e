"""What the engine of studies costs beside the training: claims, folders, questions, lists.

    python tests/benchmarks/study_engine.py

The runs write their files and train nothing. Times are those of the processor, which neighbours on
the machine do not change much.
"""

import argparse
import importlib
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import joint
from joint.saved.folder import RunFolder
from joint.study import (
    GP,
    TPE,
    Axis,
    Ledger,
    Plan,
    Sobol,
    Study,
    create_study,
    open_study,
    progress,
    rows,
    to_text,
    work,
)

_SECONDS = 20.0  # of a run, of which the engine may take 5 %


def _trained(config: joint.RunConfig, folder: RunFolder, *_: object, **__: object) -> bool:
    """Write what a run of 20 epochs would."""
    joint.save_config(config, folder.path)
    folder.record_environment("cpu")
    assert isinstance(config.system.sensor, joint.SensorConfig)
    light = config.system.sensor.photons / 1e4
    names = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "auc", "bpp", "psnr", "ssim")
    numbers = dict.fromkeys(names, light)
    for epoch in range(20):
        folder.append_history({"epoch": epoch, "validation": numbers, "images_per_second": 100.0})
    classes = [{"name": name, "recall": 0.5, "interval": [0.1, 0.9]} for name in "abcdefg"]
    test = {**numbers, "report": {"classes": classes, "confusion": [[1] * 7] * 7}}
    folder.finish({"digest": config.digest(), "best_epoch": 0, "costs": {}, "test": test})
    return True


def _study(folder: Path, sampler: Sobol | TPE | GP, seeds: int) -> Ledger:
    light = Axis(path="system.sensor.photons", low=10, high=1e4, scale="log")
    noise = Axis(path="system.sensor.read_noise", low=0.1, high=10, scale="log")
    axes = {"light": light, "noise": noise}
    return create_study(
        Study(axes=axes, sampler=sampler, seeds=tuple(range(seeds)), plan=Plan()), folder
    )


def _worked(folder: Path, sampler: Sobol | TPE | GP, seeds: int) -> float:
    """Seconds of the processor for each run."""
    ledger = _study(folder, sampler, seeds)
    start = time.process_time()
    done = work(ledger.folder).done
    return (time.process_time() - start) / done


def _started(folder: Path) -> float:
    """Seconds of the processor until a worker is ready, and gone again."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = multiprocessing.get_context("spawn").Process(target=work, args=(folder,))
    process.start()
    process.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the costs as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="of the study that is listed")
    runs = parser.parse_args().runs
    vars(importlib.import_module("joint.study.work")).update(execute=_trained)
    vars(importlib.import_module("joint.study.scenes")).update(build_data=lambda _: None)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as root:
        large = Path(root) / "large"
        found["seconds_a_run"] = _worked(large, Sobol(count=runs // 8), 8)
        for name, look in (
            ("tally", lambda: open_study(large).tally()),
            ("progress", lambda: progress(open_study(large))),
            ("list", lambda: to_text(rows(open_study(large)))),
        ):
            start = time.process_time()
            look()
            found[f"seconds_to_{name}_{runs}"] = time.process_time() - start
        found["seconds_a_worker"] = _started(large)
        tpe = _worked(Path(root) / "tpe", TPE(count=60), 1)
        gp = _worked(Path(root) / "gp", GP(count=30), 1)
        found["seconds_a_run_tpe_60"], found["seconds_a_run_gp_30"] = tpe, gp
    # Sixty runs, two workers.
    share = (found["seconds_a_run"] + found["seconds_a_worker"] / 30) / _SECONDS
    found["share_of_20_s"] = share
    print(json.dumps({name: round(value, 4) for name, value in found.items()}, indent=1))


if __name__ == "__main__":
    main()
