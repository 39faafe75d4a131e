"""How time and memory grow: ``python tests/benchmarks/scale.py [WHAT ...] [--full]``.

Each size is measured in a process of its own, forked from one that has imported everything, so
that its memory is its own: seconds of the processor, and resident memory beyond the imports. The
last column is the exponent of growth, ``log(t2 / t1) / log(n2 / n1)``, against the size
before: 1 is proportional. ``--full`` adds the largest sizes (100 000 pictures, 2048 pixels).
"""

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context

import torch

import classify
import compress
import joint
import optics


def phantoms(count: int) -> object:
    """Draw ``count`` procedural lesions of 32 pixels, and pass them in batches."""
    data = classify.LesionPhantom(count, 32, progress=False)
    rows = torch.arange(count)
    return sum(int(data.gather(part).images[0, 0, 0, 0]) for part in rows.split(256))


def streamed(count: int) -> object:
    """Evaluate a camera and a classifier on ``count`` pictures of 16 pixels, held as 8 bits."""
    images = torch.randint(0, 256, (1000, 3, 16, 16), dtype=torch.uint8).repeat(
        count // 1000, 1, 1, 1
    )
    names = [f"picture{n}" for n in range(count)]
    labels = torch.arange(count) % 7
    data = classify.LesionDataset(images=images, labels=labels, groups=names, identifiers=names)
    system = joint.ImagingSystem(sensor=optics.Sensor(), classifier=_Mean())
    return joint.evaluate(system, data, batch_size=256)


def runs(count: int) -> object:
    """List a study of ``count`` runs, every other one done."""
    from joint import study

    side = count // 2
    axis = study.Axis(path="system.sensor.photons", values=tuple(range(1, side + 1)))
    with tempfile.TemporaryDirectory() as place:
        ledger = study.create_study(study.Study(axes={"light": axis}, seeds=(0, 1)), place)
        for run in ledger.runs[::2]:
            folder = ledger.path(run)
            folder.mkdir(parents=True)
            (folder / "result.json").write_text('{"test": {"accuracy": 0.5}}')
        begin = time.process_time()
        tally = study.open_study(place).tally()
        assert tally.total == 2 * side
        return time.process_time() - begin


def classes(count: int) -> object:
    """Report of 20 000 predictions of ``count`` classes, without intervals."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, count, generator=generator)
    labels = torch.randint(0, count, (20_000,), generator=generator)
    names = [f"class{n}" for n in range(count)]
    begin = time.process_time()
    classify.report(logits.numpy(), labels.numpy(), classes=names)
    return time.process_time() - begin


def _scene(side: int) -> torch.Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def _timed(make: Callable[[int], torch.nn.Module]) -> Callable[[int], object]:
    def work(side: int) -> object:
        stage, scene = make(side), _scene(side)
        begin = time.process_time()
        stage(scene)
        return time.process_time() - begin

    return work


def _lens(side: int) -> torch.nn.Module:
    return optics.IncoherentImaging(torch.full((3, 31, 31), 1 / 961))


class _Mean(torch.nn.Module):
    in_channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.nn.Linear(3, 7)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(image.mean((-2, -1)))


#: What grows: the work, usual sizes, sizes of --full.
WORK: dict[str, tuple[Callable[[int], object], tuple[int, ...], tuple[int, ...]]] = {
    "phantoms drawn": (phantoms, (250, 1000), (10_000, 100_000)),
    "pictures evaluated": (streamed, (1000, 10_000), (100_000,)),
    "runs listed": (runs, (500, 2000), (5000,)),
    "classes reported": (classes, (10, 100, 1000), ()),
    "lens, pixels a side": (_timed(_lens), (256, 512, 1024), (2048,)),
    "4f filter, pixels a side": (
        _timed(lambda side: optics.FourierFilter(side, "spiral")), (256, 512, 1024), (2048,)
    ),
    "sensor, pixels a side": (_timed(lambda side: optics.Sensor()), (256, 512, 1024), (2048,)),
    "factorised codec, pixels a side": (
        _timed(lambda side: compress.FactorizedCodec().eval()), (256, 512, 1024), (2048,)
    ),
    "hyperprior, pixels a side": (
        _timed(lambda side: compress.HyperpriorCodec().eval()), (256, 512, 1024), (2048,)
    ),
    "palette of 16, pixels a side": (
        _timed(lambda side: compress.KMeansCodec(16, restarts=1).eval()), (64, 128, 256), (512,)
    ),
    "JPEG, pixels a side": (_timed(lambda side: compress.JPEG()), (256, 512, 1024), (2048,)),
}  # fmt: skip


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, size: int) -> dict[str, float]:
    """Seconds of the processor, and MB beyond what the imports take."""
    idle, begin = _peak(), time.process_time()
    with torch.no_grad():
        told = WORK[name][0](size)
    spent = told if isinstance(told, float) else time.process_time() - begin
    return {"seconds": spent, "megabytes": _peak() - idle}


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help="part of a name; everything by default")
    parser.add_argument("--full", action="store_true", help="the largest sizes, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| {'what':<32} | {'size':>7} | {'seconds':>9} | {'MB':>7} | growth |")
    print(f"|{'-' * 34}|{'-' * 8}:|{'-' * 10}:|{'-' * 8}:|{'-' * 7}:|")
    for name, (_, usual, full) in WORK.items():
        if options.what and not any(part in name for part in options.what):
            continue
        before: tuple[int, float] | None = None
        for size in (*usual, *(full if options.full else ())):
            with get_context("fork").Pool(1) as pool:
                found = pool.apply(measure, (name, size))
            spent = found["seconds"]
            growth = ""
            if before is not None and before[1] > 0:
                growth = f"{math.log(spent / before[1]) / math.log(size / before[0]):.2f}"
            row = f"| {name:<32} | {size:>7} | {spent:>9.3f} | {found['megabytes']:>7.0f} "
            print(f"{row}| {growth:>6} |", flush=True)
            before = (size, spent)


if __name__ == "__main__":
    main()
