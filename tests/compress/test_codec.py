"""What all codecs share: laws over every one of them, the result, and a light import."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from drawn import seeded
from torch.nn.utils.parametrizations import weight_norm

import compress
from compress import (
    AVIF,
    JPEG,
    JPEG2000,
    PNG,
    Autoencoder,
    Codec,
    Coded,
    CorruptStream,
    DifferentiableJPEG,
    FactorizedCodec,
    HyperpriorCodec,
    KMeansCodec,
    LearnedCodec,
    WebP,
)
from compress.bitstream import SymbolTable
from compress.codec import check_finite
from compress.learned import Priced


def _parametrized() -> Codec:
    codec = HyperpriorCodec()
    for layer in list(codec.modules()):
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            weight_norm(layer)
    return codec


CODECS = {
    "autoencoder": lambda: Autoencoder(6),
    "autoencoder, 8 bits": lambda: Autoencoder(1.5, latent_bits=8),
    "factorized": FactorizedCodec,
    "hyperprior": HyperpriorCodec,
    "hyperprior, 3 levels": lambda: HyperpriorCodec(levels=3),
    "hyperprior, parametrized": _parametrized,
    "k-means": lambda: KMeansCodec(8),
    "k-means, fixed": lambda: KMeansCodec(5, coding="fixed"),
    "JPEG": JPEG,
    "JPEG, by block": lambda: JPEG(40, block_bits=True),
    "learned JPEG": lambda: DifferentiableJPEG(60, trainable=True),
    "WebP": lambda: WebP(50),
    "WebP, lossless": lambda: WebP(lossless=True),
    "JPEG 2000": lambda: JPEG2000(20),
    "AVIF": AVIF,
    "PNG": PNG,
}
every_codec = pytest.mark.parametrize("name", list(CODECS))


def build(name: str) -> Codec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CODECS[name]().eval()


@every_codec
@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([[0.5]], r"expected a tensor \[B, .*3.*, H, W\], got list"),
        (torch.zeros(3, 32, 32), r"\[3, 32, 32\]. Add a batch axis with image\[None\]"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), r"torch.uint8 .*divide 8-bit values by 255"),
        (torch.zeros(1, 3, 0, 32), r"expected a floating-point batch .*There is nothing to code"),
        (torch.zeros(0, 3, 32, 0), r"There is nothing to code in pictures without pixels"),
        (torch.zeros(0, 2, 32, 32), r"expected pictures of .*3.* channels, got .*\[0, 2, 32, 32\]"),
        (torch.zeros(1, 2, 32, 32), r"expected pictures of .*3.* channels, got .*\[1, 2, 32, 32\]"),
    ],
)
def test_the_door(name, image, message):
    codec = build(name)
    for entry in (codec, codec.compress):
        with pytest.raises(ValueError, match=message):
            entry(image)


@every_codec
@pytest.mark.parametrize("training", [False, True])
def test_a_batch_of_no_pictures_is_one_of_no_files(name, training):
    codec, generators = build(name).train(training), []
    image = torch.rand(2, 3, 19, 34, generator=seeded()).requires_grad_()
    coded = codec(image[:0], generator=generators)
    whole = codec(image)
    for part in ("reconstruction", "latent", "bits_map", "side_bits", "distortion_weight"):
        none, some = getattr(coded, part), getattr(whole, part)
        if some is None:
            assert none is None, part
        else:
            assert none.shape == (0, *some.shape[1:]), part
            assert none.dtype == some.dtype, part
    assert coded.rate == whole.rate
    assert coded.bpp.shape == (0,)
    coded.reconstruction.sum().backward()  # as a loss over an empty part of a batch does
    assert torch.equal(image.grad, torch.zeros_like(image))
    assert codec.compress(image[:0]) == []


@every_codec
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_never_coded(name, value):
    image = torch.zeros(4, 3, 16, 16)
    image[1, 2, 3, 4] = image[3, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"the values of picture \[1, 3\] .* are not finite"):
        build(name).compress(image)


@every_codec
@pytest.mark.parametrize("training", [False, True])
def test_a_picture_that_is_not_finite_is_refused_or_spoils_only_itself(name, training, blobs):
    codec, image = build(name).train(training), blobs(3, 3, 32, 32)
    bad = image.clone()
    bad[1, 0, 5, 5] = torch.nan
    if not isinstance(codec, LearnedCodec | Autoencoder):
        with pytest.raises(ValueError, match=r"the values of picture \[1\] .* are not finite"):
            codec(bad)
        return
    with torch.no_grad():
        one, other = (codec(x, generator=seeded()) for x in (image, bad))
    for part in ("reconstruction", "bits"):
        assert torch.equal(getattr(one, part)[::2], getattr(other, part)[::2])
    assert other.reconstruction[1].isnan().any()
    if name != "autoencoder":  # whose price is a constant
        assert other.bits[1].isnan()


_counting = pytest.mark.parametrize("name", ["JPEG", "PNG", "k-means", "learned JPEG"])


@_counting
@pytest.mark.parametrize("slopes", [False, True])
def test_vmap_over_pictures_is_refused_in_words_that_say_what_to_do(name, slopes, blobs):
    codec = build(name)

    def outcome(x):
        return codec(x).reconstruction.sum()

    mapped = torch.func.vmap(torch.func.grad(outcome) if slopes else outcome)
    with pytest.raises(ValueError, match=r"torch\.vmap hides: give it the pictures as one batch"):
        mapped(blobs(2, 3, 16, 16)[:, None])


@_counting
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_a_jacobian_is_the_same_forwards_and_backwards(name, blobs):
    codec, image = build(name), blobs(1, 3, 8, 8)

    def outcome(x):
        coded = codec(x)
        return torch.cat((coded.reconstruction.flatten()[:3], coded.bits))

    forwards, backwards = torch.func.jacfwd(outcome)(image), torch.func.jacrev(outcome)(image)
    # Sums of up to 192 products in float32, whose rounding is 6e-8 of the largest.
    atol = 192 * 6e-8 * backwards.abs().max().item()
    torch.testing.assert_close(forwards, backwards, rtol=0, atol=atol)


@every_codec
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_torch_func_has_the_gradients_of_autograd(name, training, blobs):
    codec, image = build(name).train(training), blobs(2, 3, 24, 24)
    slope, move = (torch.randn(image.shape, generator=seeded(seed)) for seed in (1, 2))

    def outcome(x):
        coded = codec(x, generator=seeded())
        return (coded.reconstruction * slope).sum() + 0.01 * coded.bits.sum()

    x = image.clone().requires_grad_()
    value = outcome(x)
    (expected,) = torch.autograd.grad(value, x)
    torch.testing.assert_close(torch.func.grad(outcome)(image), expected)
    shown, forwards = torch.func.jvp(outcome, (image,), (move,))
    torch.testing.assert_close(shown, value.detach())
    # Two float32 sums of 3456 products, one of them along the graph.
    scale = (expected * move).abs().sum().item()
    assert forwards.item() == pytest.approx((expected * move).sum().item(), abs=1e-5 * scale)


@every_codec
def test_the_way_back_is_checked(name):
    codec = build(name)
    with pytest.raises(ValueError, match=r"the list of payloads is empty, .* Skip empty batches"):
        codec.decompress([])
    (data,) = codec.compress(torch.zeros(1, 3, 16, 16))
    for wrong, given in (
        (data, "bytes"),
        ([data, "text"], "list of bytes and str"),
        ([None], "list of NoneType"),
        ([memoryview(data)], "list of memoryview.*through bytes()"),
        ((file for file in [data]), "generator"),
        (None, "NoneType"),
        (3, "int. Put a single file into a list"),
    ):
        with pytest.raises(ValueError, match=f"expected a list of byte strings.*, got {given}"):
            codec.decompress(wrong)  # type: ignore[arg-type]
    (other,) = codec.compress(torch.zeros(1, 3, 16, 24))
    with pytest.raises(ValueError, match=r"different sizes do not form one batch: 16x16.*, 16x24"):
        codec.decompress([data, other])


@every_codec
def test_threads_share_a_codec(name, blobs):
    codec = build(name)
    pictures = [blobs(1, 3, 24, 16, seed=i) for i in range(8)]
    files = [codec.compress(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            assert list(threads.map(codec.compress, pictures)) == files


@every_codec
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_nothing_depends_on_the_default_type(name, dtype, blobs):
    codec, image = build(name), blobs(2, 3, 24, 16)
    if isinstance(codec, LearnedCodec) and codec.levels > 1:
        codec.quality = 333 / 256  # bfloat16 has no such number
    files, coded = codec.compress(image), codec(image)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        assert codec.compress(image) == files
        again, decoded = codec(image), codec.decompress(files)
    finally:
        torch.set_default_dtype(default)
    assert decoded.dtype == again.reconstruction.dtype == torch.float32
    assert torch.equal(decoded, coded.reconstruction)
    assert torch.equal(again.reconstruction, coded.reconstruction)
    assert again.bits_map.dtype == torch.float32
    torch.testing.assert_close(again.bits, coded.bits)


@every_codec
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2), (17, 33), (40, 24)])
def test_any_size_constant_or_not_in_range_or_not(name, size, blobs):
    codec = build(name)
    image = torch.cat(
        [blobs(1, 3, *size), torch.full((1, 3, *size), 0.3), 3 * blobs(1, 3, *size, seed=1) - 1]
    )
    with torch.no_grad():
        coded = codec(image)
    files = codec.compress(image)
    assert torch.equal(codec.decompress(files).to(coded.reconstruction), coded.reconstruction)
    assert coded.reconstruction.shape == image.shape
    assert 0 <= coded.reconstruction.min() <= coded.reconstruction.max() <= 1
    assert coded.bits_map.shape == (3, 1, *size)
    assert coded.bits.isfinite().all()
    # The payload within 1 % + 16 bytes of the rate; JPEG's model of itself within 4 %.
    slack = 0.04 if name == "learned JPEG" else 0.01
    for bits, data in zip(coded.bits.tolist(), files, strict=True):
        assert bits == pytest.approx(8 * len(data), rel=slack, abs=128)


@every_codec
def test_pictures_of_a_batch_do_not_see_each_other(name, blobs):
    codec, image = build(name), blobs(5, 3, 24, 40)
    files = codec.compress(image)
    with torch.no_grad():
        whole = codec(image)
        for i in (0, 3):
            alone = codec(image[i : i + 1])
            assert torch.equal(alone.reconstruction[0], whole.reconstruction[i])
            assert alone.bits[0].item() == pytest.approx(whole.bits[i].item(), rel=1e-6)
            assert codec.compress(image[i : i + 1]) == [files[i]]
    assert codec.compress(image.flip(0)) == files[::-1]


@every_codec
@pytest.mark.parametrize("training", [False, True])
def test_a_lens_in_front_learns_through_it_in_both_modes(name, training, blobs):
    codec = build(name).train(training)
    image = blobs(2, 3, 32, 40).requires_grad_()
    coded = codec(image, generator=seeded())
    (slope,) = torch.autograd.grad(
        (coded.reconstruction - 0.2).square().sum(), image, retain_graph=True
    )
    assert slope.isfinite().all()
    assert (slope.flatten(1).abs().amax(1) > 0).all()
    if coded.bits.requires_grad:
        (slope,) = torch.autograd.grad(coded.bits.sum(), image)
        assert slope.isfinite().all()
        assert (slope.flatten(1).abs().amax(1) > 0).all()


class _Handed(torch.nn.Module):
    def __init__(self, codec):
        super().__init__()
        self.codec = codec

    def forward(self, image):
        coded = self.codec(image)
        return coded.reconstruction, coded.bits_map, coded.side_bits


@pytest.mark.parametrize(
    "codec",
    [FactorizedCodec(levels=2), HyperpriorCodec(), Autoencoder(3), Autoencoder(6, latent_bits=6)],
)
def test_an_exported_graph_takes_any_number_of_pictures(codec, blobs):
    part, free = _Handed(codec).eval(), {0: torch.export.Dim("pictures", min=1, max=64)}
    with torch.no_grad():
        graph = torch.export.export(part, (blobs(2, 3, 24, 24),), dynamic_shapes=(free,)).module()
        for count in (1, 2, 5):
            image = blobs(count, 3, 24, 24)
            for ours, theirs in zip(part(image), graph(image), strict=True):
                assert torch.equal(ours, theirs)


@every_codec
def test_nobody_reads_the_file_of_another_kind(name, blobs):
    codec = build(name)
    ours = {"JPEG": "JPEG", "JPEG, by block": "JPEG", "learned JPEG": "JPEG"}
    group = ours.get(name, name.split(",")[0])
    image = blobs(1, 3, 16, 24)
    for other in CODECS:
        if ours.get(other, other.split(",")[0]) != group:
            with pytest.raises(CorruptStream, match="payload 0: "):
                codec.decompress(build(other).compress(image))


@every_codec
def test_a_copy_and_a_state_dict_code_alike(name, blobs):
    codec, image = build(name), blobs(2, 3, 20, 20)
    files = codec.compress(image)
    fresh = CODECS[name]().eval()  # other initial weights
    fresh.load_state_dict(codec.state_dict())
    for other in (copy.deepcopy(codec), fresh):
        assert other.compress(image) == files
        assert torch.equal(other.decompress(files), codec.decompress(files))


@every_codec
def test_the_global_generator_is_left_alone_where_another_is_given(name, blobs):
    codec = build(name).train()
    before = torch.get_rng_state()
    codec(blobs(2, 3, 16, 16), generator=seeded())
    codec.compress(blobs(2, 3, 16, 16))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_value_that_is_not_finite_is_found(dtype):
    good = torch.linspace(-5, 5, 6 * 77).view(6, 1, 7, 11).to(dtype)
    check_finite(good, "the values")
    for bad in (float("nan"), float("inf"), -float("inf"), 6.5, -6.5):
        for picture, row in ((1, 0), (4, 6)):
            given = good.clone()
            given[picture, 0, row, 5] = bad
            with pytest.raises(ValueError, match=rf"the values of picture \[{picture}\] in .*6\."):
                check_finite(given, "the values", limit=6.0)
            if abs(bad) == 6.5:
                check_finite(given, "the values")


def test_a_long_list_of_bad_pictures_is_cut():
    with pytest.raises(ValueError, match=r"picture \[0, 1, .*, 9\] and 15 more in the batch"):
        check_finite(torch.full((25, 1), float("nan")), "the values")


def test_the_sums_of_a_result():
    bits_map = torch.ones(2, 1, 4, 5) * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    coded = Coded(torch.zeros(2, 3, 4, 5), None, bits_map, torch.tensor([20.0, 40.0]), "bytes")
    assert coded.bits.tolist() == [40, 80]
    assert coded.bpp.tolist() == [2, 4]


def test_results_can_be_compared_and_are_equal_to_themselves_only():
    def coded():
        return Coded(torch.zeros(2, 3, 4, 5), None, torch.ones(2, 1, 4, 5), torch.ones(2), "bytes")

    table = SymbolTable.from_mass(np.array([0.5, 0.25]), first=0)
    makers = (
        coded,
        lambda: Priced(torch.zeros(2), ((torch.zeros(2), 8),)),
        lambda: SymbolTable(table.first, table.frequencies.copy()),
    )
    for make in makers:
        one, other = make(), make()
        assert one == one
        assert one != other
        assert len({one, other}) == 2


@pytest.mark.parametrize(
    "build",
    [
        lambda number: JPEG(number),
        lambda number: DifferentiableJPEG(number),
        lambda number: WebP(method=number),
        lambda number: WebP(channels=number),
        lambda number: AVIF(speed=number),
        lambda number: KMeansCodec(number),
        lambda number: Autoencoder(6, latent_bits=number),
        lambda number: HyperpriorCodec(levels=number),
    ],
)
def test_every_codec_takes_whole_numbers_and_no_floats(build, blobs):
    image = blobs(1, 3, 16, 16)
    made = []
    for number in (3, np.int64(3)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made.append(build(number).eval())
    assert made[0].compress(image) == made[1].compress(image)
    assert repr(made[0]) == repr(made[1])
    for other in (3.0, True):
        said = rf"must be a whole number of \d to \d+.*, got {other}"
        with pytest.raises(ValueError, match=said):
            build(other)


class _Rough(Codec):
    """A user's codec: one value for each picture, in as many steps as its quality."""

    def __init__(self, known):
        super().__init__()
        self.known, self.quality = known, known[0]

    def qualities(self):
        return self.known

    def forward(self, image, *, generator=None):
        raise NotImplementedError

    def compress(self, image):
        return [bytes(int(10 * self.quality)) for _ in image]

    def decompress(self, payloads):
        raise NotImplementedError


@pytest.mark.parametrize("known", [range(1, 6), [0.5, 1.0, 2.5], np.array([0.5, 1.0, 2.5])])
def test_a_codec_of_a_user_has_its_qualities(known):
    codec = _Rough(known)
    with codec.at(2.0):
        assert codec.quality == 2
    assert codec.quality == known[0]
    pictures = torch.zeros(2, 1, 8, 8)
    assert compress.quality_for(codec, pictures, 8 * 29 / 64) == max(q for q in known if q < 2.9)
    assert codec.quality == known[0]


def test_whole_qualities_are_whole_and_without_any_there_is_no_choice():
    codec = _Rough(range(1, 6))
    with codec.at(3.0):
        assert type(codec.quality) is int
    for wrong in (0, 6, 2.5, float("nan")):
        told = f"the quality of _Rough must be a whole number, 1 to 5, got {wrong:g}"
        with pytest.raises(ValueError, match=told), codec.at(wrong):
            pass
    with pytest.raises(TypeError, match="quality must be one number, not True"), codec.at(True):
        pass
    codec.known = ()
    told = "_Rough has no choice of qualities: leave quality out"
    with pytest.raises(ValueError, match=told), codec.at(3):
        pass


def test_a_quality_outside_of_those_of_a_codec_is_refused():
    codec = _Rough((10.0, 50.0))
    with codec.at(torch.tensor(33.0)):  # between two of them it may have steps of its own
        assert (type(codec.quality), codec.quality) == (float, 33.0)
    for wrong in (9.0, 51, float("nan"), float("inf")):
        told = f"the quality of _Rough must be 10 to 50, got {wrong:g}"
        with pytest.raises(ValueError, match=told), codec.at(wrong):
            pass
    assert codec.quality == 10.0


def test_what_the_package_offers():
    assert sorted(compress.__all__) == sorted(set(compress.__all__))
    assert all(hasattr(compress, name) for name in compress.__all__)


def test_importing_it_is_light(fresh):
    heavy = ["torchvision", "matplotlib", "sklearn", "skimage", "kornia", "constriction"]
    code = (
        "import sys, torch; before = set(sys.modules); import compress;"
        f"print(sorted((set(sys.modules) - before) & set({heavy})))"
    )
    run = fresh.run(code)
    assert run.stdout.strip() == "[]"
