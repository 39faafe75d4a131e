import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import optics


def _patches(count=24, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    measured = torch.rand(count, channels, generator=generator, dtype=torch.float64)
    return measured, torch.randn(count, 3, generator=generator, dtype=torch.float64)


@given(st.integers(1, 6), st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_without_white_it_is_the_least_squares_of_numpy(channels, seed):
    measured, target = _patches(channels=channels, seed=seed)
    theirs = np.linalg.lstsq(measured.numpy(), target.numpy(), rcond=None)[0].T
    ours = optics.colour_correction(measured, target, white=False)
    assert np.abs(ours.numpy() - theirs).max() < 1e-9


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_with_white_it_is_the_constrained_minimum_of_scipy(channels):
    measured, target = _patches(channels=channels)
    generator = torch.Generator().manual_seed(5)
    weights = torch.rand(24, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.rand(channels, generator=generator, dtype=torch.float64)
    ours = optics.colour_correction(measured, target, weights=weights, noise=noise)

    def cost(row, wanted):
        error = (measured.numpy() @ row - wanted) ** 2 + (row**2 * noise.numpy() ** 2).sum()
        return (weights.numpy() * error).sum()

    for row, wanted in zip(ours.numpy(), target.numpy().T, strict=True):
        found = minimize(
            cost, np.full(channels, 1 / channels), args=(wanted,), method="SLSQP", tol=1e-14,
            constraints={"type": "eq", "fun": lambda row: row.sum() - 1},
        )  # fmt: skip
        assert row == pytest.approx(found.x, abs=1e-5)
        assert cost(row, wanted) <= found.fun * (1 + 1e-9)


@given(st.integers(1, 6), st.booleans(), st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_a_camera_of_linear_colours_is_corrected_exactly(channels, white, seed):
    measured, _ = _patches(channels=channels, seed=seed)
    true = torch.rand(3, channels, dtype=torch.float64)
    if white:
        true = true / true.sum(1, keepdim=True)
    found = optics.colour_correction(measured, measured @ true.mT, white=white)
    assert torch.allclose(found, true, atol=1e-8)


def test_white_is_kept_to_rounding_also_in_single_precision():
    measured, target = _patches(channels=4)
    for kind in torch.float32, torch.float64:
        matrix = optics.colour_correction(measured.to(kind), target.to(kind))
        assert matrix.dtype == kind
        assert torch.allclose(matrix.sum(1), torch.ones(3, dtype=kind), atol=4 * _eps(kind))
    free = optics.colour_correction(measured, target, white=False)
    assert not torch.allclose(free.sum(1), torch.ones(3, dtype=free.dtype), atol=1e-2)


def _eps(kind):
    return 10 * torch.finfo(kind).eps


def test_weights_are_repeated_patches():
    measured, target = _patches()
    weights = torch.arange(24) % 3
    rows = torch.repeat_interleave(torch.arange(24), weights)
    ours = optics.colour_correction(measured, target, weights=weights, noise=0.1)
    assert torch.allclose(
        ours, optics.colour_correction(measured[rows], target[rows], noise=0.1), atol=1e-12
    )


def test_the_noise_is_that_of_many_noisy_readings():
    """Least squares of noisy readings is what the noise term is the mean of."""
    measured, target = _patches(count=12)
    generator = torch.Generator().manual_seed(3)
    noise = torch.tensor([0.02, 0.05, 0.03], dtype=torch.float64)
    readings = 20_000
    drawn = torch.randn(readings, 12, 3, generator=generator, dtype=torch.float64)
    noisy = (0.5 + 0.5 * measured / 2 + noise * drawn).flatten(0, 1)  # away from 0 and 1
    theirs = np.linalg.lstsq(noisy.numpy(), target.repeat(readings, 1).numpy(), rcond=None)[0].T
    ours = optics.colour_correction(0.5 + 0.5 * measured / 2, target, white=False, noise=noise)
    free = optics.colour_correction(0.5 + 0.5 * measured / 2, target, white=False)
    assert np.abs(ours.numpy() - theirs).max() < 0.02 * np.abs(theirs).max()
    assert np.abs(free.numpy() - theirs).max() > 0.1 * np.abs(theirs).max()


def test_more_noise_makes_a_matrix_that_amplifies_less():
    measured, target = _patches()
    norms = [
        optics.noise_amplification(optics.colour_correction(measured, target, noise=noise))
        for noise in (0.0, 0.05, 0.2, 1.0, 1e4)
    ]
    assert all((more < less).all() for less, more in itertools.pairwise(norms))
    # Without any colour left: the mean of the channels.
    assert torch.allclose(norms[-1], torch.full((3,), 3**-0.5, dtype=torch.float64), atol=1e-6)


def test_noise_amplification_is_the_spread_behind_the_matrix():
    matrix, _ = _patches(count=3, channels=4)
    noise = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    expected = np.sqrt(np.diag(matrix.numpy() @ np.diag(noise.numpy() ** 2) @ matrix.numpy().T))
    assert optics.noise_amplification(matrix, noise=noise).numpy() == pytest.approx(expected)
    assert optics.noise_amplification(torch.eye(3)).tolist() == [1, 1, 1]
    sensor = optics.Sensor(
        1e4, bit_depth=None, black_level=0.4, gain=1e5, read_noise=90, shot_noise="none",
        colour_matrix=torch.tensor([[1.8, -0.7, -0.1], [-0.3, 1.5, -0.2], [0.0, -0.6, 1.6]]),
    )  # fmt: skip
    flat = torch.full((1, 3, 200, 200), 0.5)
    read = sensor(flat, generator=torch.Generator().manual_seed(0)).std((-2, -1))[0]
    alone = 90 / (1e5 * 0.6)
    expected = alone * optics.noise_amplification(sensor.colour_matrix)
    assert torch.allclose(read, expected, rtol=0.02)


@pytest.mark.parametrize("white", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_gradients_are_finite_differences(white, channels):
    measured, target = _patches(count=8, channels=channels)
    inside = 0.1 + 0.8 * measured
    weights = torch.linspace(0.5, 1.5, 8, dtype=torch.float64)
    noise = torch.linspace(0.05, 0.1, channels, dtype=torch.float64)
    given = [part.requires_grad_() for part in (inside, target, weights, noise)]
    assert torch.autograd.gradcheck(
        lambda a, t, w, n: optics.colour_correction(a, t, white=white, weights=w, noise=n), given
    )


def test_vmap_and_one_channel():
    measured, target = _patches(count=5)
    both = torch.stack((measured, measured.flip(0)))
    found = torch.func.vmap(lambda a: optics.colour_correction(a, target))(both)
    assert torch.allclose(found[1], optics.colour_correction(both[1], target))
    grey = optics.colour_correction(measured[:, :1], target)
    assert grey.tolist() == [[1.0]] * 3


def test_over_white_it_shows_true_colours_behind_the_filters_of_a_camera():
    """Filters absorb light, so that their channels do not read 1 for white, as the matrix takes."""
    bands = torch.arange(400, 705, 10, dtype=torch.float64) * 1e-9
    mixes = torch.tensor([[0.9, 0.2, 0.05], [0.3, 0.9, 0.1], [0.02, 0.1, 0.8]]).double()
    # Luther's condition, of pixels that count photons.
    seen = mixes @ optics.colour_matching(bands) / bands
    filters = optics.ColourFilters(seen / (1.2 * seen.max()), trainable=False)
    camera = optics.ColourChannels(len(bands), filters=filters).double()
    generator = torch.Generator().manual_seed(0)
    paints = torch.rand(12, len(bands), generator=generator, dtype=torch.float64)
    lamp = 1 / bands  # the white light of a system has as many photons in each band
    target = optics.observer_colours(paints, bands, lamp=lamp)
    measured = optics.camera_colours(paints, camera.matrix * bands, lamp=lamp)
    matrix = optics.colour_correction(measured, target)
    light = camera(paints[:, :, None, None].expand(-1, -1, 2, 2))
    white = camera.matrix.sum(1)
    assert white.max() < 0.5

    def shown(applied):
        sensor = optics.Sensor(
            1e4, colour_matrix=applied, read_noise=0.0, shot_noise="none", bit_depth=None
        )
        return sensor(light)[:, :, 0, 0]

    assert torch.allclose(shown(matrix / white), target, atol=1e-6)
    assert (shown(matrix) - target).abs().max() > 0.3


_GREYS = torch.linspace(0.1, 0.9, 9)[:, None].expand(9, 3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"measured": [[0.1]]}, TypeError, "measured must be a Tensor"),
        ({"measured": torch.rand(3)}, ValueError, r"\[patches, channels\], not .* \[3\]"),
        ({"target": torch.rand(7, 3)}, ValueError, "measured has 24 patches and target 7"),
        ({"target": torch.full((24, 3), torch.nan)}, ValueError, "target must be finite"),
        (
            {"target": torch.full((24, 3), 243.0)},
            ValueError,
            "target reaches 243, but its white is 1: divide 8-bit codes by 255 and take "
            "srgb_to_linear of them",
        ),
        ({"noise": -0.1}, ValueError, "noise must be 0 or more"),
        ({"noise": torch.ones(2)}, ValueError, r"one for each of 3 channels, not \[2\]"),
        ({"weights": -torch.ones(24)}, ValueError, "weights must be 0 or more"),
        ({"weights": torch.ones(3)}, ValueError, r"one for each of 24 patches, not \[3\]"),
        (
            {"weights": torch.zeros(24)},
            ValueError,
            "24 patches determine 0 of the 2 free numbers",
        ),
        (
            {"measured": _GREYS, "target": torch.rand(9, 3)},
            ValueError,
            "9 patches determine 0 of the 2 free numbers in each row of the matrix: give at least "
            "2 patches of colours that are not mixtures of one another",
        ),
        (
            {"measured": torch.rand(2, 3), "target": torch.rand(2, 3), "white": False},
            ValueError,
            "2 patches determine 2 of the 3 free numbers",
        ),
    ],
)
def test_patches_that_determine_no_matrix_are_refused(change, error, message):
    measured, target = _patches()
    with pytest.raises(error, match=message):
        optics.colour_correction(**{"measured": measured, "target": target} | change)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_reading_that_no_linear_camera_gives_is_named(value):
    measured, target = _patches()
    measured[7, 2] = value
    with pytest.raises(
        ValueError, match=f"patch 7 has {value:g} in channel 2, and 0 others.*saturated"
    ):
        optics.colour_correction(measured, target)


def test_a_white_that_was_rounded_up_is_not_saturated():
    measured, target = _patches()
    measured[0] = 1 + 1e-12
    assert optics.colour_correction(measured, target).shape == (3, 3)


def test_a_target_without_white_is_in_any_unit():
    measured, target = _patches()
    ours = optics.colour_correction(measured, 100 * target, white=False)
    one = optics.colour_correction(measured, target, white=False)
    assert torch.allclose(ours, 100 * one, rtol=1e-12)


def test_channels_that_see_the_same_are_named_and_noise_decides_between_them():
    measured, target = _patches()
    twice = torch.cat((measured, measured[:, :1]), 1)
    with pytest.raises(ValueError, match=r"3 of the 4 free numbers.*channels that do not see"):
        optics.colour_correction(twice, target, white=False)
    matrix = optics.colour_correction(twice, target, noise=1e-2)
    assert torch.allclose(matrix[:, 0], matrix[:, 3])


@pytest.mark.parametrize(
    ("matrix", "noise", "message"),
    [
        (torch.rand(3), 1.0, r"matrix must be real floating point \[K, C\], not .* \(3,\)"),
        (torch.rand(2, 3, 3), 1.0, r"matrix must be \[K, C\], not \[2, 3, 3\]"),
        (torch.eye(3).long(), 1.0, r"matrix must be real floating point \[K, C\], not torch.int64"),
        (1j * torch.eye(3), 1.0, "matrix must be real floating point"),
        (torch.full((3, 3), torch.inf), 1.0, "matrix must be finite"),
        (torch.eye(3), -1.0, "noise must be 0 or more"),
        (torch.eye(3), torch.ones(4), r"one for each of 3 channels, not \[4\]"),
    ],
)
def test_noise_of_no_matrix_is_refused(matrix, noise, message):
    with pytest.raises(ValueError, match=message):
        optics.noise_amplification(matrix, noise=noise)
    with pytest.raises(TypeError, match="matrix must be a Tensor"):
        optics.noise_amplification([[1.0]])
