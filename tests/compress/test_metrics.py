"""Picture metrics against scikit-image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from compress import bpp, psnr, ssim


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


def test_identical_pictures():
    a, _ = pair(3, 20, 20, 0)
    assert psnr(a, a).tolist() == [float("inf")] * 3
    torch.testing.assert_close(ssim(a, a), torch.ones(3))


def test_each_picture_has_its_own_number():
    a, b = pair(3, 24, 24, 0.1)
    for metric in (psnr, ssim):
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


def test_bpp_divides_by_the_pixels():
    assert bpp(torch.tensor([100.0, 300.0]), (10, 20)).tolist() == [0.5, 1.5]
    assert np.isclose(bpp(torch.tensor(8.0), (2, 2)).item(), 2)


def test_bad_arguments():
    a = torch.zeros(1, 3, 16, 16)
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match=r"of one shape, got .* and .*\[1, 3, 16, 15\]"):
            metric(a, a[..., :15])
        with pytest.raises(ValueError, match=r"\[B, C, H, W\]"):
            metric(a[0], a[0])
        with pytest.raises(ValueError, match=r"floating-point .*uint8"):
            metric(a.to(torch.uint8), a)
    with pytest.raises(ValueError, match="at least 11x11 pixels"):
        ssim(a[..., :10], a[..., :10])
    with pytest.raises(ValueError, match=r"size \(H, W\) of at least one pixel, got \(0, 4\)"):
        bpp(torch.ones(1), (0, 4))
