"""Radiometry: from the light of a scene to photons on a pixel (the camera equation).

::

    radiance L ──image_irradiance──► irradiance E ──exposure_photons──► Sensor(photons=)
    W/(m^2 sr)   T, N, m, cos^4       W/m^2         wavelength, p, t     photons/pixel
        ▲
    band_irradiance ◄── lux or cd/m^2, and a spectrum [L]: blackbody, interpolate_spectrum
"""

import math

import torch
from torch import Tensor

from optics.quantity import (
    check_between,
    check_finite,
    check_positive,
    check_tensor,
    check_wavelength,
    looked_at,
)

__all__ = [
    "band_irradiance",
    "blackbody",
    "exposure_photons",
    "image_irradiance",
    "interpolate_spectrum",
    "luminous_efficiency",
    "of_observer",
]

# Exact since the SI of 2019: J s, m/s, J/K, and lm/W.
_PLANCK, _LIGHT_SPEED, _BOLTZMANN = 6.62607015e-34, 299_792_458.0, 1.380649e-23
_EFFICACY = 683.0
# Tables of the CIE's observer are from 380 nm to 780 nm every 5 nm; this is V(lambda) of 1924.
_FIRST, _STEP = 380e-9, 5e-9
# fmt: off
_PHOTOPIC = (
    0.000039, 0.000064, 0.00012, 0.000217, 0.000396, 0.00064, 0.00121, 0.00218,
    0.004, 0.0073, 0.0116, 0.01684, 0.023, 0.0298, 0.038, 0.048,
    0.06, 0.0739, 0.09098, 0.1126, 0.13902, 0.1693, 0.20802, 0.2586,
    0.323, 0.4073, 0.503, 0.6082, 0.71, 0.7932, 0.862, 0.9148501,
    0.954, 0.9803, 0.9949501, 1.0, 0.995, 0.9786, 0.952, 0.9154,
    0.87, 0.8163, 0.757, 0.6949, 0.631, 0.5668, 0.503, 0.4412,
    0.381, 0.321, 0.265, 0.217, 0.175, 0.1382, 0.107, 0.0816,
    0.061, 0.04458, 0.032, 0.0232, 0.017, 0.01192, 0.00821, 0.005723,
    0.004102, 0.002929, 0.002091, 0.001484, 0.001047, 0.00074, 0.00052, 0.0003611,
    0.0002492, 0.0001719, 0.00012, 0.0000848, 0.00006, 0.0000424, 0.00003, 0.0000212,
    0.00001499,
)
# fmt: on
# Relative tolerance of a wavelength at the end of a table, for single precision.
_ROUNDED = 1e-6


def image_irradiance(
    radiance: float | Tensor,
    *,
    f_number: float | Tensor,
    transmittance: float | Tensor = 1.0,
    magnification: float | Tensor = 0.0,
    field_angle: float | Tensor = 0.0,
) -> Tensor:
    """Irradiance of an image that a lens forms of a scene of given radiance.

    ``E = pi T L cos^4(angle) / (4 N^2 (1 + m)^2)``: the exposure of ISO 12232:2019 divided by its
    time, for a lens without coma and with a pupil magnification of 1. It is linear: luminance in
    cd/m^2 gives illuminance in lux.

    Parameters
    ----------
    radiance : float or Tensor ``[...]``, W/(m^2 sr)
        Radiance of the scene at full scale. A Lambertian surface that reflects a fraction r of the
        irradiance E has ``r E / pi``.
    f_number : float or Tensor ``[...]``
        Focal length over the diameter of the pupil. :attr:`Pupil.working_f_number` is already
        ``N (1 + m)``: leave the magnification at 0 with it. It is computed from the light of the
        samples, which the soft edge of :func:`optics.circular_aperture` reduces: N is too large by
        about 1 %, and photons are too few by about 2 %, at 32 samples across; twice that at 16,
        half at 64.
    transmittance : float or Tensor ``[...]``
        Transmittance of lens and filters at this wavelength, in 0..1. Losses that a PSF contains,
        such as a mask in a :class:`Pupil`, do not belong here.
    magnification : float or Tensor ``[...]``
        Size of the image over that of the object: 0 for a distant object, 1 for 1:1.
    field_angle : float or Tensor ``[...]``, radians
        Angle between the axis and the chief ray, less than a right angle. A map ``[H, W]``, the
        arctangent of the radius over the image distance, gives a map of the falloff.

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

    For example, 1 uW/cm^2 at 1 um on 1 um^2 in 1 ms is 50.34 photons.

    Parameters
    ----------
    irradiance : float or Tensor ``[...]`` or ``[..., L]``, W/m^2
        Irradiance on the sensor, as from :func:`image_irradiance`.
    wavelength : float or Tensor ``[L]``, metres
        Wavelength of the light, 1e-9 to 1e-2. For white light sum over bands, each with its own
        irradiance, as from :func:`band_irradiance`.
    pixel_pitch : float or Tensor ``[...]``, metres
        Side of a square pixel, at most 1e-2. The whole area counts, because the quantum efficiency
        contains the fill factor.
    exposure_time : float or Tensor ``[...]``, s

    Returns
    -------
    Tensor ``[...]`` or ``[..., L]``, photons/pixel
        The argument of ``Sensor(photons=...)`` for a scene at full scale. All arguments broadcast.
        Half precision is computed, and returned, in float32.

    Raises
    ------
    ValueError
        For a quantity out of its range.
    """
    check_between("irradiance", irradiance, 0, math.inf, "W/m^2")
    check_wavelength("wavelength", wavelength)
    check_positive("pixel_pitch", pixel_pitch, "metres")
    check_between("pixel_pitch", pixel_pitch, 0, 1e-2, "metres")  # more would be micrometres
    check_positive("exposure_time", exposure_time, "s")
    per_joule = _full(wavelength) / (_PLANCK * _LIGHT_SPEED)
    per_area = _full(irradiance) * _full(exposure_time) * per_joule
    pitch = _full(pixel_pitch)
    return _tensor(per_area * pitch * pitch)


def luminous_efficiency(wavelength: float | Tensor) -> Tensor:
    """Luminous efficiency V of photopic vision, relative to 1 at 555 nm.

    It is V(lambda) of the CIE of 1924 (ISO/CIE 23539:2023), tabulated every 5 nm from 380 to 780 nm
    and interpolated linearly, within 0.0023 of the values tabulated every nm. Times 683 lm/W it is
    the luminous efficacy.

    Parameters
    ----------
    wavelength : float or Tensor ``[...]``, metres

    Returns
    -------
    Tensor ``[...]``
        In 0..1; beyond the table it falls to 0 within 5 nm. Half precision is computed, and
        returned, in float32.

    Raises
    ------
    ValueError
        For a wavelength that is not within 1e-9 to 1e-2 metres.
    """
    return of_observer(_PHOTOPIC, wavelength)


def blackbody(wavelength: float | Tensor, *, temperature: float | Tensor) -> Tensor:
    """Spectral radiance of a black body: ``2 h c^2 / lambda^5 / (exp(h c / lambda k T) - 1)``.

    It is Planck's law (Planck 1901). Incandescent light, CIE standard illuminant A, is a black body
    of 2856 K; sunlight is about one of 5500 K.

    Parameters
    ----------
    wavelength : float or Tensor ``[...]``, metres
    temperature : float or Tensor ``[...]``, K

    Returns
    -------
    Tensor ``[...]``, W/(m^2 sr m)
        Both broadcast. Half precision is computed, and returned, in float32.

    Raises
    ------
    ValueError
        For a quantity that is not positive, or a wavelength not within 1e-9 to 1e-2 metres.
    """
    check_wavelength("wavelength", wavelength)
    check_positive("temperature", temperature, "K")
    light, heat = _tensor(_full(wavelength)), _tensor(_full(temperature))
    # lambda^5 underflows in single precision; exp(-x) is used, as exp(x) overflows in the UV.
    length = light.double()
    fall = -_PLANCK * _LIGHT_SPEED / (_BOLTZMANN * length * heat.double())
    found = 2 * _PLANCK * _LIGHT_SPEED**2 / length**5 * fall.exp() / -fall.expm1()
    return found.to(torch.result_type(light, heat))


def interpolate_spectrum(values: Tensor, wavelength: Tensor, *, at: float | Tensor) -> Tensor:
    """Spectrum of a lamp, a filter or a sensor at other wavelengths, by linear interpolation.

    Parameters
    ----------
    values : Tensor ``[..., N]``
        Values of the table, in any unit.
    wavelength : Tensor ``[N]``, metres
        Wavelengths of the table, in increasing order.
    at : float or Tensor ``[L]``, metres
        Wanted wavelengths, within the range of the table.

    Returns
    -------
    Tensor ``[..., L]``, or ``[...]`` for one number
        Half precision is computed, and returned, in float32.

    Raises
    ------
    TypeError
        When values or wavelength is not a Tensor.
    ValueError
        For values that are not finite or not one for each wavelength, fewer than two wavelengths,
        wavelengths that do not increase, or wanted ones outside of the table.
    """
    check_tensor("values", values)
    check_tensor("wavelength", wavelength)
    check_finite("values", values)
    check_wavelength("wavelength", wavelength)
    check_wavelength("at", at)
    if wavelength.ndim != 1 or len(wavelength) < 2 or values.shape[-1:] != wavelength.shape:
        raise ValueError(
            "values must be [..., N] and wavelength [N], of two rows or more, not "
            f"{tuple(values.shape)} and {tuple(wavelength.shape)}"
        )
    table, known = _tensor(_full(values)), wavelength.double()
    light = _tensor(_full(at)).to(known.device)  # a number has none
    if looked_at(known) and bool((known.diff() <= 0).any()):
        raise ValueError("wavelength must increase from row to row: sort the table by it")
    wanted = light.double()
    if looked_at(wanted) and looked_at(known):
        ends = (wanted.min(), wanted.max(), known[0], known[-1])
        low, high, first, last = (float(end.detach()) for end in ends)
        if low < first * (1 - _ROUNDED) or high > last * (1 + _ROUNDED):
            raise ValueError(
                f"at reaches from {1e9 * low:.4g} to {1e9 * high:.4g} nm, but the table only from "
                f"{1e9 * first:.4g} to {1e9 * last:.4g} nm: give fewer wavelengths, or add rows "
                "with known values beyond, such as 0"
            )
    found = _linear(wanted.clamp(known[0], known[-1]), known, table)
    return found.to(torch.result_type(table, light))


def band_irradiance(illuminance: float | Tensor, spectrum: Tensor, *, wavelength: Tensor) -> Tensor:
    """Irradiance of each spectral band, from an illuminance in lux and a relative spectrum.

    ``E_l = E_v s_l / (683 lm/W sum V(lambda_l) s_l)`` (ISO/CIE 23539:2023). It is linear: luminance
    in cd/m^2 gives radiance in W/(m^2 sr), the argument of :func:`image_irradiance`.

    Parameters
    ----------
    illuminance : float or Tensor ``[...]``, lux
        Illuminance of all bands together.
    spectrum : Tensor ``[..., L]``
        Power of each band, in any scale. For a spectrum per nanometre, such as :func:`blackbody`,
        give its values if the bands have equal widths; otherwise multiply them by the widths.
    wavelength : Tensor ``[L]``, metres
        Centres of the bands, some 10 nm apart or less: 405, 415 to 695 nm for 400 to 700. The bands
        must contain all visible light of the lamp. A filter in the camera belongs to the
        ``transmittance`` of :func:`image_irradiance`, not to the spectrum.

    Returns
    -------
    Tensor ``[..., L]``, W/m^2
        Leading dimensions broadcast. Half precision is computed, and returned, in float32.

    Raises
    ------
    TypeError
        When spectrum or wavelength is not a Tensor.
    ValueError
        For a quantity out of its range, a spectrum whose number of bands is not that of the
        wavelengths, or one without visible light, such as an infrared lamp, for which lux do not
        determine the power.
    """
    check_tensor("spectrum", spectrum)
    check_tensor("wavelength", wavelength)
    check_between("illuminance", illuminance, 0, math.inf, "lux")
    check_between("spectrum", spectrum, 0, math.inf, "power of each band")
    if wavelength.ndim != 1 or spectrum.shape[-1:] != wavelength.shape:
        raise ValueError(
            f"spectrum must be [..., L] and wavelength [L], not {tuple(spectrum.shape)} and "
            f"{tuple(wavelength.shape)}"
        )
    power = _tensor(_full(spectrum))
    seen = (power * luminous_efficiency(wavelength)).sum(-1, keepdim=True)
    if looked_at(seen) and not bool((seen > 0).all()):
        raise ValueError(
            "spectrum has no visible light, 380 to 780 nm, so that lux do not determine its power: "
            "give its W/(m^2 sr) to image_irradiance"
        )
    lux = _full(illuminance)
    return (lux[..., None] if isinstance(lux, Tensor) else lux) * (power / (_EFFICACY * seen))


def of_observer(table: tuple[float, ...], wavelength: float | Tensor) -> Tensor:
    """A function of the CIE's observer, tabulated every 5 nm from 380 nm on, and dark beyond."""
    check_wavelength("wavelength", wavelength)
    light = _tensor(_full(wavelength))
    seen = light.new_tensor((0.0, *table, 0.0), dtype=torch.float64)
    steps = torch.arange(len(seen), dtype=torch.float64, device=light.device)
    place = ((light.double() - _FIRST) / _STEP + 1).clamp(0, len(seen) - 1)
    return _linear(place, steps, seen).to(light.dtype)


def _linear(place: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Linear interpolation of values ``[..., N]`` at increasing places ``[N]``."""
    right = torch.searchsorted(known, place.detach().contiguous()).clamp(1, len(known) - 1)
    left = right - 1
    part = (place - known[left]) / (known[right] - known[left])
    below, above = values[..., left], values[..., right]
    return below + part * (above - below)


def _full(value: float | Tensor) -> float | Tensor:
    """Half precision to float32: photons per square metre overflow, areas of pixels underflow."""
    if isinstance(value, Tensor) and value.element_size() < 4:
        return value.float()
    return value


def _tensor(value: float | Tensor) -> Tensor:
    """A number as a Tensor, in double precision; a Tensor as it is."""
    return torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64)
