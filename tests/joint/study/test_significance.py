import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from joint.study import (
    expected_maximum,
    holm,
    seeds_for_claim,
    seeds_needed,
    sign_flip_test,
    significance,
    smallest_p,
)

whole = st.lists(st.integers(-4, 4), min_size=1, max_size=8)


@given(values=whole)
def test_sign_flips_agree_with_brute_force(values):
    sums = [abs(np.dot(s, values)) for s in itertools.product((-1, 1), repeat=len(values))]
    expected = np.mean([total >= abs(sum(values)) for total in sums])
    assert sign_flip_test(values) == expected


# In sixty-fourths, so that sums are exact: what counts as a tie is each one's own choice otherwise.
fractions = st.integers(-192, 192).map(lambda sixty_fourths: sixty_fourths / 64)


@settings(deadline=None, max_examples=25)
@given(values=st.lists(fractions, min_size=2, max_size=9))
def test_sign_flips_agree_with_scipy(values):
    theirs = stats.permutation_test(
        (np.array(values),), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(values) == pytest.approx(theirs.pvalue)


@settings(deadline=None)
@given(percents=st.lists(st.integers(-99, 99), min_size=1, max_size=8))
def test_dealings_that_are_as_far_but_for_rounding_count(percents):
    # Hundredths have no exact sums; those of fractions are.
    exact = [Fraction(percent, 100) for percent in percents]
    dealt = itertools.product((-1, 1), repeat=len(exact))
    sums = [abs(sum(s * v for s, v in zip(signs, exact, strict=True))) for signs in dealt]
    expected = np.mean([total >= abs(sum(exact)) for total in sums])
    assert sign_flip_test([percent / 100 for percent in percents]) == expected


@given(values=whole)
def test_the_test_has_no_side(values):
    assert sign_flip_test(values) == sign_flip_test([-v for v in values])
    assert sign_flip_test(values) == sign_flip_test(values[::-1])
    assert smallest_p(len(values)) <= sign_flip_test(values) <= 1


def test_no_difference_is_no_evidence():
    assert sign_flip_test([0.0] * 6) == 1


@pytest.mark.parametrize("seeds", [1, 3, 5, 6, 8])
def test_the_smallest_p_is_that_of_equal_signs(seeds):
    assert sign_flip_test(np.arange(1, seeds + 1)) == smallest_p(seeds)


def test_ten_differences_of_a_tenth_are_all_of_one_sign():
    # Added one by one they are less than 1, and 1 in the order in which numpy adds them.
    assert sign_flip_test([0.1] * 10) == smallest_p(10) == 2**-9


def test_the_smallest_p_of_six_seeds():
    assert [smallest_p(n) for n in (3, 5, 6)] == [0.25, 0.0625, 0.03125]
    assert [seeds_for_claim(0.05, m) for m in (1, 2, 3, 24)] == [6, 7, 7, 10]


@given(alpha=st.floats(1e-4, 0.4), comparisons=st.integers(1, 50))
def test_fewer_seeds_can_show_nothing(alpha, comparisons):
    needed = seeds_for_claim(alpha, comparisons)
    assert comparisons * smallest_p(needed) <= alpha * (1 + 1e-12)
    assert comparisons * smallest_p(needed - 1) > alpha * (1 - 1e-12)


def test_many_seeds_are_sampled():
    values = np.random.default_rng(0).normal(0.4, 1, 30)
    found = sign_flip_test(values, generator=torch.Generator().manual_seed(1))
    near = stats.ttest_1samp(values, 0).pvalue
    assert 0 < found < 1
    assert found == pytest.approx(near, abs=0.01)
    # No finite number of dealings shows that chance never does it.
    assert sign_flip_test(np.ones(60), resamples=99) == 0.01


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [[1.0]]])
def test_differences_must_be_numbers(values):
    with pytest.raises(ValueError, match="a test needs finite differences"):
        sign_flip_test(values)


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_of_bonferroni(values):
    # Marcus, Peritz and Gabriel (1976): the p of a claim is the largest of all intersections.
    indices = range(len(values))
    sets = [s for r in indices for s in itertools.combinations(indices, r + 1)]
    expected = [
        max(min(1, len(s) * min(values[j] for j in s)) for s in sets if i in s) for i in indices
    ]
    assert holm(values) == pytest.approx(expected)


def test_holm_of_nothing():
    assert holm([]) == ()


@pytest.mark.parametrize("count", [1, 2, 3, 24, 48, 500])
def test_the_best_of_equal_designs_by_scipy(count):
    law = stats.order_statistic(stats.Normal(), r=count, n=count)
    assert expected_maximum(count) == pytest.approx(law.mean(), abs=1e-6)


def test_the_best_of_equal_designs_in_closed_form():
    assert expected_maximum(2) == pytest.approx(1 / math.sqrt(math.pi))
    assert expected_maximum(3) == pytest.approx(1.5 / math.sqrt(math.pi))
    for count in (0, 2.5):  # of which the integral is a number all the same
        with pytest.raises(ValueError, match=f"count must be a whole number .* not {count}"):
            expected_maximum(count)


@pytest.mark.parametrize(("effect", "spread"), [(1, 1), (1, 0.4**0.5), (0.02, 0.05), (-1, 2)])
def test_the_seeds_needed_reach_the_power(effect, spread):
    needed = seeds_needed(effect, spread)
    draws = np.random.default_rng(1).normal(effect, spread, (40_000, needed))

    def power(count):
        if count < 10:
            return np.mean([sign_flip_test(row) <= 0.05 for row in draws[:2000, :count]])
        return (stats.ttest_1samp(draws[:, :count], 0, axis=1).pvalue <= 0.05).mean()

    assert power(needed) > 0.78
    assert needed == 6 or power(needed - 1) < 0.82


@pytest.mark.parametrize(("shift", "needed"), [(1.5, 7), (1.75, 7), (2.0, 6)])
def test_where_signs_must_be_equal_the_power_is_that_of_equal_signs(shift, needed):
    """By the t-test six seeds showed 1.5 with 80 %: all six have one sign in 0.66."""
    assert (stats.norm.cdf(shift) ** 6 >= 0.8) == (needed == 6)
    assert seeds_needed(shift, 1) == needed
    assert seeds_needed(shift, 1, power=0.65 if needed > 6 else 0.8) == 6


def test_the_power_of_signs_in_parts_is_the_same(monkeypatch):
    """At a level of 0.05 / 66 it took 1.3 GB at once."""
    power = significance._power_of_signs
    wanted = [power(1.5, count, 0.05) for count in (7, 8)]
    monkeypatch.setattr("joint.study.significance._CELLS", 1000)
    assert [power.__wrapped__(1.5, count, 0.05) for count in (7, 8)] == wanted
    assert 0 < wanted[0] < wanted[1] < 1


def test_seeds_needed_at_the_ends():
    assert seeds_needed(1, 1) == 10  # equal to the standard deviation of the differences
    assert seeds_needed(1, 1, power=0.9) > 10
    assert seeds_needed(1, 0) == seeds_needed(9, 1) == 6
    assert seeds_needed(0, 1) is None
    assert seeds_needed(1e-4, 1) is None


def test_signs_drawn_in_parts_are_the_same_signs(monkeypatch):
    values = np.random.default_rng(0).normal(0.2, 1, 30)
    coins = torch.randint(2, (999, 30), generator=torch.Generator().manual_seed(0)).numpy()
    far = (np.abs((2 * coins - 1) @ values) >= abs(values.sum())).sum()
    monkeypatch.setattr("joint.study.significance._CELLS", 100)
    assert sign_flip_test(values, resamples=999) == (1 + far) / 1000


@pytest.mark.parametrize("ratio", [1e2, 1e7, 1e8, 1e16, 1e300])
def test_differences_that_agree_but_for_rounding_need_the_fewest_seeds(ratio):
    assert seeds_needed(ratio, 1) == seeds_needed(1, 1 / ratio) == seeds_needed(1, 0)


@pytest.mark.parametrize("law", ["normal", "laplace", "skewed"])
def test_the_sign_flip_test_errs_as_often_as_it_says(law):
    generator = np.random.default_rng(5)
    # Of two equal designs the differences are symmetric, whatever each is like.
    one, other = (
        {
            "normal": lambda: generator.normal(size=(3000, 8)),
            "laplace": lambda: generator.laplace(size=(3000, 8)),
            "skewed": lambda: generator.exponential(size=(3000, 8)),
        }[law]()
        for _ in range(2)
    )
    wrong = np.mean([sign_flip_test(row) <= 0.05 for row in one - other])
    assert 0.025 < wrong <= 0.07


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda: sign_flip_test(np.ones(30), resamples=0), "resamples must be at least 1"),
        (lambda: smallest_p(0), "seeds must be a whole number of at least 1, not 0"),
        (lambda: smallest_p(2.5), "seeds must be a whole number of at least 1, not 2.5"),
        (lambda: seeds_for_claim(0), r"alpha is a share in \(0, 1\), not 0"),
        (lambda: seeds_for_claim(math.nan), r"alpha is a share in \(0, 1\), not nan"),
        (lambda: seeds_for_claim(comparisons=0), "comparisons must be a whole number .* not 0"),
        (lambda: seeds_for_claim(comparisons=1.5), "comparisons must be a whole .* not 1.5"),
        (lambda: holm([0.1, math.nan]), "a p-value must be a number from 0 to 1, not nan"),
        (lambda: holm([-0.1]), "a p-value must be a number from 0 to 1, not -0.1"),
        (lambda: seeds_needed(1, 1, power=1), r"power is a share in \(0, 1\), not 1"),
        (lambda: seeds_needed(1, 1, alpha=1.5), r"alpha is a share in \(0, 1\), not 1.5"),
        (lambda: seeds_needed(math.nan, 1), "the effect must be finite .* not nan and 1"),
        (lambda: seeds_needed(1, -1), "the spread finite and at least 0, not 1 and -1"),
    ],
)
def test_what_has_no_answer_is_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        asked()
