"""A lens as it is drawn: its surfaces, and where the rays of three fields go."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import joint
import optics
from joint.panel.cross_section import _paths, _sag, draw_cross_section
from joint.report.draw import element_figures
from optics.rays.compound_imaging import compound_pupil_in

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


def test_rays_fill_the_stop_where_a_lens_has_pupil_aberrations():
    # The outer rays of the corner go 17 % beside the rim of the stop if they fill the paraxial
    # entrance pupil.
    surfaces = [each.surface for each in joint.CompoundConfig().surfaces]
    points, reached = _paths(surfaces, torch.tensor([0.0, 0.35]).double(), 550e-9, float("inf"))
    stop = next(number for number, each in enumerate(surfaces) if each.stop)
    rim = surfaces[stop].semi_diameter
    wanted = 0.98 * rim * torch.linspace(-1, 1, 5, dtype=torch.float64)
    for field in range(2):
        torch.testing.assert_close(
            points[field, :, stop + 1, 0].sort().values, wanted, rtol=1e-6, atol=1e-9 * rim
        )
    assert reached.tolist() == [[7] * 5] * 2


def test_a_lens_that_is_telecentric_towards_its_object_has_rays():
    # The stop lies in the rear focus, so that the entrance pupil is at infinity.
    thin = [
        optics.Surface(1 / 20e-3, 0.0, 1.5),
        optics.Surface(-1 / 20e-3, 20e-3),
        optics.Surface(0.0, 20e-3, semi_diameter=0.3e-3, stop=True),
    ]
    assert optics.first_order(thin, wavelength=550e-9).entrance_pupil.isinf()
    fields = torch.tensor([0.0, -2e-4], dtype=torch.float64)
    points, reached = _paths(thin, fields, 550e-9, 40e-3)
    assert reached.tolist() == [[4] * 5] * 2
    # The chief ray comes in parallel to the axis, and from the object, not from before it.
    assert points[1, 2, :2, 0].tolist() == pytest.approx([-2e-4, -2e-4], rel=1e-3)
    points, _ = _paths(thin, fields, 550e-9, 5e-3)
    np.testing.assert_allclose(points[:, :, 0, 1], -5e-3)
    np.testing.assert_allclose(points[1, :, 0, 0], -2e-4)


def test_a_ray_that_does_not_find_the_stop_is_not_drawn():
    # Beyond total reflection behind the first glass no ray comes to a stop so wide.
    ball = [
        optics.Surface(1 / 1e-3, 1.9e-3, 1.5),
        optics.Surface(-1 / 1e-3, 1e-3),
        optics.Surface(0.0, 1e-3, semi_diameter=1.0, stop=True),
    ]
    _, reached = _paths(ball, torch.tensor([0.0]).double(), 550e-9, float("inf"))
    assert reached[0].tolist() == [-1, -1, 4, -1, -1]


def test_glass_has_the_width_of_its_larger_surface_and_a_conic_ends():
    lens = optics.CompoundLens(
        [
            optics.Surface(0.0, 0.2e-3, semi_diameter=0.1e-3, stop=True),
            optics.Surface(1 / 1e-3, 0.2e-3, 1.5, 0.3e-3),
            optics.Surface(-1 / 1e-3, 0.9e-3, semi_diameter=0.5e-3),
        ],
        wavelength=550e-9,
    )
    element = optics.CompoundPupil(
        lens, 16, wavelengths=[550e-9], places=2, picture=32, pixel_pitch=4e-6
    )
    axis = Figure().subplots()
    draw_cross_section(axis, element)
    edges = [line.get_xydata() for line in axis.lines if len(line.get_xdata()) == 4]
    assert sorted(float(each[1, 1]) for each in edges) == pytest.approx([-0.5, 0.5])
    for each in edges:
        np.testing.assert_allclose(np.abs(each[:, 1]), [0.3, 0.5, 0.5, 0.5], rtol=1e-6)
        assert each[0, 0] == each[1, 0]  # a flat ring
    # Of a sphere of 1 mm whose rim is at 1.5 mm, nothing is drawn where there is no sphere.
    assert np.isnan(_sag(optics.Surface(1 / 1e-3), 1.5))
    assert _sag(optics.Surface(1 / 1e-3), 1.0 - 1e-9) == pytest.approx(1e-3, rel=1e-3)


def test_the_light_is_that_of_the_camera_and_not_of_the_lens_alone():
    # In the light of the camera the chief ray meets the corner; in the lens's own it is 2.2 % off.
    lens = optics.CompoundLens(
        [
            optics.Surface(0.0, 5e-3, semi_diameter=0.2e-3, stop=True),
            optics.Surface(0.0, 5e-3, (1.8, 25.0)),
            optics.Surface(-1 / 20e-3, 20e-3),
        ],
        wavelength=450e-9,
    )
    element = optics.CompoundPupil(
        lens, 16, wavelengths=[850e-9], places=2, picture=100, pixel_pitch=10e-6
    )
    axis = Figure().subplots()
    draw_cross_section(axis, element)
    chief = axis.lines[12]  # in the middle of the third field's five
    assert abs(chief.get_ydata()[-1]) == pytest.approx(1e3 * float(element.heights[-1]), rel=1e-6)


def test_surfaces_and_the_image_are_drawn_where_they_are(camera):
    axis = Figure().subplots()
    element = compound_pupil_in(camera)
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
    assert compound_pupil_in(optics.LearnedKernel()) is None
