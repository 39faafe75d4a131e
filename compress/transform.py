"""The small nets of the learned codecs: picture to latent, and back.

Strided convolutions with generalised divisive normalisation between them. Nothing here sees more
than one picture at a time (no batch normalisation), so a picture codes alike in every batch.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["GDN", "Analysis", "Synthesis", "gdn"]

# Pictures in 0..1 enter the net as -2..2, about unit variance.
_CONTRAST = 4.0


def gdn(x: Tensor, beta: Tensor, gamma: Tensor, *, inverse: bool = False) -> Tensor:
    """Divide every element by what the channels at its place measure together, or multiply.

    ``x_i / sqrt(beta_i + sum_j gamma_ij x_j^2)``, or the product with ``inverse``. Computed in
    float32 at least, because squares overflow float16.

    Parameters
    ----------
    x : Tensor
        Features ``[B, C, H, W]``.
    beta : Tensor
        Positive offsets ``[C]``.
    gamma : Tensor
        Non-negative weights ``[C, C]``.
    inverse : bool
        Multiply instead of divide: the approximate inverse that a decoder uses.

    References
    ----------
    Ballé, Laparra, Simoncelli, "Density modeling of images using a generalized normalization
    transformation", ICLR 2016.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        beta, gamma = beta.to(x.dtype), gamma.to(x.dtype)
        norm = functional.conv2d(x.square(), gamma[..., None, None], beta).sqrt()
        return x * norm if inverse else x / norm


class GDN(nn.Module):
    """Generalised divisive normalisation with learned, always positive parameters.

    Parameters
    ----------
    channels : int
        Channels of the features.
    inverse : bool
        Multiply instead of divide, see :func:`gdn`.
    """

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        # Squares keep both positive. Small cross terms, not zeros: a square has no slope at 0.
        self.beta_root = nn.Parameter(torch.ones(channels))
        self.gamma_root = nn.Parameter(
            math.sqrt(0.1) * torch.eye(channels) + 0.01 * torch.ones(channels, channels)
        )

    def extra_repr(self) -> str:
        """Show the size and the direction."""
        return f"{self.beta_root.numel()}, inverse={self.inverse}"

    def forward(self, x: Tensor) -> Tensor:
        """Normalise features ``[B, C, H, W]``."""
        beta = self.beta_root.square() + 1e-6
        return gdn(x, beta, self.gamma_root.square(), inverse=self.inverse)


class Analysis(nn.Module):
    """Picture ``[B, C, H, W]`` in 0..1 to latent ``[B, M, ceil(H/s), ceil(W/s)]``, s = stride.

    ::

        image ─pad─► (conv 4x4 /2 ─► GDN) × (stages - 1) ─► conv 4x4 /2 ─► latent

    A size that the stride does not divide is first continued at the bottom and right by
    repeating the last row and column.

    Parameters
    ----------
    channels : int
        Channels of the picture.
    latent_channels : int
        Channels of the latent.
    width : int
        Channels between the stages.
    stages : int
        Number of halvings; the stride is ``2**stages``.
    """

    def __init__(
        self, channels: int, latent_channels: int, *, width: int = 32, stages: int = 3
    ) -> None:
        super().__init__()
        _check_sizes(channels, latent_channels, width, stages)
        self.stride = 2**stages
        widths = (channels, *(stages - 1) * (width,), latent_channels)
        layers: list[nn.Module] = []
        for wide_in, wide_out in itertools.pairwise(widths):
            layers += [nn.Conv2d(wide_in, wide_out, 4, stride=2, padding=1), GDN(wide_out)]
        self.layers = nn.Sequential(*layers[:-1])
        _initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return the latent of ``image``."""
        down, right = -image.shape[-2] % self.stride, -image.shape[-1] % self.stride
        if down or right:
            image = functional.pad(image, (0, right, 0, down), mode="replicate")
        return self.layers(_CONTRAST * (image - 0.5))


class Synthesis(nn.Module):
    """Latent ``[B, M, h, w]`` to picture ``[B, C, H, W]`` in 0..1; the mirror of `Analysis`.

    ::

        latent ─► (conv 4x4 ×2 ─► inverse GDN) × (stages - 1) ─► conv 4x4 ×2 ─► sigmoid ─► crop

    The sigmoid keeps the picture in 0..1 with a true, non-zero gradient. A clamp would have none
    outside that range, which early in training can be everywhere.

    Parameters
    ----------
    channels, latent_channels, width, stages
        As in :class:`Analysis`.
    """

    def __init__(
        self, channels: int, latent_channels: int, *, width: int = 32, stages: int = 3
    ) -> None:
        super().__init__()
        _check_sizes(channels, latent_channels, width, stages)
        widths = (latent_channels, *(stages - 1) * (width,), channels)
        layers: list[nn.Module] = []
        for wide_in, wide_out in itertools.pairwise(widths):
            layers.append(nn.ConvTranspose2d(wide_in, wide_out, 4, stride=2, padding=1))
            layers.append(GDN(wide_out, inverse=True))
        self.layers = nn.Sequential(*layers[:-1])
        _initialise(self)

    def forward(self, latent: Tensor, *, size: tuple[int, int]) -> Tensor:
        """Return the picture of ``latent``, cropped to ``size`` = (H, W), pixels."""
        raw = self.layers(latent)[..., : size[0], : size[1]]
        return raw.to(torch.promote_types(raw.dtype, torch.float32)).sigmoid()


def _check_sizes(channels: int, latent_channels: int, width: int, stages: int) -> None:
    if min(channels, latent_channels, width, stages) < 1:
        raise ValueError(
            f"channels, latent_channels, width and stages must be at least 1, got {channels}, "
            f"{latent_channels}, {width} and {stages}."
        )


def _initialise(net: nn.Module) -> None:
    """Give every convolution weights that keep the variance both ways, and no bias."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_normal_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
