"""Generalised contrast-to-noise ratio, from the overlap of the distributions in two regions.

::

    values [B, H, W] in two regions ─► shares in bins ─► 1 - their common part [B]
"""

import math

import torch
from torch import Tensor

from joint.analysis.colour import exact
from joint.analysis.region import check_masks
from optics.quantity import whole_number

__all__ = ["generalised_cnr"]


def generalised_cnr(
    values: Tensor, first: Tensor, second: Tensor, *, bins: int = 64, soft: bool = False
) -> Tensor:
    """Generalised contrast-to-noise ratio: 1 - overlap of the distributions in two regions.

    0 for equal distributions, 1 for disjoint ones: ``2 P - 1`` for the share P of pixels that the
    best classifier of single values gets right, when both regions have equal weight
    (Rodriguez-Molares et al., IEEE TUFFC 67:745, 2020). A monotone change of the values does not
    change it, up to the width of the bins.

    Few pixels in many bins overlap less than their distributions: n and m pixels of one
    distribution, uniform over K bins, give about ``sqrt(K (1/n + 1/m) / (2 pi))`` instead of 0.
    This bias is larger for small lesions.

    Parameters
    ----------
    values : Tensor ``[B, H, W]``
        Values on any scale: the bins of a picture span the values in its regions.
    first, second : Tensor, bool ``[B, H, W]``
        The regions.
    bins : int
        At least 2.
    soft : bool
        Let every value share itself out between the two nearest bins in proportion (a linear
        B-spline), which has a gradient wherever the regions overlap.

    Returns
    -------
    Tensor ``[B]``
        Float64 of such values, else float32. NaN where a region is empty, or holds a value that
        is no finite number.

    Raises
    ------
    TypeError
        When masks or values are not Tensors.
    ValueError
        For fewer than 2 bins, and regions that are not masks of the values' size.
    """
    bins = whole_number("bins", bins, least=2)
    for region in (first, second):
        check_masks(region)
        if region.shape != values.shape:
            raise ValueError(
                f"values {list(values.shape)} and regions {list(region.shape)} differ in number "
                "or size: give each picture [H, W] both its regions"
            )
    values = exact(values)
    either = first | second
    # No bin holds such a value, and an index made of it would be another picture's.
    finite = values.isfinite()
    values = torch.where(finite, values, 0)
    low = torch.where(either, values, math.inf).amin((-2, -1), keepdim=True)
    high = torch.where(either, values, -math.inf).amax((-2, -1), keepdim=True)
    # Of such ends the distance would be infinite; half of them is exact.
    wide = (high - low).isinf()
    values, low, high = (torch.where(wide, x / 2, x) for x in (values, low, high))
    usable = high > low
    span = torch.where(usable, high - low, 1)
    position = torch.where(usable, values - low, 0) / span * (bins - 1 if soft else bins)
    shares = [_histogram(position, region, bins, soft) for region in (first, second)]
    there = first.flatten(1).any(1) & second.flatten(1).any(1)
    there = there & (finite | ~either).flatten(1).all(1)
    return torch.where(there, 1 - torch.minimum(*shares).sum(-1), math.nan)


def _histogram(position: Tensor, region: Tensor, bins: int, soft: bool) -> Tensor:
    """Shares of the pixels of a region in each bin ``[B, bins]``."""
    place = position[region]
    first = torch.arange(len(region), device=region.device)[:, None, None] * bins
    slot = place.detach().floor().clamp(0, bins - (2 if soft else 1)).long()
    cell = first.expand_as(region)[region] + slot
    total = len(region) * bins
    if soft:
        part = place - slot
        counts = position.new_zeros(total).index_add(0, cell, 1 - part)
        counts = counts.index_add(0, cell + 1, part)
    else:
        counts = torch.bincount(cell, minlength=total).to(position.dtype)
    counts = counts.view(-1, bins)
    return counts / region.sum((-2, -1)).clamp_min(1)[:, None]
