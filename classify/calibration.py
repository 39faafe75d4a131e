"""Calibrate the confidence of a trained classifier.

::

    validation logits [N, K], labels [N]
      ──fit_temperature────────────────► T      softmax(logits / T)
      ──fit_bias_corrected_temperature─► T, b   softmax(calibrate_logits(..., T, b))

Both are fitted on validation pictures and then kept, in a :class:`classify.DecisionRule`. If fitted
on the test set, they would be part of the result, not of the system.
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

from .given import as_number
from .judged import judged_by
from .scores import Array, as_array, as_floats, warn_of_probabilities

__all__ = [
    "BiasCorrectedTemperature",
    "calibrate_logits",
    "fit_bias_corrected_temperature",
    "fit_temperature",
]

# Range of temperatures in which the minimum is searched first.
_ENDS = (0.01, 100.0)
# Factor on the usual distance below the top from which a class counts as impossible.
_IMPOSSIBLE = 1000.0
# Nats below the top at which a class has no weight.
_WEIGHTLESS = 40.0
# Powers of e: further out, rounding decides where the slope is zero, and the search ends.
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
    """Return the scores ``logits / temperature + offset``; their softmax gives the probabilities.

    Temperature scaling has no offset (Guo et al., ICML 2017); bias-corrected temperature scaling
    has both (Alexandari et al., ICML 2020); a logit adjustment has the offset ``-tau * log_prior``
    (Menon et al., ICLR 2021). An offset and a following one can be given as their sum.

    Parameters
    ----------
    logits : array or Tensor ``[..., K]``
        Class scores.
    temperature : float
        Divisor of the scores.
    offset : sequence, array or Tensor ``[K]``, optional
        Added to the divided score of each class; 0 by default.

    Returns
    -------
    array or Tensor ``[..., K]``, as ``logits``
        Integers become floats. Half precision becomes float32, because division by a small
        temperature can overflow it.

    Raises
    ------
    TypeError
        When ``logits`` is neither an array nor a tensor, or ``temperature`` not a number.
    ValueError
        When the temperature is not positive and finite, or the offset not one finite number for
        each class.

    Warns
    -----
    UserWarning
        When each row of scores ``[N, K]`` sums to 1, as probabilities do. Scores on a GPU are not
        checked, because that would have to wait for the GPU.
    """
    warn_of_probabilities(logits)
    return calibrated(logits, temperature, offset)


def calibrated(
    logits: Array | Tensor,
    temperature: float,
    offset: Sequence[float] | Array | Tensor | None,
) -> Array | Tensor:
    """:func:`calibrate_logits` without the warning of probabilities."""
    if not isinstance(logits, np.ndarray | Tensor):
        raise TypeError(f"logits must be an array or a tensor, not {type(logits).__name__}")
    divisor = check_temperature(temperature)
    given = np.zeros(logits.shape[-1:]) if offset is None else offset
    shift = as_array(given).astype(float)
    if logits.ndim < 1 or shift.shape != tuple(logits.shape[-1:]):
        raise ValueError(
            f"offset must be [K] for logits [..., K], not {shift.shape} for {tuple(logits.shape)}"
        )
    if not np.isfinite(shift).all():
        raise ValueError(f"offset must be finite, not {shift.tolist()}")
    if isinstance(logits, Tensor):
        scores = as_floats(logits)
        # Not via float32, the default of as_tensor for Python numbers.
        return scores / temperature + torch.as_tensor(
            given, dtype=scores.dtype, device=scores.device
        )
    is_real = np.issubdtype(logits.dtype, np.floating)
    kind = np.result_type(logits, np.float32) if is_real else float
    scores = logits.astype(kind, copy=False)
    return scores / divisor + shift.astype(scores.dtype)


def check_temperature(temperature: object) -> float:
    """The temperature as a float; a ValueError unless it is positive and finite."""
    number = as_number("temperature", temperature)
    if not 0 < number < math.inf:
        raise ValueError(f"temperature must be positive and finite, not {temperature}")
    return number


def fit_temperature(logits: Array | Tensor, labels: Array | Tensor) -> float:
    """Return the temperature T that minimises the NLL of ``softmax(logits / T)``.

    The method is that of Guo et al., ICML 2017. The NLL is convex in 1 / T, so that there is one
    minimum, and T = 1 is never better. Division by T changes no prediction.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of validation pictures. Impossible classes have -inf, or a number far below all
        others such as -1e9.
    labels : array of int ``[N]``
        Their true classes.

    Returns
    -------
    float
        The minimum, without bounds. If there is none, an end of the search: 0.01 if there is no
        mistake, because the NLL then decreases down to T = 0, and 100 for scores no better than
        chance, because it then decreases up to infinity. 1 if T has no effect, because all scores
        are equal.

    Raises
    ------
    ValueError
        When shapes or labels do not fit, a score is not a number, or a true class has the score
        -inf, which no temperature can correct.

    Warns
    -----
    UserWarning
        When the NLL has no minimum, so that these pictures determine no temperature. When each row
        of the scores sums to 1, as probabilities do.
    """
    logits, labels, true = _mendable(logits, labels)

    def slope(inverse: float) -> float:
        """Derivative of the NLL by 1 / T: mean score under the softmax minus that of the truth."""
        shares = softmax(inverse * logits, axis=1)
        expected = np.where(shares > 0, shares * np.where(shares > 0, logits, 0), 0).sum(1)
        return float((expected - true).mean())

    # The slope grows with 1 / T: from that of guessing among the possible classes, at T = infinity,
    # to that of the most likely class, at T = 0.
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
            f"the lower the temperature the better on these {len(labels)} pictures, as happens if "
            "the scores make no mistake",
        )
    if slope(math.exp(low)) >= 0:
        return _end_of_search(
            _ENDS[1],
            f"the higher the temperature the better on these {len(labels)} pictures, as happens if "
            "the scores are no better than chance",
        )
    found = brentq(lambda t: slope(math.exp(t)), low, high, xtol=1e-12)
    return math.exp(-float(found))  # pyright: ignore[reportArgumentType]


class BiasCorrectedTemperature(NamedTuple):
    """Parameters of the calibrated probabilities ``softmax(logits / temperature + bias)``."""

    temperature: float
    """T, the divisor of the scores."""
    bias: Array
    """Bias of each class ``[K]``, with mean 0."""


def fit_bias_corrected_temperature(
    logits: Array | Tensor, labels: Array | Tensor
) -> BiasCorrectedTemperature:
    """Return temperature T and class biases b that minimise the NLL of ``softmax(logits / T + b)``.

    This is bias-corrected temperature scaling (Alexandari et al., ICML 2020). A temperature alone
    cannot correct a classifier that favours a class, for instance after training with class
    weights. With the biases, the mean probability of each class equals its share of these pictures.
    The biases change predictions. The NLL is convex in (1 / T, b).

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of validation pictures; impossible classes as in :func:`fit_temperature`.
    labels : array of int ``[N]``
        Their true classes, each of the K at least once.

    Returns
    -------
    BiasCorrectedTemperature

    Raises
    ------
    ValueError
        When shapes or labels do not fit, a score is not a number, a true class has the score -inf,
        or there is no minimum: a class has no picture, the scores make no mistake (except for ties)
        with suitable biases, or they are no better than chance.

    Warns
    -----
    UserWarning
        When each row of the scores sums to 1, as probabilities do.
    """
    logits, labels, _ = _mendable(logits, labels)
    shares = np.eye(logits.shape[1])[labels]
    absent = np.flatnonzero(shares.sum(0) == 0)
    if len(absent):
        raise ValueError(
            f"classes {', '.join(map(str, absent))} have no picture among these {len(labels)}, so "
            "that their bias has no optimum; use more validation pictures, or fit_temperature"
        )
    # In units of the scores, and relative to the highest, so that no exponential overflows.
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
            "happens if the scores are no better than chance; use more validation pictures"
        )
    right = (_scaled(scores, found).argmax(1) == labels).all()
    # The NLL is convex: it does not decrease beyond its minimum, unless it is flat from 0 on.
    if right or cost(2 * found)[0] <= cost(found)[0] < cost(0 * found)[0]:
        raise ValueError(
            f"no temperature is best: the lower the better on these {len(labels)} pictures, "
            "because with such biases the scores make no mistake, except for ties; use more "
            "validation pictures"
        )
    return BiasCorrectedTemperature(float(unit / found[0]), found[1:] - found[1:].mean())


def _scaled(scores: Array, found: Array) -> Array:
    """``scores / T + b`` for (1 / T, b); an impossible class stays impossible at 1 / T = 0."""
    return scores * max(found[0], 1e-300) + found[1:]


def _mendable(logits: Array | Tensor, labels: Array | Tensor) -> tuple[Array, Array, Array]:
    """Checked scores, labels and the score of each label ``[N]``."""
    logits = as_array(logits).astype(float)
    warn_of_probabilities(logits)
    labels = judged_by(logits, as_array(labels)).labels
    true = logits[np.arange(len(labels)), labels]
    if np.isneginf(true).any():
        raise ValueError(
            f"{int(np.isneginf(true).sum())} true classes have the score -inf, which no "
            "temperature can correct; floor the probabilities before taking the logarithm"
        )
    return _ruled_out(logits, true), labels, true


def _ruled_out(logits: Array, true: Array) -> Array:
    """Scores with -inf in place of the numbers that stand for it, such as -1e9.

    Such numbers are a thousand times farther below the top of their row than the true class ever
    is, and than the second class in the median; and so far that they have no weight at the highest
    temperature of the search.
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
        "nothing about the classifier; use more validation pictures, or keep the scores unchanged",
        UserWarning,
        stacklevel=3,
    )
    return temperature
