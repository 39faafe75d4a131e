"""A learned codec that transmits a mean and a width for every latent element."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from .bitstream import SymbolReader, SymbolTable, encode_sections
from .coding import integers, stacked
from .container import Kind
from .learned import LearnedCodec, Priced, Shape
from .prior import SCALE_LEVELS, FactorizedPrior, gaussian_bits, gaussian_tables
from .quantize import Generators, round_straight_through
from .transform import SideAnalysis, SideSynthesis, unit_interval

__all__ = ["HyperpriorCodec"]


class _Expected(NamedTuple):
    """Prediction of a latent ``[B, M, h, w]`` from the side information."""

    mean: Tensor
    """Mean, in quantisation steps."""
    level: Tensor
    """Width of its density, see :func:`gaussian_bits`."""


class HyperpriorCodec(LearnedCodec):
    """A learned codec that codes each latent element with its own predicted mean and width.

    ::

        y ─SideAnalysis─► z ─quantise─► side latent ─SideSynthesis─► mean, level of each element
        │                                  └─FactorizedPrior─► bits            │
        └────────────────── y - mean ─quantise─► residual ─gaussian_bits─► bits

    The side latent is written first. The decoder computes mean and level from it, and reads the
    rest with them. A level is an integer, the index of one of 60 fixed tables. Encoder and decoder
    evaluate ``SideSynthesis`` exactly, so that their levels always agree. In a floating-point
    hyperprior, an element can cross a boundary between levels when batch or device change (1 file
    of 64 in an experiment), and everything after it is decoded wrongly.

    Parameters, modes and guarantees are those of :class:`LearnedCodec`.

    References
    ----------
    Ballé, Minnen, Singh, Hwang, Johnston, "Variational image compression with a scale hyperprior",
    ICLR 2018; mean and scale: Minnen, Ballé, Toderici, NeurIPS 2018.
    """

    _KIND = Kind.HYPERPRIOR
    # Steps of the side latent per unit of its net.
    _SIDE_STEPS = 2.0

    def _build_price(self, shape: Shape) -> None:
        self.side_channels = shape.side_channels
        nets = (shape.latent_channels, shape.side_channels)
        self.side_analysis = SideAnalysis(*nets, width=shape.side_width)
        self.side_synthesis = SideSynthesis(*nets, width=shape.side_width)
        self.prior = FactorizedPrior(shape.side_channels, init_scale=1.0)

    def _side(self, y: Tensor, *, exact: bool) -> Tensor:
        """Side latent of a latent in steps, in its own steps, before quantisation."""
        return self._SIDE_STEPS * self.side_analysis(y / self._STEPS, exact=exact)

    def _expect(self, side: Tensor, grid: tuple[int, int], *, exact: bool) -> _Expected:
        raw = self.side_synthesis(side / self._SIDE_STEPS, size=grid, exact=exact)
        mean, width = raw.chunk(2, 1)
        # With an offset of half a unit, an output of 0 means a width of about one step.
        level = (SCALE_LEVELS - 1) * unit_interval(width - 0.5)
        return _Expected(self._STEPS * mean, round_straight_through(level) if exact else level)

    def _price(self, y: Tensor, generator: Generators | None) -> Priced:
        side, priced_side = self._quantize(
            self._side(y, exact=self.exact and not self.training), generator
        )
        grid = (y.shape[-2], y.shape[-1])
        expected = self._expect(side, grid, exact=not self.training)
        residual, priced = self._quantize(y - expected.mean, generator)
        stride = self.analysis.stride
        return Priced(
            residual + expected.mean,
            (
                (gaussian_bits(priced, expected.level), stride),
                (self.prior.bits(priced_side), stride * SideAnalysis.stride),
            ),
        )

    def _rounded(self, y: Tensor) -> Tensor:
        side = round_straight_through(self._side(y, exact=self.exact))
        mean = self._expect(side, (y.shape[-2], y.shape[-1]), exact=True).mean
        return round_straight_through(y - mean) + mean

    def _write(self, y: Tensor, tables: list[SymbolTable]) -> list[bytes]:
        side = self._side(y, exact=self.exact).round()
        expected = self._expect(side, (y.shape[-2], y.shape[-1]), exact=True)
        written = zip(
            integers(side),
            integers(y - expected.mean),
            integers(expected.level),
            strict=True,
        )
        side_tables, gaussians = tables[: self.side_channels], tables[self.side_channels :]
        return [
            encode_sections([(first, None, side_tables), (second, level, gaussians)])
            for first, second, level in written
        ]

    def _read(
        self, readers: list[SymbolReader], tables: list[SymbolTable], grid: tuple[int, int]
    ) -> Tensor:
        side_tables, gaussians = tables[: self.side_channels], tables[self.side_channels :]
        side_grid = tuple(-(-side // SideAnalysis.stride) for side in grid)
        side = stacked([reader.rows(side_tables, side_grid) for reader in readers], self)
        expected = self._expect(side, grid, exact=True)
        levels: list[np.ndarray] = list(integers(expected.level))
        residual = [
            reader.indexed(level, gaussians) for reader, level in zip(readers, levels, strict=True)
        ]
        return stacked(residual, self) + expected.mean

    def _make_tables(self) -> list[SymbolTable]:
        return [*self.prior.tables(), *gaussian_tables()]
