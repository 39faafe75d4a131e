import json
import subprocess
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pytest
import torch
from commands import MISTAKE as _MISTAKE
from commands import TINY as _TINY
from commands import run as _run

import joint
import joint.cli
from joint.cli import main


def test_pictures_with_a_table_are_audited_trained_on_evaluated_and_reported(
    tmp_path, capsys, undrawn
):
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
    assert "audit of 60 pictures in 10 groups" in out
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
def test_a_split_that_a_table_gives_is_audited_trained_on_evaluated_and_reported(
    tmp_path, capsys, undrawn
):
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
    assert "split as it was given: 0.0% of the test pictures share their lesion" in out
    assert {"column": "part"}.items() <= json.loads((run / "config.json").read_text())[
        "split"
    ].items()
    parts = joint.load_run(run)[2]
    for part, mine in parts.parts.items():
        said = {"train": words[:2], "validation": words[2:3], "test": words[3:]}[part]
        assert {*mine.identifiers} == {row[0] for row in rows if row[3] in said}
    page = tmp_path / "page.html"
    assert _run(capsys, "report", run, "--quick", "--quiet", "--output", page)[0] == 0
    assert "by the column part of the data" in page.read_text()

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
    assert "has no picture of b, which classes= lists" in err
    assert "no pictures of b: left out" in out

    # A patient in two parts is told; without validation nothing can be trained.
    leaky = table("leaky.csv", [*rows[:9], (*rows[9][:3], "train"), *rows[10:]])
    status, _, err = _run(capsys, "audit", *leaky, "--split.column", "part")
    assert status == 1
    assert "1 of 20 lesions (or patients) are in more than one part of the given split" in err
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

        monkeypatch.setattr("joint.command.train.main", command)
        assert _run(capsys, "train") == (status, "", words + "\n")


def test_a_warning_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("joint.command.train.main", lambda _: warnings.warn("mind", stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert _run(capsys, "train")[1:] == ("", "lens2label: warning: mind\n")


def test_a_warning_is_printed_once_by_each_command(monkeypatch, capsys):
    def command(_):
        for text in ("mind", "mind", "the gap"):
            with warnings.catch_warnings():  # after which Python gives all warnings again
                warnings.warn(text, stacklevel=1)
        return 0

    monkeypatch.setattr("joint.command.train.main", command)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for _ in range(2):
            told = "lens2label: warning: mind\nlens2label: warning: the gap\n"
            assert _run(capsys, "train") == (0, "", told)


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
        (["study", "run", "empty", "--output", "s"], "there is no study in empty"),
        (["study", "run", "empty", "--dry-run"], "there is no study in empty"),
        (["study", "list", "empty"], "there is no study in empty"),
        (["study", "check", "file"], "file is a file, not the folder of a study"),
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
        (["compress", "a.png"], "--codec CODEC"),
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
