import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import parametrize

import optics


def _normal(seed, shape, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, dtype=torch.float64, generator=generator)


def test_clip_has_a_gradient_on_its_bounds():
    values = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.1], requires_grad=True)
    clipped = optics.clip(values)
    clipped.sum().backward()
    assert torch.equal(clipped, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
    assert values.grad.tolist() == [0, 1, 1, 1, 0]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.sampled_from([1, 3]), st.floats(1e-3, 1e3))
def test_energy_limited_kernels_never_make_light(seed, inputs, scale):
    kernel = optics.energy_limited(_normal(seed, (2, 3, inputs, 5, 5), scale))
    assert torch.isfinite(kernel).all()
    assert (kernel >= 0).all()
    leaving = kernel.sum((-4, -2, -1)) if inputs > 1 else kernel.sum((-3, -2, -1))
    assert leaving.max() <= 1 + 1e-12


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_energy_limited_inverse_returns_the_kernel(seed):
    # No tap below the floor of 7e-5, which the next test is about.
    kernel = _normal(seed, (2, 1, 5, 5)).abs() + 0.05
    kernel = 0.9 * kernel / kernel.sum((-2, -1), keepdim=True)
    again = optics.energy_limited(optics.energy_limited_inverse(kernel))
    torch.testing.assert_close(again, kernel, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("inputs", [1, 3])
@pytest.mark.parametrize("error", [0.0, 1e-7, -1e-7])
def test_a_kernel_that_uses_all_light_is_clear_of_the_bend_of_the_limit(inputs, error):
    kernel = _normal(0, (2, 3, inputs, 3, 3)).abs() + 0.05
    light = kernel.sum((-4, -2, -1) if inputs > 1 else (-2, -1), keepdim=True)
    kernel = kernel / light * (1 + error)
    raw = optics.energy_limited_inverse(kernel).requires_grad_()
    torch.testing.assert_close(optics.energy_limited(raw), kernel, rtol=2e-7, atol=0)
    assert torch.autograd.gradcheck(optics.energy_limited, (raw,), fast_mode=True)


def test_a_dark_tap_can_be_lit_again():
    kernel = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    kernel[..., 1, 1] = 0.5
    raw = optics.energy_limited_inverse(kernel).requires_grad_()
    result = optics.energy_limited(raw)
    torch.testing.assert_close(result, kernel, rtol=0, atol=1e-4)
    result[0, 0, 0, 0].backward()
    assert raw.grad is not None
    assert raw.grad[0, 0, 0, 0] > 1e-3


@pytest.mark.parametrize("shape", [(3, 1, 3, 3), (3, 3, 3, 3)])
def test_gradient_of_energy_limited(shape):
    raw = _normal(0, shape, 0.1).requires_grad_()
    assert torch.autograd.gradcheck(optics.energy_limited, (raw,))


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_a_kernel_that_is_not_light_is_refused(bad):
    kernel = torch.full((1, 1, 3, 3), 0.1)
    kernel[..., 0, 0] = bad
    with pytest.raises(ValueError, match="difference of two exposures"):
        optics.energy_limited_inverse(kernel)


@pytest.mark.parametrize("inputs", [1, 2])
def test_a_kernel_brighter_than_its_light_is_refused_and_not_normalised(inputs):
    kernel = torch.full((2, inputs, 2, 2), 0.25 / (1 if inputs == 1 else 2))
    with pytest.raises(ValueError, match="at most 1 for each input; here they reach 2: divide by"):
        optics.energy_limited_inverse(2 * kernel)
    with pytest.raises(ValueError, match=r"here they reach 1\.001"):
        optics.EnergyLimited().right_inverse(1.001 * kernel)
    for dtype, error in ((torch.float32, 1e-6), (torch.bfloat16, 5e-3)):
        near = optics.energy_limited_inverse(((1 + error) * kernel).to(dtype))
        assert torch.isfinite(near).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.floats(1e-6, 1e6))
def test_unit_disk_stays_inside(seed, scale):
    transmission = optics.unit_disk(_normal(seed, (2, 8, 8), scale))
    assert torch.isfinite(transmission.real).all()
    assert transmission.abs().max() <= 1 + 1e-12


def test_unit_disk_inverse_returns_the_transmission():
    phase = torch.linspace(-3, 3, 20, dtype=torch.float64)
    wanted = torch.polar(torch.linspace(0, 0.99, 20, dtype=torch.float64), phase)
    torch.testing.assert_close(optics.unit_disk(optics.unit_disk_inverse(wanted)), wanted)


@pytest.mark.parametrize("largest", [0.0, 1.0, 1.5, float("nan")])
def test_the_largest_modulus_is_inside_the_disk(largest):
    with pytest.raises(ValueError, match=f"largest must be above 0 and below 1.* not {largest}"):
        optics.unit_disk_inverse(torch.ones(2), largest=largest)


@pytest.mark.parametrize("shape", [(), (1, 4), (3, 4)])
def test_a_raw_transmission_has_two_parts(shape):
    with pytest.raises(
        ValueError, match=r"raw must be \[2, \.\.\.\], real and imaginary part, not"
    ):
        optics.unit_disk(torch.ones(shape))


@pytest.mark.parametrize("number", [float("nan"), complex(0, float("inf"))])
def test_a_transmission_that_is_no_number_has_no_raw_tensor(number):
    with pytest.raises(ValueError, match="transmission must be finite; it has NaN or infinite"):
        optics.unit_disk_inverse(torch.tensor([0.5, number]))


def test_a_real_transmission_has_no_phase():
    wanted = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64)
    raw = optics.unit_disk_inverse(wanted)
    assert torch.equal(raw, optics.unit_disk_inverse(wanted.to(torch.complex128)))
    torch.testing.assert_close(optics.unit_disk(raw), wanted.to(torch.complex128))


def test_an_opaque_cell_keeps_its_gradient():
    raw = optics.unit_disk_inverse(torch.zeros(3, dtype=torch.complex128)).requires_grad_()
    optics.unit_disk(raw).real.sum().backward()
    torch.testing.assert_close(raw.grad, torch.tensor([[1.0] * 3, [0.0] * 3]).double())
    assert torch.autograd.gradcheck(optics.unit_disk, (_normal(0, (2, 4)).requires_grad_(),))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(-5, 5), st.floats(1e-6, 10), st.floats(0.1, 100))
def test_bounded_values_stay_inside_and_come_back(seed, low, span, scale):
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(20, generator=generator, dtype=torch.float64)
    values = optics.bounded(scale * raw, low, low + span)
    assert low <= values.min() <= values.max() <= low + span
    inside = low + span * (0.01 + 0.98 * torch.rand(20, generator=generator, dtype=torch.float64))
    again = optics.bounded(optics.bounded_inverse(inside, low, low + span), low, low + span)
    torch.testing.assert_close(again, inside, rtol=1e-9, atol=1e-9 * span)


def test_a_start_on_a_bound_can_still_be_trained():
    raw = optics.bounded_inverse(torch.tensor([0.0, 2.0]), 0.0, 2.0).requires_grad_()
    values = optics.bounded(raw, 0.0, 2.0)
    torch.testing.assert_close(values, torch.tensor([0.002, 1.998]))
    values.sum().backward()
    assert (raw.grad > 1e-3).all()


def test_positive_values():
    values = torch.tensor([1e-9, 1.0, 1e6], dtype=torch.float64)
    torch.testing.assert_close(optics.positive(optics.positive_inverse(values)), values)
    with pytest.raises(ValueError, match="positive and finite; they go from 0 to 1"):
        optics.positive_inverse(torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize(
    ("symmetry", "move"),
    [
        ("mirror_x", lambda m: m.flip(-1)),
        ("mirror_y", lambda m: m.flip(-2)),
        ("point", lambda m: m.rot90(2, (-2, -1))),
        ("fourfold", lambda m: m.rot90(1, (-2, -1))),
    ],
)
def test_symmetric_maps_are_equal_to_their_image_and_to_themselves_again(symmetry, move):
    raw = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    result = optics.symmetric(raw, symmetry)
    torch.testing.assert_close(move(result), result)
    torch.testing.assert_close(optics.symmetric(result, symmetry), result)
    assert not torch.allclose(result, raw)


@pytest.mark.parametrize(
    ("constraint", "value"),
    [
        (optics.Bounded(-1, 3), torch.tensor([0.0, 2.0])),
        (optics.Positive(), torch.tensor([0.5, 2.0])),
        (optics.UnitDisk(), torch.tensor([0.5 + 0.1j, -0.3j])),
        (optics.EnergyLimited(), torch.full((1, 1, 2, 2), 0.2)),
        (optics.Symmetric("point"), torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
    ],
)
def test_constraints_are_parametrizations(constraint, value):
    module = torch.nn.Module()
    module.register_parameter("value", torch.nn.Parameter(value.clone()))
    parametrize.register_parametrization(module, "value", constraint)
    torch.testing.assert_close(module.value, value)
    module.value = value * 0.9
    torch.testing.assert_close(module.value, value * 0.9)
    optimiser = torch.optim.SGD(module.parameters(), lr=1.0)
    module.value.abs().square().sum().backward()
    optimiser.step()
    assert not torch.allclose(module.value, value * 0.9)


def test_bounds_and_symmetries_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="low must be below high, and both finite, not 1 and 1"):
        optics.Bounded(1, 1)
    with pytest.raises(ValueError, match="values must lie between 0 and 1; they go from -1 to 2"):
        optics.bounded_inverse(torch.tensor([-1.0, 2.0]), 0, 1)
    with pytest.raises(ValueError, match=r"symmetry must be one of .* not 'radial'"):
        optics.Symmetric("radial")
    with pytest.raises(ValueError, match=r"a quarter turn needs a square map, not \(2, 3\)"):
        optics.symmetric(torch.ones(2, 3), "fourfold")
    with pytest.raises(
        ValueError, match=r"raw must be a map \[\.\.\., H, W\], not of shape \(3,\)"
    ):
        optics.symmetric(torch.ones(3), "mirror_y")


def test_kernels_have_the_channels_that_they_join():
    kernels = torch.full((3, 5, 5), 0.01)
    for name, function in (
        ("raw", optics.energy_limited),
        ("kernel", optics.energy_limited_inverse),
    ):
        with pytest.raises(ValueError, match=rf"{name} must be .* \(3, 5, 5\): give .*\[:, None\]"):
            function(kernels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_transmission_of_half_precision_is_computed_in_single(dtype):
    raw = torch.randn(2, 9, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(optics.unit_disk(raw), optics.unit_disk(raw.float()))


_INVERSES = {
    "bounded": lambda values: optics.bounded_inverse(values, -1.0, 2.0),
    "positive": optics.positive_inverse,
    "energy": lambda values: optics.energy_limited_inverse(values[None, None] / 9),
}


@pytest.mark.parametrize("inverse", _INVERSES.values(), ids=_INVERSES)
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_inverses_are_mapped_and_compile_to_one_graph(inverse):
    values = 0.1 + 0.8 * torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(0))
    each = torch.stack([inverse(value) for value in values])
    torch.testing.assert_close(torch.func.vmap(inverse)(values), each)
    compiled = torch.compile(inverse, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(values[0]), each[0])
