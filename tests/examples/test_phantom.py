import importlib.util
from pathlib import Path

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "phantom.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("phantom", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_classes_stand_out_as_in_life_and_are_drawn(example, tmp_path, capsys, monkeypatch):
    # To find a palette takes longer than to draw; tests/joint/test_figure.py does.
    save = example.save_figure
    monkeypatch.setattr(
        example, "save_figure", lambda figure, path, *, dpi, colours: save(figure, path, dpi=dpi)
    )
    medians = example.main(example.Options(count=420, image_size=64, output=tmp_path))
    for name, real in example.REAL.items():
        assert medians[name][0] == pytest.approx(real[0], abs=0.1)
        assert medians[name][1] == pytest.approx(real[1], abs=0.1)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 + len(example.REAL)
    assert printed[2].startswith("| akiec | -0.")
    assert " / -0.2" in printed[2]
    with Image.open(tmp_path / "phantom.png") as figure:
        assert figure.size == (1120, 920)
