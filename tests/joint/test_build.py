import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import classify
import compress
import joint
import joint.complete
import optics
from joint.build import as_begun, load_trained
from joint.config.psf import PSFConfig


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
    packed = joint.SystemConfig(sensor=joint.SensorConfig(cfa="rggb", demosaicing="packed"))
    for odd in ((33, 32), (32, 33)):
        with pytest.raises(ValueError, match=r"blocks of 2 x 2 .* choose an even image_size"):
            joint.build_system(packed, image_size=odd, channels=3, classes=5)


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


def test_a_classifier_of_colours_is_not_given_a_mosaic(tmp_path):
    def built(demosaicing, weights=None):
        sensor = joint.SensorConfig(cfa="rggb", demosaicing=demosaicing)
        judge = joint.ClassifierConfig(weights=weights)
        system = joint.SystemConfig(
            front_end=joint.NoneConfig(), sensor=sensor, codec=joint.NoneConfig(), classifier=judge
        )
        return joint.build_system(system, image_size=(32, 32), channels=3, classes=5)

    path = tmp_path / "colour.safetensors"
    save_file(built("bilinear").state_dict(), path)
    for name, channels in (("packed", 4), ("none", 1)):
        said = rf"of 3 channels, and sensor.demosaicing='{name}' hands it {channels}, .* random"
        with pytest.raises(ValueError, match=said):
            built(name, path)
        assert built("malvar", path).classifier.in_channels == 3
        own = tmp_path / f"{name}.safetensors"
        before = built(name)
        save_file(before.state_dict(), own)  # what was trained on such a mosaic goes on
        after = built(name, own).classifier.state_dict()
        assert all(torch.equal(after[k], v) for k, v in before.classifier.state_dict().items())


@pytest.mark.parametrize("demosaicing", ["bilinear", "packed"])
def test_a_file_of_weights_is_read_once(demosaicing, tmp_path, monkeypatch):
    sensor = joint.SensorConfig(cfa="rggb", demosaicing=demosaicing)
    system = joint.SystemConfig(sensor=sensor, codec=joint.NoneConfig())
    built = joint.build_system(system, image_size=(32, 32), channels=3, classes=5)
    path, reads = tmp_path / "own.pt", []
    torch.save(built.classifier.state_dict(), path)
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: reads.append(a[0]) or load(*a, **k))
    begun = system.model_copy(update={"classifier": joint.ClassifierConfig(weights=path)})
    again = joint.build_system(begun, image_size=(32, 32), channels=3, classes=5)
    own = built.classifier.state_dict()
    assert all(torch.equal(own[k], v) for k, v in again.classifier.state_dict().items())
    assert reads == [path]


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


@pytest.mark.parametrize("trained", [False, True])
def test_a_run_with_a_psf_comes_back_without_its_file(trained, tmp_path):
    psf = np.random.default_rng(0).random((3, 7, 7)) / 60
    np.save(tmp_path / "lens.npy", psf)
    front_end = PSFConfig(file=tmp_path / "lens.npy", psf_size=7, trained=trained)
    config = joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=16),
        system=joint.SystemConfig(front_end=front_end, codec=joint.NoneConfig()),
        objective=joint.Objective(),
        training=joint.Training(epochs=1, batch_size=16),
    )
    parts = joint.build_split(config, joint.build_data(config.data))
    run = tmp_path / "run"
    system = joint.complete.complete_run(config, parts, run, resamples=0, progress=False)
    (tmp_path / "lens.npy").unlink()
    run = run.rename(tmp_path / "elsewhere")
    loaded, rebuilt, again = joint.load_run(run)
    assert loaded == config
    kept = rebuilt.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in system.state_dict().items())
    expected = joint.evaluate(system, parts.test)
    assert (joint.evaluate(rebuilt, again.test).logits == expected.logits).all()
    held = rebuilt.front_end.response[0, :, 0].detach() if trained else rebuilt.front_end.psf()
    moved = float((held - torch.from_numpy(psf)).abs().max())
    assert moved > 1e-4 if trained else moved < 1e-8
    with pytest.raises(joint.ConfigError, match=r"front_end\.file .*lens\.npy: No such file"):
        joint.build_system(config.system, image_size=(16, 16), channels=3, classes=7)


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


def test_class_folders_and_medmnist_say_what_they_are(tmp_path):
    for name in "ab":
        (tmp_path / "folders" / name).mkdir(parents=True)
        deep = np.full((16, 16), 2000, np.uint16)
        Image.fromarray(deep).save(tmp_path / "folders" / name / "1.png")
    config = joint.data_config(tmp_path / "folders", image_size=16)
    said = {"bit_depth": 16, "white_level": 4000, "encoding": "linear"}
    scenes = joint.build_data(config.model_copy(update=said))
    assert (scenes.bit_depth, scenes.encoding) == (16, "linear")
    assert scenes[0].image.int().unique().tolist() == [32768]
    with pytest.warns(UserWarning, match="of 16 bits"):
        assert joint.build_data(config).encoding == "srgb"
    (tmp_path / "patients.csv").write_text("image,patient_id\na/1.png,P\nb/1.png,P\n")
    together = config.model_copy(update=said | {"groups": tmp_path / "patients.csv"})
    assert joint.build_data(together).groups == ("P", "P")
    names = [f"{part}_{what}" for part in ("train", "val", "test") for what in ("images", "labels")]
    shapes = {"images": (2, 16, 16, 3), "labels": (2, 1)}
    np.savez(
        tmp_path / "colour.npz", **{n: np.zeros(shapes[n.split("_")[1]], np.uint8) for n in names}
    )
    config = joint.data_config(tmp_path / "colour.npz")
    assert joint.build_data(config).encoding == "srgb"
    said = config.model_copy(update={"encoding": "linear"})
    assert joint.build_data(said).encoding == "linear"


def test_a_run_that_took_codes_for_light_still_does(tmp_path):
    """As a folder says that was written before data sets said what they are."""
    config = joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=16),
        system=joint.SystemConfig(codec=joint.NoneConfig(), encoding="linear"),
        objective=joint.Objective(),
        training=joint.Training(epochs=1),
    )
    scenes = joint.build_data(config.data)
    parts = joint.build_split(config, scenes.taken_as("linear"))
    trained = joint.complete.complete_run(config, parts, tmp_path, resamples=0, progress=False)
    with pytest.warns(UserWarning, match=r"takes its srgb scenes for linear ones.*Train anew with"):
        _, system, again = joint.load_run(tmp_path)
    assert again.test.fingerprint == joint.build_split(config, scenes).test.fingerprint
    expected = joint.evaluate(trained, parts.test)
    assert (joint.evaluate(system, again.test).logits == expected.logits).all()
    assert as_begun(again.train, config, tmp_path) is again.train
    with pytest.raises(ValueError, match="the scenes are sRGB codes and the system takes them for"):
        joint.evaluate(system, scenes)


def _system(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return joint.ImagingSystem(
            front_end=optics.LearnedKernel("identity", 3),
            codec=compress.FactorizedCodec(),
            classifier=classify.backbone("resnet_s", 3, image_size=(16, 16)),
        )


@pytest.fixture(scope="module")
def fitted(lesions, others, tmp_path_factory):
    """Systems as `fit` left them, and the folders that it wrote, by what was asked for."""
    found = {}
    for name, settings in {
        "best": {"monitor": "bpp"},
        "last": {"monitor": "bpp", "restore_best": False},
        "average": {"monitor": "bpp", "restore_best": False, "averaging": 0.9},
    }.items():
        system, folder = _system(), tmp_path_factory.mktemp(name)
        config = joint.Training(epochs=2, batch_size=24, **settings)
        joint.fit(
            system, lesions, others, objective=joint.Objective(rate=0.1, distortion=1.0),
            config=config, directory=folder, progress=False,
        )  # fmt: skip
        found[name] = system, folder
    return found


@pytest.mark.parametrize("which", ["best", "last", "average"])
def test_a_run_in_python_comes_back_as_fit_left_it(fitted, which):
    system, folder = fitted[which]
    fresh = _system(seed=1)
    again = joint.load_fitted(fresh, str(folder))
    assert again is fresh
    assert not any(module.training for module in again.modules())
    expected = system.state_dict()
    assert all(torch.equal(expected[name], t) for name, t in again.state_dict().items())
    codec = joint.load_codec(folder, codec=compress.FactorizedCodec())
    assert not codec.training
    assert all(torch.equal(expected[f"codec.{n}"], t) for n, t in codec.state_dict().items())


def test_the_folder_of_fit_says_how_to_go_on(fitted, tmp_path):
    _, folder = fitted["best"]
    message = (
        r"no config\.json: it was written by joint\.fit.*joint\.load_fitted\(system, directory\)"
    )
    for load in (joint.load_run, joint.load_codec, joint.load_config):
        with pytest.raises(joint.ConfigError, match=message):
            load(folder)
    with pytest.raises(joint.ConfigError, match="cannot read"):
        joint.load_config(tmp_path)
    with pytest.raises(joint.CheckpointError, match=r"neither best\.safetensors nor checkpoint"):
        joint.load_fitted(_system(), tmp_path)
    tensors, _ = joint.load_checkpoint(str(folder / "best.safetensors"))
    joint.save_checkpoint(str(tmp_path / "best.safetensors"), tensors, {})
    with pytest.raises(joint.CheckpointError, match="does not say how it was trained"):
        joint.load_fitted(_system(), tmp_path)
    other = joint.ImagingSystem(codec=compress.FactorizedCodec())
    message = r"holds another architecture.* build it as for joint\.fit"
    with pytest.raises(joint.CheckpointError, match=message):
        joint.load_fitted(other, folder)


def test_the_whole_of_a_training_is_not_taken_for_weights(fitted):
    tensors, _ = joint.load_checkpoint(fitted["best"][1] / "checkpoint.safetensors")
    message = r"is where a training is.* use joint\.load_fitted\(system, directory\)"
    with pytest.raises(joint.CheckpointError, match=message):
        joint.load_weights(_system(), tensors, source="checkpoint.safetensors")


class _AfterCamera(torch.nn.Module):
    def __init__(self, system):
        super().__init__()
        self.codec, self.classifier = system.codec, system.classifier

    def forward(self, picture):
        handed = picture if self.codec is None else self.codec(picture).reconstruction
        return self.classifier(handed)


@pytest.mark.parametrize("codec", [True, False])
def test_what_follows_the_camera_can_be_exported(fitted, lesions, codec):
    system, folder = _system(), fitted["best"][1]
    joint.load_fitted(system, folder)
    if not codec:
        system.codec = None
    part = _AfterCamera(system).eval()
    scenes = lesions.gather(torch.arange(4))[0] / 255
    with torch.no_grad():
        pictures = system.measure(scenes)[2]
        program = torch.export.export(part, (pictures,)).module()
        assert torch.equal(program(pictures), part(pictures))
        assert torch.equal(program(pictures.flip(0)), system(scenes.flip(0)).logits)
