"""Elements and a sensor that are not where they should be: decentred, turned, tilted."""

import math
from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Literal, TypeAlias, get_args

import torch
from torch import nn

from classify.data.arrays import as_integer
from joint.system import ImagingSystem
from optics import Element, IncoherentImaging, PhaseElement, Pupil

from .disturbed import MovedElement, MovedPhase, Seat, Tilted
from .imperfection import Imperfection, diameter_of, in_any_direction, pupil_of

__all__ = [
    "DECENTRES",
    "TILTS",
    "TURNS",
    "Alignment",
    "alignment",
    "can_turn",
    "move_elements",
    "one_by_one",
]

Alignment: TypeAlias = Literal["decentre", "decentre_y", "decentre_radial", "rotation"]

_AXES: tuple[Alignment, Alignment] = ("decentre", "decentre_y")
_SHIFTS = {"decentre": "shift", "decentre_y": "shift_y"}

#: Degrees that are swept where none are given.
TURNS = (0.0, 2.0, 5.0, 10.0, 30.0)

# Beyond it, a picture is foreshortened by more than 1.5 %, which is not computed.
_LARGEST_TILT = 10


def move_elements(pupil: Pupil, by: Seat, which: Collection[int] | None = None) -> None:
    """Turn elements about the axis, then move them, also those that sit askew already.

    They move together, as one: those of the numbers ``which``, or all of the pupil.

    What differs from place to place of the picture is that of a lens of revolution, which is the
    same lens when it is turned: its wavefronts are moved, but stay as they are about their middles.
    A traced lens stays: it carries its stop with it, and only the picture would move.
    """
    elements: list[Element] = []
    for number, element in enumerate(pupil.elements):
        assert isinstance(element, Element)
        if (which is not None and number not in which) or _whole(element):
            elements.append(element)
            continue
        seat, inner = by, element
        if isinstance(element, MovedPhase | MovedElement):
            # In one step, so that the samples are interpolated once.
            seat, inner = by.after(element.seat), element.inner
        if not _same(inner):
            seat = seat._replace(angle=0.0)
        if isinstance(inner, PhaseElement):
            elements.append(MovedPhase(inner, seat))
        else:
            elements.append(MovedElement(inner, seat))
    pupil.elements = nn.ModuleList(elements)


def can_turn(system: ImagingSystem) -> bool:
    """Whether a pupil has an element that a turn changes: not that of a lens of revolution."""
    return len(_movable("rotation", system)) > 0


def _same(element: nn.Module) -> bool:
    """Whether an element is the same for all places of the picture."""
    parts = (part for part in element.modules() if isinstance(part, Element))
    return all(part.places is None for part in parts)


def _whole(element: nn.Module) -> bool:
    """Whether an element is a whole lens, with its stop: an optics.CompoundPupil."""
    parts = (part for part in element.modules() if isinstance(part, Element))
    return any(part.whole_lens() is not None for part in parts)


def alignment(
    name: Alignment, elements: int | Iterable[int] | None = None, *, title: str | None = None
) -> Imperfection:
    """Elements of the pupil that are decentred or turned together, as one mount holds them.

    ::

        rear = alignment("decentre", (1, 2))
        tolerance(system, scenes, {"decentre": 0.01, rear: 0.02})  # each, and these two as a group

    The ``name`` alone, as a key of the limits, is each element on its own: where there are several,
    ``decentre.0``, ``decentre.1``, ..., each of a level of its own.

    Parameters
    ----------
    name : {"decentre", "decentre_y", "decentre_radial", "rotation"}
        With the unit of :func:`robustness`.
    elements : int or iterable of int, optional
        Their numbers in ``pupil.elements``, from 0; by default all of them together.
    title : str, optional
        Its name in results; by default such as ``decentre.1+2``, or ``decentre.all``.

    Returns
    -------
    Imperfection

    Raises
    ------
    ValueError
        For another name, or numbers of elements that are none, below 0, or twice the same.
    """
    if name not in get_args(Alignment):
        raise ValueError(f"name must be one of {', '.join(get_args(Alignment))}, not {name!r}")
    which = None
    if elements is not None:
        given = (elements,)
        if isinstance(elements, Iterable) and as_integer(elements) is None:
            given = tuple(elements)
        which = tuple(number for number in map(as_integer, given) if number is not None)
        if not which or min(which) < 0 or len({*which}) < len(given):
            raise ValueError(
                "elements must be numbers of elements in the pupil, from 0, each once and at least "
                f"one, not {given}"
            )
    kind = _aligned(name, which)
    told = "all" if which is None else "+".join(map(str, which))
    return replace(kind, name=title or f"{name}.{told}")


def one_by_one(name: Alignment, system: ImagingSystem) -> tuple[Imperfection, ...]:
    """Each element's own, where several can be moved."""
    numbers = _movable(name, system)
    return tuple(alignment(name, number) for number in numbers) if len(numbers) > 1 else ()


def _movable(name: Alignment, system: ImagingSystem) -> tuple[int, ...]:
    """Numbers of the elements that it changes."""
    pupil = pupil_of(system)
    elements = () if pupil is None else pupil.elements
    able = _same if name == "rotation" else lambda element: not _whole(element)
    return tuple(k for k, element in enumerate(elements) if able(element))


def _aligned(name: Alignment, which: tuple[int, ...] | None = None) -> Imperfection:
    """Of these elements together, or of all."""

    def change(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
        pupil = pupil_of(camera)
        assert pupil is not None
        if name == "rotation":
            seat = Seat(angle=level)
        else:
            samples = level * diameter_of(pupil) / pupil.spacing
            seat = Seat(**{_SHIFTS[name]: samples})
        move_elements(pupil, seat, which)

    def fits(system: ImagingSystem, _: int) -> bool:
        there = _movable(name, system)
        return len(there) > 0 if which is None else {*there} >= {*which}

    wanted = "an element" if which is None else f"the elements {', '.join(map(str, which))}"
    needs = f"it needs a pupil with {wanted} in it"
    if name == "rotation":
        needs += ", which a turn changes: not that of a lens of revolution, as off_axis is one"
    else:
        needs += (
            " beside which the stop stays: not a traced lens, which carries its own stop with it, "
            "so that a decentre only moves the picture"
        )
    kind = Imperfection(
        name,
        "degrees" if name == "rotation" else "pupil diameters",
        change,
        needs,
        fits,
        lambda _: TURNS if name == "rotation" else (0.0, 0.01, 0.03, 0.1),
        where="place",
    )
    if name != "decentre_radial":
        return kind
    x, y = (_aligned(axis, which) for axis in _AXES)

    return replace(
        kind,
        allowed=lambda level: level >= 0,
        rule="0 or more",
        drawn=True,
        circular=True,
        shared=in_any_direction(x, y),
    )


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


_NEEDS_FIELD = (
    "it needs optics.IncoherentImaging(Pupil(...)), whose PSF can be refocused at each place in "
    "the picture; an optics.VaryingImaging has the PSFs of few places, a fixed PSF, a kernel, a "
    "Fourier filter and coherent imaging are shift invariant, and working distances are drawn"
)

#: Along x and y, and by a distance in a random direction, which is shared out over those two.
DECENTRES = tuple(
    replace(_aligned(name), each=partial(one_by_one, name)) for name in (*_AXES, "decentre_radial")
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
