import numpy as np
import pytest
import torch

import classify
import compress
import joint
import optics
from joint.judge.metric import (
    STUDY_METRICS,
    check_study_metric,
    check_value,
    lower_is_better,
    range_of,
    scores_nothing,
    stage_of,
)
from joint.train.training import MONITORS


def test_less_is_better_where_a_perfect_run_has_less(lesions):
    labels = lesions.targets
    right = 9.0 * torch.nn.functional.one_hot(labels, 3)
    good, bad = (
        classify.report(logits, labels, classes=lesions.classes) for logits in (right, -right)
    )
    for metric in set(STUDY_METRICS) & set(vars(good)):
        better, worse = getattr(good, metric), getattr(bad, metric)
        if isinstance(better, float) and np.isfinite([better, worse]).all():
            assert (better < worse) == lower_is_better(metric), metric
    assert {m for m in MONITORS if lower_is_better(m)} == {"loss", "bpp"}
    rates = {"bpp", "bpp_bytes", "psnr", "ssim", "psnr_scene", "throughput", "light_share"}
    assert {m for m in rates if lower_is_better(m)} == {"bpp", "bpp_bytes"}
    assert lower_is_better("loss_distortion")
    assert lower_is_better("loss_mine")


def test_no_number_lies_beyond_what_it_can_be(lesions):
    labels = lesions.targets
    sure = 40.0 * torch.nn.functional.one_hot(labels, 3)
    reached = [
        classify.report(logits, labels, classes=lesions.classes)
        for logits in (sure, sure.roll(1, 1), sure.roll(2, 1), -sure, 0 * sure)
    ]
    for metric in set(STUDY_METRICS) & set(vars(reached[0])):
        least, largest = range_of(metric)
        values = [getattr(report, metric) for report in reached]
        assert all(least <= value <= largest for value in values), metric
        # A perfect run is at the better end.
        assert values[0] == pytest.approx(least if lower_is_better(metric) else largest), metric
    assert range_of("psnr") == range_of("loss") == (-np.inf, np.inf)
    assert range_of("bpp") == range_of("throughput") == (0, np.inf)
    # SSIM is the product of a share and of a correlation, and a negative has -1 of that.
    assert range_of("ssim") == (-1, 1)
    waves = torch.eye(2).repeat(1, 3, 16, 16)
    assert -1 <= compress.ssim(waves, 1 - waves) < -0.99


def test_a_bound_is_what_its_number_can_be():
    for metric, value in (("accuracy", 0), ("auc", 1.0), ("mcc", -1), ("psnr", 300), ("bpp", 30)):
        check_value(metric, value)
    for metric, value, told in (
        ("recall.mel", 80, r"^recall.mel is from 0 to 1, not 80: for 80 % write 0.8$"),
        ("accuracy", 300, r"^accuracy is from 0 to 1, not 300$"),
        ("cohen_kappa", -1.5, r"^cohen_kappa is from -1 to 1, not -1.5: .* write -0.015$"),
        ("brier", 30, r"^brier is from 0 to 2, not 30$"),
        ("nll", -1, r"^nll is 0 or more, not -1$"),
    ):
        with pytest.raises(ValueError, match=told):
            check_value(metric, value)


def test_a_number_needs_the_stage_without_which_it_is_none(lesions):
    bare = joint.ImagingSystem(sensor=optics.Sensor(100))
    found = joint.evaluate(bare, lesions, objective=joint.Objective(task=0)).scalars()
    for metric in (*MONITORS, "loss_task", "loss_rate", "loss_distortion"):
        assert (found.get(metric) is None) == (stage_of(metric) is not None), metric
    assert stage_of("loss_penalty") == "front_end"
    for metric in ("throughput", "light_share"):
        assert stage_of(metric) == "front_end"
        assert found[metric] is None


def test_a_run_that_failed_got_nothing_right():
    assert scores_nothing("accuracy")
    # 0 is chance there, which a run that works may lie below.
    assert not scores_nothing("mcc")
    assert not scores_nothing("cohen_kappa")
    assert not any(scores_nothing(metric) for metric in ("nll", "loss", "psnr", "bpp"))


def test_an_unknown_number_is_told_what_there_is():
    with pytest.raises(ValueError, match=r"metric 'f1' is unknown; use one of accuracy, "):
        check_study_metric("f1")
    for metric in (*STUDY_METRICS, "loss_mine"):
        check_study_metric(metric)
    with pytest.raises(ValueError, match="'loss_1 2' is unknown"):
        check_study_metric("loss_1 2")


def test_a_class_has_numbers_too():
    for metric in ("recall.mel", "auc.basal cell", "f1.a.b"):
        check_study_metric(metric)
        assert stage_of(metric) == "classifier"
        assert scores_nothing(metric)
        assert not lower_is_better(metric)
        assert range_of(metric) == (0, 1)
    for wrong in ("recall", "recall.", "nll.mel"):
        with pytest.raises(ValueError, match=r"METRIC.CLASS with one of precision, "):
            check_study_metric(wrong)
