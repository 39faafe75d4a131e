"""Pictures of transparencies in coherent light: fields interfere, and their power is detected."""

from typing import get_args

import torch
from torch import Tensor

from .fourier import Boundary, convolve, squared_modulus
from .front_end import FrontEnd, check_raw
from .pupil import Pupil, check_same_everywhere
from .quantity import check_complex, check_tensor, single

__all__ = ["CoherentImaging", "coherent_blur", "scene_field"]


# The field of a scene is the root of its radiance, whose slope is infinite at zero. Below this
# radiance (-60 dB of full scale) the root goes to zero along a line instead, of slope 1000.
_DARKEST = 1e-6


def scene_field(scene: Tensor) -> Tensor:
    """Field of a transparency ``scene`` without phase: the root of its radiance.

    Real, of the shape of the scene; straight below 1e-6, where the root has no finite slope. A
    radiance below zero, as resampling leaves beside an edge, counts as zero, with the slope that it
    has there, so that it can come back. Half precision is computed in float32. A complex scene is
    the field itself, and comes back as it is.

    Raises
    ------
    TypeError
        When the scene is no Tensor.
    ValueError
        For whole numbers.
    """
    check_tensor("scene", scene)
    if scene.is_complex():
        return scene
    if not scene.is_floating_point():
        raise ValueError(
            f"scene must be complex or real floating point, full scale 1, not {scene.dtype}"
        )
    scene = single(scene)
    lit = torch.where(scene < 0, scene - scene.detach(), scene)
    return lit / scene.clamp_min(_DARKEST).sqrt()


def coherent_blur(field: Tensor, spread: Tensor, *, boundary: Boundary = "replicate") -> Tensor:
    """Complex convolution of a field with the image of a coherent point.

    Coherent imaging is linear in the field (Goodman, Fourier Optics, sec. 6.2).

    Parameters
    ----------
    field : Tensor, complex or real ``[B, C, H, W]``
    spread : Tensor, complex or real ``[C, h, w]``
        See :func:`optics.amplitude_spread`.
    boundary : str
        As in :func:`optics.convolve`.

    Returns
    -------
    Tensor, complex ``[B, C, H, W]``

    Raises
    ------
    TypeError, ValueError
        When they are no Tensors, or the shapes are not these.
    """
    check_complex("field", field, "[B, C, H, W]")
    check_complex("spread", spread, "[C, h, w]")
    if field.ndim != 4 or spread.ndim != 3 or len(spread) != field.shape[1]:
        raise ValueError(
            f"field must be [B, C, H, W] and spread [C, h, w], not {tuple(field.shape)} and "
            f"{tuple(spread.shape)}"
        )
    channels = len(spread)
    if not spread.is_complex():
        spread = single(spread)
        spread = torch.complex(spread, torch.zeros_like(spread))
    real, imaginary = spread.real, spread.imag
    if not field.is_complex():
        both = convolve(field, torch.cat((real, imaginary))[:, None], boundary=boundary)
        return torch.complex(both[:, :channels], both[:, channels:])
    parts = torch.cat((field.real, field.imag), 1)
    kernels = torch.cat((real, real, imaginary, imaginary))[:, None]
    rr, ir, ri, ii = convolve(parts, kernels, boundary=boundary).chunk(4, 1)
    return torch.complex(rr - ii, ri + ir)


class CoherentImaging(FrontEnd):
    """Image a transparency in coherent light: amplitudes interfere, then are detected.

    Parameters
    ----------
    pupil : Pupil
        Its elements are trained; channel c is lit at wavelength c.
    boundary : str
        As in :func:`optics.convolve`.

    Raises
    ------
    TypeError
        When the pupil is none.
    ValueError
        For an unknown boundary, or a pupil that changes from place to place.

    Notes
    -----
    The field of a real scene is the root of its radiance; a complex scene is the field itself,
    so that phase objects can be imaged. Irradiance is sampled at the pixels' centres: where the
    pixels are larger than ``lambda f / (2 D)`` it is aliased.
    """

    def __init__(self, pupil: Pupil, *, boundary: Boundary = "replicate") -> None:
        super().__init__()
        if boundary not in get_args(Boundary):
            raise ValueError(f"boundary must be one of {get_args(Boundary)}, not {boundary!r}")
        if not isinstance(pupil, Pupil):
            raise TypeError(
                f"pupil must be an optics.Pupil(...), not {type(pupil).__name__}: a fixed spread "
                "is for optics.coherent_blur"
            )
        check_same_everywhere(pupil)
        self.pupil = pupil
        self.in_channels = self.out_channels = len(pupil.wavelengths)
        self.exposures = 1
        self.boundary: Boundary = boundary

    def throughput(self) -> Tensor:
        """Light of a coherent point that passes, relative to the open aperture; in 0..1."""
        passed = self.pupil.field().abs().square().sum((-2, -1)).mean()
        return passed / self.pupil.incident_power

    def forward(self, scene: Tensor) -> Tensor:
        """Form the irradiance ``[B, C, H, W]`` of a scene ``[B, C, H, W]``, real or a field.

        Raises
        ------
        TypeError
            When the scene is no Tensor.
        ValueError
            When it has other channels or holds whole numbers.
        """
        check_tensor("scene", scene)
        if scene.ndim != 4 or scene.shape[1] != self.in_channels:
            raise ValueError(
                f"the front end takes scenes [B, {self.in_channels}, H, W], not "
                f"{tuple(scene.shape)}"
            )
        check_complex("scene", scene, "[B, C, H, W]")
        image = coherent_blur(
            scene_field(scene), self.pupil.amplitude_spread(), boundary=self.boundary
        )
        return squared_modulus(image)

    def combine(self, raw: Tensor) -> Tensor:
        """Return the single exposure ``raw`` unchanged."""
        check_raw(raw, self.out_channels)
        return raw

    def extra_repr(self) -> str:
        """Name the channels and the boundary."""
        return f"channels={self.in_channels}, boundary={self.boundary!r}"
