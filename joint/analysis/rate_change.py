"""Change of the bits by region between two systems on the same pictures.

::

    before, after ─ pictures of both ─► densities, the same draws of lesions ─► paired change
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from classify import Interval
from classify.intervals import check_resampling, check_units, membership, source
from joint.analysis.by_lesion import lesions_in, widened_intervals
from joint.record import Record

from .rate_map import ALL, REGIONS, RateMap, densities, drawn_densities

__all__ = ["RateChange", "RegionChange", "rate_change"]


class RegionChange(NamedTuple):
    """Density of bits in a region of the pictures of a class, before and after."""

    name: str
    """The class, or ``all``."""
    region: str
    before: float
    """Density."""
    after: float
    """Density."""
    change: float
    """After minus before."""
    interval: Interval
    """Interval of the change; for few lesions widened by Student's t."""


@dataclass(frozen=True)
class RateChange(Record):
    """Paired change of the densities between two systems."""

    rows: tuple[RegionChange, ...]
    pictures: int
    level: float
    resamples: int

    def __str__(self) -> str:
        lines = [
            f"density of bits in {self.pictures} pictures; {100 * self.level:g} % intervals of "
            "the change over lesions",
            f"{'class':8} {'region':10} {'before':>8} {'after':>8} {'change':>8}",
        ]
        lines += [
            f"{row.name:8} {row.region:10} {row.before:8.3f} {row.after:8.3f} {row.change:+8.3f} "
            f"{row.interval:+.3f}"
            for row in self.rows
        ]
        return "\n".join(lines)


def rate_change(
    before: RateMap,
    after: RateMap,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> RateChange:
    """Compare where two systems spend their bits on the same pictures, such as by joint training.

    Parameters
    ----------
    before, after : RateMap
        Maps of the same data set with the same band. Pictures that are missing in one of them are
        left out.
    resamples : int
        Draws; each holds the same lesions for both.
    level : float
        Confidence level in (0, 1).
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Raises
    ------
    ValueError
        When the bands or classes differ, or fewer than two lesions are in both.
    """
    check_resampling(resamples, level)
    if (before.band, before.classes) != (after.band, after.classes):
        raise ValueError(
            f"the maps differ in band ({before.band:g} and {after.band:g} pixels) or classes: "
            "make both with the same"
        )
    places = {name: row for row, name in enumerate(after.identifiers)}
    first = [row for row, name in enumerate(before.identifiers) if name in places]
    second = [places[before.identifiers[row]] for row in first]
    if not first:
        raise ValueError("the maps have no picture in common: make both of the same data set")
    groups = [before.groups[row] for row in first]
    member = membership(groups, len(first))
    check_units(member, groups)
    labels = before.labels[first]
    seeded = source(generator)
    state = seeded.get_state()
    drawn, observed = [], []
    for each, kept in ((before, first), (after, second)):
        parts = each.bits[kept], each.areas[kept], labels
        once = np.ones((1, len(labels)))
        observed.append(densities(once, *parts, len(before.classes))[0])
        seeded.set_state(state)  # the same lesions
        drawn.append(drawn_densities(*parts, member, len(before.classes), resamples, seeded))
    change = drawn[1] - drawn[0]
    shown = np.minimum(before.areas[first], after.areas[second])
    rows = []
    for k, name in enumerate((ALL, *before.classes)):
        own = np.ones(len(labels), bool) if k == 0 else labels == k - 1
        moved = observed[1][k] - observed[0][k]
        lesions = lesions_in(member[own], shown[own])
        intervals = widened_intervals(moved, change[:, k], lesions, level)
        for a, (region, interval) in enumerate(zip(REGIONS, intervals, strict=True)):
            start, end = (float(density[k, a]) for density in observed)
            rows.append(RegionChange(name, region, start, end, end - start, interval))
    return RateChange(tuple(rows), len(first), level, resamples)
