import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

import classify
from classify.scores import InvalidScores

CLASSES = ("bcc", "mel", "nv")


def _case(seed=0, count=90):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % 3)
    return 3 * (1.5 * np.eye(3)[labels] + random.normal(size=(count, 3))), labels


def _rule(logits, labels):
    """A bias-corrected temperature, a logit adjustment and a cutoff of what they make."""
    temperature, bias = classify.fit_bias_corrected_temperature(logits, labels)
    prior = np.log([0.1, 0.2, 0.7])
    rule = classify.DecisionRule(CLASSES, temperature, tuple(bias - 0.5 * prior))
    referral = classify.choose_cutoff(
        rule.scores(logits), labels, classes=CLASSES, positive="mel", sensitivity=0.9
    )
    return replace(rule, referral=referral, fitted={"part": "validation", "point": {"photons": 9}})


def test_a_rule_is_its_steps_one_after_the_other():
    logits, labels = _case()
    temperature, bias = classify.fit_bias_corrected_temperature(logits, labels)
    rule = _rule(logits, labels)
    others, _ = _case(1)
    steps = classify.adjust_logits(others / temperature + bias, np.log([0.1, 0.2, 0.7]), tau=0.5)
    wanted = softmax(steps, 1)
    np.testing.assert_allclose(rule.probabilities(others), wanted, rtol=1e-12)
    np.testing.assert_array_equal(rule.refers(others), wanted[:, 1] >= rule.referral.cutoff)
    assert 0 < rule.refers(others).mean() < 1
    said = rule.probabilities(torch.from_numpy(others).float())
    assert (type(said), said.dtype) == (torch.Tensor, torch.float32)
    np.testing.assert_allclose(said, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(rule.refers(torch.from_numpy(others)), rule.refers(others))


def test_a_calibration_that_is_kept_is_better_than_none():
    logits, labels = _case()
    temperature = classify.fit_temperature(logits, labels)
    rule = classify.DecisionRule(CLASSES, temperature)
    before, after = (
        log_loss(labels, each) for each in (softmax(logits, 1), rule.probabilities(logits))
    )
    assert after < before - 0.02
    nll = -log_softmax(logits / temperature, 1)[np.arange(len(labels)), labels].mean()
    assert after == pytest.approx(nll)


def test_a_rule_of_nothing_is_the_softmax():
    logits, _ = _case()
    rule = classify.DecisionRule(CLASSES)
    assert (rule.temperature, rule.offset, rule.fitted) == (1.0, (0.0, 0.0, 0.0), {})
    np.testing.assert_array_equal(rule.probabilities(logits), softmax(logits, 1))
    assert str(rule) == "softmax(scores / 1)"
    with pytest.raises(ValueError, match="this rule has no referral: give it one"):
        rule.refers(logits)
    impossible = np.where(np.eye(3, dtype=bool), -np.inf, 0.0)
    np.testing.assert_allclose(rule.probabilities(impossible), (1 - np.eye(3)) / 2)
    assert rule.probabilities(np.zeros((0, 3))).shape == (0, 3)


def test_a_rule_is_kept_as_json_to_the_bit():
    logits, labels = _case()
    rule = _rule(logits, labels)
    again = classify.DecisionRule.from_dict(json.loads(json.dumps(rule.to_dict())))
    assert (again, hash(again)) == (rule, hash(rule))
    np.testing.assert_array_equal(again.probabilities(logits), rule.probabilities(logits))
    plain = classify.DecisionRule(CLASSES, 2)
    assert classify.DecisionRule.from_dict(plain.to_dict()) == plain
    assert str(rule).startswith(f"softmax(scores / {rule.temperature:.4g} + [bcc ")
    assert str(rule).endswith(f"; {rule.referral}")


def test_scores_of_other_classes_are_refused():
    rule = _rule(*_case())
    rule.check_classes(CLASSES)
    rule.check_classes([*CLASSES])
    with pytest.raises(ValueError, match="the classes bcc, mel, nv, in this order, but the sco"):
        rule.check_classes(("mel", "bcc", "nv"))
    with pytest.raises(ValueError, match="the classes bcc, mel, nv but the scores have a, b"):
        rule.check_classes(("a", "b"))
    for wrong in (np.zeros((2, 4)), np.zeros(3), torch.zeros(2, 2)):
        for use in (rule.scores, rule.probabilities, rule.refers):
            with pytest.raises(ValueError, match=r"this rule takes scores \[N, 3\] of the classes"):
                use(wrong)
    with pytest.raises(TypeError, match="logits must be an array or a tensor, not list"):
        rule.scores([[1.0, 2.0, 3.0]])
    with pytest.raises(InvalidScores, match="1 rows of scores are nan or infinite"):
        rule.refers(np.full((1, 3), np.nan))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"temperature": 0}, ValueError, "temperature must be positive and finite, not 0"),
        ({"temperature": "2"}, TypeError, "temperature must be a number, not str"),
        ({"offset": [1, 2]}, ValueError, "offset must be one finite number for each of the cla"),
        ({"offset": [1, 2, np.inf]}, ValueError, "offset must be one finite number for each of"),
        ({"offset": ["1", "2", "3"]}, ValueError, "offset must be one finite number for each"),
        ({"offset": [True, False, True]}, ValueError, "offset must be one finite number for each"),
        ({"offset": [1, 2, 10**400]}, ValueError, "offset must be one finite number for each of"),
        ({"offset": [[]]}, ValueError, "offset must be one finite number for each of the classes"),
        ({"offset": None}, ValueError, "offset must be one finite number for each of the classes"),
        ({"temperature": True}, TypeError, "temperature must be a number, not bool"),
        ({"temperature": 10**400}, ValueError, "temperature must be positive and finite, not 10"),
        ({"classes": "mel"}, TypeError, r"classes must be names, such as \('mel', 'nv'\), not 'm"),
        ({"classes": 3}, TypeError, r"classes must be names, such as \('mel', 'nv'\), not 3"),
        ({"classes": [None, 1, "a"]}, TypeError, "classes must be names, such as"),
        ({"fitted": None}, TypeError, "fitted must be a mapping, not NoneType"),
        ({"fitted": 3}, TypeError, "fitted must be a mapping, not int"),
        ({"fitted": []}, TypeError, "fitted must be a mapping, not list"),
        ({"fitted": "x"}, TypeError, "fitted must be a mapping, not str"),
        ({"referral": 3}, TypeError, "a referral must be a mapping, not int"),
        ({"classes": ["a", "a", "b"]}, ValueError, "classes must be different names, not a, a, b"),
        ({"classes": ["mel", "bcc", "nv"]}, ValueError, "the referral has the classes bcc, mel"),
        ({"tau": 1}, ValueError, "missing are none, unknown tau"),
        ({"referral": {}}, ValueError, "a referral has the fields positive, classes"),
    ],
)
def test_a_rule_that_is_none_is_refused(wrong, error, message):
    kept = _rule(*_case()).to_dict()
    with pytest.raises(error, match=message):
        classify.DecisionRule.from_dict(kept | wrong)


def test_a_referral_that_is_none_is_refused():
    with pytest.raises(TypeError, match="referral must be a Referral, not str"):
        classify.DecisionRule(CLASSES, referral="mel")


@pytest.mark.parametrize("use", ["scores", "probabilities", "refers"])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_probabilities_are_told_once_where_the_rule_was_asked(use, kind):
    # By a temperature of 1 they stay probabilities, and could be told again.
    rule = replace(_rule(*_case()), temperature=1.0, offset=())
    with pytest.warns(UserWarning, match="taken as logits: give their logarithms") as told:
        getattr(rule, use)(kind(softmax(_case()[0], 1)))
    assert [each.filename for each in told] == [__file__]


def test_a_field_that_is_missing_is_named():
    kept = classify.DecisionRule(CLASSES).to_dict()
    del kept["fitted"]
    with pytest.raises(ValueError, match="missing are fitted, unknown none"):
        classify.DecisionRule.from_dict(kept)
