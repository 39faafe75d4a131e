"""The pixel: the MTF of its area, binning, and fixed patterns."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from optics.quantity import (
    check_between,
    check_finite,
    check_positive,
    check_real,
    check_tensor,
    single,
    whole_number,
)

__all__ = ["bin_pixels", "fixed_pattern", "pixel_mtf"]


def pixel_mtf(
    frequency: Tensor, *, pitch: float | Tensor, fill_factor: float | Tensor = 1.0
) -> Tensor:
    """Modulation transfer function of the area of a square pixel, along one of its sides.

    It is ``sin(pi w f) / (pi w f)`` with the active width ``w = pitch sqrt(fill_factor)`` (Boreman,
    Modulation Transfer Function in Optical and Electro-Optical Systems, 2001, ch. 2). Multiply
    an optical transfer function by ``pixel_mtf(fy)[:, None] * pixel_mtf(fx)`` to include the pixel
    in a PSF. The light that a fill factor loses belongs to the quantum efficiency.

    Parameters
    ----------
    frequency : Tensor of any shape, cycles/m
    pitch : float or scalar Tensor, m
        Pixel pitch.
    fill_factor : float or scalar Tensor
        Active area of a pixel over its whole area, in (0, 1].

    Returns
    -------
    Tensor of the shape of ``frequency``
        1 at frequency 0; negative where contrast is reversed, beyond 1 / w.

    Raises
    ------
    TypeError
        When the frequency is not a Tensor.
    ValueError
        For a pitch or fill factor out of its range.
    """
    check_tensor("frequency", frequency)
    check_positive("pitch", pitch, "m")
    check_positive("fill_factor", fill_factor, "active area / whole area")
    check_between("fill_factor", fill_factor, 0, 1, "active area / whole area")
    return torch.sinc(frequency * (pitch * fill_factor**0.5))


def bin_pixels(charge: Tensor, factor: int) -> Tensor:
    """Bin pixels: the sums over blocks of k x k pixels.

    Parameters
    ----------
    charge : Tensor ``[B, C, H, W]``, electrons
        Half precision is computed, and returned, in float32.
    factor : int
        Pixels k along a side of a block.

    Returns
    -------
    Tensor ``[B, C, H/k, W/k]``, electrons

    Raises
    ------
    TypeError
        When the charge is not a Tensor.
    ValueError
        When the blocks do not tile the picture, or it is not real floating point.
    """
    factor = whole_number("binning", factor)
    check_real("charge", charge, "[B, C, H, W]")
    if charge.ndim != 4 or charge.shape[-2] % factor or charge.shape[-1] % factor:
        raise ValueError(
            f"binning={factor} needs [B, C, H, W] with H and W multiples of {factor}, not "
            f"{tuple(charge.shape)}"
        )
    return functional.avg_pool2d(single(charge), factor, divisor_override=1)


def fixed_pattern(
    name: str,
    value: float | Tensor,
    *,
    unit: str,
    resolution: tuple[int, int] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor | None:
    """Draw a fixed pattern of pixels, or check a measured one.

    Parameters
    ----------
    name : str
        Name of the pattern in errors.
    value : float, ``unit`` RMS, or Tensor ``[H, W]``, ``unit``
        Standard deviation of a normal distribution, or the measured pattern.
    unit : str
        Unit of the pattern.
    resolution : (H, W), pixels, optional
        Size of the pattern to draw; a measured pattern must have it, too.
    generator : torch.Generator, optional
        Source of the draw; by default torch's global generator.

    Returns
    -------
    Tensor ``[H, W]``, or None for a spread of 0

    Raises
    ------
    ValueError
        For a negative standard deviation, one without a resolution, or a pattern that is not finite
        and real ``[H, W]`` of that size.
    """
    if isinstance(value, Tensor):
        fits = resolution is None or tuple(value.shape) == resolution
        if value.ndim != 2 or not value.is_floating_point() or not fits:
            raise ValueError(
                f"{name} must be real [H, W]{'' if resolution is None else f' of {resolution}'} "
                f"when it is measured, in {unit}, not {value.dtype} {tuple(value.shape)}"
            )
        check_finite(name, value.detach(), unit)
        return value
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}={value!r} is out of range; give {unit} RMS, 0 or more")
    if value == 0:
        return None
    if resolution is None:
        raise ValueError(
            f"{name}={value!r} is a pattern of pixels: give resolution=(H, W) to draw it, or the "
            "measured pattern [H, W]"
        )
    return value * torch.randn(resolution, generator=generator)
