import copy
import json
import pickle
import pydoc

import numpy as np
import pytest
import torch
from pydantic import Field, ValidationError

from joint import NoneConfig
from joint.settings import FrozenDict, Settings, nearest
from joint.train.training import MONITORS

_ALL = ", ".join(MONITORS)


class _Part(Settings):
    size: float = 1.0


class _Several(Settings):
    sizes: tuple[int, ...] = Field(min_length=2)
    parts: tuple[_Part, ...] = Field(default=(), min_length=1)


class _Two(Settings):
    size: float = 1.0
    depth: int = Field(default=8, ge=1)


def test_settings_are_strict_and_do_not_change():
    with pytest.raises(ValidationError, match=r"sise\n.*_Part has no sise; did you mean 'size'\?"):
        _Part(sise=2)
    with pytest.raises(ValidationError, match="_Two has no lr; choose from size, depth"):
        _Two(lr=2)
    with pytest.raises(ValidationError, match="finite"):
        _Part(size=float("nan"))
    part = _Part()
    with pytest.raises(ValidationError, match="frozen"):
        part.size = 2
    assert NoneConfig().model_dump() == {"kind": "none"}


@pytest.mark.parametrize(
    ("word", "choice"),
    [
        ("acc", "accuracy"),
        ("AUC", "auc"),
        ("f1", "macro_f1"),
        ("bal_acc", "balanced_accuracy"),
        ("balanced", "balanced_accuracy"),
        ("psnr_s", "psnr_scene"),
        ("acuracy", "accuracy"),  # what abbreviates nothing is compared letter by letter
        ("Acuracy", "accuracy"),
        ("acc_bal", None),  # in another order, and far from all by its letters
        ("a", None),  # one letter begins too much
        ("", None),
    ],
)
def test_an_abbreviation_is_nearest_to_what_it_is_short_for(word, choice):
    said = nearest(word, MONITORS)
    assert said == (f"; did you mean {choice!r}?" if choice else f"; choose from {_ALL}")
    assert choice or nearest(word, MONITORS, always=False) == ""


def test_the_nearest_choice_is_said_as_it_is_spelt():
    assert nearest("patient", ["Age", "Patient_ID"]) == "; did you mean 'Patient_ID'?"
    assert nearest("x", ["Age", 3]) == "; choose from Age, 3"


class _Whole(Settings):
    part: _Part = _Part()
    sizes: tuple[float, ...] = ()
    named: dict[str, int] | None = None
    on: bool = False


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"part": {"size": True}}, "part.size\n.*should be a number"),
        ({"sizes": [0.5, False]}, "sizes\n.*should be a number"),
        ({"named": {"one": True}}, "named\n.*should be a number"),
        ({"on": 1}, "on\n.*should be true or false"),
        ({"on": "yes"}, "on\n.*should be true or false"),
    ],
)
def test_a_switch_is_no_number_and_a_number_no_switch(given, place):
    for read in (_Whole.model_validate, lambda given: _Whole(**given)):
        with pytest.raises(ValidationError, match=place):
            read(given)
    with pytest.raises(ValidationError, match=place):
        _Whole.model_validate_json(json.dumps(given))


def test_an_unknown_name_leaves_the_other_errors_as_they_are():
    given = {"part": {"sise": 2}, "sizes": ["{said}"], "onn": True, "on": 1}
    with pytest.raises(ValidationError) as caught:
        _Whole.model_validate(given)
    said = {".".join(map(str, fault["loc"])): fault for fault in caught.value.errors()}
    assert said["part.sise"]["msg"] == "_Part has no sise; did you mean 'size'?"
    assert said["onn"]["msg"] == "_Whole has no onn; did you mean 'on'?"
    assert said["onn"]["type"] == "extra_forbidden"
    assert said["sizes.0"]["type"] == "float_parsing"
    assert said["sizes.0"]["msg"].startswith("Input should be a valid number")
    assert said["sizes.0"]["input"] == "{said}"


def test_a_list_of_an_element_that_failed_is_not_too_short_as_well():
    def faults(**given):
        with pytest.raises(ValidationError) as caught:
            _Several(**given)
        return [(fault["type"], fault["loc"]) for fault in caught.value.errors()]

    assert faults(sizes=[1.5, 2]) == [("int_from_float", ("sizes", 0))]
    assert faults(sizes=[1]) == [("too_short", ("sizes",))]
    # Nor where it failed deeper; another list that is too short is.
    assert faults(sizes=[1], parts=[{"size": "much"}]) == [
        ("too_short", ("sizes",)),
        ("float_parsing", ("parts", 0, "size")),
    ]


def test_numbers_are_read_as_json_and_numpy_write_them():
    read = _Whole(part={"size": np.float64(2)}, sizes=[1, "0.5"], named={"one": 1.0}, on=np.True_)
    assert read == _Whole(part=_Part(size=2.0), sizes=(1.0, 0.5), named={"one": 1}, on=True)


def test_a_switch_of_numpy_or_torch_is_no_number():
    for given in (
        {"part": {"size": np.True_}},
        {"sizes": [np.False_]},
        {"part": {"size": torch.tensor(True)}},
    ):
        with pytest.raises(ValidationError, match=r"size.*\n.*should be a number"):
            _Whole(**given)


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given.__setitem__("b", 2),
        lambda given: given.__delitem__("a"),
        lambda given: given.__ior__({"b": 2}),
        lambda given: given.update(b=2),
        lambda given: given.setdefault("b", 2),
        lambda given: given.pop("a"),
        lambda given: given.popitem(),
        lambda given: given.clear(),
    ],
)
def test_a_frozen_dict_does_not_change(change):
    given = FrozenDict(a=1)
    with pytest.raises(TypeError, match=r"do not change: make new ones, with dict\(settings\)"):
        change(given)
    assert given == {"a": 1}


def test_a_frozen_dict_is_a_dict_with_a_hash():
    given = FrozenDict(a=1, b=2)
    assert given == {"b": 2, "a": 1} == dict(given)
    assert hash(given) == hash(FrozenDict(b=2, a=1)) != hash(FrozenDict(a=1))
    assert {given: "found"}[FrozenDict(b=2, a=1)] == "found"
    for again in (copy.copy(given), copy.deepcopy(given), pickle.loads(pickle.dumps(given))):
        assert type(again) is FrozenDict
        assert again == given
    assert (given | {"c": 3}) == {"a": 1, "b": 2, "c": 3}


class _Told(Settings):
    """Two lines
    of text."""

    size: float = Field(default=1.0, gt=0)
    """In
    micrometres."""
    mute: int = 0


class _More(_Told):
    depth: int = 8
    """In bits."""


def test_help_shows_what_stands_below_a_field():
    assert _Told.__doc__ == (
        "Two lines\nof text.\n\nAttributes\n----------\nsize\n    In\n    micrometres."
    )
    shown = pydoc.render_doc(_More, renderer=pydoc.plaintext)
    assert "size\n |      In\n |      micrometres.\n |  depth\n |      In bits." in shown
