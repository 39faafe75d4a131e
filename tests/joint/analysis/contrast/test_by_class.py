import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr, wasserstein_distance
from sklearn.metrics import roc_auc_score

from joint.analysis import confusion_against_contrast, contrast_by_class
from joint.analysis.contrast.by_class import medians, rank_correlation

CLASSES = ("a", "b", "c", "d")


def _data(count=240, seed=0):
    """Four classes with growing contrast, two pictures a lesion; neighbours are confused."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) // 2 % 4
    values = np.array([0.2, 0.3, 0.6, 0.9])[labels] + 0.1 * random.standard_normal(count)
    near = np.array([1, 0, 1, 2])[labels]
    slip = random.random(count) < np.array([0.4, 0.35, 0.15, 0.05])[labels]
    groups = [f"lesion{i // 2}" for i in range(count)]
    return values, labels, np.where(slip, near, labels), groups


@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=9),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None)
def test_medians_are_those_of_repeated_values(values, seed):
    ascending = np.sort(np.array(values, dtype=float))
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(values)))
    for row, ours in zip(weights, medians(ascending, weights.astype(float)), strict=True):
        if row.sum() == 0:
            assert np.isnan(ours)
        else:
            assert ours == np.median(np.repeat(ascending, row))


def test_medians_and_quartiles_by_class():
    values, labels, _, groups = _data()
    values[[3, 11, 12]] = np.nan
    table = contrast_by_class(
        values, labels, classes=CLASSES, measure="gcnr", groups=groups, resamples=300
    )
    assert table.unit == "lesions"
    for k, row in enumerate(table.classes):
        own = values[(labels == k) & ~np.isnan(values)]
        assert row.name == CLASSES[k]
        assert row.pictures == len(own)
        assert row.undefined == (labels[[3, 11, 12]] == k).sum()
        assert (row.lower, row.median, row.upper) == tuple(np.quantile(own, (0.25, 0.5, 0.75)))
        assert row.interval.low <= row.median <= row.interval.high
        # Near the interval of a median of normal values, 1.96 * 1.25 * 0.1 / sqrt(n).
        half = 1.96 * 1.2533 * 0.1 / np.sqrt(len(own))
        assert 0.4 < (row.interval.high - row.interval.low) / (2 * half) < 2


def test_more_pictures_of_the_same_lesions_are_no_evidence():
    values, labels, guesses, groups = _data(80)
    twice = [np.repeat(a, 2) for a in (values, labels, guesses)]
    names = [name for name in groups for _ in range(2)]

    def width(interval):
        return interval.high - interval.low

    once = contrast_by_class(values, labels, classes=CLASSES, groups=groups)
    again = contrast_by_class(*twice[:2], classes=CLASSES, groups=names)
    alone = contrast_by_class(*twice[:2], classes=CLASSES)
    assert [r.interval for r in once.classes] == [r.interval for r in again.classes]
    assert alone.unit == "pictures"
    assert np.mean([width(r.interval) for r in alone.classes]) < 0.85 * np.mean(
        [width(r.interval) for r in once.classes]
    )
    paired = [
        confusion_against_contrast(v, y, g, classes=CLASSES, groups=n, resamples=200)
        for v, y, g, n in ((values, labels, guesses, groups), (*twice, names))
    ]
    assert paired[0].interval == paired[1].interval


def test_a_class_without_values_or_with_one_lesion_has_no_interval():
    values = np.array([0.1, 0.2, np.nan, 0.5, 0.6, 0.7])
    labels = np.array([0, 0, 1, 2, 2, 2])
    groups = ["x", "y", "z", "u", "u", "u"]
    table = contrast_by_class(values, labels, classes=CLASSES, groups=groups, resamples=50)
    none, one, absent = table.classes[1:]
    assert (none.pictures, none.undefined) == (0, 1)
    assert (absent.pictures, absent.undefined) == (0, 0)
    assert np.isnan(none.median)
    assert one.median == 0.6
    for row in (none, one, absent):
        assert np.isnan(row.interval.low)
    summary = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert summary["classes"][1]["median"] is None
    assert summary["classes"][0]["median"] == pytest.approx(0.15)


@pytest.mark.parametrize("distance", ["wasserstein", "separation"])
def test_pairs_agree_with_scipy_and_scikit_learn(distance):
    values, labels, guesses, groups = _data()
    values = values.round(1)  # ties
    values[[0, 9]] = np.nan
    found = confusion_against_contrast(
        values, labels, guesses, classes=CLASSES, groups=groups, distance=distance, resamples=100
    )
    there = ~np.isnan(values)
    assert len(found.pairs) == 6
    for pair in found.pairs:
        i, j = CLASSES.index(pair.first), CLASSES.index(pair.second)
        one, two = (values[there & (labels == k)] for k in (i, j))
        if distance == "wasserstein":
            expected = wasserstein_distance(one, two)
        else:
            sides = np.repeat([0, 1], [len(one), len(two)])
            expected = abs(2 * roc_auc_score(sides, np.concatenate((one, two))) - 1)
        assert pair.distance == pytest.approx(expected)
        taken = [(guesses[there & (labels == a)] == b).mean() for a, b in ((i, j), (j, i))]
        assert pair.confusion == pytest.approx(np.mean(taken))
    far, confused = zip(*((p.distance, p.confusion) for p in found.pairs), strict=True)
    assert list(far) == sorted(far)
    assert found.spearman == pytest.approx(spearmanr(far, confused).statistic)
    assert found.spearman < -0.5
    assert found.interval.low <= found.spearman <= found.interval.high


def test_places_of_pairs_have_intervals():
    # a and b are alike, c is far from both: which is nearest is sure, which of the others is not.
    random = np.random.default_rng(0)
    labels = np.arange(300) % 3
    values = random.normal(np.array([0.0, 0.1, 3.0])[labels], 1)
    guesses = np.where(random.random(300) < 0.3, (labels + 1) % 3, labels)
    found = confusion_against_contrast(
        values, labels, guesses, classes=CLASSES[:3], groups=[f"{i // 2}" for i in range(300)],
        resamples=300,
    )  # fmt: skip
    assert [pair.rank for pair in found.pairs] == [1, 2, 3]
    near, *far = found.pairs
    assert (near.first, near.second) == ("a", "b")
    assert near.rank_interval == (1, 1)
    assert all(pair.rank_interval == (2, 3) for pair in far)
    for pair in found.pairs:
        assert pair.distance_interval.low < pair.distance < pair.distance_interval.high
        assert pair.confusion_interval.low < pair.confusion < pair.confusion_interval.high
    assert far[0].distance_interval.low > near.distance_interval.high


def test_pairs_that_are_equally_far_share_a_place():
    labels = np.repeat([0, 1, 2], 10)
    values = labels + np.tile(np.arange(10) / 100, 3)  # each class apart from all others
    found = confusion_against_contrast(
        values, labels, labels, classes=CLASSES[:3], distance="separation", resamples=20
    )
    for pair in found.pairs:
        assert (pair.distance, pair.rank, pair.rank_interval) == (1, 1, (1, 1))


@pytest.mark.parametrize(("shift", "distance"), [(0.0, "wasserstein"), (0.3, "wasserstein"),
                                                 (0.0, "separation")])  # fmt: skip
def test_the_distance_of_classes_that_are_near_is_held_by_its_interval(shift, distance):
    """Draws of two classes that are alike are never as near as these."""
    random = np.random.default_rng(5)
    held = []
    for seed in range(25):
        labels = np.repeat([0, 1, 2], 20)
        values = random.normal(np.array([0, shift, 5])[labels])
        found = confusion_against_contrast(
            values, labels, labels, classes=CLASSES[:3], distance=distance, resamples=60,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        assert all(p.distance_interval.low <= p.distance for p in found.pairs)
        assert all(p.distance_interval.high >= p.distance for p in found.pairs)
        (pair,) = (p for p in found.pairs if (p.first, p.second) == ("a", "b"))
        held.append(pair.distance_interval.low <= shift <= pair.distance_interval.high)
    assert np.mean(held) > 0.9


def test_a_median_of_few_lesions_has_no_interval():
    # All of five lie on one side of their median in 1 case of 16, which is more than 5 %.
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [5, 6, 12])
    values = random.normal(size=23)
    options = {"classes": CLASSES[:3], "resamples": 50}
    rows = contrast_by_class(values, labels, **options).classes
    assert [bool(np.isnan(row.interval).all()) for row in rows] == [True, False, False]
    assert np.isfinite([row.median for row in rows]).all()
    rows = contrast_by_class(values, labels, level=0.9, **options).classes
    assert np.isfinite([row.interval for row in rows]).all()
    # Two pictures of each lesion are no more of them.
    groups = [f"{i // 2}" for i in range(12)]
    rows = contrast_by_class(
        values[11:], np.r_[[0] * 8, [1] * 4], classes=CLASSES[:2], groups=groups, resamples=50
    ).classes
    assert all(np.isnan(row.interval).all() for row in rows)


def test_rank_correlations_agree_with_scipy():
    curves = np.random.default_rng(0).integers(0, 4, (6, 2, 5)).astype(float)
    curves[0, 0] = 1
    curves[1, 1, 2] = np.nan
    ours = rank_correlation(np.arange(5.0), curves)
    assert np.isnan(ours[0, 0])
    assert np.isnan(ours[1, 1])
    for i, j in np.argwhere(~np.isnan(ours)):
        assert ours[i, j] == pytest.approx(spearmanr(np.arange(5), curves[i, j]).statistic)


def test_confusion_that_has_nothing_to_do_with_contrast():
    values, labels, guesses, groups = _data(2000)
    shuffled = np.random.default_rng(1).permutation(values)
    found = confusion_against_contrast(
        shuffled, labels, guesses, classes=CLASSES, groups=groups, resamples=200
    )
    assert found.interval.low < 0 < found.interval.high


def test_tables_are_printed_and_json():
    values, labels, guesses, groups = _data(40)
    table = contrast_by_class(
        values, labels, classes=CLASSES, measure="gcnr", groups=groups, resamples=20
    )
    assert "gcnr: medians, 95 % intervals over lesions" in str(table)
    assert f"a            10 {table.classes[0].median:8.3f}" in str(table)
    found = confusion_against_contrast(values, labels, guesses, classes=CLASSES, resamples=20)
    assert f"Spearman of contrast distance and confusion {found.spearman:+.3f}" in str(found)
    assert f"{found.pairs[0].first}-{found.pairs[0].second}" in str(found)
    summary = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert summary["pairs"][0]["confusion"] == found.pairs[0].confusion
    assert summary["interval"] == list(found.interval)


def test_draws_come_from_the_generator():
    values, labels, _, groups = _data(80)

    def table(seed):
        generator = torch.Generator().manual_seed(seed)
        return contrast_by_class(
            values, labels, classes=CLASSES, groups=groups, resamples=50, generator=generator
        )

    assert table(1) == table(1)
    assert table(1) != table(2)


def test_what_does_not_fit_is_refused():
    values, labels, guesses, _ = _data(16)
    with pytest.raises(ValueError, match=r"values must be one number for each picture \[N\]"):
        contrast_by_class(values[None], labels, classes=CLASSES)
    with pytest.raises(ValueError, match="labels must be 16 integers, one for each value"):
        contrast_by_class(values, labels[:3], classes=CLASSES)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1 for the classes a, b, not in"):
        contrast_by_class(values, labels, classes=("a", "b"))
    with pytest.raises(ValueError, match="none of the 16 pictures has a value"):
        contrast_by_class(np.full(16, np.nan), labels, classes=CLASSES)
    with pytest.raises(ValueError, match="at least 2 lesions, got 1"):
        contrast_by_class(values, labels, classes=CLASSES, groups=["one"] * 16)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        contrast_by_class(values, labels, classes=CLASSES, resamples=0)
    with pytest.raises(ValueError, match="guesses must be 16 integers"):
        confusion_against_contrast(values, labels, guesses / 2, classes=CLASSES)
    with pytest.raises(ValueError, match="'wasserstein' or 'separation', not 'far'"):
        confusion_against_contrast(values, labels, guesses, classes=CLASSES, distance="far")
    few = labels < 2
    with pytest.raises(ValueError, match="needs at least 3 classes with values, not 2"):
        confusion_against_contrast(values[few], labels[few], guesses[few], classes=CLASSES)
