"""Elements: thin plates that a field passes through.

An element is a complex transmission on the grid ``(i - N // 2) * spacing``, at one wavelength or
at several. It changes phase and takes light away; none makes any. Functions give the numbers, the
modules hold what is trained.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .constraint import bounded, bounded_inverse
from .fourier import convolve, phasor
from .grid import coordinates
from .material import refractive_index
from .quantity import check_complex, check_finite, check_positive, hold, image_size
from .zernike import zernike_basis

__all__ = [
    "Aberration",
    "AmplitudeMask",
    "CubicMask",
    "Element",
    "HeightMap",
    "Lens",
    "PhaseMask",
    "height_phase",
    "lens_phase",
    "quantize_height",
]


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
    spacing : float or Tensor, metres
    wavelength : float or Tensor ``[...]``, metres in vacuum
    focal_length : float or Tensor ``[...]``, metres
        Negative for a diverging lens.

    Returns
    -------
    Tensor, float64 ``[..., H, W]``, radians

    Raises
    ------
    ValueError
        For a spacing or wavelength that is not positive, or a focal length of zero.
    """
    check_positive("spacing", spacing, "metres")
    check_positive("wavelength", wavelength, "metres")
    check_finite("focal_length", focal_length, "metres")
    if not isinstance(focal_length, Tensor) and focal_length == 0:
        raise ValueError("focal_length must not be 0 metres")
    power = math.pi / (wavelength * focal_length)
    device = next((v.device for v in (wavelength, focal_length) if isinstance(v, Tensor)), None)
    radius2 = _radius2(image_size(size), device) * spacing**2
    if isinstance(power, Tensor):
        power = power.double()[..., None, None]
    return -power * radius2


def height_phase(
    height: Tensor, *, wavelength: float | Tensor, index: float | Tensor, outside: float = 1.0
) -> Tensor:
    """Phase of a relief, ``2 pi (n - n_outside) h / lambda``: glass delays the wave.

    Parameters
    ----------
    height : Tensor ``[..., H, W]``, metres
    wavelength : float or Tensor ``[...]``, metres in vacuum
    index : float or Tensor ``[...]``
        Refractive index of the relief at that wavelength.
    outside : float
        Refractive index of what fills its valleys.

    Returns
    -------
    Tensor ``[..., H, W]``, radians
        In the type of ``height``; a wavelength's dimension goes in front of H.
    """
    check_positive("wavelength", wavelength, "metres")
    turns = (index - outside) / wavelength
    if isinstance(turns, Tensor):
        turns = turns[..., None, None].to(height.device)
    return (2 * math.pi * turns * height).to(height.dtype)


def quantize_height(
    height: Tensor, *, levels: int, period: float, sharpness: float = 0.0, hard: bool = True
) -> Tensor:
    """Round a relief to the L heights ``0, period / L, ..., (L - 1) period / L``.

    Heights count modulo the period, which is one wave, so that one just below it becomes 0.

    Parameters
    ----------
    height : Tensor, metres
    levels : int
        Number L of different heights, at least 2.
    period : float, metres
        Height of one wave of phase, ``lambda / (n - 1)``.
    sharpness : float
        Of the soft staircase (a tanh in each step) whose slope is the gradient: 0 is a straight
        line, the straight-through estimator; with growing sharpness, up to 20, the gradient
        gathers about the thresholds between levels. Raise it during training.
    hard : bool
        Exactly L heights; otherwise the soft staircase itself, not taken modulo the period.

    Returns
    -------
    Tensor, metres
        Of first-order efficiency ``sinc^2(1 / L)`` in a blazed grating (Swanson, MIT Lincoln
        Laboratory TR-854, 1989). Applying it again changes nothing.

    Raises
    ------
    ValueError
        For fewer than 2 levels, a period that is not positive, or a sharpness outside of 0..20.
    """
    if levels < 2:
        raise ValueError(f"a relief has at least 2 levels, not {levels}")
    check_positive("period", period, "metres")
    if not 0 <= sharpness <= 20:
        raise ValueError(f"sharpness must be from 0 (a straight line) to 20, not {sharpness}")
    steps = height * (levels / period)
    nearest = torch.floor(steps + 0.5).detach()
    away = steps - nearest  # -1/2..1/2, at 0 on a level
    if sharpness > 1e-3:  # below, the staircase is the line to rounding
        # In each step a tanh about the threshold half way between two levels.
        half = math.tanh(sharpness / 2)
        side = torch.where(away >= 0, 0.5, -0.5)
        soft = nearest + side + 0.5 * torch.tanh(sharpness * (away - side)) / half
    else:
        soft = steps
    if not hard:
        return soft * (period / levels)
    index = torch.remainder(nearest, levels)
    return (index + (soft - soft.detach())) * (period / levels)


class Element(nn.Module, ABC):
    """A thin plate in a field.

    Attributes
    ----------
    size : (int, int)
        Samples (H, W).
    spacing : float, metres
        Distance of the samples.
    """

    def __init__(self, size: int | tuple[int, int], spacing: float) -> None:
        super().__init__()
        check_positive("spacing", spacing, "metres")
        self.size = image_size(size)
        self.spacing = float(spacing)

    @abstractmethod
    def transmission(self, wavelength: Tensor) -> Tensor:
        """Complex amplitude transmission ``[L or 1, H, W]`` at wavelengths ``[L]``, |t| <= 1."""

    def forward(self, field: Tensor, *, wavelength: float | Tensor) -> Tensor:
        """Send a field through.

        Parameters
        ----------
        field : Tensor, complex or real ``[..., H, W]``, or ``[..., L, H, W]`` for L wavelengths
        wavelength : float or Tensor ``[L]``, metres

        Returns
        -------
        Tensor, complex
            The field behind the element.
        """
        check_complex("field", field, "[..., H, W]")
        if field.shape[-2:] != self.size:
            raise ValueError(
                f"field must be [..., {self.size[0]}, {self.size[1]}], the size of the element, "
                f"not {tuple(field.shape)}"
            )
        check_positive("wavelength", wavelength, "metres")
        several = torch.as_tensor(wavelength, dtype=torch.float64, device=field.device)
        transmission = self.transmission(several.reshape(-1))
        if not several.ndim:
            return field * transmission[0]
        return field * transmission.expand(len(several), *self.size)

    def extra_repr(self) -> str:
        """Name the grid."""
        return f"size={self.size}, spacing={self.spacing:g} m"


class Lens(Element):
    """A thin lens, free of dispersion and aberrations.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    spacing : float, metres
        Distance of the samples.
    focal_length : float or Tensor, metres
        A parameter is trained.
    """

    focal_length: Tensor

    def __init__(
        self, size: int | tuple[int, int], *, spacing: float, focal_length: float | Tensor
    ) -> None:
        super().__init__(size, spacing)
        check_finite("focal_length", focal_length, "metres")
        hold(
            self,
            "focal_length",
            torch.as_tensor(focal_length) if not isinstance(focal_length, Tensor) else focal_length,
        )

    def transmission(self, wavelength: Tensor) -> Tensor:
        """``exp(-i pi r^2 / (lambda f))``, ``[L, H, W]``."""
        phase = lens_phase(
            self.size,
            spacing=self.spacing,
            wavelength=wavelength,
            focal_length=self.focal_length,
        )
        return phasor(phase.to(self.focal_length.dtype))


class PhaseMask(Element):
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
    """

    phase: Tensor

    def __init__(
        self, phase: Tensor, *, spacing: float, design_wavelength: float | None = None
    ) -> None:
        super().__init__(_map_size("phase", phase), spacing)
        if design_wavelength is not None:
            check_positive("design_wavelength", design_wavelength, "metres")
        self.design_wavelength = design_wavelength
        hold(self, "phase", phase)

    def transmission(self, wavelength: Tensor) -> Tensor:
        """``exp(i phase)``, ``[L or 1, H, W]``."""
        return phasor(_scaled(self.phase, wavelength, self.design_wavelength))


class AmplitudeMask(Element):
    """A transmittance in each sample, ``sigmoid(raw)``: between opaque and open.

    Parameters
    ----------
    transmittance : Tensor ``[H, W]`` in 0..1
        Share of the light that passes, to start from; ``t = sqrt(transmittance)``. Values at 0 or
        1 start within 0.001 of it.
    spacing : float, metres
        Distance of the samples.
    trainable : bool
        Train it; otherwise it is used exactly as given.
    """

    fixed: Tensor

    def __init__(self, transmittance: Tensor, *, spacing: float, trainable: bool = True) -> None:
        super().__init__(_map_size("transmittance", transmittance), spacing)
        raw = bounded_inverse(transmittance.detach(), 0.0, 1.0)
        if trainable:
            self.raw = nn.Parameter(raw)
        else:
            self.register_buffer("fixed", transmittance.detach())

    @property
    def transmittance(self) -> Tensor:
        """Share of the light that passes each sample, ``[H, W]`` in 0..1."""
        return self.fixed if "fixed" in self._buffers else bounded(self.raw, 0.0, 1.0)

    def transmission(self, wavelength: Tensor) -> Tensor:
        """Root of the transmittance, ``[1, H, W]``."""
        amplitude = self.transmittance.sqrt()[None]
        return torch.complex(amplitude, torch.zeros_like(amplitude))


class HeightMap(Element):
    """A relief in glass or polymer: a diffractive optical element.

    ::

        raw ─sigmoid─► 0..max_height ─blur─► minimum feature ─round─► L levels ─► + etch error

    Parameters
    ----------
    height : Tensor ``[H, W]``, metres
        Relief to start from, between 0 and ``max_height``.
    spacing : float, metres
        Distance of the samples.
    material : str or float
        A name of :data:`optics.MATERIALS`, or a refractive index for all wavelengths.
    design_wavelength : float, metres
        At which ``max_height`` is one wave, unless it is given.
    max_height : float, metres, optional
        Depth that can be made. By default one wave, ``design_wavelength / (n - 1)``.
    levels : int, optional
        Heights that can be made, counted modulo one wave at the design wavelength; see
        :func:`quantize_height`.
    minimum_feature : float, metres
        Width of a disk that the relief is averaged over before it is rounded, so that no smaller
        detail is designed.

    Notes
    -----
    :attr:`sharpness` is that of :func:`quantize_height`; raise it during training. Call
    :meth:`draw_etch_error` before each step to train for a maker's tolerance.
    """

    etch_error: Tensor | None
    feature: Tensor

    def __init__(
        self,
        height: Tensor,
        *,
        spacing: float,
        material: str | float,
        design_wavelength: float,
        max_height: float | None = None,
        levels: int | None = None,
        minimum_feature: float = 0.0,
    ) -> None:
        super().__init__(_map_size("height", height), spacing)
        check_positive("design_wavelength", design_wavelength, "metres")
        if isinstance(material, str):
            index = refractive_index(material, design_wavelength)
        else:
            index = float(material)
        if not 1 < index < math.inf:
            raise ValueError(f"material must name a glass or be an index above 1, not {material!r}")
        self.material = material
        self.design_wavelength = float(design_wavelength)
        #: Height of one wave at the design wavelength, metres.
        self.period = design_wavelength / (index - 1)
        self.max_height = self.period if max_height is None else float(max_height)
        check_positive("max_height", self.max_height, "metres")
        if levels is not None and levels < 2:
            raise ValueError(f"a relief has at least 2 levels, not {levels}")
        if not 0 <= minimum_feature < math.inf:
            raise ValueError(f"minimum_feature must be 0 metres or more, not {minimum_feature}")
        self.levels = levels
        self.minimum_feature = float(minimum_feature)
        #: Of the surrogate gradient of the levels, 0..20.
        self.sharpness = 0.0
        raw = bounded_inverse(height.detach().double(), 0.0, self.max_height)
        self.raw = nn.Parameter(raw.to(torch.get_default_dtype()))
        self.register_buffer("etch_error", None, persistent=False)
        disk = _disk(self.minimum_feature / self.spacing)
        self.register_buffer("feature", disk.to(torch.get_default_dtype()), persistent=False)

    @property
    def height(self) -> Tensor:
        """The relief as it would be made, without etch error, ``[H, W]``, metres."""
        height = bounded(self.raw, 0.0, self.max_height)
        if self.feature.numel() > 1:
            height = convolve(height[None, None], self.feature, boundary="replicate")[0, 0]
        if self.levels is not None:
            height = quantize_height(
                height, levels=self.levels, period=self.period, sharpness=self.sharpness
            )
        return height

    def refractive_index(self, wavelength: Tensor) -> Tensor:
        """Index of the material at wavelengths ``[L]``."""
        if isinstance(self.material, str):
            return refractive_index(self.material, wavelength)
        return torch.full_like(wavelength, self.material)

    def transmission(self, wavelength: Tensor) -> Tensor:
        """``exp(2 pi i (n - 1) h / lambda)``, ``[L, H, W]``."""
        height = self.height
        if self.etch_error is not None:
            height = height + self.etch_error
        return phasor(
            height_phase(height, wavelength=wavelength, index=self.refractive_index(wavelength))
        )

    def draw_etch_error(
        self, sigma: float, *, generator: torch.Generator | None = None, width: float = 0.0
    ) -> None:
        """Draw an error of the relief that stays until the next draw.

        Parameters
        ----------
        sigma : float, metres RMS
            0 takes the error away.
        generator : torch.Generator, optional
            Source of the draw, on the CPU.
        width : float, metres
            Of a disk over which neighbouring errors agree; 0 draws each sample by itself.
        """
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigma must be 0 metres RMS or more, not {sigma}")
        if sigma == 0:
            self.etch_error = None
            return
        error = torch.randn(self.size, dtype=torch.float64, generator=generator)
        disk = _disk(width / self.spacing)
        if disk.numel() > 1:
            error = convolve(error[None, None], disk, boundary="circular")[0, 0]
            sigma = sigma / float(disk.square().sum().sqrt())
        self.etch_error = (sigma * error).to(self.raw)

    def extra_repr(self) -> str:
        """Name the geometry and what can be made."""
        levels = "" if self.levels is None else f", levels={self.levels}"
        return (
            f"{super().extra_repr()}, material={self.material!r}, max_height="
            f"{self.max_height:g} m, design_wavelength={self.design_wavelength:g} m, "
            f"minimum_feature={self.minimum_feature:g} m{levels}"
        )


class CubicMask(Element):
    """A cubic phase, which makes a blur that hardly depends on depth.

    ``OPD = alpha (x^3 + y^3)`` waves at the design wavelength, with x and y from -1 to 1 across
    the pupil (Dowski and Cathey, Appl. Opt. 34:1859, 1995).

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    spacing, diameter : float, metres
        Distance of the samples; diameter of the pupil, where |x| = 1.
    alpha : float or Tensor, waves
        A parameter is trained.
    design_wavelength : float, metres
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
        check_positive("diameter", diameter, "metres")
        check_positive("design_wavelength", design_wavelength, "metres")
        check_finite("alpha", alpha, "waves")
        self.design_wavelength = float(design_wavelength)
        hold(self, "alpha", _tensor(alpha))
        y, x = (coordinates(n, spacing=2 * spacing / diameter) for n in self.size)
        shape = y[:, None] ** 3 + x**3
        self.register_buffer("shape", shape.to(self.alpha.dtype), persistent=False)

    def transmission(self, wavelength: Tensor) -> Tensor:
        """``exp(2 pi i OPD)``, ``[L, H, W]``."""
        phase = 2 * math.pi * self.alpha * self.shape
        return phasor(_scaled(phase, wavelength, self.design_wavelength))


class Aberration(Element):
    """A wavefront as a sum of Zernike polynomials, in metres of optical path.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    spacing, diameter : float, metres
        Distance of the samples; diameter of the pupil, beyond which the wavefront is flat.
    coefficients : Tensor ``[J]``, metres RMS
        A parameter is trained.
    indices : sequence of int, optional
        Noll indices, by default ``1, ..., J``.
    """

    coefficients: Tensor
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
        if coefficients.ndim != 1 or not coefficients.is_floating_point():
            raise ValueError(
                f"coefficients must be real [J], metres RMS, not {coefficients.dtype} "
                f"{tuple(coefficients.shape)}"
            )
        self.indices = tuple(indices if indices is not None else range(1, len(coefficients) + 1))
        if len(self.indices) != len(coefficients):
            raise ValueError(
                f"{len(coefficients)} coefficients need as many Noll indices, not "
                f"{len(self.indices)}"
            )
        hold(self, "coefficients", coefficients)
        basis = zernike_basis(
            self.indices, self.size, diameter=diameter, spacing=spacing, soft_edge=True
        )
        self.register_buffer("basis", basis.to(coefficients), persistent=False)

    def transmission(self, wavelength: Tensor) -> Tensor:
        """``exp(2 pi i OPD / lambda)``, ``[L, H, W]``."""
        path = torch.einsum("j,jyx->yx", self.coefficients, self.basis)
        turns = path / wavelength.to(path.device)[:, None, None]
        return phasor((2 * math.pi * turns).to(path.dtype))


def _scaled(phase: Tensor, wavelength: Tensor, design_wavelength: float | None) -> Tensor:
    if design_wavelength is None:
        return phase[None]
    return ((design_wavelength / wavelength).to(phase.device)[:, None, None] * phase).to(
        phase.dtype
    )


def _tensor(value: float | Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value))


def _map_size(name: str, values: Tensor) -> tuple[int, int]:
    if values.ndim != 2 or not values.is_floating_point() or values.numel() == 0:
        raise ValueError(
            f"{name} must be real floating point [H, W], not {values.dtype} {tuple(values.shape)}"
        )
    check_finite(name, values.detach())
    return values.shape[0], values.shape[1]


def _radius2(size: tuple[int, int], device: torch.device | None) -> Tensor:
    y, x = (coordinates(n, device=device) for n in size)
    return y[:, None] ** 2 + x**2


def _disk(samples: float) -> Tensor:
    """A filled disk of unit sum, so many samples across (soft at the rim), odd in size."""
    half = max(0, math.ceil((samples - 1) / 2))
    radius = _radius2((2 * half + 1, 2 * half + 1), None).sqrt()
    disk = (samples / 2 - radius + 0.5).clamp(0, 1) if half else torch.ones_like(radius)
    return disk / disk.sum()
