"""``lens2label evaluate``: a trained run judged again, elsewhere than where it was tested.

::

    run folder ─► system, its parts ─┐          ┌─► scores adjusted by the validation part,
    or other scenes ─────────────────┴─ points ─┤   a referral by a cutoff that is chosen there
                     light, quality, distance,  └─► Judged ─► text, JSON; of several a table, CSV
                     motion
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from classify import (
    LesionDataset,
    Referral,
    Split,
    TauChoice,
    choose_cutoff,
    choose_tau,
    log_prior,
)
from classify.judged import CLASS_METRICS, LOWER_IS_BETTER, METRICS, check_metric, is_metric

from .caution import caution
from .cells import aligned
from .checkpoint import CheckpointError
from .config.run import RunConfig, load_config
from .config.scenes import DataConfig, build_data, read_like
from .device import device_of, usable_device
from .evaluate import evaluate
from .evaluation import Evaluation
from .feed import Feed
from .kinds import check_suited
from .metric import TERM
from .objective import TERMS
from .options import EvaluateOptions
from .point import OperatingPoint, operating
from .referral import Referred
from .settings import ConfigError, OptionError, nearest
from .system import ImagingSystem, evaluating
from .trained import load_run, load_trained, rebuilt, scene_kind

__all__ = ["Judged", "at_a_glance", "judge_run", "summary"]


# What a report prints itself.
_IN_REPORT = ("accuracy", "balanced_accuracy", "macro_f1", "auc")

# What a table of several points has a column for, where the system has it.
_AT_A_GLANCE = (
    *_IN_REPORT, "tau", "adjusted_accuracy", "adjusted_balanced_accuracy",
    "cutoff", "referral_sensitivity", "referral_specificity",
    "bpp", "bpp_bytes", "psnr", "psnr_scene",
)  # fmt: skip

_WITH_INTERVAL = ("balanced_accuracy", "sensitivity", "specificity")


class Judged(NamedTuple):
    """A run at one point."""

    result: Evaluation
    choice: TauChoice | None
    """The adjustment of the scores, where one was asked for."""
    adjusted: Evaluation | None
    """The same pass with the adjusted scores."""
    referred: Referred | None = None
    """The same pass as a referral, where classes to refer were named."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able summary."""
        found = self.result.to_dict()
        if self.choice is not None and self.adjusted is not None:
            adjusted = self.adjusted.to_dict()["report"]
            found |= {"choice": self.choice.to_dict(), "adjusted": adjusted}
        return found if self.referred is None else found | {"referral": self.referred.to_dict()}

    def cells(self) -> dict[str, float]:
        """One row of a table: the point, each number that there is, and the ends of intervals.

        Numbers of adjusted scores are called ``adjusted_accuracy`` and so on.
        """
        found = dict(self.result.point.asked())
        for name, value in self.result.scalars().items():
            if value is not None:
                found[name] = value
            found |= _ends(self.result, name)
        found |= _reported(self.result, METRICS)
        if self.choice is not None and self.adjusted is not None:
            found["tau"] = self.choice.tau
            asked = (*METRICS, self.choice.metric, *self.choice.kept)
            own = _reported(self.adjusted, tuple(dict.fromkeys(asked)))
            found |= {f"adjusted_{key}": value for key, value in own.items()}
        return found if self.referred is None else found | self.referred.cells()

    def __str__(self) -> str:
        """Where it was judged, the reports, and the single numbers."""
        result, lines = self.result, []
        if result.point.asked():
            lines.append(f"at {result.point}:")
        if result.report is not None:
            lines.append(str(result.report))
        if self.choice is not None and self.adjusted is not None:
            chosen = f"\nadjusted, as chosen on the validation part: {self.choice}"
            lines += [chosen, str(self.adjusted.report)]
        if self.referred is not None:
            lines.append(f"\nreferred, as chosen on the validation part: {self.referred}\n")
        told = () if result.report is None else _IN_REPORT
        rest = {name: value for name, value in result.scalars().items() if name not in told}
        return "\n".join([*lines, summary(rest)])


def _ends(result: Evaluation, name: str) -> dict[str, float]:
    """The ends of the interval of a number, where it has one."""
    interval = None
    if result.report is not None and is_metric(name):
        interval = result.report.interval(name)
    return {} if interval is None else {f"{name}_low": interval.low, f"{name}_high": interval.high}


def _reported(result: Evaluation, names: Sequence[str]) -> dict[str, float]:
    """Numbers of the report that exist, and the ends of their intervals."""
    if result.report is None:
        return {}
    found: dict[str, float] = {}
    for name in names:
        value = result.report.number(name)
        if math.isfinite(value):
            found |= {name: value, **_ends(result, name)}
    return found


def at_a_glance(judged: Sequence[Judged]) -> str:
    """The points of one run under each other, with the intervals of what is decided by."""
    rows = [each.cells() for each in judged]
    points = judged[0].result.point.asked()
    own = [f"{TERM}{name}" for name in judged[0].result.losses if name not in TERMS]
    names = [name for name in (*_AT_A_GLANCE, *own) if any(name in row for row in rows)]
    table = [[*points, *(name.replace("_", " ") for name in names)]]
    for row in rows:
        line = [f"{row[name]:.12g}" for name in points]
        for name in names:
            told = f"{row[name]:.4g}" if name in row else ""
            if name.endswith(_WITH_INTERVAL) and f"{name}_low" in row:
                told += f" [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
            line.append(told)
        table.append(line)
    return "\n".join(aligned(table))


def summary(scalars: Mapping[str, float | None]) -> str:
    """The single numbers that there are, a line each."""
    lines = [f"{name:<18} {value:.4f}" for name, value in scalars.items() if value is not None]
    return "\n".join(lines)


def judge_run(
    options: EvaluateOptions, again: Callable[[int, DataConfig], EvaluateOptions]
) -> Iterator[Judged]:
    """Evaluate a run at each of the points that were asked for.

    Other scenes than those of its test part are compared with what it was trained on.

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
        When the run cannot be loaded, other scenes have other classes, the scores cannot be
        adjusted or referred by, or no adjustment or cutoff keeps what it has to.
    ValueError
        When the system has no such point, or a metric is of a class that there is not: before the
        first pass.

    Warns
    -----
    UserWarning
        When other scenes hold pictures of the training or validation part of the run or, read in
        another way than its own, so that pictures cannot be compared, some of their names; and when
        that cannot be told, as the run's own scenes are not to be had.
    """
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
        dataset = _other_scenes(again(side, config.data), config.data, classes, parts)
    else:
        assert parts is not None  # the run's own
        dataset = getattr(parts, options.part)
    system.to(usable_device(options.device))
    points = options.points()
    if len(points) > 1:
        _check_points(points, system, dataset)
    for point in points:
        judge = partial(
            evaluate,
            system,
            objective=config.objective,
            batch_size=options.batch_size,
            **point._asdict(),
            views=options.views,
        )
        seen = _seen(options, parts, judge)
        choice = referral = adjusted = referred = None
        if seen is not None and parts is not None and options.adjust is not None:
            choice = _choose_tau(options, parts, seen, bounds)
        if seen is not None and options.refer:
            referral = _choose_cutoff(options, classes, seen)
        result = judge(dataset, count_bytes=options.count_bytes, resamples=options.resamples)
        if choice is not None and parts is not None:
            offset = -choice.tau * log_prior(parts.train.counts)
            adjusted = result.adjusted(offset, resamples=options.resamples)
        if referral is not None:
            assert result.logits is not None  # as on the validation part
            shares = referral.shares(result.logits, result.labels)
            own = result.referred(referral, resamples=options.resamples)
            referred = Referred(referral, own, shares, options.prevalence)
        yield Judged(result, choice, adjusted, referred)


def _check_points(
    points: Sequence[OperatingPoint], system: ImagingSystem, dataset: LesionDataset
) -> None:
    """Refuse what a later point would, with one picture: a motion may be too far for its side."""
    check_suited(system, dataset)
    feed = Feed(dataset, device_of(system), resident=False)
    for point in points:
        with evaluating(system), torch.no_grad(), operating(system, point):
            for shown in feed.shown([torch.tensor([0])], seed=0):
                system(shown.scenes, generator=shown.noise)


class _Loaded(NamedTuple):
    """A run, and what other scenes are compared with."""

    config: RunConfig
    system: ImagingSystem
    classes: tuple[str, ...]
    side: int
    """Pixels along a side of its scenes."""
    parts: Split | None
    """None where other scenes are judged, and its own are not to be had."""


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
        try:
            kind = scene_kind(trained)
        except CheckpointError as unknown:
            raise CheckpointError(f"{unknown}. They are not to be had: {error}") from error
        system = rebuilt(config, trained, kind)
        if options.adjust is not None or options.refer:
            option = "--adjust" if options.adjust is not None else "--refer"
            raise ConfigError(
                f"{option} is chosen on the validation part of the run, whose scenes are not to be "
                f"had: {error}"
            ) from error
        caution(
            f"whether the run knows pictures of {options.data} cannot be told, as its own scenes "
            f"are not to be had: {error}"
        )
        return _Loaded(config, system, kind.classes, kind.image_size[0], None)
    return _Loaded(config, system, parts.train.classes, parts.train.image_size[0], parts)


def _other_scenes(
    options: EvaluateOptions, own: DataConfig, classes: tuple[str, ...], parts: Split | None
) -> LesionDataset:
    """The scenes of a path, which are compared with the run's ``own``."""
    assert options.scenes is not None  # there is a path
    dataset = build_data(options.scenes.data)
    if dataset.classes != classes:
        raise ConfigError(
            f"{options.data} has the classes {', '.join(dataset.classes)}, but the run was "
            f"trained on {', '.join(classes)}{_remedy(options, dataset, classes)}"
        )
    if parts is None:
        return dataset
    data = options.scenes.data
    alike = _shape(dataset) == _shape(parts.train) and read_like(data, own) == data
    _warn_of_seen(dataset, parts, str(options.data), alike=alike)
    return dataset


def _remedy(options: EvaluateOptions, dataset: LesionDataset, classes: Sequence[str]) -> str:
    """What to do about scenes that lack a class, or have them in another order."""
    assert options.scenes is not None  # there is a path
    if "classes" not in type(options.scenes.data).model_fields:
        return ""
    if not set(dataset.classes) <= set(classes):
        return ""
    return f": give them all, in this order (--data.classes {' '.join(classes)})"


def _shape(dataset: LesionDataset) -> tuple[int, int, int, int]:
    return (*dataset.image_size, dataset.channels, dataset.bit_depth)


def _warn_of_seen(dataset: LesionDataset, parts: Split, where: str, *, alike: bool) -> None:
    """Say how many of other scenes the run has learned from, or was chosen by.

    Where they are not read alike, equal pictures have other codes, and are known by their names.
    """
    shared = dataset.shared if alike else partial(_named_alike, dataset)
    seen = {"training": parts.train, "validation": parts.validation}
    counts = {name: len(shared(part)) for name, part in seen.items() if part is not None}
    if not any(counts.values()):
        return
    told = " and ".join(f"{n} of its {name} part" for name, n in counts.items() if n)
    if alike:
        knows = f"the run knows {told}: the results are too good"
    else:
        knows = (
            f"the run knows names and classes ({told}), but these are read in another way: where "
            "they are the same pictures, the results are too good"
        )
    caution(
        f"of the {len(dataset)} pictures of {where} {knows}. Leave these out, or judge the test "
        "part of the run (without --data)",
    )


def _named_alike(dataset: LesionDataset, part: LesionDataset) -> list[str]:
    """Names of one class in both; none where names stand for other classes, as numbers from 0 do.

    Some labels may have been corrected, so that one name in ten may be of another class.
    """
    theirs = dict(zip(part.identifiers, part.targets.tolist(), strict=True))
    ours = zip(dataset.identifiers, dataset.targets.tolist(), strict=True)
    common = [(name, label == theirs[name]) for name, label in ours if name in theirs]
    alike = [name for name, agrees in common if agrees]
    return alike if 10 * len(alike) >= 9 * len(common) else []


def _checked_bounds(options: EvaluateOptions) -> dict[str, dict[str, float]]:
    """What tau must keep; of a metric that is wanted or kept, there must be such a one."""
    if options.part == "validation" and options.data is None:
        for option, chosen in (("--adjust", options.adjust), ("--refer", options.refer)):
            if chosen:
                raise OptionError(
                    f"{option} is chosen on the validation part: judge it on another one"
                )
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
    for metric, less in bounds["within"].items():
        if less < 0:
            raise OptionError(f"--within {metric}={less:g} is negative: how much may it lose?")
    return bounds


def _seen(
    options: EvaluateOptions, parts: Split | None, judge: Callable[[LesionDataset], Evaluation]
) -> Evaluation | None:
    """The validation part, where something is to be chosen on it."""
    if parts is None or (options.adjust is None and not options.refer):
        return None
    option = "--adjust" if options.adjust is not None else "--refer"
    if parts.validation is None:
        raise ConfigError(f"{option} needs a validation part, and the split of this run has none")
    seen = judge(parts.validation)
    if seen.logits is None:
        raise ConfigError(f"{option} needs a classifier, and the system of this run has none")
    return seen


def _choose_cutoff(
    options: EvaluateOptions, classes: tuple[str, ...], seen: Evaluation
) -> Referral:
    """The cutoff that keeps on the validation part what was asked for."""
    assert seen.logits is not None  # as :func:`_seen` saw to
    try:
        return choose_cutoff(
            seen.logits,
            seen.labels,
            classes=classes,
            positive=options.refer,
            sensitivity=options.sensitivity,
            specificity=options.specificity,
            assurance=options.assurance,
            groups=seen.groups,
        )
    except ValueError as error:
        raise ConfigError(f"--refer on the validation part{_where(seen)}: {error}") from error


def _where(seen: Evaluation) -> str:
    return f" {seen.point}" if seen.point.asked() else ""


def _choose_tau(
    options: EvaluateOptions,
    parts: Split,
    seen: Evaluation,
    bounds: Mapping[str, Mapping[str, float]],
) -> TauChoice:
    """The adjustment that is best on the validation part by the metric that was asked for."""
    assert seen.logits is not None  # as :func:`_seen` saw to
    try:
        return choose_tau(
            seen.logits,
            seen.labels,
            log_prior=log_prior(parts.train.counts),
            metric=str(options.adjust),
            classes=parts.train.classes,
            taus=options.taus or None,
            **bounds,
        )
    except ValueError as error:
        raise ConfigError(f"--adjust on the validation part{_where(seen)}: {error}") from error
