"""A script that tells in a line what its options ask for in vain."""

import sys
from pathlib import Path

import pytest

import joint
from joint.script import without_traceback


@pytest.fixture(autouse=True)
def _script(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["somewhere/mine.py", "--photons", "0"])


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (lambda: int("seven"), "invalid literal for int() with base 10: 'seven'"),
        (lambda: joint.data_config("nowhere"), "there is nothing at nowhere; give a folder, a zip"),
        (lambda: Path("nowhere/else").read_text(), "[Errno 2] No such file or directory: "),
        (lambda: __import__("nothing_called_so"), "No module named 'nothing_called_so'"),
        (lambda: joint.Training(epochs=0), "epochs: must be greater than or equal to 1, not 0"),
        (
            lambda: joint.Training(epochs=0, monitor="size"),
            "epochs: must be greater than or equal to 1, not 0; monitor: ",
        ),
        (lambda: joint.KernelConfig(kernel_size=4), "kernel_size: kernel_size must be odd, not 4"),
        (lambda: joint.Objective(rate_target=1), "Objective: rate_target=1 adjusts the weight of"),
    ],
)
def test_what_is_asked_for_in_vain_is_one_line_with_the_name_of_the_script(wrong, line):
    with pytest.raises(SystemExit) as told, without_traceback():
        wrong()
    assert told.value.code.startswith(f"mine.py: {line}")  # on stderr, with status 1
    assert "\n" not in told.value.code


@pytest.mark.parametrize("fault", [KeyError, IndexError, TypeError, AssertionError, RuntimeError])
def test_a_fault_of_the_script_keeps_its_traceback(fault):
    with pytest.raises(fault), without_traceback():
        raise fault
    with without_traceback():
        pass
