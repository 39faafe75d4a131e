from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import classify
import compress
import joint
import joint.run.complete
import optics


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


def test_what_is_no_configuration_or_size_is_named():
    given = {"image_size": (32, 32), "channels": 3, "classes": 5}
    for config, kind in ((None, "NoneType"), ({}, "dict"), ("runs/mine", "str")):
        message = rf"must be a joint\.SystemConfig, not {kind}; make one with joint\.SystemConfig"
        with pytest.raises(TypeError, match=message):
            joint.build_system(config, **given)
    with pytest.raises(TypeError, match=r"not RunConfig; give its \.system"):
        joint.build_system(joint.RunConfig(), **given)
    for size in ((32,), "32", None, (32.5, 32), (0, 32)):
        with pytest.raises(ValueError, match=r"image_size must be \(H, W\), whole numbers of"):
            joint.build_system(joint.SystemConfig(), **{**given, "image_size": size})
    alone = joint.build_system(joint.SystemConfig(), **{**given, "image_size": 32})
    both = joint.build_system(joint.SystemConfig(), **given).state_dict()
    assert all(torch.equal(both[name], t) for name, t in alone.state_dict().items())


@pytest.mark.parametrize(
    ("demosaicing", "channels", "side"), [("packed", 4, 16), ("none", 1, 32), ("malvar", 3, 32)]
)
def test_codec_and_classifier_are_built_for_what_is_made_of_the_mosaic(demosaicing, channels, side):
    sensor = joint.SensorConfig(cfa="rggb", demosaicing=demosaicing)
    for front_end, filters in (
        (joint.NoneConfig(), 1),
        (joint.KernelConfig(), 1),
        (joint.KernelConfig(start="sobel"), 2),
        (joint.LensConfig(), 1),
    ):
        system = joint.SystemConfig(front_end=front_end, sensor=sensor)
        built = joint.build_system(system, image_size=(32, 32), channels=3, classes=5)
        output = built(torch.rand(2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
        assert output.handed.shape == (2, filters * channels, side, side)
        assert built.codec.channels == built.classifier.in_channels == filters * channels
        joint.Objective(rate=1.0, distortion=1.0)(output, torch.tensor([0, 1])).total.backward()
        if built.front_end is not None:
            assert all(p.grad.abs().sum() > 0 for p in built.front_end.parameters())


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


def test_a_column_of_the_scenes_may_be_the_split():
    drawn = joint.build_data(joint.PhantomConfig(count=60, image_size=16))
    parts = np.array(["train", "Val", "test"])[np.array(drawn.groups).argsort() % 3]
    scenes = classify.LesionDataset(
        images=drawn.gather(range(60)).images,
        labels=drawn.labels,
        groups=drawn.identifiers,
        identifiers=drawn.identifiers,
        metadata={"part": parts, "site": ["arm", ""] * 30},
    )

    def build(column):
        return joint.build_split(joint.RunConfig(split=joint.SplitConfig(column=column)), scenes)

    found = build("part")
    assert [set(scenes.metadata["part"][index]) for index in found.indices] == [
        {"train"}, {"Val"}, {"test"},
    ]  # fmt: skip
    with pytest.raises(joint.ConfigError, match=r"have no column 'parts'; did you mean 'part'\?"):
        build("parts")
    wrong = r"split\.column='site': .* these were given: 'arm' \(30 times"
    with pytest.raises(joint.ConfigError, match=wrong):
        build("site")


def test_folders_that_are_parts_are_asked_for(tmp_path):
    random = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        for name in ("dry", "wet"):
            for number in range(6):
                path = tmp_path / "mine" / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(path)
    data = joint.data_config(tmp_path / "mine", image_size=8)
    assert isinstance(data, joint.ClassFolders)
    scenes = joint.build_data(data)
    assert scenes.classes == ("dry", "wet")
    given = joint.RunConfig(data=data, split=joint.SplitConfig(column="part"))
    parts = joint.build_split(given, scenes)
    for name, part in zip(("train", "val", "test"), parts, strict=True):
        assert {picture.partition("/")[0] for picture in part.identifiers} == {name}
    with pytest.warns(UserWarning, match="are parts of a split, and are divided anew: give split"):
        anew = joint.build_split(joint.RunConfig(data=data), scenes)
    assert len({picture.partition("/")[0] for picture in anew.train.identifiers}) == 3


def test_a_classifier_of_other_channels_than_the_scenes_is_refused(tmp_path, monkeypatch):
    (tmp_path / "judges.py").write_text(
        "from torch import nn\n\n\nclass Judge(nn.Linear):\n    in_channels = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    classifier = joint.CustomConfig(
        class_path="judges.Judge", init_args={"in_features": 1, "out_features": 2}
    )
    system = joint.SystemConfig(
        front_end=joint.NoneConfig(), codec=joint.NoneConfig(), classifier=classifier
    )
    build = partial(joint.build_system, system, image_size=(16, 16), classes=2)
    with pytest.raises(ValueError, match="the scene gives 1 channels but the classifier takes 3"):
        build(channels=1)
    build(channels=3)


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
    with pytest.raises(ValueError, match="fold=4 does not exist: there are 4 folds"):
        joint.SplitConfig(folds=4, fold=4)
    with pytest.raises(ValueError, match="fold=1 does not exist: there are no folds"):
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


def test_class_folders_and_medmnist_say_what_they_are(tmp_path):
    for name in "ab":
        (tmp_path / "folders" / name).mkdir(parents=True)
        deep = np.full((16, 16), 2000, np.uint16)
        Image.fromarray(deep).save(tmp_path / "folders" / name / "1.png")
    config = joint.data_config(tmp_path / "folders", image_size=16)
    said = {"bit_depth": 16, "white_level": 4000, "encoding": "linear", "channels": 1}
    scenes = joint.build_data(config.model_copy(update=said))
    assert (scenes.bit_depth, scenes.encoding, scenes.channels) == (16, "linear", 1)
    assert scenes[0].image.int().unique().tolist() == [32768]
    with pytest.warns(UserWarning, match="of 16 bits"):
        assert joint.build_data(config.model_copy(update={"channels": 3})).encoding == "srgb"
    (tmp_path / "patients.csv").write_text("image,patient_id\na/1.png,P\nb/1.png,P\n")
    together = config.model_copy(update=said | {"groups": tmp_path / "patients.csv"})
    assert joint.build_data(together).groups == ("P", "P")
    names = [f"{part}_{what}" for part in ("train", "val", "test") for what in ("images", "labels")]
    shapes = {"images": (2, 16, 16, 3), "labels": (2, 1)}
    arrays = {name: np.zeros(shapes[name.split("_")[1]], np.uint8) for name in names}
    arrays["train_labels"][1] = 1
    np.savez(tmp_path / "colour.npz", **arrays)
    config = joint.data_config(tmp_path / "colour.npz")
    assert joint.build_data(config).encoding == "srgb"
    said = config.model_copy(update={"encoding": "linear"})
    assert joint.build_data(said).encoding == "linear"
