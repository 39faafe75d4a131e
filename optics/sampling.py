"""Audit of sampling: whether the pupil is sampled finely enough.

It leaves what it looks at untouched, costs one transform and one PSF, and its tensors can be
penalties.
"""

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .coherent import CoherentImaging
from .fourier import squared_modulus
from .planes import as_planes
from .psf import psf_from_planes
from .pupil import pupil_of
from .quantity import looked_at

__all__ = ["SamplingAudit", "audit_sampling"]

# Shares of the light above which they are a problem: beyond the window, and wrapped around.
LOST, WRAPPED = 0.05, 0.01
# Share by which the window may hold more light than passed.
_MADE = 0.01
# Part of |t| beyond 1 that is no rounding any more, and modulus below which a sample is dark.
_AMPLIFIED, _DARK = 1e-3, 1e-3


class SamplingAudit(NamedTuple):
    """How well a pupil is sampled at its L wavelengths; tensors ``[(D,) L]``.

    Where the wavefront changes across the picture, ``[(D,) P, Q, L]``.

    Attributes
    ----------
    phase_step : Tensor, radians
        Largest phase difference of neighbouring open samples, in 0..pi. A step of ``a`` sends
        light to ``a / pi`` of half a period of the PSF; from pi on it comes in again at the other
        side, and as it is wrapped such a step cannot be told from a smaller one. A mask with
        jumps by design, as a binary one, has large steps.
    q : Tensor ``[L]``
        ``lambda s' / (D p)`` with the image distance s', pixels in a unit of diffraction.
    cutoff : Tensor ``[L]``, cycles/pixel
        Highest frequency of the irradiance, ``1 / q``. Above 1/2 the pixels alias it.
    wrap_energy : Tensor
        Fraction of the passed light outside of the central half of the PSF's period.
    window_loss : Tensor
        Fraction of the passed light outside of the window ``psf_size``. Below zero, beyond
        rounding, the points of the PSF lie too far apart, and their sum is not its light. In
        coherent light, which no window cuts, it is what comes over the seam of the continued
        picture, see :class:`CoherentImaging`: 0 with a circular boundary, which has none.
    wavelength : Tensor ``[L]``, metres
    """

    phase_step: Tensor
    q: Tensor
    cutoff: Tensor
    wrap_energy: Tensor
    window_loss: Tensor
    wavelength: Tensor

    def problems(self) -> list[str]:
        """Judgements in words, with numbers, the worst of all depths and places; empty if well."""
        found: list[str] = []
        for band, wavelength in enumerate(self.wavelength.tolist()):
            at = f"at {wavelength * 1e9:.4g} nm "
            phase_step, q, cutoff, wrap, loss = (
                v.detach()[..., band].reshape(-1) for v in self[:5]
            )
            if float(phase_step.max()) > math.pi / 2:
                found.append(
                    f"{at}the phase changes by up to {float(phase_step.max()):.3g} radians from "
                    "sample to sample of the pupil, more than pi/2: use a finer pupil"
                )
            if float(q.min()) < 2:
                found.append(
                    f"{at}Q = lambda s' / (D p) is {float(q.min()):.3g}, below 2: the PSF holds up "
                    f"to {float(cutoff.max()):.3g} cycles/pixel and what lies "
                    "above 0.5 is folded back below it"
                )
            if float(wrap.max()) > WRAPPED:
                found.append(
                    f"{at}{100 * float(wrap.max()):.3g} % of the light falls outside of the "
                    f"central half of the PSF's period, more than {100 * WRAPPED:g} %: use a finer "
                    "pupil"
                )
            if float(loss.max()) > LOST:
                found.append(
                    f"{at}{100 * float(loss.max()):.3g} % of the light falls outside of the "
                    f"window, more than {100 * LOST:g} %: use a larger psf_size"
                )
            if float(loss.min()) < -_MADE:
                found.append(
                    f"{at}the window holds {-100 * float(loss.min()):.3g} % more light than passes "
                    "the pupil: the points of the PSF lie further apart than lambda s' / D; use a "
                    "larger oversample, or smaller pixels"
                )
        return found


def audit_sampling(module: nn.Module, *, distance: Tensor | float | None = None) -> SamplingAudit:
    """Measure how well the pupil of a front end is sampled.

    Parameters
    ----------
    module : nn.Module
        A :class:`optics.Pupil`, or a module that contains exactly one.
    distance : Tensor ``[D]`` or float, metres, optional
        Of the point source in front of the pupil; by default the working distances of a front end
        that has some, otherwise the focus.

    Returns
    -------
    SamplingAudit
        With gradients to the pupil's elements, except for ``q`` and ``cutoff``, which they do not
        change. Call ``problems()`` for words.

    Raises
    ------
    TypeError
        For what is no module.
    ValueError
        For a module with no pupil or several, or a pupil that passes no light.

    Warns
    -----
    UserWarning
        When an element amplifies, ``|t| > 1``, which none does that is passive.

    Notes
    -----
    ``q`` and ``cutoff`` after Goodman, Fourier Optics, sec. 6.3 (the cut-off of the intensity is
    ``D / (lambda s')``). Where the light falls in its period is integrated from the pupil's
    transform, padded to twice its size, because the intensity has twice the bandwidth of the
    amplitude; no window and no pixel enters.
    """
    pupil, owner = pupil_of(module)
    if distance is None:
        distance = getattr(owner, "working_distances", None)
    field = pupil.field(distance=distance)
    _check_passive(field, pupil.aperture)
    # Not psf_from_pupil, which warns of what `problems` tells.
    psf = psf_from_planes(
        as_planes(field),
        wavelength=pupil.wavelengths,
        focal_length=pupil.image_distance,
        pupil_spacing=pupil.spacing,
        pixel_pitch=pupil.pixel_pitch,
        size=pupil.psf_size,
        incident_power=squared_modulus(field).sum((-2, -1), keepdim=True),
        oversample=pupil.oversample,
    )
    wavelength = torch.tensor(pupil.wavelengths, dtype=torch.float64, device=field.device)
    loss = 1 - psf.sum((-2, -1))
    if isinstance(owner, CoherentImaging) and owner.boundary == "circular":
        loss = 0 * loss
    q = torch.tensor(pupil.q_sampling, dtype=torch.float64, device=field.device)
    return SamplingAudit(
        phase_step=_phase_step(field),
        q=q,
        cutoff=1 / q,
        wrap_energy=_wrap_energy(field),
        window_loss=loss,
        wavelength=wavelength,
    )


def _check_passive(field: Tensor, aperture: Tensor) -> None:
    """Speak of elements that make more of the light than the open aperture has."""
    if not looked_at(field):
        return
    gain = float((field.detach().abs() / aperture.detach().clamp_min(_DARK).to(field.real)).max())
    if gain > 1 + _AMPLIFIED:
        warnings.warn(
            f"the elements of the pupil amplify: |t| reaches {gain:.4g}, and no passive element "
            "has more than 1. Keep it below, as optics.UnitDisk does of a complex number",
            UserWarning,
            stacklevel=3,
        )


def _phase_step(field: Tensor) -> Tensor:
    """Largest phase difference of neighbours that both pass light."""
    if not field.is_complex():
        field = torch.complex(field, torch.zeros_like(field))
    dark = field.detach().abs() <= _DARK
    steps = [torch.zeros_like(field.real[..., 0, :1])]
    for axis, size in ((-2, field.shape[-2]), (-1, field.shape[-1])):
        near, far = field.narrow(axis, 0, size - 1), field.narrow(axis, 1, size - 1)
        unlit = dark.narrow(axis, 0, size - 1) | dark.narrow(axis, 1, size - 1)
        # The angle of zero has no gradient.
        turn = torch.where(unlit, 1.0, far * near.conj())
        steps.append(torch.atan2(turn.imag, turn.real).abs().flatten(-2))
    return torch.cat(steps, -1).amax(-1)


def _wrap_energy(field: Tensor) -> Tensor:
    """Fraction of the light further than a quarter of a period from the axis, along y or x."""
    height, width = (2 * n for n in field.shape[-2:])
    spectrum = torch.fft.fft2(field, s=(height, width))
    energy = (spectrum.real.square() + spectrum.imag.square()).double()
    rows, columns = (_central_half(n, field.device) for n in (height, width))
    inside = torch.einsum("...yx,y,x->...", energy, rows, columns)
    return 1 - inside / energy.sum((-2, -1)).clamp_min(torch.finfo(energy.dtype).tiny)


def _central_half(samples: int, device: torch.device) -> Tensor:
    """Weights of the samples of a period whose sum is the integral over its central half.

    The irradiance is a trigonometric polynomial, whose coefficients are the autocorrelation of
    the pupil; each term ``exp(2 pi i m f)`` is integrated over |f| <= 1/4 in closed form.
    """
    lag = torch.fft.fftfreq(samples, 1 / samples, dtype=torch.float64, device=device)
    return torch.fft.fft(torch.sinc(lag / 2) / 2).real
