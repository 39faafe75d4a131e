from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from torch import nn

import classify
import joint
from joint.analysis.record import named
from joint.analysis.scores import DrawnScores, Score, Scores, signed


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
    assert tuple(alone.accuracy.interval) == pytest.approx(report.intervals["accuracy"])
    guesses = first.logits.argmax(1)
    by_draws = classify.bootstrap(
        lambda rows: balanced_accuracy_score(first.labels[rows], guesses[rows]),
        len(guesses),
        groups=first.groups,
        resamples=300,
        level=0.9,
    )
    assert tuple(alone.balanced_accuracy.interval) == pytest.approx(by_draws)
    whole = drawn.combined([0, 1, 2], [2, 2], parts=2).accuracy.value
    rates = [(e.logits.argmax(1) == e.labels).mean() for e in (first, second, third)]
    assert rates[0] < rates[2] < rates[1]
    assert whole == pytest.approx((rates[0] + rates[1] - rates[2]) / 2)
    assert drawn.combined([1], [1]).accuracy == (0, (0, 0))


def test_draws_that_do_not_fit_in_memory_at_once_give_the_same(evaluations, monkeypatch):
    options = {"resamples": 100, "level": 0.9, "generator": None}
    at_once = DrawnScores(evaluations, **options).combined([0], [1])
    monkeypatch.setattr("classify.intervals._CELLS", 48 * 30)  # 30, 30, 30 and 10 draws
    assert DrawnScores(evaluations, **options).combined([0], [1]) == at_once


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
    with pytest.raises(ValueError, match="at least 2 lesions, got 1"):
        DrawnScores([alone], resamples=5, **options)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        DrawnScores(evaluations, resamples=0, **options)


def test_names_stay_with_their_numbers():
    score = Score(0.5, classify.Interval(0.25, 0.75))
    assert str(score) == "0.500 [0.250, 0.750]"
    fall = Score(-0.5, classify.Interval(-0.75, 0.25))
    assert signed(Scores(score, fall)) == ("+0.500 [+0.250, +0.750]", "-0.500 [-0.750, +0.250]")
    plain = {"value": 0.5, "interval": classify.Interval(0.25, 0.75)}
    assert named(Scores(score, score)) == {"accuracy": plain, "balanced_accuracy": plain}
    assert named((score, None, "a")) == [plain, None, "a"]
