"""A data set, batch by batch, with the noise that :func:`joint.evaluate` gives each picture."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from classify import LesionDataset
from joint.evaluate import check_encoding, device_of
from joint.feed import Feed, generators
from joint.kinds import check_batch_size
from joint.system import ImagingSystem

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
    dataset: LesionDataset, system: ImagingSystem, *, batch_size: int, seed: int
) -> Iterator[Pass]:
    """All pictures in order.

    Parameters
    ----------
    dataset : LesionDataset
    system : ImagingSystem
        What they will pass through: the scenes come to its device.
    batch_size : int
        Pictures in one pass; the noise of a picture does not depend on it.
    seed : int
        Source of the noise.

    Raises
    ------
    ValueError
        At once, for a batch size below 1, or scenes that the system takes for what they are not.
    """
    check_batch_size(batch_size)
    check_encoding(system, dataset)
    device = device_of(system)
    feed = Feed(dataset, device, resident=False)
    seeds = feed.seeds(seed, "evaluate")
    batches = torch.arange(len(dataset)).split(batch_size)
    return (
        Pass(rows, scenes, generators(seeds[rows.numpy()], device))
        for rows, (scenes, _) in zip(batches, feed.batches(batches), strict=True)
    )
