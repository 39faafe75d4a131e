"""Elements: thin plates that a field passes through.

An element is a complex transmission on the grid ``(i - N // 2) * spacing``, at one wavelength or
at several. It is passive: it changes the phase and may absorb light. Functions compute the
transmission; modules hold the trained parameters.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from optics.constraint import bounded, bounded_raw
from optics.fourier import phasor
from optics.grid import coordinates
from optics.quantity import (
    as_real,
    check_complex,
    check_finite,
    check_positive,
    check_scalar,
    check_wavelength,
    hold,
    image_size,
    looked_at,
    map_size,
    one_number,
    single,
)

from .sampling import SQUARE_SAMPLES

__all__ = [
    "AmplitudeMask",
    "CubicMask",
    "Element",
    "Entrance",
    "Lens",
    "PhaseElement",
    "PhaseMask",
    "WholeLens",
    "check_diameter",
    "lens_phase",
    "penalty_within",
]

# Largest diameter of a pupil, in widths of the grid: beyond, the grid holds only its flat centre.
_MOST_GRIDS = 100


def lens_phase(
    size: int | tuple[int, int],
    *,
    spacing: float | Tensor,
    wavelength: float | Tensor,
    focal_length: float | Tensor,
) -> Tensor:
    """Phase of a thin lens, ``-pi r^2 / (lambda f)`` (Goodman, Fourier Optics, eq. 5-10).

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    spacing : float or scalar Tensor, metres
    wavelength : float or Tensor ``[...]``, metres in vacuum
    focal_length : float or Tensor ``[...]``, metres
        Negative for a diverging lens.

    Returns
    -------
    Tensor, float64 ``[..., H, W]``, radians

    Raises
    ------
    TypeError
        When the spacing is not one number.
    ValueError
        For a spacing that is not positive, a wavelength that is not within 1e-9 to 1e-2 metres,
        or a focal length of zero.
    """
    check_scalar("spacing", spacing, "metres", remedy=SQUARE_SAMPLES)
    check_positive("spacing", spacing, "metres")
    check_wavelength("wavelength", wavelength)
    check_finite("focal_length", focal_length, "metres")
    number = not isinstance(focal_length, Tensor)
    if focal_length == 0 if number else looked_at(focal_length) and bool((focal_length == 0).any()):
        raise ValueError("focal_length must not be 0 metres")
    # In double: half precision has too few digits for a wavelength, or a product of lengths.
    wavelength, focal_length = (
        value.double() if isinstance(value, Tensor) else value
        for value in (wavelength, focal_length)
    )
    power = math.pi / (wavelength * focal_length)
    device = next((v.device for v in (wavelength, focal_length) if isinstance(v, Tensor)), None)
    radius2 = _radius2(image_size(size), device) * spacing**2
    if isinstance(power, Tensor):
        power = power[..., None, None]
    return -power * radius2


class Entrance(NamedTuple):
    """The entrance pupil of a whole lens as it is now, scalar Tensors in float64."""

    place: Tensor
    """Behind the first vertex, metres."""
    widening: Tensor
    """Its diameter over that of the grid."""


class WholeLens(NamedTuple):
    """What a :class:`Pupil` has of an element that is the whole lens, stop and focus with it.

    The pupil's grid is then that of direction cosines from the chief ray, times the image distance.
    """

    diameter: float
    """Of the disk of the axis, by which light is measured, metres."""
    focus: float
    """Distance that is in focus, metres in front of the first vertex."""
    focal_length: float
    """Metres."""
    image_distance: float
    """The working f-number times the diameter, metres: that of a thin lens in the pupil."""
    wavelengths: tuple[float, ...]
    """Metres."""
    pixel_pitch: float
    """Of the picture that the places are in, metres."""
    entrance: Callable[[], Entrance]
    """Its entrance pupil, computed when a defocus asks for it: training moves it."""
    stop: Tensor
    """Amplitude that the lens's own stop leaves open, ``[P, Q, 1, H, W]``: each place has the light
    of the disk, in another cone."""
    curve: Tensor
    """Path of a defocus over its vergence, float64 ``[P, Q, 1, H, W]``, metres^2; ``r^2 / 2`` on
    the axis."""


class Element(nn.Module, ABC):
    """Base class of a thin plate that a field passes through.

    Attributes
    ----------
    size : (int, int)
        Samples (H, W).
    spacing : float, metres
        Sampling interval.
    places : (int, int) or None
        Places (P, Q) of the image, if the transmission differs between them, see
        :class:`VaryingImaging`; None, by default, if it is the same for all.

    Raises
    ------
    ValueError
        When the spacing is not positive and finite, in metres, or the size not two whole numbers.
    TypeError
        For a spacing that is not one number, such as one for rows and one for columns, or is a
        parameter.
    """

    places: tuple[int, int] | None = None

    def __init__(self, size: int | tuple[int, int], spacing: float) -> None:
        super().__init__()
        self.spacing = one_number("spacing", spacing, "metres", remedy=SQUARE_SAMPLES)
        check_positive("spacing", self.spacing, "metres")
        self.size = image_size(size)

    def whole_lens(self) -> WholeLens | None:
        """Stop and focus of an element that is the whole lens; None of a plate."""
        return None

    def penalty(self) -> Tensor | None:
        """How far this element is from one that can be made, as :meth:`FrontEnd.penalty`.

        By default the sum of the penalties of the elements within it; None if none has one.
        """
        return penalty_within(self)

    @abstractmethod
    def transmission(self, wavelength: Tensor) -> Tensor:
        """Complex amplitude transmission, ``|t| <= 1``.

        Parameters
        ----------
        wavelength : Tensor ``[L]``, metres

        Returns
        -------
        Tensor, complex ``[L or 1, H, W]``, or ``[P, Q, L or 1, H, W]`` with places
        """

    def forward(self, field: Tensor, *, wavelength: float | Tensor) -> Tensor:
        """Propagate a field through the element: multiply it by the transmission.

        Parameters
        ----------
        field : Tensor, complex or real ``[..., H, W]``, or ``[..., L, H, W]`` for L wavelengths
        wavelength : float or Tensor ``[L]``, metres

        Returns
        -------
        Tensor, complex ``[..., H, W]``, or ``[..., L, H, W]`` for several wavelengths
            Field behind the element. With places it is ``[..., P, Q, (L,) H, W]``, and ``...`` of
            the field broadcasts with P and Q.

        Raises
        ------
        ValueError
            When the field does not have the size of the element or the number of wavelengths, or a
            wavelength is not within 1e-9 to 1e-2 metres.
        """
        check_complex("field", field, "[..., H, W]")
        if field.shape[-2:] != self.size:
            raise ValueError(
                f"field must be [..., {self.size[0]}, {self.size[1]}], the size of the element, "
                f"not {tuple(field.shape)}"
            )
        check_wavelength("wavelength", wavelength)
        several = torch.as_tensor(wavelength, dtype=torch.float64, device=field.device)
        bands = field.shape[-3] if field.ndim > 2 else 1
        if several.ndim and bands != several.numel() and 1 not in (bands, several.numel()):
            raise ValueError(
                f"field must be [..., {several.numel()}, H, W], of as many wavelengths as are "
                f"given, or [..., 1, H, W], not {tuple(field.shape)}"
            )
        transmission = self.transmission(several.reshape(-1))
        if not several.ndim:
            return field * transmission[..., 0, :, :]
        return field * transmission.expand(*transmission.shape[:-3], len(several), *self.size)

    def extra_repr(self) -> str:
        """Name the grid."""
        return f"size={self.size}, spacing={self.spacing:g} m"


def penalty_within(module: nn.Module) -> Tensor | None:
    """Sum of the penalties of the elements in a module, a scalar; None if none has one."""
    parts = (
        part.penalty() if isinstance(part, Element) else penalty_within(part)
        for part in module.children()
    )
    found = [part for part in parts if part is not None]
    return sum(found[1:], found[0]) if found else None


class PhaseElement(Element, ABC):
    """Base class of an element that changes only the phase, by :meth:`phase_shift`.

    A :class:`Pupil` adds the phases of several before it computes a single sine and cosine. The
    arguments are those of an :class:`Element`: a ``size`` in samples, a ``spacing`` in metres.
    """

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401 - what Python hands on
        super().__init_subclass__(**options)
        # A class that overrides the phase, itself or by a mixin, must not inherit the formula of
        # the parent's phase.
        phase, formula = (
            next(place for place, parent in enumerate(cls.__mro__) if name in parent.__dict__)
            for name in ("phase_shift", "phase_at")
        )
        if phase < formula:
            cls.phase_at = PhaseElement.phase_at

    @abstractmethod
    def phase_shift(self, wavelength: Tensor) -> Tensor:
        """Phase that the element adds.

        Parameters
        ----------
        wavelength : Tensor ``[L]``, metres

        Returns
        -------
        Tensor ``[L or 1, H, W]``, or ``[P, Q, L or 1, H, W]`` with places, radians
        """

    def phase_at(
        self, wavelength: Tensor, y: Tensor, x: Tensor, *, beyond: float = 0.0
    ) -> Tensor | None:
        """Phase at any points of the plate, if it is a formula of the position; otherwise None.

        A decentred or rotated plate with a formula is computed by it, exactly and beyond its grid.
        A sampled plate has no formula: it is interpolated, and continued by its border values. The
        same holds for a class that overrides :meth:`phase_shift` of its parent but not this method.

        Parameters
        ----------
        wavelength : Tensor ``[L]``, metres
        y, x : Tensor ``[H, W]``, metres
            Points on the plate, from its centre.
        beyond : float, metres
            Distance by which the formula is continued beyond the rim, if the plate has one: the
            decentration, so that it covers a pupil that ends at this rim.

        Returns
        -------
        Tensor, as of :meth:`phase_shift`, or None
            None, by default, for a sampled plate.
        """
        return None

    def transmission(self, wavelength: Tensor) -> Tensor:
        """``exp(i phase)``, ``[L or 1, H, W]``."""
        return phasor(self.phase_shift(wavelength))


class Lens(PhaseElement):
    """A thin lens, free of dispersion and aberrations.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    spacing : float, metres
        Sampling interval.
    focal_length : float or scalar Tensor, metres
        Negative for a diverging lens. A parameter is trained directly, in metres.

    Raises
    ------
    ValueError
        When the spacing is not positive, or the focal length not finite, or 0.
    TypeError
        For a focal length that is not one number.

    Notes
    -----
    A focal length in metres is hard to train, as the effect of an optimiser's step depends on the
    lens: a step ds changes the wavefront by ``D^2 ds / (8 f^2 lambda)`` waves at the rim of a pupil
    of diameter D. A step of 2 mm, by Adam with a learning rate of 0.002, is 6.5 waves for f = 50 mm
    and D = 6 mm, and 2e-4 waves for f = 10 m. Train it by relative steps instead, so that a step of
    0.002 is 0.2 % for every lens (converging, with a focal length below a few decimetres)::

        parametrize.register_parametrization(lens, "focal_length", optics.Positive())

    with ``torch.nn.utils.parametrize``, before the optimiser is made. Or train a small correction
    in waves, the defocus of an :class:`Aberration`, Noll index 4.
    """

    focal_length: Tensor

    def __init__(
        self, size: int | tuple[int, int], *, spacing: float, focal_length: float | Tensor
    ) -> None:
        super().__init__(size, spacing)
        check_scalar("focal_length", focal_length, "metres", remedy="give each a Lens of its own")
        check_finite("focal_length", focal_length, "metres")
        length = as_real("focal_length", focal_length)
        if looked_at(length) and not bool(length.detach().any()):
            raise ValueError("focal_length must not be 0 metres: a lens without power is none")
        hold(self, "focal_length", length)

    def phase_shift(self, wavelength: Tensor) -> Tensor:
        """``-pi r^2 / (lambda f)``, ``[L, H, W]``, radians."""
        phase = lens_phase(
            self.size,
            spacing=self.spacing,
            wavelength=wavelength,
            focal_length=self.focal_length,
        )
        return phase.to(self.focal_length.dtype)

    def phase_at(self, wavelength: Tensor, y: Tensor, x: Tensor, *, beyond: float = 0.0) -> Tensor:
        """``-pi (x^2 + y^2) / (lambda f)``, ``[L, H, W]``, radians; a lens has no rim."""
        power = math.pi / (wavelength * self.focal_length.double())
        return (-power[:, None, None] * (y**2 + x**2)).to(self.focal_length.dtype)


class PhaseMask(PhaseElement):
    """A phase mask: a phase for each sample.

    Parameters
    ----------
    phase : Tensor ``[H, W]``, radians
        A parameter is trained.
    spacing : float, metres
        Sampling interval.
    design_wavelength : float, metres, optional
        Wavelength at which the phase holds; at others it is scaled by
        ``design_wavelength / wavelength``, as for a relief without dispersion. By default the phase
        is the same at all wavelengths (a geometric phase).

    Raises
    ------
    ValueError
        When the phase is not real ``[H, W]``, the spacing not positive, or the wavelength not
        within 1e-9 to 1e-2 metres.
    """

    phase: Tensor

    def __init__(
        self, phase: Tensor, *, spacing: float, design_wavelength: float | None = None
    ) -> None:
        super().__init__(map_size("phase", phase), spacing)
        if design_wavelength is not None:
            design_wavelength = one_number("design_wavelength", design_wavelength, "metres")
            check_wavelength("design_wavelength", design_wavelength)
        self.design_wavelength = design_wavelength
        hold(self, "phase", phase)

    def phase_shift(self, wavelength: Tensor) -> Tensor:
        """The phase, scaled to the wavelengths, ``[L or 1, H, W]``, radians."""
        return _scaled(self.phase, wavelength, self.design_wavelength)

    def extra_repr(self) -> str:
        """Name the grid and the wavelength of the phase."""
        design = self.design_wavelength
        where = "None" if design is None else f"{design:g} m"
        return f"{super().extra_repr()}, design_wavelength={where}"


class AmplitudeMask(Element):
    """An amplitude mask: a transmittance for each sample, ``sigmoid(raw)``, from opaque to open.

    Parameters
    ----------
    transmittance : Tensor ``[H, W]`` in 0..1
        Fraction of the light that passes; ``t = sqrt(transmittance)``. If it is trained, this is
        the start, and values at 0 or 1 start 0.001 away from it: an opaque sample then has an
        amplitude of 0.03, which is visible in the image of a point.
    spacing : float, metres
        Sampling interval.
    trainable : bool
        Train it. If False, it is used exactly as given; only rounding beyond the bounds is clipped.

    Raises
    ------
    TypeError
        When the transmittance is not a Tensor.
    ValueError
        When it is not real ``[H, W]`` in 0..1, or the spacing not positive.
    """

    fixed: Tensor

    def __init__(self, transmittance: Tensor, *, spacing: float, trainable: bool = True) -> None:
        super().__init__(map_size("transmittance", transmittance), spacing)
        raw = bounded_raw("transmittance", transmittance.detach(), 0.0, 1.0)
        if trainable:
            self.raw = nn.Parameter(raw)
        else:
            # Rounding, as of 1 - cos^2 - sin^2, may be below zero, where there is no root.
            self.register_buffer("fixed", transmittance.detach().clamp(0.0, 1.0))

    @property
    def transmittance(self) -> Tensor:
        """Fraction of the light that passes each sample, ``[H, W]`` in 0..1."""
        return self.fixed if "fixed" in self._buffers else bounded(self.raw, 0.0, 1.0)

    def transmission(self, wavelength: Tensor) -> Tensor:
        """Root of the transmittance, ``[1, H, W]``."""
        if "fixed" in self._buffers:
            amplitude = single(self.fixed).sqrt()[None]
        else:  # The root of a sigmoid by its logarithm: its slope is 0 at the ends, and not NaN.
            amplitude = functional.logsigmoid(single(self.raw)).mul(0.5).exp()[None]
        return torch.complex(amplitude, torch.zeros_like(amplitude))


class CubicMask(PhaseElement):
    """A cubic phase mask, whose blur hardly depends on depth (wavefront coding).

    ``OPD = alpha (x^3 + y^3)`` waves at the design wavelength, with x and y from -1 to 1 across
    the pupil (Dowski and Cathey, Appl. Opt. 34:1859, 1995).

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    spacing, diameter : float, metres
        Sampling interval; diameter of the pupil, where |x| = 1.
    alpha : float or scalar Tensor, waves
        Strength of the cubic phase. A parameter is trained. Start it at about 1: alpha and -alpha
        give the same blur, mirrored, so that the gradient at 0 is about zero.
    design_wavelength : float, metres
        Wavelength of the waves.

    Raises
    ------
    ValueError
        When a length is not positive, the diameter more than 100 times the grid, as one in
        millimetres is, the wavelength not within 1e-9 to 1e-2 metres, or alpha not finite.
    TypeError
        For a diameter or a wavelength that is not one number, or is a parameter; for an alpha that
        is not one number.
    """

    alpha: Tensor
    shape: Tensor

    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        spacing: float,
        diameter: float,
        alpha: float | Tensor,
        design_wavelength: float,
    ) -> None:
        super().__init__(size, spacing)
        diameter = one_number("diameter", diameter, "metres")
        check_diameter(diameter, self)
        design_wavelength = one_number("design_wavelength", design_wavelength, "metres")
        check_wavelength("design_wavelength", design_wavelength)
        check_scalar("alpha", alpha, "waves", remedy="give each a CubicMask of its own")
        check_finite("alpha", alpha, "waves")
        self.design_wavelength = design_wavelength
        self._radius = diameter / 2
        hold(self, "alpha", as_real("alpha", alpha))
        y, x = (coordinates(n, spacing=2 * spacing / diameter) for n in self.size)
        shape = y[:, None] ** 3 + x**3
        self.register_buffer("shape", shape.to(self.alpha.dtype), persistent=False)

    def phase_shift(self, wavelength: Tensor) -> Tensor:
        """``2 pi OPD``, ``[L, H, W]``, radians."""
        return self._phase(wavelength, self.shape)

    def phase_at(self, wavelength: Tensor, y: Tensor, x: Tensor, *, beyond: float = 0.0) -> Tensor:
        """``2 pi OPD``, ``[L, H, W]``, radians; the cubic goes on beyond the pupil."""
        return self._phase(wavelength, ((y**3 + x**3) / self._radius**3).to(self.shape))

    def _phase(self, wavelength: Tensor, shape: Tensor) -> Tensor:
        return _scaled(2 * math.pi * self.alpha * shape, wavelength, self.design_wavelength)

    def extra_repr(self) -> str:
        """Name the grid, the pupil and the wavelength of the phase."""
        return (
            f"{super().extra_repr()}, diameter={2 * float(self._radius):g} m, "
            f"design_wavelength={self.design_wavelength:g} m"
        )


def check_diameter(diameter: float | Tensor, element: Element) -> None:
    """Raise a ValueError unless a diameter is positive and in the unit of the grid."""
    check_positive("diameter", diameter, "metres")
    if isinstance(diameter, Tensor) and not looked_at(diameter):
        return
    widest = float(torch.as_tensor(diameter).detach().max())
    grid = max(element.size) * element.spacing
    if widest > _MOST_GRIDS * grid:
        raise ValueError(
            f"diameter must be in metres, as the spacing, not {widest:g}, while the grid is only "
            f"{grid:.3g} wide: the grid would hold almost nothing of the wavefront"
        )


def _scaled(phase: Tensor, wavelength: Tensor, design_wavelength: float | None) -> Tensor:
    if design_wavelength is None:
        return phase[None]
    return ((design_wavelength / wavelength).to(phase.device)[:, None, None] * phase).to(
        phase.dtype
    )


def _radius2(size: tuple[int, int], device: torch.device | None) -> Tensor:
    y, x = (coordinates(n, device=device) for n in size)
    return y[:, None] ** 2 + x**2
