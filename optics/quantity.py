"""Physical quantities: checks of the arguments of public functions.

An error names the argument and its unit, the given value and what is allowed. Values are checked
only on the CPU, because reading a tensor on an accelerator would make it wait. They are not checked
while compiling or under ``torch.vmap``, where there are none. Shapes and types are always checked.
"""

import math
import operator
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

__all__ = [
    "as_numbers",
    "as_picture",
    "as_real",
    "check_between",
    "check_complex",
    "check_extent",
    "check_finite",
    "check_number",
    "check_positive",
    "check_real",
    "check_scalar",
    "check_tensor",
    "check_wavelength",
    "differentiated",
    "full_precision",
    "has_values",
    "hold",
    "image_size",
    "index_of",
    "is_finite",
    "is_number",
    "looked_at",
    "map_size",
    "mapped",
    "one_number",
    "single",
    "whole_number",
]


def device_for(
    device: torch.device | str | None, *values: float | Tensor | None
) -> torch.device | str | None:
    """The given device, or that of the first tensor on an accelerator, or of the first tensor."""
    if device is not None:
        return device
    devices = [value.device for value in values if isinstance(value, Tensor)]
    return next((d for d in devices if d.type != "cpu"), devices[0] if devices else None)


def looked_at(value: Tensor) -> bool:
    """Whether the values of a tensor can be read without waiting for a device."""
    return value.device.type == "cpu" and has_values(value)


def has_values(value: Tensor) -> bool:
    """Whether a tensor has values, on any device.

    Functions that are called once, such as an inverse or an estimate, also read them on an
    accelerator.
    """
    if torch.compiler.is_compiling() or value.device.type == "meta":
        return False
    return not mapped(value)


def mapped(value: Tensor) -> bool:
    """Whether ``torch.vmap`` hides the values of a tensor."""
    if torch.compiler.is_compiling():
        return False
    # With per-picture gradients, vmap(grad(f)), the batched tensor is inside the tracked one.
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    while functorch.is_functorch_wrapped_tensor(value):
        if functorch.is_batchedtensor(value):
            return True
        value = functorch.get_unwrapped(value)
    return False


def differentiated(value: Tensor) -> bool:
    """Whether a derivative to ``value`` is recorded, in reverse or forward mode."""
    if torch.is_grad_enabled() and value.requires_grad:
        return True
    if torch.compiler.is_compiling():
        return False
    return forward_ad.unpack_dual(value).tangent is not None


def full_precision(value: Tensor) -> torch.autocast:
    """Context without autocast: the range of half precision is too small for light."""
    device = value.device.type
    # There is no autocast for tensors without data, and torch raises an error for their device.
    return torch.autocast("cpu" if device == "meta" else device, enabled=False)


def single(value: Tensor) -> Tensor:
    """The value itself, or in float32 or complex64 where it is of half precision."""
    if value.dtype == torch.complex32:
        return value.to(torch.complex64)
    half = value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


def check_positive(name: str, value: float | Tensor, unit: str = "") -> None:
    """Raise a ValueError unless ``value`` is finite and positive, everywhere if it is a tensor."""
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            wanted = f"real floating point in {unit}" if unit else "real floating point"
            raise ValueError(f"{name} must be {wanted}, not {value.dtype}")
        if not looked_at(value):
            return
        allowed = bool((torch.isfinite(value) & (value > 0)).all())
    else:
        check_number(name, value, unit)
        allowed = 0 < value < float("inf")
    if not allowed:
        raise ValueError(f"{name} must be positive and finite{_in(unit)}, not {_shown(value)}")


def check_finite(name: str, value: float | Tensor, unit: str = "") -> None:
    """Raise a ValueError when ``value`` holds a NaN or an infinity."""
    check_number(name, value, unit)
    if not is_finite(value):
        given = "NaN or infinite elements" if isinstance(value, Tensor) and value.ndim else value
        raise ValueError(f"{name} must be finite{_in(unit)}; it has {given}")


def check_tensor(name: str, value: object) -> None:
    """Raise a TypeError unless ``value`` is a Tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a Tensor, not {type(value).__name__}: make one of an array with "
            "torch.as_tensor"
        )


def check_number(name: str, value: object, unit: str = "") -> None:
    """Raise a TypeError unless ``value`` is a Tensor or one real number; True is neither."""
    if isinstance(value, Tensor):
        known = value.ndim > 0 or not _is_switch(value)
    else:
        known = is_number(value)
    if not known:
        raise TypeError(
            f"{name} must be one number or a Tensor{_in(unit)}, not {value!r}; make a Tensor of "
            "several, with torch.tensor"
        )


def check_scalar(name: str, value: object, unit: str = "", *, remedy: str = "") -> None:
    """Raise a TypeError unless ``value`` is one real number, also as a Tensor.

    A ValueError for a complex Tensor. ``remedy`` is the advice if several were given.
    """
    if isinstance(value, Tensor) and value.is_complex() and value.numel() == 1:
        raise ValueError(f"{name} must be real, not {value.dtype}")
    if not is_number(value):
        several = isinstance(value, Tensor | np.ndarray | Sequence) and not isinstance(value, str)
        advice = f"; {remedy}" if several and remedy else ""
        given = _shown(value) if isinstance(value, Tensor) and value.numel() else repr(value)
        raise TypeError(f"{name} must be one number{_in(unit)}, not {given}{advice}")


def one_number(
    name: str, value: float | Tensor, unit: str = "", *, remedy: str = "", learned: str = ""
) -> float:
    """Return ``value`` as a float, checked by :func:`check_scalar`.

    Raise a TypeError for a Tensor that requires a gradient, which would not be trained; ``learned``
    is the advice what to train instead.
    """
    check_scalar(name, value, unit, remedy=remedy)
    if isinstance(value, Tensor) and value.requires_grad:
        instead = f", or {learned}" if learned else ""
        raise TypeError(
            f"{name} is not learned here, as only its value is used: give a float{_in(unit)}, "
            f"such as {float(value.detach()):g}{instead}"
        )
    return float(value)


def is_finite(value: float | Tensor) -> bool:
    """Whether ``value`` has no NaN and no infinity; True for a tensor that is not checked."""
    if not isinstance(value, Tensor):
        return -math.inf < value < math.inf
    if not looked_at(value):
        return True
    value = single(value.detach())  # torch sums no complex numbers of half precision
    # The sum is not finite when an element is not, and costs a tenth of looking at each.
    return bool(torch.isfinite(value.sum())) or bool(torch.isfinite(value).all())


def check_real(name: str, value: Tensor, shape: str) -> None:
    """Raise a ValueError unless ``value`` is real floating point ``[..., H, W]``, maybe none."""
    check_tensor(name, value)
    if value.ndim < 2 or 0 in value.shape[-2:] or not value.is_floating_point():
        raise ValueError(
            f"{name} must be real floating point {shape}, not {value.dtype} {tuple(value.shape)}"
        )


def check_between(
    name: str, value: float | Tensor, low: float, high: float, unit: str = ""
) -> None:
    """Raise a ValueError unless ``low <= value <= high``; ``high`` may be infinite."""
    check_finite(name, value, unit)
    if isinstance(value, Tensor):
        if value.is_complex():
            raise ValueError(f"{name} must be real{_in(unit)}, not {value.dtype}")
        if not looked_at(value) or not value.numel():
            return
        smallest, largest = float(value.detach().min()), float(value.detach().max())
    else:
        smallest = largest = value
    if smallest < low or largest > high:
        wanted = "0 or more" if high == math.inf else f"between {low:g} and {high:g}"
        raise ValueError(
            f"{name} must be {wanted}{_in(unit)}; it reaches "
            f"{smallest if smallest < low else largest:g}"
        )


def check_wavelength(name: str, value: float | Tensor) -> None:
    """Raise a ValueError unless ``value`` is within 1e-9 to 1e-2 metres, everywhere.

    The range is that of soft X-rays to millimetre waves: other values are in another unit.
    """
    check_positive(name, value, "metres")
    if isinstance(value, Tensor):
        if not looked_at(value) or not value.numel():
            return
        shortest, longest = float(value.detach().min()), float(value.detach().max())
    else:
        shortest = longest = value
    # Rounding of single precision is within the bounds.
    if shortest < 1e-9 * (1 - 1e-6) or longest > 1e-2 * (1 + 1e-6):
        raise ValueError(
            f"{name} must be in metres, 1e-9 to 1e-2, not {_shown(value)}: 550 nm are 550e-9"
        )


# Largest wavelength in widths of a grid; a wavelength in another unit is far longer.
_FAR_LONGER = 10


def check_extent(
    wavelength: float | Tensor, spacing: float | Tensor, samples: int, grid: str = "the grid"
) -> None:
    """Raise a ValueError for a wavelength of more than ten times the width of a grid.

    Such a wavelength is in another unit. Wavelength and spacing broadcast. Only their ratio is
    checked, so that all lengths may be in another unit than metres. The limit is generous, because
    a PSF depends only on ``lambda f / (D p)``, so that all lengths may also be 1.
    """
    for value in (wavelength, spacing):
        if isinstance(value, Tensor) and not looked_at(value):
            return
    if isinstance(wavelength, Tensor) or isinstance(spacing, Tensor):
        pair = (torch.as_tensor(v, dtype=torch.float64).detach() for v in (wavelength, spacing))
        waves, steps = (v.flatten() for v in torch.broadcast_tensors(*pair))
        if not len(waves):
            return
        worst = int((waves / steps).argmax())
        wavelength, spacing = float(waves[worst]), float(steps[worst])
    if wavelength > _FAR_LONGER * samples * spacing:
        raise ValueError(
            f"wavelength must be shorter than {grid} is wide, both in metres: it is "
            f"{wavelength:g}, and {samples} samples {spacing:g} apart are "
            f"{samples * spacing:g} wide; 550 nm are 550e-9"
        )


def check_complex(name: str, value: Tensor, shape: str) -> None:
    """Raise a ValueError unless ``value`` is a field ``[..., H, W]``; a real one has no phase."""
    check_tensor(name, value)
    if (
        value.ndim < 2
        or 0 in value.shape[-2:]
        or not (value.is_complex() or value.is_floating_point())
    ):
        raise ValueError(
            f"{name} must be complex or real floating point {shape}, not {value.dtype} "
            f"{tuple(value.shape)}"
        )


def as_real(name: str, value: float | Tensor) -> Tensor:
    """Return ``value`` as a floating-point tensor; such a tensor is returned itself.

    Results take the dtype of a quantity; integers would truncate phases to whole radians.
    """
    check_number(name, value)
    if not isinstance(value, Tensor):
        return torch.tensor(float(value))
    if value.is_complex():
        raise ValueError(f"{name} must be real, not {value.dtype}")
    return value if value.is_floating_point() else value.to(torch.get_default_dtype())


def as_numbers(
    name: str,
    values: object,
    unit: str = "",
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return one number or several (a sequence, an array or a Tensor) as a Tensor.

    Raise a TypeError for anything else, such as text or None.
    """
    try:
        if not _is_switch(values):
            return torch.as_tensor(values, dtype=dtype, device=device)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise TypeError(f"{name} must be numbers or a Tensor{_in(unit)}, not {values!r}")


def as_picture(name: str, picture: Tensor | np.ndarray) -> Tensor:
    """Return a picture of real numbers in a floating-point dtype that can be transformed.

    Integers are converted to torch's default type. Raise a TypeError unless it is a Tensor or an
    array, and a ValueError for an array that is not real; :func:`check_real` does so for a Tensor.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype.kind not in "uif":
            raise ValueError(f"{name} must be real numbers [..., H, W], not {picture.dtype}")
        # A copy, as pictures are often read-only, and TIFF has its own byte order.
        picture = torch.tensor(picture.astype(picture.dtype.newbyteorder("=")))
    if not isinstance(picture, Tensor):
        raise TypeError(
            f"{name} must be a Tensor or a numpy array [..., H, W], not {type(picture).__name__}"
        )
    whole = not (picture.is_floating_point() or picture.is_complex() or picture.dtype == torch.bool)
    half = picture.is_floating_point() and picture.element_size() < 4
    return picture.to(torch.get_default_dtype()) if whole or half else picture


def index_of(value: object) -> int | None:
    """``value`` as an int, if it is an integer of Python, numpy or torch, otherwise None.

    True is none, which :func:`operator.index` takes for 1.
    """
    if _is_switch(value):
        return None
    try:
        return operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        return None


def whole_number(name: str, value: SupportsIndex, *, least: int = 1) -> int:
    """Return ``value`` as an int; raise a ValueError unless it is whole and at least ``least``."""
    number = index_of(value)
    if number is None or number < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value}")
    return number


def image_size(
    size: SupportsIndex | tuple[SupportsIndex, SupportsIndex], name: str = "size"
) -> tuple[int, int]:
    """Return ``size`` as (H, W), whole numbers of samples; a single number for both."""
    sides = size if isinstance(size, tuple | list) else (size, size)
    height, width = (index_of(side) for side in sides) if len(sides) == 2 else (None, None)
    if height is None or width is None or height < 1 or width < 1:
        raise ValueError(f"{name} must be (H, W), whole numbers of at least 1 sample, not {size}")
    return height, width


def map_size(name: str, values: Tensor) -> tuple[int, int]:
    """Return the size (H, W) of a real, finite map ``[H, W]``."""
    check_tensor(name, values)
    if values.ndim != 2 or not values.is_floating_point() or values.numel() == 0:
        raise ValueError(
            f"{name} must be real floating point [H, W], not {values.dtype} {tuple(values.shape)}"
        )
    check_finite(name, values.detach())
    return values.shape[0], values.shape[1]


def hold(module: nn.Module, name: str, value: Tensor | None) -> None:
    """Register ``value`` in ``module``: a parameter as the same object, anything else as a buffer.

    An optimiser of the caller's parameter then trains this module.
    """
    if isinstance(value, nn.Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def is_number(value: object) -> bool:
    """Whether a value is one real number, also as a Tensor or an array; True and False are none."""
    if _is_switch(value):
        return False
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    several = hasattr(value, "__len__") and bool(getattr(value, "ndim", 1))
    return not several and hasattr(value, "__float__")  # which text, None and 1j have not


def _is_switch(value: object) -> bool:
    """Whether a value is True or False, of Python, numpy or torch; arrays of several may be."""
    if isinstance(value, Tensor):
        return value.dtype == torch.bool
    return isinstance(value, bool | np.bool_) or (
        isinstance(value, np.ndarray) and value.dtype == np.bool_
    )


def _in(unit: str) -> str:
    return f", in {unit}" if unit else ""


def _shown(value: float | Tensor) -> str:
    if isinstance(value, Tensor) and value.numel() > 4:
        if value.is_complex():
            return f"complex numbers {tuple(value.shape)}"
        return f"values from {float(value.min()):g} to {float(value.max()):g}"
    return str(value.tolist() if isinstance(value, Tensor) else value)
