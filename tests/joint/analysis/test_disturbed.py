import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

import optics
from joint.analysis.disturbed import Disturbed, MovedElement, MovedPhase, moved, shifted


@given(
    seed=st.integers(0, 2**31),
    angle=st.floats(-180, 180),
    shift=st.floats(-3, 3),
    height=st.integers(3, 12),
    width=st.integers(3, 12),
)
@settings(deadline=None)
def test_moved_maps_agree_with_scipy(seed, angle, shift, height, width):
    image = np.random.default_rng(seed).standard_normal((height, width))
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    back = np.array([[c, -s], [s, c]])  # (row, column) of the result to those of the source
    centre = np.array([height // 2, width // 2])
    offset = centre - back @ np.array([centre[0], centre[1] + shift])
    for ours, theirs in (("zeros", "grid-constant"), ("border", "nearest")):
        expected = affine_transform(image, back, offset, order=1, mode=theirs)
        found = moved(torch.from_numpy(image), shift=shift, angle=angle, outside=ours)
        assert np.allclose(found.numpy(), expected, atol=1e-6)


@given(pixels=st.floats(-4, 4))
@settings(deadline=None)
def test_shifted_pictures_agree_with_numpy(pixels):
    image = torch.rand(2, 1, 3, 9, generator=torch.Generator().manual_seed(0)).double()
    expected = [
        np.interp(np.arange(9) - pixels, np.arange(9), row) for row in image.reshape(-1, 9).numpy()
    ]
    assert np.allclose(shifted(image, pixels).reshape(-1, 9).numpy(), expected)


def test_a_front_end_is_disturbed_before_and_behind():
    inner = optics.LearnedKernel("unsharp", 7)
    scene = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    lamp = torch.tensor([2.0, 1.0, 0.5])[:, None, None]
    both = Disturbed(inner, 3, gains=(2.0, 1.0, 0.5), shifts=(0.0, 2.0))
    first, second = both(scene).detach().chunk(2, 1)
    one, two = inner(scene * lamp).detach().chunk(2, 1)
    assert torch.equal(first, one)
    assert torch.equal(second[..., 2:], two[..., :-2])
    assert both.exposures == 2
    assert (both.in_channels, both.out_channels) == (inner.in_channels, inner.out_channels)
    assert torch.equal(both.throughput(), inner.throughput())
    assert torch.equal(both.combine(both(scene)), inner.combine(both(scene)))
    none = Disturbed(None, 3, gains=(2.0, 1.0, 0.5))
    assert torch.equal(none(scene), scene * lamp)
    assert torch.equal(none.combine(scene), scene)
    assert none.throughput() == none.exposures == 1


@pytest.mark.parametrize("angle", [0.0, 180.0])
def test_phase_and_amplitude_move_alike(angle):
    phase = torch.rand(33, 33, generator=torch.Generator().manual_seed(0))
    mask = optics.PhaseMask(phase, spacing=1e-5)
    wavelength = torch.tensor([550e-9], dtype=torch.float64)
    expected = phase.rot90(int(angle) // 90)[:, :-4]
    sits = MovedPhase(mask, shift=4.0, angle=angle).phase_shift(wavelength)[0]
    assert torch.allclose(sits[:, 4:], expected, atol=1e-4)
    field = MovedElement(mask, shift=4.0, angle=angle).transmission(wavelength)[0]
    assert torch.allclose(field[:, 4:].angle(), expected.to(field.angle()), atol=1e-4)
