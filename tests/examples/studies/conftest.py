"""The scripts of the shipped studies, loaded from their folder, which they import from."""

import importlib.util
import sys
from pathlib import Path

import pytest

STUDIES = Path(__file__).parents[3] / "examples" / "studies"


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Load a script by its name; what it writes goes below ``tmp_path``."""
    monkeypatch.syspath_prepend(STUDIES)
    monkeypatch.chdir(tmp_path)

    def found(name):
        # Workers are processes of their own and import nothing of it.
        monkeypatch.delitem(sys.modules, "runner", raising=False)
        spec = importlib.util.spec_from_file_location(f"studies_{name}", STUDIES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return found
