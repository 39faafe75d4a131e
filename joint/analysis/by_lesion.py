"""Medians and rank correlations of pictures, with intervals by resampling lesions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata, t

from classify import Interval
from classify.intervals import check_units, equal_units, membership, percentile_interval

__all__ = [
    "check_labels",
    "checked",
    "enough_for_median",
    "equal_lesions_in",
    "known_interval",
    "lesions_in",
    "median_interval",
    "medians",
    "rank_correlation",
    "widened_interval",
    "widened_intervals",
]

Array = npt.NDArray[Any]


def checked(
    values: Array, labels: Array, classes: Sequence[str], groups: Sequence[str] | None
) -> tuple[Array, Array, Array, Array]:
    """Checked values, labels, lesion numbers and whether there is a value, each ``[N]``."""
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
    """Number of lesions in each column of ``[N, K]``; with fewer than two all resamples agree."""
    return np.array([len(np.unique(member[column > 0])) for column in onehot.T], dtype=int)


def equal_lesions_in(member: Array, onehot: Array) -> Array:
    """Number of lesions of equal size with the same information as each column of ``[N, K]``."""
    sizes = np.stack([np.bincount(member, column) for column in onehot.T], 1)
    return equal_units(sizes.sum(0), (sizes**2).sum(0))


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
    """Interval of a median, or of a difference of two, from resamples of ``lesions`` lesions.

    NaN of so few that no resample is extreme enough: :func:`enough_for_median`.
    """
    if not enough_for_median(lesions, level):
        return Interval(math.nan, math.nan)
    return percentile_interval(draws, level)


def enough_for_median(lesions: int, level: float) -> bool:
    """Whether the range of n lesions covers their median at the level: of 6 at 95 %, not of 5.

    All n lie on the same side of it with probability ``2**(1 - n)``.
    """
    return 2.0 ** (1 - lesions) <= 1 - level + 1e-9


def known_interval(draws: Array, level: float) -> Interval:
    """Interval of a number that exists in almost all resamples, otherwise NaN.

    If it is missing in a share of more than ``1 - level``, the rest would agree too well: these are
    the resamples with less extreme lesions.
    """
    if np.isnan(draws).mean() > 1 - level + 1e-9:
        return Interval(math.nan, math.nan)
    return percentile_interval(draws, level)


def rank_correlation(first: Array, second: Array) -> Array:
    """Spearman's correlation along the last axis; NaN for a constant, or with a missing number."""
    ranks = [rankdata(part, axis=-1) for part in np.broadcast_arrays(first, second)]
    one, two = (part - part.mean(-1, keepdims=True) for part in ranks)
    size = np.sqrt((one**2).sum(-1) * (two**2).sum(-1))
    usable = (size > 0) & ~np.isnan(first).any(-1) & ~np.isnan(second).any(-1)
    return np.divide((one * two).sum(-1), size, out=np.full(size.shape, np.nan), where=usable)


def widened_interval(
    value: float, draws: Array, lesions: int, level: float, *, least: float = -math.inf
) -> Interval:
    """Interval of a number from its resamples ``[r]`` of n lesions, with lower limit ``least``.

    Resamples of n lesions have only sqrt((n - 1) / n) of the true standard error, and for a spread
    that is estimated from n values Student's t replaces the normal quantile. Both factors move the
    ends of the interval away from the value (Hesterberg, Am. Stat. 69:371, 2015). NaN for fewer
    than two lesions.
    """
    if lesions < 2:
        return Interval(math.nan, math.nan)
    tail = (1 + level) / 2
    wider = t.ppf(tail, lesions - 1) / norm.ppf(tail) * math.sqrt(lesions / (lesions - 1))
    low, high = percentile_interval(draws, level)
    below, above = (float(max(reach, 0.0) * wider) for reach in (value - low, high - value))
    return Interval(max(value - below, least), value + above)


def widened_intervals(
    values: Array, draws: Array, lesions: Array, level: float, *, least: float = -math.inf
) -> list[Interval]:
    """:func:`widened_interval` of each of several numbers ``[n]``.

    Their resamples are ``[r, n]``; ``lesions [n]`` counts those that each number is of.
    """
    return [
        widened_interval(value, column, count, level, least=least)
        for value, column, count in zip(values.tolist(), draws.T, lesions.tolist(), strict=True)
    ]
