import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judgeable import tied
from scipy.special import softmax
from scipy.stats import binomtest

import classify


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(0, 1))
def test_the_curve_is_the_mean_over_all_orders_of_equal_confidences(seed, count, digits):
    logits, labels = tied(seed, count, digits=digits)
    logits += 9  # no row sums to 1, as probabilities do
    confidence = softmax(logits, 1).max(1).round(12)
    wrong = (logits.argmax(1) != labels).astype(float)
    orders = [
        order
        for order in map(list, itertools.permutations(range(count)))
        if (np.diff(confidence[order]) <= 0).all()
    ]
    first = np.arange(1, count + 1)
    expected = np.mean([wrong[order].cumsum() / first for order in orders], 0)
    found = classify.risk_coverage(logits, labels, coverages=[k / count for k in first])
    np.testing.assert_allclose(found.risk, expected, atol=1e-12)
    np.testing.assert_allclose(found.accuracy, 1 - expected, atol=1e-12)
    np.testing.assert_allclose(found.coverage, first / count)
    assert found.aurc == pytest.approx(expected.mean())
    every = itertools.permutations(wrong)
    best = min((np.cumsum(order) / first).mean() for order in every)
    assert found.excess == pytest.approx(found.aurc - best, abs=1e-12)


def test_the_best_area_is_that_of_geifman():
    """``r + (1 - r) ln(1 - r)`` of many pictures."""
    labels, count = np.zeros(20_000, int), 20_000
    odds = np.linspace(5, -5, count)  # the last fifth is wrong, and least sure of all
    wrong = np.arange(count) >= 0.8 * count
    logits = np.where(wrong[:, None], [[0, 1e-6]], [[1, 0]]) * (odds[:, None] + 6)
    found = classify.risk_coverage(logits, labels)
    assert found.aurc == pytest.approx(0.2 + 0.8 * np.log(0.8), abs=1e-4)
    assert found.excess == pytest.approx(0, abs=1e-12)
    assert found.accuracy == pytest.approx((1, 1, 0.8 / 0.9, 0.8))


def test_intervals_draw_lesions_and_have_a_width():
    logits, labels = tied(0, 80)
    twice = np.repeat(np.arange(80), 2)
    groups = [f"lesion {n:02}" for n in twice]
    ask = {"resamples": 200, "coverages": (0.5, 1.0)}
    alone = classify.risk_coverage(logits, labels, **ask)
    same = classify.risk_coverage(logits[twice], labels[twice], groups=groups, **ask)
    surer = classify.risk_coverage(logits[twice], labels[twice], **ask)
    np.testing.assert_allclose(same.accuracy_intervals, alone.accuracy_intervals)
    assert (alone.unit, same.unit) == ("pictures", "lesions")
    for found, wider in ((surer, True), (alone, False)):
        assert (found.aurc_interval.high < same.aurc_interval.high) == wider
    assert alone.aurc_interval.low < alone.aurc < alone.aurc_interval.high
    report = classify.report(logits, labels, resamples=200)
    assert alone.accuracy[1] == pytest.approx(report.accuracy)
    assert alone.accuracy_intervals[1] == pytest.approx(report.intervals["accuracy"])
    # None wrong, which half of them says no more than 40 lesions can.
    sure = np.linspace(5, 9, 80)[:, None]
    right = classify.risk_coverage(sure * np.eye(3)[labels], labels, **ask)
    low = binomtest(40, 40).proportion_ci(method="wilson").low
    assert right.accuracy_intervals[0] == pytest.approx((low, 1))
    # Equally sure, all of them are judged in half of the orders.
    equal = classify.risk_coverage(9 * np.eye(3)[labels], labels, **ask)
    low = binomtest(80, 80).proportion_ci(method="wilson").low
    assert equal.accuracy_intervals[0] == pytest.approx((low, 1))
    # Nor of the area, of which as many pictures of unequal weights tell less.
    area = right.aurc_interval
    assert area.low == 0
    assert 1 - low < area.high < 2 * (1 - low)
    all_wrong = classify.risk_coverage(sure * np.eye(3)[(labels + 1) % 3], labels, **ask)
    assert all_wrong.aurc_interval == pytest.approx((1 - area.high, 1))
    single = classify.risk_coverage(logits, labels, groups=["one"] * 80, **ask)
    assert np.isnan([single.aurc_interval, *single.accuracy_intervals]).all()


def test_the_accuracy_at_a_coverage_is_covered():
    """Errors at a rate that falls with the confidence: the true accuracy is an integral."""
    random, trials, covered = np.random.default_rng(0), 150, 0
    for trial in range(trials):
        margin = random.exponential(size=100)
        wrong = random.random(100) < 0.4 * np.exp(-margin)  # uniform in exp(-margin)
        found = classify.risk_coverage(
            np.stack([margin, 0 * margin], 1),
            wrong.astype(int),
            coverages=[0.5],
            resamples=100,
            seed=trial,
        )
        low, high = found.accuracy_intervals[0]
        covered += low <= 0.9 <= high  # 1 - 0.4 * 0.25: half of them have exp(-margin) < 0.5
    assert covered / trials >= 0.9


@pytest.mark.parametrize("informed", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_the_area_is_covered_where_few_are_wrong(informed, size):
    """Three lesions in a hundred are wrong, or more of them where the confidence is low."""
    random, trials, covered = np.random.default_rng(1), 150, 0
    groups = np.repeat(np.arange(100), size).astype(str)
    for trial in range(trials):
        doubt = random.random(100)
        wrong = random.random(100) < (0.06 * doubt if informed else 0.03)
        margin = np.repeat(2 - doubt, size)
        found = classify.risk_coverage(
            np.stack([margin, 0 * margin], 1),
            np.repeat(wrong, size).astype(int),
            groups=groups.tolist(),
            resamples=50,
            seed=trial,
        )
        low, high = found.aurc_interval
        covered += low <= (0.015 if informed else 0.03) <= high  # the integral of -ln(u) risk(u)
    assert covered / trials >= 0.95


def test_it_is_printed_and_written():
    logits, labels = tied(0, 50)
    found = classify.risk_coverage(
        torch.from_numpy(softmax(logits, 1)), labels, kind="probabilities", resamples=20
    )
    plain = classify.risk_coverage(logits, labels)
    np.testing.assert_allclose(found.risk, plain.risk)
    low, high = found.accuracy_intervals[2]
    assert f"accuracy of 0.9    {found.accuracy[2]:.3f} [{low:.3f}, {high:.3f}]" in str(found)
    assert str(found).endswith("[low, high]: 95 % intervals, resampling pictures")
    assert len(str(plain).splitlines()) == 6
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again["risk"] == found.risk.tolist()
    assert again["accuracy_intervals"][2] == [low, high]


def test_the_order_of_files_says_nothing_of_pictures_that_are_equally_sure():
    groups = [*["large"] * 40, *(f"lesion {n}" for n in range(60))]
    labels = np.array([0] * 90 + [1] * 10)
    scores = np.tile([[1.0, 0.0]], (100, 1))
    there, back = (
        classify.risk_coverage(
            scores,
            labels[rows],
            groups=[groups[row] for row in rows],
            coverages=(0.3,),
            resamples=300,
        )
        for rows in (np.arange(100), np.arange(100)[::-1])
    )
    assert there.accuracy == pytest.approx((0.9,))
    np.testing.assert_allclose(there.accuracy_intervals, back.accuracy_intervals, atol=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coverages": [0.0]}, "coverages must lie above 0 and be at most 1, not 0.0"),
        ({"coverages": [1.5]}, "not 1.5"),
        ({"labels": [0, 3]}, "label 3 is beyond the 3 classes"),
        ({"groups": ["a"]}, "2 rows need as many groups, not 1"),
        ({"level": 95}, "level in"),
        ({"logits": np.full((2, 3), np.nan)}, "2 rows of scores are nan or infinite"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"logits": np.eye(3)[:2], "labels": [0, 1]}
    with pytest.raises(ValueError, match=message):
        classify.risk_coverage(**given | change)
    with pytest.warns(UserWarning, match="probabilities, but are taken as logits") as told:
        classify.risk_coverage(np.full((2, 2), 0.5), [0, 1])
    assert told[0].filename == __file__
