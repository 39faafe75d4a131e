"""Elements and a sensor that are not where they should be: decentred, turned, tilted."""

import math

import torch
from torch import nn

from joint.system import ImagingSystem
from optics import Element, IncoherentImaging, PhaseElement, Pupil

from .disturbed import MovedElement, MovedPhase, Tilted
from .imperfection import Imperfection, diameter_of, pupil_of

__all__ = ["DECENTRES", "TILTS", "can_turn", "has_elements", "move_elements"]

# Beyond it, a picture is foreshortened by more than 1.5 %, which is not computed.
_LARGEST_TILT = 10


def move_elements(
    pupil: Pupil, *, shift: float = 0.0, shift_y: float = 0.0, angle: float = 0.0
) -> None:
    """Turn all elements about the axis, then move them, also those that sit askew already.

    What differs from place to place of the picture is that of a lens of revolution, which is the
    same lens when it is turned: its wavefronts are moved, but stay as they are about their middles.
    """
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    elements: list[Element] = []
    for element in pupil.elements:
        assert isinstance(element, Element)
        x, y, turned, inner = shift, shift_y, angle, element
        if isinstance(element, MovedPhase | MovedElement):
            # In one step, so that the samples are interpolated once.
            x += c * element.shift - s * element.shift_y
            y += s * element.shift + c * element.shift_y
            turned, inner = angle + element.angle, element.inner
        if not _same(inner):
            turned = 0.0
        if isinstance(inner, PhaseElement):
            elements.append(MovedPhase(inner, shift=x, shift_y=y, angle=turned))
        else:
            elements.append(MovedElement(inner, shift=x, shift_y=y, angle=turned))
    pupil.elements = nn.ModuleList(elements)


def has_elements(system: ImagingSystem) -> bool:
    """Whether there is anything in a pupil."""
    pupil = pupil_of(system)
    return pupil is not None and len(pupil.elements) > 0


def can_turn(system: ImagingSystem) -> bool:
    """Whether a pupil has an element that a turn changes: not that of a lens of revolution."""
    pupil = pupil_of(system)
    return pupil is not None and any(_same(element) for element in pupil.elements)


def _same(element: nn.Module) -> bool:
    """Whether an element is the same for all places of the picture."""
    parts = (part for part in element.modules() if isinstance(part, Element))
    return all(part.places is None for part in parts)


def _decentre_x(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    pupil = pupil_of(camera)
    assert pupil is not None
    move_elements(pupil, shift=level * diameter_of(pupil) / pupil.spacing)


def _decentre_y(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    pupil = pupil_of(camera)
    assert pupil is not None
    move_elements(pupil, shift_y=level * diameter_of(pupil) / pupil.spacing)


def _decentre_radial(level: float, generator: torch.Generator) -> dict[Imperfection, float]:
    azimuth = 2 * math.pi * float(torch.rand((), generator=generator, dtype=torch.float64))
    x, y = level * math.cos(azimuth), level * math.sin(azimuth)
    return {DECENTRES[0]: x, DECENTRES[1]: y}


def _tilt_x(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    _tilt(camera, (math.tan(math.radians(level)), 0.0))


def _tilt_y(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    _tilt(camera, (0.0, -math.tan(math.radians(level))))


def _tilt(camera: ImagingSystem, slopes: tuple[float, float]) -> None:
    front = camera.front_end
    if isinstance(front, Tilted):  # the other way
        front.slopes = (front.slopes[0] + slopes[0], front.slopes[1] + slopes[1])
        return
    assert isinstance(front, IncoherentImaging)
    camera.front_end = Tilted(front, slopes)


def _can_tilt(system: ImagingSystem, _: int) -> bool:
    front = system.front_end
    return (
        isinstance(front, IncoherentImaging)
        and front.pupil is not None
        and front.working_distances is None
    )


_NEEDS_ELEMENT = "it needs a pupil with an element in it"
_NEEDS_FIELD = (
    "it needs optics.IncoherentImaging(Pupil(...)), whose PSF can be focused anew in each place of "
    "the picture; a fixed PSF, a kernel, a Fourier filter and coherent imaging are shift "
    "invariant, and working distances are drawn"
)

#: Along x and y, and by a distance in a random direction, which is shared out over those two.
DECENTRES = (
    *(
        Imperfection(
            name,
            "pupil diameters",
            change,
            _NEEDS_ELEMENT,
            lambda system, _: has_elements(system),
            lambda _: (0.0, 0.01, 0.03, 0.1),
            where="place",
        )
        for name, change in (("decentre", _decentre_x), ("decentre_y", _decentre_y))
    ),
    Imperfection(
        "decentre_radial",
        "pupil diameters",
        needs=_NEEDS_ELEMENT,
        fits=lambda system, _: has_elements(system),
        levels=lambda _: (0.0, 0.01, 0.03, 0.1),
        allowed=lambda level: level >= 0,
        rule="0 or more",
        drawn=True,
        circular=True,
        shared=_decentre_radial,
        where="place",
    ),
)

#: Of the sensor, about x and y.
TILTS = tuple(
    Imperfection(
        name,
        "degrees",
        change,
        _NEEDS_FIELD,
        _can_tilt,
        lambda _: (0.0, 0.5, 1.0, 2.0),
        allowed=lambda level: abs(level) <= _LARGEST_TILT,
        rule=f"from {-_LARGEST_TILT} to {_LARGEST_TILT}",
        where="field",
    )
    for name, change in (("tilt_x", _tilt_x), ("tilt_y", _tilt_y))
)
