"""Pareto front: designs that no other one beats in all numbers, and its uncertainty.

::

    means [M], costs [M, D] ──pareto_front──► on the front or not
    draws [R, M] of the means ─────┼──front_probability──► in how many of the draws
                 reference [1 + D] ┴──hypervolume──► how much of the space it dominates
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from joint.study.significance import settled

__all__ = [
    "front_probability",
    "hypervolume",
    "hypervolume_shares",
    "pareto_front",
]

Array = npt.NDArray[Any]

DIMENSIONS = (2, 4)  # least and most numbers of a hypervolume
_MARGIN = 0.1  # of the range of the designs, between the worst and the reference
_CELLS = 10_000_000  # held in memory at once: 80 MB


def pareto_front(values: npt.ArrayLike, *, minimise: Sequence[bool]) -> npt.NDArray[np.bool_]:
    """Determine which points are not dominated.

    A point is dominated by another that is at least as good in every number and better in one.
    Numbers that differ by rounding alone are equal, and equal points do not dominate each other. A
    point with a missing number (NaN) is not comparable: it is not on the front and does not keep
    other points off it.

    Parameters
    ----------
    values : array ``[M, D]``
        D numbers of M designs.
    minimise : sequence of bool, length D
        Whether a smaller value is better, for each number.

    Returns
    -------
    array of bool ``[M]``

    Raises
    ------
    ValueError
        When the shapes do not fit.
    """
    points = np.asarray(values, dtype=float)
    if points.ndim != 2 or points.shape[1] != len(minimise) or len(minimise) == 0:
        raise ValueError(
            f"a front needs values [M, D] and D directions, not {points.shape} and "
            f"{len(minimise)}; D is 1 or more"
        )
    points = settled(np.where(minimise, points, -points))
    known = np.logical_not(np.isnan(points).any(1))
    front = np.zeros(len(points), dtype=np.bool_)
    for number in np.flatnonzero(known):
        no_worse = (points <= points[number]).all(1)
        better = (points < points[number]).any(1)
        front[number] = not (no_worse & better).any()
    return front


def front_probability(
    drawn: npt.ArrayLike, costs: npt.ArrayLike, *, minimise: bool = False
) -> npt.NDArray[np.float64]:
    """Share of draws in which each design is on the front of metric and costs.

    Parameters
    ----------
    drawn : array ``[R, M]``
        Resampled metric of M designs in R draws: :attr:`Draws.drawn`.
    costs : array ``[M, D]``
        Costs, without uncertainty; lower is better.
    minimise : bool
        Whether a smaller metric is better.

    Returns
    -------
    array ``[M]``
        Shares of the draws in which the design has a number, 0..1. NaN if there are none, and for
        a design with a missing cost.

    Raises
    ------
    ValueError
        When the shapes do not fit.
    """
    drawn, costs = np.asarray(drawn, dtype=float), np.asarray(costs, dtype=float)
    if drawn.ndim != 2 or costs.ndim != 2 or len(costs) != drawn.shape[1]:
        raise ValueError(
            f"the front of draws [R, M] needs costs [M, D], not {drawn.shape} and {costs.shape}"
        )
    known = np.isfinite(costs).all(1)
    found = np.full(len(costs), math.nan)
    if len(drawn) == 0:
        return found
    losses = drawn if minimise else -drawn
    for number in np.flatnonzero(known):
        # Only designs with no higher cost can push it off the front.
        rivals = known & (costs <= costs[number]).all(1)
        cheaper = (costs < costs[number]).any(1)
        own = losses[:, [number]]
        there = np.isfinite(own[:, 0])  # draws without any finished run are ignored
        beaten = (losses < own) | (cheaper & (losses == own))
        if there.any():
            found[number] = 1 - float((beaten & rivals).any(1)[there].mean())
    return found


def hypervolume(
    values: npt.ArrayLike, reference: Sequence[float], *, minimise: Sequence[bool]
) -> float:
    """Volume that a set of designs dominates, up to a reference point.

    This is the S-metric of Zitzler and Thiele (IEEE Transactions on Evolutionary Computation 3
    (1999) 257), computed exactly: the space is cut at each cost of a design, and each cell is as
    high as the best design that costs no more.

    Parameters
    ----------
    values : array ``[M, D]``
        D numbers of M designs, 2 to 4. A design with a missing number (NaN) dominates nothing, as
        does one that is not better than the reference in all numbers.
    reference : sequence of float, length D
        Point at which the volume ends, worse than the designs that count.
    minimise : sequence of bool, length D
        Whether a smaller value is better, for each number.

    Returns
    -------
    float
        Volume in the product of the units; it depends on the reference and on the scales.

    Raises
    ------
    ValueError
        When the shapes do not fit, or when the reference, or the distance of a design from it, is
        not finite.
    """
    gains = _gains(values, reference, minimise)
    return float(volumes_of(gains[None, :, 0], gains[:, 1:])[0])


def hypervolume_shares(
    values: npt.ArrayLike, reference: Sequence[float], *, minimise: Sequence[bool]
) -> npt.NDArray[np.float64]:
    """Share of the hypervolume that each design alone adds, which is lost without it.

    Parameters
    ----------
    values, reference, minimise
        As in :func:`hypervolume`.

    Returns
    -------
    array ``[M]``
        0..1; 0 for a design that is not on the front or has an equal there, so the shares do not
        sum to 1. NaN if nothing is dominated.

    Raises
    ------
    ValueError
        As :func:`hypervolume`.
    """
    gains = _gains(values, reference, minimise)
    ways = [False] * gains.shape[1]
    front = np.flatnonzero(pareto_front(gains, minimise=ways))
    whole = volumes_of(gains[None, front, 0], gains[front, 1:])[0]
    shares = np.zeros(len(gains))
    if not whole > 0:
        return np.full(len(gains), math.nan)
    for number in front:
        rest = np.delete(gains, number, axis=0)
        rest = rest[pareto_front(rest, minimise=ways)]  # designs behind it may move to the front
        shares[number] = max(0.0, 1 - float(volumes_of(rest[None, :, 0], rest[:, 1:])[0] / whole))
    return shares


def _gains(values: npt.ArrayLike, reference: Sequence[float], minimise: Sequence[bool]) -> Array:
    """Improvement over the reference, ``[M, D]``; 0 for a design that is not better in all."""
    points, end = np.asarray(values, dtype=float), np.asarray(reference, dtype=float)
    least, most = DIMENSIONS
    count = len(minimise)
    if points.ndim != 2 or points.shape[1] != count or end.shape != (count,):
        raise ValueError(
            f"a hypervolume needs values [M, D], and a reference and directions of length D, not "
            f"{points.shape}, {end.shape} and {count}"
        )
    if not least <= count <= most:
        raise ValueError(f"a hypervolume takes {least} to {most} numbers, not {count}")
    if not np.isfinite(end).all():
        raise ValueError(f"the reference of a hypervolume must be finite, not {end.tolist()}")
    gains = np.where(minimise, end - points, points - end)
    gains = np.where((gains > 0).all(1, keepdims=True), gains, 0.0)
    endless = np.flatnonzero(np.isposinf(gains).any(1))
    if len(endless):
        raise ValueError(
            "the hypervolume is infinite: some designs are infinitely better than the reference, "
            f"rows {', '.join(map(str, endless))}: leave these designs out"
        )
    return gains


def volumes_of(drawn: Array, fixed: Array) -> Array:
    """Volumes ``[R]`` of M boxes with a drawn first side ``[R, M]`` and fixed sides ``[M, D]``.

    All boxes share a corner. The space of the fixed sides is cut at each of them; a cell is as high
    as the longest first side of the boxes that cover it.
    """
    cuts, places = zip(*(np.unique(side, return_inverse=True) for side in fixed.T), strict=True)
    shape = tuple(len(cut) for cut in cuts)
    size = math.prod(shape)
    if size == 0:
        return np.zeros(len(drawn))
    flat = np.asarray(np.ravel_multi_index(tuple(place.ravel() for place in places), shape))
    cells = np.ones(1)
    for cut in cuts:
        cells = np.outer(cells, np.diff(cut, prepend=0.0)).ravel()
    found = []
    for first in range(0, len(drawn), step := max(1, _CELLS // size)):
        part = drawn[first : first + step]
        best = np.zeros((len(part), size))
        for box, place in enumerate(flat.tolist()):
            np.maximum(best[:, place], part[:, box], out=best[:, place])
        best = best.reshape(-1, *shape)
        for axis in range(1, best.ndim):  # a longer box covers the cells of shorter ones
            best = np.flip(np.maximum.accumulate(np.flip(best, axis), axis), axis)
        found.append(best.reshape(len(part), size) @ cells)
    return np.concatenate(found) if found else np.zeros(0)


def reference_of(values: Array, minimise: Sequence[bool]) -> tuple[Array, Array]:
    """Best of each number of the designs ``[M, D]``, and a tenth of the range beyond the worst.

    Designs with a missing number do not count; at least one design must have all.
    """
    known = values[np.isfinite(values).all(1)]
    lowest, highest = known.min(0), known.max(0)
    best, worst = np.where(minimise, lowest, highest), np.where(minimise, highest, lowest)
    span = highest - lowest
    # If designs are equal in a number, some room beyond them is still needed.
    span = np.where(span > 0, span, np.where(worst != 0, np.abs(worst), 1.0))
    return best, worst + _MARGIN * np.where(minimise, span, -span)
