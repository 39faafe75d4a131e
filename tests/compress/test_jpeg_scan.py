"""What a JPEG file says of its blocks, against restart markers and scans made by hand."""

import io
import re
import struct

import numpy as np
import pytest
import torch
from drawn import levels_of, noise, written
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compress import CorruptStream
from compress.jpeg_file import JPEG
from compress.jpeg_scan import jpeg_block_bits


def scan_of(data: bytes) -> bytes:
    """The entropy-coded bytes of a file, restart markers and all."""
    (length,) = struct.unpack_from(">H", data, data.index(b"\xff\xda") + 2)
    return data[data.index(b"\xff\xda") + 2 + length : -2]


def unstuffed(coded: bytes) -> bytes:
    return coded.replace(b"\xff\0", b"\xff")


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 100),
    st.sampled_from(["4:2:0", "4:2:2", "4:4:4"]),
    st.sampled_from([1, 3]),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(0, 5),
)
def test_the_blocks_add_up_to_the_scan(
    blobs, quality, subsampling, channels, height, width, restart
):
    image = 0.8 * blobs(1, channels, height, width) + 0.2 * noise(channels, height, width)
    options = {"quality": quality, "subsampling": subsampling, "optimize": bool(quality % 2)}
    data = written(levels_of(image[0]), "JPEG", options | {"restart_marker_blocks": restart})
    blocks = jpeg_block_bits(data)
    assert blocks.shape == (-(-height // 8), -(-width // 8))
    assert (blocks > 0).all()
    pieces = re.split(rb"\xff[\xd0-\xd7]", scan_of(data))
    padding = 8 * sum(len(unstuffed(piece)) for piece in pieces) - blocks.sum()
    assert -1e-6 < padding < 8 * len(pieces)


@pytest.mark.parametrize(("subsampling", "side"), [("4:2:0", 16), ("4:4:4", 8)])
@pytest.mark.parametrize("quality", [10, 90])
def test_each_unit_costs_what_lies_between_its_restart_markers(blobs, subsampling, side, quality):
    # With a marker after every unit, a file says itself what each of them takes.
    image = 0.8 * blobs(1, 3, 40, 56) + 0.2 * noise(3, 40, 56)
    options = {"quality": quality, "subsampling": subsampling, "restart_marker_blocks": 1}
    data = written(levels_of(image[0]), "JPEG", options)
    pieces = re.split(rb"\xff[\xd0-\xd7]", scan_of(data))
    padded = [8 * len(unstuffed(piece)) for piece in pieces]
    blocks = torch.from_numpy(jpeg_block_bits(data))
    down, across = -(-40 // side), -(-56 // side)
    step = side // 8
    whole = torch.zeros(down * step, across * step, dtype=torch.float64)
    whole[: blocks.shape[0], : blocks.shape[1]] = blocks
    units = whole.unflatten(1, (across, step)).unflatten(0, (down, step)).sum((1, 3)).flatten()
    assert len(padded) == len(units)
    for room, bits in zip(padded, units.tolist(), strict=True):
        assert room - 8 < bits <= room


def test_a_block_of_known_bits():
    # Two grey blocks, coded by hand with the tables of annex K.3: the first 16 levels brighter
    # than grey, the second 16 darker. The differences of DC are 8 and -16 steps of 16, 4 and 5
    # bits after words of 3 ('101') and 3 ('110'); each block ends with '1010'.
    picture = np.full((8, 16), 144, np.uint8)
    picture[:, 8:] = 112
    data = written(picture, "JPEG", {"quality": 50})
    assert unstuffed(scan_of(data)) == bytes([0b10110001, 0b01011001, 0b11110101])
    assert jpeg_block_bits(data).tolist() == [[3 + 4 + 4, 3 + 5 + 4]]


def test_a_hand_made_scan_that_overruns_its_block_or_uses_the_reserved_word():
    data = written(np.full((8, 8), 128, np.uint8), "JPEG")
    assert unstuffed(scan_of(data)) == bytes([0b00101011])  # DC '00', end '1010', padding
    start = data.index(scan_of(data))
    # Sixteen zeros ('11111111001') four times are one more than a block has coefficients.
    for times, fine in ((3, True), (4, False)):
        bits = "00" + times * "11111111001" + "1010" * fine
        bits += -len(bits) % 8 * "1"
        coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
        longer = data[:start] + coded + b"\xff\xd9"
        if fine:
            assert jpeg_block_bits(longer).tolist() == [[2 + 33 + 4]]
        else:
            with pytest.raises(CorruptStream, match="an invalid code word"):
                jpeg_block_bits(longer)
    # Words of 1, 2, 3, ... bits and two of the last length: all ones is one of them.
    table = data.index(b"\xff\xc4") + 5
    symbols = sum(data[table : table + 16])
    counts = [*(symbols - 2) * [1], 2]
    full = data[:table] + bytes([*counts, *(16 - len(counts)) * [0]]) + data[table + 16 :]
    with pytest.raises(CorruptStream, match="too many code words"):
        jpeg_block_bits(full)


def test_fill_bytes_before_markers_are_skipped():
    # ITU-T T.81, B.1.1.2: any marker may be preceded by any number of bytes 0xFF.
    rng = np.random.default_rng(0)
    data = written(rng.integers(0, 256, (16, 24)).astype(np.uint8), "JPEG")
    bits = jpeg_block_bits(data)
    for marker in (b"\xff\xdb", b"\xff\xc0", b"\xff\xc4", b"\xff\xda", b"\xff\xd9"):
        place = data.rindex(marker) if marker == b"\xff\xd9" else data.index(marker)
        for count in (1, 3):
            filled = data[:place] + count * b"\xff" + data[place:]
            assert np.array_equal(jpeg_block_bits(filled), bits)
            shown = Image.open(io.BytesIO(filled))
            assert np.array_equal(np.asarray(shown), np.asarray(Image.open(io.BytesIO(data))))


def test_fill_bytes_before_restart_markers_are_skipped():
    levels = levels_of(noise(1, 16, 24)[0])
    data = written(levels, "JPEG", {"restart_marker_blocks": 2})
    place = data.index(b"\xff\xd1", data.index(b"\xff\xda"))
    # So many that a search that goes on from each of them would take minutes.
    filled = data[:place] + 200_000 * b"\xff" + data[place:]
    assert np.array_equal(jpeg_block_bits(filled), jpeg_block_bits(data))
    shown, plain = (np.asarray(Image.open(io.BytesIO(x))) for x in (filled, data))
    assert np.array_equal(shown, plain)
    # Two before a zero byte are no fill bytes, but damage.
    with pytest.raises(CorruptStream):
        jpeg_block_bits(data[:place] + b"\xff\xff\0" + data[place:])


def test_only_the_blocks_that_change_cost_more():
    picture = np.full((32, 48), 128, np.uint8)
    plain = jpeg_block_bits(written(picture, "JPEG"))
    rng = np.random.default_rng(0)
    picture[8:16, 16:24] = rng.integers(0, 256, (8, 8))
    data = written(picture, "JPEG")
    change = jpeg_block_bits(data) - plain
    assert change[1, 2] > 100
    change[1, 2:4] = 0  # the next block has the difference of DC
    assert not change.any()


def test_bits_of_blocks_in_the_price(blobs):
    codec, even = JPEG(60, block_bits=True), JPEG(60)
    image = blobs(2, 3, 50, 61)
    image[..., :29] = 0.5
    coded, files = codec(image), codec.compress(image)
    assert files == even.compress(image)
    assert torch.equal(coded.reconstruction, even(image).reconstruction)
    for i, data in enumerate(files):
        blocks = torch.from_numpy(jpeg_block_bits(data))
        assert coded.bits[i].item() == pytest.approx(8 * len(data), rel=1e-6)
        assert coded.side_bits[i].item() == 8 * len(data) - blocks.sum().item()
        for row in range(7):
            for column in range(8):
                block = coded.bits_map[i, 0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                assert block.sum().item() == pytest.approx(blocks[row, column].item(), rel=1e-5)
                assert block.min() == block.max()
    # The flat third of the picture is cheap, which an even spread cannot show.
    share = coded.bits_map[..., :24].sum() / coded.bits_map.sum()
    assert share < 0.15 < 24 / 61 - 0.01
    assert even(image).bits_map[..., :24].sum() / even(image).bits_map.sum() > 0.39
    assert not coded.bits.requires_grad


def test_the_map_of_a_grey_picture_moves_with_it(blobs):
    image = blobs(1, 1, 80, 80)
    maps = [JPEG(block_bits=True)(x).bits_map for x in (image, image.roll((8, 16), (-2, -1)))]
    # Not to the bit: the Huffman tables and the differences at the seams change.
    moved = maps[0].roll((8, 16), (-2, -1))[..., 16:, 24:]
    torch.testing.assert_close(moved, maps[1][..., 16:, 24:], rtol=0, atol=4 / 64)
    assert moved.std() > 4 / 64


def test_files_whose_blocks_cannot_be_counted(blobs):
    image = blobs(1, 3, 64, 64)
    (data,) = JPEG().compress(image)
    scan = scan_of(data)
    start = data.index(scan)
    table = data.index(b"\xff\xc4") + 5
    cases = {
        "does not start as one": b"\x89PNG\r\n" + data,
        "cut within its headers": data[:100],
        "no marker where one should be": data[:2] + b"\0" + data[3:],
        "not a complete JPEG file of one scan": data[:-2],
        "3 bytes follow the end": data + b"abc",
        "bits are left over": data[:start] + scan + b"\x12\x34\xff\xd9",
        "an invalid code word": data[:start] + b"\xff\0" * 100 + b"\xff\xd9",
        "2 restart intervals instead of 1": data[:start] + scan + b"\xff\xd0\x12\xff\xd9",
        "longer than its segment": data[:table] + b"\xff" + data[table + 1 :],
        "too many code words": data[:table]
        + bytes([sum(data[table : table + 16]), *15 * [0]])
        + data[table + 16 :],
        "kind SOF2": written(levels_of(image[0]), "JPEG", {"progressive": True}),
        "a JPEG of 12 bits": data.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "without a size": data.replace(b"\x08\0\x40\0\x40\x03", b"\x08\0\x00\0\x40\x03"),
        "more chrominance than luminance": data.replace(
            b"\x01\x22\0\x02", b"\x01\x11\0\x02"
        ).replace(b"\x02\x11\x01", b"\x02\x22\x01"),
    }
    for message, bad in cases.items():
        with pytest.raises(CorruptStream, match=message):
            jpeg_block_bits(bad)
    # A segment counts its two bytes of length: none has fewer, and a comment may have no more.
    bits = jpeg_block_bits(data)
    assert np.array_equal(jpeg_block_bits(data[:2] + b"\xff\xfe\0\2" + data[2:]), bits)
    with pytest.raises(CorruptStream, match="no marker where one should be"):
        jpeg_block_bits(data[:2] + b"\xff\xfe\0\1" + data[2:])
    for length in range(len(scan)):
        with pytest.raises(CorruptStream, match=r"ends early|of one scan"):
            jpeg_block_bits(data[:start] + scan[:length] + b"\xff\xd9")


def test_damaged_files_are_counted_or_refused(blobs):
    (data,) = JPEG().compress(blobs(1, 3, 32, 32))
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(500):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            blocks = jpeg_block_bits(bytes(damaged))
        except CorruptStream:
            outcomes.add("refused")
        else:
            outcomes.add("counted")
            assert blocks.sum() <= 8 * len(data)
    assert outcomes == {"refused", "counted"}


@pytest.mark.parametrize(
    ("wrong", "given"),
    [(bytearray(8), "bytearray"), (memoryview(b"8"), "memoryview"), ("a.jpg", "str"), ([], "list")],
)
def test_a_file_is_given_as_bytes(wrong, given):
    with pytest.raises(ValueError, match=f"the bytes of one JPEG file, got {given}: read a file"):
        jpeg_block_bits(wrong)
