"""The reference pages: every public name of every package, found in the code.

A name that a package's ``__init__.py`` imports and lists in ``__all__`` appears on the page of the
file that defines it; nobody has to add it here.
"""

import ast
import importlib
import inspect
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mend import mended
from sphinx.pycode import ModuleAnalyzer
from torch import nn

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "optics", "compress", "classify", "joint", "joint.analysis", "joint.figure", "joint.study",
    "joint.report",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """What one file gives to the public."""

    package: str
    """Where the names are imported from."""
    module: str
    """Full name of the file's module."""
    names: tuple[str, ...]

    @property
    def path(self) -> str:
        """Of the page, without its ending."""
        return self.module


def pages(package: str) -> list[Page]:
    """The files of a package that have public names, in the order of their imports."""
    public = set(importlib.import_module(package).__all__)
    found = {name: module for module, name in _imports(package) if name in public}
    missing = public - set(found)
    if missing:
        raise LookupError(f"{package}.__all__ names {sorted(missing)}, which no file defines")
    modules = dict.fromkeys(found.values())
    return [Page(package, m, tuple(n for n, at in found.items() if at == m)) for m in modules]


def _imports(package: str) -> list[tuple[str, str]]:
    """Module and name of everything that a package imports from its own files, files of files.

    And from those beside it, as figures have parts that can be drawn without them.
    """
    folder = ROOT / package.replace(".", "/")
    beside = f"{package.partition('.')[0]}."
    found = []
    for node in ast.walk(ast.parse((folder / "__init__.py").read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.level == 1:
            module = f"{package}.{node.module}"
        elif node.level == 0 and node.module.startswith(beside):
            module = node.module
        else:
            continue
        inner = ROOT / module.replace(".", "/") / "__init__.py"
        origin = {name: place for place, name in _imports(module)} if inner.exists() else {}
        found += [(origin.get(alias.name, module), alias.asname or alias.name)
                  for alias in node.names]  # fmt: skip
    return found


def write(folder: Path) -> None:
    """Write one page for each package and one for each of its files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for package in PACKAGES:
        of_package = pages(package)
        (folder / f"{package}.rst").write_text(_package_page(package, of_package))
        for page in of_package:
            (folder / f"{page.path}.rst").write_text(_module_page(page))
    total = sum(len(page.names) for package in PACKAGES for page in pages(package))
    (folder / "index.rst").write_text(_index(total))


def _index(total: int) -> str:
    lines = [
        *_title("Reference"),
        f"All {total} public names, on the page of the file that defines them. Import them from "
        "the package: ``optics.Sensor``, ``joint.analysis.contrast``.",
        "",
        ".. list-table::",
        "   :widths: 20 80",
        "",
    ]
    for package in PACKAGES:
        first = _first_line(inspect.getdoc(importlib.import_module(package)) or "")
        lines += [f"   * - :doc:`{package} <{package}>`", f"     - {first}"]
    return "\n".join([*lines, "", *_toctree(PACKAGES)]) + "\n"


def _package_page(package: str, of_package: list[Page]) -> str:
    doc = inspect.getdoc(importlib.import_module(package)) or ""
    lines = [*_title(package), f".. module:: {package}", "", *_prose(doc), ""]
    for page in of_package:
        lines += [f".. rubric:: :doc:`{page.module.removeprefix(package + '.')} <{page.path}>`", ""]
        lines += [".. list-table::", "   :widths: 32 68", "   :class: names", ""]
        for name in page.names:
            said = _first_line(_said(page, name))
            lines += [f"   * - :py:obj:`{name} <{package}.{name}>`", f"     - {said}"]
        lines += [""]
    return "\n".join([*lines, *_toctree([page.path for page in of_package])]) + "\n"


def _module_page(page: Page) -> str:
    doc = inspect.getdoc(importlib.import_module(page.module)) or ""
    title = page.module.removeprefix(page.package + ".")
    lines = [
        *_title(title),
        *_prose(doc),
        "",
        f"Import from ``{page.package}``; the code is in ``{page.module.replace('.', '/')}.py``.",
        "",
        f".. currentmodule:: {page.package}",
        "",
    ]
    for name in page.names:
        lines += [*_entry(page, name), ""]
    return "\n".join(lines)


def _entry(page: Page, name: str) -> list[str]:
    thing = getattr(importlib.import_module(page.package), name)
    if inspect.isclass(thing):
        # What a module has from its bases, too: some of these are not public.
        bases = ["   :inherited-members: Module"] * issubclass(thing, nn.Module)
        return [f".. autoclass:: {name}", "   :members:", *bases]
    if inspect.isroutine(thing):
        return [f".. autofunction:: {name}"]
    # Constants and type aliases: what they may be, and the comment above them.
    values = get_args(thing) or (tuple(thing) if isinstance(thing, dict) else thing)
    values = values if isinstance(values, tuple) else (values,)
    told = ", ".join(
        f"``{value!r}``" if isinstance(value, str | int | float) else f"``{_type_name(value)}``"
        for value in values
    )
    entry = [f".. py:data:: {name}", ""]
    said = _comment(page, name)
    return entry + [f"   {line}" for line in [*said, *([""] if said else []), f"One of {told}."]]


def _said(page: Page, name: str) -> str:
    thing = getattr(importlib.import_module(page.package), name)
    if inspect.isclass(thing) or inspect.isroutine(thing):
        return inspect.getdoc(thing) or ""
    return " ".join(_comment(page, name)) or "The names that are allowed."


def _comment(page: Page, name: str) -> list[str]:
    """What a ``#:`` comment, or a string below, says of a constant."""
    analyzer = ModuleAnalyzer.for_module(page.module)
    return mended([line for line in analyzer.find_attr_docs().get(("", name), []) if line])


def _type_name(value: object) -> str:
    return getattr(value, "__name__", str(value))


def _first_line(doc: str) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = doc.strip().split("\n\n")[0]
    return mended([" ".join(paragraph.split())])[0]


def _prose(doc: str) -> list[str]:
    """A module's docstring, with the list of its files as a list."""
    if "Files" not in doc or "·" not in doc:
        return mended(doc.splitlines())
    lines: list[str] = []
    for paragraph in doc.split("\n\n"):
        if paragraph.startswith("Files") and "·" in paragraph:
            head, _, rest = paragraph.partition(":")
            lines += [f"{head}:", ""]
            *items, last = rest.split("·")
            last, _, after = " ".join(last.split()).partition(". ")
            lines += [f"- {' '.join(item.split())}" for item in (*items, last)]
            lines += ["", after, ""]
        else:
            lines += [*paragraph.splitlines(), ""]
    return mended(lines)


def _title(text: str) -> list[str]:
    return [text, "=" * len(text), ""]


def _toctree(entries: list[str] | tuple[str, ...]) -> list[str]:
    return [".. toctree::", "   :hidden:", "", *(f"   {entry}" for entry in entries)]
