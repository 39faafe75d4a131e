import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from joint.analysis.information.cross_fit import deal, standard
from joint.analysis.information.observer import hotelling_observer
from joint.analysis.information.usable import usable_information

CLASSES = ("a", "b", "c")


@given(
    kinds=st.lists(st.integers(0, 2), min_size=12, max_size=40),
    folds=st.integers(2, 7),
    twins=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None)
def test_each_picture_is_judged_once_and_never_by_its_lesion(kinds, folds, twins, seed):
    kinds = [0, 0, 1, 1, *kinds]
    labels = np.repeat(kinds, twins)
    groups = [f"l{i}" for i in np.repeat(np.arange(len(kinds)), twins)]
    features = np.arange(len(labels), dtype=float)[:, None]
    drawing = torch.Generator().manual_seed(seed)
    data = deal(features, labels, classes=CLASSES, groups=groups, folds=folds, generator=drawing)
    judged = []
    for train, test in data.parts():
        assert not set(data.member[train]) & set(data.member[test])
        assert sorted([*train, *test]) == list(range(len(data.labels)))
        judged += [*test]
    assert sorted(judged) == list(range(len(data.labels)))
    rare = [k for k in range(3) if kinds.count(k) == 1]
    assert data.left_out(CLASSES) == tuple(
        name for k, name in enumerate(CLASSES) if kinds.count(k) < 2
    )
    kept = ~np.isin(labels, rare)
    assert np.array_equal(data.features, features[kept])
    assert np.array_equal(data.labels, labels[kept])
    # Class by class: a part has as many lesions of each as another, but for one.
    for k in data.present:
        counts = np.bincount(data.fold[data.labels == k], minlength=folds)
        assert counts.max() - counts.min() <= twins


def test_features_are_standardised_and_constants_count_nothing():
    features = np.random.default_rng(0).standard_normal((50, 3)) * [1, 100, 0] + [0, 5, 1 / 3]
    mean, spread = standard(features)
    scaled = (features - mean) / spread
    assert np.allclose(scaled.mean(0), 0)
    assert np.allclose(scaled.std(0), [1, 1, 0])


def test_a_lesion_is_not_judged_by_itself():
    # Each lesion has a signature that says nothing of others: twins would give it away.
    random = np.random.default_rng(0)
    features = np.repeat(random.standard_normal((60, 60)), 2, 0)
    labels = np.arange(120) // 2 % 2
    groups = [f"l{i // 2}" for i in range(120)]
    fair = hotelling_observer(features, labels, classes=("a", "b"), groups=groups, resamples=5)
    unfair = hotelling_observer(features, labels, classes=("a", "b"), resamples=5)
    assert fair.auc < 0.65
    assert unfair.auc > fair.auc + 0.15


def test_many_useless_features_are_no_evidence():
    # More of them than pictures, and nothing to find: cross-fitting must not find it.
    labels = np.arange(120) // 2 % 3
    groups = [f"l{i // 2}" for i in range(120)]
    aucs, bits = [], []
    for seed in range(8):
        features = np.random.default_rng(seed).standard_normal((120, 300))
        options = {"classes": CLASSES, "groups": groups, "resamples": 5}
        aucs.append(hotelling_observer(features, labels, **options).auc)
        bits.append(usable_information(features, labels, **options).bits)
    # Over 30 seeds one varies by 0.074, as the three pairs share classes: 0.026 in the mean of 8.
    assert np.mean(aucs) == pytest.approx(0.5, abs=2 * 0.026)
    assert np.mean(bits) == pytest.approx(0, abs=0.02)


def test_classes_of_one_lesion_are_left_out_by_name(gaussians):
    features, labels, groups = gaussians(80, [[0, 0], [2, 0]], np.eye(2))
    labels[:2] = 2
    for measure in (hotelling_observer, usable_information):
        found = measure(features, labels, classes=CLASSES, groups=groups, resamples=20)
        assert found.left_out == ("c",)
        assert found.pictures == 78


def test_what_cannot_be_dealt_is_refused(gaussians):
    features, labels, groups = gaussians(40, [[0, 0], [1, 0]], np.eye(2))
    for measure in (hotelling_observer, usable_information):
        with pytest.raises(ValueError, match=r"features must be finite numbers \[N, D\], not .40"):
            measure(features * np.nan, labels, classes=CLASSES)
        endless = np.where(np.arange(40)[:, None] == 3, np.inf, features)
        with pytest.raises(ValueError, match=r"features must be finite numbers \[N, D\], not .40"):
            measure(endless, labels, classes=CLASSES)
        with pytest.raises(ValueError, match="labels must be 40 integers"):
            measure(features, labels[:3], classes=CLASSES)
        for folds in (1, 2.5):
            with pytest.raises(ValueError, match=f"folds must be .* at least 2, not {folds}"):
                measure(features, labels, classes=CLASSES, folds=folds)
        with pytest.raises(ValueError, match="at least 2 classes of 2 lesions are needed, not 1"):
            measure(features, 0 * labels, classes=CLASSES, groups=groups)
        with pytest.raises(ValueError, match="resamples must be at least 1"):
            measure(features, labels, classes=CLASSES, resamples=0)


def test_features_that_are_0_or_less_everywhere_alike_count_nothing():
    # Such as those of a channel without light, or of a filter of negative taps.
    features = np.random.default_rng(0).standard_normal((60, 3))
    features[:, 0] += np.arange(60) % 2
    dark = np.column_stack((np.zeros(60), features, np.full(60, -1 / 3)))
    mean, spread = standard(dark)
    assert np.array_equal(
        (dark - mean) / spread, (dark - mean) / [np.inf, *dark.std(0)[1:4], np.inf]
    )
    options = {"labels": np.arange(60) % 2, "classes": ("a", "b"), "resamples": 5}
    bits = [usable_information(f, **options).bits for f in (features, dark)]
    assert bits[1] == pytest.approx(bits[0], abs=1e-6)


@given(
    lesions=st.lists(st.sets(st.integers(0, 2), min_size=1), min_size=6, max_size=14),
    folds=st.integers(2, 6),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None)
def test_lesions_of_several_classes_are_dealt_once_and_leave_each_class_to_learn_from(
    lesions, folds, seed
):
    pictures = [(k, f"l{i}") for i, kinds in enumerate(lesions) for k in sorted(kinds)]
    labels, groups = np.array([k for k, _ in pictures]), [name for _, name in pictures]
    features = np.zeros((len(labels), 1))
    drawing = torch.Generator().manual_seed(seed)
    options = {"classes": CLASSES, "groups": groups, "folds": folds, "generator": drawing}
    try:
        data = deal(features, labels, **options)
    except ValueError:
        assume(False)
    for train, test in data.parts():
        assert not set(data.member[train]) & set(data.member[test])
        assert set(data.labels[train]) == set(data.present)


def test_a_deal_is_sought_until_one_leaves_each_class_something():
    kinds = [{0, 1}, {0}, {1}, {1, 2}, {0, 2}, {0}]
    pictures = [(k, f"l{i}") for i, own in enumerate(kinds) for k in sorted(own)]
    labels, groups = np.array([k for k, _ in pictures]), [name for _, name in pictures]
    features = np.zeros((len(labels), 1))
    for seed in range(40):
        drawing = torch.Generator().manual_seed(seed)
        data = deal(features, labels, classes=CLASSES, groups=groups, folds=2, generator=drawing)
        assert all(set(data.labels[train]) == {0, 1, 2} for train, _ in data.parts())


def test_two_lesions_of_two_classes_are_in_two_parts(gaussians):
    features, labels, _ = gaussians(8, [[0, 0], [2, 0]], np.eye(2))
    groups = ["p", "q", "p", "q", "p", "r", "s", "q"]
    labels = np.array([0, 0, 1, 1, 0, 1, 1, 0])
    for seed in range(8):
        drawing = torch.Generator().manual_seed(seed)
        found = usable_information(
            features, labels, classes=("a", "b"), groups=groups, folds=3, resamples=5,
            generator=drawing,
        )  # fmt: skip
        assert np.isfinite([found.bits, found.label_bits, *found.interval]).all()


def test_a_class_that_cannot_be_in_two_parts_is_told():
    # Each two of three lesions share a class, and two parts cannot hold them all apart.
    labels, groups = np.array([0, 1, 1, 2, 2, 0]), ["p", "p", "q", "q", "r", "r"]
    options = {"groups": groups, "generator": torch.Generator().manual_seed(0)}
    with pytest.raises(ValueError, match=r"100 deals all lesions of a class, .* into one of 2"):
        deal(np.zeros((6, 1)), labels, classes=CLASSES, folds=2, **options)
    data = deal(np.zeros((6, 1)), labels, classes=CLASSES, folds=3, **options)
    assert len(data.parts()) == 3


def test_features_that_are_none_are_told_from_features_that_are_not_finite():
    labels = np.arange(8) % 2
    with pytest.raises(ValueError, match=r"features must be finite numbers \[N, D\], not \(8, 0\)"):
        hotelling_observer(np.zeros((8, 0)), labels, classes=("a", "b"))
    endless = np.where(np.arange(8)[:, None] == 3, np.inf, np.zeros((8, 2)))
    with pytest.raises(ValueError, match=r"not \(8, 2\) of which 2 are nan or infinite"):
        hotelling_observer(endless, labels, classes=("a", "b"))
