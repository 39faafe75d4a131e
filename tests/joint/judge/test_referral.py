import dataclasses
import json

import numpy as np
import pytest

import classify
import joint
from joint.judge.referral import Referred


@pytest.fixture
def found():
    """A referral that refers nobody, of six pictures."""
    labels = np.array([0, 0, 1, 1, 1, 1])
    logits = np.array([[2.0, 0], [1, 0], [0, 0], [0, 1], [0, 2], [0, 3]])
    referral = classify.choose_cutoff(
        logits, labels, classes=("mel", "nv"), positive="mel", sensitivity=0.5
    )
    referral = dataclasses.replace(referral, log_odds=9.0)
    system = joint.build_system(
        joint.SystemConfig(
            front_end=joint.NoneConfig(), sensor=joint.NoneConfig(), codec=joint.NoneConfig()
        ),
        image_size=(16, 16),
        channels=3,
        classes=7,
    )
    scenes = classify.LesionPhantom(6, 16, progress=False)
    result = joint.evaluate(system, scenes)
    report = classify.report(logits, labels, classes=("mel", "nv"))
    result = dataclasses.replace(result, logits=logits, labels=labels, report=report)
    shares = referral.shares(logits, labels)
    return Referred(referral, result.referred(referral), shares, prevalence=0.1)


def test_what_is_no_number_is_none(found):
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["positive_predictive_value"] is None  # nobody was referred
    assert told["negative_predictive_value"] == pytest.approx(4 / 6)
    assert (told["sensitivity"], told["specificity"]) == (0, 1)
    assert told["at_prevalence"] == {"positive": None, "negative": 0.9, "referred": 0}
    assert told["referred"] == {"mel": 0, "nv": 0}
    assert "referral_positive_predictive_value" not in found.cells()
    assert "positive predictive value  nan" in str(found)


def test_the_lines_of_a_person(found):
    lines = str(found).splitlines()
    assert lines[0] == str(found.referral)
    assert "referred of each class: mel 0.00, nv 0.00" in lines
    assert lines[-1].startswith("at a prevalence of 0.1: refers 0.000 of all, predictive values")


def test_pictures_of_one_kind_have_no_predictive_values(found):
    well = dataclasses.replace(found.result, labels=found.result.labels * 0 + 1)
    report = classify.report(
        found.referral.scores(np.zeros((6, 2))), well.labels, classes=("refer", "leave")
    )
    alone = found._replace(result=dataclasses.replace(well, report=report))
    told = alone.to_dict()
    assert told["sensitivity"] is None
    assert set(told["at_prevalence"].values()) == {None}
    assert "at a prevalence of 0.1" in str(alone)
