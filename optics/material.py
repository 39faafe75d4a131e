"""Refractive indices of optical materials, by Sellmeier's formula.

``n² - 1 = Σ B λ² / (λ² - C)`` with λ in micrometres and C in square micrometres, as published. The
coefficients are those that refractiveindex.info gives for the named source. Each set is valid only
in a range of wavelengths; outside of it an error is raised instead of an extrapolation.
"""

import difflib
from typing import NamedTuple, overload

import torch
from torch import Tensor

from .quantity import check_positive, looked_at

__all__ = ["MATERIALS", "abbe_number", "refractive_index"]


class _Sellmeier(NamedTuple):
    """Terms ``(B, C)`` with C in µm², and the range of validity in µm."""

    terms: tuple[tuple[float, float], ...]
    shortest: float
    longest: float


# Papers that give resonance wavelengths have them squared here, in the open.
_SELLMEIER = {
    # I. H. Malitson, J. Opt. Soc. Am. 55, 1205-1208 (1965), 20 °C.
    "fused_silica": _Sellmeier(
        (
            (0.6961663, 0.0684043**2),
            (0.4079426, 0.1162414**2),
            (0.8974794, 9.896161**2),
        ),
        0.21,
        3.71,
    ),
    # SCHOTT Zemax catalogue 2017-01-20b, 20 °C, for the three glasses.
    "n_bk7": _Sellmeier(
        (
            (1.03961212, 0.00600069867),
            (0.231792344, 0.0200179144),
            (1.01046945, 103.560653),
        ),
        0.3,
        2.5,
    ),
    "f2": _Sellmeier(
        (
            (1.34533359, 0.00997743871),
            (0.209073176, 0.0470450767),
            (0.937357162, 111.886764),
        ),
        0.32,
        2.5,
    ),
    "n_sf11": _Sellmeier(
        (
            (1.73759695, 0.013188707),
            (0.313747346, 0.0623068142),
            (1.89878101, 155.23629),
        ),
        0.37,
        2.5,
    ),
    # M. Szczurowski (2013), measured at 23 °C, by way of refractiveindex.info. The one-term fit to
    # the PMMA of Sultanova et al. has the same index but an Abbe number of 53.2; the handbooks
    # say 57.4, and this one 58.0.
    "pmma": _Sellmeier(
        (
            (0.99654, 0.00787),
            (0.18964, 0.02191),
            (0.00411, 3.85727),
        ),
        0.4047,
        1.083,
    ),
    # N. Sultanova, S. Kasarova, I. Nikolov, Acta Phys. Pol. A 116, 585-587 (2009), 20 °C; one-term
    # fits to their measurements by M. Polyanskiy.
    "polycarbonate": _Sellmeier(((1.4182, 0.021304),), 0.4368, 1.052),
    "polystyrene": _Sellmeier(((1.4435, 0.020216),), 0.4368, 1.052),
    # F. Schneider et al., Sens. Actuators A 151, 95-99 (2009): RTV 615.
    "pdms": _Sellmeier(((1.0057, 0.013217),), 0.35, 0.70),
    # I. H. Malitson, J. Opt. Soc. Am. 52, 1377-1379 (1962): ordinary ray, 24 °C.
    "sapphire": _Sellmeier(
        (
            (1.023798, 0.06144821**2),
            (1.058264, 0.1106997**2),
            (5.280792, 17.92656**2),
        ),
        0.2652,
        5.577,
    ),
    # I. H. Malitson, Appl. Opt. 2, 1103-1107 (1963), 24 °C.
    "calcium_fluoride": _Sellmeier(
        (
            (0.5675888, 0.050263605**2),
            (0.4710914, 0.1003909**2),
            (3.8484723, 34.649040**2),
        ),
        0.23,
        9.7,
    ),
    # M. J. Dodge, Appl. Opt. 23, 1980-1985 (1984): ordinary ray, 19 °C.
    "magnesium_fluoride": _Sellmeier(
        (
            (0.48755108, 0.04338408**2),
            (0.39875031, 0.09461442**2),
            (2.3120353, 23.793604**2),
        ),
        0.2,
        7.0,
    ),
}

MATERIALS: tuple[str, ...] = tuple(sorted(_SELLMEIER))

# Fraunhofer's lines d (helium), F and C (hydrogen), in metres: what an Abbe number is made of.
LINE_D, LINE_F, LINE_C = 587.5618e-9, 486.1327e-9, 656.2725e-9


@overload
def refractive_index(material: str, wavelength: float) -> float: ...
@overload
def refractive_index(material: str, wavelength: Tensor) -> Tensor: ...


def refractive_index(material: str, wavelength: float | Tensor) -> float | Tensor:
    """Refractive index of a named material, real part, at room temperature.

    Parameters
    ----------
    material : str
        One of :data:`MATERIALS`.
    wavelength : float or Tensor
        Vacuum wavelength, metres. A tensor of any shape, with gradient.

    Returns
    -------
    float for a float; for a tensor, also of float32, a float64 Tensor of the same shape, as phases
    of many wavelengths are computed from it.

    Raises
    ------
    ValueError
        For an unknown material, with the nearest names, or a wavelength outside of the valid range,
        with that range in nanometres. The values of a tensor on an accelerator are not checked.

    Notes
    -----
    W. Sellmeier, Ann. Phys. 219, 272-282 (1871). SCHOTT's coefficients, and those of the polymers
    and PDMS, are relative to air; the difference to vacuum is 3e-4. Sapphire and magnesium
    fluoride are birefringent; these are their ordinary indices. Polycarbonate and polystyrene are
    one-term fits: accurate to 1e-3, but with 7 % and 4 % more dispersion between the lines F and C
    than their published Abbe numbers of 29.9 and 30.9. Polymers differ between manufacturers by
    1e-3.

    >>> round(refractive_index("n_bk7", 587.5618e-9), 4)
    1.5168
    """
    if not isinstance(material, str) or material not in _SELLMEIER:
        near = difflib.get_close_matches(str(material).lower().replace("-", "_"), MATERIALS, n=3)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise ValueError(f"material must be one of {MATERIALS}, not {material!r}{hint}")
    check_positive("wavelength", wavelength, "metres")
    model = _SELLMEIER[material]
    _check_range(material, wavelength, model)
    if isinstance(wavelength, Tensor):
        wavelength = wavelength.to(torch.float64)
    squared = (wavelength * 1e6) ** 2
    total = 1.0 + sum(b * squared / (squared - c) for b, c in model.terms)
    return total**0.5


def abbe_number(material: str) -> float:
    """Abbe number ``(n_d - 1) / (n_F - n_C)``: large for low dispersion.

    Lines d 587.5618, F 486.1327 and C 656.2725 nm (ISO 7944, SCHOTT TIE-29).

    Parameters
    ----------
    material : str
        A name of :data:`optics.MATERIALS`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For a material that is not known.
    """
    spread = refractive_index(material, LINE_F) - refractive_index(material, LINE_C)
    return (refractive_index(material, LINE_D) - 1.0) / spread


def _check_range(material: str, wavelength: float | Tensor, model: _Sellmeier) -> None:
    # A bound that went through float32 may lie 6e-8 outside of itself.
    low, high = model.shortest * 1e-6 * (1 - 1e-6), model.longest * 1e-6 * (1 + 1e-6)
    if isinstance(wavelength, Tensor):
        if wavelength.numel() == 0 or not looked_at(wavelength):
            return
        first, last = float(wavelength.detach().min()), float(wavelength.detach().max())
    else:
        first = last = wavelength
    if first < low or last > high:
        given = f"{first * 1e9:g}" if first == last else f"{first * 1e9:g} to {last * 1e9:g}"
        raise ValueError(
            f"wavelength must be between {model.shortest * 1e3:g} and {model.longest * 1e3:g} nm "
            f"(given in metres) for {material}, where its formula was measured, not {given} nm"
        )
