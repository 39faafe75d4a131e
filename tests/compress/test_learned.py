"""The codecs of nets: exact bytes, honest rates, gradients everywhere, and that they learn."""

import copy
import struct
from functools import cache

import numpy as np
import pytest
import torch
from drawn import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import compress.prior
from compress import (
    Autoencoder,
    Codec,
    CorruptStream,
    FactorizedCodec,
    HyperpriorCodec,
    LearnedCodec,
    psnr,
)
from compress.coding import fingerprint
from compress.container import HEADER_BYTES, MAX_VALUES, Kind, pack
from compress.learned import SHAPES, Gain

# --- bytes -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(
    channels=st.integers(1, 4),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    count=st.integers(1, 3),
)
def test_what_was_written_is_what_forward_shows(
    exact, build, blobs, channels, height, width, count
):
    codec = build(exact, channels)
    image = blobs(count, channels, height, width)
    coded, files = codec(image), codec.compress(image)
    decoded = codec.decompress(files)
    assert decoded.shape == coded.reconstruction.shape == image.shape
    assert torch.equal(decoded, coded.reconstruction)
    for i, data in enumerate(files):
        # The payload within 1 % + 16 bytes of the rate.
        assert abs(coded.bits[i].item() - 8 * len(data)) < 0.01 * 8 * len(data) + 16 * 8


def test_64_files_of_one_batch_decode_one_by_one(exact, build, blobs):
    codec, image = build(exact), blobs(64, 3, 24, 32)
    files, pictures = codec.compress(image), codec(image).reconstruction
    equal = [torch.equal(codec.decompress([data])[0], pictures[i]) for i, data in enumerate(files)]
    assert sum(equal) == 64
    assert [codec.compress(image[i : i + 1])[0] for i in range(64)] == files
    order = [40, 0, 63, 2]
    assert torch.equal(codec.decompress([files[i] for i in order]), pictures[order])
    assert codec.compress(image[order]) == [files[i] for i in order]
    torch.testing.assert_close(
        codec(image[order]).bits, codec(image).bits[order], rtol=1e-6, atol=0
    )


def test_the_mode_changes_neither_files_nor_their_pictures(exact, build, blobs):
    codec, image = build(exact), blobs()
    files, decoded = codec.compress(image), codec.decompress(codec.compress(image))
    codec.train()
    assert codec.compress(image) == files
    assert torch.equal(codec.decompress(files), decoded)


def test_the_halves_are_what_evaluation_shows(exact, build, blobs):
    for size in ((13, 30), (1, 1)):
        image = blobs(2, 3, *size)
        codec = build(exact).eval()
        coded = codec(image)
        for training in (False, True):
            codec.train(training)
            latent = codec.encode(image)
            assert torch.equal(latent, coded.latent)
            decoded = codec.decode(latent, size=size)
            # A float32 holds whole numbers of steps, and no others, exactly: of those the last
            # rounding of the exact arithmetic may be another.
            assert (decoded - coded.reconstruction).abs().max() <= 2**-16
            if isinstance(codec, FactorizedCodec):
                assert torch.equal(decoded, coded.reconstruction)
                assert torch.equal(latent, latent.round())
        codec.eval()
        image.requires_grad_()
        ways = codec.decode(codec.encode(image), size=size), codec(image).reconstruction
        gradients = [torch.autograd.grad(way.square().sum(), image)[0] for way in ways]
        assert float(gradients[1].abs().sum()) > 0
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_the_halves_are_of_one_quality_and_size(build, blobs):
    codec, image = FactorizedCodec(levels=3).eval(), blobs(1, 3, 20, 24)
    codec.quality = 2.0
    fine = codec(image)
    latent = codec.encode(image)
    assert torch.equal(latent, fine.latent)
    assert torch.equal(codec.decode(latent, size=(20, 24)), fine.reconstruction)
    codec.quality = 0.0
    assert not torch.equal(codec.decode(latent, size=(20, 24)), fine.reconstruction)
    wanted = r"expected a latent \[B, 32, 3, 3\] of pictures of 20x24"
    for wrong in (latent[:, :5], latent[..., :2], latent[0], latent.long()):
        with pytest.raises(ValueError, match=wanted):
            codec.decode(wrong, size=(20, 24))
    with pytest.raises(ValueError, match=wanted):
        codec.decode(latent.detach().numpy(), size=(20, 24))
    with pytest.raises(
        ValueError, match=r"\[B, 16, 5, 6\] of pictures of 20x24, got torch.float32"
    ):
        Autoencoder(3).decode(latent, size=(20, 24))


def test_symbols_that_no_table_lists_come_back(rated, build, blobs):
    codec = build(rated)
    with torch.no_grad():
        codec.analysis.layers[-1].weight *= 3000
    image = blobs(2)
    coded = codec(image)
    assert coded.latent.abs().max() > 4 * compress.prior.TABLE_LIMIT
    files = codec.compress(image)
    assert torch.equal(codec.decompress(files), coded.reconstruction)
    # Even where nearly everything is escaped, the estimate is close.
    assert coded.bits[0].item() == pytest.approx(8 * len(files[0]), rel=0.25)


@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_diverged_latents_are_never_coded(rated, build, blobs, value):
    codec = build(rated)
    with torch.no_grad():
        codec.analysis.layers[-1].bias.fill_(value)
    with pytest.raises(ValueError, match=r"the latents of picture \[0, 1\] .* are not finite"):
        codec.compress(blobs(2))


def test_damage_is_an_error(exact, build, blobs):
    codec = build(exact)
    good, data = codec.compress(blobs(2, 3, 16, 16))
    spots = torch.randint(8 * len(data), (100,), generator=seeded()).tolist()
    for bit in spots + list(range(8 * HEADER_BYTES)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStream, match="payload 1: "):
            codec.decompress([good, bytes(damaged)])
    for length in [*range(HEADER_BYTES), len(data) // 2, len(data) - 1]:
        with pytest.raises(CorruptStream, match="payload 1: truncated"):
            codec.decompress([good, data[:length]])
    with pytest.raises(CorruptStream, match="payload 1: truncated or damaged"):
        codec.decompress([good, data + b"\0"])


@cache
def codec_and_file(build, blobs, name: str) -> tuple[Codec, bytes]:
    """A codec, and a file that it wrote: the same for every example."""
    codec = build(name)
    (data,) = codec.compress(blobs(1, 3, 16, 16))
    return codec, data


@settings(deadline=None, max_examples=60)
@given(body=st.binary(max_size=300), tail=st.booleans())
def test_a_forged_file_is_an_error_or_a_picture(exact, build, blobs, body, tail):
    # A valid checksum around a payload that is none, or around one that begins well.
    codec, data = codec_and_file(build, blobs, exact)
    kind, model, tables = data[3], *struct.unpack_from("<II", data, 10)
    body = data[HEADER_BYTES : HEADER_BYTES + 20] + body if tail else body
    forged = pack(body, kind=Kind(kind), size=(16, 16), channels=3, model=model, tables=tables)
    try:
        picture = codec.decompress([forged])
    except CorruptStream as error:
        picture = None
        named = str(error)
    if picture is None:
        assert named.startswith("payload 0: ")
    else:
        assert picture.shape == (1, 3, 16, 16)
        assert picture.isfinite().all()


def test_a_file_of_more_symbols_than_its_picture_has_is_refused(rated, build, blobs):
    codec = build(rated)
    (data,) = codec.compress(blobs(1, 3, 64, 64))
    kind, model, tables = data[3], *struct.unpack_from("<II", data, 10)
    body = data[HEADER_BYTES:]
    forged = pack(body, kind=Kind(kind), size=(64, 32), channels=3, model=model, tables=tables)
    with pytest.raises(CorruptStream, match="payload 0: bits are left over after the last symbol"):
        codec.decompress([forged])


def test_a_forged_size_is_refused_before_memory_is_asked_for(rated, build, blobs):
    codec = build(rated)
    (data,) = codec.compress(blobs(1, 3, 16, 16))
    model, tables = struct.unpack_from("<II", data, 10)
    size = (4096, MAX_VALUES // 4096 // 3)
    forged = pack(
        data[HEADER_BYTES:],
        kind=Kind(data[3]),
        size=size,
        channels=3,
        model=model,
        tables=tables,
    )
    with pytest.raises(CorruptStream, match=r"payload 0: \d+ bytes cannot hold \d+ symbols"):
        codec.decompress([forged])


def test_other_codecs_and_other_parameters_do_not_read_it(build, blobs):
    codec, image = build("factorized"), blobs(1)
    files = codec.compress(image)
    with pytest.raises(CorruptStream, match="another codec: FACTORIZED, this one is AUTOENCODER"):
        build("6").decompress(files)
    with pytest.raises(CorruptStream, match="another codec: FACTORIZED, this one is HYPERPRIOR"):
        build("hyperprior").decompress(files)
    with pytest.raises(CorruptStream, match="a picture of 3 channels, this codec has 1"):
        build("factorized", 1).decompress(files)
    with pytest.raises(CorruptStream, match="load the parameters that wrote it"):
        build("1.5").decompress(build("6").compress(image))


@pytest.mark.parametrize("name", ["factorized", "hyperprior, 4 levels"])
def test_every_parameter_counts(build, blobs, name):
    codec, image = build(name), blobs(1)
    files, expected = codec.compress(image), codec.decompress(codec.compress(image))
    weights = copy.deepcopy(codec.state_dict())
    for parameter in codec.parameters():
        with torch.no_grad():
            parameter.view(-1)[0] += 1e-4
        with pytest.raises(CorruptStream, match="load the parameters that wrote it"):
            codec.decompress(files)
        codec.load_state_dict(weights)
    assert torch.equal(codec.decompress(files), expected)


def test_tables_are_never_stale(rated, build, blobs):
    codec, image = build(rated), blobs(1)
    before = codec.compress(image)
    with torch.no_grad():  # as an optimiser step would, in place
        for parameter in codec.prior.parameters():
            parameter += 0.3
    after, coded = codec.compress(image), codec(image)
    assert after != before
    assert 8 * len(after[0]) == pytest.approx(coded.bits[0].item(), rel=0.01, abs=16)
    assert torch.equal(codec.decompress(after), coded.reconstruction)
    fresh = copy.deepcopy(build(rated))
    fresh.load_state_dict(codec.state_dict())
    assert fresh.compress(image) == after


def test_a_machine_that_computes_other_tables_refuses(rated, build, blobs, monkeypatch):
    codec, image = build(rated), blobs(1)
    files = codec.compress(image)
    monkeypatch.setattr(compress.prior, "TABLE_FLOOR", 2.0**-16)
    with pytest.raises(CorruptStream, match="they give other coding tables on this machine"):
        build(rated).decompress(files)


def test_a_fresh_process_writes_and_reads_the_same_bytes(fresh, all_rated, build, blobs, tmp_path):
    # One process for all of them: to start it costs more than what it does.
    codecs, image = {name: build(name) for name in all_rated}, blobs(3, 3, 64, 80)
    given = {
        name: (type(codec).__name__, codec.levels, codec.state_dict())
        for name, codec in codecs.items()
    }
    saved = str(tmp_path / "saved.pt")
    torch.save((given, image), saved)
    code = (
        "import sys, torch, compress\n"
        "torch.set_num_threads(3)\n"
        "(given, image), found = torch.load(sys.argv[1]), {}\n"
        "for name, (kind, levels, state) in given.items():\n"
        "    codec = getattr(compress, kind)(levels=levels)\n"
        "    codec.load_state_dict(state)\n"
        "    files = [codec.compress(picture[None])[0] for picture in image]\n"
        "    found[name] = files, codec.decompress(files)\n"
        "torch.save(found, sys.argv[1])"
    )
    run = fresh.run(code, saved)
    assert run.returncode == 0, run.stderr
    found = torch.load(saved)
    assert list(found) == list(codecs)
    for name, codec in codecs.items():
        files, decoded = found[name]
        assert files == codec.compress(image), name
        assert torch.equal(decoded, codec(image).reconstruction), name


def test_copies_wrapped_and_converted_models_read_the_same_files(exact, build, blobs):
    codec, image = build(exact), blobs(2)
    files = codec.compress(image)
    expected = codec.decompress(files)
    wrapped = nn.Sequential(copy.deepcopy(codec))
    reloaded = nn.Sequential(build(exact))
    reloaded.load_state_dict(wrapped.state_dict())
    for other in (
        wrapped[0],
        reloaded[0],
        copy.deepcopy(codec).to(memory_format=torch.channels_last),
        copy.deepcopy(codec).double(),
    ):
        assert fingerprint(other) == fingerprint(codec)
        assert isinstance(other, Codec)
        assert torch.equal(other.decompress(files).float(), expected)
        assert other.compress(image) == files


def test_layouts_types_and_autocast_do_not_matter(exact, build, blobs):
    codec, image = build(exact), blobs(2, 3, 40, 48)
    files, expected = codec.compress(image), codec(image)
    for other in (
        image.to(memory_format=torch.channels_last),
        image.mT.contiguous().mT,
        torch.cat([image, image], -1)[..., :48],
        image.double(),
    ):
        coded = codec(other)
        assert coded.reconstruction.dtype == torch.float32
        assert torch.equal(coded.reconstruction, expected.reconstruction)
        assert codec.compress(other) == files
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert codec.compress(image) == files
        assert torch.equal(codec(image).reconstruction, expected.reconstruction)


def test_without_exactness_files_still_read_and_pictures_nearly_agree(exact, build, blobs):
    codec, image = build(exact), blobs(8)
    with torch.no_grad():
        expected = codec(image)
        codec.exact = False
        coded = codec(image)
        torch.testing.assert_close(
            codec.decompress(codec.compress(image)), coded.reconstruction, rtol=0, atol=1e-5
        )
    # Weights rounded to 2**-16 move a latent across a boundary here and there.
    assert psnr(coded.reconstruction, expected.reconstruction).min() > 45
    torch.testing.assert_close(coded.bits, expected.bits, rtol=0.005, atol=0)


# --- the rate --------------------------------------------------------------------------------


def test_the_rate_says_what_it_is(rated, build, blobs):
    codec, image = build(rated), blobs()
    assert codec(image).rate == "rounded"
    codec.train()
    coded = codec(image, generator=seeded())
    assert coded.rate == "noisy"
    assert torch.equal(coded.bits, codec(image, generator=seeded()).bits)
    assert not torch.equal(coded.bits, codec(image, generator=seeded(1)).bits)


@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 50), width=st.integers(1, 50), training=st.booleans())
def test_the_map_holds_all_bits(rated, build, blobs, height, width, training):
    codec = build(rated).train(training)
    image = blobs(2, 3, height, width)
    coded = codec(image, generator=seeded())
    assert coded.bits_map.shape == (2, 1, height, width)
    assert (coded.bits_map >= 0).all()
    y = codec._latent(image, codec.gain(codec._qualities(image, seeded()), exact=not training)[0],
                      exact=not training)  # fmt: skip
    generator = seeded()
    codec._qualities(image, generator)  # draws what forward drew first
    total = sum(bits.sum((1, 2, 3)) for bits, _ in codec._price(y, generator).bits)
    torch.testing.assert_close(
        coded.bits_map.sum((1, 2, 3)), total.to(coded.bits_map.dtype), rtol=1e-5, atol=1e-3
    )


def test_the_map_moves_with_the_picture(rated, build, blobs):
    codec, image = build(rated), blobs(1, 3, 256, 256)
    before, after = codec(image).bits_map, codec(image.roll((32, 64), (-2, -1))).bits_map
    inner = slice(96, -64)
    torch.testing.assert_close(
        after[..., inner, inner],
        before.roll((32, 64), (-2, -1))[..., inner, inner],
        rtol=1e-5,
        atol=1e-5,
    )


def test_padding_a_picture_does_not_change_the_bits_of_far_cells(rated, build, blobs):
    codec, image = build(rated), blobs(1, 3, 96, 192)
    part, whole = codec(image[..., :161]).bits_map, codec(image).bits_map
    torch.testing.assert_close(part[..., :96], whole[..., :96], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_the_rate_is_float32_under_autocast(rated, build, blobs, training):
    codec, image = build(rated).train(training), blobs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coded = codec(image, generator=seeded())
    assert coded.bits_map.dtype == coded.reconstruction.dtype == torch.float32
    assert coded.latent.dtype == torch.float32  # noise and rounding need it
    assert coded.bits.sum().item() == pytest.approx(
        codec(image, generator=seeded()).bits.sum().item(), rel=0.02
    )


# --- qualities -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["factorized, 3 levels", "hyperprior, 4 levels"])
def test_a_finer_quality_costs_more_and_each_file_says_its_own(build, blobs, name):
    codec, image = build(name), blobs(2)
    files, pictures, bits = [], [], []
    for quality in (0, 0.7, codec.levels - 1):
        codec.quality = quality
        coded = codec(image)
        bits.append(coded.bits.mean().item())
        files.append(codec.compress(image)[0])
        pictures.append(coded.reconstruction[0])
    assert bits == sorted(bits)
    assert bits[-1] > 1.2 * bits[0]
    codec.quality = None
    assert torch.equal(codec.decompress(files), torch.stack(pictures))
    # Without a number, evaluation takes the middle.
    codec.quality = (codec.levels - 1) / 2
    middle = codec.compress(image)
    codec.quality = None
    assert codec.compress(image) == middle


def test_training_draws_qualities_and_tells_their_price(build, blobs):
    codec = build("hyperprior, 4 levels").train()
    image = blobs(1).expand(200, 3, 64, 64)[..., :16, :16]
    coded = codec(image, generator=seeded())
    weight = coded.distortion_weight
    # From 4**-1.5 to 4**1.5, in the middle 1; even in the exponent.
    exponents = weight.log() / torch.tensor(4.0).log()
    assert -1.5 <= exponents.min() < -1.3
    assert 1.3 < exponents.max() <= 1.5
    assert exponents.mean().abs() < 0.2
    # The dearer, the more bits.
    assert torch.corrcoef(torch.stack([weight.log(), coded.bits]))[0, 1] > 0.8
    codec.quality = 3
    assert codec(image[:2], generator=seeded()).distortion_weight.tolist() == [8, 8]
    assert build("factorized").train()(image[:2], generator=seeded()).distortion_weight is None


def test_small_restoring_factors_keep_their_digits():
    gain = Gain(9, levels=1, steps=1, level_ratio=4)
    logs = torch.linspace(-12, -8, 9)
    with torch.no_grad():
        gain.log_restore[0] = logs
    _, restore = gain(torch.zeros(1), exact=True)
    # Multiples of 2**-24: half of one, of numbers from 2**-12 on, is 1 in 8192.
    expected = torch.from_numpy(np.exp2(logs.double().numpy()))
    torch.testing.assert_close(restore.detach().flatten(), expected, rtol=0, atol=2**-25)


def test_the_mixed_proxy_decodes_rounded_numbers_and_prices_noisy_ones(rated, build, blobs):
    codec, image = build(rated).train(), blobs()
    codec.quality = 0
    for proxy in ("mixed", "noise"):
        codec.proxy = proxy
        one, other = (codec(image, generator=seeded(seed)) for seed in (1, 2))
        assert (one.bits != other.bits).all()
        assert torch.equal(one.reconstruction, other.reconstruction) == (proxy == "mixed")


def test_a_quality_out_of_range(build, blobs):
    codec = build("hyperprior, 4 levels")
    for quality in (-0.1, 3.1, float("nan"), "1", True, np.True_):
        with pytest.raises(ValueError, match=r"quality must be 0 to 3 \(levels - 1\) or None, got"):
            codec.quality = quality
    single = build("factorized")
    with pytest.raises(ValueError, match=r"with one rate, quality 0: leave quality out, .*; got 2"):
        single.quality = 2
    single.quality = 0
    for number in (np.float32(2), np.int64(2), 2):
        codec.quality = number
        assert type(codec.quality) is float
        assert codec.quality == 2
    codec.quality = 1.2345
    assert codec.quality == round(1.2345 * 256) / 256
    (data,) = codec.compress(blobs(1, 3, 16, 16))
    model, tables = struct.unpack_from("<II", data, 10)
    forged = pack(
        struct.pack("<H", 3 * 256 + 1) + data[HEADER_BYTES + 2 :],
        kind=Kind.HYPERPRIOR,
        size=(16, 16),
        channels=3,
        model=model,
        tables=tables,
    )
    with pytest.raises(
        CorruptStream, match="payload 0: it has a quality that this codec does not have"
    ):
        codec.decompress([forged])


# --- gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", ["mixed", "noise", "straight_through", "soft", "dither", None])
@pytest.mark.parametrize("kind", [FactorizedCodec, HyperpriorCodec])
def test_bits_and_distortion_reach_the_picture_and_every_parameter(kind, blobs, proxy):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = kind(levels=2, proxy=proxy or "mixed").train(proxy is not None)
    image = blobs().requires_grad_()
    coded = codec(image, generator=seeded())
    rate = {n: p for n, p in codec.named_parameters() if not n.startswith("synthesis")}
    rate.pop("gain.log_restore")
    distortion = {
        n: p for n, p in codec.named_parameters() if n.startswith(("analysis", "synthesis", "gain"))
    }
    for value, parameters in (
        (coded.bpp.sum(), rate),
        ((coded.reconstruction - 0.3).square().sum(), distortion),
    ):
        gradients = torch.autograd.grad(value, [image, *parameters.values()], retain_graph=True)
        for name, gradient in zip(["image", *parameters], gradients, strict=True):
            assert gradient.isfinite().all(), name
            assert gradient.abs().max() > 0, name
        assert (gradients[0].flatten(1).abs().amax(1) > 0).all()
        assert (gradients[0] != 0).float().mean() > 0.99


@pytest.mark.parametrize("kind", [FactorizedCodec, HyperpriorCodec])
@pytest.mark.parametrize("proxy", ["noise", "soft"])
def test_finite_differences_confirm_the_gradient_of_training(kind, blobs, proxy):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = kind(proxy=proxy, levels=2).double().train()
    image = blobs(1, 3, 17, 18).double().requires_grad_()
    target = image.detach().clone()

    def value(x):
        coded = codec(x, generator=seeded(7))
        return coded.bpp.sum() + 10 * (coded.reconstruction - target).square().sum()

    variables = [image, *codec.parameters()]
    gradients = torch.autograd.grad(value(image), variables)
    for i, (variable, gradient) in enumerate(zip(variables, gradients, strict=True)):
        direction = torch.randn(variable.shape, generator=seeded(i), dtype=torch.float64)
        step = 1e-7
        with torch.no_grad():
            variable += step * direction
            above = value(image)
            variable -= 2 * step * direction
            below = value(image)
            variable += step * direction
        slope = ((above - below) / (2 * step)).item()
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-3, abs=1e-5)


def test_the_gradient_of_evaluation_is_that_of_plain_arithmetic(rated, build, blobs):
    codec, image = build(rated), blobs(1).requires_grad_()
    slopes = []
    for exact in (True, False):
        codec.exact = exact
        coded = codec(image)
        loss = coded.bpp.sum() + 10 * (coded.reconstruction - 0.3).square().sum()
        slopes.append(torch.autograd.grad(loss, image)[0])
    scale = slopes[0].abs().max()
    assert (slopes[0] - slopes[1]).abs().mean() < 0.02 * scale


# --- learning --------------------------------------------------------------------------------


@cache
def batch(blobs, step: int) -> torch.Tensor:
    """The pictures of a step, which are those of that step for every codec."""
    return blobs(4, 3, 32, 32, seed=step)


def train(codec: Codec, blobs, steps: int, *, distortion_weight: float) -> None:
    optimiser = torch.optim.Adam(codec.train().parameters(), lr=4e-3)
    for step in range(steps):
        image = batch(blobs, step)
        coded = codec(image, generator=seeded(step))
        error = (coded.reconstruction - image).square().flatten(1).mean(1)
        if coded.distortion_weight is not None:
            error = error * coded.distortion_weight
        loss = coded.bpp.mean() + distortion_weight * 255**2 * error.mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimiser.step()


def test_a_codec_learns_and_its_bytes_are_its_rate(rated, build, blobs):
    codec = build(rated)
    train(codec, blobs, 100, distortion_weight=0.01)
    image = blobs(4, 3, 96, 104, seed=12345)
    codec.quality = 0 if codec.levels > 1 else None
    noisy = codec(image, generator=seeded())
    codec.eval()
    coded, files = codec(image), codec.compress(image)
    sizes = torch.tensor([8.0 * len(data) for data in files])
    assert psnr(coded.reconstruction, image).min() > 25
    assert coded.bpp.max() < 1
    assert ((coded.bits - sizes).abs() < 0.01 * sizes + 16 * 8).all()
    # Noise costs more than what is rounded, where elements are rarely anything but 0.
    assert noisy.bits.mean() > 0.98 * coded.bits.mean()
    assert torch.equal(codec.decompress(files), coded.reconstruction)
    # A constant costs less than texture, and that less than noise.
    noise = torch.rand(1, 3, 128, 128, generator=seeded())
    blur = nn.functional.avg_pool2d(noise, 9, 1, 4)
    constant, blurred, rough = (
        len(data) for data in codec.compress(torch.cat([0 * noise + 0.5, blur, noise]))
    )
    assert constant < blurred < rough


@pytest.mark.parametrize("kind", [FactorizedCodec, HyperpriorCodec])
def test_the_weight_of_the_distortion_trades_bits_for_fidelity(kind, blobs):
    image, points = blobs(8, seed=12345), []
    for weight in (0.0, 0.001, 0.02):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            codec = kind()
            untrained = codec.eval()(image).bpp.mean().item()
        train(codec, blobs, 60, distortion_weight=weight)
        coded = codec.eval()(image)
        points.append((coded.bpp.mean().item(), psnr(coded.reconstruction, image).mean().item()))
    (least, worst), (less, worse), (bits, good) = points
    assert least < 0.8 * untrained
    assert least < less < bits
    assert worst + 3 < worse + 1 < good


def test_one_model_of_several_levels_trades_like_several_models(blobs):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = HyperpriorCodec(levels=3)
    train(codec, blobs, 60, distortion_weight=0.002)
    image, points = blobs(8, seed=12345), []
    codec.eval()
    for quality in (0, 1, 2):
        codec.quality = quality
        coded = codec(image)
        points.append((coded.bpp.mean().item(), psnr(coded.reconstruction, image).mean().item()))
    assert points == sorted(points)
    assert points[0][0] < 0.8 * points[2][0]
    assert points[0][1] + 1.5 < points[2][1]


# --- construction ----------------------------------------------------------------------------


def test_the_default_nets_are_small_and_the_large_ones_are_not(exact, build):
    assert sum(parameter.numel() for parameter in build(exact).parameters()) <= 100_000
    large = HyperpriorCodec("large")
    assert sum(parameter.numel() for parameter in large.parameters()) > 2_000_000
    image = torch.rand(1, 3, 33, 40, generator=seeded())
    assert torch.equal(large.eval().decompress(large.compress(image)), large(image).reconstruction)


def test_bad_arguments():
    for kind in (FactorizedCodec, HyperpriorCodec):
        for channels in (0, 2**16, 3.0, "3"):
            with pytest.raises(ValueError, match="channels must be a whole number of 1 to 65535"):
                kind(channels=channels)
        with pytest.raises(ValueError, match="size must be one of 'small', 'large', got 'huge'"):
            kind("huge")
        with pytest.raises(ValueError, match=r"proxy must be one of 'mixed', .* got 'hard'"):
            kind(proxy="hard")
        for levels in (0, 257, 2.0):
            with pytest.raises(
                ValueError, match=f"levels must be a whole number of 1 to 256, got {levels}"
            ):
                kind(levels=levels)
        with pytest.raises(ValueError, match="level_ratio must be at least 1 and finite, got nan"):
            kind(levels=2, level_ratio=float("nan"))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("snapped", [False, True])
def test_half_precision_does_not_overflow_before_the_nets(snapped, training):
    torch.manual_seed(0)
    codec = FactorizedCodec(exact=snapped).train(training)
    image = torch.full((1, 3, 16, 16), 2e4)
    coded, single = codec(image.half()), codec(image)
    assert coded.bits.isfinite().all()
    if not training:
        torch.testing.assert_close(coded.bits, single.bits, rtol=1e-5, atol=0)


def test_numbers_are_no_words():
    for make in (
        lambda: FactorizedCodec(level_ratio="4"),
        lambda: compress.KMeansCodec(temperature="x"),
        lambda: compress.KMeansCodec(tolerance="a"),
        lambda: compress.JPEG2000("5"),
        lambda: compress.quality_for(compress.JPEG(5), torch.rand(1, 3, 8, 8), "1"),
    ):
        with pytest.raises(ValueError, match=r"must be .* got '[4xa51]'"):
            make()
    curve = compress.RateCurve("a", (1, 2, 3, 4), (1, 2, 3, 4))
    for ask in (curve.bd_rate, curve.bd_quality):
        with pytest.raises(TypeError, match="anchor must be a RateCurve, not tuple: make one with"):
            ask(((1, 2, 3, 4), (1, 2, 3, 4)))
    assert FactorizedCodec(level_ratio=np.float32(4)).level_ratio == 4


def test_repr_shows_what_a_codec_is_built_with():
    assert "size='small', channels=2, levels=3, level_ratio=4, proxy='mixed', exact=True" in repr(
        HyperpriorCodec(channels=2, levels=3)
    )


def test_the_base_is_abstract():
    assert set(SHAPES) == {"small", "large"}
    for method in ("_build_price", "_price", "_write", "_read", "_make_tables"):
        assert method in LearnedCodec.__abstractmethods__
    assert issubclass(Autoencoder, Codec)


def test_what_no_file_can_hold_is_refused_before_it_is_coded(exact, build, monkeypatch):
    codec = build(exact)
    monkeypatch.setattr(codec, "analysis", None)  # no net is asked
    with pytest.raises(ValueError, match="a 70000x1 picture of 3 channels is too large for a file"):
        codec.compress(torch.zeros(1, 3, 70000, 1))


@pytest.mark.parametrize("make", [FactorizedCodec, lambda: HyperpriorCodec(levels=3)])
def test_the_header_is_in_the_price_to_the_byte(make):
    torch.manual_seed(0)
    codec = make().eval()
    pictures = torch.rand(32, 3, 16, 16)
    with torch.no_grad():
        coded, files = codec(pictures), codec.compress(pictures)
    price = coded.bits_map.sum((1, 2, 3)) + coded.side_bits
    sizes = torch.tensor([8.0 * len(data) for data in files])
    # A file ends with a whole byte.
    assert abs(float((sizes - price).mean())) < 8
