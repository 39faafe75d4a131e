"""Batches of labelled scenes on a device, with an order and noise independent of batching.

Views and noise of a picture are a function of (seed, epoch, its name): batch size, other pictures
and the number of processes do not change them.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from classify import Batch, LesionDataset, as_levels
from classify.data.arrays import as_integer

__all__ = [
    "Feed",
    "Shown",
    "as_scenes",
    "as_seed",
    "derive_seed",
    "generators",
    "some_of",
    "uniforms",
]

# A data set is moved to a GPU as a whole if it needs at most this share of the free memory.
_RESIDENT_SHARE = 0.3


def as_seed(seed: int) -> int:
    """A seed as a Python integer; a fraction such as 1.5 is refused."""
    number = as_integer(seed)
    if number is None:
        raise ValueError(f"seed must be a whole number, not {seed!r}")
    return number


def derive_seed(*parts: object) -> int:
    """A seed that is a pure function of ``parts``, 63 bits."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def some_of(part: LesionDataset, count: int) -> LesionDataset:
    """At most so many pictures of a part: always the same ones, in their order."""
    if len(part) <= count:
        return part
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))
    return part.subset(order[:count].sort().values)


def as_scenes(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Codes and labels of a batch on a device, the codes as float scenes in 0..1."""
    images = as_levels(batch.images.to(device, non_blocking=True)).div_(255)
    return images, batch.labels.to(device, non_blocking=True)


def generators(seeds: Sequence[int] | np.ndarray, device: torch.device) -> list[torch.Generator]:
    """A generator for each seed."""
    return [torch.Generator(device).manual_seed(int(seed)) for seed in seeds]


def uniforms(seeds: np.ndarray, count: int) -> Tensor:
    """``count`` numbers for each seed, evenly in [0, 1): float32 ``[B, count]``.

    They are from SplitMix64 of Steele et al. (OOPSLA 2014), which needs no state: one call for a
    batch, where a generator for each picture takes hundreds.
    """
    counters = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = _mixed(seeds.astype(np.uint64)[:, None] + counters) >> np.uint64(40)
    return torch.from_numpy(bits.astype(np.float32) / 2**24)


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Spread 64-bit keys evenly: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


class Shown(NamedTuple):
    """Labelled scenes of one batch for evaluation."""

    rows: Tensor
    """Rows in the data set, int64 ``[B]``."""
    scenes: Tensor
    """Scenes in 0..1, ``[B, C, H, W]``."""
    labels: Tensor
    """int64 ``[B]``."""
    seeds: np.ndarray
    """Seed of each picture's noise, ``[B]``."""

    @property
    def noise(self) -> list[torch.Generator]:
        """New generators for each picture's noise, in the same state at each call."""
        return generators(self.seeds, self.scenes.device)


class Feed:
    """Batches of a data set on a device.

    ::

        CPU                  rows of codes ─gather─► float
        GPU, data fits       codes of all moved once ─gather there─► float
        GPU, it does not     rows of codes ─gather, pin (a thread, one batch ahead)─► copy ─► float

    Parameters
    ----------
    dataset : LesionDataset
        Its pictures are codes of 8 or 16 bits.
    device : torch.device
        Device of the batches.
    resident : bool, optional
        Hold the whole data set on the device; by default on a GPU, where it fits into 30 % of
        the free memory.
    """

    def __init__(
        self, dataset: LesionDataset, device: torch.device, *, resident: bool | None = None
    ) -> None:
        self.dataset = dataset
        self.device = device
        self._names = np.array([derive_seed(n) for n in dataset.identifiers], dtype=np.uint64)
        if resident is None:
            resident = device.type == "cuda" and _fits(dataset, device)
        self._held: Batch | None = None
        if resident:
            whole = dataset.gather(torch.arange(len(dataset)))
            self._held = Batch(whole.images.to(device), whole.labels.to(device))

    @property
    def resident(self) -> bool:
        """Whether the pictures are on the device."""
        return self._held is not None

    def seeds(self, *parts: object) -> np.ndarray:
        """A seed for each picture, a pure function of its name and ``parts``, 63 bits ``[N]``."""
        return _mixed(self._names ^ np.uint64(derive_seed(*parts))) >> np.uint64(1)

    def drawn_seeds(self, rows: Tensor, *parts: object) -> np.ndarray:
        """A seed for each of the pictures ``rows`` ``[M]``; repeated rows get different seeds."""
        order = rows.argsort(stable=True)
        ordered = rows[order]
        times = torch.empty_like(rows)
        times[order] = torch.arange(len(rows)) - torch.searchsorted(ordered, ordered)
        seeds = self.seeds(*parts)[rows.numpy()]
        return _mixed(seeds + times.numpy().astype(np.uint64)) >> np.uint64(1)

    def shuffled(self, *parts: object) -> Tensor:
        """Rows in random order, int64 ``[N]``, sorted by a number drawn from name and ``parts``.

        Adding or removing a picture does not change the order of the others.
        """
        return torch.from_numpy(np.argsort(self.seeds(*parts), kind="stable"))

    def batches(self, rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Scenes ``[B, C, H, W]`` in 0..1 and labels ``[B]`` for each index ``[B]`` of rows."""
        if self._held is not None or self.device.type == "cpu":
            for index in rows:
                yield as_scenes(self._gathered(index), self.device)
            return
        with ThreadPoolExecutor(1) as worker:
            ahead = None
            for index in (*rows, None):
                ready = ahead
                ahead = None if index is None else worker.submit(self._pinned, index)
                if ready is not None:
                    yield as_scenes(ready.result(), self.device)

    def shown(self, rows: Sequence[Tensor], *, seed: int) -> Iterator[Shown]:
        """Batches for :func:`joint.evaluate`, for each index ``[B]`` of rows."""
        seeds = self.seeds(seed, "evaluate")
        for index, (scenes, labels) in zip(rows, self.batches(rows), strict=True):
            yield Shown(index, scenes, labels, seeds[index.numpy()])

    def _gathered(self, index: Tensor) -> Batch:
        if self._held is None:
            return self.dataset.gather(index)
        return self._held.take(index.to(self.device, non_blocking=True))

    def _pinned(self, index: Tensor) -> Batch:
        batch = self.dataset.gather(index)
        if self.device.type != "cuda":
            return batch
        return Batch(batch.images.pin_memory(), batch.labels.pin_memory())


def _fits(dataset: LesionDataset, device: torch.device) -> bool:
    height, width = dataset.image_size
    free, _ = torch.cuda.mem_get_info(device)
    size = len(dataset) * dataset.channels * height * width * dataset.bit_depth // 8
    return size <= _RESIDENT_SHARE * free
