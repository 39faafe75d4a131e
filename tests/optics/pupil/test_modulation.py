import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from spots import _FOCAL, _LAMBDA, _SHAPES, _UNIT, _disk_mtf, _noise, _open, _psf, _whole

import optics


def test_mtf_of_a_circle_and_of_an_annulus():
    # The window is a whole period of the PSF: all the light.
    # The soft edge holds less light than area, which lifts the MTF by 2.5e-3 at 252 samples across
    # and by half of that here.
    n, size = 512, 1440
    pitch = _LAMBDA * _FOCAL * (n - 4) / _UNIT / size
    cutoff = _UNIT * pitch / (_LAMBDA * _FOCAL)
    f = optics.frequencies(size).numpy()
    mtf = optics.mtf(_psf(_open(n), size=size, pitch=pitch))[size // 2].numpy()
    assert abs(mtf - _disk_mtf(f, cutoff)).max() <= 2e-3
    # P31: a sample of the rim reaches out by half of its width, on both sides.
    assert mtf[np.abs(f) > cutoff * (1 + 2 / (n - 4))].max() <= 1e-6
    ring = optics.annular_aperture(
        n,
        outer_diameter=_UNIT,
        inner_diameter=_UNIT / 2,
        spacing=_UNIT / (n - 4),
        dtype=torch.float64,
    )
    mtf = optics.mtf(_psf(ring, size=size, pitch=pitch))[size // 2].numpy()
    # Autocorrelation of two disks' difference (O'Neill, J. Opt. Soc. Am. 46:285, 1956), by
    # quadrature of the cross term.
    grid = np.linspace(-0.5, 0.5, 4001)
    expected = []
    for shift in np.abs(f) / cutoff:
        overlap = 0.0
        for big_a, sign_a in ((0.5, 1), (0.25, -1)):
            for big_b, sign_b in ((0.5, 1), (0.25, -1)):
                a = np.sqrt(np.maximum(big_a**2 - grid**2, 0)) * (np.abs(grid) <= big_a)
                b_at = grid - shift
                b = np.sqrt(np.maximum(big_b**2 - b_at**2, 0)) * (np.abs(b_at) <= big_b)
                overlap += sign_a * sign_b * 2 * np.minimum(a, b).sum()
        expected.append(overlap)
    expected = np.array(expected) / max(expected)
    assert abs(mtf - expected).max() <= 3e-3


def test_otf_of_several_psfs_is_that_of_each():
    psfs = torch.rand(2, 3, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    psf = psfs.numpy()
    y, x = np.arange(6) - 3, np.arange(5) - 2
    wave_y = np.exp(-2j * np.pi * np.outer(y, y) / 6)
    wave_x = np.exp(-2j * np.pi * np.outer(x, x) / 5)
    expected = wave_y @ psf @ wave_x / psf.sum((-2, -1), keepdims=True)
    np.testing.assert_allclose(optics.otf(psfs).numpy(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(optics.mtf(psfs).numpy(), abs(expected), rtol=0, atol=1e-12)


def test_otf_of_a_defocused_slit():
    # sin(8 pi W s (1 - s)) / (8 pi W s) with s = |f| / cutoff, W waves at the edge (Goodman,
    # eq. 6-41); a square pupil is a slit along each axis.
    n, pitch, waves = 512, 1.5e-6, 0.75
    spacing = _UNIT / 500
    cutoff = _UNIT * pitch / (_LAMBDA * _FOCAL)
    slit = optics.rectangular_aperture(
        n, height=_UNIT, width=_UNIT, spacing=spacing, dtype=torch.float64
    )
    x = optics.coordinates(n, spacing=2 / 500)
    phase = 2 * math.pi * waves * x.square().expand(n, n)
    size = int(_LAMBDA * _FOCAL / spacing / pitch)
    psf = _psf(slit * torch.polar(torch.ones_like(phase), phase), size=size, pupil_spacing=spacing)
    f = optics.frequencies(size).numpy()
    s = np.clip(np.abs(f) / cutoff, 0, 1)
    arm = 8 * np.pi * waves * s
    expected = np.where(s > 0, np.sin(arm * (1 - s)) / np.where(s > 0, arm, 1), 1.0)
    along = optics.otf(psf)[size // 2]
    assert abs(along.numpy() - expected).max() <= 1e-3  # P33


@settings(deadline=None, max_examples=40)
@given(_SHAPES, st.integers(0, 3), st.integers(0, 2**31))
def test_p31_p32_otf_is_the_autocorrelation_of_the_pupil_and_hermitian(shape, more, seed):
    pupil, size = _noise(seed, *shape), 2 * max(shape) + more
    psf = _whole(pupil, size)
    assert float(psf.sum()) == pytest.approx(1, abs=1e-12)
    transfer = np.fft.ifftshift(optics.otf(psf).numpy())
    auto = np.fft.ifft2(np.abs(np.fft.fft2(pupil.numpy(), (size, size))) ** 2)
    auto /= (np.abs(pupil.numpy()) ** 2).sum()

    def mirrored(values):
        return np.roll(values[::-1, ::-1], (1, 1), (0, 1))

    # exp(-2 pi i f x) of the psf, which carries exp(-2 pi i x xi): mirrored.
    np.testing.assert_allclose(transfer, mirrored(auto), rtol=0, atol=1e-10)
    np.testing.assert_allclose(transfer, mirrored(transfer).conj(), rtol=0, atol=1e-12)
    assert transfer[0, 0] == pytest.approx(1, abs=1e-12)
    assert abs(transfer).max() <= 1 + 1e-12
    lag = np.abs(np.fft.fftfreq(size, 1 / size))
    beyond = (lag[:, None] >= shape[0]) | (lag >= shape[1])
    assert abs(transfer[beyond]).max() <= 1e-12


def _transfer(pupil, size, **options):
    lengths = {"wavelength": 1.0, "focal_length": 1.0, "pupil_spacing": 1.0}
    given = lengths | {"pixel_pitch": 1 / size if isinstance(size, int) else 0.1} | options
    return optics.otf_from_pupil(pupil, size=size, **given)


def test_a_window_that_cuts_lifts_the_mtf_and_the_pupils_own_is_that_of_diffraction():
    n, size = 256, 31
    lengths = {
        "wavelength": _LAMBDA,
        "focal_length": _FOCAL,
        "pupil_spacing": _UNIT / (n - 4),
        "pixel_pitch": _LAMBDA * _FOCAL / _UNIT / 4,  # Q = 4: the cut-off is 1/4 cycle/pixel
    }
    expected = _disk_mtf(optics.frequencies(size).numpy(), 0.25)
    cut = optics.mtf(_psf(_open(n), size=size, pitch=lengths["pixel_pitch"]))[size // 2]
    # The numbers of the docstring of otf.
    assert float(cut[size // 2 + 1]) == pytest.approx(0.879, abs=5e-4)
    assert expected[size // 2 + 1] == pytest.approx(0.836, abs=5e-4)
    for shape in (size, (size, 24), (24, size)):
        found = optics.otf_from_pupil(_open(n), size=shape, **lengths)
        rows, columns = found.shape
        assert float(found[rows // 2, columns // 2].real) == pytest.approx(1, abs=1e-12)
        assert abs(found.imag).max() <= 1e-12
        radius = np.hypot(
            *np.meshgrid(*(optics.frequencies(k) for k in found.shape), indexing="ij")
        )
        assert abs(found.real.numpy() - _disk_mtf(radius, 0.25)).max() <= 5e-3
    assert abs(found.real.numpy()[12] - expected).max() <= 5e-3
    several = optics.otf_from_pupil(
        _open(n), size=size, **(lengths | {"wavelength": [_LAMBDA, 650e-9]})
    )
    torch.testing.assert_close(several[0], optics.otf_from_pupil(_open(n), size=size, **lengths))
    across = several[1, size // 2].real.numpy()
    longer = _disk_mtf(optics.frequencies(size).numpy(), 0.25 * _LAMBDA / 650e-9)
    assert abs(across - longer).max() <= 5e-3


@settings(deadline=None, max_examples=40)
@given(_SHAPES, st.integers(0, 3), st.integers(0, 2**31))
def test_otf_of_any_pupil_is_that_of_the_whole_psf(shape, more, seed):
    # A whole period holds all of the light, and its frequencies are whole lags.
    pupil, size = _noise(seed, *shape), 2 * max(shape) + more
    expected = optics.otf(_whole(pupil, size))
    torch.testing.assert_close(_transfer(pupil, size), expected, rtol=0, atol=1e-12)


def test_otf_of_an_aberrated_pupil_nears_that_of_a_large_window():
    # Frequencies between the lags: coma and defocus, in a window that is half of a period.
    n, size = 128, 255
    basis = optics.zernike_basis((4, 7), n, diameter=_UNIT, spacing=_UNIT / (n - 4), soft_edge=True)
    phase = 2 * math.pi * (torch.tensor([0.08, 0.05])[:, None, None] * basis).sum(0).double()
    pupil = _open(n) * torch.polar(torch.ones_like(phase), phase)
    pitch = _LAMBDA * _FOCAL / _UNIT / 2.2
    psf = _psf(pupil, size=size, pitch=pitch)
    found = optics.otf_from_pupil(
        pupil, wavelength=_LAMBDA, focal_length=_FOCAL, pupil_spacing=_UNIT / (n - 4),
        pixel_pitch=pitch, size=size,
    )  # fmt: skip
    assert 0.98 < float(psf.sum()) < 1
    # Each transfer is off by no more than the light that the window leaves out.
    inside = float(psf.sum())
    assert abs(found - optics.otf(psf) * inside).max() <= 1 - inside + 2e-3
    assert float(found.abs().max()) <= 1 + 1e-12


@settings(deadline=None, max_examples=30)
@given(_SHAPES, st.integers(2, 4), st.floats(0.02, 0.4), st.integers(0, 2**31))
def test_otf_is_exact_for_amplitudes_that_are_even_across_each_sample(shape, finer, pitch, seed):
    pupil = _noise(seed, *shape).abs()
    fine = torch.kron(pupil, torch.ones(finer, finer, dtype=pupil.dtype))
    expected = _transfer(fine, (9, 8), pupil_spacing=1 / finer, pixel_pitch=pitch)
    found = _transfer(pupil, (9, 8), pixel_pitch=pitch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def _turned(waves, form, n=64):
    """A circle of n samples whose wavefront is so many waves of a form of y and x, 1 at the rim."""
    y, x = torch.meshgrid(*2 * [optics.coordinates(n, spacing=2 / (n - 1))], indexing="ij")
    opened = optics.circular_aperture(n, diameter=n - 1, spacing=1, dtype=torch.float64)
    return opened * torch.polar(torch.ones_like(x), 2 * math.pi * waves * form(y, x))


@pytest.mark.parametrize(("step", "error"), [(0.5, 8e-4), (1, 2e-3), (math.pi / 2, 5e-3)])
def test_a_tilt_takes_no_contrast(step, error):
    # It moves the image, between whole lags as well as at them.
    waves = step * 63 / (4 * math.pi)
    tilted, flat = (_turned(w, lambda y, x: x) for w in (waves, 0))
    lengths = {"wavelength": 1.0, "focal_length": 1.0, "pupil_spacing": 1.0}
    frequency = torch.arange(0, 66, 0.25, dtype=torch.float64)
    for angle in (0.0, 0.7):
        moved, still = (
            optics.otf_along(pupil, frequency, angle=angle, **lengths) for pupil in (tilted, flat)
        )
        assert abs(moved.abs() - still.abs()).max() <= error
        # The numbers of the docstring, of what lies beyond the cut-off.
        assert moved[frequency > 63].abs().max() <= 9e-4
        assert moved[frequency > 64].abs().max() <= 4e-4
        turn = torch.polar(torch.ones_like(frequency), -step * frequency * math.cos(angle))
        assert abs(moved - still * turn).max() <= 2 * error
    found, expected = (_transfer(p, 31, pixel_pitch=1 / 40).abs() for p in (tilted, flat))
    assert abs(found - expected).max() <= error


def test_a_defocus_of_waves_is_that_of_a_finer_pupil():
    # Steps of pi / 2 at the rim: 3.94 waves at 64 samples.
    frequency = torch.linspace(0, 1.05, 211, dtype=torch.float64)
    found, finer = (
        optics.otf_along(
            _turned(63 / 16, lambda y, x: y**2 + x**2, n),
            frequency * (n - 1),
            angle=0.3,
            wavelength=1.0,
            focal_length=1.0,
            pupil_spacing=1.0,
        )
        for n in (64, 512)
    )
    assert abs(found - finer).max() <= 4e-3
    assert abs(found[frequency > 1.03]).max() <= 2e-5


def test_gradients_reach_every_length_and_the_pupil_of_an_otf():
    pupil = _noise(0, 5, 6).requires_grad_()
    lengths = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.5, 2.0, 0.3, 0.21)
    ]

    def transfer(pupil, wavelength, focal_length, spacing, pitch):
        return _transfer(
            pupil,
            (5, 4),
            wavelength=wavelength,
            focal_length=focal_length,
            pupil_spacing=spacing,
            pixel_pitch=pitch,
        )

    assert torch.autograd.gradcheck(transfer, (pupil, *lengths))
    single = _transfer(pupil.detach().to(torch.complex64), 9)
    assert single.dtype == torch.complex64
    double = _transfer(pupil.detach(), 9)
    torch.testing.assert_close(single.to(torch.complex128), double, atol=1e-5, rtol=0)


def test_mtf_has_a_finite_gradient_where_nothing_is_transferred():
    # Two pixels side by side transfer exactly nothing at half a cycle/pixel.
    psf = torch.zeros(8, 8, dtype=torch.float64)
    psf[4:6, 4:6] = 0.25
    psf.requires_grad_()
    mtf = optics.mtf(psf)
    assert int((mtf == 0).sum()) == 15
    (gradient,) = torch.autograd.grad(mtf.sum(), psf)
    assert torch.isfinite(gradient).all()


def _camera(n=256, pitch=3.45e-6, elements=(), **options):
    """A lens of f/4 with 8 mm, of one wavelength."""
    given = {"wavelengths": (545e-9,), "focal_length": 8e-3, "pixel_pitch": pitch, "psf_size": 31}
    lengths = {"size": n, "spacing": 2e-3 / (n - 1), "oversample": 3}
    return optics.Pupil(list(elements), **(given | lengths | options))


def test_along_a_line_it_is_that_of_the_grid():
    pupil = _noise(1, 7, 10)
    lengths = {"wavelength": [0.8, 1.0], "focal_length": 2.0, "pupil_spacing": 0.5}
    grid = optics.otf_from_pupil(pupil, pixel_pitch=0.3, size=(8, 9), **lengths)
    for angle, line, f in ((0.0, grid[:, 4, :], 9), (math.pi / 2, grid[:, :, 4], 8)):
        found = optics.otf_along(pupil, optics.frequencies(f) / 0.3, angle=angle, **lengths)
        torch.testing.assert_close(found, line, rtol=0, atol=1e-12)
    diagonal = optics.otf_from_pupil(pupil, pixel_pitch=0.3, size=8, **lengths)
    found = optics.otf_along(
        pupil, optics.frequencies(8) / 0.3 * 2**0.5, angle=math.pi / 4, **lengths
    )
    torch.testing.assert_close(found, diagonal.diagonal(dim1=-2, dim2=-1), rtol=0, atol=1e-12)


def _hopkins(s, waves):
    """OTF of a circle at s cut-offs, out of focus by a path at its rim (Hopkins 1955; Stokseth)."""
    slope = 8 * math.pi * waves * s
    ends = np.sqrt(1 - s**2) * np.array([-1, 1])

    def chord(y):
        half = math.sqrt(max(0.0, 1 - y * y)) - s
        return 2 * half * np.sinc(slope * half / math.pi)

    return integrate.quad(chord, *ends, limit=200)[0] / math.pi


@pytest.mark.parametrize("angle", [0.0, 0.7])
@pytest.mark.parametrize("waves", [0.5, 1.0, -2.0])
def test_otf_of_a_defocused_circle_is_that_of_hopkins(angle, waves):
    # W = r^2 / 2 (1 / distance - 1 / focus), at the radius of 1 mm; to the light that is missing
    # at the soft edge.
    camera = _camera(n=128, focus=0.5).double()
    distance = 1 / (1 / 0.5 + 2 * waves * 545e-9 / 1e-3**2)
    cutoff = 2e-3 / (545e-9 * camera.image_distance)
    shares = np.linspace(0, 0.99, 12)
    found = camera.otf(
        torch.tensor(shares * cutoff), angle=angle, distance=distance, pixel=False
    ).numpy()
    wanted = np.array([_hopkins(s, waves) for s in shares])
    assert wanted.min() < 0.02  # beyond half a wave, contrast is reversed
    np.testing.assert_allclose(found[0], wanted, atol=0.005)


def test_frequencies_in_another_unit_are_told_where_they_are_given():
    camera = _camera()
    for transfer in (camera.otf, camera.mtf):
        with pytest.warns(UserWarning, match="frequency is in cycles/m") as told:
            transfer(torch.tensor([50.0]))
        assert told[0].filename == __file__
        coarse = _camera(n=24, psf_size=9)
        transfer = getattr(coarse, transfer.__name__)
        with pytest.warns(UserWarning, match="sampled too coarsely") as told:
            transfer(torch.tensor([5e4]), distance=0.01)
        assert told[0].filename == __file__


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2])
def test_mtf_of_a_camera_is_that_of_diffraction_and_of_its_pixels(angle):
    camera = _camera()
    # Up to twice the Nyquist frequency: nothing is folded, as in the transform of the pixels.
    frequency = torch.linspace(0, 1, 21, dtype=torch.float64) / camera.pixel_pitch
    cutoff = camera.diameter / (545e-9 * 8e-3)
    optics_alone = _disk_mtf(frequency.numpy(), cutoff)
    found = camera.mtf(frequency, angle=angle, pixel=False)
    assert found.shape == (1, 21)
    assert abs(found[0].numpy() - optics_alone).max() <= 3e-3
    across, down = (np.sinc(frequency * 3.45e-6 * f(angle)) for f in (np.cos, np.sin))
    found = camera.mtf(frequency, angle=angle)
    assert abs(found[0].numpy() - optics_alone * abs(across * down)).max() <= 3e-3
    # The numbers of the docstring of otf.
    folded = optics.mtf(_camera(psf_size=64)().double())[0, 32, 32 + 16]  # at 1/4 cycle/pixel
    assert float(folded) == pytest.approx(0.84, abs=0.006)
    assert float(camera.mtf(torch.tensor([0.25 / 3.45e-6]))) == pytest.approx(0.72, abs=0.005)


def test_through_focus_a_slit_reverses_contrast_as_it_should():
    # |OTF| of a defocused slit has a closed form, sinc of the defocus (Goodman, sec. 6.4.4).
    n, width = 513, 1e-3
    aperture = torch.zeros(n, n, dtype=torch.float64)
    aperture[4:-4, 4:-4] = 1
    camera = _camera(n, pitch=2e-6, spacing=width / (n - 8), aperture=aperture)
    cutoff = width / (545e-9 * 8e-3)
    frequency = torch.linspace(0, 0.9, 19) * cutoff
    distances = torch.tensor([0.05, 0.3, math.inf])
    found = camera.otf(frequency, distance=distances, pixel=False)
    assert found.shape == (3, 1, 19)
    s = frequency.double().numpy() / cutoff
    for distance, row in zip(distances.tolist(), found[:, 0], strict=True):
        turns = 4 * (width / 2) ** 2 / (2 * distance * 545e-9) * s * (1 - s) * 2
        expected = (1 - s) * np.sinc(turns)
        assert abs(row.real.numpy() - expected).max() <= 6e-3
        assert abs(row.imag).max() <= 1e-5
    assert (found[0].real < -0.05).any()
    alone = camera.mtf(frequency, distance=0.3)
    torch.testing.assert_close(camera.mtf(frequency, distance=distances)[1], alone)


def test_an_element_is_trained_for_contrast():
    coefficients = torch.nn.Parameter(torch.tensor([80e-9, -50e-9]))
    plate = optics.Aberration(
        64, spacing=2e-3 / 63, diameter=2e-3, coefficients=coefficients, indices=[4, 11]
    )
    given = {"wavelengths": (545e-9,), "focal_length": 8e-3, "psf_size": 15, "oversample": 3}
    camera = optics.Pupil([plate], pixel_pitch=3.45e-6, **given)
    frequency = torch.tensor([40e3, 80e3, 140e3])
    before = camera.mtf(frequency).detach()
    optimiser = torch.optim.Adam(camera.parameters(), lr=5e-3)
    for _ in range(60):
        optimiser.zero_grad()
        (-camera.mtf(frequency).mean()).backward()
        optimiser.step()
    assert plate.coefficients.detach().abs().max() <= 1e-8
    assert (camera.mtf(frequency).detach() > before + 0.1).any()


def test_the_gradient_of_a_contrast_is_its_finite_difference():
    phase = torch.nn.Parameter(_noise(2, 16, 16).real)
    mask = optics.PhaseMask(phase, spacing=2e-3 / 15)
    opened = torch.ones(16, 16, dtype=torch.float64)
    camera = _camera(16, elements=[mask], aperture=opened, psf_size=9)
    frequency = torch.tensor([40e3, 140e3, 600e3])  # the last is beyond the cut-off
    along = _noise(3, *phase.shape).real
    found = camera.mtf(frequency, angle=0.3, distance=0.8)
    assert (found > 1e-3).tolist() == [[True, True, False]]
    (slope,) = torch.autograd.grad(found.sum(), phase)

    def moved(step):
        with torch.no_grad():
            phase.add_(along, alpha=step)
            value = camera.mtf(frequency, angle=0.3, distance=0.8).sum()
            phase.sub_(along, alpha=step)
        return float(value)

    difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
    assert float((slope * along).sum()) == pytest.approx(difference, rel=1e-6)


def test_lengths_of_a_line_have_gradients():
    pupil = _noise(0, 5, 6).requires_grad_()
    given = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.5, 2, 0.3, 0.4)]
    frequency = torch.tensor([0.13, 0.31, -0.22], dtype=torch.float64, requires_grad=True)

    def along(pupil, frequency, wavelength, focal_length, spacing, angle):
        return optics.otf_along(
            pupil,
            frequency,
            angle=angle,
            wavelength=wavelength,
            focal_length=focal_length,
            pupil_spacing=spacing,
        )

    assert torch.autograd.gradcheck(along, (pupil, frequency, *given))


def test_what_is_no_pupil_is_said_before_its_lengths_are_used():
    lengths = {"wavelength": torch.tensor([550e-9]), "focal_length": 0.01, "pupil_spacing": 1e-5}
    with pytest.raises(TypeError, match="pupil must be a Tensor"):
        optics.otf_along([[1.0]], torch.ones(2), **lengths)
    with pytest.raises(TypeError, match="pupil must be a Tensor"):
        optics.otf_from_pupil([[1.0]], pixel_pitch=1e-6, size=4, **lengths)


def test_bad_frequencies_are_refused():
    camera = _camera(32, psf_size=15)
    for frequency in (torch.tensor(1e4), torch.ones(2, 2), torch.arange(3)):
        with pytest.raises(ValueError, match=r"frequency must be real floating point \[F\]"):
            camera.mtf(frequency)
    with pytest.raises(ValueError, match="frequency must be finite"):
        camera.otf(torch.tensor([math.nan]))
    with pytest.raises(TypeError, match="frequency must be a Tensor"):
        camera.mtf([1e4])
    with pytest.raises(TypeError, match="angle must be one number, in radians"):
        camera.mtf(torch.ones(2), angle=torch.zeros(2))
    with pytest.raises(ValueError, match="distance"):
        camera.mtf(torch.ones(2), distance=0.0)


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"pupil must be complex or real .* not torch\.int64"):
        _transfer(torch.ones(3, 3, dtype=torch.int64), 4)
    with pytest.raises(ValueError, match="pupil must be finite; it has NaN"):
        _transfer(torch.full((3, 3), math.nan), 4)
    with pytest.raises(ValueError, match="pupil passes no light"):
        _transfer(torch.zeros(3, 3), 4)
    with pytest.raises(ValueError, match="focal_length must be positive"):
        _transfer(torch.ones(3, 3), 4, focal_length=0.0)
