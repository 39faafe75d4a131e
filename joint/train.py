"""The one training loop.

Data order, views and noise of a step are pure functions of (seed, epoch, step), so that a run
that is interrupted anywhere and resumed from its last checkpoint takes the very steps that it
would have taken, and two designs that share a seed see the same light.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from classify import LesionDataset, check_classes

from .augment import augment
from .checkpoint import CheckpointError
from .evaluate import as_scenes, derive_seed, device_of, evaluate, usable_device
from .objective import Losses, Objective
from .run import (
    CHECKPOINT_FILE,
    EpochRecord,
    History,
    Training,
    TrainingDiverged,
    TrainingRun,
)
from .system import ImagingSystem, Stage, SystemOutput, evaluating

__all__ = ["fit"]


def fit(
    system: ImagingSystem,
    train: LesionDataset,
    validation: LesionDataset,
    *,
    objective: Objective | None = None,
    config: Training | None = None,
    directory: Path | str | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> History:
    """Train some or all stages of a system.

    Parameters
    ----------
    system : ImagingSystem
        Trained in place, and left on ``device``.
    train, validation : LesionDataset
        Labelled scenes, from :func:`classify.split`.
    objective : Objective, optional
        What is minimised; the cross-entropy by default.
    config : Training, optional
        How.
    directory : path, optional
        Where ``checkpoint.safetensors``, ``best.safetensors`` and ``history.jsonl`` go.
    resume : bool
        Continue the run in ``directory``, to the weights that it would have reached
        uninterrupted: equal bits on the CPU. Starts afresh where there is none.
    device : torch.device or str
        Where to train.
    progress : bool
        Show a bar for each epoch (on a terminal) and a line after it.

    Returns
    -------
    History
        Every epoch, and which was best.

    Raises
    ------
    ValueError
        For data or an objective that do not fit the system; before any step is taken.
    CheckpointError
        When a checkpoint cannot be written, or belongs to another run.
    TrainingDiverged
        When the loss or a weight is no longer finite.
    """
    objective = objective or Objective()
    config = config or Training()
    device = usable_device(device)
    folder = None if directory is None else Path(directory)
    if resume and folder is None:
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
    run = TrainingRun(system, _optimizer(system, config), config, identity, folder)
    if folder is not None and (folder / CHECKPOINT_FILE).exists():
        if not resume:
            raise CheckpointError(
                f"{folder} already holds a run; pass resume=True to continue it, or choose "
                "another directory"
            )
        run.restore()
    else:
        run.save()  # finds out now whether the folder can hold a run
    forward = torch.compile(system) if config.compile else system
    with (
        _only_learning(system, config.stages),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        while not run.over:
            _epoch(run, forward, train, validation, objective, progress)
    if config.restore_best:
        run.restore_best()
    return run.history()


def _epoch(
    run: TrainingRun,
    forward: Callable[..., SystemOutput],
    train: LesionDataset,
    validation: LesionDataset,
    objective: Objective,
    progress: bool,
) -> None:
    """Take the (remaining) steps of an epoch, validate, and record it."""
    config = run.config
    started, seen = time.perf_counter(), run.seen
    for loss in _steps(run, forward, train, objective, progress):
        if config.checkpoint_every is not None and run.step % config.checkpoint_every == 0:
            _check_finite(run, loss)
            run.save()
    _check_finite(run, run.sums["total"])
    run.check_weights()
    speed = (run.seen - seen) / max(time.perf_counter() - started, 1e-9)
    evaluation = evaluate(
        run.system,
        validation,
        objective=objective,
        batch_size=config.batch_size,
        seed=derive_seed(config.seed, "validation"),
    )
    record = run.end_epoch(evaluation.scalars(), speed)
    if progress:
        print(_line(record, config, run.best_epoch == record.epoch), flush=True)


def _steps(
    run: TrainingRun,
    forward: Callable[..., SystemOutput],
    train: LesionDataset,
    objective: Objective,
    progress: bool,
) -> Iterator[Tensor]:
    """Take the remaining steps of the epoch and yield the loss after each."""
    config, device = run.config, run.device
    order = torch.Generator().manual_seed(derive_seed(config.seed, "order", run.epoch))
    rows = torch.randperm(len(train), generator=order)
    batches = rows.tensor_split(math.ceil(len(train) / config.batch_size))
    counts = train.counts.to(device)
    views, noise = torch.Generator(), torch.Generator(device)
    with tqdm(
        total=len(train),
        initial=run.seen,
        unit="image",
        desc=f"epoch {run.epoch + 1}/{config.epochs}",
        disable=None if progress else True,  # None: shown on a terminal only
        leave=False,
    ) as bar:
        for index in batches[run.step :]:
            key = derive_seed(config.seed, "step", run.epoch, run.step)
            views.manual_seed(key)
            noise.manual_seed(key)
            # Dropout and stochastic depth take no generator; `fit` forks the global one.
            torch.default_generator.manual_seed(key)
            if device.type == "cuda":
                torch.cuda.manual_seed(key)
            scenes, labels = as_scenes(train.gather(index), device)
            scenes = augment(scenes, kind=config.augmentation, generator=views)
            if config.channels_last:
                scenes = scenes.contiguous(memory_format=torch.channels_last)
            factor = config.rate_factor(run.epoch + run.step / len(batches))
            for group in run.optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            terms = _step(run, forward, scenes, labels, noise, objective, counts)
            run.count(terms, len(labels))
            # Reading a number from a GPU makes it wait, so not at every step there.
            if device.type == "cpu" or run.step % 20 == 0:
                _check_finite(run, terms["total"])
                bar.set_postfix({name: f"{float(term):.4f}" for name, term in terms.items()})
            bar.update(len(labels))
            yield terms["total"]


def _step(
    run: TrainingRun,
    forward: Callable[..., SystemOutput],
    scenes: Tensor,
    labels: Tensor,
    noise: torch.Generator,
    objective: Objective,
    counts: Tensor,
) -> dict[str, Tensor]:
    """One step of the optimiser; returns the terms of the objective."""
    half = run.config.precision == "bfloat16"
    with torch.autocast(scenes.device.type, dtype=torch.bfloat16, enabled=half):
        losses = objective(forward(scenes, generator=noise), labels, counts=counts)
    run.optimizer.zero_grad(set_to_none=True)
    losses.total.backward()
    if run.config.gradient_clip is not None:
        # Stage by stage: a steep codec must not take the step away from the optics.
        for _, stage in run.system.stages():
            if parameters := list(stage.parameters()):
                nn.utils.clip_grad_norm_(parameters, run.config.gradient_clip)
    run.optimizer.step()
    return {name: term.detach() for name, term in losses.named().items()}


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
    return kind(groups, lr=config.learning_rate)


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
    if objective.task > 0:
        check_classes(train)
    needed = {"bpp": "codec", "psnr": "codec", "ssim": "codec", "loss": None}.get(
        config.monitor, "classifier"
    )
    if needed is not None and getattr(system, needed) is None:
        raise ValueError(
            f"monitor={config.monitor!r} needs a {needed}, and the system has none; use 'loss'"
        )
    scenes, labels = as_scenes(train.gather(torch.tensor([0, len(train) - 1])), device_of(system))
    noise = torch.Generator(scenes.device).manual_seed(0)
    with _only_learning(system, config.stages), evaluating(system):
        output = system(scenes, generator=noise)
        if output.logits is not None and output.logits.shape[1] != len(train.classes):
            raise ValueError(
                f"the classifier tells {output.logits.shape[1]} classes apart, the data set has "
                f"{len(train.classes)}: {', '.join(train.classes)}"
            )
        losses = objective(output, labels)
    _check_gradients(system, losses, objective, config)


def _check_gradients(
    system: ImagingSystem, losses: Losses, objective: Objective, config: Training
) -> None:
    """Refuse an objective that cannot move the stages that learn."""
    stages = ", ".join(config.stages)
    learning = [name for name, stage in system.stages() if name in config.stages]
    parameters = [p for name in learning for p in getattr(system, name).parameters()]
    if parameters and not losses.total.requires_grad:
        raise ValueError(
            f"nothing that the objective weighs depends on the stages that learn ({stages}): give "
            "task, rate or distortion a weight that reaches them"
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
        "the learning rate of that stage, or set a smaller gradient_clip; checkpoints written "
        "before are intact"
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
