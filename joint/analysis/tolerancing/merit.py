"""The measure by which a device is judged, as built or after refocusing.

::

    system ─┬─ as it is ──────────────────────────────────────┬─► evaluate, or a function ─► value
            └─ focus +- range: a grid, then Brent's method ───┘
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import optimize

from classify import LesionDataset
from joint.judge.evaluate import evaluate
from joint.judge.metric import METRICS, is_metric, lower_is_better
from joint.system import ImagingSystem

from .imperfection import pupil_of
from .perturbation import perturbed

__all__ = ["Merit", "MeritFunction", "merit_of", "places_of_focus"]

# The focus is looked for at places so far apart, in waves at the rim: the central maximum of a
# circle's irradiance on the axis, sinc^2 of the waves, is eight of them wide.
_STEP = 0.25


class Merit(NamedTuple):
    """Measure of one device."""

    value: float
    refocus: float
    """Waves at the rim by which it was refocused."""


@dataclass(frozen=True)
class MeritFunction:
    """What is measured of each device."""

    name: str
    more_is_better: bool
    measure: Callable[[ImagingSystem, float | None], float]
    refocus: float
    """Largest change of focus, waves at the rim."""
    channels: int

    def of(self, system: ImagingSystem, *, photons: float | None = None) -> Merit:
        """Measure one device, at ``photons`` if they are given."""
        as_it_is = self.measure(system, photons)
        if not self.refocus:
            return Merit(as_it_is, 0.0)
        seen: dict[float, float] = {0.0: as_it_is}
        sign = -1.0 if self.more_is_better else 1.0

        def cost(waves: float) -> float:
            waves = float(waves)
            if waves not in seen:
                drawing = torch.Generator()  # nothing is drawn
                made = perturbed(
                    system, "defocus", waves, channels=self.channels, generator=drawing
                )
                seen[waves] = self.measure(made, photons)
            return sign * seen[waves]

        places = places_of_focus(self.refocus)
        best = int(np.argmin([cost(place) for place in places]))
        ends = places[max(0, best - 1)], places[min(len(places) - 1, best + 1)]
        options = {"xatol": 1e-3, "maxiter": 20}
        optimize.minimize_scalar(cost, bounds=ends, method="bounded", options=options)
        focus = min(seen, key=cost)
        return Merit(seen[focus], focus)


def places_of_focus(refocus: float) -> list[float]:
    """Changes of focus between which the best is looked for, waves at the rim; 0 is among them."""
    steps = math.ceil(refocus / _STEP)
    places = np.linspace(-refocus, refocus, 2 * steps + 1)
    places[steps] = 0.0
    return places.tolist()


def merit_of(
    system: ImagingSystem,
    dataset: LesionDataset,
    measure: str | Callable[[ImagingSystem], float] | None,
    *,
    more_is_better: bool | None,
    refocus: float,
    batch_size: int,
    seed: int,
) -> MeritFunction:
    """The ``measure`` of :func:`tolerance`, as a function of a system and its light.

    Raises
    ------
    ValueError
        For a range of focus that is negative, or for a system without a pupil; later, for a measure
        that the evaluation does not have.
    """
    if not (refocus >= 0 and math.isfinite(refocus)):
        raise ValueError(f"refocus must be 0 or more, in waves at the rim, not {refocus}")
    if refocus and pupil_of(system) is None:
        raise ValueError(
            "refocus needs a front end with a pupil, such as optics.IncoherentImaging(Pupil(...))"
        )
    by_default = measure is None
    if measure is None:
        picture = "psnr_scene" if system.codec is None else "psnr"
        measure = picture if system.classifier is None else "balanced_accuracy"
    name = measure if isinstance(measure, str) else getattr(measure, "__name__", "measure")
    if more_is_better is None:
        more_is_better = not (isinstance(measure, str) and lower_is_better(measure))

    def value(made: ImagingSystem, photons: float | None) -> float:
        if not isinstance(measure, str):
            light = made.sensor.under(photons) if made.sensor and photons else nullcontext()
            with light:
                return float(measure(made))
        found = evaluate(made, dataset, batch_size=batch_size, seed=seed, photons=photons)
        if found.report is not None and is_metric(measure):
            return found.report.number(measure)
        numbers = {key: number for key, number in found.scalars().items() if number is not None}
        if measure not in numbers:
            known = [*numbers, *(() if found.report is None else METRICS)]
            if by_default:
                raise ValueError(
                    f"give a measure: by default it is {measure}, which this system does not "
                    "have, as its pictures are not scenes; it may be a function, or one of "
                    f"{', '.join(dict.fromkeys(known))}"
                )
            raise ValueError(
                f"measure must be a function or one of {', '.join(dict.fromkeys(known))}"
                f"{'' if found.report is None else ', or that of a class, such as recall.NAME'}, "
                f"not {measure!r}"
            )
        return numbers[measure]

    return MeritFunction(name, more_is_better, value, refocus, dataset.channels)
