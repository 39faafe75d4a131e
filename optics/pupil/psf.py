"""From a pupil to its point-spread function.

::

    pupil [..., H, W] ──centred DFT──► amplitude at each pixel ──|.|^2──► psf [..., h, w]
    open aperture x elements x defocus                                   sum = throughput <= 1

A PSF is never normalised to a sum of one: light that a mask stops, or that falls outside of the
window, is missing from it, and from the photons.
"""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from optics.fourier import kept, squared_modulus
from optics.grid import coordinates, frequencies
from optics.quantity import (
    check_complex,
    check_finite,
    check_positive,
    full_precision,
    image_size,
    is_finite,
    looked_at,
    single,
)
from optics.wave.planes import as_field, as_planes, centred_dft

from .sampling import check_oversample, check_sampling, cycles_per_sample

__all__ = [
    "amplitude_spread",
    "amplitude_transfer",
    "check_wavelengths",
    "psf_from_planes",
    "psf_from_pupil",
    "raised_cosine",
]

# Tolerance by which a PSF may hold more light than passes the pupil: rounding, in any precision.
_MADE = 0.01


def psf_from_pupil(
    pupil: Tensor,
    *,
    wavelength: float | Sequence[float] | Tensor,
    focal_length: float | Tensor,
    pupil_spacing: float | Tensor,
    pixel_pitch: float | Tensor,
    size: int | tuple[int, int],
    incident_power: float | Tensor | None = None,
    oversample: int = 1,
) -> Tensor:
    """Point-spread function (PSF) of a lens with a given pupil, in its focal plane.

    ``psf = |sum_jk P[j, k] exp(-2 pi i (x xi + y eta) / (lambda f))|^2 (d p / (lambda f))^2 / E``
    with the sampling interval d of the pupil, the pixel pitch p and the incident power E: the
    irradiance at each pixel's centre times the pixel's area (Goodman, Fourier Optics, sec. 5.2).
    The transform is a matrix product, so that all wavelengths share the pixel grid.

    Parameters
    ----------
    pupil : Tensor, complex or real ``[..., H, W]``
        Amplitude on the grid ``(i - N // 2) * pupil_spacing``.
    wavelength : float, sequence of floats, or Tensor ``[L]``, metres
        Several are broadcast against the dimension in front of H: a pupil ``[H, W]`` or
        ``[..., L, H, W]`` gives PSFs ``[..., L, h, w]``.
    focal_length : float or scalar Tensor, metres
        Distance from pupil to image.
    pupil_spacing, pixel_pitch : float or scalar Tensor, metres
    size : int or (int, int), pixels
        Size (h, w) of the window; the axis falls on the pixel ``(h // 2, w // 2)``.
    incident_power : float or Tensor, optional, a scalar or ``[...]`` as the pupil
        Power that the PSF is a fraction of, in units of ``sum |pupil|^2``; by default that sum, for
        each pupil. With that of the open aperture, light that a mask absorbs is missing from the
        PSF. A sample at the soft edge of :func:`circular_aperture` with half the amplitude has only
        a quarter of the light: the power is less than the area, and the PSF is 2 % too bright at 32
        samples across the aperture, 1 % at 64 and 0.5 % at 128.
    oversample : int, odd
        Points along a side of a pixel at which the irradiance is computed. Their mean approximates
        the integral over the pixel's area, whose MTF is :func:`optics.pixel_mtf`. A single point
        neglects the area, which is valid for pixels much smaller than ``lambda f / D``.

    Returns
    -------
    Tensor, real ``[..., h, w]``
        Its sum is the throughput: the fraction of the light that passes times the part within the
        window, if the points lie no farther apart than ``lambda f / D``.

    Raises
    ------
    ValueError
        For lengths that are not positive, an even ``oversample``, a pupil with a NaN or, without
        ``incident_power``, without light, or one sampled so coarsely that the window, ``size``
        pixels wide, reaches into the periodic copies of the PSF; for a wavelength more than ten
        times the width of the pupil's grid, as one in nanometres is, or wavelengths or powers that
        do not broadcast with the pupils.
    TypeError
        For a length that is not one number, such as separate pitches of rows and columns.

    Warns
    -----
    UserWarning
        When the PSF holds 1 % or more light than passes the pupil: its points lie farther apart
        than ``lambda f / D``. (The PSF may then also hold too little light, without a warning.)
    """
    check_complex("pupil", pupil, "[..., H, W]")
    leading = check_wavelengths(pupil, wavelength)
    if incident_power is None:
        power = squared_modulus(pupil).sum((-2, -1), keepdim=True)
    else:
        check_positive("incident_power", incident_power, "units of sum |pupil|^2")
        power = incident_power
        if isinstance(power, Tensor) and power.ndim:
            _check_broadcast("incident_power", power.shape, leading)
            power = power[..., None, None]
    psf = psf_from_planes(
        as_planes(pupil),
        wavelength=wavelength,
        focal_length=focal_length,
        pupil_spacing=pupil_spacing,
        pixel_pitch=pixel_pitch,
        size=image_size(size),
        incident_power=power,
        oversample=oversample,
    )
    _warn_of_light(psf, pupil, power)
    return psf


def _warn_of_light(psf: Tensor, pupil: Tensor, power: float | Tensor) -> None:
    """Warn of a PSF that holds more light than passes the pupil: its points are too few."""
    if not looked_at(psf):
        return
    passed = squared_modulus(single(pupil)).sum((-2, -1), keepdim=True) / power
    share = (psf.sum((-2, -1)) / passed[..., 0, 0]).detach()
    if bool((share > 1 + _MADE).any()):
        warnings.warn(
            # Without the number, so that the warning is the same in each training step: shown once.
            f"the PSF holds over {100 * _MADE:g} % more light than passes the pupil: its points "
            "lie farther apart than lambda f / D. Give a larger oversample, or smaller pixels",
            UserWarning,
            stacklevel=3,
        )


def psf_from_planes(
    planes: Tensor,
    *,
    wavelength: float | Sequence[float] | Tensor,
    focal_length: float | Tensor,
    pupil_spacing: float | Tensor,
    pixel_pitch: float | Tensor,
    size: tuple[int, int],
    incident_power: float | Tensor,
    oversample: int = 1,
) -> Tensor:
    """:func:`psf_from_pupil` of a pupil in two real planes ``[..., 2, H, W]``.

    ``incident_power`` is broadcast against the PSF ``[..., h, w]``.
    """
    oversample = check_oversample(oversample)
    step = cycles_per_sample(planes, wavelength, focal_length, pupil_spacing, pixel_pitch)
    check_sampling(step, size)
    step = tuple(s / oversample for s in step) if isinstance(step, tuple) else step / oversample
    # The axis is a point in the middle of its pixel. With an even number of pixels the window of
    # points is larger by a few at its end, which are cut off below.
    height, width = (oversample * n + (oversample - 1) * (n % 2 == 0) for n in size)
    amplitude = centred_dft(planes, (height, width), step=step, norm="ortho", phase=False)
    psf = amplitude.square().sum(-3) / incident_power
    if oversample > 1:
        psf = psf[..., : oversample * size[0], : oversample * size[1]]
        psf = psf.unflatten(-2, (size[0], oversample)).unflatten(-1, (size[1], oversample))
        psf = psf.sum((-3, -1))
    # A NaN in the pupil reaches every pixel, and there are fewer pixels to check.
    if not is_finite(psf):
        check_finite("pupil", planes)
        if not bool(torch.as_tensor(incident_power).all()):
            raise ValueError(
                "pupil passes no light, so that the PSF has no scale: give incident_power, that of "
                "the open aperture"
            )
    return psf


def amplitude_spread(
    pupil: Tensor,
    *,
    wavelength: float | Sequence[float] | Tensor,
    focal_length: float | Tensor,
    pupil_spacing: float | Tensor,
    pixel_pitch: float | Tensor,
    size: int | tuple[int, int],
) -> Tensor:
    """Amplitude spread function h: the image of a coherent point, whose transform is the pupil.

    The coherent transfer function at f is ``P(-lambda f_l f)`` (Goodman, Fourier Optics, eq.
    7-20), and ``sum |h|^2`` is its mean square over the frequencies up to the Nyquist frequency.
    h decays slowly: truncation by the window makes the transfer function ripple about these values,
    also above them.

    Parameters
    ----------
    pupil, wavelength, focal_length, pupil_spacing, pixel_pitch, size
        As in :func:`psf_from_pupil`.

    Returns
    -------
    Tensor, complex ``[..., h, w]``

    Raises
    ------
    TypeError, ValueError
        As in :func:`psf_from_pupil`.
    """
    check_complex("pupil", pupil, "[..., H, W]")
    check_wavelengths(pupil, wavelength)
    planes = as_planes(pupil)
    check_finite("pupil", planes)
    step = cycles_per_sample(planes, wavelength, focal_length, pupil_spacing, pixel_pitch)
    check_sampling(step, image_size(size))
    return as_field(centred_dft(planes, image_size(size), step=step, norm="forward"))


def amplitude_transfer(
    pupil: Tensor,
    *,
    wavelengths: tuple[float, ...],
    focal_length: float,
    pupil_spacing: float,
    pixel_pitch: float,
    size: tuple[int, int],
) -> Tensor:
    """Coherent transfer function ``P(-lambda f_l f)`` on the frequencies of a periodic picture.

    The pupil is interpolated between its samples by raised cosines, whose transform is a Nyquist
    window: light in the central half of the period keeps its amplitude, and the copies are cut off.
    (:func:`optics.audit_sampling` demands that no light falls outside of this half.) Overshoot at
    an edge is limited to the brightest sample, or to 1 if that is more, so that no frequency is
    amplified.

    Parameters
    ----------
    pupil : Tensor, complex or real ``[..., L, H, W]``
        Amplitude on the grid ``(i - N // 2) * pupil_spacing`` at each wavelength.
    wavelengths : tuple of float, metres
    focal_length, pupil_spacing, pixel_pitch : float, metres
        As in :func:`psf_from_pupil`.
    size : (int, int), pixels
        Size (h, w) of the picture.

    Returns
    -------
    Tensor, complex ``[..., L, h, w]``
        Values at the centred frequencies ``(i - n // 2) / n`` cycles/pixel; that of the zero
        frequency is the pupil's sample ``N // 2``.
    """
    field = as_field(as_planes(pupil))
    step = cycles_per_sample(field, wavelengths, focal_length, pupil_spacing, pixel_pitch)
    rows, columns = (
        kept(
            ("transfer", samples, n, step, field.dtype, field.device),
            lambda samples=samples, n=n: _raised_cosines(samples, n, step, field),
        )
        for samples, n in zip(pupil.shape[-2:], size, strict=True)
    )
    with full_precision(field.real):
        transfer = rows @ field @ columns.mT
    brightest = squared_modulus(field.detach()).amax().clamp_min(1)
    return transfer * (squared_modulus(transfer) / brightest).clamp_min(1).rsqrt()


def _raised_cosines(
    samples: int, size: int, step: Tensor | tuple[float, ...] | float, like: Tensor
) -> Tensor:
    """Weights ``[L, size, samples]`` of the pupil's samples at the frequencies of a picture."""
    step = torch.as_tensor(step, dtype=torch.float64, device=like.device)[:, None, None]
    at = -frequencies(size, device=like.device)[:, None] / step
    return raised_cosine(at - coordinates(samples, device=like.device)).to(like.dtype)


def raised_cosine(away: Tensor) -> Tensor:
    """Raised-cosine pulse of roll-off 1/2: weights of samples ``away`` intervals away.

    Its transform is 1 on the central half of a period, and 0 from 3/4 of one on.
    """
    # cos(pi a / 2) / (1 - a^2), which is 0 / 0 at 1, as a sum of two regular terms.
    halves = torch.sinc((away + 1) / 2) + torch.sinc((away - 1) / 2)
    return torch.sinc(away) * halves * (math.pi / 4)


def check_wavelengths(
    pupil: Tensor, wavelength: float | Sequence[float] | Tensor
) -> tuple[int, ...]:
    """Return the leading shape ``[...]`` of the PSFs of pupils ``[..., H, W]`` at wavelengths."""
    one = getattr(wavelength, "shape", ())
    shape = (len(wavelength),) if isinstance(wavelength, Sequence) else one
    return _check_broadcast("wavelength", shape, pupil.shape[:-2])


def _check_broadcast(
    name: str, shape: tuple[int, ...], leading: tuple[int, ...]
) -> tuple[int, ...]:
    try:
        return torch.broadcast_shapes(shape, leading)
    except RuntimeError:
        raise ValueError(
            f"{name} of shape {tuple(shape)} must broadcast with the leading dimensions of the "
            f"pupils, {tuple(leading)}"
        ) from None
