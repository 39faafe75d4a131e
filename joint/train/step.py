"""A step of training: from the pictures of a run, through its system, to new weights.

::

    order of the epoch ─► parts of a step ─► Batch: views, labels, noise, teacher's scores
                                               │                         one of each run
                                               ▼
    new weights ◄─ optimiser ◄─ clipping ◄─ Graph: totals and terms, backward

Several runs take a step together where they are stacked (:mod:`joint.train.ensemble`): then the
pass is one, and everything else each run's own.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from classify import mix, sample_order
from joint.feed import Feed, derive_seed, generators
from joint.objective import Objective
from joint.parallel import all_reduce, normalising_together, rank, world_size
from joint.system import SystemOutput

from .augment import augment
from .run import CLIPPED, NORM, TrainingDiverged, TrainingRun
from .teacher import said
from .training import Training

__all__ = [
    "LOOK",
    "Batch",
    "Graph",
    "Pass",
    "Passed",
    "Passes",
    "check_finite",
    "seed_default",
    "steps",
    "weighed",
]

#: Steps between two looks at what a GPU, or the other processes, have to say: each one waits.
LOOK = 20


class Batch(NamedTuple):
    """What goes through a system at once."""

    scenes: Tensor
    """``[B, C, H, W]`` in 0..1."""
    labels: Tensor
    """int64 ``[B]``, or shares of the classes ``[B, K]``."""
    noise: list[torch.Generator]
    """One for each picture; none where nothing draws."""
    key: int
    """Seed of what takes no generator: dropout and stochastic depth."""
    taught: Tensor | None = None
    """What a teacher says of these scenes ``[B, K]``, where there is one."""
    rate_weight: Tensor | None = None
    """Weight of the rate in this step, a scalar, where it moves."""


class Passed(NamedTuple):
    """What a pass comes to."""

    total: Tensor
    """What is minimised, a scalar."""
    terms: dict[str, Tensor]
    """Terms of the objective, scalars without a graph."""


#: Batches of the runs, pictures of each class, and the epoch, to what each run comes to.
Pass = Callable[[Sequence[Batch], Tensor, int], list[Passed]]


class Passes(Protocol):
    """Systems and objectives of runs that take their steps together."""

    def ready(self) -> AbstractContextManager[Pass]:
        """The forward pass of a step, while the block lasts."""
        ...


class Graph(nn.Module):
    """System and objective of a run as one module: the forward pass of a step."""

    def __init__(self, run: TrainingRun) -> None:
        super().__init__()
        self.system = torch.compile(run.system) if run.config.compile else run.system
        self.objective = run.objective
        self.low_precision = run.config.precision == "bfloat16"
        self.device = run.device

    @contextmanager
    def ready(self) -> Iterator[nn.Module]:
        """What passes the batches; the processes share its gradients.

        Filters of warnings that are set meanwhile end with it.
        """
        device = self.device
        if world_size() == 1:
            yield self
            return
        with warnings.catch_warnings():
            # What torch offers in its place sends the buffers once an epoch, for nothing.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            # Of the passes: a gradient that lies in memory otherwise than its parameter, as that of
            # a 1x1 convolution may, is copied where it is shared. Nobody can mend it, and the
            # weights of such layers are few.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view", UserWarning)
            together = DistributedDataParallel(
                self,
                device_ids=[device] if device.type == "cuda" else None,
                # Equal everywhere by construction, see `normalising_together`.
                broadcast_buffers=False,
                # A term without a weight leaves the parameters that only it depends on without a
                # gradient. Where all have one, torch notes that the search costs; a step of two
                # processes took as long without it.
                find_unused_parameters=True,
            )
            yield together

    def forward(self, batches: Sequence[Batch], counts: Tensor, epoch: int) -> list[Passed]:
        """Pass the batch of each run: of the only one, here."""
        (batch,) = batches
        seed_default(batch.key, batch.scenes.device)
        with torch.autocast(
            batch.scenes.device.type, dtype=torch.bfloat16, enabled=self.low_precision
        ):
            output = self.system(batch.scenes, generator=batch.noise)
            return [weighed(self.objective, output, batch, counts, epoch)]


def weighed(
    objective: Objective, output: SystemOutput, batch: Batch, counts: Tensor, epoch: int
) -> Passed:
    """What the pass of a batch comes to by the objective of its run."""
    losses = objective(
        output,
        batch.labels,
        counts=counts,
        epoch=epoch,
        teacher=batch.taught,
        rate_weight=batch.rate_weight,
    )
    return Passed(losses.total, {name: term.detach() for name, term in losses.named().items()})


def seed_default(key: int, device: torch.device) -> None:
    """Seed torch's own generators, of the CPU and of a tensor's device, which `fit` forks.

    Not by ``torch.cuda.manual_seed``, which seeds that of the current GPU, not of this one.
    """
    torch.default_generator.manual_seed(key)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(key)


def steps(
    runs: Sequence[TrainingRun], graph: Pass, feed: Feed, *, progress: bool
) -> Iterator[list[Tensor]]:
    """Take the remaining steps of an epoch, and yield the loss of each run after each step.

    Parameters
    ----------
    runs : sequence of TrainingRun
        At one step of one epoch.
    graph : callable
        Passes their batches.
    feed : Feed
        The training set of all of them.
    progress : bool
        Show a bar, on a terminal.

    Raises
    ------
    TrainingDiverged
        When a loss, or a weight that a stage refuses to work with, is no longer finite; when one is
        too large for what a stage computes of it.
    """
    first = runs[0]
    given = zip(*(_prepared(run, feed) for run in runs), strict=True)
    with tqdm(
        total=len(feed.dataset),
        initial=first.seen,
        unit="image",
        desc=f"epoch {first.epoch + 1}/{first.config.epochs}",
        disable=None if progress else True,  # None: shown on a terminal only
        leave=False,
    ) as bar:
        for prepared in given:
            pictures = prepared[0].pictures
            try:
                with first.in_range():
                    passed = _step(runs, graph, prepared, feed.dataset.counts)
            except (ValueError, RuntimeError):
                for run in runs:
                    run.check_weights()  # a stage may refuse what one that diverged hands it
                raise
            for run in runs:
                run.end_step(pictures)
            # Reading a number from a GPU makes it wait, so not at every step there.
            if first.device.type == "cpu" or first.step % LOOK == 0:
                for run, (_, terms) in zip(runs, passed, strict=True):
                    check_finite(run, terms["total"])
                bar.set_postfix({n: f"{float(term):.4f}" for n, term in passed[0].terms.items()})
            bar.update(pictures)
            yield [terms["total"] for _, terms in passed]


class _Prepared(NamedTuple):
    """A step that is ready to be taken."""

    parts: list[Batch]
    pictures: int
    """Of all processes together."""


def _prepared(run: TrainingRun, feed: Feed) -> Iterator[_Prepared]:
    """The remaining steps of the epoch; the learning rate of each is set when it is asked for."""
    config = run.config
    rows = _order(feed, config, run.epoch)
    # A step is a piece of the order: places in it, in one or more parts.
    pieces = torch.arange(len(rows)).tensor_split(math.ceil(len(rows) / config.batch_size))
    parts = [_share(places, config.micro_batches) for places in pieces[run.step :]]
    batches = _batches(run, feed, rows, [part for step in parts for part in step])
    for places, step in zip(pieces[run.step :], parts, strict=True):
        factor = config.rate_factor(run.epoch + run.step / len(pieces))
        for group in run.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        yield _Prepared([next(batches) for _ in step], len(places))


def _batches(
    run: TrainingRun, feed: Feed, rows: Tensor, parts: Sequence[Tensor]
) -> Iterator[Batch]:
    """Views of the pictures at the places of each part, and the sources of their noise."""
    config, epoch = run.config, run.epoch
    views, noises = (feed.drawn_seeds(rows, config.seed, what, epoch) for what in ("view", "noise"))
    theirs = None
    if run.teacher is not None and run.teacher.draws:
        theirs = feed.drawn_seeds(rows, config.seed, "teacher", epoch)
    gathered_parts = feed.batches([rows[part] for part in parts])
    for part, (pictures, classes) in zip(parts, gathered_parts, strict=True):
        labels = classes
        scenes = augment(
            pictures,
            config.augmentation,
            generator=views[part.numpy()],
            encoding=run.system.encoding,
        )
        noise = generators(noises[part.numpy()], run.device) if run.system.draws else []
        place = int(part[0])
        if config.mixing != "none":
            pairs = torch.Generator()
            pairs.manual_seed(derive_seed(config.seed, "mix", epoch, place))
            shares = functional.one_hot(labels, len(feed.dataset.classes)).to(scenes.dtype)
            scenes, labels = mix(
                scenes, shares, kind=config.mixing, alpha=config.mixing_alpha, generator=pairs
            )
        if config.channels_last:
            scenes = scenes.contiguous(memory_format=torch.channels_last)
        taught = None
        if run.teacher is not None:
            draws = [] if theirs is None else generators(theirs[part.numpy()], run.device)
            taught = said(run.teacher, scenes, noise=draws, precision=config.precision)
        key = derive_seed(config.seed, "step", epoch, place)
        weight = None if run.rate_weight is None else run.rate_weight()
        yield Batch(scenes, labels, noise, key, taught, weight)


def _step(
    runs: Sequence[TrainingRun], graph: Pass, given: Sequence[_Prepared], counts: Tensor
) -> list[Passed]:
    """One step of the optimiser of each run, all processes together.

    Returns what the last part came to that this process passed, of each run.
    """
    for run in runs:
        run.optimizer.zero_grad(set_to_none=True)
    pictures, epoch = given[0].pictures, runs[0].epoch
    passed: list[Passed] = []
    rates: list[list[Tensor]] = [[] for _ in runs]
    parts = list(zip(*(prepared.parts for prepared in given), strict=True))
    for number, batches in enumerate(parts, 1):
        count = len(batches[0].labels)
        with _sharing(graph, number == len(parts)), normalising_together(runs[0].system):
            passed = graph(batches, counts, epoch)
            # The processes' gradients are averaged: the sum over parts is the mean of the step.
            share = count * world_size() / pictures
            torch.autograd.backward([total * share for total, _ in passed])
        for run, (_, terms), own in zip(runs, passed, rates, strict=True):
            run.count(terms, count)
            if run.rate_weight is not None:
                own.append(terms["rate"] * (count / pictures))
    for run, own in zip(runs, rates, strict=True):
        run.count(_clip(run), pictures / world_size())
        run.optimizer.step()
        if run.rate_weight is not None:
            run.count(run.rate_weight.named(), pictures / world_size())
            rate = torch.stack(own).sum()
            if world_size() > 1:
                rate = all_reduce(rate)
            run.rate_weight.see(rate, run.step)
            if "codec" in run.config.learning(epoch):  # or the rate would not answer
                group = run.optimizer.param_groups[0]
                run.rate_weight.follow(rate, group["lr"] / group["peak"])
    return passed


def _sharing(graph: Pass, last: bool) -> AbstractContextManager[None]:
    """Share the gradients with the other processes with the last part of a step only."""
    alone = isinstance(graph, DistributedDataParallel) and not last
    return graph.no_sync() if alone else nullcontext()  # pyright: ignore[reportCallIssue]


def _share(places: Tensor, micro_batches: int) -> list[Tensor]:
    """Places of a step that this process passes, part by part."""
    own = places.tensor_split(world_size())[rank()]
    return list(own.tensor_split(micro_batches))


def _order(feed: Feed, config: Training, epoch: int) -> Tensor:
    """Rows of an epoch, in the order in which they are shown."""
    if config.sampling_power == 0:
        return feed.shuffled(config.seed, "order", epoch)
    source = torch.Generator().manual_seed(derive_seed(config.seed, "order", epoch))
    labels = feed.dataset.labels
    wanted = labels[sample_order(labels, power=config.sampling_power, generator=source)].bincount()
    # So many of each class; which ones, and when, their names tell, and not their rows: a picture
    # that is added or removed moves no two others past each other.
    rows = feed.shuffled(config.seed, "drawn", epoch)
    drawn = []
    for label, count in enumerate(wanted.tolist()):
        members = rows[labels[rows] == label]
        drawn.append(members[torch.arange(count) % max(len(members), 1)])
    shown = torch.cat(drawn)
    places = np.argsort(feed.drawn_seeds(shown, config.seed, "order", epoch), kind="stable")
    return shown[torch.from_numpy(places)]


def _clip(run: TrainingRun) -> dict[str, Tensor]:
    """Limit the gradient of each stage, and return its norm before that, and whether it was."""
    # Stage by stage: a steep codec must not take the step away from the optics.
    limit = math.inf if run.config.gradient_clip is None else run.config.gradient_clip
    found = {}
    for name, stage in run.system.stages():
        parameters = [p for p in stage.parameters() if p.requires_grad and p.grad is not None]
        if parameters:
            norm = nn.utils.clip_grad_norm_(parameters, limit).detach()
            found |= {NORM + name: norm, CLIPPED + name: norm > limit}
    return found


def check_finite(run: TrainingRun, loss: Tensor) -> None:
    """Refuse a loss that is no number.

    Raises
    ------
    TrainingDiverged
        Naming the stages whose gradients are none.
    """
    if bool(torch.isfinite(loss)):
        return
    broken = [
        name
        for name, stage in run.system.stages()
        if any(p.grad is not None and not torch.isfinite(p.grad).all() for p in stage.parameters())
    ]
    where = f" (gradients no longer finite in: {', '.join(broken)})" if broken else ""
    raise TrainingDiverged(
        f"the loss became {float(loss)} in epoch {run.epoch + 1}, step {run.step}{where}. Lower "
        f"the learning rate of that stage, or set a smaller gradient_clip; {run.kept()}"
    )
