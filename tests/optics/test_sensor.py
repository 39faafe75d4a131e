import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import optics


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
@pytest.mark.parametrize(("level", "dark"), [(0.02, 0.0), (0.5, 0.0), (0.3, 4000.0)])
def test_mean_and_variance_follow_emva_1288(kind, level, dark):
    sensor = optics.Sensor(
        1000, quantum_efficiency=0.5, read_noise=3.0, dark_current=dark, bits=None, shot_noise=kind
    )
    count = 400_000
    electrons = 500 * sensor(torch.full((count,), level), generator=_generator()).double()
    mean = 500 * level + dark * 0.01
    variance = mean + 9
    assert abs(electrons.mean() - mean) < 4 * (variance / count) ** 0.5
    # Variance of a sample variance; the kurtosis of a Poisson count adds 1 / mean.
    spread = variance * ((2 + 1 / mean) / count) ** 0.5
    # A reading below zero is clipped; 10 electrons and 4.4 RMS clip 1 %.
    clipped = stats.norm.cdf(0, mean, variance**0.5)
    assert abs(electrons.var() - variance) < 4 * spread + 2 * clipped * variance


def test_poisson_counts_are_whole_and_poisson():
    counts = optics.shot_noise(torch.full((50_000,), 3.0), kind="poisson", generator=_generator())
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-5)
    observed = torch.bincount(counts.round().long(), minlength=10)[:10].double()
    expected = torch.from_numpy(stats.poisson.pmf(range(10), 3.0)) * 50_000
    assert ((observed - expected).square() / expected).sum() < stats.chi2.ppf(0.9999, 9)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(0, 2**31), st.floats(0.5, 4))
def test_output_is_integer_codes_in_range(bits, seed, gain):
    sensor = optics.Sensor(200, bits=bits, gain=gain)
    picture = torch.rand(2, 3, 8, 8, generator=_generator(seed)) * 1.5
    codes = sensor(picture, generator=_generator(seed)) * (2**bits - 1)
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)
    assert codes.min() >= 0
    assert codes.max() <= 2**bits - 1 + 1e-3


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 2), st.floats(0, 2), st.integers(1, 16))
def test_more_light_never_gives_a_lower_code(a, b, bits):
    sensor = optics.Sensor(1e4, read_noise=0, bits=bits, shot_noise="none")
    low, high = sensor(torch.tensor([min(a, b), max(a, b)]))
    assert low <= high


def test_quantisation_error_is_at_most_half_a_code():
    signal = torch.linspace(0, 1, 1001, dtype=torch.float64)
    for bits in (1, 4, 8):
        error = (optics.digitise(signal, bits) - signal).abs().max()
        assert error <= 0.5 / (2**bits - 1) + 1e-12
        assert len(optics.digitise(signal, bits).unique()) == 2**bits


def test_gain_scales_and_the_gradient_through_a_whole_sensor_is_the_gain():
    sensor = optics.Sensor(1e9, gain=0.5, read_noise=0, shot_noise="none", bits=None)
    light = torch.tensor([0.6, 0.2], requires_grad=True)
    result = sensor(light)
    torch.testing.assert_close(result, torch.tensor([0.3, 0.1]))
    result.sum().backward()
    torch.testing.assert_close(light.grad, torch.tensor([0.5, 0.5]))
    for kind in ("gaussian", "poisson"):
        noisy = optics.Sensor(2000, gain=0.5, shot_noise=kind).eval()
        light = torch.full((100_000,), 0.5, requires_grad=True)
        noisy(light, generator=_generator()).mean().backward()
        assert light.grad.sum() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("level", [1.0, 3.0])
def test_gaussian_shot_noise_keeps_its_variance_at_few_electrons(level):
    counts = optics.shot_noise(torch.full((200_000,), level), generator=_generator())
    assert counts.var() == pytest.approx(level, rel=0.02)


def test_read_noise_comes_after_the_full_well():
    sensor = optics.Sensor(
        1000, quantum_efficiency=1, read_noise=5, full_well=400, bits=None, shot_noise="none"
    )
    reading = 1000 * sensor(torch.full((50_000,), 0.9), generator=_generator())
    assert reading.mean() == pytest.approx(400, abs=0.2)
    assert reading.std() == pytest.approx(5, rel=0.03)


@pytest.mark.parametrize("bits", [None, 6, 10])
def test_a_black_level_keeps_the_noise_about_zero(bits):
    dark = torch.zeros(200_000)
    plain = optics.Sensor(100, bits=None)(dark, generator=_generator()) * 60
    assert plain.mean() == pytest.approx(2 / (2 * torch.pi) ** 0.5, rel=0.03)  # a bias
    offset = optics.Sensor(100, bits=bits, black_level=0.15, shot_noise="none")
    reading = offset(dark, generator=_generator()) * 60
    assert abs(reading.mean()) < 0.02
    assert reading.std() == pytest.approx(2, rel=0.03)
    bright = optics.Sensor(100, bits=bits, black_level=0.15, read_noise=0, shot_noise="none")
    torch.testing.assert_close(bright(torch.tensor([0.0, 1.0])), torch.tensor([0.0, 1.0]))


def test_exposures_share_the_dark_current():
    sensor = optics.Sensor(dark_current=6000)
    dark = torch.zeros(3)
    torch.testing.assert_close(sensor.electrons(dark), torch.full((3,), 60.0))
    torch.testing.assert_close(sensor.electrons(dark, exposures=4), torch.full((3,), 15.0))
    read = optics.Sensor(1000, dark_current=6000, read_noise=0, shot_noise="none", bits=None)
    torch.testing.assert_close(read(dark, exposures=4), torch.full((3,), 15.0 / 600))


def test_full_well_saturates():
    sensor = optics.Sensor(
        1000, quantum_efficiency=1, read_noise=0, full_well=400, bits=None, shot_noise="none"
    )
    torch.testing.assert_close(sensor(torch.tensor([0.2, 0.4, 0.9])), torch.tensor([0.2, 0.4, 0.4]))


def test_without_noise_nothing_is_random():
    sensor = optics.Sensor(read_noise=0, shot_noise="none", bits=None)
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


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["gaussian", "poisson", "none"])
@pytest.mark.parametrize("level", [0.0005, 0.01, 0.5])
def test_the_mean_gradient_to_light_is_one(kind, training, level):
    # The straight-through converter is exact in the mean once noise spans half a code.
    photons, count = 1000, 200_000
    sensor = optics.Sensor(
        photons, quantum_efficiency=1, read_noise=0, bits=None, shot_noise=kind
    ).train(training)
    # Up to the clip at zero, which belongs to the converter: raise the signal by a pedestal.
    light = torch.full((count,), level, requires_grad=True)
    electrons = optics.shot_noise(sensor.electrons(light), kind=kind, generator=_generator()) + 20.0
    optics.digitise(electrons / photons, None).mean().backward()
    assert light.grad is not None
    assert light.grad.sum() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_straight_through_is_exact_in_the_mean_above_half_a_code_of_noise(sigma):
    bits, count = 4, 400_000
    top = 2**bits - 1
    noise = sigma / top * torch.randn(count, generator=_generator(), dtype=torch.float64)
    step = 0.2 / top
    for level in (0.4, 0.43, 0.47):
        up, down = (optics.digitise(level + s + noise, bits).mean() for s in (step, -step))
        assert (up - down) / (2 * step) == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize("bits", [None, 8])
def test_gradient_is_one_inside_and_zero_where_clipped(bits):
    signal = torch.tensor([-0.2, 0.3, 0.9, 1.4], requires_grad=True)
    optics.digitise(signal, bits).sum().backward()
    assert signal.grad is not None
    assert signal.grad.tolist() == [0, 1, 1, 0]


def test_trainable_gain_has_the_gradient_of_a_finite_difference():
    sensor = optics.Sensor(500, bits=None, trainable_gain=True, gain=0.8).double()
    picture = torch.rand(1, 1, 16, 16, dtype=torch.float64, generator=_generator()) * 0.9 + 0.05

    def brightness(log_gain):
        return torch.func.functional_call(
            sensor, {"log_gain": log_gain}, (picture,), {"generator": _generator(1)}
        ).mean()

    assert [name for name, _ in sensor.named_parameters()] == ["log_gain"]
    assert torch.autograd.gradcheck(brightness, (sensor.log_gain.detach().requires_grad_(),))
    assert "log_gain" not in dict(optics.Sensor().named_parameters())


def test_units_are_printed():
    text = repr(optics.Sensor(1234, full_well=9000, bits=None))
    assert "photons=1234/pixel" in text
    assert "read_noise=2 e- RMS" in text
    assert "full_well=9000 e-" in text
    assert "not quantised" in text


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
        ({"bits": 0}, "whole number from 1 to 16"),
        ({"bits": 7.5}, "whole number from 1 to 16"),
        ({"bits": float("nan")}, "whole number from 1 to 16"),
        ({"black_level": 0.6}, "fraction of the range in"),
        ({"gain": 0}, "positive factor"),
        ({"shot_noise": "salt"}, "choose 'gaussian', 'poisson' or 'none'"),
    ],
)
def test_quantities_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optics.Sensor(**options)


def test_unknown_shot_noise_is_refused():
    with pytest.raises(ValueError, match="not 'salt'"):
        optics.shot_noise(torch.ones(1), kind="salt")
