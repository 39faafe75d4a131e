"""Bootstrap over all designs of a study: the same seeds and lesions are drawn for each design.

::

    design 0 ─ seed 0 ─ scores [N, K] ─┐
             ─ seed 1 ─ ...            │ lesions drawn, for all runs alike ─► metric [R, D, S]
    design 1 ─ seed 0 ─ ...            │                                           │
             ─ ...                    ─┘   seeds drawn, for all designs alike ─────┴─► means [R, D]

Any result from the means of several designs, such as a front or a curve, is also computed for each
draw, which gives its interval. Variation common to all designs cancels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch

from classify.intervals import check_resampling, membership, resampled
from classify.metric_names import is_metric
from joint.judge.metric import check_study_metric, scores_nothing
from joint.saved.predictions import Predictions

from .inference import (
    ALIKE,
    Inference,
    Outcome,
    as_wide_as_lesions,
    by_seed,
    check_paired,
    degrees_of_freedom,
    drawn_metric,
    judged,
    student,
    variance_of,
    within_range,
)
from .lesion_units import Units, few_lesions, spread_out, units

__all__ = ["Draws", "resample"]

Array = npt.NDArray[Any]


@final
@dataclass(frozen=True, eq=False)
class Draws:
    """Means of designs over their seeds, as measured and as resampled."""

    metric: str
    designs: tuple[int, ...]
    """Numbers of the D designs that have a value."""
    left_out: tuple[int, ...]
    """Numbers of the designs without a value."""
    values: Array
    """Value of each run, ``[D, S]``; NaN if it has not ended, or failed and that has no score."""
    means: Array
    """Mean of each design, ``[D]``, over the seeds that it has."""
    drawn: Array
    """Means with seeds and lesions drawn, ``[R, D]``; R is 0 with fewer than two seeds. They vary
    more than :meth:`infer` says, see :func:`variance_of`."""
    of_seeds: Array
    """Means with seeds alone drawn, ``[R, D]``."""
    of_lesions: Array
    """Means with lesions alone drawn, ``[R, D]``."""
    lesions: Units | None
    """Units on which the metric is computed; None if no lesions were drawn."""
    times: Array
    """How often each seed was drawn, ``[R, S]``."""
    seeds: tuple[int, ...]
    """The S seeds."""
    unit: str
    """What was drawn: ``seeds and lesions``, or ``seeds``."""
    note: str | None
    """Why intervals may be too narrow, if so, or what was not drawn. Whether an interval was
    widened is noted for each design separately, see :meth:`of`."""

    @property
    def telling(self) -> float:
        """Number of lesions that determine the spread of the metric; 2 without any."""
        return 2.0 if self.lesions is None else self.lesions.telling

    def infer(self, weights: npt.ArrayLike, *, level: float = 0.95, null: float = 0.0) -> Inference:
        """A weighted sum of the means, with an interval like that of :func:`infer`.

        Parameters
        ----------
        weights : array ``[D]``
            One for each of :attr:`designs`.
        level : float
            Level of the interval.
        null : float
            Value tested by p: p is 1 - level of an interval whose end is this value.

        Raises
        ------
        ValueError
            For a wrong number of weights, or a level outside (0, 1).
        """
        check_resampling(1, level)
        weights = np.asarray(weights, dtype=float)
        if weights.shape != self.means.shape:
            raise ValueError(
                f"give one weight for each of {len(self.designs)} designs, not an array of "
                f"shape {weights.shape}"
            )
        used = weights != 0
        value = float(weights[used] @ self.means[used])
        seeds = int(np.isfinite(self.values[used]).sum(1).min(initial=self.values.shape[1]))
        alone = self.lesions is not None and self.lesions.alone
        if len(self.drawn) == 0 or seeds < 2 or not used.any() or alone:
            return Inference(value, None, 1.0, self.unit, self.note)
        both, of_seeds, of_lesions = (
            _variance(part[:, used] @ weights[used])
            for part in (self.drawn, self.of_seeds, self.of_lesions)
        )
        there = np.isfinite(self.values[used])
        count = there.sum(1, keepdims=True)
        apart = np.where(there, self.values[used] - self.means[used, None], 0)
        told = weights[used] @ (apart / np.sqrt(count * (count - 1)))
        exact = float(told @ told)
        # Contributions that can be computed are not drawn. One seed fewer is drawn than there are;
        # for a design with only some of the seeds that is too many.
        both = variance_of(both + exact - of_seeds, exact, of_lesions, seeds)
        of_seeds = exact
        freedom = degrees_of_freedom(of_seeds, seeds, of_lesions, self.telling)
        interval, p = student(value, math.sqrt(both), freedom, level=level, null=null)
        return Inference(value, interval, p, self.unit, self.note)

    def of(self, design: int, *, level: float = 0.95) -> Inference:
        """The mean of one ``design``, with an interval cut to possible values, at ``level``."""
        found = self.infer(np.arange(len(self.designs)) == self.place(design), level=level)
        if found.interval is None or found.mean is None:
            return found
        interval, note = within_range(found.interval, self.metric), found.note
        if self.lesions is not None:
            interval, note = as_wide_as_lesions(
                interval, found.mean, self.lesions, self.metric, note, level=level
            )
            if interval.low == interval.high:
                note = note or ALIKE
        return replace(found, interval=interval, note=note)

    def along(self, values: Array) -> tuple[Array, Array]:
        """Means of other ``values`` of each run, ``[D, S]``, as measured and on the seeds drawn.

        Returns
        -------
        array ``[D]``, array ``[R, D]``
            NaN where no run has a value.
        """
        there = np.isfinite(values)
        total = np.where(there, values, 0).sum(1)
        count = there.sum(1)
        means = np.divide(total, count, out=np.full(len(values), math.nan), where=count > 0)
        return means, _mean(values[None], self.times)

    def place(self, design: int) -> int:
        """Index of ``design``, a number, in the arrays; a ValueError if it is not there."""
        if design not in self.designs:
            raise ValueError(
                f"design {design} has no {self.metric}; designs that have it are "
                f"{', '.join(map(str, self.designs)) or 'none'}"
            )
        return self.designs.index(design)


def resample(
    ended: Mapping[int, Sequence[Outcome]],
    *,
    metric: str,
    resamples: int = 2000,
    generator: torch.Generator | None = None,
) -> Draws:
    """Draw the seeds and lesions of all designs of a study again (bootstrap).

    Of S seeds, S - 1 are drawn, which makes their share of the variance unbiased, see
    :func:`infer`. If the designs were tested on different pictures, only seeds are drawn.

    Parameters
    ----------
    ended : mapping from int to sequence of Outcome
        Ended runs of each design, as :func:`outcomes` gives them. A failed run scores 0 if the
        metric is a share of correct results; for other metrics it is left out.
    metric : str
        One of :data:`STUDY_METRICS`.
    resamples : int
        Number of draws.
    generator : torch.Generator, optional
        Source of the draws; by default a new one with seed 0.

    Raises
    ------
    ValueError
        For an unknown metric, no draws, or a seed that occurs twice in one design.
    """
    check_study_metric(metric)
    check_resampling(resamples)
    generator = generator or torch.Generator().manual_seed(0)
    nothing = 0.0 if scores_nothing(metric) else math.nan
    seeds = sorted({run.seed for runs in ended.values() for run in runs})
    place = {seed: number for number, seed in enumerate(seeds)}
    table: dict[int, Array] = {}
    for number, runs in ended.items():
        row = np.full(len(seeds), math.nan)
        for run in by_seed(runs).values():
            row[place[run.seed]] = nothing if run.value is None else run.value
        if np.isfinite(row).any():
            table[number] = row
    designs = tuple(table)
    values = np.array([*table.values()]) if table else np.zeros((0, len(seeds)))
    known, note = _lesions({number: ended[number] for number in designs}, metric)
    empty = np.zeros((0, len(designs)))
    drawn = of_seeds = of_lesions = empty
    times = np.zeros((0, len(seeds)))
    if len(seeds) > 1 and designs:
        on_lesions: Array | None = None
        if known:
            runs = {number: {run.seed: run for run in ended[number]} for number in designs}
            ordered = [[runs[number].get(seed) for seed in seeds] for number in designs]
            on_lesions = _on_lesions(ordered, known[0], metric, resamples, generator)
        of_lesions = _mean(
            np.broadcast_to(values, (resamples, *values.shape))
            if on_lesions is None
            else on_lesions,
            np.ones((resamples, len(seeds))),
        )
        picks = torch.randint(len(seeds), (resamples, len(seeds) - 1), generator=generator)
        times = np.zeros((resamples, len(seeds)))
        np.add.at(times, (np.arange(resamples)[:, None], picks.numpy()), 1)
        of_seeds = _mean(values[None], times)
        drawn = of_seeds if on_lesions is None else _mean(on_lesions, times)
    return Draws(
        metric=metric,
        designs=designs,
        left_out=tuple(number for number in ended if number not in table),
        values=values,
        means=np.array([np.nanmean(row) for row in values]),
        drawn=drawn,
        of_seeds=of_seeds,
        of_lesions=of_lesions,
        lesions=units(known[0], metric) if known else None,
        times=times,
        seeds=tuple(seeds),
        unit="seeds and lesions" if known else "seeds",
        note=note,
    )


def _lesions(
    ended: Mapping[int, Sequence[Outcome]], metric: str
) -> tuple[list[Predictions], str | None]:
    """Predictions of all runs if lesions can be drawn, and a note otherwise."""
    runs = [run for group in ended.values() for run in group]
    known = [run.predictions for run in runs if run.predictions is not None]
    if not is_metric(metric) or not known:
        return [], None
    if any(run.predictions is None and run.value is not None for run in runs):
        return [], "some runs kept no predictions: intervals are over seeds alone"
    try:
        check_paired(known)
    except ValueError:
        return [], (
            "the designs were tested on different pictures: intervals are over seeds alone, on "
            "these pictures"
        )
    return known, few_lesions(known[0], metric)


def _on_lesions(
    ordered: Sequence[Sequence[Outcome | None]],
    part: Predictions,
    metric: str,
    resamples: int,
    generator: torch.Generator,
) -> Array:
    """Metric of each run on drawn lesions, ``[R, D, S]``; NaN where there is no run."""
    member = membership(part.groups, len(part.labels))
    judges = [[None if run is None else judged(run) for run in runs] for runs in ordered]
    chunks = []
    for weights in resampled(member, resamples, generator):
        chunk = np.full((len(weights), len(ordered), len(ordered[0])), math.nan)
        for d, runs in enumerate(ordered):
            for s, run in enumerate(runs):
                if run is not None:
                    chunk[:, d, s] = drawn_metric(judges[d][s], weights, metric)
        chunks.append(chunk)
    return spread_out(np.concatenate(chunks), part, metric)


def _variance(drawn: Array) -> float:
    """Variance of the draws that are numbers."""
    return float(drawn[np.isfinite(drawn)].var())


def _mean(values: Array, times: Array) -> Array:
    """Means over seeds with their counts: ``[R, D, S]`` and ``[R, S]`` to ``[R, D]``."""
    there = np.isfinite(values)
    weight = times[:, None, :] * there
    total = (weight * np.where(there, values, 0)).sum(-1)
    count = weight.sum(-1)
    return np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0)
