"""Between the nets of a codec and its file: symbols, and what ties a file to its model."""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .bitstream import SymbolTable

__all__ = ["checksum", "fingerprint", "integers", "result_type", "stacked"]


def integers(x: Tensor) -> np.ndarray:
    """Round a latent ``[B, M, h, w]`` to the integers ``[B, M, h, w]`` that are coded."""
    return x.round().to("cpu", torch.int64).numpy()


def stacked(symbols: Sequence[np.ndarray], module: nn.Module) -> Tensor:
    """Stack the symbols of pictures as float64 on the device of a module."""
    return torch.from_numpy(np.stack(symbols)).to(next(module.parameters()).device, torch.float64)


def fingerprint(module: nn.Module) -> int:
    """Return a 32-bit checksum of the values of all parameters and buffers.

    It depends on neither device, memory format, nor floating-point type, so long as the type
    holds the values.
    """
    total = 0
    for value in module.state_dict().values():
        total = zlib.crc32(value.detach().to("cpu", torch.float64).numpy().tobytes(), total)
    return total


def checksum(tables: Sequence[SymbolTable]) -> int:
    """Return a 32-bit checksum of coding tables.

    A file carries it, because the last digit of a logarithm may differ between machines: one that
    computes other tables from the same parameters must not decode.
    """
    total = 0
    for table in tables:
        total = zlib.crc32(np.append(table.frequencies, table.first).tobytes(), total)
    return total


def result_type(module: nn.Module) -> torch.dtype:
    """Type of pictures and bits: that of the parameters, at least float32."""
    return torch.promote_types(next(module.parameters()).dtype, torch.float32)
