import json

import pytest
from small import OBJECTIVE, _settings, full_system

import joint
from joint.train.identity import identity_of, why_not_longer, why_other


def test_what_two_runs_differ_in_is_named(identity):
    head = {"identity": identity()}
    assert why_other(head, identity()) is None
    other = identity(OBJECTIVE.model_copy(update={"rate": 0.3}), learning_rate=1e-3)
    other["validation"] = "another"
    other["learning_rate_factors"] = [2.0]
    other["system"]["codec"]["kind"] = "Other"
    told = why_other(head, other)
    assert told is not None
    for part in (
        "objective.rate was 0.1 and is 0.3",
        "training.learning_rate was 0.005 and is 0.001",
        "the system is another one: codec: FactorizedCodec there, Other here",
        "and are [2.0] (learning_rate_factor of modules)",
        "the validation set is another one",
    ):
        assert part in told
    shorter = why_other(head, identity(epochs=3))
    assert shorter is not None
    assert "training.epochs was 4 and is 3" in shorter


def test_a_run_of_other_options_is_of_another_version(identity):
    was = identity()
    del was["objective"]["distillation"]
    was["training"]["warm_up"] = 3
    told = why_other({"identity": was}, identity())
    assert told is not None
    assert (
        "another version of lens2label, for which objective.distillation, training.warm_up" in told
    )
    assert "--start" in told


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({}, {}, None),
        ({"schedule": "cosine"}, {}, "training.schedule cosine over training.epochs 4, and with 6"),
        ({"patience": 2}, {"epoch": 3}, "patience of 2 ran out in epoch 3: with training.epochs 6"),
        ({"patience": 2}, {"epoch": 2}, None),
        ({"patience": 2}, {"epoch": 0, "best_epoch": None}, None),
    ],
)
def test_a_run_goes_on_for_more_epochs_where_its_steps_would_be_the_same(
    identity, settings, changes, said
):
    head = {"identity": identity(**settings), "epoch": 1, "best_epoch": 0} | changes
    found = [why_not_longer(head, 6), why_other(head, identity(**settings, epochs=6))]
    assert found[0] == found[1]
    assert (found[0] is None) == (said is None)
    assert said is None or said in found[0]
    del head["best_epoch"]
    assert "is not one of a training run" in why_not_longer(head, 6)


def test_an_identity_is_json_and_names_a_teacher_that_counts(lesions, others):
    system, teacher = full_system(), full_system(seed=3)
    for weight in (0.0, 1.0):
        objective = joint.Objective(distillation=weight)
        made = identity_of(system, objective, _settings(), lesions, others, teacher)
        assert ("teacher" in made) == bool(weight)
        json.dumps(made, allow_nan=False)
    given = identity_of(system, objective, _settings(), lesions, others, None, made={"": {}})
    assert given["system"] == {"": {}}
