import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import jv

import optics

_LAMBDA = 550e-9
_GREEN = torch.tensor([_LAMBDA], dtype=torch.float64)


def _random(seed, *shape):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _height_map(**options):
    given = {"spacing": 4e-6, "material": "fused_silica", "design_wavelength": _LAMBDA}
    return optics.HeightMap(1e-6 * _random(0, 16, 16), **(given | options))


ELEMENTS = {
    "lens": lambda: optics.Lens(
        16, spacing=4e-6, focal_length=torch.nn.Parameter(torch.tensor(5e-3))
    ),
    "phase": lambda: optics.PhaseMask(torch.nn.Parameter(_random(0, 16, 16).float()), spacing=4e-6),
    "phase-design": lambda: optics.PhaseMask(
        torch.nn.Parameter(_random(0, 16, 16).float()), spacing=4e-6, design_wavelength=_LAMBDA
    ),
    "amplitude": lambda: optics.AmplitudeMask(_random(0, 16, 16).float(), spacing=4e-6),
    "height": _height_map,
    "height-feature": lambda: _height_map(minimum_feature=12e-6),
    "height-levels": lambda: _height_map(levels=4),
    "cubic": lambda: optics.CubicMask(
        16,
        spacing=4e-6,
        diameter=64e-6,
        alpha=torch.nn.Parameter(torch.tensor(2.0)),
        design_wavelength=_LAMBDA,
    ),
    "aberration": lambda: optics.Aberration(
        16,
        spacing=4e-6,
        diameter=60e-6,
        indices=(4, 7),
        coefficients=torch.nn.Parameter(torch.tensor([50e-9, -30e-9])),
    ),
}


@pytest.fixture(params=list(ELEMENTS))
def element(request):
    return ELEMENTS[request.param]()


def test_no_element_makes_light_and_phase_keeps_it(element):
    wavelengths = torch.tensor([450e-9, 550e-9, 650e-9], dtype=torch.float64)
    t = element.double().transmission(wavelengths)
    assert t.shape in ((3, 16, 16), (1, 16, 16))
    assert t.abs().max() <= 1 + 1e-12
    field = torch.complex(_random(1, 2, 1, 16, 16), _random(2, 2, 1, 16, 16))
    behind = element(field, wavelength=wavelengths)
    assert behind.shape == (2, 3, 16, 16)
    power, before = behind.abs().square().sum((-2, -1)), field.abs().square().sum((-2, -1))
    if isinstance(element, optics.AmplitudeMask):
        assert (power < before).all()
    else:
        torch.testing.assert_close(power, before.expand_as(power), rtol=1e-12, atol=0)


def test_light_is_not_made_after_any_step_of_an_optimiser(element):
    optimiser = torch.optim.SGD(element.parameters(), lr=1e3)
    field = torch.ones(16, 16, dtype=torch.complex64)
    element(field, wavelength=_LAMBDA).real.sum().backward()
    optimiser.step()
    assert element.transmission(_GREEN).abs().max() <= 1 + 1e-6


def test_one_wavelength_is_one_of_several(element):
    field = torch.ones(16, 16, dtype=torch.complex128)
    several = element(field, wavelength=torch.tensor([450e-9, _LAMBDA], dtype=torch.float64))
    one = element(field, wavelength=_LAMBDA)
    assert one.shape == (16, 16)
    torch.testing.assert_close(one, several[-1])


def test_a_parameter_is_the_callers():
    phase = torch.nn.Parameter(torch.zeros(4, 4))
    assert optics.PhaseMask(phase, spacing=1e-6).phase is phase
    focal = torch.nn.Parameter(torch.tensor(1e-3))
    assert optics.Lens(4, spacing=1e-6, focal_length=focal).focal_length is focal
    assert not list(optics.Lens(4, spacing=1e-6, focal_length=1e-3).parameters())


def test_a_lens_has_the_phase_of_its_formula_and_focuses():
    n, dx, f = 64, 4e-6, 4e-3
    i = (np.arange(n) - n // 2) * dx
    expected = -np.pi * (i[:, None] ** 2 + i**2) / (_LAMBDA * f)
    phase = optics.lens_phase(n, spacing=dx, wavelength=_LAMBDA, focal_length=f)
    np.testing.assert_allclose(phase.numpy(), expected, rtol=1e-12, atol=1e-12)
    field = optics.Lens(n, spacing=dx, focal_length=f)(
        torch.ones(n, n, dtype=torch.complex128), wavelength=_LAMBDA
    )
    focus = optics.angular_spectrum(
        field.to(torch.complex128), spacing=dx, wavelength=_LAMBDA, distance=f
    )
    peak = focus.abs().square().argmax()
    assert divmod(int(peak), n) == (n // 2, n // 2)
    # sinc^2 spot of a square: (width^2 / (lambda f))^2 on the axis.
    expected = ((n * dx) ** 2 / (_LAMBDA * f)) ** 2
    assert float(focus.abs().square().max()) == pytest.approx(expected, rel=0.05)


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


def test_a_sinusoidal_phase_grating_has_bessel_orders():
    n, depth, cycles = 64, 1.3, 2
    x = torch.arange(n, dtype=torch.float64) - n // 2
    phase = (depth * torch.sin(2 * math.pi * cycles * x / n)).expand(n, n).contiguous()
    field = optics.PhaseMask(phase, spacing=1e-6)(torch.ones(n, n), wavelength=_LAMBDA)
    orders = torch.fft.fft2(torch.fft.ifftshift(field))[0] / n**2
    for m in range(-3, 4):
        assert float(orders[m * cycles].abs()) == pytest.approx(abs(jv(m, depth)), abs=1e-12)


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


def test_an_aberration_has_the_rms_of_its_coefficients():
    n, dx = 256, 1e-6
    coefficients = torch.tensor([40e-9, -30e-9, 20e-9], dtype=torch.float64)
    element = optics.Aberration(
        n, spacing=dx, diameter=250e-6, coefficients=coefficients, indices=(4, 6, 11)
    )
    path = element.transmission(_GREEN).angle()[0] * _LAMBDA / (2 * math.pi)
    y, x = np.indices((n, n)) - n // 2
    inside = np.hypot(y, x) < 125
    assert float(path[inside].std()) == pytest.approx(float(coefficients.norm()), rel=0.01)


def test_a_cubic_mask_is_odd_and_scales_with_wavelength():
    element = optics.CubicMask(
        17, spacing=1e-6, diameter=16e-6, alpha=0.2, design_wavelength=_LAMBDA
    ).double()
    phase = element.transmission(_GREEN).angle()[0]
    torch.testing.assert_close(phase, -phase.flip(-2, -1), atol=1e-6, rtol=0)
    assert float(phase[8, 16]) == pytest.approx(2 * math.pi * 0.2, rel=1e-6)
    twice = element.transmission(2 * _GREEN).angle()[0]
    torch.testing.assert_close(twice, phase / 2, atol=1e-6, rtol=1e-6)


def test_every_trainable_number_has_the_gradient_of_a_finite_difference(element):
    element = element.double()
    if isinstance(element, optics.HeightMap) and element.levels:
        element.levels = None  # a surrogate disagrees by design; it has a test of its own
    field = torch.complex(_random(1, 16, 16), _random(2, 16, 16))
    wavelengths = torch.tensor([450e-9, 600e-9], dtype=torch.float64)

    def loss(*values):
        named = dict(zip([n for n, _ in element.named_parameters()], values, strict=True))
        behind = torch.func.functional_call(element, named, (field,), {"wavelength": wavelengths})
        return (behind * field).real.square().sum()

    values = [p.detach().clone().requires_grad_() for p in element.parameters()]
    gradients = torch.autograd.grad(loss(*values), values)
    for i, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
        direction = _random(5, *value.shape) - 0.4
        scale = 1e-6 * float(value.detach().abs().max())
        ends = []
        for sign in (1, -1):
            moved = [v.detach() for v in values]
            moved[i] = moved[i] + sign * scale * direction
            ends.append(loss(*moved))
        slope = float((gradient * direction).sum())
        assert slope != 0
        assert float(ends[0] - ends[1]) / (2 * scale) == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optics.Lens(8, spacing=0, focal_length=1), "spacing must be positive .* metres"),
        (lambda: optics.lens_phase(8, spacing=1, wavelength=1, focal_length=0), "must not be 0 m"),
        (lambda: optics.PhaseMask(torch.zeros(3), spacing=1e-6), r"phase must be real .*\(3,\)"),
        (lambda: optics.PhaseMask(torch.full((2, 2), math.nan), spacing=1e-6), "phase must be fin"),
        (lambda: optics.AmplitudeMask(torch.full((2, 2), 1.5), spacing=1), "between 0 and 1"),
        (lambda: _height_map(material=0.9), "name a glass or be an index above 1, not 0.9"),
        (lambda: _height_map(material="glass"), "glass"),
        (lambda: _height_map(max_height=5e-7), "values must lie between 0 and 5e-07"),
        (lambda: _height_map(levels=1), "at least 2 levels, not 1"),
        (lambda: _height_map(minimum_feature=-1), "minimum_feature must be 0 metres or more"),
        (lambda: _height_map().draw_etch_error(-1), "sigma must be 0 metres RMS or more, not -1"),
        (lambda: optics.quantize_height(torch.ones(1), levels=1, period=1), "2 levels, not 1"),
        (lambda: optics.quantize_height(torch.ones(1), levels=2, period=0), "period must be pos"),
        (
            lambda: optics.quantize_height(torch.ones(1), levels=2, period=1, sharpness=30),
            r"sharpness must be from 0 \(a straight line\) to 20, not 30",
        ),
        (
            lambda: optics.Aberration(
                8, spacing=1, diameter=8, coefficients=torch.ones(2), indices=(1,)
            ),
            "2 coefficients need as many Noll indices, not 1",
        ),
        (
            lambda: optics.PhaseMask(torch.zeros(2, 2), spacing=1)(torch.ones(3, 3), wavelength=1),
            r"field must be \[\.\.\., 2, 2\], the size of the element, not \(3, 3\)",
        ),
        (
            lambda: optics.PhaseMask(torch.zeros(2, 2), spacing=1)(torch.ones(2, 2), wavelength=-1),
            "wavelength must be positive and finite, in metres, not -1",
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
