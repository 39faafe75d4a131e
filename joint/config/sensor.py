"""Image sensors, which convert photons to codes: their configuration and construction."""

import math
import warnings
from collections.abc import Set
from typing import Literal, Self, get_args

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

import optics
from joint.settings import NoneConfig, Settings

__all__ = ["SENSOR_KINDS", "SensorConfig", "build_sensor"]


class SensorConfig(Settings):
    """An image sensor, see optics.Sensor."""

    kind: Literal["sensor"] = "sensor"
    photons: float = Field(default=10_000.0, gt=0)
    """Mean photons on a pixel at full scale over the whole exposure time."""
    photon_range: tuple[float, float] | None = None
    """Lowest and highest light level, photons/pixel; that of each picture is drawn between them."""
    automatic_gain: bool = True
    """Scale the gain with the light level, so that pictures keep their brightness."""
    quantum_efficiency: float | tuple[float, ...] = Field(default=0.6)
    """Electrons per photon, up to 1; give several for the channels."""
    read_noise: float = Field(default=2.0, ge=0)
    """Noise of the read-out, electrons RMS."""
    dark_current: float = Field(default=0.0, ge=0)
    """Dark current, electrons/s; it is not subtracted."""
    exposure_time: float = Field(default=0.01, gt=0)
    """Exposure time, s."""
    full_well: float | None = Field(default=None, gt=0)
    """Capacity of a pixel, electrons; unlimited by default."""
    bit_depth: int | None = Field(default=10, ge=1, le=16)
    """Resolution of the converter, bits. With None it does not round, and one DN is its whole
    range."""
    gain: float | None = Field(default=None, gt=0)
    """Electrons per DN; by default full scale gives the top code."""
    black_level: float = Field(default=0, ge=0)
    """Offset of the converter, whole DN; with it, noise below zero is not clipped before exposures
    are subtracted."""
    prnu: float = Field(default=0.0, ge=0, lt=1)
    """Spread of the pixels' sensitivities, fraction RMS."""
    dsnu: float = Field(default=0.0, ge=0)
    """Spread of the pixels' offsets in the dark, electrons RMS."""
    binning: int = Field(default=1, ge=1)
    """Side of the blocks of pixels whose charges are summed before read-out."""
    cfa: str | None = None
    """Colour filter array of 2 x 2 pixels, such as rggb; without one, each pixel measures all
    colours."""
    demosaicing: optics.Demosaicing = "bilinear"
    """bilinear, or the sharper malvar, interpolates the colours. packed gives the mosaic as one
    channel per pixel of the pattern, at half the size; none gives the mosaic as it is."""
    white_balance: bool = False
    """Scale the channels to equal sensitivity, so that grey light reads grey, where their quantum
    efficiencies differ."""
    colour_matrix: tuple[float, ...] = ()
    """Colour correction of the channels after white balance and demosaicing, C x C numbers row by
    row, see optics.colour_correction; by default none."""
    trainable_colour_matrix: bool = False
    """Learn the colour matrix, from the given one on."""
    trainable_gain: bool = False
    """Learn the gain."""
    shot_noise: Literal["gaussian", "poisson", "none"] = "gaussian"
    """Model of the shot noise: poisson is exact, gaussian is fast."""
    converter: optics.Converter = "straight_through"
    """Gradient of the converter; dithered is exact also below half a DN of read noise."""

    @field_validator("cfa")
    @classmethod
    def _of_letters(cls, cfa: str | None) -> str | None:
        # A file and the command line have only this form; Python also takes rows or a Tensor.
        if cfa is not None and (len(cfa) != 4 or set(cfa.lower()) != set("rgb")):
            raise ValueError(
                "cfa must be four letters for 2 x 2 pixels, of r, g and b each at least once, "
                f"such as rggb, not {cfa!r}"
            )
        return cfa

    @property
    def hands_on_mosaic(self) -> bool:
        """Whether the output is a mosaic, whose pixels have one colour each."""
        return self.demosaicing not in get_args(optics.Interpolation)

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        # The sensor checks its own parameters; errors should show before any data is read.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _sensor(self, exclude={"prnu", "dsnu"})
        return self


SENSOR_KINDS: dict[str, type[Settings]] = {"sensor": SensorConfig, "none": NoneConfig}


def build_sensor(
    config: SensorConfig | NoneConfig, image_size: tuple[int, int], channels: int | None
) -> optics.Sensor | None:
    """Build the sensor of a configuration; its fixed patterns come from torch's global generator.

    Parameters
    ----------
    config : SensorConfig or NoneConfig
    image_size : (int, int), pixels
        Height and width of the scenes.
    channels : int, optional
        Channels of an exposure; None if they come from a custom front end and are not known.

    Returns
    -------
    optics.Sensor or None
        None for :class:`NoneConfig`.

    Raises
    ------
    ValueError
        When it cannot read exposures ``[B, channels, *image_size]``.
    """
    if isinstance(config, NoneConfig):
        return None
    _check_fits(config, image_size, channels)
    return _sensor(config, resolution=image_size)


def _sensor(
    config: SensorConfig,
    *,
    resolution: tuple[int, int] | None = None,
    exclude: Set[str] = frozenset(),
) -> optics.Sensor:
    """The sensor of a configuration, without the settings that are excluded."""
    exclude = {"kind", "colour_matrix", "trainable_colour_matrix", *exclude}
    return optics.Sensor(
        **config.model_dump(exclude=exclude), resolution=resolution, colour_matrix=_matrix(config)
    )


def _matrix(config: SensorConfig) -> Tensor | None:
    side = math.isqrt(len(config.colour_matrix))
    if side**2 != len(config.colour_matrix):
        raise ValueError(
            f"colour_matrix has {len(config.colour_matrix)} numbers: give C x C for C channels, "
            "row by row, such as 9 for 3"
        )
    learned = config.trainable_colour_matrix
    if learned and not side:
        raise ValueError(
            "trainable_colour_matrix learns from a colour_matrix on: give one, such as "
            "1 0 0 0 1 0 0 0 1"
        )
    matrix = torch.tensor(config.colour_matrix).reshape(side, side) if side else None
    return nn.Parameter(matrix) if learned and matrix is not None else matrix


def _check_fits(config: SensorConfig, image_size: tuple[int, int], channels: int | None) -> None:
    """Refuse a scene that does not fit the sensor, before a run."""
    height, width = image_size
    if height % config.binning or width % config.binning:
        raise ValueError(
            f"sensor.binning={config.binning} does not divide pictures of {height} x {width}; "
            "choose another image_size or binning"
        )
    own = config.quantum_efficiency
    several = len(own) if isinstance(own, tuple) else 1
    if config.cfa is None and channels is not None and several not in (1, channels):
        raise ValueError(
            f"sensor.quantum_efficiency has {several} numbers, but an exposure has {channels} "
            "channels; give one number, or one for each channel"
        )
    colours = math.isqrt(len(config.colour_matrix))
    if colours and channels not in (colours, None):
        raise ValueError(
            f"sensor.colour_matrix has {colours} x {colours} numbers, but an exposure has "
            f"{channels} channels; give {channels} x {channels}"
        )
    if config.cfa is not None and channels not in (3, None):
        raise ValueError(
            f"sensor.cfa={config.cfa!r} needs pictures of 3 channels, not {channels}; use cfa=null"
        )
    if config.demosaicing == "packed" and (height % 2 or width % 2):
        raise ValueError(
            "sensor.demosaicing='packed' packs whole blocks of 2 x 2 pixels, and pictures of "
            f"{height} x {width} are not made of them; choose an even image_size"
        )
