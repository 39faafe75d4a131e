import math

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab

import optics
from joint.analysis import colour_accuracy, patch_colours

_BANDS = torch.arange(400, 705, 10, dtype=torch.float64) * 1e-9
_LAMP = optics.daylight(_BANDS)


def _reflectances(count, seed):
    """Smooth random spectra within 0..1: as paints have them, not of measured ones."""
    generator = torch.Generator().manual_seed(seed)
    near = torch.exp(-((_BANDS[:, None] - _BANDS) / 60e-9).square()).numpy()
    values, modes = np.linalg.eigh(near)
    drawn = torch.randn(count, len(_BANDS), generator=generator, dtype=torch.float64).numpy()
    smooth = drawn @ (modes * np.sqrt(values.clip(0))).T
    return torch.sigmoid(torch.from_numpy(1.6 * smooth - 0.6))


def _camera():
    """Bells of 90 nm about 612, 545 and 463 nm, as of a colour camera."""
    middles = torch.tensor([[612e-9], [545e-9], [463e-9]], dtype=torch.float64)
    return torch.exp(-4 * math.log(2) * ((_BANDS - middles) / 90e-9).square())


def _seen(reflectance, sensitivity):
    measured = optics.camera_colours(reflectance, sensitivity, lamp=_LAMP)
    return measured, optics.observer_colours(reflectance, _BANDS, lamp=_LAMP)


def test_a_camera_whose_filters_mix_those_of_the_observer_has_true_colours():
    """Luther's condition: mixtures of the colour-matching functions (Luther 1927)."""
    mixes = torch.tensor([[0.9, 0.2, 0.05], [0.3, 0.9, 0.1], [0.02, 0.1, 0.8], [0.5, 0.1, 0.6]])
    sensitivity = mixes.double() @ optics.colour_matching(_BANDS)
    paints = _reflectances(24, 0)
    for filters in sensitivity[:3], sensitivity[[0, 2, 3]]:
        found = colour_accuracy(*_seen(paints, filters))
        assert float(found.maximum) < 1e-6
        assert float(found.white_error) < 1e-6
        assert found.uncorrected is not None
        assert float(found.uncorrected.mean()) > 3
    # The same matrix holds for any other paint.
    others = colour_accuracy(*_seen(_reflectances(50, 1), filters), matrix=found.matrix)
    assert float(others.maximum) < 1e-6
    # And one channel of a mixture more than the observer has decides nothing.
    with pytest.raises(ValueError, match="2 of the 3 free numbers"):
        colour_accuracy(*_seen(paints, sensitivity))


def test_errors_are_those_of_scikit_image():
    measured, target = _seen(_reflectances(40, 2), _camera())
    target = target.clamp(0.01, 1)  # scikit-image clips before its curve
    found = colour_accuracy(measured, target, names=[f"paint {n}" for n in range(40)])
    corrected = measured @ found.matrix.mT
    for light, errors in (measured, found.uncorrected), (corrected, found.delta_e):
        inside = ((light > 0) & (light < 1)).all(1)
        assert int(inside.sum()) > 30
        theirs = deltaE_ciede2000(
            *(rgb2lab(optics.linear_to_srgb(each[inside]).numpy()) for each in (light, target))
        )
        assert np.abs(errors[inside].numpy() - theirs).max() < 1e-9
    assert float(found.mean) == pytest.approx(float(found.delta_e.numpy().mean()))
    assert float(found.percentile_95) == pytest.approx(np.percentile(found.delta_e, 95))
    assert float(found.maximum) == float(found.delta_e.max())
    told = str(found)
    assert f"with matrix {float(found.mean):8.2f}" in told
    assert f"worst patch paint {int(found.delta_e.argmax())}\n" in told
    assert repr(found) == told


def test_a_matrix_that_loses_white_is_told_so():
    measured, target = _seen(_reflectances(24, 0), _camera())
    kept = colour_accuracy(measured, target)
    matrix = optics.colour_correction(measured, target, white=False)
    free = colour_accuracy(measured, target, matrix=matrix)
    assert float(kept.white_error) < 1e-6
    assert float(free.white_error) > 0.1
    half = torch.eye(3).double() / 2
    white = deltaE_ciede2000(
        rgb2lab(optics.linear_to_srgb(half.sum(1)).numpy()), rgb2lab(np.ones(3))
    )
    grey = colour_accuracy(measured, target, matrix=half)
    assert float(grey.white_error) == pytest.approx(float(white), abs=1e-9)


def test_the_noise_of_the_channels_is_in_the_amplification():
    measured, target = _seen(_reflectances(24, 0), _camera())
    noise = torch.tensor([1.0, 0.8, 1.3], dtype=torch.float64)
    found = colour_accuracy(measured, target, noise=noise)
    expected = optics.noise_amplification(found.matrix, noise=noise)
    assert torch.equal(found.noise_amplification, expected)


def test_gradients_reach_the_measured_colours():
    measured, target = _seen(_reflectances(6, 3), _camera())
    given = measured.requires_grad_()

    def outcome(colours):
        found = colour_accuracy(colours, target)
        return found.mean + found.noise_amplification.sum()

    assert torch.autograd.gradcheck(outcome, given)


def _trained(cost, paints, steps):
    """Filters trained for colour, under the same lamp, with a cost of noise."""
    filters = optics.ColourFilters(_camera().clamp(0.05, 0.95))
    optimiser = torch.optim.Adam(filters.parameters(), lr=0.1)
    target = optics.observer_colours(paints, _BANDS, lamp=_LAMP)
    found = []
    for _ in range(steps):
        sensitivity = filters.transmittance
        # Photon noise of white, relative to that of a pixel without a filter.
        noise = ((sensitivity @ _LAMP) / _LAMP.sum()).rsqrt()
        measured = optics.camera_colours(paints, sensitivity, lamp=_LAMP)
        accuracy = colour_accuracy(measured, target, noise=noise)
        found.append(accuracy)
        loss = accuracy.mean + cost * accuracy.noise_amplification.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return found[0], found[-1], sensitivity.detach()


def test_filters_learn_true_colours_and_what_they_cost_in_noise():
    paints, others = _reflectances(24, 0), _reflectances(100, 1)
    start = colour_accuracy(*_seen(others, _camera()), matrix=_fitted(paints, _camera()))
    noise = {}
    # The last two numbers are those of docs/howto/colour.md.
    for cost, most, seen, unseen in (0.0, 0.1, 0.194, 0.267), (3.0, 0.3, 0.619, 0.798):
        before, after, filters = _trained(cost, paints, 50)
        assert after.mean.item() == pytest.approx(seen, rel=0.05)
        assert after.mean < most * before.mean
        learned = colour_accuracy(*_seen(others, filters), matrix=_fitted(paints, filters))
        assert learned.mean < most * start.mean  # of paints that they have not seen
        assert learned.mean.item() == pytest.approx(unseen, rel=0.05)
        noise[cost] = _level(before), _level(after)
    # True colours alone cost noise; weighed against it, there are filters that are better in both.
    assert noise[0.0][1] > noise[0.0][0]
    assert noise[3.0][1] < noise[3.0][0]


def _fitted(paints, filters):
    return optics.colour_correction(*_seen(paints, filters))


def _level(accuracy):
    return float(accuracy.noise_amplification.mean().detach())


def test_patches_of_a_picture_are_those_that_the_camera_measured():
    masks = torch.zeros(4, 16, 16, dtype=torch.bool)
    colours = torch.tensor([[0.2, 0.3, 0.4], [0.5, 0.2, 0.1], [0.7, 0.7, 0.6], [0.1, 0.6, 0.3]])
    picture = torch.full((3, 16, 16), 0.99)
    for at in range(4):
        masks[at, 2:6, 4 * at : 4 * at + 3] = True
        picture[:, masks[at]] = colours[at][:, None]
    assert torch.allclose(patch_colours(picture, masks), colours)
    assert torch.autograd.gradcheck(
        lambda light: patch_colours(light, masks), picture.double().requires_grad_()
    )
    sensor = optics.Sensor(1e5, bit_depth=14, black_level=64, cfa="rggb")
    read = sensor(picture[None], generator=torch.Generator().manual_seed(0))[0]
    within = torch.zeros_like(masks)
    for at in range(4):
        within[at, 3:5, 4 * at + 1] = True
    assert torch.allclose(patch_colours(read, within), colours, atol=0.15)


def test_a_noisy_white_patch_balances_the_others_and_is_not_saturated():
    masks = torch.zeros(2, 20, 20, dtype=torch.bool)
    masks[0, :8], masks[1, 12:] = True, True
    picture = torch.full((3, 20, 20), 0.3)
    picture[:, :8] = 0.72
    cast = torch.tensor([0.6, 1.0, 0.8])[:, None, None]
    sensor = optics.Sensor(1e4, black_level=20)
    read = sensor((cast * picture)[None], generator=torch.Generator().manual_seed(0))[0]
    colours = patch_colours(read, masks)
    measured = colours / colours[0]
    assert torch.allclose(measured[1], torch.full((3,), 0.3 / 0.72), atol=5e-3)
    # Divided by white, as its pixels would be, half of them are above 1.
    with pytest.raises(ValueError, match="patches 0 have saturated"):
        patch_colours(read / colours[0][:, None, None], masks)


_PICTURE = torch.full((3, 4, 4), 0.5)
_MASK = torch.ones(1, 4, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("picture", "masks", "error", "message"),
    [
        ([[0.5]], _MASK, TypeError, "picture must be a Tensor"),
        (_PICTURE, _MASK.float(), ValueError, "masks must be bool"),
        (_PICTURE[None], _MASK, ValueError, r"floats \[C, 4, 4\].*not .* \[1, 3, 4, 4\]"),
        (_PICTURE / 0, _MASK, ValueError, "picture must be finite"),
        (_PICTURE, torch.cat((_MASK, ~_MASK)), ValueError, "masks 1 have no pixel"),
        (
            torch.cat((_PICTURE[:2], torch.eye(4)[None])),
            _MASK,
            ValueError,
            "patches 0 have saturated pixels, at 1 or above, so that their mean is too dark",
        ),
    ],
)
def test_patches_that_tell_no_colour_are_refused(picture, masks, error, message):
    with pytest.raises(error, match=message):
        patch_colours(picture, masks)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"measured": None}, TypeError, "measured must be a Tensor"),
        ({"target": torch.rand(5, 4)}, ValueError, r"target must be \[N, 3\], linear sRGB of N"),
        ({"measured": torch.rand(4, 3)}, ValueError, "measured has 4 patches and target 5"),
        (
            {"measured": torch.rand(0, 3), "target": torch.rand(0, 3)},
            ValueError,
            r"sRGB of N patches, not \[0, 3\]",
        ),
        ({"target": 255 * torch.ones(5, 3)}, ValueError, "reaches 255, but its white is 1"),
        (
            {"measured": 255 * torch.ones(5, 3), "matrix": torch.eye(3)},
            ValueError,
            "patch 0 has 255 in channel 0",
        ),
        ({"matrix": torch.eye(3) / 0}, ValueError, "matrix must be finite"),
        ({"matrix": torch.eye(4)}, ValueError, r"matrix must be \[3, 3\], from the channels"),
        ({"matrix": [1.0]}, TypeError, "matrix must be a Tensor"),
        ({"names": "abcd"}, ValueError, "names has 4 for 5 patches"),
        ({"measured": 2 * torch.ones(5, 3)}, ValueError, "patch 0 has 2 in channel 0"),
        ({"noise": torch.ones(4)}, ValueError, "one for each of 3 channels"),
    ],
)
def test_colours_that_cannot_be_judged_are_refused(change, error, message):
    generator = torch.Generator().manual_seed(0)
    measured, target = torch.rand(2, 5, 3, generator=generator)
    with pytest.raises(error, match=message):
        colour_accuracy(**{"measured": measured, "target": target} | change)
