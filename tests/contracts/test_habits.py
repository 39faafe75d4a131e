"""Habits that are written down are kept: changelog, contributing guide, hooks before a commit."""

import re
import shlex
import sys
import textwrap
import tomllib
import types
from pathlib import Path

import pytest
import torch

import optics

ROOT = Path(__file__).parents[2]
HEADINGS = ["New", "Breaking", "Deprecated", "Fixed"]


def _section(text, title):
    """What stands below a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found.group(1)


def _releases(text):
    return re.findall(r"^## (.*)$", text, re.MULTILINE)


def _check_changelog(text):
    titles = _releases(text)
    assert titles[0] == "Unreleased"
    for title in titles:
        assert title == "Unreleased" or re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", title)
        section = _section(text, title)
        assert re.findall(r"^### (.*)$", section, re.MULTILINE) == HEADINGS, title
        for part in re.split(r"^### .*$", section, flags=re.MULTILINE)[1:]:
            assert part.strip(), f"an empty heading of {title} says 'none'"


def test_every_release_of_the_changelog_has_the_four_headings():
    _check_changelog((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## Unreleased", "## Next"),
        ("### Breaking", "### Broken"),
        ("### Deprecated", "### Fixed"),
        ("none", ""),
        ("## Unreleased", "## Unreleased\n\n## 0.1"),
    ],
)
def test_another_heading_is_seen(old, new):
    good = "# Changelog\n\n## Unreleased\n\n" + "\n\n".join(
        f"### {heading}\n\nnone" for heading in HEADINGS
    )
    _check_changelog(good)
    with pytest.raises(AssertionError):
        _check_changelog(good.replace(old, new, 1))


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    stated = re.search(r'^version: "?([\d.]+)"?$', citation, re.MULTILINE)
    assert stated is None or stated.group(1) == project["version"]


# --------------------------------------------------------------------------- The ten minutes


@pytest.fixture(scope="module")
def blocks():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = _section(text, "Add an optical element in ten minutes")
    found = re.findall(r"^ *```python\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)
    assert len(found) == 3
    return [textwrap.dedent(block) for block in found]


@pytest.fixture
def axicon(blocks, monkeypatch):
    """The element of the guide, as if its file lay in optics."""
    module = types.ModuleType("optics.pupil.axicon")
    module.__package__ = "optics.pupil"
    monkeypatch.setitem(sys.modules, "optics.pupil.axicon", module)
    exec(compile(blocks[0], "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setattr(optics, "Axicon", module.Axicon, raising=False)
    return module.Axicon


def test_the_element_of_the_guide_obeys_the_law_of_gradients(blocks, axicon):
    laws = ROOT / "tests" / "optics" / "test_laws.py"
    source = laws.read_text(encoding="utf-8").split("MODULES = {")[0]
    names = {}
    exec(compile(source, str(laws), "exec"), names)
    made = eval("{" + blocks[1] + "}", names)["incoherent-axicon"]().double()
    assert isinstance(made.pupil.elements[0], axicon)
    audit = optics.audit_gradients(
        made, torch.rand(1, 3, 9, 10, dtype=torch.float64), raise_on_fault=False
    )
    assert not audit.faults
    assert any("angle" in entry.name for entry in audit.entries)


def test_the_tests_of_the_guide_pass(blocks, axicon):
    names = {}
    exec(compile(blocks[2], "CONTRIBUTING.md", "exec"), names)
    tests = {name: test for name, test in names.items() if name.startswith("test_")}
    assert len(tests) == 2
    for test in tests.values():
        test()


def test_what_the_guide_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:tests|docs|joint|optics|examples|\.ci)/[\w./-]+)`", text):
        assert (ROOT / name).exists() or name.endswith("axicon.py"), name
    laws = (ROOT / "tests/optics/test_laws.py").read_text(encoding="utf-8")
    assert "def test_every_module_is_registered" in laws


# --------------------------------------------------------------------------- Before a commit


def test_the_hooks_use_the_tools_of_the_environment_and_no_network():
    yaml = pytest.importorskip("yaml")
    configured = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in configured["repos"]] == ["local"]
    hooks = {hook["id"]: hook for hook in configured["repos"][0]["hooks"]}
    commands = {}
    for name, hook in hooks.items():
        assert hook["language"] == "system", name
        shell, option, script, *rest = shlex.split(hook["entry"])
        assert (shell, option) == ("sh", "-c")
        assert script.startswith('PATH="$PWD/.venv/bin:$PATH" exec '), name
        # Names of files follow only where they are asked for.
        assert (rest == ["--"]) == hook.get("pass_filenames", True) == ('"$@"' in script), name
        commands[name] = script.split(" exec ")[1].split()[0]
    assert commands == {
        "ruff-check": "ruff",
        "ruff-format": "ruff",
        "pyright": "pyright",
        "lint-imports": "lint-imports",
        "large-files": "python",
    }
