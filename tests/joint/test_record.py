import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from classify import Interval
from joint import OperatingPoint
from joint.record import Record, as_json, print_json


class _Part(NamedTuple):
    name: str
    inner: Any


@dataclass(frozen=True)
class _Found(Record):
    parts: tuple[_Part, ...]
    interval: Interval | None
    share: Any
    point: OperatingPoint | None = None


@dataclass
class _Whole:
    found: _Found
    file: Path


def test_everything_becomes_what_json_can_hold():
    value = {"a": (1.5, float("nan")), "b": np.array([[1.0, np.inf]]), "c": [True, None, "x"]}
    expected = {"a": [1.5, None], "b": [[1.0, None]], "c": [True, None, "x"]}
    assert as_json(value) == expected
    assert json.loads(json.dumps(as_json(value), allow_nan=False)) == expected


def test_a_record_is_its_fields_and_an_interval_a_pair():
    parts, far = (_Part("p", _Part("q", ())),), OperatingPoint(distance=math.inf)
    found = _Found(parts, Interval(0.1, math.nan), np.float32(0.5), far)
    assert found.to_dict() == {
        "parts": [{"name": "p", "inner": {"name": "q", "inner": []}}],
        "interval": [0.1, None],
        "share": 0.5,
        "point": {"distance": "inf"},  # as it tells itself
    }
    assert list(found.to_dict()) == ["parts", "interval", "share", "point"]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (np.int64(3), 3),
        (np.float64(np.nan), None),
        (torch.tensor(-math.inf), None),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.tensor([0.5, math.nan], requires_grad=True), [0.5, None]),
    ],
)
def test_numbers_of_numpy_and_torch_are_numbers(number, told):
    assert as_json(number) == told
    json.dumps(as_json(number), allow_nan=False)


def test_what_is_within_another_is_told_by_its_own_way(capsys):
    found = _Found((), None, math.inf)
    print_json([_Whole(found, Path("a") / "b.json")])
    (told,) = json.loads(capsys.readouterr().out)
    assert told == {"found": found.to_dict(), "file": str(Path("a") / "b.json")}
    assert told["found"]["share"] is None
