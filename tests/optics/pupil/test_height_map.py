import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optics

_LAMBDA = 550e-9
_GREEN = torch.tensor([_LAMBDA], dtype=torch.float64)


def _random(seed, *shape):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _height_map(**options):
    given = {"spacing": 4e-6, "material": "fused_silica", "design_wavelength": _LAMBDA}
    return optics.HeightMap(1e-6 * _random(0, 16, 16), **(given | options))


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(optics.MATERIALS), st.floats(450e-9, 650e-9), st.floats(0, 2e-6))
def test_the_phase_of_a_relief_follows_its_index_and_repeats_each_wave(material, wavelength, h):
    index = optics.refractive_index(material, wavelength)
    height = torch.tensor([[h]], dtype=torch.float64)
    phase = optics.height_phase(height, wavelength=wavelength, index=index)
    assert float(phase) == pytest.approx(2 * math.pi * (index - 1) * h / wavelength, rel=1e-12)
    later = optics.height_phase(
        height + wavelength / (index - 1), wavelength=wavelength, index=index
    )
    assert float(later - phase) == pytest.approx(2 * math.pi, rel=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 16), st.floats(1e-7, 1e-5), st.integers(0, 2**31), st.floats(0, 20))
def test_exactly_l_levels(levels, period, seed, sharpness):
    height = period * (3 * _random(seed, 4000) - 1)
    rounded = optics.quantize_height(height, levels=levels, period=period, sharpness=sharpness)
    index = rounded / (period / levels)
    torch.testing.assert_close(index, index.round(), rtol=0, atol=1e-6)
    assert sorted(index.round().unique().tolist()) == list(range(levels))
    again = optics.quantize_height(rounded, levels=levels, period=period)
    torch.testing.assert_close(again, rounded, rtol=1e-9, atol=1e-9 * period)
    error = torch.remainder(rounded - height + period / 2, period) - period / 2
    assert error.abs().max() <= period / levels / 2 * (1 + 1e-9)
    full = optics.quantize_height(torch.tensor([period]), levels=levels, period=period)
    assert float(full) == 0


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 5.0, 20.0])
def test_the_surrogate_of_the_levels_is_the_slope_of_the_soft_staircase_and_never_zero(sharpness):
    height = torch.linspace(0.01, 1.99, 101, dtype=torch.float64, requires_grad=True)
    options = {"levels": 4, "period": 1.0, "sharpness": sharpness}
    soft = optics.quantize_height(height, hard=False, **options)
    (slope,) = torch.autograd.grad(soft.sum(), height)
    (surrogate,) = torch.autograd.grad(optics.quantize_height(height, **options).sum(), height)
    torch.testing.assert_close(surrogate, slope)
    assert (surrogate > 0).all()
    step = 1e-6
    up, down = (
        optics.quantize_height(height.detach() + s, hard=False, **options) for s in (step, -step)
    )
    smooth = (height.detach() * 4 - 0.5).frac().abs() > 1e-3
    numeric = (up - down) / (2 * step)
    torch.testing.assert_close(numeric[smooth], slope.detach()[smooth], rtol=1e-4, atol=1e-6)
    # The staircase climbs as much as the line it stands for.
    steps = optics.quantize_height(torch.arange(9.0) / 4, hard=False, **options)
    torch.testing.assert_close(steps, torch.arange(9.0) / 4)


@pytest.mark.parametrize("levels", [2, 3, 4, 8, 16])
def test_a_grating_of_l_levels_has_the_efficiency_of_its_formula(levels):
    samples, period = 960, 1e-6
    ramp = period * (torch.arange(samples, dtype=torch.float64) + 0.5) / samples
    # A level holds where the ramp is nearest to it; shift by half a level to whole steps.
    height = optics.quantize_height(ramp - period / levels / 2, levels=levels, period=period)
    phase = 2 * math.pi * height / period
    turns = 2 * math.pi * torch.arange(samples) / samples
    order = torch.exp(1j * (phase - turns)).mean().abs().square()
    assert float(order) == pytest.approx(np.sinc(1 / levels) ** 2, abs=1e-3)


@pytest.mark.parametrize("levels", [2, 16, 64])
def test_the_levels_of_a_deep_relief_reach_its_depth(levels):
    """Folded into one wave it would be another relief at every wavelength but one."""
    depth = 2.4e-6
    start = depth * torch.linspace(0.002, 0.998, 256, dtype=torch.float64).reshape(16, 16)
    options = {"spacing": 4e-6, "material": "fused_silica", "design_wavelength": _LAMBDA}
    deep = optics.HeightMap(start, max_height=depth, levels=levels, **options).double()
    assert depth > 2 * deep.period
    step = depth / (levels - 1)
    wanted = torch.arange(levels, dtype=torch.float64) * step
    torch.testing.assert_close(deep.height.detach().unique(), wanted, rtol=1e-9, atol=1e-18)
    assert (deep.height - start).abs().max() <= step / 2 * (1 + 1e-6)
    waves = torch.tensor([460e-9, _LAMBDA, 620e-9], dtype=torch.float64)
    smooth = optics.HeightMap(start, max_height=depth, **options).double()
    error = (deep.phase_shift(waves) - smooth.phase_shift(waves)).abs().amax((1, 2))
    index = optics.refractive_index("fused_silica", waves)
    assert (error <= math.pi * (index - 1) * step / waves * (1 + 1e-6)).all()
    with torch.no_grad():
        deep.raw.fill_(40.0)  # as high as can be made
    torch.testing.assert_close(deep.height, torch.full_like(start, depth))
    # One wave, told or not, counts as before: its top is its bottom.
    for told in (None, deep.period):
        flat = optics.HeightMap(
            start * (deep.period / depth), max_height=told, levels=levels, **options
        )
        assert float(flat.height.detach().max()) < flat.period * (1 - 0.9 / levels)


def test_a_height_map_starts_as_asked_and_stays_within_what_can_be_made():
    start = 1e-6 * _random(0, 16, 16)
    element = optics.HeightMap(
        start, spacing=4e-6, material=1.5, design_wavelength=_LAMBDA, max_height=1.05e-6
    ).double()
    torch.testing.assert_close(element.height, start.clamp_min(1.05e-9), rtol=1e-4, atol=1e-12)
    with torch.no_grad():
        element.raw.mul_(1e6)
    assert element.height.min() >= 0
    assert element.height.max() <= 1.05e-6 * (1 + 1e-9)
    assert optics.HeightMap(
        start / 10, spacing=4e-6, material=1.5, design_wavelength=_LAMBDA
    ).max_height == pytest.approx(1.1e-6)


def test_a_minimum_feature_is_a_round_one():
    options = {"spacing": 2e-6, "material": "fused_silica", "design_wavelength": 550e-9}
    post = torch.zeros(17, 17, dtype=torch.float64)
    post[8, 8] = 5e-7
    with_post, without = (
        optics.HeightMap(relief, minimum_feature=14e-6, **options).height.detach().double()
        for relief in (post, 0 * post)
    )
    made = (with_post - without) / (with_post - without).sum()
    # Covered parts of the samples by a disk of 7, on points 40 times as fine.
    fine = (torch.arange(17 * 40, dtype=torch.float64) + 0.5) / 40 - 8.5
    covered = (torch.hypot(fine[:, None], fine) <= 3.5).double().reshape(17, 40, 17, 40)
    expected = covered.mean((1, 3)) / covered.mean((1, 3)).sum()
    torch.testing.assert_close(made, expected, rtol=0, atol=0.2 * float(expected.max()))
    assert float(made[5, 5]) < 0.05 * float(made[8, 8])


def test_a_minimum_feature_smooths_smaller_detail_away():
    checkers = torch.from_numpy(np.indices((32, 32)).sum(0) % 2) * 1e-6
    options = {"spacing": 2e-6, "material": 1.5, "design_wavelength": _LAMBDA}
    rough = optics.HeightMap(checkers, **options).height
    smooth = optics.HeightMap(checkers, minimum_feature=14e-6, **options).height
    assert rough.std() > 0.9 * checkers.std()
    assert smooth.std() < 0.05 * checkers.std()


def test_etch_errors_have_the_size_asked_for_and_repeat():
    element = optics.HeightMap(
        torch.full((128, 128), 5e-7), spacing=1e-6, material=1.5, design_wavelength=_LAMBDA
    )
    clean = element.transmission(_GREEN)
    for width in (0.0, 6e-6):
        element.draw_etch_error(2e-8, generator=torch.Generator().manual_seed(3), width=width)
        first = element.etch_error
        element.draw_etch_error(2e-8, generator=torch.Generator().manual_seed(3), width=width)
        assert torch.equal(first, element.etch_error)
        assert float(first.std()) == pytest.approx(2e-8, rel=0.15)
        neighbours = (first[:, 1:] * first[:, :-1]).mean() / first.square().mean()
        assert (neighbours > 0.7) == (width > 0)
    assert not torch.allclose(element.transmission(_GREEN), clean)
    assert "etch_error" not in element.state_dict()
    element.draw_etch_error(0)
    assert torch.equal(element.transmission(_GREEN), clean)


def test_a_height_in_whole_metres_is_not_cut_to_whole_radians():
    heights = torch.tensor([[1, 2]])
    phase = optics.height_phase(heights, wavelength=0.7e-4, index=1.5)
    assert torch.equal(phase, optics.height_phase(heights.float(), wavelength=0.7e-4, index=1.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _height_map(material=0.9), "name a glass or be an index above 1, not 0.9"),
        (lambda: _height_map(material="glass"), "glass"),
        (lambda: _height_map(max_height=5e-7), "height, metres, must lie between 0 and 5e-07"),
        (
            lambda: _height_map(max_height=1.0),
            "max_height must span less than the relief is wide, .*: it spans 1, and 16 samples "
            "4e-06 apart are 6.4e-05 wide; 0.5 um are 0.5e-6",
        ),
        (lambda: _height_map(levels=1), "levels must be a whole number of at least 2, not 1"),
        (lambda: _height_map(minimum_feature=-1), "minimum_feature must be 0 metres or more"),
        (lambda: _height_map(minimum_feature=20.0), "minimum_feature must be at most .* not 20"),
        *(
            (
                lambda sigma=sigma: _height_map().draw_etch_error(sigma),
                f"sigma must be in metres RMS, 0 to 1e-2, not {sigma:g}: 20 nm are 2e-8",
            )
            for sigma in (-1, 20.0, math.nan)
        ),
        (
            lambda: _height_map().draw_etch_error(1e-8, width=-5e-4),
            "width must be 0 metres or more, not -0.0005",
        ),
        (
            lambda: _height_map().draw_etch_error(1e-8, width=math.nan),
            "width must be 0 metres or more, not nan",
        ),
        (lambda: optics.quantize_height(torch.ones(1), levels=2.5, period=1), "not 2.5"),
        (lambda: optics.quantize_height(torch.ones(1), levels=2, period=0), "period must be pos"),
        (
            lambda: optics.quantize_height(torch.ones(1), levels=2, period=1, sharpness=30),
            r"sharpness must be from 0 \(a straight line\) to 20, not 30",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_units_are_printed():
    text = repr(_height_map(levels=4))
    assert "spacing=4e-06 m" in text
    assert "design_wavelength=5.5e-07 m" in text
    assert "levels=4" in text


def test_a_material_is_a_name_or_an_index():
    with pytest.raises(ValueError, match=r"material must name a glass or .* above 1, not None"):
        _height_map(material=None)


@pytest.mark.parametrize("given", [np.float32, torch.tensor, lambda n: torch.tensor([n])])
def test_an_index_is_kept_as_a_number(given):
    element = _height_map(material=given(1.5))
    assert element.material == 1.5
    assert type(element.material) is float
    assert torch.equal(element.phase_shift(_GREEN), _height_map(material=1.5).phase_shift(_GREEN))


@pytest.mark.parametrize(
    ("name", "number"), [("material", 1.5), ("max_height", 2e-6), ("minimum_feature", 2e-6)]
)
def test_what_is_not_learned_is_said(name, number):
    with pytest.raises(TypeError, match=f"{name} is not learned here"):
        _height_map(**{name: torch.nn.Parameter(torch.tensor(number))})


def test_half_precision_keeps_the_relief_and_its_etch_error():
    half = _height_map().half()
    full = copy.deepcopy(half).float()
    torch.testing.assert_close(half.phase_shift(_GREEN), full.phase_shift(_GREEN))
    for element in (half, full):
        element.draw_etch_error(1e-8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(half.etch_error, full.etch_error)


@pytest.mark.parametrize(("depth", "levels"), [(4e-7, 2), (5e-7, 4), (8e-7, 4), (1.6e-6, 3)])
def test_levels_stay_within_the_depth_that_can_be_made(depth, levels):
    relief = torch.linspace(0.001, 0.999, 64).reshape(8, 8) * depth
    made = optics.HeightMap(
        relief, max_height=depth, levels=levels, spacing=1e-6, material=1.5,
        design_wavelength=550e-9,
    )  # fmt: skip
    heights = made.height.detach().unique()
    assert len(heights) == levels
    assert float(heights.max()) == pytest.approx(depth, rel=1e-5)


def test_an_etch_error_is_as_wide_as_the_relief_at_most():
    element = optics.HeightMap(
        torch.zeros(20, 20), spacing=1e-6, material=1.5, max_height=1e-6, design_wavelength=550e-9
    )
    element.draw_etch_error(1e-8, width=19e-6)
    assert element.etch_error.shape == (20, 20)
    for width in (20e-6, 1.0):
        with pytest.raises(ValueError, match=r"width must be at most 1\.9e-05 metres, an odd"):
            element.draw_etch_error(1e-8, width=width)


def test_an_etch_error_adds_to_the_relief():
    """Against the relief of the sum of both; and glass that is too high delays light."""
    height = torch.full((16, 16), 5e-7, dtype=torch.float64)
    options = {"spacing": 1e-6, "material": 1.5, "design_wavelength": _LAMBDA}
    element = optics.HeightMap(height, **options).double()
    clean = element.phase_shift(_GREEN).detach()
    element.draw_etch_error(2e-8, generator=torch.Generator().manual_seed(3))
    error, found = element.etch_error, element.phase_shift(_GREEN).detach()
    summed = optics.HeightMap(height + error, **options).double().phase_shift(_GREEN).detach()
    torch.testing.assert_close(found, summed, rtol=0, atol=1e-5)
    expected = 2 * torch.pi * 0.5 * error / _LAMBDA
    torch.testing.assert_close((found - clean)[0], expected, rtol=0, atol=1e-9)


def test_an_etch_error_is_as_large_at_the_rim_as_in_the_middle():
    element = optics.HeightMap(
        torch.full((24, 24), 5e-7), spacing=1e-6, material=1.5, design_wavelength=_LAMBDA
    )
    source, squares = torch.Generator().manual_seed(0), torch.zeros(24, 24)
    for _ in range(200):
        element.draw_etch_error(2e-8, generator=source, width=5e-6)
        squares += (element.etch_error / 2e-8).square() / 200
    # About 900 independent errors along the rim: their mean square is off by 5 %, one sigma.
    rim = torch.cat((squares[0], squares[-1], squares[1:-1, 0], squares[1:-1, -1])).mean()
    assert abs(float(rim) - 1) < 0.2
    assert abs(float(squares[4:-4, 4:-4].mean()) - 1) < 0.1


def test_an_etch_error_is_as_wide_as_the_shorter_side_at_most():
    for size in ((20, 40), (40, 20)):
        element = optics.HeightMap(
            torch.zeros(size), spacing=1e-6, material=1.5, max_height=1e-6, design_wavelength=550e-9
        )
        element.draw_etch_error(1e-8, width=19e-6)
        assert element.etch_error.shape == size
        with pytest.raises(ValueError, match=r"width must be at most 1\.9e-05 metres"):
            element.draw_etch_error(1e-8, width=21e-6)
