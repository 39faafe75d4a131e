"""Room for rare classes: LDAM, margins that grow as a class gets rarer (Cao et al., NeurIPS 2019).

::

    features [B, F] ──CosineHead──► scale * cosine [B, K] ──task_loss(margins=scale * D)──► loss

The margins mean something on scores of bounded size, so that the head compares directions alone.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .data.arrays import as_integer
from .given import check_number
from .imbalance import check_counts

__all__ = ["CosineHead", "cosine_logits", "ldam_margins"]


def ldam_margins(counts: Tensor, *, largest: float = 0.5) -> Tensor:
    """Margins ``D_c = C / n_c ** (1/4)``, with C such that the rarest class has ``largest``.

    Parameters
    ----------
    counts : Tensor ``[K]``
        Pictures of each class; a class without any gets margin 0.
    largest : float
        In units of the logits: the 0.5 of the paper is a difference of cosines, thus 15 for a
        :class:`CosineHead` of scale 30.

    Returns
    -------
    Tensor, float32 ``[K]``

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For counts that are not a vector of numbers >= 0 with a positive one, or a margin that
        is negative or not finite.
    """
    counts = check_counts(counts)
    check_number("largest", largest)
    if not 0 <= largest < float("inf"):
        raise ValueError(f"the largest margin must be 0 or more, not {largest}, and finite")
    inverse = torch.where(counts > 0, counts.clamp_min(1) ** -0.25, 0)
    return (largest * inverse / inverse.max()).float()


def cosine_logits(features: Tensor, weight: Tensor, *, scale: float = 30.0) -> Tensor:
    """``scale * cos(features, weight)`` for features ``[B, F]`` and weights ``[K, F]``: ``[B, K]``.

    In float32 also under autocast: half precision would leave steps of a tenth in the scores.
    Features near zero have no direction, and get scores near zero.
    """
    with torch.autocast(features.device.type, enabled=False):
        if features.dtype != torch.float64:
            features, weight = features.float(), weight.float()
        # The floor keeps the gradient of vanishing features finite.
        features = functional.normalize(features, dim=1, eps=1e-4)
        return scale * functional.linear(features, functional.normalize(weight, dim=1))


class CosineHead(nn.Module):
    """The last layer of a classifier that compares directions: :func:`cosine_logits`.

    Its scores are already multiplied by ``scale``, so that softmax, calibration and
    :func:`classify.adjust_logits` take them as those of any other head.

    Parameters
    ----------
    in_features, classes : int
        Features F and classes K.
    scale : float
        Largest score; 30 in the paper.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        When ``scale`` is not positive, or there are no features or fewer than two classes.
    """

    def __init__(self, in_features: int, classes: int, *, scale: float = 30.0) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("classes", classes)):
            if as_integer(size) is None:
                raise TypeError(f"{name} must be a whole number, not {size!r}")
        check_number("scale", scale)
        if in_features < 1 or classes < 2 or not 0 < scale < float("inf"):
            raise ValueError(
                "a cosine head needs at least 1 feature, 2 classes and a positive scale, not "
                f"{in_features}, {classes} and {scale}"
            )
        self.in_features, self.classes, self.scale = in_features, classes, scale
        # A normal distribution has no preferred direction.
        self.weight = nn.Parameter(functional.normalize(torch.randn(classes, in_features), dim=1))

    def extra_repr(self) -> str:
        """Name what is not a module."""
        return f"{self.in_features}, {self.classes}, scale={self.scale:g}"

    @property
    def directions(self) -> Tensor:
        """Weights of unit length ``[K, F]``, what features are compared with."""
        return functional.normalize(self.weight, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``features`` ``[B, F]`` to logits ``[B, K]``."""
        return cosine_logits(features, self.weight, scale=self.scale)
