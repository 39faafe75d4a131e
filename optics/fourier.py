"""Convolution of pictures with point-spread functions, and the matrix Fourier transform."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch._C import _len_torch_dispatch_stack
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.nn import functional

from .grid import coordinates, fast_size, is_smooth
from .quantity import (
    check_complex,
    check_number,
    check_tensor,
    full_precision,
    single,
    whole_number,
)

__all__ = [
    "DFT_NORM",
    "Boundary",
    "Norm",
    "convolve",
    "dft_matrix",
    "kept",
    "kept_copy",
    "matrix_dft",
    "padded",
    "phasor",
    "squared_modulus",
]

Boundary = Literal["zero", "reflect", "replicate", "circular"]
Norm = Literal["backward", "ortho", "forward"]

#: Power of the step that each norm of a matrix transform multiplies its kernel by.
DFT_NORM: dict[Norm, float] = {"backward": 0.0, "ortho": 0.5, "forward": 1.0}

# Up to this many taps a direct convolution is faster than the transform (forward and backward,
# pictures of 3 x 128 x 128, one CPU thread; `tests/benchmarks/test_convolve.py` measures it).
_DIRECT_TAPS = 9

_Kernel = TypeVar("_Kernel")

# Number of kernels of the matrix transform that are kept, the oldest is dropped first: a design
# loop uses the same few in each step, and building them costs more than using them.
_KEPT_MATRICES = 64
# Memory of all kept kernels but the last: a loop over focal lengths of a large pupil makes new ones
# of 40 MB each time.
_KEPT_BYTES = 2**29
_matrices: dict[Hashable, tuple[Any, int]] = {}


def convolve(image: Tensor, psf: Tensor, *, boundary: Boundary = "zero") -> Tensor:
    """True convolution of pictures with point-spread functions, with output of the same size.

    ``out[y, x] = sum_mn psf[m, n] image[y + ch - m, x + cw - n]`` with the kernel centre
    ``(ch, cw) = (kh // 2, kw // 2)``: the image of an impulse is the PSF, not flipped.

    Parameters
    ----------
    image : Tensor ``[B, C, H, W]``
        Pictures, linear light. Half precision is computed, and returned, in float32, also under
        autocast, as its range is too small for light.
    psf : Tensor
        ``[kh, kw]``: one PSF for all channels. ``[C, kh, kw]``: one per channel.
        ``[O, 1, kh, kw]`` with O a multiple of C: output channel o is input channel o % C, blurred.
        ``[O, C, kh, kw]``: output channel o is a sum over all input channels.
    boundary : {"zero", "reflect", "replicate", "circular"}
        What lies outside of the picture. The default of the front ends and :func:`optics.wiener` is
        ``replicate`` instead.

    Returns
    -------
    Tensor ``[B, O, H, W]``, where O is C for the first two forms of ``psf``.

    Raises
    ------
    TypeError
        When one of them is not a Tensor.
    ValueError
        For an unknown boundary, a wrong type, shapes that do not fit, a picture without pixels, or
        a reflected border wider than the picture.

    Notes
    -----
    Kernels of at most 9 taps are summed directly. Larger ones use real Fourier transforms of the
    smallest even size without prime factors above 5 at which light that wraps around is cut off:
    ``H + max(k // 2, k - 1 - k // 2)`` samples for a zero boundary, H itself for a circular one.
    The gradient to the PSF sums over the batch before a single inverse transform.
    """
    image, psf = _checked(image, psf)
    with full_precision(image):
        path = _direct if psf.shape[-2] * psf.shape[-1] <= _DIRECT_TAPS else _transformed
        return path(image, psf, boundary)


def _checked(image: Tensor, psf: Tensor) -> tuple[Tensor, Tensor]:
    """Convert the picture to full precision and ``psf`` to ``[O, 1 or C, kh, kw]``."""
    check_tensor("image", image)
    check_tensor("psf", psf)
    if image.ndim != 4:
        raise ValueError(f"image must be [B, C, H, W], not of shape {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(
            f"image must be real floating point, not {image.dtype}: integers have no fractions, "
            "use image.float(); for the real and imaginary part of a field see CoherentImaging"
        )
    channels = image.shape[1]
    if channels == 0:
        raise ValueError("image has no channels")
    if not psf.is_floating_point():
        raise ValueError(f"psf must be real floating point, not {psf.dtype}")
    given = psf.shape
    if psf.ndim == 2:
        psf = psf.expand(channels, 1, *psf.shape)
    elif psf.ndim == 3 and psf.shape[0] == channels:
        psf = psf[:, None]
    fits = psf.ndim == 4 and (
        psf.shape[1] == channels or (psf.shape[1] == 1 and psf.shape[0] % channels == 0)
    )
    if 0 in image.shape[-2:]:
        raise ValueError(f"image has no pixels: it is {tuple(image.shape)}")
    if not fits or psf.numel() == 0:
        raise ValueError(
            f"psf must be [kh, kw], [C, kh, kw], [O, 1, kh, kw] or [O, C, kh, kw] with C = "
            f"{channels}, not of shape {tuple(given)}"
        )
    if image.dtype not in (torch.float32, torch.float64):
        image = image.float()
    return image, psf.to(image.dtype)


def padded(image: Tensor, kernel: Sequence[int], boundary: Boundary) -> Tensor:
    """Pad the picture by ``k - 1`` samples along each axis, ``k // 2`` of them at its end."""
    height, width = image.shape[-2:]
    after = [k // 2 for k in kernel]
    before = [k - 1 - a for k, a in zip(kernel, after, strict=True)]
    if boundary == "circular" and (kernel[0] > height or kernel[1] > width):
        raise ValueError(
            f"a circular boundary needs a PSF no larger than the picture; the PSF is "
            f"{tuple(kernel)}, the picture {(height, width)}"
        )
    if boundary == "reflect" and (
        max(before[0], after[0]) >= height or max(before[1], after[1]) >= width
    ):
        raise ValueError(
            f"a reflected border must be narrower than the picture; the PSF {tuple(kernel)} "
            f"needs one of {(max(before[0], after[0]), max(before[1], after[1]))} around "
            f"{(height, width)}: use boundary='replicate' or 'zero'"
        )
    if boundary not in [*_PAD_MODE]:  # of a list too, which has no hash
        raise ValueError(f"boundary must be one of {[*_PAD_MODE]}, not {boundary!r}")
    border = (before[1], after[1], before[0], after[0])
    return functional.pad(image, border, mode=_PAD_MODE[boundary])


_PAD_MODE = {
    "zero": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


def _direct(image: Tensor, psf: Tensor, boundary: Boundary) -> Tensor:
    """Sum over the taps."""
    wide = padded(image, psf.shape[-2:], boundary)
    channels, outputs = wide.shape[1], psf.shape[0]
    flipped = psf.flip(-2, -1)
    if psf.shape[1] == channels:
        return functional.conv2d(wide, flipped)
    repeated = wide.repeat(1, outputs // channels, 1, 1)
    return functional.conv2d(repeated, flipped, groups=outputs)


class _Frame(NamedTuple):
    """Periodic grid of a transform, and the part of it that is the result."""

    size: tuple[int, int]
    start: tuple[int, int]
    shape: tuple[int, int]


def _transformed(image: Tensor, psf: Tensor, boundary: Boundary) -> Tensor:
    """Convolve by multiplying spectra, on the smallest sufficient periodic grid."""
    height, width = image.shape[-2:]
    kernel = psf.shape[-2:]
    if boundary == "zero":
        # Taps farther from the centre than the picture is wide only meet zeros.
        psf, top = _reach(psf, -2, height)
        psf, left = _reach(psf, -1, width)
        rows, columns = psf.shape[-2:]
        size = (
            fast_size(height + max(top, rows - 1 - top)),
            fast_size(width + max(left, columns - 1 - left)),
        )
        frame = _Frame(size, (top, left), (height, width))
    elif (
        boundary == "circular"
        and is_smooth(height)
        and is_smooth(width)
        and (kernel[0] <= height and kernel[1] <= width)
    ):
        # The picture is its own period. The centre of the PSF goes to the origin.
        psf = functional.pad(psf, (0, width - kernel[1], 0, height - kernel[0]))
        psf = psf.roll((-(kernel[0] // 2), -(kernel[1] // 2)), (-2, -1))
        frame = _Frame((height, width), (0, 0), (height, width))
    else:
        # Wrap-around is confined to the border of k - 1 samples.
        image = padded(image, kernel, boundary)
        size = (fast_size(image.shape[-2]), fast_size(image.shape[-1]))
        frame = _Frame(size, (kernel[0] - 1, kernel[1] - 1), (height, width))
    product = _SpectralProduct if torch.compiler.is_compiling() else _ForwardSpectralProduct
    return product.apply(image, psf, frame)[0]


def _reach(psf: Tensor, axis: int, samples: int) -> tuple[Tensor, int]:
    """Cut taps farther from the centre than the size of the picture; return them and the centre."""
    taps = psf.shape[axis]
    centre = taps // 2
    first, last = max(0, centre - samples + 1), min(taps, centre + samples)
    return psf.narrow(axis, first, last - first), centre - first


class _SpectralProduct(torch.autograd.Function):
    """``crop(F^-1(F image . F psf))`` with its gradient written out.

    Autograd would transform the gradient of every picture back to a kernel; here the batch is
    summed in the spectrum first, and nothing is computed for an input that needs no gradient.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(image: Tensor, psf: Tensor, frame: _Frame) -> tuple[Tensor, Tensor, Tensor]:
        spectrum = torch.fft.rfft2(image, s=frame.size)
        transfer = torch.fft.rfft2(psf, s=frame.size)
        product = _filtered(spectrum, transfer)
        return _cut(product, frame.size, frame.start, frame.shape), spectrum, transfer

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx,
        inputs: tuple[Tensor, Tensor, _Frame],
        output: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        image, psf, ctx.frame = inputs  # pyright: ignore[reportAttributeAccessIssue]
        _, spectrum, transfer = output
        ctx.mark_non_differentiable(spectrum, transfer)
        ctx.set_materialize_grads(False)
        to_image, to_psf = ctx.needs_input_grad[:2]  # pyright: ignore[reportAttributeAccessIssue]
        kept = (spectrum if to_psf else None, transfer if to_image else None)
        ctx.save_for_backward(image, psf, *kept)  # pyright: ignore[reportArgumentType]

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None]:
        gradient = gradients[0]
        if gradient is None:
            return None, None, None
        image, psf, spectrum, transfer = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        size, start, shape = ctx.frame  # pyright: ignore[reportAttributeAccessIssue]
        to_image, to_psf = ctx.needs_input_grad[:2]  # pyright: ignore[reportAttributeAccessIssue]
        if torch.is_grad_enabled():
            # Somebody differentiates the gradient: the kept spectra are constants to autograd.
            spectrum = torch.fft.rfft2(image, s=size)
            transfer = torch.fft.rfft2(psf, s=size)
        top, left = start
        border = (left, size[1] - left - shape[1], top, size[0] - top - shape[0])
        slope = torch.fft.rfft2(functional.pad(gradient, border))
        image_gradient = psf_gradient = None
        if to_image:
            product = _filtered_back(slope, transfer, image.shape[1])
            image_gradient = _cut(product, size, (0, 0), image.shape[-2:])
        if to_psf:
            product = _correlated(slope, spectrum, psf.shape[1])
            psf_gradient = _cut(product, size, (0, 0), psf.shape[-2:])
        return image_gradient, psf_gradient, None


class _ForwardSpectralProduct(_SpectralProduct):
    """With a derivative in forward mode, which torch.compile refuses."""

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx,
        inputs: tuple[Tensor, Tensor, _Frame],
        output: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        _SpectralProduct.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0], inputs[1])

    @staticmethod
    def jvp(
        ctx: torch.autograd.function.FunctionCtx,
        image: Tensor | None,
        psf: Tensor | None,
        frame: None,
    ) -> tuple[Tensor | None, None, None]:
        size, start, shape = ctx.frame  # pyright: ignore[reportAttributeAccessIssue]
        given = ctx.saved_tensors[:2]  # pyright: ignore[reportAttributeAccessIssue]
        change = None
        for moved, kernel in ((image, given[1]), (given[0], psf)):
            if moved is not None and kernel is not None:
                spectrum = torch.fft.rfft2(moved, s=size)
                product = _filtered(spectrum, torch.fft.rfft2(kernel, s=size))
                change = product if change is None else change + product
        return None if change is None else _cut(change, size, start, shape), None, None


def _cut(
    product: Tensor, size: tuple[int, int], start: Sequence[int], shape: Sequence[int]
) -> Tensor:
    """Inverse transform of the wanted rows only, then of the columns, cropped."""
    rows = torch.fft.ifft(product, n=size[0], dim=-2).narrow(-2, start[0], shape[0])
    return torch.fft.irfft(rows, n=size[1]).narrow(-1, start[1], shape[1])


def _mixes(channels: int, transfer: Tensor) -> bool:
    return transfer.shape[1] == channels and channels > 1


def _filtered(spectrum: Tensor, transfer: Tensor) -> Tensor:
    """Spectra ``[B, O, ...]`` behind a transfer function ``[O, 1 or C, ...]``."""
    channels = spectrum.shape[1]
    if _mixes(channels, transfer):
        return torch.einsum("bcyx,ocyx->boyx", spectrum, transfer)
    copies = transfer.unflatten(0, (-1, channels))[:, :, 0]
    return (spectrum[:, None] * copies).flatten(1, 2)


def _filtered_back(slope: Tensor, transfer: Tensor, channels: int) -> Tensor:
    """Adjoint of :func:`_filtered` in the spectrum: ``[B, O, ...]`` to ``[B, C, ...]``."""
    if _mixes(channels, transfer):
        return torch.einsum("boyx,ocyx->bcyx", slope, transfer.conj())
    copies = transfer.unflatten(0, (-1, channels))[:, :, 0]
    return (slope.unflatten(1, (-1, channels)) * copies.conj()).sum(1)


def _correlated(slope: Tensor, spectrum: Tensor, in_channels: int) -> Tensor:
    """Adjoint of :func:`_filtered` in the transfer function, summed over the batch."""
    channels = spectrum.shape[1]
    if in_channels > 1:
        return torch.einsum("boyx,bcyx->ocyx", slope, spectrum.conj())
    copies = slope.unflatten(1, (-1, channels)) * spectrum[:, None].conj()
    return copies.sum(0).flatten(0, 1)[:, None]


def dft_matrix(
    samples: int,
    size: int,
    *,
    step: float | Sequence[float] | Tensor,
    norm: Norm = "backward",
    dtype: torch.dtype = torch.complex128,
    device: torch.device | str | None = None,
) -> Tensor:
    """Matrix of a discrete Fourier transform to freely chosen, centred output samples.

    ``M[k, j] = exp(-i 2 pi step (k - size // 2) (j - samples // 2))``, so that ``M @ u`` is the
    transform of ``u`` at the frequencies ``(k - size // 2) * step`` cycles per sample. With
    ``step = 1 / samples`` and ``size = samples`` it is the centred FFT (Soummer et al., Opt.
    Express 15:15935, 2007).

    Parameters
    ----------
    samples, size : int
        Samples of the input and of the output.
    step : float, sequence of floats, or Tensor ``[...]``, cycles/sample
        Frequency interval of the output. Several give one matrix each. Matrices for floats are
        cached, and a copy is returned; for a tensor they are a part of its graph.
    norm : {"backward", "ortho", "forward"}
        Factor of the matrix: 1, ``sqrt(step)`` or ``step``. With ``step = 1 / samples`` these are
        the norms of torch.fft with the same names.
    dtype : torch.dtype
        Complex dtype of the result; the phase is computed in float64.
    device : torch.device, optional
        Device of the result; for a tensor ``step`` it is that of the tensor.

    Returns
    -------
    Tensor, complex ``[..., size, samples]``

    Raises
    ------
    TypeError
        When a step is not a number.
    ValueError
        For samples that are not a whole number of at least 1, or an unknown norm.
    """
    samples, size = whole_number("samples", samples), whole_number("size", size)
    if norm not in [*DFT_NORM]:
        raise ValueError(f"norm must be one of {[*DFT_NORM]}, not {norm!r}")
    if isinstance(step, Tensor):
        return _dft_matrix(samples, size, step, norm, dtype)
    one = not isinstance(step, Sequence) and getattr(step, "ndim", 0) == 0  # numpy's are numbers
    for each in (step,) if one else step:  # pyright: ignore[reportGeneralTypeIssues]
        check_number("step", each, "cycles/sample")
    steps = float(step) if one else tuple(float(each) for each in step)  # pyright: ignore
    if device is None and not torch.compiler.is_compiling():  # which cannot trace the question
        device = torch.get_default_device()
    return kept_copy(
        ("matrix", samples, size, steps, norm, dtype, str(device)),
        lambda: _dft_matrix(
            samples, size, torch.tensor(steps, dtype=torch.float64, device=device), norm, dtype
        ),
    )


def kept_copy(key: Hashable, make: Callable[[], Tensor]) -> Tensor:
    """A copy of a :func:`kept` tensor, for code outside of this package that may change it."""
    if torch.compiler.is_compiling():
        return make()  # nothing is kept
    with torch.inference_mode(False):
        return kept(key, make).clone()


def kept(key: Hashable, make: Callable[[], _Kernel]) -> _Kernel:
    """Constant kernels of a key, made at the first call and then cached.

    All callers share them: code outside of this package gets a :func:`kept_copy`.
    """
    # Under a dispatch mode, such as for tensors without data, the result must not be cached.
    if torch.compiler.is_compiling() or _len_torch_dispatch_stack() > 0:
        return make()  # without a mode of its own, which an exported graph would leave changed
    if key in _matrices:
        return _matrices[key][0]
    # Not an inference tensor, nor one that a transform of torch.func tracks, even if they call
    # first: the next caller may train, and the transform has ended by then.
    with torch.inference_mode(False), torch.no_grad(), temporarily_clear_interpreter_stack():
        kernel = make()
    _matrices[key] = kernel, _bytes_of(kernel)
    while len(_matrices) > _KEPT_MATRICES or (
        len(_matrices) > 1 and sum(size for _, size in [*_matrices.values()]) > _KEPT_BYTES
    ):
        _matrices.pop(next(iter(_matrices)), None)  # or another thread has
    return kernel


def _bytes_of(kernel: object) -> int:
    """Memory of a tensor, or of those in a tuple."""
    if isinstance(kernel, Tensor):
        return kernel.numel() * kernel.element_size()
    return sum(map(_bytes_of, kernel)) if isinstance(kernel, tuple) else 0


def _dft_matrix(samples: int, size: int, step: Tensor, norm: Norm, dtype: torch.dtype) -> Tensor:
    out = coordinates(size, device=step.device)[:, None]
    turns = step.double()[..., None, None] * out * coordinates(samples, device=step.device)
    # Whole turns change nothing but the accuracy of sine and cosine.
    phase = -2 * torch.pi * (turns - turns.detach().round())
    factor = step.double()[..., None, None] ** DFT_NORM[norm]
    return torch.complex(factor * torch.cos(phase), factor * torch.sin(phase)).to(dtype)


def matrix_dft(field: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Two-dimensional transform ``rows @ field @ columns^T`` with kernels of :func:`dft_matrix`.

    Parameters
    ----------
    field : Tensor, complex or real ``[..., H, W]``
    rows : Tensor, complex ``[..., h, H]``
    columns : Tensor, complex ``[..., w, W]``

    Returns
    -------
    Tensor, complex ``[..., h, w]``
        The leading dimensions are broadcast.

    Raises
    ------
    ValueError
        When the sizes do not fit.
    """
    check_complex("field", field, "[..., H, W]")
    check_complex("rows", rows, "[..., h, H]")
    check_complex("columns", columns, "[..., w, W]")
    if rows.shape[-1] != field.shape[-2] or columns.shape[-1] != field.shape[-1]:
        raise ValueError(
            f"rows [..., h, H] and columns [..., w, W] must fit the field [..., H, W]; they are "
            f"{tuple(rows.shape)}, {tuple(columns.shape)} and {tuple(field.shape)}"
        )
    return rows @ field.to(rows.dtype) @ columns.mT


def phasor(phase: Tensor) -> Tensor:
    """``exp(i phase)``, complex, in half the time of torch.polar.

    The gradient is computed from the result: cosine and sine are computed once. Half precision is
    computed, and returned, in single precision.
    """
    phase = single(phase)
    if torch.compiler.is_compiling():  # which writes a gradient of its own, but none for this
        return torch.complex(torch.cos(phase), torch.sin(phase))
    return _Phasor.apply(phase)


class _Phasor(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(phase: Tensor) -> Tensor:
        return torch.complex(torch.cos(phase), torch.sin(phase))

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor
    ) -> None:
        # The result is kept as such, so that a gradient of the gradient passes through it.
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def jvp(ctx: torch.autograd.function.FunctionCtx, phase: Tensor) -> Tensor:
        return 1j * ctx.saved_tensors[0] * phase  # pyright: ignore[reportAttributeAccessIssue]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        return (ctx.saved_tensors[0].conj() * gradients[0]).imag  # pyright: ignore[reportAttributeAccessIssue]


def squared_modulus(field: Tensor) -> Tensor:
    """``|field|^2``, with a gradient of 0 where the field is 0, unlike that of ``abs``."""
    return field.real.square() + field.imag.square() if field.is_complex() else field.square()
