"""The start of a run: trained stages of another one, and warnings about them.

::

    run folder ─ trained_stages ─► stages ─ copy_into ─► system of the run that begins
                    │                           │
                    └─ classes, test part       └─ settings: where they are others, a warning
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from classify import Classifier, LesionDataset, Split
from joint.caution import caution
from joint.config.classifier import ClassifierConfig
from joint.config.run import RunConfig, load_config, rests_untrained
from joint.described import described, differing
from joint.saved.checkpoint import CheckpointError, load_weights
from joint.saved.folder import CONFIG_FILE, as_path
from joint.saved.predictions import Predictions, load_predictions
from joint.settings import ConfigError
from joint.stages import Stage
from joint.system import ImagingSystem

from .build import build_split, build_system
from .trained import Trained, load_trained

__all__ = ["copy_into", "speak_of_classifier", "speak_of_settings", "trained_stages"]

# What every backbone of `classify` calls its last layer.
_HEAD = ("head.weight", "head.bias")


def trained_stages(
    directory: Path | str, parts: Split, stages: Collection[Stage] | None = None
) -> dict[Stage, nn.Module]:
    """Trained stages of a run, to start another run with: ``complete_run(start=)``.

    Parameters
    ----------
    directory : path
        The run folder; its scenes are not needed.
    parts : Split
        Scenes of the new run, whose size, channels and classes must fit the stages.
    stages : collection of stage names, optional
        Stages to return; by default all that the run has.

    Raises
    ------
    ConfigError, CheckpointError
        When the folder is no run or has no trained weights, it lacks one of ``stages``, or one of
        them does not fit the scenes.

    Warns
    -----
    UserWarning
        When the classifier was trained for another number of classes: its last layer is new then.
        When its classes have other names, or another order. When the run was
        trained on pictures of ``parts.test``, or of their lesions.
    """
    directory = as_path(directory)
    config = load_config(directory)
    trained = load_trained(directory, config.training)
    system = build_system(
        config.system.without_files(),  # everything is in the checkpoint
        image_size=parts.train.image_size,
        channels=parts.train.channels,
        classes=len(parts.train.classes),
    )
    there = dict(system.stages())
    missing = [stage for stage in stages or () if stage not in there]
    if missing:
        raise ConfigError(
            f"{directory} has no {', '.join(missing)} to start with; it has {', '.join(there)}"
        )
    _speak_of_seen(config, trained, parts)
    kept: dict[Stage, nn.Module] = {
        name: there[name] for name in there if name in (stages or there)
    }
    for stage, module in kept.items():
        if stage == "classifier":
            _speak_of_names(trained, parts.train.classes, directory)
        own = _for_classes(module, trained.of_stage(stage), directory)
        load_weights(module, own, source=f"{trained.path}, the {stage}")
    return kept


def copy_into(system: ImagingSystem, stage: Stage, module: nn.Module) -> None:
    """Give a stage of a system the weights of another one."""
    own = getattr(system, stage)
    if own is None:
        raise ValueError(
            f"the start gives a {stage}, and the system of the run has none: start with the other "
            "stages alone (--start-stages), or give the run such a stage"
        )
    load_weights(own, dict(module.state_dict()), source=f"the start of the {stage}")


def speak_of_settings(system: ImagingSystem, stage: Stage, module: nn.Module) -> None:
    """Warn if a stage has other settings than the one whose weights it starts with.

    Not for a sensor, which has no such weights: a start with fewer photons is intended.
    """
    if not module.state_dict():  # as of a codec that writes files
        return
    own = getattr(system, stage)
    other = differing(described(module), described(own), learning=False)
    if other is not None and stage != "sensor":
        caution(
            f"the {stage} begins with weights of one of other settings: {other}. If that is not "
            "meant, give the run those of the start (--config RUN), or begin with other stages "
            "alone (--start-stages)"
        )


def speak_of_classifier(
    config: RunConfig, system: ImagingSystem, parts: Split, start: Mapping[Stage, nn.Module]
) -> None:
    """Warn of the initial weights of the classifier of a new run.

    Parameters
    ----------
    config : RunConfig
        Of the run.
    system : ImagingSystem
        Built of it, with the file of initial weights.
    parts : Split
        Its scenes.
    start : mapping of stage to module
        Stages of another run that it begins with.

    Warns
    -----
    UserWarning
        When they are random, or those of the last layer are, and stay so. When the last layer in
        the file is not loaded. If the file is of a run: when that run was trained on pictures of
        ``parts.test``, or of their lesions; when its classes have other names, or another order.
    """
    if "classifier" in start:
        return
    judge, made = config.system.classifier, system.classifier
    left_out = made.head_left_out if isinstance(made, Classifier) else None
    if left_out is not None:
        caution(left_out)
    if rests_untrained(config, head_loaded=left_out is None):
        random = "it" if left_out is None else "its last layer"
        caution(
            "nothing of the classifier learns with this training.stages and training.plan, and "
            f"{random} is random: the stages in front of it learn for labels that say nothing. "
            "Give it weights of a training (system.classifier.weights, or --start RUN "
            "--start-stages classifier), or let it learn",
        )
    if not isinstance(judge, ClassifierConfig) or judge.weights is None:
        return
    directory = judge.weights.parent
    if not (directory / CONFIG_FILE).is_file():
        return
    try:
        theirs = load_config(directory)
        trained = load_trained(directory, theirs.training)
    except (ConfigError, CheckpointError):
        return  # a folder that tells nothing of where the file is from
    if left_out is None:
        _speak_of_names(trained, parts.train.classes, directory)
    _speak_of_seen(theirs, trained, parts)


def _speak_of_seen(theirs: RunConfig, trained: Trained, parts: Split) -> None:
    """Say how many pictures of a test part the weights that a run begins with were trained on.

    Parameters
    ----------
    theirs : RunConfig
        Of the run that the weights are of.
    trained : Trained
        What its training left.
    parts : Split
        Scenes of the run that begins. Where they are not known to be those of the other run, of
        the same or another size, nothing is said.

    Warns
    -----
    UserWarning
        When there are some, or others of their lesions.
    """
    known = _divided_as(theirs, trained, parts)
    if known is None or known.train.identifiers == parts.train.identifiers:
        return  # of one training part, what is in it and in the test too is told of the split
    names, lesions = set(known.train.identifiers), set(known.train.groups)
    test = parts.test
    seen = zip(test.identifiers, test.groups, strict=True)
    count = sum(name in names or lesion in lesions for name, lesion in seen)
    if count:
        directory = trained.path.parent
        caution(
            f"{directory} was trained on {count} of the {len(test)} test pictures, or on others of "
            "their lesions, and its weights are what this run begins with: the results will be "
            f"too good. Divide the scenes as that run did, see split in {directory / CONFIG_FILE}, "
            "or begin with other weights",
        )


def _speak_of_names(trained: Trained, ours: Sequence[str], directory: Path) -> None:
    """Warn if a classifier has as many classes, but with other names or another order."""
    theirs = trained.scenes.classes
    if len(theirs) != len(ours) or theirs == tuple(ours):
        return
    caution(
        f"the classifier of {directory} tells {', '.join(theirs)} apart, and begins with these "
        f"scores for {', '.join(ours)}, in this order: where it does not learn, its labels are "
        "those of other classes",
    )


def _for_classes(
    module: nn.Module, weights: Mapping[str, Tensor], directory: Path
) -> Mapping[str, Tensor]:
    """The weights of a stage; a last layer for another number of classes stays random."""
    fresh = {
        name: value
        for name, value in module.state_dict().items()
        if name in _HEAD and name in weights and weights[name].shape[:1] != value.shape[:1]
    }
    if not fresh:
        return weights
    theirs, ours = (len(state["head.weight"]) for state in (weights, fresh))
    caution(
        f"the last layer of {directory} is for {theirs} classes, and begins anew for {ours}",
    )
    return {**weights, **fresh}


def _divided_as(theirs: RunConfig, trained: Trained, parts: Split) -> Split | None:
    """These scenes in the parts of another run; None where they are not known to be its own."""
    whole = parts.whole
    if whole is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a split that was spoken of when it was made
            found = build_split(theirs, whole)
    except ValueError:  # they cannot be divided so
        return None
    if trained.identity["train"] == found.train.fingerprint:
        return found
    # Of another size, they are known by their names and classes.
    try:
        tested = load_predictions(trained.path.parent)
    except CheckpointError:
        return None
    return found if _is_of(tested, found.test) else None


def _is_of(tested: Predictions, part: LesionDataset) -> bool:
    """Whether predictions are of the pictures of a part, as far as names and classes tell."""
    ours = (part.classes, part.identifiers, part.groups, part.targets.tolist())
    return ours == (tested.classes, tested.identifiers, tested.groups, tested.labels.tolist())
