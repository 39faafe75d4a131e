"""Comparison of two designs over seeds and lesions, and how many seeds show a difference.

::

    design a ─ seed 0 ─ scores [N, K] ─┐ pair      ┌─ sign_flip_test ──► could chance have dealt it
    design b ─ seed 0 ─ scores [N, K] ─┴► d_0      │
       ...                              d_1 ... ───┼─ interval over seeds and lesions
    a run that failed scores nothing               └─ seeds_needed ────► what would show it

A difference is called ``better`` only if the test and the interval both say so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from scipy import special

from classify import Interval, mcnemar
from classify.metric_names import of_class
from joint.judge.metric import check_study_metric, lower_is_better, scores_nothing
from joint.record import as_json
from joint.saved.predictions import Predictions
from joint.study.significance import MOST_SEEDS, fewest_seeds, holm, seeds_needed, sign_flip_test

from .inference import Outcome, Spread, by_seed, check_paired, infer, quantile, score

__all__ = ["Estimate", "PairedDifference", "adjusted", "compare", "estimate", "unpaired"]


@final
@dataclass(frozen=True)
class Estimate:
    """Mean of a design over its seeds."""

    mean: float | None
    """None if no run has a value."""
    interval: Interval | None
    """None with fewer than two seeds, or lesions."""
    count: int
    """Runs that ended, including failed ones."""
    failed: int
    """Runs that failed."""
    unit: str
    """What the interval is over: ``seeds and lesions``, or ``seeds``."""
    note: str | None = None
    """Why the interval may be too narrow, or that it was widened, see :class:`Inference`."""


@final
@dataclass(frozen=True)
class PairedDifference:
    """Difference of two designs over paired seeds, first minus second."""

    name: str
    metric: str
    first: float | None
    """Mean of the first design."""
    second: float | None
    difference: float | None
    """None if no pair has a value, or the runs cannot be paired."""
    interval: Interval | None
    """None with fewer than two pairs, or lesions."""
    level: float
    unit: str
    """What the interval is over: ``seeds and lesions``, or ``seeds``."""
    p: float
    """Two-sided p of the sign-flip test: over seeds, on these test pictures."""
    interval_p: float
    """Two-sided p from the interval: 1 - level of the interval that ends at a difference of 0. For
    the recall of one class, and other numbers of few lesions only (for the specificity, those of
    the other classes), it is at least that of their sign test, ``2**(1 - n)``."""
    adjusted_p: float
    """The larger of the two p, adjusted for the number of planned comparisons (:func:`holm`)."""
    alpha: float
    """Level at which an adjusted p counts as shown."""
    pairs: int
    """Number of seeds on which both designs have a value."""
    wanted: int
    """Number of planned seeds."""
    missing: int
    """Number of seeds on which a run has not ended."""
    failed: tuple[int, int]
    """Failed runs of each design."""
    spread: float | None
    """Standard deviation of the paired differences over seeds; None with fewer than two pairs."""
    needed: int | None
    """Seeds with which the sign-flip test and the interval would both show such a difference with
    80 % power, on these test pictures; None if 10 000 would not do. Among several planned
    comparisons, for the one that Holm judges most strictly."""
    more_lesions: float | None
    """Factor on the number of lesions without which no number of seeds would do; None if some
    number of seeds would, if lesions are not what is missing, or if a factor of 10 000 is too
    small."""
    planned: bool
    """Whether it was named before the first run."""
    note: str | None = None
    """Why the interval may be too narrow, see :class:`Inference`; without a difference, why there
    is none."""
    mcnemar: tuple[float, ...] = ()
    """p of :func:`classify.mcnemar` for the two runs of each seed: whether these two classifiers
    are correct equally often. It says nothing about other seeds and is for information only."""
    bpp: tuple[float, float] | None = None
    """Mean bits per pixel of each design, as the codec estimates them, if both have one."""
    error: Spread | None = None
    """Spread from which the interval is computed; None with fewer than two pairs."""

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``not shown``, for the first design, with the reason."""
        if self.difference is None and self.note is not None:
            return f"not shown: {self.note}"
        if self.missing:
            return f"not shown: {self.missing} of {self.wanted} pairs have not ended"
        if self._all_failed:
            return "not shown: all runs failed"
        if self._one_failed:  # whatever the cause, nothing is known of its design
            side = "first" if self.failed[0] == self._ended else "second"
            return f"not shown: all runs of the {side} failed"
        if self.difference is None or self.interval is None:
            why = self.note if self.pairs > 1 else None
            return f"not shown: {why or 'there are too few pairs'}"
        if self.adjusted_p > self.alpha:  # the larger p of test and interval
            return "not shown"
        first_wins = (self.difference < 0) == lower_is_better(self.metric)
        if not scores_nothing(self.metric) and self.failed[0 if first_wins else 1]:
            return "not shown: the better one has runs that failed"
        word = "better" if first_wins else "worse"
        return word if self.planned else f"perhaps {word}: confirm it on fresh seeds"

    def __str__(self) -> str:
        if self.difference is None or self.interval is None:
            return f"{self.name}: {self.metric}: {self.verdict}"
        rates = "" if self.bpp is None else " ({:.4g} and {:.4g} estimated bpp)".format(*self.bpp)
        lines = [
            f"{self.name}: {self.metric} {self.first:.4f} against {self.second:.4f}{rates}: "
            f"{self.verdict}",
            f"difference {self.difference:+.4f}, {100 * self.level:g} % interval "
            f"{self.interval:+.4f} over {self.unit}, from {self.pairs} pairs of runs",
            f"p = {self.p:.3g} of the sign-flip test, {self.interval_p:.3g} of the interval",
        ]
        if self.adjusted_p != max(self.p, self.interval_p):
            lines[-1] += f"; {self.adjusted_p:.3g} after Holm's adjustment"
        if self.mcnemar:
            shown = sum(p <= self.alpha for p in self.mcnemar)
            lines.append(
                "McNemar's test, for information only: the two runs differ in "
                f"{shown} of {len(self.mcnemar)} pairs"
            )
        if any(self.failed):
            counts = "which score 0" if scores_nothing(self.metric) else "which are left out"
            lines.append(f"failed runs: {self.failed[0]} and {self.failed[1]}, {counts}")
        if self.advice and self.verdict not in ("better", "worse"):
            lines.append(self.advice)
        lines += [] if self.note is None else self.note.split("; ")
        return "\n  ".join(lines)

    @property
    def advice(self) -> str:
        """What would show a difference that was not shown; empty if none was measured."""
        if self.difference is None or self.interval is None or self._one_failed:
            return ""
        if self.needed is not None:
            return f"a difference like this takes about {self.needed} seeds"
        if self.more_lesions is None:
            return "no number of seeds would show a difference like this"
        seeds = "the seeds agree" if self.p <= self.alpha else "more seeds would not be enough"
        return (
            f"{seeds}, but there are too few lesions to test on: a difference like this needs more "
            f"than {self.more_lesions:.2g} times as many"
        )

    @property
    def _all_failed(self) -> bool:
        """Whether all runs of both designs failed: their scores of 0 say nothing."""
        return self._ended > 0 and self.failed == (self._ended, self._ended)

    @property
    def _one_failed(self) -> bool:
        """Whether all runs of one of the designs failed."""
        return self._ended > 0 and self._ended in self.failed

    @property
    def _ended(self) -> int:
        """Number of seeds on which both runs have ended."""
        return self.wanted - self.missing

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return as_json(vars(self) | {"verdict": self.verdict})


def compare(
    first: Sequence[Outcome],
    second: Sequence[Outcome],
    *,
    metric: str = "balanced_accuracy",
    name: str = "first against second",
    seeds: Sequence[int] | None = None,
    planned: bool = False,
    alpha: float = 0.05,
    resamples: int = 2000,
    generator: torch.Generator | None = None,
) -> PairedDifference:
    """Compare two designs seed by seed.

    Two results must agree. The sign-flip test tells whether chance over seeds could give such a
    difference, on these test pictures. Alone it is not enough: two equal designs that are good at
    different lesions differ on all seeds in the same direction and pass it far too often. The
    interval is over seeds and lesions (:func:`infer`).

    A run that failed or diverged is an outcome, not a gap: it scores 0 if the metric is a share of
    correct results. If a failure has no score (loss, bits), its pair is left out, and a design with
    failures is never called better. If all runs of a design failed, nothing is shown, whatever the
    metric: workers that were killed say nothing about the design.

    Parameters
    ----------
    first, second : sequence of Outcome
        Ended runs of each design; the caller leaves out runs that have not ended.
    metric : str
        One of :data:`STUDY_METRICS`.
    name : str
        Name of the comparison, for output.
    seeds : sequence of int, optional
        Planned seeds; by default all on which either design has a run.
    planned : bool
        Whether this comparison was named before the first run. One that was not is exploration.
    alpha : float
        Level of the test; the interval has the level 1 - alpha.
    resamples : int
        Bootstrap resamples of the lesions.
    generator : torch.Generator, optional
        Source of the resamples; by default a new one with seed 0.

    Raises
    ------
    ValueError
        For an unknown metric, an alpha outside (0, 1), no resamples, a seed that occurs twice, or
        runs that were tested on different pictures.
    """
    check_study_metric(metric)
    ours, theirs = by_seed(first), by_seed(second)
    wanted = list(seeds) if seeds is not None else sorted(ours.keys() | theirs.keys())
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"the planned seeds must differ: {wanted}")
    both = [seed for seed in wanted if seed in ours and seed in theirs]
    parts = [run.predictions for seed in both for run in (ours[seed], theirs[seed])]
    check_paired([part for part in parts if part is not None])  # also needed for a loss
    scored = [
        (ours[seed], theirs[seed])
        for seed in both
        if scores_nothing(metric) or None not in (ours[seed].value, theirs[seed].value)
    ]
    one, other = [run for run, _ in scored], [run for _, run in scored]
    left, right = (np.array([score(run) for run in runs]) for runs in (one, other))
    differences = left - right
    found = infer(
        one, other, metric=metric, level=1 - alpha, resamples=resamples, generator=generator
    )
    pairs = len(scored)
    tested = [s for s in both if None not in (ours[s].predictions, theirs[s].predictions)]
    p = sign_flip_test(differences, generator=generator) if pairs else 1.0
    interval_p = max(found.p, _least_p(metric, found.spread))
    spread = float(differences.std(ddof=1)) if pairs > 1 else None
    return PairedDifference(
        name=name,
        metric=metric,
        first=float(left.mean()) if pairs else None,
        second=float(right.mean()) if pairs else None,
        difference=found.mean,
        interval=found.interval,
        level=1 - alpha,
        unit=found.unit,
        p=p,
        interval_p=interval_p,
        adjusted_p=max(p, interval_p),
        alpha=alpha,
        pairs=pairs,
        wanted=len(wanted),
        missing=len(wanted) - len(both),
        failed=(
            sum(ours[seed].value is None for seed in both),
            sum(theirs[seed].value is None for seed in both),
        ),
        spread=spread,
        needed=_needed(found.mean, spread, found.spread, metric, alpha),
        more_lesions=_more_lesions(found.mean, found.spread, metric, alpha),
        planned=planned,
        note=found.note,
        mcnemar=tuple(
            _mcnemar(ours[seed].predictions, theirs[seed].predictions) for seed in tested
        ),
        error=found.spread,
    )


def unpaired(
    first: Sequence[Outcome],
    second: Sequence[Outcome],
    *,
    metric: str,
    name: str,
    seeds: Sequence[int],
    planned: bool,
    alpha: float,
    note: str = "tested on different pictures",
) -> PairedDifference:
    """Result in place of :func:`compare` for runs that cannot be paired: only the means.

    Parameters
    ----------
    first, second, metric, name, seeds, planned, alpha : as in :func:`compare`
    note : str
        Why they cannot be paired.

    Returns
    -------
    PairedDifference

    Raises
    ------
    ValueError
        As :func:`compare`, but not for runs that were tested on different pictures.
    """
    bare = [[replace(run, predictions=None) for run in runs] for runs in (first, second)]
    found = compare(*bare, metric=metric, name=name, seeds=seeds, planned=planned, alpha=alpha)
    return replace(
        found,
        difference=None,
        interval=None,
        p=1.0,
        interval_p=1.0,
        adjusted_p=1.0,
        spread=None,
        needed=None,
        more_lesions=None,
        error=None,
        note=note,
    )


def _mcnemar(first: Predictions | None, second: Predictions | None) -> float:
    assert first is not None
    assert second is not None
    return mcnemar(first.logits, second.logits, labels=first.labels).p


def adjusted(contrasts: Sequence[PairedDifference]) -> tuple[PairedDifference, ...]:
    """The planned ``contrasts`` with p and needed seeds adjusted for their number.

    See :func:`holm`. The smallest p must be at most alpha divided by the number of comparisons, and
    which one will be the smallest is not known beforehand.
    """
    values = holm([max(contrast.p, contrast.interval_p) for contrast in contrasts])
    found: list[PairedDifference] = []
    for one, p in zip(contrasts, values, strict=True):
        alpha = one.alpha / len(contrasts)
        needed = _needed(one.difference, one.spread, one.error, one.metric, alpha)
        more_lesions = _more_lesions(one.difference, one.error, one.metric, alpha)
        found.append(replace(one, adjusted_p=p, needed=needed, more_lesions=more_lesions))
    return tuple(found)


_POWER = 0.8


def _least_p(metric: str, error: Spread | None) -> float:
    """Lower limit of p for a metric of a few lesions: by chance all of them favour one design.

    Otherwise, lesions with equal results would prove a difference by the seeds. Precision and F1
    also depend on lesions of other classes.
    """
    number, _ = of_class(metric) or ("", "")
    if error is None or number in ("", "precision", "f1"):
        return 0.0
    return float(2.0 ** (1 - error.lesions))


def _needed(
    difference: float | None,
    spread: float | None,
    error: Spread | None,
    metric: str,
    alpha: float,
) -> int | None:
    """Number of seeds with which test and interval would both show the ``difference``."""
    if difference is None or spread is None or error is None or _least_p(metric, error) > alpha:
        return None
    tested = seeds_needed(difference, spread, power=_POWER, alpha=alpha)
    if tested is None:
        return None

    def shows(seeds: int) -> bool:
        # The spread for other seeds; the lesions stay the same.
        beyond = abs(difference) - _reach(error.on(seeds), alpha)
        return bool(beyond * math.sqrt(seeds) >= special.ndtri(_POWER) * spread)

    return fewest_seeds(shows, at_least=tested)


def _more_lesions(
    difference: float | None, error: Spread | None, metric: str, alpha: float
) -> float | None:
    """Factor on the lesions that makes the interval for infinitely many seeds narrow enough."""
    if not difference or error is None:
        return None
    times = (_reach(error.on(MOST_SEEDS), alpha) / difference) ** 2
    if _least_p(metric, error) > alpha:
        times = max(times, (1 - math.log2(alpha)) / error.lesions)
    return times if 1 <= times <= MOST_SEEDS else None  # larger ones, also by rounding, are ignored


def _reach(error: Spread, alpha: float) -> float:
    return quantile(error.freedom, 1 - alpha) * error.error


def estimate(
    runs: Sequence[Outcome],
    *,
    metric: str = "balanced_accuracy",
    level: float = 0.95,
    resamples: int = 2000,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Mean of a design over its seeds, with an interval over seeds and lesions.

    Failed runs count as in :func:`compare`.

    Parameters
    ----------
    runs : sequence of Outcome
        One per seed.
    metric, level, resamples, generator : as in :func:`compare`

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        As :func:`compare`.
    """
    check_study_metric(metric)
    runs = list(by_seed(runs).values())
    scored = [run for run in runs if run.value is not None or scores_nothing(metric)]
    found = infer(scored, metric=metric, level=level, resamples=resamples, generator=generator)
    failed = sum(run.value is None for run in runs)
    return Estimate(found.mean, found.interval, len(runs), failed, found.unit, found.note)
