"""Imperfections of a camera, each of some level, on a copy of it.

::

    system ─┬─ front end, sensor ─ copied ─► changed ─┐
            └─ codec, classifier ─────── as they are ─┴─► perturbed system
"""

import copy
import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from joint.system import ImagingSystem
from optics import (
    Element,
    FourierFilter,
    HeightMap,
    IncoherentImaging,
    LearnedKernel,
    Lens,
    PhaseElement,
    PhaseMask,
    Pupil,
    energy_limited_inverse,
    unit_disk_inverse,
)

from .disturbed import Disturbed, MovedElement, MovedPhase, moved

__all__ = ["KINDS", "PERTURBATIONS", "Kind", "Perturbation", "applicable", "perturbed"]

Perturbation = Literal[
    "defocus",
    "decentre",
    "rotation",
    "shift",
    "registration",
    "photons",
    "read_noise",
    "colour_cast",
    "phase_error",
    "height_error",
    "kernel_error",
]

#: Names of the perturbations.
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)


def applicable(system: ImagingSystem, *, channels: int = 3) -> tuple[Perturbation, ...]:
    """Perturbations that a ``system`` for scenes of so many ``channels`` can have."""
    return tuple(name for name in PERTURBATIONS if KINDS[name].fits(system, channels))


def perturbed(
    system: ImagingSystem,
    name: Perturbation,
    level: float,
    *,
    channels: int,
    generator: torch.Generator,
) -> ImagingSystem:
    """The system at a level; it shares codec and classifier, and the camera is a copy."""
    camera = ImagingSystem(
        front_end=copy.deepcopy(system.front_end),
        sensor=copy.deepcopy(system.sensor),
        encoding=system.encoding,
    )
    with torch.no_grad():
        KINDS[name].change(camera, level, channels, generator)
    return ImagingSystem(
        front_end=camera.front_end,
        sensor=camera.sensor,
        codec=system.codec,
        classifier=system.classifier,
        encoding=system.encoding,
    )


def _defocus(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    pupil = _pupil(camera)
    assert pupil is not None
    # The rim is D^2 / (8 f) ahead of the middle.
    focal_length = _diameter(pupil) ** 2 / (8 * _middle(pupil) * level)
    lens = Lens(pupil.size, spacing=pupil.spacing, focal_length=focal_length)
    pupil.elements.append(lens.to(pupil.aperture.device))


def _decentre(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    pupil = _pupil(camera)
    assert pupil is not None
    _move_elements(pupil, shift=level * _diameter(pupil) / pupil.spacing)


def _rotation(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    pupil = _pupil(camera)
    if pupil is not None:
        _move_elements(pupil, angle=level)
    else:
        _change_kernels(camera, lambda kernels: moved(kernels, angle=level, outside="zeros"))


def _shift(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    exposures = 1 if camera.front_end is None else camera.front_end.exposures
    camera.front_end = Disturbed(camera.front_end, channels, shifts=(level,) * exposures)


def _registration(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    assert camera.front_end is not None
    shifts = (0.0, *(level,) * (camera.front_end.exposures - 1))
    camera.front_end = Disturbed(camera.front_end, channels, shifts=shifts)


def _read_noise(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    assert camera.sensor is not None
    camera.sensor.read_noise = level
    if level == 0:
        # The same codes; the other estimator has no gradient without noise, and refuses.
        camera.sensor.converter = "straight_through"


def _colour_cast(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    gains = (2 ** (level / 2), 1.0, 2 ** (-level / 2))
    camera.front_end = Disturbed(camera.front_end, channels, gains=gains)


def _phase_error(
    camera: ImagingSystem, level: float, channels: int, generator: torch.Generator
) -> None:
    front, pupil = camera.front_end, _pupil(camera)
    if pupil is not None:
        error = level * torch.randn(pupil.size, generator=generator)
        mask = PhaseMask(error, spacing=pupil.spacing, design_wavelength=_middle(pupil))
        pupil.elements.append(mask.to(pupil.aperture.device))
        return
    assert isinstance(front, FourierFilter)
    error = level * torch.randn(front.grid_size, generator=generator).to(front.raw)
    wrong = front.transmission * torch.polar(torch.ones_like(error), error)
    front.raw.copy_(unit_disk_inverse(wrong, largest=1 - 1e-6))


def _height_error(
    camera: ImagingSystem, level: float, channels: int, generator: torch.Generator
) -> None:
    for relief in _reliefs(camera):
        relief.draw_etch_error(level, generator=generator)


def _kernel_error(
    camera: ImagingSystem, level: float, channels: int, generator: torch.Generator
) -> None:
    def wrong(kernels: Tensor) -> Tensor:
        error = torch.randn(kernels.shape, generator=generator).to(kernels)
        spread = kernels.square().mean((-2, -1), keepdim=True).sqrt()
        return (kernels + level * spread * error).clamp_min(0)

    _change_kernels(camera, wrong)


def _change_kernels(camera: ImagingSystem, change: Callable[[Tensor], Tensor]) -> None:
    """Change the kernels, or the fixed PSF, and keep the light of each."""
    front = camera.front_end
    assert isinstance(front, LearnedKernel | IncoherentImaging)
    given = front.kernels if isinstance(front, LearnedKernel) else front.fixed_psf
    changed = change(given)
    light = changed.sum((-2, -1), keepdim=True)
    kept = given.sum((-2, -1), keepdim=True) / torch.where(light > 0, light, 1)
    if isinstance(front, LearnedKernel):
        front.raw.copy_(energy_limited_inverse(changed * kept))
    else:
        front.fixed_psf.copy_(changed * kept)


def _move_elements(pupil: Pupil, *, shift: float = 0.0, angle: float = 0.0) -> None:
    elements: list[Element] = []
    for element in pupil.elements:
        assert isinstance(element, Element)
        if isinstance(element, PhaseElement):
            elements.append(MovedPhase(element, shift=shift, angle=angle))
        else:
            elements.append(MovedElement(element, shift=shift, angle=angle))
    pupil.elements = nn.ModuleList(elements)


def _pupil(system: ImagingSystem) -> Pupil | None:
    pupil = getattr(system.front_end, "pupil", None)
    return pupil if isinstance(pupil, Pupil) else None


def _diameter(pupil: Pupil) -> float:
    """Of a circle of the aperture's area, metres: counting lit samples is off by one of them."""
    return 2 * pupil.spacing * math.sqrt(float(pupil.aperture.sum()) / math.pi)


def _middle(pupil: Pupil) -> float:
    return pupil.wavelengths[len(pupil.wavelengths) // 2]


def _reliefs(system: ImagingSystem) -> list[HeightMap]:
    pupil = _pupil(system)
    elements = () if pupil is None else pupil.elements
    return [element for element in elements if isinstance(element, HeightMap)]


def _has_elements(system: ImagingSystem) -> bool:
    pupil = _pupil(system)
    return pupil is not None and len(pupil.elements) > 0


def _has_kernels(system: ImagingSystem) -> bool:
    front = system.front_end
    fixed = isinstance(front, IncoherentImaging) and front.pupil is None
    return isinstance(front, LearnedKernel) or fixed


_Change = Callable[[ImagingSystem, float, int, torch.Generator], None]


class Kind(NamedTuple):
    """What a perturbation is."""

    unit: str
    needs: str
    """What the system must have."""
    fits: Callable[[ImagingSystem, int], bool]
    """Whether a system for scenes of so many channels has it."""
    change: _Change
    """Brings a copy of the camera to a level."""
    levels: Callable[[ImagingSystem], tuple[float, ...]]
    """The default ones."""
    nominal: Callable[[ImagingSystem], float] = lambda _: 0.0
    allowed: Callable[[float], bool] = lambda _: True
    rule: str = "finite numbers"
    drawn: bool = False


def _fixed(*levels: float) -> Callable[[ImagingSystem], tuple[float, ...]]:
    return lambda _: levels


def _light(system: ImagingSystem) -> float:
    return 0.0 if system.sensor is None else system.sensor.photons


def _noise(system: ImagingSystem) -> float:
    return 0.0 if system.sensor is None else system.sensor.read_noise


def _not_negative(level: float) -> bool:
    return level >= 0


_NEEDS_PUPIL = "it needs a front end with a pupil, such as optics.IncoherentImaging(Pupil(...))"

KINDS: dict[Perturbation, Kind] = {
    "defocus": Kind(
        "waves",
        _NEEDS_PUPIL,
        lambda system, _: _pupil(system) is not None,
        _defocus,
        _fixed(-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0),
    ),
    "decentre": Kind(
        "pupil diameters",
        "it needs a pupil with an element in it",
        lambda system, _: _has_elements(system),
        _decentre,
        _fixed(0.0, 0.01, 0.03, 0.1),
    ),
    "rotation": Kind(
        "degrees",
        "it needs a pupil with an element in it, a LearnedKernel or a fixed PSF",
        lambda system, _: _has_elements(system) or _has_kernels(system),
        _rotation,
        _fixed(0.0, 2.0, 5.0, 10.0, 30.0),
    ),
    "shift": Kind(
        "pixels",
        "it needs scenes",
        lambda *_: True,
        _shift,
        _fixed(0.0, 0.5, 1.0, 2.0, 4.0),
    ),
    "registration": Kind(
        "pixels",
        "it needs a front end with two exposures or more",
        lambda system, _: system.front_end is not None and system.front_end.exposures > 1,
        _registration,
        _fixed(0.0, 0.25, 0.5, 1.0, 2.0),
    ),
    "photons": Kind(
        "photons/pixel",
        "it needs a sensor",
        lambda system, _: system.sensor is not None,
        lambda *_: None,  # a matter of the evaluation
        lambda system: tuple(_light(system) * factor for factor in (1 / 16, 0.25, 1.0, 4.0)),
        _light,
        lambda level: level > 0,
        "above 0",
    ),
    "read_noise": Kind(
        "electrons RMS",
        "it needs a sensor",
        lambda system, _: system.sensor is not None,
        _read_noise,
        lambda system: tuple(sorted({_noise(system), 0.0, 2.0, 5.0, 10.0, 20.0})),
        _noise,
        _not_negative,
        "0 or more",
    ),
    "colour_cast": Kind(
        "stops",
        "it needs scenes in red, green and blue",
        lambda _, channels: channels == 3,
        _colour_cast,
        _fixed(-1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0),
    ),
    "phase_error": Kind(
        "radians RMS",
        f"{_NEEDS_PUPIL}, or an optics.FourierFilter",
        lambda system, _: _pupil(system) is not None or isinstance(system.front_end, FourierFilter),
        _phase_error,
        _fixed(0.0, 0.1, 0.3, 1.0),
        allowed=_not_negative,
        rule="0 or more",
        drawn=True,
    ),
    "height_error": Kind(
        "metres RMS",
        "it needs a pupil with an optics.HeightMap in it",
        lambda system, _: len(_reliefs(system)) > 0,
        _height_error,
        _fixed(0.0, 10e-9, 30e-9, 100e-9),
        allowed=_not_negative,
        rule="0 or more",
        drawn=True,
    ),
    "kernel_error": Kind(
        "fraction RMS",
        "it needs a LearnedKernel or a fixed PSF",
        lambda system, _: _has_kernels(system),
        _kernel_error,
        _fixed(0.0, 0.05, 0.1, 0.2, 0.5),
        allowed=_not_negative,
        rule="0 or more",
        drawn=True,
    ),
}
