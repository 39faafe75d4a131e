"""A residual net for small pictures (He et al., CVPR 2016)."""

from typing import final

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ResNetS"]


class _Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


@final
class ResNetS(nn.Module):
    """A residual net of 0.7 M parameters that trains on two cores.

    A 5x5 stem and four stages of 24, 48, 96 and 192 channels, each but the first halving the
    picture; any size from 8 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 48, 96, 192)
        self.stem = nn.Conv2d(3, widths[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        pairs = zip((widths[0], *widths), widths, (1, 2, 2, 2), strict=False)
        self.stages = nn.Sequential(*(_Residual(a, b, stride) for a, b, stride in pairs))
        self.fc = nn.Linear(widths[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Map ``image`` ``[B, C, H, W]`` to what the head says of 192 averaged features."""
        features = self.stages(self.relu(self.norm(self.stem(image))))
        return self.fc(features.mean((-2, -1)))
