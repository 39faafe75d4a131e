"""Rounding stand-ins: what they return, and what they let through."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import add_uniform_noise, quantize, round_straight_through

values = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50).map(torch.tensor)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_an_unknown_mode_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'soft': use one of 'noise', 'straight_through'"):
        quantize(torch.zeros(1), mode="soft")  # type: ignore[arg-type]
