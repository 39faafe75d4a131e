"""Light sources: lamps with trained weights.

The weights of lamps are non-negative and share one budget. Images are linear in the weights, so
that one image per lamp is enough to form the image of any pattern.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from optics.grid import coordinates
from optics.quantity import (
    as_real,
    check_finite,
    check_positive,
    check_scalar,
    check_tensor,
    check_wavelength,
    full_precision,
    has_values,
    one_number,
    single,
    whole_number,
)

__all__ = [
    "Illumination",
    "annular_source",
    "disc_source",
    "led_tilts",
    "light_budget",
    "light_budget_inverse",
    "weighted",
    "within_reach",
]


def light_budget(raw: Tensor, budget: float = 1.0) -> Tensor:
    """Non-negative weights that sum to ``budget``: ``budget softmax(raw)``.

    Parameters
    ----------
    raw : Tensor ``[..., S]``
        Unconstrained.
    budget : float
        Sum over the last dimension, in the unit of the weights.

    Returns
    -------
    Tensor ``[..., S]``

    Raises
    ------
    TypeError
        When ``raw`` is not a Tensor.
    ValueError
        When the budget is not positive and finite.
    """
    check_positive("budget", budget, "the unit of the weights")
    check_tensor("raw", raw)
    return budget * torch.softmax(as_real("raw", raw), -1)


def light_budget_inverse(weights: Tensor) -> Tensor:
    """Return a raw tensor that :func:`light_budget` maps to weights in these proportions.

    A weight of 0 is raised to 1e-4 of the sum, so that training can raise it further. With more
    than 100 lamps it is raised to 0.01 / S of the sum, so that all dark lamps have 1 % at most.

    Parameters
    ----------
    weights : Tensor ``[..., S]``

    Returns
    -------
    Tensor ``[..., S]``
        Half precision, whose sum may overflow, is computed, and returned, in float32.

    Raises
    ------
    TypeError
        When the weights are no Tensor.
    ValueError
        When a weight is negative or not finite, or all are 0.
    """
    check_tensor("weights", weights)
    weights = single(as_real("weights", weights))
    if not weights.ndim:
        raise ValueError("weights must be [..., S], one for each lamp, not a single number")
    total = weights.sum(-1, keepdim=True)
    allowed = torch.isfinite(weights).all() & (weights >= 0).all() & (total > 0).all()
    if has_values(weights) and not bool(allowed):
        raise ValueError("weights of lamps must be finite, not negative, and not all 0")
    return (weights / total).clamp_min(min(1e-4, 0.01 / weights.shape[-1])).log()


def disc_source(radius: float, *, step: float) -> Tensor:
    """Points of a disc on a square grid, tilts ``[S, 2]`` (fy, fx) in the unit of the radius.

    The centre is one of them.

    Parameters
    ----------
    radius : float, cycles/pixel
        Radius of the disc in the Fourier plane.
    step : float, cycles/pixel
        Distance between the points.

    Returns
    -------
    Tensor, float64 ``[S, 2]``, cycles/pixel
        For :func:`optics.partially_coherent_image`, which needs multiples of (1/H, 1/W): for a
        square picture choose a step that is such a multiple.

    Raises
    ------
    TypeError
        When one of them is not one number.
    ValueError
        When one of them is not positive and finite.
    """
    for name, value in (("radius", radius), ("step", step)):
        check_scalar(name, value, "cycles/pixel")
        check_positive(name, value, "cycles/pixel")
    half = math.floor(radius / step + 1e-9)
    f = coordinates(2 * half + 1, spacing=step)
    points = torch.cartesian_prod(f, f)
    return points[points.norm(dim=1) <= radius * (1 + 1e-9)]


def annular_source(inner: float, outer: float, *, step: float) -> Tensor:
    """Points of a ring on a square grid, tilts ``[S, 2]`` (fy, fx) in the unit of the radii.

    It is the condenser annulus of Zernike's phase contrast microscope; the matching phase ring is
    that of :func:`optics.phase_contrast`.

    Parameters
    ----------
    inner, outer : float, cycles/pixel
        Radii of the ring in the Fourier plane; points on its rims are included.
    step : float, cycles/pixel
        Distance between the points, as in :func:`disc_source`.

    Returns
    -------
    Tensor, float64 ``[S, 2]``, cycles/pixel

    Raises
    ------
    TypeError
        When one of them is not one number.
    ValueError
        When one of them is not positive and finite, ``inner > outer``, or no point of the grid
        lies in the ring.
    """
    for name, value in (("inner", inner), ("outer", outer)):
        check_scalar(name, value, "cycles/pixel")
        check_positive(name, value, "cycles/pixel")
    points = disc_source(outer, step=step)
    ring = points[points.norm(dim=1) >= inner * (1 - 1e-9)]
    if not len(ring):
        raise ValueError(
            f"no point of a grid of step={step:g} lies between inner={inner:g} and "
            f"outer={outer:g} cycles/pixel: give a smaller step, or a wider ring"
        )
    return ring


def condenser(radius: float, inner: float = 0.0) -> Tensor:
    """Points of a lamp, tilts ``[S, 2]``: a disc, or a ring from ``inner`` to ``radius``.

    They lie on the coarsest square grid of step ``radius / n``, n >= 2, that has at least 12 of
    them: 13 for a disc, 12 to 24 for a ring. A ring of no width has 12 at n = 5, as
    ``3^2 + 4^2 = 5^2``, so that no finer grid is needed.
    """
    for n in range(2, 6):
        points = disc_source(radius, step=radius / n)
        points = points[points.norm(dim=1) >= inner * (1 - 1e-9)]
        if len(points) >= 12:
            break
    return points


def led_tilts(positions: Tensor, *, height: float, wavelength: float, pixel_pitch: float) -> Tensor:
    """Tilts of the plane waves with which lamps illuminate the centre of an object.

    They are ``sin(angle) pixel_pitch / wavelength`` along each axis (Zheng et al., Nat. Photonics
    7:739, 2013), with the opposite sign: the phase of the wave of a lamp at +y falls towards +y.

    Parameters
    ----------
    positions : Tensor ``[S, 2]``, metres
        (y, x) of the lamps, from the axis.
    height : float, metres
        Height of the lamps above the object.
    wavelength, pixel_pitch : float, metres
        1e-9 to 1e-2; the pixel pitch is that in the object plane.

    Returns
    -------
    Tensor ``[S, 2]``, cycles/pixel
        For :func:`optics.partially_coherent_image`, which needs the nearest multiples of
        (1/H, 1/W). Half precision, in which squares of millimetres underflow, is computed, and
        returned, in float32.

    Raises
    ------
    TypeError
        When the positions are no Tensor, or a length is not one number.
    ValueError
        When a length is out of its range, or the positions are not real, finite and
        ``[S, 2]``.
    """
    check_tensor("positions", positions)
    lengths = {"height": height, "wavelength": wavelength, "pixel_pitch": pixel_pitch}
    for name, length in lengths.items():
        check_scalar(name, length, "metres", remedy="call it for each")
    check_positive("height", height, "metres")
    check_wavelength("wavelength", wavelength)
    # The same range suits the pitch; one in micrometres is outside of it.
    check_wavelength("pixel_pitch", pixel_pitch)
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise ValueError(f"positions must be [S, 2] in metres, not {tuple(positions.shape)}")
    positions = single(as_real("positions", positions))
    check_finite("positions", positions, "metres")
    distance = (positions.square().sum(1, keepdim=True) + height**2).sqrt()
    return -positions / distance * (pixel_pitch / wavelength)


class Illumination(nn.Module):
    """Trained or fixed lamps: light patterns whose weights have a fixed sum.

    Parameters
    ----------
    count : int
        Number of lamps, or spectral bands.
    patterns : int
        Number of light patterns, one for each exposure.
    budget : float
        Sum of the weights of each pattern.
    start : Tensor ``[patterns, count]``, optional
        Relative weights to start from; equal ones by default. Equal patterns have equal gradients:
        give each pattern a different start.
    trainable : bool
        Train the weights; a weight of 0 starts as :func:`light_budget_inverse` says. If False, the
        proportions are exactly those given, and a lamp of 0 is dark.

    Raises
    ------
    TypeError
        When the start is not a Tensor, or the budget not one number, or a parameter.
    ValueError
        For fewer than one lamp or pattern, a budget that is not positive, or a start of the wrong
        shape.
    """

    def __init__(
        self,
        count: int,
        *,
        patterns: int = 1,
        budget: float = 1.0,
        start: Tensor | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self.raw: Tensor
        count, patterns = whole_number("count", count), whole_number("patterns", patterns)
        budget = one_number("budget", budget, "the unit of the weights")
        check_positive("budget", budget, "the unit of the weights")
        if start is None:
            start = torch.ones(patterns, count)
        check_tensor("start", start)
        if start.shape != (patterns, count):
            raise ValueError(f"start must be {(patterns, count)}, not {tuple(start.shape)}")
        self.budget = budget
        raw = light_budget_inverse(start.detach())
        if trainable:
            self.raw = nn.Parameter(raw)
        else:  # the softmax of log(0) is exactly 0
            self.register_buffer("raw", single(as_real("start", start.detach())).log())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        if isinstance(self.raw, nn.Parameter):
            within_reach(
                state_dict, f"{prefix}raw", lambda raw: light_budget_inverse(light_budget(raw, 1.0))
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def weights(self) -> Tensor:
        """Non-negative weights ``[patterns, count]``; those of each pattern sum to the budget."""
        return light_budget(self.raw, self.budget)

    def forward(self, pictures: Tensor) -> Tensor:
        """Form the images of a scene in the light of each pattern.

        Parameters
        ----------
        pictures : Tensor ``[B, count, ...]``
            Images of the scene in the light of each lamp alone.

        Returns
        -------
        Tensor ``[B, patterns, ...]``

        Raises
        ------
        TypeError
            When the pictures are no Tensor.
        ValueError
            When there are not as many pictures as lamps.
        """
        check_tensor("pictures", pictures)
        if pictures.ndim < 2 or pictures.shape[1] != self.raw.shape[1]:
            raise ValueError(
                f"pictures must be [B, {self.raw.shape[1]}, ...], one for each lamp, not "
                f"{tuple(pictures.shape)}"
            )
        return weighted(self.weights, pictures)

    def extra_repr(self) -> str:
        """Name the lamps."""
        patterns, count = self.raw.shape
        return f"count={count}, patterns={patterns}, budget={self.budget:g}"


def within_reach(state: dict[str, Any], key: str, learnable: Callable[[Tensor], Tensor]) -> None:
    """Replace infinite raw values of fixed weights, which have no gradient, by trainable ones."""
    if key in state and state[key].isinf().any():
        state[key] = learnable(state[key])


def weighted(weights: Tensor, pictures: Tensor) -> Tensor:
    """``sum_s weights[p, s] pictures[:, s]``, in full precision also under autocast."""
    if pictures.is_complex() or weights.is_complex():
        raise ValueError("light is real here: of a field, give abs().square()")
    kind = torch.float64 if pictures.dtype == torch.float64 else torch.float32
    with full_precision(pictures):
        return torch.einsum("ps,bs...->bp...", weights.to(kind), pictures.to(kind))
