"""Adjust a trained classifier to another balance of the classes.

::

    validation logits [N, K], labels [N] ──choose_tau──► tau    adjust_logits(..., tau=tau)

Tau is chosen on validation pictures and then kept. If chosen on the test set, it would be part of
the result, not of the system.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from .data.archive import listed
from .given import check_number
from .judged import judged_by
from .metric_names import LOWER_IS_BETTER, Metric, check_metric, metric_name
from .scores import Array, as_array, as_floats, class_names, plain, warn_of_probabilities

__all__ = ["TauChoice", "adjust_logits", "choose_tau"]


@overload
def adjust_logits(logits: Tensor, log_prior: Tensor | Array, *, tau: float = 1.0) -> Tensor: ...
@overload
def adjust_logits(logits: Array, log_prior: Tensor | Array, *, tau: float = 1.0) -> Array: ...
def adjust_logits(
    logits: Array | Tensor, log_prior: Tensor | Array, *, tau: float = 1.0
) -> Array | Tensor:
    """Return the adjusted logits ``logits - tau * log_prior`` (post hoc, Menon et al., ICLR 2021).

    Parameters
    ----------
    logits : array or Tensor ``[..., K]``
        Class scores of a classifier that was trained with a plain loss.
    log_prior : array or Tensor ``[K]``
        Logarithm of the class shares in training, from :func:`classify.log_prior`.
    tau : float
        Strength. 0 leaves the scores unchanged; 1 is optimal for balanced accuracy if the scores
        are calibrated. Larger values favour rare classes more, negative values common classes.

    Returns
    -------
    array or Tensor ``[..., K]``, as ``logits``
        Integers become floats, and a tensor in half precision becomes float32.

    Raises
    ------
    TypeError
        When ``logits`` is neither an array nor a tensor, or ``tau`` not a number.
    ValueError
        When the classes do not fit, the prior or ``tau`` is not finite, or the prior is shares or
        numbers of pictures without the logarithm.

    Warns
    -----
    UserWarning
        When each row of scores ``[N, K]`` sums to 1, as probabilities do. Scores on a GPU are not
        checked, because that would have to wait for the GPU.
    """
    if not isinstance(logits, np.ndarray | Tensor):
        raise TypeError(f"logits must be an array or a tensor, not {type(logits).__name__}")
    warn_of_probabilities(logits)
    return _adjusted(logits, log_prior, tau)


def _adjusted(
    logits: Array | Tensor, log_prior: Tensor | Array, tau: float | Tensor
) -> Array | Tensor:
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
            "classify.log_prior counts a class without pictures as one picture"
        )
    check_logarithms(prior)
    if isinstance(logits, Tensor):
        # Converting the prior to integers would change it.
        scores = as_floats(logits)
        return scores - tau * torch.as_tensor(log_prior).to(scores)
    return logits - strength * prior


def check_logarithms(prior: Array) -> None:
    """Raise an error for shares and counts; the logarithm of either is allowed."""
    if (prior < 0).any():
        return
    shares = len(prior) > 1 and abs(prior.sum() - 1) < 1e-3
    if shares or (prior.max() > 1 and (prior == np.round(prior)).all()):
        raise ValueError(
            f"log_prior must be logarithms, but {prior.tolist()} are "
            f"{'shares of the classes' if shares else 'numbers of pictures'}: take "
            f"{'np.log of them' if shares else 'classify.log_prior of them'}"
        )


@dataclass(frozen=True)
class TauChoice:
    """Best strength of the adjustment, and the metric at all strengths that were tried."""

    tau: float
    """The best strength; if several are best, the one closest to 0."""
    metric: str
    taus: tuple[float, ...]
    """Strengths that were tried."""
    values: tuple[float, ...]
    """The metric at each of :attr:`taus`."""
    at_least: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Lower limits of other metrics; limits of ``within`` are converted to absolute values."""
    kept: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)
    """Those metrics at each of :attr:`taus`."""

    def __str__(self) -> str:
        chosen = self.taus.index(self.tau)
        best = self.values[chosen]
        # As for the AUC of two classes, whose order tau changes only by rounding.
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
        """Return the fields as JSON types."""
        return plain(asdict(self))


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

    ``at_least={"accuracy": 0.75}`` gives the best balanced accuracy with an accuracy of at least
    0.75; ``at_least={"recall.mel": 0.9}`` the best one that finds nine of ten pictures of the class
    ``mel``; ``within={"accuracy": 0.01}`` the best one that costs at most 0.01 of the accuracy. On
    other pictures both may be lower: a value selected as the highest, or as just high enough, is so
    partly by chance.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of validation pictures.
    labels : array of int ``[N]``
        Their true classes.
    log_prior : array or Tensor ``[K]``
        Logarithm of the class shares in training.
    metric : str or callable
        One of :data:`classify.metric_names.METRICS`, a metric of one class such as ``recall.mel``
        (:data:`classify.metric_names.CLASS_METRICS`), or a function of logits and labels where
        higher is better.
    classes : sequence of str, optional
        Names of the K classes, in the order of the scores; by default their numbers.
    taus : sequence of float, optional
        Strengths to try; -1, -0.95 ... 2 by default. Negative values favour common classes: -1
        reverses the effect of training with weights inversely proportional to the class shares.
    at_least : mapping of str to float, optional
        Lower limits of other metrics, where higher is better, on these pictures.
    within : mapping of str to float, optional
        How far such metrics may be below their best value over ``taus`` on these pictures.

    Returns
    -------
    TauChoice
        With the whole curve, since a gain in one metric may cost another.

    Raises
    ------
    ValueError
        When shapes, labels, scores or the prior do not fit, ``taus`` is empty, the metric is
        undefined for every tau, or no tau meets the limits; the message says what can be reached.

    Warns
    -----
    UserWarning
        When a class has no picture, so that the effect of tau on it is unknown. When each row of
        the scores sums to 1, as probabilities do.
    """
    tried = tuple(float(t) for t in (np.linspace(-1, 2, 61).round(2) if taus is None else taus))
    if not tried:
        raise ValueError("taus must hold at least one number to try, such as 0.0")
    check_metric(metric)
    floors, slack = _amounts("at_least", at_least), _amounts("within", within)
    scores, truth = as_array(logits).astype(float), as_array(labels)
    warn_of_probabilities(scores)
    others = tuple(dict.fromkeys([*floors, *slack]))
    curves: list[list[float]] = [[] for _ in (metric, *others)]
    for tau in tried:
        judged = judged_by(as_array(_adjusted(scores, log_prior, tau)), truth, classes)
        for curve, wanted in zip(curves, (metric, *others), strict=True):
            curve.append(float(judged.value(wanted)[0]))
    values, kept = tuple(curves[0]), {n: tuple(c) for n, c in zip(others, curves[1:], strict=True)}
    name = metric_name(metric)
    for asked, curve in ((name, values), *kept.items()):
        if np.isnan(curve).all():
            raise ValueError(
                f"{asked} is undefined for every tau on these labels; choose another metric, such "
                "as 'accuracy', or give pictures of more classes"
            )
    for n, less in slack.items():
        floors[n] = max(floors.get(n, -np.inf), float(np.nanmax(kept[n])) - less)
    sign = -1 if name in LOWER_IS_BETTER and isinstance(metric, str) else 1
    # Tolerates rounding.
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
        warnings.warn(
            f"none of these {len(truth)} pictures is of {listed(absent)}, so that {name} does "
            "not show the effect of tau on that class: choose tau on pictures of every class",
            UserWarning,
            stacklevel=2,
        )
    best = max(allowed, key=lambda i: (sign * values[i], -abs(tried[i]), tried[i]))
    return TauChoice(tried[best], name, tried, values, floors, kept)


def _amounts(parameter: str, given: Mapping[str, float] | None) -> dict[str, float]:
    amounts = {name: float(amount) for name, amount in (given or {}).items()}
    for name, amount in amounts.items():
        check_metric(name)
        if name in LOWER_IS_BETTER or not np.isfinite(amount):
            raise ValueError(
                f"{parameter} takes finite numbers for metrics where higher is better, not "
                f"{name!r}: {amount}; for others, such as 'nll', use metric="
            )
        if parameter == "within" and amount < 0:
            raise ValueError(
                f"within is how far {name} may be below its best, 0 or more, not {amount}"
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
