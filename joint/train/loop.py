"""The training loop.

The order of the pictures is a pure function of (seed, epoch) and their names; the augmentation and
the noise of a picture are one of (seed, epoch, its name). Two designs with the same seed therefore
have the same light, a run that is interrupted anywhere and resumed from its last checkpoint takes
the same steps as without the interruption, and several processes together take the steps of one.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import torch
from torch import nn

from classify import LesionDataset
from joint.caution import caution
from joint.described import Description
from joint.device import usable_device
from joint.feed import Feed, derive_seed
from joint.judge.evaluate import evaluate
from joint.objective import Objective
from joint.parallel import gathered, rank, world_size
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import RunFolder, lock_run, why_not_begun
from joint.system import ImagingSystem, only_learning

from .average import agree, lent
from .history import EpochRecord, History
from .identity import identity_of
from .listen import EpochListener, tell
from .member import Member, member_of, prepare
from .optimizer import make_optimizer
from .run import TrainingRun
from .step import LOOK, Graph, Passes, check_finite, steps
from .training import Training

__all__ = ["begun", "ended", "epoch", "fit", "goes_on", "lay_out", "train_members"]


@torch.inference_mode(False)  # gradients, whatever mode the caller is in
def fit(
    system: ImagingSystem,
    train: LesionDataset,
    validation: LesionDataset,
    *,
    objective: Objective | None = None,
    config: Training | None = None,
    teacher: ImagingSystem | None = None,
    directory: Path | str | RunFolder | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    stop: Callable[[], bool] | None = None,
    on_epoch: EpochListener | Sequence[EpochListener] | None = None,
    progress: bool = True,
) -> History:
    """Train some or all stages of a system.

    Stages that ``config.stages`` and ``config.plan`` leave out are frozen, and so is a stage whose
    parameters all have ``requires_grad=False``: it keeps its weights and running statistics, is in
    evaluation mode, and the stages before it learn through it. The same holds for a batch
    or instance normalisation in a trained stage, if its weight and bias have
    ``requires_grad=False``.

    If ``torch.distributed`` is initialised (:func:`joint.launched`), every process calls this
    with the same arguments and takes its share of each step. The step is that of one process up to
    rounding, which training amplifies, except for dropout and mixing; process 0 writes the files.
    Running statistics of modules are averaged over the processes when the system is validated or
    saved; those of batch normalisation are computed over all processes at each step.

    Parameters
    ----------
    system : ImagingSystem
        Trained in place, and left on ``device``, after ``config.channels_last`` in contiguous
        memory; its ``classes`` become those of ``train``. A parameter with gaps or overlaps in
        memory, such as a slice of columns of a tensor, gets its own memory, and that tensor is not
        changed; a block of whole rows still shares it.
    train, validation : LesionDataset
        Labelled scenes, from :func:`classify.split`.
    objective : Objective, optional
        The loss to minimise; the cross-entropy by default.
    config : Training, optional
        Settings of the training; by default ``Training()``.
    teacher : ImagingSystem, optional
        A trained system for the same classes, whose probabilities this system learns with the
        weight ``objective.distillation``: for example one that classifies the scene itself, or has
        a better camera. It gets the same augmented training scenes, is frozen and in evaluation
        mode, and has its own noise; it is left on ``device``, and not saved. Do not train it on
        pictures that are validated or tested here.
    directory : path or RunFolder, optional
        Folder of the checkpoints, the best weights and ``history.jsonl``, see
        :mod:`joint.saved.folder`; by default nothing is saved.
    resume : bool
        Continue the run in ``directory``, to the weights that it would have reached
        uninterrupted: equal bits on the CPU, except for a module that changes values in training
        that its ``state_dict`` does not hold, such as a buffer with ``persistent=False``. If there
        is no run, nor anything left of one, a new one starts. With the schedule ``constant``,
        ``config.epochs`` may be larger than before, also for a finished run: it continues to the
        result of a run that was started with this number. With another schedule every step would
        have been different, and the run is refused; so is one whose patience ran out, and one that
        was tested (:func:`joint.run.complete.complete_run` continues it, and tests it again).
    device : torch.device or str
        Device of the training.
    stop : callable, optional
        Called after the steps; when it returns True, the run is saved and its history returned as
        ``interrupted``.
    on_epoch : callable or sequence of them, optional
        Called with each :class:`joint.EpochRecord`, in this order, on process 0 only, once the
        epoch is saved in ``directory``. A resumed run first calls it with its earlier epochs, so
        that every listener has received every epoch once when ``fit`` returns. An error of a
        listener ends the training after that epoch; it can be resumed. In a single process
        a listener may freeze parameters, and unfreeze those again; what was frozen at the first
        step stays so.
    progress : bool
        Show a bar for each epoch (on a terminal) and a line after it.

    Returns
    -------
    History
        Records of all epochs, and which was the best.

    Raises
    ------
    TypeError
        For arguments of another type, for a ``stop`` that cannot be called, and for a module whose
        state is more than tensors.
    ValueError
        For data, an objective or a teacher that do not fit the system, a missing teacher,
        an ``on_epoch`` that cannot be called, or an empty ``directory``; before the first step.
        Before an epoch, when a parameter learns that was frozen, or not there, at the first step;
        at the end, at the latest, when one that learned is no longer there.
    CheckpointError
        When a checkpoint cannot be written, or belongs to another run; when the directory has the
        best weights or the result of a run, but no checkpoint; when another process writes it
        (:class:`joint.RunLocked`).
    TrainingDiverged
        When the loss or a weight is no longer finite, or a weight is so large that the scores of
        the validation set are not finite.

    Warns
    -----
    UserWarning
        When there is a teacher, but the objective has no weight for distillation; when a codec
        has several quality levels to learn, but the objective no distortion; when the same lesions
        are in ``train`` and ``validation`` (not for two parts of one data set, about which
        :class:`classify.Split` informs), or a class of the validation has no training picture;
        when the rate ended more than 5 % off its target; when the root mean square of a final
        parameter is more than a hundred times its initial one and more than 100.
    """
    one = member_of(
        system,
        train,
        validation,
        objective=objective,
        config=config,
        teacher=teacher,
        directory=directory,
        stop=stop,
        on_epoch=on_epoch,
    )
    device = usable_device(device)
    if resume and directory is None:
        raise ValueError("resume=True needs the directory of the run to resume")
    with ExitStack() as held:
        if one.config.channels_last:
            # Each layout rounds in its own way, and what is loaded from a file is contiguous: so
            # must be what is left here, to give the same bits.
            held.callback(lay_out, system, torch.contiguous_format)
            lay_out(system, torch.channels_last)
        prepare([one], train, validation, device)
        (history,) = train_members(
            [one],
            lambda runs: Graph(*runs),
            train,
            validation,
            device=device,
            resume=resume,
            stop=stop,
            progress=progress,
        )
    return history


def train_members(
    members: Sequence[Member],
    passes: Callable[[Sequence[TrainingRun]], Passes],
    train: LesionDataset,
    validation: LesionDataset,
    *,
    device: torch.device,
    resume: bool,
    stop: Callable[[], bool] | None,
    progress: bool,
) -> tuple[History, ...]:
    """Begin the runs of all members, or go on with them, and take their steps to the end.

    Parameters
    ----------
    members : sequence of Member
        Prepared, with configurations that differ in the seed at most.
    passes : callable
        Makes of runs what passes their batches; asked once for the same ones.
    train, validation : LesionDataset
    device : torch.device
        Where the members are.
    resume, stop, progress
        As in :func:`fit`.

    Returns
    -------
    tuple of History
        In the order of the members, whose systems have their final weights.

    Raises
    ------
    CheckpointError, TrainingDiverged
        As :func:`fit`.
    """
    with ExitStack() as held:
        folders = [
            None if each.directory is None else held.enter_context(lock_run(each.directory))
            for each in members
        ]
        # Those that may be refused come first, before a folder of another one is begun.
        on = [goes_on(folder, resume=resume) for folder in folders]
        found: dict[int, TrainingRun] = {}
        for k in sorted(range(len(members)), key=lambda k: not on[k]):
            each = members[k]
            given = (each.system, each.objective, each.config, train, validation, folders[k])
            found[k] = begun(*given, teacher=each.teacher, resume=on[k], made=each.made)
        runs = [found[k] for k in range(len(members))]
        told = [each.listeners if rank() == 0 else () for each in members]
        for run, listening in zip(runs, told, strict=True):
            for record in run.records:
                tell(listening, record)
        feed = Feed(train, device)
        graph = cache(lambda now: passes([runs[k] for k in now]))
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            while going := [k for k, run in enumerate(runs) if not run.over]:
                # Runs that were killed may be behind the others: they go first.
                place = min((runs[k].epoch, runs[k].step) for k in going)
                now = tuple(k for k in going if (runs[k].epoch, runs[k].step) == place)
                epoch(
                    [runs[k] for k in now],
                    graph(now),
                    feed,
                    validation,
                    stop=stop,
                    told=[told[k] for k in now],
                    progress=progress and rank() == 0,
                )
                if any(run.interrupted for run in runs):
                    for run in runs:  # those that were ahead, too
                        run.interrupted = not run.over
                    break
        return tuple(ended(run) for run in runs)


def begun(
    system: ImagingSystem,
    objective: Objective,
    config: Training,
    train: LesionDataset,
    validation: LesionDataset,
    folder: RunFolder | None,
    *,
    teacher: ImagingSystem | None = None,
    resume: bool,
    made: Description | None = None,
) -> TrainingRun:
    """The run of a system on its device: a new one, or, to ``resume``, the one of the folder.

    A teacher that nothing weighs is none. ``made`` describes the system as it was given, in case a
    pass since then has changed an attribute of it; by default as it is now.

    Raises
    ------
    CheckpointError
        When the run of the folder is another one, or the folder cannot hold one.
    """
    if not objective.distillation:
        teacher = None
    identity = identity_of(system, objective, config, train, validation, teacher, made=made)
    optimizer = make_optimizer(system, config)
    run = TrainingRun(system, objective, optimizer, config, identity, folder, teacher)
    if resume:
        run.restore()
    else:
        if folder is not None and rank() == 0:
            folder.rewrite_history(())  # of a run whose files were deleted but for this one
        run.save()  # finds out now whether the folder can hold a run
    if system.classifier is not None:
        system.classes = train.classes
    return run


def goes_on(folder: RunFolder | None, *, resume: bool) -> bool:
    """Whether the folder holds a run that can be continued.

    Raises
    ------
    CheckpointError
        When it does, but ``resume`` is false; and when it holds the remains of a run.
    """
    if folder is None:
        return False
    # The first process decides: it may have written a file before the others look.
    there = folder.has_checkpoint()
    there, left = gathered((there, None if there else why_not_begun(folder.path)))[0]
    if left is not None:
        raise CheckpointError(f"{folder} {left}")
    if not there:
        return False
    if not resume:
        raise CheckpointError(
            f"{folder} already holds a run; pass resume=True to continue it, or choose another "
            "directory"
        )
    return True


def ended(run: TrainingRun) -> History:
    """Give the system the final weights of the run; returns its history."""
    if run.best_epoch is not None and run.config.restore_best:
        run.restore_best()
    elif run.average:
        run.system.load_state_dict(run.average)
    for text in run.warnings() if rank() == 0 else ():
        caution(text)
    return run.history()


def lay_out(system: nn.Module, layout: torch.memory_format) -> None:
    """Change the memory layout of all tensors with four axes, such as convolution weights."""
    # Not `Module.to`, which asks weights of five axes, as of a Conv3d, for the layout too.
    for tensor in (*system.parameters(), *system.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)


def epoch(
    runs: Sequence[TrainingRun],
    graph: Passes,
    feed: Feed,
    validation: LesionDataset,
    *,
    stop: Callable[[], bool] | None,
    told: Sequence[Sequence[EpochListener]],
    progress: bool,
) -> None:
    """Take the (remaining) steps of an epoch, validate, and record it, each run its own.

    Parameters
    ----------
    runs : sequence of TrainingRun
        At one step of one epoch, with configurations that differ in the seed at most.
    graph : Passes
        :class:`joint.train.step.Graph` of one run, or a stack of several.
    feed : Feed
        Training set.
    validation : LesionDataset
    stop : callable, optional
        As in :func:`fit`.
    told : sequence of sequences of callables
        Listeners of each run.
    progress : bool
    """
    first, config = runs[0], runs[0].config
    started, seen = time.perf_counter(), first.seen

    def clock() -> None:
        """Count what came since the last time, to the speed of the epoch."""
        nonlocal started, seen
        now = time.perf_counter()
        for run in runs:
            pictures, seconds = run.timed
            run.timed = (pictures + first.seen - seen, seconds + now - started)
        started, seen = now, first.seen

    with ExitStack() as held:
        for run in runs:
            run.check_learning()
            held.enter_context(only_learning(run.system, config.learning(run.epoch)))
        passing = held.enter_context(graph.ready())
        for losses in steps(runs, passing, feed, progress=progress):
            clock()  # before it is saved
            due = config.checkpoint_every is not None and first.step % config.checkpoint_every == 0
            asked = _asked(stop, first.steps, last=first.seen == len(feed.dataset))
            for run, loss in zip(runs, losses, strict=True) if due or asked else ():
                check_finite(run, loss)
                run.save()
            if asked:
                for run in runs:
                    run.interrupted = True
                return
    clock()
    for run, listening in zip(runs, told, strict=True):
        check_finite(run, run.sums["total"])
        run.check_weights()
        agree(run.system, run.average)
        with run.in_range(), lent(run.average, run.system):
            evaluation = evaluate(
                run.system,
                validation,
                objective=run.objective,
                batch_size=config.batch_size,
                seed=derive_seed(run.config.seed, "validation"),
                shared=world_size() > 1,
            )
        record = run.end_epoch(evaluation.scalars())
        if progress:
            print(_line(record, run.config, run.best_epoch == record.epoch), flush=True)
        tell(listening, record)


def _asked(stop: Callable[[], bool] | None, step: int, *, last: bool) -> bool:
    """Whether any of the processes was asked to stop; all of them agree on it."""
    asked = stop is not None and stop()
    if world_size() == 1:
        return asked
    return (last or step % LOOK == 0) and any(gathered(asked))


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
