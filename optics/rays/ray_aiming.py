"""Rays that fill the stop of a lens, from each point of its field.

::

    points of the stop ──Newton──► points of the first vertex's plane ──trace──► rays in the image

Fields are angles of an object at infinity, heights of one at a finite distance: ``[F]`` along y,
``[F, 2]`` along x and y. The tangents of two angles are the slopes of the light. The pupil is the
stop, where it lies, scaled to a radius of 1, and turned as the light leaves it towards the image.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from optics.quantity import as_numbers, check_wavelength, whole_number

from .paraxial import check_angles, check_distance, entrance_matrix, marginal_slope
from .ray_trace import Rays, through, to_stop
from .surface import Surface, as_surfaces, has_rim, indices_of, stop_of

__all__ = [
    "AimedRays",
    "GivenLens",
    "aimed",
    "checked_light",
    "given_lens",
    "pupil_points",
    "solid_angle",
]

# Newton's steps to the stop; the first comes from the paraxial lens, and each doubles the digits.
_STEPS = 5
# Of the size of the stop: a difference of two rays, and how near the stop's point one must come.
_APART, _NEAR = 1e-5, 1e-6
# Metres beside the axis, to which a ray that is lost in aiming goes at most.
_FARTHEST = 1e2


class AimedRays(NamedTuple):
    """Rays that fill the stop of a lens, in its image, at F fields and L wavelengths."""

    rays: Rays
    """``[F, L, N]``, which no rim cuts off."""
    chief: Rays
    """``[F, L, 1]``."""
    lit: Tensor
    """Whether each ray is within all rims too, bool ``[F, L, N]``."""
    beyond: list[Tensor]
    """Of each rim, square of the distance from the axis over that of the rim, less 1: above 0 where
    the rim cuts off, ``[F, L, N]``."""
    start: Rays
    """The rays where they come from the object, in the plane of the first vertex, ``[F, L, N]``."""


class GivenLens(NamedTuple):
    """What was given, checked, in float64 and on one device."""

    surfaces: tuple[Surface, ...]
    indices: list[Tensor]
    fields: Tensor
    light: Tensor
    object_distance: float


def given_lens(
    surfaces: Sequence[Surface],
    fields: Sequence[float] | Tensor,
    wavelengths: Sequence[float] | Tensor,
    object_distance: float,
) -> GivenLens:
    """A lens with its fields and light, checked and in float64."""
    found = as_surfaces(surfaces, whole=True)
    check_distance(object_distance)
    light = checked_light(wavelengths)
    heights = as_numbers("fields", fields, "radians or metres", dtype=torch.float64)
    if not len(heights.shape) or not len(heights) or heights.shape[1:] not in ((), (2,)):
        raise ValueError(
            "fields must be several in a row, [F] along y or [F, 2] along x and y, not "
            f"{tuple(heights.shape)}"
        )
    check_angles("fields", heights, object_distance)
    tensors = [v for s in found for v in (s.curvature, s.thickness) if isinstance(v, Tensor)]
    device = tensors[0].device if tensors else light.device
    light, heights = light.to(device), heights.to(device)
    return GivenLens(found, indices_of(found, light), heights, light, object_distance)


def checked_light(wavelengths: Sequence[float] | Tensor) -> Tensor:
    """Wavelengths ``[L]``, metres, in float64; an error for what are none in a row."""
    light = as_numbers("wavelengths", wavelengths, "metres", dtype=torch.float64)
    if light.ndim != 1 or not len(light):
        raise ValueError(f"wavelengths must be several in a row, not {tuple(light.shape)}")
    check_wavelength("wavelengths", light)
    return light


def pupil_points(rings: int, *, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Points x, y ``[N, 2]`` and weights ``[N]`` of a Gaussian quadrature of the unit disk."""
    rings = whole_number("rings", rings)
    arms = 2 * rings + 2
    nodes, weights = np.polynomial.legendre.leggauss(rings)
    radius = np.sqrt((nodes + 1) / 2)[:, None]
    # No arm along x or y, where half of the sines and cosines are 0.
    angle = 2 * math.pi * (np.arange(arms) + 0.5) / arms
    points = np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1).reshape(-1, 2)
    return (
        torch.tensor(points, device=device),
        torch.tensor(np.repeat(weights / 2 / arms, arms), device=device),
    )


def aimed(lens: GivenLens, points: Tensor) -> AimedRays:
    """Rays through points ``[N, 2]`` of the stop, and chief rays.

    Rims cut off none of them, so that a field has its chief ray where another part of the stop is
    lit alone; what cannot be aimed is not valid.
    """
    points = torch.cat((torch.zeros_like(points[:1]), points))
    entrance, hits = _aim(lens, points)
    start, squares = _from_object(lens, entrance), []
    rays = through(start, lens.surfaces, _each(lens.indices), rims=False, squares=squares)
    rays = rays._replace(valid=rays.valid & hits)
    chief, others = (
        Rays(*(part[:, :, there] for part in rays)) for there in (slice(0, 1), slice(1, None))
    )
    others = others._replace(valid=others.valid & chief.valid)
    lit, beyond = others.valid, []
    for surface, square in zip(lens.surfaces, squares, strict=True):
        if has_rim(surface) and not surface.stop:  # the stop is filled to its brim
            beyond.append(square[:, :, 1:] / surface.semi_diameter**2 - 1)
            lit = lit & (beyond[-1] <= 0)
    start = Rays(*(part[:, :, 1:] for part in start))
    return AimedRays(others, chief, lit, beyond, start)


def solid_angle(lens: GivenLens, points: Tensor) -> Tensor:
    """Projected solid angle in the image over the area of the unit stop, of rays ``[F, L, N]``.

    Seen from one point of the image, up to a factor of the wavelength. Étendue, the volume of
    places and direction cosines, is the same in front of the lens, so it is 1 over the determinant
    of (place in the image, place in the stop) by (place, direction cosines) in front.
    """
    entrance, _ = _aim(lens, points)
    start = _from_object(lens, entrance)
    ray = torch.cat((start.position[..., :2], start.direction[..., :2]), -1)
    radius, indices = _radius(lens), _each(lens.indices)

    def met(ray: Tensor) -> Tensor:
        x, y, across, up = ray.unbind(-1)
        forward = (1 - across**2 - up**2).clamp_min(0.0).sqrt()
        rays = start._replace(
            position=torch.stack((x, y, torch.zeros_like(x)), -1),
            direction=torch.stack((across, up, forward), -1),
            path=torch.zeros_like(x),
            valid=torch.ones_like(x, dtype=torch.bool),
        )
        image = through(rays, lens.surfaces, indices, rims=False)
        stop = to_stop(rays, lens.surfaces, indices)
        return torch.cat((image.position[..., :2], stop.position[..., :2] / radius), -1)

    one = torch.ones_like(ray[..., 0])
    size = torch.stack((radius * one, radius * one, one, one), -1) * _APART
    steps = torch.diag_embed(size).movedim(-2, 0)
    slopes = (met(ray + steps) - met(ray - steps)) / (2 * size.movedim(-1, 0)[..., None])
    volume = torch.linalg.det(slopes.movedim(0, -1)).abs()
    return 1 / torch.where(volume > 0, volume, math.inf)  # none of what is lost


def _aim(lens: GivenLens, points: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays meet the plane of the first vertex ``[F, L, N, 2]``, and whether they hit."""
    a, b, _, _ = (part[:, None] for part in entrance_matrix(lens.surfaces, lens.indices))
    near = 0.0 if math.isinf(lens.object_distance) else 1 / lens.object_distance
    field = _both(lens.fields)
    slope = field.tan() if near == 0 else -field * near
    goal = _goal(lens, points)
    along = a + b * near
    steps = torch.eye(2, dtype=goal.dtype, device=goal.device) * _APART
    with torch.no_grad():
        middle = -b[..., None] * slope
        entrance = ((goal + middle) / along[..., None]).detach()
        size = (_radius(lens) / along.abs())[..., None]

    def hit(entrance: Tensor) -> Rays:
        return to_stop(_from_object(lens, entrance), lens.surfaces, _each(lens.indices))

    with torch.no_grad():
        for _ in range(_STEPS):
            miss = hit(entrance).position[..., :2] - goal
            entrance = entrance - _solved(_slopes(hit, entrance, size, steps), miss)
            entrance = entrance.clamp(-_FARTHEST, _FARTHEST)
        slopes = _slopes(hit, entrance, size, steps)
    # The last step is the one that is differentiated.
    entrance = entrance.detach()
    found = hit(entrance)
    miss = found.position[..., :2] - goal
    near_enough = miss.detach().square().sum(-1) < (_NEAR * _radius(lens)) ** 2
    return entrance - _solved(slopes.detach(), miss), found.valid & near_enough


def _goal(lens: GivenLens, points: Tensor) -> Tensor:
    """Points of the stop ``[L, N, 2]``, turned as light leaves it towards the image."""
    slope = marginal_slope(lens.surfaces, lens.indices, lens.object_distance).detach()
    turn = torch.where(slope > 0, -1.0, 1.0).to(slope)  # also where light leaves in parallel
    return turn[:, None, None] * _radius(lens) * points


def _slopes(hit: Callable[[Tensor], Rays], entrance: Tensor, size: Tensor, steps: Tensor) -> Tensor:
    """Derivatives ``[..., 2, 2]`` of places in the stop, by central differences."""
    moves = [size * step for step in steps]
    several = torch.stack([entrance + part for move in moves for part in (move, -move)])
    places = hit(several).position[..., :2]
    return torch.stack(
        [(places[2 * i] - places[2 * i + 1]) / (2 * size * _APART) for i in range(2)], -1
    )


def _solved(slopes: Tensor, miss: Tensor) -> Tensor:
    """Step that undoes a miss ``[..., 2]``; none where there are no slopes, of what is lost."""
    (a, b), (c, d) = (row.unbind(-1) for row in slopes.unbind(-2))
    whole = a * d - b * c
    safe = torch.where(whole == 0, 1.0, whole)
    x, y = miss.unbind(-1)
    step = torch.stack(((d * x - b * y) / safe, (a * y - c * x) / safe), -1)
    return torch.where((whole == 0)[..., None], 0.0, step)


def _radius(lens: GivenLens) -> float | Tensor:
    return lens.surfaces[stop_of(lens.surfaces)].semi_diameter


def _each(indices: Sequence[Tensor]) -> list[Tensor]:
    """Indices ``[L, 1]``, of rays ``[..., L, N]``."""
    return [index[:, None] for index in indices]


def _both(fields: Tensor) -> Tensor:
    """Fields along x and y, ``[F, 1, 1, 2]``."""
    if fields.ndim == 1:
        fields = torch.stack((torch.zeros_like(fields), fields), -1)
    return fields[:, None, None]


def _from_object(lens: GivenLens, entrance: Tensor) -> Rays:
    """Rays from the fields to points ``[..., F, L, N, 2]`` in the plane of the first vertex."""
    x, y = entrance.unbind(-1)
    before = lens.indices[0][:, None]
    if not math.isinf(lens.object_distance):
        off = entrance - _both(lens.fields)
        way = torch.cat((off, torch.full_like(off[..., :1], lens.object_distance)), -1)
        path = way.square().sum(-1).sqrt()
        direction = way / path[..., None]
        path = before * path
    elif lens.fields.ndim == 1:
        field = lens.fields[:, None, None]
        direction = torch.stack(
            torch.broadcast_tensors(torch.zeros_like(x), field.sin(), field.cos()), -1
        )
        path = before * y * field.sin()
    else:
        slope = _both(lens.fields).tan()
        forward = (1 + slope.square().sum(-1)).rsqrt()
        sine = slope * forward[..., None]
        direction = torch.cat((sine, forward[..., None]), -1).expand(*x.shape, 3)
        path = before * (entrance * sine).sum(-1)
    position = torch.stack((x, y, torch.zeros_like(x)), -1)
    return Rays(position, direction, path, torch.ones_like(x, dtype=torch.bool))
