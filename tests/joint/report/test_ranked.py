from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pages import Page, predictions_of, scenes_of_test

import joint
from joint.report.page import (
    page,
)
from joint.report.ranked import confident_errors, curves_of, errors, thresholds
from joint.report.saved import read_runs
from joint.report.scenes import Measuring, NotHere, Scenes


def test_the_surest_errors_come_first():
    """Of probabilities that are all 1 too, and of equal ones in the order of the pictures."""
    logits = [[40, 0, 0], [0, 60, 0], [50, 0, 0], [0, 0, 1], [0, 0, 1], [9, 0, 0]]
    found = confident_errors(predictions_of(logits, [1, 0, 2, 0, 1, 0]))  # the last is right
    assert [each.row for each in found] == [1, 2, 0, 3, 4]
    assert [(each.truth, each.predicted) for each in found[:2]] == [("mel", "nv"), ("df", "mel")]
    assert [each.probability for each in found[:3]] == [1, 1, 1]
    assert found[3].probability == pytest.approx(np.e / (2 + np.e))
    assert found[3].of_truth == pytest.approx(1 / (2 + np.e))


def test_the_surest_errors_are_told_and_shown(whole, undrawn):
    (run,) = read_runs([whole], resamples=5)
    test = scenes_of_test(whole)
    scenes = Scenes(joint.load_run(whole)[1], test, test)
    said = run.predictions
    shares = torch.from_numpy(said.logits).double().softmax(1).numpy()
    wrong = np.flatnonzero(shares.argmax(1) != said.labels)
    expected = wrong[np.argsort(-shares[wrong].max(1))][:8]
    read = Page(page("page", *errors(run, scenes, Measuring())))
    (rows,) = read.tables
    assert [row[1] for row in rows[1:]] == [said.identifiers[row] for row in expected]
    for row, cells in zip(expected, rows[1:], strict=True):
        truth, guess = said.labels[row], shares[row].argmax()
        assert cells[3:5] == [said.classes[truth], said.classes[guess]]
        assert float(cells[5]) == pytest.approx(shares[row, guess], abs=6e-4)
        assert float(cells[6]) == pytest.approx(shares[row, truth], rel=0.01)
    assert f"Of {len(wrong)} wrong predictions on {len(said.labels)} test pictures" in "".join(
        read.text
    )
    assert [image["alt"] for image in read.images] == ["The most confident errors"]
    # Without the scenes, or another data set in their place, the table stands alone.
    for other, why in (
        ("The scenes are not available: gone", "gone"),
        (Scenes(scenes.system, test.subset([0]), test), "no longer has "),
    ):
        alone = Page(page("page", *errors(run, other, Measuring())))
        assert alone.tables == [rows]
        assert not alone.images
        assert why in "".join(alone.text)


def test_the_picture_of_an_error_is_what_was_judged(whole, monkeypatch, undrawn):
    """The scene of that name above, with the noise of its name below."""
    drawn = []
    monkeypatch.setattr("joint.report.ranked.draw_picture", lambda axis, shown: drawn.append(shown))
    (run,) = read_runs([whole], resamples=5)
    _, system, parts = joint.load_run(whole)
    [*errors(run, Scenes(system, parts.test, parts.test), Measuring())]
    for place, error in enumerate(confident_errors(run.predictions)[:8]):
        scene, handed = drawn[2 * place : 2 * place + 2]
        same = parts.test[error.row].image / 255
        torch.testing.assert_close(scene, same, atol=1e-6, rtol=0)
        with torch.no_grad():
            logits = system.classifier.eval()(handed[None])[0]
        expected = torch.from_numpy(run.predictions.logits[error.row])
        torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)


def test_a_run_without_errors_or_classifier_says_so():
    run = SimpleNamespace(predictions=predictions_of(np.eye(3), [0, 1, 2]), report=None)
    with pytest.raises(NotHere, match="No test picture is classified wrongly"):
        [*errors(run, "", Measuring())]
    run.predictions = None
    for part in (errors, thresholds):
        with pytest.raises(NotHere, match="The system has no classifier"):
            [*part(run, "", Measuring())]
    assert curves_of(run) == {}
