"""Scenes of gratings, one in each of three rings of frequencies."""

import math

import torch

SIZE = 32


def wave(periods, size=SIZE):
    """A grating along x and y of so many half periods ``[H, W]``, from -1 to 1."""
    down, across = (
        torch.cos(math.pi / size * k * (torch.arange(size, dtype=torch.float64) + 0.5))
        for k in periods
    )
    return down[:, None] * across


def frequency(periods, size=SIZE):
    return math.hypot(*periods) / (2 * size)


#: One grating in each of three rings.
WAVES = ((0, 2), (6, 4), (0, 21))
RINGS = ((0.0, 0.06), (0.06, 0.2), (0.2, 0.5), (0.5, math.inf))


def scene_of(*amplitudes, mean=0.5):
    parts = [a * wave(periods) for a, periods in zip(amplitudes, WAVES, strict=True)]
    return (mean + sum(parts)).expand(1, 3, SIZE, SIZE)
