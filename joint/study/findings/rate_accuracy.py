"""Rate against accuracy: how many bits a codec needs for an accuracy, and how sure that is.

::

    designs ──families──► curves: rate, accuracy of each setting ──isotonic──► bd_rate, bd_quality
    draws [R, D] of both ───────────────┴──────────────────────────────────► their intervals

An accuracy that was measured on few pictures and seeds often falls from one rate to the next, and
:func:`compress.bd_rate` refuses such a curve. Here neighbours that fall are pooled (isotonic
regression, Barlow et al., 1972: the likeliest curve that does not fall), which is said; what
is left may be too short for a rate at equal accuracy, and then there is none, and why is said too.
"""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

import compress
from classify import Interval
from classify.intervals import percentile_interval
from joint.analysis.record import plain
from joint.config.codecs import CodecConfig
from joint.config.custom import CustomConfig
from joint.metric import check_study_metric, lower_is_better
from joint.settings import NoneConfig
from joint.study.axis import Design
from joint.study.store import Ledger

from .draws import Draws, resample
from .table import Row, outcomes, rows

__all__ = [
    "RateAccuracy",
    "RateDifference",
    "RateFamily",
    "RatePoint",
    "pooled",
    "rate_accuracy",
    "rate_difference",
]

Array = npt.NDArray[Any]

# Share of the draws in which a difference must exist to have an interval: among those in which it
# exists, the curves are nearer to each other than they are.
_KNOWN = 0.95
_OF_RATE = ("system.codec", "objective.rate", "objective.distortion")


@final
@dataclass(frozen=True)
class RatePoint:
    """One setting of a codec."""

    design: int
    rate: float
    """Mean bits of a picture over seeds."""
    rate_interval: Interval | None
    """Over seeds."""
    accuracy: float
    """Or another metric of the study."""
    interval: Interval | None
    """Over seeds and lesions."""


@final
@dataclass(frozen=True)
class RateFamily:
    """Designs that differ in nothing but the setting of their codec, or its price in training."""

    name: str
    levels: Design
    """What they have in common."""
    codec: str
    """Kind of the codec, of one's own with its class; ``none`` reads the codes of the sensor."""
    points: tuple[RatePoint, ...]
    """By rate."""
    falls: tuple[tuple[float, float], ...]
    """Between which rates the accuracy falls, so that it was pooled."""


@final
@dataclass(frozen=True)
class RateDifference:
    """How far a family is from another."""

    family: str
    anchor: str
    rate: float
    """Bits that the family needs beyond the anchor at equal accuracy, percent: -50 is half.
    nan where there is none."""
    rate_interval: Interval | None
    """Over seeds and lesions."""
    rate_known: float | None
    """Share of the draws in which it exists."""
    rate_reason: str | None
    """Why there is none, or no interval."""
    accuracy: float
    """What the family has beyond the anchor at equal rate; nan where there is none."""
    accuracy_interval: Interval | None
    """Over seeds and lesions."""
    accuracy_known: float | None
    """Share of the draws in which it exists."""
    accuracy_reason: str | None
    """Why there is none, or no interval."""

    @property
    def verdict(self) -> str:
        """``fewer bits``, ``more bits`` or ``not shown``: of the interval at equal accuracy."""
        interval = self.rate_interval
        if interval is None or interval.low <= 0 <= interval.high:
            return "not shown"
        return "fewer bits" if interval.high < 0 else "more bits"


@final
@dataclass(frozen=True)
class RateAccuracy:
    """Rate-accuracy curves of a study."""

    metric: str
    unit: str
    """What the intervals are over."""
    families: tuple[RateFamily, ...]
    anchor: str | None
    differences: tuple[RateDifference, ...]
    """Of every other family of at least two points from the anchor, or from the family of its
    codec that is alike in everything else."""

    def __str__(self) -> str:
        lines = [f"{self.metric} against bits of a picture, over {self.unit}; exploration"]
        for family in self.families:
            lines.append(f"  {family.name}")
            for point in family.points:
                interval = "" if point.interval is None else _pair(point.interval, ".4f")
                lines.append(f"    {point.rate:.6g} bits: {point.accuracy:.4f}{interval}")
        for each in self.differences:
            bits = _told(each.rate, each.rate_interval, each.rate_reason, "+.1f", " % bits")
            better = _told(each.accuracy, each.accuracy_interval, each.accuracy_reason, "+.4f", "")
            lines.append(f"  {each.family} against {each.anchor}: {bits}; {self.metric} {better}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return plain(asdict(self))


def _pair(interval: Interval, form: str) -> str:
    return f" [{interval.low:{form}}, {interval.high:{form}}]"


def _told(value: float, interval: Interval | None, reason: str | None, form: str, unit: str) -> str:
    if math.isnan(value):
        return f"none ({reason})"
    shown = f"{value:{form}}{unit}"
    return f"{shown} (no interval: {reason})" if interval is None else shown + _pair(interval, form)


def rate_accuracy(
    ledger: Ledger,
    *,
    metric: str | None = None,
    anchor: str | None = None,
    along: Sequence[str] | None = None,
    minimum_overlap: float = 0.3,
    resamples: int | None = None,
) -> RateAccuracy:
    """Curves of accuracy against bits, and how far each is from one of them.

    Parameters
    ----------
    ledger : Ledger
        The study, finished or not.
    metric : str, optional
        One that grows with quality; that of the plan by default.
    anchor : str, optional
        Name of the family that the others are compared with; by default the first of JPEG, WebP,
        or the first of all.
    along : sequence of str, optional
        Axes along which the rate changes; by default those that set fields of the codec or the
        objective alone. Codecs of another kind are another family in any case.
    minimum_overlap : float
        As in :func:`compress.bd_rate`; lower than there, as curves of accuracy are short.
    resamples : int, optional
        Draws; those of the plan by default.

    Raises
    ------
    ValueError
        For a metric of which less is better, an axis or an anchor that is not there, no draws, or
        an overlap that is no share.
    """
    _check_overlap(minimum_overlap)
    plan = ledger.study.plan
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
    return RateAccuracy(metric, draws.unit, families, name, tuple(differences))


def _alike(
    families: Sequence[RateFamily], family: RateFamily, chosen: RateFamily
) -> RateFamily | None:
    """Another curve of the anchor's codec at the levels of a family, or else the anchor itself."""
    for other in families:
        if other is not family and other.codec == chosen.codec and other.levels == family.levels:
            return other
    return chosen


def _of_rate(path: str) -> bool:
    return any(path == root or path.startswith(f"{root}.") for root in _OF_RATE)


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
    """Bits of a picture of each design of the draws."""

    means: Array
    """``[D]``; nan where nothing rounds."""
    drawn: Array
    """``[R, D]``, on the seeds that were drawn for the accuracy."""

    @classmethod
    def of(cls, table: Sequence[Row], draws: Draws) -> "_Rates":
        values = np.full(draws.values.shape, math.nan)
        for row in table:
            bits = row.numbers.get("bits")
            if bits is not None and row.design in draws.designs:
                values[draws.place(row.design), draws.seeds.index(row.seed)] = bits
        return cls(*draws.along(values))

    def interval(self, place: int, level: float) -> Interval | None:
        """Percentiles over the seeds drawn."""
        if len(self.drawn) == 0:
            return None
        return percentile_interval(self.drawn[:, place], level)


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
        words = [kinds[numbers[0]], *(f"{name}={value}" for name, value in levels.items())]
        points = sorted(
            (_point(number, draws, rates, level) for number in numbers), key=lambda p: p.rate
        )
        found.append(
            RateFamily(
                ", ".join(words), levels, kinds[numbers[0]], tuple(points), tuple(_falls(points))
            )
        )
    return found


def _kind(codec: CodecConfig) -> str:
    """What tells a codec from others on a curve: all of one's own are of one kind."""
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


def _falls(points: Sequence[RatePoint]) -> list[tuple[float, float]]:
    return [
        (one.rate, other.rate)
        for one, other in itertools.pairwise(points)
        if other.accuracy < one.accuracy
    ]


def _difference(
    family: RateFamily,
    anchor: RateFamily,
    draws: Draws,
    rates: _Rates,
    minimum_overlap: float,
    level: float,
) -> RateDifference:
    ours, theirs = (
        [draws.place(point.design) for point in each.points] for each in (family, anchor)
    )

    def told(kind: str) -> tuple[float, Interval | None, float | None, str | None]:
        def of(rate: Array, accuracy: Array) -> tuple[float, str | None]:
            return rate_difference(
                (rate[theirs], accuracy[theirs]),
                (rate[ours], accuracy[ours]),
                at=kind,
                minimum_overlap=minimum_overlap,
            )

        value, reason = of(rates.means, draws.means)
        if math.isnan(value) or len(draws.drawn) == 0:
            few = "one seed knows nothing of others" if reason is None else reason
            return value, None, None, few
        found = np.array([of(*each)[0] for each in zip(rates.drawn, draws.drawn, strict=True)])
        share = float(np.isfinite(found).mean())
        if share < _KNOWN:
            return value, None, share, f"it exists in {share:.0%} of the draws alone"
        return value, percentile_interval(found, level), share, None

    return RateDifference(family.name, anchor.name, *told("accuracy"), *told("rate"))


def rate_difference(
    anchor: tuple[npt.ArrayLike, npt.ArrayLike],
    test: tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    at: str = "accuracy",
    minimum_overlap: float = 0.3,
) -> tuple[float, str | None]:
    """Bjøntegaard difference of two curves whose accuracy may fall.

    Parameters
    ----------
    anchor, test : (array ``[n]``, array ``[n]``)
        Rates and accuracies, see :func:`pooled`.
    at : {"accuracy", "rate"}
        ``accuracy``: percent of the rate at equal accuracy, as :func:`compress.bd_rate`, where
        what was pooled is one point. ``rate``: accuracy at equal rate, as
        :func:`compress.bd_quality`.
    minimum_overlap : float
        As there.

    Returns
    -------
    float
        nan where there is none.
    str or None
        Then why.

    Raises
    ------
    ValueError
        For an ``at`` or a minimum overlap that is none, or rates without their accuracies.
    """
    if at not in ("accuracy", "rate"):
        raise ValueError(f"curves differ at equal 'accuracy' or at equal 'rate', not at {at!r}")
    _check_overlap(minimum_overlap)
    for name, curve in (("anchor", anchor), ("test", test)):
        rate, accuracy = (np.asarray(part, dtype=float) for part in curve)
        if rate.ndim != 1 or rate.shape != accuracy.shape:
            raise ValueError(
                f"the curve {name!r} needs as many rates as accuracies, each [n], not "
                f"{rate.shape} and {accuracy.shape}"
            )
        if not (np.isfinite(rate) & (rate > 0) & np.isfinite(accuracy)).all():
            return math.nan, f"the curve {name!r} has a point without a rate above 0 or an accuracy"
    delta = compress.bd_rate if at == "accuracy" else compress.bd_quality
    curves = [pooled(*curve, merge=at == "accuracy") for curve in (anchor, test)]
    try:
        (one, other), (rate, accuracy) = curves
        return delta(one, other, rate, accuracy, minimum_overlap=minimum_overlap), None
    except ValueError as error:
        return math.nan, str(error).rstrip(".")


def _check_overlap(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"minimum_overlap is a share from 0 to 1, not {share}")


def pooled(
    rate: npt.ArrayLike, accuracy: npt.ArrayLike, *, merge: bool = False
) -> tuple[Array, Array]:
    """The nearest curve that does not fall, by least squares (pool adjacent violators).

    Parameters
    ----------
    rate, accuracy : array ``[n]``
        In any order; points of one rate are one, of their mean accuracy.
    merge : bool
        Give points of one accuracy as one, at the geometric mean of their rates, so that the curve
        grows.

    Returns
    -------
    array, array ``[m]``
        Rates, increasing, and accuracies.
    """
    rates, places = np.unique(np.asarray(rate, dtype=float), return_inverse=True)
    sums = np.bincount(places, np.asarray(accuracy, dtype=float))
    blocks: list[tuple[float, float, list[float]]] = []  # sum, weight, rates
    for x, total, weight in zip(rates, sums, np.bincount(places), strict=True):
        blocks.append((float(total), float(weight), [float(x)]))
        while len(blocks) > 1 and (blocks[-1][0] / blocks[-1][1] <= blocks[-2][0] / blocks[-2][1]):
            last, before = blocks.pop(), blocks.pop()
            blocks.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
    if merge:
        middle = [math.exp(float(np.mean(np.log(xs)))) for _, _, xs in blocks]
        return np.array(middle), np.array([total / weight for total, weight, _ in blocks])
    level = [total / weight for total, weight, xs in blocks for _ in xs]
    return rates, np.array(level)
