"""Selective prediction: the error rate if the least confident pictures are left to others.

::

    logits [N, K] ──► the surest first ──► risk of the first 1, 2, ... N ──mean──► AURC
    labels [N]    ──► wrong or right                     │
                                                         └── accuracy at a coverage of 0.8, 0.9, ...

A referral (:mod:`classify.referral`) selects classes; this selects pictures of any class.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from .intervals import (
    Interval,
    check_resampling,
    equal_units,
    membership,
    percentile_interval,
    resampled,
    source,
    unit_of,
    widest,
    wilson_intervals,
    with_width,
)
from .judged import judged_by
from .scores import Array, Kind, as_array, as_logits, plain

__all__ = ["RiskCoverage", "risk_coverage"]


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Error rate of a classifier on its most confident pictures, at every coverage.

    Pictures with equal confidence have no order: values are the mean over all orders.
    """

    coverage: Array
    """Shares of the pictures that are classified ``[N]``: ``1 / N``, ``2 / N`` ... 1."""
    risk: Array
    """Error rate of those pictures ``[N]``."""
    aurc: float
    """Area under this curve, the mean of :attr:`risk`; lower is better."""
    excess: float
    """Difference to the area of the best order, which has all wrong pictures last: the possible
    gain of a better confidence measure for the same predictions."""
    coverages: tuple[float, ...]
    """Coverages at which the accuracy is given."""
    accuracy: tuple[float, ...]
    """Share of correct predictions at each of :attr:`coverages`."""
    level: float
    """Confidence level of the intervals."""
    unit: str
    """What they resample: ``lesions`` if groups were given, else ``pictures``."""
    aurc_interval: Interval | None = None
    """Interval of :attr:`aurc`, if requested; nan for a single lesion. It is at least as wide as
    Wilson's for the number of lesions at which a share has the variance of the area, after adding
    one correct and one wrong lesion."""
    accuracy_intervals: tuple[Interval, ...] | None = None
    """Intervals of :attr:`accuracy`, if requested. With few or no mistakes they are at least as
    wide as Wilson's over the number of lesions, as in :func:`classify.report`."""

    def __str__(self) -> str:
        lines = [_line("AURC", self.aurc, self.aurc_interval), _line("excess", self.excess, None)]
        intervals = self.accuracy_intervals or (None,) * len(self.coverages)
        lines += [
            _line(f"accuracy of {at:.4g}", accuracy, interval)
            for at, accuracy, interval in zip(self.coverages, self.accuracy, intervals, strict=True)
        ]
        if self.accuracy_intervals is not None:
            lines.append(f"[low, high]: {100 * self.level:g} % intervals, resampling {self.unit}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types; an undefined number becomes None."""
        return plain(asdict(self))


def risk_coverage(
    logits: Array | torch.Tensor,
    labels: Array | torch.Tensor,
    *,
    kind: Kind = "logits",
    groups: Sequence[str] | None = None,
    coverages: Sequence[float] = (0.7, 0.8, 0.9, 1.0),
    resamples: int = 0,
    level: float = 0.95,
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> RiskCoverage:
    """Return the risk-coverage curve: the error rate of the most confident pictures.

    The confidence is the probability of the predicted class (Geifman and El-Yaniv, NeurIPS 2017).
    The area under the curve and its excess over the best order are those of Geifman, Uziel and
    El-Yaniv (ICLR 2019), computed exactly, as sums.

    With few wrong pictures, bootstrap draws underestimate the uncertainty of the area. Its interval
    is therefore the union of their percentile interval and Wilson's interval, for the number of
    lesions that corresponds to the variance of the draws (Korn and Graubard, Survey Methodology
    24:193, 1998). For 30 to 300 lesions with a risk of 0.03 to 0.3, intervals at level 0.95
    contained the true area in 0.92 to 1.00 of simulated cases.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of the given ``kind``.
    labels : array of int ``[N]``
        True classes.
    kind : {"logits", "probabilities"}
        As in :func:`classify.report`.
    groups : sequence of str, length N, optional
        Lesion of each picture; intervals then resample lesions.
    coverages : sequence of float
        Coverages in (0, 1] at which to give the accuracy. A fraction of a picture counts as that
        fraction.
    resamples : int
        Number of bootstrap resamples for intervals; none by default. All resamples have the same
        coverage, but not the same confidence threshold.
    level : float
        Confidence level of the intervals, in (0, 1).
    seed : int
        Seed of the resampling if no ``generator`` is given.
    generator : torch.Generator, optional
        Random numbers of the resampling.

    Returns
    -------
    RiskCoverage

    Raises
    ------
    ValueError
        When shapes, labels, scores or groups do not fit, or a coverage is not in (0, 1].

    Warns
    -----
    UserWarning
        When each row of the logits sums to 1, as probabilities do.
    """
    asked = tuple(map(float, coverages))
    for share in asked:
        if not 0 < share <= 1:
            raise ValueError(f"coverages must lie above 0 and be at most 1, not {share}")
    check_resampling(resamples or 1, level)
    judged = judged_by(as_logits(as_array(logits), kind), as_array(labels))
    count, wrong = len(judged.labels), (judged.guesses != judged.labels).astype(float)
    member = membership(groups, count)
    odds = judged.log_odds()
    order = np.argsort(-odds, kind="stable")
    odds, wrong, member = odds[order], wrong[order], member[order]
    last = np.append(odds[:-1] != odds[1:], True)  # of equal confidence

    def measured(weights: Array) -> tuple[Array, Array]:
        """The risk of the first 1, 2, ... pictures, and at the given coverages."""
        passed, errors = (np.append(0, each.cumsum()[last]) for each in (weights, weights * wrong))

        def risk(pictures: Array) -> Array:
            return np.interp(pictures, passed, errors) / pictures

        return risk(np.arange(1, passed[-1] + 1)), risk(np.array(asked) * passed[-1])

    risk, at = measured(np.ones(count))
    best = np.maximum(0, np.arange(1, count + 1) - (count - wrong.sum()))
    aurc, accuracy = float(risk.mean()), 1 - at
    found = {}
    if resamples:
        areas, rates = np.empty(resamples), np.empty((resamples, len(asked)))
        chunks = resampled(member, resamples, source(generator, seed))
        for draw, weights in enumerate(itertools.chain.from_iterable(chunks)):
            whole, at_each = measured(weights)
            areas[draw], rates[draw] = whole.mean(), 1 - at_each
        alone = member.max() == 0  # every draw is the same, which is not certainty
        if alone:
            areas[:] = rates[:] = np.nan
        ends = np.array([percentile_interval(each, level) for each in rates.T]).reshape(-1, 2)
        tie = np.append(0, last.cumsum()[:-1])
        ends = with_width(ends, accuracy, _units(member, tie, asked), level=level)
        units = _units_of_area(member, tie, aurc, float(areas.var()))
        far = wilson_intervals(np.array(aurc), np.array(units), level=level)
        area = widest(np.array(percentile_interval(areas, level)), far)
        found = {
            "aurc_interval": Interval(*area.tolist()),
            "accuracy_intervals": tuple(Interval(*each) for each in ends.tolist()),
        }
    return RiskCoverage(
        coverage=np.arange(1, count + 1) / count,
        risk=risk,
        aurc=aurc,
        excess=aurc - float((best / np.arange(1, count + 1)).mean()),
        coverages=asked,
        accuracy=tuple(accuracy.tolist()),
        level=level,
        unit=unit_of(groups),
        **found,
    )


def _units(member: Array, tie: Array, coverages: Sequence[float]) -> Array:
    """Equivalent number of lesions of equal size among those classified, at each coverage.

    Pictures of equal confidence each count in part.
    """
    size = np.bincount(tie)
    before = size.cumsum() - size
    shares = [np.clip((s * len(tie) - before) / size, 0, 1)[tie] for s in coverages]
    sizes = np.array([np.bincount(member, share) for share in shares])
    return equal_units(sizes.sum(1), (sizes**2).sum(1))


def _units_of_area(member: Array, tie: Array, aurc: float, variance: float) -> float:
    """Number of equal lesions at which a share of wrong ones has the variance of the area.

    The area is also a share: each picture has as weight the mean of ``1 / k`` over the first ``k``
    pictures that include it. One correct and one wrong lesion, at a typical place, are added, since
    with few lesions the variance is as uncertain as the area.
    """
    count, lesions = len(tie), int(member.max()) + 1
    share = (1 / np.arange(1, count + 1))[::-1].cumsum()[::-1] / count
    share = (np.bincount(tie, share) / np.bincount(tie))[tie]
    more = (np.bincount(member, share) ** 2).mean()
    wrong = (lesions * aurc + 1) / (lesions + 2)
    return wrong * (1 - wrong) / (variance + more)


def _line(name: str, value: float, interval: Interval | None) -> str:
    ends = "" if interval is None else f" {interval:.3f}"
    return f"{name:<18} {value:.3f}{ends}"
