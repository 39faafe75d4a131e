"""Accuracies of several systems on the same pictures, and differences with paired intervals.

::

    evaluations [E] ─ the same draws of lesions ─► rates [E, draws, 2] ─ sums, differences ─► Scores
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from classify import Interval
from classify.intervals import (
    check_resampling,
    check_units,
    membership,
    percentile_interval,
    resampled,
    source,
)
from classify.judged import Judged
from joint.evaluate import Evaluation

__all__ = ["DrawnScores", "Score", "Scores", "signed"]

Array = npt.NDArray[Any]

_METRICS = ("accuracy", "balanced_accuracy")


class Score(NamedTuple):
    """A number and its interval over lesions."""

    value: float
    """The number."""
    interval: Interval
    """Percentiles of the draws, so that a number and a difference have intervals of one kind. A
    report's own interval of balanced accuracy is wider where a class has few lesions."""

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}]"


class Scores(NamedTuple):
    """Of one system, or a difference of systems on the same lesions."""

    accuracy: Score
    """Share of the pictures that are right."""
    balanced_accuracy: Score
    """Mean recall of the classes."""


def signed(scores: Scores) -> tuple[str, str]:
    """Both differences with their signs, for a table."""
    shown = [(score.value, *score.interval) for score in scores]
    accuracy, balanced = (f"{v:+.3f} [{low:+.3f}, {high:+.3f}]" for v, low, high in shown)
    return accuracy, balanced


class DrawnScores:
    """Accuracies of several systems on the same pictures, under the same draws of lesions.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Of the same data set.
    resamples : int
        Draws.
    level : float
        Confidence level of the intervals, in (0, 1).
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Raises
    ------
    ValueError
        When an evaluation has no scores or other pictures than the first, or there are fewer than
        two lesions.
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
        check_units(member, first.groups)
        once = np.ones((1, len(member)))
        self._values = np.stack([_rates(j, once)[0] for j in judged])
        parts = [
            np.stack([_rates(j, weights) for j in judged])
            for weights in resampled(member, resamples, source(generator))
        ]
        self._draws = np.concatenate(parts, 1)  # [E, r, 2]
        self._level = level

    def combined(self, plus: Sequence[int], minus: Sequence[int] = (), *, parts: int = 1) -> Scores:
        """Numbers of some systems, minus those of others, by ``parts``; each may come again."""
        terms = ([*plus], [*minus])
        values, draws = (
            (each[terms[0]].sum(0) - each[terms[1]].sum(0)) / parts
            for each in (self._values, self._draws)
        )
        return Scores(
            *(
                Score(float(value), percentile_interval(drawn, self._level))
                for value, drawn in zip(values, draws.T, strict=True)
            )
        )


def _rates(judged: Judged, weights: Array) -> Array:
    """Accuracy and balanced accuracy ``[r, 2]``."""
    found = judged.measure(weights, _METRICS, drawn=True)
    return np.stack([found[name] for name in _METRICS], 1)
