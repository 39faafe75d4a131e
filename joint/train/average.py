"""The moving average of the weights, and what several processes hold of it in common.

::

    weights after each step ─► follow ─► average ─► lent ─► validation
                                           │
                           buffers of all processes ─► agree
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from joint.parallel import all_reduce, world_size

__all__ = ["agree", "follow", "lent"]


def follow(average: dict[str, Tensor], module: nn.Module, *, averaging: float, steps: int) -> None:
    """Let a moving average follow the state of a module by a step.

    ``average += (1 - decay) (weights - average)``, with the decay
    ``min(averaging, (1 + steps) / (10 + steps))``, as TensorFlow's ``ExponentialMovingAverage`` has
    it: faster at first, so that the initial weights are soon forgotten. What is no real or complex
    number is that of the module.

    Parameters
    ----------
    average : dict of str to Tensor
        Of any shapes, by their names in the module; changed in place. An empty one, as before the
        first step, becomes a copy of the weights.
    module : nn.Module
        After the step.
    averaging : float, 0..1
        The largest decay.
    steps : int
        How many were taken, with this one.
    """
    weights = module.state_dict(keep_vars=True)
    if not average:
        average |= {name: w.detach().clone() for name, w in weights.items()}
        return
    decay = min(averaging, (1 + steps) / (10 + steps))
    moving = [n for n, w in weights.items() if w.is_floating_point() or w.is_complex()]
    with torch.no_grad():
        for name in weights.keys() - set(moving):
            average[name].copy_(weights[name])
        # All in one call, which a GPU takes in a few launches; the average of what rests is
        # what rests, to the bit.
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            [average[name] for name in moving], [weights[name] for name in moving], 1 - decay
        )
        # The distance of a mask's -inf to itself is no number. Weights are finite.
        for name in moving:
            own, buffer = average[name], weights[name]
            if not isinstance(buffer, nn.Parameter):
                own.copy_(torch.where(torch.isfinite(own), own, buffer))


@contextmanager
def lent(average: Mapping[str, Tensor], module: nn.Module) -> Iterator[None]:
    """Give a module the ``average`` of its weights until the block ends; an empty one is none."""
    if not average:
        yield
        return
    own = {name: w.detach().clone() for name, w in module.state_dict().items()}
    module.load_state_dict(average)
    try:
        yield
    finally:
        module.load_state_dict(own)


def agree(module: nn.Module, average: Mapping[str, Tensor]) -> None:
    """Give buffers that the processes have changed, each by its own pictures, to all of them.

    That is the mean of their numbers, which a moving average over the pictures of all would
    have come to where their shares are equal, and of whole numbers those of process 0. What is
    equal keeps its bits.

    Parameters
    ----------
    module : nn.Module
        Whose buffers are changed in place.
    average : mapping of str to Tensor
        Of its weights, of any shapes: of the buffers in it the same holds.
    """
    if world_size() == 1:
        return
    named = dict(module.named_buffers(remove_duplicate=False))
    averages = [average[name] for name in named if name in average]
    for own in (*named.values(), *averages):
        common = own.detach().clone(memory_format=torch.contiguous_format)
        dist.broadcast(common, 0)
        if own.is_floating_point() or own.is_complex():
            # An infinity, as of a mask, has no distance to itself.
            off = torch.where(own == common, torch.zeros_like(own), own - common)
            common += all_reduce(off) / world_size()
        if not torch.equal(own, common):
            own.copy_(common)
