import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import j0, j1
from spots import _FOCAL, _LAMBDA, _UNIT, _open, _psf, _whole

import optics


def _radius(size, pitch):
    i = (np.arange(size) - size // 2) * pitch
    return np.hypot(i[:, None], i)


def _airy(radius, wavelength=_LAMBDA):
    z = np.pi * _UNIT * radius / (wavelength * _FOCAL)
    return np.where(z > 0, 2 * j1(z) / np.where(z > 0, z, 1), 1.0) ** 2


def test_encircled_energy_of_the_airy_pattern():
    # 1 - J0^2 - J1^2 (Born and Wolf, eq. 8.5.18); the dark rings hold 83.8, 91.0, 93.8 %.
    psf = _psf(_open(256), size=401, pitch=1.5e-6)
    z = np.array([1.0, 2.0, 3.8317, 7.0156, 10.1735])
    radii = z * _LAMBDA * _FOCAL / (np.pi * _UNIT)
    energy = optics.encircled_energy(psf, radii.tolist(), pixel_pitch=1.5e-6).numpy()
    np.testing.assert_allclose(energy, 1 - j0(z) ** 2 - j1(z) ** 2, atol=3e-3)
    one = optics.encircled_energy(psf, float(radii[2]), pixel_pitch=1.5e-6)
    assert one.ndim == 0
    assert float(one) == pytest.approx(0.838, abs=3e-3)


@pytest.mark.parametrize("oversample", [1, 5])
def test_pixels_that_alias_a_psf_are_told_and_finer_ones_are_right(oversample):
    def lens(pitch, size, oversample):
        return optics.Pupil(
            [], size=257, spacing=5e-3 / 256, wavelengths=(545e-9,), focal_length=20e-3,
            pixel_pitch=pitch, psf_size=size, oversample=oversample,
        )()[0]  # fmt: skip

    pitch = 3.45e-6 if oversample > 1 else 2e-6  # Q = 0.63 and 1.09
    radii = [k * pitch for k in (1, 2, 3, 5)]
    with pytest.warns(UserWarning, match="still 0.* at the edge of the band: the pixels alias"):
        coarse = optics.encircled_energy(lens(pitch, 61, oversample), radii, pixel_pitch=pitch)
    z = np.pi * 5e-3 * np.array(radii) / (545e-9 * 20e-3)
    airy = 1 - j0(z) ** 2 - j1(z) ** 2
    assert abs(coarse.numpy() - airy).max() > 0.1
    fine = optics.encircled_energy(lens(pitch / 5, 305, 1), radii, pixel_pitch=pitch / 5)
    # The soft edge of the aperture: sum A / sum A^2 is 1.0026 for 257 samples.
    np.testing.assert_allclose(fine.numpy(), airy, rtol=0, atol=3e-3)


def test_noise_in_a_psf_that_is_sampled_in_full_aliases_nothing():
    psf = _psf(_open(128), pitch=0.5e-6)
    generator = torch.Generator().manual_seed(0)
    noisy = psf + 0.02 * psf.max() * torch.randn(psf.shape, generator=generator).double()
    optics.encircled_energy(noisy, 3e-6, pixel_pitch=0.5e-6)


def test_the_area_of_the_pixels_spreads_the_light_within_a_circle():
    pupil = optics.circular_aperture(256, diameter=1.0, spacing=1 / 250, dtype=torch.float64)
    given = {"wavelength": 1.0, "focal_length": 2.17, "pupil_spacing": 1 / 250, "pixel_pitch": 1.0}
    # The volume under the closed forms of the OTF, the circle and the pixel (Goodman, eq. 6-31).
    f = (np.arange(1024) + 0.5) / 1024 / given["focal_length"]
    r = np.hypot(f[:, None], f)
    v = (r * given["focal_length"]).clip(0, 1)
    under = 2 / np.pi * (np.arccos(v) - v * np.sqrt(1 - v**2)) * j1(2 * np.pi * r) / r
    area = np.sinc(f[:, None]) * np.sinc(f)
    for points, volume in ((1, under), (21, under * area)):
        psf = optics.psf_from_pupil(pupil, **given, size=61, oversample=points)
        found = optics.encircled_energy(psf, 1.0, pixel_pitch=1.0)
        # The soft edge of the aperture, as above.
        assert float(found) == pytest.approx(4 * volume.sum() * (f[1] - f[0]) ** 2, abs=3e-3)


def test_encircled_energy_of_a_gaussian_and_its_gradient():
    sigma, pitch = 4.0, 2e-6
    r = torch.from_numpy(_radius(64, 1.0))
    psf = torch.exp(-(r**2) / (2 * sigma**2)) / (2 * math.pi * sigma**2) * 0.3
    radius = torch.tensor([3.0, 6.0, 12.0], dtype=torch.float64) * pitch
    energy = optics.encircled_energy(psf, radius, pixel_pitch=pitch)
    expected = 0.3 * (1 - torch.exp(-((radius / pitch) ** 2) / (2 * sigma**2)))
    torch.testing.assert_close(energy, expected, rtol=1e-6, atol=1e-9)
    assert torch.autograd.gradcheck(
        lambda p, r: optics.encircled_energy(p, r * pitch, pixel_pitch=pitch),
        (
            (1 + torch.rand(5, 6, dtype=torch.float64)).requires_grad_(),
            torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True),
        ),
    )


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_function_transforms_see_through_an_encircled_energy():
    psfs = torch.rand(3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    radii = torch.tensor([1e-9, 1.2, 2.0], dtype=torch.float64)

    def energy(psf, radius):
        return optics.encircled_energy(psf, radius, pixel_pitch=1.0)

    each = torch.func.vmap(energy)(psfs, radii)
    expected = torch.stack([energy(p, r) for p, r in zip(psfs, radii, strict=True)])
    torch.testing.assert_close(each, expected)
    forward = torch.func.jacfwd(energy, argnums=1)(psfs, radii)
    torch.testing.assert_close(forward, torch.func.jacrev(energy, argnums=1)(psfs, radii))
    # The light on a ring per metre of its radius, 2 pi R psf in the mean around it.
    slope = torch.func.grad(energy, argnums=1)(torch.ones_like(psfs[0]), radii[1])
    assert float(slope) == pytest.approx(2 * math.pi * 1.2)


def test_encircled_energy_of_several_psfs_is_that_of_each():
    widths = (2.0, 3.0)
    r = torch.from_numpy(_radius(48, 1.0))
    psfs = torch.stack([torch.exp(-(r**2) / (2 * w**2)) / (2 * math.pi * w**2) for w in widths])
    energy = optics.encircled_energy(psfs, [5.0, 10.0], pixel_pitch=1.0)
    expected = [[1 - math.exp(-(a**2) / (2 * w**2)) for a in (5.0, 10.0)] for w in widths]
    np.testing.assert_allclose(energy.numpy(), expected, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.floats(1e-3, 0.1), st.floats(-3, 3))
def test_p23_strehl_is_one_for_a_flat_wave_only_and_not_below_the_bound(seed, rms, piston):
    n = 32
    pupil = optics.circular_aperture(n, diameter=30.0, spacing=1.0, dtype=torch.float64)
    share = pupil / pupil.sum()
    phase = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    phase = phase - (share * phase).sum()
    phase = 2 * math.pi * rms * phase / (share * phase.square()).sum().sqrt()
    flat = _whole(pupil, 64)
    ratio = float(optics.strehl(_whole(pupil * torch.exp(1j * (phase + piston)), 64), flat))
    # |mean exp(i p)| >= mean cos p >= 1 - mean p^2 / 2, with p about its mean.
    variance = (2 * math.pi * rms) ** 2
    assert (1 - variance / 2) ** 2 - 1e-12 <= ratio <= 1 - variance / 2
    same = _whole(pupil * complex(math.cos(piston), math.sin(piston)), 64)
    assert float(optics.strehl(same, flat)) == pytest.approx(1, abs=1e-12)
    assert float(optics.strehl(0.3 * flat, flat, passed=0.3)) == pytest.approx(1)
    assert float(optics.strehl(flat, 0.3 * flat, passed=1 / 0.3)) == pytest.approx(1)
    for one, other in ((0.3 * flat, flat), (flat, 0.3 * flat)):
        with pytest.warns(UserWarning, match="hold different light.* Give passed"):
            assert float(optics.strehl(one, other)) == pytest.approx(1)
    assert float(optics.strehl(0.96 * flat, flat)) == pytest.approx(1)


@pytest.mark.parametrize("waves", [0.02, 0.05, 0.1, 0.2])
def test_strehl_of_defocus(waves):
    n = 256
    basis = optics.zernike_basis((4,), n, diameter=_UNIT, spacing=_UNIT / (n - 4), soft_edge=True)[
        0
    ].double()
    phase = 2 * math.pi * waves * basis
    pupil = _open(n) * torch.polar(torch.ones_like(phase), phase)
    expected = np.sinc(2 * math.sqrt(3) * waves) ** 2
    options = {"size": 64, "pitch": 0.5e-6}
    # On the axis, per light in the pupil (a window of the PSF holds less of the blurred one).
    ratio = _psf(pupil, **options)[32, 32] / _psf(_open(n), **options)[32, 32]
    assert float(ratio) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_strehl_of_a_binary_lens_counts_the_light_of_its_other_orders(share):
    n = 256
    x = optics.coordinates(n, spacing=_UNIT / (n - 4))
    lens = math.pi * (x[:, None].square() + x.square()) / (_LAMBDA * 40e-3)
    binary = math.pi * (lens / math.pi).floor().remainder(2)
    pupil = share**0.5 * _open(n) * torch.exp(1j * (binary - lens))
    power = _open(n).square().sum()
    one, other = (_psf(p, size=21, incident_power=power) for p in (pupil, _open(n)))
    found = float(optics.strehl(one, other, passed=share))
    assert found == pytest.approx(float(pupil.sum().abs() / _open(n).sum()) ** 2 / share, rel=1e-6)
    # Its first order has (2 / pi)^2 of the light (Goodman, Fourier Optics, sec. 10.1.3), but for
    # the part that a sample of the outermost zones, 10 of them wide, takes from the edges.
    assert found == pytest.approx(np.sinc(0.5) ** 2, abs=0.02)
    with pytest.warns(UserWarning, match="hold different light"):
        assert float(optics.strehl(one, other)) > 2 * found
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="passed must be positive and finite"):
            optics.strehl(one, other, passed=wrong)


def test_measures_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"the same window, not \(3, 3\) and \(4, 4\)"):
        optics.strehl(torch.ones(3, 3), torch.ones(4, 4))
    with pytest.raises(ValueError, match="radius must be positive and finite, in metres"):
        optics.encircled_energy(torch.ones(3, 3), -1.0, pixel_pitch=1.0)
    with pytest.raises(TypeError, match="pixel_pitch must be one number, in metres"):
        optics.encircled_energy(torch.ones(3, 3), 1.0, pixel_pitch=torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="psf must be finite"):
        optics.encircled_energy(torch.full((3, 3), math.nan), 1.0, pixel_pitch=1.0)
    assert optics.encircled_energy(torch.ones(3, 5), [1.0, 1.5], pixel_pitch=1.0).shape == (2,)
    with pytest.raises(
        ValueError, match=r"radius must be at most half .*, 3 metres, not 3\.2; use"
    ):
        optics.encircled_energy(torch.ones(3, 5), [1.0, 3.2], pixel_pitch=2.0)
    with pytest.raises(ValueError, match="radius must hold at least one, in metres"):
        optics.encircled_energy(torch.ones(5, 5), [], pixel_pitch=1e-6)


def test_what_holds_no_light_has_no_strehl_ratio():
    black = torch.zeros(5, 5)
    with pytest.raises(ValueError, match="psf holds no light"):
        optics.strehl(black, torch.ones(5, 5))
    with pytest.raises(ValueError, match="ideal holds no light"):
        optics.strehl(torch.ones(5, 5), black)
    with pytest.raises(ValueError, match="psf must be finite"):
        optics.strehl(torch.full((5, 5), math.nan), torch.ones(5, 5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_measures_of_half_precision_are_those_of_float32(dtype):
    half = _psf(_open(64), size=33, pitch=1e-6).to(dtype)
    for measure in (
        lambda psf: optics.strehl(psf, half),
        lambda psf: optics.encircled_energy(psf, 4e-6, pixel_pitch=1e-6),
    ):
        torch.testing.assert_close(measure(half), measure(half.float()))
