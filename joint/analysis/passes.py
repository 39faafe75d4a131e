"""A data set, batch by batch, with the noise that :func:`joint.evaluate` gives each picture."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from classify import LesionDataset
from joint.feed import Feed, generators

__all__ = ["Pass", "passes"]


class Pass(NamedTuple):
    """Pictures that go through a system together."""

    rows: Tensor
    """Their places in the data set, int64 ``[B]``."""
    scenes: Tensor
    """In 0..1 ``[B, C, H, W]``."""
    noise: list[torch.Generator]
    """Source of each picture's noise."""


def passes(
    dataset: LesionDataset, device: torch.device, *, batch_size: int, seed: int
) -> Iterator[Pass]:
    """All pictures in order.

    Parameters
    ----------
    dataset : LesionDataset
    device : torch.device
        Where the scenes are wanted.
    batch_size : int
        Pictures in one pass; the noise of a picture does not depend on it.
    seed : int
        Source of the noise.

    Raises
    ------
    ValueError
        For a batch size below 1, at once.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    feed = Feed(dataset, device, resident=False)
    seeds = feed.seeds(seed, "evaluate")
    batches = torch.arange(len(dataset)).split(batch_size)
    return (
        Pass(rows, scenes, generators(seeds[rows.numpy()], device))
        for rows, (scenes, _) in zip(batches, feed.batches(batches), strict=True)
    )
