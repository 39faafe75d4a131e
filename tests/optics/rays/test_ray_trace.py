"""Rays through surfaces of revolution."""

import math

import lenses
import pytest
import torch
from scipy.optimize import brentq

import optics
from optics.rays.surface import slope_and_sag

_LIGHT = 550e-9


def _rays(y, angle=0.0, x=0.0):
    y = torch.as_tensor(y, dtype=torch.float64)
    zero = torch.zeros_like(y)
    direction = torch.tensor([0.0, math.sin(angle), math.cos(angle)], dtype=torch.float64)
    return optics.Rays(
        torch.stack((zero + x, y, zero), -1),
        direction.expand(*y.shape, 3),
        zero,
        torch.ones_like(y, dtype=torch.bool),
    )


def _snell(surfaces, indices, y, angle, reach):
    """A meridional ray by root finding and angles; height in the image and path."""
    at, path, before = (y, 0.0), 0.0, 1.0
    way = (math.sin(angle), math.cos(angle))
    for surface, index in zip(surfaces, indices, strict=True):

        def height(r, surface=surface):
            square = torch.tensor(r * r, dtype=torch.float64)
            slope, sag, _ = slope_and_sag(surface, square)
            return float(sag), float(slope) * r

        further = brentq(
            lambda s, at=at, way=way, height=height: (
                at[1] + s * way[1] - height(at[0] + s * way[0])[0]
            ),
            -at[1] - reach,
            -at[1] + reach,
            xtol=1e-17,
            rtol=1e-14,
        )
        at = (at[0] + further * way[0], at[1] + further * way[1])
        path += before * further
        normal = math.atan2(-height(at[0])[1], 1.0)
        inside = math.asin(before / index * math.sin(math.atan2(*way) - normal))
        way = (math.sin(inside + normal), math.cos(inside + normal))
        at, before = (at[0], at[1] - surface.thickness), index
    further = -at[1] / way[1]
    return at[0] + further * way[0], path + before * further


@pytest.mark.parametrize(("name", "angle"), [("cooke", 0.3), ("phone", -0.2)])
def test_a_ray_is_that_of_snells_law_with_angles(name, angle):
    micrometres = 0.55 if name == "cooke" else 0.5876
    surfaces = getattr(lenses, name)()
    y, reach = (-4e-3, 2e-3) if name == "cooke" else (0.4e-3, 0.4e-3)
    found = optics.trace(_rays([y, 0.5 * y], angle), surfaces, wavelength=micrometres * 1e-6)
    assert found.valid.all()
    glass = [1.0 if s.material is None else s.material for s in surfaces]
    for number, start in enumerate((y, 0.5 * y)):
        height, path = _snell(surfaces, glass, start, angle, reach)
        assert float(found.position[number, 1]) == pytest.approx(height, abs=1e-14)
        assert float(found.path[number]) == pytest.approx(path, abs=1e-14)
    torch.testing.assert_close(found.direction.square().sum(-1), torch.ones(2).double())
    assert found.position[:, 2].abs().max() < 1e-16


def test_rays_are_traced_in_any_batch_with_a_wavelength_each():
    surfaces = [optics.Surface(50.0, 5e-3, "n_bk7"), optics.Surface(-50.0, 15e-3)]
    light = torch.tensor([[480e-9], [650e-9]], dtype=torch.float64)
    both = optics.trace(_rays(torch.full((2, 3), 4e-3)), surfaces, wavelength=light)
    one = optics.trace(_rays([4e-3]), surfaces, wavelength=650e-9)
    torch.testing.assert_close(both.position[1, 2], one.position[0])
    assert both.position[0, 0, 1] != both.position[1, 0, 1]


@pytest.mark.parametrize(
    ("surfaces", "ray"),
    [
        ([optics.Surface(100.0, 5e-3, 1.5), optics.Surface()], {"y": [0.02]}),  # past the sphere
        ([optics.Surface(0.0, 5e-3, 1.5), optics.Surface(100.0)], {"y": [0.015]}),
        ([optics.Surface(0.0, 5e-3, 2.0), optics.Surface(-180.0, 1e-2)], {"y": [4e-3]}),  # total
        ([optics.Surface(0.0, 1e-3, semi_diameter=1e-3)], {"y": [2e-3]}),
        ([optics.Surface(100.0, 5e-3, 1.5, aspheric=(1e9,)), optics.Surface()], {"y": [0.02]}),
    ],
)
def test_a_ray_that_is_lost_is_not_valid_and_leaves_no_nan(surfaces, ray):
    numbers = torch.tensor(
        [(s.curvature, s.thickness, s.conic) for s in surfaces],
        dtype=torch.float64,
        requires_grad=True,
    )
    trained = [
        s._replace(curvature=n[0], thickness=n[1], conic=n[2])
        for s, n in zip(surfaces, numbers, strict=True)
    ]
    # Beside one that passes.
    rays = _rays([*ray["y"], 1e-4], ray.get("angle", 0.0))
    rays = rays._replace(position=rays.position.requires_grad_())
    found = optics.trace(rays, trained, wavelength=_LIGHT)
    assert found.valid.tolist()[0] is False
    for part in found[:3]:
        assert torch.isfinite(part).all()
    (found.position.sum() + found.direction.sum() + found.path.sum()).backward()
    assert torch.isfinite(numbers.grad).all()
    assert torch.isfinite(rays.position.grad).all()


def test_a_lost_ray_stays_lost():
    rays = _rays([1e-4])._replace(valid=torch.tensor([False]))
    assert not optics.trace(rays, [optics.Surface()], wavelength=_LIGHT).valid.any()


def test_gradients_of_a_trace_are_finite_differences():
    surfaces = lenses.phone()
    scale = torch.tensor([1e2, 1e-3, 1.0, 1e8, 1e13, 1e18], dtype=torch.float64)
    start = torch.stack(
        [torch.tensor([s.curvature, s.thickness, s.conic, *s.aspheric]) for s in surfaces[1:]]
    )

    def form(numbers, y):
        given = numbers * scale
        lens = [
            surfaces[0],
            *(
                s._replace(curvature=n[0], thickness=n[1], conic=n[2], aspheric=n[3:])
                for s, n in zip(surfaces[1:], given, strict=True)
            ),
        ]
        rays = _rays([0.0, 0.0])
        zero = torch.zeros_like(y)
        rays = rays._replace(position=torch.stack((zero + 2e-4, y * 1e-3, zero), -1))
        found = optics.trace(rays, lens, wavelength=587.6e-9)
        assert found.valid.all()
        return found.position[..., :2] * 1e3, found.direction, found.path * 1e3

    y = torch.tensor([0.3, -0.6], dtype=torch.float64, requires_grad=True)
    numbers = (start.double() / scale).requires_grad_()
    assert torch.autograd.gradcheck(form, (numbers, y), fast_mode=True)


@pytest.mark.parametrize(
    ("rays", "light", "error", "told"),
    [
        ({"position": torch.zeros(2)}, _LIGHT, ValueError, "position of the rays must be [..., 3]"),
        ({"path": 0.0}, _LIGHT, TypeError, "path of the rays must be a Tensor"),
        ({}, 550.0, ValueError, "550 nm are 550e-9"),
    ],
)
def test_bad_input_is_refused(rays, light, error, told):
    with pytest.raises(error) as found:
        optics.trace(_rays([0.0])._replace(**rays), lenses.cooke(), wavelength=light)
    assert told in str(found.value)
