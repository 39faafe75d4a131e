"""Promises about the shape of the project."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("optics", "compress", "classify", "joint")
# Rooms of a package; each may use those before it (docs/decisions/0006-optics-room.md and
# 0008-joint-room.md). A study shows itself with what a report is made of. A command may use all,
# and nothing a command.
ROOMS = {
    "optics": (
        "light", "wave", "sensor", "pupil", "lens_data", "imaging", "rays", "fabrication",
        "performance",
    ),
    "joint": (
        "judge", "saved", "train", "picture", "config", "run", "deploy",
        "analysis", "panel", "figure", "report", "study", "command",
    ),
}  # fmt: skip
# Those that `import joint` does not load.
LATE = ("analysis", "panel", "figure", "report", "study", "command")
# What stands above all rooms, though it is in none: the door of the package, and of its scripts.
DOORS = ("__init__.py", "cli.py", "script.py")


def _modules():
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def _rooms_imported(path):
    """Which rooms of its package a module uses, also within a function."""
    package, own = path.relative_to(ROOT).parts[:2]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            depth = len(path.relative_to(ROOT).parts) - node.level
            base = path.relative_to(ROOT).parts[:depth] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else [])))
            names = [stem, *(f"{stem}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            room = parts[1] if parts[0] == package and len(parts) > 1 else own
            if room in ROOMS[package] and room != own:
                yield room


@pytest.mark.parametrize(
    ("package", "room"), [(package, room) for package, rooms in ROOMS.items() for room in rooms]
)
def test_each_room_uses_only_those_before_it(package, room):
    later = set(ROOMS[package][ROOMS[package].index(room) + 1 :])
    for path in sorted((ROOT / package / room).rglob("*.py")):
        assert not later & set(_rooms_imported(path)), path.relative_to(ROOT)


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_has_its_place(package):
    found = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert found == {*ROOMS[package]}


@pytest.mark.parametrize("package", ROOMS)
def test_what_stands_in_no_room_uses_none(package):
    for path in sorted((ROOT / package).glob("*.py")):
        used = set(_rooms_imported(path))
        assert path.name in DOORS or not used, f"{path.name} imports {', '.join(used)}"


def test_import_joint_does_not_reach_into_the_late_rooms():
    # Nor does the command line: it loads commands by their names.
    for name in DOORS:
        used = set(_rooms_imported(ROOT / "joint" / name)) & {*LATE}
        assert not used, f"{name} imports {', '.join(used)}"


def test_the_check_of_directions_sees_every_form_of_import(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "joint" / "analysis").mkdir(parents=True)
    path = tmp_path / "joint" / "analysis" / "x.py"
    for text in (
        "import joint.study",
        "from joint import study",
        "from joint.study.ledger import Ledger",
        "from .. import study",
        "from ..study import store",
        "def f():\n    from ..study.ledger import Ledger",
    ):
        path.write_text(text)
        assert set(_rooms_imported(path)) == {"study"}, text
    path.write_text("from .study import x\nimport studying")
    assert not list(_rooms_imported(path))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_comes_back_to_its_module(package):
    # Neither one of a function, nor one for types alone.
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {name: _modules_imported(path, name) & {*files} for name, path in files.items()}
    list(TopologicalSorter(graph).static_order())  # or a CycleError, which names them


def _modules_imported(path, name):
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: -node.level] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {stem, *(f"{stem}.{alias.name}" for alias in node.names)}
    return found


def test_no_module_is_named_for_nothing():
    vague = {"utils", "util", "common", "helpers", "helper", "misc", "tools"}
    for path in _modules():
        assert not vague & {*path.relative_to(ROOT).with_suffix("").parts}, path


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
        # Or of the whole folder, where it makes one thing, as joint.figure draws figures.
        folder = ROOT / "tests" / relative.parent.parent / f"test_{relative.parent.name}.py"
        assert mirror.exists() or folder.exists(), f"{relative} has no {mirror.relative_to(ROOT)}"
