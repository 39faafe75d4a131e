"""A lens as it is drawn: its surfaces, and where the rays of three fields go."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import joint
import optics
from joint.panel.cross_section import _paths, draw_cross_section, traced_in
from joint.report.draw import element_figures

_SMALL = {"places": (2, 2), "rank": 2, "psf_size": 5, "pupil_size": 16}


@pytest.fixture(scope="module")
def camera():
    return joint.build_front_end(joint.CompoundConfig(**_SMALL), (96, 96), 3)


def test_rays_are_those_that_are_traced():
    surfaces = [each.surface for each in joint.CompoundConfig().surfaces]
    fields = torch.tensor([0.0, 0.2], dtype=torch.float64)
    points, reached = _paths(surfaces, fields, 550e-9, float("inf"))
    assert points.shape == (2, 5, 8, 2)
    assert reached.tolist() == [[7] * 5] * 2
    # On each surface, by its sag.
    vertex = 0.0
    for number, surface in enumerate(surfaces, 1):
        y, z = points[..., number, :].unbind(-1)
        torch.testing.assert_close(z, vertex + optics.surface_sag(surface, y.abs()))
        vertex += surface.thickness
    # In the image where the whole trace ends.
    start = points[..., 0, :]
    slope = fields.tan()[:, None].expand(2, 5)
    direction = torch.stack((0 * slope, slope, torch.ones_like(slope)), -1)
    rays = optics.Rays(
        torch.stack((0 * slope, start[..., 0] - start[..., 1] * slope, 0 * slope), -1),
        direction / direction.norm(dim=-1, keepdim=True),
        0 * slope,
        slope > -1,
    )
    found = optics.trace(rays, surfaces, wavelength=550e-9)
    torch.testing.assert_close(found.position[..., 1], points[..., -1, 0], rtol=0, atol=1e-12)


def test_a_ray_ends_at_the_rim_that_cuts_it_off():
    surfaces = [each.surface for each in joint.CompoundConfig().surfaces]
    surfaces[4] = surfaces[4]._replace(semi_diameter=0.1e-3)
    _, reached = _paths(surfaces, torch.tensor([0.0, 0.2]).double(), 550e-9, float("inf"))
    assert reached[0].tolist() == [7] * 5
    assert reached[1].min() == 5  # the first point, and four surfaces in front of the rim's


def test_surfaces_and_the_image_are_drawn_where_they_are(camera):
    axis = Figure().subplots()
    element = traced_in(camera)
    draw_cross_section(axis, element)
    length = 1e3 * sum(float(each.thickness.detach()) for each in element.lens.surfaces)
    image = axis.lines[-1]
    np.testing.assert_allclose(image.get_xdata(), length, rtol=1e-6)
    np.testing.assert_allclose(np.abs(image.get_ydata()), 48 * 2**0.5 * 3.5e-3, rtol=1e-6)
    # 15 rays, six surfaces, two edges of each of three elements, the stop's plate and the image.
    assert len(axis.lines) == 15 + 6 + 6 + 2 + 1
    assert axis.get_title() == "f/5"


def test_a_report_has_it(camera):
    titles = [title for _, title, _ in element_figures(camera)]
    assert titles[:2] == ["The lens", "Point-spread functions across the picture"]
    assert traced_in(optics.LearnedKernel()) is None
