"""Free-space propagation of a field ``[..., H, W]`` between parallel planes.

Fields are complex amplitudes of ``exp(i (k z - w t))`` with the carrier ``exp(i k z)`` taken out:
a plane wave along the axis stays as it is. The phases that remain are formed in float64 without
subtracting large numbers, and rounded once to the precision of the field.

============================  ===============  =======================================
function                      grid             holds
============================  ===============  =======================================
:func:`angular_spectrum`      stays            at any angle and distance
:func:`fresnel`               stays            at small angles
:func:`fraunhofer`            ``λ z / (N dx)`` far away, or in a lens's focal plane
============================  ===============  =======================================
"""

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from .grid import coordinates, fast_size
from .quantity import check_complex, check_extent, check_finite, check_positive, looked_at

__all__ = ["FarField", "angular_spectrum", "fraunhofer", "fresnel"]

# A square aperture of half the grid's width comes out right to 2e-3 with 64 frequencies left on
# each side of the axis, to 2e-2 with 26 and to 8e-2 with 13 (against Fresnel's integrals).
_FEWEST_FREQUENCIES = 16


class FarField(NamedTuple):
    """Field on a grid of its own.

    Attributes
    ----------
    field : Tensor ``[..., H, W]``
        Complex amplitude, the axis at ``(H // 2, W // 2)``.
    spacing : (float or Tensor, float or Tensor)
        Distance of its rows and of its columns, metres; tensors ``[...]`` where an argument was.
        Of a square field they are equal, and ``spacing[0]`` goes to what comes next.
    """

    field: Tensor
    spacing: tuple[float | Tensor, float | Tensor]


class _Medium(NamedTuple):
    """Checked arguments; tensors are float64 ``[..., 1, 1]`` on the field's device."""

    spacing: float | Tensor
    wavelength: float | Tensor
    distance: float | Tensor


def angular_spectrum(
    field: Tensor,
    *,
    spacing: float | Tensor,
    wavelength: float | Tensor,
    distance: float | Tensor,
    refractive_index: float | Tensor = 1.0,
    band_limit: bool = True,
    pad: bool = True,
) -> Tensor:
    """Propagate by the angular spectrum of plane waves: exact scalar diffraction, same grid.

    ``H = exp(i (kz - k) z)`` with ``kz - k = -k s / (1 + sqrt(1 - s))``, ``s = (λ f / n)**2``
    and ``k = 2 pi n / λ``: the difference without its cancellation.

    Parameters
    ----------
    field : Tensor ``[..., H, W]``
        Complex amplitude; a real one has no phase. Half precision is computed in float32.
    spacing, wavelength, distance, refractive_index : float or Tensor ``[...]``
        Distance of the samples, vacuum wavelength and distance of the planes in metres, the
        index of the medium between. Tensors carry a gradient, and their shape broadcasts with
        the leading dimensions of the field: a wavelength ``[C]`` goes with ``[B, C, H, W]``. A
        negative distance goes back.
    band_limit : bool
        Set H to 0 where its phase turns by more than half a turn from one frequency to the next:
        above ``1 / (λ sqrt((2 df z)**2 + 1))`` along each axis, with ``df`` the spacing of the
        frequencies. These waves would wrap around.
    pad : bool
        Propagate on at least twice the grid, zero outside of the field, and cut the grid out
        again, so that nothing that leaves on one side comes in on the other. Without, the field
        is periodic.

    Returns
    -------
    Tensor ``[..., H, W]``, complex64 or complex128.

    Raises
    ------
    ValueError
        For a field that is not complex or real floating point ``[..., H, W]``, one that is not
        finite, a quantity out of its range, a wavelength (in the medium) over ten times as long
        as the grid is wide, as one in nanometres is, or shapes that do not broadcast.

    Warns
    -----
    UserWarning
        When the band limit leaves less than half of the grid's band: without padding always, with
        it (when the waves cut away have left the grid anyway) if fewer than 16 frequencies are
        left on each side of the axis. Tensors are looked at on the CPU only; of several
        wavelengths or distances, the worst is told.

    Notes
    -----
    J. W. Goodman, Introduction to Fourier Optics, 3rd ed., sec. 3.10 (eq. 3-74); the band limit:
    K. Matsushima, T. Shimobaba, Opt. Express 17, 19662-19673 (2009), eqs. (13) and (21).

    Evanescent waves (``s > 1``) decay with ``|z|`` forwards and backwards, because growing ones
    amplify nothing but noise; the band limit, which is about waves that travel, leaves them. At
    ``s = 1`` exactly the derivative of the square root to wavelength and spacing is infinite
    and counts as 0.

    ::

        field ─pad─► FFT ─► × H(f; λ/n, z) ─► FFT⁻¹ ─crop─► field at z
    """
    field, medium = _checked(field, spacing, wavelength, distance, refractive_index)
    size = _grid(field, pad)
    if band_limit:
        _warn_band(medium, size, pad)
    return _filtered(field, _spectral_transfer(size, medium, band_limit, field.device))


def fresnel(
    field: Tensor,
    *,
    spacing: float | Tensor,
    wavelength: float | Tensor,
    distance: float | Tensor,
    refractive_index: float | Tensor = 1.0,
    band_limit: bool = True,
    pad: bool = True,
) -> Tensor:
    """Propagate with Fresnel's transfer function ``exp(-i pi λ z f**2 / n)``, same grid.

    :func:`angular_spectrum` to the first order in ``s = (λ f / n)**2``: the phase differs by
    ``k z s**2 / 8``. It costs the same, and is here to compare with closed forms. Samples of about
    a wavelength, as in diffractive networks, send light far beyond small angles.

    Parameters
    ----------
    field, spacing, wavelength, distance, refractive_index, pad
        See :func:`angular_spectrum`.
    band_limit : bool
        Set the transfer function to 0 where its phase turns by more than half a turn from one
        frequency to the next: above ``1 / (2 df λ |z|)`` along each axis.

    Returns
    -------
    Tensor ``[..., H, W]``, complex64 or complex128, without the carrier ``exp(i k z)``.

    Raises
    ------
    ValueError
        See :func:`angular_spectrum`.

    Warns
    -----
    UserWarning
        See :func:`angular_spectrum`.

    Notes
    -----
    Goodman, 3rd ed., eq. 4-21.
    """
    field, medium = _checked(field, spacing, wavelength, distance, refractive_index)
    size = _grid(field, pad)
    if band_limit:
        _warn_band(medium, size, pad)
    return _filtered(field, _fresnel_transfer(size, medium, band_limit, field.device))


def fraunhofer(
    field: Tensor,
    *,
    spacing: float | Tensor,
    wavelength: float | Tensor,
    distance: float | Tensor,
    refractive_index: float | Tensor = 1.0,
    quadratic_phase: bool = False,
) -> FarField:
    """Far field, or the field in the focal plane of a lens, by one transform.

    ``u(x') = exp(i pi x'**2 / (λ z)) / (i λ z) · F u (x' / (λ z))``, λ in the medium; power is
    kept: ``sum |u|**2`` times the area of a sample.

    Parameters
    ----------
    field : Tensor ``[..., H, W]``
        Complex or real, the axis at ``(H // 2, W // 2)``.
    spacing, wavelength, distance, refractive_index : float or Tensor ``[...]``
        See :func:`angular_spectrum`; the distance, or the focal length, is positive.
    quadratic_phase : bool
        Include the first factor, which free space and a lens right at the field have. The
        default, without, is the field of a lens one focal length behind the field; the intensity
        is the same.

    Returns
    -------
    FarField ``(field [..., H, W], spacing (rows, columns))``
        Zero frequency at ``(H // 2, W // 2)``; sample spacings ``λ z / (N dx)``, metres.

    Raises
    ------
    ValueError
        See :func:`angular_spectrum`; also for a distance that is not positive.

    Notes
    -----
    Goodman, 3rd ed., eqs. 4-25 and 5-19. In free space it holds for ``z`` well above
    ``2 D**2 / λ``, D the extent of the field.
    """
    check_positive("distance", distance, "metres")
    field, medium = _checked(field, spacing, wavelength, distance, refractive_index)
    dx, wavelength, distance = medium
    height, width = field.shape[-2:]
    reach = wavelength * distance
    far = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(field, (-2, -1))), (-2, -1))
    # 1 / i = -i.
    scale = torch.as_tensor(dx * dx / reach, dtype=torch.float64, device=field.device)
    far = far * (-1j * scale).to(field.dtype)
    rows, columns = reach / (height * dx), reach / (width * dx)
    if quadratic_phase:
        y = coordinates(height, device=field.device)[:, None] * rows
        x = coordinates(width, device=field.device) * columns
        phase = torch.pi * (y * y + x * x) / reach
        far = far * torch.polar(torch.ones_like(phase), phase).to(field.dtype)
    rows, columns = (_scalar(side) for side in (rows, columns))
    return FarField(far, (rows, columns))


def _scalar(value: float | Tensor) -> float | Tensor:
    """Undo the two dimensions that :func:`_checked` puts behind a tensor."""
    return value[..., 0, 0] if isinstance(value, Tensor) else value


def _checked(
    field: Tensor,
    spacing: float | Tensor,
    wavelength: float | Tensor,
    distance: float | Tensor,
    refractive_index: float | Tensor,
) -> tuple[Tensor, _Medium]:
    """Bring the field to a complex type, and the quantities to float64 beside it."""
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
        else value
        for value in named.values()
    )
    medium = _Medium(spacing, wavelength / refractive_index, distance)
    check_extent(medium.wavelength, spacing, max(field.shape[-2:]))
    return field.to(dtype), medium


_DOUBLE = (torch.float64, torch.complex128)


def _grid(field: Tensor, pad: bool) -> tuple[int, int]:
    height, width = field.shape[-2:]
    return (fast_size(2 * height), fast_size(2 * width)) if pad else (height, width)


def _filtered(field: Tensor, transfer: Tensor) -> Tensor:
    """Multiply the spectrum, on the grid of ``transfer``; the field lies at its origin."""
    height, width = field.shape[-2:]
    rows, columns = transfer.shape[-2:]
    # Axis by axis, so that rows of nothing but padding are never transformed.
    spectrum = torch.fft.fft(torch.fft.fft(field, n=columns, dim=-1), n=rows, dim=-2)
    result = torch.fft.ifft(spectrum * transfer.to(field.dtype), dim=-2)[..., :height, :]
    return torch.fft.ifft(result, dim=-1)[..., :width]


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
    """Complete a transfer function that is even along both axes, at a quarter of the cost."""
    for axis, n in ((-2, size[0]), (-1, size[1])):
        rest = quarter.narrow(axis, 1, (n - 1) // 2).flip(axis)
        quarter = torch.cat((quarter, rest), axis)
    return quarter


def _each(medium: _Medium) -> list[tuple[float, ...]]:
    """Every combination of the quantities, as floats."""
    values = (torch.as_tensor(value, dtype=torch.float64).detach() for value in medium)
    columns = [column.flatten() for column in torch.broadcast_tensors(*values)]
    return [tuple(float(value) for value in row) for row in zip(*columns, strict=True)]


def _warn_band(medium: _Medium, size: tuple[int, int], pad: bool) -> None:
    """Warn where the band limit makes the answer doubtful; no accelerator is awaited."""
    tensors = [value for value in medium if isinstance(value, Tensor)]
    if torch.compiler.is_compiling() or not all(looked_at(value) for value in tensors):
        return
    doubtful = []
    for spacing, wavelength, distance in _each(medium) if tensors else [medium]:
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
        reason += f"{_FEWEST_FREQUENCIES}; use more or wider samples, or fraunhofer"
    else:
        reason = "and the waves cut away would still land on the unpadded grid; use pad=True"
    warnings.warn(
        f"at a distance of {distance:.3g} m the band limit leaves {100 * part:.2g} % of the band "
        f"of the grid, {reason}, or a shorter distance",
        UserWarning,
        stacklevel=3,
    )
