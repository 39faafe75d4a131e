"""Where a direct convolution stops paying, forward and backward, on one thread.

``pytest tests/benchmarks -n 0 --benchmark-enable --benchmark-group-by=param:taps``
"""

import pytest
import torch

from optics import fourier


@pytest.mark.parametrize("path", [fourier._direct, fourier._transformed], ids=["direct", "fft"])
@pytest.mark.parametrize("taps", [3, 5, 7, 15])
def test_convolution(benchmark, path, taps):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(8, 3, 128, 128, generator=generator)
    psf = torch.rand(3, 1, taps, taps, generator=generator)
    image.requires_grad_()
    psf.requires_grad_()
    benchmark(lambda: path(image, psf, "zero").sum().backward())
    assert torch.isfinite(psf.grad).all()
