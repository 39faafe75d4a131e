"""Light: linear scene radiance ``[B, C, H, W]`` to sensor values.

Files: ``grid`` sampling grids and transform sizes · ``fourier`` convolution · ``constraint``
bounded quantities · ``imaging`` front ends and the learned kernel · ``fourier_filter`` filters in
a 4f system · ``sensor`` photons, electrons, codes · ``transfer`` sRGB and linear light.

Lengths are metres or pixels as stated, angles radians, light a fraction of full scale unless
photons or electrons are named. ``+x`` is increasing column, ``+y`` increasing row.
"""

from .constraint import (
    clip,
    energy_limited,
    energy_limited_inverse,
    unit_disk,
    unit_disk_inverse,
)
from .fourier import Boundary, convolve
from .fourier_filter import (
    FilterStart,
    FourierFilter,
    coherent_image,
    filter_start,
    incoherent_image,
)
from .grid import coordinates, fast_size, frequencies
from .imaging import FrontEnd, KernelStart, LearnedKernel, kernel_start, signed_difference
from .sensor import Sensor, ShotNoise, digitise, shot_noise
from .transfer import linear_to_srgb, srgb_to_linear

__all__ = [
    "Boundary",
    "FilterStart",
    "FourierFilter",
    "FrontEnd",
    "KernelStart",
    "LearnedKernel",
    "Sensor",
    "ShotNoise",
    "clip",
    "coherent_image",
    "convolve",
    "coordinates",
    "digitise",
    "energy_limited",
    "energy_limited_inverse",
    "fast_size",
    "filter_start",
    "frequencies",
    "incoherent_image",
    "kernel_start",
    "linear_to_srgb",
    "shot_noise",
    "signed_difference",
    "srgb_to_linear",
    "unit_disk",
    "unit_disk_inverse",
]
