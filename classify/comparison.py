"""Three paired tests of whether one system is better than another on the same pictures.

::

    first [N, K] ──┐               ┌─ bootstrap_difference ─► how much better, an interval and its p
    second [N, K] ─┼─ same rows ───┼─ permutation_test ─────► could chance have dealt it, by lesion
    labels [N] ────┘               └─ mcnemar ──────────────► the same of right and wrong, exactly

All three compare the systems picture by picture, so that pictures that are difficult for both do
not add noise. For accuracy, balanced accuracy and other sums over pictures, the first two give the
same p. If many differences are tested, :func:`holm` adjusts their p.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy import special

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
from .metric_names import Metric, check_metric, metric_name, range_of
from .scores import Array, Kind, as_array, as_logits, as_scores, plain

__all__ = [
    "Difference",
    "McNemar",
    "Permutation",
    "bootstrap_difference",
    "holm",
    "mcnemar",
    "permutation_test",
]


@dataclass(frozen=True)
class Difference:
    """Difference of a metric between two systems, first minus second."""

    metric: str
    first: float
    second: float
    difference: float
    """First minus second."""
    interval: Interval
    """Confidence interval of the difference. It covers the full possible range if there are too few
    lesions for the level: fewer than 6 at 0.95, in total or of a class that the metric needs (6 in
    both, for the AUC or MCC of two classes)."""
    level: float
    p: float
    """Two-sided p-value; it is at most ``1 - level`` exactly if the interval excludes 0.

    It is at least ``2 / 2**count``, since so few lesions could agree by chance.
    """
    resamples: int
    """Number of random halves of the lesions; all possible halves if there are few."""
    count: int
    """Number of lesions, or pictures, that were resampled."""
    unit: str
    """``lesions`` if groups were given, else ``pictures``."""
    undefined: int = 0
    """Number of halves in which the metric is undefined, such as the AUC of a single class. They
    count as evidence for neither system."""

    def __str__(self) -> str:
        lacking = f", {self.undefined} of them without a value" if self.undefined else ""
        return (
            f"{self.metric} {self.first:.3f} against {self.second:.3f}: difference "
            f"{self.difference:+.3f}, {100 * self.level:g} % interval {self.interval:+.3f}, "
            f"p = {self.p:.3g} ({self.resamples} resamples of {self.count} {self.unit}{lacking})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types; an infinite end of the interval becomes None."""
        return plain(asdict(self))


@dataclass(frozen=True)
class McNemar:
    """Numbers of pictures that one system classifies correctly and the other does not."""

    only_first: int
    """Correct only by the first system."""
    only_second: int
    """Correct only by the second system."""
    p: float
    """Two-sided exact p-value."""

    def __str__(self) -> str:
        return (
            f"correct only by the first {self.only_first}, only by the second {self.only_second}: "
            f"exact McNemar p = {self.p:.3g} (pictures taken as independent)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Permutation:
    """Result of :func:`permutation_test`: how often random swaps give a difference as large."""

    metric: str
    difference: float
    """First minus second."""
    p: float
    """Two-sided p-value, at least ``1 / (resamples + 1)``; exact if all swaps were tried.

    A swap after which the metric is undefined counts as a difference as large.
    """
    resamples: int
    count: int
    """Number of lesions, or pictures, within which the systems were swapped."""
    unit: str
    """``lesions`` if groups were given, else ``pictures``."""

    def __str__(self) -> str:
        return (
            f"{self.metric} differs by {self.difference:+.3f}: permutation p = {self.p:.3g} "
            f"({self.resamples} swaps within {self.count} {self.unit})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
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
    """Return the difference of a metric, first minus second, with an interval and its p-value.

    Each resample is a random half of the lesions, the same for both systems. The ends of the
    interval are two of the differences on such halves (Hartigan, J. Am. Stat. Assoc. 64:1303,
    1969).

    For a metric that is a sum over the pictures (accuracy, balanced accuracy, the recall or
    specificity of a class, NLL, Brier score), with the class shares of the whole set, the interval
    contains exactly the differences that :func:`permutation_test` does not reject, and p is that of
    the test. Draws with replacement are not used: where a class has few lesions they agree too
    often and declare equal systems different. For other metrics, it is the interval of the metric
    on such halves.

    If a metric needs both of two classes (such as AUC and MCC), halves that lack one are undefined:
    a share of ``2**-n + 2**-m`` with n and m lesions. More than 2.5 %, as with five lesions in one
    class or six in both, is too many for any 95 % interval. With six and seven, use all halves,
    ``resamples=8191``, because random ones may include too many. For the recall of a class of five
    lesions there are too few halves. Balanced accuracy or macro F1 can show such differences. The
    ECE of half the lesions is larger than that of all, for both systems, which hides a difference:
    :func:`permutation_test` is more sensitive, and the Brier score is a sum.

    Parameters
    ----------
    first, second : array ``[N, K]``
        Scores of the two systems for the same pictures, in the same order.
    labels : array of int ``[N]``
        True classes.
    metric : str or callable
        One of :data:`classify.metric_names.METRICS`, or a metric of one class such as
        ``recall.mel`` (:data:`classify.metric_names.CLASS_METRICS`), which are fast; or a function
        of logits ``[M, K]`` and labels ``[M]``, which is called for each resample.
    classes : sequence of str, optional
        Names of the K classes, in the order of the scores; by default their numbers.
    groups : sequence of str, length N, optional
        Lesion of each picture; whole lesions are drawn.
    kind : {"logits", "probabilities"}
        Type of the scores, as in :func:`report`.
    resamples : int
        Number of random halves. If no more than these exist, each is used once.
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
        metric is unknown, or it is undefined on these labels.
    """
    check_resampling(resamples, level)
    check_metric(metric)
    one, other, member = _pair(first, second, labels, groups, kind, metric, classes)
    check_units(member, groups)
    values = [float(judged.value(metric)[0]) for judged in (one, other)]
    _check_exists(metric, values)
    chunks = halves(member, resamples, source(generator))
    draws = np.concatenate([_on_halves(metric, one, other, half) for half in chunks])
    # A difference that is 0 up to rounding is on neither side, and rounding moves no end past the
    # difference itself.
    slack = 1e-12 * max(1.0, *map(abs, values))
    draws[np.abs(draws) <= slack] = 0
    least, largest = range_of(metric) if isinstance(metric, str) else (-math.inf, math.inf)
    farthest = largest - least
    low, high = typical_interval(draws, level)
    difference = values[0] - values[1]
    low, high = (difference if abs(end - difference) <= slack else end for end in (low, high))
    return Difference(
        metric=metric_name(metric),
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
        return one.value(metric, halves, drawn=True) - other.value(metric, halves, drawn=True)
    (share, value), (share_of_other, value_of_other) = ours, theirs
    weight = (share + share_of_other) / 2
    differences = halves @ (share * value - share_of_other * value_of_other)
    return differences * weight.sum() / (halves @ weight)


def mcnemar(first: Array, second: Array, *, labels: Array) -> McNemar:
    """Exact test of McNemar (1947) that both systems err equally often where they disagree.

    Pictures are taken as independent, which pictures of one lesion are not; for those use
    :func:`permutation_test`.

    Parameters
    ----------
    first, second : array ``[N, K]``
        Scores of the two systems for the same pictures, in the same order; logits or
        probabilities, since only the largest of each row matters.
    labels : array of int ``[N]``
        True classes.

    Returns
    -------
    McNemar
        ``p`` is 1 if the systems are correct on the same pictures.

    Raises
    ------
    ValueError
        When shapes, labels or scores do not fit.
    """
    one, other, _ = _pair(first, second, labels, None, None)
    right, also = (judged.guesses == judged.labels for judged in (one, other))
    only_first, only_second = int((right & ~also).sum()), int((also & ~right).sum())
    disagree = only_first + only_second
    # Both tails of the binomial distribution with a probability of one half are equal.
    p = min(1.0, 2 * float(special.bdtr(min(only_first, only_second), disagree, 0.5)))
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
    """Test a difference by random swaps of the systems within lesions.

    If the systems were equal, it would not matter which of them classified a lesion. For accuracy,
    the swap of a lesion flips the sign of its part of the difference. The p-value includes the
    observed assignment (Phipson and Smyth, 2010). If there are few lesions, all assignments are
    tried.

    Parameters
    ----------
    first, second : array ``[N, K]``
        Scores of the two systems for the same pictures, in the same order.
    labels : array of int ``[N]``
        True classes.
    metric : str or callable
        As in :func:`bootstrap_difference`. A metric of ranks or calibration mixes the scores of
        both systems, which must then be on one scale.
    classes : sequence of str, optional
        As in :func:`bootstrap_difference`.
    groups : sequence of str, length N, optional
        Lesion of each picture; its pictures are swapped together.
    kind : {"logits", "probabilities"}
        Type of the scores, as in :func:`report`.
    resamples : int
        Number of random swaps. If no more than these exist, each is used once.
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Returns
    -------
    Permutation

    Raises
    ------
    ValueError
        As in :func:`bootstrap_difference`, except that a single lesion is allowed; its p is 1.
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
        first, second = (np.concatenate(each, 1) for each in ([kept, swap], [swap, kept]))
        return stacked.value(metric, first) - stacked.value(metric, second)

    observed = float(difference(np.zeros((1, len(member))))[0])
    _check_exists(metric, [observed])
    draws = np.concatenate(
        [difference(swap) for swap in halves(member, resamples, source(generator))]
    )
    # Sums of the same terms in another order differ in the last bits. An undefined draw does not
    # show that chance gives less.
    slack = 1e-12 * max(1.0, abs(observed))
    as_large = int((~(np.abs(draws) < abs(observed) - slack)).sum())
    return Permutation(
        metric=metric_name(metric),
        difference=observed,
        p=(1 + as_large) / (1 + len(draws)),
        resamples=len(draws),
        count=int(member.max()) + 1,
        unit=unit_of(groups),
    )


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """Return p-``values`` adjusted for several tests: the rate of any false claim is at most alpha.

    Holm, Scandinavian Journal of Statistics 6 (1979) 65: the smallest is multiplied by their
    number, the next by one less, and none falls below the one before.

    Raises
    ------
    ValueError
        When a value is not in 0..1, such as the nan of a test that could not be made.
    """
    for value in values:
        if not 0 <= value <= 1:
            raise ValueError(f"a p-value must be a number from 0 to 1, not {value}: leave it out")
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
    """Both systems and the lesion of each picture; without a kind, scores are not converted.

    For a recall or specificity, only the pictures that it counts: otherwise draws would lack the
    class by chance.
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
    if rows.all() or not rows.any():  # without any it is undefined; the caller checks that
        return one, other, member
    one, other = (
        Judged(judged.logits[rows], judged.labels[rows], classes=judged.classes)
        for judged in (one, other)
    )
    return one, other, np.unique(member[rows], return_inverse=True)[1]


def _check_exists(metric: Metric, values: Sequence[float]) -> None:
    if not np.isfinite(values).all():
        raise ValueError(
            f"{metric_name(metric)} is not a finite number on these scores and labels; compare a "
            "metric that is defined, such as 'accuracy', or give pictures of more classes"
        )
