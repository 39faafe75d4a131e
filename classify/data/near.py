"""Pairs of pictures that are nearly one: all pairs in eight poses, then alignment of a few.

::

    thumbnails 20 x 20 ── all pairs, eight poses ──┬── r > threshold, also inside ────► near
                                                   └── r > 0.88 ── tangents ── aligned ► near
                                                                          32 x 32, r > 0.98

Inside: without what is black in both. The black surround of a dermoscope is alike in all pictures.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .arrays import as_levels

__all__ = ["NearPairs", "Thumbnails", "near_pairs", "thumbnails"]

_COARSE, _FINE = 20, 32  # pixels along the side of the pictures that are compared
# Pairs below the threshold that are worth aligning. Of the pictures of HAM10000, 98 of 100 stay
# above both with their own crop of 95 %, anywhere in the frame and saved as JPEG 60; of its 4e8
# pairs and poses, 600 000 are above the first and several thousand above both.
_ALIKE, _TANGENT = 0.88, 0.96
_ALIGNED = 0.98  # correlation after alignment; 6 pairs of different lesions reach it in HAM10000
# Black is what has less than a share of the brightest cell in all channels, 12 of 255; with less of
# the frame left than another share, black is the ground of a picture, and no surround of it.
_BLACK, _LEAST_INSIDE = 0.047, 0.25
_STEPS, _FARTHEST = 4, 0.08  # Gauss-Newton steps; scale and shift allowed, in half sides
_BLOCK, _CHUNK = 512, 1024  # pictures and pairs at once: bounds the memory
# Cosines along a side that bound a correlation, and the share of pairs above that bound from which
# it is cheaper to correlate all: in HAM10000, 1 in 10 000 for a threshold of 0.975, 1 % for 0.88.
_COSINES, _MANY = 6, 0.003
_MOST = 1_000_000  # pairs listed; a data set with more has one picture over and over
# Pairs and poses that are looked into at most, and of these registered: more than HAM10000 has.
# Pictures of a common layout nearly all qualify, and to register them all takes hours.
_BUDGET, _REGISTERED = 1_000_000, 50_000
_NO_KEYS, _NO_VALUES = torch.empty(0, dtype=torch.int64), torch.empty(0)


class Thumbnails(NamedTuple):
    """Small pictures to compare."""

    coarse: Tensor
    """Area averages, float32 ``[N, C, 20, 20]``; fewer pixels where the picture has fewer."""
    fine: Tensor
    """The same at 32 x 32, float16."""


class NearPairs(NamedTuple):
    """What :func:`near_pairs` found."""

    rows: Tensor
    """int64 ``[P, 2]``, the first smaller than the second; the most similar pair first."""
    similarity: Tensor
    """Correlation in the best pose, after alignment where that was needed, ``[P]``."""
    touched: Tensor
    """Pictures that are in a pair, bool ``[N]``, whether it is listed or not."""
    complete: bool
    """False when there were more than a million pairs, of which as many are listed."""
    aligned: bool
    """False when there was more to align than a million pairs and poses, or than 50 000 that are
    close to first order: only those most alike were."""


def thumbnails(images: Tensor, side: int | None = None) -> Thumbnails:
    """Reduce pictures ``[N, C, H, W]`` of at least 8 pixels a side for comparison.

    With others that have ``side`` pixels along the shortest of their sides, if that is less.
    """
    # The cells of these averages lie symmetrically: the pose of a thumbnail is the thumbnail of
    # the pose.
    side = min(images.shape[-2:] if side is None else (*images.shape[-2:], side))
    images = as_levels(images)
    return Thumbnails(
        F.adaptive_avg_pool2d(images, min(_COARSE, side)),
        F.adaptive_avg_pool2d(images, min(_FINE, side)).half(),
    )


def near_pairs(
    small: Thumbnails,
    content: Tensor,
    blank: Tensor,
    *,
    threshold: float,
    align: bool,
    first: int | None = None,
) -> NearPairs:
    """Find the pairs that look alike though their content differs.

    Parameters
    ----------
    small : Thumbnails
        Of N pictures.
    content : Tensor, int64 ``[N]``
        Equal for pictures with equal pixels, which are no pairs here.
    blank : Tensor, bool ``[N]``
        Pictures to pass over: one of a single colour is nothing but noise, once normalised.
    threshold : float
        Least correlation of 20 x 20 pictures, each channel freed of its mean.
    align : bool
        Also align pairs that are somewhat alike, see :func:`audit`.
    first : int, optional
        Pair only these first pictures with the others, and none among themselves; by default all
        with all.

    Returns
    -------
    NearPairs
    """
    kept = torch.nonzero(~blank).flatten()
    content = content[kept]
    coarse = small.coarse[kept]
    count, pictures = len(kept), _unit(coarse)
    bounds = _bounds(pictures)
    edge = None if first is None else int((kept < first).sum())
    touched = torch.zeros(count, dtype=torch.bool)
    floor = min(threshold, _ALIKE) if align else threshold
    keys, values, total = [_NO_KEYS], [_NO_VALUES], 0
    candidates, alike, aligned = _NO_KEYS, _NO_VALUES, True
    for start in range(0, count if edge is None else edge, _BLOCK):
        block, others = pictures[:edge][start : start + _BLOCK], start if edge is None else edge
        found, value = _NO_KEYS, _NO_VALUES
        for pose in range(8):
            # To turn one is to turn the other back; only the block is copied.
            posed = _posed(block, _inverse(pose))
            pairs, new = _above(posed, pictures[others:], bounds[others:], floor, edge is None)
            pairs += torch.tensor([start, others])
            differ = content[pairs[:, 0]] != content[pairs[:, 1]]
            if total > _MOST:  # no more are listed, but of what else there are pairs is still asked
                differ &= ~touched[pairs].all(1)
            pairs, new = 8 * (pairs[differ] @ torch.tensor([count, 1])) + pose, new[differ]
            near = new > threshold
            # Merged at every pose: together the eight would hold every pair eight times.
            found, value = _distinct(torch.cat([found, pairs[near]]), torch.cat([value, new[near]]))
            candidates = torch.cat([candidates, pairs[~near]])
            alike = torch.cat([alike, new[~near]])
            if len(alike) > _BUDGET:
                alike, best = alike.topk(_BUDGET)
                candidates, aligned = candidates[best], False
                floor = alike[-1].item()  # what is less alike will not be aligned any more
        inside = _inside_alike(found, coarse) > threshold
        if align:  # black surrounds may hide a shift
            candidates = torch.cat([candidates, found[~inside]])
            alike = torch.cat([alike, value[~inside]])
        _touch(touched, found[inside])
        if total <= _MOST:
            keys.append(found[inside])
            values.append(value[inside])
        total += int(inside.sum())
    if len(candidates) > 0:
        reach = _reach(candidates, pictures)
        close = torch.nonzero(reach > _TANGENT).flatten()
        if len(close) > _REGISTERED:
            close, aligned = close[reach[close].topk(_REGISTERED).indices], False
        found, value = _aligned(candidates[close], threshold, small.fine[kept])
        _touch(touched, found)
        keys.append(found)
        values.append(value)
    found, value = _distinct(torch.cat(keys), torch.cat(values))
    order = value.argsort(descending=True, stable=True)[:_MOST]
    every = torch.zeros(len(blank), dtype=torch.bool)
    every[kept] = touched
    rows = kept[torch.stack(_rows(found[order], count), 1)]
    return NearPairs(rows, value[order].clamp(max=1), every, len(found) <= _MOST, aligned)


def _bounds(pictures: Tensor) -> Tensor:
    """Short vectors ``[N, D]`` whose products are no less than the correlations of the pictures.

    The lowest cosines along both sides, and the norm of the rest: by the inequality of Cauchy and
    Schwarz, rests correlate by at most the product of their norms.
    """
    side = pictures.shape[-1]
    orders = torch.arange(min(_COSINES, side))[:, None]
    cosines = F.normalize(torch.cos(torch.pi * orders * (torch.arange(side) + 0.5) / side), dim=1)
    low = (cosines @ pictures @ cosines.T).flatten(1)
    # What rounding may take from a small rest is added.
    rest = (pictures.flatten(1).square().sum(1) - low.square().sum(1)).clamp_min(0) + 1e-5
    return torch.cat([low, rest.sqrt()[:, None]], 1)


def _above(
    block: Tensor, pictures: Tensor, bounds: Tensor, floor: float, upper: bool
) -> tuple[Tensor, Tensor]:
    """Pairs ``[P, 2]`` of the block and the pictures that correlate above the floor, and how much.

    ``upper``: only those whose first is before the second.
    """
    likeness = _bounds(block) @ bounds.T
    if upper:
        likeness = likeness.triu_(1)
    pairs = torch.nonzero(likeness > floor)
    if len(pairs) > _MANY * likeness.numel():
        likeness = block.flatten(1) @ pictures.flatten(1).T
        value = likeness[pairs[:, 0], pairs[:, 1]]
    else:
        values = [
            (block[some[:, 0]] * pictures[some[:, 1]]).flatten(1).sum(1)
            for some in pairs.split(_CHUNK)
        ]
        value = torch.cat(values)
    high = value > floor
    return pairs[high], value[high]


# A pair and its pose are one number: 8 (first · count + second) + pose.


def _rows(candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """First and second of candidates, of ``count`` pictures."""
    pairs = candidates // 8
    return pairs // max(count, 1), pairs % max(count, 1)


def _distinct(candidates: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Each pair once, in order, in the pose that has the largest of its values."""
    pairs, inverse = (candidates // 8).unique(return_inverse=True)
    best = torch.zeros(len(pairs)).scatter_reduce(0, inverse, value, "amax")
    top = value == best[inverse]
    pose = torch.zeros_like(pairs).scatter_reduce(0, inverse[top], candidates[top] % 8, "amax")
    return 8 * pairs + pose, best


def _touch(touched: Tensor, candidates: Tensor) -> None:
    for rows in _rows(candidates, len(touched)):
        touched[rows] = True


def _inside_alike(candidates: Tensor, pictures: Tensor) -> Tensor:
    """Correlation of the candidates inside their surrounds."""
    value, (first, second) = torch.zeros(len(candidates)), _rows(candidates, len(pictures))
    for rows, pose in _batches(candidates):
        one, other = pictures[first[rows]], _posed(pictures[second[rows]], pose)
        value[rows] = _correlation(one, other, _inside(one, other))
    return value


def _inside(first: Tensor, second: Tensor) -> Tensor:
    """Where not both of ``[P, C, S, S]`` are black, nor beside that: 0 or 1, ``[P, 1, S, S]``."""
    bright = torch.maximum(first, second).amax(1, keepdim=True)
    black = (bright <= _BLACK * bright.amax((-2, -1), keepdim=True)).float()
    inside = 1 - F.max_pool2d(black, 3, 1, 1)
    return torch.where(inside.mean((-2, -1), keepdim=True) < _LEAST_INSIDE, 1, inside)


def _correlation(first: Tensor, second: Tensor, inside: Tensor) -> Tensor:
    return (_unit(first, inside) * _unit(second, inside)).flatten(1).sum(1)


def _posed(pictures: Tensor, pose: int) -> Tensor:
    """Turn by 0 to 3 right angles (poses 0 to 3), after a flip (poses 4 to 7)."""
    return torch.rot90(pictures.flip(-1) if pose >= 4 else pictures, pose % 4, (-2, -1))


def _inverse(pose: int) -> int:
    return pose if pose >= 4 else -pose % 4


def _projected(pictures: Tensor, bases: Tensor) -> Tensor:
    """Norm of the part of each unit picture that lies in its basis."""
    return (bases @ pictures.flatten(1)[..., None]).flatten(1).norm(dim=1)


def _unit(pictures: Tensor, inside: Tensor | None = None) -> Tensor:
    """Free ``[N, C, H, W]`` of the mean of each channel, ``inside``, and give it unit norm."""
    if inside is None:
        centred = pictures - pictures.mean((-2, -1), keepdim=True)
    else:
        area = inside.sum((-2, -1), keepdim=True).clamp_min(1)
        centred = inside * (pictures - (inside * pictures).sum((-2, -1), keepdim=True) / area)
    return F.normalize(centred.flatten(1), dim=1, eps=1e-6).view_as(pictures)


def _axis(side: int) -> Tensor:
    """Centres of the pixels, in half sides from the middle."""
    return (torch.arange(side) + 0.5) / side * 2 - 1


def _motions(pictures: Tensor) -> Tensor:
    """The picture and its derivatives by scale, x and y, ``[N, 4, C, H, W]``."""
    side = pictures.shape[-1]
    by_y, by_x = torch.gradient(pictures, spacing=2 / side, dim=(-2, -1))
    by_scale = _axis(side) * by_x + _axis(side)[:, None] * by_y
    return torch.stack([pictures, by_scale, by_x, by_y], 1)


def _tangents(pictures: Tensor) -> Tensor:
    """Orthonormal basis ``[N, 4, C H W]`` of what small scalings and shifts make of a picture."""
    bases = []
    for block in pictures.split(_CHUNK):
        motions = _motions(block)
        motions = motions - motions.mean((-2, -1), keepdim=True)
        bases.append(torch.linalg.qr(motions.flatten(2).mT)[0].mT.contiguous())
    return torch.cat(bases)


def _reach(candidates: Tensor, pictures: Tensor) -> Tensor:
    """Correlation of the candidates after small motions, to first order."""
    tangents, reach = _tangents(pictures), torch.zeros(len(candidates))
    for rows, pose in _batches(candidates):
        first, second = _rows(candidates[rows], len(pictures))
        # Each projected on the tangents of the other, which stay as they are: it is posed instead.
        reach[rows] = torch.maximum(
            _projected(_posed(pictures[second], pose), tangents[first]),
            _projected(_posed(pictures[first], _inverse(pose)), tangents[second]),
        )
    return reach


def _aligned(candidates: Tensor, threshold: float, fine: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates that alignment brings over both thresholds, and their similarity."""
    found, values = [_NO_KEYS], [_NO_VALUES]
    for rows, pose in _batches(candidates):
        first, second = (fine[each].float() for each in _rows(candidates[rows], len(fine)))
        after = _registered(first, _posed(second, pose))
        near = after > max(threshold, _ALIGNED)
        found.append(candidates[rows][near])
        values.append(after[near])
    return torch.cat(found), torch.cat(values)


def _batches(candidates: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Rows of candidates of one pose, and the pose."""
    for pose in range(8):
        for rows in torch.nonzero(candidates % 8 == pose).flatten().split(_CHUNK):
            if len(rows) > 0:
                yield rows, pose


def _registered(first: Tensor, second: Tensor) -> Tensor:
    """Correlation of pictures ``[P, C, S, S]`` with others that are scaled and shifted to fit.

    Of the whole, or inside the surrounds where that is less.
    """
    axis = _axis(first.shape[-1])
    motion = torch.zeros(len(first), 3)  # logarithm of the scale, shift along x, along y
    best = torch.zeros(len(first))
    for step in range(_STEPS + 1):
        scale = motion[:, 0].exp()[:, None]
        x, y = scale * axis + motion[:, 1:2], scale * axis + motion[:, 2:]
        grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
        inside = (grid.abs() <= 1).all(-1)[:, None].float()
        moved = F.grid_sample(second, grid, padding_mode="border", align_corners=False)
        shown = _correlation(first, moved, inside * _inside(first, moved))
        target, moved = _unit(first, inside), _unit(moved, inside)
        best = torch.maximum(best, shown.minimum((target * moved).flatten(1).sum(1)))
        if step == _STEPS:
            break
        basis = (_motions(moved) * inside[:, None]).flatten(2)
        normal = basis @ basis.mT + 1e-6 * torch.eye(4)
        weight = torch.linalg.solve(normal, basis @ target.flatten(1)[..., None])[..., 0]
        motion = (motion + weight[:, 1:] / weight[:, :1].clamp_min(0.3)).clamp(
            -_FARTHEST, _FARTHEST
        )
    return best
