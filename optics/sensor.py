"""From irradiance to digital codes, with the terms of EMVA standard 1288.

::

    irradiance ─► photons ─► electrons ─► shot noise ─► full well ─► read noise ─► ADC ─► codes
       0..1      Phi         QE Phi + D   Poisson(.)     clip        N(0, s_r)   gain, clip, round

Every step has a gradient to its input, in training and in evaluation alike.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from .constraint import clip

__all__ = ["Sensor", "ShotNoise", "digitise", "shot_noise"]

ShotNoise = Literal["gaussian", "poisson", "none"]

# Below this many electrons the slope of the root is held, to keep its gradient finite.
_FEWEST_ELECTRONS = 1e-2


def shot_noise(
    electrons: Tensor,
    *,
    kind: ShotNoise = "gaussian",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Counts with the fluctuation of a Poisson process.

    Parameters
    ----------
    electrons : Tensor, electrons
        Mean counts, non-negative.
    kind : {"gaussian", "poisson", "none"}
        ``gaussian``: ``e + sqrt(e) n``, right in mean and variance (0.1 electrons RMS remain in
        the dark), and close in shape above some ten electrons; its pathwise gradient is unbiased
        for mean and variance. ``poisson``: exact
        counts; the gradient is that of the mean, 1. ``none``: the mean itself.
    generator : torch.Generator, optional
        Source of the draw; torch's default one if not given.

    Returns
    -------
    Tensor, electrons
    """
    if kind == "none":
        return electrons
    if kind == "poisson":
        counts = torch.poisson(electrons.detach().clamp_min(0), generator=generator)
        return electrons + (counts - electrons).detach()
    if kind == "gaussian":
        return electrons + electrons.clamp_min(_FEWEST_ELECTRONS).sqrt() * _normal(
            electrons, generator
        )
    raise ValueError(f"shot noise must be 'gaussian', 'poisson' or 'none', not {kind!r}")


def digitise(signal: Tensor, bits: int | None, *, black_level: float = 0.0) -> Tensor:
    """Clip and round to the nearest of ``2**bits`` codes, straight-through.

    The gradient is 1 where the signal is within the range and 0 where it is clipped. It is exact
    in expectation, to 1.4 %, for noise of half a code RMS or more in front of the converter, and
    wrong below 0.3 (``docs/concepts.md``).

    Parameters
    ----------
    signal : Tensor
        Voltage as a fraction of the converter's range.
    bits : int, optional
        Resolution; None does not round.
    black_level : float
        Offset, as a fraction of the range (a whole number of codes, the nearest), that is added
        before the converter and subtracted after it, so that noise about zero is not cut in half.
        Signal 1 still gives the top code.

    Returns
    -------
    Tensor in 0..1, or down to ``-black_level / (1 - black_level)``
        Codes above the black level, divided by those up to the top code.
    """
    top = None if bits is None else 2**bits - 1
    black = black_level if top is None else round(black_level * top) / top
    clipped = clip(black + (1 - black) * signal)
    if top is not None:
        clipped = clipped + (torch.round(clipped * top) / top - clipped).detach()
    return (clipped - black) / (1 - black)


class Sensor(nn.Module):
    """An image sensor with photon, dark, read and quantisation noise.

    Parameters
    ----------
    photons : float, photons/pixel
        Mean photons on one pixel at irradiance 1 over the whole exposure time.
    quantum_efficiency : float
        Electrons for each photon, in (0, 1].
    read_noise : float, electrons RMS
        Gaussian noise of the read-out.
    dark_current : float, electrons/s
        Thermal electrons, not subtracted.
    exposure_time : float, s
        Time over which they gather.
    full_well : float, electrons, optional
        Capacity of a pixel; unlimited by default.
    bits : int, optional
        Resolution of the converter, 1 to 16; None does not quantise.
    gain : float
        Analogue gain; at 1, irradiance 1 gives the top code. The system gain of EMVA 1288 is
        ``K = gain * (2**bits - 1) / (photons * quantum_efficiency)`` codes/electron.
    black_level : float
        Offset of the converter as a fraction of its range, in [0, 0.5], see
        :func:`optics.digitise`. At 0 half of the noise about zero is clipped away, which brightens
        the dark and, in an exposure that is subtracted, biases the difference: where that matters
        (few photons, two exposures) give four times the read noise over
        ``photons * quantum_efficiency``.
    trainable_gain : bool
        Make the logarithm of ``gain`` a parameter.
    shot_noise : {"gaussian", "poisson", "none"}
        As in :func:`optics.shot_noise`.

    Raises
    ------
    ValueError
        For a quantity out of its range.
    """

    def __init__(
        self,
        photons: float = 10_000.0,
        *,
        quantum_efficiency: float = 0.6,
        read_noise: float = 2.0,
        dark_current: float = 0.0,
        exposure_time: float = 0.01,
        full_well: float | None = None,
        bits: int | None = 10,
        gain: float = 1.0,
        black_level: float = 0.0,
        trainable_gain: bool = False,
        shot_noise: ShotNoise = "gaussian",
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("photons", photons, 0 < photons < math.inf),
            ("quantum_efficiency", quantum_efficiency, 0 < quantum_efficiency <= 1),
            ("read_noise", read_noise, 0 <= read_noise < math.inf),
            ("dark_current", dark_current, 0 <= dark_current < math.inf),
            ("exposure_time", exposure_time, 0 < exposure_time < math.inf),
            ("full_well", full_well, full_well is None or full_well > 0),
            ("bits", bits, bits is None or bits in range(1, 17)),
            ("gain", gain, 0 < gain < math.inf),
            ("black_level", black_level, 0 <= black_level <= 0.5),
            ("shot_noise", shot_noise, shot_noise in ("gaussian", "poisson", "none")),
        ):
            if not allowed:
                raise ValueError(f"{name}={value!r} is out of range; {_ALLOWED[name]}")
        self.photons = float(photons)
        self.quantum_efficiency = float(quantum_efficiency)
        self.read_noise = float(read_noise)
        self.dark_current = float(dark_current)
        self.exposure_time = float(exposure_time)
        self.full_well = None if full_well is None else float(full_well)
        self.bits = bits
        self.black_level = float(black_level)
        self.shot_noise: ShotNoise = shot_noise
        log_gain = torch.tensor(math.log(gain))
        if trainable_gain:
            self.log_gain = nn.Parameter(log_gain)
        else:
            self.register_buffer("log_gain", log_gain)

    @property
    def gain(self) -> Tensor:
        """Analogue gain, scalar."""
        return self.log_gain.exp()

    def electrons(self, irradiance: Tensor, *, exposures: int = 1) -> Tensor:
        """Mean electrons ``QE Phi + D t / exposures`` of each pixel, before any noise."""
        signal = irradiance * (self.photons * self.quantum_efficiency)
        return signal + self.dark_current * self.exposure_time / exposures

    def forward(
        self,
        irradiance: Tensor,
        *,
        exposures: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Expose and read out.

        Parameters
        ----------
        irradiance : Tensor ``[B, C, H, W]``
            Light on the sensor, full scale 1 over the whole exposure time.
        exposures : int
            Captures that share the exposure time; each gathers its part of the dark current. Read
            noise is paid by each.
        generator : torch.Generator, optional
            Source of all noise; the same state gives the same measurement.

        Returns
        -------
        Tensor ``[B, C, H, W]`` in 0..1
            Codes divided by the top code; a little below 0 with a black level.
        """
        electrons = self.electrons(irradiance, exposures=exposures)
        charge = shot_noise(electrons, kind=self.shot_noise, generator=generator)
        if self.full_well is not None:
            charge = charge.clamp(max=self.full_well)
        if self.read_noise > 0:
            charge = charge + self.read_noise * _normal(charge, generator)
        range_ = self.photons * self.quantum_efficiency
        signal = charge * (self.gain / range_)
        return digitise(signal, self.bits, black_level=self.black_level)

    def extra_repr(self) -> str:
        """Name the quantities with their units."""
        full_well = "unlimited" if self.full_well is None else f"{self.full_well:g} e-"
        bits = "not quantised" if self.bits is None else f"{self.bits} bits"
        learned = isinstance(self.log_gain, nn.Parameter)
        gain = "learned" if learned else f"{float(self.gain):g}"
        return (
            f"photons={self.photons:g}/pixel, quantum_efficiency={self.quantum_efficiency:g}, "
            f"read_noise={self.read_noise:g} e- RMS, dark_current={self.dark_current:g} e-/s, "
            f"exposure_time={self.exposure_time:g} s, full_well={full_well}, {bits}, "
            f"gain={gain}, black_level={self.black_level:g}, "
            f"shot_noise={self.shot_noise!r}"
        )


_ALLOWED = {
    "photons": "give a positive number of photons/pixel (shot_noise='none' for no noise)",
    "quantum_efficiency": "give a fraction in (0, 1]",
    "read_noise": "give electrons RMS, 0 or more",
    "dark_current": "give electrons/s, 0 or more",
    "exposure_time": "give a positive time in s",
    "full_well": "give a positive number of electrons, or None",
    "bits": "give a whole number from 1 to 16, or None",
    "gain": "give a positive factor",
    "black_level": "give a fraction of the range in [0, 0.5]",
    "shot_noise": "choose 'gaussian', 'poisson' or 'none'",
}


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)
