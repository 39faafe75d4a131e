"""Rate against accuracy: bits that a codec needs for an accuracy, with intervals.

::

    designs ──families──► curves: rate, accuracy of each setting ─┐
    draws [R, D] of both, seeds and lesions ──────────────────────┴─► analysis.curve_difference
                                                                                │ p
                                                      RateDifference ◄── holm ──┘
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from classify import Interval
from joint.analysis.curve_difference import (
    DrawnCurve,
    RateDifference,
    check_overlap,
    curve_difference,
    falls,
    told_difference,
)
from joint.config.codecs import CodecConfig
from joint.config.custom import CustomConfig
from joint.judge.metric import check_study_metric, lower_is_better
from joint.record import Record
from joint.settings import NoneConfig
from joint.study.axis import Design
from joint.study.ledger import Ledger
from joint.study.paths import is_within
from joint.study.significance import holm, smallest_p
from joint.study.space import levels_shown

from .draws import Draws, resample
from .inference import degrees_of_freedom, student, variance_of
from .table import Row, outcomes, rows

__all__ = [
    "RateAccuracy",
    "RateFamily",
    "RatePoint",
    "rate_accuracy",
]

Array = npt.NDArray[Any]

_TELLING = 300  # draws of seeds alone and of lesions alone, for their shares of a variance
_OF_RATE = ("system.codec", "objective.rate", "objective.rate_target", "objective.distortion")


@final
@dataclass(frozen=True)
class RatePoint:
    """One setting of a codec."""

    design: int
    rate: float
    """Mean bits per picture over seeds."""
    rate_interval: Interval | None
    """Interval over seeds, by Student's t; None with fewer than two."""
    accuracy: float
    """Accuracy, or another metric of the study."""
    interval: Interval | None
    """Interval over seeds and lesions."""


@final
@dataclass(frozen=True)
class RateFamily:
    """Designs that differ only in the setting of their codec, or in its weight in training."""

    name: str
    levels: Design
    """Levels that the designs have in common."""
    codec: str
    """Kind of the codec, with its class for your own; ``none`` uses the codes of the sensor."""
    points: tuple[RatePoint, ...]
    """By rate."""
    falls: tuple[tuple[float, float], ...]
    """Rates between which the accuracy falls, where points were pooled."""


@final
@dataclass(frozen=True)
class RateAccuracy(Record):
    """Rate-accuracy curves of a study."""

    metric: str
    unit: str
    """What the intervals are over."""
    families: tuple[RateFamily, ...]
    anchor: str | None
    differences: tuple[RateDifference, ...]
    """Difference of each other family with at least two points from the anchor, or from the family
    of the anchor's codec that is equal in everything else. Verdicts are corrected for their
    number."""

    def __str__(self) -> str:
        head = f"{self.metric} against bits per picture, over {self.unit}"
        lines = [f"{head}; exploration, p adjusted for all differences"]
        for family in self.families:
            lines.append(f"  {family.name}")
            for point in family.points:
                interval = "" if point.interval is None else f" {point.interval:.4f}"
                lines.append(f"    {point.rate:.6g} bits: {point.accuracy:.4f}{interval}")
        lines += [f"  {told_difference(each, self.metric)}" for each in self.differences]
        return "\n".join(lines)


def rate_accuracy(
    ledger: Ledger,
    *,
    metric: str | None = None,
    anchor: str | None = None,
    along: Sequence[str] | None = None,
    minimum_overlap: float = 0.3,
    resamples: int | None = None,
) -> RateAccuracy:
    """Curves of accuracy against bits, and the difference of each from a reference curve.

    Parameters
    ----------
    ledger : Ledger
        The study, finished or not.
    metric : str, optional
        Metric that grows with quality; by default that of the plan.
    anchor : str, optional
        Name of the family to compare the others with; by default the first of JPEG, of WebP, or of
        all.
    along : sequence of str, optional
        Axes along which the rate changes; by default those that set only fields of the codec or
        the objective. Another kind of codec is always another family.
    minimum_overlap : float
        As in :func:`compress.bd_rate`; lower than there, because curves of accuracy are short.
    resamples : int, optional
        Number of draws; by default that of the plan.

    Returns
    -------
    RateAccuracy
        Intervals of differences are Student's, from the spread of the draws of seeds and lesions as
        in :func:`infer`; those of bits are computed on a logarithmic scale. The p of a difference
        in bits is at least the smallest p of a sign-flip test with as many seeds, like that of a
        planned comparison (:func:`joint.study.smallest_p`). It is corrected for all differences
        (:func:`holm`): at 5 %, fewer than six seeds can show nothing.

    Raises
    ------
    ValueError
        For a metric where lower is better, an unknown axis or anchor, no draws, an overlap that is
        not a share, or a race, which chooses seeds by results.
    """
    check_overlap(minimum_overlap)
    plan = ledger.study.plan
    if ledger.study.race is not None:
        raise ValueError(
            "the designs of a race have different numbers of seeds, chosen by their results: a "
            "curve through them would be wrong. Run those of the curve in a study without a race"
        )
    metric = metric or plan.metric
    check_study_metric(metric)
    if lower_is_better(metric):
        raise ValueError(f"a rate-accuracy curve needs a metric that grows, not {metric!r}")
    if along is None:
        study = ledger.study
        along = [name for name in study.axes if all(map(_of_rate, study.sets(name)))]
    for name in along:
        if name not in ledger.study.axes:
            raise ValueError(
                f"there is no axis {name!r}: choose from {', '.join(ledger.study.axes)}"
            )
    resamples = plan.resamples if resamples is None else resamples
    draws = resample(outcomes(ledger, metric), metric=metric, resamples=resamples)
    rates = _Rates.of(rows(ledger), draws)
    families = tuple(_families(ledger, draws, rates, along, 1 - plan.alpha))
    chosen = _anchor(families, anchor)
    differences = []
    for family in families:
        against = None if chosen is None else _alike(families, family, chosen)
        if against is None or against is family or len(family.points) < 2:
            continue
        differences.append(
            _difference(family, against, draws, rates, minimum_overlap, 1 - plan.alpha)
        )
    name = None if chosen is None else chosen.name
    return RateAccuracy(metric, draws.unit, families, name, _corrected(differences, plan.alpha))


def _corrected(differences: Sequence[RateDifference], alpha: float) -> tuple[RateDifference, ...]:
    """The differences with p and verdicts adjusted for their number."""
    adjusted = iter(holm([each.rate_p for each in differences if each.rate_p is not None]))

    def judged(each: RateDifference) -> RateDifference:
        if each.rate_p is None:
            return each
        p = next(adjusted)
        return replace(each, rate_p=p, verdict=each.verdict if p <= alpha else "not shown")

    return tuple(judged(each) for each in differences)


def _alike(
    families: Sequence[RateFamily], family: RateFamily, chosen: RateFamily
) -> RateFamily | None:
    """Curve of the anchor's codec at the same levels as a family, otherwise the anchor itself."""
    for other in families:
        if other is not family and other.codec == chosen.codec and other.levels == family.levels:
            return other
    return chosen


def _of_rate(path: str) -> bool:
    return any(is_within(path, table) for table in _OF_RATE)


def _anchor(families: Sequence[RateFamily], wanted: str | None) -> RateFamily | None:
    if wanted is not None:
        for family in families:
            if family.name == wanted:
                return family
        names = ", ".join(repr(family.name) for family in families)
        raise ValueError(f"there is no family {wanted!r}: choose from {names}")
    for codec in ("jpeg", "webp"):
        for family in families:
            if family.codec == codec:
                return family
    return families[0] if families else None


@final
@dataclass(frozen=True, eq=False)
class _Rates:
    """Bits per picture of each design of the draws."""

    values: Array
    """Bits of each run, ``[D, S]``; NaN where nothing rounds."""
    means: Array
    """``[D]``."""
    drawn: Array
    """Bits of each draw, ``[R, D]``, on the seeds drawn for the accuracy."""

    @classmethod
    def of(cls, table: Sequence[Row], draws: Draws) -> "_Rates":
        values = np.full(draws.values.shape, math.nan)
        for row in table:
            bits = row.numbers.get("bits")
            if bits is not None and row.design in draws.designs:
                values[draws.place(row.design), draws.seeds.index(row.seed)] = bits
        return cls(values, *draws.along(values))

    def interval(self, place: int, level: float) -> Interval | None:
        """Student's interval over seeds."""
        there = self.values[place][np.isfinite(self.values[place])]
        if len(there) < 2:
            return None
        error = float(there.std(ddof=1)) / math.sqrt(len(there))
        (low, high), _ = student(float(there.mean()), error, len(there) - 1, level=level)
        return Interval(max(0.0, low), high)


def _families(
    ledger: Ledger, draws: Draws, rates: _Rates, along: Sequence[str], level: float
) -> list[RateFamily]:
    groups: dict[str, list[int]] = {}
    kinds: dict[int, str] = {}
    for place, number in enumerate(draws.designs):
        if math.isnan(rates.means[place]):
            continue
        codec = ledger.study.config(ledger.designs[number], ledger.study.seeds[0]).system.codec
        kinds[number] = _kind(codec)
        groups.setdefault(json.dumps([kinds[number], _rest(ledger, number, along)]), []).append(
            number
        )
    found = []
    for numbers in groups.values():
        levels = _rest(ledger, numbers[0], along)
        points = sorted(
            (_point(number, draws, rates, level) for number in numbers), key=lambda p: p.rate
        )
        kind = kinds[numbers[0]]
        name = f"{kind}, {levels_shown(levels)}" if levels else kind
        steps = falls([each.rate for each in points], [each.accuracy for each in points])
        found.append(RateFamily(name, levels, kind, tuple(points), steps))
    return found


def _kind(codec: CodecConfig) -> str:
    """Name that identifies a codec on a curve; your own codecs are one kind per class."""
    if isinstance(codec, CustomConfig):
        return f"custom {codec.class_path}"
    return "none" if isinstance(codec, NoneConfig) else codec.kind


def _rest(ledger: Ledger, number: int, along: Sequence[str]) -> Design:
    return {n: v for n, v in ledger.designs[number].items() if n not in along}


def _point(number: int, draws: Draws, rates: _Rates, level: float) -> RatePoint:
    place = draws.place(number)
    return RatePoint(
        number,
        float(rates.means[place]),
        rates.interval(place, level),
        float(draws.means[place]),
        draws.of(number, level=level).interval,
    )


def _difference(
    family: RateFamily,
    anchor: RateFamily,
    draws: Draws,
    rates: _Rates,
    minimum_overlap: float,
    level: float,
) -> RateDifference:
    of = [[draws.place(point.design) for point in each.points] for each in (family, anchor)]
    both = [place for places in of for place in places]
    known = np.isfinite(draws.values[both]) & np.isfinite(rates.values[both])
    seeds = int(known.sum(1).min())
    alone = draws.lesions is not None and draws.lesions.alone
    count = 0 if seeds < 2 or alone else len(draws.drawn)
    # Without lesions, only seeds were drawn.
    telling = 0 if draws.lesions is None else min(count, _TELLING)

    def drawn(each: RateFamily, of: Sequence[int]) -> DrawnCurve:
        """Curve on drawn seeds and lesions, then seeds alone, then lesions alone."""
        means = np.tile(rates.means, (telling, 1))
        rate = np.concatenate([rates.drawn[:count], rates.drawn[:telling], means])
        accuracy = np.concatenate(
            [draws.drawn[:count], draws.of_seeds[:telling], draws.of_lesions[:telling]]
        )
        return DrawnCurve(each.name, rates.means[of], draws.means[of], rate[:, of], accuracy[:, of])

    def judge(value: float, found: Array) -> tuple[Interval, float]:
        parts = (part[np.isfinite(part)] for part in np.split(found, [count, count + telling]))
        both, of_seeds, of_lesions = (float(part.var()) if len(part) else 0.0 for part in parts)
        freedom = degrees_of_freedom(of_seeds, seeds, of_lesions, draws.telling)
        # With seeds alone drawn, no noise is counted twice.
        error = math.sqrt(variance_of(both, of_seeds, of_lesions, seeds) if telling else both)
        interval, p = student(value, error, freedom, level=level)
        return interval, max(p, smallest_p(seeds))

    return curve_difference(
        drawn(family, of[0]),
        drawn(anchor, of[1]),
        minimum_overlap=minimum_overlap,
        level=level,
        judge=judge,
        counted=count,
        undrawn=draws.note if alone and draws.note else "one seed says nothing about others",
    )
