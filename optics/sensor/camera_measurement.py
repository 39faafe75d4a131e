"""Measurement of a sensor from its frames: the photon transfer method of EMVA 1288.

::

    flat frames ─► mean, variance in time ─┐
                                           ├─ less the dark ─► variance / mean ─► gain
    dark frames ─► mean, variance in time ─┘                 ─► maps, and their spread: PRNU, DSNU
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from optics.quantity import check_finite, check_tensor, one_number

from .mosaic import Pattern, cfa_indices, select
from .nonuniformity import Nonuniformity, defective, nonuniformity, of_colours, spread

__all__ = ["SensorMeasurement", "measure_sensor"]

# Part of the codes that may be at an end: so many that are cut off make the gain 2 % too large.
_MOST_CUT = 0.01
# Codes next to the end, beyond it, for each one at it: of stuck pixels, not of noise.
_MOST_BEYOND = 1e-4
# Part of the noise that an unsteady lamp may add.
_MOST_UNSTEADY = 0.01
# Part that variance over mean may fall by from darker stacks to brighter ones; of many sensors it
# does by some per cent, for neighbours share the charge of a full pixel.
_MOST_FALLEN = 0.1
# Noise in the dark, in steps, of which rounding is noise of step^2 / 12 to 4 % of the read noise.
_LEAST_DITHER = 0.45
# Part of the variance of a pattern that comes from defective pixels, or from the positions in a
# mosaic; periods of mosaics, and pixels at each position that make its mean no chance.
_MOST_DEFECTIVE, _MOST_PERIODIC = 0.5, 0.5
_PERIODS, _LEAST_PLACES = (2, 4, 6), 16
# Rows that are held in float64 at once.
_ROWS = 64


@dataclass(frozen=True)
class SensorMeasurement:
    """Parameters of a sensor, measured from frames, with the names and units of `optics.Sensor`."""

    gain: float
    """Electrons per DN, the inverse of the system gain K."""
    black_level: float
    """Mean code in the dark, DN."""
    read_noise: float
    """Temporal noise in the dark without quantisation noise, electrons RMS. It includes the shot
    noise of the dark current."""
    prnu: float
    """Spread of the pixels' sensitivities, fraction RMS, defective pixels included."""
    dsnu: float
    """Spread of the pixels' offsets, electrons RMS, defective pixels included."""
    prnu_parts: Nonuniformity
    """PRNU without the defective pixels, and its parts, fractions RMS."""
    dsnu_parts: Nonuniformity
    """DSNU without the defective pixels, and its parts, electrons RMS."""
    defects: Tensor = field(repr=False)
    """Which pixels are defective ``[H, W]``: offset or sensitivity is more than six robust standard
    deviations, by the median absolute deviation, from the median of the colour."""
    gain_error: float
    """Standard error of the gain by the noise of the frames, electrons for one DN."""
    prnu_map: Tensor = field(repr=False)
    """Relative deviations ``[H, W]``. Noise that the mean of the frames has left is in it."""
    dsnu_map: Tensor = field(repr=False)
    """Offsets, electrons ``[H, W]``, of mean 0; likewise."""
    mean: Tensor = field(repr=False)
    """Mean code of each stack of flat frames, channel and colour above the dark, DN ``[P]``."""
    variance: Tensor = field(repr=False)
    """Variance in time of a pixel's code above that in the dark, DN^2 ``[P]``; what whole frames
    change by is not in it."""

    def __str__(self) -> str:
        rows = (
            (
                "gain",
                f"{self.gain:.4g} +- {self.gain_error:.2g} e-/DN (K {1 / self.gain:.4g} DN/e-)",
            ),
            ("black level", f"{self.black_level:.2f} DN"),
            ("read noise", f"{self.read_noise:.3g} e- RMS"),
            ("PRNU", f"{100 * self.prnu:.3g} %"),
            ("DSNU", f"{self.dsnu:.3g} e- RMS"),
            (
                "defects",
                f"{int(self.defects.sum())} of {self.defects.numel()} pixels; without them",
            ),
            ("  PRNU", _parts(self.prnu_parts, 100, "%")),
            ("  DSNU", _parts(self.dsnu_parts, 1, "e- RMS")),
        )
        return "\n".join(f"{name:<11} {told}" for name, told in rows)


def _parts(found: Nonuniformity, scale: float, unit: str) -> str:
    total, *parts = (f"{scale * each:.3g}" for each in found)
    return f"{total} {unit}: row {parts[0]}, column {parts[1]}, pixel {parts[2]}"


@torch.no_grad()
def measure_sensor(
    flat: Tensor,
    dark: Tensor,
    *,
    cfa: Pattern | None = None,
    cfa_channels: str = "rgb",
    step: float = 1.0,
) -> SensorMeasurement:
    """Gain, read noise and fixed patterns of a sensor, measured from flat and dark frames.

    Parameters
    ----------
    flat : Tensor ``[N, C, H, W]`` or ``[E, N, C, H, W]``, DN
        N raw frames, 2 or more, of a uniform scene that does not change, except that the light as a
        whole may vary by some per cent; or E such stacks at any different light levels. Stay below
        some 70 % of saturation: clipped codes have no noise.
    dark : Tensor ``[M, C, H, W]``, DN
        M raw frames, 2 or more, without light, with the same exposure time. The black level should
        be some read noises: noise below code 0 is clipped, too.
    cfa : str, rows of letters, or Tensor ``[h, w]``, optional
        Colour filter array of mosaics, with C = 1: the light is uniform within each colour. Without
        it, several channels belong to the same pixels, as those of a simulated sensor.
    cfa_channels : str
        One letter for each colour.
    step : float, DN
        Quantisation step of the codes; 0 if they are not rounded.

    Returns
    -------
    SensorMeasurement
        In float64, on the device of the frames. Its maps are for ``Sensor(prnu=..., dsnu=...)``.

    Raises
    ------
    TypeError
        For frames that are not a Tensor, a step that is not a number, or as :func:`cfa_indices`.
    ValueError
        For frames of the wrong shape, fewer than two frames, or values that are not finite; fewer
        than two pixels of a colour; flat frames without more light and more noise than the dark
        ones; a step below 0, or as :func:`cfa_indices`.

    Warns
    -----
    UserWarning
        For saturated flat frames: more than 1 % of the codes are the highest, and more than the
        code next to it has; or variance over mean is more than 10 %, and more than five standard
        errors, below that of darker stacks, as with a full well in front of the read noise, which a
        single stack does not show. Up to 1 % of the pixels may be stuck above.

        For light that is not uniform and changes between frames, if more than 1 % of the variance
        comes from it. For dark frames with more than 1 % of the codes at the lowest, in the same
        way, or with noise below about half a step.

        Without a cfa, if most of the variance between pixels comes from their positions in blocks
        of 2, 4 or 6 pixels: colours of a mosaic, which are not PRNU, or read-out channels. For a
        PRNU or DSNU most of whose variance comes from defective pixels.

    Notes
    -----
    The method is that of EMVA Standard 1288, release 4.0 linear (2021). K is the slope through the
    origin of variance over mean, both minus those in the dark. The quantisation noise
    ``step**2 / 12`` is subtracted from the variance in the dark, and the temporal variance over N
    from the variance between pixels of a mean of N frames. PRNU is that of the difference between
    flat and dark frames, all stacks added, so that it need not be independent of DSNU. Both are
    split into rows, columns and pixels as in the standard, by the variances of the pixels, of the
    means of rows and of the means of columns; here with the degrees of freedom of an analysis of
    variance, so that few rows give no bias. The squares of the parts add up to that of the total,
    up to one part in the number of rows or columns.

    An unsteady lamp changes all pixels of a frame together, by more than the noise of their mean.
    The mean of each frame, for each colour, is therefore subtracted first: the temporal variance is
    the sum of the remaining squares over ``(N - 1) (P - 1)``, with P pixels. For two frames that is
    half the variance, over the pixels, of their difference (Janesick, "Photon Transfer", 2007);
    half the mean square, as in release 3.1 of the standard, includes the lamp.

    Rounding is noise of ``step**2 / 12`` where the noise in front of it is half a step or more. Of
    less it is anything from 0, of a level in the middle of a code, to ``step**2 / 4``, of one
    between two codes. So the square of the read noise is found too small by up to ``step**2 / 12``,
    or too large by up to ``step**2 / 6``, and with it the gain, by these over the variance of the
    flat frames: 2 % too small to 4 % too large where their noise is of two steps.

    Examples
    --------
    >>> import optics
    >>> draw = torch.Generator().manual_seed(0)
    >>> camera = optics.Sensor(5000, gain=1.5, read_noise=4.0, bit_depth=12, black_level=32)
    >>> frames = [camera.codes(torch.full((16, 1, 64, 64), e), generator=draw) for e in (0.8, 0.0)]
    >>> found = measure_sensor(*frames)
    >>> round(found.gain, 1), round(found.read_noise)
    (1.5, 4)
    """
    lit = checked_frames("flat", flat, (4, 5), "[N, C, H, W] or [E, N, C, H, W]")
    checked_frames("dark", dark, (4,), "[M, C, H, W]")
    if lit.shape[2:] != dark.shape[1:]:
        raise ValueError(
            f"flat and dark must be frames of one sensor, [C, H, W], not {list(lit.shape[2:])} "
            f"and {list(dark.shape[1:])}"
        )
    step = one_number("step", step, "DN")
    if not 0 <= step < math.inf:
        raise ValueError(f"step={step!r} is out of range; give DN, 0 or more")
    seen = _colours(cfa, cfa_channels, dark)
    if (seen.sum((1, 2)) < 2).any():
        raise ValueError(
            f"frames of {list(dark.shape[2:])} must have two pixels or more of each colour, to "
            "separate their noise from changes of the lamp"
        )
    in_dark, black, _ = moments(dark, seen)
    noise, signal, unsteady = torch.stack([moments(frames, seen) for frames in lit], 1)
    signal = signal - black  # [E, C, H, W]
    mean, variance = (of_colours(each, seen) for each in (signal, noise - in_dark))
    slope = (mean * variance).sum()
    if not ((mean > 0).all() and slope > 0):
        raise ValueError(
            "flat frames must have more light and more noise in time than the dark ones: mean "
            f"{mean.flatten().tolist()} DN and variance {variance.flatten().tolist()} DN^2 above "
            "these. Saturated frames have no noise"
        )
    read_variance = float(in_dark.mean()) - step**2 / 12
    left_over = noise / lit.shape[1] + in_dark / len(dark)  # noise in the means of the frames
    uneven = of_colours(signal.square() - left_over, seen) / mean.square() - 1
    drift = of_colours(unsteady, seen)
    # The variance of a variance is twice its square over the degrees of freedom.
    of_noise, of_dark = (
        2 * of_colours(each, seen).square() / (frames - 1) / (seen.sum((1, 2)) - 1)
        for each, frames in ((noise, lit.shape[1]), (in_dark, len(dark)))
    )
    for told in (
        *_saturated(lit, mean, variance, of_noise + of_dark, step),
        *_unsteady(mean, variance, uneven, drift),
        *dark_faults(dark, read_variance, step),
    ):
        warnings.warn(told, UserWarning, stacklevel=3)  # beyond that of no_grad
    gain = float(mean.square().sum() / slope)
    # With few photons, errors of mean and variance cancel in their ratio, as all cumulants of a
    # Poisson distribution are equal; the error of the mean due to dark noise does not. All stacks
    # share the same subtracted dark.
    of_mean = of_colours(in_dark, seen) / seen.sum((1, 2)) / gain**2
    of_slope = (mean.square() * (of_noise + of_mean / lit.shape[1])).sum() + (
        mean.sum(0).square() * (of_dark + of_mean / len(dark))
    ).sum()

    # Temporal noise that remains in the mean of the frames.
    left_in_dark = in_dark.sum(0) / len(dark)
    left = noise.sum((0, 1)) / lit.shape[1] + len(lit) ** 2 * left_in_dark
    together = signal.sum((0, 1))
    of_colour = of_colours(together, seen)
    even = of_colour[seen.byte().argmax(0)]
    deviations = together / even - 1
    channels = len(black)
    offsets = black.mean(0)
    level = float(offsets.mean())
    offsets = offsets - level
    left, left_in_dark = left / even.square(), left_in_dark / channels**2
    rounded = step**2 / 12
    defects = defective(offsets, seen, (of_colours(left_in_dark, seen) + rounded).sqrt())
    defects |= defective(
        deviations, seen, (of_colours(left, seen) + rounded / of_colour.square()).sqrt()
    )
    prnu = spread(deviations, left, means=len(seen))
    dsnu = gain * spread(offsets, left_in_dark, means=1)
    prnu_parts = nonuniformity(deviations, left, seen, ~defects)
    one = torch.ones_like(seen[:1])
    dsnu_parts = nonuniformity(gain * offsets, gain**2 * left_in_dark, one, ~defects)
    for told in (
        *_periodic(together if cfa is None else together[:0]),
        *_stuck("PRNU", 100 * prnu, 100 * prnu_parts.total, "%", 1e4 * left, defects),
        *_stuck("DSNU", dsnu, dsnu_parts.total, "e-", gain**2 * left_in_dark, defects),
    ):
        warnings.warn(told, UserWarning, stacklevel=3)
    return SensorMeasurement(
        gain=gain,
        black_level=level,
        read_noise=gain * math.sqrt(max(0.0, read_variance)),
        prnu=prnu,
        dsnu=dsnu,
        prnu_parts=prnu_parts,
        dsnu_parts=dsnu_parts,
        defects=defects,
        gain_error=gain * float(of_slope.sqrt() / slope),
        prnu_map=deviations,
        dsnu_map=gain * offsets,
        mean=mean.flatten(),
        variance=variance.flatten(),
    )


def checked_frames(name: str, frames: Tensor, dimensions: tuple[int, ...], shape: str) -> Tensor:
    """Frames as stacks ``[E, N, C, H, W]``."""
    check_tensor(name, frames)
    if frames.ndim not in dimensions or frames.shape[-4] < 2 or not frames.numel():
        raise ValueError(
            f"{name} must be {shape}, raw codes of two frames or more, not {list(frames.shape)}"
        )
    if frames.is_complex():
        raise ValueError(f"{name} must be real, DN, not {frames.dtype}")
    check_finite(name, frames, "DN")
    return frames if frames.ndim == 5 else frames[None]


def _rows(frames: Tensor) -> Iterator[Tensor]:
    """Blocks of rows in float64, to save memory."""
    return (rows.double() for rows in frames.split(_ROWS, -2))


def moments(frames: Tensor, seen: Tensor) -> Tensor:
    """Temporal variance and mean of each pixel, and variance of its colour's mean ``[3, C, H, W]``.

    The first is computed after subtracting the mean of each colour in each frame.
    """
    pixels = seen.sum((1, 2))
    own = seen.byte().argmax(0)
    levels = torch.zeros(*frames.shape[:2], len(seen), dtype=torch.float64, device=frames.device)
    for rows, colours in zip(_rows(frames), _rows(seen), strict=True):
        levels += torch.einsum("nchw, ghw -> ncg", rows, colours)
    levels = (levels - levels.mean(0)) / pixels
    moments = frames.new_empty(3, *frames.shape[1:], dtype=torch.float64)
    for part, rows, colour in zip(
        moments.split(_ROWS, -2), _rows(frames), own.split(_ROWS), strict=True
    ):
        part[0], part[1] = torch.var_mean(rows - levels[..., colour], 0)
    moments[0] *= (pixels / (pixels - 1))[own]
    moments[2] = levels.var(0)[..., own]
    return moments


def _saturated(
    lit: Tensor, mean: Tensor, variance: Tensor, error: Tensor, step: float
) -> Iterator[str]:
    """Warnings of stacks that are clipped, or whose noise falls as with a full well."""
    top = max(_highest(frames, 1) for frames in lit)
    darker = (mean[None] < mean[:, None]).double()  # [E, E, C, G]: than the first
    weights = darker * mean
    power = (weights * mean).sum(1)
    slope = (weights * variance).sum(1) / power  # NaN of the darkest
    expected = mean * slope
    error = error + (weights.square() * error).sum(1) * (mean / power).square()
    fallen = expected - variance > _MOST_FALLEN * expected + 5 * error.sqrt()
    for stack, frames in enumerate(lit):
        if full := _piled_up(frames, top, 1, step):
            yield (
                f"{100 * full:.3g} % of the codes of flat stack {stack} are the highest, {top:g} "
                "DN: saturated light, or of noise well below a step, does not show the noise "
                "that gives the gain; leave it out"
            )
        elif fallen[stack].any():
            share = (variance / expected)[stack][fallen[stack]].min()
            yield (
                f"variance over mean of flat stack {stack} is {float(share):.3g} of that of darker "
                "ones, as if pixels reach a full well in front of the read noise; leave it out"
            )


def _unsteady(mean: Tensor, variance: Tensor, uneven: Tensor, drift: Tensor) -> Iterator[str]:
    """Warnings of changes of the light that subtracting the means of frames does not remove."""
    left = (uneven * drift / variance).amax((1, 2))
    change = (drift.sqrt() / mean).amax((1, 2))
    for stack in (left > _MOST_UNSTEADY).nonzero().flatten().tolist():
        yield (
            f"light of flat stack {stack} changes by {100 * float(change[stack]):.2g} % RMS "
            "between frames, and is not uniform over the pixels: "
            f"{100 * float(left[stack]):.2g} % of the temporal variance comes from it, and the "
            "gain is too small by as much; let the lamp settle, or give the cfa of a mosaic"
        )


def dark_faults(dark: Tensor, read_variance: float, step: float) -> Iterator[str]:
    """Warnings of dark frames whose noise is hidden by rounding or clipping."""
    if read_variance < (_LEAST_DITHER * step) ** 2:
        yield (
            "noise in the dark is below half a step, or clipped: the rounding hides it, and the "
            f"read noise is known to some {0.4 * step:.2g} DN only; measure with more gain"
        )
        return
    bottom = _highest(dark, -1)
    if cut := _piled_up(dark, bottom, -1, step):
        yield (
            f"{100 * cut:.3g} % of the dark codes are the lowest, {0.0 - bottom:g} DN: noise below "
            "is clipped, and black level, read noise and DSNU are wrong; raise the black level"
        )


def _periodic(signal: Tensor) -> Iterator[str]:
    """Warning of a map ``[H, W]`` most of whose variance comes from positions in a block."""
    for period in _PERIODS:
        if min(signal.shape) < period or signal.numel() < _LEAST_PLACES * period**2:
            continue
        y, x = (torch.arange(n, device=signal.device) % period for n in signal.shape)
        place = (period * y[:, None] + x).flatten()
        count = torch.bincount(place)
        means = torch.bincount(place, signal.flatten()) / count
        rest = (signal.flatten() - means[place]).square().sum() / (len(place) - len(count))
        if rest < (1 - _MOST_PERIODIC) * signal.var():
            yield (
                f"{100 * float(1 - rest / signal.var()):.3g} % of the variance between pixels "
                f"comes from their positions in blocks of {period} x {period}: the colours of a "
                "mosaic, which are not PRNU (then give its cfa), or several read-out channels"
            )
            return


def _stuck(
    name: str, every: float, sound: float, unit: str, noise: Tensor, defects: Tensor
) -> Iterator[str]:
    """Warning of a spread that comes mostly from defective pixels, and not from noise."""
    chance = 5 * float(noise.mean()) * math.sqrt(2 / noise.numel())
    if defects.any() and (1 - _MOST_DEFECTIVE) * every**2 > sound**2 and every**2 > chance:
        yield (
            f"{name} of {every:.3g} {unit} comes mostly from {int(defects.sum())} defective pixels "
            f"of {defects.numel()}, and is {sound:.3g} {unit} without them: use "
            f"{name.lower()}_parts, and treat the pixels of defects separately"
        )


def _highest(frames: Tensor, sign: int) -> float:
    """Highest code times a sign, ignoring 1 % of the pixels, which may be stuck above."""
    highest = torch.cat([(sign * rows).amax(0).flatten() for rows in _rows(frames)])
    return float(highest.kthvalue(len(highest) - int(_MOST_CUT * len(highest))).values)


def _piled_up(frames: Tensor, end: float, sign: int, step: float) -> float:
    """Fraction of the codes, times a sign, that pile up at their end; 0 if they do not.

    The tail of noise has fewer codes at the end than at the code below, within three standard
    errors, unless rounding hides the noise.
    """
    at = below = beyond = 0
    for rows in _rows(frames):
        past = sign * rows - end
        near = past.abs() <= 1.5 * step
        at += int((past == 0).sum())
        below += int((near & (past < 0)).sum())
        beyond += int((near & (past > 0)).sum())
    many = at > _MOST_CUT * frames.numel()
    more = at - below > 3 * math.sqrt(at + below)
    return at / frames.numel() if many and more and beyond <= _MOST_BEYOND * at else 0.0


def _colours(cfa: Pattern | None, channels: str, frames: Tensor) -> Tensor:
    """Masks of the pixels of each colour ``[G, H, W]``; a single one without a mosaic."""
    size = frames.shape[-2:]
    if cfa is None:
        return torch.ones(1, *size, dtype=torch.bool, device=frames.device)
    indices = cfa_indices(cfa, channels=channels).to(frames.device)
    if frames.shape[1] != 1 or size[0] < indices.shape[0] or size[1] < indices.shape[1]:
        raise ValueError(
            f"mosaics must be frames [1, H, W] of at least {list(indices.shape)} pixels, not "
            f"{list(frames.shape[1:])}"
        )
    colours = torch.arange(len(channels), device=frames.device)[:, None, None]
    return select(colours.expand(-1, *size)[None], indices)[0] == colours
