"""Designs that no other one beats in everything at once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["pareto_front"]


def pareto_front(values: npt.ArrayLike, *, minimise: Sequence[bool]) -> npt.NDArray[np.bool_]:
    """Tell which points are not dominated.

    A point is dominated by another that is as good in every number and better in one. Equal points
    do not dominate each other. A point with a number missing (nan) is not comparable: it is not on
    the front, and keeps no other from it.

    Parameters
    ----------
    values : array ``[M, D]``
        D numbers of M designs.
    minimise : sequence of bool, length D
        Whether a smaller one is better.

    Returns
    -------
    array of bool ``[M]``

    Raises
    ------
    ValueError
        When the shapes do not fit.
    """
    points = np.asarray(values, dtype=float)
    if points.ndim != 2 or points.shape[1] != len(minimise):
        raise ValueError(
            f"a front needs values [M, D] and D directions, not {points.shape} and {len(minimise)}"
        )
    points = np.where(minimise, points, -points)
    known = np.logical_not(np.isnan(points).any(1))
    front = np.zeros(len(points), dtype=np.bool_)
    for number in np.flatnonzero(known):
        no_worse = (points <= points[number]).all(1)
        better = (points < points[number]).any(1)
        front[number] = not (no_worse & better).any()
    return front
