"""Difference of two curves of accuracy against rate, with its interval.

::

    rates, accuracies ──isotonic──► bd_rate, bd_quality ─┐
    draws of both ─────────┴──────► the same of each ────┴─ judge ──► intervals, p

An accuracy that was measured on few pictures often falls from one rate to the next, and
:func:`compress.bd_rate` refuses such a curve. Here falling neighbours are pooled and reported
(isotonic regression, Barlow et al., 1972: the most likely curve that does not fall). If the pooled
curve is too short for a rate at equal accuracy, the result is nan, with the reason. Curves of PSNR
or another fidelity are compared in the same way.
"""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

import compress
from classify import Interval
from compress.curve import LEAST_POINTS

__all__ = [
    "MINIMUM_OVERLAP",
    "DrawnCurve",
    "RateDifference",
    "check_overlap",
    "curve_difference",
    "falls",
    "pooled",
    "rate_difference",
    "told_difference",
    "told_setting",
]

Array = npt.NDArray[Any]

Judge = Callable[[float, Array], tuple[Interval, float]]
"""Function from a difference and its resamples ``[R]``, nan where it does not exist, to its
interval and the two-sided p of no difference."""


MINIMUM_OVERLAP = 0.3
"""Share of the narrower curve's range that both curves must cover. It is less than the 0.5 of
:func:`compress.bd_rate`, because curves of accuracy are short, and codecs at their usual settings
cover different ranges of quality."""


@final
@dataclass(frozen=True)
class RateDifference:
    """Difference of a curve from another, in bits and in accuracy (or another metric)."""

    family: str
    """Name of the curve."""
    anchor: str
    """Name of the reference curve."""
    rate: float
    """Excess of bits over the anchor at equal accuracy, percent: -50 means half. nan if there is
    none."""
    rate_interval: Interval | None
    """Interval of ``rate`` over lesions or pictures; in a study also over seeds."""
    rate_known: float | None
    """Share of the resamples in which ``rate`` exists."""
    rate_reason: str | None
    """Reason for a missing rate or interval."""
    rate_p: float | None
    """Two-sided p of equal bits at equal accuracy; adjusted for the number of comparisons only in a
    study. None without an interval."""
    accuracy: float
    """Excess of accuracy over the anchor at equal rate; nan if there is none."""
    accuracy_interval: Interval | None
    """Interval of ``accuracy`` over lesions or pictures; in a study also over seeds."""
    accuracy_known: float | None
    """Share of the resamples in which ``accuracy`` exists."""
    accuracy_reason: str | None
    """Reason for a missing accuracy or interval."""
    verdict: str
    """``fewer bits``, ``more bits`` or ``not shown``, for the bits at equal accuracy."""


class DrawnCurve(NamedTuple):
    """A curve, and its resamples over lesions, pictures or seeds."""

    name: str
    rate: Array
    """``[n]``."""
    accuracy: Array
    """``[n]``; infinite for a lossless point, which is left out of the difference, in the curve and
    in each resample."""
    drawn_rate: Array
    """``[R, n]``; without resamples there are no intervals."""
    drawn_accuracy: Array
    """``[R, n]``."""


def curve_difference(
    curve: DrawnCurve,
    anchor: DrawnCurve,
    *,
    minimum_overlap: float,
    level: float,
    judge: Judge,
    metric: str = "accuracy",
    counted: int | None = None,
    undrawn: str = "nothing was drawn",
    few: str | None = None,
) -> RateDifference:
    """Difference of a ``curve`` from an ``anchor``, at equal accuracy and at equal rate.

    ``judge`` makes the intervals of ``level``; it gets the bits as logarithms of their ratio. There
    is no interval if the difference is missing in a share of the resamples above ``(1 - level) /
    2``, or if an end that ``judge`` finds is not finite: in those where it exists, the curves are
    too close to each other. A ``judge`` that counts what is missing beyond both ends, as
    ``classify.intervals.typical_interval``, needs fewer of R missing than the whole number of
    ``(R + 1) (1 - level) / 2``: at most 24 of 1000 at 95 %. ``counted`` is the
    number of resamples, from the first, that count for this, if others follow that vary only in
    part. ``undrawn`` is the reason for missing resamples. ``few``, such as "5 pictures are", names
    what is too few if all resamples give no interval; by default the resamples. ``metric`` is the
    name of the accuracy.
    """

    def told(
        kind: str,
    ) -> tuple[float, Interval | None, float | None, str | None, float | None]:
        def of(*both: tuple[Array, Array]) -> tuple[float, str | None]:
            lossy = [~np.isposinf(accuracy) for _, accuracy in both]
            ours, theirs = (
                (rate[kept], accuracy[kept])
                for (rate, accuracy), kept in zip(both, lossy, strict=True)
            )
            value, reason = rate_difference(
                theirs,
                ours,
                at=kind,
                minimum_overlap=minimum_overlap,
                names=(anchor.name, curve.name),
                metric=metric,
            )
            if reason is not None and not all(map(np.all, lossy)):
                reason += ", and what is lossless is left out"
            return value, reason

        value, reason = of((curve.rate, curve.accuracy), (anchor.rate, anchor.accuracy))
        if math.isnan(value) or len(curve.drawn_rate) == 0:
            return value, None, None, undrawn if reason is None else reason, None
        pairs = (zip(*each[3:], strict=True) for each in (curve, anchor))
        found = np.array([of(*each)[0] for each in zip(*pairs, strict=True)])
        share = float(np.isfinite(found[:counted]).mean())
        alone = f"it exists in {share:.3g} of the draws alone"
        if 1 - share > (1 - level) / 2:
            return value, None, share, alone, None
        if kind == "accuracy":
            (low, high), p = judge(math.log1p(value / 100), np.log1p(found / 100))
            low, high = 100 * np.expm1([low, high])
        else:
            (low, high), p = judge(value, found)
        if not np.isfinite([low, high]).all():
            count = len(found[:counted])
            told = few or ("1 draw is" if count == 1 else f"{count} draws are")
            why = f"{told} too few for it" if share == 1 else alone
            return value, None, share, why, None
        return value, Interval(float(low), float(high)), share, None, p

    bits, better = told("accuracy"), told("rate")
    rate, interval, *_ = bits
    shown = interval is not None and not interval.low <= 0 <= interval.high
    verdict = ("fewer bits" if rate < 0 else "more bits") if shown else "not shown"
    return RateDifference(curve.name, anchor.name, *bits, *better[:-1], verdict)


def rate_difference(
    anchor: tuple[npt.ArrayLike, npt.ArrayLike],
    test: tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    at: str = "accuracy",
    minimum_overlap: float = MINIMUM_OVERLAP,
    names: tuple[str, str] = ("anchor", "test"),
    metric: str = "accuracy",
) -> tuple[float, str | None]:
    """Bjøntegaard difference of two curves whose accuracy may fall.

    Parameters
    ----------
    anchor, test : (array ``[n]``, array ``[n]``)
        Rates and accuracies, see :func:`pooled`.
    at : {"accuracy", "rate"}
        ``accuracy``: difference of the rate at equal accuracy in percent, as
        :func:`compress.bd_rate`, with pooled points as one. ``rate``: difference of the accuracy at
        equal rate, as :func:`compress.bd_quality`.
    minimum_overlap : float
        As in these functions, with a smaller default.
    names : (str, str)
        Names of the two curves, for the reason.
    metric : str
        Name of the accuracy, for the reason.

    Returns
    -------
    float
        The difference; nan if there is none.
    str or None
        The reason for nan.

    Raises
    ------
    ValueError
        For an invalid ``at`` or minimum overlap, or different numbers of rates and accuracies.
    """
    if at not in ("accuracy", "rate"):
        raise ValueError(f"curves differ at equal 'accuracy' or at equal 'rate', not at {at!r}")
    check_overlap(minimum_overlap)
    for name, curve in zip(names, (anchor, test), strict=True):
        rate, accuracy = (np.asarray(part, dtype=float) for part in curve)
        if rate.ndim != 1 or rate.shape != accuracy.shape:
            raise ValueError(
                f"the curve {name!r} needs as many rates as accuracies, each [n], not "
                f"{rate.shape} and {accuracy.shape}"
            )
        if not (np.isfinite(rate) & (rate > 0) & np.isfinite(accuracy)).all():
            return math.nan, f"the curve {name!r} has a point without a rate above 0 or {metric}"
    left = [pooled(*curve, merge=at == "accuracy") for curve in (anchor, test)]
    for name, given, (rate, _) in zip(names, (anchor, test), left, strict=True):
        count = len(np.asarray(given[0]))
        if len(rate) < min(count, LEAST_POINTS):
            return math.nan, (
                f"the curve {name!r} has {len(rate)} of its {count} points after pooling where "
                f"{metric} does not grow with the rate; at least {LEAST_POINTS} are needed"
            )
    first, second = (
        compress.RateCurve(name, *map(tuple, curve))
        for name, curve in zip(names, left, strict=True)
    )
    try:
        delta = second.bd_rate if at == "accuracy" else second.bd_quality
        return delta(first, minimum_overlap=minimum_overlap), None
    except ValueError as error:
        return math.nan, str(error).rstrip(".")


def pooled(
    rate: npt.ArrayLike, accuracy: npt.ArrayLike, *, merge: bool = False
) -> tuple[Array, Array]:
    """The nearest non-decreasing curve, by least squares (pool adjacent violators).

    Parameters
    ----------
    rate, accuracy : array ``[n]``
        In any order; points with equal rates become one, with their mean accuracy.
    merge : bool
        Merge points with equal accuracies into one at the geometric mean of their rates, so that
        the curve increases strictly.

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


def falls(rates: Sequence[float], accuracies: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Pairs of neighbouring rates between which the accuracy falls."""
    pairs = itertools.pairwise(zip(rates, accuracies, strict=True))
    return tuple((low, high) for (low, before), (high, after) in pairs if after < before)


def check_overlap(share: float) -> None:
    """Raise a ValueError for a share outside 0..1."""
    if not 0 <= share <= 1:
        raise ValueError(f"minimum_overlap is a share from 0 to 1, not {share}")


def told_setting(setting: str, value: object) -> str:
    """A setting and its value as text, as ``--codec`` takes it; empty without a setting."""
    if value is None or isinstance(value, bool):
        value = json.dumps(value)
    shown = f"{value:g}" if isinstance(value, float) else value
    return f"{setting}={shown}" if setting else ""


def told_difference(each: RateDifference, metric: str) -> str:
    """A difference as a line of text; ``metric`` is the name of the accuracy."""
    bits = _told(each.rate, each.rate_interval, each.rate_reason, "+z.1f", " % bits")
    better = _told(each.accuracy, each.accuracy_interval, each.accuracy_reason, "+z.4f", "")
    shown = "" if each.rate_p is None else f", {each.verdict}, p = {each.rate_p:.3g}"
    return f"{each.family} against {each.anchor}: {bits}{shown}; {metric} {better}"


def _told(value: float, interval: Interval | None, reason: str | None, form: str, unit: str) -> str:
    if math.isnan(value):
        return f"none ({reason})"
    shown = f"{value:{form}}{unit}"
    if interval is None:
        return f"{shown} (no interval: {reason})"
    return f"{shown} {interval:{form}}"
