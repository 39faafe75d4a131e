"""A system with all four stages that trains in a second, and what its tests ask of it."""

import torch
from torch import nn

import compress
import joint
import optics


def identity(*, image_size=(16, 16), channels=3, classes=("a", "b"), **told):
    """What a training says of itself in its checkpoints, in short."""
    return {
        "train": "digest", "validation": "digest", "system": {}, "codec_channels": None,
        "training": {"restore_best": True, "averaging": None},
        "scenes": {"image_size": image_size, "channels": channels, "classes": classes},
    } | told  # fmt: skip


class Head(nn.Module):
    """Small, with the two things that a resumed run could get wrong: batch norm and dropout."""

    def __init__(self, channels=3, classes=3):
        super().__init__()
        self.in_channels = channels
        self.net = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(16, classes),
        )

    def forward(self, image):
        return self.net(image)


class Uneven(optics.LearnedKernel):
    """A kernel that is the farther from one that can be made, the less even it is."""

    def penalty(self):
        return self.kernels.square().sum()


def full_system(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return joint.ImagingSystem(
            front_end=optics.LearnedKernel("identity", 3),
            sensor=optics.Sensor(2000, trainable_gain=True),
            codec=compress.FactorizedCodec(),
            classifier=Head(),
        )


def _settings(**changes):
    return joint.Training(
        **{"epochs": 3, "batch_size": 10, "learning_rate": 5e-3, "augmentation": "full", **changes}
    )


OBJECTIVE = joint.Objective(rate=0.1, distortion=1.0)


def _fit(system, lesions, others, **options):
    options = {"objective": OBJECTIVE, "config": _settings(), "progress": False, **options}
    return joint.fit(system, lesions, others, **options)


def _state(system):
    return {name: tensor.clone() for name, tensor in system.state_dict().items()}


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _gradients(system):
    """Gradient of each stage as one vector."""
    return {
        name: torch.cat([p.grad.double().flatten() for p in stage.parameters()])
        for name, stage in system.stages()
    }
