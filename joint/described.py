"""What a system is made of, as JSON: kinds and settings of its modules, to compare two of them."""

import inspect
import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from classify.backbone import Classifier
from compress import DifferentiableJPEG
from compress.files import FileCodec
from compress.learned import LearnedCodec
from joint.system import ImagingSystem
from optics import Aberration, CompoundLens, CubicMask, HeightMap
from optics.imaging.psf_imaging import PSFImaging

__all__ = ["Description", "described", "differing", "part_of"]

Description: TypeAlias = dict[str, dict[str, Any]]
"""Of each module by its path, "" for the whole: ``kind``, ``settings``, and those of ``learning``,
which are no difference once it is trained."""

# Packages whose modules hold their settings under their names; of others, what they print counts.
_KNOWN = ("optics", "compress", "classify", "joint", "torch", "torchvision", "timm")
# Of which a setting is held otherwise than by its name, and printed.
_PRINTED = (Aberration, CompoundLens, CubicMask)
# Where a net of timm is from, which may change without the net.
_ORIGIN = ("pretrained_cfg", "default_cfg")
# What every module holds.
_OF_ALL = {*vars(nn.Module())}
# How a module learns, and not what else it makes of a picture.
_LEARNING: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (_NormBase, ("momentum",)),
    (nn.MultiheadAttention, ("dropout",)),
    (nn.RNNBase, ("dropout",)),
    (Classifier, ("frozen",)),
    (CompoundLens, ("centre", "edge", "air")),  # of its penalty alone
    (DifferentiableJPEG, ("rounding",)),
    (HeightMap, ("sharpness",)),
    (LearnedCodec, ("proxy", "sharpness")),
)
# What changes nothing, of which nothing is, or only in training.
_IDLE = {
    "none", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "DropPath", "Identity",
    "StochasticDepth",
}  # fmt: skip
# Relative; the last digits of what is computed from settings differ between machines.
_ROUNDED = 1e-9
# And twice what a half precision rounds: a net in it has the same normalisation.
_HALF = 2.0**-8
# Of many differences, the first ones say enough.
_TOLD = 4


def described(module: nn.Module) -> Description:
    """Kind and settings of a module and of all in it, as JSON, whatever device it is on.

    A setting is a number, a name, a truth value, a dtype, None, or several of these in a list, a
    tuple, a set or a dict, which the module holds as a public attribute, or as a private one for an
    argument or a property of that name. What an ``extra_repr`` of another package says is one more,
    without the device of tensors in it.

    Not found are tensors and arrays, such as the PSF that :meth:`optics.Wiener.know` is given, as
    well as functions, paths and other objects; a module that has one where another has None does
    not differ from it.
    """
    parts = module.named_modules(remove_duplicate=False)
    return {place: _described_one(part) for place, part in parts}


def part_of(description: Description, name: str) -> Description:
    """Description of the part with this name; empty if there is none."""
    return {
        place.removeprefix(name).removeprefix("."): entry
        for place, entry in description.items()
        if place == name or place.startswith(f"{name}.")
    }


def differing(there: Description, here: Description, *, learning: bool) -> str | None:
    """Name the first differences between two descriptions; None where there is none.

    A setting that only one of them knows, as of a later version of a layer, is no difference.

    Parameters
    ----------
    there, here : Description
        As :func:`described` returns them; empty for no module.
    learning : bool
        Whether it counts how modules learn: their settings for that, and such as only act then.

    Returns
    -------
    str or None
        As ``"quality=50 there, quality=90 here; ..."``, with the paths of parts before what is of
        them. Of a part that is another one, or none, what it has is not compared.
    """
    told: list[str] = []
    others: list[str] = []
    for place in {**there, **here}:
        if any(other == "" or place.startswith(f"{other}.") for other in others):
            continue
        was, now = (found.get(place, {"kind": "none"}) for found in (there, here))
        of, kinds = f"{place}: " if place else "", (was["kind"], now["kind"])
        if not learning and {*kinds} <= _IDLE:
            continue
        if kinds[0] != kinds[1]:
            others.append(place)
            told.append(f"{of}{kinds[0]} there, {kinds[1]} here")
            continue
        counted = was["settings"] | (was["learning"] if learning else {})
        own = now["settings"] | now["learning"]
        told += [
            f"{of}{name}={value!r} there, {name}={own[name]!r} here"
            for name, value in counted.items()
            if name in own and not _same(value, own[name], within=_within(was["kind"], name))
        ]
    more = f"; and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return "; ".join(told[:_TOLD]) + more if told else None


def _described_one(part: nn.Module) -> dict[str, Any]:
    kind, own = type(part), vars(part)
    learns = {name for of, names in _LEARNING if isinstance(part, of) for name in names}
    if isinstance(part, LearnedCodec) and part.quality is None:
        learns.add("quality")  # one that learns all of its qualities may be set to any
    settings: dict[str, Any] = {}
    for held, value in own.items():
        name = held.removeprefix("_")
        if held in _OF_ALL or not _is_simple(value) or (name != held and name in own):
            continue
        if name == held or _is_public(kind, name):
            settings[name] = _as_json(value)
    if _package(part.extra_repr) not in _KNOWN or isinstance(part, _PRINTED):
        settings["extra_repr"] = _shown(part, learns)
    if _package(kind) == "torch":
        settings.pop("inplace", None)  # saves memory, and changes no number
    if _package(kind) == "timm":
        settings = {name: value for name, value in settings.items() if name not in _ORIGIN}
    if isinstance(part, Classifier) and not part.mean.is_meta:
        settings["mean"] = part.mean.flatten().tolist()
        settings["deviation"] = part.deviation.flatten().tolist()
    if isinstance(part, ImagingSystem):
        settings.pop("classes", None)
    if isinstance(part, FileCodec) and part.takes(1) and part.takes(3):
        settings.pop("channels", None)  # set by the pictures that it gets
    if isinstance(part, PSFImaging):
        distances = part.working_distances
        settings["working_distances"] = None if distances is None else distances.tolist()
    if isinstance(part, DifferentiableJPEG) and not part.log_tables.requires_grad:
        # Tables that are trained vary.
        there = not part.log_tables.is_meta and bool(part.log_tables.isfinite().all())
        settings["quality"] = part.quality if there else None
    return {
        "kind": kind.__name__,
        "settings": {name: value for name, value in settings.items() if name not in learns},
        "learning": {name: value for name, value in settings.items() if name in learns},
    }


def _shown(part: nn.Module, learns: Iterable[str]) -> str:
    """What a module prints of itself, but for how it learns, which is compared by its name."""
    # Nor the device of a tensor, nor the lines that it is broken into.
    told = re.sub(r",\s+device='[^']*'", "", part.extra_repr())
    for name in learns:
        told = _without(name, told)
    return " ".join(told.split())


def _without(name: str, told: str) -> str:
    """What is told but for ``name=value``, whose value may have commas within brackets."""
    there = re.search(rf"(, )?\b{name}=", told)
    if there is None:
        return told
    depth, end = 0, there.end()
    for letter in told[end:]:
        if letter == "," and depth == 0:
            break
        depth += (letter in "([{") - (letter in ")]}")
        end += 1
    return told[: there.start()] + told[end:]


def _same(value: object, other: object, *, within: float) -> bool:
    if isinstance(value, list) and isinstance(other, list):
        pairs = zip(value, other, strict=False)
        return len(value) == len(other) and all(_same(*pair, within=within) for pair in pairs)
    if isinstance(value, dict) and isinstance(other, dict):
        return {*value} == {*other} and all(
            _same(item, other[key], within=within) for key, item in value.items()
        )
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=within)
    return value == other


def _within(kind: str, name: str) -> float:
    """Relative difference of numbers of a setting that is none."""
    normalises = kind == Classifier.__name__ and name in ("mean", "deviation")
    return _HALF if normalises else _ROUNDED


def _is_public(kind: type[nn.Module], name: str) -> bool:
    """Whether a class has an argument or a property of this name."""
    return isinstance(getattr(kind, name, None), property) or (
        name in inspect.signature(kind).parameters
    )


def _package(of: object) -> str:
    return str(of.__module__).partition(".")[0]


def _is_simple(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str | Real) for key in value) and _are_simple(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return _are_simple(value)
    return value is None or isinstance(value, str | Real | complex | np.bool_ | torch.dtype)


def _are_simple(values: Iterable[object]) -> bool:
    return all(map(_is_simple, values))


def _as_json(value: Any) -> Any:  # noqa: ANN401 - JSON
    """The value as it would come back from a file, at full precision."""
    if isinstance(value, Mapping):
        found = {str(key): _as_json(item) for key, item in value.items()}
        if len(found) == len(value):
            return found
        # Such as 1 and "1", which are one name in JSON.
        return sorted(([_as_json(key), _as_json(item)] for key, item in value.items()), key=str)
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(_as_json, value), key=str)
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, complex):
        return [_as_json(value.real), _as_json(value.imag)]
    if isinstance(value, Integral):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else str(number)
