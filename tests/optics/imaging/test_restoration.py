import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import restoration as peer

import optics
from optics import convolve, wiener

BOUNDARIES = ("zero", "reflect", "replicate", "circular")


def _gaussian(size, sigma, *, throughput=1.0):
    """A PSF whose centre is ``size // 2``."""
    x = torch.arange(size, dtype=torch.float64) - size // 2
    psf = torch.exp(-(x[:, None] ** 2 + x**2) / (2 * sigma**2))
    return throughput * psf / psf.sum()


def _defocus(size=15, **changes):
    """PSF of a lens, which has zeros in its transfer function."""
    lens = optics.Lens(64, spacing=40e-6, focal_length=0.6)
    settings = {"wavelengths": (550e-9,), "focal_length": 20e-3, "pixel_pitch": 3.5e-6}
    return optics.Pupil([lens], **settings, psf_size=size, size=64, spacing=40e-6, **changes)


def _natural(count, size, generator, *, exponent=2.0):
    """Fields of the power spectrum ``f^-exponent`` with a period of the picture."""
    f = torch.fft.fftfreq(size, dtype=torch.float64)
    radius = 2 * torch.hypot(f[:, None], f)
    amplitude = torch.where(radius > 0, radius, torch.inf) ** (-exponent / 2)
    if exponent == 0:
        amplitude = torch.ones_like(radius)
    white = torch.randn(count, 1, size, size, generator=generator, dtype=torch.float64)
    return torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real, radius


@pytest.mark.parametrize("shape", [(24, 24), (25, 32), (31, 27)])
@pytest.mark.parametrize("kernel", [(5, 5), (4, 7), (1, 6)])
@pytest.mark.parametrize("exponent", [0.0, 2.0, 3.0])
def test_it_is_the_filter_of_scikit_image(shape, kernel, exponent):
    generator = torch.Generator().manual_seed(3)
    picture = torch.rand(shape, generator=generator, dtype=torch.float64)
    psf = torch.rand(kernel, generator=generator, dtype=torch.float64)
    psf /= psf.sum()
    y, x = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    # It multiplies the squared modulus of this by the balance.
    operator = (2 * np.hypot(y, x)) ** (exponent / 2) + 0j
    expected = peer.wiener(picture.numpy(), psf.numpy(), 0.03, reg=operator, clip=False)
    found = wiener(
        picture[None, None], psf, noise_to_signal=0.03, exponent=exponent, boundary="circular"
    )
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=0, atol=1e-12)


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 6), st.floats(0.05, 1.0))
def test_without_noise_a_convolution_is_undone(seed, rows, columns, throughput):
    generator = torch.Generator().manual_seed(seed)
    scene = torch.rand(2, 3, 12, 10, generator=generator, dtype=torch.float64)
    # One tap holds most of the light, so that no frequency is lost.
    psf = torch.rand(3, rows, columns, generator=generator, dtype=torch.float64)
    psf = 0.3 * psf / psf.sum((-2, -1), keepdim=True)
    psf[:, 0, 0] += 0.7
    psf *= throughput
    blurred = convolve(scene, psf, boundary="circular")
    found = wiener(blurred, psf, noise_to_signal=0.0, boundary="circular")
    torch.testing.assert_close(found, scene, rtol=0, atol=1e-9)


@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_no_other_ratio_has_a_smaller_error(exponent):
    generator = torch.Generator().manual_seed(1)
    scenes, radius = _natural(400, 32, generator, exponent=exponent)
    psf = _gaussian(9, 1.5, throughput=0.6)
    blurred = convolve(scenes, psf, boundary="circular")
    ratio = 0.02
    noisy = blurred + ratio**0.5 * torch.randn(blurred.shape, generator=generator).double()

    def error(r):
        settings = {"exponent": exponent, "boundary": "circular"}
        found = wiener(noisy, psf, noise_to_signal=r, **settings)
        return float((found - scenes).square().mean())

    transfer = torch.fft.fft2(psf, s=(32, 32)).abs().square()
    prior = ratio * radius**exponent
    # The error of Wiener's filter, frequency by frequency: S N / (|H|^2 S + N).
    theory = float((ratio / (transfer + prior)).mean())
    assert error(ratio) == pytest.approx(theory, rel=0.01)
    assert error(ratio) < min(error(ratio / 1.5), error(ratio * 1.5))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_blurred_picture_comes_back(boundary):
    scenes, _ = _natural(4, 64, torch.Generator().manual_seed(2))
    scenes = (scenes - scenes.amin((-2, -1), keepdim=True)) / 8
    psf = _gaussian(11, 0.8, throughput=0.5)
    blurred = convolve(scenes, psf, boundary=boundary)
    found = wiener(blurred, psf, noise_to_signal=1e-4, boundary=boundary)
    inside = (..., slice(12, -12), slice(12, -12))

    def rms(x):
        return float(x.square().mean().sqrt())

    left = rms((found - scenes)[inside])
    assert left < 0.35 * rms((2 * blurred - scenes)[inside])
    # The border does not ring into the picture: as good as one that has no border.
    torch.testing.assert_close(
        found[inside],
        wiener(
            convolve(scenes, psf, boundary="circular"), psf, noise_to_signal=1e-4,
            boundary="circular",
        )[inside],
        rtol=0,
        atol=0.02 * float(scenes.std()),
    )  # fmt: skip
    assert rms(found - scenes) < rms(2 * blurred - scenes)


def test_borders_that_differ_do_not_ring():
    ramp = torch.linspace(0.1, 0.9, 48, dtype=torch.float64)
    scene = (0.5 * ramp[:, None] + 0.5 * ramp).expand(1, 1, 48, 48)
    psf = _gaussian(9, 1.0)
    blurred = convolve(scene, psf, boundary="replicate")
    found = wiener(blurred, psf, noise_to_signal=1e-3)
    assert (found - scene).abs().max() < 0.02
    wrapped = wiener(blurred, psf, noise_to_signal=1e-3, boundary="circular")
    assert (wrapped - scene).abs().max() > 0.2  # what there is to ring


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("throughput", [1.0, 0.3, 1e-9])
def test_grey_stays_grey_and_gets_its_light_back(boundary, throughput):
    grey = torch.full((1, 2, 20, 30), 0.4, dtype=torch.float64)
    likely = torch.stack([_gaussian(7, s, throughput=throughput) for s in (1.0, 1.6)])
    for psf in (likely[0], likely, likely[:, None].expand(-1, 2, -1, -1)):
        blurred = convolve(grey, psf.mean(0) if psf.ndim == 4 else psf, boundary=boundary)
        for ratio in (1e-6, 0.1, 10.0):
            found = wiener(blurred, psf, noise_to_signal=ratio, boundary=boundary)
            torch.testing.assert_close(found, grey, rtol=0, atol=1e-9)


def test_a_dark_border_is_brightened_by_ten_at_most():
    # A PSF of one tap, 3 rows from its centre: to the last rows no light comes, but noise.
    shifted = torch.zeros(7, 7, dtype=torch.float64)
    shifted[0, 3] = 1.0
    picture = torch.rand(1, 1, 12, 12, dtype=torch.float64)
    settings = {"noise_to_signal": 0.01, "boundary": "zero"}
    brightened = picture.clone()
    brightened[..., -3:, :] *= 10
    torch.testing.assert_close(
        wiener(picture, shifted, **settings),
        wiener(brightened, shifted, noise_to_signal=0.01, boundary="replicate"),
    )


def test_a_shift_is_a_shift():
    scene = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    point = torch.zeros(5, 5, dtype=torch.float64)
    point[3, 1] = 1.0  # the centre is at 2, 2
    blurred = convolve(scene, point, boundary="circular")
    torch.testing.assert_close(blurred, scene.roll((1, -1), (-2, -1)))
    found = wiener(blurred, point, noise_to_signal=0.0, boundary="circular")
    torch.testing.assert_close(found, scene)


def test_each_channel_has_its_own():
    scene = torch.rand(2, 3, 20, 20, dtype=torch.float64)
    psf = torch.stack([_gaussian(7, s) for s in (0.6, 1.0, 1.6)])
    ratio = torch.tensor([0.1, 0.01, 0.001], dtype=torch.float64)
    found = wiener(scene, psf, noise_to_signal=ratio)
    for c in range(3):
        alone = wiener(scene[:, [c]], psf[[c]], noise_to_signal=float(ratio[c]))
        torch.testing.assert_close(found[:, [c]], alone)
    torch.testing.assert_close(
        wiener(scene, psf[0], noise_to_signal=0.1)[:, [2]],
        wiener(scene[:, [2]], psf[0], noise_to_signal=0.1),
    )


def test_gradients_to_everything():
    generator = torch.Generator().manual_seed(5)
    for boundary in ("zero", "replicate", "circular"):
        picture = torch.rand(1, 2, 7, 6, generator=generator, dtype=torch.float64)
        psf = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64) / 12
        ratio = torch.tensor([0.05, 0.2], dtype=torch.float64)
        leaves = [leaf.requires_grad_() for leaf in (picture, psf, ratio)]
        assert torch.autograd.gradcheck(
            lambda p, k, r, b=boundary: wiener(p, k, noise_to_signal=r, boundary=b), leaves
        )


def test_precision():
    picture = torch.rand(1, 1, 24, 24)
    psf = _gaussian(5, 1.0).float()
    exact = wiener(picture.double(), psf, noise_to_signal=0.01)
    assert exact.dtype == torch.float64
    found = wiener(picture, psf, noise_to_signal=0.01)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-5)
    half = picture.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = wiener(half, psf, noise_to_signal=0.01)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wiener(half.float(), psf, noise_to_signal=0.01))


def test_of_several_likely_blurs_it_has_the_least_error_in_the_mean():
    """Noise and natural scenes behind one of three lenses: numpy's least squares, line by line."""
    generator = torch.Generator().manual_seed(5)
    size, noise = 24, 0.05
    psfs = torch.stack([_gaussian(9, sigma) for sigma in (0.5, 1.0, 2.5)])[:, None]
    point = torch.zeros(1, 1, size, size, dtype=torch.float64)
    point[..., 0, 0] = 1
    filter_ = wiener(point, psfs, noise_to_signal=noise, boundary="circular")
    found = torch.fft.fft2(filter_)[0, 0].numpy()
    padded = torch.nn.functional.pad(psfs[:, 0], (0, size - 9, 0, size - 9)).roll((-4, -4), (1, 2))
    transfers = torch.fft.fft2(padded).numpy()
    f = np.fft.fftfreq(size)
    prior = 2 * np.hypot(f[:, None], f)  # root of noise over signal
    for y, x in ((0, 1), (3, 2), (11, 7), (12, 12)):
        # min over g of the mean of |1 - g H_d|^2 + |g|^2 r f^2
        rows = np.append(transfers[:, y, x], math.sqrt(3 * noise) * prior[y, x])
        expected = np.linalg.lstsq(rows[:, None], np.array([1, 1, 1, 0]), rcond=None)[0][0]
        assert found[y, x] == pytest.approx(expected, abs=1e-10)
    same = psfs[:1].expand(4, -1, -1, -1)
    picture = torch.rand(2, 1, size, size, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        wiener(picture, same, noise_to_signal=noise),
        wiener(picture, psfs[0], noise_to_signal=noise),
    )


def test_what_light_does_not_reach_stays_dark():
    picture = torch.ones(1, 1, 8, 8)
    for boundary in BOUNDARIES:
        settings = {"noise_to_signal": 0.1, "boundary": boundary}
        assert torch.isfinite(wiener(picture, torch.zeros(3, 3), **settings)).all()
        leaf = torch.zeros(3, 3, requires_grad=True)
        wiener(picture, leaf, **settings).sum().backward()
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"picture": torch.rand(3, 8, 8)}, r"picture must be \[B, C, H, W\]"),
        ({"picture": torch.ones(1, 3, 8, 8, dtype=torch.int64)}, "picture must be real floating"),
        ({"psf": torch.rand(2, 3, 3)}, r"psf .*\[h, w\] or \[D, C, h, w\], not"),
        ({"psf": torch.rand(5, 2, 3, 3)}, r"psf .*\[h, w\] or \[D, C, h, w\], not"),
        ({"psf": torch.rand(0, 3, 3, 3)}, r"not \(1, 3, 8, 8\) and \(0, 3, 3, 3\)"),
        ({"psf": torch.rand(9, 3), "boundary": "circular"}, "no larger than the picture"),
        ({"psf": torch.rand(3, 9), "boundary": "circular"}, "no larger than the picture"),
        ({"boundary": "mirror"}, "boundary must be one of"),
        ({"noise_to_signal": -0.1}, "noise_to_signal must be 0 or more"),
        ({"noise_to_signal": float("nan")}, "noise_to_signal must be finite"),
        ({"noise_to_signal": torch.rand(2)}, "one for each of the 3 channels"),
        ({"noise_to_signal": torch.rand(3, 1)}, "one for each of the 3 channels"),
        ({"exponent": -1.0}, "exponent must be 0 or more"),
    ],
)
def test_bad_input_is_named(changes, message):
    given = {"picture": torch.rand(1, 3, 8, 8), "psf": torch.rand(3, 3), "noise_to_signal": 0.1}
    given |= changes
    with pytest.raises(ValueError, match=message):
        wiener(given.pop("picture"), given.pop("psf"), **given)


def test_a_ratio_must_be_positive_to_be_learned():
    for ratio in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="noise_to_signal"):
            optics.Wiener(ratio)
    with pytest.raises(ValueError, match=r"one number, or one for each channel, not \(2, 2\)"):
        optics.Wiener(torch.ones(2, 2))
    with pytest.raises(ValueError, match="exponent must be 0 or more"):
        optics.Wiener(exponent=-2)
    with pytest.raises(TypeError, match="exponent is not learned here"):
        optics.Wiener(exponent=torch.nn.Parameter(torch.tensor(2.0)))


# ------------------------------------------------------------------------------------ in a camera


def test_a_camera_restores_what_its_sensor_reads():
    scenes, _ = _natural(8, 48, torch.Generator().manual_seed(4))
    scenes = ((scenes - scenes.mean()) / (6 * scenes.std()) + 0.5).clamp(0, 1).float()
    restoring = optics.IncoherentImaging(_defocus(), restoration=optics.Wiener(0.02))
    plain = optics.IncoherentImaging(_defocus())
    torch.testing.assert_close(restoring(scenes), plain(scenes))  # the light is the same
    raw = optics.Sensor(photons=5000, read_noise=2.0)(
        restoring(scenes), generator=torch.Generator().manual_seed(0)
    )
    found = restoring.combine(raw)
    torch.testing.assert_close(
        found, wiener(raw, restoring.psf(), noise_to_signal=0.02, boundary="replicate")
    )
    before = (plain.combine(raw) - scenes).square().mean()
    assert (found - scenes).square().mean() < 0.5 * before


def test_the_element_and_the_ratio_learn_together():
    phase = torch.nn.Parameter(0.1 * torch.randn(64, 64))
    mask = optics.PhaseMask(phase, spacing=40e-6, design_wavelength=550e-9)
    pupil = optics.Pupil(
        [mask], wavelengths=(550e-9,), focal_length=20e-3, pixel_pitch=3.5e-6, psf_size=15,
        size=64, spacing=40e-6,
    )  # fmt: skip
    camera = optics.IncoherentImaging(pupil, restoration=optics.Wiener(0.05))
    assert {name for name, _ in camera.named_parameters()} == {
        "pupil.elements.0.phase",
        "restoration.log_ratio",
    }
    raw = camera(torch.rand(1, 1, 32, 32)).detach()
    camera.combine(raw).square().sum().backward()
    # Through the inverse alone, as the light was cut off.
    assert phase.grad is not None
    assert phase.grad.abs().max() > 0
    assert camera.restoration.log_ratio.grad.abs() > 0


def test_a_device_is_restored_as_it_was_designed():
    design = optics.IncoherentImaging(_gaussian(7, 1.0).float(), restoration=optics.Wiener(0.01))
    design.restoration.know(design.psf())
    device = copy.deepcopy(design)
    device.fixed_psf.copy_(_gaussian(7, 1.5))
    raw = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(device.combine(raw), design.combine(raw))
    device.restoration.know(None)
    assert (device.combine(raw) - design.combine(raw)).abs().max() > 0.01
    # What a device knows is not part of what is trained.
    assert not any("known" in name for name in design.state_dict())


@pytest.mark.parametrize(
    ("psf", "error", "message"),
    [
        (np.full((3, 3), 1 / 9), TypeError, "psf must be a Tensor .*, not ndarray"),
        (torch.ones(3, 3, dtype=torch.int64), ValueError, "psf must be real"),
        (torch.ones(1, 1, 3, 3, 3), ValueError, r"psf must be .*, not \(1, 1, 3, 3, 3\)"),
        (torch.full((3, 3), math.nan), ValueError, "psf must be finite"),
        (-torch.ones(3, 3) / 9, ValueError, "a PSF is not negative .* the least value is -0.11"),
        (torch.eye(3) - 0.1, ValueError, r"not negative .* value is -0\.1 and the least sum 2\.1"),
        (torch.zeros(3, 3, 3), ValueError, "the least sum 0: use optics.measured_psf"),
    ],
)
def test_what_is_known_must_be_a_psf(psf, error, message):
    filter_ = optics.Wiener()
    with pytest.raises(error, match=message):
        filter_.know(psf)
    assert filter_.known_psf is None
