"""Dependence of a system on contrast: all analyses of this question for one data set.

::

                ┌─ contrast of the scenes ─┬────────────► by class ────────────────┐
    scenes, ────┤                          ├─ being right ► slopes, matched strata ├─► Contrast-
    masks       ├─ evaluate ─► guesses ────┴─ confusion ──► distance of the pairs ─┤   Dependence
                └─ the same lesions at other contrasts ───► recall at each factor ─┘
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch

from classify import LesionDataset
from classify.intervals import check_resampling
from joint.judge.evaluate import evaluate
from joint.kinds import check_kinds
from joint.record import as_json
from joint.system import ImagingSystem

from .by_class import ContrastByClass, contrast_by_class
from .causal import ContrastSweep, check_factors, recall_against_contrast
from .confusion import ConfusionContrast, confusion_against_contrast
from .correctness import (
    ContrastEffect,
    MatchedStrata,
    correctness_against_contrast,
    matched_strata,
)
from .measures import Measure, OneNumber
from .plane import Plane, measure_contrast

__all__ = ["ContrastDependence", "MeasureDependence", "contrast_dependence"]


@dataclass(frozen=True)
class MeasureDependence:
    """Dependence on contrast by one measure."""

    by_class: ContrastByClass
    """Contrast of each class."""
    effect: ContrastEffect
    """Log-odds of being right per standard deviation of contrast, ignoring and within class."""
    strata: MatchedStrata
    """Accuracy of each class by strata of contrast."""
    confusion: ConfusionContrast | None
    """Correlation of contrast distance and confusion; None if fewer than three classes have a
    contrast, so that there are no two pairs."""

    def __str__(self) -> str:
        told = [self.by_class, self.effect, self.strata, self.confusion]
        return "\n\n".join(str(each) for each in told if each is not None)


@dataclass(frozen=True)
class ContrastDependence:
    """Dependence of a system on contrast, for one data set."""

    plane: Plane
    """Plane at which contrast was measured."""
    measures: dict[Measure, MeasureDependence]
    """Results by requested measure."""
    sweep: ContrastSweep | None
    """The same lesions at other contrasts of the scene; None if no factors were given."""
    pictures: int
    """Number of pictures with a mask."""
    left_out: int
    """Number of pictures without a mask."""

    def __str__(self) -> str:
        head = f"{self.pictures} pictures with a mask, {self.left_out} without; at the {self.plane}"
        parts = [head, *map(str, self.measures.values())]
        return "\n\n".join(parts if self.sweep is None else [*parts, str(self.sweep)])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; None where something does not exist."""
        names = ("plane", "pictures", "left_out", "measures", "sweep")
        return {name: as_json(getattr(self, name)) for name in names}


def contrast_dependence(  # noqa: PLR0913 - one call for all analyses
    system: ImagingSystem,
    dataset: LesionDataset,
    *,
    measures: Sequence[Measure] | None = None,
    factors: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25),
    plane: Plane = "scene",
    inner: float = 2.0,
    outer: float = 10.0,
    bins: int = 64,
    batch_size: int = 64,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    progress: bool = False,
) -> ContrastDependence:
    """Measure by several analyses whether a system decides by the contrast of lesions.

    A correlation with contrast need not be causal: the slopes within class and the matched strata
    remove the effect of class, and only the same lesions at other contrasts change nothing else.

    Parameters
    ----------
    system : ImagingSystem
        With a classifier; in evaluation mode, and its modes are restored.
    dataset : LesionDataset
        Pictures; those without a mask are counted and left out.
    measures : sequence of str, optional
        Some of :data:`joint.analysis.MEASURES`, except ``octants``, which are several numbers per
        picture. By default ``gcnr`` and ``delta_e``; if the plane does not have three channels,
        ``weber`` instead of ``delta_e``.
    factors : sequence of float
        Factors on the contrast of lesions, as in :func:`recall_against_contrast`; empty to leave
        that analysis out.
    plane : {"scene", "irradiance", "measurement", "handed"}
        Plane at which contrast is measured, see :func:`contrast_at`. The factors always apply to
        the scene.
    inner, outer : float, pixels of the scene
        The ring's distances from the lesion; the defaults are meant for 200 x 150 pixels. The
        sweep's change fades out over 2 pixels around the lesion, or over ``inner`` if that is less.
    bins : int
        Number of bins of the histograms of gCNR. Fewer have less bias, see
        :func:`generalised_cnr`.
    batch_size : int
        Pictures in one pass.
    seed : int
        Source of the sensor's noise.
    resamples : int
        Draws of the lesions, for the intervals.
    level : float
        Confidence level in (0, 1).
    progress : bool
        Show bars, on a terminal.

    Returns
    -------
    ContrastDependence

    Raises
    ------
    TypeError
        When ``system`` is not a system, or ``dataset`` not a data set.
    ValueError
        For a system without a classifier, a data set without masks, an unknown or repeated
        measure, and as the single analyses do.
    """
    check_kinds(system, dataset, wanted="contrast against being right")
    known = get_args(OneNumber)
    if measures is not None and (
        not measures or len(set(measures)) < len(measures) or not set(measures) <= set(known)
    ):
        raise ValueError(f"measures must be some of {', '.join(known)}, each once, not {measures}")
    check_resampling(resamples, level)
    if len(factors):
        check_factors(factors)
    if not bool(dataset.has_mask.any()):
        raise ValueError(f"none of the {len(dataset)} pictures has a mask, so none has a contrast")
    masked = dataset.subset(dataset.has_mask)
    found = measure_contrast(
        masked,
        system=_camera(system, plane),
        plane=plane,
        inner=inner,
        outer=outer,
        bins=bins,
        batch_size=batch_size,
        seed=seed,
    )
    coloured = bool(found.delta_e.isfinite().any())
    chosen = measures or ("gcnr", "delta_e" if coloured else "weber")
    judged = evaluate(system, masked, batch_size=batch_size, seed=seed, progress=progress)
    assert judged.logits is not None
    guesses = judged.logits.argmax(1)
    by_measure: dict[Measure, MeasureDependence] = {
        measure: _by_measure(
            getattr(found, measure).cpu().numpy(), masked, guesses, measure, resamples, level
        )
        for measure in chosen
    }
    sweep = None
    if len(factors):
        sweep = recall_against_contrast(
            system,
            masked,
            factors,
            inner=inner,
            outer=outer,
            feather=min(2.0, inner),
            bins=bins,
            batch_size=batch_size,
            seed=seed,
            resamples=resamples,
            level=level,
            progress=progress,
        )
    return ContrastDependence(
        plane=plane,
        measures=by_measure,
        sweep=sweep,
        pictures=len(masked),
        left_out=len(dataset) - len(masked),
    )


def _camera(system: ImagingSystem, plane: Plane) -> ImagingSystem:
    """The stages that a plane needs: a scene is one before any of them."""
    if plane == "scene":
        return ImagingSystem(encoding=system.encoding)
    return system.replace(classifier=None)


def _by_measure(
    values: np.ndarray,
    masked: LesionDataset,
    guesses: torch.Tensor | np.ndarray,
    measure: Measure,
    resamples: int,
    level: float,
) -> MeasureDependence:
    labels = masked.labels.numpy()
    named: dict[str, Any] = {"classes": masked.classes, "groups": masked.groups}
    named |= {"measure": measure, "resamples": resamples, "level": level}
    guesses = np.asarray(guesses)
    right = guesses == labels
    present = np.unique(labels[np.isfinite(values)])
    return MeasureDependence(
        by_class=contrast_by_class(values, labels, **named),
        effect=correctness_against_contrast(values, labels, right, **named),
        strata=matched_strata(values, labels, right, **named),
        confusion=confusion_against_contrast(values, labels, guesses, **named)
        if len(present) > 2
        else None,
    )
