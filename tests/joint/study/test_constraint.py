import pytest
from hypothesis import given
from hypothesis import strategies as st

from joint.study.constraint import satisfied, terms

DESIGN = {"camera": "lens", "light": 300, "bits": 8, "codec": None, "signed": True}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("light >= 300", True),
        ("light>300", False),
        ("light < 301", True),
        ("light <= 299.5", False),
        ("camera == lens", True),
        ("camera != lens", False),
        ('camera == "lens"', True),
        ("codec == null", True),
        ("signed == true", True),
        ("bits < light", True),
        ("light < bits", False),
        ("camera == none or bits == 8", True),
        ("3 < light", True),
        ("light * bits <= 2400", True),
        ("light * bits < 2400", False),
        ("light - 300 >= 0.5 * (bits - 8)", True),
        ("sqrt(light) > 2 * bits + 2 or camera == none", False),
        ("camera == none or bits == 7", False),
        ("camera == none  or  light < 5 or bits > 7", True),
    ],
)
def test_comparisons(text, holds):
    assert satisfied(text, DESIGN) is holds


@given(a=st.integers(-5, 5), b=st.integers(-5, 5))
def test_orders_agree_with_those_of_python(a, b):
    for relation in ("==", "!=", "<", "<=", ">", ">="):
        expected = eval(f"a {relation} b", {}, {"a": a, "b": b})
        assert satisfied(f"a {relation} {b}", {"a": a}) is expected
        assert satisfied(f"a {relation} b", {"a": a, "b": b}) is expected


@pytest.mark.parametrize(
    "text",
    ["", "light", "light = 3", "3 == light", "light >", "a < 1 or", "1 < a < 3", "a > 5 and b < 3"],
)
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match=r"cannot read the constraint .* as separate constraints"):
        terms(text)


def test_an_order_is_between_formulas():
    with pytest.raises(ValueError, match=r"cannot read the formula 'b\[0\]': write numbers"):
        terms("a < b[0]")
    with pytest.raises(
        ValueError, match=r"'restoration\.width'.* by the name of the axis that sets"
    ):
        terms("restoration.width <= 8")
    (term,) = terms("20 * a + b <= c / 2")
    assert term.axes() == {"a", "b", "c"}
    with pytest.raises(ValueError, match="'1 / light' has no finite value at light=0"):
        satisfied("1 / light < 3", {"light": 0})


def test_nothing_is_executed():
    (term,) = terms("light == __import__('os').getcwd()")
    assert term.right == "__import__('os').getcwd()"


def test_words_have_no_order():
    with pytest.raises(ValueError, match="orders 'lens', which is not a number: use == or !="):
        satisfied("camera < 3", DESIGN)
