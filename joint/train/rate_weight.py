"""The weight of the rate, where it moves so that the rate comes to a target.

::

    rate of a step ──/ target - 1──► error ─► slow part: sums it up ─┐
                                       │                             ├─► exp ─► weight of the next
                                       └─────► quick part ───────────┘

A constraint ``rate = target`` has a multiplier, which this finds while the system trains: dual
ascent, as in GECO (Rezende and Viola, "Taming VAEs", arXiv:1810.00597), in the logarithm, so that
the units of the other terms do not matter; with the proportional part of ControlVAE (Shao et al.,
ICML 2020), which damps the swings that a sum alone goes through behind a codec that is slow.
"""

import math

import torch
from torch import Tensor

from joint.objective import Objective

__all__ = ["ON_TARGET", "RateWeight"]

ON_TARGET = 0.05
"""How far from its target a rate may be, as a fraction of it, to pass for it: a batch differs from
the next one by as much."""

# By how much the logarithm of the weight changes for a rate of twice the target: a step, at the
# peak of the schedule (where the learning rate is low, the rate answers slowly, and so does this);
# and at once. Measured, see docs/howto/equal_rate.md.
_SLOW, _QUICK = 0.1, 1.0
# The share of the slow part's growth while the error is at its limit, as it is at first, when the
# codec is still broad: what is summed up there has to be paid back later (integral windup).
_AT_LIMIT = 0.1
# How far the slow part goes from where it began, either way, as a factor of the weight: where the
# rate does not answer, it would go on for ever.
_FARTHEST = 1e4
# What a step adds, at least, to the mean rate of the last ones of its epoch. The validation is
# compared with that and not with the mean of the epoch: in a first epoch the rate falls to a
# quarter, and the weight would follow a rate that is far below what the validation sees.
_RECENT = 0.1


class RateWeight:
    """Weight of the rate in the next step."""

    def __init__(self, objective: Objective, device: torch.device) -> None:
        assert objective.rate_target is not None
        self.target, self.start = objective.rate_target, math.log(objective.rate)
        self.state = torch.tensor([self.start, 0.0, 1.0, 0.0], device=device)
        """Slow part of the logarithm of the weight, the last error, the rate of the validation over
        that of the training, and the mean rate of the last steps of the epoch, 0 before the first
        ``[4]``."""

    def __call__(self) -> Tensor:
        """The weight, 1/(bit/pixel); a scalar."""
        slow, error, *_ = self.state
        return (slow + _QUICK * error).exp()

    def named(self) -> dict[str, Tensor]:
        """What the next step is weighed with, scalars: for the history.

        Not all are identifiers, as the names of an objective's own terms are.
        """
        _, error, ratio, _ = self.state
        return {"rate_weight": self(), "rate_weight.error": error, "rate_weight.correction": ratio}

    def see(self, rate: Tensor, step: int) -> None:
        """Take in the mean rate of a step for the validation to be compared with.

        Of any step, also of one in which the codec rests: the validation after it sees what the
        rest of the system has done to the rate.

        Parameters
        ----------
        rate : Tensor, scalar
            Bits per pixel, of all processes together.
        step : int
            Of its epoch, counted from 0. The mean begins anew with each: the plain one of the first
            steps, that a short epoch is compared with itself and not with those before it.
        """
        slow, error, ratio, recent = self.state
        share = max(_RECENT, 1 / (step + 1))
        self.state = torch.stack([slow, error, ratio, recent + share * (rate - recent)])

    def follow(self, rate: Tensor, speed: float) -> None:
        """Move the weight by the mean rate of a step in which the codec learned.

        Parameters
        ----------
        rate : Tensor, scalar
            Bits per pixel, of all processes together.
        speed : float
            Factor on the peak learning rates in this step.
        """
        slow, _, ratio, recent = self.state
        # At most 1: the broad entropy model that a codec begins with says nothing of the weight.
        error = (rate * ratio / self.target - 1).clamp(max=1.0)
        growth = _SLOW * speed * torch.where(error < 1, error, _AT_LIMIT * error)
        low, high = self.start - math.log(_FARTHEST), self.start + math.log(_FARTHEST)
        slow = (slow + growth).clamp(low, high)
        self.state = torch.stack([slow, error, ratio, recent])

    def compare(self, validated: float | None) -> None:
        """Take in the rate of a validation, bits per pixel: that of the steps before it is another.

        What is trained is not what is validated: noise stands for rounding, the views are
        augmented, the weights may be averaged.
        """
        if validated:
            slow, error, ratio, recent = self.state
            ratio = torch.where(recent > 0, validated / recent, ratio)
            self.state = torch.stack([slow, error, ratio, recent])

    def restore(self, state: Tensor) -> None:
        """Go on from the ``state`` of a checkpoint."""
        self.state = state.to(self.state.device)
