"""Pictures on their way through a system, with the noise that :func:`joint.evaluate` gives them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from classify import LesionDataset
from joint.device import device_of
from joint.feed import Feed, Shown, as_seed
from joint.kinds import check_batch_size, check_suited
from joint.system import ImagingSystem, SystemOutput, evaluating

__all__ = ["one_pass", "passes"]


def passes(
    dataset: LesionDataset, system: ImagingSystem, *, batch_size: int, seed: int
) -> Iterator[Shown]:
    """All pictures in order.

    Parameters
    ----------
    dataset : LesionDataset
    system : ImagingSystem
        System that they will pass through; the scenes are moved to its device.
    batch_size : int
        Pictures in one pass; the noise of a picture does not depend on it.
    seed : int
        Source of the noise.

    Raises
    ------
    ValueError
        At once, for a batch size below 1, a seed that is not whole, or scenes whose encoding or
        classes are not those of the system.
    """
    check_batch_size(batch_size)
    check_suited(system, dataset)
    feed = Feed(dataset, device_of(system), resident=False)
    return feed.shown(torch.arange(len(dataset)).split(batch_size), seed=as_seed(seed))


def one_pass(
    system: ImagingSystem, dataset: LesionDataset, rows: Sequence[int] | Tensor, *, seed: int = 0
) -> tuple[Shown, SystemOutput]:
    """A few pictures, those of these ``rows``, in one pass without gradients."""
    feed = Feed(dataset.subset(rows), device_of(system), resident=False)
    with evaluating(system), torch.no_grad():
        (shown,) = feed.shown([torch.arange(len(rows))], seed=as_seed(seed))
        return shown, system(shown.scenes, generator=shown.noise)
