"""Quality and size of pictures: PSNR, SSIM, MS-SSIM and bits per pixel, one number per picture."""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .codec import check_tensors
from .given import is_number, whole_number

__all__ = ["MS_SSIM_WEIGHTS", "SSIM_WINDOW", "bpp", "ms_ssim", "ms_ssim_scales", "psnr", "ssim"]

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first, from the viewing tests of Wang, Simoncelli, Bovik."""

_RADIUS = 5  # of the window of SSIM, a Gaussian of standard deviation 1.5 pixels
SSIM_WINDOW = 2 * _RADIUS + 1
"""Side of that window, and of the smallest pictures that have an SSIM, pixels."""


def psnr(a: Tensor, b: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Return the peak signal-to-noise ratio of each picture, dB; computed in float32 or better.

    Parameters
    ----------
    a, b : Tensor
        Pictures ``[B, C, H, W]``.
    data_range : float
        The peak: 1 for pictures in 0..1.

    Returns
    -------
    Tensor
        ``10 log10(data_range^2 / MSE)`` ``[B]``, with the MSE over channels and pixels. It is
        ``inf``, with a gradient of nan, if the pictures are identical: as a loss use the MSE.

    Raises
    ------
    TypeError
        If one is not a tensor.
    ValueError
        If the shapes differ or are not those of a batch of pictures.
    """
    _check_pair(a, b, data_range)
    # In float16 the squares would be 0 below differences of 2e-4.
    a, b = _as_float(a, b)
    return 10 * torch.log10(data_range**2 / (a - b).square().flatten(1).mean(1))


def ssim(a: Tensor, b: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Return the structural similarity (SSIM) of each picture.

    The original definition: Gaussian window of 11×11 with a standard deviation of 1.5 pixels,
    population covariance, K1 = 0.01, K2 = 0.03, averaged over channels and over the pixels whose
    whole window is in the picture.

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
    TypeError
        If one is not a tensor.
    ValueError
        If the shapes differ, are not those of a batch of pictures, or the pictures are too small.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 13(4), 2004.
    """
    _check_pair(a, b, data_range)
    if min(a.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"ssim needs pictures of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, "
            f"got {list(a.shape)}."
        )
    luminance, contrast = _similarity(*_as_float(a, b), data_range)
    return (luminance * contrast).flatten(1).mean(1)


def ms_ssim(
    a: Tensor,
    b: Tensor,
    *,
    data_range: float = 1.0,
    weights: tuple[float, ...] = MS_SSIM_WEIGHTS,
    scales: int | None = None,
) -> Tensor:
    """Return the multi-scale structural similarity (MS-SSIM) of each picture.

    ::

        a, b ─┬─► contrast 1 ── ^w1 ─┐
              2×2 mean               │
              ├─► contrast 2 ── ^w2 ─┤
              ⋮                      × ─► mean over channels
              2×2 mean               │
              └─► SSIM of scale M ^wM┘

    Each factor is a mean over the pixels whose whole window is in the picture, with the window and
    the constants of :func:`ssim`; the product is computed per channel. Five scales need a side of
    at least 161 pixels: the eleven of the window at the coarsest. Smaller pictures need ``scales``,
    and their value is not that of the original definition.

    A side of odd length is extended by repeating its last row or column before the 2×2 mean, as in
    the authors' program. A factor that is not positive, as for two pictures of opposite contrast on
    average, makes the product of that channel 0, without a gradient (its fractional power has
    none). Otherwise the gradient is finite, also for pictures that are identical or constant.

    Computed in float32 or better, also under ``torch.autocast``.

    Parameters
    ----------
    a, b : Tensor
        Pictures ``[B, C, H, W]`` of at least ``10 * 2**(scales - 1) + 1`` pixels along each axis.
    data_range : float
        The peak: 1 for pictures in 0..1.
    weights : tuple of float
        Exponent of each scale, finest first, used as given.
    scales : int, optional
        Use only this number of finest scales, with their weights scaled to a sum of 1; by default
        all.

    Returns
    -------
    Tensor
        Similarity in 0..1 ``[B]``.

    Raises
    ------
    TypeError
        If one is not a tensor.
    ValueError
        If the shapes differ, are not those of a batch of pictures, the pictures are too small, a
        weight is not positive, or ``scales`` exceeds the number of weights.

    References
    ----------
    Wang, Simoncelli, Bovik, "Multi-scale structural similarity for image quality assessment",
    Asilomar Conference on Signals, Systems and Computers, 2003, equation 7.
    """
    _check_pair(a, b, data_range)
    exponents = _exponents(weights, scales)
    smallest = min(a.shape[-2:])
    if smallest < _side(len(exponents)):
        fits = max((n for n in range(1, len(exponents)) if smallest >= _side(n)), default=0)
        advice = (
            f"scales={fits} fits" if fits else f"no scale fits below {SSIM_WINDOW}x{SSIM_WINDOW}"
        )
        least = _side(len(exponents))
        raise ValueError(
            f"ms_ssim with {len(exponents)} scales needs pictures of at least {least}x{least} "
            f"pixels, got {list(a.shape)}: {advice}."
        )
    a, b = _as_float(a, b)
    factors = []
    for _ in exponents[:-1]:
        factors.append(_similarity(a, b, data_range)[1].mean((-2, -1)))
        # With ceil_mode a window that reaches over the edge averages what is inside, and that is
        # the mean after repeating the last row.
        a, b = (functional.avg_pool2d(x, 2, ceil_mode=True) for x in (a, b))
    luminance, contrast = _similarity(a, b, data_range)
    factors.append((luminance * contrast).mean((-2, -1)))
    stacked = torch.stack(factors, -1)
    # A factor below its own rounding error counts as 0. nan stays nan.
    vanishes = stacked <= torch.finfo(stacked.dtype).eps
    # Without waiting for a GPU, as `new_tensor` would: this may be the loss of every step.
    powers = torch.tensor(exponents, dtype=stacked.dtype).to(stacked.device, non_blocking=True)
    logs = torch.where(vanishes, 1, stacked).log() * powers
    return torch.where(vanishes.any(-1), 0, logs.sum(-1).exp()).mean(1)


def ms_ssim_scales(size: tuple[int, int]) -> int:
    """Return how many scales of :func:`ms_ssim`, at most five, fit pictures of ``size`` = (H, W).

    Raises
    ------
    ValueError
        If not even one scale fits, or ``size`` is not a size.
    """
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"expected a size (H, W) of pixels, got {size!r}.")
    fitting = [n for n in range(1, len(MS_SSIM_WEIGHTS) + 1) if min(size) >= _side(n)]
    if not fitting:
        raise ValueError(
            f"ms_ssim needs pictures of at least {SSIM_WINDOW}x{SSIM_WINDOW}, got {size}."
        )
    return fitting[-1]


def _exponents(weights: tuple[float, ...], scales: int | None) -> list[float]:
    """Check the weights of MS-SSIM and return those of the scales that are used."""
    given = isinstance(weights, Collection) and not isinstance(weights, str) and len(weights) > 0
    if not given or not all(is_number(weight) and 0 < weight < math.inf for weight in weights):
        raise ValueError(f"weights must be positive, one for each scale, got {weights!r}.")
    if scales is None:
        return list(weights)
    scales = whole_number("scales", scales, 1, len(weights), otherwise=", one for each weight")
    used = weights[:scales]
    return [weight / sum(used) for weight in used] if scales < len(weights) else list(used)


def _side(scales: int) -> int:
    """Return the smallest side of a picture whose coarsest scale still holds a window."""
    return (SSIM_WINDOW - 1) * 2 ** (scales - 1) + 1


def _as_float(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in one type, at least float32."""
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def _similarity(a: Tensor, b: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Return the luminance and the contrast-and-structure terms of SSIM at every whole window."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    # Variances do not depend on an offset, and lose least to rounding if the values are centred.
    middle_a, middle_b = (x.detach().mean((-2, -1), keepdim=True) for x in (a, b))
    a, b = a - middle_a, b - middle_b
    mean_a, mean_b = _blur(a), _blur(b)
    covariance = _blur(a * b) - mean_a * mean_b
    # The two variances only ever appear as their sum, which is one blur instead of two.
    variances = _blur(a.square() + b.square()) - (mean_a.square() + mean_b.square())
    mean_a, mean_b = mean_a + middle_a, mean_b + middle_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def _blur(x: Tensor) -> Tensor:
    """Average ``x`` ``[..., H, W]`` over the window, at every position with a whole window.

    It is a sum of shifted copies: a convolution would be rounded by autocast and TF32, and the
    variances are small differences of its results.
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
    """Return the bits per pixel of pictures, without padding.

    Parameters
    ----------
    bits : Tensor of any shape
    size : (int, int)
        Height and width, pixels.

    Returns
    -------
    Tensor of the shape of ``bits``, bits/pixel

    Raises
    ------
    ValueError
        If the size is not at least one pixel.
    """
    height, width = size
    if min(height, width) < 1:
        raise ValueError(f"expected a size (H, W) of at least one pixel, got {size}.")
    return bits / (height * width)


def _check_pair(a: Tensor, b: Tensor, data_range: float) -> None:
    check_tensors("two tensors [B, C, H, W]", a, b)
    if a.shape != b.shape or a.ndim != 4 or not (a.is_floating_point() and b.is_floating_point()):
        raise ValueError(
            "expected two floating-point batches [B, C, H, W] of one shape, got "
            f"{a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}."
        )
    if not is_number(data_range) or not 0 < data_range < math.inf:
        raise ValueError(f"data_range must be positive, got {data_range!r}.")
