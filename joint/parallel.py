"""Training of one system by several processes, as ``torchrun`` starts them.

Each process takes its share of every step. Gradients and batch-normalisation statistics are those
of the whole step, so the number of processes changes nothing but rounding.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from optics.quantity import full_precision

_T = TypeVar("_T")

__all__ = [
    "ProcessLost",
    "gathered",
    "is_loss",
    "launched",
    "normalising_together",
    "rank",
    "world_size",
]


# Error texts of gloo and NCCL when another process no longer answers.
_LOST = ("closed by peer", "reset by peer", "Broken pipe", "NCCL", "Timed out waiting")

# How often this process has joined the others, and the store through which they communicate: one
# store for the lifetime of this process.
_joined = count()
_stores: "list[dist.Store]" = []  # pyright: ignore[reportPrivateImportUsage]


class ProcessLost(ConnectionError):
    """Another process of the run was killed, or its machine is gone."""


def is_loss(error: BaseException) -> bool:
    """Whether an error of torch means that another process is gone."""
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _LOST)


def world_size() -> int:
    """Number of processes that share the work; 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Rank of this process among them, from 0; process 0 writes the files."""
    return dist.get_rank() if world_size() > 1 else 0


@contextmanager
def launched(
    device: torch.device | str, *, timeout: timedelta | None = None
) -> Iterator[torch.device]:
    """Join the processes that ``torchrun`` has started, if any, and leave them at the end.

    A script may do this several times, one after the other, the same number of times in each
    process.

    Parameters
    ----------
    device : torch.device or str
        ``cuda`` gives each process the GPU of its local rank.
    timeout : timedelta, optional
        How long a process waits for the others before it gives up, also when they first meet;
        by default torch's own limits (30 minutes, and 10 for communication between GPUs).

    Yields
    ------
    torch.device
        Device of this process.

    Raises
    ------
    ProcessLost
        Instead of torch's error, when another process is gone.
    """
    device = torch.device(device)
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # Missing in a build of torch without distributed support.
    from torch.distributed.constants import default_pg_timeout  # noqa: PLC0415

    store = _meeting_place(default_pg_timeout if timeout is None else timeout)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        # A new prefix each time: older entries, also of processes that torchrun has restarted since
        # (--max-restarts), belong to other meetings.
        store=dist.PrefixStore(  # pyright: ignore[reportPrivateImportUsage]
            f"{attempt}/{next(_joined)}", store
        ),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=timeout,
    )
    try:
        yield device
    except RuntimeError as error:
        if is_loss(error):
            raise ProcessLost(
                f"another process of this run was lost ({str(error).splitlines()[0]}); saved files "
                "are whole: resume the run, with any number of processes"
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def _meeting_place(wait: timedelta) -> "dist.Store":  # pyright: ignore[reportPrivateImportUsage]
    """Store through which the processes communicate, with ``wait`` as its timeout."""
    if not _stores:
        meet = dist.rendezvous("env://", timeout=wait)  # pyright: ignore[reportPrivateImportUsage]
        _stores.append(next(meet)[0])
    _stores[0].set_timeout(wait)  # not the timeout of an earlier meeting
    return _stores[0]


def gathered(part: _T) -> list[_T]:
    """Values of ``part`` of all processes, in the order of their ranks."""
    if world_size() == 1:
        return [part]
    parts: list[_T] = [part] * world_size()
    dist.all_gather_object(parts, part)
    return parts


@contextmanager
def normalising_together(system: nn.Module) -> Iterator[None]:
    """Let batch normalisation in training mode use the pictures of all processes.

    torch's ``SyncBatchNorm`` does this on GPUs only, and is another module class, which would
    change checkpoints; here the modules are kept.
    """
    if world_size() == 1:
        yield
        return
    norms = [m for m in system.modules() if isinstance(m, _BatchNorm)]
    for norm in norms:
        norm.forward = _Together(norm)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class _AllReduce(torch.autograd.Function):
    """Sum of a tensor over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: object, part: Tensor) -> Tensor:
        total = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return all_reduce(gradient)


def all_reduce(part: Tensor) -> Tensor:
    """Sum of ``part`` over all processes, with a gradient; torch's own version is deprecated."""
    return _AllReduce.apply(part)  # pyright: ignore[reportReturnType]


class _Together:
    """Forward pass of a batch normalisation over all processes."""

    def __init__(self, norm: _BatchNorm) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.norm
        if not norm.training and norm.running_mean is not None:
            return type(norm).forward(norm, x)
        with full_precision(x):
            values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            dims = [0, *range(2, x.ndim)]
            count = values.new_full((1,), x.numel() / x.shape[1])
            total, number = all_reduce(torch.cat([values.sum(dims), count])).tensor_split([-1])
            centred = values - _along(total / number, x)
            # Squares about the mean: a difference of two large sums would lose digits.
            variance = all_reduce(centred.square().sum(dims)) / number
            if norm.training and norm.running_mean is not None:
                self._remember((total / number).detach(), variance.detach(), number.detach())
            normal = centred * _along((variance + norm.eps).rsqrt(), x)
            if norm.affine:
                normal = torch.addcmul(_along(norm.bias, x), normal, _along(norm.weight, x))
            return normal

    def _remember(self, mean: Tensor, variance: Tensor, number: Tensor) -> None:
        norm = self.norm
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        step = norm.momentum
        if step is None:  # cumulative mean over the steps
            assert norm.num_batches_tracked is not None
            step = 1 / norm.num_batches_tracked
        unbiased = variance * (number / (number - 1))
        for held, seen in ((norm.running_mean, mean), (norm.running_var, unbiased)):
            if held is not None:
                held.add_(step * (seen.to(held) - held))


def _along(channels: Tensor, x: Tensor) -> Tensor:
    """Reshape numbers of channels ``[C]`` to broadcast with ``x`` ``[B, C, ...]``."""
    return channels.reshape(1, -1, *(1,) * (x.ndim - 2))
