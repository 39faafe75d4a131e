"""The paraxial numbers of a lens, and Seidel's sums: what rays near the axis do.

::

    surfaces ──matrices of (y, n u)──► focal length, f-number, pupils, image, magnification
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from optics.quantity import check_finite, check_number, check_wavelength, one_number

from .surface import Surface, as_surfaces, indices_of, stop_of

__all__ = [
    "FirstOrder",
    "SeidelSums",
    "check_angles",
    "check_distance",
    "entrance_matrix",
    "first_order",
    "first_order_of",
    "image_scale",
    "marginal_slope",
    "seidel_sums",
    "set_stop",
    "system_matrix",
]


class FirstOrder(NamedTuple):
    """Paraxial numbers of a lens, ``[...]`` for wavelengths of that shape, float64."""

    focal_length: Tensor
    """Metres, in the medium of the image; ``[...]``."""
    back_focal_distance: Tensor
    """From the last vertex to the focus of an object at infinity, metres; ``[...]``."""
    image_distance: Tensor
    """From the last vertex to the image of the object, metres; ``[...]``."""
    magnification: Tensor
    """Of the image of an object at a finite distance; 0 for one at infinity; ``[...]``."""
    f_number: Tensor
    """Working f-number ``1 / (2 n' u')`` of the marginal ray, positive; ``[...]``."""
    entrance_pupil: Tensor
    """Image of the stop by what is before it: place behind the first vertex, metres; ``[...]``."""
    entrance_diameter: Tensor
    """Metres; ``[...]``."""
    exit_pupil: Tensor
    """Image of the stop by what is behind it: place behind the last vertex, metres; infinite where
    the image is telecentric; ``[...]``."""
    exit_diameter: Tensor
    """Metres; ``[...]``."""


class SeidelSums(NamedTuple):
    """Seidel's sums, metres, float64 ``[S, ...]``: of each surface, whose sum is the lens's.

    Their wavefronts are positive where light is ahead, as is usual for them: W of this library, of
    which light lags, is their opposite.
    """

    spherical: Tensor
    """S_I, ``-8 W040``; ``[S, ...]``."""
    coma: Tensor
    """S_II, ``-2 W131``; ``[S, ...]``."""
    astigmatism: Tensor
    """S_III, ``-2 W222``; ``[S, ...]``."""
    petzval: Tensor
    """S_IV; ``-4 W220 = S_III + S_IV``; ``[S, ...]``."""
    distortion: Tensor
    """S_V, ``-2 W311``; ``[S, ...]``."""


def first_order(
    surfaces: Sequence[Surface],
    *,
    wavelength: float | Tensor,
    object_distance: float = math.inf,
) -> FirstOrder:
    """Paraxial numbers of a lens: focal length, f-number, pupils, magnification.

    By the matrices of refraction and transfer of ``(y, n u)`` (Born and Wolf, Principles of Optics,
    sec. 4.4 and 4.8).

    Parameters
    ----------
    surfaces : sequence of Surface
        One of them the stop.
    wavelength : float or Tensor ``[...]``, metres
    object_distance : float, metres
        In front of the first vertex.

    Returns
    -------
    FirstOrder
        With gradients to the numbers of the surfaces.

    Raises
    ------
    TypeError, ValueError
        For what are no surfaces, or have no stop; a wavelength not within 1e-9 to 1e-2 metres; an
        object distance that is not positive.
    """
    surfaces = as_surfaces(surfaces, whole=True)
    check_wavelength("wavelength", wavelength)
    check_distance(object_distance)
    light = torch.as_tensor(wavelength, dtype=torch.float64)
    return first_order_of(surfaces, indices_of(surfaces, light), object_distance)


def set_stop(
    surfaces: Sequence[Surface],
    *,
    wavelength: float,
    f_number: float | None = None,
    entrance_diameter: float | None = None,
    object_distance: float = math.inf,
) -> tuple[Surface, ...]:
    """Surfaces whose stop has the size that makes a paraxial f-number or entrance pupil.

    Parameters
    ----------
    surfaces : sequence of Surface
        One of them with ``stop=True``, of any semi-diameter.
    wavelength : float, metres
    f_number : float, optional
        Working f-number.
    entrance_diameter : float, metres, optional
        Of the entrance pupil. One of the two is given.
    object_distance : float, metres

    Returns
    -------
    tuple of Surface

    Raises
    ------
    TypeError, ValueError
        As :func:`first_order`; unless one of the two is given, positive and finite; for the
        f-number of a lens that has none, as its light leaves in parallel, or the entrance pupil of
        one that is telecentric towards its object; for a stop in the image of the object.
    """
    asked = (("f_number", f_number), ("entrance_diameter", entrance_diameter))
    given = [one_number(name, value) for name, value in asked if value is not None]
    if len(given) != 1 or not 0 < given[0] < math.inf:
        raise ValueError(
            "set_stop needs one of f_number and entrance_diameter, above 0 and finite, not "
            f"{f_number} and {entrance_diameter}"
        )
    unit = [s._replace(semi_diameter=1.0) if s.stop else s for s in as_surfaces(surfaces)]
    found = first_order(unit, wavelength=wavelength, object_distance=object_distance)
    if f_number is not None:
        radius = float(found.f_number.detach()) / given[0]
        told = (
            f"f/{given[0]:g} of surfaces from which light leaves in parallel, or whose stop lies "
            "in the image of the object: give entrance_diameter, a lens with power, or another "
            "place of the stop"
        )
    else:
        radius = given[0] / float(found.entrance_diameter.detach())
        told = (
            f"an entrance pupil of {given[0]:g} m of surfaces that have it at infinity: give "
            "f_number, or another place of the stop"
        )
    if not 0 < radius < math.inf:
        raise ValueError(f"no stop makes {told}")
    return tuple(s._replace(semi_diameter=radius) if s.stop else s for s in unit)


def seidel_sums(
    surfaces: Sequence[Surface],
    *,
    wavelength: float | Tensor,
    field: float,
    object_distance: float = math.inf,
) -> SeidelSums:
    """Seidel's sums of a lens: third-order aberrations, surface by surface.

    ``S_I = -A^2 y d(u/n)``, ``S_II = -A Ac y d(u/n)``, ``S_III = -Ac^2 y d(u/n)``, ``S_IV = -H^2 c
    d(1/n)`` and ``S_V = Ac / A (S_III + S_IV)`` (W. T. Welford, Aberrations of Optical Systems,
    1986, ch. 8), with the refraction invariants A and Ac of the marginal and the chief ray; of
    conics and aspheres the parts of his sec. 8.4.

    Parameters
    ----------
    surfaces : sequence of Surface
        One of them the stop.
    wavelength : float or Tensor ``[...]``, metres
    field : float
        Angle of the object, radians, or its height, metres, where it is at a finite distance.
    object_distance : float, metres

    Returns
    -------
    SeidelSums
        Positive S_I has marginal rays cross the axis in front of the paraxial focus.

    Raises
    ------
    TypeError, ValueError
        As :func:`first_order`; for a field that is not finite, or an angle of 90 degrees or more.
    """
    surfaces = as_surfaces(surfaces, whole=True)
    check_wavelength("wavelength", wavelength)
    check_distance(object_distance)
    field = one_number("field", field, "radians or metres")
    check_angles("field", field, object_distance)
    indices = indices_of(surfaces, torch.as_tensor(wavelength, dtype=torch.float64))
    before_a, before_b, _, _ = entrance_matrix(surfaces, indices)
    near = 0.0 if math.isinf(object_distance) else 1 / object_distance
    at_stop = before_a + before_b * near
    y = surfaces[stop_of(surfaces)].semi_diameter / at_stop
    u = y * near
    # Of the chief ray: its slope where it meets the first vertex at the height h.
    slope = torch.ones_like(y) * (math.tan(field) if near == 0 else -field * near)
    yc = -before_b * slope / at_stop
    uc = slope + yc * near
    invariant = u * yc - uc * y
    sums: list[tuple[Tensor, ...]] = []
    for surface, n, m in zip(surfaces, indices[:-1], indices[1:], strict=True):
        c = surface.curvature
        a, ac = n * (c * y + u), n * (c * yc + uc)
        v, vc = (n * u - (m - n) * c * y) / m, (n * uc - (m - n) * c * yc) / m
        change = v / m - u / n
        bend = c**3 * surface.conic + (8 * surface.aspheric[0] if surface.aspheric else 0.0)
        added = bend * (m - n)
        petzval = -(invariant**2) * c * (1 / m - 1 / n)
        # A cancels in Ac / A (S_III + S_IV), and may be 0.
        distortion = -(ac**3) * y * (1 / m**2 - 1 / n**2)
        distortion = distortion + ac * c * (1 / m - 1 / n) * yc * (2 * ac * y - a * yc)
        sums.append(
            (
                -(a**2) * y * change + added * y**4,
                -a * ac * y * change + added * y**3 * yc,
                -(ac**2) * y * change + added * y**2 * yc**2,
                petzval,
                distortion + added * y * yc**3,
            )
        )
        u, uc = v, vc
        y, yc = y + surface.thickness * u, yc + surface.thickness * uc
    return SeidelSums(*(torch.stack(parts) for parts in zip(*sums, strict=True)))


def check_distance(object_distance: float) -> None:
    """Refuse an object that does not lie in front of the lens."""
    check_number("object_distance", object_distance, "metres")
    if isinstance(object_distance, Tensor) or not object_distance > 0:
        raise ValueError(
            "object_distance must be a float above 0, in metres in front of the first vertex, or "
            f"inf, not {object_distance}"
        )


def check_angles(name: str, fields: float | Tensor, object_distance: float) -> None:
    """Refuse fields that are not finite, and such as are no angles of an object at infinity."""
    check_finite(name, fields, "radians or metres")
    if math.isfinite(object_distance):
        return
    largest = float(torch.as_tensor(fields).detach().abs().max())
    if largest >= math.pi / 2:
        raise ValueError(
            f"{name} must be angles in radians, below pi / 2, where the object is at infinity, not "
            f"up to {largest:g}: 20 degrees are math.radians(20)"
        )


def first_order_of(
    surfaces: Sequence[Surface], indices: Sequence[Tensor], object_distance: float
) -> FirstOrder:
    """:func:`first_order` of surfaces that were checked."""
    a, b, c, d = system_matrix(surfaces, indices)
    stop = stop_of(surfaces)
    radius = surfaces[stop].semi_diameter
    before_a, before_b, _, _ = entrance_matrix(surfaces, indices)
    rear = system_matrix(surfaces[stop:], indices[stop:])
    behind = indices[-1]
    # Rays from the middle of the object; vergence 0 of one at infinity.
    near = 0.0 if math.isinf(object_distance) else 1 / object_distance
    # y = 1 at the first vertex, n u = near.
    height, slope = a + b * near, c + d * near
    marginal = marginal_slope(surfaces, indices, object_distance)
    # A ray that passes the middle of the stop, whose refraction belongs to what is behind it.
    _, rear_b, rear_c, rear_d = rear
    exit_pupil = -behind * rear_b / rear_d
    return FirstOrder(
        focal_length=-behind / c,
        back_focal_distance=-behind * a / c,
        image_distance=-behind * height / slope,
        magnification=near / slope,
        f_number=0.5 / marginal.abs(),
        entrance_pupil=before_b / before_a,
        entrance_diameter=2 * radius / before_a.abs(),
        exit_pupil=exit_pupil,
        exit_diameter=2 * radius * (rear[0] + rear_c * exit_pupil / behind).abs(),
    )


def marginal_slope(
    surfaces: Sequence[Surface], indices: Sequence[Tensor], object_distance: float
) -> Tensor:
    """``n' u'`` of the ray from the middle of the object through the upper rim of the stop."""
    _, _, c, d = system_matrix(surfaces, indices)
    a, b, _, _ = entrance_matrix(surfaces, indices)
    near = 0.0 if math.isinf(object_distance) else 1 / object_distance
    return surfaces[stop_of(surfaces)].semi_diameter * (c + d * near) / (a + b * near)


def image_scale(
    surfaces: Sequence[Surface], indices: Sequence[Tensor], object_distance: float
) -> Tensor:
    """Height of the paraxial chief ray in the image, ``[...]``.

    Over the tangent of the field's angle, in metres, or over the height of the object. The plane is
    that of the last thickness: where it is that of the paraxial image, this is the focal length
    over the index there, or the magnification.
    """
    a, b, c, d = system_matrix(surfaces, indices)
    before_a, before_b, _, _ = entrance_matrix(surfaces, indices)
    near = 0.0 if math.isinf(object_distance) else 1 / object_distance
    # Of a ray through the middle of the stop, whose slope is 1 or that of an object 1 high.
    at_stop = before_a + before_b * near
    height = (-before_b if near == 0 else before_b * near) / at_stop
    slope = (before_a if near == 0 else -before_a * near) / at_stop
    way = surfaces[-1].thickness / indices[-1]
    return (a + way * c) * height + (b + way * d) * slope


def entrance_matrix(
    surfaces: Sequence[Surface], indices: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`system_matrix` from the first vertex to the plane of the stop, not through it."""
    stop = stop_of(surfaces)
    plane = Surface()
    return system_matrix([*surfaces[:stop], plane], [*indices[: stop + 1], indices[stop]])


def system_matrix(
    surfaces: Sequence[Surface], indices: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``A, B, C, D`` of ``(y, n u)`` from before the first vertex to behind the last.

    The thickness of the last surface is not a part of it.
    """
    one = torch.ones_like(indices[0])
    a, b, c, d = one, 0 * one, 0 * one, one
    for number, surface in enumerate(surfaces):
        power = (indices[number + 1] - indices[number]) * surface.curvature
        c, d = c - power * a, d - power * b
        if number + 1 < len(surfaces):
            way = surface.thickness / indices[number + 1]
            a, b = a + way * c, b + way * d
    return a, b, c, d
