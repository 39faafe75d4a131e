"""What a data sheet says of a sensor: its photon transfer curve, and the figures of EMVA 1288.

::

    photons ─► electrons, shot noise ─► full well ─► binning ─► gain, read noise ─► codes
               mean and variance are carried through, without a draw
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .quantity import check_tensor
from .sensor import Sensor

__all__ = ["PhotonTransfer", "photon_transfer"]

# Light of the curve that is drawn by default, of the threshold and of saturation, and its points.
_LEAST, _MOST, _POINTS = 0.1, 1.25, 65
# Levels whose codes are summed at once.
_ROWS = 64
# Deviations beyond which a normal distribution has nothing, in float64, and next to nothing.
_FAR = 50.0
_TAIL = 9.0
# Steps of a deviation in which charges are added up: they make a variance larger by a sixth of
# their square, 2e-5 of it; and how few charges are left out.
_STEPS = 100
_UNLIKELY = 1e-16


@dataclass(frozen=True)
class PhotonTransfer:
    """Mean and noise of a sensor against the light on a pixel, and what follows of them."""

    photons: Tensor = field(repr=False)
    """Light on a pixel, photons ``[N]``."""
    mean: Tensor = field(repr=False)
    """Mean code of each channel, DN ``[C, N]``, black level included."""
    variance: Tensor = field(repr=False)
    """Variance in time of a pixel's code, DN^2 ``[C, N]``: shot, dark, read, quantisation noise."""
    spatial_variance: Tensor = field(repr=False)
    """Variance between pixels of their means, DN^2 ``[C, N]``: of PRNU and DSNU, before the ends of
    the range are reached."""
    dark_mean: float
    """Mean code in the dark, DN."""
    dark_noise: float
    """Noise of a read-out in the dark, its rounding included, electrons RMS."""
    system_gain: float
    """K, DN for an electron."""
    threshold: Tensor
    """Absolute sensitivity threshold of each channel: photons on a pixel with an SNR of 1
    ``[C]``."""
    saturation: Tensor
    """Saturation capacity of each channel: photons that fill the well, or reach the top code,
    ``[C]``."""
    saturated_electrons: float
    """Electrons of a read-out that the saturation capacity is, those of the dark not among them."""
    largest_snr: float
    """Noise in time alone, at the saturation capacity; beyond it noise is cut off as light is."""
    limit: str
    """What saturates first: ``full well`` or ``converter``."""

    @property
    def snr(self) -> Tensor:
        """Mean above the dark over the noise in time ``[C, N]``; 0 where there is neither."""
        return self._over(self.variance)

    @property
    def total_snr(self) -> Tensor:
        """Likewise, over the noise in time and between pixels together ``[C, N]``."""
        return self._over(self.variance + self.spatial_variance)

    @property
    def dynamic_range(self) -> Tensor:
        """Saturation over threshold, dB (20 times the logarithm) ``[C]``."""
        return 20 * (self.saturation / self.threshold).log10()

    def _over(self, variance: Tensor) -> Tensor:
        signal = self.mean - self.dark_mean
        return torch.where(signal == 0, 0.0, signal / variance.sqrt())

    def __str__(self) -> str:
        def each(values: Tensor, form: str) -> str:
            return ", ".join(f"{value:{form}}" for value in values.tolist())

        rows = (
            ("system gain K", f"{self.system_gain:.4g} DN/e-"),
            ("dark noise", f"{self.dark_noise:.3g} e- RMS"),
            ("threshold", f"{each(self.threshold, '.3g')} photons/pixel (SNR 1)"),
            (
                "saturation",
                f"{each(self.saturation, '.4g')} photons/pixel, {self.saturated_electrons:.4g} e- "
                f"({self.limit})",
            ),
            ("dynamic range", f"{each(self.dynamic_range, '.1f')} dB"),
            ("largest SNR", f"{20 * torch.tensor(self.largest_snr).log10().item():.1f} dB"),
        )
        return "\n".join(f"{name:<14} {told}" for name, told in rows)


@torch.no_grad()
def photon_transfer(sensor: Sensor, photons: Tensor | None = None) -> PhotonTransfer:
    """Photon transfer curve of a sensor, and the figures of its data sheet, without a draw.

    For one exposure of the whole time, with the gain that the sensor has; another light's is that
    of ``with sensor.under(photons):``. Where a colour filter array interpolates, the curve is that
    of the pixels before.

    Parameters
    ----------
    sensor : Sensor
    photons : Tensor ``[N]``, photons/pixel, optional
        Light on a pixel; by default 65 values, evenly in their logarithm, from a tenth of the least
        threshold to a quarter more than saturates the least sensitive channel.

    Returns
    -------
    PhotonTransfer
        In float64, on the CPU.

    Raises
    ------
    TypeError
        For what is no sensor, or light that is no Tensor.
    ValueError
        For light that is not ``[N]``, finite and not negative.

    Notes
    -----
    Figures are those of EMVA Standard 1288, release 4.0 linear (2021): with ``s^2`` the variance in
    the dark, electrons, the threshold is ``(1/2 + sqrt(1/4 + s^2)) / QE``, the dynamic range
    saturation over threshold. Mean and variance of the curve are those of normal
    numbers of electrons, cut off at the full well, added up over binned pixels, read with normal
    noise, rounded to codes and cut off at the ends of the range, all summed numerically: right for
    counts of more than some ten.

    Examples
    --------
    >>> print(photon_transfer(Sensor(20_000, full_well=10_000, gain=2.5, bit_depth=12)))
    system gain K  0.4 DN/e-
    dark noise     2.13 e- RMS
    threshold      4.47 photons/pixel (SNR 1)
    saturation     1.667e+04 photons/pixel, 1e+04 e- (full well)
    dynamic range  71.4 dB
    largest SNR    40.0 dB
    """
    if not isinstance(sensor, Sensor):
        raise TypeError(f"sensor must be an optics.Sensor, not {type(sensor).__name__}")
    own = sensor.quantum_efficiency
    prnu, dsnu = sensor.prnu_map, sensor.dsnu_map
    # A measured map need not average 0: its mean is a part of the response, or of the dark.
    response = 1.0 if prnu is None else 1 + float(prnu.double().clamp_min(-1).mean())
    offset = 0.0 if dsnu is None else float(dsnu.double().mean())
    efficiency = torch.tensor(own if isinstance(own, tuple) else (own,), dtype=torch.float64)
    efficiency = efficiency * response
    gain, pixels = float(sensor.gain), sensor.binning**2
    shot = float(sensor.shot_noise != "none")
    dark = sensor.dark_current * sensor.exposure_time
    rounding = 0.0 if sensor.bit_depth is None else gain**2 / 12
    in_dark = sensor.read_noise**2 + shot * pixels * dark + rounding
    top = gain * (sensor.top - sensor.black_level) - pixels * offset
    well = math.inf if sensor.full_well is None else pixels * sensor.full_well
    saturated = max(0.0, min(top, well) - pixels * dark)
    threshold = shot / 2 + math.sqrt(shot / 4 + in_dark)
    threshold, saturation = (each / (pixels * efficiency) for each in (threshold, saturated))
    if photons is None:
        ends = _LEAST * float(threshold.min()), _MOST * float(saturation.max())
        least, most = (math.log10(max(end, 1e-12)) for end in ends)
        photons = torch.logspace(least, most, _POINTS, dtype=torch.float64)
    light = _checked(photons)
    made = efficiency[:, None] * light
    mean, variance = _codes(sensor, made + dark, offset)
    dark_mean, _ = _codes(sensor, torch.full((1, 1), dark, dtype=torch.float64), offset)
    spatial = (made / response * _spread(prnu)).square() if response else 0 * made
    spatial = pixels * (spatial + _spread(dsnu) ** 2) / gain**2
    return PhotonTransfer(
        photons=light,
        mean=mean,
        variance=variance,
        spatial_variance=spatial,
        dark_mean=float(dark_mean),
        dark_noise=math.sqrt(in_dark),
        system_gain=1 / gain,
        threshold=threshold,
        saturation=saturation,
        saturated_electrons=saturated,
        largest_snr=_ratio(saturated, math.sqrt(shot * saturated + in_dark)),
        limit="full well" if well < top else "converter",
    )


def _ratio(signal: float, noise: float) -> float:
    """Infinite where there is no noise, and 0 where there is no signal either."""
    if noise == 0:
        return math.inf if signal > 0 else 0.0
    return signal / noise


def _checked(photons: Tensor) -> Tensor:
    check_tensor("photons", photons)
    light = photons.detach().to("cpu", torch.float64)
    if light.ndim != 1 or not len(light):
        raise ValueError(f"photons must be levels of light [N], not {list(light.shape)}")
    if not (light.isfinite() & (light >= 0)).all():
        raise ValueError("photons must be finite, photons/pixel, and not negative")
    return light


def _spread(pattern: Tensor | None) -> float:
    """Deviation of a pattern between pixels."""
    return 0.0 if pattern is None else float(pattern.double().std(correction=0))


def _codes(sensor: Sensor, electrons: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of the codes of a pixel, DN and DN^2, that gathers so many electrons.

    The ``offset``, electrons, comes after the full well.
    """
    variance = torch.zeros_like(electrons) if sensor.shot_noise == "none" else electrons
    pixels, noise = sensor.binning**2, sensor.read_noise**2
    well = math.inf if sensor.full_well is None else sensor.full_well
    held = pixels * electrons.clamp_max(well)
    codes, variances = _converted(sensor, held, pixels * variance + noise, offset)
    # What the wells cut off is no normal number any more.
    for at in ((variance > 0) & (electrons + _TAIL * variance.sqrt() > well)).nonzero():
        place = tuple(at.tolist())
        charges, parts = _cut_off(float(electrons[place]), well, pixels)
        code, spread = _converted(sensor, charges, torch.full_like(charges, noise), offset)
        codes[place] = parts @ code
        variances[place] = parts @ (spread + (code - codes[place]).square())
    return codes, variances


def _cut_off(electrons: float, well: float, pixels: int) -> tuple[Tensor, Tensor]:
    """Charges of pixels that are read as one, electrons, from full wells down, and their parts.

    Of normal numbers that are cut off, on a lattice: each lies between two of its points, and is
    divided among them so that its mean stays.
    """
    deviation = math.sqrt(electrons)
    step = deviation / _STEPS
    points = math.ceil(max(0.0, well - electrons + _TAIL * deviation) / step) + 2
    ends = (well - electrons) / deviation - torch.arange(-1, points, dtype=torch.float64) / _STEPS
    # What a number falls short of an end in the mean: of its slopes the differences are the parts.
    density = ends.square().div(-2).exp() / math.sqrt(2 * math.pi)
    short = ends * torch.special.ndtr(ends) + density
    short[0] = short[1] + 1 / _STEPS  # none is above the well
    parts = _STEPS * short.diff().diff()
    total = pixels * (len(parts) - 1) + 1
    together = torch.fft.irfft(torch.fft.rfft(parts, total) ** pixels, total)
    charges = pixels * well - step * torch.arange(total, dtype=torch.float64)
    likely = together > _UNLIKELY
    return charges[likely], together[likely]


def _converted(
    sensor: Sensor, charge: Tensor, variance: Tensor, offset: float
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the codes of a charge of each pixel, a normal number of electrons."""
    gain = float(sensor.gain)
    mean = (charge + sensor.binning**2 * offset) / gain + sensor.black_level
    variance = variance / gain**2
    if sensor.bit_depth is None:
        return _clipped(mean, variance, 0.0, float(sensor.top))
    return _rounded(mean, variance, sensor.top)


def _clipped(mean: Tensor, variance: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of a normal number that is clipped to an interval."""
    deviation = variance.sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    ends = [(end - mean).div(deviation).clamp(-_FAR, _FAR) for end in (low, high)]
    densities = [a.square().div(-2).exp() / math.sqrt(2 * math.pi) for a in ends]
    below, above = torch.special.ndtr(ends[0]), torch.special.ndtr(-ends[1])
    # About the mean of what is clipped, in its deviations.
    first = densities[0] - densities[1] + ends[0] * below + ends[1] * above
    second = 1 - below - above + ends[0] * densities[0] - ends[1] * densities[1]
    second = second + ends[0].square() * below + ends[1].square() * above
    moved = mean + deviation * first
    clipped = (second - first.square()).clamp_min(0) * deviation.square()
    return moved, clipped


def _rounded(mean: Tensor, variance: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of the code 0 to ``top`` that is nearest to a normal number."""
    deviation, mean = variance.sqrt().clamp_min(1e-12), mean + 0.5  # the code is k or more above k
    first, second = [], []
    for start in range(0, mean.numel(), _ROWS):
        part = slice(start, start + _ROWS)
        at, spread = mean.flatten()[part, None], deviation.flatten()[part, None]
        reach = _TAIL * spread.max()
        sure = (at - reach).floor().clamp(0, top)
        steps = sure + torch.arange(1, int((2 * reach).clamp_max(top)) + 3, dtype=torch.float64)
        reached = torch.special.ndtr((at - steps) / spread) * (steps <= top)
        first.append(sure[:, 0] + reached.sum(1))
        second.append(sure[:, 0].square() + ((2 * steps - 1) * reached).sum(1))
    codes, squares = torch.cat(first).view_as(mean), torch.cat(second).view_as(mean)
    return codes, (squares - codes.square()).clamp_min(0)
