"""Confidence intervals by a bootstrap over lesions, whose pictures are not independent.

::

    groups ──membership──► lesion of each row ──resampled──► weights [r, N] ──statistic──► draws
                                                                                            │
                                                        Interval ◄──percentile_interval─────┘

A share in a figure, of which only the count is known, has Wilson's interval instead. For a mean
over classes, the intervals of the classes are combined. For a difference of two systems, the
interval comes from random halves of the lesions, in agreement with the permutation test.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import torch

from .data.arrays import as_integer
from .given import check_number
from .scores import Array

__all__ = ["Interval", "bootstrap"]

_CELLS = 2**20  # weights that are in memory at a time
_FEW_PAIRS = 5  # below which intervals of ranks from draws cover the true value in < 0.85 of cases


class Interval(NamedTuple):
    """A confidence interval from ``low`` to ``high``.

    ``f"{interval:+.2f}"`` formats both ends: ``[-0.10, +0.30]``.
    """

    low: float
    high: float

    def __format__(self, form: str) -> str:
        return f"[{self.low:{form}}, {self.high:{form}}]" if form else str(self)


def bootstrap(
    statistic: Callable[[Array], float],
    count: int,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> Interval:
    """Return the percentile bootstrap interval of a statistic of rows.

    Parameters
    ----------
    statistic : callable
        Function of row indices, an ascending int array with repetitions; it returns a number.
    count : int
        Number of rows.
    groups : sequence of str, length ``count``, optional
        Group of each row. Whole groups are drawn, since pictures of one lesion are not independent.
    resamples : int
        Number of draws.
    level : float
        Confidence level in (0, 1).
    seed : int
        Seed of the draws if no ``generator`` is given.
    generator : torch.Generator, optional
        Random numbers of the draws.

    Returns
    -------
    Interval
        Over the draws in which the statistic is not nan; nan if there are none.

    Raises
    ------
    TypeError
        When ``statistic`` cannot be called, or ``level`` is not a number.
    ValueError
        When there are fewer than two groups, ``resamples`` is below 1, or ``groups`` does not fit.
    """
    if not callable(statistic):
        raise TypeError(f"statistic must be a function of rows, not {type(statistic).__name__}")
    check_resampling(resamples, level)
    if as_integer(count) is None:
        raise ValueError(f"count must be a whole number of rows, not {count!r}")
    member = membership(groups, count)
    check_units(member, groups)
    rows = np.arange(count)
    draws = [
        statistic(np.repeat(rows, weights))
        for chunk in resampled(member, resamples, source(generator, seed))
        for weights in chunk.astype(np.int64)
    ]
    return percentile_interval(np.asarray(draws, dtype=float), level)


def check_resampling(resamples: int, level: float = 0.5) -> None:
    """Raise an error for settings that cannot give an interval."""
    check_number("level", level)
    if (as_integer(resamples) or 0) < 1 or not 0 < level < 1:
        raise ValueError(
            f"resamples must be at least 1 and a whole number, and level in (0, 1), not "
            f"{resamples} and {level}"
        )


def check_units(member: Array, groups: Sequence[str] | None) -> None:
    """Raise an error for a single lesion or picture: every draw would be the same."""
    count = int(member.max()) + 1
    if count < 2:
        unit = unit_of(groups)
        raise ValueError(
            f"an interval needs at least 2 {unit}, got {count}; give pictures of more lesions"
        )


def equal_units(total: Any, square: Any) -> Any:  # noqa: ANN401 - numbers or arrays
    """Equivalent number of units of equal size, from the sum and the sum of squares of the sizes.

    For units of ``n`` pictures it is ``(sum n)^2 / sum n^2`` (Kish, Survey Sampling, 1965).
    """
    return total**2 / np.where(np.equal(square, 0), 1, square)


def source(generator: torch.Generator | None, seed: int = 0) -> torch.Generator:
    """The generator that was given, or a new one of ``seed``."""
    if generator is not None:
        return generator
    if as_integer(seed) is None:
        raise TypeError(f"seed must be a whole number, not {seed!r}")
    return torch.Generator().manual_seed(seed)


def unit_of(groups: Sequence[str] | None) -> str:
    """What is resampled, in words."""
    return "pictures" if groups is None else "lesions"


def membership(groups: Sequence[str] | None, count: int) -> Array:
    """Index of the group of each row ``[count]``, in the order of names; else one group per row."""
    if count < 1:
        raise ValueError(f"there is nothing to resample: {count} rows")
    if groups is None:
        return np.arange(count)
    if len(groups) != count:
        raise ValueError(
            f"{count} rows need as many groups, not {len(groups)}: name the lesion of each picture"
        )
    nameless = [row for row, name in enumerate(groups) if _is_missing(name)]
    if nameless:
        raise ValueError(
            f"{len(nameless)} groups have no name, the first is {groups[nameless[0]]!r} in row "
            f"{nameless[0]}: name the lesion of each picture, or give each picture of an unknown "
            "lesion a unique name"
        )
    # As in a data set, a number and its digits are the same name.
    return np.unique(list(map(str, groups)), return_inverse=True)[1]


def _is_missing(name: object) -> bool:
    """Whether a group is None, not a number, or blank: all such rows would be one lesion."""
    text = str(name).strip()
    return text == "" if isinstance(name, str) else text in ("None", "nan", "NaT", "<NA>")


def resampled(member: Array, resamples: int, generator: torch.Generator) -> Iterator[Array]:
    """Yield how often each row occurs in each resample, float ``[r, N]``, a chunk at a time.

    Each resample draws as many groups as there are, with replacement; a row occurs as often as its
    group.
    """
    count = int(member.max()) + 1
    for size in _chunks(resamples, len(member)):
        drawn = torch.randint(
            count, (size, count), generator=generator, device=generator.device
        ).cpu()
        cells = drawn.numpy() + count * np.arange(size)[:, None]
        times = np.bincount(cells.ravel(), minlength=size * count).reshape(size, count)
        yield times[:, member].astype(float)


def halves(member: Array, resamples: int, generator: torch.Generator) -> Iterator[Array]:
    """Yield which rows are in a random half of the groups, 0.0 or 1.0 ``[r, N]``, in chunks.

    Each group is in it with probability 1/2; an empty half is left out. If there are no more than
    ``resamples`` possible halves, each occurs once.
    """
    count = int(member.max()) + 1
    if 2**count - 1 > resamples:
        for size in _chunks(resamples, len(member)):
            coins = torch.randint(2, (size, count), generator=generator, device=generator.device)
            chosen = coins.cpu().numpy()
            yield chosen[chosen.any(1)][:, member].astype(float)
        return
    every = np.arange(1, 2**count)
    step = max(1, _CELLS // len(member))
    for start in range(0, len(every), step):
        chosen = every[start : start + step, None] >> np.arange(count) & 1
        yield chosen[:, member].astype(float)


def percentile_interval(draws: Array, level: float) -> Interval:
    """Interval between the percentiles of the draws that are numbers; nan if there are none."""
    there = draws[~np.isnan(draws)]
    if len(there) == 0:
        return Interval(math.nan, math.nan)
    # Two infinite draws cannot be interpolated.
    method = "linear" if np.isfinite(there).all() else "inverted_cdf"
    low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2], method=method)
    return Interval(float(low), float(high))


def typical_interval(draws: Array, level: float) -> Interval:
    """Interval between two of the draws by :func:`halves`.

    For a sum of independent terms with symmetric distributions, the sums over random halves divide
    the line into parts that contain the true value equally often (Hartigan, Using subsample values
    as typical values, J. Am. Stat. Assoc. 64:1303, 1969). Values outside the interval are those
    that a test that flips the signs of the terms would reject: see :func:`typical_p`.

    Parameters
    ----------
    draws : array ``[r]``
        A nan could be any number, and counts as beyond both ends: without the halves that lack a
        class, the others would agree on its few lesions.
    level : float
        Confidence level in (0, 1).

    Returns
    -------
    Interval
        Infinite if there are too few numbers among the draws for the level.
    """
    # The draws divide the line into one more part than there are draws.
    beyond = int((1 - level) / 2 * (1 + len(draws)) + 1e-9)
    if beyond < 1:
        return Interval(-math.inf, math.inf)
    low, high = (np.sort(np.where(np.isnan(draws), end, draws)) for end in (-math.inf, math.inf))
    return Interval(float(low[beyond - 1]), float(high[-beyond]))


def typical_p(draws: Array) -> float:
    """Two-sided p-value of no difference, at which :func:`typical_interval` would just reach 0.

    It is twice the share of the draws on the other side of 0, with the observed value among the
    draws (Phipson and Smyth, 2010). A nan may be on either side, and counts as on the other side.
    """
    far = min((~(draws > 0)).sum(), (~(draws < 0)).sum())
    return float(min(1.0, 2 * (1 + far) / (1 + len(draws))))


def wilson_intervals(shares: Array, counts: Array, *, level: float = 0.95) -> Array:
    """Return score intervals of proportions (Wilson, J. Am. Stat. Assoc. 22:209, 1927).

    They stay within 0..1, and have a width also where the share is 0 or 1. The counted items must
    be independent: with several pictures per lesion, the intervals are too narrow.

    Parameters
    ----------
    shares : array ``[...]``
        Proportions in 0..1.
    counts : array ``[...]``
        Denominator of each share.
    level : float
        Confidence level in (0, 1).

    Returns
    -------
    array ``[..., 2]``
        Low and high; nan where the count is 0.
    """
    shares, counts = np.asarray(shares, float), np.asarray(counts, float)
    z = NormalDist().inv_cdf((1 + level) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        shrunk = z**2 / counts
        # Written so, the root is exactly half of that at 0 and 1, and their ends are 0 and 1.
        reach = np.sqrt(shrunk * shares * (1 - shares) + (shrunk / 2) ** 2)
        low, rest = ((part + shrunk / 2 - reach) / (1 + shrunk) for part in (shares, 1 - shares))
    return np.stack([low, 1 - rest], -1).clip(0, 1)


def with_width(
    ends: Array, shares: Array, counts: Array, *, level: float, ranked: bool = False
) -> Array:
    """Intervals ``[..., 2]`` of shares; Wilson's over the number of lesions if all draws agree.

    Agreement of the draws says nothing about the uncertainty of the share, and near agreement says
    little. Therefore no end is closer to 1 or 0 than Wilson's for lesions that are all correct or
    all wrong; otherwise one mistake would give a higher lower end than none. For ``ranked`` shares,
    of pairs in order, that would be far too wide, because a lesion is in many pairs. With fewer
    than five independent pairs they are at least as wide as Wilson's: the draws of a single lesion
    of a class only show how the others vary.
    """
    agree = ends[..., 1:] - ends[..., :1] < 1e-12
    own = wilson_intervals(shares, counts, level=level)
    ends = np.where(agree, own, ends)
    if ranked:
        few = np.asarray(counts)[..., None] < _FEW_PAIRS
        return np.where(few, widest(ends, own), ends)
    none, every = (
        wilson_intervals(np.full(np.shape(counts), share), counts, level=level)
        for share in (0.0, 1.0)
    )
    return widest(ends, np.stack([every[..., 0], none[..., 1]], -1))


def widest(first: Array, second: Array) -> Array:
    """Intervals ``[..., 2]`` from the lower of two low ends to the higher of two high ends.

    They are nan where either interval is nan.
    """
    low = np.minimum(first[..., 0], second[..., 0])
    return np.stack([low, np.maximum(first[..., 1], second[..., 1])], -1)


def mean_interval(values: Array, ends: Array, draws: Array) -> Interval:
    """Return the interval of a mean over classes, combined from the intervals of the classes.

    The distance of each end from the mean follows from the distances of the ends of the classes
    (method of variance estimates recovery, Zou and Donner, Stat. Med. 27:1693, 2008). If a class
    has few lesions, this covers the mean more often than the percentiles of the draws: a class
    whose three lesions are all correct does not vary in the draws.

    Parameters
    ----------
    values : array ``[K]``
        Metric of each class.
    ends : array ``[K, 2]``
        Intervals of the metric; nan where a class has none, which adds no width.
    draws : array ``[R, K]``
        Metric in each resample, nan where it is undefined. They show how the classes vary together,
        as with patients who have lesions of several classes.

    Returns
    -------
    Interval
        Interval of the mean of ``values``; nan if no class has a value.
    """
    if np.isnan(ends).all():
        return Interval(math.nan, math.nan)
    known = ~np.isnan(draws)
    centre = np.where(known, draws, 0).sum(0) / np.maximum(known.sum(0), 1)
    spread = np.where(known, draws - centre, 0)
    size = np.linalg.norm(spread, axis=0)
    together = spread.T @ spread / np.maximum(np.outer(size, size), np.finfo(float).tiny)
    np.fill_diagonal(together, 1)
    # The percentiles of a skewed metric may exclude its value.
    below, above = np.nan_to_num(np.maximum([values - ends[:, 0], ends[:, 1] - values], 0))
    reach = [math.sqrt(max(one @ together @ one, 0)) / len(values) for one in (below, above)]
    return Interval(float(values.mean() - reach[0]), float(values.mean() + reach[1]))


def _chunks(resamples: int, rows: int) -> Iterator[int]:
    step = max(1, _CELLS // rows)
    for start in range(0, resamples, step):
        yield min(step, resamples - start)
