"""Audit of gradients: whether each one exists and is correct.

The audit does not change the module. It costs some dozen evaluations, and is meant for tests.
"""

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from .quantity import check_tensor, index_of, one_number

__all__ = ["GradientAudit", "GradientEntry", "GradientFault", "audit_gradients"]

Verdict = Literal["ok", "zero", "not finite", "disagrees", "no gradient"]

_REASON: dict[str, str] = {
    "ok": "",
    "zero": "the gradient is zero: a step of training changes nothing",
    "not finite": "the gradient, or the result itself, is NaN or infinite",
    "disagrees": (
        "not the slope of what is computed; by design for a straight-through quantiser, or a "
        "conversion to float32 inside, whose rounding the difference sees"
    ),
    "no gradient": "no path from it to the result: detached, or not used",
}

# Steps of a quantity, relative to its size and to `step`. The scale of a quantity that is zero is
# unknown, metres or radians, so that a wider range is tried.
_STEPS = tuple(10.0**k for k in range(3, -4, -1))
_STEPS_OF_ZERO = tuple(10.0**k for k in range(4, -9, -1))

# Rounding error of a loss relative to the sum of its terms' moduli, and what counts as zero.
_ROUNDING = 1e-15
_NOTHING = 1e-14


class GradientEntry(NamedTuple):
    """Result of :func:`audit_gradients` for one quantity.

    Attributes
    ----------
    name : str
        Name of the parameter, or ``inputs[i]``.
    norm : float
        Euclidean norm of the gradient; NaN if there is none.
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
    """Result of :func:`audit_gradients`; ``str`` of it is a table."""

    entries: tuple[GradientEntry, ...]
    """One for each trainable quantity and input."""

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
    """A gradient is missing, zero, not finite or wrong; ``audit`` holds all entries."""

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
        Module to audit, on a deep copy in float64: the module itself, its mode and its gradients do
        not change. A conversion to float32 inside of it shows as a disagreement.
    inputs : Tensor or tuple of Tensor, of any shapes
        Arguments of the call. Floating-point and complex ones are audited like the parameters that
        require a gradient; others, such as labels, are passed unchanged. Give values inside of any
        bounds: at a kink, such as a pixel of exactly 0 that is clipped, a finite difference is not
        the gradient.
    call : callable, optional
        ``call(module, *inputs)`` instead of ``module(*inputs)``; it receives the copy.
    step : float
        Centre of the steps that are tried, relative to the largest element of a quantity.
    rtol : float
        Allowed relative difference, in addition to the rounding error.
    generator_seed : int
        Seed of the weights, the directions and the noise. A call with an argument ``generator``
        gets a new one with the same seed at each evaluation, and torch's global generators are set
        to the same state, so that all evaluations have the same noise. They are restored
        afterwards.
    raise_on_fault : bool
        Raise an error for faults; if False, only return the result.

    Returns
    -------
    GradientAudit

    Raises
    ------
    TypeError
        When the module is not a module, an input not a Tensor, or ``call`` not a function.
    GradientFault
        When a gradient is missing, zero, not finite, or wrong. Its message is a table.
    ValueError
        When nothing in the module or the inputs is trainable, no output is a floating tensor, or
        the seed is not whole.

    Notes
    -----
    The finite difference is taken at the step about which it changes least, independent of the
    gradient: choosing the one that agrees best would let a wrong gradient pass. A straight-through
    quantiser disagrees by design, since its gradient is not that of the staircase; audit the stage
    without it, or inspect the entries. At a symmetry, such as a defocus of exactly zero, the true
    gradient is zero: audit at another point.
    """
    step, rtol = one_number("step", step), one_number("rtol", rtol)
    if not step > 0 or not rtol > 0:
        raise ValueError(f"step and rtol must be positive, not {step} and {rtol}")
    seed = index_of(generator_seed)
    if seed is None:
        raise ValueError(f"generator_seed must be a whole number, not {generator_seed!r}")
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module, not {type(module).__name__}: of a function give "
            "any module, and call=lambda module, *inputs: ..."
        )
    if call is not None and not callable(call):
        raise TypeError(f"call must be a function, call(module, *inputs), not {call!r}")
    given = (inputs,) if isinstance(inputs, Tensor) else inputs
    if not isinstance(given, Iterable):
        raise TypeError(f"inputs must be a Tensor or a tuple of them, not {inputs!r}")
    given = tuple(given)
    for number, value in enumerate(given):
        check_tensor(f"inputs[{number}]", value)
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
        loss = _Loss(audited, arguments, call, seed)
        with _same_global_generators(quantities):
            value = loss()
            found: tuple[Tensor | None, ...] = (None,) * len(quantities)
            if value.requires_grad:
                found = torch.autograd.grad(value, [*quantities.values()], allow_unused=True)
            source = torch.Generator().manual_seed(seed + 1)
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
