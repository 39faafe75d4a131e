"""The simplest learned codec: one learned density per channel."""

from torch import Tensor

from .bitstream import SymbolReader, SymbolTable, encode_sections
from .coding import integers, stacked
from .container import Kind
from .learned import LearnedCodec, Priced, Shape
from .prior import FactorizedPrior
from .quantize import Generators, round_straight_through

__all__ = ["FactorizedCodec"]


class FactorizedCodec(LearnedCodec):
    """A learned codec that codes all latent elements of a channel with one learned density.

    ::

        y ─round─► latent ─FactorizedPrior─► bits

    The coding tables are constants of the model, one for each latent channel. Parameters, modes and
    guarantees are those of :class:`LearnedCodec`.

    References
    ----------
    Ballé, Laparra, Simoncelli, "End-to-end optimized image compression", ICLR 2017; the prior is
    that of Ballé et al., ICLR 2018.
    """

    _KIND = Kind.FACTORIZED

    def _build_price(self, shape: Shape) -> None:
        self.prior = FactorizedPrior(shape.latent_channels, init_scale=1.0)

    def _price(self, y: Tensor, generator: Generators | None) -> Priced:
        latent, priced = self._quantize(y, generator)
        return Priced(latent, ((self.prior.bits(priced), self.analysis.stride),))

    def _rounded(self, y: Tensor) -> Tensor:
        return round_straight_through(y)

    def _write(self, y: Tensor, tables: list[SymbolTable]) -> list[bytes]:
        return [encode_sections([(row, None, tables)]) for row in integers(y)]

    def _read(
        self, readers: list[SymbolReader], tables: list[SymbolTable], grid: tuple[int, int]
    ) -> Tensor:
        return stacked([reader.rows(tables, grid) for reader in readers], self)

    def _make_tables(self) -> list[SymbolTable]:
        return self.prior.tables()
