"""Robustness of a system: accuracy against each deviation from the design.

::

    system ─copy of front end and sensor─► perturbed ─► evaluate ─► accuracy, change, intervals
                                           level 1, 2, ... of one kind, the rest nominal

A picture has the same noise at all levels, and a made device the same error, larger or smaller.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from classify import LesionDataset
from classify.intervals import check_resampling
from joint.analysis.scores import DrawnScores, Scores, signed
from joint.caution import told_once
from joint.feed import derive_seed
from joint.judge.evaluate import evaluate
from joint.judge.evaluation import Evaluation
from joint.kinds import check_kinds
from joint.record import Record
from joint.system import ImagingSystem
from optics.quantity import whole_number

from .imperfection import Imperfection, rounded_down
from .perturbation import (
    KINDS,
    PERTURBATIONS,
    ByImperfection,
    Perturbation,
    applicable,
    common_light,
    perturbed,
    resolved,
)
from .window import warn_of_what_is_cut

__all__ = ["Curve", "Point", "Refused", "Robustness", "robustness"]


class Point(NamedTuple):
    """Accuracy at one level."""

    level: float
    """Level, in the unit of the curve."""
    scores: Scores
    """Mean scores over the devices."""
    change: Scores
    """These scores minus the nominal ones, paired."""
    worst: float
    """Lowest balanced accuracy of a device."""


class Curve(NamedTuple):
    """Accuracy against one perturbation."""

    perturbation: str
    unit: str
    nominal: float
    """The level of the system as it is."""
    devices: int
    """Number of independent draws of the error; 1 if nothing is random."""
    points: tuple[Point, ...]
    """Points in the order of the levels."""

    def level_at(
        self,
        share: float,
        *,
        metric: Literal["accuracy", "balanced_accuracy"] = "balanced_accuracy",
    ) -> float | None:
        """The level at which the score falls below a share of its best, going away from there.

        It is interpolated linearly between two measured levels, for photons over the logarithm of
        the level. If the score falls on both sides of its best, the nearer of the two levels is
        returned: nearer to the nominal level if that is among the best, otherwise to the best one.
        It is an estimate without an interval.

        Parameters
        ----------
        share : float
            Share of the best score on the curve, between 0 and 1.
        metric : {"balanced_accuracy", "accuracy"}
            The score.

        Returns
        -------
        float or None
            Level, in the unit of the curve; None if the score never falls so low.

        Raises
        ------
        ValueError
            For a share outside of (0, 1), or another metric; without points, for a score that is
            NaN, and for photons that are not above 0, which have no logarithm.
        """
        if not 0 < share < 1:
            raise ValueError(
                f"share must be between 0 and 1, as in 0.9 of the best score, not {share}"
            )
        if metric not in Scores._fields:
            raise ValueError(f"metric must be one of {', '.join(Scores._fields)}, not {metric!r}")
        points = sorted(self.points, key=lambda point: point.level)
        if not points:
            raise ValueError(f"the curve of {self.perturbation} has no points: measure some levels")
        scores = [getattr(point.scores, metric).value for point in points]
        for point, score in zip(points, scores, strict=True):
            if math.isnan(score):
                raise ValueError(
                    f"the {metric} at {self.perturbation}={point.level:g} is {score}, which is "
                    "neither above nor below a share of the best: leave this level out"
                )
        factors = self.perturbation == "photons"
        if factors and points[0].level <= 0:
            raise ValueError(
                f"photons are interpolated over their logarithm, and {points[0].level:g} has none: "
                "leave this level out"
            )
        levels = [math.log(p.level) if factors else p.level for p in points]
        best = max(scores)
        limit = share * best
        own = self.nominal
        if factors:
            own = math.log(own) if own > 0 else -math.inf
        # Between two levels that are the best it is among these too, on their plateau.
        inside = levels[0] <= own <= levels[-1] and np.interp(own, levels, scores) == best
        tops = [k for k, score in enumerate(scores) if score == best]
        crossings = []
        for start, step in product(tops, (-1, 1)):
            ahead = start + step
            while 0 <= ahead < len(scores) and scores[ahead] >= limit:
                ahead += step
            if 0 <= ahead < len(scores):
                high = ahead - step
                part = (scores[high] - limit) / (scores[high] - scores[ahead])
                level = levels[high] + part * (levels[ahead] - levels[high])
                crossings.append((abs(level - (own if inside else levels[start])), level))
        if not crossings:
            return None
        level = min(crossings)[1]
        return math.exp(level) if factors else level


class Refused(NamedTuple):
    """A perturbation that this system cannot have."""

    perturbation: str
    reason: str


@dataclass(frozen=True)
class Robustness(Record):
    """Accuracy of a system away from its design."""

    scores: Scores
    """As it is: the numbers of :func:`joint.evaluate`, at the sensor's mean light where photons
    are among the imperfections."""
    curves: tuple[Curve, ...]
    """One for each perturbation that was asked for and is possible."""
    refused: tuple[Refused, ...]
    """Perturbations that are not possible."""
    pictures: int
    level: float
    resamples: int

    def __str__(self) -> str:
        accuracy, balanced = self.scores
        rows = [
            f"{self.pictures} pictures, accuracy {accuracy}, balanced {balanced}; "
            f"{100 * self.level:g} % intervals over lesions\n"
            "change: balanced accuracy at the level less that of the system as it is; - is worse"
        ]
        for curve in self.curves:
            made = f", {curve.devices} devices" if curve.devices > 1 else ""
            rows.append(
                f"{curve.perturbation}, {curve.unit} (nominal {curve.nominal:g}{made})\n"
                f"{'level':>12} {'accuracy':20}  {'balanced':20}  {'change (- is worse)':23}  "
                "balanced, worst device"
            )
            rows += [
                f"{p.level:12.5g} {p.scores.accuracy!s:20}  {p.scores.balanced_accuracy!s:20}  "
                f"{signed(p.change)[1]}  {p.worst:.3f}"
                for p in curve.points
            ]
        rows += [f"no {name}: {reason}" for name, reason in self.refused]
        return "\n".join(rows)


@told_once()
def robustness(
    system: ImagingSystem,
    dataset: LesionDataset,
    sweeps: ByImperfection[Sequence[float]] | None = None,
    *,
    devices: int = 3,
    batch_size: int = 64,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Robustness:
    """Measure accuracy against one imperfection at a time.

    ================== =============================================================================
    defocus            waves at the rim of the pupil, at the middle wavelength; + focuses too near
    decentre           an element sideways in the pupil (+x), fraction of its diameter
    decentre_y         the same along +y
    decentre_radial    the same in a random direction
    rotation           an element in the pupil, or kernels, about the axis (+x to +y), degrees
    tilt_x             the sensor about x, its +y side away from the lens, degrees
    tilt_y             the sensor about y, its +x side towards the lens, degrees
    magnification      of the picture about its centre, a fraction; its brightness stays
    shift              the image on the sensor (+x), pixels
    registration       second and further exposures on the sensor (+x), pixels
    photons            light at full scale with the gain in proportion, photons/pixel
    quantum_efficiency of all channels, a fraction more, with the gain as it is
    full_well          a fraction more
    dark_current       electrons/s
    read_noise         electrons RMS, with the gain as it is
    colour_cast        of the lamp: red over blue, stops; green stays
    phase_error        in each sample of the pupil, or of the Fourier plane, by itself, radians RMS
    height_error       of the relief, in each sample by itself, metres RMS
    depth_error        of the whole relief, a fraction more
    kernel_error       of the taps, by an RMS that is this fraction of theirs; they stay 0 or more,
                       and their sum what it is
    radius             of a surface of a traced lens, a fraction more
    thickness          from it to the next surface, metres more
    index              behind it, more, the same at all wavelengths
    surface_decentre   of a surface of a traced lens in a random direction, micrometres
    surface_tilt       of it about its vertex in a random direction, arc minutes
    element_decentre   of an element of it, the glass between air and air, micrometres
    element_tilt       of it about its first vertex, arc minutes
    ================== =============================================================================

    In a pupil with several elements, each is decentred and turned separately, ``decentre.0``,
    ``decentre.1``, ... in the order of ``pupil.elements``; :func:`alignment` moves some together.
    Each surface and element of a traced lens has its own errors, ``radius.0``, ``radius.1``, ...,
    ``element_tilt.0``, ... (:func:`surface_error`). Further ones are :func:`zernike_error`,
    :func:`wavefront_error` and your own :class:`Imperfection`. A thin lens that is tilted by an
    angle tilts its image by ``1 + s'/s`` times as much (Scheimpflug), with s and s' from the lens
    to the scene and to the image: ``tilt_x`` and ``tilt_y`` represent this too.

    Parameters
    ----------
    system : ImagingSystem
        With a classifier. Neither it nor any of its stages is changed.
    dataset : LesionDataset
        Pictures that it was not trained on.
    sweeps : mapping of perturbation or Imperfection to levels, optional
        Levels of each imperfection; by default a few of each that the system can have.
    devices : int
        Number of draws of each random error; a device has the same one, times the level, at all
        levels.
    batch_size : int
        Pictures in one pass; there is a pass for each level and device.
    seed : int
        Source of the sensor's noise, as in :func:`joint.evaluate`, and of the devices' errors.
    resamples, level, generator
        Settings of the bootstrap; each draw has the same lesions at all levels. The devices are not
        resampled: :attr:`Point.worst` shows how they differ.
    progress : bool
        Show a bar, on a terminal.

    Returns
    -------
    Robustness
        Curves in the order of :data:`PERTURBATIONS`, then the others in the order given; with the
        levels in the order given.

    Raises
    ------
    TypeError
        When ``system`` is not a system, or ``dataset`` not a data set.
    ValueError
        For a system without a classifier, a perturbation that is unknown or that it cannot have, a
        level outside of its range, or fewer than one device.

    Warns
    -----
    UserWarning
        Once, if the window of the PSF cuts off more light at some level than for the design: that
        light is then missing. Tilts, and patterns that are random in each sample, are not checked.
    """
    check_kinds(system, dataset, wanted="accuracy")
    check_resampling(resamples, level)
    devices = whole_number("devices", devices)
    plan, refused = _plan(system, dataset.channels, sweeps)
    light = common_light(system, plan)
    nominal = evaluate(system, dataset, batch_size=batch_size, seed=seed, photons=light)
    warn_of_what_is_cut(system, plan, channels=dataset.channels, seed=seed)
    evaluations = [nominal]
    places: dict[tuple[Imperfection, float], list[int]] = {}
    passes = sum(len(steps) * (devices if kind.drawn else 1) for kind, steps in plan.items())
    with tqdm(total=passes, unit="pass", disable=None if progress else True) as bar:
        for kind, steps in plan.items():
            count = devices if kind.drawn else 1
            for step in steps:
                if step == kind.nominal(system):
                    places[kind, step] = [0] * count
                    bar.update(count)
                    continue
                places[kind, step] = []
                for device in range(count):
                    places[kind, step].append(len(evaluations))
                    drawing = torch.Generator().manual_seed(derive_seed(seed, "device", device))
                    made = perturbed(
                        system, kind, step, channels=dataset.channels, generator=drawing
                    )
                    found = evaluate(
                        made,
                        dataset,
                        batch_size=batch_size,
                        seed=seed,
                        photons=step if kind is KINDS["photons"] else light,
                    )
                    evaluations.append(found)
                    bar.update()
    drawn = DrawnScores(evaluations, resamples=resamples, level=level, generator=generator)
    curves = []
    for kind, steps in plan.items():
        points = tuple(_point(drawn, evaluations, step, places[kind, step]) for step in steps)
        count = devices if kind.drawn else 1
        curves.append(Curve(kind.name, kind.unit, kind.nominal(system), count, points))
    scores = drawn.combined([0])
    return Robustness(scores, tuple(curves), refused, len(dataset), level, resamples)


def _point(
    drawn: DrawnScores, evaluations: Sequence[Evaluation], step: float, places: list[int]
) -> Point:
    count = len(places)
    reports = [evaluations[k].report for k in places]
    return Point(
        level=step,
        scores=drawn.combined(places, parts=count),
        change=drawn.combined(places, [0] * count, parts=count),
        worst=min(report.balanced_accuracy for report in reports if report is not None),
    )


def _plan(
    system: ImagingSystem,
    channels: int,
    sweeps: ByImperfection[Sequence[float]] | None,
) -> tuple[dict[Imperfection, tuple[float, ...]], tuple[Refused, ...]]:
    """Levels of each perturbation, checked before anything is evaluated."""
    if sweeps is None:
        possible = applicable(system, channels=channels)
        refused = tuple(Refused(n, KINDS[n].needs) for n in PERTURBATIONS if n not in possible)
        kinds = resolved(possible, system, channels=channels)
        return {kind: kind.levels(system) for kind in kinds}, refused
    given = dict[Perturbation | Imperfection, Sequence[float]](sweeps.items())
    plan: dict[Imperfection, tuple[float, ...]] = {}
    for kind, name in resolved(given, system, channels=channels).items():
        steps = given[name]
        if not hasattr(steps, "__len__"):
            raise ValueError(f"{kind.name} takes a sequence of levels, not {steps!r}")
        wrong = [s for s in steps if not (math.isfinite(s) and kind.allowed(s))]
        if wrong or len(steps) == 0:
            raise ValueError(
                f"{kind.name} takes levels in {kind.unit}, {kind.rule}, not {[*steps]}"
            )
        if max(steps) > kind.most(system) * (1 + 1e-9):
            raise ValueError(
                f"{kind.name} is at most {rounded_down(kind.most(system))} {kind.unit} of this "
                f"system, not {[*steps]}"
            )
        plan[kind] = tuple(map(float, steps))
    return plan, ()
