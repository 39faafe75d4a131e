"""Fields as two real planes, and their centred Fourier transform by even and odd parts.

::

    amplitude, phase [..., H, W] ─polar_planes─► [..., 2, H, W] ─centred_dft─► [..., 2, h, w]

The real and the imaginary part of a field are stacked, and real cosines and sines act on both.
About its centre a field has an even part, which only the cosines transform, and an odd part, which
only the sines transform; the same two products give a frequency and its negative. Along each axis
that is a quarter of the multiplications of a complex matrix.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from optics.fourier import DFT_NORM, Norm, dft_matrix, kept, matrix_dft
from optics.grid import coordinates
from optics.quantity import full_precision

__all__ = ["as_field", "as_planes", "centred_dft", "polar_planes"]


def as_planes(field: Tensor) -> Tensor:
    """Real and imaginary part ``[..., 2, H, W]`` of a field, complex or real ``[..., H, W]``.

    Half precision becomes float32, as its range is too small for light.
    """
    if field.is_complex():
        planes = torch.stack((field.real, field.imag), -3)
    else:
        planes = torch.stack((field, torch.zeros_like(field)), -3)
    return planes if planes.dtype in (torch.float32, torch.float64) else planes.float()


def as_field(planes: Tensor) -> Tensor:
    """Complex field ``[..., H, W]`` of its planes ``[..., 2, H, W]``."""
    real, imaginary = planes.unbind(-3)
    return torch.complex(real, imaginary)


def polar_planes(amplitude: Tensor, phase: Tensor) -> Tensor:
    """Planes ``[..., 2, H, W]`` of ``amplitude exp(i phase)``.

    The gradient to the phase is computed from the result: cosine and sine are computed once.

    Parameters
    ----------
    amplitude : Tensor, real
        Broadcast to the shape of ``phase``.
    phase : Tensor ``[..., H, W]``, radians
    """
    if torch.compiler.is_compiling():  # which writes gradients of its own, but none for these
        return torch.stack((amplitude * torch.cos(phase), amplitude * torch.sin(phase)), -3)
    return _Polar.apply(amplitude.expand_as(phase), phase)


class _Polar(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(amplitude: Tensor, phase: Tensor) -> Tensor:
        return torch.stack((amplitude * torch.cos(phase), amplitude * torch.sin(phase)), -3)

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor
    ) -> None:
        # The result is kept as such, so that a gradient of the gradient passes through it.
        ctx.save_for_backward(inputs[1], output)
        ctx.save_for_forward(inputs[1], output)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        phase, planes = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        real, imaginary = planes.unbind(-3)
        to_real, to_imaginary = gradients[0].unbind(-3)
        to_amplitude = None
        if ctx.needs_input_grad[0]:  # pyright: ignore[reportAttributeAccessIssue]
            to_amplitude = to_real * torch.cos(phase) + to_imaginary * torch.sin(phase)
        return to_amplitude, real * to_imaginary - imaginary * to_real

    @staticmethod
    def jvp(
        ctx: torch.autograd.function.FunctionCtx, amplitude: Tensor | None, phase: Tensor | None
    ) -> Tensor:
        angle, planes = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        real, imaginary = planes.unbind(-3)
        change = torch.zeros_like(planes)
        if phase is not None:
            change = change + torch.stack((-imaginary * phase, real * phase), -3)
        if amplitude is not None:
            unit = torch.stack((torch.cos(angle), torch.sin(angle)), -3)
            change = change + unit * amplitude.unsqueeze(-3)
        return change


def centred_dft(
    planes: Tensor,
    size: tuple[int, int],
    *,
    step: float | Sequence[float] | Tensor,
    norm: Norm = "backward",
    phase: bool = True,
) -> Tensor:
    """Two-dimensional Fourier transform of a field to freely chosen, centred output samples.

    It equals :func:`~optics.fourier.matrix_dft` with kernels of
    :func:`~optics.fourier.dft_matrix`, in half the time.

    Parameters
    ----------
    planes : Tensor, real ``[..., 2, H, W]``, or ``[..., L, 2, H, W]`` for L steps
    size : (int, int)
        Samples (h, w) of the output.
    step : float, sequence of floats, or Tensor ``[L]``, cycles/sample
        Frequency interval of the output. A tensor is computed by complex matrices, with a gradient.
    norm : {"backward", "ortho", "forward"}
        Factor of each of the two kernels, see :func:`~optics.fourier.dft_matrix`.
    phase : bool
        Whether the phase of the output is needed. Irradiance does not need it, which saves the
        phase factor from the centre of an even grid, about which it is folded, to its origin.

    Returns
    -------
    Tensor, real ``[..., 2, h, w]``, or ``[..., L, 2, h, w]`` for L steps
    """
    shape = (planes.shape[-2], planes.shape[-1])
    if isinstance(step, Tensor):
        dtype = torch.complex128 if planes.dtype == torch.float64 else torch.complex64
        rows, columns = (
            dft_matrix(samples, n, step=step, norm=norm, dtype=dtype)
            for samples, n in zip(shape, size, strict=True)
        )
        return as_planes(matrix_dft(as_field(planes), rows, columns))
    steps = float(step) if isinstance(step, float | int) else tuple(step)
    plan = kept(
        ("centred", shape, size, steps, norm, planes.dtype, planes.device),
        lambda: _plan(shape, size, steps, norm, planes.dtype, planes.device),
    )
    if isinstance(steps, tuple):
        planes = planes.expand(*planes.shape[:-4], len(steps), *planes.shape[-3:])
    if torch.compiler.is_compiling():
        amplitude = _transformed(planes, plan.there)
    else:
        amplitude = _CentredTransform.apply(planes, plan)
    if phase and plan.turn is not None:
        return as_planes(as_field(amplitude) * plan.turn)
    return amplitude


class _Axis(NamedTuple):
    """Cosines and sines ``[(L,) 2, half out, half in]`` along one axis, for each of the planes."""

    cosines: Tensor
    sines: Tensor
    size: int
    back: bool


class _Plan(NamedTuple):
    """Both axes from the field to the window and, for the gradient, from there to the field."""

    there: tuple[_Axis, _Axis]
    back: tuple[_Axis, _Axis]
    turn: Tensor | None


def _plan(
    shape: tuple[int, int],
    size: tuple[int, int],
    steps: float | tuple[float, ...],
    norm: Norm,
    dtype: torch.dtype,
    device: torch.device,
) -> _Plan:
    """Form all kernels of :func:`centred_dft`, in float64 and rounded once."""
    step = torch.tensor(steps, dtype=torch.float64, device=device)[..., None, None]
    pairs = tuple(zip(shape, size, strict=True))
    rows, columns = (_axes(*pair, step, step ** DFT_NORM[norm], dtype) for pair in pairs)
    there, back = zip(rows, columns, strict=True)
    if shape[0] % 2 and shape[1] % 2:
        return _Plan(there, back, None)
    # The middle of an even grid lies half a sample before its origin.
    y, x = (coordinates(n, device=device) * (1 - samples % 2) for samples, n in pairs)
    turn = torch.exp(1j * math.pi * step * (y[:, None] + x))
    return _Plan(there, back, turn.to(torch.promote_types(dtype, torch.complex32)))


def _axes(
    samples: int, size: int, step: Tensor, factor: Tensor, dtype: torch.dtype
) -> tuple[_Axis, _Axis]:
    """Kernels along one axis, from the field to the window and back."""
    # The field is folded about its middle, the window about its origin, size // 2.
    j = torch.arange((samples + 1) // 2, dtype=torch.float64, device=step.device)
    j = j + 0.5 * (1 - samples % 2)
    k = torch.arange(size // 2 + 1, dtype=torch.float64, device=step.device)[:, None]
    turns = step * k * j
    # Whole turns change nothing but the accuracy of sine and cosine.
    angle = 2 * math.pi * (turns - turns.round())
    cosine, sine = factor * torch.cos(angle), factor * torch.sin(angle)

    def axis(cosine: Tensor, sine: Tensor, size: int, *, back: bool) -> _Axis:
        # exp(-i angle) = cos - i sin, and -i times (real, imaginary) is (imaginary, -real): the
        # planes change places, and the sines of the second one have the sign.
        cosines, sines = torch.stack((cosine, cosine), -3), torch.stack((sine, -sine), -3)
        return _Axis(cosines.to(dtype).contiguous(), sines.to(dtype).contiguous(), size, back)

    # Folding counts a sample on the centre twice.
    return (
        axis(cosine * torch.where(j == 0, 0.5, 1.0), sine, size, back=False),
        axis((cosine * torch.where(k == 0, 0.5, 1.0)).mT, -sine.mT, samples, back=True),
    )


class _CentredTransform(torch.autograd.Function):
    """The adjoint is another such transform, from the window to the field."""

    generate_vmap_rule = True

    @staticmethod
    def forward(planes: Tensor, plan: _Plan) -> Tensor:
        return _transformed(planes, plan.there)

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, _Plan], output: Tensor
    ) -> None:
        ctx.plan = inputs[1]  # pyright: ignore[reportAttributeAccessIssue]

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor, None]:
        return _transformed(gradients[0], ctx.plan.back), None  # pyright: ignore[reportAttributeAccessIssue]

    @staticmethod
    def jvp(ctx: torch.autograd.function.FunctionCtx, planes: Tensor, plan: None) -> Tensor:
        return _transformed(planes, ctx.plan.there)  # pyright: ignore[reportAttributeAccessIssue]


def _transformed(planes: Tensor, axes: tuple[_Axis, _Axis]) -> Tensor:
    """Rows, then columns."""
    # The range of half precision is too small for light.
    with full_precision(planes):
        return _along(_along(planes, axes[0], -2), axes[1], -1)


def _along(planes: Tensor, axis: _Axis, dim: int) -> Tensor:
    """Transform one dimension of planes ``[..., 2, H, W]``: fold, cosines and sines, unfold."""
    samples, size = planes.shape[dim], axis.size
    if axis.back:
        # An even window has a sample at its far end that has no partner.
        half = samples // 2 + 1
        near = planes.narrow(dim, samples // 2, samples - samples // 2)
        if samples % 2 == 0:
            near = functional.pad(near, (0, 1) if dim == -1 else (0, 0, 0, 1))
    else:
        half = (samples + 1) // 2
        near = planes.narrow(dim, samples - half, half)
    far = planes.narrow(dim, 0, half).flip(dim)
    even, odd = near + far, (near - far).flip(-3)
    if dim == -2:
        even, odd = axis.cosines @ even, axis.sines @ odd
    else:
        even, odd = even @ axis.cosines.mT, odd @ axis.sines.mT
    # The first size // 2 samples mirror the last of the halves.
    negative = (even - odd).narrow(dim, even.shape[dim] - size // 2, size // 2).flip(dim)
    return torch.cat((negative, (even + odd).narrow(dim, 0, size - size // 2)), dim)
