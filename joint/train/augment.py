"""Random augmentation of a batch, computed on its own device from explicit generators.

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
    """Ranges of the random changes of the training pictures; by default there are none.

    A factor of up to ``f`` is drawn between ``1 / (1 + f)`` and ``1 + f``, uniformly on a
    logarithmic scale. Other ranges are symmetric about 0, but for the blur, whose standard
    deviation is from 0 to its limit; they are drawn from uniformly.
    """

    dihedral: bool = False
    """One of the eight flips and quarter turns (the four flips where H != W)."""
    flips: bool = False
    """One of the four flips, left-right and top-bottom; dihedral includes them."""
    turn: float = Field(default=0.0, ge=0, le=180)
    """Largest rotation, degrees."""
    scale: float = Field(default=0.0, ge=0)
    """Factor on the size of the picture's content."""
    shift: float = Field(default=0.0, ge=0, le=1)
    """Largest shift as a share of the width and of the height."""
    shear: float = Field(default=0.0, ge=0, lt=90)
    """Largest shear, degrees."""
    blur: float = Field(default=0.0, ge=0)
    """Largest standard deviation of a Gaussian blur, pixels. Its kernel is sampled at pixels: below
    0.6 it blurs less than its nominal value (0.5 as 0.46, 0.3 as 0.09)."""
    channel_gain: float = Field(default=0.0, ge=0)
    """Independent factor on each channel, as by a camera's white balance."""
    brightness: float = Field(default=0.0, ge=0)
    """Common factor on all channels."""
    contrast: float = Field(default=0.0, ge=0)
    """Factor on the difference to the mean luminance of the picture."""
    saturation: float = Field(default=0.0, ge=0)
    """Factor on the difference to grey; only for pictures with three channels."""
    hue: float = Field(default=0.0, ge=0, le=180)
    """Largest rotation of the hue, degrees; only for pictures with three channels."""
    domain: Literal["encoded", "linear"] = "encoded"
    """Values on which blur and colour changes act: encoded, sRGB codes; linear, light."""
    cutout: float = Field(default=0.0, ge=0, le=1)
    """Side of a box that is covered with the mean colour, as a share of the picture's side."""
    cutout_probability: float = Field(default=0.5, ge=0, le=1)
    """Share of the pictures in which a box is covered, if cutout is above 0."""

    @property
    def warps(self) -> bool:
        """Whether a change needs interpolation between pixels."""
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
    """Settings of a name; settings are returned unchanged.

    ``none``: no change. ``dihedral``: flips and quarter turns. ``full``: in addition a rotation of
    up to 15 degrees, a scale of 10 %, a shift of 5 % and gains of 10 % for each channel.

    Parameters
    ----------
    settings : Augmentation, or {"none", "dihedral", "full"}

    Returns
    -------
    Augmentation

    Raises
    ------
    ValueError
        For any other name.
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
    """Augment pictures randomly.

    Each picture uses the same random numbers whatever is switched on, so that two settings with the
    same seed differ only in their settings.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]``
        Pictures in 0..1.
    settings : Augmentation or str
        Ranges of the changes, or a name of :func:`augmentation`.
    generator : torch.Generator, a sequence of one for each picture, or uint64 seeds ``[B]``
        Source of the random numbers. With one generator per picture, the result of a picture does
        not depend on the rest of the batch. With generators on the CPU, results do not depend on
        the device of the pictures. Seeds have both properties, and avoid making many generators.
    encoding : {"srgb", "linear"}
        Encoding of the pictures, which is converted if ``settings.domain`` is the other one.

    Returns
    -------
    Tensor ``[B, C, H, W]``
        In 0..1; the same tensor object if nothing changes.

    Raises
    ------
    TypeError
        When ``images`` is no tensor, or ``generator`` none of the above.
    ValueError
        For an unknown name, pictures of another shape, saturation or hue with another number of
        channels than three, or a number of generators that is not the number of pictures.
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
    # Half precision is too coarse for pixel positions and for the sums of a blur.
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
    """Uniform random numbers ``[B, n]``: -1..1 for symmetric ranges, 0..1 for all others."""

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
    """Draw all random numbers of a picture in one call, those of its channels last."""
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
    numbers = numbers.to(images, non_blocking=True)
    uniform, signed = (_Draws(*each.split(columns, 1)) for each in (numbers, 2 * numbers - 1))
    return signed._replace(
        pose=uniform.pose, blur=uniform.blur, chance=uniform.chance, centre=uniform.centre
    )


def _moved(images: Tensor, settings: Augmentation, draws: _Draws) -> Tensor:
    """Flip, rotate, scale, shear and shift, with a single interpolation."""
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
    """Blur and recolour in the domain of the settings."""
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
