"""A training step: against its stages run alone, and against a composition of other libraries.

CompressAI needs an environment of its own, see ``coding.py``; deepinv goes into the same one::

    python -m venv bench
    bench/bin/python -m pip install -e . einops pandas requests torch-geometric psutil xxhash
    bench/bin/python -m pip install pytorch-msssim torchmetrics h5py natsort
    bench/bin/python -m pip install --no-deps compressai deepinv==0.5.0
    OMP_NUM_THREADS=1 bench/bin/python tests/benchmarks/joint_step.py

Without the two libraries only the first half is measured. All contenders of a half are run in turn,
in rounds, on one thread, 32 pictures of 3 x 128 x 128 a step; printed are the least and the median
CPU time, and ratios of the least ones. Ours is trained as ``joint.fit`` does with the defaults of
``joint.Training``, its memory layout included, and the composition as a user would write it,
contiguous; both are measured in the other layout too, ours with the small codec, and their steps
under autocast to bfloat16, channels last, which pays where the processor has instructions for it.

glibc may hand the memory of every step back to the system and ask for it again, or not, depending
on what else lies in the heap; page faults tell. These settings keep it::

    MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_MMAP_THRESHOLD_=100000000000

A stage alone is its forward pass, and its backward pass from a given gradient to its parameters and
its input. What belongs to none of them (the light's conversion, the exposures' combination, the
objective, clipping, the sums of an epoch, the feed) is listed apart: it is no stage, and counts as
overhead.
"""

import argparse
import json
import platform
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

import joint
from classify import LesionPhantom
from compress import Coded
from joint.feed import Feed, generators
from joint.system import SystemOutput
from joint.train import step
from joint.train.optimizer import make_optimizer
from joint.train.run import TrainingRun
from optics import srgb_to_linear

warnings.simplefilter("ignore", FutureWarning)  # torch's, of CompressAI's use of it

BATCH, SIDE, CLASSES = 32, 128, 7
STEPS = 4  # of an epoch
RATE, DISTORTION = 0.1, 10.0
LAST = joint.Training().channels_last  # what `fit` does when nobody says otherwise

Contender = Callable[[], object]
Times = dict[str, list[float]]


class Measured(NamedTuple):
    """What each contender took, a number for each round."""

    times: Times
    """CPU time, ms."""
    faults: Times
    """Pages that the system had to hand over."""


class Stage(NamedTuple):
    """A part of a system, with an example of what enters it."""

    parameters: list[nn.Parameter]
    call: Callable[..., tuple[Tensor, ...]]
    inputs: tuple[Tensor, ...]
    first: bool = False
    """Nothing before it learns, so that its input needs no gradient."""


def alone(stage: Stage) -> Contender:
    """Forward and backward pass of a stage, cut out of the step."""
    leaves = [x.detach().clone().requires_grad_(not stage.first) for x in stage.inputs]
    generator = torch.Generator().manual_seed(1)
    outputs = stage.call(*leaves)
    # In the layout of the output, as in a step: another one would have to be converted.
    gradients = [torch.empty_like(out).uniform_(0, 1e-3, generator=generator) for out in outputs]
    learning = any(out.requires_grad for out in outputs)

    def run() -> None:
        for tensor in (*stage.parameters, *leaves):
            tensor.grad = None
        outputs = stage.call(*leaves)
        if learning:
            torch.autograd.backward(outputs, gradients)

    return run


class Ours:
    """A system of this library, in the loop that trains it."""

    def __init__(
        self, config: joint.SystemConfig, *, channels_last: bool = LAST, half: bool = False
    ) -> None:
        self.data = LesionPhantom(STEPS * BATCH, SIDE, progress=False)
        self.system = joint.build_system(
            config, image_size=(SIDE, SIDE), channels=3, classes=CLASSES
        ).train()
        self.objective = joint.Objective(rate=RATE, distortion=DISTORTION)
        self.config = joint.Training(
            epochs=1,
            batch_size=BATCH,
            channels_last=channels_last,
            precision="bfloat16" if half else "float32",
        )
        self.system.to(memory_format=layout(channels_last))  # pyright: ignore
        optimizer = make_optimizer(self.system, self.config)
        self.run = TrainingRun(self.system, self.objective, optimizer, self.config, {}, None)
        self.graph = step.Graph(self.run)
        self.feed = Feed(self.data, torch.device("cpu"))
        self.batch = next(self.views())

    def views(self) -> Iterator[step.Batch]:
        """What an epoch passes."""
        rows = step._order(self.feed, self.config, 0)
        return step._batches(self.run, self.feed, rows, torch.arange(len(rows)).split(BATCH))

    def step(self) -> None:
        """One step of the loop, its batch being there."""
        step._step([self.run], self.graph, [step._Prepared([self.batch], BATCH)], self.data.counts)

    def steps(self) -> None:
        """All steps of an epoch, with order, gathering, views and looks."""
        for _ in step.steps([self.run], self.graph, self.feed, progress=False):
            pass
        self.run.step, self.run.seen, self.run.sums = 0, 0, {}

    def optimise(self) -> None:
        """The optimiser alone; after a step, whose gradients it finds."""
        self.run.optimizer.step()

    def stages(self) -> dict[str, Stage]:
        """The stages and what is between them, in the order of the light."""
        system, noise = self.system, generators(range(BATCH), torch.device("cpu"))
        front_end, sensor, codec, classifier = (
            system.front_end, system.sensor, system.codec, system.classifier,
        )  # fmt: skip
        assert front_end is not None
        assert sensor is not None
        assert codec is not None
        assert classifier is not None
        labels, counts = self.batch.labels, self.data.counts
        with torch.no_grad():
            light = srgb_to_linear(self.batch.scenes)
            output = system(self.batch.scenes, generator=noise)
        coded = output.coded
        assert output.irradiance is not None
        assert output.raw is not None
        assert output.logits is not None
        assert coded is not None

        def coding(picture: Tensor) -> tuple[Tensor, ...]:
            result = codec(picture, generator=noise)
            return result.reconstruction, result.bits_map

        def objective(
            measurement: Tensor, reconstruction: Tensor, bits_map: Tensor, logits: Tensor
        ) -> tuple[Tensor, ...]:
            of_codec = Coded(reconstruction, None, bits_map, coded.side_bits, coded.rate)
            passed = SystemOutput(
                scene=self.batch.scenes,
                irradiance=None,
                raw=None,
                measurement=measurement,
                coded=of_codec,
                handed=reconstruction,
                logits=logits,
            )
            return (self.objective(passed, labels, counts=counts, epoch=0).total,)

        return {
            "linear light": Stage(
                [], lambda x: (srgb_to_linear(x),), (self.batch.scenes,), first=True
            ),
            "front end": Stage(
                [*front_end.parameters()], lambda x: (front_end(x),), (light,), first=True
            ),
            "sensor": Stage(
                [*sensor.parameters()],
                lambda x: (sensor(x, exposures=front_end.exposures, generator=noise),),
                (output.irradiance,),
            ),
            "development": Stage([], lambda x: (system.develop(x),), (output.raw,)),
            "codec": Stage([*codec.parameters()], coding, (output.measurement,)),
            "classifier": Stage(
                [*classifier.parameters()], lambda x: (classifier(x),), (output.handed,)
            ),
            "objective": Stage(
                [],
                objective,
                (output.measurement, coded.reconstruction, coded.bits_map, output.logits),
            ),
        }


STAGES = ("front end", "sensor", "codec", "classifier", "optimiser")
BETWEEN = ("linear light", "development", "objective", "clipping")


def overhead(rounds: int) -> Measured:
    """The default system: its steps, its stages, and what is between them."""
    ours = Ours(joint.SystemConfig())
    other = Ours(joint.SystemConfig(), channels_last=not LAST)
    validation = LesionPhantom(BATCH, SIDE, seed=1, progress=False)
    trained = Ours(joint.SystemConfig()).system

    def fit() -> None:
        joint.fit(
            trained,
            ours.data,
            validation,
            objective=ours.objective,
            config=ours.config,
            progress=False,
        )

    contenders: dict[str, Contender] = {
        "step": ours.step,
        "optimiser": ours.optimise,  # directly after the step, whose gradients it needs
        "clipping": lambda: step._clip(ours.run),
        **{name: alone(stage) for name, stage in ours.stages().items()},
        "views": lambda: [*ours.views()],
        "epoch": ours.steps,
        "fit": fit,
        "validation": lambda: joint.evaluate(
            ours.system, validation, objective=ours.objective, batch_size=BATCH
        ),
        "step in the other layout": other.step,
        "step in bfloat16": Ours(joint.SystemConfig(), half=True).step,
    }
    return measure(contenders, rounds)


def composition(
    quality: int, *, channels_last: bool, half: bool = False
) -> tuple[dict[str, Contender], dict[str, int]]:
    """What a user would write with deepinv, CompressAI and torchvision: its step and its stages."""
    from compressai.zoo import bmshj2018_factorized  # pyright: ignore
    from deepinv.physics import Blur, PoissonGaussianNoise  # pyright: ignore
    from torchvision.models import resnet18

    kernel = nn.Parameter(start_kernel().expand(1, 3, -1, -1).clone())
    camera = Blur(padding="replicate")
    # 10 000 photons at a quantum efficiency of 0.6, 2 electrons of read noise: as our sensor.
    noise = PoissonGaussianNoise(gain=1 / 6000, sigma=2 / 6000, clip_positive=True)
    memory = layout(channels_last)
    codec = bmshj2018_factorized(quality).train().to(memory_format=memory)
    classifier = resnet18(num_classes=CLASSES).train().to(memory_format=memory)
    parameters = [kernel, *codec.parameters(), *classifier.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-4)
    data = LesionPhantom(BATCH, SIDE, progress=False).gather(torch.arange(BATCH))
    scene, labels = data.images.float() / 255, data.labels
    if channels_last:
        scene = scene.contiguous(memory_format=memory)

    def coding(picture: Tensor) -> tuple[Tensor, ...]:
        result = codec(picture)
        return result["x_hat"], result["likelihoods"]["y"]

    def loss(
        picture: Tensor, decoded: Tensor, likelihoods: Tensor, logits: Tensor
    ) -> tuple[Tensor, ...]:
        bpp = -likelihoods.log2().sum() / (BATCH * SIDE * SIDE)
        error = (decoded - picture).abs().mean()
        return (functional.cross_entropy(logits, labels) + RATE * bpp + DISTORTION * error,)

    def step() -> None:
        optimizer.zero_grad()
        picture = noise(camera.A(scene, filter=kernel)).clamp(0, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            decoded, likelihoods = coding(picture)
            logits = classifier(decoded)
        (total,) = loss(picture, decoded.float(), likelihoods.float(), logits.float())
        total.backward()
        optimizer.step()

    with torch.no_grad():
        light = camera.A(scene, filter=kernel)
        picture = noise(light).clamp(0, 1)
        decoded, likelihoods = coding(picture)
        logits = classifier(decoded)
    stages = {
        "front end": Stage([kernel], lambda x: (camera.A(x, filter=kernel),), (scene,), first=True),
        "sensor": Stage([], lambda x: (noise(x).clamp(0, 1),), (light,)),
        "codec": Stage([*codec.parameters()], coding, (picture,)),
        "classifier": Stage([*classifier.parameters()], lambda x: (classifier(x),), (decoded,)),
        "objective": Stage([], loss, (picture, decoded, likelihoods, logits)),
    }
    contenders: dict[str, Contender] = {
        "step": step,
        "optimiser": optimizer.step,
        **{name: alone(stage) for name, stage in stages.items()},
    }
    return contenders, {"codec": count(codec), "classifier": count(classifier)}


def layout(channels_last: bool) -> torch.memory_format:
    """Of weights and pictures."""
    return torch.channels_last if channels_last else torch.preserve_format


def named(channels_last: bool, half: bool = False) -> str:
    """The layout and the precision, in a table."""
    return ("channels last" if channels_last else "contiguous") + (", bfloat16" if half else "")


def start_kernel() -> Tensor:
    """The Gaussian of seven taps from which both front ends start."""
    x = torch.arange(7.0) - 3
    taps = torch.exp(-x.square() / (2 * (7 / 6) ** 2))
    return taps[:, None] * taps / taps.sum() ** 2


def count(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def against(rounds: int, quality: int) -> tuple[Measured, dict[str, dict[str, int]]]:
    """Ours with both sizes of the codec, and the composition, in layouts and precisions."""
    contenders: dict[str, Contender] = {}
    sizes: dict[str, dict[str, int]] = {}
    small, large = joint.FactorizedConfig(), joint.FactorizedConfig(size="large")
    for codec, channels_last, half in (
        (small, LAST, False),
        (large, LAST, False),
        (small, not LAST, False),
        (small, LAST, True),
    ):
        ours = Ours(
            joint.SystemConfig(
                front_end=joint.KernelConfig(start="gaussian", signed=False),
                codec=codec,
                classifier=joint.ClassifierConfig(name="resnet18"),
            ),
            channels_last=channels_last,
            half=half,
        )
        own: dict[str, Contender] = {"step": ours.step}
        if not half:  # the stages alone know nothing of autocast
            own |= {
                "optimiser": ours.optimise,
                "clipping": lambda ours=ours: step._clip(ours.run),
                **{name: alone(stage) for name, stage in ours.stages().items()},
            }
        name = f"ours, {codec.size} codec, {named(channels_last, half)}"
        contenders |= {f"{name}: {part}": run for part, run in own.items()}
        parts = {"codec": ours.system.codec, "classifier": ours.system.classifier}
        sizes[name] = {part: count(module) for part, module in parts.items() if module is not None}
    for channels_last, half in ((False, False), (True, False), (True, True)):
        name = f"composition, {named(channels_last, half)}"
        theirs, sizes[name] = composition(quality, channels_last=channels_last, half=half)
        kept = ("step",) if half else theirs
        contenders |= {f"{name}: {part}": theirs[part] for part in kept}
    return measure(contenders, rounds), sizes


def measure(contenders: dict[str, Contender], rounds: int) -> Measured:
    """Take the contenders in turn, after a round that does not count."""
    times: Times = {name: [] for name in contenders}
    faults: Times = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            begin = time.process_time()
            run()
            taken = 1e3 * (time.process_time() - begin)
            if number:
                times[name].append(taken)
                faults[name].append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages)
    return Measured(times, faults)


def show_overhead(measured: Measured) -> None:
    """Print the first table."""
    times = measured.times
    least = {name: min(values) for name, values in times.items()}
    middle = {name: statistics.median(values) for name, values in times.items()}
    print("| part | least, ms | median, ms | page faults |\n|---|---|---|---|")
    for name in times:
        faults = statistics.median(measured.faults[name])
        print(f"| {name} | {least[name]:.1f} | {middle[name]:.1f} | {faults:.0f} |")
    for label, figure in (("least", least), ("median", middle)):
        stages = sum(figure[name] for name in STAGES)
        glue = sum(figure[name] for name in BETWEEN)
        whole = {
            "a step": figure["step"],
            "a step of an epoch": figure["epoch"] / STEPS,
            "a step of fit without its validation": (figure["fit"] - figure["validation"]) / STEPS,
        }
        ratios = ", ".join(f"{name} {ms:.1f} ({ms / stages:.3f}x)" for name, ms in whole.items())
        print(f"\n{label}: stages alone {stages:.1f} ms, between them {glue:.1f} ms; {ratios}")


def show_against(measured: Measured, sizes: dict[str, dict[str, int]]) -> None:
    """Print the second table."""
    times = measured.times
    parts = ("step", *STAGES)
    print(f"\n| | codec's parameters | {' | '.join(parts)} | ratio, least | ratio, median |")
    print("|---" * (len(parts) + 4) + "|")
    reference = times["composition, contiguous: step"]
    for name, size in sizes.items():
        found = [times.get(f"{name}: {part}") for part in parts]
        cells = [f"{min(each):.0f}" if each else "" for each in found]
        step = times[f"{name}: step"]
        ratios = [f"{f(reference) / f(step):.2f}x" for f in (min, statistics.median)]
        print(f"| {name} | {size['codec']} | {' | '.join(cells)} | {' | '.join(ratios)} |")
    print(f"\nclassifiers' parameters: { ({n: s['classifier'] for n, s in sizes.items()}) }")


def main() -> None:
    """Print two tables, and write all times as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="of the first half")
    parser.add_argument("--peer-rounds", type=int, default=7, help="of the second half")
    parser.add_argument("--quality", type=int, default=1, help="of CompressAI's model, 1 to 8")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, object] = {
        "machine": f"{platform.machine()}, torch {torch.__version__}, one thread"
    }
    if options.rounds:
        measured = overhead(options.rounds)
        results["overhead"] = measured._asdict()
        show_overhead(measured)
    if options.peer_rounds:
        try:
            measured, sizes = against(options.peer_rounds, options.quality)
        except ImportError as error:
            print(f"\nNo second half: {error}.\n\n{__doc__}")
        else:
            results["against"], results["parameters"] = measured._asdict(), sizes
            show_against(measured, sizes)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
