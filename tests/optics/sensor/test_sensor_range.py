import numpy as np
import pytest
import torch

import optics


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_whole_numbers_of_numpy_are_whole_numbers():
    picture = torch.rand(1, 3, 32, 32, generator=_generator())
    ours = optics.Sensor(20, read_noise=10, bit_depth=np.uint8(8), binning=np.uint8(16))
    theirs = optics.Sensor(20, read_noise=10, bit_depth=8, binning=16)
    assert ours.top == 255
    assert torch.equal(*(s(picture, generator=_generator()) for s in (ours, theirs)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"photons": 0}, "photons=0 is out of range; give a positive number"),
        ({"photons": float("inf")}, "shot_noise='none' for no noise"),
        ({"quantum_efficiency": 1.2}, r"give a fraction in \(0, 1\]"),
        ({"read_noise": -1}, "electrons RMS, 0 or more"),
        ({"read_noise": float("nan")}, "electrons RMS, 0 or more"),
        ({"dark_current": -1}, "electrons/s, 0 or more"),
        ({"exposure_time": 0}, "positive time in s"),
        ({"full_well": 0}, "positive number of electrons, or None"),
        ({"bit_depth": 0}, "whole number from 1 to 16"),
        ({"bit_depth": 7.5}, "whole number from 1 to 16"),
        ({"bit_depth": float("nan")}, "whole number from 1 to 16"),
        ({"bit_depth": 8.0}, "whole number from 1 to 16"),
        ({"black_level": 512}, "black_level=512 .* whole number of DN .* half of the range"),
        ({"black_level": 0.01}, "whole number of DN"),
        ({"black_level": -1}, "whole number of DN"),
        ({"black_level": 0.6, "bit_depth": None}, "a fraction of the range where bit_depth is"),
        ({"gain": 0}, "positive number of electrons/DN, or None"),
        ({"prnu": -0.1}, "prnu=-0.1 is out of range; give fractions RMS, 0 or more"),
        ({"prnu": 1.5}, "prnu=1.5 is out of range; give a fraction RMS below 1: the 1 % of a data"),
        ({"dsnu": float("nan")}, "give electrons RMS, 0 or more"),
        ({"prnu": 0.1}, r"give resolution=\(H, W\) to draw it, or the measured pattern"),
        ({"dsnu": torch.ones(3)}, r"dsnu must be real \[H, W\] when it is measured, in electrons"),
        ({"prnu": torch.ones(3, 4), "resolution": 4}, r"real \[H, W\] of \(4, 4\)"),
        ({"dsnu": torch.ones(3, 4, dtype=torch.int64)}, r"dsnu must be real .* not torch\.int64"),
        ({"resolution": 0}, "resolution must be .* at least 1 sample"),
        ({"binning": 0}, "binning=0 .* whole number of pixels"),
        ({"binning": 1.5}, "whole number of pixels"),
        (
            {"binning": 2, "cfa": "rggb"},
            r"add pixels of different colours of the cfa; .* bin_pixels\(irradiance, k\)",
        ),
        ({"cfa": "rgb"}, "four letters for 2 x 2 pixels"),
        ({"demosaicing": "guess"}, "choose one of .*'malvar'"),
        ({"shot_noise": "salt"}, "choose one of .*'gaussian', 'poisson', 'score', 'none'"),
        ({"converter": "hope"}, "choose one of .*'dithered'"),
        (
            {"converter": "dithered", "read_noise": 0},
            "averages over the read noise",
        ),
    ],
)
def test_quantities_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optics.Sensor(**options)


def test_a_black_level_may_be_half_of_the_range_and_a_fraction_without_a_converter():
    for level in (0.1, 0.5):
        assert optics.Sensor(black_level=level, bit_depth=None).black_level == level
    assert optics.Sensor(black_level=511, bit_depth=10).black_level == 511


def test_efficiencies_of_channels_are_a_sequence_a_tensor_or_an_array():
    given = (0.5, 0.625, 0.375)
    for several in (given, list(given), torch.tensor(given), np.array(given)):
        assert optics.Sensor(quantum_efficiency=several).quantum_efficiency == given


def test_one_number_is_one_number():
    for several in ([0.5, 0.6, 0.4], torch.tensor([0.5, 0.6, 0.4]), np.full(3, 0.5)):
        with pytest.raises(TypeError, match=r"read_noise must be one number, .*mix_colours"):
            optics.Sensor(read_noise=several)
    for none in ("0.5", b"0.5", None):  # which no filters would help
        with pytest.raises(
            TypeError, match=r"^read_noise must be one number, not (b?'0\.5'|None)$"
        ):
            optics.Sensor(read_noise=none)
    for strange in ("0.5", torch.full((2, 2), 0.5), [[0.5, 0.6]], None):
        with pytest.raises(TypeError, match="quantum_efficiency must be one number"):
            optics.Sensor(quantum_efficiency=strange)
    with pytest.raises(TypeError, match="prnu must be one number or a Tensor, in fractions"):
        optics.Sensor(prnu=np.zeros((4, 4)))
    sensor = optics.Sensor(torch.tensor([300.0]), read_noise=np.float32(3), gain=torch.tensor(0.5))
    assert (sensor.photons, sensor.read_noise, sensor.gain) == (300.0, 3.0, 0.5)


@pytest.mark.parametrize(
    "name",
    [
        "photons",
        "quantum_efficiency",
        "read_noise",
        "dark_current",
        "exposure_time",
        "full_well",
        "gain",
        "black_level",
    ],
)
def test_a_parameter_that_would_not_be_learned_is_refused(name):
    for value in (torch.nn.Parameter(torch.tensor(0.5)), torch.tensor(0.5, requires_grad=True) * 2):
        with pytest.raises(TypeError, match=f"{name} is not learned by a sensor.*trainable_gain="):
            optics.Sensor(**{name: value})
    with pytest.raises(TypeError, match="quantum_efficiency is not learned"):
        optics.Sensor(quantum_efficiency=torch.nn.Parameter(torch.full((3,), 0.5)))
