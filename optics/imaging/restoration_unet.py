"""A restoration network after the sensor: denoising, deblurring, demosaicing, upscaling.

::

    picture ─┬─ conv ─ body ─┬─ conv ↓2 ─ body ─┬─ conv ↓2 ─ body ─ ↑2 ─(+)─ body ─ ↑2 ─(+)─┐
     [B,C]   │               │                  └───────────────────────┘               │   │
             │               └──────────────────────────────────────────────────────────┘   │
             └─ skip ─────────────────────────────────────(+)──────────── conv ─ body ──────┘
                                                           └─► restored [B, C', f H, f W]
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from optics.quantity import check_real, whole_number

__all__ = ["RestorationUNet"]


class RestorationUNet(nn.Module):
    """A residual U-Net for restoration: its output is its input plus a learned correction.

    It has residual blocks at several scales (U-Net: Ronneberger, Fischer and Brox, MICCAI 2015,
    arXiv:1505.04597; for restoration, Zhang et al., DRUNet, arXiv:2008.13751). No layer has a bias
    or a normalisation, so that the network is homogeneous, ``net(a x) = a net(x)`` for a >= 0. It
    therefore generalises to noise levels that it was not trained at (Mohan et al., ICLR 2020,
    arXiv:1906.05478), and a result does not depend on the batch. It starts as the identity, or as
    an interpolation.

    Parameters
    ----------
    channels : int
        Channels of the input.
    out_channels : int, optional
        Channels of the output, by default those of the input. If they differ, each output channel
        starts as the mean of the input channels.
    width : int
        Feature maps at full size; twice as many at each coarser scale.
    scales : int
        Number of scales, each of half the size of the one before. With one block, a pixel depends
        on those up to about ``3 * 2**scales`` away.
    blocks : int
        Residual blocks of two convolutions at each scale, on the way down and up.
    upscaling : int
        Output pixels per input pixel along each side: the binning of the sensor, or 2 for a packed
        mosaic. The output starts as a bilinear interpolation.

    Raises
    ------
    ValueError
        For an argument that is not a whole number of at least 1.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        out_channels: int | None = None,
        width: int = 32,
        scales: int = 3,
        blocks: int = 1,
        upscaling: int = 1,
    ) -> None:
        super().__init__()
        self.in_channels = whole_number("channels", channels)
        made = channels if out_channels is None else out_channels
        self.out_channels = whole_number("out_channels", made)
        self.upscaling = whole_number("upscaling", upscaling)
        width = whole_number("width", width)
        self.scales = whole_number("scales", scales)
        blocks = whole_number("blocks", blocks)
        widths = [width * 2**scale for scale in range(self.scales)]

        def body(features: int) -> nn.Sequential:
            return nn.Sequential(*(_Residual(features) for _ in range(blocks)))

        pairs = list(pairwise(widths))
        self.head = _convolution(self.in_channels, width)
        self.down = nn.ModuleList(body(features) for features in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2, bias=False) for a, b in pairs)
        # Nearest neighbours instead of a transposed convolution, which could add a pattern.
        self.grow = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, a, 1, bias=False), nn.UpsamplingNearest2d(scale_factor=2))
            for a, b in pairs
        )
        self.up = nn.ModuleList(body(features) for features in widths[:-1])
        self.tail = _convolution(width, self.out_channels * self.upscaling**2)
        nn.init.zeros_(self.tail.weight)  # the correction is zero at first
        self.skip: nn.Module = nn.Identity()
        if self.out_channels != self.in_channels:
            self.skip = nn.Conv2d(self.in_channels, self.out_channels, 1, bias=False)
            nn.init.constant_(self.skip.weight, 1 / self.in_channels)

    def forward(self, picture: Tensor) -> Tensor:
        """Restore pictures.

        Parameters
        ----------
        picture : Tensor ``[B, channels, H, W]``
            Pictures of any size, with the encoding (linear or sRGB) of training.

        Returns
        -------
        Tensor ``[B, out_channels, upscaling * H, upscaling * W]``
            Not clipped.

        Raises
        ------
        ValueError
            For anything but real pictures of these channels.
        """
        check_real("picture", picture, "[B, C, H, W]")
        if picture.ndim != 4 or picture.shape[1] != self.in_channels:
            raise ValueError(
                f"the network takes pictures [B, {self.in_channels}, H, W], not "
                f"{tuple(picture.shape)}"
            )
        height, width = picture.shape[-2:]
        period = 2 ** (self.scales - 1)
        padding = (0, -width % period, 0, -height % period)
        features = self.head(functional.pad(picture, padding, mode="replicate"))
        passed = []
        for scale, body in enumerate(self.down):
            if scale:
                passed.append(features)
                features = self.shrink[scale - 1](features)
            features = body(features)
        for scale in reversed(range(self.scales - 1)):
            features = self.up[scale](self.grow[scale](features) + passed[scale])
        added = functional.pixel_shuffle(self.tail(features), self.upscaling)
        kept = self.skip(picture)
        if self.upscaling > 1:
            kept = functional.interpolate(
                kept, scale_factor=self.upscaling, mode="bilinear", align_corners=False
            )
        return kept + added[..., : kept.shape[-2], : kept.shape[-1]]

    def extra_repr(self) -> str:
        """Name the channels, and the upscaling where there is one."""
        shown = f"channels={self.in_channels}, out_channels={self.out_channels}"
        return shown if self.upscaling == 1 else f"{shown}, upscaling={self.upscaling}"


class _Residual(nn.Module):
    """``x + conv(relu(conv(x)))``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = _convolution(features, features)
        self.second = _convolution(features, features)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(functional.relu(self.first(features)))


def _convolution(before: int, after: int) -> nn.Conv2d:
    # Pad with the border pixels: zeros would be a dark frame.
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate", bias=False)
