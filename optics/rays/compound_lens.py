"""A lens of several elements whose radii, thicknesses and aspheres are trained with what follows.

::

    changes from the start ──► surfaces ──scaled to focal length, f-number, focus──► the lens

What is trained is the form of the lens. Its size is that of the camera, whatever the surfaces
become; the camera is made by ``compound_imaging``.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from optics.fourier import kept_copy
from optics.material import LINE_C, LINE_D, LINE_F
from optics.quantity import check_positive, check_wavelength, index_of, one_number

from .paraxial import FirstOrder, check_distance, first_order_of, marginal_slope
from .surface import Surface, as_surfaces, glass_index, has_rim, indices_of, slope_and_sag, stop_of

__all__ = ["CompoundLens", "fixed_surface", "is_another", "kept_wide", "lens_penalty"]

# What a raw number of 1 moves a surface by at its rim, or the focus at the rim of the pupil.
_MICROMETRE = 1e-6
_KINDS = ("curvature", "thickness", "conic", "aspheric")
# Least thicknesses of a lens that can be made, metres.
_CENTRE, _EDGE, _AIR = 1e-3, 1e-3, 1e-4


class CompoundLens(nn.Module):
    """A lens of several surfaces, of which some numbers are trained.

    Parameters
    ----------
    surfaces : sequence of Surface
        Where training starts; one of them is the stop. In air, before and behind. To go on from a
        trained lens, take its :attr:`surfaces` under ``torch.no_grad()``.
    trained : sequence of str, or dict of str to sequence of int
        Of "curvature", "thickness", "conic" and "aspheric" those that are trained: of all surfaces
        that have them, or of those with these numbers, from 0. The thickness of the last surface is
        the focus. An asphere trains the coefficients that it was given, which may be 0.
    wavelength : float, metres
        At which focal length, f-number and focus are kept.
    object_distance : float, metres
        In front of the first vertex.
    centre, edge, air : float, metres
        Least thickness of glass on the axis and at the rim, and least distance of glass from glass
        and from the image, for :meth:`penalty`, as of :func:`lens_penalty`.

    Raises
    ------
    TypeError
        For what are no surfaces, or numbers of them that are parameters; for a ``trained`` that is
        no sequence, or has none of surfaces.
    ValueError
        When none is the stop; for another name or surface, a surface twice, without what is trained
        or with a decentre or a tilt, which are errors of a lens as it was made; a wavelength not
        within 1e-9 to 1e-2 metres; a least thickness that is not positive; a lens that forms no
        real image, or one in another medium than air.

    Notes
    -----
    Parameters are the changes ``raw_curvature``, ... from the start, in micrometres: by which a
    surface moves at its rim, or at a distance of the stop's radius where it has none; of a
    thickness, by which the wavefront of the axis changes at the rim of the pupil if the image moves
    as far, ``thickness / (8 N^2)``. One learning rate, of 0.002 to 0.1, serves them all. Then the
    whole lens is scaled to its focal length, the stop opened to its f-number, and the image put as
    far from the paraxial focus as it was.
    """

    curvature: Tensor
    thickness: Tensor
    conic: Tensor
    aspheric: Tensor
    kept: Tensor
    given: Tensor

    def __init__(
        self,
        surfaces: Sequence[Surface],
        *,
        trained: Sequence[str] | Mapping[str, Sequence[int]] = ("curvature",),
        wavelength: float = LINE_D,
        object_distance: float = math.inf,
        centre: float = _CENTRE,
        edge: float = _EDGE,
        air: float = _AIR,
    ) -> None:
        super().__init__()
        as_surfaces(surfaces, whole=True)
        start = as_surfaces([fixed_surface(number, s) for number, s in enumerate(surfaces)])
        for number, surface in enumerate(start):
            if not surface.is_aligned:
                raise ValueError(
                    f"surface {number} must have no decentre or tilt: a CompoundLens is designed "
                    "about one axis, and lens_wavefronts traces it as it was made"
                )
        self.wavelength = one_number("wavelength", wavelength, "metres")
        check_wavelength("wavelength", self.wavelength)
        if float(glass_index(start[-1].material, self.wavelength)) != 1:
            raise ValueError(
                f"the image must be in air, not in {start[-1].material!r}, the material of the "
                "last surface: close the glass by a surface in front of the image"
            )
        check_distance(object_distance)
        self.object_distance = object_distance
        self.centre, self.edge, self.air = _lengths(centre=centre, edge=edge, air=air)
        self._start = start
        self.trained = _chosen(trained, start)
        for name in _KINDS[:3]:
            values = [getattr(surface, name) for surface in start]
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))
        longest = max(len(surface.aspheric) for surface in start)
        terms = [[*s.aspheric, *[0.0] * (longest - len(s.aspheric))] for s in start]
        self.register_buffer("aspheric", torch.tensor(terms, dtype=torch.float64))
        first, slope = self._numbers(start)
        focal_length, distance = float(first.focal_length), float(first.image_distance)
        if not (0 < focal_length < math.inf and 0 < distance < math.inf):
            raise ValueError(
                "the lens must form a real image behind it: its focal length is "
                f"{focal_length:g} m, and the image {distance:g} m behind the last vertex"
            )
        # Focal length, slope of the marginal ray, and how far behind its focus the image lies.
        kept = [focal_length, abs(float(slope)), start[-1].thickness - distance]
        self.register_buffer("kept", torch.tensor(kept, dtype=torch.float64))
        self.register_buffer("given", self._given())
        for name, chosen in self.trained.items():
            units = [_unit(name, start, number, self.f_number, longest) for number in chosen]
            unit = torch.tensor(units, dtype=torch.float64)
            self.register_buffer(f"unit_{name}", unit)
            raw = torch.zeros(unit.shape)
            self.register_parameter(f"raw_{name}", nn.Parameter(raw))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Aspheres overflow in single precision.
        with kept_wide(self, [name for name, _ in self.named_buffers(recurse=False)]):
            return super()._apply(fn, recurse)

    @property
    def focal_length(self) -> float:
        """Metres, kept."""
        return float(self.kept[0])

    @property
    def f_number(self) -> float:
        """Of the light of the axis, from the distance of the object; kept."""
        return 0.5 / float(self.kept[1])

    def _given(self) -> Tensor:
        """What a state must have in common with a lens: light, distance, glasses and rims."""
        lines = torch.tensor([LINE_F, LINE_D, LINE_C], dtype=torch.float64)
        glasses = [index - 1 for index in indices_of(self._start, lines)]
        rims = [math.inf if s.stop else s.semi_diameter for s in self._start]
        stop, light = stop_of(self._start), 1e6 * self.wavelength
        others = torch.tensor([stop, light, self.object_distance, *rims], dtype=torch.float64)
        return torch.cat((*glasses, others))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        """Load a state, unless it is that of another lens."""
        if is_another(state_dict.get(f"{prefix}given"), self.given):
            errors = rest[-1]
            errors.append(
                "it is the state of a lens with other glasses, rims, stop, wavelength or object "
                "distance, which a CompoundLens is built with"
            )
            return
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def surfaces(self) -> tuple[Surface, ...]:
        """The lens as it is: surfaces whose numbers are scalar tensors, with their gradient."""
        found = [list(getattr(self, name).double().unbind()) for name in _KINDS]
        for name, chosen in self.trained.items():
            moves = getattr(self, f"raw_{name}").double() * getattr(self, f"unit_{name}").double()
            values = found[_KINDS.index(name)]
            for number, move in zip(chosen, moves.unbind(), strict=True):
                values[number] = values[number] + move
        changed = [
            surface._replace(
                curvature=bend,
                thickness=way,
                conic=conic,
                aspheric=terms.unbind()[: len(surface.aspheric)],
            )
            for surface, bend, way, conic, terms in zip(self._start, *found, strict=True)
        ]
        return self._held(changed)

    def forward(self) -> tuple[Surface, ...]:
        """The :attr:`surfaces`."""
        return self.surfaces

    def penalty(self) -> Tensor:
        """How far the lens is from one that can be made, a scalar, see :func:`lens_penalty`."""
        return lens_penalty(self.surfaces, centre=self.centre, edge=self.edge, air=self.air)

    def _held(self, changed: Sequence[Surface]) -> tuple[Surface, ...]:
        """Surfaces of the focal length, f-number and focus of the start."""
        focal_length, slope, beyond = self.kept.double().unbind()
        size = focal_length / self._numbers(changed)[0].focal_length[0]
        scaled = [
            surface._replace(
                curvature=surface.curvature / size,
                thickness=surface.thickness * size,
                aspheric=[a / size ** (2 * n + 3) for n, a in enumerate(surface.aspheric)],
            )
            for surface in changed
        ]
        stop = stop_of(scaled)
        first, now = self._numbers(scaled)
        open_to = scaled[stop].semi_diameter * slope / now[0].abs()
        scaled[stop] = scaled[stop]._replace(semi_diameter=open_to)
        # What is trained of the last thickness is the focus, and not what follows from the rest.
        last = changed[-1].thickness - self.thickness[-1].double()
        image = first.image_distance[0] + beyond + last
        scaled[-1] = scaled[-1]._replace(thickness=image)
        return tuple(scaled)

    def _numbers(self, surfaces: Sequence[Surface]) -> tuple[FirstOrder, Tensor]:
        indices = indices_of(surfaces, self._light())
        given = (surfaces, indices, self.object_distance)
        return first_order_of(*given), marginal_slope(*given)

    def _light(self) -> Tensor:
        device = self.curvature.device
        return kept_copy(
            ("wavelength of a lens", self.wavelength, device),
            lambda: torch.tensor([self.wavelength], dtype=torch.float64, device=device),
        )

    def extra_repr(self) -> str:
        """Name what is kept, and what is trained."""
        return (
            f"{len(self._start)} surfaces, focal_length={self.focal_length:g} m, "
            f"f_number={self.f_number:.4g}, trained={dict(self.trained)}, "
            f"wavelength={self.wavelength:g} m, object_distance={self.object_distance:g} m, "
            f"centre={self.centre:g} m, edge={self.edge:g} m, air={self.air:g} m"
        )


@contextmanager
def kept_wide(module: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Within it another precision of a module leaves these buffers as they are.

    Only their device changes.
    """
    wide = {name: getattr(module, name) for name in names}
    yield
    for name, value in wide.items():
        made = getattr(module, name)
        if made.dtype != value.dtype:
            setattr(module, name, value.to(made.device))


def is_another(theirs: object, own: Tensor) -> bool:
    """Whether numbers of a state are there, and are others than those of the module."""
    return isinstance(theirs, Tensor) and not (
        theirs.shape == own.shape and torch.allclose(theirs.to(own), own)
    )


def lens_penalty(
    surfaces: Sequence[Surface],
    *,
    centre: float = _CENTRE,
    edge: float = _EDGE,
    air: float = _AIR,
) -> Tensor:
    """How far a lens is from one that can be made: glass and air that are too thin.

    The squares of what is missing, in parts of what is wanted, on the axis and at the smaller of
    both rims; and of ``(1 + k) c^2 r^2 - 1`` where a conic ends within its rim r, beyond which its
    sag goes on as ``c r^2``. Add it to the loss, times a weight.

    Parameters
    ----------
    surfaces : sequence of Surface
        As :attr:`CompoundLens.surfaces`. Rims that are infinite are not looked at.
    centre, edge : float, metres
        Least thickness of glass on the axis and at the rim.
    air : float, metres
        Least distance of glass from glass and from the image, on the axis and at the rim.

    Returns
    -------
    Tensor, scalar
        0 for a lens that can be made.

    Raises
    ------
    TypeError, ValueError
        For what are no surfaces, and lengths that are not positive.
    """
    surfaces = as_surfaces(surfaces)
    centre, edge, air = _lengths(centre=centre, edge=edge, air=air)
    missing = []
    for number, surface in enumerate(surfaces):
        behind = surfaces[number + 1] if number + 1 < len(surfaces) else Surface()
        glass = surface.material is not None
        way = torch.as_tensor(surface.thickness, dtype=torch.float64)
        missing.append(1 - way / (centre if glass else air))
        rims = [s.semi_diameter for s in (surface, behind) if has_rim(s)]
        if rims:
            radius = torch.stack(
                [torch.as_tensor(r, dtype=way.dtype, device=way.device) for r in rims]
            ).min()
            at_rim = way + _rim_sag(behind, radius) - _rim_sag(surface, radius)
            missing.append(1 - at_rim / (edge if glass else air))
        if has_rim(surface):
            missing.append(_beyond_end(surface, torch.as_tensor(surface.semi_diameter)).to(way))
    return torch.stack(missing).clamp_min(0).square().sum()


def _lengths(**given: float) -> tuple[float, ...]:
    """Lengths in metres; an error for one that is not a positive number."""
    for name, value in given.items():
        check_positive(name, one_number(name, value, "metres"), "metres")
    return tuple(map(float, given.values()))


def _beyond_end(surface: Surface, radius: Tensor) -> Tensor:
    """How far a distance from the axis is beyond the end of a conic; below 0 within it."""
    return (1 + surface.conic) * surface.curvature**2 * radius.double().square() - 1


def _rim_sag(surface: Surface, radius: Tensor) -> Tensor:
    """The sag, which grows on beyond the end of a conic: a stronger curve is never better."""
    square = radius.double().square()
    _, sag, there = slope_and_sag(surface, square)
    return torch.where(there, sag, sag + surface.curvature * square)


def fixed_surface(number: int, surface: Surface) -> Surface:
    """A surface whose numbers are floats; a TypeError for one that would be trained."""
    instead = (
        "numbers to train are named in trained=, and begin at a float; those of a CompoundLens are "
        "taken under torch.no_grad()"
    )
    return surface._replace(
        **{
            name: one_number(f"{name} of surface {number}", getattr(surface, name), learned=instead)
            for name in (*_KINDS[:3], "semi_diameter", "index_error")
        },
        aspheric=tuple(
            one_number(f"aspheric of surface {number}", value, learned=instead)
            for value in surface.aspheric
        ),
    )


def _chosen(
    trained: Sequence[str] | Mapping[str, Sequence[int]], surfaces: Sequence[Surface]
) -> dict[str, tuple[int, ...]]:
    """Numbers of the surfaces of which each kind of number is trained."""
    if isinstance(trained, str) or not isinstance(trained, Sequence | Mapping):
        raise TypeError(f"trained must be a sequence of {_KINDS}, or a dict, not {trained!r}")
    found = {}
    for name in trained:
        if name not in _KINDS:
            raise ValueError(f"trained must be of {_KINDS}, not {name!r}")
        able = [number for number in range(len(surfaces)) if _can(name, surfaces, number)]
        asked = trained[name] if isinstance(trained, Mapping) else able
        if isinstance(asked, str) or not isinstance(asked, Iterable):
            raise TypeError(
                f"trained must name several surfaces of {name}, such as [0, 1], not {asked!r}"
            )
        given = list(asked)
        numbers = [index for index in map(index_of, given) if index is not None]
        wrong = [number for number in given if index_of(number) not in able]
        if wrong or not given:
            raise ValueError(
                f"{name} can be trained of the surfaces {able}, not of {wrong or 'none'}: a "
                "curvature where the material changes, a conic of what is curved there, an asphere "
                "that was given coefficients, a thickness that is not 0"
            )
        if len({*numbers}) < len(numbers):
            raise ValueError(f"trained must name each surface of {name} once, not {given}")
        found[name] = tuple(numbers)
    return found


def _can(name: str, surfaces: Sequence[Surface], number: int) -> bool:
    surface = surfaces[number]
    refracts = surface.material != (surfaces[number - 1].material if number else None)
    match name:
        case "curvature":
            return refracts
        case "conic":
            return refracts and bool(surface.curvature != 0)
        case "aspheric":
            return refracts and len(surface.aspheric) > 0
        case _:
            return bool(surface.thickness != 0)


def _unit(
    name: str, surfaces: Sequence[Surface], number: int, f_number: float, terms: int
) -> float | list[float]:
    """What moves a surface by a micrometre at its rim, or the focus at that of the pupil."""
    surface = surfaces[number]
    rim = float((surface if has_rim(surface) else surfaces[stop_of(surfaces)]).semi_diameter)
    match name:
        case "curvature":
            return 2 * _MICROMETRE / rim**2
        case "conic":
            return 8 * _MICROMETRE / abs(float(surface.curvature)) ** 3 / rim**4
        case "aspheric":
            own = len(surface.aspheric)
            return [_MICROMETRE / rim ** (2 * n + 4) if n < own else 0.0 for n in range(terms)]
        case _:
            return 8 * f_number**2 * _MICROMETRE
