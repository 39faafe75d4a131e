"""An ensemble of classifiers: the mean of their class probabilities.

::

    pictures ─┬─► net ─► softmax ─┐
              ├─► net ─► softmax ─┼─► mean ─► log ─► scores
              └─► net ─► softmax ─┘
"""

import math

import torch
from torch import Tensor, nn

from .imbalance import single

__all__ = ["Vote"]


class Vote(nn.Module):
    """Ensemble of classifiers that averages their probabilities for the same pictures.

    Its scores are the logarithms of the mean, a linear opinion pool (Stone, Ann. Math. Stat.
    32:1339, 1961), so that they can be evaluated, adjusted and trained like those of a single
    classifier. It helps if the members make different mistakes; copies of one net gain nothing.

    Parameters
    ----------
    *members : nn.Module
        Two or more modules, each from pictures ``[B, C, H, W]`` in 0..1 to scores ``[B, K]`` of the
        same classes in the same order. Their weights are shared, not copied.

    Raises
    ------
    TypeError
        When a member is not a module.
    ValueError
        For fewer than two members, or members with different numbers of channels.
    """

    def __init__(self, *members: nn.Module) -> None:
        super().__init__()
        for member in members:
            if not isinstance(member, nn.Module):
                raise TypeError(
                    f"the members of a vote must be modules, not {type(member).__name__}: give the "
                    "classifiers one by one, Vote(first, second)"
                )
        if len(members) < 2:
            raise ValueError(f"a vote needs two classifiers or more, not {len(members)}")
        channels = (getattr(member, "in_channels", None) for member in members)
        known = {count for count in channels if isinstance(count, int)}
        if len(known) > 1:
            raise ValueError(
                f"the classifiers take {', '.join(map(str, sorted(known)))} channels: all are "
                "given the same pictures"
            )
        self.members = nn.ModuleList(members)
        self.in_channels = known.pop() if known else None

    def forward(self, picture: Tensor) -> Tensor:
        """Return the scores of pictures.

        Parameters
        ----------
        picture : Tensor ``[B, C, H, W]`` in 0..1

        Returns
        -------
        Tensor ``[B, K]``
            Logarithms of probabilities, at least single precision.

        Raises
        ------
        ValueError
            When the members have different numbers of classes.
        """
        scores = [member(picture) for member in self.members]
        shapes = {tuple(each.shape) for each in scores}
        if len(shapes) > 1:
            raise ValueError(
                f"the classifiers give scores of shapes {', '.join(map(str, sorted(shapes)))}: all "
                "must have the same classes"
            )
        shares = torch.stack([torch.log_softmax(single(each), dim=1) for each in scores])
        # A class that is impossible to all of them has no slope, where that of the sum is 0 / 0.
        impossible = shares.isneginf().all(0)
        total = torch.logsumexp(shares.masked_fill(impossible, 0), dim=0)
        return total.masked_fill(impossible, -math.inf) - math.log(len(scores))
