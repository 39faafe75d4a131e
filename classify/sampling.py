"""The order of the pictures of an epoch, with rare classes more often or as they occur."""

import torch
from torch import Tensor

from .given import check_generator, check_number, check_tensor

__all__ = ["sample_order"]


def sample_order(labels: Tensor, *, power: float, generator: torch.Generator) -> Tensor:
    """Return the rows of one epoch in random order, as many as there are pictures.

    The number of pictures of class c is proportional to ``n_c ** (1 - power)``, rounded up or down
    at random so that the mean is exact. Within a class, every picture occurs once before any is
    repeated: compared with independent draws, an epoch leaves out and repeats as few as possible.

    A classifier learns the class shares of its epochs as prior: additional weights or logit
    adjustment by the counts of the data set would correct twice.

    Parameters
    ----------
    labels : Tensor, int64 ``[N]``
        Class of each picture of the training set.
    power : float
        0: every picture once. 1: all classes equally often. 0.5: in proportion to the square roots
        of their counts.
    generator : torch.Generator
        Random numbers of the order.

    Returns
    -------
    Tensor, int64 ``[N]``, on the generator's device

    Raises
    ------
    TypeError
        When an argument is not a tensor, a number or a generator.
    ValueError
        For a power outside of [0, 1], or labels that are not a vector of whole numbers.
    """
    check_tensor("labels", labels)
    check_number("power", power)
    check_generator("generator", generator)
    if not 0 <= power <= 1:
        raise ValueError(
            f"power must lie in [0, 1], from every picture once to balanced classes, not {power}"
        )
    if labels.ndim != 1 or len(labels) == 0 or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be int64 [N] with N of at least 1, not {labels.dtype} "
            f"{list(labels.shape)}"
        )
    device, count = generator.device, len(labels)
    if power == 0:
        return torch.randperm(count, generator=generator, device=device)
    _, kind, counts = labels.to(device).unique(return_inverse=True, return_counts=True)
    shares = counts.double() ** (1 - power)
    # Systematic rounding: one offset for all classes, so that the sum is N whatever it is.
    offset = torch.rand(1, generator=generator, device=device, dtype=torch.float64)
    ends = (count * shares.cumsum(0) / shares.sum() + offset).floor().long()
    ends[-1] = count
    wanted = ends.diff(prepend=ends.new_zeros(1)).tolist()
    rows = []
    for number, need in enumerate(wanted):
        members = (kind == number).nonzero()[:, 0]
        for start in range(0, need, len(members)):
            once = torch.randperm(len(members), generator=generator, device=device)
            rows.append(members[once[: need - start]])
    order = torch.randperm(count, generator=generator, device=device)
    return torch.cat(rows)[order]
