import numpy as np
import pytest
import torch
from PIL import Image

import classify
import compress
import joint
import optics
from joint.build import load_trained


@pytest.mark.parametrize(
    ("system", "types"),
    [
        (joint.SystemConfig(), (optics.LearnedKernel, compress.FactorizedCodec)),
        (
            joint.SystemConfig(
                front_end=joint.FourierConfig(), codec=joint.AutoencoderConfig(width_ratio=1.5)
            ),
            (optics.FourierFilter, compress.Autoencoder),
        ),
        (
            joint.SystemConfig(
                front_end=joint.NoneConfig(), sensor=joint.NoneConfig(), codec=joint.JPEGConfig()
            ),
            (type(None), compress.JPEG),
        ),
    ],
)
def test_systems_are_built_as_configured(system, types):
    built = joint.build_system(system, image_size=(32, 32), channels=3, classes=5)
    assert isinstance(built.front_end, types[0])
    assert isinstance(built.codec, types[1])
    output = built(torch.rand(2, 3, 32, 32), generator=torch.Generator())
    assert output.logits.shape == (2, 5)


@pytest.mark.parametrize(
    ("sensor", "side"),
    [
        ({"binning": 2, "read_noise": 8, "black_level": 20}, 16),
        ({"cfa": "rggb", "demosaicing": "malvar"}, 32),
        ({"prnu": 0.01, "dsnu": 2.0, "bit_depth": 8, "converter": "dithered"}, 32),
        ({"bit_depth": None, "gain": 7000.0, "black_level": 0.01}, 32),
    ],
)
def test_sensors_are_built_as_configured(sensor, side):
    config = joint.SystemConfig(sensor=joint.SensorConfig(**sensor))
    built, again = (
        joint.build_system(config, image_size=(32, 32), channels=3, classes=5) for _ in range(2)
    )
    assert repr(built.sensor) == repr(again.sensor)
    for name, value in sensor.items():
        held = built.sensor.cfa.method if name == "demosaicing" else getattr(built.sensor, name)
        assert value == "rggb" if name == "cfa" else held == value
    for first, second in zip(built.sensor.buffers(), again.sensor.buffers(), strict=True):
        assert torch.equal(first, second)  # patterns are drawn from the system's seed
    output = built(torch.rand(2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    assert output.handed.shape == (2, 3, side, side)
    assert output.logits.shape == (2, 5)
    joint.Objective(rate=1.0, distortion=1.0)(output, torch.tensor([0, 1])).total.backward()
    assert all(p.grad is not None for p in built.front_end.parameters())


def test_pictures_that_do_not_fit_the_sensor_are_refused():
    binned = joint.SystemConfig(sensor=joint.SensorConfig(binning=3))
    with pytest.raises(ValueError, match=r"sensor\.binning=3 does not divide pictures of 32 x 32"):
        joint.build_system(binned, image_size=(32, 32), channels=3, classes=5)
    bayer = joint.SystemConfig(sensor=joint.SensorConfig(cfa="rggb"))
    with pytest.raises(ValueError, match=r"sensor\.cfa='rggb' needs pictures of 3 channels, not 1"):
        joint.build_system(bayer, image_size=(32, 32), channels=1, classes=5)


def test_two_filters_give_the_codec_and_classifier_their_channels():
    system = joint.SystemConfig(front_end=joint.KernelConfig(start="sobel"))
    built = joint.build_system(system, image_size=(32, 32), channels=3, classes=2)
    assert built(torch.rand(1, 3, 32, 32)).handed.shape[1] == 6


def test_initial_weights_are_a_function_of_the_seed():
    def weights(seed):
        torch.manual_seed(np.random.default_rng().integers(1000))
        config = joint.SystemConfig(seed=seed)
        return joint.build_system(config, image_size=(32, 32), channels=3, classes=2).state_dict()

    state = torch.random.get_rng_state()
    first = weights(0)
    assert not torch.equal(state, torch.random.get_rng_state())  # by the test itself
    again, other = weights(0), weights(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_saved_run_comes_back(tmp_path):
    config = joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=32),
        training=joint.Training(epochs=1, batch_size=16),
    )
    dataset = joint.build_data(config.data)
    assert isinstance(dataset, classify.LesionDataset)
    parts = joint.build_split(config, dataset)
    system = joint.build_system(config.system, image_size=(32, 32), channels=3, classes=7)
    joint.save_config(config, tmp_path)
    with pytest.raises(joint.CheckpointError, match="holds no trained weights"):
        joint.load_run(tmp_path)
    joint.fit(
        system, parts.train, parts.validation,
        objective=config.objective, config=config.training, directory=tmp_path, progress=False,
    )  # fmt: skip
    changed = config.model_copy(update={"data": joint.PhantomConfig(count=62, image_size=32)})
    joint.save_config(changed, tmp_path)
    with pytest.raises(joint.CheckpointError, match="no longer those that it was trained on"):
        joint.load_run(tmp_path)
    joint.save_config(config, tmp_path)
    loaded, rebuilt, again = joint.load_run(tmp_path)
    assert loaded == config
    expected = joint.evaluate(system, parts.test)
    assert (joint.evaluate(rebuilt, again.test).logits == expected.logits).all()


def test_the_weights_are_those_that_training_leaves(tmp_path):
    last = joint.Training(restore_best=False)
    with pytest.raises(joint.CheckpointError, match=r"weights yet: there is no checkpoint at .*ch"):
        load_trained(tmp_path, last)
    state = {"system.a": torch.tensor([1.0]), "average.a": torch.tensor([2.0])}
    state["optimizer.a.step"] = torch.tensor([4.0])
    checkpoint = tmp_path / "checkpoint.safetensors"
    joint.save_checkpoint(checkpoint, state, {"epoch": 0, "records": []})
    with pytest.raises(joint.CheckpointError, match="no trained weights yet: no epoch is over"):
        load_trained(tmp_path, last)
    with pytest.raises(joint.CheckpointError, match=r"there is no checkpoint at .*best"):
        load_trained(tmp_path, joint.Training())
    joint.save_checkpoint(checkpoint, state, {"epoch": 7, "records": [{}]})
    best = {"a": torch.tensor([3.0])}
    joint.save_checkpoint(tmp_path / "best.safetensors", best, {"epoch": 2})
    for settings, file, epoch, value in (
        ({}, "best", 2, 3.0),
        ({"averaging": 0.9}, "best", 2, 3.0),
        ({"restore_best": False}, "checkpoint", 7, 1.0),
        ({"restore_best": False, "averaging": 0.9}, "checkpoint", 7, 2.0),
    ):
        found = load_trained(tmp_path, joint.Training(**settings))
        assert found.path == tmp_path / f"{file}.safetensors"
        assert found.head["epoch"] == epoch
        assert found.weights == {"a": torch.tensor([value])}


def test_a_split_by_hash_stays_when_scenes_are_added():
    def parts(count):
        config = joint.RunConfig(
            data=joint.PhantomConfig(count=count, image_size=16),
            split=joint.SplitConfig(method="hash"),
        )
        split = joint.build_split(config, joint.build_data(config.data))
        return {name: part for part, data in split.parts.items() for name in data.identifiers}

    few, many = parts(40), parts(80)
    assert all(many[name] == part for name, part in few.items())


def test_every_picture_is_tested_in_one_fold():
    data = joint.PhantomConfig(count=60, image_size=16)
    scenes = joint.build_data(data)
    tested = []
    for fold in range(4):
        config = joint.RunConfig(data=data, split=joint.SplitConfig(folds=4, fold=fold))
        parts = joint.build_split(config, scenes)
        assert parts.fold == (fold, 4)
        assert not {*parts.validation.groups} & {*parts.train.groups}
        tested += parts.test.identifiers
    assert sorted(tested) == sorted(scenes.identifiers)
    with pytest.raises(ValueError, match="fold=4 is not there: there are 4 folds"):
        joint.SplitConfig(folds=4, fold=4)
    with pytest.raises(ValueError, match="fold=1 is not there: there are no folds"):
        joint.SplitConfig(fold=1)


def test_isic_from_a_configuration(tmp_path):
    names = [f"ISIC_{number:07d}" for number in range(12)]
    for name in names:
        Image.new("RGB", (20, 16), (200, 150, 140)).save(tmp_path / f"{name}.jpg")
    classes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    rows = [",".join(["image", *classes])]
    for number, name in enumerate(names):
        rows.append(",".join([name, *("1.0" if c == number % 7 else "0.0" for c in range(7))]))
    (tmp_path / "ISIC2018_Task3_Training_GroundTruth.csv").write_text("\n".join(rows) + "\n")
    lesions = "".join(f"{name},HAM_{i // 2},x\n" for i, name in enumerate(names))
    (tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text(
        "image,lesion_id,diagnosis_confirm_type\n" + lesions
    )
    config = joint.data_config(tmp_path, image_size=16)
    assert config == joint.ISICConfig(root=tmp_path, image_size=16)
    scenes = joint.build_data(config)
    assert (len(scenes), scenes.image_size, len(set(scenes.groups))) == (12, (16, 16), 6)
