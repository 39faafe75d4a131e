import json

import numpy as np
import pytest
from pages import RESAMPLES, Page
from sklearn.dummy import DummyClassifier
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    matthews_corrcoef,
)

import classify
from joint.report.page import (
    MISSING,
    number,
    page,
)
from joint.report.recorded import by_chance, classification
from joint.saved.predictions import load_predictions


def test_the_classification_is_that_of_the_predictions(whole, parsed):
    saved = load_predictions(whole)
    expected = classify.report(
        saved.logits,
        saved.labels,
        classes=saved.classes,
        groups=saved.groups,
        resamples=RESAMPLES,
    )
    rows = parsed.rows()
    for name, label in (
        ("accuracy", "accuracy"),
        ("balanced_accuracy", "balanced accuracy"),
        ("macro_f1", "macro F1"),
        ("mcc", "Matthews correlation (MCC)"),
        ("cohen_kappa", "Cohen's kappa"),
        ("auc", "AUC"),
        ("nll", "negative log-likelihood"),
        ("brier", "Brier score"),
    ):
        low, high = expected.intervals[name]
        assert rows[label][0] == f"{getattr(expected, name):.3f} [{low:.3f}, {high:.3f}]"
    assert rows["calibration error"][0] == f"{expected.ece:.3f}"
    for k, name in enumerate(expected.classes):
        assert rows[name][:2] == [str(expected.support[k]), str(expected.units[k])]
        assert rows[name][2].startswith(f"{expected.recall[k]:.2f}")
        assert rows[name][6].startswith(f"{expected.class_auc[k]:.2f}")
    assert rows["class"][:2] == ["pictures", "lesions"]


@pytest.mark.parametrize("groups", [None, [f"lesion {i // 2}" for i in range(60)]])
@pytest.mark.parametrize("resamples", [0, RESAMPLES])
def test_the_page_warns_of_classes_as_the_text_does(monkeypatch, groups, resamples, undrawn):
    """Nine of 2 lesions each, more than are named, and one that is predicted but not there."""
    labels = np.concatenate([np.repeat(0, 24), np.repeat(np.arange(1, 10), 4)])
    logits = np.eye(11)[np.where(np.arange(60) % 7, labels, 10)]
    expected = classify.report(logits, labels, groups=groups, resamples=resamples)
    monkeypatch.setattr("joint.report.recorded.judged", lambda run: expected)
    read = Page(page("page", *classification(None, "", None)))
    said = "".join(read.text)
    notes = [line for line in str(expected).splitlines() if line.startswith(("fewer", "no pict"))]
    # Of the twelve lesions of the first class the rankings alone are told too narrowly, and there
    # are only 18 others.
    few = bool(resamples) * (1 if groups is None else 3)
    assert len(notes) == 1 + few
    for line in notes:
        assert f"{line[0].upper()}{line[1:]}." in said
    assert said.count("Fewer than") == few
    units = ["lesions"] if groups else []
    assert read.rows()["class"][: 1 + len(units)] == ["pictures", *units]
    assert read.rows()["1"][: 1 + len(units)] == ["4", *(["2"] if groups else [])]
    # What is not there has nothing to find, and what was taken for it was wrong.
    recall, precision, f1 = read.rows()["10"][1 + len(units) :][:3]
    assert recall == f1 == MISSING
    assert precision.startswith("0.00")


def test_what_chance_gives_is_said_once(whole, parsed):
    labels = load_predictions(whole).labels
    classes = load_predictions(whole).classes
    dummy = DummyClassifier(strategy="most_frequent").fit(labels[:, None], labels)
    always = dummy.predict(labels[:, None])
    said = "".join(parsed.text)
    assert said.count("By chance") == 1
    assert (
        f"By chance: always predicting {classes[always[0]]}, the most frequent class of the "
        f"test part, has an accuracy of {accuracy_score(labels, always):.3f}, a balanced accuracy "
        f"of 1/{len(set(labels.tolist()))} = {balanced_accuracy_score(labels, always):.3f}, and an "
        "MCC and a kappa of 0;"
    ) in said
    assert matthews_corrcoef(labels, always) == cohen_kappa_score(labels, always) == 0


def test_classes_that_are_not_there_have_no_share_in_chance():
    labels = np.repeat([0, 2, 3], [2, 5, 1])
    (said,) = by_chance("abcd", np.bincount(labels).tolist())
    always = np.full(8, 2)
    assert "always predicting c, " in said
    assert f"an accuracy of {accuracy_score(labels, always):.3f}, " in said
    assert f"of 1/3 = {balanced_accuracy_score(labels, always):.3f}, " in said
    assert [*by_chance("ab", [0, 4])] == []  # nothing to tell apart


def test_the_run_is_described(whole, parsed):
    rows = parsed.rows()
    assert rows["scenes"][0].startswith("140 procedural lesions of 32 × 32 pixels")
    assert rows["codec"] == ["jpeg, quality 75, subsampling 4:2:0"]
    assert rows["trained for"] == ["1 epochs, the best is 1"]
    (recorded,) = json.loads((whole / "environment.json").read_text())
    assert rows["threads"] == [str(recorded["threads"])]
    assert rows["commit"] == [recorded["commit"] or number(None)]
    assert rows["deterministic"] == ["no"]
