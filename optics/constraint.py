"""Bounded quantities as smooth maps from raw tensors.

A camera element cannot make light: a point-spread function is non-negative and its sum is at most
one; a transmission has a modulus of at most one. An optimiser steps freely on a raw tensor, and
the functions here turn it into a physical one, so that every step stays feasible. Each map comes
with its right inverse, which makes the raw tensor of a wanted start.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "clip",
    "energy_limited",
    "energy_limited_inverse",
    "unit_disk",
    "unit_disk_inverse",
]

# Sharpness of the softplus: kernel taps are of order 0.01..1, so the bend has to be small beside
# them. At the floor a tap is 7e-5, and its gradient is still 0.7 % of a lit tap's, so that an
# optimiser can switch it on again; an exact zero could never come back.
_SHARPNESS = 100.0
_FLOOR = -5.0 / _SHARPNESS


def clip(values: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Limit values to ``[low, high]``, with gradient 1 inside and on the bounds, 0 outside.

    The bounds matter, because a black pixel of a noiseless picture lies on one; the gradient of
    ``torch.clamp`` there is 1 in some releases and 0 in others.
    """
    inside = (values >= low) & (values <= high)
    return torch.where(inside, values, values.detach().clamp(low, high))


def energy_limited(raw: Tensor) -> Tensor:
    """Non-negative kernels that pass on at most the light they receive.

    ``softplus(100 raw) / 100``, then scaled down where needed so that the light of each input
    channel leaves at most once: the sum over output channels and taps is at most 1.

    Parameters
    ----------
    raw : Tensor ``[..., C_out, C_in, kh, kw]``
        Unconstrained. With ``C_in == 1`` every kernel belongs to a channel of its own and is
        limited by itself.

    Returns
    -------
    Tensor of the same shape
        Kernels, dimensionless fractions of the light. An output channel that gathers the light
        of several inputs may exceed the full scale of one, and saturate a sensor.
    """
    kernel = functional.softplus(raw, beta=_SHARPNESS)
    leaving = kernel.sum(dim=(-4, -2, -1) if kernel.shape[-3] > 1 else (-2, -1), keepdim=True)
    return kernel / leaving.clamp_min(1.0)


def energy_limited_inverse(kernel: Tensor) -> Tensor:
    """Return a raw tensor that :func:`energy_limited` maps to ``kernel``.

    Taps below ``7e-5`` come back as ``7e-5``: a smooth map of an unbounded tensor has no exact
    zero.

    Parameters
    ----------
    kernel : Tensor ``[..., C_out, C_in, kh, kw]``
        Wanted kernels.

    Raises
    ------
    ValueError
        When a tap is negative or not finite.
    """
    if not torch.isfinite(kernel).all() or (kernel < 0).any():
        raise ValueError(
            "a kernel of light must be finite and non-negative; give a signed kernel as the "
            "difference of two exposures"
        )
    scaled = (kernel * _SHARPNESS).clamp_min(1e-12)
    # log(expm1(x)) without overflow for large x.
    return ((scaled + torch.log(-torch.expm1(-scaled))) / _SHARPNESS).clamp_min(_FLOOR)


def unit_disk(raw: Tensor) -> Tensor:
    """Complex transmission inside the unit disk, ``r tanh(|r|) / |r|``.

    Smooth everywhere, zero included, so that an opaque cell keeps a gradient in phase and
    amplitude.

    Parameters
    ----------
    raw : Tensor, real ``[2, ...]``
        Unconstrained real and imaginary part.

    Returns
    -------
    Tensor, complex ``[...]``
        Transmission t (amplitude), |t| <= 1.
    """
    modulus = torch.sqrt(raw.square().sum(0) + torch.finfo(raw.dtype).tiny ** 0.5)
    bounded = raw * (torch.tanh(modulus) / modulus)
    return torch.complex(bounded[0], bounded[1])


def unit_disk_inverse(transmission: Tensor, *, largest: float = 0.995) -> Tensor:
    """Return a raw tensor that :func:`unit_disk` maps to ``transmission``.

    Parameters
    ----------
    transmission : Tensor, complex ``[...]``
        Wanted transmission (amplitude).
    largest : float
        Moduli are limited to this value, because 1 is reached at infinity only.

    Returns
    -------
    Tensor, real ``[2, ...]``
    """
    modulus = transmission.abs()
    bounded = modulus.clamp_max(largest)
    scale = torch.where(
        modulus > 0, torch.atanh(bounded) / modulus.clamp_min(1e-30), torch.ones_like(modulus)
    )
    return torch.stack((transmission.real * scale, transmission.imag * scale))
