import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from joint.analysis.by_lesion import medians, rank_correlation


@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=9),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None)
def test_medians_are_those_of_repeated_values(values, seed):
    ascending = np.sort(np.array(values, dtype=float))
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(values)))
    for row, ours in zip(weights, medians(ascending, weights.astype(float)), strict=True):
        if row.sum() == 0:
            assert np.isnan(ours)
        else:
            assert ours == np.median(np.repeat(ascending, row))


def test_rank_correlations_agree_with_scipy():
    curves = np.random.default_rng(0).integers(0, 4, (6, 2, 5)).astype(float)
    curves[0, 0] = 1
    curves[1, 1, 2] = np.nan
    ours = rank_correlation(np.arange(5.0), curves)
    assert np.isnan(ours[0, 0])
    assert np.isnan(ours[1, 1])
    for i, j in np.argwhere(~np.isnan(ours)):
        assert ours[i, j] == pytest.approx(spearmanr(np.arange(5), curves[i, j]).statistic)
