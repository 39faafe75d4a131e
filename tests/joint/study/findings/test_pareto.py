import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joint.study import pareto_front
from joint.study.findings.pareto import (
    front_probability,
    hypervolume,
    hypervolume_shares,
    reference_of,
)


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


def test_rounding_puts_nobody_off_the_front():
    means = [np.mean([0.1, 0.2, 0.3]), np.mean([0.3, 0.3, 0]), np.mean([0.2, 0.2, 0.2])]
    assert len({*means}) > 1
    points = [[mean, cost] for mean, cost in zip(means, (0.1 + 0.2, 0.3, 0.3), strict=True)]
    assert pareto_front(points, minimise=[False, True]).all()


def test_missing_numbers_are_not_compared():
    points = [[0.9, 5], [np.nan, 0], [0.8, 9]]
    assert pareto_front(points, minimise=[False, True]).tolist() == [True, False, False]


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"not \(3, 0\) and 0; D is 1 or more"):
        pareto_front(np.zeros((3, 0)), minimise=[])
    with pytest.raises(ValueError, match=r"values \[M, D\] and D directions, not \(2,\) and 1"):
        pareto_front([1, 2], minimise=[True])


# ------------------------------------------------------------------------------------ how sure


@settings(deadline=None)
@given(
    drawn=st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=1, max_size=6),
    costs=st.lists(st.tuples(*[st.integers(0, 2)] * 2), min_size=4, max_size=4),
    minimise=st.booleans(),
)
def test_the_probability_is_the_share_of_draws_with_the_front(drawn, costs, minimise):
    fronts = [
        pareto_front(np.column_stack([draw, costs]), minimise=[minimise, True, True])
        for draw in np.array(drawn, dtype=float)
    ]
    found = front_probability(drawn, costs, minimise=minimise)
    assert found == pytest.approx(np.mean(fronts, 0))


def test_a_design_without_a_cost_is_not_judged():
    found = front_probability([[1, 2, 3]], [[1], [1], [np.nan]])
    assert found[:2].tolist() == [0, 1]
    assert np.isnan(found[2])
    assert np.isnan(front_probability(np.zeros((0, 1)), [[1]])).all()
    with pytest.raises(ValueError, match=r"draws \[R, M\] needs costs \[M, D\], not \(1, 2\)"):
        front_probability([[1, 2]], [[1]])


def test_a_draw_without_a_number_is_no_victory():
    drawn = [[0.9, math.nan], [0.9, 0.1], [0.9, math.nan], [0.9, math.nan]]
    np.testing.assert_array_equal(front_probability(drawn, [[1.0], [2.0]]), [1, 0])
    found = front_probability([[0.9, math.nan]], [[1.0], [2.0]])
    np.testing.assert_array_equal(found, [1, math.nan])


# --------------------------------------------------------------------------------- hypervolume


def test_one_design_dominates_a_box():
    found = hypervolume([[0.8, 30.0, 2.0]], [0.5, 100, 6], minimise=[False, True, True])
    assert found == pytest.approx(0.3 * 70 * 4)
    assert hypervolume([[0.8, 30.0], [0.9, 101.0]], [0.5, 100], minimise=[False, True]) == (
        pytest.approx(0.3 * 70)
    )
    assert hypervolume(np.zeros((0, 2)), [1, 1], minimise=[True, True]) == 0


@pytest.mark.parametrize("size", [2, 3, 4])
def test_two_and_three_boxes_by_inclusion_and_exclusion(size):
    a, b, c = np.random.default_rng(size).uniform(size=(3, size))

    def box(*points):
        return np.prod(1 - np.max(points, axis=0))

    directions = [True] * size
    two = box(a) + box(b) - box(a, b)
    three = two + box(c) - box(a, c) - box(b, c) + box(a, b, c)
    assert hypervolume([a, b], [1] * size, minimise=directions) == pytest.approx(two)
    assert hypervolume([a, b, c], [1] * size, minimise=directions) == pytest.approx(three)
    found = hypervolume_shares([a, b, c], [1] * size, minimise=directions)
    assert found[2] == pytest.approx(1 - two / three, abs=1e-12)


@pytest.mark.parametrize(
    "minimise", [(False, True), (True, True, False), (False, True, True, True)]
)
def test_the_hypervolume_is_that_of_points_drawn_at_random(minimise):
    generator = np.random.default_rng(1)
    points = generator.uniform(size=(30, len(minimise)))
    end = np.where(minimise, 1.0, 0.0)
    drawn = generator.uniform(size=(40_000, 1, len(minimise)))
    under = np.where(minimise, points <= drawn, points >= drawn).all(-1).any(-1).mean()
    error = math.sqrt(under * (1 - under) / 40_000)
    assert abs(hypervolume(points, end.tolist(), minimise=minimise) - under) < 4 * error


@given(
    points=st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=2, max_size=12),
    minimise=st.tuples(*[st.booleans()] * 3),
)
def test_laws_of_the_hypervolume(points, minimise):
    values = np.array(points, dtype=float)
    end = np.where(minimise, 6.0, -1.0).tolist()
    whole = hypervolume(values, end, minimise=minimise)
    front = pareto_front(values, minimise=minimise)
    assert hypervolume(values[front], end, minimise=minimise) == pytest.approx(whole)
    assert hypervolume(values[::-1], end, minimise=minimise) == pytest.approx(whole)
    shares = hypervolume_shares(values, end, minimise=minimise)
    for number, share in enumerate(shares):
        rest = hypervolume(np.delete(values, number, 0), end, minimise=minimise)
        assert rest <= whole + 1e-9
        assert share == pytest.approx(1 - rest / whole, abs=1e-9)
    assert shares.sum() <= 1 + 1e-9
    better = values.copy()
    better[0] += np.where(minimise, -1, 1)
    assert hypervolume(better, end, minimise=minimise) >= whole


def test_what_has_no_hypervolume():
    ways = [False, True]
    known = hypervolume([[0.8, 1.0], [np.nan, 0.5]], [0, 2], minimise=ways)
    assert known == pytest.approx(0.8)
    assert np.isnan(hypervolume_shares([[0.8, 3.0]], [0, 2], minimise=ways)).all()
    assert hypervolume_shares([[1, 1], [1, 1]], [0, 2], minimise=ways).tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"values \[M, D\], and .*, not \(1, 2\), \(1,\) and 2"):
        hypervolume([[1, 2]], [1], minimise=ways)
    with pytest.raises(ValueError, match="hypervolume takes 2 to 4 numbers, not 5"):
        hypervolume([[1] * 5], [2] * 5, minimise=[True] * 5)
    with pytest.raises(ValueError, match=r"must be finite, not \[1.0, inf\]"):
        hypervolume([[1, 2]], [1, math.inf], minimise=ways)
    for endless in (hypervolume, hypervolume_shares):
        # What is infinitely good fills a cell of no width with no number.
        with pytest.raises(ValueError, match=r"infinitely better .* rows 0: leave these designs"):
            endless([[math.inf, 1], [1, 3]], [0, 2], minimise=ways)
    assert hypervolume([[-math.inf, 1], [1, 1]], [0, 2], minimise=ways) == 1


def test_the_reference_lies_beyond_the_worst():
    values = np.array([[0.5, 10.0, 7.0], [0.9, 110.0, 7.0], [np.nan, 999.0, 0.0]])
    best, end = reference_of(values, [False, True, True])
    assert best.tolist() == [0.9, 10, 7]
    assert end == pytest.approx([0.46, 120, 7.7])
