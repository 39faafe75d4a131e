"""LDAM: margins in the loss that are larger for rarer classes (Cao et al., NeurIPS 2019).

::

    features [B, F] ──CosineHead──► scale * cosine [B, K] ──task_loss(margins=scale * D)──► loss

Margins need scores of bounded size, so the head compares only directions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .data.arrays import as_integer
from .given import check_number
from .imbalance import check_counts

__all__ = ["CosineHead", "cosine_logits", "ldam_margins"]


def ldam_margins(counts: Tensor, *, largest: float = 0.5) -> Tensor:
    """Return margins ``D_c = C / n_c ** (1/4)``, with C such that the rarest class has ``largest``.

    Parameters
    ----------
    counts : Tensor ``[K]``
        Pictures of each class; a class without any gets margin 0.
    largest : float
        Largest margin, in units of the logits. The 0.5 of the paper is a difference of cosines,
        which is 15 for a :class:`CosineHead` of scale 30.

    Returns
    -------
    Tensor, float32 ``[K]``

    Raises
    ------
    TypeError
        When an argument is not a number.
    ValueError
        When ``counts`` is not a vector of numbers >= 0 with a positive one, or ``largest`` is
        negative or not finite.
    """
    counts = check_counts(counts)
    check_number("largest", largest)
    if not 0 <= largest < float("inf"):
        raise ValueError(f"the largest margin must be 0 or more, and finite, not {largest}")
    inverse = torch.where(counts > 0, counts.clamp_min(1) ** -0.25, 0)
    return (largest * inverse / inverse.max()).float()


def cosine_logits(features: Tensor, weight: Tensor, *, scale: float = 30.0) -> Tensor:
    """``scale * cos(features, weight)`` for features ``[B, F]`` and weights ``[K, F]``: ``[B, K]``.

    Computed in float32 also under autocast: half precision would give steps of 0.1 in the scores.
    Features near zero have no direction, and get scores near zero.
    """
    with torch.autocast(features.device.type, enabled=False):
        if features.dtype != torch.float64:
            features, weight = features.float(), weight.float()
        # The floor keeps the gradient of vanishing features finite.
        features = functional.normalize(features, dim=1, eps=1e-4)
        return scale * functional.linear(features, functional.normalize(weight, dim=1))


class CosineHead(nn.Module):
    """Last layer of a classifier that compares directions: :func:`cosine_logits`.

    Its scores are already multiplied by ``scale``, so that they can be used like those of any other
    head, for softmax, calibration and :func:`classify.adjust_logits`.

    Parameters
    ----------
    in_features, classes : int
        Numbers of features F and classes K.
    scale : float
        Largest score; 30 in the paper.

    Raises
    ------
    TypeError
        When an argument is not a number.
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
        """Show the settings."""
        return f"{self.in_features}, {self.classes}, scale={self.scale:g}"

    @property
    def directions(self) -> Tensor:
        """Weights of unit length ``[K, F]``, with which features are compared."""
        return functional.normalize(self.weight, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``features`` ``[B, F]`` to logits ``[B, K]``."""
        return cosine_logits(features, self.weight, scale=self.scale)
