"""Pupils and the spots that they make, for the tests of several files."""

import numpy as np
import torch
from hypothesis import strategies as st

import optics

_LAMBDA, _FOCAL = 550e-9, 10e-3
_UNIT = 1e-3  # diameter of the pupil


def _open(n, dtype=torch.float64):
    return optics.circular_aperture(n, diameter=_UNIT, spacing=_UNIT / (n - 4), dtype=dtype)


def _psf(pupil, size=65, pitch=1.5e-6, **options):
    given = {
        "wavelength": _LAMBDA,
        "focal_length": _FOCAL,
        "pupil_spacing": _UNIT / (pupil.shape[-1] - 4),
        "pixel_pitch": pitch,
        "size": size,
    }
    return optics.psf_from_pupil(pupil, **(given | options))


def _disk_mtf(f, cutoff):
    s = np.clip(np.abs(f) / cutoff, 0, 1)
    return 2 / np.pi * (np.arccos(s) - s * np.sqrt(1 - s**2))


def _whole(pupil, size, **options):
    """PSF on a whole period of ``size`` pixels: all the light, at exactly known frequencies."""
    lengths = {"wavelength": 1.0, "focal_length": 1.0, "pupil_spacing": 1.0}
    return optics.psf_from_pupil(pupil, pixel_pitch=1 / size, size=size, **(lengths | options))


def _noise(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.complex128, generator=generator)


_SHAPES = st.tuples(st.integers(2, 17), st.integers(2, 17))
