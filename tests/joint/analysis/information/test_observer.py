import math

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from scipy.stats import kstest, norm
from skimage.transform import downscale_local_mean
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.covariance import ledoit_wolf as theirs
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, permutation_test_score

from classify.intervals import wilson_intervals
from joint.analysis.information.cross_fit import deal
from joint.analysis.information.observer import (
    _discriminants,
    _mean_there,
    _pair_auc,
    hotelling_observer,
    ledoit_wolf,
    random_features,
)

CLASSES = ("a", "b", "c")


def test_features_are_moments_of_responses_and_local():
    pictures = torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    found = random_features(pictures, count=4, scales=(1, 2), taps=3)
    assert found.shape == (3, 3 * 2 * 4)
    drawing = torch.Generator().manual_seed(0)
    filters = torch.randn((4, 2, 3, 3), generator=drawing, dtype=torch.float64)
    filters /= filters.flatten(1).norm(dim=1)[:, None, None, None]
    response = torch.nn.functional.conv2d(pictures, filters).flatten(2).numpy()
    for k, power in ((0, 1), (1, 2), (2, 4)):
        moment = (response**power).mean(-1)
        expected = moment if power == 1 else moment ** (1 / power)
        assert np.allclose(found[:, 4 * k : 4 * k + 4].numpy(), expected)
    alone = random_features(pictures[1:2], count=4, scales=(1, 2), taps=3)
    assert torch.allclose(alone[0], found[1])
    other = random_features(pictures, count=4, generator=torch.Generator().manual_seed(1), taps=3)
    assert not torch.allclose(other[:, :4], found[:, :4])


def test_filters_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"pictures must be floats \[B, C, H, W\]"):
        random_features(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(
        ValueError, match=r"filters of 5 .* do not fit .*16, 16.* by 4: .*scales=\(1, 2\)"
    ):
        random_features(torch.zeros(1, 3, 16, 16))
    # What is no number of filters, or no side, is not blamed on the picture.
    for name, told in (("count", "count"), ("taps", "taps"), ("scales", "a scale")):
        for value in (0, 2.5):
            given = {name: (1, value) if name == "scales" else value}
            with pytest.raises(ValueError, match=f"{told} must be a whole .* 1, not {value}"):
                random_features(torch.zeros(1, 3, 32, 32), **given)


@pytest.mark.parametrize("apart", [0.0, 0.8, 1.6])
def test_two_gaussians_have_the_auc_of_their_snr(apart, gaussians):
    random = np.random.default_rng(1)
    root = random.standard_normal((6, 6))
    covariance = root @ root.T / 6 + 0.3 * np.eye(6)
    direction = random.standard_normal(6)
    direction *= apart / math.sqrt(direction @ np.linalg.solve(covariance, direction))
    features, labels, groups = gaussians(6000, [np.zeros(6), direction], covariance)
    # The scales of the features do not matter.
    features = features * 10.0 ** np.arange(-3, 3) + 5
    found = hotelling_observer(features, labels, classes=("a", "b"), groups=groups, resamples=100)
    expected = norm.cdf(apart / math.sqrt(2))
    assert found.auc == pytest.approx(expected, abs=0.012)
    assert found.interval.low - 0.005 < expected < found.interval.high + 0.005
    assert found.detectability == pytest.approx(apart, abs=0.06)
    assert [(p.first, p.second, p.auc) for p in found.pairs] == [("a", "b", found.auc)]


def test_discriminants_are_those_of_scikit_learn(gaussians):
    means = [[0, 0, 0], [1, 0.5, 0], [0, 1, 1]]
    features, labels, _ = gaussians(300, means, np.diag([1, 2, 0.5]))
    train, test = features[:200], features[200:]
    ours = _discriminants(train, labels[:200], test, 3)
    spread = train.std(0)
    judge = LinearDiscriminantAnalysis(
        solver="eigen", shrinkage=_shrinkage(train / spread, labels[:200]), priors=[1 / 3] * 3
    )
    judge.fit(train / spread, labels[:200])
    expected = judge.decision_function(test / spread)
    # Up to what all classes share; with the mean of classes of equal weight they are the same.
    assert np.allclose(
        ours[:, 1:] - ours[:, :1], expected[:, 1:] - expected[:, :1], atol=0.05, rtol=0.02
    )


def _shrinkage(features, labels):
    means = np.stack([features[labels == k].mean(0) for k in range(3)])
    return ledoit_wolf(features - means[labels])[1]


@pytest.mark.parametrize(("count", "size"), [(12, 40), (60, 20), (2000, 5)])
def test_shrinkage_agrees_with_scikit_learn(count, size):
    random = np.random.default_rng(count)
    residuals = random.standard_normal((count, size)) @ random.standard_normal((size, size))
    residuals -= residuals.mean(0)
    covariance, share = ledoit_wolf(residuals)
    expected, their_share = theirs(residuals, assume_centered=True)
    assert share == pytest.approx(their_share)
    assert np.allclose(covariance, expected)


def test_auc_of_pairs_and_draws_agree_with_scikit_learn(gaussians):
    means = [[0, 0], [1, 0], [0, 2]]
    features, labels, groups = gaussians(240, means, np.eye(2))
    found = hotelling_observer(features, labels, classes=CLASSES, groups=groups, resamples=200)
    scores = np.round(np.random.default_rng(0).standard_normal((240, 3)), 1)  # ties
    one = np.zeros(240, dtype=int)
    weights = np.random.default_rng(1).integers(0, 3, (4, 240)).astype(float)
    for pair in ((0, 1), (0, 2), (1, 2)):
        own = np.isin(labels, pair)
        ratio = (scores[:, pair[0]] - scores[:, pair[1]]).round(9)
        for row, ours in zip(weights, _pair_auc(scores, labels, one, pair, weights), strict=True):
            expected = roc_auc_score(labels[own] == pair[0], ratio[own], sample_weight=row[own])
            assert ours == pytest.approx(expected)
    assert found.auc == pytest.approx(np.mean([p.auc for p in found.pairs]))
    assert found.interval.low < found.auc < found.interval.high
    assert "(95 % over lesions, templates held)" in str(found)
    alone = hotelling_observer(features, labels, classes=CLASSES, resamples=20)
    assert (found.unit, alone.unit) == ("lesions", "pictures")
    assert "(95 % over pictures, templates held)" in str(alone)
    # Hanley and McNeil's standard error of each pair of 80, and three pairs.
    assert 0.01 < found.interval.high - found.interval.low < 0.12


@pytest.mark.parametrize(("apart", "auc"), [(0.0, 0.5), (1.0, 1.0)])
def test_draws_that_agree_are_no_certainty(apart, auc):
    labels = np.arange(16) % 2
    features = apart * labels[:, None] * np.ones(3)
    found = hotelling_observer(features, labels, classes=("a", "b"), resamples=20)
    assert found.auc == auc
    # Wilson's of the eight lesions of a class, as in a report.
    low, high = wilson_intervals(np.array(auc), np.array(8))
    assert list(found.interval) == pytest.approx([low, high])


def test_pictures_are_compared_within_their_part():
    scores = np.array([[5.0, 0], [4, 0], [3, 0], [0, 0], [9, 0]])
    labels, fold = np.array([0, 1, 0, 1, 1]), np.array([0, 0, 1, 1, 2])
    once = np.ones((1, 5))
    # 5 over 4 and 3 over 0; that of the third part, above all, has none to be compared with.
    assert _pair_auc(scores, labels, fold, (0, 1), once) == [1.0]
    assert _pair_auc(scores, labels, 0 * fold, (0, 1), once) == pytest.approx(3 / 6)
    assert np.isnan(_pair_auc(scores, labels, np.arange(5), (0, 1), once)).all()


def test_what_is_no_different_is_told_apart_by_chance():
    # With all parts together the mean is 0.42, as classes differ the other way where judged.
    random = np.random.default_rng(7)
    options = {"classes": tuple("abcdefg"), "resamples": 1}
    found = []
    for seed in range(60):
        drawing = torch.Generator().manual_seed(seed)
        features = random.normal(size=(21, 5))
        found.append(
            hotelling_observer(features, np.arange(21) % 7, generator=drawing, **options).auc
        )
    error = np.std(found) / math.sqrt(len(found))
    assert error < 0.025
    assert abs(np.mean(found) - 0.5) < 2.5 * error


def test_p_values_of_what_is_no_different_are_even(gaussians):
    """Where classes say nothing, p is at most x in x of all cases; the interval does less."""
    found = []
    for seed in range(60):
        features, labels, groups = gaussians(48, [[0, 0, 0]] * 2, np.eye(3), seed=seed)
        observer = hotelling_observer(
            features,
            labels,
            classes=("a", "b"),
            groups=groups,
            folds=3,
            resamples=1,
            permutations=9,
        )
        assert observer.permutations == 9
        found.append(observer.p_value)
    assert {*found} <= {k / 10 for k in range(1, 11)}
    assert (
        kstest(np.array(found) - np.random.default_rng(0).random(60) / 10, "uniform").pvalue > 0.1
    )


def test_p_is_that_of_scikit_learn(gaussians):
    """The same score of the same parts, within which it permutes the labels too."""
    features, labels, _ = gaussians(36, [[0, 0, 0], [0.6, 0, 0]], np.eye(3))
    options = {"classes": ("a", "b"), "groups": None}
    observer = hotelling_observer(
        features, labels, resamples=1, permutations=39, folds=3, **options
    )
    dealt = deal(features, labels, folds=3, generator=torch.Generator().manual_seed(0), **options)

    class Template(ClassifierMixin, BaseEstimator):
        def fit(self, x, y):
            self.classes_, self.x_, self.y_ = np.unique(y), x, y
            return self

        def decision_function(self, x):
            return np.diff(_discriminants(self.x_, self.y_, x, 2), axis=1)[:, 0]

    score, _, p = permutation_test_score(
        Template(), features, labels, groups=dealt.fold, cv=LeaveOneGroupOut(),
        scoring="roc_auc", n_permutations=39, random_state=0,
    )  # fmt: skip
    assert observer.auc == pytest.approx(score)
    assert 0.02 < p < 0.5
    assert observer.p_value == pytest.approx(p, abs=0.15)
    assert f", p {observer.p_value:.3g} of chance (39 permutations)" in str(observer)


def test_permutations_change_nothing_else(gaussians):
    features, labels, groups = gaussians(60, [[0, 0], [2, 0]], np.eye(2))
    options = {"classes": ("a", "b"), "groups": groups, "resamples": 20}
    without = hotelling_observer(features, labels, **options)
    tested = hotelling_observer(features, labels, permutations=19, **options)
    assert (tested.auc, tested.interval) == (without.auc, without.interval)
    assert tested.p_value == 1 / 20
    assert math.isnan(without.p_value)
    assert "permutations" not in str(without)
    assert without.to_dict()["p_value"] is None
    with pytest.raises(ValueError, match="permutations must be a whole number of at least 0"):
        hotelling_observer(features, labels, permutations=-1, **options)
    patients = [f"patient{i % 15}" for i in range(60)]
    with pytest.raises(
        ValueError, match="exchange the classes of lesions, but some have several classes"
    ):
        hotelling_observer(
            features, np.arange(60) % 2, permutations=1, classes=("a", "b"), groups=patients
        )


def test_two_classes_that_no_part_holds_both_of_are_told():
    features = np.random.default_rng(0).standard_normal((4, 2))
    with pytest.raises(ValueError, match="none of 4 parts has lesions of two classes"):
        hotelling_observer(features, np.arange(4) % 2, classes=("a", "b"))
    fewer = hotelling_observer(features, np.arange(4) % 2, classes=("a", "b"), folds=2)
    assert 0 <= fewer.auc <= 1
    features, labels = np.random.default_rng(0).standard_normal((14, 2)), [0] * 10 + [1, 1, 2, 2]
    some = hotelling_observer(features, np.array(labels), classes=CLASSES, resamples=20)
    assert [np.isnan(p.auc) for p in some.pairs] == [False, False, True]
    assert some.auc == pytest.approx(np.mean([p.auc for p in some.pairs[:2]]))


def test_a_constant_feature_changes_nothing(gaussians):
    features, labels, groups = gaussians(90, [[0, 0, 0], [1, 0.5, 0]], np.diag([1, 2, 0.5]))
    options = {"classes": ("a", "b"), "groups": groups, "resamples": 5}
    alone = hotelling_observer(features, labels, **options)
    among = hotelling_observer(np.c_[features, np.ones((90, 10))], labels, **options)
    assert 0.5 < alone.auc < 1
    assert (among.auc, among.interval) == (alone.auc, alone.interval)
    assert hotelling_observer(np.ones((90, 4)), labels, **options).auc == 0.5


def test_what_has_no_features_is_refused():
    with pytest.raises(TypeError, match=r"a Tensor, floats \[B, C, H, W\], not ndarray"):
        random_features(np.zeros((1, 3, 8, 8)))
    with pytest.raises(ValueError, match="scales must name at least one"):
        random_features(torch.zeros(1, 3, 8, 8), scales=())


def test_a_draw_counts_the_pairs_that_it_has_both_classes_of():
    scores = np.array([[2.0, 1, 0], [0, 3, 1], [0, 1, 1], [1, 0, 1]])
    labels = np.array([0, 1, 2, 2])
    draws = np.array([[1.0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 0]])
    # By hand: 0 is told from 1 and 2; of the pictures of 2, the first scores 0 against 1, the
    # second 1, and the picture of 1 scores 2.
    one = np.zeros(4, dtype=int)
    pairs = ((0, 1), (0, 2), (1, 2))
    each = np.stack([_pair_auc(scores, labels, one, p, draws) for p in pairs], 1)
    nan = np.nan
    expected = [[1, nan, nan], [1, 1, 1], [nan, nan, 1], [nan, nan, nan]]
    np.testing.assert_array_equal(each, expected)
    np.testing.assert_array_equal(_mean_there(each), [1, 1, 1, nan])
    np.testing.assert_array_equal(_mean_there(np.array([[0.5, nan, 1.0]])), [0.75])


def test_coarser_scales_see_the_means_of_blocks():
    pictures = torch.rand(2, 1, 12, 18, generator=torch.Generator().manual_seed(0)).double()
    both = random_features(pictures, count=3, scales=(1, 2), taps=2)
    drawing = torch.Generator().manual_seed(0)
    torch.randn((3, 1, 2, 2), generator=drawing, dtype=torch.float64)  # those of the first scale
    filters = torch.randn((3, 1, 2, 2), generator=drawing, dtype=torch.float64).numpy()
    filters /= np.linalg.norm(filters.reshape(3, -1), axis=1)[:, None, None, None]
    for row, found in zip(pictures.numpy()[:, 0], both[:, 9:].numpy(), strict=True):
        reduced = downscale_local_mean(row, (2, 2))
        responses = np.stack([correlate2d(reduced, f[0], mode="valid").ravel() for f in filters])
        expected = [(responses**p).mean(1) for p in (1, 2, 4)]
        assert np.allclose(
            found, np.concatenate([expected[0], expected[1] ** 0.5, expected[2] ** 0.25])
        )
