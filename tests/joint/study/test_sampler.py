import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import qmc

from joint.study import GP, NSGA2, TPE, Axis, Grid, LatinHypercube, Listed, Random, Sobol

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


@pytest.mark.parametrize("seed", [0, 5])
def test_each_stratum_of_a_latin_hypercube_is_hit_once(seed):
    axes = {
        "even": Axis(path="a", low=-2, high=3),
        "light": Axis(path="b", low=1, high=1e4, scale="log"),
        "camera": Axis(path="c", values=("x", "y", "z")),
        "bits": Axis(path="d", low=3, high=6, integer=True),
    }
    found = list(LatinHypercube(count=24, seed=seed).designs(axes))
    even = [int(24 * (d["even"] + 2) / 5) for d in found]
    light = [int(24 * math.log10(d["light"]) / 4) for d in found]
    assert sorted(even) == sorted(light) == list(range(24))
    assert even != light  # not along the diagonal
    assert Counter(d["camera"] for d in found) == dict.fromkeys("xyz", 8)
    assert Counter(d["bits"] for d in found) == dict.fromkeys((3, 4, 5, 6), 6)


def test_a_latin_hypercube_is_that_of_scipy_and_of_its_seed():
    found = list(LatinHypercube(count=11, seed=9).designs(UNIT))
    places = qmc.LatinHypercube(2, seed=np.random.default_rng(9)).random(11)
    np.testing.assert_allclose([[d["u"], d["v"]] for d in found], places, atol=1e-6)
    assert found == list(LatinHypercube(count=11, seed=9).designs(UNIT))
    assert found != list(LatinHypercube(count=11, seed=8).designs(UNIT))


@pytest.mark.parametrize("kind", [Random, Sobol])
def test_the_first_designs_of_a_sequence_are_those_of_a_smaller_one(kind):
    assert _first(kind(count=9, seed=2), UNIT, 9) == _first(kind(count=20, seed=2), UNIT, 20)[:9]


def test_a_latin_hypercube_of_another_count_is_another():
    smaller, larger = (list(LatinHypercube(count=n, seed=2).designs(UNIT)) for n in (9, 10))
    assert (len(smaller), len(larger)) == (9, 10)
    for name in "uv":
        assert {d[name] for d in smaller}.isdisjoint(d[name] for d in larger)


def test_listed_designs_are_checked():
    chosen = ({"light": 7.0, "camera": "y"},)
    assert list(Listed(chosen=chosen).designs(AXES)) == [{"camera": "y", "light": 7.0}]
    with pytest.raises(
        ValueError, match=r"a listed design has levels on camera; .* it has are camera, light"
    ):
        list(Listed(chosen=({"camera": "x"},)).designs(AXES))
    with pytest.raises(ValueError, match="no level 'z'"):
        list(Listed(chosen=({"camera": "z", "light": 1},)).designs(AXES))


def test_a_listed_level_is_written_as_its_axis_writes_it():
    axes = {
        "light": Axis(path="a", low=1, high=100),
        "bits": Axis(path="b", low=1, high=12, integer=True),
        "noise": Axis(path="c", values=(1, 2.5)),
    }
    chosen = ({"light": 10, "bits": 4.0, "noise": 1.0}, {"light": 10.0, "bits": 4, "noise": 2.5})
    found = [[*design.values()] for design in Listed(chosen=chosen).designs(axes)]
    assert repr(found) == "[[10.0, 4, 1], [10.0, 4, 2.5]]"


def test_a_grid_names_the_range_without_points():
    axes = {"light": Axis(path="a", values=(1, 2)), "gain": Axis(path="b", low=0, high=1)}
    with pytest.raises(ValueError, match=r"give the axis gain some, such as points = 5"):
        list(Grid().designs(axes))


def test_a_listed_design_names_the_axis_that_is_wrong():
    axes = {**AXES, "bits": Axis(path="c", low=1, high=12, integer=True)}
    for wrong, message in (
        ({"light": 300.0}, "a listed design, light: 300.0 is not in the range 1 to 100"),
        ({"bits": 2.5}, "a listed design, bits: 2.5 is not a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            list(Listed(chosen=({"camera": "x", "light": 1, "bits": 2, **wrong},)).designs(axes))


@pytest.mark.parametrize("kind", [Random, Sobol, TPE, GP, NSGA2])
def test_any_whole_number_is_a_seed(kind):
    drawn = [_first(kind(count=4, seed=seed), UNIT, 4) for seed in (1, 2**64 + 1, -(2**63) - 7)]
    assert drawn[0] == drawn[1] != drawn[2]
