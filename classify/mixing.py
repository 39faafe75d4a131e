"""Mixup and CutMix: two pictures in one, with labels in proportion to their shares."""

from typing import Literal, get_args

import torch
from torch import Tensor

from .given import check_generator, check_number, check_tensor

__all__ = ["Mixing", "box", "mix"]

Mixing = Literal["mixup", "cutmix"]


def mix(
    images: Tensor, targets: Tensor, *, kind: Mixing, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix every picture of a batch with another random one, and their labels in the same way.

    Parameters
    ----------
    images : Tensor, float ``[B, ...]``; for ``cutmix`` ``[B, C, H, W]``
        Pictures of one batch.
    targets : Tensor, float ``[B, K]``
        Share of each class in each picture: one-hot labels, or labels mixed before.
    kind : {"mixup", "cutmix"}
        ``mixup``: ``lam * picture + (1 - lam) * partner`` (Zhang et al., ICLR 2018). ``cutmix``:
        the partner replaces a box of about the area ``1 - lam`` (Yun et al., ICCV 2019). If the
        border cuts the box, the label counts the remaining pixels.
    alpha : float
        ``lam`` is drawn from Beta(alpha, alpha) for each picture: near 0 or 1 for a small alpha,
        uniform for 1.
    generator : torch.Generator
        Random numbers of the pairs and shares, on any device; nothing is copied back to the CPU.

    Returns
    -------
    images, targets : Tensor
        Mixed pictures and labels, of the same shapes. A picture paired with itself is not changed,
        as in a batch of one.

    Raises
    ------
    TypeError
        When an argument is not a tensor, a number or a generator.
    ValueError
        For an unknown ``kind``, an ``alpha`` that is not positive and finite, or pictures or
        targets of another type or shape.
    """
    if kind not in get_args(Mixing):
        raise ValueError(f"kind must be one of {get_args(Mixing)}, not {kind!r}")
    check_tensor("images", images)
    check_tensor("targets", targets)
    check_number("alpha", alpha)
    check_generator("generator", generator)
    if not 0 < alpha < float("inf"):
        raise ValueError(f"alpha must be positive and finite, not {alpha}; leave out mix for none")
    if targets.ndim != 2 or not targets.is_floating_point() or len(targets) != len(images):
        raise ValueError(
            f"targets must be shares of the classes, float [B, K] with B = {len(images)}, not "
            f"{targets.dtype} {list(targets.shape)}; make them of labels with "
            "torch.nn.functional.one_hot(labels, K).float()"
        )
    if not images.is_floating_point() or (kind == "cutmix" and images.ndim != 4):
        raise ValueError(
            f"{kind} takes float pictures [B, C, H, W], not {images.dtype} {list(images.shape)}"
        )
    count = len(images)
    partner = torch.randperm(count, generator=generator, device=generator.device)
    share = _beta(alpha, count, generator)
    there = not images.is_cpu  # a copy to the CPU must block: what is read would not be there yet
    partner, share = (t.to(images.device, non_blocking=there) for t in (partner, share))
    if kind == "cutmix":
        centre = torch.rand(count, 2, generator=generator, device=generator.device)
        size = (images.shape[-2], images.shape[-1])
        window = box(centre.to(images.device, non_blocking=there), (1 - share).sqrt(), size)
        share = 1 - window.float().mean((1, 2, 3))
        mixed = torch.where(window, images[partner], images)
    else:
        # In this form equal pictures stay equal, to the last bit.
        part = (1 - share).to(images).view(-1, *[1] * (images.ndim - 1))
        mixed = images + part * (images[partner] - images)
    rest = (1 - share).to(targets)[:, None]
    return mixed, targets + rest * (targets[partner] - targets)


def _beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draws from Beta(alpha, alpha), float32 ``[count]``.

    A ratio of gamma variates, which for a small alpha are too small for any float; their
    logarithms are not, as Gamma(a) is Gamma(a + 1) * U ** (1 / a) (Marsaglia & Tsang, 2000).
    """
    shape = torch.full((2, count), alpha + 1, dtype=torch.float64, device=generator.device)
    gamma = torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
        shape, generator=generator
    )
    uniform = torch.rand(shape.shape, dtype=shape.dtype, device=shape.device, generator=generator)
    first, second = gamma.log() + uniform.log() / alpha
    # Nan is what two draws of nothing leave.
    return torch.sigmoid(first - second).nan_to_num(0.5).float()


def box(centre: Tensor, side: Tensor, size: tuple[int, int]) -> Tensor:
    """Which pixels lie in a box, bool ``[B, 1, H, W]``; the border of the picture cuts it off.

    ``centre`` ``[B, 2]`` (row, column) and ``side`` ``[B]`` are shares of the size (H, W); a side
    is rounded to whole pixels.
    """
    inside = []
    for axis, length in enumerate(size):
        # Not twice the half, rounded down, as in the code of CutMix's and cutout's authors: that
        # box is a pixel smaller in the mean, and a small one is none.
        middle, pixels = (centre[:, axis] * length).floor(), (side * length).round()
        low = (middle - (pixels / 2).floor())[:, None]
        pixel = torch.arange(length, device=centre.device)
        inside.append((pixel >= low) & (pixel < low + pixels[:, None]))
    return inside[0][:, None, :, None] & inside[1][:, None, None, :]
