"""Defocus: the optical path of a point out of focus, and the sampling that it needs."""

import math
import warnings

import torch
from torch import Tensor

from optics.grid import coordinates
from optics.quantity import (
    check_number,
    check_positive,
    check_scalar,
    image_size,
    is_finite,
    looked_at,
)

__all__ = ["coarse_beyond", "defocus_path", "out_of_focus", "vergence_of", "warn_of_coarse"]


def defocus_path(
    size: int | tuple[int, int],
    *,
    spacing: float,
    distance: float | Tensor,
    focus: float | Tensor,
) -> Tensor:
    """Paraxial optical path of a point at ``distance`` for a lens focused at ``focus``.

    ``W = r^2 / 2 (1 / distance - 1 / focus)`` (Goodman, Fourier Optics, sec. 6.4), zero in focus.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the pupil.
    spacing : float, metres
    distance : float or Tensor ``[D]``, metres
        Distance from the pupil to the point; ``inf`` is allowed. It is negative for a virtual point
        behind the pupil, towards which the light converges.
    focus : float or scalar Tensor, metres

    Returns
    -------
    Tensor, float64 ``[H, W]`` or ``[D, H, W]``, metres

    Raises
    ------
    ValueError
        When the spacing is not positive, or the point or the focus lies in the pupil, at 0.
    TypeError
        For several distances that are not a Tensor, or arguments that are not numbers.
    """
    check_scalar("spacing", spacing, "metres")
    check_positive("spacing", spacing, "metres")
    vergence = vergence_of(distance, focus)
    y, x = (coordinates(n, spacing=spacing, device=vergence.device) for n in image_size(size))
    return vergence[..., None, None] * ((y[:, None].square() + x.square()) / 2)


def vergence_of(
    distance: float | Tensor, focus: float | Tensor, *, entrance_pupil: float | Tensor = 0.0
) -> Tensor:
    """``1 / distance - 1 / focus`` in the pupil, float64, 1/metres.

    Both are measured from ``entrance_pupil`` metres in front of it.
    """
    check_number("distance", distance, "metres")
    check_number("focus", focus, "metres")
    return _vergence("distance", distance, entrance_pupil) - _vergence(
        "focus", focus, entrance_pupil
    )


def _vergence(name: str, distance: float | Tensor, entrance_pupil: float | Tensor) -> Tensor:
    """``1 / (distance + entrance_pupil)``, float64, 1/metres."""
    device = entrance_pupil.device if isinstance(entrance_pupil, Tensor) else None
    place = torch.as_tensor(distance, dtype=torch.float64, device=device)
    vergence = 1 / (place + entrance_pupil)
    if not is_finite(vergence):
        given = f"one of {tuple(distance.shape)}" if isinstance(distance, Tensor) else distance
        there = 0.0 - float(torch.as_tensor(entrance_pupil).detach())
        raise ValueError(
            f"{name} must be metres other than {there:g}, the place of the pupil, not {given}"
        )
    return vergence


def out_of_focus(vergence: Tensor, *, power: float = 0.0) -> float | None:
    """Largest ``|vergence - power|``, 1/metres, of those of some distances.

    ``power`` is the power ``1 / f`` of additional lenses. None if they cannot be read.
    """
    if not looked_at(vergence) or not vergence.numel():
        return None
    return float((vergence.detach() - power).abs().max())


def coarse_beyond(vergence: float, *, wavelength: float, spacing: float) -> float:
    """Radius from which on the phase of a defocus changes by more than pi per sample, metres.

    The path of :func:`defocus_path` has the slope ``r vergence / lambda``, waves/m.
    """
    return math.inf if vergence == 0 else wavelength / (2 * spacing * vergence)


def warn_of_coarse(
    what: str, where: str, excess: float, *, spacing: float, stacklevel: int
) -> None:
    """Warn of a phase that changes by ``excess`` times pi from sample to sample."""
    warnings.warn(
        f"the pupil is sampled too coarsely for {what}: {where}the phase changes by "
        f"{math.pi * excess:.3g} radians from sample to "
        "sample, more than pi, so that light far from the axis is aliased nearer to it; use "
        f"samples at most {spacing / excess:.3g} metres apart",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
