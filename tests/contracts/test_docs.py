"""What the pages say works, and the reference leaves nothing out.

Every block of Python on them is run, in order, page by page.
"""

import importlib
import re
import sys
import types
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    page
    for page in (
        ROOT / "README.md",
        *(
            p
            for room in ("howto", "concepts", "rooms")
            for p in (ROOT / "docs" / room).glob("*.md")
        ),
    )
    if BLOCK.search(page.read_text())
]


@pytest.fixture
def tools(monkeypatch):
    """What docs/conf.py imports."""
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_tools"))
    yield importlib.import_module
    for name in ("diagram", "gallery", "mend", "reference"):
        sys.modules.pop(name, None)


def test_there_are_pages_to_run():
    assert {page.stem for page in PAGES} >= {
        "README", "element", "codec", "classifier", "data", "gpu", "many_gpus", "cluster",
    }  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = page.read_text()
    module = types.ModuleType("page")  # its functions have a path, as those of a script do
    monkeypatch.setitem(sys.modules, "page", module)
    for match in BLOCK.finditer(text):
        # Empty lines in front, so that a traceback names the line of the page.
        code = "\n" * (text.count("\n", 0, match.start()) + 1) + match[1]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(code, page, "exec"), vars(module))


def test_the_readme_leads_to_what_is_there():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert (ROOT / "docs" / "figures" / "graph.png").stat().st_size < 300_000


def test_the_reference_has_every_public_name(tools):
    reference = tools("reference")
    for package in reference.PACKAGES:
        listed = [name for page in reference.pages(package) for name in page.names]
        assert sorted(listed) == sorted(importlib.import_module(package).__all__)
    page = next(p for p in reference.pages("optics") if p.module == "optics.sensor.sensor")
    assert page.names == ("Reading", "Sensor")


def test_every_room_with_public_names_has_a_reference(tools):
    reference = tools("reference")
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in ("optics", "compress", "classify", "joint")
        for path in (ROOT / package).rglob("__init__.py")
        if "__all__" in path.read_text()
    }
    assert found - set(reference.PACKAGES) == {"classify.data"}  # all of it is in classify


def test_docstrings_become_strict(tools):
    mended = tools("mend").mended
    assert mended(["|t| <= 1, ``|t|`` and a | b"]) == [r"\|t\| <= 1, ``|t|`` and a | b"]
    assert mended(["as in [1]_", ".. [1] A paper."]) == ["as in [1]", "- [1] A paper."]
    assert mended(["drawn::", "", "    |x|", "", "|x|"])[2:] == ["    |x|", "", r"\|x\|"]
    table = ["=====  ====", "name   what", "=====  ====", "longer it", "=====  ===="]
    assert [line.split() for line in mended(table)[3:4]] == [["longer", "it"]]
    assert mended(table)[0] == "======  ===="


def test_the_diagrams_are_those_of_the_imports(tools, tmp_path):
    diagram = tools("diagram")
    graph = diagram.imports(ROOT / "optics")
    assert "sensor" in graph["pupil"]
    assert graph["quantity"] == set()
    with pytest.raises(ValueError, match="a -> b -> a"):
        diagram._levels({"a": {"b"}, "b": {"a"}})
    assert diagram._reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()})["a"] == {"b"}


def test_a_title_is_short(tools):
    gallery = tools("gallery")
    source = ["\n.. _sphx_glr_gallery_x.py:\n\nOne thing: what it is.\n\nMore.\n"]
    gallery.give_titles(None, "gallery/x", source)
    assert "\n\nOne thing\n=========\n\nWhat it is.\n" in source[0]
    underlined = list(source)
    gallery.give_titles(None, "gallery/x", underlined)
    assert underlined == source
