import math
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import mean_squared_error, structural_similarity

import compress
from joint.picture.file import read_picture
from joint.picture.measure import CodecPoint, CodecSweep, measure_pictures


def _write(path, seed, size=(40, 48), grey=False):
    rng = np.random.default_rng(seed)
    smooth = np.indices((*size, 3)).sum(0) * 2
    values = (smooth + rng.integers(0, 30, smooth.shape)).astype(np.uint8)
    Image.fromarray(values[..., 0] if grey else values).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    _write(root / "a.png", 0)
    _write(root / "b.bmp", 1, (30, 64))
    _write(root / "c.png", 2, grey=True)
    Image.new("L", (48, 40)).save(root / "a_segmentation.png")
    (root / "t.csv").write_text("")
    return root


def _jpeg(*qualities):
    points = [CodecPoint(quality, compress.JPEG(quality)) for quality in qualities]
    return CodecSweep("jpeg", "quality", tuple(points))


def test_it_is_what_others_measure_of_the_files_that_others_decode(folder):
    found = measure_pictures([folder], [_jpeg(10, 60)])
    names = [folder / name for name in ("a.png", "b.bmp", "c.png")]  # no mask
    assert found.names == tuple(map(str, names))
    assert (found.pixels.tolist(), found.scales, found.failed) == ([1920, 1920, 1920], 2, ())
    (jpeg,) = found.codecs
    assert (jpeg.name, jpeg.setting, jpeg.values) == ("jpeg", "quality", (10, 60))
    for row, name in enumerate(names):
        with Image.open(name) as picture:
            original = np.asarray(picture)
        for column, quality in enumerate((10, 60)):
            image = read_picture(name, channels=None)
            (data,) = compress.JPEG(quality).compress(image)
            assert jpeg.size[row, column] == len(data)
            path = folder.parent / "coded.jpg"
            path.write_bytes(data)
            with Image.open(path) as picture:
                decoded = np.asarray(picture)
            mse = mean_squared_error(original / 255, decoded / 255)
            assert jpeg.mse[row, column] == pytest.approx(mse, rel=1e-5)
            similar = structural_similarity(
                original, decoded, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                data_range=255, channel_axis=2 if original.ndim == 3 else None, full=True,
            )[1][5:-5, 5:-5].mean()  # fmt: skip
            assert jpeg.ssim[row, column] == pytest.approx(similar, abs=1e-4)
            levels = torch.from_numpy(np.atleast_3d(decoded).copy()).movedim(-1, 0)[None] / 255
            expected = compress.ms_ssim(levels, image, scales=2).item()
            assert jpeg.ms_ssim[row, column] == pytest.approx(expected, abs=1e-5)


def test_a_zip_is_as_its_folder_and_qualities_as_codecs_of_them(folder):
    with zipfile.ZipFile(folder.parent / "all.zip", "w") as packed:
        for path in folder.iterdir():
            packed.write(path, path.name)
    codec = compress.JPEG(90)
    points = tuple(CodecPoint(quality, codec, quality) for quality in (10, 60))
    one = measure_pictures([folder.parent / "all.zip"], [CodecSweep("jpeg", "quality", points)])
    assert one.names[0] == f"{folder.parent / 'all.zip'}/a.png"
    other = measure_pictures([folder], [_jpeg(10, 60)])
    assert np.array_equal(one.codecs[0].size, other.codecs[0].size)
    assert np.array_equal(one.codecs[0].mse, other.codecs[0].mse)
    assert codec.quality == 90


def test_pictures_are_cropped_as_for_training_if_asked(folder):
    found = measure_pictures([folder], [_jpeg(50)], image_size=16)
    assert found.pixels.tolist() == [256] * 3
    with Image.open(folder / "b.bmp") as picture:  # 30x64
        cropped = picture.resize((16, 16), Image.Resampling.LANCZOS, box=(17, 0, 47, 30))
    expected = torch.from_numpy(np.asarray(cropped).copy()).movedim(-1, 0)[None] / 255
    assert found.codecs[0].size[1, 0] == len(compress.JPEG(50).compress(expected)[0])


def test_a_part_of_the_pictures_is_spread_evenly(folder):
    _write(folder / "d.png", 4)
    found = measure_pictures([folder], [_jpeg(50)], limit=2)
    assert found.names == (str(folder / "a.png"), str(folder / "c.png"))
    assert len(measure_pictures([folder], [_jpeg(50)], limit=9).names) == 4


def test_what_one_codec_does_not_take_is_left_out_of_all_and_named(folder):
    class Short(compress.PNG):
        def compress(self, image):
            if image.shape[-1] > 50:
                raise ValueError("payload 0: too wide")
            return super().compress(image)

    grey = compress.JPEG()
    grey.channels = 1
    (folder / "broken.png").write_text("words")
    Image.fromarray(np.full((20, 20), 40000, np.uint16)).save(folder / "deep.png")
    sweeps = [_jpeg(50), CodecSweep("short", "", (CodecPoint(None, Short()),))]
    found = measure_pictures([folder], sweeps)
    assert found.names == (str(folder / "a.png"), str(folder / "c.png"))
    assert found.codecs[0].size.shape == (2, 1)
    assert found.codecs[1].mse.tolist() == [[0], [0]]
    said = {failed.path.rpartition("/")[2]: failed.error for failed in found.failed}
    assert set(said) == {"broken.png", "deep.png", "b.bmp"}
    assert "is a 16-bit picture" in said["deep.png"]
    assert said["b.bmp"] == f"short: {folder / 'b.bmp'}: too wide"
    sweeps = [_jpeg(50), CodecSweep("mine", "", (CodecPoint(None, grey),))]
    found = measure_pictures([folder], sweeps)
    assert found.names == (str(folder / "c.png"),)
    assert "mine: " in found.failed[0].error
    assert "this codec takes grey pictures of 8 bits" in found.failed[0].error
    with pytest.raises(ValueError, match=r"none of 1 pictures can be coded by every codec.*mine"):
        measure_pictures([folder / "a.png"], sweeps)


def test_pictures_may_be_too_small_for_ssim(folder):
    _write(folder / "small.png", 3, (9, 40))
    found = measure_pictures([folder], [_jpeg(50)])
    assert found.scales is None
    assert len(found.names) == 4
    assert all(math.isnan(x) for x in [*found.codecs[0].ssim[:, 0], *found.codecs[0].ms_ssim[:, 0]])
    assert np.isfinite(found.codecs[0].mse).all()
    found = measure_pictures([folder], [_jpeg(50)], least_side=11)
    assert (len(found.names), found.scales) == (3, 2)
    (failed,) = found.failed
    assert str(failed) == f"{folder / 'small.png'} has 9x40 pixels, but at least 11x11 are needed"


def test_a_small_picture_is_not_enlarged(folder):
    found = measure_pictures([folder], [_jpeg(50)], image_size=35)
    assert found.names == (str(folder / "a.png"), str(folder / "c.png"))
    (failed,) = found.failed
    assert str(failed).startswith(
        f"{folder / 'b.bmp'} has 30x64 pixels, and is not enlarged to a square of 35"
    )
    assert measure_pictures([folder], [_jpeg(50)], image_size=30).failed == ()


def test_mistakes_are_told_in_words(folder, tmp_path):
    with pytest.raises(ValueError, match="there is no codec to measure"):
        measure_pictures([folder], [])
    with pytest.raises(ValueError, match="several codecs are called jpeg: give each once"):
        measure_pictures([folder], [_jpeg(10), _jpeg(20)])
    with pytest.raises(ValueError, match="image_size must be at least 1 pixel, got 0"):
        measure_pictures([folder], [_jpeg(10)], image_size=0)
    with pytest.raises(ValueError, match="limit must be at least 1 picture, got 0"):
        measure_pictures([folder], [_jpeg(10)], limit=0)
    with pytest.raises(FileNotFoundError, match=r"there is no .*gone"):
        measure_pictures([tmp_path / "gone"], [_jpeg(10)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"there is no picture in .*empty: no file ends in one of"):
        measure_pictures([tmp_path / "empty"], [_jpeg(10)])
