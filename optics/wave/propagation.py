"""Free-space propagation of a field ``[..., H, W]`` between parallel planes.

Fields are complex amplitudes of ``exp(i (k z - w t))`` without the carrier ``exp(i k z)``: a plane
wave along the axis does not change. The remaining phases are computed in float64, without
subtracting large numbers, and rounded once to the precision of the field.

============================  ===============  =======================================
function                      output grid      valid
============================  ===============  =======================================
:func:`angular_spectrum`      unchanged        at any angle and distance
:func:`fresnel`               unchanged        at small angles
:func:`fraunhofer`            ``λ z / (N dx)`` far away, or in a lens's focal plane
============================  ===============  =======================================

With ``output_spacing``, ``output_size`` or ``output_centre`` each function computes the field on
that output grid instead, such as a fine one for a focus and a coarse one for a wide beam.
"""

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple, SupportsIndex

import torch
from torch import Tensor

from optics.fourier import kept, matrix_dft, phasor
from optics.grid import coordinates, fast_size
from optics.quantity import (
    check_complex,
    check_extent,
    check_finite,
    check_positive,
    image_size,
    looked_at,
    one_number,
)

__all__ = ["FarField", "angular_spectrum", "fraunhofer", "fresnel"]

# The error of a square aperture of half the grid's width is 2e-3 with 64 frequencies left on each
# side of the axis, 2e-2 with 26 and 8e-2 with 13 (against Fresnel's integrals).
_FEWEST_FREQUENCIES = 16
# The same limit for the samples of a band-limited Fresnel kernel. The error of a beam with a waist
# of 20 samples is 1e-2 with 16 of them and 7e-4 with 32. For a square aperture of half the grid's
# width, most of the error is at its edge (0.17, as on its own grid).
_FEWEST_SAMPLES = 16
# Largest number of frequencies along an axis, unless the field itself needs more: 2 GB in float32.
_MOST_FREQUENCIES = 2**14


class FarField(NamedTuple):
    """A field and the sampling interval of its grid.

    Attributes
    ----------
    field : Tensor ``[..., H, W]``
        Complex amplitude, with the axis, or the ``output_centre``, at ``(H // 2, W // 2)``.
    spacing : (float or Tensor, float or Tensor)
        Sampling interval of rows and of columns, metres; tensors ``[...]`` if an argument was one.
        For a square field they are equal: give ``spacing[0]`` to the next propagation.
    """

    field: Tensor
    spacing: tuple[float | Tensor, float | Tensor]


class _Medium(NamedTuple):
    """Checked arguments; tensors are float64 ``[..., 1, 1]`` on the field's device."""

    spacing: float | Tensor
    wavelength: float | Tensor
    distance: float | Tensor


class _Axis(NamedTuple):
    """Samples of the field along one axis, and those of the output with their spacing."""

    samples: int
    size: int
    spacing: float | Tensor
    centre: float


_Plane = tuple[_Axis, _Axis]


def angular_spectrum(
    field: Tensor,
    *,
    spacing: float | Tensor,
    wavelength: float | Tensor,
    distance: float | Tensor,
    refractive_index: float | Tensor = 1.0,
    band_limit: bool = True,
    pad: bool = True,
    output_spacing: float | None = None,
    output_size: SupportsIndex | tuple[SupportsIndex, SupportsIndex] | None = None,
    output_centre: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """Propagate a field by the angular spectrum of plane waves: exact scalar diffraction.

    The transfer function is ``H = exp(i (kz - k) z)`` with ``kz - k = -k s / (1 + sqrt(1 - s))``,
    ``s = (λ f / n)**2`` and ``k = 2 pi n / λ``, a form without cancellation.

    Parameters
    ----------
    field : Tensor ``[..., H, W]``
        Complex amplitude; a real field has phase 0. Half precision is computed in float32.
    spacing, wavelength, distance, refractive_index : float or Tensor ``[...]``
        Sampling interval, vacuum wavelength and distance between the planes in metres, and the
        refractive index of the medium. Tensors carry a gradient, and their shape broadcasts with
        the leading dimensions of the field: a wavelength ``[C]`` goes with ``[B, C, H, W]``. A
        negative distance propagates backwards.
    band_limit : bool
        Set H to 0 where its phase changes by more than pi from one frequency to the next: above
        ``1 / (λ sqrt((2 df z)**2 + 1))`` along each axis, with the frequency interval ``df``. These
        waves would wrap around.
    pad : bool
        Propagate on a grid of at least twice the size, zero outside of the field, and crop the
        result, so that light that leaves on one side does not enter on the other. If False, the
        field is periodic.
    output_spacing : float, metres, optional
        Sampling interval of the output, by default that of the field. ``spacing`` must then be one
        number.
    output_size : int or (int, int), optional
        Samples (h, w) of the output, by default (H, W).
    output_centre : (float, float), metres
        Position (y, x) of the output's sample ``(h // 2, w // 2)``, relative to the field's sample
        ``(H // 2, W // 2)``. The grid is padded until it contains the output window.

    Returns
    -------
    Tensor ``[..., h, w]``, complex64 or complex128.

    Raises
    ------
    TypeError
        For an output spacing or centre that is not a number; with an output grid, for a
        ``spacing`` that is several numbers or a parameter.
    ValueError
        For a field that is not complex or real floating point ``[..., H, W]``, one that is not
        finite, a quantity out of its range, a wavelength (in the medium) more than ten times the
        width of the grid, as one in nanometres is, or shapes that do not broadcast. Also for an
        output so wide that the padded grid has more than 16384 samples along an axis.

    Warns
    -----
    UserWarning
        When the band limit leaves less than half of the grid's band: without padding always; with
        padding, where the removed waves have left the grid anyway, if fewer than 16 frequencies
        are left on each side of the axis. Tensors are checked on the CPU only. For several
        wavelengths or distances the worst is reported.

    Notes
    -----
    J. W. Goodman, Introduction to Fourier Optics, 3rd ed., sec. 3.10 (eq. 3-74); the band limit:
    K. Matsushima, T. Shimobaba, Opt. Express 17, 19662-19673 (2009), eqs. (13) and (21).

    Evanescent waves (``s > 1``) decay with ``|z|`` forwards and backwards, because growing ones
    would only amplify noise. The band limit applies to propagating waves and leaves them. Exactly
    at ``s = 1`` the derivative of the square root to wavelength and spacing is infinite and is set
    to 0.

    ::

        field ─pad─► FFT ─► × H(f; λ/n, z) ─► FFT⁻¹ ─crop─► field at z
                                        └──► sum at the output's samples, where some are given

    With an output grid, the sum over the frequencies is two matrix products. The padded grid
    contains every path from a sample of the field to one of the output. The band limit follows from
    the size of this grid, so that it leaves the waves that reach the output: K. Matsushima, Opt.
    Express 18, 18453-18463 (2010), but with a band about the axis also for an off-axis output.
    """
    field, medium = _checked(field, spacing, wavelength, distance, refractive_index)
    plane = _plane(field, (spacing, spacing), output_spacing, output_size, output_centre)
    if plane:
        # The size of the grid depends on the spacing.
        spacing = one_number("spacing", spacing, "metres", remedy="call it for each")
        medium = medium._replace(spacing=spacing)
        rows, columns = (axis._replace(spacing=float(axis.spacing)) for axis in plane)
        plane = rows, columns
    size = _grid(field, pad, medium.spacing, plane)
    if band_limit:
        _warn_band(medium, size, pad)
    transfer = _spectral_transfer(size, medium, band_limit, field.device)
    return _filtered(field, transfer, medium.spacing, plane)


def fresnel(
    field: Tensor,
    *,
    spacing: float | Tensor,
    wavelength: float | Tensor,
    distance: float | Tensor,
    refractive_index: float | Tensor = 1.0,
    band_limit: bool = True,
    pad: bool = True,
    output_spacing: float | None = None,
    output_size: SupportsIndex | tuple[SupportsIndex, SupportsIndex] | None = None,
    output_centre: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """Propagate a field by Fresnel diffraction, the paraxial approximation.

    On the grid of the field, the transfer function is ``exp(-i pi λ z f**2 / n)``:
    :func:`angular_spectrum` to the first order in ``s = (λ f / n)**2``, with a phase error of
    ``k z s**2 / 8``. It costs the same, and serves comparisons with closed forms. Samples of about
    a wavelength, as in diffractive networks, send light far beyond small angles.

    With an output grid, Fresnel's integral is summed instead,
    ``u(x') = 1 / (i λ z) · sum u(x) exp(i pi (x' - x)**2 / (λ z)) dx**2``. It is valid from the
    distance where the transfer function begins to fail up to any distance. Its cost depends neither
    on the distance nor on the spacing.

    Parameters
    ----------
    field, spacing, wavelength, distance, refractive_index
        See :func:`angular_spectrum`; ``spacing`` may be a tensor in every case.
    band_limit : bool
        Set the transfer function to 0 where its phase changes by more than pi from one frequency to
        the next: above ``1 / (2 df λ |z|)`` along each axis. For the integral, set the kernel to 0
        where its phase changes by more than pi from one sample to the next: beyond
        ``|x' - x| = λ |z| / (2 dx)``, which no frequency of the field's grid reaches, and where
        its aliased copies would lie. Over the last ``sqrt(λ |z|)`` the kernel fades as a squared
        sine.
    pad : bool
        See :func:`angular_spectrum`; the integral needs True, as its field is not periodic.
    output_spacing, output_size, output_centre
        See :func:`angular_spectrum`; here an output far off the axis costs nothing.

    Returns
    -------
    Tensor ``[..., h, w]``, complex64 or complex128, without the carrier ``exp(i k z)``.

    Raises
    ------
    TypeError
        For an output spacing or centre that is not a number.
    ValueError
        See :func:`angular_spectrum`; with an output grid also for ``pad=False`` and for a distance
        of 0.

    Warns
    -----
    UserWarning
        See :func:`angular_spectrum`. With an output grid: when the band limit leaves fewer than 16
        samples of the kernel on each side, ``λ |z| < 32 dx**2``, or when the output is wider than
        the light of the field's samples reaches.

    Notes
    -----
    Goodman, 3rd ed., eqs. 4-21 and 4-14.
    """
    field, medium = _checked(field, spacing, wavelength, distance, refractive_index)
    own = (medium.spacing, medium.spacing)
    plane = _plane(field, own, output_spacing, output_size, output_centre)
    if plane is None:
        size = _grid(field, pad)
        if band_limit:
            _warn_band(medium, size, pad)
        return _filtered(field, _fresnel_transfer(size, medium, band_limit, field.device))
    if not pad:
        raise ValueError(
            "pad=False propagates a periodic field on its own grid; leave it out with an output "
            "grid, or use angular_spectrum"
        )
    _check_kernel(medium)
    if band_limit:
        _warn_kernel(medium)
        _warn_reach(medium, plane, "the output is dark", near=True)
    return _integral(field, medium, plane, curved=True, chirp=True, band_limit=band_limit)


def fraunhofer(
    field: Tensor,
    *,
    spacing: float | Tensor,
    wavelength: float | Tensor,
    distance: float | Tensor,
    refractive_index: float | Tensor = 1.0,
    quadratic_phase: bool = False,
    output_spacing: float | None = None,
    output_size: SupportsIndex | tuple[SupportsIndex, SupportsIndex] | None = None,
    output_centre: tuple[float, float] = (0.0, 0.0),
) -> FarField:
    """Far field, or field in the focal plane of a lens, by one Fourier transform.

    ``u(x') = exp(i pi x'**2 / (λ z)) / (i λ z) · F u (x' / (λ z))``, with λ in the medium. Power,
    ``sum |u|**2`` times the area of a sample, is conserved.

    Parameters
    ----------
    field : Tensor ``[..., H, W]``
        Complex or real amplitude, with the axis at ``(H // 2, W // 2)``.
    spacing, wavelength, distance, refractive_index : float or Tensor ``[...]``
        See :func:`angular_spectrum`; the distance, or the focal length, must be positive.
    quadratic_phase : bool
        Include the first factor, as for free space, or a lens in the plane of the field. Without
        it, the default, the result is that of a lens one focal length behind the field. The
        irradiance is the same.
    output_spacing : float, metres, optional
        Sampling interval of the output's rows and columns, by default ``λ z / (N dx)`` for each.
    output_size, output_centre
        See :func:`angular_spectrum`.

    Returns
    -------
    FarField ``(field [..., h, w], spacing (rows, columns))``
        Field, with the output's centre (by default zero frequency) at ``(h // 2, w // 2)``, and its
        sampling intervals, metres.

    Raises
    ------
    TypeError
        For an output spacing or centre that is not a number.
    ValueError
        See :func:`angular_spectrum`; also for a distance that is not positive.

    Warns
    -----
    UserWarning
        For an output that reaches beyond ``λ z / (2 dx)``, where the far field of a sampled field
        repeats itself. Tensors are checked on the CPU only.

    Notes
    -----
    Goodman, 3rd ed., eqs. 4-25 and 5-19. In free space it is valid for ``z`` well above
    ``2 D**2 / λ``, with the extent D of the field. With an output grid the transform is two matrix
    products, see :func:`~optics.fourier.dft_matrix`.
    """
    check_positive("distance", distance, "metres")
    field, medium = _checked(field, spacing, wavelength, distance, refractive_index)
    dx, wavelength, distance = medium
    height, width = field.shape[-2:]
    reach = wavelength * distance
    rows, columns = reach / (height * dx), reach / (width * dx)
    plane = _plane(field, (rows, columns), output_spacing, output_size, output_centre)
    if plane:
        _warn_reach(medium, plane, "the field repeats itself", near=False)
        far = _integral(field, medium, plane, curved=quadratic_phase)
        rows, columns = (_scalar(axis.spacing) for axis in plane)
        return FarField(far, (rows, columns))
    far = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(field, (-2, -1))), (-2, -1))
    # 1 / i = -i.
    scale = torch.as_tensor(dx * dx / reach, dtype=torch.float64, device=field.device)
    far = far * (-1j * scale).to(field.dtype)
    if quadratic_phase:
        y = coordinates(height, device=field.device)[:, None] * rows
        x = coordinates(width, device=field.device) * columns
        phase = torch.pi * (y * y + x * x) / reach
        far = far * torch.polar(torch.ones_like(phase), phase).to(field.dtype)
    return FarField(far, (_scalar(rows), _scalar(columns)))


def _scalar(value: float | Tensor) -> float | Tensor:
    """Remove the two trailing dimensions that :func:`_checked` adds to a tensor."""
    return value[..., 0, 0] if isinstance(value, Tensor) else value


def _checked(
    field: Tensor,
    spacing: float | Tensor,
    wavelength: float | Tensor,
    distance: float | Tensor,
    refractive_index: float | Tensor,
) -> tuple[Tensor, _Medium]:
    """Convert the field to a complex type, and the quantities to float64 on its device."""
    check_complex("field", field, "[..., H, W]")
    check_finite("field", field)
    check_positive("spacing", spacing, "metres")
    check_positive("wavelength", wavelength, "metres")
    check_positive("refractive_index", refractive_index)
    check_finite("distance", distance, "metres")
    named = {
        "spacing": spacing,
        "wavelength": wavelength,
        "distance": distance,
        "refractive_index": refractive_index,
    }
    leading = field.shape[:-2]
    for name, value in named.items():
        if isinstance(value, Tensor):
            try:
                leading = torch.broadcast_shapes(leading, value.shape)
            except RuntimeError:
                raise ValueError(
                    f"{name} of shape {tuple(value.shape)} must broadcast with the leading "
                    f"dimensions of field, {tuple(field.shape)}, and of the other quantities"
                ) from None
    if not field.is_complex():
        field = field if field.dtype == torch.float64 else field.float()
    dtype = torch.complex128 if field.dtype in _DOUBLE else torch.complex64
    spacing, wavelength, distance, refractive_index = (
        value.to(device=field.device, dtype=torch.float64)[..., None, None]
        if isinstance(value, Tensor)
        else float(value)
        for value in named.values()
    )
    medium = _Medium(spacing, wavelength / refractive_index, distance)
    check_extent(medium.wavelength, spacing, max(field.shape[-2:]))
    return field.to(dtype), medium


_DOUBLE = (torch.float64, torch.complex128)


def _plane(
    field: Tensor,
    own: tuple[float | Tensor, float | Tensor],
    spacing: float | None,
    size: SupportsIndex | tuple[SupportsIndex, SupportsIndex] | None,
    centre: tuple[float, float],
) -> _Plane | None:
    """Check the output grid; ``own`` are its spacings by default. None if no grid is given."""
    if not isinstance(centre, tuple | list) or len(centre) != 2:
        raise TypeError(f"output_centre must be two numbers (y, x) in metres, not {centre!r}")
    y, x = (one_number("output_centre", side, "metres") for side in centre)
    if spacing is None and size is None and y == x == 0:
        return None
    for side in (y, x):
        check_finite("output_centre", side, "metres")
    if spacing is not None:
        spacing = one_number("output_spacing", spacing, "metres", remedy="call it for each")
        check_positive("output_spacing", spacing, "metres")
        own = spacing, spacing
    rows, columns = field.shape[-2:]
    height, width = image_size((rows, columns) if size is None else size, "output_size")
    return _Axis(rows, height, own[0], y), _Axis(columns, width, own[1], x)


def _grid(
    field: Tensor, pad: bool, spacing: float | Tensor = 1.0, plane: _Plane | None = None
) -> tuple[int, int]:
    """Size of the periodic grid; padded, it contains every path from field to output."""
    height, width = field.shape[-2:]
    if not pad:
        return height, width
    if plane is None:
        return fast_size(2 * height), fast_size(2 * width)
    rows, columns = (_padded(axis, float(spacing)) for axis in plane)
    return rows, columns


def _padded(axis: _Axis, spacing: float) -> int:
    wide = axis.samples + (axis.size * axis.spacing + 2 * abs(axis.centre)) / spacing
    # The rounding error of the ratio must not add a sample.
    samples = max(2 * axis.samples, math.ceil(wide * (1 - 1e-12)))
    if samples > max(_MOST_FREQUENCIES, 2 * axis.samples):
        raise ValueError(
            f"output_size * output_spacing, {axis.size} * {axis.spacing:g} m centred at "
            f"{axis.centre:g} m, needs a grid of {samples} samples {spacing:g} m apart, more than "
            f"{_MOST_FREQUENCIES}: give all lengths in metres, or use fresnel for so wide an output"
        )
    return fast_size(samples)


def _filtered(
    field: Tensor, transfer: Tensor, spacing: float | Tensor = 1.0, plane: _Plane | None = None
) -> Tensor:
    """Multiply the spectrum by ``transfer``, on its grid, with the field at the grid's origin."""
    height, width = field.shape[-2:]
    rows, columns = transfer.shape[-2:]
    # Axis by axis, so that rows of nothing but padding are never transformed.
    spectrum = torch.fft.fft(torch.fft.fft(field, n=columns, dim=-1), n=rows, dim=-2)
    spectrum = spectrum * transfer.to(field.dtype)
    if plane:
        sides = zip(plane, (rows, columns), strict=True)
        return matrix_dft(
            spectrum, *(_kernel(_synthesis, field, axis, n, spacing) for axis, n in sides)
        )
    result = torch.fft.ifft(spectrum, dim=-2)[..., :height, :]
    return torch.fft.ifft(result, dim=-1)[..., :width]


def _kernel(build: Callable[..., Tensor], field: Tensor, axis: _Axis, *given: object) -> Tensor:
    """Matrix of one axis, of the field's type; kept for reuse if its arguments are numbers."""

    def make() -> Tensor:
        return build(field.device, axis, *given).to(field.dtype)

    if any(isinstance(value, Tensor) for value in (*axis, *given)):
        return make()
    return kept((build.__name__, axis, *given, field.dtype, str(field.device)), make)


def _synthesis(device: torch.device, axis: _Axis, period: int, spacing: float) -> Tensor:
    """Inverse transform of ``period`` frequencies, zero first, at the output's samples."""
    place = (coordinates(axis.size, device=device) * axis.spacing + axis.centre) / spacing
    frequency = torch.fft.fftfreq(period, dtype=torch.float64, device=device)
    waves = _turned((place + axis.samples // 2)[:, None] * frequency)
    # With an even number, the highest frequency stands for both signs.
    return torch.where(frequency == -0.5, waves.real, waves) / period


def _integral(
    field: Tensor,
    medium: _Medium,
    plane: _Plane,
    *,
    curved: bool,
    chirp: bool = False,
    band_limit: bool = False,
) -> Tensor:
    """Fresnel's integral, curved and with a chirp, or that of the far field."""
    reach = medium.wavelength * medium.distance
    given = (medium.spacing, reach, curved, chirp, band_limit)
    rows, columns = (_kernel(_integral_kernel, field, axis, *given) for axis in plane)
    return matrix_dft(field, rows, columns)


def _integral_kernel(
    device: torch.device,
    axis: _Axis,
    spacing: float | Tensor,
    reach: float | Tensor,
    curved: bool,
    chirp: bool,
    band_limit: bool,
) -> Tensor:
    """``exp(i pi (x'**2 - 2 x' x + x**2) / (λ z)) dx / sqrt(i λ z)``, ``[..., n, N]``.

    The first square is there if it is ``curved``, the last if it is a ``chirp``.
    """
    reach = torch.as_tensor(reach, dtype=torch.float64, device=device)
    there = coordinates(axis.size, device=device)[:, None] * axis.spacing + axis.centre
    here = coordinates(axis.samples, device=device) * spacing
    squares = (there**2 if curved else 0) + (here**2 if chirp else 0)
    kernel = _turned((squares - 2 * there * here) / (2 * reach) - reach.sign() / 8)
    zone = reach.abs().sqrt()
    if band_limit:
        # At its end the kernel changes sign from sample to sample, so that a sharp cut would leave
        # half a sample: up to 9 % of a beam, of which the fade leaves 0.5 %.
        left = (zone / (2 * spacing) - (there - here).abs() / zone).clamp(0, 1)
        kernel = kernel * torch.sin(torch.pi / 2 * left).square()
    return kernel * (spacing / zone)


def _turned(turns: Tensor) -> Tensor:
    """``exp(i 2 pi turns)``; whole turns are removed for the accuracy of sine and cosine."""
    return phasor(2 * torch.pi * (turns - turns.detach().round()))


def _spectral_transfer(
    size: tuple[int, int], medium: _Medium, band_limit: bool, device: torch.device
) -> Tensor:
    """``H [..., H, W]``, complex128, zero frequency first."""
    spacing, wavelength, distance = medium
    wavenumber = 2 * torch.pi / wavelength
    s_y, s_x = ((nu * (wavelength / spacing)) ** 2 for nu in _quarter_frequencies(size, device))
    s = s_y + s_x
    travels = s <= 1
    # Both branches of `where` are kept off the square root's infinite slope at 0.
    root = torch.where(s < 1, torch.where(s < 1, 1 - s, 1.0).sqrt(), 0.0)
    decay = torch.where(s > 1, torch.where(s > 1, s - 1, 1.0).sqrt(), 0.0)
    modulus = torch.exp(-wavenumber * abs(distance) * decay)
    if band_limit:
        # |f| > 1 / (λ sqrt((2 df z)^2 + 1)), squared and times λ; exactly |f| > 1 / λ at z = 0.
        above = [
            part * ((2 * distance / (n * spacing)) ** 2 + 1) > 1
            for part, n in zip((s_y, s_x), size, strict=True)
        ]
        modulus = torch.where(travels & (above[0] | above[1]), 0.0, modulus)
    phase = -wavenumber * distance * torch.where(travels, s / (1 + root), 1.0)
    return _mirrored(torch.polar(modulus, phase), size)


def _fresnel_transfer(
    size: tuple[int, int], medium: _Medium, band_limit: bool, device: torch.device
) -> Tensor:
    spacing, wavelength, distance = medium
    nu_y, nu_x = _quarter_frequencies(size, device)
    reach = wavelength * distance / spacing**2
    phase = -torch.pi * reach * (nu_y**2 + nu_x**2)
    modulus = torch.ones_like(phase)
    if band_limit:
        # In cycles per sample the spacing of the frequencies is 1 / n.
        above = [2 * abs(reach) * nu > n for nu, n in zip((nu_y, nu_x), size, strict=True)]
        modulus = torch.where(above[0] | above[1], 0.0, modulus)
    return _mirrored(torch.polar(modulus, phase), size)


def _quarter_frequencies(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Frequencies >= 0 ``[H // 2 + 1, 1]`` and ``[1, W // 2 + 1]``, cycles per sample."""
    y, x = (torch.arange(n // 2 + 1, dtype=torch.float64, device=device) / n for n in size)
    return y[:, None], x[None, :]


def _mirrored(quarter: Tensor, size: tuple[int, int]) -> Tensor:
    """Complete a transfer function that is even along both axes from a quarter of it."""
    for axis, n in ((-2, size[0]), (-1, size[1])):
        rest = quarter.narrow(axis, 1, (n - 1) // 2).flip(axis)
        quarter = torch.cat((quarter, rest), axis)
    return quarter


def _each(*quantities: float | Tensor) -> list[tuple[float, ...]]:
    """Every combination of the quantities, as floats; empty where values are not checked."""
    tensors = [value for value in quantities if isinstance(value, Tensor)]
    if torch.compiler.is_compiling() or not all(looked_at(value) for value in tensors):
        return []
    if not tensors:  # without torch, whose default device may be an accelerator
        return [tuple(map(float, quantities))]
    values = (torch.as_tensor(value, dtype=torch.float64).detach() for value in quantities)
    columns = [column.flatten() for column in torch.broadcast_tensors(*values)]
    return [tuple(float(value) for value in row) for row in zip(*columns, strict=True)]


def _warn_band(medium: _Medium, size: tuple[int, int], pad: bool) -> None:
    """Warn if the band limit makes the result doubtful; never waits for an accelerator."""
    doubtful = []
    for spacing, wavelength, distance in _each(*medium):
        step = 1 / (min(size) * spacing)
        limit = 1 / (wavelength * math.hypot(2 * step * distance, 1))
        part = limit / min(0.5 / spacing, 1 / wavelength)
        left = limit / step
        if part < 0.5 and (not pad or left < _FEWEST_FREQUENCIES):
            doubtful.append((part, left, distance))
    if not doubtful:
        return
    part, left, distance = min(doubtful)
    if pad:
        reason = f"{left:.2g} frequencies on each side of the axis, fewer than "
        reason += f"{_FEWEST_FREQUENCIES}; use more or wider samples, fraunhofer, fresnel with an "
        reason += "output_spacing"
    else:
        reason = "and the removed waves would still reach the unpadded grid; use pad=True"
    warnings.warn(
        f"at a distance of {distance:.3g} m the band limit leaves {100 * part:.2g} % of the band "
        f"of the grid, {reason}, or a shorter distance",
        UserWarning,
        stacklevel=3,
    )


def _check_kernel(medium: _Medium) -> None:
    if any(distance == 0 for _, _, distance in _each(*medium)):
        raise ValueError(
            "distance must not be 0 for Fresnel's integral on an output grid; use "
            "angular_spectrum, which is valid near the field"
        )


def _warn_kernel(medium: _Medium) -> None:
    """Warn if few samples of Fresnel's kernel are left."""
    few = [(w * abs(z) / (2 * dx * dx), z) for dx, w, z in _each(*medium)]
    left, distance = min(few, default=(math.inf, 0.0))
    if left < _FEWEST_SAMPLES:
        warnings.warn(
            f"at a distance of {distance:.3g} m Fresnel's kernel has {left:.3g} samples on each "
            f"side, fewer than {_FEWEST_SAMPLES}; use finer samples, a longer distance or "
            "angular_spectrum, which is valid near the field",
            UserWarning,
            stacklevel=3,
        )


def _warn_reach(medium: _Medium, plane: _Plane, beyond: str, *, near: bool) -> None:
    """Warn of an output beyond the directions in which a sampled field sends light."""
    wide = []
    for axis in plane:
        for spacing, wavelength, distance, step in _each(*medium, axis.spacing):
            edge = abs(axis.centre) + axis.size * step / 2
            lit = (wavelength * abs(distance) / spacing + axis.samples * spacing * near) / 2
            wide.append((edge / lit, edge, lit, spacing))
    ratio, edge, lit, spacing = max(wide, default=(0.0,) * 4)
    if ratio > 1 + 1e-6:
        warnings.warn(
            f"the output reaches {edge:.3g} m from the axis, but samples {spacing:.3g} m apart "
            f"send light only to {lit:.3g} m; beyond, {beyond}: use finer samples of the field, or "
            "a smaller output_size or output_spacing, all in metres",
            UserWarning,
            stacklevel=3,
        )
