"""Correct how sure a trained classifier is.

::

    validation logits [N, K], labels [N]
      ──fit_temperature────────────────► T      softmax(logits / T)
      ──fit_bias_corrected_temperature─► T, b   softmax(calibrate_logits(..., T, b))

Both are fitted to validation pictures and then kept, in a :class:`classify.DecisionRule`: fitted to
the test set they are part of the result, not of the system.
"""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
import torch
from scipy.optimize import brentq, minimize
from scipy.special import log_softmax, softmax
from torch import Tensor

from .given import check_number, looked_at
from .judged import judged_by
from .scores import Array, as_array, warn_of_probabilities

__all__ = [
    "BiasCorrectedTemperature",
    "calibrate_logits",
    "fit_bias_corrected_temperature",
    "fit_temperature",
]

# Temperatures between which the minimum is looked for first.
_ENDS = (0.01, 100.0)
# Times the usual distance below the top, from which a class counts as impossible.
_IMPOSSIBLE = 1000.0
# Nats below the top at which a class has no weight.
_WEIGHTLESS = 40.0
# Powers of e: further out, rounding tells where the slope is zero, and the search ends.
_FARTHEST = 35.0


@overload
def calibrate_logits(
    logits: Tensor, temperature: float = 1.0, offset: Sequence[float] | Array | Tensor | None = None
) -> Tensor: ...
@overload
def calibrate_logits(
    logits: Array, temperature: float = 1.0, offset: Sequence[float] | Array | Tensor | None = None
) -> Array: ...
def calibrate_logits(
    logits: Array | Tensor,
    temperature: float = 1.0,
    offset: Sequence[float] | Array | Tensor | None = None,
) -> Array | Tensor:
    """Scores ``logits / temperature + offset``, of which the softmax gives the probabilities.

    Temperature scaling has no offset (Guo et al., ICML 2017), the bias-corrected one both
    (Alexandari et al., ICML 2020); a logit adjustment has the offset ``-tau * log_prior`` (Menon et
    al., ICLR 2021). Several in turn are one: offsets add up.

    Parameters
    ----------
    logits : array or Tensor ``[..., K]``
        Class scores.
    temperature : float
        By which they are divided.
    offset : sequence, array or Tensor ``[K]``, optional
        What is added to the score of each class; nothing by default.

    Returns
    -------
    array or Tensor ``[..., K]``, as ``logits``; of floats where those are whole numbers

    Raises
    ------
    TypeError
        For scores that are neither, or a temperature that is no number.
    ValueError
        When the temperature is not positive and finite, or the offset not one finite number for
        each class.

    Warns
    -----
    UserWarning
        For scores ``[N, K]`` that are probabilities, each row of which sums to 1. Those on a GPU
        are not looked at, which would have to be waited for.
    """
    warn_of_shares(logits)
    return calibrated(logits, temperature, offset)


def warn_of_shares(logits: Array | Tensor, *, stacklevel: int = 3) -> None:
    """Warn of probabilities at the caller's caller; those on a GPU are not looked at."""
    if isinstance(logits, np.ndarray) or (isinstance(logits, Tensor) and looked_at(logits)):
        advice = "give their logarithms"
        warn_of_probabilities(as_array(logits), advice, stacklevel=stacklevel + 1)


def calibrated(
    logits: Array | Tensor,
    temperature: float,
    offset: Sequence[float] | Array | Tensor | None,
) -> Array | Tensor:
    """As :func:`calibrate_logits`, whatever the scores are."""
    if not isinstance(logits, np.ndarray | Tensor):
        raise TypeError(f"logits must be an array or a tensor, not {type(logits).__name__}")
    check_temperature(temperature)
    given = np.zeros(logits.shape[-1:]) if offset is None else offset
    shift = as_array(given).astype(float)
    if logits.ndim < 1 or shift.shape != tuple(logits.shape[-1:]):
        raise ValueError(
            f"offset must be [K] for logits [..., K], not {shift.shape} for {tuple(logits.shape)}"
        )
    if not np.isfinite(shift).all():
        raise ValueError(f"offset must be finite, not {shift.tolist()}")
    if isinstance(logits, Tensor):
        scores = logits if logits.is_floating_point() else logits.to(torch.get_default_dtype())
        # Not by way of float32, which as_tensor makes of numbers of Python.
        return scores / temperature + torch.as_tensor(
            given, dtype=scores.dtype, device=scores.device
        )
    scores = logits if np.issubdtype(logits.dtype, np.floating) else logits.astype(float)
    return scores / temperature + shift.astype(scores.dtype)


def check_temperature(temperature: object) -> None:
    """Refuse what no scores are divided by."""
    if not 0 < as_number("temperature", temperature) < math.inf:
        raise ValueError(f"temperature must be positive and finite, not {temperature}")


def as_number(name: str, value: object) -> float:
    """A number as a float, nan of one that no float holds; a truth value is none."""
    check_number(name, value)
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not bool")
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)  # pyright: ignore[reportArgumentType]
    except OverflowError:
        return math.nan


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
