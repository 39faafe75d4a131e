"""JPEG files against Pillow: their settings, and what libjpeg's buffer cannot hold."""

import io
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from drawn import levels_of, noise, pictures, scene, written
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from compress import DifferentiableJPEG, psnr
from compress.jpeg_file import JPEG, standard_tables


def decode(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_recoding_what_was_decoded_hardly_changes_it():
    for quality in (30, 75, 95):
        codec = JPEG(quality, subsampling="4:4:4")
        passes = [codec(pictures()).reconstruction]
        for _ in range(4):
            passes.append(codec(passes[-1]).reconstruction)
        changes = [psnr(b, a).min() for a, b in itertools.pairwise(passes)]
        assert changes[0] > 45
        assert changes[-1] > 55  # it settles


@pytest.mark.parametrize("quality", [90, 100])
def test_noise_too_rich_for_pillows_buffer_is_still_written(quality):
    codec = JPEG(quality, subsampling="4:4:4")
    (data,) = codec.compress(noise(3, 256, 256))
    assert decode(data).shape == (256, 256, 3)


@pytest.mark.parametrize("quality", range(1, 101))
def test_the_standard_tables_are_libjpegs(quality):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    picture = Image.open(file)
    assert isinstance(picture, JpegImageFile)
    theirs = picture.quantization
    tables = standard_tables(quality)
    assert tables.shape == (2, 8, 8)
    assert {i: table.flatten().tolist() for i, table in enumerate(tables)} == theirs


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_is_pillows_of_the_same_quality(subsampling, channels):
    image = (scene(1, 40, 0.2) if channels == 3 else pictures(1, 1))[0]
    for quality in range(1, 101):
        options = {"quality": quality, "subsampling": subsampling, "optimize": True}
        (data,) = JPEG(quality, subsampling=subsampling).compress(image[None])
        assert data == written(levels_of(image), "JPEG", options), quality


def test_noise_below_95_has_tables_of_its_own_too():
    # Where Pillow's buffer for a quality holds one byte for each pixel: "broken data stream".
    image = noise(3, 300, 400).round()
    sizes = []
    for quality in (90, 94, 95):
        (data,) = JPEG(quality).compress(image)
        assert data == DifferentiableJPEG(quality).compress(image)[0]
        plain = written(levels_of(image[0]), "JPEG", {"quality": quality})
        assert len(data) < 0.95 * len(plain) > image[0, 0].numel()
        sizes.append(len(data))
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(("quality", "share"), [(90, 1), (100, 2)])
def test_the_noise_of_a_small_picture_fits_pillows_buffer(quality, share):
    # Which has 64 KiB at least, else so many bytes for each pixel.
    image = noise(3, 64, 64)
    (data,) = JPEG(quality, subsampling="4:4:4").compress(image)
    options = {"quality": quality, "subsampling": "4:4:4", "optimize": True}
    assert len(data) > share * 64 * 64
    assert data == written(levels_of(image[0]), "JPEG", options)


def test_noise_beyond_pillows_buffer_has_tables_of_its_own_in_any_thread():
    images = [noise(3, side, side) for side in (200, 300, 260, 220)]
    before = ImageFile.MAXBLOCK
    codec = JPEG(100, subsampling="4:4:4")
    with ThreadPoolExecutor(4) as pool:
        files = [*pool.map(lambda image: codec.compress(image)[0], images)]
    assert before == ImageFile.MAXBLOCK
    for image, data in zip(images, files, strict=True):
        options = {"quality": 100, "subsampling": "4:4:4"}
        assert len(data) > 2 * image[0, 0].numel()
        assert len(data) < 0.8 * len(written(levels_of(image[0]), "JPEG", options))
        decoded = Image.open(io.BytesIO(data)).convert("RGB")
        assert np.array_equal(
            255 * codec.decompress([data])[0].permute(1, 2, 0).numpy(), np.asarray(decoded)
        )


@pytest.mark.parametrize("quality", [0, 101, -5, 50.5, "75", float("nan"), None])
def test_the_quality_of_jpeg_is_checked(quality):
    with pytest.raises(ValueError, match=r"quality must be a whole number of 1 to 100, got"):
        JPEG(quality)
    codec = JPEG(75)
    codec.quality = quality  # at any time, and so looked at when it is used
    with pytest.raises(ValueError, match=r"quality must be a whole number of 1 to 100, got"):
        codec.compress(pictures())


def test_the_quality_of_jpeg_reaches_from_1_to_100():
    image = pictures(1, 3, 128, 128)
    coded = [JPEG(quality, subsampling="4:4:4")(image) for quality in (1, 100)]
    assert all(c.reconstruction.isfinite().all() and c.bits.isfinite().all() for c in coded)
    assert psnr(coded[1].reconstruction, image) > 40 > 25 > psnr(coded[0].reconstruction, image)


def test_chrominance_costs_what_its_resolution_says():
    image = noise(3, 64, 64)
    sizes = [
        len(JPEG(90, subsampling=subsampling).compress(image)[0])
        for subsampling in ("4:2:0", "4:2:2", "4:4:4")
    ]
    assert sizes == sorted(set(sizes))
    grey = {len(JPEG(90, subsampling=s).compress(image[:, :1])[0]) for s in ("4:2:0", "4:4:4")}
    assert len(grey) == 1


def test_a_subsampling_that_jpeg_lacks_is_refused():
    message = r"subsampling must be one of .* got '4:1:1'"
    with pytest.raises(ValueError, match=message):
        JPEG(subsampling="4:1:1")
    codec = JPEG()
    codec.subsampling = "4:1:1"
    with pytest.raises(ValueError, match=message):
        codec.compress(pictures())


def test_repr():
    assert repr(JPEG(50)) == "JPEG(quality=50, subsampling='4:2:0')"
    assert repr(JPEG(50, block_bits=True)) == (
        "JPEG(quality=50, subsampling='4:2:0', block_bits=True)"
    )
