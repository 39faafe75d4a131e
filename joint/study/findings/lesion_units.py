"""The lesions that a metric rests on: how many there are, and what so many leave open.

::

    predictions, metric ─► lesions of each class that counts ─┬─► units: as many as tell the spread
                                                              ├─► spread_out: of a class of one too
                                                              └─► few_lesions: why it may be narrow
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from classify.intervals import equal_units, membership, wilson_intervals
from classify.metric_names import of_class
from joint.saved.predictions import Predictions

__all__ = ["Units", "few_lesions", "spread_out", "units"]

Array = npt.NDArray[Any]

_MACRO = (
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "auc",
    "average_precision",
    "sensitivity",
    "macro_specificity",
)
"""Means over classes, in which a lesion of a rare class weighs as much as many others."""
_RANKED = ("auc", "average_precision", "sensitivity")
"""Metrics of a class that compare pairs: one picture of the class and one of the others."""
_FEW_LESIONS = 10


class Units(NamedTuple):
    """Independent units on which a metric is computed: lesions, or patients."""

    counts: tuple[int, ...]
    """Units of each class if the metric is a mean over classes, otherwise of the metric."""
    groups: int
    """Units in total; less than the sum if a patient has pictures of several classes."""
    equal: tuple[float, ...]
    """Same as :attr:`counts`, as an equivalent number of units of equal size: a unit of many
    pictures outweighs the rest (:func:`classify.intervals.equal_units`)."""

    @property
    def alone(self) -> bool:
        """Whether no class has a second unit, so that their variation is unknown."""
        return max(self.counts, default=0) < 2

    @property
    def telling(self) -> float:
        """Units that determine the spread: one more than its degrees of freedom.

        For a mean over classes they are Satterthwaite's (Biometrics Bulletin 2 (1946) 110), from
        the variances of the classes, each known from its own lesions. All lesions are taken to vary
        equally, not as in the draws, where three lesions with equal results would count for
        nothing. Never more than there are units, as a patient counts once in any number of classes.
        """
        counts = np.array(self.counts)
        if len(counts) < 2:
            return float(counts.sum())
        shares = 1 / counts
        free = float(shares.sum() ** 2 / (shares**2 / np.maximum(1, counts - 1)).sum())
        return min(1 + free, float(self.groups))

    def without_error(self, level: float) -> float:
        """Units of one class, all correct, with the same uncertainty as these units, all correct.

        The length is that of Wilson's intervals of the classes, combined as for a mean (Zou and
        Donner, Stat. Med. 27 (2008) 1693).
        """
        counts = np.array(self.equal)
        ends = wilson_intervals(np.ones_like(counts), counts, level=level)
        open_ = float(np.linalg.norm(1 - ends[:, 0])) / len(counts)
        square = float(special.ndtri((1 + level) / 2)) ** 2
        # With n units the interval has the length z² / (n + z²).
        return min(square * (1 / open_ - 1), float(self.groups))

    def as_one_class(self, share: float) -> float:
        """Units of one class that are all correct by chance as often as these may be.

        If the mean of the classes' shares is ``share``, in (0, 1), all are correct with probability
        ``prod r_k ** n_k``, at most that of ``r_k = min(1, n_k / m)``, by Lagrange: errors are in
        the rarest classes. A class of ``n`` such units has the probability ``share**n``.
        """
        counts = np.sort(np.array(self.equal))
        kept = np.arange(len(counts) - 1, -1, -1)  # number of classes that are always correct
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.cumsum(counts) / (len(counts) * share - kept)
        missed = int(np.flatnonzero((level > 0) & (counts <= level))[-1]) + 1
        rates = counts[:missed] / level[missed - 1]
        found = float((counts[:missed] * np.log(rates)).sum() / math.log(share))
        return min(found, float(self.groups))


def units(part: Predictions, metric: str) -> Units:
    """Units on which a metric is computed, see :class:`Units`.

    As in a report, these are the lesions of the class for a number of one class, all others for its
    specificity. For its AUC, average precision and sensitivity at a specificity it is the smaller
    of both groups: that many correctly ordered pairs have no lesion in common. The AUCs of two
    classes use the same pairs, and count once.
    """
    member = membership(part.groups, len(part.labels))
    return _units(member, _rests_on(part, metric, member))


class _Lesions(NamedTuple):
    count: int
    equal: float
    """Equivalent number of lesions of equal size."""
    who: str
    """Phrase that names the group."""


def _units(member: Array, found: list[_Lesions]) -> Units:
    counts = tuple(each.count for each in found)
    return Units(counts, int(member.max()) + 1, tuple(each.equal for each in found))


def _lesions(member: Array, who: str) -> _Lesions:
    """Lesions that some pictures of the group belong to."""
    _, sizes = np.unique(member, return_counts=True)
    return _Lesions(len(sizes), float(equal_units(sizes.sum(), (sizes**2).sum())), who)


def _rests_on(part: Predictions, metric: str, member: Array) -> list[_Lesions]:
    """Groups of lesions for :func:`units`."""
    number, of = of_class(metric) or (metric, "")
    if not of and metric not in _MACRO:
        return [_lesions(member, "the test part has")]
    there = [part.classes[k] for k in np.unique(part.labels)]
    found = []
    for name in [of] if of else there:
        own = part.labels == part.classes.index(name)
        others = [other for other in there if other != name]
        theirs = f"class {others[0]} has" if len(others) == 1 else f"classes but {name} have"
        sides = (_lesions(member[own], f"class {name} has"), _lesions(member[~own], theirs))
        if number in _RANKED:
            fewer = min(sides)
            found.append(fewer._replace(equal=min(side.equal for side in sides)))
        else:
            found.append(sides[number.endswith("specificity")])
    return found[:1] if metric == "auc" and len(there) == 2 else found


def spread_out(drawn: Array, part: Predictions, metric: str) -> Array:
    """Draws ``[R, ...]`` of a metric on other lesions, with a spread for classes of one lesion.

    Such a class is the same in all draws and would not contribute to the spread of a mean over
    classes. Its lesions are taken to vary like those of the other classes, as for a stratum with
    one unit in a survey (``survey.lonely.psu = "average"`` in R: Lumley, J. Stat. Softw. 9(1),
    2004).
    """
    counts = np.array(units(part, metric).counts)
    alone = counts < 2
    if alone.all() or not alone.any():
        return drawn
    shares = 1 / counts
    there = np.isfinite(drawn)
    middle = np.where(there, drawn, 0).sum(0) / np.maximum(there.sum(0), 1)
    return middle + (drawn - middle) * math.sqrt(shares.sum() / shares[~alone].sum())


def few_lesions(part: Predictions, metric: str) -> str | None:
    """Why an interval over lesions may be too narrow: a class that counts has few of them.

    Or why there is no interval: no class that counts has two.
    """
    member = membership(part.groups, len(part.labels))
    found = _rests_on(part, metric, member)
    if _units(member, found).alone:
        count = max(each.count for each in found)
        who = found[0].who if len({each.who for each in found}) == 1 else "each class has"
        return f"{who} {count} lesion{'s' * (count != 1)} to test on, which says nothing of others"
    count, _, rarest = min(found, key=lambda each: each.count)
    if count >= _FEW_LESIONS or (of_class(metric) is None and metric not in _MACRO):
        return None
    told = f"{rarest} {count} lesion{'s' * (count != 1)} in the test part"
    if count == 1:
        told += ", whose spread is estimated from the other classes"
    return f"{told}: intervals may be too narrow"
