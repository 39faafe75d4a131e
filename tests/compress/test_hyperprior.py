"""The side information of the hyperprior: what it says, and that decoders agree on it."""

import torch

from compress import HyperpriorCodec
from compress.bitstream import HEADER_BYTES, SymbolReader
from compress.learned import integers
from compress.prior import SCALE_LEVELS


def trained(build):
    """A codec whose widths and means differ from element to element, as after training."""
    codec = build("hyperprior")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        last = codec.side_synthesis.layers[-1]
        last.weight += 0.3 * torch.randn(last.weight.shape, generator=generator)
    return codec


def test_the_file_holds_the_side_latent_first_and_then_the_residual(build, blobs):
    codec, image = trained(build), blobs(1, 3, 72, 80)
    coded = codec(image)
    (data,) = codec.compress(image)
    reader = SymbolReader(data[HEADER_BYTES + 2 :])
    tables = codec._current_coding().tables
    gain, _ = codec.gain(torch.zeros(1), exact=True)
    y = codec._latent(image, gain, exact=True)
    side = codec._side(y).round()
    read = reader.rows(tables[: codec.side_channels], side.shape[-2:])
    assert (read == integers(side)[0]).all()
    expected = codec._expect(side, (9, 10), exact=True)
    levels = integers(expected.level)[0]
    residual = reader.indexed(levels, tables[codec.side_channels :])
    reader.finish()
    assert len(set(levels.ravel())) > 10
    assert 0 <= levels.min() <= levels.max() < SCALE_LEVELS
    latent = torch.from_numpy(residual)[None] + expected.mean
    assert torch.equal(latent.to(coded.latent), coded.latent)
    assert (latent - y).abs().max() <= 0.5


def test_64_of_64_decode_alike_in_any_batch_with_any_tables(build, blobs):
    # The experiment that breaks 1 of 64 in a floating-point hyperprior.
    codec, image = trained(build), blobs(64, 3, 64, 64)
    files = codec.compress(image)
    whole = codec(image).reconstruction
    assert torch.equal(codec.decompress(files), whole)
    for i in range(64):
        assert torch.equal(codec.decompress([files[i]])[0], whole[i])


def test_a_width_has_a_gradient_however_wrong_it_is():
    codec = HyperpriorCodec()
    for bias in (-50.0, 50.0):
        with torch.no_grad():
            codec.side_synthesis.layers[-1].bias[codec.latent_channels :] = bias
        image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        for training in (True, False):
            codec.train(training)
            codec.zero_grad()
            codec(image, generator=torch.Generator().manual_seed(0)).bits.sum().backward()
            slope = codec.side_synthesis.layers[-1].bias.grad[codec.latent_channels :]
            assert slope.isfinite().all()
            assert (slope != 0).any()


def test_it_pays_where_pictures_differ(blobs):
    # Pictures of very different contrast in one set: one density a channel fits none of them.
    from compress import FactorizedCodec

    def cost(kind):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            codec = kind().train()
        optimiser = torch.optim.Adam(codec.parameters(), lr=2e-3)
        for step in range(200):
            image = (
                0.5
                + (blobs(8, seed=step) - 0.5) * torch.tensor([0.05, 1.0] * 4)[:, None, None, None]
            )
            coded = codec(image, generator=torch.Generator().manual_seed(step))
            loss = coded.bpp.mean() + 0.01 * 255**2 * (coded.reconstruction - image).square().mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
            optimiser.step()
        image = (
            0.5 + (blobs(8, seed=999) - 0.5) * torch.tensor([0.05, 1.0] * 4)[:, None, None, None]
        )
        coded = codec.eval()(image)
        error = (coded.reconstruction - image).square().mean()
        return (coded.bpp.mean() + 0.01 * 255**2 * error).item()

    assert cost(HyperpriorCodec) < cost(FactorizedCodec)
