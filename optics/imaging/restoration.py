"""Restoration: the deblurring that a camera computes after its sensor.

::

    raw ──► spectrum ──► x  conj(H) / (|H|^2 + r (f / f_N)^p) ──► picture
                              ▲
    element ──► PSF ──► H ────┘        r learned; the element learns through both
"""

import math
from typing import get_args

import torch
from torch import Tensor, nn

from optics.fourier import Boundary, convolve
from optics.grid import fast_size
from optics.quantity import (
    as_real,
    check_between,
    check_finite,
    check_real,
    check_scalar,
    full_precision,
    looked_at,
    one_number,
)

__all__ = ["Wiener", "wiener"]

# Least denominator, -120 dB for a PSF of sum 1: a frequency without power stays 0 instead of
# infinite. A PSF of less light than this is taken as it is, so that one of 0 has a finite gradient.
_DARK = 1e-12
# Least share of a PSF's light that a dark border is divided by; a corner has about 1/4. Where an
# off-centre PSF leaves less, there is little but noise.
_LEAST_SHARE = 0.1
_PSFS = "[C, h, w], [h, w] or [D, C, h, w]"


def wiener(
    picture: Tensor,
    psf: Tensor,
    *,
    noise_to_signal: Tensor | float,
    exponent: float = 2.0,
    boundary: Boundary = "replicate",
) -> Tensor:
    """Deblur a picture with the Wiener filter, as far as the noise allows.

    The filter is ``F picture . conj(H) / (|H|^2 + r (f / f_N)^p)`` with ``H = F psf``, the radial
    frequency f and the Nyquist frequency ``f_N`` of 1/2 cycle/pixel. For white noise and a signal
    whose power falls as ``f^-p`` it has the least mean squared error of all linear filters. With
    p > 0 the mean is restored exactly, so that a PSF with a throughput of 1/2 is compensated. If
    one of several equally likely PSFs blurred the picture, ``conj(H)`` and ``|H|^2`` are means over
    them; the mean is then exact if the PSFs have equal sums.

    Parameters
    ----------
    picture : Tensor ``[B, C, H, W]``
        Blurred picture, linear light.
    psf : Tensor ``[C, h, w]``, ``[h, w]`` for all channels, or ``[D, C, h, w]`` for D likely ones
        Its centre is ``(h // 2, w // 2)``, as in :func:`optics.convolve`.
    noise_to_signal : float or Tensor, ``[C]`` or scalar
        r, the power of the noise over that of the signal at ``f_N``.
    exponent : float
        p: 2 for natural scenes (Field, J. Opt. Soc. Am. A 4:2379, 1987), 0 for white signals.
    boundary : str
        Boundary with which the picture was blurred. The default is that of the front ends;
        :func:`optics.convolve` has a different default, ``zero``. With ``circular`` the picture is
        inverted as it is. Otherwise it is padded by twice the PSF's width with a fade from one
        border to the opposite one, to avoid ringing. With ``zero`` the dark border is first divided
        by the share of the PSF's light that arrived there, which also amplifies its noise: by 2 at
        a side and 4 in a corner, at most 10.

    Returns
    -------
    Tensor ``[B, C, H, W]``

    Raises
    ------
    TypeError, ValueError
        For anything but real pictures ``[B, C, H, W]``, a PSF with the wrong channels or, with a
        circular boundary, larger than the picture; a ratio that is negative; an exponent below 0.

    Notes
    -----
    Half precision is computed, and returned, in float32, also under autocast.
    """
    channels = _check(picture, psf, exponent)
    if boundary not in get_args(Boundary):
        raise ValueError(f"boundary must be one of {get_args(Boundary)}, not {boundary!r}")
    check_between("noise_to_signal", noise_to_signal, 0, math.inf)
    ratio = torch.as_tensor(noise_to_signal, dtype=torch.float64, device=psf.device)
    if ratio.ndim > 1 or (ratio.ndim == 1 and len(ratio) not in (1, channels)):
        raise ValueError(
            f"noise_to_signal must be one number, or one for each of the {channels} channels, not "
            f"{tuple(ratio.shape)}"
        )
    with full_precision(picture):
        if picture.dtype != torch.float64:
            picture = picture.float()
        psf = psf.to(picture.dtype)
        # In units of its light, which is a constant to autograd as it cancels: what counts as dark
        # is a share of that light.
        light = psf.detach().abs().sum((-2, -1), keepdim=True)
        light = light.mean(0) if psf.ndim == 4 else light
        light = torch.where(light > _DARK, light, 1)
        psf = psf / light
        height, width = picture.shape[-2:]
        rows, columns = psf.shape[-2:]
        if boundary == "circular":
            if rows > height or columns > width:
                raise ValueError(
                    f"a circular boundary needs a PSF no larger than the picture; the PSF is "
                    f"{(rows, columns)}, the picture {(height, width)}"
                )
            size, continued = (height, width), picture
        else:
            if boundary == "zero":
                picture = picture / _share(psf, (height, width))
            size = (fast_size(height + 2 * rows), fast_size(width + 2 * columns))
            continued = _continued(_continued(picture, size[1], -1), size[0], -2)
        transfer = torch.fft.rfft2(psf, s=size) * _centre((rows, columns), size, psf)
        ratio = ratio.to(psf).reshape(-1, 1, 1) / light.square()
        prior = ratio * _frequency(size, psf) ** exponent
        power = _power(transfer)
        if psf.ndim == 4:
            transfer, power = transfer.mean(0), power.mean(0)
        inverse = transfer.conj() / (power + prior).clamp_min(_DARK) / light
        restored = torch.fft.irfft2(torch.fft.rfft2(continued) * inverse, s=size)
    return restored[..., :height, :width]


class Wiener(nn.Module):
    """Wiener filter with a trainable noise-to-signal ratio.

    Parameters
    ----------
    noise_to_signal : float or Tensor, ``[C]`` or scalar
        Initial ratio, see :func:`wiener`; its logarithm is trained.
    exponent : float
        See :func:`wiener`.

    Raises
    ------
    TypeError
        For an exponent that is not one number, or is a parameter.
    ValueError
        For a ratio that is not positive, or neither one number nor one per channel; for an exponent
        below 0.
    """

    known_psf: Tensor | None

    def __init__(self, noise_to_signal: Tensor | float = 0.01, *, exponent: float = 2.0) -> None:
        super().__init__()
        ratio = as_real("noise_to_signal", noise_to_signal).detach()
        check_between("noise_to_signal", ratio, 1e-12, 1e12)
        if ratio.ndim > 1:
            raise ValueError(
                "noise_to_signal must be one number, or one for each channel, not "
                f"{tuple(ratio.shape)}"
            )
        exponent = one_number("exponent", exponent)
        _check_exponent(exponent)
        self.log_ratio = nn.Parameter(ratio.log().to(torch.get_default_dtype()))
        self.exponent = exponent
        self.register_buffer("known_psf", None, persistent=False)

    @property
    def noise_to_signal(self) -> Tensor:
        """Noise power over signal power at the Nyquist frequency, ``[C]`` or scalar."""
        return self.log_ratio.exp()

    def know(self, psf: Tensor | None) -> None:
        """Use a given PSF from now on, instead of the one that :meth:`forward` receives.

        For example, a real device restores with the PSF of its design or a measured one.

        Parameters
        ----------
        psf : Tensor as :func:`wiener` takes it, or None
            Its sum must be its throughput, as :func:`optics.measured_psf` gives it: with twice the
            sum the restored picture is half as bright. None returns to the PSF of the camera. The
            given PSF is not saved in a checkpoint.

        Raises
        ------
        TypeError
            When it is neither a Tensor nor None.
        ValueError
            When it is not a PSF: real, finite, non-negative, with some light in each channel.
        """
        if psf is not None:
            _check_known(psf)
        self.known_psf = None if psf is None else psf.detach().clone()

    def forward(self, picture: Tensor, psf: Tensor, *, boundary: Boundary = "replicate") -> Tensor:
        """Restore ``picture [B, C, H, W]``, blurred by ``psf [(D,) C, h, w]`` with ``boundary``."""
        return wiener(
            picture,
            psf if self.known_psf is None else self.known_psf,
            noise_to_signal=self.noise_to_signal,
            exponent=self.exponent,
            boundary=boundary,
        )

    def extra_repr(self) -> str:
        """Name the prior."""
        return f"exponent={self.exponent:g}"


def _share(psf: Tensor, size: tuple[int, int]) -> Tensor:
    """Fraction of the light that a grey picture keeps in a dark surround, ``[1, C, H, W]``."""
    likely = psf.mean(0) if psf.ndim == 4 else psf.expand(-1 if psf.ndim == 3 else 1, -1, -1)
    kept = convolve(psf.new_ones(1, len(likely), *size), likely, boundary="zero")
    whole = likely.sum((-2, -1), keepdim=True).clamp_min(_DARK)
    return (kept / whole).clamp_min(_LEAST_SHARE)


def _continued(picture: Tensor, size: int, axis: int) -> Tensor:
    """Pad an axis to a period of ``size``, with a fade from its last sample to its first."""
    length = picture.shape[axis]
    if size == length:
        return picture
    step = torch.arange(1, size - length + 1, device=picture.device, dtype=picture.dtype)
    fade = (1 - torch.cos(math.pi * step / (size - length + 1))) / 2
    fade = fade.reshape(-1, *[1] * (-axis - 1))
    last, first = picture.narrow(axis, length - 1, 1), picture.narrow(axis, 0, 1)
    return torch.cat((picture, torch.lerp(last, first, fade)), axis)


def _centre(kernel: tuple[int, int], size: tuple[int, int], like: Tensor) -> Tensor:
    """Phases that move the centre of a kernel to the origin, ``[H, W // 2 + 1]``."""
    own = {"device": like.device, "dtype": torch.float64}
    y = torch.fft.fftfreq(size[0], **own)[:, None] * (kernel[0] // 2)
    x = torch.fft.rfftfreq(size[1], **own) * (kernel[1] // 2)
    turns = 2 * math.pi * (y + x)
    phases = torch.polar(torch.ones_like(turns), turns)
    return phases if like.dtype == torch.float64 else phases.to(torch.complex64)


def _frequency(size: tuple[int, int], like: Tensor) -> Tensor:
    """Radial frequency over the Nyquist frequency, ``[H, W // 2 + 1]``."""
    own = {"device": like.device, "dtype": like.dtype}
    y = torch.fft.fftfreq(size[0], **own)[:, None]
    return 2 * torch.hypot(y, torch.fft.rfftfreq(size[1], **own))


def _power(transfer: Tensor) -> Tensor:
    return transfer.real.square() + transfer.imag.square()


def _check(picture: Tensor, psf: Tensor, exponent: float) -> int:
    """Check the arguments; return the number of channels."""
    check_real("picture", picture, "[B, C, H, W]")
    check_real("psf", psf, _PSFS)
    channels = picture.shape[1] if picture.ndim == 4 else 0
    fits = psf.ndim == 2 or (psf.ndim in (3, 4) and psf.shape[-3] == channels)
    if picture.ndim != 4 or not fits or psf.numel() == 0:
        raise ValueError(
            f"picture must be [B, C, H, W] and psf {_PSFS}, not "
            f"{tuple(picture.shape)} and {tuple(psf.shape)}"
        )
    _check_exponent(exponent)
    return picture.shape[1]


def _check_known(psf: Tensor) -> None:
    """Check a known PSF now, rather than when the first picture is restored."""
    if not isinstance(psf, Tensor):
        raise TypeError(f"psf must be a Tensor {_PSFS}, not {type(psf).__name__}")
    check_real("psf", psf, _PSFS)
    if psf.ndim not in (2, 3, 4) or psf.numel() == 0:
        raise ValueError(f"psf must be {_PSFS}, not {tuple(psf.shape)}")
    psf = psf.detach()
    check_finite("psf", psf)
    if not looked_at(psf):
        return
    least, light = float(psf.min()), float(psf.sum((-2, -1)).min())
    if least < 0 or light <= 0:
        raise ValueError(
            f"a PSF is not negative and sums to its throughput, above 0; here the least value is "
            f"{least:.4g} and the least sum {light:.4g}: use optics.measured_psf on a picture"
        )


def _check_exponent(exponent: float) -> None:
    check_scalar("exponent", exponent)
    check_between("exponent", exponent, 0, math.inf)
