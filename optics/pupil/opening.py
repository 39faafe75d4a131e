"""The open aperture of a pupil: its amplitude, its width, and what it leaves beyond a wavefront."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from optics.grid import coordinates
from optics.quantity import as_real, check_tensor, single
from optics.wave.aperture import circular_aperture

from .aberration import Aberration, rim
from .element import Element, PhaseElement, WholeLens
from .sampling import Grid

__all__ = ["flat_beyond", "open_aperture", "opening_diameter", "whole_lenses"]

# Samples below this fraction of the largest amplitude, a millionth of the light, count as dark.
_DARK = 1e-3


def whole_lenses(parts: Iterable[nn.Module]) -> Iterator[WholeLens]:
    """Those of elements, or of what is within them."""
    for part in parts:
        whole = part.whole_lens() if isinstance(part, Element) else None
        if whole is None:
            yield from whole_lenses(part.children())
        else:
            yield whole


def open_aperture(aperture: Tensor | None, grid: Grid, *, diameter: float | None = None) -> Tensor:
    """Amplitude of an aperture, real ``[H, W]``.

    Parameters
    ----------
    aperture : Tensor, real ``[H, W]``, or None
        Amplitude in 0..1; by default a circle.
    grid : Grid
    diameter : float, metres, optional
        Of that circle; by default the largest on the grid.

    Raises
    ------
    TypeError
        For an aperture that is not a Tensor.
    ValueError
        For one that is not real, of another size, dark or not in 0..1; for a grid that is too small
        for a circle.
    """
    if aperture is None and min(grid.size) < 2:
        raise ValueError(
            f"a grid of size={grid.size} holds no circle, the aperture by default: give 2 "
            "samples or more along each side, or an aperture"
        )
    if aperture is None:
        widest = (min(grid.size) - 1) * grid.spacing
        aperture = circular_aperture(
            grid.size, diameter=widest if diameter is None else diameter, spacing=grid.spacing
        )
    check_tensor("aperture", aperture)
    if aperture.shape != grid.size or aperture.is_complex():
        raise ValueError(
            f"aperture must be real {grid.size}, not {aperture.dtype} {tuple(aperture.shape)}"
        )
    aperture = as_real("aperture", aperture)
    if not bool(((aperture >= 0) & (aperture <= 1 + 1e-6)).all()) or not aperture.any():
        raise ValueError("aperture must be an amplitude in 0..1, open somewhere")
    return aperture


def opening_diameter(aperture: Tensor, spacing: float) -> float:
    """Widest extent of an aperture ``[H, W]`` along x or y, metres, including obscured parts.

    Each open sample counts as one ``spacing``, in metres; samples at the rim count by their
    amplitude, relative to the largest, and those below a thousandth of it are dark.
    """
    return spacing * max(_width(aperture.amax(axis)) for axis in (1, 0))


def _width(opening: Tensor) -> float:
    """Width of an opening ``[N]`` in samples; samples at the rim count by their amplitude."""
    part = opening / opening.max()
    lit = (part > _DARK).nonzero()[:, 0]
    first, last = int(lit[0]), int(lit[-1])
    return last - first - 1 + float(part[first] + part[last])


def flat_beyond(
    elements: Iterable[nn.Module], opening: Tensor, grid: Grid, *, wavelength: Tensor
) -> bool:
    """Whether an opening extends more than a sample beyond the rim of an Aberration.

    Parameters
    ----------
    elements : iterable of Element
    opening : Tensor ``[..., H, W]``
        Amplitude that the open stop leaves.
    grid : Grid
    wavelength : Tensor ``[L]``, metres
    """
    elements = [*elements]
    rims = [rim(part) for part in elements if isinstance(part, Aberration)]
    if not rims:
        return False
    y, x = (coordinates(n, spacing=grid.spacing) for n in grid.size)
    beyond = torch.hypot(y[:, None], x) > min(rims) + grid.spacing
    places = single(opening.detach()).flatten(0, -3).cpu()
    # Of places with as much light, that with the widest cone is the darkest.
    opening = (places / places.amax((-2, -1), keepdim=True)).amax(0)
    if not _open(opening)[beyond].any():
        return False
    for part in elements:  # an amplitude mask may darken the outer ring
        if isinstance(part, Element) and not isinstance(part, PhaseElement):
            # A copy for each, as an element may change its argument in place.
            passed = part.transmission(wavelength.clone()).detach().abs().cpu()
            opening = opening * passed.flatten(0, -3).amax(0)
    return bool(_open(opening)[beyond].any())


def _open(opening: Tensor) -> Tensor:
    """Samples with more than half of the largest amplitude: their centres lie within the rim."""
    return opening > opening.max() / 2
