"""A teacher: a frozen system whose class scores another system learns (knowledge distillation).

::

    views of a step ─┬─► the system that learns ─► scores ─┐
                     └─► teacher ────────────────► scores ─┴─► Objective.distillation

Both see the same views, mixed pictures among them (the consistent teaching of Beyer et al., CVPR
2022); each has the noise of its own camera.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from classify import LesionDataset
from joint.caution import caution
from joint.described import described, differing
from joint.kinds import check_names
from joint.objective import Objective
from joint.saved.checkpoint import digest
from joint.system import ImagingSystem, evaluating

from .training import Training

__all__ = ["check_teacher", "identify", "said", "said_of_some", "why_another"]


def said(
    teacher: ImagingSystem,
    scenes: Tensor,
    *,
    noise: torch.Generator | Sequence[torch.Generator],
    precision: str,
) -> Tensor:
    """Class scores of a teacher for pictures, in evaluation mode and without a gradient.

    Parameters
    ----------
    teacher : ImagingSystem
        A system with a classifier; its mode is restored.
    scenes : Tensor ``[B, C, H, W]``
        In 0..1.
    noise : torch.Generator or a sequence of them
        Source of the random numbers of its camera.
    precision : {"float32", "bfloat16"}
        Autocast type of the run.

    Returns
    -------
    Tensor ``[B, K]``
        Class scores.
    """
    low = torch.autocast(scenes.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with torch.no_grad(), evaluating(teacher), low:
        return teacher(scenes, generator=noise).logits


def said_of_some(teacher: ImagingSystem, scenes: Tensor, train: LesionDataset) -> Tensor:
    """Class scores ``[B, K]`` of a teacher for a few scenes ``[B, C, H, W]`` of a data set.

    Raises
    ------
    ValueError
        When the teacher cannot take these scenes, or its classes are not those of ``train``.
    """
    noise = torch.Generator(scenes.device).manual_seed(0)
    try:
        scores = said(teacher, scenes, noise=noise, precision="float32")
    except (ValueError, RuntimeError) as error:
        channels, height, width = scenes.shape[1:]
        raise ValueError(
            f"the teacher gets the same scenes as the system, but cannot take "
            f"these, of {channels} channels and {height} x {width} pixels: "
            f"{str(error).splitlines()[0]}"
        ) from error
    check_names(teacher, train, what="teacher")
    if scores.shape[1] != len(train.classes):
        raise ValueError(
            f"the teacher tells {scores.shape[1]} classes apart, the data set has "
            f"{len(train.classes)}: {', '.join(train.classes)}; give a teacher of these"
        )
    return scores


def check_teacher(
    teacher: ImagingSystem | None,
    system: ImagingSystem,
    objective: Objective,
    config: Training,
) -> None:
    """Refuse a missing teacher, or one that does not suit the system.

    Raises
    ------
    ValueError
        When the teacher is missing or does not suit the system.

    Warns
    -----
    UserWarning
        When there is a teacher, but the objective has no weight for distillation.
    """
    if teacher is None:
        if objective.distillation:
            raise ValueError(
                f"the objective has a weight of {objective.distillation:g} for distillation, but "
                "there is no teacher: give one (teacher=system in Python, --teacher RUN on the "
                "command line), or set distillation=0"
            )
        return
    if not objective.distillation:
        caution(
            "the teacher has no effect, because the objective has distillation=0: give that a "
            "weight (--objective.distillation 1), or leave the teacher out",
        )
        return
    if teacher.classifier is None:
        raise ValueError("the teacher has no classifier: give a teacher that has one")
    if teacher.encoding != system.encoding:
        raise ValueError(
            f"the teacher gets the same scenes as the system, but is for "
            f"encoding={teacher.encoding!r}, the system for {system.encoding!r}: build both with "
            "one encoding"
        )
    own = {id(tensor) for tensor in (*system.parameters(), *system.buffers())}
    if any(id(tensor) in own for tensor in (*teacher.parameters(), *teacher.buffers())):
        raise ValueError(
            "the teacher shares weights with the system that it teaches, and would change with "
            "it: give a copy (copy.deepcopy)"
        )
    # A penalty says nothing of the pictures.
    idle = {"distillation", "penalty"}
    idle |= {"rate"} if objective.rate_target is not None else set()
    counts = any(weight for name, weight in objective.weights.items() if name not in idle)
    if config.monitor == "loss" and not counts:
        raise ValueError(
            "monitor='loss' selects the best epoch by the loss of an evaluation, which has no "
            "teacher, and the objective has no weight but distillation"
            f"{' and penalty' if objective.penalty else ''}: use another monitor, such as "
            "'balanced_accuracy'"
        )


def identify(teacher: ImagingSystem) -> dict[str, Any]:
    """What a teacher is known by, as JSON: what it is ``made`` of, and the digest of its weights.

    Two of them are compared by :func:`why_another`: what is computed from settings differs in the
    last digits between machines, so that no digest of it is the same everywhere.
    """
    return {"made": described(teacher), "weights": digest(teacher)}


def why_another(was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str | None:
    """Why a teacher is not the one that a run began with; None if it is, or neither has one.

    Parameters
    ----------
    was, now : mapping, optional
        As :func:`identify` returns them; None without a teacher. How a teacher itself learned
        does not count.

    Returns
    -------
    str or None
        The first differences.
    """
    if was is None and now is None:
        return None
    if was is None or now is None:
        return "none there" if was is None else "none here"
    if not {"made", "weights"} <= {*was}:  # no mapping, or another one, from a file
        return "it is not described there"
    if other := differing(was["made"], now["made"], learning=False):
        return other
    return None if was["weights"] == now["weights"] else "its weights are others"
