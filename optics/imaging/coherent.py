"""Imaging of transparencies in coherent light: fields interfere, and the irradiance is detected."""

from typing import get_args

import torch
from torch import Tensor

from optics.fourier import Boundary, convolve, padded, phasor, squared_modulus
from optics.front_end import FrontEnd, check_raw, check_scene
from optics.grid import fast_size
from optics.pupil.pupil import Pupil, check_same_everywhere
from optics.quantity import check_complex, check_finite, check_tensor, one_number, single

__all__ = ["CoherentImaging", "coherent_blur", "phase_object", "scene_field"]


# The field of a scene is the square root of its radiance, whose slope is infinite at zero. Below
# this radiance (-60 dB of full scale) the root is replaced by a line to zero, of slope 1000.
_DARKEST = 1e-6


def scene_field(scene: Tensor) -> Tensor:
    """Field of a transparency ``scene`` without phase: the square root of its radiance.

    The field is real and has the shape of the scene. Below a radiance of 1e-6 the root is replaced
    by a straight line, as its slope is infinite at zero. A negative radiance, as resampling leaves
    beside an edge, counts as zero but keeps the slope there, so that training can raise it again.
    Half precision is computed in float32. A complex scene is the field itself and is returned
    unchanged.

    Raises
    ------
    TypeError
        When the scene is not a Tensor.
    ValueError
        When the scene holds integers.
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


def phase_object(scene: Tensor, depth: float) -> Tensor:
    """Field ``exp(i depth scene)`` of a transparent object, which delays light and absorbs none.

    An example is a cell in a microscope. In focus and without a filter such an object is invisible:
    its irradiance is 1 everywhere (Goodman, Fourier Optics, sec. 8.1).

    Parameters
    ----------
    scene : Tensor, real floating point
        Relative optical thickness, of any shape; 0 does not delay light.
    depth : float, radians
        Phase of a value of 1. It is negative for a dent.

    Returns
    -------
    Tensor, complex
        Of the same shape; complex128 for float64, otherwise complex64.

    Raises
    ------
    TypeError
        When the scene is not a Tensor, or the depth not a number.
    ValueError
        For a scene that is complex (a field already) or holds integers, NaN or infinities, or a
        depth that is not finite.
    """
    check_tensor("scene", scene)
    if not scene.is_floating_point():
        raise ValueError(
            f"a phase object is real floating point, not {scene.dtype}: a complex field "
            "has its phase already"
        )
    check_finite("scene", scene)
    return phasor(_radians("depth", depth) * single(scene))


def as_depth(depth: float | None) -> float | None:
    """``phase_depth`` of a front end, checked; None where scenes are radiance."""
    return None if depth is None else _radians("phase_depth", depth)


def _radians(name: str, depth: float) -> float:
    depth = one_number(name, depth, "radians")
    check_finite(name, depth, "radians")
    return depth


def coherent_blur(field: Tensor, spread: Tensor, *, boundary: Boundary = "replicate") -> Tensor:
    """Convolution of a complex field with the amplitude spread function, the image of a point.

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
        When one is not a Tensor, or the shapes are not these.
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
    """Image a transparency in coherent light: amplitudes interfere, then irradiance is detected.

    Parameters
    ----------
    pupil : Pupil
        Its elements are trained; channel c is illuminated at wavelength c.
    boundary : str
        What lies outside of the scene, as in :func:`optics.convolve`. The scene is padded by half
        of ``psf_size`` pixels on each side and is then periodic, so that no light is lost. Unless
        the boundary is ``circular``, there is a seam where the period closes. The light that
        crosses it is about the fraction that falls outside of the window of the PSF:
        :func:`optics.audit_sampling` computes it, and a larger ``psf_size`` moves the seam away.
    phase_depth : float, radians, optional
        If given, scenes are transparent objects: a value of 1 delays light by this phase, see
        :func:`phase_object`. By default scenes are radiance.

    Raises
    ------
    TypeError
        When the pupil is not a Pupil, or the depth not a number.
    ValueError
        For an unknown boundary, a pupil that varies over the field, or a depth that is not finite.

    Notes
    -----
    The field of a real scene is the square root of its radiance, or that of a phase object; without
    ``phase_depth`` a complex scene is the field itself. Its spectrum is multiplied by the pupil
    (:meth:`Pupil.amplitude_transfer`; Goodman, Fourier Optics, sec. 6.2). A uniform scene thus has
    the transmission of the pupil's centre, and no scene gains light. Irradiance is sampled at the
    pixels' centres: it is aliased if the pixels are larger than ``lambda f / (2 D)``.
    """

    def __init__(
        self,
        pupil: Pupil,
        *,
        boundary: Boundary = "replicate",
        phase_depth: float | None = None,
    ) -> None:
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
        self.phase_depth = as_depth(phase_depth)

    @property
    def interferes(self) -> bool:
        """Always True: fields add, and their squared modulus is detected."""
        return True

    def throughput(self) -> Tensor:
        """Fraction of a point's light that passes the pupil, of that of the open aperture."""
        passed = self.pupil.field().abs().square().sum((-2, -1)).mean()
        return passed / self.pupil.incident_power

    def penalty(self) -> Tensor | None:
        """That of the pupil, see :meth:`Pupil.penalty`."""
        return self.pupil.penalty()

    def forward(self, scene: Tensor) -> Tensor:
        """Form the irradiance ``[B, C, H, W]`` of a scene ``[B, C, H, W]``, real or a field.

        Raises
        ------
        TypeError
            When the scene is not a Tensor.
        ValueError
            When it has the wrong channels or holds integers.
        """
        check_scene(scene, self.in_channels)
        check_complex("scene", scene, "[B, C, H, W]")
        depth = self.phase_depth
        field = scene_field(scene) if depth is None else phase_object(scene, depth)
        height, width = field.shape[-2:]
        rows = self._border(height, self.pupil.psf_size[0])
        columns = self._border(width, self.pupil.psf_size[1])
        field = padded(field, (rows, columns), self.boundary)
        transfer = self.pupil.amplitude_transfer((field.shape[-2], field.shape[-1]))
        spectrum = torch.fft.fft2(field) * torch.fft.ifftshift(transfer, (-2, -1))
        top, left = (rows - 1) // 2, (columns - 1) // 2
        image = torch.fft.ifft2(spectrum)[..., top : top + height, left : left + width]
        return squared_modulus(image)

    def _border(self, samples: int, window: int) -> int:
        """One more than the samples by which a picture is padded along an axis."""
        if self.boundary == "circular":
            return 1
        # A reflection cannot be longer than the picture.
        whole = samples + window - 1
        return window if self.boundary == "reflect" else fast_size(whole) - samples + 1

    def combine(self, raw: Tensor) -> Tensor:
        """Return the single exposure ``raw`` unchanged."""
        check_raw(raw, self.out_channels)
        return raw

    def extra_repr(self) -> str:
        """Name the channels and the boundary."""
        told = f"channels={self.in_channels}, boundary={self.boundary!r}"
        return told if self.phase_depth is None else f"{told}, phase_depth={self.phase_depth:g}"
