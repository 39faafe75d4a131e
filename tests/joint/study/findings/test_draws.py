import numpy as np
import pytest

from joint.study import Outcome, compare, estimate
from joint.study.findings.draws import resample


@pytest.fixture(scope="module")
def runs(world):
    """Two designs on six seeds."""
    generator = np.random.default_rng(3)
    first, second = world(generator, seeds=6, lesions=40, seed_spread=0.3, design_spread=0.4)
    return {4: first, 7: second}


def test_a_design_by_itself_is_its_estimate(runs):
    draws = resample(runs, metric="balanced_accuracy", resamples=300)
    assert draws.designs == (4, 7)
    assert draws.drawn.shape == (300, 2)
    # The same draws, in the same order.
    alone = resample({4: runs[4]}, metric="balanced_accuracy", resamples=300)
    wanted = estimate(runs[4], resamples=300)
    assert alone.of(4).mean == pytest.approx(wanted.mean)
    assert alone.of(4).interval == pytest.approx(wanted.interval)
    assert alone.unit == wanted.unit == "seeds and lesions"
    assert draws.of(4).mean == pytest.approx(wanted.mean)


def test_a_difference_is_that_of_the_comparison(runs):
    draws = resample(runs, metric="balanced_accuracy", resamples=300)
    wanted = compare(runs[4], runs[7], resamples=300)
    found = draws.infer([1, -1])
    assert found.mean == pytest.approx(wanted.difference)
    assert found.interval == pytest.approx(wanted.interval)
    assert found.p == pytest.approx(wanted.interval_p)


def test_luck_that_designs_share_cancels():
    generator = np.random.default_rng(0)
    shared = generator.normal(0, 1, 6)
    ended = {
        design: [Outcome(seed, 5 + design + shared[seed]) for seed in range(6)] for design in (0, 1)
    }
    draws = resample(ended, metric="loss")
    assert draws.unit == "seeds"
    wide = draws.of(0).interval
    assert wide.high - wide.low > 0.5
    apart = draws.infer([-1, 1])
    assert apart.interval == pytest.approx((1, 1))
    assert apart.p == pytest.approx(0)


def test_failed_runs_count_where_they_have_a_score(runs):
    failed = {4: [Outcome(0, None), *runs[4][1:]], 7: runs[7]}
    draws = resample(failed, metric="balanced_accuracy", resamples=100)
    assert draws.values[0, 0] == 0
    assert draws.means[0] == pytest.approx(np.mean([0, *(run.value for run in runs[4][1:])]))
    assert draws.drawn[:, 0].max() < draws.drawn[:, 1].max()
    ended = {0: [Outcome(0, None), Outcome(1, 2.0)], 1: [Outcome(0, None)]}
    loss = resample(ended, metric="loss", resamples=100)
    assert (loss.designs, loss.left_out) == ((0,), (1,))
    assert loss.means.tolist() == [2.0]
    assert loss.of(0).interval is None  # one number is no spread


def test_seeds_that_are_missing_are_left_out_of_a_mean():
    ended = {0: [Outcome(s, float(s)) for s in range(4)], 1: [Outcome(s, 9.0) for s in (0, 1, 2)]}
    draws = resample(ended, metric="loss", resamples=2000)
    assert draws.means.tolist() == [1.5, 9.0]
    assert np.isnan(draws.values[1, 3])
    there = draws.drawn[np.isfinite(draws.drawn[:, 1]), 1]
    assert set(there) == {9.0}
    # All three draws are of the seed that the second design lacks.
    assert np.isnan(draws.drawn[:, 1]).mean() == pytest.approx(4**-3, abs=0.01)
    assert draws.infer([1, -1]).interval is not None


def test_another_number_is_drawn_on_the_same_seeds():
    ended = {0: [Outcome(s, float(s)) for s in range(5)]}
    draws = resample(ended, metric="loss", resamples=50)
    means, drawn = draws.along(2 * draws.values)
    assert means == pytest.approx(2 * draws.means)
    assert drawn == pytest.approx(2 * draws.drawn)


def test_designs_on_different_pictures_are_judged_over_seeds(runs, outcome):
    labels = np.arange(10) % 2
    other = [outcome(s, np.ones(10), labels, [str(i) for i in range(10)]) for s in range(6)]
    draws = resample({0: runs[4], 1: other}, metric="balanced_accuracy", resamples=50)
    assert draws.unit == "seeds"
    assert "tested on different pictures" in draws.note
    bare = [Outcome(run.seed, run.value) for run in runs[4]]
    draws = resample({0: runs[4], 1: bare}, metric="balanced_accuracy", resamples=50)
    assert "kept no predictions" in draws.note


def test_a_share_stays_within_what_can_be(outcome):
    labels = np.arange(8) % 2
    groups = [str(i) for i in range(8)]
    wrong = np.ones(8)
    wrong[0] = -1
    few = [outcome(0, np.ones(8), labels, groups), outcome(1, wrong, labels, groups)]
    interval = resample({0: few}, metric="balanced_accuracy", resamples=100).of(0).interval
    assert 0 <= interval.low < interval.high == 1


def test_one_seed_gives_no_draws():
    draws = resample({0: [Outcome(0, 1.0)]}, metric="loss")
    assert len(draws.drawn) == 0
    assert draws.of(0).interval is None
    assert len(resample({}, metric="loss").drawn) == 0
    with pytest.raises(ValueError, match="metric 'skill' is unknown"):
        resample({}, metric="skill")


def test_what_cannot_be_asked_of_draws():
    runs = [Outcome(0, 0.5), Outcome(1, 0.6)]
    with pytest.raises(ValueError, match="seed 0 occurs twice"):
        resample({0: [runs[0], runs[0]]}, metric="loss")
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        resample({0: runs}, metric="loss", resamples=0)
    draws = resample({0: runs, 4: runs}, metric="loss", resamples=50)
    with pytest.raises(ValueError, match="design 1 has no loss; designs that have it are 0, 4"):
        draws.of(1)
    with pytest.raises(ValueError, match="one weight for each of 2 designs"):
        draws.infer([1])
    with pytest.raises(ValueError, match=r"level in \(0, 1\)"):
        draws.infer([1, -1], level=95)


@pytest.mark.parametrize(("own", "planned"), [(2, 6), (3, 6), (5, 6), (3, 12)])
def test_a_design_with_some_of_the_seeds_is_judged_by_these(own, planned):
    """One fewer than all seeds is drawn: of a design with two of six that is too many."""
    values = np.random.default_rng(1).normal(1, 0.1, planned)
    whole = [Outcome(seed, value) for seed, value in enumerate(values)]
    part = [*whole[:own], *(Outcome(seed, None) for seed in range(own, planned))]
    draws = resample({0: whole, 1: part}, metric="loss", resamples=500)
    assert draws.of(1).interval == pytest.approx(estimate(part, metric="loss").interval)
    # What is drawn is near to what can be told.
    assert draws.of(0).interval == pytest.approx(estimate(whole, metric="loss").interval, abs=0.02)


def test_a_design_with_some_of_the_seeds_is_judged_by_its_lesions_too(runs):
    some = {4: runs[4][4:], 7: runs[7]}
    found = resample(some, metric="balanced_accuracy", resamples=2000).of(4).interval
    wanted = estimate(runs[4][4:], resamples=2000).interval
    assert found == pytest.approx(wanted, abs=0.02)
