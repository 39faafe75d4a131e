"""Symbols to bytes: exactly, tightly, and never garbage."""

import copy
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import CorruptStream, bitstream
from compress.bitstream import (
    CODER_BITS,
    MAX_SYMBOL,
    PRECISION,
    SymbolReader,
    SymbolTable,
    encode_sections,
)


def encode(symbols, tables, index=None):
    """One section: each symbol by the table of its row, or by that which its index names."""
    return encode_sections([(symbols, index, tables)])


def decode(payload, tables, count):
    reader = SymbolReader(payload)
    symbols = reader.rows(tables, (count,))
    reader.finish()
    return symbols


def decode_indexed(payload, index, tables):
    reader = SymbolReader(payload)
    symbols = reader.indexed(index, tables)
    reader.finish()
    return symbols


def random_tables(rng: np.random.Generator, rows: int) -> list[SymbolTable]:
    tables = []
    for _ in range(rows):
        mass = rng.dirichlet(np.full(rng.integers(1, 200), 0.2)) * rng.choice([1, 0.999, 0.5])
        tables.append(SymbolTable.from_mass(mass, first=int(rng.integers(-100, 100))))
    return tables


def draw(rng: np.random.Generator, tables: list[SymbolTable], count: int) -> np.ndarray:
    """Symbols distributed as the tables say, the escape as a value somewhere outside."""
    rows = []
    for table in tables:
        index = rng.choice(table.listed + 1, count, p=table.frequencies / 2**PRECISION)
        far = np.where(rng.random(count) < 0.5, table.listed, -1) + rng.integers(-1, 2)
        far = np.where(far >= table.listed, far + rng.integers(0, 1000, count), far)
        far = np.where(far < 0, far - rng.integers(0, 1000, count), far)
        rows.append(np.where(index == table.listed, far, index) + table.first)
    return np.array(rows)


def ideal_bits(symbols: np.ndarray, tables: list[SymbolTable]) -> float:
    """Sum of -log2 of the table's frequencies; an escaped distance d costs 2 floor(log2 d) + 2."""
    total = 0.0
    for row, table in zip(symbols, tables, strict=True):
        index = row - table.first
        outside = (index < 0) | (index >= table.listed)
        beyond = np.where(index < 0, -index, index - table.listed + 1)[outside]
        total += (2 * np.floor(np.log2(beyond)) + 2).sum()
        index = np.where(outside, table.listed, index)
        total -= np.log2(table.frequencies[index] / 2**PRECISION).sum()
    return float(total)


class Reader:
    """An independent decoder, written from the format's description: 64-bit state, 32-bit words."""

    def __init__(self, payload: bytes) -> None:
        payload += bytes(-len(payload) % 4)
        self.words = list(struct.unpack(f"<{len(payload) // 4}I", payload))
        self.state = 0
        self.refill()

    def refill(self) -> None:
        while self.words and self.state < 2**32:
            self.state = self.state << 32 | self.words.pop()

    def take(self, frequencies: np.ndarray) -> int:
        edges = np.concatenate([[0], np.cumsum(frequencies)])
        quantile = self.state % 2**PRECISION
        index = int(np.searchsorted(edges, quantile, side="right")) - 1
        self.state = (self.state >> PRECISION) * int(frequencies[index]) + quantile
        self.state -= int(edges[index])
        self.refill()
        return index

    def symbols(self, tables: list[SymbolTable], count: int) -> list[list[int]]:
        rows = [[self.take(table.frequencies) for _ in range(count)] for table in tables]
        lengths_table = SymbolTable.from_mass(0.5 ** np.arange(1.0, 33), first=0)
        bit = np.array([2 ** (PRECISION - 1)] * 2)
        places = [
            (r, c)
            for r, table in enumerate(tables)
            for c in range(count)
            if rows[r][c] == table.listed
        ]
        lengths = [self.take(lengths_table.frequencies) for _ in places]
        above = [self.take(bit) for _ in places]
        for (r, c), length, up in zip(places, lengths, above, strict=True):
            distance = 2**length + sum(self.take(bit) << i for i in range(length))
            rows[r][c] = tables[r].listed + distance - 1 if up else -distance
        assert self.state == 0
        assert not self.words
        return [[table.first + i for i in row] for table, row in zip(tables, rows, strict=True)]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 300))
def test_symbols_come_back_and_cost_what_they_should(seed, rows, count):
    rng = np.random.default_rng(seed)
    tables = random_tables(rng, rows)
    symbols = draw(rng, tables, count)
    payload = encode(symbols, tables)
    assert np.array_equal(decode(payload, tables, count), symbols)
    assert Reader(payload).symbols(tables, count) == symbols.tolist()
    assert payload == encode(symbols.astype(np.int32), tables)
    overhead = 8 * len(payload) - ideal_bits(symbols, tables)
    assert -32 <= overhead <= 40 + 1e-3 * symbols.size


def test_the_coder_adds_what_coder_bits_says():
    rng = np.random.default_rng(0)
    overheads = []
    for _ in range(200):
        tables = random_tables(rng, 4)
        symbols = draw(rng, tables, 50)
        overheads.append(8 * len(encode(symbols, tables)) - ideal_bits(symbols, tables))
    assert np.mean(overheads) == pytest.approx(CODER_BITS, abs=4)


@pytest.mark.parametrize(
    "symbols",
    [
        [[0, 0, 0, 0]],
        [[2, 2, 2, 2]],
        [[3]],
        [[-1]],
        [[-1, 3, -1, 3]],
        [[MAX_SYMBOL, -MAX_SYMBOL, 0]],
        [[]],
    ],
    ids=str,
)
def test_edges(symbols):
    tables = [SymbolTable.from_mass(np.array([1 - 1e-7, 5e-8, 1e-8]), first=0)]
    symbols = np.array(symbols, dtype=np.int64)
    payload = encode(symbols, tables)
    assert np.array_equal(decode(payload, tables, symbols.shape[1]), symbols)
    assert Reader(payload).symbols(tables, symbols.shape[1]) == symbols.tolist()


def test_large_alphabet():
    rng = np.random.default_rng(1)
    tables = [SymbolTable.from_mass(np.full(2**15, 2.0**-15), first=-(2**14))]
    symbols = rng.integers(-(2**14), 2**14, (1, 2000))
    payload = encode(symbols, tables)
    assert np.array_equal(decode(payload, tables, 2000), symbols)
    assert 8 * len(payload) == pytest.approx(15 * 2000, rel=0.005)


def test_same_bytes_in_another_process(fresh):
    code = (
        "import numpy as np; from compress.bitstream import SymbolTable, encode_sections;"
        "table = SymbolTable.from_mass(np.exp2(-np.abs(np.arange(-9, 10.)) - 2), first=-9);"
        "print(encode_sections([(np.arange(-20, 20)[None], None, [table])]).hex())"
    )
    run = fresh.run(code)
    table = SymbolTable.from_mass(np.exp2(-np.abs(np.arange(-9, 10.0)) - 2), first=-9)
    payload = encode(np.arange(-20, 20)[None], [table])
    assert run.stdout.strip() == payload.hex()
    # And in another year: the format is fixed.
    assert payload.hex() == FIXED


FIXED = "00008053a14ae7ec79b9c8ad1d70cb9b4082bffe00bdb3d753440282413400032e85e761dd1ee607"


def test_tables_hold_every_symbol():
    table = SymbolTable.from_mass(np.array([0, 5e-324, 0.5, 1e-30]), first=-2)
    assert table.frequencies.tolist()[:2] == [1, 1]
    assert table.frequencies.sum() == 2**PRECISION
    assert table.frequencies[2] == pytest.approx(2 ** (PRECISION - 1), rel=1e-6)
    assert table.frequencies[-1] == pytest.approx(2 ** (PRECISION - 1), rel=1e-6)


@pytest.mark.parametrize(
    "mass", [[0.5, float("nan")], [-0.1, 0.5], [0.6, 0.6], [], [float("inf")]], ids=str
)
def test_impossible_probabilities_are_refused(mass):
    with pytest.raises(ValueError, match="non-negative probabilities with a sum of at most 1"):
        SymbolTable.from_mass(np.array(mass, dtype=float), first=0)


def test_what_cannot_be_coded_is_refused():
    table = SymbolTable.from_mass(np.array([0.5, 0.4]), first=0)
    with pytest.raises(ValueError, match=r"expected symbols \[1, ...\], got \[2, 1\]"):
        encode(np.zeros((2, 1), dtype=int), [table])
    with pytest.raises(ValueError, match="symbols that are integers, got float64: round first"):
        encode(np.array([[0.5]]), [table])
    with pytest.raises(ValueError, match=r"expected symbols \[1, ...\], got \[\]"):
        encode(0, [table])
    assert encode([[0, 1]], [table]) == encode(np.array([[0, 1]]), [table])
    for bad in (MAX_SYMBOL + 1, -(2**63)):
        with pytest.raises(ValueError, match=r"beyond the limit of 2\*\*30"):
            encode(np.array([[bad]]), [table])
        with pytest.raises(ValueError, match=r"beyond the limit of 2\*\*30"):
            encode(np.array([[0, bad, 1]]), [table])
    with pytest.raises(ValueError, match="1048577 symbols are too many for 24-bit tables"):
        SymbolTable.from_mass(np.full(2**20, 2.0**-21), first=0)
    assert SymbolTable.from_mass(np.full(2**20 - 1, 2.0**-21), first=0).listed == 2**20 - 1


def test_bits_left_over_or_trailing_zeros_are_refused():
    table = SymbolTable.from_mass(np.array([0.5, 0.4]), first=0)
    payload = encode(np.tile([[0, 1]], 50), [table])
    with pytest.raises(CorruptStream, match="left over"):
        decode(payload, [table], 99)
    with pytest.raises(CorruptStream, match="zero byte"):
        decode(payload + b"\0", [table], 100)


def test_a_symbol_beyond_the_limit_is_refused_when_read(monkeypatch):
    table = SymbolTable.from_mass(np.array([0.5, 0.4]), first=0)
    for value in (MAX_SYMBOL + 1, -MAX_SYMBOL - 1):
        with monkeypatch.context() as patch:
            patch.setattr(bitstream, "MAX_SYMBOL", 2**31)
            payload = encode(np.array([[value]]), [table])
        with pytest.raises(CorruptStream, match=r"beyond the limit of 2\*\*30"):
            decode(payload, [table], 1)


def test_a_used_table_copies_and_pickles():
    table = SymbolTable.from_mass(np.array([0.5, 0.4]), first=0)
    symbols = np.array([[0, 1, 5, 1]])
    payload = encode(symbols, [table])
    for other in (copy.copy(table), copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        assert other.first == table.first
        assert np.array_equal(other.frequencies, table.frequencies)
        assert np.array_equal(decode(payload, [other], 4), symbols)


# --- tables chosen by an index -----------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(0, 2000))
def test_indexed_symbols_come_back_and_cost_what_they_should(seed, family, count):
    rng = np.random.default_rng(seed)
    tables = random_tables(rng, family)
    index = rng.integers(0, family, count)
    symbols = np.array([draw(rng, [tables[i]], 1).item() for i in index], dtype=np.int64)
    payload = encode(symbols, tables, index)
    assert np.array_equal(decode_indexed(payload, index, tables), symbols)
    # The documented order: table after table, the symbols of each in raster order.
    order = sorted(range(count), key=lambda i: index[i])
    in_order = [symbols[i] for i in order], [tables[index[i]] for i in order]
    assert Reader(payload).symbols(in_order[1], 1) == [[s] for s in in_order[0]]
    overhead = 8 * len(payload) - ideal_bits(symbols[:, None], [tables[i] for i in index])
    assert -32 <= overhead <= 40 + 1e-3 * count


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(0, 50))
def test_rows_are_the_case_where_the_index_is_the_row(seed, rows, count):
    rng = np.random.default_rng(seed)
    tables = random_tables(rng, rows)
    symbols = draw(rng, tables, count)
    index = np.broadcast_to(np.arange(rows)[:, None], symbols.shape)
    payload = encode(symbols, tables, index)
    assert payload == encode(symbols, tables)
    assert np.array_equal(decode_indexed(payload, index, tables), symbols)


def test_the_type_and_layout_of_the_index_do_not_matter():
    rng = np.random.default_rng(2)
    tables = random_tables(rng, 40)
    index = rng.integers(0, 40, (5, 6, 7))
    symbols = rng.integers(-300, 300, (5, 6, 7))
    payload = encode(symbols, tables, index)
    for kind in (np.int8, np.uint8, np.int32, np.uint64):
        strided = np.asfortranarray(index.astype(kind))
        assert encode(np.asfortranarray(symbols), tables, strided) == payload
        assert np.array_equal(decode_indexed(payload, strided, tables), symbols)


def test_no_symbols_and_no_tables():
    assert encode(np.zeros((0, 3), int), [], np.zeros((0, 3), int)) == b""
    assert decode_indexed(b"", np.zeros((0, 3), int), []).shape == (0, 3)
    assert encode(np.zeros((0, 3), int), []) == b""
    assert decode(b"", [], 3).shape == (0, 3)
    with pytest.raises(CorruptStream, match="left over"):
        decode_indexed(b"x", np.zeros(0, int), [])


def test_an_index_with_other_counts_is_noticed():
    rng = np.random.default_rng(3)
    tables = random_tables(rng, 8)
    index = rng.integers(0, 8, 500)
    symbols = np.array([draw(rng, [tables[i]], 1).item() for i in index])
    payload = encode(symbols, tables, index)
    for place in range(0, 500, 10):
        wrong = index.copy()
        wrong[place] = (wrong[place] + 1) % 8
        with pytest.raises(CorruptStream):
            decode_indexed(payload, wrong, tables)


def test_what_cannot_be_indexed_is_refused():
    table = SymbolTable.from_mass(np.array([0.5, 0.4]), first=0)
    symbols = np.zeros(3, dtype=int)
    with pytest.raises(ValueError, match=r"symbols \[3\] and index \[2\]"):
        encode(symbols, [table], np.zeros(2, dtype=int))
    for index in ([0, 1, 0], [0, -1, 0]):
        with pytest.raises(ValueError, match=r"one of 1 tables, 0 to 0; got (0 to 1|-1 to 0)"):
            encode(symbols, [table], np.array(index))
        with pytest.raises(ValueError, match="one of 1 tables"):
            decode_indexed(b"", np.array(index), [table])
    with pytest.raises(ValueError, match="an index of integers, got float64"):
        encode(symbols, [table], np.zeros(3))
    with pytest.raises(ValueError, match=r"beyond the limit of 2\*\*30"):
        encode(symbols + 2**31, [table], symbols)


# --- several sections in one message ---------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(0, 40), st.integers(0, 60))
def test_what_is_read_first_may_choose_the_tables_of_the_rest(seed, rows, count, others):
    rng = np.random.default_rng(seed)
    tables, family = random_tables(rng, rows), random_tables(rng, 7)
    first = draw(rng, tables, count)
    index = (np.arange(others) + first.sum()) % 7
    second = rng.integers(-200, 200, others)
    payload = encode_sections([(first, None, tables), (second, index, family)])
    reader = SymbolReader(payload)
    read = reader.rows(tables, (count,))
    assert np.array_equal(read, first)
    told = (np.arange(others) + read.sum()) % 7
    assert np.array_equal(reader.indexed(told, family), second)
    reader.finish()


def test_two_sections_share_one_flush_of_the_coder():
    together = apart = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        tables, family = random_tables(rng, 3), random_tables(rng, 7)
        first, index = draw(rng, tables, 30), rng.integers(0, 7, 50)
        second = rng.integers(-200, 200, 50)
        together += len(encode_sections([(first, None, tables), (second, index, family)]))
        apart += len(encode(first, tables)) + len(encode(second, family, index))
    # About 22 bits of each second flush.
    assert apart - together == pytest.approx(40 * 22 / 8, rel=0.25)


def test_a_section_that_is_left_unread_is_noticed():
    table = SymbolTable.from_mass(np.array([0.5, 0.4]), first=0)
    rows = np.arange(100)[None] % 2
    reader = SymbolReader(encode_sections([(rows, None, [table]), (rows, None, [table])]), "it")
    reader.rows([table], (10, 10))
    with pytest.raises(CorruptStream, match="it: bits are left over after the last symbol"):
        reader.finish()
