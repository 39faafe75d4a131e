from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal
from skimage.filters import gabor_kernel, scharr_h, scharr_v

import optics

_STARTS = get_args(optics.KernelStart)


def _scene(seed, shape=(2, 3, 20, 18)):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _kernel(start="random", size=5, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return optics.LearnedKernel(start, size, generator=generator, **options).double()


@pytest.mark.parametrize("name", _STARTS)
@pytest.mark.parametrize("size", [5, 7, 15])
def test_starts_ask_for_no_more_light_than_there_is(name, size):
    filters = optics.kernel_start(name, size, generator=torch.Generator().manual_seed(0))
    plus, minus = filters.clamp_min(0).sum((-2, -1)), (-filters).clamp_min(0).sum((-2, -1))
    assert filters.dtype == torch.float64
    torch.testing.assert_close(torch.maximum(plus, minus), torch.ones(len(filters)).double())


@pytest.mark.parametrize("name", sorted({*_STARTS} - {"identity", "unsharp", "gaussian", "random"}))
def test_edge_filters_ignore_a_constant(name):
    filters = optics.kernel_start(name, 9)
    torch.testing.assert_close(filters.sum((-2, -1)), torch.zeros(len(filters)).double())


def test_unsharp_keeps_half_of_the_mean_and_lifts_edges():
    kernel = optics.kernel_start("unsharp", 9)
    assert float(kernel.sum()) == pytest.approx(0.5, abs=0.02)
    step = (torch.arange(32) >= 16).double().expand(1, 1, 32, 32)
    response = optics.convolve(step, kernel, boundary="replicate")[0, 0, 16]
    assert response.max() > 1.3 * response[-1]
    assert response.min() < response[0] - 0.1


def test_sobel_and_laplacian_agree_with_scipy():
    picture = _scene(0, (1, 1, 16, 16))
    sobel = optics.convolve(picture, optics.kernel_start("sobel", 5)[:, None], boundary="replicate")
    array = picture[0, 0].numpy()
    np.testing.assert_allclose(sobel[0, 0], ndimage.sobel(array, 1, mode="nearest") / 4, atol=1e-12)
    np.testing.assert_allclose(sobel[0, 1], ndimage.sobel(array, 0, mode="nearest") / 4, atol=1e-12)
    laplacian = optics.convolve(picture, optics.kernel_start("laplacian", 5), boundary="replicate")
    np.testing.assert_allclose(
        laplacian[0, 0], -ndimage.laplace(array, mode="nearest") / 4, atol=1e-12
    )


def test_scharr_agrees_with_skimage():
    picture = _scene(0, (1, 1, 16, 16))
    ours = optics.convolve(picture, optics.kernel_start("scharr", 5)[:, None], boundary="replicate")
    # Beside the border, which theirs continues in another way.
    array, inner = picture[0, 0].numpy(), np.s_[1:-1, 1:-1]
    np.testing.assert_allclose(ours[0, 0][inner], scharr_v(array)[inner], atol=1e-12)
    np.testing.assert_allclose(ours[0, 1][inner], scharr_h(array)[inner], atol=1e-12)


@pytest.mark.parametrize("size", [3, 7, 13])
def test_a_difference_of_gaussians_agrees_with_scipy(size):
    impulse = np.zeros((size, size))
    impulse[size // 2, size // 2] = 1
    centre, surround = (
        ndimage.gaussian_filter(impulse, sigma, radius=size // 2, mode="constant")
        for sigma in (size / 9.6, size / 6)
    )
    theirs = (centre - surround) / np.clip(centre - surround, 0, None).sum()
    ours = optics.kernel_start("difference_of_gaussians", size)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_log_agrees_with_scipy():
    impulse = np.zeros((61, 61))
    impulse[30, 30] = 1
    ours = optics.kernel_start("log", 61)[0].numpy()
    theirs = -ndimage.gaussian_laplace(impulse, 61 / 7, truncate=3.45)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9999


def test_gaussian_agrees_with_scipy():
    line = signal.windows.gaussian(13, 13 / 6)
    ours = optics.kernel_start("gaussian", 13)[0].numpy()
    np.testing.assert_allclose(ours, np.outer(line, line) / line.sum() ** 2, atol=1e-15)


@pytest.mark.parametrize("number", range(4))
def test_gabor_agrees_with_skimage(number):
    size = 41
    theirs = gabor_kernel(
        2 / size, theta=number * np.pi / 4, sigma_x=size / 5, sigma_y=size / 5, n_stds=5
    )
    centre = np.array(theirs.shape) // 2
    half = size // 2
    theirs = theirs.real[
        centre[0] - half : centre[0] + half + 1, centre[1] - half : centre[1] + half + 1
    ]
    ours = optics.kernel_start("gabor", size)[number].numpy()
    # Ours has its mean under the envelope removed, a small constant part of the picture.
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("size", [5, 7, 41])
@pytest.mark.parametrize("number", range(4))
def test_an_odd_gabor_agrees_with_skimage(number, size):
    theirs = gabor_kernel(
        2 / size, theta=number * np.pi / 4, sigma_x=size / 5, sigma_y=size / 5, n_stds=5
    ).imag
    top, left = ((side - size) // 2 for side in theirs.shape)
    # Theirs is correlated with a picture, ours is turned by a true convolution.
    theirs = -theirs[top : top + size, left : left + size]
    theirs = theirs / np.clip(theirs, 0, None).sum()
    ours = optics.kernel_start("odd_gabor", size)[number]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    y, x = np.mgrid[:size, :size]
    along = x * np.cos(number * np.pi / 4) + y * np.sin(number * np.pi / 4)
    ramp = torch.from_numpy(along)[None, None]
    middle = optics.convolve(ramp, ours[None])[0, 0, size // 2, size // 2]
    assert middle > 0  # the way that it gets brighter


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**31), st.booleans(), st.booleans(), st.sampled_from([3, 5, 9]), st.floats(0, 2)
)
def test_any_kernel_is_non_negative_and_makes_no_light(seed, signed, mixed, size, step):
    front_end = _kernel("random", size, seed, signed=signed, mix_channels=mixed)
    with torch.no_grad():  # an optimiser may go anywhere
        front_end.raw.add_(step * torch.randn(front_end.raw.shape).double())
    scene = _scene(seed)
    irradiance = front_end(scene)
    assert (front_end.kernels >= 0).all()
    assert irradiance.shape == (2, front_end.exposures * 3, 20, 18)
    assert irradiance.min() >= -1e-12
    assert irradiance.max() <= (3 if mixed else 1) / front_end.exposures + 1e-12
    assert 0 <= front_end.throughput() <= 1 + 1e-12


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([3, 7]))
def test_throughput_is_the_light_that_arrives(seed, mixed, size):
    front_end = _kernel("random", size, seed, mix_channels=mixed, boundary="circular")
    scene = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    arrived = front_end(scene).sum() / scene.sum()
    torch.testing.assert_close(arrived, front_end.throughput().detach())


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0, 4), st.floats(0, 4), st.booleans())
def test_image_formation_is_linear_in_light(seed, a, b, mixed):
    front_end = _kernel("random", 5, seed, mix_channels=mixed)
    x, y = _scene(seed), _scene(seed + 1)
    torch.testing.assert_close(
        front_end(a * x + b * y), a * front_end(x) + b * front_end(y), rtol=1e-10, atol=1e-10
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(-9, 9), st.integers(-9, 9))
def test_image_formation_shifts_with_the_scene(seed, dy, dx):
    front_end = _kernel("random", 7, seed, boundary="circular")
    scene = _scene(seed)
    torch.testing.assert_close(
        front_end(scene.roll((dy, dx), (-2, -1))), front_end(scene).roll((dy, dx), (-2, -1))
    )


@pytest.mark.parametrize("mixed", [False, True])
def test_identity_returns_the_scene(mixed):
    front_end = _kernel("identity", 7, mix_channels=mixed)
    scene = _scene(0)
    # A lit-up floor of 7e-5 a tap is all that separates it from a perfect lens.
    torch.testing.assert_close(front_end.combine(front_end(scene)), scene, rtol=0, atol=0.012)
    torch.testing.assert_close(front_end(scene)[:, :3], scene / 2, rtol=0, atol=0.006)


@pytest.mark.parametrize("start", _STARTS)
def test_combined_exposures_are_the_signed_filter_scaled_to_its_reach(start):
    front_end = _kernel(start, 5)
    scene = _scene(0)
    response = front_end.response
    kernels = front_end.kernels
    expected = []
    for kernel, parts in zip(response, kernels, strict=True):
        difference = optics.convolve(scene, kernel, boundary="replicate")
        upper, lower = parts.sum((-3, -2, -1))[..., None, None]
        expected.append((difference + lower) / (upper + lower))
    torch.testing.assert_close(front_end.combine(front_end(scene)), torch.cat(expected, 1))


def test_what_noise_pushes_out_of_the_range_is_clipped():
    front_end = _kernel("log", 5)
    raw = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat_interleave(3).expand(1, 4, 4, 6)
    result = front_end.combine(raw.permute(0, 3, 1, 2))
    assert (result == 0).all()
    with pytest.raises(ValueError, match=r"combine takes \[B, 6, H, W\], not \(1, 3, 4, 4\)"):
        front_end.combine(torch.rand(1, 3, 4, 4))


def test_a_single_exposure_gets_all_of_the_light():
    front_end = _kernel("gaussian", 5, signed=False)
    assert front_end.exposures == 1
    assert front_end.throughput() > 0.99
    scene = _scene(0)
    expected = ndimage.convolve(
        scene[0, 0].numpy(), front_end.kernels[0, 0, 0, 0].detach().numpy(), mode="nearest"
    )
    np.testing.assert_allclose(front_end(scene)[0, 0].detach(), expected, atol=1e-10)


@pytest.mark.parametrize("signed", [True, False])
def test_a_constant_scene_is_itself_behind_kernels_without_negative_taps(signed):
    front_end = _kernel("gaussian", 5, signed=signed)
    for level in (0.0, 0.3, 1.0):
        scene = torch.full((1, 3, 8, 8), level, dtype=torch.float64)
        image = front_end.combine(front_end(scene))
        torch.testing.assert_close(image, scene, rtol=0, atol=2e-3)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("raw", [-3.0, -1.0, -0.3])
def test_a_filter_that_training_made_dark_gives_no_nan(signed, raw):
    front_end = optics.LearnedKernel("gaussian", 3, channels=1, signed=signed)
    with torch.no_grad():
        front_end.raw.fill_(raw)
    image = front_end.combine(front_end(_scene(0, (1, 1, 8, 8)).float()))
    assert bool(((image >= 0) & (image <= 1)).all())
    if raw == -3.0:  # exactly dark, by underflow
        assert not front_end.kernels.any()
        assert not image.any()
    (slope,) = torch.autograd.grad(image.square().sum(), front_end.raw)
    assert bool(torch.isfinite(slope).all())


def test_own_kernels_are_kept():
    filters = torch.tensor([[[0.0, -0.5, 0.0], [0.2, 0.4, 0.1], [0.0, -0.25, 0.0]]])
    front_end = optics.LearnedKernel(filters, channels=1)
    torch.testing.assert_close(front_end.response[0, 0], filters, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optics.LearnedKernel("sobol"), "no kernel is called 'sobol'; choose from"),
        (lambda: optics.LearnedKernel("log", 4), "odd and at least 3, not 4"),
        (lambda: optics.kernel_start("odd_gabor", 3), "odd and at least 5, not 3"),
        (lambda: optics.kernel_start("gabor", 3), "odd and at least 5, not 3"),
        (lambda: optics.LearnedKernel("log", signed=False), "start='log' has negative taps"),
        (lambda: optics.LearnedKernel(-torch.ones(1, 1, 1), signed=False), "start has negative"),
        (lambda: optics.LearnedKernel(torch.ones(1, 3, 3)), "here they reach 9: divide by it"),
        (lambda: optics.LearnedKernel(-torch.ones(1, 3, 3) / 4), "here they reach 2.25: divide by"),
        (lambda: optics.LearnedKernel(torch.zeros(0, 3, 3)), r"start must be \[F, k, k\]"),
        (lambda: optics.LearnedKernel(channels=0), "channels must be a whole .* at least 1, not 0"),
        (lambda: optics.LearnedKernel(boundary="mirror"), "boundary must be one of"),
        (lambda: optics.LearnedKernel(torch.ones(3, 3)), r"start must be \[F, k, k\]"),
        (lambda: optics.LearnedKernel()(torch.rand(1, 1, 8, 8)), r"takes scenes \[B, 3, H, W\]"),
    ],
)
def test_what_cannot_be_built_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_kernels_of_an_array_are_called_by_their_type():
    with pytest.raises(TypeError, match=r"start must be a name of .* \[F, k, k\], not ndarray"):
        optics.LearnedKernel(np.ones((1, 3, 3)) / 9)


@pytest.mark.parametrize("name", ["identity", "unsharp", "laplacian", "log", "gaussian"])
@pytest.mark.parametrize("size", [3, 9, 31, 63])
def test_dark_taps_of_a_large_kernel_are_no_veil(name, size):
    wanted = optics.kernel_start(name, size)
    kernel = optics.LearnedKernel(name, size, channels=1)
    found = kernel.response.detach()[:, 0, 0].double()
    # 0.55 % of the light in all dark taps of either exposure, and what they take off the others.
    assert float((found - wanted).abs().sum((-2, -1)).max()) < 0.0115
    parts = torch.stack((wanted.clamp_min(0), (-wanted).clamp_min(0)), 1)[:, :, None, None]
    usual = optics.energy_limited_inverse(parts).float()
    if size <= 9:  # those that were trained before begin where they did
        assert torch.equal(kernel.raw.detach(), usual)
    dark = parts[0, 1] == 0
    passed = kernel.kernels[0, 1]
    (slope,) = torch.autograd.grad(passed[dark].sum(), kernel.raw)
    assert bool((slope[0, 1][dark] > 0).all())
    # Where nothing is scaled the slope is 1 - exp(-100 taps).
    if float(passed.detach().sum()) < 1:
        closed = -torch.expm1(-100 * passed.detach())
        torch.testing.assert_close(slope[0, 1][dark], closed[dark], rtol=1e-3, atol=0)


def test_an_optimiser_lights_a_dark_tap_of_a_large_kernel():
    kernel = optics.LearnedKernel("identity", 31, channels=1, signed=False)
    optimiser = torch.optim.Adam(kernel.parameters(), 2e-3)
    for _ in range(60):
        optimiser.zero_grad()
        (-kernel.kernels[0, 0, 0, 0, 3, 4]).backward()
        optimiser.step()
    assert float(kernel.kernels[0, 0, 0, 0, 3, 4].detach()) > 0.01
