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

# Part of the codes that may be the highest: so many that are cut off make the gain 2 % too large.
_MOST_FULL = 0.01
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
    prnu_map: Tensor = field(repr=False)
    """Relative deviations ``[H, W]``. Noise that the mean of the frames has left is in it."""
    dsnu_map: Tensor = field(repr=False)
    """Offsets, electrons ``[H, W]``, of mean 0; likewise."""
    mean: Tensor = field(repr=False)
    """Mean code of each stack of flat frames, channel and colour above the dark, DN ``[P]``."""
    variance: Tensor = field(repr=False)
    """Variance in time of a pixel's code above that in the dark, DN^2 ``[P]``."""

    def __str__(self) -> str:
        rows = (
            ("gain", f"{self.gain:.4g} e-/DN (K {1 / self.gain:.4g} DN/e-)"),
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
        N raw frames, 2 or more, of a scene that is even and does not change; or E such stacks in
        different light, however much. Up to some 70 % of saturation: what is cut off has no noise.
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
        For frames of other shapes, fewer than two, or not finite; for flat frames without more
        light and more noise than the dark ones; for a step below 0, or as :func:`cfa_indices`.

    Warns
    -----
    UserWarning
        For flat frames of which more than 1 % of the codes are the highest of all, and more than
        are next to it: as of saturated light. What a full well cuts off in front of read noise of
        some DN is not seen so.

    Notes
    -----
    EMVA Standard 1288, release 4.0 linear (2021): the slope through the origin of variance over
    mean, both less those in the dark, is K; from the variance in the dark ``step**2 / 12`` of the
    rounding is taken; from the variance between pixels of a mean of N frames that in time over N.
    PRNU is that of the difference to the dark, all stacks added up, so that it need not be
    independent of DSNU.

    Rounding is noise of ``step**2 / 12`` only where the noise in the dark is half a step or more.
    Of less the read noise is found too small, or 0, and the gain, too: by up to ``step**2 / 12``
    over the variance of the flat frames, 2 % where their noise is of two steps.

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
    in_dark, black = _moments(dark)
    noise, signal = torch.stack([_moments(frames) for frames in lit], 1)  # [E, C, H, W]
    signal = signal - black
    mean, variance = (_of_colours(each, seen).flatten() for each in (signal, noise - in_dark))
    slope = (mean * variance).sum()
    if not ((mean > 0).all() and slope > 0):
        raise ValueError(
            "flat frames must have more light and more noise in time than the dark ones: mean "
            f"{mean.tolist()} DN and variance {variance.tolist()} DN^2 above these. Saturated ones "
            "have none"
        )
    _warn_of_saturation(lit, step, stacklevel=4)  # beyond that of no_grad
    gain = float(mean.square().sum() / slope)

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
        read_noise=gain * math.sqrt(max(0.0, float(in_dark.mean()) - step**2 / 12)),
        prnu=_spread(deviations, left / even.square(), means=len(seen)),
        dsnu=gain * _spread(offsets, left_in_dark / channels**2, means=1),
        prnu_map=deviations,
        dsnu_map=gain * offsets,
        mean=mean,
        variance=variance,
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


def _moments(frames: Tensor) -> Tensor:
    """Variance and mean in time ``[2, C, H, W]``."""
    moments = frames.new_empty(2, *frames.shape[1:], dtype=torch.float64)
    for part, rows in zip(moments.split(_ROWS, -2), _rows(frames), strict=True):
        part[0], part[1] = torch.var_mean(rows, 0)
    return moments


def _warn_of_saturation(lit: Tensor, step: float, *, stacklevel: int) -> None:
    """Warn of stacks whose codes pile up at their end, as those of light with noise do not."""
    top = max(float(rows.max()) for rows in _rows(lit))
    for stack, frames in enumerate(lit):
        full = sum(int((rows == top).sum()) for rows in _rows(frames))
        near = sum(int((rows >= top - 1.5 * step).sum()) for rows in _rows(frames))
        # A tail of noise has fewer than the code below, unless rounding hides the noise.
        if full - 1 > _MOST_FULL * frames.numel() and full > near - full:
            warnings.warn(
                f"{100 * full / frames.numel():.3g} % of the codes of flat stack {stack} are the "
                f"highest, {top:g} DN: saturated light, or of noise well below a step, does not "
                "show the noise by which the gain is told; leave it out",
                UserWarning,
                stacklevel=stacklevel,
            )


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
