"""Rate against accuracy: how many bits a codec needs for an accuracy, and how sure that is.

::

    designs ──families──► curves: rate, accuracy of each setting ─┐
    draws [R, D] of both, seeds and lesions ──────────────────────┴─► analysis.curve_difference
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from classify import Interval
from classify.intervals import percentile_interval
from joint.analysis.curve_difference import (
    DrawnCurve,
    RateDifference,
    check_overlap,
    curve_difference,
    falls,
    shown_interval,
    told_difference,
)
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
    "RateFamily",
    "RatePoint",
    "rate_accuracy",
]

Array = npt.NDArray[Any]

_OF_RATE = ("system.codec", "objective.rate", "objective.rate_target", "objective.distortion")


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
                interval = shown_interval(point.interval, ".4f")
                lines.append(f"    {point.rate:.6g} bits: {point.accuracy:.4f}{interval}")
        lines += [f"  {told_difference(each, self.metric)}" for each in self.differences]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return plain(asdict(self))


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
    check_overlap(minimum_overlap)
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
        name, kind = ", ".join(words), kinds[numbers[0]]
        steps = falls([each.rate for each in points], [each.accuracy for each in points])
        found.append(RateFamily(name, levels, kind, tuple(points), steps))
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


def _difference(
    family: RateFamily,
    anchor: RateFamily,
    draws: Draws,
    rates: _Rates,
    minimum_overlap: float,
    level: float,
) -> RateDifference:
    def drawn(each: RateFamily) -> DrawnCurve:
        of = [draws.place(point.design) for point in each.points]
        return DrawnCurve(
            each.name, rates.means[of], draws.means[of], rates.drawn[:, of], draws.drawn[:, of]
        )

    return curve_difference(
        drawn(family),
        drawn(anchor),
        minimum_overlap=minimum_overlap,
        level=level,
        undrawn="one seed knows nothing of others",
    )
