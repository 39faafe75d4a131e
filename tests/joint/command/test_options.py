import re
import shutil
import warnings
from pathlib import Path

import pytest
from commands import run
from PIL import Image

import joint
from joint.command.evaluate import EvaluateOptions
from joint.command.options import Choice, check_trained
from joint.command.study.judge import JudgeOptions
from joint.command.train import read_train_options
from joint.judge.point import OperatingPoint
from joint.settings import OptionError


def test_without_a_classifier_nothing_is_classified():
    config = Choice(classifier="none").start()
    assert config.objective.task == 0
    assert config.training.monitor == "loss"


def test_a_choice_keeps_what_it_does_not_name(tmp_path):
    config = joint.RunConfig(
        data=joint.PhantomConfig(count=30, image_size=32),
        system=joint.SystemConfig(codec=joint.JPEGConfig(quality=7)),
    )
    joint.save_config(config, tmp_path)
    assert Choice(config=tmp_path).start() == config
    assert Choice(config=tmp_path, codec="jpeg", data="phantom").start().system == config.system
    assert Choice(config=tmp_path, data="phantom").start().data.image_size == 32


def test_a_codec_without_a_rate_is_trained_for_no_rate_target(tmp_path):
    aimed = joint.Objective(rate=0.2, distortion=1.0, rate_target=0.4)
    joint.save_config(joint.RunConfig(objective=aimed), tmp_path)
    assert Choice(config=tmp_path, codec="hyperprior").start().objective == aimed
    for codec in ("jpeg", "none"):
        objective = Choice(config=tmp_path, codec=codec).start().objective
        assert (objective.rate, objective.rate_target) == (0, None)
    asked = ["--output", "x", "--objective.rate-target", "0.4"]
    assert read_train_options(asked).run.objective.rate_target == 0.4
    with pytest.raises(OptionError, match=r"--objective\.rate-target 0\.4 adjusts the weight"):
        read_train_options([*asked, "--codec", "jpeg"])


def test_a_size_that_other_scenes_cannot_have_is_told_when_all_is_read(tmp_path):
    joint.save_config(joint.RunConfig(data=joint.ClassFolders(root="x", image_size=600)), tmp_path)
    asked = ["--output", "x", "--config", str(tmp_path), "--data", "phantom"]
    with pytest.raises(OptionError, match=r"--data\.image-size must be less than or equal to 512"):
        read_train_options(asked)
    run = read_train_options([*asked, "--data.image-size", "64"]).run
    assert run.data == joint.PhantomConfig()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "--sensor none --system.sensor.photons 20",
            r"^--system\.sensor\.photons: the system has no sensor \(none\)\. Choose its kind by "
            r"--sensor, or leave --system\.sensor\.photons out$",
        ),
        ("--system.restoration.width=8", r"the system has no restoration .* by --restoration, or"),
        (
            "--split.folds 5 --split.fractions 0.8 0.1 0.1",
            r"^--split\.fractions does nothing beside the folds of the split \(5\): leave it out, "
            r"or give --split\.folds None$",
        ),
        ("--split.folds=5 --split.method=hash", r"^--split\.method does nothing beside the folds"),
        ("--split.column part --split.seed 3", r"^--split\.seed does nothing beside the column"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(typed, message):
    with pytest.raises(OptionError, match=message):
        read_train_options(["--output", "x", *typed.split()])


def test_folds_of_a_saved_configuration_are_told_beside_typed_fractions(tmp_path):
    joint.save_config(joint.RunConfig(split=joint.SplitConfig(folds=5)), tmp_path)
    asked = ["--output", "x", "--config", str(tmp_path)]
    assert read_train_options(asked).run.split.folds == 5
    shares = ["--split.fractions", "0.8", "0.1", "0.1"]
    with pytest.raises(OptionError, match=r"--split\.fractions does nothing beside the folds"):
        read_train_options([*asked, *shares])
    split = read_train_options([*asked, *shares, "--split.folds", "None"]).run.split
    assert (split.folds, split.fractions) == (None, (0.8, 0.1, 0.1))


@pytest.mark.parametrize("options", [EvaluateOptions, JudgeOptions])
def test_operating_points_are_those_of_every_command(options):
    """Whether a system has such a point, the system says."""
    asked = options(Path("x"), photons=(50.0, 500.0), motion=(1.0,))
    assert asked.points() == [OperatingPoint(photons=p, motion=1.0) for p in (50.0, 500.0)]
    asked.check()
    for wrong, message in (
        ({"photons": (50.0, -5.0)}, "--photons must be positive and finite, not -5"),
        ({"quality": (float("nan"),)}, "--quality must be at least 0 and finite, not nan"),
        ({"distance": (0.0,)}, "--distance must be positive, not 0"),
        ({"motion": (float("inf"),)}, "--motion must be at least 0 and finite, not inf"),
    ):
        with pytest.raises(OptionError, match=message):
            options(Path("x"), **wrong).check()


def test_a_run_that_is_not_done_is_told(trained, tmp_path):
    check_trained(trained)  # a warning is an error here
    folder = tmp_path / "a run"
    shutil.copytree(trained, folder)
    (folder / "result.json").unlink()
    again = f"lens2label train --output '{folder}' --resume"
    said = (
        f"the run in {folder} is not done (interrupted, 1 of 1 epochs), so its weights are "
        f"those so far. To finish it: {again}"
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(said)}$"):
        check_trained(folder)
    now = r"\(running, 1 of 1 epochs\), .* those so far\. It is trained by process \d+ on \S+ since"
    with joint.lock_run(folder), pytest.warns(UserWarning, match=now) as told:
        check_trained(folder)
    assert "--resume" not in str(told[0].message)  # which would be refused
    with pytest.raises(joint.ConfigError, match="it is no run folder"):
        check_trained(tmp_path)


def test_a_copy_of_the_weights_alone_is_not_said_to_be_interrupted(trained, tmp_path):
    for name in ("config.json", "best.safetensors"):
        shutil.copy(trained / name, tmp_path)
    check_trained(tmp_path)  # a warning is an error here


@pytest.mark.parametrize(
    "asked",
    [
        ["evaluate"],
        ["predict", "{picture}"],
        ["contrast", "--factors"],
        ["tolerance", "--limits", "read_noise=1:2", "--devices", "2"],
        ["describe"],
        ["rate", "--codec", "jpeg", "--run"],
        ["compress", "{picture}", "{file}", "--codec"],
        ["export", "{graph}", "--plane", "handed"],
    ],
    ids=lambda asked: asked[0],
)
def test_every_command_says_that_a_run_is_not_done(asked, trained, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    (folder / "result.json").unlink()
    places = {"picture": tmp_path / "a.png", "file": tmp_path / "a", "graph": tmp_path / "a.pt2"}
    Image.new("RGB", (32, 32)).save(places["picture"])
    command, *rest = (word.format(**places) for word in asked)
    last = asked[-1] in ("--run", "--codec")
    words = [*rest, folder] if last else [folder, *rest]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        _, _, err = run(capsys, command, *words)
    assert err.count("is not done (interrupted, 1 of 1 epochs)") == 1, err
