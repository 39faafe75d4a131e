"""Rays that fill the stop."""

import math

import lenses
import pytest
import torch

import optics
from optics.rays.ray_aiming import _aim, _each, _from_object, aimed, given_lens, pupil_points
from optics.rays.ray_trace import to_stop


@pytest.mark.parametrize(
    ("name", "fields", "distance"),
    [
        ("cooke", [0.0, 0.2, -0.35], math.inf),
        ("cooke", [0.0, 0.1], 0.4),
        ("phone", [0.0, 0.45], math.inf),
    ],
)
def test_rays_meet_the_points_of_the_stop(name, fields, distance):
    surfaces = getattr(lenses, name)()
    lens = given_lens(surfaces, fields, [550e-9, 580e-9], distance)
    points, _ = pupil_points(4)
    entrance, hits = _aim(lens, points)
    rays = to_stop(_from_object(lens, entrance), surfaces, _each(lens.indices))
    stop = next(surface for surface in surfaces if surface.stop)
    assert hits.all()
    missed = rays.position[..., :2] / stop.semi_diameter - points
    assert float(missed.abs().max()) < 1e-12
    assert entrance.shape == (len(fields), 2, 40, 2)


def test_light_that_crosses_behind_the_stop_turns_the_pupil():
    """A relay: what is upper in its stop comes from below, as a lens without one has it above."""
    single = [
        optics.Surface(10.0, 0.0, 1.5, 2e-3, stop=True),
        optics.Surface(-10.0, 0.1),
    ]
    relay = [
        single[0],
        single[1]._replace(thickness=0.3),
        optics.Surface(10.0, 0.0, 1.5, 0.1),
        optics.Surface(-10.0, 0.2),
    ]
    points = torch.tensor([[0.0, 0.5]], dtype=torch.float64)
    for surfaces, sign in ((single, -1), (relay, -1)):
        lens = given_lens(surfaces, [0.0], [550e-9], math.inf)
        found = aimed(lens, points)
        assert math.copysign(1, float(found.rays.direction[0, 0, 0, 1])) == sign


def test_a_chief_ray_that_a_rim_cuts_off_is_still_the_reference():
    surfaces = lenses.mounted()
    surfaces[0] = surfaces[0]._replace(semi_diameter=3.4e-3)
    points, weights = pupil_points(6)
    cut, whole = (
        aimed(given_lens(each, [0.34], [550e-9], math.inf), points)
        for each in (surfaces, lenses.cooke())
    )
    assert 0.05 < float((cut.lit * weights).sum()) < 0.5
    assert cut.chief.valid.all()
    for one, other in zip(cut.chief, whole.chief, strict=True):
        torch.testing.assert_close(one, other)
    found = optics.lens_wavefronts(
        surfaces, fields=[0.34], wavelengths=[550e-9], indices=range(1, 16)
    )
    assert float(found.residual) < 0.01 * 550e-9


def test_a_quadrature_of_the_disk_is_exact():
    points, weights = pupil_points(5)
    assert float(weights.sum()) == pytest.approx(1)
    rho, theta = torch.hypot(*points.T), torch.atan2(points[:, 1], points[:, 0])
    basis = torch.stack([optics.zernike(index, rho, theta) for index in range(1, 22)])
    products = torch.einsum("n,jn,kn->jk", weights, basis, basis)
    torch.testing.assert_close(products, torch.eye(21, dtype=torch.float64), rtol=0, atol=1e-13)


def test_a_ray_that_cannot_be_aimed_is_not_valid():
    lens = given_lens(lenses.cooke(), [1.4], [550e-9], math.inf)
    found = aimed(lens, pupil_points(2)[0])
    assert not found.lit.any()
    assert not found.chief.valid.any()
    assert torch.isfinite(found.rays.position).all()
