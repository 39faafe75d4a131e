"""From symbols to bytes and back: integer tables and the entropy coder.

Symbols are coded with asymmetric numeral systems (Duda 2013): a 64-bit state, 32-bit words and
24-bit tables, in the format of ``constriction.stream.stack.AnsCoder``. The words are little-endian
and the zero bytes that end the last word are left out. Table after table in order, the symbols of
each in raster order; then the escaped values in the same order. Where each channel has a table of
its own, this is channel after channel.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import CorruptStream

__all__ = [
    "CODER_BITS",
    "Section",
    "SymbolReader",
    "SymbolTable",
    "coder_bytes",
    "coder_of",
    "coders",
    "encode_sections",
]

PRECISION = 24
"""Table entries are multiples of ``2**-PRECISION``."""

CODER_BITS = 24
"""Bits that the coder adds to the ideal length of a message, on average (about 22 measured)."""

MAX_SYMBOL = 2**30
"""Largest magnitude of a symbol."""


_ESCAPE_LENGTHS = 33  # an escaped distance is below 2**32


@dataclass(frozen=True, eq=False)  # == of arrays is an array
class SymbolTable:
    """Integer frequencies of the symbols ``first, first + 1, ...`` and, last, of the escape."""

    first: int
    frequencies: NDArray[np.int64]
    """Positive, and ``2**PRECISION`` in sum."""

    @classmethod
    def from_mass(cls, mass: NDArray[np.float64], *, first: int) -> "SymbolTable":
        """Round probabilities to integers; what they lack to 1 goes to the escape.

        Every symbol keeps a frequency of at least 1, so nothing is ever impossible to code.

        Parameters
        ----------
        mass : ndarray
            Probabilities ``[n]`` of ``first, ..., first + n - 1``.
        first : int
            The smallest symbol listed.

        Raises
        ------
        ValueError
            If a probability is negative or not finite, their sum exceeds 1, or there are none or
            too many.
        """
        total = float(mass.sum())
        # Written so that NaN fails too.
        if not (mass.size and (mass >= 0).all() and total <= 1 + 1e-9):
            raise ValueError(
                f"expected non-negative probabilities with a sum of at most 1, got {mass.size} "
                f"with sum {total}, minimum {mass.min() if mass.size else None}."
            )
        entries = mass.size + 1
        if entries > 2 ** (PRECISION - 4):
            raise ValueError(f"{entries} symbols are too many for {PRECISION}-bit tables.")
        free = 2**PRECISION - entries
        full = np.append(mass, max(0.0, 1 - total))
        frequencies = 1 + np.floor(full / full.sum() * free).astype(np.int64)
        # Flooring leaves less than one unit per entry; the most probable feels it least.
        frequencies[np.argmax(frequencies)] += 2**PRECISION - frequencies.sum()
        return cls(first, frequencies)

    @cached_property
    def listed(self) -> int:
        """Number of symbols with an entry of their own."""
        return self.frequencies.size - 1

    @cached_property
    def least_bits(self) -> float:
        """Bits of its most probable entry: no symbol costs less."""
        return PRECISION - float(np.log2(self.frequencies.max()))

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401 - constriction has no types
        """The coder's model, kept: building one takes longer than coding a picture's row."""
        return _categorical(self)

    def __getstate__(self) -> dict[str, Any]:
        # The model is compiled code, which neither copies nor pickles; it is built again.
        return {"first": self.first, "frequencies": self.frequencies}


Section = tuple[NDArray[np.integer], NDArray[np.integer] | None, Sequence[SymbolTable]]
"""Symbols, the table of each (None: that of its row), and the tables."""


def coders() -> Any:  # noqa: ANN401 - constriction has no types
    """Return constriction's coders; imported late, because only real bytes need the library."""
    return importlib.import_module("constriction").stream


def coder_bytes(coder: Any) -> bytes:  # noqa: ANN401
    """Return the bytes of a stack coder, without the zero bytes that end its last word."""
    return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


def coder_of(payload: bytes, what: str) -> Any:  # noqa: ANN401
    """Undo :func:`coder_bytes`; ``what`` names the coded data in an error."""
    if payload.endswith(b"\0"):
        raise CorruptStream(f"{what} end in a zero byte, which is never written.")
    words = np.frombuffer(payload + bytes(-len(payload) % 4), "<u4").astype(np.uint32)
    return coders().stack.AnsCoder(words)


def _categorical(table: SymbolTable) -> Any:  # noqa: ANN401
    """Return constriction's model with exactly the frequencies of ``table``.

    Its fast constructor gives every entry 1 and shares out the other ``2**24 - n`` in proportion,
    so handing it ``frequencies - 1``, whose sum is just that, reproduces them to the integer.
    """
    weights = (table.frequencies - 1).astype(np.float64)
    return coders().model.Categorical(weights, perfect=False, lazy=False)


@cache
def _escape_models() -> tuple[Any, Any]:
    """Return the models of an escaped value: of its bit length, and of a plain bit."""
    mass = np.exp2(-np.arange(1.0, _ESCAPE_LENGTHS))
    return _categorical(SymbolTable.from_mass(mass, first=0)), coders().model.Uniform(2)


def encode_sections(sections: Sequence[Section]) -> bytes:
    """Code the symbols of one picture, section after section, in one message.

    A reader can use one section to compute the tables of the next (:class:`SymbolReader`). The
    coder is flushed once for all sections.

    Parameters
    ----------
    sections : sequence of (symbols, index, tables)
        Symbols of any shape; an integer array of the same shape with the index of the table of each
        symbol, such as the Gaussians of a hyperprior; and the tables. With None as index, the table
        of a symbol is that of its row, the first dimension. All symbols of one table are coded in
        one call, so the time depends on the number of symbols, not on changes of the table. The
        index is not in the bytes: the decoder must know it exactly, since an index with the same
        counts at other places decodes without an error.

        A symbol outside its table is escaped: its distance beyond the table follows as an Elias
        gamma code (bit length, side, bits), so every symbol comes back exactly.

    Returns
    -------
    bytes
        The ideal length of the message and about ``CODER_BITS`` more.

    Raises
    ------
    ValueError
        If shapes do not match, an index is out of range, or a symbol is not an integer or exceeds
        ``2**30`` in magnitude.
    """
    coder = coders().stack.AnsCoder()
    # The coder is a stack: what is decoded last is pushed first.
    for given, named, tables in reversed(sections):
        symbols, index = np.asarray(given), None if named is None else np.asarray(named)
        if index is None:
            if symbols.ndim == 0 or len(symbols) != len(tables):
                raise ValueError(
                    f"expected symbols [{len(tables)}, ...], got {list(symbols.shape)}."
                )
            counts = np.full(len(tables), symbols[0].size if len(symbols) else 0)
            _push(coder, symbols.ravel(), counts, tables)
            continue
        if symbols.shape != index.shape:
            raise ValueError(
                "expected an index for every symbol, got symbols "
                f"{list(symbols.shape)} and index {list(index.shape)}."
            )
        order, counts = _by_table(index, tables)
        _push(coder, symbols.ravel()[order], counts, tables)
    return coder_bytes(coder)


class SymbolReader:
    """Undo :func:`encode_sections`, section after section.

    Parameters
    ----------
    payload : bytes
        Bytes from :func:`encode_sections`.
    name : str
        Name of the payload in errors.

    Raises
    ------
    CorruptStream
        At once or later, if the payload is not exactly what :func:`encode_sections` writes for
        such symbols; only after :meth:`finish` are the symbols to be trusted.
    """

    def __init__(self, payload: bytes, name: str = "the payload") -> None:
        self._name = name
        self._coder = coder_of(payload, f"{name}: the coded symbols")

    def rows(self, tables: Sequence[SymbolTable], shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Read a section with a table for each row: symbols ``[len(tables), *shape]``."""
        counts = np.full(len(tables), int(np.prod(shape)))
        return self._pop(counts, tables).reshape(len(tables), *shape)

    def indexed(
        self, index: NDArray[np.integer], tables: Sequence[SymbolTable]
    ) -> NDArray[np.int64]:
        """Read a section with a table for each symbol; the result has the shape of ``index``."""
        order, counts = _by_table(index, tables)
        symbols = np.empty(index.size, np.int64)
        symbols[order] = self._pop(counts, tables)
        return symbols.reshape(index.shape)

    def finish(self) -> None:
        """Check that everything was read."""
        if not self._coder.is_empty():
            raise self._corrupt("bits are left over after the last symbol")

    def _corrupt(self, fault: str) -> CorruptStream:
        return CorruptStream(f"{self._name}: {fault}.")

    def _pop(self, counts: NDArray[np.intp], tables: Sequence[SymbolTable]) -> NDArray[np.int64]:
        """Undo :func:`_push`."""
        coder = self._coder
        # A forged size must not ask for memory that no such payload could fill.
        least = sum(n * table.least_bits for n, table in zip(counts.tolist(), tables, strict=True))
        if least > 32 * (coder.num_words() + 2):
            raise self._corrupt(
                f"{4 * coder.num_words()} bytes cannot hold {int(counts.sum())} symbols"
            )
        first, listed = _ranges(counts, tables)
        # One call for each table and one copy for all: with few symbols each, calls are the cost.
        called = zip(tables, counts.tolist(), strict=True)
        parts = [coder.decode(table._model, count) for table, count in called if count]
        entry = np.concatenate([np.empty(0, np.int64), *parts])
        outside = entry == listed
        if outside.any():
            length_model, bit_model = _escape_models()
            lengths = coder.decode(length_model, int(outside.sum()))
            above = coder.decode(bit_model, lengths.size).astype(bool)
            owner, place = _bit_layout(lengths)
            bits = coder.decode(bit_model, owner.size).astype(np.int64)
            beyond = 2 ** lengths.astype(np.int64)
            np.add.at(beyond, owner, bits << place)
            entry[outside] = np.where(above, listed[outside] + beyond - 1, -beyond)
        symbols = entry + first
        if outside.any() and np.abs(symbols[outside]).max() > MAX_SYMBOL:
            raise self._corrupt("a symbol beyond the limit of 2**30, which is never written")
        return symbols


def _by_table(
    index: NDArray[np.integer], tables: Sequence[SymbolTable]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order that puts equal indices together, and how many there are of each."""
    if index.dtype.kind not in "iu":
        raise ValueError(f"expected an index of integers, got {index.dtype}.")
    if index.size and not 0 <= index.min() <= index.max() < len(tables):
        raise ValueError(
            f"an index must name one of {len(tables)} tables, 0 to {len(tables) - 1}; "
            f"got {index.min()} to {index.max()}."
        )
    # The smallest type, because numpy sorts 8 and 16 bits by radix.
    flat = index.ravel().astype(np.min_scalar_type(len(tables)))
    return np.argsort(flat, kind="stable"), np.bincount(flat, minlength=len(tables))


def _push(
    coder: Any,  # noqa: ANN401 - constriction has no types
    symbols: NDArray[np.integer],
    counts: NDArray[np.intp],
    tables: Sequence[SymbolTable],
) -> None:
    """Code ``counts[0]`` symbols with the first table, then ``counts[1]`` with the second, ..."""
    if symbols.dtype.kind not in "iu":
        raise ValueError(f"expected symbols that are integers, got {symbols.dtype}: round first.")
    largest = max(int(symbols.max()), -int(symbols.min())) if symbols.size else 0
    if largest > MAX_SYMBOL:
        raise ValueError(
            f"a symbol of magnitude {largest} is beyond the limit of 2**30: "
            "the latents have diverged."
        )
    first, listed = _ranges(counts, tables)
    entry = symbols.astype(np.int64) - first
    outside = (entry < 0) | (entry >= listed)
    if outside.any():
        above = entry[outside] >= 0
        beyond = np.where(above, (entry - listed)[outside], (-1 - entry)[outside]) + 1
        lengths = np.frexp(beyond)[1] - 1
        owner, place = _bit_layout(lengths)
        length_model, bit_model = _escape_models()
        coder.encode_reverse(((beyond[owner] >> place) & 1).astype(np.int32), bit_model)
        coder.encode_reverse(above.astype(np.int32), bit_model)
        coder.encode_reverse(lengths.astype(np.int32), length_model)
        entry = np.where(outside, listed, entry)
    entry = entry.astype(np.int32)
    end = entry.size
    for count, table in zip(reversed(counts.tolist()), reversed(tables), strict=True):
        if count:
            coder.encode_reverse(entry[end - count : end], table._model)
            end -= count


def _ranges(
    counts: NDArray[np.intp], tables: Sequence[SymbolTable]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for every symbol, its table's first symbol and how many are listed."""
    first = np.array([table.first for table in tables], np.int64)
    listed = np.array([table.listed for table in tables], np.int64)
    return np.repeat(first, counts), np.repeat(listed, counts)


def _bit_layout(lengths: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """For numbers of so many bits written one after the other: whose bit, and its place."""
    owner = np.repeat(np.arange(lengths.size), lengths)
    start = np.cumsum(lengths) - lengths
    return owner, np.arange(owner.size) - start[owner]
