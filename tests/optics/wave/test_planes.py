import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optics
from optics.wave import planes

# torch's own, at its first forward derivative
_FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")

_STEPS = (0.031, 0.05, 0.022)
_SIDES = st.tuples(st.integers(1, 13), st.integers(1, 13))


def _random(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(len(shape)))


def _sum(field, size, step, factor=1.0):
    """The defining sum, by numpy."""
    result = field.numpy()
    for axis in (-2, -1):
        j = np.arange(field.shape[axis]) - field.shape[axis] // 2
        k = np.arange(size[axis]) - size[axis] // 2
        kernel = factor * np.exp(-2j * np.pi * step * np.outer(k, j))
        result = np.moveaxis(np.tensordot(kernel, result, (1, axis)), 0, axis)
    return result


@settings(deadline=None, max_examples=60)
@given(_SIDES, _SIDES, st.sampled_from([("backward", 0.0), ("ortho", 0.5), ("forward", 1.0)]))
def test_the_folded_transform_is_the_defining_sum_for_even_and_odd_sizes(shape, size, norm):
    field = torch.complex(_random(2, 3, *shape), _random(2, 3, *shape, 1)[..., 0])
    name, power = norm
    result = planes.centred_dft(planes.as_planes(field), size, step=_STEPS, norm=name)
    assert result.shape == (2, 3, 2, *size)
    for i, step in enumerate(_STEPS):
        expected = _sum(field[:, i], size, step, step**power)
        np.testing.assert_allclose(planes.as_field(result[:, i]), expected, rtol=0, atol=1e-12)
    bare = planes.centred_dft(planes.as_planes(field), size, step=_STEPS, norm=name, phase=False)
    intensity = bare.square().sum(-3)
    torch.testing.assert_close(intensity, result.square().sum(-3), rtol=1e-11, atol=1e-12)


def test_one_step_and_steps_and_a_tensor_agree():
    field = planes.as_planes(torch.complex(_random(6, 7), _random(6, 7).roll(1)))
    several = planes.centred_dft(field, (4, 5), step=_STEPS)
    assert several.shape == (3, 2, 4, 5)
    for step, one in zip(_STEPS, several, strict=True):
        torch.testing.assert_close(planes.centred_dft(field, (4, 5), step=step), one)
    step = torch.tensor(_STEPS, dtype=torch.float64, requires_grad=True)
    by_matrix = planes.centred_dft(field, (4, 5), step=step)
    torch.testing.assert_close(by_matrix, several)
    assert torch.autograd.gradcheck(lambda s: planes.centred_dft(field, (4, 5), step=s), (step,))


@_FORWARD
@pytest.mark.parametrize("size", [(4, 5), (5, 4), (1, 2)])
@pytest.mark.parametrize("shape", [(6, 7), (7, 6)])
def test_gradients_of_the_folded_transform(shape, size):
    field = _random(3, 2, *shape).requires_grad_()

    def intensity(field):
        return planes.centred_dft(field, size, step=_STEPS, phase=False).square()

    assert torch.autograd.gradcheck(intensity, (field,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(intensity, (field,), fast_mode=True)
    shared = _random(2, *shape).requires_grad_()  # by all steps
    assert torch.autograd.gradcheck(intensity, (shared,))


@pytest.mark.parametrize("size", [(5, 4), (12, 13)])
def test_the_gradient_is_the_adjoint(size):
    field, other = _random(3, 2, 9, 8).requires_grad_(), _random(3, 2, *size)
    result = planes.centred_dft(field, size, step=_STEPS)
    (adjoint,) = torch.autograd.grad(result, field, other)
    assert float((result * other).detach().sum()) == pytest.approx(
        float((field * adjoint).detach().sum()), rel=1e-12
    )


@_FORWARD
@pytest.mark.parametrize("of_amplitude", [False, True])
def test_gradients_of_polar_planes(of_amplitude):
    amplitude = (_random(5).abs() + 0.1).requires_grad_(of_amplitude)
    phase = _random(2, 4, 5).requires_grad_()
    result = planes.polar_planes(amplitude, phase)
    expected = torch.polar(amplitude.expand(2, 4, 5), phase)
    torch.testing.assert_close(planes.as_field(result), expected, rtol=1e-14, atol=1e-14)
    options = {"check_forward_ad": True, "check_batched_grad": True}
    assert torch.autograd.gradcheck(planes.polar_planes, (amplitude, phase), **options)
    assert torch.autograd.gradgradcheck(planes.polar_planes, (amplitude, phase), fast_mode=True)


def test_a_dark_sample_has_a_gradient_to_its_amplitude():
    amplitude, phase = torch.zeros(1, 1, requires_grad=True), torch.full((1, 1), 0.3)
    (gradient,) = torch.autograd.grad(planes.polar_planes(amplitude, phase)[0].sum(), amplitude)
    torch.testing.assert_close(gradient, torch.cos(phase))


@_FORWARD
def test_function_transforms_and_compilers_see_through():
    amplitude, phases = _random(6, 7).abs(), _random(3, 6, 7)

    def brightness(phase):
        field = planes.polar_planes(amplitude, phase)
        # A step that nobody else uses: the kernels are made within the transform, and kept.
        return planes.centred_dft(field, (4, 3), step=0.0371).square().square().sum()

    each = torch.func.vmap(torch.func.grad(brightness))(phases)
    compiled = torch.compile(brightness, backend="aot_eager", fullgraph=True)
    for phase, transformed in zip(phases, each, strict=True):
        for run in (brightness, compiled):
            tap = phase.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(run(tap), tap)
            torch.testing.assert_close(gradient, transformed)
    hessian = torch.func.hessian(brightness)(phases[0])
    expected = torch.autograd.functional.hessian(brightness, phases[0])
    torch.testing.assert_close(hessian, expected)


def test_single_precision_autocast_and_half():
    field = _random(2, 128, 127)
    double = planes.centred_dft(field, (64, 63), step=0.004)
    single = planes.centred_dft(field.float(), (64, 63), step=0.004)
    assert single.dtype == torch.float32
    assert abs(single - double).max() <= 2e-6 * abs(double).max()
    tap = field.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = planes.centred_dft(tap, (64, 63), step=0.004)
        assert torch.equal(cast, single)
        (gradient,) = torch.autograd.grad(cast.square().sum(), tap)
    assert gradient.dtype == torch.float32
    assert planes.as_planes(torch.ones(2, 2, dtype=torch.bfloat16)).dtype == torch.float32
    assert planes.as_planes(torch.ones(2, 2, dtype=torch.complex128)).dtype == torch.float64


def test_a_field_of_planes_is_the_field():
    field = torch.complex(_random(3, 4), _random(3, 4).roll(1))
    assert torch.equal(planes.as_field(planes.as_planes(field)), field)
    assert torch.equal(planes.as_field(planes.as_planes(field.real)), field.real.to(field.dtype))


def test_a_psf_of_planes_is_that_of_its_pupil():
    field = torch.complex(_random(8, 8), _random(8, 8).roll(1))
    options = {
        "wavelength": (0.5, 0.6),
        "focal_length": 1.0,
        "pupil_spacing": 1.0,
        "pixel_pitch": 0.03,
    }
    expected = optics.psf_from_pupil(field, size=5, incident_power=2.0, **options)
    tensor = options | {"wavelength": torch.tensor([0.5, 0.6], dtype=torch.float64)}
    torch.testing.assert_close(
        optics.psf_from_pupil(field, size=5, incident_power=2.0, **tensor), expected
    )
    spread = optics.amplitude_spread(field, size=5, **options)
    torch.testing.assert_close(spread, optics.amplitude_spread(field, size=5, **tensor))
