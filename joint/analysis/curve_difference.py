"""How far two curves of accuracy against rate are apart, and how sure that is.

::

    rates, accuracies ──isotonic──► bd_rate, bd_quality ─┐
    draws of both ─────────┴──────► the same of each ────┴─ judge ──► intervals, p

An accuracy that was measured on few pictures often falls from one rate to the next, and
:func:`compress.bd_rate` refuses such a curve. Here neighbours that fall are pooled (isotonic
regression, Barlow et al., 1972: the likeliest curve that does not fall), which is said; what
is left may be too short for a rate at equal accuracy, and then there is none, and why is said too.
Curves of PSNR or another fidelity are compared in the same way.
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
"""Interval and two-sided p of no difference, of a difference and its draws ``[R]``, of which those
that do not exist are nan."""


MINIMUM_OVERLAP = 0.3
"""Share of the narrower curve's range that two must have in common: less than the 0.5 of
:func:`compress.bd_rate`, as curves of accuracy are short, and those of codecs at their usual
settings begin and end at different qualities."""


@final
@dataclass(frozen=True)
class RateDifference:
    """How far a curve is from another, in bits and in accuracy, or whatever the curves are of."""

    family: str
    """Name of the curve."""
    anchor: str
    """Name of the other."""
    rate: float
    """Bits that the curve needs beyond the anchor at equal accuracy, percent: -50 is half.
    nan where there is none."""
    rate_interval: Interval | None
    """Over lesions or pictures; in a study over seeds, too."""
    rate_known: float | None
    """Share of the draws in which it exists."""
    rate_reason: str | None
    """Why there is none, or no interval."""
    rate_p: float | None
    """Two-sided, of equal bits at equal accuracy; in a study, and there alone, adjusted for all
    that are compared. None without an interval."""
    accuracy: float
    """What the curve has beyond the anchor at equal rate; nan where there is none."""
    accuracy_interval: Interval | None
    """Over lesions or pictures; in a study over seeds, too."""
    accuracy_known: float | None
    """Share of the draws in which it exists."""
    accuracy_reason: str | None
    """Why there is none, or no interval."""
    verdict: str
    """``fewer bits``, ``more bits`` or ``not shown``: of the bits at equal accuracy."""


class DrawnCurve(NamedTuple):
    """A curve as it is, and on other lesions, pictures or seeds."""

    name: str
    rate: Array
    """``[n]``."""
    accuracy: Array
    """``[n]``; infinite where a point is lossless, and is left out of the difference, of a draw as
    of the curve itself."""
    drawn_rate: Array
    """``[R, n]``; of no draws there are no intervals."""
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
    """How far a ``curve`` is from an ``anchor``, at equal accuracy and at equal rate.

    ``judge`` makes the intervals, of ``level``, and is given the bits as logarithms of their ratio.
    There is none where the difference does not exist in more draws than an interval leaves out on a
    side: among those in which it does, the curves are nearer to each other than they are. Of which
    draws, is ``counted``: the first so many where others, of a part of the luck alone, follow them.
    ``undrawn`` says why there are no draws, where there are none; ``few``, as "5 pictures are",
    what is too few where all draws make no interval, by default they. ``metric`` is what accuracy
    is called.
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
        ``accuracy``: percent of the rate at equal accuracy, as :func:`compress.bd_rate`, where
        what was pooled is one point. ``rate``: accuracy at equal rate, as
        :func:`compress.bd_quality`.
    minimum_overlap : float
        As there, with a smaller default.
    names : (str, str)
        What the two are called where there is no difference.
    metric : str
        What accuracy is called there.

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


def falls(rates: Sequence[float], accuracies: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Between which neighbours, by rate, the accuracy falls."""
    pairs = itertools.pairwise(zip(rates, accuracies, strict=True))
    return tuple((low, high) for (low, before), (high, after) in pairs if after < before)


def check_overlap(share: float) -> None:
    """Refuse, by a ValueError, what is no share of a range."""
    if not 0 <= share <= 1:
        raise ValueError(f"minimum_overlap is a share from 0 to 1, not {share}")


def told_setting(setting: str, value: object) -> str:
    """A point of a curve by its setting, as ``--codec`` takes it; empty of one that has none."""
    if value is None or isinstance(value, bool):
        value = json.dumps(value)
    shown = f"{value:g}" if isinstance(value, float) else value
    return f"{setting}={shown}" if setting else ""


def told_difference(each: RateDifference, metric: str) -> str:
    """A difference in a line of text, of accuracies that are called ``metric``."""
    bits = _told(each.rate, each.rate_interval, each.rate_reason, "+.1f", " % bits")
    better = _told(each.accuracy, each.accuracy_interval, each.accuracy_reason, "+.4f", "")
    shown = "" if each.rate_p is None else f", {each.verdict}, p = {each.rate_p:.3g}"
    return f"{each.family} against {each.anchor}: {bits}{shown}; {metric} {better}"


def _told(value: float, interval: Interval | None, reason: str | None, form: str, unit: str) -> str:
    if math.isnan(value):
        return f"none ({reason})"
    shown = f"{value:{form}}{unit}"
    if interval is None:
        return f"{shown} (no interval: {reason})"
    return f"{shown} {interval:{form}}"
