"""How a module was built, as far as its printed form says: what has no weights, or any."""

import re

from torch import nn

__all__ = ["differing", "printed_stage"]

_PART = re.compile(r"\(([\w.-]+)\): (.*)")
# Commas between settings, and not those within a pair.
_COMMA = re.compile(r", (?![^(\[]*[)\]])")
# What a list prints of each of its weights: their type and, on a GPU, where they lie.
_WEIGHT = re.compile(r"\(\d+\): (Parameter|Tensor) containing: ")
# A number of a file of settings is a float where an int was given in Python.
_WHOLE = re.compile(r"(?<=\d)\.0\b")
# How a module learns, or what its weights say, and not what else it makes of a picture.
_LEARNING = (
    "drop_prob", "frozen", "inplace", "momentum", "open", "p", "proxy", "rounding", "trainable",
)  # fmt: skip
_LEARNS_BY = ("none", "Dropout", "Dropout2d", "DropPath", "Identity", "StochasticDepth")
# Of many differences, the first ones say enough.
_TOLD = 4


def printed_stage(system: str, stage: str) -> str | None:
    """The printed form of a stage within that of its system; None of one without it."""
    form = rf"^  \({stage}\): (.*(?:\n    .*)*)"
    found = re.search(form, system, re.MULTILINE)
    return None if found is None else re.sub("^  ", "", found[1], flags=re.MULTILINE)


def differing(printed: str, module: nn.Module, *, both: bool = False) -> str | None:
    """What is otherwise here than was printed, of a module or its parts; None where nothing is.

    How a module learns is no difference. Nor is, by default, what is said here alone, as a part or
    a setting of a later version is.

    Parameters
    ----------
    printed : str
        ``repr`` of the module as it was.
    module : nn.Module
        As it is.
    both : bool
        Whether what is said here alone counts too: of a module that leaves out what is as by
        default, such as a sensor.

    Returns
    -------
    str or None
        As ``"quality=50 there, quality=90 here; ..."``, with the places of parts before what is of
        them. Of a part that is another one, or none, what it has is not compared.
    """
    theirs, ours = _settings(printed), _settings(repr(module))
    told: list[str] = []
    others: list[str] = []
    for place in {**theirs, **ours} if both else theirs:
        if any(other == "" or place.startswith(f"{other}.") for other in others):
            continue
        there, here = (found.get(place, {"kind": "none"}) for found in (theirs, ours))
        of, kinds = f"{place}: " if place else "", (there["kind"], here["kind"])
        if {*kinds} <= {*_LEARNS_BY}:
            continue
        if kinds[0] != kinds[1]:
            others.append(place)
            told.append(f"{of}{kinds[0]} there, {kinds[1]} here")
            continue
        for name in {**there, **here} if both else there:
            # What torch says of a layer depends on its version; what has no name may be left out.
            known = name in here
            if not place and name:
                known = _WHOLE.sub("", str(getattr(module, name, None))) != there.get(name)
            if (known or both) and name not in _LEARNING and there.get(name) != here.get(name):
                told.append(f"{of}{_said(name, there)} there, {_said(name, here)} here")
    more = f"; and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return "; ".join(told[:_TOLD]) + more if told else None


def _said(name: str, settings: dict[str, str]) -> str:
    if name not in settings:
        return "not set"
    return f"{name}={settings[name]}" if name else settings[name]


def _settings(printed: str) -> dict[str, dict[str, str]]:
    """Kind and settings of a module, and of each that it has, by their places in it.

    Settings without a name, as those of ``Conv2d(3, 48, ...)``, are one of the name "".
    """
    found: dict[str, dict[str, str]] = {}
    path: list[str] = []
    for line in printed.split("\n"):
        text, depth = line.strip(), (len(line) - len(line.lstrip())) // 2
        if _WEIGHT.match(text):
            continue
        part = _PART.fullmatch(text)
        if part is not None or depth == 0:
            if part is not None:
                path, text = [*path[: depth - 1], part[1]], part[2]
            kind, _, text = text.partition("(")
            found.setdefault(".".join(path), {"kind": kind})
            text = text.removesuffix(")")
        settings = [] if text in ("", ")") else _COMMA.split(_WHOLE.sub("", text))
        pairs = [setting.partition("=") for setting in settings]
        found[".".join(path)] |= {name: value for name, mark, value in pairs if mark}
        if unnamed := [name for name, mark, _ in pairs if not mark]:
            found[".".join(path)][""] = ", ".join(unnamed)
    return found
