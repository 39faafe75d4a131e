"""Axes that only some designs have, such as the quality of a codec.

::

    axes ──parents first──► combinations, or draws on all axes ──conditions──► designs

A design has levels only on the axes that it has. A missing axis is absent, not at a special level:
its field stays that of the base, and no table, effect or search treats it as a number.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, final

from joint.settings import nearest

from .axis import Axis, Design, Level
from .paths import is_within

__all__ = [
    "ABSENT",
    "Absent",
    "axes_of",
    "check_conditions",
    "combinations",
    "condition_words",
    "exclusive",
    "never_meets",
]


@final
class Absent:
    """Placeholder in lists of levels by design, for a design without the axis."""


ABSENT: Final = Absent()


def check_conditions(axes: Mapping[str, Axis]) -> None:
    """Refuse conditions on unknown axes or levels, on themselves, and those that never hold."""
    for name, axis in axes.items():
        for parent, levels in axis.conditions().items():
            _check_condition(name, parent, levels, axes)
    _parents_first(axes)
    for name in axes:
        for parent, levels in _needed(name, axes).items():
            if not levels:
                raise ValueError(
                    f"no design has the axis {name}: its condition, and those of the axes that it "
                    f"depends on, leave no level of {parent}"
                )


def _check_condition(
    name: str, parent: str, levels: Sequence[Level], axes: Mapping[str, Axis]
) -> None:
    where = f"the condition of the axis {name}"
    if parent not in axes:
        setters = [
            other
            for other, axis in axes.items()
            if any(is_within(parent, path) for path in axis.paths())
        ]
        raise ValueError(
            f"{where} names {parent!r}, which is not an axis"
            + (f"; did you mean {setters[0]!r}?" if setters else nearest(parent, [*axes]))
        )
    if not levels:
        raise ValueError(f"{where} allows no level of {parent}: give one, or a list of some")
    known = axes[parent]
    if known.values is None and not known.integer:
        raise ValueError(
            f"{where} names {parent}, a range that hardly ever equals one number: give {parent} "
            "values or integer = true"
        )
    for level in levels:
        try:
            known.assignments(level)
        except ValueError as error:
            raise ValueError(f"{where}, {parent}: {error}") from error


def _parents_first(axes: Mapping[str, Axis]) -> list[str]:
    """Names of ``axes`` in order, but each after those that its condition names."""
    found: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " on ".join([*above[above.index(name) :], name])
            raise ValueError(f"axes depend on each other in a circle: {circle}")
        if name not in found:
            for parent in axes[name].conditions():
                visit(parent, (*above, name))
            found[name] = None

    for name in axes:
        visit(name, ())
    return list(found)


def _needed(name: str, axes: Mapping[str, Axis]) -> dict[str, tuple[Level, ...]]:
    """Levels of other axes with which an axis exists, including their own conditions."""
    found: dict[str, tuple[Level, ...]] = {}
    left = [name]
    while left:
        for parent, levels in axes[left.pop()].conditions().items():
            before = found.get(parent, levels)
            found[parent] = tuple(level for level in before if level in levels)
            left.append(parent)
    return found


def exclusive(one: str, other: str, axes: Mapping[str, Axis]) -> bool:
    """Whether no design can have both of two axes."""
    ours, theirs = _needed(one, axes), _needed(other, axes)
    return any(not any(v in theirs[name] for v in ours[name]) for name in ours.keys() & theirs)


def never_meets(name: str, choices: Mapping[str, Level], axes: Mapping[str, Axis]) -> bool:
    """Whether no design with these ``choices`` on some axes has the axis ``name``."""
    needed = _needed(name, axes)
    return any(parent in choices and choices[parent] not in v for parent, v in needed.items())


def axes_of(design: Mapping[str, Level], axes: Mapping[str, Axis]) -> tuple[str, ...]:
    """Names of the axes that a design with these choices has, in the order of ``axes``."""
    there: set[str] = set()
    for name in _parents_first(axes):
        conditions = axes[name].conditions().items()
        if all(p in there and p in design and design[p] in levels for p, levels in conditions):
            there.add(name)
    return tuple(name for name in axes if name in there)


def combinations(
    axes: Mapping[str, Axis], choices: Mapping[str, Sequence[Level]]
) -> Iterator[Design]:
    """Every combination of the ``choices`` of each axis, once; the last axis fastest."""
    designs: Iterable[Design] = iter([{}])
    for name in _parents_first(axes):
        designs = _grown(designs, name, axes[name].conditions(), choices[name])
    for design in designs:
        yield {name: design[name] for name in axes if name in design}


def _grown(
    designs: Iterable[Design],
    name: str,
    conditions: Mapping[str, Sequence[Level]],
    levels: Sequence[Level],
) -> Iterator[Design]:
    """Each design with each of the ``levels``, if it has the axis."""
    for design in designs:
        if all(p in design and design[p] in allowed for p, allowed in conditions.items()):
            for level in levels:
                yield {**design, name: level}
        else:
            yield design


def condition_words(axis: Axis) -> str:
    """Condition of an axis in words, such as ``codec is jpeg or webp``; empty without one."""
    return " and ".join(
        f"{parent} is {' or '.join(map(str, levels))}"
        for parent, levels in axis.conditions().items()
    )
