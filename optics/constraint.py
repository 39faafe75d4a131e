"""Bounded quantities as smooth maps from raw tensors.

A camera element cannot make light: a point-spread function is non-negative and its sum is at most
one; a transmission has a modulus of at most one. An optimiser steps freely on a raw tensor, and
the functions here turn it into a physical one, so that every step stays feasible. Each map comes
with its right inverse, which makes the raw tensor of a wanted start.

The modules at the end are the same maps as parametrizations:
``torch.nn.utils.parametrize.register_parametrization(mask, "height", Bounded(0, 1e-6))`` bounds a
parameter of any module, and assigning to it afterwards goes through the inverse.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from .quantity import (
    as_real,
    check_finite,
    check_number,
    check_scalar,
    check_tensor,
    has_values,
    single,
)

__all__ = [
    "Bounded",
    "EnergyLimited",
    "Positive",
    "Symmetric",
    "Symmetry",
    "UnitDisk",
    "bounded",
    "bounded_inverse",
    "clip",
    "energy_limited",
    "energy_limited_inverse",
    "positive",
    "positive_inverse",
    "symmetric",
    "unit_disk",
    "unit_disk_inverse",
]

Symmetry = Literal["mirror_x", "mirror_y", "point", "fourfold"]

# A bound is reached at infinity only; a start on it is moved inside by this share of the range,
# where the slope of the sigmoid is still 4e-3 of its largest, so that training can leave again.
_INSIDE = 1e-3

# Sharpness of the softplus: kernel taps are of order 0.01..1, so the bend has to be small beside
# them. At the floor a tap is 7e-5, and its gradient is still 0.7 % of a lit tap's, so that an
# optimiser can switch it on again; an exact zero could never come back.
_SHARPNESS = 100.0
_FLOOR = -5.0 / _SHARPNESS

# A kernel that uses all of its light starts this much beyond the limit, which scales it back to
# itself: on the limit the gradient jumps, and would be that of one side or of the other by
# rounding.
_BEYOND = 0.01


def clip(values: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Limit values to ``[low, high]``, with gradient 1 inside and on the bounds, 0 outside.

    The gradient on the bounds matters, because a black pixel of a noiseless picture lies on one;
    that of ``torch.clamp`` is 1 in some releases and 0 in others.

    Parameters
    ----------
    values : Tensor of any shape
    low, high : float
        Bounds, in the unit of the values.

    Returns
    -------
    Tensor of the shape of ``values``

    Raises
    ------
    TypeError, ValueError
        When the values are not a Tensor, or complex, or a bound is not a number.
    """
    check_tensor("values", values)
    if values.is_complex():
        raise ValueError(f"values must be real, not {values.dtype}")
    check_number("low", low)
    check_number("high", high)
    inside = (values >= low) & (values <= high)
    return torch.where(inside, values, values.detach().clamp(low, high))


def energy_limited(raw: Tensor) -> Tensor:
    """Non-negative kernels that pass on at most the light they receive.

    ``softplus(100 raw) / 100``, then scaled down where needed so that the light of each input
    channel leaves at most once: the sum over output channels and taps is at most 1 (in
    half precision up to its rounding, by which it is 1.003 in bfloat16).

    Parameters
    ----------
    raw : Tensor ``[..., C_out, C_in, kh, kw]``
        Unconstrained. With ``C_in == 1`` every kernel belongs to its own channel and is limited
        separately.

    Returns
    -------
    Tensor of the same shape
        Kernels, dimensionless fractions of the light. An output channel that collects the light
        of several inputs may exceed full scale, and saturate a sensor.

    Raises
    ------
    TypeError
        When ``raw`` is not a Tensor.
    ValueError
        For another shape.
    """
    _check_kernels("raw", raw)
    kernel = functional.softplus(raw, beta=_SHARPNESS)
    return kernel / _leaving(kernel).clamp_min(1.0)


def _check_kernels(name: str, kernel: Tensor) -> None:
    check_tensor(name, kernel)
    if kernel.ndim < 4:
        raise ValueError(
            f"{name} must be [..., C_out, C_in, kh, kw], with C_in = 1 for a kernel a channel, not "
            f"{tuple(kernel.shape)}: give C kernels [C, kh, kw] as kernels[:, None]"
        )


def _leaving(kernel: Tensor) -> Tensor:
    """Light that leaves each input channel."""
    return kernel.sum(dim=(-4, -2, -1) if kernel.shape[-3] > 1 else (-2, -1), keepdim=True)


def energy_limited_inverse(kernel: Tensor) -> Tensor:
    """Return a raw tensor that :func:`energy_limited` maps to ``kernel``.

    Taps below ``7e-5`` are raised to ``7e-5``: a smooth map of an unbounded tensor has no exact
    zero. A kernel that uses all of its light, to 1e-5 (in half precision to its rounding error), is
    mapped beyond the limit, away from its kink.

    Parameters
    ----------
    kernel : Tensor ``[..., C_out, C_in, kh, kw]``
        Wanted kernels.

    Returns
    -------
    Tensor of the shape of ``kernel``

    Raises
    ------
    TypeError
        When the kernel is not a Tensor.
    ValueError
        For another shape, when a tap is negative or not finite, or a kernel passes on more light
        than it receives.
    """
    kernel = as_real("kernel", kernel)
    _check_kernels("kernel", kernel)
    looked = has_values(kernel)
    if looked and (not torch.isfinite(kernel).all() or (kernel < 0).any()):
        raise ValueError(
            "a kernel of light must be finite and non-negative; give a signed kernel as the "
            "difference of two exposures"
        )
    leaving, rounding = _leaving(kernel), max(1e-5, torch.finfo(kernel.dtype).eps)
    if looked and (leaving > 1 + rounding).any():
        raise ValueError(
            f"a kernel passes on at most the light that it receives, so that its taps sum to at "
            f"most 1 for each input; here they reach {float(leaving.max()):.4g}: divide by it"
        )
    on_the_limit = (leaving - 1).abs() <= rounding
    kernel = torch.where(on_the_limit, (1 + _BEYOND) * kernel, kernel)
    scaled = (kernel * _SHARPNESS).clamp_min(1e-12)
    # log(expm1(x)) without overflow for large x.
    return ((scaled + torch.log(-torch.expm1(-scaled))) / _SHARPNESS).clamp_min(_FLOOR)


def unit_disk(raw: Tensor) -> Tensor:
    """Complex transmission inside the unit disk, ``r tanh(|r|) / |r|``.

    It is smooth everywhere, including zero, so that an opaque sample keeps a gradient in phase and
    amplitude.

    Parameters
    ----------
    raw : Tensor, real ``[2, ...]``
        Unconstrained real and imaginary part.

    Returns
    -------
    Tensor, complex ``[...]``
        Transmission t (amplitude), |t| <= 1. Half precision is computed, and returned, in single.

    Raises
    ------
    TypeError
        When ``raw`` is not a Tensor.
    ValueError
        When the raw tensor is not ``[2, ...]``.
    """
    check_tensor("raw", raw)
    if raw.ndim < 1 or len(raw) != 2:
        raise ValueError(f"raw must be [2, ...], real and imaginary part, not {tuple(raw.shape)}")
    raw = single(raw)
    modulus = torch.sqrt(raw.square().sum(0) + torch.finfo(raw.dtype).tiny ** 0.5)
    bounded = raw * (torch.tanh(modulus) / modulus)
    return torch.complex(bounded[0], bounded[1])


def unit_disk_inverse(transmission: Tensor, *, largest: float = 0.995) -> Tensor:
    """Return a raw tensor that :func:`unit_disk` maps to ``transmission``.

    Parameters
    ----------
    transmission : Tensor, complex or real ``[...]``
        Wanted transmission (amplitude).
    largest : float
        Moduli are limited to this value, between 0 and 1, because 1 is reached at infinity only.

    Returns
    -------
    Tensor, real ``[2, ...]``

    Raises
    ------
    TypeError
        When the transmission is not a Tensor, or ``largest`` not one number.
    ValueError
        Unless ``0 < largest < 1``, and the transmission is finite.
    """
    check_tensor("transmission", transmission)
    check_scalar("largest", largest)
    if not 0 < largest < 1:
        raise ValueError(
            f"largest must be above 0 and below 1, which is reached at infinity only, not {largest}"
        )
    check_finite("transmission", transmission.detach())
    if not transmission.is_complex():
        amplitude = single(as_real("transmission", transmission))
        transmission = torch.complex(amplitude, torch.zeros_like(amplitude))
    modulus = transmission.abs()
    bounded = modulus.clamp_max(largest)
    scale = torch.where(
        modulus > 0, torch.atanh(bounded) / modulus.clamp_min(1e-30), torch.ones_like(modulus)
    )
    return torch.stack((transmission.real * scale, transmission.imag * scale))


def bounded(raw: Tensor, low: float, high: float) -> Tensor:
    """Values between two bounds, ``low + (high - low) sigmoid(raw)``.

    Parameters
    ----------
    raw : Tensor of any shape
        Unconstrained.
    low, high : float
        Bounds, in the unit of the result.

    Returns
    -------
    Tensor of the shape of ``raw``
        Between the bounds, which are reached at infinity only.

    Raises
    ------
    TypeError
        When ``raw`` is not a Tensor, or a bound not one number.
    ValueError
        Unless ``low < high`` and both are finite.
    """
    check_tensor("raw", raw)
    _check_range(low, high)
    return low + (high - low) * torch.sigmoid(raw)


def bounded_inverse(values: Tensor, low: float, high: float) -> Tensor:
    """Return a raw tensor that :func:`bounded` maps to ``values``.

    Values closer to a bound than 0.1 % of the range are moved to that distance from it.

    Parameters
    ----------
    values : Tensor of any shape
        Wanted values, between the bounds.
    low, high : float
        Bounds, in the unit of the values.

    Returns
    -------
    Tensor of the shape of ``values``

    Raises
    ------
    TypeError
        When the values are no Tensor, or a bound not one number.
    ValueError
        When a value lies outside of the bounds or is not finite.
    """
    return bounded_raw("values", values, low, high)


def bounded_raw(name: str, values: Tensor, low: float, high: float) -> Tensor:
    """:func:`bounded_inverse` with a name for the values in errors."""
    check_tensor(name, values)
    values = as_real(name, values)
    _check_range(low, high)
    share = (values - low) / (high - low)
    if has_values(share) and not bool(((share >= -1e-6) & (share <= 1 + 1e-6)).all()):
        raise ValueError(
            f"{name} must lie between {low:g} and {high:g}; they go from "
            f"{float(values.min()):g} to {float(values.max()):g}"
        )
    return torch.logit(share.clamp(_INSIDE, 1 - _INSIDE))


def _check_range(low: float, high: float) -> None:
    check_scalar("low", low)
    check_scalar("high", high)
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"low must be below high, and both finite, not {low} and {high}")


def positive(raw: Tensor) -> Tensor:
    """Positive values, the exponential of ``raw``, of any shape: steps are relative.

    Raises
    ------
    TypeError
        When ``raw`` is not a Tensor.
    """
    check_tensor("raw", raw)
    return raw.exp()


def positive_inverse(values: Tensor) -> Tensor:
    """Return a raw tensor that :func:`positive` maps to ``values``.

    Raises
    ------
    TypeError
        When the values are no Tensor.
    ValueError
        When a value is not positive and finite.
    """
    check_tensor("values", values)
    values = as_real("values", values)
    if has_values(values) and not bool((torch.isfinite(values) & (values > 0)).all()):
        raise ValueError(
            f"values must be positive and finite; they go from {float(values.min()):g} to "
            f"{float(values.max()):g}"
        )
    return values.log()


def symmetric(raw: Tensor, symmetry: Symmetry) -> Tensor:
    """Symmetric map: the mean of a map ``[..., H, W]`` over its mirrored or rotated copies.

    Parameters
    ----------
    raw : Tensor ``[..., H, W]``
        Any map.
    symmetry : {"mirror_x", "mirror_y", "point", "fourfold"}
        Invariance under x -> -x, under y -> -y, under both together (half a turn), or under quarter
        turns (square maps). The centre of the symmetry is that of the array.

    Returns
    -------
    Tensor ``[..., H, W]``

    Raises
    ------
    TypeError
        When ``raw`` is not a Tensor.
    ValueError
        For an unknown symmetry, fewer than two dimensions, or quarter turns of a map that is not
        square.
    """
    check_tensor("raw", raw)
    if raw.ndim < 2:
        raise ValueError(f"raw must be a map [..., H, W], not of shape {tuple(raw.shape)}")
    if symmetry == "mirror_x":
        return (raw + raw.flip(-1)) / 2
    if symmetry == "mirror_y":
        return (raw + raw.flip(-2)) / 2
    if symmetry == "point":
        return (raw + raw.flip(-2, -1)) / 2
    if symmetry == "fourfold":
        if raw.shape[-2] != raw.shape[-1]:
            raise ValueError(f"a quarter turn needs a square map, not {tuple(raw.shape)}")
        half = (raw + raw.flip(-2, -1)) / 2
        return (half + half.rot90(1, (-2, -1))) / 2
    raise ValueError(f"symmetry must be one of {get_args(Symmetry)}, not {symmetry!r}")


class Bounded(nn.Module):
    """Parametrization by :func:`bounded`; ``low`` and ``high`` in the unit of the parameter.

    Raises
    ------
    ValueError
        Unless ``low < high`` and both are finite.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        _check_range(low, high)
        self.low, self.high = float(low), float(high)

    def forward(self, raw: Tensor) -> Tensor:
        """Map ``raw``, of any shape, between the bounds."""
        return bounded(raw, self.low, self.high)

    def right_inverse(self, values: Tensor) -> Tensor:
        """Raw tensor of wanted ``values``, of the same shape."""
        return bounded_inverse(values, self.low, self.high)

    def extra_repr(self) -> str:
        """Name the bounds."""
        return f"low={self.low:g}, high={self.high:g}"


class Positive(nn.Module):
    """Parametrization by :func:`positive`."""

    def forward(self, raw: Tensor) -> Tensor:
        """Map ``raw``, of any shape, to positive values."""
        return positive(raw)

    def right_inverse(self, values: Tensor) -> Tensor:
        """Raw tensor of wanted ``values``, of the same shape."""
        return positive_inverse(values)


class UnitDisk(nn.Module):
    """Parametrization by :func:`unit_disk` of a complex parameter, from a complex raw one."""

    def forward(self, raw: Tensor) -> Tensor:
        """Map ``raw`` into the unit disk, see :func:`unit_disk`."""
        return unit_disk(torch.stack((raw.real, raw.imag)))

    def right_inverse(self, transmission: Tensor) -> Tensor:
        """Raw tensor of a wanted ``transmission``, see :func:`unit_disk_inverse`."""
        return torch.complex(*unit_disk_inverse(transmission))


class EnergyLimited(nn.Module):
    """Parametrization by :func:`energy_limited`, for ``[..., C_out, C_in, kh, kw]``."""

    def forward(self, raw: Tensor) -> Tensor:
        """Map ``raw`` to passive kernels, see :func:`energy_limited`."""
        return energy_limited(raw)

    def right_inverse(self, kernel: Tensor) -> Tensor:
        """Raw tensor of a wanted ``kernel``, see :func:`energy_limited_inverse`."""
        return energy_limited_inverse(kernel)


class Symmetric(nn.Module):
    """Parametrization by :func:`symmetric`, with the name of a ``symmetry``.

    Raises
    ------
    ValueError
        For an unknown symmetry.
    """

    def __init__(self, symmetry: Symmetry) -> None:
        super().__init__()
        if symmetry not in get_args(Symmetry):
            raise ValueError(f"symmetry must be one of {get_args(Symmetry)}, not {symmetry!r}")
        self.symmetry: Symmetry = symmetry

    def forward(self, raw: Tensor) -> Tensor:
        """Make the map ``raw`` ``[..., H, W]`` symmetric."""
        return symmetric(raw, self.symmetry)

    def right_inverse(self, values: Tensor) -> Tensor:
        """A symmetric map is its own raw tensor: returns ``values`` ``[..., H, W]``."""
        return values

    def extra_repr(self) -> str:
        """Name the symmetry."""
        return repr(self.symmetry)
