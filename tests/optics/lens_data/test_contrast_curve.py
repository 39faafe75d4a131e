import math

import numpy as np
import pytest
import torch
from scipy.interpolate import PchipInterpolator

from optics.lens_data.contrast_curve import check_curves, continued_curve, lens_curves, pixel_area


def _continued(cycles, contrast, *, cutoff=None, beyond="zero"):
    return continued_curve(
        torch.as_tensor(cycles), torch.as_tensor(contrast), cutoff=cutoff, beyond=beyond
    )


@pytest.mark.parametrize("points", [2, 3, 4, 12])
def test_between_its_points_it_is_the_cubic_of_scipy(points):
    generator = np.random.default_rng(points)
    for _ in range(20):
        cycles = np.concatenate([[0.0], np.cumsum(generator.uniform(0.02, 0.3, points - 1))])
        contrast = np.stack([generator.uniform(-1, 1, points), np.sort(generator.random(points))])
        contrast[:, 1:2] = contrast[:, :1]  # a plateau as well
        curve, reach = _continued(cycles, contrast)
        assert reach == cycles[-1]
        at = generator.uniform(0, reach, (7, 9))
        expected = PchipInterpolator(cycles, contrast, axis=1)(at)
        np.testing.assert_allclose(curve(torch.from_numpy(at)), expected, atol=1e-12)


def test_what_follows_its_end():
    cycles = np.linspace(0, 0.2, 21)
    gauss = np.exp(-30 * cycles**2)
    curve, reach = _continued(cycles, gauss, beyond="gaussian")
    at = np.linspace(0.2, reach, 50)
    np.testing.assert_allclose(curve(torch.from_numpy(at)), np.exp(-30 * at**2), atol=1e-12)
    assert math.exp(-30 * reach**2) == pytest.approx(1e-4)

    def pupil(f):
        s = np.clip(f / 0.8, 0, 1)
        return 2 / math.pi * (np.arccos(s) - s * np.sqrt(1 - s * s))

    curve, reach = _continued(cycles, 0.7 * pupil(cycles), cutoff=0.8, beyond="diffraction")
    assert reach == 0.8
    at = np.linspace(0.2, 0.9, 50)
    np.testing.assert_allclose(curve(torch.from_numpy(at)), 0.7 * pupil(at), atol=1e-12)
    # Nothing follows a dark end, or one at the cut-off.
    assert _continued(cycles, gauss * (cycles < 0.2), beyond="gaussian")[1] == cycles[-1]
    for rule in (None, "gaussian", "diffraction"):
        assert _continued(cycles, gauss, beyond=rule, cutoff=0.2)[1] == cycles[-1]


def test_what_is_a_little_too_high_is_lowered_with_its_gradient_at_the_limit():
    cycles = torch.linspace(0, 0.5, 6, dtype=torch.float64)
    given = torch.tensor([1.0, 1.0, 1.02, 0.9, -1.03, 0.5], dtype=torch.float64)
    given.requires_grad_()
    curves = check_curves(cycles, given, None)
    _, lens = lens_curves(curves, cycles, cutoff=None, measured="lens", azimuth=0.0)
    assert lens.tolist() == [[1.0, 1.0, 1.0, 0.9, -1.0, 0.5]]
    (slope,) = torch.autograd.grad(lens.sum(), given)
    assert slope.tolist() == [1, 1, 0, 1, 0, 1]


def test_the_pixel_is_that_of_two_sides():
    fy, fx = torch.tensor([0.3]), torch.tensor([0.4])
    assert float(pixel_area(fy, fx)) == pytest.approx(np.sinc(0.3) * np.sinc(0.4))
