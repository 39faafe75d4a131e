import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr, wasserstein_distance
from sklearn.metrics import roc_auc_score

from joint.analysis import confusion_against_contrast

CLASSES = ("a", "b", "c", "d")


@pytest.mark.parametrize("distance", ["wasserstein", "separation"])
def test_pairs_agree_with_scipy_and_scikit_learn(distance, mistaken):
    values, labels, guesses, groups = mistaken()
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


def test_pairs_that_are_equally_far_share_a_place_that_no_draw_can_move():
    labels = np.repeat([0, 1, 2], 10)
    values = labels + np.tile(np.arange(10) / 100, 3)  # each class apart from all others
    found = confusion_against_contrast(
        values, labels, labels, classes=CLASSES[:3], distance="separation", resamples=20
    )
    for pair in found.pairs:
        assert (pair.distance, pair.rank) == (1, 1)
        # All draws agree on distance and place, of whatever is not among these ten.
        assert np.isnan(pair.rank_interval).all()


@pytest.mark.parametrize("distance", ["wasserstein", "separation"])
def test_places_that_all_draws_agree_on_are_certain_of_enough_lesions_only(distance):
    """The distances of classes at 0, 1 and 9 have one order in every draw."""
    random = np.random.default_rng(0)
    for count in (5, 6):
        labels = np.repeat([0, 1, 2], count)
        values = random.normal(np.array([0.0, 1.0, 9.0])[labels], 0.1)
        found = confusion_against_contrast(
            values, labels, labels, classes=CLASSES[:3], distance=distance, resamples=40,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        for pair in found.pairs:
            if count == 6 and distance == "wasserstein":
                assert pair.rank_interval == (pair.rank, pair.rank)
            else:  # of separation, all are 1
                assert np.isnan(pair.rank_interval).all()


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


def test_the_distance_of_a_class_of_few_lesions_is_held_by_its_interval():
    """The draws of two lesions are too near each other: those held it in 0.7 of all cases."""
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [2, 20, 20])
    held = []
    for seed in range(40):
        values = random.normal(np.array([0, 4, 4])[labels])
        found = confusion_against_contrast(
            values, labels, labels, classes=CLASSES[:3], resamples=60,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        for pair in found.pairs:
            if pair.first == "a":
                held.append(pair.distance_interval.low <= 4 <= pair.distance_interval.high)
            if not np.isnan(pair.rank_interval).all():  # two lesions with one place in all draws
                assert pair.rank_interval.low <= pair.rank <= pair.rank_interval.high
                assert {*pair.rank_interval} <= {1, 2, 3}
    assert np.mean(held) > 0.95


@pytest.mark.parametrize("distance", ["wasserstein", "separation"])
def test_a_class_of_one_lesion_has_no_certain_distance(distance):
    labels = np.repeat([0, 1, 2], [1, 1, 10])
    values = np.concatenate(([1.0, 2.0], np.arange(10)))
    found = confusion_against_contrast(
        values, labels, labels, classes=CLASSES[:3], distance=distance, resamples=60
    )
    for pair in found.pairs:
        assert np.isnan((*pair.distance_interval, *pair.rank_interval)).all()
        # That a lesion is not confused leaves open how many are.
        assert pair.confusion == pair.confusion_interval.low == 0
        assert pair.confusion_interval.high > 0.4
    assert "[    nan,     nan]" in str(found)


def test_draws_that_agree_are_no_certain_distance():
    labels = np.repeat([0, 1, 2], 8)
    options = {"classes": CLASSES[:3], "resamples": 20}
    alike = confusion_against_contrast(np.minimum(labels, 1) * 1.0, labels, labels, **options)
    assert [pair.distance for pair in alike.pairs] == [0, 1, 1]
    assert all(np.isnan(pair.distance_interval).all() for pair in alike.pairs)
    apart = confusion_against_contrast(
        np.arange(24.0), labels, labels, distance="separation", **options
    )
    for pair in apart.pairs:  # Wilson's interval of an AUC of 1 of eight lesions, as a separation
        assert pair.distance_interval.low == pytest.approx(2 * 8 / (8 + 1.96**2) - 1, abs=1e-3)
        assert pair.distance_interval.high == pair.distance == 1


def test_the_confusion_of_few_lesions_is_held_by_its_interval():
    random = np.random.default_rng(4)
    labels = np.repeat([0, 1, 2], [3, 3, 20])
    held = []
    for seed in range(60):
        values = random.normal(labels)
        guesses = np.where(random.random(26) < 0.2, (labels + 1) % 3, labels)
        found = confusion_against_contrast(
            values, labels, guesses, classes=CLASSES[:3], resamples=40,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        held += [p.confusion_interval.low <= 0.1 <= p.confusion_interval.high for p in found.pairs]
    assert np.mean(held) > 0.95


def test_confusion_that_has_nothing_to_do_with_contrast(mistaken):
    values, labels, guesses, groups = mistaken(2000)
    shuffled = np.random.default_rng(1).permutation(values)
    found = confusion_against_contrast(
        shuffled, labels, guesses, classes=CLASSES, groups=groups, resamples=200
    )
    assert found.interval.low < 0 < found.interval.high


def test_more_pictures_of_the_same_lesions_are_no_evidence(mistaken):
    values, labels, guesses, groups = mistaken(80)
    twice = [np.repeat(a, 2) for a in (values, labels, guesses)]
    names = [name for name in groups for _ in range(2)]
    paired = [
        confusion_against_contrast(v, y, g, classes=CLASSES, groups=n, resamples=200)
        for v, y, g, n in ((values, labels, guesses, groups), (*twice, names))
    ]
    assert paired[0].interval == paired[1].interval


def test_pairs_are_printed_and_json(mistaken):
    values, labels, guesses, _ = mistaken(40)
    found = confusion_against_contrast(values, labels, guesses, classes=CLASSES, resamples=20)
    assert f"Spearman of contrast distance and confusion {found.spearman:+.3f}" in str(found)
    assert f"{found.pairs[0].first}-{found.pairs[0].second}" in str(found)
    summary = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert summary["pairs"][0]["confusion"] == found.pairs[0].confusion
    assert summary["interval"] == list(found.interval)


def test_what_does_not_fit_is_refused(mistaken):
    values, labels, guesses, _ = mistaken(16)
    with pytest.raises(ValueError, match="guesses must be 16 integers"):
        confusion_against_contrast(values, labels, guesses / 2, classes=CLASSES)
    with pytest.raises(ValueError, match="'wasserstein' or 'separation', not 'far'"):
        confusion_against_contrast(values, labels, guesses, classes=CLASSES, distance="far")
    few = labels < 2
    with pytest.raises(ValueError, match="needs at least 3 classes with values, not 2"):
        confusion_against_contrast(values[few], labels[few], guesses[few], classes=CLASSES)


def test_equal_values_in_each_class_give_no_certain_place():
    labels = np.array([0, 0, 1, 1, 2, 2, 2])
    guesses = np.array([0, 1, 1, 0, 2, 2, 1])
    found = confusion_against_contrast(
        labels + 1.0, labels, guesses, classes=CLASSES[:3], resamples=50
    )
    for pair in found.pairs:
        assert np.isnan(pair.distance_interval).all()
        assert pair.rank_interval.low < pair.rank_interval.high or np.isnan(pair.rank_interval[0])
