"""The nets: shapes, sizes, independence of pictures, gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.exact import Residual
from compress.transform import Analysis, SideAnalysis, SideSynthesis, Synthesis, unit_interval


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_the_unit_interval_is_its_formula_and_never_flat():
    x = torch.linspace(-50, 50, 1001).double().requires_grad_()
    y = unit_interval(x)
    # The logistic of twice the inverse hyperbolic sine, by another formula: e^u / (e^u + e^-u).
    u = torch.asinh(x.detach())
    torch.testing.assert_close(
        y.detach(), 0.5 + 0.5 * torch.tanh(torch.atanh(torch.sinh(u) / torch.cosh(u)))
    )
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope, 0.5 * (1 + x.detach() ** 2) ** -1.5)
    assert slope.min() > 0


@settings(deadline=None, max_examples=20)
@given(
    st.integers(1, 41),
    st.integers(1, 41),
    st.integers(1, 5),
    st.lists(st.sampled_from([2, 4]), min_size=1, max_size=3),
    st.integers(1, 6),
    st.booleans(),
)
def test_any_size_and_any_channels(height, width, channels, strides, latent_channels, exact):
    analysis = Analysis(channels, latent_channels, width=4, strides=strides)
    synthesis = Synthesis(channels, latent_channels, width=4, strides=strides)
    latent = analysis(rand(2, channels, height, width), exact=exact)
    s = analysis.stride
    assert latent.shape == (2, latent_channels, -(-height // s), -(-width // s))
    image = synthesis(latent, size=(height, width), exact=exact)
    assert image.shape == (2, channels, height, width)
    assert 0 <= image.min() <= image.max() <= 1


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 13), st.integers(1, 13), st.booleans())
def test_the_side_nets_take_any_grid(height, width, exact):
    side = SideAnalysis(6, 3, width=4)(rand(2, 6, height, width), exact=exact)
    assert side.shape == (2, 3, -(-height // 4), -(-width // 4))
    told = SideSynthesis(6, 3, width=4)(side, size=(height, width), exact=exact)
    assert told.shape == (2, 12, height, width)


@pytest.mark.parametrize("strides", [(4,), (4, 2), (4, 2, 2)])
@pytest.mark.parametrize("blocks", [1, 3])
def test_each_step_has_its_blocks_in_both_directions(strides, blocks):
    for kind in (Analysis, Synthesis):
        net = kind(3, 5, width=4, strides=strides, blocks=blocks)
        assert sum(isinstance(layer, Residual) for layer in net.layers) == len(strides) * blocks


def test_exactly_nothing_is_rounded_before_it_is_snapped():
    # Small numbers with digits that a float32 loses when 1/2 is taken off.
    analysis, image = Analysis(3, 4, width=4), rand(1, 3, 256, 256) ** 3
    exact = analysis(image, exact=True)
    assert exact.dtype == torch.float64
    assert torch.equal(exact, analysis(image.double(), exact=True))


def test_padding_repeats_the_border():
    analysis, image = Analysis(3, 4, width=4), rand(1, 3, 19, 23)
    rows, columns = torch.arange(24).clamp_max(18), torch.arange(24).clamp_max(22)
    torch.testing.assert_close(analysis(image), analysis(image[:, :, rows][:, :, :, columns]))


def test_pictures_do_not_see_each_other_nor_a_memory_layout():
    analysis, synthesis = Analysis(3, 4), Synthesis(3, 4)
    image = rand(5, 3, 32, 32)

    def run(x):
        return synthesis(analysis(x), size=(32, 32))

    whole, order = run(image), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(run(image[order]), whole[order], rtol=0, atol=1e-6)
    torch.testing.assert_close(run(image[2:3]), whole[2:3], rtol=0, atol=1e-6)
    layouts = [image.to(memory_format=torch.channels_last), image.mT.contiguous().mT]
    for layout in layouts:
        torch.testing.assert_close(run(layout), whole, rtol=0, atol=1e-6)


def test_the_latent_moves_with_the_picture():
    analysis, image = Analysis(3, 4), rand(1, 3, 96, 96)
    shifted = image.roll((8, 16), (-2, -1))
    inner = slice(4, -4)
    torch.testing.assert_close(
        analysis(shifted)[..., inner, inner],
        analysis(image).roll((1, 2), (-2, -1))[..., inner, inner],
        rtol=0,
        atol=1e-6,
    )


def test_the_output_has_a_gradient_even_far_out():
    synthesis = Synthesis(3, 4)
    with torch.no_grad():
        synthesis.layers[-1].bias += 10.0  # type: ignore[union-attr, operator]
    latent = rand(1, 4, 2, 2).requires_grad_()
    synthesis(latent, size=(16, 16)).sum().backward()
    assert latent.grad is not None
    assert latent.grad.abs().min() > 0


def test_sizes_are_checked():
    for net in (Analysis, Synthesis):
        with pytest.raises(ValueError, match="must be at least 1, got 3, 0, 48 and 1"):
            net(3, 0)
        for strides in ((), (3,), (4, 1)):
            with pytest.raises(ValueError, match=r"strides must be even numbers from 2 on, got \("):
                net(3, 4, strides=strides)
    for net in (SideAnalysis, SideSynthesis):
        with pytest.raises(ValueError, match="must be at least 1"):
            net(4, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_unit_interval_is_right_far_out_too(dtype):
    x = torch.tensor([-torch.inf, -1e30, 1e19, 1e30, torch.inf], dtype=dtype)
    assert unit_interval(x).tolist() == [0, 0, 1, 1, 1]
