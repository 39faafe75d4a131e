"""Correct the scores of a trained classifier: how sure it is, and which classes it favours.

::

    validation logits [N, K], labels [N]
      ──fit_temperature────────────────► T      softmax(logits / T)
      ──fit_bias_corrected_temperature─► T, b   softmax(logits / T + b)
      ──choose_tau─────────────────────► tau    adjust_logits(..., tau=tau)

All are chosen on validation pictures and then kept: chosen on the test set they are part of the
result, not of the system.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import brentq, minimize
from scipy.special import log_softmax, softmax
from torch import Tensor

from .given import check_number
from .judged import (
    LOWER_IS_BETTER,
    Judged,
    Metric,
    as_array,
    check_metric,
    class_names,
    warn_of_probabilities,
)

__all__ = [
    "BiasCorrectedTemperature",
    "TauChoice",
    "adjust_logits",
    "choose_tau",
    "fit_bias_corrected_temperature",
    "fit_temperature",
]

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
    labels = _judged(logits, as_array(labels)).labels
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
        calibrated; more favours rare classes further, less than 0 common ones.

    Returns
    -------
    array or Tensor ``[..., K]``, as ``logits``; of floats where those are whole numbers

    Raises
    ------
    TypeError
        For scores that are neither, or a ``tau`` that is no number.
    ValueError
        When the classes do not fit, the prior or ``tau`` is not finite, or the prior is shares or
        numbers of pictures without the logarithm.
    """
    if not isinstance(logits, np.ndarray | Tensor):
        raise TypeError(f"logits must be an array or a tensor, not {type(logits).__name__}")
    check_number("tau", tau)
    strength = float(tau.detach()) if isinstance(tau, Tensor) else float(tau)
    prior = as_array(log_prior)
    if prior.ndim != 1 or logits.ndim < 1 or logits.shape[-1] != len(prior):
        raise ValueError(
            f"log_prior must be [K] for logits [..., K], not {prior.shape} for "
            f"{tuple(logits.shape)}"
        )
    if not np.isfinite(prior).all() or not math.isfinite(strength):
        raise ValueError(
            f"log_prior and tau must be finite, not {prior.tolist()} and {tau}; "
            "classify.log_prior counts a class without pictures as one"
        )
    _check_logarithms(prior)
    if isinstance(logits, Tensor):
        # The prior in whole numbers would be another prior.
        scores = logits if logits.is_floating_point() else logits.to(torch.get_default_dtype())
        return scores - tau * torch.as_tensor(log_prior).to(scores)
    return logits - strength * prior


def _check_logarithms(prior: Array) -> None:
    """Refuse shares and counts; the logarithm of either does, as a constant changes nothing."""
    if (prior < 0).any():
        return
    shares = len(prior) > 1 and abs(prior.sum() - 1) < 1e-3
    if shares or (prior.max() > 1 and (prior == np.round(prior)).all()):
        raise ValueError(
            f"log_prior must be logarithms, and {prior.tolist()} are "
            f"{'shares of the classes' if shares else 'numbers of pictures'}: take "
            f"{'np.log of them' if shares else 'classify.log_prior of them'}"
        )


@dataclass(frozen=True)
class TauChoice:
    """Strength of the adjustment that was best, and the curve that it was read from."""

    tau: float
    """The best; of several the nearest to 0."""
    metric: str
    taus: tuple[float, ...]
    """Strengths that were tried."""
    values: tuple[float, ...]
    """The metric at each of :attr:`taus`."""
    at_least: Mapping[str, float] = field(default_factory=dict, hash=False)
    """What other metrics had to keep; how far below the best is counted from the best here."""
    kept: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)
    """Those metrics at each of :attr:`taus`."""

    def __str__(self) -> str:
        chosen = self.taus.index(self.tau)
        best = self.values[chosen]
        # As the AUC of two classes is, whose order tau does not change but for rounding.
        same = len(self.taus) > 1 and all(abs(v - best) < 1e-12 or v == best for v in self.values)
        text = (
            f"{self.metric} {best:.3f} at tau = {self.tau:g}, the "
            f"{'same at each' if same else 'best'} of {len(self.taus)} between "
            f"{min(self.taus):g} and {max(self.taus):g} on these pictures"
        )
        if self.at_least:
            text += " with " + ", ".join(
                f"{name} {self.kept[name][chosen]:.3f} >= {least:g}"
                for name, least in self.at_least.items()
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def choose_tau(
    logits: Array | Tensor,
    labels: Array | Tensor,
    *,
    log_prior: Tensor | Array,
    metric: Metric = "balanced_accuracy",
    classes: Sequence[str] | None = None,
    taus: Sequence[float] | None = None,
    at_least: Mapping[str, float] | None = None,
    within: Mapping[str, float] | None = None,
) -> TauChoice:
    """Choose the strength of :func:`adjust_logits` on validation pictures.

    ``at_least={"accuracy": 0.75}`` is the best balanced accuracy that keeps that much accuracy, as
    ``at_least={"recall.mel": 0.9}`` is that which finds nine of ten pictures of the class ``mel``;
    ``within={"accuracy": 0.01}`` the best one that costs no more than a point of it. On other
    pictures either may be less: what is chosen for being large, or for being just large enough,
    is so partly by chance.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of validation pictures.
    labels : array of int ``[N]``
        Their true classes.
    log_prior : array or Tensor ``[K]``
        Logarithm of the class shares in training.
    metric : str or callable
        One of :data:`classify.judged.METRICS`, a number of one class such as ``recall.mel``
        (:data:`classify.judged.CLASS_METRICS`), or a function of logits and labels, of which more
        is better.
    classes : sequence of str, optional
        Names of the K classes, in the order of the scores; by default their numbers.
    taus : sequence of float, optional
        What to try; -1, -0.95 ... 2 by default. Below 0 common classes gain: -1 takes back what
        training with weights in inverse proportion to the class shares gave to rare ones.
    at_least : mapping of str to float, optional
        What other metrics, of which more is better, must keep on these pictures.
    within : mapping of str to float, optional
        How far such metrics may stay below the best that any of ``taus`` has on these pictures.

    Returns
    -------
    TauChoice
        With the whole curve: what balanced accuracy gains, accuracy may lose.

    Raises
    ------
    ValueError
        When shapes, labels, scores or the prior do not fit, there is nothing to try, the metric
        exists for no tau, or none keeps what it must, which says how much can be kept.

    Warns
    -----
    UserWarning
        When a class has no picture: what tau costs it is not seen. And for probabilities, each row
        of which sums to 1.
    """
    tried = tuple(float(t) for t in (np.linspace(-1, 2, 61).round(2) if taus is None else taus))
    if not tried:
        raise ValueError("taus must hold at least one number to try, such as 0.0")
    check_metric(metric)
    floors, slack = _amounts("at_least", at_least), _amounts("within", within)
    scores, truth = as_array(logits).astype(float), as_array(labels)
    warn_of_probabilities(scores, "give their logarithms")
    others = tuple(dict.fromkeys([*floors, *slack]))
    curves: list[list[float]] = [[] for _ in (metric, *others)]
    for tau in tried:
        judged = _judged(adjust_logits(scores, log_prior, tau=tau), truth, classes)
        for curve, wanted in zip(curves, (metric, *others), strict=True):
            curve.append(_value(wanted, judged))
    values, kept = tuple(curves[0]), {n: tuple(c) for n, c in zip(others, curves[1:], strict=True)}
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    for asked, curve in ((name, values), *kept.items()):
        if np.isnan(curve).all():
            raise ValueError(
                f"{asked} exists for no tau on these labels; choose a metric that does, such as "
                "'accuracy', or give pictures of more classes"
            )
    for n, less in slack.items():
        floors[n] = max(floors.get(n, -np.inf), float(np.nanmax(kept[n])) - less)
    sign = -1 if name in LOWER_IS_BETTER and isinstance(metric, str) else 1
    # By a rounding less is not less.
    allowed = [
        i
        for i in range(len(tried))
        if not np.isnan(values[i]) and all(kept[n][i] >= floors[n] - 1e-12 for n in floors)
    ]
    if not allowed:
        advice = "ask for less" if taus is None else "ask for less, or try other taus"
        raise ValueError(_nothing_kept(tried, floors, kept, advice))
    names = class_names(scores.shape[1] if classes is None else classes)
    absent = [name for k, name in enumerate(names) if not (truth == k).any()]
    if absent:
        shown = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
        warnings.warn(
            f"none of these {len(truth)} pictures is of {shown}, so that {name} does "
            "not tell what tau costs there: choose it on pictures of every class",
            UserWarning,
            stacklevel=2,
        )
    best = max(allowed, key=lambda i: (sign * values[i], -abs(tried[i]), tried[i]))
    return TauChoice(tried[best], name, tried, values, floors, kept)


def _value(metric: Metric, judged: Judged) -> float:
    if isinstance(metric, str):
        return float(judged.measure(np.ones((1, len(judged.labels))), [metric])[metric][0])
    return float(metric(judged.logits, judged.labels))


def _amounts(parameter: str, given: Mapping[str, float] | None) -> dict[str, float]:
    amounts = {name: float(amount) for name, amount in (given or {}).items()}
    for name, amount in amounts.items():
        check_metric(name)
        if name in LOWER_IS_BETTER or not np.isfinite(amount):
            raise ValueError(
                f"{parameter} takes finite numbers of metrics of which more is better, not "
                f"{name!r}: {amount}; of others, such as 'nll', choose by the metric itself"
            )
        if parameter == "within" and amount < 0:
            raise ValueError(
                f"within is how far {name} may stay below its best, 0 or more, not {amount}"
            )
    return amounts


def _nothing_kept(
    taus: Sequence[float],
    floors: Mapping[str, float],
    kept: Mapping[str, Sequence[float]],
    advice: str,
) -> str:
    asked = " and ".join(f"{name} >= {least:g}" for name, least in floors.items())
    reached = ", ".join(
        f"{name} reaches {max(curve):.4g} at tau = {taus[curve.index(max(curve))]:g}"
        for name, curve in kept.items()
        if not np.isnan(curve).any()
    )
    return (
        f"no tau of {len(taus)} between {min(taus):g} and {max(taus):g} keeps {asked} on these "
        f"pictures{': ' if reached else ''}{reached}; {advice}"
    )


def _judged(logits: Array, labels: Array, classes: Sequence[str] | None = None) -> Judged:
    if logits.ndim != 2:
        raise ValueError(f"scores must be [N, K], not {logits.shape}")
    return Judged(logits, labels, classes=logits.shape[1] if classes is None else classes)
