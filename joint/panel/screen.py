"""Pictures for a screen: sRGB codes, and channels as colours."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from joint.stages import Encoding
from joint.system import ImagingSystem
from optics import ColourFilterArray, LearnedKernel, Pupil, linear_to_srgb
from optics.imaging.shutter import behind_shutter

__all__ = [
    "Colours",
    "PlaneColours",
    "as_codes",
    "in_colours",
    "plane_colours",
    "scene_colours",
    "seen_wavelengths",
]


def as_codes(pictures: Tensor, encoding: Encoding) -> Tensor:
    """Pictures as sRGB codes for a screen; light, also that of a field, is encoded."""
    if pictures.is_complex():
        pictures = pictures.abs().square()
    return linear_to_srgb(pictures) if encoding == "linear" else pictures


Colours = tuple[Sequence[int], Sequence[int], Sequence[int]]
"""Channels shown as red, as green and as blue on a screen."""


class PlaneColours(NamedTuple):
    """Channels shown as red, green and blue at each plane; None as in :func:`in_colours`."""

    scene: Colours | None = None
    light: Colours | None = None
    """For one exposure."""
    picture: Colours | None = None
    """For the measurement and what follows from it."""
    developed: Colours | None = None
    """For the input of a restoration."""


def in_colours(pictures: Tensor, colours: Colours | None = None) -> Tensor:
    """Three channels for a screen, or one; a mean if several channels share a colour.

    Parameters
    ----------
    pictures : Tensor ``[..., C, H, W]``
        Codes.
    colours : Colours, optional
        By default, three channels are red, green and blue. Of one or two channels, the first is
        shown in grey. More channels are taken as bands from short to long waves: the first third
        is shown as blue, the last as red.

    Returns
    -------
    Tensor ``[..., 3 or 1, H, W]``
    """
    channels = pictures.shape[-3]
    if colours is None and channels < 3:
        return pictures[..., :1, :, :]
    if colours is None:
        colours = ((0,), (1,), (2,)) if channels == 3 else _from_blue_to_red(range(channels))
    return torch.stack([pictures[..., [*each], :, :].mean(-3) for each in colours], -3)


def _from_blue_to_red(order: Sequence[int]) -> Colours:
    """Divide channels, from short to long waves, into three parts as equal as can be."""
    blue, green, red = (part.tolist() for part in np.array_split(np.array(order), 3))
    return red, green, blue


def plane_colours(system: ImagingSystem) -> PlaneColours:
    """Determine which channels of a system are shown as red, green and blue.

    Bands of a lens are ordered by wavelength, and channels of its filters by the mean wavelength
    that they pass. Of several filters of a kernel, and of several exposures, the first is shown. A
    phase of a packed mosaic has the colour of its pixels.
    """
    front, mosaic = behind_shutter(system.front_end), getattr(system.sensor, "cfa", None)
    pupil, mixed = getattr(front, "pupil", None), getattr(front, "colour", None)
    bands = None if pupil is None else seen_wavelengths(front, pupil)
    scene = light = scene_colours(front)
    if mixed is not None and bands is not None:
        passed = mixed.matrix.detach().cpu()[: mixed.channels // mixed.exposures]
        light = _in_order((passed @ bands.to(passed)) / passed.sum(1).clamp_min(1e-12))
    picture = light
    if isinstance(front, LearnedKernel) and front.out_channels > front.in_channels:
        count = front.in_channels
        rgb: Colours = ((0,), (1,), (2,))
        grey: Colours = ((0,), (0,), (0,))
        picture = rgb if count == 3 else _from_blue_to_red(range(count)) if count > 3 else grey
    if mosaic is not None and not mosaic.interpolates:
        picture = _of_phases(mosaic, light)
    if system.restoration is None:
        return PlaneColours(scene, light, picture)
    # Such a front end makes the channels of the scene, or others without names.
    made = getattr(system.restoration, "out_channels", None)
    is_scene = scene is not None and made == getattr(front, "in_channels", None)
    return PlaneColours(scene, light, scene if is_scene else None, developed=picture)


def scene_colours(front_end: object) -> Colours | None:
    """Channels of the scenes in front of a lens as colours, by wavelength.

    None without a lens, or for three channels.
    """
    pupil = getattr(front_end, "pupil", None)
    return None if pupil is None else _in_order(seen_wavelengths(front_end, pupil))


def seen_wavelengths(front_end: object, pupil: Pupil) -> Tensor:
    """Mean wavelength of each channel of the scenes in front of a pupil, ``[C]``, metres."""
    bands = torch.tensor([float(wavelength) for wavelength in pupil.wavelengths])
    response = getattr(front_end, "spectral_response", None)
    if response is None:
        return bands
    response = response.detach().cpu().to(bands)
    return (response @ bands) / response.sum(1).clamp_min(1e-12)


def _in_order(wavelengths: Tensor) -> Colours | None:
    """Colours by wavelength, if there are enough channels."""
    order = wavelengths.argsort(stable=True).tolist()
    return _from_blue_to_red(order) if len(order) >= 3 else None


def _of_phases(mosaic: ColourFilterArray, light: Colours | None) -> Colours:
    """Channels of each colour of the mosaic; a mosaic that is not packed is one grey channel."""
    if mosaic.picture_channels == 1:
        return ((0,), (0,), (0,))
    if light is None and len(mosaic.channels) == 3:
        light = ((0,), (1,), (2,))
    elif light is None:
        every = range(len(mosaic.channels))
        light = _from_blue_to_red(every) if len(every) > 3 else (every, every, every)
    own = mosaic.indices.flatten().tolist()
    red, green, blue = ([p for p, c in enumerate(own) if c in each] for each in light)
    return red, green, blue
