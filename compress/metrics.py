"""How good, and how large: PSNR, SSIM and bits per pixel, one number for each picture."""

import math

import torch
from torch import Tensor

__all__ = ["bpp", "psnr", "ssim"]

_RADIUS = 5  # of the window of SSIM, a Gaussian of standard deviation 1.5 pixels
_WINDOW = 2 * _RADIUS + 1


def psnr(a: Tensor, b: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio of each picture, dB.

    Parameters
    ----------
    a, b : Tensor
        Pictures ``[B, C, H, W]``.
    data_range : float
        The peak: 1 for pictures in 0..1.

    Returns
    -------
    Tensor
        ``10 log10(data_range^2 / MSE)`` ``[B]``, the mean over channels and pixels; ``inf`` where
        the pictures are identical.

    Raises
    ------
    ValueError
        If the shapes differ or are not those of a batch of pictures.
    """
    _check_pair(a, b)
    return 10 * torch.log10(data_range**2 / (a - b).square().flatten(1).mean(1))


def ssim(a: Tensor, b: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Structural similarity of each picture.

    The original definition: Gaussian window of 11×11 with a standard deviation of 1.5 pixels,
    population covariance, K1 = 0.01, K2 = 0.03, averaged over channels and over those pixels whose
    whole window lies in the picture.

    Parameters
    ----------
    a, b : Tensor
        Pictures ``[B, C, H, W]`` of at least 11×11 pixels.
    data_range : float
        The peak: 1 for pictures in 0..1.

    Returns
    -------
    Tensor
        Similarity in -1..1 ``[B]``.

    Raises
    ------
    ValueError
        If the shapes differ, are not those of a batch of pictures, or the pictures are too small.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 13(4), 2004.
    """
    _check_pair(a, b)
    if min(a.shape[-2:]) < _WINDOW:
        raise ValueError(
            f"ssim needs pictures of at least {_WINDOW}x{_WINDOW} pixels, got {list(a.shape)}."
        )
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = a.to(dtype), b.to(dtype)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a, variance_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    return similarity.flatten(1).mean(1)


def _blur(x: Tensor) -> Tensor:
    """Average ``x`` ``[..., H, W]`` over the window at every place that holds a whole one.

    Sums of shifted copies: a convolution would be rounded by autocast and TF32, and the variances
    are small differences of its results.
    """
    weights = [math.exp(-0.5 * (i / 1.5) ** 2) for i in range(-_RADIUS, _RADIUS + 1)]
    for dim in (-2, -1):
        length = x.shape[dim] - 2 * _RADIUS
        total = torch.zeros_like(x.narrow(dim, 0, length))
        for i, weight in enumerate(weights):
            total = total.add(x.narrow(dim, i, length), alpha=weight / sum(weights))
        x = total
    return x


def bpp(bits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bits per pixel of pictures of ``size`` = (H, W), before any padding."""
    height, width = size
    if min(height, width) < 1:
        raise ValueError(f"expected a size (H, W) of at least one pixel, got {size}.")
    return bits / (height * width)


def _check_pair(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 4 or not (a.is_floating_point() and b.is_floating_point()):
        raise ValueError(
            "expected two floating-point batches [B, C, H, W] of one shape, got "
            f"{a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}."
        )
