import json
import os
import shutil
import subprocess
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pytest
import torch
from commands import MISTAKE as _MISTAKE
from commands import OPTION as _OPTION
from commands import TINY as _TINY
from commands import run as _run
from sklearn.metrics import balanced_accuracy_score

import joint
import joint.cli
import joint.complete
from joint.cli import main
from joint.folder import hold
from joint.study import Axis, Comparison, Plan, Study, create_study


def test_evaluate_prints_what_train_measured(trained, capsys):
    status, out, _ = _run(capsys, "evaluate", trained, "--json")
    assert status == 0
    printed = json.loads(out)
    recorded = json.loads((trained / "result.json").read_text())["test"]
    assert printed == recorded
    status, out, _ = _run(capsys, "evaluate", trained, "--part", "validation")
    assert status == 0
    assert "precision" in out
    assert out.count("balanced accuracy") == 1
    assert "balanced_accuracy" not in out


def test_evaluate_averages_views_and_adjusts_by_the_validation_part(trained, capsys):
    asked = ["--views", "mirror", "--no-count-bytes", "--resamples", "0"]
    command = ["evaluate", trained, *asked, "--adjust", "balanced_accuracy"]
    status, out, err = _run(capsys, *command, "--json")
    assert status == 0, err
    printed = json.loads(out)
    config, system, parts = joint.load_run(trained)
    validation, test = (
        joint.evaluate(system, part, objective=config.objective, views="mirror")
        for part in (parts.validation, parts.test)
    )
    counts = parts.train.counts.numpy()
    prior = np.log(counts / counts.sum())
    taus = np.arange(-20, 41) / 20
    guesses = [(validation.logits - tau * prior).argmax(1) for tau in taus]
    balanced = [balanced_accuracy_score(validation.labels, guess) for guess in guesses]
    tau = max(zip(balanced, -np.abs(taus), taus, strict=True))[2]  # of equals the nearest to 0
    assert printed["choice"]["tau"] == pytest.approx(tau)
    assert printed["report"]["accuracy"] == test.report.accuracy
    adjusted = (test.logits - tau * prior).argmax(1)
    assert printed["adjusted"]["accuracy"] == (adjusted == test.labels).mean()
    status, out, err = _run(capsys, *command)
    assert status == 0, err
    assert f"at tau = {tau:g}, the best of 61" in out
    assert out.count("f1-score") == 2


def test_an_adjustment_that_cannot_be_chosen_is_refused(trained, capsys):
    for asked, said in (
        (
            ["balancd_accuracy"],
            "--adjust: there is no metric 'balancd_accuracy'; did you mean 'balanced_accuracy'?",
        ),
        (["skill"], "metric 'skill' is unknown; use one of accuracy, balanced_accuracy"),
        (["recall"], "is a number of each class; use 'macro_recall'"),
        (["accuracy", "--part", "validation"], "chosen on the validation part: judge it on"),
    ):
        status, _, err = _run(capsys, "evaluate", trained, "--adjust", *asked)
        assert status == _OPTION
        assert said in err


def test_report_calls_the_runs_of_a_study_by_their_designs(trained, tmp_path, capsys):
    light = Axis(path="system.sensor.photons", values=(50, 5000))
    plan = Plan(comparisons=(Comparison(first={"light": 5000}, second={"light": 50}),))
    base = joint.RunConfig(data=joint.PhantomConfig(count=60, image_size=32))
    asked = Study(base=base, axes={"light": light}, plan=plan, seeds=range(3, 9))
    ledger = create_study(asked, tmp_path / "study")
    folders = [ledger.path(run) for run in ledger.runs[:2]]
    for folder in folders:
        shutil.copytree(trained, folder)  # what a report says of a run is of its own folder
    quick = ["--output", tmp_path / "page.html", "--quick", "--resamples", "20", "--pictures", "4"]
    status, _, err = _run(capsys, "report", *folders, trained, *quick)
    assert status == 0, err
    page = (tmp_path / "page.html").read_text()
    for name in ("light=50, seed 3", "light=5000, seed 3", trained.name):
        assert f"{name}: the scenes" in err
        assert f">{name}</h2>" in page
    (tmp_path / "study" / "study.json").write_text("{")  # the runs are whole
    assert joint.cli._names_of(folders) == [folder.name for folder in folders]


def test_report_writes_a_page(trained, tmp_path, capsys):
    page = tmp_path / "new" / "page.html"
    quick = ["--output", page, "--quick", "--resamples", "20", "--pictures", "4"]
    status, out, err = _run(capsys, "report", trained, *quick)
    assert (status, out) == (0, f"wrote {page}\n"), err
    accuracy = json.loads((trained / "result.json").read_text())["test"]["accuracy"]
    assert f"{accuracy:.3f} [" in page.read_text()
    told = [line.partition(": ") for line in err.splitlines()]
    assert [number for number, _, _ in told] == [f"report {n}/13" for n in range(1, 14)]
    assert [what for _, _, what in told][:4] == [
        "the intervals of the classification", "the scenes", "What the run is", "Training",
    ]  # fmt: skip
    status, out, err = _run(capsys, "report", trained, *quick, "--quiet")
    assert (status, out, err) == (0, "", "")
    before = page.read_bytes()
    plots = tmp_path / "plots"
    options = ["--figures", plots, "--figure-format", "png"]
    status, out, err = _run(capsys, "report", trained, *quick, *options)
    assert (status, out) == (0, f"wrote {page}, and its figures to {plots}\n"), err
    assert page.read_bytes() == before
    assert len([*plots.glob("*.png")]) == before.count(b"<img ")
    status, _, err = _run(capsys, "report", trained, tmp_path / "new", *quick)
    assert status == _MISTAKE
    assert f"cannot read {tmp_path / 'new'}: it is no run folder" in err
    assert page.read_bytes() == before


def test_export_writes_a_graph_with_the_names_of_the_classes(trained, tmp_path, capsys):
    graph = tmp_path / "new" / "graph.pt2"
    # The codec of the run is JPEG, which is no graph.
    status, _, err = _run(capsys, "export", trained, graph)
    assert status == _MISTAKE
    assert "JPEG computes outside of torch: export what comes after it, plane='handed'" in err
    asked = ["export", trained, graph, "--plane", "handed", "--pictures", "3"]
    status, out, err = _run(capsys, *asked)
    assert status == 0, err
    assert out.startswith(f"wrote {graph}, ")
    assert "handed [pictures, 3, 32, 32] to scores [pictures, classes] (akiec, bcc, " in out
    status, out, err = _run(capsys, *asked, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["shape"] == [3, 32, 32]
    assert (told["path"], told["size"]) == (str(graph), graph.stat().st_size)
    _, system, parts = joint.load_run(trained)
    pictures = parts.test.gather(torch.arange(2)).images / 255
    with torch.no_grad():
        wanted = system.eval().classifier(pictures)
        found = torch.export.load(graph).module()(pictures)
    torch.testing.assert_close(found, wanted)
    status, _, err = _run(capsys, *asked, "--quality", "0.5")
    assert status == _MISTAKE
    assert "the quality of JPEG must be a whole number, 1 to 100, got 0.5" in err
    status, _, err = _run(capsys, *asked[:-1], "0")
    assert (status, err) == (_OPTION, "lens2label: --pictures must be at least 1, not 0\n")


def test_runs_of_any_origin_are_written_for_tensorboard(trained, tmp_path, capsys, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root, curves = tmp_path / "runs", tmp_path / "curves"
    root.mkdir()
    (root / "done").symlink_to(trained)
    for name in ("damaged", "begun"):
        joint.save_config(joint.RunConfig(), root / name)
    (root / "damaged" / "history.jsonl").write_text('{"epoch": 0}\n{"epoch": 1}\n')
    before = sorted(trained.iterdir())
    for _ in range(2):  # a second time it starts again
        status, out, err = _run(capsys, "runs", root, "--tensorboard", curves)
        assert status == 0, err
        assert len(out.splitlines()) == 3
        assert "line 1 of" in err
        assert "is no record of an epoch" in err
        assert sorted(path.name for path in curves.iterdir()) == ["done"]
        read = EventAccumulator(str(curves / "done" / "tensorboard")).Reload()
        for line in joint.read_history(trained):
            for name, value in line["validation"].items():
                if value is not None:
                    (event,) = read.Scalars(f"validation/{name}")
                    assert (event.step, event.value) == (0, pytest.approx(value, rel=1e-6))
    assert sorted(trained.iterdir()) == before
    # One run is named as its folder is, also by a path without a name.
    monkeypatch.chdir(trained)
    status, _, err = _run(capsys, "runs", ".", "--tensorboard", curves)
    assert status == 0, err
    assert (curves / trained.name).is_dir()


def test_runs_lists_what_is_there(trained, tmp_path, capsys):
    joint.save_config(joint.RunConfig(), tmp_path / "begun")
    (tmp_path / "done").symlink_to(trained)
    with hold(tmp_path / "begun"):
        status, out, _ = _run(capsys, "runs", tmp_path)
    assert status == 0
    begun, done = out.splitlines()
    assert begun.split()[:4] == ["begun", "running", "0/20", "epochs"]
    assert f"process {os.getpid()} on" in begun
    assert done.split()[:5] == ["done", "done", "1/1", "epochs", "balanced_accuracy"]
    status, out, _ = _run(capsys, "runs", tmp_path, "--json")
    listed = json.loads(out)
    assert [run["state"] for run in listed] == ["interrupted", "done"]
    assert listed[1]["path"] == str(tmp_path / "done")
    (tmp_path / "empty").mkdir()
    assert "no run folder in" in _run(capsys, "runs", tmp_path / "empty")[1]
    status, _, err = _run(capsys, "runs", tmp_path / "nowhere")
    assert status == _MISTAKE
    assert "nowhere is no folder" in err


def test_an_audit_fails_where_something_leaks(tmp_path, capsys):
    from PIL import Image

    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(10):
            noise = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{number}.png")
    command = ["audit", "--data", tmp_path, "--image-size", "16"]
    status, out, _ = _run(capsys, *command)
    assert status == 0, out
    assert "audit of 20 images" in out
    for number in range(10):
        original = (tmp_path / "cat" / f"{number}.png").read_bytes()
        (tmp_path / "cat" / f"copy{number}.png").write_bytes(original)
    status, out, _ = _run(capsys, *command)
    assert status == 1
    assert "exact duplicates (equal pixels): 10 sets" in out
    status, out, _ = _run(capsys, *command, "--json", "--split.folds", "4")
    assert status == 1
    assert {leak["kind"] for leak in json.loads(out)["leaks"]} == {"exact"}
    assert _run(capsys, "audit", "--data", tmp_path / "nothing")[0] == _MISTAKE


def test_pictures_with_a_table_are_audited_trained_on_evaluated_and_reported(tmp_path, capsys):
    from PIL import Image

    draw = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = ["photo;diagnosis;patient"]
    for number in range(60):
        noise = draw.integers(0, 100, (24, 24, 3), dtype=np.uint8)
        noise[..., number % 3] += 120  # a class is a bright colour
        Image.fromarray(noise).save(folder / f"p{number}.png")
        rows.append(f"p{number};{'abc'[number % 3]};P{number // 6}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    data = ["--data", tmp_path / "labels.csv", "--data.root", folder, "--data.image-size", "16"]
    columns = ["--data.image", "photo", "--data.label", "diagnosis", "--data.group", "patient"]
    status, out, err = _run(capsys, "audit", *data, *columns)
    assert status == 0, err
    assert "audit of 60 images in 10 groups" in out
    run = tmp_path / "run"
    given = ["train", "--output", run, "--quiet", *data, *columns]
    status, _, err = _run(capsys, *given, "--training.epochs", "8", "--training.batch-size", "8")
    assert (status, err) == (0, "")
    saved = json.loads((run / "config.json").read_text())["data"]
    assert (saved["kind"], saved["label"], saved["group"]) == ("table", "diagnosis", "patient")
    parts = joint.load_run(run)[2]
    assert parts.shared_lesions == 0
    status, out, err = _run(capsys, "evaluate", run, "--json")
    assert status == 0, err
    assert json.loads(out) == json.loads((run / "result.json").read_text())["test"]
    assert json.loads(out)["accuracy"] > 0.8  # chance is a third
    page = tmp_path / "page.html"
    assert _run(capsys, "report", run, "--quick", "--quiet", "--output", page)[0] == 0
    assert "labels.csv" in page.read_text()
    status, _, err = _run(capsys, *given[:2], tmp_path / "other", "--quiet", *data)
    assert status == _MISTAKE
    assert "lacks the columns image, label; it has photo, diagnosis, patient" in err


@pytest.mark.filterwarnings("always::UserWarning")  # they are looked for
def test_a_split_that_a_table_gives_is_audited_trained_on_evaluated_and_reported(tmp_path, capsys):
    from PIL import Image

    draw, words = np.random.default_rng(0), ["train", "Training", "val", "test", "TEST"]
    rows = []
    for number in range(60):
        noise = draw.integers(0, 100, (24, 24, 3), dtype=np.uint8)
        noise[..., number % 3] += 120
        Image.fromarray(noise).save(tmp_path / f"p{number}.png")
        rows.append((f"p{number}", "abc"[number % 3], f"P{number // 3}", words[number // 3 % 5]))

    def table(name, rows):
        lines = [",".join(row) for row in [("image", "label", "patient_id", "part"), *rows]]
        (tmp_path / name).write_text("\n".join(lines))
        return ["--data", tmp_path / name, "--data.image-size", "16"]

    data = table("labels.csv", rows)
    status, out, err = _run(capsys, "audit", *data, "--split.column", "part", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["parts"] == ["train", "validation", "test"]
    run = tmp_path / "run"
    given = [*data, "--split.column", "part", "--training.epochs", "1", "--output", run]
    status, out, err = _run(capsys, "train", *given)
    assert (status, err) == (0, "")
    assert "split as it was given: 0.0% of the test images share their lesion" in out
    assert {"column": "part"}.items() <= json.loads((run / "config.json").read_text())[
        "split"
    ].items()
    parts = joint.load_run(run)[2]
    for part, mine in parts.parts.items():
        said = {"train": words[:2], "validation": words[2:3], "test": words[3:]}[part]
        assert {*mine.identifiers} == {row[0] for row in rows if row[3] in said}
    page = tmp_path / "page.html"
    assert _run(capsys, "report", run, "--quick", "--quiet", "--output", page)[0] == 0
    assert "as the column part of the data says" in page.read_text()

    # What it has learned from, and was chosen by, is counted where it is judged.
    test = table("test.csv", [row for row in rows if row[3].lower() == "test"])
    status, _, err = _run(capsys, "evaluate", run, *test, "--json")
    assert (status, err) == (0, "")
    status, _, err = _run(capsys, "evaluate", run, *data, "--json")
    assert status == 0
    assert "the run knows 24 of its training part and 12 of its validation part: the res" in err
    # A class that is not there can be named, and has to be.
    bare = table("bare.csv", [row for row in rows if row[1] != "b" and row[3].lower() == "test"])
    status, _, err = _run(capsys, "evaluate", run, *bare)
    assert (status, err.count("\n")) == (_MISTAKE, 1)
    assert "give them all, in this order (--data.classes a b c)" in err
    status, out, err = _run(capsys, "evaluate", run, *bare, "--data.classes", "a", "b", "c")
    assert status == 0, err
    assert "has no picture of b, which classes names" in err
    assert "no pictures of b: left out" in out

    # A patient in two parts is told; without validation nothing can be trained.
    leaky = table("leaky.csv", [*rows[:9], (*rows[9][:3], "train"), *rows[10:]])
    status, _, err = _run(capsys, "audit", *leaky, "--split.column", "part")
    assert status == 1
    assert "1 of 20 lesions (or patients) are in more than one part of the split that was" in err
    two = table("two.csv", [(*row[:3], row[3].replace("val", "train")) for row in rows])
    assert _run(capsys, "audit", *two, "--split.column", "part")[0] == 0
    given = [*two, "--split.column", "part", "--quiet", "--output", tmp_path / "two"]
    status, _, err = _run(capsys, "train", *given)
    assert status == _MISTAKE
    assert "needs a validation set: split the data in three, or name one in the column" in err
    assert not (tmp_path / "two").exists()


def test_divergence_and_interrupts_have_a_status_of_their_own(monkeypatch, capsys):
    for error, status, words in (
        (joint.TrainingDiverged("the loss became nan"), 3, "lens2label: the loss became nan"),
        (KeyboardInterrupt(), 130, "lens2label: interrupted"),
        (joint.CheckpointError("full"), _MISTAKE, "lens2label: full"),
        (
            torch.OutOfMemoryError("tried to allocate 9 GiB\nmore"),
            _MISTAKE,
            "lens2label: the GPU is out of memory: choose a smaller batch size, or (to train) more "
            "--training.micro-batches\ntried to allocate 9 GiB",
        ),
    ):

        def command(_, error=error):
            raise error

        monkeypatch.setitem(joint.cli._COMMANDS, "train", command)
        assert _run(capsys, "train") == (status, "", words + "\n")


def test_a_warning_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(joint.cli._COMMANDS, "train", lambda _: warnings.warn("mind", stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert _run(capsys, "train")[1:] == ("", "lens2label: warning: mind\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--output", "x", "--data", "missing.zip"], "there is nothing at missing.zip"),
        (["train", "--output", "x", "--config", "missing.json"], "cannot read missing.json"),
        (["train", "--output", "x", "--data", "empty"], "empty has no metadata"),
        (["train", "--output", "file", *_TINY], "cannot write file: File exists"),
        (["train", "--output", "x", "--config", "empty"], "cannot read empty/config.json"),
        (["evaluate", "missing"], "cannot read missing: it is no run folder"),
        (["evaluate", "empty"], "lens2label train --output makes one"),
        (["evaluate", "file"], "cannot read file: it is no run folder"),
        (["report", "missing"], "cannot read missing: it is no run folder"),
        (["report", "empty"], "lens2label runs lists those in a folder"),
        (["audit", "--data", "missing"], "there is nothing at missing"),
        (["audit", "--data", "file"], "file is not a folder or a usable zip"),
        (["compress", "a.png", "b.l2l", "--codec", "empty"], "cannot read empty: it is no run"),
        (["decompress", "a.l2l", "b.png", "--codec", "empty"], "cannot read empty: it is no run"),
        (["export", "empty", "a.pt2"], "cannot read empty: it is no run folder"),
        (["runs", "missing"], "missing is no folder"),
        (["study", "run", "missing.toml", "--output", "s"], "cannot read missing.toml"),
        (["study", "run", "file", "--output", "s"], "file is not JSON"),
        (["study", "list", "empty"], "there is no study in empty"),
        (["report"], "a report needs at least one run folder"),
        (["train", "--output", "x", "--device", "cuda:99", *_TINY], "device 'cuda:99' was asked"),
        (["train", "--output", "x", "--device", "gpu", *_TINY], "device 'gpu' is unknown"),
    ],
)
def test_a_mistake_of_the_user_is_one_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("nothing")
    quiet = arguments[0] in ("train", "report") or arguments[:2] == ["study", "run"]
    status, _, err = _run(capsys, *arguments, *(["--quiet"] if quiet else []))
    assert status == _MISTAKE
    assert err.count("\n") == 1
    assert message in err
    assert "Traceback" not in err
    assert err.startswith("lens2label: ")


def test_other_classes_are_not_scored(trained, tmp_path, capsys):
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), "red").save(tmp_path / "pets" / name / "a.png")
    status, _, err = _run(capsys, "evaluate", trained, "--data", tmp_path / "pets")
    assert status == _MISTAKE
    assert "has the classes cat, dog, but the run was trained on akiec" in err


def _help(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def _commands(usage):
    """Names of the commands that a usage lists."""
    listed = usage.split("commands:\n")[1].split("\n\n")[0]
    return [line.split()[0] for line in listed.splitlines()]


def test_help_explains_itself(capsys):
    status, out, _ = _run(capsys, "--help")
    assert status == 0
    assert all(f"\n  {code} " in out for code in (0, _MISTAKE, 2, 3, 130))
    assert _commands(out) == list(joint.cli._COMMANDS)
    assert _run(capsys) == (0, out, "")
    for arguments, words in (
        (["train"], ["--system.sensor.photons", "--training.epochs", "--resume", "--tensorboard"]),
        (["train", "--codec", "autoencoder"], ["width-ratio"]),
        (["evaluate"], ["--part", "--count-bytes", "--photons", "--quality"]),
        (["report"], ["--quick", "--pictures", "--output"]),
        (["export"], ["--plane", "--quality", "FILE"]),
        (["runs"], ["interrupted", "--json"]),
        (["audit"], ["--split.by", "--threshold", "--data.count"]),
    ):
        out = _help(capsys, *arguments)
        assert all(word in out for word in words)


@pytest.mark.parametrize("command", [name for name in joint.cli._COMMANDS if name != "study"])
def test_the_help_of_each_command_has_an_example_that_can_be_read(command, capsys):
    out = " ".join(_help(capsys, command).replace("│", " ").split())
    # A paragraph that begins with "Example:" would be taken for a section, and left out.
    assert f"For example: lens2label {command} " in out
    # What a script reads: all but the page, which is a file, print JSON on demand.
    assert ("--json" in out) == (command != "report")
    assert "usage: lens2label " + command in out


def test_the_help_of_each_command_of_a_study_has_an_example(capsys):
    status, out, _ = _run(capsys, "study", "--help")
    assert status == 0
    for command in _commands(out):
        text = " ".join(_help(capsys, "study", command).replace("│", " ").split())
        assert f"For example: lens2label study {command} " in text


def test_the_examples_of_the_usage_are_commands_that_exist(capsys):
    _, out, _ = _run(capsys, "--help")
    examples = out.split("examples:\n")[1].split("\n\n")[0].splitlines()
    assert len(examples) == 5
    for line in examples:
        program, command, *options = line.split()
        assert program == "lens2label"
        known = _help(capsys, command) + _help(capsys, "train", "--front-end", "fourier")
        for option in options:
            assert not option.startswith("--") or option in known, line


def test_an_unknown_command_is_answered_with_the_nearest(capsys):
    status, out, err = _run(capsys, "trian")
    assert (status, out) == (2, "")
    assert err.startswith("lens2label: there is no command 'trian': did you mean train?\n\nusage:")
    assert _run(capsys, "xyz")[2].startswith("lens2label: there is no command 'xyz'\n\nusage:")


def test_the_version_is_that_of_the_distribution(capsys):
    assert _run(capsys, "--version") == (0, f"lens2label {version('lens2label')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "x", "--prat", "test"], "Unrecognized options: --prat"),
        (["evaluate", "x", "--part", "tset"], "Expected one of ('train', 'validation', 'test')"),
        (["evaluate"], "Missing from lens2label evaluate"),
        (["compress", "a.png"], "--codec PATH"),
        (["runs", "x", "--jsn"], "Perhaps you meant"),
    ],
)
def test_a_wrong_option_leaves_with_status_2_and_says_which(capsys, arguments, words):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", *_TINY], "give either --output, the run folder, or --root"),
        (
            ["train", "--output", "x", "--system.sensor.photons", "-3"],
            "lens2label: --system.sensor.photons must be greater than 0, not -3\n"
            "  see lens2label train --help for what each option takes\n",
        ),
        (
            ["audit", "--split.folds", "2"],
            "--split.folds must be greater than or equal to 3, not 2",
        ),
        (["audit", "--data.count=0"], "--data.count must be greater than or equal to"),
        (
            ["evaluate", "x", "--data", "phantom", "--data.contrast", "-1"],
            "--data.contrast must be greater than",
        ),
        (
            ["audit", "--image-size", "5"],
            "--data.image-size must be greater than or equal to 16, not 5",
        ),
        (["audit", "--threshold", "1"], "--threshold must be a correlation between 0 and 1, not 1"),
        (["evaluate", "x", "--batch-size", "0"], "--batch-size must be at least 1, not 0"),
        (["evaluate", "x", "--resamples", "-1"], "--resamples must be at least 0, not -1"),
        (["evaluate", "x", "--photons", "50", "0"], "--photons must be positive and finite, not 0"),
        (["evaluate", "x", "--quality", "-1"], "--quality must be at least 0 and finite, not -1"),
        (["evaluate", "x", "--distance", "inf", "0"], "--distance must be positive, not 0"),
        (["evaluate", "x", "--motion", "nan"], "--motion must be at least 0 and finite, not nan"),
        (["report", "x", "--pictures", "0"], "--pictures must be at least 1, not 0"),
        (["export", "x", "x.pt2", "--pictures", "0"], "--pictures must be at least 1, not 0"),
    ],
)
def test_options_that_cannot_be_leave_with_status_2_in_our_words(capsys, arguments, words):
    status, out, err = _run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert not any(word in err for word in ("Traceback", "pydantic", "validation error", "Input"))


def test_a_reader_that_has_read_enough_ends_it_quietly(tmp_path):
    command = (
        f"{sys.executable} -m joint.cli runs {tmp_path} --json | true; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == (f"{_MISTAKE}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [["evaluate"], ["report"], ["compress", "a.png", "b.l2l", "--codec"]],
    ids=lambda arguments: arguments[0],
)
def test_a_folder_of_fit_is_told_from_one_that_is_no_run(capsys, tmp_path, arguments):
    (tmp_path / "best.safetensors").touch()
    status, _, err = _run(capsys, *arguments, tmp_path)
    assert status == _MISTAKE
    assert "has no config.json: it was written by joint.fit, which is given a system" in err
    assert "joint.load_codec(directory, codec=codec)" in err
