"""Weights of a classifier from a file of this library, of a system, or of the original net.

Head and stem are adapted.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from .registry import BackboneRecord

__all__ = ["load_state", "read_state", "spread"]

# What joint.ImagingSystem puts in front of the names of its classifier.
_STAGE = "classifier."
_HEAD = ("head.weight", "head.bias")


def spread(weight: Tensor, in_channels: int) -> Tensor:
    """Weights of a first convolution for other numbers of channels, with equal response to grey.

    The response is equal if grey is normalised equally in all channels, and about equal if the
    colours were trained with separate means and deviations.
    """
    scale = weight.shape[1] / in_channels
    return weight.mean(1, keepdim=True).expand(-1, in_channels, -1, -1) * scale


def load_state(
    classifier: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: Path,
    record: BackboneRecord,
    name: str,
) -> str | None:
    """Load a state dict of this library, alone or in a system, or of the torchvision or timm model.

    It was read from ``source`` by :func:`read_state`; ``record`` has the names of the first and the
    last layer of the model.

    Returns
    -------
    str or None
        Why the head was not loaded, for a warning; None if it was. It is loaded whole or not at
        all: not if it is of other classes or of another type, or if a part of it is missing.

    Raises
    ------
    ValueError
        When it is not one of the backbone ``name``, or a weight is not a finite float.
    """
    given, head = dict(state), record.head
    if not any(key.startswith("net.") for key in given):
        given = {_our_key(key, head): value for key, value in given.items()}
    own = classifier.state_dict()
    first = f"net.{record.stem}.weight"
    if first in given and given[first].ndim == 4 and given[first].shape[1] != own[first].shape[1]:
        given[first] = spread(given[first], own[first].shape[1])
    positions = "net.encoder.pos_embedding"
    if positions in own and positions in given and _is_grid(given[positions]):
        given[positions] = _resampled(given[positions], own[positions].shape[1])
    left_out = _unfit_head(given, own, source)
    if left_out is not None:
        given = {key: value for key, value in given.items() if key not in _HEAD}
    missing = [key for key in own if key not in given and not _is_optional(key)]
    unknown = [key for key in given if key not in own]
    shapes = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    if missing or unknown or shapes:
        raise ValueError(
            f"{source} does not hold weights of {name!r}: {len(missing)} missing "
            f"({', '.join(missing[:3])}), {len(unknown)} unknown ({', '.join(unknown[:3])}), "
            f"{len(shapes)} of another shape ({'; '.join(shapes[:3])}){_advice(missing, unknown)}"
        )
    unsound = [key for key in own if key in given and not _is_sound(given[key], own[key])]
    if unsound:
        raise ValueError(
            f"{source} does not hold sound weights of {name!r}: {len(unsound)} are not finite or "
            f"not floating-point numbers ({', '.join(unsound[:3])}); if the training diverged, use "
            "an earlier state; if the weights are quantised, use the original ones"
        )
    classifier.load_state_dict(given, strict=False)
    return left_out


def _unfit_head(given: Mapping[str, Tensor], own: Mapping[str, Tensor], source: Path) -> str | None:
    """Why the head of a file is to be left out; None for one that is to be loaded, or refused."""
    theirs, ours = ([key for key in _HEAD if key in state] for state in (given, own))
    if not theirs:
        return f"{source} has no last layer, which begins anew"
    if "head.weight" not in theirs:
        return f"the last layer of {source} lacks its weights, and begins anew"
    weight, wanted = given["head.weight"], own["head.weight"]
    if weight.shape[1:] != wanted.shape[1:] or weight.ndim != wanted.ndim:
        return None  # of another net, and a fault like any other wrong shape
    if len(weight) != len(wanted):
        return (
            f"the last layer of {source} is for {len(weight)} classes, and begins anew for "
            f"{len(wanted)}"
        )
    if theirs != ours:
        # Of a linear head and a cosine head, the one says nothing of the other.
        has = "a" if "head.bias" in theirs else "no"
        kind = "linear" if "head.bias" in ours else "cosine"
        return f"the last layer of {source} has {has} bias, and begins anew as a {kind} one"
    return None


def _is_optional(key: str) -> bool:
    """A head, and counts of batches, which files of before PyTorch 0.4.1 and of others lack."""
    return key in _HEAD or key.endswith(".num_batches_tracked")


def _is_sound(given: Tensor, own: Tensor) -> bool:
    """Whether weights are finite floats, of which buffers that count are none."""
    if not own.is_floating_point():
        return True
    return given.is_floating_point() and bool(given.float().isfinite().all())


def _advice(missing: list[str], unknown: list[str]) -> str:
    """What to do where the names differ by what a wrapper of the model put in front of them."""
    layers = {
        key.rpartition(".")[0].removeprefix("head")
        for key in unknown
        if re.fullmatch(r"head(\.\d+)+\.(weight|bias)", key)
    }
    if len(layers) == 1:  # of several none is ours
        return (
            f"; its head is a Sequential: take {layers.pop()!r}, the place of its linear layer, "
            "out of the names of the file"
        )
    for given in (key.removeprefix("net.") for key in unknown):
        for wanted in missing:
            for name in (wanted, wanted.removeprefix("net.")):
                if given.endswith(f".{name}"):
                    front = given.removesuffix(name)
                    return f"; take {front!r}, of a wrapper, off the names of the file"
    return ""


def _is_grid(positions: Tensor) -> bool:
    """Whether these are positions of a class token and a square of patches."""
    patches = positions.shape[1] - 1 if positions.ndim == 3 else 0
    return patches > 0 and math.isqrt(patches) ** 2 == patches


def _resampled(positions: Tensor, length: int) -> Tensor:
    """Positions of a vision transformer for another grid of patches; the class token stays."""
    if positions.shape[1] == length:
        return positions
    token, grid = positions[:, :1], positions[:, 1:]
    old, new = math.isqrt(grid.shape[1]), math.isqrt(length - 1)
    square = grid.transpose(1, 2).unflatten(2, (old, old))
    square = functional.interpolate(square, (new, new), mode="bicubic", align_corners=True)
    return torch.cat((token, square.flatten(2).transpose(1, 2)), 1)


def _our_key(key: str, head: str) -> str:
    # Names of DenseNet's public weights, from before module names could not hold a dot.
    key = re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key)
    if key.startswith(f"{head}."):
        return key.replace(head, "head", 1)
    return f"net.{key}"


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a file by their names; a ValueError says what it is instead."""
    if not path.is_file():
        raise ValueError(f"there are no weights at {path}")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's own words advise to load it with whatever code it holds.
        raise ValueError(
            f"{path} is not a readable state dict ({type(error).__name__}): give what "
            "torch.save(model.state_dict(), path) or safetensors wrote, without objects in it"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        has = f"it has {', '.join(map(str, list(state)[:5]))}" if isinstance(state, dict) else ""
        raise ValueError(
            f"{path} does not hold a state dict, a mapping of names to tensors"
            + (f": {has}; of a checkpoint, save the entry that is one" if has else "")
        )
    # Of a whole system, as in best.safetensors. Some of torchvision's models have a "classifier."
    # of their own, with numbers behind it.
    if any(key.startswith(f"{_STAGE}net.") for key in state):
        return {k.removeprefix(_STAGE): value for k, value in state.items() if k.startswith(_STAGE)}
    # The auxiliary head of Inception is for its own training only.
    return {key: value for key, value in state.items() if not key.startswith("AuxLogits.")}
