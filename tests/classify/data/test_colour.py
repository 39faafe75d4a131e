import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from classify.data import ImageFolder
from classify.data.colour import in_srgb, is_srgb
from classify.data.decode import Decoder

RNG = np.random.default_rng(2)
PIXELS = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def turned():
    """A profile whose red is the blue of sRGB, and the other way round."""
    profile = bytearray(SRGB)
    red, blue = profile.find(b"rXYZ"), profile.find(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def codes(picture):
    return np.asarray(picture).astype(int)


def test_colours_become_those_of_srgb():
    found = codes(in_srgb(Image.fromarray(PIXELS), turned()))
    assert np.abs(found - PIXELS[..., ::-1]).max() <= 2


def test_codes_in_srgb_stay():
    assert np.array_equal(codes(in_srgb(Image.fromarray(PIXELS), SRGB)), PIXELS)
    grey = Image.fromarray(PIXELS[..., 0])
    assert np.array_equal(codes(in_srgb(grey, SRGB))[..., 1], PIXELS[..., 0])


_WHITE = struct.pack(">3i", 63190, 65536, 54061)  # D50 in XYZ, parts of 65536


def _profile(kind, space, between, **tags):
    """An ICC profile of version 2 with these tags, of a space by what lies between (ICC.1:2001)."""
    tags |= {"desc": b"desc\0\0\0\0\0\0\0\1" + bytes(79), "wtpt": b"XYZ \0\0\0\0" + _WHITE}
    directory, body, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        directory += struct.pack(">4sII", name.encode(), start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x",
        start + len(body),
        2 << 24,
        kind,
        space,
        between,
        b"acsp",
        _WHITE,
    )
    return head + struct.pack(">I", len(tags)) + directory + body


def grey_profile(gamma):
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma))
    return _profile(b"mntr", b"GRAY", b"XYZ ", kTRC=curve)


@pytest.mark.parametrize(("gamma", "dark", "error"), [(1.8, 0, 1.5), (2.2, 0, 1.5), (1.0, 12, 1.5)])
def test_grey_becomes_that_of_srgb(gamma, dark, error):
    """But for the dark end of a linear one, whose steps are the coarsest."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    light = (ramp / 255) ** gamma
    exact = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    off = np.abs(codes(in_srgb(Image.fromarray(ramp), grey_profile(gamma))) - exact[..., None])
    assert off[ramp >= dark].max() < error
    assert off.max() < 10
    assert not is_srgb(grey_profile(gamma))


# CIELAB under D50 of sRGB without red, green, blue (0 or 1 each, in that order).
_LAB = [
    [[(100, 0, 0), (97.6, -15.8, 93.4)], [(60.2, 93.5, -60.5), (54.3, 80.8, 69.9)]],
    [[(90.7, -50.7, -15), (87.8, -79.3, 81)], [(29.6, 68.3, -112), (0, 0, 0)]],
]


def test_inks_become_the_colours_of_their_profile():
    nodes = [
        (0, 0, 0) if black else _LAB[cyan][magenta][yellow]
        for cyan, magenta, yellow, black in np.ndindex(2, 2, 2, 2)
    ]
    table = [round(code) for L, a, b in nodes for code in (2.55 * L, a + 128, b + 128)]
    same = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = bytes(range(256))
    look_up = b"mft1\0\0\0\0\4\3\2\0" + same + 4 * ramp + bytes(table) + 3 * ramp
    profile = _profile(b"prtr", b"CMYK", b"Lab ", A2B0=look_up)
    inks = 255 * np.array(list(np.ndindex(2, 2, 2, 2)))
    picture = Image.frombytes("CMYK", (16, 1), inks.astype(np.uint8).tobytes())
    expected = (255 - inks[:, :3]) * (inks[:, 3:] == 0)
    assert np.abs(codes(in_srgb(picture, profile))[0] - expected).max() <= 10
    half = in_srgb(Image.new("CMYK", (1, 1), (0, 0, 0, 128)), profile)
    assert np.abs(codes(half) - 118).max() <= 2  # of L* 50; Pillow alone says 127
    with pytest.raises(ValueError, match="a profile of CMYK does not fit a picture in RGB"):
        in_srgb(Image.fromarray(PIXELS), profile)


def test_srgb_is_told_from_other_profiles():
    assert is_srgb(SRGB)
    assert not is_srgb(turned())
    assert not is_srgb(b"none")


def test_threads_share_a_profile():
    pictures = [Image.fromarray(np.roll(PIXELS, k, 0)) for k in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda picture: codes(in_srgb(picture, turned())), pictures))
    expected = codes(in_srgb(pictures[0], turned()))
    assert all(np.array_equal(one, np.roll(expected, k, 0)) for k, one in enumerate(found))


@pytest.mark.parametrize(
    ("picture", "profile"),
    [(Image.fromarray(PIXELS), b"none"), (Image.new("CMYK", (4, 4)), SRGB)],
)
def test_a_profile_that_does_not_fit_is_refused(picture, profile):
    with pytest.raises(ValueError, match="profile"):
        in_srgb(picture, profile)


@pytest.fixture
def folder(tmp_path, encoded):
    def folder(name, pixels, kind="PNG", profile=None):
        for part in "ab":
            path = tmp_path / name / part / f"1.{kind.lower()}"
            path.parent.mkdir(parents=True)
            path.write_bytes(encoded(pixels, kind, icc_profile=profile or turned()))
        return tmp_path / name

    return folder


def read(root, **options):
    given = {"image_size": 16, "progress": False, "cache": False} | options
    return ImageFolder(root, **given).gather([0]).images[0].numpy().transpose(1, 2, 0)


def test_pictures_of_files_are_in_srgb_unless_they_are_light(folder):
    root = folder("colours", PIXELS)
    expected = codes(in_srgb(Image.fromarray(PIXELS), turned()))
    assert np.array_equal(read(root), expected)
    assert np.array_equal(read(root, encoding="linear"), PIXELS)
    cached = [read(root, encoding=said, cache=None) for said in ("srgb", "linear")]
    assert np.array_equal(cached[0], expected)
    assert np.array_equal(cached[1], PIXELS)


def test_profiles_that_are_not_applied_are_told_with_the_names(folder, deep_png):
    root = folder("damaged", PIXELS, profile=b"none")
    with pytest.warns(UserWarning, match=r"2 of 2 images .* cannot be read.*: a/1.png, b/1.png;"):
        assert np.array_equal(read(root), PIXELS)
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    root = folder("deep", grey, "TIFF")
    with pytest.warns(UserWarning, match=r"2 of 2 .* 16 bits are kept: a/1.tiff, b/1.tiff; conv"):
        read(root, bit_depth=16, channels=1)
    read(root, bit_depth=16, channels=1, encoding="linear")
    read(folder("deep in sRGB", grey, "TIFF", SRGB), bit_depth=16, channels=1)  # and not a word


def test_sixteen_bits_that_are_reduced_are_in_srgb(folder):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    deep = ramp.astype(np.uint16) * 257
    expected = codes(in_srgb(Image.fromarray(ramp), grey_profile(1.8)))
    assert np.abs(expected[..., 0] - ramp).max() > 10
    root = folder("grey", deep, "TIFF", grey_profile(1.8))
    assert np.array_equal(read(root, bit_depth=8, channels=3), expected)
    assert np.array_equal(read(root, bit_depth=8, channels=1), expected[..., :1])
    plain = read(root, bit_depth=8, channels=3, encoding="linear")
    assert np.array_equal(plain, np.repeat(ramp[..., None], 3, 2))


def test_colours_of_sixteen_bits_that_are_reduced_are_in_srgb(deep_png):
    stream = deep_png(257 * PIXELS.astype(np.uint16))
    body = b"turned\0\0" + zlib.compress(turned())
    chunk = struct.pack(">I", len(body)) + b"iCCP" + body
    chunk += struct.pack(">I", zlib.crc32(b"iCCP" + body))
    found = Decoder(image_size=16, bit_depth=8).image(stream[:33] + chunk + stream[33:])
    expected = codes(in_srgb(Image.fromarray(PIXELS), turned()))
    assert np.array_equal(found.codes.transpose(1, 2, 0), expected)
    assert found.notes == ()


def test_ordinary_pictures_are_what_they_were(encoded):
    found = Decoder(image_size=16).image(encoded(PIXELS, "PNG"))
    assert np.array_equal(found.codes, PIXELS.transpose(2, 0, 1))
    assert found.notes == ()
    with_profile = Image.open(io.BytesIO(encoded(PIXELS, "PNG", icc_profile=SRGB)))
    assert with_profile.info["icc_profile"] == SRGB
    assert np.array_equal(codes(in_srgb(with_profile, SRGB)), PIXELS)
