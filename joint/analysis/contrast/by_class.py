"""Contrast by class: medians and quartiles, with intervals over lesions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from classify import Interval
from classify.intervals import check_resampling, resampled, source, unit_of
from joint.analysis.by_lesion import checked, median_interval, medians
from joint.record import Record

__all__ = ["ClassContrast", "ContrastByClass", "contrast_by_class"]

Array = npt.NDArray[Any]


class ClassContrast(NamedTuple):
    """Contrast of the pictures of one class."""

    name: str
    pictures: int
    """Number of pictures with a value."""
    undefined: int
    """Number of pictures without a value."""
    median: float
    interval: Interval
    """Interval of the median."""
    lower: float
    """First quartile."""
    upper: float
    """Third quartile."""


@dataclass(frozen=True)
class ContrastByClass(Record):
    """Distribution of a contrast measure in each class."""

    measure: str
    classes: tuple[ClassContrast, ...]
    level: float
    resamples: int
    unit: str
    """``lesions`` where groups were given, else ``pictures``."""

    def __str__(self) -> str:
        rows = [
            f"{self.measure}: medians, {100 * self.level:g} % intervals over {self.unit}",
            f"{'class':8} {'n':>6} {'median':>8}  {'interval':^18} {'quartiles':>17}"
            f" {'no value':>9}",
        ]
        for row in self.classes:
            rows.append(
                f"{row.name:8} {row.pictures:6} {row.median:8.3f}  "
                f"{row.interval:7.3f} "
                f"{row.lower:8.3f} {row.upper:8.3f} {row.undefined:9}"
            )
        return "\n".join(rows)


def contrast_by_class(
    values: Array,
    labels: Array,
    *,
    classes: Sequence[str],
    measure: str = "contrast",
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> ContrastByClass:
    """Medians of a contrast measure by class, with bootstrap intervals over lesions.

    Parameters
    ----------
    values : array ``[N]``
        Contrast of each picture; those that are NaN are counted and left out.
    labels : array of int ``[N]``
        Classes of the pictures.
    classes : sequence of str
        Their names.
    measure : str
        Name of what was measured, for the table.
    groups : sequence of str, length N, optional
        Lesion of each picture: whole lesions are drawn.
    resamples : int
        Draws.
    level : float
        Confidence level in (0, 1).
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Returns
    -------
    ContrastByClass
        NaN for a class without values. An interval is over the resamples in which the class has
        values. It is NaN for so few lesions that not even their range covers the median at the
        level: at 95 % for fewer than six.

    Raises
    ------
    ValueError
        When lengths, labels or groups do not fit, or there are fewer than two lesions.
    """
    check_resampling(resamples, level)
    values, labels, member, there = checked(values, labels, classes, groups)
    orders = [
        np.flatnonzero(there & (labels == k))[np.argsort(values[there & (labels == k)])]
        for k in range(len(classes))
    ]
    draws = np.concatenate(
        [
            np.stack([medians(values[rows], weights[:, rows]) for rows in orders], 1)
            for weights in resampled(member, resamples, source(generator))
        ]
    )
    found = []
    for name, rows, drawn, missing in zip(
        classes,
        orders,
        draws.T,
        np.bincount(labels[~there], minlength=len(classes)),
        strict=True,
    ):
        lower, median, upper = (
            np.quantile(values[rows], (0.25, 0.5, 0.75)) if len(rows) else np.full(3, np.nan)
        )
        found.append(
            ClassContrast(
                name=name,
                pictures=len(rows),
                undefined=int(missing),
                median=float(median),
                interval=median_interval(drawn, len(np.unique(member[rows])), level),
                lower=float(lower),
                upper=float(upper),
            )
        )
    return ContrastByClass(measure, tuple(found), level, resamples, unit_of(groups))
