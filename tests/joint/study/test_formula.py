import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joint.study.formula import FUNCTIONS, evaluate, names_in

NUMBERS = {"light": 300.0, "pitch": 3.5e-6, "stop": 8.0}

_LEAVES = st.integers(0, 20).map(str) | st.floats(0.1, 9).map(repr) | st.sampled_from([*NUMBERS])


def _joined(inner):
    both = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
    negative = inner.map(lambda t: f"-({t})")
    called = st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
        lambda t: f"{t[0]}({t[1]}, {t[2]})"
    )
    return both | negative | called


@given(text=st.recursive(_LEAVES, _joined, max_leaves=12))
def test_values_are_those_of_python(text):
    try:
        expected = float(eval(text, {"min": min, "max": max}, dict(NUMBERS)))
    except ZeroDivisionError:
        expected = math.nan
    if math.isfinite(expected):
        assert evaluate(text, NUMBERS) == pytest.approx(expected, rel=1e-12)
    else:
        with pytest.raises(ValueError, match="has no finite value at"):
            evaluate(text, NUMBERS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("light * (pitch / 3.5e-6)**2 * (16 / stop)**2", 1200),
        ("-stop**2", -64),
        ("2**3**2", 512),
        ("2 * round(stop / 3) + 1", 7),
        ("floor(2.7) + ceil(2.1) + sqrt(16) + max(1, 2, 3) - min(4, 5) + +1", 9),
    ],
)
def test_what_a_formula_may_hold(text, value):
    assert evaluate(text, NUMBERS) == pytest.approx(value, rel=1e-15)


def test_names_are_known_beforehand():
    assert names_in("light * sqrt(pitch) / light") == {"light", "pitch"}
    assert names_in("min(1, 2)") == set()
    assert names_in("2 * min") == {"min"}  # an axis may be called so
    assert all(math.isfinite(each(4.0)) for n, each in FUNCTIONS.items() if n not in ("min", "max"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "light +", "a b", "a == 3", "a and b", "a if b else c", "'a'", "True", "1j", "None"),
        *("a // 2", "a % 2", "a.real", "a[0]", "[1]", "lambda: 1", "(a := 1)", "f'{a}'", "not a"),
        *("exec(a)", "sqrt()", "sqrt(1, 2)", "max(1)", "round(a, ndigits=2)", "max(*a)"),
        *("__import__('os').getcwd()", "().__class__", "a\x00", "a; b"),
    ],
)
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(ValueError, match=r"cannot read the formula .*: write numbers, names of"):
        names_in(text)


def test_no_formula_takes_long_or_much():
    with pytest.raises(ValueError, match=r"at most 500 characters, not 10001: '\(\(\("):
        names_in("(" * 5000 + "1" + ")" * 5000)
    with pytest.raises(ValueError, match="cannot read the formula"):
        names_in("(" * 249 + "1" + ")" * 249)
    assert evaluate("-" * 499 + "1", {}) == -1
    with pytest.raises(ValueError, match=r"'9\*\*9\*\*9\*\*9' has no finite value at all"):
        evaluate("9**9**9**9", {})


@pytest.mark.parametrize("text", ["1 / a", "(a - 1)**0.5", "sqrt(a - 1)", "1e308 * 10 + a"])
def test_no_value_is_told_with_its_place(text):
    with pytest.raises(ValueError, match="has no finite value at a=0"):
        evaluate(text, {"a": 0.0, "b": 1.0})


def test_a_word_of_the_language_names_no_axis():
    with pytest.raises(ValueError, match="No axis that it reads can be called 'lambda'"):
        names_in("2 * lambda")
