"""The converter (ADC): a noisy voltage to whole codes, with a choice of gradients.

Voltages are in DN, the step of the converter. The mean code of a voltage mu with Gaussian
noise of sigma DN is ``sum_k Phi((mu - t_k) / sigma)`` over the thresholds ``t_k = k - 1/2`` of the
codes k = 1 .. top, and its slope is ``sum_k phi((mu - t_k) / sigma) / sigma``. Far from both ends
of the range that slope oscillates about 1 by ``2 exp(-2 pi^2 sigma^2)``: 0.98 .. 1.02 at half a DN
of noise, 0.66 .. 1.34 at 0.3 DN, and as spikes below.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from optics.quantity import check_between, check_scalar, check_tensor, index_of, looked_at, single

from .noise import Generators, standard_normal

__all__ = ["Converter", "digitise"]

Converter = Literal["straight_through", "dithered"]

# Thresholds within this many standard deviations are summed: the rest contributes 1e-8.
_REACH = 6.0
# Beyond this many standard deviations a density is 0 in float64, and polynomials may overflow.
_FAR = 40.0
# Up to this noise in DN the thresholds are summed; above, the Euler-Maclaurin series is used.
_SUMMED = 1.25
# B_2m(1/2) / (2m)! for m = 1 .. 4.
_MIDPOINT = (-1 / 24, 7 / 5760, -31 / 967680, 127 / 154828800)


def digitise(
    signal: Tensor,
    bit_depth: int | None,
    *,
    noise: float | Tensor = 0.0,
    estimator: Converter = "straight_through",
    generator: Generators | None = None,
) -> Tensor:
    """Codes of a signal: add read noise, clip, and round to the nearest of ``2**bit_depth`` codes.

    Parameters
    ----------
    signal : Tensor of any shape, DN
        Voltage in steps of the converter, black level included. Half precision, which holds whole
        codes of only 8 or 11 bits, is computed, and returned, in float32.
    bit_depth : int, optional
        Resolution in bits: codes 0 .. ``2**bit_depth - 1``. None does not round; one DN is then the
        whole range, 0 .. 1.
    noise : float or Tensor, DN RMS
        Gaussian noise in front of the converter, non-negative: one number, or a Tensor that
        broadcasts to the signal, such as ``[B, 1, 1, 1]``. A Tensor may carry a gradient.
    estimator : {"straight_through", "dithered"}
        ``straight_through``: gradient 1 to the noisy voltage within the range (ends included), 0
        where it is clipped. In the mean it is right to 1.5 % from 0.5 DN of noise upwards, and
        wrong below 0.3 DN. ``dithered``: the gradient of the *mean* code to signal and noise. It is
        exact for any noise above zero and at both ends of the range, and so is the gradient of
        every loss that is linear in the codes.
    generator : torch.Generator or a sequence of them, optional
        Source of the noise, or one for each picture; by default torch's global generator.

    Returns
    -------
    Tensor of the shape of ``signal``, DN
        Whole codes; the same ones for both estimators.

    Raises
    ------
    TypeError
        For a signal that is not a Tensor, or noise that is neither a Tensor nor a number.
    ValueError
        For a signal that is not real, a resolution that is not 1 .. 16 bits, negative noise, noise
        that does not broadcast to the signal, an unknown estimator, or ``dithered`` without
        rounding or without noise.
    """
    if bit_depth is not None and index_of(bit_depth) not in range(1, 17):
        raise ValueError(f"bit_depth must be a whole number from 1 to 16, or None, not {bit_depth}")
    if estimator not in get_args(Converter):
        raise ValueError(f"estimator must be one of {get_args(Converter)}, not {estimator!r}")
    check_tensor("signal", signal)
    if not signal.is_floating_point():
        raise ValueError(f"signal must be real floating point in DN, not {signal.dtype}")
    signal = single(signal)
    _check_shape(noise, signal)
    check_between("noise", noise, 0, math.inf, "DN RMS")
    least = math.inf  # noise whose values cannot be read is not checked
    if not isinstance(noise, Tensor) or (looked_at(noise) and noise.numel()):
        least = float(noise.detach().min() if isinstance(noise, Tensor) else noise)
    if estimator == "dithered" and (least == 0 or bit_depth is None):
        raise ValueError(
            "the dithered gradient needs rounded codes and noise in front of them, but "
            f"noise={least} DN and bit_depth={bit_depth}: give both, or use 'straight_through'"
        )
    top = 1 if bit_depth is None else 2 ** int(bit_depth) - 1
    rounded = bit_depth is not None
    compiling = torch.compiler.is_compiling()
    if estimator == "dithered":
        dither = _Dithered if compiling else _ForwardDithered
        return dither.apply(signal, noise, top, generator)
    if isinstance(noise, Tensor):
        normal = standard_normal(signal, generator)
        signal, noise = torch.addcmul(signal, normal, noise.to(signal.dtype)), 0.0
    convert = _StraightThrough if compiling else _ForwardStraightThrough
    return convert.apply(signal, noise, top, rounded, generator)[0]


def _check_shape(noise: float | Tensor, signal: Tensor) -> None:
    """Raise an error for noise that is neither one number nor broadcasts to the signal."""
    if not isinstance(noise, Tensor):
        check_scalar("noise", noise, "DN RMS")
        return
    shape, own = tuple(signal.shape), tuple(noise.shape)
    last = shape[len(shape) - len(own) :]
    if len(own) > len(shape) or any(n not in (1, m) for n, m in zip(own, last, strict=True)):
        raise ValueError(
            f"noise must be one number, or broadcast to the signal {shape}, as [B, 1, 1, 1] of "
            f"each picture, not {own}"
        )


class _StraightThrough(torch.autograd.Function):
    """Clip to ``0 .. top`` and round; the gradient of :func:`optics.clip`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        signal: Tensor, noise: float, top: int, rounded: bool, generator: Generators | None
    ) -> tuple[Tensor, Tensor]:
        noisy = signal if noise == 0 else signal + standard_normal(signal, generator).mul_(noise)
        codes = noisy.clamp(0, top)
        inside = codes == noisy
        return codes.round_() if rounded else codes, inside

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # noqa: ANN001
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        return grads[0] * ctx.saved_tensors[0], None, None, None, None


class _ForwardStraightThrough(_StraightThrough):
    """With a derivative in forward mode, which torch.compile refuses."""

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # noqa: ANN001
        _StraightThrough.setup_context(ctx, inputs, output)
        ctx.save_for_forward(output[1])

    @staticmethod
    def jvp(ctx, *changes: Tensor) -> tuple[Tensor, None]:  # noqa: ANN001
        return changes[0] * ctx.saved_tensors[0], None


class _Dithered(torch.autograd.Function):
    """Round a noisy voltage, with the gradient of the mean code."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        signal: Tensor, noise: float | Tensor, top: int, generator: Generators | None
    ) -> Tensor:
        noisy = signal + standard_normal(signal, generator) * noise
        return noisy.clamp(0, top).round_()

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # noqa: ANN001
        signal, noise, ctx.top, _ = inputs
        ctx.noise = None if isinstance(noise, Tensor) else noise
        ctx.save_for_backward(signal, noise if isinstance(noise, Tensor) else None)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        signal, held = ctx.saved_tensors
        noise = ctx.noise if held is None else held.to(signal.dtype)
        by_signal, by_noise = mean_code_slopes(
            signal, ctx.top, noise, with_noise=ctx.needs_input_grad[1]
        )
        to_noise = None
        if by_noise is not None and held is not None:
            to_noise = (grad * by_noise).sum_to_size(held.shape).to(held.dtype)
        return by_signal * grad, to_noise, None, None


class _ForwardDithered(_Dithered):
    """With a derivative in forward mode, which torch.compile refuses."""

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # noqa: ANN001
        _Dithered.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0], inputs[1] if isinstance(inputs[1], Tensor) else None)

    @staticmethod
    def jvp(ctx, *changes: Tensor | None) -> Tensor:  # noqa: ANN001
        to_signal, to_noise = changes[:2]
        signal, held = ctx.saved_tensors
        noise = ctx.noise if held is None else held.to(signal.dtype)
        slopes = mean_code_slopes(signal, ctx.top, noise, with_noise=to_noise is not None)
        change = torch.zeros_like(signal)
        for slope, moved in zip(slopes, (to_signal, to_noise), strict=True):
            if slope is not None and moved is not None:
                change = change + slope * moved
        return change


def mean_code_slopes(
    signal: Tensor, top: int, noise: float | Tensor, *, with_noise: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Slope of the mean code against the voltage and, with ``with_noise``, against the noise.

    For a number, or a tensor on the CPU, only the sum that the noise level needs is computed, for
    each picture. On an accelerator, where reading the noise would wait, both are computed and the
    right one is selected.

    Parameters
    ----------
    signal : Tensor, DN
    top : int, DN
        Highest code.
    noise : float or Tensor, DN RMS
    with_noise : bool
        Whether to compute the second slope.
    """
    if isinstance(noise, Tensor) and noise.numel() == 1 and looked_at(noise):
        noise = float(noise)
    if not isinstance(noise, Tensor):
        sums = _threshold_sum if noise <= _SUMMED else _euler_maclaurin
        return sums(signal, top, noise, with_noise=with_noise)
    several = noise.ndim == signal.ndim and len(noise) == noise.numel() == len(signal)
    if several and looked_at(noise):  # one for each picture
        return _picture_slopes(signal, top, noise, with_noise=with_noise)
    low = _threshold_sum(signal, top, noise.clamp_max(_SUMMED), with_noise=with_noise)
    high = _euler_maclaurin(signal, top, noise.clamp_min(_SUMMED), with_noise=with_noise)
    summed = noise <= _SUMMED
    by_noise = None if low[1] is None or high[1] is None else torch.where(summed, low[1], high[1])
    return torch.where(summed, low[0], high[0]), by_noise


def _picture_slopes(
    signal: Tensor, top: int, noise: Tensor, *, with_noise: bool
) -> tuple[Tensor, Tensor | None]:
    """Slopes for pictures ``[B, ...]`` with one noise level each, ``[B, 1, ...]``."""
    by_signal = torch.empty_like(signal)
    by_noise = torch.empty_like(signal) if with_noise else None
    summed = noise.flatten() <= _SUMMED
    for rows in (summed.nonzero().flatten(), (~summed).nonzero().flatten()):
        if not len(rows):
            continue
        own = noise[rows]
        if bool(summed[rows[0]]):
            widest = float(own.max())
            found = _threshold_sum(signal[rows], top, own, with_noise=with_noise, widest=widest)
        else:
            found = _euler_maclaurin(signal[rows], top, own, with_noise=with_noise)
        by_signal[rows] = found[0]
        if by_noise is not None and found[1] is not None:
            by_noise[rows] = found[1]
    return by_signal, by_noise


def _threshold_sum(
    signal: Tensor,
    top: int,
    noise: float | Tensor,
    *,
    with_noise: bool,
    widest: float = _SUMMED,
) -> tuple[Tensor, Tensor | None]:
    """Sum the densities at thresholds within reach of the noise (``widest`` of a tensor)."""
    wide = widest if isinstance(noise, Tensor) else noise
    # The nearest threshold is at most half a DN away.
    reach = max(0, math.ceil(_REACH * wide - 0.5))
    signal = signal.clamp(-reach - 1, top + reach + 1)  # beyond, no threshold is within reach
    code = (signal + 0.5).round_()  # the code whose threshold is nearest
    offset = (signal - code).add_(0.5)
    scale = 1 / (noise * math.sqrt(2 * math.pi))
    by_signal = torch.zeros_like(signal)
    by_noise = torch.zeros_like(signal) if with_noise else None
    for step in range(-reach, reach + 1):
        z = (offset - step) / noise
        density = z.square().mul_(-0.5).exp_()
        # Only the codes 1 .. top have a threshold below them.
        density.mul_((code >= 1 - step).logical_and_(code <= top - step))
        by_signal.add_(density)
        if by_noise is not None:
            by_noise.addcmul_(z, density, value=-1)
    return by_signal.mul_(scale), None if by_noise is None else by_noise.mul_(scale)


def _euler_maclaurin(
    signal: Tensor, top: int, noise: float | Tensor, *, with_noise: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute the same sums as an integral with corrections at both ends of the range.

    ``sum_k f(k - 1/2) = int_0^top f dt + sum_m c_m [f^(2m-1)]``, c_m being the Bernoulli
    polynomials B_2m(1/2) / (2m)! (Euler-Maclaurin for midpoints, DLMF 2.10.1
    and 24.4.27). f is a normal density of at least 1.25 DN, whose derivatives are Hermite
    polynomials times itself; the remainder is below 2e-6.
    """
    inverse = noise**-2
    ends = []
    for end in (0, top):
        z = ((signal - end) / noise).clamp_(-_FAR, _FAR)
        hermite = [torch.ones_like(z), z]
        for n in range(1, 2 * len(_MIDPOINT)):
            hermite.append(z * hermite[n] - n * hermite[n - 1])
        density = z.square().mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
        odd, even = torch.zeros_like(z), torch.ones_like(z)
        for m, weight in enumerate(_MIDPOINT, 1):
            odd.sub_(hermite[2 * m - 1] * (weight * inverse**m))
            if with_noise:
                even.add_(hermite[2 * m] * (weight * inverse**m))
        ends.append((torch.special.ndtr(z).addcmul_(odd, density), even.mul_(density)))
    (signal_low, noise_low), (signal_high, noise_high) = ends
    return signal_low.sub_(signal_high), noise_low.sub_(noise_high) if with_noise else None
