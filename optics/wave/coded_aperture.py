"""Coded apertures: patterns of many openings, for imaging without a lens."""

import math
import warnings
from typing import Literal, get_args

import torch
from torch import Tensor

from optics.constraint import clip
from optics.quantity import check_scalar, image_size, whole_number

from .aperture import disk

__all__ = ["CodedPattern", "coded_aperture", "mura_decoder"]

CodedPattern = Literal["random", "mura", "fractal_zone", "fresnel_zone"]

# Width in samples below which zones are only grey.
_NARROWEST = 0.02


def coded_aperture(
    size: int | tuple[int, int],
    *,
    pattern: CodedPattern = "random",
    cells: int | None = None,
    open_fraction: float = 0.5,
    stage: int = 3,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Coded aperture for lensless imaging.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W).
    pattern : {"random", "mura", "fractal_zone", "fresnel_zone"}
        ``"random"``: exactly the fraction ``open_fraction`` of the cells, rounded to whole cells,
        is open, at random. ``"mura"``: modified uniformly redundant array of ``cells x cells``,
        half open, whose cyclic correlation with :func:`mura_decoder` is a single peak; its first
        cell is at the centre. ``"fractal_zone"``: zone plate on the triadic Cantor set of the given
        ``stage`` in the squared radius, with fractal foci on the axis. ``"fresnel_zone"``:
        ``cells`` zones of equal area, every second one open, beginning with the central one.
    cells : int, optional
        Number of cells along each side of ``"random"`` (by default each sample is a cell) and
        ``"mura"`` (an odd prime; by default H); H and W must be multiples of it. Number of zones of
        ``"fresnel_zone"`` (by default as many as the grid holds with an outermost zone of two
        samples).
    open_fraction : float
        Open fraction of ``"random"``, in [0, 1].
    stage : int
        Stage of ``"fractal_zone"``: 0 is the open disk, s has ``2**s`` open zones.
    generator : torch.Generator
        Needed for ``"random"``.
    device, dtype
        Of the result, by default the CPU and ``torch.get_default_dtype()``.

    Returns
    -------
    Tensor ``[H, W]``
        Amplitude, 0 or 1. Zone plates have soft edges, and fill the largest disk that is symmetric
        on the grid.

    Raises
    ------
    TypeError
        For a fraction that is not one number.
    ValueError
        For an unknown pattern, a number of cells that does not fit, a fraction outside of [0, 1], a
        negative stage, zones less than 0.02 samples wide, or a missing generator.

    Warns
    -----
    UserWarning
        When the narrowest zone of a plate is narrower than one sample and becomes grey; the warning
        states its width.

    Notes
    -----
    MURA: S. R. Gottesman, E. E. Fenimore, Appl. Opt. 28, 4344-4352 (1989), eqs. (7)-(8). Fractal
    zone plates: G. Saavedra, W. D. Furlan, J. A. Monsoriu, Opt. Lett. 28, 971-973 (2003).
    """
    height, width = image_size(size)
    cells = None if cells is None else whole_number("cells", cells)
    if pattern == "random":
        mask = _random(height, width, cells, open_fraction, generator)
    elif pattern == "mura":
        mask = _enlarged(_mura(height if cells is None else cells), height, width)
    elif pattern == "fractal_zone":
        mask = _zones(height, width, _cantor(height, width, stage))
    elif pattern == "fresnel_zone":
        mask = _zones(height, width, _fresnel(height, width, cells))
    else:
        raise ValueError(f"pattern must be one of {get_args(CodedPattern)}, not {pattern!r}")
    return mask.to(device=device, dtype=dtype or torch.get_default_dtype())


def mura_decoder(
    cells: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Decoding array ``[p, p]`` of a MURA: +1 for open cells, -1 for closed ones.

    The cyclic correlation ``sum_ij A[i, j] G[i + k, j + l]`` is ``(p**2 - 1) / 2`` at ``k = l = 0``
    and 0 elsewhere, exactly (Gottesman & Fenimore 1989, eq. (9)). For this the first cell, at
    ``(p // 2, p // 2)``, is +1 although it is closed.

    Parameters
    ----------
    cells : int
        Cells p along a side, an odd prime.
    device, dtype : optional
        Of the result.

    Returns
    -------
    Tensor ``[p, p]``

    Raises
    ------
    ValueError
        When ``cells`` is not an odd prime.
    """
    decoder = 2 * _mura(whole_number("cells", cells)) - 1
    decoder[cells // 2, cells // 2] = 1
    return decoder.to(device=device, dtype=dtype or torch.get_default_dtype())


def _random(
    height: int,
    width: int,
    cells: int | None,
    open_fraction: float,
    generator: torch.Generator | None,
) -> Tensor:
    if not isinstance(generator, torch.Generator):
        raise ValueError(
            f"generator must be a torch.Generator for pattern='random', not {generator!r}"
        )
    check_scalar("open_fraction", open_fraction)
    if not 0 <= open_fraction <= 1:
        raise ValueError(f"open_fraction must be in [0, 1], not {open_fraction}")
    rows, columns = (height, width) if cells is None else (cells, cells)
    total = rows * columns
    order = torch.randperm(total, generator=generator, device=generator.device)
    mask = (order < round(open_fraction * total)).to(torch.float64)
    return _enlarged(mask.reshape(rows, columns), height, width)


def _mura(cells: int) -> Tensor:
    """MURA ``[p, p]`` of zeros and ones, its first cell on the central one."""
    prime = cells > 2 and all(cells % divisor for divisor in range(2, math.isqrt(cells) + 1))
    if not prime:
        raise ValueError(f"cells must be an odd prime for pattern='mura', not {cells}")
    residues = {i * i % cells for i in range(1, cells)}
    sign = torch.tensor([1.0 if i in residues else -1.0 for i in range(cells)], dtype=torch.float64)
    mask = (sign[:, None] * sign > 0).to(torch.float64)
    mask[:, 0] = 1.0
    mask[0, :] = 0.0
    return mask.roll((cells // 2, cells // 2), (0, 1))


def _enlarged(mask: Tensor, height: int, width: int) -> Tensor:
    rows, columns = mask.shape
    if height % rows or width % columns:
        raise ValueError(
            f"size must be a multiple of the {rows} x {columns} cells, not {(height, width)}"
        )
    return mask.repeat_interleave(height // rows, 0).repeat_interleave(width // columns, 1)


def _cantor(height: int, width: int, stage: int) -> list[tuple[float, float]]:
    """Open parts of [0, 1] after so many removals of the middle third."""
    stage = whole_number("stage", stage, least=0)
    _check_outermost(height, width, 3.0**-stage, f"stage={stage}")
    parts = [(0.0, 1.0)]
    for _ in range(stage):
        thirds = [(a, a + (b - a) / 3, b - (b - a) / 3, b) for a, b in parts]
        parts = [part for a, c, d, b in thirds for part in ((a, c), (d, b))]
    return parts


def _fresnel(height: int, width: int, zones: int | None) -> list[tuple[float, float]]:
    """Every second of so many parts of [0, 1], the first one open."""
    if zones is None:
        # The outermost zone is radius / (2 zones) wide.
        zones = max(1, int(_plate_radius(height, width) / 4))
    _check_outermost(height, width, 1 / zones, f"cells={zones}")
    return [(i / zones, (i + 1) / zones) for i in range(0, zones, 2)]


def _plate_radius(height: int, width: int) -> float:
    return (min(height, width) - 1) // 2 + 0.5


def _check_outermost(height: int, width: int, share: float, given: str) -> None:
    """Raise a ValueError if the outermost zone, a share of the squared radius, is far too narrow.

    More zones would cost more, and give the same grey.
    """
    outermost = _plate_radius(height, width) * (1 - math.sqrt(1 - share))
    if outermost < _NARROWEST:
        raise ValueError(
            f"{given} makes an outermost zone {outermost:.2g} samples wide, which must be "
            f"{_NARROWEST:g} at least: use more samples than {(height, width)}, fewer zones or a "
            "lower stage"
        )


def _zones(height: int, width: int, parts: list[tuple[float, float]]) -> Tensor:
    """Disk whose transmission is 1 in the given parts of its squared radius."""
    radius = _plate_radius(height, width)
    narrowest = radius * min(math.sqrt(b) - math.sqrt(a) for a, b in parts)
    if narrowest < 1:
        warnings.warn(
            f"the narrowest zone is {narrowest:.3g} samples wide and becomes grey; use more "
            f"samples than {(height, width)}, fewer zones or a lower stage",
            UserWarning,
            stacklevel=3,
        )
    mask = torch.zeros(height, width, dtype=torch.float64)
    for part in parts:  # one after the other, for the samples are many
        inner, outer = radius * torch.tensor(part, dtype=torch.float64).sqrt()[:, None, None]
        mask += disk(height, width, outer) - disk(height, width, inner)
    return clip(mask)
