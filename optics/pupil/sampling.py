"""Sampling of a pupil and of its PSF: the points and the window that an aperture can have.

::

    diameter D of the aperture ──────┐
    wavelength, image distance s' ───┼─q_sampling─► Q = lambda s' / (D p) ─┬─► point_spacing
    pixel pitch p ───────────────────┘                                     └─► window_period

The irradiance of a PSF has no frequency above ``D / (lambda s')`` (Goodman, Fourier Optics, sec.
6.3), so that points ``lambda s' / D`` apart or closer add up to its light. The amplitude of a pupil
with samples d apart repeats after ``lambda s' / d``, so that a wider window holds copies. Whether
the samples resolve the phase is decided in ``coarse``.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from optics.quantity import (
    check_extent,
    check_positive,
    check_scalar,
    image_size,
    looked_at,
    one_number,
    whole_number,
)

__all__ = [
    "SQUARE_SAMPLES",
    "Grid",
    "PointSpacing",
    "WindowPeriod",
    "check_oversample",
    "check_sampling",
    "cycles_per_sample",
    "image_distance_of",
    "point_spacing",
    "q_sampling",
    "shared_grid",
    "spacing_across",
    "window_period",
]

# Advice for a plate with different spacings of rows and columns.
SQUARE_SAMPLES = "samples are as far apart along rows as along columns: interpolate the map"

# Relative tolerance of lengths that should be equal: one written to a file and read is rounded.
_ROUNDED = 1e-9
# Points along a pixel's side; a lens needs more only if its lengths are in different units.
_MOST_POINTS = 31


class Grid(NamedTuple):
    """Grid of a pupil."""

    size: tuple[int, int]
    """Samples (H, W)."""
    spacing: float
    """Distance of the samples, metres."""


class PointSpacing(NamedTuple):
    """Whether the points of a PSF lie close enough together for its sum to be its light."""

    enough: bool
    """Whether they lie at most ``lambda s' / D`` apart."""
    least: int
    """Least odd number of points along a pixel's side that do."""

    def advice(self, also: str) -> str:
        """What to do about points too far apart; ``also`` completes it, after a comma."""
        if self.least > _MOST_POINTS:
            return f"give all lengths in metres; of these, oversample={self.least} would be needed"
        return f"give oversample={self.least}, {also}"


class WindowPeriod(NamedTuple):
    """Whether a window is free of the copies of a PSF that the samples of the pupil make."""

    fits: bool
    """Whether the window is at most one period wide."""
    period: float
    """Distance of the copies, pixels."""
    least: int
    """Least number of samples across the pupil, with one at either rim, whose window fits."""


def shared_grid(
    grids: Iterable[Grid],
    *,
    size: int | tuple[int, int] | None = None,
    spacing: float | None = None,
) -> Grid:
    """The one grid of the elements of a pupil, and of a size and a spacing that are told.

    Parameters
    ----------
    grids : iterable of Grid
        Those of the elements.
    size : int or (int, int), optional
        Samples (H, W).
    spacing : float, metres, optional
        Both are needed when there are no elements.

    Raises
    ------
    TypeError
        For a spacing that is not one number.
    ValueError
        When there is no grid, or several; for a spacing that is not positive.
    """
    grids = [*grids]
    if spacing is not None:
        spacing = one_number("spacing", spacing, "metres", remedy=SQUARE_SAMPLES)
        check_positive("spacing", spacing, "metres")
    if grids:
        size = grids[0].size if size is None else size
        spacing = grids[0].spacing if spacing is None else spacing
    if size is not None and spacing is not None:
        grids.append(Grid(image_size(size), spacing))
    if not grids:
        raise ValueError(
            "all elements must share one grid (size, spacing); without any, give size and spacing"
        )
    first = grids[0]
    for grid in grids:
        close = math.isclose(grid.spacing, first.spacing, rel_tol=_ROUNDED)
        if grid.size != first.size or not close:
            raise ValueError(
                "all elements must share one grid (size, spacing); they have "
                f"{sorted({tuple(each) for each in grids})}"
            )
    return first


def spacing_across(diameter: float, samples: int) -> float:
    """Distance of the samples of a pupil whose rims lie on the first and the last one, metres."""
    return diameter / (samples - 1)


def image_distance_of(focal_length: float, focus: float) -> float:
    """Distance from a thin lens to its image, metres: ``1 / s' = 1 / focal_length - 1 / focus``.

    The lens equation (Goodman, Fourier Optics, sec. 5.3); the focus may be infinity.
    """
    return focal_length / (1 - focal_length / focus)


def q_sampling(
    wavelengths: Sequence[float], *, image_distance: float, diameter: float, pixel_pitch: float
) -> tuple[float, ...]:
    """``Q = lambda s' / (D p)`` at each wavelength, all lengths in metres.

    With Q >= 2 the PSF is not aliased: its cut-off, ``1 / Q`` cycles/pixel, is then at most half a
    cycle per pixel.
    """
    return tuple(w * image_distance / (diameter * pixel_pitch) for w in wavelengths)


def point_spacing(q: float, oversample: int) -> PointSpacing:
    """Whether ``oversample`` points along a pixel's side are enough at the least Q of a lens.

    The sum of points is the OTF summed over all multiples of their frequency (Poisson). At
    ``oversample * Q >= 1`` all but the zero lie beyond the cut-off, so that it is the light.
    """
    least = 2 * math.ceil(((1 - _ROUNDED) / q - 1) / 2) + 1
    return PointSpacing(enough=q * oversample >= 1 - _ROUNDED, least=least)


def window_period(q: float, size: int, *, samples: int) -> WindowPeriod:
    """Whether a window of ``size`` pixels is free of copies of the PSF, at the least Q of a lens.

    ``samples`` lie across the pupil, one at either rim, so that the period ``lambda s' / (d p)`` is
    ``Q (samples - 1)`` pixels.
    """
    intervals = math.ceil(size / q * (1 - _ROUNDED))
    return WindowPeriod(fits=samples > intervals, period=q * (samples - 1), least=intervals + 1)


def check_oversample(oversample: int) -> int:
    """Return the number of points along a pixel's side; raise a ValueError unless it is odd."""
    oversample = whole_number("oversample", oversample)
    if oversample % 2 == 0:
        raise ValueError(
            f"oversample must be odd, so that one of the points is the pixel's centre, not "
            f"{oversample}"
        )
    return oversample


def cycles_per_sample(
    pupil: Tensor,
    wavelength: float | Sequence[float] | Tensor,
    focal_length: float | Tensor,
    pupil_spacing: float | Tensor,
    pixel_pitch: float | Tensor,
) -> Tensor | tuple[float, ...] | float:
    """Cycles per pupil sample and pixel; a tensor if one length is a tensor."""
    if isinstance(wavelength, Sequence) and not wavelength:
        raise ValueError("wavelength must hold at least one, in metres")
    if isinstance(wavelength, Tensor) and not wavelength.numel():
        raise ValueError("wavelength must hold at least one, in metres")
    for each in wavelength if isinstance(wavelength, Sequence) else [wavelength]:
        # Its range is not checked: only ratios matter, so that all lengths may share another unit.
        check_positive("wavelength", each, "metres")
    lengths = (focal_length, pupil_spacing, pixel_pitch)
    for name, value in zip(("focal_length", "pupil_spacing", "pixel_pitch"), lengths, strict=True):
        check_scalar(name, value, "metres", remedy=f"give each {name} a call of its own")
        check_positive(name, value, "metres")
    for each in wavelength if isinstance(wavelength, Sequence) else [wavelength]:
        check_extent(each, pupil_spacing, max(pupil.shape[-2:]), "the pupil")
    # In double: products of lengths underflow in half precision, which numpy numbers may have too.
    focal_length, pupil_spacing, pixel_pitch = (
        value.double() if isinstance(value, Tensor) else float(value) for value in lengths
    )
    scale = pupil_spacing * pixel_pitch / focal_length
    if isinstance(scale, Tensor) or isinstance(wavelength, Tensor):
        return scale / torch.as_tensor(wavelength, dtype=torch.float64, device=pupil.device)
    if isinstance(wavelength, Sequence):
        return tuple(scale / float(w) for w in wavelength)
    return scale / float(wavelength)


def check_sampling(step: Tensor | tuple[float, ...] | float, size: tuple[int, int]) -> None:
    """Raise a ValueError when the window reaches into the periodic copies of the PSF."""
    if isinstance(step, Tensor):
        widest = float(step.detach().max()) if looked_at(step) else 0.0
    else:
        widest = max(step) if isinstance(step, tuple) else step
    if widest * max(size) > 1 + _ROUNDED:
        raise ValueError(
            f"the pupil is undersampled: with these samples the PSF repeats every "
            f"{1 / widest:.4g} pixels, but size asks for {size}; lay them at least "
            f"{widest * max(size):.3g} times closer (a spacing of lambda f / (size * pixel_pitch) "
            "at most, or as many times the pupil_size of a lens that has one), or use a smaller "
            "window"
        )
