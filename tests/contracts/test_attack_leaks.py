"""A long day in one process: memory stays, and no file, thread, process or hook is left behind."""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import tracemalloc
import warnings
from pathlib import Path

import pytest
import torch

import classify
import compress
import joint
import optics
from joint.cli import main

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")


def resident():
    """Memory of this process, MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _open_files():
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            yield os.readlink(f"/proc/self/fd/{number}")


def left_behind():
    """What a piece of work may leave: open files, threads, children, handlers."""
    return {
        "files": sorted(_open_files()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "children": multiprocessing.active_children(),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "warnings": len(warnings.filters),
        "threads of torch": torch.get_num_threads(),
    }


def settings():
    """What belongs to the caller, and may not change even the first time."""
    here = left_behind()
    return {name: here[name] for name in ("children", "signals", "threads of torch")} | {
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "numbers": torch.random.get_rng_state().tolist(),
    }


def _tensors():
    """Tensors that somebody holds; by their type, as asking some objects for more warns."""
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def hooks(module):
    """Every hook on a module, its parts and its weights."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    found = [h for part in module.modules() for kind in kinds for h in getattr(part, kind).values()]
    found += [h for p in module.parameters() for h in (p._backward_hooks or {}).values()]
    return found


@pytest.fixture(scope="module")
def data():
    return joint.build_data(joint.PhantomConfig(count=4, image_size=16))


@pytest.fixture(scope="module")
def system():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return joint.ImagingSystem(
            front_end=optics.LearnedKernel("identity", 3),
            sensor=optics.Sensor(500),
            codec=compress.FactorizedCodec(),
            classifier=classify.backbone(classes=7),
        )


def _flat(work, *, times, allowed):
    given = settings()
    for _ in range(5):
        work()  # buffers of the allocator, caches of a fixed size
    before, started = left_behind(), resident()
    for _ in range(times):
        work()
    grown = resident() - started
    assert grown < allowed, f"{grown:.1f} MB more after {times} times"
    assert left_behind() == before
    assert settings() == given


def test_a_hundred_evaluations_leave_nothing(system, data):
    _flat(lambda: joint.evaluate(system, data, count_bytes=True), times=100, allowed=12)
    assert not hooks(system)


@pytest.mark.slow
def test_a_thousand_evaluations_keep_memory_flat(system, data):
    _flat(lambda: joint.evaluate(system, data, count_bytes=True), times=1000, allowed=16)
    assert not hooks(system)


def test_no_object_is_kept_by_an_evaluation(system, data):
    """What grows slowly would hide in the allocator: Python's own count does not round."""
    for _ in range(5):
        joint.evaluate(system, data)
    gc.collect()
    tensors = _tensors()
    tracemalloc.start()
    joint.evaluate(system, data)
    gc.collect()
    first = tracemalloc.get_traced_memory()[0]
    for _ in range(10):
        joint.evaluate(system, data)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - first
    tracemalloc.stop()
    assert grown < 50_000, f"{grown} bytes in ten evaluations"
    assert _tensors() <= tensors


@pytest.mark.parametrize("name", ["grad_cam", "integrated_gradients", "occlusion"])
def test_explanations_take_their_hooks_with_them(system, data, name):
    scene = data.gather(range(2)).images.float() / 255
    work = getattr(joint, name)
    system.train().classifier.eval()  # each module has a mode of its own
    modes, given = [module.training for module in system.modules()], settings()
    work(system, scene)
    before = left_behind()
    work(system, scene)
    assert not hooks(system)
    assert left_behind() == before
    assert settings() == given
    assert modes == [module.training for module in system.modules()]
    assert all(p.grad is None and p.requires_grad for p in system.parameters())


def test_a_training_run_leaves_nothing(tmp_path):
    run = [
        "train", "--quiet", "--data.count", "40", "--data.image-size", "16", "--front-end", "none",
        "--codec", "none", "--training.epochs", "1", "--training.monitor", "loss", "--output",
    ]  # fmt: skip
    given = settings()
    assert main([*run, str(tmp_path / "warm")]) == 0
    before = left_behind()
    assert main([*run, str(tmp_path / "run")]) == 0
    assert left_behind() == before
    assert settings() == given
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.startswith(".")]


def test_a_cache_is_let_go_when_it_was_built_and_when_it_was_mapped(tmp_path):
    from PIL import Image

    for root in ("warm", "p"):
        for name in ("a", "b"):
            (tmp_path / root / name).mkdir(parents=True)
            Image.new("RGB", (9, 9), "red").save(tmp_path / root / name / "1.png")

    def load(root):
        data = classify.ImageFolder(tmp_path / root, image_size=8, progress=False)
        return data.gather([0]).images.sum()

    load("warm")
    before = left_behind()
    for _ in range(20):
        load("p")  # the first builds it
    gc.collect()
    assert (tmp_path / "p.cache").is_dir()
    assert left_behind() == before
    mapped = Path("/proc/self/maps").read_text()
    assert str(tmp_path) not in mapped
