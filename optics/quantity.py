"""Physical quantities: what a public function asks of its arguments.

An error names the argument and its unit, what came and what is allowed. Values are looked at on
the CPU only, because looking at a tensor on an accelerator would stop it, and neither while
compiling nor under ``torch.vmap``, where there are none; shapes and types are checked everywhere.
"""

import math

import torch
from torch import Tensor, nn

__all__ = [
    "check_between",
    "check_complex",
    "check_finite",
    "check_positive",
    "check_real",
    "hold",
    "image_size",
    "is_finite",
    "looked_at",
    "map_size",
]


def looked_at(value: Tensor) -> bool:
    """Whether the numbers of a tensor are there, and cost nothing to look at."""
    return (
        value.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch._C._functorch.is_batchedtensor(value)  # pyright: ignore[reportAttributeAccessIssue]
    )


def check_positive(name: str, value: float | Tensor, unit: str) -> None:
    """Raise a ValueError unless ``value`` is finite and positive, everywhere if it is a tensor."""
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            raise ValueError(f"{name} must be real floating point in {unit}, not {value.dtype}")
        if not looked_at(value):
            return
        allowed = bool((torch.isfinite(value) & (value > 0)).all())
    else:
        allowed = 0 < value < float("inf")
    if not allowed:
        raise ValueError(f"{name} must be positive and finite, in {unit}, not {_shown(value)}")


def check_finite(name: str, value: float | Tensor, unit: str = "") -> None:
    """Raise a ValueError when ``value`` holds a NaN or an infinity."""
    if not is_finite(value):
        given = "NaN or infinite elements" if isinstance(value, Tensor) and value.ndim else value
        raise ValueError(f"{name} must be finite{f', in {unit}' if unit else ''}; it has {given}")


def is_finite(value: float | Tensor) -> bool:
    """Whether ``value`` has no NaN and no infinity; True for a tensor that is not looked at."""
    if not isinstance(value, Tensor):
        return -math.inf < value < math.inf
    if not looked_at(value):
        return True
    # The sum is not finite when an element is not, and costs a tenth of looking at each.
    return bool(torch.isfinite(value.detach().sum())) or bool(torch.isfinite(value).all())


def check_real(name: str, value: Tensor, shape: str) -> None:
    """Raise a ValueError unless ``value`` is real floating point ``[..., H, W]``, maybe none."""
    if value.ndim < 2 or 0 in value.shape[-2:] or not value.is_floating_point():
        raise ValueError(
            f"{name} must be real floating point {shape}, not {value.dtype} {tuple(value.shape)}"
        )


def check_between(name: str, value: float | Tensor, low: float, high: float, unit: str) -> None:
    """Raise a ValueError unless ``low <= value <= high``; ``high`` may be infinite."""
    check_finite(name, value, unit)
    if isinstance(value, Tensor):
        if not looked_at(value):
            return
        smallest, largest = float(value.detach().min()), float(value.detach().max())
    else:
        smallest = largest = value
    if smallest < low or largest > high:
        wanted = "0 or more" if high == math.inf else f"between {low:g} and {high:g}"
        raise ValueError(
            f"{name} must be {wanted}, in {unit}; it reaches "
            f"{smallest if smallest < low else largest:g}"
        )


def check_complex(name: str, value: Tensor, shape: str) -> None:
    """Raise a ValueError unless ``value`` is a field ``[..., H, W]``; a real one has no phase."""
    if (
        value.ndim < 2
        or 0 in value.shape[-2:]
        or not (value.is_complex() or value.is_floating_point())
    ):
        raise ValueError(
            f"{name} must be complex or real floating point {shape}, not {value.dtype} "
            f"{tuple(value.shape)}"
        )


def image_size(size: int | tuple[int, int], name: str = "size") -> tuple[int, int]:
    """Return ``size`` as (H, W), a single number for both."""
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"{name} must be (H, W) of at least 1 sample, not {size}")
    return height, width


def map_size(name: str, values: Tensor) -> tuple[int, int]:
    """Return the size (H, W) of a real, finite map ``[H, W]``."""
    if values.ndim != 2 or not values.is_floating_point() or values.numel() == 0:
        raise ValueError(
            f"{name} must be real floating point [H, W], not {values.dtype} {tuple(values.shape)}"
        )
    check_finite(name, values.detach())
    return values.shape[0], values.shape[1]


def hold(module: nn.Module, name: str, value: Tensor) -> None:
    """Make ``value`` a part of ``module``: a parameter stays the very same, a tensor is a buffer.

    An optimiser that was built on the caller's parameter must train this module.
    """
    if isinstance(value, nn.Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def _shown(value: float | Tensor) -> str:
    if isinstance(value, Tensor) and value.numel() > 4:
        return f"values from {float(value.min()):g} to {float(value.max()):g}"
    return str(value.tolist() if isinstance(value, Tensor) else value)
