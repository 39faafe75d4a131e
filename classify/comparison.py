"""Is one system better than another on the same pictures? Three paired answers.

::

    first [N, K] ──┐               ┌─ bootstrap_difference ─► how much better, an interval and its p
    second [N, K] ─┼─ same rows ───┼─ permutation_test ─────► could chance have dealt it, by lesion
    labels [N] ────┘               └─ mcnemar ──────────────► the same of right and wrong, exactly

All three pair the systems picture by picture: what is hard for both does not count as noise. Of
accuracy, balanced accuracy and the other sums over pictures, the first two give one p. Where many
differences are looked at, :func:`holm` adjusts their p.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .intervals import (
    Interval,
    check_resampling,
    check_units,
    halves,
    membership,
    source,
    typical_interval,
    typical_p,
    unit_of,
)
from .judged import Judged
from .metric_names import Metric, check_metric, range_of
from .scores import Kind, as_array, as_logits, as_scores

__all__ = [
    "Difference",
    "McNemar",
    "Permutation",
    "bootstrap_difference",
    "holm",
    "mcnemar",
    "permutation_test",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """Difference of a metric between two systems, first minus second."""

    metric: str
    first: float
    second: float
    difference: float
    """First minus second."""
    interval: Interval
    """All that is possible where there are too few lesions for the level: fewer than 6 at 0.95, in
    all or of a class that the metric needs (6 in both, of the AUC or MCC of two classes)."""
    level: float
    p: float
    """Two-sided; at most ``1 - level`` exactly where the interval leaves out 0.

    At least ``2 / 2**count``: so few lesions could agree by chance.
    """
    resamples: int
    """Halves of the lesions that were looked at: all there are, of few."""
    count: int
    """Lesions, or pictures, that were resampled."""
    unit: str
    """``lesions`` where groups were given, else ``pictures``."""
    undefined: int = 0
    """Halves in which the metric does not exist, such as the AUC of a single class. They tell
    nothing, and count as evidence for neither system."""

    def __str__(self) -> str:
        lacking = f", {self.undefined} of them without a number" if self.undefined else ""
        return (
            f"{self.metric} {self.first:.3f} against {self.second:.3f}: difference "
            f"{self.difference:+.3f}, {100 * self.level:g} % interval {self.interval:+.3f}, "
            f"p = {self.p:.3g} ({self.resamples} resamples of {self.count} {self.unit}{lacking})"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; an end that the interval does not have is None."""
        ends = [end if math.isfinite(end) else None for end in self.interval]
        return asdict(self) | {"interval": ends}


@dataclass(frozen=True)
class McNemar:
    """Pictures that one system gets right and the other wrong."""

    only_first: int
    """Right by the first system alone."""
    only_second: int
    """Right by the second system alone."""
    p: float
    """Two-sided, exact."""

    def __str__(self) -> str:
        return (
            f"right by the first alone {self.only_first}, by the second alone {self.only_second}: "
            f"exact McNemar p = {self.p:.3g} (pictures taken as independent)"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class Permutation:
    """How often a difference as large arises when the systems are swapped by chance."""

    metric: str
    difference: float
    """First minus second."""
    p: float
    """Two-sided, at least ``1 / (resamples + 1)``; exact where all swaps were looked at.

    A swap after which the metric does not exist counts as a difference as large.
    """
    resamples: int
    count: int
    """Lesions, or pictures, in which the systems were swapped."""
    unit: str
    """``lesions`` where groups were given, else ``pictures``."""

    def __str__(self) -> str:
        return (
            f"{self.metric} differs by {self.difference:+.3f}: permutation p = {self.p:.3g} "
            f"({self.resamples} swaps within {self.count} {self.unit})"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def bootstrap_difference(
    first: Array,
    second: Array,
    *,
    labels: Array,
    metric: Metric = "balanced_accuracy",
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    kind: Kind = "logits",
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Difference:
    """Difference of a metric, first minus second, with an interval and the p that goes with it.

    Each resample holds a random half of the lesions, the same for both systems: each counts twice
    or not at all. The interval lies between two of the differences on such halves (Hartigan, J.
    Am. Stat. Assoc. 64:1303, 1969). Of a metric that is a sum over the pictures (accuracy, balanced
    accuracy, the recall or specificity of a class, NLL, Brier score), in which the whole has fixed
    shares, it holds exactly those differences that the test by :func:`permutation_test` does not
    refuse, and p is that of the test: where a class has few lesions, draws with replacement agree
    too often and call equal systems different. Of other metrics it is the interval of the metric on
    such halves. Where one needs both of two classes (AUC and MCC, say), the halves that lack one
    tell nothing, ``2**-n + 2**-m`` of them with n and m lesions: more than 2.5 %, as with five in
    one class or six in both, are too many for any 95 % interval (with six and seven, ask for all
    ``resamples=8191``: of those drawn there may be too many); of the recall of a class of five
    there are too few halves. These differences can be told by balanced accuracy or macro F1. The
    ECE of half the lesions is larger than that of all, for both alike, which hides a difference:
    :func:`permutation_test` finds more, and the Brier score is a sum.

    Parameters
    ----------
    first, second : array ``[N, K]``
        Scores of the two systems for the same pictures, in the same order.
    labels : array of int ``[N]``
        True classes.
    metric : str or callable
        One of :data:`classify.metric_names.METRICS`, or a number of one class such as
        ``recall.mel`` (:data:`classify.metric_names.CLASS_METRICS`), which are quick; or a function
        of logits ``[M, K]`` and labels ``[M]``, which is called for each resample.
    classes : sequence of str, optional
        Names of the K classes, in the order of the scores; by default their numbers.
    groups : sequence of str, length N, optional
        Lesion of each picture: whole lesions are drawn.
    kind : {"logits", "probabilities"}
        What the scores are, as in :func:`report`.
    resamples : int
        Halves drawn; of so few lesions that there are no more, each is looked at once.
    level : float
        Confidence level in (0, 1).
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Returns
    -------
    Difference

    Raises
    ------
    ValueError
        When shapes, labels, scores or groups do not fit, there are fewer than two lesions, the
        metric is unknown, or it does not exist on these labels.
    """
    check_resampling(resamples, level)
    check_metric(metric)
    one, other, member = _pair(first, second, labels, groups, kind, metric, classes)
    check_units(member, groups)
    once = np.ones((1, len(member)))
    values = [float(_values(metric, judged, once)[0]) for judged in (one, other)]
    _check_exists(metric, values)
    chunks = halves(member, resamples, source(generator))
    draws = np.concatenate([_on_halves(metric, one, other, half) for half in chunks])
    # What is nothing but for rounding is on neither side; nor is an end beyond the whole by it.
    slack = 1e-12 * max(1.0, *map(abs, values))
    draws[np.abs(draws) <= slack] = 0
    least, largest = range_of(metric) if isinstance(metric, str) else (-math.inf, math.inf)
    farthest = largest - least
    low, high = typical_interval(draws, level)
    difference = values[0] - values[1]
    low, high = (difference if abs(end - difference) <= slack else end for end in (low, high))
    return Difference(
        metric=_name(metric),
        first=values[0],
        second=values[1],
        difference=difference,
        interval=Interval(max(low, -farthest), min(high, farthest)),
        level=level,
        p=typical_p(draws),
        resamples=len(draws),
        count=int(member.max()) + 1,
        unit=unit_of(groups),
        undefined=int(np.isnan(draws).sum()),
    )


def _on_halves(metric: Metric, one: Judged, other: Judged, halves: Array) -> Array:
    """Difference of a metric on halves of the rows ``[r, N]``."""
    ours, theirs = (
        judged.parts(metric) if isinstance(metric, str) else None for judged in (one, other)
    )
    if ours is None or theirs is None:
        return _values(metric, one, halves, drawn=True) - _values(metric, other, halves, drawn=True)
    (share, value), (share_of_other, value_of_other) = ours, theirs
    weight = (share + share_of_other) / 2
    differences = halves @ (share * value - share_of_other * value_of_other)
    return differences * weight.sum() / (halves @ weight)


def mcnemar(first: Array, second: Array, *, labels: Array) -> McNemar:
    """Exact test of McNemar (1947) that both systems err equally often where they disagree.

    Pictures count as independent, which those of one lesion are not: see
    :func:`permutation_test` for that.

    Parameters
    ----------
    first, second : array ``[N, K]``
        Scores of the two systems for the same pictures, in the same order; logits or
        probabilities, as only the largest of a row matters.
    labels : array of int ``[N]``
        True classes.

    Returns
    -------
    McNemar
        ``p`` is 1 where the systems never disagree in being right.

    Raises
    ------
    ValueError
        When shapes, labels or scores do not fit.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - slow to load

    one, other, _ = _pair(first, second, labels, None, None)
    right, also = (judged.guesses == judged.labels for judged in (one, other))
    only_first, only_second = int((right & ~also).sum()), int((also & ~right).sum())
    disagree = only_first + only_second
    p = float(binomtest(only_first, disagree, 0.5).pvalue) if disagree else 1.0
    return McNemar(only_first, only_second, p)


def permutation_test(
    first: Array,
    second: Array,
    *,
    labels: Array,
    metric: Metric = "balanced_accuracy",
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    kind: Kind = "logits",
    resamples: int = 9999,
    generator: torch.Generator | None = None,
) -> Permutation:
    """Swap the systems within lesions by chance and see how often they differ as much.

    Were the systems alike, it would not matter which of them judged a lesion. For accuracy the
    swap of a lesion flips the sign of its part of the difference. The p-value counts the dealing
    that was observed (Phipson and Smyth, 2010); of few lesions, all dealings are looked at.

    Parameters
    ----------
    first, second : array ``[N, K]``
        Scores of the two systems for the same pictures, in the same order.
    labels : array of int ``[N]``
        True classes.
    metric : str or callable
        As in :func:`bootstrap_difference`. A metric of ranks or calibration mixes the scores of
        both systems: it asks that they be on one scale.
    classes : sequence of str, optional
        As in :func:`bootstrap_difference`.
    groups : sequence of str, length N, optional
        Lesion of each picture: its pictures are swapped together.
    kind : {"logits", "probabilities"}
        What the scores are, as in :func:`report`.
    resamples : int
        Swaps drawn; of so few lesions that there are no more, each is looked at once.
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Returns
    -------
    Permutation

    Raises
    ------
    ValueError
        As :func:`bootstrap_difference`, but for a single lesion, whose p is 1.
    """
    check_resampling(resamples)
    check_metric(metric)
    one, other, member = _pair(first, second, labels, groups, kind, metric, classes)
    # Both systems in one stack: a swap is then a choice of rows, that is, a weighting.
    stacked = Judged(
        np.concatenate([one.logits, other.logits]),
        np.concatenate([one.labels, other.labels]),
        classes=one.classes,
    )

    def difference(swap: Array) -> Array:
        kept = 1 - swap
        return _values(metric, stacked, np.concatenate([kept, swap], 1)) - _values(
            metric, stacked, np.concatenate([swap, kept], 1)
        )

    observed = float(difference(np.zeros((1, len(member))))[0])
    _check_exists(metric, [observed])
    draws = np.concatenate(
        [difference(swap) for swap in halves(member, resamples, source(generator))]
    )
    # Sums of the same terms in another order differ in the last bits. A draw without a number
    # does not show that chance gives less.
    slack = 1e-12 * max(1.0, abs(observed))
    as_large = int((~(np.abs(draws) < abs(observed) - slack)).sum())
    return Permutation(
        metric=_name(metric),
        difference=observed,
        p=(1 + as_large) / (1 + len(draws)),
        resamples=len(draws),
        count=int(member.max()) + 1,
        unit=unit_of(groups),
    )


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """p-``values`` adjusted so that no false claim is made among all, but in alpha of the cases.

    Holm, Scandinavian Journal of Statistics 6 (1979) 65: the smallest is multiplied by their
    number, the next by one less, and none falls below the one before.

    Raises
    ------
    ValueError
        When one is no number from 0 to 1, such as the nan of a test that could not be made.
    """
    for value in values:
        if not 0 <= value <= 1:
            raise ValueError(f"a p-value is a number from 0 to 1, not {value}: leave it out")
    order = np.argsort(values, kind="stable")
    steps = np.arange(len(values), 0, -1) * np.asarray(values, dtype=float)[order]
    found = np.empty(len(values))
    found[order] = np.minimum(1, np.maximum.accumulate(steps))
    return tuple(found.tolist())


def _pair(
    first: Array,
    second: Array,
    labels: Array,
    groups: Sequence[str] | None,
    kind: Kind | None,
    metric: Metric = "accuracy",
    classes: Sequence[str] | None = None,
) -> tuple[Judged, Judged, Array]:
    """Both systems and the lesion of each picture; no kind takes scores as they come.

    Of a recall or specificity those pictures alone that it is of: were lesions of other classes
    drawn too, how often a draw lacks the class would be chance.
    """
    first, second, labels = as_array(first), as_array(second), as_array(labels)
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"both systems must score the same pictures and classes [N, K], not {first.shape} "
            f"and {second.shape}"
        )
    one, other = (
        Judged(
            as_scores(scores) if kind is None else as_logits(scores, kind, stacklevel=6),
            labels,
            classes=first.shape[1] if classes is None else classes,
        )
        for scores in (first, second)
    )
    member = membership(groups, len(labels))
    rows = one.evidence(metric)
    if rows.all() or not rows.any():  # without any it does not exist, which is said elsewhere
        return one, other, member
    one, other = (
        Judged(judged.logits[rows], judged.labels[rows], classes=judged.classes)
        for judged in (one, other)
    )
    return one, other, np.unique(member[rows], return_inverse=True)[1]


def _values(metric: Metric, judged: Judged, weights: Array, *, drawn: bool = False) -> Array:
    if isinstance(metric, str):
        return judged.measure(weights, [metric], drawn=drawn)[metric]
    rows = np.arange(len(judged.labels))
    picks = [np.repeat(rows, times) for times in weights.astype(np.int64)]
    return np.array([metric(judged.logits[i], judged.labels[i]) for i in picks], dtype=float)


def _name(metric: Metric) -> str:
    return metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")


def _check_exists(metric: Metric, values: Sequence[float]) -> None:
    if not np.isfinite(values).all():
        raise ValueError(
            f"{_name(metric)} is not a finite number on these scores and labels; compare a metric "
            "that exists, such as 'accuracy', or give pictures of more classes"
        )
