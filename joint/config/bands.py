"""Wavelengths of the bands of the scenes, and distances."""

import math
from typing import Annotated, TypeAlias

import torch
from pydantic import AfterValidator, Field, PlainSerializer
from torch import Tensor

from joint.settings import ConfigError
from optics.quantity import check_wavelength

__all__ = [
    "CAMERA_BANDS",
    "Distance",
    "Wavelengths",
    "bands_of",
    "check_bands",
    "check_response",
    "response_of",
]

# Middle of the bands of a colour camera, metres; see classify.skin_reflectance.
CAMERA_BANDS = (612e-9, 545e-9, 463e-9)
_VISIBLE = (460e-9, 620e-9)


def _number(distance: float) -> float:
    if math.isnan(distance):
        raise ValueError("a distance is a number of metres, or inf, not nan")
    return distance


#: Metres, or inf, which JSON has no number for: there it is "inf", and read again from it.
Distance: TypeAlias = Annotated[
    float,
    Field(allow_inf_nan=True),
    AfterValidator(_number),
    PlainSerializer(lambda distance: "inf" if math.isinf(distance) else distance, when_used="json"),
]


def _in_metres(wavelengths: tuple[float, ...]) -> tuple[float, ...]:
    if not wavelengths:
        raise ValueError("wavelengths must hold at least one, in metres, such as 550e-9")
    for wavelength in wavelengths:
        check_wavelength("wavelengths", wavelength)
    return wavelengths


#: Wavelengths of the bands in metres, within the range that optics accepts.
Wavelengths: TypeAlias = Annotated[tuple[float, ...], AfterValidator(_in_metres)]


def check_bands(wavelengths: tuple[float, ...] | None, channels: int) -> None:
    """Raise a ConfigError if the number of wavelengths is not the number of channels."""
    if wavelengths is not None and len(wavelengths) != channels:
        raise ConfigError(
            f"front_end.wavelengths names {len(wavelengths)} bands, but the scenes have {channels} "
            "channels: give one for each channel"
        )


def bands_of(
    wavelengths: tuple[float, ...] | None, response: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    """Wavelengths of a lens, metres: as given, or those of the channels of the scenes.

    Raises a ConfigError as :func:`check_bands`, but for a spectral ``response``.
    """
    if not response:
        check_bands(wavelengths, channels)
    if wavelengths is not None:
        return wavelengths
    if channels == 1:
        return (sum(_VISIBLE) / 2,)
    spread = torch.linspace(*_VISIBLE, channels, dtype=torch.float64)
    return CAMERA_BANDS if channels == 3 else tuple(spread.tolist())


def check_response(
    given: tuple[float, ...], wavelengths: tuple[float, ...] | None, *, mixes: bool
) -> None:
    """Refuse a spectral response that does not fit the wavelengths, and one beside a colour."""
    bands = len(wavelengths or ())
    if not given:
        return
    if not bands or len(given) % bands:
        raise ValueError(
            f"spectral_response has {len(given)} values, and wavelengths {bands}: give as many "
            "values for each channel, row by row"
        )
    rows = [given[at : at + bands] for at in range(0, len(given), bands)]
    if any(min(row) < 0 or max(row) == 0 for row in rows):
        raise ValueError(
            f"spectral_response must not be negative, and each channel needs light, not {given}"
        )
    if mixes:
        raise ValueError(
            "colour makes channels from the bands of the scenes, and spectral_response gives one "
            "channel several wavelengths: set one of the two"
        )


def response_of(
    given: tuple[float, ...], wavelengths: tuple[float, ...] | None, channels: int
) -> Tensor | None:
    """Shares of each channel at each wavelength ``[C, L]``, with sums of 1.

    Raises a ConfigError for another number of channels than the scenes have.
    """
    if not given:
        return None
    bands = len(wavelengths or ())
    parts = torch.tensor(given).reshape(-1, bands)
    if len(parts) != channels:
        raise ConfigError(
            f"front_end.spectral_response has {len(parts)} channels, {bands} wavelengths each, "
            f"but the scenes have {channels}"
        )
    return parts / parts.sum(1, keepdim=True)
