"""Change of contrast between two systems, on the same pictures.

::

    before [N], after [N] ─ the same draws of lesions ─► medians, their difference, an interval
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from classify import Interval
from classify.intervals import (
    check_resampling,
    check_units,
    membership,
    resampled,
    source,
    unit_of,
)
from joint.analysis.by_lesion import median_interval, medians
from joint.record import Record

__all__ = ["ContrastChange", "contrast_change"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ContrastChange(Record):
    """Paired change of a contrast measure, such as by a codec or by joint training."""

    measure: str
    """Name of what was measured."""
    before: float
    """Median before."""
    after: float
    """Median after, of the same pictures."""
    change: float
    """Difference of the medians, after minus before; not the median of the changes."""
    interval: Interval
    """Interval of the change; NaN with too few lesions for a median, see
    :func:`contrast_by_class`."""
    pictures: int
    """Number of pictures with both values."""
    undefined: int
    """Number of pictures without one of them."""
    level: float
    """Confidence level of the interval."""
    resamples: int
    """Number of resamples of the interval."""
    unit: str
    """``lesions`` where groups were given, else ``pictures``."""

    def __str__(self) -> str:
        return (
            f"{self.measure}: median {self.before:.3f} to {self.after:.3f}, {self.change:+.3f} "
            f"{self.interval:+.3f} ({self.pictures} pictures, {self.undefined} without a "
            f"value; {100 * self.level:g} % interval over {self.unit})"
        )


def contrast_change(
    before: Array,
    after: Array,
    *,
    measure: str = "contrast",
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> ContrastChange:
    """Compare the median contrast of the same pictures at two planes, or behind two systems.

    Parameters
    ----------
    before, after : array ``[N]``
        As from :func:`measure_contrast`; pictures without one of the values are left out.
    measure : str
        Name of what was measured.
    groups : sequence of str, length N, optional
        Lesion of each picture: whole lesions are drawn, the same for both.
    resamples : int
        Draws.
    level : float
        Confidence level in (0, 1).
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Raises
    ------
    ValueError
        When lengths or groups do not fit, no picture has both values, or fewer than two lesions
        do.
    """
    check_resampling(resamples, level)
    pair = [np.asarray(values, dtype=float) for values in (before, after)]
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape:
        raise ValueError(
            f"before and after must be one number for each picture, not {pair[0].shape} and "
            f"{pair[1].shape}"
        )
    there = np.isfinite(pair[0]) & np.isfinite(pair[1])
    if not there.any():
        raise ValueError(f"none of the {len(there)} pictures has both values")
    membership(groups, len(there))  # refuses groups that are not of all pictures
    names = None if groups is None else [groups[row] for row in np.flatnonzero(there).tolist()]
    member = membership(names, int(there.sum()))
    check_units(member, names)
    drawn, observed = [], []
    chunks = list(resampled(member, resamples, source(generator)))
    for each in pair:
        values = each[there]
        order = np.argsort(values)
        observed.append(float(np.median(values)))
        drawn.append(np.concatenate([medians(values[order], w[:, order]) for w in chunks]))
    return ContrastChange(
        measure=measure,
        before=observed[0],
        after=observed[1],
        change=observed[1] - observed[0],
        interval=median_interval(drawn[1] - drawn[0], int(member.max()) + 1, level),
        pictures=len(member),
        undefined=int((~there).sum()),
        level=level,
        resamples=resamples,
        unit=unit_of(groups),
    )
