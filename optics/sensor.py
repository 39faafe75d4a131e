"""From irradiance to digital codes, with the terms of EMVA standard 1288 (release 4.0, 2021).

::

    irradiance ─► CFA ─► photons ─► electrons ─► shot noise ─► full well ─► binning ─► read noise
       0..1             Phi      QE Phi PRNU + D t  counts       clip, DSNU    sum        N(0, s_r)
                                                                                            │
                      measurement ◄─ demosaicing ◄─ (y - black) / (top - black) ◄─ ADC ◄─ / gain
                         0..1                                                   0 .. top   DN

Every step has a gradient to its input, in training and in evaluation alike: ``noise.py`` and
``converter.py`` say which ones there are.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from .constraint import clip
from .converter import Converter, digitise
from .mosaic import ColourFilterArray, Demosaicing, Pattern
from .noise import Generators, ShotNoise, poisson_counts, poisson_log_likelihood, shot_noise
from .pixel import bin_pixels, fixed_pattern
from .quantity import (
    check_number,
    check_tensor,
    differentiated,
    hold,
    image_size,
    index_of,
    whole_number,
)

__all__ = ["Reading", "Sensor"]

# Below this noise in DN the straight-through gradient of the converter is off by a third or more.
_LEAST_NOISE = 0.3


class Reading(NamedTuple):
    """What a sensor read, and how probable its counts were."""

    measurement: Tensor
    """Codes as a fraction of their range, ``[B, C, H, W]``: black level 0, top code 1."""
    log_likelihood: Tensor | None
    """Of the counts, ``[B]``, for ``shot_noise="score"``; see :func:`optics.score_surrogate`."""


class Sensor(nn.Module):
    """An image sensor with photon, dark, pattern, read and quantisation noise.

    Parameters
    ----------
    photons : float, photons/pixel
        Mean photons on one pixel at irradiance 1 over the whole exposure time. They follow neither
        ``exposure_time`` nor the f-number of a lens by themselves: see
        :func:`optics.exposure_photons`.
    quantum_efficiency : float
        Electrons for each photon on the pixel, its fill factor included, in (0, 1].
    read_noise : float, electrons RMS
        Gaussian noise of each read-out.
    dark_current : float, electrons/s
        Thermal electrons, not subtracted.
    exposure_time : float, s
        Time over which they gather, and nothing else.
    full_well : float, electrons, optional
        Capacity of a pixel; unlimited by default.
    bit_depth : int, optional
        Resolution of the converter, 1 to 16. None does not round, and then **one DN is the whole
        range** of the converter: its top is 1 DN.
    gain : float, electrons/DN, optional
        Inverse of the system gain K of EMVA 1288. By default irradiance 1 gives the top code:
        ``binning**2 * photons * quantum_efficiency / (top - black_level)``.
    black_level : float, DN
        Offset of the converter: a whole number of codes, up to half of the range (without
        rounding any fraction up to 0.5). It is subtracted again, so that a black pixel reads 0.
        At 0 half of the noise about zero is clipped away, which brightens the dark and, in an
        exposure that is subtracted, biases the difference: where that matters (few photons, two
        exposures) give four read noises, ``4 * read_noise / gain``.
    prnu : float, fraction RMS, or Tensor ``[H, W]``
        Photo response non-uniformity: spread of the pixels' sensitivities, or their measured
        relative deviations.
    dsnu : float, electrons RMS, or Tensor ``[H, W]``
        Dark signal non-uniformity: spread of the pixels' offsets in the dark, or the measured
        offsets. It is in every exposure, and has no shot noise of its own.
    resolution : (H, W) or int, pixels, optional
        Pixels of the sensor, before binning; needed to draw a pattern, which then is the same in
        every picture and channel.
    binning : int
        Side of the blocks of pixels whose charges are summed before the one read-out.
    cfa : str, rows of letters, or Tensor ``[h, w]``, optional
        Colour filter array, such as ``"rggb"``, see :mod:`optics.mosaic`: each pixel sees one
        channel, and the others are interpolated after the converter.
    cfa_channels : str
        A letter for each channel of the irradiance.
    demosaicing : {"bilinear", "malvar"}
        As in :func:`optics.demosaic`.
    trainable_gain : bool
        Make the logarithm of ``gain`` a parameter.
    shot_noise : {"gaussian", "poisson", "score", "none"}
        As in :func:`optics.shot_noise`; train with ``score`` through :meth:`expose`.
    converter : {"straight_through", "dithered"}
        Gradient of the converter, as in :func:`optics.digitise`.
    generator : torch.Generator, optional
        Source of the patterns, drawn once, here; torch's default one if not given.

    Raises
    ------
    TypeError
        For several numbers where one is asked for.
    ValueError
        For a quantity out of its range, a pattern without resolution, or binning of a mosaic.

    Warns
    -----
    UserWarning
        For a straight-through converter with less than 0.3 DN of read noise, once a gradient is to
        pass it: at the first such pass, and not under ``torch.compile``.
    """

    _warned = False

    def __init__(  # noqa: PLR0913 - the terms of the standard
        self,
        photons: float = 10_000.0,
        *,
        quantum_efficiency: float = 0.6,
        read_noise: float = 2.0,
        dark_current: float = 0.0,
        exposure_time: float = 0.01,
        full_well: float | None = None,
        bit_depth: int | None = 10,
        gain: float | None = None,
        black_level: float = 0,
        prnu: float | Tensor = 0.0,
        dsnu: float | Tensor = 0.0,
        resolution: int | tuple[int, int] | None = None,
        binning: int = 1,
        cfa: Pattern | None = None,
        cfa_channels: str = "rgb",
        demosaicing: Demosaicing = "bilinear",
        trainable_gain: bool = False,
        shot_noise: ShotNoise = "gaussian",
        converter: Converter = "straight_through",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.log_gain: nn.Parameter | None
        self.prnu_map: Tensor | None
        self.dsnu_map: Tensor | None
        for name, value in (
            ("photons", photons),
            ("quantum_efficiency", quantum_efficiency),
            ("read_noise", read_noise),
            ("dark_current", dark_current),
            ("exposure_time", exposure_time),
            ("full_well", full_well),
            ("gain", gain),
            ("black_level", black_level),
        ):
            _check_single(name, value)
        check_number("prnu", prnu, "fractions")
        check_number("dsnu", dsnu, "electrons")
        depth_allowed = bit_depth is None or index_of(bit_depth) in range(1, 17)
        if depth_allowed and bit_depth is not None:
            bit_depth = int(bit_depth)  # numpy's small integers overflow in a power
        top = 2**bit_depth - 1 if bit_depth is not None and depth_allowed else 1
        for name, value, allowed in (
            ("photons", photons, 0 < photons < math.inf),
            ("quantum_efficiency", quantum_efficiency, 0 < quantum_efficiency <= 1),
            ("read_noise", read_noise, 0 <= read_noise < math.inf),
            ("dark_current", dark_current, 0 <= dark_current < math.inf),
            ("exposure_time", exposure_time, 0 < exposure_time < math.inf),
            ("full_well", full_well, full_well is None or full_well > 0),
            ("bit_depth", bit_depth, depth_allowed),
            ("gain", gain, gain is None or 0 < gain < math.inf),
            (
                "black_level",
                black_level,
                0 <= black_level <= top / 2
                and (bit_depth is None or float(black_level).is_integer()),
            ),
            ("prnu", prnu, isinstance(prnu, Tensor) or not prnu >= 1),
            ("binning", binning, (index_of(binning) or 0) >= 1),
            ("demosaicing", demosaicing, demosaicing in get_args(Demosaicing)),
            ("shot_noise", shot_noise, shot_noise in get_args(ShotNoise)),
            ("converter", converter, converter in get_args(Converter)),
        ):
            if not allowed:
                raise ValueError(f"{name}={value!r} is out of range; {_ALLOWED[name]}")
        if cfa is not None and binning > 1:
            raise ValueError(
                f"binning={binning} would add up pixels of different colours of the cfa; give one "
                "of the two: where binning stands for the area of a pixel, bin the irradiance in "
                "front of the sensor, bin_pixels(irradiance, k) / k**2"
            )
        binning = int(binning)
        self.photons = float(photons)
        self.quantum_efficiency = float(quantum_efficiency)
        self.read_noise = float(read_noise)
        self.dark_current = float(dark_current)
        self.exposure_time = float(exposure_time)
        self.full_well = None if full_well is None else float(full_well)
        self.bit_depth = bit_depth
        self.top = top
        self.black_level = float(black_level)
        self.binning = binning
        self.shot_noise: ShotNoise = shot_noise
        self.converter: Converter = converter
        full_scale = binning**2 * self.photons * self.quantum_efficiency
        self._gain = full_scale / (top - self.black_level) if gain is None else float(gain)
        log_gain = nn.Parameter(torch.tensor(math.log(self._gain))) if trainable_gain else None
        self.register_parameter("log_gain", log_gain)
        size = None if resolution is None else image_size(resolution, "resolution")
        for name, unit, value in (("prnu", "fractions", prnu), ("dsnu", "electrons", dsnu)):
            pattern = fixed_pattern(name, value, unit=unit, resolution=size, generator=generator)
            if pattern is None:
                self.register_buffer(f"{name}_map", None)
            else:
                hold(self, f"{name}_map", pattern)
        self.prnu = "measured" if isinstance(prnu, Tensor) else float(prnu)
        self.dsnu = "measured" if isinstance(dsnu, Tensor) else float(dsnu)
        self.cfa = None if cfa is None else ColourFilterArray(cfa, cfa_channels, method=demosaicing)
        self._judge_converter()

    def _judge_converter(self) -> None:
        dithered = self.bit_depth is not None and self.converter == "dithered"
        if dithered and self.read_noise == 0:
            raise ValueError(
                "converter='dithered' averages over the read noise, but read_noise=0 e-; give "
                "electrons RMS above 0, or converter='straight_through'"
            )

    def _judge_gradient(self, signal: Tensor) -> None:
        """Warn, once, of a gradient that is asked for and is wrong."""
        if self._warned or torch.compiler.is_compiling():
            return
        if not differentiated(signal):
            return  # who evaluates reads codes, which are the same for both estimators
        noise = self.read_noise / self._gain
        straight = self.bit_depth is not None and self.converter == "straight_through"
        if straight and noise < _LEAST_NOISE:
            self._warned = True
            warnings.warn(
                f"the read noise is {noise:.3g} DN in front of the converter; below "
                f"{_LEAST_NOISE:g} DN the straight-through gradient is wrong by a third or more "
                "where there is no other noise: give converter='dithered' (the estimator of "
                "optics.digitise; it needs read noise above 0), a smaller gain in e-/DN, or "
                "bit_depth=None",
                UserWarning,
                stacklevel=2,
            )

    @property
    def gain(self) -> float | Tensor:
        """Electrons for one DN; a scalar tensor where it is trainable."""
        return self._gain if self.log_gain is None else self.log_gain.exp()

    @contextmanager
    def under(self, photons: float) -> Iterator[None]:
        """Expose to another light for a while, with the gain in proportion.

        The picture stays as bright as it was, as with the ISO dial of a camera: full scale stays
        where it was on the range of the converter, and the noise grows or shrinks with the light.
        The black level stays too, in DN: give one that is wide enough for the least light.

        Parameters
        ----------
        photons : float, photons/pixel
            At full scale over the whole exposure time.

        Yields
        ------
        None
            The sensor is set back afterwards.

        Raises
        ------
        ValueError
            When it is not positive and finite.
        """
        if not 0 < photons < math.inf:
            raise ValueError(f"photons={photons!r} is out of range; {_ALLOWED['photons']}")
        before = self.photons, self._gain
        change = photons / self.photons
        self.photons, self._gain = float(photons), self._gain * change
        if self.log_gain is not None:
            with torch.no_grad():
                held = self.log_gain.clone()
                self.log_gain.add_(math.log(change))
        try:
            yield
        finally:
            self.photons, self._gain = before
            if self.log_gain is not None:
                with torch.no_grad():
                    self.log_gain.copy_(held)

    @property
    def _joins_noise(self) -> bool:
        """Whether nothing lies between two Gaussian noises, so that one draw is both."""
        return (
            self.shot_noise == "gaussian"
            and self.full_well is None
            and self.binning == 1
            and (self.bit_depth is None or self.converter == "straight_through")
        )

    def electrons(self, irradiance: Tensor, *, exposures: int = 1) -> Tensor:
        """Mean electrons ``QE Phi (1 + PRNU) + D t / exposures`` of each pixel, before any noise.

        Parameters
        ----------
        irradiance : Tensor ``[B, C, H, W]``
            What the pixels see, behind a colour filter array, full scale 1.
        exposures : int
            Captures that share the exposure time.

        Returns
        -------
        Tensor ``[B, C, H, W]``, electrons

        Raises
        ------
        TypeError
            When the picture is no Tensor.
        ValueError
            When a picture is not real floating point, or does not fit a pattern of the sensor, or
            the exposures are not one or more.
        """
        self._check(irradiance)
        mean = irradiance * (self.photons * self.quantum_efficiency)
        if self.prnu_map is not None:
            mean = mean * (1 + self._fitting("prnu", irradiance)).clamp_min(0)
        dark = self.dark_current * self.exposure_time / whole_number("exposures", exposures)
        return mean + dark if dark > 0 else mean

    def expose(
        self,
        irradiance: Tensor,
        *,
        exposures: int = 1,
        generator: Generators | None = None,
    ) -> Reading:
        """Expose and read out, and say how probable the counts were.

        Parameters
        ----------
        irradiance, exposures, generator
            As in :meth:`forward`.

        Returns
        -------
        Reading
            ``log_likelihood`` is None unless ``shot_noise="score"``, whose measurement has no
            gradient to the irradiance: the likelihood carries it.
        """
        return self._read(irradiance, exposures, generator, scored=True)

    def forward(
        self,
        irradiance: Tensor,
        *,
        exposures: int = 1,
        generator: Generators | None = None,
    ) -> Tensor:
        """Expose and read out.

        Parameters
        ----------
        irradiance : Tensor ``[B, C, H, W]``
            Light on the sensor, full scale 1 over the whole exposure time. Without patterns,
            binning and colour filters any shape will do. Half precision is computed in float32.
        exposures : int
            Captures that share the exposure time; each gathers its part of the dark current. Read
            noise is paid by each. With a colour filter array C is ``exposures`` times the number
            of colours, exposure by exposure, and each exposure is a mosaic of its own.
        generator : torch.Generator or a sequence of them, optional
            Source of all noise; the same state gives the same measurement.

        Returns
        -------
        Tensor ``[B, C, H, W]``, or ``[B, C, H / binning, W / binning]``
            ``(codes - black_level) / (top - black_level)``: 0 at the black level, and a little
            below, 1 at the top code.

        Raises
        ------
        TypeError
            When the picture is no Tensor, or the generator is none.
        ValueError
            For a picture that is not real floating point, or does not fit the patterns, the binning
            or the colour filters, for no exposure, or when ``shot_noise="score"`` is to be
            differentiated.
        """
        return self._read(irradiance, exposures, generator, scored=False).measurement

    @staticmethod
    def _check(irradiance: Tensor) -> None:
        check_tensor("irradiance", irradiance)
        if not irradiance.is_floating_point():
            raise ValueError(
                f"irradiance must be real floating point, full scale 1, not {irradiance.dtype}: "
                "codes are divided by their range, as image.float() / 255, and made linear light "
                "by srgb_to_linear; the irradiance of a field is its squared modulus"
            )

    def _read(
        self,
        irradiance: Tensor,
        exposures: int,
        generator: Generators | None,
        *,
        scored: bool,
    ) -> Reading:
        self._check(irradiance)
        if irradiance.dtype not in (torch.float32, torch.float64):
            irradiance = irradiance.float()
        seen = irradiance if self.cfa is None else self.cfa(irradiance, exposures=exposures)
        electrons = self.electrons(seen, exposures=exposures)
        likelihood = None
        if self.shot_noise == "score" and scored:
            charge = poisson_counts(electrons, generator=generator)
            likelihood = poisson_log_likelihood(charge, electrons)
        else:
            charge = shot_noise(
                electrons,
                kind=self.shot_noise,
                read_noise=self.read_noise if self._joins_noise else 0.0,
                generator=generator,
            )
        if self.full_well is not None:
            charge = clip(charge, -math.inf, self.full_well)
        if self.dsnu_map is not None:
            charge = charge + self._fitting("dsnu", charge)
        if self.binning > 1:
            charge = bin_pixels(charge, self.binning)
        measurement = self._digitise(charge, generator)
        if self.cfa is not None:
            measurement = self.cfa.demosaic(measurement)
        return Reading(measurement, likelihood)

    def _digitise(self, charge: Tensor, generator: Generators | None) -> Tensor:
        inverse = 1 / self._gain if self.log_gain is None else (-self.log_gain).exp()
        signal = charge * inverse
        if self.black_level > 0:
            signal = signal + self.black_level
        self._judge_gradient(signal)
        codes = digitise(
            signal,
            self.bit_depth,
            noise=0.0 if self._joins_noise or self.read_noise == 0 else self.read_noise * inverse,
            estimator="straight_through" if self.bit_depth is None else self.converter,
            generator=generator,
        )
        if self.black_level > 0:
            codes = codes - self.black_level
        span = self.top - self.black_level
        return codes if span == 1 else codes / span

    def _fitting(self, name: str, picture: Tensor) -> Tensor:
        pattern: Tensor = getattr(self, f"{name}_map")
        if picture.shape[-2:] != pattern.shape:
            raise ValueError(
                f"the {name} pattern is of {tuple(pattern.shape)} pixels, the picture of "
                f"{tuple(picture.shape[-2:])}; give resolution=(H, W) of the picture"
            )
        return pattern.to(picture.dtype)

    def extra_repr(self) -> str:
        """Name the quantities with their units."""
        full_well = "unlimited" if self.full_well is None else f"{self.full_well:g} e-"
        depth = "not rounded" if self.bit_depth is None else f"{self.bit_depth}"
        gain = f"{self._gain:g} e-/DN" if self.log_gain is None else "learned"
        patterns = "".join(
            f"{name}={value if isinstance(value, str) else f'{value:g}{unit} RMS'}, "
            for name, value, unit in (("prnu", self.prnu, ""), ("dsnu", self.dsnu, " e-"))
            if value != 0
        )
        return (
            f"photons={self.photons:g}/pixel, quantum_efficiency={self.quantum_efficiency:g}, "
            f"read_noise={self.read_noise:g} e- RMS, dark_current={self.dark_current:g} e-/s, "
            f"exposure_time={self.exposure_time:g} s, full_well={full_well}, bit_depth={depth}, "
            f"gain={gain}, black_level={self.black_level:g} DN, {patterns}"
            f"binning={self.binning}, shot_noise={self.shot_noise!r}, "
            f"converter={self.converter!r}"
        )


def _check_single(name: str, value: object) -> None:
    """Raise a TypeError for several numbers, or for what is none."""
    several = hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0
    default = value is None and name in ("full_well", "gain")
    one = isinstance(value, Tensor) and value.numel() == 1
    if not (default or one) and (several or not hasattr(value, "__float__")):
        raise TypeError(
            f"{name} must be one number, not {value!r}: what differs from colour to colour belongs "
            "to the light in front of the sensor, as in ColourFilters and mix_colours"
        )


_ALLOWED = {
    "photons": "give a positive number of photons/pixel (shot_noise='none' for no noise)",
    "quantum_efficiency": "give a fraction in (0, 1]",
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
