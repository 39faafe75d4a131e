import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.special import j1, jv
from spots import _FOCAL, _LAMBDA, _SHAPES, _UNIT, _noise, _open, _psf, _whole

import optics
from optics.pupil.psf import amplitude_transfer


def _radius(size, pitch):
    i = (np.arange(size) - size // 2) * pitch
    return np.hypot(i[:, None], i)


def _airy(radius, wavelength=_LAMBDA):
    z = np.pi * _UNIT * radius / (wavelength * _FOCAL)
    return np.where(z > 0, 2 * j1(z) / np.where(z > 0, z, 1), 1.0) ** 2


# A 64-sample circle misses 1e-4 for most diameters, with any edge (1.0e-4 to 1.5e-4 here, 1.0e-4 to
# 3.7e-4 with the plain ramp); from 128 on 3e-5.
@pytest.mark.parametrize(("n", "tolerance"), [(64, 1.5e-4), (65, 1.5e-4), (128, 5e-5), (256, 1e-5)])
def test_an_open_circle_gives_the_airy_pattern(n, tolerance):
    psf = _psf(_open(n)).numpy()
    airy = _airy(_radius(65, 1.5e-6))
    assert abs(psf / psf.max() - airy).max() <= tolerance
    # In absolute terms: the peak is area / (lambda f)^2 times the area of a pixel. Half-covered
    # edge samples hold less light than their area.
    peak = np.pi * _UNIT**2 / 4 * 1.5e-6**2 / (_LAMBDA * _FOCAL) ** 2
    assert psf.max() == pytest.approx(peak, rel=1.5 / n)


def test_airy_at_several_wavelengths_on_one_grid():
    wavelengths = [450e-9, 550e-9, 650e-9]
    psf = _psf(_open(128), wavelength=torch.tensor(wavelengths, dtype=torch.float64))
    assert psf.shape == (3, 65, 65)
    for one, wavelength in zip(psf.numpy(), wavelengths, strict=True):
        airy = _airy(_radius(65, 1.5e-6), wavelength)
        assert abs(one / one.max() - airy).max() <= 1e-4
    torch.testing.assert_close(_psf(_open(128), wavelength=wavelengths), psf)
    torch.testing.assert_close(_psf(_open(128), wavelength=wavelengths[1]), psf[1])
    each = _open(128).expand(2, 3, 128, 128)
    torch.testing.assert_close(_psf(each, wavelength=wavelengths)[1], psf)


@pytest.mark.parametrize("window", [16, 17])
@pytest.mark.parametrize("quality", [0.6, 0.83, 1.7])
def test_points_in_a_pixel_integrate_the_airy_pattern_over_its_area(quality, window):
    # The square on the axis, and its neighbours, of an Airy pattern by adaptive quadrature.
    pupil = optics.circular_aperture(512, diameter=1.0, spacing=1 / 500, dtype=torch.float64)
    psf = optics.psf_from_pupil(
        pupil, wavelength=1.0, focal_length=quality, pupil_spacing=1 / 500,
        pixel_pitch=1.0, size=window, oversample=25,
    )  # fmt: skip

    def airy(y, x):
        r = math.pi * math.hypot(y, x) / quality
        return math.pi / 4 / quality**2 * ((2 * j1(r) / r) ** 2 if r > 1e-9 else 1.0)

    middle = window // 2
    for row, column in ((0, 0), (0, 1), (-1, 0), (1, -1), (-2, 0)):
        wanted, _ = integrate.dblquad(
            airy, column - 0.5, column + 0.5, row - 0.5, row + 0.5, epsabs=1e-7
        )
        # What is left is the soft edge of the aperture: 0.0013 of the light.
        assert float(psf[middle + row, middle + column]) == pytest.approx(wanted, abs=2e-3)
    assert float(psf.sum()) < 1
    around = psf[1:16, 1:16]  # the axis in its middle, in either window
    torch.testing.assert_close(around, around.flip(-1, -2), atol=1e-9, rtol=0)


def test_the_area_of_a_pixel_is_its_mtf():
    # Of a PSF that is sampled in full, k points are the pixel's sinc, with k of its copies.
    pupil = optics.circular_aperture(64, diameter=1.0, spacing=1 / 60, dtype=torch.float64)
    given = {"wavelength": 1.0, "focal_length": 2.5, "pupil_spacing": 1 / 60, "pixel_pitch": 1.0}
    points, area = (optics.psf_from_pupil(pupil, **given, size=149, oversample=k) for k in (1, 21))
    frequency = optics.frequencies(149)
    pixel = optics.pixel_mtf(frequency, pitch=1.0)
    wanted = optics.otf(points) * pixel[:, None] * pixel
    torch.testing.assert_close(optics.otf(area), wanted.to(torch.complex128), atol=2e-3, rtol=0)


def test_points_in_a_pixel_have_gradients():
    pupil = torch.rand(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def psf(pupil, pitch):
        return optics.psf_from_pupil(
            pupil, wavelength=(0.5, 0.65), focal_length=2.0, pupil_spacing=0.1, pixel_pitch=pitch,
            size=(4, 5), incident_power=64.0, oversample=3,
        )  # fmt: skip

    pitch = torch.tensor(1.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(psf, (pupil.requires_grad_(), pitch))
    assert psf(pupil, pitch).shape == (2, 4, 5)


@settings(deadline=None, max_examples=40)
@given(_SHAPES, _SHAPES, st.integers(0, 3), st.integers(0, 2**31))
def test_p29_light_of_a_psf_is_what_the_pupil_and_the_window_let_pass(shape, window, more, seed):
    field, size = _noise(seed, *shape), max(*shape, *window) + more
    pupil = field / field.abs().clamp_min(1)
    area = shape[0] * shape[1]
    whole = _whole(pupil, size, incident_power=float(area))
    assert (whole >= 0).all()
    throughput = float(pupil.abs().square().mean())
    assert float(whole.sum()) == pytest.approx(throughput, rel=1e-12)
    part = optics.psf_from_pupil(
        pupil, wavelength=1.0, focal_length=1.0, pupil_spacing=1.0, pixel_pitch=1 / size,
        size=window, incident_power=float(area),
    )  # fmt: skip
    top, left = size // 2 - window[0] // 2, size // 2 - window[1] // 2
    cut = whole[top : top + window[0], left : left + window[1]]
    torch.testing.assert_close(part, cut, rtol=1e-11, atol=1e-14)


@settings(deadline=None, max_examples=25)
@given(_SHAPES, st.integers(0, 2**31), st.floats(0.5, 2))
def test_p35_a_psf_grows_with_wavelength_and_f_number(shape, seed, more):
    # The same in units of lambda N: with a pitch as much larger, each pixel holds the same light.
    pupil = _noise(seed, *shape)
    lengths = {"wavelength": _LAMBDA, "focal_length": _FOCAL, "pupil_spacing": 1e-5, "size": 9}
    expected = optics.psf_from_pupil(pupil, pixel_pitch=1e-6, **lengths)
    for name in ("wavelength", "focal_length"):
        stretched = lengths | {name: more * lengths[name]}
        psf = optics.psf_from_pupil(pupil, pixel_pitch=more * 1e-6, **stretched)
        torch.testing.assert_close(psf, expected, rtol=1e-11, atol=1e-14)


def test_plus_y_and_plus_x_tilts_move_the_psf_to_plus_y_and_plus_x():
    # OPD = a * Noll 3 (y) moves the focus by 4 a lambda N towards... exp(+i 2 pi W) with
    # W = s y leaves at the angle s lambda towards +y, so the focus is at +s lambda f.
    n, pitch, rms = 128, 1.0e-6, 0.25
    basis = optics.zernike_basis((2, 3), n, diameter=_UNIT, spacing=_UNIT / (n - 4), soft_edge=True)
    for noll, direction in ((0, (0, 1)), (1, (1, 0))):
        phase = 2 * math.pi * rms * basis[noll].double()
        pupil = _open(n) * torch.polar(torch.ones_like(phase), phase)
        shifts = []
        for p in (pupil, _open(n).to(torch.complex128)):
            psf = _psf(p, size=161, pitch=pitch)
            centred = psf / psf.sum()
            i = torch.arange(161.0, dtype=torch.float64) - 80
            shifts.append(((centred.sum(1) * i).sum(), (centred.sum(0) * i).sum()))
        expected = 4 * rms * _LAMBDA * _FOCAL / _UNIT / pitch
        for axis in (0, 1):
            moved = float(shifts[0][axis] - shifts[1][axis])
            peak = divmod(int(_psf(pupil, size=161, pitch=pitch).argmax()), 161)[axis] - 80
            assert peak == pytest.approx(direction[axis] * expected, abs=0.51)
            assert np.sign(round(moved)) == direction[axis]


def test_the_peak_moves_by_exactly_four_a_lambda_n():
    n, pitch = 128, 1.0e-6
    basis = optics.zernike_basis((2,), n, diameter=_UNIT, spacing=_UNIT / (n - 4), soft_edge=True)[
        0
    ].double()
    # Move it by whole pixels: then the PSF is the flat one, rolled.
    rms = 3 * pitch / (4 * _LAMBDA * _FOCAL / _UNIT)
    phase = 2 * math.pi * rms * basis
    moved = _psf(_open(n) * torch.polar(torch.ones_like(phase), phase), size=41, pitch=pitch)
    flat = _psf(_open(n), size=47, pitch=pitch)
    assert abs(moved[:, 3:] - flat[3:-3, 3:-6]).max() <= 1e-3 * flat.max()


def test_a_mask_costs_light_and_a_window_shows_its_loss():
    n = 256
    pupil, power = _open(n), _open(n).square().sum()
    hole = optics.circular_aperture(
        n, diameter=_UNIT / 10, spacing=_UNIT / (n - 4), dtype=torch.float64
    )
    psf = _psf(pupil * hole, size=601, pitch=2e-6, incident_power=power)
    assert float(psf.sum()) == pytest.approx(0.01, rel=0.03)  # 1 % of the area, window of 98 %
    assert float(_psf(pupil * hole, size=601, pitch=2e-6).sum()) == pytest.approx(0.99, abs=0.02)
    grey = _psf(0.5 * pupil, size=301, incident_power=power)
    torch.testing.assert_close(grey, 0.25 * _psf(pupil, size=301))
    # A whole period holds all of it.
    whole = _psf(
        pupil, size=256, wavelength=1.0, focal_length=1.0, pupil_spacing=1.0, pixel_pitch=1 / 256
    )
    assert float(whole.sum()) == pytest.approx(1, abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.floats(0.02, 0.4))
def test_no_phase_mask_transfers_more_than_the_open_pupil(seed, rms):
    n = 32
    pupil = optics.circular_aperture(n, diameter=30.0, spacing=1.0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    phase = 2 * math.pi * rms * torch.randn(n, n, dtype=torch.float64, generator=generator)
    options = {
        "wavelength": 1.0,
        "focal_length": 1.0,
        "pupil_spacing": 1.0,
        "pixel_pitch": 1 / 64,
        "size": 64,
    }
    flat = _psf(pupil, **options)
    masked = _psf(pupil * torch.polar(torch.ones_like(phase), phase), **options)
    assert (masked >= 0).all()
    assert float(masked.sum()) == pytest.approx(float(flat.sum()), abs=1e-10)
    assert (optics.mtf(masked) <= optics.mtf(flat) + 1e-9).all()


@settings(deadline=None, max_examples=40)
@given(st.floats(-1.5, 1.5), st.sampled_from([2, 3]), st.integers(32, 65), st.integers(0, 9))
def test_p21_a_tilt_moves_the_centroid_by_four_a_lambda_n(rms, noll, n, more):
    # On a whole period the centroid is the phase of the first harmonic; the plain one, of an
    # Airy pattern, depends on where the window ends.
    size, diameter = n + more, n - 4.0
    pupil = optics.circular_aperture(n, diameter=diameter, spacing=1.0, dtype=torch.float64)
    tilt = optics.zernike_basis(
        (noll,), n, diameter=diameter, spacing=1.0, soft_edge=True, dtype=torch.float64
    )[0]
    psf = _whole(pupil * torch.exp(2j * math.pi * rms * tilt), size)
    expected = 4 * rms / diameter * size  # lambda = 1, N = 1 / diameter, pitch = 1 / size
    turn = torch.exp(2j * math.pi * optics.coordinates(size) / size)
    for axis in (0, 1):
        wanted = expected if axis == (1 if noll == 2 else 0) else 0.0
        moved = float((psf.sum(1 - axis) * turn).sum().angle()) * size / (2 * math.pi)
        away = (moved - wanted + size / 2) % size - size / 2
        assert abs(away) <= 1e-3


def test_a_spiral_phase_is_dark_on_the_axis_and_a_ring():
    n = 129
    y, x = (optics.coordinates(n, spacing=1.0) for _ in range(2))
    angle = torch.atan2(y[:, None].expand(n, n), x.expand(n, n))
    rings = []
    for charge in (1, -1, 2):
        pupil = _open(n) * torch.polar(torch.ones_like(angle), charge * angle)
        pupil[n // 2, n // 2] = 0  # the vortex has no phase there
        psf = _psf(pupil, size=41)
        assert float(psf[20, 20].sqrt() / psf.max().sqrt()) < 1e-6
        rings.append(psf)
    torch.testing.assert_close(rings[0], rings[1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(rings[0], rings[0].rot90(1), rtol=1e-9, atol=1e-12)
    # Hankel transform of the unit disk with J1, by quadrature.
    r = np.arange(1, 20) * 1.5e-6 * np.pi * _UNIT / (_LAMBDA * _FOCAL)
    amplitude = np.array([integrate.quad(lambda t, z=z: jv(1, z * t) * t, 0, 1)[0] for z in r])
    expected = (2 * amplitude) ** 2
    found = (rings[0][20, 21:40] / _psf(_open(n), size=41).max()).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("name", ["focal_length", "pupil_spacing", "pixel_pitch"])
@pytest.mark.parametrize("several", [(1e-6, 2e-6), torch.tensor([1e-6, 2e-6])])
def test_a_pair_of_lengths_is_not_taken_for_two_pupils(name, several):
    lengths = {"focal_length": 1e-2, "pupil_spacing": 1e-6, "pixel_pitch": 1e-6, name: several}
    for form in (optics.psf_from_pupil, optics.amplitude_spread, optics.otf_from_pupil):
        with pytest.raises(TypeError, match=f"{name} must be one number, in metres, not .* call"):
            form(torch.ones(8, 8), wavelength=550e-9, size=5, **lengths)


def test_gradients_reach_every_length_and_the_pupil():
    n = 6
    generator = torch.Generator().manual_seed(0)
    pupil = torch.randn(n, n, dtype=torch.complex128, generator=generator, requires_grad=True)
    lengths = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.5, 2.0, 0.3, 0.2)
    ]

    def psf(pupil, wavelength, focal_length, spacing, pitch):
        return optics.psf_from_pupil(
            pupil,
            wavelength=wavelength,
            focal_length=focal_length,
            pupil_spacing=spacing,
            pixel_pitch=pitch,
            size=5,
        )

    assert torch.autograd.gradcheck(psf, (pupil, *lengths))
    wavelengths = torch.tensor([0.5, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, w: psf(p, w, 2.0, 0.3, 0.2), (pupil, wavelengths))
    image = psf(pupil, *lengths)
    for measure in (optics.mtf, lambda p: optics.strehl(p, image.detach().roll(1, -1))):
        (gradient,) = torch.autograd.grad(measure(image).sum(), pupil, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0


def test_single_precision_and_autocast():
    pupil = _open(128, torch.float32)
    double = _psf(_open(128))
    single = _psf(pupil)
    assert single.dtype == torch.float32
    assert abs(single.double() - double).max() <= 1e-5 * double.max()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(_psf(pupil), single)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wavelength": -1.0}, "wavelength must be positive and finite, in metres, not -1"),
        ({"wavelength": [550e-9, 0.0]}, "wavelength must be positive"),
        ({"focal_length": 0.0}, "focal_length must be positive and finite, in metres"),
        ({"pupil_spacing": math.nan}, "pupil_spacing must be positive and finite, in metres"),
        ({"pixel_pitch": -1e-6}, "pixel_pitch must be positive and finite, in metres"),
        ({"incident_power": 0.0}, "incident_power must be positive"),
        ({"size": 0}, r"size must be \(H, W\).* of at least 1 sample"),
        (
            {"size": 2000},
            "the pupil is undersampled: .* the PSF repeats every .* the pupil_size of",
        ),
        (
            {"size": 2000, "wavelength": torch.tensor(_LAMBDA)},
            "the pupil is undersampled: .* the PSF repeats every",
        ),
    ],
)
def test_lengths_that_make_no_psf_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _psf(_open(32), **options)


def test_other_bad_input_is_refused():
    with pytest.raises(
        ValueError, match=r"pupil must be complex or real .* not torch\.float64 \(3,\)"
    ):
        _psf(torch.ones(3, dtype=torch.float64))
    broken = _open(32)
    broken[3, 3] = math.nan
    with pytest.raises(ValueError, match="pupil must be finite; it has NaN"):
        _psf(broken)
    with pytest.raises(ValueError, match="pupil must be finite; it has NaN"):
        optics.amplitude_spread(
            broken,
            wavelength=_LAMBDA,
            focal_length=_FOCAL,
            pupil_spacing=_UNIT / 28,
            pixel_pitch=1.5e-6,
            size=9,
        )
    for measure in (optics.otf, optics.mtf):
        with pytest.raises(ValueError, match=r"psf must be real floating point \[\.\.\., h, w\]"):
            measure(torch.ones(3, 3, dtype=torch.complex64))
    with pytest.raises(ValueError, match="psf must be finite"):
        optics.mtf(broken)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_signed_kernel_is_relative_to_its_sum_where_it_has_one(dtype):
    for start in ("sobel", "laplacian", "log"):
        edges = optics.kernel_start(start, 7).to(dtype)
        for measure in (optics.otf, optics.mtf, lambda psf: optics.strehl(psf, psf)):
            with pytest.raises(ValueError, match="psf holds no light, or as much below zero as ab"):
                measure(edges)
    sharper = optics.kernel_start("unsharp", 7).to(dtype)
    expected = np.abs(np.fft.fftshift(np.fft.fft2(sharper.numpy()), (-2, -1)))
    expected /= sharper.numpy().sum((-2, -1), keepdims=True)
    np.testing.assert_allclose(optics.mtf(sharper).numpy(), expected, rtol=1e-5)
    assert optics.mtf(sharper).max() > 1.5


def test_what_holds_no_light_has_no_shares_of_it():
    dark = torch.zeros(64, 64, dtype=torch.float64)
    with pytest.raises(ValueError, match="pupil passes no light, so that the PSF has no scale"):
        _psf(dark)
    with pytest.raises(ValueError, match="pupil passes no light"):
        _psf(torch.stack((dark, _open(64))))
    assert not _psf(dark, incident_power=3.0).any()
    black = torch.zeros(5, 5)
    for measure in (optics.otf, optics.mtf):
        with pytest.raises(ValueError, match="psf holds no light"):
            measure(black)
    with pytest.raises(ValueError, match="wavelength must hold at least one, in metres"):
        _psf(_open(64), wavelength=[])


@pytest.mark.parametrize("wavelength", [550.0, 0.55, [5e-7, 0.55], torch.tensor([5e-7, 0.55])])
@pytest.mark.parametrize("form", ["psf_from_pupil", "amplitude_spread", "otf_from_pupil"])
def test_a_wavelength_in_another_unit_is_longer_than_the_pupil_is_wide(form, wavelength):
    lengths = {"focal_length": 1e-2, "pupil_spacing": 1e-5, "pixel_pitch": 2e-6, "size": 9}
    with pytest.raises(
        ValueError,
        match=r"wavelength must be shorter than the pupil is wide, both in metres: it is "
        r"(550|0\.55), and 32 samples 1e-05 apart are 0.00032 wide; 550 nm are 550e-9",
    ):
        getattr(optics, form)(torch.ones(16, 32), wavelength=wavelength, **lengths)
    # All lengths in micrometres are the same PSF.
    micrometres = {**lengths, "focal_length": 1e4, "pupil_spacing": 10.0, "pixel_pitch": 2.0}
    torch.testing.assert_close(
        getattr(optics, form)(torch.ones(16, 32), wavelength=0.55, **micrometres),
        getattr(optics, form)(torch.ones(16, 32), wavelength=0.55e-6, **lengths),
    )


def test_another_number_of_wavelengths_or_powers_than_of_pupils_is_called_by_its_name():
    lengths = {"focal_length": 1e-2, "pupil_spacing": 1e-5, "pixel_pitch": 2e-6}
    pupils, two = torch.ones(3, 16, 16), torch.tensor([5e-7, 6e-7])
    along = {"focal_length": 1e-2, "pupil_spacing": 1e-5}
    message = r"wavelength of shape \(2,\) must broadcast with .* of the pupils, \(3,\)"
    for wavelength in (two, two.tolist()):
        for form in (optics.psf_from_pupil, optics.amplitude_spread, optics.otf_from_pupil):
            with pytest.raises(ValueError, match=message):
                form(pupils, wavelength=wavelength, size=5, **lengths)
        with pytest.raises(ValueError, match=message):
            optics.otf_along(pupils, torch.tensor([1e4]), wavelength=wavelength, **along)
    with pytest.raises(ValueError, match=r"incident_power of shape \(2,\) must .* \(3,\)"):
        optics.psf_from_pupil(pupils, wavelength=5e-7, size=5, incident_power=256 * two, **lengths)


@pytest.mark.parametrize("power", [None, 4 * 16.0**2])
def test_light_that_is_made_is_warned_of(power):
    # Of a square pupil at Q = 1 the points off the axis are at the zeros of the sinc, and the light
    # is the one on it; at Q = 1 / 2 that one is counted four times.
    def psf(quality, **options):
        return optics.psf_from_pupil(
            torch.ones(16, 16, dtype=torch.float64), wavelength=1.0, focal_length=quality,
            pupil_spacing=1.0, pixel_pitch=1 / 16, size=1, incident_power=power, **options,
        )  # fmt: skip

    whole = 1.0 if power is None else 0.25
    assert float(psf(1.0).sum()) == pytest.approx(whole)
    with pytest.warns(UserWarning, match="holds over 1 % more light than .* a larger oversample"):
        assert float(psf(0.5).sum()) == pytest.approx(4 * whole)
    assert float(psf(0.5, oversample=3).sum()) < whole


def test_numbers_of_numpy_are_lengths():
    pupil = _open(64)
    expected = _psf(pupil)
    for kind in (np.float32, np.float64, np.float16):
        # Powers of two have all digits in any of them.
        lengths = {"wavelength": 2**-20, "focal_length": 2**-6, "pitch": 2**-19}
        found = _psf(pupil, **{name: kind(value) for name, value in lengths.items()})
        torch.testing.assert_close(found, _psf(pupil, **lengths))
    several = _psf(pupil, wavelength=[np.float32(_LAMBDA), np.float32(2 * _LAMBDA)])
    torch.testing.assert_close(several[0], expected, rtol=1e-4, atol=1e-9)


def test_a_focal_length_of_half_precision_is_computed_in_double():
    pupil = _open(64)
    half = torch.tensor(2**-6, dtype=torch.float16)
    torch.testing.assert_close(_psf(pupil, focal_length=half), _psf(pupil, focal_length=2**-6))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_transfer_of_half_precision_is_that_of_float32(dtype):
    half = _psf(_open(64), size=33, pitch=1e-6).to(dtype)
    pupil = _open(64).to(dtype)

    def transfer(pupil):
        lengths = {"wavelength": _LAMBDA, "focal_length": _FOCAL, "pixel_pitch": 1.5e-6}
        return optics.otf_from_pupil(pupil, pupil_spacing=_UNIT / 60, size=16, **lengths)

    for measure, value in (
        (optics.otf, half),
        (optics.mtf, half),
        (transfer, pupil),
    ):
        torch.testing.assert_close(measure(value), measure(value.float()))


@pytest.mark.parametrize("strength", [0.5, 1.0, 3.0])
def test_an_amplitude_transfer_is_no_greater_than_the_brightest_sample_or_1(strength):
    """With numpy: Nyquist's pulse of roll-off 1/2 between the samples; more is limited."""
    generator = torch.Generator().manual_seed(0)
    phase = torch.rand(16, 12, generator=generator, dtype=torch.float64)
    field = torch.polar(torch.full_like(phase, strength), 6.3 * phase)
    step = 1e-4 * 2e-6 / (500e-9 * 10e-3)  # cycles per sample and pixel
    weights = []
    for samples, size in zip(field.shape, (20, 25), strict=True):
        at = -(np.arange(size) - size // 2) / size / step
        away = at[:, None] - (np.arange(samples) - samples // 2)
        near_1 = np.isclose(abs(away), 1)
        pulse = np.sinc(away) * np.cos(np.pi / 2 * away) / np.where(near_1, 1, 1 - away**2)
        weights.append(np.where(near_1, 0, pulse))
    expected = weights[0] @ field.numpy() @ weights[1].T
    limit, size = max(strength, 1), np.abs(expected)
    assert (size > 1.1 * strength).any()
    expected *= np.minimum(1, limit / np.maximum(size, 1e-300))
    found = amplitude_transfer(
        field[None], wavelengths=(500e-9,), focal_length=10e-3, pupil_spacing=1e-4,
        pixel_pitch=2e-6, size=(20, 25),
    )  # fmt: skip
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=1e-12 * limit)
