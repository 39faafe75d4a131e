import dataclasses

import numpy as np
import pytest
from seed_study import protocol, published
from seed_study.protocol import Scale, plan

from joint import Objective, PhantomConfig

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


def test_the_honest_classifier_begins_with_phantoms(scenes_of_ham10000):
    scale = dataclasses.replace(SMALL, data=str(scenes_of_ham10000), limit=None, pixels=128)
    own = plan(("honest",), scale).rows["honest"]
    begun = own["classifier"].parents["classifier"]
    assert begun is own["phantoms"]
    assert begun.config.data == PhantomConfig(count=12_000, image_size=128, seed=7)
    assert begun.config.system == own["classifier"].config.system
    assert begun.config.training.epochs == 12
    random = own["classifier_random"]
    assert random.parents == {}
    assert random.config == own["classifier"].config
    # No more of them than of other pictures, where those are limited; and none, where not wanted.
    few = plan(("honest",), SMALL).rows["honest"]["phantoms"]
    assert few.config.data.count == 60
    none = plan(("honest",), dataclasses.replace(scale, phantoms=0)).rows["honest"]
    assert none["classifier"].parents == {}
    assert none.keys() == own.keys() - {"phantoms", "classifier_random"}
    assert "phantoms" not in plan(("seed",), scale).rows["seed"]


def test_every_row_of_the_study_has_a_stage_in_both(rows):
    for row in published.ROWS:
        for found in rows.values():
            assert row.stage in found
            assert row.training is None or row.training in found
    assert {claim.first for claim in protocol.CLAIMS} <= rows["honest"].keys()
    assert {claim.second for claim in protocol.CLAIMS} <= rows["honest"].keys()
    assert "optics_learned" not in rows["seed"]


def test_what_most_epochs_wait_for_can_come_first():
    study = plan(("seed", "honest"), SMALL, seeds=3)
    order = study.longest_first()
    assert sorted(stage.digest for stage in order) == sorted(s.digest for s in study.stages)
    done = set()
    for stage in order:
        assert all(parent.digest in done for parent in stage.parents.values())
        done.add(stage.digest)
    names = [(stage.protocol, stage.name, stage.seed) for stage in order]
    # 142 epochs for the phantoms, 130 for the classifier, 90 for the coder.
    chain = ("phantoms", "classifier", "autoencoder_3x")
    places = [names.index(("honest", name, seed)) for name in chain for seed in range(3)]
    assert places == sorted(places)
    assert places[:6] == [*range(6)]
    assert ("seed", "classifier", 0) in names[9:]
    assert order[-1].trains is False


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
        "phantoms",
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
