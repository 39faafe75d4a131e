"""Elements: thin plates that a field passes through.

An element is a complex transmission on the grid ``(i - N // 2) * spacing``, at one wavelength or
at several. It changes phase and takes light away; none makes any. Functions give the numbers, the
modules hold what is trained.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .constraint import bounded, bounded_raw
from .fourier import phasor
from .grid import coordinates
from .quantity import (
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

__all__ = [
    "AmplitudeMask",
    "CubicMask",
    "Element",
    "Lens",
    "PhaseElement",
    "PhaseMask",
    "check_diameter",
    "lens_phase",
]

# Of a plate in a pupil, to whom gives two distances.
SQUARE_SAMPLES = "samples are as far apart along rows as along columns: interpolate the map"

# Widths of the grid that a pupil has at most: of a wider one it would hold the middle, nearly flat.
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
    # In double: a wavelength of half precision has no digits left, and the product fewer.
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


class Element(nn.Module, ABC):
    """A thin plate in a field.

    Attributes
    ----------
    size : (int, int)
        Samples (H, W).
    spacing : float, metres
        Distance of the samples.
    places : (int, int) or None
        Places (P, Q) of the picture from which light meets another transmission each, see
        :class:`VaryingImaging`; None, by default, where it is the same for all.

    Raises
    ------
    ValueError
        When the spacing is not positive and finite, in metres, or the size no two whole
        numbers.
    TypeError
        For a spacing that is not one number, as one for rows and one for columns, or is a
        parameter.
    """

    places: tuple[int, int] | None = None

    def __init__(self, size: int | tuple[int, int], spacing: float) -> None:
        super().__init__()
        self.spacing = one_number("spacing", spacing, "metres", remedy=SQUARE_SAMPLES)
        check_positive("spacing", self.spacing, "metres")
        self.size = image_size(size)

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
        """Send a field through.

        Parameters
        ----------
        field : Tensor, complex or real ``[..., H, W]``, or ``[..., L, H, W]`` for L wavelengths
        wavelength : float or Tensor ``[L]``, metres

        Returns
        -------
        Tensor, complex ``[..., H, W]``, or ``[..., L, H, W]`` for several wavelengths
            The field behind the element; with places those are the leading dimensions,
            ``[..., P, Q, (L,) H, W]``, and ``...`` of the field broadcasts with them.

        Raises
        ------
        ValueError
            When the field is not sampled as the element is, is one of another number of
            wavelengths, or a wavelength is not within 1e-9 to 1e-2 metres.
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


class PhaseElement(Element, ABC):
    """An element that changes nothing but the phase, and says by how much.

    The phases of several are added before one sine and one cosine are taken of them (``Pupil``).
    Made and refused as an :class:`Element`: a ``size`` in samples, a ``spacing`` in metres.
    """

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401 - what Python hands on
        super().__init_subclass__(**options)
        # Another phase than its parent's, of its own or of a mixin: the parent's formula is none of
        # its places.
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
        """Phase at other places than the samples, of a plate that is a formula of the place.

        A decentred or turned plate is computed by it, exactly and beyond its grid. A plate of
        samples has no formula: it is interpolated, and its border goes on. So is one of a class
        that changes :meth:`phase_shift` of its parent and not this.

        Parameters
        ----------
        wavelength : Tensor ``[L]``, metres
        y, x : Tensor ``[H, W]``, metres
            Places on the plate, from its middle.
        beyond : float, metres
            How far the formula goes on beyond the rim of what has one: the distance by which the
            plate is decentred, as far as a pupil that ends at this rim sees it.

        Returns
        -------
        Tensor, as of :meth:`phase_shift`, or None
            None, by default, of a plate of samples.
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
        Distance of the samples.
    focal_length : float or scalar Tensor, metres
        Negative for a diverging lens. A parameter is trained as it is.

    Raises
    ------
    ValueError
        When the spacing is not positive, or the focal length not finite, or 0.
    TypeError
        For a focal length that is not one number.

    Notes
    -----
    A parameter is the caller's own, and so it is trained in metres, where a step of an optimiser
    counts the more the stronger the lens is: a step ds moves the focus by ``D^2 ds / (8 f^2
    lambda)`` waves at the rim of a pupil of diameter D. 2 mm, of Adam at a rate of 0.002, are 6.5
    waves of 50 mm over 6 mm, and 2e-4 waves of 10 m. Learn it in parts of itself instead, so that
    a step of 0.002 is 0.2 %, whatever the lens (a converging one, of less than a few decimetres)::

        parametrize.register_parametrization(lens, "focal_length", optics.Positive())

    with ``torch.nn.utils.parametrize``, before the optimiser is made; or learn a small correction
    in waves, the defocus of an :class:`Aberration`, Noll's index 4.
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
    """A phase in each sample, the same at all wavelengths unless one is given.

    Parameters
    ----------
    phase : Tensor ``[H, W]``, radians
        A parameter is trained.
    spacing : float, metres
        Distance of the samples.
    design_wavelength : float, metres, optional
        The phase holds there and scales with ``design_wavelength / wavelength``, as that of a
        relief without dispersion. Otherwise it is geometric and does not depend on wavelength.

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
    """A transmittance in each sample, ``sigmoid(raw)``: between opaque and open.

    Parameters
    ----------
    transmittance : Tensor ``[H, W]`` in 0..1
        Share of the light that passes, to start from; ``t = sqrt(transmittance)``. Values at 0 or
        1 start within 0.001 of it if they are trained: of what is opaque that is an amplitude of
        0.03, which passes into the picture of a point.
    spacing : float, metres
        Distance of the samples.
    trainable : bool
        Train it; otherwise it is used exactly as given, but for rounding beyond the bounds.

    Raises
    ------
    TypeError
        When the transmittance is no Tensor.
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
            # What 1 - cos^2 - sin^2 is below zero would have no root.
            self.register_buffer("fixed", transmittance.detach().clamp(0.0, 1.0))

    @property
    def transmittance(self) -> Tensor:
        """Share of the light that passes each sample, ``[H, W]`` in 0..1."""
        return self.fixed if "fixed" in self._buffers else bounded(self.raw, 0.0, 1.0)

    def transmission(self, wavelength: Tensor) -> Tensor:
        """Root of the transmittance, ``[1, H, W]``."""
        if "fixed" in self._buffers:
            amplitude = single(self.fixed).sqrt()[None]
        else:  # The root of a sigmoid, whose slope is 0 where it ends, and not infinity times 0.
            amplitude = functional.logsigmoid(single(self.raw)).mul(0.5).exp()[None]
        return torch.complex(amplitude, torch.zeros_like(amplitude))


class CubicMask(PhaseElement):
    """A cubic phase, which makes a blur that hardly depends on depth.

    ``OPD = alpha (x^3 + y^3)`` waves at the design wavelength, with x and y from -1 to 1 across
    the pupil (Dowski and Cathey, Appl. Opt. 34:1859, 1995).

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    spacing, diameter : float, metres
        Distance of the samples; diameter of the pupil, where |x| = 1.
    alpha : float or scalar Tensor, waves
        A parameter is trained. Begin it at about 1: alpha and its opposite blur alike, mirrored,
        so that at 0 its slope is about zero and it learns nothing.
    design_wavelength : float, metres

    Raises
    ------
    ValueError
        When a length is not positive, the diameter 100 times the grid, as one in millimetres is,
        the wavelength not within 1e-9 to 1e-2 metres, or alpha not finite.
    TypeError
        For a diameter or a wavelength that is not one number, or is a parameter; for an alpha of
        several.
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
    """Refuse a pupil of no size, and one in another unit than the grid."""
    check_positive("diameter", diameter, "metres")
    if isinstance(diameter, Tensor) and not looked_at(diameter):
        return
    widest = float(torch.as_tensor(diameter).detach().max())
    grid = max(element.size) * element.spacing
    if widest > _MOST_GRIDS * grid:
        raise ValueError(
            f"diameter must be in metres, as the spacing, not {widest:g}, where the grid is "
            f"{grid:.3g} wide: nearly nothing of the wavefront would be on it"
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
