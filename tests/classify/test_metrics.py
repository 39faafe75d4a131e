import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics

import classify


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


@settings(deadline=None, max_examples=200)
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
    ours = str(_report(logits, labels)).split()
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


def test_intervals_cover_a_known_rate():
    covered = 0
    random = np.random.default_rng(0)
    for trial in range(300):
        hits = random.random(150) < 0.8
        low, high = classify.bootstrap(
            lambda i, h=hits: h[i].mean(), 150, resamples=300, seed=trial
        )
        covered += low <= 0.8 <= high
    assert 0.92 <= covered / 300 <= 0.98


def test_doubled_pictures_of_a_lesion_do_not_narrow_the_interval():
    hits = np.random.default_rng(1).random(200) < 0.7
    doubled = np.repeat(hits, 2)
    groups = [f"lesion{i // 2}" for i in range(400)]

    def width(values, **options):
        low, high = classify.bootstrap(
            lambda i: values[i].mean(), len(values), resamples=4000, **options
        )
        return high - low

    alone = width(hits)
    assert width(doubled, groups=groups) == pytest.approx(alone, rel=0.05)
    assert width(doubled) == pytest.approx(alone / 2**0.5, rel=0.07)


def test_the_same_seed_gives_the_same_interval():
    logits, labels = _case(0)
    first, again, other = (
        _report(logits, labels, resamples=50, seed=seed).intervals for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert set(first) == {"accuracy", "balanced_accuracy", "macro_f1"}
    assert _report(logits, labels).intervals == {}


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((3, 4)), np.zeros(3, dtype=int), r"2 classes need scores \[N, 2\]"),
        (np.zeros((3, 2)), np.zeros(4, dtype=int), r"labels \[N\], not \(3, 2\) and \(4,\)"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "nothing to report"),
        (np.zeros((2, 2)), np.zeros(2), "labels must be integers"),
        (np.zeros((2, 2)), np.array([0, -1]), "integers of 0 or more"),
        (np.zeros((2, 2)), np.array([0, 2]), "label 2 is beyond the 2 classes"),
        (np.array([[0, np.nan], [0, 1]]), np.array([0, 1]), "1 rows of scores are not numbers"),
        (np.array([[0, np.inf], [0, 1]]), np.array([0, 1]), "1 rows of scores are not numbers"),
        (np.full((2, 2), -np.inf), np.array([0, 1]), "2 rows of scores are not numbers"),
    ],
)
def test_what_cannot_be_judged_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        classify.report(logits, labels, classes=("a", "b"))


def test_a_lower_level_gives_a_narrower_interval():
    hits = np.random.default_rng(1).random(200) < 0.7
    widths = [
        np.ptp(classify.bootstrap(lambda i: hits[i].mean(), 200, level=level))
        for level in (0.5, 0.95)
    ]
    assert widths[0] == pytest.approx(widths[1] * 0.6745 / 1.96, rel=0.2)


def test_bad_resampling_is_refused():
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        classify.bootstrap(lambda i: 0.0, 3, resamples=0)
    with pytest.raises(ValueError, match="3 rows need as many groups, not 2"):
        classify.bootstrap(lambda i: 0.0, 3, groups=["a", "b"])
