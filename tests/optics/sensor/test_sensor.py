import copy
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import optics


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["none", "gaussian", "poisson"])
def test_read_noise_comes_after_the_full_well(kind):
    sensor = optics.Sensor(
        1000, quantum_efficiency=1, read_noise=5, full_well=400, bit_depth=None, gain=1000,
        shot_noise=kind,
    )  # fmt: skip
    reading = 1000 * sensor(torch.full((50_000,), 0.9), generator=_generator())
    assert reading.mean() == pytest.approx(400, abs=0.2)
    assert reading.std() == pytest.approx(5, rel=0.03)


def test_exposures_share_the_dark_current():
    sensor = optics.Sensor(dark_current=6000)
    dark = torch.zeros(3)
    torch.testing.assert_close(sensor.electrons(dark), torch.full((3,), 60.0))
    torch.testing.assert_close(sensor.electrons(dark, exposures=4), torch.full((3,), 15.0))
    read = optics.Sensor(1000, dark_current=6000, read_noise=0, shot_noise="none", bit_depth=None)
    torch.testing.assert_close(read(dark, exposures=4), torch.full((3,), 15.0 / 600))


def test_without_noise_nothing_is_random():
    sensor = optics.Sensor(read_noise=0, shot_noise="none", bit_depth=None)
    picture = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(sensor(picture), picture)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_the_same_generator_gives_the_same_picture(kind, training):
    sensor = optics.Sensor(100, shot_noise=kind).train(training)
    picture = torch.rand(2, 3, 16, 16, generator=_generator())
    state = torch.random.get_rng_state()
    first, again = (sensor(picture, generator=_generator(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, sensor(picture, generator=_generator(6)))
    assert torch.equal(state, torch.random.get_rng_state())


def _dn(sensor):
    """Codes behind a measurement in 0..1."""
    return lambda measurement: measurement * (sensor.top - sensor.black_level) + sensor.black_level


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "score"])
@pytest.mark.parametrize(("level", "dark"), [(0.02, 0.0), (0.5, 0.0), (0.3, 4000.0)])
@pytest.mark.parametrize("depth", [None, 12])
def test_mean_and_variance_follow_emva_1288(kind, level, dark, depth):
    # P50: E = QE Phi + D t, Var = E + s_r^2 + gain^2 / 12, within four standard errors.
    gain, black, count = 1.5, 100, 400_000
    sensor = optics.Sensor(
        1000, quantum_efficiency=0.5, read_noise=3.0, dark_current=dark, shot_noise=kind,
        bit_depth=depth, gain=gain if depth else 2000.0, black_level=black if depth else 0.25,
    )  # fmt: skip
    reading = sensor(torch.full((count,), level), generator=_generator()).double()
    electrons = (_dn(sensor)(reading) - sensor.black_level) * sensor.gain
    mean = 500 * level + dark * 0.01
    variance = mean + 9 + (gain**2 / 12 if depth else 0)
    assert abs(electrons.mean() - mean) < 4 * (variance / count) ** 0.5
    # Variance of a sample variance; the kurtosis of a Poisson count adds 1 / mean.
    assert abs(electrons.var() - variance) < 4 * variance * ((2 + 1 / mean) / count) ** 0.5


def test_the_signal_to_noise_ratio_is_that_of_the_standard():
    # Signal over the root of dark, quantisation and shot variances, in electrons.
    sensor = optics.Sensor(2000, read_noise=4.0, bit_depth=12, gain=1.0, black_level=40)
    for level in (0.05, 0.4, 0.9):
        reading = sensor(torch.full((300_000,), level), generator=_generator()).double()
        signal = 1200 * level
        expected = signal / math.sqrt(16 + 1 / 12 + signal)
        assert reading.mean() / reading.std() == pytest.approx(expected, rel=0.01)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(0, 2**31), st.floats(0.5, 4), st.floats(0, 0.5))
def test_output_is_integer_codes_in_range(bits, seed, brighter, black):
    # P51
    top = 2**bits - 1
    sensor = optics.Sensor(
        200, bit_depth=bits, gain=120 / top / brighter, black_level=int(black * top),
        read_noise=0.4 * 120 / top / brighter,
    )  # fmt: skip
    picture = torch.rand(2, 3, 8, 8, generator=_generator(seed)) * 1.5
    codes = _dn(sensor)(sensor(picture, generator=_generator(seed)))
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)
    assert codes.min() >= -1e-3
    assert codes.max() <= top + 1e-3


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 2), st.floats(0, 2), st.integers(1, 16))
def test_more_light_never_gives_a_lower_code(a, b, bits):
    # P51
    sensor = optics.Sensor(read_noise=0, bit_depth=bits, shot_noise="none", full_well=7000)
    low, high = sensor(torch.tensor([min(a, b), max(a, b)]))
    assert low <= high


def test_the_default_gain_puts_full_light_at_the_top_code():
    sensor = optics.Sensor(shot_noise="none")
    assert sensor.gain == pytest.approx(6000 / 1023)
    assert optics.Sensor(black_level=23).gain == pytest.approx(6)
    assert optics.Sensor(bit_depth=None).gain == 6000
    assert optics.Sensor(binning=2, read_noise=8.0).gain == pytest.approx(4 * 6000 / 1023)


def test_gain_is_electrons_for_one_code():
    # 0.25 of 6000 electrons at 10 electrons a code and 50 codes of black level: code 200.
    sensor = optics.Sensor(gain=10, black_level=50, read_noise=3, shot_noise="none")
    codes = _dn(sensor)(sensor(torch.full((100_000,), 0.25), generator=_generator()))
    assert codes.mean() == pytest.approx(200, abs=0.01)
    offsets = np.arange(-3, 4)
    shares = np.diff(stats.norm.cdf(np.append(offsets - 0.5, 3.5) / 0.3))
    assert codes.std() == pytest.approx((shares * offsets**2).sum() ** 0.5, rel=0.02)
    assert sensor(torch.tensor([5.0])) == 1


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "none"])
@pytest.mark.parametrize("converter", ["straight_through", "dithered"])
@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_through_a_whole_sensor_is_the_gain(kind, converter, training):
    sensor = optics.Sensor(2000, gain=2400 / 1023, shot_noise=kind, converter=converter).train(
        training
    )
    for level in (0.02, 0.5):  # 12 electrons, and 600
        light = torch.full((100_000,), level, requires_grad=True)
        sensor(light, generator=_generator()).mean().backward()
        # 12 electrons are five standard deviations of noise above the clip at zero.
        assert light.grad.sum() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("depth", [None, 6, 10])
def test_a_black_level_keeps_the_noise_about_zero(depth):
    dark = torch.zeros(200_000)
    plain = optics.Sensor(100, bit_depth=None)(dark, generator=_generator()) * 60
    assert plain.mean() == pytest.approx(2 / (2 * torch.pi) ** 0.5, rel=0.03)  # a bias
    black = 0.15 if depth is None else round(0.15 * (2**depth - 1))
    offset = optics.Sensor(100, bit_depth=depth, black_level=black, shot_noise="none")
    reading = offset(dark, generator=_generator()) * 60
    assert abs(reading.mean()) < 0.02
    rounding = 0 if depth is None else offset.gain**2 / 12
    assert reading.std() == pytest.approx((4 + rounding) ** 0.5, rel=0.03)
    bright = optics.Sensor(100, bit_depth=depth, black_level=black, read_noise=0, shot_noise="none")
    torch.testing.assert_close(bright(torch.tensor([0.0, 1.0])), torch.tensor([0.0, 1.0]))


def test_full_well_saturates_and_stops_the_gradient():
    sensor = optics.Sensor(
        1000, quantum_efficiency=1, read_noise=0, full_well=400, bit_depth=None, gain=1000,
        shot_noise="none",
    )  # fmt: skip
    light = torch.tensor([0.2, 0.4, 0.9], dtype=torch.float64, requires_grad=True)
    reading = sensor(light)
    reading.sum().backward()
    torch.testing.assert_close(reading, torch.tensor([0.2, 0.4, 0.4], dtype=torch.float64))
    assert light.grad.tolist() == [1, 1, 0]


@pytest.mark.parametrize("full_well", [None, 1000.0])
@pytest.mark.parametrize("light", [math.inf, 1e36])  # which is infinite electrons in float32
@pytest.mark.parametrize("kind", ["gaussian", "poisson", "score", "none"])
def test_light_without_end_reads_full_scale(kind, light, full_well):
    sensor = optics.Sensor(1000, shot_noise=kind, full_well=full_well)
    measurement = sensor(torch.full((1, 1, 8, 8), light), generator=_generator())
    assert torch.equal(measurement, torch.ones(1, 1, 8, 8))
    assert sensor(torch.full((1, 1, 2, 2), math.nan)).isnan().all()


@pytest.mark.parametrize("level", [0.0005, 0.01, 0.5])
@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_light_has_slope_one_at_few_electrons_too(kind, level):
    # P51, with a pedestal that keeps the clip at zero out of it.
    sensor = optics.Sensor(
        1000, quantum_efficiency=1, bit_depth=None, shot_noise=kind, black_level=0.1
    )
    light = torch.full((400_000,), level, requires_grad=True)
    sensor(light, generator=_generator()).mean().backward()
    assert light.grad.sum() == pytest.approx(1.0, rel=0.02)


def test_trainable_gain_has_the_gradient_of_a_finite_difference():
    sensor = optics.Sensor(500, bit_depth=None, trainable_gain=True, gain=375.0).double()
    picture = torch.rand(1, 1, 16, 16, dtype=torch.float64, generator=_generator()) * 0.9 + 0.05

    def brightness(log_gain):
        return torch.func.functional_call(
            sensor, {"log_gain": log_gain}, (picture,), {"generator": _generator(1)}
        ).mean()

    assert [name for name, _ in sensor.named_parameters()] == ["log_gain"]
    assert float(sensor.gain.detach()) == pytest.approx(375)
    assert torch.autograd.gradcheck(brightness, (sensor.log_gain.detach().requires_grad_(),))
    assert not dict(optics.Sensor().named_parameters())


def test_a_learned_gain_is_judged_as_it_is_now():
    light = torch.rand(1, 1, 4, 4, requires_grad=True)
    for start, now, warns in ((1.0, 100.0, True), (100.0, 1.0, False)):
        sensor = optics.Sensor(read_noise=2.0, gain=start, trainable_gain=True)
        with torch.no_grad():
            sensor.log_gain.fill_(math.log(now))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sensor(light, generator=_generator(0))
        said = [str(one.message) for one in caught if "straight-through" in str(one.message)]
        assert bool(said) == warns, (start, now, said)
        assert all("0.02 DN" in one for one in said)


def test_a_gain_is_rescaled_whether_it_is_learned_or_not():
    for trainable in (False, True):
        sensor = optics.Sensor(gain=2.0, trainable_gain=trainable)
        sensor.rescale_gain(3.0)
        assert float(torch.as_tensor(sensor.gain).detach()) == pytest.approx(6.0)
        for wrong in (0.0, -1.0, math.inf):
            with pytest.raises(ValueError, match="factor"):
                sensor.rescale_gain(wrong)


def test_the_dithered_converter_gives_the_gain_the_slope_of_the_mean():
    # By scipy: the mean code of each voltage, and its change with the gain.
    sensor = optics.Sensor(
        500, bit_depth=6, read_noise=1.0, black_level=4, trainable_gain=True,
        shot_noise="none", converter="dithered",
    ).double()  # fmt: skip
    light = torch.linspace(0, 1.1, 301, dtype=torch.float64)
    sensor(light, generator=_generator()).sum().backward()

    def mean(log_gain):
        gain = math.exp(log_gain)
        z = (300 * light.numpy()[:, None] / gain + 4 - (np.arange(1, 64) - 0.5)) * gain
        return (stats.norm.cdf(z).sum() - 4 * len(light)) / 59

    at, step = float(sensor.log_gain.detach()), 1e-5
    slope = (mean(at + step) - mean(at - step)) / (2 * step)
    assert float(sensor.log_gain.grad) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_binning_adds_photons_and_reads_once(kind):
    # Four pixels' photons and one read noise, of 100 electrons and 5 RMS.
    sensor = optics.Sensor(
        100, quantum_efficiency=1, read_noise=5.0, bit_depth=None, binning=2, gain=1000.0,
        black_level=0.25, shot_noise=kind,
    )  # fmt: skip
    reading = sensor(torch.full((1, 1, 1000, 1000), 0.5), generator=_generator()).double()
    assert reading.shape == (1, 1, 500, 500)
    electrons = reading * 750
    assert electrons.mean() == pytest.approx(200, abs=4 * (225 / 250_000) ** 0.5)
    assert electrons.var() == pytest.approx(225, rel=4 * (2 / 250_000) ** 0.5)
    light = torch.rand(1, 1, 4, 6, requires_grad=True)
    sensor(light, generator=_generator()).sum().backward()
    assert (light.grad != 0).all()
    with pytest.raises(ValueError, match="multiples of 2"):
        sensor(torch.ones(1, 1, 5, 4))


def test_wells_of_binned_pixels_fill_one_by_one():
    sensor = optics.Sensor(
        100, quantum_efficiency=1, read_noise=0, bit_depth=None, binning=2, gain=400.0,
        full_well=50, shot_noise="none",
    )  # fmt: skip
    light = torch.tensor([[[[1.0, 0.0], [0.2, 0.0]]]])
    torch.testing.assert_close(sensor(light), torch.tensor([[[[70 / 400]]]]))


def test_patterns_are_fixed_and_have_their_spread():
    size = (200, 300)
    options = {"bit_depth": None, "read_noise": 0, "shot_noise": "none", "black_level": 0.25}
    bright = torch.full((2, 3, *size), 0.5)
    sensor = optics.Sensor(1000, prnu=0.02, resolution=size, generator=_generator(), **options)
    reading = sensor(bright)
    assert torch.equal(reading[0, 0], reading[1, 2])
    assert reading[0, 0].std() / 0.5 == pytest.approx(0.02, rel=0.02)
    assert reading.mean() == pytest.approx(0.5, rel=1e-3)
    assert torch.equal(sensor(torch.zeros_like(bright)), torch.zeros_like(bright))
    offsets = optics.Sensor(1000, dsnu=3.0, resolution=size, generator=_generator(), **options)
    for light in (bright, torch.zeros_like(bright)):
        assert offsets(light)[0, 0].std() * 600 == pytest.approx(3, rel=0.02)
    same = optics.Sensor(1000, prnu=0.02, resolution=size, generator=_generator(), **options)
    other = optics.Sensor(1000, prnu=0.02, resolution=size, generator=_generator(1), **options)
    assert torch.equal(same(bright), reading)
    assert not torch.equal(other(bright), reading)
    other.load_state_dict(same.state_dict())  # the pattern belongs to the sensor
    assert torch.equal(other(bright), reading)
    with pytest.raises(ValueError, match=r"prnu pattern has \(200, 300\) pixels, the picture"):
        sensor(torch.ones(1, 3, 8, 8))


def test_measured_patterns_are_taken_as_they_are():
    response = torch.nn.Parameter(torch.tensor([[0.1, -0.2], [0.0, 0.3]]))
    offset = torch.tensor([[0.0, 60.0], [-60.0, 0.0]])
    sensor = optics.Sensor(
        1000, prnu=response, dsnu=offset, bit_depth=None, read_noise=0, shot_noise="none",
        gain=1200.0, black_level=0.25,
    )  # fmt: skip
    reading = sensor(torch.full((1, 1, 2, 2), 0.5)) * 0.75 * 1200
    expected = torch.tensor([[330.0, 300.0], [240.0, 390.0]])
    torch.testing.assert_close(reading[0, 0], expected)
    assert next(sensor.parameters()) is response  # to be calibrated from flat fields
    reading.sum().backward()
    torch.testing.assert_close(response.grad, torch.full((2, 2), 300.0))
    assert "prnu=measured, dsnu=measured" in repr(sensor)


@pytest.mark.parametrize("demosaicing", ["bilinear", "malvar"])
@pytest.mark.parametrize("exposures", [1, 2])
def test_a_bayer_sensor_sees_one_colour_a_pixel(demosaicing, exposures):
    options = {"bit_depth": None, "read_noise": 0, "shot_noise": "none"}
    sensor = optics.Sensor(cfa="gbrg", demosaicing=demosaicing, **options)
    picture = torch.rand(2, 3 * exposures, 8, 10, generator=_generator(), requires_grad=True)
    reading = sensor(picture, exposures=exposures)
    assert reading.shape == picture.shape
    for first in range(0, 3 * exposures, 3):
        part = slice(first, first + 3)
        raw = optics.mosaic(picture[:, part], "gbrg")
        expected = optics.demosaic(raw, "gbrg", method=demosaicing).clamp(-1, 2)
        torch.testing.assert_close(reading[:, part], expected)
    reading.sum().backward()
    seen = (picture.grad != 0).unflatten(1, (exposures, 3)).sum(2)
    assert (seen <= 1).all()
    constant = torch.tensor([0.2, 0.5, 0.7] * exposures).view(1, -1, 1, 1).expand(1, -1, 6, 6)
    torch.testing.assert_close(sensor(constant, exposures=exposures), constant)
    with pytest.raises(ValueError, match=r"takes \[B, 1 exposures \* 3 channels 'rgb', H, W\]"):
        sensor(torch.ones(1, 4, 6, 6))


def test_a_mosaic_has_the_noise_of_one_read_out_a_pixel():
    # What a green pixel read itself keeps its variance; its neighbours average four read-outs.
    sensor = optics.Sensor(
        cfa="rggb", read_noise=60.0, shot_noise="none", bit_depth=None, black_level=0.25
    )
    reading = sensor(torch.full((1, 3, 600, 600), 0.5), generator=_generator())[0, 1] * 6000
    assert reading[0::2, 1::2].std() == pytest.approx(60, rel=0.02)
    assert reading[2:-2:2, 2:-2:2].std() == pytest.approx(30, rel=0.02)


def test_the_score_function_reaches_the_light_through_a_decision():
    # The share of pictures whose only pixel reads above 5.5 electrons: its slope is pmf(5; x).
    sensor = optics.Sensor(
        20, quantum_efficiency=1, read_noise=0, bit_depth=None, shot_noise="score", gain=100.0
    )
    light = torch.full((400_000, 1), 0.2, dtype=torch.float64, requires_grad=True)
    measurement, likelihood = sensor.expose(light, generator=_generator())
    loss = (measurement[:, 0] * 100 > 5.5).double()
    optics.score_surrogate(loss, likelihood).sum().backward()
    expected = 20 * stats.poisson.pmf(5, 4.0)
    assert abs(light.grad.mean() - expected) < 4 * light.grad.std() / 400_000**0.5
    assert light.grad.std() / 400_000**0.5 < 0.02 * expected


def test_the_score_refuses_a_path_and_a_likelihood_is_for_the_score():
    sensor = optics.Sensor(shot_noise="score")
    light = torch.rand(2, 3, 4, 4, requires_grad=True)
    with pytest.raises(ValueError, match=r"call Sensor\.expose\(\.\.\.\), which returns"):
        sensor(light)
    with torch.no_grad():
        measurement = sensor(light, generator=_generator())
    reading = sensor.expose(light, generator=_generator())
    assert torch.equal(reading.measurement, measurement)
    assert reading.log_likelihood.shape == (2,)
    assert optics.Sensor().expose(light).log_likelihood is None


def test_a_straight_through_converter_warns_where_it_is_wrong():
    light = torch.rand(1, 3, 4, 4, generator=_generator())
    asked = light.clone().requires_grad_()
    sensor = optics.Sensor(bit_depth=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sensor(light)
        with torch.no_grad():
            sensor(asked)
    with pytest.warns(UserWarning, match=r"read noise is 0\.085 DN .* give converter='dithered'"):
        sensor(asked)
    with pytest.warns(UserWarning, match=r"read noise is 0\.2 DN"):
        optics.Sensor(gain=10, trainable_gain=True)(light)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sensor(asked)  # it has been said
        copy.deepcopy(sensor)(asked)
        optics.Sensor()(asked)
        optics.Sensor(gain=6.6)(asked)
        optics.Sensor(bit_depth=8, converter="dithered")(asked)
        optics.Sensor(bit_depth=None, read_noise=0)(asked)
        # The gradient of a score goes through the likelihood, past the converter.
        optics.Sensor(bit_depth=8, shot_noise="score").expose(asked)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_counted_in_single(dtype):
    picture = torch.rand(1, 3, 4, 4).to(dtype)
    expected = optics.Sensor()(picture.float(), generator=_generator())
    assert torch.equal(optics.Sensor()(picture, generator=_generator()), expected)
    many = optics.Sensor(2e5).electrons(picture)
    assert torch.equal(many, optics.Sensor(2e5).electrons(picture.float()))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_what_is_no_irradiance_is_refused(dtype):
    picture = torch.ones(1, 3, 4, 4, dtype=dtype)
    sensor = optics.Sensor(shot_noise="score")
    for read in (sensor, sensor.expose, sensor.electrons):
        with pytest.raises(ValueError, match=rf"irradiance must be real .* not {dtype}: .*/ 255"):
            read(picture)


def test_a_copy_of_a_full_sensor_reads_the_same():
    sensor = optics.Sensor(
        prnu=0.01, dsnu=1.0, resolution=8, cfa="bggr", demosaicing="malvar", trainable_gain=True,
        generator=_generator(),
    )  # fmt: skip
    picture = torch.rand(1, 3, 8, 8)
    expected = sensor(picture, generator=_generator())
    assert torch.equal(copy.deepcopy(sensor)(picture, generator=_generator()), expected)
    assert {*sensor.state_dict()} == {"log_gain", "prnu_map", "dsnu_map"}


def test_units_are_printed():
    text = repr(optics.Sensor(1234, full_well=9000, bit_depth=None))
    assert "photons=1234/pixel" in text
    assert "read_noise=2 e- RMS" in text
    assert "full_well=9000 e-" in text
    assert "bit_depth=not rounded" in text
    text = repr(optics.Sensor(gain=4, black_level=64, prnu=0.01, resolution=4, cfa="rggb"))
    assert "gain=4 e-/DN, black_level=64 DN, prnu=0.01 RMS, binning=1" in text
    assert "rg/gb" in text
    assert "gain=learned" in repr(optics.Sensor(trainable_gain=True))


def test_a_well_that_is_full_too_early_is_told():
    # 11 000 electrons at irradiance 1, of which a well of 6000 holds 0.545: light above is lost
    # whatever the gain, and the light below is read as it is.
    options = {"full_well": 6000, "read_noise": 0.0, "shot_noise": "none", "bit_depth": None}
    with pytest.warns(
        UserWarning, match=r"11000 elec.*saturate at irradiance 0\.545 .*up to 10909.* gain"
    ):
        sensor = optics.Sensor(20_000, quantum_efficiency=0.55, **options)
    light = torch.tensor([0.2, 0.5, 0.6, 1.0], dtype=torch.float64)
    expected = torch.tensor([0.2, 0.5, 6 / 11, 6 / 11], dtype=torch.float64)
    torch.testing.assert_close(sensor(light), expected)
    # Silent: photons that fit, and a gain that is meant, here the full well at the top code.
    optics.Sensor(20_000, quantum_efficiency=0.3, **options)
    sensor = optics.Sensor(20_000, quantum_efficiency=0.55, gain=6000.0, **options)
    torch.testing.assert_close(sensor(light), (light * 11 / 6).clamp_max(1))
    # Two exposures share the light, so that what is said of one does not happen.
    with pytest.warns(UserWarning, match="11000 electrons in one exposure of the whole time"):
        sensor = optics.Sensor(20_000, quantum_efficiency=0.55, **options)
    twice = torch.full((1, 2, 1, 1), 0.5)
    torch.testing.assert_close(sensor(twice, exposures=2), twice)


_BARE = {"read_noise": 0.0, "shot_noise": "none", "bit_depth": None}


def test_a_dark_current_that_fills_the_range_is_told():
    # 180 electrons reach the top code, of which 100 are there in the dark.
    warm = {"dark_current": 100.0, "exposure_time": 1.0}
    light = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    said = r"180 elec.* 100.* black reads 0\.556, and light above 0\.444 reads 1"
    with pytest.warns(UserWarning, match=said):
        sensor = optics.Sensor(300, **warm, **_BARE)
    torch.testing.assert_close(sensor(light), (light + 100 / 180).clamp_max(1))
    # Four pixels that are read as one share its range.
    with pytest.warns(UserWarning, match=said):
        optics.Sensor(300, binning=2, **warm, **_BARE)
    with pytest.warns(UserWarning, match="200.* black reads 1, and any light"):
        optics.Sensor(300, dark_current=200.0, exposure_time=1.0, **_BARE)
    # The least light of a range has the narrowest, if the gain follows: 60 photons, 36 electrons.
    cool = {"dark_current": 10.0, "exposure_time": 1.0, "photon_range": (60.0, 300.0)}
    with pytest.warns(UserWarning, match="with 60 photons/pixel 36 elec.* black reads 0.278"):
        optics.Sensor(300, **cool, **_BARE)
    # Silent: a quarter at most, and a gain that is meant.
    optics.Sensor(300, automatic_gain=False, **cool, **_BARE)
    optics.Sensor(300, dark_current=45.0, exposure_time=1.0, **_BARE)
    optics.Sensor(300, gain=200.0, **warm, **_BARE)


def test_a_well_that_more_light_fills_is_told():
    light = torch.tensor([0.1, 0.2, 0.5, 0.8], dtype=torch.float64)
    sensor = optics.Sensor(1000, full_well=600, **_BARE)
    told = (
        r"4000 photons.* 2400 electrons.* saturate at irradiance 0\.25 and read 0\.25\. "
        r"Give up to 1000 ph"
    )
    with pytest.warns(UserWarning, match=told), sensor.under(4000):
        torch.testing.assert_close(sensor(light), light.clamp_max(0.25))
    # The codes are spent on the well: it is full where the range ends, until the gain follows.
    spent = optics.Sensor(2000, full_well=600, gain=600.0, **_BARE)
    torch.testing.assert_close(spent(light), (2 * light).clamp_max(1))
    told = r"saturate at irradiance 0\.25 and read 0\.5\. Give up to 2000 photons/pixel$"
    with pytest.warns(UserWarning, match=told), spent.under(4000):
        torch.testing.assert_close(spent(light), (2 * light).clamp_max(0.5))
    # What is full already, and was told or meant, is not told again.
    with pytest.warns(UserWarning, match=r"or the gain that is meant"):
        full = optics.Sensor(4000, full_well=600, **_BARE)
    with full.under(8000):
        torch.testing.assert_close(full(light), light.clamp_max(0.125))
    # A gain that stays ends the range where it ended it before, below the well or above it.
    staying = optics.Sensor(1000, full_well=600, automatic_gain=False, **_BARE)
    with staying.under(4000):
        torch.testing.assert_close(staying(light), (4 * light).clamp_max(1))
    options = {"photon_range": (1000, 3000), "automatic_gain": False}
    optics.Sensor(2000, full_well=1300, **options)  # 1200 electrons are the top code in all light
    with pytest.warns(
        UserWarning, match=r"irradiance 0\.556 and read 0\.833\. Give up to 1666\.67 ph"
    ):
        optics.Sensor(2000, full_well=1000, **options)
    with pytest.warns(
        UserWarning, match=r"3000 photons.* 1800 electrons.* irradiance 0\.833 and read 0\.5\."
    ):
        optics.Sensor(2000, full_well=1500, photon_range=(1000, 3000), gain=2000.0, **_BARE)


@pytest.mark.parametrize("automatic", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gain": 500.0},
        {"gain": 900.0, "trainable_gain": True},
        {"gain": 3000.0, "binning": 2, "black_level": 0.25},
        {"quantum_efficiency": (0.3, 0.6, 0.5)},
    ],
)
def test_a_light_is_held_where_the_well_takes_nothing_from_full_scale(options, automatic):
    """Against the same sensor without a well."""
    grey = torch.ones(1, 3, 2, 2, dtype=torch.float64)
    held = set()
    for photons in (500, 1000, 1500, 4000):
        readings = []
        for well in (None, 620.0):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sensor = optics.Sensor(
                    1000, full_well=well, automatic_gain=automatic, **_BARE, **options
                )
                with sensor.under(photons):
                    readings.append(sensor(grey).detach())
        same = torch.equal(*readings)
        assert sensor.holds(photons) == same
        held.add(same)
    assert len(held) == 2 or not automatic
    with pytest.raises(ValueError, match=r"photons=0 is out of range"):
        sensor.holds(0)


_RGB = (0.45, 0.55, 0.40)
_EXACT = {"read_noise": 0.0, "shot_noise": "none", "bit_depth": None}


@pytest.mark.parametrize("exposures", [1, 2])
def test_channels_have_quantum_efficiencies_of_their_own(exposures):
    grey = torch.full((1, 3 * exposures, 4, 4), 0.8, dtype=torch.float64)
    several = torch.tensor(_RGB * exposures, dtype=torch.float64)[:, None, None].expand(-1, 4, 4)
    for given_as in (_RGB, list(_RGB), torch.tensor(_RGB), np.array(_RGB)):
        sensor = optics.Sensor(1000, quantum_efficiency=given_as, dark_current=100, **_EXACT)
        electrons = sensor.electrons(grey, exposures=exposures)
        torch.testing.assert_close(electrons[0], 800 * several + 1 / exposures, rtol=1e-6, atol=0)
    # The most sensitive channel fills the range.
    sensor = optics.Sensor(1000, quantum_efficiency=_RGB, **_EXACT)
    reading = sensor(grey, exposures=exposures)[0]
    torch.testing.assert_close(reading, 0.8 * several / 0.55, rtol=1e-6, atol=0)
    balanced = optics.Sensor(1000, quantum_efficiency=_RGB, white_balance=True, **_EXACT)
    torch.testing.assert_close(balanced(grey, exposures=exposures), grey, rtol=1e-6, atol=0)
    # No channel reads more than white.
    assert float(balanced(2 * grey, exposures=exposures).max()) == 1
    assert "quantum_efficiency=(0.45, 0.55, 0.4), " in repr(sensor)
    assert "white_balance=True" in repr(balanced)
    assert not balanced.state_dict()
    with pytest.raises(
        ValueError, match=r"each of 3 channels, and takes irradiance \[B, 1 exposures \* 3"
    ):
        sensor(torch.ones(1, 4, 4, 4))


@pytest.mark.parametrize("demosaicing", ["bilinear", "malvar"])
def test_colours_of_a_mosaic_have_quantum_efficiencies_of_their_own(demosaicing):
    options = {"cfa": "GBRG", "demosaicing": demosaicing, "quantum_efficiency": _RGB, **_EXACT}
    sensor = optics.Sensor(1000, **options)
    light = torch.rand(2, 6, 8, 8, generator=_generator(), dtype=torch.float64)
    # The same as a neutral sensor behind light that is weakened so.
    shares = torch.tensor(_RGB * 2, dtype=torch.float64)[:, None, None] / 0.55
    neutral = optics.Sensor(1000, **options | {"quantum_efficiency": 0.55})
    expected = neutral(light * shares, exposures=2)
    torch.testing.assert_close(sensor(light, exposures=2), expected, rtol=1e-6, atol=1e-7)
    # Balanced before the interpolation, which mixes colours: as if all were alike.
    balanced = optics.Sensor(1000, white_balance=True, **options)
    expected = neutral(light, exposures=2)
    torch.testing.assert_close(balanced(light, exposures=2), expected, rtol=1e-6, atol=1e-6)


def test_white_balance_multiplies_the_noise_and_passes_the_gradient():
    options = {"quantum_efficiency": (0.2, 0.6), "shot_noise": "none", "bit_depth": None}
    sensor = optics.Sensor(1000, read_noise=6, white_balance=True, **options)
    light = torch.full((1, 2, 300, 300), 0.5, requires_grad=True)
    reading = sensor(light, generator=_generator())
    assert [float(c.std()) for c in reading[0].detach()] == pytest.approx([0.03, 0.01], rel=0.02)
    reading.sum().backward()
    torch.testing.assert_close(light.grad, torch.ones_like(light))


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"binning": 2},
        {"cfa": "rggb", "demosaicing": "none"},
        {"black_level": 0.2},
    ],
)
def test_white_is_grey_where_the_well_fills_below_the_top_code(options, learned):
    pixels = options.get("binning", 1) ** 2
    span = 1 - options.get("black_level", 0)
    sensor = optics.Sensor(
        2000, quantum_efficiency=(0.3, 0.6, 0.2), white_balance=True, full_well=800,
        gain=pixels * 1000 / span, trainable_gain=learned, **_EXACT | options,
    )  # fmt: skip
    for level, expected in ((0.5, 0.6), (2 / 3, 0.8), (0.9, 0.8), (1.0, 0.8), (9.0, 0.8)):
        for exposures in (1, 2):
            light = torch.full((1, 3 * exposures, 4, 4), level)
            read = sensor(light, exposures=exposures).detach()
            torch.testing.assert_close(read, torch.full_like(read, expected))
    if learned:  # of what is full as of what is not: both stand at a charge over the gain
        for level, expected in ((0.5, 0.6), (1.0, 0.8)):
            read = sensor(torch.full((1, 3, 4, 4), level))
            (slope,) = torch.autograd.grad(read.mean(), sensor.log_gain)
            assert slope.item() == pytest.approx(-expected, rel=1e-5)


def test_balanced_pictures_of_a_range_keep_what_the_well_holds_in_the_least_light():
    sensor = optics.Sensor(
        1000, photon_range=(500, 1000), quantum_efficiency=(0.3, 0.6), white_balance=True,
        full_well=450, gain=600.0, **_EXACT,
    )  # fmt: skip
    white = torch.ones(64, 2, 1, 1)
    read = sensor(white, generator=_generator())
    # Of 300 to 600 electrons a well of 450 is from 1 to 0.75 of the range.
    assert read[:, 1].min() < 0.8
    assert read[:, 1].max() > 0.99
    assert read.max() == 1


def test_the_channel_that_is_full_is_named():
    options = {"quantum_efficiency": (0.3, 0.6), "full_well": 800, **_EXACT}
    light = torch.full((1, 2, 1, 1), 0.9, dtype=torch.float64)
    told = r"saturate at irradiance 0\.667, in the most sensitive channel, and read 0\.667"
    with pytest.warns(UserWarning, match=told):
        sensor = optics.Sensor(2000, **options)
    assert sensor(light).flatten().tolist() == pytest.approx([0.45, 2 / 3])
    with pytest.warns(UserWarning, match=r"saturate at irradiance 0\.667 and read 0\.667"):
        sensor = optics.Sensor(2000, white_balance=True, **options)
    assert sensor(light).flatten().tolist() == pytest.approx([2 / 3, 2 / 3])
    # Of a range it is in its least light that balanced channels are full at once, and the well
    # stands higher on the range of the converter there: the weak one reads on in more light.
    with pytest.warns(UserWarning, match=told):
        ranged = optics.Sensor(2000, photon_range=(1000, 2000), white_balance=True, **options)
    read = ranged.from_codes(sensor.codes(light))  # codes of its most light
    assert read.flatten().tolist() == pytest.approx([0.9, 2 / 3])
    with pytest.warns(UserWarning, match=r"saturate at irradiance 0\.667 and read 0\.667"):
        optics.Sensor(
            2000, photon_range=(1000, 2000), automatic_gain=False, white_balance=True, **options
        )
    ranged = optics.Sensor(1000, photon_range=(500, 1000), white_balance=True, **options)
    with (
        pytest.warns(UserWarning, match=r"saturate at irradiance 0\.667 and read 0\.667"),
        ranged.under(2000),
    ):
        assert ranged(light).flatten().tolist() == pytest.approx([2 / 3, 2 / 3])
    assert ranged.photon_range == (500, 1000)
    with (
        warnings.catch_warnings(action="error"),
        pytest.raises(UserWarning, match="pixels saturate at irradiance"),
        ranged.under(2000),
    ):
        pass
    assert (ranged.photon_range, ranged.photons) == ((500, 1000), 1000)


# A camera's colours to sRGB; rows sum to 1.
_MATRIX = torch.tensor([[1.9, -0.8, -0.1], [-0.3, 1.5, -0.2], [0.2, -0.7, 1.5]])


@pytest.mark.parametrize("exposures", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cfa": "rggb"},
        {"cfa": "grbg", "demosaicing": "malvar"},
        {"quantum_efficiency": _RGB, "white_balance": True},
        {"cfa": "rggb", "quantum_efficiency": _RGB, "white_balance": True, "black_level": 0.25},
        {"binning": 2, "bit_depth": 8, "black_level": 16},
    ],
)
def test_colours_are_corrected_last_in_each_exposure(options, exposures):
    given = {"read_noise": 4.0, "bit_depth": None} | options
    light = torch.rand(2, 3 * exposures, 8, 8, generator=_generator(), dtype=torch.float64)
    plain, corrected = (
        optics.Sensor(1000, colour_matrix=matrix, **given)(
            light, exposures=exposures, generator=_generator(1)
        )
        for matrix in (None, _MATRIX)
    )
    for each in range(exposures):
        part = slice(3 * each, 3 * each + 3)
        expected = np.einsum("kc,bchw->bkhw", _MATRIX.double().numpy(), plain[:, part].numpy())
        np.testing.assert_allclose(corrected[:, part], expected, rtol=1e-12, atol=1e-12)
    assert corrected.dtype == torch.float64
    assert corrected.min() < 0  # out of the gamut: clipped in a picture, not here


@pytest.mark.parametrize("options", [{}, {"full_well": 450, "gain": 1000.0}])
def test_white_stays_white_behind_a_colour_matrix_also_where_it_saturates(options):
    sensor = optics.Sensor(
        1000, quantum_efficiency=_RGB, white_balance=True, colour_matrix=_MATRIX, **_EXACT | options
    )
    full = 0.45 if options else 1.0
    slope = 0.55 if options else 1.0
    for level in (0.0, 0.2, 0.7, 1.0, 5.0):
        read = sensor(torch.full((1, 3, 2, 2), level, dtype=torch.float64))
        expected = min(slope * level, full)
        torch.testing.assert_close(read, torch.full_like(read, expected), rtol=1e-6, atol=1e-7)


def test_a_black_level_is_not_in_the_corrected_colours():
    # Rows that do not sum to 1 would show a black level that was left in.
    sensor = optics.Sensor(
        1000, black_level=64, read_noise=4, colour_matrix=3 * _MATRIX, shot_noise="none"
    )
    dark = sensor(torch.zeros(1, 3, 200, 200), generator=_generator())
    noise = (4**2 + sensor.gain**2 / 12) ** 0.5 / (sensor.gain * (1023 - 64))
    spread = 3 * noise * _MATRIX.norm(dim=1)
    assert (dark.mean((0, 2, 3)).abs() < 4 * spread / 200).all()
    assert torch.allclose(dark.std((0, 2, 3)), spread, rtol=0.02)


def test_a_colour_matrix_is_learned_by_the_parameter_that_is_given():
    matrix = torch.nn.Parameter(torch.eye(3))
    sensor = optics.Sensor(1e5, cfa="rggb", bit_depth=None, colour_matrix=matrix)
    assert dict(sensor.named_parameters()) == {"colour_matrix": matrix}
    assert sensor.colour_matrix is matrix
    assert "colour_matrix=learned" in repr(sensor)
    light = 0.2 + 0.6 * torch.rand(4, 3, 8, 8, generator=_generator())
    wanted = optics.mix_colours(optics.Sensor(1e5, cfa="rggb", **_EXACT)(light), _MATRIX)
    optimiser = torch.optim.Adam([matrix], lr=0.05)
    for step in range(300):
        loss = (sensor(light, generator=_generator(step)) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.allclose(matrix.detach(), _MATRIX, atol=0.05)


def test_a_colour_matrix_is_a_part_of_the_state():
    sensor = optics.Sensor(colour_matrix=_MATRIX)
    assert not list(sensor.parameters())
    assert "colour_matrix=given" in repr(sensor)
    other = optics.Sensor(colour_matrix=torch.eye(3))
    other.load_state_dict(sensor.state_dict())
    assert torch.equal(other.colour_matrix, _MATRIX)
    assert "colour_matrix" not in repr(optics.Sensor()) + str(optics.Sensor().state_dict())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"colour_matrix": [[1.0]]}, TypeError, "colour_matrix must be a Tensor"),
        (
            {"colour_matrix": torch.rand(3, 4)},
            ValueError,
            r"\[C, C\], from the C channels of the sensor to as many, not .* \[3, 4\]: with "
            r"another matrix, multiply the picture behind the sensor, mix_colours",
        ),
        ({"colour_matrix": torch.eye(3).long()}, ValueError, "must be floating point"),
        ({"colour_matrix": _MATRIX / 0}, ValueError, "colour_matrix must be finite"),
        (
            {"colour_matrix": torch.nn.Parameter(_MATRIX) / 2},
            ValueError,
            r"is computed from what is trained.*give matrix.detach\(\), or nn.Parameter",
        ),
        (
            {"colour_matrix": _MATRIX, "cfa": "rggb", "demosaicing": "packed"},
            ValueError,
            "needs all colours of each pixel, but demosaicing='packed' returns the mosaic",
        ),
        (
            {"colour_matrix": torch.eye(4), "cfa": "rggb"},
            ValueError,
            r"colour_matrix is \[4, 4\], but the sensor has 3 channels: give \[3, 3\]",
        ),
        (
            {"colour_matrix": _MATRIX, "quantum_efficiency": (0.3, 0.4)},
            ValueError,
            "the sensor has 2 channels",
        ),
    ],
)
def test_a_colour_matrix_has_to_fit(options, error, message):
    with pytest.raises(error, match=message):
        optics.Sensor(**options)


@pytest.mark.parametrize(("shape", "exposures"), [((1, 4, 2, 2), 1), ((1, 3, 2, 2), 3), ((3,), 1)])
def test_a_picture_without_the_channels_of_a_colour_matrix_is_refused(shape, exposures):
    with pytest.raises(
        ValueError,
        match=rf"colour_matrix is \[3, 3\], for pictures \[B, {exposures} exposures \* 3",
    ):
        optics.Sensor(colour_matrix=_MATRIX)(torch.rand(shape), exposures=exposures)


def test_several_quantum_efficiencies_are_as_exact_as_one():
    given = {"photons": 1e3, "read_noise": 0.0, "shot_noise": "none", "bit_depth": None}
    picture = torch.rand(1, 3, 4, 4, dtype=torch.float64) * 0.3
    several = optics.Sensor(quantum_efficiency=(0.3, 0.3, 0.3), **given)
    one = optics.Sensor(quantum_efficiency=0.3, **given)
    torch.testing.assert_close(several(picture), one(picture), rtol=1e-14, atol=0)
    grey = torch.full((1, 3, 2, 2), 0.5)
    for balance in (False, True):
        cast = optics.Sensor(quantum_efficiency=(0.1, 0.2, 0.3), white_balance=balance, **given)
        read = cast.bfloat16()(grey)
        torch.testing.assert_close(read[:, 2], grey[:, 2], rtol=1e-6, atol=0)
        balanced = grey if balance else grey * torch.tensor([1, 2, 3])[:, None, None] / 3
        torch.testing.assert_close(read, balanced, rtol=1e-6, atol=0)


def test_quantum_efficiencies_have_to_fit():
    with pytest.raises(ValueError, match=r"one number or 3, for the colours 'rgb' of the cfa, not"):
        optics.Sensor(quantum_efficiency=(0.4, 0.5), cfa="rggb")
    with pytest.raises(ValueError, match=r"give a fraction in \(0, 1\], or one for each channel"):
        optics.Sensor(quantum_efficiency=(0.4, 1.5, 0.2))
    with pytest.raises(ValueError, match="white_balance needs the quantum_efficiency of each"):
        optics.Sensor(white_balance=True)
    with pytest.raises(ValueError, match="one number, or one for each channel, not none"):
        optics.Sensor(quantum_efficiency=())


def test_arrays_seeds_and_no_exposure_are_refused():
    sensor, picture = optics.Sensor(dark_current=100), torch.rand(1, 3, 4, 4)
    with pytest.raises(TypeError, match=r"irradiance must be a Tensor, not ndarray: .*as_tensor"):
        sensor(picture.numpy())
    with pytest.raises(TypeError, match=r"generator must be one torch\.Generator, .* not 3: of a"):
        sensor(picture, generator=3)
    for exposures in (0, -1, 1.5):
        with pytest.raises(ValueError, match="exposures must be a whole number of at least 1, not"):
            sensor(picture, exposures=exposures)


@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.parametrize("converter", ["straight_through", "dithered"])
def test_a_sensor_compiles_to_one_graph(converter):
    sensor = optics.Sensor(cfa="rggb", black_level=10, converter=converter, trainable_gain=True)
    picture = torch.rand(1, 3, 8, 8, generator=_generator())
    results = []
    with torch.random.fork_rng():
        for run in (sensor, torch.compile(sensor, backend="aot_eager", fullgraph=True)):
            torch.manual_seed(0)
            light = picture.clone().requires_grad_()
            reading = run(light)
            reading.square().sum().backward()
            results.append((reading.detach(), light.grad))
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("converter", ["straight_through", "dithered"])
@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_a_generator_for_each_picture_makes_noise_independent_of_the_batch(kind, converter):
    sensor = optics.Sensor(500, full_well=400, shot_noise=kind, converter=converter)
    scene = torch.rand(4, 3, 9, 7, generator=_generator(1))
    sources = [_generator(10 + row) for row in range(4)]
    together = sensor(scene, generator=sources)
    for row in (2, 0, 3, 1):
        alone = sensor(scene[row : row + 1], generator=[_generator(10 + row)])
        assert torch.equal(alone[0], together[row])
    order = torch.tensor([3, 1, 0, 2])
    moved = sensor(scene[order], generator=[_generator(10 + int(row)) for row in order])
    assert torch.equal(moved, together[order])
    # One picture by itself sees what it would with a plain generator.
    assert torch.equal(sensor(scene[:1], generator=_generator(10))[0], together[0])
    with pytest.raises(ValueError, match=r"one for each picture: 3 were given .*\(4, 3, 9, 7\)"):
        sensor(scene, generator=sources[:3])


@pytest.mark.parametrize("trainable", [False, True])
def test_another_light_for_a_while_keeps_the_brightness(trainable):
    sensor = optics.Sensor(
        1000, read_noise=0.0, shot_noise="none", bit_depth=None, trainable_gain=trainable
    )
    scene = torch.rand(1, 3, 8, 8, generator=_generator())
    before, state = sensor(scene), {n: t.clone() for n, t in sensor.state_dict().items()}
    with sensor.under(40):
        torch.testing.assert_close(sensor(scene), before)
        torch.testing.assert_close(sensor.electrons(scene), scene * 40 * 0.6)
        sensor.shot_noise = "gaussian"
        flat = sensor(torch.full((1, 1, 400, 400), 0.5), generator=_generator())
        rms = (flat.detach() - 0.5).std()
        assert float(rms) == pytest.approx((0.5 / (40 * 0.6)) ** 0.5, rel=0.02)
        sensor.shot_noise = "none"
    assert sensor.photons == 1000
    assert torch.equal(sensor(scene), before)
    assert all(torch.equal(state[name], t) for name, t in sensor.state_dict().items())
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"photons=.* out of range"), sensor.under(wrong):
            pass


def test_a_bracket_gathers_dark_current_for_as_long_as_light():
    sensor = optics.Sensor(
        1000, quantum_efficiency=0.5, dark_current=300.0, exposure_time=0.1, automatic_gain=False,
        read_noise=0.0, shot_noise="none", bit_depth=None,
    )  # fmt: skip
    scene = torch.full((1, 1, 2, 2), 0.3)
    for part in (0.01, 0.25, 2):
        # Each of its exposures is of the camera with another time, whose gain is the same.
        with sensor.under(1000 * part, exposure_time=0.1 * part):
            expected = part * (0.3 * 1000 * 0.5 + 300 * 0.1)
            torch.testing.assert_close(sensor.electrons(scene), torch.full_like(scene, expected))
            torch.testing.assert_close(sensor(scene), torch.full_like(scene, expected / 500))
            with sensor.under(1000):  # the time stays, of which nothing is said
                assert sensor.exposure_time == 0.1 * part
        assert sensor.exposure_time == 0.1
    with pytest.raises(RuntimeError), sensor.under(500, exposure_time=0.05):
        raise RuntimeError
    assert (sensor.photons, sensor.exposure_time) == (1000, 0.1)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with (
            pytest.raises(ValueError, match=r"exposure_time=.* out of range; give a pos"),
            sensor.under(500, exposure_time=wrong),
        ):
            pass
    for wrong in ("long", (0.1, 0.2)):
        with (
            pytest.raises(TypeError, match="exposure_time must be one number"),
            sensor.under(500, exposure_time=wrong),
        ):
            pass
    assert (sensor.photons, sensor.exposure_time) == (1000, 0.1)


@pytest.mark.parametrize("trainable", [False, True])
def test_a_black_level_that_less_light_outgrows_is_warned_of(trainable):
    options = {"read_noise": 3.0, "bit_depth": 12, "trainable_gain": trainable}
    sensor = optics.Sensor(2000, black_level=64, **options)  # six read noises
    with sensor.under(1500), sensor.under(1200):
        pass
    with (
        pytest.warns(
            UserWarning, match=r"30 photons/pixel .* DN, and black_level=64 is only 0\.095"
        ),
        sensor.under(30),
    ):
        pass
    assert sensor.photons == 2000
    # None has nothing that it could lose, and one that was too low holds still less of the noise.
    with optics.Sensor(2000, black_level=0, **options).under(30):
        pass
    with pytest.warns(UserWarning, match=r"black_level=16 is only 0\.235 times"):
        low = optics.Sensor(300, black_level=16, **options)
    with low.under(300), low.under(900):
        pass
    with pytest.warns(UserWarning, match=r"black_level=16 is only 0\.00785 times"), low.under(10):
        pass


@pytest.mark.parametrize(("read_noise", "told"), [(15.9, True), (15.6, False)])
def test_a_black_level_of_less_than_half_a_read_noise_is_none(read_noise, told):
    # 120 electrons on 960 codes: the 63 in front are 7.9 electrons.
    options = {"photons": 200, "read_noise": read_noise, "bit_depth": 10}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optics.Sensor(black_level=63, **options)
    assert [str(each.message).split(" that:")[0] for each in caught] == [
        "with 200 photons/pixel the read noise is 127 DN, and black_level=63 is only 0.495 times"
    ] * told
    assert [each.filename for each in caught] == [__file__] * told
    assert all("the gain that the camera has, e-/DN" in str(each.message) for each in caught)
    # Who gives no black level has none to lose, and who gives a gain knows what it does.
    optics.Sensor(**options)
    optics.Sensor(black_level=63, gain=120 / 960, **options)


def test_the_gain_of_a_camera_reads_the_light_that_there_is():
    """Of few photons, where the gain by default spreads the noise over all codes, and cuts it."""
    light = torch.full((1, 1, 300, 300), 0.999, dtype=torch.float64)
    camera = {"photons": 26, "read_noise": 12.0, "bit_depth": 10}
    fixed = optics.Sensor(full_well=5000, gain=5000 / (1023 - 64), black_level=64, **camera)
    with pytest.warns(UserWarning, match="the read noise is 775 DN"):
        spread = optics.Sensor(black_level=16, **camera)
    # Shot noise and read noise, in parts of full scale, from 0 to which a read-out is clipped.
    for sensor, scale, black in ((spread, 26 * 0.6, 16), (fixed, 5000, 64)):
        below = -black / (1023 - black)
        for level in (light, 0 * light):
            seen = sensor(level, generator=_generator())
            mean = 26 * 0.6 * float(level.mean())
            law = stats.norm(mean / scale, math.hypot(mean**0.5, 12.0) / scale)
            expected = law.expect(lambda x, low=below: np.clip(x, low, 1))
            error = 5 * float(law.std()) / 300
            assert float(seen.mean()) == pytest.approx(expected, abs=error)
    assert float(spread(light).mean()) < 0.8


def test_what_a_black_level_helps_is_averaged_before_it_is_clipped():
    # Of noise s, half is clipped away at 0: the mean of what is left is s / sqrt(2 pi).
    size, noise = 512, 0.02
    options = {"read_noise": 1.0, "gain": 1 / noise, "shot_noise": "none", "bit_depth": None}
    dark = torch.zeros(1, 3, size, size, dtype=torch.float64)
    clipped = noise / math.sqrt(2 * math.pi)

    def means(black, **more):
        sensor = optics.Sensor(50, black_level=black, **options, **more)
        seen = sensor(dark, generator=_generator()) * (1 - black)  # a gain stays, in e-/DN
        return float(seen.mean()), float(seen.clamp_min(0).mean())

    error = 5 * noise / math.sqrt(dark.numel())
    for black, expected in ((0, clipped), (0.25, 0.0)):
        mean, picture = means(black)
        assert mean == pytest.approx(expected, abs=error)
        assert picture == pytest.approx(clipped, abs=error)
    # Bilinear interpolation averages 1, 2 or 4 samples: with green at half of the pixels, red and
    # blue at a quarter, (1 + 1 / 2) / 2 and (1 + 2 / sqrt(2) + 1 / 2) / 4 of the noise.
    left = ((1 + 1 / 2) / 2 + 2 * (1 + math.sqrt(2) + 1 / 2) / 4) / 3
    # Neighbours share samples: nine in the place of one.
    mosaic = {"cfa": "rggb", "demosaicing": "bilinear"}
    for black, expected in ((0, clipped), (0.25, left * clipped)):
        assert means(black, **mosaic)[1] == pytest.approx(expected, abs=3 * error)


@pytest.mark.parametrize(
    "options",
    [
        {"black_level": 64},
        {"bit_depth": None},
        {"bit_depth": 12, "black_level": 16, "binning": 2},
        {"cfa": "rggb", "black_level": 32, "demosaicing": "malvar"},
        {"cfa": "gbrg", "black_level": 32, "demosaicing": "packed"},
        {"cfa": "rggb", "demosaicing": "none"},
        {
            "cfa": "rggb",
            "quantum_efficiency": (0.5, 0.6, 0.4),
            "white_balance": True,
            "black_level": 8,
        },
        {"colour_matrix": torch.eye(3) + 0.3 * torch.eye(3).roll(1, 0), "black_level": 8},
    ],
)
@pytest.mark.parametrize("exposures", [1, 2])
def test_a_measurement_is_made_of_codes_as_a_camera_writes_them(options, exposures):
    sensor = optics.Sensor(500, **options)
    light = torch.rand(2, 3 * exposures, 8, 8, generator=torch.Generator().manual_seed(0))
    draws = [torch.Generator().manual_seed(1) for _ in range(2)]
    codes = sensor.codes(light, exposures=exposures, generator=draws[0])
    assert codes.shape[1] == (exposures if sensor.cfa is not None else 3 * exposures)
    if sensor.bit_depth is not None:
        assert torch.equal(codes, codes.round())
        assert codes.min() >= 0
        assert codes.max() <= sensor.top
        # Codes of integers, as they are in a file, are no light.
        with pytest.raises(ValueError, match=r"give codes.float\(\), not torch.int32"):
            sensor.from_codes(codes.int(), exposures=exposures)
    wanted = sensor(light, exposures=exposures, generator=draws[1])
    assert torch.equal(sensor.from_codes(codes, exposures=exposures), wanted)


@pytest.mark.parametrize("wrong", [-3.0, 1024.0, 16383.0, math.nan, math.inf])
def test_codes_of_another_converter_are_refused(wrong):
    codes = torch.full((1, 1, 4, 4), 500.0)
    codes[0, 0, 1, 2] = wrong
    for sensor in (optics.Sensor(), optics.Sensor(cfa="rggb")):
        with pytest.raises(ValueError, match=r"within 0 to 1023 DN, the range of bit_depth=10; th"):
            sensor.from_codes(codes)
    with pytest.raises(ValueError, match=r"of the camera, and leave the black level in the codes$"):
        sensor.from_codes(codes)
    assert optics.Sensor().from_codes(torch.zeros(0, 1, 4, 4)).shape == (0, 1, 4, 4)


# --------------------------------------------------------------------- the mosaic as it was read


@pytest.mark.parametrize("exposures", [1, 2])
def test_a_mosaic_is_packed_or_left_as_it_was_read(exposures):
    options = {"cfa": "grbg", "black_level": 64, "dark_current": 100.0}
    light = torch.rand(2, 3 * exposures, 6, 8, generator=_generator())
    read = {
        name: optics.Sensor(300, demosaicing=name, **options)(
            light, exposures=exposures, generator=_generator()
        )
        for name in ("bilinear", "packed", "none")
    }
    assert read["none"].shape == (2, exposures, 6, 8)
    assert torch.equal(read["packed"], torch.nn.functional.pixel_unshuffle(read["none"], 2))
    for number in range(exposures):
        # The same read-out, of which the interpolation keeps what each pixel measured itself.
        full = read["bilinear"][:, 3 * number : 3 * number + 3]
        own = read["none"][:, number : number + 1]
        assert torch.equal(optics.mosaic(full, "grbg"), own)


def test_white_balance_is_that_of_the_pixels_own_colour():
    options = {"quantum_efficiency": _RGB, "white_balance": True, **_EXACT}
    grey = torch.full((1, 3, 4, 4), 0.25)
    for name in ("packed", "none"):
        read = optics.Sensor(cfa="rggb", demosaicing=name, **options)(grey)
        torch.testing.assert_close(read, torch.full_like(read, 0.25))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"binning": 2},
        {"cfa": "rggb"},
        {"cfa": "rggb", "demosaicing": "malvar"},
        {"cfa": "rggb", "demosaicing": "packed"},
        {"cfa": ("rrgg", "rrgg", "ggbb", "ggbb"), "demosaicing": "packed"},
        {"cfa": "rggb", "demosaicing": "none"},
    ],
)
@pytest.mark.parametrize("exposures", [1, 3])
def test_the_shape_of_a_picture_is_known_before_it_is_taken(options, exposures):
    sensor = optics.Sensor(**options)
    taken = sensor(torch.rand(1, 3 * exposures, 8, 12), exposures=exposures)
    assert sensor.picture_shape(3 * exposures, 8, 12) == taken.shape[1:]


def test_a_mosaic_that_cannot_be_handed_on_is_refused():
    for name in ("packed", "none"):
        with pytest.raises(ValueError, match=rf"demosaicing='{name}' .* give cfa, such as 'rggb'"):
            optics.Sensor(demosaicing=name)
    packed = optics.Sensor(cfa="rggb", demosaicing="packed")
    with pytest.raises(ValueError, match=r"whole periods of 2 x 2 pixels to be packed"):
        packed(torch.rand(1, 3, 5, 6))
    with pytest.raises(ValueError, match=r"packed mosaic needs .* 2 x 2 pixels, not 5 x 6"):
        packed.picture_shape(3, 5, 6)
    with pytest.raises(ValueError, match=r"binning needs pictures of whole blocks of 3 x 3"):
        optics.Sensor(binning=3).picture_shape(3, 6, 7)
    with pytest.raises(ValueError, match=r"3 colours needs 3 channels .* not 4"):
        packed.picture_shape(4, 6, 6)


@pytest.mark.parametrize(
    ("demosaicing", "cfa"),
    [("malvar", "rggb"), ("bilinear", "rggb"), ("none", "rggb"), ("bilinear", ("rgb", "gbr"))],
)
def test_a_mosaic_has_no_shape_where_it_makes_no_picture(demosaicing, cfa):
    sensor = optics.Sensor(cfa=cfa, demosaicing=demosaicing)
    for size in itertools.product(range(1, 6), repeat=2):
        try:
            made = sensor(torch.rand(1, 3, *size)).shape[1:]
        except ValueError:
            with pytest.raises(ValueError, match=rf"'{demosaicing}' needs pictures of at least"):
                sensor.picture_shape(3, *size)
        else:
            assert sensor.picture_shape(3, *size) == made


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ({"prnu": torch.tensor([[0.01, math.nan]])}, "prnu must be finite, in fractions; it has"),
        ({"dsnu": torch.tensor([[1.0, math.inf]])}, "dsnu must be finite, in electrons; it has"),
        ({"prnu": torch.tensor([[1.01, 0.99]])}, r"prnu is .* of 1\.00005.*1 from a map of gains"),
        (
            {"prnu": torch.tensor([[1.5, -1.5]])},
            r"prnu is .* of 1\.5.*1 % of a data sheet is 0\.01",
        ),
    ],
)
def test_measured_patterns_of_no_sensor_are_refused(pattern, message):
    with pytest.raises(ValueError, match=message):
        optics.Sensor(**pattern)


def test_exposures_divide_the_channels_of_a_picture():
    sensor = optics.Sensor(dark_current=100)
    with pytest.raises(ValueError, match=r"exposures=2 .* \[B, 2 \* C, H, W\], not \(1, 3, 4, 4\)"):
        sensor(torch.ones(1, 3, 4, 4), exposures=2)
    with pytest.raises(ValueError, match=r"exposures=2 .* \[B, 2 \* C, H, W\], not \(1, 3, 4, 4\)"):
        sensor.from_codes(torch.ones(1, 3, 4, 4), exposures=2)


def test_codes_behind_a_mosaic_are_one_channel_an_exposure():
    sensor = optics.Sensor(cfa="rggb")
    for exposures, codes in ((1, torch.ones(2, 3, 8, 8)), (2, torch.ones(2, 1, 8, 8))):
        with pytest.raises(ValueError, match=rf"\[B, {exposures}, H, W\] mosaics.*, not \(2, "):
            sensor.from_codes(codes, exposures=exposures)
    with pytest.raises(ValueError, match=r"\[B, 1, H, W\] mosaics.*, not \(8, 8\)"):
        sensor.from_codes(torch.ones(8, 8))


# ------------------------------------------------------------------------------ a range of light

_RANGE = {"read_noise": 3.0, "bit_depth": 12, "dark_current": 200.0, "photon_range": (30.0, 3000.0)}


def _lights(sensor, count=1, seed=0):
    """What pictures of irradiance 1 come to without noise, in a gain that stays."""
    bare = optics.Sensor(
        sensor.photons, photon_range=sensor.photon_range, automatic_gain=False, read_noise=0,
        bit_depth=None, gain=1e4, shot_noise="none",
    )  # fmt: skip
    codes = bare.codes(torch.ones(count, 1, 1, 1, dtype=torch.float64), generator=_generator(seed))
    return codes.flatten() * 1e4 / bare.quantum_efficiency


@pytest.mark.parametrize(
    "options",
    [
        {"black_level": 400},
        {"black_level": 400, "trainable_gain": True, "shot_noise": "poisson"},
        {"black_level": 400, "converter": "dithered"},
        {"binning": 2, "full_well": 1500.0, "gain": 0.5},
        {"cfa": "rggb", "demosaicing": "malvar"},
    ],
)
@pytest.mark.parametrize("automatic", [True, False])
def test_a_picture_of_a_range_is_that_of_a_sensor_at_its_light(options, automatic):
    options = {**_RANGE, **options, "automatic_gain": automatic}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranging = optics.Sensor(300, **options)
    scene = torch.rand(1, 3, 8, 8, dtype=torch.float64, generator=_generator(1)).requires_grad_()
    source = _generator(5)
    torch.rand(1, dtype=torch.float64, generator=source)  # the light is drawn first
    light = float(_lights(ranging, seed=5))
    assert 30 < light < 3000
    got = ranging(scene, exposures=1, generator=_generator(5))
    slope = torch.autograd.grad(got.square().sum(), scene)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fixed = optics.Sensor(300, **{**options, "photon_range": None})
        with fixed.under(light):
            expected = fixed(scene, generator=source)
            other = torch.autograd.grad(expected.square().sum(), scene)[0]
    # A learned gain is held in float32.
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(slope, other, rtol=1e-5, atol=1e-5)
    assert slope.any()


def test_the_light_of_a_range_is_even_in_its_logarithm():
    sensor = optics.Sensor(300, **_RANGE)
    drawn = _lights(sensor, 5000).numpy()
    law = stats.loguniform(30, 3000)
    assert stats.kstest(drawn, law.cdf).pvalue > 0.01
    assert sensor.mean_photons == pytest.approx(law.mean(), rel=1e-12)
    assert optics.Sensor(300).mean_photons == 300


def test_a_gain_that_follows_keeps_pictures_as_bright():
    options = {"shot_noise": "none", "read_noise": 0, "bit_depth": None}
    pictures = torch.full((4000, 1, 2, 2), 0.5, dtype=torch.float64)
    following = optics.Sensor(300, photon_range=(30, 600), **options)
    even = following(pictures, generator=_generator())
    torch.testing.assert_close(even, pictures)
    staying = optics.Sensor(300, photon_range=(30, 600), automatic_gain=False, **options)
    seen = staying(pictures, generator=_generator())
    light = _lights(staying, 4000) / 300
    torch.testing.assert_close(seen, (pictures * light.view(-1, 1, 1, 1)).clamp_max(1))
    with staying.under(60):
        torch.testing.assert_close(staying(pictures), pictures * 0.2)
    with following.under(60):
        torch.testing.assert_close(following(pictures), pictures)


def test_the_light_of_a_picture_is_its_own():
    sensor = optics.Sensor(300, **_RANGE)
    scene = torch.rand(3, 1, 4, 4, generator=_generator())
    together = sensor(scene, generator=[_generator(n) for n in (7, 8, 9)])
    alone = torch.cat([sensor(scene[n : n + 1], generator=[_generator(7 + n)]) for n in range(3)])
    assert torch.equal(together, alone)
    assert sensor(scene[:0], generator=[]).shape == (0, 1, 4, 4)
    with pytest.raises(ValueError, match=r"draws the light of each picture.*\[B, C, H, W\]"):
        sensor(scene[0, 0])


def test_another_light_replaces_the_range_for_a_while():
    ranging, fixed = optics.Sensor(300, **_RANGE), optics.Sensor(300, read_noise=3.0, bit_depth=12)
    scene = torch.rand(2, 1, 4, 4, generator=_generator())
    fixed.dark_current = 200.0
    with ranging.under(100), fixed.under(100):
        assert ranging.photon_range is None
        assert ranging.mean_photons == 100
        assert torch.equal(*(s(scene, generator=_generator()) for s in (ranging, fixed)))
    assert ranging.photon_range == (30, 3000)
    assert "photon_range=(30, 3000)/pixel" in repr(ranging)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (
            (3000, 30),
            ValueError,
            r"photon_range=\(3000\.0, 30\.0\) is out of range; give the lowest",
        ),
        ((0, 30), ValueError, "is out of range"),
        ((30, math.inf), ValueError, "is out of range"),
        ((30, math.nan), ValueError, "is out of range"),
        ((30, 30), ValueError, "is out of range"),
        ((400, 3000), ValueError, r"photons=300.* must lie within photon_range=\(400, 3000\)"),
        (30.0, TypeError, r"photon_range must be \(lowest, highest\), photons/pixel, not 30\.0"),
        ("12", TypeError, "photon_range must be"),
        ((1, 2, 3), TypeError, "photon_range must be"),
        (("a", "b"), TypeError, "photon_range must be one number"),
        (np.ones((2, 2)), TypeError, r"photon_range must be \(lowest, highest\)"),
        (torch.nn.Parameter(torch.ones(2)), TypeError, "photon_range is not learned by a sensor"),
    ],
)
def test_a_range_that_is_none_is_refused(given, kind, message):
    with pytest.raises(kind, match=message):
        optics.Sensor(300, photon_range=given)


def test_a_range_is_warned_of_at_both_ends():
    options = {"read_noise": 3.0, "bit_depth": 12, "black_level": 64}
    with pytest.warns(UserWarning, match=r"with 30 photons/pixel the read noise is .* DN"):
        optics.Sensor(2000, photon_range=(30, 3000), **options)
    # A gain that stays has the same noise, in DN, in all light.
    optics.Sensor(2000, photon_range=(30, 3000), automatic_gain=False, **options)
    with pytest.warns(
        UserWarning, match=r"irradiance 1 generates 1800 electrons .* full_well=1300"
    ):
        optics.Sensor(2000, photon_range=(1000, 3000), full_well=1300)
    # The gain follows the light: at its most there is less noise in front of the converter.
    steep = optics.Sensor(300, photon_range=(30, 30_000), read_noise=2, bit_depth=8)
    picture = torch.rand(1, 1, 4, 4, requires_grad=True)
    with pytest.warns(UserWarning, match=r"the read noise is 0\.0283 DN"):
        steep(picture)


@pytest.mark.parametrize("well", [300, 600, 617, 850, 1001])
def test_a_learned_gain_that_fills_the_well_at_the_top_code_holds_it(well):
    # The gain is held in float32, and may come out a little above what was given.
    sensor = optics.Sensor(4000, full_well=well, gain=well / 1023, trainable_gain=True)
    assert sensor.holds(4000)
    assert not sensor.holds(4100)  # where the gain follows, the top code is above the well


@pytest.mark.parametrize(("black", "told"), [(5, True), (6, False), (7, False)])
def test_a_black_level_of_three_read_noises_is_wide_enough(black, told):
    # 2 electrons RMS at 2 electrons/DN, and at 1 in half of the light: 2 DN.
    sensor = optics.Sensor(300, read_noise=2.0, gain=2.0, black_level=black)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with sensor.under(150):
            pass
    assert [str(each.message).split(" is only")[0] for each in caught] == [
        f"with 150 photons/pixel the read noise is 2 DN, and black_level={black}"
    ] * told


def test_a_range_has_photons_within_its_ends():
    for photons in (30, 100, 300):
        assert optics.Sensor(photons, photon_range=(30, 300)).photon_range == (30, 300)
    for ends in (np.array([30, 300]), np.array([30.0, 300.0]), torch.tensor([30.0, 300.0])):
        given = optics.Sensor(100, photon_range=ends).photon_range
        assert given == (30, 300)
        assert [type(end) for end in given] == [float, float]
    for photons in (29, 301):
        with pytest.raises(
            ValueError, match=rf"photons={photons}, .* must lie within photon_range"
        ):
            optics.Sensor(photons, photon_range=(30, 300))


def test_a_gain_that_stays_is_printed():
    assert repr(optics.Sensor(automatic_gain=False)).endswith(", automatic_gain=False)")
    assert "automatic_gain" not in repr(optics.Sensor())


def test_a_range_takes_no_picture_without_a_batch():
    sensor = optics.Sensor(100, photon_range=(30, 300))
    for shape in [(3, 4, 4), (4, 4), (1, 1, 3, 4, 4)]:
        with pytest.raises(ValueError, match=r"irradiance must be \[B, C, H, W\], not \("):
            sensor(torch.ones(shape))


def test_what_a_light_does_not_fit_is_told_where_the_light_is_given():
    well = optics.Sensor(100, full_well=100)
    black = optics.Sensor(300, read_noise=2.0, gain=2.0, black_level=6)
    for sensor, photons, told in ((well, 1000, "full_well=100"), (black, 30, "black_level=6")):
        with pytest.warns(UserWarning, match=told) as caught, sensor.under(photons):
            pass
        assert [each.filename for each in caught] == [__file__]
    for options, told in (
        ({"photons": 1000, "full_well": 100}, "full_well=100"),
        ({"photon_range": (30, 30_000), "black_level": 4}, "black_level=4"),
    ):
        with pytest.warns(UserWarning, match=told) as caught:
            optics.Sensor(**options)
        assert [each.filename for each in caught] == [__file__]


def test_another_light_is_one_number():
    sensor = optics.Sensor(100, full_well=1000)
    for light in (300, np.float32(300), torch.tensor(300.0), torch.tensor([300])):
        assert sensor.holds(light) is True
        assert sensor.holds(10 * light) is False
        with sensor.under(light):
            assert sensor.photons == 300
            assert type(sensor.photons) is float
            assert type(sensor.gain) is float
    learned = torch.nn.Parameter(torch.tensor(300.0))
    for wrong in ("5", None, [3.0], np.array([3.0, 4.0]), torch.ones(2), 3j):
        for ask in (sensor.holds, lambda light: sensor.under(light).__enter__()):
            with pytest.raises(TypeError, match="photons must be one number, in photons/pixel, "):
                ask(wrong)
            with pytest.raises(TypeError, match="photons is not learned here"):
                ask(learned)
            for none in (0, -1.0, math.inf, math.nan):
                with pytest.raises(ValueError, match=f"photons={none} is out of range; give a pos"):
                    ask(none)
    assert sensor.photons == 100
