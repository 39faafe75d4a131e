import pytest

import joint
from joint.arguments import read_evaluate_options, read_train_options
from joint.options import AuditOptions, Choice, TrainOptions
from joint.point import OperatingPoint
from joint.settings import OptionError


def _folder(**options):
    return TrainOptions(choice=Choice(), run=joint.RunConfig(), **options).folder()


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
    with pytest.raises(OptionError, match=r"--objective\.rate-target 0\.4 moves the weight"):
        read_train_options([*asked, "--codec", "jpeg"])


def test_a_size_that_other_scenes_cannot_have_is_told_when_all_is_read(tmp_path):
    joint.save_config(joint.RunConfig(data=joint.ClassFolders(root="x", image_size=600)), tmp_path)
    asked = ["--output", "x", "--config", str(tmp_path), "--data", "phantom"]
    with pytest.raises(OptionError, match=r"--data\.image-size must be less than or equal to 512"):
        read_train_options(asked)
    run = read_train_options([*asked, "--data.image-size", "64"]).run
    assert run.data == joint.PhantomConfig()


def test_a_run_goes_to_one_place(tmp_path):
    assert _folder(output=tmp_path) == tmp_path
    assert _folder(root=tmp_path) == tmp_path / joint.RunConfig().digest()
    for both in ({}, {"output": tmp_path, "root": tmp_path}):
        with pytest.raises(joint.ConfigError, match=r"give either --output.*or --root"):
            _folder(**both)


def test_the_audit_divides_as_training_does():
    assert AuditOptions().split == joint.SplitConfig()


def test_an_evaluation_is_at_every_light_quality_distance_and_motion():
    def points(*asked):
        return read_evaluate_options(["run", *asked]).points()

    assert points() == [OperatingPoint()]
    assert points("--photons", "5") == [OperatingPoint(photons=5)]
    assert points("--quality", "0", "1.5") == [OperatingPoint(quality=q) for q in (0, 1.5)]
    assert points("--distance", "0.4", "2") == [OperatingPoint(distance=m) for m in (0.4, 2)]
    assert points("--motion", "0", "3") == [OperatingPoint(motion=pixels) for pixels in (0, 3)]
    both = points("--photons", "5", "50", "--quality", "0", "1")
    assert both == [OperatingPoint(light, q) for light in (5, 50) for q in (0, 1)]


def test_what_an_adjustment_keeps_is_a_number_of_each_metric():
    def bounds(*asked):
        return read_evaluate_options(["run", "--adjust", "auc", *asked]).bounds()

    assert bounds() == {"at_least": {}, "within": {}}
    asked = bounds("--at-least", "accuracy=0.8", "mcc=-1e-1", "auc=1", "--within", "accuracy=1e-2")
    assert asked["at_least"] == {"accuracy": 0.8, "mcc": -0.1, "auc": 1}
    assert asked["within"] == {"accuracy": 0.01}
