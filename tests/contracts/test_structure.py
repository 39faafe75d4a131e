"""Promises about the shape of the project."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("optics", "compress", "classify", "joint")


def _modules():
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", PACKAGES[:3])
def test_siblings_never_import_each_other(package):
    strangers = set(PACKAGES) - {package}
    for path in (ROOT / package).rglob("*.py"):
        assert not strangers & set(_imported(path)), path


def test_every_package_is_typed():
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()


def test_every_public_name_exists_and_is_documented():
    import importlib

    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and not str(type(thing)).startswith("<class 'typing"):
                assert thing.__doc__, f"{package}.{name} has no docstring"


def test_the_readme_has_two_commands_that_begin_from_nothing():
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^python3 -m venv \.venv && .*$", text, flags=re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("pip install -e . && .venv/bin/python examples/quickstart.py")
    assert commands[1].endswith('pip install -e ".[test]" && .venv/bin/python -m pytest')


def test_every_example_has_a_test():
    for path in (ROOT / "examples").rglob("*.py"):
        folder = ROOT / "tests" / path.parent.relative_to(ROOT)
        assert (folder / f"test_{path.name}").exists(), f"{path.name} has no test in {folder}"


def test_the_tests_mirror_the_packages():
    for path in _modules():
        relative = path.relative_to(ROOT)
        if path.name in ("__init__.py",):
            continue
        mirror = ROOT / "tests" / relative.parent / f"test_{path.name}"
        # Or of the whole folder, where it makes one thing, as joint.report makes a page.
        folder = ROOT / "tests" / relative.parent.parent / f"test_{relative.parent.name}.py"
        assert mirror.exists() or folder.exists(), f"{relative} has no {mirror.relative_to(ROOT)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_import_pays_for_nothing_heavy(package):
    code = (
        f"import sys, {package}; "
        "heavy = {'torchvision', 'matplotlib', 'sklearn', 'skimage', 'optuna', 'ray'}; "
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_picture_or_large_file_is_committed():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        assert path.stat().st_size <= 2**20, f"{name} is over 1 MB"
        assert "ISIC_" not in path.name, f"{name} looks like a picture of HAM10000"
        assert path.suffix not in (".safetensors", ".pt", ".pth", ".pkl"), name
