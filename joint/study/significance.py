"""How likely chance gives a difference over seeds, and how many seeds show one."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import integrate, special, stats

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

_EXACT = 20  # seeds up to which all sign patterns are enumerated
_CELLS = 2**20  # signs in memory at a time
MOST_SEEDS = 10_000
"""More seeds than anybody would train."""
_FEW_DEALINGS = 16  # rejecting sign patterns below which the power is simulated
_DRAWS = 2000  # simulated studies for that power
_CERTAIN = 1e4  # standard errors above which power is 1, and scipy's noncentral t gives NaN


def settled(values: npt.ArrayLike) -> Array:
    """Numbers to 12 significant digits, so that what is equal but for rounding compares as equal.

    Shares of few pictures are often equal in the mean, and (0.1 + 0.2) / 2 is not 0.3 / 2 in
    floating point: the order of the runs would decide between such designs.
    """
    values = np.asarray(values, dtype=float)
    return np.array([float(f"{value:.12g}") for value in values.flat]).reshape(values.shape)


def sign_flip_test(
    differences: Sequence[float] | Array,
    *,
    resamples: int = 99_999,
    generator: torch.Generator | None = None,
) -> float:
    """Two-sided p of paired differences: how often chance gives a mean as far from 0.

    If two designs were equal, each difference would be as likely with the other sign (Fisher, The
    Design of Experiments, 1935, section 21). All sign patterns of up to 20 differences are
    enumerated; for more, a sample of patterns is drawn, in which the observed one counts (Phipson
    and Smyth, 2010).

    Parameters
    ----------
    differences : array ``[S]``
        One per seed, or per other independent pair.
    resamples : int
        Sign patterns drawn if there are more than 20 differences.
    generator : torch.Generator, optional
        Source of the patterns; by default a new one with seed 0.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Without differences, when one is not a finite number, or without a pattern to draw.
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
    # The first sign is fixed: patterns with the other sign are mirror images.
    sums = values[:1]
    for value in values[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return float((np.abs(sums) >= observed - slack).mean())


def smallest_p(seeds: int) -> float:
    """Smallest two-sided p that so many paired ``seeds`` can give.

    Raises
    ------
    ValueError
        For a number of seeds that is not a whole number of at least 1.
    """
    return min(1.0, 2.0 ** (1 - whole_number("seeds", seeds)))


def seeds_for_claim(alpha: float = 0.05, comparisons: int = 1) -> int:
    """Smallest number of paired seeds with which planned ``comparisons`` can show anything.

    A claim is shown when its p, adjusted by :func:`holm`, is at most ``alpha``.

    Raises
    ------
    ValueError
        For an ``alpha`` outside (0, 1), or comparisons that are not a whole number of at least 1.
    """
    _check_share("alpha", alpha)
    comparisons = whole_number("comparisons", comparisons)
    return 1 + math.ceil(math.log2(comparisons / alpha))


def expected_maximum(count: int) -> float:
    """Expected lead of the best of ``count`` equal designs over their mean, in standard deviations.

    This is the mean of the largest of so many draws from a normal distribution: the luck of the
    best design of a study.

    Raises
    ------
    ValueError
        For a count that is not a whole number of at least 1.
    """
    count = whole_number("count", count)

    def above(x: float) -> float:
        return float(-np.expm1(count * special.log_ndtr(x)))

    def below(x: float) -> float:
        return float(np.exp(count * special.log_ndtr(x)))

    # E max = ∫ P(max > x) dx over positive x less ∫ P(max < x) dx over negative x.
    return integrate.quad(above, 0, 12)[0] - integrate.quad(below, -12, 0)[0]


def seeds_needed(
    effect: float, spread: float, *, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Number of paired seeds that show a difference with probability ``power``.

    Parameters
    ----------
    effect : float
        True mean of the paired differences.
    spread : float
        Standard deviation of the paired differences.
    power : float
        Wanted probability.
    alpha : float
        Two-sided level of the test.

    Returns
    -------
    int or None
        For the sign-flip test on normal differences. If the test can reject only equal signs, these
        have probability ``Phi(effect / spread) ** seeds``; if few sign patterns reject, the power
        is from 2000 simulated studies; with more seeds it is that of the paired t-test (noncentral
        t), which is close then. None if 10 000 seeds are not enough.

    Raises
    ------
    ValueError
        When the effect is not finite, the spread not finite or negative, or a share not in (0, 1).
    """
    _check_share("power", power)
    if not math.isfinite(effect) or not 0 <= spread < math.inf:
        raise ValueError(
            f"the effect must be finite and the spread finite and at least 0, not {effect} and "
            f"{spread}"
        )
    least = seeds_for_claim(alpha)
    if effect == 0:
        return None
    if spread == 0:
        return least

    # Differences that are equal except for rounding have a spread of nearly 0.
    shift = min(abs(effect) / spread, _CERTAIN)

    def reaches(count: int) -> bool:
        # The t-test has more power, and is quick.
        by_t = _power_of_t(shift, count, alpha) >= power
        return by_t and _power_of_signs(shift, count, alpha) >= power

    return fewest_seeds(reaches, at_least=least)


def _power_of_t(shift: float, count: int, alpha: float) -> float:
    """Power of the t-test of ``count`` normal differences with mean ``shift`` deviations from 0.

    The other side is negligible wherever there is power.
    """
    # From scipy.special, as scipy.stats takes ten times as long for one number.
    limit = special.stdtrit(count - 1, 1 - alpha / 2)
    return float(stats.nct.sf(limit, count - 1, min(shift * math.sqrt(count), _CERTAIN)))


@functools.cache
def _power_of_signs(shift: float, count: int, alpha: float) -> float:
    """Power of the sign-flip test, likewise; 1 if it is as good as the t-test."""
    dealings = math.floor(alpha * 2 ** (count - 1) * (1 + 1e-12)) if count <= _EXACT else math.inf
    if dealings < 2:
        return float(special.ndtr(shift) ** count)
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
    """Smallest count for which ``reaches`` is true; None if none up to 10 000 is found.

    It tries 100 counts on a logarithmic scale, then halves the interval below the first success.
    ``reaches`` need not be true for all larger counts: with more seeds, few lesions matter more.
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
