import numpy as np
import pytest

from classify.data.lesion import RECIPES, Canvas, outline, pigment


def _canvas(size=48, seed=0, pose=(0.0, 1.0, 0.0, 0.0)):
    return Canvas(size, np.random.default_rng(seed), pose)


def test_noise_has_unit_variance():
    values = np.concatenate([_canvas(32, seed).noise(1.0).ravel() for seed in range(60)])
    assert values.std() == pytest.approx(1.0, rel=0.05)
    clouds = np.concatenate([_canvas(32, seed).cloud(2.0).ravel() for seed in range(60)])
    assert clouds.std() == pytest.approx(1.0, rel=0.06)


def test_a_lattice_has_its_pitch_and_fades_when_it_is_too_fine():
    canvas = _canvas(256)
    cells = canvas.lattice(0.6)
    assert cells.min() >= -1e-6
    assert cells.max() <= 1 + 1e-6
    spectrum = np.abs(np.fft.rfft2(cells - cells.mean()))
    fy, fx = np.fft.fftfreq(256, canvas.pixel), np.fft.rfftfreq(256, canvas.pixel)
    radius = np.hypot(fy[:, None], fx[None])
    peak = radius.ravel()[spectrum.argmax()]
    assert peak == pytest.approx(2 / (3**0.5 * 0.6), rel=0.25)
    assert _canvas(16).lattice(0.3).std() < 0.01


def test_spots_lie_where_they_are_put():
    canvas = _canvas(90)
    spots = canvas.spots(np.array([2.0]), np.array([-1.0]), np.array([0.4]))
    row, column = np.unravel_index(spots.argmax(), spots.shape)
    assert column == pytest.approx(44.5 + 2.0 / 0.1, abs=1)
    assert row == pytest.approx(44.5 - 1.0 / 0.1, abs=1)
    assert spots.max() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("seed", range(4))
def test_maps_are_finite_and_fade_outside(name, seed):
    canvas = _canvas(seed=seed)
    recipe = RECIPES[name]
    radius = sum(recipe.radius) / 2
    inside, fade = outline(canvas, recipe, radius)
    assert fade.min() >= 0
    assert fade.max() <= 1
    assert fade[24, 24] > 0.5
    far = np.hypot(canvas.x, canvas.y) > 2.2 * radius
    for part in pigment(canvas, recipe, recipe, 0.5, radius, inside, fade):
        assert np.isfinite(part).all()
        if far.any():
            assert np.abs(part[far]).max() < 0.02
