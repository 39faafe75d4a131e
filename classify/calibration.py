"""Correct the scores of a trained classifier: how sure it is, and which classes it favours.

::

    validation logits [N, K], labels [N] ──fit_temperature──► T     softmax(logits / T)
                                         ──choose_tau───────► tau   adjust_logits(..., tau=tau)

Both are chosen on validation pictures and then kept: chosen on the test set they are part of the
result, not of the system.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from torch import Tensor

from .judged import (
    LOWER_IS_BETTER,
    Judged,
    Metric,
    as_array,
    check_metric,
    warn_of_probabilities,
)

__all__ = ["TauChoice", "adjust_logits", "choose_tau", "fit_temperature"]

Array = npt.NDArray[Any]

# Temperatures between which the minimum is looked for first.
_ENDS = (0.01, 100.0)
# Powers of e: further out, rounding tells where the slope is zero, and the search ends.
_FARTHEST = 35.0


def fit_temperature(logits: Array | Tensor, labels: Array | Tensor) -> float:
    """Temperature T that minimises the NLL of ``softmax(logits / T)`` (Guo et al., ICML 2017).

    The NLL is convex in 1 / T, so that there is one minimum, and T = 1 is never better. Dividing
    by T changes no prediction.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of validation pictures.
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
    logits, labels = as_array(logits).astype(float), as_array(labels)
    warn_of_probabilities(logits, "give their logarithms")
    judged = _judged(logits, labels)
    true = logits[np.arange(len(labels)), judged.labels]
    if np.isneginf(true).any():
        raise ValueError(
            f"{int(np.isneginf(true).sum())} true classes have the score -inf, which no "
            "temperature mends; floor the probabilities before taking the logarithm"
        )

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


def _end_of_search(temperature: float, reason: str) -> float:
    warnings.warn(
        f"no temperature is best: {reason}. {temperature:g} is the end of the search and says "
        "nothing of the classifier; use more validation pictures, or leave the scores as they are",
        UserWarning,
        stacklevel=3,
    )
    return temperature


@overload
def adjust_logits(logits: Tensor, log_prior: Tensor | Array, *, tau: float = 1.0) -> Tensor: ...
@overload
def adjust_logits(logits: Array, log_prior: Tensor | Array, *, tau: float = 1.0) -> Array: ...
def adjust_logits(
    logits: Array | Tensor, log_prior: Tensor | Array, *, tau: float = 1.0
) -> Array | Tensor:
    """Post-hoc logit adjustment ``logits - tau * log_prior`` (Menon et al., ICLR 2021).

    Parameters
    ----------
    logits : array or Tensor ``[..., K]``
        Class scores of a classifier that was trained with a plain loss.
    log_prior : array or Tensor ``[K]``
        Logarithm of the class shares in training, of :func:`classify.log_prior`.
    tau : float
        0 leaves the scores as they are, 1 is right for balanced accuracy if the scores are
        calibrated; more favours rare classes further.

    Returns
    -------
    array or Tensor ``[..., K]``, as ``logits``; of floats where those are whole numbers

    Raises
    ------
    ValueError
        When the classes do not fit, or the prior or ``tau`` is not finite.
    """
    prior = as_array(log_prior)
    if prior.ndim != 1 or logits.ndim < 1 or logits.shape[-1] != len(prior):
        raise ValueError(
            f"log_prior must be [K] for logits [..., K], not {prior.shape} for "
            f"{tuple(logits.shape)}"
        )
    if not np.isfinite(prior).all() or not np.isfinite(tau):
        raise ValueError(
            f"log_prior and tau must be finite, not {prior.tolist()} and {tau}; "
            "classify.log_prior counts a class without pictures as one"
        )
    if isinstance(logits, Tensor):
        # The prior in whole numbers would be another prior.
        scores = logits if logits.is_floating_point() else logits.to(torch.get_default_dtype())
        return scores - tau * torch.as_tensor(log_prior).to(scores)
    return logits - tau * prior


@dataclass(frozen=True)
class TauChoice:
    """Strength of the adjustment that was best, and the curve that it was read from."""

    tau: float
    """The best; the smallest of several."""
    metric: str
    taus: tuple[float, ...]
    """Strengths that were tried."""
    values: tuple[float, ...]
    """The metric at each of :attr:`taus`."""

    def __str__(self) -> str:
        best = self.values[self.taus.index(self.tau)]
        return (
            f"{self.metric} {best:.3f} at tau = {self.tau:g}, the best of {len(self.taus)} between "
            f"{min(self.taus):g} and {max(self.taus):g} on these pictures"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def choose_tau(
    logits: Array | Tensor,
    labels: Array | Tensor,
    *,
    log_prior: Tensor | Array,
    metric: Metric = "balanced_accuracy",
    taus: Sequence[float] | None = None,
) -> TauChoice:
    """Choose the strength of :func:`adjust_logits` on validation pictures.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of validation pictures.
    labels : array of int ``[N]``
        Their true classes.
    log_prior : array or Tensor ``[K]``
        Logarithm of the class shares in training.
    metric : str or callable
        One of :data:`classify.judged.METRICS`, or a function of logits and labels, of which
        more is better.
    taus : sequence of float, optional
        What to try; 0, 0.05 ... 2 by default.

    Returns
    -------
    TauChoice
        With the whole curve: what balanced accuracy gains, accuracy may lose.

    Raises
    ------
    ValueError
        When shapes, labels or scores do not fit, there is nothing to try, or the metric exists
        for no tau.
    """
    tried = tuple(float(t) for t in (np.linspace(0, 2, 41).round(2) if taus is None else taus))
    if not tried:
        raise ValueError("taus must hold at least one number to try, such as 0.0")
    check_metric(metric)
    scores, truth = as_array(logits).astype(float), as_array(labels)
    warn_of_probabilities(scores, "give their logarithms")
    values: list[float] = []
    for tau in tried:
        judged = _judged(adjust_logits(scores, log_prior, tau=tau), truth)
        if isinstance(metric, str):
            measured = judged.measure(np.ones((1, len(truth))), [metric])
            values.append(float(measured[metric][0]))
        else:
            values.append(float(metric(judged.logits, judged.labels)))
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    if np.isnan(values).all():
        raise ValueError(
            f"{name} exists for no tau on these labels; choose a metric that does, such as "
            "'accuracy', or give pictures of more classes"
        )
    sign = -1 if name in LOWER_IS_BETTER and isinstance(metric, str) else 1
    best = max(
        (i for i in range(len(tried)) if not np.isnan(values[i])),
        key=lambda i: (sign * values[i], -tried[i]),
    )
    return TauChoice(tried[best], name, tried, tuple(values))


def _judged(logits: Array, labels: Array) -> Judged:
    if logits.ndim != 2:
        raise ValueError(f"scores must be [N, K], not {logits.shape}")
    return Judged(logits, labels, classes=logits.shape[1])
