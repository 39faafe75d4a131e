"""Random numbers by counter: each is a function of its key and its place, and of nothing else.

A picture's numbers do not depend on how many pictures are drawn, in which batch, or how much of a
surface is seen; and, being integer arithmetic, they are the same bits on every device.
"""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

__all__ = ["Draws", "keys_of", "threefry"]

_ROTATIONS: Final = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY: Final = 0x1BD11BDA
_BLOCK = 256  # numbers that are made at once
_CACHED = 2**15  # words that are mixed at once: a few arrays of them fit into a core's cache


def threefry(key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Two random 32-bit words for a key of two and a counter of two: Threefry-2x32, 20 rounds.

    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Parameters
    ----------
    key, counter : two Tensors each, int32, broadcast against each other
        Bit patterns; the sign has no meaning.

    Returns
    -------
    two Tensors, int32
        All 2^32 values are equally likely.
    """
    keys = (*key, key[0] ^ key[1] ^ _PARITY)
    a, b = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for turn in _ROTATIONS[group % 2]:
            a = a + b
            # >> keeps the sign, so the bits that it copies are masked away.
            b = ((b << turn) | ((b >> (32 - turn)) & ((1 << turn) - 1))) ^ a
        a = a + keys[(group + 1) % 3]
        b = b + keys[(group + 2) % 3] + (group + 1)
    return a, b


def _threefry_host(key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor]) -> list[Tensor]:
    """:func:`threefry` on the CPU: in place, in parts that its cache holds, and without threads."""
    parts = np.broadcast_arrays(*(part.numpy().view(np.uint32) for part in key + counter))
    words = np.empty((2, *parts[0].shape), np.uint32)
    step = max(1, _CACHED // max(1, math.prod(parts[0].shape[1:])))
    for start in range(0, len(parts[0]), step):
        rows = slice(start, start + step)
        _mix(*(part[rows] for part in parts), *words[:, rows])
    return [torch.from_numpy(part.view(np.int32)) for part in words]


def _mix(
    k0: np.ndarray, k1: np.ndarray, c0: np.ndarray, c1: np.ndarray, a: np.ndarray, b: np.ndarray
) -> None:
    """Write the words of :func:`threefry` into ``a`` and ``b``."""
    keys = (k0, k1, k0 ^ k1 ^ np.uint32(_PARITY))
    np.add(c0, k0, out=a)
    np.add(c1, k1, out=b)
    carried = np.empty_like(b)
    for group in range(5):
        for turn in _ROTATIONS[group % 2]:
            a += b
            np.right_shift(b, np.uint32(32 - turn), out=carried)
            b <<= np.uint32(turn)
            b |= carried
            b ^= a
        a += keys[(group + 1) % 3]
        b += keys[(group + 2) % 3]
        b += np.uint32(group + 1)


def keys_of(seed: int, purpose: int, first: Tensor, second: Tensor) -> Tensor:
    """Keys ``[B, 2]`` for things that two integers ``[B]`` (below 2^32 and 2^24) tell apart."""
    words = torch.tensor([seed & 0xFFFFFFFF, seed >> 32], dtype=torch.int64).to(torch.int32)
    counter = (first.to(torch.int32), (second * 256 + purpose).to(torch.int32))
    return torch.stack(threefry((words[0], words[1]), counter), 1)


class Draws:
    """A stream of random numbers for each of B pictures.

    Parameters
    ----------
    keys : Tensor, int32 ``[B, 2]``
        One key a picture; everything lands on their device.
    stream : int
        0 to 2^22; streams of a key are independent.
    """

    def __init__(self, keys: Tensor, stream: int = 0) -> None:
        self._keys = keys
        self._stream = stream
        self._made = 0
        self._surfaces = 0
        self._left = torch.empty(len(keys), 0, device=keys.device)

    def stream(self, number: int) -> "Draws":
        """Another stream of the same pictures, from its beginning."""
        return Draws(self._keys, number)

    def of(self, rows: Tensor) -> "Draws":
        """The stream, from its beginning, of some of the pictures."""
        return Draws(self._keys[rows], self._stream)

    def uniform(
        self, low: float | Tensor = 0.0, high: float | Tensor = 1.0, count: int = 1
    ) -> Tensor:
        """Numbers ``[B, count]`` in [low, high)."""
        return low + (high - low) * self._take(count)

    def normal(self, mean: float = 0.0, deviation: float = 1.0, count: int = 1) -> Tensor:
        """Normal numbers ``[B, count]`` (Box and Muller)."""
        far, around = self._take(2 * count).chunk(2, 1)
        return mean + deviation * torch.sqrt(-2 * torch.log1p(-far)) * torch.cos(math.tau * around)

    def integers(self, low: int, high: int, count: int = 1) -> Tensor:
        """Integers ``[B, count]`` in low..high - 1, as floats."""
        return low + torch.floor((high - low) * self._take(count))

    def surface(self, row: Tensor, column: Tensor, side: int) -> Tensor:
        """Numbers of mean 0 and deviation 1 on a part of an endless lattice, ``[B, side, side]``.

        ``row`` and an even ``column``, ``[B]`` (magnitude below 2^15), are its first knot: the
        same knot has the same number whatever part is asked for.
        """
        self._surfaces += 1
        place = torch.arange(side, device=row.device, dtype=torch.int32)
        rows = row.to(torch.int32)[:, None, None] + place[:, None]
        pairs = column.to(torch.int32)[:, None, None] // 2 + place[: (side + 1) // 2]
        both = self._words(self._surfaces, (rows << 16) ^ (pairs & 0xFFFF))
        numbers = torch.stack(both, 3).flatten(2)[:, :, :side]
        return (_fraction(numbers) - 0.5) * math.sqrt(12)

    def _words(self, part: int, index: Tensor) -> tuple[Tensor, ...]:
        shape = (len(self._keys),) + (1,) * (index.ndim - 1)
        first = torch.full_like(index[:1], self._stream * 256 + part)
        key = (self._keys[:, 0].reshape(shape), self._keys[:, 1].reshape(shape))
        draw = _threefry_host if index.device.type == "cpu" else threefry
        return tuple(draw(key, (first, index)))

    def _take(self, count: int) -> Tensor:
        missing = count - self._left.shape[1]
        if missing > 0:
            pairs = (max(missing, _BLOCK) + 1) // 2
            index = torch.arange(self._made, self._made + pairs, device=self._keys.device)
            both = self._words(0, index.to(torch.int32)[None])
            self._made += pairs
            self._left = torch.cat((self._left, _fraction(torch.stack(both, 2).flatten(1))), 1)
        taken, self._left = self._left[:, :count], self._left[:, count:]
        return taken


def _fraction(words: Tensor) -> Tensor:
    """The upper 24 bits as a float in [0, 1): exact in float32."""
    return ((words >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24
