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


def test_those_that_differ_in_their_numbers_are_told_once_at_the_caller():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
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
    assert study([]) == 0


def test_an_error_is_itself():
    with pytest.raises(KeyError, match="it"):
        study([1, 2], KeyError("it"))
