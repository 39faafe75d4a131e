"""Dark current of a sensor from dark frames of several exposure times, after EMVA 1288.

::

    dark frames of each time ─► mean, variance in time ─► a line over the time ─► electrons/s
"""

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from optics.quantity import check_finite, check_tensor, one_number

from .camera_measurement import checked_frames, dark_faults, moments

__all__ = ["DarkCurrent", "measure_dark_current"]

# Times that a line and the scatter about it take.
_LEAST_TIMES = 3


class DarkCurrent(NamedTuple):
    """Result of :func:`measure_dark_current`, by two methods that agree if both hold."""

    from_mean: float
    """Dark current from the increase of the mean, electrons/s."""
    from_variance: float
    """Dark current from the increase of the temporal variance, electrons/s."""
    mean_error: float
    """Standard error of the first by the scatter about its line, electrons/s."""
    variance_error: float
    """Standard error of the second, likewise."""
    mean: Tensor
    """Mean code of each stack, DN ``[E]``."""
    variance: Tensor
    """Temporal variance of a pixel's code, DN^2 ``[E]``, without changes of whole frames."""


@torch.no_grad()
def measure_dark_current(
    dark: Tensor, exposure_time: Tensor, *, gain: float, step: float = 1.0
) -> DarkCurrent:
    """Dark current from stacks of dark frames of several exposure times, at one temperature.

    Parameters
    ----------
    dark : Tensor ``[E, M, C, H, W]``, DN
        M raw frames, 2 or more, without light, for each time.
    exposure_time : Tensor ``[E]``, s
        At least three different times; the standard asks for six, evenly spaced, and the longest
        should have much more noise than the shortest.
    gain : float, electrons for one DN
        By :func:`optics.measure_sensor`.
    step : float, DN
        Quantisation step of the codes; 0 if they are not rounded.

    Returns
    -------
    DarkCurrent
        For :class:`optics.Sensor`. Currents may come out below 0.

    Raises
    ------
    TypeError
        For frames or times that are not a Tensor, a gain or a step that is not a number.
    ValueError
        For frames of another shape, fewer than two of a time, of one pixel, or not finite; for
        times that are not as many, not finite, below 0, or fewer than three different ones; for a
        gain that is not above 0, or a step below 0.

    Warns
    -----
    UserWarning
        For the first stack with more than 1 % of the codes at the lowest, as if noise is clipped,
        or with noise below about half a step.

    Notes
    -----
    EMVA Standard 1288, release 4.0 linear (2021), section 7: least-squares lines over the exposure
    time through the mean in the dark, whose slope is ``K`` times the current, and through the
    temporal variance, whose slope is ``K**2`` times the current. If a camera subtracts its dark
    signal by itself, or its black level drifts, only the variance gives the current, with a larger
    error. Both are means over all pixels, hot pixels included.

    Examples
    --------
    >>> import optics
    >>> draw = torch.Generator().manual_seed(0)
    >>> times = torch.tensor([0.1, 0.5, 1.0, 2.0])
    >>> stacks = []
    >>> for time in times.tolist():
    ...     camera = optics.Sensor(
    ...         5000, gain=1.5, black_level=32, bit_depth=12, dark_current=100.0, exposure_time=time
    ...     )
    ...     stacks.append(camera.codes(torch.zeros(8, 1, 64, 64), generator=draw))
    >>> found = measure_dark_current(torch.stack(stacks), times, gain=1.5)
    >>> round(found.from_mean / 100, 2), round(found.from_variance / 100, 1)
    (1.0, 1.0)
    """
    stacks = checked_frames("dark", dark, (5,), "[E, M, C, H, W]")
    if stacks[0, 0, 0].numel() < 2:
        raise ValueError(
            f"dark frames of {list(stacks.shape[3:])} must have two pixels or more: to "
            "separate their noise from changes of the black level"
        )
    check_tensor("exposure_time", exposure_time)
    check_finite("exposure_time", exposure_time, "s")
    times = exposure_time.detach().double().to(dark.device)
    if times.shape != stacks.shape[:1] or bool((times < 0).any()):
        raise ValueError(
            f"exposure_time must be one time for each of the {len(stacks)} stacks, s, not below 0, "
            f"not {exposure_time.tolist()}"
        )
    if len(times.unique()) < _LEAST_TIMES:
        raise ValueError(
            f"exposure_time must be of {_LEAST_TIMES} different times or more, for a line and its "
            f"error, not {exposure_time.tolist()}"
        )
    gain, step = one_number("gain", gain, "electrons for one DN"), one_number("step", step, "DN")
    if not 0 < gain < math.inf:
        raise ValueError(f"gain={gain!r} is out of range; give electrons for one DN, above 0")
    if not 0 <= step < math.inf:
        raise ValueError(f"step={step!r} is out of range; give DN, 0 or more")
    seen = torch.ones(1, *stacks.shape[3:], dtype=torch.bool, device=dark.device)
    found = [moments(frames, seen).mean((1, 2, 3)) for frames in stacks]
    variance, mean, _ = torch.stack(found, 1)
    faults = (
        f"dark stack {at}: {fault}"
        for at, frames in enumerate(stacks)
        for fault in dark_faults(frames, float(variance[at]) - step**2 / 12, step)
    )
    if first := next(faults, None):  # one is enough to look at them
        warnings.warn(first, UserWarning, stacklevel=3)  # beyond that of no_grad
    by_mean, mean_error = _slope(times, gain * mean)
    by_variance, variance_error = _slope(times, gain**2 * variance)
    return DarkCurrent(by_mean, by_variance, mean_error, variance_error, mean, variance)


def _slope(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Of the least-squares line, and its standard error by the scatter about it."""
    x, y = x - x.mean(), y - y.mean()
    power = x.square().sum()
    slope = (x * y).sum() / power
    scatter = (y - slope * x).square().sum() / (len(x) - 2)
    return float(slope), float((scatter / power).sqrt())
