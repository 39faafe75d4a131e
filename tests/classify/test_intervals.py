import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch

import classify
from classify.intervals import (
    halves,
    mean_interval,
    membership,
    percentile_interval,
    resampled,
    typical_interval,
    typical_p,
    wilson_intervals,
    with_width,
)


def test_both_ends_are_written_in_the_form_of_one():
    interval = classify.Interval(-0.1234, math.inf)
    assert f"{interval:+.3f}" == "[-0.123, +inf]"
    assert f"{interval:7.2f}" == "[  -0.12,     inf]"
    assert f"{interval}" == str(interval) == "Interval(low=-0.1234, high=inf)"
    with pytest.raises(ValueError, match="format"):
        format(interval, "nonsense")


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


def test_intervals_of_lesions_cover_where_those_of_pictures_do_not():
    random = np.random.default_rng(0)
    groups = [f"lesion{i // 4}" for i in range(240)]
    covered = {"lesions": 0, "pictures": 0}
    trials = 300
    for trial in range(trials):
        # The four pictures of a lesion mostly share their fate; the rate over all is 0.7.
        shared = np.repeat(random.random(60) < 0.7, 4)
        hits = np.where(random.random(240) < 0.7, shared, random.random(240) < 0.7)
        for name, given in (("lesions", groups), ("pictures", None)):
            low, high = classify.bootstrap(
                lambda i, h=hits: h[i].mean(), 240, groups=given, resamples=200, seed=trial
            )
            covered[name] += low <= 0.7 <= high
    assert 0.91 <= covered["lesions"] / trials <= 0.98
    assert covered["pictures"] / trials < 0.88


def test_it_is_the_percentile_bootstrap_of_scipy():
    values = np.random.default_rng(0).exponential(size=60)
    ours = classify.bootstrap(lambda i: values[i].mean(), 60, resamples=20000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.01)


def test_randomness_comes_from_the_generator():
    values = np.random.default_rng(0).normal(size=50)
    before = torch.get_rng_state()

    def interval(**options):
        return classify.bootstrap(lambda i: values[i].mean(), 50, resamples=40, **options)

    first, again = (interval(generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert first == again == interval(seed=3)
    assert first != interval(seed=4)
    generator = torch.Generator().manual_seed(3)
    assert interval(generator=generator) != interval(generator=generator)  # it moves on
    assert torch.equal(torch.get_rng_state(), before)


def test_lesions_are_drawn_whole():
    member = membership(["b", "a", "b", "c"], 4)
    np.testing.assert_array_equal(member, [1, 0, 1, 2])
    weights = np.concatenate(list(resampled(member, 4000, torch.Generator().manual_seed(0))))
    assert weights.shape == (4000, 4)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(1), 3)  # as many as there are
    np.testing.assert_allclose(weights.mean(0), 1, atol=5 * (2 / 3 / 4000) ** 0.5)
    # So many groups that not every half of them is looked at.
    member = np.array([0, 1, 0, *range(2, 20)])
    coins = np.concatenate(list(halves(member, 4000, torch.Generator().manual_seed(0))))
    np.testing.assert_array_equal(coins[:, 0], coins[:, 2])
    assert set(coins.ravel()) == {0, 1}
    np.testing.assert_allclose(coins.mean(0), 0.5, atol=5 * (0.25 / 4000) ** 0.5)


def test_many_rows_come_in_chunks():
    sizes = [len(w) for w in resampled(np.arange(300_000), 7, torch.Generator().manual_seed(0))]
    assert sizes == [3, 3, 1]


def test_a_statistic_that_does_not_always_exist():
    draws = np.array([np.nan, 1.0, 2.0, np.nan, 3.0])
    assert percentile_interval(draws, 0.5) == (1.5, 2.5)
    nothing = classify.bootstrap(lambda i: np.nan, 3, resamples=5)
    assert np.isnan(nothing).all()


def test_nothing_cannot_be_resampled():
    with pytest.raises(ValueError, match="there is nothing to resample: 0 rows"):
        classify.bootstrap(lambda i: 0.0, 0)
    for level in (0, 1):
        with pytest.raises(ValueError, match=r"level in \(0, 1\), not 1000 and"):
            classify.bootstrap(lambda i: 0.0, 3, level=level)


@pytest.mark.parametrize("name", [None, "", " ", float("nan"), np.float32("nan")])
def test_a_lesion_without_a_name_is_refused(name):
    with pytest.raises(ValueError, match=r"1 groups have no name, the first is .* in row 1: name"):
        classify.bootstrap(lambda i: 0.0, 3, groups=["a", name, "b"])
    with pytest.raises(ValueError, match="give each picture of an unknown lesion a unique name"):
        membership([name, name], 2)


def test_a_lesion_alone_has_no_interval():
    with pytest.raises(ValueError, match="an interval needs at least 2 lesions, got 1; give pict"):
        classify.bootstrap(lambda i: 0.0, 3, groups=["a", "a", "a"])
    with pytest.raises(ValueError, match="an interval needs at least 2 pictures, got 1"):
        classify.bootstrap(lambda i: 0.0, 1)
    assert classify.bootstrap(lambda i: 0.0, 3, groups=["a", "a", "b"]) == (0, 0)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_wilsons_intervals_are_those_of_scipy(level):
    right, count = np.array([0, 1, 3, 7, 10, 999]), np.array([1, 1, 10, 10, 10, 1000])
    expected = [
        tuple(scipy.stats.binomtest(k, n).proportion_ci(level, method="wilson"))
        for k, n in zip(right.tolist(), count.tolist(), strict=True)
    ]
    found = wilson_intervals(right / count, count, level=level)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_what_is_all_wrong_or_all_right_ends_at_0_and_1():
    counts = np.arange(1, 500)
    low, high = (wilson_intervals(np.full(499, share), counts) for share in (0.0, 1.0))
    assert (low[:, 0] == 0).all()  # as a rounding is not
    assert (high[:, 1] == 1).all()


def test_rankings_of_few_pairs_reach_as_far_as_wilsons():
    ends, shares = np.array([[0.8, 0.9]] * 3), np.full(3, 0.85)
    found = with_width(ends, shares, np.array([4, 5, 60]), level=0.95, ranked=True)
    np.testing.assert_allclose(found[0], wilson_intervals(np.array(0.85), np.array(4)))
    np.testing.assert_array_equal(found[1:], ends[1:])


def test_a_mistake_does_not_better_an_end():
    # 60 pictures of 12 lesions: one wrong, none, and the same the other way round; then many.
    ends = np.array([[0.95, 1.0], [1.0, 1.0], [0.0, 0.05], [0.0, 0.0], [0.3, 0.6]])
    shares = np.array([59 / 60, 1.0, 1 / 60, 0.0, 0.45])
    found = with_width(ends, shares, np.full(5, 12), level=0.95)
    low = scipy.stats.binomtest(12, 12).proportion_ci(method="wilson").low
    expected = [[low, 1], [low, 1], [0, 1 - low], [0, 1 - low], [0.3, 0.6]]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    ranked = with_width(ends, shares, np.full(5, 12), level=0.95, ranked=True)
    agree = [1, 3]
    np.testing.assert_allclose(ranked[agree], found[agree])
    np.testing.assert_array_equal(np.delete(ranked, agree, 0), np.delete(ends, agree, 0))
    assert np.isnan(
        with_width(np.full((1, 2), np.nan), shares[:1], np.full(1, 12), level=0.9)
    ).all()


def test_of_nothing_there_is_no_wilson_interval():
    assert np.isnan(wilson_intervals(np.array([np.nan, np.nan]), np.array([0, 0]))).all()


def test_a_number_and_its_digits_are_one_name():
    numbers = np.arange(40) // 2
    found = [membership(groups, 40).tolist() for groups in (numbers, numbers.astype(str))]
    assert found[0] == found[1]


def test_rows_are_counted():
    with pytest.raises(ValueError, match=r"count must be a whole number of rows, not 2.5"):
        classify.bootstrap(len, 2.5)  # pyright: ignore[reportArgumentType]


def _wilson(right, count):
    interval = scipy.stats.binomtest(right, count).proportion_ci(method="wilson")
    return [interval.low, interval.high]


def test_a_mean_over_classes_has_their_intervals_as_vectors():
    # Newcombe's way for a difference of two shares, as Zou and Donner give it for a sum.
    shares, ends = np.array([3 / 3, 20 / 30]), np.array([_wilson(3, 3), _wilson(20, 30)])
    apart = np.tile([[1.0, 0.6], [1.0, 0.7], [1.0, 0.8]], (2, 1))
    low, high = mean_interval(shares, ends, apart)
    below, above = (shares - ends[:, 0]) / 2, (ends[:, 1] - shares) / 2
    assert low == pytest.approx(shares.mean() - np.hypot(*below))
    assert high == pytest.approx(shares.mean() + np.hypot(*above))


def test_classes_that_vary_together_have_the_mean_of_their_ends():
    ends = np.array([[0.5, 0.9], [0.2, 0.7], [np.nan, np.nan]])
    moving = np.linspace(0, 1, 9)
    draws = np.stack([0.6 + 0.1 * moving, 0.5 + 0.2 * moving, np.full(9, np.nan)], 1)
    draws[3] = np.nan  # a resample without either class
    values = np.array([0.8, 0.5, 0.0])
    low, high = mean_interval(values, ends, draws)
    assert low == pytest.approx((0.5 + 0.2 + 0.0) / 3)
    assert high == pytest.approx((0.9 + 0.7 + 0.0) / 3)
    draws[:, 1] = 1 - draws[:, 1]  # and against each other, the difference of the distances
    low, high = mean_interval(values, ends, draws)
    assert low == pytest.approx(values.mean() - (0.3 - 0.3) / 3, abs=1e-6)
    assert high == pytest.approx(values.mean() + (0.2 - 0.1) / 3, abs=1e-6)


def test_no_interval_of_a_class_is_none_of_the_mean():
    assert np.isnan(mean_interval(np.ones(2), np.full((2, 2), np.nan), np.ones((4, 2)))).all()


@pytest.mark.parametrize("few", [2, 3, 5])
@pytest.mark.parametrize("recall", [0.3, 0.6, 0.9, 0.97])
def test_the_interval_of_a_mean_covers_it_where_one_class_has_few_lesions(few, recall):
    # Exactly: every outcome, with its probability.
    often, many = 0.8, 30
    of_many = scipy.stats.binom.pmf(range(many + 1), many, often)
    covered = 0.0
    for right, of in itertools.product(range(few + 1), range(many + 1)):
        shares = np.array([right / few, of / many])
        ends = np.array([_wilson(right, few), _wilson(of, many)])
        low, high = mean_interval(shares, ends, np.tile(shares, (3, 1)))
        if low <= (recall + often) / 2 <= high:
            covered += scipy.stats.binom.pmf(right, few, recall) * of_many[of]
    assert covered > 0.9


def test_few_groups_are_halved_in_every_way():
    member = np.array([0, 1, 1, 2])
    every = np.concatenate(list(halves(member, 7, torch.Generator())))
    assert sorted(map(tuple, every)) == sorted(
        (a, b, b, c) for a, b, c in itertools.product([0.0, 1.0], repeat=3) if a + b + c
    )
    drawn = np.concatenate(list(halves(member, 6, torch.Generator().manual_seed(0))))
    assert len(drawn) <= 6
    assert drawn.any(1).all()


def test_a_half_holds_each_group_by_a_coin(monkeypatch):
    member = np.arange(4000) // 2
    generator = torch.Generator().manual_seed(0)
    drawn = np.concatenate(list(halves(member, 300, generator)))
    assert (drawn[:, ::2] == drawn[:, 1::2]).all()
    assert drawn.mean() == pytest.approx(0.5, abs=0.005)
    assert len(np.unique(drawn, axis=0)) == 300
    few = np.arange(8) % 5
    whole = np.concatenate(list(halves(few, 31, generator)))
    monkeypatch.setattr("classify.intervals._CELLS", 16)
    assert np.array_equal(np.concatenate(list(halves(few, 31, generator))), whole)


def test_typical_values_cut_the_line_into_equal_parts():
    # Of three values, the seven means of some of them make eight parts.
    values = np.array([0.3, -1.0, 2.0])
    means = np.array(
        [
            np.mean(values[list(which)])
            for which in ([0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2])
        ]
    )
    for level, beyond in ((0.75, 1), (0.5, 2), (0.25, 3)):
        ordered = np.sort(means)
        assert typical_interval(means, level) == (ordered[beyond - 1], ordered[-beyond])
    assert typical_interval(means, 0.76) == (-np.inf, np.inf)
    flips = np.array(list(itertools.product([-1, 1], repeat=3)))
    assert typical_p(means) == (np.abs(flips @ values) >= abs(values.sum())).mean()


@pytest.mark.parametrize("level", [0.5, 0.75])
def test_a_draw_that_is_no_number_may_be_any(level):
    draws = np.random.default_rng(3).normal(0.4, 1, 13)
    lacking = draws.copy()
    lacking[[2, 9]] = np.nan
    found = []
    for pair in itertools.product([-np.inf, 0.0, np.inf], repeat=2):
        draws[[2, 9]] = pair
        found.append((*typical_interval(draws, level), typical_p(draws)))
    low, high, p = np.array(found).T
    assert typical_interval(lacking, level) == (low.min(), high.max())
    assert typical_p(lacking) == p.max()
    nothing = np.full(13, np.nan)
    assert typical_interval(nothing, level) == (-np.inf, np.inf)
    assert typical_p(nothing) == 1


def test_whole_parts_are_whole_but_for_rounding():
    # A twentieth of 1000 parts is 50, and in floating point 49.99999999999999.
    assert (1 - 0.9) / 2 * 1000 < 50
    assert typical_interval(np.arange(999.0), 0.9) == (49, 949)


def test_typical_values_hold_the_mean_as_often_as_they_say():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        values = random.laplace(size=7) + 1
        draws = np.concatenate(list(halves(np.arange(7), 127, torch.Generator())))
        low, high = typical_interval(draws @ values / draws.sum(1), 0.9375)  # 4 of 128 parts out
        covered += low <= 1 <= high
    assert covered / 1000 == pytest.approx(0.9375, abs=4 * (0.9375 * 0.0625 / 1000) ** 0.5)
