import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joint.study import outcomes, pareto_front, rows
from joint.study.draws import resample
from joint.study.pareto import front_probability, fronts


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


def test_fronts_of_a_study(finished):
    draws = resample(
        outcomes(finished, "balanced_accuracy"), metric="balanced_accuracy", resamples=200
    )
    found = fronts(rows(finished), draws)
    assert [front.costs for front in found] == [("photons",), ("bits",), ("photons", "bits")]
    both = {point.design: point for point in found[2].points}
    # More bits for the same are of no use; the better one with more light is always ahead.
    ahead = {n for n, point in both.items() if point.on_front}
    assert {(both[n].levels["light"], both[n].levels["depth"]) for n in ahead} == {
        (50, 4), (5000, 4),
    }  # fmt: skip
    assert all(both[number].probability == 1 for number in ahead)
    by_bits = {point.design: point for point in found[1].points}
    best = max(by_bits.values(), key=lambda point: point.value)
    assert best.probability > 0.4
    assert best.interval.low < best.value < best.interval.high
    dim = [p for p in found[1].points if p.levels["light"] == 50]
    assert all(point.probability < 0.05 for point in dim)
    assert "100 bits" in str(found[1])
    assert found[0].to_dict()["points"][0]["costs"] == {"photons": 50.0}
    (one,) = fronts(rows(finished), draws, costs=["parameters"])
    assert one.costs == ("parameters",)
    with pytest.raises(ValueError, match="no cost 'weight'; choose from photons, bits"):
        fronts(rows(finished), draws, costs=["weight"])


def test_designs_without_a_cost_are_left_out(ledger, pretend):
    for run in ledger.runs:
        pretend(ledger, run, 0.8, bits=None if run.design == 1 else 50.0 + run.design)
    draws = resample(outcomes(ledger, "accuracy"), metric="accuracy", resamples=50)
    (front,) = fronts(rows(ledger), draws, costs=["bits"])
    assert front.left_out == (1,)
    assert [point.design for point in front.points] == [0, 2, 3]


def test_a_draw_without_a_number_is_no_victory():
    drawn = [[0.9, math.nan], [0.9, 0.1], [0.9, math.nan], [0.9, math.nan]]
    np.testing.assert_array_equal(front_probability(drawn, [[1.0], [2.0]]), [1, 0])
    found = front_probability([[0.9, math.nan]], [[1.0], [2.0]])
    np.testing.assert_array_equal(found, [1, math.nan])
