"""The bits of each block of a baseline JPEG file, read from the file.

::

    file ─► markers ─► tables, layout, entropy-coded scan ─► bits of each block

Nothing is decoded to pixels: the code words are followed, and their lengths are counted.
"""

import re
import struct
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .container import CorruptStream

__all__ = ["BLOCK", "jpeg_block_bits", "read_scan"]

BLOCK = 8  # side of the blocks of JPEG, pixels


@dataclass(frozen=True)
class _Scan:
    """The one scan of a baseline JPEG file, and what it takes to read it."""

    size: tuple[int, int]
    sampling: list[tuple[int, int]]
    """Blocks (down, across) of each component in a minimum coded unit."""
    tables: list[tuple[bytes, bytes]]
    """Huffman tables for DC and AC of each component, as in the file: 16 counts, then symbols."""
    interval: int
    """Units between restart markers; 0 without."""
    coded: bytes
    """The entropy-coded bytes, with stuffing and restart markers."""


def jpeg_block_bits(data: bytes) -> NDArray[np.float64]:
    """Return the bits of each 8×8 block of a baseline JPEG file ``[ceil(H/8), ceil(W/8)]``.

    The bits are counted in the scan of the file. The bits of the chrominance are divided evenly
    among the luminance blocks of their unit (2×2 at 4:2:0), and so are those of blocks outside the
    picture. The difference to ``8 * len(data)`` belongs to no block: markers, tables, the zero
    bytes stuffed after each 255, and the padding of the last byte.

    Pure Python: 1 ms per file, plus 1.5 ms for every 5 kB.

    Parameters
    ----------
    data : bytes
        A file of one sequential Huffman-coded scan with 8 bits, as
        :class:`~compress.jpeg_file.JPEG` writes it. Restart markers are supported.

    Returns
    -------
    float64 array ``[ceil(H/8), ceil(W/8)]``, bits

    Raises
    ------
    CorruptStream
        If it is not such a file, or if damage is detected.
    ValueError
        If ``data`` is not bytes.

    References
    ----------
    ITU-T T.81 (1992), annexes B and F.
    """
    if not isinstance(data, bytes):
        raise ValueError(
            f"expected the bytes of one JPEG file, got {type(data).__name__}: read a file with "
            "pathlib.Path.read_bytes, and convert another buffer with bytes()."
        )
    scan = read_scan(data)
    units_down, units_across, blocks = _layout(scan)
    steps = {table: _steps(table) for pair in scan.tables for table in pair}
    order = [
        (steps[dc], steps[ac])
        for (dc, ac), n in zip(scan.tables, blocks, strict=True)
        for _ in range(n[0] * n[1])
    ]
    pieces = re.split(rb"\xff+[\xd0-\xd7]", scan.coded)
    units = units_down * units_across
    interval = scan.interval or units
    if len(pieces) != -(-units // interval):
        raise CorruptStream(f"{len(pieces)} restart intervals instead of {-(-units // interval)}.")
    costs: list[int] = []
    for i, piece in enumerate(pieces):
        _read_bits(piece, order, min(interval, units - i * interval), costs)
    cost = np.array(costs, np.float64).reshape(units_down, units_across, len(order))
    down, across = blocks[0]
    own = cost[..., : down * across].reshape(units_down, units_across, down, across)
    rows, columns = (-(-side // BLOCK) for side in scan.size)
    inside = np.zeros((units_down * down, units_across * across))
    inside[:rows, :columns] = 1
    inside = inside.reshape(units_down, down, units_across, across).swapaxes(1, 2)
    shared = cost.sum(-1) - (own * inside).sum((-1, -2))
    own = own + (shared / inside.sum((-1, -2)))[..., None, None]
    return np.ascontiguousarray(own.swapaxes(1, 2).reshape(units_down * down, -1)[:rows, :columns])


def _layout(scan: _Scan) -> tuple[int, int, list[tuple[int, int]]]:
    """Return units down and across, and the blocks (down, across) of each component in one."""
    height, width = scan.size
    if len(scan.sampling) == 1:  # not interleaved: a unit is a block, whatever the sampling
        return -(-height // BLOCK), -(-width // BLOCK), [(1, 1)]
    down, across = scan.sampling[0]
    return -(-height // (BLOCK * down)), -(-width // (BLOCK * across)), scan.sampling


def _steps(table: bytes) -> "array[int]":
    """Return, for every next 16 bits, how far the code word and its amplitude reach.

    The low 5 bits are the bits to skip, 0 for no code word; the rest is how many coefficients an
    AC symbol advances: a run and its coefficient, 16 zeros, or 100 for the end of the block.
    """
    lengths = np.repeat(np.arange(1, 17), np.frombuffer(table[:16], np.uint8))
    symbols = np.frombuffer(table[16:], np.uint8).astype(np.int64)
    run, size = symbols >> 4, symbols & 15
    advance = np.where(symbols == 0, 100, run + 1)
    reach = 1 << (16 - lengths)  # windows that begin with the code word
    if reach.sum() >= 2**16:
        raise CorruptStream("a Huffman table with too many code words.")
    steps = np.zeros(2**16, np.uint16)
    steps[: reach.sum()] = np.repeat(lengths + size | advance << 5, reach)
    # Not a list: making so many integers, of which few are used, would take longer than the scan.
    return array("H", steps.tobytes())


def _read_bits(
    piece: bytes, order: "list[tuple[array[int], array[int]]]", units: int, costs: list[int]
) -> None:
    """Append the bits of every block of one restart interval to ``costs``."""
    coded = piece.replace(b"\xff\0", b"\xff")
    total = 8 * len(coded)
    # 24 bits from every byte on: a window of 16 at any bit. No code word is all ones, so reading
    # on into those after the end stops at once.
    wide = np.frombuffer(coded + 8 * b"\xff", np.uint8).astype(np.int64)
    windows = (wide[:-2] << 16 | wide[1:-1] << 8 | wide[2:]).tolist()
    place = 0
    for _ in range(units):
        for first, other in order:
            start = place
            step = first[windows[place >> 3] >> 8 - (place & 7) & 0xFFFF]
            place += step & 31
            done = 1
            while done < 64 and step:
                step = other[windows[place >> 3] >> 8 - (place & 7) & 0xFFFF]
                place += step & 31
                done += step >> 5
            if not step or 64 < done < 100:
                raise CorruptStream("the scan ends early, or has an invalid code word.")
            costs.append(place - start)
    if not 0 <= total - place < 8:
        raise CorruptStream(f"{total - place} bits are left over after the last block.")


def read_scan(data: bytes) -> _Scan:
    """Walk the markers of a JPEG file that must have one sequential Huffman-coded scan."""
    if not data.startswith(b"\xff\xd8"):
        raise CorruptStream("not a complete JPEG file (it does not start as one).")
    try:
        return _walk(data)
    except (struct.error, IndexError, KeyError) as error:
        raise CorruptStream("not a complete JPEG file (cut within its headers).") from error


def _walk(data: bytes) -> _Scan:
    size, frame, interval = (0, 0), {}, 0
    huffman: dict[int, bytes] = {}
    place = 2
    while True:
        while data[place : place + 2] == b"\xff\xff":  # fill bytes, B.1.1.2
            place += 1
        mark, kind, length = struct.unpack_from(">BBH", data, place)
        if mark != 0xFF or length < 2:
            raise CorruptStream("not a complete JPEG file (no marker where one should be).")
        body = data[place + 4 : place + 2 + length]
        place += 2 + length
        if kind == 0xC4:  # Huffman tables
            while body:
                end = 17 + sum(body[1:17])
                if end > len(body):
                    raise CorruptStream("a Huffman table longer than its segment.")
                huffman[body[0]] = body[1:end]
                body = body[end:]
        elif kind in (0xC0, 0xC1):  # frame: baseline or extended sequential
            bits, *size, count = struct.unpack_from(">BHHB", body)
            parts = struct.iter_unpack(">BBB", body[6 : 6 + 3 * count])
            frame = {name: (sampling & 15, sampling >> 4) for name, sampling, _ in parts}
            if bits != 8:
                raise CorruptStream(f"a JPEG of {bits} bits, not of 8.")
        elif kind in range(0xC0, 0xD0):
            raise CorruptStream(
                f"a JPEG of kind SOF{kind - 0xC0} (progressive, arithmetic or lossless), "
                "not baseline."
            )
        elif kind == 0xDD:  # restart interval
            (interval,) = struct.unpack(">H", body)
        elif kind == 0xDA:  # scan
            break
    parts = list(struct.iter_unpack(">BB", body[1 : 1 + 2 * body[0]]))
    # Not through the fill bytes, whose number squared that could take; they are cut off below. Two
    # before a zero byte are neither a marker nor a byte that is stuffed.
    end = re.compile(rb"\xff[^\0\xd0-\xd7\xff]|\xff\xff\0").search(data, place)
    if end is None or end.group() != b"\xff\xd9" or len(parts) != len(frame) or not parts:
        raise CorruptStream("not a complete JPEG file of one scan.")
    if end.end() != len(data):
        raise CorruptStream(f"{len(data) - end.end()} bytes follow the end of the picture.")
    sampling = [frame[name] for name, _ in parts]
    largest = tuple(max(axis) for axis in zip(*sampling, strict=True))
    if min(size) < 1 or sampling[0] != largest or min(map(min, sampling)) < 1:
        raise CorruptStream("a JPEG without a size, or with more chrominance than luminance.")
    tables = [(huffman[t >> 4], huffman[0x10 | t & 15]) for _, t in parts]
    coded = data[place : end.start()].rstrip(b"\xff")
    return _Scan((size[0], size[1]), sampling, tables, interval, coded)
