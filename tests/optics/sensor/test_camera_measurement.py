import math

import pytest
import torch

import optics


def _frames(sensor, level, *, count=24, channels=1, size=64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return sensor.codes(torch.full((count, channels, size, size), level), generator=draw)


def _camera(**options):
    given = {
        "photons": 8000, "gain": 1.4, "read_noise": 3.0, "bit_depth": 12, "black_level": 64,
        "prnu": 0.015, "dsnu": 6.0, "resolution": 64,
    }  # fmt: skip
    return optics.Sensor(**given | options, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("levels", [(0.7,), (0.2, 0.5, 0.7)])
@pytest.mark.parametrize(
    ("options", "channels"),
    [
        ({}, 1),
        ({"quantum_efficiency": (0.6, 0.3)}, 2),
        ({"cfa": "rggb", "demosaicing": "none", "quantum_efficiency": (0.4, 0.6, 0.3)}, 3),
    ],
)
def test_a_simulated_sensor_is_found_again(options, channels, levels):
    sensor = _camera(**options)
    flats = [_frames(sensor, e, channels=channels, seed=1 + i) for i, e in enumerate(levels)]
    dark = _frames(sensor, 0.0, channels=channels)
    flat = flats[0] if len(flats) == 1 else torch.stack(flats)
    found = optics.measure_sensor(flat, dark, cfa=options.get("cfa"))
    # Some five standard errors: of 24 frames of 4096 pixels, and of the maps their noise.
    assert found.gain == pytest.approx(1.4, rel=0.03)
    assert found.read_noise == pytest.approx(3.0, rel=0.03)
    assert sensor.prnu_map is not None
    assert sensor.dsnu_map is not None
    assert found.prnu == pytest.approx(float(sensor.prnu_map.std()), rel=0.05)
    assert found.dsnu == pytest.approx(float(sensor.dsnu_map.std()), rel=0.05)
    assert found.black_level == pytest.approx(64 + float(sensor.dsnu_map.mean()) / 1.4, abs=0.05)
    # The maps are those of the sensor, but for what its noise has left in 24 frames.
    for ours, theirs, least in (
        (found.prnu_map, sensor.prnu_map, 0.9),
        (found.dsnu_map, sensor.dsnu_map, 0.98),
    ):
        assert ours.shape == (64, 64)
        both = torch.stack([ours.flatten(), theirs.double().flatten()])
        assert both.corrcoef()[0, 1] > least
    again = optics.Sensor(
        8000, gain=found.gain, read_noise=found.read_noise, bit_depth=12,
        black_level=round(found.black_level), prnu=found.prnu_map, dsnu=found.dsnu_map,
    )  # fmt: skip
    assert _frames(again, 0.5, count=2).shape == (2, 1, 64, 64)
    assert "gain" in str(found)
    assert "PRNU        1.5" in str(found)


def test_of_few_frames_the_noise_in_time_is_no_pattern():
    sensor = _camera(prnu=0.0, dsnu=0.0)
    found = optics.measure_sensor(_frames(sensor, 0.7, count=4, seed=1), _frames(sensor, 0.0))
    left = float(found.prnu_map.std())
    assert left > 0.007  # half of the noise of a frame
    assert found.prnu < 0.2 * left
    assert found.dsnu < 0.3 * float(found.dsnu_map.std())


def test_moments_by_hand():
    flat = torch.tensor([10.0, 14.0, 20.0, 28.0]).view(2, 1, 1, 2)  # 10 and 20, 14 and 28
    dark = torch.tensor([1, 3, 3, 3]).view(2, 1, 1, 2)  # integers are codes, too
    with pytest.warns(
        UserWarning, match=r"changes by 55 % RMS .* 37 % of the temporal variance"
    ) as told:
        found = optics.measure_sensor(flat, dark, step=0.0)
    assert [warning.filename for warning in told] == [__file__]
    # Signals of 15 - 2 and 21 - 3. Off the means, 12 and 24, are -2 and 2, -4 and 4: squares of a
    # sum of 4 about their means over (2 - 1) (2 - 1). In the dark, off 2 and 3, -1 and 1: of 1.
    assert found.mean.tolist() == [15.5]
    assert found.variance.tolist() == [3]
    assert found.gain == pytest.approx(15.5 / 3)
    assert found.read_noise == pytest.approx(15.5 / 3)
    assert found.black_level == 2.5
    assert found.prnu_map.flatten().tolist() == pytest.approx([13 / 15.5 - 1, 18 / 15.5 - 1])
    assert found.dsnu_map.flatten().tolist() == pytest.approx([-0.5 * 15.5 / 3, 0.5 * 15.5 / 3])
    variance = 0.5 - 0.5  # of the means, less that in time over the frames
    assert found.dsnu == math.sqrt(variance)


@pytest.mark.parametrize("levels", [(0.02,), (0.02, 0.3, 0.6)])
def test_the_standard_error_is_the_scatter_of_the_gain(levels):
    sensor = _camera(prnu=0.01, resolution=12)
    found = []
    for seed in range(60):
        *flats, dark = (
            _frames(sensor, e, count=4, size=12, seed=4 * seed + i)
            for i, e in enumerate((*levels, 0.0))
        )
        found.append(optics.measure_sensor(torch.stack(flats), dark))
    gains = torch.tensor([each.gain for each in found])
    error = torch.tensor([each.gain_error for each in found]).mean()
    assert float(error) == pytest.approx(float(gains.std()), rel=0.25)  # of 60, +- 9 %
    assert abs(float(gains.mean()) - 1.4) < 4 * float(error) / math.sqrt(60)
    assert f"+- {found[0].gain_error:.2g} e-/DN (K" in str(found[0])


@pytest.mark.parametrize(("electrons", "read"), [(0.2, 0.3), (0.5, 0.1), (2.0, 1.0)])
def test_the_standard_error_holds_for_few_electrons(electrons, read):
    """Far from a normal distribution, and with noise in the dark that moves the mean."""
    draw = torch.Generator().manual_seed(3)
    gains, errors = [], []
    for _ in range(100):
        light = torch.poisson(torch.full((4, 1, 40, 40), electrons), generator=draw)
        noise = read * torch.randn(2, *light.shape, generator=draw)
        found = optics.measure_sensor(100 + light + noise[0], 100 + noise[1], step=0.0)
        gains.append(found.gain)
        errors.append(found.gain_error)
    assert float(torch.tensor(gains).std()) == pytest.approx(sum(errors) / 100, rel=0.2)


def test_the_variance_of_two_frames_is_half_that_of_their_difference():
    draw = torch.Generator().manual_seed(0)
    flat, dark = torch.randn(2, 2, 1, 6, 8, generator=draw).double()
    flat, dark = 100 + 3 * flat + torch.tensor([0.0, 3.0]).view(2, 1, 1, 1), dark[:2]
    found = optics.measure_sensor(flat, dark, step=0.0)
    halves = [(frames[1] - frames[0]).var().item() / 2 for frames in (flat, dark)]
    assert found.variance.item() == pytest.approx(halves[0] - halves[1])


@pytest.mark.parametrize("cfa", [None, "rggb"])
def test_a_lamp_that_is_unsteady_changes_nothing(cfa):
    sensor = _camera(gain=2.0)
    draw = torch.Generator().manual_seed(1)
    # Frames, and of mosaics each colour, change by 1 %: of 5600 electrons as much as the noise.
    colours = 1 + 0.01 * torch.randn(24, 1, 1, 4, generator=draw)
    even = torch.tensor([0.7, 0.4, 0.4, 0.2]) if cfa else torch.full((4,), 0.7)
    if cfa is None:
        colours = colours[..., :1].expand(-1, -1, -1, 4).clone()
    colours[..., 2] = colours[..., 1]  # both greens
    light = (colours * even).view(24, 1, 2, 2).repeat(1, 1, 32, 32)
    flat, dark = sensor.codes(light, generator=draw), _frames(sensor, 0.0)
    dark = dark + 3 * torch.randn(24, 1, 1, 1, generator=draw).round()  # the black level, too
    found = optics.measure_sensor(flat, dark, cfa=cfa)
    assert found.gain == pytest.approx(2.0, rel=0.03)
    assert found.read_noise == pytest.approx(3.0, rel=0.03)
    assert sensor.prnu_map is not None
    assert sensor.dsnu_map is not None
    assert found.prnu == pytest.approx(float(sensor.prnu_map.std()), rel=0.05)
    assert found.dsnu == pytest.approx(float(sensor.dsnu_map.std()), rel=0.05)


def test_light_that_is_unsteady_and_uneven_is_told():
    sensor = _camera(gain=2.0)
    draw = torch.Generator().manual_seed(1)
    shade = torch.linspace(1.0, 0.8, 64)[:, None].expand(-1, 64)

    def frames(change):
        lamp = 1 + change * torch.tensor([-1.0, 1.0]).repeat(8).view(-1, 1, 1, 1)
        return sensor.codes(0.7 * shade * lamp, generator=draw)

    dark = _frames(sensor, 0.0)
    assert optics.measure_sensor(frames(0.02), dark).gain == pytest.approx(2, rel=0.03)  # silent
    with pytest.warns(
        UserWarning, match="flat stack 0 changes by 10 % RMS .* 13 % of the temporal"
    ):
        found = optics.measure_sensor(frames(0.1), dark)
    assert found.gain / 2 - 1 == pytest.approx(-0.13, abs=0.03)


@pytest.mark.parametrize("seed", range(6))
def test_noise_in_the_dark_is_not_taken_for_uneven_light(seed):
    """In a stack of 5 electrons, read noise of 10 makes the means of 4 frames differ most."""
    draw = torch.Generator().manual_seed(seed)
    electrons = torch.tensor([5.0, 1000.0, 4000.0]).view(3, 1, 1, 1, 1).expand(3, 4, 1, 32, 32)
    light = torch.poisson(electrons, generator=draw)
    flat = 500 + light + 10 * torch.randn(light.shape, generator=draw)
    dark = 500 + 10 * torch.randn(light.shape[1:], generator=draw)
    optics.measure_sensor(flat.round(), dark.round())  # without a warning


def test_frames_of_many_rows_and_of_the_integers_of_a_file_are_measured():
    sensor = _camera(prnu=0.0, dsnu=0.0)
    # A light for each row, so that none is where another belongs.
    light = torch.linspace(0.2, 0.7, 150)[:, None].expand(4, 1, 150, 10)
    flat = sensor.codes(light, generator=torch.Generator().manual_seed(0))
    dark = sensor.codes(0 * light, generator=torch.Generator().manual_seed(1))
    found = optics.measure_sensor(flat, dark)
    signal = flat.double().mean(0) - dark.double().mean(0)
    assert torch.allclose(found.prnu_map, signal[0] / signal.mean() - 1, atol=1e-12)

    def spread(frames):
        rest = frames.double() - frames.double().mean((2, 3), keepdim=True)
        return rest.var(0).mean() * 1500 / 1499

    variance = spread(flat) - spread(dark)
    assert found.variance.tolist() == pytest.approx([variance.item()])
    again = optics.measure_sensor(flat.to(torch.uint16), dark.to(torch.uint16))
    assert again.gain == found.gain


@pytest.mark.filterwarnings("ignore:PRNU of .* comes mostly from 9 defective pixels")
@pytest.mark.parametrize("level", [1.145, 1.16, 1.185])
@pytest.mark.parametrize(
    "options", [{}, {"bit_depth": None, "black_level": 1 / 64, "gain": 5733.0}]
)
def test_saturated_light_is_told(level, options):
    sensor = _camera(prnu=0.0, dsnu=0.0, **options)
    flats = torch.stack([_frames(sensor, e, seed=1 + i) for i, e in enumerate((0.5, level))])
    dark = _frames(sensor, 0.0)
    step = 0.0 if options else 1.0
    full = 100 * (flats[1] == sensor.top).double().mean().item()
    assert full > 1
    told = f"{full:.3g} % of the codes of flat stack 1 are the highest, {sensor.top} DN: saturated"
    with pytest.warns(UserWarning, match=told) as found:
        optics.measure_sensor(flats, dark, step=step)
    assert [warning.filename for warning in found] == [__file__]
    optics.measure_sensor(flats[0], dark, step=step)  # silent
    # Nor do a few pixels that are stuck hide it, at or above the end.
    for stuck in (0, 30):
        hot = flats.clone()
        hot[..., 0, :9] = sensor.top + stuck * max(step, 1e-4)
        with pytest.warns(UserWarning, match=r"% of the codes of flat stack 1 are the highest"):
            optics.measure_sensor(hot, dark, step=step)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_full_well_is_told_by_stacks_in_front_of_it(channels):
    sensor = _camera(gain=2.0, full_well=4000, prnu=0.0, dsnu=0.0, photons=8000)
    dark = _frames(sensor, 0.0, channels=channels)
    levels = (1.0, 0.3, 0.1, 0.5)  # of any order
    flats = torch.stack(
        [_frames(sensor, e, channels=channels, seed=i) for i, e in enumerate(levels)]
    )
    with pytest.warns(
        UserWarning, match=r"over mean of flat stack 0 is \S+ of .* a full well"
    ) as told:
        optics.measure_sensor(flats, dark)
    assert [warning.filename for warning in told] == [__file__]
    assert optics.measure_sensor(flats[1:], dark).gain == pytest.approx(2.0, rel=0.02)  # silent


def test_stacks_that_differ_by_chance_are_not_told():
    sensor = _camera(prnu=0.0, dsnu=0.0)
    for seed in range(20):
        *flats, dark = (
            _frames(sensor, e, count=3, size=6, seed=4 * seed + i)
            for i, e in enumerate((0.05, 0.3, 0.6, 0.0))
        )
        optics.measure_sensor(torch.stack(flats), dark)


@pytest.mark.filterwarnings("ignore:DSNU of .* comes mostly from 9 defective pixels")
@pytest.mark.parametrize(
    ("black", "dsnu", "cut"), [(0, 0.0, True), (0, 8.0, True), (2, 0.0, True), (8, 0.0, False)]
)
def test_noise_in_the_dark_that_is_cut_off_is_told(black, dsnu, cut):
    sensor = _camera(gain=2.0, read_noise=6.0, black_level=black, dsnu=dsnu, prnu=0.0)
    flat, dark = _frames(sensor, 0.5, seed=1), _frames(sensor, 0.0)
    dark[:, 0, 0, :9] = 0  # dead pixels
    if not cut:
        optics.measure_sensor(flat, dark)  # silent
        return
    told = r"% of the dark codes are the lowest, 0 DN: noise below is clipped"
    with pytest.warns(UserWarning, match=told) as warned:
        found = optics.measure_sensor(flat, dark)
    assert [warning.filename for warning in warned] == [__file__]
    assert found.read_noise < 5.1


@pytest.mark.filterwarnings("ignore:noise in the dark is below half a step")
@pytest.mark.parametrize("noise", [0.2, 0.5, 0.7, 1.0, 2.0])  # DN
@pytest.mark.parametrize("size", [8, 64])
def test_few_codes_are_not_taken_for_saturation(noise, size):
    gain = 20.0
    sensor = optics.Sensor(
        (noise * gain) ** 2 + 7 * gain, quantum_efficiency=1.0, gain=gain, bit_depth=8,
        read_noise=0.1 * gain, black_level=8,
    )  # fmt: skip
    dark = _frames(sensor, 0.0, size=size)
    for seed in range(5):
        optics.measure_sensor(_frames(sensor, 1.0, count=4, size=size, seed=1 + seed), dark)


@pytest.mark.filterwarnings("ignore:noise in the dark is below half a step")
def test_a_code_with_most_pixels_is_not_taken_for_saturation_where_some_are_above():
    draw = torch.Generator().manual_seed(0)
    flat = (99.78 + 0.25 * torch.randn(4, 1, 64, 64, generator=draw)).round()
    assert 0 < (flat == 101).sum() < 0.01 * 64 * 64
    optics.measure_sensor(flat, torch.zeros(4, 1, 64, 64))  # of which 86 % are 100


@pytest.mark.filterwarnings("ignore:noise in the dark is below half a step")
def test_codes_that_show_no_noise_are_told():
    """Where most are the highest, those of clean light are as those of saturated light."""
    flat = torch.full((4, 1, 16, 16), 100.0)
    flat[0, 0, :8, :8] = 99
    with pytest.warns(UserWarning, match=r"93\.8 % of the codes .* or of noise well below a step"):
        optics.measure_sensor(flat, torch.zeros(4, 1, 16, 16))


@pytest.mark.parametrize("deep", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(("black", "error"), [(50.0, -1 / 12), (50.5, 1 / 6)])
def test_rounding_of_noise_below_half_a_step_is_told_and_bounded(deep, black, error):
    gain = 10.0

    def frames(electrons, noise, seed):
        draw = torch.Generator().manual_seed(seed)
        light = torch.poisson(torch.full((16, 1, 96, 96), electrons), generator=draw)
        return ((light + noise * torch.randn(light.shape, generator=draw)) / gain + black).round()

    level = (deep * gain) ** 2
    with pytest.warns(
        UserWarning, match="in the dark is below half a step, .* 0.4 DN only"
    ) as told:
        found = optics.measure_sensor(frames(level, 0.5, 0), frames(0.0, 0.5, 1))
    assert [warning.filename for warning in told] == [__file__]
    assert found.read_noise == pytest.approx(found.gain * math.sqrt(max(0.0, error)), abs=0.1)
    assert found.gain / gain == pytest.approx(deep**2 / (deep**2 - error), rel=0.02)
    found = optics.measure_sensor(frames(level, 0.5 * gain, 0), frames(0.0, 0.5 * gain, 1))
    assert found.gain == pytest.approx(gain, rel=0.02)
    assert found.read_noise == pytest.approx(0.5 * gain, rel=0.03)


@pytest.mark.parametrize("cfa", [None, "rggb"])
def test_rows_columns_and_pixels_of_a_pattern_are_found_apart(cfa):
    draw = torch.Generator().manual_seed(5)

    def pattern(row, column, pixel):
        sizes = ((64, 1), (1, 64), (64, 64))
        parts = [torch.randn(size, generator=draw) for size in sizes]
        parts = [each - each.mean() for each in parts]
        return [s * each / each.std() for s, each in zip((row, column, pixel), parts, strict=True)]

    gains, offsets = pattern(0.004, 0.008, 0.01), pattern(6.0, 2.0, 4.0)
    sensor = _camera(prnu=sum(gains), dsnu=sum(offsets), black_level=100)
    found = optics.measure_sensor(_frames(sensor, 0.7, seed=1), _frames(sensor, 0.0), cfa=cfa)
    # By the gain's 1 %, and of a mosaic the means of its kinds of rows, which are of its colours.
    assert found.prnu_parts[1:] == pytest.approx((0.004, 0.008, 0.01), rel=0.06)
    assert found.dsnu_parts[1:] == pytest.approx((6.0, 2.0, 4.0), rel=0.05)
    assert found.prnu_parts.total == found.prnu
    assert found.dsnu_parts.total == pytest.approx(found.dsnu)
    assert not found.defects.any()
    assert "  DSNU      7.4" in str(found)
    assert "defects     0 of 4096 pixels; without them" in str(found)
    # By brute force, of the maps: means of rows have a 64th of what is alone.
    rest = found.dsnu_map - found.dsnu_map.mean(0) - found.dsnu_map.mean(1, keepdim=True)
    alone = rest.square().sum() / 63**2
    by_rows = (found.dsnu_map.mean(1).var() - alone / 64).sqrt()
    assert found.dsnu_parts.row == pytest.approx(by_rows.item())


@pytest.mark.parametrize("cfa", [None, "rggb"])
def test_few_defective_pixels_are_told_and_do_not_count(cfa):
    sensor = _camera(prnu=0.01, dsnu=3.0)
    flat, dark = _frames(sensor, 0.5, seed=1), _frames(sensor, 0.0)
    clean = optics.measure_sensor(flat, dark, cfa=cfa)
    hot = torch.zeros(64, 64, dtype=torch.bool)
    hot.view(-1)[torch.randperm(4096, generator=torch.Generator().manual_seed(2))[:4]] = True
    flat, dark = (torch.where(hot, 4095.0, frames) for frames in (flat, dark))
    with pytest.warns(UserWarning, match="comes mostly from 4 defective pixels of 4096") as told:
        found = optics.measure_sensor(flat, dark, cfa=cfa)
    assert [str(warning.message)[:4] for warning in told] == ["PRNU", "DSNU"]
    assert {warning.filename for warning in told} == {__file__}
    assert torch.equal(found.defects, hot)
    assert found.dsnu > 100
    assert found.prnu > 0.025
    for ours, theirs in (
        (found.prnu_parts, clean.prnu_parts),
        (found.dsnu_parts, clean.dsnu_parts),
    ):
        assert ours.total == pytest.approx(theirs.total, rel=0.01)
        assert ours.pixel == pytest.approx(theirs.pixel, rel=0.01)
    # A pixel that is blind is defective by its sensitivity alone, and one of many is silent.
    flat, dark = _frames(sensor, 0.5, seed=1), _frames(sensor, 0.0)
    flat[..., 5, 7] = 64 + 0.85 * (flat[..., 5, 7] - 64)
    found = optics.measure_sensor(flat, dark, cfa=cfa)
    assert found.defects.nonzero().tolist() == [[5, 7]]


@pytest.mark.filterwarnings("ignore:noise in the dark is below half a step")
def test_a_neighbouring_code_is_no_defect_where_most_pixels_have_one():
    draw = torch.Generator().manual_seed(0)
    dark = 50 + (torch.rand(1, 64, 64, generator=draw) < 0.2).float().expand(8, -1, -1, -1)
    flat = dark + torch.poisson(torch.full((8, 1, 64, 64), 400.0), generator=draw)
    assert not optics.measure_sensor(flat, dark).defects.any()


@pytest.mark.parametrize(
    ("pattern", "period"), [("rggb", 2), (("rrgg", "rrgg", "ggbb", "ggbb"), 4)]
)
def test_a_mosaic_without_its_colours_is_told(pattern, period):
    options = {"cfa": pattern, "demosaicing": "none", "quantum_efficiency": (0.4, 0.6, 0.3)}
    sensor = _camera(**options)
    flat, dark = (_frames(sensor, e, channels=3, seed=i) for i, e in enumerate((0.5, 0.0)))
    told = rf"9\d.* % of the variance .* in blocks of {period} x {period}: .* give its cfa.*"
    with pytest.warns(UserWarning, match=told) as warned:
        found = optics.measure_sensor(flat, dark)
    assert [warning.filename for warning in warned] == [__file__]
    assert found.prnu > 0.2
    assert optics.measure_sensor(flat, dark, cfa=pattern).prnu == pytest.approx(0.015, rel=0.05)


def test_frames_that_say_nothing_are_refused():
    good, dark = torch.rand(3, 1, 4, 4) + 5, torch.zeros(2, 1, 4, 4)
    # Variances of 1 and 4 to those of 2 in the dark: their sum is larger, the slope is negative.
    turn = torch.tensor([-1.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    turn = turn * (-1.0) ** (torch.arange(4) + torch.arange(4)[:, None])  # not of whole frames
    uneven = torch.stack([100 + turn / math.sqrt(2), 10 + math.sqrt(2) * turn])
    for flat, unlit, message in (
        (good[:1], dark, r"flat must be \[N, C, H, W\] or .* two frames or more, not \[1, 1, 4, 4"),
        (good, dark[0], r"dark must be \[M, C, H, W\], raw codes of two frames or more"),
        (good, dark[..., :3], r"frames of one sensor, \[C, H, W\], not \[1, 4, 4\] and \[1, 4, 3"),
        (good * math.nan, dark, "flat must be finite"),
        (good.to(torch.complex64), dark, "flat must be real"),
        (dark, good, "more light and more noise in time than the dark ones"),
        (torch.ones(2, 1, 4, 4), dark, "more light and more noise in time than the dark ones"),
        (good[..., :1, :1], dark[..., :1, :1], "must have two pixels or more of each colour"),
        (uneven, turn, r"more noise .* mean \[100\.0, 10\.0\] DN and variance \[-[01]\.\d*, "),
    ):
        with pytest.raises(ValueError, match=message):
            optics.measure_sensor(flat, unlit)
    with pytest.raises(ValueError, match=r"step=-1\.0 is out of range"):
        optics.measure_sensor(good, dark, step=-1)
    with pytest.raises(TypeError, match="step must be one number, in DN, not"):
        optics.measure_sensor(good, dark, step=torch.ones(2))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"mosaics must be frames \[1, H, W\] of at least \[2, 2"):
        optics.measure_sensor(good.expand(-1, 3, -1, -1), dark.expand(-1, 3, -1, -1), cfa="rggb")
    with pytest.raises(TypeError, match="flat must be a Tensor"):
        optics.measure_sensor(good.numpy(), dark)  # pyright: ignore[reportArgumentType]
