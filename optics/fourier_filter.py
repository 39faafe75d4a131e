"""Filters in the Fourier plane of a 4f system.

The first lens forms the spectrum of the field, a plate with transmission t weighs it, the second
lens forms the picture (Goodman, Introduction to Fourier Optics, ch. 8). The picture is returned
upright. Frequencies are in cycles per pixel of the picture.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from .constraint import unit_disk, unit_disk_inverse
from .grid import fast_size, frequencies
from .imaging import FrontEnd

__all__ = [
    "FilterStart",
    "FourierFilter",
    "coherent_image",
    "filter_start",
    "incoherent_image",
]

FilterStart = Literal["open", "spiral", "dark_field", "knife_edge", "phase_contrast", "random"]

# The field of a scene is the root of its radiance, whose slope is infinite at zero. Below this
# radiance (-60 dB of full scale) the root goes to zero along a line instead, of slope 1000.
_DARKEST = 1e-6


def filter_start(
    name: FilterStart,
    size: tuple[int, int],
    *,
    stop_radius: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Transmissions of known Fourier-plane elements.

    Parameters
    ----------
    name : str
        ``open``; ``spiral``, a phase ``exp(i phi)`` that turns phase and amplitude steps into
        bright edges of any direction (Fürhapter et al., Opt. Express 13:689, 2005);
        ``dark_field``, a stop on the zero order; ``knife_edge``, the half plane fx < 0 blocked
        (Foucault, Schlieren); ``phase_contrast``, the zero order delayed by pi/2 (Zernike);
        ``random``, uniform random phases.
    size : (int, int)
        Samples (H, W) of the Fourier plane.
    stop_radius : float, cycles/pixel, optional
        Radius of the zero-order stop of ``dark_field`` and ``phase_contrast``; the zero
        frequency alone by default.
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
    fy, fx = torch.meshgrid(frequencies(size[0]), frequencies(size[1]), indexing="ij")
    radius = torch.hypot(fy, fx)
    zero_order = radius <= (stop_radius if stop_radius is not None else 0.0)
    open_plane, no_delay = torch.ones_like(radius), torch.zeros_like(radius)
    amplitude, phase = {
        "open": lambda: (open_plane, no_delay),
        "spiral": lambda: (radius > 0, torch.atan2(fy, fx)),
        "dark_field": lambda: (~zero_order, no_delay),
        # Half of the light of the edge itself passes: |t|^2 = 1/2 there.
        "knife_edge": lambda: ((fx > 0).double() + (fx == 0).double() * 0.5**0.5, no_delay),
        "phase_contrast": lambda: (open_plane, zero_order * (torch.pi / 2)),
        "random": lambda: (
            open_plane,
            2 * torch.pi * torch.rand(size, dtype=torch.float64, generator=generator),
        ),
    }[name]()
    return torch.polar(amplitude.double(), phase.double())


def coherent_image(scene: Tensor, transmission: Tensor) -> Tensor:
    """Irradiance behind a coherently illuminated 4f system.

    ``|F^-1( t F( sqrt(scene) ) )|^2`` on a periodic grid. Homogeneous in the light (above 1e-6),
    not linear. The irradiance is sampled at points one pixel apart: what the interference puts
    above 0.5 cycles/pixel, up to twice the bandwidth of the field, is aliased.

    Parameters
    ----------
    scene : Tensor ``[..., H, W]``
        Radiance of a transparency without phase, linear light.
    transmission : Tensor, complex ``[H, W]``
        Amplitude transmission on the centred frequency grid.

    Returns
    -------
    Tensor ``[..., H, W]``
        Irradiance, in the unit of the scene.
    """
    field = scene / scene.clamp_min(_DARKEST).sqrt()
    spectrum = torch.fft.fft2(field) * torch.fft.ifftshift(transmission)
    image = torch.fft.ifft2(spectrum)
    return image.real.square() + image.imag.square()


def incoherent_image(scene: Tensor, transmission: Tensor) -> Tensor:
    """Irradiance behind an incoherently illuminated 4f system: a blur with ``|F^-1(t)|^2``.

    Linear in the scene. Parameters and result as in :func:`coherent_image`; the sum of the
    point-spread function is the mean of ``|t|^2``. Its transfer function is the circular
    autocorrelation of t: as there, frequencies above 0.5 cycles/pixel are aliased.
    """
    amplitude = torch.fft.ifft2(torch.fft.ifftshift(transmission))
    psf = amplitude.real.square() + amplitude.imag.square()
    size = scene.shape[-2:]
    return torch.fft.irfft2(torch.fft.rfft2(scene) * torch.fft.rfft2(psf), s=size)


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
    illumination : {"coherent", "incoherent"}
        Coherent light makes edges visible by interference; incoherent light, the light of a
        dermatoscope, is blurred by the intensity point-spread function.
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

    def __init__(
        self,
        size: int | tuple[int, int],
        start: FilterStart | Tensor = "open",
        *,
        channels: int = 3,
        illumination: Literal["coherent", "incoherent"] = "coherent",
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
        if illumination not in ("coherent", "incoherent"):
            raise ValueError(
                f"illumination must be 'coherent' or 'incoherent', not {illumination!r}"
            )
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
        form = coherent_image if self.illumination == "coherent" else incoherent_image
        return form(scene, self.transmission)[..., top : top + height, left : left + width]

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
