"""Settings of a training: everything that is chosen before the first step."""

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from joint.judge.metric import is_term
from joint.settings import FrozenDict, Settings, nearest
from joint.stages import NETWORKS, STAGES, Stage

from .augment import Augmentation, AugmentationName

__all__ = ["MONITORS", "Monitor", "Plan", "Training"]

MONITORS = (
    "loss", "accuracy", "balanced_accuracy", "macro_f1", "auc", "bpp", "psnr", "ssim", "psnr_scene",
)  # fmt: skip


def _is_validated(monitor: str) -> str:
    if monitor not in MONITORS and not is_term(monitor):
        near = nearest(monitor, MONITORS)
        raise ValueError(
            f"validation has no number {monitor!r}{near} (a term of the objective is loss_ and its "
            "name)"
        )
    return monitor


Monitor = Annotated[str, AfterValidator(_is_validated)]
"""Name of a number of :meth:`joint.Evaluation.scalars`, by which epochs are compared."""

Plan = Literal["joint", "frozen", "alternating"]

# Where a rise begins, as a factor on the peak: 1 / `div_factor` of torch's OneCycleLR.
_BEGINNING = 0.04


class Training(Settings):
    """Settings of the training of a system."""

    epochs: int = Field(default=20, ge=1)
    """Passes over the training set."""
    batch_size: int = Field(default=32, ge=1)
    """Pictures per step. The pictures of an epoch are divided evenly, so that no step is nearly
    empty."""
    micro_batches: int = Field(default=1, ge=1)
    """Number of parts in which a step is computed, to save memory. The gradient is that of the
    whole step, except for operations on each part alone: batch normalisation, mixing, dropout."""
    stages: tuple[Stage, ...] = STAGES
    """Stages that learn. The others keep their weights, run in evaluation mode, and still pass the
    gradient on."""
    plan: Plan = "joint"
    """joint: all of these stages learn at once; frozen: all but the classifier, which must have
    been trained before; alternating: camera (front end and sensor) and networks (restoration, codec
    and classifier) take turns."""
    turn_epochs: int = Field(default=1, ge=1)
    """Epochs per turn of the alternating plan."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """Optimiser. With adam the weight decay is L2 regularisation, with adamw it is decoupled."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate."""
    learning_rates: Annotated[dict[Stage, float], AfterValidator(FrozenDict)] = Field(
        default_factory=FrozenDict
    )
    """Peak learning rates of single stages that differ from learning_rate. Rates of stages that do
    not learn or do not exist are ignored, so that designs may share them. Entropy models, gains and
    JPEG tables have ten times the rate of their codec (learning_rate_factor)."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay of the weights of restoration, codec and classifier: parameters with more than
    one axis that are called ``weight``, or have the names of recurrent and attention layers,
    parametrized or not. Biases, norms, embeddings, gains, tables, tokens and physical stages have
    none."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "one_cycle"
    """Learning rate schedule. constant keeps the peak; cosine falls from it; one_cycle first rises
    over a quarter of the training, and then falls as cosine does."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs, or a fraction of one, in which the rates of constant and cosine first rise linearly,
    from 0.04 of their peak, as those of one_cycle do. The fall of cosine takes the other epochs."""
    final_factor: float = Field(default=0.0, ge=0, lt=1)
    """Factor on the peak rates to which cosine and one_cycle fall, at the end of the training."""
    augmentation: AugmentationName | Augmentation = "dihedral"
    """Random changes of the training pictures: none, dihedral (flips and quarter turns), full (in
    addition small rotations, scales, shifts and channel gains), or settings of your own."""
    sampling_power: float = Field(default=0.0, ge=0, le=1)
    """Class balance of an epoch: 0 shows every picture once, 1 shows all classes equally often, 0.5
    shows them in proportion to the square roots of their counts."""
    mixing: Literal["none", "mixup", "cutmix"] = "none"
    """Method that mixes two training pictures into one, see classify.mix."""
    mixing_alpha: float = Field(default=0.2, gt=0)
    """The shares of the two pictures are drawn from Beta(alpha, alpha)."""
    monitor: Monitor = "loss"
    """Validation number that selects the best epoch: loss, accuracy, balanced_accuracy, macro_f1,
    auc, bpp, psnr, ssim, psnr_scene, or a term of the objective, ``loss_`` and its name. With a
    rate_target, only epochs whose rate is within 5 % of it count; if there are none, the one with
    the nearest rate is the best."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs without improvement; by default never."""
    restore_best: bool = True
    """At the end, restore the weights of the best epoch rather than keep those of the last."""
    gradient_clip: float | None = Field(default=5.0, gt=0)
    """Largest norm of the gradient of a stage; larger ones are scaled down. None does not clip."""
    averaging: float | None = Field(default=None, gt=0, lt=1)
    """Largest decay per step of a moving average of the weights (Polyak). The averaged weights are
    validated, saved and returned. None does not average. At step n the decay is ``min(averaging, (1
    + n) / (10 + n))``, as in TensorFlow's ``ExponentialMovingAverage(num_updates=n)``. Until step
    ``(10 averaging - 1) / (1 - averaging)``, 890 for 0.99 and 8990 for 0.999, the average lags n /
    10 steps behind in the mean, whatever the value; long after it, ``1 / (1 - averaging)``
    steps."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Autocast type of restoration, codec and classifier; optics, sensor and rates stay in
    float32."""
    channels_last: bool = True
    """Memory layout of pictures and weights in training: channels last, as convolutions read them,
    or contiguous. On one thread of a CPU, in float32, channels last made a step of the default
    system 1.19x and those of the classifiers 1.0 to 1.5x as fast, but that of resnet18 at 64 pixels
    0.89x."""
    compile: bool = False
    """Compile the system with torch.compile; intended for a GPU, takes a minute on a CPU."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints, in addition to the one after each epoch."""
    seed: int = 0
    """Random seed of the data order, the augmentation and the noise."""

    @field_validator("learning_rates")
    @classmethod
    def _positive(cls, rates: dict[Stage, float]) -> dict[Stage, float]:
        for stage, rate in rates.items():
            if not rate > 0:
                raise ValueError(f"the learning rate of {stage} must be positive, not {rate}")
        return rates

    @model_validator(mode="after")
    def _follows_its_schedule(self) -> Self:
        if self.warmup_epochs and self.schedule == "one_cycle":
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs:g} is for the schedules constant and cosine, "
                "and one_cycle has a rise of its own, a quarter of the training: set "
                "schedule='cosine', which falls as one_cycle does, or warmup_epochs=0"
            )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs:g} is no less than epochs={self.epochs}, and "
                "the learning rates would not come to their peak: lower it, or train for longer"
            )
        if self.final_factor and self.schedule == "constant":
            raise ValueError(
                f"final_factor={self.final_factor:g} is for schedules that fall, cosine and "
                "one_cycle: set one of them, or final_factor=0 for the schedule constant"
            )
        return self

    def learning(self, epoch: int) -> tuple[Stage, ...]:
        """Stages that learn in ``epoch``, counted from 0."""
        match self.plan:
            case "joint":
                turn = STAGES
            case "frozen":
                turn = ("front_end", "sensor", "restoration", "codec")
            case "alternating":
                camera = epoch // self.turn_epochs % 2 == 0
                turn = tuple(s for s in STAGES if (s in NETWORKS) != camera)
        return tuple(stage for stage in self.stages if stage in turn)

    def rate_factor(self, epoch: float) -> float:
        """Factor on the peak learning rates after ``epoch`` epochs, which may be fractional."""
        rise = self.epochs / 4 if self.schedule == "one_cycle" else self.warmup_epochs
        if rise and epoch <= rise:
            return _BEGINNING + (1 - _BEGINNING) * (epoch / rise)
        if self.schedule == "constant":  # whatever the number of epochs, so that it may grow
            return 1.0
        done, risen = min(epoch / self.epochs, 1.0), rise / self.epochs
        fallen = (done - risen) / (1 - risen)
        left = 0.5 * (1 + math.cos(math.pi * fallen))
        return self.final_factor + (1 - self.final_factor) * left
