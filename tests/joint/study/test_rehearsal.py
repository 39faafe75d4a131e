import pytest

import joint
from joint.cli import main
from joint.settings import ConfigError
from joint.study import Axis, Plan
from joint.study.rehearsal import rehearse


def _of(study):
    designs = study.designs()
    return designs, [study.config(design, 0) for design in designs]


def test_systems_that_fit_together_pass(small_study):
    assert rehearse(*_of(small_study())) == 4


@pytest.mark.parametrize(
    ("axis", "told"),
    [
        (
            Axis(path="system.sensor.binning", values=(1, 3)),
            "binning=3 fails on pictures of 16 x 16",
        ),
        (
            Axis(path="system.classifier.name", values=("resnet_s", "densenet121")),
            "densenet121 fails on pictures of 16 x 16, and so would every run of it: ",
        ),
    ],
)
def test_what_every_run_would_meet_is_told_first(small_study, axis, told, tmp_path, capsys):
    name = axis.path.rpartition(".")[2]
    study = small_study(axes={name: axis}, plan=Plan())
    with pytest.raises(ConfigError, match=told):
        rehearse(*_of(study))
    file = tmp_path / "study.json"
    file.write_text(study.model_dump_json())
    assert main(["study", "run", str(file), "--dry-run"]) != 0
    assert told in capsys.readouterr().err


def test_a_stage_of_ones_own_that_takes_no_such_pictures_is_told(small_study, small_base):
    own = joint.CustomConfig(
        class_path="torch.nn.Linear", init_args={"in_features": 5, "out_features": 7}
    )
    base = small_base()
    base = base.model_copy(update={"system": base.system.model_copy(update={"classifier": own})})
    with pytest.raises(ConfigError, match="fails on pictures of 16 x 16, and so would every run"):
        rehearse(*_of(small_study(base=base, plan=Plan())))


def test_scenes_whose_size_a_file_tells_are_not_tried(small_study, small_base, tmp_path):
    base = small_base().model_copy(update={"data": joint.SceneFileConfig(path=tmp_path / "s.npz")})
    assert rehearse(*_of(small_study(base=base, plan=Plan()))) == 0
