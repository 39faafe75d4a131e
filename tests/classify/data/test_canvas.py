import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from classify.data.canvas import FIELD, Canvas, _spline


def _canvas(size=64, seed=0, **pose):
    return Canvas(size, np.random.default_rng(seed), **pose)


def test_spline_weights_are_those_of_scipy():
    at = np.linspace(2, 5, 50, endpoint=False)
    first, weights = _spline(at)
    for tap, weight in enumerate(weights):
        basis = [BSpline.basis_element(np.arange(k - 3, k + 2)) for k in first + tap]
        expected = [float(b(x)) for b, x in zip(basis, at, strict=True)]
        np.testing.assert_allclose(weight, expected, atol=1e-12)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_noise_has_mean_0_and_unit_variance(scale):
    values = np.concatenate([_canvas(64, seed).noise(scale).ravel() for seed in range(80)])
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, rel=0.05)


def test_a_pose_looks_at_the_same_noise_elsewhere():
    pixel = FIELD / 64
    plain = _canvas(64).noise(0.8)
    moved = _canvas(64, shift=(8 * pixel, -4 * pixel)).noise(0.8)
    np.testing.assert_allclose(moved[:-4, 8:], plain[4:, :-8], atol=1e-4)


def test_honeycombs_have_their_pitch_and_fade_when_they_are_too_fine():
    canvas = _canvas(256)
    cells = canvas.honeycomb(0.6, disorder=0.0)
    assert cells.min() >= -1e-6
    assert cells.max() <= 1 + 1e-6
    spectrum = np.abs(np.fft.rfft2(cells - cells.mean()))
    fy, fx = np.fft.fftfreq(256, canvas.pixel), np.fft.rfftfreq(256, canvas.pixel)
    peak = np.hypot(fy[:, None], fx[None]).ravel()[spectrum.argmax()]
    assert peak == pytest.approx(2 / (3**0.5 * 0.6), rel=0.05)
    np.testing.assert_allclose(_canvas(16).honeycomb(0.4), 1 / 3, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.4, 1.2), st.sampled_from([64, 200]))
def test_disks_lie_where_they_are_put_and_have_their_area(x, y, radius, size):
    canvas = _canvas(size)
    disk = canvas.disks(np.array([x]), np.array([y]), np.array([radius]))
    weight = disk / disk.sum()
    assert (weight * canvas.x).sum() == pytest.approx(x, abs=0.5 * canvas.pixel)
    assert (weight * canvas.y).sum() == pytest.approx(y, abs=0.5 * canvas.pixel)
    assert disk.sum() * canvas.pixel**2 == pytest.approx(np.pi * radius**2, rel=0.15)


def test_lines_have_their_width_even_below_a_pixel():
    course = np.array([[-3.0, 0.3], [3.0, 0.3]])
    for size, width in ((64, 0.3), (64, 0.07), (32, 0.04), (256, 0.3)):
        canvas = _canvas(size)
        drawn = canvas.lines([course], [width])
        assert drawn.sum() * canvas.pixel**2 == pytest.approx(6 * width, rel=0.2)
