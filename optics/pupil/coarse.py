"""Sampling of the phase in a pupil: steps of more than pi from sample to sample are aliased.

::

    field in the pupil, its unwrapped phase ──coarse_phase──► what is too coarse, and its factor
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from optics.grid import coordinates
from optics.quantity import has_values, looked_at
from optics.wave.aperture import extent

from .aberration import Aberration, whole_within
from .defocus import coarse_beyond, out_of_focus
from .element import AmplitudeMask, CubicMask, Lens
from .vignetting import Vignetting

if TYPE_CHECKING:
    from .pupil import Pupil

__all__ = ["Coarse", "coarse_phase"]

# A sample with less than this fraction of the brightest one's light is dark: a mask of 0 passes
# 0.001.
_LIT = 0.01
# Elements that absorb light and do not change its phase.
_DARKENING = AmplitudeMask | Vignetting


class Coarse(NamedTuple):
    """A phase that is sampled too coarsely, for :func:`optics.pupil.defocus.warn_of_coarse`."""

    what: str
    """Cause of the phase."""
    where: str
    """Location in the pupil, or an empty text."""
    times: float
    """Largest step from sample to sample, over pi."""


def coarse_phase(
    pupil: "Pupil", distance: Tensor | float | None, planes: Tensor, phase: Tensor | None
) -> Coarse | None:
    """Phase of a pupil that changes by more than pi from sample to sample, where light passes.

    Parameters
    ----------
    pupil : Pupil
    distance : float or Tensor ``[D]``, metres, or None
        Distance of the scene; None in focus.
    planes : Tensor, real ``[..., 2, H, W]``
        Field in the pupil.
    phase : Tensor ``[..., H, W]``, radians, or None
        Unwrapped phase of the phase elements and the defocus.

    Returns
    -------
    Coarse or None
        None also if it cannot be decided: other elements may cancel a defocus, or have steps by
        design.
    """
    smooth = [isinstance(part, Aberration | CubicMask) for part in pupil.elements]
    known = [isinstance(part, Lens | _DARKENING) for part in pupil.elements]
    formula = any(smooth) and all(a or b for a, b in zip(smooth, known, strict=True))
    if formula and phase is not None and looked_at(planes):
        return _coarse_wavefront(pupil, planes, phase)
    return _coarse_defocus(pupil, distance, planes)


def _coarse_wavefront(pupil: "Pupil", planes: Tensor, phase: Tensor) -> Coarse | None:
    """Check all phase steps of a wavefront that is a smooth formula over the whole pupil."""
    phase = phase.detach()
    down, across = phase.diff(dim=-2), phase.diff()
    if not (_largest(down) > math.pi or _largest(across) > math.pi):
        return None
    seen = _lit(planes)
    y, x = (coordinates(n, spacing=pupil.spacing) for n in pupil.size)
    for part in pupil.elements:
        if isinstance(part, Aberration):  # beyond, its wavefront is cut off
            seen &= torch.hypot(y[:, None], x) <= whole_within(part)
    largest = max(
        _largest(down.where(seen[1:] & seen[:-1], 0)),
        _largest(across.where(seen[:, 1:] & seen[:, :-1], 0)),
    )
    return Coarse("its wavefront", "", largest / math.pi) if largest > math.pi else None


def _coarse_defocus(
    pupil: "Pupil", distance: Tensor | float | None, planes: Tensor
) -> Coarse | None:
    """Check the phase step at the rim, for the defocus of a distance and of lenses."""
    power = _power(pupil)
    if distance is None and power == 0:
        return None
    where = pupil.focus if distance is None else distance
    with torch.no_grad():
        left = None if power is None else out_of_focus(pupil.vergence(where), power=power)
    if left is None:
        return None
    coarse = coarse_beyond(left, wavelength=min(pupil.wavelengths), spacing=pupil.spacing)
    # First with the whole grid, for which no values have to be read.
    rim = pupil.spacing * max(n // 2 + 0.5 for n in pupil.size)
    if rim > coarse and has_values(pupil.aperture):
        # Elements may have darkened the rim.
        lit = _lit(planes) if looked_at(planes) else pupil.aperture.detach() > 0
        rim = pupil.spacing * _reach(lit)
    if rim <= coarse:
        return None
    return Coarse(f"a point {left:.3g} dioptres out of focus", "at its rim ", rim / coarse)


def _power(pupil: "Pupil") -> float | None:
    """Power of the lenses among the elements, 1/metres; None if other elements may cancel it."""
    if not any(isinstance(part, Lens) for part in pupil.modules()):
        return 0.0
    if not all(isinstance(part, Lens | _DARKENING) for part in pupil.elements):
        return None
    lengths = [part.focal_length for part in pupil.elements if isinstance(part, Lens)]
    if not all(looked_at(length) for length in lengths):
        return None
    return sum(1 / float(length.detach()) for length in lengths)


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
