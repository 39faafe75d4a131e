import copy
import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optics import (
    CoherentImaging,
    FourierFilter,
    HeightMap,
    IncoherentImaging,
    LearnedKernel,
    PhaseMask,
    Pupil,
)
from optics.audit import GradientFault, audit_gradients

WAVELENGTH, FOCAL, SPACING = 550e-9, 0.05, 50e-6


def scene(channels=3, size=12):
    source = torch.Generator().manual_seed(3)
    return 0.1 + 0.8 * torch.rand(2, channels, size, size, generator=source)


def random_phase(size=16, scale=1.0):
    return scale * torch.rand(size, size, generator=torch.Generator().manual_seed(4))


def phase_pupil(phase):
    diameter = (len(phase) - 1) * SPACING
    return Pupil(
        [PhaseMask(phase, spacing=SPACING)],
        wavelengths=(WAVELENGTH,),
        focal_length=FOCAL,
        pixel_pitch=WAVELENGTH * FOCAL / diameter / 2.5,  # Q of about 2.5
        psf_size=16,
    )


class Outputs(NamedTuple):
    field: torch.Tensor
    label: torch.Tensor
    power: torch.Tensor


class Several(nn.Module):
    """A complex output, an integer one, and a parameter of the size of a wavelength."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(1e-6))
        self.zero = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        phase = 2 * math.pi * self.shift / 0.5e-6 * x + self.zero.sum()
        return Outputs(torch.polar(x, phase), x.argmax(), (x + self.zero.exp().prod()).square())


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, *, generator=None):
        self.calls += 1
        noise = torch.randn(x.shape, dtype=x.dtype, generator=generator)
        return self.gain * x + x.sqrt() * noise + torch.rand_like(x) + self.calls


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        pytest.param(LearnedKernel("sobel", 5), scene(), id="kernel"),
        pytest.param(LearnedKernel("gaussian", 3, signed=False), scene(), id="kernel-direct"),
        pytest.param(FourierFilter(12, "random", margin=2), scene(), id="filter-coherent"),
        pytest.param(
            FourierFilter(12, "random", margin=2, illumination="incoherent"), scene(), id="filter"
        ),
        pytest.param(
            IncoherentImaging(phase_pupil(nn.Parameter(random_phase()))), scene(1), id="incoherent"
        ),
        pytest.param(
            CoherentImaging(phase_pupil(nn.Parameter(random_phase()))), scene(1), id="coherent"
        ),
        pytest.param(phase_pupil(nn.Parameter(random_phase())), (), id="pupil-without-inputs"),
        pytest.param(Several(), torch.rand(5) + 0.5, id="several-outputs"),
        pytest.param(Noisy(), scene(1), id="noise-and-counter"),
        pytest.param(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)), torch.rand(8, 4), id="mlp"),
    ],
)
def test_right_gradients_pass(module, inputs):
    audit = audit_gradients(module, inputs)
    assert {entry.verdict for entry in audit.entries} == {"ok"}
    assert not audit.faults
    trainable = [name for name, p in module.named_parameters() if p.requires_grad]
    assert [e.name for e in audit.entries if not e.name.startswith("inputs")] == trainable
    for entry in audit.entries:
        assert entry.slope == pytest.approx(entry.difference, rel=1e-4)


def test_height_map_passes_with_call_and_a_complex_field():
    height = HeightMap(
        1e-6 * random_phase(8, 0.9),
        spacing=1e-5,
        material="fused_silica",
        design_wavelength=550e-9,
        minimum_feature=2e-5,
    )
    field = torch.polar(scene(1, 8)[0, 0], random_phase(8))
    audit = audit_gradients(height, field, call=lambda m, u: m(u, wavelength=550e-9))
    assert [entry.name for entry in audit.entries] == ["raw", "inputs[0]"]


def test_the_difference_is_that_of_a_closed_form():
    # loss = sum w z / norm(z), so that the gradient is w / norm and the norm of z is 5.
    class Same(nn.Module):
        def forward(self, z):
            return z

    entry = audit_gradients(Same(), torch.tensor([3.0, 4.0])).entries[0]
    weight = torch.randn(2, dtype=torch.float64, generator=torch.Generator().manual_seed(1000))
    assert entry.norm == pytest.approx(float(weight.norm()) / 5, rel=1e-12)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Detached(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.z, self.how = nn.Parameter(torch.tensor(0.3)), how

    def forward(self, x):
        return torch.sin(self.how(self.z) * x)


class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x.exp()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.factor * gradient * ctx.saved_tensors[0].exp(), None


class StraightThrough(nn.Module):
    def forward(self, x):
        return x + (torch.round(4 * x) / 4 - x).detach()


@pytest.mark.parametrize(
    ("module", "inputs", "name", "verdict"),
    [
        (Function(torch.poisson), 20 * scene(), "inputs[0]", "zero"),
        (Function(torch.round), 5 * scene(), "inputs[0]", "zero"),
        (Detached(torch.Tensor.item), scene(), "z", "no gradient"),
        (Detached(torch.Tensor.detach), scene(), "z", "no gradient"),
        (Function(torch.Tensor.detach), scene(), "inputs[0]", "no gradient"),
        (Function(torch.sqrt), torch.tensor([0.0, 1.0]), "inputs[0]", "not finite"),
        (Function(lambda x: Wrong.apply(x, 1.01)), scene(), "inputs[0]", "disagrees"),
        (Function(lambda x: Wrong.apply(x, 1.001)), scene(), "inputs[0]", "disagrees"),
        (Function(lambda x: Wrong.apply(x, -1.0)), scene(), "inputs[0]", "disagrees"),
        (StraightThrough(), scene(), "inputs[0]", "disagrees"),
    ],
)
def test_faults_are_found(module, inputs, name, verdict):
    with pytest.raises(GradientFault) as caught:
        audit_gradients(module, inputs)
    assert [e.name for e in caught.value.audit.faults] == [name]
    assert caught.value.audit.faults[0].verdict == verdict
    assert name in str(caught.value)
    assert verdict in str(caught.value)
    assert isinstance(caught.value, AssertionError)
    audit = audit_gradients(module, inputs, raise_on_fault=False)
    assert audit.faults[0].verdict == verdict
    if verdict == "disagrees":
        assert "by design for a straight-through quantiser" in str(audit)


def test_a_right_hand_written_gradient_passes():
    audit_gradients(Function(lambda x: Wrong.apply(x, 1.0)), scene())


def test_a_faint_but_right_gradient_passes():
    # Its difference drowns in the rounding of the loss to one per cent.
    faint = Function(lambda x: torch.stack((torch.ones_like(x), 1e-11 * x.sin())))
    assert audit_gradients(faint, scene()).entries[0].norm > 0


@pytest.mark.parametrize("at", [0.0, 3.0, -2e6])
@pytest.mark.parametrize(("factor", "zero"), [(0.8, True), (1.25, False)])
def test_a_gradient_is_zero_where_its_quantity_moves_no_digit_of_the_terms(at, factor, zero):
    weight = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(1000))
    # Terms of the loss of 1 and -1, which cancel and are rounded all the same: 1e-14 of 2.
    terms = torch.stack((1 / weight[0], -1 / weight[1]))
    share = factor * 2e-14 / (float(weight[2].abs()) * (abs(at) or 1.0))
    module = Function(lambda x: torch.cat((terms, share * x)))
    audit = audit_gradients(module, torch.tensor([at]), raise_on_fault=False)
    assert (audit.entries[0].verdict == "zero") == zero
    assert audit.entries[0].norm > 0


def test_shared_memory_and_inference_mode_do_not_matter():
    rows = torch.rand(1, 4, dtype=torch.float64).expand(3, 4)
    with torch.inference_mode():
        audit_gradients(nn.Linear(4, 2), rows)
        audit_gradients(nn.Linear(4, 2), torch.rand(3, 4))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), scale=st.floats(-9, 6))
def test_neither_size_nor_seed_let_a_wrong_gradient_pass(seed, scale):
    class Scaled(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.z, self.factor = nn.Parameter(torch.full((4,), 10.0**scale)), factor

        def forward(self, x):
            return Wrong.apply(self.z / 10**scale, self.factor) * x

    x = torch.rand(4, generator=torch.Generator().manual_seed(seed)) + 0.5
    audit_gradients(Scaled(1.0), x, generator_seed=seed)
    found = audit_gradients(Scaled(1.01), x, generator_seed=seed, raise_on_fault=False)
    assert [entry.verdict for entry in found.entries] == ["disagrees", "ok"]


@pytest.mark.parametrize("training", [True, False])
def test_everything_is_left_untouched(training):
    module = nn.Sequential(LearnedKernel("identity", 3), nn.BatchNorm2d(6), Noisy())
    module.train(training)
    module[1].weight.requires_grad_(False)
    module[0].raw.grad = torch.ones_like(module[0].raw)
    inputs = scene()
    before, input_before = copy.deepcopy(module.state_dict()), inputs.clone()
    state = torch.get_rng_state()
    with torch.no_grad():
        audit = audit_gradients(module, inputs, raise_on_fault=False)
        assert not torch.is_grad_enabled()
    assert torch.equal(state, torch.get_rng_state())
    assert [e.name for e in audit.entries] == ["0.raw", "1.bias", "2.gain", "inputs[0]"]
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert value.dtype == before[name].dtype
    assert torch.equal(inputs, input_before)
    assert not inputs.requires_grad
    assert inputs.grad is None
    assert torch.equal(module[0].raw.grad, torch.ones_like(module[0].raw))
    assert not module[1].weight.requires_grad
    assert all(part.training == training for part in module.modules())
    assert torch.get_default_dtype() == torch.float32


def test_nothing_to_audit_is_an_error():
    with pytest.raises(ValueError, match="nothing to audit: Identity has no parameter"):
        audit_gradients(nn.Identity(), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="returned no floating tensor, but Tensor"):
        audit_gradients(Function(torch.argmax), torch.rand(3))
    with pytest.raises(ValueError, match="step and rtol must be positive, not 0"):
        audit_gradients(nn.Identity(), torch.rand(3), step=0)
    with pytest.raises(ValueError, match="generator_seed must be a whole number, not True"):
        audit_gradients(nn.Identity(), torch.rand(3), generator_seed=True)


def test_a_conversion_to_single_precision_is_named_as_a_cause():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.width = nn.Parameter(torch.tensor(4.1))

        def forward(self):
            # Large beside what changes with the width, so that rounding is seen.
            return (1e3 + (0.01 * self.width).exp() * torch.ones(8)).to(torch.complex64)

    with pytest.raises(GradientFault, match=r"width .*or a conversion to float32 inside"):
        audit_gradients(Single(), ())
