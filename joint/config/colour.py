"""Colour filters and lamps: how a camera makes its channels from the bands of a scene.

::

    ColourConfig, wavelengths ── build_colour ──► optics.ColourChannels [C, L], or None
"""

import math
from collections.abc import Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

import optics
from joint.settings import Settings

__all__ = ["ColourConfig", "build_colour"]

# Middle and full width at half maximum of a colour camera's sensitivities, metres: Gaussian bells
# about the bands of classify.skin_reflectance, as wide as those of common sensors.
_CAMERA = (612e-9, 545e-9, 463e-9)
_WIDTH = 90e-9
# Bounds of the initial values of a learned filter: outside them the slope of its sigmoid is small.
_LEARNED = (0.05, 0.95)


class ColourConfig(Settings):
    """Lamps and filters that make channels from the bands of a scene, see optics.ColourChannels.

    By default each band is a channel. With lamps or filters, the sensor's photons are those of
    white light of all bands together, and filters absorb a part of them.
    """

    filters: Literal["none", "fixed", "learned"] = "none"
    """Colour filters in front of the pixels; with none, a pixel detects all bands."""
    channels: int = Field(default=3, ge=1)
    """Number of filters, which are the channels of an exposure."""
    start: Literal["bands", "camera"] = "bands"
    """Fixed filters, or initial values of learned ones. bands: parts of the bands of equal width,
    in their order; camera: red, green and blue sensitivities of a colour camera. Learned filters
    start within 0.05 to 0.95."""
    transmittance: tuple[float, ...] = ()
    """Transmittances in 0..1 instead of start: those of the first filter in each band, then those
    of the next."""
    share: float | None = Field(default=None, gt=0, le=1)
    """Share of a pixel's light that reaches each filter: by default 1 / channels, where the light
    is divided; 1 where each filter has its own sensor, or in a mosaic (sensor.cfa)."""
    lamps: Literal["white", "fixed", "learned"] = "white"
    """white: the same light in each band. fixed or learned: one lamp per band; all lamps share the
    same power."""
    patterns: int = Field(default=1, ge=1)
    """Number of exposures, each with its own pattern of the lamps. They share the exposure time;
    the channels of an exposure follow those of the one before."""
    weights: tuple[float, ...] = ()
    """Fixed patterns, or initial values of learned ones: proportions of the lamps in the first
    pattern, then those in the next; by default parts of the bands of equal width."""

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        of_filters = (self.channels, self.start, self.transmittance, self.share)
        if self.filters == "none" and of_filters != (3, "bands", (), None):
            raise ValueError(
                "channels, start, transmittance and share are for filters='fixed' or 'learned', "
                "not 'none'"
            )
        if self.lamps == "white" and (self.patterns, self.weights) != (1, ()):
            raise ValueError("patterns and weights are for lamps='fixed' or 'learned'")
        if self.start == "camera" and (self.channels != 3 or self.transmittance):
            raise ValueError(
                f"start='camera' is red, green and blue: it takes channels=3, not {self.channels}, "
                "and no transmittance"
            )
        _rows("transmittance", self.transmittance, self.channels, "channels")
        _rows("weights", self.weights, self.patterns, "patterns")
        if any(not 0 <= part <= 1 for part in self.transmittance):
            raise ValueError(f"transmittance is in 0..1, not {self.transmittance}")
        size = len(self.weights) // self.patterns
        patterns = [self.weights[size * row : size * (row + 1)] for row in range(self.patterns)]
        if size and any(min(row) < 0 or max(row) == 0 for row in patterns):
            raise ValueError(
                f"weights must not be negative, and each pattern needs light, not {self.weights}"
            )
        return self

    @property
    def mixes(self) -> bool:
        """Whether the channels differ from the bands of the scene."""
        return self.filters != "none" or self.lamps != "white"

    def captured(self, bands: int) -> int:
        """Channels of one exposure of a scene with ``bands`` bands."""
        if not self.mixes:
            return bands
        return 1 if self.filters == "none" else self.channels


def build_colour(
    config: ColourConfig, wavelengths: Sequence[float]
) -> optics.ColourChannels | None:
    """Build the lamps and filters of a configuration.

    Parameters
    ----------
    config : ColourConfig
    wavelengths : sequence of float, metres
        Wavelengths of the bands of the scene.

    Returns
    -------
    optics.ColourChannels or None
        None if each band is a channel.

    Raises
    ------
    ValueError
        When a transmittance or weights are given for another number of bands.
    """
    if not config.mixes:
        return None
    bands = len(wavelengths)
    lamps = filters = None
    if config.lamps != "white":
        given = _given("weights", config.weights, config.patterns, bands)
        start = _parts(config.patterns, bands) if given is None else given
        learned = config.lamps == "learned"
        lamps = optics.Illumination(bands, patterns=config.patterns, start=start, trainable=learned)
    if config.filters != "none":
        given = _given("transmittance", config.transmittance, config.channels, bands)
        if given is None:
            camera = config.start == "camera"
            given = _camera(wavelengths) if camera else _parts(config.channels, bands)
        if config.filters == "learned":
            given = given.clamp(*_LEARNED)
        share = 1 / config.channels if config.share is None else config.share
        learned = config.filters == "learned"
        filters = optics.ColourFilters(given, share=share, trainable=learned)
    return optics.ColourChannels(bands, lamps=lamps, filters=filters)


def _rows(name: str, values: tuple[float, ...], count: int, of: str) -> None:
    if len(values) % count:
        raise ValueError(
            f"{name} has {len(values)} values, which cannot be divided into rows for {of}={count}: "
            "give one value for each band, row by row"
        )


def _given(name: str, values: tuple[float, ...], rows: int, bands: int) -> Tensor | None:
    if not values:
        return None
    if len(values) != rows * bands:
        raise ValueError(
            f"front_end.colour.{name} has {len(values)} values, but {rows} rows for the {bands} "
            f"bands of the scenes take {rows * bands}"
        )
    return torch.tensor(values).reshape(rows, bands)


def _parts(count: int, bands: int) -> Tensor:
    """Share of each band in each of ``count`` parts of equal width, ``[count, bands]``."""
    low = torch.arange(count)[:, None] / count
    first = torch.arange(bands) / bands
    overlap = torch.minimum(low + 1 / count, first + 1 / bands) - torch.maximum(low, first)
    return (bands * overlap).clamp(0, 1)


def _camera(wavelengths: Sequence[float]) -> Tensor:
    """Sensitivity of red, green and blue at each wavelength, 1 at their middle, ``[3, bands]``."""
    apart = torch.tensor(wavelengths)[None] - torch.tensor(_CAMERA)[:, None]
    return torch.exp(-4 * math.log(2) * (apart / _WIDTH).square())
