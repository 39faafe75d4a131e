"""A wavefront in a pupil as a sum of Zernike polynomials with trained coefficients.

::

    coefficients [J], [L, J], [P, Q, L or 1, J] x polynomials [J, H, W] ──► phase, radians
"""

import math
import warnings
from collections.abc import Sequence

from torch import Tensor, nn

from optics.quantity import check_finite, check_tensor, full_precision, hold, looked_at
from optics.wave.zernike import chosen_indices, zernike_at, zernike_basis

from .element import PhaseElement, check_diameter

__all__ = ["Aberration", "rim", "whole_within"]

# Aberrations are held in micrometres, so that a step of an optimiser is a fraction of a wave. A
# wavefront of more than a millimetre was not meant in metres.
_MICROMETRE, _NO_WAVEFRONT = 1e-6, 1e-3


class Aberration(PhaseElement):
    """A wavefront aberration as a sum of Zernike polynomials, in metres of optical path.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    spacing, diameter : float, metres
        Sampling interval; diameter of the pupil. Beyond it the wavefront is flat, and a
        :class:`Pupil` warns if light passes there; its default aperture has the diameter
        ``(N - 1) * spacing``. A tolerance that decentres the element continues its polynomials
        beyond the rim by the decentration.
    coefficients : Tensor ``[J]``, ``[L, J]`` or ``[P, Q, L or 1, J]``, metres RMS
        0.07 waves at 550 nm are ``0.07 * 550e-9``. ``[L, J]`` are those of each wavelength, for
        chromatic aberration: axial by Noll index 4, lateral by 2 and 3. Those at P x Q places of
        the image are for :class:`VaryingImaging`; see :func:`seidel_coefficients` and
        :func:`field_coefficients`. A parameter is the start of training.
    indices : sequence of int, optional
        Noll indices, each once, by default ``1, ..., J``.

    Raises
    ------
    TypeError
        When the coefficients are not a Tensor, or the indices not a sequence.
    ValueError
        When the coefficients are not real and finite of these shapes, the number of indices
        differs, an index is given twice, a length is not positive, or the diameter is more than 100
        times the grid, as one in millimetres is; later, for a number of wavelengths that is not
        that of the coefficients.

    Warns
    -----
    UserWarning
        For a coefficient above a millimetre, which was probably meant in waves.

    Notes
    -----
    The trained parameter is ``raw``, in micrometres RMS; :attr:`coefficients` are the same in
    metres. A step of 0.002, by Adam at its usual learning rate, is then 0.004 waves; in metres it
    would be 4000 waves. ``raw`` is a new parameter, which an optimiser gets from ``parameters()``;
    the given parameter does not change. If the coefficients are not a parameter, ``raw`` is a
    buffer that keeps their graph.
    """

    raw: Tensor
    basis: Tensor

    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        spacing: float,
        diameter: float,
        coefficients: Tensor,
        indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__(size, spacing)
        check_tensor("coefficients", coefficients)
        allowed = coefficients.ndim in (1, 2, 4) and 0 not in coefficients.shape
        if not allowed or not coefficients.is_floating_point():
            raise ValueError(
                "coefficients must be real [J], [L, J] for L wavelengths or [P, Q, L or 1, J] for "
                f"places too, metres RMS, not {coefficients.dtype} {tuple(coefficients.shape)}"
            )
        check_finite("coefficients", coefficients, "metres RMS")
        terms = coefficients.shape[-1]
        self.indices = chosen_indices(indices, terms)
        if len(self.indices) != terms:
            raise ValueError(
                f"{terms} coefficients need as many Noll indices, not {len(self.indices)}"
            )
        if len(set(self.indices)) < len(self.indices):
            raise ValueError(f"indices must be Noll's, each once, not {list(self.indices)}")
        check_diameter(diameter, self)
        sizes = coefficients.detach().abs()
        if looked_at(sizes) and bool((sizes > _NO_WAVEFRONT).any()):
            warnings.warn(
                f"coefficients are metres RMS, and reach {float(sizes.max()):g}: convert waves to "
                "metres, 0.07 waves at 550 nm are 0.07 * 550e-9",
                UserWarning,
                stacklevel=2,
            )
        if coefficients.ndim == 4:
            self.places = (coefficients.shape[0], coefficients.shape[1])
        raw = coefficients / _MICROMETRE
        trained = isinstance(coefficients, nn.Parameter)
        hold(self, "raw", _trained(raw, coefficients.requires_grad) if trained else raw)
        basis = zernike_basis(
            self.indices, self.size, diameter=diameter, spacing=spacing, soft_edge=True
        )
        self._radius = (diameter.detach() if isinstance(diameter, Tensor) else diameter) / 2
        self.register_buffer("basis", basis.to(coefficients), persistent=False)

    @property
    def coefficients(self) -> Tensor:
        """The coefficients in metres RMS, of the shape that was given."""
        return self.raw * _MICROMETRE

    def phase_shift(self, wavelength: Tensor) -> Tensor:
        """``2 pi OPD / lambda``, ``[L, H, W]``, or ``[P, Q, L, H, W]`` with places, radians.

        Raises
        ------
        ValueError
            When the number of wavelengths is not that of the coefficients.
        """
        return self._phase(wavelength, self.basis)

    def phase_at(self, wavelength: Tensor, y: Tensor, x: Tensor, *, beyond: float = 0.0) -> Tensor:
        """``2 pi OPD / lambda`` at any points, radians; flat from ``beyond`` outside of the rim.

        Raises
        ------
        ValueError
            As :meth:`phase_shift`.
        """
        rim = 1 + (math.sqrt(0.5) * self.spacing + beyond) / self._radius  # of a soft edge
        basis = zernike_at(self.indices, y / self._radius, x / self._radius, rim=rim)
        return self._phase(wavelength, basis.to(self.basis))

    def extra_repr(self) -> str:
        """Name the grid, the pupil and the polynomials."""
        diameter = 2 * float(self._radius)
        return f"{super().extra_repr()}, diameter={diameter:g} m, indices={self.indices}"

    def _phase(self, wavelength: Tensor, basis: Tensor) -> Tensor:
        own = 1 if self.raw.ndim == 1 else self.raw.shape[-2]
        if own not in (1, len(wavelength)):
            raise ValueError(
                f"the coefficients {tuple(self.raw.shape)} are for {own} wavelengths, but the "
                f"light has {len(wavelength)}: give as many, or one set [J] for all"
            )
        radians_per_unit = (2 * math.pi * _MICROMETRE / wavelength).to(basis)[:, None]
        radians = radians_per_unit * self.raw
        # Autocast would keep only three digits of the wavefront.
        with full_precision(radians):
            return (radians @ basis.flatten(1)).unflatten(-1, basis.shape[1:])


def rim(part: Aberration) -> float:
    """Radius of the polynomials, metres: beyond it the wavefront is flat."""
    return float(part._radius)


def whole_within(part: Aberration) -> float:
    """Radius within which the polynomials alone are the wavefront, metres: up to the soft edge."""
    return rim(part) - math.sqrt(0.5) * part.spacing


def _trained(raw: Tensor, follows: bool) -> nn.Parameter:
    """A new parameter; it is frozen if the given one was."""
    return nn.Parameter(raw.detach(), requires_grad=follows)
