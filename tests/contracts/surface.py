"""The public names of the project and how each is called, as one text that a person can read.

``python tests/contracts/surface.py`` writes ``surface.txt`` anew; with ``--check`` it compares, as
the test beside it does.
"""

import argparse
import ast
import difflib
import functools
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

HERE = Path(__file__).parent
SNAPSHOT = HERE / "surface.txt"
COMMAND = "python tests/contracts/surface.py"
PACKAGES = ("optics", "compress", "classify", "joint")
ROOMS = (*PACKAGES, "joint.analysis", "joint.figure", "joint.study", "joint.report")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Public:
    """A public function, or a public method of a public class, as it stands in the source."""

    label: str
    """``optics.Lens.forward``."""
    node: Function
    module: str
    doc: str
    owner: type | None = None


def ours(value: Any) -> bool:
    """Whether a class or function is defined in one of the four packages."""
    return getattr(value, "__module__", "").split(".")[0] in PACKAGES


@functools.cache
def _definitions(module: str) -> dict[str, ast.ClassDef | Function]:
    """Classes, functions and methods of a module by their qualified name."""
    found: dict[str, ast.ClassDef | Function] = {}

    def walk(node: ast.Module | ast.ClassDef, prefix: str) -> None:
        for child in node.body:
            if isinstance(child, ast.ClassDef | Function):
                found[prefix + child.name] = child
            if isinstance(child, ast.ClassDef):
                walk(child, f"{prefix}{child.name}.")

    file = sys.modules[module].__file__
    assert file is not None
    walk(ast.parse(Path(file).read_text(encoding="utf-8")), "")
    return found


def source(value: Any) -> ast.ClassDef | Function:
    """The definition of a class or function."""
    value = inspect.unwrap(value)
    return _definitions(value.__module__)[value.__qualname__]


def names(room: str) -> dict[str, Any]:
    """The public names of a room in alphabetical order, and what they stand for."""
    module = importlib.import_module(room)
    return {name: getattr(module, name) for name in sorted(module.__all__)}


@functools.cache
def public_classes() -> frozenset[type]:
    """Every public class of every room."""
    values = (value for room in ROOMS for value in names(room).values())
    return frozenset(value for value in values if inspect.isclass(value) and ours(value))


def lineage(owner: type) -> list[type]:
    """A class and those of its bases that are ours, the class first."""
    return [base for base in inspect.getmro(owner) if ours(base)]


def methods(owner: type) -> Iterator[tuple[str, Function, type]]:
    """Public methods and properties of a class with the class that defines them.

    Those of a public base stand there, and are left out.
    """
    seen: set[str] = set()
    for base in lineage(owner):
        if base is not owner and base in public_classes():
            continue
        for node in source(base).body:
            if isinstance(node, Function) and not node.name.startswith("_"):
                if node.name not in seen:
                    yield node.name, node, base
                seen.add(node.name)


def constructor(owner: type) -> Function | None:
    """The ``__init__`` that a class is made by, where one of ours is written down."""
    for base in lineage(owner):
        for node in source(base).body:
            if isinstance(node, Function) and node.name == "__init__":
                return node
    return None


def fields(owner: type) -> dict[str, tuple[ast.AnnAssign, str]]:
    """Annotated fields of a class by name, with the docstring below each, its bases' first."""
    found: dict[str, tuple[ast.AnnAssign, str]] = {}
    for base in reversed(lineage(owner)):
        body = source(base).body
        for node, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
                if not name.startswith("_") and "ClassVar" not in ast.unparse(node.annotation):
                    found[name] = (node, _string(after))
    return found


@functools.cache
def callables() -> tuple[Public, ...]:
    """Every public function and every public method of a public class, each once."""
    return tuple(_callables())


def _callables() -> Iterator[Public]:
    seen: set[Any] = set()
    for room in ROOMS:
        for name, value in names(room).items():
            if not ours(value) or value in seen:
                continue
            seen.add(value)
            label = f"{room}.{name}"
            if inspect.isclass(value):
                for method, node, base in methods(value):
                    doc = inspect.getdoc(inspect.getattr_static(value, method)) or ""
                    yield Public(f"{label}.{method}", node, base.__module__, doc, value)
            elif inspect.isfunction(inspect.unwrap(value)):
                doc = inspect.getdoc(value) or ""
                yield Public(label, source(value), value.__module__, doc)  # type: ignore[arg-type]


def describe() -> str:
    """The text of the snapshot."""
    lines = ["Public names. Written by " + COMMAND + "; a change here is a change for users."]
    for room in ROOMS:
        lines += ["", room, "=" * len(room)]
        for name, value in names(room).items():
            lines += _described(name, value)
    return "\n".join(lines) + "\n"


def _described(name: str, value: Any) -> list[str]:
    if inspect.isclass(value) and ours(value):
        return _class_lines(name, value)
    if inspect.isfunction(inspect.unwrap(value)) and ours(value):
        return [_call(name, source(value))]  # type: ignore[arg-type]
    choices = list(value) if isinstance(value, Mapping | tuple | list) else get_args(value)
    listed = ", ".join(choice if isinstance(choice, str) else _short(choice) for choice in choices)
    return [f"{name}: {listed or type(value).__name__}"]


def _class_lines(name: str, owner: type) -> list[str]:
    bases = [base.__name__ for base in owner.__bases__ if base is not object]
    lines = [f"class {name}({', '.join(bases)})" if bases else f"class {name}"]
    made = constructor(owner)
    if made is not None:
        lines.append("    " + _call("made by", made))
    else:
        lines += [f"    {ast.unparse(node)}" for node, _ in fields(owner).values()]
    for method, node, _ in methods(owner):
        decorators = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
        if decorators & {"property", "functools.cached_property", "cached_property"}:
            returned = "" if node.returns is None else f": {ast.unparse(node.returns)}"
            lines.append(f"    .{method}{returned}")
        else:
            lines.append("    ." + _call(method, node))
    return lines


def _call(name: str, node: Function) -> str:
    arguments = ast.unparse(node.args)
    for first in ("self", "cls"):
        if arguments == first or arguments.startswith(first + ", "):
            arguments = arguments.removeprefix(first).removeprefix(", ")
    returned = (
        "" if node.returns is None or name == "made by" else f" -> {ast.unparse(node.returns)}"
    )
    return f"{name}({arguments}){returned}"


def _short(value: Any) -> str:
    return getattr(value, "__name__", None) or str(value)


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the snapshot, or compare it."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Write the public names to surface.txt, beside this file."
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing: show what differs, and fail where something does",
    )
    check = parser.parse_args(arguments).check
    text, file = describe(), SNAPSHOT.relative_to(HERE.parents[1])
    if not check:
        SNAPSHOT.write_text(text, encoding="utf-8")
        print(f"wrote {file}")
        return 0
    written = SNAPSHOT.read_text(encoding="utf-8") if SNAPSHOT.exists() else ""
    old, new = (part.splitlines(keepends=True) for part in (written, text))
    differences = list(difflib.unified_diff(old, new, str(file), "the code", n=1))
    sys.stdout.writelines(differences)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[1]))
    sys.exit(main())
