import importlib.util
from pathlib import Path

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "phase_mask.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("phase_mask", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_mask_is_trained_and_the_exported_file_makes_the_same_psf(example, tmp_path):
    untrained = example.main(example.Options(size=48, steps=1, output=tmp_path))
    results = example.main(example.Options(size=48, steps=40, output=tmp_path))
    assert results["overlap with the target"] > untrained["overlap with the target"] + 0.1
    assert results["levels"] <= 16
    assert results["largest difference after export, of the peak"] < 1e-3
    assert results["light in the window"] <= 1
    assert {path.name for path in tmp_path.iterdir()} == {
        "phase_mask.png",
        "relief.tif",
        "relief.csv",
    }
    with Image.open(tmp_path / "phase_mask.png") as figure:
        assert figure.size[0] > 1000
