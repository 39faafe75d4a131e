"""Surfaces of revolution of a lens, one behind the other, and the glass between them.

All have one axis, but for those with a decentre or a tilt.

::

    sag z(r) = c r^2 / (1 + sqrt(1 - (1 + k) c^2 r^2)) + a4 r^4 + a6 r^6 + ...
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, TypeGuard

import numpy as np
import torch
from torch import Tensor

from optics.material import LINE_C, LINE_D, LINE_F, MATERIALS, refractive_index
from optics.quantity import check_finite, check_positive, check_scalar, looked_at

__all__ = [
    "Glass",
    "Surface",
    "as_surfaces",
    "checked_pair",
    "glass_index",
    "has_rim",
    "indices_of",
    "slope_and_sag",
    "stop_of",
    "surface_sag",
]

Glass: TypeAlias = str | float | tuple[float, float] | None

# Refractive indices between which a glass, a crystal or a polymer lies.
_LOWEST, _HIGHEST = 1.0, 5.0
_NUMBERS = (
    ("curvature", "1/metres"),
    ("thickness", "metres"),
    ("conic", ""),
    ("semi_diameter", "metres"),
    ("index_error", ""),
)
# Of 1 - (1 + k) c^2 r^2, below which a surface ends: its slope there is 3e5.
_END = 1e-11


class Surface(NamedTuple):
    """A surface of revolution about the axis, and what follows it. Tensors are scalars."""

    curvature: float | Tensor = 0.0
    """1 / radius, 1/metres: positive where its centre lies behind it; 0 is a plane."""
    thickness: float | Tensor = 0.0
    """Along the axis to the next surface, metres; of the last one to the image."""
    material: Glass = None
    """Behind it: a name of :data:`optics.MATERIALS`, an index of all wavelengths, or ``(n_d,
    V_d)``, index and Abbe number of the line d; None is air, as an index of 1 is."""
    semi_diameter: float | Tensor = math.inf
    """Radius of its rim, metres, beyond which light is cut off; that of the stop is needed."""
    conic: float | Tensor = 0.0
    """Conic constant k: 0 is a sphere, -1 a paraboloid."""
    aspheric: Sequence[float] | Tensor = ()
    """Coefficients ``a4, a6, ...`` of r^4, r^6, ..., 1/metres^3, 1/metres^5, ...; ``[K]``."""
    stop: bool = False
    """Whether its rim is the aperture stop."""
    index_error: float = 0.0
    """Deviation of the index behind it from that of the material, as of a melt, the same at all
    wavelengths; 0 in air."""
    decentre: tuple[float | Tensor, float | Tensor] = (0.0, 0.0)
    """Place of its vertex beside the axis, x and y, metres; paraxial numbers know nothing of it."""
    tilt: tuple[float | Tensor, float | Tensor] = (0.0, 0.0)
    """Turn about its vertex, radians: about x, then about the y that has turned with it, see
    :func:`misalign`; paraxial numbers know nothing of it."""

    @property
    def is_aligned(self) -> bool:
        """Whether it is one of revolution about the axis of the lens, whatever is trained."""
        numbers = (*self.decentre, *self.tilt)
        return not any(isinstance(value, Tensor) or value != 0 for value in numbers)


def glass_index(material: Glass, wavelength: float | Tensor) -> Tensor:
    """Refractive index of what a :class:`Surface` has behind it.

    A glass of ``(n_d, V_d)`` follows Cauchy's formula ``n = A + B / lambda^2`` through its index at
    the line d and with its difference between the lines F and C, ``(n_d - 1) / V_d`` (A. L. Cauchy,
    1836): of SCHOTT's glasses it is right to 6e-4 in 450 to 700 nm.

    Parameters
    ----------
    material : str, float, (float, float) or None
        As of a :class:`Surface`.
    wavelength : float or Tensor of any shape, metres
        In vacuum.

    Returns
    -------
    Tensor, float64, of the shape of ``wavelength``

    Raises
    ------
    TypeError
        For what is no material.
    ValueError
        For a name that is not known, an index that is not 1 to 5, or an Abbe number that is not
        positive.
    """
    _check_material("material", material)
    light = torch.as_tensor(wavelength, dtype=torch.float64)
    if material is None:
        return torch.ones_like(light)
    if isinstance(material, str):
        return refractive_index(material, light)
    if isinstance(material, tuple):
        index, abbe = material
        per_square = (index - 1) / abbe / (LINE_F**-2 - LINE_C**-2)
        return index + per_square * (light**-2 - LINE_D**-2)
    return torch.full_like(light, material)


def indices_of(surfaces: Sequence[Surface], wavelength: Tensor) -> list[Tensor]:
    """Indices before the first surface and behind each, ``[...]`` of the wavelengths."""
    behind = [glass_index(s.material, wavelength) + s.index_error for s in surfaces]
    return [glass_index(None, wavelength), *behind]


def surface_sag(surface: Surface, radius: Tensor) -> Tensor:
    """Height of a surface over its vertex along the axis (ISO 10110-12).

    Parameters
    ----------
    surface : Surface
    radius : Tensor of any shape, metres
        Distance from the axis.

    Returns
    -------
    Tensor, float64, of the shape of ``radius``, metres
        Of a conic beyond its end, the plane of its vertex.

    Raises
    ------
    TypeError, ValueError
        When this is no surface, or the radius no Tensor.
    """
    (surface,) = as_surfaces([surface])
    return slope_and_sag(surface, radius.double().square())[1]


def slope_and_sag(surface: Surface, square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``2 dz / d(r^2)``, the sag and whether there is any, of the squares of distances.

    The slope along the radius r is the first times r. Beyond the end of a conic both are those of
    its polynomial alone.
    """
    curvature = surface.curvature
    under = 1 - (1 + surface.conic) * curvature**2 * square
    there = under > _END
    root = torch.where(there, under, 1.0).sqrt()
    sag = torch.where(there, curvature * square / (1 + root), 0.0)
    slope = torch.where(there, curvature / root, 0.0)
    power = square
    for number, coefficient in enumerate(surface.aspheric, start=2):
        slope = slope + 2 * number * coefficient * power
        power = power * square
        sag = sag + coefficient * power
    return slope, sag, there


def stop_of(surfaces: Sequence[Surface]) -> int:
    """Number of the stop among the surfaces, from 0."""
    return next(number for number, surface in enumerate(surfaces) if surface.stop)


def has_rim(surface: Surface) -> bool:
    """Whether a surface ends somewhere."""
    return isinstance(surface.semi_diameter, Tensor) or surface.semi_diameter < math.inf


def as_surfaces(surfaces: object, *, whole: bool = False) -> tuple[Surface, ...]:
    """Surfaces whose tensors are float64, checked; of a ``whole`` lens also for one stop.

    An index of 1 is air, None. A TypeError for what is no sequence of them, a ValueError that names
    the surface and the field.
    """
    if not isinstance(surfaces, Sequence) or isinstance(surfaces, Surface):
        raise TypeError(
            f"surfaces must be a sequence of optics.Surface, not {type(surfaces).__name__}"
        )
    if not len(surfaces):
        raise ValueError("surfaces must be one optics.Surface or more, not none")
    found = tuple(_checked(number, surface) for number, surface in enumerate(surfaces))
    if not whole:
        return found
    stops = [number for number, surface in enumerate(found) if surface.stop]
    if len(stops) != 1 or not has_rim(found[stops[0]]):
        raise ValueError(
            "one of the surfaces must be the stop, with stop=True and a finite semi_diameter, not "
            f"{stops or 'none'} of {len(found)}; optics.set_stop finds it of an f-number"
        )
    return found


def _checked(number: int, surface: object) -> Surface:
    if not isinstance(surface, Surface):
        raise TypeError(f"surface {number} must be an optics.Surface, not {surface!r}")
    numbers = {}
    for name, unit in _NUMBERS:
        value = getattr(surface, name)
        where = f"{name} of surface {number}"
        check_scalar(where, value, unit)
        if name == "semi_diameter":
            if isinstance(value, Tensor) or value != math.inf:
                check_positive(where, value, unit)
        else:
            check_finite(where, value, unit)
        numbers[name] = _number(value)
    aspheric = surface.aspheric
    if isinstance(aspheric, Tensor):
        if aspheric.ndim != 1:
            raise ValueError(
                f"aspheric of surface {number} must be [K], a4, a6, ..., not "
                f"{tuple(aspheric.shape)}"
            )
        numbers["aspheric"] = aspheric.double().unbind()
    else:
        if isinstance(aspheric, str) or not isinstance(aspheric, Sequence):
            raise TypeError(
                f"aspheric of surface {number} must be a sequence a4, a6, ..., not {aspheric!r}"
            )
        numbers["aspheric"] = tuple(
            value.double() if isinstance(value, Tensor) else float(value) for value in aspheric
        )
    for value in numbers["aspheric"]:
        check_finite(f"aspheric of surface {number}", value, "1/metres^3, ...")
    _check_material(f"material of surface {number}", surface.material)
    bend = numbers["curvature"]
    if not isinstance(bend, Tensor) or looked_at(bend):
        size = abs(float(bend.detach() if isinstance(bend, Tensor) else bend))
        if size > 1e5:
            raise ValueError(
                f"curvature of surface {number} must be 1/metres, not {size:g}: a radius of 20 mm "
                "is a curvature of 50"
            )
    material = surface.material
    air = (material[0] if isinstance(material, tuple) else material) in (None, 1)
    if air and surface.index_error != 0:
        raise ValueError(
            f"index_error of surface {number} must be 0 in air, not {surface.index_error:g}: give "
            "a material"
        )
    for name in ("decentre", "tilt"):
        numbers[name] = checked_pair(name, getattr(surface, name), f" of surface {number}")
    return surface._replace(**numbers, material=None if air else material)


def checked_pair(name: str, pair: object, where: str = "") -> tuple[float | Tensor, float | Tensor]:
    """A decentre or tilt of two finite numbers, in a sequence, a Tensor or an array.

    Tensors of one element become float64 scalars.
    """
    unit = "radians" if name == "tilt" else "metres"
    values = tuple(pair) if isinstance(pair, Tensor | np.ndarray) and pair.ndim == 1 else pair
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != 2:
        raise TypeError(f"{name}{where} must be two numbers, x and y, {unit}, not {pair!r}")
    for axis, value in zip("xy", values, strict=True):
        check_scalar(f"{name}{where}, {axis},", value, unit)
        check_finite(f"{name}{where}, {axis},", value, unit)
        if name == "tilt" and (not isinstance(value, Tensor) or looked_at(value)):
            turn = float(value.detach() if isinstance(value, Tensor) else value)
            if abs(turn) >= math.pi / 2:
                raise ValueError(
                    f"tilt{where}, {axis}, must be radians, below pi / 2, not {turn:g}: an arc "
                    "minute is 2.9e-4"
                )
    return _number(values[0]), _number(values[1])


def _number(value: float | Tensor) -> float | Tensor:
    return value.double().reshape(()) if isinstance(value, Tensor) else float(value)


def _check_material(name: str, material: object) -> None:
    if material is None or (isinstance(material, str) and material in MATERIALS):
        return
    if isinstance(material, str):
        refractive_index(material, LINE_D)  # which names the nearest
    if isinstance(material, tuple) and len(material) != 2:
        raise TypeError(f"{name} must be (n_d, V_d), not {material!r}")
    index, abbe = material if isinstance(material, tuple) else (material, 1.0)
    if not (_is_plain(index) and _is_plain(abbe)):
        raise TypeError(
            f"{name} must be a name of optics.MATERIALS, an index, (n_d, V_d), or None for air, "
            f"not {material!r}"
        )
    if not (_LOWEST <= index <= _HIGHEST and 0 < abbe < math.inf):
        raise ValueError(
            f"{name} must have an index from 1 to 5 and an Abbe number above 0, not {material}"
        )


def _is_plain(value: object) -> TypeGuard[float]:
    """Whether it is a number that a file of a lens may hold; True is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
