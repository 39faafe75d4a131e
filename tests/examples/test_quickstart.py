import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart.py"


@pytest.fixture(scope="module")
def quickstart():
    spec = importlib.util.spec_from_file_location("quickstart", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check(folder, results, printed):
    for name, result in results.items():
        row = next(line for line in printed.splitlines() if line.startswith(f"{name}  "))
        # To the scene, as what the codec itself loses says nothing of the camera before it.
        assert row.split()[-2] == ("-" if result.psnr is None else f"{result.psnr_scene:.3f}")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert len(metrics["test"]) == len(results) == 4
    for name, result in results.items():
        assert metrics["test"][name]["accuracy"] == result.report.accuracy
    with Image.open(folder / "figure.png") as figure:
        assert figure.size[0] > 1000


def test_it_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 150


def test_it_runs_on_phantoms_and_resumes(quickstart, tmp_path, capsys):
    options = quickstart.Options(
        limit=70, image_size=32, epochs=1, output=tmp_path / "run", start="log"
    )
    results = quickstart.main(options)
    _check(tmp_path / "run", results, capsys.readouterr().out)
    again = quickstart.main(quickstart.Options(**{**options.__dict__, "resume": True}))
    for name, result in results.items():
        assert (again[name].logits == result.logits).all()
    others = quickstart.Options(**{**options.__dict__, "resume": True, "start": "random"})
    with pytest.raises(
        SystemExit, match="another configuration: give the options it had, or another"
    ):
        quickstart.main(others)


def test_a_folder_that_exists_gets_a_number(quickstart, tmp_path, monkeypatch):
    class Enough(Exception):
        pass

    def stop(config, parts, folder, **options):
        raise Enough(folder)

    monkeypatch.setattr(quickstart, "complete_run", stop)
    for taken, free in (("run", "run-2"), ("run-2", "run-3")):
        (tmp_path / taken).mkdir()
        with pytest.raises(Enough) as told:
            quickstart.main(quickstart.Options(limit=70, image_size=32, output=tmp_path / "run"))
        assert told.value.args == (tmp_path / free / "classifier",)


@pytest.mark.ham10000
def test_it_runs_on_the_real_images(quickstart, few_real, tmp_path, monkeypatch, capsys):
    if few_real is None:
        pytest.skip("set HAM10000_ROOT to the folder or zip of HAM10000")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = quickstart.Options(
        data=few_real, limit=150, image_size=32, epochs=1, output=tmp_path / "run"
    )
    results = quickstart.main(options)
    _check(tmp_path / "run", results, capsys.readouterr().out)
