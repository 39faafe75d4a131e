"""A warning points at the line that called the library, however deep it is told."""

import warnings
from pathlib import Path

import pytest

import joint
from joint.caution import told_once

_DEEP = """
import contextlib
import torch
from joint.caution import caution

@torch.inference_mode(False)
def deep():
    with within():
        pass

@contextlib.contextmanager
def within():
    caution("mind the step", RuntimeWarning)
    yield
"""

_DEEPER = """
from joint.caution import caution, told_once

def outer():
    return inner()

@told_once()
def inner():
    for number in range(2):
        caution(f"mind step {number}")
"""


def _deep(file):
    found = {}
    exec(compile(_DEEP, str(file), "exec"), found)
    return found["deep"]


def test_it_points_at_the_caller_whatever_is_between():
    inside = Path(joint.__file__).parent / "train" / "deep.py"
    with pytest.warns(RuntimeWarning, match="^mind the step$") as told:
        _deep(inside)()
    assert [each.filename for each in told] == [__file__]


def test_a_neighbour_whose_name_begins_alike_is_a_caller():
    outside = Path(joint.__file__).parent.with_name("joint_scripts") / "deep.py"
    with pytest.warns(RuntimeWarning) as told:
        _deep(outside)()
    assert [each.filename for each in told] == [str(outside)]


def study(values, error=None, **options):
    with told_once(**options):
        for value in values:
            warnings.warn(f"{value} photons are few: 1.5e-3 of {value}", UserWarning, stacklevel=2)
            warnings.warn("another", RuntimeWarning, stacklevel=2)
        if error is not None:
            raise error
    return len(values)


@pytest.fixture
def shown():
    """As filters are outside of pytest, where a warning is no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


@pytest.mark.usefixtures("shown")
def test_those_that_differ_in_their_numbers_are_told_once_at_the_caller():
    with pytest.warns() as caught:
        assert study([12.5, 3e-7, 4]) == 3
    assert [str(each.message) for each in caught] == [
        "12.5 photons are few: 1.5e-3 of 12.5 (3 warnings of this kind)",
        "another (3 warnings of this kind)",
    ]
    assert [each.category for each in caught] == [UserWarning, RuntimeWarning]
    assert {each.filename for each in caught} == {__file__}


def test_equal_ones_are_counted_where_python_would_show_one_of_a_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        study([7, 7, 7], by_number=True)
    assert [str(each.message) for each in caught] == [
        "7 photons are few: 1.5e-3 of 7 (3 warnings of this kind)",
        "another (3 warnings of this kind)",
    ]


def test_those_of_other_numbers_are_told_apart_where_that_is_asked():
    with pytest.warns() as caught:
        study([12, 3, 12], by_number=True)
    assert [str(each.message) for each in caught] == [
        "12 photons are few: 1.5e-3 of 12 (2 warnings of this kind)",
        "another (3 warnings of this kind)",
        "3 photons are few: 1.5e-3 of 3",
    ]


@pytest.mark.usefixtures("shown")
def test_what_is_told_once_points_at_the_caller_however_deep_it_is():
    inside = Path(joint.__file__).parent / "analysis" / "deep.py"
    found = {}
    exec(compile(_DEEPER, str(inside), "exec"), found)
    with pytest.warns(UserWarning, match="2 warnings of this kind") as told:
        found["outer"]()
    assert [each.filename for each in told] == [__file__]


@pytest.mark.usefixtures("shown")
def test_one_alone_is_as_it_was_and_none_is_none():
    with pytest.warns(UserWarning, match=r"of 4$"), pytest.warns(RuntimeWarning, match="^another$"):
        study([4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert study([]) == 0


@pytest.mark.usefixtures("shown")
def test_an_error_is_itself_and_what_was_warned_before_is_told():
    with pytest.warns() as caught, pytest.raises(KeyError, match="it"):
        study([1, 2], KeyError("it"))
    assert len(caught) == 2
    assert all(str(each.message).endswith("(2 warnings of this kind)") for each in caught)


@pytest.mark.usefixtures("shown")
def test_filters_act_where_a_warning_is_made():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", message="another")
        study([1, 2])
    assert [str(each.message)[:9] for each in caught] == ["1 photons"]
    done = []

    def values():
        for value in (1, 2, 3):
            done.append(value)
            yield value

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with pytest.raises(UserWarning, match="1 photons"):
            study(values())
    assert done == [1]  # at the first, as without
