"""Random views of a batch, made on its own device from an explicit generator."""

import math
from typing import Literal, get_args

import torch
from kornia.geometry.transform import get_affine_matrix2d, warp_affine
from torch import Tensor

__all__ = ["Augmentation", "augment"]

Augmentation = Literal["none", "dihedral", "full"]


def augment(images: Tensor, *, kind: Augmentation, generator: torch.Generator) -> Tensor:
    """Random views of pictures whose label does not depend on their orientation.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]``
        Pictures in 0..1.
    kind : {"none", "dihedral", "full"}
        ``dihedral``: one of the eight flips and quarter turns (the four flips where H != W),
        exact. ``full``: in addition a turn of up to 15 degrees, a scale of 0.9 to 1.1, a shift of
        up to 5 %, and a gain of 0.9 to 1.1 for each channel.
    generator : torch.Generator
        Source of the choice, on the CPU: the views do not depend on the device.
    """
    if kind not in get_args(Augmentation):
        raise ValueError(f"augmentation must be one of {get_args(Augmentation)}, not {kind!r}")
    if kind == "none":
        return images
    images = _dihedral(images, generator)
    if kind == "full":
        images = _gains(_affine(images, generator), generator)
    return images


def _dihedral(images: Tensor, generator: torch.Generator) -> Tensor:
    count = len(images)
    choice = torch.rand(3, count, 1, 1, 1, generator=generator).to(images.device) < 0.5
    images = torch.where(choice[0], images.flip(-1), images)
    images = torch.where(choice[1], images.flip(-2), images)
    if images.shape[-1] == images.shape[-2]:
        images = torch.where(choice[2], images.transpose(-1, -2), images)
    return images


def _affine(images: Tensor, generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape

    def uniform(low: float, high: float, columns: int) -> Tensor:
        draw = torch.rand(count, columns, generator=generator)
        return (low + (high - low) * draw).to(images)

    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2]).to(images).expand(count, 2)
    size = torch.tensor([width, height]).to(images)
    matrix = get_affine_matrix2d(
        translations=uniform(-0.05, 0.05, 2) * size,
        center=centre,
        scale=uniform(0.9, 1.1, 1).expand(count, 2),
        angle=uniform(-15.0, 15.0, 1)[:, 0],
    )
    # Cropping to the border values keeps the skin; black corners would be a new cue.
    return warp_affine(
        images, matrix[:, :2], (height, width), padding_mode="border", align_corners=True
    )


def _gains(images: Tensor, generator: torch.Generator) -> Tensor:
    draw = torch.rand(len(images), images.shape[1], 1, 1, generator=generator).to(images)
    gain = torch.exp((2 * draw - 1) * math.log(1.1))
    return (images * gain).clamp(0, 1)
