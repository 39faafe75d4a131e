"""The container: small, documented, and never opened where it does not fit."""

import math
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import CorruptStream
from compress.container import HEADER_BYTES, MAX_VALUES, Kind, pack, unpack, unpack_all

WHERE = {"kind": Kind.FACTORIZED, "channels": 3, "model": 0xDEADBEEF, "tables": 0xFEED}


def packed(payload: bytes = b"some bytes", size=(48, 65), **changes) -> bytes:
    return pack(payload, size=size, **{**WHERE, **changes})


def test_the_container_is_small_and_returns_what_it_holds():
    for payload in (b"", b"\0", b"some bytes", bytes(1000)):
        data = packed(payload)
        assert len(data) == HEADER_BYTES + len(payload)
        assert unpack(data, **WHERE) == ((48, 65), payload)
    assert HEADER_BYTES <= 24
    assert packed() == packed()


def test_the_layout_is_the_documented_one():
    data = packed()
    magic, version, kind, height, width, channels, model, tables, check = struct.unpack_from(
        "<2sBBHHHIII", data
    )
    assert (magic, version, kind, height, width, channels) == (b"L2", 1, 2, 48, 65, 3)
    assert (model, tables, data[22:]) == (0xDEADBEEF, 0xFEED, b"some bytes")
    assert check == zlib.crc32(data[:18] + data[22:])


def test_every_flip_truncation_and_extension_is_refused():
    data = packed()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStream):
            unpack(bytes(damaged), **WHERE)
    for length in range(len(data)):
        with pytest.raises(CorruptStream):
            unpack(data[:length], **WHERE)
    for more in (b"\0", b"x", data):
        with pytest.raises(CorruptStream):
            unpack(data + more, **WHERE)


def test_the_largest_picture_fits_and_one_more_channel_does_not():
    side = math.isqrt(MAX_VALUES // 4)
    assert 4 * side * side == MAX_VALUES
    data = packed(size=(side, side), channels=4)
    assert unpack(data, **{**WHERE, "channels": 4}) == ((side, side), b"some bytes")
    with pytest.raises(ValueError, match=f"at most {MAX_VALUES} values"):
        packed(size=(side, side), channels=5)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80))
def test_noise_is_refused(data):
    with pytest.raises(CorruptStream):
        unpack(data, **WHERE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated: 0 bytes, the header alone has 22"),
        (packed()[:-1], "truncated or damaged: the checksum does not match"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "not a file of this library"),
        (b"L2\x07" + packed()[3:], "format version 7 is unknown"),
        (packed() + b"x", "damaged: the checksum does not match"),
        (packed(kind=Kind.AUTOENCODER), "another codec: AUTOENCODER, this one is FACTORIZED"),
        (packed(channels=1), "a picture of 1 channels, this codec has 3"),
        (packed(model=1), "fingerprint 00000001, this one is deadbeef"),
        (packed(tables=1), "but they give other coding tables on this machine"),
    ],
)
def test_messages(data, message):
    with pytest.raises(CorruptStream, match=message):
        unpack(data, **WHERE)


# The last one has few enough pixels, but not with three channels.
@pytest.mark.parametrize("size", [(65535, 65535), (0, 10), (8192, 4096)])
def test_a_forged_size_asks_for_no_memory(size):
    head = struct.pack("<2sBBHHHII", b"L2", 1, 2, *size, 3, 0xDEADBEEF, 0)
    with pytest.raises(CorruptStream, match="outside the limits"):
        unpack(head + struct.pack("<I", zlib.crc32(head)), **WHERE)


def test_a_batch_is_opened_whole_or_not_at_all():
    first, second = packed(b"one"), packed(b"two")
    assert unpack_all([first, second], **WHERE) == ((48, 65), [b"one", b"two"])
    with pytest.raises(CorruptStream, match="payload 1: truncated"):
        unpack_all([first, b""], **WHERE)
    with pytest.raises(ValueError, match="different sizes do not form one batch: 1x2, 48x65"):
        unpack_all([first, packed(size=(1, 2))], **WHERE)
    with pytest.raises(ValueError, match="the list of payloads is empty"):
        unpack_all([], **WHERE)


@pytest.mark.parametrize("size", [(65536, 16), (16, 70000), (20000, 20000)])
def test_what_the_container_cannot_hold_is_refused_when_written(size):
    with pytest.raises(ValueError, match="too large for a file"):
        packed(size=size)
