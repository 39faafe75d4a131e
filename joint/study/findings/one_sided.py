"""One-sided tests of requirements: bounds of means and costs, and a margin to the best."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from joint.judge.metric import lower_is_better, scores_nothing
from joint.study.requirements import Bound
from joint.study.significance import settled

from .draws import Draws
from .lesion_units import Units

__all__ = ["Answer", "behind_best", "of_cost", "of_mean", "one_sided"]


class Answer(NamedTuple):
    """Result for one requirement of one design."""

    requirement: str
    """The requirement in words, or what is missing to judge it."""
    met: bool
    """Whether it is met by the mean, or by the cost as it is."""
    p: float
    """One-sided p that it is not met."""
    of_cost: bool = False


def of_mean(draws: Draws, number: int, bound: Bound) -> Answer:
    """Test whether the mean of a design meets a bound."""
    if number not in draws.designs:
        return Answer(f"no {bound.name}", False, 1.0)
    own = draws.place(number)
    mean = float(draws.means[own])
    weights = np.zeros(len(draws.designs))
    weights[own] = 1
    p = one_sided(draws, weights, bound.value, bound.spare(mean))
    if draws.lesions is not None and scores_nothing(draws.metric):
        share, least = (mean, bound.value) if bound.least else (1 - mean, 1 - bound.value)
        p = max(p, _by_chance(share, draws.lesions, least))
    return Answer(str(bound), bound.spare(mean) >= 0, p)


def _by_chance(share: float, lesions: Units, bound: float) -> float:
    """Probability that so large a share of lesions is correct, each with probability ``bound``.

    No distribution varies more (Clopper and Pearson, Biometrika 26 (1934) 404). If nearly all
    lesions are correct, the spread of the draws is nearly 0, which says little about others.
    """
    if not 0 < bound < 1:
        return float(bound >= 1)
    count = lesions.as_one_class(bound)
    right = share * count
    return 1.0 if right <= 0 else float(special.betainc(right, count - right + 1, bound))


def of_cost(value: float | None, bound: Bound) -> Answer:
    """Whether a cost, which has no uncertainty, meets a bound."""
    if value is None:
        return Answer(str(bound), False, 1.0)  # no run is done
    met = bound.spare(value) >= 0
    return Answer(str(bound), met, 0.0 if met else 1.0, of_cost=True)


def behind_best(
    draws: Draws, number: int, within: float, told: str, wait: Collection[int]
) -> Answer:
    """Test whether a design is within the margin of all others, some of which may still run.

    ``told`` is the requirement in words; ``wait`` are the designs with pending runs.
    """
    if number not in draws.designs:
        return Answer(f"no {draws.metric}", False, 1.0)
    if others := len({*wait} - {number}):
        has = "has" if others == 1 else "have"
        return Answer(f"{others} of the others {has} not ended", True, 1.0)
    sign = -1.0 if lower_is_better(draws.metric) else 1.0
    own = draws.place(number)
    means = sign * draws.means
    mark = means[own] + within
    spare = np.where(settled(mark) == settled(means), 0.0, mark - means)
    weights = np.zeros(len(draws.designs))
    weights[own], p = sign, 0.0
    for other in range(len(draws.designs)):
        if other != own:
            weights[other] = -sign
            p = max(p, one_sided(draws, weights, -within, float(spare[other])))
            weights[other] = 0
    return Answer(told, bool((spare >= 0).all()), p)


def one_sided(draws: Draws, weights: npt.ArrayLike, bound: float, spare: float) -> float:
    """P that a weighted sum of means misses ``bound``; ``spare`` is above 0 on the right side."""
    found = draws.infer(weights, null=bound)
    if found.interval is None:
        return 1.0
    alike = found.interval.low == found.interval.high  # all seeds and lesions gave the same
    p = float(spare < 0) if alike else found.p / 2 if spare > 0 else 1 - found.p / 2
    if draws.lesions is None:
        return p
    if not scores_nothing(draws.metric):
        return 1.0 if alike else p
    # If a share of at least ``spare`` of all lesions were different, so many lesions would miss it
    # with this chance (the rule of three: Hanley and Lippman-Hand, JAMA 249 (1983) 1743).
    return max(p, _by_chance(1.0, draws.lesions, 1 - spare))
