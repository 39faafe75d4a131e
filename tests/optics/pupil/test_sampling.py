import math

import numpy as np
import pytest
from scipy.special import j1

from optics.pupil.sampling import (
    Grid,
    image_distance_of,
    point_spacing,
    q_sampling,
    shared_grid,
    spacing_across,
    window_period,
)


def test_a_grid_is_shared_by_elements_and_by_what_is_told():
    grid = Grid((8, 9), 1e-4)
    assert shared_grid([], size=(8, 9), spacing=1e-4) == grid
    assert shared_grid([grid, grid]) == grid
    # As it is read from a file with ten digits.
    assert shared_grid([grid], spacing=1.00000000004e-4) == grid
    assert shared_grid([grid], size=(8, 9)) == grid
    for told in ({"spacing": 1.000001e-4}, {"size": (9, 8)}):
        with pytest.raises(ValueError, match=r"share one grid .*; they have \[\(\(8, 9\), 0\.0001"):
            shared_grid([grid], **told)
    for few in ({}, {"size": 8}, {"spacing": 1e-4}):
        with pytest.raises(ValueError, match="without any, give size and spacing"):
            shared_grid([], **few)
    with pytest.raises(ValueError, match="spacing must be positive"):
        shared_grid([grid], spacing=-1.0)
    with pytest.raises(TypeError, match=r"spacing must be one number.* interpolate the map"):
        shared_grid([grid], spacing=(1e-4, 2e-4))


def test_the_image_follows_the_lens_equation():
    assert image_distance_of(0.05, math.inf) == 0.05
    for focus in (0.06, 0.1, 2.0):
        found = image_distance_of(0.05, focus)
        assert 1 / found == pytest.approx(1 / 0.05 - 1 / focus, rel=1e-12)


def test_the_rims_lie_on_the_first_and_the_last_sample():
    assert spacing_across(3e-3, 31) * 30 == pytest.approx(3e-3, rel=1e-15)


def _airy(v):
    """Airy's pattern at the distances v lambda s' / D, as a density over their square."""
    v = np.pi * np.asarray(v, dtype=float)
    bright = np.where(v == 0, 1, 2 * j1(v) / np.where(v == 0, 1, v)) ** 2
    return math.pi / 4 * bright


def _light(apart):
    """Sum of Airy's pattern over points, 200 units to either side: outside are 0.2 % of it."""
    x = apart * np.arange(-math.floor(200 / apart), math.floor(200 / apart) + 1)
    return sum(_airy(np.hypot(row, x)).sum() for row in x) * apart**2


@pytest.mark.parametrize(
    ("quality", "oversample", "enough", "least"),
    [
        (1.0, 1, True, 1),
        (1 - 1e-12, 1, True, 1),
        (0.999, 1, False, 3),
        (2.5, 1, True, 1),
        (0.4, 1, False, 3),
        (0.4, 3, True, 3),
        (1 / 3, 3, True, 3),
        (0.33, 3, False, 5),
        (1 / 7, 5, False, 7),
        (1 / 49, 49, True, 49),
    ],
)
def test_points_are_enough_where_they_add_up_to_the_light_of_an_airy_pattern(
    quality, oversample, enough, least
):
    found = point_spacing(quality, oversample)
    assert (found.enough, found.least) == (enough, least)
    assert point_spacing(quality, least).enough
    assert least == 1 or not point_spacing(quality, least - 2).enough
    if enough:
        assert _light(1 / (quality * oversample)) == pytest.approx(1, abs=0.003)


def test_points_too_far_apart_make_the_light_of_the_frequencies_that_they_fold():
    # Four neighbours at 0.8 of the cut-off, and the others beyond it.
    folded = 2 / math.pi * (math.acos(0.8) - 0.8 * 0.6)
    assert not point_spacing(0.8, 1).enough
    assert _light(1 / 0.8) == pytest.approx(1 + 4 * folded, abs=0.003)


def test_what_to_do_about_points_depends_on_how_many_it_takes():
    found = point_spacing(1 / 31, 1)
    assert found.advice("or larger pixels") == "give oversample=31, or larger pixels"
    told = "give all lengths in metres; of these, oversample=33 would be needed"
    assert point_spacing(1 / 31.1, 1).advice("or larger pixels") == told


def test_a_window_is_at_most_as_wide_as_the_period_of_the_transform():
    # 7 intervals across the pupil: Q = 2 pixels are a period of 14.
    assert window_period(2.0, 14, samples=8) == (True, 14.0, 8)
    assert window_period(2.0, 15, samples=8) == (False, 14.0, 9)
    wave, image, diameter, pitch = 550e-9, 0.05, 4e-3, 3e-6
    (quality,) = q_sampling((wave,), image_distance=image, diameter=diameter, pixel_pitch=pitch)
    assert quality == pytest.approx(wave * image / diameter / pitch, rel=1e-12)
    samples = 12
    period = window_period(quality, 1, samples=samples).period
    at = spacing_across(diameter, samples) * (np.arange(samples) - samples // 2)
    pupil = np.random.default_rng(0).normal(size=samples)
    x = pitch * np.array([0.0, 1.7, 5.2])
    here, there = (
        abs(np.exp(-2j * np.pi * np.outer(x + shift, at) / (wave * image)) @ pupil)
        for shift in (0.0, period * pitch)
    )
    np.testing.assert_allclose(there, here, rtol=1e-9)


def test_lengths_that_are_rounded_are_taken_as_they_are_meant():
    # 400e-9 * 1.4 is less than 5.6e-7, in the last bit.
    (quality,) = q_sampling((400e-9,), image_distance=1.4, diameter=1.0, pixel_pitch=5.6e-7)
    assert quality < 1
    assert point_spacing(quality, 1).enough
    assert window_period(quality, 63, samples=64).fits
