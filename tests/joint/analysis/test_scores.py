from dataclasses import replace

import numpy as np
import pytest
from torch import nn

import classify
import joint
from joint.analysis.scores import DrawnScores, Score, Scores, signed
from joint.record import as_json


@pytest.fixture(scope="module")
def evaluations(lesions):
    """Of three systems, the second better than the first and the third."""
    random = np.random.default_rng(0)
    seen = joint.evaluate(joint.ImagingSystem(classifier=_Grey()), lesions)
    truth = np.eye(3)[seen.labels]
    return [
        replace(seen, logits=skill * truth + random.standard_normal((48, 3)))
        for skill in (0.5, 2.0, 1.0)
    ]


class _Grey(nn.Module):
    def forward(self, image):
        return image.mean((-2, -1))


def test_scores_are_those_of_the_report_and_of_the_paired_bootstrap(evaluations):
    drawn = DrawnScores(evaluations, resamples=300, level=0.9, generator=None)
    first, second, third = evaluations
    report = classify.report(
        first.logits,
        first.labels,
        classes=("a", "b", "c"),
        groups=first.groups,
        resamples=300,
        level=0.9,
    )
    alone, change = drawn.combined([0]), drawn.combined([0], [1])
    for name in ("accuracy", "balanced_accuracy"):
        assert getattr(alone, name).value == pytest.approx(getattr(report, name))
        paired = classify.bootstrap_difference(
            first.logits,
            second.logits,
            labels=first.labels,
            groups=first.groups,
            metric=name,
            resamples=300,
            level=0.9,
        )
        assert getattr(change, name).value == pytest.approx(paired.difference)
        assert getattr(change, name).interval == pytest.approx(paired.interval)
        assert getattr(alone, name).interval == pytest.approx(report.intervals[name])
    whole = drawn.combined([0, 1, 2], [2, 2], parts=2).accuracy.value
    rates = [(e.logits.argmax(1) == e.labels).mean() for e in (first, second, third)]
    assert rates[0] < rates[2] < rates[1]
    assert whole == pytest.approx((rates[0] + rates[1] - rates[2]) / 2)
    assert drawn.combined([1], [1]).accuracy == (0, (0, 0))
    assert drawn.combined([]) == ((0, (0, 0)), (0, (0, 0)))


def test_sums_in_another_order_differ_in_nothing(evaluations):
    drawn = DrawnScores(evaluations, resamples=300, level=0.99, generator=None)
    halves = drawn._halves
    rounded = halves[[0, 1, 2]].sum(0) - halves[[2, 1, 0]].sum(0)
    assert 0 < np.abs(rounded).max() < 1e-15
    for found in drawn.combined([0, 1, 2], [2, 1, 0]):
        assert found.interval == (0, 0)


def test_a_number_of_few_lesions_is_not_certain(evaluations):
    truth = np.eye(3)[evaluations[0].labels]
    sure = replace(evaluations[0], logits=9 * truth)
    drawn = DrawnScores([sure, sure], resamples=50, level=0.9, generator=None)
    expected = classify.report(
        sure.logits, sure.labels, classes=("a", "b", "c"), groups=sure.groups, resamples=50,
        level=0.9,
    )  # fmt: skip
    for scores in (drawn.combined([0]), drawn.combined([0, 1], parts=2)):
        assert scores.accuracy.interval == pytest.approx(expected.intervals["accuracy"])
        balanced = scores.balanced_accuracy.interval
        assert balanced == pytest.approx(expected.intervals["balanced_accuracy"])
        assert balanced.low < 0.95


def test_a_difference_on_too_few_lesions_is_all_that_can_be(evaluations, lesions):
    few = lesions.subset([0, 1, 2])
    seen = joint.evaluate(joint.ImagingSystem(classifier=_Grey()), few)
    right = replace(seen, logits=9 * np.eye(3)[seen.labels])
    wrong = replace(seen, logits=-9 * np.eye(3)[seen.labels])
    drawn = DrawnScores([right, wrong], resamples=50, level=0.95, generator=None)
    assert drawn.combined([0], [1]).accuracy == (1, (-1, 1))
    assert drawn.combined([0, 0], [1]).accuracy == (2, (-1, 2))


def test_draws_that_do_not_fit_in_memory_at_once_give_the_same(evaluations, monkeypatch):
    options = {"resamples": 100, "level": 0.9, "generator": None}
    at_once = DrawnScores(evaluations, **options).combined([0], [1])
    monkeypatch.setattr("classify.intervals._CELLS", 48 * 30)  # 30, 30, 30 and 10 draws
    assert DrawnScores(evaluations, **options).combined([0], [1]) == at_once


def test_one_lesion_tells_no_end_of_a_number_and_nothing_of_a_difference(lesions):
    one = lesions.subset([0, 1])
    assert len(set(one.groups)) == 1
    alone = joint.evaluate(joint.ImagingSystem(classifier=_Grey()), one)
    drawn = DrawnScores([alone, alone], resamples=5, level=0.9, generator=None)
    for score in drawn.combined([0]):
        assert score.value in (0, 0.5, 1)
        assert np.isnan(score.interval).all()
    for score in drawn.combined([0], [1]):
        assert score == (0, (-1, 1))


def test_systems_that_cannot_be_paired_are_refused(evaluations, lesions):
    one = lesions.subset([0, 1])
    judge = joint.ImagingSystem(classifier=_Grey())
    options = {"level": 0.9, "generator": None}
    alone = joint.evaluate(judge, one)
    with pytest.raises(ValueError, match="judged different pictures: pair them on the same"):
        DrawnScores([evaluations[0], alone], resamples=5, **options)
    blind = joint.evaluate(joint.ImagingSystem(), lesions)
    with pytest.raises(ValueError, match="no classifier, and without one there is no accuracy"):
        DrawnScores([blind], resamples=5, **options)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        DrawnScores(evaluations, resamples=0, **options)


def test_names_stay_with_their_numbers():
    score = Score(0.5, classify.Interval(0.25, 0.75))
    assert str(score) == "0.500 [0.250, 0.750]"
    fall = Score(-0.5, classify.Interval(-0.75, 0.25))
    assert signed(Scores(score, fall)) == ("+0.500 [+0.250, +0.750]", "-0.500 [-0.750, +0.250]")
    told = {"value": 0.5, "interval": [0.25, 0.75]}
    assert as_json(Scores(score, score)) == {"accuracy": told, "balanced_accuracy": told}


def test_a_class_that_few_draws_leave_out_counts_as_in_the_report(evaluations):
    # Of the third class, right and wrong in one picture each, a tenth of the draws has none.
    rows = np.array([0, 1, 3, 4, 6, 7, 2, 5])
    seen = evaluations[0]
    few = replace(
        seen,
        logits=np.eye(3)[[0, 1, 0, 1, 1, 1, 2, 0]],
        labels=seen.labels[rows],
        groups=tuple(f"lesion{i}" for i in range(8)),
        identifiers=tuple(seen.identifiers[i] for i in rows),
    )
    assert few.labels.tolist() == [0, 1, 0, 1, 0, 1, 2, 2]
    options = {"resamples": 400, "level": 0.9}
    expected = classify.report(
        few.logits, few.labels, classes=("a", "b", "c"), groups=few.groups, **options
    )
    found = DrawnScores([few], generator=None, **options).combined([0])
    for name in Scores._fields:
        interval = getattr(found, name).interval
        assert tuple(interval) == pytest.approx(expected.intervals[name])
