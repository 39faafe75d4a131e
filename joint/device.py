"""The device of a module, and a check of a given device."""

import torch
from torch import nn

__all__ = ["device_of", "usable_device"]


def device_of(module: nn.Module) -> torch.device:
    """Device of a module's tensors; the CPU if it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def usable_device(device: torch.device | str) -> torch.device:
    """The device of a name; an error with the remedy if it cannot be used.

    Raises
    ------
    ValueError
        For a name that torch does not know, a GPU that it does not find, or a device that cannot
        compute here.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device {str(device)!r} is unknown; use 'cpu', 'cuda', ...") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {str(device)!r} was asked for, but torch sees {torch.cuda.device_count()} "
            "GPUs; use 'cpu', or a number below that"
        )
    if found.type not in ("cpu", "cuda"):
        try:
            float(torch.zeros((), device=found))
        except Exception as error:  # each kind of device raises another
            raise ValueError(
                f"device {str(device)!r} was asked for, on which torch can compute nothing here; "
                "use 'cpu', 'cuda', ..."
            ) from error
    return found
