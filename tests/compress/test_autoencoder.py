"""The study's autoencoders: their latents, and what they cost in truth."""

import numpy as np
import pytest
import torch
from drawn import seeded

from compress import Autoencoder, CorruptStream, psnr
from compress.autoencoder import _CHANNEL
from compress.coding import fingerprint
from compress.container import HEADER_BYTES, Kind, pack


@pytest.mark.parametrize(("ratio", "latents", "price"), [(6, 8, 16), (3, 16, 32), (1.5, 32, 64)])
def test_it_has_the_seeds_latents_and_their_price(ratio, latents, price):
    codec = Autoencoder(ratio)
    image = torch.rand(2, 3, 128, 128, generator=seeded())
    coded = codec(image)
    assert coded.latent.shape == (2, latents, 32, 32)
    assert 3 * 128 * 128 / coded.latent[0].numel() == ratio
    assert torch.equal(coded.bits_map, torch.full((2, 1, 128, 128), float(price)))
    assert coded.side_bits.tolist() == [8 * (HEADER_BYTES + 1)] * 2
    assert coded.rate == "bytes"
    files = codec.compress(image)
    assert [8 * len(data) for data in files] == coded.bits.tolist()
    assert files[0][HEADER_BYTES + 1 :] == codec.eval()(image).latent[0].detach().numpy().tobytes()


@pytest.mark.parametrize("bits", [1, 4, 8, 10])
def test_a_quantised_latent_is_on_its_grid_and_costs_less_than_its_bits(bits, blobs):
    codec, image = Autoencoder(3, latent_bits=bits).eval(), blobs(3, 3, 128, 128)
    continuous = Autoencoder(3).eval()
    continuous.load_state_dict(codec.state_dict())
    coded, free = codec(image), continuous(image).latent
    assert coded.rate == "rounded"
    low, high = free.amin((2, 3), keepdim=True), free.amax((2, 3), keepdim=True)
    step = (high - low) / (2**bits - 1)
    symbols = (coded.latent - low) / step
    torch.testing.assert_close(symbols, symbols.round(), rtol=0, atol=0.02)
    assert ((coded.latent - free).abs() <= 0.5 * step + 1e-4).all()
    # Coding by the spread of the symbols never costs much more than writing them plainly.
    assert (coded.bits_map.sum((1, 2, 3)) < (bits + 0.6) * coded.latent[0].numel()).all()
    sizes = torch.tensor([8.0 * len(data) for data in codec.compress(image)])
    torch.testing.assert_close(coded.bits, sizes, rtol=0.01, atol=64)


def test_more_bits_cost_more_and_approach_the_continuous_latent(blobs):
    codec, image = Autoencoder(6).eval(), blobs(2)
    free = codec(image)
    sizes, errors = [], []
    for bits in (2, 4, 6, 8, 10):
        codec.latent_bits = bits
        coded = codec(image)
        sizes.append(coded.bits.mean().item())
        errors.append((coded.reconstruction - free.reconstruction).abs().max().item())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 2e-3
    assert sizes[-1] < 0.5 * free.bits.mean()


def test_a_file_says_its_resolution_itself(blobs):
    codec, image = Autoencoder(6).eval(), blobs(2)
    files, pictures = [], []
    for bits in (None, 3, 10):
        codec.latent_bits = bits
        files.append(codec.compress(image)[0])
        pictures.append(codec(image).reconstruction[0])
    assert torch.equal(codec.decompress(files), torch.stack(pictures))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_picture_and_a_single_pixel(value):
    codec = Autoencoder(6, latent_bits=8).eval()
    for size in ((64, 64), (1, 1), (3, 70)):
        image = torch.full((1, 3, *size), value)
        coded, files = codec(image), codec.compress(image)
        assert torch.equal(codec.decompress(files), coded.reconstruction)
        assert coded.bits.isfinite().all()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("latent_bits", [None, 4])
@pytest.mark.parametrize("width_ratio", [6, 1.5])
def test_it_passes_the_gradient_in_both_modes(width_ratio, latent_bits, training, blobs):
    codec = Autoencoder(width_ratio, latent_bits=latent_bits).train(training)
    image = blobs().requires_grad_()
    coded = codec(image)
    (coded.reconstruction - 0.3).abs().sum().backward(retain_graph=True)
    assert (image.grad != 0).float().mean() > 0.99
    for name, parameter in codec.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    if latent_bits is None:
        assert not coded.bits.requires_grad
    else:
        (slope,) = torch.autograd.grad(coded.bits.sum(), image)
        assert slope.isfinite().all()
        assert (slope != 0).float().mean() > 0.99


def test_it_learns_by_the_mean_absolute_error(blobs):
    codec = Autoencoder(6).train()
    optimiser = torch.optim.Adam(codec.parameters(), lr=2e-3)
    for step in range(120):
        image = blobs(4, seed=step)
        loss = (codec(image).reconstruction - image).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    image = blobs(8, seed=12345)
    codec.eval()
    assert psnr(codec(image).reconstruction, image).mean() > 27
    codec.latent_bits = 8
    assert psnr(codec(image).reconstruction, image).mean() > 27
    assert codec(image).bpp.max() < 5


def test_diverged_latents_are_never_coded(blobs):
    codec = Autoencoder(6)
    with torch.no_grad():
        codec.analysis.layers[-1].bias.fill_(float("nan"))
    for bits in (None, 8):
        codec.latent_bits = bits
        with pytest.raises(ValueError, match=r"the latents of picture \[0, 1\] .* are not finite"):
            codec.compress(blobs(2))


def test_a_forged_payload_is_refused(blobs):
    codec = Autoencoder(6, latent_bits=8).eval()
    (data,) = codec.compress(blobs(1, 3, 16, 16))
    tables = int.from_bytes(data[14:18], "little")

    def forged(body: bytes) -> bytes:
        return pack(
            body,
            kind=Kind.AUTOENCODER,
            size=(16, 16),
            channels=3,
            model=fingerprint(codec),
            tables=tables,
        )

    body = data[HEADER_BYTES:]
    head = np.frombuffer(body[1 : 1 + 8 * _CHANNEL.itemsize], _CHANNEL).copy()
    wide, endless = head.copy(), head.copy()
    wide["level"][3], endless["step"][2] = 60, np.inf
    rest = body[1 + 8 * _CHANNEL.itemsize :]
    for wrong, message in (
        (b"", "resolution or ranges are missing"),
        (b"\x11" + body[1:], "resolution or ranges are missing"),
        (body[:50], "resolution or ranges are missing"),
        (b"\0" + bytes(7), r"7 bytes are not latents \[8, 4, 4\]"),
        (b"\0" + np.full(8 * 16, np.nan, "<f4").tobytes(), "a latent is not finite"),
        (b"\x08" + wide.tobytes() + rest, "a width level beyond the last of 60"),
        (b"\x08" + endless.tobytes() + rest, "a latent is not finite"),
        (body + b"x", "left over"),
    ):
        with pytest.raises(CorruptStream, match=f"payload 0: .*{message}"):
            codec.decompress([forged(wrong)])


@pytest.mark.parametrize("width_ratio", [2, 0, "6", float("nan"), None, 1.5001, [6]])
def test_other_width_ratios_are_refused(width_ratio):
    with pytest.raises(ValueError, match=r"width_ratio must be 6, 3 or 1.5, got"):
        Autoencoder(width_ratio)


@pytest.mark.parametrize("bits", [0, 11, 2.5, 4.0, "8"])
def test_other_resolutions_are_refused(bits):
    with pytest.raises(ValueError, match="latent_bits must be a whole number of 1 to 10, or None"):
        Autoencoder(6, latent_bits=bits)


def test_other_bad_arguments_and_its_repr():
    for channels in (0, 2.5, 3.0, "3"):
        with pytest.raises(ValueError, match="channels must be a whole number of 1 to 65535, got"):
            Autoencoder(channels=channels)
    shown = repr(Autoencoder(1.5, latent_bits=8))
    assert "width_ratio=1.5, latent_channels=32, latent_bits=8, exact=True" in shown


def test_the_header_is_in_the_price_to_the_byte():
    torch.manual_seed(0)
    codec = Autoencoder(latent_bits=6).eval()
    pictures = torch.rand(32, 3, 16, 16)
    with torch.no_grad():
        coded, files = codec(pictures), codec.compress(pictures)
    price = coded.bits_map.sum((1, 2, 3)) + coded.side_bits
    sizes = torch.tensor([8.0 * len(data) for data in files])
    # A file ends with a whole byte.
    assert abs(float((sizes - price).mean())) < 8
