import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "rate_distortion.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("rate_distortion", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_family_has_a_curve(example, tmp_path):
    options = example.Options(limit=100, image_size=32, epochs=2, output=tmp_path)
    curves = example.main(options)
    assert set(curves) == set(example.FAMILIES)
    for family, curve in curves.items():
        assert list(curve.rate) == sorted(curve.rate), family
        assert min(curve.rate) > 0
    for family in ("WebP", "JPEG", "k-means"):  # what needs no training is monotone
        assert list(curves[family].quality) == sorted(curves[family].quality)
    told = json.loads((tmp_path / "rate_distortion.json").read_text())
    assert told["JPEG"]["bd_rate"]["JPEG"] == "+0.0 %"
    assert float(told["WebP"]["bd_rate"]["JPEG"].removesuffix(" %")) < 0
    assert told["autoencoder"]["bd_rate"]["JPEG"] == "none"  # three points are no curve
    with Image.open(tmp_path / "rate_distortion.png") as figure:
        assert figure.size[0] > 900


def test_a_finished_training_is_kept(example, tmp_path, capsys):
    options = example.Options(
        limit=60, image_size=32, epochs=1, families=("factorized",), output=tmp_path
    )
    first = example.main(options)
    capsys.readouterr()
    again = example.Options(**{**vars(options), "resume": True})
    assert example.main(again) == first
    assert "epoch" not in capsys.readouterr().out
