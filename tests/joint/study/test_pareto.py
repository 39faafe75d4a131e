import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joint.study import pareto_front


def _dominates(a, b, minimise):
    signs = [1 if low else -1 for low in minimise]
    pairs = [(s * x, s * y) for s, x, y in zip(signs, a, b, strict=True)]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


@given(
    points=st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=25),
    minimise=st.tuples(*[st.booleans()] * 3),
)
def test_the_front_is_what_nobody_dominates(points, minimise):
    expected = [not any(_dominates(b, a, minimise) for b in points) for a in points]
    assert pareto_front(points, minimise=minimise).tolist() == expected
    assert any(expected)


def test_missing_numbers_are_not_compared():
    points = [[0.9, 5], [np.nan, 0], [0.8, 9]]
    assert pareto_front(points, minimise=[False, True]).tolist() == [True, False, False]


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"values \[M, D\] and D directions, not \(2,\) and 1"):
        pareto_front([1, 2], minimise=[True])
