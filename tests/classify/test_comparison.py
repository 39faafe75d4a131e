import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import binomtest
from scipy.stats import permutation_test as swapped_samples
from sklearn import metrics

import classify
from classify.metric_names import METRICS


def _two(seed, count=80, classes=3, skill=(1.0, 1.0)):
    """Scores of two systems that share the hardness of each picture."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    labels[:classes] = range(classes)
    shared = random.normal(size=(count, classes))
    scores = []
    for strength in skill:
        logits = shared + random.normal(size=(count, classes))
        logits[np.arange(count), labels] += strength
        scores.append(logits)
    return *scores, labels


def _lesions(count, each):
    return [f"lesion{i // each}" for i in range(count)]


def _generator(seed):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 80))
def test_mcnemar_is_the_binomial_test_of_the_disagreements(seed, count):
    first, second, labels = _two(seed, max(count, 3))
    result = classify.mcnemar(first, second, labels=labels)
    b = int(((first.argmax(1) == labels) & (second.argmax(1) != labels)).sum())
    c = int(((first.argmax(1) != labels) & (second.argmax(1) == labels)).sum())
    assert (result.only_first, result.only_second) == (b, c)
    expected = binomtest(min(b, c), b + c, 0.5).pvalue if b + c else 1
    assert result.p == pytest.approx(expected, abs=1e-12)
    swapped = classify.mcnemar(second, first, labels=labels)
    assert (swapped.only_second, swapped.only_first) == (b, c)
    assert swapped.p == pytest.approx(result.p, abs=1e-12)


@pytest.mark.parametrize("metric", [*METRICS, metrics.cohen_kappa_score])
def test_a_system_does_not_differ_from_itself(metric):
    first, _, labels = _two(0)
    if callable(metric):
        kappa = metric

        def metric(logits, labels):
            return kappa(logits.argmax(1), labels)

    options = {"labels": labels, "metric": metric, "groups": _lesions(80, 2), "resamples": 50}
    difference = classify.bootstrap_difference(first, first, **options)
    assert difference.difference == 0
    assert difference.interval == (0, 0)
    assert difference.p == 1
    assert classify.permutation_test(first, first, **options).p == 1
    assert classify.mcnemar(first, first, labels=labels).p == 1


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "auc", "brier"])
def test_swapping_the_systems_turns_the_sign(metric):
    first, second, labels = _two(1)
    options = {"labels": labels, "metric": metric, "groups": _lesions(80, 2), "resamples": 200}
    plain = classify.bootstrap_difference(first, second, **options)
    swapped = classify.bootstrap_difference(second, first, **options)
    assert plain.difference == -swapped.difference != 0
    assert plain.interval == pytest.approx((-swapped.interval.high, -swapped.interval.low))
    assert plain.p == swapped.p
    assert (plain.first, plain.second) == (swapped.second, swapped.first)
    plain, swapped = (
        classify.permutation_test(*pair, **options) for pair in ((first, second), (second, first))
    )
    # The two sums are other products of matrices, which some processors round otherwise.
    assert plain.difference == pytest.approx(-swapped.difference, rel=1e-12)
    assert plain.p == swapped.p


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1", "auc"])
def test_a_named_metric_is_the_function_of_scikit_learn(name):
    def theirs(logits, labels):
        guesses = logits.argmax(1)
        if name == "auc":
            return np.mean([metrics.roc_auc_score(labels == c, _odds(logits, c)) for c in range(3)])
        return {
            "accuracy": metrics.accuracy_score,
            "balanced_accuracy": metrics.balanced_accuracy_score,
            "macro_f1": lambda y, g: metrics.f1_score(y, g, average="macro"),
        }[name](labels, guesses)

    first, second, labels = _two(2, skill=(1.5, 1.0))
    options = {"labels": labels, "groups": _lesions(80, 2), "resamples": 40}
    for test in (classify.bootstrap_difference, classify.permutation_test):
        ours = test(first, second, metric=name, **options)
        expected = test(first, second, metric=theirs, **options)
        assert ours.difference == pytest.approx(expected.difference, abs=1e-12)
        assert expected.metric == "theirs"
        # As a sum over the pictures, which a function is not known to be, it has the exact test.
        if (name, test) != ("balanced_accuracy", classify.bootstrap_difference):
            assert ours.p == expected.p
    if name == "balanced_accuracy":
        return
    assert classify.bootstrap_difference(
        first, second, metric=name, **options
    ).interval == pytest.approx(
        classify.bootstrap_difference(first, second, metric=theirs, **options).interval, abs=1e-12
    )


def _odds(logits, positive):
    rest = np.delete(logits, positive, 1)
    return (logits[:, positive] - np.log(np.exp(rest).sum(1))).round(9)


def test_doubled_pictures_are_no_new_evidence():
    first, second, labels = _two(3, 100, skill=(1.4, 1.0))
    again = [np.repeat(x, 2, axis=0) for x in (first, second, labels)]

    def both(first, second, labels, groups=None):
        options = {"labels": labels, "metric": "accuracy", "groups": groups}
        low, high = classify.bootstrap_difference(first, second, resamples=3000, **options).interval
        return high - low, classify.permutation_test(first, second, **options).p

    width, p = both(first, second, labels)
    grouped, grouped_p = both(*again, groups=_lesions(200, 2))
    naive, naive_p = both(*again)
    assert grouped == pytest.approx(width, rel=0.08)
    assert grouped_p == pytest.approx(p, abs=0.03)
    assert naive == pytest.approx(width / 2**0.5, rel=0.08)
    assert naive_p < p / 2


def test_alone_the_permutation_test_of_accuracy_is_mcnemar():
    first, second, labels = _two(4, 120, skill=(1.3, 1.0))
    exact = classify.mcnemar(first, second, labels=labels).p
    assert 0.01 < exact < 0.9
    ours = classify.permutation_test(
        first, second, labels=labels, metric="accuracy", resamples=20000
    )
    assert ours.p == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("test", [classify.permutation_test, classify.bootstrap_difference])
def test_few_lesions_are_swapped_in_every_way(test):
    first, second, labels = _two(6, 24, skill=(2.0, 0.5))
    right = [(scores.argmax(1) == labels).reshape(8, 3).sum(1) for scores in (first, second)]
    theirs = swapped_samples(
        right, lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=np.inf
    )
    options = {"labels": labels, "metric": "accuracy", "groups": _lesions(24, 3)}
    ours = test(first, second, resamples=255, **options)
    assert 0.001 < theirs.pvalue < 0.5
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert ours.resamples == 255  # all but the empty one
    sampled = test(first, second, resamples=254, **options)
    assert sampled.p == pytest.approx(theirs.pvalue, abs=0.1)


def _parts_of_lesions(first, second, labels, groups):
    """Each lesion's part of the difference of balanced accuracy, and its share, written out."""
    present = np.unique(labels)
    part, share = np.zeros((2, len(set(groups))))
    for row, label in enumerate(labels):
        lesion = sorted(set(groups)).index(groups[row])
        counts = 1 / (labels == label).sum() / len(present)
        gap = int(first[row].argmax() == label) - int(second[row].argmax() == label)
        part[lesion] += gap * counts
        share[lesion] += counts
    return part, share


@pytest.mark.parametrize("seed", range(4))
def test_an_interval_holds_what_no_flip_of_signs_refuses(seed):
    first, second, labels = _two(seed, 24, skill=(2.0, 0.7))
    groups = _lesions(24, 3)
    part, share = _parts_of_lesions(first, second, labels, groups)
    assert share.sum() == pytest.approx(1)
    flips = np.array(list(itertools.product([-1, 1], repeat=8)))

    def refused(difference):
        left = part - difference * share
        return (np.abs(flips @ left) >= abs(left.sum()) - 1e-12).mean() <= 0.1

    for metric in ("balanced_accuracy", "macro_recall"):
        ours = classify.bootstrap_difference(
            first, second, labels=labels, groups=groups, level=0.9, metric=metric
        )
        expected = (np.abs(flips @ part) >= abs(part.sum()) - 1e-12).mean()
        assert ours.difference == pytest.approx(part.sum())
        assert ours.p == pytest.approx(expected, abs=1e-12)
        low, high = ours.interval
        assert low < ours.difference < high
        for end, out in ((low, -1e-6), (high, 1e-6)):
            assert refused(end + out)
            assert not refused(end - out)
        swaps = classify.permutation_test(
            first, second, labels=labels, groups=groups, metric=metric
        )
        assert swaps.p == pytest.approx(ours.p, abs=1e-12)


def test_holm_by_hand():
    # 4 x 0.005, 3 x 0.015, 2 x 0.02, which is less and is raised to it, and 1 x 0.9.
    assert classify.comparison.holm([0.02, 0.005, 0.9, 0.015]) == pytest.approx(
        (0.045, 0.02, 0.9, 0.045)
    )
    assert classify.comparison.holm([0.6, 0.7]) == (1, 1)


def test_few_lesions_of_a_class_are_not_enough():
    """All four lesions of a class are found by one system alone: chance does that in 2 of 16."""
    labels = np.repeat([0, 1], [40, 4])
    first, second = np.eye(2)[labels], np.eye(2)[labels * 0]
    ours = classify.bootstrap_difference(first, second, labels=labels, resamples=20000)
    assert ours.difference == 0.5
    assert ours.p == pytest.approx(2 / 2**4, abs=0.01)
    assert ours.interval.low <= 0 < ours.interval.high
    # Where draws with replacement hold the class, they all agree.
    drawn = classify.bootstrap(
        lambda rows: 0.5 * (labels[rows] == 1).any(), len(labels), resamples=1000
    )
    assert drawn == (0.5, 0.5)


@pytest.mark.parametrize("count", [3, 7, 9])
def test_the_p_of_accuracy_is_that_of_mcnemar(count):
    for seed in range(5):
        first, second, labels = _two(seed, count, skill=(2.0, 0.5))
        exact = classify.mcnemar(first, second, labels=labels).p
        for test in (classify.bootstrap_difference, classify.permutation_test):
            ours = test(first, second, labels=labels, metric="accuracy", resamples=511)
            assert ours.p == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("test", [classify.permutation_test, classify.bootstrap_difference])
def test_alike_systems_are_seldom_called_different(test):
    """Lesions of four pictures that share their fate; without groups the error is far larger."""
    found = {"lesions": 0, "pictures": 0}
    random = np.random.default_rng(0)
    trials = 300
    for trial in range(trials):
        labels = np.zeros(200, dtype=int)
        shared = np.repeat(random.normal(size=(2, 50)), 4, axis=1)
        first, second = (
            np.column_stack([0.7 + s + 0.5 * random.normal(size=200), np.zeros(200)])
            for s in shared
        )
        for name, groups in (("lesions", _lesions(200, 4)), ("pictures", None)):
            p = test(
                first,
                second,
                labels=labels,
                metric="accuracy",
                groups=groups,
                resamples=199,
                generator=_generator(trial),
            ).p
            found[name] += p <= 0.05
    # The bootstrap is a little bold with 50 lesions.
    limit = 0.07 if test is classify.permutation_test else 0.09
    assert 0.01 <= found["lesions"] / trials <= limit
    assert found["pictures"] / trials > 0.15


def test_two_tests_of_one_question_judge_by_one_metric():
    first, second, labels = _two(1)
    metric = "balanced_accuracy"
    for test in (classify.bootstrap_difference, classify.permutation_test):
        unasked = test(first, second, labels=labels, resamples=50)
        assert unasked == test(first, second, labels=labels, metric=metric, resamples=50)
        assert unasked.metric == metric


def test_a_real_difference_is_found():
    first, second, labels = _two(7, 400, skill=(2.5, 0.5))
    difference = classify.bootstrap_difference(first, second, labels=labels)
    assert difference.interval.low > 0
    assert difference.p == pytest.approx(2 / 1001)
    permutation = classify.permutation_test(first, second, labels=labels, resamples=999)
    assert permutation.p == pytest.approx(1 / 1000)
    assert classify.mcnemar(first, second, labels=labels).p < 1e-6
    assert difference.difference == pytest.approx(difference.first - difference.second)


@pytest.mark.parametrize("metric", [*METRICS, "a function"])
def test_the_interval_and_p_tell_the_same(metric):
    def hits_of_last(logits, labels):
        return (logits.argmax(1) == labels)[labels == 2].mean() if (labels == 2).any() else np.nan

    shown = 0
    for seed in range(12):
        first, second, labels = _two(seed, 60, skill=(2.2, 1.0))
        for groups in (None, _lesions(60, 10)):
            result = classify.bootstrap_difference(
                first, second, labels=labels, groups=groups, resamples=199,
                metric=hits_of_last if metric == "a function" else metric,
            )  # fmt: skip
            low, high = result.interval
            assert (result.p <= 0.05) == (not low <= 0 <= high)
            shown += result.p <= 0.05
    if metric not in ("ece", "a function"):
        assert 0 < shown < 24


def test_the_same_generator_gives_the_same_result():
    first, second, labels = _two(8)
    for test in (classify.bootstrap_difference, classify.permutation_test):
        results = [
            test(first, second, labels=labels, resamples=100, generator=_generator(seed))
            for seed in (0, 0, 1)
        ]
        assert results[0] == results[1] == test(first, second, labels=labels, resamples=100)
        assert results[0] != results[2]


def test_probabilities_are_compared_as_their_logarithms():
    first, second, labels = _two(9)
    shares = softmax(first, axis=1), softmax(second, axis=1)
    options = {"labels": labels, "metric": "auc", "resamples": 50}
    plain = classify.bootstrap_difference(first, second, **options)
    same = classify.bootstrap_difference(*shares, kind="probabilities", **options)
    assert same.interval == pytest.approx(plain.interval, abs=1e-9)
    with pytest.raises(ValueError, match="probabilities must lie in 0"):
        classify.permutation_test(first, second, kind="probabilities", **options)


def test_each_result_is_a_sentence_and_json():
    first, second, labels = _two(1, 60)
    options = {"labels": labels, "resamples": 100, "groups": _lesions(60, 3)}
    difference = classify.bootstrap_difference(first, second, level=0.9, **options)
    assert str(difference).startswith(
        f"balanced_accuracy {difference.first:.3f} against {difference.second:.3f}: difference "
    )
    assert "90 % interval [" in str(difference)
    assert str(difference).endswith("(100 resamples of 20 lesions)")
    permutation = classify.permutation_test(first, second, labels=labels, resamples=100)
    assert str(permutation).endswith("(100 swaps within 60 pictures)")
    assert f"permutation p = {permutation.p:.3g}" in str(permutation)
    pictures = classify.mcnemar(first, second, labels=labels)
    assert str(pictures) == (
        f"correct only by the first {pictures.only_first}, only by the second "
        f"{pictures.only_second}: exact McNemar p = {pictures.p:.3g} "
        "(pictures taken as independent)"
    )
    for result in (difference, permutation, pictures):
        assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["p"] == result.p


@pytest.mark.parametrize("test", [classify.bootstrap_difference, classify.permutation_test])
def test_what_cannot_be_compared_is_refused(test):
    first, second, labels = _two(0, 10)
    cases = [
        ((first, second[:9], labels), {}, r"must score the same pictures .*\(10, 3\) and \(9, 3\)"),
        ((first[:, 0], second[:, 0], labels), {}, r"classes \[N, K\], not \(10,\)"),
        ((first, second, labels[:9]), {}, r"labels \[N\], not \(10, 3\) and \(9,\)"),
        ((first, second, labels + 1), {}, "label 3 is beyond the 3 classes"),
        (
            (first, np.full_like(second, np.nan), labels),
            {},
            "10 rows of scores are nan or infinite",
        ),
        ((first, second, labels), {"groups": ["a"]}, "10 rows need as many groups, not 1"),
        ((first, second, labels), {"metric": "f2"}, "metric 'f2' is unknown; use one of accuracy"),
        ((first, second, labels), {"resamples": 0}, "resamples must be at least 1"),
        ((first, second, labels * 0), {"metric": "auc"}, "auc is not a finite number on these"),
    ]
    for (one, other, truth), options, message in cases:
        with pytest.raises(ValueError, match=message):
            test(one, other, labels=truth, **options)
    with pytest.raises(ValueError, match="must score the same pictures"):
        classify.mcnemar(first, second[:9], labels=labels)


def test_an_interval_of_too_few_lesions_is_all_that_can_be():
    labels = np.arange(20) % 2
    right, wrong = 2 * np.eye(2)[labels], 2 * np.eye(2)[1 - labels]
    groups = [f"lesion{i % 5}" for i in range(20)]  # whose smallest p is 2 / 32
    for metric, farthest in (("accuracy", 1), ("mcc", 2), ("brier", 2), ("nll", np.inf)):
        options = {"labels": labels, "metric": metric, "groups": groups}
        result = classify.bootstrap_difference(right, wrong, **options)
        assert result.interval == (-farthest, farthest)
        ends = None if metric == "nll" else farthest
        assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["interval"][1] == ends
        finer = classify.bootstrap_difference(right, wrong, level=0.9, **options)
        assert finer.interval.low == pytest.approx(finer.interval.high)
        assert finer.interval.low != 0


@pytest.mark.parametrize("metric", ["auc", "sensitivity", "mcc", "cohen_kappa"])
@pytest.mark.parametrize("rare", [1, 5, 6])
def test_few_lesions_of_a_class_that_a_metric_needs_cannot_show_much(metric, rare):
    labels = np.repeat([0, 1], [30, rare])
    right, wrong = np.eye(2)[labels], np.eye(2)[1 - labels]
    # Of all halves the share 1 / 2**rare holds the common class alone: enough for any p of 0.05
    # only with six. Coins say so within four of their standard errors.
    result = classify.bootstrap_difference(
        right, wrong, labels=labels, metric=metric, resamples=4000, generator=_generator(0)
    )
    share = 0.5**rare
    error = 4 * (share * (1 - share) / 4000) ** 0.5
    assert result.undefined / 4000 == pytest.approx(share, abs=error)
    assert f"{result.undefined} of them without a value)" in str(result)
    assert result.p == pytest.approx(min(1, 2 * (1 + result.undefined) / 4001))
    farthest = {"mcc": 2, "cohen_kappa": 2}.get(metric, 1)
    assert (result.interval == (-farthest, farthest)) == (rare < 6)
    enough = classify.bootstrap_difference(right, wrong, labels=labels)
    assert enough.undefined == 0
    assert enough.p < 0.01


def test_an_interval_holds_the_difference_that_all_lesions_agree_on():
    """Its ends were less than 1, by rounding, where the difference is 1."""
    for count in (20, 49, 100):  # ends beyond it on either side
        labels = np.repeat([0, 1], [40, count])
        right = np.eye(2)[labels] * 9.0
        found = classify.bootstrap_difference(
            right, right[:, ::-1], labels=labels, metric="recall.1"
        )
        assert found.interval == (1, 1) == (found.difference, found.difference)


def test_few_lesions_cannot_show_much():
    labels = np.arange(20) % 2
    right, wrong = np.eye(2)[labels], np.eye(2)[1 - labels]
    for count in (2, 5):
        groups = [f"lesion{i % count}" for i in range(20)]
        options = {"labels": labels, "metric": "accuracy", "groups": groups}
        result = classify.bootstrap_difference(right, wrong, **options)
        assert result.difference == 1
        assert result.p == 2 / 2**count
    with pytest.raises(ValueError, match="an interval needs at least 2 lesions, got 1; give pict"):
        classify.bootstrap_difference(right, wrong, labels=labels, groups=["a"] * 20)
    with pytest.raises(ValueError, match="an interval needs at least 2 pictures, got 1"):
        classify.bootstrap_difference(right[:1], wrong[:1], labels=labels[:1])
    alone = classify.permutation_test(right, wrong, labels=labels, groups=["a"] * 20, resamples=50)
    assert alone.p == 1


@pytest.mark.parametrize("test", [classify.bootstrap_difference, classify.permutation_test])
@pytest.mark.parametrize(
    ("metric", "mean"),
    [("f1", "macro_f1"), ("recall", "macro_recall"), ("class_auc", "auc")],
)
def test_a_number_of_each_class_is_no_metric(test, metric, mean):
    first, second, labels = _two(0, 10)
    message = f"metric '{metric}' has one value per class; use '{mean}', their mean"
    with pytest.raises(ValueError, match=message):
        test(first, second, labels=labels, metric=metric)


def test_a_swap_without_a_number_counts_as_large():
    labels = np.zeros(12, dtype=int)
    first, second = np.tile([2.0, 0.0], (12, 1)), np.tile([1.0, 0.0], (12, 1))

    def only_unmixed(logits, labels):
        return logits[:, 0].mean() if np.ptp(logits[:, 0]) == 0 else np.nan

    result = classify.permutation_test(
        first, second, labels=labels, metric=only_unmixed, resamples=100
    )
    assert result.difference == 1
    assert result.p == 1


def test_rounding_is_judged_by_the_size_of_the_metric():
    random = np.random.default_rng(0)
    first = np.column_stack([1e6 * random.random(40), np.zeros(40)])
    second = first.copy()
    second[:5, 0] += 1e6  # the other lesions do not differ: each swap is the whole one, or none

    def mean(logits, labels):
        return logits[:, 0].mean()

    options = {"labels": np.zeros(40, dtype=int), "groups": _lesions(40, 5)}
    result = classify.permutation_test(first, second, metric=mean, resamples=100, **options)
    assert result.p == 1


def test_a_draw_without_a_class_is_no_loss_of_recall():
    labels = np.array([0] * 40 + [1] * 40 + [2, 2])
    guesses = np.where(np.arange(82) < 10, 2, labels)  # class 2 is predicted where it is not drawn
    first = np.eye(3)[guesses]
    second = np.eye(3)[np.where((np.arange(82) >= 60) & (labels == 1), 0, guesses)]
    options = {"labels": labels, "resamples": 300}
    macro = classify.bootstrap_difference(first, second, metric="macro_recall", **options)
    balanced = classify.bootstrap_difference(first, second, metric="balanced_accuracy", **options)
    assert macro.interval == balanced.interval


def test_a_metric_is_a_name_or_a_function():
    with pytest.raises(ValueError, match="metric must be a name or a function, not 3"):
        classify.bootstrap_difference(np.eye(2), np.eye(2), labels=np.arange(2), metric=3)  # pyright: ignore


def test_mcnemar_takes_probabilities_without_a_word():
    first, second, labels = _two(1)
    shares = softmax(first, axis=1), softmax(second, axis=1)  # warnings are errors here
    expected = classify.mcnemar(first, second, labels=labels)
    assert classify.mcnemar(*shares, labels=labels) == expected
    with pytest.raises(ValueError, match="real numbers, not complex"):
        classify.mcnemar(first + 0j, second + 0j, labels=labels)


@pytest.mark.parametrize("number", ["recall", "precision", "f1", "auc"])
def test_the_number_of_a_class_is_that_of_scikit_learn(number):
    def theirs(logits, labels):
        if number == "auc":
            return metrics.roc_auc_score(labels == 1, _odds(logits, 1))
        score = getattr(metrics, f"{number}_score")
        return score(labels == 1, logits.argmax(1) == 1, zero_division=np.nan)

    first, second, labels = _two(2, skill=(1.5, 1.0))
    options = {"labels": labels, "groups": _lesions(80, 2), "resamples": 40}
    for test in (classify.bootstrap_difference, classify.permutation_test):
        ours = test(first, second, metric=f"{number}.b", classes="abc", **options)
        by_number = test(first, second, metric=f"{number}.1", **options)
        assert replace(by_number, metric=ours.metric) == ours
        expected = test(first, second, metric=theirs, **options)
        assert ours.difference == pytest.approx(expected.difference, abs=1e-12)
    if number != "recall":  # a sum over the pictures, which has the exact test
        ours, expected = (
            classify.bootstrap_difference(first, second, metric=m, classes="abc", **options)
            for m in (f"{number}.b", theirs)
        )
        assert ours.interval == pytest.approx(expected.interval, abs=1e-12)


@pytest.mark.parametrize("number", ["recall", "specificity"])
def test_the_test_and_the_interval_of_a_class_are_one(number):
    first, second, labels = _two(4, count=11, skill=(2.0, 0.5))
    options = {"labels": labels, "metric": f"{number}.2", "resamples": 5000}
    found = classify.bootstrap_difference(first, second, **options)
    assert found.p == pytest.approx(classify.permutation_test(first, second, **options).p)
    # Pictures of other classes are no evidence of a recall.
    own = int((labels == 2).sum()) if number == "recall" else int((labels != 2).sum())
    assert found.count == own
    assert found.undefined == 0


def test_five_pictures_of_a_class_show_nothing_of_its_recall():
    """Nor among many others: which halves hold the class is not left to chance."""
    labels = np.array([1] * 5 + [0] * 55)
    right, wrong = np.eye(2)[labels], np.eye(2)[1 - labels]
    for seed in range(5):
        found = classify.bootstrap_difference(
            right, wrong, labels=labels, metric="recall.1",
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        assert (found.difference, found.count) == (1, 5)
        assert found.interval == (-1, 1)
        assert found.p == 2 / 2**5
        test = classify.permutation_test(right, wrong, labels=labels, metric="recall.1")
        assert test.p == found.p


def test_names_of_classes_are_those_of_a_report():
    first, second, labels = _two(3)
    for classes, message in ((["a", "a", "b"], "different names"), (["a", "b"], "2 classes need")):
        with pytest.raises(ValueError, match=message):
            classify.bootstrap_difference(first, second, labels=labels, classes=classes)
    named = classify.bootstrap_difference(
        first, second, labels=labels, classes=[3, 4, 5], metric="recall.4"
    )
    assert named.metric == "recall.4"
    with pytest.raises(ValueError, match="classes are numbered: give their names"):
        classify.permutation_test(first, second, labels=labels, metric="recall.mel")
