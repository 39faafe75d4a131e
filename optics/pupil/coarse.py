"""Sampling of the phase in a pupil: steps of more than pi from sample to sample are aliased.

::

    light in the pupil, its elements and grid ──coarse_phase──► what is too coarse, and its factor
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from optics.grid import coordinates
from optics.quantity import has_values, looked_at
from optics.wave.aperture import extent

from .aberration import Aberration, whole_within
from .defocus import coarse_beyond, out_of_focus
from .element import AmplitudeMask, CubicMask, Lens
from .sampling import Grid
from .vignetting import Vignetting

__all__ = ["Coarse", "PupilLight", "coarse_phase"]

# A sample with less than this fraction of the brightest one's light is dark: a mask of 0 passes
# 0.001.
_LIT = 0.01
# Elements that absorb light and do not change its phase.
_DARKENING = AmplitudeMask | Vignetting


class PupilLight(NamedTuple):
    """The light in a pupil, of a scene at some distances."""

    planes: Tensor
    """Field in two real planes, ``[..., L, 2, H, W]``."""
    phase: Tensor | None
    """Unwrapped phase ``[..., L or 1, H, W]``, radians: the sum over the phase elements and the
    defocus; None if there are none."""
    vergence: Tensor | None
    """Defocus of the scene, float64 ``[]`` or ``[D]``, 1/metres; None in focus."""


class Coarse(NamedTuple):
    """A phase that is sampled too coarsely, for :func:`optics.pupil.defocus.warn_of_coarse`."""

    what: str
    """Cause of the phase."""
    where: str
    """Location in the pupil, or an empty text."""
    times: float
    """Largest step from sample to sample, over pi."""


def coarse_phase(
    light: PupilLight,
    elements: Sequence[nn.Module],
    *,
    aperture: Tensor,
    grid: Grid,
    wavelength: float,
) -> Coarse | None:
    """Phase of a pupil that changes by more than pi from sample to sample, where light passes.

    Parameters
    ----------
    light : PupilLight
        Light behind the elements.
    elements : sequence of Element
        Elements in the pupil.
    aperture : Tensor, real ``[H, W]``
        Amplitude of the open aperture.
    grid : Grid
        Grid of the pupil.
    wavelength : float, metres
        The shortest, whose phase of a defocus is the steepest.

    Returns
    -------
    Coarse or None
        None also if it cannot be decided: other elements may cancel a defocus, or have steps by
        design.
    """
    smooth = [isinstance(part, Aberration | CubicMask) for part in elements]
    known = [isinstance(part, Lens | _DARKENING) for part in elements]
    formula = any(smooth) and all(a or b for a, b in zip(smooth, known, strict=True))
    if formula and light.phase is not None and looked_at(light.planes):
        return _coarse_wavefront(light.planes, light.phase, elements, grid)
    left = _defocus_left(light.vergence, elements)
    if left is None:
        return None
    coarse = coarse_beyond(left, wavelength=wavelength, spacing=grid.spacing)
    rim = _rim(light.planes, aperture, grid, at_least=coarse)
    if rim <= coarse:
        return None
    return Coarse(f"a point {left:.3g} dioptres out of focus", "at its rim ", rim / coarse)


def _coarse_wavefront(
    planes: Tensor, phase: Tensor, elements: Sequence[nn.Module], grid: Grid
) -> Coarse | None:
    """Check all phase steps of a wavefront that is a smooth formula over the whole pupil."""
    phase = phase.detach()
    down, across = phase.diff(dim=-2), phase.diff()
    if not (_largest(down) > math.pi or _largest(across) > math.pi):
        return None
    seen = _lit(planes)
    y, x = (coordinates(n, spacing=grid.spacing) for n in grid.size)
    for part in elements:
        if isinstance(part, Aberration):  # beyond, its wavefront is cut off
            seen &= torch.hypot(y[:, None], x) <= whole_within(part)
    largest = max(
        _largest(down.where(seen[1:] & seen[:-1], 0)),
        _largest(across.where(seen[:, 1:] & seen[:, :-1], 0)),
    )
    return Coarse("its wavefront", "", largest / math.pi) if largest > math.pi else None


def _defocus_left(vergence: Tensor | None, elements: Sequence[nn.Module]) -> float | None:
    """What lenses among the elements leave of a defocus, 1/metres; None if it is not known."""
    power = _power(elements)
    if power is None:
        return None
    if vergence is None:
        return abs(power)
    return out_of_focus(vergence, power=power)


def _power(elements: Sequence[nn.Module]) -> float | None:
    """Power of the lenses among the elements, 1/metres; None if other elements may cancel it."""
    if not any(isinstance(part, Lens) for each in elements for part in each.modules()):
        return 0.0
    if not all(isinstance(part, Lens | _DARKENING) for part in elements):
        return None
    lengths = [part.focal_length for part in elements if isinstance(part, Lens)]
    if not all(looked_at(length) for length in lengths):
        return None
    return sum(1 / float(length.detach()) for length in lengths)


def _rim(planes: Tensor, aperture: Tensor, grid: Grid, *, at_least: float) -> float:
    """Largest distance of light from the axis along x or y, metres.

    Where the whole grid reaches no farther than ``at_least``, it is that of the grid, for which no
    values have to be read.
    """
    rim = grid.spacing * max(n // 2 + 0.5 for n in grid.size)
    if rim <= at_least or not has_values(aperture):
        return rim
    # Elements may have darkened the rim.
    lit = _lit(planes) if looked_at(planes) else aperture.detach() > 0
    return grid.spacing * _reach(lit)


def _reach(lit: Tensor) -> float:
    """Largest distance of an opening ``[H, W]`` from the axis along x or y, in samples."""
    edges = [extent(lit.any(axis)) for axis in (1, 0)]
    return max(max(-first, last) for first, last in edges)


def _lit(planes: Tensor) -> Tensor:
    """Illuminated samples ``[H, W]`` of a field in two planes ``[..., 2, H, W]``."""
    passed = planes.detach().square().sum(-3).flatten(0, -3).amax(0)
    return ~(passed < _LIT * passed.max())


def _largest(steps: Tensor) -> float:
    """Largest modulus of the steps; 0 if there are none."""
    return float(max(-steps.min(), steps.max())) if steps.numel() else 0.0
