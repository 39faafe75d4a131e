"""Rows, columns and pixels of a sensor's fixed pattern, and its defective pixels.

::

    map ─► pixels beyond six robust deviations: defective
      └──► the others ─► means of rows, means of columns, the rest ─► variances, less the noise
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Nonuniformity"]

# Robust deviations beyond which a pixel is defective: of normal ones 2 in 10^9 are.
_FAR = 6.0
# Median absolute deviation of a normal number, in its deviations.
_MEDIAN = 0.6744897501960817


class Nonuniformity(NamedTuple):
    """Spread of a fixed pattern and of its parts, RMS, without the defective pixels."""

    total: float
    """Of all pixels that are not defective."""
    row: float
    """Of what the pixels of a row have in common; NaN for a single row or column."""
    column: float
    """Of what the pixels of a column have in common; NaN for a single row or column."""
    pixel: float
    """Of what remains in each pixel; NaN for a single row or column."""


def of_colours(values: Tensor, seen: Tensor) -> Tensor:
    """Means over the pixels of each colour, ``[..., H, W]`` to ``[..., G]``."""
    return torch.stack([values[..., own].mean(-1) for own in seen], -1)


def defective(pattern: Tensor, seen: Tensor, least: Tensor) -> Tensor:
    """Which pixels of a map ``[H, W]`` are far from the median of their colour.

    In robust standard deviations, which are at ``least [G]``: most pixels of a map of whole codes
    may have the same code.
    """
    far = torch.zeros_like(pattern, dtype=torch.bool)
    for own, floor in zip(seen, least, strict=True):
        away = (pattern[own] - pattern[own].median()).abs()
        far[own] = away > _FAR * torch.maximum(away.median() / _MEDIAN, floor)
    return far


def spread(pattern: Tensor, noise: Tensor, *, means: int) -> float:
    """Deviation of a pattern about so many means, without that of its noise."""
    variance = pattern.square().sum() / max(1, pattern.numel() - means) - noise.mean()
    return _root(variance)


def nonuniformity(pattern: Tensor, noise: Tensor, seen: Tensor, sound: Tensor) -> Nonuniformity:
    """Parts of a map ``[H, W]`` about the means of its colours, over the ``sound`` pixels.

    By a two-way analysis of variance: independent pixels add a W-th of their variance to the means
    of rows, and an H-th to those of columns. The noise, of variance ``[H, W]``, is independent too.
    """
    height, width = pattern.shape
    means = torch.stack([pattern[own & sound].mean() for own in seen]).nan_to_num()
    values = torch.where(sound, pattern - means[seen.byte().argmax(0)], 0.0)
    total = spread(values[sound], noise[sound], means=len(seen))
    free = (height - 1) * (width - 1) - int((~sound).sum()) - (len(seen) - 1)
    if min(height, width) < 2 or free < 1:
        return Nonuniformity(total, math.nan, math.nan, math.nan)
    # A defective pixel gets what its row and column have in common, and nothing of its own.
    filled = sum(values.sum(d, True) / sound.sum(d, True).clamp_min(1) for d in (0, 1))
    values = torch.where(sound, values, filled)
    rows, columns = values.mean(1, keepdim=True), values.mean(0, keepdim=True)
    alone = (values - rows - columns + values.mean()).square().sum() / free
    return Nonuniformity(
        total,
        _root(rows.var() - alone / width),
        _root(columns.var() - alone / height),
        _root(alone - noise[sound].mean()),
    )


def _root(variance: Tensor) -> float:
    return math.sqrt(max(0.0, float(variance)))
