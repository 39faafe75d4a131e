"""``lens2label evaluate``: a trained run judged again, elsewhere than where it was tested.

::

    run folder ─► system, its parts ─┐          ┌─► scores calibrated, then adjusted, by the
    or other scenes ─────────────────┴─ points ─┤   validation part; then a cutoff of referral: a
                     light, quality, distance,  │   decision rule, saved or read
                     motion                     └─► Judged ─► text, JSON; of several a table, CSV
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from classify import DecisionRule, LesionDataset, Split, log_prior
from classify.metric_names import CLASS_METRICS, LOWER_IS_BETTER, METRICS, check_metric, is_metric
from joint.caution import caution
from joint.cells import as_csv
from joint.config.run import RunConfig, load_config
from joint.config.scenes import DataConfig, read_like
from joint.deploy.decision import load_rule, place, ruled, save_rule, tell_elsewhere
from joint.device import usable_device
from joint.judge.choose import RuleChoice, choose_rule
from joint.judge.evaluate import evaluate, try_points
from joint.judge.evaluation import Evaluation
from joint.judge.metric import check_study_metric, check_value
from joint.judge.referral import Referred
from joint.judge.view_average import Views
from joint.record import print_json
from joint.run.trained import load_run, load_trained, rebuilt
from joint.saved.checkpoint import CheckpointError, write_atomically
from joint.settings import ConfigError, OptionError, nearest
from joint.system import ImagingSystem

from .judged import Judged, at_a_glance
from .options import (
    RESAMPLES,
    OperatingPoints,
    Scenes,
    check_figure,
    check_file,
    check_least,
    check_trained,
    named_numbers,
    scenes_at,
)
from .other_scenes import other_scenes
from .reading import check_settings, read_given, read_source

__all__ = ["EvaluateOptions", "judge_run", "main", "read_evaluate_options"]


@dataclass(frozen=True)
class EvaluateOptions(OperatingPoints):
    """Evaluate a trained run and print its numbers.

    For example:

        lens2label evaluate runs/edge --part validation --json
        lens2label evaluate runs/edge --views dihedral --adjust balanced_accuracy
        lens2label evaluate runs/edge --adjust balanced_accuracy --within accuracy=0.01
        lens2label evaluate runs/edge --photons 100 1000 10000
        lens2label evaluate runs/edge --refer mel bcc --sensitivity 0.95 --assurance 0.9
        lens2label evaluate runs/edge --calibrate temperature --save-rule rule.json
        lens2label evaluate runs/edge --rule rule.json --data clinic/
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of lens2label train."""
    part: Literal["train", "validation", "test"] = "test"
    """Part of the split of that run."""
    data: str | None = None
    """Evaluate all of these scenes instead (given as in train; --help after it shows their --data
    options, and without these their files are read like those of the run)."""
    scenes: Annotated[Scenes | None, tyro.conf.arg(name="")] = None
    photons: tuple[float, ...] = ()
    """Another light level, photons/pixel, with the sensor's gain in proportion; each of several is
    evaluated."""
    quality: tuple[float, ...] = ()
    """Another quality of a codec that has several: 0 to levels - 1 of a learned one, 1 to 100 of
    JPEG, 0 to 100 of lossy WebP and AVIF; each of several is evaluated, at each light level."""
    distance: tuple[float, ...] = ()
    """Metres from a lens to all scenes; each of several is evaluated, at each light level and
    quality."""
    motion: tuple[float, ...] = ()
    """RMS distance by which scenes move during the exposure of a shutter, pixels; each of several
    is evaluated, at each light level, quality and distance."""
    views: Views = "identity"
    """Views of each scene over which the classifier's probabilities are averaged: the unchanged
    scene; with its mirror image; the flips of both axes; or these and their quarter turns."""
    calibrate: Literal["temperature", "bias"] | None = None
    """Also report results with calibrated class scores: divided by the temperature that fits the
    validation part best (Guo et al., 2017), or with a bias added for each class as well
    (Alexandari et al., 2020)."""
    adjust: str | None = None
    """Also report results with adjusted class scores (after --calibrate, if given): tau times the
    logarithms of the class shares in training is subtracted (Menon et al., 2021), with the tau that
    is best by this metric on the validation part."""
    at_least: tuple[str, ...] = ()
    """With --adjust: lower bounds of other metrics on the validation part, such as accuracy=0.8;
    tau is the best of those that meet them. On other pictures these metrics may be lower."""
    within: tuple[str, ...] = ()
    """With --adjust: how far other metrics may be below the best value of any tau on the validation
    part, such as accuracy=0.01."""
    taus: tuple[float, ...] = ()
    """With --adjust: the values of tau to choose from; -1, -0.95 ... 2 if none are given."""
    refer: tuple[str, ...] = ()
    """Also evaluate the run as a referral of these classes: pictures are referred from a cutoff of
    their (calibrated and adjusted) probability on, which is chosen on the validation part."""
    sensitivity: float | None = None
    """With --refer: smallest share of the pictures of these classes that is referred, as 0.95."""
    specificity: float | None = None
    """With --refer, instead of --sensitivity: smallest share of the others not to be referred."""
    assurance: float | None = None
    """With --refer: confidence that this share is also met on other pictures, such as 0.9. Without
    it, the share is met on the validation part, and on others by half of all such cutoffs."""
    prevalence: float | None = None
    """With --refer, or a rule that refers: share of pictures to refer where the system will be
    used, for the predictive values there."""
    save_rule: Path | None = None
    """Save what --calibrate, --adjust and --refer chose to this JSON file, for --rule of evaluate,
    predict and export."""
    rule: Path | None = None
    """Apply the rule in this file of --save-rule instead of choosing a new one."""
    batch_size: int = 64
    """Pictures per forward pass."""
    count_bytes: bool = True
    """Write every picture with the codec and count the bytes."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of the lesions, for the intervals; 0 for none."""
    device: str = "cpu"
    """Device to compute on."""
    json: bool = False
    """Print JSON instead of tables: an object, or a list for several evaluations."""
    csv: Path | None = None
    """Also write all numbers with their intervals to this file, a row for each evaluation."""
    figure: Path | None = None
    """Also draw a metric against the given light levels, qualities, distances or motions, to this
    .png, .pdf or .svg."""
    figure_metric: str | None = None
    """Metric of the figure: one of the report, or another of the result, such as psnr_scene; by
    default balanced_accuracy, or psnr_scene without a classifier."""

    def check(self) -> None:
        """Refuse numbers that are out of range whatever the run is, by an OptionError.

        By a CheckpointError, files that cannot be written.
        """
        check_least(self, batch_size=1, resamples=0)
        check_file("--csv", self.csv)
        self._check_rule()
        if self.figure is not None:
            check_figure("--figure", self.figure)
            if len(self.points()) < 2:
                raise OptionError(
                    "--figure needs several points to draw against: give several, such as "
                    "--photons 100 1000 10000"
                )
            if self.figure_metric is not None:
                try:
                    check_study_metric(self.figure_metric)
                except ValueError as error:
                    raise OptionError(f"--figure-metric: {error}") from error
        elif self.figure_metric is not None:
            raise OptionError("--figure-metric needs --figure, the file to draw to")
        self.check_points()
        self._check_referral()

    def chosen(self) -> list[str]:
        """The options that choose something on the validation part, of those given."""
        return [f"--{name}" for name in ("calibrate", "adjust", "refer") if getattr(self, name)]

    def _check_rule(self) -> None:
        check_file("--save-rule", self.save_rule)
        if self.rule is not None:
            others = [*self.chosen(), *(["--save-rule"] if self.save_rule is not None else [])]
            if others:
                raise OptionError(
                    f"--rule applies what was chosen earlier: leave {' and '.join(others)} out"
                )
        if self.save_rule is None:
            return
        if not self.chosen():
            raise OptionError(
                "--save-rule keeps what is chosen: give --calibrate, --adjust or --refer"
            )
        if len(self.points()) > 1:
            raise OptionError(
                "--save-rule keeps the rule of one point: give one light, quality, distance and "
                "motion"
            )

    def _check_referral(self) -> None:
        goals = [name for name in ("sensitivity", "specificity") if getattr(self, name) is not None]
        if not self.refer:
            for name in (*goals, "assurance"):
                if getattr(self, name) is None:
                    continue
                if self.rule is not None:
                    raise OptionError(f"the rule has its own cutoff: leave --{name} out")
                raise OptionError(
                    f"--{name} needs --refer, the classes to refer, such as --refer mel"
                )
            if self.prevalence is not None and self.rule is None:
                raise OptionError(
                    "--prevalence needs --refer, the classes to refer, such as --refer mel, or a "
                    "--rule that refers"
                )
        elif len(goals) != 1:
            raise OptionError(
                "--refer needs one goal that its cutoff keeps: --sensitivity 0.95, or "
                "--specificity 0.9"
            )
        for name in (*goals, "assurance", "prevalence"):
            number = getattr(self, name)
            if number is not None and not 0 < number < 1 and not (name in goals and number == 1):
                raise OptionError(f"--{name} must lie between 0 and 1, not {number:g}")

    def bounds(self) -> dict[str, dict[str, float]]:
        """The numbers of --at-least and of --within; whether there are such metrics is not read."""
        for option in ("at_least", "within", "taus"):
            if getattr(self, option) and self.adjust is None:
                raise OptionError(
                    f"--{option.replace('_', '-')} needs --adjust, the metric that tau is chosen "
                    "by, such as --adjust balanced_accuracy"
                )
        return {
            "at_least": named_numbers("--at-least", self.at_least, "accuracy=0.8"),
            "within": named_numbers("--within", self.within, "accuracy=0.01"),
        }


def read_evaluate_options(
    arguments: Sequence[str], *, image_size: int = 128, like: DataConfig | None = None
) -> EvaluateOptions:
    """Read where other scenes lie first, if any, then everything with the options they have.

    By default these are of ``image_size``, and read ``like`` others, see
    :func:`joint.config.scenes.read_like`. Raises what
    :func:`joint.command.train.read_train_options` does.
    """
    data, scenes = read_source(arguments).data, None
    if data is not None:
        found = scenes_at(data, image_size)
        scenes = Scenes(data=found if like is None else read_like(found, like))
    prog = "lens2label evaluate"
    options = read_given(
        EvaluateOptions, arguments, prog, default=EvaluateOptions(run=tyro.MISSING, scenes=scenes)
    )
    if options.scenes is None:
        return options
    return replace(options, scenes=check_settings(Scenes, options.scenes, arguments, prog))


def main(arguments: Sequence[str]) -> int:
    """Evaluate a run; returns the exit status."""
    options = read_evaluate_options(arguments)
    options.check()
    check_trained(options.run)
    found = []
    for judged in judge_run(
        options,
        lambda size, like: read_evaluate_options(arguments, image_size=size, like=like),
    ):
        found.append(judged)
        if not options.json:
            print(judged)
    if options.json:
        print_json(found if len(found) > 1 else found[0])
    elif len(found) > 1:
        print(f"\n{at_a_glance(found)}")
    if options.csv is not None:
        write_atomically(options.csv, as_csv([judged.cells() for judged in found]).encode())
        if not options.json:
            print(f"wrote {options.csv}")
    if options.save_rule is not None:
        (judged,) = found
        assert judged.rule is not None  # something was chosen
        save_rule(options.save_rule, judged.rule)
        if not options.json:
            print(f"wrote {options.save_rule}")
    if options.figure is not None:
        _draw_points(found, options)
    return 0


def _draw_points(found: Sequence[Judged], options: EvaluateOptions) -> None:
    """The figure of a run at several points."""
    from joint.figure import points_figure, save_figure  # noqa: PLC0415 - others start faster

    assert options.figure is not None
    name = options.run.resolve().name
    lines = {name: [judged.result for judged in found]}
    for other in found[0].variants():
        lines[f"{name}, {other.replace('_', ' ')}"] = [each.variants()[other] for each in found]
    judges = any(judged.result.report is not None for judged in found)
    metric = options.figure_metric or ("balanced_accuracy" if judges else "psnr_scene")
    try:
        figure = points_figure(lines, metric=metric)
    except ValueError as error:
        raise ConfigError(f"--figure: {error}") from error
    save_figure(figure, options.figure, dpi=150)
    if not options.json:
        print(f"wrote {options.figure}")


def judge_run(
    options: EvaluateOptions, again: Callable[[int, DataConfig], EvaluateOptions]
) -> Iterator[Judged]:
    """Evaluate a run at each of the requested points.

    Scenes that are not its own are compared with those that it was trained on.

    Parameters
    ----------
    options : EvaluateOptions
    again : callable
        Reads the options again for scenes whose side is that many pixels, and which are read like
        those of the run (:func:`joint.config.scenes.read_like`), unless they say otherwise.

    Yields
    ------
    Judged
        For each light, each quality, each distance, each motion.

    Raises
    ------
    ConfigError, CheckpointError
        When the run or a rule cannot be loaded, other scenes or the rule have other classes, the
        scores cannot be calibrated, adjusted or referred by, or no adjustment or cutoff keeps what
        it has to.
    ValueError
        When the system has no such point, or a metric is of a class that there is not: before the
        first pass.

    Warns
    -----
    UserWarning
        When other scenes hold pictures of the training or validation part of the run or, read in
        another way than its own, so that pictures cannot be compared, some of their names; and when
        that is unknown, as the run's own scenes cannot be loaded. When a rule is used under
        other conditions than it was chosen for, or on the pictures that it was chosen on.
    """
    rule = None if options.rule is None else load_rule(options.rule)
    bounds = _checked_bounds(options)
    config, system, classes, side, parts = _loaded(options)
    for metric in (options.figure_metric, options.adjust, *bounds["at_least"], *bounds["within"]):
        if metric is not None and is_metric(metric):
            check_metric(metric, classes)
    for name in options.refer:
        if name not in classes:
            near = nearest(name, classes)
            raise OptionError(f"--refer: the run has no class {name!r}{near}")
    if options.data is not None:
        scenes = again(side, config.data).scenes
        assert scenes is not None  # there is a path
        dataset = other_scenes(scenes.data, options.data, config.data, classes, parts)
    else:
        assert parts is not None  # the run's own
        dataset = getattr(parts, options.part)
    system.to(usable_device(options.device))
    points = options.points()
    if rule is not None:
        _check_rule_fits(rule, options, config, system, classes)
    if len(points) > 1:
        try_points(system, dataset, points)
    for point in points:
        judge = partial(
            evaluate,
            system,
            objective=config.objective,
            batch_size=options.batch_size,
            **point._asdict(),
            views=options.views,
        )
        here = place(config, point, options.views)
        if rule is None and options.chosen():
            assert parts is not None  # those of the run, as :func:`_loaded` saw to
            chosen = _chosen(options, parts, judge, bounds, here)
        else:
            chosen = None if rule is None else RuleChoice(rule)
        result = judge(dataset, count_bytes=options.count_bytes, resamples=options.resamples)
        yield _judged(result, chosen, options)


def _judged(result: Evaluation, chosen: RuleChoice | None, options: EvaluateOptions) -> Judged:
    """A pass with the scores as they are, and as what was chosen, or read, makes them."""
    if chosen is None:
        return Judged(result, None, None)
    rule, calibration, choice = chosen
    by = partial(ruled, result, resamples=options.resamples)
    calibrated = None if calibration is None else by(calibration)
    adjusted = None if choice is None else by(rule)
    by_rule = None if options.rule is None else by(rule)
    referred = None
    if rule.referral is not None:
        final = by_rule or adjusted or calibrated or result  # what the rule makes of the scores
        assert final.logits is not None
        shares = rule.referral.shares(final.logits, final.labels)
        own = final.referred(rule.referral, resamples=options.resamples)
        referred = Referred(rule.referral, own, shares, options.prevalence)
    return Judged(result, choice, adjusted, referred, calibrated, by_rule, rule, calibration)


class _Loaded(NamedTuple):
    """A run, and what other scenes are compared with."""

    config: RunConfig
    system: ImagingSystem
    classes: tuple[str, ...]
    side: int
    """Pixels along a side of its scenes."""
    parts: Split | None
    """None where other scenes are judged, and its own cannot be loaded."""


def _loaded(options: EvaluateOptions) -> _Loaded:
    """The run; for other scenes its folder alone is enough."""
    try:
        config, system, parts = load_run(options.run)
    except (ConfigError, CheckpointError, OSError, ValueError) as error:
        if options.data is None:
            raise
        # What is wrong with the run itself is refused here too.
        config = load_config(options.run)
        trained = load_trained(options.run, config.training)
        kind = trained.scenes
        system = rebuilt(config, trained, kind)
        if options.chosen():
            raise ConfigError(
                f"{options.chosen()[0]} is chosen on the validation part of the run, whose scenes "
                f"cannot be loaded: {error}"
            ) from error
        caution(
            f"whether the run has learned from pictures of {options.data} is unknown, as its own "
            f"scenes cannot be loaded: {error}"
        )
        return _Loaded(config, system, kind.classes, kind.image_size[0], None)
    return _Loaded(config, system, parts.train.classes, parts.train.image_size[0], parts)


def _checked_bounds(options: EvaluateOptions) -> dict[str, dict[str, float]]:
    """What tau must keep; of a metric that is wanted or kept, there must be such a one."""
    if options.part == "validation" and options.data is None:
        for option in options.chosen():
            raise OptionError(f"{option} is chosen on the validation part: judge it on another one")
    bounds = options.bounds()
    if not all(map(math.isfinite, options.taus)):
        raise OptionError(f"--taus must be finite numbers, not {' '.join(map(str, options.taus))}")
    asked = [("--adjust", options.adjust)]
    for name, numbers in bounds.items():
        option = f"--{name.replace('_', '-')}"
        asked += [(option, metric) for metric in numbers]
        for metric in LOWER_IS_BETTER:
            if metric in numbers:
                raise OptionError(
                    f"{option} takes metrics of which more is better, and of {metric} less is: "
                    f"choose by it, --adjust {metric}"
                )
    for option, metric in asked:
        if metric is None or is_metric(metric):
            continue
        near = nearest(metric, METRICS, always=False)
        if near and metric not in CLASS_METRICS:
            raise OptionError(f"{option}: there is no metric {metric!r}{near}")
        try:
            check_metric(metric)
        except ValueError as error:
            raise OptionError(f"{option}: {error}") from error
    for metric, least in bounds["at_least"].items():
        try:
            check_value(metric, least)
        except ValueError as error:
            raise OptionError(f"--at-least: {error}") from error
    for metric, less in bounds["within"].items():
        if less < 0:
            raise OptionError(f"--within {metric}={less:g} is negative: how much may it lose?")
    return bounds


def _check_rule_fits(
    rule: DecisionRule,
    options: EvaluateOptions,
    config: RunConfig,
    system: ImagingSystem,
    classes: tuple[str, ...],
) -> None:
    """Refuse a rule for other classes; warn of one that is evaluated where it was chosen."""
    if system.classifier is None:
        raise ConfigError("--rule needs a classifier, and the system of this run has none")
    try:
        rule.check_classes(classes)
    except ValueError as error:
        raise ConfigError(f"--rule {options.rule}: {error}") from error
    if options.prevalence is not None and rule.referral is None:
        raise OptionError(
            f"--prevalence needs a rule that refers, and {options.rule} has no cutoff"
        )
    for point in options.points():
        tell_elsewhere(rule, place(config, point, options.views))
    own = rule.fitted.get("run") == config.digest() and options.data is None
    if own and options.part == rule.fitted.get("part"):
        caution(
            f"the rule of {options.rule} was chosen on these pictures: its numbers are too good. "
            "Judge it on another part"
        )


def _chosen(
    options: EvaluateOptions,
    parts: Split,
    judge: Callable[[LesionDataset], Evaluation],
    bounds: Mapping[str, Mapping[str, float]],
    here: Mapping[str, object],
) -> RuleChoice:
    """What the options choose on the validation part, at a point."""
    option = options.chosen()[0]
    if parts.validation is None:
        raise ConfigError(f"{option} needs a validation part, and the split of this run has none")
    seen = judge(parts.validation)
    if seen.logits is None:
        raise ConfigError(f"{option} needs a classifier, and the system of this run has none")
    try:
        chosen = choose_rule(
            seen,
            calibrate=options.calibrate,
            adjust=options.adjust,
            log_prior=log_prior(parts.train.counts),
            taus=options.taus or None,
            refer=options.refer,
            sensitivity=options.sensitivity,
            specificity=options.specificity,
            assurance=options.assurance,
            **bounds,
        )
    except ValueError as error:  # begins with what could not be chosen
        at = f" at {seen.point}" if seen.point.asked() else ""
        raise ConfigError(f"on the validation part{at}, --{error}") from error
    fitted = {**here, "part": "validation", **chosen.rule.fitted}
    return chosen._replace(rule=replace(chosen.rule, fitted=fitted))
