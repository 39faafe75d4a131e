"""What all codecs share whose files Pillow writes, against Pillow itself."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
import torch
from drawn import levels_of, noise, patched, pictures, scene, written
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from compress import AVIF, JPEG, JPEG2000, PNG, CorruptStream, WebP, files, psnr
from compress.files import FileCodec

# Every codec, and what Pillow is asked for when it writes the same file.
CODECS = [
    (JPEG(75), {"quality": 75, "subsampling": "4:2:0", "optimize": True}),
    (JPEG(1, subsampling="4:2:2"), {"quality": 1, "subsampling": "4:2:2", "optimize": True}),
    (JPEG(100, subsampling="4:4:4"), {"quality": 100, "subsampling": 0, "optimize": True}),
    (WebP(), {"quality": 75, "method": 4}),
    (WebP(0, method=0, channels=1), {"quality": 0, "method": 0}),
    (WebP(60, channels=4), {"quality": 60, "method": 4, "exact": True}),
    (WebP(30, lossless=True), {"lossless": True, "quality": 30, "exact": True}),
    (WebP(lossless=True, channels=4), {"lossless": True, "quality": 75, "exact": True}),
    (JPEG2000(20), {"quality_layers": [20], "irreversible": True, "mct": None}),
    (
        JPEG2000(psnr=35, irreversible=False),
        {"quality_layers": [35], "quality_mode": "dB", "mct": None},
    ),
    (JPEG2000(irreversible=False), {"mct": None}),
    (AVIF(), {"quality": 75, "speed": 6, "max_threads": 1}),
    (
        AVIF(20, speed=10, subsampling="4:4:4"),
        {"quality": 20, "speed": 10, "subsampling": "4:4:4", "max_threads": 1},
    ),
    (PNG(), {"optimize": True}),
    (PNG(optimize=False), {}),
]
LOSSLESS = [
    PNG(),
    PNG(optimize=False),
    *(WebP(lossless=True, channels=channels) for channels in (1, 3, 4)),
    JPEG2000(irreversible=False),
]
codecs = pytest.mark.parametrize(
    "codec", [codec for codec, _ in CODECS], ids=lambda codec: repr(codec).replace(" ", "")
)


def channels_of(codec: FileCodec) -> list[int]:
    """The channels that a codec takes, from its error."""
    with pytest.raises(ValueError, match="expected pictures of") as caught:
        codec.compress(torch.zeros(1, 7, 16, 16))
    named = re.search(r"pictures of ([\d or]+) channels", str(caught.value))
    assert named
    return [int(n) for n in named.group(1).split(" or ")]


# --- files -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(CODECS), st.data(), st.integers(1, 50), st.integers(1, 50))
def test_bits_are_the_file_and_pixels_are_pillows(codec_and_options, data, height, width):
    codec, options = codec_and_options
    channels = data.draw(st.sampled_from(channels_of(codec)))
    image = pictures(2, channels, height, width)
    if "mct" in options:
        options = {**options, "mct": int(channels == 3)}
    if isinstance(codec, AVIF) and channels == 1:
        options = {**options, "subsampling": "4:0:0"}
    files, coded = codec.compress(image), codec(image)
    for i, file in enumerate(files):
        assert file == written(levels_of(image[i]), codec._FORMAT, options)
        shown = levels_of(coded.reconstruction[i])
        theirs = Image.open(io.BytesIO(file))
        theirs = theirs.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
        assert np.array_equal(shown, np.asarray(theirs))
        assert coded.bits[i].item() == pytest.approx(8 * len(file), rel=1e-6)
        assert coded.bpp[i].item() == pytest.approx(8 * len(file) / (height * width), rel=1e-6)
        header = codec.header_bytes((height, width), channels)
        assert coded.side_bits[i].item() == 8 * min(header, len(file))
    assert torch.equal(codec.decompress(files), coded.reconstruction)
    assert coded.rate == "bytes"
    assert coded.latent is None
    assert coded.bits_map.shape == (2, 1, height, width)
    assert (coded.bits_map >= 0).all()


@codecs
def test_the_header_is_what_a_constant_picture_costs(codec):
    for channels in channels_of(codec):
        for size in ((1, 1), (16, 16), (33, 50)):
            grey = torch.full((1, channels, *size), 128 / 255)
            grey[:, 3:] = 1
            coded = codec(grey)
            assert coded.bits_map.abs().max() == 0
            assert coded.bits.item() == 8 * codec.header_bytes(size, channels)
    image = pictures(2, channels_of(codec)[0], 128, 128)
    coded = codec(image)
    header = codec.header_bytes((128, 128), channels_of(codec)[0])
    assert 20 < header < 500
    assert (coded.side_bits == 8 * header).all()
    assert (coded.bits_map > 0).all()


def test_a_file_below_its_header_has_an_empty_map():
    black = torch.zeros(1, 3, 64, 64)
    coded = PNG()(black)
    assert len(PNG().compress(black)[0]) < PNG().header_bytes((64, 64))
    assert coded.bits.item() == 8 * len(PNG().compress(black)[0])
    assert coded.bits_map.abs().max() == 0


def test_the_header_has_channels_and_a_size():
    for codec, channels in ((JPEG(), 4), (WebP(), 1), (PNG(), 2)):
        with pytest.raises(ValueError, match=rf"takes pictures of .* channels.*got {channels}"):
            codec.header_bytes((16, 16), channels)
    with pytest.raises(ValueError, match="at least 1x1 pixels, got 3 and 0x5"):
        JPEG().header_bytes((0, 5))
    for size in (64, (8.0, 8), (8, 8, 8), "88"):
        with pytest.raises(ValueError, match=r"a size \(H, W\), whole numbers of pixels, got"):
            JPEG().header_bytes(size)
    given = JPEG().header_bytes((8, 16))
    assert (
        JPEG().header_bytes(np.array([8, 16])) == JPEG().header_bytes(torch.Size((8, 16))) == given
    )


def test_the_header_of_a_picture_too_large_is_refused_before_it_is_made():
    for codec, size in ((JPEG(), (70_000, 5)), (WebP(), (5, 20_000))):
        with pytest.raises(ValueError, match=rf"a {size[0]}x{size[1]} picture is too large for"):
            codec.header_bytes(size)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(LOSSLESS),
    st.data(),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(0, 2**32),
)
def test_lossless_is_lossless_on_8_bits(codec, data, height, width, seed):
    channels = data.draw(st.sampled_from(channels_of(codec)))
    levels = np.random.default_rng(seed).integers(0, 256, (2, channels, height, width))
    levels[:, 3:] *= levels[:, 3:] > 100  # with colours that nobody sees
    image = torch.from_numpy(levels).float() / 255
    assert torch.equal(codec.decompress(codec.compress(image)), image)


@pytest.mark.parametrize(
    "build",
    [
        lambda quality: JPEG(max(1, quality), subsampling="4:4:4"),
        WebP,
        AVIF,
        lambda quality: JPEG2000(1000 / (1 + 9 * quality)),
        lambda quality: JPEG2000(psnr=20 + quality / 3),
    ],
)
def test_quality_buys_bits_and_fidelity(build):
    image = scene(3, grain=0.05)
    coded = [build(quality)(image) for quality in (0, 1, 10, 25, 50, 75, 90, 100)]
    bits = torch.stack([c.bits for c in coded])
    fidelity = torch.stack([psnr(c.reconstruction, image) for c in coded])
    assert (bits.diff(dim=0) >= 0).all()
    assert (bits[-1] > 2 * bits[0]).all()
    assert (fidelity.diff(dim=0) >= -0.1).all()
    assert fidelity[-1].min() > 35


@codecs
def test_noise_costs_more_than_its_blur(codec):
    rough = noise(channels_of(codec)[0], 128, 128)
    blurred = torch.nn.functional.avg_pool2d(rough, 5, 1, 2)
    bits = codec(torch.cat([blurred, rough])).bits
    if isinstance(codec, JPEG2000) and codec.rate is not None:
        assert bits.tolist() == pytest.approx([8 * 128**2 / 20] * 2, rel=0.2)
    else:
        assert bits[0] < bits[1]


@codecs
def test_gradient_is_the_identity_to_the_picture_and_the_bits_have_none(codec):
    image = (1.5 * pictures(2, channels_of(codec)[0]) - 0.2).requires_grad_()  # some is clipped
    for mode in (True, False):
        coded = codec.train(mode)(image)
        slope = torch.rand(image.shape, generator=torch.Generator().manual_seed(2))
        (gradient,) = torch.autograd.grad(coded.reconstruction, image, slope)
        assert torch.equal(gradient, slope)
        assert not coded.bits.requires_grad


@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.parametrize(
    "build",
    [JPEG, lambda: JPEG(block_bits=True), WebP, lambda: JPEG2000(20), AVIF, PNG],
    ids=["jpeg", "jpeg-blocks", "webp", "jpeg2000", "avif", "png"],
)
def test_the_compiler_passes_files_by(build):
    """Pictures and gradients are as without it, and nothing of Pillow is traced."""
    from torch._dynamo.exc import Unsupported

    codec, graphs = build(), []

    def program(image):
        coded = codec(image.sigmoid())
        return coded.reconstruction.square(), coded.bits_map, coded.side_bits

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(program, backend=backend)
    for seed in range(2):
        image = (4 * pictures(2, seed=seed) - 2).requires_grad_()
        twin = image.detach().clone().requires_grad_()
        for got, expected in zip(compiled(twin), program(image), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=0)
            if expected.requires_grad:
                expected.sum().backward()
                got.sum().backward()
        torch.testing.assert_close(twin.grad, image.grad, rtol=0, atol=0)
        assert image.grad is not None
        assert image.grad.abs().max() > 0
        assert len(graphs) == 2  # what comes before the file, and what comes after
    with pytest.raises(Unsupported):
        torch.compile(program, backend="eager", fullgraph=True)(image)


@codecs
def test_values_are_clipped(codec):
    wide = 3 * pictures(2, channels_of(codec)[0]) - 1
    assert codec.compress(wide) == codec.compress(wide.clamp(0, 1))


@codecs
def test_types_and_layouts(codec):
    image = pictures(2, channels_of(codec)[0])
    files = codec.compress(image)
    assert codec.compress(image.double()) == files
    assert codec.compress(image.to(memory_format=torch.channels_last)) == files
    assert codec(image.double()).reconstruction.dtype == torch.float64
    for dtype in (torch.float16, torch.bfloat16):
        assert codec.compress(image.to(dtype)) == codec.compress(image.to(dtype).float())
    half = codec(image.half())
    assert half.reconstruction.dtype == torch.float16
    assert half.bits_map.dtype == torch.float32


# --- bad files -------------------------------------------------------------------------------


@codecs
def test_a_file_that_is_cut_or_continued_is_refused(codec):
    good, other = codec.compress(pictures(2, channels_of(codec)[0], 16, 24))
    for length in range(len(other)):
        with pytest.raises(CorruptStream, match="payload 1: "):
            codec.decompress([good, other[:length]])
    for more in (b"\0", b"\xff\xd9", other):
        with pytest.raises(CorruptStream, match="payload 1: "):
            codec.decompress([good, other + more])


@codecs
def test_damage_is_refused_or_shows_something_of_that_kind(codec):
    channels = channels_of(codec)[0]
    (good,) = codec.compress(pictures(1, channels, 16, 24))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(good)
        for spot in rng.integers(0, len(good), rng.integers(1, 4)):
            damaged[spot] = rng.integers(256)
        if damaged == good:
            continue
        try:
            shown = codec.decompress([bytes(damaged)])
        except CorruptStream:
            refused += 1
        else:
            # Most formats have no checksum: something else is shown, but never more than that.
            assert 0 <= shown.min() <= shown.max() <= 1
            assert shown.ndim == 4
    assert refused > 20


@codecs
def test_other_formats_and_nonsense_are_refused(codec):
    picture = np.zeros((16, 16, 3), np.uint8)
    others = [written(picture, kind) for kind in {c._FORMAT for c, _ in CODECS} - {codec._FORMAT}]
    for bad in (b"", b"\0" * 100, b"\xff" * 100, written(picture, "BMP"), *others):
        with pytest.raises(CorruptStream, match=r"payload 0: "):
            codec.decompress([bad])


def several(kind: str) -> bytes:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(3)]
    return written(frames[0], kind, {"save_all": True, "append_images": frames[1:]})


def turned(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return written(pictures_8bit(), kind, {"exif": exif})


def pictures_8bit() -> np.ndarray:
    return levels_of(pictures(1)[0])


@pytest.mark.parametrize(
    ("codec", "build", "message"),
    [
        (JPEG(), lambda: written(Image.new("CMYK", (16, 16)), "JPEG"), "JPEG of mode CMYK"),
        (JPEG(), lambda: several("MPO"), "bytes follow the end|several pictures"),
        (JPEG(), lambda: turned("JPEG"), "turned by its EXIF orientation 6"),
        (
            JPEG(),
            lambda: written(pictures_8bit(), "JPEG", {"progressive": True}),
            r"kind SOF2 \(progressive, arithmetic or lossless\), not baseline",
        ),
        (PNG(), lambda: written(Image.new("P", (16, 16)), "PNG"), "PNG of mode P, not L or RGB or"),
        (PNG(), lambda: written(Image.new("1", (16, 16)), "PNG"), "PNG of mode 1"),
        (PNG(), lambda: written(Image.new("LA", (16, 16)), "PNG"), "PNG of mode LA"),
        (PNG(), lambda: written(Image.new("I;16", (16, 16)), "PNG"), "PNG of 16 bits"),
        (PNG(), lambda: several("PNG"), "PNG with several pictures"),
        (PNG(), lambda: turned("PNG"), "turned by its EXIF orientation 6"),
        (WebP(), lambda: several("WEBP"), "WEBP with several pictures"),
        (WebP(), lambda: turned("WEBP"), "turned by its EXIF orientation 6"),
        (
            WebP(),
            lambda: WebP(channels=4).compress(pictures(1, 4))[0],
            "WEBP of mode RGBA, not RGB",
        ),
        (
            JPEG2000(),
            lambda: written(Image.new("I;16", (16, 16)), "JPEG2000"),
            "JPEG2000 of mode I;16, not L or RGB",
        ),
        (JPEG2000(), lambda: PNG().compress(pictures(1))[0], "payload 0: "),
        (AVIF(), lambda: several("AVIF"), "AVIF with several pictures"),
        (AVIF(), lambda: turned("AVIF"), "turned by its EXIF orientation 6"),
        (AVIF(), lambda: written(Image.new("RGBA", (16, 16)), "AVIF"), "AVIF of mode RGBA"),
    ],
)
def test_kinds_that_are_never_written_here_are_refused(codec, build, message):
    with pytest.raises(CorruptStream, match=message):
        codec.decompress([build()])


def test_pictures_of_different_shapes_do_not_form_a_batch():
    grey, colour = (JPEG().compress(pictures(1, channels))[0] for channels in (1, 3))
    with pytest.raises(ValueError, match="different sizes do not form one batch: 48x40x1, 48x40x3"):
        JPEG().decompress([colour, grey])


def giants() -> dict[str, tuple[FileCodec, bytes]]:
    """Small files that announce pictures of more than 2**26 values."""
    colour = pictures(1)
    (jpeg,), (png,) = JPEG().compress(colour), PNG().compress(colour)
    (jp2,), (avif,) = JPEG2000().compress(colour), AVIF().compress(colour)
    (lossy,), (lossless,) = WebP().compress(colour), WebP(lossless=True).compress(colour)
    (opacity,) = WebP(channels=4).compress(pictures(1, 4))
    header = struct.pack(">4sIIBBBBB", b"IHDR", 8191, 8191, 8, 2, 0, 0, 0)
    png = png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    (bits,) = struct.unpack_from("<I", lossless, 21)
    return {
        "jpeg": (JPEG(), patched(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", 8191, 8191)),
        "jpeg, largest": (JPEG(), patched(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", 65535, 65535)),
        "png": (PNG(), png),
        "jp2": (JPEG2000(), patched(jp2, jp2.index(b"ihdr") + 4, ">II", 8191, 8191)),
        "avif": (AVIF(), patched(avif, avif.index(b"ispe") + 8, ">II", 8191, 8191)),
        "webp": (WebP(), patched(lossy, 26, "<HH", 16383, 16383)),
        "webp, lossless": (
            WebP(lossless=True),
            patched(lossless, 21, "<I", bits & 0xF0000000 | 16382 << 14 | 16382),
        ),
        "webp, extended": (WebP(channels=4), patched(opacity, 24, "<HBHB", 16382, 0, 16382, 0)),
    }


@pytest.mark.parametrize("name", giants())
def test_a_giant_is_refused_before_a_pixel_is_decoded(name, monkeypatch):
    codec, data = giants()[name]
    if isinstance(codec, WebP):  # its reader reserves the canvas as soon as it opens a file
        monkeypatch.setattr(Image, "open", None)
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(CorruptStream, match=r"payload 0: .*(is too large|decompression bomb)"):
        codec.decompress([data])


# --- bad arguments ---------------------------------------------------------------------------


@codecs
def test_bad_pictures(codec):
    channels = channels_of(codec)[0]
    image = torch.zeros(3, channels, 16, 16)
    image[1, 0, 3, 3] = float("nan")
    with pytest.raises(
        ValueError, match=r"the values of picture \[1\] in the batch are not finite"
    ):
        codec(image)
    with pytest.raises(ValueError, match="expected a floating-point batch"):
        codec(torch.zeros(1, channels, 0, 16))


def test_pictures_that_a_format_cannot_hold():
    for codec, side in ((JPEG(), 65500), (WebP(channels=1), 16383), (AVIF(), 32768)):
        with pytest.raises(ValueError, match=f"at most {side} pixels along a side"):
            codec.compress(torch.zeros(1, 1, 1, side + 1))
    largest = torch.zeros(1, 1, 1, 16383)
    assert WebP(channels=1)(largest).reconstruction.shape == largest.shape


def test_a_picture_of_too_many_values(monkeypatch):
    monkeypatch.setattr(files, "MAX_VALUES", 100)
    with pytest.raises(ValueError, match="and 100 values here\\. Code it in tiles"):
        PNG().compress(torch.zeros(1, 1, 11, 10))


@pytest.mark.parametrize("build", [JPEG, WebP, JPEG2000, AVIF, PNG])
def test_a_pillow_without_the_codec_is_an_error_that_says_what_to_install(build, monkeypatch):
    message = rf"{build.__name__} needs a Pillow built with .* pip install .*Pillow>=11.3"
    with monkeypatch.context() as patch:
        patch.setattr(features, "check", lambda name: False)
        with pytest.raises(ImportError, match=message):
            build()
    # As before Pillow 11.3, which does not know the name.
    monkeypatch.setattr(features, "modules", {})
    monkeypatch.setattr(features, "codecs", {})
    with pytest.raises(ImportError, match=message):
        build()


@pytest.mark.parametrize("codec", [JPEG(50), WebP(50), AVIF(50)])
def test_a_quality_may_be_set_and_is_checked_when_it_is_used(codec):
    image, least = pictures(1), 1 if isinstance(codec, JPEG) else 0
    codec.quality = 10
    assert codec.compress(image) == type(codec)(10).compress(image)
    # libjpeg itself takes 500 for 100.
    for wrong in (500, least - 1, 50.5):
        codec.quality = wrong
        with pytest.raises(ValueError, match=f"quality must be a whole number of {least} to 100"):
            codec.compress(image)
