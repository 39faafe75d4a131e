"""From chromophores to light: the diffuse reflectance of skin at any wavelength."""

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .haemoglobin import molar_extinction

__all__ = ["WAVELENGTHS", "light_codes", "skin_reflectance", "srgb_codes"]

Chromophore: TypeAlias = Tensor | np.ndarray | float

#: Centres of a camera's red, green and blue band, in metres.
WAVELENGTHS: Final = (612e-9, 545e-9, 463e-9)

_RANGE = (400.0, 1000.0)  # nm; of the table of haemoglobin

# Scale and fibrosis are yellowish: white to a camera that is balanced for skin. A drawn curve.
_KERATIN_NM = (400.0, 463.0, 545.0, 612.0, 750.0, 1000.0)
_KERATIN = (0.34, 0.46, 0.65, 0.72, 0.77, 0.80)


def skin_reflectance(
    melanin: Chromophore,
    dermal: Chromophore,
    blood: Chromophore,
    keratin: Chromophore,
    *,
    wavelengths: Sequence[float] = WAVELENGTHS,
    saturation: float = 1.0,
) -> Tensor:
    """Diffuse reflectance of skin, differentiable in its chromophores.

    Light crosses the epidermis (60 um, 1.9 times its thickness on the way in and out), is
    scattered back by the upper dermis or by the dermis below, and is covered by keratin:
    ``R = exp(-2 * 1.9 * 0.006 * m * mu_mel) * (0.55 t + (1 - t) * exp(-7 / sqrt(3 (1 + s/a))))``
    with the reduced scattering s and the absorption a of the dermis in 1/cm, and the share t that
    the upper dermis scatters back: blue more than red, which makes deep pigment blue-grey (Tyndall
    effect). Pigments only absorb light; keratin brightens dark skin.

    With the wavelength l in nm, melanosomes absorb ``6.6e11 l^-3.33``, skin without pigment
    ``0.244 + 85.3 exp(-(l - 154) / 66.2)``, and the dermis scatters ``45.3 (l / 500)^-1.292``:
    S. Jacques, "Optical properties of biological tissues", Phys. Med. Biol. 58:R37 (2013), as
    collected in S-SYNTH (Kim et al., MICCAI 2024). Blood holds 150 g/l of haemoglobin. Water,
    which absorbs from 900 nm on, is left out.

    Parameters
    ----------
    melanin : Tensor, array or float ``[...]``, volume fraction
        Melanosomes in the epidermis; 0.013..0.063 in light skin, 0.18..0.43 in dark skin.
    dermal : Tensor, array or float ``[...]``, volume fraction
        Melanosomes in the dermis.
    blood : Tensor, array or float ``[...]``, volume fraction
        Blood in the dermis.
    keratin : Tensor, array or float ``[...]``
        Coverage by scale or fibrosis, 0..1.
    wavelengths : sequence of float, metres
        400e-9 to 1000e-9; by default the centres of a camera's red, green and blue.
    saturation : float
        Share of the haemoglobin that carries oxygen, 0..1.

    Returns
    -------
    Tensor ``[wavelengths, ...]``
        Reflectance in 0..1, linear light.

    Raises
    ------
    ValueError
        When a wavelength or the saturation is out of range, or a chromophore is negative or not
        finite, or there is more keratin than 1.
    """
    bands = checked_wavelengths(wavelengths)
    if not 0 <= saturation <= 1:
        raise ValueError(f"saturation={saturation!r} is out of range; give 0 to 1")
    given = (melanin, dermal, blood, keratin)
    kind = np.float64 if all(isinstance(part, float | int) for part in given) else None
    parts = [torch.as_tensor(part, dtype=torch.float64 if kind else None) for part in given]
    for name, part in zip(("melanin", "dermal", "blood", "keratin"), parts, strict=True):
        high = 1.0 if name == "keratin" else math.inf
        if not bool(((part >= 0) & (part <= high) & part.isfinite()).all()):
            rule = "0 to 1" if name == "keratin" else "finite volume fractions of 0 or more"
            raise ValueError(f"{name} holds values out of range; give {rule}")
    return reflectance(*parts, wavelengths=bands, saturation=saturation)


def checked_wavelengths(wavelengths: Sequence[float]) -> tuple[float, ...]:
    """Wavelengths in metres, or a ValueError."""
    try:
        bands = tuple(float(band) for band in wavelengths)
    except (TypeError, ValueError):
        raise ValueError(
            f"wavelengths={wavelengths!r} must be a sequence of metres, such as (550e-9, 850e-9)"
        ) from None
    # To a femtometre: 1000 * 1e-9 is a little more than 1000e-9.
    wrong = [band for band in bands if not _RANGE[0] <= round(band * 1e9, 6) <= _RANGE[1]]
    if wrong or not bands:
        raise ValueError(
            f"wavelengths holds {wrong[0] if wrong else 'nothing'}; give at least one, each of "
            "400e-9 to 1000e-9, in metres and not in nanometres"
        )
    return bands


def reflectance(
    melanin: Tensor, dermal: Tensor, blood: Tensor, keratin: Tensor, *,
    wavelengths: tuple[float, ...], saturation: float,
) -> Tensor:  # fmt: skip
    """:func:`skin_reflectance` without its checks, which would wait for a GPU."""
    bands = []
    for wavelength in wavelengths:
        nm = 1e9 * wavelength
        melanosome = 6.6e11 * nm**-3.33
        base = 0.244 + 85.3 * math.exp(-(nm - 154) / 66.2)
        scattering = 45.3 * (nm / 500) ** -1.292
        oxygenated, reduced = molar_extinction(nm)
        mixed = saturation * oxygenated + (1 - saturation) * reduced
        haem = math.log(10) * mixed * 150 / 64500
        front = 1 - math.exp(-0.35 * 0.012 * scattering)
        scale = float(np.interp(nm, _KERATIN_NM, _KERATIN))
        absorption = base + haem * blood + melanosome * dermal
        dermis = torch.exp(-7 / math.sqrt(3) * torch.rsqrt(1 + scattering / absorption))
        crossed = torch.exp(-2 * 1.9 * 0.006 * melanosome * melanin)
        skin = crossed * (0.55 * front + (1 - front) * dermis)
        bands.append(skin + keratin * (scale - skin))
    return torch.stack(bands)


def srgb_codes(light: Tensor, bit_depth: int = 8) -> Tensor:
    """Encode linear light (1 is white; clipped to 0..1) as sRGB of 8 or 16 bits (IEC 61966-2-1)."""
    light = light.clamp(0.0, 1.0)
    curve = 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return light_codes(torch.where(light <= 0.0031308, 12.92 * light, curve), bit_depth)


def light_codes(light: Tensor, bit_depth: int = 8) -> Tensor:
    """Round light (1 is white; clipped to 0..1) to codes of 8 or 16 bits proportional to it."""
    dtype = torch.uint8 if bit_depth == 8 else torch.uint16
    return ((2**bit_depth - 1) * light.clamp(0.0, 1.0) + 0.5).to(dtype)
