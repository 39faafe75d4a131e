"""What a system is trained for: labels, bits, fidelity, a teacher; each weighted and reported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

import torch
from pydantic import AfterValidator, Field, field_validator, model_validator
from torch import Tensor
from torch.nn import functional

from classify import class_weights, effective_number_weights, log_prior, task_loss
from classify.margin import ldam_margins
from compress import ms_ssim, ms_ssim_scales
from optics.quantity import single

from .settings import FrozenDict, Settings, added
from .system import SystemOutput
from .term import Term

__all__ = ["TERMS", "DistortionKind", "Losses", "Objective", "how_to_compare"]

DistortionKind = Literal["mae", "mse", "ms_ssim"]

_NEEDED = {
    "task": "classifier",
    "rate": "codec",
    "distortion": "codec",
    "restoration": "camera and no codec",
    "distillation": "classifier",
}
TERMS = ("total", *_NEEDED)
"""Names of the terms that every objective has, and of their sum."""


@dataclass(frozen=True)
class Losses:
    """Terms of the objective, each a scalar before its weight; None where it has none."""

    total: Tensor
    """Weighted sum, what is minimised; the distortion of a picture counts by its quality."""
    task: Tensor | None
    """Cross-entropy, nats."""
    rate: Tensor | None
    """Mean bits per pixel of the codec."""
    distortion: Tensor | None
    """Mean error between the codec's input and output."""
    restoration: Tensor | None = None
    """Mean error between the scene and what the system makes of it, where that is trained for."""
    distillation: Tensor | None = None
    """Mean divergence from the teacher's class probabilities, nats, times the temperature squared;
    where there is a teacher."""
    own: Mapping[str, Tensor] = field(default_factory=dict)
    """Those of :attr:`Objective.terms`."""

    def named(self) -> dict[str, Tensor]:
        """The terms that exist, by name; scalars."""
        terms = {name: getattr(self, name) for name in TERMS}
        return {name: term for name, term in terms.items() if term is not None} | dict(self.own)


class Objective(Settings):
    """What is made small: ``task * cross_entropy + rate * bpp + distortion * error + ...``.

    The error is the mean absolute (as in the study that this library grew from) or the mean
    squared difference of two pictures in 0..1, or 1 - MS-SSIM of them. ``distortion`` weighs that
    between what the codec is given and what it returns; ``restoration`` that between the scene and
    what the whole system makes of it, for a camera whose pictures are looked at::

        Objective(task=0, restoration=1, distortion_kind="mse")  # optics for fidelity alone

    A larger weight of an error, or of the task, buys more bits; a larger weight of the rate saves
    them. :meth:`rate_distortion` names the weights as the literature on learned compression does.

    The remedies for rare classes can be combined, and all rest by default. Class weights, by a
    power of the counts or by effective numbers, may be deferred; with ``margin`` this is LDAM-DRW
    (Cao et al., NeurIPS 2019)::

        Objective(margin=15, effective_number=0.9999, deferred_from=16)  # of 20 epochs

    A system may be taught by another one (``joint.fit(teacher=)``), such as one that sees the scene
    where this one sees what camera and codec leave of it: knowledge distillation (Hinton, Vinyals
    and Dean, arXiv:1503.02531), there with privileged information (Lopez-Paz et al., ICLR 2016)::

        Objective(distillation=1, distillation_temperature=4)  # beside the labels; task=0: alone

    What none of these says is a function of one's own, by its import path (:class:`Term`)::

        Objective(terms={"dullness": Term(function="mylab.losses.dullness", weight=0.3)})

    Where a codec trains several qualities at once, the distortion of each picture is weighed by
    what the codec says of its quality (``Coded.distortion_weight``); ``distortion`` is the weight
    in the middle.
    """

    task: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy, 1/nat."""
    rate: float = Field(default=0.0, ge=0)
    """Weight of the rate, 1/(bit/pixel); with a target, that with which a training begins."""
    rate_target: float | None = added(None, gt=0)
    """Bits per pixel that a training is to end at: :func:`joint.fit` moves the weight of the rate
    to where the rate meets it, whatever the camera and the codec. The rate is then no price but a
    condition, and the loss of an evaluation leaves it out. None: the weight stays."""
    distortion: float = Field(default=0.0, ge=0)
    """Weight of the error between the codec's input and output, dimensionless."""
    restoration: float = added(0.0, ge=0)
    """Weight of the error between the scene and the picture that leaves the system, of the codec
    or, without one, of the camera, and that must have its size and channels; dimensionless."""
    distortion_kind: DistortionKind = "mae"
    """Of both errors: mean absolute, mean squared, or 1 - MS-SSIM (of as many scales as fit)."""
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    """Share of each label that is spread over all classes, in training."""
    class_weight_power: float = Field(default=0.0, ge=0, le=1)
    """Weigh class c by (N / (K n_c)) ** power, over the mean weight of the data set; 0 weighs all
    alike, 1 balances them."""
    effective_number: float = Field(default=0.0, ge=0, lt=1)
    """Weigh class c by (1 - beta) / (1 - beta ** n_c) with this beta (Cui et al., CVPR 2019);
    0 weighs all alike, 0.999 is usual."""
    deferred_from: int = Field(default=0, ge=0)
    """Epoch, counted from 0, from which the class weights act."""
    logit_adjustment: float = Field(default=0.0, ge=0)
    """Add tau * log(prior) to the logits in training (Menon et al., ICLR 2021); 1 is the balanced
    softmax. The prior is that of the data set, whatever the sampling."""
    focal_gamma: float = Field(default=0.0, ge=0)
    """Exponent of (1 - p), which turns from what is known already (Lin et al., ICCV 2017)."""
    margin: float = Field(default=0.0, ge=0)
    """LDAM: this much, in units of the logits, is taken off the true logit of the rarest class,
    and of the others in the ratio of n_c ** (-1/4). The paper's 0.5 is one of cosines: 15 with
    :class:`classify.CosineHead`, whose scores are cosines times 30."""
    distillation: float = added(0.0, ge=0)
    """Weight of the divergence from the class probabilities of a teacher, 1/nat, in training:
    ``T**2 * KL(softmax(teacher / T) || softmax(scores / T))``. An evaluation has no teacher, and
    leaves the term out of the loss."""
    distillation_temperature: float = added(4.0, gt=0)
    """T, by which the scores of both are divided: a higher one tells more of the classes that the
    teacher holds for unlikely. The factor T**2 keeps the size of the gradient."""
    terms: Annotated[dict[str, Term], AfterValidator(FrozenDict)] = added(FrozenDict())
    """Terms of one's own by name, as objective.terms.dullness.weight of a file or a study has it;
    in training and in evaluations."""

    @field_validator("terms")
    @classmethod
    def _names_of_their_own(cls, terms: dict[str, Term]) -> dict[str, Term]:
        for name in terms:
            if name in (*TERMS, "rate_weight") or not name.isidentifier():
                raise ValueError(
                    f"a term cannot be called {name!r}: choose a word of letters, digits and _ "
                    f"that is none of {', '.join((*TERMS, 'rate_weight'))}"
                )
        return terms

    @property
    def weights(self) -> dict[str, float]:
        """Weight of every term by name, those of one's own too; 0 of what nothing learns from."""
        own = {name: term.weight for name, term in self.terms.items()}
        return {name: getattr(self, name) for name in _NEEDED} | own

    @model_validator(mode="after")
    def _moves_something(self) -> Self:
        if self.rate_target is None:
            return self
        if not self.rate:
            raise ValueError(
                f"rate_target={self.rate_target:g} moves the weight of the rate, which has to "
                "begin somewhere: set rate to more than 0, such as 0.1; or leave rate_target out"
            )
        if not any(weight for name, weight in self.weights.items() if name != "rate"):
            raise ValueError(
                f"rate_target={self.rate_target:g} asks for bits that nothing is bought with: give "
                "task, distortion, restoration, distillation or a term of your own a weight"
            )
        return self

    @model_validator(mode="after")
    def _one_kind_of_weights(self) -> Self:
        if self.class_weight_power and self.effective_number:
            raise ValueError(
                "class_weight_power and effective_number both weigh the classes: set one of them "
                "to 0"
            )
        if self.deferred_from and not (self.class_weight_power or self.effective_number):
            raise ValueError(
                f"deferred_from={self.deferred_from} defers class weights, but there are none: "
                "set class_weight_power or effective_number too"
            )
        return self

    @classmethod
    def rate_distortion(
        cls,
        lambda_pixel: float,
        *,
        distortion_kind: DistortionKind = "mse",
        lambda_task: float = 0.0,
        rate_target: float | None = None,
    ) -> "Objective":
        """Return ``R + lambda_pixel * D + lambda_task * cross_entropy``.

        R is in bits per pixel; D is ``255**2 * MSE``, ``255 * MAE`` or ``1 - MS-SSIM``. With these
        units the weights are those of CompressAI and tensorflow-compression: 0.0018 to 0.18 for
        the squared error, 2.4 to 220 for MS-SSIM. A larger one means more bits.

        Parameters
        ----------
        lambda_pixel : float
            Weight of the distortion, not negative.
        distortion_kind : {"mse", "mae", "ms_ssim"}
        lambda_task : float
            Weight of the cross-entropy.
        rate_target : float, optional
            Bits per pixel to end at: the weight of R, which is 1 otherwise, begins there and moves.

        Returns
        -------
        Objective

        Raises
        ------
        ValueError
            For another kind of distortion, or a negative ``lambda_pixel``.
        """
        units = {"mse": 255.0**2, "mae": 255.0, "ms_ssim": 1.0}
        if distortion_kind not in units or not lambda_pixel >= 0:
            raise ValueError(
                f"expected lambda_pixel of at least 0 and one of {', '.join(units)}, got "
                f"{lambda_pixel} and {distortion_kind!r}"
            )
        unit = units[distortion_kind]
        return cls(
            task=lambda_task,
            rate=1.0,
            rate_target=rate_target,
            distortion=lambda_pixel * unit,
            distortion_kind=distortion_kind,
        )

    def __call__(
        self,
        output: SystemOutput,
        labels: Tensor,
        *,
        counts: Tensor | None = None,
        epoch: int | None = None,
        teacher: Tensor | None = None,
        rate_weight: Tensor | None = None,
    ) -> Losses:
        """Evaluate the terms for one batch.

        Parameters
        ----------
        output : SystemOutput
            One pass of a system.
        labels : Tensor, int64 ``[B]`` or float ``[B, K]``
            True classes, or the share of each class in each picture.
        counts : Tensor ``[K]``, optional
            Pictures of each class in the training set, best on the CPU: they are looked at. With
            them the task is what is trained for: smoothed, weighted, adjusted, focal, with
            margins. Without them, it is the plain cross-entropy.
        epoch : int, optional
            Counted from 0; before ``deferred_from``, class weights rest. Without it they act.
        teacher : Tensor ``[B, K]``, optional
            A teacher's class scores of the same pictures. Without them the distillation rests, as
            it does with a weight of 0.
        rate_weight : Tensor, scalar, optional
            Weight of the rate in this step, where there is a ``rate_target``. Without it the rate
            is no part of the total then: at the target, what counts is the rest.

        Raises
        ------
        ValueError
            When a term has a weight but its stage is missing, or the teacher's scores are not of
            the same pictures and classes; for a term of one's own, as :meth:`Term.measure`.
        """
        task = rate = distortion = priced = restoration = distillation = None
        if output.logits is not None:
            task = self._task(output.logits, labels, counts, epoch)
        if output.coded is not None:
            rate = single(output.coded.bpp).mean()
            each = self._error(output.coded.reconstruction, output.measurement)
            distortion = priced = each.mean()
            if output.coded.distortion_weight is not None:
                priced = (each * output.coded.distortion_weight).mean()
        if self.restoration and output.handed is not output.scene:
            restoration = self._error(output.handed, _restorable(output)).mean()
        if self.distillation and teacher is not None and output.logits is not None:
            distillation = self._divergence(output.logits, teacher)
        terms = {
            "task": task,
            "rate": rate,
            "distortion": priced,
            "restoration": restoration,
            "distillation": distillation,
        }
        total = torch.zeros((), device=labels.device)
        for name, term in terms.items():
            weight: float | Tensor = getattr(self, name)
            if weight == 0 or (name == "distillation" and teacher is None):
                continue
            if term is None:
                raise ValueError(
                    f"the objective weighs {name} with {weight:g}, but the system has no "
                    f"{_NEEDED[name]}: set {name}=0 or add the stage"
                )
            if name == "rate" and self.rate_target is not None:
                if rate_weight is None:
                    continue
                weight = rate_weight
            total = total + weight * term
        own = {name: term.measure(name, output, labels) for name, term in self.terms.items()}
        for name, term in self.terms.items():
            if term.weight:
                total = total + term.weight * own[name]
        return Losses(total, task, rate, distortion, restoration, distillation, own)

    def _error(self, decoded: Tensor, original: Tensor) -> Tensor:
        """Mean error of each picture ``[B]``."""
        decoded, original = single(decoded), single(original)
        match self.distortion_kind:
            case "mae":
                return (decoded - original).abs().flatten(1).mean(1)
            case "mse":
                return (decoded - original).square().flatten(1).mean(1)
            case "ms_ssim":
                scales = ms_ssim_scales((original.shape[-2], original.shape[-1]))
                return 1 - ms_ssim(decoded, original, scales=scales)

    def _divergence(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """``T**2 * KL(teacher || system)`` of probabilities at temperature T, mean; nats.

        The cross-entropy of section 2 of Hinton et al. (2015) less the entropy of the teacher,
        which has no gradient: so that 0 is to agree.
        """
        if teacher.shape != logits.shape:
            raise ValueError(
                f"the teacher gives scores {list(teacher.shape)} and the system "
                f"{list(logits.shape)}: give it the same pictures, and a teacher of the same "
                "classes"
            )
        warmth = self.distillation_temperature
        ours, theirs = (
            functional.log_softmax(single(scores) / warmth, dim=1)
            for scores in (logits, teacher.detach())
        )
        shares = theirs.exp()
        # 0 log 0 is 0: of a class that the teacher leaves out, with a score of -inf.
        each = torch.where(shares > 0, shares * (theirs - ours), 0.0)
        return warmth**2 * each.sum(1).mean()

    def _task(
        self, logits: Tensor, labels: Tensor, counts: Tensor | None, epoch: int | None
    ) -> Tensor:
        if counts is None:
            return task_loss(logits, labels)
        weights = None
        if epoch is None or epoch >= self.deferred_from:
            if self.class_weight_power:
                weights = class_weights(counts, power=self.class_weight_power)
            elif self.effective_number:
                weights = effective_number_weights(counts, beta=self.effective_number)
        loss = task_loss(
            logits,
            labels,
            weights=weights,
            log_prior=self.logit_adjustment * log_prior(counts) if self.logit_adjustment else None,
            margins=ldam_margins(counts, largest=self.margin) if self.margin else None,
            label_smoothing=self.label_smoothing,
            focal_gamma=self.focal_gamma,
        )
        if weights is None:
            return loss
        # Over the mean weight of the data set, not of the batch: so the parts of a step add up to
        # it, and a batch of common pictures does not count as much as one of rare ones.
        weights = weights.to(loss.dtype)
        usual = (counts * weights).sum() / counts.sum()
        weights, usual = (part.to(loss, non_blocking=not loss.is_cpu) for part in (weights, usual))
        own = weights[labels] if labels.ndim == 1 else labels.to(loss) @ weights
        return loss * own.mean() / usual


def _restorable(output: SystemOutput) -> Tensor:
    """The scene, where the picture that was made of it can be laid upon it."""
    scene, made = output.scene, output.handed
    if scene.shape != made.shape or scene.is_complex():
        raise ValueError(
            f"restoration compares the picture with the scene, but they are {list(made.shape[1:])} "
            f"and {list(scene.shape[1:])} ({scene.dtype}): {how_to_compare(output)}, or set "
            "restoration=0"
        )
    return scene


def how_to_compare(output: SystemOutput) -> str:
    """What makes the picture that leaves a system one of its scene's size and channels."""
    if output.developed is None or output.scene.is_complex():
        return "leave out what changes size or channels, such as binning"
    scene, given, made = (x.shape[1:] for x in (output.scene, output.developed, output.handed))
    said = f"the restoration is to make {list(scene)} of {list(given)}"
    ways = [] if made[0] == scene[0] else [f"out_channels={scene[0]}"]
    factors = {whole / part for whole, part in zip(scene[1:], given[1:], strict=True)}
    if made[1:] != scene[1:] and len(factors) == 1 and (factor := factors.pop()).is_integer():
        ways.append(f"upscaling={factor:.0f}")
    return f"{said} ({', '.join(ways)} of a RestorationUNet)" if ways else said
