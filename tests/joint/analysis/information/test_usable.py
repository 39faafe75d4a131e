import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import log_softmax
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from joint.analysis.information.usable import _log_softmax, _probe, usable_information


def _information_of_two(apart):
    """Mutual information of a fair bit and a unit Gaussian at +- apart / 2, bits."""

    def integrand(x):
        both = norm.pdf(x, [apart / 2, -apart / 2])
        whole = both.mean()
        return sum(0.5 * p * math.log2(p / whole) for p in both if p > 0)

    return quad(integrand, -12, 12, limit=200)[0]


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.0, 4.0])
def test_usable_information_of_two_gaussians_is_all_of_it(apart, gaussians):
    means = [[apart / 2, 0, 0], [-apart / 2, 0, 0]]
    features, labels, groups = gaussians(8000, means, np.eye(3))
    found = usable_information(features, labels, classes=("a", "b"), groups=groups, resamples=100)
    expected = _information_of_two(apart)
    assert found.bits == pytest.approx(expected, abs=0.015)
    assert found.interval.low - 0.005 < expected < found.interval.high + 0.005
    assert found.label_bits == pytest.approx(1, abs=1e-3)


def test_the_probe_is_that_of_scikit_learn(gaussians):
    means = [[0, 0, 0], [1, 0.5, 0], [0, 1, 1]]
    x, labels, _ = gaussians(300, means, np.eye(3))
    ours = _probe(x, labels, 3, 0.1)
    judge = LogisticRegression(C=1 / (0.1 * 300), tol=1e-9, max_iter=5000).fit(x, labels)
    logits = x @ ours[:-1] + ours[-1]
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(chance, judge.predict_proba(x), atol=1e-3)


def test_the_logarithms_of_the_softmax_are_those_of_scipy_however_large_the_scores():
    scores = np.array([[0.5, -1.0, 2.0], [1000.0, 0.0, 999.0], [-1000.0, -2000.0, -1000.0]])
    assert np.allclose(_log_softmax(scores), log_softmax(scores, axis=1), rtol=1e-12)


def test_no_part_alone_chooses_the_ridge():
    """In the first of these deals one part is unlucky: by it alone, these were 0.11 bits."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    means = np.outer(labels, [1.5] + [0] * 7)
    features = [random.normal(size=(400, 8)) + means for _ in range(5)][-1]
    unlucky, *others = (
        usable_information(
            features,
            labels,
            classes=("a", "b"),
            resamples=2,
            generator=torch.Generator().manual_seed(seed),
        ).bits
        for seed in range(3)
    )
    assert unlucky > 0.2
    assert others == pytest.approx([0.28] * 2, abs=0.03)  # LogisticRegressionCV's, nested


def test_units_of_the_features_do_not_matter(gaussians):
    features, labels, groups = gaussians(120, [[0, 0, 0], [1, 0.5, 0]], np.eye(3))
    options = {"classes": ("a", "b"), "groups": groups, "resamples": 5}
    plain, scaled = (
        usable_information(f, labels, **options)
        for f in (features, features * [1e-3, 1, 1e3] + [0, 7, -20])
    )
    assert plain.bits > 0.05
    assert scaled.bits == pytest.approx(plain.bits, abs=1e-6)
    assert scaled.label_bits == plain.label_bits


def test_the_interval_says_what_it_resamples(gaussians):
    features, labels, groups = gaussians(60, [[0, 0], [1, 0]], np.eye(2))
    for given, unit in ((groups, "lesions"), (None, "pictures")):
        found = usable_information(features, labels, classes=("a", "b"), groups=given, resamples=5)
        assert found.unit == found.to_dict()["unit"] == unit
        assert str(found).endswith(f"(60 pictures, 95 % over {unit})")


def test_a_probe_whose_ridge_nothing_chooses_is_refused(gaussians):
    features, labels, _ = gaussians(60, [[0, 0, 0], [1, 0, 0]], np.eye(3))
    with pytest.raises(
        ValueError, match=r"needs 3 parts of the lesions, .* not 2: give more folds"
    ):
        usable_information(features, labels, classes=("a", "b"), folds=2, resamples=10)
    found = usable_information(features, labels, classes=("a", "b"), folds=3, resamples=10)
    assert math.isfinite(found.bits)
