"""The bits of a JPEG file from its coefficients: exact in value, smooth in gradient.

::

    coefficients ─round─► runs ─► code words ─► exact bits ── value ─┐
         │                 └──────────┴──┐                           ├─► bits
         └───────────────────────────────┴─► smooth bits ─ gradient ─┘

The bits are counted as for a baseline encoder with optimised Huffman tables, without writing a
file.
"""

import heapq
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .codec import spread

__all__ = ["Layout", "count_bits", "huffman_lengths"]

_ZERO_RUN = 0xF0  # the symbol of 16 zeros
# Zero bytes stuffed after bytes of 255. One byte in 256 would be if all were as frequent; 0.2 to
# 0.4 % were, on pictures at quality 10 to 100.
_STUFFING = 0.003
_CATEGORIES = 12  # of size: the number of bits of a magnitude, 0 to 11


@dataclass(frozen=True)
class Layout:
    """How the blocks of a picture follow each other in its file, unit by unit."""

    size: tuple[int, int]
    side: int
    """Luminance blocks along a side of a unit: 2 where the chrominance is halved, or 1."""

    @property
    def blocks(self) -> tuple[int, int]:
        """Luminance blocks down and across the picture."""
        return -(-self.size[0] // 8), -(-self.size[1] // 8)

    @property
    def units(self) -> tuple[int, int]:
        """Units down and across; each has one block of either chrominance."""
        return -(-self.blocks[0] // self.side), -(-self.blocks[1] // self.side)

    def places(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return row and column of every luminance block ``[n]``, in the order of the file.

        The units on the edge may reach out of the picture.
        """
        (down, across), inner = self.units, torch.arange(self.side, device=device)
        rows = torch.arange(down, device=device) * self.side
        columns = torch.arange(across, device=device) * self.side
        row = (rows.view(-1, 1, 1, 1) + inner.view(-1, 1)).expand(-1, across, -1, self.side)
        column = (columns.view(-1, 1, 1) + inner).expand(down, -1, self.side, -1)
        return row.flatten(), column.flatten()


@dataclass(frozen=True, eq=False)
class _Runs:
    """What a run-length coder makes of levels ``[B, n, 64]``, DC being a difference."""

    category: Tensor
    """Bits of the magnitude ``[B, n, 64]``: 0 for 0, 1 for 1, 2 for 2 and 3, 3 for 4 to 7, ..."""
    before: Tensor
    """Place of the last AC coefficient before each that is not 0, or 0 ``[B, n, 63]``."""
    after: Tensor
    """Place of the first after each, or 64 ``[B, n, 63]``."""
    ends: Tensor
    """Whether the block ends with the symbol for that: its last coefficient is 0 ``[B, n]``."""

    @property
    def place(self) -> Tensor:
        """Places of the AC coefficients ``[63]``."""
        return torch.arange(1, 64, device=self.before.device)

    @property
    def run(self) -> Tensor:
        """Zeros in front of each AC coefficient ``[B, n, 63]``."""
        return self.place - self.before - 1


@dataclass(frozen=True, eq=False)
class _Prices:
    """Bits of the code words of each picture, amplitude bits included."""

    dc: Tensor
    """Of a difference of each category ``[B, 12]``."""
    ac: Tensor
    """Of a coefficient after each run, of each category ``[B, 64 * 12]``; 0 for category 0."""
    end: Tensor
    """Of the end of a block ``[B, 1]``."""
    tables: Tensor
    """Of the Huffman tables in the header ``[B]``."""

    def of_ac(self, run: Tensor, category: Tensor) -> Tensor:
        """Look up coefficients ``[B, n, 63]``."""
        index = run * _CATEGORIES + category
        return self.ac.gather(1, index.flatten(1)).view(run.shape)


def count_bits(steps: list[Tensor], levels: list[Tensor], layout: Layout) -> tuple[Tensor, Tensor]:
    """Return the bits of every pixel ``[B, 1, H, W]`` and of what belongs to none ``[B]``.

    Parameters
    ----------
    steps, levels : list of Tensor
        Coefficients of each plane ``[B, n, 64]`` before and after rounding.
    layout : Layout
        Of the picture.
    """
    row, column = layout.places(steps[0].device)
    inside = (row < layout.blocks[0]) & (column < layout.blocks[1])
    # A unit that reaches out of the picture is filled with blocks that repeat the DC of the last
    # one before them in the unit, and have no AC.
    last = torch.where(row < layout.blocks[0], column, column | (layout.side - 1))
    source = row.clamp_max(layout.blocks[0] - 1) * layout.blocks[1]
    source = source + last.clamp_max(layout.blocks[1] - 1)
    kept = inside[:, None] | (torch.arange(64, device=row.device) == 0)
    costs, side = [], 8 * _marker_bytes(len(steps))
    for first, end in ((0, 1), (1, 3))[: len(steps)]:
        x, r = (
            torch.cat([_differences(plane) for plane in planes[first:end]], 1)
            for planes in ([(p[0][:, source] * kept), *p[1:]] for p in (steps, levels))
        )
        runs = _runs(r)
        prices = _prices(runs)
        cost = _exact_bits(runs, prices).to(x)
        if x.requires_grad or forward_ad.unpack_dual(x).tangent is not None:
            smooth = _smooth_bits(x, runs, prices)
            cost = cost + (smooth - smooth.detach())
        costs += cost.chunk(end - first, 1)
        side = side + prices.tables
    scan = torch.stack([cost.detach().sum(1) for cost in costs]).sum(0)
    side = side + (-scan) % 8 + _STUFFING * scan
    return spread(_share(costs, inside, layout), 8, layout.size), side


def _marker_bytes(planes: int) -> int:
    """Return the bytes of a JFIF file that do not depend on the picture."""
    start, jfif, end = 2, 18, 2
    return start + jfif + 69 * min(planes, 2) + (10 + 3 * planes) + (8 + 2 * planes) + end


def _differences(blocks: Tensor) -> Tensor:
    """Replace the DC of blocks ``[B, n, 64]`` by its difference to that of the block before."""
    dc = blocks[..., :1]
    before = torch.cat([torch.zeros_like(dc[:, :1]), dc[:, :-1]], 1)
    return torch.cat([dc - before, blocks[..., 1:]], -1)


def _share(costs: list[Tensor], inside: Tensor, layout: Layout) -> Tensor:
    """Return the bits of each luminance block of the picture ``[B, 1, h, w]``.

    They share those of their unit's chrominance, and of its blocks that are not in the picture.
    """
    luma, *chroma = costs
    own = inside.view(math.prod(layout.units), -1).to(luma)
    luma = luma.unflatten(1, own.shape)
    shared = (luma * (1 - own)).sum(-1)
    for cost in chroma:
        shared = shared + cost
    cells = own * (luma + (shared / own.sum(-1)).unsqueeze(-1))
    grid = cells.unflatten(1, layout.units).unflatten(-1, (layout.side, layout.side))
    grid = grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return grid[:, None, : layout.blocks[0], : layout.blocks[1]]


@torch.no_grad()
def _runs(levels: Tensor) -> _Runs:
    place = torch.arange(64, device=levels.device)
    category = torch.frexp(levels.abs()).exponent.long()
    coded = (category > 0) & (place > 0)
    until = torch.where(coded, place, 0).cummax(-1).values
    since = torch.where(coded, place, 64).flip(-1).cummin(-1).values.flip(-1)
    after = torch.cat([since[..., 2:], torch.full_like(since[..., :1], 64)], -1)
    return _Runs(category, until[..., :-1], after, until[..., -1] < 63)


@torch.no_grad()
def _prices(runs: _Runs) -> _Prices:
    """Count the symbols of each picture, and give each picture its optimal code."""
    batch, device = len(runs.category), runs.category.device
    dc, ac = runs.category[..., 0], runs.category[..., 1:]
    symbol = torch.where(ac > 0, runs.run % 16 * 16 + ac, 256)
    counts = torch.zeros(2, batch, 257, dtype=torch.int64, device=device)
    for count, one in zip(counts, (dc, symbol.flatten(1)), strict=True):
        count.scatter_add_(1, one, torch.ones_like(one))
    counts[1, :, _ZERO_RUN] += (runs.run // 16 * (ac > 0)).flatten(1).sum(1)
    counts[1, :, 0] += runs.ends.sum(1)
    codes = [[huffman_lengths(row[:256]) for row in rows] for rows in counts.tolist()]
    words = torch.tensor(codes, dtype=torch.float32, device=device).view(counts.shape)
    listed = (words[..., :256] > 0).sum(-1)
    # A symbol that did not occur costs as much as the word that is never used.
    words = torch.where(words > 0, words, words[..., 256:])
    category = torch.arange(_CATEGORIES, device=device)
    run = torch.arange(64, device=device).view(-1, 1)
    price = words[1][:, run % 16 * 16 + category] + category
    price = (price + run // 16 * words[1][:, _ZERO_RUN, None, None]) * (category > 0)
    # Marker, length and class, 16 counts, then the symbols.
    tables = 8 * (21 + listed).sum(0)
    return _Prices(words[0][:, :_CATEGORIES] + category, price.flatten(1), words[1][:, :1], tables)


@torch.no_grad()
def _exact_bits(runs: _Runs, prices: _Prices) -> Tensor:
    """Return what each block costs ``[B, n]``."""
    dc = prices.dc.gather(1, runs.category[..., 0])
    ac = prices.of_ac(runs.run, runs.category[..., 1:]).sum(-1)
    return dc + ac + runs.ends * prices.end


def _smooth_bits(steps: Tensor, runs: _Runs, prices: _Prices) -> Tensor:
    """Return a smooth stand-in for what each block costs ``[B, n]``; its gradient is what counts.

    The sum, over the coefficients, of what one costs as a function of its value, all others being
    what they were rounded to: its own symbol, and by how much it changes that of the next one (or
    of the end). That function has a jump between any two size categories; here it rises smoothly
    (``3 t^2 - 2 t^3``) from 1/4 to 3/4, and then from each centre of a category (1, 2.5, 5.5, ...)
    to the next. The bits of symbols that no coefficient changes are missing from the sum.
    """
    with torch.no_grad():
        size = steps.abs()
        # 0 below 1, then 1 from 1 to 2.5, 2 to 5.5, ...: the category whose centre was passed.
        low = torch.frexp((size + 0.5) / 1.5).exponent.long().clamp(0, _CATEGORIES - 2)
        centre = 1.5 * torch.exp2(low.to(size)) - 0.5
        begin = torch.where(low > 0, 0.5 * centre - 0.25, 0.25)
        finish = torch.where(low > 0, centre, 0.75)
        next_category = runs.category.gather(-1, runs.after.clamp_max(63))
        next_category = next_category * (runs.after < 64)
        parted = prices.of_ac((runs.after - runs.place - 1).clamp_max(63), next_category)
        joined = prices.of_ac((runs.after - runs.before - 1).clamp_max(63), next_category)
        # In the last place it also saves the symbol that ends the block.
        effect = parted - joined - prices.end[..., None] * (runs.place == 63)
        prior, later = (
            torch.cat(
                [
                    prices.dc.gather(1, category[..., 0])[..., None],
                    prices.of_ac(runs.run, category[..., 1:]) + effect * (category[..., 1:] > 0),
                ],
                -1,
            )
            for category in (low, low + 1)
        )
    t = ((steps.abs() - begin) / (finish - begin)).clamp(0, 1)
    return (prior + (later - prior) * t.square() * (3 - 2 * t)).sum(-1)


def huffman_lengths(counts: list[int]) -> list[int]:
    """Return the lengths of the code words of JPEG's optimal Huffman code, bits.

    No word is longer than 16 bits, and none is all ones: as ITU-T T.81 (annex K.2) has it, a
    symbol that occurs once and is never used takes that word.

    Parameters
    ----------
    counts : list of int
        How often each symbol occurs, ``n`` numbers.

    Returns
    -------
    list of int
        ``n + 1`` lengths: of each symbol, 0 if it does not occur, and last of the reserved word.
    """
    depth = {symbol: 0 for symbol, count in enumerate([*counts, 1]) if count}
    members = {symbol: [symbol] for symbol in depth}
    # Of equally rare symbols the last comes first.
    heap = [(([*counts, 1])[symbol], -symbol) for symbol in depth]
    heapq.heapify(heap)
    while len(heap) > 1:
        (rare, one), (rarest_but_one, other) = heapq.heappop(heap), heapq.heappop(heap)
        members[-one] += members.pop(-other)
        for symbol in members[-one]:
            depth[symbol] += 1
        heapq.heappush(heap, (rare + rarest_but_one, one))
    words = [0] * (max(depth.values()) + 2)  # of each length
    for length in depth.values():
        words[length] += 1
    for length in range(len(words) - 1, 16, -1):
        while words[length]:
            # Two siblings go: one takes their parent's place, the other joins a shorter word.
            shorter = next(i for i in range(length - 2, 0, -1) if words[i])
            words[length] -= 2
            words[length - 1] += 1
            words[shorter + 1] += 2
            words[shorter] -= 1
    order = sorted(depth, key=lambda symbol: (depth[symbol], symbol))
    assigned = (length for length, number in enumerate(words) for _ in range(number))
    lengths = [0] * (len(counts) + 1)
    for symbol, length in zip(order, assigned, strict=True):
        lengths[symbol] = length
    return lengths
