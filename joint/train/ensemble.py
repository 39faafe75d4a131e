"""Several runs in one process, whose nets are passed in one call (:mod:`joint.train.stack`).

Order, views, noise, optimiser, files and validation are each run's own.
"""

from collections.abc import Callable, Sequence, Sized
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from classify import LesionDataset
from joint.device import usable_device
from joint.feed import as_scenes
from joint.objective import Objective
from joint.parallel import world_size
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import RunFolder, as_path
from joint.system import ImagingSystem, only_learning

from .history import History
from .listen import EpochListener
from .loop import lay_out, train_members
from .member import Member, member_of, prepare
from .stack import Stack, obstacles
from .training import Training

__all__ = ["fit_ensemble"]

_T = TypeVar("_T")

# Up to so many pixels of a batch a stack was no slower than its members one by one on a CPU; above,
# convolutions with stacked weights cost more than is saved. See docs/benchmarks.md.
_MOST_PIXELS_ON_A_CPU = 4096
# Enough for batch normalisation to be well conditioned.
_LOOK_AT = 8


@torch.inference_mode(False)  # gradients, whatever mode the caller is in
def fit_ensemble(
    systems: Sequence[ImagingSystem],
    train: LesionDataset,
    validation: LesionDataset,
    *,
    objective: Objective | Sequence[Objective] | None = None,
    config: Training | Sequence[Training] | None = None,
    teacher: ImagingSystem | Sequence[ImagingSystem | None] | None = None,
    directories: Sequence[Path | str | RunFolder] | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    stop: Callable[[], bool] | None = None,
    on_epoch: Sequence[EpochListener | Sequence[EpochListener] | None] | None = None,
    progress: bool = True,
) -> tuple[History, ...]:
    """Train several systems at once, each as :func:`joint.fit` would train it, up to rounding.

    Codecs and classifiers of one architecture are stacked and evaluated in one call; those that
    cannot be stacked (a codec that draws noise in training, dropout, a codec of files, a layer
    under two names, a buffer that is assigned and not changed in place) are evaluated one by one.
    So are cameras, which may be of different kinds. The run folders are those of :func:`fit`: each
    function can continue a run of the other.

    It saves time if a step is short: measurements are in ``docs/benchmarks.md``.

    Dropout draws in the order of the memory, which is contiguous here, whatever ``channels_last``
    is: behind a convolution it drops other values than in a single training, unless
    ``channels_last`` is False.

    With ``precision="bfloat16"``, stages that are evaluated one by one compute in it. Autocast does
    not reach into the ``vmap`` of a stack (observed with torch 2.15 on a CPU), which computes in
    float32.

    Parameters
    ----------
    systems : sequence of ImagingSystem
        At least two. Trained in place, and left on ``device``.
    train, validation : LesionDataset
        Scenes of all systems.
    objective : Objective or a sequence of them, optional
        One for all, or one for each.
    config : Training or a sequence of them, optional
        One for all, or one for each; they differ in ``seed`` at most.
    teacher : ImagingSystem or a sequence of them, optional
        As in :func:`joint.fit`: one for all, or one for each.
    directories : sequence of path or RunFolder, optional
        A run folder for each.
    resume : bool
        Continue the runs in ``directories``; those that are behind the others first.
    device : torch.device or str
        Device of the training.
    stop : callable, optional
        As in :func:`joint.fit`; all of them are interrupted.
    on_epoch : sequence, optional
        Listeners of each run, as :func:`joint.fit` takes them.
    progress : bool
        Show bars and lines.

    Returns
    -------
    tuple of History
        In the order of ``systems``.

    Raises
    ------
    TypeError
        As :func:`joint.fit`.
    ValueError
        As :func:`joint.fit`; for fewer than two systems, two that share weights, or sequences of
        another length; for a teacher that shares weights with one of them; for configurations
        that differ in more than the seed, or with ``compile``; with several processes; when nothing
        can be stacked; and on a CPU for batches of more than 4096 pixels (16 pictures of 16 x 16),
        for which a stack is slower than its members.
    CheckpointError
        As :func:`joint.fit`; for one folder given twice.
    TrainingDiverged
        When the loss or a weight of one of them is no longer finite. All end with it, and can be
        resumed without it from their folders.
    """
    members = _members(
        systems,
        train,
        validation,
        objective=objective,
        config=config,
        teacher=teacher,
        directories=directories,
        stop=stop,
        on_epoch=on_epoch,
    )
    if resume and directories is None:
        raise ValueError("resume=True needs the directories of the runs to resume")
    device = usable_device(device)
    _check_apart(members)
    _check_alike([each.config for each in members])
    shared = members[0].config
    _check_pays(train, shared, device)
    prepare(members, train, validation, device)
    look, _ = as_scenes(train.gather(torch.arange(min(_LOOK_AT, len(train)))), device)
    _check_stacks(systems, look, shared)
    with ExitStack() as held:
        for system in systems if shared.channels_last else ():
            held.callback(lay_out, system, torch.contiguous_format)  # as `fit` leaves it
        return train_members(
            members,
            partial(Stack, look=look),
            train,
            validation,
            device=device,
            resume=resume,
            stop=stop,
            progress=progress,
        )


def _members(
    systems: Sequence[ImagingSystem],
    train: LesionDataset,
    validation: LesionDataset,
    *,
    objective: Objective | Sequence[Objective] | None,
    config: Training | Sequence[Training] | None,
    teacher: ImagingSystem | Sequence[ImagingSystem | None] | None,
    directories: Sequence[Path | str | RunFolder] | None,
    stop: Callable[[], bool] | None,
    on_epoch: Sequence[EpochListener | Sequence[EpochListener] | None] | None,
) -> list[Member]:
    """What each of the systems is given."""
    if not isinstance(systems, Sized):
        raise TypeError(
            "systems must be a sequence of two joint.ImagingSystem or more, not "
            f"{type(systems).__name__}; use fit for one"
        )
    count = len(systems)
    if count < 2:
        raise ValueError("an ensemble takes two systems or more; use fit for one")
    each = zip(
        systems,
        _each(Objective() if objective is None else objective, count, "objectives"),
        _each(Training() if config is None else config, count, "configurations"),
        _each(teacher, count, "teachers"),
        _folders(directories, count),
        _each(on_epoch, count, "listeners"),
        strict=True,
    )
    return [
        member_of(
            system,
            train,
            validation,
            objective=its_objective,
            config=its_config,
            teacher=its_teacher,
            directory=folder,
            stop=stop,
            on_epoch=told,
        )
        for system, its_objective, its_config, its_teacher, folder, told in each
    ]


def _check_apart(members: Sequence[Member]) -> None:
    """Refuse systems that share weights, with one another or with a teacher."""
    weights = [id(weight) for each in members for weight in each.system.parameters()]
    if len(set(weights)) < len(weights):
        raise ValueError("two of the systems share weights: give each a copy of its own")
    for each in members:
        if each.teacher is not None and {id(p) for p in each.teacher.parameters()} & {*weights}:
            raise ValueError(
                "a teacher shares weights with one of the systems, and would change with it: give "
                "a copy (copy.deepcopy)"
            )


def _each(given: Sequence[_T] | _T, count: int, what: str) -> list[_T]:
    """One for each member, of one for all or of as many."""
    several = isinstance(given, Sequence) and not isinstance(given, str)
    found: list[Any] = list(given) if several else [given] * count  # pyright: ignore[reportArgumentType]
    if len(found) != count:
        raise ValueError(f"{count} systems need {count} {what}, or one for all, not {len(found)}")
    return found


def _folders(
    directories: Sequence[Path | str | RunFolder] | None, count: int
) -> Sequence[Path | str | RunFolder | None]:
    """A run folder for each member, or none for any."""
    if directories is None:
        return [None] * count
    if isinstance(directories, str) or not isinstance(directories, Sequence):
        raise TypeError(
            f"directories must be a sequence of {count} run folders, one for each system, not "
            f"{directories!r}"
        )
    if len(directories) != count:
        raise ValueError(
            f"{count} systems need {count} directories, one for each, not {len(directories)}"
        )
    places = [as_path(each, "each of directories").resolve() for each in directories]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise CheckpointError(
                f"systems {places.index(place)} and {number}, counted from 0, share the folder "
                f"{place}: give each its own"
            )
    return directories


def _check_alike(configs: Sequence[Training]) -> None:
    first, *others = (config.model_dump(exclude={"seed"}) for config in configs)
    for other in others:
        differing = [name for name in first if other[name] != first[name]]
        if differing:
            raise ValueError(
                f"the runs of an ensemble differ in {', '.join(differing)}: their configurations "
                "may differ in the seed alone; train the others apart"
            )
    if configs[0].compile:
        raise ValueError("an ensemble is not compiled: set compile=False, or train one by one")
    if world_size() > 1:
        raise ValueError("an ensemble is trained by one process: launch one, or use fit")


def _check_pays(train: LesionDataset, config: Training, device: torch.device) -> None:
    height, width = train.image_size
    pixels = min(config.batch_size, len(train)) * height * width
    if device.type == "cpu" and pixels > _MOST_PIXELS_ON_A_CPU:
        raise ValueError(
            f"batches of {pixels} pixels are too large for an ensemble on a CPU, where it is no "
            f"faster than its members one by one from {_MOST_PIXELS_ON_A_CPU}: train them with "
            "fit, in several processes; a study has --workers for that"
        )


def _check_stacks(systems: Sequence[ImagingSystem], scenes: Tensor, config: Training) -> None:
    with ExitStack() as modes:
        for system in systems:
            modes.enter_context(only_learning(system, config.learning(0)))
        found = obstacles(systems, scenes)
    if not any(obstacle is None for obstacle in found.values()):
        reasons = "; ".join(f"{name}: {obstacle}" for name, obstacle in found.items())
        raise ValueError(
            f"nothing of these systems can be stacked ({reasons or 'no codec, no classifier'}): "
            "train them one by one with fit"
        )
