import math

import numpy as np
import pytest
from scipy import optimize, stats

from classify.intervals import wilson_intervals
from joint.saved.predictions import Predictions
from joint.study.findings.lesion_units import Units, few_lesions, spread_out, units


def _part(counts):
    """Scores of nobody on so many lesions of each class, two pictures of each."""
    labels = np.repeat(np.arange(len(counts)), 2 * np.array(counts))
    groups = tuple(f"lesion{i // 2}" for i in range(len(labels)))
    names = tuple(map(str, range(len(labels))))
    logits = np.zeros((len(labels), len(counts)))
    return Predictions(tuple("abcdefg"[: len(counts)]), names, groups, labels, logits)


def test_lesions_without_an_error_leave_as_much_open_as_wilson_says():
    for count in (3, 20):
        assert Units((count,), count, (count,)).without_error(0.95) == pytest.approx(count)
    # Of a mean over classes, no more than of the rarest, and no more than there are patients.
    several = Units((40, 15, 8), 63, (40, 15, 8)).without_error(0.95)
    low = wilson_intervals(np.ones(3), np.array([40, 15, 8]))[:, 0]
    expected = 1 - np.linalg.norm(1 - low) / 3
    assert wilson_intervals(np.ones(1), np.array([several]))[0, 0] == pytest.approx(expected)
    assert Units((6, 6, 6), 6, (6, 6, 6)).without_error(0.95) == 6


def test_each_class_brings_its_degrees_of_freedom():
    # Welch's of two samples that vary alike are scipy's.
    generator = np.random.default_rng(0)
    one, other = generator.normal(0, 1, 12), generator.normal(0, 1, 4)
    one, other = ((each - each.mean()) / each.std(ddof=1) for each in (one, other))
    welch = stats.ttest_ind(one, other, equal_var=False).df
    assert units(_part([12, 4]), "balanced_accuracy").telling == pytest.approx(1 + welch)
    # Of classes of one size, those of all lesions within them.
    assert units(_part([9, 9, 9]), "macro_f1").telling == pytest.approx(1 + 3 * 8)
    # Where all pictures weigh the same, all lesions do.
    assert units(_part([12, 4, 1]), "accuracy").telling == 17
    # A class of one lesion has no fewer than one.
    expected = (1 / 20 + 1 / 5 + 1) ** 2 / (1 / 20**2 / 19 + 1 / 5**2 / 4 + 1)
    assert units(_part([20, 5, 1]), "macro_f1").telling == pytest.approx(1 + expected)
    # An AUC has no more pairs without a lesion in common than the fewer have.
    assert units(_part([20, 5, 1]), "auc").counts == (6, 5, 1)
    assert units(_part([20, 5]), "auc").telling == units(_part([20, 5]), "auc.a").telling == 5
    assert units(_part([20, 5, 1]), "macro_specificity").counts == (6, 21, 25)


def test_a_patient_with_lesions_of_all_classes_is_one():
    labels = np.tile(np.arange(3), 6)
    groups = tuple(f"patient{i // 3}" for i in range(18))
    part = Predictions(
        ("a", "b", "c"), tuple(map(str, range(18))), groups, labels, np.eye(3)[labels]
    )
    found = units(part, "balanced_accuracy")
    assert found.counts == (6, 6, 6)
    assert found.groups == 6
    assert found.telling == 6 == units(part, "accuracy").telling
    assert found.as_one_class(0.9) == 6


@pytest.mark.parametrize(
    ("counts", "share"), [((216, 29, 25, 13, 9, 4, 3), 0.7), ((216, 29, 9, 3), 0.97), ((5, 5), 0.4)]
)
def test_all_are_right_by_luck_as_often_as_the_rarest_let_them(counts, share):
    wanted = optimize.minimize(
        lambda rates: -np.sum(np.array(counts) * np.log(rates)),
        np.full(len(counts), share),
        bounds=[(1e-9, 1)] * len(counts),
        constraints={"type": "eq", "fun": lambda rates: rates.mean() - share},
    )
    found = Units(counts, sum(counts), counts).as_one_class(share)
    assert share**found == pytest.approx(np.exp(-wanted.fun), rel=1e-4)
    assert Units((20,), 20, (20,)).as_one_class(share) == pytest.approx(20)


@pytest.mark.parametrize("of_one", [True, False])
def test_lesions_of_a_class_of_one_vary_as_the_others(of_one):
    part = _part([6, 3, 1] if of_one else [6, 3])
    draws = np.random.default_rng(0).normal(0.5, 0.1, (50, 2))
    draws[:, 1] = math.nan  # a design without a run
    found = spread_out(draws, part, "balanced_accuracy")
    wider = (1 / 6 + 1 / 3 + 1) / (1 / 6 + 1 / 3) if of_one else 1
    assert found[:, 0].var() == pytest.approx(wider * draws[:, 0].var())
    assert found[:, 0].mean() == pytest.approx(draws[:, 0].mean())
    assert np.isnan(found[:, 1]).all()
    np.testing.assert_array_equal(spread_out(draws, part, "accuracy"), draws)
    # Of classes of one lesion alone nothing is known.
    np.testing.assert_array_equal(spread_out(draws, _part([1, 1]), "auc"), draws)


def test_a_number_of_one_class_rests_on_its_lesions_or_on_all_others():
    part = _part([12, 4, 1])
    assert units(part, "recall.b").telling == 4
    assert units(part, "auc.c").telling == 1
    assert units(part, "specificity.b").telling == 13


def test_lesions_that_are_too_few_are_named():
    """The class, the others, each class or the whole part: whichever the number rests on."""
    told = "class c has 1 lesion to test on, which says nothing of others"
    assert few_lesions(_part([12, 4, 1]), "recall.c") == told
    told = "class b has 4 lesions in the test part: intervals may be too narrow"
    assert few_lesions(_part([12, 4]), "specificity.a") == told
    told = "each class has 1 lesion to test on, which says nothing of others"
    assert few_lesions(_part([1, 1, 1]), "balanced_accuracy") == told
    assert few_lesions(_part([12, 10]), "balanced_accuracy") is None
    assert few_lesions(_part([12, 1]), "accuracy") is None
