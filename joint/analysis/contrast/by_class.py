"""Contrast by class: what is typical of each, and whether classes alike in contrast are confused.

::

    values [N] ─┬─ contrast_by_class ─────────► median of each class, intervals over lesions
    labels [N] ─┤
    guesses [N] ┴─ confusion_against_contrast ► distance of each pair against its confusion
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata

from classify import Interval
from classify.intervals import (
    check_resampling,
    check_units,
    membership,
    percentile_interval,
    resampled,
    source,
    unit_of,
)
from joint.analysis.record import plain

__all__ = [
    "ClassContrast",
    "ConfusionContrast",
    "ContrastByClass",
    "Distance",
    "PairContrast",
    "confusion_against_contrast",
    "contrast_by_class",
]

Array = npt.NDArray[Any]
Distance = Literal["wasserstein", "separation"]


class ClassContrast(NamedTuple):
    """Contrast of the pictures of one class."""

    name: str
    pictures: int
    """With a value."""
    undefined: int
    """Without one."""
    median: float
    interval: Interval
    """Of the median."""
    lower: float
    """First quartile."""
    upper: float
    """Third quartile."""


@dataclass(frozen=True)
class ContrastByClass:
    """Distribution of a contrast measure in each class."""

    measure: str
    classes: tuple[ClassContrast, ...]
    level: float
    resamples: int
    unit: str
    """``lesions`` where groups were given, else ``pictures``."""

    def __str__(self) -> str:
        rows = [
            f"{self.measure}: medians, {100 * self.level:g} % intervals over {self.unit}",
            f"{'class':8} {'n':>6} {'median':>8}  {'interval':^18} {'quartiles':>17}"
            f" {'no value':>9}",
        ]
        for row in self.classes:
            rows.append(
                f"{row.name:8} {row.pictures:6} {row.median:8.3f}  "
                f"[{row.interval.low:7.3f}, {row.interval.high:7.3f}] "
                f"{row.lower:8.3f} {row.upper:8.3f} {row.undefined:9}"
            )
        return "\n".join(rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; None where a class has no value."""
        return plain({**asdict(self), "classes": [row._asdict() for row in self.classes]})


class PairContrast(NamedTuple):
    """Two classes: how far apart in contrast, and how often confused."""

    first: str
    second: str
    distance: float
    """Of their distributions of contrast."""
    confusion: float
    """Mean of the two shares of one class that are taken for the other."""
    distance_interval: Interval
    """Of the distance. Draws lie further apart than their lesions, so it leans to the far side."""
    confusion_interval: Interval
    """Of that mean."""
    rank: int
    """Place among the pairs that exist by distance, the nearest being 1; equal ones share it."""
    rank_interval: Interval
    """Of that place in the draws."""


@dataclass(frozen=True)
class ConfusionContrast:
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
        low, high = self.interval
        rows = [f"{'pair':14} {self.distance:>12} {'interval':^18} {'place':>13} {'confusion':>10}"]
        for p in self.pairs:
            (near, far), (first, last) = p.distance_interval, p.rank_interval
            rows.append(
                f"{f'{p.first}-{p.second}':14} {p.distance:12.4f} [{near:7.4f}, {far:7.4f}] "
                f"{p.rank:3} [{first:3.0f}, {last:3.0f}] {p.confusion:10.4f}"
            )
        rows.append(
            f"Spearman of {self.measure} distance and confusion {self.spearman:+.3f}, "
            f"{100 * self.level:g} % interval [{low:+.3f}, {high:+.3f}] over {self.unit}"
        )
        return "\n".join(rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; None where something does not exist."""
        return plain({**asdict(self), "pairs": [pair._asdict() for pair in self.pairs]})


def contrast_by_class(
    values: Array,
    labels: Array,
    *,
    classes: Sequence[str],
    measure: str = "contrast",
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> ContrastByClass:
    """Medians of a contrast measure by class, with bootstrap intervals that draw lesions.

    Parameters
    ----------
    values : array ``[N]``
        Contrast of each picture; those that are NaN are counted and left out.
    labels : array of int ``[N]``
        Classes of the pictures.
    classes : sequence of str
        Their names.
    measure : str
        Name of what was measured, for the table.
    groups : sequence of str, length N, optional
        Lesion of each picture: whole lesions are drawn.
    resamples : int
        Draws.
    level : float
        Confidence level in (0, 1).
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Returns
    -------
    ContrastByClass
        NaN for a class without values; its interval is over the draws in which it has some, and
        is NaN for a class of so few lesions that not even the least and the largest of them hold
        the median so often: at 95 % of fewer than six.

    Raises
    ------
    ValueError
        When lengths, labels or groups do not fit, or there are fewer than two lesions.
    """
    check_resampling(resamples, level)
    values, labels, member, there = checked(values, labels, classes, groups)
    orders = [
        np.flatnonzero(there & (labels == k))[np.argsort(values[there & (labels == k)])]
        for k in range(len(classes))
    ]
    draws = np.concatenate(
        [
            np.stack([medians(values[rows], weights[:, rows]) for rows in orders], 1)
            for weights in resampled(member, resamples, source(generator))
        ]
    )
    found = []
    for name, rows, drawn, missing in zip(
        classes,
        orders,
        draws.T,
        np.bincount(labels[~there], minlength=len(classes)),
        strict=True,
    ):
        lower, median, upper = (
            np.quantile(values[rows], (0.25, 0.5, 0.75)) if len(rows) else np.full(3, np.nan)
        )
        found.append(
            ClassContrast(
                name=name,
                pictures=len(rows),
                undefined=int(missing),
                median=float(median),
                interval=median_interval(drawn, len(np.unique(member[rows])), level),
                lower=float(lower),
                upper=float(upper),
            )
        )
    return ContrastByClass(measure, tuple(found), level, resamples, unit_of(groups))


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
    """Compare how far apart two classes are in contrast with how often they are confused.

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
        0 where the contrast does not tell the classes apart to 1 where it always does.
    groups, resamples, level, generator
        As in :func:`contrast_by_class`.

    Returns
    -------
    ConfusionContrast
        The pairs of classes that have values. A draw without one of their pictures leaves its
        pairs out.

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

    def compare(weights: Array) -> tuple[Array, Array]:
        weights = weights * there
        tally = np.bincount(count * labels + guesses, weights, minlength=count**2)
        rates = tally.reshape(count, count)
        size = rates.sum(1, keepdims=True)
        rates = np.divide(rates, size, out=np.full_like(rates, np.nan), where=size > 0)
        cells = (labels * len(support) + place)[there]
        shares = np.bincount(cells, weights[there], minlength=count * len(support))
        shares = shares.reshape(count, -1)
        shares = np.divide(shares, size, out=np.full_like(shares, np.nan), where=size > 0)
        confusion = [(rates[i, j] + rates[j, i]) / 2 for i, j in pairs]
        return _distances(shares, support, pairs, distance), np.array(confusion)

    far, confused = compare(np.ones(len(values)))
    drawn = np.array(
        [
            compare(row)
            for weights in resampled(member, resamples, source(generator))
            for row in weights
        ]
    )  # [r, 2, pairs]
    # A pair that a draw has no pictures of has no place in it.
    places = rankdata(drawn[:, 0], "min", axis=1, nan_policy="omit")
    nearest, ranks = np.argsort(far, kind="stable"), rankdata(far, "min")
    return ConfusionContrast(
        measure=measure,
        distance=distance,
        pairs=tuple(
            PairContrast(
                first=names[pairs[k][0]],
                second=names[pairs[k][1]],
                distance=float(far[k]),
                confusion=float(confused[k]),
                distance_interval=_distance_interval(float(far[k]), drawn[:, 0, k], level),
                confusion_interval=percentile_interval(drawn[:, 1, k], level),
                rank=int(ranks[k]),
                rank_interval=percentile_interval(places[:, k], level),
            )
            for k in nearest
        ),
        spearman=_correlation_of_pairs(far, confused),
        interval=percentile_interval(
            np.array([_correlation_of_pairs(*row) for row in drawn]), level
        ),
        level=level,
        resamples=resamples,
        unit=unit_of(groups),
    )


def checked(
    values: Array, labels: Array, classes: Sequence[str], groups: Sequence[str] | None
) -> tuple[Array, Array, Array, Array]:
    """Values, labels, number of the lesion and whether there is a value, each ``[N]``."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1:
        raise ValueError(f"values must be one number for each picture [N], not {values.shape}")
    labels = check_labels(labels, len(values), classes, "labels")
    member = membership(groups, len(values))
    check_units(member, groups)
    there = np.isfinite(values)
    if not there.any():
        raise ValueError(f"none of the {len(values)} pictures has a value: see Contrast.undefined")
    return values, labels, member, there


def lesions_in(member: Array, onehot: Array) -> Array:
    """Lesions in each column of ``[N, K]``: of fewer than two every draw is the same."""
    return np.array([len(np.unique(member[column > 0])) for column in onehot.T], dtype=int)


def check_labels(labels: Array, count: int, classes: Sequence[str], what: str) -> Array:
    """Integers ``[N]`` below the number of classes."""
    labels = np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{what} must be {count} integers, one for each value, not {labels.dtype} "
            f"{labels.shape}"
        )
    if count and (labels.min() < 0 or labels.max() >= len(classes)):
        raise ValueError(
            f"{what} must lie in 0..{len(classes) - 1} for the classes {', '.join(classes)}, not "
            f"in {labels.min()}..{labels.max()}"
        )
    return labels.astype(np.int64)


def medians(values: Array, weights: Array) -> Array:
    """Median of ascending values ``[n]``, each as often as its weight ``[r, n]``, for each r."""
    if values.size == 0:
        return np.full(len(weights), np.nan)
    upto = weights.cumsum(1)
    total = upto[:, -1]
    low, high = (
        values[np.minimum((upto <= half[:, None]).sum(1), len(values) - 1)]
        for half in (np.floor((total - 1) / 2), np.ceil((total - 1) / 2))
    )
    return np.where(total > 0, (low + high) / 2, np.nan)


def median_interval(draws: Array, lesions: int, level: float) -> Interval:
    """Interval of a median, or of a difference of two, by its draws of so many lesions.

    All of n values lie on one side of their median in one case of ``2**(n - 1)``: where that is
    more often than the level leaves, no draw of them is far enough, and it is NaN.
    """
    if 2.0 ** (1 - lesions) > 1 - level + 1e-9:
        return Interval(math.nan, math.nan)
    return percentile_interval(draws, level)


def known_interval(draws: Array, level: float) -> Interval:
    """Interval by draws of what exists in almost all of them, and else NaN.

    Where more are missing than the level leaves out, those that are left would agree: they are the
    ones in which the lesions are less extreme.
    """
    if np.isnan(draws).mean() > 1 - level + 1e-9:
        return Interval(math.nan, math.nan)
    return percentile_interval(draws, level)


def _distance_interval(value: float, draws: Array, level: float) -> Interval:
    """Interval of a distance ``value``, which is never below 0, by its draws.

    Chance adds to a distance as a further direction does: its square is too large by about a
    constant, and that of a draw by two. So the upper end is that of the draws, which is on the far
    side, and the lower one lies as far below in squares. In simulations of 5, 20 and 100 normal
    values a class it held the area between two distribution functions in 90 % of cases or more at
    a level of 95 %, and 0 in all.
    """
    far = max(percentile_interval(draws, level).high, value)
    return Interval(math.sqrt(max(2 * value**2 - far**2, 0)), far)


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


def rank_correlation(first: Array, second: Array) -> Array:
    """Spearman's along the last axis; NaN of a constant, and where a number is missing."""
    ranks = [rankdata(part, axis=-1) for part in np.broadcast_arrays(first, second)]
    one, two = (part - part.mean(-1, keepdims=True) for part in ranks)
    size = np.sqrt((one**2).sum(-1) * (two**2).sum(-1))
    usable = (size > 0) & ~np.isnan(first).any(-1) & ~np.isnan(second).any(-1)
    return np.divide((one * two).sum(-1), size, out=np.full(size.shape, np.nan), where=usable)


def _correlation_of_pairs(far: Array, confused: Array) -> float:
    """Rank correlation over the pairs that exist; NaN of fewer than two."""
    there = ~(np.isnan(far) | np.isnan(confused))
    return float(rank_correlation(far[there], confused[there])) if there.sum() > 1 else np.nan
