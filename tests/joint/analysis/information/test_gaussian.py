import math

import numpy as np
import pytest
import torch
from scipy.special import digamma
from scipy.stats import chisquare, multivariate_normal
from scipy.stats import t as student
from toys import scenes_of

import joint
import optics
from joint.analysis.information.gaussian import (
    _cut,
    _innovations,
    _log_determinant,
    _noise_variance,
    gaussian_information,
    gaussian_mutual_information,
    sensor_information,
)

CLASSES = ("a", "b", "c")


def test_closed_form_of_white_signals():
    for snr in (0.1, 1.0, 30.0):
        expected = 7 / 2 * math.log2(1 + snr)
        assert gaussian_mutual_information(snr * np.eye(7), np.eye(7)) == pytest.approx(expected)
    # Entropies of scipy: h(X + N) - h(N).
    random = np.random.default_rng(0)
    root = random.standard_normal((4, 4))
    signal, noise = root @ root.T, np.diag([1.0, 2, 3, 4])
    zero = np.zeros(4)
    nats = multivariate_normal(zero, signal + noise).entropy()
    nats -= multivariate_normal(zero, noise).entropy()
    assert gaussian_mutual_information(signal, noise) == pytest.approx(nats / math.log(2))


def test_estimate_from_patches_is_the_closed_form():
    random = np.random.default_rng(0)
    signal = 4 * np.exp(-np.abs(np.arange(9)[:, None] - np.arange(9)) / 3)
    variance = np.linspace(0.5, 2, 9)
    expected = gaussian_mutual_information(signal, np.diag(variance)) / 9
    clean = random.multivariate_normal(np.zeros(9), signal, 4000) + 7
    noisy = clean + np.sqrt(variance) * random.standard_normal((4000, 9))
    groups = [f"l{i // 4}" for i in range(4000)]
    found = gaussian_information(noisy, np.tile(variance, (4000, 1)), side=3, groups=groups)
    assert found.bits == pytest.approx(expected, rel=0.02)
    assert found.interval.low - 0.005 < expected < found.interval.high + 0.005
    # Two standard errors: sqrt(2 D / M) nats of the log-determinant, halved, by D pixels.
    error = math.sqrt(2 * 9 / 4000) / 2 / math.log(2) / 9
    assert (found.interval.high - found.interval.low) / (2 * 2.09 * error) == pytest.approx(
        1, abs=0.5
    )


def test_the_interval_is_the_jackknife_over_lesions():
    # Lesions that differ in their mean, so that leaving one out moves the mean of the others.
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), [9, 12, 8, 15, 10, 11])
    patches = 2 * random.standard_normal((6, 2))[groups] + random.standard_normal((65, 2))
    variance = random.uniform(0.5, 2, (65, 2))

    def bits(kept):
        count = int(kept.sum())
        known = np.linalg.slogdet(np.cov(patches[kept].T))[1]
        # The mean of ln det of a Wishart matrix of that many degrees of freedom.
        free = count - 1
        bias = sum(digamma((free - i) / 2) + math.log(2 / free) for i in range(2))
        noise = np.log(variance[kept]).sum(1).mean()
        return (known - bias - noise) / (2 * math.log(2))

    left = np.array([bits(groups != k) for k in range(6)])
    error = math.sqrt(5 / 6 * ((left - left.mean()) ** 2).sum())
    reach = student.ppf(0.975, 5) * error
    names = [f"l{k}" for k in groups]
    found = gaussian_information(patches, variance, side=1, groups=names)
    assert str(found).endswith("(65 patches of 1 x 1, 95 % over lesions)")
    alone = gaussian_information(patches, variance, side=1)
    assert str(alone).endswith("(65 patches of 1 x 1, 95 % over patches)")
    whole = bits(groups >= 0)
    assert found.bits == pytest.approx(whole)
    assert found.interval == pytest.approx((whole - reach, whole + reach))


def test_patches_are_cut_at_every_place_alike():
    maps = torch.arange(12.0).view(1, 1, 3, 4).expand(500, -1, -1, -1)
    first, second = _cut((maps, -maps), 2, 4, torch.Generator().manual_seed(0))
    assert np.array_equal(first, -second)
    assert np.array_equal(first - first[:, :1], np.tile([0, 1, 4, 5], (2000, 1)))
    places, counts = np.unique(first[:, 0], return_counts=True)
    assert places.tolist() == [0, 1, 2, 4, 5, 6]
    assert chisquare(counts).pvalue > 1e-3


def test_log_determinant_is_unbiased_for_few_samples():
    random = np.random.default_rng(0)
    values = []
    for _ in range(400):
        x = random.standard_normal((14, 8))
        x -= x.mean(0)
        values.append(_log_determinant(x.T @ x, 13))
    error = np.std(values) / math.sqrt(len(values))
    assert np.mean(values) == pytest.approx(0, abs=3 * error)
    assert error < 0.1


def _white_noise(size, spread):
    """Scenes of it about grey, and their light."""
    generator = torch.Generator().manual_seed(0)
    codes = (128 + spread * torch.randn((60, 1, size, size), generator=generator)).clamp(0, 255)
    codes = codes.to(torch.uint8)
    return scenes_of(codes / 255.0, torch.arange(60) % 3), codes / 255.0


def test_information_of_a_sensor_follows_its_noise():
    scenes, light = _white_noise(24, 20)

    def found(**options):
        sensor = optics.Sensor(quantum_efficiency=0.5, **options)
        system = joint.ImagingSystem(sensor=sensor, encoding="linear")
        return sensor_information(system, scenes, side=4, patches=20)

    # White pictures: 1/2 log2(1 + s^2 / n^2) a pixel, n^2 being the geometric mean.
    spread = float(light.var())
    for options, noise in (
        ({"photons": 2000, "read_noise": 0.0, "bit_depth": None}, light / 1000),
        ({"photons": 2000, "read_noise": 50.0, "bit_depth": None}, light / 1000 + 0.05**2),
        (
            {"photons": 2000, "read_noise": 50.0, "bit_depth": 4, "shot_noise": "none"},
            torch.full_like(light, 0.05**2 + 1 / 12 / 15**2),
        ),
    ):
        expected = 0.5 * float(((spread + noise.mean()).log() - noise.log().mean()) / math.log(2))
        estimate = found(**options)
        assert estimate.bits == pytest.approx(expected, rel=0.03)
        assert estimate.interval.low - 0.01 < expected < estimate.interval.high + 0.01
    dim, bright = (found(photons=p, read_noise=5.0, bit_depth=None).bits for p in (100, 10_000))
    assert bright > dim + 1
    # Four pixels are read as one: half of the spread at a quarter of the relative noise.
    binned = found(photons=2000, read_noise=0.0, bit_depth=None, binning=2)
    noise = light.mean() / 4000
    expected = 0.5 * math.log2(1 + spread / 4 / float(noise))
    assert binned.bits == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("pattern", ["dsnu", "prnu"])
def test_fixed_patterns_are_noise(pattern):
    scenes, light = _white_noise(96, 30)
    spread = float(light.var())

    def found(size):
        sensor = optics.Sensor(
            200, quantum_efficiency=0.5, bit_depth=None, resolution=96, gain=400, black_level=0.25,
            generator=torch.Generator().manual_seed(1), **{pattern: size},
        )  # fmt: skip
        system = joint.ImagingSystem(sensor=sensor, encoding="linear")
        return sensor_information(system, scenes, side=4, patches=20).bits

    bits = []
    for size in (0.0, 5.0, 20.0) if pattern == "dsnu" else (0.0, 0.1, 0.3):
        electrons = 100 * light
        fixed = size**2 if pattern == "dsnu" else (size * electrons) ** 2
        noise = (electrons + 4 + fixed) / 1e4
        expected = 0.5 * float(((spread + noise.mean()).log() - noise.log().mean()) / math.log(2))
        bits.append(found(size))
        assert bits[-1] == pytest.approx(expected, rel=0.05, abs=0.01)
    assert bits[0] > bits[1] + 0.02 > bits[2] + 0.1


def test_channels_share_a_fixed_pattern():
    random = np.random.default_rng(0)
    own, light = random.uniform(1, 9, (3, 4)), random.uniform(0, 20, (3, 4))
    own_maps, light_maps = (torch.from_numpy(part)[:, :, None, None] for part in (own, light))
    steps = _innovations(own_maps, light_maps, 25.0, 0.04)
    for row in range(3):
        ones = np.ones((4, 4))
        covariance = np.diag(own[row]) + 25 * ones + 0.04 * np.outer(light[row], light[row])
        assert float(steps[row].prod()) == pytest.approx(float(np.linalg.det(covariance)))


def test_binned_patterns_have_the_variance_of_what_is_read():
    options = {"resolution": 200, "bit_depth": None, "binning": 2, "read_noise": 0.0}
    sensor = optics.Sensor(
        100, shot_noise="none", dsnu=3.0, prnu=0.05,
        generator=torch.Generator().manual_seed(0), **options,
    )  # fmt: skip
    light = torch.full((1, 1, 200, 200), 0.5)
    variance = _noise_variance(sensor, light, 1)
    assert float(variance.mean()) == pytest.approx(float(sensor(light).var()), rel=0.05)


def test_patches_that_do_not_fit_are_refused():
    patches = np.random.default_rng(0).standard_normal((40, 2))
    with pytest.raises(ValueError, match=r"must both be \[M, D\], not \(40, 2\) and \(40, 1\)"):
        gaussian_information(patches, patches[:, :1], side=1)
    for side in (2, 0, -1):
        with pytest.raises(ValueError, match=f"2 values are not C x {side} x {side} pixels"):
            gaussian_information(patches, np.ones((40, 2)), side=side)
    with pytest.raises(ValueError, match="must be finite: leave the others out"):
        gaussian_information(np.where(patches > 2, np.nan, patches), np.ones((40, 2)), side=1)
    with pytest.raises(ValueError, match="variance above 0: without noise all is known"):
        gaussian_information(patches, 0 * patches, side=1)
    with pytest.raises(ValueError, match="4 patches are too few for the covariance of 2 values"):
        gaussian_information(patches[:4], np.ones((4, 2)), side=1)
    # Of a negative covariance the determinant is positive, where the dimensions are even.
    for noise in (np.zeros((2, 2)), -np.eye(2), np.diag([1.0, -1.0])):
        with pytest.raises(ValueError, match="positive definite: is there noise"):
            gaussian_mutual_information(np.eye(2), noise)
    with pytest.raises(ValueError, match="signal has negative variances"):
        gaussian_mutual_information(-0.5 * np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match=r"of one size, not \(2, 2\) and \(3, 3\)"):
        gaussian_mutual_information(np.eye(2), np.eye(3))
    for wrong in (np.full((2, 2), np.nan), np.triu(np.ones((2, 2)))):
        with pytest.raises(ValueError, match="of the signal must be finite and symmetric"):
            gaussian_mutual_information(wrong, np.eye(2))
        with pytest.raises(ValueError, match="of the noise must be finite and symmetric"):
            gaussian_mutual_information(np.eye(2), wrong)


def test_a_signal_much_below_the_noise_keeps_its_digits():
    # 1/2 log2(1 + s) = s / (2 ln 2) where s is small; a difference of determinants has none left.
    found = gaussian_mutual_information(1e-18 * np.eye(3), np.eye(3))
    assert found == pytest.approx(3e-18 / (2 * math.log(2)), rel=1e-9, abs=0)


def test_sensors_of_unknown_noise_are_refused(lesions):
    with pytest.raises(ValueError, match="no sensor, and without noise all is known"):
        sensor_information(joint.ImagingSystem(), lesions)
    quiet = optics.Sensor(100, read_noise=0.0, bit_depth=None, shot_noise="none")
    with pytest.raises(ValueError, match="the sensor has no noise"):
        sensor_information(joint.ImagingSystem(sensor=quiet), lesions)
    woven = optics.Sensor(100, cfa="rggb", bit_depth=None)
    with pytest.raises(ValueError, match="noise in common: give cfa=None"):
        sensor_information(joint.ImagingSystem(sensor=woven), lesions)
    mixed = optics.Sensor(100, colour_matrix=torch.eye(3), bit_depth=None)
    with pytest.raises(ValueError, match="give colour_matrix=None, which has as much"):
        sensor_information(joint.ImagingSystem(sensor=mixed), lesions)
    packed = optics.Sensor(100, cfa="rggb", demosaicing="packed", bit_depth=None)
    with pytest.raises(ValueError, match="not counted value by value: give cfa=None"):
        sensor_information(joint.ImagingSystem(sensor=packed), lesions)
    ranging = optics.Sensor(100, photon_range=(30, 300), bit_depth=None)
    with pytest.raises(ValueError, match=r"judge one, with sensor\.under\(photons\)"):
        sensor_information(joint.ImagingSystem(sensor=ranging), lesions)
    noisy = joint.ImagingSystem(sensor=optics.Sensor(100, bit_depth=None))
    with pytest.raises(ValueError, match="8 patches of 40 x 40 do not fit pictures of 16 x 16"):
        sensor_information(noisy, lesions, side=40)
    for changes in ({"side": 2.5}, {"patches": 0}):
        (name, value), *_ = changes.items()
        with pytest.raises(ValueError, match=f"{name} must be a whole number .* not {value}"):
            sensor_information(noisy, lesions, **changes)


@pytest.mark.parametrize("power", [1.0, 1e12])
def test_a_signal_of_one_direction_has_no_more_values_than_that(power):
    # Its other variances are 0 but for rounding, some of them below.
    direction = np.random.default_rng(0).standard_normal(8)
    signal = power * np.outer(direction, direction)
    size = power * direction @ direction
    # Each of the eight variances is known to 8 units of rounding of the largest.
    rounding = 8 * 8 * np.finfo(float).eps * size / (2 * math.log(2))
    found = gaussian_mutual_information(signal, np.eye(8))
    assert found == pytest.approx(math.log2(1 + size) / 2, rel=1e-6, abs=rounding)
    aside = np.zeros(8)
    aside[:2] = direction[1], -direction[0]
    with pytest.raises(ValueError, match="the covariance of the signal has negative variances"):
        gaussian_mutual_information(signal - 1e-3 * power * np.outer(aside, aside), np.eye(8))


def test_one_patch_and_one_pixel_can_be_cut():
    maps = torch.arange(24.0).view(2, 1, 3, 4)
    first, second = _cut((maps, -maps), 1, 1, torch.Generator().manual_seed(0))
    assert first.shape == second.shape == (2, 1)
    assert first[0] < 12 <= first[1]
    whole, _ = _cut((maps[..., :3], maps[..., :3]), 3, 1, torch.Generator().manual_seed(0))
    assert np.array_equal(whole, maps[..., :3].flatten(1).numpy())
    with pytest.raises(ValueError, match="1 patches of 4 x 4 do not fit pictures of 3 x 4"):
        _cut((maps, maps), 4, 1, torch.Generator())
