import itertools

import pytest
import torch
from scipy.stats import qmc

from joint.study import Axis, Grid, Listed, Random, Sobol

AXES = {
    "camera": Axis(path="a", values=("x", "y")),
    "light": Axis(path="b", low=1, high=100, scale="log", points=3),
}
UNIT = {"u": Axis(path="a", low=0, high=1), "v": Axis(path="b", low=0, high=1)}


def _first(sampler, axes, count):
    return list(itertools.islice(sampler.designs(axes), count))


def test_a_grid_is_the_product():
    found = list(Grid().designs(AXES))
    assert [(d["camera"], d["light"]) for d in found] == [
        (camera, light) for camera in ("x", "y") for light in (1, 10, 100)
    ]


def test_random_draws_depend_on_their_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _first(Random(count=9, seed=4), AXES, 9)
    assert first == _first(Random(count=9, seed=4), AXES, 9)
    assert first != _first(Random(count=9, seed=5), AXES, 9)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_draws_fill_the_space():
    found = _first(Random(count=1, seed=0), UNIT, 4000)
    u, v = (torch.tensor([d[name] for d in found]) for name in "uv")
    assert abs(u.mean() - 0.5) < 0.02
    assert abs(torch.corrcoef(torch.stack([u, v]))[0, 1]) < 0.05


@pytest.mark.parametrize("count", [16, 64, 256])
def test_sobol_points_leave_fewer_holes_than_random_ones(count):
    even, chance = (
        [[d["u"], d["v"]] for d in _first(kind(count=count, seed=3), UNIT, count)]
        for kind in (Sobol, Random)
    )
    assert qmc.discrepancy(even) < 0.5 * qmc.discrepancy(chance)


def test_sobol_points_are_one_in_each_interval():
    # A scrambled net of base 2: 2**k points, one in each of 2**k intervals, on every axis.
    found = _first(Sobol(count=32, seed=7), UNIT, 32)
    for name in "uv":
        assert sorted(int(32 * d[name]) for d in found) == list(range(32))
    assert found != _first(Sobol(count=32, seed=8), UNIT, 32)


def test_listed_designs_are_checked():
    chosen = ({"light": 7.0, "camera": "y"},)
    assert list(Listed(chosen=chosen).designs(AXES)) == [{"camera": "y", "light": 7.0}]
    with pytest.raises(ValueError, match="chooses on camera; the axes are camera, light"):
        list(Listed(chosen=({"camera": "x"},)).designs(AXES))
    with pytest.raises(ValueError, match="no level 'z'"):
        list(Listed(chosen=({"camera": "z", "light": 1},)).designs(AXES))
