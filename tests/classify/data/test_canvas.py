import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from classify.data.canvas import FIELD, ZOOM, Canvas, _spline
from classify.data.draws import Draws, keys_of


def _canvas(size=64, count=1, *, zoom=1.0, shift=(0.0, 0.0)):
    return Canvas.seen(
        size, zoom=torch.full((count, 1), zoom), shift=torch.tensor([shift]).expand(count, 2)
    )


def _draws(count=1, seed=0):
    return Draws(keys_of(seed, 1, torch.arange(count), torch.zeros(count)))


def test_spline_weights_are_those_of_scipy():
    at = torch.linspace(-3.2, 6.4, 50, dtype=torch.float64)[None]
    first, weights = _spline(at, 16)
    assert int(first) % 2 == 0
    for column in range(16):
        knot = int(first) + column
        basis = BSpline.basis_element(np.arange(knot - 2, knot + 3), extrapolate=False)
        expected = np.nan_to_num(basis(at[0].numpy()))
        np.testing.assert_allclose(weights[0, :, column], expected, atol=1e-12)
    np.testing.assert_allclose(weights.sum(2), 1, atol=1e-12)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_noise_has_mean_0_and_unit_variance(scale):
    values = _canvas(64, 80).noise(_draws(80), scale)
    assert float(values.mean()) == pytest.approx(0, abs=0.05)
    assert float(values.std()) == pytest.approx(1, rel=0.05)


def test_a_pose_looks_at_the_same_noise_elsewhere():
    pixel = FIELD / 64
    plain = _canvas(64).noise(_draws(), 0.8)[0]
    moved = _canvas(64, shift=(8 * pixel, -4 * pixel)).noise(_draws(), 0.8)[0]
    np.testing.assert_allclose(moved[:-4, 8:], plain[4:, :-8], atol=1e-4)


def test_scales_of_a_batch_are_those_of_its_fields_alone():
    scales = torch.tensor([0.5, 1.7, 0.9])[:, None, None]
    together = _canvas(48, 3).noise(_draws(3), scales, least=0.4)
    alone = _canvas(48).noise(_draws(3).of(torch.tensor([1])), scales[1:2], least=0.4)
    assert torch.equal(together[1:2], alone)
    with pytest.raises(TypeError, match="needs least=, its lower bound"):
        _canvas(48, 3).noise(_draws(3), scales)


def test_honeycombs_have_their_pitch_and_fade_when_they_are_too_fine():
    canvas, pitch = _canvas(256), torch.tensor([[[0.6]]])
    cells = canvas.honeycomb(_draws(), pitch, least=0.6, disorder=0.0)[0].numpy()
    assert cells.min() >= -1e-6
    assert cells.max() <= 1 + 1e-6
    spectrum = np.abs(np.fft.rfft2(cells - cells.mean()))
    pixel = float(canvas.pixel)
    fy, fx = np.fft.fftfreq(256, pixel), np.fft.rfftfreq(256, pixel)
    peak = np.hypot(fy[:, None], fx[None]).ravel()[spectrum.argmax()]
    assert peak == pytest.approx(2 / (3**0.5 * 0.6), rel=0.05)
    coarse = _canvas(16).honeycomb(_draws(), torch.tensor([[[0.4]]]), least=0.4)
    np.testing.assert_allclose(coarse, 1 / 3, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    st.floats(-2, 2), st.floats(-2, 2), st.floats(0.02, 1.2), st.sampled_from([32, 64, 200]),
    st.floats(*ZOOM),
)  # fmt: skip
def test_disks_lie_where_they_are_put_and_have_their_area(x, y, radius, size, zoom):
    canvas = _canvas(size, zoom=zoom)
    at = (torch.tensor([[value]]) for value in (x, y, radius))
    disk = canvas.disks(*at, largest=1.2)
    weight, pixel = disk / disk.sum(), float(canvas.pixel)
    assert float((weight * canvas.x).sum()) == pytest.approx(x, abs=0.5 * pixel)
    assert float((weight * canvas.y).sum()) == pytest.approx(y, abs=0.5 * pixel)
    assert float(disk.max()) <= 1
    # It is seen by few pixels, as they happen to lie; over many places, see below.
    assert float(disk.sum()) * pixel**2 == pytest.approx(math.pi * radius**2, rel=0.15)


@pytest.mark.parametrize("radius", [0.1, 0.5, 0.6, 1.0, 3.0])
def test_disks_have_their_area_on_average_whatever_their_size_in_pixels(radius):
    count, canvas = 4000, _canvas(16, 4000)
    pixel = float(canvas.pixel[0])
    x, y = (torch.rand(2, count, 1, generator=torch.Generator().manual_seed(0)) - 0.5) * pixel
    size = radius * pixel
    drawn = canvas.disks(x, y, torch.full((count, 1), size), largest=size)
    assert float(drawn.sum()) / count == pytest.approx(math.pi * radius**2, rel=0.004)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, math.pi), st.floats(0.03, 0.3), st.sampled_from([32, 64, 200]))
def test_lines_have_their_width_even_below_a_pixel(angle, width, size):
    canvas, lines = _canvas(size), 7
    # Side by side, so that they lie differently on the pixels.
    along, aside = torch.linspace(-2, 2, 9), 0.73 * torch.arange(-3, 4)[:, None]
    c, s = math.cos(angle), math.sin(angle)
    courses = torch.stack((c * along - s * aside, s * along + c * aside), 2)
    widths = torch.full((1, lines), width)
    drawn = canvas.lines(courses[None], widths, longest=0.5, widest=0.3)
    assert float(drawn.max()) <= 1
    area, pixel = float(drawn.sum()) * float(canvas.pixel) ** 2 / lines, float(canvas.pixel)
    # The ends are round, and fade over half a pixel.
    assert 0.92 * 4 * width <= area <= 1.08 * (4 + width + pixel) * width


def test_marks_out_of_view_or_not_there_leave_no_trace():
    canvas = _canvas(32, 2)
    x, radius = torch.tensor([[0.0, 30.0], [0.0, -30.0]]), torch.full((2, 2), 0.5)
    level = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    disks = canvas.disks(x, torch.zeros(2, 2), radius, largest=0.5, level=level)
    assert float(disks[0].max()) == 0
    assert float(disks[1].max()) == 1
    # Just out of view: its patch is cut at the rim, not pressed onto it.
    near = torch.tensor([[-4.9, 0.0], [0.0, 4.9]])
    outside = canvas.disks(near, near.flip(1), torch.full((2, 2), 0.2), largest=0.5)
    assert float(outside.max()) == 0
    none = canvas.disks(x, torch.zeros(2, 2), radius, largest=0.5, level=torch.zeros(2, 2))
    assert float(none.max()) == 0
