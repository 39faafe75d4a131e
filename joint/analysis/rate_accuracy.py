"""Accuracy against rate: a trained system with several codecs.

::

    evaluations of each codec ──────────► curves: rate, accuracy ─┐
    halves of the lesions, for all of them alike ─────────────────┴─► curve_difference
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias, final

import numpy as np
import torch

from classify import Difference, Interval, bootstrap_difference, report
from classify.intervals import (
    check_resampling,
    halves,
    membership,
    source,
    typical_interval,
    typical_p,
    unit_of,
)
from classify.judged import Judged
from classify.metric_names import check_metric
from joint.judge.evaluation import Evaluation
from joint.judge.metric import lower_is_better
from joint.judge.point import OperatingPoint
from joint.record import Record

from .curve_difference import (
    MINIMUM_OVERLAP,
    DrawnCurve,
    RateDifference,
    check_overlap,
    curve_difference,
    falls,
    told_difference,
    told_setting,
)

__all__ = ["AccuracyCurve", "AccuracyPoint", "RateCurves", "rate_curves"]

Setting: TypeAlias = tuple[str, Sequence[object]]
"""Name of the setting that changes along a curve, and its value in each evaluation."""


@final
@dataclass(frozen=True)
class AccuracyPoint:
    """A system with its codec at one setting."""

    rate: float
    """Mean bits per pixel: of the files if they were counted, otherwise estimated."""
    accuracy: float
    """Accuracy, or another metric."""
    interval: Interval | None
    """Interval over lesions, or over pictures without groups."""
    point: OperatingPoint
    """Requested light, quality and so on."""
    value: object = None
    """Value of the setting; None without a setting."""
    against_uncoded: Difference | None = None
    """Paired difference of the accuracy from that without a codec, on halves of the lesions, see
    :func:`classify.bootstrap_difference`; None if that system is not given, for an undefined metric
    and for a single lesion."""


@final
@dataclass(frozen=True)
class AccuracyCurve:
    """A codec at several settings."""

    name: str
    points: tuple[AccuracyPoint, ...]
    """By rate."""
    counted: bool
    """Whether all rates are those of files."""
    falls: tuple[tuple[float, float], ...]
    """Pairs of rates between which the accuracy falls, and is pooled."""
    setting: str = ""
    """Name of the setting that changes from point to point, such as ``quality``; empty if not
    known."""


@final
@dataclass(frozen=True)
class RateCurves(Record):
    """Accuracy against bits per pixel of several codecs."""

    metric: str
    unit: str
    """Resampled units of the intervals: ``lesions`` or ``pictures``."""
    level: float
    """Confidence level of the intervals."""
    curves: tuple[AccuracyCurve, ...]
    """Curves in the order given."""
    anchor: str
    """Name of the reference curve."""
    differences: tuple[RateDifference, ...]
    """Difference of every other curve from the anchor."""
    uncoded: AccuracyPoint | None
    """The system without a codec, if given; its rate is nan."""

    def __str__(self) -> str:
        share = f"{100 * self.level:g} % intervals over {self.unit}"
        lines = [f"{self.metric} against bits per pixel; {share}"]
        for curve in self.curves:
            lines.append(f"  {curve.name}{'' if curve.counted else ' (rates are estimates)'}")
            for each in curve.points:
                at = told_setting(curve.setting, each.value)
                lines.append(f"    {each.rate:.4g} bpp{at and f', {at}'}: {_shown(each)}")
            for low, high in curve.falls:
                lines.append(f"    falls from {low:.4g} to {high:.4g} bpp: pooled for differences")
        if self.uncoded is not None:
            lines.append(f"  without a codec: {_shown(self.uncoded)}")
        lines += [f"  {told_difference(each, self.metric)}" for each in self.differences]
        return "\n".join(lines)


def _shown(each: AccuracyPoint) -> str:
    ends = "" if each.interval is None else f" {each.interval:.4f}"
    found = each.against_uncoded
    if found is None:
        return f"{each.accuracy:.4f}{ends}"
    difference = f"{found.difference:+.4f} {found.interval:+.4f}, p = {found.p:.3g}"
    return f"{each.accuracy:.4f}{ends}, against no codec {difference}"


def rate_curves(
    evaluations: Mapping[str, Sequence[Evaluation]],
    *,
    metric: str = "balanced_accuracy",
    anchor: str | None = None,
    uncoded: Evaluation | None = None,
    settings: Mapping[str, Setting] | None = None,
    minimum_overlap: float = MINIMUM_OVERLAP,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> RateCurves:
    """Curves of accuracy against bits per pixel, and their differences from one of them.

    All evaluations are of the same pictures. The same halves of the lesions are drawn for all, so
    that common chance cancels in the differences. The results hold for these trained systems;
    :func:`joint.study.rate_accuracy` also includes the variation between training seeds. Rates are
    means over all pictures, and are not resampled.

    Parameters
    ----------
    evaluations : mapping from str to sequence of Evaluation
        Evaluations by the name of the curve, one for each setting of its codec, from
        ``evaluate(system, test, quality=q, count_bytes=True)``. Without counted bytes a rate is the
        codec's estimate.
    metric : str
        One of :data:`classify.metric_names.METRICS`, or a metric of a class such as ``recall.mel``,
        for which more is better.
    anchor : str, optional
        Name of the reference curve; the first by default.
    uncoded : Evaluation, optional
        The system without its codec, as a reference: each point then has its paired difference
        from it.
    settings : mapping from str to (str, sequence), optional
        Setting that changes along a curve, and its value in each evaluation, by the name of the
        curve: ``{"k-means": ("colors", (2, 4, 8))}``. By default it is the requested number of
        the evaluations, if there is one, such as the quality.
    minimum_overlap : float
        As in :func:`compress.bd_rate`, with a smaller default, because curves of accuracy are
        short.
    resamples : int
        Number of resamples.
    level : float
        Confidence level of the intervals.
    seed : int
        Random seed of the resamples.

    Returns
    -------
    RateCurves

    Raises
    ------
    ValueError
        Without a curve; for a metric that is unknown or for which less is better, an unknown
        anchor, evaluations of other pictures, or without class scores or a rate; for settings of an
        unknown curve, or with another number of values than evaluations; for no resamples, or a
        level or an overlap that is no share.

    Notes
    -----
    Differences are Bjøntegaard's (VCEG-M33, 2001; :func:`compress.bd_rate`). The limits of their
    intervals are quantiles of the differences on random halves of the lesions, as in
    :func:`classify.bootstrap_difference`: if a class has few lesions, resampling with replacement
    finds equal codecs different too often. There is no interval if a difference is missing in more
    resamples than an interval leaves out on one side: 2.5 % at 95 %. Each p and verdict is for a
    single difference: among several, one differs by chance more often.
    """
    check_overlap(minimum_overlap)
    check_resampling(resamples, level)
    check_metric(metric)
    if lower_is_better(metric):
        raise ValueError(f"a curve of rates needs a metric that grows with them, not {metric!r}")
    names = [*evaluations]
    if not names:
        raise ValueError("there is no curve: give evaluations by the name of their codec")
    anchor = names[0] if anchor is None else anchor
    if anchor not in evaluations:
        raise ValueError(f"there is no curve {anchor!r}: choose from {', '.join(names)}")
    for name, curve in evaluations.items():
        if not curve:
            raise ValueError(f"the curve {name!r} has no evaluation")
        for each in curve:
            _check_alike(name, each, evaluations[names[0]][0])
            if _rate(each) is None:
                raise ValueError(f"an evaluation of {name!r} has no rate: its system has no codec")
    if uncoded is not None:
        _check_alike("uncoded", uncoded, evaluations[names[0]][0])
        if _rate(uncoded) is not None:
            raise ValueError("uncoded is of a system with a codec: evaluate it without one")
    told = {name: _asked(given) for name, given in evaluations.items()} | dict(settings or {})
    for name, (_, values) in told.items():
        if len(values) != len(evaluations.get(name, ())):
            raise ValueError(
                f"settings need one value for each evaluation of a curve, but {name!r} has "
                f"{len(evaluations.get(name, ()))} evaluations and {len(values)} values"
            )
    bootstrap = _Bootstrap(metric, resamples, level, seed)
    curves = tuple(
        _curve(name, given, told[name], bootstrap, uncoded) for name, given in evaluations.items()
    )
    drawn = {name: _drawn(name, given, bootstrap) for name, given in evaluations.items()}
    differences = [
        curve_difference(
            drawn[name],
            drawn[anchor],
            minimum_overlap=minimum_overlap,
            level=level,
            judge=lambda _, draws: (typical_interval(draws, level), typical_p(draws)),
            metric=metric,
        )
        for name in names
        if name != anchor
    ]
    return RateCurves(
        metric=metric,
        unit=unit_of(evaluations[anchor][0].groups),
        level=level,
        curves=curves,
        anchor=anchor,
        differences=tuple(differences),
        uncoded=None if uncoded is None else _point(uncoded, bootstrap),
    )


class _Bootstrap(NamedTuple):
    """What is drawn, and how."""

    metric: str
    resamples: int
    level: float
    seed: int


def _check_alike(name: str, one: Evaluation, first: Evaluation) -> None:
    """Refuse an evaluation without scores, or of other pictures than the first one."""
    if one.logits is None:
        raise ValueError(f"an evaluation of {name!r} has no class scores to judge")
    same = one.identifiers == first.identifiers and np.array_equal(one.labels, first.labels)
    if not same or one.groups != first.groups:
        raise ValueError(
            f"an evaluation of {name!r} is of other pictures than the first of all: evaluate every "
            "setting on the same data set"
        )


def _classes(each: Evaluation) -> tuple[str, ...]:
    assert each.report is not None  # there are scores
    return each.report.classes


def _rate(each: Evaluation) -> float | None:
    """Bits per pixel, of the files where they were counted."""
    return each.bpp if each.bpp_bytes is None else each.bpp_bytes


def _by_rate(each: Evaluation) -> float:
    return _rate(each) or 0.0


def _asked(given: Sequence[Evaluation]) -> Setting:
    """What changes along a curve, as far as its evaluations say."""
    asked = [each.point.asked() for each in given]
    names = {name for each in asked for name in each}
    if len(names) == 1 and all(asked):
        (name,) = names
        return name, [each[name] for each in asked]
    return "", [None] * len(given)


def _curve(
    name: str,
    given: Sequence[Evaluation],
    setting: Setting,
    bootstrap: _Bootstrap,
    uncoded: Evaluation | None,
) -> AccuracyCurve:
    called, values = setting
    order = sorted(range(len(given)), key=lambda place: _by_rate(given[place]))
    points = tuple(
        replace(_point(given[place], bootstrap, uncoded), value=values[place]) for place in order
    )
    counted = all(each.bpp_bytes is not None or each.rate == "bytes" for each in given)
    steps = falls([each.rate for each in points], [each.accuracy for each in points])
    return AccuracyCurve(name, points, counted, steps, called)


def _point(
    each: Evaluation, bootstrap: _Bootstrap, uncoded: Evaluation | None = None
) -> AccuracyPoint:
    assert each.logits is not None  # looked at
    metric, resamples, level, seed = bootstrap
    judged = report(
        each.logits,
        each.labels,
        classes=_classes(each),
        groups=each.groups,
        resamples=resamples,
        level=level,
        seed=seed,
    )
    rate, accuracy = _rate(each), judged.number(metric)
    # Neither an undefined number nor a single lesion has a paired difference.
    paired = math.isfinite(accuracy) and membership(each.groups, len(each.labels)).max() > 0
    return AccuracyPoint(
        rate=math.nan if rate is None else rate,
        accuracy=accuracy,
        interval=judged.interval(metric),
        point=each.point,
        against_uncoded=_difference(each, uncoded, bootstrap) if uncoded and paired else None,
    )


def _difference(each: Evaluation, uncoded: Evaluation, bootstrap: _Bootstrap) -> Difference:
    """Paired difference from the system without a codec."""
    assert each.logits is not None  # looked at
    assert uncoded.logits is not None
    metric, resamples, level, seed = bootstrap
    return bootstrap_difference(
        each.logits,
        uncoded.logits,
        labels=each.labels,
        metric=metric,
        classes=_classes(each),
        groups=each.groups,
        resamples=resamples,
        level=level,
        generator=torch.Generator().manual_seed(seed),
    )


def _drawn(name: str, given: Sequence[Evaluation], bootstrap: _Bootstrap) -> DrawnCurve:
    """A curve on halves of the lesions, which are drawn for all curves alike."""
    metric, resamples, _, seed = bootstrap
    accuracies, draws = [], []
    ordered = sorted(given, key=_by_rate)
    for each in ordered:
        assert each.logits is not None
        judged = Judged(each.logits.astype(float), each.labels, classes=_classes(each))
        everything = np.ones((1, len(each.labels)))
        accuracies.append(float(judged.measure(everything, [metric])[metric][0]))
        chunks = halves(membership(each.groups, len(each.labels)), resamples, source(None, seed))
        draws.append(np.concatenate([_on_halves(judged, half, metric) for half in chunks]))
    rate = np.array([_rate(each) for each in ordered], dtype=float)
    drawn = np.stack(draws, 1)
    return DrawnCurve(
        name=name,
        rate=rate,
        accuracy=np.array(accuracies),
        drawn_rate=np.broadcast_to(rate, drawn.shape),
        drawn_accuracy=drawn,
    )


def _on_halves(judged: Judged, half: np.ndarray, metric: str) -> np.ndarray:
    """A metric on halves of the rows ``[r, N]``; of a sum, with the shares of the whole."""
    parts = judged.parts(metric)
    if parts is None:
        return judged.measure(half, [metric], drawn=True)[metric]
    share, value = parts
    return half @ (share * value) * share.sum() / (half @ share)
