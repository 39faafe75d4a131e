"""Formulas as text, such as ``light * (pitch / stop)**2``. They are parsed, never executed.

A formula holds numbers, names, ``+ - * / **``, parentheses and the functions :data:`FUNCTIONS`.
"""

import ast
import keyword
import math
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

__all__ = ["FUNCTIONS", "evaluate", "names_in", "respelt"]

_OPERATIONS: Mapping[type[ast.operator], Callable[[float, float], float]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.Pow: math.pow,  # of floats only: 9**9**9 overflows instead of filling the memory
    }
)
FUNCTIONS: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "min": min,
        "max": max,
        "round": round,
        "floor": math.floor,
        "ceil": math.ceil,
        "sqrt": math.sqrt,
    }
)
"""Functions that a formula may call; min and max take two numbers or more, the others one."""
_LONGEST = 500  # characters; text nested too deeply for Python's parser is longer


def names_in(text: str) -> frozenset[str]:
    """Names that the formula ``text`` reads.

    Raises
    ------
    ValueError
        When the text is not a formula.
    """
    return _read(text)[1]


def evaluate(text: str, numbers: Mapping[str, float]) -> float:
    """Value of the formula ``text``.

    Parameters
    ----------
    text : str
    numbers : mapping from str to float
        A number for each name that the formula reads; others are ignored.

    Returns
    -------
    float
        A finite number.

    Raises
    ------
    ValueError
        When the text is not a formula, or has no finite value at these numbers.
    """
    tree, names = _read(text)
    try:
        value = float(_value(tree, numbers))
    except (ZeroDivisionError, OverflowError, ValueError):  # the last two are of math
        value = math.nan
    if not math.isfinite(value):
        where = ", ".join(f"{name}={numbers[name]:g}" for name in sorted(names))
        raise ValueError(f"the formula {text!r} has no finite value at {where or 'all'}")
    return value


def respelt(name: str, known: Iterable[str]) -> str:
    """End of a message on the unknown ``name`` of a formula, if it only looks like a known one.

    Python reads names in compatibility form (NFKC), in which the micro sign is a Greek mu.
    """
    for other in known:
        if other != name and unicodedata.normalize("NFKC", other) == name:
            return (
                f": formulas read {other!r} as {name!r}, which looks alike and is written "
                f"{name.encode('unicode_escape').decode()}; call the axis that"
            )
    return ""


@lru_cache(maxsize=256)
def _read(text: str) -> tuple[ast.expr, frozenset[str]]:
    if len(text) > _LONGEST:
        raise ValueError(
            f"a formula has at most {_LONGEST} characters, not {len(text)}: {text[:40]!r} ..."
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return tree, frozenset(_names(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        taken = [word for word in re.findall(r"[^\W\d]\w*", text) if keyword.iskeyword(word)]
        hint = f". No axis that it reads can be called {taken[0]!r}" if taken else ""
        if re.search(r"[^\W\d]\w*\.[^\W\d]", text):
            hint = ". A field is read by the name of the axis that sets it, not by its path"
        raise ValueError(
            f"cannot read the formula {text!r}: write numbers, names of axes, + - * / **, "
            f"parentheses and {', '.join(FUNCTIONS)}, such as 'light * (pitch / stop)**2'{hint}"
        ) from error


def _names(node: ast.expr) -> set[str]:
    """Names below ``node``; a ValueError for anything that is not allowed in a formula."""
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return set()
        case ast.Name(id=name):
            return {name}
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=inner):
            return _names(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _names(left) | _names(right)
        case ast.Call(func=ast.Name(id=name), args=inner, keywords=[]) if name in FUNCTIONS:
            if len(inner) == 1 if name not in ("min", "max") else len(inner) > 1:
                return set[str]().union(*map(_names, inner))
    raise ValueError("not allowed in a formula")


def _value(node: ast.expr, numbers: Mapping[str, float]) -> float:
    """Value of a tree that :func:`_names` has checked."""
    match node:
        case ast.Constant(value=number):
            return float(number)  # pyright: ignore[reportArgumentType]
        case ast.Name(id=name):
            return float(numbers[name])
        case ast.UnaryOp(op=op, operand=inner):
            value = _value(inner, numbers)
            return -value if isinstance(op, ast.USub) else value
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATIONS[type(op)](_value(left, numbers), _value(right, numbers))
        case ast.Call(func=ast.Name(id=name), args=inner):
            return FUNCTIONS[name](*(_value(each, numbers) for each in inner))
    raise AssertionError(node)
