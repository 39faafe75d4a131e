import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from joint.analysis import generalised_cnr


@given(
    step=st.floats(0.03, 0.12),
    width=st.sampled_from((40, 63, 90)),
    soft=st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_gcnr_is_twice_the_best_threshold_minus_one(step, width, soft):
    # Values 0..width of two binomial laws, whose likelihood ratio is monotone.
    counts = [
        np.rint(3e4 * binom.pmf(np.arange(width + 1), width, p)).astype(int)
        for p in (0.45, 0.45 + step)
    ]
    values = [np.repeat(np.arange(width + 1), c) for c in counts]
    row = torch.from_numpy(np.concatenate(values)).double()[None, None]
    first = (torch.arange(row.shape[-1]) < len(values[0]))[None, None]
    low, high = int(row.min()), int(row.max())
    # A bin, or a knot, for each value.
    ours = generalised_cnr(row, first, ~first, bins=high - low + 1, soft=soft)
    rights = [(np.mean(values[0] < t) + np.mean(values[1] >= t)) / 2 for t in range(low, high + 2)]
    assert float(ours) == pytest.approx(2 * max(rights) - 1, abs=1e-3)


def test_gcnr_lies_in_0_to_1_with_its_ends():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(1, 2, 30000, generator=generator)
    first = torch.tensor([True, False])[None, :, None].expand(values.shape)
    for soft in (False, True):
        same = torch.stack((values[:, 0], values[:, 0]), 1)
        assert generalised_cnr(same, first, ~first, soft=soft) == pytest.approx(0, abs=1e-6)
        assert generalised_cnr(values, first, ~first, soft=soft) < 0.05
        apart = values + 1.1 * first
        assert generalised_cnr(apart, first, ~first, soft=soft) == pytest.approx(1, abs=1e-6)
        constant = torch.full_like(values, 0.3)
        assert generalised_cnr(constant, first, ~first, soft=soft) == 0
        nothing = torch.zeros_like(first)
        assert generalised_cnr(values, nothing, ~first, soft=soft).isnan()
    for bins in (1, 2.5):
        with pytest.raises(ValueError, match=f"bins must be .* at least 2, not {bins}"):
            generalised_cnr(values, first, ~first, bins=bins)


@pytest.mark.parametrize(("pixels", "bins"), [((100, 400), 16), ((500, 500), 64)])
def test_gcnr_of_few_pixels_has_a_floor(pixels, bins):
    values = torch.rand(400, 1, sum(pixels), generator=torch.Generator().manual_seed(0))
    first = (torch.arange(sum(pixels)) < pixels[0]).expand_as(values)
    floor = (bins * sum(1 / n for n in pixels) / (2 * torch.pi)) ** 0.5
    assert float(generalised_cnr(values, first, ~first, bins=bins).mean()) == pytest.approx(
        floor, rel=0.05
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("soft", [False, True])
def test_gcnr_counts_in_single_precision_at_least(dtype, soft):
    generator = torch.Generator().manual_seed(0)
    first = torch.arange(100) < 50
    first = first[None, None].expand(1, 200, 100)
    values = (0.7 * torch.rand(1, 200, 100, generator=generator) + 0.3 * ~first).to(dtype)
    ours = generalised_cnr(values, first, ~first, soft=soft)
    exact = generalised_cnr(values.double(), first, ~first, soft=soft)
    assert ours.dtype == torch.float32
    assert exact.dtype == torch.float64
    assert float(ours) == pytest.approx(float(exact), abs=1e-3)


def test_gcnr_refuses_regions_that_are_not_of_the_values():
    values, masks = torch.rand(2, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"masks must be bool \[B, H, W\].*float32 \[2, 8, 8\]"):
        generalised_cnr(values, masks, masks.float())
    with pytest.raises(ValueError, match=r"values \[2, 8, 8\] and regions \[1, 8, 8\] differ"):
        generalised_cnr(values, masks[:1], masks)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("soft", [False, True])
def test_gcnr_of_values_that_are_no_numbers_is_undefined_there_only(value, soft):
    values = torch.rand(3, 10, 10, generator=torch.Generator().manual_seed(0))
    first, second = (torch.zeros(3, 10, 10, dtype=torch.bool) for _ in range(2))
    first[:, :4], second[:, 4:8] = True, True
    whole = generalised_cnr(values, first, second, soft=soft)
    values[1, 2, 2] = value
    values[2, 9, 9] = value  # in neither region
    ours = generalised_cnr(values, first, second, soft=soft)
    assert ours.isnan().tolist() == [False, True, False]
    assert torch.equal(ours[::2], whole[::2])


@pytest.mark.parametrize("soft", [False, True])
def test_gcnr_of_the_greatest_numbers_is_that_of_smaller_ones(soft):
    values = torch.rand(2, 10, 10, generator=torch.Generator().manual_seed(0))
    values = 1.9 * (values - 0.5)
    first = (torch.arange(100).view(1, 10, 10) < 60).expand(2, -1, -1)
    great = values.clone()
    great[1] = (values[1].double() * 2.0**128).float()  # ends more than the largest number apart
    ours, same = (generalised_cnr(x, first, ~first, soft=soft) for x in (great, values))
    torch.testing.assert_close(ours, same)
