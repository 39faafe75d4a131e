"""Filters in the Fourier plane of a 4f system, and the pictures that it forms.

::

    scene ──root──► field ──F──► spectrum ──x t──► ──F^-1──► field ──|.|^2──► irradiance
                    (complex scenes start here)                      mean over the pixel

The first lens forms the spectrum of the field, a plate with transmission t multiplies it, and the
second lens forms the image (Goodman, Introduction to Fourier Optics, 3rd ed., ch. 8). The image is
returned upright. Frequencies are in cycles per pixel of the image, on the centred grid
``(i - N // 2) / N`` of :func:`optics.frequencies`; angles turn from +fx to +fy.
"""

import math
import warnings
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from optics.constraint import unit_disk, unit_disk_inverse
from optics.fourier import phasor, squared_modulus
from optics.front_end import FrontEnd, check_raw
from optics.grid import coordinates, fast_size, frequencies
from optics.light.illumination import condenser
from optics.quantity import (
    check_between,
    check_complex,
    check_finite,
    check_positive,
    check_real,
    check_tensor,
    image_size,
    looked_at,
    one_number,
    whole_number,
)

from .coherent import as_depth, phase_object, scene_field
from .plate import STOPPED, FilterStart, dark_field, filter_start

__all__ = [
    "FourierFilter",
    "coherent_image",
    "incoherent_image",
    "partially_coherent_image",
]

# Complex numbers in all transforms of the Abbe sum above which the backward pass computes them
# again instead of keeping them, at the cost of another forward pass.
_HELD = 2**26


def coherent_image(scene: Tensor, transmission: Tensor, *, oversample: int = 1) -> Tensor:
    """Irradiance behind a coherently illuminated 4f system, ``|F^-1( t F(u) )|^2``.

    The grid is periodic. The irradiance scales with the radiance of the scene (above 1e-6), but is
    not linear in it: coherent imaging is a linear filter of the field (Goodman, Fourier Optics,
    sec. 6.2). Its mean is the mean power that the plate passes, ``sum |t F(u)|^2 / N^2`` over all N
    frequencies, exactly and for every ``oversample`` (Parseval).

    Parameters
    ----------
    scene : Tensor ``[..., H, W]``
        Real: radiance of a transparency without phase, linear light; the field is its square root.
        Complex: the field itself, as of a phase object.
    transmission : Tensor, complex or real ``[..., H, W]``
        Amplitude transmission on the centred frequency grid; converted to the scene's precision.
    oversample : int
        1: irradiance at the pixels' centres. The irradiance of a field with frequencies up to
        0.5 cycles/pixel has frequencies up to 1; those above 0.5 are aliased.
        n > 1: irradiance is the mean over n x n points spread evenly over each pixel, as a pixel
        integrates it. The contrast of a frequency of f cycles/pixel along an axis is multiplied
        by ``sin(pi f) / (n sin(pi f / n))``: 0 at f = 1, where a single point has full contrast,
        and with growing n the ``sinc(f)`` of a pixel with 100 % fill factor. Irradiance stays
        non-negative; a sharp cut-off at 0.5 would not ensure that. This costs n^2 inverse
        transforms. The pixel's MTF is then included: do not apply it again.

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

    It is linear in the scene, whose samples are points. The sum of the point-spread function is
    the mean of ``|t|^2``, exactly, for every ``oversample``. The transfer function is the
    autocorrelation of t (Goodman, sec. 6.3); with ``oversample = 1`` it is aliased, and thus the
    circular autocorrelation.

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

    ``sum_s w_s |F^-1( t F( u exp(i 2 pi f_s x) ) )|^2``: each point of the source illuminates the
    object with a tilted plane wave, and their irradiances add (Born & Wolf, Principles of Optics,
    7th ed., sec. 10.6). A single point on the axis gives :func:`coherent_image`; all frequencies
    of the grid with weights ``1 / (H W)`` give :func:`incoherent_image`, exactly.

    Parameters
    ----------
    scene, transmission, oversample
        As in :func:`coherent_image`.
    source : Tensor ``[S]`` or ``[P, S]``
        Non-negative weights of the points: a uniform object of radiance 1 behind an open plate has
        the irradiance ``sum_s w_s``. Several rows are several light patterns; the identity matrix
        gives one image per point, which :class:`optics.Illumination` can weight.
    tilts : Tensor ``[S, 2]``, cycles/pixel
        Spatial frequency (fy, fx) of each point's plane wave; see :func:`optics.disc_source` and
        :func:`optics.led_tilts`. Give multiples of (1/H, 1/W). Round measured tilts to the nearest:
        ``(tilts * size).round() / size``, with ``size = torch.tensor([H, W])``. Any other plane
        wave is discontinuous at the periodic border, which adds a fixed pattern to the whole image,
        even of a uniform scene; a margin does not remove it.

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
        When a tilt exceeds 0.5 cycles/pixel: it is aliased to a smaller one.

    Notes
    -----
    A sum of more than 67 million numbers is computed again for the gradient instead of kept, so
    that memory does not grow with the number of points.
    """
    _check_source(source, tilts)
    _warn_of_folding(tilts)
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
        Channels of the scene. The transmission is the same for all of them: the relay is
        achromatised.
    illumination : {"coherent", "incoherent", "partial"}
        ``coherent``: fields interfere, so that a filter can make edges and phase visible.
        ``incoherent``: the radiance is blurred by the intensity point-spread function, as in the
        light of a dermatoscope. ``partial``: an extended lamp illuminates the object, as through
        the condenser of a microscope; see ``source_radius``.
    source_radius : float, cycles/pixel
        Radius of the lamp's image in the Fourier plane, for partial coherence. The lamp is a disc
        of 13 points, half of the radius apart; each costs the transforms of a coherent image. Each
        point is moved to the nearest frequency of the grid, a multiple of (1/P, 1/Q): a disc with
        a radius below half of that interval is coherent light.
    source_inner_radius : float, cycles/pixel
        If not 0, the lamp is a ring from this radius to ``source_radius``, of 12 to 24 points: the
        condenser annulus of Zernike's phase contrast microscope.
    tilts : Tensor ``[S, 2]``, cycles/pixel, optional
        Points (fy, fx) of your own lamp instead, such as those of :func:`optics.led_tilts`. They
        are moved to the nearest frequencies of the grid, and saved in the state dict.
    source : Tensor ``[S]``, optional
        Relative weights of ``tilts``; they are normalised to a sum of 1. Equal by default.
    oversample : int
        As in :func:`coherent_image`; 1 samples at the pixels' centres.
    margin : int, pixels
        The scene is padded with its border values by at least this many pixels before the
        transform and cropped after it, so that opposite edges do not meet. 0 is periodic.
    stop_radius : float, cycles/pixel, optional
        As in :func:`filter_start`; only for ``start="dark_field"`` and ``"phase_contrast"``. In
        partial light the stop has to cover the image of the lamp: light that passes beside a
        smaller stop is not filtered. By default the stop covers the lamp with half a sample of the
        grid (``1 / (2 min(P, Q))``) beyond the outermost point. For a ring the stop is a ring too,
        and begins half a sample within the innermost point. In other light the default is the
        zero frequency alone.
    phase_depth : float, radians, optional
        If given, scenes are transparent objects: a value of 1 delays light by this phase, see
        :func:`optics.phase_object`. By default scenes are radiance.
    generator : torch.Generator, optional
        Source of ``start="random"``.

    Raises
    ------
    TypeError
        For a start that is neither a name nor a Tensor, a radius that is not a number or is a
        parameter, or ``tilts`` or ``source`` that are not Tensors or require a gradient.
    ValueError
        For a size below 2 pixels, a source radius that is not positive, an inner radius outside of
        0 to ``source_radius``, tilts or weights of the wrong shape, weights that are negative or
        all 0, both radii and tilts, a ring, tilts or weights in light that is not partial, a phase
        depth that is not finite or in incoherent light, a negative margin, an unknown start or
        illumination, an oversampling below 1, a ``stop_radius`` for a start without a stop or
        beyond the highest frequency, or a transmission of the wrong shape or with |t| > 1.

    Warns
    -----
    UserWarning
        When ``stop_radius`` does not cover the lamp in partial light.

    Notes
    -----
    |t| <= 1 holds by construction, see :func:`optics.unit_disk`. A start is limited to |t| <=
    0.995 (1 % loss), because raw values reach the bound at infinity only. Opaque samples keep a
    gradient.
    """

    _turns: Tensor
    _weights: Tensor

    def __init__(  # noqa: PLR0913 - a plate, the lamp before it, and how both are sampled
        self,
        size: int | tuple[int, int],
        start: FilterStart | Tensor = "open",
        *,
        channels: int = 3,
        illumination: Literal["coherent", "incoherent", "partial"] = "coherent",
        source_radius: float = 0.1,
        source_inner_radius: float = 0.0,
        tilts: Tensor | None = None,
        source: Tensor | None = None,
        oversample: int = 1,
        margin: int = 16,
        stop_radius: float | None = None,
        phase_depth: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        height, width = image_size(size)
        margin = whole_number("margin", margin, least=0)
        if min(height, width) < 2:
            raise ValueError(f"size must be (H, W) of at least 2 pixels, not {size}")
        self.size = (height, width)
        if illumination not in ("coherent", "incoherent", "partial"):
            raise ValueError(
                f"illumination must be 'coherent', 'incoherent' or 'partial', not {illumination!r}"
            )
        #: Samples (P, Q) of the Fourier plane.
        self.grid_size = (
            (fast_size(height + 2 * margin), fast_size(width + 2 * margin)) if margin else self.size
        )
        self.illumination = illumination
        self._light(source_radius, source_inner_radius, tilts, source)
        if isinstance(start, str):
            ring = None
            if illumination == "partial" and start in STOPPED:
                stop_radius, ring = self._covering(stop_radius)
            wanted = filter_start(
                start, self.grid_size, stop_radius=stop_radius, ring=ring, generator=generator
            )
        else:
            wanted = self._checked(start)
            if stop_radius is not None:
                raise ValueError("stop_radius needs a start by name: a Tensor has its own stop")
        raw = unit_disk_inverse(wanted)
        self.raw = nn.Parameter(raw.to(torch.get_default_dtype()))
        self.oversample = whole_number("oversample", oversample)
        self.phase_depth = as_depth(phase_depth)
        if phase_depth is not None and illumination == "incoherent":
            raise ValueError(
                "phase_depth needs illumination='coherent' or 'partial': incoherent light does not "
                "show phase"
            )
        self.in_channels = self.out_channels = whole_number("channels", channels)
        self.exposures = 1

    @property
    def transmission(self) -> Tensor:
        """Complex amplitude transmission ``[P, Q]``, zero frequency at ``[P // 2, Q // 2]``."""
        return unit_disk(self.raw)

    @property
    def tilts(self) -> Tensor:
        """Points (fy, fx) of the lamp in partial light, ``[S, 2]``, cycles/pixel, float64."""
        turns = self._turns.double()
        return torch.stack([turns[:, axis] / self.grid_size[axis] for axis in (0, 1)], 1)

    @property
    def source(self) -> Tensor:
        """Weights ``[S]`` of the points :attr:`tilts`, float64, with a sum of 1."""
        weights = self._weights.double()
        return weights / weights.sum()

    @property
    def interferes(self) -> bool:
        """Whether the illumination is coherent or partially coherent."""
        return self.illumination != "incoherent"

    def throughput(self) -> Tensor:
        """Mean of ``|t|^2``, scalar in 0..1: the fraction of a point source's light that passes.

        In incoherent light this holds for every scene. In coherent light the fraction depends on
        the scene: a dark field stops all light of a constant one.
        """
        t = self.transmission
        return (t.real.square() + t.imag.square()).mean()

    def forward(self, scene: Tensor) -> Tensor:
        """Form the irradiance ``[B, C, H, W]`` of a scene ``[B, C, H, W]``, real or a field.

        Without ``phase_depth`` a complex scene is the field itself; incoherent light takes only
        real scenes.

        Raises
        ------
        TypeError
            When the scene is not a Tensor.
        ValueError
            When its size or channels are not those of the filter.
        """
        check_tensor("scene", scene)
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
        if self.phase_depth is not None:
            scene = phase_object(scene, self.phase_depth)
        image = self._form(scene)
        return image[..., top : top + height, left : left + width]

    def _form(self, scene: Tensor) -> Tensor:
        if self.illumination == "coherent":
            return coherent_image(scene, self.transmission, oversample=self.oversample)
        if self.illumination == "incoherent":
            return incoherent_image(scene, self.transmission, oversample=self.oversample)
        return partially_coherent_image(
            scene,
            self.transmission,
            source=self.source,
            tilts=self.tilts,
            oversample=self.oversample,
        )

    def combine(self, raw: Tensor) -> Tensor:
        """Return the single exposure ``raw`` unchanged."""
        check_raw(raw, self.out_channels)
        return raw

    def extra_repr(self) -> str:
        """Name the geometry."""
        shown = (
            f"size={self.size} pixels, grid_size={self.grid_size}, channels={self.in_channels}, "
            f"illumination={self.illumination!r}, oversample={self.oversample}"
        )
        if self.illumination == "partial":
            shown += self._lamp
        return shown if self.phase_depth is None else f"{shown}, phase_depth={self.phase_depth:g}"

    def _light(
        self, radius: float, inner: float, tilts: Tensor | None, source: Tensor | None
    ) -> None:
        """Place the points of the lamp on the grid."""
        self.source_radius = radius = one_number("source_radius", radius, "cycles/pixel")
        inner = one_number("source_inner_radius", inner, "cycles/pixel")
        self.source_inner_radius = inner
        own = tilts is not None
        if self.illumination != "partial":
            if own or source is not None or inner != 0:
                raise ValueError(
                    "source_inner_radius, tilts and source need illumination='partial', "
                    f"not {self.illumination!r}"
                )
            return
        check_positive("source_radius", radius, "cycles/pixel")
        if not 0 <= inner <= radius:
            raise ValueError(
                f"source_inner_radius must be between 0 and source_radius={radius:g} cycles/pixel, "
                f"not {inner:g}"
            )
        if tilts is None:
            if source is not None:
                raise ValueError("source holds the weights of tilts: give tilts as well")
            tilts = condenser(radius, inner)
        elif (radius, inner) != (0.1, 0.0):
            raise ValueError(
                "give source_radius and source_inner_radius, or tilts of your own, not both"
            )
        weights = torch.ones(len(tilts)) if source is None else source
        _check_source(weights, tilts)
        if tilts.requires_grad or weights.requires_grad:
            raise TypeError(
                "tilts and source are not learned here: give them detached, or train them in "
                "optics.partially_coherent_image"
            )
        if weights.ndim != 1 or not weights.any():
            raise ValueError(f"source must be [{len(tilts)}] and not all 0, not {weights}")
        tilts, weights = tilts[weights > 0], weights[weights > 0]
        if not float(tilts.abs().max()) <= 0.5:
            said = "tilts reach" if own else "source_radius reaches"
            raise ValueError(
                f"{said} {float(tilts.abs().max()):.3g} cycles/pixel: above 0.5 the waves of a "
                "lamp are aliased, and no plate can separate them from others"
            )
        # A wave between the frequencies of the grid is discontinuous at the periodic border, and
        # adds a pattern. Whole numbers are exact in half precision.
        turns = (tilts.double().cpu() * torch.tensor(self.grid_size)).round().long()
        self.register_buffer("_turns", turns, persistent=own)
        weights = weights.double().cpu()
        # Normalised, as half precision holds nothing above 65504.
        self.register_buffer("_weights", weights / weights.max(), persistent=own)
        ring = f", source_inner_radius={inner:g} cycles/pixel" if inner else ""
        self._lamp = (
            f", tilts of {len(turns)} points"
            if own
            else f", source_radius={radius:g} cycles/pixel{ring}"
        )

    def _covering(self, stop: float | None) -> tuple[float | None, tuple[float, float] | None]:
        """Stop and ring of a plate that covers the points, and half a sample around them."""
        distance, half = self.tilts.norm(dim=1), 0.5 / min(self.grid_size)
        inner, outer = float(distance.min()) - half, float(distance.max()) + half
        if stop is None:
            return (None, (inner, outer)) if inner > 0 else (outer, None)
        stop = one_number("stop_radius", stop, "cycles/pixel")
        size = torch.tensor(self.grid_size)
        rows, columns = ((self._turns + size // 2) % size).T
        beside = dark_field(self.grid_size, stop=stop)[rows, columns].abs().square().double()
        passed = float((self.source * beside).sum())
        if passed > 1e-9:
            warnings.warn(
                f"stop_radius={stop:g} cycles/pixel does not cover the lamp: {100 * passed:.2g} % "
                "of its light passes beside the plate as if there were none. Leave stop_radius "
                f"out, or give {math.ceil(1e4 * outer) / 1e4:g} or more",
                UserWarning,
                stacklevel=3,
            )
        return stop, None

    def _checked(self, start: Tensor) -> Tensor:
        if not isinstance(start, Tensor):
            raise TypeError(
                f"start must be a name or a complex Tensor {self.grid_size}, not "
                f"{type(start).__name__}; make one of an array with torch.as_tensor"
            )
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
    whole_number("oversample", oversample)
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
        return squared_modulus(torch.fft.ifft2(spectrum))
    # The field between the pixels' centres is that of a shifted grid: no larger transform.
    points = torch.arange(oversample, dtype=torch.float64, device=spectrum.device)
    points = (points - (oversample - 1) / 2) / oversample
    rows, columns = (
        phasor(
            2
            * torch.pi
            * points[:, None]
            * torch.fft.ifftshift(frequencies(length, device=spectrum.device))
        ).to(spectrum.dtype)
        for length in spectrum.shape[-2:]
    )
    total = torch.zeros((), dtype=spectrum.real.dtype, device=spectrum.device)
    for row in rows:
        for column in columns:
            total = total + squared_modulus(torch.fft.ifft2(spectrum * (row[:, None] * column)))
    return total / oversample**2


def _plane_wave(tilt: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Wave ``exp(i 2 pi f x)`` ``[S, length]`` of frequencies ``[S]`` along one axis."""
    turns = tilt.double()[:, None] * coordinates(length, device=tilt.device)
    return phasor(2 * torch.pi * turns).to(dtype)


def _check_source(source: Tensor, tilts: Tensor) -> None:
    check_tensor("source", source)
    check_tensor("tilts", tilts)
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
    check_between("source", source, 0.0, math.inf, "shares of the light")


def _warn_of_folding(tilts: Tensor) -> None:
    """Say where a wave is too steep for the samples."""
    if looked_at(tilts) and (steepest := float(tilts.detach().abs().max())) > 0.5:
        warnings.warn(
            f"a tilt of {steepest:.3g} cycles/pixel exceeds 0.5, the Nyquist frequency of the "
            "grid: it is aliased to another one; use smaller pixels",
            UserWarning,
            stacklevel=3,
        )
