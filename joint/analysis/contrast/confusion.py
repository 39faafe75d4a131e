"""Contrast against confusion: whether classes of similar contrast are confused more often.

::

    values [N] ─┬─ distance of each pair of classes ─┬─ rank correlation over the pairs
    labels [N] ─┤                                    │
    guesses [N] ┴─ confusion of each pair ───────────┘
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata

from classify import Interval
from classify.intervals import (
    check_resampling,
    mean_interval,
    percentile_interval,
    resampled,
    source,
    unit_of,
    with_width,
)
from joint.analysis.by_lesion import (
    check_labels,
    checked,
    enough_for_median,
    equal_lesions_in,
    lesions_in,
    rank_correlation,
    widened_interval,
)
from joint.record import Record

__all__ = ["ConfusionContrast", "Distance", "PairContrast", "confusion_against_contrast"]

Array = npt.NDArray[Any]
Distance = Literal["wasserstein", "separation"]


class PairContrast(NamedTuple):
    """Two classes: how far apart in contrast, and how often confused."""

    first: str
    second: str
    distance: float
    """Distance of their distributions of contrast."""
    confusion: float
    """Mean of the two shares of one class that are classified as the other."""
    distance_interval: Interval
    """Interval of the distance, wider for few lesions. Resampling tends to increase distances, so
    the interval tends to larger values. NaN if a class has a single lesion, or all resamples of a
    Wasserstein distance agree."""
    confusion_interval: Interval
    """Interval of the confusion, combined from those of the two shares, which have a width even if
    no lesion is confused."""
    rank: int
    """Rank of the distance among the existing pairs, the nearest being 1; equal ones share it."""
    rank_interval: Interval
    """Interval of the rank, wider for few lesions. NaN if a class has a single one. It is not a
    single rank, but NaN, if all resamples of the distance agree, or a class has so few lesions that
    its median would have no interval."""


@dataclass(frozen=True)
class ConfusionContrast(Record):
    """Are classes of similar contrast confused more often? Negative rank correlation says yes."""

    measure: str
    distance: Distance
    """How the distributions of two classes are compared."""
    pairs: tuple[PairContrast, ...]
    """Nearest in contrast first."""
    spearman: float
    """Rank correlation of distance and confusion over the pairs."""
    interval: Interval
    level: float
    resamples: int
    unit: str

    def __str__(self) -> str:
        rows = [f"{'pair':14} {self.distance:>12} {'interval':^18} {'place':>13} {'confusion':>10}"]
        for p in self.pairs:
            rows.append(
                f"{f'{p.first}-{p.second}':14} {p.distance:12.4f} {p.distance_interval:7.4f} "
                f"{p.rank:3} {p.rank_interval:3.0f} {p.confusion:10.4f}"
            )
        rows.append(
            f"Spearman of {self.measure} distance and confusion {self.spearman:+.3f}, "
            f"{100 * self.level:g} % interval {self.interval:+.3f} over {self.unit}"
        )
        return "\n".join(rows)


def confusion_against_contrast(
    values: Array,
    labels: Array,
    guesses: Array,
    *,
    classes: Sequence[str],
    measure: str = "contrast",
    distance: Distance = "wasserstein",
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> ConfusionContrast:
    """Correlate the distance of classes in contrast with how often they are confused.

    Parameters
    ----------
    values : array ``[N]``
        Contrast of each picture; those that are NaN are left out.
    labels, guesses : array of int ``[N]``
        True and predicted classes.
    classes : sequence of str
        Their names; at least three of them must have values, for two pairs.
    measure : str
        Name of what was measured, for the table.
    distance : {"wasserstein", "separation"}
        Area between the distribution functions, in units of the measure; or ``|2 AUC - 1|``, from
        0 if the contrast does not separate the classes to 1 if it separates them completely.
    groups, resamples, level, generator
        As in :func:`~joint.analysis.contrast_by_class`.

    Returns
    -------
    ConfusionContrast
        The pairs of classes that have values. A resample without a picture of a class leaves out
        the pairs of that class. Resamples of n lesions vary too little: the intervals of distances
        and ranks are widened by Student's t, for the number of lesions of the rarer class.

    Raises
    ------
    ValueError
        When lengths, labels or groups do not fit, there are fewer than two lesions or fewer than
        three classes with values, or the distance is unknown.
    """
    check_resampling(resamples, level)
    if distance not in get_args(Distance):
        raise ValueError(f"distance must be 'wasserstein' or 'separation', not {distance!r}")
    values, labels, member, there = checked(values, labels, classes, groups)
    guesses = check_labels(guesses, len(values), classes, "guesses")
    present = np.unique(labels[there])
    if len(present) < 3:
        raise ValueError(
            f"a correlation over pairs needs at least 3 classes with values, not {len(present)}"
        )
    pairs = list(combinations(present.tolist(), 2))
    support, place = np.unique(np.where(there, values, np.inf), return_inverse=True)
    support = support[np.isfinite(support)]
    names = tuple(classes)
    count = len(names)

    def compare(weights: Array) -> Array:
        """Distance of each pair, and the two shares taken for the other class ``[pairs, 3]``."""
        weights = weights * there
        tally = np.bincount(count * labels + guesses, weights, minlength=count**2)
        rates = tally.reshape(count, count)
        size = rates.sum(1, keepdims=True)
        rates = np.divide(rates, size, out=np.full_like(rates, np.nan), where=size > 0)
        cells = (labels * len(support) + place)[there]
        shares = np.bincount(cells, weights[there], minlength=count * len(support))
        shares = shares.reshape(count, -1)
        shares = np.divide(shares, size, out=np.full_like(shares, np.nan), where=size > 0)
        taken = [(rates[i, j], rates[j, i]) for i, j in pairs]
        return np.column_stack([_distances(shares, support, pairs, distance), taken])

    once = compare(np.ones(len(values)))
    far, confused = once[:, 0], once[:, 1:].mean(1)
    drawn = np.array(
        [
            compare(row)
            for weights in resampled(member, resamples, source(generator))
            for row in weights
        ]
    )  # [r, pairs, 3]
    # A pair that a draw has no pictures of has no place in it.
    places = rankdata(drawn[..., 0], "min", axis=1, nan_policy="omit")
    nearest, ranks = np.argsort(far, kind="stable"), rankdata(far, "min")
    onehot = np.eye(count)[labels[there]]
    units = equal_lesions_in(member[there], onehot)
    lesions = lesions_in(member[there], onehot).tolist()
    scarcer = [min(lesions[i], lesions[j]) for i, j in pairs]
    return ConfusionContrast(
        measure=measure,
        distance=distance,
        pairs=tuple(
            PairContrast(
                first=names[pairs[k][0]],
                second=names[pairs[k][1]],
                distance=float(far[k]),
                confusion=float(confused[k]),
                distance_interval=_distance_interval(
                    float(far[k]), drawn[:, k, 0], scarcer[k], level, distance
                ),
                confusion_interval=_mean_of_shares(
                    once[k, 1:], drawn[:, k, 1:], units[list(pairs[k])], level
                ),
                rank=int(ranks[k]),
                rank_interval=_place_interval(
                    int(ranks[k]),
                    places[:, k],
                    scarcer[k],
                    level,
                    len(pairs),
                    known=_vary(drawn[:, k, 0], float(far[k])),
                ),
            )
            for k in nearest
        ),
        spearman=_correlation_of_pairs(far, confused),
        interval=percentile_interval(
            np.array([_correlation_of_pairs(row[:, 0], row[:, 1:].mean(1)) for row in drawn]), level
        ),
        level=level,
        resamples=resamples,
        unit=unit_of(groups),
    )


def _distance_interval(
    value: float, draws: Array, lesions: int, level: float, distance: Distance
) -> Interval:
    """Interval of a distance ``value``, which is never below 0, by its draws.

    Chance adds to a distance as a further direction does: its square is too large by about a
    constant, and that of a draw by two. So the upper end is that of the draws, which is on the far
    side, and the lower one lies as far below in squares. The upper end of few ``lesions``, those
    of the scarcer class, is moved as that of a density. In simulations of 2 to 20 normal values
    in one class and 2 to 20 in the other, 0 to 4 deviations apart, it held the area between two
    distribution functions in 95 % of cases or more at a level of 95 %.

    A separation is an AUC, of which draws that agree have Wilson's interval, as in a report.
    """
    wide = widened_interval(value, draws, lesions, level)
    near, far = math.sqrt(max(2 * value**2 - wide.high**2, 0)), wide.high
    if distance == "separation":
        ends, auc = (1 + np.array([near, min(far, 1.0)])) / 2, np.array((1 + value) / 2)
        ends = with_width(ends, auc, np.array(lesions), level=level, ranked=True)
        return Interval(*(2 * ends - 1).clip(0).tolist())
    if not _vary(draws, value):  # they agree, which is no certainty
        return Interval(math.nan, math.nan)
    return Interval(near, far)


def _vary(draws: Array, value: float) -> bool:
    """Whether any draw of a distance ``value`` differs from it by more than rounding."""
    return bool((np.abs(draws - value) > 1e-9 * value).any())


def _mean_of_shares(shares: Array, draws: Array, units: Array, level: float) -> Interval:
    """Interval of the mean of two shares ``[2]``, of as many lesions, by draws ``[r, 2]``."""
    ends = np.array([percentile_interval(column, level) for column in draws.T])
    return mean_interval(shares, with_width(ends, shares, units, level=level), draws)


def _place_interval(
    rank: int, places: Array, lesions: int, level: float, pairs: int, *, known: bool
) -> Interval:
    """Interval of a place among so many pairs by those in the draws, in whole places.

    A single place is certain only if the distance is ``known``, with a spread, and of as many
    lesions as the median of one needs, whose resamples are then extreme enough.
    """
    wide = widened_interval(rank, places, lesions, level, least=1.0)
    low, high = np.round([wide.low, min(wide.high, pairs)]).tolist()
    if low == high and not (known and enough_for_median(lesions, level)):
        return Interval(math.nan, math.nan)
    return Interval(low, high)


def _distances(
    shares: Array, support: Array, pairs: Sequence[tuple[int, int]], distance: Distance
) -> Array:
    """Distance of each pair of distributions ``shares [K, U]`` on the ascending ``support``."""
    upto = shares.cumsum(1)
    if distance == "wasserstein":
        gaps = np.diff(support)
        return np.array([np.abs(upto[i] - upto[j])[:-1] @ gaps for i, j in pairs])
    middle = upto - shares / 2  # a tie counts half
    return np.array([abs(2 * shares[i] @ middle[j] - 1) for i, j in pairs])


def _correlation_of_pairs(far: Array, confused: Array) -> float:
    """Rank correlation over the pairs that exist; NaN of fewer than two."""
    there = ~(np.isnan(far) | np.isnan(confused))
    return float(rank_correlation(far[there], confused[there])) if there.sum() > 1 else np.nan
