"""Audits: whether each gradient is there and right, and the pupil sampled finely enough.

Both leave what they look at untouched. The gradient audit costs some dozen evaluations and is for
tests; the sampling audit costs one transform and one PSF, and its tensors can be penalties.
"""

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from .psf import psf_from_pupil
from .pupil import Pupil

__all__ = [
    "GradientAudit",
    "GradientEntry",
    "GradientFault",
    "SamplingAudit",
    "audit_gradients",
    "audit_sampling",
]

Verdict = Literal["ok", "zero", "not finite", "disagrees", "no gradient"]

_REASON: dict[str, str] = {
    "ok": "",
    "zero": "the gradient is zero: a step of training changes nothing",
    "not finite": "the gradient, or the result itself, is NaN or infinite",
    "disagrees": "not the slope of what is computed; by design for a straight-through quantiser",
    "no gradient": "no path from it to the result: detached, or not used",
}

# Steps of a quantity, relative to its size and to `step`. One that is zero has no size to tell:
# metres and radians are both possible, so that a wide range is tried.
_STEPS = tuple(10.0**k for k in range(3, -4, -1))
_STEPS_OF_ZERO = tuple(10.0**k for k in range(4, -9, -1))

# Rounding error of a loss relative to the sum of its terms' moduli, and what counts as zero.
_ROUNDING = 1e-15
_NOTHING = 1e-14


class GradientEntry(NamedTuple):
    """What was found for one quantity.

    Attributes
    ----------
    name : str
        Of the parameter, or ``inputs[i]``.
    norm : float
        Euclidean norm of the gradient; NaN where there is none.
    slope, difference : float
        Derivative along a random direction by the gradient, and by finite differences.
    verdict : {"ok", "zero", "not finite", "disagrees", "no gradient"}
    """

    name: str
    norm: float
    slope: float
    difference: float
    verdict: Verdict


class GradientAudit(NamedTuple):
    """What :func:`audit_gradients` found; ``str`` of it is a table."""

    entries: tuple[GradientEntry, ...]

    @property
    def faults(self) -> tuple[GradientEntry, ...]:
        """The entries whose verdict is not "ok"."""
        return tuple(entry for entry in self.entries if entry.verdict != "ok")

    def __str__(self) -> str:
        width = max(len("quantity"), *(len(entry.name) for entry in self.entries))
        lines = [f"{'quantity':{width}}  {'norm':>10}  {'slope':>13}  {'difference':>13}  verdict"]
        for entry in self.entries:
            reason = _REASON[entry.verdict]
            lines.append(
                f"{entry.name:{width}}  {entry.norm:10.3e}  {entry.slope:13.6e}  "
                f"{entry.difference:13.6e}  {entry.verdict}{f' ({reason})' if reason else ''}"
            )
        return "\n".join(lines)


class GradientFault(AssertionError):
    """A gradient is missing, zero, not finite or wrong; :attr:`audit` holds all entries."""

    def __init__(self, audit: GradientAudit) -> None:
        self.audit = audit
        super().__init__(
            f"{len(audit.faults)} of {len(audit.entries)} gradients are at fault\n{audit}"
        )


def audit_gradients(
    module: nn.Module,
    inputs: Tensor | tuple[Tensor, ...],
    *,
    call: Callable[..., Any] | None = None,
    step: float = 1e-6,
    rtol: float = 1e-4,
    generator_seed: int = 0,
    raise_on_fault: bool = True,
) -> GradientAudit:
    """Compare the gradient of each trainable quantity with a finite difference, in float64.

    ::

        copy of the module ──call──► outputs ──random fixed weights──► loss ──► slope along a
        inputs + h d                                                   random direction d

    Parameters
    ----------
    module : nn.Module
        Audited on a deep copy in float64: itself, its mode and its gradients stay as they are.
        A conversion to float32 inside of it shows as a disagreement.
    inputs : Tensor or tuple of Tensor
        Arguments of the call. Floating and complex ones are audited like the parameters that
        require a gradient; others, as labels, are passed on. Give values inside of any bounds: on
        a bend, as a pixel of exactly 0 that is clipped, no difference tells the gradient.
    call : callable, optional
        ``call(module, *inputs)`` instead of ``module(*inputs)``; it is given the copy.
    step : float
        Centre of the steps that are tried, relative to the largest element of a quantity.
    rtol : float
        Allowed relative difference, beside the rounding error.
    generator_seed : int
        Of the weights and the directions, and of the noise: a call with an argument ``generator``
        gets an equal, fresh one at each evaluation, and torch's own generators start alike, so
        that all evaluations see the same noise. They are put back afterwards.
    raise_on_fault : bool
        Raise, or only return what was found.

    Returns
    -------
    GradientAudit

    Raises
    ------
    GradientFault
        When a gradient is missing, zero, not finite, or wrong. Its message is a table.
    ValueError
        When nothing in the module or the inputs is trainable, or no output is a floating tensor.

    Notes
    -----
    The difference is that of the step about which it changes least, whatever the gradient says:
    picking the one that agrees best would let a wrong gradient pass. A straight-through quantiser
    disagrees by design, since its gradient is not that of the staircase; audit the stage without
    it, or look at the entries. At a symmetry, as a defocus of exactly zero, the true gradient is
    zero: audit at another point.
    """
    if not step > 0 or not rtol > 0:
        raise ValueError(f"step and rtol must be positive, not {step} and {rtol}")
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    with torch.inference_mode(False), torch.enable_grad():
        audited = copy.deepcopy(module)._apply(_in_double)
        arguments = tuple(_in_double(value.detach().clone()) for value in given)
        quantities: dict[str, Tensor] = {
            name: value for name, value in audited.named_parameters() if value.requires_grad
        }
        for number, value in enumerate(arguments):
            if value.is_floating_point() or value.is_complex():
                quantities[f"inputs[{number}]"] = value.requires_grad_()
        if not quantities:
            raise ValueError(
                f"nothing to audit: {type(module).__name__} has no parameter that requires a "
                "gradient, and no input is floating point"
            )
        loss = _Loss(audited, arguments, call, generator_seed)
        with _same_global_generators(quantities):
            value = loss()
            found: tuple[Tensor | None, ...] = (None,) * len(quantities)
            if value.requires_grad:
                found = torch.autograd.grad(value, [*quantities.values()], allow_unused=True)
            source = torch.Generator().manual_seed(generator_seed + 1)
            entries = tuple(
                _examined(name, quantity, gradient, loss=loss, step=step, rtol=rtol, source=source)
                for (name, quantity), gradient in zip(quantities.items(), found, strict=True)
            )
    audit = GradientAudit(entries)
    if raise_on_fault and audit.faults:
        raise GradientFault(audit)
    return audit


def _in_double(value: Tensor) -> Tensor:
    if value.is_complex():
        return value.to(torch.complex128)
    return value.double() if value.is_floating_point() else value


@contextlib.contextmanager
def _same_global_generators(quantities: Mapping[str, Tensor]) -> Iterator[None]:
    """Put the generators of the devices in use back at the end."""
    devices = {q.device.index or 0 for q in quantities.values() if q.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices)):
        yield


class _Loss:
    """A random fixed projection of all outputs, each relative to its own first norm."""

    def __init__(
        self,
        module: nn.Module,
        arguments: tuple[Tensor, ...],
        call: Callable[..., Any] | None,
        seed: int,
    ) -> None:
        self.module, self.arguments, self.call, self.seed = module, arguments, call, seed
        self.takes_generator = "generator" in inspect.signature(call or module.forward).parameters
        # Counters and running means that a call moves go back before the next one.
        self.buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        tensors = (*arguments, *module.parameters(), *module.buffers())
        self.device = tensors[0].device if tensors else torch.device("cpu")
        self.weights: list[Tensor] | None = None
        #: Sum of the moduli of the terms: what the rounding error is relative to.
        self.size = 0.0

    def __call__(self) -> Tensor:
        with torch.no_grad():
            for buffer, kept in self.buffers:
                buffer.copy_(kept)
        torch.default_generator.manual_seed(self.seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(self.seed)
        options: dict[str, Any] = {}
        if self.takes_generator:
            options["generator"] = torch.Generator(self.device).manual_seed(self.seed)
        if self.call is None:
            result = self.module(*self.arguments, **options)
        else:
            result = self.call(self.module, *self.arguments, **options)
        outputs = [_as_real(value) for value in _floating(result)]
        if not outputs:
            raise ValueError(
                f"the call of {type(self.module).__name__} returned no floating tensor, but "
                f"{type(result).__name__}"
            )
        if self.weights is None:
            self.weights = [self._weight(output, n) for n, output in enumerate(outputs)]
            pairs = zip(self.weights, outputs, strict=True)
            self.size = sum(float((w * output.detach()).abs().sum()) for w, output in pairs)
        products = [(w * y).sum() for w, y in zip(self.weights, outputs, strict=True)]
        return torch.stack([product.to(self.device) for product in products]).sum()

    def _weight(self, output: Tensor, number: int) -> Tensor:
        source = torch.Generator().manual_seed(self.seed + 1000 + number)
        weight = torch.randn(output.shape, dtype=torch.float64, generator=source)
        norm = output.detach().double().norm()
        return weight.to(output.device) / torch.where(norm > 0, norm, 1.0)


def _floating(result: object) -> Iterator[Tensor]:
    """All floating and complex tensors in a result, in a fixed order."""
    if isinstance(result, Tensor):
        if result.is_floating_point() or result.is_complex():
            yield result
    elif isinstance(result, Mapping):
        for value in result.values():
            yield from _floating(value)
    elif isinstance(result, tuple | list):
        for value in result:
            yield from _floating(value)
    elif is_dataclass(result):
        for field in fields(result):
            yield from _floating(getattr(result, field.name))


def _as_real(value: Tensor) -> Tensor:
    return torch.view_as_real(value) if value.is_complex() else value


def _examined(
    name: str,
    quantity: Tensor,
    gradient: Tensor | None,
    *,
    loss: _Loss,
    step: float,
    rtol: float,
    source: torch.Generator,
) -> GradientEntry:
    """Judge one gradient."""
    direction = torch.randn(quantity.shape, dtype=quantity.dtype, generator=source)
    direction = direction.to(quantity.device)
    largest = float(quantity.detach().abs().max()) if quantity.numel() else 0.0
    difference, rounding = _difference(quantity, direction, largest, loss=loss, step=step)
    if gradient is None:
        return GradientEntry(name, math.nan, math.nan, difference, "no gradient")
    norm = float(gradient.norm())
    slope = float((_as_real(gradient) * _as_real(direction)).sum())
    verdict: Verdict = "ok"
    if not math.isfinite(norm) or not math.isfinite(difference):
        verdict = "not finite"
    elif norm * (largest or 1.0) <= _NOTHING * loss.size:
        verdict = "zero"
    elif not abs(slope - difference) <= rtol * max(abs(slope), abs(difference)) + rounding:
        verdict = "disagrees"
    return GradientEntry(name, norm, slope, difference, verdict)


def _difference(
    quantity: Tensor, direction: Tensor, largest: float, *, loss: _Loss, step: float
) -> tuple[float, float]:
    """Central difference at the step about which it changes least, and its rounding error."""
    start = quantity.detach().clone()
    steps = [
        step * (largest or 1.0) * factor for factor in (_STEPS if largest > 0 else _STEPS_OF_ZERO)
    ]
    slopes: list[float] = []
    with torch.no_grad():
        for width in steps:
            ends = [float(_loss_at(quantity, start + s * width * direction, loss)) for s in (1, -1)]
            slopes.append((ends[0] - ends[1]) / (2 * width))
        quantity.copy_(start)
    answer, doubt = (math.nan, 0.0), math.inf
    for before, best, width in zip(slopes, slopes[1:], steps[1:], strict=False):
        # A difference of two equal losses never changes: the rounding error has to count too.
        rounding = _ROUNDING * loss.size / width
        if abs(best - before) + rounding < doubt:
            doubt = abs(best - before) + rounding
            answer = (best, rounding)
    return answer


def _loss_at(quantity: Tensor, value: Tensor, loss: _Loss) -> Tensor:
    """Loss with another value in a quantity's place."""
    quantity.copy_(value)
    return loss()


class SamplingAudit(NamedTuple):
    """How well a pupil is sampled at its L wavelengths; tensors ``[L]`` or ``[D, L]``.

    Attributes
    ----------
    phase_step : Tensor, radians
        Largest phase difference of neighbouring open samples, in 0..pi. A step of ``a`` sends
        light to ``a / pi`` of half a period of the PSF; from pi on it comes in again at the other
        side, and as it is wrapped such a step cannot be told from a smaller one. A mask with
        jumps by design, as a binary one, has large steps.
    q : Tensor ``[L]``
        ``lambda f / (D p)``, pixels in a unit of diffraction.
    cutoff : Tensor ``[L]``, cycles/pixel
        Highest frequency of the PSF, ``1 / q``. Above 1/2 the PSF is aliased; above 1 its
        amplitude is too, and its sum is not its light.
    wrap_energy : Tensor
        Fraction of the passed light outside of the central half of the PSF's period.
    window_loss : Tensor
        Fraction of the passed light outside of the window ``psf_size``; meaningful for q >= 1.
    wavelength : Tensor ``[L]``, metres
    """

    phase_step: Tensor
    q: Tensor
    cutoff: Tensor
    wrap_energy: Tensor
    window_loss: Tensor
    wavelength: Tensor

    def problems(self) -> list[str]:
        """Judgements in words, with numbers, the worst of all depths; empty when all is well."""
        found: list[str] = []
        for band, wavelength in enumerate(self.wavelength.tolist()):
            at = f"at {wavelength * 1e9:.4g} nm "
            phase_step, q, cutoff, wrap, loss = (
                v.detach()[..., band].reshape(-1) for v in self[:5]
            )
            if float(phase_step.max()) > math.pi / 2:
                found.append(
                    f"{at}the phase changes by up to {float(phase_step.max()):.3g} radians from "
                    "sample to sample of the pupil, more than pi/2: use a finer pupil"
                )
            if float(q.min()) < 2:
                found.append(
                    f"{at}Q = lambda f / (D p) is {float(q.min()):.3g}, below 2: the PSF holds up "
                    f"to {float(cutoff.max()):.3g} cycles/pixel and is aliased above 0.5"
                )
            if float(wrap.max()) > 0.01:
                found.append(
                    f"{at}{100 * float(wrap.max()):.3g} % of the light falls outside of the "
                    "central half of the PSF's period, more than 1 %: use a finer pupil"
                )
            if float(loss.max()) > 0.05:
                found.append(
                    f"{at}{100 * float(loss.max()):.3g} % of the light falls outside of the "
                    "window, more than 5 %: use a larger psf_size"
                )
        return found


def audit_sampling(module: nn.Module, *, distance: Tensor | float | None = None) -> SamplingAudit:
    """Measure how well the pupil of a front end is sampled.

    Parameters
    ----------
    module : nn.Module
        A :class:`optics.Pupil`, or a module that contains exactly one.
    distance : Tensor ``[D]`` or float, metres, optional
        Of the point source in front of the pupil; the focus if not given.

    Returns
    -------
    SamplingAudit
        With gradients to the pupil's elements, except for ``q`` and ``cutoff``, which they do not
        change. Call ``problems()`` for words.

    Raises
    ------
    ValueError
        For a module with no pupil or several.

    Notes
    -----
    ``q`` and ``cutoff`` after Goodman, Fourier Optics, sec. 6.3 (the cut-off of the intensity is
    ``D / (lambda f)``). Where the light falls in its period is integrated from the pupil's
    transform, padded to twice its size, because the intensity has twice the bandwidth of the
    amplitude; no window and no pixel enters.
    """
    pupils = [part for part in module.modules() if isinstance(part, Pupil)]
    if len(pupils) != 1:
        raise ValueError(
            f"module must be a Pupil or contain exactly one; {type(module).__name__} contains "
            f"{len(pupils)}"
        )
    pupil = pupils[0]
    field = pupil.field(distance=distance)
    psf = psf_from_pupil(
        field,
        wavelength=pupil.wavelengths,
        focal_length=pupil.focal_length,
        pupil_spacing=pupil.spacing,
        pixel_pitch=pupil.pixel_pitch,
        size=pupil.psf_size,
    )
    wavelength = torch.tensor(pupil.wavelengths, dtype=torch.float64, device=field.device)
    q = torch.tensor(pupil.q_sampling, dtype=torch.float64, device=field.device)
    return SamplingAudit(
        phase_step=_phase_step(field),
        q=q,
        cutoff=1 / q,
        wrap_energy=_wrap_energy(field),
        window_loss=1 - psf.sum((-2, -1)),
        wavelength=wavelength,
    )


def _phase_step(field: Tensor) -> Tensor:
    """Largest phase difference of neighbours that both pass light."""
    if not field.is_complex():
        field = torch.complex(field, torch.zeros_like(field))
    dark = field.detach().abs() <= 1e-3
    steps = [torch.zeros_like(field.real[..., 0, :1])]
    for axis, size in ((-2, field.shape[-2]), (-1, field.shape[-1])):
        near, far = field.narrow(axis, 0, size - 1), field.narrow(axis, 1, size - 1)
        unlit = dark.narrow(axis, 0, size - 1) | dark.narrow(axis, 1, size - 1)
        # The angle of zero has no gradient.
        turn = torch.where(unlit, 1.0, far * near.conj())
        steps.append(torch.atan2(turn.imag, turn.real).abs().flatten(-2))
    return torch.cat(steps, -1).amax(-1)


def _wrap_energy(field: Tensor) -> Tensor:
    """Fraction of the light further than a quarter of a period from the axis, along y or x."""
    height, width = (2 * n for n in field.shape[-2:])
    spectrum = torch.fft.fft2(field, s=(height, width))
    energy = (spectrum.real.square() + spectrum.imag.square()).double()
    rows, columns = (_central_half(n, field.device) for n in (height, width))
    inside = torch.einsum("...yx,y,x->...", energy, rows, columns)
    return 1 - inside / energy.sum((-2, -1)).clamp_min(torch.finfo(energy.dtype).tiny)


def _central_half(samples: int, device: torch.device) -> Tensor:
    """Weights of the samples of a period whose sum is the integral over its central half.

    The irradiance is a trigonometric polynomial, whose coefficients are the autocorrelation of
    the pupil; each term ``exp(2 pi i m f)`` is integrated over |f| <= 1/4 in closed form.
    """
    lag = torch.fft.fftfreq(samples, 1 / samples, dtype=torch.float64, device=device)
    return torch.fft.fft(torch.sinc(lag / 2) / 2).real
