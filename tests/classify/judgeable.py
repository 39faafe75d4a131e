"""Scores and labels to judge, and pictures to give to a classifier."""

import numpy as np
import torch


def scored(seed, count=60, classes=4, scale=1.0):
    """Scores ``[N, K]`` that know something of the labels ``[N]``."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    logits = random.normal(size=(count, classes))
    logits[np.arange(count), labels] += random.uniform(0, 3)
    return scale * logits, labels


def tied(seed, count, classes=3, digits=2):
    """Such scores, rounded so that some are equal."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    return (random.normal(size=(count, classes)) + np.eye(classes)[labels]).round(digits), labels


def noise(size, channels=3, count=2):
    """Pictures ``[N, C, H, W]`` in 0..1, of a side or of (H, W)."""
    height, width = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, height, width, generator=generator)
