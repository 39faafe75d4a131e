"""A point-spread function from a curve: a measured MTF, or a line-spread function.

::

    position, lsf ──even part, cosine transform──┐
                                                 ▼
    frequency, mtf ──bounds──► curve of the lens ──direction──► OTF ──folded──FFT──► psf
    [..., F]                   (pixel divided out)  pixel's area      at Nyquist   [..., h, w]
"""

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from optics.grid import fast_size
from optics.quantity import (
    check_finite,
    check_positive,
    check_scalar,
    check_tensor,
    has_values,
    image_size,
    one_number,
    single,
)

from .contrast_curve import (
    check_curves,
    continued_curve,
    cubic,
    lens_curves,
    pixel_area,
    refuse_mapped,
)

__all__ = ["PSFEstimate", "psf_from_lsf", "psf_from_mtf"]

# Highest frequency of the transform of a line spread, cycles/pixel.
_HIGHEST = 4.0
# Distance of the periodic copies of the PSF, in windows, and at least in pixels.
_COPIES, _APART = 4, 256
# Shares of the light, negative and outside of the window, above which a warning is given.
_NEGATIVE, _OUTSIDE = 0.05, 0.1
# Least contrast in a logarithm.
_DARK = 1e-9


class PSFEstimate(NamedTuple):
    """A PSF that is estimated from an MTF curve or a line-spread function.

    Attributes
    ----------
    psf : Tensor ``[..., h, w]``
        Non-negative PSF with the sum ``throughput``.
    negative : Tensor ``[...]``
        Share of the light that came out negative and was set to zero. A true PSF has none: it shows
        how far the curve, as continued and rotated about the axis, is from that of a PSF.
    outside : Tensor ``[...]``
        Share of the light outside of the window, by which the window was scaled up. It is negative
        if the values outside are.
    """

    psf: Tensor
    negative: Tensor
    outside: Tensor


def psf_from_mtf(
    frequency: Tensor,
    mtf: Tensor,
    *,
    size: int | tuple[int, int],
    tangential: Tensor | None = None,
    azimuth: float = 0.0,
    pixel_pitch: float | None = None,
    measured: Literal["lens", "camera"] = "lens",
    pixel: Literal["area", "centre"] = "area",
    cutoff: float | None = None,
    beyond: Literal["zero", "gaussian", "diffraction"] | None = None,
    throughput: float = 1.0,
) -> PSFEstimate:
    """Point-spread function of zero phase from one MTF curve, or from two.

    A single curve H is rotated about the axis. The PSF is then its Hankel transform of order zero,
    ``psf(r) = 2 pi int H(f) J0(2 pi f r) f df`` (Goodman, Fourier Optics, sec. 2.1.5). With two
    curves, a direction at the angle t from the tangential one has ``T^(cos^2 t) S^(sin^2 t)``. This
    is exact for any elliptical Gaussian, and for every PSF with these axes up to the second order
    of frequency, where contrast is ``1 - 2 pi^2 f^2`` times the variance along the direction
    (Bracewell, The Fourier Transform and Its Applications, 1986, ch. 8).

    An MTF does not contain the phase: a PSF with coma comes out symmetric, and reversed contrast
    counts as positive, unless it is given as negative. It also does not contain the directions
    between the two: the star-shaped PSF of an astigmatic lens in its medial focus, whose curves are
    equal, comes out round.

    Parameters
    ----------
    frequency : Tensor, real ``[F]``, cycles/m, or cycles/pixel without ``pixel_pitch``
        Frequencies, increasing from 0. One line pair/mm is 1000 cycles/m.
    mtf : Tensor, real ``[..., F]``
        MTF, 1 at frequency 0. It is the sagittal one (of lines that point to the optical axis) if a
        tangential one is given, too. It is interpolated by the monotone cubic of Fritsch and
        Butland (SIAM J. Sci. Stat. Comput. 5:300, 1984).
    size : int or (int, int), pixels
        Window (h, w); the axis falls on the pixel ``(h // 2, w // 2)``.
    tangential : Tensor, real, shape of ``mtf``, optional
        Tangential MTF, of lines perpendicular to the direction to the optical axis. Both curves
        must then be 0 or more.
    azimuth : float, radians
        Direction, from +x to +y, from the optical axis to the image point of the two curves: at 0
        tangential lines are columns. For a single curve of a camera, the direction of its
        frequencies.
    pixel_pitch : float, metres, optional
        Pixel pitch of the sensor.
    measured : {"lens", "camera"}
        Whether the curve is that of the lens or of the whole camera. That of a camera, as from
        :func:`optics.slanted_edge_mtf`, includes the MTF of its square pixels with 100 % fill
        factor, see :func:`optics.pixel_mtf`. It is divided out; frequencies above 3/4 cycle/pixel,
        where little of it is left, are not used.
    pixel : {"area", "centre"}
        Value of a pixel, as in :func:`optics.measured_psf`: ``area``, the light on its area, for
        scenes that are sampled at points; or ``centre``, the irradiance at its centre times its
        area, as in the PSF of a :class:`Pupil`, for scenes that are already averaged over pixels.
    cutoff : float, unit of ``frequency``, optional
        Cut-off frequency ``1 / (wavelength * f_number)``. The curve is then limited to that of an
        open circular pupil, ``2 / pi (arccos s - s sqrt(1 - s^2))`` with ``s = f / cutoff``
        (Goodman, sec. 6.3). Do not give it for a pupil with a central obscuration, which has more
        contrast at high frequencies.
    beyond : {"zero", "gaussian", "diffraction"}, optional
        Continuation beyond the last frequency: zero; a Gaussian through the last point; or the
        curve of the open pupil, scaled to the last point. It is needed for a curve that ends below
        the sensor's Nyquist frequency or above a contrast of 0.05, unless it reaches the cut-off.
    throughput : float
        Fraction of the light that the optics pass, which an MTF does not contain.

    Returns
    -------
    PSFEstimate
        In the dtype of ``mtf``; it depends differentiably on every value of it. Frequencies above
        Nyquist are aliased, as by the pixels.

    Raises
    ------
    TypeError
        For curves that are not Tensors, or an azimuth that is not one number, or is a parameter.
    ValueError
        For frequencies that do not increase from 0; a curve of the wrong shape, not 1 at 0, or
        above 1, above the diffraction limit or above the MTF of the pixel by more than 0.05 (by
        less it is set to the limit); two curves with negative values; a curve that ends too early
        without ``beyond``, or for which that ``beyond`` is not possible; a quantity out of its
        range.

    Warns
    -----
    UserWarning
        When more than 0.05 of the light came out negative, or more than 0.1 is outside.

    Notes
    -----
    Errors for a lens of f/8 at 550 nm with pixels of 2 um, in 63 x 63 pixels, as the share of the
    light that lies on wrong pixels. From a single complete curve: below 0.001 in focus, at 0.1
    waves RMS of defocus and at 0.07 of spherical aberration; 0.09 at 0.2 waves of defocus, which
    reverses contrast, and below 0.001 if its sign is given; 0.25 at 0.1 waves of coma. From two
    curves: 0.05 at 0.08 waves of astigmatism with 0.12 of defocus, 0.15 at 0.1 in the medial focus.

    The frequencies, and in :func:`psf_from_lsf` the positions, decide what is summed. Therefore
    ``torch.vmap`` maps over curves but not over frequencies, and not with ``beyond="gaussian"``,
    and ``torch.compile`` makes no single graph. Under ``vmap`` the values are not checked.

    Errors from a slanted edge in 64 x 64, in focus and at 0.1 waves of defocus: 0.02 without noise.
    With noise of 1 % of the step a whole curve is useless, 0.3 to 0.4; its part above a contrast of
    0.1 gives up to 0.05 and 0.07 with ``beyond="diffraction"``, 0.1 with "gaussian".
    """
    found = _of_curve(
        frequency,
        mtf,
        size=size,
        tangential=tangential,
        azimuth=azimuth,
        pixel_pitch=pixel_pitch,
        measured=measured,
        pixel=pixel,
        cutoff=cutoff,
        beyond=beyond,
        throughput=throughput,
    )
    _judge(found)
    return found


def psf_from_lsf(
    position: Tensor,
    lsf: Tensor,
    *,
    size: int | tuple[int, int],
    pixel_pitch: float | None = None,
    measured: Literal["lens", "camera"] = "lens",
    pixel: Literal["area", "centre"] = "area",
    cutoff: float | None = None,
    beyond: Literal["zero", "gaussian", "diffraction"] | None = None,
    throughput: float = 1.0,
) -> PSFEstimate:
    """Rotationally symmetric point-spread function from a line-spread function.

    The line spread is the Abel transform of the PSF, and its Fourier transform is the radial
    transfer function of the PSF (Bracewell, The Fourier Transform and Its Applications, 1986, ch.
    12). Its even part about its centroid is transformed, and :func:`psf_from_mtf` rotates it about
    the axis. Unlike an MTF, a line spread shows where contrast is reversed.

    Parameters
    ----------
    position : Tensor, real ``[N]``, metres, or pixels without ``pixel_pitch``
        Increasing positions; unequal steps are resampled by the cubic of :func:`psf_from_mtf`.
    lsf : Tensor, real ``[..., N]``
        Line-spread function in any scale, without a pedestal: it falls to its noise at both ends.
        That of a :class:`SlantedEdge` also contains the width of its bins: use its MTF instead.
    size, pixel_pitch, measured, pixel, beyond, throughput
        As in :func:`psf_from_mtf`.
    cutoff : float, cycles/m, or cycles/pixel without ``pixel_pitch``, optional
        As in :func:`psf_from_mtf`.

    Returns
    -------
    PSFEstimate

    Raises
    ------
    TypeError
        When position or lsf is not a Tensor.
    ValueError
        For positions that do not increase, a line spread of the wrong shape or without light, and
        as :func:`psf_from_mtf`. The highest frequency is half a cycle per widest step, at most 4
        cycles/pixel.

    Warns
    -----
    UserWarning
        As :func:`psf_from_mtf`.
    """
    check_tensor("position", position)
    check_tensor("lsf", lsf)
    refuse_mapped("position", position)
    line = position.ndim == 1 and len(position) > 2 and position.is_floating_point()
    if not (line and bool((position.diff() > 0).all())):
        raise ValueError(
            f"position must be real [N] and rise, three points or more, not {position.dtype} "
            f"{tuple(position.shape)}"
        )
    if not lsf.is_floating_point() or lsf.shape[-1:] != position.shape:
        raise ValueError(
            f"lsf must be real [..., N] with N = {len(position)} positions, not {lsf.dtype} "
            f"{tuple(lsf.shape)}"
        )
    check_finite("position", position, "metres or pixels")
    check_finite("lsf", lsf)
    pitch = 1.0 if pixel_pitch is None else pixel_pitch
    check_scalar("pixel_pitch", pitch, "metres")
    check_positive("pixel_pitch", pitch, "metres")
    x = position.detach().double().to(lsf.device) / pitch
    highest = min(0.5 / float(x.diff().max()), _HIGHEST)
    # Even steps, of which a sum is exact up to their Nyquist frequency, stay as they are.
    even = torch.linspace(float(x[0]), float(x[-1]), len(x), dtype=torch.float64, device=x.device)
    light = cubic(x, lsf.double(), even)
    total = light.sum(-1, keepdim=True)
    if has_values(total) and not bool((total > 0).all()):
        raise ValueError("lsf holds no light: its integral must be positive")
    away = even - (light * even).sum(-1, keepdim=True) / total
    count = max(8, math.ceil(4 * highest * float(even[-1] - even[0])))
    cycles = torch.linspace(0, highest, count + 1, dtype=torch.float64, device=x.device)
    turns = 2 * math.pi * cycles[:, None] * away[..., None, :]
    contrast = (light[..., None, :] * turns.cos()).sum(-1) / total
    found = _of_curve(
        cycles / pitch,
        contrast.to(lsf.dtype),
        size=size,
        tangential=None,
        azimuth=0.0,
        pixel_pitch=pixel_pitch,
        measured=measured,
        pixel=pixel,
        cutoff=cutoff,
        beyond=beyond,
        throughput=throughput,
    )
    _judge(found)
    return found


def _of_curve(
    frequency: Tensor,
    mtf: Tensor,
    *,
    size: int | tuple[int, int],
    tangential: Tensor | None,
    azimuth: float,
    pixel_pitch: float | None,
    measured: Literal["lens", "camera"],
    pixel: Literal["area", "centre"],
    cutoff: float | None,
    beyond: Literal["zero", "gaussian", "diffraction"] | None,
    throughput: float,
) -> PSFEstimate:
    """As :func:`psf_from_mtf`, which judges it, as :func:`psf_from_lsf` does."""
    window = image_size(size)
    _check_choices(measured, pixel, beyond, cutoff)
    check_scalar("throughput", throughput)
    if not 0 < throughput <= 1:
        raise ValueError(f"throughput must be a fraction in (0, 1], not {throughput}")
    azimuth = one_number("azimuth", azimuth, "radians")
    check_finite("azimuth", azimuth, "radians")
    pitch = 1.0 if pixel_pitch is None else pixel_pitch
    check_scalar("pixel_pitch", pitch, "metres")
    check_positive("pixel_pitch", pitch, "metres")
    curves = check_curves(frequency, mtf, tangential)
    cycles, contrast = lens_curves(
        curves,
        frequency.detach().double().to(mtf.device) * pitch,
        cutoff=None if cutoff is None else cutoff * pitch,
        measured=measured,
        azimuth=azimuth,
    )
    curve, reach = continued_curve(
        cycles, contrast, cutoff=None if cutoff is None else cutoff * pitch, beyond=beyond
    )
    along, across = math.cos(azimuth), math.sin(azimuth)

    def transfer(fy: Tensor, fx: Tensor) -> Tensor:
        radius = torch.hypot(fy, fx)
        values = curve(radius)
        if tangential is None:
            values = values[0]
        else:
            share = ((fx * along + fy * across) / radius.clamp_min(1e-12)).square()
            logarithm = values.clamp_min(_DARK).log()
            values = ((1 - share) * logarithm[0] + share * logarithm[1]).exp()
        if pixel == "area":
            values = values * pixel_area(fy, fx)
        return torch.where(radius <= reach, values, 0.0)

    estimate = _sampled(transfer, window, reach, cycles.device)
    psf = estimate.psf * (throughput / estimate.psf.sum((-2, -1), keepdim=True))
    return PSFEstimate(*(each.to(single(mtf).dtype) for each in (psf, *estimate[1:])))


def _check_choices(measured: str, pixel: str, beyond: str | None, cutoff: float | None) -> None:
    for name, value, allowed in (
        ("measured", measured, ("lens", "camera")),
        ("pixel", pixel, ("area", "centre")),
        ("beyond", beyond, (None, "zero", "gaussian", "diffraction")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, not {value!r}")
    if cutoff is not None:
        check_scalar("cutoff", cutoff, "the unit of frequency")
        check_positive("cutoff", cutoff, "the unit of frequency")
    elif beyond == "diffraction":
        raise ValueError("beyond='diffraction' needs the cutoff, 1 / (wavelength * f_number)")


def _sampled(
    transfer: Callable[[Tensor, Tensor], Tensor],
    size: tuple[int, int],
    reach: float,
    device: torch.device,
) -> PSFEstimate:
    """The PSF at the pixels' centres, of the sum one with what is outside of the window."""
    rows, columns = (fast_size(max(_COPIES * n, _APART)) for n in size)
    y = torch.fft.fftfreq(rows, dtype=torch.float64, device=device)[:, None]
    x = torch.fft.rfftfreq(columns, dtype=torch.float64, device=device)
    orders = math.ceil(reach + 0.5)
    # Samples at whole pixels do not tell frequencies apart that differ by whole cycles/pixel.
    folded = torch.zeros((), dtype=torch.float64, device=device)
    for up, aside in itertools.product(range(-orders, orders + 1), repeat=2):
        nearest = math.hypot(max(abs(up) - 0.5, 0), max(abs(aside) - 0.5, 0))
        if nearest <= reach:
            folded = folded + transfer(y + up, x + aside)
    whole = torch.fft.irfft2(folded / folded[..., :1, :1], s=(rows, columns))
    whole = torch.fft.fftshift(whole, (-2, -1))
    top, before = rows // 2 - size[0] // 2, columns // 2 - size[1] // 2
    window = whole[..., top : top + size[0], before : before + size[1]]
    negative = (-window).clamp_min(0).sum((-2, -1))
    return PSFEstimate(window.clamp_min(0), negative, 1 - window.sum((-2, -1)))


def _judge(estimate: PSFEstimate) -> None:
    """Warn of much negative light, or much light outside of the window."""
    if not has_values(estimate.psf):
        return
    negative, outside = (float(v.detach().max()) for v in estimate[1:])
    if negative > _NEGATIVE:
        warnings.warn(
            f"{negative:.2g} of the light came out negative, and was set to zero: the curve ends "
            "abruptly (see beyond), is noisy, reverses its contrast (give it as negative), or is "
            "not that of a symmetric PSF",
            UserWarning,
            stacklevel=3,
        )
    if outside > _OUTSIDE:
        warnings.warn(
            f"{outside:.2g} of the light is outside of the window, which was scaled up by it: give "
            "a larger size",
            UserWarning,
            stacklevel=3,
        )
