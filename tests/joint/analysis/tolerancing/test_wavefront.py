import math

import numpy as np
import pytest
import torch

import joint
import optics
from joint.analysis import wavefront_error, zernike_error
from joint.analysis.tolerancing.perturbation import perturbed, resolved

_MIDDLE = 7


def _system(*elements, aperture=None, wavelengths=(550e-9,), size=129, psf_size=15):
    pupil = optics.Pupil(
        elements, wavelengths=wavelengths, focal_length=20e-3, pixel_pitch=2e-6,
        psf_size=psf_size, size=size, spacing=2.5e-3 / (size - 1), aperture=aperture,
    )  # fmt: skip
    return joint.ImagingSystem(front_end=optics.IncoherentImaging(pupil.double()))


def _psf(system, kind, level, seed=0):
    generator = torch.Generator().manual_seed(seed)
    channels = system.front_end.in_channels
    return perturbed(system, kind, level, channels=channels, generator=generator).front_end.psf()


@pytest.mark.parametrize("index", range(4, 16))
@pytest.mark.parametrize("sigma", [0.03, -0.05])
def test_a_small_term_has_the_strehl_ratio_of_marechal_and_mahajan(index, sigma):
    system = _system()
    sharp = system.front_end.psf()[0, _MIDDLE, _MIDDLE]
    found = float(_psf(system, zernike_error(index), sigma)[0, _MIDDLE, _MIDDLE] / sharp)
    # The next term of the variance's series is of the order of its square.
    variance = (2 * math.pi * sigma) ** 2
    assert found == pytest.approx(math.exp(-variance), abs=0.15 * variance**2 + 5e-4)


def test_a_tilt_moves_the_image_by_four_lambda_n_times_its_waves():
    # Z2 = 2 x / R: the wavefront rises by 4 lambda sigma over R, and light goes to where the phase
    # rises along (exp(+ikz)). Of two directions, Noll's 2 is x and 3 is y.
    system = _system(psf_size=31)
    place = torch.arange(31.0, dtype=torch.float64) - 15
    for index, axis in ((2, 1), (3, 0)):
        psf = _psf(system, zernike_error(index), 0.25)[0]
        start = system.front_end.psf()[0]
        along, across = (
            float((psf.sum(1 - k) * place).sum() / psf.sum())
            - float((start.sum(1 - k) * place).sum() / start.sum())
            for k in (axis, 1 - axis)
        )
        assert along == pytest.approx(4 * 550e-9 * 0.25 * 8 / 2e-6, rel=0.02)
        assert across == pytest.approx(0, abs=1e-6)


def test_the_fourth_term_is_defocus():
    # sqrt(3) (2 r^2 - 1): the path is 2 sqrt(3) sigma longer at the rim than in the middle, as of a
    # weaker lens; a positive defocus is a stronger one. Beside astigmatism the sign is seen.
    element = optics.Aberration(
        129, spacing=2.5e-3 / 128, diameter=2.5e-3, coefficients=torch.tensor([5e-8]), indices=[6]
    )
    system = _system(element)
    ours, other = (_psf(system, zernike_error(4), sigma) for sigma in (0.1, -0.1))
    expected = _psf(system, "defocus", -2 * math.sqrt(3) * 0.1)
    assert torch.allclose(ours, expected, atol=2e-4)
    assert float((ours - other).abs().max()) > 0.02


def test_the_fourth_term_is_defocus_on_any_aperture():
    square = optics.rectangular_aperture(129, height=70.0, width=90.0, spacing=1.0)
    system = _system(aperture=square.roll((5, -9), (0, 1)))
    ours = _psf(system, zernike_error(4), 0.1)
    assert torch.allclose(ours, _psf(system, "defocus", -2 * math.sqrt(3) * 0.1), atol=2e-4)
    assert float((ours - system.front_end.psf()).abs().max()) > 0.02


def test_a_path_is_the_same_at_all_wavelengths():
    red, green, blue = bands = (612e-9, 545e-9, 463e-9)
    system = _system(wavelengths=bands)
    psf, start = _psf(system, zernike_error(5), 0.05), system.front_end.psf()
    strehl = (psf / start)[:, _MIDDLE, _MIDDLE]
    for found, wavelength in zip(strehl, (red, green, blue), strict=True):
        variance = (2 * math.pi * 0.05 * green / wavelength) ** 2
        assert float(found) == pytest.approx(math.exp(-variance), abs=0.01)


def test_the_disk_holds_an_obstructed_aperture():
    whole = optics.circular_aperture(129, diameter=100.0, spacing=1.0)
    ring = whole - optics.circular_aperture(129, diameter=40.0, spacing=1.0)
    for aperture in (whole, ring):
        system = _system(aperture=aperture)
        generator = torch.Generator()
        made = perturbed(system, zernike_error(4), 1.0, channels=1, generator=generator)
        path = made.front_end.pupil.elements[0].phase_shift(
            torch.tensor([550e-9], dtype=torch.float64)
        )[0] / (2 * math.pi)
        # At the rim, and in the middle.
        assert float(path[64, 64 + 50]) == pytest.approx(math.sqrt(3), abs=1e-3)
        assert float(path[64, 64]) == pytest.approx(-math.sqrt(3), abs=1e-3)


def test_waves_are_of_the_middle_wavelength_in_any_order():
    bands = (612e-9, 545e-9, 463e-9, 850e-9)
    one, other = (
        _psf(_system(wavelengths=given), zernike_error(5), 0.1) for given in (bands, sorted(bands))
    )
    assert torch.allclose(one[[2, 1, 0, 3]], other, atol=1e-7)


def test_a_budget_is_shared_out_in_all_directions_alike():
    kind = wavefront_error(range(4, 9))
    shares = []
    for seed in range(400):
        parts = kind.parts(0.07, torch.Generator().manual_seed(seed))
        assert [part.name for part in parts] == [f"zernike_{j}" for j in range(4, 9)]
        assert math.hypot(*parts.values()) == pytest.approx(0.07)
        shares.append(list(parts.values()))
    # Mean 0; each a fifth of the square, which one share's variance, 2 (J - 1) / (J^2 (J + 2)),
    # leaves uncertain by so much: four times its standard error.
    squares = np.square(np.array(shares) / 0.07)
    assert np.abs(np.mean(shares, 0) / 0.07).max() < 4 * math.sqrt(0.2 / 400)
    assert np.abs(squares.mean(0) - 0.2).max() < 4 * math.sqrt(8 / 175 / 400)


def test_a_budget_is_its_terms_and_keeps_the_strehl_ratio_of_its_total():
    system, kind = _system(), wavefront_error((5, 6, 7, 8, 11))
    sharp = system.front_end.psf()[0, _MIDDLE, _MIDDLE]
    for seed in range(3):
        psf = _psf(system, kind, 0.05, seed)
        variance = (2 * math.pi * 0.05) ** 2
        assert float(psf[0, _MIDDLE, _MIDDLE] / sharp) == pytest.approx(
            math.exp(-variance), abs=0.15 * variance**2 + 5e-4
        )
        one = system
        for part, level in kind.parts(0.05, torch.Generator().manual_seed(seed)).items():
            one = perturbed(one, part, level, channels=1, generator=torch.Generator())
        assert torch.equal(one.front_end.psf(), psf)


def test_what_is_no_term_is_refused():
    with pytest.raises(ValueError, match="from 2, not 1: a piston changes no image"):
        zernike_error(1)
    with pytest.raises(ValueError, match=r"from 2, not 0$"):
        zernike_error(0)
    with pytest.raises(ValueError, match="noll_index"):
        zernike_error(4.5)
    with pytest.raises(ValueError, match=r"each once and at least one, not \[\]"):
        wavefront_error([])
    with pytest.raises(ValueError, match=r"each once and at least one, not \[4, 4\]"):
        wavefront_error([4, 4])
    with pytest.raises(ValueError, match="from 2, not 1"):
        wavefront_error(range(1, 4))
    bare = joint.ImagingSystem(sensor=optics.Sensor(100))
    for kind in (zernike_error(5), wavefront_error([5])):
        with pytest.raises(ValueError, match=rf"no {kind.name}: it needs a front end with a pupil"):
            resolved([kind], bare, channels=3)
    assert not wavefront_error([5]).allowed(-0.1)
    assert zernike_error(5).allowed(-0.1)


def test_a_term_goes_on_beyond_the_disk_where_cones_of_a_traced_lens_may_be_wider():
    lens = optics.CompoundLens(
        [
            optics.Surface(0.0, 0.8e-3, semi_diameter=0.6e-3, stop=True),
            optics.Surface(1 / 5.2e-3, 1.2e-3, "n_bk7", 1.2e-3),
            optics.Surface(-1 / 5.2e-3, 4.7e-3, semi_diameter=1.2e-3),
        ],
        wavelength=550e-9,
    )
    light = (500e-9, 550e-9)
    camera = optics.compound_imaging(
        lens, picture=8, pixel_pitch=5e-6, wavelengths=light, psf_size=5, rank=2, places=2,
        pupil_size=32, oversample=3,
    )  # fmt: skip
    system = joint.ImagingSystem(front_end=camera)
    made = perturbed(
        system, zernike_error(5), 0.2, channels=2, generator=torch.Generator()
    ).front_end.pupil
    place = optics.coordinates(made.size[0], spacing=2 * made.spacing / made.diameter)
    # Noll's fifth is 2 sqrt(6) x y.
    wanted = 2 * math.pi * 0.2 * 2 * math.sqrt(6) * place[:, None] * place
    found = made.elements[-1].phase_shift(torch.tensor(light, dtype=torch.float64))
    torch.testing.assert_close(found[1].double(), wanted, rtol=0, atol=5e-3)
    torch.testing.assert_close(found[0], found[1] * 550 / 500)
