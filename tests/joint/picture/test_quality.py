import numpy as np
import pytest
import torch
from PIL import Image

import compress
import optics
from joint.picture.file import read_picture
from joint.picture.quality import find_quality


@pytest.fixture
def sources(tmp_path):
    """Seven pictures, each with more noise than the one before; the last two of another size."""
    rng = np.random.default_rng(0)
    paths = []
    for index in range(7):
        size = (24, 40, 3) if index < 5 else (40, 24, 3)
        noisy = np.indices(size).sum(0) * 2 + rng.integers(0, 1 + 10 * index, size)
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(noisy.astype(np.uint8)).save(paths[-1])
    return paths


def _best(paths, allowed):
    """The last of all qualities of JPEG at which the files of pictures keep a rate."""
    pictures = [read_picture(path) for path in paths]
    pixels = len(pictures) * 24 * 40  # of either size
    rates = [
        8 * sum(len(compress.JPEG(q).compress(picture)[0]) for picture in pictures) / pixels
        for q in range(1, 101)
    ]
    return max(q for q, rate in enumerate(rates, start=1) if rate <= allowed)


def test_it_is_the_best_that_keeps_the_rate(sources):
    found = find_quality(compress.JPEG(), sources[:5], 7.5)
    assert found.quality == _best(sources[:5], 7.5)
    assert (found.pictures, found.of) == (5, 5)
    one = find_quality(compress.JPEG(), sources[:1], 7.5)
    assert one.quality == _best(sources[:1], 7.5) != found.quality
    assert str(one) == f"quality {one.quality:g}, the best within 7.5 bits/pixel"


def test_pictures_of_all_sizes_count(sources):
    found = find_quality(compress.JPEG(), sources, 7.5)
    assert found.quality == _best(sources, 7.5) < _best(sources[:5], 7.5)
    assert (found.pictures, found.of) == (7, 7)


def test_a_part_is_spread_evenly_and_what_is_damaged_is_replaced(sources):
    codec = compress.JPEG()
    three = find_quality(codec, sources[:5], 7.5, most=3)  # 0, 1 and 3
    assert three.pictures == 3
    assert three.quality == _best([sources[i] for i in (0, 1, 3)], 7.5)
    assert three.quality != find_quality(codec, sources[:5], 7.5).quality
    sources[0].write_text("words")
    instead = find_quality(codec, sources[:5], 7.5, most=1)
    assert (instead.pictures, instead.quality) == (1, _best([sources[1]], 7.5))
    assert instead.of == 4  # of which one can be told that it is none
    assert str(find_quality(codec, sources[:5], 7.5)).endswith("for 4 of 4 pictures")


def test_it_is_found_on_what_the_codec_is_given(sources):
    torch.manual_seed(0)
    codec = compress.FactorizedCodec(levels=3).eval()
    light = optics.srgb_to_linear(read_picture(sources[3]))
    codec.quality = 1
    size = len(codec.compress(light)[0])
    allowed = 8 * (size + 4) / (24 * 40)  # a file of light says so in four bytes
    found = find_quality(codec, [sources[3]], allowed, encoding="linear")
    assert found.bpp == allowed
    assert found.quality == compress.quality_for(codec, light, 8 * size / (24 * 40))
    less = find_quality(codec, [sources[3]], allowed - 1e-6, encoding="linear")
    assert less.quality < found.quality
    assert found.quality != find_quality(codec, [sources[3]], allowed).quality
    assert codec.quality == 1
    with pytest.raises(ValueError, match=r"^0.03 bits per pixel are too few .*, 0.03333 alone"):
        find_quality(codec, [sources[3]], 0.03, encoding="linear")


def test_grey_is_looked_at_as_it_is_coded(sources):
    sources = sources[:5]
    for source in sources:
        with Image.open(source) as opened:
            opened.convert("L").save(source)
    grey = torch.cat([read_picture(source, channels=1) for source in sources])
    for codec in (compress.JPEG(), compress.DifferentiableJPEG(), compress.AVIF()):
        found = find_quality(codec, sources, 6)
        assert found.quality == compress.quality_for(codec, grey, 6)
        assert (found.pictures, found.of) == (5, 5)
    as_colour = compress.quality_for(compress.JPEG(), grey.expand(-1, 3, -1, -1), 6)
    assert as_colour < find_quality(compress.JPEG(), sources, 6).quality


def test_jpeg_of_tables_has_a_quality_while_they_are_the_standard_ones(sources):
    codec = compress.DifferentiableJPEG(30)
    assert find_quality(codec, sources, 7.5).quality == _best(sources, 7.5)
    assert codec.quality == 30
    with torch.no_grad():
        codec.log_tables += 1
    with pytest.raises(ValueError, match="has its own tables, trained or set"):
        find_quality(codec, sources, 7.5)


def test_mistakes_are_told_in_words(sources, tmp_path):
    for codec in (compress.PNG(), compress.KMeansCodec(4)):
        with pytest.raises(ValueError, match="has no choice of qualities: leave bpp out"):
            find_quality(codec, sources, 1.0)
    with pytest.raises(ValueError, match="found on at least 1 picture, not on 0"):
        find_quality(compress.JPEG(), sources, 1.0, most=0)
    with pytest.raises(ValueError, match="there are no pictures"):
        find_quality(compress.JPEG(), [], 1.0)
    for name in ("x.png", "y.png"):
        (tmp_path / name).write_text("words")
    bad = [tmp_path / "x.png", tmp_path / "y.png"]
    with pytest.raises(
        ValueError, match=r"none of the 2 pictures .* because .*x\.png is not a pict"
    ):
        find_quality(compress.JPEG(), bad, 1.0)
    with pytest.raises(ValueError, match=r"^\S*x\.png is not a picture that can be read"):
        find_quality(compress.JPEG(), bad[:1], 1.0)
