"""Surfaces of revolution and their glass."""

import math

import pytest
import torch

import optics
from optics.rays.surface import as_surfaces


def test_a_sphere_a_paraboloid_and_an_asphere_have_their_height():
    radius = torch.tensor([0.0, 1e-3, 4e-3], dtype=torch.float64)
    sphere = optics.surface_sag(optics.Surface(100.0), radius)
    torch.testing.assert_close(sphere, 10e-3 - (1e-4 - radius**2).sqrt(), rtol=0, atol=1e-17)
    paraboloid = optics.surface_sag(optics.Surface(100.0, conic=-1.0), radius)
    torch.testing.assert_close(paraboloid, 50 * radius**2)
    plate = optics.surface_sag(optics.Surface(aspheric=(2.0, 3e3)), radius)
    torch.testing.assert_close(plate, 2 * radius**4 + 3e3 * radius**6)


def test_beyond_its_end_a_sphere_has_a_height_and_a_gradient_without_nan():
    bend = torch.tensor(100.0, dtype=torch.float64, requires_grad=True)
    radius = torch.tensor([0.01, 0.02], dtype=torch.float64)
    height = optics.surface_sag(optics.Surface(bend), radius)
    height.sum().backward()
    assert torch.isfinite(height).all()
    assert torch.isfinite(bend.grad)


def test_a_glass_of_two_numbers_has_them():
    lines = torch.tensor([486.1327e-9, 587.5618e-9, 656.2725e-9], dtype=torch.float64)
    blue, yellow, red = optics.glass_index((1.5168, 64.17), lines)
    assert float(yellow) == pytest.approx(1.5168, abs=1e-12)
    assert float((yellow - 1) / (blue - red)) == pytest.approx(64.17, abs=1e-8)
    # As near to SCHOTT's own formula as the docstring says, of crown and of flint.
    light = torch.linspace(450e-9, 700e-9, 26, dtype=torch.float64)
    for name in ("n_bk7", "f2"):
        pair = (optics.refractive_index(name, 587.5618e-9), optics.abbe_number(name))
        wrong = optics.glass_index(pair, light) - optics.refractive_index(name, light)
        assert float(wrong.abs().max()) < 6e-4
    torch.testing.assert_close(
        optics.glass_index("f2", light), optics.refractive_index("f2", light)
    )
    assert optics.glass_index(None, light).eq(1).all()
    assert optics.glass_index(1.6, light).eq(1.6).all()


@pytest.mark.parametrize(
    ("surface", "error", "told"),
    [
        ({"curvature": math.nan}, ValueError, "curvature of surface 0 must be finite"),
        ({"curvature": 2e5}, ValueError, "a radius of 20 mm is a curvature of 50"),
        ({"curvature": torch.zeros(2)}, TypeError, "curvature of surface 0 must be one number"),
        ({"thickness": "3"}, TypeError, "thickness of surface 0 must be one number"),
        ({"conic": math.inf}, ValueError, "conic of surface 0 must be finite"),
        ({"material": "n_bk8"}, ValueError, "nearest: n_bk7"),
        ({"material": (1.5, 0.0)}, ValueError, "an Abbe number above 0"),
        ({"material": (1.5, 60.0, 1.0)}, TypeError, "must be (n_d, V_d)"),
        ({"material": 0.5}, ValueError, "an index from 1 to 5"),
        ({"index_error": "0.1"}, TypeError, "index_error of surface 0 must be one number"),
        ({"index_error": math.nan, "material": 1.5}, ValueError, "index_error of surface 0"),
        ({"index_error": 0.33}, ValueError, "index_error of surface 0 must be 0 in air, not 0.33"),
        ({"index_error": 0.33, "material": 1.0}, ValueError, "must be 0 in air"),
        ({"material": [1.5]}, TypeError, "None for air"),
        ({"material": (1.5, True)}, TypeError, "surface 0 must be a name of optics.MATERIALS"),
        ({"semi_diameter": 0.0}, ValueError, "semi_diameter of surface 0 must be positive"),
        ({"aspheric": "1"}, TypeError, "aspheric of surface 0 must be a sequence"),
        ({"aspheric": torch.zeros(1, 2)}, ValueError, "must be [K], a4, a6"),
        ({"aspheric": (math.nan,)}, ValueError, "aspheric of surface 0 must be finite"),
    ],
)
def test_what_is_no_surface_is_refused_by_its_number_and_field(surface, error, told):
    with pytest.raises(error) as found:
        optics.surface_sag(optics.Surface(**surface), torch.zeros(1))
    assert told in str(found.value)


@pytest.mark.parametrize(
    ("material", "error", "told"),
    [
        (True, TypeError, "material must be a name of optics.MATERIALS, an index, (n_d, V_d)"),
        ((True, 30.0), TypeError, "or None for air, not (True, 30.0)"),
        ((1.5, True), TypeError, "or None for air, not (1.5, True)"),
        ((1.5,), TypeError, "material must be (n_d, V_d), not (1.5,)"),
        (7.0, ValueError, "material must have an index from 1 to 5"),
        ((1.5, 0.0), ValueError, "an Abbe number above 0, not (1.5, 0.0)"),
    ],
)
def test_what_is_no_glass_has_no_index(material, error, told):
    with pytest.raises(error) as found:
        optics.glass_index(material, 550e-9)
    assert told in str(found.value)


@pytest.mark.parametrize("air", [1.0, 1, (1.0, 30.0)])
def test_an_index_of_1_is_air(air):
    between = optics.Surface(-50.0, 5e-4, air, 5e-3)
    assert as_surfaces([between])[0].material is None
    rows = [
        optics.Surface(50.0, 3e-3, "n_bk7", 5e-3, stop=True), between,
        optics.Surface(30.0, 1e-3, None), optics.Surface(10.0, 0.04),
    ]  # fmt: skip
    assert optics.CompoundLens(rows).trained == {"curvature": (0, 1)}


def test_what_are_no_surfaces_is_refused():
    stop = optics.Surface(semi_diameter=1e-3, stop=True)
    for surfaces, error, told in (
        (stop, TypeError, "must be a sequence of optics.Surface, not Surface"),
        ([1.0], TypeError, "surface 0 must be an optics.Surface, not 1.0"),
        ([optics.Surface()], ValueError, "must be the stop"),
        ([stop, stop], ValueError, "not [0, 1] of 2"),
        ([stop._replace(semi_diameter=math.inf)], ValueError, "optics.set_stop"),
    ):
        with pytest.raises(error) as found:
            optics.first_order(surfaces, wavelength=550e-9)
        assert told in str(found.value)
    with pytest.raises(ValueError, match=r"one optics\.Surface or more, not none"):
        optics.lens_penalty([])
