import importlib.util
from pathlib import Path

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "edge_filters.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("edge_filters", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_edges_are_brighter_behind_the_filters_and_learning_helps(example, tmp_path):
    results = example.main(example.Options(count=60, image_size=32, steps=80, output=tmp_path))
    assert results["learned"] > results["spiral"] > results["open"]
    with Image.open(tmp_path / "edge_filters.png") as figure:
        assert figure.size[0] > 1000
