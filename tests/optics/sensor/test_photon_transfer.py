import math

import pytest
import torch
from scipy import stats

import optics

# Each reaches another end: the full well, the converter, the black, a range without codes.
CAMERAS = {
    "full well": {"photons": 20_000, "full_well": 10_000, "gain": 2.5, "bit_depth": 12},
    "black level": {"photons": 200, "bit_depth": 8, "black_level": 10},
    "cut black": {"photons": 200, "bit_depth": 8},
    "no codes": {
        "photons": 50, "bit_depth": None, "black_level": 0.1, "full_well": 25, "gain": 40.0,
    },
    "binned": {
        "photons": 300, "binning": 2, "dark_current": 500.0, "exposure_time": 0.02,
        "shot_noise": "poisson",
    },
    "two channels": {
        "photons": 300, "quantum_efficiency": (0.6, 0.3), "bit_depth": 6, "shot_noise": "none",
    },
    "small well": {
        "photons": 30, "full_well": 15, "gain": 0.1, "bit_depth": 10, "black_level": 30,
    },
}  # fmt: skip


def _moments(sensor, photons, channels):
    """Of so many pixels that are read, by drawing them."""
    light = torch.full((1, channels, 800, 800), photons / sensor.photons)
    codes = sensor.codes(light, generator=torch.Generator().manual_seed(1)).double()
    mean, variance = codes.mean((0, 2, 3)), codes.var((0, 2, 3))
    fourth = (codes - mean[:, None, None]).pow(4).mean((0, 2, 3))
    count = codes[0, 0].numel()
    return mean, variance, (variance / count).sqrt(), ((fourth - variance**2) / count).sqrt()


@pytest.mark.parametrize("name", CAMERAS)
def test_the_curve_is_that_of_what_is_drawn(name):
    sensor = optics.Sensor(**CAMERAS[name])
    curve = optics.photon_transfer(sensor)
    for at in (0, 20, 40, 52, 60, 64):
        drawn = _moments(sensor, float(curve.photons[at]), len(curve.mean))
        mean, variance, mean_error, variance_error = drawn
        # Five standard errors, and what a Poisson number that is cut off differs from a normal one.
        assert (curve.mean[:, at] - mean).abs().le(5 * mean_error + 1e-5).all()
        assert (curve.variance[:, at] - variance).abs().le(5 * variance_error + 1e-5).all()


@pytest.mark.parametrize("part", [0.95, 1.0, 1.002, 1.05])
@pytest.mark.parametrize(
    "options",
    [
        {"bit_depth": 12, "black_level": 32},
        {"bit_depth": 8, "full_well": 900, "read_noise": 9.0},
        {"bit_depth": 14, "read_noise": 0.0, "dark_current": 2e5},
        {"bit_depth": None, "black_level": 0.1, "read_noise": 40.0},
        {"bit_depth": 10, "binning": 2, "black_level": 64},
        {"bit_depth": 12, "binning": 4, "full_well": 300, "dark_current": 1e3},
        {"bit_depth": 12, "full_well": 60_000, "shot_noise": "poisson"},
    ],
)
def test_noise_is_cut_off_once_where_the_well_is_full_at_the_top_code(options, part):
    options = {"full_well": 10_500, "black_level": 0, **options}
    bits, well = options["bit_depth"], options["full_well"]
    top = 1 if bits is None else 2**bits - 1
    gain = part * options.get("binning", 1) ** 2 * well / (top - options["black_level"])
    sensor = optics.Sensor(well, quantum_efficiency=1.0, gain=gain, **options)
    dark = sensor.dark_current * sensor.exposure_time
    # About where the first of the two is reached, and where all wells are full.
    full = min(1, part) * well
    light = full - dark + torch.tensor([-2, -0.5, 0.3, math.sqrt(well)]) * math.sqrt(well)
    curve = optics.photon_transfer(sensor, light)
    for at, photons in enumerate(light.tolist()):
        mean, variance, mean_error, variance_error = _moments(sensor, photons, 1)
        assert (curve.mean[:, at] - mean).abs().le(5 * mean_error + 1e-5).all()
        assert (curve.variance[:, at] - variance).abs().le(5 * variance_error + 1e-5).all()


def test_what_the_well_holds_is_a_normal_number_that_is_cut_off():
    """In closed form, where nothing else adds noise: its moments by scipy's truncated one."""
    sensor = optics.Sensor(2_000, full_well=1_000, gain=2_000, bit_depth=None, read_noise=0.0)
    light = torch.linspace(1_500, 1_900, 9, dtype=torch.float64)
    curve = optics.photon_transfer(sensor, light)
    for at, electrons in enumerate((0.6 * light).tolist()):
        deviation = math.sqrt(electrons)
        end = (1_000 - electrons) / deviation
        below, held = stats.truncnorm(-math.inf, end), stats.norm.sf(end)
        mean = (1 - held) * below.mean() + held * end
        square = (1 - held) * (below.var() + below.mean() ** 2) + held * end**2
        expected = (electrons + deviation * mean) / 2_000
        assert curve.mean[0, at].item() == pytest.approx(expected, rel=1e-12)
        # By a sixth of the square of a hundredth of a deviation, and never less.
        more = curve.variance[0, at].item() * (2_000 / deviation) ** 2 - (square - mean**2)
        assert -1e-9 < more < 1e-4 / 6 * 1.01


def test_figures_are_those_of_the_standard():
    """EMVA 1288, 4.0 linear: in the order of its data sheet, worked out by hand."""
    sensor = optics.Sensor(
        20_000, quantum_efficiency=0.5, read_noise=3.0, dark_current=40.0, exposure_time=0.1,
        full_well=9_000, gain=2.0, bit_depth=12, black_level=64,
    )  # fmt: skip
    sheet = optics.photon_transfer(sensor)
    dark = 9 + 40 * 0.1 + 4 / 12
    assert sheet.system_gain == 0.5
    assert sheet.dark_noise == pytest.approx(math.sqrt(dark))
    assert sheet.dark_mean.tolist() == pytest.approx([64 + 4 / 2], abs=1e-6)
    threshold = (0.5 + math.sqrt(0.25 + dark)) / 0.5
    assert sheet.threshold.tolist() == pytest.approx([threshold])
    # There the signal is as large as its noise.
    (there,) = sheet.threshold.tolist()
    assert 0.5 * there == pytest.approx(math.sqrt(0.5 * there + dark))
    at_threshold = optics.photon_transfer(sensor, sheet.threshold)
    assert at_threshold.snr.item() == pytest.approx(1, abs=1e-3)
    # The 4031 codes above black have 8062 electrons, fewer than the well; 4 are of the dark.
    assert sheet.limit == "converter"
    assert sheet.saturated_electrons == 8058
    assert sheet.saturation.tolist() == pytest.approx([8058 / 0.5])
    assert sheet.dynamic_range.item() == pytest.approx(20 * math.log10(8058 / 0.5 / threshold))
    assert sheet.largest_snr == pytest.approx(8058 / math.sqrt(8058 + dark))
    deeper = optics.Sensor(20_000, full_well=9_000, gain=2.5, bit_depth=12, black_level=64)
    assert optics.photon_transfer(deeper).limit == "full well"
    assert optics.photon_transfer(deeper).saturated_electrons == 9000
    assert "16116 photons/pixel, 8058 e- (converter)" in str(sheet).replace("1.612e+04", "16116")
    assert len(str(sheet).splitlines()) == 6


def test_the_slope_of_the_curve_is_the_system_gain():
    """By which a data sheet is measured: variance over mean, in DN, is K."""
    sensor = optics.Sensor(5_000, gain=1.6, bit_depth=12, black_level=32)
    curve = optics.photon_transfer(sensor, torch.linspace(100, 4000, 20))
    line = stats.linregress(curve.mean[0].numpy(), curve.variance[0].numpy())
    assert line.slope == pytest.approx(1 / 1.6, rel=1e-6)
    assert line.intercept + line.slope * 32 == pytest.approx((4 + 1.6**2 / 12) / 1.6**2, rel=1e-5)


def test_patterns_are_noise_between_pixels():
    size = {"resolution": 64, "generator": torch.Generator().manual_seed(0)}
    sensor = optics.Sensor(10_000, prnu=0.02, dsnu=7.0, bit_depth=12, black_level=99, **size)
    curve = optics.photon_transfer(sensor, torch.tensor([0.0, 4000.0]))
    prnu, dsnu = float(sensor.prnu_map.std()), float(sensor.dsnu_map.std())
    wanted = [(each * curve.system_gain) ** 2 for each in (dsnu, math.hypot(dsnu, 2400 * prnu))]
    assert curve.spatial_variance[0].tolist() == pytest.approx(wanted, rel=1e-3)
    assert curve.total_snr[0, 0] == curve.snr[0, 0] == 0
    signal = curve.mean[0, 1] - curve.dark_mean[0]
    together = signal / (curve.variance + curve.spatial_variance)[0, 1].sqrt()
    torch.testing.assert_close(curve.total_snr[0, 1], together)
    torch.testing.assert_close(curve.snr[0, 1], signal / curve.variance[0, 1].sqrt())
    codes = sensor.codes(torch.full((400, 1, 64, 64), 0.4), generator=size["generator"]).double()
    between = codes.mean(0).var() - codes.var(0).mean() / 400
    assert between.item() == pytest.approx(wanted[1], rel=0.03)


@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize("level", [0.0, 0.1, 0.8])
def test_maps_are_noise_between_pixels_together_and_binned_as_they_are(level, binning):
    """Blocks that add up where they are binned, and pixels of a response that follows the dark."""
    drawn = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    blocks = drawn.repeat_interleave(2, 0).repeat_interleave(2, 1)
    sensor = optics.Sensor(
        1000, prnu=0.02 * blocks, dsnu=-5 * blocks, binning=binning, bit_depth=None, gain=1e4,
        black_level=0.3, read_noise=0.0, shot_noise="none",
    )  # fmt: skip
    curve = optics.photon_transfer(sensor, torch.tensor([1000 * level], dtype=torch.float64))
    codes = sensor.codes(torch.full((1, 1, 64, 64), level, dtype=torch.float64))
    spread = curve.spatial_variance.item()
    assert spread == pytest.approx(codes.var(correction=0).item(), rel=1e-6)
    assert curve.mean.item() == pytest.approx(codes.mean().item(), rel=1e-6)


@pytest.mark.parametrize("efficiency", [0.5, (0.5, 0.6, 0.4)])
def test_each_colour_of_a_mosaic_has_the_pattern_of_its_own_pixels(efficiency):
    drawn = torch.Generator().manual_seed(0)
    prnu, dsnu = 0.01 * torch.randn(64, 64, generator=drawn), torch.zeros(64, 64)
    prnu[::2, ::2] -= 0.4  # red
    dsnu[1::2, 1::2] += 30.0  # blue
    sensor = optics.Sensor(
        1000, prnu=prnu, dsnu=dsnu, cfa="rggb", quantum_efficiency=efficiency, bit_depth=12,
        gain=0.25, black_level=200,
    )  # fmt: skip
    curve = optics.photon_transfer(sensor, torch.tensor([0.0, 500.0]))
    assert curve.mean.shape == (3, 2)
    codes = sensor.codes(torch.full((100, 3, 64, 64), 0.5), generator=drawn).double()[:, 0]
    for colour in range(3):
        alone = torch.eye(3)[colour].view(1, 3, 1, 1).expand(-1, -1, 64, 64)
        own = codes[:, optics.mosaic(alone, "rggb")[0, 0] > 0]
        noise, between = own.var(0).mean(), own.mean(0).var()
        assert curve.mean[colour, 1].item() == pytest.approx(own.mean().item(), abs=1.0)
        assert curve.variance[colour, 1].item() == pytest.approx(noise.item(), rel=0.02)
        spread = (between - noise / 100).item()
        assert curve.spatial_variance[colour, 1].item() == pytest.approx(spread, rel=0.25)
    assert curve.dark_mean.tolist() == pytest.approx([200, 200, 200 + 30 / 0.25], abs=0.01)
    # Saturation is where each reaches the top code.
    light = curve.saturation * torch.tensor(efficiency, dtype=torch.float64)
    reached = 4 * (light * torch.tensor([0.6, 1, 1]) + torch.tensor([0, 0, 30])) + 200
    assert reached.tolist() == pytest.approx([4095] * 3, rel=1e-3)
    assert curve.saturated_electrons == pytest.approx((4095 - 200) / 4 - 30, rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"full_well": 800}, {"prnu": 0.01, "resolution": 32}, {"binning": 2, "gain": 8.0}],
)
def test_no_ratio_is_above_that_at_saturation_and_beyond_it_there_is_none(options):
    """Where noise is cut off as light is, its quotient says nothing of the light."""
    sensor = optics.Sensor(
        **{"photons": 4000, "gain": 1.0, **options}, quantum_efficiency=(0.6, 0.3)
    )
    curve = optics.photon_transfer(sensor)
    beyond = curve.photons > curve.saturation[:, None]
    assert beyond.any(1).tolist() == [True, True]
    for ratio in (curve.snr, curve.total_snr):
        assert torch.equal(ratio.isnan(), beyond)
        assert float(ratio.nan_to_num().max()) <= curve.largest_snr
    at_the_end = optics.photon_transfer(sensor, curve.saturation.float()).snr.diagonal()
    assert at_the_end.tolist() == pytest.approx([curve.largest_snr] * 2, rel=1e-6)
    # Just below it most of the noise is not cut off yet: the ratio is that of electrons, drawn.
    electrons = curve.saturated_electrons - 2 * math.sqrt(curve.saturated_electrons)
    drawn = torch.poisson(torch.full((200_000,), electrons), generator=torch.Generator())
    noise = math.sqrt(float(drawn.double().var()) + curve.dark_noise**2)
    below = optics.photon_transfer(
        sensor, curve.saturation[:1] * (electrons / float(curve.saturated_electrons))
    ).snr[0, 0]
    assert below.item() == pytest.approx(electrons / noise, rel=0.01)


def test_maps_that_fit_no_sensor_are_told():
    square = torch.zeros(4, 4)
    with pytest.raises(ValueError, match="maps of prnu and dsnu must have the same size, not"):
        optics.photon_transfer(optics.Sensor(prnu=square, dsnu=torch.zeros(4, 6)))
    with pytest.raises(ValueError, match=r"binning=3 needs \[B, C, H, W\] with H and W multiples"):
        optics.photon_transfer(optics.Sensor(prnu=square, binning=3))
    told = r"have \[1, 4\] pixels, which do not include all colours of the cfa: .* least \[2, 2\]"
    for light in (None, torch.ones(2)):
        with pytest.raises(ValueError, match=told):
            optics.photon_transfer(optics.Sensor(prnu=square[:1], cfa="rggb"), light)


def test_binned_pixels_have_their_light_together():
    alone, binned = (optics.Sensor(500, binning=n, bit_depth=14, black_level=200) for n in (1, 2))
    one, four = map(optics.photon_transfer, (alone, binned))
    assert four.saturated_electrons == pytest.approx(4 * one.saturated_electrons)
    torch.testing.assert_close(four.saturation, one.saturation)
    # Signal grows fourfold, and only the read noise does not.
    assert 2 < (one.threshold / four.threshold).item() < 4


def test_each_of_the_binned_pixels_has_its_dark_current():
    dark = {"dark_current": 300.0, "exposure_time": 0.05, "read_noise": 2.0}  # 15 electrons each
    sheet = optics.photon_transfer(
        optics.Sensor(500, quantum_efficiency=0.5, binning=2, bit_depth=None, gain=1200, **dark)
    )
    assert sheet.dark_noise == pytest.approx(math.sqrt(4 + 4 * 15))
    assert sheet.dark_mean.tolist() == pytest.approx([60 / 1200], rel=1e-6)
    assert sheet.saturated_electrons == 1200 - 60
    assert sheet.saturation.item() == pytest.approx((1200 - 60) / (4 * 0.5))


def test_another_light_and_a_learned_gain():
    sensor = optics.Sensor(1000, trainable_gain=True, bit_depth=12)
    with sensor.under(100):
        dim = optics.photon_transfer(sensor)
    assert dim.system_gain == pytest.approx(4095 / 60, rel=1e-5)
    assert not dim.mean.requires_grad
    mosaic = optics.Sensor(1000, cfa="rggb", quantum_efficiency=(0.3, 0.6, 0.4))
    curve = optics.photon_transfer(mosaic)
    assert curve.mean.shape == (3, 65)
    torch.testing.assert_close(curve.saturation[0], 2 * curve.saturation[1])


def test_a_sensor_without_noise_or_without_room_has_figures_too():
    ideal = optics.photon_transfer(
        optics.Sensor(1000, shot_noise="none", read_noise=0.0, bit_depth=None)
    )
    assert ideal.largest_snr == math.inf
    assert "inf dB" in str(ideal)
    assert ideal.mean.max() == 1  # the top code, however much more light there is
    dim = optics.photon_transfer(
        optics.Sensor(1e4, bit_depth=None, read_noise=1.0, dsnu=torch.full((4, 4), -300.0))
    )
    assert dim.dark_mean.tolist() == [0]
    with pytest.warns(UserWarning, match="3000.* black reads 1, and any light"):
        warm = optics.Sensor(1000, full_well=1000, dark_current=3000.0, exposure_time=1.0)
    full = optics.photon_transfer(warm)
    assert full.saturated_electrons == full.largest_snr == 0
    assert "-inf dB" in str(full)


def test_levels_of_light_are_looked_at():
    sensor = optics.Sensor()
    for wrong, message in (
        (torch.ones(2, 2), r"levels of light \[N\], not \[2, 2\]"),
        (torch.ones(0), r"levels of light \[N\], not \[0\]"),
        (torch.tensor([1.0, math.nan]), "must be finite, photons/pixel, and not negative"),
        (torch.tensor([-1.0]), "must be finite, photons/pixel, and not negative"),
    ):
        with pytest.raises(ValueError, match=message):
            optics.photon_transfer(sensor, wrong)
    with pytest.raises(TypeError, match="photons must be a Tensor"):
        optics.photon_transfer(sensor, 100.0)
    with pytest.raises(TypeError, match=r"sensor must be an optics\.Sensor, not Identity"):
        optics.photon_transfer(torch.nn.Identity())


@pytest.mark.parametrize(
    "options",
    [
        {"dsnu": 50.0},
        {"prnu": -0.5},
        {"dsnu": 50.0, "prnu": 0.2, "full_well": 6000.0, "binning": 2, "black_level": 20},
        {"dsnu": -30.0, "full_well": 6000.0},
    ],
)
def test_maps_that_do_not_average_zero_are_those_of_the_sensor(options):
    maps = {
        name: torch.full((64, 64), value)
        for name, value in options.items()
        if name in ("prnu", "dsnu")
    }
    sensor = optics.Sensor(10_000, read_noise=5.0, bit_depth=12, **{**options, **maps})
    light = torch.tensor([0.0, 1000.0, 4900.0, 9000.0])
    found = optics.photon_transfer(sensor, light)
    generator = torch.Generator().manual_seed(0)
    for level, mean, variance in zip(light, found.mean[0], found.variance[0], strict=True):
        scene = torch.full((200, 1, 64, 64), float(level) / 10_000)
        codes = sensor.codes(scene, generator=generator).double()
        count = codes.numel()
        # Six deviations of the mean of so many; and of their variance, for normal ones.
        error = 6 * (codes.var() / count).sqrt()
        assert float(codes.mean()) == pytest.approx(float(mean), abs=float(error) + 1e-6)
        assert float(codes.var()) == pytest.approx(
            float(variance), rel=6 * math.sqrt(2 / count), abs=0.05
        )
    dark = sensor.codes(torch.zeros(200, 1, 64, 64), generator=generator).double().mean()
    assert found.dark_mean.tolist() == pytest.approx([float(dark)], abs=0.05)
    # Saturation is where the mean comes to the last code, or to that of a full well.
    gain, pixels = float(sensor.gain), sensor.binning**2
    offset, response = options.get("dsnu", 0.0), 1 + options.get("prnu", 0.0)
    well = (sensor.full_well or math.inf) + offset
    last = min(sensor.top, sensor.black_level + pixels * well / gain)
    electrons = sensor.quantum_efficiency * float(found.saturation[0]) * response
    reached = sensor.black_level + pixels * (electrons + offset) / gain
    assert reached == pytest.approx(last, rel=1e-7)  # maps are float32
    assert found.limit == ("converter" if last == sensor.top else "full well")
