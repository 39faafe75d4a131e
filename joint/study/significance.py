"""How likely chance is to deal a difference over seeds, and how many seeds show one."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import integrate, stats

from classify.comparison import holm
from classify.intervals import check_resampling
from optics.quantity import whole_number

__all__ = [
    "expected_maximum",
    "holm",
    "seeds_for_claim",
    "seeds_needed",
    "sign_flip_test",
    "smallest_p",
]

Array = npt.NDArray[Any]

_EXACT = 20  # seeds up to which every dealing of the signs is looked at
_CELLS = 2**20  # signs that are in memory at a time
MOST_SEEDS = 10_000
"""More than anybody would train."""
_FEW_DEALINGS = 16  # by which a test may refuse, under which its power is that of its own signs
_DRAWS = 2000  # of differences, for that power
_CERTAIN = 1e4  # standard errors beyond which power is 1, and scipy's noncentral t not a number


def sign_flip_test(
    differences: Sequence[float] | Array,
    *,
    resamples: int = 99_999,
    generator: torch.Generator | None = None,
) -> float:
    """Two-sided p of paired differences: how often chance gives a mean as far from nothing.

    Were two designs alike, each difference would be as likely with the other sign (Fisher, The
    Design of Experiments, 1935, section 21). All dealings of up to 20 signs are looked at; of more,
    a sample, in which the dealing observed counts (Phipson and Smyth, 2010).

    Parameters
    ----------
    differences : array ``[S]``
        One a seed, or of whatever else is paired and independent.
    resamples : int
        Dealings drawn for more than 20 of them.
    generator : torch.Generator, optional
        Source of these; by default a new one of seed 0.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Without differences, when one is no finite number, or without a dealing to draw.
    """
    check_resampling(resamples)
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"a test needs finite differences [S], one a seed, not {values}")
    observed = abs(values.sum())
    # Sums of the same terms in another order differ in the last bits.
    slack = 1e-12 * np.abs(values).sum()
    if len(values) > _EXACT:
        generator = generator or torch.Generator().manual_seed(0)
        far, step = 0, max(1, _CELLS // len(values))
        for start in range(0, resamples, step):
            shape = (min(step, resamples - start), len(values))
            coins = torch.randint(2, shape, generator=generator).numpy()
            far += int((np.abs((2 * coins - 1) @ values) >= observed - slack).sum())
        return (1 + far) / (1 + resamples)
    # The first sign is held: the dealings with the other one are mirror images.
    sums = values[:1]
    for value in values[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return float((np.abs(sums) >= observed - slack).mean())


def smallest_p(seeds: int) -> float:
    """Smallest p that so many paired ``seeds`` can give, two-sided.

    Raises
    ------
    ValueError
        For seeds that are no whole number of at least 1.
    """
    return min(1.0, 2.0 ** (1 - whole_number("seeds", seeds)))


def seeds_for_claim(alpha: float = 0.05, comparisons: int = 1) -> int:
    """Paired seeds without which none of so many planned ``comparisons`` can be shown.

    A claim is shown when its p, adjusted by :func:`holm`, is at most ``alpha``.

    Raises
    ------
    ValueError
        For an ``alpha`` outside (0, 1), or comparisons that are no whole number of at least 1.
    """
    _check_share("alpha", alpha)
    comparisons = whole_number("comparisons", comparisons)
    return 1 + math.ceil(math.log2(comparisons / alpha))


def expected_maximum(count: int) -> float:
    """How far the best of ``count`` equal designs lies above them, in standard deviations.

    The mean of the largest of so many draws of a normal distribution: the luck that the best
    design of a study has had.

    Raises
    ------
    ValueError
        For a count that is no whole number of at least 1.
    """
    count = whole_number("count", count)

    def above(x: float) -> float:
        return float(-np.expm1(count * stats.norm.logcdf(x)))

    def below(x: float) -> float:
        return float(np.exp(count * stats.norm.logcdf(x)))

    # E max = ∫ P(max > x) dx over the positive less ∫ P(max < x) dx over the negative numbers.
    return integrate.quad(above, 0, 12)[0] - integrate.quad(below, -12, 0)[0]


def seeds_needed(
    effect: float, spread: float, *, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Paired seeds that would show a difference with probability ``power``.

    Parameters
    ----------
    effect : float
        True mean of the paired differences.
    spread : float
        Their standard deviation.
    power : float
        Wanted probability.
    alpha : float
        Two-sided level of the test.

    Returns
    -------
    int or None
        Of the sign-flip test, of normal differences: where equal signs alone are refused, these
        have the probability ``Phi(effect / spread) ** seeds``; where few dealings are, by 2000
        simulated studies, too; and of more seeds by the paired t-test (noncentral t), which is
        close then. None when no 10 000 are enough.

    Raises
    ------
    ValueError
        When the effect is no finite number, the spread none from 0 on, or a share not in (0, 1).
    """
    _check_share("power", power)
    if not math.isfinite(effect) or not 0 <= spread < math.inf:
        raise ValueError(
            f"an effect is a finite number and its spread one from 0 on, not {effect} and {spread}"
        )
    least = seeds_for_claim(alpha)
    if effect == 0:
        return None
    if spread == 0:
        return least

    # Differences that are equal but for rounding have a spread next to nothing.
    shift = min(abs(effect) / spread, _CERTAIN)

    def reaches(count: int) -> bool:
        # The t-test has more power, and is quick.
        by_t = _power_of_t(shift, count, alpha) >= power
        return by_t and _power_of_signs(shift, count, alpha) >= power

    return fewest_seeds(reaches, at_least=least)


def _power_of_t(shift: float, count: int, alpha: float) -> float:
    """Of the t-test of ``count`` normal differences that lie ``shift`` deviations from 0.

    The other side adds nothing where there is power at all.
    """
    limit = stats.t.ppf(1 - alpha / 2, count - 1)
    return float(stats.nct.sf(limit, count - 1, min(shift * math.sqrt(count), _CERTAIN)))


@functools.cache
def _power_of_signs(shift: float, count: int, alpha: float) -> float:
    """Of the sign-flip test of the same; 1 where it is as good as the t-test."""
    dealings = math.floor(alpha * 2 ** (count - 1) * (1 + 1e-12)) if count <= _EXACT else math.inf
    if dealings < 2:
        return float(stats.norm.cdf(shift) ** count)
    if dealings < _FEW_DEALINGS:
        values = shift + np.random.default_rng(0).standard_normal((_DRAWS, count))
        shown, step = 0, max(1, _CELLS // 2 ** (count - 1))
        for start in range(0, _DRAWS, step):
            some = values[start : start + step]
            sums = some[:, :1]
            for value in some.T[1:, :, None]:
                sums = np.concatenate([sums + value, sums - value], 1)
            observed = np.abs(some.sum(1, keepdims=True)) * (1 - 1e-12)
            shown += int(((np.abs(sums) >= observed).sum(1) <= dealings).sum())
        return shown / _DRAWS
    return 1.0


def fewest_seeds(reaches: Callable[[int], bool], *, at_least: int) -> int | None:
    """Smallest count that ``reaches`` what those next to it do; None if none up to 10 000 would.

    Not all larger ones need to: of more seeds, few lesions count for more.
    """
    steps = np.unique(np.geomspace(at_least, max(at_least, MOST_SEEDS), 100).round().astype(int))
    place = next((n for n, count in enumerate(steps) if reaches(int(count))), None)
    if place is None:
        return None
    low, high = (at_least if place == 0 else int(steps[place - 1]) + 1), int(steps[place])
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle + 1, high)
    return low


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is a share in (0, 1), not {value}")
