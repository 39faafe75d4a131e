from pathlib import Path

import pytest

import joint
from joint.command.evaluate import EvaluateOptions
from joint.command.options import Choice
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
