"""All 16 bits of a picture, where Pillow has 8 for each colour.

Pillow unpacks red, green and blue of 16 bits to their high bytes. Told that the file has the other
byte order, it unpacks the low ones::

    file ─┬─ as it is ────────────► high bytes ─┐
          └─ other byte order ────► low bytes ──┴─► 256 * high + low

So a stranger's file meets no decoder but Pillow's.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

__all__ = ["WholeCodes", "apart", "grey_codes", "sixteen_bits", "whole_codes", "whole_picture"]

# Byte orders and the other one; N is that of this machine.
_ORDERS: Final = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
_COLOURS = ("RGB", "RGBA", "RGBX")
_GREY_ALPHA = "LA;16B"
_FULL = 255  # each byte of an alpha that lets nothing through
_BITS = 258  # the tag of TIFF that has the bits of each colour
_PLANES, _SEPARATE = 284, 2  # the tag of TIFF that says whether colours lie apart
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # the tag of TIFF that says what codes mean
_WHITE = 65535


class WholeCodes(NamedTuple):
    """A picture of 16 bits."""

    codes: np.ndarray
    """uint16 ``[H, W, 3]``."""
    opaque: bool
    """Whether nothing shows through: there is no alpha channel, or it is full everywhere."""


def sixteen_bits(picture: Image.Image) -> bool:
    """Whether a ``picture`` that was opened, and not loaded yet, has 16 bits."""
    deep = picture.mode.startswith("I;16") or ";16" in _packing(picture)
    tiles = getattr(picture, "tile", ())
    if tiles and tiles[0].codec_name.startswith("ppm"):
        packing = tiles[0].args  # its brightest code beside it, but for black and white
        deep = deep or (isinstance(packing, tuple) and packing[1] > _FULL)
    return deep or (apart(picture) and max(_tags(picture).get(_BITS, (8,))) == 16)


def whole_codes(opened: Callable[[], Image.Image]) -> np.ndarray:
    """Codes uint16 ``[H, W, 3]`` of a picture of 16 bits, see :func:`whole_picture`."""
    return whole_picture(opened).codes


def whole_picture(opened: Callable[[], Image.Image]) -> WholeCodes:
    """Read a picture of 16 bits with all of them, turned as its orientation tag says.

    Grey becomes three equal channels; of alpha it is told whether it is full.

    Parameters
    ----------
    opened : callable
        Opens the picture anew, without loading it.

    Raises
    ------
    ValueError
        When it has another depth, or is neither grey nor red, green and blue.
    """
    picture = opened()
    packing = _packing(picture)
    if picture.mode.startswith("I;16"):
        grey = grey_codes(picture)
        return WholeCodes(np.repeat(grey[..., None], 3, axis=2), opaque=True)
    if packing == _GREY_ALPHA:  # its four bytes taken for red, green, blue and alpha
        pixels = _pixels(picture, "RGBA")
        codes = np.repeat(_joined(pixels[..., :1], pixels[..., 1:2]), 3, axis=2)
        return WholeCodes(codes, opaque=bool(pixels[..., 2:].min() == _FULL))
    if not sixteen_bits(picture):
        if picture.mode in ("I", "F"):  # which are not reduced to 8 either
            raise ValueError(
                f"mode {picture.mode} has no defined white, and not the 16 bits that "
                "bit_depth=16 keeps; save it as whole numbers of 16 bits"
            )
        raise ValueError(
            "it does not have the 16 bits that bit_depth=16 keeps; give bit_depth=8 to reduce all "
            "pictures, or sort them by depth"
        )
    colours, _, order = packing.partition(";")
    if colours not in _COLOURS or order not in _ORDERS or apart(picture):
        raise ValueError(
            f"its 16 bits are packed as {packing or 'planes'}, of which only 8 can be read; save "
            "it as grey or RGB, its colours side by side"
        )
    high = _pixels(picture, packing)
    low = _pixels(opened(), f"{colours};{_ORDERS[order]}")
    opaque = colours != "RGBA" or min(high[..., 3].min(), low[..., 3].min()) == _FULL
    return WholeCodes(_joined(high[..., :3], low[..., :3]), opaque=bool(opaque))


def grey_codes(picture: Image.Image) -> np.ndarray:
    """Codes uint16 ``[H, W]`` of a grey picture of 16 bits, of which the largest is white.

    Pillow reads a TIFF in which 0 is white so, and then leaves its codes of 16 bits as they are,
    which it inverts where they are 8.
    """
    inverted = _tags(picture).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    codes = np.asarray(ImageOps.exif_transpose(picture)).astype(np.uint16)
    return _WHITE - codes if inverted else codes


def _joined(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    codes = high.astype(np.uint16)
    codes <<= 8
    codes |= low
    return codes


def _packing(picture: Image.Image) -> str:
    """How Pillow names the order of the bits in the file."""
    tiles = getattr(picture, "tile", ())
    arguments = tiles[0].args if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def apart(picture: Image.Image) -> bool:
    """Whether the colours of a picture lie in planes: with 16 bits Pillow mixes their bytes up."""
    return _tags(picture).get(_PLANES) == _SEPARATE


def _tags(picture: Image.Image) -> Mapping[int, Any]:
    return picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}


def _pixels(picture: Image.Image, packing: str) -> np.ndarray:
    """Bytes ``[H, W, C]`` of a picture that is not loaded yet, unpacked in another way."""
    picture.tile = [  # pyright: ignore[reportAttributeAccessIssue]
        tile._replace(args=(packing, *tile.args[1:]) if isinstance(tile.args, tuple) else packing)
        for tile in picture.tile  # pyright: ignore[reportAttributeAccessIssue]
    ]
    ImageOps.exif_transpose(picture, in_place=True)
    return np.asarray(picture)
