"""Scenes and systems of which the results of an analysis are known by hand."""

from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

import classify


def scenes_of(pictures, labels, **more):
    """Pictures in 0..1 as a data set of 8 bits and three classes, two pictures to a lesion."""
    count = len(pictures)
    return classify.LesionDataset(
        images=(pictures.clamp(0, 1) * 255).round().to(torch.uint8),
        labels=labels,
        groups=[f"lesion{i // 2}" for i in range(count)],
        identifiers=[f"picture{i}" for i in range(count)],
        classes=("a", "b", "c"),
        **more,
    )


def tinted_disks(
    count=4, size=40, *, lesion=0.3, skin=0.7, noise=0.03, radius=8.0, dtype=torch.float32
):
    """Grey-brown disks on skin, with noise: ``[count, 3, size, size]`` and masks."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.arange(size, dtype=dtype) - size // 2
    inside = torch.hypot(steps[:, None], steps[None]) <= radius
    tint = torch.tensor([1.0, 0.8, 0.7], dtype=dtype)[:, None, None]
    level = torch.where(inside, lesion, skin)
    noises = noise * torch.randn(count, 3, size, size, generator=generator, dtype=dtype)
    return (level * tint + noises).clamp(0, 1), inside.expand(count, -1, -1).clone()


class Bright(nn.Module):
    """The class is that of the mean brightness; remembers what it saw."""

    def __init__(self, levels=(0.2, 0.5, 0.8)):
        super().__init__()
        self.levels = torch.tensor(levels)
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        mean = image.mean((-3, -2, -1))
        return -100 * (mean[:, None] - self.levels).square()


@contextmanager
def unchanged(system, evaluated):
    """A system in training mode, but for one stage, is afterwards what it was."""
    system.train()
    evaluated.eval()
    state = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    before = repr(system)
    yield
    assert repr(system) == before
    assert all(torch.equal(state[name], t) for name, t in system.state_dict().items())
    assert system.training
    assert not evaluated.training


def spent_evenly(image):
    """Bits that lie evenly, in proportion to the mean brightness."""
    return torch.ones_like(image[:, :1]) * image.mean((-3, -2, -1)).view(-1, 1, 1, 1)


def everywhere(away, generator):
    """Noise in all of a picture, whatever the distance to the rim."""
    return 0.25 + 0.5 * torch.rand(away.shape, generator=generator)


def densities_of(found, name="all"):
    """Density of bits by region, of a class of a rate map."""
    row = next(row for row in found.rows if row.name == name)
    return {region.region: region.density for region in row.regions}


def report_of_four():
    """Two classes of three have pictures, and one of them is wrong."""
    probabilities = np.array(
        [[0.85, 0.15, 0.0], [0.55, 0.3, 0.15], [0.2, 0.65, 0.15], [0.15, 0.85, 0.0]]
    )
    labels = np.array([0, 1, 1, 1])
    return classify.report(
        probabilities, labels, classes=("mel", "nv", "df"), kind="probabilities", bins=10
    )
