"""Colours of picture files that say, by an embedded ICC profile, what their codes mean.

Phones save Display P3, programs of photographers Adobe RGB: the same codes, which are other colours
than in sRGB.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

__all__ = ["in_srgb", "is_srgb"]

# The modes of Pillow that hold the codes of a profile's colour space.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# Codes by which a profile may differ from sRGB and be taken for it: they are written in many ways,
# with curves of a few points.
_ALIKE = 3


def in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert a ``picture`` of 8 bits to sRGB from the colours that its ICC ``profile`` describes.

    Relative colorimetric, with black on black. A picture in what is sRGB but for 3 codes
    keeps its codes.

    Parameters
    ----------
    picture : PIL.Image.Image
        Grey, RGB or CMYK; an alpha channel is dropped.
    profile : bytes
        As in its file.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    ValueError
        When the profile cannot be read, or is for other channels than those of the picture.
    """
    grey, inks = picture.mode in ("1", "L", "LA"), picture.mode == "CMYK"
    mode, transform = _transform(profile)
    if (mode == "CMYK") != inks or (mode == "L" and not grey):
        raise ValueError(f"a profile of {mode} does not fit a picture in {picture.mode}")
    if transform is None:
        return picture.convert("RGB")
    return transform.apply(picture if picture.mode == mode else picture.convert(mode))


def is_srgb(profile: bytes) -> bool:
    """Whether an ICC ``profile`` describes sRGB, but for 3 codes; one that cannot be read does not.

    Parameters
    ----------
    profile : bytes
        As in its file.
    """
    try:
        return _transform(profile)[1] is None
    except ValueError:
        return False


@lru_cache(maxsize=16)  # a data set is of a few cameras
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Mode of the pictures that a profile is for, and how they become sRGB; None where they are."""
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = opened.profile.xcolor_space  # pyright: ignore[reportAttributeAccessIssue]
        mode = _MODES[space.strip()]
        transform = ImageCms.ImageCmsTransform(
            opened,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, KeyError, ImageCms.PyCMSError) as error:
        raise ValueError("its colour profile cannot be read") from error
    if mode == "CMYK":
        return mode, transform
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    if mode == "L":
        probe = np.repeat(steps[:, None], 3, axis=1)[None]
    else:
        probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    found = np.asarray(transform.apply(Image.fromarray(probe).convert(mode)))
    alike = np.abs(found.astype(int) - probe).max() <= _ALIKE
    return mode, None if alike else transform
