"""Sensitivity analysis: the effect of each tolerance alone, as in a lens designer's table.

::

    design ─┬─ imperfection 1 at its lowest level, the rest as designed ─┐ (refocus)
            ├─ imperfection 1 at its highest level                       ├─► value, change
            └─ imperfection 2 ...                                        ┘

:func:`tolerance` has all of them at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from classify import LesionDataset
from joint.caution import told_once
from joint.feed import derive_seed
from joint.kinds import check_kinds
from joint.record import Record
from joint.system import ImagingSystem
from optics.quantity import whole_number

from .imperfection import Imperfection
from .merit import merit_of
from .perturbation import KINDS, ByImperfection, common_light, perturbed
from .tolerance import Limits, ranges
from .window import warn_of_what_is_cut

__all__ = ["AtLimits", "Sensitivity", "sensitivity"]


class AtLimits(NamedTuple):
    """One imperfection at both of its limits, the rest as designed."""

    name: str
    """Name of the imperfection."""
    unit: str
    """Unit of its levels."""
    low: float
    """Lowest level."""
    high: float
    """Highest level."""
    change_low: float
    """Measure at the lowest level minus that of the design; for a random error, the mean over its
    draws."""
    change_high: float
    """The same at the highest level."""


@dataclass(frozen=True)
class Sensitivity(Record):
    """Effect of each tolerance alone on the measure."""

    measure: str
    """Name of the measure."""
    more_is_better: bool
    """Whether a higher value is better."""
    nominal: float
    """Measure of the design."""
    rows: tuple[AtLimits, ...]
    """Results, the worst first: tighten these tolerances. The last ones may be widened."""
    devices: int
    """Number of draws of each random error."""

    def __str__(self) -> str:
        wide = max(14, *(len(row.name) + 1 for row in self.rows))
        worse = "-" if self.more_is_better else "+"
        text = [
            f"{self.measure} of the design: {self.nominal:.4g}; change: at the limit less that of "
            f"the design, {worse} is worse",
            f"{'':{wide}}{'lowest':>12}{'change':>12}{'highest':>12}{'change':>12}  unit",
        ]
        text += [
            f"{row.name:{wide}}{row.low:12.4g}{row.change_low:+12.4g}{row.high:12.4g}"
            f"{row.change_high:+12.4g}  {row.unit}"
            for row in self.rows
        ]
        return "\n".join(text)


@told_once()
def sensitivity(
    system: ImagingSystem,
    dataset: LesionDataset,
    limits: ByImperfection[Limits],
    *,
    measure: str | Callable[[ImagingSystem], float] | None = None,
    more_is_better: bool | None = None,
    devices: int = 8,
    refocus: float = 0.0,
    batch_size: int = 64,
    seed: int = 0,
    progress: bool = False,
) -> Sensitivity:
    """Measure a system with one imperfection at a time at its limits.

    ::

        found = sensitivity(system, test, {zernike_error(j): 0.05 for j in range(4, 12)})
        print(found)  # term by term, the worst first

    Parameters
    ----------
    system, dataset, limits, measure, more_is_better
        As in :func:`tolerance`.
    devices : int
        Number of draws of each random pattern or direction, over which the mean is taken.
    refocus : float
        Waves at the rim by which the focus may be moved each time, as in :func:`tolerance`.
    batch_size, seed
        As in :func:`joint.evaluate`; the seed also determines the draws, and the working distances
        of a lens with several. With few pictures these distances are distributed unevenly, and the
        two signs of a defocus then differ: measure at each distance, as in
        docs/howto/tolerance.md.
    progress : bool
        Show a bar, on a terminal.

    Returns
    -------
    Sensitivity

    Raises
    ------
    TypeError
        When ``system`` is not a system, or ``dataset`` not a data set.
    ValueError
        As :func:`tolerance` does, and for fewer than one device.

    Warns
    -----
    UserWarning
        Once, if the window of the PSF cuts off more light at some level than for the design: that
        light is then missing. Tilts, and patterns that are random in each sample, are not checked.
    """
    check_kinds(system, dataset)
    devices = whole_number("devices", devices)
    found = ranges(system, dataset.channels, limits)
    how = merit_of(
        system,
        dataset,
        measure,
        more_is_better=more_is_better,
        refocus=refocus,
        batch_size=batch_size,
        seed=seed,
    )
    light = common_light(system, found)
    warn_of_what_is_cut(system, found, channels=dataset.channels, refocus=refocus, seed=seed)
    nominal = how.of(system, photons=light).value

    def change(kind: Imperfection, step: float) -> float:
        if step == kind.nominal(system):
            return 0.0
        values = []
        for device in range(devices if kind.drawn else 1):
            drawing = torch.Generator().manual_seed(derive_seed(seed, "device", device, kind.name))
            made = perturbed(system, kind, step, channels=dataset.channels, generator=drawing)
            photons = step if kind is KINDS["photons"] else light
            values.append(how.of(made, photons=photons).value)
        return float(np.mean(values)) - nominal

    rows = []
    for kind, (low, high) in tqdm(found.items(), disable=None if progress else True):
        at_low = change(kind, low)
        at_high = at_low if high == low else change(kind, high)
        rows.append(AtLimits(kind.name, kind.unit, low, high, at_low, at_high))
    if not np.isfinite([nominal, *(c for row in rows for c in row[-2:])]).all():
        raise ValueError(f"{how.name} is not a finite number at all limits: {nominal}, {rows}")
    sign = 1 if how.more_is_better else -1
    rows.sort(key=lambda row: min(sign * row.change_low, sign * row.change_high))
    return Sensitivity(how.name, how.more_is_better, nominal, tuple(rows), devices)
