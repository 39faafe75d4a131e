"""Rare classes: weights, priors and the losses that use them.

HAM10000 has 58 nevi for each dermatofibroma; a loss that ignores it learns to say "nevus".
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["class_weights", "effective_number_weights", "log_prior", "task_loss"]


def class_weights(counts: Tensor, *, power: float = 0.5) -> Tensor:
    """Weights ``(N / (K n_c)) ** power``, scaled to sum to the number of classes that occur.

    Parameters
    ----------
    counts : Tensor ``[K]``
        Pictures of each class; a class without any gets weight 0.
    power : float
        0 weighs all classes alike, 1 balances them (the "balanced" weights of scikit-learn, up
        to their sum).

    Returns
    -------
    Tensor, float32 ``[K]``

    Raises
    ------
    ValueError
        For counts that are not a vector of numbers >= 0 with a positive one, or a negative power.
    """
    counts = _checked(counts)
    if not power >= 0:
        raise ValueError(f"power must be 0 or more, not {power}")
    return _scaled(counts, (counts.sum() / (len(counts) * counts.clamp_min(1))) ** power)


def effective_number_weights(counts: Tensor, *, beta: float = 0.999) -> Tensor:
    """Class-balanced weights ``(1 - beta) / (1 - beta ** n_c)`` (Cui et al., CVPR 2019).

    Parameters
    ----------
    counts : Tensor ``[K]``
        Pictures of each class; a class without any gets weight 0.
    beta : float
        In [0, 1): 0 weighs all classes alike, towards 1 the weights tend to 1 / n_c.

    Returns
    -------
    Tensor, float32 ``[K]``, whose sum is the number of classes that occur
    """
    counts = _checked(counts)
    if not 0 <= beta < 1:
        raise ValueError(f"beta must lie in [0, 1), not {beta}")
    if beta == 0:
        return _scaled(counts, torch.ones_like(counts))
    log_beta = torch.log(torch.tensor(beta, dtype=torch.float64))
    # -expm1(n log beta) = 1 - beta ** n, exact for beta next to 1 too.
    return _scaled(counts, (1 - beta) / -torch.expm1(counts.clamp_min(1) * log_beta))


def log_prior(counts: Tensor) -> Tensor:
    """Logarithm of the class shares ``[K]``, float32; a class without pictures counts as one."""
    counts = _checked(counts).clamp_min(1)
    return (counts / counts.sum()).log().float()


def task_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    log_prior: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Cross-entropy with the usual remedies for imbalance, mean over the batch.

    Parameters
    ----------
    logits : Tensor ``[B, K]``
        Class scores.
    labels : Tensor, int64 ``[B]``
        True classes.
    weights : Tensor ``[K]``, optional
        Class weights; the mean is then a weighted one, as in torch.
    log_prior : Tensor ``[K]``, optional
        Added to the logits: with tau * log(prior), logit adjustment (Menon et al., ICLR 2021),
        which at tau = 1 is the balanced softmax (Ren et al., NeurIPS 2020).
    label_smoothing : float
        Share of each label that is spread over all classes.
    focal_gamma : float
        Exponent of ``(1 - p_y)`` (Lin et al., ICCV 2017); 0 is the cross-entropy.

    Returns
    -------
    Tensor, scalar, nats

    Raises
    ------
    ValueError
        For a negative ``focal_gamma``.
    """
    if not focal_gamma >= 0:
        raise ValueError(f"focal_gamma must be 0 or more, not {focal_gamma}")
    if log_prior is not None:
        logits = logits + log_prior.to(logits)
    if weights is not None:
        weights = weights.to(logits)
    if focal_gamma == 0:
        return functional.cross_entropy(
            logits, labels, weight=weights, label_smoothing=label_smoothing
        )
    losses = functional.cross_entropy(
        logits, labels, weight=weights, label_smoothing=label_smoothing, reduction="none"
    )
    # 1 - p without cancellation, and off zero, where a power below 1 has an infinite slope.
    doubt = -torch.expm1(logits.log_softmax(1).gather(1, labels[:, None])[:, 0])
    losses = doubt.clamp_min(torch.finfo(doubt.dtype).eps) ** focal_gamma * losses
    return losses.mean() if weights is None else losses.sum() / weights[labels].sum()


def _checked(counts: Tensor) -> Tensor:
    if counts.ndim != 1 or not (counts >= 0).all() or not counts.sum() > 0:
        raise ValueError(
            f"counts must be a vector of numbers of pictures, at least one of them positive, not "
            f"{counts.tolist()}"
        )
    return counts.double()


def _scaled(counts: Tensor, weights: Tensor) -> Tensor:
    present = counts > 0
    weights = torch.where(present, weights, torch.zeros_like(weights))
    return (weights * (present.sum() / weights.sum())).float()
