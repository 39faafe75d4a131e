import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from classify.data.draws import Draws, _threefry_host, keys_of, threefry


def _keys(count, seed=0):
    numbers = torch.arange(count)
    return keys_of(seed, 1, numbers, numbers % 7)


def _words(*numbers):
    return tuple(torch.tensor([n]).to(torch.int32) for n in numbers)


# Known answers of the authors' library Random123, threefry2x32 with 20 rounds.
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_words_are_those_of_random123(counter, key, expected):
    for draw in (threefry, _threefry_host):
        drawn = draw(_words(*key), _words(*counter))
        assert tuple(int(word) & 0xFFFFFFFF for word in drawn) == expected


def test_words_of_the_cpu_are_those_of_every_device():
    some = torch.Generator().manual_seed(0)
    shapes = ((5, 1, 1), (5, 1, 1), (1, 1, 1), (5, 7, 3))
    k0, k1, c0, c1 = (
        torch.randint(-(2**31), 2**31, s, generator=some).to(torch.int32) for s in shapes
    )
    for ours, theirs in zip(
        _threefry_host((k0, k1), (c0, c1)), threefry((k0, k1), (c0, c1)), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_numbers_follow_their_laws():
    draws = Draws(_keys(40))
    uniform = draws.uniform(-1.0, 3.0, 500).flatten().numpy()
    assert kstest(uniform, "uniform", (-1, 4)).pvalue > 0.01
    normal = draws.normal(2.0, 0.5, 500).flatten().numpy()
    assert kstest(normal, "norm", (2, 0.5)).pvalue > 0.01
    whole = draws.integers(3, 8, 1000).flatten().numpy()
    assert set(whole) == {3, 4, 5, 6, 7}
    np.testing.assert_allclose(np.bincount(whole.astype(int))[3:] / whole.size, 0.2, atol=0.01)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**63 - 1), st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_an_item_has_the_same_numbers_in_every_batch(seed, counts):
    keys = _keys(9, seed)
    together, alone = Draws(keys, 5), Draws(keys[4:5], 5)
    some = Draws(keys, 5).of(torch.tensor([8, 4]))
    for count in counts:
        numbers = together.uniform(count=count)
        assert torch.equal(numbers[4:5], alone.uniform(count=count))
        assert torch.equal(numbers[[8, 4]], some.uniform(count=count))


def test_items_streams_and_seeds_have_nothing_in_common():
    one = Draws(_keys(2)).uniform(count=4000)
    others = [one[1], Draws(_keys(2), 1).uniform(count=4000)[0]]
    others.append(Draws(_keys(2, seed=1)).uniform(count=4000)[0])
    others.append(Draws(_keys(2, seed=2**32)).uniform(count=4000)[0])
    for other in others:
        assert abs(np.corrcoef(one[0], other)[0, 1]) < 0.05


@settings(deadline=None, max_examples=40)
@given(st.integers(-200, 200), st.integers(-100, 100), st.integers(0, 20), st.integers(0, 10))
def test_a_part_of_a_surface_does_not_depend_on_the_part(row, half, down, right):
    def part(row, column, side):
        at = torch.tensor([0.0, row]), torch.tensor([0.0, column])
        return Draws(_keys(2)).surface(*at, side)[1]

    whole = part(row, 2 * half, 41)
    inner = part(row + down, 2 * (half + right), 15)
    assert torch.equal(inner, whole[down : down + 15, 2 * right : 2 * right + 15])


def test_surfaces_are_white_and_of_unit_deviation():
    zero = torch.zeros(30)
    draws = Draws(_keys(30))
    first, second = draws.surface(zero, zero, 40), draws.surface(zero, zero, 40)
    assert first.mean() == pytest.approx(0, abs=0.02)
    assert first.std() == pytest.approx(1, abs=0.01)
    assert abs((first * second).mean()) < 0.02
    for axis in (1, 2):
        assert abs((first * first.roll(1, axis)).mean()) < 0.02


@pytest.mark.parametrize("cached", [1, 40, 1000])
def test_parts_that_are_mixed_at_once_are_of_no_account(monkeypatch, cached):
    def drawn():
        stream = Draws(keys_of(3, 1, torch.arange(9), torch.arange(9)))
        return stream.uniform(count=11), stream.surface(torch.arange(9), torch.zeros(9), 5)

    whole = drawn()
    monkeypatch.setattr("classify.data.draws._CACHED", cached)
    assert all(map(torch.equal, drawn(), whole))
