"""The one training loop.

The order of the pictures is a pure function of (seed, epoch) and their names, and the views and the
noise of a picture are one of (seed, epoch, its name): two designs that share a seed see the same
light, a run that is interrupted anywhere and resumed from its last checkpoint takes the very steps
that it would have taken, and several processes take together the steps of one.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from classify import LesionDataset, check_classes, mix, sample_order

from .augment import augment
from .checkpoint import CheckpointError
from .evaluate import device_of, evaluate, usable_device
from .feed import Feed, as_scenes, derive_seed, generators
from .folder import RunFolder, hold
from .listen import EpochListener, listeners, tell
from .objective import Losses, Objective
from .parallel import gathered, normalising_together, rank, world_size
from .run import (
    NORM,
    EpochRecord,
    History,
    Training,
    TrainingDiverged,
    TrainingRun,
)
from .system import ImagingSystem, Stage, evaluating

__all__ = ["fit"]

# Steps between two looks at what a GPU, or the other processes, have to say: a look waits for them.
_LOOK = 20


def fit(
    system: ImagingSystem,
    train: LesionDataset,
    validation: LesionDataset,
    *,
    objective: Objective | None = None,
    config: Training | None = None,
    directory: Path | str | RunFolder | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    stop: Callable[[], bool] | None = None,
    on_epoch: EpochListener | Sequence[EpochListener] | None = None,
    progress: bool = True,
) -> History:
    """Train some or all stages of a system.

    Where ``torch.distributed`` is initialised (:func:`joint.launched`), every process calls this
    with the same arguments and takes its share of each step; the result is that of one process up
    to rounding (but for dropout and mixing), and process 0 writes the files.

    Parameters
    ----------
    system : ImagingSystem
        Trained in place, and left on ``device``, contiguous where the layout was another one.
    train, validation : LesionDataset
        Labelled scenes, from :func:`classify.split`.
    objective : Objective, optional
        What is minimised; the cross-entropy by default.
    config : Training, optional
        How.
    directory : path or RunFolder, optional
        Where checkpoints, the best weights and ``history.jsonl`` go, see :mod:`joint.folder`.
    resume : bool
        Continue the run in ``directory``, to the weights that it would have reached
        uninterrupted: equal bits on the CPU. Starts afresh where there is none.
    device : torch.device or str
        Where to train.
    stop : callable, optional
        Asked after the steps; once it says True, the run is saved and its history returned as
        ``interrupted``.
    on_epoch : callable or sequence of them, optional
        Told of each :class:`joint.EpochRecord`, in this order, on process 0 alone, once it is safe
        in ``directory``. A run that is resumed first tells of the epochs that it has already, so
        that every listener has heard of every epoch once when ``fit`` returns. What a listener
        raises ends the training after that epoch, which can be resumed.
    progress : bool
        Show a bar for each epoch (on a terminal) and a line after it.

    Returns
    -------
    History
        Every epoch, and which was best.

    Raises
    ------
    ValueError
        For data or an objective that do not fit the system, or an ``on_epoch`` that cannot be
        called; before any step is taken.
    CheckpointError
        When a checkpoint cannot be written, or belongs to another run; when somebody else is
        writing the directory (:class:`joint.RunLocked`).
    TrainingDiverged
        When the loss or a weight is no longer finite.
    """
    objective = objective or Objective()
    config = config or Training()
    device = usable_device(device)
    told = listeners(on_epoch)
    if resume and directory is None:
        raise ValueError("resume=True needs the directory of the run to resume")
    layout = torch.channels_last if config.channels_last else torch.preserve_format
    system.to(device=device, memory_format=layout)  # pyright: ignore[reportCallIssue]
    _check(system, train, validation, objective, config)

    identity = {
        "objective": objective.model_dump(mode="json"),
        "training": config.model_dump(mode="json"),
        "train": train.fingerprint,
        "validation": validation.fingerprint,
        "system": repr(system),
        "codec_channels": getattr(system.codec, "channels", None),
    }
    with nullcontext() if directory is None else hold(directory) as folder:
        run = TrainingRun(system, _optimizer(system, config), config, identity, folder)
        # The first process decides: it may have written a file before the others look.
        if gathered(folder is not None and folder.has_checkpoint())[0]:
            if not resume:
                raise CheckpointError(
                    f"{folder} already holds a run; pass resume=True to continue it, or choose "
                    "another directory"
                )
            run.restore()
        else:
            if folder is not None and rank() == 0:
                folder.rewrite_history(())  # of a run whose checkpoints were deleted
            run.save()  # finds out now whether the folder can hold a run
        progress = progress and rank() == 0
        told = told if rank() == 0 else ()
        for record in run.records:
            tell(told, record)
        feed, graph = Feed(train, device), _Graph(system, objective, config)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            while not run.over and not run.interrupted:
                _epoch(run, graph, feed, validation, stop, told, progress)
        if run.best_epoch is not None and config.restore_best:
            run.restore_best()
        elif run.average:
            system.load_state_dict(run.average)
        if config.channels_last:
            # Each layout rounds in its own way, and what is loaded from a file is contiguous: so
            # must be what is left here, to give the same bits.
            system.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        return run.history()


def _epoch(
    run: TrainingRun,
    graph: "_Graph",
    feed: Feed,
    validation: LesionDataset,
    stop: Callable[[], bool] | None,
    told: Sequence[EpochListener],
    progress: bool,
) -> None:
    """Take the (remaining) steps of an epoch, validate, and record it."""
    config = run.config
    started, seen = time.perf_counter(), run.seen
    with _only_learning(run.system, config.learning(run.epoch)):
        shared = _parallel(graph, run.device)
        for loss in _steps(run, shared, feed, progress):
            due = config.checkpoint_every is not None and run.step % config.checkpoint_every == 0
            run.interrupted = _asked(stop, run.steps, last=run.seen == len(feed.dataset))
            if due or run.interrupted:
                _check_finite(run, loss)
                run.save()
            if run.interrupted:
                return
    _check_finite(run, run.sums["total"])
    run.check_weights()
    speed = (run.seen - seen) / max(time.perf_counter() - started, 1e-9)
    with run.averaged():
        evaluation = evaluate(
            run.system,
            validation,
            objective=graph.objective,
            batch_size=config.batch_size,
            seed=derive_seed(config.seed, "validation"),
            shared=world_size() > 1,
        )
    record = run.end_epoch(evaluation.scalars(), speed)
    if progress:
        print(_line(record, config, run.best_epoch == record.epoch), flush=True)
    tell(told, record)


def _steps(run: TrainingRun, graph: nn.Module, feed: Feed, progress: bool) -> Iterator[Tensor]:
    """Take the remaining steps of the epoch and yield the loss after each."""
    config = run.config
    rows = _order(feed, config, run.epoch)
    # A step is a piece of the order: places in it, in one or more parts.
    steps = torch.arange(len(rows)).tensor_split(math.ceil(len(rows) / config.batch_size))
    parts = [_share(places, config.micro_batches) for places in steps[run.step :]]
    batches = _batches(run, feed, rows, [part for step in parts for part in step])
    counts = feed.dataset.counts
    with tqdm(
        total=len(rows),
        initial=run.seen,
        unit="image",
        desc=f"epoch {run.epoch + 1}/{config.epochs}",
        disable=None if progress else True,  # None: shown on a terminal only
        leave=False,
    ) as bar:
        for places, step in zip(steps[run.step :], parts, strict=True):
            key = derive_seed(config.seed, "step", run.epoch, run.step, rank())
            # Dropout and stochastic depth take no generator; `fit` forks the global one.
            torch.default_generator.manual_seed(key)
            if run.device.type == "cuda":
                torch.cuda.manual_seed(key)
            factor = config.rate_factor(run.epoch + run.step / len(steps))
            for group in run.optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            given = [next(batches) for _ in step]
            try:
                terms = _step(run, graph, given, len(places), counts)
            except (ValueError, RuntimeError):
                run.check_weights()  # a stage may refuse what one that diverged hands it
                raise
            run.end_step(len(places))
            # Reading a number from a GPU makes it wait, so not at every step there.
            if run.device.type == "cpu" or run.step % _LOOK == 0:
                _check_finite(run, terms["total"])
                bar.set_postfix({name: f"{float(term):.4f}" for name, term in terms.items()})
            bar.update(len(places))
            yield terms["total"]


class _Batch(NamedTuple):
    """What goes through the system at once."""

    scenes: Tensor
    labels: Tensor
    noise: list[torch.Generator]


def _batches(
    run: TrainingRun, feed: Feed, rows: Tensor, parts: Sequence[Tensor]
) -> Iterator[_Batch]:
    """Views of the pictures at the places of each part, and the sources of their noise."""
    config, epoch = run.config, run.epoch
    views, noises = (feed.drawn_seeds(rows, config.seed, what, epoch) for what in ("view", "noise"))
    gathered_parts = feed.batches([rows[part] for part in parts])
    for part, (pictures, labels) in zip(parts, gathered_parts, strict=True):
        scenes = augment(
            pictures,
            config.augmentation,
            generator=views[part.numpy()],
            encoding=run.system.encoding,
        )
        noise = generators(noises[part.numpy()], run.device) if run.system.draws else []
        batch = _Batch(scenes, labels, noise)
        if config.mixing != "none":
            pairs = torch.Generator()
            pairs.manual_seed(derive_seed(config.seed, "mix", epoch, int(part[0])))
            shares = functional.one_hot(labels, len(feed.dataset.classes)).to(scenes.dtype)
            mixed = mix(
                scenes, shares, kind=config.mixing, alpha=config.mixing_alpha, generator=pairs
            )
            batch = _Batch(*mixed, batch.noise)
        if config.channels_last:
            layout = torch.channels_last
            batch = batch._replace(scenes=batch.scenes.contiguous(memory_format=layout))
        yield batch


def _step(
    run: TrainingRun, graph: nn.Module, batches: list[_Batch], pictures: int, counts: Tensor
) -> dict[str, Tensor]:
    """One step of the optimiser over ``pictures``, all processes together.

    Returns the terms of the objective, of the last part that this process passed.
    """
    run.optimizer.zero_grad(set_to_none=True)
    terms: dict[str, Tensor] = {}
    for number, batch in enumerate(batches, 1):
        shared = _sharing(graph, number == len(batches))
        with shared, normalising_together(run.system):
            total, terms = graph(*batch, counts, run.epoch)
            # The processes' gradients are averaged: the sum over parts is the mean of the step.
            (total * (len(batch.labels) * world_size() / pictures)).backward()
        run.count(terms, len(batch.labels))
    run.count(_clip(run), pictures / world_size())
    run.optimizer.step()
    return terms


class _Graph(nn.Module):
    """System and objective as one module: a step's forward pass, to a number and its terms."""

    def __init__(self, system: ImagingSystem, objective: Objective, config: Training) -> None:
        super().__init__()
        self.system = torch.compile(system) if config.compile else system
        self.objective = objective
        self.low_precision = config.precision == "bfloat16"

    def forward(
        self,
        scenes: Tensor,
        labels: Tensor,
        noise: list[torch.Generator],
        counts: Tensor,
        epoch: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total of the objective, and its terms without a graph."""
        with torch.autocast(scenes.device.type, dtype=torch.bfloat16, enabled=self.low_precision):
            output = self.system(scenes, generator=noise)
            losses = self.objective(output, labels, counts=counts, epoch=epoch)
        return losses.total, {name: term.detach() for name, term in losses.named().items()}


def _parallel(graph: nn.Module, device: torch.device) -> nn.Module:
    """Let the processes share their gradients, where there are several."""
    if world_size() == 1:
        return graph
    return DistributedDataParallel(
        graph,
        device_ids=[device] if device.type == "cuda" else None,
        # Equal everywhere by construction, see `normalising_together`.
        broadcast_buffers=False,
        # A term without a weight leaves the parameters that only it depends on without a gradient.
        find_unused_parameters=True,
    )


def _sharing(graph: nn.Module, last: bool) -> AbstractContextManager[None]:
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
    order = torch.Generator().manual_seed(derive_seed(config.seed, "order", epoch))
    return sample_order(feed.dataset.labels, power=config.sampling_power, generator=order)


def _clip(run: TrainingRun) -> dict[str, Tensor]:
    """Limit the gradient of each stage, and return its norm before that."""
    # Stage by stage: a steep codec must not take the step away from the optics.
    limit = math.inf if run.config.gradient_clip is None else run.config.gradient_clip
    norms = {}
    for name, stage in run.system.stages():
        parameters = [p for p in stage.parameters() if p.requires_grad and p.grad is not None]
        if parameters:
            norms[NORM + name] = nn.utils.clip_grad_norm_(parameters, limit).detach()
    return norms


def _asked(stop: Callable[[], bool] | None, step: int, *, last: bool) -> bool:
    """Whether any of the processes was asked to stop; all of them agree on it."""
    asked = stop is not None and stop()
    if world_size() == 1:
        return asked
    return (last or step % _LOOK == 0) and any(gathered(asked))


def _optimizer(system: ImagingSystem, config: Training) -> torch.optim.Optimizer:
    """Adam over the learning stages; weights of networks decay, everything else does not."""
    groups = []
    for name, stage in system.stages():
        if name not in config.stages:
            continue
        peak = config.learning_rates.get(name, config.learning_rate)
        network = name in ("codec", "classifier")
        parameters = [p for p in stage.parameters() if p.requires_grad]
        decayed = [p for p in parameters if network and p.ndim > 1]
        plain = [p for p in parameters if not (network and p.ndim > 1)]
        for members, decay in ((decayed, config.weight_decay), (plain, 0.0)):
            if members:
                groups.append({"params": members, "peak": peak, "weight_decay": decay})
    if not groups:
        raise ValueError(
            f"nothing to train: the stages {', '.join(config.stages)} have no trainable "
            "parameters in this system"
        )
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.learning_rate, fused=True)


@contextmanager
def _only_learning(system: ImagingSystem, learning: tuple[Stage, ...]) -> Iterator[None]:
    """Freeze the other stages: no gradient to their weights, evaluation mode, as before after."""
    flags = {parameter: parameter.requires_grad for parameter in system.parameters()}
    modes = {module: module.training for module in system.modules()}
    try:
        for name, stage in system.stages():
            learns = name in learning
            stage.train(learns)
            for parameter in stage.parameters():
                parameter.requires_grad_(learns and flags[parameter])
        yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
        for module, mode in modes.items():
            module.training = mode


def _check(
    system: ImagingSystem,
    train: LesionDataset,
    validation: LesionDataset | None,
    objective: Objective,
    config: Training,
) -> None:
    """Refuse what cannot work before any time is spent, with one look at two pictures."""
    if validation is None:
        raise ValueError("fit needs a validation set: split the data in three")
    for name in ("image_size", "channels", "classes"):
        ours, theirs = getattr(train, name), getattr(validation, name)
        if ours != theirs:
            raise ValueError(
                f"training and validation set differ in {name}: {ours} and {theirs}; take both "
                "from one split"
            )
    if shared := train.shared(validation):
        raise ValueError(
            f"{len(shared)} pictures are in both training and validation set ({shared[0]}, ...): "
            "what is validated must not be trained on; take both from one split"
        )
    if objective.deferred_from >= config.epochs:
        raise ValueError(
            f"class weights are deferred to epoch {objective.deferred_from}, counted from 0, but "
            f"there are {config.epochs} epochs: lower deferred_from"
        )
    if objective.task > 0:
        check_classes(train)
    needed = {"bpp": "codec", "psnr": "codec", "ssim": "codec", "loss": None}.get(
        config.monitor, "classifier"
    )
    if needed is not None and getattr(system, needed) is None:
        raise ValueError(
            f"monitor={config.monitor!r} needs a {needed}, and the system has none; use 'loss'"
        )
    smallest = len(train) // math.ceil(len(train) / config.batch_size)
    if smallest // world_size() < config.micro_batches:
        raise ValueError(
            f"a step of {smallest} pictures cannot be divided among {world_size()} processes in "
            f"{config.micro_batches} parts each: raise batch_size, or lower micro_batches"
        )
    turns = {config.learning(e): e for e in (config.turn_epochs, 0) if e < config.epochs}
    for learning, epoch in turns.items():
        if not any(
            p.requires_grad
            for name, stage in system.stages()
            if name in learning
            for p in stage.parameters()
        ):
            raise ValueError(
                f"nothing to train: the stages {', '.join(learning) or '(none)'} "
                f"have no trainable parameters in this system, and no others learn in epoch "
                f"{epoch + 1} with plan={config.plan!r}"
            )
    scenes, labels = as_scenes(train.gather(torch.tensor([0, len(train) - 1])), device_of(system))
    noise = torch.Generator(scenes.device).manual_seed(0)
    for learning in turns:
        with _only_learning(system, learning), evaluating(system):
            output = system(scenes, generator=noise)
            if output.logits is not None and output.logits.shape[1] != len(train.classes):
                raise ValueError(
                    f"the classifier tells {output.logits.shape[1]} classes apart, the data set "
                    f"has {len(train.classes)}: {', '.join(train.classes)}"
                )
            losses = objective(output, labels)
        _check_gradients(system, losses, objective, learning)


def _check_gradients(
    system: ImagingSystem, losses: Losses, objective: Objective, stages: tuple[Stage, ...]
) -> None:
    """Refuse an objective that cannot move the stages that learn."""
    learning = [name for name, stage in system.stages() if name in stages]
    parameters = [p for name in learning for p in getattr(system, name).parameters()]
    if parameters and not losses.total.requires_grad:
        raise ValueError(
            f"nothing that the objective weighs depends on the stages that learn "
            f"({', '.join(stages)}): give task, rate or distortion a weight that reaches them"
        )
    coders = [name for name in learning if name != "classifier"]
    moving = any(p.requires_grad for name in coders for p in getattr(system, name).parameters())
    if objective.rate > 0 and moving and losses.rate is not None and not losses.rate.requires_grad:
        raise ValueError(
            f"the bits of {type(system.codec).__name__} have no gradient, so that rate="
            f"{objective.rate:g} would do nothing: set rate=0, or use FactorizedCodec"
        )


def _check_finite(run: TrainingRun, loss: Tensor) -> None:
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


def _line(record: EpochRecord, config: Training, best: bool) -> str:
    names = dict.fromkeys(("loss", config.monitor))
    validation = " ".join(f"{name} {_shown(record.validation[name])}" for name in names)
    train = " ".join(f"{name} {_shown(value)}" for name, value in record.train.items())
    return (
        f"epoch {record.epoch + 1:>3}/{config.epochs} | train {train} | validation {validation} | "
        f"{record.images_per_second:.0f} images/s{'  *' if best else ''}"
    )


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
