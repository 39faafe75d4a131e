"""Blur that changes across the picture, as a short sum of convolutions.

A lens has another PSF in each place of its field. Between places where it is known it is
interpolated; the set is then written with few eigen-PSFs,

``psf(x) = sum_r a_r(x) e_r``, so that ``image = sum_r (a_r scene) * e_r``

(Flicker and Rigaut, J. Opt. Soc. Am. A 22:504, 2005; the weights act on the scene, before the
convolution, for each point spreads its own light). What the sum leaves out is bounded by a number.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .fourier import Boundary, convolve
from .imaging import FrontEnd
from .quantity import check_finite, check_real, hold

__all__ = ["LowRankPSF", "VaryingImaging", "low_rank_psf", "varying_blur"]


class LowRankPSF(NamedTuple):
    """PSFs of a grid of places as a sum of few."""

    basis: Tensor
    """Eigen-PSFs ``[R, h, w]``; they may be negative, their sums over r are not."""
    weights: Tensor
    """Coefficients ``[R, P, Q]`` at the places."""
    error_bound: Tensor
    """Largest sum of ``|psf - approximation|`` over the places, scalar: no more than this part of
    a scene's light can fall on other pixels than it should."""


def low_rank_psf(psfs: Tensor, rank: int) -> LowRankPSF:
    """Best approximation of PSFs on a grid of places by ``rank`` eigen-PSFs.

    Parameters
    ----------
    psfs : Tensor, real ``[P, Q, h, w]``
        PSFs at P x Q places, which span the picture from border to border.
    rank : int
        1 to P Q. The approximation is the singular value decomposition's, the best one in the
        mean square (Eckart and Young, Psychometrika 1:211, 1936).

    Returns
    -------
    LowRankPSF
        Differentiable while the singular values kept differ from each other and the rest.

    Raises
    ------
    ValueError
        When the PSFs are not real and finite ``[P, Q, h, w]``, or the rank is not 1 to P Q.
    """
    check_real("psfs", psfs, "[P, Q, h, w]")
    check_finite("psfs", psfs.detach())
    if psfs.ndim != 4:
        raise ValueError(f"psfs must be [P, Q, h, w], not {tuple(psfs.shape)}")
    rows, columns, height, width = psfs.shape
    if not 1 <= rank <= rows * columns:
        raise ValueError(f"rank must be from 1 to the {rows * columns} places, not {rank}")
    table = psfs.reshape(rows * columns, height * width)
    u, s, v = torch.linalg.svd(table, full_matrices=False)
    rank = min(rank, len(s))
    weights, basis = u[:, :rank] * s[:rank], v[:rank]
    with torch.autocast(table.device.type, enabled=False):  # which would be the larger error
        left_out = (table - weights @ basis).abs().sum(1).max()
    return LowRankPSF(
        basis.reshape(rank, height, width), weights.T.reshape(rank, rows, columns), left_out
    )


def varying_blur(
    scene: Tensor, basis: Tensor, weights: Tensor, *, boundary: Boundary = "replicate"
) -> Tensor:
    """Blur with PSFs interpolated between places.

    Parameters
    ----------
    scene : Tensor ``[B, C, H, W]``
    basis : Tensor ``[R, h, w]``
    weights : Tensor ``[R, P, Q]``
        At places that span the picture from the first to the last pixel; bilinear in between, so
        that each point's PSF is a mean of its neighbours' (an error bound holds there too).
    boundary : str
        As in :func:`optics.convolve`.

    Returns
    -------
    Tensor ``[B, C, H, W]``

    Raises
    ------
    ValueError
        When the shapes are not these.
    """
    fits = basis.ndim == weights.ndim == 3 and len(basis) == len(weights)
    if scene.ndim != 4 or not fits:
        raise ValueError(
            f"scene must be [B, C, H, W], basis [R, h, w] and weights [R, P, Q], not "
            f"{tuple(scene.shape)}, {tuple(basis.shape)} and {tuple(weights.shape)}"
        )
    size = [scene.shape[-2], scene.shape[-1]]
    maps = functional.interpolate(
        weights[:, None].to(scene.dtype), size=size, mode="bilinear", align_corners=True
    )[:, 0]
    ranks, channels = len(basis), scene.shape[1]
    parts = (scene[:, None] * maps[:, None]).flatten(1, 2)
    kernels = basis.repeat_interleave(channels, 0)
    return convolve(parts, kernels, boundary=boundary).unflatten(1, (ranks, channels)).sum(1)


class VaryingImaging(FrontEnd):
    """Incoherent imaging with PSFs that change across the field.

    Parameters
    ----------
    psfs : Tensor, real ``[P, Q, h, w]``
        PSFs at places that span the picture, in fractions of the light; a parameter is trained
        as it is.
    rank : int
        Eigen-PSFs to use, see :func:`low_rank_psf`; each costs one convolution.
    channels : int
        Channels of the scene; all have the same PSFs.
    boundary : str
        As in :func:`optics.convolve`.

    Raises
    ------
    ValueError
        When the PSFs are not real ``[P, Q, h, w]``, negative, or brighter than the light, or
        the rank is not 1 to P Q.
    """

    psfs: Tensor

    def __init__(
        self, psfs: Tensor, *, rank: int, channels: int = 3, boundary: Boundary = "replicate"
    ) -> None:
        super().__init__()
        low_rank_psf(psfs.detach(), rank)
        light = psfs.detach().sum((-2, -1))
        if (psfs < 0).any() or float(light.max()) > 1 + 1e-5:
            raise ValueError(
                f"a PSF is not negative and sums to its throughput, at most 1; here the sum "
                f"reaches {float(light.max()):.4g}"
            )
        hold(self, "psfs", psfs)
        self.rank = rank
        self.boundary: Boundary = boundary
        self.in_channels = self.out_channels = channels
        self.exposures = 1

    def throughput(self) -> Tensor:
        """Mean of the PSFs' sums over the places."""
        return self.psfs.sum((-2, -1)).mean()

    def error_bound(self) -> Tensor:
        """Largest part of the light that the low rank puts in the wrong place, scalar."""
        return low_rank_psf(self.psfs, self.rank).error_bound

    def forward(self, scene: Tensor) -> Tensor:
        """Form the irradiance ``[B, C, H, W]`` of a scene ``[B, C, H, W]``."""
        if scene.ndim != 4 or scene.shape[1] != self.in_channels:
            raise ValueError(
                f"the front end takes scenes [B, {self.in_channels}, H, W], not "
                f"{tuple(scene.shape)}"
            )
        basis, weights, _ = low_rank_psf(self.psfs, self.rank)
        return varying_blur(scene, basis, weights, boundary=self.boundary)

    def combine(self, raw: Tensor) -> Tensor:
        """Return the single exposure ``raw`` unchanged."""
        return raw

    def extra_repr(self) -> str:
        """Name the geometry."""
        return (
            f"places={tuple(self.psfs.shape[:2])}, psf_size={tuple(self.psfs.shape[2:])} pixels, "
            f"rank={self.rank}, channels={self.in_channels}, boundary={self.boundary!r}"
        )
