import math

import numpy as np
import pytest
import torch

import optics

_LAMBDA = 550e-9
_GREEN = torch.tensor([_LAMBDA], dtype=torch.float64)


def _random(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, dtype=torch.float64, generator=generator)


def _places():
    """A grid of 17 samples that are 1/8 of a radius apart, in radii and in metres."""
    t = optics.coordinates(17, spacing=1 / 8)
    return torch.meshgrid(t, t, indexing="ij"), torch.meshgrid(t * 4e-4, t * 4e-4, indexing="ij")


def test_an_aberration_is_trained_in_parts_of_a_wave():
    # The first step of Adam is its rate, whatever the gradient.
    start = torch.nn.Parameter(torch.tensor([0.0, 3e-8, 0.0], dtype=torch.float64))
    grid = {"spacing": 4e-6, "diameter": 64e-6, "indices": (4, 6, 11)}
    element = optics.Aberration(16, coefficients=start, **grid)
    torch.testing.assert_close(element.coefficients, start)
    assert {*element.state_dict()} == {"raw"}
    optimiser = torch.optim.Adam(element.parameters(), lr=2e-3)
    field = torch.complex(_random(1, 16, 16), _random(2, 16, 16))
    (element(field, wavelength=_LAMBDA) * field).real.square().sum().backward()
    optimiser.step()
    moved = element.coefficients - start
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 2e-9), rtol=1e-4, atol=0)
    assert start.grad is None
    frozen = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
    assert not optics.Aberration(16, coefficients=frozen, **grid).raw.requires_grad
    # What follows from something that is trained elsewhere still does.
    waves = torch.ones(3, requires_grad=True)
    element = optics.Aberration(16, coefficients=1e-8 * waves, **grid)
    assert not list(element.parameters())
    element.phase_shift(_GREEN).sum().backward()
    assert waves.grad.abs().max() > 0


def test_coefficients_in_waves_are_warned_of():
    grid = {"spacing": 4e-6, "diameter": 60e-6, "indices": (4, 11)}
    waves = torch.nn.Parameter(torch.tensor([0.0, -0.07]))
    with pytest.warns(UserWarning, match=r"metres RMS, and reach 0\.07: .* are 0\.07 \* 550e-9"):
        optics.Aberration(16, coefficients=waves, **grid)
    optics.Aberration(16, coefficients=torch.tensor([0.0, 0.9e-3]), **grid)  # silent


def test_an_aberration_says_what_it_is_made_of():
    def make(coefficients, indices):
        return optics.Aberration(
            8, spacing=1e-6, diameter=8e-6, coefficients=coefficients, indices=indices
        )

    two = torch.tensor([1e-8, 1e-8])
    with pytest.raises(TypeError, match=r"coefficients must be a Tensor, not list: .*as_tensor"):
        make([3.9e-8], [11])
    with pytest.raises(
        TypeError, match=r"indices must be a sequence of Noll's, .*\[4, 11\], not 11"
    ):
        make(two[:1], 11)
    with pytest.raises(ValueError, match=r"indices must be Noll's, each once, not \[4, 4\]"):
        make(two, [4, np.int64(4)])
    with pytest.raises(ValueError, match=r"each of indices must be a whole number .* not \(2, 0\)"):
        make(two, [(2, 0), (2, 2)])
    with pytest.raises(ValueError, match="coefficients must be finite, in metres RMS"):
        make(torch.tensor([1e-8, math.nan]), [4, 5])


def test_an_aberration_has_the_rms_of_its_coefficients():
    n, dx = 256, 1e-6
    coefficients = torch.tensor([40e-9, -30e-9, 20e-9], dtype=torch.float64)
    element = optics.Aberration(
        n, spacing=dx, diameter=250e-6, coefficients=coefficients, indices=(4, 6, 11)
    )
    path = element.transmission(_GREEN).angle()[0] * _LAMBDA / (2 * math.pi)
    y, x = np.indices((n, n)) - n // 2
    inside = np.hypot(y, x) < 125
    assert float(path[inside].std()) == pytest.approx(float(coefficients.norm()), rel=0.01)


def test_axial_and_lateral_colour_are_coefficients_by_wavelength():
    bands = (450e-9, 550e-9, 650e-9)
    samples, spacing = 96, 40e-6
    diameter = (samples - 1) * spacing
    moved = torch.tensor([0.15, 0.0, -0.2])  # waves RMS of tilt along +x
    focus = torch.tensor([0.1, 0.0, -0.15])  # waves RMS of defocus
    waves = torch.tensor(bands)

    def psf(coefficients, index):
        element = optics.Aberration(
            samples, spacing=spacing, diameter=diameter, coefficients=coefficients, indices=[index]
        )
        return optics.Pupil(
            [element], wavelengths=bands, focal_length=20e-3, pixel_pitch=1e-6, psf_size=41
        )()

    # The peak moves by 4 a lambda N, and defocus has a Strehl ratio of sinc^2(2 sqrt(3) a).
    tilted = psf((moved * waves)[:, None], 2)
    expected = 4 * moved * waves * 20e-3 / diameter / 1e-6
    x = optics.coordinates(41).float()
    middle = tilted.sum(-2) @ x / tilted.sum((-2, -1))
    torch.testing.assert_close(middle, expected, rtol=0.02, atol=0.02)
    sharp, blurred = psf(0 * waves[:, None], 4), psf((focus * waves)[:, None], 4)
    ratio = blurred[:, 20, 20] / sharp[:, 20, 20]
    torch.testing.assert_close(ratio, torch.sinc(2 * 3**0.5 * focus).square(), rtol=0, atol=4e-3)


def test_coefficients_of_each_wavelength_are_trained_by_themselves():
    start = torch.nn.Parameter(1e-8 * torch.rand(3, 2))
    element = optics.Aberration(
        32, spacing=50e-6, diameter=31 * 50e-6, coefficients=start, indices=[4, 11]
    )
    wavelengths = torch.tensor([450e-9, 550e-9, 650e-9], dtype=torch.float64)
    element.phase_shift(wavelengths)[1].square().sum().backward()
    assert element.raw.shape == (3, 2)
    assert (element.raw.grad[1] != 0).all()
    assert (element.raw.grad[[0, 2]] == 0).all()
    with pytest.raises(ValueError, match=r"\(3, 2\) are for 3 wavelengths, but the light has 2"):
        element.phase_shift(wavelengths[:2])
    with pytest.raises(ValueError, match=r"coefficients must be real \[J\], \[L, J\] for L wave"):
        optics.Aberration(32, spacing=50e-6, diameter=1e-3, coefficients=torch.zeros(2, 2, 2))


def test_a_field_meets_the_wavefront_of_every_place():
    coefficients = 1e-8 * torch.rand(2, 3, 2, 4)
    element = optics.Aberration(16, spacing=50e-6, diameter=8e-4, coefficients=coefficients)
    waves = torch.tensor([450e-9, 550e-9], dtype=torch.float64)
    field = element(torch.ones(16, 16), wavelength=waves)
    assert field.shape == (2, 3, 2, 16, 16)
    torch.testing.assert_close(field, element.transmission(waves))
    with pytest.raises(ValueError, match="a different transmission for each of 2 x 3 places"):
        optics.export_plate(element, "nowhere", wavelength=550e-9)


def test_the_rim_of_an_aberration_is_as_far_beyond_as_it_is_told():
    coefficients = torch.full((1,), _LAMBDA, dtype=torch.float64)
    element = optics.Aberration(
        17, spacing=5e-5, diameter=8e-4, coefficients=coefficients, indices=[1]
    )
    (y, x), metres = _places()
    for beyond in (0.0, 0.3):  # of a radius, and parts of a sample for a soft edge
        found = element.phase_at(_GREEN, *metres, beyond=beyond * 4e-4)[0]
        rim = 1 + beyond + 0.5**0.5 / 8
        assert torch.equal(found > 0, torch.hypot(y, x) < rim)


def test_a_wavefront_of_places_has_its_phase_elsewhere_too_and_learns_by_it():
    coefficients = torch.nn.Parameter(1e-8 * torch.rand(2, 3, 1, 4, dtype=torch.float64))
    element = optics.Aberration(17, spacing=5e-5, diameter=8e-4, coefficients=coefficients)
    _, metres = _places()
    found = element.phase_at(_GREEN, *metres)
    assert found.shape == (2, 3, 1, 17, 17)
    torch.testing.assert_close(found, element.phase_shift(_GREEN))
    found.sum().backward()
    assert element.raw.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: optics.Aberration((8, 4), spacing=1e-3, diameter=7, coefficients=torch.ones(1)),
            r"diameter must be in metres, as the spacing, not 7, while the grid is only 0\.008",
        ),
        (
            lambda: optics.Aberration(
                8, spacing=1, diameter=8, coefficients=torch.ones(2), indices=(1,)
            ),
            "2 coefficients need as many Noll indices, not 1",
        ),
        (
            lambda: optics.Aberration(
                8, spacing=1, diameter=8, coefficients=torch.ones(2, dtype=torch.complex64)
            ),
            r"coefficients must be real \[J\].* not torch\.complex64 \(2,\)",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
