import math
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from joint.study import Axis, Study


def test_levels_are_values_kinds_or_labels():
    assert Axis(path="a", values=(2, 2.5, "x", None, True)).levels() == (2, 2.5, "x", None, True)
    kinds = Axis(path="a", values=({"kind": "none"}, {"kind": "lens", "defocus": 1}))
    assert kinds.levels() == ("none", "lens defocus=1")
    assert kinds.assignments("none") == {"a": {"kind": "none"}}
    named = Axis(path="a", values=([1, 2], {"b": 1}), labels=("one", "two"))
    assert named.levels() == ("one", "two")
    assert named.assignments("two") == {"a": {"b": 1}}
    assert Axis(path="a", values=([1, 2],)).levels() == ("[1, 2]",)


def test_one_choice_may_set_several_fields():
    axis = Axis(values=({"x.y": 1, "z": 2}, {"x.y": 3}), labels=("p", "q"))
    assert axis.assignments("p") == {"x.y": 1, "z": 2}
    assert axis.paths() == {"x.y", "z"}


def test_numbers_without_a_path_set_nothing_themselves():
    for axis in (Axis(values=(50, 300)), Axis(low=50, high=300)):
        assert axis.paths() == set()
        assert axis.is_numeric()
        assert axis.assignments(300) == {}
    with pytest.raises(ValueError, match=r"there is no level 301; did you mean 300\?"):
        Axis(values=(50, 300)).assignments(301)
    with pytest.raises(ValueError, match="301 is not in the range 50 to 300"):
        Axis(low=50, high=300).assignments(301)
    assert not Axis(path="a", values=(1, None)).is_numeric()
    assert not Axis(path="a", values=(1, 2), labels=("x", "y")).is_numeric()


def test_a_range_on_a_grid_has_its_ends():
    axis = Axis(path="a", low=1, high=1000, scale="log", points=4)
    assert axis.levels() == (1, 10, 100, 1000)
    assert Axis(path="a", low=0, high=1, points=3).levels() == (0, 0.5, 1)
    axis = Axis(path="a", low=0.1234567, high=0.9, points=3)
    assert axis.levels() == (0.1234567, 0.511728, 0.9)
    axis = Axis(path="a", low=0.1234567, high=0.1234568, scale="log", points=2)
    assert axis.levels() == (0.1234567, 0.1234568)
    # Points that round to one number are one level.
    assert Axis(path="a", low=1, high=2, integer=True, points=5).levels() == (1, 2)


@given(place=st.floats(0, 1), low=st.floats(1e-3, 10), ratio=st.floats(1.01, 1e4))
def test_places_on_a_range_are_spread_as_said(place, low, ratio):
    high = low * ratio
    even = Axis(path="a", low=low, high=high).at(place)
    assert even == pytest.approx(low + place * (high - low), rel=1e-5)
    log = Axis(path="a", low=low, high=high, scale="log").at(place)
    assert math.log(log / low) == pytest.approx(place * math.log(ratio), abs=1e-5)
    # The name of a run must not hang on the last bits; the ends are as they were given.
    assert log in (low, high, float(f"{log:.6g}"))


@given(place=st.floats(0, 1, exclude_max=True))
def test_places_on_values_have_equal_shares(place):
    assert Axis(path="a", values=(0, 1, 2)).at(place) == int(3 * place)


@given(
    place=st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1),
    low=st.floats(1e-3, 1e4),
    ratio=st.floats(1.0001, 10),
    scale=st.sampled_from(["uniform", "log"]),
    integer=st.booleans(),
)
def test_no_rounding_leaves_the_range(place, low, ratio, scale, integer):
    high = low * ratio
    assume(not integer or math.ceil(low) <= math.floor(high))
    axis = Axis(path="a", low=low, high=high, scale=scale, integer=integer, points=3)
    for level in (axis.at(place), *axis.levels()):
        assert low <= level <= high
        assert isinstance(level, int) == integer
        axis.assignments(level)


def test_ends_of_many_digits_stay_in_the_range():
    axis = Axis(path="a", low=100.00049, high=200.0006, points=2)
    assert axis.levels() == (100.00049, 200.0006)
    assert (axis.at(0.0), axis.at(1.0)) == axis.levels()
    assert Axis(path="a", low=0.6, high=2.4, integer=True, points=2).levels() == (1, 2)
    with pytest.raises(ValidationError, match=r"no whole number from 1\.2 to 1\.8: widen"):
        Axis(path="a", low=1.2, high=1.8, integer=True)


def test_whole_numbers_have_equal_shares():
    axis = Axis(path="a", low=2, high=5, integer=True)
    count = 4000
    found = Counter(axis.at((step + 0.5) / count) for step in range(count))
    assert found == {2: 1000, 3: 1000, 4: 1000, 5: 1000}
    log = Axis(path="a", low=1, high=4, integer=True, scale="log")
    found = Counter(log.at((step + 0.5) / count) for step in range(count))
    for number in (1, 2, 3, 4):  # the density 1 / x from half below to half above
        share = math.log((number + 0.5) / (number - 0.5)) / math.log(4.5 / 0.5)
        assert found[number] / count == pytest.approx(share, abs=1e-3)
    # On a grid the ends are points like the others.
    assert Axis(path="a", low=2, high=5, integer=True, points=4).levels() == (2, 3, 4, 5)


def test_the_end_of_values_is_the_last_one():
    assert Axis(path="a", values=(0, 1, 2)).at(1.0) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "a"}, "either values, or a range from low to high"),
        ({"path": "a", "values": (1,), "low": 0, "high": 1}, "either values, or a range"),
        ({"path": "a", "low": 0}, "either values, or a range"),
        ({"path": "a", "values": ()}, "the axis is empty: give at least one value"),
        ({"path": "a", "low": 2, "high": 1}, "low must be below high, not 2 and 1"),
        ({"path": "a", "low": 0, "high": 1, "scale": "log"}, "needs low above 0, not 0"),
        ({"path": "a", "low": 0, "high": 1, "labels": ("x",)}, "a range has no labels"),
        ({"path": "a", "values": (1, 2), "points": 2}, "belong to a range, not to values"),
        ({"path": "a", "values": (1, 2), "labels": ("x",)}, "2 values need as many labels, not 1"),
        ({"values": (1, 2), "labels": ("x", "y")}, "values that name the fields"),
        ({"values": (1, True)}, "or numbers without labels that a formula reads"),
        ({"values": ({"a": 1},)}, "sets several fields needs labels"),
        ({"path": "a", "low": 0, "high": 1, "points": 10**9}, "less than or equal to 1000000"),
        ({"path": "a", "values": (1, 1)}, "the level 1 occurs twice"),
        ({"path": "training.seed", "values": (1,)}, "training.seed is set by the seeds"),
        (
            {"values": ({"z": 1, "system.seed": 2},), "labels": ("x",)},
            "system.seed is set by the seeds",
        ),
    ],
)
def test_what_is_no_axis_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Axis(**settings)


def test_values_alone_are_told_what_an_axis_has():
    with pytest.raises(ValidationError, match=r"a path and values, such as .*, not \[1, 2\]"):
        Study(name="s", axes={"system.sensor.photons": [1, 2]})


@pytest.mark.parametrize("place", [-0.1, 1.1, math.nan])
def test_a_place_is_on_the_axis(place):
    for axis in (Axis(path="objective.rate", low=0, high=1), Axis(path="a.b", values=(1, 2))):
        with pytest.raises(ValueError, match="a place on an axis is a number from 0 to 1"):
            axis.at(place)


def test_a_level_in_quotes_is_told_from_a_number():
    with pytest.raises(ValueError, match=r"no level '50'; write 50$"):
        Axis(path="system.sensor.photons", values=(50, 300)).assignments("50")
    with pytest.raises(ValueError, match=r'no level 50; write "50"$'):
        Axis(path="system.sensor.photons", values=(1, 2), labels=("50", "60")).assignments(50)


def test_a_wrong_level_names_the_nearest():
    axis = Axis(path="a", values=("kernel", "lens"))
    with pytest.raises(ValueError, match="no level 'kernal'; did you mean 'kernel'"):
        axis.assignments("kernal")
    with pytest.raises(ValueError, match="5 is not in the range 0 to 1"):
        Axis(path="a", low=0, high=1).assignments(5)
    with pytest.raises(ValueError, match="a grid needs the points of each range"):
        Axis(path="a", low=0, high=1).levels()


def test_values_may_be_tuples():
    axis = Axis(path="a", values=((1, 2), {"b": (3, (4, 5))}), labels=("one", "two"))
    assert axis == Axis(path="a", values=[[1, 2], {"b": [3, [4, 5]]}], labels=("one", "two"))
    assert axis.assignments("two") == {"a": {"b": [3, [4, 5]]}}
    assert Axis(path="a", values=((1, 2),)).levels() == ("[1, 2]",)


def test_a_range_of_whole_numbers_has_no_others():
    axis = Axis(path="a", low=1, high=12, integer=True)
    assert axis.assignments(2) == {"a": 2}
    assert axis.assignments(2.0) == {"a": 2}  # as a file may have it
    with pytest.raises(ValueError, match=r"2\.5 is not a whole number, as 1 to 12 requires"):
        axis.assignments(2.5)
    for either in (axis, Axis(path="a", low=0, high=1)):
        with pytest.raises(ValueError, match=r"True is not in the range [01] to 1"):
            either.assignments(True)


def test_true_is_no_one():
    bits = Axis(path="system.sensor.bit_depth", values=(1, 8))
    with pytest.raises(ValueError, match="there is no level True"):
        bits.assignments(True)
    assert bits.assignments(1) == {"system.sensor.bit_depth": 1}
    signed = Axis(path="system.front_end.signed", values=(True, False))
    assert signed.assignments(True) == {"system.front_end.signed": True}
    with pytest.raises(ValueError, match="there is no level 1"):
        signed.assignments(1)
