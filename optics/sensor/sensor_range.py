"""Allowed ranges of the parameters of a sensor, and the advice where one is out of range."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
from torch import Tensor

from optics.quantity import check_finite, check_tensor, index_of, is_number, looked_at, one_number

from .converter import Converter
from .mosaic import ColourFilterArray, Demosaicing, Interpolation
from .noise import ShotNoise

__all__ = [
    "InLight",
    "check_allowed",
    "check_choices",
    "check_colour_matrix",
    "check_colours",
    "check_deviations",
    "check_numbers",
    "converter_range",
    "light_of",
    "light_range",
]

# Below this noise in DN the straight-through gradient of the converter is off by a third or more.
_LEAST_NOISE = 0.3
# A black level below this many read noises clips more than 1 in 1000; four are advised.
_LEAST_BLACK = 3
# Below this many read noises a black level removes less than about half of the bias of the dark.
# With z read noises the bias is phi(z) - z Phi(-z) of them: 0.40 at 0 and 0.20 at 0.5.
_IDLE_BLACK = 0.5
# Part of the range that the dark current may fill without a warning. In a long exposure of little
# light it fills a tenth.
_MUCH_DARK = 0.25
# Tolerance for numbers that should be equal: a learned gain is rounded to float32.
_ROUNDED = 1e-6

_ALLOWED = {
    "photons": "give a positive number of photons/pixel (shot_noise='none' for no noise)",
    "photon_range": "give the lowest and the highest photons/pixel, both positive",
    "quantum_efficiency": "give a fraction in (0, 1], or one for each channel",
    "read_noise": "give electrons RMS, 0 or more",
    "dark_current": "give electrons/s, 0 or more",
    "exposure_time": "give a positive time in s",
    "full_well": "give a positive number of electrons, or None",
    "bit_depth": "give a whole number from 1 to 16, or None",
    "gain": "give a positive number of electrons/DN, or None for irradiance 1 at the top code",
    "black_level": "give a whole number of DN (a fraction of the range where bit_depth is None), "
    "from 0 to half of the range",
    "prnu": "give a fraction RMS below 1: the 1 % of a data sheet is 0.01",
    "binning": "give a whole number of pixels, 1 or more",
    "demosaicing": f"choose one of {get_args(Demosaicing)}",
    "shot_noise": f"choose one of {get_args(ShotNoise)}",
    "converter": f"choose one of {get_args(Converter)}",
}


class InLight(NamedTuple):
    """Limits of a sensor at a light level, in its most sensitive channel."""

    photons: float
    """Photons on a pixel at irradiance 1."""
    made: float
    """Photoelectrons of a pixel at irradiance 1."""
    top: float
    """Electrons on a pixel that reach the top code."""
    full_well: float | None
    """Capacity of a pixel, electrons; None if unlimited."""
    read_noise: float
    """Read noise, DN RMS."""
    black_level: float
    """Black level, DN."""
    dark: float
    """Electrons of the dark current on a pixel."""
    automatic_gain: bool
    """Whether the gain follows the light."""
    several: bool = False
    """Whether saturated pixels read differently in different channels."""

    @property
    def held(self) -> bool:
        """Whether the full well holds the electrons of irradiance 1, or of a lower top code."""
        needed = min(self.made, self.top) * (1 - _ROUNDED)
        return self.full_well is None or self.full_well >= needed

    @property
    def misleads(self) -> bool:
        """Whether a straight-through converter has a wrong gradient."""
        return self.read_noise < _LEAST_NOISE

    def warn_of_well(self, *, remedy: str = "", stacklevel: int) -> None:
        """Warn if pixels saturate below both irradiance 1 and the top code."""
        if self.held or self.full_well is None:
            return
        full = self.full_well / self.made
        most = self.full_well / (min(self.made, self.top) if self.automatic_gain else self.made)
        channel = ", in the most sensitive channel," if self.several else ""
        warnings.warn(
            f"with {self.photons:g} photons/pixel irradiance 1 generates {self.made:g} electrons "
            f"in one exposure of the whole time, but full_well={self.full_well:g}: pixels "
            f"saturate at irradiance {full:.3g}{channel} and read "
            f"{self.full_well / self.top:.3g}. "
            f"Give up to {most * self.photons:g} photons/pixel{remedy}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )

    def warn_of_dark(self, *, remedy: str, stacklevel: int) -> None:
        """Warn if the dark current fills much of the range of the converter."""
        share = self.dark / self.top
        if share <= _MUCH_DARK * (1 + _ROUNDED):
            return
        lost = f"light above {1 - share:.3g} reads 1" if share < 1 else "any light reads 1"
        warnings.warn(
            f"with {self.photons:g} photons/pixel {self.top:g} electrons reach the top code, and "
            f"the dark current generates {self.dark:g}: black reads {min(share, 1):.3g}, and "
            f"{lost}. Give less dark_current * exposure_time, more photons{remedy}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )

    def warn_of_black(self, before: "InLight", *, remedy: str = "", stacklevel: int) -> None:
        """Warn if the black level is too low for the noise, and lower relative to it than before.

        With a remedy, also warn if it is below half a read noise (0 excepted).
        """
        narrow = 0 < self.black_level < _LEAST_BLACK * self.read_noise
        less = self.read_noise > before.read_noise * (1 + _ROUNDED)
        if narrow and (less or (remedy and self.black_level < _IDLE_BLACK * self.read_noise)):
            warnings.warn(
                f"with {self.photons:g} photons/pixel the read noise is {self.read_noise:.3g} DN, "
                f"and black_level={self.black_level:g} is only "
                f"{self.black_level / self.read_noise:.3g} times that: noise below code 0 is cut, "
                "so that the dark is too bright where exposures are subtracted or averaged, and "
                "partly in a mosaic. Build the sensor with a black level for its lowest light: "
                f"four read noises, at most half of the range{remedy}",
                UserWarning,
                stacklevel=stacklevel + 1,
            )

    def warn_of_slope(self, *, stacklevel: int) -> None:
        """Warn if the straight-through gradient is wrong."""
        if not self.misleads:
            return
        warnings.warn(
            f"the read noise is {self.read_noise:.3g} DN in front of the converter; below "
            f"{_LEAST_NOISE:g} DN the straight-through gradient is wrong by a third or more "
            "where there is no other noise: give converter='dithered' (the estimator of "
            "optics.digitise; it needs read noise above 0), a smaller gain in e-/DN, or "
            "bit_depth=None",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def check_allowed(name: str, value: object, allowed: bool) -> None:
    """Raise a ValueError with advice for a value that is not allowed."""
    if not allowed:
        raise ValueError(f"{name}={value!r} is out of range; {_ALLOWED[name]}")


def check_choices(
    demosaicing: Demosaicing,
    shot_noise: ShotNoise,
    converter: Converter,
    *,
    bit_depth: int | None,
    read_noise: float,
) -> None:
    """Raise a ValueError for an unknown choice, or a dithered gradient without read noise."""
    check_allowed("demosaicing", demosaicing, demosaicing in get_args(Demosaicing))
    check_allowed("shot_noise", shot_noise, shot_noise in get_args(ShotNoise))
    check_allowed("converter", converter, converter in get_args(Converter))
    if converter == "dithered" and bit_depth is not None and read_noise == 0:
        raise ValueError(
            "converter='dithered' averages over the read noise, but read_noise=0 e-; give "
            "electrons RMS above 0, or converter='straight_through'"
        )


def check_numbers(quantum_efficiency: Any, **numbers: Any) -> tuple[float, ...]:  # noqa: ANN401
    """Check the physical numbers of a sensor; return the quantum efficiency of all or each channel.

    Raises
    ------
    TypeError
        When one is not a single number, or is a parameter, which would not be learned.
    ValueError
        When one is out of its range.
    """
    for name, value in numbers.items():
        _check_single(name, value)
    efficiencies = _efficiencies(quantum_efficiency)
    for name, value in numbers.items():
        if value is None:  # the default of a full well or a gain
            continue
        enough = value >= 0 if name in ("read_noise", "dark_current") else value > 0
        check_allowed(name, value, bool(enough and (value < math.inf or name == "full_well")))
    inside = all(0 < each <= 1 for each in efficiencies)
    check_allowed("quantum_efficiency", quantum_efficiency, inside)
    return efficiencies


def converter_range(bit_depth: Any, black_level: Any) -> tuple[int | None, int]:  # noqa: ANN401
    """Bits of a converter and its top code, which is 1 DN without rounding.

    Raises
    ------
    TypeError
        When the black level is not a number.
    ValueError
        When either is out of its range.
    """
    _check_single("black_level", black_level)
    check_allowed("bit_depth", bit_depth, bit_depth is None or index_of(bit_depth) in range(1, 17))
    if bit_depth is not None:
        bit_depth = int(bit_depth)  # numpy's small integers overflow in a power
    top = 1 if bit_depth is None else 2**bit_depth - 1
    whole = bit_depth is None or float(black_level).is_integer()
    check_allowed("black_level", black_level, 0 <= black_level <= top / 2 and whole)
    return bit_depth, top


def light_of(photons: Any) -> float:  # noqa: ANN401 - what a caller gives
    """Light at irradiance 1, photons/pixel.

    Raises
    ------
    TypeError
        When it is not one number, or is a parameter.
    ValueError
        When it is not positive and finite.
    """
    light = one_number("photons", photons, "photons/pixel")
    check_allowed("photons", photons, 0 < light < math.inf)
    return light


def light_range(photons: float, given: Any) -> tuple[float, float] | None:  # noqa: ANN401
    """Lowest and highest light of the pictures, photons/pixel.

    Raises
    ------
    TypeError
        When it is not a pair of numbers.
    ValueError
        When the numbers are not positive, finite and increasing, or ``photons`` is not between.
    """
    if given is None:
        return None
    if isinstance(given, Tensor | np.ndarray) and given.ndim == 1:
        given = tuple(given)
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
        raise TypeError(f"photon_range must be (lowest, highest), photons/pixel, not {given!r}")
    for number in given:
        _check_single("photon_range", number)
    low, high = float(given[0]), float(given[1])
    check_allowed("photon_range", (low, high), 0 < low < high < math.inf)
    if not low <= photons <= high:
        raise ValueError(
            f"photons={photons:g}, for which the gain is given, must lie within "
            f"photon_range=({low:g}, {high:g})"
        )
    return low, high


def check_colours(
    cfa: ColourFilterArray | None,
    efficiencies: tuple[float, ...],
    *,
    demosaicing: Demosaicing,
    binning: int,
    white_balance: bool,
) -> None:
    """Raise a ValueError for colour settings of a sensor that contradict each other."""
    if cfa is None and demosaicing not in get_args(Interpolation):
        raise ValueError(
            f"demosaicing={demosaicing!r} returns the mosaic of a colour filter array, but "
            "there is none: give cfa, such as 'rggb'"
        )
    if cfa is not None and binning > 1:
        raise ValueError(
            f"binning={binning} would add pixels of different colours of the cfa; give only one "
            "of the two. To model larger pixels, bin the irradiance in front of the sensor: "
            "bin_pixels(irradiance, k) / k**2"
        )
    several = len(efficiencies) > 1
    if several and cfa is not None and len(efficiencies) != len(cfa.channels):
        raise ValueError(
            f"quantum_efficiency must be one number or {len(cfa.channels)}, for the "
            f"colours {cfa.channels!r} of the cfa, not {efficiencies}"
        )
    if white_balance and not several:
        raise ValueError(
            "white_balance needs the quantum_efficiency of each channel, such as (0.45, 0.55, 0.4)"
        )


def check_colour_matrix(
    matrix: Tensor | None, cfa: ColourFilterArray | None, efficiencies: tuple[float, ...]
) -> None:
    """Raise an error for a colour matrix that is not one of the channels of a sensor."""
    if matrix is None:
        return
    check_tensor("colour_matrix", matrix)
    if matrix.ndim != 2 or len(set(matrix.shape)) != 1 or not matrix.is_floating_point():
        raise ValueError(
            "colour_matrix must be floating point [C, C], from the C channels of the sensor to as "
            f"many, not {matrix.dtype} {list(matrix.shape)}: with another matrix, multiply the "
            "picture behind the sensor, mix_colours(picture, matrix)"
        )
    if not matrix.is_leaf:
        raise ValueError(
            "colour_matrix is computed from what is trained, which would end in the sensor: give "
            "matrix.detach(), or nn.Parameter(matrix.detach()) to train it from there on; to train "
            "through it, multiply the picture behind the sensor, mix_colours(picture, matrix)"
        )
    check_finite("colour_matrix", matrix.detach())
    if cfa is not None and not cfa.interpolates:
        raise ValueError(
            f"colour_matrix needs all colours of each pixel, but demosaicing={cfa.method!r} "
            "returns the mosaic: give demosaicing='bilinear' or 'malvar', or leave out the matrix"
        )
    several = len(efficiencies) if len(efficiencies) > 1 else None
    channels = several if cfa is None else len(cfa.channels)
    if channels not in (None, len(matrix)):
        raise ValueError(
            f"colour_matrix is {list(matrix.shape)}, but the sensor has {channels} channels: give "
            f"[{channels}, {channels}]"
        )


def check_deviations(pattern: Tensor) -> None:
    """Raise a ValueError for a measured map of sensitivities with a spread of 1 RMS or more."""
    if not looked_at(pattern):
        return
    spread = float(pattern.double().square().mean().sqrt())
    if spread >= 1:
        raise ValueError(
            f"prnu is a map of {spread:g} RMS, but relative deviations have less than 1: subtract "
            "1 from a map of gains, and divide per cent by 100; the 1 % of a data sheet is 0.01"
        )


def _refuse_parameter(name: str, value: object) -> None:
    """Raise a TypeError for a Tensor that requires a gradient: it would not be learned."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise TypeError(
            f"{name} is not learned by a sensor, which uses only its value: give a number, "
            "float(value). trainable_gain=True learns the gain, and the light in front of the "
            "sensor can be scaled by a parameter"
        )


def _efficiencies(value: Any) -> tuple[float, ...]:  # noqa: ANN401 - what a caller gives
    """One quantum efficiency, or one for each channel."""
    name = "quantum_efficiency"
    _refuse_parameter(name, value)
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 1 and len(value) > 1:
        value = tuple(value)
    numbers = value if isinstance(value, tuple | list) else (value,)
    if not numbers:
        raise ValueError(f"{name} must be one number, or one for each channel, not none")
    for number in numbers:
        _check_single(name, number)
    return tuple(float(number) for number in numbers)


def _check_single(name: str, value: object) -> None:
    """Raise a TypeError unless the value is one number."""
    _refuse_parameter(name, value)
    default = value is None and name in ("full_well", "gain")
    if not default and not is_number(value):
        several = hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0
        advice = (
            ": to vary it between colours, scale the light in front of the sensor, as "
            "ColourFilters and mix_colours do"
        )
        told = advice if several and not isinstance(value, str | bytes) else ""
        raise TypeError(f"{name} must be one number, not {value!r}{told}")
