"""Random views of a batch, made on its own device from explicit generators.

::

    settings, generators ──one draw a picture──► parameters ┐
    pictures ──────────────────────────────────────────────►┴ joint.train.view ──► views
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from joint.feed import uniforms
from joint.settings import Settings
from joint.stages import Encoding, check_encoding_name
from optics import Generators, linear_to_srgb, srgb_to_linear

from . import view

__all__ = ["Augmentation", "AugmentationName", "augment", "augmentation"]

AugmentationName = Literal["none", "dihedral", "full"]


class Augmentation(Settings):
    """How far the views of a picture may lie from it; as they are, all of these leave it alone.

    A factor of up to ``f`` means between ``1 / (1 + f)`` and ``1 + f``, evenly on a logarithmic
    scale; other ranges are drawn from evenly, to both sides.
    """

    dihedral: bool = False
    """One of the eight flips and quarter turns (the four flips where H != W)."""
    flips: bool = False
    """One of the four flips, left-right and top-bottom; dihedral contains them."""
    turn: float = Field(default=0.0, ge=0, le=180)
    """Degrees."""
    scale: float = Field(default=0.0, ge=0)
    """Factor on the size of what is seen."""
    shift: float = Field(default=0.0, ge=0, le=1)
    """Share of width and of height."""
    shear: float = Field(default=0.0, ge=0, lt=90)
    """Degrees."""
    blur: float = Field(default=0.0, ge=0)
    """Largest standard deviation of a Gaussian, pixels; sampled at pixels, one below 0.6 blurs less
    than it says (0.5 as 0.46, 0.3 as 0.09)."""
    channel_gain: float = Field(default=0.0, ge=0)
    """Factor on each channel by itself, as of a camera's white balance."""
    brightness: float = Field(default=0.0, ge=0)
    """Factor on all channels."""
    contrast: float = Field(default=0.0, ge=0)
    """Factor on the distance to the mean luminance of the picture."""
    saturation: float = Field(default=0.0, ge=0)
    """Factor on the distance to grey; pictures of three channels."""
    hue: float = Field(default=0.0, ge=0, le=180)
    """Degrees; pictures of three channels."""
    domain: Literal["encoded", "linear"] = "encoded"
    """Light in which blur and colours change: sRGB codes, or what a camera sees."""
    cutout: float = Field(default=0.0, ge=0, le=1)
    """Side of a box that is covered with the mean colour, as a share of the picture's."""
    cutout_probability: float = Field(default=0.5, ge=0, le=1)
    """Share of the pictures that lose a box, if it has a size."""

    @property
    def warps(self) -> bool:
        """Whether pixels are sampled between pixels."""
        return max(self.turn, self.scale, self.shift, self.shear) > 0

    @property
    def recolours(self) -> bool:
        """Whether colours change."""
        changes = (self.channel_gain, self.brightness, self.contrast, self.saturation, self.hue)
        return max(changes) > 0


_NAMED = {
    "none": Augmentation(),
    "dihedral": Augmentation(dihedral=True),
    "full": Augmentation(dihedral=True, turn=15.0, scale=0.1, shift=0.05, channel_gain=0.1),
}


def augmentation(settings: Augmentation | AugmentationName) -> Augmentation:
    """Settings as they are, or by name.

    ``none``: no change. ``dihedral``: flips and quarter turns. ``full``: in addition a turn of up
    to 15 degrees, a scale of 10 %, a shift of 5 % and gains of 10 % for each channel.

    Parameters
    ----------
    settings : Augmentation, or {"none", "dihedral", "full"}

    Returns
    -------
    Augmentation

    Raises
    ------
    ValueError
        For a name that is none of these.
    """
    if isinstance(settings, Augmentation):
        return settings
    if settings not in get_args(AugmentationName):
        raise ValueError(
            f"augmentation must be one of {get_args(AugmentationName)}, or an Augmentation of "
            f"your own, not {settings!r}"
        )
    return _NAMED[settings]


def augment(
    images: Tensor,
    settings: Augmentation | AugmentationName,
    *,
    generator: Generators | np.ndarray,
    encoding: Encoding = "srgb",
) -> Tensor:
    """Random views of pictures whose label does not depend on where and how they were taken.

    Each picture takes the same draws whatever is switched on, so that two settings that share a
    seed differ in nothing else.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]``
        Pictures in 0..1.
    settings : Augmentation or str
        How far the views may go; a name of :func:`augmentation`.
    generator : torch.Generator, a sequence of one for each picture, or uint64 seeds ``[B]``
        Source of the draws; with one for each, the view of a picture does not depend on the rest
        of the batch. On the CPU, views do not depend on the device of the pictures. Seeds do both
        at once, without making that many generators.
    encoding : {"srgb", "linear"}
        What the pictures are, for colours that are to change in the other light.

    Returns
    -------
    Tensor ``[B, C, H, W]``
        In 0..1; the very same tensor where nothing changes.

    Raises
    ------
    TypeError
        For pictures that are no tensor, and for a generator that is none.
    ValueError
        For an unknown name, pictures of another shape, saturation or hue of other than three
        channels, or another number of generators than pictures.
    """
    settings = augmentation(settings)
    check_encoding_name(encoding)
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor [B, C, H, W], not {type(images).__name__}")
    if not isinstance(generator, torch.Generator | Sequence | np.ndarray):
        raise TypeError(
            "generator must be a torch.Generator, one for each picture, or their seeds, not "
            f"{type(generator).__name__}"
        )
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"augment takes float pictures [B, C, H, W] in 0..1, not {images.dtype} "
            f"{list(images.shape)}"
        )
    if images.shape[1] != 3 and max(settings.saturation, settings.hue) > 0:
        raise ValueError(
            f"saturation and hue need pictures of 3 channels, not {images.shape[1]}; set both to 0"
        )
    # Half precision holds neither the places of pixels nor the sums of a blur.
    views = images if images.dtype == torch.float64 else images.float()
    draws = _draw(views, generator)
    views = _moved(views, settings, draws)
    if settings.blur > 0 or settings.recolours:
        views = _relit(views, settings, draws, encoding)
    if settings.cutout > 0:
        covered = draws.chance[:, 0] < settings.cutout_probability
        views = view.cut_out(views, draws.centre, side=settings.cutout * covered)
    return views.to(images.dtype)


class _Draws(NamedTuple):
    """Uniform numbers ``[B, n]``, those for a range to both sides in -1..1, all others in 0..1."""

    pose: Tensor
    turn: Tensor
    scale: Tensor
    shift: Tensor
    shear: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    blur: Tensor
    chance: Tensor
    centre: Tensor
    gain: Tensor


def _draw(images: Tensor, generator: Generators | np.ndarray) -> _Draws:
    """Draw all that a picture may need in one call, the numbers of its channels last."""
    count, channels = images.shape[:2]
    columns = (3, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 2, channels)
    if isinstance(generator, torch.Generator):
        numbers = torch.rand(count, sum(columns), generator=generator, device=generator.device)
    elif len(generator) != count:
        raise ValueError(
            f"give one generator, or one for each of the {count} pictures, not {len(generator)}"
        )
    elif isinstance(generator, np.ndarray):
        numbers = uniforms(generator, sum(columns))
    else:
        each = [torch.rand(sum(columns), generator=g, device=g.device) for g in generator]
        numbers = torch.stack(each) if each else images.new_zeros(0, sum(columns))
    uniform = _Draws(*numbers.to(images, non_blocking=True).split(columns, 1))
    signed = {
        name: 2 * value - 1
        for name, value in uniform._asdict().items()
        if name not in ("pose", "blur", "chance", "centre")
    }
    return uniform._replace(**signed)


def _moved(images: Tensor, settings: Augmentation, draws: _Draws) -> Tensor:
    """Flip, turn, scale, shear and shift; in one sampling where pixels do not fall on pixels."""
    height, width = images.shape[-2:]
    choice = draws.pose < 0.5
    if not (settings.dihedral and height == width):
        choice = torch.cat((choice[:, :2], torch.zeros_like(choice[:, 2:])), 1)
    posed = settings.dihedral or settings.flips
    if not settings.warps:
        return view.pose(images, choice) if posed else images
    matrix = view.affine(
        math.radians(settings.turn) * draws.turn[:, 0],
        scale=_factor(settings.scale, draws.scale[:, 0]),
        shear=math.radians(settings.shear) * draws.shear[:, 0],
    )
    if posed:
        matrix = view.pose_matrix(choice, matrix.dtype) @ matrix
    x, y = (settings.shift * draws.shift).unbind(1)
    return view.warp(images, matrix, torch.stack((width * x, height * y), 1))


def _relit(images: Tensor, settings: Augmentation, draws: _Draws, encoding: Encoding) -> Tensor:
    """Blur and recolour in the light that the settings name."""
    there, back = {
        ("srgb", "linear"): (srgb_to_linear, linear_to_srgb),
        ("linear", "encoded"): (linear_to_srgb, srgb_to_linear),
    }.get((encoding, settings.domain), (None, None))
    if there is not None:
        images = there(images)
    if settings.blur > 0:
        sigma = settings.blur * draws.blur[:, 0]
        images = view.blur(images, sigma, largest=settings.blur)
    if settings.recolours:
        gain = _factor(settings.channel_gain, draws.gain)
        images = view.recolour(
            images,
            gain * _factor(settings.brightness, draws.brightness),
            contrast=_factor(settings.contrast, draws.contrast[:, 0])
            if settings.contrast
            else None,
            saturation=_factor(settings.saturation, draws.saturation[:, 0])
            if settings.saturation
            else None,
            hue=math.radians(settings.hue) * draws.hue[:, 0] if settings.hue else None,
        ).clamp(0, 1)
    return images if back is None else back(images)


def _factor(most: float, draw: Tensor) -> Tensor:
    return torch.exp(math.log1p(most) * draw)
