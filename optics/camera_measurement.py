"""A sensor measured by its frames: the photon transfer method of EMVA 1288.

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

from .mosaic import Pattern, cfa_indices, select
from .quantity import check_finite, check_tensor, one_number

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
# Rows that are held in float64 at once.
_ROWS = 64


@dataclass(frozen=True)
class SensorMeasurement:
    """What frames say of a sensor, by the names and in the units of :class:`optics.Sensor`."""

    gain: float
    """Electrons for one DN, the inverse of the system gain K."""
    black_level: float
    """Mean code in the dark, DN."""
    read_noise: float
    """Noise in the dark, without its rounding, electrons RMS; shot noise of dark current is in
    it."""
    prnu: float
    """Spread of the pixels' sensitivities, fraction RMS."""
    dsnu: float
    """Spread of the pixels' offsets, electrons RMS."""
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
        )
        return "\n".join(f"{name:<11} {told}" for name, told in rows)


@torch.no_grad()
def measure_sensor(
    flat: Tensor,
    dark: Tensor,
    *,
    cfa: Pattern | None = None,
    cfa_channels: str = "rgb",
    step: float = 1.0,
) -> SensorMeasurement:
    """Gain, read noise and fixed patterns of a sensor, by frames of even light and of none.

    Parameters
    ----------
    flat : Tensor ``[N, C, H, W]`` or ``[E, N, C, H, W]``, DN
        N raw frames, 2 or more, of a scene that is even and does not change, but for the light of
        all of it by some per cent; or E such stacks in different light, however much. Up to some
        70 % of saturation: what is cut off has no noise.
    dark : Tensor ``[M, C, H, W]``, DN
        M raw frames, 2 or more, without light, of the same exposure time. With a black level of
        some read noises: below 0 noise is cut off, too.
    cfa : str, rows of letters, or Tensor ``[h, w]``, optional
        Of mosaics, C = 1: light is even within a colour. Several channels are of the same pixels,
        as those of a simulated sensor.
    cfa_channels : str
        A letter for each colour.
    step : float, DN
        Of the converter's rounding; 0 for codes that are not rounded.

    Returns
    -------
    SensorMeasurement
        In float64, on the device of the frames. Its maps are for ``Sensor(prnu=..., dsnu=...)``.

    Raises
    ------
    TypeError
        For frames that are no Tensor, a step that is no number, or as :func:`cfa_indices`.
    ValueError
        For frames of other shapes, fewer than two, or not finite; of fewer than two pixels of a
        colour; for flat frames without more light and more noise than the dark ones; for a step
        below 0, or as :func:`cfa_indices`.

    Warns
    -----
    UserWarning
        For flat frames of which more than 1 % of the codes are the highest, and more than are next
        to it, as of saturated light; or whose variance over mean is more than 10 %, and five
        standard errors, below that of darker stacks, as of a full well in front of read noise,
        which a single stack does not show. Up to 1 % of the pixels may be stuck above.

        For light that is uneven and changes between frames, so much that over 1 % of the variance
        is of it. For dark frames with more than 1 % of the codes at the lowest, likewise; or with
        noise below about half a step.

    Notes
    -----
    EMVA Standard 1288, release 4.0 linear (2021): the slope through the origin of variance over
    mean, both less those in the dark, is K; from the variance in the dark ``step**2 / 12`` of the
    rounding is taken; from the variance between pixels of a mean of N frames that in time over N.
    PRNU is that of the difference to the dark, all stacks added up, so that it need not be
    independent of DSNU.

    A lamp that is unsteady changes all pixels of a frame, by more than the noise of their mean.
    So each frame's mean is taken off first, of each colour its own: the variance in time is the sum
    of the squares that are left over ``(N - 1) (P - 1)``, of P pixels. Of two frames that is half
    the variance, over the pixels, of their difference (Janesick, "Photon Transfer", 2007); half
    its mean square, as in release 3.1 of the standard, has the lamp in it.

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
    lit = _checked("flat", flat, (4, 5), "[N, C, H, W] or [E, N, C, H, W]")
    _checked("dark", dark, (4,), "[M, C, H, W]")
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
            f"frames of {list(dark.shape[2:])} must have two pixels or more of each colour: noise "
            "is told from the lamp's by what not all pixels do"
        )
    in_dark, black, _ = _moments(dark, seen)
    noise, signal, unsteady = torch.stack([_moments(frames, seen) for frames in lit], 1)
    signal = signal - black  # [E, C, H, W]
    mean, variance = (_of_colours(each, seen) for each in (signal, noise - in_dark))
    slope = (mean * variance).sum()
    if not ((mean > 0).all() and slope > 0):
        raise ValueError(
            "flat frames must have more light and more noise in time than the dark ones: mean "
            f"{mean.flatten().tolist()} DN and variance {variance.flatten().tolist()} DN^2 above "
            "these. Saturated ones have none"
        )
    read_variance = float(in_dark.mean()) - step**2 / 12
    left_over = noise / lit.shape[1] + in_dark / len(dark)  # noise in the means of the frames
    uneven = _of_colours(signal.square() - left_over, seen) / mean.square() - 1
    drift = _of_colours(unsteady, seen)
    # Of a variance the variance is twice its square over the degrees of freedom.
    of_noise, of_dark = (
        2 * _of_colours(each, seen).square() / (frames - 1) / (seen.sum((1, 2)) - 1)
        for each, frames in ((noise, lit.shape[1]), (in_dark, len(dark)))
    )
    for told in (
        *_saturated(lit, mean, variance, of_noise + of_dark, step),
        *_unsteady(mean, variance, uneven, drift),
        *_cut_off_or_coarse(dark, read_variance, step),
    ):
        warnings.warn(told, UserWarning, stacklevel=3)  # beyond that of no_grad
    gain = float(mean.square().sum() / slope)
    # What few photons do to mean and variance leaves their ratio, as all cumulants of Poisson's are
    # equal; what noise in the dark does to the mean does not. All stacks have one dark taken off.
    of_mean = _of_colours(in_dark, seen) / seen.sum((1, 2)) / gain**2
    of_slope = (mean.square() * (of_noise + of_mean / lit.shape[1])).sum() + (
        mean.sum(0).square() * (of_dark + of_mean / len(dark))
    ).sum()

    # What the mean of the frames has left of the noise in time.
    left_in_dark = in_dark.sum(0) / len(dark)
    left = noise.sum((0, 1)) / lit.shape[1] + len(lit) ** 2 * left_in_dark
    together = signal.sum((0, 1))
    even = _of_colours(together, seen)[seen.byte().argmax(0)]
    deviations = together / even - 1
    channels = len(black)
    offsets = black.mean(0)
    level = float(offsets.mean())
    offsets = offsets - level
    return SensorMeasurement(
        gain=gain,
        black_level=level,
        read_noise=gain * math.sqrt(max(0.0, read_variance)),
        prnu=_spread(deviations, left / even.square(), means=len(seen)),
        dsnu=gain * _spread(offsets, left_in_dark / channels**2, means=1),
        gain_error=gain * float(of_slope.sqrt() / slope),
        prnu_map=deviations,
        dsnu_map=gain * offsets,
        mean=mean.flatten(),
        variance=variance.flatten(),
    )


def _checked(name: str, frames: Tensor, dimensions: tuple[int, ...], shape: str) -> Tensor:
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
    """Blocks of rows in float64, in which a whole stack is large."""
    return (rows.double() for rows in frames.split(_ROWS, -2))


def _moments(frames: Tensor, seen: Tensor) -> Tensor:
    """Variance and mean in time of each pixel, and variance of its colour's mean ``[3, C, H, W]``.

    The first is about the mean of each frame's colour, as if that were the same in all frames.
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
    """What is to be told of stacks that are cut off, or whose noise falls as of a full well."""
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
                "DN: saturated light, or of noise well below a step, does not show the noise by "
                "which the gain is told; leave it out"
            )
        elif fallen[stack].any():
            share = (variance / expected)[stack][fallen[stack]].min()
            yield (
                f"variance over mean of flat stack {stack} is {float(share):.3g} of that of darker "
                "ones: as of light that a full well cuts off, in front of the read noise; leave "
                "it out"
            )


def _unsteady(mean: Tensor, variance: Tensor, uneven: Tensor, drift: Tensor) -> Iterator[str]:
    """What is to be told of changes of the light that the means of frames do not take off."""
    left = (uneven * drift / variance).amax((1, 2))
    change = (drift.sqrt() / mean).amax((1, 2))
    for stack in (left > _MOST_UNSTEADY).nonzero().flatten().tolist():
        yield (
            f"light of flat stack {stack} changes by {100 * float(change[stack]):.2g} % RMS "
            "between frames, and as it is not even, with the pixel: "
            f"{100 * float(left[stack]):.2g} % of the variance in time is of it, and the gain is "
            "so much too small; let the lamp settle, or give the cfa of a mosaic"
        )


def _cut_off_or_coarse(dark: Tensor, read_variance: float, step: float) -> Iterator[str]:
    """What is to be told of dark frames whose noise the codes do not show."""
    if read_variance < (_LEAST_DITHER * step) ** 2:
        yield (
            "noise in the dark is below half a step, or cut off: the rounding hides it, and read "
            f"noise is known to some {0.4 * step:.2g} DN only; measure with more gain"
        )
        return
    bottom = _highest(dark, -1)
    if cut := _piled_up(dark, bottom, -1, step):
        yield (
            f"{100 * cut:.3g} % of the dark codes are the lowest, {0.0 - bottom:g} DN: noise below "
            "is cut off, and black level, read noise and DSNU are wrong; raise the black level"
        )


def _highest(frames: Tensor, sign: int) -> float:
    """Highest code times a sign, but for 1 % of the pixels, which may be stuck above."""
    highest = torch.cat([(sign * rows).amax(0).flatten() for rows in _rows(frames)])
    return float(highest.kthvalue(len(highest) - int(_MOST_CUT * len(highest))).values)


def _piled_up(frames: Tensor, end: float, sign: int, step: float) -> float:
    """Part of the codes, times a sign, that are at their end and pile up there; 0 if they do not.

    A tail of noise has fewer than the code below, but for three standard errors, unless rounding
    hides the noise.
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
    """Which pixels see a colour ``[G, H, W]``; of no mosaic there is one."""
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


def _of_colours(values: Tensor, seen: Tensor) -> Tensor:
    """Means over the pixels of each colour, ``[..., H, W]`` to ``[..., G]``."""
    return torch.stack([values[..., own].mean(-1) for own in seen], -1)


def _spread(pattern: Tensor, noise: Tensor, *, means: int) -> float:
    """Deviation of a pattern about so many means, without that of its noise."""
    variance = pattern.square().sum() / max(1, pattern.numel() - means) - noise.mean()
    return math.sqrt(max(0.0, float(variance)))
