"""Light sources: where trained illumination and colour filters come from.

Lamps cannot be darker than off and share one budget; a filter passes between nothing and all of
the light. Pictures are linear in the lamps' weights, so that one picture for each lamp is enough to
form that of any pattern.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .constraint import bounded, bounded_raw
from .grid import coordinates
from .quantity import (
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
    "ColourChannels",
    "ColourFilters",
    "Illumination",
    "annular_source",
    "disc_source",
    "led_tilts",
    "light_budget",
    "light_budget_inverse",
    "mix_colours",
]


def light_budget(raw: Tensor, budget: float = 1.0) -> Tensor:
    """Weights that are not negative and sum to ``budget``: ``budget softmax(raw)``.

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
        When ``raw`` is no Tensor.
    ValueError
        When the budget is not positive and finite.
    """
    check_positive("budget", budget, "the unit of the weights")
    check_tensor("raw", raw)
    return budget * torch.softmax(as_real("raw", raw), -1)


def light_budget_inverse(weights: Tensor) -> Tensor:
    """Return a raw tensor that :func:`light_budget` maps to weights in these proportions.

    A weight of 0 comes back as 1e-4 of the sum, from which training can raise it again; of more
    than 100, as 0.01 / S of it, so that all that are dark have 1 % at most.

    Parameters
    ----------
    weights : Tensor ``[..., S]``

    Returns
    -------
    Tensor ``[..., S]``
        Half precision, in which a sum overflows, is computed, and returned, in float32.

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


def mix_colours(spectral: Tensor, matrix: Tensor) -> Tensor:
    """Add spectral bands into channels.

    Parameters
    ----------
    spectral : Tensor ``[B, L, H, W]``
        Light of L bands.
    matrix : Tensor ``[C, L]``
        What of each band channel c receives.

    Returns
    -------
    Tensor ``[B, C, H, W]``

    Raises
    ------
    TypeError
        When they are no Tensors.
    ValueError
        When the shapes are not these.
    """
    check_tensor("spectral", spectral)
    check_tensor("matrix", matrix)
    if spectral.ndim != 4 or matrix.ndim != 2 or matrix.shape[1] != spectral.shape[1]:
        raise ValueError(
            f"spectral must be [B, L, H, W] and matrix [C, L], not {tuple(spectral.shape)} and "
            f"{tuple(matrix.shape)}"
        )
    return _weighted(matrix, spectral)


def disc_source(radius: float, *, step: float) -> Tensor:
    """Points of a disc on a square grid, tilts ``[S, 2]`` (fy, fx) in the unit of the radius.

    The centre is one of them.

    Parameters
    ----------
    radius : float, cycles/pixel
        Of the disc in the Fourier plane.
    step : float, cycles/pixel
        Distance of the points.

    Returns
    -------
    Tensor, float64 ``[S, 2]``, cycles/pixel
        For :func:`optics.partially_coherent_image`, which wants multiples of (1/H, 1/W): of a
        square picture, a step that is one.

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

    The condenser annulus of Zernike's microscope, whose ring is that of
    :func:`optics.phase_contrast`.

    Parameters
    ----------
    inner, outer : float, cycles/pixel
        Radii of the ring in the Fourier plane; its rims are in it.
    step : float, cycles/pixel
        Distance of the points, as in :func:`disc_source`.

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


def led_tilts(positions: Tensor, *, height: float, wavelength: float, pixel_pitch: float) -> Tensor:
    """Waves with which lamps light the centre of an object.

    ``sin(angle) pixel_pitch / wavelength`` along each axis (Zheng et al., Nat. Photonics 7:739,
    2013): a lamp at +y lights with a wave whose phase falls towards +y.

    Parameters
    ----------
    positions : Tensor ``[S, 2]``, metres
        (y, x) of the lamps, from the axis.
    height : float, metres
        Of the lamps above the object.
    wavelength, pixel_pitch : float, metres
        1e-9 to 1e-2; the pitch in the object's plane.

    Returns
    -------
    Tensor ``[S, 2]``, cycles/pixel
        For :func:`optics.partially_coherent_image`, which wants the nearest multiples of
        (1/H, 1/W). Half precision, which has no squares of millimetres, is computed, and returned,
        in float32.

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
    # The range is that of the pitch as well, which in micrometres is beyond.
    check_wavelength("pixel_pitch", pixel_pitch)
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise ValueError(f"positions must be [S, 2] in metres, not {tuple(positions.shape)}")
    positions = single(as_real("positions", positions))
    check_finite("positions", positions, "metres")
    distance = (positions.square().sum(1, keepdim=True) + height**2).sqrt()
    return -positions / distance * (pixel_pitch / wavelength)


class Illumination(nn.Module):
    """Lamps, trained or fixed: patterns of weights that share a budget.

    Parameters
    ----------
    count : int
        Lamps, or spectral bands.
    patterns : int
        Exposures, each with a pattern of its own.
    budget : float
        Sum of each pattern's weights.
    start : Tensor ``[patterns, count]``, optional
        Weights to start from, in these proportions; equal ones by default (equal patterns have
        equal gradients: give each its own start).
    trainable : bool
        Train them, from where :func:`light_budget_inverse` begins; otherwise the proportions are
        exactly those that are given, and a lamp of 0 is dark.

    Raises
    ------
    TypeError
        When the start is no Tensor, or the budget not one number, or a parameter.
    ValueError
        For fewer than one lamp or pattern, a budget that is not positive, or a start of another
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
        else:  # whose softmax is 0 where the logarithm of 0 is
            self.register_buffer("raw", single(as_real("start", start.detach())).log())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        if isinstance(self.raw, nn.Parameter):
            _within_reach(
                state_dict, f"{prefix}raw", lambda raw: light_budget_inverse(light_budget(raw, 1.0))
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def weights(self) -> Tensor:
        """Weights ``[patterns, count]``, not negative, each pattern summing to the budget."""
        return light_budget(self.raw, self.budget)

    def forward(self, pictures: Tensor) -> Tensor:
        """Light a scene.

        Parameters
        ----------
        pictures : Tensor ``[B, count, ...]``
            The scene in the light of each lamp alone.

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
        return _weighted(self.weights, pictures)

    def extra_repr(self) -> str:
        """Name the lamps."""
        patterns, count = self.raw.shape
        return f"count={count}, patterns={patterns}, budget={self.budget:g}"


class ColourFilters(nn.Module):
    """Absorptive filters, trained or fixed: transmittances in 0..1 of each band in each channel.

    Parameters
    ----------
    transmittance : Tensor ``[C, L]`` in 0..1
        To start from. Values at 0 or 1 start within 0.001 of it.
    share : float in (0, 1]
        Part of the pixel's light that each filter stands in: 1 when every channel has a sensor of
        its own, 1 / C when the light is divided.
    trainable : bool
        Train them; otherwise they are exactly as given, but for rounding.

    Raises
    ------
    TypeError
        When the transmittance is no Tensor, or the share not one number, or a parameter.
    ValueError
        When the transmittance is not ``[C, L]``, or the share not in (0, 1].
    """

    def __init__(
        self, transmittance: Tensor, *, share: float = 1.0, trainable: bool = True
    ) -> None:
        super().__init__()
        self.raw: Tensor
        check_tensor("transmittance", transmittance)
        if transmittance.ndim != 2:
            raise ValueError(f"transmittance must be [C, L], not {tuple(transmittance.shape)}")
        share = one_number("share", share)
        if not 0 < share <= 1:
            raise ValueError(f"share must be a fraction in (0, 1], not {share:g}")
        raw = bounded_raw("transmittance", transmittance.detach(), 0.0, 1.0)
        if trainable:
            self.raw = nn.Parameter(raw)
        else:  # beyond the margin that a slope needs: the sigmoid of infinity is 1
            given = as_real("transmittance", transmittance.detach())
            self.register_buffer("raw", torch.logit(given.clamp(0, 1)))
        self.share = share

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        if isinstance(self.raw, nn.Parameter):
            _within_reach(
                state_dict,
                f"{prefix}raw",
                lambda raw: bounded_raw("transmittance", bounded(raw, 0.0, 1.0), 0.0, 1.0),
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def transmittance(self) -> Tensor:
        """Part of each band's light that each filter passes, ``[C, L]``."""
        return bounded(self.raw, 0.0, 1.0)

    def forward(self, spectral: Tensor) -> Tensor:
        """Channels ``[B, C, H, W]`` of the light ``spectral`` ``[B, L, H, W]`` of L bands."""
        return mix_colours(spectral, self.share * self.transmittance)

    def extra_repr(self) -> str:
        """Name the share."""
        return f"share={self.share:g}"


class ColourChannels(nn.Module):
    """How the light of L bands becomes channels: lamps, one pattern after another, and filters.

    ::

        bands [B,L,H,W] ─ lamps ─► [B,P,L,H,W] ─ filters ─► channels [B,P*C,H,W]
                                   P exposures share the time

    Full scale is white light on a white scene: the power of all bands together is 1, of which each
    has 1 / L. Lamps redistribute that power, and filters absorb some of it; nothing is scaled
    afterwards.

    Parameters
    ----------
    bands : int
        L.
    lamps : Illumination, optional
        P patterns with a lamp for each band, each the light of an exposure. White light by default.
    filters : ColourFilters, optional
        C filters. By default a pixel sees all bands.

    Attributes
    ----------
    channels, exposures : int
        P * C, and P.

    Raises
    ------
    TypeError
        For lamps or filters that are none.
    ValueError
        For fewer than one band, lamps or filters of another number of bands, or lamps with more
        power than the white light.
    """

    def __init__(
        self,
        bands: int,
        *,
        lamps: Illumination | None = None,
        filters: ColourFilters | None = None,
    ) -> None:
        super().__init__()
        self.bands = whole_number("bands", bands)
        for name, part, kind in (
            ("lamps", lamps, Illumination),
            ("filters", filters, ColourFilters),
        ):
            if part is None:
                continue
            if not isinstance(part, kind):
                raise TypeError(
                    f"{name} must be an optics.{kind.__name__}(...), not {type(part).__name__}"
                )
            if part.raw.shape[1] != bands:
                raise ValueError(f"{name} are for {part.raw.shape[1]} bands, not {bands}")
        if lamps is not None and lamps.budget > 1:
            raise ValueError(
                f"lamps of budget={lamps.budget:g} have more power than the white light, which is "
                "1: give up to 1, and the sensor more photons"
            )
        self.lamps = lamps
        self.filters = filters
        self.exposures = 1 if lamps is None else len(lamps.raw)
        self.channels = self.exposures * (1 if filters is None else len(filters.raw))
        white = torch.full((1, self.bands), 1 / self.bands)
        self.register_buffer("_white", white, persistent=False)
        self._white: Tensor

    @property
    def matrix(self) -> Tensor:
        """What each channel receives of each band, ``[P * C, L]``: pattern by pattern."""
        power = self._white if self.lamps is None else self.lamps.weights / self.exposures
        if self.filters is None:
            return power
        passed = self.filters.share * self.filters.transmittance
        return (power[:, None] * passed).flatten(0, 1)

    def throughput(self, passed: Tensor) -> Tensor:
        """Part of the white light that is detected where light is not divided, scalar.

        The mean over the filters, as for a mosaic; with a share of 1 / C for each, it is the sum
        of what all of them receive.

        Parameters
        ----------
        passed : Tensor ``[L]``
            Part of each band's light that arrives at the filters.

        Returns
        -------
        Tensor, scalar
        """
        received = (self.matrix @ passed).sum()
        if self.filters is None:
            return received
        return received / (self.filters.share * len(self.filters.raw))

    def forward(self, spectral: Tensor) -> Tensor:
        """Channels ``[B, P * C, H, W]`` of the ``spectral`` light ``[B, L, H, W]`` of L bands."""
        return mix_colours(spectral, self.matrix)

    def extra_repr(self) -> str:
        """Name the bands and the channels."""
        return f"bands={self.bands}, channels={self.channels}, exposures={self.exposures}"


def _within_reach(state: dict[str, Any], key: str, learnable: Callable[[Tensor], Tensor]) -> None:
    """Let what was fixed, and exact, begin where it can learn: an infinite number has no slope."""
    if key in state and state[key].isinf().any():
        state[key] = learnable(state[key])


def _weighted(weights: Tensor, pictures: Tensor) -> Tensor:
    """``sum_s weights[p, s] pictures[:, s]``, in full precision also under autocast."""
    if pictures.is_complex() or weights.is_complex():
        raise ValueError("light is real here: of a field, give abs().square()")
    kind = torch.float64 if pictures.dtype == torch.float64 else torch.float32
    with full_precision(pictures):
        return torch.einsum("ps,bs...->bp...", weights.to(kind), pictures.to(kind))
