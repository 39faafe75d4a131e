import dataclasses

import numpy as np
import pytest
from seed_study import protocol, published
from seed_study.protocol import Scale, plan

from joint import Objective

SMALL = Scale(backbone="resnet_s", architectures=("resnet_s", "convnext_atto"), limit=60)


@pytest.fixture(scope="module")
def rows():
    return plan(("seed", "honest"), SMALL).rows


@pytest.fixture
def scenes_of_ham10000(tmp_path):
    path = tmp_path / "ham10000.zip"
    path.touch()
    return path


def test_the_published_protocol_is_what_the_study_says(rows, scenes_of_ham10000):
    scale = dataclasses.replace(SMALL, data=str(scenes_of_ham10000), limit=None)
    config = plan(("seed",), scale).rows["seed"]["classifier"].config
    assert config.data.geometry == "squeeze"
    assert config.data.image_size == 128
    assert config.split.by == "image"
    assert config.split.fractions == (0.7, 0.2, 0.1)
    assert config.training.optimizer == "adam"
    assert config.training.weight_decay > 0
    assert config.training.augmentation != "none"
    assert config.training.monitor == "accuracy"
    assert config.training.restore_best
    assert config.objective == Objective(label_smoothing=0)
    epochs = {name: stage.config.training.epochs for name, stage in rows["seed"].items()}
    assert epochs["classifier"] == epochs["joint_3x"] == 35
    assert epochs["autoencoder_1.5x"] == 50
    coder = rows["seed"]["autoencoder_6x"].config
    assert coder.objective.distortion_kind == "mae"
    assert coder.objective.task == coder.objective.rate == 0
    assert rows["seed"]["joint_6x"].parents == {}


def test_the_honest_protocol_mends_it(rows, scenes_of_ham10000):
    scale = dataclasses.replace(SMALL, data=str(scenes_of_ham10000), limit=None)
    config = plan(("honest",), scale).rows["honest"]["classifier"].config
    assert config.data.geometry == "crop"
    assert config.split.by == "lesion"
    own = rows["honest"]
    assert own["joint_3x"].parents == {
        "codec": own["autoencoder_3x"],
        "classifier": own["classifier"],
    }
    assert own["balanced_3x"].config.objective.logit_adjustment == 1
    assert own["optics_learned"].config.training.learning(0) == ("front_end", "codec", "classifier")
    assert own["optics_unsharp"].config.training.learning(0) == ("codec", "classifier")
    assert own["optics_unsharp"].config.system == own["optics_learned"].config.system
    assert own["optics_none"].config.system.sensor.photons == 300


def test_every_row_of_the_study_has_a_stage_in_both(rows):
    for row in published.ROWS:
        for found in rows.values():
            assert row.stage in found
            assert row.training is None or row.training in found
    assert {claim.first for claim in protocol.CLAIMS} <= rows["honest"].keys()
    assert {claim.second for claim in protocol.CLAIMS} <= rows["honest"].keys()
    assert "optics_learned" not in rows["seed"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_each_stage_comes_once_and_after_those_that_it_needs(seeds):
    study = plan(("seed", "honest"), SMALL, seeds=seeds)
    done = set()
    for stage in study.stages:
        assert all(parent.digest in done for parent in stage.parents.values())
        assert stage.digest not in done
        done.add(stage.digest)
    assert study.seeds == tuple(range(seeds))


def test_further_seeds_take_what_the_claims_need():
    study = plan(("seed", "honest"), SMALL, seeds=3)
    names = [stage.name for stage in study.stages if stage.seed == 2]
    assert set(names) == {
        *(name for claim in protocol.CLAIMS for name in (claim.first, claim.second)),
        "autoencoder_3x",
    }
    assert not [s for s in study.stages if s.seed and s.protocol == "seed"]
    by_seed = [s for s in study.stages if s.name == "joint_3x" and s.protocol == "honest"]
    assert len({stage.config.split.model_dump_json() for stage in by_seed}) == 1
    assert [stage.config.system.seed for stage in by_seed] == [0, 1, 2]
    assert all(p.seed == stage.seed for stage in by_seed for p in stage.parents.values())


def test_the_scale_reaches_all_epochs():
    few = plan(("honest",), dataclasses.replace(SMALL, epochs_scale=0.1)).rows["honest"]
    assert few["classifier"].config.training.epochs == 9
    assert few["autoencoder_3x"].config.training.epochs == 5
    assert few["kmeans_joint"].config.training.epochs == 1
    on_gpu = plan(("honest",), dataclasses.replace(SMALL, precision="bfloat16")).rows["honest"]
    precisions = {stage.config.training.precision for stage in on_gpu.values()}
    assert precisions == {"bfloat16"}


def test_what_is_no_ham10000_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(1))
    with pytest.raises(ValueError, match=r"study is one of HAM10000, and .*other\.npz"):
        plan(("seed",), dataclasses.replace(SMALL, data=str(tmp_path / "other.npz")))
    with pytest.raises(ValueError, match="at least one seed, not 0"):
        plan(("honest",), SMALL, seeds=0)
