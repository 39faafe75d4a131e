import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

import optics


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 3e5), st.floats(1e-6, 10e-6), st.floats(0.1, 1))
def test_the_pixel_mtf_is_the_integral_of_a_sine_over_the_pixel(frequency, pitch, fill):
    half = 0.5 * pitch * fill**0.5
    integral, _ = integrate.quad(lambda x: np.cos(2 * np.pi * frequency * x), -half, half)
    ours = optics.pixel_mtf(
        torch.tensor([frequency], dtype=torch.float64), pitch=pitch, fill_factor=fill
    )
    assert float(ours) == pytest.approx(integral / (2 * half), abs=1e-9)


def test_the_pixel_mtf_is_differentiable_in_its_size():
    frequency = torch.tensor([0.0, 0.05, 0.31], dtype=torch.float64)
    pitch, fill = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (2.0, 0.7))
    assert torch.autograd.gradcheck(
        lambda p, f: optics.pixel_mtf(frequency, pitch=p, fill_factor=f), (pitch, fill)
    )


def test_binning_sums_blocks():
    charge = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    expected = charge.numpy().reshape(2, 3, 2, 3, 3, 3).sum((3, 5))
    np.testing.assert_allclose(optics.bin_pixels(charge, 3), expected, rtol=1e-6)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_and_returned_in_single(half):
    # Four times this is more than float16 holds; both have it, and not its sum.
    charge = torch.full((1, 1, 4, 4), 30080.0, dtype=half)
    charge[..., 0, 0] = 1
    expected = torch.tensor([[[[90241.0, 120320.0], [120320.0, 120320.0]]]])
    assert torch.equal(optics.bin_pixels(charge, 2), expected)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="pitch must be positive and finite, in m, not 0"):
        optics.pixel_mtf(torch.ones(1), pitch=0)
    with pytest.raises(ValueError, match=r"fill_factor must be between 0 and 1, .* reaches 1\.5"):
        optics.pixel_mtf(torch.ones(1), pitch=1e-6, fill_factor=1.5)
    with pytest.raises(ValueError, match=r"fill_factor must be between 0 and 1, .* reaches 2"):
        optics.pixel_mtf(torch.ones(1), pitch=1e-6, fill_factor=torch.tensor(2.0))
    with pytest.raises(ValueError, match="fill_factor must be positive"):
        optics.pixel_mtf(torch.ones(1), pitch=1e-6, fill_factor=torch.tensor(-1.0))
    with pytest.raises(ValueError, match=r"binning=4 needs .* multiples of 4, not \(1, 1, 8, 6\)"):
        optics.bin_pixels(torch.ones(1, 1, 8, 6), 4)
    with pytest.raises(ValueError, match=r"binning=4 needs .* multiples of 4, not \(1, 4, 6, 8\)"):
        optics.bin_pixels(torch.ones(1, 4, 6, 8), 4)
