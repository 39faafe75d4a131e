"""Filters in the Fourier plane of a 4f system, and the pictures that it forms.

::

    scene ──root──► field ──F──► spectrum ──x t──► ──F^-1──► field ──|.|^2──► irradiance
                    (complex scenes start here)                      mean over the pixel

The first lens forms the spectrum of the field, a plate with transmission t weighs it, the second
lens forms the picture (Goodman, Introduction to Fourier Optics, 3rd ed., ch. 8). The picture is
returned upright. Frequencies are in cycles per pixel of the picture, on the centred grid
``(i - N // 2) / N`` of :func:`optics.frequencies`; angles turn from +fx to +fy.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .constraint import clip, unit_disk, unit_disk_inverse
from .grid import coordinates, fast_size, frequencies
from .illumination import disc_source
from .imaging import FrontEnd, scene_field
from .quantity import check_complex, check_finite, check_positive, check_real, image_size
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

# Complex numbers in all transforms of the Abbe sum, above which they are computed again for the
# gradient instead of held, which costs another forward pass.
_HELD = 2**26


def spiral(
    size: int | tuple[int, int], *, charge: int = 1, device: torch.device | str | None = None
) -> Tensor:
    """Spiral phase plate ``exp(i charge phi)``: steps of any direction become bright edges.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    charge : int
        Turns of the phase around the zero order, which is blocked; not 0.
    device : torch.device, optional
        Of the result.

    Returns
    -------
    Tensor, complex128 ``[H, W]``
        Transmission (amplitude).

    Notes
    -----
    Fürhapter, Jesacher, Bernet, Ritsch-Marte, Opt. Express 13:689 (2005). A sample at
    -1/2 cycles/pixel, on the rim of an even grid, stands for +1/2 as well and carries the mean of
    both, so that the image of a point is dark on its axis for every odd charge.
    """
    if charge != int(charge) or charge == 0:
        raise ValueError(f"charge must be a whole number of turns, not 0, but is {charge}")
    fy, fx, radius = _plane(size, device)
    rim_y, rim_x = (torch.where(f == -0.5, 0.5, f) for f in (fy, fx))
    vortex = torch.stack(
        [_unit(charge * torch.atan2(y, x)) for y in (fy, rim_y) for x in (fx, rim_x)]
    )
    return torch.where(radius > 0, vortex.mean(0), 0.0)


def knife_edge(
    size: int | tuple[int, int],
    *,
    angle: float | Tensor = 0.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Straight edge through the zero order: gradients of phase or index become bright or dark.

    Passes ``fx cos(angle) + fy sin(angle) > 0`` and blocks the other half plane (Foucault;
    Schlieren: Settles, Schlieren and Shadowgraph Techniques, 2001). A sample of which the part c
    lies in the open half has ``t = sin(pi c / 2)``: on the edge itself half of the light passes,
    and two opposite edges together pass all of it at every frequency.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    angle : float or Tensor ``[...]``, radians
        Direction of the open side. A tensor carries a gradient.
    device : torch.device, optional
        Of the result; by default that of ``angle``.

    Returns
    -------
    Tensor, complex128 ``[..., H, W]``
        Transmission (amplitude).

    Raises
    ------
    ValueError
        For an angle that is not finite.
    """
    check_finite("angle", angle, "radians")
    height, width = image_size(size)
    fy, fx, _ = _plane(size, _device(device, angle))
    angle = _number(angle, fy)
    cosine, sine = angle.cos(), angle.sin()
    distance = fx * cosine + fy * sine
    # Half of the sample's rectangle 1/W x 1/H, projected on the normal of the edge.
    across, down = cosine.abs() / (2 * width), sine.abs() / (2 * height)
    long, short = torch.maximum(across, down), torch.minimum(across, down)
    depth = distance.abs()
    corner = (long + short - depth).clamp_min(0.0)
    # Only a corner of the sample lies beyond the edge; without an inclination there is none.
    beyond = corner.square() / (8 * long * torch.maximum(short, 1e-9 * long))
    covered = torch.where(depth <= long - short, 0.5 + depth / (2 * long), 1 - beyond)
    covered = torch.where(depth >= long + short, 1.0, covered)
    covered = torch.where(distance < 0, 1 - covered, covered)
    amplitude = torch.sin(torch.pi / 2 * covered)
    return torch.complex(amplitude, torch.zeros_like(amplitude))


def dark_field(
    size: int | tuple[int, int],
    *,
    stop: float | Tensor = 0.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Round stop on the zero order: what is even disappears, what scatters remains.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    stop : float or Tensor ``[...]``, cycles/pixel
        Radius, with a soft edge of linear coverage one sample wide, and a gradient. The zero
        frequency is blocked at any radius.
    device : torch.device, optional
        Of the result; by default that of ``stop``.

    Returns
    -------
    Tensor, complex128 ``[..., H, W]``
        Transmission (amplitude).

    Raises
    ------
    ValueError
        For a radius that is negative or not finite.
    """
    _check_between("stop", stop, 0.0, math.inf, "cycles/pixel")
    amplitude = 1 - _disk(size, stop, _device(device, stop))
    return torch.complex(amplitude, torch.zeros_like(amplitude))


def phase_contrast(
    size: int | tuple[int, int],
    *,
    shift: float | Tensor = math.pi / 2,
    stop: float | Tensor = 0.0,
    transmittance: float | Tensor = 1.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Zernike's phase plate: the zero order is shifted and, to raise the contrast, weakened.

    With a shift of ``+pi/2`` a weak phase phi, ``exp(i phi)``, is imaged as ``1 + 2 phi``; with
    ``-pi/2`` as ``1 - 2 phi`` (Zernike, Physica 9:686, 1942; Goodman, sec. 8.1.3).

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    shift : float or Tensor ``[...]``, radians
        Phase ``exp(i shift)`` of the zero order.
    stop : float or Tensor ``[...]``, cycles/pixel
        Radius of the plate; see :func:`dark_field`.
    transmittance : float or Tensor ``[...]``, in [0, 1]
        Share ``|t|^2`` of the light that passes the plate. Below 1e-12 its root is a line.
    device : torch.device, optional
        Of the result; by default that of the tensors given.

    Returns
    -------
    Tensor, complex128 ``[..., H, W]``
        Transmission (amplitude), with gradients to all three.

    Raises
    ------
    ValueError
        For a value that is not finite or out of its range.
    """
    check_finite("shift", shift, "radians")
    _check_between("stop", stop, 0.0, math.inf, "cycles/pixel")
    _check_between("transmittance", transmittance, 0.0, 1.0, "a share of the light")
    device = _device(device, shift, stop, transmittance)
    plate = _disk(size, stop, device)
    share = _number(transmittance, plate)
    amplitude = share / share.clamp_min(1e-12).sqrt()
    return (1 - plate) + plate * amplitude * _unit(_number(shift, plate))


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
    check_finite("coefficients", coefficients, "waves RMS")
    fy, fx, radius = _plane(size, coefficients.device)
    rho, theta = radius / cutoff, torch.atan2(fy, fx)
    basis = torch.stack([zernike(index, rho.clamp_max(1.0), theta) for index in chosen])
    waves = torch.einsum("j,jyx->yx", coefficients.double(), basis)
    return (rho <= 1) * _unit(2 * math.pi * waves)


def gaussian_pass(
    size: int | tuple[int, int],
    *,
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Gaussian low, high or band pass: frequencies from ``low`` to ``high`` pass.

    ``exp(-f^2 ln 2 / high^2) (1 - exp(-f^2 ln 2 / low^2))``: each factor is one half, in
    amplitude, at its cut-off.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    low : float or Tensor ``[...]``, cycles/pixel, optional
        Lower cut-off; without it low frequencies pass.
    high : float or Tensor ``[...]``, cycles/pixel, optional
        Upper cut-off; without it high frequencies pass.
    device : torch.device, optional
        Of the result; by default that of the tensors given.

    Returns
    -------
    Tensor, complex128 ``[..., H, W]``
        Transmission (amplitude), real, in [0, 1], with gradients to both.

    Raises
    ------
    ValueError
        For a cut-off that is not positive, or floats with ``low >= high``.
    """
    if low is None and high is None:
        raise ValueError("give low, high or both, in cycles/pixel")
    device = _device(device, low, high)
    squared = math.log(2) * _plane(size, device)[2].square()
    amplitude = torch.ones_like(squared)
    if low is not None:
        check_positive("low", low, "cycles/pixel")
        amplitude = amplitude * -torch.expm1(-squared / _number(low, squared).square())
    if high is not None:
        check_positive("high", high, "cycles/pixel")
        amplitude = amplitude * torch.exp(-squared / _number(high, squared).square())
    if isinstance(low, float | int) and isinstance(high, float | int) and low >= high:
        raise ValueError(f"low must be below high, in cycles/pixel, not {low:g} and {high:g}")
    return torch.complex(amplitude, torch.zeros_like(amplitude))


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
        return _unit(2 * math.pi * turns)
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
    """Irradiance behind a coherently illuminated 4f system, ``|F^-1( t F(u) )|^2``.

    On a periodic grid. Homogeneous in the light (above 1e-6), not linear. Its mean is the mean
    over all frequencies of what the plate passes, ``sum |t F(u)|^2 / N^2``, exactly and for every
    ``oversample`` (Parseval).

    Parameters
    ----------
    scene : Tensor ``[..., H, W]``
        Real: radiance of a transparency without phase, linear light; its field is the root.
        Complex: the field itself, with which phase objects are imaged.
    transmission : Tensor, complex or real ``[..., H, W]``
        Amplitude transmission on the centred frequency grid; brought to the scene's precision.
    oversample : int
        1: irradiance at the pixels' centres. The interference of a field with frequencies up to
        0.5 cycles/pixel has some up to 1, and what is above 0.5 is aliased.
        n > 1: irradiance is the mean of n x n points spread evenly over each pixel, as a pixel
        collects it. An interference of f cycles/pixel along an axis is weakened to
        ``sin(pi f) / (n sin(pi f / n))``: nothing at f = 1, where single points see full
        contrast, and with growing n the ``sinc(f)`` of a pixel without gaps. Irradiance stays
        non-negative, which a sharp cut at 0.5 would not grant. Costs n^2 inverse transforms; do
        not apply the pixel's MTF again.

    Returns
    -------
    Tensor, real ``[..., H, W]``
        Irradiance, in the unit of the scene.

    Raises
    ------
    ValueError
        For shapes or types that do not fit, a scene that is not finite, ``oversample < 1``.
    """
    field, transmission = _prepared(scene, transmission, oversample)
    return _detected(
        torch.fft.fft2(field) * torch.fft.ifftshift(transmission, (-2, -1)), oversample
    )


def incoherent_image(scene: Tensor, transmission: Tensor, *, oversample: int = 1) -> Tensor:
    """Irradiance behind an incoherently illuminated 4f system: a blur with ``|F^-1(t)|^2``.

    Linear in the scene, each sample of which is a point; the sum of the point-spread function is
    the mean of ``|t|^2``, exactly, for every ``oversample``. The transfer function is the
    autocorrelation of t (Goodman, sec. 6.3), circular, because aliased, with ``oversample = 1``.

    Parameters
    ----------
    scene : Tensor, real ``[..., H, W]``
        Radiance, linear light.
    transmission : Tensor, complex or real ``[..., H, W]``
        As in :func:`coherent_image`.
    oversample : int
        As in :func:`coherent_image`; here it costs next to nothing.

    Returns
    -------
    Tensor, real ``[..., H, W]``
        Irradiance, in the unit of the scene.

    Raises
    ------
    ValueError
        As :func:`coherent_image`, and for a complex scene: incoherent light has no phase.
    """
    check_real("scene", scene, "[..., H, W] in incoherent light")
    scene = scene if scene.dtype == torch.float64 else scene.float()
    _, transmission = _prepared(scene, transmission, oversample)
    psf = _detected(torch.fft.ifftshift(transmission, (-2, -1)), oversample)
    return torch.fft.irfft2(torch.fft.rfft2(scene) * torch.fft.rfft2(psf), s=scene.shape[-2:])


def partially_coherent_image(
    scene: Tensor,
    transmission: Tensor,
    *,
    source: Tensor,
    tilts: Tensor,
    oversample: int = 1,
) -> Tensor:
    """Irradiance behind a 4f system lit by an extended source: Abbe's sum over its points.

    ``sum_s w_s |F^-1( t F( u exp(i 2 pi f_s x) ) )|^2``: each point of the source lights the
    object with a tilted plane wave, and their irradiances add (Born & Wolf, Principles of Optics,
    7th ed., sec. 10.6.2). One point on the axis is :func:`coherent_image`; all frequencies of the
    grid with weights ``1 / (H W)`` are :func:`incoherent_image`, exactly.

    Parameters
    ----------
    scene, transmission, oversample
        As in :func:`coherent_image`.
    source : Tensor ``[S]`` or ``[P, S]``
        Weights of the points, not negative: an even object under an open plate has the
        irradiance ``sum_s w_s``. Several rows are several light patterns; the identity matrix
        gives one picture a point, for :class:`optics.Illumination` to weigh.
    tilts : Tensor ``[S, 2]``, cycles/pixel
        Spatial frequency (fy, fx) of each point's plane wave; see :func:`optics.disc_source` and
        :func:`optics.led_tilts`. One that is not a multiple of (1/H, 1/W) does not close over the
        periodic border: leave a margin.

    Returns
    -------
    Tensor, real ``[..., H, W]`` or ``[..., P, H, W]``
        Irradiance, with gradients to scene, transmission, source and tilts. The scene
        ``[B, C, H, W]`` under P patterns gives ``[B, C, P, H, W]``.

    Raises
    ------
    ValueError
        As :func:`coherent_image`, and for weights that are negative or do not fit the tilts.

    Warns
    -----
    UserWarning
        When a tilt exceeds 0.5 cycles/pixel, and so acts as another, smaller one.

    Notes
    -----
    A sum above 67 million numbers is computed again for the gradient instead of kept, so that
    memory does not grow with the source.
    """
    _check_source(source, tilts)
    field, transmission = _prepared(scene, transmission, oversample)
    height, width = field.shape[-2:]
    rows, columns = (
        _plane_wave(tilts[:, axis].to(field.device), length, field.dtype)
        for axis, length in enumerate((height, width))
    )
    patterns = torch.atleast_2d(source).to(field.device, field.real.dtype)
    plate = torch.fft.ifftshift(transmission, (-2, -1))

    def lit(field: Tensor, plate: Tensor, row: Tensor, column: Tensor) -> Tensor:
        wave = row[:, None] * column
        return _detected(torch.fft.fft2(field * wave) * plate, oversample)

    again = len(tilts) * field.numel() * oversample**2 > _HELD and torch.is_grad_enabled()
    total = torch.zeros((), dtype=field.real.dtype, device=field.device)
    # One point at a time: all at once would hold S copies of every picture.
    for weight, row, column in zip(patterns.mT, rows, columns, strict=True):
        given = field, plate, row, column
        image = (
            checkpoint(lit, *given, use_reentrant=False, preserve_rng_state=False)
            if again
            else lit(*given)
        )
        total = total + weight[:, None, None] * image[..., None, :, :]
    return total if source.ndim == 2 else total.squeeze(-3)


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


def _prepared(scene: Tensor, transmission: Tensor, oversample: int) -> tuple[Tensor, Tensor]:
    """Check what was given; return the field and the transmission in its precision."""
    check_complex("scene", scene, "[..., H, W]")
    check_finite("scene", scene)
    check_complex("transmission", transmission, "[..., H, W]")
    _check_oversample(oversample)
    if transmission.shape[-2:] != scene.shape[-2:]:
        raise ValueError(
            f"transmission must have the samples {tuple(scene.shape[-2:])} of the scene, not "
            f"{tuple(transmission.shape[-2:])}"
        )
    double = scene.dtype in (torch.float64, torch.complex128)
    kind = torch.complex128 if double else torch.complex64
    field = scene if scene.is_complex() else scene_field(scene if double else scene.float())
    return field.to(kind), transmission.to(scene.device, kind)


def _detected(spectrum: Tensor, oversample: int) -> Tensor:
    """Irradiance of a field with this spectrum (zero frequency first), averaged over pixels."""
    if oversample == 1:
        return _power(torch.fft.ifft2(spectrum))
    # The field between the pixels' centres is that of a shifted grid: no larger transform.
    points = [(p - (oversample - 1) / 2) / oversample for p in range(oversample)]
    rows, columns = (
        _unit(
            2
            * torch.pi
            * torch.tensor(points, dtype=torch.float64, device=spectrum.device)[:, None]
            * torch.fft.ifftshift(frequencies(length, device=spectrum.device))
        ).to(spectrum.dtype)
        for length in spectrum.shape[-2:]
    )
    total = torch.zeros((), dtype=spectrum.real.dtype, device=spectrum.device)
    for row in rows:
        for column in columns:
            total = total + _power(torch.fft.ifft2(spectrum * (row[:, None] * column)))
    return total / oversample**2


def _power(field: Tensor) -> Tensor:
    return field.real.square() + field.imag.square()


def _plane_wave(tilt: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Wave ``exp(i 2 pi f x)`` ``[S, length]`` of frequencies ``[S]`` along one axis."""
    turns = tilt.double()[:, None] * coordinates(length, device=tilt.device)
    return _unit(2 * torch.pi * turns).to(dtype)


def _check_source(source: Tensor, tilts: Tensor) -> None:
    if tilts.ndim != 2 or tilts.shape[1] != 2 or not tilts.is_floating_point() or len(tilts) == 0:
        raise ValueError(
            f"tilts must be real [S, 2], cycles/pixel (fy, fx), not {tilts.dtype} "
            f"{tuple(tilts.shape)}"
        )
    fits = source.ndim in (1, 2) and source.shape[-1] == len(tilts)
    if not fits or not source.is_floating_point():
        raise ValueError(
            f"source must be real [S] or [P, S] with S = {len(tilts)} as the tilts, not "
            f"{source.dtype} {tuple(source.shape)}"
        )
    check_finite("tilts", tilts, "cycles/pixel")
    _check_between("source", source, 0.0, math.inf, "shares of the light")
    if tilts.device.type != "cpu" or torch.compiler.is_compiling():
        return
    steepest = float(tilts.detach().abs().max())
    if steepest > 0.5:
        warnings.warn(
            f"a tilt of {steepest:.3g} cycles/pixel exceeds 0.5, the most that the grid can show: "
            "it acts as another one; use smaller pixels",
            UserWarning,
            stacklevel=3,
        )


def _check_oversample(oversample: int) -> None:
    if oversample != int(oversample) or oversample < 1:
        raise ValueError(f"oversample must be a whole number of at least 1, not {oversample}")


def _check_between(name: str, value: float | Tensor, low: float, high: float, unit: str) -> None:
    check_finite(name, value, unit)
    if isinstance(value, Tensor):
        if value.device.type != "cpu" or torch.compiler.is_compiling():
            return
        smallest, largest = float(value.detach().min()), float(value.detach().max())
    else:
        smallest = largest = value
    if smallest < low or largest > high:
        wanted = "0 or more" if high == math.inf else f"between {low:g} and {high:g}"
        raise ValueError(
            f"{name} must be {wanted}, in {unit}; it reaches "
            f"{smallest if smallest < low else largest:g}"
        )


def _device(
    device: torch.device | str | None, *values: float | Tensor | None
) -> torch.device | str | None:
    """Device asked for, or that of the first tensor that lives on an accelerator, or any."""
    if device is not None:
        return device
    devices = [value.device for value in values if isinstance(value, Tensor)]
    return next((d for d in devices if d.type != "cpu"), devices[0] if devices else None)


def _number(value: float | Tensor, like: Tensor) -> Tensor:
    """A float or a tensor ``[...]`` as float64 ``[..., 1, 1]``."""
    return torch.as_tensor(value, dtype=torch.float64, device=like.device)[..., None, None]


def _plane(
    size: int | tuple[int, int], device: torch.device | str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Frequencies fy, fx and their modulus ``[H, W]``."""
    height, width = image_size(size)
    fy, fx = torch.meshgrid(
        frequencies(height, device=device), frequencies(width, device=device), indexing="ij"
    )
    return fy, fx, torch.hypot(fy, fx)


def _disk(
    size: int | tuple[int, int], radius: float | Tensor, device: torch.device | str | None
) -> Tensor:
    """Part ``[..., H, W]`` of each sample inside of a radius; all of the zero order."""
    height, width = image_size(size)
    fy, fx, distance = _plane(size, device)
    # Width of a sample along the radius: 1/W along fx, 1/H along fy.
    sample = torch.hypot(fx / width, fy / height) / distance.clamp_min(1e-30)
    inside = clip((_number(radius, distance) - distance) / sample.clamp_min(1e-30) + 0.5)
    return torch.where(distance > 0, inside, 1.0)


def _unit(phase: Tensor) -> Tensor:
    """``exp(i phase)``; torch.polar has no derivative of second order in some releases."""
    return torch.complex(torch.cos(phase), torch.sin(phase))
