import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

import compress
from classify import Interval
from joint.analysis.curve_difference import (
    DrawnCurve,
    curve_difference,
    pooled,
    rate_difference,
    told_difference,
    told_setting,
)

ACCURACY = np.array([0.5, 0.6, 0.7, 0.78, 0.82])
RATE = np.array([100.0, 200.0, 400.0, 800.0, 1600.0])


def _ends(value, draws):
    """An interval that is all of the draws."""
    return Interval(float(np.nanmin(draws)), float(np.nanmax(draws))), 0.01


@settings(deadline=None)
@given(
    points=st.lists(
        st.tuples(st.integers(1, 30), st.floats(0, 1, allow_subnormal=False)),
        min_size=1,
        max_size=9,
    )
)
def test_pooling_is_isotonic_regression(points):
    rate, accuracy = np.array(points, dtype=float).T
    found_rate, found = pooled(rate, accuracy)
    wanted = IsotonicRegression().fit(rate, accuracy).predict(found_rate)
    assert found == pytest.approx(wanted, abs=1e-9)
    assert (np.diff(found_rate) > 0).all()
    merged_rate, merged = pooled(rate, accuracy, merge=True)
    assert (np.diff(merged) > 0).all()
    assert len(merged) == len(merged_rate)


def test_a_curve_that_grows_is_left_as_it_is():
    rate, accuracy = pooled(RATE[::-1], ACCURACY[::-1], merge=True)
    assert rate == pytest.approx(RATE)
    assert accuracy.tolist() == ACCURACY.tolist()
    merged, level = pooled([1, 4, 16], [0.5, 0.7, 0.6], merge=True)
    assert merged == pytest.approx([1, 8])
    assert level == pytest.approx([0.5, 0.65])


def test_differences_are_those_of_the_compress_room():
    other = ACCURACY + np.array([0.03, 0.02, 0.02, 0.01, 0.02])
    found, reason = rate_difference((RATE, ACCURACY), (RATE, other), at="accuracy")
    assert reason is None
    assert found == pytest.approx(compress.bd_rate(RATE, ACCURACY, RATE, other))
    at_rate, _ = rate_difference((RATE, ACCURACY), (RATE, other), at="rate")
    assert at_rate == pytest.approx(compress.bd_quality(RATE, ACCURACY, RATE, other))
    half, _ = rate_difference((RATE, ACCURACY), (RATE / 2, ACCURACY))
    assert half == pytest.approx(-50)


def test_what_cannot_be_told_has_a_reason():
    found, reason = rate_difference((RATE, ACCURACY), (RATE, ACCURACY - 0.4))
    assert math.isnan(found)
    assert "have no quality in common" in reason
    falling = ACCURACY[[1, 0, 3, 2, 4]]
    found, reason = rate_difference((RATE, ACCURACY), (RATE, falling))
    assert math.isnan(found)
    pooling = "has 3 of its 5 points after pooling where accuracy does not grow with the rate"
    assert reason == f"the curve 'test' {pooling}; at least 4 are needed"
    # Without pooling there were none to begin with.
    found, reason = rate_difference((RATE[:3], ACCURACY[:3]), (RATE, ACCURACY))
    assert reason == "the curve 'anchor' has 3 points; at least 4 are needed"
    # At equal rate the same curve can be told.
    found, reason = rate_difference((RATE, ACCURACY), (RATE, falling), at="rate")
    assert reason is None
    assert abs(found) < 0.05


def test_without_draws_there_is_no_interval_and_whoever_has_none_says_why():
    nothing = np.zeros((0, 5))
    one, other = (
        DrawnCurve(name, rate, ACCURACY, nothing, nothing)
        for name, rate in (("one", RATE), ("other", RATE / 2))
    )
    for told in ({}, {"undrawn": "one seed says nothing about others"}):
        found = curve_difference(other, one, minimum_overlap=0.3, level=0.95, judge=_ends, **told)
        assert found.rate == pytest.approx(-50)
        assert found.rate_interval is None
        assert found.rate_reason == told.get("undrawn", "nothing was drawn")


@pytest.mark.parametrize(
    ("lost", "verdict"), [(2, "fewer bits"), (4, "not shown"), (60, "not shown")]
)
@pytest.mark.parametrize("more", [0, 100])
def test_a_difference_that_few_draws_have_has_no_interval(lost, verdict, more):
    rates, drawn = np.tile(RATE, (100 + more, 1)), np.tile(ACCURACY, (100 + more, 1))
    there = drawn - 0.4 * (np.arange(100 + more) < lost)[:, None]  # no accuracy in common
    anchor = DrawnCurve("anchor", RATE, ACCURACY, rates, drawn)
    test = DrawnCurve("test", RATE / 2, ACCURACY, rates / 2, there)
    # Others that follow, of seeds alone, say, exist more often, and are not counted.
    found = curve_difference(
        test, anchor, minimum_overlap=0.3, level=0.95, judge=_ends, counted=100 if more else None
    )
    assert found.rate == pytest.approx(-50)
    assert found.rate_known == 1 - lost / 100
    assert found.verdict == verdict
    if lost == 2:
        assert found.rate_interval == pytest.approx((-50, -50))
        assert found.rate_reason is None
        assert found.rate_p == 0.01
    else:
        assert found.rate_interval is None
        assert found.rate_p is None
        assert found.rate_reason == f"it exists in {1 - lost / 100:g} of the draws alone"


def test_an_interval_without_ends_is_none_and_bits_are_judged_as_logarithms():
    rates, drawn = np.tile(RATE, (3, 1)), np.tile(ACCURACY, (3, 1))
    factors = np.array([[0.25], [0.5], [1.0]])
    anchor = DrawnCurve("anchor", RATE, ACCURACY, rates, drawn)
    test = DrawnCurve("test", RATE / 2, ACCURACY, rates * factors, drawn)

    def judged(judge):
        return curve_difference(test, anchor, minimum_overlap=0.3, level=0.95, judge=judge)

    def about(value, draws):
        return Interval(value - draws.std(), value + draws.std()), 0.2

    spread = np.exp(np.log([0.25, 0.5, 1]).std())
    wanted = 100 * (0.5 / spread - 1), 100 * (0.5 * spread - 1)
    assert judged(about).rate_interval == pytest.approx(wanted)
    found = judged(lambda *_: (Interval(-math.inf, math.inf), 1.0))
    assert found.rate_interval is None
    assert found.rate_reason == found.accuracy_reason == "3 draws are too few for it"


def test_draws_in_which_there_is_no_difference_are_not_too_few():
    """Their interval has no ends as one of 100 draws may be anything."""
    rates, drawn = np.tile(RATE, (100, 1)), np.tile(ACCURACY, (100, 1))
    drawn[0] -= 0.4
    anchor = DrawnCurve("anchor", RATE, ACCURACY, rates, np.tile(ACCURACY, (100, 1)))
    found = curve_difference(
        DrawnCurve("test", RATE / 2, ACCURACY, rates / 2, drawn), anchor,
        minimum_overlap=0.3, level=0.95, judge=lambda *_: (Interval(-math.inf, math.inf), 1.0),
    )  # fmt: skip
    assert found.rate_reason == "it exists in 0.99 of the draws alone"


def test_lossless_points_are_left_out_of_each_draw():
    """As if there were none of them: a draw that has all points lossy is compared on all."""
    rates = np.tile(np.append(RATE, 3200), (4, 1))
    lossy = np.append(ACCURACY, 0.9)
    drawn = np.stack([lossy, np.append(ACCURACY, np.inf), lossy, np.append(ACCURACY, np.inf)])
    anchor = DrawnCurve("anchor", rates[0], lossy, rates, drawn)
    half = DrawnCurve("half", rates[0] / 2, lossy, rates / 2, drawn)
    how = {"minimum_overlap": 0.3, "level": 0.95, "judge": _ends}
    found = curve_difference(half, anchor, **how)
    assert found.rate_known == found.accuracy_known == 1
    assert found.rate_interval == pytest.approx((-50, -50))
    exact = DrawnCurve("png", RATE, np.full(5, np.inf), np.tile(RATE, (4, 1)), drawn[:, :5])
    reason = curve_difference(half, exact, metric="PSNR", **how).rate_reason
    assert reason == (
        "the curve 'png' has 0 points; at least 4 are needed, and what is lossless is left out"
    )


def test_curves_are_called_by_their_metric():
    falling = (RATE, ACCURACY[[1, 0, 3, 2, 4]])
    _, reason = rate_difference(falling, (RATE, ACCURACY), metric="PSNR")
    assert "where PSNR does not grow with the rate" in reason
    _, reason = rate_difference(([0, *RATE[1:]], ACCURACY), (RATE, ACCURACY), metric="PSNR")
    assert reason == "the curve 'anchor' has a point without a rate above 0 or PSNR"


def test_a_difference_that_rounds_to_zero_has_no_minus():
    nothing = np.zeros((0, 5))
    one, other = (
        DrawnCurve(name, RATE * factor, ACCURACY, nothing, nothing)
        for name, factor in (("one", 1 + 1e-7), ("other", 1))
    )
    found = curve_difference(other, one, minimum_overlap=0.3, level=0.95, judge=_ends)
    assert -1e-4 < found.rate < 0
    back = curve_difference(one, other, minimum_overlap=0.3, level=0.95, judge=_ends)
    assert -1e-6 < back.accuracy < 0
    assert "against one: +0.0 % bits" in told_difference(found, "accuracy")
    assert "; accuracy +0.0000 (" in told_difference(back, "accuracy")


def test_a_setting_is_told_as_it_is_given():
    told = [told_setting("x", value) for value in (3, 0.50, 1e-3, None, True, "4:2:0")]
    assert told == ["x=3", "x=0.5", "x=0.001", "x=null", "x=true", "x=4:2:0"]
    assert told_setting("", None) == ""


def test_a_question_about_no_curve_is_refused():
    curve = ([100, 200, 400, 800], [0.5, 0.6, 0.7, 0.75])
    with pytest.raises(ValueError, match="at equal 'accuracy' or at equal 'rate', not at 'psnr'"):
        rate_difference(curve, curve, at="psnr")
    for share in (-1, 2, math.nan):
        with pytest.raises(ValueError, match="minimum_overlap is a share from 0 to 1"):
            rate_difference(curve, curve, minimum_overlap=share)
    with pytest.raises(ValueError, match=r"'test' needs as many rates .* \(3,\) and \(4,\)"):
        rate_difference(curve, (curve[0][:3], curve[1]))
    for rate in (0, math.nan):
        found, reason = rate_difference(curve, ([rate, *curve[0][1:]], curve[1]))
        assert math.isnan(found)
        assert reason == "the curve 'test' has a point without a rate above 0 or accuracy"
