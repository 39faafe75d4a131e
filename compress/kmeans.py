"""K-means: clusters of several sets of points at once, the same in any batch and on any device.

::

    points [B,N,C] ─k-means++─► restarts ─Lloyd─► the best of them ─Lloyd─► fixed point
    weights [B,N] ──────┴───────────────────────────────────┘

:func:`kmeans` does all of this; :func:`lloyd` starts from given centres.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .codec import check_finite
from .given import is_number, whole_number

__all__ = ["KMeansResult", "budget", "kmeans", "lloyd"]

_GREATEST = 1e150
"""Largest coordinate: beyond it, sums of squares overflow."""


class KMeansResult(NamedTuple):
    """Clusters of each set of points; numbers are float64."""

    palette: Tensor
    """Cluster centres ``[B, K, C]``."""
    labels: Tensor
    """Index of the nearest centre of each point ``[B, N]``, int64; the first in case of a tie."""
    inertia: Tensor
    """Sum of the squared distances of all points to their centres, times their weights ``[B]``."""
    sizes: Tensor
    """Weight of the points of each cluster ``[B, K]``; 0 where a set has fewer distinct points
    than clusters."""
    iterations: Tensor
    """Number of Lloyd iterations ``[B]``, int64."""


@torch.no_grad()
def kmeans(
    points: Tensor,
    clusters: int,
    *,
    weights: Tensor | None = None,
    restarts: int = 4,
    iterations: int = 300,
    tolerance: float = 0.0,
    step: float | None = None,
    generator: torch.Generator | None = None,
) -> KMeansResult:
    """Cluster each of several sets of points, on their device.

    ::

        points ─k-means++─► restarts ─Lloyd, until slow─► best of them ─Lloyd─► fixed point

    At the fixed point every point belongs to its nearest centre and every centre is the mean of
    its points. The inertia never increases from one iteration to the next. A centre that has lost
    all its points moves to the point that is farthest from its centre.

    All sets use the same random numbers, so a result does not depend on the rest of the batch, up
    to rounding. With a ``step`` and whole-number weights every sum is exact in float64, and results
    do not depend on the batch, the device or the number of threads.

    Parameters
    ----------
    points : Tensor
        Points ``[B, N, C]``, at most 1e150 in magnitude, so that their squares are finite.
        Without a ``step``, distances below 1e-7 of the extent of a set are lost to rounding, in the
        labels and in the inertia: leave out points that lie so far away, or cluster the parts.
    clusters : int
        Number of centres of each set, K. It may exceed the number of distinct points.
    weights : Tensor, optional
        How often each point counts ``[B, N]``, 0 or more; 1 by default. Pad sets of different sizes
        with points of weight 0. Near the ends of float64, as 1e308, they overflow in sums.
    restarts : int
        Number of starts from different seeds; the one with the lowest inertia is kept.
    iterations : int
        Maximum number of Lloyd iterations of a restart, and again of the best one afterwards.
    tolerance : float
        Restarts are compared when an iteration lowers their inertia by no more than this fraction.
        0 compares them at their fixed points.
    step : float, optional
        A power of two of which all points are multiples. The centres are then rounded to multiples
        of it, and the fixed point is that of the rounded means.
    generator : torch.Generator, optional
        Random numbers of the seeds. By default torch's global generator of the device of
        ``points``.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28, 1982; Arthur,
    Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """
    _check_points(points, weights)
    clusters = whole_number("clusters", clusters, 1, 2**20)
    restarts = whole_number("restarts", restarts, 1, 2**10)
    iterations = whole_number("iterations", iterations, 1, 2**20)
    if not is_number(tolerance) or not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more, got {tolerance!r}.")
    points = points.double()
    weights = torch.ones_like(points[..., 0]) if weights is None else weights.double()
    if step is None:
        # Far from 0, distances would be lost to rounding. Points of weight 0 may lie anywhere.
        share = (weights / weights.amax(1, keepdim=True))[..., None]
        shift = (points * share).sum(1, keepdim=True) / share.sum(1, keepdim=True)
        points = points - shift
    else:
        _check_step(step, points)
        shift = 0.0
    owner = torch.arange(len(points), device=points.device).repeat_interleave(restarts)
    source = points.device if generator is None else generator.device
    draws = torch.rand(restarts, clusters, generator=generator, dtype=torch.float64, device=source)
    draws = draws.to(points.device).repeat(len(points), 1)
    centres = _seed(points[owner], weights[owner], draws)
    tried = lloyd(
        points[owner],
        weights[owner],
        centres,
        iterations=iterations,
        tolerance=tolerance,
        step=step,
    )
    best = tried.inertia.view(-1, restarts).argmin(1)
    best += restarts * torch.arange(len(points), device=points.device)
    result = lloyd(points, weights, tried.palette[best], iterations=iterations, step=step)
    return result._replace(
        palette=result.palette + shift, iterations=result.iterations + tried.iterations[best]
    )


def _check_points(points: Tensor, weights: Tensor | None) -> None:
    if points.ndim != 3 or points.numel() == 0:
        raise ValueError(f"expected points [B, N, C], at least one, got {list(points.shape)}.")
    check_finite(points, "the points", limit=_GREATEST)
    if weights is None:
        return
    if weights.shape != points.shape[:2]:
        raise ValueError(
            f"expected weights {list(points.shape[:2])}, one for each point, "
            f"got {list(weights.shape)}."
        )
    check_finite(weights, "the weights")
    if not ((weights >= 0).all() and (weights > 0).any(1).all()):
        raise ValueError("weights must be 0 or more, and at least one of each set above 0.")


def _check_step(step: float, points: Tensor) -> None:
    if not (is_number(step) and step > 0 and np.frexp(step)[0] == 0.5):
        raise ValueError(f"step must be a power of two, such as 0.25, got {step!r}.")
    between = points[(points / step).round() * step != points]
    if len(between):
        raise ValueError(
            f"with a step of {step:g} all points must be multiples of it, got {between[0]:g}: "
            "round them, or leave the step out."
        )


def _seed(points: Tensor, weights: Tensor, draws: Tensor) -> Tensor:
    """Pick centres ``[P, K, C]`` from ``points`` ``[P, N, C]`` by k-means++.

    ``draws`` ``[P, K]`` are uniform in [0, 1). A point is chosen with a probability in proportion
    to its weight times its squared distance to the nearest centre so far.
    """
    # A plane for each channel, and one piece of memory for all steps: along an axis of so few, and
    # in memory fetched anew, everything takes longer than the arithmetic.
    planes = points.movedim(-1, 0).contiguous()
    between, new = torch.empty_like(planes), torch.empty_like(weights)
    distance = torch.full_like(weights, torch.inf)
    chance, total = weights.clone(), torch.empty_like(weights)
    chosen = []
    for draw in draws.unbind(1):
        torch.cumsum(chance, 1, out=total)
        index = torch.searchsorted(total, draw[:, None] * total[:, -1:], right=True)
        # If all distinct points are taken, all probabilities are 0: any point will do.
        index = torch.where(total[:, -1:] > 0, index.clamp(max=points.shape[1] - 1), 0)
        centre = planes.gather(2, index.expand(len(planes), -1, -1))
        chosen.append(centre)
        torch.sub(planes, centre, out=between)
        torch.sum(between.square_(), 0, out=new)
        torch.minimum(distance, new, out=distance)
        torch.mul(weights, distance, out=chance)
    return torch.cat(chosen, 2).movedim(0, -1).contiguous()


@torch.no_grad()
def lloyd(
    points: Tensor,
    weights: Tensor,
    centres: Tensor,
    *,
    iterations: int,
    tolerance: float = 0.0,
    step: float | None = None,
) -> KMeansResult:
    """Iterate from ``centres`` ``[P, K, C]``, each of P problems until its labels do not change.

    A problem also stops when its inertia decreases by no more than the fraction ``tolerance``.
    Problems that have stopped leave the computation.
    """
    problems, count, channels = points.shape
    clusters = centres.shape[1]
    columns = torch.cat([points * weights[..., None], weights[..., None]], -1)
    norms = _squared_lengths(points)
    with_one = torch.cat([points, torch.ones_like(points[..., :1])], -1)
    scale = _scale(points, centres, step)
    done = KMeansResult(
        palette=centres.clone(),
        labels=centres.new_zeros(problems, count, dtype=torch.long),
        inertia=centres.new_zeros(problems),
        sizes=centres.new_zeros(problems, clusters),
        iterations=centres.new_zeros(problems, dtype=torch.long),
    )
    active = torch.arange(problems, device=points.device)
    labels = before = None
    for iteration in range(1, iterations + 1):
        previous, (labels, distance) = labels, _nearest(with_one, norms, centres, scale)
        inertia = (weights * distance).sum(1)
        sums = centres.new_zeros(len(active), clusters, channels + 1)
        sums.scatter_add_(1, labels[..., None].expand_as(columns), columns)
        sizes = sums[..., -1]
        stop = torch.full_like(inertia, iteration == iterations, dtype=torch.bool)
        if previous is not None and before is not None:
            stop |= (labels == previous).all(1)
            if tolerance > 0:
                stop |= before - inertia <= tolerance * inertia
        if stop.any():
            rows = active[stop]
            now = KMeansResult(centres, labels, inertia, sizes, torch.full_like(active, iteration))
            for kept, value in zip(done, now, strict=True):
                kept[rows] = value[stop]
            if stop.all():
                break
        mean = sums[..., :-1] / sizes.clamp(min=torch.finfo(sizes.dtype).tiny)[..., None]
        mean = mean if step is None else (mean / step).round() * step
        centres = torch.where(sizes[..., None] > 0, mean, centres)
        if (sizes == 0).any():
            counts = (weights > 0).to(points)
            centres = _refill(centres, sizes, points * counts[..., None], distance * counts)
        before = inertia
        if stop.any():
            stay = ~stop
            active, points, with_one, norms, weights, columns = (
                x[stay] for x in (active, points, with_one, norms, weights, columns)
            )
            centres, labels, before = centres[stay], labels[stay], before[stay]
    return done


def _scale(points: Tensor, centres: Tensor, step: float | None) -> float | None:
    """Factor that makes squared distances whole numbers with room for an index in the low digits.

    None if float64 cannot hold both exactly: without a step, or far from 0.
    """
    if step is None:
        return None
    _, clusters, channels = centres.shape
    scale = 2.0 ** (clusters - 1).bit_length() / step**2
    reach = max(float(points.abs().max()), float(centres.abs().max()))
    return scale if scale * 3 * channels * reach**2 < 2**52 else None


def _nearest(
    points: Tensor, norms: Tensor, centres: Tensor, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Index of the nearest centre, and its squared distance, of each point: ``[P, N]`` both.

    ``points`` ``[P, N, C + 1]`` have a last coordinate of 1, ``norms`` ``[P, N]`` are their squared
    lengths without it, and ``scale`` is that of :func:`_scale`.
    """
    # |x - c|² minus |x|², which does not change which is the smallest, as one product.
    norm, factor = centres.square().sum(-1), -2.0
    if scale is not None:
        norm = scale * norm + torch.arange(centres.shape[1], device=centres.device)
        factor *= scale
    terms = torch.cat([factor * centres, norm[..., None]], -1).mT
    slices = min(points.shape[1], max(1, budget(points.device) // norm.numel()))
    # One piece of memory for all: allocating a new one for each part takes as long as the product.
    room = points.new_empty(len(points), slices, norm.shape[1])
    scores = (
        torch.bmm(part, terms, out=room[:, : part.shape[1]]) for part in points.split(slices, 1)
    )
    if scale is None:
        least = [score.min(-1) for score in scores]
        labels = torch.cat([part.indices for part in least], 1)
        distance = torch.cat([part.values for part in least], 1)
    else:
        # Only the smallest number, which includes its index: on a CPU, finding both as above takes
        # ten times as long.
        both = torch.cat([score.amin(-1) for score in scores], 1)
        labels = both.long() & ((1 << (norm.shape[1] - 1).bit_length()) - 1)
        distance = (both - labels) / scale
    return labels, (distance + norms).clamp(min=0)


def _squared_lengths(x: Tensor) -> Tensor:
    """Sum of the squares of ``[..., C]``, channel by channel: sums over so short a row are slow."""
    first, *others = x.unbind(-1)
    total = first.square()
    for channel in others:
        total.addcmul_(channel, channel)
    return total


def _refill(centres: Tensor, sizes: Tensor, points: Tensor, distance: Tensor) -> Tensor:
    """Move the centres without points to the points ``[P, N]`` that are farthest from theirs."""
    empty = sizes == 0
    # Stable sort, so that ties give the first point on every device.
    far = torch.sort(distance, dim=1, descending=True, stable=True)
    rank = (empty.cumsum(1) - 1).clamp(0, points.shape[1] - 1)
    index = far.indices.gather(1, rank)[..., None].expand(-1, -1, points.shape[2])
    rounding = 1e-12 * points.square().sum(-1).amax(1, keepdim=True)
    moves = empty & (far.values.gather(1, rank) > rounding)
    return torch.where(moves[..., None], points.gather(1, index), centres)


def budget(device: torch.device) -> int:
    """Return how many distances to compute at once: few to fit a cache, many to fill a GPU."""
    return 2**19 if device.type == "cpu" else 2**25
