"""The container of the files of this library: its header states codec, size and checksums.

::

    magic "L2"  version  kind  height  width  channels  model  tables  check │ payload
        2          1       1      2       2       2        4      4      4   │

All numbers are little-endian and unsigned; ``model`` is the fingerprint of the parameters,
``tables`` that of the coding tables, and ``check`` the CRC-32 of everything else, to the end of the
file. The format of the payload depends on the codec kind.
"""

import struct
import zlib
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from .codec import check_payloads, check_same_size

__all__ = [
    "HEADER_BYTES",
    "MAX_VALUES",
    "CorruptStream",
    "Kind",
    "check_size",
    "pack",
    "unpack",
    "unpack_all",
]


class CorruptStream(ValueError):
    """Raised for bytes that are damaged, or were written by another codec or model."""


class Kind(IntEnum):
    """The codec that wrote a container, which determines the format of its payload."""

    AUTOENCODER = 1
    FACTORIZED = 2
    KMEANS = 3
    HYPERPRIOR = 4


MAX_VALUES = 2**26
"""Largest number of values (height x width x channels) of a picture in a container."""

_MAGIC = b"L2"
_VERSION = 1
_HEADER = struct.Struct("<2sBBHHHII")
_CHECK = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CHECK.size
"""Bytes in front of the payload."""


class _Head(NamedTuple):
    kind: int
    height: int
    width: int
    channels: int
    model: int
    tables: int


def check_size(size: tuple[int, int], channels: int) -> None:
    """Raise a ValueError if a picture of ``size`` = (H, W) is too large for a container."""
    height, width = size
    if max(height, width, channels) >= 2**16 or height * width * channels > MAX_VALUES:
        raise ValueError(
            f"a {height}x{width} picture of {channels} channels is too large for a file: at most "
            f"{MAX_VALUES} values and 65535 along each axis. Code it in tiles."
        )


def pack(
    payload: bytes,
    *,
    kind: Kind,
    size: tuple[int, int],
    channels: int,
    model: int,
    tables: int = 0,
) -> bytes:
    """Put the payload of one picture into a container.

    Parameters
    ----------
    payload : bytes
        Bytes from the codec.
    kind : Kind
        The codec that wrote it.
    size : (int, int)
        Height and width of the picture, pixels.
    channels : int
        Channels of the picture.
    model : int
        32-bit fingerprint of the model that wrote it; only the same model can read it.
    tables : int
        32-bit checksum of its coding tables, for a codec that computes them.

    Raises
    ------
    ValueError
        If the picture is too large for the container.
    """
    height, width = size
    check_size(size, channels)
    head = _HEADER.pack(_MAGIC, _VERSION, kind, height, width, channels, model, tables)
    return head + _CHECK.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def unpack(
    data: bytes, *, kind: Kind, channels: int, model: int, tables: int = 0
) -> tuple[tuple[int, int], bytes]:
    """Check a container and return the size (height, width) of its picture and its payload.

    Raises
    ------
    CorruptStream
        If the bytes are not a container, are damaged, or were written by another codec, for
        another number of channels, by a model with other parameters, or on a machine whose
        arithmetic gives other coding tables.
    """
    head, payload = _checked(data)
    if head.kind != kind:
        name = next((k.name for k in Kind if k == head.kind), f"kind {head.kind}")
        raise CorruptStream(f"written by another codec: {name}, this one is {kind.name}.")
    if head.channels != channels:
        raise CorruptStream(f"a picture of {head.channels} channels, this codec has {channels}.")
    if head.model != model:
        raise CorruptStream(
            f"written by a model with fingerprint {head.model:08x}, this one is {model:08x}: "
            "load the parameters that wrote it."
        )
    if head.tables != tables:
        raise CorruptStream(
            "the parameters are those that wrote it, but they give other coding tables on this "
            "machine: decode where it was written, or with the same version of torch."
        )
    return (head.height, head.width), payload


def unpack_all(
    payloads: Sequence[bytes], *, kind: Kind, channels: int, model: int, tables: int = 0
) -> tuple[tuple[int, int], list[bytes]]:
    """Open the containers of a batch; return the common size of their pictures, and payloads.

    Raises
    ------
    CorruptStream
        As :func:`unpack`; the message says which.
    ValueError
        If there are none, or their pictures differ in size.
    """
    check_payloads(payloads)
    opened = []
    for i, data in enumerate(payloads):
        try:
            opened.append(unpack(data, kind=kind, channels=channels, model=model, tables=tables))
        except CorruptStream as error:
            raise CorruptStream(f"payload {i}: {error}") from error
    check_same_size([size for size, _ in opened])
    return opened[0][0], [body for _, body in opened]


def _checked(data: bytes) -> tuple[_Head, bytes]:
    """Check that bytes are an undamaged container, and take it apart."""
    if len(data) < HEADER_BYTES:
        raise CorruptStream(f"truncated: {len(data)} bytes, the header alone has {HEADER_BYTES}.")
    magic, version, *rest = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise CorruptStream(f"not a file of this library: it starts with {magic!r}.")
    if version != _VERSION:
        raise CorruptStream(f"format version {version} is unknown, this code reads {_VERSION}.")
    (check,) = _CHECK.unpack_from(data, _HEADER.size)
    payload = data[HEADER_BYTES:]
    if zlib.crc32(payload, zlib.crc32(data[: _HEADER.size])) != check:
        raise CorruptStream("truncated or damaged: the checksum does not match.")
    head = _Head(*rest)
    if not 0 < head.height * head.width * head.channels <= MAX_VALUES:
        raise CorruptStream(
            f"a picture of {head.height}x{head.width} is outside the limits of the format."
        )
    return head, payload
