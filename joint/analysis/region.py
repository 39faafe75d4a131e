"""Regions of masks ``[B, H, W]``: lesion, ring of skin around it, and contour.

::

            ┌ inner ┐
    lesion ─┤  gap  ├─ ring of skin ─ the rest
       └ contour (pixels on both sides of the border)
"""

import math

import torch
from torch import Tensor

__all__ = ["check_masks", "contour", "distance_outside", "octant", "regions", "skin_ring"]


def check_masks(masks: Tensor, images: Tensor | None = None) -> None:
    """Check masks ``[B, H, W]``, also against their pictures ``[B, C, H, W]``.

    Raises
    ------
    TypeError
        When masks or pictures are not Tensors.
    ValueError
        When they are no masks, or do not fit the pictures.
    """
    for name, given in ("masks", masks), ("pictures", images):
        if given is not None and not isinstance(given, Tensor):
            raise TypeError(
                f"{name} must be a Tensor, not {type(given).__name__}; make one of an array with "
                "torch.as_tensor(array)"
            )
    if masks.ndim != 3 or masks.dtype != torch.bool:
        raise ValueError(
            f"masks must be bool [B, H, W], True on the lesion, not {masks.dtype} "
            f"{list(masks.shape)}; write mask != 0 or mask > 0.5"
        )
    if images is None:
        return
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"pictures must be floats [B, C, H, W], white at 1, not {images.dtype} "
            f"{list(images.shape)}; divide 8-bit codes by 255"
        )
    if images.shape[:1] + images.shape[2:] != masks.shape:
        raise ValueError(
            f"pictures {list(images.shape)} and masks {list(masks.shape)} differ in number or "
            "size: give each picture its mask at its own size"
        )


def distance_outside(masks: Tensor, reach: float) -> Tensor:
    """Euclidean distance of each pixel to the nearest lesion pixel.

    Exact within ``reach``: columns first, then the lower envelope along rows (Felzenszwalb and
    Huttenlocher, Theory Comput. 8:415, 2012), by brute force as the reach is short.

    Parameters
    ----------
    masks : Tensor, bool ``[B, H, W]``
        True on the lesion.
    reach : float, pixels
        Distances that matter.

    Returns
    -------
    Tensor, float64 ``[B, H, W]``, pixels
        0 on the lesion; infinite beyond ``reach``, and everywhere without a lesion.
    """
    height = masks.shape[-2]
    reach = min(reach, math.hypot(*masks.shape[-2:]))  # squares of more overflow
    far = height + math.ceil(reach) + 1
    rows = torch.arange(height, dtype=torch.int32, device=masks.device)[:, None]
    above = torch.where(masks, rows, -far).cummax(-2).values
    below = torch.where(masks, rows, far + height).flip(-2).cummin(-2).values.flip(-2)
    column = torch.minimum(rows - above, below - rows)
    limit = math.ceil(reach) + 1
    column = column.clamp_max(limit).square()
    square = column.clone()
    for step in range(1, min(limit, masks.shape[-1])):
        left, right = square[..., step:], square[..., :-step]
        torch.minimum(left, column[..., :-step] + step**2, out=left)
        torch.minimum(right, column[..., step:] + step**2, out=right)
    distance = square.double().sqrt()
    return torch.where(distance <= reach, distance, math.inf)


def regions(masks: Tensor, *, band: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Lesion, boundary and background, which together are the picture, bool ``[B, H, W]`` each.

    As in :func:`compress.bits_by_region`: the boundary has the pixels with a pixel of the other
    side at most ``band`` away. An empty or full mask has no boundary.

    Raises
    ------
    ValueError
        When masks are none, or the band is negative or not finite.
    """
    check_masks(masks)
    if not 0 <= band < math.inf:
        raise ValueError(f"band must be a number of pixels, 0 or more, not {band}")
    away = torch.where(masks, distance_outside(~masks, band), distance_outside(masks, band))
    boundary = away <= band
    return masks & ~boundary, boundary, ~masks & ~boundary


def skin_ring(masks: Tensor, *, inner: float = 2.0, outer: float = 10.0) -> Tensor:
    """Skin around the lesion: further from it than ``inner``, and at most ``outer`` pixels.

    Parameters
    ----------
    masks : Tensor, bool ``[B, H, W]``
        True on the lesion.
    inner, outer : float, pixels
        From the nearest lesion pixel, centre to centre. The defaults are meant for frames of
        200 x 150 pixels.

    Returns
    -------
    Tensor, bool ``[B, H, W]``

    Raises
    ------
    TypeError
        When the masks are no Tensor.
    ValueError
        When ``masks`` are no masks, or not ``0 <= inner < outer``.
    """
    check_masks(masks)
    if not 0 <= inner < outer < math.inf:
        raise ValueError(f"the ring must lie at 0 <= inner < outer pixels, not {inner} and {outer}")
    distance = distance_outside(masks, outer)
    return (distance > inner) & distance.isfinite()


def contour(masks: Tensor) -> Tensor:
    """Pixels with a neighbour (of four) across the lesion's border, bool ``[B, H, W]``.

    Both sides belong to it, as the border runs between them; the edge of the frame does not.
    """
    across = torch.zeros_like(masks)
    beside = masks[..., 1:] != masks[..., :-1]
    across[..., 1:] |= beside
    across[..., :-1] |= beside
    below = masks[..., 1:, :] != masks[..., :-1, :]
    across[..., 1:, :] |= below
    across[..., :-1, :] |= below
    return across


def octant(masks: Tensor) -> Tensor:
    """Octant of each pixel about the centroid of the lesion, int64 ``[B, H, W]``.

    Number 0 opens at +x and turns towards +y; what lies on the line between two belongs to the
    one that opens there. Of an empty mask it means nothing.
    """
    count = masks.sum((-2, -1))[:, None]
    y, x = (torch.arange(size, device=masks.device) for size in masks.shape[-2:])
    # As many times the distance as the lesion has pixels: whole numbers, for on a diagonal the
    # rounding of an angle would choose.
    across = (count * x - (masks.sum(-2) * x).sum(-1, keepdim=True))[:, None, :]
    down = (count * y - (masks.sum(-1) * y).sum(-1, keepdim=True))[:, :, None]
    low = (down < 0) | ((down == 0) & (across < 0))
    across, down = torch.where(low, -across, across), torch.where(low, -down, down)
    left = (across <= 0) & (down > 0)
    across, down = torch.where(left, down, across), torch.where(left, -across, down)
    return 4 * low.long() + 2 * left.long() + ((down >= across) & (across > 0)).long()
