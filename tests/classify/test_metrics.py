import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import binomtest, norm
from sklearn import metrics

import classify
from classify.intervals import wilson_intervals
from classify.metric_names import METRICS


def _case(seed, count=40, classes=5, absent=()):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, classes)) * 2
    labels = random.choice([c for c in range(classes) if c not in absent], size=count)
    logits[np.arange(count), labels] += random.uniform(0, 3)
    for c in absent:  # absent from the predictions too
        logits[:, c] = -50 if random.random() < 0.5 else logits[:, c]
    return logits, labels


def _report(logits, labels, **options):
    return classify.report(
        logits, labels, classes=[f"c{i}" for i in range(logits.shape[1])], **options
    )


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**31),
    st.integers(1, 60),
    st.integers(2, 8),
    st.sets(st.integers(0, 7), max_size=3),
)
def test_agrees_with_scikit_learn(seed, count, classes, absent):
    absent = {c for c in absent if c < classes}
    if len(absent) == classes:
        absent = set()
    logits, labels = _case(seed, count, classes, absent)
    ours = _report(logits, labels)
    guesses = logits.argmax(1)
    theirs = metrics.precision_recall_fscore_support(
        labels, guesses, labels=range(classes), zero_division=0
    )
    for name, expected in zip(("precision", "recall", "f1", "support"), theirs, strict=True):
        np.testing.assert_allclose(getattr(ours, name), expected, atol=1e-12)
    summary = metrics.classification_report(labels, guesses, output_dict=True, zero_division=0)
    for kind in ("macro", "weighted"):
        means = summary[f"{kind} avg"]
        assert getattr(ours, f"{kind}_precision") == pytest.approx(means["precision"], abs=1e-12)
        assert getattr(ours, f"{kind}_recall") == pytest.approx(means["recall"], abs=1e-12)
        assert getattr(ours, f"{kind}_f1") == pytest.approx(means["f1-score"], abs=1e-12)
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(labels, guesses), abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on predictions of classes without labels
        expected = metrics.balanced_accuracy_score(labels, guesses)
    assert ours.balanced_accuracy == pytest.approx(expected, abs=1e-12)
    confusion = metrics.confusion_matrix(labels, guesses, labels=range(classes))
    np.testing.assert_array_equal(ours.confusion, confusion)
    probabilities = softmax(logits, axis=1)
    assert ours.nll == pytest.approx(
        metrics.log_loss(labels, probabilities, labels=range(classes)), rel=1e-9
    )


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.booleans())
def test_auc_agrees_with_scikit_learn(seed, tied):
    logits, labels = _case(seed, 60, 4)
    labels[:4] = range(4)
    if tied:
        logits = logits.round()
    # Rounded, so that ties stay ties; it then need not sum to 1, which the one-class form allows.
    scores = softmax(logits, axis=1).round(12)
    expected = np.mean([metrics.roc_auc_score(labels == c, scores[:, c]) for c in range(4)])
    assert _report(logits, labels).auc == pytest.approx(expected, abs=1e-12)


def test_auc_of_constant_scores_is_a_half_and_of_a_missing_class_nan():
    labels = np.array([0, 1, 0, 1])
    result = _report(np.zeros((4, 3)), labels)
    np.testing.assert_array_equal(result.class_auc, [0.5, 0.5, np.nan])
    assert result.auc == 0.5
    alone = _report(np.zeros((4, 2)), np.zeros(4, dtype=int))
    assert np.isnan(alone.auc)
    assert alone.to_dict()["auc"] is None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_order_of_classes_and_pictures_does_not_matter(seed):
    logits, labels = _case(seed)
    random = np.random.default_rng(seed)
    order, shuffle = random.permutation(5), random.permutation(len(labels))
    plain = _report(logits, labels)
    renamed = _report(logits[shuffle][:, order], np.argsort(order)[labels][shuffle])
    np.testing.assert_array_equal(renamed.confusion, plain.confusion[np.ix_(order, order)])
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "auc", "nll", "ece"):
        assert getattr(renamed, name) == pytest.approx(getattr(plain, name), abs=1e-12)


def test_auc_tells_sure_scores_apart():
    random = np.random.default_rng(0)
    margin = 45 + 10 * random.normal(size=400)
    labels = (random.random(400) < 0.5).astype(int)
    logits = np.stack([np.zeros(400), margin + 8 * labels], 1)
    result = _report(logits, labels)
    expected = metrics.roc_auc_score(labels, logits[:, 1])
    np.testing.assert_allclose(result.class_auc, expected, atol=1e-12)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16])
def test_small_integers_do_not_overflow(kind):
    labels = np.arange(20).astype(kind)
    result = _report(np.eye(20), labels)
    assert result.accuracy == 1
    assert result.confusion.trace() == 20


def test_calibration_error_has_fifteen_bins():
    # 0.65 and 0.69 lie in one bin of ten, in two of fifteen.
    probabilities = np.array([[0.65, 0.35], [0.69, 0.31]])
    result = _report(np.log(probabilities), np.array([0, 1]))
    assert result.ece == pytest.approx((0.35 + 0.69) / 2)


def test_calibration_error_by_hand():
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.55, 0.45], [1.0, 0.0]])
    labels = np.array([0, 1, 0, 0])
    logits = np.log(np.maximum(probabilities, 1e-300))
    # Gaps 2 * (0.8 - 0.5), 0.55 - 1, 1 - 1, over 4 pictures.
    assert _report(logits, labels).ece == pytest.approx((0.6 + 0.45 + 0) / 4)


def test_the_table_has_the_form_of_a_classification_report():
    logits, labels = _case(3, 100)
    ours = str(_report(logits, labels)).split("\n\n")[0].split()
    theirs = metrics.classification_report(
        labels, logits.argmax(1), target_names=[f"c{i}" for i in range(5)], zero_division=0
    ).split()
    assert ours == theirs


def test_it_is_json():
    logits, labels = _case(0)
    again = json.loads(json.dumps(_report(logits, labels, resamples=10).to_dict(), allow_nan=False))
    assert again["confusion"] == _report(logits, labels).confusion.tolist()
    assert (
        again["intervals"]["accuracy"][0] <= again["accuracy"] <= again["intervals"]["accuracy"][1]
    )
    assert len(again["reliability"]["edges"]) == 16
    assert np.shape(again["class_intervals"]["recall"]) == (5, 2)
    other = {"at_specificity": torch.tensor(0.75), "level": np.float32(0.5)}
    told = _report(logits, labels, resamples=10, **other).to_dict()
    assert json.loads(json.dumps(told))["level"] == told["level"] == 0.5


def test_the_same_seed_gives_the_same_interval():
    logits, labels = _case(0)
    first, again, other = (
        _report(logits, labels, resamples=50, seed=seed).intervals for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert set(first) == set(METRICS) - {"ece"}
    assert _report(logits, labels).intervals == {}
    assert _report(logits, labels).class_intervals == {}


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((3, 4)), np.zeros(3, dtype=int), r"2 classes need scores \[N, 2\]"),
        (np.zeros((3, 2)), np.zeros(4, dtype=int), r"labels \[N\], not \(3, 2\) and \(4,\)"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "nothing to report"),
        (np.zeros((2, 2)), np.zeros(2), "labels must be integers"),
        (np.zeros((2, 2)), np.array([0, -1]), "0 or more, not -1 as in row 1: leave out"),
        (np.zeros((2, 2)), np.array([0.0, 1.0]), "0 or more, not float64: give the index"),
        (np.zeros((2, 2)), np.array([False, True]), "0 or more, not bool: give the index"),
        (np.zeros((2, 2)), np.array([0, 2]), "label 2 is beyond the 2 classes"),
        (np.array([[0, np.nan], [0, 1]]), np.array([0, 1]), "1 rows of scores are nan or infinite"),
        (np.array([[0, np.inf], [0, 1]]), np.array([0, 1]), "1 rows of scores are nan or infinite"),
        (np.full((2, 2), -np.inf), np.array([0, 1]), "2 rows of scores are nan or infinite"),
        (
            np.array([[0, 1], [0, np.nan]]),
            np.array([0, 1]),
            "the first is row 1; check whether the train",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        classify.report(logits, labels, classes=("a", "b"))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.booleans())
def test_ranking_agrees_with_scikit_learn(seed, tied):
    logits, labels = _case(seed, 60, 4)
    labels[:4] = range(4)
    if tied:
        logits = logits.round()
    scores = softmax(logits, axis=1).round(12)
    ours = _report(logits, labels, at_specificity=0.8)
    for c in range(4):
        expected = metrics.average_precision_score(labels == c, scores[:, c])
        assert ours.class_average_precision[c] == pytest.approx(expected, abs=1e-12)
        false, true, _ = metrics.roc_curve(labels == c, scores[:, c], drop_intermediate=False)
        expected = true[1 - false >= 0.8 - 1e-9].max()
        assert ours.class_sensitivity[c] == pytest.approx(expected, abs=1e-12)
    assert ours.average_precision == pytest.approx(ours.class_average_precision.mean(), abs=1e-12)
    assert ours.sensitivity == pytest.approx(ours.class_sensitivity.mean(), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_specificity_and_brier_agree_with_scikit_learn(seed):
    logits, labels = _case(seed, 60, 4)
    ours = _report(logits, labels)
    one_against_rest = metrics.multilabel_confusion_matrix(
        labels, logits.argmax(1), labels=range(4)
    )
    expected = one_against_rest[:, 0, 0] / one_against_rest[:, 0].sum(1)
    np.testing.assert_allclose(ours.specificity, expected, atol=1e-12)
    assert ours.macro_specificity == pytest.approx(expected.mean(), abs=1e-12)
    probabilities = softmax(logits, axis=1)
    expected = sum(metrics.brier_score_loss(labels == c, probabilities[:, c]) for c in range(4))
    assert ours.brier == pytest.approx(expected, abs=1e-12)
    assert 0 <= ours.brier <= 2


def test_the_largest_and_the_uniform_errors():
    labels = np.array([0, 1, 2])
    uniform = _report(np.zeros((3, 3)), labels)
    assert uniform.nll == pytest.approx(np.log(3), abs=1e-12)
    assert uniform.brier == pytest.approx(2 / 3, abs=1e-12)
    wrong = _report(np.roll(np.eye(3), 1, axis=1), labels, kind="probabilities")
    assert wrong.brier == 2
    assert wrong.nll == np.inf
    assert wrong.ece == 1
    assert wrong.auc == 0.25  # two of the three others tie with the one that should lead
    assert wrong.to_dict()["nll"] is None


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.sampled_from(["cube", "exp", "steps"]))
def test_auc_looks_at_the_order_of_scores_alone(seed, transform):
    logits, labels = _case(seed, 60, 4)
    labels[:4] = range(4)
    odds = logits[:, 0] - np.log(np.exp(logits[:, 1:]).sum(1))
    odds = odds.round(2)  # far enough apart that the transform does not round two to one
    rest = logits[:, 1:] - np.log(np.exp(logits[:, 1:]).sum(1, keepdims=True))
    other = {
        "cube": odds**3 + odds,
        "exp": np.exp(odds / 4),
        "steps": np.unique(odds, return_inverse=True)[1].astype(float),
    }[transform]
    plain, changed = (_report(np.column_stack([column, rest]), labels) for column in (odds, other))
    assert changed.class_auc[0] == plain.class_auc[0]
    assert changed.class_average_precision[0] == plain.class_average_precision[0]
    assert changed.class_sensitivity[0] == plain.class_sensitivity[0]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_identities(seed):
    logits, labels = _case(seed, 50, 5)
    result = _report(logits, labels)
    confusion = result.confusion
    assert confusion.sum() == 50
    np.testing.assert_array_equal(confusion.sum(1), result.support)
    present = result.support > 0
    assert result.balanced_accuracy == pytest.approx(
        (confusion.diagonal()[present] / confusion.sum(1)[present]).mean(), abs=1e-12
    )
    assert result.weighted_recall == pytest.approx(result.accuracy, abs=1e-12)
    micro = metrics.f1_score(labels, logits.argmax(1), average="micro")
    assert result.accuracy == pytest.approx(micro, abs=1e-12)


def test_more_specificity_costs_sensitivity():
    logits, labels = _case(5, 200)
    results = [_report(logits, labels, at_specificity=s) for s in np.linspace(0, 1, 11)]
    curves = np.stack([result.class_sensitivity for result in results])
    assert (np.diff(curves, axis=0) <= 0).all()
    assert (np.diff(curves, axis=0) < 0).any()
    np.testing.assert_array_equal(curves[0], 1)
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"at_specificity must lie in \[0, 1\]"):
            _report(logits, labels, at_specificity=wrong)


def test_a_specificity_that_is_met_exactly_is_met():
    # 10 others: one of them may pass at 0.9, though 1 - 0.9 is less than a tenth in floats.
    scores = np.array([9.0, 10.0, *range(9)])
    logits = np.column_stack([np.zeros(11), scores])
    result = _report(logits, (np.arange(11) == 0).astype(int), at_specificity=0.9)
    assert result.class_sensitivity[1] == 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 30))
def test_calibration_error_by_a_loop(seed, bins):
    logits, labels = _case(seed, 80)
    result = _report(logits, labels, bins=bins)
    confidence = softmax(logits, axis=1).max(1)
    right = logits.argmax(1) == labels
    expected = 0.0
    for number in range(bins):
        inside = (confidence > number / bins) & (confidence <= (number + 1) / bins)
        if inside.any():
            expected += abs(confidence[inside].mean() - right[inside].mean()) * inside.mean()
            assert result.reliability.confidence[number] == pytest.approx(confidence[inside].mean())
            assert result.reliability.accuracy[number] == pytest.approx(right[inside].mean())
        else:
            assert np.isnan(result.reliability.accuracy[number])
        assert result.reliability.count[number] == inside.sum()
    assert result.ece == pytest.approx(expected, abs=1e-9)
    assert 0 <= result.ece <= 1


def test_calibrated_confidence_has_no_error():
    probabilities = np.repeat([[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]], 4, axis=0)
    labels = np.array([0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0])
    result = _report(probabilities, labels, kind="probabilities")
    assert result.ece == pytest.approx(0, abs=1e-12)
    assert result.reliability.count[-1] == 4  # confidence 1 is in the last bin
    assert result.reliability.count.sum() == 12


def test_bins_of_equal_mass():
    logits, labels = _case(1, 300)
    result = _report(logits, labels, bins=10, equal_mass=True)
    np.testing.assert_array_equal(result.reliability.count, 30)
    confidence = softmax(logits, axis=1).max(1)
    order = np.argsort(confidence).reshape(10, 30)
    right = logits.argmax(1) == labels
    expected = np.abs(confidence[order].mean(1) - right[order].mean(1)).mean()
    assert result.ece == pytest.approx(expected, abs=1e-12)
    same = _report(np.tile([1.0, 0.0], (5, 1)), np.zeros(5, dtype=int), equal_mass=True)
    assert same.reliability.count.max() == 5
    with pytest.raises(ValueError, match="bins must be a whole number of at least 1, not 0"):
        _report(logits, labels, bins=0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_the_estimate_lies_in_its_interval(seed):
    logits, labels = _case(seed, 150, 3)
    groups = [f"lesion{i}" for i in np.random.default_rng(seed).integers(0, 90, 150)]
    result = _report(logits, labels, groups=groups, resamples=200)
    for name, (low, high) in result.intervals.items():
        assert low <= getattr(result, name) <= high
    for name, ends in result.class_intervals.items():
        assert (ends[:, 0] <= getattr(result, name)).all()
        assert (getattr(result, name) <= ends[:, 1]).all()
    assert result.unit == "lesions"
    assert "95 % intervals, resampling lesions" in str(result)


def test_intervals_of_lesions_do_not_depend_on_the_order_of_pictures():
    logits, labels = _case(4, 120)
    groups = np.array([f"lesion{i % 70}" for i in range(120)])
    shuffle = np.random.default_rng(0).permutation(120)
    plain = _report(logits, labels, groups=groups, resamples=50).intervals
    shuffled = _report(logits[shuffle], labels[shuffle], groups=groups[shuffle], resamples=50)
    for name, interval in plain.items():
        assert shuffled.intervals[name] == pytest.approx(interval, abs=1e-12)


def test_the_report_and_the_bootstrap_draw_the_same():
    logits, labels = _case(0)
    right = (logits.argmax(1) == labels).astype(float)
    generator = torch.Generator().manual_seed(7)
    ours = _report(logits, labels, resamples=50, generator=generator, level=0.8)
    expected = classify.bootstrap(
        lambda i: right[i].mean(), len(labels), resamples=50, seed=7, level=0.8
    )
    assert ours.intervals["accuracy"] == pytest.approx(expected, abs=1e-12)
    assert ours.level == 0.8


def test_a_class_without_pictures_is_named_and_left_out():
    logits, labels = _case(0, 60, 4, absent=(2,))
    logits[0, 2] = 99  # predicted, though it is never true
    result = _report(logits, labels, resamples=20)
    assert result.absent == ("c2",)
    assert result.recall[2] == 0
    for name in ("auc", "average_precision", "sensitivity"):
        values = getattr(result, f"class_{name}")
        assert np.isnan(values[2])
        assert getattr(result, name) == pytest.approx(values[[0, 1, 3]].mean(), abs=1e-12)
        assert np.isnan(result.class_intervals[f"class_{name}"][2]).all()
    assert result.balanced_accuracy == pytest.approx(result.recall[[0, 1, 3]].mean(), abs=1e-12)
    caution = "no pictures of c2: left out of balanced accuracy, AUC, AP and sensitivity"
    assert str(result).endswith(
        f"{caution}; the macro averages of precision, recall and F1 count c2 as 0, because "
        "the classifier predicts it"
    )
    assert result.macro_f1 == pytest.approx(result.f1[[0, 1, 3]].sum() / 4, abs=1e-12)
    logits[:, 2] = -99
    unsaid = _report(logits, labels, resamples=20)
    assert str(unsaid).endswith(caution)
    assert unsaid.macro_f1 == pytest.approx(unsaid.f1[[0, 1, 3]].mean(), abs=1e-12)
    assert "no pictures" not in str(_report(*_case(3, 100)))


def test_pictures_of_one_class_alone():
    result = _report(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 0]), resamples=5)
    assert result.accuracy == result.balanced_accuracy == 0.5
    assert np.isnan(result.auc)
    assert np.isnan(result.sensitivity)
    assert np.isnan(result.specificity[0])  # there is nothing else to keep out
    assert result.average_precision == 1
    assert result.intervals["auc"] == pytest.approx((np.nan, np.nan), nan_ok=True)
    only = _report(np.zeros((3, 1)), np.zeros(3, dtype=int))
    assert only.accuracy == 1
    assert np.isnan(only.auc)
    assert "nan" in str(only)


def test_probabilities_are_judged_as_their_logarithms():
    logits, labels = _case(0)
    probabilities = softmax(logits, axis=1)
    plain, given_ = _report(logits, labels), _report(probabilities, labels, kind="probabilities")
    for name in METRICS:
        assert getattr(given_, name) == pytest.approx(getattr(plain, name), abs=1e-9)
    half = _report(probabilities.astype(np.float16), labels, kind="probabilities")
    assert half.nll == pytest.approx(plain.nll, abs=1e-2)


def test_probabilities_in_bfloat16_sum_to_one_as_far_as_they_can():
    logits, labels = _case(0)
    coarse = torch.softmax(torch.tensor(logits), 1).bfloat16()
    assert (coarse.double().sum(1) - 1).abs().max() > 1e-3
    plain, given_ = _report(logits, labels), _report(coarse, labels, kind="probabilities")
    assert given_.nll == pytest.approx(plain.nll, abs=1e-2)
    far = np.array([[0.5, 0.49], [0.5, 0.5]])
    with pytest.raises(ValueError, match=r"1 rows of probabilities .* sums to 0\.99\)"):
        classify.report(far, np.array([0, 1]), kind="probabilities")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (
            [[0.5, 0.5], [0.5, 0.9]],
            r"1 rows of probabilities do not sum to one \(row 1 sums to",
        ),
        ([[0.5, 0.5], [0.5, 0.9]], "kind='logits' for scores before the softmax, or divide each"),
        ([[0.5, 0.5], [-0.5, 1.5]], r"probabilities must lie in 0\.\.1; pass kind='logits'"),
        ([[0.5, 0.5], [0.5, np.nan]], "1 rows of scores are nan or infinite, the first is row 1"),
        ([0.5, 0.5], r"scores must be \[N, K\], not \(2,\)"),
    ],
)
def test_what_are_no_probabilities_is_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        classify.report(
            np.array(scores), np.array([0, 1]), classes=("a", "b"), kind="probabilities"
        )
    with pytest.raises(ValueError, match="kind must be 'logits' or 'probabilities', not 'odds'"):
        classify.report(np.array(scores), np.array([0, 1]), classes=("a", "b"), kind="odds")


def test_groups_that_do_not_fit_are_refused_even_without_intervals():
    with pytest.raises(ValueError, match="3 rows need as many groups, not 2: name the lesion"):
        _report(np.zeros((3, 2)), np.array([0, 1, 1]), groups=["a", "b"])
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        _report(np.zeros((3, 2)), np.array([0, 1, 1]), resamples=-1)


def test_a_confidence_on_an_edge_is_in_the_bin_below():
    halves = np.full((4, 2), 0.5)
    result = _report(halves, np.array([0, 0, 1, 1]), kind="probabilities", bins=2)
    np.testing.assert_array_equal(result.reliability.count, [4, 0])


def test_an_impossible_truth_counts_only_where_it_is_drawn():
    logits = np.array([[0.0, 0.0], [0.0, -np.inf]])
    result = _report(logits, np.array([0, 1]), resamples=200)
    assert result.nll == np.inf
    assert result.intervals["nll"] == pytest.approx((np.log(2), np.inf))
    assert result.to_dict()["intervals"]["nll"][1] is None


def test_a_draw_without_a_class_tells_nothing_of_it():
    random = np.random.default_rng(0)
    labels = np.array([0] * 60 + [1] * 60 + [2, 2])
    guesses = np.where((random.random(122) < 0.98) | (labels == 2), labels, 1 - labels)
    # Named, but without a picture or a prediction.
    logits = np.eye(4)[guesses]
    result = _report(logits, labels, resamples=500)
    for name in ("precision", "recall", "f1"):
        low, high = result.class_intervals[name][2]
        assert 0 < low < high == 1  # of two pictures, both found, whenever one of them is drawn
        assert np.isnan(result.class_intervals[name][3]).all()
        assert getattr(result, name)[3] == 0
    assert result.intervals["macro_recall"] == result.intervals["balanced_accuracy"]
    # The third class is two out of two, down to 0.34 by Wilson, and a third of the mean.
    assert wilson_intervals(np.ones(1), np.full(1, 2))[0, 0] == pytest.approx(0.342, abs=1e-3)
    for name in ("macro_recall", "macro_precision", "macro_f1"):
        assert 0.73 < result.intervals[name].low < 1 - (1 - 0.342) / 3


def test_one_mistake_has_no_better_lower_end_than_none():
    labels = np.arange(60) % 3
    groups = [f"patient{row // 5}" for row in range(60)]
    guesses = np.where(np.arange(60) == 7, 2, labels)
    one, none = (
        _report(np.eye(3)[said], labels, groups=groups, resamples=500) for said in (guesses, labels)
    )
    for name in ("accuracy", "balanced_accuracy", "mcc", "cohen_kappa", "macro_f1"):
        # Combined from classes that vary together by chance: within what these add.
        assert one.intervals[name].low <= none.intervals[name].low + 1e-12, name


def test_a_class_that_is_predicted_alone_stays_in_the_means_that_count_it():
    labels = np.arange(90) % 3
    guesses = np.where(np.arange(90) % 10 == 0, 3, labels)  # class 3 is never true
    result = _report(np.eye(4)[guesses], labels, resamples=200)
    assert result.macro_recall == pytest.approx(result.balanced_accuracy * 3 / 4)
    for name in ("macro_precision", "macro_recall", "macro_f1"):
        low, high = result.intervals[name]
        assert low <= getattr(result, name) <= high
    # Without it, the means would be 0.9: no prediction of it was right, and any recall may be.
    assert result.intervals["macro_precision"].high < 0.9
    assert result.intervals["macro_recall"].high > (3 * 0.9 + 1) / 4


def test_a_precision_that_no_prediction_tells_may_be_any():
    labels = np.repeat([0, 1], [90, 10])
    result = _report(np.tile([1.0, 0.0], (100, 1)), labels, resamples=200)
    (low, high), other = result.class_intervals["precision"]
    assert np.isnan(other).all()
    # The class that is predicted, with its own ends, and one of 0..1 that is counted as 0.
    expected = (0.45 - (0.9 - low) / 2, 0.45 + np.hypot(high - 0.9, 1) / 2)
    assert result.intervals["macro_precision"] == pytest.approx(expected)


@pytest.mark.parametrize("groups", [["a", "a", "a"], None])
def test_one_lesion_gives_no_interval(groups):
    count = 1 if groups is None else 3
    labels = np.array([0, 1, 1])[:count]
    result = _report(np.eye(2)[labels], labels, groups=groups, resamples=20)
    assert result.accuracy == 1
    assert np.isnan(list(result.intervals.values())).all()
    assert np.isnan(np.stack(list(result.class_intervals.values()))).all()
    assert "accuracy           1.000 [nan, nan]" in str(result)
    two = _report(np.eye(2)[[0, 1]], np.array([0, 1]), groups=["a", "b"], resamples=20)
    assert two.intervals["accuracy"] == pytest.approx((0.342, 1), abs=1e-3)  # 2 of 2 by Wilson


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_tensors_with_a_gradient_are_taken(dtype):
    logits, labels = _case(0)
    given = torch.tensor(logits, dtype=dtype, requires_grad=True)
    expected = _report(given.detach().double().numpy(), labels, resamples=5)
    assert _report(given, torch.tensor(labels), resamples=5).to_dict() == expected.to_dict()
    same = classify.mcnemar(given, given, labels=torch.tensor(labels))
    assert (same.only_first, same.p) == (0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.ones(4), "kind": "probabilities"}, r"\[N, K\], not \(4,\).*stack\(\[1 - p"),
        ({"logits": np.ones((4, 2), complex)}, "real numbers, not complex"),
        ({"classes": ("a", "a")}, "classes must be different names, not a, a"),
        ({"bins": 2.5}, "bins must be a whole number of at least 1, not 2.5"),
        ({"resamples": 2.5}, "a whole number"),
    ],
)
def test_what_else_cannot_be_judged_is_refused(change, message):
    given = {"logits": np.eye(2)[[0, 1, 0, 1]], "labels": [0, 1, 1, 1], "classes": ("a", "b")}
    with pytest.raises(ValueError, match=message):
        classify.report(**(given | change))


def test_shares_without_a_mistake_are_not_known_exactly():
    """Wilson's interval as scipy has it, over lesions and not pictures."""
    labels = np.array([0] * 40 + [1] * 6 + [2] * 4)
    groups = [f"lesion {i // 2}" for i in range(50)]
    guesses = labels.copy()
    guesses[:4] = 1  # two lesions of the first class; all else is right
    result = _report(np.eye(3)[guesses], labels, groups=groups, resamples=300, level=0.9)
    np.testing.assert_array_equal(result.units, [20, 3, 2])

    def wilson(hits, count):
        return binomtest(hits, count).proportion_ci(0.9, method="wilson")

    for name, k, count in (
        ("recall", 1, 3),
        ("recall", 2, 2),
        ("f1", 2, 2),
        ("class_sensitivity", 2, 2),
        ("class_auc", 2, 2),  # as many pairs with the 23 others, none of them in two
        ("class_average_precision", 2, 2),
        ("precision", 0, 18),
        ("specificity", 2, 23),
    ):
        expected = wilson(count, count)
        assert getattr(result, name)[k] == 1
        np.testing.assert_allclose(result.class_intervals[name][k], expected, atol=1e-9)
    low, high = result.class_intervals["recall"][0]
    assert low < 0.9 < high < 1 + 1e-12  # draws that differ are their own interval
    assert (low, high) != pytest.approx(tuple(wilson(18, 20)), abs=1e-6)
    perfect = _report(np.eye(3)[labels], labels, groups=groups, resamples=300, level=0.9)
    assert perfect.intervals["accuracy"] == pytest.approx(wilson(25, 25), abs=1e-9)
    assert perfect.intervals["weighted_recall"] == perfect.intervals["accuracy"]


def test_the_recall_of_five_lesions_is_covered():
    """Known rates, drawn anew each time: without Wilson's ends, 0.9 is covered in half of them."""
    random, covered, trials = np.random.default_rng(0), 0, 200
    labels = np.array([0] * 40 + [1] * 5)
    for trial in range(trials):
        guesses = np.where(random.random(45) < 0.9, labels, 1 - labels)
        result = _report(np.eye(2)[guesses], labels, resamples=100, seed=trial)
        low, high = result.class_intervals["recall"][1]
        covered += low <= 0.9 <= high
    assert covered / trials >= 0.9


@pytest.mark.parametrize("lesions", [1, 2, 3, 4])
def test_the_auc_of_hardly_any_lesion_is_covered(lesions):
    """Rates of normal scores: one lesion ranks alike in all draws, and they show the others."""
    random, trials = np.random.default_rng(0), 100
    labels = np.array([0] * 60 + [1] * lesions)
    true, covered = norm.cdf(1), 0  # 0.84
    for trial in range(trials):
        margins = random.normal(size=len(labels)) + 2**0.5 * labels
        logits = np.column_stack([np.zeros(len(labels)), margins])
        result = _report(logits, labels, resamples=100, seed=trial)
        low, high = result.class_intervals["class_auc"][1]
        covered += low <= true <= high
    assert covered / trials >= 0.95  # the percentiles alone in 0.51, 0.69, 0.74, 0.82


def test_the_auc_of_six_lesions_is_covered():
    """Rates of normal scores: the draws of a ranking without a mistake all agree."""
    random, trials = np.random.default_rng(0), 100
    labels = np.array([0] * 60 + [1] * 6)
    true, covered = norm.cdf(3 / 2**0.5), 0  # margins that lie 3 apart, with a deviation of 1
    for trial in range(trials):
        margins = random.normal(size=66) + 3 * labels
        logits = np.column_stack([np.zeros(66), margins])
        result = _report(logits, labels, resamples=100, seed=trial)
        low, high = result.intervals["auc"]
        covered += low <= true <= high
    assert covered / trials >= 0.9  # the percentiles alone in 0.69


def test_classes_of_few_lesions_are_named():
    labels = np.repeat([0, 1, 2, 3], [40, 8, 30, 2])
    patients = [f"patient {i // 2}" for i in range(80)]
    random = np.random.default_rng(0)
    logits = random.normal(size=(80, 5)) + 2 * np.eye(5)[labels]
    result = _report(logits, labels, groups=patients, resamples=20)
    assert "fewer than 10 lesions of c1 (4), c3 (1): intervals of these classes" in str(result)
    assert "fewer than" not in str(_report(logits, labels))  # no intervals
    # The draws of a ranking need more: 0.86 of them hold an AUC of 0.95 of ten lesions.
    ranked = "fewer than 20 lesions of c0 (19), c2 (10): intervals of their AUC and AP"
    some = np.repeat([0, 1, 2], [38, 60, 20])
    groups = [f"patient {i // 2}" for i in range(118)]
    assert ranked in str(_report(np.eye(3)[some], some, groups=groups, resamples=20))
    alone = _report(logits, labels, resamples=20)
    assert "fewer than 10 pictures of c1 (8), c3 (2): " in str(alone)
    np.testing.assert_array_equal(alone.units, alone.support)
    many = _report(np.eye(12)[np.arange(24) % 12], np.arange(24) % 12, resamples=5)
    assert "c5 (2), c6 (2) and 5 more: intervals" in str(many)
    # A patient may have lesions of several classes.
    both = _report(logits, np.tile([0, 2], 40), groups=patients, resamples=20)
    np.testing.assert_array_equal(both.units, [40, 0, 40, 0, 0])
    # ... and then is evidence of the specificity of each.
    right = np.eye(2)[np.tile([0, 1], 40)]
    ends = _report(right, right.argmax(1), groups=patients, resamples=20).class_intervals
    expected = binomtest(40, 40).proportion_ci(method="wilson")
    np.testing.assert_allclose(ends["specificity"], [expected, expected], atol=1e-9)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 6), st.floats(0, 1))
def test_agreement_beyond_chance_agrees_with_scikit_learn(seed, count, classes, skill):
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    guesses = np.where(random.random(count) < skill, labels, random.integers(classes, size=count))
    _agrees_with_scikit_learn(labels, guesses, classes)


@pytest.mark.parametrize(
    ("labels", "guesses"),
    [
        ([0, 0, 0], [0, 0, 0]),
        ([0, 0, 0], [1, 1, 1]),
        ([0, 0, 0], [0, 0, 1]),
        ([0, 1, 2], [1, 1, 1]),
        ([0, 1, 2], [0, 1, 2]),
        ([0, 1], [1, 0]),
        ([2], [2]),
    ],
)
def test_agreement_of_one_class_alone_is_what_scikit_learn_says(labels, guesses):
    _agrees_with_scikit_learn(np.array(labels), np.array(guesses), 3)


def _agrees_with_scikit_learn(labels, guesses, classes):
    ours = _report(np.eye(classes)[guesses], labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of 0 / 0, and of one class
        mcc = metrics.matthews_corrcoef(labels, guesses)
        kappa = metrics.cohen_kappa_score(labels, guesses)
    assert ours.mcc == pytest.approx(mcc, abs=1e-12)
    assert ours.cohen_kappa == pytest.approx(kappa, abs=1e-12, nan_ok=True)


def test_agreement_has_intervals_over_lesions_and_is_shown():
    logits, labels = _case(2, 90, 3)
    groups = [f"lesion{i // 3}" for i in range(90)]
    result = _report(logits, labels, groups=groups, resamples=60, seed=3)
    for name, theirs in (
        ("mcc", metrics.matthews_corrcoef),
        ("cohen_kappa", metrics.cohen_kappa_score),
    ):
        expected = classify.bootstrap(
            lambda i, theirs=theirs: theirs(labels[i], logits[i].argmax(1)),
            90,
            groups=groups,
            resamples=60,
            seed=3,
        )
        assert result.intervals[name] == pytest.approx(expected, abs=1e-12)
        low, high = result.intervals[name]
        line = f"{name.replace('_', ' '):<18} {getattr(result, name):.3f} [{low:.3f}, {high:.3f}]"
        assert line in str(result).splitlines()
        assert result.to_dict()[name] == getattr(result, name)


def test_a_draw_of_one_class_tells_nothing_of_agreement():
    labels = np.array([0] * 30 + [1])
    result = _report(np.eye(2)[labels], labels, resamples=300)
    # Wilson's lower end of 1 of 1: of the rarer class there is one picture.
    expected = (pytest.approx(1 / (1 + norm.ppf(0.975) ** 2)), 1)
    assert result.intervals["cohen_kappa"] == expected
    assert result.intervals["mcc"] == expected


def test_bins_hold_what_lies_on_their_edge_in_any_rounding():
    """Votes of ten: 0.8 is the upper edge of its bin, also where exp(log(0.8)) is above it."""
    random = np.random.default_rng(0)
    for _ in range(40):
        votes = random.multinomial(10, [0.2, 0.3, 0.5], size=100)
        labels = random.integers(3, size=100)
        right, most = votes.argmax(1) == labels, votes.max(1)
        gaps = [abs((most[most == m] / 10 - right[most == m]).sum()) for m in range(11)]
        result = _report(votes / 10, labels, kind="probabilities", bins=10)
        np.testing.assert_array_equal(result.reliability.count, np.bincount(most, minlength=11)[1:])
        assert result.ece == pytest.approx(sum(gaps) / 100, abs=1e-9)


def test_classes_without_names_have_numbers():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(30, 3)), np.arange(30) % 3
    plain, named = (classify.report(logits, labels, classes=c) for c in (None, ("0", "1", "2")))
    assert plain.classes == ("0", "1", "2")
    assert str(plain) == str(named)
    assert str(classify.report(logits, labels)) == str(plain)


def test_labels_that_come_first_are_told():
    """As scikit-learn has them."""
    logits, labels = np.eye(3)[[0, 1, 2, 0]] * 9, np.array([0, 1, 2, 0])
    message = r"scores \[N, K\] come first and labels \[N\] second, not \(4,\) and \(4, 3\): swap"
    with pytest.raises(ValueError, match=message):
        classify.report(labels, logits)


def test_agreement_without_a_mistake_is_not_certain():
    labels = np.repeat([0, 1, 2], [20, 12, 8])
    groups = [f"lesion{i // 2}" for i in range(40)]
    found = classify.report(9 * np.eye(3)[labels], labels, groups=groups, resamples=50)
    low = binomtest(20, 20).proportion_ci(method="wilson").low
    for name in ("accuracy", "weighted_precision", "weighted_recall", "weighted_f1"):
        assert found.intervals[name] == pytest.approx((low, 1))
    # Ten lesions are not of the commonest class.
    low = binomtest(10, 10).proportion_ci(method="wilson").low
    for name in ("mcc", "cohen_kappa"):
        assert getattr(found, name) == 1
        assert found.intervals[name] == pytest.approx((low, 1))
    # A constant answer agrees no more than chance in any draw, however it does elsewhere.
    always = np.tile([1.0, 0, 0], (40, 1))
    constant = classify.report(always, labels, groups=groups, resamples=50)
    for name in ("mcc", "cohen_kappa"):
        assert getattr(constant, name) == 0
        assert np.isnan(constant.intervals[name]).all()
    assert "all predictions are 0: MCC and kappa have no interval" in constant.cautions()
    assert "all predictions" not in str(found) + str(classify.report(always, labels))


@pytest.mark.parametrize("wrong", [(), (0,), (0, 996)])
def test_agreement_on_rare_classes_has_no_end_below_that_of_their_lesions(wrong):
    """With 100 patients of ten pictures each, one of whom has all five of the rare class."""
    labels = np.repeat([0, 1], [995, 5])
    guesses = labels.copy()
    guesses[list(wrong)] ^= 1
    groups = np.repeat(np.arange(100), 10).astype(str)
    found = classify.report(9 * np.eye(2)[guesses], labels, groups=groups, resamples=200)
    one = binomtest(1, 1).proportion_ci(method="wilson").low
    for name in ("mcc", "cohen_kappa"):
        assert found.intervals[name].low == pytest.approx(one)
        assert found.intervals[name].low < getattr(found, name) <= found.intervals[name].high


def test_agreement_keeps_the_draws_of_many_lesions():
    """Also where each patient has a hundred times more pictures of one class than of the other."""
    random = np.random.default_rng(0)
    labels, groups = (random.random(960) < 0.02).astype(int), np.repeat(np.arange(60), 16)
    guesses = np.where(random.random(960) < 0.02, 1 - labels, labels)
    logits = 9 * np.eye(2)[guesses]
    found = classify.report(logits, labels, groups=groups.astype(str), resamples=100, seed=1)
    for name, theirs in (
        ("mcc", metrics.matthews_corrcoef),
        ("cohen_kappa", metrics.cohen_kappa_score),
    ):
        drawn = classify.bootstrap(
            lambda rows, theirs=theirs: theirs(labels[rows], guesses[rows]),
            960,
            groups=groups.astype(str),
            resamples=100,
            seed=1,
        )
        assert found.intervals[name] == pytest.approx(drawn, abs=1e-12)


def test_names_of_classes_may_be_numbers():
    logits, labels = 9 * np.eye(3)[[0, 1, 1, 0]], [0, 1, 1, 0]
    numbers, names = (classify.report(logits, labels, classes=c) for c in ((3, 4, 5), "345"))
    assert numbers.classes == ("3", "4", "5")
    assert numbers.absent == ("5",)
    assert str(numbers) == str(names)


def test_numbers_of_a_report_have_names():
    random = np.random.default_rng(0)
    labels = random.integers(2, size=60)
    logits = random.normal(size=(60, 3)) + np.eye(3)[labels]
    judged = classify.report(logits, labels, classes=("a", "b", "none"), resamples=50)
    for name in METRICS:
        assert judged.number(name) == getattr(judged, name)
        assert judged.interval(name) == judged.intervals.get(name)
    for number in ("recall", "precision", "specificity", "auc", "average_precision"):
        column = {"auc": "class_auc", "average_precision": "class_average_precision"}
        values = getattr(judged, column.get(number, number))
        assert judged.number(f"{number}.b") == values[1]
        ends = judged.class_intervals[column.get(number, number)][1]
        assert judged.interval(f"{number}.b") == tuple(ends)
    assert np.isnan(judged.number("recall.none"))  # and not an error on every picture
    assert judged.recall[2] == 0
    assert classify.report(logits, labels).interval("recall.1") is None
    with pytest.raises(ValueError, match=r"use 'recall.none'"):
        judged.number("recall.nones")
    with pytest.raises(ValueError, match="is unknown"):
        judged.interval("kappa")


@pytest.mark.parametrize("others", [3, 8])
def test_a_ranking_against_few_others_is_covered(others):
    """Rates of normal scores: many lesions of a class do not tell where its threshold lies."""
    random, trials = np.random.default_rng(0), 60
    labels = np.array([0] * 60 + [1] * others)
    true, covered = norm.sf(norm.ppf(0.9) - 1.5), 0
    for trial in range(trials):
        margins = random.normal(size=len(labels)) + 1.5 * (labels == 0)
        logits = np.column_stack([margins, np.zeros(len(labels))])
        result = _report(logits, labels, resamples=60, seed=trial)
        low, high = result.class_intervals["class_sensitivity"][0]
        covered += low <= true <= high
        if others == 3:  # fewer than five pairs
            ends = result.class_intervals["class_average_precision"][0]
            assert ends[0] <= wilson_intervals(np.ones(1), np.full(1, 3))[0, 0]
    assert covered / trials >= 0.9  # of lesions of the class in 0.40 and 0.72
    assert f"fewer than 20 pictures of classes other than c0 ({others}): intervals of" in str(
        result
    )
    np.testing.assert_array_equal(result.others, [others, 60])


def test_a_lesion_of_many_pictures_is_one():
    """Kish: one of 200 pictures and 19 of one tell as much as 1.2 of one size."""
    groups = np.r_[np.zeros(200, int), np.arange(1, 20)].astype(str)
    labels = np.r_[np.zeros(200, int), np.arange(1, 20) % 2]
    found = _report(9 * np.eye(2)[labels], labels, groups=groups, resamples=100)
    np.testing.assert_array_equal(found.units, [10, 10])

    def low(*sizes):
        equal = sum(sizes) ** 2 / sum(n**2 for n in sizes)
        return wilson_intervals(np.ones(1), np.full(1, equal))[0, 0]

    assert found.intervals["accuracy"].low == pytest.approx(low(200, *[1] * 19))
    for name, ends in (("recall", (0, 1)), ("precision", (0, 1)), ("specificity", (1, 0))):
        for sizes, place in zip(((200, *[1] * 9), [1] * 10), ends, strict=True):
            assert found.class_intervals[name][place, 0] == pytest.approx(low(*sizes)), name


def test_patients_of_several_classes_count_beside_each_by_their_other_pictures():
    random = np.random.default_rng(0)
    labels, groups = random.integers(3, size=200), (30 * random.random(200) ** 2).astype(int)
    found = _report(9 * np.eye(3)[labels], labels, groups=groups.astype(str), resamples=100)
    for k in range(3):
        sizes = np.unique(groups[labels != k], return_counts=True)[1]
        assert found.others[k] == len(sizes)
        equal = sizes.sum() ** 2 / (sizes**2).sum()
        expected = wilson_intervals(np.ones(1), np.full(1, equal))[0]
        np.testing.assert_allclose(found.class_intervals["specificity"][k], expected)


def test_agreement_with_mistakes_alone_is_not_certain():
    labels = np.repeat([0, 1], 20)
    found = _report(9 * np.eye(2)[1 - labels], labels, resamples=100)
    right = _report(9 * np.eye(2)[labels], labels, resamples=100)
    assert found.mcc == -1
    low, high = right.intervals["mcc"]
    assert found.intervals["mcc"] == pytest.approx((-high, -low))
    assert found.intervals["mcc"].high == pytest.approx(-0.8389, abs=1e-4)


def test_two_classes_have_one_auc():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [30, 6])
    for apart in (1.0, 9.0):  # and without a mistake, where no draw differs
        logits = random.normal(size=(36, 2)) + apart * np.eye(2)[labels]
        found = _report(logits, labels, resamples=100)
        np.testing.assert_allclose(found.intervals["auc"], found.class_intervals["class_auc"][0])


def test_a_level_is_looked_at_without_resamples_too():
    with pytest.raises(ValueError, match="level in"):
        _report(np.zeros((3, 2)), np.array([0, 1, 1]), level=95)
