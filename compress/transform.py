"""The small nets of the learned codecs: picture to latent, and back.

Strided convolutions with residual blocks between them. Nothing here sees more than one picture at
a time (no batch normalisation), so a picture codes alike in every batch; and all of it can be
evaluated exactly (:mod:`compress.exact`): there are no exponentials in the path to a file.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .exact import Residual, evaluate

__all__ = ["Analysis", "SideAnalysis", "SideSynthesis", "Synthesis", "unit_interval"]

# Pictures in 0..1 enter the net as -2..2, about unit variance.
_CONTRAST = 4.0
# Where the square of a float32 is still far from its limit.
_FAR = 2.0**30


class Analysis(nn.Module):
    """Picture ``[B, C, H, W]`` in 0..1 to latent ``[B, M, ceil(H/s), ceil(W/s)]``, s = stride.

    ::

        image ─pad─► conv ↓s1 ─► blocks ─► conv ↓s2 ─► blocks ... ─► conv 1x1 ─► latent

    The windows of the first convolution overlap by half, those of the later ones meet; what lies
    around them comes from the blocks (3x3 in each channel, then two layers across channels, added
    to their input). A size that the stride does not divide is first continued at the bottom and
    right by repeating the last row and column.

    Parameters
    ----------
    channels : int
        Channels of the picture.
    latent_channels : int
        Channels of the latent.
    width : int
        Channels inside the net.
    strides : sequence of int
        Even factors of each step down; the stride is their product.
    blocks : int
        Residual blocks after each step.

    Raises
    ------
    ValueError
        If a size is below 1 or a stride is odd.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int,
        *,
        width: int = 48,
        strides: Sequence[int] = (4, 2),
        blocks: int = 1,
    ) -> None:
        super().__init__()
        _check_sizes(channels, latent_channels, width, strides, blocks)
        self.stride = math.prod(strides)
        first, *others = strides
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 2 * first, first, first // 2)]
        layers += [_block(width) for _ in range(blocks)]
        for stride in others:
            layers.append(nn.Conv2d(width, width, stride, stride))
            layers += [_block(width) for _ in range(blocks)]
        layers.append(nn.Conv2d(width, latent_channels, 1))
        self.layers = nn.Sequential(*layers)
        _initialise(self)

    def forward(self, image: Tensor, *, exact: bool = False) -> Tensor:
        """Return the latent of ``image``, at least in float32; see :func:`exact.evaluate`."""
        down, right = -image.shape[-2] % self.stride, -image.shape[-1] % self.stride
        if down or right:
            image = functional.pad(image, (0, right, 0, down), mode="replicate")
        # Before anything is rounded, or beyond what half precision holds.
        image = image.double() if exact else _at_least_float32(image)
        return _at_least_float32(evaluate(self.layers, _CONTRAST * (image - 0.5), exact=exact))


class Synthesis(nn.Module):
    """Latent ``[B, M, h, w]`` to picture ``[B, C, H, W]`` in 0..1; the mirror of `Analysis`.

    ::

        latent ─► conv 1x1 ─► blocks ─► conv ↑s2 ─► ... blocks ─► conv ↑s1 ─► 0..1 ─► crop

    :func:`unit_interval` keeps the picture in 0..1 with a true, non-zero gradient. A clamp would
    have none outside that range, which early in training can be everywhere.

    Parameters
    ----------
    channels, latent_channels, width, strides, blocks
        As in :class:`Analysis`.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int,
        *,
        width: int = 48,
        strides: Sequence[int] = (4, 2),
        blocks: int = 1,
    ) -> None:
        super().__init__()
        _check_sizes(channels, latent_channels, width, strides, blocks)
        first, *others = strides
        layers: list[nn.Module] = [nn.Conv2d(latent_channels, width, 1)]
        for stride in reversed(others):
            layers += [_block(width) for _ in range(blocks)]
            layers.append(nn.ConvTranspose2d(width, width, stride, stride))
        layers += [_block(width) for _ in range(blocks)]
        layers.append(nn.ConvTranspose2d(width, channels, 2 * first, first, first // 2))
        self.layers = nn.Sequential(*layers)
        _initialise(self)

    def forward(self, latent: Tensor, *, size: tuple[int, int], exact: bool = False) -> Tensor:
        """Return the picture of ``latent``, cropped to ``size`` = (H, W), pixels."""
        raw = evaluate(self.layers, latent, exact=exact)[..., : size[0], : size[1]]
        return unit_interval(_at_least_float32(raw))


class SideAnalysis(nn.Module):
    """Latent ``[B, M, h, w]`` to side latent ``[B, N, ceil(h/4), ceil(w/4)]``.

    Parameters
    ----------
    latent_channels, side_channels : int
        Channels of the latent and of the side latent.
    width : int
        Channels between.
    """

    stride = 4

    def __init__(self, latent_channels: int, side_channels: int, *, width: int = 32) -> None:
        super().__init__()
        _check_sizes(latent_channels, side_channels, width, (2, 2), 1)
        self.layers = nn.Sequential(
            nn.Conv2d(latent_channels, width, 1),
            _block(width),
            nn.Conv2d(width, width, 2, 2),
            nn.ReLU(),
            nn.Conv2d(width, side_channels, 2, 2),
        )
        _initialise(self)

    def forward(self, latent: Tensor, *, exact: bool = False) -> Tensor:
        """Return the side latent; a size that 4 does not divide is continued by replication."""
        down, right = -latent.shape[-2] % self.stride, -latent.shape[-1] % self.stride
        if down or right:
            latent = functional.pad(latent, (0, right, 0, down), mode="replicate")
        return _at_least_float32(evaluate(self.layers, latent, exact=exact))


class SideSynthesis(nn.Module):
    """Side latent ``[B, N, h/4, w/4]`` to two numbers for each latent element ``[B, 2M, h, w]``.

    Parameters
    ----------
    latent_channels, side_channels, width
        As in :class:`SideAnalysis`.
    """

    def __init__(self, latent_channels: int, side_channels: int, *, width: int = 32) -> None:
        super().__init__()
        _check_sizes(latent_channels, side_channels, width, (2, 2), 1)
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(side_channels, width, 2, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 2, 2),
            _block(width),
            nn.Conv2d(width, 2 * latent_channels, 1),
        )
        _initialise(self)

    def forward(self, side: Tensor, *, size: tuple[int, int], exact: bool = False) -> Tensor:
        """Return the numbers for a latent of ``size`` = (h, w) elements."""
        raw = evaluate(self.layers, side, exact=exact)[..., : size[0], : size[1]]
        return _at_least_float32(raw)


def unit_interval(x: Tensor) -> Tensor:
    """Map every number into 0..1 by ``(1 + x / sqrt(1 + x^2)) / 2``, slope 1/2 at 0.

    Like the logistic function, but of correctly rounded operations only, and with a slope that
    falls off as ``x**-3`` instead of exponentially. From ``2**30`` on, where its slope is below
    1e-27, it is constant.
    """
    x = x.clamp(-_FAR, _FAR)
    return 0.5 + 0.5 * x / (1 + x.square()).sqrt()


def _block(width: int) -> Residual:
    return Residual(
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.Conv2d(width, 2 * width, 1),
        nn.ReLU(),
        nn.Conv2d(2 * width, width, 1),
    )


def _at_least_float32(x: Tensor) -> Tensor:
    """Leave autocast: noise, rounding and prices need the digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check_sizes(
    channels: int, latent_channels: int, width: int, strides: Sequence[int], blocks: int
) -> None:
    if min(channels, latent_channels, width, blocks) < 1:
        raise ValueError(
            f"channels, latent_channels, width and blocks must be at least 1, got {channels}, "
            f"{latent_channels}, {width} and {blocks}."
        )
    if not strides or any(stride < 2 or stride % 2 for stride in strides):
        raise ValueError(f"strides must be even numbers from 2 on, got {tuple(strides)}.")


def _initialise(net: nn.Module) -> None:
    """Give every convolution weights that keep the variance both ways, and no bias.

    The branches of residual blocks start small: what they add grows with training.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_normal_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    for module in net.modules():
        if isinstance(module, Residual):
            last = module[-1]
            assert isinstance(last, nn.Conv2d)
            with torch.no_grad():
                last.weight *= 0.1
