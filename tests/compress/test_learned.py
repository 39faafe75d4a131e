"""The learned codecs: exact bytes, honest rates, gradients everywhere, and that they learn."""

import copy
import struct
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import compress.prior
from compress import Autoencoder, Codec, CorruptStream, FactorizedCodec, psnr
from compress.bitstream import HEADER_BYTES, Kind, decode_symbols, pack, unpack
from compress.learned import fingerprint


def blobs(count: int = 4, channels: int = 3, height: int = 64, width: int = 64, seed: int = 0):
    """Smooth random pictures in 0..1 with correlated channels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels + 1, height + 16, width + 16, generator=generator)
    for _ in range(2):
        x = nn.functional.avg_pool2d(x, 9, 1)
    x = x[:, :1] + 0.5 * x[:, 1:]
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - low) / (high - low)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(kind: str, channels: int = 3) -> Codec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = FactorizedCodec(channels=channels) if kind == "factorized" else None
        return (made or Autoencoder(float(kind), channels=channels)).eval()


KINDS = ["6", "3", "1.5", "factorized"]


def symbols_of(codec: FactorizedCodec, data: bytes) -> torch.Tensor:
    """The symbols ``[M, N]`` in a file."""
    model, tables = codec._tables()
    (height, width), body = unpack(data, kind=Kind.FACTORIZED, channels=codec.channels, model=model)
    return torch.from_numpy(decode_symbols(body, tables, -(-height // 8) * -(-width // 8)))


# --- bytes -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 4),
    st.integers(16, 70),
    st.integers(16, 70),
    st.integers(1, 3),
)
def test_what_was_written_is_what_forward_shows(kind, channels, height, width, count):
    codec = build(kind, channels)
    image = blobs(count, channels, height, width)
    coded, files = codec(image), codec.compress(image)
    decoded = codec.decompress(files)
    assert decoded.shape == coded.reconstruction.shape == image.shape
    torch.testing.assert_close(decoded, coded.reconstruction, rtol=0, atol=1e-5)
    for i, data in enumerate(files):
        if isinstance(codec, FactorizedCodec):
            assert torch.equal(symbols_of(codec, data), coded.latent[i].flatten(1).long())
            assert abs(coded.bits[i].item() - 8 * len(data)) < 0.01 * 8 * len(data) + 16 * 8
        else:
            assert coded.bits[i].item() == pytest.approx(8 * len(data), rel=1e-5)
            assert data[HEADER_BYTES:] == coded.latent[i].detach().numpy().tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_stands_alone(kind):
    codec, image = build(kind), blobs(6)
    files = codec.compress(image)
    decoded = codec.decompress(files)
    assert files == codec.compress(image)
    order = [4, 0, 5, 2]
    torch.testing.assert_close(
        codec.decompress([files[i] for i in order]), decoded[order], rtol=0, atol=1e-6
    )
    for i in range(6):
        torch.testing.assert_close(codec.decompress([files[i]])[0], decoded[i], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        codec(image[order]).bits, codec(image).bits[order], rtol=1e-5, atol=0
    )


def test_the_mode_changes_neither_files_nor_their_pictures():
    codec, image = build("factorized"), blobs()
    files, decoded = codec.compress(image), codec.decompress(codec.compress(image))
    codec.train()
    assert codec.compress(image) == files
    assert torch.equal(codec.decompress(files), decoded)


def test_symbols_that_no_table_lists_come_back():
    codec = build("factorized")
    assert isinstance(codec, FactorizedCodec)
    with torch.no_grad():
        codec.analysis.layers[-1].weight *= 300  # type: ignore[union-attr, operator]
    image = blobs(2)
    _, tables = codec._tables()
    coded = codec(image)
    assert coded.latent.abs().max() > 10 * max(table.listed for table in tables)
    files = codec.compress(image)
    torch.testing.assert_close(
        codec.decompress(files), coded.reconstruction, rtol=0, atol=1e-5, equal_nan=True
    )
    # Even where nearly everything is escaped, the estimate is close.
    assert coded.bits[0].item() == pytest.approx(8 * len(files[0]), rel=0.2)


@pytest.mark.parametrize(
    ("kind", "value"), [("6", float("nan")), ("factorized", float("nan")), ("factorized", 1e30)]
)
def test_diverged_latents_are_never_coded(kind, value):
    codec = build(kind)
    with torch.no_grad():
        codec.analysis.layers[-1].bias.fill_(value)  # type: ignore[union-attr, operator]
    with pytest.raises(ValueError, match=r"the latents of picture \[0, 1\] .* are not finite"):
        codec.compress(blobs(2))


@pytest.mark.parametrize("kind", ["6", "factorized"])
def test_damage_is_an_error(kind):
    codec = build(kind)
    good, data = codec.compress(blobs(2, 3, 16, 16))
    generator = seeded()
    spots = torch.randint(8 * len(data), (150,), generator=generator).tolist()
    for bit in spots + list(range(8 * HEADER_BYTES)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStream, match="payload 1: "):
            codec.decompress([good, bytes(damaged)])
    for length in [*range(HEADER_BYTES), len(data) // 2, len(data) - 1]:
        with pytest.raises(CorruptStream, match="payload 1: truncated"):
            codec.decompress([good, data[:length]])
    with pytest.raises(CorruptStream, match="payload 1: too long"):
        codec.decompress([good, data + b"\0"])


@pytest.mark.parametrize("kind", ["6", "factorized"])
def test_a_forged_file_is_an_error(kind):
    # A valid checksum around a payload that is none.
    codec = build(kind)
    (data,) = codec.compress(blobs(1, 3, 16, 16))
    model = struct.unpack_from("<I", data, 10)[0]
    number = Kind.FACTORIZED if kind == "factorized" else Kind.AUTOENCODER
    for body in (b"\1", bytes(range(1, 200)), b"\xff" * 500):
        forged = pack(body, kind=number, size=(16, 16), channels=3, model=model)
        with pytest.raises(CorruptStream, match="payload 0: "):
            codec.decompress([forged])


def test_other_codecs_and_other_parameters_do_not_read_it():
    codec, image = build("factorized"), blobs(1)
    files = codec.compress(image)
    with pytest.raises(CorruptStream, match="another codec: FACTORIZED, this one is AUTOENCODER"):
        build("6").decompress(files)
    with pytest.raises(CorruptStream, match="another codec: AUTOENCODER"):
        codec.decompress(build("6").compress(image))
    with pytest.raises(CorruptStream, match="a picture of 3 channels, this codec has 1"):
        build("factorized", 1).decompress(files)
    with pytest.raises(CorruptStream, match="load the parameters that wrote it"):
        build("3").decompress(build("6").compress(image))
    for name, parameter in codec.named_parameters():
        with torch.no_grad():
            parameter.view(-1)[0] += 1e-4
        with pytest.raises(CorruptStream, match="load the parameters that wrote it"):
            codec.decompress(files)
        codec.load_state_dict(build("factorized").state_dict())
        assert torch.equal(codec.decompress(files), build("factorized").decompress(files)), name


def test_tables_are_never_stale():
    codec, image = build("factorized"), blobs(1)
    assert isinstance(codec, FactorizedCodec)
    before = codec.compress(image)
    with torch.no_grad():  # as an optimiser step would, in place
        for parameter in codec.prior.parameters():
            parameter += 0.3
    after = codec.compress(image)
    assert after != before
    assert torch.equal(symbols_of(codec, after[0]), codec(image).latent[0].flatten(1).long())
    fresh = FactorizedCodec()
    fresh.load_state_dict(codec.state_dict())
    assert fresh.compress(image) == after


def test_a_machine_that_computes_other_tables_refuses(monkeypatch):
    codec, image = build("factorized"), blobs(1)
    files = codec.compress(image)
    monkeypatch.setattr(compress.prior, "TABLE_FLOOR", 2.0**-16)
    with pytest.raises(CorruptStream, match="fingerprint"):
        build("factorized").decompress(files)


def test_a_checkpoint_writes_and_reads_the_same_bytes_in_another_process(tmp_path):
    codec, image = build("factorized"), blobs(2)
    torch.save({"codec": codec.state_dict(), "image": image}, tmp_path / "saved.pt")
    code = (
        "import sys, torch; from compress import FactorizedCodec;"
        "torch.set_num_threads(1); saved = torch.load(sys.argv[1]); codec = FactorizedCodec();"
        "codec.load_state_dict(saved['codec']); files = codec.compress(saved['image']);"
        "print(files[0].hex(), files[1].hex())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "saved.pt")],
        capture_output=True,
        text=True,
        check=True,
    )
    files = [bytes.fromhex(word) for word in run.stdout.split()]
    assert files == codec.compress(image)
    torch.testing.assert_close(
        codec.decompress(files), codec(image).reconstruction, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_copies_wrapped_and_converted_models_read_the_same_files(kind):
    codec, image = build(kind), blobs(2)
    files = codec.compress(image)
    expected = codec.decompress(files)
    wrapped = nn.Sequential(copy.deepcopy(codec))
    reloaded = nn.Sequential(build(kind))
    reloaded.load_state_dict(wrapped.state_dict())
    for other in (
        wrapped[0],
        reloaded[0],
        copy.deepcopy(codec).to(memory_format=torch.channels_last),
        copy.deepcopy(codec).double(),
    ):
        assert fingerprint(other) == fingerprint(codec)
        assert isinstance(other, Codec)
        torch.testing.assert_close(other.decompress(files).float(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_layouts_and_types_of_the_picture_do_not_matter(kind):
    codec, image = build(kind), blobs(2, 3, 40, 48)
    expected = codec(image)
    for other in (
        image.to(memory_format=torch.channels_last),
        image.mT.contiguous().mT,
        torch.cat([image, image], -1)[..., :48],
        image.double(),
    ):
        coded = codec(other)
        assert coded.reconstruction.dtype == torch.float32
        torch.testing.assert_close(coded.reconstruction, expected.reconstruction, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            codec.decompress(codec.compress(other)), expected.reconstruction, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("kind", ["6", "factorized"])
def test_float64_models(kind):
    codec, image = build(kind).double(), blobs(2).double()
    coded = codec(image)
    assert coded.reconstruction.dtype == coded.bits_map.dtype == torch.float64
    torch.testing.assert_close(
        codec.decompress(codec.compress(image)), coded.reconstruction, rtol=0, atol=1e-5
    )


# --- the rate --------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "latents", "price"), [(6, 8, 16), (3, 16, 32), (1.5, 32, 64)])
def test_the_autoencoder_has_the_seeds_latents_and_their_price(ratio, latents, price):
    coded = Autoencoder(ratio)(torch.rand(2, 3, 128, 128, generator=seeded()))
    assert coded.latent.shape == (2, latents, 32, 32)
    assert 3 * 128 * 128 / coded.latent[0].numel() == ratio
    assert torch.equal(coded.bits_map, torch.full((2, 1, 128, 128), float(price)))
    assert coded.side_bits.tolist() == [8 * HEADER_BYTES] * 2
    assert coded.rate == "bytes"


def test_the_rate_says_what_it_is():
    codec, image = build("factorized"), blobs()
    assert codec(image).rate == "rounded"
    assert torch.equal(codec(image).latent, codec(image).latent.round())
    codec.train()
    coded = codec(image, generator=seeded())
    assert coded.rate == "noisy"
    assert not torch.equal(coded.latent, coded.latent.round())
    assert torch.equal(coded.bits, codec(image, generator=seeded()).bits)
    assert not torch.equal(coded.bits, codec(image, generator=seeded(1)).bits)


@settings(deadline=None, max_examples=20)
@given(st.integers(16, 50), st.integers(16, 50), st.booleans())
def test_the_map_holds_all_bits(height, width, training):
    codec = build("factorized").train(training)
    assert isinstance(codec, FactorizedCodec)
    coded = codec(blobs(2, 3, height, width), generator=seeded())
    assert coded.bits_map.shape == (2, 1, height, width)
    assert (coded.bits_map >= 0).all()
    total = codec.prior.bits(coded.latent).sum((1, 2, 3))
    torch.testing.assert_close(coded.bits_map.sum((1, 2, 3)), total, rtol=1e-5, atol=0)
    # Each cell has its own bits on its own pixels, those at the border on fewer.
    cells = codec.prior.bits(coded.latent).sum(1)
    corner = coded.bits_map[:, 0, height // 8 * 8 :, width // 8 * 8 :]
    if corner.numel():
        torch.testing.assert_close(corner.sum((1, 2)), cells[:, -1, -1])
    torch.testing.assert_close(coded.bits_map[:, 0, :8, :8].sum((1, 2)), cells[:, 0, 0])


def test_the_map_moves_with_the_picture():
    codec, image = build("factorized"), blobs(1, 3, 128, 128)
    before, after = codec(image).bits_map, codec(image.roll((8, 16), (-2, -1))).bits_map
    inner = slice(40, -32)
    torch.testing.assert_close(
        after[..., inner, inner],
        before.roll((8, 16), (-2, -1))[..., inner, inner],
        rtol=1e-4,
        atol=1e-5,
    )


def test_padding_a_picture_does_not_change_the_bits_of_far_cells():
    codec, image = build("factorized"), blobs(1, 3, 96, 96)
    part, whole = codec(image[..., :81]).bits_map, codec(image).bits_map
    torch.testing.assert_close(part[..., :56], whole[..., :56], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_the_rate_is_float32_under_autocast(training):
    codec, image = build("factorized").train(training), blobs()
    assert isinstance(codec, FactorizedCodec)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coded = codec(image, generator=seeded())
        files = codec.compress(image)
    assert coded.bits_map.dtype == coded.reconstruction.dtype == torch.float32
    assert coded.latent.dtype == torch.float32  # noise and rounding need it
    assert codec.decompress(files).shape == image.shape
    exact = codec.prior.bits(coded.latent).sum((1, 2, 3))
    torch.testing.assert_close(coded.bits_map.sum((1, 2, 3)), exact, rtol=1e-5, atol=0)
    assert coded.bits.sum().item() == pytest.approx(
        codec(image, generator=seeded()).bits.sum().item(), rel=0.02
    )


# --- gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_bits_and_distortion_reach_the_picture_and_every_parameter(training):
    codec, image = build("factorized").train(training), blobs().requires_grad_()
    coded = codec(image, generator=seeded())
    owners = {
        "bits": (coded.bpp.sum(), ("analysis", "prior")),
        "distortion": ((coded.reconstruction - 0.3).square().sum(), ("analysis", "synthesis")),
    }
    for value, parts in owners.values():
        parameters = {n: p for n, p in codec.named_parameters() if n.startswith(parts)}
        gradients = torch.autograd.grad(value, [image, *parameters.values()], retain_graph=True)
        for name, gradient in zip(["image", *parameters], gradients, strict=True):
            assert gradient.isfinite().all(), name
            assert gradient.abs().max() > 0, name
        assert (gradients[0].flatten(1).abs().amax(1) > 0).all()
        assert (gradients[0] != 0).float().mean() > 0.99


@pytest.mark.parametrize("width_ratio", [6, 1.5])
def test_the_autoencoder_passes_the_gradient_in_both_modes(width_ratio):
    for training in (False, True):
        codec, image = build(str(width_ratio)).train(training), blobs().requires_grad_()
        (codec(image).reconstruction - 0.3).abs().sum().backward()
        assert image.grad is not None
        assert (image.grad != 0).float().mean() > 0.99
        for name, parameter in codec.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


def test_finite_differences_confirm_the_gradient_of_training():
    codec = build("factorized").double().train()
    image = blobs(1, 3, 17, 18).double().requires_grad_()

    target = image.detach().clone()

    def value(x):
        coded = codec(x, generator=seeded(7))
        return coded.bpp.sum() + 10 * (coded.reconstruction - target).square().sum()

    variables = [image, *codec.parameters()]
    gradients = torch.autograd.grad(value(image), variables)
    for i, (variable, gradient) in enumerate(zip(variables, gradients, strict=True)):
        direction = torch.randn(variable.shape, generator=seeded(i), dtype=torch.float64)
        step = 1e-6
        with torch.no_grad():
            variable += step * direction
            above = value(image)
            variable -= 2 * step * direction
            below = value(image)
            variable += step * direction
        slope = ((above - below) / (2 * step)).item()
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-4, abs=1e-7)


def test_the_straight_through_gradient_is_that_of_the_rounded_latent():
    codec, image = build("factorized"), blobs(1).requires_grad_()
    assert isinstance(codec, FactorizedCodec)
    steps = codec._steps(image)
    rounded = steps.detach().round().requires_grad_()
    (slope,) = torch.autograd.grad(codec.prior.bits(rounded).sum(), rounded)
    (expected,) = torch.autograd.grad(steps, image, slope)
    (gradient,) = torch.autograd.grad(codec(image).bits.sum(), image)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


# --- learning --------------------------------------------------------------------------------


def train(codec: Codec, steps: int, *, distortion_weight: float) -> None:
    optimiser = torch.optim.Adam(codec.train().parameters(), lr=1e-3)
    for step in range(steps):
        image = blobs(8, seed=step)
        coded = codec(image, generator=seeded(step))
        distortion = (coded.reconstruction - image).square().mean()
        loss = coded.bpp.mean() + distortion_weight * 255**2 * distortion
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def test_the_factorized_codec_learns_and_its_bytes_are_its_rate():
    codec = build("factorized")
    train(codec, 250, distortion_weight=0.01)
    image = blobs(8, 3, 96, 104, seed=12345)
    noisy = codec(image, generator=seeded())
    codec.eval()
    coded, files = codec(image), codec.compress(image)
    sizes = torch.tensor([8.0 * len(data) for data in files])
    assert psnr(coded.reconstruction, image).min() > 25
    assert coded.bpp.max() < 1
    assert ((coded.bits - sizes).abs() < 0.01 * sizes + 16 * 8).all()
    assert noisy.bits.mean() > 0.99 * coded.bits.mean()
    torch.testing.assert_close(codec.decompress(files), coded.reconstruction, rtol=0, atol=1e-5)
    # A constant costs less than texture, and that less than noise.
    noise = torch.rand(1, 3, 128, 128, generator=seeded())
    blur = nn.functional.avg_pool2d(noise, 9, 1, 4)
    constant, blurred, rough = (
        len(data) for data in codec.compress(torch.cat([0 * noise + 0.5, blur, noise]))
    )
    assert constant < blurred < rough


def test_the_weight_of_the_distortion_trades_bits_for_fidelity():
    image, points = blobs(8, seed=12345), []
    for weight in (0.0, 0.001, 0.02):
        codec = build("factorized")
        train(codec, 80, distortion_weight=weight)
        coded = codec.eval()(image)
        points.append((coded.bpp.mean().item(), psnr(coded.reconstruction, image).mean().item()))
    (least, worst), (less, worse), (bits, good) = points
    untrained = build("factorized")(image).bpp.mean().item()
    assert least < 0.8 * untrained
    assert least < less < bits
    assert worst + 3 < worse + 1 < good


def test_the_autoencoder_learns():
    codec = build("6").train()
    optimiser = torch.optim.Adam(codec.parameters(), lr=1e-3)
    for step in range(150):
        image = blobs(8, seed=step)
        loss = (codec(image).reconstruction - image).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    image = blobs(8, seed=12345)
    assert psnr(codec(image).reconstruction, image).mean() > 27


# --- construction ----------------------------------------------------------------------------


def test_the_default_nets_are_small():
    for kind in KINDS:
        assert sum(parameter.numel() for parameter in build(kind).parameters()) <= 100_000


@pytest.mark.parametrize("width_ratio", [2, 0, "6", float("nan"), None, 1.5001, [6]])
def test_other_width_ratios_are_refused(width_ratio):
    with pytest.raises(ValueError, match=r"width_ratio must be 6, 3 or 1.5, got"):
        Autoencoder(width_ratio)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        FactorizedCodec(channels=0)
    with pytest.raises(ValueError, match="must be at least 1, got 3, 0"):
        FactorizedCodec(latent_channels=0)
    with pytest.raises(ValueError, match="must be at least 1"):
        Autoencoder(channels=0)


def test_repr_shows_the_sizes():
    assert "width_ratio=1.5, latent_channels=32" in repr(Autoencoder(1.5))
    assert "channels=2, latent_channels=16" in repr(FactorizedCodec(channels=2))
