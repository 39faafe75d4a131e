import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

import classify
import compress
import joint
from joint.analysis import rate_curves
from joint.analysis.curve_difference import pooled

RATES = (0.1, 0.2, 0.4, 0.8, 1.6)


def _evaluation(*, skill, rate, seed=0, counted=True, shift=0):
    """Of 240 pictures of 120 lesions, the more of which are right the more skill there is."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 3, 240)
    luck = random.normal(size=(240, 3))  # the same for all, as pictures are
    own = np.random.default_rng(seed).normal(size=(240, 3))
    logits = luck + 0.5 * own
    logits[np.arange(240), labels] += skill
    groups = tuple(f"lesion {row // 2}" for row in range(240))
    return joint.Evaluation(
        count=240, losses={"total": 1.0}, report=classify.report(logits, labels), bpp=rate * 0.99,
        rate="rounded", bpp_bytes=rate if counted else None, psnr=None, ssim=None,
        throughput=None, logits=logits, labels=labels,
        identifiers=tuple(f"{row + shift}" for row in range(240)), groups=groups,
    )  # fmt: skip


def _curve(factor=1.0, **how):
    return [
        _evaluation(skill=0.4 + 0.5 * place, rate=rate * factor, seed=place, **how)
        for place, rate in enumerate(RATES)
    ]


def test_curves_are_drawn_on_the_same_lesions():
    slow, fast = _curve(), _curve(0.5)
    found = rate_curves({"jpeg": slow[::-1], "learned": fast}, resamples=300)
    assert (found.anchor, found.unit, found.metric) == ("jpeg", "lesions", "balanced_accuracy")
    jpeg, learned = found.curves
    assert jpeg.counted
    assert learned.counted
    assert [each.rate for each in jpeg.points] == [*RATES]
    for point, each in zip(jpeg.points, slow, strict=True):
        wanted = balanced_accuracy_score(each.labels, each.logits.argmax(1))
        assert point.accuracy == pytest.approx(wanted)
        own = classify.report(
            each.logits, each.labels, groups=each.groups, resamples=300, level=0.95, seed=0
        )
        assert point.interval == own.intervals["balanced_accuracy"]
    (difference,) = found.differences
    # Half of the bits for the very scores: whatever lesions are drawn, it is half.
    assert difference.rate == pytest.approx(-50)
    assert difference.rate_interval == pytest.approx((-50, -50), abs=1e-6)
    assert difference.verdict == "fewer bits"
    assert difference.accuracy > 0
    assert difference.accuracy_interval.low > 0


def test_an_interval_of_many_lesions_is_what_drawing_them_gives():
    """By hand: lesions drawn, both curves judged on them, their difference at equal rate."""
    one = _curve()
    other = [
        replace(each, logits=each.logits + np.random.default_rng(50 + k).normal(size=(240, 3)))
        for k, each in enumerate(one)
    ]
    found = rate_curves({"one": one, "other": other}, metric="accuracy", resamples=1000)
    names, lesions = np.unique(one[0].groups, return_inverse=True)
    random = np.random.default_rng(3)
    times = random.multinomial(len(names), [1 / len(names)] * len(names), size=2000)

    def accuracies(curve):
        right = [np.bincount(lesions, e.logits.argmax(1) == e.labels) for e in curve]
        return times @ np.stack(right, 1) / 240  # of two pictures each

    wanted = []
    for drawn in zip(accuracies(one), accuracies(other), strict=True):
        (first_rate, first), (second_rate, second) = (pooled(RATES, each) for each in drawn)
        wanted.append(compress.bd_quality(first_rate, first, second_rate, second))
    low, high = np.quantile(wanted, [0.025, 0.975])
    (difference,) = found.differences
    assert difference.accuracy < 0
    # Ends of bootstraps of 1000 and 2000 draws: their standard error is about 5 % of the width.
    assert difference.accuracy_interval.low == pytest.approx(low, abs=0.12 * (high - low))
    assert difference.accuracy_interval.high == pytest.approx(high, abs=0.12 * (high - low))


def test_few_lesions_of_a_class_show_no_difference():
    """Four lesions that are right with one of two curves: draws with replacement nearly agree."""
    labels = np.repeat([0, 1], [60, 4])
    order = np.random.default_rng(0).permutation(60)

    def curve(rare):
        found = []
        for place, rate in enumerate(RATES):
            right = np.append(np.isin(np.arange(60), order[: 10 * (place + 1)]), [rare] * 4)
            logits = 3.0 * np.eye(2)[np.where(right, labels, 1 - labels)]
            judged = classify.report(logits, labels, classes=("a", "b"), resamples=10)
            found.append(
                replace(
                    _evaluation(skill=1.0, rate=rate),
                    logits=logits,
                    labels=labels,
                    groups=tuple(map(str, range(64))),
                    identifiers=tuple(map(str, range(64))),
                    report=judged,
                )
            )
        return found

    found = rate_curves({"a": curve(False), "b": curve(True)}, resamples=400)
    (difference,) = found.differences
    assert difference.accuracy == pytest.approx(0.5)
    assert difference.accuracy_interval.low <= 0  # one half in 16 has none of the four


def test_rates_are_of_files_where_they_were_counted():
    found = rate_curves({"a": _curve(), "b": _curve(counted=False)}, resamples=20)
    assert [curve.counted for curve in found.curves] == [True, False]
    assert found.curves[1].points[0].rate == pytest.approx(0.099)
    assert "  b (rates are estimates)" in str(found).splitlines()
    file = [replace(each, rate="bytes") for each in _curve(counted=False)]
    assert rate_curves({"a": file}, resamples=20).curves[0].counted


def test_what_falls_is_said_and_what_cannot_be_told_has_a_reason():
    curve = _curve()
    rates = (0.1, 0.4, 0.2)
    fallen = [replace(e, bpp_bytes=rate) for e, rate in zip(curve[:3], rates, strict=True)]
    found = rate_curves({"a": curve, "b": fallen}, resamples=20)
    assert found.curves[1].falls == ((0.2, 0.4),)
    assert "    falls from 0.2 to 0.4 bpp: pooled for differences" in str(found)
    (difference,) = found.differences
    assert math.isnan(difference.rate)
    assert difference.rate_reason.startswith("the curve 'b' has 2 of its 3 points after pooling")
    assert difference.verdict == "not shown"
    assert "b against a: none (" in str(found)


def test_points_say_their_setting():
    """In the order of the rates, whatever that of the evaluations is."""
    given = {"a": _curve()[::-1], "b": _curve()}
    found = rate_curves(given, settings={"a": ("colors", [64, 16, 8, 4, 2])}, resamples=20)
    first, second = found.curves
    assert (first.setting, [each.value for each in first.points]) == ("colors", [2, 4, 8, 16, 64])
    assert (second.setting, [each.value for each in second.points]) == ("", [None] * 5)
    assert "    0.1 bpp, colors=2: " in str(found)
    assert "    0.1 bpp: " in str(found)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_system_without_its_codec_is_the_reference():
    bare = replace(_evaluation(skill=3.0, rate=1.0), bpp=None, bpp_bytes=None, rate=None)
    found = rate_curves({"a": _curve()}, uncoded=bare, resamples=20)
    assert found.uncoded.accuracy == bare.report.balanced_accuracy
    assert math.isnan(found.uncoded.rate)
    assert "without a codec: " in str(found)
    assert found.uncoded.against_uncoded is None
    assert found.differences == ()
    assert found.to_dict()["curves"][0]["points"][0]["rate"] == 0.1
    with pytest.raises(
        ValueError, match="uncoded is of a system with a codec: evaluate it without"
    ):
        rate_curves({"a": _curve()}, uncoded=_curve()[0])
    with pytest.raises(ValueError, match="an evaluation of 'a' has no rate: its system has no cod"):
        rate_curves({"a": [bare]})


def _bare(each):
    return replace(each, bpp=None, bpp_bytes=None, rate=None)


def test_each_point_has_its_paired_difference_from_no_codec():
    curve = _curve()
    bare = _bare(_evaluation(skill=3.0, rate=1.0))
    found = rate_curves({"a": curve[::-1]}, uncoded=bare, metric="accuracy", resamples=200, seed=3)
    for point, each in zip(found.curves[0].points, curve, strict=True):
        assert point.against_uncoded == classify.bootstrap_difference(
            each.logits, bare.logits, labels=each.labels, metric="accuracy", groups=each.groups,
            classes=("0", "1", "2"), resamples=200, generator=torch.Generator().manual_seed(3),
        )  # fmt: skip
        difference = point.accuracy - found.uncoded.accuracy
        assert point.against_uncoded.difference == pytest.approx(difference)
        assert f"], against no codec {difference:+.4f} [" in str(found)
    lost = found.to_dict()["curves"][0]["points"][0]["against_uncoded"]
    assert lost["interval"][1] < 0
    alone = rate_curves({"a": curve}, metric="accuracy", resamples=20)
    assert [each.against_uncoded for each in alone.curves[0].points] == [None] * 5
    assert "against no codec" not in str(alone)


def test_where_a_pair_shows_nothing_there_is_no_difference():
    curve, bare = _curve(), _bare(_evaluation(skill=3.0, rate=1.0))
    single = [replace(each, groups=("x",) * 240) for each in (*curve, bare)]
    found = rate_curves({"a": single[:-1]}, uncoded=single[-1], resamples=20)
    assert [each.against_uncoded for each in found.curves[0].points] == [None] * 5


def test_curves_of_other_pictures_are_refused():
    curve = _curve()
    for wrong, message in (
        ({}, "there is no curve"),
        ({"a": []}, "the curve 'a' has no evaluation"),
        ({"a": curve, "b": _curve(shift=1)}, "'b' is of other pictures than the first of all"),
        ({"a": [replace(curve[0], logits=None)]}, "'a' has no class scores to judge"),
    ):
        with pytest.raises(ValueError, match=message):
            rate_curves(wrong)
    for how, message in (
        ({"metric": "nll"}, "needs a metric that grows with them, not 'nll'"),
        ({"metric": "acuracy"}, "unknown"),
        ({"anchor": "b"}, "there is no curve 'b': choose from a"),
        ({"settings": {"a": ("colors", [2])}}, "'a' has 5 evaluations and 1 values"),
        ({"settings": {"b": ("colors", [2])}}, "'b' has 0 evaluations and 1 values"),
        ({"minimum_overlap": 2}, "share from 0 to 1"),
        ({"resamples": 0}, "resamples"),
        ({"level": 1.5}, "level"),
    ):
        with pytest.raises(ValueError, match=message):
            rate_curves({"a": curve}, **how)


def test_a_system_at_its_qualities_is_a_curve():
    scenes = classify.LesionPhantom(60, 16)
    head = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 7)
    )
    system = joint.ImagingSystem(codec=compress.JPEG(50), classifier=head)
    jpeg = [joint.evaluate(system, scenes, quality=q, count_bytes=True) for q in (10, 40, 70, 95)]
    found = rate_curves({"JPEG": jpeg}, uncoded=joint.evaluate(system.replace(codec=None), scenes))
    rates = [each.rate for each in found.curves[0].points]
    assert rates == sorted(rates) == [each.bpp_bytes for each in jpeg]
    assert [each.point.quality for each in found.curves[0].points] == [10, 40, 70, 95]
    assert found.curves[0].setting == "quality"
    assert [each.value for each in found.curves[0].points] == [10, 40, 70, 95]
    told = found.to_dict()
    assert [each["point"] for each in told["curves"][0]["points"]][:2] == [
        {"quality": 10}, {"quality": 40}
    ]  # fmt: skip
    assert told["uncoded"]["point"] == {}
    json.dumps(told, allow_nan=False)
