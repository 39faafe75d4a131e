"""What a camera computes of its picture, by its kind: how it is configured, and how it is built."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field
from torch import nn

import optics
from joint.settings import NoneConfig, Settings

from .custom import CustomConfig, build_custom

__all__ = ["RESTORATION_KINDS", "RestorationConfig", "UNetConfig", "build_restoration"]


class UNetConfig(Settings):
    """A network from the picture of the sensor to that of the scene, see optics.RestorationUNet.

    It makes pixels and channels of the scene, whatever binning, mosaic or colours it is given.
    """

    kind: Literal["unet"] = "unet"
    width: int = Field(default=32, ge=1)
    """Feature maps at full size."""
    scales: int = Field(default=3, ge=1)
    """Sizes of the features, each half of the one before."""
    blocks: int = Field(default=1, ge=1)
    """Residual blocks at each size, on the way down and up."""


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
    """Build what restores the sensor's pictures; a U-Net makes channels and size of the scene.

    Parameters
    ----------
    config : RestorationConfig
    channels : (int, int)
        Of the sensor's picture, and of the scene.
    sizes : pair of (int, int), pixels
        Height and width of both.

    Returns
    -------
    nn.Module or None
        None for :class:`NoneConfig`.

    Raises
    ------
    ValueError
        When the scene has not as many times more pixels in height as in width, a whole number,
        which a U-Net needs. As :func:`build_custom` does.
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
            f"the restoration makes whole blocks of pixels, and the scene of {whole[0]} x "
            f"{whole[1]} is no whole number of times the picture of {size[0]} x {size[1]}: choose "
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
