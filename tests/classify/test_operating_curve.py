import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judgeable import tied
from scipy.special import softmax
from sklearn.metrics import (
    auc,
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

import classify


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.integers(2, 60), st.integers(0, 2), st.integers(2, 4))
def test_the_curves_are_those_of_scikit_learn(seed, count, digits, classes):
    logits, labels = tied(seed, count, classes, digits)
    probabilities = softmax(logits, 1)
    curves = classify.operating_curves(logits, labels)
    assert list(curves) == [str(k) for k in range(classes)]
    for k, curve in enumerate(curves.values()):
        own, score = labels == k, probabilities[:, k].round(12)  # equal ones stay equal
        assert (curve.pictures, curve.others) == (own.sum(), (~own).sum())
        assert curve.prevalence == own.mean()
        if 0 < own.sum() < count:
            false, true, cutoffs = roc_curve(own, score, drop_intermediate=False)
            np.testing.assert_array_equal(curve.false_positive_rate, false)
            np.testing.assert_array_equal(curve.recall, true)
            np.testing.assert_allclose(curve.threshold, cutoffs, atol=1e-11)
            assert curve.auc == pytest.approx(roc_auc_score(own, score), abs=1e-12)
            assert curve.auc == pytest.approx(auc(false, true), abs=1e-12)
        if own.any():
            precision, recall, cutoffs = precision_recall_curve(own, score)
            np.testing.assert_array_equal(curve.precision, precision[::-1])
            np.testing.assert_array_equal(curve.recall, recall[::-1])
            np.testing.assert_allclose(curve.threshold[1:], cutoffs[::-1], atol=1e-11)
            average = average_precision_score(own, score)
            assert curve.average_precision == pytest.approx(average, abs=1e-12)
            # A step of the recall has the precision at its end.
            steps = np.diff(curve.recall) @ curve.precision[1:]
            assert curve.average_precision == pytest.approx(steps, abs=1e-12)


def test_the_areas_are_those_of_the_report():
    logits, labels = tied(0, 200, 4, digits=1)
    found = classify.report(logits, labels)
    for k, curve in enumerate(classify.operating_curves(logits, labels).values()):
        assert (curve.auc, curve.average_precision) == (
            found.class_auc[k],
            found.class_average_precision[k],
        )


def test_a_threshold_calls_what_the_curve_counts():
    logits, labels = tied(1, 80, digits=1)
    probabilities = softmax(logits, 1)
    for k, curve in enumerate(classify.operating_curves(logits, labels).values()):
        for at, recall, false in zip(
            curve.threshold, curve.recall, curve.false_positive_rate, strict=True
        ):
            called = probabilities[:, k] >= at - 1e-12
            assert recall == called[labels == k].mean()
            assert false == called[labels != k].mean()


def test_probabilities_next_to_one_keep_their_order():
    logits = np.array([[50.0, 0], [60, 0], [70, 0]])  # of all of them the softmax is 1
    curve = classify.operating_curves(logits, np.array([1, 0, 0]))["0"]
    assert curve.auc == 1
    np.testing.assert_array_equal(curve.recall, [0, 0.5, 1, 1])


def test_a_class_that_is_absent_or_alone_has_no_curve_and_says_so():
    logits, _ = tied(2, 6, digits=1)
    names = ("mel", "nv", "df")
    curves = classify.operating_curves(logits, np.array([0, 0, 0, 1, 1, 1]), classes=names)
    absent = curves["df"]
    assert np.isnan(absent.recall).all()
    assert np.isnan([absent.auc, absent.average_precision]).all()
    assert absent.prevalence == 0
    assert absent.false_positive_rate[-1] == 1
    assert absent.precision.tolist() == [1.0] + [0.0] * (len(absent.precision) - 1)
    assert str(absent) == "0 of 6 pictures: no AUC, no average precision"
    alone = classify.operating_curves(logits, np.zeros(6, int), classes=names)["mel"]
    assert np.isnan(alone.false_positive_rate).all()
    assert np.isnan(alone.auc)
    assert (alone.average_precision, alone.prevalence) == (1, 1)
    assert str(alone) == "6 of 6 pictures: no AUC, average precision 1.000 (by chance 1.000)"
    held = json.loads(json.dumps(absent.to_dict()))
    assert held["auc"] is None
    assert held["threshold"][0] is None
    assert held["others"] == 6


def test_one_class_and_one_picture_are_no_error():
    curve = classify.operating_curves(np.zeros((1, 1)), np.array([0]))["0"]
    assert curve.threshold.tolist() == [np.inf, 1.0]
    assert np.isnan(curve.auc)


def test_tensors_and_probabilities_do_as_well():
    logits, labels = tied(3, 50, digits=1)
    plain = classify.operating_curves(logits, labels)
    tensors = classify.operating_curves(torch.tensor(logits), torch.tensor(labels))
    shares = classify.operating_curves(softmax(logits, 1), labels, kind="probabilities")
    for name, curve in plain.items():
        np.testing.assert_array_equal(tensors[name].recall, curve.recall)
        np.testing.assert_array_equal(shares[name].recall, curve.recall)
    with pytest.warns(UserWarning, match="are probabilities, but are taken as logits"):
        classify.operating_curves(softmax(logits, 1), labels)


@pytest.mark.parametrize(
    ("scores", "labels", "asked", "message"),
    [
        (np.zeros((2, 2)), [0, 2], {}, "label 2 is beyond the 2 classes"),
        (np.zeros((2, 2)), [0], {}, r"need scores \[N, 2\] and labels \[N\], not \(2, 2\) and"),
        (np.zeros(2), [0, 1], {}, r"scores must be \[N, K\], not \(2,\)"),
        (np.zeros((2, 2)), [0, 1], {"classes": ("a",)}, "1 classes need scores"),
        (np.zeros((2, 2)), [0, 1], {"classes": ("a", "a")}, "must be different names"),
        (np.full((2, 2), np.nan), [0, 1], {}, "2 rows of scores are nan or infinite"),
        (np.zeros((0, 2)), [], {}, "no labels"),
        (np.zeros((2, 2)), [0, 1], {"kind": "odds"}, "kind must be 'logits' or 'probabilities'"),
    ],
)
def test_what_cannot_be_judged_is_refused(scores, labels, asked, message):
    with pytest.raises(ValueError, match=message):
        classify.operating_curves(scores, np.array(labels, int), **asked)
