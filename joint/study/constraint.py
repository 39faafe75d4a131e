"""What must hold of a design, as text: ``camera != none or light >= 300``.

A constraint is comparisons joined by ``or``; several constraints must all hold, so that any
condition can be written. It is read, never executed.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, cast

__all__ = ["Term", "satisfied", "terms"]

Relation = Literal["==", "!=", "<", "<=", ">", ">="]

_RELATIONS: dict[Relation, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TERM = re.compile(r"\s*([A-Za-z_]\w*)\s*(==|!=|<=|>=|<|>)\s*(\S.*?)\s*")


class Term(NamedTuple):
    """One comparison."""

    axis: str
    relation: Relation
    value: bool | int | float | str | None
    """A number, a level, or the name of another axis."""


def terms(text: str) -> tuple[Term, ...]:
    """Read a constraint.

    Raises
    ------
    ValueError
        When it is none.
    """
    found = []
    for part in re.split(r"\s+or(?:\s+|$)", text):
        match = _TERM.fullmatch(part)
        if match is None:
            raise ValueError(
                f"cannot read the constraint {text!r}: write comparisons such as 'light >= 300', "
                "with ==, !=, <, <=, > or >=, joined by 'or'"
            )
        axis, relation, value = match.groups()
        found.append(Term(axis, cast(Relation, relation), _value(value)))
    return tuple(found)


def satisfied(text: str, design: Mapping[str, bool | int | float | str | None]) -> bool:
    """Whether a design meets a constraint.

    Raises
    ------
    ValueError
        When an order is asked of what has none.
    """
    return any(_holds(term, design, text) for term in terms(text))


def _holds(term: Term, design: Mapping[str, bool | int | float | str | None], text: str) -> bool:
    value = term.value
    if isinstance(value, str) and value in design:
        value = design[value]
    one = design[term.axis]
    if term.relation not in ("==", "!="):
        for number in (one, value):
            if isinstance(number, str | None):
                raise ValueError(
                    f"the constraint {text!r} orders {number!r}, which is no number: use == or !="
                )
    return _RELATIONS[term.relation](one, value)


def _value(text: str) -> bool | int | float | str | None:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, dict | list) else value
