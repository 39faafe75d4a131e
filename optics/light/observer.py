"""What the CIE's standard observer of 1931 and a camera see of reflectances under a lamp.

::

    reflectance [..., L] ─┬─ lamp [L] ─ x, y, z ─► XYZ ─ D65 for white ─► linear sRGB [..., 3]
                          └─ lamp [L] ─ sensitivity [C, L] ─ balance ───► camera      [..., C]
                                                           white is 1 in each
"""

import math

import torch
from torch import Tensor

from optics.quantity import (
    check_between,
    check_scalar,
    check_tensor,
    check_wavelength,
    looked_at,
    single,
)

from .radiometry import interpolate_spectrum, luminous_efficiency, of_observer

__all__ = [
    "D65",
    "XYZ_OF_SRGB",
    "camera_colours",
    "colour_matching",
    "daylight",
    "observer_colours",
]

#: Linear sRGB to XYZ, and the white D65 of the 2 degree observer (IEC 61966-2-1), in the digits of
#: scikit-image: white has Y = 1.
XYZ_OF_SRGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
D65 = (0.95047, 1.0, 1.08883)
# XYZ to the sharpened cones of Bradford (Lam 1985; ICC.1:2010, annex E).
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))

# The other two functions of the observer; y is V(lambda). ISO/CIE 11664-1:2019, every 5 nm.
# fmt: off
_X = (
    0.001368, 0.002236, 0.004243, 0.00765, 0.01431, 0.02319, 0.04351, 0.07763,
    0.13438, 0.21477, 0.2839, 0.3285, 0.34828, 0.34806, 0.3362, 0.3187,
    0.2908, 0.2511, 0.19536, 0.1421, 0.09564, 0.05795, 0.03201, 0.0147,
    0.0049, 0.0024, 0.0093, 0.0291, 0.06327, 0.1096, 0.1655, 0.22575,
    0.2904, 0.3597, 0.43345, 0.51205, 0.5945, 0.6784, 0.7621, 0.8425,
    0.9163, 0.9786, 1.0263, 1.0567, 1.0622, 1.0456, 1.0026, 0.9384,
    0.85445, 0.7514, 0.6424, 0.5419, 0.4479, 0.3608, 0.2835, 0.2187,
    0.1649, 0.1212, 0.0874, 0.0636, 0.04677, 0.0329, 0.0227, 0.01584,
    0.011359, 0.008111, 0.00579, 0.004109, 0.002899, 0.002049, 0.00144, 0.001,
    0.00069, 0.000476, 0.000332, 0.000235, 0.000166, 0.000117, 0.000083, 0.000059,
    0.000042,
)
_Z = (
    0.00645, 0.01055, 0.02005, 0.03621, 0.06785, 0.1102, 0.2074, 0.3713,
    0.6456, 1.03905, 1.3856, 1.62296, 1.74706, 1.7826, 1.77211, 1.7441,
    1.6692, 1.5281, 1.28764, 1.0419, 0.81295, 0.6162, 0.46518, 0.3533,
    0.272, 0.2123, 0.1582, 0.1117, 0.07825, 0.05725, 0.04216, 0.02984,
    0.0203, 0.0134, 0.00875, 0.00575, 0.0039, 0.00275, 0.0021, 0.0018,
    0.00165, 0.0014, 0.0011, 0.001, 0.0008, 0.0006, 0.00034, 0.00024,
    0.00019, 0.0001, 0.00005, 0.00003, 0.00002, 0.00001, *(27 * (0.0,)),
)
# Mean daylight and its first two variations, every 10 nm from 300 nm to 830 nm (CIE 15:2004).
_DAYLIGHT = (
    (
        0.04, 6.0, 29.6, 55.3, 57.3, 61.8, 61.5, 68.8, 63.4, 65.8, 94.8, 104.8, 105.9, 96.8,
        113.9, 125.6, 125.5, 121.3, 121.3, 113.5, 113.1, 110.8, 106.5, 108.8, 105.3, 104.4, 100.0,
        96.0, 95.1, 89.1, 90.5, 90.3, 88.4, 84.0, 85.1, 81.9, 82.6, 84.9, 81.3, 71.9, 74.3,
        76.4, 63.3, 71.7, 77.0, 65.2, 47.7, 68.6, 65.0, 66.0, 61.0, 53.3, 58.9, 61.9,
    ),
    (
        0.02, 4.5, 22.4, 42.0, 40.6, 41.6, 38.0, 42.4, 38.5, 35.0, 43.4, 46.3, 43.9, 37.1,
        36.7, 35.9, 32.6, 27.9, 24.3, 20.1, 16.2, 13.2, 8.6, 6.1, 4.2, 1.9, 0.0,
        -1.6, -3.5, -3.5, -5.8, -7.2, -8.6, -9.5, -10.9, -10.7, -12.0, -14.0, -13.6, -12.0, -13.3,
        -12.9, -10.6, -11.6, -12.2, -10.2, -7.8, -11.2, -10.4, -10.6, -9.7, -8.3, -9.3, -9.8,
    ),
    (
        0.0, 2.0, 4.0, 8.5, 7.8, 6.7, 5.3, 6.1, 3.0, 1.2, -1.1, -0.5, -0.7, -1.2,
        -2.6, -2.9, -2.8, -2.6, -2.6, -1.8, -1.5, -1.3, -1.2, -1.0, -0.5, -0.3, 0.0,
        0.2, 0.5, 2.1, 3.2, 4.1, 4.7, 5.1, 6.7, 7.3, 8.6, 9.8, 10.2, 8.3, 9.6,
        8.5, 7.0, 7.6, 8.0, 6.7, 5.2, 7.4, 6.8, 7.0, 6.4, 5.5, 6.1, 6.5,
    ),
)
# fmt: on


def colour_matching(wavelength: float | Tensor) -> Tensor:
    """Colour-matching functions x, y, z of the CIE's standard observer of 1931 (2 degrees).

    Tabulated every 5 nm from 380 to 780 nm (ISO/CIE 11664-1:2019) and interpolated linearly; y is
    :func:`luminous_efficiency`.

    Parameters
    ----------
    wavelength : float or Tensor ``[...]``, metres

    Returns
    -------
    Tensor ``[3, ...]``
        Beyond the table they fall to 0 within 5 nm. Half precision is computed, and returned, in
        float32.

    Raises
    ------
    ValueError
        For a wavelength that is not within 1e-9 to 1e-2 metres.
    """
    x, z = (of_observer(table, wavelength) for table in (_X, _Z))
    return torch.stack((x, luminous_efficiency(wavelength), z))


def daylight(wavelength: Tensor, *, temperature: float = 6503.616) -> Tensor:
    """Relative power per wavelength of the CIE's daylight: standard illuminant D65 by default.

    ``S0 + M1 S1 + M2 S2`` with the weights of the colour temperature (CIE 15:2004, sec. 3.1),
    rounded to three decimals, and linear interpolation. It is 100 at 560 nm. The names of the
    illuminants are of an older second constant of radiation, 1.4380e-2 m K: times 1.4388 / 1.4380,
    D65 has 6503.616 K and D50 5002.782 K.

    Parameters
    ----------
    wavelength : Tensor ``[L]``, metres
        Within 300e-9 to 830e-9.
    temperature : float, K
        Correlated colour temperature, 4000 to 25000.

    Returns
    -------
    Tensor ``[L]``
        Half precision is computed, and returned, in float32.

    Raises
    ------
    TypeError
        When the wavelength is no Tensor, or the temperature no single number.
    ValueError
        For one that is out of its range.

    Examples
    --------
    >>> daylight(torch.tensor([460e-9, 560e-9]))
    tensor([117.8122, 100.0000])
    """
    check_tensor("wavelength", wavelength)
    check_scalar("temperature", temperature, "K")
    heat = float(temperature)
    if not 4000 <= heat <= 25000:
        raise ValueError(
            f"temperature must be within 4000 to 25000 K, for which the CIE defines daylight, not "
            f"{heat:g}: of a lamp like a black body, take optics.blackbody"
        )
    x = (
        -4.6070e9 / heat**3 + 2.9678e6 / heat**2 + 0.09911e3 / heat + 0.244063
        if heat <= 7000
        else -2.0064e9 / heat**3 + 1.9018e6 / heat**2 + 0.24748e3 / heat + 0.237040
    )
    y = -3.0 * x**2 + 2.87 * x - 0.275
    scale = 0.0241 + 0.2562 * x - 0.7341 * y
    first = round((-1.3515 - 1.7703 * x + 5.9114 * y) / scale, 3)
    second = round((0.03 - 31.4424 * x + 30.0717 * y) / scale, 3)
    parts = wavelength.new_tensor(_DAYLIGHT, dtype=torch.float64)
    known = 1e-9 * torch.arange(300, 840, 10, dtype=torch.float64, device=wavelength.device)
    power = parts[0] + first * parts[1] + second * parts[2]
    found = interpolate_spectrum(power, known, at=wavelength)
    return found.to(single(wavelength).dtype)


def observer_colours(reflectance: Tensor, wavelength: Tensor, *, lamp: Tensor) -> Tensor:
    """Colours that the standard observer sees of reflectances under a lamp, as linear sRGB.

    The white of the lamp is adapted to D65, the white of sRGB, by the linear transform of Bradford
    (ICC.1:2010, annex E): these are the colours that a camera should show.

    Parameters
    ----------
    reflectance : Tensor ``[..., L]``
        0 or more; 1 is white.
    wavelength : Tensor ``[L]``, metres
        Centres of bands of equal width, some 10 nm apart or less.
    lamp : Tensor ``[L]``
        Power of the lamp in each band, in any scale, as by :func:`daylight` or
        :func:`optics.blackbody`.

    Returns
    -------
    Tensor ``[..., 3]``
        Linear sRGB: 1 for white; outside of 0..1 for colours out of its gamut. Half precision is
        computed, and returned, in float32.

    Raises
    ------
    TypeError
        When one of them is no Tensor.
    ValueError
        For shapes other than these, values that are negative or not finite, or a lamp without
        visible light, or with so little blue that the adaptation has no white.
    """
    check_tensor("wavelength", wavelength)
    check_wavelength("wavelength", wavelength)
    _check_spectra(reflectance, lamp, wavelength.shape, "wavelength")
    seen = colour_matching(wavelength) * lamp.double()
    bradford, srgb = (seen.new_tensor(rows).double() for rows in (_BRADFORD, XYZ_OF_SRGB))
    white = seen.sum(1) / seen[1].sum()
    if looked_at(white) and not bool((bradford @ white > 0).all()):
        raise ValueError(
            "lamp has no visible light, 380 to 780 nm, at these wavelengths, or only that of a "
            "yellow line, which no eye adapts to as white: give a lamp of more bands"
        )
    # The white of this matrix, not the rounded D65, so that white is 1 in all three.
    gain = (bradford @ srgb.sum(1)) / (bradford @ white)
    adapted = torch.linalg.solve(bradford @ srgb, gain[:, None] * bradford)
    found = reflectance.double() @ (adapted @ (seen / seen[1].sum())).mT
    return found.to(torch.result_type(single(reflectance), single(lamp)))


def camera_colours(reflectance: Tensor, sensitivity: Tensor, *, lamp: Tensor) -> Tensor:
    """White-balanced colours that a camera measures of reflectances under a lamp, without noise.

    ``sum_l R_l E_l S_cl / sum_l E_l S_cl``: white is 1 in each channel.

    Parameters
    ----------
    reflectance : Tensor ``[..., L]``
        0 or more; 1 is white.
    sensitivity : Tensor ``[C, L]``
        Signal of each channel for equal power in each band, in any scale: as
        :attr:`optics.ColourFilters.transmittance`, times quantum efficiency and wavelength where
        the pixels count photons.
    lamp : Tensor ``[L]``
        Power of the lamp in each band, in any scale.

    Returns
    -------
    Tensor ``[..., C]``
        In 0..1 for reflectances of up to 1. Half precision is computed, and returned, in float32.

    Raises
    ------
    TypeError
        When one of them is no Tensor.
    ValueError
        For shapes other than these, values that are negative or not finite, or a channel that gets
        no light of the lamp.
    """
    check_tensor("sensitivity", sensitivity)
    if sensitivity.ndim != 2:
        raise ValueError(f"sensitivity must be [C, L], not {tuple(sensitivity.shape)}")
    check_between("sensitivity", sensitivity, 0, math.inf, "signal for each band")
    _check_spectra(reflectance, lamp, sensitivity.shape[1:], "sensitivity")
    seen = sensitivity.double() * lamp.double()
    white = seen.sum(1)
    if looked_at(white) and not bool((white > 0).all()):
        dark = [place for place, light in enumerate(white.tolist()) if not light > 0]
        raise ValueError(
            f"channels {dark} of the sensitivity get no light of the lamp, and cannot be balanced: "
            "leave them out, or give a lamp that reaches them"
        )
    found = reflectance.double() @ (seen / white[:, None]).mT
    kind = torch.result_type(single(reflectance), single(lamp))
    return found.to(torch.promote_types(kind, single(sensitivity).dtype))


def _check_spectra(reflectance: Tensor, lamp: Tensor, bands: torch.Size, of: str) -> None:
    """Check spectra of the ``bands`` of another argument."""
    check_tensor("reflectance", reflectance)
    check_tensor("lamp", lamp)
    if len(bands) != 1 or lamp.shape != bands or reflectance.shape[-1:] != bands:
        raise ValueError(
            f"reflectance must be [..., L] and lamp [L], of the L bands of {of}, {list(bands)}, "
            f"not {list(reflectance.shape)} and {list(lamp.shape)}"
        )
    if not (reflectance.is_floating_point() and lamp.is_floating_point()):
        raise ValueError(
            "reflectance and lamp must be real floating point, not "
            f"{reflectance.dtype} and {lamp.dtype}"
        )
    check_between("reflectance", reflectance, 0, math.inf, "shares of the light")
    check_between("lamp", lamp, 0, math.inf, "power of each band")
