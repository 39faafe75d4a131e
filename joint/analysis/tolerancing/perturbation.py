"""Imperfections of a camera, each of some level, on a copy of it.

::

    system ─┬─ front end, sensor ──────── copied ─► changed ─┐
            └─ restoration, codec, classifier ─ as they are ─┴─► perturbed system
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal, TypeAlias, TypeVar, get_args

import torch
from torch import Tensor

from joint.kinds import check_system
from joint.system import ImagingSystem
from optics import (
    FourierFilter,
    HeightMap,
    IncoherentImaging,
    LearnedKernel,
    Lens,
    PhaseElement,
    PhaseMask,
    Pupil,
    Relief,
    energy_limited_inverse,
    unit_disk_inverse,
)
from optics.pupil.pupil import middle_wavelength

from .alignment import DECENTRES, TILTS, TURNS, can_turn, move_elements, one_by_one
from .disturbed import Disturbed, Seat, moved
from .imperfection import Imperfection, diameter_of, has_cones, pupil_of
from .surface_error import SURFACE_ERRORS

__all__ = [
    "KINDS",
    "PERTURBATIONS",
    "ByImperfection",
    "Perturbation",
    "applicable",
    "common_light",
    "perturbed",
    "resolved",
]

T = TypeVar("T")

_HALVINGS = 40  # of the size of an error, to single precision

Perturbation = Literal[
    "defocus",
    "decentre",
    "decentre_y",
    "decentre_radial",
    "rotation",
    "tilt_x",
    "tilt_y",
    "magnification",
    "shift",
    "registration",
    "photons",
    "quantum_efficiency",
    "full_well",
    "dark_current",
    "read_noise",
    "colour_cast",
    "phase_error",
    "height_error",
    "depth_error",
    "kernel_error",
    "radius",
    "thickness",
    "index",
    "surface_decentre",
    "surface_tilt",
    "element_decentre",
    "element_tilt",
]

#: Names of the perturbations.
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)

ByImperfection: TypeAlias = (
    Mapping[Perturbation, T] | Mapping[Imperfection, T] | Mapping[Perturbation | Imperfection, T]
)
"""Something for each of several imperfections, by their names or as they are."""


def applicable(system: ImagingSystem, *, channels: int = 3) -> tuple[Perturbation, ...]:
    """Perturbations that a ``system``, for scenes with ``channels`` channels, can have.

    Raises
    ------
    TypeError
        When ``system`` is not a system.
    """
    check_system(system)
    return tuple(name for name in PERTURBATIONS if KINDS[name].fits(system, channels))


def resolved(
    asked: Iterable[Perturbation | Imperfection], system: ImagingSystem, *, channels: int
) -> dict[Imperfection, Perturbation | Imperfection]:
    """Imperfections with what each was asked for by, in the order of the names, then of the rest.

    What stands for each of several elements is one for each of them.

    Raises
    ------
    ValueError
        For a name that is unknown or stands for two, or one that the ``system`` cannot have.
    """
    kinds: list[tuple[Imperfection, Perturbation | Imperfection]] = []
    possible = applicable(system, channels=channels)
    for name in asked:
        if not isinstance(name, Imperfection) and name not in PERTURBATIONS:
            raise ValueError(
                f"perturbation must be one of {', '.join(PERTURBATIONS)}, or a "
                f"joint.analysis.Imperfection, not {name}"
            )
        kind = name if isinstance(name, Imperfection) else KINDS[name]
        if not kind.fits(system, channels):
            raise ValueError(
                f"no {kind.name}: {kind.needs}; this system can have {', '.join(possible)}"
            )
        kinds.append((kind, name))
    places = {name: place for place, name in enumerate(KINDS)}
    kinds.sort(key=lambda pair: places.get(pair[0].name, len(places)))
    found: dict[Imperfection, Perturbation | Imperfection] = {}
    taken: set[str] = set()
    for kind, name in kinds:
        for own in (() if kind.each is None else kind.each(system)) or (kind,):
            if own.name in taken or KINDS.get(own.name, own) is not own:
                raise ValueError(f"two imperfections are called {own.name}: give one another name")
            taken.add(own.name)
            found[own] = name
    return found


def perturbed(
    system: ImagingSystem,
    name: Perturbation | Imperfection,
    level: float,
    *,
    channels: int,
    generator: torch.Generator,
) -> ImagingSystem:
    """The system at a level; it shares its networks, and front end and sensor are copies."""
    kind = name if isinstance(name, Imperfection) else KINDS[name]
    camera = system.replace(
        front_end=copy.deepcopy(system.front_end), sensor=copy.deepcopy(system.sensor)
    )
    with torch.no_grad():
        for part in () if camera.front_end is None else camera.front_end.modules():
            if isinstance(part, IncoherentImaging):  # maybe within another, as one that is shifted
                _keep_the_design(part)
        for part, own in kind.parts(level, generator).items():
            if own != part.nominal(system):
                part.change(camera, own, channels, generator)
    return camera


def common_light(system: ImagingSystem, kinds: Iterable[Imperfection]) -> float | None:
    """Photons/pixel at which a design and its devices are compared, or None for their own.

    A sensor may draw the light of each picture from a range; a level of ``photons`` is one light
    for all pictures, and what differs from it by its level alone is in one light, too.
    """
    light = KINDS["photons"]
    return light.nominal(system) if light in kinds else None


def _keep_the_design(front: IncoherentImaging) -> None:
    """Let the camera restore its pictures by the PSF that it was meant to have."""
    if front.restoration is not None and front.restoration.known_psf is None:
        front.restoration.know(front.design_psf())


def _defocus(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    pupil = pupil_of(camera)
    assert pupil is not None
    # The rim is D^2 / (8 f) ahead of the middle.
    power = 8 * middle_wavelength(pupil.wavelengths) * level / diameter_of(pupil) ** 2
    lens: PhaseElement
    if has_cones(pupil):
        lens = Defocus(pupil, power)
    else:
        lens = Lens(pupil.size, spacing=pupil.spacing, focal_length=1 / power)
    pupil.elements.append(lens.to(pupil.aperture.device))


class Defocus(PhaseElement):
    """A defocus of cones that slant, as a sensor that moves makes it: :attr:`Pupil.curve`.

    Parameters
    ----------
    pupil : Pupil
        With another cone of light at each place.
    power : float, 1/metres
        As of a lens.
    """

    path: Tensor

    def __init__(self, pupil: Pupil, power: float) -> None:
        super().__init__(pupil.size, pupil.spacing)
        self.places = pupil.places
        self.register_buffer("path", -power * pupil.curve)

    def phase_shift(self, wavelength: Tensor) -> Tensor:
        """``-2 pi power curve / lambda``, ``[P, Q, L, H, W]``, radians."""
        turns = self.path.double() / wavelength[:, None, None]
        return (2 * math.pi * turns).to(torch.get_default_dtype())


def _rotation(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    pupil = pupil_of(camera)
    if pupil is not None:
        move_elements(pupil, Seat(angle=level))
    else:
        _change_kernels(camera, lambda kernels: moved(kernels, Seat(angle=level), outside="zeros"))


def _shift(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    exposures = camera.exposures
    camera.front_end = Disturbed(camera.front_end, channels, shifts=(level,) * exposures)


def _registration(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    assert camera.front_end is not None
    shifts = (0.0, *(level,) * (camera.front_end.exposures - 1))
    camera.front_end = Disturbed(camera.front_end, channels, shifts=shifts)


def _magnification(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    camera.front_end = Disturbed(camera.front_end, channels, magnification=1 + level)


def _quantum_efficiency(
    camera: ImagingSystem, level: float, channels: int, _: torch.Generator
) -> None:
    assert camera.sensor is not None
    own = camera.sensor.quantum_efficiency
    camera.sensor.quantum_efficiency = (
        tuple((1 + level) * each for each in own) if isinstance(own, tuple) else (1 + level) * own
    )


def _most_efficient(system: ImagingSystem) -> float:
    """By which fraction the quantum efficiency of a sensor can be larger: up to 1."""
    assert system.sensor is not None
    own = system.sensor.quantum_efficiency
    return 1 / (max(own) if isinstance(own, tuple) else own) - 1


def _full_well(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    assert camera.sensor is not None
    assert camera.sensor.full_well is not None
    camera.sensor.full_well *= 1 + level


def _dark_current(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    assert camera.sensor is not None
    camera.sensor.dark_current = level


def _read_noise(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    assert camera.sensor is not None
    camera.sensor.read_noise = level
    if level == 0:
        # Without read noise the same codes; the other estimator has no gradient then, and refuses.
        camera.sensor.converter = "straight_through"


def _colour_cast(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    gains = (2 ** (level / 2), 1.0, 2 ** (-level / 2))
    camera.front_end = Disturbed(camera.front_end, channels, gains=gains)


def _phase_error(
    camera: ImagingSystem, level: float, channels: int, generator: torch.Generator
) -> None:
    front, pupil = camera.front_end, pupil_of(camera)
    if pupil is not None:
        error = level * torch.randn(pupil.size, generator=generator)
        mask = PhaseMask(
            error, spacing=pupil.spacing, design_wavelength=middle_wavelength(pupil.wavelengths)
        )
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


def _depth_error(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    for relief in _reliefs(camera):
        deeper = level * relief.height
        relief.etch_error = deeper if relief.etch_error is None else relief.etch_error + deeper


def _kernel_error(
    camera: ImagingSystem, level: float, channels: int, generator: torch.Generator
) -> None:
    def wrong(kernels: Tensor) -> Tensor:
        error = torch.randn(kernels.shape, generator=generator).to(kernels)
        return _with_error(kernels, error, level)

    _change_kernels(camera, wrong)


def _with_error(kernels: Tensor, error: Tensor, level: float) -> Tensor:
    """Kernels ``[..., h, w]`` that are wrong by so much in all, whose taps are not negative.

    Most of a sharp kernel is dark: of what is added there the negative half is cut off, and the
    other takes its light from the bright taps, so that the errors are scaled to what is left.
    """
    size = kernels.square().sum((-2, -1), keepdim=True).sqrt()
    error = error * size / error.square().sum((-2, -1), keepdim=True).sqrt()
    low, high = torch.zeros_like(size), torch.full_like(size, 2.0**10)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        apart = _of_as_much_light((kernels + middle * error).clamp_min(0), kernels) - kernels
        small = apart.square().sum((-2, -1), keepdim=True).sqrt() < level * size
        low, high = torch.where(small, middle, low), torch.where(small, high, middle)
    return (kernels + low * error).clamp_min(0)


def _of_as_much_light(changed: Tensor, given: Tensor) -> Tensor:
    light = changed.sum((-2, -1), keepdim=True)
    return changed * given.sum((-2, -1), keepdim=True) / torch.where(light > 0, light, 1)


def _change_kernels(camera: ImagingSystem, change: Callable[[Tensor], Tensor]) -> None:
    """Change the kernels, or the fixed PSF, and keep the light of each."""
    front = camera.front_end
    assert isinstance(front, LearnedKernel | IncoherentImaging)
    given = front.kernels if isinstance(front, LearnedKernel) else front.fixed_psf
    changed = _of_as_much_light(change(given), given)
    if isinstance(front, LearnedKernel):
        front.raw.copy_(energy_limited_inverse(changed))
    else:
        front.fixed_psf = changed


def _reliefs(system: ImagingSystem) -> list[HeightMap | Relief]:
    pupil = pupil_of(system)
    elements = () if pupil is None else pupil.elements
    return [element for element in elements if isinstance(element, HeightMap | Relief)]


def _has_kernels(system: ImagingSystem) -> bool:
    front = system.front_end
    fixed = isinstance(front, IncoherentImaging) and front.pupil is None
    return isinstance(front, LearnedKernel) or fixed


def _fixed(*levels: float) -> Callable[[ImagingSystem], tuple[float, ...]]:
    return lambda _: levels


def _lights(system: ImagingSystem) -> tuple[float, ...]:
    """Around its own; of a camera that sees a range of it, the ends and the mean."""
    sensor = system.sensor
    assert sensor is not None
    if sensor.photon_range is not None:
        low, high = sensor.photon_range
        return low, sensor.mean_photons, high
    levels = (sensor.photons * factor for factor in (1 / 16, 0.25, 1.0, 4.0))
    # More light than the full well holds would be a study of the well.
    return tuple(each for each in levels if each <= sensor.photons or sensor.holds(each))


def _noise(system: ImagingSystem) -> float:
    return 0.0 if system.sensor is None else system.sensor.read_noise


def _dark(system: ImagingSystem) -> float:
    return 0.0 if system.sensor is None else system.sensor.dark_current


def _darks(system: ImagingSystem) -> tuple[float, ...]:
    """Its own, and those that make 1, 10 and 100 electrons in an exposure."""
    assert system.sensor is not None
    made = (electrons / system.sensor.exposure_time for electrons in (1, 10, 100))
    return tuple(sorted({_dark(system), 0.0, *made}))


def _not_negative(level: float) -> bool:
    return level >= 0


def _above_minus_one(level: float) -> bool:
    return level > -1


def _has_sensor(system: ImagingSystem, _: int) -> bool:
    return system.sensor is not None


def _has_pupil(system: ImagingSystem, _: int) -> bool:
    return pupil_of(system) is not None


_NEEDS_PUPIL = "it needs a front end with a pupil, such as optics.IncoherentImaging(Pupil(...))"
_ALL = (
    Imperfection(
        "defocus",
        "waves",
        _defocus,
        _NEEDS_PUPIL,
        _has_pupil,
        _fixed(-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0),
        where="wavefront",
    ),
    *DECENTRES,
    Imperfection(
        "rotation",
        "degrees",
        _rotation,
        "it needs a pupil with an element in it (a lens of revolution, as off_axis is one, is the "
        "same when it is turned), a LearnedKernel or a fixed PSF",
        lambda system, _: can_turn(system) or _has_kernels(system),
        _fixed(*TURNS),
        each=partial(one_by_one, "rotation"),
        where="place",
    ),
    *TILTS,
    Imperfection(
        "magnification",
        "fraction",
        _magnification,
        "it needs scenes",
        levels=_fixed(-0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1),
        allowed=_above_minus_one,
        rule="above -1",
    ),
    Imperfection(
        "shift",
        "pixels",
        _shift,
        "it needs scenes",
        levels=_fixed(0.0, 0.5, 1.0, 2.0, 4.0),
    ),
    Imperfection(
        "registration",
        "pixels",
        _registration,
        "it needs a front end with two exposures or more",
        lambda system, _: system.front_end is not None and system.front_end.exposures > 1,
        _fixed(0.0, 0.25, 0.5, 1.0, 2.0),
    ),
    Imperfection(
        "photons",  # a matter of the evaluation
        "photons/pixel",
        needs="it needs a sensor",
        fits=_has_sensor,
        levels=_lights,
        nominal=lambda system: 0.0 if system.sensor is None else system.sensor.mean_photons,
        allowed=lambda level: level > 0,
        rule="above 0",
    ),
    Imperfection(
        "quantum_efficiency",
        "fraction",
        _quantum_efficiency,
        "it needs a sensor",
        _has_sensor,
        lambda system: tuple(
            each for each in (-0.3, -0.1, 0.0, 0.1, 0.3) if each <= _most_efficient(system)
        ),
        allowed=_above_minus_one,
        rule="above -1",
        most=_most_efficient,
    ),
    Imperfection(
        "full_well",
        "fraction",
        _full_well,
        "it needs a sensor with a full well",
        lambda system, _: system.sensor is not None and system.sensor.full_well is not None,
        _fixed(-0.5, -0.2, 0.0, 0.2),
        allowed=_above_minus_one,
        rule="above -1",
    ),
    Imperfection(
        "dark_current",
        "electrons/s",
        _dark_current,
        "it needs a sensor",
        _has_sensor,
        _darks,
        _dark,
        _not_negative,
        "0 or more",
    ),
    Imperfection(
        "read_noise",
        "electrons RMS",
        _read_noise,
        "it needs a sensor",
        _has_sensor,
        lambda system: tuple(sorted({_noise(system), 0.0, 2.0, 5.0, 10.0, 20.0})),
        _noise,
        _not_negative,
        "0 or more",
    ),
    Imperfection(
        "colour_cast",
        "stops",
        _colour_cast,
        "it needs scenes in red, green and blue",
        lambda _, channels: channels == 3,
        _fixed(-1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0),
    ),
    Imperfection(
        "phase_error",
        "radians RMS",
        _phase_error,
        f"{_NEEDS_PUPIL}, or an optics.FourierFilter",
        lambda system, _: _has_pupil(system, 0) or isinstance(system.front_end, FourierFilter),
        _fixed(0.0, 0.1, 0.3, 1.0),
        allowed=_not_negative,
        rule="0 or more",
        drawn=True,
        where="wavefront",
    ),
    Imperfection(
        "height_error",
        "metres RMS",
        _height_error,
        "it needs a pupil with an optics.HeightMap or optics.Relief in it",
        lambda system, _: len(_reliefs(system)) > 0,
        _fixed(0.0, 10e-9, 30e-9, 100e-9),
        allowed=_not_negative,
        rule="0 or more",
        drawn=True,
        where="element",
    ),
    Imperfection(
        "depth_error",
        "fraction",
        _depth_error,
        "it needs a pupil with an optics.HeightMap or optics.Relief in it",
        lambda system, _: len(_reliefs(system)) > 0,
        _fixed(-0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1),
        allowed=_above_minus_one,
        rule="above -1",
        where="element",
    ),
    Imperfection(
        "kernel_error",
        "fraction RMS",
        _kernel_error,
        "it needs a LearnedKernel or a fixed PSF",
        lambda system, _: _has_kernels(system),
        _fixed(0.0, 0.05, 0.1, 0.2, 0.5),
        allowed=lambda level: 0 <= level < 1,  # no more can be wrong with a point that is dark
        rule="0 or more, and below 1",
        drawn=True,
        where="element",
    ),
    *SURFACE_ERRORS,
)

#: The perturbations by name.
KINDS: dict[str, Imperfection] = {kind.name: kind for kind in _ALL}
