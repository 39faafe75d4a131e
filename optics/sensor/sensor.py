"""From irradiance to digital codes, with the terms of EMVA standard 1288 (release 4.0, 2021).

::

    irradiance ─► CFA ─► photons ─► electrons ─► shot noise ─► full well ─► binning ─► read noise
       0..1             Phi      QE Phi PRNU + D t  counts       clip, DSNU    sum        N(0, s_r)
                                                                                            │
     measurement ◄─ colour matrix ◄─ demosaicing ◄─ (y - black) / (top - black) ◄─ ADC ◄─ / gain
        0..1                                                                    0 .. top   DN

Each step is a function in ``read_out.py``. This file holds the parameters, the choice of the light
level and the order of the steps. Every step has a gradient to its input, in training and in
evaluation; ``noise.py`` and ``converter.py`` list the choices.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from optics.quantity import (
    check_number,
    check_scalar,
    differentiated,
    hold,
    image_size,
    index_of,
    looked_at,
    one_number,
    single,
)

from .converter import Converter
from .mosaic import ColourFilterArray, Demosaicing, Pattern
from .noise import OF_A_SEED, Generators, ShotNoise, between
from .pixel import fixed_pattern
from .read_out import (
    channel_values,
    check_codes,
    check_exposures,
    check_irradiance,
    converted,
    counted,
    developed,
    mean_electrons,
    shape_developed,
    stored,
)
from .sensor_range import (
    InLight,
    check_allowed,
    check_choices,
    check_colour_matrix,
    check_colours,
    check_deviations,
    check_numbers,
    converter_range,
    light_of,
    light_range,
)

__all__ = ["Reading", "Sensor"]


class Reading(NamedTuple):
    """A measurement and the log-likelihood of its counts."""

    measurement: Tensor
    """Codes as a fraction of their range, ``[B, C, H, W]``: black level 0, top code 1."""
    log_likelihood: Tensor | None
    """Log-likelihood of the counts, ``[B]``, for ``shot_noise="score"``, otherwise None; see
    :func:`optics.score_surrogate`."""


class Sensor(nn.Module):
    """An image sensor with photon, dark, pattern, read and quantisation noise.

    Parameters
    ----------
    photons : float, photons/pixel
        Mean photons on one pixel at irradiance 1 over the whole exposure time. They do not follow
        ``exposure_time`` or the f-number of a lens by themselves:
        :func:`optics.exposure_photons` computes them.
    photon_range : (float, float) or Tensor ``[2]``, photons/pixel, optional
        Lowest and highest light level. The photons of each picture are drawn between them, evenly
        in the logarithm, in training and in evaluation, as for scenes by day and by night.
        ``photons`` must lie within the range; gain and black level are given for that light. By
        default all pictures have ``photons``.
    automatic_gain : bool
        Scale the gain with the light where that differs from ``photons``, by ``photon_range`` or
        :meth:`under`. Pictures keep their brightness, up to the full well, and their noise changes,
        as with the automatic ISO of a camera. If False, the gain is fixed, and pictures with less
        light are darker.
    quantum_efficiency : float, or tuple of C floats or Tensor ``[C]``
        Electrons per photon on the pixel, fill factor included, in (0, 1]. Give several for the
        channels, or for the colours of the ``cfa``.
    read_noise : float, electrons RMS
        Gaussian noise of each read-out.
    dark_current : float, electrons/s
        Thermal electrons, not subtracted.
    exposure_time : float, s
        Time over which the dark current accumulates. It changes nothing else.
    full_well : float, electrons, optional
        Capacity of a pixel; unlimited by default. If irradiance 1 generates more, pixels saturate
        at irradiance ``full_well / (photons * quantum_efficiency)``.
    bit_depth : int, optional
        Resolution of the converter in bits, 1 to 16. With None the converter does not round, and
        **one DN is its whole range**: its top code is 1 DN.
    gain : float, electrons/DN, optional
        Inverse of the system gain K of EMVA 1288. By default irradiance 1 in the most sensitive
        channel reaches the top code: ``binning**2 * photons * quantum_efficiency / (top -
        black_level)``. The measurement then equals the irradiance, up to the full well; what is
        above the top code is clipped. With few photons their noise covers many codes, as at an ISO
        setting without a limit. A camera of fixed gain has ``binning**2 * full_well / (top -
        black_level)`` instead: the full well reaches the top code, and the measurement is
        ``photons * quantum_efficiency / full_well`` times the irradiance.
    black_level : float, DN
        Offset of the converter: a whole number of codes, up to half of the range (with
        ``bit_depth=None`` any fraction up to 0.5). It is subtracted again, so that a black pixel
        reads 0. With 0, noise below zero is clipped: black pixels read 0.4 read noises too bright
        in the mean, and a difference of exposures is biased. A level of four read noises,
        ``4 * read_noise / gain``, avoids this if measurements are subtracted or averaged unclipped.
        Clipping them at 0 first, as a picture of one exposure needs, brings the bias back.
    prnu : float, fraction RMS, or Tensor ``[H, W]``
        Photo response non-uniformity: RMS spread of the pixels' sensitivities, or a map of their
        measured relative deviations.
    dsnu : float, electrons RMS, or Tensor ``[H, W]``
        Dark signal non-uniformity: RMS spread of the pixels' offsets in the dark, or a map of the
        measured offsets. It is added in every exposure, and has no shot noise.
    resolution : (H, W) or int, pixels, optional
        Pixels of the sensor, before binning. It is needed to draw a pattern, which is then the same
        in every picture and channel.
    binning : int
        Side of the blocks of pixels whose charges are summed before a single read-out.
    cfa : str, rows of letters, or Tensor ``[h, w]``, optional
        Colour filter array, such as ``"rggb"``, see :mod:`optics.sensor.mosaic`. Each pixel
        measures one channel; ``demosaicing`` says what follows after the converter.
    cfa_channels : str
        One letter for each channel of the irradiance, in upper or lower case as in the pattern.
    demosaicing : {"bilinear", "malvar", "packed", "none"}
        ``bilinear`` and ``malvar`` interpolate the missing colours, as :func:`optics.demosaic`.
        ``packed`` gives one channel for each of the ``h x w`` pixels of the pattern, at ``1 / h``
        of the height and ``1 / w`` of the width (:func:`optics.pack_mosaic`). ``none`` gives the
        mosaic as one channel.
    white_balance : bool
        Multiply each channel, or each pixel of the mosaic, by the largest quantum efficiency over
        its own, so that grey light reads grey. The result is limited to what a saturated pixel of
        the most sensitive channel reads, so that white stays white: the top code, or the full well
        if it is below the top code, without ``dsnu``. Where the gain follows a ``photon_range``,
        this limit is the full well in the lowest light: in more light, a saturated pixel reads more
        in the other channels. The noise is multiplied too.
    colour_matrix : Tensor ``[C, C]``, optional
        Colour correction matrix, as by :func:`optics.colour_correction`: the last step, after white
        balance and demosaicing, on the linear colours of each exposure. Where its rows sum to 1,
        pixels that read the same in all channels keep that value, saturated ones too. For channels
        that do not read 1 for white, such as those behind :class:`optics.ColourFilters`, divide its
        columns by what they read. A parameter is trained. The noise is multiplied too
        (:func:`optics.noise_amplification`), and its results are not limited to 0..1: colours out
        of the gamut are clipped where a picture is made, after exposures are combined. A matrix for
        another number of channels multiplies the picture behind the sensor, with
        :func:`optics.mix_colours`.
    trainable_gain : bool
        Make the logarithm of ``gain`` a parameter.
    shot_noise : {"gaussian", "poisson", "score", "none"}
        As in :func:`optics.shot_noise`; train with ``score`` through :meth:`expose`.
    converter : {"straight_through", "dithered"}
        Gradient of the converter, as in :func:`optics.digitise`.
    generator : torch.Generator, optional
        Source of the patterns, which are drawn once, at construction; by default torch's global
        generator.

    Raises
    ------
    TypeError
        For several numbers where one is needed, for a colour matrix that is no Tensor, or for a
        parameter: only the patterns, the colour matrix and, with ``trainable_gain``, the gain can
        be learned.
    ValueError
        For a quantity out of its range, a pattern without resolution or with a NaN, a ``prnu`` of
        1 RMS or more (as a map of gains has), binning together with a ``cfa``, quantum efficiencies
        that are not those of the colours of the ``cfa``, a white balance with a single quantum
        efficiency, ``demosaicing`` of ``packed`` or ``none`` without a ``cfa``, or a colour matrix
        behind it, or one that is not finite and ``[C, C]`` for the channels, or is the result of
        something trained.

    Warns
    -----
    UserWarning
        If pixels saturate below both irradiance 1 and the top code, unless a gain is given; with a
        ``photon_range``, in its highest light. This assumes one exposure of the whole time: each of
        several exposures has only its share of the light. If the dark current generates more than a
        quarter of the electrons of the top code, unless a gain is given; with a ``photon_range``,
        in its lowest light. If the black level is too low in the lowest light of a range, see
        :meth:`under`, or, unless a gain is given, above 0 and below half a read noise. If a
        straight-through converter has less than 0.3 DN of read noise: at the first forward pass
        that records a gradient, and not under ``torch.compile``.
    """

    _warned = False

    def __init__(  # noqa: PLR0913 - the terms of the standard
        self,
        photons: float = 10_000.0,
        *,
        photon_range: Sequence[float] | Tensor | None = None,
        automatic_gain: bool = True,
        quantum_efficiency: float | Sequence[float] | Tensor = 0.6,
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
        white_balance: bool = False,
        colour_matrix: Tensor | None = None,
        trainable_gain: bool = False,
        shot_noise: ShotNoise = "gaussian",
        converter: Converter = "straight_through",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.log_gain: nn.Parameter | None
        self.prnu_map: Tensor | None
        self.dsnu_map: Tensor | None
        self.colour_matrix: Tensor | None
        efficiencies = check_numbers(
            quantum_efficiency,
            photons=photons,
            read_noise=read_noise,
            dark_current=dark_current,
            exposure_time=exposure_time,
            full_well=full_well,
            gain=gain,
        )
        #: Lowest and highest photons/pixel of the pictures; None where all have the same.
        self.photon_range = light_range(float(photons), photon_range)
        self.automatic_gain = bool(automatic_gain)
        bit_depth, top = converter_range(bit_depth, black_level)
        check_number("prnu", prnu, "fractions")
        check_number("dsnu", dsnu, "electrons")
        check_allowed("prnu", prnu, isinstance(prnu, Tensor) or not prnu >= 1)
        check_allowed("binning", binning, (index_of(binning) or 0) >= 1)
        check_choices(
            demosaicing, shot_noise, converter, bit_depth=bit_depth, read_noise=read_noise
        )
        self.cfa = None if cfa is None else ColourFilterArray(cfa, cfa_channels, method=demosaicing)
        check_colours(
            self.cfa,
            efficiencies,
            demosaicing=demosaicing,
            binning=binning,
            white_balance=white_balance,
        )
        check_colour_matrix(colour_matrix, self.cfa, efficiencies)
        hold(self, "colour_matrix", colour_matrix)
        binning = int(binning)
        self.photons = float(photons)
        #: One number, or a tuple with one for each channel.
        self.quantum_efficiency: float | tuple[float, ...] = (
            efficiencies[0] if len(efficiencies) == 1 else efficiencies
        )
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
        highest = max(efficiencies)
        full_scale = binning**2 * self.photons * highest
        self._gain = full_scale / (top - self.black_level) if gain is None else float(gain)
        log_gain = nn.Parameter(torch.tensor(math.log(self._gain))) if trainable_gain else None
        self.register_parameter("log_gain", log_gain)
        size = None if resolution is None else image_size(resolution, "resolution")
        if not isinstance(generator, torch.Generator | None):
            raise TypeError(f"generator must be a torch.Generator, not {generator!r}: {OF_A_SEED}")
        for name, unit, value in (("prnu", "fractions", prnu), ("dsnu", "electrons", dsnu)):
            pattern = fixed_pattern(name, value, unit=unit, resolution=size, generator=generator)
            if pattern is None:
                self.register_buffer(f"{name}_map", None)
            else:
                hold(self, f"{name}_map", pattern)
        if isinstance(prnu, Tensor):
            check_deviations(prnu.detach())
        self.prnu = "measured" if isinstance(prnu, Tensor) else float(prnu)
        self.dsnu = "measured" if isinstance(dsnu, Tensor) else float(dsnu)
        self.white_balance = bool(white_balance)
        own = self._in_light(self.photons)
        least, most = map(self._in_light, self.photon_range or (self.photons,) * 2)
        fixed = ", or with the gain that the camera has, e-/DN"
        if self.full_well is not None:
            fixed += ", such as binning**2 * full_well / (top - black_level)"
        least.warn_of_black(own, remedy=fixed if gain is None else "", stacklevel=2)
        if gain is None:
            meant = ", or the gain that is meant, e-/DN"
            least.warn_of_dark(remedy=meant, stacklevel=2)
            most.warn_of_well(remedy=meant, stacklevel=2)
        elif own.held:
            most.warn_of_well(stacklevel=2)

    def _judge_gradient(self, codes: Tensor) -> None:
        """Warn once if a gradient is recorded that the converter makes wrong."""
        if self._warned or torch.compiler.is_compiling():
            return
        if not differentiated(codes):
            return  # without a gradient both estimators draw the same codes
        most = self.photons if self.photon_range is None else self.photon_range[1]
        if self.bit_depth is not None and self.converter == "straight_through":
            light = self._in_light(most)  # where the noise is least
            self._warned = light.misleads
            light.warn_of_slope(stacklevel=2)

    def _in_light(self, photons: float) -> InLight:
        """Limits of the sensor at a light level."""
        # A learned gain is read where that does not wait for a GPU; otherwise its start is used.
        gain = self._gain
        if self.log_gain is not None and looked_at(self.log_gain):
            gain = math.exp(float(self.log_gain.detach()))
        if self.automatic_gain:
            gain *= photons / self.photons
        own = self.quantum_efficiency
        varies = self.photon_range is not None and self.automatic_gain
        return InLight(
            photons=photons,
            made=photons * (max(own) if isinstance(own, tuple) else own),
            top=gain * (self.top - self.black_level) / self.binning**2,
            full_well=self.full_well,
            read_noise=self.read_noise / gain,
            black_level=self.black_level,
            dark=self.dark_current * self.exposure_time,
            automatic_gain=self.automatic_gain,
            # With a white balance all channels saturate together; of a range only in its lowest
            # light.
            several=isinstance(own, tuple) and (varies or not self.white_balance),
        )

    def holds(self, photons: float) -> bool:
        """Whether the full well holds the electrons of irradiance 1, or of a lower top code.

        Parameters
        ----------
        photons : float, photons/pixel
            Light level: photons at irradiance 1 over the whole exposure time. The gain is that of
            :meth:`under` this light.

        Returns
        -------
        bool
            True if no full well is given.

        Raises
        ------
        TypeError, ValueError
            When ``photons`` is not one number, or not positive and finite.
        """
        return self._in_light(light_of(photons)).held

    @property
    def gain(self) -> float | Tensor:
        """Electrons per DN; a scalar tensor if it is trainable."""
        return self._gain if self.log_gain is None else self.log_gain.exp()

    @contextmanager
    def under(self, photons: float, *, exposure_time: float | None = None) -> Iterator[None]:
        """Set another light level for all pictures within a ``with`` block.

        With ``automatic_gain`` the gain is scaled by the same factor: pictures keep their
        brightness, up to the full well, and the noise changes, as with the ISO setting of a camera.
        The black level keeps its DN, so it has to be high enough for the lowest light. Without
        ``automatic_gain`` the gain is fixed, and the brightness of the pictures follows the light.

        Parameters
        ----------
        photons : float, photons/pixel
            At irradiance 1 over the whole exposure time, for each picture.
        exposure_time : float, s, optional
            Time over which the dark current accumulates; by default unchanged. The light does not
            follow it: for twice the time at the same scene, also give twice the photons.

        Yields
        ------
        None
            The sensor is restored at the end of the block. Other threads see the change: give each
            thread a ``copy.deepcopy``.

        Raises
        ------
        TypeError, ValueError
            When either is not one number, or not positive and finite.

        Warns
        -----
        UserWarning
            If a full well that was sufficient is not so in this light (:meth:`holds`), or if the
            black level is below three read noises, and fewer of them than before. The dark current
            is not checked.
        """
        photons, time = light_of(photons), self.exposure_time
        if exposure_time is not None:
            time = one_number("exposure_time", exposure_time, "s")
            check_allowed("exposure_time", exposure_time, 0 < time < math.inf)
        before = self.photons, self._gain, self.photon_range, self.exposure_time
        held = None if self.log_gain is None else self.log_gain.detach().clone()
        own = self._in_light(self.photons)
        try:
            self.photon_range = None
            other = self._in_light(photons)
            other.warn_of_black(own, stacklevel=3)
            if own.held:
                other.warn_of_well(stacklevel=3)
            if self.automatic_gain:
                self.rescale_gain(photons / self.photons)
            self.photons, self.exposure_time = photons, time
            yield
        finally:
            self.photons, self._gain, self.photon_range, self.exposure_time = before
            if self.log_gain is not None and held is not None:
                with torch.no_grad():
                    self.log_gain.copy_(held)

    def rescale_gain(self, factor: float) -> None:
        """Multiply the gain by a factor, in place; a trainable gain is trained on from there.

        Parameters
        ----------
        factor : float
            New gain over old gain, in electrons/DN.

        Raises
        ------
        TypeError, ValueError
            When it is not a number, or not positive and finite.
        """
        check_scalar("factor", factor)
        factor = float(factor)
        if not 0 < factor < math.inf:
            raise ValueError(f"factor must be positive and finite, not {factor!r}")
        self._gain *= factor
        if self.log_gain is not None:
            with torch.no_grad():
                self.log_gain.add_(math.log(factor))

    @property
    def _joins_noise(self) -> bool:
        """Whether shot noise and read noise can be one Gaussian draw, with no step between them."""
        return (
            self.shot_noise == "gaussian"
            and self.full_well is None
            and self.binning == 1
            and (self.bit_depth is None or self.converter == "straight_through")
        )

    @property
    def mean_photons(self) -> float:
        """Mean photons/pixel at irradiance 1: ``photons``, or the mean over ``photon_range``."""
        if self.photon_range is None:
            return self.photons
        low, high = self.photon_range
        return (high - low) / math.log(high / low)

    def electrons(self, irradiance: Tensor, *, exposures: int = 1) -> Tensor:
        """Mean electrons ``QE Phi (1 + PRNU) + D t / exposures`` of each pixel, before any noise.

        Phi is ``photons`` times the irradiance. ``photon_range`` is not used.

        Parameters
        ----------
        irradiance : Tensor ``[B, C, H, W]``
            Irradiance on the pixels, behind a colour filter array if there is one; full scale 1.
            Half precision is computed, and returned, in float32.
        exposures : int
            Number of exposures that share the exposure time.

        Returns
        -------
        Tensor ``[B, C, H, W]``, electrons

        Raises
        ------
        TypeError
            When the irradiance is not a Tensor.
        ValueError
            When the irradiance is not real floating point or does not fit a pattern of the sensor,
            or when ``exposures`` is below 1 or does not divide the channels.
        """
        check_irradiance(irradiance)
        check_exposures(irradiance, exposures)
        irradiance = single(irradiance)
        own = self.quantum_efficiency
        if isinstance(own, tuple):
            own = channel_values(own, irradiance, exposures, self.cfa)
        dark = self.dark_current * self.exposure_time / exposures
        return mean_electrons(irradiance, self.photons * own, deviations=self.prnu_map, dark=dark)

    def expose(
        self,
        irradiance: Tensor,
        *,
        exposures: int = 1,
        generator: Generators | None = None,
    ) -> Reading:
        """Expose and read out; also return the log-likelihood of the counts.

        Parameters
        ----------
        irradiance, exposures, generator
            As in :meth:`forward`.

        Returns
        -------
        Reading
            ``log_likelihood`` is None unless ``shot_noise="score"``. With ``"score"`` the
            measurement has no gradient to the irradiance; the log-likelihood has it.
        """
        codes, likelihood = self._read(irradiance, exposures, generator, scored=True)
        return Reading(self._developed(codes, exposures), likelihood)

    def codes(
        self,
        irradiance: Tensor,
        *,
        exposures: int = 1,
        generator: Generators | None = None,
    ) -> Tensor:
        """Expose and return raw codes: :meth:`forward` without the step :meth:`from_codes`.

        Parameters
        ----------
        irradiance, exposures, generator
            As in :meth:`forward`.

        Returns
        -------
        Tensor ``[B, C, h, w]``, DN
            From 0 to the top code, black level included. With a colour filter array:
            mosaics ``[B, exposures, h, w]``.

        Raises
        ------
        TypeError, ValueError
            As :meth:`forward`.
        """
        return self._read(irradiance, exposures, generator, scored=False)[0]

    def from_codes(self, codes: Tensor, *, exposures: int = 1) -> Tensor:
        """Convert raw codes to the measurement of :meth:`forward`: the digital part of the sensor.

        Parameters
        ----------
        codes : Tensor ``[B, C, h, w]``, floating point, DN
            As :meth:`codes` returns them, or the codes of a real camera with the same parameters,
            after ``codes.float()``.
        exposures : int
            Number of exposures among the C channels.

        Returns
        -------
        Tensor ``[B, C, h, w]``
            As :meth:`forward`: without the black level, full scale 1, with the white balance if
            there is one, demosaicked or as a mosaic as ``demosaicing`` says, with colours corrected
            by the ``colour_matrix`` if there is one.

        Raises
        ------
        TypeError
            For codes that are not a Tensor.
        ValueError
            For codes that are not floating point, or whose channels do not fit the exposures; on a
            CPU also for codes outside of 0 to the top code, such as those of a converter with more
            bits.
        """
        check_codes(codes, exposures, self.cfa, bit_depth=self.bit_depth, top=self.top)
        return self._developed(codes, exposures)

    def _developed(self, codes: Tensor, exposures: int) -> Tensor:
        own, balance = self.quantum_efficiency, None
        if self.white_balance and isinstance(own, tuple):
            even = tuple(max(own) / each for each in own)
            balance = channel_values(even, codes, exposures, self.cfa)
        return developed(
            codes,
            black_level=self.black_level,
            top=self.top,
            balance=balance,
            full=1.0 if balance is None else self._full(),
            cfa=self.cfa,
            colour_matrix=self.colour_matrix,
            exposures=exposures,
        )

    def _full(self) -> float | Tensor:
        """Measurement of a saturated pixel, full scale 1; of a range, in the lowest light.

        The DSNU, which is added after the full well, is left out.
        """
        if self.full_well is None:
            return 1.0
        gain = self.gain
        if self.photon_range is not None and self.automatic_gain:
            gain = gain * (self.photon_range[0] / self.photons)
        full = self.binning**2 * self.full_well / (gain * (self.top - self.black_level))
        return full.clamp_max(1) if isinstance(full, Tensor) else min(1.0, full)

    def forward(
        self,
        irradiance: Tensor,
        *,
        exposures: int = 1,
        generator: Generators | None = None,
    ) -> Tensor:
        """Expose and read out: irradiance to measurement.

        Parameters
        ----------
        irradiance : Tensor ``[B, C, H, W]``
            Light on the sensor, full scale 1 over the whole exposure time. Without patterns,
            binning and colour filters it may have any shape. Half precision is computed in float32.
        exposures : int
            Number of exposures that share the exposure time. Each accumulates its share of the dark
            current, and each has its own read noise. With a colour filter array, C is ``exposures``
            times the number of colours, in the order of the exposures, and each exposure is a
            mosaic of its own.
        generator : torch.Generator or a sequence of them, optional
            Source of all noise; the same state gives the same measurement.

        Returns
        -------
        Tensor ``[B, C, H, W]``, or as :meth:`picture_shape` says
            ``(codes - black_level) / (top - black_level)``: 0 at the black level, 1 at the top
            code. Noise below the black level gives small negative values.

        Raises
        ------
        TypeError
            When the irradiance is not a Tensor, or the generator not a torch.Generator.
        ValueError
            For irradiance that is not real floating point, or does not fit the patterns, the
            binning, the colour filters, the colour matrix or the exposures; for ``exposures`` below
            1; or when ``shot_noise="score"`` would be differentiated.
        """
        codes = self.codes(irradiance, exposures=exposures, generator=generator)
        return self._developed(codes, exposures)

    def picture_shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """Shape of the measurement of :meth:`forward` for a given shape of the irradiance.

        Parameters
        ----------
        channels : int
            Channels of the irradiance, all exposures together.
        height, width : int, pixels
            Size of the irradiance.

        Returns
        -------
        (int, int, int)
            Channels, height and width. Binning and a packed mosaic have fewer pixels; a colour
            filter array has :attr:`optics.ColourFilterArray.picture_channels` for each exposure.

        Raises
        ------
        ValueError
            For a shape that does not fit the binning or the colour filters.
        """
        return shape_developed(channels, height, width, binning=self.binning, cfa=self.cfa)

    def _read(
        self,
        irradiance: Tensor,
        exposures: int,
        generator: Generators | None,
        *,
        scored: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Codes, DN, and the log-likelihood of their counts if ``scored``."""
        check_irradiance(irradiance)
        if irradiance.dtype not in (torch.float32, torch.float64):
            irradiance = irradiance.float()
        light = self._drawn_light(irradiance, generator)
        if light is not None:
            irradiance = irradiance * light
        seen = irradiance if self.cfa is None else self.cfa(irradiance, exposures=exposures)
        joined = self._joins_noise
        counts, likelihood = counted(
            self.electrons(seen, exposures=exposures),
            kind=self.shot_noise,
            scored=scored,
            read_noise=self.read_noise if joined else 0.0,
            generator=generator,
        )
        inverse = 1 / self._gain if self.log_gain is None else (-self.log_gain).exp()
        codes = converted(
            stored(counts, full_well=self.full_well, offsets=self.dsnu_map, binning=self.binning),
            inverse if light is None or not self.automatic_gain else inverse / light,
            black_level=self.black_level,
            bit_depth=self.bit_depth,
            read_noise=0.0 if joined else self.read_noise,
            converter=self.converter,
            generator=generator,
        )
        self._judge_gradient(codes)
        return codes, likelihood

    def _drawn_light(self, irradiance: Tensor, generator: Generators | None) -> Tensor | None:
        """Light of each picture ``[B, 1, 1, 1]`` over ``photons``; None where all are alike."""
        if self.photon_range is None:
            return None
        if irradiance.ndim != 4:
            raise ValueError(
                "with photon_range, which draws the light of each picture, irradiance must be "
                f"[B, C, H, W], not {tuple(irradiance.shape)}"
            )
        low, high = (end / self.photons for end in self.photon_range)
        return between(low, high, irradiance, generator).view(-1, 1, 1, 1)

    def extra_repr(self) -> str:
        """Name the quantities with their units."""
        own = self.quantum_efficiency
        several = isinstance(own, tuple)
        efficiency = f"({', '.join(f'{q:g}' for q in own)})" if several else f"{own:g}"
        full_well = "unlimited" if self.full_well is None else f"{self.full_well:g} e-"
        depth = "not rounded" if self.bit_depth is None else f"{self.bit_depth}"
        gain = f"{self._gain:g} e-/DN" if self.log_gain is None else "learned"
        patterns = "".join(
            f"{name}={value if isinstance(value, str) else f'{value:g}{unit} RMS'}, "
            for name, value, unit in (("prnu", self.prnu, ""), ("dsnu", self.dsnu, " e-"))
            if value != 0
        )
        matrix = self.colour_matrix
        learned = isinstance(matrix, nn.Parameter)
        corrected = "" if matrix is None else f", colour_matrix={'learned' if learned else 'given'}"
        ends = self.photon_range
        drawn = "" if ends is None else f"photon_range=({ends[0]:g}, {ends[1]:g})/pixel, "
        return (
            f"photons={self.photons:g}/pixel, {drawn}quantum_efficiency={efficiency}, "
            f"read_noise={self.read_noise:g} e- RMS, dark_current={self.dark_current:g} e-/s, "
            f"exposure_time={self.exposure_time:g} s, full_well={full_well}, bit_depth={depth}, "
            f"gain={gain}, black_level={self.black_level:g} DN, {patterns}"
            f"binning={self.binning}, shot_noise={self.shot_noise!r}, "
            f"converter={self.converter!r}{', white_balance=True' if self.white_balance else ''}"
            f"{corrected}"
            f"{'' if self.automatic_gain else ', automatic_gain=False'}"
        )
