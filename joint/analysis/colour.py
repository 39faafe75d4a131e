"""Luminance, CIE L*a*b* and the colour difference CIEDE2000, with finite gradients everywhere.

::

    sRGB codes ─srgb_to_linear─► light [.., 3, H, W] ─► luminance Y
                                          └─► lab L*a*b* ─► ciede2000
                 light [.., C, H, W] ─► perceptual: L*a*b*, or L* of each channel
"""

import math

import torch
from torch import Tensor

from optics.light.observer import D65, XYZ_OF_SRGB

__all__ = [
    "ciede2000",
    "exact",
    "lab",
    "light_of_lab",
    "light_of_perceptual",
    "luminance",
    "perceptual",
    "root",
]

_DARK = (6 / 29) ** 3  # below it CIE's cube root is continued by its tangent
_SLOPE = (29 / 6) ** 2 / 3
_OFFSET = 4 / 29
_GREY = 1e-16  # square of a chroma, or of a difference, that is none


def exact(values: Tensor) -> Tensor:
    """Values in single precision, or double if they are: half is too coarse for a cube root.

    Half precision cannot count either: bfloat16 stops at 256, float16 at 2048.
    """
    return values if values.dtype == torch.float64 else values.float()


def luminance(light: Tensor) -> Tensor:
    """Relative luminance Y ``[..., H, W]`` of linear sRGB light ``[..., 3, H, W]``; white is 1."""
    red, green, blue = light.unbind(-3)
    of_red, of_green, of_blue = XYZ_OF_SRGB[1]
    return of_red * red + of_green * green + of_blue * blue


def lab(light: Tensor) -> Tensor:
    """CIE L*a*b* under D65 ``[..., 3, H, W]`` of linear sRGB light of the same shape.

    Light outside 0..1 is extrapolated, not clipped. The gradient is finite everywhere.
    """
    xyz = (_white_scaled().to(light) @ light.flatten(-2)).unflatten(-1, light.shape[-2:])
    x, y, z = _root_curve(xyz).unbind(-3)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -3)


def light_of_lab(colours: Tensor) -> Tensor:
    """Linear sRGB light ``[..., 3, H, W]`` of L*a*b* colours: the inverse of :func:`lab`.

    Colours outside of the sRGB gamut give light outside of 0..1.
    """
    lightness, a, b = colours.unbind(-3)
    y = (lightness + 16) / 116
    xyz = _cube_curve(torch.stack((y + a / 500, y, y - b / 200), -3))
    back = torch.linalg.inv(_white_scaled()).to(colours)
    return (back @ xyz.flatten(-2)).unflatten(-1, colours.shape[-2:])


def perceptual(light: Tensor) -> Tensor:
    """Perceptual values of light ``[..., C, H, W]``, in which equal steps look about equal.

    L*a*b* for three channels; for any other number L* of each channel, as for grey of that light.
    """
    return lab(light) if light.shape[-3] == 3 else 116 * _root_curve(light) - 16


def light_of_perceptual(values: Tensor) -> Tensor:
    """Light ``[..., C, H, W]`` of perceptual values: the inverse of :func:`perceptual`."""
    return light_of_lab(values) if values.shape[-3] == 3 else _cube_curve((values + 16) / 116)


def ciede2000(first: Tensor, second: Tensor, *, dim: int = -1) -> Tensor:
    """Colour difference CIEDE2000 of L*a*b* colours, with k_L = k_C = k_H = 1.

    Parameters
    ----------
    first, second : Tensor ``[..., 3, ...]``
        Colours; L*, a*, b* along ``dim``. The other axes broadcast.
    dim : int
        Axis of the three components.

    Returns
    -------
    Tensor of the broadcast shape
        Differences, without ``dim``. For equal colours, and on the grey axis, where the formula has
        a cusp, the gradient of that part is 0. The gradient is finite everywhere.

    Raises
    ------
    TypeError
        When the colours are not Tensors.
    ValueError
        When they do not have three components along ``dim``.

    References
    ----------
    Sharma, Wu, Dalal, Color Res. Appl. 30:21 (2005), with its 34 pairs as a test.
    """
    for colours in first, second:
        if not isinstance(colours, Tensor):
            raise TypeError(f"colours must be a Tensor, not {type(colours).__name__}")
        if not -colours.ndim <= dim < colours.ndim or colours.shape[dim] != 3:
            raise ValueError(
                f"colours must have L*, a*, b* along dim={dim}, not {list(colours.shape)}; of "
                "pictures [B, 3, H, W] it is dim=1"
            )
    lightness1, a1, b1 = first.unbind(dim)
    lightness2, a2, b2 = second.unbind(dim)
    mean_chroma = (_length(a1, b1) + _length(a2, b2)) / 2
    stretch = 1.5 - 0.5 * _saturation(mean_chroma)
    chroma1, hue1 = _polar(a1 * stretch, b1)
    chroma2, hue2 = _polar(a2 * stretch, b2)
    coloured = (chroma1 > 0) & (chroma2 > 0)

    apart = hue2 - hue1
    apart = apart - 2 * math.pi * torch.sign(apart) * (apart.abs() > math.pi)
    d_lightness = lightness2 - lightness1
    d_chroma = chroma2 - chroma1
    product = torch.where(coloured, chroma1 * chroma2, 1)
    d_hue = torch.where(coloured, 2 * product.sqrt() * torch.sin(apart / 2), 0)

    level = ((lightness1 + lightness2) / 2 - 50).square()
    chroma = (chroma1 + chroma2) / 2
    both = hue1 + hue2
    wrapped = ((hue2 - hue1).abs() > math.pi).to(both.dtype) * math.pi
    hue = both / 2 + torch.where(both < 2 * math.pi, wrapped, -wrapped)

    s_lightness = 1 + 0.015 * level / (20 + level).sqrt()
    s_chroma = 1 + 0.045 * chroma
    s_hue = 1 + 0.015 * chroma * _hue_weight(hue)
    blue = torch.exp(-(((torch.rad2deg(hue) - 275) / 25).square()))
    rotation = -2 * _saturation(chroma) * torch.sin(math.radians(60) * blue)
    l_part, c_part, h_part = d_lightness / s_lightness, d_chroma / s_chroma, d_hue / s_hue
    square = l_part.square() + c_part.square() + h_part.square() + rotation * c_part * h_part
    return root(square)


def _root_curve(light: Tensor) -> Tensor:
    """CIE's cube root of light relative to white, continued by its tangent in the dark."""
    # The clamp avoids a NaN gradient from the branch that `where` discards.
    return torch.where(light > _DARK, light.clamp_min(_DARK) ** (1 / 3), _SLOPE * light + _OFFSET)


def _cube_curve(curve: Tensor) -> Tensor:
    """The inverse of :func:`_root_curve`."""
    return torch.where(curve > 6 / 29, curve**3, (curve - _OFFSET) / _SLOPE)


def _white_scaled() -> Tensor:
    """Matrix from linear sRGB to XYZ over the white's, float64 ``[3, 3]``."""
    white = torch.tensor(D65, dtype=torch.float64)
    return torch.tensor(XYZ_OF_SRGB, dtype=torch.float64) / white[:, None]


def _hue_weight(hue: Tensor) -> Tensor:
    """T of the formula; ``hue`` in radians."""
    return (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )


def _saturation(chroma: Tensor) -> Tensor:
    # sqrt(C^7 / (C^7 + 25^7)), written so that its gradient at C = 0 exists.
    return chroma**3.5 / (chroma**7 + 25.0**7).sqrt()


def _polar(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Chroma, and hue in 0..2 pi; the hue of a grey is 0."""
    grey = a.square() + b.square() < _GREY
    hue = torch.atan2(torch.where(grey, 0, b), torch.where(grey, 1, a))
    return _length(a, b), torch.where(hue < 0, hue + 2 * math.pi, hue)


def _length(a: Tensor, b: Tensor) -> Tensor:
    return root(a.square() + b.square())


def root(square: Tensor, *, negligible: float = _GREY) -> Tensor:
    """Square root whose gradient at 0 is 0; squares up to ``negligible`` count as 0."""
    none = square <= negligible
    return torch.where(none, 0, torch.where(none, 1, square).sqrt())
