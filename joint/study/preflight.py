"""Checks before the first run of a study: faults that would end every run of a design."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import torch

from classify import LESION_CLASSES
from classify.data.table import composed
from classify.metric_names import check_metric, of_class
from joint.caution import caution
from joint.config.compound import CompoundConfig
from joint.config.custom import CustomConfig
from joint.config.front_ends import build_front_end, lens_of
from joint.config.lens import LensConfig
from joint.config.run import NoneConfig, RunConfig, check_own, rests_untrained
from joint.config.scenes import (
    DataConfig,
    HAM10000Config,
    MedMNISTConfig,
    PhantomConfig,
    SceneFileConfig,
)
from joint.judge.metric import stage_of
from joint.run.build import build_system
from joint.settings import ConfigError
from joint.stages import STAGES, Stage
from joint.train.training import Training
from optics.performance.sampling import LOST, audit_sampling

from .axis import Design, Level
from .derived import cost
from .formula import names_in
from .space import Pair, Plan, Study, levels_shown

__all__ = ["SIZE_IN_FILES", "check_classes", "check_designs", "check_draws", "scenes_of"]

# Terms of the objective, and the stage that each needs.
_WEIGHED = {
    "task": "classifier",
    "rate": "codec",
    "distortion": "codec",
    "distillation": "classifier",
}
# Number of different lenses that are checked, each taking some tens of milliseconds, and where some
# of them are traced, each of which takes a second.
_LENSES, _TRACED = 200, 20
_OF_LENSES = LensConfig | CompoundConfig
SIZE_IN_FILES = (MedMNISTConfig, SceneFileConfig)
"""Scenes whose channels, and mostly their size, are not in the configuration."""
_REPEATS = 0.25  # share of repeats among draws above which a warning is given
# Codecs whose bits never have a gradient.
_FILES = frozenset({"jpeg", "webp", "jpeg2000", "avif", "png"})


def check_draws(study: Study) -> None:
    """Check how the designs of a new study were drawn.

    Warns
    -----
    UserWarning
        When repeated draws were replaced so often that axes which only some designs have, and the
        levels with which they exist, no longer have their nominal shares.
    """
    branches = {parent: None for axis in study.axes.values() for parent in axis.when}
    drawn_by = ("startup", "population", "count")  # settings with the number of random designs
    count = next((name for name in drawn_by if hasattr(study.sampler, name)), None)
    if not branches or count is None:
        return
    designs, repeats = study.drawn()
    if repeats < _REPEATS * len(designs):
        return
    shares = "; ".join(
        f"{name}: {_shares(design[name] for design in designs if name in design)}"
        for name in branches
    )
    caution(
        f"{repeats} draws repeated a design and were replaced by others: levels with few different "
        f"designs are drawn less often than others ({shares}). Give "
        f"their axes more choices, make {count} smaller, or list the designs"
    )


def _shares(levels: Iterable[Level]) -> str:
    return ", ".join(f"{level} {count}" for level, count in Counter(levels).items())


def check_designs(
    study: Study, designs: Sequence[Design], configs: Sequence[RunConfig], pairs: Sequence[Pair]
) -> None:
    """Refuse designs whose every run would fail, and comparisons that are not pairs.

    Parameters
    ----------
    study : Study
    designs : sequence of dict
        Designs that are known before the first run.
    configs : sequence of RunConfig
        Configuration of each design.
    pairs : sequence of Pair
        Comparisons of the plan.

    Raises
    ------
    ConfigError
        With the design, the reason and what to set; for a lens, if the configuration gives its
        scenes.
    ValueError
        When the plan judges by a class that scenes do not have, as far as the configuration says.

    Warns
    -----
    UserWarning
        When a classifier that was never trained learns in no epoch; when the window of a lens's PSF
        cuts off more of the light than :func:`optics.audit_sampling` allows.
    """
    moving: dict[str, bool] = {}
    for design, config in zip(designs, configs, strict=True):
        try:
            check_own(config)
        except ConfigError as error:
            raise ConfigError(f"the design {levels_shown(design)}: {error}") from error
        faults = [*_lacking(config), *_without_gradient(config, moving)]
        if faults:
            raise ConfigError(
                f"the design {levels_shown(design)} cannot be trained: {'; '.join(faults)}. Set "
                "that in the base; or, if other designs need another value, on the axis that makes "
                "the difference: without a path, its values can set several fields"
            )
    untrained = [d for d, config in zip(designs, configs, strict=True) if rests_untrained(config)]
    if untrained:
        caution(
            f"training.stages and training.plan do not train the classifier of {len(untrained)} of "
            f"{len(designs)} designs, and its weights are random (the first: "
            f"{levels_shown(untrained[0])}): the stages in front of it would learn from "
            "meaningless labels. Give it trained weights (system.classifier.weights), or train "
            "it",
        )
    for data in dict.fromkeys(config.data for config in configs):
        classes = _classes_of(data)
        if classes is not None:
            check_classes(study.plan, classes)
    for pair in pairs:
        differ = [*_of_other_pictures(configs[pair.first], configs[pair.second])]
        if differ:
            raise ConfigError(
                f"the plan compares {pair.name}, which are tested on different pictures, as they "
                f"differ in {', '.join(differ)}: compare designs that share data and split"
            )
    _check_costs(study, designs)
    _check_lenses(designs, configs)


def _lacking(config: RunConfig) -> Iterator[str]:
    """What training needs, for its objective, monitor or scenes, and the system does not have."""
    for name, stage in _WEIGHED.items():
        weight = getattr(config.objective, name)
        if weight and isinstance(getattr(config.system, stage), NoneConfig):
            yield f"objective.{name}={weight:g} needs a {stage}, and there is none: set it to 0"
    camera, penalty = config.system.front_end, config.objective.penalty
    says = isinstance(camera, CustomConfig) or isinstance(lens_of(camera)[1], CompoundConfig)
    if penalty and not says:
        yield (
            f"objective.penalty={penalty:g} needs a front end with a penalty, and {camera.kind!r} "
            "has none: set it to 0"
        )
    elif penalty and not any("front_end" in turn for turn in _turns(config.training)):
        yield (
            f"objective.penalty={penalty:g} would have no effect, as training.stages and "
            "training.plan never train the front end: set it to 0"
        )
    needed = stage_of(config.training.monitor)
    if needed is not None and isinstance(getattr(config.system, needed), NoneConfig):
        yield (
            f"training.monitor={config.training.monitor!r} needs a {needed}, and there is none: "
            "set 'loss'"
        )
    # Of files whose encoding nobody named, the run alone can tell.
    given, taken = getattr(config.data, "encoding", None), config.system.encoding
    if given not in (None, taken):
        yield (
            f"data.encoding={given!r} needs a system that takes such scenes, and "
            f"system.encoding={taken!r} does not: set both to the same"
        )


def _without_gradient(config: RunConfig, moving: dict[str, bool]) -> Iterator[str]:
    """A rate term that cannot reach the stages it is to train, which training refuses too."""
    kind = config.system.codec.kind
    if kind not in _FILES or config.objective.rate == 0:
        return
    camera = config.system.model_copy(update={"codec": NoneConfig(), "classifier": NoneConfig()})
    key = camera.model_dump_json(exclude={"seed"}) + config.training.model_dump_json()
    if key not in moving:
        moving[key] = _moves(config.model_copy(update={"system": camera}))
    if moving[key]:
        yield (
            f"objective.rate={config.objective.rate:g} would have no effect, as the bits of "
            f"codec.kind={kind!r} have no gradient: set it to 0"
        )


def _moves(config: RunConfig) -> bool:
    """Whether something before the codec learns; False if only the run can tell."""
    training = config.training
    if any(isinstance(getattr(config.system, stage), CustomConfig) for stage in STAGES):
        return False  # a user's class may build anything
    size, channels = scenes_of(config)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            system = build_system(config.system, image_size=size, channels=channels, classes=2)
    except Exception:  # not a stage, or one that needs scenes or a machine not known yet
        return False
    turns = _turns(training)
    return any(
        parameter.requires_grad
        for name, stage in system.stages()
        if any(name in turn for turn in turns)
        for parameter in stage.parameters()
    )


def _turns(training: Training) -> list[tuple[Stage, ...]]:
    """The stages that learn at once, for each turn of the plan that comes."""
    return [training.learning(e) for e in (0, training.turn_epochs) if e < training.epochs]


def scenes_of(config: RunConfig) -> tuple[tuple[int, int], int]:
    """Size and channels of the scenes, or usual ones for :data:`SIZE_IN_FILES`."""
    data = config.data
    size = data.image_size or 64
    bands = getattr(data, "wavelengths", None) or range(getattr(data, "channels", None) or 3)
    return (size, size), len(bands)


def check_classes(plan: Plan, classes: Sequence[str]) -> None:
    """Refuse a plan that judges by a class which is not one of ``classes``, those of the scenes.

    Raises
    ------
    ValueError
        The message names similar classes.
    """
    for metric in filter(of_class, (plan.metric, *plan.requirements.metrics())):
        try:
            check_metric(metric, classes)
        except ValueError as error:
            raise ValueError(f"the plan cannot be judged: {error}") from None


def _classes_of(data: DataConfig) -> Sequence[str] | None:
    """Classes of the scenes; None if only their files tell."""
    if isinstance(data, PhantomConfig | HAM10000Config):
        return LESION_CLASSES
    named = getattr(data, "classes", None)
    return None if named is None else [composed(name) for name in named]


def _check_lenses(designs: Sequence[Design], configs: Sequence[RunConfig]) -> None:
    """Refuse a lens that no run could build, and warn of windows that cut off light."""
    lenses = [lens_of(config.system.front_end)[1] for config in configs]
    keys = [
        f"{lens.model_dump_json()}{scenes_of(config)}" if isinstance(lens, _OF_LENSES) else ""
        for lens, config in zip(lenses, configs, strict=True)
    ]
    traced = any(isinstance(lens, CompoundConfig) for lens in lenses)
    if len(set(keys)) > (_TRACED if traced else _LENSES):
        return
    lost = {"": 0.0}
    for key, lens, design, config in zip(keys, lenses, designs, configs, strict=True):
        if key in lost or not isinstance(lens, _OF_LENSES):
            continue
        try:
            lost[key] = _lost(lens, config)
        except (ValueError, TypeError) as error:
            if not isinstance(config.data, SIZE_IN_FILES):
                raise ConfigError(f"the design {levels_shown(design)}: {error}") from error
            lost[key] = 0.0  # depends on scenes that only the run knows
    cut = {number: lost[key] for number, key in enumerate(keys) if lost[key] > LOST}
    if cut:
        worst = max(cut, key=lambda number: cut[number])
        caution(
            f"{len(cut)} of {len(designs)} designs lose more than {100 * LOST:g} % of the light "
            "outside the window of their PSF, the most "
            f"{100 * cut[worst]:.3g} % ({levels_shown(designs[worst])}). It is missing from "
            "picture and throughput, while a real camera would not lose it: give a larger "
            "system.front_end.psf_size",
        )


def _lost(lens: LensConfig | CompoundConfig, config: RunConfig) -> float:
    """Share of the light outside the window, at the worst wavelength, distance and place."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(config.system.seed)
        front_end = build_front_end(lens, *scenes_of(config))
        assert front_end is not None
        return float(audit_sampling(front_end).window_loss.max())


def _of_other_pictures(one: RunConfig, other: RunConfig) -> Iterator[str]:
    """Fields whose difference proves that two runs are tested on different pictures."""
    for name in ("count", "limit", "seed", "balance"):
        ours, theirs = (getattr(config.data, name, None) for config in (one, other))
        if ours != theirs:
            yield f"data.{name} ({ours} and {theirs})"
    ours, theirs = (_divided(config) for config in (one, other))
    for name in dict.fromkeys((*ours, *theirs)):
        first, second = (getattr(config.split, name) for config in (one, other))
        # With and without folds, a test part depends on different fields, some of them common.
        if ours.get(name) != theirs.get(name) and first != second:
            yield f"split.{name} ({first} and {second})"


def _divided(config: RunConfig) -> dict[str, object]:
    """Settings on which the test part depends."""
    split = config.split
    if split.column is not None:
        return {"column": split.column}
    found: dict[str, object] = {"by": split.by, "seed": split.seed, "folds": split.folds}
    if split.folds is not None:
        return found | {"fold": split.fold}
    # Split by hash, a test part of a given size is the same however the rest is divided.
    shares = split.fractions[-1:] if split.method == "hash" else split.fractions
    return found | {"method": split.method, "fractions": shares}


def _check_costs(study: Study, designs: Sequence[Design]) -> None:
    """Refuse a cost of axes only that has a value in no design."""
    for name, text in study.costs.items():
        read = names_in(text)
        there = [design for design in designs if read <= design.keys()]
        if there and all(cost(text, design, {}) is None for design in there):
            raise ConfigError(
                f"the cost {name} = {text!r} has a value in none of the {len(there)} designs: it "
                "divides by zero, or takes the root of a negative number. Write another formula"
            )
