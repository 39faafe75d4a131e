import numpy as np
import pytest
import torch
from toys import scenes_of

import compress


def _gaussians(count, means, covariance, seed=0):
    """Pictures of Gaussian features, two to a lesion, with classes in turn."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) // 2 % len(means)
    noise = random.multivariate_normal(np.zeros(len(covariance)), covariance, count)
    groups = [f"lesion{i // 2}" for i in range(count)]
    return np.asarray(means)[labels] + noise, labels, groups


@pytest.fixture(scope="session")
def gaussians():
    """Makes features, labels and groups."""
    return _gaussians


def _mistaken(count=240, seed=0):
    """Four classes with growing contrast, two pictures a lesion; neighbours are confused."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) // 2 % 4
    values = np.array([0.2, 0.3, 0.6, 0.9])[labels] + 0.1 * random.standard_normal(count)
    near = np.array([1, 0, 1, 2])[labels]
    slip = random.random(count) < np.array([0.4, 0.35, 0.15, 0.05])[labels]
    groups = [f"lesion{i // 2}" for i in range(count)]
    return values, labels, np.where(slip, near, labels), groups


@pytest.fixture(scope="session")
def mistaken():
    """Makes values, labels, guesses and groups."""
    return _mistaken


class _Spending(compress.Codec):
    """Bits as a function of the picture: even, or where it is dark, times its brightness."""

    def __init__(self, price):
        super().__init__()
        self.price = price

    def forward(self, image, *, generator=None):
        bits = self.price(image)
        return compress.Coded(image, None, bits, bits.new_full((len(image),), 7.0), "rounded")

    def compress(self, image):
        raise NotImplementedError

    def decompress(self, payloads):
        raise NotImplementedError


@pytest.fixture(scope="session")
def spending():
    """Makes a codec that spends as told."""
    return _Spending


def _disks(count=24, size=48, seed=0, draw=None):
    """Disks of many sizes as masks; ``draw`` makes the pictures of their distance to the rim."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.arange(size) - size / 2 + 0.5
    distance = torch.hypot(steps[:, None], steps[None, :])
    radius = torch.linspace(6, 20, count)[torch.randperm(count, generator=generator)]
    away = distance - radius[:, None, None]
    masks = away < 0
    if draw is None:
        level = torch.rand(count, 1, 1, generator=generator)
        grey = level + 0 * away
    else:
        grey = draw(away, generator)
    pictures = grey[:, None].expand(-1, 3, -1, -1)
    return scenes_of(pictures, torch.arange(count) % 3, masks=masks)


@pytest.fixture(scope="session")
def disks():
    """Makes pictures with masks."""
    return _disks
