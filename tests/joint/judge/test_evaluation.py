import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from small import full_system

import classify
import compress
import joint


@pytest.fixture
def system():
    return full_system()


def test_an_evaluation_prints_its_numbers_and_not_its_pictures(system, lesions):
    result = joint.evaluate(system, lesions, resamples=50, photons=300, count_bytes=True)
    lines = str(result).splitlines()
    assert lines[0] == "48 pictures, 300 photons/pixel"
    assert lines[1].split()[:2] == ["loss", f"{result.losses['total']:.4g}"]
    low, high = result.report.intervals["auc"]
    assert f"{'auc':<18} {result.report.auc:.3f} [{low:.3f}, {high:.3f}]" in lines
    assert f"{'bpp':<18} {result.bpp:.4g} bits/pixel (rounded)" in lines
    assert f"{'bpp bytes':<18} {result.bpp_bytes:.4g} bits/pixel of the files" in lines
    assert f"{'psnr':<18} {result.psnr:.4g} dB, codec against its input" in lines
    assert "[low, high]: 95 % intervals, resampling lesions" in lines
    assert len(lines) < 17
    for of_each in ("logits", "labels", "identifiers", "groups"):
        assert f"{of_each}=" not in repr(result)
    # What the system does not have is not spoken of.
    bare = joint.evaluate(joint.ImagingSystem(), lesions)
    assert len(str(bare).splitlines()) == 2
    plain = str(joint.evaluate(system, lesions))
    assert "resampling" not in plain


def test_what_chance_comes_to_is_told(system, lesions):
    rows = np.flatnonzero(np.isin(lesions.targets, [0, 1]))[:20]
    few = lesions.subset([*rows, *np.flatnonzero(lesions.targets == 0)[-3:]])
    counts = np.bincount(few.targets, minlength=3)
    assert counts[2] == 0 < counts[1] < counts[0]
    line = (
        f"by chance          accuracy {counts[0] / counts.sum():.3f} (always {few.classes[0]}), "
        "balanced accuracy 0.500, auc 0.500"
    )
    assert line in str(joint.evaluate(system, few)).splitlines()
    alone = joint.evaluate(system, lesions.subset(np.flatnonzero(lesions.targets == 0)))
    assert "by chance" not in str(alone)


def test_summary_is_json(system, lesions):
    summary = joint.evaluate(system, lesions).to_dict()
    again = json.loads(json.dumps(summary, allow_nan=False))
    assert again["count"] == 48
    assert again["balanced_accuracy"] == summary["balanced_accuracy"]
    assert len(again["report"]["confusion"]) == 3


def test_adjusted_scores_are_judged_again_without_another_pass(system, lesions):
    result = joint.evaluate(system, lesions)
    offset = torch.tensor([0.0, 50.0, 0.0])
    shifted = result.adjusted(offset, resamples=50)
    assert (shifted.logits == result.logits + offset.numpy()).all()
    again = accuracy_score(result.labels, (result.logits + offset.numpy()).argmax(1))
    assert shifted.report.accuracy == pytest.approx(again)
    assert shifted.report.confusion[:, 1].sum() == 48  # everything is called the favoured class
    assert result.report.confusion[:, 1].sum() < 48
    assert "accuracy" in shifted.report.intervals
    assert (shifted.bpp, shifted.losses) == (result.bpp, result.losses)
    with pytest.raises(ValueError, match="one number for each of the 3 classes"):
        result.adjusted(torch.zeros(2))
    coded = joint.evaluate(joint.ImagingSystem(codec=compress.JPEG(50)), lesions)
    with pytest.raises(ValueError, match="no class scores to adjust"):
        coded.adjusted(torch.zeros(3))


def test_a_referral_is_judged_without_another_pass(system, lesions):
    result = joint.evaluate(system, lesions)
    classes = result.report.classes
    referral = classify.choose_cutoff(
        result.logits, result.labels, classes=classes, positive=classes[:2], sensitivity=0.8
    )
    found = result.referred(referral, resamples=50)
    assert found.report.classes == ("refer", "leave")
    chance = torch.from_numpy(result.logits).double().softmax(1)[:, :2].sum(1).numpy()
    refers, ill = chance >= referral.cutoff, result.labels < 2
    assert found.report.number("recall.refer") == pytest.approx(refers[ill].mean())
    assert found.report.number("recall.leave") == pytest.approx((~refers)[~ill].mean())
    assert (found.labels == 0).tolist() == ill.tolist()
    assert "accuracy" in found.report.intervals
    assert (found.bpp, found.losses) == (result.bpp, result.losses)
    with pytest.raises(
        ValueError, match="the referral is of the classes x, y, z, and these scores"
    ):
        result.referred(dataclasses.replace(referral, classes=("x", "y", "z"), positive=("x",)))
    coded = joint.evaluate(joint.ImagingSystem(codec=compress.JPEG(50)), lesions)
    with pytest.raises(ValueError, match="no class scores to refer by"):
        coded.referred(referral)


def test_an_offset_is_finite_and_may_have_a_gradient(system, lesions):
    result = joint.evaluate(system, lesions)
    offset = torch.zeros(3, requires_grad=True)
    np.testing.assert_array_equal(result.adjusted(-offset).logits, result.logits)
    with pytest.raises(ValueError, match=r"offset must be finite, not \[nan, 0.0, 0.0\]"):
        result.adjusted(np.array([np.nan, 0, 0]))
