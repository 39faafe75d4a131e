"""Bjontegaard deltas: closed forms, quadrature, another package's figures, and refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator, pchip_interpolate

from compress.curve import RateCurve, bd_quality, bd_rate

METHODS = ("pchip", "akima")

# Four points each of a codec and a slightly better one.
ANCHOR = ([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851])
TEST = ([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987])


@st.composite
def curves(draw):
    """Points of a curve that can be interpolated: rates and qualities."""
    count = draw(st.integers(4, 8))
    steps = st.lists(st.floats(0.1, 1.5), min_size=count, max_size=count)
    rate = np.exp(draw(st.floats(-2, -1)) + np.cumsum(draw(steps)))
    quality = draw(st.floats(25, 27)) + np.cumsum(draw(steps))
    return rate, quality


@pytest.mark.parametrize("method", METHODS)
@given(curves(), st.floats(0.1, 10))
def test_rates_times_a_constant_and_qualities_plus_one(method, curve, factor):
    rate, quality = curve
    loose = {"method": method, "minimum_overlap": 0.0}
    assert bd_rate(rate, quality, factor * rate, quality, **loose) == pytest.approx(
        100 * (factor - 1), abs=1e-8
    )
    assert bd_quality(rate, quality, rate, quality + factor, **loose) == pytest.approx(factor)
    assert bd_quality(rate, quality, rate, quality - factor, **loose) == pytest.approx(-factor)


@pytest.mark.parametrize("method", METHODS)
@given(st.floats(20, 30), st.floats(1, 5), st.floats(-1, 1), st.floats(0.7, 1.4), st.integers(4, 9))
def test_straight_lines_of_different_slope(method, offset, slope, shift, tilt, count):
    """Both q = a + b log r: the differences are means of straight lines over the overlap."""
    rate_a, rate_t = np.geomspace(0.1, 4, count), np.geomspace(0.15, 5, count + 1)
    a, b = offset, slope
    c, d = offset + shift, slope * tilt
    quality_a, quality_t = a + b * np.log(rate_a), c + d * np.log(rate_t)
    low, high = max(quality_a[0], quality_t[0]), min(quality_a[-1], quality_t[-1])
    assume(high - low > 0.1)
    middle = (low + high) / 2  # the mean of a line is its value there
    expected = 100 * math.expm1((middle - c) / d - (middle - a) / b)
    got = bd_rate(rate_a, quality_a, rate_t, quality_t, method=method, minimum_overlap=0)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)
    middle = (math.log(0.15) + math.log(4)) / 2
    got = bd_quality(rate_a, quality_a, rate_t, quality_t, method=method)
    assert got == pytest.approx(c + d * middle - a - b * middle, abs=1e-8)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=30)
@given(curves(), curves())
def test_quadrature(method, anchor, test):
    def interpolate(x, y, at):
        return pchip_interpolate(x, y, at) if method == "pchip" else Akima1DInterpolator(x, y)(at)

    (rate_a, quality_a), (rate_t, quality_t) = anchor, test
    low, high = max(quality_a[0], quality_t[0]), min(quality_a[-1], quality_t[-1])
    assume(high - low > 0.5)
    at = np.linspace(low, high, 20001)
    gap = interpolate(quality_t, np.log(rate_t), at) - interpolate(quality_a, np.log(rate_a), at)
    got = bd_rate(*anchor, *test, method=method, minimum_overlap=0)
    expected = 100 * math.expm1(np.trapezoid(gap, at) / (high - low))
    assert got == pytest.approx(expected, rel=1e-4, abs=1e-4)

    low, high = np.log(max(rate_a[0], rate_t[0])), np.log(min(rate_a[-1], rate_t[-1]))
    assume(high - low > 0.5)
    at = np.linspace(low, high, 20001)
    gap = interpolate(np.log(rate_t), quality_t, at) - interpolate(np.log(rate_a), quality_a, at)
    got = bd_quality(*anchor, *test, method=method, minimum_overlap=0)
    assert got == pytest.approx(np.trapezoid(gap, at) / (high - low), abs=1e-4)


def test_figures_of_another_package():
    """Those of the package bjontegaard 1.3.0 for the same points."""
    assert bd_rate(*ANCHOR, *TEST) == pytest.approx(-4.417485350589045, rel=1e-10)
    assert bd_rate(*ANCHOR, *TEST, method="akima") == pytest.approx(-4.425245156997493, rel=1e-10)
    assert bd_quality(*ANCHOR, *TEST) == pytest.approx(0.11969278542479489, rel=1e-10)
    assert bd_quality(*ANCHOR, *TEST, method="akima") == pytest.approx(
        0.11940927028529469, rel=1e-10
    )


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=50)
@given(curves(), curves(), st.floats(0.01, 1e4), st.randoms(use_true_random=False))
def test_exchange_scale_and_order(method, anchor, test, factor, random):
    loose = {"method": method, "minimum_overlap": 0.0}
    (ra, qa), (rt, qt) = anchor, test
    assume(max(qa[0], qt[0]) < min(qa[-1], qt[-1]))
    assume(max(ra[0], rt[0]) < min(ra[-1], rt[-1]))
    rate, quality = bd_rate(*anchor, *test, **loose), bd_quality(*anchor, *test, **loose)
    assert (1 + rate / 100) * (1 + bd_rate(*test, *anchor, **loose) / 100) == pytest.approx(1)
    assert quality == pytest.approx(-bd_quality(*test, *anchor, **loose), abs=1e-9)
    # Rates in another unit, qualities in another unit.
    assert bd_rate(factor * ra, qa, factor * rt, qt, **loose) == pytest.approx(rate, abs=1e-6)
    assert bd_rate(ra, factor * qa, rt, factor * qt, **loose) == pytest.approx(rate, abs=1e-6)
    scaled = bd_quality(ra, factor * qa, rt, factor * qt, **loose)
    assert scaled == pytest.approx(factor * quality, rel=1e-6, abs=1e-6 * factor)
    order = list(range(len(ra)))
    random.shuffle(order)
    assert bd_rate(ra[order], qa[order], rt, qt, **loose) == rate
    assert bd_quality(rt, qt, ra[order], qa[order], **loose) == pytest.approx(-quality, abs=1e-9)


def test_better_is_negative_in_rate_and_positive_in_quality():
    anchor = ([0.2, 0.4, 0.8, 1.6], [30, 33, 36, 39])
    better = ([0.1, 0.2, 0.4, 0.8], [30, 33, 36, 39])
    assert bd_rate(*anchor, *better) == pytest.approx(-50)
    assert bd_rate(*better, *anchor) == pytest.approx(100)
    assert bd_quality(*anchor, *better) == pytest.approx(3)


def test_any_container_of_numbers_and_any_figure_that_grows():
    rate, accuracy = [0.1, 0.2, 0.4, 0.8, 1.6], [0.52, 0.60, 0.71, 0.74, 0.79]
    half = torch.tensor(rate) / 2
    for kind in (list, tuple, np.array, torch.tensor):
        assert bd_rate(kind(rate), kind(accuracy), half, accuracy) == pytest.approx(-50, abs=1e-4)


def test_an_accuracy_that_falls_is_refused_and_named():
    rate = [0.1, 0.2, 0.4, 0.8, 1.6]
    good, bad = [0.5, 0.6, 0.7, 0.75, 0.8], [0.5, 0.62, 0.6, 0.75, 0.71]
    text = (
        r"the curve 'test' is not monotone, its quality does not increase with the rate at "
        r"\(rate, quality\) \(0.2, 0.62\) to \(0.4, 0.6\), \(0.8, 0.75\) to \(1.6, 0.71\)\. "
        "Measure on more pictures or seeds"
    )
    with pytest.raises(ValueError, match=text):
        bd_rate(rate, good, rate, bad)
    with pytest.raises(ValueError, match="the curve 'anchor' is not monotone"):
        bd_rate(rate[::-1], bad[::-1], rate, good)


@pytest.mark.parametrize("method", METHODS)
def test_an_accuracy_that_falls_has_a_quality_at_each_rate(method):
    """Against the antiderivative of SciPy's own interpolation."""
    rate = [0.1, 0.2, 0.4, 0.8, 1.6]
    good, bad = [0.5, 0.6, 0.7, 0.75, 0.8], [0.5, 0.62, 0.6, 0.75, 0.71]
    kind = PchipInterpolator if method == "pchip" else Akima1DInterpolator
    wholes = [kind(np.log(rate), quality).antiderivative() for quality in (bad, good)]
    areas = [whole(math.log(1.6)) - whole(math.log(0.1)) for whole in wholes]
    expected = (areas[0] - areas[1]) / math.log(16)
    assert bd_quality(rate, good, rate, bad, method=method) == pytest.approx(expected, abs=1e-12)
    curves = (RateCurve(name, rate, quality) for name, quality in (("a", good), ("b", bad)))
    assert next(curves).bd_quality(next(curves), method=method) == pytest.approx(-expected)


def test_a_plateau_has_a_quality_at_each_rate_but_no_rate_at_its_quality():
    rate, plateau = [0.1, 0.2, 0.4, 0.8, 1.6], [0.5, 0.6, 0.7, 0.7, 0.8]
    with pytest.raises(ValueError, match=r"not monotone.* \(0.4, 0.7\) to \(0.8, 0.7\)\. "):
        bd_rate(rate, plateau, rate, plateau)
    shifted = [q + 0.1 for q in plateau]
    assert bd_quality(rate, plateau, rate, shifted) == pytest.approx(0.1)


def test_curves_that_do_not_meet_are_refused():
    rate = [0.1, 0.2, 0.4, 0.8]
    low, high = [30, 31, 32, 33], [34, 35, 36, 37]
    text = "no quality in common: 'anchor' from 30 to 33 and 'test' from 34 to 37"
    with pytest.raises(ValueError, match=text):
        bd_rate(rate, low, rate, high, minimum_overlap=0)
    with pytest.raises(ValueError, match="no quality in common"):
        bd_rate(rate, low, rate, [33, 34, 35, 36], minimum_overlap=0)  # they only touch
    assert bd_quality(rate, low, rate, high) == pytest.approx(4)
    text = "no rate in common: 'anchor' from 0.1 to 0.8 and 'test' from 1 to 8"
    with pytest.raises(ValueError, match=text):
        bd_quality(rate, low, [1, 2, 4, 8], high)


def test_curves_that_hardly_meet_are_refused_unless_asked_for():
    rate = [0.1, 0.2, 0.4, 0.8]
    low, high = [30.0, 32, 34, 40], [39.0, 41, 43, 49]
    text = (
        r"share 10% of the narrower range of quality, less than minimum_overlap=0.5: 'anchor' "
        "from 30 to 40 and 'test' from 39 to 49. Measure settings that overlap, or allow less"
    )
    with pytest.raises(ValueError, match=text):
        bd_rate(rate, low, rate, high)
    assert bd_rate(rate, low, rate, high, minimum_overlap=0.1) < -50
    # Measured on the narrower: a short curve within a long one is compared in full.
    assert bd_rate(rate, [30, 40, 50, 60], rate, [35, 36, 37, 38], minimum_overlap=1) > 0
    with pytest.raises(ValueError, match="share 50% of the narrower range of rate"):
        bd_quality(rate, low, [8**0.5 / 10, 0.5, 0.7, 6.4], high, minimum_overlap=0.51)


@pytest.mark.parametrize(
    ("rate", "quality", "text"),
    [
        ([1, 2, 3], [1, 2, 3], "'test' has 3 points; at least 4 are needed"),
        ([1, 2, 3, 4], [1, 2, 3], r"rates \[4\] and qualities \[3\]"),
        ([[1, 2, 3, 4]], [[1, 2, 3, 4]], r"rates \[1, 4\] and qualities \[1, 4\]"),
        ([1, 0, 3, 4], [1, 2, 3, 4], r"not positive at \(rate, quality\) \(0, 2\)\."),
        ([1, -2, 0, 4], [1, 2, 3, 4], r"not positive at \(rate, quality\) \(-2, 2\), \(0, 3\)\."),
        ([1, 2, 3, 4], [1, 2, math.nan, 4], r"not finite at \(rate, quality\) \(3, nan\)\."),
        ([1, math.nan, 3, 4], [1, 2, 3, 4], r"not finite at \(rate, quality\) \(nan, 2\)\."),
        ([1, 2, 3, 4], [30, 40, 50, math.inf], r"\(4, inf\)\. Leave out lossless points"),
        ([1, 2, 2, 4], [1, 2, 3, 4], r"equal rate at \(rate, quality\) \(2, 2\) to \(2, 3\)\."),
    ],
)
def test_points_that_are_no_curve_are_refused(rate, quality, text):
    good = ([1, 2, 3, 4], [1, 2, 3, 4])
    for delta in (bd_rate, bd_quality):
        with pytest.raises(ValueError, match=text):
            delta(*good, rate, quality)
        with pytest.raises(ValueError, match=text.replace("'test'", "'anchor'")):
            delta(rate, quality, *good)


def test_arguments_outside_their_range_are_refused():
    for delta in (bd_rate, bd_quality):
        with pytest.raises(ValueError, match="method must be 'pchip' or 'akima', got 'cubic'"):
            delta(*ANCHOR, *TEST, method="cubic")
        for share in (-0.1, 1.1, math.nan):
            with pytest.raises(ValueError, match=f"minimum_overlap must be 0 to 1, got {share}"):
                delta(*ANCHOR, *TEST, minimum_overlap=share)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_curve_of_any_sequence_can_be_compared_and_hashed(kind):
    rate, quality = (0.25, 0.5, 1.0, 2.0), (30.0, 33.0, 36.0, 39.0)
    curve = RateCurve("ours", kind(rate), kind(quality))
    assert curve == RateCurve("ours", rate, quality)
    assert len({curve, RateCurve("ours", rate, quality)}) == 1
    assert type(curve.rate) is type(curve.quality) is tuple
    assert {type(value) for value in curve.rate + curve.quality} == {float}


def test_a_curve_with_a_name_and_a_header():
    jpeg = RateCurve("JPEG", (0.4, 0.6, 0.9, 1.4), (30.0, 33.0, 36.0, 39.0), header=0.2)
    ours = RateCurve("ours", (0.15, 0.25, 0.4, 0.65), (30.0, 33.0, 36.0, 39.0), header=0.05)
    assert ours.bd_rate(jpeg) == bd_rate(jpeg.rate, jpeg.quality, ours.rate, ours.quality)
    choices = {"method": "akima", "minimum_overlap": 0.3}
    assert ours.bd_quality(jpeg, **choices) == bd_quality(
        jpeg.rate, jpeg.quality, ours.rate, ours.quality, **choices
    )
    bare = jpeg.without_header()
    assert bare.rate == pytest.approx((0.2, 0.4, 0.7, 1.2))
    assert (bare.name, bare.quality, bare.header) == ("JPEG", jpeg.quality, 0)
    assert bare.without_header() == bare
    assert ours.without_header().bd_rate(bare) == pytest.approx(-50)
    late = RateCurve("late", (5.0, 6.0, 7.0, 8.0), (50.0, 51.0, 52.0, 53.0))
    with pytest.raises(ValueError, match="'JPEG' from 30 to 39 and 'late' from 50 to 53"):
        late.bd_rate(jpeg)
    with pytest.raises(ValueError, match="the curve 'JPEG' has a rate that is not positive"):
        ours.bd_quality(RateCurve("JPEG", jpeg.rate, jpeg.quality, header=0.4).without_header())


def test_each_point_has_a_header_of_its_own_or_none_is_known():
    rate, quality = (0.4, 0.6, 0.9, 1.4), (30.0, 33.0, 36.0, 39.0)
    curve = RateCurve("ours", rate, quality, header=np.array([0.1, 0.2, 0.3, 0.4]))
    assert curve.without_header().rate == pytest.approx((0.3, 0.4, 0.6, 1.0))
    assert hash(curve) == hash(RateCurve("ours", rate, quality, header=(0.1, 0.2, 0.3, 0.4)))
    with pytest.raises(ValueError, match="the header of the curve 'ours' is unknown"):
        RateCurve("ours", rate, quality).without_header()
    with pytest.raises(ValueError, match=r"one for each of its 4 rates, got headers \[2\]"):
        RateCurve("ours", rate, quality, header=(0.1, 0.2))


@pytest.mark.parametrize(
    ("rate", "quality", "shapes"),
    [
        ((1.0, 2.0), (30.0,), r"rates \[2\] and qualities \[1\]"),
        (0.5, 30.0, r"rates \[\] and qualities \[\]"),
        (((1.0, 2.0),), ((30.0, 31.0),), r"rates \[1, 2\]"),
    ],
)
def test_a_curve_has_a_quality_for_each_rate(rate, quality, shapes):
    with pytest.raises(ValueError, match=rf"'JPEG' needs one quality for each rate, got {shapes}"):
        RateCurve("JPEG", rate, quality)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (0.5, "0.5 of 0.4: "),
        (-0.1, "-0.1 of 0.4, -0.1 of 0.6, -0.1 of 0.9: "),
        (math.nan, "nan of 0.4, nan of 0.6, nan of 0.9: "),
        ((0.4, math.inf, 0.9), "inf of 0.6: "),
        ((0.4, 0.7, -0.2), "0.7 of 0.6, -0.2 of 0.9: "),
    ],
)
def test_a_header_is_a_part_of_its_rate(header, told):
    rate, quality = (0.4, 0.6, 0.9), (30.0, 33.0, 36.0)
    with pytest.raises(ValueError, match=rf"curve 'ours' has headers \(of rates\) {told}"):
        RateCurve("ours", rate, quality, header=header)
    with pytest.raises(ValueError, match="inf of inf: a header is finite"):
        RateCurve("ours", (math.inf,), (30.0,), header=math.inf)
    for part in (0, 0.0, 0.4, rate):
        assert RateCurve("ours", rate, quality, header=part).header == part
