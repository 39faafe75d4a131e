"""The camera equation: from the light of a scene to photons on a pixel.

::

    radiance L ──image_irradiance──► irradiance E ──exposure_photons──► Sensor(photons=)
    W/(m^2 sr)   T, N, m, cos^4       W/m^2         wavelength, p, t     photons/pixel
"""

import math

import torch
from torch import Tensor

from .quantity import check_between, check_positive, check_wavelength

__all__ = ["exposure_photons", "image_irradiance"]

# Exact since the SI of 2019: J s, and m/s.
_PLANCK, _LIGHT_SPEED = 6.62607015e-34, 299_792_458.0


def image_irradiance(
    radiance: float | Tensor,
    *,
    f_number: float | Tensor,
    transmittance: float | Tensor = 1.0,
    magnification: float | Tensor = 0.0,
    field_angle: float | Tensor = 0.0,
) -> Tensor:
    """Irradiance that a lens makes of the radiance of a scene.

    ``E = pi T L cos^4(angle) / (4 N^2 (1 + m)^2)``, the exposure of ISO 12232:2019 over its time,
    for a lens without coma whose pupils are alike. Linear: luminance in cd/m^2 gives lux.

    Parameters
    ----------
    radiance : float or Tensor ``[...]``, W/(m^2 sr)
        Of the scene at full scale. A matt surface that reflects a fraction r of the irradiance E
        has ``r E / pi``.
    f_number : float or Tensor ``[...]``
        Focal length over the diameter of the pupil. :attr:`Pupil.working_f_number` holds
        ``N (1 + m)`` already: leave the magnification at 0. It counts the light of the samples, of
        which the soft edge of :func:`optics.circular_aperture` takes part: N is too large, and
        photons are too few, by about 1 and 2 % at 32 samples across, twice that at 16, half at 64.
    transmittance : float or Tensor ``[...]``
        Of lens and filters at this wavelength, in 0..1. What is in a PSF, as a mask in a
        :class:`Pupil`, does not belong here.
    magnification : float or Tensor ``[...]``
        Size of the image over that of the object: 0 far away, 1 for 1:1.
    field_angle : float or Tensor ``[...]``, radians
        Between the axis and the chief ray, less than a right angle. A map ``[H, W]``, the
        arctangent of the radius over the image distance, makes a map of the light fall-off.

    Returns
    -------
    Tensor ``[...]``, W/m^2
        All arguments broadcast. Half precision is computed, and returned, in float32.

    Raises
    ------
    ValueError
        For a quantity out of its range.
    """
    check_between("radiance", radiance, 0, math.inf, "W/(m^2 sr)")
    check_positive("f_number", f_number, "focal length / diameter")
    check_between("transmittance", transmittance, 0, 1, "fractions")
    check_between("magnification", magnification, 0, math.inf, "image size / object size")
    check_between("field_angle", field_angle, 0, math.pi / 2, "radians")
    working = _full(f_number) * (1 + _full(magnification))
    angle = _full(field_angle)
    falloff = angle.cos() if isinstance(angle, Tensor) else math.cos(angle)
    light = _full(radiance) * _full(transmittance)
    return _tensor(light * falloff**4 * (math.pi / 4) / working**2)


def exposure_photons(
    irradiance: float | Tensor,
    *,
    wavelength: float | Tensor,
    pixel_pitch: float | Tensor,
    exposure_time: float | Tensor,
) -> Tensor:
    """Photons on one pixel: ``E A t lambda / (h c)`` (EMVA Standard 1288, release 4.0, sec. 2.1).

    That is 50.34 for 1 uW/cm^2 of 1 um on 1 um^2 in 1 ms.

    Parameters
    ----------
    irradiance : float or Tensor ``[...]`` or ``[..., L]``, W/m^2
        On the sensor, as of :func:`image_irradiance`.
    wavelength : float or Tensor ``[L]``, metres
        Of the light, 1e-9 to 1e-2: white light is a sum over bands, each with its own irradiance.
    pixel_pitch : float or Tensor ``[...]``, metres
        Side of a square pixel, at most 1e-2: all of its area counts, because the quantum efficiency
        holds the fill factor.
    exposure_time : float or Tensor ``[...]``, s

    Returns
    -------
    Tensor ``[...]`` or ``[..., L]``, photons/pixel
        What ``Sensor(photons=...)`` takes, of a scene at full scale. All arguments broadcast.
        Half precision is computed, and returned, in float32.

    Raises
    ------
    ValueError
        For a quantity out of its range.
    """
    check_between("irradiance", irradiance, 0, math.inf, "W/m^2")
    check_wavelength("wavelength", wavelength)
    check_positive("pixel_pitch", pixel_pitch, "metres")
    check_between("pixel_pitch", pixel_pitch, 0, 1e-2, "metres")  # what is more is micrometres
    check_positive("exposure_time", exposure_time, "s")
    per_joule = _full(wavelength) / (_PLANCK * _LIGHT_SPEED)
    per_area = _full(irradiance) * _full(exposure_time) * per_joule
    pitch = _full(pixel_pitch)
    return _tensor(per_area * pitch * pitch)


def _full(value: float | Tensor) -> float | Tensor:
    """Half precision holds neither photons on a square metre nor the area of a pixel."""
    if isinstance(value, Tensor) and value.element_size() < 4:
        return value.float()
    return value


def _tensor(value: float | Tensor) -> Tensor:
    """A number as a Tensor, in double precision; a Tensor as it is."""
    return torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64)
