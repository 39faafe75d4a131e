"""The convolutional nets of timm, by their names there."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["TimmNet", "features", "find", "pooled"]

Colour = tuple[float, float, float]


class TimmNet(NamedTuple):
    """What timm says of one of its models."""

    build: Callable[[int], nn.Module]
    """Make the net, without weights, for pictures of this size along a side."""
    head: str
    """Name of its last linear layer."""
    stem: str
    """Name of its first convolution."""
    mean: Colour
    """Subtracted from red, green and blue, as its public weights expect."""
    deviation: Colour
    """Divides them afterwards."""


def find(name: str) -> TimmNet:
    """Look a model up.

    Parameters
    ----------
    name : str
        As in ``timm.list_models()``, with or without the tag of a set of weights.

    Returns
    -------
    TimmNet

    Raises
    ------
    ValueError
        When timm is not installed, has no such model, or has it without one first convolution
        and one last layer.
    """
    try:
        import timm  # noqa: PLC0415  seconds of import that most users never need
    except ModuleNotFoundError as error:
        raise ValueError(
            f"'timm/{name}' is a net of timm, which is not installed: "
            "pip install 'lens2label[timm]'"
        ) from error
    if not timm.is_model(name):
        near = get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
        raise ValueError(
            f"timm {timm.__version__} has no model {name!r}"
            + (f"; did you mean {', '.join(near)}?" if near else "")
        )
    told = timm.get_pretrained_cfg(name)
    stem, head = getattr(told, "first_conv", None), getattr(told, "classifier", None)
    if told is None or not isinstance(stem, str) or not isinstance(head, str):
        raise ValueError(
            f"'timm/{name}' does not name one first convolution and one last layer, but {stem!r} "
            f"and {head!r}: wrap it in a module of your own"
        )
    return TimmNet(_built(name, stem, head), head, stem, _colour(told.mean), _colour(told.std))


def features(net: nn.Module, image: Tensor) -> Tensor:
    """The last feature map ``[B, F, h, w]`` of pictures."""
    return net.forward_features(image)  # pyright: ignore[reportCallIssue]


def pooled(net: nn.Module, found: Tensor) -> Tensor:
    """What the last layer reads of a feature map, ``[B, F, h, w]`` to ``[B, F]``."""
    return net.forward_head(found, pre_logits=True)  # pyright: ignore[reportCallIssue]


def _colour(values: Sequence[float]) -> Colour:
    red, green, blue = values
    return red, green, blue


def _built(name: str, stem: str, head: str) -> Callable[[int], nn.Module]:
    def build(size: int) -> nn.Module:
        import timm  # noqa: PLC0415

        net = timm.create_model(name)
        ends = (net.get_submodule(stem), nn.Conv2d), (net.get_submodule(head), nn.Linear)
        for layer, kind in ends:
            if not isinstance(layer, kind):
                raise ValueError(
                    f"'timm/{name}' has a {type(layer).__name__} where a {kind.__name__} is "
                    "needed: wrap it in a module of your own"
                )
        try:
            with torch.no_grad():
                shape = features(net.eval(), torch.zeros(1, 3, size, size)).shape
        except (AssertionError, AttributeError, RuntimeError) as error:
            raise ValueError(
                f"'timm/{name}' takes no pictures of {size} pixels along a side: {error}"
            ) from error
        if len(shape) != 4 or shape[1] != net.num_features:
            raise ValueError(
                f"'timm/{name}' ends in {list(shape)} for a picture, not in a feature map "
                f"[1, {net.num_features}, h, w]: of timm, convolutional nets alone are taken. "
                "For a transformer choose vit_tiny_16 or vit_b_16"
            )
        return net.train()

    return build
