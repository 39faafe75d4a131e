"""Synthetic pictures, and every codec whose nets are evaluated exactly."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from compress import Autoencoder, Codec, FactorizedCodec, HyperpriorCodec

sys.path.append(str(Path(__file__).parent))  # drawn.py

#: Name of a codec: how it is built for a number of channels.
EXACT: dict[str, Callable[[int], Codec]] = {
    "6": lambda channels: Autoencoder(6, channels=channels),
    "1.5": lambda channels: Autoencoder(1.5, channels=channels),
    "3 at 8 bits": lambda channels: Autoencoder(3, channels=channels, latent_bits=8),
    "6 at 2 bits": lambda channels: Autoencoder(6, channels=channels, latent_bits=2),
    "factorized": lambda channels: FactorizedCodec(channels=channels),
    "factorized, 3 levels": lambda channels: FactorizedCodec(channels=channels, levels=3),
    "hyperprior": lambda channels: HyperpriorCodec(channels=channels),
    "hyperprior, 4 levels": lambda channels: HyperpriorCodec(channels=channels, levels=4),
}
RATED = [name for name in EXACT if name.startswith(("factorized", "hyperprior"))]


def build(name: str, channels: int = 3) -> Codec:
    """A codec of the list above, in evaluation mode, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return EXACT[name](channels).eval()


def blobs(count: int = 4, channels: int = 3, height: int = 64, width: int = 64, seed: int = 0):
    """Smooth random pictures in 0..1 with correlated channels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels + 1, height + 16, width + 16, generator=generator)
    for _ in range(2):
        x = nn.functional.avg_pool2d(x, 9, 1)
    x = x[:, :1] + 0.5 * x[:, 1:]
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    # A picture of one pixel is grey.
    return torch.where(high > low, (x - low) / (high - low).clamp_min(1e-9), 0.5)


@pytest.fixture(name="build", scope="session")
def _build():
    return build


@pytest.fixture(name="blobs", scope="session")
def _blobs():
    return blobs


@pytest.fixture(scope="session")
def all_rated():
    """Names of the codecs with a rate, for a test of all of them at once."""
    return RATED


def pytest_generate_tests(metafunc):
    """Tests that ask for `exact` run for every codec of the list, for `rated` those with a rate."""
    if "exact" in metafunc.fixturenames:
        metafunc.parametrize("exact", list(EXACT))
    if "rated" in metafunc.fixturenames:
        metafunc.parametrize("rated", RATED)
