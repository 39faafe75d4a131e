import itertools

import pytest

import joint


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_schedules(schedule):
    config = joint.Training(schedule=schedule, epochs=8)
    factors = [config.rate_factor(epoch / 100) for epoch in range(801)]
    assert max(factors) == pytest.approx(1.0)
    assert min(factors) >= 0
    if schedule == "constant":
        assert set(factors) == {1.0}
    else:
        assert factors[-1] == pytest.approx(0, abs=1e-9)
        assert factors.index(max(factors)) == (0 if schedule == "cosine" else 200)
        assert max(abs(a - b) for a, b in itertools.pairwise(factors)) < 0.02
        assert factors[0] == {"cosine": 1.0, "one_cycle": 0.04}[schedule]


@pytest.mark.parametrize(
    "bad",
    [{"epochs": 0}, {"learning_rates": {"codec": 0}}, {"monitor": "f1"}, {"learning_rat": 1.0}],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        joint.Training(**bad)


def test_networks_take_turns_with_the_camera():
    turns = joint.Training(plan="alternating", epochs=2)
    assert turns.learning(0) == ("front_end", "sensor")
    assert turns.learning(1) == ("restoration", "codec", "classifier")
    assert joint.Training(plan="frozen").learning(0) == (
        "front_end", "sensor", "restoration", "codec",
    )  # fmt: skip


def test_the_stages_that_learn_are_those_that_are_named():
    assert joint.Training().stages == joint.Training().learning(0) == joint.STAGES
    for left_out in joint.STAGES:  # the restoration, too, alone
        stages = tuple(stage for stage in joint.STAGES if stage != left_out)
        training = joint.Training(stages=stages)
        assert training.stages == training.learning(0) == stages
        assert joint.Training.model_validate_json(training.model_dump_json()) == training
