"""Photon transfer curve of a sensor, and the figures of EMVA 1288 for its data sheet.

::

    photons ─► electrons, shot noise ─► full well ─► binning ─► gain, read noise ─► codes
               mean and variance are propagated, without random numbers
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from optics.quantity import check_tensor

from .mosaic import select
from .pixel import bin_pixels
from .sensor import Sensor

__all__ = ["PhotonTransfer", "photon_transfer"]

# Default range of light, as factors of the threshold and of saturation, and number of points.
_LEAST, _MOST, _POINTS = 0.1, 1.25, 65
# Levels whose codes are summed at once.
_ROWS = 64
# Standard deviations beyond which a normal distribution is 0 in float64, and negligible.
_FAR = 50.0
_TAIL = 9.0
# Steps per standard deviation in sums over charges, which raise the variance by 2e-5 of it, a sixth
# of their square; and the probability below which charges are left out.
_STEPS = 100
_UNLIKELY = 1e-16
# Tolerance for light that should be at saturation, given in float32.
_ROUNDED = 1e-6


@dataclass(frozen=True)
class PhotonTransfer:
    """Mean and noise of a sensor against the light on a pixel, and figures of merit.

    Light is in photons/pixel, codes are in DN, noise in the dark in electrons RMS. :attr:`snr`,
    :attr:`total_snr` and :attr:`largest_snr` are ratios of amplitudes: ``20 log10`` of one is in
    dB, as :attr:`dynamic_range` is. The C channels are those of several quantum efficiencies, or
    the colours of a colour filter array whose pixels have a fixed pattern; otherwise C is 1.
    """

    photons: Tensor = field(repr=False)
    """Light on a pixel, photons ``[N]``."""
    mean: Tensor = field(repr=False)
    """Mean code of each channel, DN ``[C, N]``, black level included."""
    variance: Tensor = field(repr=False)
    """Temporal variance of a pixel's code, DN^2 ``[C, N]``: shot, dark, read and quantisation
    noise."""
    spatial_variance: Tensor = field(repr=False)
    """Variance of the mean codes between pixels (after binning), DN^2 ``[C, N]``, due to the maps
    of PRNU and DSNU together, without clipping at the ends of the range."""
    snr: Tensor = field(repr=False)
    """Electrons of the light over the temporal noise ``[C, N]``, a ratio (not in dB), by the
    formula of the standard; 0 without light. The noise is not clipped: the ends of the range, which
    reduce :attr:`variance`, do not improve this ratio. NaN beyond the saturation capacity."""
    total_snr: Tensor = field(repr=False)
    """Electrons of the light over the temporal and spatial noise together ``[C, N]``, a ratio; 0,
    NaN and without clipping as :attr:`snr`."""
    dark_mean: Tensor
    """Mean code of each channel in the dark, DN ``[C]``."""
    dark_noise: float
    """Temporal noise of a read-out in the dark, quantisation included, electrons RMS."""
    system_gain: float
    """System gain K, DN per electron."""
    threshold: Tensor
    """Absolute sensitivity threshold of each channel: photons on a pixel with an SNR of 1
    ``[C]``."""
    saturation: Tensor
    """Saturation capacity of each channel: photons on a pixel that reach the full well or the top
    code, ``[C]``."""
    saturated_electrons: float
    """Saturation capacity in electrons of a read-out, without those of the dark current, for the
    channel that has the fewest."""
    largest_snr: float
    """SNR at the saturation capacity, with temporal noise only: a ratio, which is printed in dB."""
    limit: str
    """What saturates first: ``full well`` or ``converter``."""

    @property
    def dynamic_range(self) -> Tensor:
        """Saturation over threshold, dB (20 times the logarithm) ``[C]``."""
        return 20 * (self.saturation / self.threshold).log10()

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
    """Photon transfer curve and data sheet figures of a sensor, computed without random numbers.

    They hold for one exposure of the whole time, with the present gain of the sensor; call it
    within ``with sensor.under(photons):`` for the gain of another light level. The curve is that of
    the pixels, before demosaicing and before the colour matrix, which multiplies noise
    (:func:`optics.noise_amplification`).

    Parameters
    ----------
    sensor : Sensor
    photons : Tensor ``[N]``, photons/pixel, optional
        Light on a pixel; by default 65 values, evenly spaced in the logarithm, from a tenth of the
        lowest threshold to 1.25 times the saturation of the least sensitive channel.

    Returns
    -------
    PhotonTransfer
        In float64, on the CPU.

    Raises
    ------
    TypeError
        When the sensor is not a Sensor, or the light not a Tensor.
    ValueError
        For light that is not ``[N]``, finite and non-negative; for maps of different sizes, sizes
        that are not multiples of the binning, or maps without a pixel of each colour.

    Notes
    -----
    The figures are those of EMVA Standard 1288, release 4.0 linear (2021). With the variance in the
    dark ``s^2``, in electrons squared, the threshold is ``(1/2 + sqrt(1/4 + s^2)) / QE``, the
    dynamic range is saturation over threshold, and the SNR of ``e`` electrons of light is
    ``e / sqrt(e + s^2)``. Mean and variance of the curve are those of a normally distributed number
    of electrons that is clipped at the full well, summed over binned pixels, read with normal
    noise, rounded to codes and clipped at the ends of the range. They are summed numerically, and
    valid for counts above some ten.

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
    # The mean of a measured map may differ from 0: it belongs to the response, or to the dark.
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
    between = _between(patterns, efficiency[:, None] * light) * pixels**2
    signal = pixels * sensitivity[:, None] * light
    beyond = light > saturation[:, None] * (1 + _ROUNDED)
    snr, total_snr = (
        torch.where(signal == 0, 0.0, signal / noise.sqrt()).masked_fill(beyond, math.nan)
        for noise in (shot * signal + in_dark, shot * signal + in_dark + between)
    )
    return PhotonTransfer(
        photons=light,
        mean=mean,
        variance=variance,
        spatial_variance=between / gain**2,
        snr=snr,
        total_snr=total_snr,
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
    """Signal over noise; infinite without noise, and 0 without signal and noise."""
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
    """Response and offset ``[2, P]`` of each read-out, the means over its binned pixels.

    One tensor for each colour of a colour filter array; a single one where all channels have the
    same pixels.
    """
    maps = sensor.prnu_map, sensor.dsnu_map
    if maps == (None, None):
        return [torch.tensor([[1.0], [0.0]], dtype=torch.float64)]
    shapes = {tuple(each.shape) for each in maps if each is not None}
    if len(shapes) > 1:
        raise ValueError(f"the maps of prnu and dsnu must have the same size, not {shapes} pixels")
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
            f"the maps of prnu and dsnu have {list(seen.shape)} pixels, which do not include all "
            f"colours of the cfa: give at least {list(sensor.cfa.period)}"
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
    """Mean and variance of the codes, DN and DN^2 ``[C, N]``, for mean ``electrons`` on a pixel.

    The ``offset [C]``, electrons, is added after the full well.
    """
    variance = torch.zeros_like(electrons) if sensor.shot_noise == "none" else electrons
    pixels, noise = sensor.binning**2, sensor.read_noise**2
    well = math.inf if sensor.full_well is None else sensor.full_well
    held = pixels * electrons.clamp_max(well)
    codes, variances = _converted(sensor, held, pixels * variance + noise, offset[:, None])
    # Clipping at the full well makes the distribution non-normal.
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
    """Charges of binned pixels, electrons, from full wells down, and their probabilities.

    The clipped normal distribution of each pixel is put on a lattice: each value is divided between
    the two nearest points so that the mean is kept.
    """
    deviation = math.sqrt(electrons)
    step = deviation / _STEPS
    points = math.ceil(max(0.0, well - electrons + _TAIL * deviation) / step) + 2
    ends = (well - electrons) / deviation - torch.arange(-1, points, dtype=torch.float64) / _STEPS
    # Mean amount by which a number falls short of an end: its second differences are the parts.
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
    """Mean and variance of the codes of a normally distributed charge of each pixel."""
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
    # First and second moment about the unclipped mean, in standard deviations.
    first = densities[0] - densities[1] + ends[0] * below + ends[1] * above
    second = 1 - below - above + ends[0] * densities[0] - ends[1] * densities[1]
    second = second + ends[0].square() * below + ends[1].square() * above
    moved = (mean + deviation * first).clamp(low, high)  # on the end where no noise reaches it
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
