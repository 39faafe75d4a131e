"""An argument of another kind is refused by its name, and not by what fails on it later."""

import math

import numpy as np
import pytest
import torch

import classify

_LABELS = torch.tensor([0, 1, 2, 0])
_SCORES = torch.zeros(4, 3)
_DRAWS = torch.Generator()
_COUNTS = torch.tensor([3, 3, 2])

_CALLS = {
    classify.task_loss: {
        "logits": _SCORES, "labels": _LABELS, "weights": _COUNTS, "log_prior": torch.zeros(3),
        "margins": _COUNTS, "label_smoothing": 0.1, "focal_gamma": 1.0,
    },
    classify.mix: {
        "images": torch.zeros(4, 3, 8, 8), "targets": torch.eye(3)[_LABELS], "kind": "cutmix",
        "alpha": 0.3, "generator": _DRAWS,
    },
    classify.sample_order: {"labels": _LABELS, "power": 0.5, "generator": _DRAWS},
    classify.class_weights: {"counts": _COUNTS, "power": 0.5},
    classify.effective_number_weights: {"counts": _COUNTS, "beta": 0.9},
    classify.log_prior: {"counts": _COUNTS},
    classify.ldam_margins: {"counts": _COUNTS, "largest": 0.5},
    classify.CosineHead: {"in_features": 4, "classes": 3, "scale": 30.0},
    classify.adjust_logits: {"logits": _SCORES, "log_prior": np.zeros(3), "tau": 1.0},
    classify.bootstrap: {
        "statistic": lambda rows: float(rows.mean()), "count": 4, "resamples": 5, "level": 0.9,
        "seed": 0,
    },
}  # fmt: skip
_NUMBERS = {
    "label_smoothing", "focal_gamma", "alpha", "power", "beta", "largest", "scale", "tau", "level",
}  # fmt: skip


@pytest.mark.parametrize("wrong", ["x", {}, object()])
@pytest.mark.parametrize(
    ("call", "name"), [(call, name) for call, given in _CALLS.items() for name in given]
)
def test_what_is_of_another_kind_is_refused_by_name(call, name, wrong):
    call(**_CALLS[call])
    with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b.* (must|not)\b"):
        call(**{**_CALLS[call], name: wrong})


@pytest.mark.parametrize("switch", [True, np.True_, torch.tensor(True)])
@pytest.mark.parametrize(
    ("call", "name"),
    [(call, name) for call, given in _CALLS.items() for name in given if name in _NUMBERS]
    + [(classify.predictive_values, name) for name in ("sensitivity", "specificity", "prevalence")],
)
def test_true_is_no_number(call, name, switch):
    given = _CALLS.get(call, {"sensitivity": 0.9, "specificity": 0.9, "prevalence": 0.1})
    with pytest.raises(TypeError, match=rf"\b{name} must be a number, not (bool|a tensor of bool)"):
        call(**{**given, name: switch})


@pytest.mark.parametrize("number", [1, 0.5, np.float32(0.5), np.int64(1), torch.tensor(0.5)])
def test_any_number_is_one(number):
    found = classify.class_weights(_COUNTS, power=number)
    expected = (8 / (3 * _COUNTS.double())) ** float(number)
    expected *= 3 / expected.sum()
    # Float32 holds the expected values to half a unit in its last place of 24 bits.
    torch.testing.assert_close(found.double(), expected, rtol=2**-22, atol=0)
    assert math.isclose(float(found.sum()), 3, rel_tol=2**-22)
