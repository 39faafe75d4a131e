"""Warnings of many devices."""

import warnings

import pytest

from joint.analysis.warned import told_once


def study(values, error=None):
    with told_once():
        for value in values:
            warnings.warn(f"{value} photons are few: 1.5e-3 of {value}", UserWarning, stacklevel=2)
            warnings.warn("another", RuntimeWarning, stacklevel=2)
        if error is not None:
            raise error
    return len(values)


@pytest.fixture(autouse=True)
def _shown():
    """As filters are outside of pytest, where a warning is no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


def test_those_that_differ_in_their_numbers_are_told_once_at_the_caller():
    with pytest.warns() as caught:
        assert study([12.5, 3e-7, 4]) == 3
    assert [str(each.message) for each in caught] == [
        "12.5 photons are few: 1.5e-3 of 12.5 (3 warnings of this kind)",
        "another (3 warnings of this kind)",
    ]
    assert [each.category for each in caught] == [UserWarning, RuntimeWarning]
    assert {each.filename for each in caught} == {__file__}


def test_one_alone_is_as_it_was_and_none_is_none():
    with pytest.warns(UserWarning, match=r"of 4$"), pytest.warns(RuntimeWarning, match="^another$"):
        study([4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert study([]) == 0


def test_an_error_is_itself_and_what_was_warned_before_is_told():
    with pytest.warns() as caught, pytest.raises(KeyError, match="it"):
        study([1, 2], KeyError("it"))
    assert len(caught) == 2
    assert all(str(each.message).endswith("(2 warnings of this kind)") for each in caught)


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
