"""What would end every run of a design, or its comparison, is told before the first run."""

import warnings
from collections.abc import Iterator, Sequence

import torch

from joint.build import build_system
from joint.caution import caution
from joint.config.custom import CustomConfig
from joint.config.front_ends import lens_of
from joint.config.lens import LensConfig, build_lens
from joint.config.run import NoneConfig, RunConfig, check_own, rests_untrained
from joint.config.scenes import MedMNISTConfig, SceneFileConfig
from joint.metric import stage_of
from joint.settings import ConfigError
from joint.stages import STAGES
from optics.sampling import LOST, audit_sampling

from .axis import Design
from .derived import cost
from .formula import names_in
from .space import Pair, Study, levels_shown

__all__ = ["TOLD_BY_FILES", "check_ahead", "scenes_of"]

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
# Codecs whose bits never have a gradient.
_FILES = frozenset({"jpeg", "webp", "jpeg2000", "avif", "png"})


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
