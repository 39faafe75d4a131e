"""Transfer functions between stored codes and linear light (IEC 61966-2-1, sRGB)."""

import torch
from torch import Tensor

from .quantity import check_tensor, single

__all__ = ["linear_to_srgb", "srgb_to_linear"]


def srgb_to_linear(encoded: Tensor) -> Tensor:
    """Linear light of sRGB values ``encoded``, both 0..1 and of any shape (IEC 61966-2-1).

    Half precision, whose steps are as coarse as codes, is computed, and returned, in float32.
    Raises a TypeError unless the argument is a Tensor, and a ValueError for integer codes that are
    not divided by their range.
    """
    encoded = _checked("encoded", encoded)
    # Without the clamps the branch that `where` discards would make the gradient NaN.
    curve = ((encoded.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= 0.04045, encoded / 12.92, curve)


def linear_to_srgb(light: Tensor) -> Tensor:
    """SRGB values of linear ``light``, both 0..1 and of any shape (IEC 61966-2-1).

    Half precision is computed, and returned, in float32.
    Raises a TypeError unless the argument is a Tensor, and a ValueError for integers or complex
    numbers.
    """
    light = _checked("light", light)
    curve = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, light * 12.92, curve)


def _checked(name: str, value: Tensor) -> Tensor:
    check_tensor(name, value)
    if not value.is_floating_point():
        raise ValueError(
            f"{name} must be real floating point, full scale 1, not {value.dtype}: divide codes by "
            "their range, as image.float() / 255"
        )
    return single(value)
