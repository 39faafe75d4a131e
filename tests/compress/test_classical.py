"""The settings of WebP, JPEG 2000, AVIF and PNG, against Pillow itself."""

import pytest
import torch
from drawn import levels_of, noise, patched, pictures, scene, written
from PIL import Image

from compress import JPEG, CorruptStream, KMeansCodec, psnr
from compress.classical import AVIF, JPEG2000, PNG, WebP


def test_the_settings_of_jpeg2000_aim_where_they_say():
    image = scene(1, 128, grain=0.3)
    for rate in (5, 10, 30):
        assert len(JPEG2000(rate).compress(image)[0]) == pytest.approx(128**2 * 3 / rate, rel=0.15)
    for decibels in (25, 30, 40):
        decoded = JPEG2000(psnr=decibels)(image).reconstruction
        assert psnr(decoded, image).item() == pytest.approx(decibels, abs=1)
    smooth = pictures(1, 3, 128, 128)
    both = [
        psnr(JPEG2000(60, irreversible=i)(smooth).reconstruction, smooth) for i in (True, False)
    ]
    assert both[0] > both[1]


def test_effort_pays():
    image = scene(1, 128, grain=0.1)
    for slow, fast in (
        (WebP(method=6), WebP(method=0)),
        (PNG(), PNG(optimize=False)),
    ):
        assert len(slow.compress(image)[0]) < len(fast.compress(image)[0]), slow
    slow, fast = AVIF(speed=4)(image), AVIF(speed=10)(image)
    assert slow.bits < 1.1 * fast.bits
    assert psnr(slow.reconstruction, image) > psnr(fast.reconstruction, image) + 0.2


def test_a_fourth_plane_of_zeros_costs_the_others_nothing():
    """It may be the fourth phase of a mosaic, and none of opacity."""
    image = scene(2, 64)
    alone = psnr(WebP(75).eval()(image).reconstruction, image)
    for value in (0.0, 0.5, 1.0):
        four = torch.cat([image, torch.full_like(image[:, :1], value)], 1)
        decoded = WebP(75, channels=4)(four).reconstruction
        assert torch.equal(psnr(decoded[:, :3], image), alone)


def test_chrominance_costs_what_its_resolution_says():
    image = noise(3, 64, 64)
    sizes = [
        len(AVIF(90, subsampling=subsampling).compress(image)[0])
        for subsampling in ("4:2:0", "4:2:2", "4:4:4")
    ]
    assert sizes == sorted(set(sizes))
    grey = {len(AVIF(90, subsampling=s).compress(image[:, :1])[0]) for s in ("4:2:0", "4:4:4")}
    assert len(grey) == 1


def test_recoding_a_png_changes_nothing():
    lossless = PNG()
    once = lossless(pictures()).reconstruction
    assert torch.equal(lossless(once).reconstruction, once)


def test_an_avif_is_written_on_one_thread():
    # With more, libavif writes other bytes for such a picture.
    image = scene(1, 200, grain=0.1)
    options = {"quality": 75, "speed": 6, "max_threads": 1}
    assert AVIF().compress(image) == [written(levels_of(image[0]), "AVIF", options)]


def test_any_damage_of_a_png_is_noticed():
    (good,) = PNG().compress(pictures(1, 3, 16, 24))
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStream, match="payload 0: "):
            PNG().decompress([bytes(damaged)])


@pytest.mark.parametrize("codec", [WebP(), JPEG2000(), AVIF(), PNG()])
def test_a_file_of_another_kind_is_called_one(codec):
    others = [WebP(), JPEG2000(), AVIF(), PNG(), JPEG(), KMeansCodec(4)]
    for other in others:
        if type(other) is not type(codec):
            with pytest.raises(CorruptStream, match=r"file \(it does not start as one\)"):
                codec.decompress(other.compress(pictures(1)))


def test_a_box_of_an_avif_has_a_length():
    (data,) = AVIF().compress(pictures(1))
    with pytest.raises(CorruptStream, match="payload 0: a box b'ftyp' without a length"):
        AVIF().decompress([patched(data, 0, ">I", 0)])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: WebP(101), "quality must be a whole number of 0 to 100, got 101"),
        (lambda: WebP(method=7), "method must be a whole number of 0 to 6, got 7"),
        (lambda: WebP(channels=2), "channels must be 1, 3 or 4 for WebP, got 2"),
        (lambda: WebP(channels=3.0), r"channels must be a whole number of 1 to 4, got 3\.0"),
        (lambda: AVIF(-1), "quality must be a whole number of 0 to 100, got -1"),
        (lambda: AVIF(speed=11), "speed must be a whole number of 0 to 10, got 11"),
        (lambda: AVIF(subsampling="4:0:0"), r"subsampling must be one of .* got '4:0:0'"),
        (lambda: JPEG2000(0.5), "rate must be a compression ratio of at least 1, got 0.5"),
        (lambda: JPEG2000(float("nan")), "rate must be a compression ratio of at least 1, got nan"),
        (lambda: JPEG2000(psnr=0), "psnr must be a positive number of dB, got 0"),
        (lambda: JPEG2000(20, psnr=40), "give rate or psnr, not both: got 20 and 40"),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("codec", "name", "wrong", "message"),
    [
        (WebP(), "method", 9, "method must be a whole number of 0 to 6, got 9"),
        (AVIF(), "speed", 40, "speed must be a whole number of 0 to 10, got 40"),
        (AVIF(), "subsampling", "4:1:1", r"subsampling must be one of .* got '4:1:1'"),
        (JPEG2000(psnr=30), "rate", 5, "give rate or psnr, not both: got 5 and 30"),
        (JPEG2000(5), "rate", 0.1, "rate must be a compression ratio of at least 1, got 0.1"),
        (JPEG2000(5), "rate", "5", "rate must be a compression ratio of at least 1, got '5'"),
        (JPEG2000(psnr=30), "psnr", "30", "psnr must be a positive number of dB, got '30'"),
    ],
)
def test_settings_that_are_set_are_checked_when_they_are_used(codec, name, wrong, message):
    setattr(codec, name, wrong)
    for use in (codec, codec.compress):
        with pytest.raises(ValueError, match=message):
            use(pictures(1))


def test_a_grey_avif_is_grey_in_an_older_pillow_too(monkeypatch):
    image, load = pictures(2, 1), Image.open
    shown = AVIF()(image).reconstruction
    monkeypatch.setattr(Image, "open", lambda *a, **k: load(*a, **k).convert("RGB"))
    assert torch.equal(AVIF()(image).reconstruction, shown)
    assert shown.shape == image.shape
    assert AVIF()(pictures(2, 3)).reconstruction.shape[1] == 3


def test_repr():
    assert repr(WebP(30)) == "WebP(quality=30, lossless=False, method=4, channels=3)"
    assert repr(JPEG2000(20)) == "JPEG2000(rate=20, psnr=None, irreversible=True)"
    assert repr(AVIF(30)) == "AVIF(quality=30, speed=6, subsampling='4:2:0')"
    assert repr(PNG()) == "PNG(optimize=True)"
