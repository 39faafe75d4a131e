"""What a system is trained for: labels, bits and fidelity, each weighted and reported."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from classify import class_weights, log_prior, task_loss

from .system import SystemOutput

__all__ = ["Losses", "Objective"]


@dataclass(frozen=True)
class Losses:
    """Terms of the objective, each a scalar before its weight; None where it has none."""

    total: Tensor
    """Weighted sum, what is minimised."""
    task: Tensor | None
    """Cross-entropy, nats."""
    rate: Tensor | None
    """Mean bits per pixel of the codec."""
    distortion: Tensor | None
    """Mean error between the codec's input and output."""

    def named(self) -> dict[str, Tensor]:
        """The terms that exist, by name."""
        terms = {name: getattr(self, name) for name in ("total", "task", "rate", "distortion")}
        return {name: term for name, term in terms.items() if term is not None}


class Objective(BaseModel):
    """``task * cross_entropy + rate * bpp + distortion * error``.

    The error is the mean absolute (as in the study that this library grew from) or the mean
    squared difference between what the codec is given and what it returns, on pictures in 0..1.
    With ``distortion_kind="mse"``, ``rate=1`` and ``distortion = lambda * 255**2`` it is the usual
    rate-distortion Lagrangian of learned compression.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy, 1/nat."""
    rate: float = Field(default=0.0, ge=0)
    """Weight of the rate, 1/(bit/pixel)."""
    distortion: float = Field(default=0.0, ge=0)
    """Weight of the error, dimensionless."""
    distortion_kind: Literal["mae", "mse"] = "mae"
    """Mean absolute or mean squared error."""
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    """Share of each label that is spread over all classes, in training."""
    class_weight_power: float = Field(default=0.0, ge=0, le=1)
    """Weigh class c by (N / (K n_c)) ** power; 0 weighs all alike, 1 balances them."""
    logit_adjustment: float = Field(default=0.0, ge=0)
    """Add tau * log(prior) to the logits in training (Menon et al., ICLR 2021)."""

    def __call__(
        self, output: SystemOutput, labels: Tensor, *, counts: Tensor | None = None
    ) -> Losses:
        """Evaluate the terms for one batch.

        Parameters
        ----------
        output : SystemOutput
            One pass of a system.
        labels : Tensor, int64 ``[B]``
            True classes.
        counts : Tensor ``[K]``, optional
            Pictures of each class in the training set. With it the task is what is trained for:
            smoothed, weighted and adjusted. Without it, it is the plain cross-entropy.

        Raises
        ------
        ValueError
            When a term has a weight but its stage is missing.
        """
        task = rate = distortion = None
        if output.logits is not None:
            task = self._task(_full_precision(output.logits), labels, counts)
        if output.coded is not None:
            rate = _full_precision(output.coded.bpp).mean()
            difference = _full_precision(output.coded.reconstruction) - _full_precision(
                output.measurement
            )
            distortion = (
                difference.abs().mean()
                if self.distortion_kind == "mae"
                else difference.square().mean()
            )
        total = torch.zeros((), device=labels.device)
        for name, term in (("task", task), ("rate", rate), ("distortion", distortion)):
            weight: float = getattr(self, name)
            if weight == 0:
                continue
            if term is None:
                stage = "classifier" if name == "task" else "codec"
                raise ValueError(
                    f"the objective weighs {name} with {weight:g}, but the system has no {stage}: "
                    f"set {name}=0 or add the stage"
                )
            total = total + weight * term
        return Losses(total=total, task=task, rate=rate, distortion=distortion)

    def _task(self, logits: Tensor, labels: Tensor, counts: Tensor | None) -> Tensor:
        if counts is None:
            return functional.cross_entropy(logits, labels)
        counts = counts.to(logits.device)
        return task_loss(
            logits,
            labels,
            weights=class_weights(counts, power=self.class_weight_power)
            if self.class_weight_power
            else None,
            log_prior=self.logit_adjustment * log_prior(counts) if self.logit_adjustment else None,
            label_smoothing=self.label_smoothing,
        )


def _full_precision(values: Tensor) -> Tensor:
    """Leave autocast's half precision; sums over a batch need the digits."""
    return values if values.dtype == torch.float64 else values.float()
