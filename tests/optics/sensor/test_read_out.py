import math

import numpy as np
import pytest
import torch

import optics
from optics.sensor import read_out


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_steps_are_what_the_standard_says():
    # EMVA 1288 pixel by pixel, in numpy: no noise, and every other thing that a sensor does.
    rng = np.random.default_rng(0)
    light, gain = rng.uniform(0, 1.5, (2, 4, 6)), 37.0
    prnu, dsnu = rng.normal(0, 0.1, (4, 6)), rng.normal(0, 20, (4, 6))
    own = np.array((0.5, 0.3))[:, None, None]
    electrons = 1000 * own * light * (1 + prnu) + 12
    charge = np.minimum(electrons, 400) + dsnu
    summed = charge.reshape(2, 2, 2, 3, 2).sum((2, 4))
    codes = np.clip(np.round(summed / gain + 8), 0, 63)

    exact = {"deviations": torch.from_numpy(prnu), "dark": 12.0}
    efficiencies = read_out.channel_values((0.5, 0.3), torch.from_numpy(light)[None], 1, None)
    mean = read_out.mean_electrons(torch.from_numpy(light)[None], 1000 * efficiencies, **exact)
    np.testing.assert_allclose(mean[0], electrons, rtol=1e-12)
    counts, likelihood = read_out.counted(mean, kind="none")
    assert likelihood is None
    kept = read_out.stored(counts, full_well=400.0, offsets=torch.from_numpy(dsnu), binning=2)
    np.testing.assert_allclose(kept[0], summed, rtol=1e-12)
    digital = {"black_level": 8.0, "bit_depth": 6, "converter": "straight_through"}
    read = read_out.converted(kept, 1 / gain, read_noise=0.0, **digital)
    np.testing.assert_array_equal(read[0], codes)
    balance = read_out.channel_values((1.0, 5 / 3), read, 1, None)
    picture = read_out.developed(read, black_level=8.0, top=63, balance=balance)
    wanted = (codes - 8) / 55 * np.array((1, 5 / 3))[:, None, None]
    full = 4 * 400 / gain / 55  # below the top code
    np.testing.assert_allclose(picture[0], np.minimum(wanted, 1), rtol=1e-12)
    picture = read_out.developed(read, black_level=8.0, top=63, balance=balance, full=full)
    np.testing.assert_allclose(picture[0], np.minimum(wanted, full), rtol=1e-12)

    sensor = optics.Sensor(
        1000, quantum_efficiency=(0.5, 0.3), dark_current=1200, full_well=400, bit_depth=6,
        gain=gain, black_level=8, prnu=torch.from_numpy(prnu), dsnu=torch.from_numpy(dsnu),
        binning=2, white_balance=True, shot_noise="none", read_noise=0,
    )  # fmt: skip
    read = sensor(torch.from_numpy(light)[None])[0]
    np.testing.assert_allclose(read, np.minimum(wanted, full), rtol=1e-12)
    assert read_out.shape_developed(2, 4, 6, binning=2, cfa=None) == picture.shape[1:]


def test_a_number_for_each_channel_meets_each_exposure_or_the_pixels_of_its_colour():
    picture = torch.zeros(1, 4, 2, 4, dtype=torch.float64)
    found = read_out.channel_values((0.25, 0.5), picture, 2, None)
    assert found.flatten().tolist() == [0.25, 0.5, 0.25, 0.5]
    mosaic = read_out.channel_values(
        (1.0, 2.0, 3.0), picture[:, :1], 1, optics.ColourFilterArray("rggb", "rgb")
    )
    assert mosaic[0, 0].tolist() == [[1, 2, 1, 2], [2, 3, 2, 3]]


def test_channels_that_a_sensor_has_no_numbers_for_are_told_with_both():
    class Mixed(optics.FrontEnd):
        """Two channels of three, as a front end of one's own may make them."""

        in_channels, out_channels, exposures = 3, 2, 1

        def forward(self, scene):
            return scene[:, :2]

        def throughput(self):
            return torch.ones(())

        def combine(self, raw):
            return raw

    sensor = optics.Sensor(quantum_efficiency=(0.4, 0.5, 0.3))
    with pytest.raises(
        ValueError,
        match=r"the sensor has a quantum_efficiency for each of 3 channels, and takes irradiance "
        r"\[B, 1 exposures \* 3, H, W\], not \(1, 2, 4, 4\): give one quantum_efficiency, or one",
    ):
        sensor(Mixed()(torch.ones(1, 3, 4, 4)))


@pytest.mark.parametrize("full_well", [None, 400.0])
@pytest.mark.parametrize("converter", ["straight_through", "dithered"])
@pytest.mark.parametrize("kind", ["gaussian", "poisson", "none"])
def test_infinite_light_leaves_a_learned_gain_its_gradient(kind, converter, full_well):
    # A pixel that stands at the top code has no slope, and adds nothing to that of the others.
    def slopes(light):
        sensor = optics.Sensor(
            1000, read_noise=3, trainable_gain=True, shot_noise=kind, converter=converter,
            full_well=full_well, gain=0.5,
        )  # fmt: skip
        picture = torch.tensor([[[[0.5, 0.25, light]]]], requires_grad=True)
        sensor(picture, generator=_generator()).sum().backward()
        return sensor.log_gain.grad, picture.grad

    (of_gain, of_light), (wanted, _) = slopes(math.inf), slopes(1e25)
    assert wanted != 0
    torch.testing.assert_close(of_gain, wanted)
    assert of_light.isfinite().all()
    assert of_light[..., -1] == 0
