"""Reliefs in glass or polymer: their phase, the heights that can be fabricated, and the element.

::

    raw ─sigmoid─► 0..max_height ─blur─► minimum feature ─round─► L levels ─► + etch error ─► phase
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from optics.constraint import bounded, bounded_raw
from optics.fourier import convolve
from optics.grid import coordinates
from optics.material import refractive_index
from optics.quantity import (
    as_real,
    check_number,
    check_positive,
    check_scalar,
    check_tensor,
    check_wavelength,
    map_size,
    one_number,
    single,
    whole_number,
)

from .element import PhaseElement

__all__ = ["EtchedRelief", "HeightMap", "height_phase", "quantize_height"]


def height_phase(
    height: Tensor, *, wavelength: float | Tensor, index: float | Tensor, outside: float = 1.0
) -> Tensor:
    """Phase of a relief, ``2 pi (n - n_outside) h / lambda``: glass delays the wave.

    The relief is thin: rays leave it where they entered (Goodman, Fourier Optics, sec. 5.1).

    Parameters
    ----------
    height : Tensor ``[..., H, W]``, metres
    wavelength : float or Tensor ``[...]``, metres in vacuum
    index : float or Tensor ``[...]``
        Refractive index of the relief at that wavelength.
    outside : float
        Refractive index of the medium above the relief.

    Returns
    -------
    Tensor ``[..., H, W]``, radians
        In the dtype of ``height``; the dimensions of a wavelength are in front of H.

    Raises
    ------
    TypeError
        When the height, an index or the wavelength is neither a number nor a Tensor.
    ValueError
        When a wavelength is not within 1e-9 to 1e-2 metres.
    """
    check_wavelength("wavelength", wavelength)
    check_number("index", index)
    check_number("outside", outside)
    turns = (index - outside) / wavelength
    if isinstance(turns, Tensor):
        turns = turns[..., None, None].to(height.device)
    height = as_real("height", height)
    return (2 * math.pi * turns * height).to(height.dtype)


def quantize_height(
    height: Tensor, *, levels: int, period: float, sharpness: float = 0.0, hard: bool = True
) -> Tensor:
    """Round a relief to the L heights ``0, period / L, ..., (L - 1) period / L``.

    Heights are taken modulo the period, one wave of phase, so that a height just below it becomes
    0.

    Parameters
    ----------
    height : Tensor of any shape, metres
    levels : int
        Number L of different heights, at least 2.
    period : float, metres
        Height of one wave of phase, ``lambda / (n - 1)``.
    sharpness : float
        Sharpness of the soft staircase (a tanh in each step) whose slope is the gradient: 0 is a
        straight line, the straight-through estimator; with growing sharpness, up to 20, the
        gradient concentrates at the thresholds between levels. Raise it during training.
    hard : bool
        If True, exactly L heights. If False, the soft staircase, not taken modulo the period.

    Returns
    -------
    Tensor of the shape of ``height``, metres
        Rounded heights; applying the function again changes nothing. A blazed grating of L levels
        has the first-order efficiency ``sinc^2(1 / L)`` (Swanson, MIT Lincoln Laboratory TR-854,
        1989).

    Raises
    ------
    TypeError
        When the height is not a Tensor, or the period or the sharpness not one number.
    ValueError
        For fewer than 2 levels, a period that is not positive, or a sharpness outside of 0..20.
    """
    levels = whole_number("levels", levels, least=2)
    check_scalar("period", period, "metres")
    check_positive("period", period, "metres")
    height = as_real("height", height)
    sharpness = one_number("sharpness", sharpness)
    if not 0 <= sharpness <= 20:
        raise ValueError(f"sharpness must be from 0 (a straight line) to 20, not {sharpness:g}")
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


class EtchedRelief(PhaseElement):
    """Base class of a relief in a material, with a random etch error of its height."""

    etch_error: Tensor | None

    def __init__(self, size: tuple[int, int], spacing: float, material: str | float) -> None:
        super().__init__(size, spacing)
        self.material = material
        self.register_buffer("etch_error", None, persistent=False)

    @abstractmethod
    def _height(self) -> Tensor:
        """Height of the relief without etch error, ``[H, W]``, metres."""

    def refractive_index(self, wavelength: Tensor) -> Tensor:
        """Refractive index ``[L]`` of the material.

        Parameters
        ----------
        wavelength : Tensor ``[L]``, metres

        Returns
        -------
        Tensor ``[L]``

        Raises
        ------
        TypeError
            When the wavelength is not a Tensor.
        """
        check_tensor("wavelength", wavelength)
        if isinstance(self.material, str):
            return refractive_index(self.material, wavelength)
        return torch.full_like(wavelength, self.material)

    def phase_shift(self, wavelength: Tensor) -> Tensor:
        """``2 pi (n - 1) h / lambda``, ``[L, H, W]``, radians."""
        height = self._height()
        if self.etch_error is not None:
            height = height + self.etch_error
        index = self.refractive_index(wavelength)
        return height_phase(height, wavelength=wavelength, index=index)

    def draw_etch_error(
        self, sigma: float, *, generator: torch.Generator | None = None, width: float = 0.0
    ) -> None:
        """Draw a random etch error, which is added to the height until the next draw.

        Parameters
        ----------
        sigma : float, metres RMS
            Size of the error, up to 1e-2; 0 removes it.
        generator : torch.Generator, optional
            Source of the draw, on the CPU.
        width : float, metres
            Diameter of a disk over which the errors are correlated; 0 draws each sample
            independently. At most the largest odd number of samples along the relief's shorter
            side.

        Raises
        ------
        TypeError
            When ``sigma`` or the width is not one number.
        ValueError
            When ``sigma`` is not within 0 and 1e-2, the width is negative or not finite, or the
            disk does not fit on the relief.
        """
        sigma = one_number("sigma", sigma, "metres RMS")
        width = one_number("width", width, "metres")
        if not 0 <= sigma <= 1e-2:  # the longest wavelength; what is more is in another unit
            raise ValueError(
                f"sigma must be in metres RMS, 0 to 1e-2, not {sigma:g}: 20 nm are 2e-8"
            )
        if not 0 <= width < math.inf:
            raise ValueError(f"width must be 0 metres or more, not {width:g}")
        if sigma == 0:
            self.etch_error = None
            return
        _check_fits("width", width, self)
        error = torch.randn(self.size, dtype=torch.float64, generator=generator)
        disk = _disk(width / self.spacing)
        if disk.numel() > 1:
            error = convolve(error[None, None], disk, boundary="circular")[0, 0]
            sigma = sigma / float(disk.square().sum().sqrt())
        self.etch_error = (sigma * error).to(self._height().detach())


class HeightMap(EtchedRelief):
    """A trainable relief in glass or polymer: a diffractive optical element.

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
        Wavelength at which ``max_height`` is one wave by default.
    max_height : float, metres, optional
        Largest height that can be fabricated. By default one wave, ``design_wavelength / (n - 1)``.
    levels : int, optional
        Number L of heights that can be fabricated. If ``max_height`` is one wave, they are those of
        :func:`quantize_height`, modulo one wave at the design wavelength. For any other
        ``max_height`` they are spaced evenly from 0 to ``max_height``, and not taken modulo a wave:
        a shallower relief does not reach one, and in a deeper one other wavelengths would see the
        difference.
    minimum_feature : float, metres
        Diameter of a disk over which the relief is averaged, so that its heights have no smaller
        detail. The relief is rounded to ``levels`` after that: a slope becomes terraces of any
        width, down to one sample; :func:`optics.relief_report` reports the narrowest. At most the
        largest odd number of samples along the relief's shorter side.

    Raises
    ------
    TypeError
        For an index or a length that is not one number, or is a parameter.
    ValueError
        For a height that is not real ``[H, W]`` within 0 and ``max_height``, a length that is
        not positive, a ``max_height`` of more than the relief is wide, as one in micrometres is, a
        wavelength that is not within 1e-9 to 1e-2 metres, a material that is not known or has an
        index of 1 or less, fewer than 2 levels, or a minimum feature that is negative or does not
        fit on the relief.

    Notes
    -----
    The trained parameter is ``raw``; the relief is ``max_height * sigmoid(raw)``. It has no unit,
    so that a learning rate of 0.01 to 0.1 suits any height. :attr:`sharpness` is that of
    :func:`quantize_height`; raise it during training. Call :meth:`draw_etch_error` before each step
    to train for a fabrication tolerance (docs/howto/tolerance.md).
    """

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
        size = map_size("height", height)
        design_wavelength = one_number("design_wavelength", design_wavelength, "metres")
        check_wavelength("design_wavelength", design_wavelength)
        if isinstance(material, str):
            index = refractive_index(material, design_wavelength)
        else:
            number = hasattr(material, "__float__")
            index = one_number("material", material) if number else math.nan
        if not 1 < index < math.inf:
            raise ValueError(f"material must name a glass or be an index above 1, not {material!r}")
        super().__init__(size, spacing, material if isinstance(material, str) else index)
        self.design_wavelength = design_wavelength
        #: Height of one wave at the design wavelength, metres.
        self.period = design_wavelength / (index - 1)
        self.max_height = (
            self.period if max_height is None else one_number("max_height", max_height, "metres")
        )
        check_positive("max_height", self.max_height, "metres")
        check_depth("max_height", self.max_height, size, self.spacing)
        minimum_feature = one_number("minimum_feature", minimum_feature, "metres")
        if not 0 <= minimum_feature < math.inf:
            raise ValueError(f"minimum_feature must be 0 metres or more, not {minimum_feature:g}")
        _check_fits("minimum_feature", minimum_feature, self)
        self.levels = None if levels is None else whole_number("levels", levels, least=2)
        self.minimum_feature = minimum_feature
        #: Sharpness of the surrogate gradient of the levels, 0..20.
        self.sharpness = 0.0
        raw = bounded_raw("height, metres,", height.detach().double(), 0.0, self.max_height)
        self.raw = nn.Parameter(raw.to(torch.get_default_dtype()))
        disk = _disk(self.minimum_feature / self.spacing)
        self.register_buffer("feature", disk.to(torch.get_default_dtype()), persistent=False)

    @property
    def height(self) -> Tensor:
        """Height of the relief as it would be fabricated, without etch error, ``[H, W]``, metres.

        For a module of half precision it is in float32, because micrometres underflow in float16.
        """
        height = bounded(single(self.raw), 0.0, self.max_height)
        if self.feature.numel() > 1:
            height = convolve(height[None, None], self.feature, boundary="replicate")[0, 0]
        if self.levels is not None:
            height = quantize_height(
                height, levels=self.levels, period=self._repeats(), sharpness=self.sharpness
            )
        return height

    def _height(self) -> Tensor:
        return self.height

    def _repeats(self) -> float:
        """Period of the levels, metres: one wave, or more than can be reached."""
        assert self.levels is not None
        if abs(self.max_height - self.period) <= 1e-6 * self.period:
            return self.period
        return self.max_height * self.levels / (self.levels - 1)

    def extra_repr(self) -> str:
        """Name the geometry and the limits of fabrication."""
        levels = "" if self.levels is None else f", levels={self.levels}"
        return (
            f"{super().extra_repr()}, material={self.material!r}, max_height="
            f"{self.max_height:g} m, design_wavelength={self.design_wavelength:g} m, "
            f"minimum_feature={self.minimum_feature:g} m{levels}"
        )


def check_depth(name: str, depth: float, size: tuple[int, int], spacing: float) -> None:
    """Raise a ValueError for heights that span more than the width of the relief.

    Heights in micrometres do so. A phase assumes a thin relief, which rays leave where they enter.
    """
    width = max(size) * spacing
    if depth > width:
        raise ValueError(
            f"{name} must span less than the relief is wide, both in metres: it spans {depth:g}, "
            f"and {max(size)} samples {spacing:g} apart are {width:g} wide; 0.5 um are 0.5e-6"
        )


def _check_fits(name: str, width: float, relief: EtchedRelief) -> None:
    """Refuse a disk that is wider than the relief, as one in micrometres is."""
    # The disk is odd in size; a quotient of two lengths is rounded.
    most = (min(relief.size) - 1) // 2 * 2 + 1
    if width / relief.spacing > most + 1e-9:
        raise ValueError(
            f"{name} must be at most {most * relief.spacing:g} metres, an odd number of samples "
            f"along the relief's shorter side, not {width:g}"
        )


def _disk(samples: float) -> Tensor:
    """A filled disk of unit sum, so many samples across (soft at the rim), odd in size."""
    # Of 19 um / 1 um = 19.000000000000004 samples the rest is rounding.
    half = max(0, math.ceil((samples - 1) / 2 - 1e-9))
    i = coordinates(2 * half + 1)
    radius = torch.hypot(i[:, None], i)
    disk = (samples / 2 - radius + 0.5).clamp(0, 1) if half else torch.ones_like(radius)
    return disk / disk.sum()
