"""Errors of a traced lens: radii, thicknesses and glasses that are off, parts beside the axis.

::

    CompoundLens ──radius of 3──► OffDesign ──tilt of element 1──► OffDesign ──traced──► wavefronts
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from joint.system import ImagingSystem
from optics import CompoundLens, CompoundPupil, Surface, glass_index, misalign
from optics.quantity import index_of, whole_number
from optics.rays.compound_imaging import compound_pupil_in

from .imperfection import Imperfection, in_any_direction, pupil_of

__all__ = ["SURFACE_ERRORS", "OffDesign", "SurfaceError", "surface_error"]

SurfaceError: TypeAlias = Literal[
    "radius",
    "thickness",
    "index",
    "surface_decentre",
    "surface_tilt",
    "element_decentre",
    "element_tilt",
]

# A surface or an element, or the first and the last one of a group.
_Part: TypeAlias = int | tuple[int, int]

_UNITS: dict[SurfaceError, str] = {
    "radius": "fraction",
    "thickness": "metres",
    "index": "1",
    "surface_decentre": "micrometres",
    "surface_tilt": "arc minutes",
    "element_decentre": "micrometres",
    "element_tilt": "arc minutes",
}
_WITH: dict[SurfaceError, str] = {
    "radius": "of glass that is curved",
    "thickness": "of glass, or the stop in air, that another one follows at a distance",
    "index": "where another glass begins",
    "surface_decentre": "of glass that is curved, or is the stop",
    "surface_tilt": "of glass",
    "element_decentre": "of glass, between air and air",
    "element_tilt": "of glass, between air and air",
}
# Refractive indices of a Surface.
_INDEX = 1.0, 5.0
_MICROMETRE, _ARC_MINUTE = 1e-6, math.pi / (180 * 60)
# Arc minutes, beyond which rays are hardly found any more.
_LARGEST_TILT = 600


class OffDesign(nn.Module):
    """A lens as it was made: surfaces are off, and the sensor is where the design has it.

    That is at its distance behind the last surface, so that the whole grows with a thickness.

    Neither focal length nor focus is corrected, as they are while a :class:`CompoundLens` trains.

    Parameters
    ----------
    design : CompoundLens or OffDesign
    change : callable
        From the surfaces of the design to those that were made.
    """

    def __init__(
        self,
        design: "CompoundLens | OffDesign",
        change: Callable[[tuple[Surface, ...]], tuple[Surface, ...]],
    ) -> None:
        super().__init__()
        self.design, self.change = design, change

    @property
    def surfaces(self) -> tuple[Surface, ...]:
        """All surfaces, as made."""
        return self.change(self.design.surfaces)

    def penalty(self) -> Tensor:
        """That of the design, see :meth:`optics.CompoundLens.penalty`."""
        return self.design.penalty()

    @property
    def wavelength(self) -> float:
        """That of the design, metres."""
        return self.design.wavelength

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


def surface_error(name: SurfaceError, surface: int | tuple[int, int]) -> Imperfection:
    """Error of one surface or element of a traced lens, or of a group of them as a whole.

    The ``name`` alone, as a key of the limits, is that of each surface on its own: ``radius.0``,
    ``radius.1``, ..., each of a level of its own. So it is of each element: ``element_tilt.0`` is
    the first glass between air and air, of two surfaces, or more if it is cemented.

    A decentre and a tilt have a random direction, and the level is their size: a tolerance of them
    is the radius of a circle. They may be of a group, as a half of the lens in its cell, with the
    stop and the air in it: ``surface_error("element_tilt", (0, 1))``, called ``element_tilt.0-1``;
    of surfaces, ``surface_tilt.1-2`` is the front glass of a doublet with its cement. The shift of
    the picture is no loss: the light of each place is measured from its chief ray at the middle
    wavelength, as that of the design. The focus is not corrected.

    Parameters
    ----------
    name : str
        "radius", a fraction of its radius of curvature; "thickness", the distance to the next
        part, a surface of glass or the stop in air, metres; "index", the refractive index of the
        glass that begins there, the same at all wavelengths. A glass with a stop or another plane
        in it is one piece, of one index and one thickness: it is named after its first surface, and
        what is in it stays at its share of the way. What lies behind a distance that is off moves
        with it: the sensor stays where the design has it behind the last surface.
        "surface_decentre", its vertex beside the axis, micrometres; "surface_tilt", about its
        vertex, arc minutes; "element_decentre" and "element_tilt", the same of an element, which
        turns about the vertex of its first surface, and takes a stop with it that it bears. A
        thickness with which surfaces would change their order is refused, and so is an index that
        is not 1 to 5; glass that touches when it is tilted or decentred is not noticed.
    surface : int or (int, int)
        Its number, from 0; of an element, that of the element. Of a decentre or a tilt also the
        first and the last one of a group, which turns about the vertex of its first surface.

    Returns
    -------
    Imperfection
        Its name is such as ``radius.0``.

    Raises
    ------
    ValueError
        For another name, a number below 0, or a group that cannot be.
    """
    if name not in get_args(SurfaceError):
        raise ValueError(f"name must be one of {', '.join(get_args(SurfaceError))}, not {name!r}")
    if not isinstance(surface, tuple | list):
        return _error(name, whole_number("surface", surface, least=0))
    ends = [end for end in map(index_of, surface) if end is not None]
    if not name.endswith(("decentre", "tilt")):
        raise ValueError(f"{name} is one surface's own: only decentres and tilts are of a group")
    if not (len(ends) == len(surface) == 2 and 0 <= ends[0] < ends[1]):
        raise ValueError(f"surface must be a number, or the first and the last, not {surface!r}")
    return _misaligned(name, (ends[0], ends[1]))


def _lens(system: ImagingSystem) -> CompoundPupil | None:
    """The pupil of a traced lens, where the front end has one."""
    pupil = pupil_of(system)
    return None if pupil is None else compound_pupil_in(pupil)


def _able(name: SurfaceError, system: ImagingSystem) -> tuple[int, ...]:
    """Numbers of the surfaces that can have such an error."""
    element = _lens(system)
    if element is None:
        return ()
    surfaces = element.lens.surfaces
    if name in ("element_decentre", "element_tilt"):
        return tuple(range(len(_elements_of(surfaces))))
    last = len(surfaces) - 1
    before = (None, *(surface.material for surface in surfaces))
    parts = _parts(surfaces)

    def refracts(k: int, surface: Surface) -> bool:
        return surface.material != before[k]

    def bends(k: int, surface: Surface) -> bool:
        curved = bool(surface.curvature != 0) or len(surface.aspheric) > 0
        return curved and refracts(k, surface)

    can: dict[SurfaceError, Callable[[int, Surface], bool]] = {
        "radius": lambda k, s: bool(s.curvature != 0) and refracts(k, s),
        # The last one is the focus.
        "thickness": lambda k, _: (
            k in parts and parts[k][-1] < last and _length(surfaces, parts[k]) != 0
        ),
        "index": lambda k, s: s.material is not None and refracts(k, s),
        # A plane is the same where it is moved.
        "surface_decentre": lambda k, s: bends(k, s) or s.stop,
        "surface_tilt": refracts,
    }
    return tuple(k for k, surface in enumerate(surfaces) if can[name](k, surface))


def _has(name: SurfaceError, part: _Part, system: ImagingSystem) -> bool:
    """Whether a surface, an element or a group of them can have such an error."""
    if isinstance(part, int):
        return part in _able(name, system)
    # The ends of a group may be what cannot have it alone: a plane of glass, or the stop.
    both: tuple[SurfaceError, ...] = ("surface_decentre", "surface_tilt")
    names = both if name in both else (name,)
    return {*part} <= {end for each in names for end in _able(each, system)}


def _parts(surfaces: Sequence[Surface]) -> dict[int, range]:
    """Surfaces that have one glass, or one way in air, behind them, by the first of each.

    Such begin at what a lens maker puts at a distance: surfaces of glass, and the stop in air, but
    not a plane that only marks a place, nor the stop within a glass.
    """
    before = (None, *(surface.material for surface in surfaces))
    starts = [
        k
        for k, surface in enumerate(surfaces)
        if surface.material != before[k] or (surface.stop and surface.material is None)
    ]
    ends = (*starts[1:], len(surfaces))
    return {start: range(start, end) for start, end in zip(starts, ends, strict=False)}


def _length(surfaces: Sequence[Surface], part: range) -> float:
    """Thickness of a glass, or the way in air to the next part, metres."""
    ways = [torch.as_tensor(surfaces[number].thickness).detach() for number in part]
    return sum(map(float, ways))


def _elements_of(surfaces: Sequence[Surface]) -> tuple[tuple[int, int], ...]:
    """First and last surface of each glass, or cemented glasses, between air and air."""
    found: list[tuple[int, int]] = []
    first = None
    for number, surface in enumerate(surfaces):
        if surface.material is not None:
            first = number if first is None else first
        elif first is not None:
            found.append((first, number))
            first = None
    return tuple(found)


def _made(
    name: SurfaceError, number: int, level: float, surfaces: tuple[Surface, ...]
) -> tuple[Surface, ...]:
    """Surfaces of which one has an error, or a part that begins with it."""
    made = list(surfaces)
    if name == "radius":
        made[number] = made[number]._replace(curvature=made[number].curvature / (1 + level))
        return tuple(made)
    part = _parts(surfaces)[number]
    for each in part:
        surface = made[each]
        if name == "thickness":
            share = _length(surfaces, range(each, each + 1)) / _length(surfaces, part)
            made[each] = surface._replace(thickness=surface.thickness + level * share)
        else:
            made[each] = surface._replace(index_error=surface.index_error + level)
    return tuple(made)


def _moved(
    name: SurfaceError,
    part: _Part,
    level: tuple[float, float],
    surfaces: tuple[Surface, ...],
) -> tuple[Surface, ...]:
    """Surfaces of which one, an element or a group of them is decentred or tilted."""
    which = first, last = (part, part) if isinstance(part, int) else part
    if name.startswith("element"):
        elements = _elements_of(surfaces)
        which = elements[first][0], elements[last][1]
    x, y = level
    if name.endswith("tilt"):
        return misalign(surfaces, which, tilt=(x * _ARC_MINUTE, y * _ARC_MINUTE))
    return misalign(surfaces, which, decentre=(x * _MICROMETRE, y * _MICROMETRE))


def _check_gap(number: int, surfaces: Sequence[Surface], level: float) -> None:
    """Raise a ValueError for surfaces that would change their order."""
    part = _parts(surfaces)[number]
    gap = _length(surfaces, part)
    if gap * (gap + level) <= 0:
        raise ValueError(
            f"thickness.{number} cannot be {level:g} metres: surface {part.stop} is {gap:g} "
            f"behind surface {number}, and would not be behind it any more"
        )


def _check_index(number: int, element: CompoundPupil, level: float) -> None:
    """Raise a ValueError for a glass that would be none."""
    surface = element.lens.surfaces[number]
    light = torch.tensor(element.wavelengths, dtype=torch.float64)
    design = glass_index(surface.material, light) + surface.index_error
    made = design + level
    low, high = _INDEX
    if float(made.min()) < low or float(made.max()) > high:
        raise ValueError(
            f"index.{number} cannot be {level:g}: the index of the glass behind surface {number} "
            f"is {float(design.min()):.4g}, and would not be {low:g} to {high:g} any more"
        )


def _error(name: SurfaceError, number: int | None = None) -> Imperfection:
    """Of one surface or element, or of each that can have it."""
    if name.endswith(("decentre", "tilt")):
        return _misaligned(name, number)

    def change(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
        element = _lens(camera)
        assert element is not None
        for one in _able(name, camera) if number is None else (number,):
            if name == "thickness":
                _check_gap(one, element.lens.surfaces, level)
            if name == "index":
                _check_index(one, element, level)
            _put_off(element, partial(_made, name, one, level))

    def levels(system: ImagingSystem) -> tuple[float, ...]:
        unit = _focal_length(system) if name == "thickness" else 1.0
        return tuple(unit * level for level in (-3e-3, -1e-3, 0.0, 1e-3, 3e-3))

    kind = _kind(name, number, change)
    return replace(
        kind,
        levels=levels,
        allowed=(lambda level: level > -1) if name == "radius" else kind.allowed,
        rule="above -1" if name == "radius" else kind.rule,
    )


def _misaligned(name: SurfaceError, part: _Part | None) -> Imperfection:
    """A decentre or a tilt in a random direction, shared out over x and y."""
    tilt = name.endswith("tilt")

    def along(axis: int) -> Imperfection:
        def change(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
            element = _lens(camera)
            assert element is not None
            both = (level, 0.0) if axis == 0 else (0.0, level)
            for one in _able(name, camera) if part is None else (part,):
                _put_off(element, partial(_moved, name, one, both))

        return replace(_kind(name, part, change), name="xy"[axis], each=None)

    x, y = along(0), along(1)

    def levels(system: ImagingSystem) -> tuple[float, ...]:
        if tilt:
            return (0.0, 1.0, 3.0, 10.0)
        unit = _focal_length(system) / _MICROMETRE
        return tuple(unit * level for level in (0.0, 3e-4, 1e-3, 3e-3))

    return replace(
        _kind(name, part),
        levels=levels,
        allowed=lambda level: 0 <= level <= (_LARGEST_TILT if tilt else math.inf),
        rule=f"0 to {_LARGEST_TILT}" if tilt else "0 or more",
        drawn=True,
        circular=True,
        shared=in_any_direction(x, y),
    )


def _kind(
    name: SurfaceError,
    part: _Part | None,
    change: Callable[[ImagingSystem, float, int, torch.Generator], None] = lambda *_: None,
) -> Imperfection:
    """What all errors of a traced lens have in common."""

    def fits(system: ImagingSystem, _: int) -> bool:
        return len(_able(name, system)) > 0 if part is None else _has(name, part, system)

    one, several = ("an element", "elements") if name[0] == "e" else ("a surface", "surfaces")
    if isinstance(part, tuple):
        number = f"{part[0]}-{part[1]}"
        which = f"{several} {part[0]} and {part[1]} of glass"
    else:
        number = part
        which = f"{one} {'' if number is None else f'{number} '}{_WITH[name]}"
    return Imperfection(
        name if number is None else f"{name}.{number}",
        _UNITS[name],
        change,
        f"it needs a traced lens, as of optics.compound_imaging, with {which}",
        fits,
        each=partial(_one_by_one, name) if part is None else None,
        where="element",
    )


def _put_off(
    element: CompoundPupil, change: Callable[[tuple[Surface, ...]], tuple[Surface, ...]]
) -> None:
    """Let the lens be another one than its design."""
    element.add_module("lens", OffDesign(element.lens, change))


def _focal_length(system: ImagingSystem) -> float:
    """Of the traced lens, metres."""
    element = _lens(system)
    assert element is not None
    return element.lens.focal_length


def _one_by_one(name: SurfaceError, system: ImagingSystem) -> tuple[Imperfection, ...]:
    return tuple(_error(name, number) for number in _able(name, system))


#: Each surface or element on its own.
SURFACE_ERRORS = tuple(_error(name) for name in get_args(SurfaceError))
