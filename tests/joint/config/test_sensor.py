import json

import pytest
import torch

import joint
import optics


@pytest.mark.parametrize(
    ("sensor", "message"),
    [
        ({"black_level": 0.01}, "black_level=0.01 is out of range; give a whole number of DN"),
        ({"black_level": 600}, "half of the range"),
        ({"binning": 2, "cfa": "rggb"}, "pixels of different colours"),
        ({"cfa": "rgb"}, "four letters for 2 x 2 pixels"),
        ({"converter": "dithered", "read_noise": 0}, "averages over the read noise"),
        ({"shot_noise": "score"}, "'gaussian', 'poisson' or 'none'"),
        ({"prnu": 1.0}, "less than 1"),
        ({"photons": 10, "photon_range": [30, 3000]}, r"must lie within photon_range=\(30, 3000\)"),
    ],
)
def test_a_sensor_that_cannot_be_built_is_no_configuration(tmp_path, sensor, message):
    run = {"system": {"sensor": {"kind": "sensor", **sensor}}}
    (tmp_path / "config.json").write_text(json.dumps(run))
    with pytest.raises(joint.ConfigError, match=rf"system\.sensor.*{message}"):
        joint.load_config(tmp_path)


@pytest.mark.parametrize(
    ("sensor", "side"),
    [
        ({"binning": 2, "read_noise": 8, "black_level": 20}, 16),
        ({"cfa": "rggb", "demosaicing": "malvar"}, 32),
        ({"prnu": 0.01, "dsnu": 2.0, "bit_depth": 8, "converter": "dithered"}, 32),
        ({"bit_depth": None, "gain": 7000.0, "black_level": 0.01}, 32),
        ({"photons": 300.0, "photon_range": (100.0, 3000.0), "automatic_gain": False}, 32),
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


class Doubled(optics.FrontEnd):
    """Channels of its own, in front of a sensor that has an efficiency for each."""

    in_channels, out_channels, exposures = 3, 6, 1

    def forward(self, scene):
        return torch.cat([scene, scene / 2], 1)

    def throughput(self):
        return torch.tensor(1.0)

    def combine(self, raw):
        return raw


def test_a_front_end_of_ones_own_has_channels_that_only_it_knows():
    front = joint.CustomConfig(class_path=f"{__name__}.Doubled")
    sensor = joint.SensorConfig(quantum_efficiency=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    config = joint.SystemConfig(
        front_end=front, sensor=sensor, codec=joint.NoneConfig(), classifier=joint.NoneConfig()
    )
    system = joint.build_system(config, image_size=(8, 8), channels=3, classes=5)
    assert system(torch.full((1, 3, 8, 8), 0.5)).measurement.shape == (1, 6, 8, 8)


def test_pictures_that_do_not_fit_the_sensor_are_refused():
    binned = joint.SystemConfig(sensor=joint.SensorConfig(binning=3))
    with pytest.raises(ValueError, match=r"sensor\.binning=3 does not divide pictures of 32 x 32"):
        joint.build_system(binned, image_size=(32, 32), channels=3, classes=5)
    for several in ((0.5, 0.4), (0.5, 0.4, 0.3, 0.2)):
        own = joint.SystemConfig(sensor=joint.SensorConfig(quantum_efficiency=several))
        told = rf"sensor\.quantum_efficiency has {len(several)} numbers, but an exposure has 3"
        with pytest.raises(ValueError, match=told):
            joint.build_system(own, image_size=(32, 32), channels=3, classes=5)
    bayer = joint.SystemConfig(sensor=joint.SensorConfig(cfa="rggb"))
    with pytest.raises(ValueError, match=r"sensor\.cfa='rggb' needs pictures of 3 channels, not 1"):
        joint.build_system(bayer, image_size=(32, 32), channels=1, classes=5)
    packed = joint.SystemConfig(sensor=joint.SensorConfig(cfa="rggb", demosaicing="packed"))
    for odd in ((33, 32), (32, 33)):
        with pytest.raises(ValueError, match=r"blocks of 2 x 2 .* choose an even image_size"):
            joint.build_system(packed, image_size=odd, channels=3, classes=5)


_COLOURS = (1.9, -0.8, -0.1, -0.3, 1.5, -0.2, 0.2, -0.7, 1.5)


@pytest.mark.parametrize("learned", [False, True])
def test_a_colour_matrix_is_built_row_by_row_and_learned_if_so_configured(tmp_path, learned):
    sensor = {"kind": "sensor", "colour_matrix": _COLOURS, "trainable_colour_matrix": learned}
    text = json.dumps({"system": {"sensor": sensor}})
    (tmp_path / "config.json").write_text(text)
    config = joint.load_config(tmp_path).system
    built = joint.build_system(config, image_size=(32, 32), channels=3, classes=5)
    matrix = built.sensor.colour_matrix
    assert torch.equal(matrix.detach(), torch.tensor(_COLOURS).reshape(3, 3))
    assert isinstance(matrix, torch.nn.Parameter) == learned
    output = built(torch.rand(2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    assert output.raw.min() < 0  # a colour out of the gamut
    assert output.measurement.min() >= 0
    if learned:
        joint.Objective(rate=1.0, distortion=1.0)(output, torch.tensor([0, 1])).total.backward()
        assert matrix.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("sensor", "message"),
    [
        ({"colour_matrix": [1.0, 0.0, 0.0]}, "has 3 numbers: give C x C for C channels"),
        ({"trainable_colour_matrix": True}, "learns from a colour_matrix on: give one"),
        (
            {"colour_matrix": _COLOURS, "cfa": "rggb", "demosaicing": "packed"},
            "demosaicing='packed' returns the mosaic",
        ),
        ({"colour_matrix": [1.0], "cfa": "rggb"}, "the sensor has 3 channels"),
    ],
)
def test_a_colour_matrix_that_makes_no_sense_is_no_configuration(tmp_path, sensor, message):
    run = {"system": {"sensor": {"kind": "sensor", **sensor}}}
    (tmp_path / "config.json").write_text(json.dumps(run))
    with pytest.raises(joint.ConfigError, match=rf"system\.sensor.*{message}"):
        joint.load_config(tmp_path)


def test_a_colour_matrix_of_other_channels_is_refused_before_a_run():
    config = joint.SystemConfig(sensor=joint.SensorConfig(colour_matrix=(1.0, 0.0, 0.0, 1.0)))
    with pytest.raises(
        ValueError,
        match=r"sensor\.colour_matrix has 2 x 2 numbers, but an exposure has 3 channels; give 3 x",
    ):
        joint.build_system(config, image_size=(32, 32), channels=3, classes=5)
