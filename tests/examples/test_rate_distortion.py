import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

import classify
import compress

EXAMPLE = Path(__file__).parents[2] / "examples" / "rate_distortion.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("rate_distortion", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_family_has_a_curve(example, tmp_path, capsys):
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
    assert told["autoencoder"]["bd_rate"]["JPEG"].startswith("none (")  # three points are no curve
    table = capsys.readouterr().out.partition("Test set")[2].splitlines()
    assert table[1].split("  ")[-1].strip() == "than WebP"
    assert max(map(len, table[2:11])) <= len(table[1])  # what is long is said below
    note = next(line for line in table if line.startswith("autoencoder")).split("none ")[1].strip()
    assert any(line.startswith(f"{note} the curve 'autoencoder' has 3 points") for line in table)
    with Image.open(tmp_path / "rate_distortion.png") as figure:
        assert figure.size[0] > 900


def test_a_point_is_the_mean_of_the_files_of_the_test_part(example, tmp_path):
    options = example.Options(limit=60, image_size=32, families=(), output=tmp_path)
    (curve,) = example.main(options).values()
    *_, test = classify.split(classify.LesionPhantom(60, image_size=32), seed=0)
    rates, fidelities = [], []
    for item in test:
        picture = item.image.movedim(0, -1).numpy()
        (file,) = compress.JPEG(85).compress(item.image[None] / 255)  # the finest of the curve
        decoded = np.asarray(Image.open(io.BytesIO(file)))
        rates.append(8 * len(file) / 32**2)
        fidelities.append(peak_signal_noise_ratio(picture, decoded))
    assert curve.rate[-1] == pytest.approx(np.mean(rates))
    assert curve.quality[-1] == pytest.approx(np.mean(fidelities), rel=1e-5)


def test_a_finished_training_is_kept(example, tmp_path, capsys):
    options = example.Options(
        limit=60, image_size=32, epochs=1, families=("factorized",), output=tmp_path
    )
    first = example.main(options)
    capsys.readouterr()
    again = example.Options(**{**vars(options), "resume": True})
    assert example.main(again) == first
    assert "epoch" not in capsys.readouterr().out
