"""Result of an evaluation on labelled scenes: labels, bits, fidelity and light in one record."""

from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from classify import Referral, Report, report
from classify.referral import REFER_OR_LEAVE
from classify.scores import as_array
from joint.record import as_json

from .point import AS_BUILT, OperatingPoint

__all__ = ["Evaluation"]


@dataclass(frozen=True)
class Evaluation:
    """Results over one data set; None if the system has no such stage.

    ``report`` has the metrics of the classifier, with intervals. ``bpp`` is the estimated rate and
    ``bpp_bytes`` that of files, in bits/pixel. ``psnr``, in dB, and ``ssim`` compare the output of
    the codec with its input; ``psnr_scene`` compares it with the scene. ``throughput`` and
    ``light_share`` are shares in 0..1. Paired tests use ``logits``, ``labels`` and ``groups``.
    """

    count: int
    """Number of pictures."""
    losses: dict[str, float]
    """Mean of each unweighted term of the objective, and the weighted total."""
    report: Report | None
    """Classification report: accuracy, balanced accuracy, F1, AUC, confusion, each class."""
    bpp: float | None
    """Mean estimated rate, bits/pixel; :attr:`rate` is its kind."""
    rate: str | None
    """Kind of ``bpp``: ``rounded`` (estimated from the symbols that would be coded) or
    ``bytes``."""
    bpp_bytes: float | None
    """Mean rate of the files that the codec writes, bits/pixel, if counted."""
    psnr: float | None
    """Mean of the pictures' PSNR, reconstruction against the codec's input, dB; each is limited to
    100, because a picture that is reproduced exactly would outweigh all others."""
    ssim: float | None
    """Mean SSIM of the reconstruction against the codec's input; None below 11x11 pixels."""
    throughput: float | None
    """Share of a point's light that the front end transmits; for the light of these scenes see
    :attr:`light_share`."""
    logits: np.ndarray | None = field(repr=False)
    """Class scores ``[N, K]``, for paired tests."""
    labels: np.ndarray = field(repr=False)
    """True classes ``[N]``."""
    identifiers: tuple[str, ...] = field(repr=False)
    """Names of the pictures, in the order of ``logits`` and ``labels``."""
    groups: tuple[str, ...] = field(repr=False)
    """Lesions of the pictures in the same order: :func:`classify.bootstrap_difference` resamples
    them."""
    psnr_scene: float | None = None
    """Mean PSNR of the system's picture against the scene, dB, limited as ``psnr``; None if their
    sizes or channels differ."""
    point: OperatingPoint = AS_BUILT
    """Requested light, quality, distance and motion."""
    light_share: float | None = None
    """Share of these scenes' light that reached the sensor, in all exposures together. For a
    uniform scene in incoherent light it is the throughput, except for the falloff of a projection;
    in coherent light it depends on the scene. None without a front end, and for dark scenes."""
    quality: str | None = None
    """Quality of a learned codec with several, as text: ``1.5 of 0 to 3 (the middle)``."""

    def __str__(self) -> str:
        at = f", {self.point}" if self.point.asked() else ""
        terms = [f"{name} {mean:.4g}" for name, mean in self.losses.items() if name != "total"]
        lines = [
            f"{self.count} pictures{at}",
            f"{'loss':<18} {self.losses['total']:.4g}"
            + (f" (before weights: {', '.join(terms)})" if terms else ""),
        ]
        if self.report is not None:
            for name in ("accuracy", "balanced_accuracy", "macro_f1", "auc"):
                line = f"{name.replace('_', ' '):<18} {getattr(self.report, name):.3f}"
                if name in self.report.intervals:
                    line += f" {self.report.intervals[name]:.3f}"
                lines.append(line)
            lines += _by_chance(self.report)
        if self.quality is not None:
            lines.append(f"{'quality':<18} {self.quality}")
        for name, value, unit in (
            ("bpp", self.bpp, f"bits/pixel ({self.rate})"),
            ("bpp bytes", self.bpp_bytes, "bits/pixel of the files"),
            ("psnr", self.psnr, "dB, codec against its input"),
            ("ssim", self.ssim, "codec against its input"),
            ("psnr scene", self.psnr_scene, "dB, against the scene"),
            ("throughput", self.throughput, "of a point's light"),
            ("light share", self.light_share, "of these scenes' light"),
        ):
            if value is not None:
                lines.append(f"{name:<18} {value:.4g} {unit}")
        if self.report is not None:
            if self.report.intervals:
                level, unit = 100 * self.report.level, self.report.unit
                lines.append(f"[low, high]: {level:g} % intervals, resampling {unit}")
            lines.append("class by class: .report")
        return "\n".join(lines)

    def scalars(self) -> dict[str, float | None]:
        """The scalar results by name, as used by histories, tables and monitors."""
        labels = self.report
        return {
            **{f"loss_{name}": value for name, value in self.losses.items()},
            "loss": self.losses["total"],
            "accuracy": None if labels is None else labels.accuracy,
            "balanced_accuracy": None if labels is None else labels.balanced_accuracy,
            "macro_f1": None if labels is None else labels.macro_f1,
            "auc": None if labels is None else labels.auc,
            "bpp": self.bpp,
            "bpp_bytes": self.bpp_bytes,
            "psnr": self.psnr,
            "ssim": self.ssim,
            "psnr_scene": self.psnr_scene,
            "throughput": self.throughput,
            "light_share": self.light_share,
        }

    def adjusted(self, offset: Tensor | np.ndarray, *, resamples: int = 0) -> "Evaluation":
        """The same results with ``offset`` ``[K]`` added to the class scores of every picture.

        With ``-tau * log_prior`` this is the post-hoc logit adjustment of Menon et al. (ICLR
        2021); choose tau on the validation part (:func:`classify.choose_tau`). The losses stay
        those of the original scores.

        Parameters
        ----------
        offset : Tensor or array ``[K]``
        resamples : int
            Bootstrap resamples behind the intervals of the new report; 0 for none.

        Returns
        -------
        Evaluation

        Raises
        ------
        ValueError
            When there are no class scores, or the offset is not one finite number for each class.
        """
        if self.logits is None or self.report is None:
            raise ValueError("there are no class scores to adjust: the system has no classifier")
        shift = as_array(offset).astype(self.logits.dtype)
        if shift.shape != self.logits.shape[1:]:
            raise ValueError(
                f"offset must be one number for each of the {self.logits.shape[1]} classes, not "
                f"of shape {shift.shape}"
            )
        if not np.isfinite(shift).all():
            raise ValueError(
                f"offset must be finite, not {shift.tolist()}; classify.log_prior counts a class "
                "without pictures as one"
            )
        logits = self.logits + shift
        judged = report(
            logits,
            self.labels,
            classes=self.report.classes,
            groups=self.groups,
            resamples=resamples,
        )
        return replace(self, logits=logits, report=judged)

    def referred(self, referral: Referral, *, resamples: int = 0) -> "Evaluation":
        """The same results for the two classes ``refer`` and ``leave``: scores, labels and report.

        Choose the cutoff on the validation part (:func:`classify.choose_cutoff`). In the report,
        the recall of ``refer`` is the sensitivity and its precision the positive predictive value,
        at the prevalence of these pictures; those of ``leave`` are the specificity and the negative
        predictive value. The losses stay those of the original scores.

        Parameters
        ----------
        referral : classify.Referral
        resamples : int
            Bootstrap resamples behind the intervals of the new report; 0 for none.

        Returns
        -------
        Evaluation

        Raises
        ------
        ValueError
            When there are no class scores, or the referral is for other classes.
        """
        if self.logits is None or self.report is None:
            raise ValueError("there are no class scores to refer by: the system has no classifier")
        if referral.classes != self.report.classes:
            raise ValueError(
                f"the referral is of the classes {', '.join(referral.classes)}, and these scores "
                f"are of {', '.join(self.report.classes)}"
            )
        scores, labels = referral.scores(self.logits), referral.labels(self.labels)
        judged = report(
            scores, labels, classes=REFER_OR_LEAVE, groups=self.groups, resamples=resamples
        )
        return replace(self, logits=scores, labels=labels, report=judged)

    def to_dict(self) -> dict[str, object]:
        """A summary for JSON, without the scores of each picture.

        It has the requested numbers of :attr:`point`.
        """
        told = {"count": self.count, **self.point.to_dict(), "rate": self.rate, **self.scalars()}
        return as_json(told | {"report": self.report})


def _by_chance(judged: Report) -> list[str]:
    """Metrics of guessing without looking at pictures; none for a single class."""
    there, most = int((judged.support > 0).sum()), int(judged.support.argmax())
    if there < 2:
        return []
    return [
        f"{'by chance':<18} accuracy {judged.support[most] / judged.support.sum():.3f} (always "
        f"{judged.classes[most]}), balanced accuracy {1 / there:.3f}, auc 0.500"
    ]
