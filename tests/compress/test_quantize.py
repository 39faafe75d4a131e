"""Rounding stand-ins: what they return, and what they let through."""

import pytest
import torch
from drawn import seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import add_uniform_noise, quantize, round_straight_through
from compress.quantize import dither, soft_round, soft_round_inverse, soft_round_noisy

values = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50).map(torch.tensor)


@settings(deadline=None, max_examples=50)
@given(values)
def test_straight_through_is_rounding_to_the_bit_with_the_identity_as_gradient(x):
    x.requires_grad_()
    rounded = round_straight_through(x)
    assert torch.equal(rounded, x.detach().round())
    slope = torch.arange(1.0, len(x) + 1)
    (gradient,) = torch.autograd.grad(rounded, x, slope)
    assert torch.equal(gradient, slope)
    assert torch.equal(round_straight_through(rounded), rounded)


@settings(deadline=None, max_examples=50)
@given(values.map(lambda x: x % 100), st.integers(-100, 100).map(lambda k: 2 * k))
def test_rounding_moves_with_its_input_and_by_at_most_half_a_step(x, k):
    x = x.double()  # so that x + k is exact; an even k, because ties go to even
    assert torch.equal(round_straight_through(x + k), round_straight_through(x) + k)
    assert (round_straight_through(x) - x).abs().max() <= 0.5


def test_noise_is_uniform_within_half_a_step_and_passes_the_gradient():
    x = torch.linspace(-3, 3, 200_000).requires_grad_()
    noisy = add_uniform_noise(x, generator=seeded())
    u = (noisy - x).detach()
    assert u.abs().max() <= 0.5 + 1e-6
    assert abs(u.mean()) < 4 * (1 / 12 / len(u)) ** 0.5
    assert u.var().item() == pytest.approx(1 / 12, rel=0.01)
    (gradient,) = torch.autograd.grad(noisy.sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))


def test_noise_comes_from_the_generator_alone():
    x, before = torch.zeros(100), torch.get_rng_state()
    first = quantize(x, mode="noise", generator=seeded(3))
    assert torch.equal(first, quantize(x, mode="noise", generator=seeded(3)))
    assert not torch.equal(first, quantize(x, mode="noise", generator=seeded(4)))
    assert torch.equal(torch.get_rng_state(), before)
    # Without one, torch's own stream serves, as in dropout.
    assert quantize(x, mode="noise").abs().max() > 0


def test_straight_through_draws_nothing():
    generator = seeded(3)
    state = generator.get_state()
    x = torch.tensor([0.4, 1.6])
    assert quantize(x, mode="straight_through", generator=generator).tolist() == [0, 2]
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_is_kept(dtype):
    x = torch.tensor([0.25, -1.75], dtype=dtype)
    assert round_straight_through(x).dtype == dtype
    assert add_uniform_noise(x, generator=seeded()).dtype == dtype


def test_dither_has_the_error_of_the_noise_and_codes_integers():
    x = torch.linspace(-3, 3, 200_000).requires_grad_()
    dithered = dither(x, generator=seeded())
    error = (dithered - x).detach()
    assert error.abs().max() <= 0.5 + 1e-6
    assert error.var().item() == pytest.approx(1 / 12, rel=0.01)
    # Independent of the value: a plain rounding error repeats with it.
    assert abs(torch.corrcoef(torch.stack([error, (2 * torch.pi * x.detach()).sin()]))[0, 1]) < 0.01
    u = torch.rand(x.shape, generator=seeded()) - 0.5  # what the decoder would draw
    symbols = (dithered.detach() + u).double()
    assert (symbols - symbols.round()).abs().max() < 1e-6
    (gradient,) = torch.autograd.grad(dithered.sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 12), st.integers(-50, 50))
def test_soft_rounding_keeps_integers_and_rises(sharpness, k):
    x = torch.linspace(-2, 2, 401, dtype=torch.float64)
    y = soft_round(x, sharpness=sharpness)
    assert (y.diff() > 0).all()
    torch.testing.assert_close(y[::50], x[::50])  # integers and half-integers
    torch.testing.assert_close(soft_round(x + k, sharpness=sharpness), y + k)
    torch.testing.assert_close(soft_round_inverse(y, sharpness=sharpness), x, rtol=0, atol=1e-4)


def test_soft_rounding_goes_from_the_identity_to_rounding():
    x = torch.linspace(-2.07, 2.07, 70, dtype=torch.float64)  # no half-integer
    torch.testing.assert_close(soft_round(x, sharpness=1e-3), x, rtol=0, atol=1e-6)
    torch.testing.assert_close(soft_round(x, sharpness=3000.0), x.round())
    noise = add_uniform_noise(x, generator=seeded())
    torch.testing.assert_close(
        soft_round_noisy(x, sharpness=1e-3, generator=seeded()), noise, rtol=0, atol=1e-5
    )
    usual = quantize(x, mode="soft", generator=seeded())
    assert torch.equal(usual, soft_round_noisy(x, sharpness=4.0, generator=seeded()))
    hard = soft_round_noisy(x, sharpness=300.0, generator=seeded())
    torch.testing.assert_close(hard, x.round(), rtol=0, atol=0.05)


def test_the_noisy_soft_rounding_is_what_a_decoder_expects():
    # Draw a million x, keep those that gave about the same y: their mean is what is returned.
    sharpness, x = 5.0, 6 * torch.rand(2_000_000, generator=seeded(1), dtype=torch.float64)
    u = torch.rand(x.shape, generator=seeded(2), dtype=torch.float64) - 0.5
    y = soft_round(x, sharpness=sharpness) + u
    returned = soft_round_noisy(x, sharpness=sharpness, generator=seeded(2))
    for value in (2.0, 2.2, 2.5, 2.9, 3.3):
        near = (y - value).abs() < 0.01
        assert returned[near].mean().item() == pytest.approx(x[near].mean().item(), abs=0.02)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.2, 10), st.integers(0, 1000))
def test_soft_rounding_has_the_gradient_of_its_formula(sharpness, seed):
    x = 4 * torch.rand(6, generator=seeded(seed), dtype=torch.float64)
    x = torch.where((x - x.round()).abs() < 0.01, x + 0.1, x).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_round(x, sharpness=sharpness), x)
    slope = torch.autograd.grad(
        soft_round_noisy(x, sharpness=sharpness, generator=seeded(seed)).sum(), x
    )[0]
    assert slope.isfinite().all()
    assert (slope > 0).any()


@pytest.mark.parametrize("sharpness", [0.0, -1.0, float("nan"), float("inf")])
def test_a_sharpness_that_is_none(sharpness):
    for function in (soft_round, soft_round_inverse):
        with pytest.raises(ValueError, match="sharpness must be positive and finite, got"):
            function(torch.zeros(1), sharpness=sharpness)


def test_an_unknown_mode_names_the_known_ones():
    with pytest.raises(
        ValueError, match=r"'hard': use one of 'noise', 'straight_through', 'soft', "
    ):
        quantize(torch.zeros(1), mode="hard")  # type: ignore[arg-type]
    for mode in ("noise", "straight_through", "soft", "dither"):
        assert quantize(torch.zeros(3), mode=mode, generator=seeded()).shape == (3,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_soft_rounding_stays_finite_in_any_type(dtype):
    x = torch.linspace(-3, 3, 601).to(dtype)
    for sharpness in (0.5, 50.0, 1e4):
        assert soft_round_noisy(x, sharpness=sharpness, generator=seeded()).isfinite().all()


@pytest.mark.parametrize("mode", ["noise", "soft", "dither"])
def test_a_generator_for_each_picture_makes_noise_independent_of_the_batch(mode):
    x = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))

    def sources(*rows):
        return [torch.Generator().manual_seed(10 + row) for row in rows]

    together = quantize(x, mode=mode, generator=sources(0, 1, 2))
    # The noise is the same to the bit; a vectorised tanh may round by its place in memory.
    for rows in ([1], [2, 0]):
        apart = quantize(x[rows], mode=mode, generator=sources(*rows))
        torch.testing.assert_close(apart, together[rows], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"one for each picture: 2 were given .*\(3, 2, 5, 4\)"):
        quantize(x, mode=mode, generator=sources(0, 1))


@pytest.mark.parametrize("mode", ["noise", "straight_through", "soft", "dither"])
@pytest.mark.parametrize(
    ("x", "given"),
    [
        (torch.tensor([1, 2]), "torch.int64"),
        (torch.zeros(2, dtype=torch.complex64), "torch.complex64"),
        ([0.5], "list"),
    ],
)
def test_only_floating_point_numbers_are_quantised(mode, x, given):
    with pytest.raises(ValueError, match=f"expected a floating-point tensor, got {given}: cast it"):
        quantize(x, mode=mode)
    with pytest.raises(ValueError, match="expected a floating-point tensor"):
        soft_round_inverse(x, sharpness=1.0)


def test_a_seed_is_no_generator():
    with pytest.raises(
        ValueError, match=r"one torch.Generator, .*, got int: make one with torch.Generator\(\)"
    ):
        add_uniform_noise(torch.zeros(2), generator=5)  # type: ignore[arg-type]
