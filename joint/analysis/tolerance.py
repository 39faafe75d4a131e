"""How many of the systems that are built keep the promise of the design: Monte Carlo tolerancing.

::

    design ─┬─ device 1: every imperfection at once, each of a level drawn within its tolerance ─┐
            ├─ device 2                                                                          ├─►
            └─ ...              evaluate, or a function of the system ─► values ─► yield, quantiles

:func:`robustness` changes one thing at a time and asks how far it may go; this asks what comes out
when all of them are off together, as they are in a product.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from scipy import stats
from tqdm import tqdm

from classify import LesionDataset
from joint.evaluate import evaluate
from joint.feed import derive_seed
from joint.system import ImagingSystem

from .perturbation import KINDS, PERTURBATIONS, Perturbation, applicable, perturbed
from .record import plain

__all__ = ["Limits", "Tolerance", "Yield", "tolerance"]

Limits: TypeAlias = float | tuple[float, float]
"""Half the width about the nominal level, or the lowest and the highest level."""

Distribution = Literal["uniform", "normal"]
_LESS_IS_BETTER = ("loss", "bpp", "bpp_bytes")
# What has a place in the pupil is changed before it is moved; then the wavefront, which stays where
# it is; then what lies around the front end.
_ORDER: tuple[Perturbation, ...] = (
    "height_error",
    "kernel_error",
    "decentre",
    "rotation",
    "phase_error",
    "defocus",
    "read_noise",
    "photons",
    "shift",
    "registration",
    "colour_cast",
)


class Yield(NamedTuple):
    """Share of the devices that are good enough."""

    value: float
    """The share."""
    interval: tuple[float, float]
    """Clopper and Pearson's, of a share among so many devices."""

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"


@dataclass(frozen=True)
class Tolerance:
    """Devices that were built at random within their tolerances."""

    measure: str
    """What was measured of each."""
    more_is_better: bool
    """Or, where False, less."""
    nominal: float
    """That of the design."""
    values: tuple[float, ...]
    """Those of the devices."""
    levels: dict[Perturbation, tuple[float, ...]]
    """Of each imperfection, in each device; where it is a random pattern, its RMS."""
    design: dict[Perturbation, float]
    """The levels of the design."""
    level: float
    """Confidence level of the intervals."""

    def yield_at(self, limit: float) -> Yield:
        """Share of the devices at ``limit`` or better, with its interval.

        Parameters
        ----------
        limit : float
            In the unit of the measure.

        Returns
        -------
        Yield
        """
        values = np.array(self.values)
        good = values >= limit if self.more_is_better else values <= limit
        found = stats.binomtest(int(good.sum()), len(values))
        low, high = found.proportion_ci(self.level, method="exact")
        return Yield(float(good.mean()), (float(low), float(high)))

    def promised(self, share: float) -> float:
        """The limit that this share of the devices keeps: a quantile of the values.

        Parameters
        ----------
        share : float
            Above 0 and below 1.

        Returns
        -------
        float
            A value that was found, on the safe side: at least so many devices are as good.

        Raises
        ------
        ValueError
            When ``share`` is not above 0 and below 1.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must be above 0 and below 1, not {share}")
        quantile = 1 - share if self.more_is_better else share
        method = "lower" if self.more_is_better else "higher"
        return float(np.quantile(self.values, quantile, method=method))

    def sensitivities(self) -> dict[Perturbation, float]:
        """Spearman's rank correlation of each distance from nominal with the measure, by size.

        The largest is the tolerance to tighten. Those whose level does not vary, or where all
        devices are alike, have none.
        """
        found: dict[Perturbation, float] = {}
        for name, levels in self.levels.items():
            away = np.abs(np.array(levels) - self.design[name])
            if np.ptp(away) > 0 and np.ptp(self.values) > 0:
                ranks = stats.rankdata(away), stats.rankdata(self.values)
                found[name] = float(np.corrcoef(*ranks)[0, 1])
        return dict(sorted(found.items(), key=lambda item: -abs(item[1])))

    def __str__(self) -> str:
        shares = ", ".join(f"{100 * p:g} % keep {self.promised(p):.4g}" for p in (0.5, 0.9, 0.98))
        correlations = self.sensitivities()
        rows = [
            f"{self.measure} of {len(self.values)} devices: {shares}; design {self.nominal:.4g}",
            f"{'':14}{'design':>12}{'lowest':>12}{'highest':>12}  unit, rank correlation",
        ]
        for name, levels in self.levels.items():
            shown = f", {correlations[name]:+.2f}" if name in correlations else ""
            rows.append(
                f"{name:14}{self.design[name]:12.4g}{min(levels):12.4g}{max(levels):12.4g}  "
                f"{KINDS[name].unit}{shown}"
            )
        return "\n".join(rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return plain({**vars(self), "sensitivities": self.sensitivities()})


def tolerance(
    system: ImagingSystem,
    dataset: LesionDataset,
    limits: Mapping[Perturbation, Limits],
    *,
    measure: str | Callable[[ImagingSystem], float] | None = None,
    more_is_better: bool | None = None,
    devices: int = 50,
    distribution: Distribution = "uniform",
    batch_size: int = 64,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = False,
) -> Tolerance:
    """Build devices at random within tolerances, and measure each.

    ::

        found = tolerance(system, test, {"defocus": 0.25, "shift": 1.0, "read_noise": (1.5, 4.0)})
        found.yield_at(0.65)  # share of the devices with a balanced accuracy of 0.65 or more
        found.promised(0.9)  # what 90 % of them keep

    The imperfections are those of :func:`robustness`. A device has all of them at once, each of a
    level of its own; ``phase_error``, ``height_error`` and ``kernel_error`` are random patterns,
    new in each device. Device ``k`` is the same however many there are, and has the same error of
    one kind whichever others are asked for, so that two designs or two sets of tolerances are
    compared on the same draws.

    Parameters
    ----------
    system : ImagingSystem
        The design. Neither it nor any of its stages is changed.
    dataset : LesionDataset
        Pictures that it was not trained on.
    limits : mapping of perturbation to limits
        Half the width of the tolerance about the level of the design, in the perturbation's unit;
        or the lowest and the highest level. Of a random pattern, the RMS of all devices, or the
        range of it.
    measure : str or callable, optional
        A name from :meth:`joint.Evaluation.scalars`, or a function of a system, such as its Strehl
        ratio; by default the balanced accuracy, or without a classifier the PSNR.
    more_is_better : bool, optional
        By default yes, but for losses and bits per pixel.
    devices : int
        How many are built: 50 tell a yield of 90 % to within 0.1, 400 to within 0.03.
    distribution : {"uniform", "normal"}
        Of the levels within their limits: all alike, or with a standard deviation of a quarter of
        the width, cut at the limits, as of a process that is held at two sigma.
    batch_size, seed
        As in :func:`joint.evaluate`; the seed is that of the devices, too.
    level : float
        Confidence level of the intervals.
    progress : bool
        Show a bar, on a terminal.

    Returns
    -------
    Tolerance

    Raises
    ------
    ValueError
        For a perturbation that is unknown or that the system cannot have, limits outside of its
        range, fewer than two devices, a measure that the system does not have or that is no number.
    """
    if devices < 2:
        raise ValueError(f"there must be at least 2 devices, not {devices}")
    if not 0 < level < 1:
        raise ValueError(f"level must be above 0 and below 1, not {level}")
    if distribution not in get_args(Distribution):
        raise ValueError(f"distribution must be 'uniform' or 'normal', not {distribution!r}")
    ranges = _ranges(system, dataset.channels, limits)
    if measure is None:
        measure = "psnr" if system.classifier is None else "balanced_accuracy"
    name = measure if isinstance(measure, str) else getattr(measure, "__name__", "measure")
    if more_is_better is None:
        more_is_better = not (isinstance(measure, str) and name.startswith(_LESS_IS_BETTER))

    def value(made: ImagingSystem, photons: float | None) -> float:
        if not isinstance(measure, str):
            return float(measure(made))
        found = evaluate(made, dataset, batch_size=batch_size, seed=seed, photons=photons)
        numbers = {key: number for key, number in found.scalars().items() if number is not None}
        if measure not in numbers:
            raise ValueError(
                f"measure must be a function or one of {', '.join(numbers)}, not {measure!r}"
            )
        return numbers[measure]

    nominal = value(system, None)
    values: list[float] = []
    levels: dict[Perturbation, list[float]] = {kind: [] for kind in ranges}
    for device in tqdm(range(devices), unit="device", disable=None if progress else True):
        made = system
        for kind, (low, high) in ranges.items():
            numbers = np.random.default_rng(derive_seed(seed, "tolerance", device, kind))
            step = _drawn(numbers, low, high, distribution)
            levels[kind].append(step)
            drawing = torch.Generator().manual_seed(derive_seed(seed, "device", device, kind))
            if step != KINDS[kind].nominal(system):
                made = perturbed(made, kind, step, channels=dataset.channels, generator=drawing)
        values.append(value(made, levels["photons"][-1] if "photons" in levels else None))
    if not np.isfinite([nominal, *values]).all():
        raise ValueError(f"{name} is not a finite number for all devices: {nominal}, {values}")
    return Tolerance(
        measure=name,
        more_is_better=more_is_better,
        nominal=nominal,
        values=tuple(values),
        levels={kind: tuple(levels[kind]) for kind in PERTURBATIONS if kind in levels},
        design={k: KINDS[k].nominal(system) for k in PERTURBATIONS if k in levels},
        level=level,
    )


def _ranges(
    system: ImagingSystem, channels: int, limits: Mapping[Perturbation, Limits]
) -> dict[Perturbation, tuple[float, float]]:
    """Lowest and highest level of each perturbation, in the order in which they are applied."""
    if not limits:
        raise ValueError(f"limits must name at least one of {', '.join(PERTURBATIONS)}")
    possible = applicable(system, channels=channels)
    ranges: dict[Perturbation, tuple[float, float]] = {}
    for name, limit in limits.items():
        if name not in PERTURBATIONS:
            raise ValueError(f"perturbation must be one of {', '.join(PERTURBATIONS)}, not {name}")
        kind = KINDS[name]
        if name not in possible:
            raise ValueError(f"no {name}: {kind.needs}; this system can have {', '.join(possible)}")
        if isinstance(limit, tuple):
            low, high = map(float, limit)
        elif kind.drawn:
            low = high = float(limit)
        else:
            low, high = (kind.nominal(system) + sign * float(limit) for sign in (-1, 1))
        allowed = all(math.isfinite(end) and kind.allowed(end) for end in (low, high))
        if not (allowed and low <= high):
            raise ValueError(
                f"{name} takes levels in {kind.unit}, {kind.rule}, the lower limit first; "
                f"{limit} gives {low:g} to {high:g}"
            )
        ranges[name] = (low, high)
    return {name: ranges[name] for name in _ORDER if name in ranges}


def _drawn(
    numbers: np.random.Generator, low: float, high: float, distribution: Distribution
) -> float:
    """One level between two limits."""
    if low == high:
        return low
    if distribution == "uniform":
        return float(numbers.uniform(low, high))
    share = numbers.uniform(stats.norm.cdf(-2), stats.norm.cdf(2))
    return float((low + high) / 2 + (high - low) / 4 * stats.norm.ppf(share))
