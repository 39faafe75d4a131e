"""The bands of the scenes, where a camera knows them by their wavelengths."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator

from joint.settings import ConfigError
from optics.quantity import check_wavelength

__all__ = ["Wavelengths", "check_bands"]


def _in_metres(wavelengths: tuple[float, ...]) -> tuple[float, ...]:
    if not wavelengths:
        raise ValueError("wavelengths must hold at least one, in metres, such as 550e-9")
    for wavelength in wavelengths:
        check_wavelength("wavelengths", wavelength)
    return wavelengths


#: Of the bands, within what optics takes for metres.
Wavelengths: TypeAlias = Annotated[tuple[float, ...], AfterValidator(_in_metres)]


def check_bands(wavelengths: tuple[float, ...] | None, channels: int) -> None:
    """Raise a ConfigError for wavelengths of another number of bands than the scenes have."""
    if wavelengths is not None and len(wavelengths) != channels:
        raise ConfigError(
            f"front_end.wavelengths names {len(wavelengths)} bands, but the scenes have {channels} "
            "channels: give one a channel"
        )
