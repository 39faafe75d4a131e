"""Transfer functions (OTF, MTF) of a pupil or of a point-spread function.

::

    psf [..., h, w] ──DFT / sum──► otf [..., h, w]            of the image as it was sampled
    pupil [..., H, W] ──autocorrelation / power──► otf        of the light, at any frequency

The modulus of an optical transfer function is the modulation transfer function.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from optics.fourier import squared_modulus
from optics.grid import coordinates, fast_size, frequencies
from optics.quantity import (
    check_complex,
    check_finite,
    check_real,
    check_scalar,
    check_tensor,
    image_size,
    looked_at,
    single,
)

from .psf import check_wavelengths, raised_cosine
from .psf_quality import window_light
from .sampling import cycles_per_sample

__all__ = ["modulus", "mtf", "otf", "otf_along", "otf_from_pupil"]


def otf(psf: Tensor) -> Tensor:
    """Optical transfer function (OTF) of a PSF: its Fourier transform over its sum.

    See Goodman, Fourier Optics, sec. 6.3.

    Parameters
    ----------
    psf : Tensor, real ``[..., h, w]``
        Its centre is the pixel ``(h // 2, w // 2)``.

    Returns
    -------
    Tensor, complex ``[..., h, w]``
        1 at zero frequency, which lies at ``(h // 2, w // 2)``; the frequencies are
        ``optics.frequencies(h)`` cycles/pixel. Its modulus is :func:`mtf`, its angle the phase
        transfer function. Half precision is computed, and returned, in float32.

    Raises
    ------
    ValueError
        When the PSF is not real, has a NaN, holds no light, or is a signed kernel whose taps sum to
        zero, up to rounding.

    Notes
    -----
    The OTF is normalised to the light within the window. The light outside, mostly of low
    frequencies, is missing from the denominator, so that the result is too high. An open circle
    with ``Q = lambda f / (D p) = 4`` in a window of 31 pixels, which holds 96 % of the light, has
    0.879 at 1/31 cycles/pixel, where diffraction allows 0.836; in one of 255 pixels 0.986 instead
    of 0.980. Frequencies above 1/2 cycle/pixel (Q < 2) are aliased: at f/4 and 545 nm with pixels
    of 3.45 um, integrated by ``oversample=3``, the MTF at 1/4 cycle/pixel is 0.84, where that of
    lens and pixel is 0.72. :func:`otf_from_pupil` and :meth:`Pupil.mtf` have neither error.
    """
    check_real("psf", psf, "[..., h, w]")
    check_finite("psf", psf)
    psf = single(psf)
    transfer = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(psf, (-2, -1))), (-2, -1))
    return transfer / window_light("psf", psf)[..., None, None]


def otf_from_pupil(
    pupil: Tensor,
    *,
    wavelength: float | Sequence[float] | Tensor,
    focal_length: float | Tensor,
    pupil_spacing: float | Tensor,
    pixel_pitch: float | Tensor,
    size: int | tuple[int, int],
) -> Tensor:
    """Optical transfer function of a pupil: its autocorrelation, without a window.

    ``OTF(f) = sum P(x) conj(P(x + lambda f_l f)) / sum |P|^2`` (Goodman, Fourier Optics, sec.
    6.3). :func:`otf` of a PSF converges to it as the window grows. Between lags of whole samples,
    the part due to the amplitudes, ``|P|``, is interpolated linearly, as areas of overlap are: this
    is exact for amplitudes that are constant over each sample. The remaining part, due to the
    phases, is interpolated by raised cosines, as in :meth:`Pupil.amplitude_transfer`: light in the
    central half of the PSF's period keeps its contrast. (:func:`optics.audit_sampling` demands that
    no light falls outside of this half.)

    Parameters
    ----------
    pupil, wavelength, focal_length, pupil_spacing, pixel_pitch
        As in :func:`psf_from_pupil`.
    size : int or (int, int)
        Number of frequencies (h, w): ``optics.frequencies(h)`` cycles/pixel, as for a PSF of this
        size.

    Returns
    -------
    Tensor, complex ``[..., h, w]``
        1 at zero frequency, which lies at ``(h // 2, w // 2)``; 0 beyond the cut-off,
        ``pixel_pitch D / (lambda f_l)`` cycles/pixel. It is that of the continuous image: without
        aliasing, and without the area of the pixels, which is :func:`optics.pixel_mtf`. For an
        aperture with soft edges, whose light is less than its area, it is too high: by up to 0.009
        at 64 samples across and 0.005 at 128 for a full circle, and ``1 / (1 - e)`` times as much
        with a central obscuration of ``e`` of the diameter. At 64 samples, phases that change by a
        radian from sample to sample add an error of 0.002, by pi / 2 one of 0.005; these leave 9e-4
        beyond the cut-off, and 4e-4 one lag farther. Larger steps lose contrast.

    Raises
    ------
    ValueError
        For lengths that are not positive, wavelengths that do not broadcast with the pupils or are
        longer than their grid is wide, or a pupil with a NaN or without light.
    TypeError
        For a length that is not one number.
    """
    flat, bent = _autocorrelations(pupil)
    check_wavelengths(pupil, wavelength)
    step = cycles_per_sample(pupil, wavelength, focal_length, pupil_spacing, pixel_pitch)
    lags = [_lag(frequencies(n, device=pupil.device), step) for n in image_size(size)]
    (rows, columns), (cosine_rows, cosine_columns) = (
        _weights(pulse, lags, flat) for pulse in (_triangle, raised_cosine)
    )
    return rows @ flat @ columns.mT + cosine_rows @ bent @ cosine_columns.mT


def otf_along(
    pupil: Tensor,
    frequency: Tensor,
    *,
    angle: float | Tensor = 0.0,
    wavelength: float | Sequence[float] | Tensor,
    focal_length: float | Tensor,
    pupil_spacing: float | Tensor,
) -> Tensor:
    """Optical transfer function of a pupil along a line through the frequency plane.

    It is the autocorrelation of :func:`otf_from_pupil` (Goodman, Fourier Optics, sec. 6.3) at given
    frequencies, independent of the sampling of the image.

    Parameters
    ----------
    pupil, wavelength, focal_length, pupil_spacing
        As in :func:`psf_from_pupil`.
    frequency : Tensor, real ``[F]``, cycles/m
        Spatial frequency in the image; 1000 cycles/m are one line pair per millimetre.
    angle : float or scalar Tensor, radians
        Direction in which the sine varies: 0 along a row, pi / 2 along a column.

    Returns
    -------
    Tensor, complex ``[..., F]``
        1 at zero frequency, 0 beyond the cut-off ``D / (lambda f_l)``.

    Raises
    ------
    ValueError
        For lengths that are not positive, wavelengths as in :func:`otf_from_pupil`, a pupil or
        frequency with a NaN, a frequency that is not ``[F]``, or a pupil without light.
    TypeError
        For a length or angle that is not one number.
    """
    check_tensor("frequency", frequency)
    if frequency.ndim != 1 or not frequency.is_floating_point():
        raise ValueError(
            f"frequency must be real floating point [F], in cycles/m, not {frequency.dtype} "
            f"{tuple(frequency.shape)}"
        )
    check_finite("frequency", frequency, "cycles/m")
    check_scalar("angle", angle, "radians", remedy="give each angle a call of its own")
    check_finite("angle", angle)
    flat, whole = spectra(pupil)
    check_wavelengths(pupil, wavelength)
    step = cycles_per_sample(pupil, wavelength, focal_length, pupil_spacing, 1.0)
    return at_lags(flat, whole, *lags_along(frequency, angle=angle, step=step))


def lags_along(
    frequency: Tensor, *, angle: float | Tensor, step: Tensor | tuple[float, ...] | float
) -> tuple[Tensor, Tensor]:
    """Rows and columns by which frequencies ``[F]`` along a line shear a pupil, ``[..., F, 1]``."""
    angle = torch.as_tensor(angle, dtype=torch.float64, device=frequency.device)
    line = frequency.double()
    return _lag(line * angle.sin(), step), _lag(line * angle.cos(), step)


def at_lags(flat: Tensor, whole: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Transfer function ``[..., n]`` of the :func:`spectra` of a pupil at lags ``[..., n, 1]``."""
    parts = []
    for pulse, light in ((_triangle, flat), (raised_cosine, whole - flat)):
        # The few weights are transformed instead of the many samples: the sum is the same.
        rows, columns = (
            torch.fft.fft(torch.fft.ifftshift(weights, -1), norm="forward")
            for weights in _weights(pulse, (down, across), light)
        )
        real, imaginary = (torch.cat((columns.real, columns.imag), -2) @ light.mT).chunk(2, -2)
        parts.append((rows * torch.complex(real, imaginary)).sum(-1))
    return parts[0] + parts[1]


def spectra(pupil: Tensor) -> tuple[Tensor, Tensor]:
    """``|transform|^2 / sum |P|^2`` of the padded ``|P|``, and of P itself, ``[..., N, N']``.

    Their transforms, over the number of samples, are the autocorrelations.
    """
    check_complex("pupil", pupil, "[..., H, W]")
    check_finite("pupil", pupil)
    pupil = single(pupil)
    power = squared_modulus(pupil).sum((-2, -1), keepdim=True)
    if looked_at(power) and not bool((power > 0).all()):
        raise ValueError("pupil passes no light, and so no modulation")
    return padded_power(pupil.abs()) / power, padded_power(pupil) / power


def padded_power(pupil: Tensor) -> Tensor:
    """``|transform|^2`` of a pupil at twice its size, which keeps periodic copies apart."""
    grid = tuple(fast_size(2 * n) for n in pupil.shape[-2:])
    return squared_modulus(torch.fft.fft2(pupil, grid))


def _autocorrelations(pupil: Tensor) -> tuple[Tensor, Tensor]:
    """``sum P(x) conj(P(x + lag)) / sum |P|^2`` on the lags ``(i - N // 2)``, ``[..., N, N']``.

    In two parts that add up to it: that of ``|P|``, and the rest. The corner at zero lag, which a
    smooth pulse would round off, is all in the first.
    """
    flat, whole = spectra(pupil)
    # Forward once more: lags of P(x) conj(P(x + lag)), see the sign of the PSF's transform.
    flat, bent = (
        torch.fft.fftshift(torch.fft.fft2(each, norm="forward"), (-2, -1))
        for each in (flat, whole - flat)
    )
    return flat, bent


def _lag(frequency: Tensor, step: Tensor | tuple[float, ...] | float) -> Tensor:
    """Lags in samples of the pupil, ``[..., F, 1]``, of frequencies ``[F]``."""
    step = torch.as_tensor(step, dtype=torch.float64, device=frequency.device)
    return frequency[:, None] / step[..., None, None]


def _weights(
    pulse: Callable[[Tensor], Tensor], lags: Sequence[Tensor], like: Tensor
) -> tuple[Tensor, Tensor]:
    """Of rows and columns of ``[..., N, N']`` at lags ``[..., n, 1]``: ``[..., n, N or N']``."""
    rows, columns = (
        pulse(lag - coordinates(samples, device=lag.device)).to(like)
        for lag, samples in zip(lags, like.shape[-2:], strict=True)
    )
    return rows, columns


def _triangle(away: Tensor) -> Tensor:
    """Weights of linear interpolation of samples that are so many spacings away."""
    return (1 - away.abs()).clamp_min(0)


def mtf(psf: Tensor) -> Tensor:
    """Modulation transfer function of ``psf``, both ``[..., h, w]``: the modulus of :func:`otf`.

    It has the order of :func:`otf`: 1 at zero frequency, which lies at ``(h // 2, w // 2)``; along
    a row of ``w`` pixels the frequencies are ``optics.frequencies(w)`` cycles/pixel. It is too high
    if the window truncates the PSF, or if pixels larger than ``lambda f / (2 D)`` alias it, see
    :func:`otf`. :meth:`Pupil.mtf` has neither error.
    """
    return modulus(otf(psf))


def modulus(transfer: Tensor) -> Tensor:
    """``|transfer|``, with gradient 0 where it is 0, as beyond the cut-off."""
    power = transfer.real.square() + transfer.imag.square()
    # The root's slope is infinite at 0.
    dark = power < torch.finfo(power.dtype).tiny
    return torch.where(dark, 0.0, torch.where(dark, 1.0, power).sqrt())
