"""The loss of a training: a sum of terms, such as cross-entropy and rate, each with a weight."""

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
from optics.quantity import one_number, single

from .settings import FrozenDict, Settings
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
    "penalty": "front end with a penalty",
}
TERMS = ("total", *_NEEDED)
"""Names of the built-in terms of an objective, and of the total."""


@dataclass(frozen=True)
class Losses:
    """Terms of the objective, each an unweighted scalar; None if the system has no such term."""

    total: Tensor
    """Weighted sum, which is minimised. With several quality levels, the distortion of each picture
    is weighted by its level."""
    task: Tensor | None
    """Cross-entropy, nats."""
    rate: Tensor | None
    """Mean bits per pixel of the codec."""
    distortion: Tensor | None
    """Mean error between the codec's input and output."""
    restoration: Tensor | None = None
    """Mean error between the scene and the system's picture, if ``restoration`` has a weight."""
    distillation: Tensor | None = None
    """Mean divergence from the teacher's class probabilities, nats, times the temperature squared;
    None without a teacher."""
    penalty: Tensor | None = None
    """How far the front end is from one that can be made; None for one that does not say."""
    own: Mapping[str, Tensor] = field(default_factory=dict)
    """User-defined terms, those of :attr:`Objective.terms`."""

    def named(self) -> dict[str, Tensor]:
        """The terms that exist, by name, each a scalar."""
        terms = {name: getattr(self, name) for name in TERMS}
        return {name: term for name, term in terms.items() if term is not None} | dict(self.own)


class Objective(Settings):
    """The loss that is minimised: ``task * cross_entropy + rate * bpp + distortion * error + ...``.

    The error is the mean absolute difference of two pictures in 0..1 (as in the study from which
    this library grew), their mean squared difference, or 1 - MS-SSIM. ``distortion`` weights the
    error between input and output of the codec. ``restoration`` weights the error between the scene
    and the picture of the whole system, for a camera whose pictures people look at::

        Objective(task=0, restoration=1, distortion_kind="mse")  # optics for fidelity alone

    A larger weight of an error, or of the task, increases the rate; a larger weight of the rate
    lowers it. :meth:`rate_distortion` takes the weights of the literature on learned compression.

    The remedies for rare classes can be combined; by default none is active. Class weights, by a
    power of the counts or by effective numbers, may be deferred; with ``margin`` this is LDAM-DRW
    (Cao et al., NeurIPS 2019)::

        Objective(margin=15, effective_number=0.9999, deferred_from=16)  # of 20 epochs

    A system can learn from a teacher (``joint.fit(teacher=)``) by knowledge distillation (Hinton,
    Vinyals and Dean, arXiv:1503.02531). If the teacher classifies the scene itself, before camera
    and codec, this is learning with privileged information (Lopez-Paz et al., ICLR 2016)::

        Objective(distillation=1, distillation_temperature=4)  # beside the labels; task=0: alone

    A front end may say how far it is from one that can be made (``optics.FrontEnd.penalty``), such
    as a traced lens whose glass is too thin::

        Objective(penalty=0.01)

    A term of your own is a function that is given by its import path (:class:`Term`)::

        Objective(terms={"dullness": Term(function="mylab.losses.dullness", weight=0.3)})

    If a codec trains several quality levels at once, the distortion of each picture is weighted by
    its level (``Coded.distortion_weight``); ``distortion`` is the weight of the middle level.
    """

    task: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy, 1/nat."""
    rate: float = Field(default=0.0, ge=0)
    """Weight of the rate, 1/(bit/pixel); with a rate_target its initial value."""
    rate_target: float | None = Field(default=None, gt=0)
    """Rate at the end of the training, bits per pixel: :func:`joint.fit` adjusts the weight of the
    rate until the rate meets the target, for any camera and codec. The rate is then a constraint,
    and the loss of an evaluation does not include it. None: the weight is constant."""
    distortion: float = Field(default=0.0, ge=0)
    """Weight of the error between the codec's input and output, dimensionless."""
    restoration: float = Field(default=0.0, ge=0)
    """Weight of the error between the scene and the system's picture, dimensionless. The picture is
    the output of the codec or, without a codec, of the camera, and must have the size and channels
    of the scene."""
    distortion_kind: DistortionKind = "mae"
    """Measure of both errors: mae, mean absolute; mse, mean squared; ms_ssim, 1 - MS-SSIM (with as
    many scales as fit)."""
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    """Share of each label that is spread over all classes, in training."""
    class_weight_power: float = Field(default=0.0, ge=0, le=1)
    """Exponent of the class weights: class c has (N / (K n_c)) ** power, over the mean weight of
    the data set. 0 gives equal weights, 1 balances the classes."""
    effective_number: float = Field(default=0.0, ge=0, lt=1)
    """beta of class weights by effective numbers (Cui et al., CVPR 2019): class c has (1 - beta) /
    (1 - beta ** n_c). 0 gives equal weights, 0.999 is usual."""
    deferred_from: int = Field(default=0, ge=0)
    """First epoch, counted from 0, in which the class weights are used."""
    logit_adjustment: float = Field(default=0.0, ge=0)
    """tau of logit adjustment (Menon et al., ICLR 2021): tau * log(prior) is added to the logits in
    training; 1 is the balanced softmax. The prior is that of the data set, whatever the
    sampling."""
    focal_gamma: float = Field(default=0.0, ge=0)
    """Exponent gamma of the focal loss (Lin et al., ICCV 2017), whose factor (1 - p) ** gamma
    reduces the weight of well-classified pictures."""
    margin: float = Field(default=0.0, ge=0)
    """LDAM margin in units of the logits: it is subtracted from the true logit of the rarest class,
    and from those of the others in the ratio of n_c ** (-1/4). The paper's 0.5 is for cosines: it
    is 15 with :class:`classify.CosineHead`, whose scores are cosines times 30."""
    distillation: float = Field(default=0.0, ge=0)
    """Weight of the divergence from the class probabilities of a teacher, 1/nat, in training:
    ``T**2 * KL(softmax(teacher / T) || softmax(scores / T))``. An evaluation has no teacher, and
    its loss does not include the term."""
    distillation_temperature: float = Field(default=4.0, gt=0)
    """Temperature T, by which the scores of teacher and system are divided: a higher T shows more
    of the classes that the teacher considers unlikely. The factor T**2 keeps the size of the
    gradient."""
    penalty: float = Field(default=0.0, ge=0)
    """Weight of how far the front end is from one that can be made, dimensionless, in training and
    in evaluations. For front ends that say so, such as a traced lens whose glass is too thin."""
    terms: Annotated[dict[str, Term], AfterValidator(FrozenDict)] = FrozenDict()
    """Terms of your own by name, such as objective.terms.dullness.weight in a file or a study; used
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
        """Weight of every term by name, user-defined ones included; 0 for an unused term."""
        own = {name: term.weight for name, term in self.terms.items()}
        return {name: getattr(self, name) for name in _NEEDED} | own

    @model_validator(mode="after")
    def _moves_something(self) -> Self:
        if self.rate_target is None:
            return self
        if not self.rate:
            raise ValueError(
                f"rate_target={self.rate_target:g} adjusts the weight of the rate, which needs an "
                "initial value: set rate to more than 0, such as 0.1; or leave rate_target out"
            )
        others = self.weights.keys() - {"rate", "penalty"}
        if not any(self.weights[name] for name in others):
            raise ValueError(
                f"rate_target={self.rate_target:g} is of no use, because no term needs the bits: "
                "give task, distortion, restoration, distillation or a term of your own a weight"
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
        """Return the objective ``R + lambda_pixel * D + lambda_task * cross_entropy``.

        R is in bits per pixel; D is ``255**2 * MSE``, ``255 * MAE`` or ``1 - MS-SSIM``. In these
        units the weights are those of CompressAI and tensorflow-compression: 0.0018 to 0.18 for
        the squared error, 2.4 to 220 for MS-SSIM. A larger weight means more bits.

        Parameters
        ----------
        lambda_pixel : float
            Weight of the distortion, not negative.
        distortion_kind : {"mse", "mae", "ms_ssim"}
        lambda_task : float
            Weight of the cross-entropy.
        rate_target : float, optional
            Rate at the end of the training, bits per pixel: the weight of R starts at 1 and is
            adjusted. Otherwise it stays 1.

        Returns
        -------
        Objective

        Raises
        ------
        TypeError
            For a ``lambda_pixel`` that is not one number.
        ValueError
            For another kind of distortion, or a negative ``lambda_pixel``.
        """
        lambda_pixel = one_number("lambda_pixel", lambda_pixel)
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
            Pictures of each class in the training set, preferably on the CPU, because their values
            are read. With them the task is the training loss: smoothed, weighted, adjusted, focal,
            with margins. Without them it is the plain cross-entropy.
        epoch : int, optional
            Counted from 0; class weights are not used before ``deferred_from``. Without an epoch
            they are used.
        teacher : Tensor ``[B, K]``, optional
            A teacher's class scores of the same pictures. Without them there is no distillation,
            as with a weight of 0.
        rate_weight : Tensor, scalar, optional
            Weight of the rate in this step, for an objective with a ``rate_target``. Without it
            the total of such an objective does not include the rate.

        Raises
        ------
        ValueError
            When a term has a weight but its stage is missing, or the teacher's scores are not of
            the same pictures and classes; for a user-defined term, as :meth:`Term.measure`.
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
        penalty = None if output.penalty is None else single(output.penalty)
        terms = {
            "task": task,
            "rate": rate,
            "distortion": priced,
            "restoration": restoration,
            "distillation": distillation,
            "penalty": penalty,
        }
        total = torch.zeros((), device=labels.device)
        for name, term in terms.items():
            weight: float | Tensor = getattr(self, name)
            if weight == 0 or (name == "distillation" and teacher is None):
                continue
            if term is None:
                raise ValueError(
                    f"the objective has a weight of {weight:g} for {name}, but the system has no "
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
        return Losses(total, task, rate, distortion, restoration, distillation, penalty, own)

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
        """Mean ``T**2 * KL(teacher || system)`` of probabilities at temperature T, nats.

        This is the cross-entropy of section 2 of Hinton et al. (2015) less the entropy of the
        teacher, which has no gradient, so that 0 means agreement.
        """
        if teacher.shape != logits.shape:
            raise ValueError(
                f"the teacher gives scores {list(teacher.shape)} and the system "
                f"{list(logits.shape)}: give both the same pictures, and a teacher of the same "
                "classes"
            )
        warmth = self.distillation_temperature
        ours, theirs = (
            functional.log_softmax(single(scores) / warmth, dim=1)
            for scores in (logits, teacher.detach())
        )
        shares = theirs.exp()
        # 0 log 0 is 0, for a class that the teacher excludes with a score of -inf.
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
        # Divided by the mean weight of the data set, not of the batch: then the parts of a step add
        # up to the step, and a batch of common classes counts less than one of rare classes.
        weights = weights.to(loss.dtype)
        usual = (counts * weights).sum() / counts.sum()
        weights, usual = (part.to(loss, non_blocking=not loss.is_cpu) for part in (weights, usual))
        own = weights[labels] if labels.ndim == 1 else labels.to(loss) @ weights
        return loss * own.mean() / usual


def _restorable(output: SystemOutput) -> Tensor:
    """The scene; an error if it cannot be compared with the system's picture."""
    scene, made = output.scene, output.handed
    if scene.shape != made.shape or scene.is_complex():
        raise ValueError(
            f"restoration compares the picture with the scene, but they are {list(made.shape[1:])} "
            f"and {list(scene.shape[1:])} ({scene.dtype}): {how_to_compare(output)}, or set "
            "restoration=0"
        )
    return scene


def how_to_compare(output: SystemOutput) -> str:
    """The remedy that gives the system's picture the size and channels of its scene."""
    if output.developed is None or output.scene.is_complex():
        return "leave out what changes size or channels, such as binning"
    scene, given, made = (x.shape[1:] for x in (output.scene, output.developed, output.handed))
    said = f"the restoration must convert {list(given)} to {list(scene)}"
    ways = [] if made[0] == scene[0] else [f"out_channels={scene[0]}"]
    factors = {whole / part for whole, part in zip(scene[1:], given[1:], strict=True)}
    if made[1:] != scene[1:] and len(factors) == 1 and (factor := factors.pop()).is_integer():
        ways.append(f"upscaling={factor:.0f}")
    return f"{said} ({', '.join(ways)} of a RestorationUNet)" if ways else said
