"""A mean over seeds that stands for other seeds and other lesions too.

::

    seed 0   scores [N, K] ─┐ lesions drawn, the same for all seeds ─► metric [R, S] ─┐
    seed 1   scores [N, K] ─┤                                        seeds drawn ─────┴► error
    ...                     │
    values [S] ─────────────┴─► mean ± t · error, and the p of no mean
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from classify import Interval
from classify.intervals import (
    check_resampling,
    equal_units,
    membership,
    resampled,
    wilson_intervals,
    with_width,
)
from classify.judged import Judged
from classify.metric_names import is_metric, of_class
from joint.judge.metric import check_study_metric, range_of, scores_nothing
from joint.saved.predictions import Predictions

__all__ = [
    "ALIKE",
    "Inference",
    "Outcome",
    "Spread",
    "Units",
    "added_by_noise",
    "as_wide_as_lesions",
    "by_seed",
    "check_paired",
    "degrees_of_freedom",
    "drawn_metric",
    "few_lesions",
    "infer",
    "judged",
    "score",
    "spread_out",
    "told_once",
    "units",
    "variance_of",
    "within_range",
]

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
"""Numbers of a class that are of pairs of one picture of it and one of the others."""
_FEW_LESIONS = 10
_NAMED = 8  # designs that a note names
ALIKE = (
    "an interval without a width: all seeds and lesions came out alike, which says little of others"
)
"""Note of an interval that ends where it begins."""
_WIDENED = "an interval was widened to what so few lesions, nearly all alike, leave open"


@final
@dataclass(frozen=True, eq=False)
class Outcome:
    """What one run of a design came to."""

    seed: int
    value: float | None
    """The metric on the test part; None when the run failed or diverged."""
    predictions: Predictions | None = None
    """Scores of each test picture, where there is a classifier."""

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(
                f"the value of seed {self.seed} is {self.value}: give a finite number, or None for "
                "a run that diverged"
            )


def within_range(interval: Interval, metric: str, *, of_difference: bool = False) -> Interval:
    """The ``interval`` of a mean, or ``of_difference`` of two, cut to what ``metric`` can be."""
    lowest, largest = range_of(metric)
    if of_difference:
        lowest, largest = lowest - largest, largest - lowest
    return Interval(max(lowest, interval.low), min(largest, interval.high))


def as_wide_as_lesions(
    interval: Interval,
    mean: float,
    lesions: "Units",
    metric: str,
    note: str | None,
    *,
    level: float,
) -> tuple[Interval, str | None]:
    """The ``interval`` of a mean share as wide as in a report, and the ``note`` with that it is.

    No end is nearer to 1 or 0 than that of as many lesions without an error, or with errors alone
    (:func:`classify.intervals.with_width`): seeds that all make none, or one, know no more of other
    lesions than one seed does.
    """
    if not scores_nothing(metric):
        return interval, note
    number, _ = of_class(metric) or (metric, "")
    ends = with_width(
        np.array(interval),
        np.array(mean),
        np.array(lesions.without_error(level)),
        level=level,
        ranked=number in ("auc", "average_precision"),
    )
    wide = Interval(*ends.tolist())
    if wide.high - wide.low < interval.high - interval.low + 1e-12:
        return interval, note
    return wide, _WIDENED if note is None else f"{note}; {_WIDENED}"


def told_once(notes: Mapping[int, Sequence[str | None]]) -> list[str]:
    """What the ``notes`` of designs say, each thing once, and of which designs if not of all."""
    those: dict[str, list[int]] = {}
    for design, said in notes.items():
        parts = (part for note in said if note is not None for part in note.split("; "))
        for part in dict.fromkeys(parts):
            those.setdefault(part, []).append(design)

    def told(part: str, designs: list[int]) -> str:
        if len(designs) == len(notes):
            return part
        more = f" and {len(designs) - _NAMED} more" if len(designs) > _NAMED else ""
        shown = ", ".join(map(str, sorted(designs)[:_NAMED]))
        return f"design{'s' * (len(designs) > 1)} {shown}{more}: {part}"

    return [told(*each) for each in those.items()]


def score(run: Outcome) -> float:
    """The metric of a run; 0 when it failed."""
    return 0.0 if run.value is None else run.value


def by_seed(runs: Sequence[Outcome]) -> dict[int, Outcome]:
    """Runs of a design by their seed; a ValueError where one is there twice."""
    found: dict[int, Outcome] = {}
    for run in runs:
        if run.seed in found:
            raise ValueError(f"seed {run.seed} is there twice in one design")
        found[run.seed] = run
    return found


@final
@dataclass(frozen=True)
class Spread:
    """Variance of a mean over seeds and lesions, and where it comes from."""

    variance: float
    """On other seeds and other lesions, see :func:`variance_of`."""
    of_seeds: float
    """With seeds alone drawn."""
    of_lesions: float
    """With lesions alone drawn; 0 where there are none to draw."""
    lasting: float
    """Part of both variances that no number of seeds would take away: the lesions are as they are.
    The rest falls as one over the seeds, or faster, see :meth:`on`."""
    seeds: int
    lesions: float
    """How many tell the variance, see :func:`units`."""

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(self.variance)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of :attr:`variance`."""
        return degrees_of_freedom(self.of_seeds, self.seeds, self.of_lesions, self.lesions)

    def on(self, seeds: int) -> "Spread":
        """The same with another number of ``seeds``, at least two, on these lesions."""
        fewer = self.seeds / seeds
        of_seeds = self.of_seeds * fewer
        of_lesions = self.lasting + (self.of_lesions - self.lasting) * fewer
        # What few seeds have beyond both falls as their number times one less, see variance_of.
        beyond = self.variance - self.of_seeds - self.of_lesions
        beyond *= fewer * (self.seeds - 1) / (seeds - 1)
        variance = of_seeds + of_lesions + beyond
        return replace(
            self, variance=variance, of_seeds=of_seeds, of_lesions=of_lesions, seeds=seeds
        )


@final
@dataclass(frozen=True)
class Inference:
    """What is known of a mean over seeds, or of a mean of paired differences."""

    mean: float | None
    """None without values."""
    interval: Interval | None
    """None with fewer than two values, or lesions."""
    p: float
    """Two-sided, of no mean: at which the interval would just touch zero; 1 without one."""
    unit: str
    """What the interval is over: ``seeds and lesions`` where the metric is one of predictions
    that were kept, else ``seeds``."""
    note: str | None = None
    """Why the interval may be too narrow, if a class that counts in the metric has few lesions, or
    that it was widened, see :func:`as_wide_as_lesions`; or why there is none, if that is for want
    of lesions."""
    spread: Spread | None = None
    """What the interval is made of."""


def infer(
    first: Sequence[Outcome],
    second: Sequence[Outcome] | None = None,
    *,
    metric: str,
    level: float = 0.95,
    resamples: int = 2000,
    generator: torch.Generator | None = None,
) -> Inference:
    """Mean of a design, or of the differences of two, as it would be on other seeds and lesions.

    Parameters
    ----------
    first, second : sequence of Outcome
        Runs, in pairs; a failed one has the score 0.
    metric : str
        One of :data:`STUDY_METRICS`.
    level : float
        Of the interval.
    resamples : int
        Bootstrap resamples of the lesions.
    generator : torch.Generator, optional
        Source of these; by default a new one of seed 0.

    Raises
    ------
    ValueError
        For an unknown metric, a level outside (0, 1) or no resamples; when a seed is there twice,
        or the runs were tested on different pictures, or are not pairs of the same seeds.
    """
    check_study_metric(metric)
    check_resampling(resamples, level)
    first = [*by_seed(first).values()]
    values = np.array([score(run) for run in first])
    if second is not None:
        seeds = [[run.seed for run in runs] for runs in (first, second)]
        if seeds[0] != seeds[1]:
            raise ValueError(
                f"runs are compared in pairs, but their seeds are {seeds[0]} and {seeds[1]}"
            )
        values = values - np.array([score(run) for run in second])
    with_scores = [*first, *(second or ())]
    known = [run.predictions for run in with_scores if run.predictions is not None]
    missing = any(run.predictions is None and run.value is not None for run in with_scores)
    lesions = is_metric(metric) and bool(known) and not missing
    unit = "seeds and lesions" if lesions else "seeds"
    mean = float(values.mean()) if len(values) else None
    if mean is None or len(values) < 2:
        return Inference(mean, None, 1.0, unit)
    note = None
    if lesions:
        note = few_lesions(known[0], metric)
        if units(known[0], metric).alone:
            return Inference(mean, None, 1.0, unit, note)
        spread = _crossed(values, first, second, known, metric, resamples, generator)
    else:
        of_seeds = float(values.var(ddof=1)) / len(values)
        spread = Spread(of_seeds, of_seeds, 0, 0, len(values), 1)
    reach = float(stats.t.ppf((1 + level) / 2, spread.freedom)) * spread.error
    p = float(mean == 0)  # without any spread
    if spread.error > 0:
        p = float(2 * stats.t.sf(abs(mean) / spread.error, spread.freedom))
    interval = within_range(
        Interval(mean - reach, mean + reach), metric, of_difference=second is not None
    )
    if lesions and second is None:
        of = units(known[0], metric)
        interval, note = as_wide_as_lesions(interval, mean, of, metric, note, level=level)
    if lesions and interval.low == interval.high:
        note = note or ALIKE
    return Inference(mean, interval, p, unit, note, spread)


def _crossed(
    values: Array,
    first: Sequence[Outcome],
    second: Sequence[Outcome] | None,
    known: Sequence[Predictions],
    metric: str,
    resamples: int,
    generator: torch.Generator | None,
) -> Spread:
    """Spread of a mean over seeds when seeds and lesions are both drawn anew.

    A bootstrap that draws both, as all seeds are tested on the same lesions, see
    :func:`variance_of`. Of S seeds, S - 1 are drawn, which makes their share of the variance
    unbiased (Rao and Wu, JASA 83 (1988) 231): with six seeds a draw of all is short by a sixth. Few
    seeds know little of their own spread, so that the quantile is that of Student's t, with the
    degrees of freedom of Satterthwaite (1946).

    On lesions drawn, the mean varies by the lesions, of variance ``l``, and by how the seeds differ
    on them, of variance ``c / S``; a single seed by ``l + c``. The two tell ``l``, which lasts.
    """
    generator = generator or torch.Generator().manual_seed(0)
    check_paired(known)
    part = known[0]
    member = membership(part.groups, len(part.labels))
    judges = [judged(run) for run in first]
    others = [] if second is None else [judged(run) for run in second]
    seeds = len(values)
    rows = []
    for weights in resampled(member, resamples, generator):
        drawn = np.stack([drawn_metric(judge, weights, metric) for judge in judges], 1)
        if others:
            drawn = drawn - np.stack([drawn_metric(judge, weights, metric) for judge in others], 1)
        rows.append(drawn)
    drawn = spread_out(np.concatenate(rows), part, metric)
    picks = torch.randint(seeds, (len(drawn), seeds - 1), generator=generator).numpy()
    both = float(np.nanvar(np.take_along_axis(drawn, picks, 1).mean(1)))
    # Where the lesions alone are drawn, or the seeds alone: what the degrees of freedom weigh.
    of_lesions = float(np.nanvar(drawn.mean(1)))
    of_one_seed = float(np.nanvar(drawn, axis=0).mean())
    of_seeds = float(values.var(ddof=1)) / seeds
    # No need to draw what can be told: only what lesions add is left to the draws.
    both += of_seeds - float(values[picks].mean(1).var())
    variance = variance_of(both, of_seeds, of_lesions, seeds)
    return Spread(
        variance=variance,
        of_seeds=of_seeds,
        of_lesions=of_lesions,
        lasting=min(variance, max(0.0, (seeds * of_lesions - of_one_seed) / (seeds - 1))),
        seeds=seeds,
        lesions=units(part, metric).telling,
    )


def variance_of(both: float, of_seeds: float, of_lesions: float, seeds: int) -> float:
    """Of a mean over ``seeds`` that are all tested on the same lesions.

    How a seed differs from the others on single lesions is counted once in the variance over seeds
    alone, and again in that over lesions alone; where both are drawn it is counted three times
    (Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1 (2007) 386), by which two equal
    designs would hardly ever differ. Their sum, with it twice, is enough for tests at their level
    from six seeds on. Satterthwaite's degrees of freedom of two or three seeds are too many, which
    the third makes up for: it is kept as one over ``seeds - 1`` (by simulation, see
    docs/concepts/statistics.md).
    """
    twice = of_seeds + of_lesions
    return twice + max(0.0, both - twice) / (seeds - 1)


def added_by_noise(seen: float, both: Array, of_seeds: Array, of_lesions: Array) -> float:
    """What the luck of seeds and lesions adds in the mean to a number that was ``seen``.

    Of a number that grows with the square of noise, such as a variance over designs; ``[R]`` of it
    are on draws of both, of seeds alone and of lesions alone. The first have the noise of single
    seeds on single lesions three times, see :func:`variance_of`, the others once each. The number
    has it once, which is twice what the others add less what the first do.
    """
    by_both, by_seeds, by_lesions = (
        float(np.nanmean(drawn)) - seen for drawn in (both, of_seeds, of_lesions)
    )
    return 2 * (by_seeds + by_lesions) - by_both


def degrees_of_freedom(of_seeds: float, seeds: int, of_lesions: float, lesions: float) -> float:
    """Satterthwaite's, of a variance that is the sum of two, each known from so many draws."""
    weighed = of_seeds**2 / (seeds - 1) + of_lesions**2 / max(1, lesions - 1)
    return (of_seeds + of_lesions) ** 2 / weighed if weighed > 0 else seeds - 1


class Units(NamedTuple):
    """The independent units that a metric is of: lesions, or patients."""

    counts: tuple[int, ...]
    """That each class rests on, where the metric is a mean over classes; else that it rests on."""
    groups: int
    """Of all; fewer than the sum where one, a patient, has pictures of several classes."""
    equal: tuple[float, ...]
    """As :attr:`counts`, but as many of one size as tell as much: one of many pictures outweighs
    the rest (:func:`classify.intervals.equal_units`)."""

    @property
    def alone(self) -> bool:
        """Whether no class has a second one, so that nothing tells how they vary."""
        return max(self.counts, default=0) < 2

    @property
    def telling(self) -> float:
        """Units that tell the spread: one more than its degrees of freedom.

        Of a mean over classes they are Satterthwaite's (Biometrics Bulletin 2 (1946) 110) of the
        variances of the classes, each known from its own lesions. Not as large as they are in the
        draws, but as where all lesions vary alike: three that came out alike would count for
        nothing. Never more than there are, as a patient is one in however many classes.
        """
        counts = np.array(self.counts)
        if len(counts) < 2:
            return float(counts.sum())
        shares = 1 / counts
        free = float(shares.sum() ** 2 / (shares**2 / np.maximum(1, counts - 1)).sum())
        return min(1 + free, float(self.groups))

    def without_error(self, level: float) -> float:
        """Units of one class that leave as much open as these where all of them are right.

        So long are Wilson's intervals of the classes, put together as those of a mean are (Zou and
        Donner, Stat. Med. 27 (2008) 1693).
        """
        counts = np.array(self.equal)
        ends = wilson_intervals(np.ones_like(counts), counts, level=level)
        open_ = float(np.linalg.norm(1 - ends[:, 0])) / len(counts)
        square = float(stats.norm.ppf((1 + level) / 2)) ** 2
        # Of n the interval is open by z² / (n + z²).
        return min(square * (1 / open_ - 1), float(self.groups))

    def as_one_class(self, share: float) -> float:
        """Units of one class that are all right, by luck, as often as these may be.

        Where the mean of the classes' shares is ``share``, in (0, 1), all are right with a chance
        ``prod r_k ** n_k`` of at most that of ``r_k = min(1, n_k / m)``, by Lagrange: what is
        missed is of the rarest classes. A class of ``n`` such units has the chance ``share**n``.
        """
        counts = np.sort(np.array(self.equal))
        kept = np.arange(len(counts) - 1, -1, -1)  # classes that are always right, of 1, 2, ... not
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.cumsum(counts) / (len(counts) * share - kept)
        missed = int(np.flatnonzero((level > 0) & (counts <= level))[-1]) + 1
        rates = counts[:missed] / level[missed - 1]
        found = float((counts[:missed] * np.log(rates)).sum() / math.log(share))
        return min(found, float(self.groups))


def units(part: Predictions, metric: str) -> Units:
    """What a metric is of, see :class:`Units`.

    As in a report, of a number of one class they are the lesions of the class, of its specificity
    all others, and of its AUC, average precision and sensitivity at a specificity the fewer of the
    two: of the pairs of one and the other that are in order, so many have no lesion in common. The
    AUCs of two classes are of the same pairs, and count once.
    """
    member = membership(part.groups, len(part.labels))
    found = _rests_on(part, metric)
    counts = tuple(each.count for each in found)
    return Units(counts, int(member.max()) + 1, tuple(each.equal for each in found))


class _Lesions(NamedTuple):
    count: int
    equal: float
    """As many of one size tell as much."""
    who: str
    """Who has them, in words."""


def _lesions(member: Array, who: str) -> _Lesions:
    """Those that some pictures are of."""
    _, sizes = np.unique(member, return_counts=True)
    return _Lesions(len(sizes), float(equal_units(sizes.sum(), (sizes**2).sum())), who)


def _rests_on(part: Predictions, metric: str) -> list[_Lesions]:
    """The lesions of :func:`units`."""
    member = membership(part.groups, len(part.labels))
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
    """Draws ``[R, ...]`` of a metric on other lesions, with the spread of classes of one lesion.

    Such a class is the same in all draws, and would count for nothing in a mean over classes. Its
    lesions are taken to vary as those of the others do, as of a stratum of which a survey has one
    unit (``survey.lonely.psu = "average"`` in R: Lumley, J. Stat. Softw. 9(1), 2004).
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
    """Why an interval over lesions may be too narrow, if a class that counts has few of them.

    Or why there is none, where no class that counts has two.
    """
    found = _rests_on(part, metric)
    if units(part, metric).alone:
        count = max(each.count for each in found)
        who = found[0].who if len({each.who for each in found}) == 1 else "each class has"
        return f"{who} {count} lesion{'s' * (count != 1)} to test on, which says nothing of others"
    count, _, rarest = min(found, key=lambda each: each.count)
    if count >= _FEW_LESIONS or (of_class(metric) is None and metric not in _MACRO):
        return None
    told = f"{rarest} {count} lesion{'s' * (count != 1)} in the test part"
    if count == 1:
        told += ", whose spread is taken from the other classes"
    return f"{told}: intervals may be too narrow"


def judged(run: Outcome) -> Judged | None:
    """Scores of a run, put in order; None where it failed."""
    part = run.predictions
    if part is None:
        return None
    return Judged(part.logits.astype(float), part.labels, classes=part.classes)


def drawn_metric(judge: Judged | None, weights: Array, metric: str) -> Array:
    """The metric on weighted rows ``[r, N]``; 0 of a run that failed."""
    if judge is None:  # failed: it scores nothing on any lesion
        return np.zeros(len(weights))
    return judge.measure(weights, [metric], drawn=True)[metric]


def check_paired(parts: Sequence[Predictions]) -> None:
    """Refuse runs that were tested on different pictures."""
    for one, other in itertools.pairwise(parts):
        same = (one.identifiers, one.groups) == (other.identifiers, other.groups)
        if not same or not np.array_equal(one.labels, other.labels):
            raise ValueError(
                f"the runs were tested on different pictures ({len(one.labels)} and "
                f"{len(other.labels)}, or others, or with other labels or lesions), so that they "
                "are no pairs: compare designs that share data and split"
            )
