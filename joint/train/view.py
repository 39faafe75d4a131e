"""Augmentation of a batch with given parameters; ``augment`` draws them.

::

    pictures ─warp─► moved ─blur─► ─recolour─► ─cut_out─► views          [B, C, H, W] each
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from classify.mixing import box

__all__ = ["affine", "blur", "cut_out", "pose", "pose_matrix", "recolour", "warp"]

#: Share of red, green and blue in the luminance of sRGB's primaries (ITU-R BT.709).
LUMINANCE = (0.2126, 0.7152, 0.0722)


def pose(images: Tensor, choice: Tensor) -> Tensor:
    """One of the eight flips and quarter turns of each picture, exactly.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]``
        Must be square if a picture is to be transposed.
    choice : Tensor, bool ``[B, 3]``
        Whether to flip left-right, then top-bottom, then to exchange rows and columns.
    """
    flip_x, flip_y, swap = choice[:, :, None, None, None].unbind(1)
    images = torch.where(flip_x, images.flip(-1), images)
    images = torch.where(flip_y, images.flip(-2), images)
    if images.shape[-1] == images.shape[-2]:
        images = torch.where(swap, images.transpose(-1, -2), images)
    return images


def pose_matrix(choice: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The flips and turns of :func:`pose` as matrices ``[B, 2, 2]`` for :func:`warp`."""
    flip_x, flip_y, swap = choice.unbind(1)
    sign = 1 - 2 * torch.stack((flip_x, flip_y), 1).to(dtype)
    unit = torch.eye(2, dtype=dtype, device=choice.device)
    return sign[:, :, None] * torch.where(swap[:, None, None], unit.flip(1), unit)


def affine(turn: Tensor, *, scale: Tensor, shear: Tensor) -> Tensor:
    """Matrices ``[B, 2, 2]`` from output to input coordinates, for :func:`warp`.

    The output is the picture scaled, sheared and then turned about its middle.

    Parameters
    ----------
    turn : Tensor ``[B]``, radians
        From +x (columns) to +y (rows): clockwise as displayed.
    scale : Tensor ``[B]``
        Above 1 enlarges.
    shear : Tensor ``[B]``, radians
        Angle by which vertical lines lean; if positive, their lower ends move towards +x.
    """
    cos, sin, lean = turn.cos(), turn.sin(), shear.tan()
    # The inverse of turn * shear * scale, in closed form.
    rows = (
        torch.stack((cos + lean * sin, sin - lean * cos), 1),
        torch.stack((-sin, cos), 1),
    )
    return torch.stack(rows, 1) / scale[:, None, None]


def warp(images: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """Sample pictures bilinearly at ``matrix @ (place - shift)``, with places from the middle.

    Beyond its border a picture continues with its border values: black corners would be a cue.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]``
        Pictures.
    matrix : Tensor ``[B, 2, 2]``
        Maps (x, y) in the output to (x, y) in the picture.
    shift : Tensor ``[B, 2]``, pixels
        Displacement (x, y) of the middle of the picture.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2 - shift[:, :1]
    y = torch.arange(height, device=images.device) - (height - 1) / 2 - shift[:, 1:]
    grid = [
        2 / length * (row[:, 0, None, None] * x[:, None, :] + row[:, 1, None, None] * y[:, :, None])
        for row, length in zip(matrix.unbind(1), (width, height), strict=True)
    ]
    # kornia's warp_affine takes the inverse map, inverts it, and is a tenth slower.
    return functional.grid_sample(
        images, torch.stack(grid, -1), padding_mode="border", align_corners=False
    )


def recolour(
    images: Tensor,
    gain: Tensor,
    *,
    contrast: Tensor | None = None,
    saturation: Tensor | None = None,
    hue: Tensor | None = None,
) -> Tensor:
    """Change colours and brightness by one affine map of each picture's channels, without clipping.

    Saturation and hue keep grey and luminance, and contrast keeps the mean luminance, so that their
    order makes no difference.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]``
        Pictures, encoded or linear.
    gain : Tensor ``[B, C]``
        Factor on each channel, applied first.
    contrast : Tensor ``[B]``, optional
        Factor on the difference to the mean luminance of the picture.
    saturation : Tensor ``[B]``, optional
        Factor on the difference to the grey of the same luminance; needs three channels.
    hue : Tensor ``[B]``, radians, optional
        Rotation of the colours about the grey axis, sheared so as to keep luminance (Haeberli,
        "Matrix Operations for Image Processing", 1993); needs three channels.
    """
    channels = images.shape[1]
    luminance = _constant(LUMINANCE if channels == 3 else [1 / channels] * channels, images)
    matrix = torch.diag_embed(gain)
    if hue is not None:
        matrix = _hue_matrix(hue, luminance) @ matrix
    if saturation is not None:
        factor = saturation[:, None, None]
        grey = luminance.expand(channels, channels)
        matrix = (factor * _unit(images, channels) + (1 - factor) * grey) @ matrix
    offset = None
    if contrast is not None:
        mean = (gain * images.mean((-2, -1))) @ luminance
        offset = ((1 - contrast) * mean)[:, None, None]
        matrix = contrast[:, None, None] * matrix
    pixels = images.flatten(2)
    changed = matrix @ pixels if offset is None else torch.baddbmm(offset, matrix, pixels)
    return changed.view_as(images)


def _hue_matrix(hue: Tensor, luminance: Tensor) -> Tensor:
    """Rotation ``[B, 3, 3]`` about (1, 1, 1) by Rodrigues' formula, then restored luminance."""
    third = 1 / math.sqrt(3)
    cross = [[0.0, -third, third], [third, 0.0, -third], [-third, third, 0.0]]
    axis = _constant(cross, luminance)
    sin, cos = hue.sin()[:, None, None], hue.cos()[:, None, None]
    turn = _unit(luminance, 3) + sin * axis + (1 - cos) * (axis @ axis)
    return turn + luminance - luminance @ turn[:, None]


def _constant(values: Sequence[object], like: Tensor) -> Tensor:
    # Without waiting for a GPU, as `new_tensor` would.
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)


def _unit(like: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def blur(images: Tensor, sigma: Tensor, *, largest: float) -> Tensor:
    """Gaussian blur with border values continued.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]``
        Pictures.
    sigma : Tensor ``[B]``, pixels
        Standard deviation, 0 to ``largest``, of the Gaussian that the kernel samples at whole
        pixels. Below 0.6 the kernel is narrower: 0.46 for 0.5 and 0.09 for 0.3.
    largest : float, pixels
        Upper limit of ``sigma``, which sets the kernel size without reading ``sigma``: kernels
        reach three times as far.
    """
    from kornia.filters import gaussian_blur2d  # noqa: PLC0415 - a second of import

    size = 2 * math.ceil(3 * largest) + 1
    # The lower limit makes a sigma of 0 the identity kernel, without a division by 0.
    sigmas = sigma.clamp_min(0.01)[:, None].expand(-1, 2)
    return gaussian_blur2d(images, size, sigmas, border_type="replicate")


def cut_out(images: Tensor, centre: Tensor, *, side: Tensor) -> Tensor:
    """Cover a box of each picture with the picture's mean colour (DeVries & Taylor, 2017).

    ``centre`` ``[B, 2]`` (row, column) and ``side`` ``[B]`` are shares of the size (H, W). A box is
    cut off at the border; a side of 0 covers nothing.
    """
    window = box(centre, side, (images.shape[-2], images.shape[-1]))
    return torch.where(window, images.mean((-2, -1), keepdim=True), images)
