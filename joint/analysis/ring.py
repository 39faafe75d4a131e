"""Filters for rings of spatial frequencies, in linear light.

::

    picture ─► linear light ─► DCT ─► a ring taken out, or kept alone ─► clip ─► picture
                                      the mean stays
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from joint.stages import HIGHEST, LOWEST, Encoding, check_codes
from optics import clip, linear_to_srgb, srgb_to_linear
from optics.quantity import full_precision, looked_at

from .colour import exact

__all__ = [
    "Cosines",
    "RingFilter",
    "check_range",
    "checked_rings",
    "filter_ring",
    "octave_rings",
    "ring_share",
    "taken_out",
]

#: Kind of filter: stop removes the ring, pass keeps only the ring and the mean.
RingFilter = Literal["stop", "pass"]

#: No frequency of a picture is as high: half a cycle a pixel along both axes.
_CORNER = math.sqrt(0.5)


def octave_rings(size: tuple[int, int]) -> tuple[tuple[float, float], ...]:
    """Divide the frequencies of pictures into octaves, without a gap.

    Parameters
    ----------
    size : (int, int)
        Pixels (H, W), at least 4 each.

    Returns
    -------
    tuple of (float, float), cycles/pixel
        First the lowest frequencies, then the octaves below 0.5, the lowest of which begins at 2
        to 4 cycles in the shorter side, last the corners above 0.5.

    Raises
    ------
    ValueError
        For smaller pictures.
    """
    shorter = min(size)
    if shorter < 4:
        raise ValueError(
            f"pictures of {size[0]} x {size[1]} pixels hold no octave: give at least 4 x 4"
        )
    edges = [0.5 / 2**k for k in range(1, shorter.bit_length()) if 0.5 / 2**k >= 2 / shorter]
    ends = [0.0, *reversed(edges or [0.25]), 0.5, _CORNER]
    return tuple(pairwise(ends))


def filter_ring(
    images: Tensor,
    ring: tuple[float, float],
    *,
    kind: RingFilter = "stop",
    edge: float = 0.0,
    encoding: Encoding = "srgb",
) -> Tensor:
    """Remove a ring of spatial frequencies from pictures, or keep only the ring and the mean.

    The filter acts on linear light, as lenses do. The pictures are continued by their mirror images
    (the cosine transform DCT-II), so that there is no jump between opposite borders, which would be
    an edge with all frequencies. The mean of each channel is kept.

    By default edges are hard. Only hard edges remove exactly the ring; with hard or smooth edges,
    adjacent rings add up to the picture. Hard edges cause ripples at the edge frequency along
    contours; smooth edges cause fewer.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]`` in 0..1
    ring : (float, float), cycles/pixel
        Lower limit (included) and upper limit (excluded) of the radial frequency; ``(0, f)`` and
        ``(f, math.inf)`` are all frequencies below and above f.
    kind : {"stop", "pass"}
        stop removes the ring, pass the rest of the picture.
    edge : float, octaves
        Width over which an edge of the ring falls as a raised cosine, half of it to either side.
        A narrower ring is not removed completely.
    encoding : {"srgb", "linear"}
        Encoding of the pictures.

    Returns
    -------
    Tensor ``[B, C, H, W]`` in 0..1, of the pictures' dtype
        Light below 0 or above 1 is clipped, which puts a little of all frequencies back:
        :func:`reliance` says how much.

    Raises
    ------
    TypeError
        When the pictures are not a Tensor.
    ValueError
        When ``images`` are no pictures, for a ring that is invalid or has none of their
        frequencies, or an unknown kind, edge or encoding; on a CPU also for values clearly outside
        0..1.
    """
    if not isinstance(images, Tensor):
        raise TypeError(
            f"images must be a Tensor of pictures [B, C, H, W], not {type(images).__name__}"
        )
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"images must be pictures [B, C, H, W] in 0..1, not {images.dtype} {list(images.shape)}"
        )
    check_codes(images, encoding)
    check_range(images)
    size = (images.shape[-2], images.shape[-1])
    (checked,) = checked_rings([ring], size, kind, edge)
    precise = exact(images)
    cosines = Cosines.of(size, precise)
    with full_precision(images):
        light = srgb_to_linear(precise) if encoding == "srgb" else precise
        gone = taken_out(ring_share(cosines.frequency, checked, edge), kind).to(light.dtype)
        filtered = clip(cosines.inverse((1 - gone) * cosines.forward(light)))
        return (linear_to_srgb(filtered) if encoding == "srgb" else filtered).to(images.dtype)


def check_range(images: Tensor) -> None:
    """Refuse what is not meant to lie in 0..1, where the result is clipped to it; on a CPU.

    Of linear light and NaN too, which :func:`joint.stages.check_codes` lets pass; as there, what is
    a little beyond is clipped.

    Raises
    ------
    ValueError
        When it does.
    """
    if images.numel() == 0 or not looked_at(images):
        return
    low, high = (float(end) for end in images.detach().aminmax())
    if not (low >= LOWEST and high <= HIGHEST):
        raise ValueError(
            f"images must be pictures in 0..1, and these reach from {low:g} to {high:g}: divide "
            "light by that of full scale, and leave out what is NaN"
        )


class Cosines(NamedTuple):
    """The orthonormal DCT-II of pictures of one size."""

    rows: Tensor
    columns: Tensor
    frequency: Tensor
    """Radial, cycles/pixel ``[H, W]``."""

    @classmethod
    def of(cls, size: tuple[int, int], like: Tensor) -> "Cosines":
        """That of pictures ``[..., *size]`` of the dtype and device of ``like``."""
        height, width = (_waves(samples) for samples in size)
        # The k-th wave has k half periods in the picture.
        fy, fx = (torch.arange(n, dtype=torch.float64) / (2 * n) for n in size)
        frequency = torch.hypot(fy[:, None], fx)
        return cls(height.to(like), width.to(like), frequency.to(like.device))

    def forward(self, light: Tensor) -> Tensor:
        """Amplitudes ``[..., H, W]``, the mean first."""
        return self.rows @ light @ self.columns.mT

    def inverse(self, spectrum: Tensor) -> Tensor:
        """The pictures of amplitudes ``[..., H, W]``."""
        return self.rows.mT @ spectrum @ self.columns


def _waves(samples: int) -> Tensor:
    """Rows of the DCT-II ``[samples, samples]``: mirror-symmetric about both ends."""
    steps = torch.arange(samples, dtype=torch.float64)
    waves = torch.cos(math.pi / samples * steps[:, None] * (steps + 0.5))
    waves[0] *= math.sqrt(0.5)
    return waves * math.sqrt(2 / samples)


def ring_share(frequency: Tensor, ring: tuple[float, float], edge: float) -> Tensor:
    """How much of each frequency belongs to a ring, 0 to 1 ``[H, W]``; nothing of the mean."""

    def above(end: float) -> Tensor:
        if end == 0 or end >= _CORNER or edge == 0:
            return ((frequency >= end) & (end < _CORNER)).double()
        octaves = (frequency / end).log2() / edge
        return (math.pi / 2 * (octaves + 0.5).clamp(0, 1)).sin().square()

    low, high = ring
    share = above(low) - above(high)
    share[0, 0] = 0
    return share


def taken_out(share: Tensor, kind: RingFilter) -> Tensor:
    """How much of each frequency is taken away."""
    if kind == "stop":
        return share
    gone = 1 - share
    gone[0, 0] = 0
    return gone


def checked_rings(
    rings: Sequence[tuple[float, float]], size: tuple[int, int], kind: RingFilter, edge: float
) -> tuple[tuple[float, float], ...]:
    """Rings that pictures of a size have, none beyond their corner."""
    if kind not in get_args(RingFilter):
        raise ValueError(f"kind must be 'stop' or 'pass', not {kind!r}")
    if not 0 <= edge < math.inf:
        raise ValueError(f"edge must be 0 or more octaves, and finite, not {edge}")
    if len(rings) == 0:
        raise ValueError("there must be at least one ring (low, high), in cycles/pixel")
    height, width = size
    frequency = Cosines.of(size, torch.empty(0)).frequency
    for ring in rings:
        if not _is_ring(ring):
            raise ValueError(
                f"a ring is (low, high) with 0 <= low < high, in cycles/pixel, not {ring}"
            )
        low, high = ring
        if not bool(((frequency >= low) & (frequency < high) & (frequency > 0)).any()):
            raise ValueError(
                f"the ring {low:g} to {high:g} cycles/pixel holds no frequency of pictures of "
                f"{height} x {width}: they go in steps of 1/{2 * height} and 1/{2 * width} up to "
                f"{float(frequency.max()):.4f}"
            )
    return tuple((float(low), min(float(high), _CORNER)) for low, high in rings)


def _is_ring(ring: object) -> bool:
    try:
        low, high = map(float, ring)  # pyright: ignore[reportArgumentType] - that is the question
    except (TypeError, ValueError):
        return False
    return 0 <= low < high
