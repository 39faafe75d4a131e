"""Convolution of pictures with point-spread functions."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from .grid import fast_size

__all__ = ["Boundary", "convolve"]

Boundary = Literal["zero", "reflect", "replicate", "circular"]

_PAD_MODE = {"zero": "constant", "reflect": "reflect", "replicate": "replicate"}

# Up to this many taps a direct convolution beats the transform (forward and backward,
# pictures of 3 x 128 x 128, one CPU thread; `pytest tests/benchmarks/test_convolve.py -n 0
# --benchmark-enable` prints the ratio on another machine).
_DIRECT_TAPS = 9


def convolve(image: Tensor, psf: Tensor, *, boundary: Boundary = "zero") -> Tensor:
    """True convolution of each picture with a point-spread function, output "same".

    ``out[y, x] = sum_mn psf[m, n] image[y + ch - m, x + cw - n]`` with the kernel centre
    ``(ch, cw) = (kh // 2, kw // 2)``: an impulse comes out as the PSF, unflipped.

    Parameters
    ----------
    image : Tensor ``[B, C, H, W]``
        Pictures, linear light.
    psf : Tensor
        ``[kh, kw]``: one for all channels. ``[C, kh, kw]``: one a channel.
        ``[O, 1, kh, kw]`` with O a multiple of C: output channel o sees input channel o % C.
        ``[O, C, kh, kw]``: output channel o sums over all input channels.
    boundary : {"zero", "reflect", "replicate", "circular"}
        What lies outside of the picture.

    Returns
    -------
    Tensor ``[B, O, H, W]``, where O is C for the first two forms of ``psf``.

    Raises
    ------
    ValueError
        For another boundary or type, shapes that do not fit, or a reflected border wider than
        the picture.
    """
    psf = _as_kernel_stack(image, psf)
    height, width = image.shape[-2:]
    kernel = psf.shape[-2:]
    after = [k // 2 for k in kernel]
    before = [k - 1 - a for k, a in zip(kernel, after, strict=True)]
    if boundary == "circular":
        if kernel[0] > height or kernel[1] > width:
            raise ValueError(
                f"a circular boundary needs a PSF no larger than the picture; the PSF is "
                f"{tuple(kernel)}, the picture {(height, width)}"
            )
        image = functional.pad(image, (before[1], after[1], before[0], after[0]), mode="circular")
    elif boundary in _PAD_MODE:
        if boundary == "reflect" and (
            max(before[0], after[0]) >= height or max(before[1], after[1]) >= width
        ):
            raise ValueError(
                f"a reflected border must be narrower than the picture; the PSF {tuple(kernel)} "
                f"needs one of {(max(before[0], after[0]), max(before[1], after[1]))} around "
                f"{(height, width)}: use boundary='replicate' or 'zero'"
            )
        image = functional.pad(
            image, (before[1], after[1], before[0], after[0]), mode=_PAD_MODE[boundary]
        )
    else:
        raise ValueError(
            f"boundary must be 'zero', 'reflect', 'replicate' or 'circular', not {boundary!r}"
        )
    path = _direct if kernel[0] * kernel[1] <= _DIRECT_TAPS else _transformed
    return path(image, psf)


def _as_kernel_stack(image: Tensor, psf: Tensor) -> Tensor:
    """Bring ``psf`` to ``[O, 1 or C, kh, kw]``."""
    if image.ndim != 4:
        raise ValueError(f"image must be [B, C, H, W], not of shape {tuple(image.shape)}")
    if image.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"image must be float32 or float64, not {image.dtype}: integers have no fractions and "
            "half precision no Fourier transform; use image.float()"
        )
    channels = image.shape[1]
    if channels == 0:
        raise ValueError("image has no channels")
    if psf.ndim == 2:
        psf = psf.expand(channels, 1, *psf.shape)
    elif psf.ndim == 3 and len(psf) == channels:
        psf = psf[:, None]
    fits = psf.ndim == 4 and (
        psf.shape[1] == channels or (psf.shape[1] == 1 and psf.shape[0] % channels == 0)
    )
    if not fits or psf.numel() == 0:
        raise ValueError(
            f"psf must be [kh, kw], [C, kh, kw], [O, 1, kh, kw] or [O, C, kh, kw] with C = "
            f"{channels}, not of shape {tuple(psf.shape)}"
        )
    return psf.to(image.dtype)


def _direct(padded: Tensor, psf: Tensor) -> Tensor:
    """Sum over the taps of an already padded picture."""
    channels, outputs = padded.shape[1], psf.shape[0]
    flipped = psf.flip(-2, -1)
    if psf.shape[1] == channels:
        return functional.conv2d(padded, flipped)
    repeated = padded.repeat(1, outputs // channels, 1, 1)
    return functional.conv2d(repeated, flipped, groups=outputs)


def _transformed(padded: Tensor, psf: Tensor) -> Tensor:
    """Multiply the spectra of an already padded picture and the PSF.

    The padded picture is as large as the part of the full convolution that is asked for plus a
    border of k - 1; what wraps around in a transform of that size falls into the border.
    """
    channels = padded.shape[1]
    kernel = psf.shape[-2:]
    size = [fast_size(n) for n in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(padded, s=size)
    transfer = torch.fft.rfft2(psf, s=size)
    if psf.shape[1] == channels and channels > 1:
        product = torch.einsum("bcyx,ocyx->boyx", spectrum, transfer)
    else:
        copies = psf.shape[0] // channels
        product = (
            spectrum[:, None] * transfer.view(copies, channels, *transfer.shape[-2:])
        ).flatten(1, 2)
    full = torch.fft.irfft2(product, s=size)
    return full[..., kernel[0] - 1 : padded.shape[-2], kernel[1] - 1 : padded.shape[-1]]
