"""What would end every run of a design, or its comparison, is told before the first run.

So are labels that would not say what a design is: of an axis whose values are whole tables.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel, JsonValue

from classify import LESION_CLASSES
from classify.data.table import composed
from classify.metric_names import check_metric, of_class
from joint.caution import caution
from joint.config.custom import CustomConfig
from joint.config.front_ends import lens_of
from joint.config.lens import LensConfig, build_lens
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
from joint.stages import STAGES
from optics.sampling import LOST, audit_sampling

from .axis import SEEDS, Design, Level
from .condition import exclusive, never_meets
from .derived import cost
from .formula import names_in
from .paths import set_path
from .space import Pair, Plan, Study, levels_shown

__all__ = ["TOLD_BY_FILES", "check_ahead", "check_classes", "check_labels", "scenes_of"]

# What the objective weighs, and the stage that has it.
_WEIGHED = {
    "task": "classifier",
    "rate": "codec",
    "distortion": "codec",
    "distillation": "classifier",
}
# Different lenses up to which each is looked at, some tens of milliseconds long.
_LENSES = 200
TOLD_BY_FILES = (MedMNISTConfig, SceneFileConfig)
"""Scenes whose channels, and mostly their size, are in no configuration."""
_REPEATS = 0.25  # of the designs, from which on repeats are told
# Codecs whose bits never have a gradient.
_FILES = frozenset({"jpeg", "webp", "jpeg2000", "avif", "png"})


def check_labels(study: Study) -> None:
    """Refuse a new study whose labels would not say what its designs are.

    The value of an axis may be a whole table, which replaces that of the base. One that was written
    earlier is fixed, and goes on as it began.

    Raises
    ------
    ValueError
        When another axis or a formula sets what is in a table, or a seed of the run is.

    Warns
    -----
    UserWarning
        When a table leaves out what the base sets in one of its kind; when draws that came to a
        design twice were replaced so often that axes which only some designs have, and the levels
        with which they are there, have shares of their own.
    """
    dropped: dict[str, dict[str, None]] = {}
    for name, axis in study.axes.items():
        for level in axis.levels() if axis.values is not None else ():
            for path, table in axis.assignments(level).items():
                if isinstance(table, dict):
                    _check_table(study, name, level, path, table)
                    left = _left_out(_at(study.base, path), table, path)
                    made = _with(study.base, path, table)
                    # Some defaults are those of the kind of run, and so no choice of the base.
                    lost = (p for p in left if made is None or _at(made, p) != _at(study.base, p))
                    dropped.setdefault(name, {}).update(dict.fromkeys(lost))
    set_elsewhere = {path for axis in study.axes.values() for path in axis.paths()}
    for name, paths in dropped.items():
        left = [path for path in paths if path not in {*set_elsewhere, *study.derived, *SEEDS}]
        if left:
            caution(
                f"values of the axis {name} are whole tables, which replace that of the base: what "
                f"it sets for {', '.join(left)} is at its default in designs of values that do "
                "not name it. Name it in each value; or let the values of an axis without a path "
                "name the single fields that differ"
            )
    _tell_repeats(study)


def _check_table(
    study: Study, name: str, level: Level, path: str, table: Mapping[str, JsonValue]
) -> None:
    """Refuse a table that has what something else sets, in a design that may have both."""

    def is_inside(other: str) -> bool:
        return other.startswith(f"{path}.") and _has(table, other.removeprefix(f"{path}."))

    for seed in filter(is_inside, SEEDS):
        raise ValueError(f"axes.{name}: {seed} is set by the seeds of the study; list them there")
    here = {name: level}

    def is_absent(other: str) -> bool:
        return never_meets(other, here, study.axes) or exclusive(other, name, study.axes)

    for other, axis in study.axes.items():
        both = sorted(filter(is_inside, axis.paths()))
        if other != name and both and not is_absent(other):
            raise ValueError(
                f"two axes set {both[0]}; make them one, or leave it out of the values of {name}"
            )
    for derived, text in study.derived.items():
        if is_inside(derived) and not any(map(is_absent, names_in(text))):
            raise ValueError(
                f"{derived} is derived, and the axis {name} sets it too: leave it out of the "
                "values of the axis"
            )


def _has(table: object, path: str) -> bool:
    """Whether a table has a key, with those in tables inside of it."""
    for part in path.split("."):
        if not (isinstance(table, Mapping) and part in table):
            return False
        table = table[part]
    return True


def _at(config: object, path: str) -> Any:  # noqa: ANN401
    """What a configuration has at a path; None where it has nothing there."""
    for part in path.split("."):
        inside = config.get(part) if isinstance(config, Mapping) else getattr(config, part, None)
        config = inside
    return config


def _with(base: RunConfig, path: str, value: JsonValue) -> RunConfig | None:
    """The base with a value at a path; None where that alone is no configuration."""
    content = base.model_dump(mode="json")
    try:
        set_path(content, path, value)
        return RunConfig.model_validate(content)
    except ValueError:
        return None


def _left_out(base: object, table: JsonValue, path: str) -> Iterator[str]:
    """Fields of the base other than by default, of which a table of the same kind says nothing."""
    if not (isinstance(base, BaseModel) and isinstance(table, dict)):
        return
    kind = getattr(base, "kind", None)
    if table.get("kind", kind) != kind:
        return
    for name, value in base:
        if name in table:
            yield from _left_out(value, table[name], f"{path}.{name}")
        else:
            field = type(base).model_fields[name]
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            yield from _changed(value, default, f"{path}.{name}")


def _changed(value: object, default: object, path: str) -> Iterator[str]:
    """The path, if a value is not the default; of a whole table, those of its fields."""
    if value == default:
        return
    if isinstance(value, BaseModel) and type(value) is type(default):
        for name, inside in value:
            yield from _changed(inside, getattr(default, name), f"{path}.{name}")
    else:
        yield path


def _tell_repeats(study: Study) -> None:
    """Warn where draws that were replaced change the shares of what designs have."""
    branches = {parent: None for axis in study.axes.values() for parent in axis.when}
    drawn_by = ("startup", "population", "count")  # what says how many; a grid, a list draw none
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
        f"{repeats} draws came to a design that was there already, and others stand for them: "
        f"levels with few different designs are drawn less often than others ({shares}). Give "
        f"their axes more choices, make {count} smaller, or list the designs"
    )


def _shares(levels: Iterable[Level]) -> str:
    return ", ".join(f"{level} {count}" for level, count in Counter(levels).items())


def check_ahead(
    study: Study, designs: Sequence[Design], configs: Sequence[RunConfig], pairs: Sequence[Pair]
) -> None:
    """Refuse what no run of a design would survive, and pairs that are none.

    Parameters
    ----------
    study : Study
    designs : sequence of dict
        Those that are known before the first run.
    configs : sequence of RunConfig
        One for each.
    pairs : sequence of Pair
        What the plan compares.

    Raises
    ------
    ConfigError
        Which design, why, and what to set; of a lens, where the configuration tells its scenes.
    ValueError
        When the plan judges by a class that scenes do not have, where the configuration tells.

    Warns
    -----
    UserWarning
        When a classifier that was never trained learns in no epoch; when the window of a lens's PSF
        leaves out more of the light than :func:`optics.audit_sampling` lets pass.
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
                "that in the base; or, where other designs need another value, on the axis that "
                "makes the difference: without a path, its values name several fields"
            )
    untrained = [d for d, config in zip(designs, configs, strict=True) if rests_untrained(config)]
    if untrained:
        caution(
            f"training.stages and training.plan leave the classifier of {len(untrained)} of "
            f"{len(designs)} designs as it is, and it is random (the first: "
            f"{levels_shown(untrained[0])}): what is trained in front of it learns for labels that "
            "say nothing. Give it weights of a training (system.classifier.weights), or let it "
            "learn",
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
    """What a run is trained for, or watched by, and its system does not have."""
    for name, stage in _WEIGHED.items():
        weight = getattr(config.objective, name)
        if weight and isinstance(getattr(config.system, stage), NoneConfig):
            yield f"objective.{name}={weight:g} weighs what needs a {stage}, and it has none: set 0"
    needed = stage_of(config.training.monitor)
    if needed is not None and isinstance(getattr(config.system, needed), NoneConfig):
        yield (
            f"training.monitor={config.training.monitor!r} needs a {needed}, and it has none: set "
            "'loss'"
        )


def _without_gradient(config: RunConfig, moving: dict[str, bool]) -> Iterator[str]:
    """A rate that could not move the camera that is to learn it, as preflight refuses it."""
    kind = config.system.codec.kind
    if kind not in _FILES or config.objective.rate == 0:
        return
    camera = config.system.model_copy(update={"codec": NoneConfig(), "classifier": NoneConfig()})
    key = camera.model_dump_json(exclude={"seed"}) + config.training.model_dump_json()
    if key not in moving:
        moving[key] = _moves(config.model_copy(update={"system": camera}))
    if moving[key]:
        yield (
            f"objective.rate={config.objective.rate:g} would do nothing, as the bits of "
            f"codec.kind={kind!r} have no gradient: set 0"
        )


def _moves(config: RunConfig) -> bool:
    """Whether something before the codec learns; False where only the run can tell."""
    training = config.training
    if any(isinstance(getattr(config.system, stage), CustomConfig) for stage in STAGES):
        return False  # what is made there may be anything
    size, channels = scenes_of(config)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            system = build_system(config.system, image_size=size, channels=channels, classes=2)
    except Exception:  # no stage at all; or of scenes, or on a machine, that are not known yet
        return False
    turns = [training.learning(e) for e in {0, training.turn_epochs} if e < training.epochs]
    return any(
        parameter.requires_grad
        for name, stage in system.stages()
        if any(name in turn for turn in turns)
        for parameter in stage.parameters()
    )


def scenes_of(config: RunConfig) -> tuple[tuple[int, int], int]:
    """Size and channels of the scenes, or those of usual ones for :data:`TOLD_BY_FILES`."""
    data = config.data
    size = data.image_size or 64
    bands = getattr(data, "wavelengths", None) or range(getattr(data, "channels", None) or 3)
    return (size, size), len(bands)


def check_classes(plan: Plan, classes: Sequence[str]) -> None:
    """Refuse a plan that judges by a class which is none of ``classes``, those of the scenes.

    Raises
    ------
    ValueError
        With the nearest ones.
    """
    for metric in filter(of_class, (plan.metric, *plan.requirements.metrics())):
        try:
            check_metric(metric, classes)
        except ValueError as error:
            raise ValueError(f"the plan cannot be judged: {error}") from None


def _classes_of(data: DataConfig) -> Sequence[str] | None:
    """Classes of the scenes; None where only their files tell."""
    if isinstance(data, PhantomConfig | HAM10000Config):
        return LESION_CLASSES
    named = getattr(data, "classes", None)
    return None if named is None else [composed(name) for name in named]


def _check_lenses(designs: Sequence[Design], configs: Sequence[RunConfig]) -> None:
    """Refuse a lens that no run could build; warn of windows that lose light, as no camera does."""
    lenses = [lens_of(config.system.front_end)[1] for config in configs]
    keys = [
        f"{lens.model_dump_json()}{scenes_of(config)}" if isinstance(lens, LensConfig) else ""
        for lens, config in zip(lenses, configs, strict=True)
    ]
    if len(set(keys)) > _LENSES:
        return
    lost = {"": 0.0}
    for key, lens, design, config in zip(keys, lenses, designs, configs, strict=True):
        if key in lost or not isinstance(lens, LensConfig):
            continue
        try:
            lost[key] = _lost(lens, config)
        except (ValueError, TypeError) as error:
            if not isinstance(config.data, TOLD_BY_FILES):
                raise ConfigError(f"the design {levels_shown(design)}: {error}") from error
            lost[key] = 0.0  # the run will know its scenes
    cut = {number: lost[key] for number, key in enumerate(keys) if lost[key] > LOST}
    if cut:
        worst = max(cut, key=lambda number: cut[number])
        caution(
            f"{len(cut)} of {len(designs)} designs lose more than {100 * LOST:g} % of the light "
            "beyond the window that holds their PSF, the most "
            f"{100 * cut[worst]:.3g} % ({levels_shown(designs[worst])}). It is missing from "
            "picture and throughput, and no such camera loses it: give a larger "
            "system.front_end.psf_size",
        )


def _lost(lens: LensConfig, config: RunConfig) -> float:
    """Share of the light outside of the window, at the worst wavelength, distance and place."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(config.system.seed)
        return float(audit_sampling(build_lens(lens, *scenes_of(config))).window_loss.max())


def _of_other_pictures(one: RunConfig, other: RunConfig) -> Iterator[str]:
    """Fields by which two runs are certainly tested on different pictures."""
    for name in ("count", "limit", "seed", "balance"):
        ours, theirs = (getattr(config.data, name, None) for config in (one, other))
        if ours != theirs:
            yield f"data.{name} ({ours} and {theirs})"
    ours, theirs = (_divided(config) for config in (one, other))
    for name in dict.fromkeys((*ours, *theirs)):
        first, second = (getattr(config.split, name) for config in (one, other))
        # With and without folds, a test part depends on other fields, some of which are alike.
        if ours.get(name) != theirs.get(name) and first != second:
            yield f"split.{name} ({first} and {second})"


def _divided(config: RunConfig) -> dict[str, object]:
    """What the test part depends on."""
    split = config.split
    if split.column is not None:
        return {"column": split.column}
    found: dict[str, object] = {"by": split.by, "seed": split.seed, "folds": split.folds}
    if split.folds is not None:
        return found | {"fold": split.fold}
    # By hash, a test part of one size is one, however the rest is divided.
    shares = split.fractions[-1:] if split.method == "hash" else split.fractions
    return found | {"method": split.method, "fractions": shares}


def _check_costs(study: Study, designs: Sequence[Design]) -> None:
    """Refuse a cost of axes alone that has a value nowhere."""
    for name, text in study.costs.items():
        read = names_in(text)
        there = [design for design in designs if read <= design.keys()]
        if there and all(cost(text, design, {}) is None for design in there):
            raise ConfigError(
                f"the cost {name} = {text!r} has a value in none of the {len(there)} designs: it "
                "divides by zero, or has the root of what is negative. Write another formula"
            )
