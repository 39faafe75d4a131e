import numpy as np
import pytest
from studies import validated

import joint
from joint.saved.folder import RunFolder
from joint.study import (
    TPE,
    Axis,
    Plan,
    Requirements,
    StudyError,
    confirm,
    create_study,
    select_designs,
    winner,
    work,
)
from joint.study.store import refreshed


@pytest.fixture
def looked_at(ledger):
    """Four designs on eight seeds, of which the third is the best."""
    for run in ledger.runs:
        validated(
            ledger, run, {"balanced_accuracy": (0.5, 0.6, 0.8, 0.75)[run.design] + 0.01 * run.seed}
        )
    return ledger


def test_the_winner_is_the_best_on_the_validation_part(looked_at):
    assert winner(looked_at) == (2, pytest.approx(0.835), 4, 1)
    assert winner(looked_at, first=2) == (1, pytest.approx(0.635), 2, 1)
    # A run that failed has scored nothing, which one good seed of eight cannot hide.
    run = next(run for run in looked_at.runs if run.design == 2)
    (looked_at.path(run) / "result.json").unlink()
    RunFolder(looked_at.path(run)).fail(RuntimeError("diverged"))
    assert winner(looked_at).number == 3
    (looked_at.path(run) / "failure.json").unlink()
    assert winner(looked_at) == (3, pytest.approx(0.785), 3, 1)  # not ended on all seeds


def test_a_run_that_its_machine_gave_up_is_no_outcome(small_study, tmp_path):
    axes = {"light": Axis(path="system.sensor.photons", values=(50, 5000))}
    ledger = create_study(small_study(axes=axes, plan=Plan(), seeds=(0, 1)), tmp_path)
    _, lost = (run for run in ledger.runs if run.design == 0)
    for run in ledger.runs:
        validated(ledger, run, {"balanced_accuracy": 0.9 if run.design == 0 else 0.3})
    (ledger.path(lost) / "result.json").unlink()
    RunFolder(ledger.path(lost)).fail(MemoryError())
    assert winner(ledger) == (1, pytest.approx(0.3), 1, 1)


def test_where_less_is_better_the_winner_has_the_least(small_study, tmp_path):
    ledger = create_study(small_study(plan=Plan(metric="loss"), seeds=(0,)), tmp_path)
    for run in ledger.runs:
        validated(ledger, run, {"loss": (0.5, 0.2, 0.8, 0.7)[run.design]})
    record = ledger.runs[1]
    assert winner(ledger).number == 1
    (ledger.path(record) / "result.json").unlink()
    RunFolder(ledger.path(record)).fail(RuntimeError("diverged"))
    assert winner(ledger) == (0, 0.5, 3, 1)


def test_a_run_that_failed_counts_as_nothing_in_a_share(small_study, tmp_path):
    axes = {"light": Axis(path="system.sensor.photons", values=(50, 5000))}
    ledger = create_study(small_study(axes=axes, plan=Plan(), seeds=(0, 1)), tmp_path)
    good, lost = (run for run in ledger.runs if run.design == 0)
    validated(ledger, good, {"balanced_accuracy": 0.9})
    ledger.path(lost).mkdir(parents=True)
    RunFolder(ledger.path(lost)).fail(RuntimeError("diverged"))
    for run in ledger.runs:
        if run.design == 1:
            validated(ledger, run, {"balanced_accuracy": 0.3})
    assert winner(ledger) == (0, 0.45, 2, 1)


def test_of_equally_good_designs_the_first_is_taken_and_it_is_said(ledger, tmp_path):
    for run in ledger.runs:
        validated(ledger, run, {"balanced_accuracy": (0.5, 0.7, 0.7, 0.7)[run.design]})
    assert winner(ledger) == (1, pytest.approx(0.7), 4, 3)
    made = confirm(ledger, tmp_path / "new", seeds=7)
    assert made.designs[0] == ledger.designs[1]
    assert (
        "(the first of 3 equally good ones, the best on the validation part of 4)"
        in made.study.question
    )


def test_a_find_is_tested_on_fresh_seeds(looked_at, tmp_path):
    made = confirm(looked_at, tmp_path / "new", seeds=7)
    assert made.designs == (looked_at.designs[2], looked_at.designs[0])
    assert {run.seed for run in made.runs} == set(range(8, 15))
    assert not {run.digest for run in made.runs} & {run.digest for run in looked_at.runs}
    assert made.study.plan.metric == looked_at.study.plan.metric
    assert [pair[1:] for pair in made.pairs()] == [(0, 1)]
    assert made.study.question == (
        "Is light=5000, depth=4 (the best on the validation part of 4) better than "
        "light=50, depth=4 on fresh seeds?"
    )
    # All else is as it was.
    again = made.config(made.runs[0]).model_dump(mode="json")
    before = looked_at.config(looked_at.runs[2]).model_dump(mode="json")
    again["system"]["seed"] = again["training"]["seed"] = 0
    assert again == before
    assert confirm(looked_at, tmp_path / "new", seeds=7).runs == made.runs
    with pytest.raises(StudyError, match="holds another study"):
        confirm(looked_at, tmp_path / "new", seeds=8)


def test_a_find_keeps_what_is_derived(small_study, tmp_path):
    axes = {
        "light": Axis(values=(50, 100)),
        "depth": Axis(path="system.sensor.bit_depth", values=(4, 8)),
    }
    derived = {"system.sensor.photons": "light * depth"}
    ledger = create_study(
        small_study(axes=axes, derived=derived, plan=Plan(), seeds=(0,)), tmp_path / "old"
    )
    for run in ledger.runs:
        validated(ledger, run, {"balanced_accuracy": 0.5 + 0.1 * run.design})
    made = confirm(ledger, tmp_path / "new")
    assert {made.config(run).system.sensor.photons for run in made.runs} == {200, 800}


def test_both_designs_can_be_named(looked_at, tmp_path):
    made = confirm(looked_at, tmp_path / "new", design=3, baseline=1)
    assert made.designs == (looked_at.designs[3], looked_at.designs[1])
    assert "(chosen)" in made.study.question
    for wrong in ({"design": 4}, {"baseline": -1}):
        with pytest.raises(ValueError, match="they are counted from 0 to 3"):
            confirm(looked_at, tmp_path / "other", **wrong)
    with pytest.raises(ValueError, match=r"design 2 is both .*\(--baseline, --design\)"):
        confirm(looked_at, tmp_path / "other", baseline=2)
    with pytest.raises(ValueError, match="at least 2 seeds"):
        confirm(looked_at, tmp_path / "other", seeds=1)
    with pytest.warns(UserWarning, match="3 paired seeds cannot"):
        confirm(looked_at, tmp_path / "other", seeds=3)


def test_a_find_and_its_baseline_are_tested_on_the_same_pictures(small_study, tmp_path):
    axes = {"count": Axis(path="data.count", values=(60, 120))}
    ledger = create_study(small_study(axes=axes, plan=Plan(), seeds=(0,)), tmp_path / "old")
    for run in ledger.runs:
        validated(ledger, run, {"balanced_accuracy": 0.5 + 0.1 * run.design})
    with pytest.raises(ValueError, match=r"are tested on different pictures, .* data.count"):
        confirm(ledger, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_there_may_be_no_winner(ledger, small_study, tmp_path):
    with pytest.raises(StudyError, match=r"no design of .* has a balanced_accuracy on all of its"):
        winner(ledger)
    other = create_study(small_study(plan=Plan(metric="sensitivity")), tmp_path / "other")
    with pytest.raises(StudyError, match="sensitivity is not measured on the validation part"):
        winner(other)
    with pytest.raises(StudyError, match="on all of its"):
        confirm(ledger, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_seeds_come_to_an_end(looked_at, small_study, tmp_path):
    last = create_study(small_study(plan=Plan(), seeds=(2**63 - 2,)), tmp_path / "last")
    with pytest.raises(ValueError, match="there are no 6 seeds after"):
        confirm(last, tmp_path / "new", design=1)


def test_a_search_is_held_against_its_first_round(small_base, small_study, tmp_path, cheap):
    pytest.importorskip("optuna")
    light = Axis(path="system.sensor.photons", low=10, high=1e4, scale="log")
    study = small_study(
        base=small_base(), axes={"light": light}, plan=Plan(), seeds=(0,),
        sampler=TPE(count=12, startup=3),
    )  # fmt: skip

    def rise(config):
        assert isinstance(config, joint.RunConfig)
        return {"balanced_accuracy": config.system.sensor.photons / 1e4}

    cheap(rise)
    ledger = create_study(study, tmp_path / "search")
    work(ledger.folder)
    ledger = refreshed(ledger)
    made = confirm(ledger, tmp_path / "confirm")
    found, before = (design["light"] for design in made.designs)
    assert found == max(design["light"] for design in ledger.designs)
    assert before == max(design["light"] for design in ledger.designs[:3])
    assert "the best on the validation part of 12)" in made.study.question
    # One that found nothing better than its first round is put beside the second best of it.
    best, second = np.argsort([-design["light"] for design in ledger.designs[:3]])[:2]
    with pytest.warns(UserWarning, match=rf"the second best of that round, design {second}\. Name"):
        made = confirm(ledger, tmp_path / "second", design=int(best))
    assert [*made.designs] == [ledger.designs[best], ledger.designs[second]]


@pytest.fixture
def required(small_study, tmp_path):
    """Makes a study of designs 0 to 3 at lamps 1, 2, 3 and 3, the later the better."""

    def make(name="old", **requirements):
        axes = {
            "light": Axis(path="system.sensor.photons", values=(100, 200, 300)),
            "depth": Axis(path="system.sensor.bit_depth", values=(4, 8)),
        }
        study = small_study(
            axes=axes,
            constraints=("light == 300 or depth == 4",),
            costs={"lamp": "light / 100"},
            plan=Plan(requirements=Requirements(**requirements), resamples=100),
            seeds=(0,),
        )
        ledger = create_study(study, tmp_path / name)
        for run in ledger.runs:
            validated(ledger, run, {"balanced_accuracy": 0.5 + 0.1 * run.design})
        return ledger

    return make


def test_a_find_is_one_that_the_plan_does_not_rule_out(required, tmp_path):
    ledger = required(at_most={"lamp": 2})
    assert winner(ledger) == (1, pytest.approx(0.6), 2, 1)
    made = confirm(ledger, tmp_path / "new")
    assert made.designs == (ledger.designs[1], ledger.designs[0])
    assert made.study.plan.requirements == ledger.study.plan.requirements
    assert select_designs(made).planned
    assert made.study.question == (
        "Is light=200, depth=4 (the best on the validation part of 2 that may meet the "
        "requirements) good enough, and better than light=100, depth=4 on fresh seeds?"
    )
    with pytest.warns(UserWarning, match=r"design 3 fails the requirements of the plan: lamp <= 2"):
        named = confirm(ledger, tmp_path / "named", design=3)
    assert named.designs[0] == ledger.designs[3]
    none = required("none", at_most={"lamp": 0.5})
    message = r"no design of .* meets the requirements of its plan; .* lamp <= 0.5 \(4 of them\)\."
    for given in ({}, {"cheapest": True}):
        with pytest.raises(StudyError, match=message):
            confirm(none, tmp_path / "not", **given)
    assert not (tmp_path / "not").exists()


def test_a_find_may_be_the_cheapest_that_is_good_enough(required, tmp_path):
    ledger = required(at_least={"lamp": 2})
    for number, given in enumerate(("lamp", True)):
        made = confirm(ledger, tmp_path / f"new{number}", cheapest=given)
        assert made.designs == (ledger.designs[1], ledger.designs[0])
        why = "(the lowest lamp of 3 that meet the requirements) good enough, and better than"
        assert why in made.study.question
    dear = required("dear", at_least={"lamp": 3})
    best = confirm(dear, tmp_path / "best", cheapest="lamp")
    assert best.designs[0] == dear.designs[3]  # of two that cost as little
    for given, message in (
        ({"cheapest": "lamb"}, r"no cost 'lamb', but lamp; did you mean 'lamp'\?"),
        (
            {"cheapest": True, "design": 1},
            r"choose the cheapest, not both \(--design, --cheapest\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            confirm(ledger, tmp_path / "not", **given)
    with pytest.raises(ValueError, match=r"the plan has no requirements"):
        confirm(required("free"), tmp_path / "not", cheapest="lamp")


def _tested(ledger, pretend, *skills):
    """Let each design be right as often on the test part as on the validation part."""
    for run in ledger.runs:
        validated(ledger, run, {"balanced_accuracy": skills[run.design]})
        pretend(ledger, run, skills[run.design])


def test_a_margin_to_the_best_is_tested_beside_the_best(small_study, tmp_path, pretend):
    """Beside the first design alone, each may be the best of all."""
    axes = {"light": Axis(path="system.sensor.photons", values=(50, 500, 5000))}
    plan = Plan(requirements=Requirements(within=0.05), resamples=200)
    ledger = create_study(small_study(axes=axes, plan=plan, seeds=range(4)), tmp_path / "old")
    _tested(ledger, pretend, 0.57, 0.73, 0.95)
    assert [each.number for each in select_designs(ledger).meeting()] == [2]
    with pytest.warns(UserWarning, match=r"design 1 fails the requirements of .*: within 0\.05"):
        made = confirm(ledger, tmp_path / "new", design=1)
    assert made.designs == (ledger.designs[1], ledger.designs[2])
    assert made.study.question == (
        "Is light=500 (chosen) good enough beside light=5000, the best of all, on fresh seeds?"
    )
    _tested(made, pretend, 0.73, 0.95)
    assert [each.number for each in select_designs(made).meeting()] == [1]
    # Of the best itself the better of two is the best, whichever the other is.
    for given, other in (({}, 0), ({"baseline": 1}, 1)):
        best = confirm(ledger, tmp_path / f"best{other}", **given)
        assert best.designs == (ledger.designs[2], ledger.designs[other])
        assert "good enough, and better than" in best.study.question
    with pytest.raises(
        ValueError, match=r"0\.05 of the best .*\. That is design 2, not design 0: .*\(--baseline"
    ):
        confirm(ledger, tmp_path / "not", design=1, baseline=0)
    assert not (tmp_path / "not").exists()


def test_the_best_of_all_may_be_one_that_is_ruled_out(small_study, tmp_path, pretend):
    axes = {"light": Axis(path="system.sensor.photons", values=(50, 500, 5000))}
    wanted = Requirements(at_most={"photons": 500}, within=0.5)
    plan = Plan(requirements=wanted, resamples=100)
    ledger = create_study(small_study(axes=axes, plan=plan, seeds=(0, 1)), tmp_path / "old")
    _tested(ledger, pretend, 0.6, 0.7, 0.9)
    made = confirm(ledger, tmp_path / "new")
    assert made.designs == (ledger.designs[1], ledger.designs[2])
    assert "the best on the validation part of 2 that may meet" in made.study.question
    # Where nobody knows the best, a baseline that is named is taken for it.
    for run in ledger.runs:
        (ledger.path(run) / "result.json").unlink()
    with pytest.raises(StudyError, match="on all of its seeds"):
        confirm(ledger, tmp_path / "not", design=1)
    named = confirm(ledger, tmp_path / "named", design=1, baseline=0)
    assert named.designs == (ledger.designs[1], ledger.designs[0])


def test_of_several_costs_the_cheapest_needs_a_name(small_study, tmp_path):
    plan = Plan(requirements=Requirements(at_most={"photons": 100}))
    ledger = create_study(small_study(plan=plan, seeds=(0,)), tmp_path / "old")
    with pytest.raises(ValueError, match=r"several costs, photons, .*: name one \(--cheapest pho"):
        confirm(ledger, tmp_path / "new", cheapest=True)
