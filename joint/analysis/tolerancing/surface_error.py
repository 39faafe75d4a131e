"""Errors of the surfaces of a traced lens: radii, thicknesses and glasses that are off.

::

    CompoundLens ──radius of 3──► OffDesign ──index of 5──► OffDesign ──traced──► wavefronts
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from joint.system import ImagingSystem
from optics import CompoundLens, CompoundPupil, Surface
from optics.quantity import whole_number

from .imperfection import Imperfection, pupil_of

__all__ = ["SURFACE_ERRORS", "OffDesign", "SurfaceError", "surface_error"]

SurfaceError: TypeAlias = Literal["radius", "thickness", "index"]

_UNITS = {"radius": "fraction", "thickness": "metres", "index": "of the index"}
_WITH = {
    "radius": "of glass that is curved",
    "thickness": "that another one follows",
    "index": "with glass behind it",
}


class OffDesign(nn.Module):
    """A lens as it was made: one surface is off, and the image stays where the design has it.

    Neither focal length nor focus is corrected, as they are while a :class:`CompoundLens` trains.

    Parameters
    ----------
    design : CompoundLens or OffDesign
    number : int
        Of the surface, from 0.
    change : callable
        From the surface of the design to the one that was made.
    """

    def __init__(
        self,
        design: "CompoundLens | OffDesign",
        number: int,
        change: Callable[[Surface], Surface],
    ) -> None:
        super().__init__()
        self.design, self.number, self.change = design, number, change

    @property
    def surfaces(self) -> tuple[Surface, ...]:
        """All surfaces, as made."""
        found = [*self.design.surfaces]
        found[self.number] = self.change(found[self.number])
        return tuple(found)

    def penalty(self) -> Tensor:
        """That of the design, see :meth:`optics.CompoundLens.penalty`."""
        return self.design.penalty()

    @property
    def object_distance(self) -> float:
        """That of the design, metres."""
        return self.design.object_distance

    @property
    def focal_length(self) -> float:
        """That of the design, metres."""
        return self.design.focal_length

    @property
    def f_number(self) -> float:
        """That of the design."""
        return self.design.f_number


def surface_error(name: SurfaceError, surface: int) -> Imperfection:
    """Error of one surface of a traced lens.

    The ``name`` alone, as a key of the limits, is that of each surface on its own: ``radius.0``,
    ``radius.1``, ..., each of a level of its own.

    Parameters
    ----------
    name : {"radius", "thickness", "index"}
        Its radius of curvature, as a fraction of it; the distance to the next surface, metres; the
        refractive index behind it, the same at all wavelengths. A device whose surfaces would
        change their order is refused.
    surface : int
        Its number, from 0.

    Returns
    -------
    Imperfection
        Its name is such as ``radius.0``.

    Raises
    ------
    ValueError
        For another name, or a number below 0.
    """
    if name not in get_args(SurfaceError):
        raise ValueError(f"name must be one of {', '.join(get_args(SurfaceError))}, not {name!r}")
    return _error(name, whole_number("surface", surface, least=0))


def _lens(system: ImagingSystem) -> CompoundPupil | None:
    """The pupil of a traced lens, where the front end has one."""
    pupil = pupil_of(system)
    parts: Iterable[nn.Module] = () if pupil is None else pupil.elements.modules()
    return next((part for part in parts if isinstance(part, CompoundPupil)), None)


def _able(name: SurfaceError, system: ImagingSystem) -> tuple[int, ...]:
    """Numbers of the surfaces that can have such an error."""
    element = _lens(system)
    if element is None:
        return ()
    surfaces = element.lens.surfaces
    last = len(surfaces) - 1
    before = (None, *(surface.material for surface in surfaces))
    can: dict[SurfaceError, Callable[[int, Surface], bool]] = {
        "radius": lambda k, s: bool(s.curvature != 0) and s.material != before[k],
        # The last one is the focus.
        "thickness": lambda k, s: k < last and bool(s.thickness != 0),
        "index": lambda k, s: s.material is not None,
    }
    return tuple(k for k, surface in enumerate(surfaces) if can[name](k, surface))


def _made(name: SurfaceError, level: float, surface: Surface) -> Surface:
    match name:
        case "radius":
            return surface._replace(curvature=surface.curvature / (1 + level))
        case "thickness":
            return surface._replace(thickness=surface.thickness + level)
        case _:
            return surface._replace(index_error=surface.index_error + level)


def _check_gap(number: int, surface: Surface, level: float) -> None:
    """Raise a ValueError for surfaces that would change their order."""
    gap = float(surface.thickness)
    if gap * (gap + level) <= 0:
        raise ValueError(
            f"thickness.{number} cannot be {level:g} metres: surface {number + 1} is {gap:g} "
            f"behind surface {number}, and would not be behind it any more"
        )


def _error(name: SurfaceError, number: int | None = None) -> Imperfection:
    """Of one surface, or of each that can have it."""

    def change(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
        element = _lens(camera)
        assert element is not None
        for one in _able(name, camera) if number is None else (number,):
            if name == "thickness":
                _check_gap(one, element.lens.surfaces[one], level)
            made = OffDesign(element.lens, one, partial(_made, name, level))
            element.add_module("lens", made)

    def fits(system: ImagingSystem, _: int) -> bool:
        able = _able(name, system)
        return len(able) > 0 if number is None else number in able

    def levels(system: ImagingSystem) -> tuple[float, ...]:
        unit = 1.0
        if name == "thickness":
            element = _lens(system)
            assert element is not None
            unit = element.lens.focal_length
        return tuple(unit * level for level in (-3e-3, -1e-3, 0.0, 1e-3, 3e-3))

    which = f"a surface {'' if number is None else f'{number} '}{_WITH[name]}"
    return Imperfection(
        name if number is None else f"{name}.{number}",
        _UNITS[name],
        change,
        f"it needs a traced lens, as of optics.compound_imaging, with {which}",
        fits,
        levels,
        allowed=(lambda level: level > -1) if name == "radius" else (lambda _: True),
        rule="above -1" if name == "radius" else "finite numbers",
        each=partial(_one_by_one, name) if number is None else None,
        where="element",
    )


def _one_by_one(name: SurfaceError, system: ImagingSystem) -> tuple[Imperfection, ...]:
    return tuple(_error(name, number) for number in _able(name, system))


#: Each surface on its own.
SURFACE_ERRORS = tuple(_error(name) for name in get_args(SurfaceError))
