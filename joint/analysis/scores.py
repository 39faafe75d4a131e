"""Accuracies of several systems on the same pictures, and differences with paired intervals.

::

                     ┌─ draws of lesions ─► accuracy, recall of each class ─► a number ──┐
    evaluations [E] ─┤                                                                   ├─► Scores
                     └─ halves of the lesions ─► both accuracies ──────────► a difference ┘

A number has the interval that it has in a report (:func:`classify.report`), and a difference that
of :func:`classify.bootstrap_difference`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from classify import Interval
from classify.intervals import (
    check_resampling,
    halves,
    mean_interval,
    membership,
    percentile_interval,
    resampled,
    source,
    typical_interval,
    with_width,
)
from classify.judged import Judged
from joint.judge.evaluation import Evaluation

from .by_lesion import equal_lesions_in

__all__ = ["DrawnScores", "Score", "Scores", "signed"]

Array = npt.NDArray[Any]


class Score(NamedTuple):
    """A number and its interval over lesions."""

    value: float
    """The number."""
    interval: Interval
    """Interval of a number, as in a report; that of a difference excludes 0 if a paired test
    rejects equality."""

    def __str__(self) -> str:
        return f"{self.value:.3f} {self.interval:.3f}"


class Scores(NamedTuple):
    """Scores of one system, or a difference of systems on the same lesions."""

    accuracy: Score
    """Share of the pictures that are right."""
    balanced_accuracy: Score
    """Mean recall of the classes."""


def signed(scores: Scores) -> tuple[str, str]:
    """Both differences with their signs, for a table."""
    accuracy, balanced = (f"{each.value:+.3f} {each.interval:+.3f}" for each in scores)
    return accuracy, balanced


class DrawnScores:
    """Accuracies of several systems on the same pictures, under the same draws of lesions.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Evaluations of the same data set.
    resamples : int
        Draws.
    level : float
        Confidence level of the intervals, in (0, 1).
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Raises
    ------
    ValueError
        When an evaluation has no scores or other pictures than the first.
    """

    def __init__(
        self,
        evaluations: Sequence[Evaluation],
        *,
        resamples: int,
        level: float,
        generator: torch.Generator | None,
    ) -> None:
        check_resampling(resamples, level)
        first = evaluations[0]
        judged = []
        for evaluation in evaluations:
            if evaluation.logits is None:
                raise ValueError(
                    "the system has no classifier, and without one there is no accuracy"
                )
            if evaluation.identifiers != first.identifiers:
                raise ValueError("the systems judged different pictures: pair them on the same")
            logits = np.asarray(evaluation.logits, dtype=float)
            judged.append(Judged(logits, evaluation.labels, classes=logits.shape[1]))
        member = membership(first.groups, len(first.labels))
        self._level = level
        present = np.unique(first.labels)
        of_class = first.labels[:, None] == present
        columns = np.column_stack([np.ones(len(member)), of_class])
        self._lesions = equal_lesions_in(member, columns)  # [1 + K], of all and of each class
        self._values = np.stack([_rates(j, np.ones((1, len(member))), present)[0] for j in judged])
        parts = [
            np.stack([_rates(j, weights, present) for j in judged])
            for weights in resampled(member, resamples, source(generator))
        ]
        self._draws = np.concatenate(parts, 1)  # [E, r, 1 + K]
        if member.max() == 0:  # every draw is the same, which is no certainty
            self._draws[:] = np.nan
        shares = np.stack([_share(judged[0], metric) for metric in Scores._fields], 1)
        hits = np.stack([(j.guesses == j.labels).astype(float) for j in judged])
        chunks = [
            np.stack([half @ shares, *((half * right) @ shares for right in hits)])
            for half in halves(member, resamples, source(generator))
        ]
        whole, *each = np.concatenate(chunks, 1)
        self._halves = np.stack(each) / whole  # [E, r, 2]

    def combined(self, plus: Sequence[int], minus: Sequence[int] = (), *, parts: int = 1) -> Scores:
        """Sum of the scores of some systems minus those of others, divided by ``parts``.

        A system may occur several times. With a single lesion, scores have no interval (nan), and
        differences have the widest possible one.
        """
        terms = ([*plus], [*minus])
        rates, draws, differences = (
            (each[terms[0]].sum(0) - each[terms[1]].sum(0)) / parts
            for each in (self._values, self._draws, self._halves)
        )
        accuracy, recalls = float(rates[0]), rates[1:]
        if plus and not minus:
            ends = np.array([percentile_interval(drawn, self._level) for drawn in draws.T])
            ends = with_width(ends, rates, self._lesions, level=self._level)
            intervals = [
                Interval(*ends[0].tolist()),
                mean_interval(recalls, ends[1:], draws[:, 1:]),
            ]
        else:
            differences[np.abs(differences) < 1e-12] = 0  # but for rounding
            farthest = len(minus) / parts, len(plus) / parts
            intervals = [self._between(drawn, *farthest) for drawn in differences.T]
        values = accuracy, float(recalls.mean())
        return Scores(*map(Score, values, intervals))

    def _between(self, draws: Array, below: float, above: float) -> Interval:
        """Interval of a difference that can be no farther below or above 0 than that."""
        low, high = typical_interval(draws, self._level)
        return Interval(max(low, -below), min(high, above))


def _rates(judged: Judged, weights: Array, present: Array) -> Array:
    """Accuracy, and recall of the classes that are present, ``[r, 1 + K]``."""
    found = judged.measure(weights, ("accuracy", "recall"), drawn=True)
    return np.column_stack([found["accuracy"], found["recall"][:, present]])


def _share(judged: Judged, metric: str) -> Array:
    """How much each picture counts in a metric ``[N]``."""
    parts = judged.parts(metric)
    assert parts is not None  # both are sums over the pictures
    return parts[0]
