"""Intervals by a bootstrap that draws lesions: more pictures of one lesion are no new evidence.

::

    groups ──membership──► lesion of each row ──resampled──► weights [r, N] ──statistic──► draws
                                                                                            │
                                                        Interval ◄──percentile_interval─────┘

A share of pictures in a figure, of which only the count is known, has Wilson's instead; a mean over
classes has the intervals of its classes, put together; a difference of two systems has that of
random halves of the lesions, which is what swapping the systems cannot tell from nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .data.arrays import as_integer
from .given import check_number

__all__ = ["Interval", "bootstrap"]

Array = npt.NDArray[Any]

_CELLS = 2**20  # weights that are in memory at a time
_FEW_PAIRS = 5  # under which the draws of a ranking hold its true value in fewer than 0.85 of cases


class Interval(NamedTuple):
    """A confidence interval from ``low`` to ``high``.

    ``f"{interval:+.2f}"`` writes both ends in that form: ``[-0.10, +0.30]``.
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
    """Percentile bootstrap interval of a statistic of rows.

    Parameters
    ----------
    statistic : callable
        Takes row indices, an ascending int array with repetitions, and returns a number.
    count : int
        Number of rows.
    groups : sequence of str, length ``count``, optional
        Whole groups are drawn: pictures of one lesion are not independent evidence.
    resamples : int
        Draws.
    level : float
        Confidence level in (0, 1).
    seed : int
        Source of the draws where no ``generator`` is given.
    generator : torch.Generator, optional
        Source of the draws.

    Returns
    -------
    Interval
        Over the draws in which the statistic exists (is not nan); nan if it does in none.

    Raises
    ------
    TypeError
        For a statistic that cannot be called, and what is no number.
    ValueError
        When there are fewer than two groups to draw from, nothing to draw, or ``groups`` does not
        fit.
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
    """Refuse resampling that cannot give an interval."""
    check_number("level", level)
    if (as_integer(resamples) or 0) < 1 or not 0 < level < 1:
        raise ValueError(
            f"resamples must be at least 1 and level in (0, 1), not {resamples} and {level}; of "
            "resamples there is a whole number"
        )


def check_units(member: Array, groups: Sequence[str] | None) -> None:
    """Refuse to draw from a single lesion or picture: every draw would be the same."""
    count = int(member.max()) + 1
    if count < 2:
        unit = unit_of(groups)
        raise ValueError(
            f"an interval needs at least 2 {unit}, got {count}; give pictures of more lesions"
        )


def equal_units(total: Any, square: Any) -> Any:  # noqa: ANN401 - numbers or arrays
    """As many units of one size tell as much as those whose sizes and their squares sum so.

    Of ``n`` pictures each, they are ``(sum n)^2 / sum n^2`` (Kish, Survey Sampling, 1965).
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
    """Number of the group of each row ``[count]``, by the names' order; alone without groups."""
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
            f"{nameless[0]}: name the lesion of each picture, or give a picture of an unknown "
            "lesion a name of its own"
        )
    # As a data set has them: a number and its digits are one name.
    return np.unique(list(map(str, groups)), return_inverse=True)[1]


def _is_missing(name: object) -> bool:
    """Whether a group is None, not a number, or blank: all such rows would be one lesion."""
    text = str(name).strip()
    return text == "" if isinstance(name, str) else text in ("None", "nan", "NaT", "<NA>")


def resampled(member: Array, resamples: int, generator: torch.Generator) -> Iterator[Array]:
    """Yield how often each row occurs in each resample, float ``[r, N]``, a chunk at a time.

    As many groups as there are, drawn with replacement; a row comes as often as its group.
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
    """Yield which rows a random half of the groups holds, 0.0 or 1.0 ``[r, N]``, in chunks.

    Each group is in it by a fair coin; a half without any is left out. Of few groups every choice
    is made once, where those are no more than ``resamples``.
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
    """Interval between the percentiles of the draws that are numbers; nan without any."""
    there = draws[~np.isnan(draws)]
    if len(there) == 0:
        return Interval(math.nan, math.nan)
    # Between two infinite draws nothing can be interpolated.
    method = "linear" if np.isfinite(there).all() else "inverted_cdf"
    low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2], method=method)
    return Interval(float(low), float(high))


def typical_interval(draws: Array, level: float) -> Interval:
    """Interval between two of the draws by :func:`halves`.

    Of a sum of independent terms that are as likely to lie above their means as below, the sums
    over random halves cut the line into parts that hold the true value equally often (Hartigan,
    Using subsample values as typical values, J. Am. Stat. Assoc. 64:1303, 1969). What lies outside
    is what a test that flips the signs of the terms would refuse: see :func:`typical_p`.

    Parameters
    ----------
    draws : array ``[r]``
        A nan may be any number, so that it lies beyond both ends: without the halves that lack a
        class, those that are left would agree on the few lesions of it.
    level : float
        Confidence level in (0, 1).

    Returns
    -------
    Interval
        Without ends where the draws that are numbers are too few for the level.
    """
    # The draws cut the line into one part more than they are.
    beyond = int((1 - level) / 2 * (1 + len(draws)) + 1e-9)
    if beyond < 1:
        return Interval(-math.inf, math.inf)
    low, high = (np.sort(np.where(np.isnan(draws), end, draws)) for end in (-math.inf, math.inf))
    return Interval(float(low[beyond - 1]), float(high[-beyond]))


def typical_p(draws: Array) -> float:
    """Two-sided p of no difference, at which :func:`typical_interval` would just touch 0.

    Twice the share of the draws on the far side of 0, the whole counted among them (Phipson and
    Smyth, 2010). A nan may be on either side, and counts as far.
    """
    far = min((~(draws > 0)).sum(), (~(draws < 0)).sum())
    return float(min(1.0, 2 * (1 + far) / (1 + len(draws))))


def wilson_intervals(shares: Array, counts: Array, *, level: float = 0.95) -> Array:
    """Score intervals of shares of so many (Wilson, J. Am. Stat. Assoc. 22:209, 1927).

    They stay within 0..1 and have a width where the share is 0 or 1 too. What is counted is
    evidence of its own: where these are several pictures of a lesion, the intervals are too narrow.

    Parameters
    ----------
    shares : array ``[...]``
        In 0..1.
    counts : array ``[...]``
        What each is a share of.
    level : float
        Confidence level in (0, 1).

    Returns
    -------
    array ``[..., 2]``
        Low and high; nan where nothing was counted.
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
    """Intervals ``[..., 2]`` of shares, Wilson's over as many lesions where all draws agree.

    That they agree tells nothing of how far the share is known, and that they nearly agree tells
    little: no end is nearer to 1 or 0 than as many lesions allow that are all right or all wrong.
    Otherwise one mistake would leave a better lower end than none. Of ``ranked`` ones, shares of
    pairs in order, that would be far too wide: a lesion is in many pairs. Of fewer than five
    independent pairs they reach as far as Wilson's: the draws of a single lesion of a class show
    how the others vary alone.
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
    """Intervals ``[..., 2]`` from the lower of two low ends to the higher of two high ones.

    They are nan where either is.
    """
    low = np.minimum(first[..., 0], second[..., 0])
    return np.stack([low, np.maximum(first[..., 1], second[..., 1])], -1)


def mean_interval(values: Array, ends: Array, draws: Array) -> Interval:
    """Interval of a mean over classes, put together from those of the classes.

    Each end lies as far from the mean as the ends of the classes, as vectors of their distances,
    allow (method of variance estimates recovery, Zou and Donner, Stat. Med. 27:1693, 2008). Where
    a class has few lesions, that covers the mean more often than the percentiles of its draws: a
    class whose three lesions are all right does not vary in them.

    Parameters
    ----------
    values : array ``[K]``
        A number of each class.
    ends : array ``[K, 2]``
        Its intervals; nan where a class has none, which adds no width.
    draws : array ``[R, K]``
        The number in each resample, nan where it does not exist: how far the classes vary
        together, as those of patients with lesions of several do.

    Returns
    -------
    Interval
        Of the mean of ``values``; nan where no class has one.
    """
    if np.isnan(ends).all():
        return Interval(math.nan, math.nan)
    known = ~np.isnan(draws)
    centre = np.where(known, draws, 0).sum(0) / np.maximum(known.sum(0), 1)
    spread = np.where(known, draws - centre, 0)
    size = np.linalg.norm(spread, axis=0)
    together = spread.T @ spread / np.maximum(np.outer(size, size), np.finfo(float).tiny)
    np.fill_diagonal(together, 1)
    # The percentiles of a lopsided number may leave it out.
    below, above = np.nan_to_num(np.maximum([values - ends[:, 0], ends[:, 1] - values], 0))
    reach = [math.sqrt(max(one @ together @ one, 0)) / len(values) for one in (below, above)]
    return Interval(float(values.mean() - reach[0]), float(values.mean() + reach[1]))


def _chunks(resamples: int, rows: int) -> Iterator[int]:
    step = max(1, _CELLS // rows)
    for start in range(0, resamples, step):
        yield min(step, resamples - start)
