"""One axis of a design space: a field of the configuration and its possible values."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from joint.parse import is_number
from joint.settings import FrozenDict, Settings, nearest

__all__ = ["Axis", "Design", "Level"]

Level: TypeAlias = bool | int | float | str | None
"""A choice on an axis: a plain value, or the label of a value with several parts."""

Design: TypeAlias = dict[str, Level]
"""The level on each axis that the design has, by the name of the axis."""

SEEDS = ("system.seed", "training.seed")


def _listed(value: object) -> object:
    """Tuples as lists, as JSON has no tuples and a study is written as JSON."""
    if isinstance(value, list | tuple):
        return [_listed(part) for part in value]
    if isinstance(value, dict):
        return {key: _listed(part) for key, part in value.items()}
    return value


class Axis(Settings):
    """What differs between designs: a list of values, or a range of numbers."""

    path: str | None = None
    """Dotted path of a configuration field, such as system.sensor.photons. Without a path, each
    value gives several fields by their paths, for settings that only make sense together; numbers
    set no field and are read by formulas, see :attr:`Study.derived`."""
    values: Annotated[tuple[JsonValue, ...] | None, BeforeValidator(_listed)] = None
    """Possible values: numbers, words, or whole sub-configurations."""
    labels: tuple[str, ...] | None = None
    """Short names of the values, for tables and constraints; needed if the kind alone does not
    identify a value with several parts."""
    low: float | None = None
    """Lower end of a range."""
    high: float | None = None
    """Upper end of a range."""
    scale: Literal["uniform", "log"] = "uniform"
    """Spacing of a range: linear or logarithmic."""
    integer: bool = False
    """Whole numbers only."""
    points: int | None = Field(default=None, ge=2, le=1_000_000)
    """Points of a range on a grid, including its ends; inner ones are rounded to six digits."""
    when: Annotated[dict[str, Level | tuple[Level, ...]], AfterValidator(FrozenDict)] = FrozenDict()
    """Designs that have the axis: levels of other axes by name, such as ``{"codec": "jpeg"}`` or
    ``{"codec": ("jpeg", "webp")}``; all must hold. In other designs the axis is absent, and its
    fields are those of the base. By default every design has it."""

    @model_validator(mode="before")
    @classmethod
    def _has_a_path(cls, value: object) -> object:
        """Refuse values without a path: they do not say what they are values of."""
        if isinstance(value, Mapping | Axis):
            return value
        raise ValueError(
            'an axis has a path and values, such as {path = "system.sensor.photons", values = '
            f"[100, 1000]}}, not {value!r}"
        )

    @field_validator("when", mode="before")
    @classmethod
    def _names_axes(cls, value: object) -> object:
        """Refuse a text like a constraint in ``when``."""
        if isinstance(value, Mapping):
            return value
        raise ValueError(
            'when names other axes and their levels, such as {codec = "jpeg"} or '
            '{codec = ["jpeg", "webp"]}'
        )

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.values is None) == (self.low is None or self.high is None):
            raise ValueError("an axis has either values, or a range from low to high")
        if self.values is None:
            self._check_range()
        elif not self.values:
            raise ValueError("the axis is empty: give at least one value")
        else:
            self._check_values(self.values)
        taken = sorted(self.paths() & set(SEEDS))
        if taken:
            raise ValueError(f"{taken[0]} is set by the seeds of the study; list them there")
        return self

    def _check_range(self) -> None:
        assert self.low is not None
        assert self.high is not None
        if not self.low < self.high:
            raise ValueError(f"low must be below high, not {self.low:g} and {self.high:g}")
        if self.integer and math.ceil(self.low) > math.floor(self.high):
            raise ValueError(
                f"there is no whole number from {self.low:g} to {self.high:g}: widen the range, or "
                "leave integer out"
            )
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"a log scale needs low above 0, not {self.low:g}")
        if self.labels is not None:
            raise ValueError("a range has no labels")

    def _check_values(self, values: Sequence[JsonValue]) -> None:
        if self.scale != "uniform" or self.integer or self.points is not None:
            raise ValueError("scale, integer and points belong to a range, not to values")
        if self.labels is not None and len(self.labels) != len(values):
            raise ValueError(f"{len(values)} values need as many labels, not {len(self.labels)}")
        numbers = self.labels is None and all(map(is_number, values))
        if self.path is None and not numbers:
            if not all(isinstance(v, dict) and v for v in values):
                raise ValueError(
                    "an axis without a path needs values that name the fields that they set, such "
                    'as {"objective.rate": 0}, or numbers without labels that a formula reads; or '
                    "give the path"
                )
            if self.labels is None:
                raise ValueError("an axis that sets several fields needs labels")
        levels = self.levels()
        twice = [level for number, level in enumerate(levels) if level in levels[:number]]
        if twice:
            raise ValueError(f"the level {twice[0]!r} occurs twice: give different labels")

    def levels(self) -> tuple[Level, ...]:
        """All choices; of a range, its points.

        Raises
        ------
        ValueError
            For a range without ``points``.
        """
        if self.values is None:
            if self.points is None:
                raise ValueError("a grid needs the points of each range; give points=")
            low, high = self.ends()
            steps = range(1, self.points - 1)
            between = [self._number(step / (self.points - 1), low, high) for step in steps]
            # The ends are not rounded: rounded to six digits, one might be missing.
            return tuple(dict.fromkeys([low, *between, high]))
        if self.labels is not None:
            return self.labels
        return tuple(_level(value) for value in self.values)

    def at(self, place: float) -> Level:
        """Choice at ``place``, 0..1 along the axis.

        All whole numbers of a uniform range have equal shares; on a logarithmic range, shares are
        equal in the logarithm. Numbers are rounded to six digits: the last bits of a logarithm
        differ between machines, and the name of a run must not.

        Raises
        ------
        ValueError
            For a place that is not on the axis.
        """
        if not 0 <= place <= 1:
            raise ValueError(f"a place on an axis is a number from 0 to 1, not {place}")
        if self.values is not None:
            levels = self.levels()
            return levels[min(int(place * len(levels)), len(levels) - 1)]
        low, high = self.ends()
        # Half a step more at either end: otherwise the end numbers would get half a share.
        beyond = 0.5 if self.integer else 0.0
        return self._number(place, low - beyond, high + beyond)

    def conditions(self) -> dict[str, tuple[Level, ...]]:
        """Levels of other axes with which this axis exists, see :attr:`when`."""
        return {
            name: levels if isinstance(levels, tuple) else (levels,)
            for name, levels in self.when.items()
        }

    def every(self) -> Sequence[Level] | None:
        """All choices, whatever :attr:`points` says; None for a range of real numbers."""
        if self.values is not None:
            return self.levels()
        if not self.integer:
            return None
        low, high = self.ends()
        return range(int(low), int(high) + 1)  # may be too many to list

    def ends(self) -> tuple[float, float]:
        """Ends of a range; for whole numbers, the outermost ones within it."""
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            return math.ceil(self.low), math.floor(self.high)
        return self.low, self.high

    def _number(self, place: float, low: float, high: float) -> int | float:
        """Number at a place between ``low`` and ``high``, rounded to a choice of the range."""
        if self.scale == "log":
            number = math.exp((1 - place) * math.log(low) + place * math.log(high))
        else:
            number = (1 - place) * low + place * high
        return self.rounded(number)

    def rounded(self, number: float) -> int | float:
        """Choice of a range nearest to ``number``: rounded to six digits, or a whole number."""
        rounded = round(number) if self.integer else float(f"{number:.6g}")
        first, last = self.ends()
        return min(max(rounded, first), last)

    def assignments(self, level: Level) -> dict[str, JsonValue]:
        """Fields that the choice ``level`` sets: values by path.

        Raises
        ------
        ValueError
            When it is not a choice of this axis; the message names the nearest one.
        """
        if self.values is None:
            number = level if is_number(level) else None
            if number is None or not self._within(number):
                raise ValueError(f"{level!r} is not in the range {self.low:g} to {self.high:g}")
            if self.integer and not float(number).is_integer():
                raise ValueError(
                    f"{level:g} is not a whole number, as {self.low:g} to {self.high:g} requires"
                )
            return {} if self.path is None else {self.path: level}
        levels = self.levels()
        places = [place for place, known in enumerate(levels) if _is_same(known, level)]
        if not places:
            alike = [known for known in levels if str(known) == str(level)]
            hint = f"; write {json.dumps(alike[0])}" if alike else nearest(str(level), levels)
            raise ValueError(f"there is no level {level!r}{hint}")
        value = self.values[places[0]]
        if self.path is not None:
            return {self.path: value}
        return value if isinstance(value, dict) else {}

    def is_numeric(self) -> bool:
        """Whether every choice is a number that formulas can read."""
        return self.values is None or all(map(is_number, self.levels()))

    def _within(self, number: float) -> bool:
        return self.low is not None and self.high is not None and self.low <= number <= self.high

    def paths(self) -> set[str]:
        """Fields that this axis itself sets."""
        if self.path is not None:
            return {self.path}
        return {path for value in self.values or () if isinstance(value, dict) for path in value}


def own_level(axis: Axis, level: Level) -> Level:
    """A choice of ``axis`` as the axis writes it: 10 and 10.0 are one level, not two."""
    if axis.values is None and is_number(level):
        return int(level) if axis.integer else float(level)
    return next((known for known in axis.levels() if _is_same(known, level)), level)


def _is_same(one: Level, other: Level) -> bool:
    """Whether two levels are the same: 10 and 10.0 are, True and 1 are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def level_key(level: object) -> tuple[str, Any]:
    """A level with its type, as a key: True and 1 are different."""
    return type(level).__name__, level


def _level(value: JsonValue) -> Level:
    """Label of a value: the value itself, or what identifies a sub-configuration."""
    if not isinstance(value, dict | list):
        return value
    if isinstance(value, dict) and "kind" in value:
        rest = " ".join(f"{key}={part}" for key, part in value.items() if key != "kind")
        return f"{value['kind']} {rest}".strip()
    return json.dumps(value)
