"""The codec of one density a channel: what its files hold, and what its elements cost."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from compress import FactorizedCodec, LearnedCodec
from compress.bitstream import SymbolReader
from compress.container import HEADER_BYTES


def test_the_file_holds_the_latent_channel_after_channel(build, blobs):
    codec, image = build("factorized"), blobs(1, 3, 43, 37)
    assert isinstance(codec, FactorizedCodec)
    assert isinstance(codec, LearnedCodec)
    (data,) = codec.compress(image)
    reader = SymbolReader(data[HEADER_BYTES + 2 :])
    tables = codec.prior.tables()
    assert len(tables) == codec.latent_channels
    read = reader.rows(tables, (6, 5))
    reader.finish()
    assert torch.equal(torch.from_numpy(read)[None].float(), codec(image).latent)
    assert read.any()


def test_each_cell_has_its_own_bits_on_its_own_pixels(build, blobs):
    codec = build("factorized")
    coded = codec(blobs(2, 3, 43, 37))
    cells = codec.prior.bits(coded.latent).sum(1)
    torch.testing.assert_close(coded.bits_map[:, 0, :8, :8].sum((1, 2)), cells[:, 0, 0])
    # At the border, on fewer.
    torch.testing.assert_close(coded.bits_map[:, 0, 40:, 32:].sum((1, 2)), cells[:, -1, -1])


def test_the_straight_through_gradient_is_that_of_the_rounded_latent(build, blobs):
    codec, image = build("factorized"), blobs(1).requires_grad_()
    gain, _ = codec.gain(torch.zeros(1), exact=True)
    y = codec._latent(image, gain, exact=True)
    rounded = y.detach().round().requires_grad_()
    (slope,) = torch.autograd.grad(codec.prior.bits(rounded).sum(), rounded)
    (expected,) = torch.autograd.grad(y, image, slope)
    (gradient,) = torch.autograd.grad(codec(image).bits.sum(), image)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["factorized", "hyperprior"])
def test_training_starts_from_a_density_about_as_wide_as_the_latents(build, name):
    # Of symbols as the fresh nets make them, of a standard deviation of about one step.
    symbols = np.arange(-40, 41)
    chance = norm.cdf(symbols + 0.5) - norm.cdf(symbols - 0.5)
    entropy = -(chance[chance > 0] * np.log2(chance[chance > 0])).sum()
    prior = build(name).prior
    latent = torch.from_numpy(symbols).double().expand(1, prior.channels, -1)
    price = (torch.from_numpy(chance) * prior.bits(latent)[0]).sum(-1)
    assert price.min() > entropy
    assert price.max() < entropy + 0.3
