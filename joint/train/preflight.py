"""What cannot work is refused before any time is spent."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from classify import LesionDataset, check_classes
from classify.data.archive import listed
from compress import LearnedCodec
from compress.metrics import SSIM_WINDOW
from joint.device import device_of
from joint.feed import as_scenes
from joint.judge.metric import TERM, is_term, stage_of
from joint.kinds import check_dataset, check_encoding, check_kinds, check_names, check_scores
from joint.objective import Losses, Objective, how_to_compare
from joint.parallel import world_size
from joint.stages import Stage, check_channels
from joint.system import ImagingSystem, SystemOutput, evaluating, only_learning

from .teacher import check_teacher, said_of_some
from .training import Training

__all__ = ["check_given", "check_run"]

# Monitors that are means over the classes with pictures.
_OVER_CLASSES = ("balanced_accuracy", "macro_f1", "auc")


def check_given(
    system: object,
    train: object,
    validation: object,
    objective: object,
    config: object,
    teacher: object = None,
    stop: object = None,
) -> None:
    """Look at the kinds of what a run is given, before anything of it is used.

    Raises
    ------
    TypeError
        For what is no system, no data set, no objective or no configuration, for a ``stop`` that
        cannot be called, and for a module whose state is more than tensors.
    ValueError
        Without a validation set.
    """
    check_kinds(system, train)
    if validation is None:
        raise ValueError(
            "fit needs a validation set: split the data in three, or name one in the column of "
            "the parts (split.column)"
        )
    check_dataset(validation)
    for name, given, kind in ("objective", objective, Objective), ("config", config, Training):
        if not isinstance(given, kind):
            raise TypeError(
                f"{name} must be a joint.{kind.__name__}, not {type(given).__name__}; make one "
                f"with joint.{kind.__name__}(...)"
            )
    if teacher is not None and not isinstance(teacher, ImagingSystem):
        raise TypeError(
            f"teacher must be a joint.ImagingSystem, not {type(teacher).__name__}: load one with "
            "joint.load_run(folder), or make one of a module with "
            "joint.ImagingSystem(classifier=...)"
        )
    if stop is not None and not callable(stop):
        raise TypeError(
            f"stop must be a function that says after each step whether to stop, not {stop!r}; "
            "joint.graceful_stop() makes one for signals"
        )
    for name, kept in system.state_dict().items():  # pyright: ignore[reportAttributeAccessIssue]
        if not isinstance(kept, Tensor):
            raise TypeError(
                f"{name} is of type {type(kept).__name__}, and a checkpoint holds tensors alone: "
                "keep it as a buffer, or outside of get_extra_state"
            )


def check_run(
    system: ImagingSystem,
    train: LesionDataset,
    validation: LesionDataset | None,
    objective: Objective,
    config: Training,
    *,
    teacher: ImagingSystem | None = None,
) -> None:
    """Check all arguments of a training, and pass two pictures through the system.

    Raises
    ------
    TypeError, ValueError
        As :func:`check_given`.
    ValueError
        For data, an objective, a teacher or a configuration that do not fit the system or each
        other.

    Warns
    -----
    UserWarning
        When a codec learns several qualities, but nothing in the objective distinguishes them; when
        lesions of the validation set are also in the training set, which is another data set; when
        the validation set has classes without a training picture, or lacks a class over which the
        monitor is a mean.
    """
    check_given(system, train, validation, objective, config, teacher)
    assert validation is not None  # or it has been refused
    _check_parts(train, validation)
    for part in (train, validation):
        check_encoding(system, part)
    check_channels(dict(system.stages()), train.channels)
    _check_apart(system, config)
    _check_weights(system, config)
    if objective.task > 0:
        check_classes(train)
        _speak_of_classes(train, validation)
    check_teacher(teacher, system, objective, config)
    _check_settings(system, train, validation, objective, config)
    _speak_of_unseen(train, validation, config)
    _check_rate_target(system, objective, config)
    if not _learns("classifier", system, config):
        check_names(system, train)  # one that learns may learn others
    scenes, labels = as_scenes(train.gather(torch.tensor([0, len(train) - 1])), device_of(system))
    noise = torch.Generator(scenes.device).manual_seed(0)
    taught = None
    if teacher is not None and objective.distillation:
        taught = said_of_some(teacher, scenes, train)
    idle = {name for name in (*objective.terms, "penalty") if objective.weights[name]}
    for learning in _turns(system, config):
        with (
            only_learning(system, learning),
            _needing_two(system, len(scenes)) as needing,
            evaluating(system),
        ):
            output = system(scenes, generator=noise)
            # Processes normalise together, so that theirs are two or more.
            if needing and world_size() == 1:
                _check_normalises(needing, train, config)
            _check_output(output, train, config)
            first = torch.tensor(objective.rate)  # of a target
            losses = objective(output, labels, teacher=taught, rate_weight=first)
        _check_term(losses, config)
        idle -= {name for name in idle if losses.named()[name].requires_grad}
        _check_gradients(system, losses, objective, learning)
        _check_header(system, output, objective)
    if "penalty" in idle:
        raise ValueError(
            f"the penalty of {type(system.front_end).__name__} has no gradient to what learns "
            f"here, so that penalty={objective.penalty:g} would do nothing: set penalty=0, or "
            "train the numbers of the front end that it depends on"
        )
    if idle:
        name = min(idle)
        raise ValueError(
            f"objective.terms.{name} has weight {objective.terms[name].weight:g} and no gradient "
            "to what learns here, so that nothing learns from it: give it weight 0, with which it "
            "is measured, or compute it without argmax, rounding or detach"
        )
    _speak_of_qualities(system, objective, config)


def _check_parts(train: LesionDataset, validation: LesionDataset) -> None:
    """Refuse two sets that are not parts of one."""
    for name in ("image_size", "channels", "classes"):
        ours, theirs = getattr(train, name), getattr(validation, name)
        if ours != theirs:
            raise ValueError(
                f"training and validation set differ in {name}: {ours} and {theirs}; take both "
                "from one split"
            )
    if named := train.shared(validation, named=True):
        raise ValueError(
            f"{len(named)} pictures are in both training and validation set ({named[0]}, ...): "
            "what is validated must not be trained on; take both from one split"
        )
    if shared := train.shared(validation):
        # A few may be there twice, as in the parts that many data sets come with.
        warnings.warn(
            f"{len(shared)} pictures of the training set are in the validation set under other "
            f"names ({shared[0]}, ...): what is validated is trained on, so leave them out of one",
            stacklevel=1,  # once, wherever it is asked for
        )
    if train.same_set_as(validation):
        return  # whoever divided it chose to, as by="image" does; no part knows how it was divided
    own = any(part.groups == part.identifiers for part in (train, validation))
    if own and not set(train.identifiers).isdisjoint(validation.identifiers):
        return  # names of rows, which name other pictures in each set: they are no patients
    known = set(train.groups)
    if count := sum(group in known for group in validation.groups):
        warnings.warn(
            f"{count} of the {len(validation)} pictures of the validation set share their lesion "
            "(or patient) with training, so that what is chosen by them is overfitted: take both "
            "from one split by lesion, or give groups that differ names that do",
            stacklevel=1,  # once, wherever it is asked for
        )


def _speak_of_classes(train: LesionDataset, validation: LesionDataset) -> None:
    """Say which classes are validated and cannot be learned: there is no picture of them."""
    missing = (train.counts == 0) & (validation.counts > 0)
    if missing.any():
        names = ", ".join(train.classes[label] for label in missing.nonzero().flatten().tolist())
        warnings.warn(
            f"the training set has no picture of {names}, of which the validation set has "
            f"{int(validation.counts[missing].sum())}: what it has no picture of cannot be learned",
            stacklevel=1,  # once, wherever it is asked for
        )


def _speak_of_unseen(train: LesionDataset, validation: LesionDataset, config: Training) -> None:
    """Say which classes are learned and not validated, where the monitor is a mean over them."""
    unseen = (validation.counts == 0) & (train.counts > 0)
    chooses = config.restore_best or config.patience is not None
    if unseen.any() and chooses and config.monitor in _OVER_CLASSES:
        names = listed(train.classes[label] for label in unseen.nonzero().flatten().tolist())
        warnings.warn(
            f"the validation set has no picture of {names}, so that the best epoch by "
            f"monitor={config.monitor!r} may be one that never finds it: use 'loss', or divide the "
            "data so that each part has some",
            stacklevel=1,  # once, wherever it is asked for
        )


def _check_settings(
    system: ImagingSystem,
    train: LesionDataset,
    validation: LesionDataset,
    objective: Objective,
    config: Training,
) -> None:
    """Refuse what a configuration asks of a system or of data that they do not have."""
    if objective.deferred_from >= config.epochs:
        raise ValueError(
            f"class weights are deferred to epoch {objective.deferred_from}, counted from 0, but "
            f"there are {config.epochs} epochs: lower deferred_from"
        )
    needed = stage_of(config.monitor)
    if needed is not None and getattr(system, needed) is None:
        raise ValueError(
            f"monitor={config.monitor!r} needs a {needed}, and the system has none; use 'loss'"
        )
    if config.monitor == "auc" and len(validation.targets.unique()) < 2:
        raise ValueError(
            "monitor='auc' needs two classes or more in the validation set, which holds one: use "
            "'loss', or divide the data in another way"
        )
    smallest = _smallest_step(train, config)
    if smallest // world_size() < config.micro_batches:
        raise ValueError(
            f"a step of {smallest} pictures cannot be divided among {world_size()} processes in "
            f"{config.micro_batches} parts each: {_for_larger_parts(train, config)}"
        )


def _check_apart(system: ImagingSystem, config: Training) -> None:
    """Refuse a weight of two stages, one of which learns: each has its own rate, or rests."""
    owners: dict[nn.Parameter, tuple[Stage, str]] = {}
    for stage, module in system.stages():
        for name, parameter in module.named_parameters():
            other, theirs = owners.setdefault(parameter, (stage, name))
            if parameter.requires_grad and stage != other and {stage, other} & {*config.stages}:
                raise ValueError(
                    f"{other}.{theirs} and {stage}.{name} are one weight, and stages learn apart: "
                    "give each its own (copy.deepcopy), or freeze it with requires_grad_(False)"
                )


def _check_weights(system: ImagingSystem, config: Training) -> None:
    """Refuse to train weights of half precision, which small steps do not change."""
    for stage, module in system.stages():
        for name, weight in module.named_parameters() if stage in config.stages else ():
            if weight.requires_grad and weight.dtype in (torch.float16, torch.bfloat16):
                raise ValueError(
                    f"{stage}.{name} is of {weight.dtype}, in which small steps are lost: train "
                    f"the {stage} in float32 (system.{stage}.float()), with precision='bfloat16' "
                    "to save time or memory"
                )


def _check_rate_target(system: ImagingSystem, objective: Objective, config: Training) -> None:
    """Refuse a target that the rate could not move to, or several rates for one target."""
    target, codec = objective.rate_target, system.codec
    if target is None or codec is None:  # what weighs the rate of none is refused anyway
        return
    if not _learns("codec", system, config):
        raise ValueError(
            f"rate_target={target:g} is what a codec is to learn, and {type(codec).__name__} does "
            "not learn here: leave rate_target out, or train the codec too"
        )
    if isinstance(codec, LearnedCodec) and codec.levels > 1 and codec.quality is None:
        raise ValueError(
            f"rate_target={target:g} is one rate, and {type(codec).__name__} learns "
            f"{codec.levels} qualities: leave rate_target out, or give the codec levels=1"
        )


def _check_header(system: ImagingSystem, output: SystemOutput, objective: Objective) -> None:
    """Refuse a target below what a file costs that says nothing of its picture."""
    if objective.rate_target is None or system.codec is None:
        return
    channels, height, width = output.measurement.shape[1:]
    header = system.codec.header_bytes((height, width), channels)
    if header is None:
        return
    least = 8 * header / (height * width)
    if objective.rate_target <= least:
        raise ValueError(
            f"rate_target={objective.rate_target:g} cannot be met: a file of "
            f"{type(system.codec).__name__} has {header} bytes besides its picture, which is "
            f"{least:.3g} bits per pixel of {height} x {width} pixels. Ask for more, or take "
            "larger pictures"
        )


def _smallest_step(train: LesionDataset, config: Training) -> int:
    """Pictures of the smallest step of an epoch."""
    return len(train) // math.ceil(len(train) / config.batch_size)


def _for_larger_parts(train: LesionDataset, config: Training) -> str:
    """What makes the parts of a step larger, for a message."""
    ways = []
    if config.batch_size < len(train):
        ways.append("raise batch_size")
    if config.micro_batches > 1:
        ways.append("lower micro_batches")
    return ", or ".join(ways) or "take more pictures"


def _turns(system: ImagingSystem, config: Training) -> list[tuple[Stage, ...]]:
    """The stages that learn at once, for each turn of the plan; in each, something must learn."""
    turns = {config.learning(e): e for e in (config.turn_epochs, 0) if e < config.epochs}
    for learning, epoch in turns.items():
        there = {name: stage for name, stage in system.stages() if name in learning}
        if not any(p.requires_grad for stage in there.values() for p in stage.parameters()):
            raise ValueError(
                f"nothing to train: the stages {', '.join(there or learning) or '(none)'} "
                f"have no trainable parameters in this system, and no others learn in epoch "
                f"{epoch + 1} with plan={config.plan!r}"
            )
    return list(turns)


def _learns(name: Stage, system: ImagingSystem, config: Training) -> bool:
    """Whether a stage is there, and learns in any turn."""
    stage = dict(system.stages()).get(name)
    if stage is None or not any(name in learning for learning in _turns(system, config)):
        return False
    return any(parameter.requires_grad for parameter in stage.parameters())


def _speak_of_qualities(system: ImagingSystem, objective: Objective, config: Training) -> None:
    """Say where several qualities are trained, and all for the same: only distortion is weighed."""
    codec = system.codec
    if not isinstance(codec, LearnedCodec) or codec.levels == 1 or codec.quality is not None:
        return
    if objective.distortion or not _learns("codec", system, config):
        return
    warnings.warn(
        f"the {codec.levels} qualities of {type(codec).__name__} are trained for the same: what "
        "tells them apart is the weight of the distortion, which is 0. Give it one "
        "(--objective.distortion 10), or train one model with levels=1 for each weight of the rate",
        stacklevel=1,  # once, wherever it is asked for
    )


def _check_normalises(needing: list[str], train: LesionDataset, config: Training) -> None:
    """Refuse a step of one picture where batch normalisation cannot learn from one."""
    if _smallest_step(train, config) // config.micro_batches == 1:
        raise ValueError(
            f"{len(train)} pictures with batch_size={config.batch_size} and micro_batches="
            f"{config.micro_batches} make a part of a step of one picture, from which "
            f"{needing[0]} cannot learn: it is a batch normalisation that sees one value "
            f"of a channel there: {_for_larger_parts(train, config)}"
        )


def _check_output(output: SystemOutput, train: LesionDataset, config: Training) -> None:
    """Refuse a system that says something else than is asked for, and what no metric is of."""
    check_scores(output, train)
    height, width = output.measurement.shape[-2:]
    if config.monitor == "ssim" and min(height, width) < SSIM_WINDOW:
        raise ValueError(
            f"monitor='ssim' does not exist for the {height} x {width} pixels that the "
            f"codec is handed, which must be at least {SSIM_WINDOW}x{SSIM_WINDOW}: use "
            "'psnr', or larger pictures"
        )
    if config.monitor != "psnr_scene":
        return
    if output.handed is output.scene:
        raise ValueError(
            "monitor='psnr_scene' does not exist for a system that leaves the scene as it is: use "
            "'loss'"
        )
    if output.handed.shape != output.scene.shape:
        raise ValueError(
            f"monitor='psnr_scene' does not exist for a system that makes "
            f"{list(output.handed.shape[1:])} of {list(output.scene.shape[1:])}, another size or "
            f"other channels: {how_to_compare(output)}, or use 'loss'"
        )


@contextmanager
def _needing_two(system: nn.Module, pictures: int) -> Iterator[list[str]]:
    """Batch normalisations in training mode that one picture gives one value of a channel.

    Their names are in the list once so many pictures were passed. One value has no variance.
    """
    found: list[str] = []

    def look(name: str, _: nn.Module, given: tuple[Tensor]) -> None:
        if given[0].numel() == pictures * given[0].shape[1]:
            found.append(name)

    handles = [
        norm.register_forward_pre_hook(partial(look, name))
        for name, norm in system.named_modules()
        if isinstance(norm, _BatchNorm) and norm.training
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _check_term(losses: Losses, config: Training) -> None:
    """Refuse a monitor that is a term which no validation has."""
    if not is_term(config.monitor):
        return
    known = [name for name in losses.named() if name != "distillation"]  # there is no teacher
    if config.monitor.removeprefix(TERM) not in known:
        names = ", ".join(TERM + name for name in known)
        raise ValueError(
            f"monitor={config.monitor!r} is no term that a validation has here: use one of {names}"
        )


def _check_gradients(
    system: ImagingSystem, losses: Losses, objective: Objective, stages: tuple[Stage, ...]
) -> None:
    """Refuse an objective that cannot move the stages that learn."""
    learning = [name for name, stage in system.stages() if name in stages]
    parameters = [p for name in learning for p in getattr(system, name).parameters()]
    if parameters and not losses.total.requires_grad:
        raise ValueError(
            f"nothing that the objective weighs depends on the stages that learn "
            f"({', '.join(learning)}): give task, rate, distortion, restoration, distillation, "
            "penalty or a term of your own a weight that reaches them"
        )
    coders = [name for name in learning if name != "classifier"]
    moving = any(p.requires_grad for name in coders for p in getattr(system, name).parameters())
    if objective.rate > 0 and moving and losses.rate is not None and not losses.rate.requires_grad:
        raise ValueError(
            f"the bits of {type(system.codec).__name__} have no gradient, so that rate="
            f"{objective.rate:g} would do nothing: set rate=0, without a rate_target, or use "
            "FactorizedCodec"
        )
