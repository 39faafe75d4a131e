"""Inference on a mean over seeds that holds for other seeds and other lesions too.

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
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from scipy import special

from classify import Interval
from classify.intervals import (
    check_resampling,
    membership,
    resampled,
    with_width,
)
from classify.judged import Judged
from classify.metric_names import is_metric, of_class
from joint.judge.metric import check_study_metric, range_of, scores_nothing
from joint.saved.predictions import Predictions
from joint.study.space import numbers_shown

from .lesion_units import Units, few_lesions, spread_out, units

__all__ = [
    "ALIKE",
    "Inference",
    "Outcome",
    "Spread",
    "added_by_noise",
    "as_wide_as_lesions",
    "by_seed",
    "check_paired",
    "degrees_of_freedom",
    "drawn_metric",
    "infer",
    "judged",
    "merged_notes",
    "quantile",
    "score",
    "student",
    "variance_of",
    "within_range",
]

Array = npt.NDArray[Any]

_NAMED = 8  # designs that a note lists
ALIKE = (
    "an interval of zero width: all seeds and lesions gave the same, which says little about others"
)
"""Note on an interval of zero width."""
_WIDENED = "an interval was widened because few lesions, nearly all alike, leave more open"


@final
@dataclass(frozen=True, eq=False)
class Outcome:
    """Result of one run of a design."""

    seed: int
    value: float | None
    """Metric on the test part; None if the run failed or diverged."""
    predictions: Predictions | None = None
    """Scores of each test picture, if there is a classifier."""

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(
                f"the value of seed {self.seed} is {self.value}: give a finite number, or None for "
                "a run that diverged"
            )


def within_range(interval: Interval, metric: str, *, of_difference: bool = False) -> Interval:
    """``interval`` of a mean, or ``of_difference`` of two, cut to the range of ``metric``."""
    lowest, largest = range_of(metric)
    if of_difference:
        lowest, largest = lowest - largest, largest - lowest
    return Interval(max(lowest, interval.low), min(largest, interval.high))


def as_wide_as_lesions(
    interval: Interval,
    mean: float,
    lesions: Units,
    metric: str,
    note: str | None,
    *,
    level: float,
) -> tuple[Interval, str | None]:
    """Widen the ``interval`` of a mean share to that of a report, and add this to the ``note``.

    No end is closer to 1 or 0 than for as many lesions without any error, or with errors only
    (:func:`classify.intervals.with_width`): several seeds with no error, or one, know no more about
    other lesions than one seed does.
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


def merged_notes(notes: Mapping[int, Sequence[str | None]]) -> list[str]:
    """Different ``notes`` of designs, each with its designs unless it applies to all."""
    those: dict[str, list[int]] = {}
    for design, said in notes.items():
        parts = (part for note in said if note is not None for part in note.split("; "))
        for part in dict.fromkeys(parts):
            those.setdefault(part, []).append(design)

    def told(part: str, designs: list[int]) -> str:
        if len(designs) == len(notes):
            return part
        more = f" and {len(designs) - _NAMED} more" if len(designs) > _NAMED else ""
        return f"{numbers_shown('design', sorted(designs)[:_NAMED])}{more}: {part}"

    return [told(*each) for each in those.items()]


def score(run: Outcome) -> float:
    """Metric of a run; 0 if it failed."""
    return 0.0 if run.value is None else run.value


def by_seed(runs: Sequence[Outcome]) -> dict[int, Outcome]:
    """Runs of a design by seed; a ValueError if a seed occurs twice."""
    found: dict[int, Outcome] = {}
    for run in runs:
        if run.seed in found:
            raise ValueError(f"seed {run.seed} occurs twice in one design")
        found[run.seed] = run
    return found


@final
@dataclass(frozen=True)
class Spread:
    """Variance of a mean over seeds and lesions, and its components."""

    variance: float
    """Variance for other seeds and other lesions, see :func:`variance_of`."""
    of_seeds: float
    """Variance with seeds alone drawn."""
    of_lesions: float
    """Variance with lesions alone drawn; 0 if there are none to draw."""
    lasting: float
    """Part of both variances that more seeds do not reduce, as the lesions stay the same. The rest
    falls as one over the number of seeds, or faster, see :meth:`on`."""
    seeds: int
    lesions: float
    """Number of lesions that determine the variance, see :func:`units`."""

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(self.variance)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of :attr:`variance`."""
        return degrees_of_freedom(self.of_seeds, self.seeds, self.of_lesions, self.lesions)

    def on(self, seeds: int) -> "Spread":
        """The spread with another number of ``seeds``, at least two, on the same lesions."""
        fewer = self.seeds / seeds
        of_seeds = self.of_seeds * fewer
        of_lesions = self.lasting + (self.of_lesions - self.lasting) * fewer
        # The excess of few seeds falls as 1 / (seeds * (seeds - 1)), see variance_of.
        beyond = self.variance - self.of_seeds - self.of_lesions
        beyond *= fewer * (self.seeds - 1) / (seeds - 1)
        variance = of_seeds + of_lesions + beyond
        return replace(
            self, variance=variance, of_seeds=of_seeds, of_lesions=of_lesions, seeds=seeds
        )


@final
@dataclass(frozen=True)
class Inference:
    """Estimate of a mean over seeds, or of a mean of paired differences."""

    mean: float | None
    """None without values."""
    interval: Interval | None
    """None with fewer than two values, or lesions."""
    p: float
    """Two-sided p for a mean of 0: 1 - level of the interval that ends at 0; 1 without interval."""
    unit: str
    """What the interval is over: ``seeds and lesions`` if the metric is computed from predictions
    that were kept, otherwise ``seeds``."""
    note: str | None = None
    """Why the interval may be too narrow, if a class that counts in the metric has few lesions; or
    that it was widened, see :func:`as_wide_as_lesions`; or why there is none, if lesions are
    missing."""
    spread: Spread | None = None
    """Spread from which the interval is computed."""


def infer(
    first: Sequence[Outcome],
    second: Sequence[Outcome] | None = None,
    *,
    metric: str,
    level: float = 0.95,
    resamples: int = 2000,
    generator: torch.Generator | None = None,
) -> Inference:
    """Mean of a design, or of differences of two, with its interval over seeds and lesions.

    Parameters
    ----------
    first, second : sequence of Outcome
        Runs, in pairs; a failed run scores 0.
    metric : str
        One of :data:`STUDY_METRICS`.
    level : float
        Level of the interval.
    resamples : int
        Bootstrap resamples of the lesions.
    generator : torch.Generator, optional
        Source of the resamples; by default a new one with seed 0.

    Raises
    ------
    ValueError
        For an unknown metric, a level outside (0, 1) or no resamples; if a seed occurs twice, the
        runs were tested on different pictures, or they are not pairs with the same seeds.
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
    note, of = None, None
    if lesions:
        note, of = few_lesions(known[0], metric), units(known[0], metric)
        if of.alone:
            return Inference(mean, None, 1.0, unit, note)
        spread = _crossed(values, first, second, known, of, metric, resamples, generator)
    else:
        of_seeds = float(values.var(ddof=1)) / len(values)
        spread = Spread(of_seeds, of_seeds, 0, 0, len(values), 1)
    interval, p = student(mean, spread.error, spread.freedom, level=level)
    interval = within_range(interval, metric, of_difference=second is not None)
    if of is not None and second is None:
        interval, note = as_wide_as_lesions(interval, mean, of, metric, note, level=level)
    if lesions and interval.low == interval.high:
        note = note or ALIKE
    return Inference(mean, interval, p, unit, note, spread)


def quantile(freedom: float, level: float) -> float:
    """Two-sided quantile of Student's t."""
    # From scipy.special, as scipy.stats takes ten times as long for one number.
    return float(special.stdtrit(freedom, (1 + level) / 2))


def student(
    value: float, error: float, freedom: float, *, level: float, null: float = 0.0
) -> tuple[Interval, float]:
    """Student's interval of a ``value`` with a standard error, and the two-sided p of ``null``."""
    reach = quantile(freedom, level) * error
    p = float(value == null)  # without any spread
    if error > 0:
        p = 2 * float(special.stdtr(freedom, -abs(value - null) / error))
    return Interval(value - reach, value + reach), p


def _crossed(
    values: Array,
    first: Sequence[Outcome],
    second: Sequence[Outcome] | None,
    known: Sequence[Predictions],
    lesions: Units,
    metric: str,
    resamples: int,
    generator: torch.Generator | None,
) -> Spread:
    """Spread of a mean over seeds when seeds and lesions are both drawn again.

    All seeds are tested on the same lesions, so both are drawn in the bootstrap, see
    :func:`variance_of`. Of S seeds, S - 1 are drawn, which makes their share of the variance
    unbiased (Rao and Wu, JASA 83 (1988) 231): with six seeds, drawing all of them would
    underestimate it by a sixth. Few seeds do not determine their spread well, so the quantile is
    that of Student's t, with the degrees of freedom of Satterthwaite (1946).

    On drawn lesions, the mean varies with the lesions, with variance ``l``, and with the seeds'
    differences on them, with variance ``c / S``; a single seed has ``l + c``. Both together give
    ``l``, which more seeds do not reduce.
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
    # With lesions alone, or seeds alone: their variances weight the degrees of freedom.
    of_lesions = float(np.nanvar(drawn.mean(1)))
    of_one_seed = float(np.nanvar(drawn, axis=0).mean())
    of_seeds = float(values.var(ddof=1)) / seeds
    # Contributions that can be computed are not drawn: the draws give only that of the lesions.
    both += of_seeds - float(values[picks].mean(1).var())
    variance = variance_of(both, of_seeds, of_lesions, seeds)
    return Spread(
        variance=variance,
        of_seeds=of_seeds,
        of_lesions=of_lesions,
        lasting=min(variance, max(0.0, (seeds * of_lesions - of_one_seed) / (seeds - 1))),
        seeds=seeds,
        lesions=lesions.telling,
    )


def variance_of(both: float, of_seeds: float, of_lesions: float, seeds: int) -> float:
    """Variance of a mean over ``seeds`` that are all tested on the same lesions.

    The differences between seeds on single lesions count once in the variance over seeds alone and
    once in that over lesions alone. With both drawn they count three times (Owen, The pigeonhole
    bootstrap, Annals of Applied Statistics 1 (2007) 386), and equal designs would hardly ever
    differ. The sum of the two variances, which counts them twice, keeps tests at their level from
    six seeds on. With two or three seeds, Satterthwaite's degrees of freedom are too many. The
    third count compensates for this: it is kept as one over ``seeds - 1`` (by simulation, see
    docs/concepts/statistics_validation.md).
    """
    twice = of_seeds + of_lesions
    return twice + max(0.0, both - twice) / (seeds - 1)


def added_by_noise(seen: float, both: Array, of_seeds: Array, of_lesions: Array) -> float:
    """Mean contribution of noise from seeds and lesions to a number that was ``seen``.

    The number grows with the square of the noise, such as a variance over designs. ``[R]`` of it
    are given for draws of both, of seeds alone and of lesions alone. Draws of both contain the
    noise of single seeds on single lesions three times, see :func:`variance_of`, the others once
    each. The number contains it once, so its part is twice the sum of the others less that of both.
    """
    by_both, by_seeds, by_lesions = (
        float(np.nanmean(drawn)) - seen for drawn in (both, of_seeds, of_lesions)
    )
    return 2 * (by_seeds + by_lesions) - by_both


def degrees_of_freedom(of_seeds: float, seeds: int, of_lesions: float, lesions: float) -> float:
    """Satterthwaite's degrees of freedom of a sum of two variances, each from so many draws."""
    weighed = of_seeds**2 / (seeds - 1) + of_lesions**2 / max(1, lesions - 1)
    return (of_seeds + of_lesions) ** 2 / weighed if weighed > 0 else seeds - 1


def judged(run: Outcome) -> Judged | None:
    """Sorted scores of a run; None if it failed."""
    part = run.predictions
    if part is None:
        return None
    return Judged(part.logits.astype(float), part.labels, classes=part.classes)


def drawn_metric(judge: Judged | None, weights: Array, metric: str) -> Array:
    """Metric on weighted rows ``[r, N]``; 0 for a failed run."""
    if judge is None:  # failed: score 0 on any lesions
        return np.zeros(len(weights))
    return judge.measure(weights, [metric], drawn=True)[metric]


def check_paired(parts: Sequence[Predictions]) -> None:
    """Refuse runs that were tested on different pictures."""
    for one, other in itertools.pairwise(parts):
        same = (one.identifiers, one.groups) == (other.identifiers, other.groups)
        if not same or not np.array_equal(one.labels, other.labels):
            raise ValueError(
                f"the runs were tested on different pictures ({len(one.labels)} and "
                f"{len(other.labels)}, or others, or with other labels or lesions), so they cannot "
                "be paired: compare designs that share data and split"
            )
