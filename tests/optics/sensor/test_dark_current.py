import math

import numpy as np
import pytest
import torch
from scipy import stats

import optics

TIMES = torch.tensor([0.05, 0.2, 0.4, 0.6, 0.8, 1.0])


def _stacks(current=200.0, *, gain=1.5, black=32, count=8, seed=0, **options):
    draw = torch.Generator().manual_seed(seed)
    stacks = []
    for time in TIMES.tolist():
        camera = optics.Sensor(
            5000, gain=gain, black_level=black, bit_depth=12, read_noise=4.0,
            dark_current=current, exposure_time=time, **options,
        )  # fmt: skip
        stacks.append(camera.codes(torch.zeros(count, 1, 48, 48), generator=draw))
    return torch.stack(stacks)


def test_the_current_of_a_simulated_sensor_is_found_by_both_ways():
    dark = _stacks(shot_noise="poisson")
    found = optics.measure_dark_current(dark, TIMES, gain=1.5)
    assert found.from_mean == pytest.approx(200, rel=0.005)
    assert found.from_variance == pytest.approx(200, rel=0.03)
    assert abs(found.from_mean - 200) < 5 * found.mean_error
    assert abs(found.from_variance - 200) < 5 * found.variance_error
    # By numpy and scipy, from the frames themselves: these have no drift to be taken off.
    codes = dark.double().numpy()
    for ours, error, values in (
        (found.from_mean, found.mean_error, 1.5 * codes.mean((1, 2, 3, 4))),
        (found.from_variance, found.variance_error, 1.5**2 * codes.var(1, ddof=1).mean((1, 2, 3))),
    ):
        line = stats.linregress(TIMES.double().numpy(), values)
        assert ours == pytest.approx(line.slope, rel=0.002)
        assert error == pytest.approx(line.stderr, rel=0.1)
    np.testing.assert_allclose(found.mean, codes.mean((1, 2, 3, 4)))
    assert found.variance.shape == (6,)


def test_a_black_level_that_is_held_hides_the_mean_and_not_the_variance():
    dark = _stacks()
    held = dark - dark.mean((1, 2, 3, 4), keepdim=True).round() + 32
    drifting = held + torch.arange(8).view(1, 8, 1, 1, 1) % 3  # of whole frames
    for frames in (held, drifting):
        found = optics.measure_dark_current(frames, TIMES, gain=1.5)
        assert abs(found.from_mean) < 2
        assert found.from_variance == pytest.approx(200, rel=0.03)


def test_frames_by_hand():
    turn = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).view(1, 2, 1, 1, 2)  # about its mean, each
    noise = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1, 1)
    level = torch.tensor([10.0, 14.0, 18.0]).view(3, 1, 1, 1, 1)
    time = torch.tensor([0.0, 1.0, 2.0])
    found = optics.measure_dark_current(level + noise.sqrt() * turn, time, gain=2.0, step=0.0)
    # Squares of 2 n about the means, over (2 - 1) (2 - 1) and two pixels: times 2, each.
    assert found.mean.tolist() == [10, 14, 18]
    assert found.variance.tolist() == pytest.approx([4, 8, 12])
    assert (found.from_mean, found.mean_error) == (8, 0)
    assert found.from_variance == pytest.approx(16, rel=1e-5)  # of float32
    assert found.variance_error == pytest.approx(0, abs=1e-4)


def test_noise_that_is_cut_off_or_hidden_is_told():
    with pytest.warns(UserWarning, match=r"dark stack 0: .* codes are the lowest, 0 DN") as told:
        optics.measure_dark_current(_stacks(20.0, black=0), TIMES, gain=1.5)
    assert [warning.filename for warning in told] == [__file__]
    with pytest.warns(UserWarning, match="dark stack 0: noise in the dark is below half a step"):
        optics.measure_dark_current(_stacks(20.0, gain=20.0), TIMES, gain=20.0)


def test_frames_that_say_nothing_are_refused():
    dark = torch.rand(3, 2, 1, 4, 4) + 10
    times = torch.tensor([0.1, 0.2, 0.3])
    for frames, time, message in (
        (dark[0], times, r"dark must be \[E, M, C, H, W\], raw codes of two frames or more"),
        (dark[:, :1], times, "raw codes of two frames or more"),
        (dark[..., :1, :1], times, r"dark frames of \[1, 1\] must have two pixels or more"),
        (dark * math.nan, times, "dark must be finite"),
        (dark, times[:2], "one time for each of the 3 stacks, s, not below 0, not"),
        (dark, -times, "one time for each of the 3 stacks, s, not below 0, not"),
        (dark, times * math.inf, "exposure_time must be finite"),
        (dark, torch.tensor([0.1, 0.1, 0.2]), "of 3 different times or more, .* line and its err"),
    ):
        with pytest.raises(ValueError, match=message):
            optics.measure_dark_current(frames, time, gain=1.0)
    with pytest.raises(ValueError, match=r"gain=0\.0 is out of range; give electrons for one DN"):
        optics.measure_dark_current(dark, times, gain=0)
    with pytest.raises(ValueError, match=r"step=-1\.0 is out of range"):
        optics.measure_dark_current(dark, times, gain=1, step=-1)
    with pytest.raises(TypeError, match="exposure_time must be a Tensor, not list"):
        optics.measure_dark_current(dark, [0.1], gain=1)  # pyright: ignore[reportArgumentType]
