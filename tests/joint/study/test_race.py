import pytest

import joint
from joint.study import (
    Axis,
    Grid,
    Listed,
    Plan,
    Race,
    Random,
    Study,
    create_study,
)


def test_what_is_left_is_what_was_not_called_yet():
    race = Race(rungs=(1, 2, 4), keep=0.5)
    # 16 designs on the second seed, 8 on the third and fourth, 4 on the last four.
    assert race.further([1] * 32, 8) == 16 + 2 * 8 + 4 * 4
    assert race.further([2] * 16 + [1] * 16, 8) == 2 * 8 + 4 * 4
    assert race.further([8] * 4 + [4] * 4 + [2] * 8 + [1] * 16, 8) == race.further([], 8) == 0


@pytest.mark.parametrize(
    ("race", "message"),
    [
        ({"rungs": []}, "at least 1 item"),
        ({"rungs": [0, 2]}, r"increasing numbers of seeds, from 1, such as \[1, 2, 4\], not \["),
        ({"rungs": [2, 2]}, r"not \[2, 2\]"),
        ({"rungs": [4, 2]}, r"not \[4, 2\]"),
        ({"rungs": [1, 8]}, "last rung of the race has 8 seeds, and the study 8: no seeds"),
        ({"rungs": [1], "keep": 1}, "less than 1"),
        ({"rungs": [1], "keep": 0}, "greater than 0"),
        ({"rungs": [1], "metric": "acuracy"}, "validation part.*did you mean 'accuracy'"),
        ({"rungs": [1], "metric": "mcc"}, "mcc is not measured on the validation part"),
        ({"rungs": [1], "metric": "photons"}, "photons is not measured"),
        ({"rungs": [1], "rung": 2}, "Race has no rung; did you mean 'rungs'"),
        ({}, "rungs"),
    ],
)
def test_what_is_no_race_is_refused(raced, race, message):
    content = raced(race=None).model_dump(mode="json") | {"race": race}
    with pytest.raises(ValueError, match=message):
        Study.model_validate(content)


def test_the_metric_of_the_plan_must_be_seen_too(raced):
    with pytest.raises(ValueError, match=r"mcc is not measured .* give the race another metric"):
        raced(plan=Plan(metric="mcc"))
    assert raced(plan=Plan(metric="mcc"), metric="auc").race.metric == "auc"


@pytest.mark.parametrize(
    ("plan", "planned"),
    [
        ({"comparisons": [{"first": {"light": 10.0}, "second": {"light": 11.0}}]}, "comparisons"),
        ({"requirements": {"at_least": {"accuracy": 0.5}}}, "requirements"),
    ],
)
def test_a_race_plans_nothing(raced, plan, planned):
    with pytest.raises(ValueError, match=f"a race cannot plan {planned}, as which designs have"):
        raced(plan=Plan.model_validate(plan))


def test_a_search_is_no_race(raced):
    light = Axis(path="system.sensor.photons", low=10, high=1000)
    content = raced().model_dump(mode="json") | {"sampler": {"kind": "tpe", "count": 9}}
    content["axes"] = {"light": light.model_dump(mode="json")}
    with pytest.raises(ValueError, match=r"a search \(tpe\) cannot be a race, as it learns"):
        Study.model_validate(content)


@pytest.mark.parametrize(
    "sampler", [Grid(), Random(count=3), Listed(chosen=({"light": 10.0}, {"light": 12.0}))]
)
def test_designs_that_are_known_may_race(raced, tmp_path, sampler):
    ledger = create_study(raced((1,), sampler=sampler), tmp_path)
    assert len(ledger.runs) == len(ledger.designs)


def test_every_design_has_what_decides(raced, tmp_path):
    codecs = Axis(path="system.codec", values=({"kind": "jpeg"}, {"kind": "none"}))
    with pytest.raises(
        joint.ConfigError, match=r"decided by bpp, and the design codec=none has no"
    ):
        create_study(raced((1,), metric="bpp", axes={"codec": codecs}), tmp_path)
    assert not (tmp_path / "study.json").exists()
