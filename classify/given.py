"""Arguments that are of another kind than they must be, refused by their names."""

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = [
    "as_number",
    "check_fields",
    "check_generator",
    "check_names",
    "check_number",
    "check_tensor",
    "looked_at",
]


def check_tensor(name: str, value: object) -> None:
    """Raise a TypeError unless ``value`` is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, not {_kind(value)}: make one of it with torch")


def check_number(name: str, value: object) -> None:
    """Raise a TypeError unless ``value`` is a number, or a tensor with one; True is none."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise TypeError(f"{name} must be one number, not a tensor of shape {tuple(value.shape)}")
    if isinstance(value, Tensor) and value.dtype == torch.bool:
        raise TypeError(f"{name} must be a number, not a tensor of bool")
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Tensor):
        raise TypeError(f"{name} must be a number, not {_kind(value)}")


def as_number(name: str, value: object) -> float:
    """A number as a float, nan if it is too large for one; see :func:`check_number`."""
    check_number(name, value)
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)  # pyright: ignore[reportArgumentType]
    except OverflowError:
        return math.nan


def check_names(name: str, values: object) -> tuple[str, ...]:
    """Names of classes as a tuple; a number or a single string raises a TypeError."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be names, such as ('mel', 'nv'), not {values!r}")
    names = tuple(values)
    if not all(isinstance(each, str) for each in names):
        raise TypeError(f"{name} must be names, such as ('mel', 'nv'), not {names!r}")
    return names


def check_fields(
    what: str, values: Mapping[str, object], names: Sequence[str], *, optional: Sequence[str] = ()
) -> None:
    """Raise a ValueError if a mapping, as read from JSON, lacks a field or has unknown ones."""
    missing = [name for name in names if name not in values]
    unknown = [name for name in values if name not in (*names, *optional)]
    if missing or unknown:
        raise ValueError(
            f"{what} has the fields {', '.join(names)}: missing are "
            f"{', '.join(missing) or 'none'}, unknown {', '.join(unknown) or 'none'}"
        )


def check_generator(name: str, value: object) -> None:
    """Raise a TypeError unless ``value`` is a torch.Generator."""
    if not isinstance(value, torch.Generator):
        raise TypeError(
            f"{name} must be a torch.Generator, not {_kind(value)}: make one with "
            "torch.Generator().manual_seed(0)"
        )


def looked_at(value: Tensor) -> bool:
    """Whether the numbers of a tensor are there, and cost nothing to look at.

    They are not where it is compiled, or mapped or differentiated by ``torch.func``, nor need they
    be in a tensor of another type, such as one without storage; a GPU would be waited for.
    """
    plain = type(value) in (Tensor, nn.Parameter)
    if torch.compiler.is_compiling() or not plain or not value.is_cpu:
        return False
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return not functorch.is_functorch_wrapped_tensor(value)


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
