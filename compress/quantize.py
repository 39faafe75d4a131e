"""Differentiable replacements for rounding.

Rounding has a zero derivative almost everywhere, so a codec that uses ``torch.round`` blocks every
gradient to the stages in front of it. All functions here have a gradient, so a lens, a sensor or an
encoder in front receives one (with ``soft``, at fewer elements for a higher sharpness):

====================  =====================================  ======================================
mode                  forward                                gradient to x
====================  =====================================  ======================================
``noise``             x + u, u uniform in ±1/2               1
``straight_through``  round(x), ties to even                 1
``soft``              what a decoder would make of s(x) + u  that of the formula
``dither``            round(x + u) - u, u uniform in ±1/2    1
====================  =====================================  ======================================

``noise`` is the usual replacement in training: the density of x + u equals the probability mass of
the rounded x at integers. ``dither`` has the same distribution for any x, but can be written to a
file by an encoder and a decoder that share u. ``soft`` changes from ``noise`` to rounding as its
sharpness increases, so that training can anneal from one to the other. ``straight_through`` gives
the numbers in a file, and is used in evaluation.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from .given import is_number

__all__ = [
    "QuantizeMode",
    "add_uniform_noise",
    "dither",
    "quantize",
    "round_straight_through",
    "soft_round",
    "soft_round_inverse",
    "soft_round_noisy",
]

#: Source of a draw: one generator, or one for each picture. With the second, the noise of a picture
#: does not depend on what else is in its batch.
Generators: TypeAlias = torch.Generator | Sequence[torch.Generator]

QuantizeMode = Literal["noise", "straight_through", "soft", "dither"]


def add_uniform_noise(x: Tensor, *, generator: Generators | None = None) -> Tensor:
    """Add independent noise, uniform in [-1/2, 1/2), to every element.

    The gradient to ``x`` is the identity.

    Parameters
    ----------
    x : Tensor
        Floating-point values of any shape, in quantisation steps.
    generator : torch.Generator or a sequence of them, optional
        Random numbers of the noise; it may be on another device than ``x``. By default torch's
        global generator of the device of ``x``, as in ``torch.nn.Dropout``.

    Returns
    -------
    Tensor of the shape of ``x``

    Raises
    ------
    ValueError
        If the values are not floating point, or there are several generators, but not one for each
        picture.

    References
    ----------
    Ballé, Laparra, Simoncelli, "End-to-end optimized image compression", ICLR 2017.
    """
    return x + _uniform(x, generator)


def round_straight_through(x: Tensor) -> Tensor:
    """Round to the nearest integer, ties to even, with the identity as gradient.

    Parameters
    ----------
    x : Tensor
        Floating-point values of any shape, in quantisation steps. Infinite values give NaN.

    Returns
    -------
    Tensor of the shape of ``x``

    Raises
    ------
    ValueError
        If the values are not floating point.

    References
    ----------
    Bengio, Léonard, Courville, "Estimating or propagating gradients through stochastic neurons
    for conditional computation", arXiv 1308.3432; Theis et al., "Lossy image compression with
    compressive autoencoders", ICLR 2017.
    """
    _check_floating(x)
    # The bracket is exactly 0: the value is the integer itself, the gradient that of x.
    return x.round().detach() + (x - x.detach())


def dither(x: Tensor, *, generator: Generators | None = None) -> Tensor:
    """Round with a subtractive dither, ``round(x + u) - u``, with the identity as gradient.

    The error is uniform in ±1/2 and independent of ``x`` (Schuchman 1964), as with
    :func:`add_uniform_noise`, but the rounded numbers can be written to a file.

    Parameters
    ----------
    x : Tensor
        Floating-point values of any shape, in quantisation steps.
    generator : torch.Generator or a sequence of them, optional
        Source of ``u``, as in :func:`add_uniform_noise`.

    References
    ----------
    Choi, El-Khamy, Lee, "Variable rate deep image compression with a conditional autoencoder",
    ICCV 2019 (universal quantisation); Agustsson, Theis, "Universally quantized neural
    compression", NeurIPS 2020.
    """
    u = _uniform(x, generator)
    return round_straight_through(x + u) - u


def soft_round(x: Tensor, *, sharpness: float) -> Tensor:
    """Return a smooth, increasing approximation of rounding that keeps integers and half-integers.

    ``m + tanh(a (x - m)) / (2 tanh(a / 2))`` with m the middle of the two integers around ``x``
    and a the sharpness: the identity as a goes to 0, rounding as a increases.

    Parameters
    ----------
    x : Tensor
        Floating-point values of any shape, in quantisation steps.
    sharpness : float
        Positive; the slope at half-integers is ``a / (2 tanh(a / 2))``.

    Raises
    ------
    ValueError
        If the sharpness is not positive and finite.

    References
    ----------
    Agustsson, Theis, "Universally quantized neural compression", NeurIPS 2020, eq. 13.
    """
    _check_floating(x)
    a = _check_sharpness(sharpness)
    middle = x.detach().floor() + 0.5
    return middle + torch.tanh(a * (x - middle)) / (2 * math.tanh(a / 2))


def soft_round_inverse(y: Tensor, *, sharpness: float) -> Tensor:
    """Undo :func:`soft_round`.

    Parameters
    ----------
    y : Tensor
        Floating-point values of any shape.
    sharpness : float
        As in :func:`soft_round`. The steep parts of the inverse, near integers, are cut at the
        resolution of the type of ``y``, and have no gradient there.
    """
    _check_floating(y)
    a = _check_sharpness(sharpness)
    middle = y.detach().floor() + 0.5
    most = 1 - torch.finfo(y.dtype).eps
    inner = (2 * math.tanh(a / 2) * (y - middle)).clamp(-most, most)
    return middle + torch.atanh(inner) / a


def soft_round_noisy(x: Tensor, *, sharpness: float, generator: Generators | None = None) -> Tensor:
    """Round softly, add uniform noise, and return the expected value of ``x`` for a decoder.

    ``E[x | s(x) + u]`` for a flat density of x: the mean of the interval of all x that could have
    given the noisy value, ``inverse(y - 1/2) + 1/2`` in terms of :func:`soft_round_inverse`. The
    gradient is exactly that of this formula.

    Parameters
    ----------
    x : Tensor
        Floating-point values of any shape, in quantisation steps.
    sharpness : float
        Towards 0 the result is ``x + u``; for large values it is the rounded ``x``.
    generator : torch.Generator or a sequence of them, optional
        Source of ``u``, as in :func:`add_uniform_noise`.

    References
    ----------
    Agustsson, Theis, "Universally quantized neural compression", NeurIPS 2020, eq. 15.
    """
    y = soft_round(x, sharpness=sharpness) + _uniform(x, generator)
    return soft_round_inverse(y - 0.5, sharpness=sharpness) + 0.5


def quantize(
    x: Tensor,
    *,
    mode: QuantizeMode,
    generator: Generators | None = None,
    sharpness: float = 4.0,
) -> Tensor:
    """Quantise ``x`` to integers, or apply a replacement for training.

    Parameters
    ----------
    x : Tensor
        Floating-point values of any shape, in quantisation steps.
    mode : {"noise", "straight_through", "soft", "dither"}
        :func:`add_uniform_noise`, :func:`round_straight_through`, :func:`soft_round_noisy` or
        :func:`dither`.
    generator : torch.Generator or a sequence of them, optional
        Random numbers of the noise; ``straight_through`` does not use it.
    sharpness : float
        Sharpness of ``soft``.

    Returns
    -------
    Tensor of the shape of ``x``

    Raises
    ------
    ValueError
        If the mode is unknown, the values are not floating point, there are several generators, but
        not one for each picture, or the sharpness is not positive and finite.
    """
    match mode:
        case "noise":
            return add_uniform_noise(x, generator=generator)
        case "straight_through":
            return round_straight_through(x)
        case "soft":
            return soft_round_noisy(x, sharpness=sharpness, generator=generator)
        case "dither":
            return dither(x, generator=generator)
    allowed = ", ".join(repr(name) for name in get_args(QuantizeMode))
    raise ValueError(f"unknown quantisation mode {mode!r}: use one of {allowed}.")


def _uniform(x: Tensor, generator: Generators | None) -> Tensor:
    _check_floating(x)
    return uniform(x.shape, generator, dtype=x.dtype, device=x.device) - 0.5


def uniform(
    shape: Sequence[int],
    generator: Generators | None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device,
) -> Tensor:
    """Draw numbers in [0, 1), for the pictures ``[B, ...]`` together or for each by its own source.

    Raises
    ------
    ValueError
        When there are several generators, but not one for each picture, or something else.
    """
    if generator is None or isinstance(generator, torch.Generator):
        source = device if generator is None else generator.device
        return torch.rand(shape, generator=generator, dtype=dtype, device=source).to(device)
    if not isinstance(generator, Sequence):
        raise ValueError(
            "generator must be one torch.Generator, or one for each picture, got "
            f"{type(generator).__name__}: make one with torch.Generator().manual_seed(0)."
        )
    if not shape or len(generator) != shape[0]:
        raise ValueError(
            f"generator must be one torch.Generator, or one for each picture: {len(generator)} "
            f"were given for values of shape {tuple(shape)}"
        )
    if not generator:
        return torch.empty(tuple(shape), dtype=dtype, device=device)  # no pictures
    own = (torch.rand(shape[1:], generator=g, dtype=dtype, device=g.device) for g in generator)
    return torch.stack([drawn.to(device) for drawn in own])


def _check_floating(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"expected a floating-point tensor, got {given}: cast it with .float().")


def _check_sharpness(sharpness: float) -> float:
    if not is_number(sharpness) or not 0 < sharpness < math.inf:
        raise ValueError(f"sharpness must be positive and finite, got {sharpness!r}.")
    return float(sharpness)
