import numpy as np
import pytest
import torch
from small import identity

import classify
import compress
import joint
import joint.run.complete
import optics
from joint.config.psf import PSFConfig
from joint.described import described
from joint.run.trained import load_trained


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
    # What it says of one picture changes no statistics for the next.
    assert not any(module.training for module in rebuilt.modules())
    before = {name: tensor.clone() for name, tensor in rebuilt.state_dict().items()}
    rebuilt(torch.rand(1, 3, 32, 32))
    assert all(torch.equal(before[name], t) for name, t in rebuilt.state_dict().items())


def test_an_edited_configuration_is_told(tmp_path):
    system = joint.SystemConfig(
        front_end=joint.NoneConfig(), sensor=joint.SensorConfig(photons=10000),
        classifier=joint.ClassifierConfig(name="resnet_s"),
    )  # fmt: skip
    config = joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=16),
        system=system,
        training=joint.Training(epochs=1, batch_size=32),
    )
    parts = joint.build_split(config, joint.build_data(config.data))
    joint.run.complete.complete_run(config, parts, tmp_path, resamples=0, progress=False)
    joint.load_run(tmp_path)  # nothing is said

    def edited(**changes):
        own = config.system.model_copy(update=changes)
        joint.save_config(config.model_copy(update={"system": own}), tmp_path)

    edited(sensor=joint.SensorConfig(photons=5))
    for load in (joint.load_run, joint.load_system):
        message = r"photons=10000.0 there, photons=5.0 here; .* put back the .*config\.json"
        with pytest.warns(UserWarning, match=message) as said:
            load(tmp_path)
        assert [each.filename for each in said] == [__file__]
    edited(sensor=joint.NoneConfig())
    with pytest.warns(UserWarning, match=r"another sensor: Sensor there, none here"):
        joint.load_system(tmp_path)
    edited(classifier=joint.ClassifierConfig(name="inception_s"))
    message = r"holds another architecture .*alike: put back the .*config\.json that it was trained"
    with pytest.raises(joint.CheckpointError, match=message):
        joint.load_system(tmp_path)


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
    system = joint.run.complete.complete_run(config, parts, run, resamples=0, progress=False)
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
    joint.save_checkpoint(checkpoint, state, {"identity": identity(), "epoch": 0, "records": []})
    with pytest.raises(joint.CheckpointError, match="no trained weights yet: no epoch has ended"):
        load_trained(tmp_path, last)
    with pytest.raises(joint.CheckpointError, match=r"there is no checkpoint at .*best"):
        load_trained(tmp_path, joint.Training())
    joint.save_checkpoint(checkpoint, state, {"identity": identity(), "epoch": 7, "records": [{}]})
    best = {"a": torch.tensor([3.0])}
    joint.save_checkpoint(tmp_path / "best.safetensors", best, {"identity": identity(), "epoch": 2})
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


def test_a_system_knows_the_classes_that_it_was_trained_on(fitted, lesions, tmp_path):
    system, folder = fitted["best"]
    assert system.classes == lesions.classes == joint.load_fitted(_system(), folder).classes
    tensors, head = joint.load_checkpoint(folder / "best.safetensors")
    del head["identity"]["scenes"]
    joint.save_checkpoint(tmp_path / "best.safetensors", tensors, head)
    with pytest.raises(joint.CheckpointError, match="does not say how it was trained"):
        joint.load_fitted(_system(), tmp_path)


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


def test_the_camera_is_compared_with_that_of_the_training(fitted, tmp_path):
    tensors, head = joint.load_checkpoint(fitted["best"][1] / "best.safetensors")
    bright, dim = optics.Sensor(2000, bit_depth=8), optics.Sensor(50, bit_depth=5)
    head["identity"]["system"] = described(_system().replace(sensor=bright))
    joint.save_checkpoint(tmp_path / "best.safetensors", tensors, head)
    joint.load_fitted(_system().replace(sensor=bright), tmp_path)
    message = r"another sensor: photons=2000.0 there, photons=50.0 here; bit_depth=8 there"
    with pytest.warns(UserWarning, match=message):
        joint.load_fitted(_system().replace(sensor=dim), tmp_path)
    with pytest.warns(UserWarning, match=r"another sensor: Sensor there, none here"):
        joint.load_fitted(_system(), tmp_path)
    with pytest.warns(UserWarning, match=r"another sensor: none there, Sensor here"):
        joint.load_fitted(_system().replace(sensor=dim), fitted["best"][1])
    mosaic = _system().replace(sensor=optics.Sensor(2000, cfa="rggb"))
    head["identity"]["system"] = described(mosaic)
    joint.save_checkpoint(tmp_path / "best.safetensors", tensors, head)
    joint.load_fitted(_system().replace(sensor=optics.Sensor(2000, cfa="rggb")), tmp_path)
    for sensor, told in (
        (optics.Sensor(50, cfa="rggb"), r"photons=2000.0 there, photons=50.0 here; gain="),
        (optics.Sensor(2000, cfa="bggr"), "sensor: cfa: rows='rg/gb' there, rows='bg/gr' here"),
        (optics.Sensor(2000), "cfa: ColourFilterArray there, none here"),
    ):
        with pytest.warns(UserWarning, match=told):
            joint.load_fitted(_system().replace(sensor=sensor), tmp_path)
    other = joint.ImagingSystem(codec=compress.FactorizedCodec(), encoding="linear")
    with pytest.raises(joint.CheckpointError, match="build it with encoding='srgb'"):
        joint.load_fitted(other, tmp_path)


def test_the_quality_is_compared_with_that_of_the_training(fitted, tmp_path):
    tensors, head = joint.load_checkpoint(fitted["best"][1] / "best.safetensors")

    def at(quality):
        system = _system()
        system.codec.quality = quality
        return system

    def trained(system):
        head["identity"]["system"] = described(system)
        joint.save_checkpoint(tmp_path / "best.safetensors", tensors, head)

    trained(at(0))
    joint.load_fitted(at(0), tmp_path)
    with pytest.warns(UserWarning, match=r"another codec: quality=0.0 there, quality=None here"):
        joint.load_fitted(_system(), tmp_path)
    trained(_system())  # of several qualities, at them all: any may be chosen
    joint.load_fitted(at(0), tmp_path)
    trained(_system().replace(codec=compress.JPEG(50)))
    with pytest.warns(UserWarning, match=r"another codec: JPEG there, FactorizedCodec here"):
        joint.load_fitted(at(0), tmp_path)


def test_every_stage_is_compared_with_that_of_the_training(tmp_path, lesions, others):
    """Where it has no weights, of which the names and shapes would say so."""

    def build(activation: type[torch.nn.Module], boundary: optics.Boundary):
        psf = torch.full((3, 3), 1 / 9)
        net = torch.nn.Sequential(torch.nn.Flatten(), activation(), torch.nn.Linear(768, 3))
        front_end = optics.IncoherentImaging(psf, boundary=boundary)
        return joint.ImagingSystem(front_end=front_end, classifier=net)

    config = joint.Training(epochs=1)
    system = build(torch.nn.ReLU, "zero")
    joint.fit(system, lesions, others, config=config, directory=tmp_path, progress=False)
    joint.load_fitted(build(torch.nn.ReLU, "zero"), tmp_path)  # nothing is said
    other = build(torch.nn.Tanh, "replicate")
    front_end = r"another front end: boundary='zero' there, boundary='replicate' here\. If"
    with (
        pytest.warns(UserWarning, match=front_end),
        pytest.warns(UserWarning, match=r"another classifier: 1: ReLU there, Tanh here\. If"),
    ):
        joint.load_fitted(other, tmp_path)
    kept = system.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in other.state_dict().items())


def test_the_settings_of_a_codec_are_compared_with_those_of_the_training(fitted):
    folder = fitted["best"][1]
    joint.load_codec(folder, codec=compress.FactorizedCodec(proxy="noise"))  # how it would learn
    message = r"other settings: exact=True there, exact=False here\. If .* was for joint\.fit$"
    with pytest.warns(UserWarning, match=message) as told:
        joint.load_codec(folder, codec=compress.FactorizedCodec(exact=False))
    assert told[0].filename == __file__


def test_a_format_of_a_run_in_python_says_the_channels_of_its_pictures(fitted, tmp_path):
    _, head = joint.load_checkpoint(fitted["best"][1] / "best.safetensors")
    for channels in (1, 3):
        head["identity"]["codec_channels"] = None
        head["identity"]["scenes"]["channels"] = channels
        head["identity"]["system"] = described(joint.ImagingSystem(codec=compress.PNG()))
        joint.save_checkpoint(tmp_path / "best.safetensors", {}, head)
        assert joint.load_codec(tmp_path, codec=compress.PNG()).channels == channels


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
        pictures = system.measure(scenes).measurement
        program = torch.export.export(part, (pictures,)).module()
        assert torch.equal(program(pictures), part(pictures))
        assert torch.equal(program(pictures.flip(0)), system(scenes.flip(0)).logits)
