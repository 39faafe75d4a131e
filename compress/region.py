"""Bits in the lesion, along its edge, and around it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .codec import check_tensors
from .given import is_number

__all__ = ["Region", "RegionBits", "bits_by_region"]


@dataclass(frozen=True, eq=False)
class Region:
    """Bits and area of one region of each picture."""

    bits: Tensor
    """Bits ``[B]``."""
    bits_share: Tensor
    """Fraction of the bits of the picture ``[B]``; nan if the picture has no bits."""
    area_share: Tensor
    """Fraction of the pixels of the picture ``[B]``."""

    @property
    def density(self) -> Tensor:
        """Share of the bits divided by share of the area ``[B]``.

        It is 1 if the bits are spread evenly, and nan if the region has no pixel or the picture no
        bits.
        """
        return _ratio(self.bits_share, self.area_share)


@dataclass(frozen=True, eq=False)
class RegionBits:
    """Bits of three regions that together cover the picture."""

    lesion: Region
    """Inside the mask, farther from its edge than the band."""
    boundary: Region
    """Near the edge of the mask, on both sides of it."""
    background: Region
    """Outside the mask, farther from its edge than the band."""


def bits_by_region(bits_map: Tensor, mask: Tensor, *, band: float = 3.0) -> RegionBits:
    """Sum a map of bits over lesion, boundary band and background.

    ::

        mask ─distance to the other side <= band?─► boundary
          └─the rest─► lesion, background           │
        bits_map ───────────────────────────────────┴─► bits, shares, density of each

    A pixel is in the boundary if a pixel on the other side of the mask's edge is at most ``band``
    away, centre to centre: ``band=1`` takes one pixel on each side of a straight edge, 0 none. The
    frame of the picture is not an edge, so an empty or full mask has no boundary: the area of that
    region is 0, and its density nan, not 0.

    The three regions are disjoint and cover the picture, so their bits sum to those of the map.
    ``bits``, ``bits_share`` and ``density`` have a gradient to the map.

    A learned codec spreads the bits of a latent cell evenly over the cell's pixels. A region that
    is narrow compared with a cell therefore shares bits with its neighbours, and its density tends
    to 1.

    Parameters
    ----------
    bits_map : Tensor
        Bits of each pixel ``[B, 1, H, W]``, as in :attr:`compress.Coded.bits_map`.
    mask : Tensor
        True in the lesion, bool ``[B, 1, H, W]``.
    band : float
        Width of the boundary on each side of the edge, pixels.

    Returns
    -------
    RegionBits
        Bits, shares and density of each region ``[B]``.

    Raises
    ------
    TypeError
        If one is not a tensor.
    ValueError
        If the shapes differ, the mask is not bool, or the band is negative or not finite.
    """
    check_tensors("a map and a mask, tensors [B, 1, H, W]", bits_map, mask)
    if bits_map.ndim != 4 or bits_map.shape[1] != 1 or not bits_map.is_floating_point():
        raise ValueError(
            "expected a floating-point map of bits [B, 1, H, W], got "
            f"{bits_map.dtype} {list(bits_map.shape)}."
        )
    if mask.shape != bits_map.shape or mask.dtype != torch.bool:
        raise ValueError(
            f"expected a mask of torch.bool {list(bits_map.shape)}, got {mask.dtype} "
            f"{list(mask.shape)}. Threshold a grey mask first."
        )
    if not is_number(band) or not 0 <= band < math.inf:
        raise ValueError(f"band must be a number of pixels, 0 or more, got {band!r}.")
    bits_map = bits_map.to(torch.promote_types(bits_map.dtype, torch.float32))
    total = bits_map.flatten(1).sum(1)
    boundary = _near(mask, band) & _near(~mask, band)

    def region(where: Tensor) -> Region:
        bits = torch.where(where, bits_map, 0).flatten(1).sum(1)
        area = where.flatten(1).to(bits.dtype).mean(1)
        return Region(bits, _ratio(bits, total), area)

    return RegionBits(region(mask & ~boundary), region(boundary), region(~mask & ~boundary))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Divide; nan without a gradient where ``whole`` is 0, so that a nanmean has a finite one."""
    some = whole != 0
    return torch.where(some, part / torch.where(some, whole, 1), math.nan)


def _near(mask: Tensor, band: float) -> Tensor:
    """Return which pixels have a pixel of ``mask`` within a Euclidean distance of ``band``."""
    height, width = mask.shape[-2:]
    # To the nearest pixel of the mask in the same row, before or behind; ``width`` or more if none.
    place = torch.arange(width, device=mask.device)
    before = place - torch.where(mask, place, -width).cummax(-1).values
    behind = torch.where(mask, place, 2 * width).flip(-1).cummin(-1).values.flip(-1) - place
    across = torch.minimum(before, behind)
    near = mask.clone()
    # Squared distances are whole numbers. If the band is the root of one, squaring it again may
    # give slightly less.
    farthest = int(min(band, math.hypot(height, width)) ** 2 * (1 + 1e-15))
    for rows in range(min(math.isqrt(farthest), height - 1) + 1):
        # A disc is a stack of segments: reach along the row, then from one row to another.
        wide = across <= min(math.isqrt(farthest - rows**2), width - 1)
        near[..., rows:, :] |= wide[..., : height - rows, :]
        near[..., : height - rows, :] |= wide[..., rows:, :]
    return near
