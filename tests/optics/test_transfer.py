import kornia
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2xyz, xyz2rgb

import optics


def test_agrees_with_kornia():
    picture = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(
        optics.srgb_to_linear(picture), kornia.color.rgb_to_linear_rgb(picture)
    )
    torch.testing.assert_close(
        optics.linear_to_srgb(picture), kornia.color.linear_rgb_to_rgb(picture)
    )


def test_agrees_with_skimage():
    grey = torch.linspace(0, 1, 50, dtype=torch.float64)
    # For greys Y of XYZ is the linear value.
    luminance = rgb2xyz(grey[:, None, None].expand(-1, 1, 3).numpy())[..., 0, 1]
    torch.testing.assert_close(
        optics.srgb_to_linear(grey), torch.from_numpy(luminance), rtol=1e-4, atol=1e-6
    )
    back = xyz2rgb(rgb2xyz(grey[:, None, None].expand(-1, 1, 3).numpy()))[..., 0, 0]
    torch.testing.assert_close(
        optics.linear_to_srgb(optics.srgb_to_linear(grey)),
        torch.from_numpy(back),
        rtol=1e-4,
        atol=1e-4,
    )


@settings(deadline=None)
@given(st.floats(0, 1))
def test_round_trip(value):
    value = torch.tensor(value, dtype=torch.float64)
    again = optics.linear_to_srgb(optics.srgb_to_linear(value))
    # The standard's two constants leave a step of 2e-8 at the junction.
    torch.testing.assert_close(again, value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_and_returned_in_single(half):
    given = torch.linspace(0, 1, 256).to(half).requires_grad_()
    for curve in (optics.srgb_to_linear, optics.linear_to_srgb):
        assert torch.equal(curve(given), curve(given.float()))
        (slope,) = torch.autograd.grad(curve(given).sum(), given)
        assert slope.dtype == half
    again = optics.linear_to_srgb(optics.srgb_to_linear(given))
    torch.testing.assert_close(again, given.float())


def test_gradients_are_finite_everywhere():
    value = torch.tensor([-0.1, 0.0, 1e-9, 0.04045, 0.0031308, 0.5, 1.0, 1.2], requires_grad=True)
    (optics.linear_to_srgb(value) + optics.srgb_to_linear(value)).sum().backward()
    assert value.grad is not None
    assert torch.isfinite(value.grad).all()
    assert (value.grad > 0).all()


@pytest.mark.parametrize("curve", [optics.srgb_to_linear, optics.linear_to_srgb])
def test_codes_are_divided_by_their_range_first(curve):
    for dtype in (torch.uint8, torch.int64, torch.complex64):
        with pytest.raises(ValueError, match=r"real floating point, .* image\.float\(\) / 255"):
            curve(torch.ones(2, dtype=dtype))
    with pytest.raises(TypeError, match="must be a Tensor, not ndarray"):
        curve(np.ones(2))
