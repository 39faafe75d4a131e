"""What a run is known by, and whether it can go on from a checkpoint."""

from collections.abc import Mapping
from typing import Any

from classify import LesionDataset
from joint.described import Description, described, differing
from joint.objective import Objective
from joint.saved.folder import CHECKPOINT_FILE
from joint.system import ImagingSystem

from .optimizer import factors_of
from .outcome import ran_out
from .teacher import identify, why_another
from .training import Training

__all__ = ["EARLIER", "identity_of", "why_not_longer", "why_other"]

#: Of a run whose system is told by its printed form, to follow the name of its file or folder.
EARLIER = "was written by an earlier version of lens2label, and cannot be loaded or resumed"


def identity_of(
    system: ImagingSystem,
    objective: Objective,
    config: Training,
    train: LesionDataset,
    validation: LesionDataset,
    teacher: ImagingSystem | None,
    *,
    made: Description | None = None,
) -> dict[str, Any]:
    """What a run must agree in with the checkpoint that it goes on from, as JSON.

    A teacher that nothing weighs is none. ``made`` describes the system as it was given, in case a
    pass since then has changed an attribute of it; by default as it is now.
    """
    identity: dict[str, Any] = {
        "objective": objective.model_dump(mode="json"),
        "training": config.model_dump(mode="json"),
        "train": train.fingerprint,
        "validation": validation.fingerprint,
        "system": described(system) if made is None else made,
        "codec_channels": getattr(system.codec, "channels", None),
    }
    if teacher is not None and objective.distillation:
        identity["teacher"] = identify(teacher)
    # For whoever loads the weights without the scenes; other ones have another fingerprint.
    identity["scenes"] = {
        "image_size": train.image_size,
        "channels": train.channels,
        "classes": train.classes,
    }
    factors = [factor for _, stage in system.stages() for _, factor in factors_of(stage)]
    if factors:
        identity["learning_rate_factors"] = factors
    return identity


def why_other(head: Mapping[str, Any], identity: Mapping[str, Any]) -> str | None:
    """Why the run of a checkpoint differs from that of an identity, and cannot continue as it.

    Parameters
    ----------
    head : mapping
        Of the checkpoint, as :func:`joint.train.training_file.write_training` writes it.
    identity : mapping
        Of the run that is asked for, which may have more epochs than the checkpoint says, where
        :func:`why_not_longer` says nothing against it.

    Returns
    -------
    str or None
        The reason, to follow the name of the folder; None where it is the same.
    """
    was, epochs = head["identity"], identity["training"]["epochs"]
    if isinstance(was["system"], str):
        return EARLIER
    others = [
        f"{part}.{key}"
        for part in ("objective", "training")
        for key in sorted(was[part].keys() ^ identity[part].keys())
    ]
    if others:
        return (
            f"was written by another version of lens2label, for which {', '.join(others)} did not "
            "exist or did, and cannot go on here: begin another run with its weights (--start; in "
            "Python joint.load_fitted)"
        )
    longer = epochs > was["training"]["epochs"]
    if longer:
        was = was | {"training": was["training"] | {"epochs": epochs}}
    if changed := _changes(was, identity):
        return (
            f"holds a run with another configuration: {'; '.join(changed[:5])}. Resume it as it "
            "was, or train in another directory"
        )
    return why_not_longer(head, epochs) if longer else None


def why_not_longer(head: Mapping[str, Any], epochs: int) -> str | None:
    """Why the run of a checkpoint cannot continue for more epochs than it had.

    It can if a run that was started with this number would have had the same checkpoint.

    Parameters
    ----------
    head : mapping
        Of the checkpoint, as :func:`joint.train.training_file.write_training` writes it.
    epochs : int
        How many it is to have in all.

    Returns
    -------
    str or None
        The reason, to follow the name of the folder; None if it can.
    """
    if not {*head} >= {"identity", "epoch", "best_epoch"}:
        return f"has a {CHECKPOINT_FILE} that is not one of a training run"
    was, best = head["identity"]["training"], head["best_epoch"]
    remedy = "begin another run with its weights (--start; in Python joint.load_fitted)"
    if was["schedule"] != "constant":
        return (
            f"holds a run with training.schedule {was['schedule']} over training.epochs "
            f"{was['epochs']}, and with {epochs} every step would have had another learning rate: "
            "only a run with the schedule constant goes on for more epochs. To train on, "
            f"{remedy}; or train {epochs} epochs from the beginning"
        )
    patience, over = was["patience"], head["epoch"]
    if ran_out(patience, over, best):
        return (
            f"holds a run whose training.patience of {patience} ran out in epoch {over}: with "
            f"training.epochs {epochs} it would have ended there, too. To train on, {remedy} and "
            "more patience"
        )
    return None


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Text about the differences between the identities of two runs."""
    settings = [
        f"{part}.{key} was {old[part].get(key)!r} and is {new[part].get(key)!r}"
        for part in ("objective", "training")
        for key in sorted({*old[part], *new[part]})
        if old[part].get(key) != new[part].get(key)
    ]
    if other := differing(old["system"], new["system"], learning=True):
        settings.append(f"the system is another one: {other}")
    if other := why_another(old.get("teacher"), new.get("teacher")):
        settings.append(f"the teacher is another one: {other}")
    if old.get("learning_rate_factors") != new.get("learning_rate_factors"):
        settings.append(
            f"the factors of learning rates were {old.get('learning_rate_factors')} and are "
            f"{new.get('learning_rate_factors')} (learning_rate_factor of modules)"
        )
    return settings + [
        f"the {part} set is another one"
        for part in ("train", "validation")
        if old[part] != new[part]
    ]
