import io
import struct
import zlib

import numpy as np
import pytest
import tifffile  # of scikit-image
import torch
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_png

from classify.data.sixteen import sixteen_bits, whole_codes

RNG = np.random.default_rng(3)
CODES = RNG.integers(0, 2**16, (23, 37, 4)).astype(np.uint16)


def opener(content):
    return lambda: Image.open(io.BytesIO(content))


def tiff(pixels, photometric="rgb", **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, photometric=photometric, **options)
    return stream.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_has_the_codes_that_libpng_reads(deep_png, channels):
    content = deep_png(CODES[..., :channels])
    stored = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    read = decode_png(stored, ImageReadMode.UNCHANGED).view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(read.transpose(1, 2, 0), CODES[..., :channels])  # as it was written
    found = whole_codes(opener(content))
    assert found.dtype == np.uint16
    assert np.array_equal(
        found, read[:3].transpose(1, 2, 0) if channels > 2 else CODES[..., [0] * 3]
    )


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}],
    ids=["plain", "zlib", "predicted", "tiles"],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tiff_has_the_codes_that_tifffile_wrote(byteorder, options, channels):
    pixels = CODES[..., :channels] if channels > 1 else CODES[..., 0]
    given = options | ({"extrasamples": ["unassalpha"]} if channels == 4 else {})
    kind = "minisblack" if channels == 1 else "rgb"
    content = tiff(pixels, kind, byteorder=byteorder, **given)
    expected = CODES[..., :3] if channels > 1 else CODES[..., [0] * 3]
    assert np.array_equal(whole_codes(opener(content)), expected)


def test_orientation_is_obeyed():
    content = tiff(CODES[..., :3], extratags=[(274, "H", 1, 6, True)])
    eight = tiff((CODES[..., :3] >> 8).astype(np.uint8), extratags=[(274, "H", 1, 6, True)])
    turned = np.asarray(ImageOps.exif_transpose(opener(eight)()))
    found = whole_codes(opener(content))
    assert found.shape == (37, 23, 3)
    assert np.array_equal(found >> 8, turned)
    assert np.array_equal(found, np.rot90(CODES[..., :3], -1))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_orientation_of_a_png_is_obeyed(deep_png, channels):
    content = deep_png(CODES[..., :channels])
    tags = Image.Exif()
    tags[274] = 6
    body = b"eXIf" + tags.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    head = 8 + 25  # signature and IHDR
    found = whole_codes(opener(content[:head] + chunk + content[head:]))
    assert np.array_equal(found, np.rot90(whole_codes(opener(content)), -1))


def test_what_has_sixteen_bits(deep_png, encoded):
    deep = [deep_png(CODES[..., :n]) for n in (1, 2, 3, 4)] + [tiff(CODES[..., :3])]
    assert all(sixteen_bits(opener(content)()) for content in deep)
    small = (CODES >> 8).astype(np.uint8)
    flat = [encoded(small[..., :3], kind) for kind in ("PNG", "JPEG", "BMP", "WEBP", "TIFF")]
    flat += [encoded(small[..., 0], "PNG"), encoded(Image.fromarray(small).quantize(4), "PNG")]
    assert not any(sixteen_bits(opener(content)()) for content in flat)


def test_another_depth_is_refused(encoded):
    for kind in ("PNG", "JPEG", "BMP"):
        content = encoded((CODES[..., :3] >> 8).astype(np.uint8), kind)
        with pytest.raises(ValueError, match=r"not have the 16 bits .* give bit_depth=8 to reduce"):
            whole_codes(opener(content))
    for kind, mode in ((np.float32, "F"), (np.int32, "I")):
        content = encoded(CODES[..., 0].astype(kind), "TIFF")
        # Not that bit_depth=8 takes them, which refuses them too.
        with pytest.raises(ValueError, match=rf"^mode {mode} has no defined white, .* keeps; save"):
            whole_codes(opener(content))


@pytest.mark.parametrize(
    ("content", "packing"),
    [
        (
            tiff(CODES[..., :3].transpose(2, 0, 1), planarconfig="separate", compression="zlib"),
            "RGB",
        ),
        (tiff(CODES, "separated"), "CMYK;16"),
        (tiff(CODES, extrasamples=["assocalpha"]), "RGBa;16"),
    ],
    ids=["planes", "cmyk", "premultiplied"],
)
def test_colours_that_cannot_be_read_whole_are_refused(content, packing):
    with pytest.raises(
        ValueError, match=f"16 bits are packed as {packing}.*save it as grey or RGB"
    ):
        whole_codes(opener(content))


@pytest.mark.parametrize("kind", ["P3", "P6"])
@pytest.mark.parametrize("white", [255, 256, 1023, 65535])
def test_a_ppm_of_more_than_eight_bits_is_known(kind, white):
    samples = CODES[:2, :2, :3].astype(int) % (white + 1)
    head = f"{kind}\n2 2\n{white}\n".encode()
    binary = samples.astype(">u2" if white > 255 else ">u1").tobytes()
    text = " ".join(map(str, samples.reshape(-1))).encode()
    picture = opener(head + (text if kind == "P3" else binary))()
    assert picture.mode == "RGB"
    assert sixteen_bits(picture) == (white > 255)
