import json
import shutil
import warnings

import pytest

import joint
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import RunFolder, lock_run
from joint.saved.lock import LOCK_FILE
from joint.settings import ConfigError
from joint.study import (
    TPE,
    Axis,
    Comparison,
    Plan,
    Requirements,
    StudyError,
    create_study,
    open_study,
    report,
    study_html,
)
from joint.study.create import write_study
from joint.study.store import done_before, seal


def _codecs(*kinds):
    return Axis(path="system.codec", values=tuple({"kind": kind} for kind in kinds))


def test_runs_that_were_there_before_the_plan_are_counted(finished, small_study, tmp_path, undrawn):
    """A comparison that is planned after the runs says so beside it."""
    assert done_before(finished) == 0
    assert "before this plan" not in str(report(finished))
    shutil.copytree(finished.folder / "runs", tmp_path / "new" / "runs")
    plan = Plan(comparisons=(Comparison(first={"depth": 8}, second={"depth": 4}),), resamples=100)
    again = create_study(small_study(plan=plan), tmp_path / "new")
    assert done_before(again) == 32
    judged = report(again)
    assert "planned before the first run\n  32 of 32 runs were done before this plan" in str(judged)
    page = study_html(again, judged=judged, elements=False)
    assert "32 of 32 runs were done before this plan." in page


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


def test_few_seeds_warn(small_study, tmp_path):
    with pytest.warns(UserWarning, match="3 paired seeds cannot give a p below 0.25"):
        create_study(small_study(seeds=(0, 1, 2)), tmp_path)


def test_two_designs_that_are_one_run_are_refused(small_study, tmp_path):
    axis = Axis(
        values=({"system.sensor.photons": 50}, {"system.sensor.photons": 50.0}), labels=("a", "b")
    )
    study = small_study(axes={"light": axis}, plan=Plan())
    with pytest.raises(ConfigError, match=r"designs \{'light': 'a'\} and \{'light': 'b'\} have"):
        create_study(study, tmp_path)
    assert not list(tmp_path.iterdir())


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


@pytest.mark.parametrize("state", ["nothing", "failed", "done"])
def test_another_study_in_a_folder_is_told_what_to_do(ledger, small_study, pretend, state):
    run = ledger.runs[0]
    if state == "failed":
        ledger.path(run).mkdir(parents=True)
        RunFolder(ledger.path(run)).fail(RuntimeError("no"))
    elif state == "done":
        pretend(ledger, run, 0.9)
    advice = (
        "give this one as the earlier study" if state == "done" else "or delete this one: none of"
    )
    with pytest.raises(StudyError, match=f"question was .*choose another folder.* {advice}"):
        create_study(small_study(question="why?"), ledger.folder)


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
        with pytest.raises(ConfigError, match=r"codec=none against codec=jpeg by bpp, but one of"):
            create_study(study, tmp_path / "study")


def test_a_search_by_what_no_design_may_have_is_refused(small_study, tmp_path):
    search = TPE(count=4, startup=2, objectives={"psnr": "up"})
    with pytest.raises(ConfigError, match="no design has psnr, as none has a codec"):
        create_study(small_study(sampler=search, plan=Plan()), tmp_path / "none")


@pytest.mark.parametrize(
    "codecs",
    [_codecs("none", "jpeg"), Axis(path="system.codec.kind", values=("none", "jpeg"))],
    ids=["system.codec", "system.codec.kind"],
)
def test_a_search_may_come_to_codecs_after_its_first_round(small_study, tmp_path, codecs):
    search = TPE(count=4, startup=2, seed=2, objectives={"psnr": "up"})
    light = Axis(path="system.sensor.photons", values=(50, 500, 5000, 50000))
    study = small_study(
        axes={"codec": codecs, "light": light},
        constraints=("codec == none or light == 50",),  # most designs are without
        sampler=search,
        plan=Plan(),
    )
    ledger = create_study(study, tmp_path / "study")
    assert [design["codec"] for design in ledger.designs] == ["none", "none"]


def test_more_levels_cost_their_own_runs_alone(ledger, small_study, pretend, tmp_path):
    """The folder of the new study is that which copying by hand would have made."""
    done, failed, held = ledger.runs[:6], ledger.runs[6], ledger.runs[7]
    for run in done:
        pretend(ledger, run, 0.8)
        (ledger.path(run) / LOCK_FILE).touch()
    ledger.path(failed).mkdir()
    RunFolder(ledger.path(failed)).fail(RuntimeError("diverged"))
    axes = dict(ledger.study.axes) | {
        "light": Axis(path="system.sensor.photons", values=(50, 500, 5000))
    }
    larger = small_study(axes=axes)
    with lock_run(ledger.path(held)):
        more = create_study(larger, tmp_path / "more", earlier=ledger.folder)
    assert (more.tally().done, more.tally().pending) == (6, 3 * 2 * 8 - 6)
    assert done_before(more) == 6
    assert "6 of 48 runs were done" in str(report(more))
    for run in done:
        old, new = (
            {f.name: f.read_bytes() for f in study.path(run).iterdir()} for study in (ledger, more)
        )
        assert old.pop(LOCK_FILE) == b""
        assert new == old
    assert {path.name for path in (more.folder / "runs").iterdir()} == {run.digest for run in done}
    # A study that is there is fixed: nothing is added to it.
    pretend(ledger, held, 0.8)
    with pytest.warns(UserWarning, match="already holds a study, which is fixed: 1 of its runs"):
        again = create_study(larger, tmp_path / "more", earlier=ledger.folder)
    assert again.tally().done == 6


def test_a_copy_that_was_cut_off_is_made_again(ledger, small_study, pretend, tmp_path, monkeypatch):
    pretend(ledger, ledger.runs[0], 0.8)

    def full(source, target, **_):
        (target / "half").mkdir(parents=True)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copytree", full)
        with pytest.raises(OSError, match="No space"):
            create_study(ledger.study, tmp_path / "more", earlier=ledger.folder)
    assert not any((tmp_path / "more" / "runs").iterdir())
    assert not (tmp_path / "more" / "study.json").exists()
    assert create_study(ledger.study, tmp_path / "more", earlier=ledger.folder).tally().done == 1


@pytest.mark.parametrize("name", ["result.json", "predictions.safetensors"])
def test_a_damaged_run_of_an_earlier_study_is_not_copied(ledger, pretend, tmp_path, name):
    """A report of the new study would end by it, and nobody would know from where it came."""
    whole, damaged = ledger.runs[:2]
    for run in (whole, damaged):
        pretend(ledger, run, 0.8)
    path = ledger.path(damaged) / name
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(CheckpointError, match=f"{path} is damaged.* Remove"):
        create_study(ledger.study, tmp_path / "more", earlier=ledger.folder)
    assert not (tmp_path / "more").exists()
    (ledger.path(damaged) / "result.json").unlink()  # as it is told to
    assert done_before(create_study(ledger.study, tmp_path / "more", earlier=ledger.folder)) == 1


def test_there_must_be_an_earlier_study(ledger, tmp_path):
    with pytest.raises(StudyError, match="there is no study in"):
        create_study(ledger.study, tmp_path / "more", earlier=tmp_path / "nowhere")
    assert not (tmp_path / "more").exists()


def test_an_earlier_study_that_comes_too_late_is_told(ledger, finished, tmp_path):
    fresh = create_study(ledger.study, tmp_path / "fresh")
    with pytest.warns(UserWarning, match="32 of its runs are done in .* and are trained again"):
        create_study(ledger.study, fresh.folder, earlier=finished.folder)
    assert fresh.tally().done == 0
    taken = create_study(ledger.study, tmp_path / "taken", earlier=finished.folder)
    assert create_study(ledger.study, taken.folder, earlier=finished.folder).tally().done == 32


@pytest.mark.parametrize(
    "plan",
    [
        Plan(metric="recall.zzz"),
        Plan(requirements=Requirements(at_least={"recall.zzz": 0.5})),
        Plan(requirements=Requirements(at_most={"f1.zzz": 0.5})),
    ],
)
def test_a_class_that_the_scenes_do_not_have_is_refused_before_the_first_run(
    small_study, small_base, tmp_path, plan
):
    """Where the configuration tells the classes; elsewhere the worker knows them."""
    named = ("mel", "cafe\u0301")
    for data, refused in (
        (joint.PhantomConfig(), True),
        (joint.HAM10000Config(root=tmp_path / "ham"), True),
        (joint.ClassFolders(root=tmp_path / "scenes", classes=named), True),
        (joint.ClassFolders(root=tmp_path / "scenes"), False),
    ):
        base = small_base().model_copy(update={"data": data})
        study = small_study(base=base, plan=plan)
        if refused:
            with pytest.raises(ValueError, match=r"^the plan cannot be judged: .*zzz"):
                create_study(study, tmp_path / "study")
            assert not (tmp_path / "study").exists()
        else:
            create_study(study, tmp_path / "other")
    # A name is one however its accents are written.
    data = joint.ClassFolders(root=tmp_path / "scenes", classes=named)
    base = small_base().model_copy(update={"data": data})
    wanted = Requirements(at_least={"recall.caf\u00e9": 0.5})
    create_study(small_study(base=base, plan=Plan(requirements=wanted)), tmp_path / "named")


def test_the_classes_of_all_designs_are_looked_at(small_study, tmp_path):
    """The base has the class, and scenes of an axis do not."""
    classes = Axis(
        path="data",
        values=(
            {"kind": "phantom", "count": 60, "image_size": 16, "balance": 0},
            {"kind": "folders", "root": "scenes", "image_size": 16, "classes": ["a", "b"]},
        ),
        labels=("phantom", "folders"),
    )
    plan = Plan(metric="recall.mel")
    message = r"cannot be judged: .*'recall.mel' .* the 2 classes; use "
    with pytest.raises(ValueError, match=message):
        create_study(small_study(axes={"scenes": classes}, plan=plan), tmp_path / "study")


def test_a_bound_that_no_share_can_reach_is_refused(small_study, ledger, tmp_path):
    def asked(**bounds):
        return small_study(plan=Plan(requirements=Requirements(**bounds)))

    for bounds, told in (
        ({"at_least": {"accuracy": 30}}, r"accuracy is from 0 to 1, not 30: for 30 % write"),
        ({"at_most": {"recall.mel": -0.1}}, r"recall.mel is from 0 to 1, not -0.1$"),
        ({"at_least": {"mcc": -30}}, r"mcc is from -1 to 1, not -30: .* write -0.3$"),
    ):
        with pytest.raises(ValueError, match=told):
            create_study(asked(**bounds), tmp_path / "new")
        assert not (tmp_path / "new").exists()
    create_study(asked(at_least={"accuracy": 1, "mcc": -1, "loss": -5}), tmp_path / "new")
    # One that was written before is read, and reported, as it is.
    path = ledger.folder / "study.json"
    content = json.loads(path.read_text())
    content["study"]["plan"]["requirements"] = {"at_least": {"accuracy": 30}}
    content["seal"] = seal(content)
    path.write_text(json.dumps(content))
    assert "accuracy >= 30" in str(report(open_study(ledger.folder)))
    # Its find is confirmed by the plan that it has.
    assert write_study(asked(at_most={"mcc": 5}), tmp_path / "confirmed").runs
