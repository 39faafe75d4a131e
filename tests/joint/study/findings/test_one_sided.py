import numpy as np
import pytest
from scipy import stats

from joint.saved.predictions import Predictions
from joint.study import Outcome, holm, resample
from joint.study.findings.one_sided import behind_best, of_cost, of_mean, one_sided
from joint.study.requirements import Bound

VALUES = np.random.default_rng(1).normal([[30.0], [30.5], [31.0]], 0.6, (3, 7))


@pytest.fixture
def draws():
    """Three designs on seven seeds, of which no lesions are known."""
    ended = {n: [Outcome(s, v) for s, v in enumerate(row)] for n, row in enumerate(VALUES)}
    return resample(ended, metric="psnr", resamples=2)


@pytest.mark.parametrize("least", [True, False])
def test_a_mean_is_tested_as_students_t_does(draws, least):
    for number, row in enumerate(VALUES):
        found = of_mean(draws, number, Bound("psnr", 30.4, least))
        side = "greater" if least else "less"
        assert found.p == pytest.approx(stats.ttest_1samp(row, 30.4, alternative=side).pvalue)
        assert found.met == (bool(row.mean() >= 30.4) is least)
        assert found.requirement == f"psnr {'>=' if least else '<='} 30.4"


def test_a_margin_is_tested_in_pairs_with_each_of_the_others(draws):
    for number, row in enumerate(VALUES):
        others = [other for place, other in enumerate(VALUES) if place != number]
        found = behind_best(draws, number, 0.5, "close", ())
        p = [stats.ttest_rel(row + 0.5, other, alternative="greater").pvalue for other in others]
        assert found.p == pytest.approx(max(p))
        assert found.met == all(row.mean() + 0.5 >= other.mean() for other in others)


@pytest.mark.parametrize(
    ("values", "bound", "least"),
    [((0.6, 0.7, 0.8), 0.7, True), ((0.9, 0.5, 0.7), 0.7, True), ((0.1, 0.2, 0.3), 0.2, False)],
)
def test_a_mean_on_the_bound_meets_it(values, bound, least):
    ended = {0: [Outcome(seed, value) for seed, value in enumerate(values)]}
    draws = resample(ended, metric="accuracy", resamples=2)
    assert of_mean(draws, 0, Bound("accuracy", bound, least)).met
    assert of_cost(0.1 + 0.2, Bound("lamp", 0.3, False)).met


def test_a_mean_on_the_margin_is_within_it():
    ended = {
        number: [Outcome(seed, value) for seed, value in enumerate(values)]
        for number, values in enumerate([(0.9, 0.8, 0.7), (0.8, 0.7, 0.6)])
    }
    draws = resample(ended, metric="accuracy", resamples=2)
    assert behind_best(draws, 1, 0.1, "close", ()).met


def test_what_is_not_known_is_not_met(draws):
    assert of_mean(draws, 5, Bound("psnr", 0.0, True)) == ("no psnr", False, 1.0, False)
    assert behind_best(draws, 5, 1.0, "close", ()) == ("no psnr", False, 1.0, False)
    assert behind_best(draws, 0, 99.0, "close", [0, 1]) == (
        "1 of the others has not ended", True, 1.0, False,
    )  # fmt: skip
    assert of_cost(None, Bound("bits", 5.0, False)) == ("bits <= 5", False, 1.0, False)
    assert of_cost(5.0, Bound("bits", 5.0, False)) == ("bits <= 5", True, 0.0, True)
    assert of_cost(5.1, Bound("bits", 5.0, False)) == ("bits <= 5", False, 1.0, True)


@pytest.mark.parametrize(("lesions", "missed"), [(10, 1), (20, 2), (40, 2)])
def test_few_lesions_prove_no_recall_that_they_do_not_have(lesions, missed):
    # Some are always missed, the others hardly ever: what is drawn anew is next to alike.
    generator = np.random.default_rng(3)
    names = tuple(map(str, range(lesions)))
    labels = np.zeros(lesions, int)
    chance = 0.995 * (1 - missed / lesions)  # in general, whose share of such lesions this is
    wrong, rounds = 0, 150
    for _ in range(rounds):
        hard = generator.random(lesions) < missed / lesions
        runs = []
        for seed in range(8):
            right = ~hard & (generator.random(lesions) < 0.995)
            logits = np.eye(2)[np.where(right, 0, 1)]
            part = Predictions(("a", "b"), names, names, labels, logits)
            runs.append(Outcome(seed, float(right.mean()), part))
        draws = resample({0: runs}, metric="recall.a", resamples=200)
        wrong += of_mean(draws, 0, Bound("recall.a", chance, True)).p <= 0.025
    assert wrong <= rounds * (0.025 + 3 * np.sqrt(0.025 * 0.975 / rounds))


def test_designs_at_the_bound_are_seldom_said_to_meet_it():
    # Whichever of the eight: in at most 0.025 of the studies, and some more by their chance.
    generator = np.random.default_rng(4)
    rounds, wrong = 400, 0
    for _ in range(rounds):
        values = generator.normal(0, 1, (8, 6))
        ended = {n: [Outcome(s, v) for s, v in enumerate(row)] for n, row in enumerate(values)}
        draws = resample(ended, metric="psnr", resamples=2)
        p = []
        for number in range(8):
            alone = [float(other == number) for other in range(8)]
            spare = Bound("psnr", 0.0, True).spare(values[number].mean())
            p.append(one_sided(draws, alone, 0.0, spare))
        wrong += min(holm(p)) <= 0.025
    assert wrong / rounds <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / rounds)
    assert wrong > 0
