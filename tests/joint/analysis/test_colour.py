import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab

from joint.analysis.colour import ciede2000, lab, light_of_lab, luminance
from optics import srgb_to_linear

# Table 1 of Sharma, Wu, Dalal, Color Res. Appl. 30:21 (2005): two colours and their difference.
SHARMA = torch.tensor(
    [
        (50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425),
        (50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615),
        (50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412),
        (50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000),
        (50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000),
        (50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000),
        (50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669),
        (50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669),
        (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792),
        (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792),
        (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195),
        (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195),
        (50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045),
        (50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045),
        (50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461),
        (50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065),
        (50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492),
        (50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977),
        (50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030),
        (50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535),
        (50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000),
        (50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000),
        (50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000),
        (50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000),
        (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
        (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
        (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
        (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
        (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
        (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
        (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
        (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
        (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
        (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
    ],
    dtype=torch.float64,
)
_COMPONENT = st.floats(-100, 100, width=32)
_COLOURS = st.tuples(st.floats(0, 100, width=32), _COMPONENT, _COMPONENT)
# Chroma below 1e-8 counts as none, and the rotation of blue has the root of the chroma in it.
_COARSE = _COLOURS.map(lambda colour: tuple(round(part, 3) for part in colour))


def test_ciede2000_of_the_34_pairs():
    first, second, expected = SHARMA[:, :3], SHARMA[:, 3:6], SHARMA[:, 6]
    ours = ciede2000(first, second)
    assert len(expected) == 34
    assert torch.allclose(ours, expected, atol=1e-4, rtol=0)
    oracle = deltaE_ciede2000(first.numpy(), second.numpy())
    assert np.abs(ours.numpy() - oracle).max() < 1e-9
    assert torch.allclose(ciede2000(second.T, first.T, dim=0), expected, atol=1e-4, rtol=0)


@given(_COARSE, _COARSE)
@settings(deadline=None)
def test_ciede2000_agrees_with_scikit_image(first, second):
    product = complex(*first[1:]) * complex(*second[1:]).conjugate()
    # Of opposite hues the mean is on either side of the circle, as rounding has it.
    assume(not (product.real < 0 and abs(product.imag) < -1e-3 * product.real))
    ours = float(ciede2000(*(torch.tensor(c, dtype=torch.float64) for c in (first, second))))
    theirs = float(deltaE_ciede2000(np.array(first), np.array(second)))
    assert ours == pytest.approx(theirs, abs=1e-9)


@given(_COLOURS, _COLOURS)
@settings(deadline=None)
def test_gradients_of_ciede2000_are_finite(first, second):
    for dtype in (torch.float32, torch.float64):
        pair = [torch.tensor(c, dtype=dtype, requires_grad=True) for c in (first, second)]
        for gradient in torch.autograd.grad(ciede2000(*pair), pair):
            assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((50.0, 10.0, -20.0), (50.0, 10.0, -20.0)),
        ((50.0, 0.0, 0.0), (70.0, 0.0, 0.0)),
        ((50.0, 0.0, 0.0), (50.0, 0.0, 0.0)),
        ((50.0, 0.0, 0.0), (50.0, 30.0, -60.0)),
        ((50.0, 1e-12, 0.0), (50.0, 30.0, -60.0)),
        ((50.0, 1e-30, 1e-30), (50.0, 1e-30, 0.0)),
        ((50.0, 1e-6, 0.0), (60.0, 0.0, 2e-6)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ],
)
def test_gradients_at_no_difference_and_on_the_grey_axis(first, second):
    for dtype in (torch.float32, torch.float64):
        pair = [torch.tensor(c, dtype=dtype, requires_grad=True) for c in (first, second)]
        value = ciede2000(*pair)
        gradients = torch.autograd.grad(value, pair)
        assert all(g.isfinite().all() for g in gradients)
        if first == second:
            assert value == 0
            assert all((g == 0).all() for g in gradients)


def test_gradient_of_ciede2000_by_finite_differences():
    # Not the pairs whose hues are opposite: there the formula jumps.
    rows = [*range(6), *range(16, 34)]
    pair = (SHARMA[rows, :3].requires_grad_(), SHARMA[rows, 3:6].requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: ciede2000(a + 0.01, b), pair)


def test_lab_and_luminance_agree_with_scikit_image():
    picture = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0)).double()
    picture[0, :, 0, 0] = 0
    picture[0, :, 0, 1] = 1
    light = srgb_to_linear(picture)
    theirs = rgb2lab(picture.numpy(), channel_axis=1)
    assert np.abs(lab(light).numpy() - theirs).max() < 2e-3
    assert torch.allclose(luminance(torch.ones(3, 1, 1)), torch.ones(1, 1))
    lightness = 116 * luminance(light).clamp_min(0.01) ** (1 / 3) - 16
    bright = luminance(light) > 0.01
    assert torch.allclose(lab(light)[:, 0][bright], lightness[bright])


def test_lab_of_one_picture_and_of_any_dtype():
    light = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1))
    assert lab(light).dtype == torch.float32
    # Rounding of float32 in a cube root of 0..1, of which a* is 500 times a difference.
    torch.testing.assert_close(lab(light[None])[0], lab(light), rtol=0, atol=500 * 4 * 6e-8)
    assert luminance(light).shape == (4, 5)


def test_light_of_lab_undoes_lab():
    light = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(2)).double()
    light[0, :, 0] = 1e-4
    light[0, :, 1] = 0
    light[1, 0, 2] = -0.1
    assert torch.allclose(light_of_lab(lab(light)), light, atol=1e-12, rtol=0)


def test_gradient_of_lab_by_finite_differences_and_at_black():
    light = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(3)).double()
    assert torch.autograd.gradcheck(lab, light.requires_grad_())
    assert torch.autograd.gradcheck(light_of_lab, lab(light).detach().requires_grad_())
    black = torch.zeros(3, 1, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(lab(black).sum(), black)
    assert gradient.isfinite().all()


def test_what_are_no_colours_is_refused():
    with pytest.raises(TypeError, match="colours must be a Tensor, not ndarray"):
        ciede2000(np.zeros(3), torch.zeros(3))
    pictures = torch.zeros(2, 3, 4, 5)
    with pytest.raises(ValueError, match=r"along dim=-1, not \[2, 3, 4, 5\]; of pictures .* dim=1"):
        ciede2000(pictures, pictures)
