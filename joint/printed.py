"""How a module was built, as far as its printed form says: what has no weights, or any."""

import re

from torch import nn

__all__ = ["differing", "printed_stage"]

_PART = re.compile(r"\(([\w.-]+)\): (.*)")
# Commas between settings, and not those within a pair.
_COMMA = re.compile(r", (?![^(\[]*[)\]])")
# How a module learns, and not what it makes of a picture.
_LEARNING = (
    "drop_prob", "frozen", "inplace", "momentum", "p", "proxy", "rounding", "trainable",
)  # fmt: skip
_LEARNS_BY = ("Dropout", "Dropout2d", "DropPath", "Identity", "StochasticDepth")


def printed_stage(system: str, stage: str) -> str | None:
    """The printed form of a stage within that of its system; None of one without it."""
    form = rf"^  \({stage}\): (.*(?:\n    .*)*)"
    found = re.search(form, system, re.MULTILINE)
    return None if found is None else re.sub("^  ", "", found[1], flags=re.MULTILINE)


def differing(printed: str, module: nn.Module) -> str | None:
    """The first setting that is another one here than was printed; None where there is none.

    How a module learns is none, nor is what it says here alone, as one of a later version does.
    """
    theirs, ours = _settings(printed), _settings(repr(module))
    for place, said in theirs.items():
        here = ours.get(place, {})
        if {said.get("kind"), here.get("kind")} <= {*_LEARNS_BY}:
            continue
        for name, value in said.items():
            # What torch says of a layer depends on its version.
            known = name in here if place else str(getattr(module, name, None)) != value
            if known and name not in _LEARNING and here.get(name) != value:
                of = f"{place}: " if place else ""
                other = f"{name}={here[name]}" if name in here else "left open"
                return f"{of}{name}={value} there, {other} here"
    return None


def _settings(printed: str) -> dict[str, dict[str, str]]:
    """Kind and settings of a module, and of each that it has, by their places in it."""
    found: dict[str, dict[str, str]] = {}
    path: list[str] = []
    for line in printed.split("\n"):
        text, depth = line.strip(), (len(line) - len(line.lstrip())) // 2
        part = _PART.fullmatch(text)
        if part is not None or depth == 0:
            if part is not None:
                path, text = [*path[: depth - 1], part[1]], part[2]
            kind, _, text = text.partition("(")
            found.setdefault(".".join(path), {"kind": kind})
            text = text.removesuffix(")")
        pairs = (setting.partition("=") for setting in _COMMA.split(text))
        found[".".join(path)] |= {name: value for name, mark, value in pairs if mark}
    return found
