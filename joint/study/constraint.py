"""Conditions on designs as text, such as ``camera != none or light >= 300``.

A constraint is a series of comparisons joined by ``or``. Several constraints must all hold, so any
condition can be written. Equality is tested for a level; order for numbers or formulas such as
``pitch <= 463e-9 * stop``. A constraint is parsed, never executed.

The right side of ``==`` or ``!=`` is a level of the axis on the left if it has one of that name,
otherwise another axis.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, cast

from .formula import evaluate, names_in

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
_LEVEL = re.compile(r"\s*([A-Za-z_]\w*)\s*(==|!=)\s*(\S.*?)\s*")
_ORDER = re.compile(r"\s*([^<>=!]*[^<>=!\s])\s*(<=|>=|<|>)\s*([^<>=!\s][^<>=!]*?)\s*")


class Term(NamedTuple):
    """One comparison."""

    left: str
    """Name of an axis; for an order, a formula."""
    relation: Relation
    right: bool | int | float | str | None
    """A level, or the name of another axis; for an order, a formula."""

    @property
    def is_order(self) -> bool:
        """Whether it compares numbers."""
        return self.relation not in ("==", "!=")

    def axes(self) -> frozenset[str]:
        """Names that must be names of axes."""
        return names_in(self.left) | (names_in(str(self.right)) if self.is_order else frozenset())


def terms(text: str) -> tuple[Term, ...]:
    """Parse a constraint.

    Raises
    ------
    ValueError
        When the text is not a constraint.
    """
    found = []
    for part in re.split(r"\s+or(?:\s+|$)", text):
        level, order = _LEVEL.fullmatch(part), _ORDER.fullmatch(part)
        if level is not None:
            axis, relation, value = level.groups()
            found.append(Term(axis, cast(Relation, relation), _value(value)))
        elif order is not None:
            left, relation, right = order.groups()
            found.append(Term(left, cast(Relation, relation), right))
            found[-1].axes()  # both are formulas
        else:
            raise ValueError(
                f"cannot read the constraint {text!r}: write an axis that is or is not a level, "
                "such as 'camera != none', or an order of two formulas, such as 'light >= 300', "
                "with <, <=, > or >=, joined by 'or'; write further conditions as separate "
                "constraints"
            )
    return tuple(found)


def satisfied(
    text: str,
    design: Mapping[str, bool | int | float | str | None],
    *,
    is_level: Callable[[Term], bool] = lambda term: False,
) -> bool:
    """Whether a design, or any other mapping of levels and numbers, meets a constraint.

    Parameters
    ----------
    text : str
        The constraint.
    design : mapping
        Levels and numbers by name.
    is_level : callable, optional
        Whether the right side of a comparison is a level even if something else has its name.

    Raises
    ------
    ValueError
        When no comparison holds and one of them orders something without an order, or has a formula
        without a value.
    """
    refused: ValueError | None = None
    for term in terms(text):
        try:
            if _holds(term, design, text, is_level):
                return True
        except ValueError as error:  # another one may hold: 'm < 1 or 1/m < 3' is no more than this
            refused = refused or error
    if refused is not None:
        raise refused
    return False


def _holds(
    term: Term,
    design: Mapping[str, bool | int | float | str | None],
    text: str,
    is_level: Callable[[Term], bool],
) -> bool:
    if not term.is_order:
        named = isinstance(term.right, str) and term.right in design and not is_level(term)
        right = design[cast(str, term.right)] if named else term.right
        return _RELATIONS[term.relation](design[term.left], right)
    numbers = {}
    for name in term.axes():
        number = design[name]
        if isinstance(number, str | None):
            raise ValueError(
                f"the constraint {text!r} orders {number!r}, which is not a number: use == or !="
            )
        numbers[name] = number
    sides = (evaluate(str(side), numbers) for side in (term.left, term.right))
    return _RELATIONS[term.relation](*sides)


def _value(text: str) -> bool | int | float | str | None:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, dict | list) else value
