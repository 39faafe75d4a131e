"""Filters in the Fourier plane of a 4f system.

The first lens forms the spectrum of the field, a plate with transmission t weighs it, the second
lens forms the picture (Goodman, Introduction to Fourier Optics, ch. 8). The picture is returned
upright. Frequencies are in cycles per pixel of the picture.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from .constraint import clip, unit_disk, unit_disk_inverse
from .grid import coordinates, fast_size, frequencies
from .illumination import disc_source
from .imaging import FrontEnd, scene_field
from .quantity import check_finite, check_positive, image_size
from .zernike import zernike

__all__ = [
    "FilterStart",
    "FourierFilter",
    "coherent_image",
    "dark_field",
    "filter_start",
    "gaussian_pass",
    "incoherent_image",
    "knife_edge",
    "partially_coherent_image",
    "phase_contrast",
    "spiral",
    "zernike_filter",
]

FilterStart = Literal[
    "open",
    "spiral",
    "dark_field",
    "knife_edge",
    "phase_contrast",
    "low_pass",
    "high_pass",
    "band_pass",
    "random",
]


def spiral(size: int | tuple[int, int], *, charge: int = 1) -> Tensor:
    """Spiral phase plate ``exp(i charge phi)``: steps of phase and amplitude become bright edges.

    Of all directions alike (Fürhapter et al., Opt. Express 13:689, 2005); ``charge`` and
    ``-charge`` give the same picture of a real scene, turned by half a turn in phase. The zero
    frequency, where the phase has no value, is blocked.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    charge : int
        Turns of the phase about the axis.

    Returns
    -------
    Tensor, complex128 ``[H, W]``
        Transmission (amplitude), zero frequency at ``[H // 2, W // 2]``.
    """
    if charge != int(charge) or charge == 0:
        raise ValueError(f"charge must be a whole number of turns, not 0, but is {charge}")
    fy, fx = _plane(size)
    return _polar((torch.hypot(fy, fx) > 0).double(), charge * torch.atan2(fy, fx))


def knife_edge(size: int | tuple[int, int], *, angle: float = 0.0) -> Tensor:
    """Foucault's knife: the half plane on one side of a straight edge through the axis, blocked.

    The half with ``fx cos(angle) + fy sin(angle) > 0`` passes (Schlieren); the edge itself passes
    half of the light. It makes gradients of phase visible, with their sign.

    Parameters
    ----------
    size : int or (int, int)
    angle : float, radians
        Of the edge's normal, from +x towards +y.

    Returns
    -------
    Tensor, complex128 ``[H, W]``
    """
    check_finite("angle", angle, "radians")
    fy, fx = _plane(size)
    along = fx * math.cos(angle) + fy * math.sin(angle)
    # Frequencies on the edge are there to rounding; the least other distance is much larger.
    on_edge = along.abs() < 1e-9
    amplitude = (along > 0).double()
    return _polar(torch.where(on_edge, 0.5**0.5, amplitude), torch.zeros_like(fx))


def dark_field(size: int | tuple[int, int], *, stop: float | Tensor = 0.0) -> Tensor:
    """Opaque stop on the zero order: what is constant is dark, edges are bright.

    Parameters
    ----------
    size : int or (int, int)
    stop : float or Tensor, cycles/pixel
        Radius of the stop, with an edge of linear coverage one frequency wide, so that a tensor
        has a gradient; 0 stops the zero frequency alone.

    Returns
    -------
    Tensor, complex128 ``[H, W]``
    """
    covered = _stop(size, stop)
    return _polar(1 - covered, torch.zeros_like(covered))


def phase_contrast(
    size: int | tuple[int, int],
    *,
    shift: float | Tensor = math.pi / 2,
    stop: float | Tensor = 0.0,
    transmittance: float | Tensor = 1.0,
) -> Tensor:
    """Zernike's phase plate: the zero order is delayed, so that weak phase becomes brightness.

    ``I = 1 + 2 epsilon`` for a phase object ``exp(i epsilon)`` and a shift of pi / 2 (Goodman,
    Fourier Optics, sec. 8.1.3).

    Parameters
    ----------
    size : int or (int, int)
    shift : float or Tensor, radians
        Of the zero order; negative for dark contrast.
    stop : float or Tensor, cycles/pixel
        Radius of the plate, as in :func:`dark_field`.
    transmittance : float or Tensor in (0, 1]
        Of the plate for light; less than 1 raises the contrast.

    Returns
    -------
    Tensor, complex128 ``[H, W]``
    """
    if not isinstance(transmittance, Tensor) and not 0 <= transmittance <= 1:
        raise ValueError(f"transmittance must be a fraction in 0..1, not {transmittance}")
    covered = _stop(size, stop)
    plate = _polar(
        torch.as_tensor(transmittance, dtype=torch.float64).sqrt(),
        torch.as_tensor(shift, dtype=torch.float64),
    )
    # Field by area: a sample that the rim crosses passes the mean of both.
    return 1 + covered * (plate - 1)


def gaussian_pass(
    size: int | tuple[int, int],
    *,
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
) -> Tensor:
    """Gaussian low, high or band pass.

    ``exp(-f^2 ln 2 / high^2) (1 - exp(-f^2 ln 2 / low^2))``: each factor is one half, in
    amplitude, at its cut-off. With ``high`` alone it is a low pass, with ``low`` alone a high
    pass.

    Parameters
    ----------
    size : int or (int, int)
    low, high : float or Tensor, cycles/pixel, optional
        Frequencies below ``low`` and above ``high`` are weakened.

    Returns
    -------
    Tensor, complex128 ``[H, W]``
    """
    if low is None and high is None:
        raise ValueError("give low, high or both, in cycles/pixel")
    fy, fx = _plane(size)
    squared = (fy.square() + fx.square()) * math.log(2)
    amplitude = torch.ones_like(squared)
    if high is not None:
        check_positive("high", high, "cycles/pixel")
        amplitude = amplitude * torch.exp(-squared / high**2)
    if low is not None:
        check_positive("low", low, "cycles/pixel")
        amplitude = amplitude * -torch.expm1(-squared / low**2)
    return _polar(amplitude, torch.zeros_like(squared))


def zernike_filter(
    size: int | tuple[int, int],
    *,
    coefficients: Tensor,
    cutoff: float,
    indices: Sequence[int] | None = None,
) -> Tensor:
    """Circular aperture with a wavefront of Zernike polynomials.

    Parameters
    ----------
    size : int or (int, int)
    coefficients : Tensor ``[J]``, waves RMS
    cutoff : float, cycles/pixel
        Radius of the aperture; the coherent cut-off frequency ``D p / (2 lambda f)``.
    indices : sequence of int, optional
        Noll indices, by default ``1, ..., J``.

    Returns
    -------
    Tensor, complex128 ``[H, W]``, 0 beyond the cut-off
    """
    check_positive("cutoff", cutoff, "cycles/pixel")
    chosen = tuple(indices if indices is not None else range(1, len(coefficients) + 1))
    if coefficients.ndim != 1 or len(chosen) != len(coefficients):
        raise ValueError(
            f"coefficients must be [J], one for each of the {len(chosen)} Noll indices, not "
            f"{tuple(coefficients.shape)}"
        )
    fy, fx = _plane(size)
    rho, theta = torch.hypot(fy, fx) / cutoff, torch.atan2(fy, fx)
    basis = torch.stack([zernike(index, rho.clamp_max(1.0), theta) for index in chosen])
    waves = torch.einsum("j,jyx->yx", coefficients.double(), basis)
    return _polar((rho <= 1).double(), 2 * math.pi * waves)


def _plane(size: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
    height, width = image_size(size)
    fy, fx = torch.meshgrid(frequencies(height), frequencies(width), indexing="ij")
    return fy, fx


def _polar(amplitude: Tensor, phase: Tensor) -> Tensor:
    return torch.complex(amplitude * torch.cos(phase), amplitude * torch.sin(phase))


def _stop(size: int | tuple[int, int], radius: float | Tensor) -> Tensor:
    """Part of each frequency's cell that a stop covers; the zero frequency always."""
    check_finite("stop", radius, "cycles/pixel")
    if not isinstance(radius, Tensor) and radius < 0:
        raise ValueError(f"stop must be 0 cycles/pixel or more, not {radius}")
    height, width = image_size(size)
    fy, fx = _plane(size)
    distance = torch.hypot(fy, fx)
    covered = clip((radius - distance) * max(height, width) + 0.5)
    return torch.where(distance > 0, covered, 1.0)


def filter_start(
    name: FilterStart,
    size: tuple[int, int],
    *,
    stop_radius: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Transmissions of known Fourier-plane elements by name.

    Parameters
    ----------
    name : str
        ``open``; ``spiral``, ``dark_field``, ``knife_edge`` and ``phase_contrast``, the functions
        of these names; ``low_pass`` (half at 0.1 cycles/pixel), ``high_pass`` (half at 0.05) and
        ``band_pass`` (both), see :func:`gaussian_pass`; ``random``, uniform random phases.
    size : (int, int)
        Samples (H, W) of the Fourier plane.
    stop_radius : float, cycles/pixel, optional
        Radius of the zero-order stop of ``dark_field`` and ``phase_contrast``; the zero frequency
        alone by default.
    generator : torch.Generator, optional
        Source of ``random``.

    Returns
    -------
    Tensor, complex128 ``[H, W]``
        Transmission (amplitude), zero frequency at ``[H // 2, W // 2]``.
    """
    if name not in get_args(FilterStart):
        raise ValueError(f"no filter is called {name!r}; choose from {get_args(FilterStart)}")
    if stop_radius is not None and not stop_radius >= 0:
        raise ValueError(f"stop_radius must be 0 cycles/pixel or more, not {stop_radius}")
    stop = stop_radius or 0.0
    if name == "random":
        turns = torch.rand(size, dtype=torch.float64, generator=generator)
        return _polar(torch.ones_like(turns), 2 * math.pi * turns)
    return {
        "open": lambda: torch.ones(size, dtype=torch.complex128),
        "spiral": lambda: spiral(size),
        "dark_field": lambda: dark_field(size, stop=stop),
        "knife_edge": lambda: knife_edge(size),
        "phase_contrast": lambda: phase_contrast(size, stop=stop),
        "low_pass": lambda: gaussian_pass(size, high=0.1),
        "high_pass": lambda: gaussian_pass(size, low=0.05),
        "band_pass": lambda: gaussian_pass(size, low=0.05, high=0.1),
    }[name]()


def coherent_image(scene: Tensor, transmission: Tensor, *, oversample: int = 1) -> Tensor:
    """Irradiance behind a coherently illuminated 4f system.

    ``|F^-1( t F( u ) )|^2`` on a periodic grid, with ``u = sqrt(scene)`` for a radiance. It is
    homogeneous in the light (above 1e-6), not linear.

    Parameters
    ----------
    scene : Tensor ``[..., H, W]``
        Radiance of a transparency without phase, linear light; or a complex field u, for objects
        of phase.
    transmission : Tensor, complex ``[H, W]``
        Amplitude transmission on the centred frequency grid.
    oversample : int
        1 samples the irradiance at points one pixel apart: what the interference puts above 0.5
        cycles/pixel, up to twice the bandwidth of the field, is aliased. 2 or more forms it on a
        grid so much finer, by zero padding of the spectrum, and takes the mean over each pixel,
        as a sensor does: it then falls under the pixel's own MTF instead. The total light is the
        same.

    Returns
    -------
    Tensor ``[..., H, W]``
        Irradiance, in the unit of the scene.
    """
    spectrum = torch.fft.fft2(_field(scene)) * torch.fft.ifftshift(transmission)
    return _detected(spectrum, oversample)


def incoherent_image(scene: Tensor, transmission: Tensor, *, oversample: int = 1) -> Tensor:
    """Irradiance behind an incoherently illuminated 4f system: a blur with ``|F^-1(t)|^2``.

    Linear in the scene. Parameters and result as in :func:`coherent_image`, for a radiance; the
    sum of the point-spread function is the mean of ``|t|^2``. Its transfer function is the
    autocorrelation of t, on the circle of frequencies: what lies above 0.5 cycles/pixel is
    aliased, or, with ``oversample`` of 2 or more, attenuated by the pixel.
    """
    psf = _detected(torch.fft.ifftshift(transmission), oversample)
    size = scene.shape[-2:]
    return torch.fft.irfft2(torch.fft.rfft2(scene) * torch.fft.rfft2(psf), s=size)


def partially_coherent_image(
    scene: Tensor,
    transmission: Tensor,
    *,
    source: Tensor,
    tilts: Tensor,
    oversample: int = 1,
) -> Tensor:
    """Irradiance in the light of an extended source: Abbe's sum over its points.

    ``I = sum_s w_s |F^-1( t F( u exp(2 pi i f_s x) ) )|^2``: the points of a source do not
    interfere with each other, each lights the object at an angle of its own (Born and Wolf,
    Principles of Optics, sec. 10.6). One point on the axis is coherent light; all frequencies of
    the grid with weights ``1 / (H W)`` are incoherent light.

    Parameters
    ----------
    scene : Tensor ``[..., H, W]``
        Radiance, or a complex field, as in :func:`coherent_image`.
    transmission : Tensor, complex ``[H, W]``
    source : Tensor ``[S]``
        Weights of the source's points, not negative; their sum is the light of the scene.
    tilts : Tensor ``[S, 2]``, cycles/pixel
        Frequencies (fy, fx) of the waves that light the object, ``sin(angle) pixel / lambda``.
        Those that are not frequencies of the periodic grid jump at its border.
    oversample : int
        As in :func:`coherent_image`.

    Returns
    -------
    Tensor ``[..., H, W]``
        Differentiable in everything.

    Raises
    ------
    ValueError
        For shapes that do not fit or a negative weight.
    """
    if source.ndim != 1 or tilts.shape != (len(source), 2):
        raise ValueError(
            f"source must be [S] and tilts [S, 2], not {tuple(source.shape)} and "
            f"{tuple(tilts.shape)}"
        )
    if source.device.type == "cpu" and bool((source.detach() < 0).any()):
        raise ValueError("source must not be negative: light adds")
    field = _field(scene)
    height, width = field.shape[-2:]
    y, x = (coordinates(n, device=field.device) for n in (height, width))
    shifted = torch.fft.ifftshift(transmission)
    image = torch.zeros((), device=field.device)
    # One point at a time: all at once would hold S copies of every picture.
    for weight, (fy, fx) in zip(source, tilts.double(), strict=True):
        phase = 2 * math.pi * (fy * y[:, None] + fx * x)
        wave = _polar(torch.ones_like(phase), phase).to(field.dtype)
        spectrum = torch.fft.fft2(field * wave) * shifted
        image = image + weight * _detected(spectrum, oversample)
    return image


def _field(scene: Tensor) -> Tensor:
    if scene.is_complex():
        return scene
    field = scene_field(scene)
    return torch.complex(field, torch.zeros_like(field))


def _detected(spectrum: Tensor, oversample: int) -> Tensor:
    """Mean of the irradiance over each pixel, from a spectrum with the zero frequency first."""
    if oversample < 1:
        raise ValueError(f"oversample must be at least 1, not {oversample}")
    if oversample == 1:
        return _squared_modulus(torch.fft.ifft2(spectrum))
    height, width = spectrum.shape[-2:]
    centred = torch.fft.fftshift(spectrum, (-2, -1))
    top, left = (n * oversample // 2 - n // 2 for n in (height, width))
    border = (left, width * oversample - width - left, top, height * oversample - height - top)
    wide = torch.fft.ifftshift(functional.pad(centred, border), (-2, -1))
    fine = _squared_modulus(torch.fft.ifft2(wide)) * oversample**4
    # A pixel reaches half a pixel to both sides of its centre, so that its fine samples are
    # weighted 1/2, 1, ..., 1, 1/2 when their number is even.
    return _pixel_mean(_pixel_mean(fine, oversample, -1), oversample, -2)


def _pixel_mean(fine: Tensor, factor: int, axis: int) -> Tensor:
    half = factor // 2
    total = sum(
        fine.roll(-k, axis) * (0.5 if factor % 2 == 0 and abs(k) == half else 1.0)
        for k in range(-half, half + 1)
    )
    assert isinstance(total, Tensor)
    index = [slice(None)] * fine.ndim
    index[axis] = slice(None, None, factor)
    return total[tuple(index)] / factor


def _squared_modulus(field: Tensor) -> Tensor:
    return field.real.square() + field.imag.square()


class FourierFilter(FrontEnd):
    """A trainable complex transmission in the Fourier plane of a 4f system.

    Parameters
    ----------
    size : int or (int, int), pixels
        Size (H, W) of the scenes; the filter is sampled for it.
    start : str or Tensor
        A name for :func:`filter_start`, or a complex transmission ``[P, Q]`` of your own with
        |t| <= 1, on the centred grid of :attr:`grid_size`.
    channels : int
        Channels of the scene. All see the same transmission: the relay is achromatised.
    illumination : {"coherent", "incoherent", "partial"}
        Coherent light makes edges visible by interference; incoherent light, the light of a
        dermatoscope, is blurred by the intensity point-spread function; partial is a disc that
        lights the object, see ``source_radius``.
    source_radius : float, cycles/pixel
        Radius of the disc in the Fourier plane, for partial coherence: its points are half of it
        apart (13 of them), and each costs the transforms of a coherent picture.
    oversample : int
        As in :func:`coherent_image`; 1 samples at points.
    margin : int, pixels
        The scene is continued by its border values for at least this many pixels before the
        transform and cut back after it, so that opposite edges do not meet. 0 is periodic.
    stop_radius : float, cycles/pixel, optional
        As in :func:`filter_start`.
    generator : torch.Generator, optional
        Source of ``start="random"``.

    Notes
    -----
    |t| <= 1 holds by construction, see :func:`optics.unit_disk`; a start is limited to |t| <=
    0.995 (1 % loss), because the bound itself is reached at infinity only. Opaque cells keep a
    gradient.
    """

    tilts: Tensor

    def __init__(
        self,
        size: int | tuple[int, int],
        start: FilterStart | Tensor = "open",
        *,
        channels: int = 3,
        illumination: Literal["coherent", "incoherent", "partial"] = "coherent",
        source_radius: float = 0.1,
        oversample: int = 1,
        margin: int = 16,
        stop_radius: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 2 or margin < 0:
            raise ValueError(
                f"size must be (H, W) of at least 2 pixels and margin at least 0, not {size} and "
                f"{margin}"
            )
        self.size = (height, width)
        if illumination not in ("coherent", "incoherent", "partial"):
            raise ValueError(
                f"illumination must be 'coherent', 'incoherent' or 'partial', not {illumination!r}"
            )
        if oversample < 1:
            raise ValueError(f"oversample must be at least 1, not {oversample}")
        #: Samples (P, Q) of the Fourier plane.
        self.grid_size = (
            (fast_size(height + 2 * margin), fast_size(width + 2 * margin)) if margin else self.size
        )
        if isinstance(start, str):
            wanted = filter_start(
                start, self.grid_size, stop_radius=stop_radius, generator=generator
            )
        else:
            wanted = self._checked(start)
        raw = unit_disk_inverse(wanted)
        self.raw = nn.Parameter(raw.to(torch.get_default_dtype()))
        self.illumination = illumination
        self.oversample = oversample
        self.source_radius = source_radius
        if illumination == "partial":
            tilts = disc_source(source_radius, step=source_radius / 2)
            self.register_buffer("tilts", tilts, persistent=False)
        self.in_channels = self.out_channels = channels
        self.exposures = 1

    @property
    def transmission(self) -> Tensor:
        """Complex amplitude transmission ``[P, Q]``, zero frequency at ``[P // 2, Q // 2]``."""
        return unit_disk(self.raw)

    def throughput(self) -> Tensor:
        """Mean of ``|t|^2``, scalar in 0..1: the share of a point source's light that passes.

        In incoherent light that of any scene; in coherent light what arrives depends on the
        scene: a dark field stops all of a constant one.
        """
        t = self.transmission
        return (t.real.square() + t.imag.square()).mean()

    def forward(self, scene: Tensor) -> Tensor:
        """Form the irradiance ``[B, C, H, W]`` of a scene ``[B, C, H, W]``."""
        if scene.ndim != 4 or scene.shape[1:] != (self.in_channels, *self.size):
            raise ValueError(
                f"the filter is sampled for scenes [B, {self.in_channels}, {self.size[0]}, "
                f"{self.size[1]}], not {tuple(scene.shape)}; build it with the size of the scene"
            )
        (height, width), (rows, columns) = self.size, self.grid_size
        top, left = (rows - height) // 2, (columns - width) // 2
        if (rows, columns) != (height, width):
            border = (left, columns - width - left, top, rows - height - top)
            scene = functional.pad(scene, border, mode="replicate")
        image = self._form(scene)
        return image[..., top : top + height, left : left + width]

    def _form(self, scene: Tensor) -> Tensor:
        if self.illumination == "coherent":
            return coherent_image(scene, self.transmission, oversample=self.oversample)
        if self.illumination == "incoherent":
            return incoherent_image(scene, self.transmission, oversample=self.oversample)
        source = torch.full((len(self.tilts),), 1 / len(self.tilts)).to(scene)
        return partially_coherent_image(
            scene, self.transmission, source=source, tilts=self.tilts, oversample=self.oversample
        )

    def combine(self, raw: Tensor) -> Tensor:
        """Return the single exposure unchanged."""
        return raw

    def extra_repr(self) -> str:
        """Name the geometry."""
        return (
            f"size={self.size} pixels, grid_size={self.grid_size}, channels={self.in_channels}, "
            f"illumination={self.illumination!r}"
        )

    def _checked(self, start: Tensor) -> Tensor:
        if start.shape != self.grid_size or not start.is_complex():
            raise ValueError(
                f"start must be complex {self.grid_size} (the size with its margin), not "
                f"{start.dtype} {tuple(start.shape)}"
            )
        largest = float(start.abs().max())
        if not largest <= 1 + 1e-6:
            raise ValueError(f"a passive filter has |t| <= 1; start reaches {largest:.4g}")
        return start.detach().to(torch.complex128)
