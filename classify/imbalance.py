"""Rare classes: weights, priors and the losses that use them.

HAM10000 has 58 nevi for each dermatofibroma; with a loss that ignores this, a classifier learns to
predict "nevus".
"""

import torch
from torch import Tensor
from torch.nn import functional

from .adjustment import check_logarithms
from .given import check_number, check_tensor, looked_at
from .scores import as_array

__all__ = [
    "class_weights",
    "effective_number_weights",
    "log_prior",
    "task_loss",
]


def class_weights(counts: Tensor, *, power: float = 0.5) -> Tensor:
    """Return weights ``(N / (K n_c)) ** power``, scaled to sum to the number of classes present.

    Parameters
    ----------
    counts : Tensor ``[K]``
        Pictures of each class; a class without any gets weight 0.
    power : float
        0 weights all classes equally, 1 balances them (the "balanced" weights of scikit-learn, up
        to a factor).

    Returns
    -------
    Tensor, float32 ``[K]``

    Raises
    ------
    TypeError
        When ``counts`` is not a tensor.
    ValueError
        When ``counts`` is not a vector of numbers >= 0 with a positive one, or ``power`` is
        negative or not finite.
    """
    counts = check_counts(counts)
    check_number("power", power)
    if not 0 <= power < float("inf"):
        raise ValueError(f"power must be 0 or more, and finite, not {power}")
    # Divided by the largest, which the final scale cancels, so that no power overflows.
    rarest = counts[counts > 0].min()
    return _scaled(counts, (rarest / counts.clamp_min(rarest)) ** power)


def effective_number_weights(counts: Tensor, *, beta: float = 0.999) -> Tensor:
    """Return class-balanced weights ``(1 - beta) / (1 - beta ** n_c)`` (Cui et al., CVPR 2019).

    Parameters
    ----------
    counts : Tensor ``[K]``
        Pictures of each class; a class without any gets weight 0.
    beta : float
        In [0, 1): 0 weights all classes equally; towards 1 the weights approach 1 / n_c.

    Returns
    -------
    Tensor, float32 ``[K]``, whose sum is the number of classes present

    Raises
    ------
    TypeError
        When ``counts`` is not a tensor.
    ValueError
        When ``counts`` is not a vector with a positive number, or ``beta`` is not in [0, 1).
    """
    counts = check_counts(counts)
    check_number("beta", beta)
    if not 0 <= beta < 1:
        raise ValueError(f"beta must lie in [0, 1), not {beta}")
    if beta == 0:
        return _scaled(counts, torch.ones_like(counts))
    log_beta = torch.log(torch.tensor(beta, dtype=torch.float64))
    # -expm1(n log beta) = 1 - beta ** n, exact for beta next to 1 too.
    return _scaled(counts, (1 - beta) / -torch.expm1(counts.clamp_min(1) * log_beta))


def log_prior(counts: Tensor) -> Tensor:
    """Return the logarithms of the class shares; a class without pictures counts as one picture.

    Parameters
    ----------
    counts : Tensor ``[K]``
        Pictures of each class.

    Returns
    -------
    Tensor, float32 ``[K]``

    Raises
    ------
    TypeError
        When ``counts`` is not a tensor.
    ValueError
        When ``counts`` is not a vector with a positive number.
    """
    counts = check_counts(counts).clamp_min(1)
    return (counts / counts.sum()).log().float()


def task_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    log_prior: Tensor | None = None,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Return the mean cross-entropy of a batch, with the usual corrections for class imbalance.

    Without margins and weights it is linear in the label: the loss of a mixed label is the average
    of the losses of its classes, by share.

    Parameters
    ----------
    logits : Tensor ``[B, K]``
        Class scores; half precision is converted to float32.
    labels : Tensor, int64 ``[B]`` or float ``[B, K]``
        True classes, or the share of each class in a picture, as from :func:`classify.mix`.
    weights : Tensor ``[K]``, optional
        Class weights. The loss is then a weighted mean, as in torch for integer labels. The weight
        of a mixed label is the mean of the class weights, by share; torch divides by the number of
        pictures instead. For a single picture, the losses of its classes are therefore averaged by
        share times weight. If the weights of a batch sum to 0, or it is empty, the loss is 0.
    log_prior : Tensor ``[K]``, optional
        Added to the logits: ``tau * log(prior)`` gives logit adjustment (Menon et al., ICLR 2021),
        which at tau = 1 is the balanced softmax (Ren et al., NeurIPS 2020).
    margins : Tensor ``[K]``, optional
        Subtracted from the logit of the true class, for a mixed label in proportion to its shares:
        LDAM, with :func:`classify.ldam_margins`.
    label_smoothing : float
        Share of each label that is spread evenly over all classes, in [0, 1].
    focal_gamma : float
        Exponent of the factor ``(1 - p)`` on the loss of each class (Lin et al., ICCV 2017); 0
        gives the cross-entropy.

    Returns
    -------
    Tensor, scalar, nats

    Raises
    ------
    TypeError
        When an argument is not a tensor, or not a number.
    ValueError
        For labels of another type or beyond the classes, weights, priors or margins that are not
        ``[K]``, a ``focal_gamma`` that is negative or infinite, or a ``label_smoothing`` outside
        [0, 1]. For tensors on the CPU, which can be checked without a delay, also for negative
        weights, weights, priors or margins that are nan or +inf, shares of the classes that do not
        sum to 1, and a prior without the logarithm.
    """
    check_number("focal_gamma", focal_gamma)
    check_number("label_smoothing", label_smoothing)
    if not 0 <= focal_gamma < float("inf"):
        raise ValueError(f"focal_gamma must be 0 or more, and finite, not {focal_gamma}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1], not {label_smoothing}")
    check_tensor("logits", logits)
    check_tensor("labels", labels)
    logits = single(logits)
    for name, value in (("weights", weights), ("log_prior", log_prior), ("margins", margins)):
        if value is not None:
            check_tensor(name, value)
        if value is not None and value.shape != logits.shape[1:]:
            raise ValueError(
                f"{name} must be [K] for logits [B, K] = {list(logits.shape)}, not "
                f"{list(value.shape)}"
            )
        # An impossible class may have the logarithm -inf.
        if value is not None and looked_at(value) and not (value < float("inf")).all():
            raise ValueError(f"{name} must not be nan or +inf, not {value.tolist()}")
    if weights is not None and looked_at(weights) and (weights < 0).any():
        raise ValueError(f"weights must be 0 or more, not {weights.tolist()}")
    if log_prior is not None and looked_at(log_prior):
        check_logarithms(as_array(log_prior))
    shares = _shares(labels, logits)
    # Weights and priors are made from counts on the CPU in every step; the copy to a GPU need not
    # block. (A copy to the CPU must.)
    there = not logits.is_cpu
    if log_prior is not None:
        logits = logits + log_prior.to(logits, non_blocking=there)
    if margins is not None:
        logits = logits - shares * margins.to(logits, non_blocking=there)
    smoothed = (1 - label_smoothing) * shares + label_smoothing / logits.shape[1]
    log_p = logits.log_softmax(1)
    # A class that is not part of the label costs nothing, even with probability 0.
    costs = torch.where(smoothed > 0, -log_p, 0)
    if focal_gamma > 0:
        # 1 - p without cancellation, and above 0, where a power below 1 has an infinite slope.
        doubt = -torch.expm1(log_p)
        costs = doubt.clamp_min(torch.finfo(doubt.dtype).eps) ** focal_gamma * costs
    if weights is None:
        cost = (smoothed * costs).sum(1)
        return cost.mean() if len(cost) > 0 else cost.sum()
    weights = weights.to(logits, non_blocking=there)
    cost, weight = (smoothed * weights * costs).sum(), (shares * weights).sum()
    smallest = torch.finfo(weight.dtype).tiny
    return torch.where(weight > 0, cost, torch.zeros_like(cost)) / weight.clamp_min(smallest)


def _shares(labels: Tensor, logits: Tensor) -> Tensor:
    """Labels of either kind as shares of the classes ``[B, K]``."""
    if labels.dtype == torch.int64 and labels.shape == logits.shape[:1]:
        try:
            return functional.one_hot(labels, logits.shape[1]).to(logits)
        except RuntimeError as error:  # torch checks the labels, with its own message
            raise ValueError(
                f"labels must lie in 0..{logits.shape[1] - 1} for logits {list(logits.shape)}: "
                f"{error}"
            ) from error
    if labels.is_floating_point() and labels.shape == logits.shape:
        if looked_at(labels) and len(labels) > 0:
            # Tolerance for bfloat16, in which shares may be mixed.
            wrong = (labels < 0).any(1) | ~((labels.double().sum(1) - 1).abs() <= 2**-7)
            if wrong.any():
                row = int(wrong.int().argmax())
                raise ValueError(
                    f"labels that are shares of the classes must be 0 or more and sum to 1, but "
                    f"row {row} is {labels[row].tolist()}"
                )
        return labels.to(logits)
    raise ValueError(
        f"labels must be int64 [B] or shares of the classes [B, K] for logits [B, K] = "
        f"{list(logits.shape)}, not {labels.dtype} {list(labels.shape)}"
    )


def single(scores: Tensor) -> Tensor:
    """Scores in float32 or better: half precision is too coarse for the share of a rare class."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def check_counts(counts: Tensor) -> Tensor:
    """Return the pictures of each class as float64, or raise an error."""
    try:
        counts = torch.as_tensor(counts)
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"counts must be a vector of numbers of pictures, not {type(counts).__name__}"
        ) from error
    sound = counts.ndim == 1 and bool(((counts >= 0) & (counts < float("inf"))).all())
    if not sound or not counts.sum() > 0:
        raise ValueError(
            f"counts must be a vector of numbers of pictures, at least one of them positive, not "
            f"{counts.tolist()}"
        )
    if ((counts > 0) & (counts < 1)).any():
        raise ValueError(
            f"counts must be numbers of pictures, none of them between 0 and 1, not "
            f"{counts.tolist()}: multiply shares of the classes by the number of pictures"
        )
    return counts.double()


def _scaled(counts: Tensor, weights: Tensor) -> Tensor:
    present = counts > 0
    weights = torch.where(present, weights, torch.zeros_like(weights))
    return (weights * (present.sum() / weights.sum())).float()
