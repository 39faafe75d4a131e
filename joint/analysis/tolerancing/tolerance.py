"""Monte Carlo tolerancing: the yield of devices with all imperfections at once.

::

    design ─┬─ device 1: every imperfection at once, each of a level drawn within its tolerance ─┐
            ├─ device 2                                                                          ├─►
            └─ ...  (refocus) evaluate, or a function of the system ─► values ─► yield, quantiles

:func:`sensitivity` and :func:`robustness` change one thing at a time; this asks what comes out when
all of them are off together, as they are in a product.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from tqdm import tqdm

from classify import Interval, LesionDataset
from joint.caution import told_once
from joint.feed import derive_seed
from joint.kinds import check_kinds
from joint.record import as_json
from joint.system import ImagingSystem
from optics.quantity import is_number, whole_number

from .imperfection import Imperfection, rounded_down
from .merit import Merit, merit_of
from .perturbation import (
    KINDS,
    PERTURBATIONS,
    ByImperfection,
    Perturbation,
    common_light,
    perturbed,
    resolved,
)
from .window import warn_of_what_is_cut

__all__ = ["LevelCorrelation", "Limits", "Tolerance", "Yield", "ranges", "tolerance"]

Array: TypeAlias = npt.NDArray[Any]

Limits: TypeAlias = float | tuple[float, float]
"""Half the width about the nominal level, or the lowest and the highest level."""

Distribution = Literal["uniform", "normal"]


class LevelCorrelation(NamedTuple):
    """Spearman's rank correlations of one imperfection with the measure."""

    level: float
    """Correlation of its level: for errors that only grow, such as read noise, or of one sign."""
    deviation: float
    """Correlation of its distance from the design: for errors that are worse on either side."""

    @property
    def stronger(self) -> float:
        """The one of the larger size, with its sign."""
        return max(self, key=abs)


class Yield(NamedTuple):
    """Share of the devices that are good enough."""

    value: float
    """The share."""
    interval: Interval
    """Interval of the share, by Clopper and Pearson."""

    def __str__(self) -> str:
        return f"{self.value:.3f} {self.interval:.3f}"


@dataclass(frozen=True)
class Tolerance:
    """Result of :func:`tolerance`: the measure of devices drawn within their tolerances."""

    measure: str
    """Name of the measure."""
    more_is_better: bool
    """Whether a higher value is better."""
    nominal: float
    """Measure of the design."""
    values: tuple[float, ...]
    """Measure of each device."""
    levels: dict[str, tuple[float, ...]]
    """Level of each imperfection in each device; for a random pattern, its RMS. Parts into
    which one is divided follow it: ``decentre_radial.decentre_y``, ``wavefront.zernike_5``."""
    design: dict[str, float]
    """Level of each imperfection in the design."""
    level: float
    """Confidence level of the intervals."""
    units: dict[str, str] = field(default_factory=dict)
    """Units of the levels."""
    refocus: tuple[float, ...] = ()
    """Waves at the rim by which each device was refocused; empty without refocusing."""

    def yield_at(self, limit: float) -> Yield:
        """Share of the devices at ``limit`` or better, with its interval.

        Parameters
        ----------
        limit : float
            Limit, in the unit of the measure.

        Returns
        -------
        Yield
        """
        values = np.array(self.values)
        good = values >= limit if self.more_is_better else values <= limit
        found = stats.binomtest(int(good.sum()), len(values))
        low, high = found.proportion_ci(self.level, method="exact")
        return Yield(float(good.mean()), Interval(float(low), float(high)))

    def promised(self, share: float, *, confidence: float | None = None) -> float:
        """The limit that this share of the devices meets: a quantile of the values.

        Parameters
        ----------
        share : float
            Above 0 and below 1.
        confidence : float, optional
            With which as large a share of all devices that could be built keeps it, above 0 and
            below 1: the limit is then on the safe side by order statistics, whatever the
            distribution (Wilks, Ann. Math. Stat. 12:91, 1941). By default it is that of these
            devices alone, of which others are worse about as often as not.

        Returns
        -------
        float
            A value that was found, on the safe side: at least so many devices are as good.

        Raises
        ------
        ValueError
            When ``share`` or ``confidence`` is not above 0 and below 1, or there are too few
            devices for both: 90 % with a confidence of 0.95 takes 29.
        """
        for name, value in (("share", share), ("confidence", confidence)):
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must be above 0 and below 1, not {value}")
        if confidence is not None:
            # As many of the worst as are, with that confidence, no more than the rest of all.
            beyond = int(stats.binom.ppf(1 - confidence, len(self.values), 1 - share))
            if beyond < 1:
                needed = math.ceil(math.log(1 - confidence) / math.log(share) - 1e-9)
                raise ValueError(
                    f"{len(self.values)} devices cannot show what {100 * share:g} % keep with a "
                    f"confidence of {confidence:g}: that takes {needed}"
                )
            ordered = sorted(self.values, reverse=not self.more_is_better)
            return float(ordered[beyond - 1])
        ordered = sorted(self.values, reverse=self.more_is_better)  # the best first
        kept = math.ceil(share * len(ordered) - 1e-9)  # of which rounding makes no more
        return float(ordered[kept - 1])

    def correlations(self) -> dict[str, LevelCorrelation]:
        """Rank correlation of each imperfection with the measure, the strongest first.

        An imperfection whose level does not vary, or equal values of all devices, give none. With N
        devices, independent numbers correlate by about ``1 / sqrt(N)``.

        Returns
        -------
        dict of str to LevelCorrelation
        """
        found: dict[str, LevelCorrelation] = {}
        for name, levels in self.levels.items():
            if np.ptp(levels) > 0 and np.ptp(self.values) > 0:
                away = np.abs(np.array(levels) - self.design[name])
                found[name] = LevelCorrelation(*(_spearman(x, self.values) for x in (levels, away)))
        return dict(sorted(found.items(), key=lambda item: -abs(item[1].stronger)))

    def sensitivities(self) -> dict[str, float]:
        """The stronger one of each imperfection's :meth:`correlations`, by size.

        The largest is the tolerance to tighten.

        Returns
        -------
        dict of str to float
        """
        return {name: found.stronger for name, found in self.correlations().items()}

    def __str__(self) -> str:
        worst = (min if self.more_is_better else max)(self.values)
        # For 98 %, one of 50 devices is beyond the limit, and none of fewer.
        told = [p for p in (0.5, 0.9, 0.98) if len(self.values) * (1 - p) > 1 - 1e-9]
        keep = [f"{100 * p:g} % keep {self.promised(p):.4g}" for p in told]
        shares = ", ".join([*keep, f"the worst has {worst:.4g}"])
        correlations = self.correlations()
        wide = max(14, *(len(name) + 1 for name in self.levels))
        worse = "-" if self.more_is_better else "+"
        rows = [
            f"{self.measure} of {len(self.values)} devices: {shares}; design {self.nominal:.4g}",
            f"rank correlation with {self.measure}: of the level ({worse}: the more the worse), "
            f"and of its deviation from the design ({worse}: the further the worse)",
            f"{'':{wide}}{'design':>12}{'lowest':>12}{'highest':>12}{'level':>8}{'deviation':>11}"
            "  unit",
        ]
        for name, levels in self.levels.items():
            shown = f"{'':19}"
            if name in correlations:
                shown = f"{correlations[name].level:+8.2f}{correlations[name].deviation:+11.2f}"
            rows.append(
                f"{name:{wide}}{self.design[name]:12.4g}{min(levels):12.4g}{max(levels):12.4g}"
                f"{shown}  {self.units.get(name, '')}"
            )
        if self.refocus:
            low, high = min(self.refocus), max(self.refocus)
            rows.append(f"{'refocused by':{wide}}{'':12}{low:12.4g}{high:12.4g}{'':19}  waves")
        return "\n".join(rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        parts = {"sensitivities": self.sensitivities(), "correlations": self.correlations()}
        return as_json(vars(self) | parts)


def _spearman(levels: Sequence[float] | Array, values: Sequence[float]) -> float:
    """0 of levels that are all alike."""
    if np.ptp(levels) == 0:
        return 0.0
    return float(np.corrcoef(stats.rankdata(levels), stats.rankdata(values))[0, 1])


@told_once()
def tolerance(
    system: ImagingSystem,
    dataset: LesionDataset,
    limits: ByImperfection[Limits],
    *,
    measure: str | Callable[[ImagingSystem], float] | None = None,
    more_is_better: bool | None = None,
    devices: int = 50,
    distribution: Distribution = "uniform",
    refocus: float = 0.0,
    batch_size: int = 64,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = False,
) -> Tolerance:
    """Draw devices at random within tolerances, and measure each.

    ::

        found = tolerance(system, test, {"defocus": 0.25, "shift": 1.0, "read_noise": (1.5, 4.0)})
        found.yield_at(0.65)  # share of the devices with a balanced accuracy of 0.65 or more
        found.promised(0.9)  # the limit that 90 % of them meet

    The imperfections are those of :func:`robustness`, named there with their units, each element of
    a pupil or a group of them (:func:`alignment`), and single or shared Zernike terms,
    :func:`zernike_error` and :func:`wavefront_error`. A device has all of them at once, each at its
    own random level; ``phase_error``, ``height_error`` and ``kernel_error`` are random patterns,
    different in each device. Device ``k`` does not depend on the number of devices, and its error
    of one kind does not depend on the other kinds, so that two designs or two sets of tolerances
    are compared on the same draws.

    Parameters
    ----------
    system : ImagingSystem
        The design. Neither it nor any of its stages is changed.
    dataset : LesionDataset
        Pictures that it was not trained on.
    limits : mapping of perturbation or Imperfection to limits
        Half the width of the tolerance about the level of the design, in the perturbation's unit;
        or the lowest and the highest level. For a random pattern, the RMS of all devices, or its
        range. For ``decentre_radial``, the radius of a circle over whose area places are drawn.
    measure : str or callable, optional
        A name from :meth:`joint.Evaluation.scalars`, or a function of a system, such as its Strehl
        ratio. By default the balanced accuracy; without a classifier the PSNR of the codec;
        without a classifier and a codec the PSNR against the scene.
    more_is_better : bool, optional
        Whether a higher value is better; by default True, except for losses and bits per pixel.
    devices : int
        Number of devices: 50 give a yield of 90 % to within 0.12, 400 to within 0.04.
    distribution : {"uniform", "normal"}
        Distribution of the levels within their limits: uniform, or normal with a standard
        deviation of a quarter of the width, cut at the limits, as for a process that is held at two
        sigma. Within a circle, ``normal`` applies to x and to y.
    refocus : float
        Compensator: largest change of focus, in waves at the rim, in either direction. Each device,
        and the design, is refocused to where its measure is best, as when a camera is assembled.
        This takes about 15 measurements per device, more for a wider range. The measure should
        distinguish sharp from blurred pictures: ``psnr_scene`` does; ``psnr`` is that of the codec
        and favours blur, and an accuracy changes in steps. 0 does not refocus.
    batch_size, seed
        As in :func:`joint.evaluate`; the seed also determines the devices.
    level : float
        Confidence level of the intervals.
    progress : bool
        Show a bar, on a terminal.

    Returns
    -------
    Tolerance

    Raises
    ------
    TypeError
        When ``system`` is not a system, or ``dataset`` not a data set, or a limit no number.
    ValueError
        For a perturbation that is unknown or that the system cannot have, limits outside of its
        range, fewer than two devices, a measure that the system does not have or that is not a
        number, a negative ``refocus``, or one for a system without a pupil.

    Warns
    -----
    UserWarning
        Once, if the window of the PSF cuts off more light at some level than for the design: that
        light is then missing. Tilts of the sensor, and patterns that are random in each sample, are
        not checked.
    """
    check_kinds(system, dataset)
    devices = whole_number("devices", devices, least=2)
    if not 0 < level < 1:
        raise ValueError(f"level must be above 0 and below 1, not {level}")
    if distribution not in get_args(Distribution):
        raise ValueError(f"distribution must be 'uniform' or 'normal', not {distribution!r}")
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
    nominal = how.of(system, photons=light)
    merits: list[Merit] = []
    rows: dict[str, list[_Row]] = {kind.name: [] for kind in found}
    in_order = sorted(found.items(), key=lambda item: item[0].order)  # in which they act
    for device in tqdm(range(devices), unit="device", disable=None if progress else True):
        made, photons = system, light
        for kind, (low, high) in in_order:
            numbers = np.random.default_rng(derive_seed(seed, "tolerance", device, kind.name))
            step = _drawn(numbers, low, high, distribution, circular=kind.circular)
            drawing = torch.Generator().manual_seed(derive_seed(seed, "device", device, kind.name))
            if kind is KINDS["photons"]:
                photons = step
            told = {kind.name: (kind, step)}
            for part, own in kind.parts(step, drawing).items():
                if part is not kind:
                    told[f"{kind.name}.{part.name}"] = (part, own)
                if own != part.nominal(system):
                    made = perturbed(made, part, own, channels=dataset.channels, generator=drawing)
            if not rows[kind.name]:
                rows[kind.name] = [
                    _Row(name, one.unit, one.nominal(system), []) for name, (one, _) in told.items()
                ]
            for row, (_, own) in zip(rows[kind.name], told.values(), strict=True):
                row.levels.append(own)
        merits.append(how.of(made, photons=photons))
    values = tuple(merit.value for merit in merits)
    if not np.isfinite([nominal.value, *values]).all():
        raise ValueError(
            f"{how.name} is not a finite number for all devices: {nominal.value}, {[*values]}"
        )
    table = [row for each in rows.values() for row in each]
    return Tolerance(
        measure=how.name,
        more_is_better=how.more_is_better,
        nominal=nominal.value,
        values=values,
        levels={row.name: tuple(row.levels) for row in table},
        design={row.name: row.design for row in table},
        level=level,
        units={row.name: row.unit for row in table},
        refocus=tuple(merit.refocus for merit in merits) if refocus else (),
    )


class _Row(NamedTuple):
    """The levels of one imperfection, or of a part of it."""

    name: str
    unit: str
    design: float
    levels: list[float]


def ranges(
    system: ImagingSystem, channels: int, limits: ByImperfection[Limits]
) -> dict[Imperfection, tuple[float, float]]:
    """Lowest and highest level of each imperfection, in the order of the names, then as given.

    Raises
    ------
    TypeError
        For a limit that is no number: text and True are none.
    ValueError
        For a perturbation that is unknown or that the system cannot have, or limits outside of its
        range.
    """
    if not limits:
        raise ValueError(f"limits must name at least one of {', '.join(PERTURBATIONS)}")
    given = dict[Perturbation | Imperfection, Limits](limits.items())
    found: dict[Imperfection, tuple[float, float]] = {}
    for kind, name in resolved(given, system, channels=channels).items():
        limit = given[name]
        low, high = _ends(kind, limit, kind.nominal(system))
        allowed = all(math.isfinite(end) and kind.allowed(end) for end in (low, high))
        if not (allowed and low <= high):
            raise ValueError(
                f"{kind.name} takes levels in {kind.unit}, {kind.rule}, the lower limit first; "
                f"{limit} gives {low:g} to {high:g}"
            )
        if high > kind.most(system) * (1 + 1e-9):
            raise ValueError(
                f"{kind.name} is at most {rounded_down(kind.most(system))} {kind.unit} of this "
                f"system; {limit} gives {low:g} to {high:g}"
            )
        found[kind] = (low, high)
    return found


def _ends(kind: Imperfection, limit: Limits, nominal: float) -> tuple[float, float]:
    """Lowest and highest level of a tolerance as it was given."""
    rule = (
        f"{kind.name} takes half the width of its tolerance in {kind.unit}, or (lowest, highest), "
        f"not {limit!r}"
    )
    ends = limit if isinstance(limit, tuple | list) else (limit,)
    if not all(map(is_number, ends)):
        raise TypeError(rule)
    if isinstance(limit, tuple | list):
        if len(limit) != 2:
            raise ValueError(rule)
        return float(limit[0]), float(limit[1])
    width = float(limit)
    if kind.circular:
        return 0.0, width
    return (width, width) if kind.drawn else (nominal - width, nominal + width)


def _drawn(
    numbers: np.random.Generator,
    low: float,
    high: float,
    distribution: Distribution,
    *,
    circular: bool,
) -> float:
    """One level between two limits; or a radius, of a point in the plane."""
    if low == high:
        return low
    if circular and distribution == "uniform":
        return math.sqrt(numbers.uniform(low**2, high**2))
    if circular:
        # The radius of two normal numbers, each of half the largest one (Rayleigh).
        radius = stats.rayleigh(scale=high / 2)
        return float(radius.ppf(numbers.uniform(*radius.cdf([low, high]))))
    if distribution == "uniform":
        return float(numbers.uniform(low, high))
    share = numbers.uniform(stats.norm.cdf(-2), stats.norm.cdf(2))
    return float((low + high) / 2 + (high - low) / 4 * stats.norm.ppf(share))
