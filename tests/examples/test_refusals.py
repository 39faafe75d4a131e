"""What cannot be had is told in a line, as a command tells it, and before there is anything."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def _run(name, arguments, output, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, *arguments.split(), "--output", str(output)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("edge_filters.py", "--count 1", "--count 1 leaves no lesion to judge by: give 2 or more"),
        ("phantom.py", "--count 7", "--count 7 has no picture of some class: give more"),
        ("phantom.py", "--difficulty 2", "difficulty=2.0 is out of range; give 0 to 1"),
        ("quickstart.py", "--kernel-size 4", "kernel_size: kernel_size must be odd, not 4"),
        ("quickstart.py", "--data nowhere", "there is nothing at nowhere; give a folder, a zip"),
        ("light_budget.py", "--photons 0", "photons=0.0 is out of range; give a positive number"),
        ("light_budget.py", "--image-size 8", "image_size=8 is out of range; give 16 to 512 pixe"),
        ("phase_mask.py", "--levels 1", "levels must be a whole number of at least 2, not 1"),
        ("depth_of_field.py", "--working-distances 0", "focus: must be greater than 0"),
        ("rate_distortion.py", "--data nowhere", "there is nothing at nowhere; give a folder"),
        ("width_ratio.py", "--data nowhere", "there is nothing at nowhere; give a folder, a zip"),
        ("train_gpu.py", "--device cuda:99", "device 'cuda:99' was asked for, but torch sees "),
        ("train_gpu.py", "--device gpu", "device 'gpu' is unknown; use 'cpu', 'cuda', ..."),
        ("train_gpu.py", "--data nowhere --device cpu", "there is nothing at nowhere; give a fol"),
    ],
)
def test_what_cannot_be_had_is_told_in_a_line(name, arguments, line, tmp_path, monkeypatch):
    with pytest.raises(SystemExit) as told:
        _run(name, arguments, tmp_path / "runs", monkeypatch)
    assert told.value.code.startswith(f"{name}: {line}")
    assert "\n" not in told.value.code
    assert not (tmp_path / "runs").exists()


def test_a_family_of_codecs_that_there_is_not_is_a_wrong_option(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as told:
        _run("rate_distortion.py", "--families webp", tmp_path, monkeypatch)
    assert told.value.code == 2
    assert "WebP" in capsys.readouterr().err


def test_every_script_tells_so():
    scripts = [path for path in EXAMPLES.rglob("*.py") if "tyro.cli(" in path.read_text()]
    assert len(scripts) > 10
    for path in scripts:
        assert "\n    with without_traceback():\n        main(tyro.cli(" in path.read_text(), path
