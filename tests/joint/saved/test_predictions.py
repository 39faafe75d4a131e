import os

import numpy as np
import pytest
import torch

import classify
import compress
import joint
from joint.saved.checkpoint import CheckpointDamaged
from joint.saved.folder import RunFolder
from joint.saved.predictions import load_predictions


class _Scores(torch.nn.Module):
    in_channels = 3

    def forward(self, image):
        return image.mean((-2, -1)) * torch.tensor([1.0, -1.0, 0.1])


@pytest.fixture
def evaluation(lesions):
    return joint.evaluate(joint.ImagingSystem(classifier=_Scores()), lesions)


def test_predictions_come_back_as_they_were(tmp_path, lesions, evaluation):
    run = RunFolder(tmp_path)
    run.save_predictions(evaluation, lesions.classes)
    for place in (tmp_path, tmp_path / "predictions.safetensors", str(tmp_path)):
        found = load_predictions(place)
        assert found.logits.dtype == np.float32
        assert np.array_equal(found.logits, evaluation.logits)
        assert found.labels.dtype == np.int64
        assert found.labels.tolist() == lesions.labels.tolist()
        assert found.identifiers == tuple(lesions.identifiers)
        assert found.groups == lesions.groups
        assert found.classes == lesions.classes
        assert str(found).startswith(f"Predictions({len(lesions)} pictures in ")
        assert lesions.identifiers[0] not in str(found)


def test_predictions_of_two_runs_can_be_compared_in_pairs(tmp_path, lesions, evaluation):
    for name in ("a", "b"):
        RunFolder(tmp_path / name).save_predictions(evaluation, lesions.classes)
    a, b = (load_predictions(tmp_path / name) for name in ("a", "b"))
    assert a.identifiers == b.identifiers
    assert classify.mcnemar(a.logits, b.logits, labels=a.labels).p == 1
    report = classify.report(a.logits, a.labels, classes=a.classes, groups=a.groups)
    assert report.accuracy == evaluation.report.accuracy


def test_predictions_that_are_not_there_or_damaged_are_refused(tmp_path, lesions, evaluation):
    with pytest.raises(joint.CheckpointError, match=r"no predictions in .*not done, or"):
        load_predictions(tmp_path)
    blind = joint.evaluate(joint.ImagingSystem(codec=compress.JPEG(50)), lesions)
    RunFolder(tmp_path).save_predictions(blind, lesions.classes)
    assert os.listdir(tmp_path) == []
    joint.save_checkpoint(tmp_path / "x.safetensors", {"logits": torch.zeros(2)}, {})
    with pytest.raises(joint.CheckpointError, match="does not hold predictions"):
        load_predictions(tmp_path / "x.safetensors")
    RunFolder(tmp_path).save_predictions(evaluation, lesions.classes)
    path = tmp_path / "predictions.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointDamaged):
        load_predictions(tmp_path)
