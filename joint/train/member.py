"""What each of several trainings is given: :func:`joint.fit` has one, an ensemble many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from classify import LesionDataset
from joint.described import Description, described
from joint.objective import Objective
from joint.saved.folder import RunFolder
from joint.system import ImagingSystem

from .listen import EpochListener, listeners
from .preflight import check_given, check_run
from .training import Training

__all__ = ["Member", "member_of", "prepare"]


@final
@dataclass(frozen=True)
class Member:
    """One of the trainings that take their steps together."""

    system: ImagingSystem
    objective: Objective
    config: Training
    teacher: ImagingSystem | None
    directory: Path | str | RunFolder | None
    listeners: tuple[EpochListener, ...]
    made: Description
    """The system as it was given, before anything passed through it."""


def member_of(
    system: ImagingSystem,
    train: LesionDataset,
    validation: LesionDataset,
    *,
    objective: Objective | None,
    config: Training | None,
    teacher: ImagingSystem | None,
    directory: Path | str | RunFolder | None,
    stop: Callable[[], bool] | None,
    on_epoch: EpochListener | Sequence[EpochListener] | None,
) -> Member:
    """Take the arguments of :func:`joint.fit`, once their kinds are checked.

    Raises
    ------
    TypeError
        As :func:`joint.train.preflight.check_given`.
    ValueError
        Without a validation set, and for listeners that cannot be called.
    """
    objective = Objective() if objective is None else objective
    config = Training() if config is None else config
    check_given(system, train, validation, objective, config, teacher, stop)
    told = listeners(on_epoch)
    return Member(system, objective, config, teacher, directory, told, described(system))


def prepare(
    members: Sequence[Member],
    train: LesionDataset,
    validation: LesionDataset,
    device: torch.device,
) -> None:
    """Bring systems and teachers to their device, and check that each can be trained there.

    Raises
    ------
    TypeError, ValueError
        As :func:`joint.train.preflight.check_run`, whose warnings are given, too.
    """
    for each in members:
        each.system.to(device)
        if each.teacher is not None:
            each.teacher.to(device)
        given = (train, validation, each.objective, each.config)
        check_run(each.system, *given, teacher=each.teacher)
