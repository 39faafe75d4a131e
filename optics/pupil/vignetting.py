"""Vignetting: light that a lens cuts off at off-axis places, by a different aperture at each.

::

    stop, centred ───────────────┐
                                 ├─► what both leave open [P, Q, H, W]
    rim, displaced by the height ┘
"""

import math

import torch
from torch import Tensor

from optics.quantity import check_finite, check_positive, image_size, one_number, single
from optics.wave.aperture import circular_aperture
from optics.wave.off_axis import place_heights

from .element import Element

__all__ = ["Vignetting", "vignetting_shift"]


class Vignetting(Element):
    """A round rim in front of or behind the stop, which vignettes off-axis light.

    Seen from an off-axis point, the mount of a lens outside of the stop is displaced against the
    stop, in proportion to the image height, and a lens-shaped opening is left (the "cat's eye";
    Smith, Modern Optical Engineering, ch. 9). Corners become darker. In focus, diffraction blurs
    them more in the radial direction, in which the opening is narrow; out of focus, the PSF has the
    shape of the opening, and is narrow in that direction. In a :class:`Pupil` for
    :class:`VaryingImaging`, whose PSFs are fractions of the light of the open stop, both effects
    are included. The cosine-fourth law is :func:`relative_illumination`.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the pupil.
    spacing : float, metres
        Sampling interval.
    diameter : float, metres
        Diameter of the rim as seen in the pupil: that of the stop or more, as a smaller rim would
        be the stop itself. If both are equal, the two soft edges multiply in the centre of the
        image, which costs 1.4 % of the light at 40 samples across and 0.9 % at 60. A rim that is
        wider by two samples costs 3e-6 of it, and by three nothing.
    shift : float, metres
        Displacement of the rim's centre from that of the stop, in the pupil, for a corner of the
        image: towards the place in the image, or away from it if negative, as for a rim on the
        other side of the stop. See :func:`vignetting_shift`.
    places : int or (int, int)
        Number of places (P, Q), from border to border of the image, two or more along each side.
    picture : int or (int, int)
        Height and width of the image, pixels; its centre is the axis.

    Raises
    ------
    TypeError
        When spacing, diameter or shift is not one number, or is a parameter.
    ValueError
        When a length is not positive, the shift not finite, or there are fewer than two places
        along a side.

    Examples
    --------
    >>> rim = optics.Vignetting(64, spacing=5e-5, diameter=3e-3, shift=1e-3, places=5, picture=48)
    >>> open_stop = optics.circular_aperture(64, diameter=3e-3, spacing=5e-5)
    >>> light = (rim.transmission(torch.tensor([550e-9])).abs() * open_stop).square().sum((-2, -1))
    >>> [round(float(share), 2) for share in (light / light.max())[2, 2:, 0]]  # along a row
    [1.0, 0.86, 0.71]
    """

    open: Tensor

    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        spacing: float,
        diameter: float,
        shift: float,
        places: int | tuple[int, int],
        picture: int | tuple[int, int],
    ) -> None:
        super().__init__(size, spacing)
        self.diameter = one_number("diameter", diameter, "metres")
        check_positive("diameter", self.diameter, "metres")
        self.shift = one_number("shift", shift, "metres")
        check_finite("shift", self.shift, "metres")
        self.picture = image_size(picture, "picture")
        y, x = place_heights(places, self.picture)
        self.places = (y.shape[0], y.shape[1])
        amplitude = circular_aperture(
            self.size,
            # A tensor, as a float would warn of an opening beyond the grid, where no light is.
            diameter=y.new_tensor(self.diameter),
            spacing=self.spacing,
            centre=(self.shift * y, self.shift * x),
        )
        self.register_buffer("open", amplitude[:, :, None], persistent=False)

    def transmission(self, wavelength: Tensor) -> Tensor:
        """Amplitude transmission of the rim, the same for all wavelengths.

        Parameters
        ----------
        wavelength : Tensor ``[L]``, metres

        Returns
        -------
        Tensor, complex ``[P, Q, 1, H, W]``
            Amplitude in 0..1.
        """
        amplitude = single(self.open)
        return torch.complex(amplitude, torch.zeros_like(amplitude))

    def extra_repr(self) -> str:
        """Name the rim."""
        return (
            f"{super().extra_repr()}, diameter={self.diameter:g} m, shift={self.shift:g} m, "
            f"places={self.places}, picture={self.picture} pixels"
        )


def vignetting_shift(loss: float, *, diameter: float, rim: float | None = None) -> float:
    """Displacement of a round rim that cuts off a given share of the light of a round stop.

    Circles of radii R and r, with centres d apart, overlap by the area ``R^2 (a - sin a cos a) +
    r^2 (b - sin b cos b)``, with the angles ``cos a = (d^2 + R^2 - r^2) / 2 d R`` and ``cos b =
    (d^2 + r^2 - R^2) / 2 d r`` of their segments (as in the transfer function of an annulus:
    O'Neill, J. Opt. Soc. Am. 46:285, 1956).

    Parameters
    ----------
    loss : float
        Share of the area of the stop that is cut off, 0 or more and below 1.
    diameter : float, metres
        Diameter of the stop.
    rim : float, metres, optional
        Diameter of the rim, that of the stop or more; by default the same.

    Returns
    -------
    float, metres
        For :class:`Vignetting`; for a loss of 0 it is the largest such displacement.

    Raises
    ------
    ValueError
        When the loss is not in this range, a length not positive, or the rim smaller than the stop.
    """
    rim = diameter if rim is None else rim
    check_positive("diameter", diameter, "metres")
    check_positive("rim", rim, "metres")
    if rim < diameter:
        raise ValueError(f"rim must be as large as the stop, {diameter:g} m, or more, not {rim:g}")
    if not 0 <= loss < 1:
        raise ValueError(f"loss must be a share of the light, 0 or more and below 1, not {loss}")
    small, large = diameter / 2, rim / 2
    low, high = large - small, large + small
    for _ in range(60):  # halvings; the shared area falls with the distance
        middle = (low + high) / 2
        shared = (_segment(middle, small, large) + _segment(middle, large, small)) / math.pi
        low, high = (middle, high) if shared >= (1 - loss) * small**2 else (low, middle)
    return low


def _segment(distance: float, radius: float, other: float) -> float:
    """Area of the part of a circle beyond the line through both points where two cross."""
    if distance == 0:  # the same circle, of which each has half
        return math.pi * radius**2 / 2
    cosine = (distance**2 + radius**2 - other**2) / (2 * distance * radius)
    angle = math.acos(min(max(cosine, -1.0), 1.0))
    return radius**2 * (angle - math.sin(angle) * math.cos(angle))
