"""The nets: shapes, sizes, independence of pictures, gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.transform import GDN, Analysis, Synthesis, gdn


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_gdn_is_its_formula():
    x, beta, gamma = rand(2, 3, 4, 5).double() - 0.5, rand(3).double(), rand(3, 3, seed=1).double()
    norm = torch.stack(
        [(beta[i] + sum(gamma[i, j] * x[:, j] ** 2 for j in range(3))).sqrt() for i in range(3)], 1
    )
    torch.testing.assert_close(gdn(x, beta, gamma), x / norm)
    torch.testing.assert_close(gdn(x, beta, gamma, inverse=True), x * norm)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_passes_gradcheck(inverse):
    layer = GDN(2, inverse=inverse).double()
    x = (rand(1, 2, 3, 3) - 0.5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


def test_gdn_survives_what_half_precision_cannot_square():
    x = torch.full((1, 2, 2, 2), 1000.0, dtype=torch.float16)
    out = GDN(2)(x)
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(GDN(2)(x), out)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(16, 41),
    st.integers(16, 41),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 6),
)
def test_any_size_and_any_channels(height, width, channels, stages, latent_channels):
    analysis = Analysis(channels, latent_channels, width=4, stages=stages)
    synthesis = Synthesis(channels, latent_channels, width=4, stages=stages)
    latent = analysis(rand(2, channels, height, width))
    s = analysis.stride
    assert s == 2**stages
    assert latent.shape == (2, latent_channels, -(-height // s), -(-width // s))
    image = synthesis(latent, size=(height, width))
    assert image.shape == (2, channels, height, width)
    assert 0 <= image.min() <= image.max() <= 1


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
        with pytest.raises(ValueError, match="must be at least 1, got 3, 0, 32 and 3"):
            net(3, 0)
