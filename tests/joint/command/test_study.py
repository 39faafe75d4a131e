import csv
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import joint
from joint.cli import main
from joint.saved.checkpoint import save_checkpoint
from joint.saved.folder import RunFolder, read_history
from joint.study import (
    TPE,
    Axis,
    Plan,
    Requirements,
    Study,
    Worked,
    WorkerLost,
    create_study,
    load_study,
    open_study,
    work,
)
from joint.study.attempt import attempts
from joint.study.ledger import ATTEMPTS_FILE
from joint.study.store import add_design

RUN, WORK = "joint.command.study.run.run_study", "joint.command.study.work.work"
"""What trains, where it can be replaced."""
STUDY = """
name = "bits and light"
question = "Is it worth to read eight bits at 50 photons?"
seeds = [0, 1, 2, 3, 4, 5]
[base]
data = {kind = "phantom", count = 60, image_size = 16}
system = {front_end = {kind = "none"}, codec = {kind = "none"}}
objective = {rate = 0, distortion = 0}
training = {epochs = 1, monitor = "loss"}
[axes.bits]
path = "system.sensor.bit_depth"
values = [4, 8]
[plan]
comparisons = [{first = {bits = 8}, second = {bits = 4}}]
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


@pytest.mark.usefixtures("forked")
def test_a_study_from_file_to_report(study, tmp_path, capsys):
    study.write_text(STUDY.replace("[0, 1, 2, 3, 4, 5]", "[0, 1]"))
    ledger = tmp_path / "ledger"
    assert main(["study", "run", str(study), "--output", str(ledger), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    table = tmp_path / "rows.csv"
    assert main(["study", "list", str(ledger), "--json", "--csv", str(table)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 4
    assert len(table.read_text().splitlines()) == 5
    assert main(["study", "list", str(ledger)]) == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert first.split()[-1] == f"{rows[0]['balanced_accuracy']:.4f}"
    assert head.split()[-1] == "balanced_accuracy"
    assert main(["study", "report", str(ledger)]) == 0
    said = capsys.readouterr().out
    assert "planned" in said
    assert "bits" in said
    assert main(["study", "report", str(ledger), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert main(["study", "work", str(ledger)]) == 0
    assert capsys.readouterr().out == "0 done, 0 failed\n"  # nothing is left to do


def test_runs_together_are_taught_as_alone(tmp_path, capsys):
    """From the command line: an ensemble whose members have one teacher."""
    given = ["--data.count", "60", "--data.image-size", "16", "--front-end", "none"]
    given += ["--codec", "none", "--training.epochs", "1", "--quiet"]
    teacher = tmp_path / "teacher"
    assert main(["train", "--output", str(teacher), *given]) == 0
    taught = STUDY.replace("[base]", f'[base]\nteacher = "{teacher}"').replace(
        "0, 1, 2, 3, 4, 5", "0"
    )
    taught = taught.replace("distortion = 0}", "distortion = 0, distillation = 2.0}")
    taught = taught.replace("epochs = 1,", "epochs = 1, batch_size = 16,").partition("[plan]")[0]
    (tmp_path / "taught.toml").write_text(taught)
    found = []
    for together in ("1", "2"):
        ledger = tmp_path / together
        create_study(load_study(tmp_path / "taught.toml"), ledger)
        assert main(["study", "work", str(ledger), "--together", together]) == 0
        opened = open_study(ledger)
        # The first starts: that of its test, which follows, is of each run alone.
        paths = [opened.path(run) for run in opened.runs]
        starts = {next(attempts(path / ATTEMPTS_FILE))["together"] for path in paths}
        assert starts == {int(together)}
        results = [opened.result(run) for run in opened.runs]
        records = [read_history(path)[0]["train"] for path in paths]
        found.append((records, [result["teacher"] for result in results]))
    (alone, said), (together, again) = found
    assert said == again
    assert len({*said}) == 1
    for one, other in zip(alone, together, strict=True):
        assert one["distillation"] > 0
        assert other == pytest.approx(one, rel=1e-3)


SEARCH = """
seeds = [0, 1]
[base]
data = {kind = "phantom", count = 60, image_size = 16}
system = {front_end = {kind = "none"}, codec = {kind = "none"}}
objective = {rate = 0, distortion = 0}
training = {epochs = 1, monitor = "loss"}
[axes.light]
path = "system.sensor.photons"
low = 10
high = 10000
scale = "log"
[sampler]
kind = "tpe"
count = 6
startup = 2
objectives = {balanced_accuracy = "up", photons = "down"}
"""


def test_a_search_from_file_to_fresh_seeds(tmp_path, capsys, cheap):
    pytest.importorskip("optuna")
    cheap(lambda config: {"balanced_accuracy": config.system.sensor.photons / 1e4})
    file, ledger = tmp_path / "search.toml", tmp_path / "search"
    file.write_text(SEARCH)
    create_study(load_study(file), ledger)
    assert main(["study", "watch", str(ledger), "--once"]) == 0
    assert capsys.readouterr().out == (
        "study: 0/12 runs ended (0 failed), 0 running, 12 to go\n"
        f"nobody is working on it; to continue: lens2label study run {ledger}\n"
    )
    assert main(["study", "work", str(ledger)]) == 0
    assert capsys.readouterr().out == "12 done, 0 failed\n"
    assert main(["study", "watch", str(ledger)]) == 0
    assert "12/12 runs ended" in capsys.readouterr().out
    assert main(["study", "watch", str(ledger), "--json", "--once"]) == 0
    assert json.loads(capsys.readouterr().out)["tally"]["done"] == 12
    assert main(["study", "list", str(ledger), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    lights = {row["axis.light"] for row in rows}
    assert len(lights) == 6
    # It goes on where it is, and has nothing to do.
    assert main(["study", "run", str(ledger), "--quiet"]) == 0
    assert main(["study", "confirm", str(ledger), "--seeds", "7"]) == 0
    said = capsys.readouterr().out
    assert f"lens2label study run {tmp_path / 'search-confirm'}" in said
    made = open_study(tmp_path / "search-confirm")
    assert made.designs[0]["light"] == max(lights)
    assert made.study.seeds == tuple(range(2, 9))
    assert main(["study", "watch", str(ledger), "--every", "0"]) == 2
    assert "--every must be positive and finite" in capsys.readouterr().err


def test_where_a_study_is_run(study, tmp_path, capsys):
    ledger = tmp_path / "ledger"
    run = ["study", "run", str(study)]
    for options, message in (
        ([], "give --output, the folder of the ledger"),
        (["--output", str(ledger), "--gpus-per-run", "0.125"], "--gpus-per-run applies to a Ray"),
        (["--output", str(ledger), "--cpus-per-run", "2"], "--cpus-per-run applies to a Ray"),
        (["--output", str(ledger), "--ray-address", "auto"], "--ray-address applies to a Ray"),
    ):
        assert main([*run, *options]) == 1
        assert message in capsys.readouterr().err
        assert not ledger.exists()
    create_study(load_study(study), ledger)
    assert main(["study", "run", str(ledger), "--output", str(tmp_path / "other")]) == 1
    assert "is the ledger of a study and continues there" in capsys.readouterr().err


def test_a_cluster_is_asked_for_what_a_run_holds(study, tmp_path, monkeypatch, capsys):
    asked = {}

    class Pool(ThreadPoolExecutor):
        def __init__(self, address, **resources):
            super().__init__(2)
            asked.update(address=address, **resources)

        def shutdown(self, wait=True, *, cancel_futures=False):
            asked["left"] = cancel_futures
            super().shutdown(wait=wait)

    def run_study(folder, **settings):
        asked.update(folder=folder, device=settings["device"], workers=settings["workers"])
        assert isinstance(settings["executor"], Pool)

    monkeypatch.setattr("joint.command.study.run.RayEach", Pool)
    monkeypatch.setattr(RUN, run_study)
    ledger = str(tmp_path / "ledger")
    options = ["--executor", "ray", "--gpus-per-run", "0.125", "--workers", "8"]
    assert main(["study", "run", str(study), "--output", ledger, "--quiet", *options]) == 0
    assert asked == {
        "address": None, "cpus": 1.0, "gpus": 0.125, "left": True,
        "folder": tmp_path / "ledger", "device": "cuda", "workers": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ([], {}),
        (
            ["--data", "here.csv", "--data.root", "pictures"],
            {"table": "here.csv", "root": "pictures"},
        ),
        (["--data.groups", "of.csv"], {"groups": "of.csv"}),
    ],
)
def test_where_the_scenes_are_now(tmp_path, monkeypatch, capsys, options, where):
    data = joint.ImageTableConfig(table="was.csv", label="dx")
    base = joint.RunConfig(data=data, objective=joint.Objective(rate=0, distortion=0))
    axes = {"light": Axis(path="system.sensor.photons", values=(50,))}
    ledger = create_study(Study(base=base, axes=axes, seeds=(0,)), tmp_path)
    told = []
    monkeypatch.setattr(WORK, lambda *_, **given: told.append(given["data"]) or Worked(0, 0, False))
    monkeypatch.setattr(RUN, lambda *_, **given: told.append(given["data"]))
    for name in ("work", "run"):
        main(["study", name, str(ledger.folder), *options])
    assert told == [{name: Path(place) for name, place in where.items()}] * 2
    capsys.readouterr()


def test_the_files_of_a_study_are_checked(finished, capsys):
    command = ["study", "check", str(finished.folder)]
    for run in finished.runs:  # made-up runs have a result and scores alone
        joint.save_config(finished.config(run), finished.path(run))
        (finished.path(run) / "checkpoint.safetensors").touch()
    assert main(command) == 1
    assert (
        capsys.readouterr().out.count("damaged: its header cannot be read, or its end is missing")
        == 1
    )  # for all of them
    for run in finished.runs:
        weights = {"a": torch.zeros(1)}
        head = {"identity": {}}
        save_checkpoint(finished.path(run) / "checkpoint.safetensors", weights, head)
    assert main(command) == 0
    assert capsys.readouterr().out.endswith("\nall files are whole\n")
    path = finished.path(finished.runs[3]) / "result.json"
    path.write_text("{")
    assert main(command) == 1
    out = capsys.readouterr().out
    assert f"damaged: it is not a complete result\n  runs/{path.parent.name}/result.json\n" in out
    assert (
        f"remedy: delete result.json in its folder, then lens2label study work {finished.folder}:"
        in out
    )
    assert main([*command, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["whole"], found["runs"]["done"], len(found["faults"])) == (False, 32, 1)
    assert found["faults"][0].keys() == {"path", "kind", "words", "remedy"}
    assert main(["study", "check", str(finished.folder / "runs")]) == 1
    assert "there is no study in" in capsys.readouterr().err


def test_what_chance_chose_is_told(tmp_path, capsys):
    light = Axis(path="system.sensor.photons", low=10, high=1e4)
    study = Study(axes={"light": light}, sampler=TPE(count=4, startup=2), seeds=(0,))
    ledger = add_design(create_study(study, tmp_path), {"light": 20.0}, by_chance=True)
    add_design(ledger, {"light": 30.0})
    for name, options in (("list", ()), ("report", ())):
        assert main(["study", name, str(tmp_path), *options]) == 0
        assert "or no proposal was allowed: designs 2\n" in capsys.readouterr().out
    assert main(["study", "list", str(tmp_path), "--json"]) == 0
    assert "by chance" not in capsys.readouterr().out


def test_a_search_without_optuna_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    file = tmp_path / "search.toml"
    file.write_text(SEARCH)
    assert main(["study", "run", str(file), "--output", str(tmp_path / "x")]) == 1
    assert "pip install 'lens2label[optuna]'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_mistakes_are_told_in_a_line(study, tmp_path, capsys):
    assert main(["study", "--help"]) == 0
    assert "list" in capsys.readouterr().out
    assert main(["study", "rum"]) == 2
    assert "usage" in capsys.readouterr().err
    assert main(["study", "report", str(tmp_path)]) == 1
    assert "Traceback" not in capsys.readouterr().err
    there = ["--output", str(tmp_path / "x")]
    assert main(["study", "run", str(study), *there, "--workers", "0"]) == 2
    assert "--workers must be at least 1, not 0" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert main(["study", "report", str(tmp_path), "--csv", str(tmp_path)]) == 2
    assert "is a folder, name a file in it" in capsys.readouterr().err
    # Before the study is read, which takes time.
    for option, at, message in (
        ("--html", tmp_path, "--html: "),
        ("--html", study / "a.html", "cannot write"),
        ("--html", tmp_path / "a.pdf", "--html writes an .html, not "),
        ("--figures", study, "is a file, name a folder"),
        ("--figures", study / "figures", "cannot write"),
    ):
        assert main(["study", "report", str(tmp_path), option, str(at)]) in (1, 2)
        assert message in capsys.readouterr().err
    study.write_text(STUDY.replace("bit_depth", "bit_dept"))
    assert main(["study", "run", str(study), "--output", str(tmp_path / "x")]) == 1
    assert "bit_depth" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_weights_that_are_gone_are_told(finished, capsys):
    assert main(["study", "report", str(finished.folder)]) == 0
    words = f"delete its folder in {finished.folder / 'runs'}"
    said = capsys.readouterr().out
    assert "32 finished runs no longer have weights" in said
    assert words in said
    for run in finished.runs:
        (finished.path(run) / "checkpoint.safetensors").touch()
    assert main(["study", "report", str(finished.folder)]) == 0
    assert words not in capsys.readouterr().out


@pytest.mark.filterwarnings("always")
def test_quiet_is_quiet_of_warnings_too(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(RUN, lambda folder, **options: asked.append(options))
    path = tmp_path / "study.toml"
    path.write_text(STUDY.replace("[0, 1, 2, 3, 4, 5]", "[0, 1, 2]"))  # too few for its plan
    assert main(["study", "run", str(path), "--output", str(tmp_path / "a"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["study", "run", str(path), "--output", str(tmp_path / "b")]) == 0
    assert "warning: 3 paired seeds cannot" in capsys.readouterr().err
    assert [(each["progress"], each["warn"]) for each in asked] == [(False, False), (True, True)]


def test_a_study_of_which_all_failed_ends_with_a_mistake(study, tmp_path, capsys):
    ledger = create_study(load_study(study), tmp_path / "ledger")
    for run in ledger.runs:
        ledger.path(run).mkdir(parents=True)
        RunFolder(ledger.path(run)).fail(ValueError("the lens fell down"))
    assert main(["study", "run", str(ledger.folder)]) == 1
    assert "12 of designs 0, 1: ValueError: the lens fell down" in capsys.readouterr().out


def test_who_stops_a_study_is_told_how_to_go_on(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(RUN, lambda folder, **options: None)
    monkeypatch.setattr(WORK, lambda folder, **options: Worked(1, 0, stopped=True))
    ledger = str(tmp_path / "ledger")
    assert main(["study", "run", str(study), "--output", ledger]) == 0
    assert (
        f"stopped, 12 runs pending; to continue: lens2label study run {ledger}\n"
        in capsys.readouterr().out
    )
    assert main(["study", "work", ledger]) == 0
    assert capsys.readouterr().out == (
        f"1 done, 0 failed\nstopped and saved; to continue: lens2label study work {ledger}\n"
    )


@pytest.mark.parametrize("folder", [".", "../study", "../study/runs/.."])
def test_a_study_is_confirmed_beside_itself(finished, tmp_path, monkeypatch, capsys, folder):
    monkeypatch.chdir(finished.folder)
    options = ["--design", "2", "--baseline", "0"]
    assert main(["study", "confirm", folder, *options]) == 0
    assert "to answer it: lens2label study run" in capsys.readouterr().out
    assert len(open_study(tmp_path / "study-confirm").runs) == 12


def test_a_plan_is_shown_before_anything_is_written(study, tmp_path, capsys):
    asked = ["study", "run", str(study), "--dry-run"]
    assert main(asked) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 designs x 6 seeds: 12 runs",
        "",
        "designs:",
        "  0: bits=4",
        "  1: bits=8",
        "",
        "2 of these were built and tried on two grey pictures",
        "",
        "the plan compares, by balanced_accuracy:",
        "  bits=8 against bits=4",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [study.name]
    ledger = create_study(load_study(study), tmp_path / "ledger")
    RunFolder(ledger.path(ledger.runs[0])).path.mkdir(parents=True)
    RunFolder(ledger.path(ledger.runs[0])).finish({"test": {}})
    assert main([*asked, "--earlier", str(ledger.folder)]) == 0
    assert f"of which 1 are done in {ledger.folder}" in capsys.readouterr().out
    assert main([*asked[:2], str(ledger.folder), "--dry-run"]) == 1
    assert "watch --once shows its progress" in capsys.readouterr().err
    assert main([*asked[:2], str(ledger.folder), "--earlier", str(ledger.folder)]) == 1
    assert "--earlier applies only to a new" in capsys.readouterr().err


def test_a_race_is_shown_before_and_after(study, tmp_path, capsys, cheap):
    asked_of = STUDY.partition("[plan]")[0]
    study.write_text(asked_of + "[race]\nrungs = [1, 2]\nmetric = 'accuracy'\n")
    asked = ["study", "run", str(study)]
    assert main([*asked, "--dry-run"]) == 0
    told = (
        "at most 12 runs, and 7 in a race (2 have 1, 1 have 2, 1 have 6; more where some are equal)"
    )
    assert f"2 designs x 6 seeds: {told}" in capsys.readouterr().out
    folder = tmp_path / "ledger"
    ledger = create_study(load_study(study), folder)
    cheap(lambda config: {"accuracy": 0.1 * config.system.sensor.bit_depth})
    work(folder)
    assert main([*asked, "--dry-run", "--earlier", str(folder)]) == 0
    assert f"of which 7 are done in {folder}" in capsys.readouterr().out
    assert main(["study", "list", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert sum(run.digest in shown for run in ledger.planned) == 7
    assert "a race, decided by accuracy on the validation part: of 2 designs, 1 with 1" in shown
    assert main(["study", "select", str(folder), "--at-least", "accuracy=0.5"]) == 1
    assert "so no p of them is valid" in capsys.readouterr().err


@pytest.mark.usefixtures("forked")
def test_the_runs_of_an_earlier_study_are_taken(study, tmp_path, capsys):
    study.write_text(STUDY.replace("[0, 1, 2, 3, 4, 5]", "[0, 1]").partition("[plan]")[0])
    old, new = tmp_path / "old", tmp_path / "new"
    ledger = create_study(load_study(study), old)
    assert len(ledger.runs) == 4
    for run in ledger.runs[:2]:
        ledger.path(run).mkdir(parents=True)
        RunFolder(ledger.path(run)).fail(RuntimeError("as it was"))
    assert main(["study", "run", str(study), "--output", str(old), "--quiet"]) == 0
    assert (
        main(["study", "run", str(study), "--output", str(new), "--earlier", str(old), "--quiet"])
        == 0
    )
    copied, trained = open_study(new), open_study(old)
    for run in copied.runs[2:]:
        assert copied.result(run) == trained.result(run)
        starts = [list(attempts(each.path(run) / ATTEMPTS_FILE)) for each in (copied, trained)]
        assert starts[0] == starts[1] != []  # it was not trained again
    assert [copied.state(run) for run in copied.runs[:2]] == ["done"] * 2


def test_the_designs_that_are_good_enough(finished, tmp_path, capsys):
    table = tmp_path / "designs.csv"
    asked = ["--at-least", "balanced_accuracy=0.65", "recall.a=0.5", "--at-most", "bits=150"]
    command = ["study", "select", str(finished.folder), *asked]
    assert main([*command, "--csv", str(table)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "designs by the requirements balanced_accuracy >= 0.65, recall.a >= 0.5, bits <= 150\n"
    )
    assert "lowest bits of those that meet them: 100, design " in said
    rows = list(csv.DictReader(table.read_text().splitlines()))
    kept = {
        number
        for number, design in enumerate(finished.designs)
        if design["light"] == 5000 and number % 2 == 0
    }
    assert {int(row["design"]) for row in rows if row["verdict"] == "meets"} == kept
    assert main([*command, "--within", "0.05", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["requirements"][-1] == "within 0.05 of the best balanced_accuracy"
    figure = tmp_path / "designs.svg"
    assert main([*command, "--figure", str(figure)]) == 0
    assert b"<!-- recall.a -->" in figure.read_bytes()
    assert main([*command, "--figure", str(tmp_path / "designs.jpg")]) == 2
    assert "--figure writes a .png, .pdf or .svg, not " in capsys.readouterr().err
    assert main(["study", "select", str(finished.folder)]) == 1
    assert "give at least one requirement" in capsys.readouterr().err
    assert main(["study", "select", str(finished.folder), "--at-least", "recall.a"]) == 2
    told = "--at-least takes a metric and a number, such as recall.mel=0.8, not 'recall.a'"
    assert told in capsys.readouterr().err
    assert main(["study", "select", str(finished.folder), "--at-least", "accuracy=30"]) == 1
    assert "accuracy is from 0 to 1, not 30: for 30 % write 0.3\n" in capsys.readouterr().err


def test_the_cheapest_good_design_is_confirmed(small_study, pretend, tmp_path, capsys):
    plan = Plan(requirements=Requirements(at_most={"lamp": 60}), resamples=100)
    study = small_study(costs={"lamp": "light + depth"}, plan=plan)
    ledger = create_study(study, tmp_path / "study")
    for run in ledger.runs:
        pretend(ledger, run, 0.9)
    asked = ["study", "confirm", str(ledger.folder), "--baseline", "3"]
    for number, options in enumerate((["--cheapest", "lamp"], ["--design", "1"])):
        new = tmp_path / f"new{number}"
        assert main([*asked, "--output", str(new), *options]) == 0
        assert open_study(new).designs[0]["light"] == 50
    assert "lamp of 2 that meet the requirements" in capsys.readouterr().out
    assert main([*asked, "--cheapest", "lamp", "photons"]) == 2
    assert "--cheapest takes one cost, not lamp, photons" in capsys.readouterr().err


def test_workers_that_are_lost_are_told_in_a_line(study, tmp_path, monkeypatch, capsys):
    def lose(folder, **options):
        raise WorkerLost("process 7 ended with status -9")

    monkeypatch.setattr(RUN, lose)
    assert main(["study", "run", str(study), "--output", str(tmp_path / "ledger")]) == 1
    assert capsys.readouterr().err == "lens2label: process 7 ended with status -9\n"
