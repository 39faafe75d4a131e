import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from joint.analysis import correctness_against_contrast, matched_strata
from joint.analysis.contrast.correctness import _slopes

CLASSES = ("a", "b", "c")


def _data(count=600, slope=1.0, seed=0):
    """Classes of rising contrast and rising accuracy; within a class, ``slope`` per unit."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) // 2 % 3
    values = labels + random.standard_normal(count)
    odds = np.array([-1.0, 0.0, 1.5])[labels] + slope * (values - labels)
    right = random.random(count) < 1 / (1 + np.exp(-odds))
    return values, labels, right, [f"lesion{i // 2}" for i in range(count)]


def _likelihood(x, kinds, right):
    def loss(parameters):
        odds = kinds @ parameters[1:] + parameters[0] * x
        return (np.logaddexp(0, odds) - right * odds).sum()

    return loss


@pytest.mark.parametrize("seed", range(3))
def test_slopes_agree_with_scikit_learn_and_scipy(seed):
    values, labels, right, groups = _data(seed=seed)
    values[[5, 77]] = np.nan
    found = correctness_against_contrast(
        values, labels, right, classes=CLASSES, groups=groups, resamples=50
    )
    there = ~np.isnan(values)
    x = (values - values[there].mean())[there] / values[there].std()
    kinds = np.eye(3)[labels[there]]
    theirs = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    theirs.fit(np.column_stack((x, kinds)), right[there])
    assert found.within_class.slope == pytest.approx(theirs.coef_[0, 0], abs=1e-5)
    for chosen, slope in (
        (kinds, found.within_class.slope),
        (np.ones((len(x), 1)), found.ignoring_class.slope),
    ):
        start = np.zeros(1 + chosen.shape[1])
        best = minimize(_likelihood(x, chosen, right[there]), start, tol=1e-12)
        assert slope == pytest.approx(best.x[0], abs=1e-4)
    assert found.deviation == pytest.approx(values[there].std())
    assert (found.pictures, found.undefined) == (598, 2)
    assert found.within_class.interval.low < found.within_class.slope
    assert found.within_class.slope < found.within_class.interval.high


@pytest.mark.parametrize("extreme", [1e3, 1e4, 49694.0])
def test_one_extreme_contrast_leaves_the_slope(extreme):
    # As Weber's contrast is behind a ring that is nearly dark.
    random = np.random.default_rng(0)
    values = random.normal(size=400)
    right = random.random(400) < 1 / (1 + np.exp(-values))
    values[0], right[0] = extreme, True
    labels = np.arange(400) % 2
    found = correctness_against_contrast(values, labels, right, classes=("a", "b"), resamples=20)
    kinds = np.eye(2)[labels]
    best = minimize(_likelihood(values, kinds, right), np.zeros(3), method="BFGS")
    slope = best.x[0] * values.std()
    assert found.within_class.slope == pytest.approx(slope, rel=1e-3)


def test_pictures_without_a_value_take_no_part():
    values, labels, right, groups = _data(120)
    values[::5] = np.nan
    other = right ^ np.isnan(values)
    for function in (correctness_against_contrast, matched_strata):
        one, two = (
            function(values, labels, r, classes=CLASSES, groups=groups, resamples=30).to_dict()
            for r in (right, other)
        )
        assert one == two


def test_values_that_are_constant_in_each_class_have_no_slope_within():
    for seed in range(20):
        _, labels, right, _ = _data(90, seed=seed)
        values = np.random.default_rng(seed).random(3)[labels]
        found = correctness_against_contrast(values, labels, right, classes=CLASSES, resamples=10)
        assert math.isnan(found.within_class.slope)
        assert math.isnan(found.within_class.interval.low)
        assert not math.isnan(found.ignoring_class.slope)


def test_of_two_values_the_slope_is_the_log_odds_ratio():
    counts = {(0, 0): 12, (0, 1): 30, (1, 0): 7, (1, 1): 41}  # (high, right): pictures
    high, right = (np.repeat([key[i] for key in counts], list(counts.values())) for i in (0, 1))
    found = correctness_against_contrast(
        high, np.zeros_like(high), right == 1, classes=("a",), resamples=10
    )
    expected = math.log(12 * 41 / (30 * 7)) * high.std()
    assert found.within_class.slope == pytest.approx(expected, abs=1e-9)
    assert found.ignoring_class.slope == pytest.approx(expected, abs=1e-9)


def test_weights_are_repetitions():
    values, labels, right, _ = _data(90)
    weights = np.random.default_rng(1).integers(0, 4, (4, 90))
    ours = _slopes(values, right.astype(float), labels, weights.astype(float))
    for row, slope in zip(weights, ours, strict=True):
        again = [np.repeat(a, row) for a in (values, right.astype(float), labels)]
        alone = _slopes(again[0], again[1], again[2], np.ones((1, row.sum())))
        assert slope == pytest.approx(float(alone[0]), abs=1e-9)


def test_an_effect_of_the_class_alone_is_seen_as_one():
    values, labels, right, groups = _data(3000, slope=0.0)
    found = correctness_against_contrast(
        values, labels, right, classes=CLASSES, groups=groups, resamples=200
    )
    assert found.ignoring_class.interval.low > 0.3
    low, high = found.within_class.interval
    assert low < 0 < high


def test_a_true_effect_within_the_class_is_found_and_shuffling_destroys_it():
    values, labels, right, groups = _data(1500, slope=0.8)
    options = {"classes": CLASSES, "groups": groups, "resamples": 200}
    found = correctness_against_contrast(values, labels, right, **options)
    low, high = found.within_class.interval
    assert low < 0.8 * found.deviation < high
    assert low > 0
    shuffled = values.copy()
    random = np.random.default_rng(2)
    for k in range(3):
        shuffled[labels == k] = random.permutation(values[labels == k])
    low, high = correctness_against_contrast(
        shuffled, labels, right, **options
    ).within_class.interval
    assert low < 0 < high


def test_intervals_cover_the_truth_with_lesions_of_many_pictures():
    hits = 0
    for seed in range(120):
        random = np.random.default_rng(seed)
        labels = np.repeat(np.arange(50) % 2, 4)
        shared = np.repeat(random.standard_normal(50), 4)
        values = 0.8 * shared + 0.6 * random.standard_normal(200)
        # The lesion, not the contrast, decides.
        right = np.repeat(random.random(50) < 0.6, 4) ^ (random.random(200) < 0.1)
        found = correctness_against_contrast(
            values, labels, right, classes=("a", "b"), resamples=200,
            groups=np.repeat(np.arange(50), 4).astype(str).tolist(),
        )  # fmt: skip
        low, high = found.within_class.interval
        hits += low < 0 < high
    assert 0.87 <= hits / 120 <= 1.0  # 0.95 within four standard errors


def test_classes_all_right_say_nothing_of_the_slope():
    values, labels, right, groups = _data()
    right = right | (labels == 2)
    options = {"classes": CLASSES, "resamples": 20}
    found = correctness_against_contrast(values, labels, right, groups=groups, **options)
    assert found.silent == ("c",)
    rest = labels < 2
    fewer = correctness_against_contrast(values[rest], labels[rest], right[rest], **options)
    assert found.within_class.slope / found.deviation == pytest.approx(
        fewer.within_class.slope / fewer.deviation, abs=1e-9
    )


def test_no_slope_where_the_likelihood_has_no_maximum():
    values, labels, right, _ = _data(60)
    constant = correctness_against_contrast(
        np.full(60, 0.3), labels, right, classes=CLASSES, resamples=20
    )
    by_class = correctness_against_contrast(
        0.1 * labels, labels, right, classes=CLASSES, resamples=20
    )
    split = correctness_against_contrast(
        values, labels, values > 0.5, classes=CLASSES, resamples=20
    )
    always = correctness_against_contrast(
        values, labels, np.ones(60, bool), classes=CLASSES, resamples=20
    )
    for found in (constant, by_class, split, always):
        assert math.isnan(found.within_class.slope)
    assert not math.isnan(by_class.ignoring_class.slope)
    assert math.isnan(split.ignoring_class.slope)
    assert split.to_dict()["within_class"]["slope"] is None


def test_strata_hold_the_same_share_of_every_class():
    values, labels, right, groups = _data(601)
    values[:4] = np.nan
    found = matched_strata(values, labels, right, classes=CLASSES, groups=groups, resamples=200)
    assert found.pictures.sum() == 597
    assert np.ptp(found.pictures, axis=1).max() <= 1
    for k in range(3):
        rows = np.flatnonzero((labels == k) & ~np.isnan(values))
        parts = np.array_split(rows[np.argsort(values[rows])], 3)
        if found.pictures[k].tolist() == [len(part) for part in parts]:
            assert found.accuracy[k] == pytest.approx([right[part].mean() for part in parts])
    assert found.matched == pytest.approx(found.accuracy.mean(0))
    assert found.difference == pytest.approx(found.matched[2] - found.matched[0])
    assert 0 < found.interval.low < found.difference < found.interval.high
    for k, (low, high) in enumerate(found.class_intervals):
        assert low <= found.accuracy[k, 2] - found.accuracy[k, 0] <= high


def test_strata_of_classes_too_small_are_left_out():
    values, labels, right, _ = _data(61)
    labels[:] = np.where(np.arange(61) == 60, 2, labels % 2)
    found = matched_strata(values, labels, right, classes=CLASSES, resamples=50)
    assert found.pictures[2].tolist() == [1, 0, 0]
    assert found.matched == pytest.approx(found.accuracy[:2].mean(0))
    assert math.isnan(found.class_intervals[2].low)
    summary = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert summary["accuracy"][2][1] is None


def test_equal_contrasts_are_in_all_strata_whatever_their_order():
    found = matched_strata(
        np.ones(60),
        np.repeat([0, 1], 30),
        np.tile(np.arange(30) < 15, 2),
        classes=("a", "b"),
        resamples=20,
    )
    np.testing.assert_allclose(found.accuracy, 0.5)
    assert found.difference == pytest.approx(0, abs=1e-12)
    assert found.pictures.tolist() == [[10] * 3] * 2
    values, labels, right, groups = _data(90)
    values = values.clip(max=2.0)  # as of a measure that saturates
    order = np.random.default_rng(0).permutation(90)
    one, two = (
        matched_strata(
            values[rows],
            labels[rows],
            right[rows],
            classes=CLASSES,
            groups=[groups[row] for row in rows],
            resamples=5,
        )
        for rows in (np.arange(90), order)
    )
    np.testing.assert_allclose(one.accuracy, two.accuracy, atol=1e-12)
    assert np.array_equal(one.pictures, two.pictures)


def test_one_lesion_in_an_end_stratum_has_no_interval():
    values, labels, right, _ = _data(60)
    labels[:] = np.where(np.arange(60) < 48, labels % 2, 2)
    groups = [f"lesion{i}" for i in range(48)] + ["p"] * 4 + ["q"] * 4 + ["r"] * 4
    values[48:] = np.arange(12)
    found = matched_strata(values, labels, right, classes=CLASSES, groups=groups, resamples=50)
    assert found.pictures[2].tolist() == [4, 4, 4]
    assert np.isfinite(found.accuracy).all()
    assert np.isnan(found.class_intervals[2]).all()
    assert np.isfinite(found.class_intervals[:2]).all()
    groups[51] = groups[56] = "s"  # a second lesion at both ends
    groups[57] = "s"
    again = matched_strata(values, labels, right, classes=CLASSES, groups=groups, resamples=50)
    assert np.isfinite(again.class_intervals).all()


def test_a_class_without_a_mistake_has_newcombes_interval():
    """Two ends of eight lesions, all right: the difference is not known to be nothing."""
    labels = np.repeat([0, 1], 16)
    values = np.tile(np.arange(16.0), 2)
    right = np.ones(32, dtype=bool)
    right[[16, 18, 21, 25]] = False
    found = matched_strata(values, labels, right, classes=("a", "b"), strata=2, resamples=400)
    # Method 10 for two samples, of statsmodels' confint_proportions_2indep(method="newcomb").
    shrunk = 1.959964**2 / 8
    reach = shrunk / (1 + shrunk)  # of Wilson's interval of 8 of 8
    assert found.class_intervals[0] == pytest.approx((-reach, reach), rel=1e-5)
    # Over both classes, the distances of both: half the class's own each.
    (low, high), (first_low, first_high) = found.interval, found.class_intervals[1]
    gap = found.accuracy[1, 1] - found.accuracy[1, 0]
    assert gap == pytest.approx(2 / 8)
    assert high == pytest.approx(gap / 2 + np.hypot(reach, first_high - gap) / 2, rel=0.1)
    assert low == pytest.approx(gap / 2 - np.hypot(reach, gap - first_low) / 2, rel=0.1)


def test_results_are_printed_and_json():
    values, labels, right, groups = _data(90)
    effect = correctness_against_contrast(
        values, labels, right | (labels == 1), classes=CLASSES, groups=groups, resamples=20
    )
    text = str(effect)
    assert "90 pictures, 0 without a value; 95 % intervals over lesions" in text
    assert f"within class    {effect.within_class.slope:+.3f} [" in text
    assert "all right or all wrong: b" in text
    summary = json.loads(json.dumps(effect.to_dict(), allow_nan=False))
    assert summary["within_class"]["slope"] == effect.within_class.slope
    strata = matched_strata(values, labels, right, classes=CLASSES, resamples=20)
    assert f"matched  {strata.matched[0]:6.3f}" in str(strata)
    assert json.dumps(strata.to_dict(), allow_nan=False)


def test_what_does_not_fit_is_refused():
    values, labels, right, _ = _data(12)
    for function in (correctness_against_contrast, matched_strata):
        with pytest.raises(ValueError, match=r"right must be 12 bools.*guesses == labels"):
            function(values, labels, right.astype(int), classes=CLASSES)
        with pytest.raises(ValueError, match="resamples must be at least 1"):
            function(values, labels, right, classes=CLASSES, resamples=0)
    for strata in (1, 2.5):
        with pytest.raises(ValueError, match=f"strata must be .* at least 2, not {strata}"):
            matched_strata(values, labels, right, classes=CLASSES, strata=strata)


def test_a_slope_that_many_draws_lack_has_no_interval():
    """One mistake among twenty: a third of the draws are without it, and the steepest."""
    values = np.arange(20.0)
    right = values > 10
    right[3] = True
    options = {"classes": ("a",), "resamples": 200}
    labels = np.zeros(20, dtype=int)
    found = correctness_against_contrast(values, labels, right, **options)
    assert found.ignoring_class.slope == pytest.approx(2.715, abs=1e-3)
    assert np.isnan(found.ignoring_class.interval).all()
    right[[5, 7, 13, 16]] = [True, True, False, False]
    more = correctness_against_contrast(values, labels, right, **options)
    low, high = more.ignoring_class.interval
    assert low < more.ignoring_class.slope < high
