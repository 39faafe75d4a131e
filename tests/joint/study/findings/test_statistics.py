import json

import numpy as np
import pytest
from scipy import stats

from joint.study import Outcome, adjusted, compare, estimate
from joint.study.findings.statistics import unpaired
from joint.study.significance import seeds_needed


def _runs(values, start=0):
    return [Outcome(start + i, value) for i, value in enumerate(values)]


BETTER = _runs([0.80, 0.82, 0.84, 0.81, 0.83, 0.85])
WORSE = _runs([0.70, 0.73, 0.72, 0.70, 0.74, 0.72])


def test_better_needs_a_plan_and_both_answers():
    found = compare(BETTER, WORSE, planned=True, name="lens")
    assert found.verdict == "better"
    assert compare(WORSE, BETTER, planned=True).verdict == "worse"
    assert found.p == 2 / 2**6
    assert found.difference == pytest.approx(0.1067, abs=1e-4)
    assert found.interval.low > 0
    verdict, difference, p = str(found).splitlines()
    assert verdict == "lens: balanced_accuracy 0.8250 against 0.7183: better"
    assert difference.startswith("  difference +0.1067, 95 % interval [+0.0")
    assert difference.endswith("] over seeds, from 6 pairs of runs")
    assert p.startswith("  p = 0.0312 of the sign-flip test, ")
    assert p.endswith(" of the interval")
    explored = compare(BETTER, WORSE)
    assert explored.verdict == "perhaps better: confirm it on fresh seeds"


def test_for_a_loss_less_is_better():
    assert compare(BETTER, WORSE, metric="loss", planned=True).verdict == "worse"
    assert compare(BETTER, WORSE, metric="ece", planned=True).verdict == "worse"
    assert compare(BETTER, WORSE, metric="psnr", planned=True).verdict == "better"


def test_a_difference_that_is_rounding_asks_for_no_lesions():
    """The same six numbers on other seeds: their differences sum up to 1e-17, and not to 0."""
    one, other = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.4, 0.3, 0.6, 0.5, 0.1, 0.2]
    found = compare(_runs(one), _runs(other), metric="accuracy")
    assert 0 < abs(found.difference) < 1e-16
    assert found.more_lesions is None
    assert adjusted([found])[0].more_lesions is None
    assert found.advice == "no number of seeds would show a difference like this"


def test_a_design_does_not_differ_from_itself():
    found = compare(BETTER, BETTER, planned=True)
    assert (found.difference, found.p, found.interval_p) == (0, 1, 1)
    assert found.verdict == "not shown"
    assert found.needed is None
    assert str(found).endswith("no number of seeds would show a difference like this")


def test_five_seeds_show_nothing_however_they_agree():
    found = compare(BETTER[:5], WORSE[:5], planned=True)
    assert found.interval.low > 0
    assert found.p == 2 / 2**5
    assert found.verdict == "not shown"
    assert str(found).endswith("a difference like this takes about 6 seeds")


def test_the_two_sides_mirror_each_other(world):
    first, second = world(
        np.random.default_rng(1), seeds=6, lesions=30, seed_spread=0.3, design_spread=0.5
    )
    ours, theirs = compare(first, second, resamples=200), compare(second, first, resamples=200)
    assert ours.difference == -theirs.difference
    assert ours.p == theirs.p
    assert ours.interval == pytest.approx((-theirs.interval.high, -theirs.interval.low))


@pytest.mark.parametrize(("seed_spread", "design_spread"), [(0.02, 1.0), (0.6, 0.05)])
def test_equal_designs_are_seldom_called_better(seed_spread, design_spread, world):
    generator = np.random.default_rng(11)
    rounds, claims, by_seeds = 200, 0, 0
    for _ in range(rounds):
        first, second = world(
            generator, seeds=8, lesions=30, seed_spread=seed_spread, design_spread=design_spread
        )
        found = compare(first, second, planned=True, resamples=100)
        claims += found.verdict in ("better", "worse")
        by_seeds += found.p <= 0.05
    assert claims / rounds <= 0.07
    if design_spread == 1.0:  # why the test over seeds alone is not enough
        assert by_seeds / rounds > 0.2


def test_agreeing_seeds_on_few_lesions_are_told_apart(outcome):
    labels, groups = np.arange(12) % 2, list("abcdefghijkl")

    def runs(*wrong):
        margins = np.ones(12)
        margins[list(wrong)] = -1
        return [outcome(seed, margins, labels, groups) for seed in range(8)]

    found = compare(runs(0), runs(1, 2, 3), planned=True, resamples=500)
    assert found.p == 2 / 2**8
    assert found.interval_p > 0.05
    assert found.verdict == "not shown"
    # Of endless seeds that agree: Student's t of 11 lesions, less one, on the variance of means
    # of six lesions a class, which falls as one over their number.
    margins = [np.isin(np.arange(0, 12, 2), wrong) for wrong in ((0,), (2,))]
    apart = [margins[0].astype(int) - margins[1], np.isin(np.arange(1, 12, 2), (1, 3)).astype(int)]
    variance = sum(np.var(each) / 6 for each in apart) / 4
    times = (stats.t.ppf(0.975, 10) / found.difference) ** 2 * variance
    assert found.more_lesions == pytest.approx(times, rel=0.2)  # 500 draws
    told = f"a difference like this needs more than {found.more_lesions:.2g} times as many"
    *_, advice, note = str(found).splitlines()
    assert advice == f"  the seeds agree, but there are too few lesions to test on: {told}"
    assert note.startswith("  class a")
    assert found.needed is None
    # Among others, too, the larger of both answers counts.
    (alone,) = adjusted([found])
    assert alone.adjusted_p == found.interval_p
    assert alone.verdict == "not shown"


def test_the_seeds_that_are_needed_show_it_on_these_lesions(outcome):
    # Lesions on which the second design is better, for good, and luck of each run on each lesion.
    labels, groups = np.arange(120) % 2, [str(i) for i in range(120)]
    generator = np.random.default_rng(1)

    def runs(margins, count):
        luck = generator.normal(0, 1, (count, 120))
        return [outcome(i, margins + luck[i], labels, groups) for i in range(count)]

    apart = generator.normal(0.16, 0.5, 120)
    first, second = 0.5 + apart, 0.5 - apart
    pilot = compare(runs(first, 40), runs(second, 40), resamples=400)
    seeds = pilot.needed
    assert seeds_needed(pilot.difference, pilot.spread) < seeds < 40  # the lesions take their share
    shown = {"needed": 0, "by the seeds": 0}
    for name, count in (("needed", seeds), ("by the seeds", 7)):
        for _ in range(40):
            found = compare(runs(first, count), runs(second, count), planned=True, resamples=200)
            shown[name] += found.verdict == "better"
    assert shown["needed"] >= 40 * 0.65
    assert shown["by the seeds"] < 40 * 0.7


def test_a_failed_run_scores_nothing():
    failed = [*BETTER[:5], Outcome(5, None)]
    found = compare(failed, WORSE, planned=True)
    assert found.pairs == 6
    assert found.failed == (1, 0)
    assert found.first == pytest.approx(np.mean([0.80, 0.82, 0.84, 0.81, 0.83, 0]))
    assert found.verdict == "not shown"
    assert "failed runs: 1 and 0, which score 0" in str(found)
    assert compare(BETTER, [*WORSE[:5], Outcome(5, None)], planned=True).failed == (0, 1)


def test_a_failed_run_with_predictions_elsewhere_counts_on_every_lesion(world):
    first, second = world(
        np.random.default_rng(1), seeds=6, lesions=30, seed_spread=0.1, design_spread=0.1
    )
    found = compare([*first[:5], Outcome(5, None)], second, resamples=100)
    assert found.unit == "seeds and lesions"
    values = [run.value for run in first[:5]] + [0.0]
    assert found.first == pytest.approx(np.mean(values))


def test_where_failure_has_no_score_it_still_wins_nothing():
    good = _runs([1.0, 1.1, 1.2, 1.1, 1.0, 1.2, None])
    bad = _runs([2.0, 2.2, 2.1, 2.3, 2.0, 2.2, 2.1])
    found = compare(good, bad, metric="loss", planned=True)
    assert (found.pairs, found.failed) == (6, (1, 0))
    assert found.adjusted_p < 0.05
    assert found.verdict == "not shown: the better one has runs that failed"
    # Failures of the other one do not help it.
    assert compare(bad, good, metric="loss", planned=True).verdict.startswith("not shown")
    worst = _runs([2.0, 2.2, 2.1, 2.3, 2.0, 2.2, None])
    found = compare(_runs([1.0, 1.1, 1.2, 1.1, 1.0, 1.2, 1]), worst, metric="loss", planned=True)
    assert found.verdict == "better"


def test_runs_that_have_not_ended_leave_it_open():
    found = compare(BETTER, WORSE, planned=True, seeds=range(8))
    assert (found.pairs, found.wanted, found.missing) == (6, 8, 2)
    assert found.verdict == "not shown: 2 of 8 pairs have not ended"
    nothing = compare([], [], planned=True, seeds=range(2), name="x")
    assert nothing.p == 1
    assert str(nothing) == "x: balanced_accuracy: not shown: 2 of 2 pairs have not ended"
    all_failed = compare(_runs([None]), _runs([None]), metric="loss", planned=True)
    assert all_failed.verdict == "not shown: all runs failed"


def test_planned_comparisons_share_their_error():
    near = _runs([0.80, 0.82, 0.84, 0.81, 0.83, 0.85])
    one = compare(BETTER, WORSE, planned=True)
    alone, *_ = adjusted([one])
    assert alone.verdict == "better"
    assert alone.adjusted_p == one.p
    three = adjusted([one, compare(BETTER, near, planned=True), one])
    assert three[0].adjusted_p == pytest.approx(3 * one.p)
    assert three[0].verdict == "not shown"
    assert "\n  p = 0.0312 of the sign-flip test, " in str(three[0])
    assert " of the interval; 0.0938 after Holm's adjustment\n" in str(three[0])
    assert "Holm" not in str(alone)


def test_the_seeds_that_are_needed_are_those_among_all_comparisons():
    one = compare(BETTER, WORSE, planned=True)
    differences = [a.value - b.value for a, b in zip(BETTER, WORSE, strict=True)]
    assert one.spread == pytest.approx(np.std(differences, ddof=1))
    assert one.needed == 6
    # With three, the smallest p must reach 0.05 / 3: seeds_for_claim.
    assert [contrast.needed for contrast in adjusted([one] * 3)] == [7] * 3
    noisy = compare(_runs([0.0, 1.0, 0.2, 0.9]), _runs([0.1, 0.2, 0.3, 0.1]), planned=True)
    (first, *_) = adjusted([noisy] * 4)
    assert noisy.needed < first.needed
    assert first.needed == seeds_needed(noisy.difference, noisy.spread, alpha=0.05 / 4)
    (open_one,) = adjusted([compare(BETTER[:1], WORSE[:1], planned=True)])
    assert (open_one.spread, open_one.needed) == (None, None)


def test_estimate_counts_failures():
    found = estimate([*BETTER[:3], Outcome(9, None)], metric="accuracy")
    assert found.mean == pytest.approx((0.80 + 0.82 + 0.84) / 4)
    assert (found.count, found.failed) == (4, 1)
    losses = estimate(_runs([1.0, None, 2.0]), metric="loss")
    assert (losses.mean, losses.count, losses.failed) == (1.5, 3, 1)
    assert estimate([]).mean is None


def test_a_contrast_is_json():
    content = json.loads(json.dumps(compare(BETTER, WORSE, planned=True).to_dict()))
    assert content["verdict"] == "better"
    assert content["failed"] == [0, 0]


def test_bad_input():
    runs = [Outcome(0, 0.5), Outcome(1, 0.6)]
    with pytest.raises(ValueError, match=r"the planned seeds must differ: \[0, 1, 1\]"):
        compare(runs, runs, seeds=[0, 1, 1])
    with pytest.raises(ValueError, match=r"level in \(0, 1\)"):
        compare(runs, runs, alpha=2)
    with pytest.raises(ValueError, match="seed 0 occurs twice in one design"):
        compare([BETTER[0], BETTER[0]], WORSE)
    with pytest.raises(ValueError, match="metric 'skill' is unknown; use one of accuracy"):
        compare(BETTER, WORSE, metric="skill")
    with pytest.raises(ValueError, match="metric 'skill' is unknown"):
        estimate(BETTER, metric="skill")


def test_mcnemar_is_told_of_each_seed_and_decides_nothing(outcome):
    labels = np.arange(40) % 2
    groups = [str(i) for i in range(40)]
    right, wrong = np.ones(40), np.ones(40)
    wrong[:12] = -1
    good = [outcome(seed, right, labels, groups) for seed in range(3)]
    bad = [outcome(seed, wrong, labels, groups) for seed in range(3)]
    found = compare(good, [*bad[:2], Outcome(2, None)], resamples=100)
    # Twelve disagreements, all on one side; a run that failed has no pictures.
    assert found.mcnemar == pytest.approx((2 * 0.5**12,) * 2)
    assert found.verdict == "not shown"  # three seeds
    assert "McNemar's test, for information only: the two runs differ in 2 of 2 pairs" in str(found)
    assert len(found.to_dict()["mcnemar"]) == 2
    assert compare(good, good, resamples=100).mcnemar == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "loss", "psnr"])
def test_runs_on_different_pictures_are_no_pairs_of_any_metric(outcome, metric):
    labels = np.arange(10) % 2
    first, second = (
        [outcome(seed, np.ones(count), labels[:count], "abcdefghij"[:count]) for seed in range(6)]
        for count in (10, 8)
    )
    with pytest.raises(ValueError, match=r"tested on different pictures \(10 and 8"):
        compare(first, second, metric=metric)
    told = unpaired(
        first, second, metric=metric, name="more", seeds=range(6), planned=True, alpha=0.05
    )
    assert told.verdict == "not shown: tested on different pictures"
    assert str(told) == f"more: {metric}: not shown: tested on different pictures"
    assert (told.first, told.second, told.difference) == (1, 1, None)
    assert (told.pairs, told.missing, told.advice, told.adjusted_p) == (6, 0, "", 1)


def test_where_all_runs_of_one_side_failed_there_is_no_pair():
    failed, some = _runs([None] * 6), _runs([*[1.0] * 5, None])
    for first, second, side in ((failed, some, "first"), (some, failed, "second")):
        found = compare(first, second, metric="loss", planned=True, name="x")
        assert (found.pairs, found.missing) == (0, 0)
        assert str(found) == f"x: loss: not shown: all runs of the {side} failed"
    # Each failed on seeds of its own; and one that has not ended may still come to something.
    apart = compare(_runs([None, 1.0]), _runs([1.0, None]), metric="loss", planned=True)
    assert apart.verdict == "not shown: there are too few pairs"
    waits = compare(failed, some, metric="loss", planned=True, seeds=range(7))
    assert waits.verdict == "not shown: 1 of 7 pairs have not ended"
    assert compare([], [], metric="loss").verdict == "not shown: there are too few pairs"
    # What counts as 0 is a number, but what was killed says nothing of its design.
    told = compare(failed, BETTER, planned=True, name="x")
    assert (told.first, told.pairs, told.advice) == (0, 6, "")
    assert told.verdict == "not shown: all runs of the first failed"
    one = _runs([None] * 5 + [0.2])
    assert compare(one, BETTER, planned=True).verdict == "worse"


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_where_all_runs_failed_no_seeds_are_advised(metric):
    found = compare(_runs([None] * 6), _runs([None] * 6), metric=metric, planned=True, name="x")
    assert found.verdict == "not shown: all runs failed"
    assert found.advice == ""
    assert "number of seeds" not in str(found)
    assert str(found).splitlines()[0].endswith("not shown: all runs failed")


@pytest.mark.parametrize("metric", ["mcc", "cohen_kappa"])
def test_failed_runs_do_not_win_where_chance_is_zero(metric):
    works = [Outcome(seed, -0.05 - 0.01 * seed) for seed in range(6)]
    fails = [Outcome(seed, None) for seed in range(6)]
    found = compare(works, fails, metric=metric, planned=True)
    assert found.pairs == 0
    assert found.verdict not in ("better", "worse")
    assert estimate(fails, metric=metric).mean is None
