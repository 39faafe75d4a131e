"""Differentiable stand-ins for rounding.

Rounding has a zero derivative almost everywhere, so a codec that rounds with ``torch.round`` cuts
every gradient to what stands in front of it. Both stand-ins here have the *identity* as their
gradient, so a lens, a sensor or an encoder in front of them always receives one:

=====================  ===========================  ==============================================
mode                   forward                      use
=====================  ===========================  ==============================================
``noise``              x + u, u uniform in ±1/2     training: the density of x + u agrees with the
                                                    probability mass of the rounded x at integers
``straight_through``   round(x), ties to even       evaluation, and what the file holds
=====================  ===========================  ==============================================
"""

from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = ["QuantizeMode", "add_uniform_noise", "quantize", "round_straight_through"]

QuantizeMode = Literal["noise", "straight_through"]


def add_uniform_noise(x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Add independent noise, uniform in [-1/2, 1/2), to every element.

    The gradient to ``x`` is the identity.

    Parameters
    ----------
    x : Tensor
        Floating-point values of any shape, in quantisation steps.
    generator : torch.Generator, optional
        Source of the noise. It may live on another device than ``x``. Without one, the noise
        comes from torch's default stream of the device of ``x``, as in ``torch.nn.Dropout``.

    References
    ----------
    Ballé, Laparra, Simoncelli, "End-to-end optimized image compression", ICLR 2017.
    """
    device = x.device if generator is None else generator.device
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=device) - 0.5
    return x + noise.to(x.device)


def round_straight_through(x: Tensor) -> Tensor:
    """Round to the nearest integer, ties to even, with the identity as gradient.

    Parameters
    ----------
    x : Tensor
        Floating-point values of any shape, in quantisation steps.

    References
    ----------
    Bengio, Léonard, Courville, "Estimating or propagating gradients through stochastic neurons
    for conditional computation", arXiv 1308.3432; Theis et al., "Lossy image compression with
    compressive autoencoders", ICLR 2017.
    """
    # The bracket is exactly 0: the value is the integer itself, the gradient that of x.
    return x.round().detach() + (x - x.detach())


def quantize(x: Tensor, *, mode: QuantizeMode, generator: torch.Generator | None = None) -> Tensor:
    """Quantise ``x`` to integers, or pretend to, with the identity as gradient.

    Parameters
    ----------
    x : Tensor
        Floating-point values of any shape, in quantisation steps.
    mode : {"noise", "straight_through"}
        :func:`add_uniform_noise` or :func:`round_straight_through`.
    generator : torch.Generator, optional
        Source of the noise; ``straight_through`` draws nothing from it.

    Raises
    ------
    ValueError
        If the mode is unknown.
    """
    if mode == "noise":
        return add_uniform_noise(x, generator=generator)
    if mode == "straight_through":
        return round_straight_through(x)
    allowed = ", ".join(repr(name) for name in get_args(QuantizeMode))
    raise ValueError(f"unknown quantisation mode {mode!r}: use one of {allowed}.")
