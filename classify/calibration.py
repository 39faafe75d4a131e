"""Correct how sure a trained classifier is.

::

    validation logits [N, K], labels [N]
      ──fit_temperature────────────────► T      softmax(logits / T)
      ──fit_bias_corrected_temperature─► T, b   softmax(logits / T + b)

Both are fitted to validation pictures and then kept: fitted to the test set they are part of the
result, not of the system.
"""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize
from scipy.special import log_softmax, softmax
from torch import Tensor

from .judged import as_array, judged_by, warn_of_probabilities

__all__ = ["BiasCorrectedTemperature", "fit_bias_corrected_temperature", "fit_temperature"]

Array = npt.NDArray[Any]

# Temperatures between which the minimum is looked for first.
_ENDS = (0.01, 100.0)
# Times the usual distance below the top, from which a class counts as impossible.
_IMPOSSIBLE = 1000.0
# Nats below the top at which a class has no weight.
_WEIGHTLESS = 40.0
# Powers of e: further out, rounding tells where the slope is zero, and the search ends.
_FARTHEST = 35.0


def fit_temperature(logits: Array | Tensor, labels: Array | Tensor) -> float:
    """Temperature T that minimises the NLL of ``softmax(logits / T)`` (Guo et al., ICML 2017).

    The NLL is convex in 1 / T, so that there is one minimum, and T = 1 is never better. Dividing
    by T changes no prediction.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of validation pictures; -inf, or a number far below all others such as -1e9,
        for classes that are impossible.
    labels : array of int ``[N]``
        Their true classes.

    Returns
    -------
    float
        The minimum, wherever it lies. Where there is none, an end to search: 0.01 without a single
        mistake, as the NLL falls down to T = 0, and 100 for scores that are no better than chance,
        as it falls up to infinity. 1 where T makes no difference, as all scores are equal.

    Raises
    ------
    ValueError
        When shapes or labels do not fit, a score is not a number, or a true class has the score
        -inf, which no temperature mends.

    Warns
    -----
    UserWarning
        Where the NLL has no minimum, so that no temperature is to be had of these pictures, and for
        probabilities, each row of which sums to 1.
    """
    logits, labels, true = _mendable(logits, labels)

    def slope(inverse: float) -> float:
        """Derivative of the NLL by 1 / T: mean score under the softmax less that of the truth."""
        shares = softmax(inverse * logits, axis=1)
        expected = np.where(shares > 0, shares * np.where(shares > 0, logits, 0), 0).sum(1)
        return float((expected - true).mean())

    # The slope grows with 1 / T: from that of guessing among the possible classes, at T = infinity,
    # to that of the surest class, at T = 0.
    possible = np.isfinite(logits)
    guessed = np.where(possible, logits, 0).sum(1) / possible.sum(1)
    at_infinity, at_zero = (float((s - true).mean()) for s in (guessed, logits.max(1)))
    if at_infinity == at_zero == 0:
        return 1.0
    low, high = -math.log(_ENDS[1]), -math.log(_ENDS[0])  # of the logarithm of 1 / T
    while at_infinity < 0 and slope(math.exp(low)) >= 0 and low > -_FARTHEST:
        low -= 1
    while at_zero > 0 and slope(math.exp(high)) <= 0 and high < _FARTHEST:
        high += 1
    if slope(math.exp(high)) <= 0:
        return _end_of_search(
            _ENDS[0],
            f"the lower the temperature the better on these {len(labels)} pictures, as where the "
            "scores make not one mistake",
        )
    if slope(math.exp(low)) >= 0:
        return _end_of_search(
            _ENDS[1],
            f"the higher the temperature the better on these {len(labels)} pictures, as where the "
            "scores know no more than chance",
        )
    found = brentq(lambda t: slope(math.exp(t)), low, high, xtol=1e-12)
    return math.exp(-float(found))  # pyright: ignore[reportArgumentType]


class BiasCorrectedTemperature(NamedTuple):
    """``softmax(logits / temperature + bias)`` is what the classifier should have said."""

    temperature: float
    """T, by which scores are divided."""
    bias: Array
    """``[K]``, of mean 0."""


def fit_bias_corrected_temperature(
    logits: Array | Tensor, labels: Array | Tensor
) -> BiasCorrectedTemperature:
    """Temperature T and class biases b that minimise the NLL of ``softmax(logits / T + b)``.

    Bias-corrected temperature scaling (Alexandari et al., ICML 2020). One temperature leaves a
    classifier that favours a class, as one trained with class weights does, in favour of it; with
    the biases, the mean probability of each class is its share of these pictures. They change
    predictions. The NLL is convex in (1 / T, b).

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of validation pictures; impossible ones as in :func:`fit_temperature`.
    labels : array of int ``[N]``
        Their true classes, each of the K at least once.

    Returns
    -------
    BiasCorrectedTemperature

    Raises
    ------
    ValueError
        When shapes or labels do not fit, a score is not a number, a true class has the score -inf,
        or there is no minimum: a class without a picture, scores that make no mistake, but for
        ties, once the biases are right, or that know no more than chance.

    Warns
    -----
    UserWarning
        For probabilities, each row of which sums to 1.
    """
    logits, labels, _ = _mendable(logits, labels)
    shares = np.eye(logits.shape[1])[labels]
    absent = np.flatnonzero(shares.sum(0) == 0)
    if len(absent):
        raise ValueError(
            f"classes {', '.join(map(str, absent))} have no picture among these {len(labels)}, so "
            "that no bias of theirs is best; use more validation pictures, or fit_temperature"
        )
    # In units of the scores, and as differences from the surest, so that no power overflows.
    scores = logits - logits.max(1, keepdims=True)
    finite = np.where(np.isfinite(scores), scores, 0)
    unit = float(np.sqrt((finite**2).mean())) or 1.0
    scores, finite = scores / unit, finite / unit

    def cost(found: Array) -> tuple[float, Array]:
        """NLL and its gradient by (1 / T, b)."""
        log_p = log_softmax(_scaled(scores, found), axis=1)
        wrong = np.exp(log_p) - shares
        slope = np.append((wrong * finite).sum(), wrong.sum(0)) / len(labels)
        return float(-log_p[shares > 0].mean()), slope

    start = np.append(1.0, np.log(shares.mean(0)))
    bounds = [(0, None), *[(None, None)] * len(shares.T)]
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10_000, "maxfun": 20_000}
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    if found[0] <= 0:
        raise ValueError(
            f"no temperature is best: the higher the better on these {len(labels)} pictures, as "
            "where the scores know no more than chance; use more validation pictures"
        )
    right = (_scaled(scores, found).argmax(1) == labels).all()
    # The NLL is convex: it does not fall on from its minimum, unless it is flat from 0 on.
    if right or cost(2 * found)[0] <= cost(found)[0] < cost(0 * found)[0]:
        raise ValueError(
            f"no temperature is best: the lower the better on these {len(labels)} pictures, as "
            "with such biases the scores make not one mistake, but for ties; use more validation "
            "pictures"
        )
    return BiasCorrectedTemperature(float(unit / found[0]), found[1:] - found[1:].mean())


def _scaled(scores: Array, found: Array) -> Array:
    """``scores / T + b`` of (1 / T, b); an impossible class stays one at 1 / T = 0 too."""
    return scores * max(found[0], 1e-300) + found[1:]


def _mendable(logits: Array | Tensor, labels: Array | Tensor) -> tuple[Array, Array, Array]:
    """Scores, labels and the score of each label ``[N]``, or a refusal."""
    logits = as_array(logits).astype(float)
    warn_of_probabilities(logits, "give their logarithms")
    labels = judged_by(logits, as_array(labels)).labels
    true = logits[np.arange(len(labels)), labels]
    if np.isneginf(true).any():
        raise ValueError(
            f"{int(np.isneginf(true).sum())} true classes have the score -inf, which no "
            "temperature mends; floor the probabilities before taking the logarithm"
        )
    return _ruled_out(logits, true), labels, true


def _ruled_out(logits: Array, true: Array) -> Array:
    """Scores with -inf for those that stand for it, as -1e9 or the lowest float does.

    They lie a thousand times farther below the top of their row than the true class ever does, and
    than the second class in the median; and so far that they have no weight at the highest
    temperature that is looked at where the others tell nothing.
    """
    highest = logits.max(1)
    runner_up = np.partition(logits, -2, axis=1)[:, -2] if logits.shape[1] > 1 else highest
    usual = max(float((highest - true).max()), float(np.median(highest - runner_up)))
    if not 0 < usual < math.inf:
        return logits
    far = max(_IMPOSSIBLE * usual, _WEIGHTLESS * _ENDS[1])
    return np.where(highest[:, None] - logits > far, -np.inf, logits)


def _end_of_search(temperature: float, reason: str) -> float:
    warnings.warn(
        f"no temperature is best: {reason}. {temperature:g} is the end of the search and says "
        "nothing of the classifier; use more validation pictures, or leave the scores as they are",
        UserWarning,
        stacklevel=3,
    )
    return temperature
