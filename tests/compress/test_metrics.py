"""Picture metrics against scikit-image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from compress.metrics import MS_SSIM_WEIGHTS, bpp, ms_ssim, ms_ssim_scales, psnr, ssim


def pair(channels: int, height: int, width: int, noise: float, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(3, channels, height, width, generator=generator)
    a = torch.nn.functional.avg_pool2d(a, 3, 1, 1)
    return a, (a + noise * torch.randn(a.shape, generator=generator)).clamp(0, 1)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 4),
    st.integers(11, 50),
    st.integers(11, 50),
    st.floats(0.001, 0.5),
    st.sampled_from([1.0, 2.0]),
)
def test_psnr_and_ssim_agree_with_scikit_image(channels, height, width, noise, data_range):
    a, b = pair(channels, height, width, noise)
    ours = psnr(a, b, data_range=data_range), ssim(a, b, data_range=data_range)
    for i in range(3):
        x, y = a[i].double().numpy(), b[i].double().numpy()
        assert ours[0][i].item() == pytest.approx(
            peak_signal_noise_ratio(x, y, data_range=data_range), abs=1e-4
        )
        expected = structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=data_range,
            channel_axis=0,
        )
        assert ours[1][i].item() == pytest.approx(expected, abs=1e-5)


def test_little_contrast_on_a_bright_ground():
    a, b = pair(1, 40, 40, 0.1)
    a, b = 0.9 + 0.02 * a, 0.9 + 0.02 * b
    exact = ssim(a.double(), b.double())
    torch.testing.assert_close(ssim(a, b).double(), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_psnr_of_half_precision_is_that_of_the_same_numbers_in_float32(dtype):
    # The square of their difference is 0 in float16.
    a, b = (torch.full((1, 1, 4, 4), value).to(dtype) for value in (0.001, 0.0011))
    ours = psnr(a, b)
    assert ours.dtype == torch.float32
    x, y = a.double().numpy(), b.double().numpy()
    assert ours.item() == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1), abs=1e-4)
    assert psnr(a, b.double()).dtype == torch.float64


def test_identical_pictures():
    a, _ = pair(3, 20, 20, 0)
    assert psnr(a, a).tolist() == [float("inf")] * 3
    torch.testing.assert_close(ssim(a, a), torch.ones(3))


def test_each_picture_has_its_own_number():
    a, b = pair(3, 24, 24, 0.1)
    for metric in (psnr, ssim, lambda x, y: ms_ssim(x, y, scales=2)):
        assert metric(a, b).shape == (3,)
        alone = torch.cat([metric(a[i : i + 1], b[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(metric(a, b), alone)


def test_ssim_has_a_gradient_and_full_precision_under_autocast():
    a, b = pair(1, 16, 16, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssim(a, b), ssim(a.clone(), b))
        cast = ssim(a, b)
    assert torch.equal(cast, ssim(a, b))
    assert torch.autograd.gradcheck(
        ssim, (a[:1, :, :12, :12].double().requires_grad_(), b[:1, :, :12, :12].double())
    )


def reference_ms_ssim(x, y, data_range: float, exponents) -> float:
    """The published definition for one picture [C, H, W], by scipy and in float64."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    taps /= taps.sum()

    def window(z):
        blurred = ndimage.correlate1d(ndimage.correlate1d(z, taps, axis=0), taps, axis=1)
        return blurred[5:-5, 5:-5]

    channels = []
    for p, q in zip(x, y, strict=True):
        product = 1.0
        for scale, exponent in enumerate(exponents):
            if scale:
                p, q = (np.pad(z, [(0, n % 2) for n in z.shape], "edge") for z in (p, q))
                p, q = (
                    (z[::2, ::2] + z[1::2, ::2] + z[::2, 1::2] + z[1::2, 1::2]) / 4 for z in (p, q)
                )
            mean_p, mean_q = window(p), window(q)
            spread = window((p - q) ** 2) - (mean_p - mean_q) ** 2
            variances = window(p * p) + window(q * q) - mean_p**2 - mean_q**2
            # 2 cov = var p + var q - var(p - q)
            factor = (variances - spread + c2) / (variances + c2)
            if scale == len(exponents) - 1:
                factor = factor * (2 * mean_p * mean_q + c1) / (mean_p**2 + mean_q**2 + c1)
            product *= max(factor.mean(), 0) ** exponent
        channels.append(product)
    return float(np.mean(channels))


@settings(deadline=None, max_examples=20)
@given(
    st.integers(1, 3),
    st.integers(0, 40),
    st.integers(0, 40),
    st.floats(0.001, 0.5),
    st.sampled_from([1.0, 2.0]),
    st.integers(1, 5),
)
def test_ms_ssim_agrees_with_scipy(channels, more_rows, more_columns, noise, data_range, scales):
    least = 10 * 2 ** (scales - 1) + 1
    a, b = pair(channels, least + more_rows, least + more_columns, noise)
    ours = ms_ssim(a, b, data_range=data_range, scales=scales)
    exponents = np.array(MS_SSIM_WEIGHTS[:scales])
    if scales < 5:
        exponents /= exponents.sum()
    expected = [
        reference_ms_ssim(a[i].double().numpy(), b[i].double().numpy(), data_range, exponents)
        for i in range(3)
    ]
    assert ours.tolist() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(ms_ssim(b, a, data_range=data_range, scales=scales), ours)


def test_ms_ssim_with_weights_of_ones_own():
    a, b = pair(2, 45, 52, 0.2)
    expected = [
        reference_ms_ssim(a[i].double().numpy(), b[i].double().numpy(), 1.0, (0.5, 2.0, 0.25))
        for i in range(3)
    ]
    assert ms_ssim(a, b, weights=(0.5, 2.0, 0.25)).tolist() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(ms_ssim(a, b, weights=(1.0,)), ssim(a, b))


def test_ms_ssim_of_identical_and_constant_pictures():
    a, _ = pair(3, 161, 163, 0)
    flat = torch.full_like(a, 0.25)
    for x, y in ((a, a), (flat, flat), (flat, 2 * flat), (a, flat)):
        x = x.clone().requires_grad_()
        similarity = ms_ssim(x, y)
        (gradient,) = torch.autograd.grad(similarity.sum(), x)
        assert gradient.isfinite().all()
    torch.testing.assert_close(ms_ssim(a, a), torch.ones(3))
    # Flat against flat differs in luminance only, and that counts at the coarsest scale.
    luminance = (2 * 0.25 * 0.5 + 1e-4) / (0.25**2 + 0.5**2 + 1e-4)
    torch.testing.assert_close(ms_ssim(flat, 2 * flat), torch.full((3,), luminance**0.1333))


def test_ms_ssim_of_opposite_pictures_is_zero_without_a_gradient():
    a, b = pair(1, 30, 30, 0.05)
    x = torch.cat([a, a]).requires_grad_()
    similarity = ms_ssim(x, torch.cat([1 - a, b]), scales=2)
    (gradient,) = torch.autograd.grad(similarity.sum(), x)
    assert (ssim(a, 1 - a) < 0).all()
    assert similarity[:3].tolist() == [0, 0, 0]
    assert (similarity[3:] > 0.5).all()
    assert not gradient[:3].any()
    assert gradient.isfinite().all()
    assert gradient[3:].flatten(1).any(1).all()


def test_a_picture_that_is_no_number_has_no_similarity():
    a, b = pair(2, 30, 30, 0.05)
    a[1, 0, 4, 5] = float("nan")
    for metric in (psnr, ssim, lambda a, b: ms_ssim(a, b, scales=2)):
        assert metric(a, b).isnan().tolist() == [False, True, False]


def test_ms_ssim_has_a_gradient_and_full_precision_under_autocast():
    a, b = pair(1, 45, 45, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = ms_ssim(a, b, scales=3)
    assert torch.equal(cast, ms_ssim(a, b, scales=3))
    half = ms_ssim(a.bfloat16(), b.bfloat16(), scales=3)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, ms_ssim(a.bfloat16().float(), b.bfloat16().float(), scales=3))
    assert torch.autograd.gradcheck(
        lambda x, y: ms_ssim(x, y, weights=(0.4, 0.6)),
        (a[:1, :, :21, :22].double().requires_grad_(), b[:1, :, :21, :22].double()),
    )


def test_what_ms_ssim_refuses_and_what_it_says():
    a = torch.zeros(1, 3, 128, 200)
    text = r"5 scales needs pictures of at least 161x161 .*\[1, 3, 128, 200\]: scales=4 fits"
    with pytest.raises(ValueError, match=text):
        ms_ssim(a, a)
    assert ms_ssim(a, a, scales=4).item() == 1
    with pytest.raises(ValueError, match=r"2 scales needs .* 21x21 .*: scales=1 fits"):
        ms_ssim(a[..., :20, :20], a[..., :20, :20], scales=2)
    with pytest.raises(ValueError, match="no scale fits below 11x11"):
        ms_ssim(a[..., :10], a[..., :10], scales=3)
    for scales in (0, 6, 2.5):
        text = f"scales must be a whole number of 1 to 5, one for each weight, got {scales}"
        with pytest.raises(ValueError, match=text):
            ms_ssim(a, a, scales=scales)
    for size in (64, (64,), (64, 64, 3)):
        with pytest.raises(ValueError, match=r"expected a size \(H, W\) of pixels, got"):
            ms_ssim_scales(size)
    for weights in ((), (0.5, 0.0), (0.5, float("nan")), (float("inf"),)):
        with pytest.raises(ValueError, match="weights must be positive, one for each scale"):
            ms_ssim(a, a, weights=weights)


def test_bpp_divides_by_the_pixels():
    assert bpp(torch.tensor([100.0, 300.0]), (10, 20)).tolist() == [0.5, 1.5]
    assert np.isclose(bpp(torch.tensor(8.0), (2, 2)).item(), 2)
    assert bpp(torch.tensor(8.0), (1, 1)).item() == 8


def test_bad_arguments():
    a = torch.zeros(1, 3, 16, 16)
    for metric in (psnr, ssim, ms_ssim):
        for data_range in (0.0, -1.0, float("nan"), float("inf"), "1"):
            shown = f"data_range must be positive, got {data_range!r}"
            with pytest.raises(ValueError, match=shown):
                metric(a, a, data_range=data_range)
        with pytest.raises(ValueError, match=r"of one shape, got .* and .*\[1, 3, 16, 15\]"):
            metric(a, a[..., :15])
        with pytest.raises(ValueError, match=r"\[B, C, H, W\]"):
            metric(a[0], a[0])
        for pair in ((a.numpy(), a), (a, a.numpy())):
            with pytest.raises(TypeError, match=r"two tensors \[B, C, H, W\], got ndarray: torch"):
                metric(*pair)
        with pytest.raises(ValueError, match=r"floating-point .*uint8"):
            metric(a.to(torch.uint8), a)
    for weights in (0.5, "12", (0.5, "1"), (), (0.5, -1.0)):
        with pytest.raises(ValueError, match="weights must be positive, one for each scale, got "):
            ms_ssim(a, a, weights=weights)
    with pytest.raises(ValueError, match="at least 11x11 pixels"):
        ssim(a[..., :10], a[..., :10])
    with pytest.raises(ValueError, match=r"size \(H, W\) of at least one pixel, got \(0, 4\)"):
        bpp(torch.ones(1), (0, 4))
