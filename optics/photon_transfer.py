"""What a data sheet says of a sensor: its photon transfer curve, and the figures of EMVA 1288.

::

    photons ─► electrons, shot noise ─► full well ─► binning ─► gain, read noise ─► codes
               mean and variance are carried through, without a draw
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .mosaic import select
from .pixel import bin_pixels
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
# By so much light in float32 may miss the saturation that it is meant to be.
_ROUNDED = 1e-6


@dataclass(frozen=True)
class PhotonTransfer:
    """Mean and noise of a sensor against the light on a pixel, and what follows of them.

    Its channels are those of several quantum efficiencies, or the colours of a colour filter array
    whose pixels have a pattern; of other sensors there is one.
    """

    photons: Tensor = field(repr=False)
    """Light on a pixel, photons ``[N]``."""
    mean: Tensor = field(repr=False)
    """Mean code of each channel, DN ``[C, N]``, black level included."""
    variance: Tensor = field(repr=False)
    """Variance in time of a pixel's code, DN^2 ``[C, N]``: shot, dark, read, quantisation noise."""
    spatial_variance: Tensor = field(repr=False)
    """Variance between read-outs of their means, DN^2 ``[C, N]``: of the maps of PRNU and DSNU,
    together and binned as they are, before the ends of the range are reached."""
    dark_mean: Tensor
    """Mean code of each channel in the dark, DN ``[C]``."""
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
    """Electrons of a read-out that the saturation capacity is, those of the dark not among them;
    of the channel that has the fewest."""
    largest_snr: float
    """Noise in time alone, at the saturation capacity."""
    limit: str
    """What saturates first: ``full well`` or ``converter``."""

    @property
    def snr(self) -> Tensor:
        """Mean above the dark over the noise in time ``[C, N]``; 0 where there is neither.

        NaN beyond the saturation capacity, where noise is cut off as light is, and there is none.
        """
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
        signal = self.mean - self.dark_mean[:, None]
        ratio = torch.where(signal == 0, 0.0, signal / variance.sqrt())
        end = self.saturation[:, None] * (1 + _ROUNDED)
        return torch.where(self.photons > end, math.nan, ratio)

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
        For light that is not ``[N]``, finite and not negative; for maps of two sizes, of no whole
        blocks of the binning, or without a pixel of each colour.

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
    patterns = _patterns(sensor)
    # A measured map need not average 0: its mean is a part of the response, or of the dark.
    response, offset = torch.stack([each.mean(1) for each in patterns], 1)
    efficiency = torch.tensor(own if isinstance(own, tuple) else (own,), dtype=torch.float64)
    sensitivity = efficiency * response
    offset = offset.expand_as(sensitivity)
    gain, pixels = float(sensor.gain), sensor.binning**2
    shot = float(sensor.shot_noise != "none")
    dark = sensor.dark_current * sensor.exposure_time
    rounding = 0.0 if sensor.bit_depth is None else gain**2 / 12
    in_dark = sensor.read_noise**2 + shot * pixels * dark + rounding
    top = gain * (sensor.top - sensor.black_level) - pixels * offset
    well = math.inf if sensor.full_well is None else pixels * sensor.full_well
    saturated = (top.clamp_max(well) - pixels * dark).clamp_min(0)
    threshold = (shot / 2 + math.sqrt(shot / 4 + in_dark)) / (pixels * sensitivity)
    saturation = saturated / (pixels * sensitivity)
    if photons is None:
        ends = _LEAST * float(threshold.min()), _MOST * float(saturation.max())
        least, most = (math.log10(max(end, 1e-12)) for end in ends)
        photons = torch.logspace(least, most, _POINTS, dtype=torch.float64)
    light = _checked(photons)
    mean, variance = _codes(sensor, sensitivity[:, None] * light + dark, offset)
    dark_mean, _ = _codes(sensor, torch.full_like(offset, dark)[:, None], offset)
    fewest = float(saturated.min())
    return PhotonTransfer(
        photons=light,
        mean=mean,
        variance=variance,
        spatial_variance=_between(patterns, efficiency[:, None] * light) * (pixels / gain) ** 2,
        dark_mean=dark_mean[:, 0],
        dark_noise=math.sqrt(in_dark),
        system_gain=1 / gain,
        threshold=threshold,
        saturation=saturation,
        saturated_electrons=fewest,
        largest_snr=_ratio(fewest, math.sqrt(shot * fewest + in_dark)),
        limit="full well" if well < top.min() else "converter",
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


def _patterns(sensor: Sensor) -> list[Tensor]:
    """Response and offset ``[2, P]`` of each read-out, the means of its pixels.

    For each colour of a colour filter array; once where all channels have the same pixels.
    """
    maps = sensor.prnu_map, sensor.dsnu_map
    if maps == (None, None):
        return [torch.tensor([[1.0], [0.0]], dtype=torch.float64)]
    shapes = {tuple(each.shape) for each in maps if each is not None}
    if len(shapes) > 1:
        raise ValueError(f"the maps of prnu and dsnu are of one sensor, and not of {shapes} pixels")
    prnu, dsnu = (0.0 if each is None else each.to("cpu", torch.float64) for each in maps)
    deviations, offsets = torch.broadcast_tensors(*map(torch.as_tensor, (prnu, dsnu)))
    pattern = torch.stack([1 + deviations.clamp_min(-1), offsets])
    if sensor.cfa is None:
        return [bin_pixels(pattern[None], sensor.binning)[0].flatten(1) / sensor.binning**2]
    colours = torch.arange(len(sensor.cfa.channels))[:, None, None].expand(-1, *pattern.shape[1:])
    seen = select(colours[None], sensor.cfa.indices.cpu())[0, 0]
    parts = [pattern[:, seen == colour] for colour in range(len(colours))]
    if not all(part.numel() for part in parts):
        raise ValueError(
            f"the maps of prnu and dsnu are of {list(seen.shape)} pixels, and not all colours of "
            f"the cfa are among them: give at least {list(sensor.cfa.period)}"
        )
    return parts


def _between(patterns: list[Tensor], electrons: Tensor) -> Tensor:
    """Variance ``[C, N]`` of ``response electrons + offset`` between the read-outs of a channel."""
    squares = [pattern.cov(correction=0) for pattern in patterns]
    response, both, offset = torch.stack([each.flatten()[[0, 1, 3]] for each in squares], 1)[
        ..., None
    ]
    return (response * electrons.square() + 2 * both * electrons + offset).clamp_min(0)


def _codes(sensor: Sensor, electrons: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the codes of a pixel, DN and DN^2, that gathers so many electrons.

    Of each channel ``[C, N]``. The ``offset [C]``, electrons, comes after the full well.
    """
    variance = torch.zeros_like(electrons) if sensor.shot_noise == "none" else electrons
    pixels, noise = sensor.binning**2, sensor.read_noise**2
    well = math.inf if sensor.full_well is None else sensor.full_well
    held = pixels * electrons.clamp_max(well)
    codes, variances = _converted(sensor, held, pixels * variance + noise, offset[:, None])
    # What the wells cut off is no normal number any more.
    for at in ((variance > 0) & (electrons + _TAIL * variance.sqrt() > well)).nonzero():
        place = tuple(at.tolist())
        charges, parts = _cut_off(float(electrons[place]), well, pixels)
        code, spread = _converted(
            sensor, charges, torch.full_like(charges, noise), offset[place[0]]
        )
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
    sensor: Sensor, charge: Tensor, variance: Tensor, offset: Tensor
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
