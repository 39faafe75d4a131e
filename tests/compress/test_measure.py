"""Curves and qualities for a rate, against Pillow's own files and a search through all of them."""

import numpy as np
import pytest
import torch
from drawn import levels_of, scene, written
from skimage.metrics import peak_signal_noise_ratio

import compress
from compress import AVIF, JPEG, DifferentiableJPEG, WebP, quality_for, rate_curve

PICTURES = scene(5, 48)
QUALITIES = (10, 30, 60, 90)


def some(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def mean_bpp(files: list[bytes]) -> float:
    return 8 * sum(map(len, files)) / len(files) / 48**2


def pillow_bpp(kind: str, quality: int, **options: object) -> float:
    given = {"quality": quality, **options}
    return mean_bpp([written(levels_of(picture), kind, given) for picture in PICTURES])


def learned(levels: int = 3) -> compress.FactorizedCodec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return compress.FactorizedCodec(levels=levels)


def test_a_curve_is_that_of_pillows_files():
    curve = rate_curve("JPEG", (JPEG(quality) for quality in QUALITIES), PICTURES, batch_size=2)
    assert curve.name == "JPEG"
    theirs = [pillow_bpp("JPEG", quality, optimize=True) for quality in QUALITIES]
    assert curve.rate == pytest.approx(theirs, rel=1e-12)
    for quality, fidelity in zip(QUALITIES, curve.quality, strict=True):
        decoded = JPEG(quality).decompress(JPEG(quality).compress(PICTURES))
        # The pictures have fractions of a level, which 8-bit pictures do not.
        pairs = zip(PICTURES.double().numpy(), decoded.double().numpy(), strict=True)
        theirs = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]
        assert fidelity == pytest.approx(np.mean(theirs), abs=1e-4)
    assert curve.bd_rate(curve) == 0
    alone = rate_curve("JPEG", map(JPEG, QUALITIES), PICTURES, batch_size=1)
    assert alone.rate == curve.rate
    assert alone.quality == pytest.approx(curve.quality, rel=1e-6)


def test_a_curve_knows_the_headers_of_its_files():
    """Those of a grey picture in Pillow's files; of learned codecs, what the price says."""
    grey = np.full((48, 48, 3), 128, np.uint8)

    def header(kind: str, **options: object) -> float:
        return 8 * len(written(grey, kind, options)) / 48**2

    jpeg = rate_curve("JPEG", map(JPEG, QUALITIES), PICTURES)
    assert jpeg.header == tuple(header("JPEG", quality=q, optimize=True) for q in QUALITIES)
    webp = rate_curve("WebP", map(WebP, QUALITIES), PICTURES)
    assert webp.header == tuple(header("WEBP", quality=q) for q in QUALITIES)
    rate = np.array(webp.rate) - np.array(webp.header)
    assert webp.without_header().rate == pytest.approx(rate)
    for codec in (learned(), compress.Autoencoder(), compress.KMeansCodec(2, coding="fixed")):
        # Constant pictures, of one colour, whose palette and latents are not of the header.
        codec.eval()
        flat = torch.full((2, 3, 8, 8), 0.5)
        (found,) = rate_curve("", [codec], flat).header
        side = codec(flat).side_bits[0].item() / 64
        assert found == side - (8 * 3 / 64 if isinstance(codec, compress.KMeansCodec) else 0)
    # A file that is shorter than that of a grey picture is all header.
    (short,) = rate_curve("PNG", [compress.PNG()], torch.zeros(2, 3, 64, 64)).without_header().rate
    assert short == 0


def test_the_header_of_one_unknown_codec_makes_the_curve_s_unknown():
    class Unknown(WebP):
        header_bytes = compress.Codec.header_bytes

    curve = rate_curve("", [WebP(10), WebP(30), Unknown(60), WebP(90)], PICTURES)
    assert curve.header is None
    assert Unknown().header_bytes((8, 8)) is None
    with pytest.raises(ValueError, match="header of the curve '' is unknown"):
        curve.without_header()


def test_one_codec_at_several_qualities_with_another_metric():
    codec = learned()

    def settings():
        for codec.quality in (2, 0, 1, 1):
            yield codec

    def similarity(decoded, pictures):
        assert torch.equal((255 * decoded).round() / 255, decoded)
        return compress.ssim(decoded, pictures)

    curve = rate_curve("ours", settings(), PICTURES, metric=similarity, batch_size=3)
    assert len(curve.rate) == 3
    assert list(curve.rate) == sorted(curve.rate)
    codec.quality = 0
    files = codec.compress(PICTURES)
    assert curve.rate[0] == mean_bpp(files)
    decoded = (255 * codec.decompress(files).clamp(0, 1)).round() / 255
    assert curve.quality[0] == pytest.approx(float(compress.ssim(decoded, PICTURES).mean()))


def test_a_curve_without_a_codec_is_refused():
    with pytest.raises(ValueError, match="the curve 'mine' needs one codec for each point"):
        rate_curve("mine", [], PICTURES)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        (JPEG(3), {"optimize": True}),
        (WebP(3, method=2), {"method": 2}),
        (AVIF(3, speed=10), {"speed": 10, "max_threads": 1}),
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 2.0])
def test_the_quality_for_a_rate_is_the_last_that_fits(codec, options, share):
    kind = type(codec).__name__.upper()
    least = 1 if kind == "JPEG" else 0
    low, high = (pillow_bpp(kind, quality, **options) for quality in (least, 100))
    allowed = low + share * (high - low)
    found = quality_for(codec, PICTURES, allowed, batch_size=2)
    assert type(found) is int
    assert codec.quality == 3
    assert pillow_bpp(kind, found, **options) <= allowed
    assert found == 100 if share > 1 else pillow_bpp(kind, found + 1, **options) > allowed


def test_the_quality_of_tables_for_a_rate():
    codec = DifferentiableJPEG(50, trainable=True)
    with torch.no_grad():
        codec.log_tables[0, 0, 0] += 1e-3  # 16 still, when it is rounded
    tables = codec.log_tables.clone()
    assert codec.quality == 50
    allowed = pillow_bpp("JPEG", 30, optimize=True)
    assert quality_for(codec, PICTURES, allowed) == quality_for(JPEG(), PICTURES, allowed) == 30
    assert torch.equal(codec.log_tables, tables)
    assert codec.log_tables.requires_grad
    with torch.no_grad():
        codec.log_tables.add_(0.2)
    tables = codec.log_tables.clone()
    with pytest.raises(ValueError, match="has its own tables, trained or set"):
        quality_for(codec, PICTURES, allowed)
    assert torch.equal(codec.log_tables, tables)


def test_the_quality_of_a_learned_codec_for_a_rate():
    codec = learned()
    codec.quality = 0.5
    low, high = rate_curve("", (at(codec, q) for q in (0, 2)), PICTURES).rate
    codec.quality = 0.5
    allowed = (low + high) / 2
    found = quality_for(codec, PICTURES, allowed)
    assert codec.quality == 0.5
    assert 0 < found < 2
    assert found * 256 == int(found * 256)
    assert mean_bpp(at(codec, found).compress(PICTURES)) <= allowed
    assert mean_bpp(at(codec, found + 1 / 256).compress(PICTURES)) > allowed
    assert quality_for(codec, PICTURES, 2 * high) == 2


def test_every_step_of_a_learned_quality_is_found():
    class Counting(compress.FactorizedCodec):
        """Of one byte at quality 0, and one more at each step."""

        def compress(self, image):
            return [bytes(1 + round(256 * self.quality)) for _ in image]

    codec = Counting(levels=3)
    for step in (0, 1, 2, 255, 256, 257, 511, 512):
        assert quality_for(codec, PICTURES, 8 * (1 + step) / 48**2) == step / 256
        assert quality_for(codec, PICTURES, 8 * (1.9 + step) / 48**2) == step / 256
    assert quality_for(codec, PICTURES, 1e6) == 2
    with pytest.raises(ValueError, match=r"lowest quality takes 0\.003472 bits per pixel"):
        quality_for(codec, PICTURES, 7.9 / 48**2)


def at(codec: compress.LearnedCodec, quality: float) -> compress.LearnedCodec:
    codec.quality = quality
    return codec


def test_a_rate_that_cannot_be_met_is_refused():
    codec = WebP(80)
    with pytest.raises(ValueError, match=r"lowest quality takes 0\.\d+ bits per pixel, more tha"):
        quality_for(codec, PICTURES, 0.01)
    assert codec.quality == 80
    for rate in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"positive number of bits per pixel, got {rate}"):
            quality_for(codec, PICTURES, rate)


@pytest.mark.parametrize(
    "codec", [compress.PNG(), learned(1), WebP(lossless=True), compress.JPEG2000(20)]
)
def test_a_codec_without_a_quality_is_refused(codec):
    with pytest.raises(ValueError, match=f"{type(codec).__name__} has no quality to choose"):
        quality_for(codec, PICTURES, 1.0)


def test_a_metric_gives_a_number_for_each_picture_and_a_batch_has_one():
    def one(decoded, original):
        return (decoded - original).square().mean()

    for metric, given in ((one, r"\(\)"), (lambda *_: 30.0, "float"), (lambda *_: [1.0], "list")):
        with pytest.raises(
            ValueError, match=rf"metric must .* each of \d+ pictures.*, not {given}"
        ):
            rate_curve("", [WebP(80)], PICTURES, metric=metric)
    with pytest.raises(ValueError, match="batch_size must be a whole number"):
        rate_curve("", [WebP(80)], PICTURES, batch_size=0)
    with pytest.raises(ValueError, match="batch_size must be a whole number"):
        quality_for(WebP(80), PICTURES, 1.0, batch_size=0)


@pytest.mark.parametrize("wrong", [WebP(80), "JPEG", None, 3])
def test_one_codec_is_no_curve(wrong):
    with pytest.raises(ValueError, match=rf"got one {type(wrong).__name__}: put it in a list"):
        rate_curve("", wrong, PICTURES)


@pytest.mark.parametrize("wrong", [WebP, 3, "JPEG"])
def test_a_curve_is_of_codecs(wrong):
    with pytest.raises(ValueError, match=r"codecs must be codecs, such as JPEG\(50\), got"):
        rate_curve("", [WebP(80), wrong], PICTURES)


def test_pictures_are_a_tensor():
    with pytest.raises(ValueError, match=r"a tensor \[N, C, H, W\], got ndarray"):
        rate_curve("", [WebP(80)], PICTURES.numpy())
    with pytest.raises(ValueError, match=r"a tensor \[N, C, H, W\], got ndarray"):
        quality_for(WebP(80), [PICTURES.numpy()], 1.0)


def test_pictures_of_several_sizes_share_a_rate():
    wide = PICTURES[:1, :, :20]
    size = sum(len(file) for part in (PICTURES, wide) for file in WebP(40).compress(part))
    allowed = 8 * size / (len(PICTURES) * 48**2 + 20 * 48)
    assert quality_for(WebP(80), [PICTURES, wide], allowed) == 40
    assert quality_for(WebP(80), PICTURES, allowed) > 40  # of which bytes a header is less
    with pytest.raises(ValueError, match="there are no pictures"):
        quality_for(WebP(80), [], 1.0)


@pytest.mark.parametrize("scale", [255.0, -2.0])
def test_pictures_lie_about_0_to_1(scale):
    image = scale * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for ask in (
        lambda: rate_curve("a", [JPEG(5)], image),
        lambda: quality_for(JPEG(50), image, 1.0),
        lambda: quality_for(JPEG(50), (image.abs()).to(torch.uint8) + 3, 1.0),
    ):
        with pytest.raises(ValueError, match=r"pictures in 0\.\.1, but these range from .* by 255"):
            ask()
    with pytest.raises(ValueError, match="these range from"):
        rate_curve("a", [JPEG(5)], 2 * image.abs() / abs(scale) - 1)
    assert rate_curve("a", [JPEG(5)], 1.2 * image / scale - 0.1).rate  # a camera may overshoot


def test_a_mean_is_of_some_pictures():
    with pytest.raises(ValueError, match=r"there are no pictures in \[0, 3, 48, 48\]"):
        rate_curve("", [WebP(80)], PICTURES[:0])
    with pytest.raises(ValueError, match=r"there are no pictures in \[0, 3, 48, 48\]"):
        quality_for(WebP(80), PICTURES[:0], 1.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_files_of_half_pictures_are_judged_with_all_their_digits(dtype):
    half = PICTURES.to(dtype)
    found, wider = (rate_curve("a", [compress.PNG()], x) for x in (half, half.float()))
    assert found.rate == wider.rate
    assert found.quality == pytest.approx(wider.quality)


def test_a_header_is_asked_for_by_the_shape_of_the_pictures():
    class Told(compress.PNG):
        def header_bytes(self, size, channels=3):
            return size[0] + 2 * size[1] + 5 * channels

    for channels in (1, 3):
        (header,) = rate_curve("", [Told()], some(2, channels, 8, 20)).header
        assert header == 8 * (8 + 2 * 20 + 5 * channels) / (8 * 20)


def test_headers_go_with_their_rates_whatever_the_order_of_the_codecs():
    pictures, codecs = some(2, 3, 32, 32), [compress.PNG(), WebP(10), JPEG(90)]
    curve = rate_curve("", codecs, pictures)
    alone = sorted((c.rate, c.header) for c in (rate_curve("", [one], pictures) for one in codecs))
    assert len({header for _, header in alone}) == 3
    assert [((r,), (h,)) for r, h in zip(curve.rate, curve.header, strict=True)] == alone


def test_each_file_has_no_more_header_than_bytes():
    pictures, png = some(2, 3, 64, 64), compress.PNG()
    pictures[1] = 0  # a file shorter than that of a grey picture
    long, short = map(len, png.compress(pictures))
    grey = png.header_bytes((64, 64))
    assert short < grey < long
    for part in (pictures, pictures.flip(0)):
        assert rate_curve("", [png], part).header == (8 * (grey + short) / (2 * 64**2),)


def test_what_is_no_codec_of_ours_has_a_curve_without_a_header():
    class Bare:
        compress, decompress = WebP(30).compress, WebP(30).decompress

    curve, ours = (rate_curve("", [one], some(1, 3, 16, 16)) for one in (Bare(), WebP(30)))
    assert curve.header is None
    assert (curve.rate, curve.quality) == (ours.rate, ours.quality)
