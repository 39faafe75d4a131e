"""The entropy model: a proper density, its bits, and its integer tables."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from compress import FactorizedPrior
from compress.bitstream import PRECISION
from compress.prior import SCALE_LEVELS, gaussian_bits, gaussian_level, gaussian_tables


def prior(seed: int = 0, channels: int = 3, spread: float = 0.5, **kwargs) -> FactorizedPrior:
    """A prior with some shape: every parameter moved off its regular start."""
    made = FactorizedPrior(channels, **kwargs)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    return made


def integers(limit: int, channels: int = 3) -> torch.Tensor:
    return torch.arange(-limit, limit + 1, dtype=torch.float64).expand(1, channels, -1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.3, 20))
def test_probabilities_of_all_integers_sum_to_one(seed, scale):
    mass = torch.exp2(-prior(seed, init_scale=scale).double().bits(integers(20_000)))
    # What is beyond is the Cauchy tail, 2 w / (pi 20000) = 8e-9.
    torch.testing.assert_close(mass.sum(-1), torch.ones(1, 3).double(), rtol=0, atol=3e-8)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_the_cumulative_rises_from_zero_to_one(seed):
    model = prior(seed).double()
    c = model.cumulative(torch.linspace(-1e5, 1e5, 4001).double().expand(1, 3, -1))
    assert (c.diff() > 0).all()
    assert c[..., 0].max() < 1e-6
    assert c[..., -1].min() > 1 - 1e-6


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_bits_are_those_of_the_cumulative(seed):
    model = prior(seed).double()
    y = torch.linspace(-15, 15, 301).double().expand(2, 3, -1)
    expected = -torch.log2(model.cumulative(y + 0.5) - model.cumulative(y - 0.5))
    torch.testing.assert_close(model.bits(y), expected, rtol=1e-9, atol=1e-9)


def test_each_channel_of_each_picture_is_priced_by_its_own_density():
    model = prior(4).double()
    y = 4 * torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    one, two = (model.cumulative(y + step) for step in (-0.5, 0.5))
    for picture in range(2):
        for channel in range(3):
            alone = torch.zeros(1, 3, 30).double()
            alone[0, channel] = y[picture, channel].flatten()
            bits = model.bits(alone)[0, channel].view(5, 6)
            torch.testing.assert_close(model.bits(y)[picture, channel], bits)
            mass = (two - one)[picture, channel]
            torch.testing.assert_close(torch.exp2(-bits), mass, rtol=1e-9, atol=1e-12)


def test_at_the_start_it_is_the_logistic_that_init_scale_asks_for():
    # With all factors 0 the network is affine, f(y) = y / scale + shift: a plain logistic.
    model = FactorizedPrior(1, init_scale=7.0).double()
    edges = torch.tensor([[[-1.0, 0.0, 1.0]]]).double()
    low, middle, high = torch.logit(model.cumulative(edges)).flatten()
    assert (high - low).item() / 2 == pytest.approx(1 / 7, rel=2e-3)
    assert (high - middle).item() == pytest.approx((middle - low).item(), rel=1e-2)


def test_bits_pass_gradcheck():
    model = prior(5).double()
    y = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)).double() * 5
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda y, *_: model.bits(y), (y, *model.parameters()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_far_tail_is_finite_and_pulls_back(dtype):
    model = prior(2).to(dtype)
    y = torch.tensor([0.0, 30, 1e3, 1e6, 1e9, 1e12, 1e19, 1e21, 1e30], dtype=dtype)
    y = torch.stack([y, -y]).unsqueeze(1).repeat(1, 3, 1).requires_grad_()
    bits = model.bits(y)
    assert bits.isfinite().all()
    assert (bits >= 0).all()
    assert (bits[..., 1:].diff() > 0).all()
    (gradient,) = torch.autograd.grad(bits.sum(), y)
    assert gradient.isfinite().all()
    assert (gradient[0, :, 1:] > 0).all()
    assert (gradient[1, :, 1:] < 0).all()
    assert all(
        g.isfinite().all() for g in torch.autograd.grad(model.bits(y).sum(), [*model.parameters()])
    )
    # The Cauchy tail in closed form: the price of the escape.
    expected = torch.log2(2**12 * torch.pi * (y.detach().double() ** 2 + 0.75))[..., 2:].to(dtype)
    torch.testing.assert_close(bits[..., 2:], expected, rtol=1e-4, atol=0)


def test_a_fresh_prior_has_a_gradient_even_where_all_symbols_are_zero():
    y = torch.zeros(1, 3, 2).requires_grad_()
    model = FactorizedPrior(3)
    model.bits(y).sum().backward()
    assert y.grad is not None
    assert (y.grad != 0).all()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_bits_stay_in_float32_under_autocast_and_from_half_precision():
    model, y = prior(1), 3 * torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.bits(y), model.bits(y.clone()))
        cast = model.bits(y)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, model.bits(y))
    assert model.bits(y.bfloat16()).dtype == torch.float32


def test_noise_costs_more_than_rounding_and_as_much_for_wide_densities():
    generator = torch.Generator().manual_seed(0)
    unit = torch.randn(1, 1, 100_000, generator=generator).double()
    noise = torch.rand(unit.shape, generator=generator).double() - 0.5
    model = FactorizedPrior(1, init_scale=1.0).double()
    narrow, wide = 0.2 * unit, 3 * unit

    def mean_bits(y):
        return model.bits(y).mean().item()

    assert mean_bits(narrow + noise) > mean_bits(narrow.round()) + 0.01
    assert mean_bits(wide + noise) == pytest.approx(mean_bits(wide.round()), rel=3e-3)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000), st.floats(0.3, 50))
def test_tables_are_the_density_in_integers(seed, scale):
    model = prior(seed, init_scale=scale)
    tables = model.tables()
    assert len(tables) == 3
    bits = copy.deepcopy(model).double().bits(integers(3000))[0].detach().numpy()
    for table, row in zip(tables, bits, strict=True):
        assert table.frequencies.min() >= 1
        assert table.frequencies.sum() == 2**PRECISION
        start = table.first + 3000
        mass = np.exp2(-row[start : start + table.listed])
        full = np.append(mass, 1 - mass.sum())
        # Coding with the table instead of the density costs next to nothing.
        loss = (full * np.log2(full / (table.frequencies / 2**PRECISION))).sum()
        assert 0 <= loss + 1e-9 < 1e-4


def test_tables_do_not_depend_on_type_or_layout():
    model = prior(3)
    for other in (copy.deepcopy(model).double(), copy.deepcopy(model).train(), model.eval()):
        for ours, theirs in zip(model.tables(), other.tables(), strict=True):
            assert ours.first == theirs.first
            assert np.array_equal(ours.frequencies, theirs.frequencies)


def test_a_density_beyond_all_tables_escapes():
    model = FactorizedPrior(1, init_scale=0.5)
    with torch.no_grad():
        model.biases[-1] -= 1e5  # the centre lies near 50 000
    (table,) = model.tables()
    assert table.listed < 30  # what the tail alone lists
    assert table.frequencies[-1] > 2**PRECISION * 0.99


def test_the_smallest_prior_is_a_density_too():
    total = torch.exp2(-FactorizedPrior(1, filters=(1,), init_scale=2.0).bits(integers(9999, 1)))
    assert total.sum().item() == pytest.approx(1, abs=3e-8)  # as above


def test_bad_arguments():
    for wrong in (0, 2.5):
        with pytest.raises(ValueError, match=f"channels must be a whole number .*, got {wrong}"):
            FactorizedPrior(wrong)
        with pytest.raises(ValueError, match=f"filters must be a whole number .*, got {wrong}"):
            FactorizedPrior(2, filters=(3, wrong))
    with pytest.raises(ValueError, match=r"filters must be several, such as \(3, 3\), got 3"):
        FactorizedPrior(2, filters=3)
    for wrong in (0, float("inf"), float("nan"), "1"):
        with pytest.raises(ValueError, match=f"init_scale must be positive .*, got {wrong!r}"):
            FactorizedPrior(2, init_scale=wrong)
    with pytest.raises(ValueError, match=r"expected a floating-point latent \[B, 3, ...\]"):
        FactorizedPrior(3).bits(torch.zeros(1, 4, 2, 2))
    with pytest.raises(ValueError, match=r"expected a floating-point latent .*int64"):
        FactorizedPrior(3).bits(torch.zeros(1, 3, 2, 2, dtype=torch.int64))
    model = FactorizedPrior(2)
    with torch.no_grad():
        model.biases[0][0] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite parameters"):
        model.tables()


# --- Gaussians told element by element


@pytest.mark.parametrize("level", [0, 1, 15, 40, SCALE_LEVELS - 1])
def test_gaussian_bits_are_those_of_scipy(level):
    values = np.arange(-60, 61)
    scale = 0.11 * 2 ** (level / 5)
    upper, lower = stats.norm.sf((-np.abs(values) - 0.5) / scale), 0
    upper = stats.norm.cdf((0.5 - np.abs(values)) / scale)
    lower = stats.norm.cdf((-0.5 - np.abs(values)) / scale)
    tail = np.diff(stats.cauchy.cdf([np.abs(values) - 0.5, np.abs(values) + 0.5]), axis=0)[0]
    expected = -np.log2((1 - 2.0**-12) * (upper - lower) + 2.0**-12 * tail)
    y = torch.from_numpy(values).double()
    bits = gaussian_bits(y, torch.full_like(y, level))
    np.testing.assert_allclose(bits.numpy(), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        gaussian_bits(y.float(), torch.full_like(y, level).float()).numpy(),
        expected,
        rtol=2e-4,
        atol=2e-6,
    )


def test_gaussian_bits_have_gradients_everywhere():
    y = torch.tensor([0.3, -2.0, 40.0, 1e4, -1e6]).requires_grad_()
    level = torch.tensor([0.0, 3.0, 5.0, 30.0, 59.0]).requires_grad_()
    slopes = torch.autograd.grad(gaussian_bits(y, level).sum(), [y, level])
    assert all(slope.isfinite().all() for slope in slopes)
    assert (slopes[0] != 0).all()
    inner = torch.tensor([0.3, -1.2, 4.0]).double().requires_grad_()
    at = torch.tensor([12.0, 10.0, 20.0]).double().requires_grad_()
    assert torch.autograd.gradcheck(gaussian_bits, (inner, at))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_residual_is_too_far_for_a_price_and_a_gradient(dtype):
    size = torch.tensor([2.0**29, 2.0**30, 2.0**31, 1e15, 1e18, 3e19, 1e30, 3e38], dtype=dtype)
    y = torch.cat([size, -size]).expand(SCALE_LEVELS, -1).clone().requires_grad_()
    level = (
        torch.arange(SCALE_LEVELS, dtype=dtype)[:, None].expand(y.shape).clone().requires_grad_()
    )
    bits = gaussian_bits(y, level)
    slopes = torch.autograd.grad(bits.sum(), [y, level])
    assert all(value.isfinite().all() for value in (bits, *slopes))
    assert (bits[:, : len(size)].diff() >= 0).all()
    # The tail in closed form.
    exact = y.detach().double()
    tail = torch.log2(2**12 * torch.pi * (exact.square() + 0.75)).to(dtype)
    torch.testing.assert_close(bits, tail, rtol=1e-5, atol=0)
    torch.testing.assert_close(slopes[0].double(), 2 / (exact * np.log(2)), rtol=1e-5, atol=1e-44)
    assert (slopes[0] * y > 0).all()
    assert not slopes[1].any()


def test_where_the_tail_pays_only_the_residual_has_a_gradient():
    level = torch.arange(SCALE_LEVELS).double().requires_grad_()
    scale = 0.11 * torch.exp2(level.detach() / 5)
    y = (0.5 + 8 * scale).requires_grad_()
    slopes = torch.autograd.grad(gaussian_bits(y, level).sum(), [y, level])
    inner = (y.square() + 0.75).detach()
    pull = 2 * y.detach() / (inner.square() + 1) / torch.atan(1 / inner) / np.log(2)
    torch.testing.assert_close(slopes[0], pull, rtol=1e-3, atol=0)
    assert (slopes[1] <= 0).all()
    assert slopes[1].min() > -0.01
    # Five widths are near enough; the first level widens for what lies a step away.
    y = (0.5 + 5 * scale).requires_grad_()
    assert (torch.autograd.grad(gaussian_bits(y, level).sum(), level)[0] < -0.03).all()
    first = torch.zeros(2).requires_grad_()
    (slope,) = torch.autograd.grad(gaussian_bits(torch.tensor([1.0, 2.0]), first).sum(), first)
    assert slope[0] < -0.2
    assert slope[1] == 0


def test_gaussian_tables_are_whole_and_cost_what_the_bits_say():
    tables = gaussian_tables()
    assert len(tables) == SCALE_LEVELS
    assert gaussian_tables() is tables
    for level, table in enumerate(tables):
        assert table.frequencies.sum() == 2**PRECISION
        assert table.frequencies.min() >= 1
        listed = torch.arange(table.first, table.first + table.listed).double()
        ideal = torch.exp2(-gaussian_bits(listed, torch.full_like(listed, level))).numpy()
        coded = table.frequencies[:-1] / 2**PRECISION
        # What coding with the table costs more than the density says, bits per element.
        assert (ideal * np.log2(ideal / coded)).sum() < 1e-4
        np.testing.assert_array_equal(table.frequencies[:-1], table.frequencies[:-1][::-1])


def test_the_level_next_to_a_variance():
    levels = torch.arange(5, SCALE_LEVELS).double()
    variance = (0.11 * torch.exp2(levels / 5)) ** 2 - 0.11**2
    assert torch.equal(gaussian_level(variance), levels)
    assert gaussian_level(torch.tensor([0.0, 1e9])).tolist() == [0, SCALE_LEVELS - 1]


def test_the_variances_of_the_least_levels_come_to_somewhat_higher_ones():
    own = torch.from_numpy((0.11 * 2 ** (np.arange(SCALE_LEVELS) / 5)) ** 2)
    levels = gaussian_level(own).tolist()
    assert levels[:2] == [2, 3]
    assert levels[7:] == list(range(7, SCALE_LEVELS))


@pytest.mark.parametrize(("scale", "gap"), [(0.1, 0.1), (0.3, 0.0), (1.0, 0.0), (3.0, 0.0)])
def test_noisy_bits_exceed_rounded_ones_and_agree_from_one_step_on(scale, gap):
    # The mean over y ~ N(0, s) of both: an integral over all numbers and a sum over the integers
    # of one function, which differ by what varies faster than the integers.
    level = torch.tensor(5 * np.log2(scale / 0.11)).clamp_min(0)
    scale = float(0.11 * 2 ** (level / 5))
    t = torch.arange(-60, 60, 1 / 512, dtype=torch.float64)

    def weighed(y):
        density = stats.norm.cdf((y + 0.5) / scale) - stats.norm.cdf((y - 0.5) / scale)
        return (torch.from_numpy(density) * gaussian_bits(y, level.expand_as(y))).sum()

    noisy, rounded = float(weighed(t)) / 512, float(weighed(t[::512]))
    assert noisy - rounded >= gap - 1e-6
    if scale > 0.99:
        assert noisy == pytest.approx(rounded, abs=1e-6)
