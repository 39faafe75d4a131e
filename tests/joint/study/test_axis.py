import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from joint.study import Axis


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


def test_a_range_on_a_grid_has_its_ends():
    axis = Axis(path="a", low=1, high=1000, scale="log", points=4)
    assert axis.levels() == (1, 10, 100, 1000)
    assert Axis(path="a", low=0, high=1, points=3).levels() == (0, 0.5, 1)
    # Points that round to one number are one level.
    assert Axis(path="a", low=1, high=2, integer=True, points=5).levels() == (1, 2)


@given(place=st.floats(0, 1), low=st.floats(1e-3, 10), ratio=st.floats(1.01, 1e4))
def test_places_on_a_range_are_spread_as_said(place, low, ratio):
    high = low * ratio
    even = Axis(path="a", low=low, high=high).at(place)
    assert even == pytest.approx(low + place * (high - low), rel=1e-5)
    log = Axis(path="a", low=low, high=high, scale="log").at(place)
    assert math.log(log / low) == pytest.approx(place * math.log(ratio), abs=1e-5)
    assert log == float(f"{log:.6g}")  # the name of a run must not hang on the last bits


@given(place=st.floats(0, 1, exclude_max=True))
def test_places_on_values_have_equal_shares(place):
    assert Axis(path="a", values=(0, 1, 2)).at(place) == int(3 * place)


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
        ({"low": 0, "high": 1}, "a range needs the path"),
        ({"path": "a", "low": 0, "high": 1, "labels": ("x",)}, "a range has no labels"),
        ({"path": "a", "values": (1, 2), "points": 2}, "belong to a range, not to values"),
        ({"path": "a", "values": (1, 2), "labels": ("x",)}, "2 values need as many labels, not 1"),
        ({"values": (1, 2), "labels": ("x", "y")}, "values that name the fields"),
        ({"values": ({"a": 1},)}, "sets several fields needs labels"),
        ({"path": "a", "values": (1, 1)}, "the level 1 is there twice"),
        ({"path": "training.seed", "values": (1,)}, "training.seed is set by the seeds"),
    ],
)
def test_what_is_no_axis_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Axis(**settings)


def test_a_wrong_level_names_the_nearest():
    axis = Axis(path="a", values=("kernel", "lens"))
    with pytest.raises(ValueError, match="no level 'kernal'; did you mean 'kernel'"):
        axis.assignments("kernal")
    with pytest.raises(ValueError, match="5 is not in the range 0 to 1"):
        Axis(path="a", low=0, high=1).assignments(5)
    with pytest.raises(ValueError, match="a grid needs the points of each range"):
        Axis(path="a", low=0, high=1).levels()
