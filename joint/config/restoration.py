"""Restoration of the sensor's picture: its configurations by kind and their construction."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field
from torch import nn

import optics
from joint.settings import NoneConfig, Settings

from .custom import CustomConfig, build_custom

__all__ = ["RESTORATION_KINDS", "RestorationConfig", "UNetConfig", "build_restoration"]


class UNetConfig(Settings):
    """A network from the sensor's picture to an estimate of the scene, see optics.RestorationUNet.

    Its output has the size and channels of the scene, whatever the binning, mosaic or colours of
    its input.
    """

    kind: Literal["unet"] = "unet"
    width: int = Field(default=32, ge=1)
    """Number of feature maps at full resolution."""
    scales: int = Field(default=3, ge=1)
    """Number of resolutions, each half of the one before."""
    blocks: int = Field(default=1, ge=1)
    """Residual blocks at each resolution, in the encoder and in the decoder."""


RestorationConfig: TypeAlias = Annotated[
    UNetConfig | CustomConfig | NoneConfig, Field(discriminator="kind")
]

RESTORATION_KINDS: dict[str, type[Settings]] = {
    "unet": UNetConfig,
    "custom": CustomConfig,
    "none": NoneConfig,
}


def build_restoration(
    config: RestorationConfig,
    *,
    channels: tuple[int, int],
    sizes: tuple[tuple[int, int], tuple[int, int]],
) -> nn.Module | None:
    """Build the restoration of a configuration; a U-Net gives the channels and size of the scene.

    Parameters
    ----------
    config : RestorationConfig
    channels : (int, int)
        Channels of the sensor's picture, and of the scene.
    sizes : pair of (int, int), pixels
        Height and width of the sensor's picture, and of the scene.

    Returns
    -------
    nn.Module or None
        None for :class:`NoneConfig`.

    Raises
    ------
    ValueError
        For a U-Net, when the height and width of the scene are not the same whole multiple of those
        of the sensor's picture. As :func:`build_custom`.
    """
    if isinstance(config, NoneConfig):
        return None
    size, whole = sizes
    if isinstance(config, CustomConfig):
        shown, scene = channels
        return build_custom(
            config,
            nn.Module,
            "restoration",
            image_size=size,
            channels=shown,
            in_channels=shown,
            scene_size=whole,
            out_channels=scene,
        )
    factors = {divmod(side, part) for side, part in zip(whole, size, strict=True)}
    upscaling, rest = factors.pop()
    if factors or rest:
        raise ValueError(
            f"the restoration enlarges by a whole number, but the scene of {whole[0]} x "
            f"{whole[1]} is no whole multiple of the picture of {size[0]} x {size[1]}: choose "
            "another image_size or binning, or leave out the restoration"
        )
    return optics.RestorationUNet(
        channels[0],
        out_channels=channels[1],
        width=config.width,
        scales=config.scales,
        blocks=config.blocks,
        upscaling=upscaling,
    )
