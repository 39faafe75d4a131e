"""Colour: spectral bands are formed into channels by lamps, one after another, and by filters."""

from typing import Any

import torch
from torch import Tensor, nn

from optics.constraint import bounded, bounded_raw
from optics.quantity import as_real, check_tensor, full_precision, one_number, whole_number

from .illumination import Illumination, weighted, within_reach

__all__ = ["ColourChannels", "ColourFilters", "mix_colours"]


def mix_colours(spectral: Tensor, matrix: Tensor) -> Tensor:
    """Sum spectral bands to channels, weighted by a matrix.

    Parameters
    ----------
    spectral : Tensor ``[B, L, H, W]``
        Light of L bands.
    matrix : Tensor ``[C, L]``
        Fraction of each band that channel c receives.

    Returns
    -------
    Tensor ``[B, C, H, W]``

    Raises
    ------
    TypeError
        When one is not a Tensor.
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
    return weighted(matrix, spectral)


class ColourFilters(nn.Module):
    """Trained or fixed absorptive filters: the transmittance of each channel for each band.

    Parameters
    ----------
    transmittance : Tensor ``[C, L]`` in 0..1
        Transmittances, from which training starts. Trained values at 0 or 1 start 0.001 away.
    share : float in (0, 1]
        Fraction of the light that reaches each filter: 1 if every channel sees all of it on its own
        sensor, 1 / C if the light is divided between the channels.
    trainable : bool
        Train them. If False, they are exactly as given, except for rounding.

    Raises
    ------
    TypeError
        When the transmittance is not a Tensor, or the share not one number, or a parameter.
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
        else:  # without the margin of trained values: the sigmoid of infinity is exactly 1
            given = as_real("transmittance", transmittance.detach())
            self.register_buffer("raw", torch.logit(given.clamp(0, 1)))
        self.share = share

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        if isinstance(self.raw, nn.Parameter):
            within_reach(
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
    """Channels from L spectral bands, by light patterns, one after another, and filters.

    ::

        bands [B,L,H,W] ─ lamps ─► [B,P,L,H,W] ─ filters ─► channels [B,P*C,H,W]
                                   P exposures share the time

    Full scale is white light on a white scene: the power of all bands together is 1, and each has
    1 / L. Lamps redistribute that power, and filters absorb part of it; nothing is rescaled
    afterwards.

    Parameters
    ----------
    bands : int
        Number L of bands.
    lamps : Illumination, optional
        P patterns, one for each exposure, with a lamp for each band. White light by default.
    filters : ColourFilters, optional
        C filters. By default each pixel detects all bands.

    Attributes
    ----------
    channels, exposures : int
        P * C, and P.

    Raises
    ------
    TypeError
        For lamps or filters of another type.
    ValueError
        For fewer than one band, lamps or filters with another number of bands, or lamps with more
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
        """Fraction of each band that each channel receives, ``[P * C, L]``, pattern by pattern."""
        power = self._white if self.lamps is None else self.lamps.weights / self.exposures
        if self.filters is None:
            return power
        passed = self.filters.share * self.filters.transmittance
        return (power[:, None] * passed).flatten(0, 1)

    def throughput(self, passed: Tensor) -> Tensor:
        """Fraction of the white light that is detected, as if it were not divided, scalar.

        It is the mean over the filters, as for a mosaic; with a share of 1 / C for each, it is the
        sum of the light that all of them receive.

        Parameters
        ----------
        passed : Tensor ``[L]``
            Fraction of each band's light that arrives at the filters.

        Returns
        -------
        Tensor, scalar
        """
        with full_precision(passed):
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
