"""Rays through surfaces of revolution.

::

    rays ──transfer──► intersection ──Snell──► ... ──► rays in the plane of the image

The axis is z, along which light travels. A ray is given in the coordinates of the first vertex and
comes back in those of the image, whose plane is z = 0. At a surface with a decentre or a tilt it is
written in the frame of that surface. What misses a surface, is reflected totally
or falls outside of a rim is not ``valid``; its numbers stay finite, and so do their gradients.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from optics.quantity import check_tensor, check_wavelength

from .surface import Surface, as_surfaces, has_rim, indices_of, slope_and_sag, stop_of

__all__ = ["Rays", "from_frame", "through", "to_stop", "trace"]

# Newton's steps to an asphere from the conic below it; each doubles the digits.
_STEPS = 7
# How near its surface a ray must come, parts of the way that it went and of a metre: 1e-12 m.
_NEAR = 1e-12
# Cosine of a ray that hardly goes along the axis, and metres to a surface: beyond, none is met.
_STEEP, _FARTHEST = 1e-6, 1e3


class Rays(NamedTuple):
    """Rays, with any leading dimensions ``[...]``."""

    position: Tensor
    """Points x, y, z, ``[..., 3]``, metres."""
    direction: Tensor
    """Unit vectors, ``[..., 3]``."""
    path: Tensor
    """Optical path so far, ``[...]``, metres."""
    valid: Tensor
    """Whether the ray came so far, bool ``[...]``."""


def trace(rays: Rays, surfaces: Sequence[Surface], *, wavelength: float | Tensor) -> Rays:
    """Trace rays through a lens to the plane of its image.

    Intersections by Newton's method on ``z - sag(r) = 0``, from the closed form of the conic, and
    Snell's law with vectors (G. H. Spencer and M. V. R. K. Murty, J. Opt. Soc. Am. 52:672, 1962).

    Parameters
    ----------
    rays : Rays
        In the medium before the first surface, air, and in the coordinates of its vertex.
    surfaces : sequence of Surface
        In the order of the light. A rim cuts off what is beyond it.
    wavelength : float or Tensor, metres
        In vacuum; of a shape that broadcasts with the rays' ``valid``.

    Returns
    -------
    Rays, float64
        In the plane of the image, ``z = 0``: that of the last surface's thickness. With gradients
        to the rays and to all numbers of the surfaces: first derivatives, as all of Newton's steps
        but the last are constants.

    Raises
    ------
    TypeError, ValueError
        For what are no rays or surfaces, and a wavelength not within 1e-9 to 1e-2 metres.
    """
    surfaces = as_surfaces(surfaces)
    for name in ("position", "direction", "path", "valid"):
        check_tensor(f"{name} of the rays", getattr(rays, name))
    for name in ("position", "direction"):
        shape = tuple(getattr(rays, name).shape)
        if not shape or shape[-1] != 3:
            raise ValueError(f"{name} of the rays must be [..., 3], x, y, z, not {shape}")
    check_wavelength("wavelength", wavelength)
    light = torch.as_tensor(wavelength, dtype=torch.float64, device=rays.position.device)
    rays = Rays(rays.position.double(), rays.direction.double(), rays.path.double(), rays.valid)
    return through(rays, surfaces, indices_of(surfaces, light))


def through(
    rays: Rays,
    surfaces: Sequence[Surface],
    indices: Sequence[Tensor],
    *,
    rims: bool = True,
    squares: list[Tensor] | None = None,
) -> Rays:
    """:func:`trace` of what was checked; without ``rims``, these let all light pass.

    ``squares`` is filled with those of the distances from the axis, one for each surface.
    """
    for surface, before, behind in zip(surfaces, indices[:-1], indices[1:], strict=True):
        rays = _meet(_to_frame(rays, surface), surface, before, rims=rims)
        if squares is not None:
            x, y, _ = rays.position.unbind(-1)
            squares.append(x**2 + y**2)
        rays = _onwards(_refract(rays, surface, before, behind), surface)
    rays, way = _to_plane(rays)
    return rays._replace(path=rays.path + indices[-1] * way)


def to_stop(rays: Rays, surfaces: Sequence[Surface], indices: Sequence[Tensor]) -> Rays:
    """Rays where they meet the surface of the stop, whatever the rims before it."""
    stop = stop_of(surfaces)
    for surface, before, behind in zip(surfaces[:stop], indices[:-1], indices[1:], strict=False):
        rays = _meet(_to_frame(rays, surface), surface, before, rims=False)
        rays = _onwards(_refract(rays, surface, before, behind), surface)
    return _meet(_to_frame(rays, surfaces[stop]), surfaces[stop], indices[stop], rims=False)


def from_frame(vector: Tensor, tilt: tuple[float | Tensor, float | Tensor]) -> Tensor:
    """Vectors ``[..., 3]`` in the frame of a tilted surface, in that of the lens."""
    about_x, about_y = (torch.as_tensor(t, dtype=vector.dtype, device=vector.device) for t in tilt)
    x, y, z = vector.unbind(-1)
    z, x = _turned(z, x, about_y)
    y, z = _turned(y, z, about_x)
    return torch.stack(torch.broadcast_tensors(x, y, z), -1)


def _turned(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Places, turned from +x to +y."""
    cos, sin = angle.cos(), angle.sin()
    return cos * x - sin * y, sin * x + cos * y


def _to_frame(rays: Rays, surface: Surface) -> Rays:
    """Rays in the frame of a surface: as they are where it has that of the lens."""
    if surface.is_aligned:
        return rays
    about_x, about_y = (
        torch.as_tensor(-t, dtype=torch.float64, device=rays.path.device) for t in surface.tilt
    )

    def turned(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        y, z = _turned(y, z, about_x)
        z, x = _turned(z, x, about_y)
        return torch.stack(torch.broadcast_tensors(x, y, z), -1)

    x, y, z = rays.position.unbind(-1)
    return rays._replace(
        position=turned(x - surface.decentre[0], y - surface.decentre[1], z),
        direction=turned(*rays.direction.unbind(-1)),
    )


def _onwards(rays: Rays, surface: Surface) -> Rays:
    """Rays that leave a surface, in the frame of the lens at the next vertex."""
    x, y, z = rays.position.unbind(-1)
    if not surface.is_aligned:
        rays = rays._replace(direction=from_frame(rays.direction, surface.tilt))
        x, y, z = from_frame(rays.position, surface.tilt).unbind(-1)
        x, y = x + surface.decentre[0], y + surface.decentre[1]
    return rays._replace(position=torch.stack((x, y, z - surface.thickness), -1))


def _to_plane(rays: Rays) -> tuple[Rays, Tensor]:
    """Rays where they meet the plane z = 0, and their way there, metres."""
    forward = rays.direction[..., 2]
    steep = forward.abs() < _STEEP
    way = -rays.position[..., 2] / torch.where(steep, 1.0, forward)
    position = rays.position + way[..., None] * rays.direction
    return rays._replace(position=position, valid=rays.valid & ~steep), way


def _meet(rays: Rays, surface: Surface, index: Tensor, *, rims: bool) -> Rays:
    """Rays where they meet a surface."""
    rays, way = _to_plane(rays)
    start, direction = rays.position, rays.direction
    further, there = _conic_way(start.detach(), direction.detach(), _constant(surface))
    if surface.aspheric:
        fixed, along = _constant(surface), (start.detach(), direction.detach())
        for _ in range(_STEPS):
            further = (further - _newton(fixed, *along, further)[0]).clamp(-_FARTHEST, _FARTHEST)
    # The last step is the one that is differentiated; where it goes far, nothing was met.
    step, on_it = _newton(surface, start, direction, further)
    near = step.detach().abs() < _NEAR + 1e-9 * further.abs()
    met = there & on_it & near
    further = torch.where(met, further - step, 0.0)
    position = start + further[..., None] * direction
    if rims and has_rim(surface):
        inside = position[..., :2].square().sum(-1) <= surface.semi_diameter**2
        met = met & inside
    valid = rays.valid & met
    # What is lost goes on along the axis, so that its numbers stay numbers.
    position = torch.where(valid[..., None], position, 0.0)
    path = torch.where(valid, rays.path + index * (way + further), 0.0)
    return Rays(position, direction, path, valid)


def _constant(surface: Surface) -> Surface:
    def fixed(value: float | Tensor) -> float | Tensor:
        return value.detach() if isinstance(value, Tensor) else value

    return surface._replace(
        curvature=fixed(surface.curvature),
        conic=fixed(surface.conic),
        aspheric=tuple(fixed(value) for value in surface.aspheric),
    )


def _conic_way(start: Tensor, direction: Tensor, surface: Surface) -> tuple[Tensor, Tensor]:
    """From the plane of the vertex along the ray to the conic, and whether it is met."""
    x, y, _ = start.unbind(-1)
    across, up, forward = direction.unbind(-1)
    curvature = surface.curvature
    square = curvature * (1 + surface.conic * forward**2)
    half = forward - curvature * (x * across + y * up)
    rest = curvature * (x**2 + y**2)
    under = half**2 - square * rest
    there = under >= 0
    root = torch.where(there, under, 0.0).sqrt()
    below = half + torch.where(half < 0, -root, root)
    there = there & (below.abs() > _STEEP)
    way = torch.where(there, rest / torch.where(there, below, 1.0), 0.0)
    # An asphere may be met where its conic is not: from the vertex, Newton's steps find it.
    return way, there | (len(surface.aspheric) > 0)


def _newton(
    surface: Surface, start: Tensor, direction: Tensor, further: Tensor
) -> tuple[Tensor, Tensor]:
    """Newton's step of the way along a ray on ``z - sag = 0``, and whether there is a surface."""
    place = start + further[..., None] * direction
    x, y, z = place.unbind(-1)
    across, up, forward = direction.unbind(-1)
    slope, sag, there = slope_and_sag(surface, x**2 + y**2)
    change = forward - slope * (x * across + y * up)
    flat = change.abs() < _STEEP
    step = (z - sag) / torch.where(flat, 1.0, change)
    return torch.where(flat, 0.0, step), there & ~flat


def _refract(rays: Rays, surface: Surface, before: Tensor, behind: Tensor) -> Rays:
    """Rays behind a surface that they have met."""
    x, y, _ = rays.position.unbind(-1)
    slope, _, _ = slope_and_sag(surface, x**2 + y**2)
    normal = torch.stack((-slope * x, -slope * y, torch.ones_like(x)), -1)
    normal = normal / normal.square().sum(-1, keepdim=True).sqrt()
    ratio = before / behind
    cosine = (rays.direction * normal).sum(-1)
    under = 1 - ratio**2 * (1 - cosine**2)
    passes = (under > 0) & (cosine > 0)
    root = torch.where(passes, under, 1.0).sqrt()
    turned = ratio[..., None] * rays.direction + (root - ratio * cosine)[..., None] * normal
    valid = rays.valid & passes
    axis = torch.zeros_like(turned)
    axis[..., 2] = 1.0
    return rays._replace(direction=torch.where(valid[..., None], turned, axis), valid=valid)
