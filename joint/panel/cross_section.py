"""A lens of several surfaces cut along its axis, with the light of three fields."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from optics import CompoundPupil, Rays, Surface, first_order, surface_sag
from optics.rays.compound_lens import fixed_surface
from optics.rays.ray_trace import to_stop
from optics.rays.surface import has_rim, indices_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_cross_section", "traced_in"]

_RAYS = 5  # of each field
_ROOM = 1.05  # of a surface without a rim, over the highest ray


def traced_in(front_end: nn.Module) -> CompoundPupil | None:
    """The lens of several surfaces in a camera, the first one; None where there is none."""
    return next((each for each in front_end.modules() if isinstance(each, CompoundPupil)), None)


def draw_cross_section(axis: "Axes", element: CompoundPupil) -> None:
    """Draw surfaces, and rays of the axis, of half the field and of the picture's corner.

    The rays are those of the middle wavelength that fill the paraxial entrance pupil; what a rim
    cuts off ends there.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
    element : optics.CompoundPupil
    """
    lens = element.lens
    with torch.no_grad():
        now = lens.surfaces
        surfaces = [fixed_surface(number, each) for number, each in enumerate(now)]
        fields = element.fields.detach().cpu().double()[[0, len(element.fields) // 2, -1]]
        points, lit = _paths(surfaces, fields, lens.wavelength, lens.object_distance)
    mm = 1e3 * points.numpy()
    for number, colour in enumerate(("C0", "C1", "C2")):
        for ray, open_to in zip(mm[number], lit[number].tolist(), strict=True):
            shown = ray[: open_to + 1]
            axis.plot(shown[:, 1], shown[:, 0], color=colour, linewidth=0.6)
    vertices = np.cumsum([0.0, *(1e3 * float(each.thickness) for each in surfaces)])
    tops = [
        1e3 * float(each.semi_diameter)
        if has_rim(each)
        else _ROOM * np.abs(mm[..., number + 1, 0]).max()
        for number, each in enumerate(surfaces)
    ]
    for number, surface in enumerate(surfaces):
        _draw_surface(axis, surface, vertices[number], tops[number])
        if surface.material is not None and number + 1 < len(surfaces):
            edges = [
                vertices[at] + 1e3 * float(_sag(surfaces[at], tops[at]))
                for at in (number, number + 1)
            ]
            for side in (-1, 1):
                heights = [side * tops[number], side * tops[number + 1]]
                axis.plot(edges, heights, color="0.2", linewidth=0.8)
    corner = 1e3 * float(element.heights[-1])
    axis.plot([vertices[-1]] * 2, [-corner, corner], color="0.2", linewidth=1.6)
    axis.set(xlabel="z, mm", ylabel="y, mm", title=f"f/{lens.f_number:.3g}")
    axis.set_aspect("equal")


def _draw_surface(axis: "Axes", surface: Surface, vertex: float, top: float) -> None:
    """A curve; of a stop in air, the edges of its plate."""
    if surface.stop:
        for side in (-1, 1):
            axis.plot([vertex] * 2, [side * top, side * 1.4 * top], color="k", linewidth=1.6)
    heights = np.linspace(-top, top, 65)
    sag = 1e3 * np.array([float(_sag(surface, abs(each))) for each in heights])
    style = "--" if surface.stop and surface.curvature == 0 else "-"
    axis.plot(vertex + sag, heights, style, color="0.2", linewidth=0.8)


def _sag(surface: Surface, millimetres: float) -> Tensor:
    return surface_sag(surface, torch.tensor(1e-3 * millimetres, dtype=torch.float64))


def _paths(
    surfaces: list[Surface], fields: Tensor, wavelength: float, distance: float
) -> tuple[Tensor, Tensor]:
    """Points y, z ``[F, N, S + 2, 2]`` of rays, metres, and how many of them each ray reaches."""
    first = first_order(surfaces, wavelength=wavelength, object_distance=distance)
    pupil, radius = float(first.entrance_pupil), float(first.entrance_diameter) / 2
    height = radius * torch.linspace(-0.98, 0.98, _RAYS, dtype=torch.float64)
    field = fields[:, None]
    slope = (
        field.tan() if math.isinf(distance) else (height - field) / (distance + pupil)
    ) * torch.ones_like(height)
    # Where the rays meet the plane of the first vertex, and a little before it.
    at = height - pupil * slope
    zero = torch.zeros_like(at)
    direction = torch.stack((zero, slope, torch.ones_like(at)), -1)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    lit = torch.ones_like(at, dtype=torch.bool)
    start = Rays(torch.stack((zero, at, zero), -1), direction, zero, lit)
    before = 0.3 * sum(float(each.thickness) for each in surfaces)
    points, reached = [torch.stack((at - before * slope, zero - before), -1)], lit.long()
    light = torch.tensor(wavelength, dtype=torch.float64)
    vertex = 0.0
    # To each surface in turn, and to a plane in the image.
    every = [*surfaces, Surface()]
    indices = [*indices_of(every, light)]
    for number, surface in enumerate(every):
        turns = [each._replace(stop=each is surface) for each in every]
        found = to_stop(start, turns, indices)
        y, z = found.position[..., 1], found.position[..., 2]
        points.append(torch.stack((y, vertex + z), -1))
        lit = lit & found.valid
        reached = reached + lit
        if number < len(surfaces):
            vertex += float(surface.thickness)
            if has_rim(surface):
                lit = lit & (y.abs() <= float(surface.semi_diameter) * (1 + 1e-6))
    return torch.stack(points, -2), reached - 1
