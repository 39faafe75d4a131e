import io
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile  # of scikit-image
from PIL import Image, ImageOps
from skimage.measure import block_reduce

from classify.data.archive import Member
from classify.data.decode import Decoder, Picture

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)

_ABOVE_WHITE = r"codes above white_level=\d+, up to 4095, which all become white"
_NEARLY_BLACK = (
    r"no code above 4095, and becomes nearly black: give white_level \(--data\.white-level\)"
)


def image(data, size=16, geometry="crop"):
    return Decoder(image_size=size, geometry=geometry, bit_depth=8).image(data).codes


def told(decoder, data):
    """Codes as a data set of one picture has them, and its warnings."""
    return next(codes for codes, _ in list(decoder.decode([Picture(member(data))], "")))


def planes(picture):
    return np.asarray(picture).transpose(2, 0, 1)


def test_crop_without_resizing_is_the_centre(encoded):
    pixels, frame, _ = Decoder(image_size=30).image(encoded(PIXELS, "PNG"))
    assert frame == (40, 30)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, PIXELS[:, 5:35].transpose(2, 0, 1))


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS.swapaxes(0, 1)], ids=["wide", "high"])
@pytest.mark.parametrize("size", [12, 16, 29, 64])
def test_crop_is_pillows_fit(size, pixels, encoded):
    expected = ImageOps.fit(Image.fromarray(pixels), (size, size), Image.Resampling.LANCZOS)
    assert np.array_equal(image(encoded(pixels, "PNG"), size), planes(expected))


def test_squeeze_keeps_the_whole_frame(encoded):
    expected = Image.fromarray(PIXELS).resize((16, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(image(encoded(PIXELS, "PNG"), geometry="squeeze"), planes(expected))


def test_reduction_is_antialiased(encoded):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    reduced = image(encoded(stripes, "PNG"), 16)
    assert np.abs(reduced[:, :, 2:-2].astype(int) - 127).max() <= 3


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_rgb(mode, encoded):
    grey = Image.fromarray(PIXELS[..., 0])
    if mode == "I;16":
        picture = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    else:
        picture = (grey if mode in ("L", "1", "LA") else Image.fromarray(PIXELS)).convert(mode)
    expected = planes(grey.convert("RGB") if mode == "I;16" else picture.convert("RGB"))
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert np.array_equal(image(encoded(picture, kind), 30), expected[:, :, 5:35])


def test_cmyk_jpeg_and_palette_with_transparency(encoded):
    pixels = np.full((30, 30, 3), (200, 100, 50), np.uint8)
    cmyk = encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(image(cmyk, 30).astype(int) - pixels.transpose(2, 0, 1)).max() <= 6
    palette = Image.fromarray(pixels).quantize(4)
    content = encoded(palette, "PNG", transparency=bytes([255, 128, 0, 0]))
    assert np.array_equal(image(content, 30), planes(palette.convert("RGB")))


def test_sixteen_bits_are_scaled_not_cut(encoded):
    ramp = np.linspace(0, 65535, 900).astype(np.uint16).reshape(30, 30)
    expected = np.rint(ramp / 257)
    assert np.array_equal(image(encoded(ramp, "PNG"), 30)[0], expected)


def test_twelve_bits_in_sixteen_need_their_white_level(encoded):
    ramp = np.linspace(0, 4095, 900).astype(np.uint16).reshape(30, 30)
    data = encoded(ramp, "PNG")
    pixels, _, _ = Decoder(image_size=30, white_level=4095, bit_depth=8).image(data)
    assert np.array_equal(pixels[0], np.rint(ramp / 4095 * 255))
    with pytest.warns(UserWarning, match=_NEARLY_BLACK):
        assert told(Decoder(image_size=30, bit_depth=8), data).max() == 16
    with pytest.warns(UserWarning, match=_ABOVE_WHITE):
        brighter = told(Decoder(image_size=30, white_level=1000, bit_depth=8), data)
    assert np.array_equal(brighter[0], np.floor(np.minimum(ramp, 1e3) * 255 / 1e3 + 0.5))
    black = encoded(np.zeros((30, 30), np.uint16), "PNG")  # black is black at any level
    told(Decoder(image_size=30, bit_depth=8), black)


@pytest.mark.parametrize("depth", [None, 8])
def test_a_white_level_of_pictures_of_8_bits_is_not_silent(depth, encoded):
    data = encoded(PIXELS, "PNG")
    decoder = Decoder(image_size=30, white_level=64, bit_depth=depth)
    with pytest.warns(UserWarning, match="an 8-bit picture is not changed: white_level=64 is a "):
        assert np.array_equal(told(decoder, data), image(data, 30))
    told(Decoder(image_size=30, white_level=65535), data)  # the default, which takes nothing away


def test_a_reduction_to_8_bits_that_nobody_asked_for_warns(encoded):
    deep = encoded(np.full((9, 9), 40000, np.uint16), "PNG")
    with pytest.warns(
        UserWarning, match=r"reduced to 8: give bit_depth=16 \(--data\.bit-depth 16\)"
    ):
        silent = told(Decoder(image_size=9), deep)
    assert np.array_equal(silent, image(deep, 9))
    told(Decoder(image_size=9), encoded(PIXELS, "PNG"))  # there is nothing to lose


def test_sixteen_bits_are_kept_where_they_are_asked_for(encoded, deep_png):
    codes = RNG.integers(0, 2**16, (30, 40, 3)).astype(np.uint16)
    pixels, frame, _ = Decoder(image_size=30, bit_depth=16).image(deep_png(codes))
    assert (pixels.dtype, frame) == (np.uint16, (40, 30))
    assert np.array_equal(pixels, codes[:, 5:35].transpose(2, 0, 1))
    grey, _, _ = Decoder(image_size=30, bit_depth=16).image(encoded(codes[..., 0], "TIFF"))
    assert np.array_equal(grey, np.tile(codes[:, 5:35, 0], (3, 1, 1)))


@pytest.mark.parametrize("geometry", ["crop", "squeeze"])
@pytest.mark.parametrize("size", [12, 16, 64])
def test_sixteen_bits_are_reduced_as_eight_are(size, geometry, encoded, deep_png):
    deep = Decoder(image_size=size, geometry=geometry, bit_depth=16)
    smooth = np.add.outer(3 * np.arange(30), 2 * np.arange(40))[..., None] + (40, 60, 80)
    reduced = image(encoded(smooth.astype(np.uint8), "PNG"), size, geometry)
    found = deep.image(deep_png(257 * smooth.astype(np.uint16))).codes
    assert np.abs(found / 257 - reduced).max() < 1.1  # which rounds after rows, and after columns
    codes = RNG.integers(0, 2**16, (30, 40, 3)).astype(np.uint16)
    found = deep.image(deep_png(codes)).codes
    box = (5, 0, 35, 30) if geometry == "crop" else (0, 0, 40, 30)
    frame = Image.fromarray(codes[..., 1].astype(np.float32))
    exact = frame.resize((size, size), Image.Resampling.LANCZOS, box=box)
    assert np.abs(found[1] - np.asarray(exact).clip(0, 65535)).max() <= 0.5


def test_a_white_level_of_sixteen_bits_that_are_kept(deep_png):
    codes = np.linspace(0, 4095, 900).astype(np.uint16).reshape(30, 30, 1)
    data = deep_png(np.tile(codes, 3))
    with pytest.warns(UserWarning, match=_ABOVE_WHITE):
        kept = told(Decoder(image_size=30, bit_depth=16, white_level=2000), data)
    expected = np.minimum(codes[..., 0], 2000) * (65535 / 2000)
    assert np.abs(kept[2] - expected).max() <= 0.5
    with pytest.warns(UserWarning, match=_NEARLY_BLACK):
        assert told(Decoder(image_size=30, bit_depth=16), data).max() == 4095


@pytest.mark.parametrize("depth", [12, "16", 0])
def test_a_depth_is_8_or_16(depth):
    with pytest.raises(ValueError, match=f"bit_depth must be 8, 16 or None, got {depth!r}"):
        Decoder(image_size=30, bit_depth=depth)


@pytest.mark.parametrize("level", [0, 65536, 4095.0, True])
def test_a_white_level_is_a_code_of_sixteen_bits(level):
    with pytest.raises(ValueError, match="white_level must be a code of 16 bits, 1 to 65535, got"):
        Decoder(image_size=30, white_level=level)


@pytest.mark.parametrize("size", [12, 30])
@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16", "deep"])
def test_grey_in_one_channel_is_that_of_the_file(size, mode, encoded, deep_png):
    grey = np.ascontiguousarray(PIXELS[:, 5:35, 0])
    if mode == "deep":
        data, depth = deep_png(RNG.integers(0, 2**16, (30, 30, 1)).astype(np.uint16)), 16
    elif mode == "I;16":
        data, depth = encoded(grey.astype(np.uint16) * 257, "PNG"), 8
    else:
        data, depth = encoded(Image.fromarray(grey).convert(mode), "PNG"), 8
    three, one = (Decoder(image_size=size, bit_depth=depth, channels=c).image(data) for c in (3, 1))
    assert one.codes.shape == (1, size, size)
    assert one.codes.dtype == three.codes.dtype
    assert np.array_equal(np.tile(one.codes, (3, 1, 1)), three.codes)


def test_colours_in_one_channel_are_their_luminance(encoded, deep_png):
    weights = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
    codes = np.ascontiguousarray(PIXELS[:, 5:35])
    found = Decoder(image_size=30, channels=1).image(encoded(codes, "PNG")).codes
    assert np.abs(found[0] - codes @ weights).max() <= 0.501
    deep = RNG.integers(0, 2**16, (30, 30, 3)).astype(np.uint16)
    found = Decoder(image_size=30, channels=1, bit_depth=16).image(deep_png(deep)).codes
    assert np.abs(found[0] - deep @ weights).max() <= 0.501


@pytest.mark.parametrize("channels", [2, "1", True, 0])
def test_channels_are_one_or_three(channels):
    with pytest.raises(ValueError, match=r"channels must be 1 \(grey\), 3 or None, got"):
        Decoder(image_size=30, channels=channels)


def test_thirty_two_bits_are_refused(encoded):
    data = encoded(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF")
    with pytest.raises(ValueError, match="mode F has no defined white; save it with 8 or 16 bits"):
        image(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_short_file_that_claims_many_pixels_is_refused(encoded, monkeypatch):
    content = bytearray(encoded(Image.new("RGB", (9, 12)), "BMP"))
    content[22:26] = (150_000_000 // 9).to_bytes(4, "little")  # its height
    monkeypatch.setattr(Image.Image, "load", None)  # before anything is set aside for them
    with pytest.raises(ValueError, match=r"claims 9x16666666 pixels, but at most \d+ are decoded"):
        Decoder(image_size=8).image(bytes(content))


def test_orientation_is_obeyed_in_image_and_mask(encoded):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    turned = Image.fromarray(PIXELS).transpose(Image.Transpose.ROTATE_90)
    decoder = Decoder(image_size=30)
    pixels, frame, _ = decoder.image(encoded(turned, "PNG", exif=exif))
    assert frame == (40, 30)
    assert np.array_equal(pixels, PIXELS[:, 5:35].transpose(2, 0, 1))
    mask = RNG.random((30, 40)) > 0.5
    stored = Image.fromarray(mask).transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(decoder.mask(encoded(stored, "PNG", exif=exif), (40, 30)), mask[:, 5:35])


def test_mask_is_on_where_half_of_the_pixel_is(encoded):
    mask = RNG.random((64, 64)) > 0.5
    expected = block_reduce(mask.astype(float), 4, np.mean) >= 0.5
    decoder = Decoder(image_size=16)
    for stored in (mask, mask.astype(np.uint8), mask.astype(np.uint8) * 255):
        reduced = decoder.mask(encoded(stored, "PNG"), (64, 64))
        assert reduced.dtype == np.uint8
        assert np.array_equal(reduced, expected)


def test_mask_that_was_a_jpeg_and_mask_of_nothing(encoded):
    disc = np.hypot(*np.mgrid[-20:20, -20:20]) < 12
    data = encoded(disc.astype(np.uint8) * 255, "JPEG", quality=75)
    assert np.array_equal(Decoder(image_size=40).mask(data, (40, 40)), disc)
    assert not Decoder(image_size=8).mask(encoded(disc & False, "PNG"), (40, 40)).any()


def test_mask_of_another_size(encoded):
    with pytest.raises(ValueError, match="the mask is 40x40 but its image is 40x30"):
        Decoder(image_size=8).mask(encoded(np.zeros((40, 40), np.uint8), "PNG"), (40, 30))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 7}, "an integer from 8 to 1024 pixels, got 7"),
        ({"image_size": 1025}, "got 1025"),
        ({"image_size": 64.0}, "got 64.0"),
        ({"image_size": True}, "got True"),
        ({"image_size": "64"}, "got '64'"),
        ({"image_size": (30, 40)}, r"got \(30, 40\): files become squares of this side; an oblong"),
        ({"image_size": 64, "geometry": "pad"}, r"'crop' \(centred square\) or 'squeeze' .*'pad'"),
        ({"image_size": 64, "workers": 0}, "workers must be a positive integer or None, got 0"),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        Decoder(**options)


def member(content, path="x.png"):
    return Member(path, len(content), 0, lambda: io.BytesIO(content))


def test_decodes_in_order_with_any_number_of_workers(capsys, monkeypatch, encoded):
    pictures = [
        Picture(member(encoded(np.full((8, 8), k % 256, np.uint8), "PNG"))) for k in range(300)
    ]
    for workers in (1, 5):
        decoder = Decoder(image_size=8, workers=workers, progress=False)
        decoded = list(decoder.decode(pictures, "title"))
        assert [image[0, 0, 0] for image, _ in decoded] == [k % 256 for k in range(300)]
        assert all(mask is None for _, mask in decoded)
    assert capsys.readouterr().err == ""
    list(Decoder(image_size=8).decode(pictures, "decoding ham"))
    assert capsys.readouterr().err == ""  # a log file has no use for a bar
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    list(Decoder(image_size=8).decode(pictures, "decoding ham"))
    assert "decoding ham: 100%" in capsys.readouterr().err


def test_all_bad_files_are_named_at_the_end(monkeypatch, encoded):
    good = encoded(PIXELS, "JPEG")
    gone = Member("gone.png", 1, 0, partial(Path("gone.png").open, "rb"))
    pictures = [
        Picture(member(good), member(encoded(np.ones((30, 40), bool), "PNG"))),
        Picture(member(b"no picture", "text.jpg")),
        Picture(member(good[: len(good) // 2], "half.jpg")),
        Picture(member(good), member(encoded(np.ones((9, 9), bool), "PNG"), "m.png")),
        Picture(gone),
        Picture(member(encoded(np.zeros((90, 90), np.uint8), "PNG"), "bomb.png")),
    ]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    decoded = Decoder(image_size=8, progress=False).decode(pictures, "")
    assert len([next(decoded)]) == 1
    with pytest.raises(ValueError, match=r"5 of 6 images cannot be used: ") as caught:
        list(decoded)
    text = str(caught.value)
    for part in (
        "text.jpg (no picture in JPEG, PNG, BMP, TIFF, WEBP)",
        "half.jpg (",
        "truncated",
        "m.png (the mask is 9x9 but its image is 40x30)",
        "gone.png ([Errno 2]",
        "bomb.png (Image size (8100 pixels) exceeds limit",
    ):
        assert part in text


def test_every_bad_file_is_named_however_many(encoded):
    pictures = [Picture(member(b"no picture", f"bad{i:02}.jpg")) for i in range(25)]
    with pytest.raises(ValueError, match="25 of 25 images cannot be used") as caught:
        list(Decoder(image_size=8, progress=False).decode(pictures, ""))
    assert all(f"bad{i:02}.jpg" in str(caught.value) for i in range(25))


def test_a_reason_that_many_files_share_is_said_once(encoded):
    pictures = [Picture(member(b"no picture", f"bad{i:02}.jpg")) for i in range(11)]
    cut = encoded(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8), "PNG")[:900]
    pictures.insert(1, Picture(member(cut, "half.png")))
    with pytest.raises(ValueError, match="12 of 12 images cannot be used") as caught:
        list(Decoder(image_size=8, progress=False).decode(pictures, ""))
    text = str(caught.value)
    assert "bad00.jpg, bad01.jpg, bad02.jpg, " in text
    assert "bad10.jpg (no picture in" in text
    assert text.count("no picture in") == 1
    assert "half.png (" in text


def test_pictures_of_one_camera_get_one_warning(encoded):
    said = set()
    for brightest in (2100, 3000, 4095):
        data = encoded(np.linspace(0, brightest, 900).astype(np.uint16).reshape(30, 30), "PNG")
        with pytest.warns(UserWarning, match="no code above 4095") as caught:
            told(Decoder(image_size=30, bit_depth=16), data)
        said |= {str(warning.message) for warning in caught}
    assert len(said) == 1


def test_integers_of_numpy_become_those_of_python():
    """Theirs wrap: of 8 bits, 16 times 16 is 0."""
    made = Decoder(image_size=np.uint8(16), workers=np.int8(1), white_level=np.uint16(4095))
    assert made == Decoder(image_size=16, workers=1, white_level=4095)
    assert {type(n) for n in (made.image_size, made.workers, made.white_level)} == {int}


@pytest.mark.parametrize("depth", [8, 16])
def test_a_stack_of_pages_is_not_its_first_page(depth):
    codes = RNG.integers(0, 2**depth, (5, 30, 40)).astype(f"uint{depth}")
    pages = [Image.fromarray(page) for page in codes]

    def stack(*others, **options):
        file = io.BytesIO()
        pages[0].save(file, "TIFF", save_all=True, append_images=others, **options)
        return file.getvalue()

    decoder = Decoder(image_size=16, bit_depth=depth)
    with pytest.raises(ValueError, match="5 pages; save one picture per file, or an array"):
        decoder.image(stack(*pages[1:]))
    alone = decoder.image(stack())[0]
    # A camera's thumbnail is no page of its own.
    small = pages[0].resize((20, 15))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    assert np.array_equal(decoder.image(stack(small))[0], alone)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_not_its_first_frame(kind):
    frames = [Image.fromarray(RNG.integers(0, 256, (30, 40, 3), np.uint8)) for _ in range(3)]
    decoder = Decoder(image_size=16)
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="it holds 3 frames; save one picture per file"):
        decoder.image(file.getvalue())
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True)
    assert decoder.image(file.getvalue()).codes.shape == (3, 16, 16)


def test_what_a_phone_puts_behind_a_picture_is_no_second_one():
    frames = [Image.fromarray(RNG.integers(0, 256, (30, 40, 3), np.uint8)) for _ in range(2)]
    alone, both = io.BytesIO(), io.BytesIO()
    frames[0].save(alone, "JPEG")
    frames[0].save(both, "MPO", save_all=True, append_images=frames[1:])
    decoder = Decoder(image_size=16)
    assert Image.open(both).format == "MPO"
    expected = decoder.image(alone.getvalue()).codes
    assert np.array_equal(decoder.image(both.getvalue()).codes, expected)


def _with_alpha(encoded, deep_png, mode, alpha):
    """A file of a mode whose alpha is full but for one pixel."""
    plane = np.full(PIXELS.shape[:2], 255, np.uint8)
    plane[3, 4] = alpha
    if mode == "P":
        palette = Image.fromarray(PIXELS).quantize(4)
        return encoded(palette, "PNG", transparency=bytes([alpha, 255, 255, 255]))
    if mode == "RGBA;16":
        return deep_png(257 * np.dstack([PIXELS, plane]).astype(np.uint16))
    picture = Image.fromarray(PIXELS).convert("RGB" if mode == "RGBA" else "L")
    picture.putalpha(Image.fromarray(plane))
    assert picture.mode == mode
    return encoded(picture, "PNG")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGBA;16"])
def test_what_shows_through_is_told_once_with_the_names(encoded, deep_png, mode):
    decoder = Decoder(image_size=9, progress=False, bit_depth=16 if mode == "RGBA;16" else None)
    full, clear = (_with_alpha(encoded, deep_png, mode, alpha) for alpha in (255, 254))
    pictures = [Picture(member(full, f"{name}.png")) for name in "abc"]
    opaque = list(decoder.decode(pictures, "x"))  # and not a word
    pictures += [Picture(member(clear, f"{name}.png")) for name in "de"]
    with pytest.warns(UserWarning, match="2 of 5 images have transparent parts.*: d.png, e.png;"):
        found = [codes for codes, _ in decoder.decode(pictures, "x")]
    assert len(found) == 5
    assert all(np.array_equal(codes, opaque[0][0]) for codes in found)  # what lies under it


@pytest.mark.parametrize(
    ("off", "on", "kind"),
    [
        (0, 0.5, np.float32),
        (0, 1, np.float32),
        (200, 1000, np.int32),
        (0, 65535, np.int32),
        (0, 1, np.uint16),
    ],
)
def test_a_mask_is_the_same_in_any_type(encoded, off, on, kind):
    disc = np.hypot(*np.mgrid[-20:20, -20:20]) < 12
    data = encoded(np.where(disc, on, off).astype(kind), "TIFF")
    assert np.array_equal(Decoder(image_size=40).mask(data, (40, 40)), disc)


def test_a_mask_of_nan_is_refused(encoded):
    data = encoded(np.where(np.eye(9) > 0, 1, np.nan).astype(np.float32), "TIFF")
    with pytest.raises(ValueError, match="the mask holds NaN; save it in black and white"):
        Decoder(image_size=9).mask(data, (9, 9))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_mask_that_shows_through_is_refused(encoded, deep_png, mode):
    clear = _with_alpha(encoded, deep_png, mode, 0)
    decoder = Decoder(image_size=9, progress=False)
    with pytest.raises(ValueError, match="the mask has transparent parts; flatten it to black"):
        decoder.mask(clear, (40, 30))
    full = encoded(Image.fromarray(PIXELS[..., 0] // 128 * 255).convert(mode), "PNG")
    assert decoder.mask(full, (40, 30)).any()


def test_a_white_level_is_that_of_colours_that_are_reduced_too(encoded, deep_png):
    ramp = np.linspace(0, 4095, 900).astype(np.uint16).reshape(30, 30, 1)
    decoder = Decoder(image_size=30, white_level=4000, bit_depth=8)
    colours = decoder.image(deep_png(np.tile(ramp, 3)))
    assert colours.frame == (30, 30)
    assert not any("transparent" in note for note in colours.notes)
    grey = decoder.image(encoded(ramp[..., 0], "PNG")).codes
    assert np.array_equal(colours.codes, grey)
    assert np.array_equal(grey[0], np.floor(np.minimum(ramp[..., 0], 4e3) * 255 / 4e3 + 0.5))
    alpha = np.full_like(ramp, 65534)
    clear = decoder.image(deep_png(np.dstack([ramp, ramp, ramp, alpha])))
    assert np.array_equal(clear.codes, grey)
    assert any("transparent" in note for note in clear.notes)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_sixteen_bits_are_rounded_as_grey_is(encoded, deep_png, channels):
    codes = RNG.integers(0, 2**16, (30, 30, channels)).astype(np.uint16)
    codes[0, :2, 0] = 200, 65535
    if channels in (2, 4):  # of grey and of colours
        codes[..., -1] = 65535
    found = image(deep_png(codes), 30)
    kept = codes[..., :1] if channels == 2 else codes[..., :3]
    expected = np.rint(kept / 257).transpose(2, 0, 1)  # 255 of 65535, never halfway
    assert np.array_equal(found, np.broadcast_to(expected, found.shape))
    assert np.array_equal(found[0], image(encoded(codes[..., 0], "PNG"), 30)[0])
    dim = deep_png(np.minimum(codes, 4095)[..., : 3 if channels == 4 else 1])
    with pytest.warns(UserWarning, match=_NEARLY_BLACK):
        told(Decoder(image_size=30, bit_depth=8), dim)


def test_what_pillow_reduces_by_itself_is_read_still():
    """CMYK, of which it has the high bytes alone."""
    codes = RNG.integers(0, 2**16, (30, 30, 4)).astype(np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(file, codes, photometric="separated")
    high = Image.fromarray((codes >> 8).astype(np.uint8), "CMYK").convert("RGB")
    assert np.array_equal(image(file.getvalue(), 30), planes(high))
    with pytest.raises(ValueError, match="of which only 8 can be read"):
        Decoder(image_size=30, white_level=4095, bit_depth=8).image(file.getvalue())


def test_colours_of_sixteen_bits_that_lie_apart_are_refused():
    """Pillow takes each second byte of a plane for the next pixel."""
    codes = RNG.integers(0, 2**16, (3, 30, 30)).astype(np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(file, codes, photometric="rgb", planarconfig="separate")
    with pytest.raises(
        ValueError, match=r"only 8 can be read; save it as .* its colours side by s"
    ):
        image(file.getvalue(), 30)
    eight = (codes >> 8).astype(np.uint8)
    file = io.BytesIO()
    tifffile.imwrite(file, eight, photometric="rgb", planarconfig="separate")
    assert np.array_equal(image(file.getvalue(), 30), eight)


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 1, 255), (3, 4, 5, 200)])
def test_masks_of_several_labels_are_refused(encoded, values):
    labels = np.resize(np.array(values, np.uint8), (30, 40))
    said = ", ".join(map(str, values))
    expected = f"the mask holds the values {said}, and does not say which of these labels"
    with pytest.raises(ValueError, match=expected):
        Decoder(image_size=16).mask(encoded(labels, "PNG"), (40, 30))
    with pytest.raises(ValueError, match=expected):
        Decoder(image_size=16).mask(encoded(labels.astype(np.uint16), "PNG"), (40, 30))


_AREAS = np.repeat(np.arange(4), 10)[None].repeat(30, 0)  # four labels side by side


def _coloured(areas, palette, mode):
    picture = Image.fromarray(areas.astype(np.uint8))
    picture.putpalette([code for colour in palette for code in colour])
    return picture.convert(mode)


@pytest.mark.parametrize("mode", ["P", "RGB"])
@pytest.mark.parametrize(
    ("areas", "palette", "said"),
    [
        (_AREAS, [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)], "several colours"),
        (_AREAS, [(0, 0, 0), (64, 0, 0), (128, 0, 0), (192, 0, 0)], "the values 0, 64, 128, 192"),
        (_AREAS, [(0,) * 3, (50,) * 3, (100,) * 3, (150,) * 3], "the values 0, 50, 100, 150"),
        (_AREAS, [(0,) * 3, (128,) * 3, (255,) * 3, (255,) * 3], "the values 0, 128, 255"),
        (_AREAS // 2, [(255, 255, 255), (255, 0, 0)], "several colours"),  # red on white
    ],
)
def test_masks_of_areas_in_several_colours_are_refused(encoded, mode, areas, palette, said):
    data = encoded(_coloured(areas, palette, mode), "PNG")
    expected = f"the mask holds {said}, and does not say which of these labels"
    with pytest.raises(ValueError, match=expected):
        Decoder(image_size=30).mask(data, (40, 30))


@pytest.mark.parametrize("mode", ["P", "RGB"])
@pytest.mark.parametrize("colour", [(0, 0, 128), (128, 64, 0), (255, 255, 255), (1, 1, 1)])
def test_a_mask_of_one_colour_on_black_is_read(encoded, mode, colour):
    data = encoded(_coloured(_AREAS // 2, [(0, 0, 0), colour], mode), "PNG")
    assert np.array_equal(Decoder(image_size=30).mask(data, (40, 30)), (_AREAS // 2)[:, 5:35])


@pytest.mark.parametrize("bright", [16, 2, 1])
def test_dim_labels_in_several_colours_are_refused(encoded, bright):
    data = encoded(_coloured(_AREAS, [(0,) * 3, (bright, 0, 0), (0, bright, 0)], "RGB"), "PNG")
    expected = "the mask holds several colours, and does not say which of these labels"
    with pytest.raises(ValueError, match=expected):
        Decoder(image_size=30).mask(data, (40, 30))


_DISTANCE = 24 - 2 * np.hypot(*np.mgrid[-15:15, -20:20])  # inside of a disc
_SOFT = (_DISTANCE / 6 + 0.5).clip(0, 1)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_mask_with_soft_edges_is_read(encoded, mode):
    soft = Image.fromarray(np.uint8(255 * _SOFT)).convert(mode)
    found = Decoder(image_size=30).mask(encoded(soft, "PNG"), (40, 30))
    assert np.array_equal(found, (_DISTANCE > 0)[:, 5:35])


@pytest.mark.parametrize("colour", [(255, 128, 0), (255, 0, 0), (80, 33, 201), (255, 255, 254)])
@pytest.mark.parametrize("rounded", [np.rint, np.floor, np.ceil])
def test_soft_edges_have_any_colour(encoded, colour, rounded):
    soft = rounded(_SOFT[..., None] * np.array(colour)).astype(np.uint8)
    found = Decoder(image_size=30).mask(encoded(soft, "PNG"), (40, 30))
    clear = np.abs(_DISTANCE[:, 5:35]) > 0.1
    assert np.array_equal(found[clear], (_DISTANCE > 0)[:, 5:35][clear])


@pytest.mark.parametrize(("width", "quality"), [(6, 95), (0.1, 95), (0.1, 90)])
@pytest.mark.parametrize("colour", [(255, 128, 0), (255, 0, 0), (0, 255, 0)])
def test_a_colour_that_was_a_jpeg_is_one_colour(encoded, colour, width, quality):
    y, x = np.mgrid[-60:60, -80:80]
    soft = ((40 - np.hypot(y, x)) / width + 0.5).clip(0, 1)
    coloured = np.rint(soft[..., None] * colour).astype(np.uint8)
    jpeg = Image.open(io.BytesIO(encoded(coloured, "JPEG", quality=quality)))
    found = Decoder(image_size=120, geometry="crop").mask(encoded(jpeg, "PNG"), (160, 120))
    assert (found != (soft > 0.5)[:, 20:140]).mean() < 1e-3


def test_a_flat_spot_and_enlarged_pixels_of_a_soft_edge_are_no_labels(encoded):
    distance = 100 - np.hypot(*np.mgrid[-120:120, -160:160])
    soft = np.uint8(255 * (distance / 40 + 0.5).clip(0, 1))
    soft[20:23, 160:163] = soft[21, 161]  # in the edge
    assert 16 < soft[21, 161] < 239
    decoder = Decoder(image_size=240)
    assert np.array_equal(decoder.mask(encoded(soft, "PNG"), (320, 240)), (soft > 127)[:, 40:280])
    for factor in (3, 4, 8):
        small = np.kron(soft[::factor, ::factor], np.ones((factor, factor), np.uint8))[:240, :320]
        assert decoder.mask(encoded(small, "PNG"), (320, 240)).any()


def test_many_areas_are_labels_however_many(encoded):
    areas = np.kron(np.arange(0, 240, 6, np.uint8).reshape(5, 8), np.ones((6, 5), np.uint8))
    expected = r"the mask holds the values 0, 6, .* and 34 more, and does not say which of these la"
    with pytest.raises(ValueError, match=expected):
        Decoder(image_size=30).mask(encoded(areas, "PNG"), (40, 30))


@pytest.mark.parametrize("values", [(0,), (7,), (0, 1), (0, 2), (0, 128, 255), (0, 1, 254, 255)])
def test_masks_of_one_label_are_read(encoded, values):
    codes = np.repeat(np.resize(np.array(values, np.uint8), 30), 40).reshape(30, 40)
    found = Decoder(image_size=30).mask(encoded(codes, "PNG"), (40, 30))
    assert np.array_equal(found, (codes > codes.max() / 2)[:, 5:35])


def test_a_tiff_in_which_zero_is_white_is_the_picture_that_eight_bits_show():
    codes = np.tile(np.linspace(0, 65535, 40).astype(np.uint16), (30, 1))
    deep, eight = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(deep, codes, photometric="miniswhite")
    tifffile.imwrite(eight, (codes >> 8).astype(np.uint8), photometric="miniswhite")
    shown = image(eight.getvalue(), 30)
    assert np.abs(image(deep.getvalue(), 30).astype(int) - shown).max() <= 1
    kept = Decoder(image_size=30, bit_depth=16).image(deep.getvalue()).codes
    assert np.array_equal(kept, np.repeat(65535 - codes[None, :, 5:35], 3, 0))
    mask = Decoder(image_size=30).mask(deep.getvalue(), (40, 30))
    assert np.array_equal(mask, Decoder(image_size=30).mask(eight.getvalue(), (40, 30)))
    assert mask[:, 0].all()
    assert not mask[:, -1].any()
