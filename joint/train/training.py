"""How a system is trained, as data: what a person chooses before the first step."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_serializer, field_validator

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
            f"no validation has {monitor!r}{near} (a term of the objective is loss_ and its name)"
        )
    return monitor


Monitor = Annotated[str, AfterValidator(_is_validated)]
"""A number of a validation: of :meth:`joint.Evaluation.scalars`."""

Plan = Literal["joint", "frozen", "alternating"]


class Training(Settings):
    """How a system is trained."""

    epochs: int = Field(default=20, ge=1)
    """Passes over the training set."""
    batch_size: int = Field(default=32, ge=1)
    """Pictures a step; the last ones of an epoch are spread, no step is nearly empty."""
    micro_batches: int = Field(default=1, ge=1)
    """Parts that a step is taken in, to save memory; the gradient is that of the whole step (but
    for what looks at a part by itself: batch normalisation, mixing, dropout)."""
    stages: tuple[Stage, ...] = STAGES
    """Stages that learn. The others keep their weights, run in evaluation mode, and still pass
    the gradient on. A restoration that alone is not named learns too: older runs know none."""
    plan: Plan = "joint"
    """joint: all of these stages learn at once; frozen: all but the classifier, which was trained
    before; alternating: camera (front end and sensor) and network (restoration, codec and
    classifier) take turns."""
    turn_epochs: int = Field(default=1, ge=1)
    """Epochs of a turn of the alternating plan."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """With adam the weight decay is L2 regularisation, with adamw it is decoupled."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate."""
    learning_rates: Annotated[dict[Stage, float], AfterValidator(FrozenDict)] = Field(
        default_factory=FrozenDict
    )
    """Peak learning rates of single stages, where they differ; that of one that does not learn, or
    is not there, is of no account, so that designs may share them. Entropy models, gains and JPEG
    tables have ten times that of their codec (learning_rate_factor)."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """For the weights of restoration, codec and classifier: parameters of more than one axis that
    are called ``weight``, or as recurrent and attention layers call theirs, parametrized or not.
    Never for biases, norms, embeddings, gains, tables, tokens or a physical stage."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "one_cycle"
    """cosine falls to 0; one_cycle rises over the first quarter before it."""
    augmentation: AugmentationName | Augmentation = "dihedral"
    """Views of the training pictures: none, dihedral (flips and quarter turns), full (in addition
    small turns, scales, shifts and channel gains), or settings of your own."""
    sampling_power: float = Field(default=0.0, ge=0, le=1)
    """0 shows every picture once an epoch, 1 all classes equally often, 0.5 in the shares of the
    square roots of their counts."""
    mixing: Literal["none", "mixup", "cutmix"] = "none"
    """Two pictures in one, see classify.mix."""
    mixing_alpha: float = Field(default=0.2, gt=0)
    """Shares of the two are drawn from Beta(alpha, alpha)."""
    monitor: Monitor = "loss"
    """Validation number by which the best epoch is known: loss, accuracy, balanced_accuracy,
    macro_f1, auc, bpp, psnr, ssim, psnr_scene, or a term of the objective, ``loss_`` and its name.
    With a rate_target, of those epochs whose rate is within 5 % of it, and without such, the
    nearest one is the best."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs without a better one; never by default."""
    restore_best: bool = True
    """Leave the system with the weights of the best epoch rather than the last."""
    gradient_clip: float | None = Field(default=5.0, gt=0)
    """Largest norm of the gradient of one stage."""
    averaging: float | None = Field(default=None, gt=0, lt=1)
    """Largest decay of a moving average of the weights (Polyak), a step; it is what is validated,
    kept and returned. None trains without. At step n the decay is ``min(averaging, (1 + n) / (10 +
    n))``, as in TensorFlow's ``ExponentialMovingAverage(num_updates=n)``: until step
    ``(10 averaging - 1) / (1 - averaging)``, 890 of 0.99 and 8990 of 0.999, the average lies n / 10
    steps back in the mean, whatever the value; ``1 / (1 - averaging)`` steps long after it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Autocast of restoration, codec and classifier; optics, sensor and rates stay in float32."""
    channels_last: bool = True
    """Memory layout of pictures and weights while they train: channels last, as convolutions read
    them, or contiguous. On one thread of a CPU, in float32, it made a step of the default system
    1.19x faster and those of the classifiers 1.0 to 1.5x, but of resnet18 at 64 pixels 0.89x."""
    compile: bool = False
    """Compile the system with torch.compile; meant for a GPU, costs a minute on a CPU."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints, besides the one after each epoch."""
    seed: int = 0
    """Source of the data order, the views and the noise."""

    @field_validator("stages")
    @classmethod
    def _with_restoration(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if {*STAGES} - {*stages} - {"restoration"}:
            return stages
        others: list[Stage] = [stage for stage in stages if stage != "restoration"]
        others.insert(others.index("codec"), "restoration")
        return tuple(others)

    @field_serializer("stages")
    def _as_before(self, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        # Digests stay those of the time when there was no restoration, and all were these four.
        is_all = not {*STAGES} - {*stages}
        return tuple(s for s in stages if s != "restoration") if is_all else stages

    @field_validator("learning_rates")
    @classmethod
    def _positive(cls, rates: dict[Stage, float]) -> dict[Stage, float]:
        for stage, rate in rates.items():
            if not rate > 0:
                raise ValueError(f"the learning rate of {stage} must be positive, not {rate}")
        return rates

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
        """Factor on the peak learning rates after ``epoch`` (fractional) epochs."""
        if self.schedule == "constant":
            return 1.0
        done = min(epoch / self.epochs, 1.0)
        if self.schedule == "one_cycle":
            rise = 0.25
            if done < rise:
                return 0.04 + 0.96 * done / rise
            done = (done - rise) / (1 - rise)
        return 0.5 * (1 + math.cos(math.pi * done))
