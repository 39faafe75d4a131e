"""A lens of several surfaces cut along its axis, with the light of three fields."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from optics import CompoundPupil, Rays, Surface
from optics.rays.compound_lens import fixed_surface
from optics.rays.ray_aiming import aimed, given_lens
from optics.rays.ray_trace import to_stop
from optics.rays.surface import has_rim, indices_of, slope_and_sag, stop_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_cross_section"]

_RAYS = 5  # of each field
_FILLED = 0.98  # of the stop's radius, which rays reach
_NEAR = 1e-3  # of that radius: how near its place in the stop a ray comes
_ROOM = 1.05  # of a surface without a rim, over the highest ray


def draw_cross_section(axis: "Axes", element: CompoundPupil) -> None:
    """Draw surfaces, and rays of the axis, of half the field and of the picture's corner.

    The rays are those of the middle wavelength that fill the stop; what a rim cuts off ends there.
    Glass is as wide as the larger of its two surfaces, with a flat ring around the other.

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
        middle = element.wavelengths[element.middle]
        points, lit = _paths(surfaces, fields, middle, lens.object_distance)
    mm, reach = 1e3 * points.numpy(), lit.numpy()
    for number, colour in enumerate(("C0", "C1", "C2")):
        for ray, open_to in zip(mm[number], lit[number].tolist(), strict=True):
            shown = ray[: open_to + 1]
            axis.plot(shown[:, 1], shown[:, 0], color=colour, linewidth=0.6)
    vertices = np.cumsum([0.0, *(1e3 * float(each.thickness) for each in surfaces)])
    tops = [
        1e3 * float(each.semi_diameter)
        if has_rim(each)
        else _ROOM * np.abs(mm[..., number + 1, 0] * (reach > number)).max()
        for number, each in enumerate(surfaces)
    ]
    for number, surface in enumerate(surfaces):
        _draw_surface(axis, surface, vertices[number], tops[number])
        if surface.material is not None and number + 1 < len(surfaces):
            edges = [
                vertices[at] + 1e3 * _sag(surfaces[at], tops[at]) for at in (number, number + 1)
            ]
            outer = max(tops[number : number + 2])
            heights = np.array([tops[number], outer, outer, tops[number + 1]])
            for side in (-1, 1):
                axis.plot(np.repeat(edges, 2), side * heights, color="0.2", linewidth=0.8)
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
    sag = 1e3 * np.array([_sag(surface, abs(each)) for each in heights])
    style = "--" if surface.stop and surface.curvature == 0 else "-"
    axis.plot(vertex + sag, heights, style, color="0.2", linewidth=0.8)


def _sag(surface: Surface, millimetres: float) -> float:
    """Metres; NaN beyond the end of a conic, where there is nothing to draw."""
    square = torch.tensor((1e-3 * millimetres) ** 2, dtype=torch.float64)
    _, sag, there = slope_and_sag(surface, square)
    return float(sag) if there else math.nan


def _paths(
    surfaces: list[Surface], fields: Tensor, wavelength: float, distance: float
) -> tuple[Tensor, Tensor]:
    """Points y, z ``[F, N, S + 2, 2]`` of rays, metres, and how many of them each ray reaches.

    A ray that does not find its place in the stop reaches none: the number is -1.
    """
    height = torch.linspace(-_FILLED, _FILLED, _RAYS, dtype=torch.float64)
    points = torch.stack((torch.zeros_like(height), height), -1)
    lens = given_lens(surfaces, fields, [wavelength], distance)
    start = Rays(*(part[:, 0] for part in aimed(lens, points).start))
    light = torch.tensor(wavelength, dtype=torch.float64)
    # To each surface in turn, and to a plane in the image.
    every = [*surfaces, Surface()]
    indices = [*indices_of(every, light)]
    stop = to_stop(start, surfaces, indices)
    radius = float(surfaces[stop_of(surfaces)].semi_diameter)
    away = (stop.position[..., :2].norm(dim=-1) - radius * height.abs()).abs()
    lit = stop.valid & (away < _NEAR * radius)
    # A little before the first vertex, and not before the object.
    before = min(0.3 * sum(float(each.thickness) for each in surfaces), distance)
    back = start.position - before / start.direction[..., 2:] * start.direction
    paths, reached, vertex = [back[..., 1:]], lit.long(), 0.0
    for number, surface in enumerate(every):
        turns = [each._replace(stop=each is surface) for each in every]
        found = to_stop(start, turns, indices)
        y, z = found.position[..., 1], found.position[..., 2]
        paths.append(torch.stack((y, vertex + z), -1))
        lit = lit & found.valid
        reached = reached + lit
        if number < len(surfaces):
            vertex += float(surface.thickness)
            if has_rim(surface):
                lit = lit & (y.abs() <= float(surface.semi_diameter) * (1 + 1e-6))
    return torch.stack(paths, -2), reached - 1
