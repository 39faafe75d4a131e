"""How the network after the sensor is configured."""

import pytest
import torch

import joint
from joint.config.restoration import build_restoration
from joint.config.run import RunConfig, SystemConfig

_UNET = joint.UNetConfig(width=4, scales=2)


def _built(sensor, **options):
    settings = SystemConfig(
        front_end=joint.NoneConfig(), codec=joint.NoneConfig(), sensor=sensor, restoration=_UNET
    )
    return joint.build_system(
        settings, **{"image_size": (24, 32), "channels": 3, "classes": 5, **options}
    )


@pytest.mark.parametrize(
    ("sensor", "taken"),
    [
        (joint.NoneConfig(), (3, 24, 32)),
        (joint.SensorConfig(), (3, 24, 32)),
        (joint.SensorConfig(binning=4), (3, 6, 8)),
        (joint.SensorConfig(cfa="rggb"), (3, 24, 32)),
        (joint.SensorConfig(cfa="rggb", demosaicing="packed"), (4, 12, 16)),
        (joint.SensorConfig(cfa="rggb", demosaicing="none"), (1, 24, 32)),
    ],
)
def test_it_makes_channels_and_size_of_the_scene_of_whatever_is_read(sensor, taken):
    system = _built(sensor)
    output = system(torch.rand(2, 3, 24, 32))
    assert output.developed.shape == (2, *taken)
    assert output.measurement.shape == output.scene.shape
    assert output.logits.shape == (2, 5)


def test_few_colours_become_the_bands_of_the_scene():
    colour = joint.ColourConfig(filters="fixed", channels=3)
    lens = joint.LensConfig(colour=colour, wavelengths=(450e-9, 500e-9, 550e-9, 600e-9, 650e-9))
    system = joint.build_system(
        SystemConfig(front_end=lens, codec=joint.FactorizedConfig(), restoration=_UNET),
        image_size=(32, 32),
        channels=5,
        classes=3,
    )
    output = system(torch.rand(1, 5, 32, 32))
    assert output.developed.shape[1] == 3
    assert output.measurement.shape == (1, 5, 32, 32)
    assert system.codec.channels == system.classifier.in_channels == 5


def test_a_scene_of_no_whole_number_of_times_the_picture_is_refused():
    for scene in ((30, 32), (24, 16)):
        with pytest.raises(ValueError, match="no whole multiple of the picture of 12 x 16"):
            build_restoration(_UNET, channels=(3, 3), sizes=((12, 16), scene))
    nothing = build_restoration(joint.NoneConfig(), channels=(3, 3), sizes=((5, 5), (7, 7)))
    assert nothing is None


def test_a_run_with_a_network_is_another_run():
    config = RunConfig(system=SystemConfig(restoration=_UNET))
    assert config.digest() != RunConfig().digest()
    assert RunConfig.model_validate_json(config.canonical()) == config
