import json
from typing import NamedTuple

import numpy as np

from classify import Interval
from joint.record import named, plain


class _Part(NamedTuple):
    name: str
    inner: tuple


def test_everything_becomes_what_json_can_hold():
    value = {"a": (1.5, float("nan")), "b": np.array([[1.0, np.inf]]), "c": [True, None, "x"]}
    expected = {"a": [1.5, None], "b": [[1.0, None]], "c": [True, None, "x"]}
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


def test_named_tuples_become_dictionaries_and_intervals_stay_pairs():
    interval = Interval(0.1, 0.9)
    assert named(_Part("p", (interval, _Part("q", ())))) == {
        "name": "p",
        "inner": [interval, {"name": "q", "inner": []}],
    }
    assert named(3.5) == 3.5
