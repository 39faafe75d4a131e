import pytest
import torch

import classify
import joint


def test_a_configuration_builds_the_phantom_that_it_describes(tmp_path):
    config = joint.PhantomConfig(
        count=9, image_size=16, difficulty=0.2, contrast=0.7, balance=1.0, skin=(0.1, 0.2),
        blur=1e-4, wavelengths=(550e-9, 850e-9), bit_depth=16, encoding="linear", seed=4,
    )  # fmt: skip
    joint.save_config(joint.RunConfig(data=config), tmp_path)
    loaded = joint.load_config(tmp_path).data
    assert loaded == config
    built = joint.build_data(loaded)
    expected = classify.LesionPhantom(
        9, 16, difficulty=0.2, contrast=0.7, balance=1.0, skin=(0.1, 0.2), blur=1e-4,
        wavelengths=(550e-9, 850e-9), bit_depth=16, encoding="linear", seed=4,
    )  # fmt: skip
    assert built.encoding == "linear"
    assert built.fingerprint == expected.fingerprint
    assert (built.gather(range(9)).images.numpy() == expected.gather(range(9)).images.numpy()).all()


def test_the_defaults_of_a_configuration_are_those_of_the_phantom():
    built = joint.build_data(joint.PhantomConfig(count=9, image_size=16))
    assert built.fingerprint == classify.LesionPhantom(9, 16).fingerprint


@pytest.mark.parametrize(
    "options",
    [{"contrast": 3.0}, {"blur": 0.1}, {"seed": -1}, {"skin": "pale"}, {"skin": (0.1, 0.2, 0.3)}],
)
def test_what_the_phantom_refuses_the_configuration_refuses(options):
    with pytest.raises(ValueError, match=f"PhantomConfig\n{next(iter(options))}"):
        joint.PhantomConfig(**options)


def test_a_system_learns_from_spectral_pictures():
    bands = (480e-9, 550e-9, 660e-9, 940e-9)
    scenes = joint.build_data(joint.PhantomConfig(count=60, image_size=16, wavelengths=bands))
    parts = classify.split(scenes, seed=0)
    config = joint.SystemConfig(front_end=joint.KernelConfig(kernel_size=3))
    system = joint.build_system(config, image_size=(16, 16), channels=4, classes=7)
    training = joint.Training(epochs=1, batch_size=16)
    history = joint.fit(system, parts.train, parts.validation, config=training, progress=False)
    assert len(history.epochs) == 1
    assert joint.evaluate(system, parts.test).logits.shape == (len(parts.test), 7)


def test_a_small_net_sees_more_than_colour():
    # A linear classifier of colours reaches 0.50 to 0.60 (tests/classify/data); docs/phantom.md
    # says what the same net reaches on larger and more pictures.
    scenes = classify.LesionPhantom(2000, 32, balance=0.0)
    parts = classify.split(scenes, (0.75, 0.05, 0.20), seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        system = joint.ImagingSystem(classifier=classify.backbone(classes=7, image_size=(32, 32)))
    training = joint.Training(epochs=12, restore_best=False)
    joint.fit(system, parts.train, parts.validation, config=training, progress=False)
    assert joint.evaluate(system, parts.test).scalars()["accuracy"] >= 0.62
