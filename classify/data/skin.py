"""From chromophores to colour: the diffuse reflectance of skin in three bands."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["WAVELENGTHS", "skin_reflectance", "srgb_codes"]

Array: TypeAlias = npt.NDArray[np.floating[Any]]

#: Centres of a camera's red, green and blue band, in nm.
WAVELENGTHS = (612.0, 545.0, 463.0)

# Everything below in 1/cm at those wavelengths.
_NM = np.array(WAVELENGTHS)
_MELANOSOME = 6.6e11 * _NM**-3.33
_BASELINE = 0.244 + 85.3 * np.exp(-(_NM - 154) / 66.2)
_BLOOD = 2.303 * np.array([1400.0, 51000.0, 40500.0]) * 150 / 64500  # HbO2, 150 g/l
_SCATTERING = 45.3 * (_NM / 500) ** -1.292

# Share of the light that the dermis in front of its pigment sends back: blue more than red, which
# makes deep pigment blue-grey (Tyndall effect).
_FRONT = 1 - np.exp(-0.35 * 0.012 * _SCATTERING)
_KERATIN = np.array([0.72, 0.65, 0.46])  # yellowish; white to a camera balanced for skin


def skin_reflectance(melanin: Array, dermal: Array, blood: Array, keratin: Array) -> Array:
    """Diffuse reflectance of skin at 612, 545 and 463 nm.

    Light crosses the epidermis (60 um, 1.9 times its thickness on the way in and out), is
    scattered back by the upper dermis or by the dermis below, and is covered by keratin:
    ``R = exp(-2 * 1.9 * 0.006 * m * mu_mel) * (0.55 t + (1 - t) * exp(-7 / sqrt(3 (1 + s/a))))``
    with the reduced scattering s and the absorption a of the dermis, and the share t that the
    upper dermis sends back. Every pigment only takes light away; keratin brightens dark skin.

    Coefficients: S. Jacques, "Optical properties of biological tissues", Phys. Med. Biol. 58:R37
    (2013), as collected in S-SYNTH (Kim et al., MICCAI 2024); haemoglobin after S. Prahl.

    Parameters
    ----------
    melanin : array ``[...]``, volume fraction
        Melanosomes in the epidermis; 0.013..0.063 in light skin, 0.18..0.43 in dark skin.
    dermal : array ``[...]``, volume fraction
        Melanosomes in the dermis.
    blood : array ``[...]``, volume fraction
        Oxygenated blood in the dermis.
    keratin : array ``[...]``
        Cover by scale or fibrosis, 0..1.

    Returns
    -------
    array ``[3, ...]``
        Reflectance in 0..1, linear light.
    """
    bands = (3,) + (1,) * np.ndim(melanin)
    kind = np.result_type(melanin, np.float32)
    melanosome, base, haem, scattering, front, scale = (
        value.astype(kind).reshape(bands)
        for value in (_MELANOSOME, _BASELINE, _BLOOD, _SCATTERING, _FRONT, _KERATIN)
    )
    absorption = base + haem * blood + melanosome * dermal
    dermis = np.exp(-7 / np.sqrt(3 + 3 * scattering / absorption))
    reflected = np.exp(-2 * 1.9 * 0.006 * melanosome * melanin)
    reflected *= 0.55 * front + (1 - front) * dermis
    return reflected + keratin * (scale - reflected)


def srgb_codes(light: Array) -> npt.NDArray[np.uint8]:
    """Encode linear light (1 is white; clipped to 0..1) as sRGB, 8 bits (IEC 61966-2-1)."""
    light = np.clip(light, 0.0, 1.0)
    curve = np.maximum(light, 0.0031308) ** np.float32(1 / 2.4)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * curve - 0.055)
    return (255 * encoded + 0.5).astype(np.uint8)
