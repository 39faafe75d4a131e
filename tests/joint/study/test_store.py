import json
import os
import shutil
import warnings

import pytest

from joint.checkpoint import CheckpointError
from joint.folder import FAILURE_FILE, RunFolder, hold
from joint.lock import LOCK_FILE
from joint.settings import ConfigError
from joint.study import (
    TPE,
    Axis,
    Comparison,
    Plan,
    Sobol,
    Study,
    StudyError,
    create_study,
    open_study,
    report,
    study_html,
)
from joint.study.store import ATTEMPTS_FILE, done_before, read_failure, without_weights


def test_the_study_is_written_before_any_run(ledger):
    assert [path.name for path in ledger.folder.iterdir()] == ["study.json"]
    again = open_study(ledger.folder)
    assert again.study == ledger.study
    assert again.runs == ledger.runs
    assert again.designs == ledger.designs


def test_every_design_has_every_seed(ledger):
    assert len(ledger.runs) == 4 * 8
    assert {(run.design, run.seed) for run in ledger.runs} == {
        (design, seed) for design in range(4) for seed in range(8)
    }
    assert len({run.digest for run in ledger.runs}) == 32
    # What is there early covers all designs.
    assert [run.design for run in ledger.runs[:4]] == [0, 1, 2, 3]


def test_a_run_is_named_by_its_configuration(ledger):
    for run in ledger.runs[::5]:
        config = ledger.config(run)
        assert config.digest() == run.digest == ledger.path(run).name
        assert config.system.seed == config.training.seed == run.seed
        assert config.system.sensor.photons == ledger.designs[run.design]["light"]


def test_another_version_is_not_mixed_in(ledger):
    path = ledger.folder / "study.json"
    content = json.loads(path.read_text())
    content["runs"][0]["digest"] = "0" * 12
    path.write_text(json.dumps(content))
    changed = open_study(ledger.folder)
    with pytest.raises(StudyError, match="written by another version of lens2label"):
        changed.config(changed.runs[0])


def test_runs_that_were_there_before_the_plan_are_counted(finished, small_study, tmp_path):
    """A comparison that is planned after the runs says so beside it."""
    assert done_before(finished) == 0
    assert "before this plan" not in str(report(finished))
    shutil.copytree(finished.folder / "runs", tmp_path / "new" / "runs")
    plan = Plan(comparisons=(Comparison(first={"depth": 8}, second={"depth": 4}),), resamples=100)
    again = create_study(small_study(plan=plan), tmp_path / "new")
    assert done_before(again) == 32
    assert "planned before the first run\n  32 of 32 runs were there before this plan" in str(
        report(again)
    )
    assert "32 of 32 runs were there before this plan." in study_html(again)
    # Nothing is said of a folder that was written before it was recorded.
    content = json.loads((again.folder / "study.json").read_text())
    del content["done_before"]
    (again.folder / "study.json").write_text(json.dumps(content))
    assert done_before(open_study(again.folder)) == 0


@pytest.mark.parametrize("best", [True, False])
def test_runs_without_weights_are_counted(small_base, small_study, tmp_path, pretend, best):
    ledger = create_study(small_study(base=small_base(restore_best=best)), tmp_path)
    for run in ledger.runs[:3]:
        pretend(ledger, run, 0.9)
    name = "best.safetensors" if best else "checkpoint.safetensors"
    (ledger.path(ledger.runs[0]) / name).touch()
    assert without_weights(ledger) == 2


def test_weights_are_those_that_each_design_keeps(small_base, small_study, tmp_path, pretend):
    axes = {"best": Axis(path="training.restore_best", values=(True, False))}
    study = small_study(base=small_base(), axes=axes, plan=Plan(resamples=100))
    ledger = create_study(study, tmp_path)
    for run in ledger.runs:
        pretend(ledger, run, 0.9)
        best = ledger.designs[run.design]["best"]
        (ledger.path(run) / f"{'best' if best else 'checkpoint'}.safetensors").touch()
    assert without_weights(ledger) == 0
    (ledger.path(ledger.runs[0]) / "best.safetensors").unlink()
    assert without_weights(ledger) == 1


def test_creating_it_again_opens_it(ledger, small_study):
    assert create_study(small_study(), ledger.folder).runs == ledger.runs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (0, 1)}, "seeds was .* and is"),
        ({"plan": Plan(metric="auc", resamples=100)}, "plan.metric was 'balanced_accuracy'"),
        (
            {"axes": {"light": Axis(path="system.sensor.photons", values=(50, 5000))}},
            "axes.depth is gone",
        ),
    ],
)
def test_a_folder_holds_one_study(ledger, small_study, changes, message):
    before = (ledger.folder / "study.json").read_bytes()
    with (
        warnings.catch_warnings(),
        pytest.raises(StudyError, match=f"holds another study: .*{message}"),
    ):
        create_study(small_study(**changes), ledger.folder)
    assert (ledger.folder / "study.json").read_bytes() == before


@pytest.mark.parametrize("links", [True, False])
def test_who_comes_second_replaces_nothing(small_study, tmp_path, monkeypatch, links):
    # The other one writes its study after this one has looked for it.
    here, there = small_study(), small_study(question="another")
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    designs = Study.designs

    def slow(study):
        found = designs(study)
        if study == here and not (tmp_path / "study.json").exists():
            create_study(there, tmp_path)
        return found

    monkeypatch.setattr(Study, "designs", slow)
    with pytest.raises(StudyError, match="holds another study: question was 'another' and is ''"):
        create_study(here, tmp_path)
    assert open_study(tmp_path).study == there
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]
    assert create_study(there, tmp_path).study == there


def _no_links(*_):
    raise PermissionError("no hard links")


def test_states_are_those_of_the_files(ledger, pretend):
    first, second, third, fourth = ledger.runs[:4]
    pretend(ledger, first, 0.9)
    ledger.path(second).mkdir(parents=True)
    RunFolder(ledger.path(second)).fail(RuntimeError("no"))
    with hold(ledger.path(third)):
        # What somebody else, who was killed, has left.
        ledger.path(fourth).mkdir(parents=True)
        (ledger.path(fourth) / LOCK_FILE).write_text("{}")
        assert ledger.states()[:5] == ("done", "failed", "running", "pending", "pending")
        assert ledger.state(third) == "running"
        assert ledger.tally() == (29, 1, 1, 1)
        assert ledger.tally().finished == 2
        assert ledger.tally().total == 32
    assert ledger.state(third) == "pending"


def test_a_run_that_is_tried_again_is_running_not_failed(ledger):
    run = ledger.runs[0]
    with hold(ledger.path(run)):
        RunFolder(ledger.path(run)).fail(RuntimeError("before"))
        assert ledger.state(run) == "running"


def test_failures_keep_their_traceback(tmp_path):
    try:
        raise ValueError("the lens fell down")
    except ValueError as error:
        RunFolder(tmp_path).fail(error)
    found = read_failure(tmp_path)
    assert (found["error"], found["message"]) == ("ValueError", "the lens fell down")
    assert "test_failures_keep_their_traceback" in found["traceback"]
    (tmp_path / FAILURE_FILE).write_text("[")
    assert read_failure(tmp_path) == read_failure(tmp_path / "missing") == {}


def test_failed_runs_can_be_tried_again(ledger, pretend):
    first, second = ledger.runs[:2]
    pretend(ledger, first, 0.9)
    ledger.path(second).mkdir(parents=True)
    RunFolder(ledger.path(second)).fail(RuntimeError("no"))
    (ledger.path(second) / ATTEMPTS_FILE).write_text("{}\n")
    assert ledger.reset_failed() == 1
    assert ledger.states()[:2] == ("done", "pending")
    assert not (ledger.path(second) / ATTEMPTS_FILE).exists()
    assert ledger.reset_failed() == 0


def test_few_seeds_warn(small_study, tmp_path):
    with pytest.warns(UserWarning, match="3 paired seeds cannot give a p below 0.25"):
        create_study(small_study(seeds=(0, 1, 2)), tmp_path)


def test_two_designs_that_are_one_run_are_refused(small_study, tmp_path):
    axis = Axis(
        values=({"system.sensor.photons": 50}, {"system.sensor.photons": 50.0}), labels=("a", "b")
    )
    study = small_study(axes={"light": axis}, plan=Plan())
    with pytest.raises(ConfigError, match=r"designs \{'light': 'a'\} and \{'light': 'b'\} are"):
        create_study(study, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no study in .*: lens2label study run writes one"),
        ("{", "study.json is damaged: JSONDecodeError"),
        ("[]", "is damaged: TypeError"),
        ('{"format": 2}', "has format 2, not 1"),
        ('{"format": 1, "study": {"axis": 1}}', "axis: no such key; did you mean 'axes'"),
        ('{"format": 1}', "is damaged: KeyError"),
    ],
)
def test_what_is_no_study_is_told(tmp_path, content, message):
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(StudyError, match=message):
        open_study(tmp_path)


@pytest.mark.parametrize("number", [99, -1, "0"])
def test_a_run_of_no_design_is_told(ledger, number):
    path = ledger.folder / "study.json"
    content = json.loads(path.read_text())
    content["runs"][0]["design"] = number
    path.write_text(json.dumps(content))
    with pytest.raises(StudyError, match=r"study.json is damaged: .* run 0 is of design .*, of 4"):
        open_study(ledger.folder)


def test_a_design_that_chooses_nothing_is_told(ledger):
    path = ledger.folder / "study.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"designs": [1, 2, 3, 4]}))
    with pytest.raises(StudyError, match=r"study.json is damaged: .* design 0 is 1, not a table"):
        open_study(ledger.folder)


def test_two_thousand_runs_are_listed_at_once(small_study, tmp_path):
    light = Axis(path="system.sensor.photons", low=10, high=1e4, scale="log")
    study = small_study(axes={"light": light}, sampler=Sobol(count=250), plan=Plan())
    large = create_study(study, tmp_path)
    assert len(large.runs) == 2000
    for run in large.runs:
        path = large.path(run)
        path.mkdir(parents=True)
        for name in ("config.json", "history.jsonl", "checkpoint.safetensors", "result.json"):
            (path / name).touch()
    opened = open_study(tmp_path)  # without a look into the files, which are empty
    assert opened.tally().done == 2000


def test_a_plan_does_not_ask_twice(small_study, tmp_path):
    one = Comparison(first={"light": 5000}, second={"light": 50})
    for again in (
        Comparison(first={"light": 50}, second={"light": 5000}),
        Comparison(first={"light": 5000, "depth": 4}, second={"light": 50, "depth": 4}),
    ):
        plan = Plan(comparisons=(one, again))
        with pytest.raises(ValueError, match="compares the same two designs twice"):
            create_study(small_study(plan=plan), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_result_says_what_to_do(ledger, pretend):
    run = ledger.runs[0]
    pretend(ledger, run, 1.0)
    (ledger.path(run) / "result.json").write_bytes(b'{"test": ')
    with pytest.raises(CheckpointError, match=r"result.json is damaged. Remove the file .* again"):
        ledger.result(run)
    (ledger.path(run) / "result.json").write_text('{"test": {}, "costs": null}')
    with pytest.raises(CheckpointError, match=r"its costs are null, not a table. Remove the file"):
        ledger.result(run)


@pytest.mark.parametrize("state", ["nothing", "failed", "done"])
def test_another_study_in_a_folder_is_told_what_to_do(ledger, small_study, pretend, state):
    run = ledger.runs[0]
    if state == "failed":
        ledger.path(run).mkdir(parents=True)
        RunFolder(ledger.path(run)).fail(RuntimeError("no"))
    elif state == "done":
        pretend(ledger, run, 0.9)
    advice = "runs that both have in common" if state == "done" else "or delete this one: none of"
    with pytest.raises(StudyError, match=f"question was .*choose another folder.* {advice}"):
        create_study(small_study(question="why?"), ledger.folder)


def _codecs(*kinds):
    return Axis(path="system.codec", values=tuple({"kind": kind} for kind in kinds))


@pytest.mark.parametrize("metric", ["bpp", "bpp_bytes", "psnr", "ssim", "throughput"])
def test_a_plan_goes_by_what_the_designs_have(small_study, tmp_path, metric):
    """A study is refused before it trains for days and has nothing to be judged by."""
    with pytest.raises(ConfigError, match=f"no design has {metric}, as none has a (codec|front_)"):
        create_study(small_study(plan=Plan(metric=metric)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_comparison_goes_by_what_both_have(small_study, tmp_path):
    axes = {"codec": _codecs("none", "jpeg", "webp")}
    for first, allowed in (("none", False), ("webp", True)):
        pair = Comparison(first={"codec": first}, second={"codec": "jpeg"})
        study = small_study(axes=axes, plan=Plan(metric="bpp", comparisons=(pair,)))
        if allowed:
            assert create_study(study, tmp_path / "study").wanted == 24
            continue
        with pytest.raises(ConfigError, match=r"codec=none against codec=jpeg by bpp, and one of"):
            create_study(study, tmp_path / "study")


def test_a_search_goes_by_what_its_designs_may_have(small_study, tmp_path):
    search = TPE(count=4, startup=2, objectives={"psnr": "up"})
    with pytest.raises(ConfigError, match="no design has psnr, as none has a codec"):
        create_study(small_study(sampler=search, plan=Plan()), tmp_path / "none")
    # Which codecs are among the first ones is chance.
    axes = {"codec": _codecs("none", "jpeg", "webp", "png")}
    assert create_study(small_study(axes=axes, sampler=search, plan=Plan()), tmp_path / "some")
