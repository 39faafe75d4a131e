import dataclasses
import json
import warnings

import numpy as np
import phantom_runs
import pytest

import classify
import joint

CLASSES = ("mel", "nv", "bcc")
COUNTS = (10, 80, 10)


def _evaluation(logits, labels, point=None):
    """An evaluation with these scores, of two pictures of each lesion."""
    return joint.Evaluation(
        count=len(labels),
        losses={},
        report=classify.report(logits, labels, classes=CLASSES),
        **dict.fromkeys(("bpp", "rate", "bpp_bytes", "psnr", "ssim", "throughput")),
        logits=logits,
        labels=labels,
        identifiers=tuple(map(str, range(len(labels)))),
        groups=tuple(str(number // 2) for number in range(len(labels))),
        point=point or joint.OperatingPoint(),
    )


@pytest.fixture
def seen():
    """Scores that are too sure, and that favour the common class."""
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 300, p=np.divide(COUNTS, 100))
    logits = 6 * (np.eye(3)[labels] + rng.normal(size=(300, 3)) * 0.7 + [0, 0.5, 0])
    return _evaluation(logits.astype(np.float32), labels, joint.OperatingPoint(photons=50.0))


@pytest.fixture
def prior():
    return np.log(np.divide(COUNTS, 100))


def test_each_choice_is_made_of_the_scores_that_those_before_it_left(seen, prior):
    chosen = joint.choose_rule(
        seen,
        calibrate="bias",
        adjust="balanced_accuracy",
        log_prior=prior,
        within={"accuracy": 0.05},
        refer=("mel", "bcc"),
        sensitivity=0.9,
        assurance=0.5,
    )
    temperature, bias = classify.fit_bias_corrected_temperature(seen.logits, seen.labels)
    assert chosen.calibration == classify.DecisionRule(CLASSES, temperature, tuple(bias))
    calibrated = chosen.calibration.scores(seen.logits)
    tau = classify.choose_tau(
        calibrated, seen.labels, log_prior=prior, classes=CLASSES, within={"accuracy": 0.05}
    )
    assert chosen.adjustment == tau
    assert tau.tau != 0
    assert chosen.rule.temperature == temperature
    np.testing.assert_allclose(chosen.rule.offset, bias - tau.tau * prior, rtol=1e-12)
    wanted = classify.choose_cutoff(
        chosen.rule.scores(seen.logits),
        seen.labels,
        classes=CLASSES,
        positive=("mel", "bcc"),
        sensitivity=0.9,
        assurance=0.5,
        groups=seen.groups,
    )
    assert chosen.rule.referral == wanted
    assert chosen.rule.fitted == {
        "photons": 50.0,
        "pictures": 300,
        "calibrate": "bias",
        "adjust": "balanced_accuracy",
        "tau": tau.tau,
    }
    told = json.loads(json.dumps(chosen.rule.to_dict(), allow_nan=False))
    assert classify.DecisionRule.from_dict(told) == chosen.rule


def test_what_is_not_asked_for_is_left_as_it_is(seen, prior):
    rule, calibration, adjustment = joint.choose_rule(seen, calibrate="temperature")
    assert rule.temperature == classify.fit_temperature(seen.logits, seen.labels) > 1
    assert dataclasses.replace(rule, fitted={}) == calibration
    assert (set(rule.offset), rule.referral, adjustment) == ({0.0}, None, None)
    rule, calibration, adjustment = joint.choose_rule(
        seen, adjust="accuracy", log_prior=prior, taus=(0.25, 0.5), at_least={"recall.mel": 0.1}
    )
    assert (rule.temperature, calibration, adjustment.taus) == (1, None, (0.25, 0.5))
    assert adjustment.kept.keys() == {"recall.mel"}
    rule, calibration, adjustment = joint.choose_rule(seen, refer="mel", specificity=0.8)
    assert (rule.temperature, set(rule.offset)) == (1, {0.0})
    assert (rule.referral.positive, rule.referral.goal) == (("mel",), "specificity")
    assert calibration is adjustment is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "nothing to choose: give calibrate, adjust or refer"),
        ({"calibrate": "platt"}, "calibrate must be 'temperature' or 'bias', not 'platt'"),
        ({"adjust": "accuracy"}, "adjust needs log_prior=classify.log_prior"),
        ({"calibrate": "bias", "at_least": {"accuracy": 0.5}}, "at_least, .* need adjust"),
        ({"calibrate": "bias", "taus": (0, 1)}, "taus need adjust"),
        ({"calibrate": "bias", "assurance": 0.9}, "assurance need refer"),
        ({"adjust": "f1", "log_prior": np.log([0.5, 0.3, 0.2])}, "^adjust: .*macro_f1"),
        ({"refer": "mel"}, "^refer: .*sensitivity"),
        ({"refer": "polyp", "sensitivity": 0.9}, "^refer: .*polyp"),
    ],
)
def test_what_cannot_be_chosen_is_refused(seen, asked, message):
    with pytest.raises(ValueError, match=message):
        joint.choose_rule(seen, **asked)


@pytest.mark.filterwarnings("ignore:no temperature is best")  # refused even so
def test_no_temperature_or_bias_is_taken_from_pictures_that_determine_none(seen):
    right = _evaluation(4 * np.eye(3)[seen.labels], seen.labels)
    for how in ("temperature", "bias"):
        with pytest.raises(ValueError, match=r"^calibrate: no temperature is best: the lower the"):
            joint.choose_rule(right, calibrate=how)
    without = seen.labels != 2
    few = _evaluation(seen.logits[without], seen.labels[without])
    with pytest.raises(ValueError, match=r"^calibrate: there is no picture of bcc, and so no bias"):
        joint.choose_rule(few, calibrate="bias")


def test_a_warning_points_to_the_line_that_chose(seen, prior):
    without = seen.labels != 2
    few = _evaluation(seen.logits[without], seen.labels[without])
    with pytest.warns(UserWarning, match="pictures is of bcc, so that balanced") as told:
        joint.choose_rule(few, adjust="balanced_accuracy", log_prior=prior)
    assert [warning.filename for warning in told] == [__file__]


def test_a_system_without_a_classifier_has_no_rule():
    config = phantom_runs.config_of(codec=joint.JPEGConfig())
    system = joint.build_system(config.system, image_size=(16, 16), channels=3, classes=7)
    result = joint.evaluate(system, classify.LesionPhantom(6, 16, progress=False))
    with pytest.raises(ValueError, match="the system has no classifier"):
        joint.choose_rule(result, calibrate="temperature")


def test_a_rule_is_told_from_another_light(seen, tmp_path):
    from joint.deploy.decision import tell_elsewhere

    rule = joint.choose_rule(seen, calibrate="temperature").rule
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_elsewhere(rule, {"photons": 50.0, "views": "identity"})
    with pytest.warns(UserWarning, match="photons 50.0, not 60.0"):
        tell_elsewhere(rule, {"photons": 60.0})
