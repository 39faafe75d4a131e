"""Quality of a point-spread function: Strehl ratio and encircled energy."""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from optics.grid import frequencies
from optics.quantity import (
    as_numbers,
    check_finite,
    check_positive,
    check_real,
    check_scalar,
    looked_at,
    single,
)

__all__ = ["encircled_energy", "strehl", "window_light"]

# Difference in the light of two PSFs above which a warning is given.
_OTHER_LIGHT = 0.05
# Up to this mean of the OTF along the edge of the band, aliasing moves at most 2 % of the light
# into or out of a circle. An open aperture reaches it at Q = 1.6.
_ALIASED = 0.1


def strehl(psf: Tensor, ideal: Tensor, *, passed: float | Tensor | None = None) -> Tensor:
    """Strehl ratio: the irradiance on the axis relative to that of an ideal PSF.

    Each PSF is normalised to its own light (the ratio of the volumes under the OTFs; Mahajan,
    Optical Imaging and Aberrations II, sec. 8.3), so that absorption does not count as aberration.
    Light outside of the window must be included: give ``passed`` if there is much of it, as in
    other orders of a diffractive element.

    Parameters
    ----------
    psf, ideal : Tensor, real ``[..., h, w]``
        PSFs on the same window. Without ``passed`` it should hold nearly all light of both.
    passed : float or Tensor ``[...]``, optional
        Transmitted light of ``psf`` over that of ``ideal``, inside and outside of the window, for
        PSFs that are fractions of the same light, as those of a :class:`Pupil`: 1 for phase
        elements. By default the ratio of the light in the window.

    Returns
    -------
    Tensor ``[...]``
        1 for a flat wavefront, less for any other (by the Schwarz inequality).

    Raises
    ------
    ValueError
        When one is not real and finite ``[..., h, w]`` or holds no light, their windows differ, or
        ``passed`` is not positive.

    Warns
    -----
    UserWarning
        Without ``passed``, when the two hold light that differs by more than 5 %.
    """
    check_real("psf", psf, "[..., h, w]")
    check_real("ideal", ideal, "[..., h, w]")
    if psf.shape[-2:] != ideal.shape[-2:]:
        raise ValueError(
            f"psf and ideal must have the same window, not {tuple(psf.shape[-2:])} and "
            f"{tuple(ideal.shape[-2:])}"
        )
    check_finite("psf", psf)
    check_finite("ideal", ideal)
    psf, ideal = single(psf), single(ideal)
    y, x = psf.shape[-2] // 2, psf.shape[-1] // 2
    light, whole = window_light("psf", psf), window_light("ideal", ideal)
    if passed is not None:
        check_positive("passed", passed)
        return psf[..., y, x] / ideal[..., y, x] / passed
    if looked_at(light) and looked_at(whole):
        share = (light / whole).detach()
        if bool(((share - 1).abs() > _OTHER_LIGHT).any()):
            warnings.warn(
                f"psf and ideal hold different light, {float(share.min()):.3g} to "
                f"{float(share.max()):.3g} of it: light of psf outside of the window that is not "
                "absorbed makes the ratio too high. Give passed, the light that passes the "
                "elements (1 for phase elements)",
                UserWarning,
                stacklevel=2,
            )
    return (psf[..., y, x] / light) / (ideal[..., y, x] / whole)


def encircled_energy(
    psf: Tensor, radius: float | Sequence[float] | Tensor, *, pixel_pitch: float
) -> Tensor:
    """Encircled energy: the light within a circle about the axis, in the unit of the PSF.

    For the PSF of a pupil it is a fraction of the incident light. The OTF is integrated with the
    circle's transform, ``R J1(2 pi R f) / f`` (Mahajan, sec. 2.3). This is exact for a PSF without
    aliasing, Q of 2 or more; a sum over pixels inside of a circle is wrong by up to the light at
    its rim. The pixels of most cameras are too coarse for it: compute the PSF on finer pixels, k
    times as many with ``pixel_pitch / k``. With ``oversample`` the result is that of lens and
    pixel, whose area spreads the light: for an open circle at Q = 2.17, 0.38 instead of 0.41 lies
    within one pixel of the axis. The soft edge of a pupil makes the incident light too small, see
    :func:`psf_from_pupil`.

    Parameters
    ----------
    psf : Tensor, real ``[..., h, w]``
    radius : float, sequence, or Tensor ``[R]``, metres
        Radius in the plane of the pixels; at most half of the window's shorter side, beyond which
        the circle would include the periodic copies of the PSF.
    pixel_pitch : float, metres

    Returns
    -------
    Tensor ``[...]`` for one radius, ``[..., R]`` for several

    Raises
    ------
    TypeError
        When the pitch is not one number.
    ValueError
        When the PSF is not real and finite ``[..., h, w]``, a length not positive, a radius too
        large, or no radius given.

    Warns
    -----
    UserWarning
        When the mean of the OTF at the edge of the band, half a cycle per pixel, is above 0.1: the
        pixels alias the PSF, and the result may be far too large or too small.
    """
    check_real("psf", psf, "[..., h, w]")
    check_finite("psf", psf)
    psf = single(psf)
    check_scalar("pixel_pitch", pixel_pitch, "metres", remedy="pixels are square")
    check_positive("pixel_pitch", pixel_pitch, "metres")
    given = as_numbers("radius", radius, "metres", dtype=torch.float64, device=psf.device)
    check_positive("radius", given, "metres")
    if not given.numel():
        raise ValueError("radius must hold at least one, in metres")
    limit = min(psf.shape[-2:]) / 2 * pixel_pitch
    if looked_at(given) and float(given.detach().max()) > limit * (1 + 1e-9):
        raise ValueError(
            f"radius must be at most half of the window, {limit:.4g} metres, not "
            f"{float(given.detach().max()):.4g}; use a larger window"
        )
    radii = given.reshape(-1) / pixel_pitch
    height, width = psf.shape[-2:]
    fy, fx = (frequencies(n, device=psf.device) for n in (height, width))
    f = torch.hypot(fy[:, None], fx)
    # J1(z)/z goes to 1/2; torch's bessel_j1 has no gradient, so its derivative is written out.
    ratio = _BesselRatio if torch.compiler.is_compiling() else _ForwardBesselRatio
    circle = ratio.apply(2 * math.pi * radii[:, None, None] * f)
    area = 2 * math.pi * radii.square()[:, None, None] * circle
    transfer = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(psf, (-2, -1))), (-2, -1))
    _warn_aliased(psf, transfer)
    energy = torch.einsum("...yx,ryx->...r", transfer.real.double(), area) / (height * width)
    energy = energy.to(psf.dtype)
    return energy if given.ndim else energy[..., 0]


def window_light(name: str, psf: Tensor) -> Tensor:
    """Sum of a PSF, ``[...]``, to which its measures are normalised."""
    light = psf.sum((-2, -1))
    if looked_at(light):
        values = psf.detach()
        # What cancels in a filter without a mean, such as an edge filter, leaves rounding.
        least = 16 * torch.finfo(values.dtype).eps * values.abs().sum((-2, -1))
        if not bool((light.detach().abs() > least).all()):
            raise ValueError(
                f"{name} holds no light, or as much below zero as above, so that it cannot be "
                "normalised; the response of a signed kernel is the modulus of its Fourier "
                "transform"
            )
    return light


def _warn_aliased(psf: Tensor, transfer: Tensor) -> None:
    """Warn of a PSF whose transform ``[..., h, w]`` has not decayed at the edge of the band."""
    if not looked_at(psf):
        return
    # The mean along an edge cancels noise, but not aliasing.
    edges = (transfer.detach().real[..., 0, :], transfer.detach().real[..., :, 0])
    left = torch.stack([edge.mean(-1).abs() for edge in edges]).amax(0)
    share = left / psf.detach().abs().sum((-2, -1))
    if bool((share > _ALIASED).any()):
        warnings.warn(
            f"the OTF is still {float(share.nan_to_num().max()):.2g} at the edge of the band: the "
            "pixels alias the PSF, and the light in a circle may be far too much or too little; "
            "form the PSF on finer pixels, pixel_pitch / k and k times the window, without "
            "oversample",
            UserWarning,
            stacklevel=3,
        )


class _BesselRatio(torch.autograd.Function):
    """``J1(z) / z`` with its derivative ``-J2(z) / z``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        small = z < 1e-4
        safe = torch.where(small, 1.0, z)
        return torch.where(small, 0.5 - z.square() / 16, torch.special.bessel_j1(safe) / safe)

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor
    ) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        return gradients[0] * _bessel_slope(*ctx.saved_tensors)  # pyright: ignore[reportAttributeAccessIssue]


class _ForwardBesselRatio(_BesselRatio):
    """With a derivative in forward mode, which torch.compile refuses."""

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor
    ) -> None:
        _BesselRatio.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0], output)

    @staticmethod
    def jvp(ctx: torch.autograd.function.FunctionCtx, *changes: Tensor) -> Tensor:
        return changes[0] * _bessel_slope(*ctx.saved_tensors)  # pyright: ignore[reportAttributeAccessIssue]


def _bessel_slope(z: Tensor, ratio: Tensor) -> Tensor:
    """``-J2(z) / z``, with ``J2 = 2 J1 / z - J0``."""
    small = z < 1e-4
    safe = torch.where(small, 1.0, z)
    return torch.where(small, -z / 8, -(2 * ratio - torch.special.bessel_j0(safe)) / safe)
