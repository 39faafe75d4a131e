"""A warning points at the line that called the library, however deep it is told."""

from pathlib import Path

import pytest

import joint

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
