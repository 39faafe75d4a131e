"""Which choice matters: the effect of each axis, and of pairs of axes, over the whole study.

::

    means [D] of designs ──projections──► means of the levels, shares of the variance
    draws [R, D] ───────────────┴───────► their intervals

For a full factorial this is the functional analysis of variance (Fisher; Sobol, Mathematics and
Computers in Simulation 55 (2001) 271): the variance over designs is a sum of parts, one for each
axis, each pair of axes, and so on. For other studies it is least squares: the share of an axis is
what it explains beyond all others (type II sums of squares), and that of a pair what it adds to all
axes. An axis that only some designs have is nested: its levels are compared within these, and its
columns are 0 in the others (Scheffe, The Analysis of Variance, 1959, chapter 5.3). All of this is
exploration.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from classify import Interval
from joint.parse import is_number
from joint.record import Record
from joint.study.axis import Design, Level, level_key
from joint.study.condition import ABSENT, Absent

from .draws import Draws
from .inference import added_by_noise, degrees_of_freedom, quantile, within_range

__all__ = ["AxisEffect", "Effects", "LevelMean", "PairEffect", "Share", "effects"]

Array = npt.NDArray[Any]

_GROUPS = 4  # groups of an axis whose levels hardly ever repeat


@final
@dataclass(frozen=True)
class Share:
    """Share of the variance over designs, 0..1, without the part due to seeds and lesions."""

    value: float
    """NaN if the designs do not differ by more than that part."""
    interval: Interval | None
    """Interval over seeds and lesions; 0 to 1 if all differences of designs may be chance."""


@final
@dataclass(frozen=True)
class LevelMean:
    """Mean of one level, over the levels of all other axes with which the axis exists."""

    level: Level
    designs: int
    """Number of designs at this level."""
    mean: float
    interval: Interval | None
    """Interval of the mean."""
    effect: float
    """Mean of the level, less the mean over all levels."""
    effect_interval: Interval | None
    """Interval of the effect; variation common to all designs cancels in it."""


@final
@dataclass(frozen=True)
class AxisEffect:
    """Effect of one axis."""

    axis: str
    levels: tuple[LevelMean, ...]
    share: Share
    """Share of the axis alone."""
    total: Share | None
    """Share with all interactions of the axis; None except for a full factorial."""
    grouped: bool
    """Whether levels were grouped, because hardly any occurred twice."""


@final
@dataclass(frozen=True)
class PairEffect:
    """Interaction of two axes: their joint effect beyond the effects of each."""

    axes: tuple[str, str]
    share: Share | None
    """None if the designs cannot separate it from the effects of the axes."""


@final
@dataclass(frozen=True)
class Effects(Record):
    """Effect of each axis on the metric."""

    metric: str
    unit: str
    """What the intervals are over."""
    designs: int
    left_out: int
    """Number of designs without a value."""
    factorial: bool
    """Whether all combinations of levels exist, so that shares are exact and add up."""
    variance: float
    """Variance over designs, less that of seeds and lesions; at least 0."""
    axes: tuple[AxisEffect, ...]
    pairs: tuple[PairEffect, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        head = "every combination" if self.factorial else "not every combination is there"
        lines = [
            f"effects on {self.metric} over {self.designs} designs, {head}; exploration",
            f"  standard deviation over designs, without chance over {self.unit}: "
            f"{math.sqrt(self.variance):.4f}",
        ]
        if not self.variance > 0:
            lines.append("  the designs do not differ by more than that")
        for axis in self.axes:
            total = "" if axis.total is None else f", {_shown(axis.total)} with its interactions"
            share = f": {_shown(axis.share)} of the variance alone{total}"
            lines.append(f"  {axis.axis}" + share * (self.variance > 0))
            for level in axis.levels:
                ends = "" if level.effect_interval is None else f" {level.effect_interval:+.4f}"
                lines.append(
                    f"    {level.level}: {level.mean:.4f}, {level.effect:+.4f}{ends} from the mean"
                )
        lines += [
            f"  {' and '.join(pair.axes)} together: {_shown(pair.share)} of the variance"
            for pair in self.pairs
            if pair.share is not None and self.variance > 0
        ]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def _shown(share: Share) -> str:
    ends = "" if share.interval is None else f" {share.interval:.0%}"
    return f"{share.value:.0%}{ends}"


def effects(designs: Mapping[int, Design], draws: Draws, *, level: float = 0.95) -> Effects:
    """Divide the differences between designs among their axes.

    Parameters
    ----------
    designs : mapping from int to Design
        Levels of each design, by its number.
    draws : Draws
        Draws of the metric; not of a :class:`Race`, which chooses seeds by results.
    level : float
        Level of the intervals.

    Returns
    -------
    Effects
        Mean of a level: all levels of the other axes have equal weight. Shares refer to the
        variance less the mean contribution of seeds and lesions, which is estimated from the draws.
        This removes apparent effects of noise on average (as omega squared: Hays, Statistics for
        Psychologists, 1963). As no share is below 0, an axis without effect still has a mean share
        a little above 0, more so with few seeds. Intervals are Fieller's for a ratio (J. R. Stat.
        Soc. B 16 (1954) 175), from the spread of the draws with the quantile of Student's t; with
        two or three seeds they are often from 0 to 1.

    Raises
    ------
    ValueError
        With fewer than two designs that have a value, or if they differ on no axis.
    """
    used = {
        name: [designs[number].get(name, ABSENT) for number in draws.designs]
        for name in dict.fromkeys(itertools.chain(*designs.values()))
    }
    columns = {name: values for name, values in used.items() if len(_there(values)) > 1}
    if len(draws.designs) < 2 or not columns:
        raise ValueError(
            f"effects need at least two designs with a result that differ on an axis, not "
            f"{len(draws.designs)}: finish more runs"
        )
    grouped = {name: found for name, values in columns.items() if (found := _grouped(values))}
    labels = {**columns, **{name: groups.of_each for name, groups in grouped.items()}}
    parts = _Parts.of(labels)
    axes = tuple(
        AxisEffect(
            name,
            _level_means(
                labels[name],
                parts.means[name],
                draws,
                level,
                order=grouped[name].names if name in grouped else (),
            ),
            _share(parts.alone[name], draws, level),
            None if parts.total is None else _share(parts.total[name], draws, level),
            name in grouped,
        )
        for name in labels
    )
    pairs = tuple(
        PairEffect(
            (one, other),
            None if found is None else _share(found, draws, level),
        )
        for (one, other), found in parts.together.items()
    )
    variance = _corrected(draws)
    notes = list(parts.notes)
    if len(draws.drawn) == 0:
        notes.append(
            "with one seed, chance over seeds is unknown: shares include it, without interval"
        )
    for name, values in labels.items():
        if ABSENT in values:
            there = len(values) - values.count(ABSENT)
            notes.append(
                f"{there} of {len(values)} designs have the axis {name}: its levels are compared "
                "among these, and its share is that of the variance over all"
            )
    if any(axis.grouped for axis in axes):
        notes.append("levels that hardly ever occur twice were grouped with their neighbours")
    return Effects(
        metric=draws.metric,
        unit=draws.unit,
        designs=len(draws.designs),
        left_out=len(designs) - len(draws.designs),
        factorial=parts.total is not None,
        variance=max(0.0, variance),
        axes=axes,
        pairs=pairs,
        notes=(*notes, *([draws.note] if draws.note else [])),
    )


def _there(values: Sequence[Level | Absent]) -> list[tuple[str, Any]]:
    """Keys of the different levels; designs without the axis have none."""
    return [key for key in dict.fromkeys(map(level_key, values)) if key[1] is not ABSENT]


class _Groups(NamedTuple):
    of_each: list[Level | Absent]
    names: tuple[str, ...]
    """In ascending order."""


def _grouped(values: Sequence[Level | Absent]) -> _Groups | None:
    """Numbers in groups of equal size by their order, if hardly any occurs twice."""
    there = [v for v in values if v is not ABSENT]
    numbers = [level for level in there if is_number(level)]
    times = Counter(numbers)
    once = sum(time == 1 for time in times.values())
    # A grid that lacks some corners still has most of its levels more than once.
    if len(numbers) < len(there) or 2 * len(times) <= len(numbers) or 2 * once <= len(times):
        return None
    count = max(2, min(_GROUPS, len(times) // 2))
    if count == len(times):
        return None
    groups = np.array_split(np.unique(numbers), count)
    ends = {end for group in groups for end in (float(group[0]), float(group[-1]))}
    # Six digits if these distinguish the ends, as groups are distinguished by their names.
    digits = next(
        (n for n in range(6, 17) if len({f"{end:.{n}g}" for end in ends}) == len(ends)), 17
    )
    named = {
        float(number): " to ".join(
            dict.fromkeys(f"{float(end):.{digits}g}" for end in (group[0], group[-1]))
        )
        for group in groups
        for number in group
    }
    of_each: list[Level | Absent] = [
        ABSENT if v is ABSENT else named[float(v)]  # pyright: ignore
        for v in values
    ]
    return _Groups(of_each, tuple(dict.fromkeys(named.values())))


@final
@dataclass(frozen=True, eq=False)
class _Parts:
    """Projections ``[D, D]`` onto the parts of an effect, symmetric and idempotent."""

    alone: dict[str, Array]
    total: dict[str, Array] | None
    together: dict[tuple[str, str], Array | None]
    means: dict[str, dict[tuple[str, Level], Array | None]]
    """Weights ``[D]`` by level; their product with the designs' means is the mean of the level."""
    notes: tuple[str, ...]

    @classmethod
    def of(cls, labels: Mapping[str, Sequence[Level | Absent]]) -> "_Parts":
        count = len(next(iter(labels.values())))
        ones = np.ones((count, 1))
        coded = {name: _coded(values) for name, values in labels.items()}
        additive = np.hstack([ones, *coded.values()])
        onto = _onto(additive)
        alone = {
            name: onto - _onto(np.hstack([ones, *(c for n, c in coded.items() if n != name)]))
            for name in labels
        }
        together: dict[tuple[str, str], Array | None] = {}
        for one, other in itertools.combinations(labels, 2):
            products = coded[one][:, :, None] * coded[other][:, None, :]
            wide = _onto(np.hstack([additive, products.reshape(count, -1)])) - onto
            together[one, other] = wide if np.trace(wide) > 0.5 else None
        cells = {tuple(level_key(labels[n][d]) for n in labels) for d in range(count)}
        sizes = [len(set(map(level_key, values))) for values in labels.values()]
        factorial = len(cells) == count == math.prod(sizes)
        total = None
        if factorial:
            total = {
                name: np.eye(count) - _cells([v for n, v in labels.items() if n != name], count)
                for name in labels
            }
        means, notes = _weights(labels, coded, additive)
        if round(np.trace(onto)) == count and not factorial:
            notes.append("there are as many levels as designs, so they can explain anything")
        if not factorial:
            notes.insert(
                0,
                "not every combination is there: the share of an axis is what it explains beyond "
                "all others, and shares need not add up",
            )
        return cls(alone, total, together, means, tuple(notes))


def _coded(values: Sequence[Level | Absent]) -> Array:
    """Columns that sum to zero over the levels, one fewer than levels; 0 without the axis."""
    keys = [level_key(value) for value in values]
    known = _there(values)
    one_hot = np.array([[key == other for other in known] for key in keys], dtype=float)
    return one_hot[:, :-1] - one_hot[:, [-1]]


def _cells(columns: Sequence[Sequence[Level | Absent]], count: int) -> Array:
    """Projection onto means over designs that are equal in these columns."""
    keys = [tuple(level_key(column[d]) for column in columns) for d in range(count)]
    alike = np.array([[a == b for b in keys] for a in keys], dtype=float)
    return alike / alike.sum(1, keepdims=True)


def _onto(columns: Array) -> Array:
    """Projection onto the space of some columns."""
    basis, values, _ = np.linalg.svd(columns, full_matrices=False)
    basis = basis[:, values > 1e-9 * values[0]]
    return basis @ basis.T


def _weights(
    labels: Mapping[str, Sequence[Level | Absent]], coded: Mapping[str, Array], additive: Array
) -> tuple[dict[str, dict[tuple[str, Level], Array | None]], list[str]]:
    """Weights of the designs that give the mean of each level at the average of all other axes.

    The average is over the levels with which the axis exists; if it always exists, the columns of
    the other axes sum to 0.
    """
    inverse = np.linalg.pinv(additive)
    row_space = inverse @ additive
    found: dict[str, dict[tuple[str, Level], Array | None]] = {}
    notes = []
    start = 1
    for name, values in labels.items():
        columns = coded[name]
        found[name] = {}
        there = [design for design, value in enumerate(values) if value is not ABSENT]
        others = [_average(labels[other], coded[other], there) for other in labels]
        for key in _there(values):
            wanted = np.concatenate([[1.0], *others])
            first = [level_key(value) for value in values].index(key)
            wanted[start : start + columns.shape[1]] = columns[first]
            # Not estimable: no combination of the designs gives this mean.
            known = np.allclose(wanted @ row_space, wanted, atol=1e-8)
            found[name][key] = wanted @ inverse if known else None
        if any(weight is None for weight in found[name].values()):
            notes.append(
                f"the levels of {name} cannot be separated from those of other axes, so that some "
                "have no mean"
            )
        start += columns.shape[1]
    return found, notes


def _average(values: Sequence[Level | Absent], columns: Array, there: Sequence[int]) -> Array:
    """Mean of the columns of an axis over its levels in some designs."""
    first = {level_key(values[design]): design for design in reversed(there)}
    return columns[list(first.values())].mean(0)


def _level_means(
    values: Sequence[Level | Absent],
    weights: Mapping[tuple[str, Level], Array | None],
    draws: Draws,
    level: float,
    *,
    order: Sequence[Level] = (),
) -> tuple[LevelMean, ...]:
    """Mean of each level: numbers ascending, others in ``order`` if it is given."""
    keys = [level_key(value) for value in values]
    known = [weight for weight in weights.values() if weight is not None]
    middle = np.mean(known, 0) if len(known) == len(weights) else None
    found = []
    for key, weight in weights.items():
        count = keys.count(key)
        if weight is None or middle is None:
            found.append(LevelMean(key[1], count, math.nan, None, math.nan, None))
            continue
        mean = draws.infer(weight, level=level)
        apart = draws.infer(weight - middle, level=level)
        assert mean.mean is not None
        assert apart.mean is not None
        interval = mean.interval
        # With negative weights it is not an average of measured values.
        if interval is not None and weight.min() > -1e-9:
            interval = within_range(interval, draws.metric)
        found.append(LevelMean(key[1], count, mean.mean, interval, apart.mean, apart.interval))
    if all(isinstance(each.level, int | float) for each in found):
        found.sort(key=lambda each: each.level)  # pyright: ignore
    elif order:
        found.sort(key=lambda each: order.index(each.level))
    return tuple(found)


def _mean_square(means: Array, part: Array | None) -> Array:
    """Mean square over designs of a part of their means ``[..., D]``; of all, the variance."""
    if part is None:
        return means.var(-1)
    return np.square(means @ part).mean(-1)


def _corrected(draws: Draws, part: Array | None = None) -> float:
    """Mean square of a part, or of all, without that of noise; unbiased, so it may be < 0."""
    seen = float(_mean_square(draws.means, part))
    if len(draws.drawn) == 0:
        return seen
    # A draw adds to the measured value what the study has added to the true one.
    drawn = (_mean_square(of, part) for of in (draws.drawn, draws.of_seeds, draws.of_lesions))
    return seen - added_by_noise(seen, *drawn)


def _share(part: Array, draws: Draws, level: float) -> Share:
    value, total = _corrected(draws, part), _corrected(draws)
    if not total > 0:
        return Share(math.nan, None)
    share = min(1.0, max(0.0, value / total))
    seeds = int(np.isfinite(draws.values).sum(1).min())
    alone = draws.lesions is not None and draws.lesions.alone
    if len(draws.drawn) == 0 or seeds < 2 or alone:
        return Share(share, None)
    both, of_seeds, of_lesions = (
        _covariance(each, part) for each in (draws.drawn, draws.of_seeds, draws.of_lesions)
    )
    apart = np.array([1, -share])
    freedom = degrees_of_freedom(
        float(apart @ of_seeds @ apart), seeds, float(apart @ of_lesions @ apart), draws.telling
    )
    # Fieller: each q for which value - q total is within t standard errors of 0.
    (of_value, of_each), (_, of_total) = quantile(freedom, level) ** 2 * both
    square, middle, rest = total**2 - of_total, value * total - of_each, value**2 - of_value
    if square <= 0:  # the variance may be 0, and the share anything
        return Share(share, Interval(0.0, 1.0))
    reach = math.sqrt(max(0.0, middle**2 - square * rest))
    low, high = (min(1.0, max(0.0, (middle + side) / square)) for side in (-reach, reach))
    return Share(share, Interval(min(low, share), max(high, share)))


def _covariance(drawn: Array, part: Array) -> Array:
    """Covariance ``[2, 2]`` of the mean squares of a part and of all over draws ``[R, D]``."""
    squares = np.stack([_mean_square(drawn, part), _mean_square(drawn, None)])
    return np.cov(squares[:, np.isfinite(squares).all(0)], bias=True)
