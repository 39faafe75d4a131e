import importlib.util
from pathlib import Path

import pytest
import torch
from PIL import Image

import compress

EXAMPLE = Path(__file__).parents[2] / "examples" / "width_ratio.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("width_ratio", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_file_is_named_by_how_good_it_is(example):
    scenes = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    codecs = [compress.JPEG(quality) for quality in (1, 20, 80)]
    poor, _, good = (example.count("", codec, scenes).psnr for codec in codecs)
    for quality, name in ((poor, "poorest"), (good, "as good"), (good + 1, "at its best")):
        row = example.at_least(quality, "JPEG", codecs, scenes)
        assert row.name == f"JPEG, {name}"
        assert row.psnr == (poor if name == "poorest" else good)


def test_the_names_are_not_the_ratios(example, tmp_path):
    options = example.Options(limit=150, image_size=32, epochs=2, output=tmp_path)
    rows = {row.name: row for row in example.main(options)}
    plain = 3 * 32 * 32
    for ratio, floats in ((6, 1.5), (3, 0.75), (1.5, 0.375)):
        trained = rows[f"{ratio:g}X, as trained"]
        assert plain / trained.size == pytest.approx(floats, rel=0.02)
        assert rows[f"{ratio:g}X, 4 bit latent"].size < rows[f"{ratio:g}X, 8 bit latent"].size
        assert rows[f"{ratio:g}X, 8 bit latent"].size < 0.35 * trained.size
        assert rows[f"{ratio:g}X, 8 bit latent"].psnr == pytest.approx(trained.psnr, abs=0.2)
    assert rows["PNG, lossless"].psnr == float("inf")
    with Image.open(tmp_path / "width_ratio.png") as figure:
        assert figure.size[0] > 1000
