"""A wavefront in a pupil as Zernike polynomials, whose coefficients are trained.

::

    coefficients [J], [L, J], [P, Q, L or 1, J] x polynomials [J, H, W] ──► phase, radians
"""

import math
import warnings
from collections.abc import Sequence

from torch import Tensor, nn

from .element import PhaseElement, check_diameter
from .quantity import check_finite, check_tensor, full_precision, hold, looked_at
from .zernike import chosen_indices, zernike_at, zernike_basis

__all__ = ["Aberration", "rim", "whole_within"]

# Aberrations are held in micrometres, in which a step of an optimiser is a part of a wave; what
# exceeds a millimetre of wavefront was not meant in metres.
_MICROMETRE, _NO_WAVEFRONT = 1e-6, 1e-3


class Aberration(PhaseElement):
    """A wavefront as a sum of Zernike polynomials, in metres of optical path.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    spacing, diameter : float, metres
        Distance of the samples; diameter of the pupil, beyond which the wavefront is flat,
        and a :class:`Pupil` warns of light: its aperture by default is ``(N - 1) * spacing``. A
        tolerance that moves it by a distance lets its polynomials go on so far beyond the rim.
    coefficients : Tensor ``[J]``, ``[L, J]`` or ``[P, Q, L or 1, J]``, metres RMS
        0.07 waves at 550 nm are ``0.07 * 550e-9``. ``[L, J]`` are those of each wavelength:
        chromatic aberration, axial by Noll's 4, lateral by 2 and 3. Those of P x Q places of the
        picture are for :class:`VaryingImaging`; see :func:`seidel_coefficients` and
        :func:`field_coefficients`. A parameter says where training starts.
    indices : sequence of int, optional
        Noll indices, each once, by default ``1, ..., J``.

    Raises
    ------
    TypeError
        When the coefficients are no Tensor, or the indices no sequence.
    ValueError
        When the coefficients are not real and finite of these shapes, there are not as many
        indices, one of them is given twice, a length is not positive, or the diameter 100 times the
        grid, as one in millimetres is; later, for light of another number of wavelengths than that
        of the coefficients.

    Warns
    -----
    UserWarning
        For a coefficient above a millimetre, which was meant in waves.

    Notes
    -----
    What is trained is ``raw``, micrometres RMS, of which :attr:`coefficients` is the length in
    metres: a step of 0.002, of Adam at its usual rate, is 0.004 waves, and would be 4000 in metres.
    It is a new parameter, which an optimiser gets from ``parameters()``; the one that was given
    stays as it was. Without a parameter it is a buffer that follows its graph.
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
                f"coefficients are metres RMS, and reach {float(sizes.max()):g}: of "
                "waves give the length, 0.07 waves at 550 nm as 0.07 * 550e-9",
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
            For another number of wavelengths than the coefficients are of.
        """
        return self._phase(wavelength, self.basis)

    def phase_at(self, wavelength: Tensor, y: Tensor, x: Tensor, *, beyond: float = 0.0) -> Tensor:
        """``2 pi OPD / lambda`` of the same shape, radians; flat farther ``beyond`` the rim.

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
                f"the coefficients are {tuple(self.raw.shape)}, of {own} wavelengths, and the "
                f"light has {len(wavelength)}: give as many, or one set [J] for all"
            )
        radians_per_unit = (2 * math.pi * _MICROMETRE / wavelength).to(basis)[:, None]
        radians = radians_per_unit * self.raw
        # Autocast would leave three digits of the wavefront.
        with full_precision(radians):
            return (radians @ basis.flatten(1)).unflatten(-1, basis.shape[1:])


def rim(part: Aberration) -> float:
    """How far from the axis its polynomials go, metres: beyond, the wavefront is flat."""
    return float(part._radius)


def whole_within(part: Aberration) -> float:
    """How far from the axis the wavefront is its polynomials' alone, metres: to its soft edge."""
    return rim(part) - math.sqrt(0.5) * part.spacing


def _trained(raw: Tensor, follows: bool) -> nn.Parameter:
    """A parameter of its own; one that was given frozen stays frozen."""
    return nn.Parameter(raw.detach(), requires_grad=follows)
