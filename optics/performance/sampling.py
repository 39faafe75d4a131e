"""Audit of sampling: whether the pupil is sampled finely enough.

The audit does not change the pupil. It costs one transform and one PSF, and its tensors can be used
as penalties in training.
"""

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from optics.fourier import squared_modulus
from optics.imaging.coherent import CoherentImaging
from optics.pupil.psf import psf_from_planes
from optics.pupil.pupil import pupil_of
from optics.quantity import looked_at
from optics.wave.planes import as_planes

__all__ = ["SamplingAudit", "audit_sampling"]

# Shares of the light above which there is a problem: outside of the window, and wrapped around.
LOST, WRAPPED = 0.05, 0.01
# Tolerance by which the window may hold more light than passed.
_MADE = 0.01
# Excess of |t| over 1 that is more than rounding, and modulus below which a sample is dark.
_AMPLIFIED, _DARK = 1e-3, 1e-3


class SamplingAudit(NamedTuple):
    """Sampling of a pupil at its L wavelengths; tensors ``[(D,) L]``.

    If the wavefront varies over the field, they are ``[(D,) P, Q, L]``.

    Attributes
    ----------
    phase_step : Tensor, radians
        Largest phase difference between neighbouring open samples, in 0..pi. A step of ``a`` sends
        light to ``a / pi`` of half a period of the PSF. Beyond pi the light is aliased to the other
        side, and a wrapped step cannot be distinguished from a smaller one. A mask with phase jumps
        by design, such as a binary one, has large steps.
    q : Tensor ``[L]``
        ``Q = lambda s' / (D p)`` with the image distance s': unit of diffraction over pixel pitch.
    cutoff : Tensor ``[L]``, cycles/pixel
        Cut-off frequency of the irradiance, ``1 / q``. Above 1/2 the pixels alias it.
    wrap_energy : Tensor
        Fraction of the transmitted light outside of the central half of the PSF's period.
    window_loss : Tensor
        Fraction of the transmitted light outside of the window ``psf_size``. If it is below zero by
        more than rounding, the points of the PSF lie too far apart, and their sum is not its light.
        Coherent imaging has no window: there it is the light that crosses the seam of the padded
        picture, see :class:`CoherentImaging`, and 0 with a circular boundary, which has no seam.
    wavelength : Tensor ``[L]``, metres
    """

    phase_step: Tensor
    q: Tensor
    cutoff: Tensor
    wrap_energy: Tensor
    window_loss: Tensor
    wavelength: Tensor

    def problems(self) -> list[str]:
        """Problems in words and numbers, for the worst depth and place; empty if there are none."""
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
                    f"{at}Q = lambda s' / (D p) is {float(q.min()):.3g}, below 2: the PSF has "
                    f"frequencies up to {float(cutoff.max()):.3g} cycles/pixel, and those "
                    "above 0.5 are aliased"
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
                    "the pupil: the points of the PSF lie farther apart than lambda s' / D; use a "
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
        Distance of the point source in front of the pupil; by default the working distances of the
        front end if it has any, otherwise the focus.

    Returns
    -------
    SamplingAudit
        With gradients to the pupil's elements, except for ``q`` and ``cutoff``, which do not depend
        on them. ``problems()`` describes problems in words.

    Raises
    ------
    TypeError
        When ``module`` is not a module.
    ValueError
        For a module with no pupil or several, or a pupil that passes no light.

    Warns
    -----
    UserWarning
        When an element amplifies, ``|t| > 1``, which no passive element does.

    Notes
    -----
    ``q`` and ``cutoff`` follow Goodman, Fourier Optics, sec. 6.3 (the cut-off of the irradiance is
    ``D / (lambda s')``). ``wrap_energy`` is integrated over the pupil's transform, padded to twice
    its size, because the irradiance has twice the bandwidth of the amplitude. It does not depend on
    the window or the pixels.
    """
    pupil, owner = pupil_of(module)
    if distance is None:
        distance = getattr(owner, "working_distances", None)
    field = pupil.field(distance=distance)
    _check_passive(field, pupil.opening)
    # Not psf_from_pupil, which would warn of what `problems` reports.
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
    """Warn of elements that amplify the light of the open aperture."""
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
    """Fraction of the light farther than a quarter of a period from the axis, along y or x."""
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
