import tracemalloc

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn import metrics

import classify
import classify.judged
from classify.judged import Judged
from classify.metric_names import CLASS_METRICS, CLASS_RANKED, class_column


@pytest.mark.parametrize("equal_mass", [False, True])
def test_a_weight_is_a_repetition(equal_mass):
    """The numbers of a weighting are those of the rows written out: what resampling rests on."""
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(30, 4)).round(), random.integers(4, size=30)
    weights = random.integers(0, 4, (5, 30)).astype(float)
    weights[0, labels == 1] = 0  # a class that was not drawn
    judged = Judged(logits, labels, classes=4, equal_mass=equal_mass)
    measured = judged.measure(weights)
    for number, times in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(30), times)
        expected = classify.report(logits[rows], labels[rows], classes="abcd")
        for name, values in measured.items():
            if name == "ece" and equal_mass:
                continue  # resamples keep the bins of the whole
            np.testing.assert_allclose(values[number], getattr(expected, name), atol=1e-12)


def test_an_impossible_truth_counts_only_where_it_is_drawn():
    judged = Judged(np.array([[0.0, 0.0], [0.0, -np.inf]]), np.array([0, 1]), classes=2)
    measured = judged.measure(np.array([[2.0, 0.0], [1.0, 1.0]]), ["nll"])
    np.testing.assert_allclose(measured["nll"], [np.log(2), np.inf])


def test_what_is_not_measured_is_named():
    judged = Judged(np.eye(2), np.arange(2), classes=2)
    assert list(judged.measure(np.ones((1, 2)), ["brier", "accuracy"])) == ["brier", "accuracy"]
    with pytest.raises(ValueError, match="metric 'kappa' is unknown; use one of accuracy, "):
        judged.measure(np.ones((1, 2)), ["kappa"])


def test_many_classes_take_little_memory():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(2000, 200)), random.integers(200, size=2000)
    weights = np.ones((500, 2000))
    tracemalloc.start()
    try:
        judged = Judged(logits, labels, classes=200)
        measured = judged.measure(weights, ["macro_f1"], drawn=True)
        confusion = judged.confusion(weights[:1])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6
    expected = metrics.confusion_matrix(labels, logits.argmax(1), labels=range(200))
    np.testing.assert_array_equal(confusion[0], expected)
    assert measured["macro_f1"].shape == (500,)


@pytest.mark.parametrize("classes", [2, 7, 40])
@pytest.mark.parametrize("scale", [0.01, 1, 1000])
def test_ranks_are_those_of_the_log_odds(classes, scale):
    """Each class against the rest, with nothing shared; scores of 1000 leave no digit unused."""
    random = np.random.default_rng(0)
    logits = scale * random.normal(size=(300, classes))
    logits[:150] = logits[:150].round(1)  # ties
    logits[random.random(logits.shape) < 0.1] = -np.inf
    logits[np.arange(300), random.integers(classes, size=300)] = scale
    labels = random.integers(classes, size=300)
    found = Judged(logits, labels, classes=classes).measure(np.ones((1, 300)))
    for positive in range(classes):
        with np.errstate(divide="ignore"):
            rest = logsumexp(np.delete(logits, positive, 1), axis=1)
        ranks = np.unique((logits[:, positive] - rest).round(9), return_inverse=True)[1]
        auc = metrics.roc_auc_score(labels == positive, ranks)
        precision = metrics.average_precision_score(labels == positive, ranks)
        assert found["class_auc"][0, positive] == pytest.approx(auc, abs=1e-12)
        assert found["class_average_precision"][0, positive] == pytest.approx(precision, abs=1e-12)


def test_few_and_many_classes_are_counted_alike(monkeypatch):
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(200, 5)), random.integers(5, size=200)
    weights = random.integers(0, 4, (6, 200)).astype(float)
    full = Judged(logits, labels, classes=5).measure(weights, drawn=True)
    monkeypatch.setattr(classify.judged, "_FEW", 4)
    monkeypatch.setattr(classify.judged, "_CELLS", 35)  # and seven rows at a time
    sparse = Judged(logits, labels, classes=5).measure(weights, drawn=True)
    for name, values in full.items():
        np.testing.assert_array_equal(sparse[name], values)


def test_work_and_memory_grow_with_the_classes_not_their_square(monkeypatch):
    summed = []

    def counted(scores, **options):
        summed.append(scores.size)
        return logsumexp(scores, **options)

    monkeypatch.setattr(classify.judged, "logsumexp", counted)
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(1000, 1000)), random.integers(1000, size=1000)
    tracemalloc.start()
    try:
        Judged(logits, labels, classes=1000).measure(np.ones((20, 1000)), drawn=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0 < sum(summed) <= logits.size
    assert peak < 3 * logits.nbytes


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1, 1e9])
def test_ranks_know_no_unit(scale):
    random = np.random.default_rng(0)
    score, labels = random.normal(size=300), random.integers(2, size=300)
    logits = scale * np.stack([np.zeros(300), score], 1)
    found = Judged(logits, labels, classes=2).measure(np.ones((1, 300)), ["class_auc"])
    expected = metrics.roc_auc_score(labels, score)
    assert found["class_auc"][0, 1] == pytest.approx(expected, abs=1e-12)


def test_ranks_know_no_order_of_the_classes():
    """Whole scores tie in every order of the sum."""
    random = np.random.default_rng(0)
    logits, labels = random.integers(-2, 3, (300, 7)).astype(float), random.integers(7, size=300)
    order = random.permutation(7)
    names, once = ["class_auc", "class_average_precision"], np.ones((1, 300))
    given = Judged(logits, labels, classes=7).measure(once, names)
    turned = Judged(logits[:, order], np.argsort(order)[labels], classes=7).measure(once, names)
    for name in names:
        np.testing.assert_allclose(turned[name][0], given[name][0, order], atol=1e-12)


@pytest.mark.parametrize("floor", [-1e9, -1e30, float(np.finfo(np.float32).min), -np.inf])
def test_a_masked_class_does_not_tie_the_others(floor):
    """A huge negative score is the usual word for "impossible", of a class or of one picture."""
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(200, 3)), random.integers(3, size=200)
    logits[np.arange(200), labels] += 1
    names, once = ["class_auc", "class_average_precision", "class_sensitivity"], np.ones((1, 200))
    plain = Judged(logits, labels, classes=3).measure(once, names)
    masked = Judged(np.column_stack([logits, np.full(200, floor)]), labels, classes=4)
    found = masked.measure(once, names)
    for name in names:
        np.testing.assert_allclose(found[name][0, :3], plain[name][0], atol=1e-12)
    logits[0, (labels[0] + 1) % 3] = floor
    rows = logits - logsumexp(logits, axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        odds = rows - np.log(-np.expm1(rows))
    found = Judged(logits, labels, classes=3).measure(once, names)
    for k in range(3):
        ranks = np.unique(odds[:, k], return_inverse=True)[1]
        expected = metrics.roc_auc_score(labels == k, ranks)
        assert found["class_auc"][0, k] == pytest.approx(expected, abs=1e-12)


def test_a_number_of_one_class_is_its_column():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(40, 3)), random.integers(3, size=40)
    weights = random.integers(0, 4, (5, 40)).astype(float)
    weights[0, labels == 1] = 0  # a draw without the class
    judged = Judged(logits, labels, classes=("a", "b.c", "d"))
    names = [f"{number}.b.c" for number in CLASS_METRICS]
    columns = [class_column(number) for number in CLASS_METRICS]
    for drawn in (True, False):
        found = judged.measure(weights, [*names, "accuracy"], drawn=drawn)
        assert list(found) == [*names, "accuracy"]
        every = judged.measure(weights, drawn=drawn)
        for name, column in zip(names, columns, strict=True):
            expected = every[column][:, 1]
            if column in ("recall", "f1"):
                assert np.isnan(found[name][0])  # and not 0, which would be an error
                expected[0] = np.nan
            np.testing.assert_array_equal(found[name], expected)
    # Without names the classes are called by their numbers.
    plain = Judged(logits, labels, classes=3).measure(weights, ["recall.1", "auc.1"])
    for number in ("recall", "auc"):
        expected = judged.measure(weights, [f"{number}.b.c"])[f"{number}.b.c"]
        np.testing.assert_array_equal(plain[f"{number}.1"], expected)


def test_only_what_is_asked_for_is_ranked(monkeypatch):
    """Tests and intervals ask for one number of ten thousand draws."""
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(60, 4)).round(), random.integers(4, size=60)
    weights = random.integers(0, 4, (5, 60)).astype(float)
    judged, ranked, curves = Judged(logits, labels, classes="abcd"), [], Judged._roc

    def noted(self, weights, positive, columns):
        ranked.append((positive, {*columns}))
        return curves(self, weights, positive, columns)

    monkeypatch.setattr(Judged, "_roc", noted)
    every = judged.measure(weights)
    assert ranked == [(k, {*CLASS_RANKED}) for k in range(4)]
    for names, needed in (
        (["nll", "recall.a"], []),
        (["auc.c"], [(2, {"class_auc"})]),
        (["auc"], [(k, {"class_auc"}) for k in range(4)]),
        (["sensitivity.d", "auc.d"], [(3, {"class_sensitivity", "class_auc"})]),
        (
            ["auc.b", "class_average_precision", "sensitivity.b"],
            [
                (
                    k,
                    {"class_average_precision"}
                    | ({"class_auc", "class_sensitivity"} if k == 1 else set()),
                )
                for k in range(4)
            ],
        ),
    ):
        ranked.clear()
        found = judged.measure(weights, names)
        assert ranked == needed
        for name in {*names} & {*every}:
            np.testing.assert_array_equal(found[name], every[name])


def test_ranks_of_weighted_rows_are_those_of_scikit_learn():
    """With many ties; both are sums of whole numbers and halves, divided once."""
    random = np.random.default_rng(0)
    logits, labels = np.zeros((80, 2)), random.integers(2, size=80)
    logits[:, 1] = random.integers(-3, 4, 80) + labels
    weights = random.integers(0, 4, (6, 80)).astype(float)
    found = Judged(logits, labels, classes=2).measure(weights, ["class_auc"])["class_auc"]
    for own, row in zip(found, weights, strict=True):
        expected = metrics.roc_auc_score(labels, logits[:, 1], sample_weight=row)
        np.testing.assert_allclose(own, expected, rtol=1e-13)


def test_a_class_that_is_never_guessed_has_no_precision_in_any_draw():
    logits, labels = np.array([[1.0, 0.0]] * 6), np.array([0, 1] * 3)
    judged = Judged(logits, labels, classes=("a", "b"))
    draws = judged.measure(np.ones((4, 6)), ["precision.b", "recall.b", "f1.b"], drawn=True)
    for values in draws.values():
        np.testing.assert_array_equal(values, np.zeros(4))


@pytest.mark.parametrize("number", ["recall", "specificity"])
def test_shares_of_a_class_are_sums_over_its_rows(number):
    random = np.random.default_rng(1)
    judged = Judged(random.normal(size=(50, 3)), random.integers(3, size=50), classes="abc")
    share, value = judged.parts(f"{number}.b")
    assert share.sum() == pytest.approx(1)
    whole = judged.measure(np.ones((1, 50)), [f"{number}.b"])[f"{number}.b"][0]
    assert share @ value == pytest.approx(whole)
    assert judged.parts("f1.b") is None
