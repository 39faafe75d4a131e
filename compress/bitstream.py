"""From symbols to bytes and back: integer tables, the entropy coder, and the container.

A file of a learned codec is one container::

    magic "L2"  version  kind  height  width  channels  model  length  check │ payload
        2          1       1      2       2       2        4      4      4   │ length bytes

All numbers are little-endian and unsigned; ``check`` is the CRC-32 of everything else. The payload
is what the codec kind says: float32 latents, or the entropy-coded symbols of one picture.

Symbols are coded with asymmetric numeral systems (Duda 2013): a 64-bit state, 32-bit words and
24-bit tables, in the format of ``constriction.stream.stack.AnsCoder``. The words are little-endian
and the zero bytes that end the last word are left out. Channel after channel in order, each in
raster order with the table of its channel; then the escaped values in the same order.
"""

import importlib
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CODER_BITS",
    "HEADER_BYTES",
    "MAX_VALUES",
    "CorruptStream",
    "Kind",
    "SymbolTable",
    "decode_symbols",
    "encode_symbols",
    "pack",
    "unpack",
]

PRECISION = 24
"""Table entries are multiples of ``2**-PRECISION``."""

CODER_BITS = 24
"""Bits that the coder adds to the ideal length of a message, on average (about 22 measured)."""

MAX_SYMBOL = 2**30
"""Largest magnitude of a symbol."""

MAX_VALUES = 2**26
"""Largest number of values (height x width x channels) of a picture in a container."""

_ESCAPE_LENGTHS = 33  # an escaped distance is below 2**32

_MAGIC = b"L2"
_VERSION = 1
_HEADER = struct.Struct("<2sBBHHHII")
_CHECK = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CHECK.size
"""Bytes in front of the payload."""


class CorruptStream(ValueError):
    """Bytes that are damaged, or that another codec or model wrote."""


class Kind(IntEnum):
    """What wrote a container, and so what its payload is."""

    AUTOENCODER = 1
    FACTORIZED = 2


@dataclass(frozen=True)
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

    @property
    def listed(self) -> int:
        """Number of symbols with an entry of their own."""
        return self.frequencies.size - 1


def _stream() -> Any:  # noqa: ANN401 - constriction has no types
    """Return constriction's coders; imported late, because only real bytes need the library."""
    return importlib.import_module("constriction").stream


def _categorical(table: SymbolTable) -> Any:  # noqa: ANN401
    """Return constriction's model with exactly the frequencies of ``table``.

    Its fast constructor gives every entry 1 and shares out the other ``2**24 - n`` in proportion,
    so handing it ``frequencies - 1``, whose sum is just that, reproduces them to the integer.
    """
    return _stream().model.Categorical((table.frequencies - 1).astype(np.float64), perfect=False)


def _escape_models() -> tuple[Any, Any]:
    """Return the models of an escaped value: of its bit length, and of a plain bit."""
    mass = np.exp2(-np.arange(1.0, _ESCAPE_LENGTHS))
    return _categorical(SymbolTable.from_mass(mass, first=0)), _stream().model.Uniform(2)


def encode_symbols(symbols: NDArray[np.integer], tables: list[SymbolTable]) -> bytes:
    """Code the symbols of one picture, each row with its own table.

    A symbol outside its table is escaped: its distance beyond the table follows as an Elias gamma
    code (bit length, side, bits), so every symbol comes back exactly.

    Parameters
    ----------
    symbols : ndarray of int
        Symbols ``[M, N]``.
    tables : list of SymbolTable
        One for each of the ``M`` rows.

    Returns
    -------
    bytes
        The ideal length of the message and about ``CODER_BITS`` more.

    Raises
    ------
    ValueError
        If the rows do not match the tables, or a symbol exceeds ``2**30`` in magnitude.
    """
    if symbols.ndim != 2 or symbols.shape[0] != len(tables):
        raise ValueError(f"expected symbols [{len(tables)}, N], got {list(symbols.shape)}.")
    largest = max(int(symbols.max()), -int(symbols.min())) if symbols.size else 0
    if largest > MAX_SYMBOL:
        raise ValueError(
            f"a symbol of magnitude {largest} is beyond the limit of 2**30: "
            "the latents have diverged."
        )
    first = np.array([table.first for table in tables])[:, None]
    listed = np.array([table.listed for table in tables])[:, None]
    index = symbols.astype(np.int64) - first
    outside = (index < 0) | (index >= listed)
    coder = _stream().stack.AnsCoder()
    # The coder is a stack: what is decoded last is pushed first.
    if outside.any():
        above = index[outside] >= 0
        beyond = np.where(above, (index - listed)[outside], (-1 - index)[outside]) + 1
        lengths = np.frexp(beyond)[1] - 1
        owner, place = _bit_layout(lengths)
        length_model, bit_model = _escape_models()
        coder.encode_reverse(((beyond[owner] >> place) & 1).astype(np.int32), bit_model)
        coder.encode_reverse(above.astype(np.int32), bit_model)
        coder.encode_reverse(lengths.astype(np.int32), length_model)
    index = np.where(outside, listed, index).astype(np.int32)
    for row, table in zip(index[::-1], reversed(tables), strict=True):
        coder.encode_reverse(row, _categorical(table))
    return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


def decode_symbols(payload: bytes, tables: list[SymbolTable], count: int) -> NDArray[np.int64]:
    """Undo :func:`encode_symbols`: return the symbols ``[M, count]``.

    Raises
    ------
    CorruptStream
        If the payload is not exactly what :func:`encode_symbols` writes for such symbols.
    """
    if payload.endswith(b"\0"):
        raise CorruptStream("the coded symbols end in a zero byte, which is never written.")
    words = np.frombuffer(payload + bytes(-len(payload) % 4), "<u4").astype(np.uint32)
    coder = _stream().stack.AnsCoder(words)
    index = np.stack([coder.decode(_categorical(table), count) for table in tables])
    index = index.astype(np.int64)
    listed = np.array([table.listed for table in tables])[:, None]
    outside = index == listed
    if outside.any():
        length_model, bit_model = _escape_models()
        lengths = coder.decode(length_model, int(outside.sum()))
        above = coder.decode(bit_model, lengths.size).astype(bool)
        owner, place = _bit_layout(lengths)
        bits = coder.decode(bit_model, owner.size).astype(np.int64)
        beyond = 2 ** lengths.astype(np.int64)
        np.add.at(beyond, owner, bits << place)
        last = np.broadcast_to(listed, index.shape)[outside]
        index[outside] = np.where(above, last + beyond - 1, -beyond)
    if not coder.is_empty():
        raise CorruptStream("bits are left over after the last symbol.")
    return index + np.array([table.first for table in tables])[:, None]


def _bit_layout(lengths: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """For numbers of so many bits written one after the other: whose bit, and its place."""
    owner = np.repeat(np.arange(lengths.size), lengths)
    start = np.cumsum(lengths) - lengths
    return owner, np.arange(owner.size) - start[owner]


def pack(payload: bytes, *, kind: Kind, size: tuple[int, int], channels: int, model: int) -> bytes:
    """Put the payload of one picture into a container.

    Parameters
    ----------
    payload : bytes
        What the codec wrote.
    kind : Kind
        The codec that wrote it.
    size : (int, int)
        Height and width of the picture, pixels.
    channels : int
        Channels of the picture.
    model : int
        32-bit fingerprint of the model that wrote it; only that model reads it.

    Raises
    ------
    ValueError
        If the picture is too large for the container.
    """
    height, width = size
    if max(height, width, channels) >= 2**16 or height * width * channels > MAX_VALUES:
        raise ValueError(
            f"a {height}x{width} picture of {channels} channels is too large for a file: at most "
            f"{MAX_VALUES} values and 65535 along each axis. Code it in tiles."
        )
    head = _HEADER.pack(_MAGIC, _VERSION, kind, height, width, channels, model, len(payload))
    return head + _CHECK.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def unpack(data: bytes, *, kind: Kind, channels: int, model: int) -> tuple[tuple[int, int], bytes]:
    """Check a container and return the size (height, width) of its picture and its payload.

    Raises
    ------
    CorruptStream
        If the bytes are not a container, are damaged, or were written by another codec, for
        another number of channels, or by a model with other parameters.
    """
    if len(data) < HEADER_BYTES:
        raise CorruptStream(f"truncated: {len(data)} bytes, the header alone has {HEADER_BYTES}.")
    magic, version, found_kind, height, width, found_channels, found_model, length = (
        _HEADER.unpack_from(data)
    )
    if magic != _MAGIC:
        raise CorruptStream(f"not a file of this library: it starts with {magic!r}.")
    if version != _VERSION:
        raise CorruptStream(f"format version {version} is unknown, this code reads {_VERSION}.")
    payload = data[HEADER_BYTES:]
    if len(payload) != length:
        fault = "truncated" if len(payload) < length else "too long"
        raise CorruptStream(f"{fault}: {len(payload)} bytes of payload, the header says {length}.")
    (check,) = _CHECK.unpack_from(data, _HEADER.size)
    if zlib.crc32(payload, zlib.crc32(data[: _HEADER.size])) != check:
        raise CorruptStream("damaged: the checksum does not match.")
    if found_kind != kind:
        name = next((k.name for k in Kind if k == found_kind), f"kind {found_kind}")
        raise CorruptStream(f"written by another codec: {name}, this one is {kind.name}.")
    if found_channels != channels:
        raise CorruptStream(f"a picture of {found_channels} channels, this codec has {channels}.")
    if found_model != model:
        raise CorruptStream(
            f"written by a model with fingerprint {found_model:08x}, this one is {model:08x}: "
            "load the parameters that wrote it."
        )
    if not 0 < height * width * channels <= MAX_VALUES:
        raise CorruptStream(f"a picture of {height}x{width} is outside the limits of the format.")
    return (height, width), payload
