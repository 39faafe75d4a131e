"""Sums that do not depend on their order, bit for bit."""

import pytest
import torch
from drawn import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from compress.exact import FRACTION_BITS, Residual, evaluate, snap


def net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = Residual(
            nn.Conv2d(24, 24, 3, padding=1, groups=24),
            nn.Conv2d(24, 48, 1),
            nn.ReLU(),
            nn.Conv2d(48, 24, 1),
        )
        return nn.Sequential(
            nn.Conv2d(3, 24, 8, 4, 2),
            block,
            nn.Conv2d(24, 24, 2, 2),
            nn.ConvTranspose2d(24, 3, 8, 4, 2),
        )


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.floats(-(2.0**30), 2.0**30), min_size=1, max_size=30),
    st.sampled_from([8, 16, 20]),
)
def test_snapping_is_rounding_to_a_multiple(values, bits):
    x = torch.tensor(values, dtype=torch.float64)
    assert torch.equal(snap(x, bits=bits), (x * 2.0**bits).round() / 2.0**bits)
    assert torch.equal(snap(snap(x, bits=bits), bits=bits), snap(x, bits=bits))


def test_snapping_passes_the_gradient_and_what_is_not_a_number():
    x = torch.tensor([0.3, -7.1], requires_grad=True)
    (slope,) = torch.autograd.grad(snap(x), x, torch.tensor([2.0, 3.0]).double())
    assert slope.tolist() == [2, 3]
    odd = snap(torch.tensor([float("nan"), float("inf"), 1e300, -3e20], dtype=torch.float64))
    assert odd.isnan().tolist() == [True, False, False, False]
    assert odd[1] == torch.inf
    assert odd[3] == pytest.approx(-3e20, rel=1e-15)


def test_what_need_not_be_exact_has_the_type_of_the_parameters():
    x = torch.rand(1, 3, 32, 40, generator=seeded())
    for kind in (torch.float64, torch.bfloat16):
        assert evaluate(net().to(kind), x, exact=False).dtype == kind
    assert evaluate(nn.ReLU(), x, exact=False).dtype == x.dtype  # without parameters


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.integers(1, 9))
def test_every_order_of_summation_gives_the_same_bits(seed, count):
    x = torch.rand(count, 3, 32, 40, generator=seeded(seed)) * 4 - 2
    layers = net(seed)
    whole = evaluate(layers, x, exact=True)
    assert torch.equal(whole, (whole * 2.0**FRACTION_BITS).round() / 2.0**FRACTION_BITS)
    for i in range(count):
        assert torch.equal(evaluate(layers, x[i : i + 1], exact=True)[0], whole[i])
    layouts = x.to(memory_format=torch.channels_last), x.mT.contiguous().mT, x.double()
    for layout in layouts:
        assert torch.equal(evaluate(layers, layout, exact=True), whole)


def test_the_convolutions_are_those_of_whole_numbers():
    # The same in integers, which cannot round: products of multiples of 2^-16.
    layer = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1))
    x = torch.rand(2, 3, 9, 9, generator=seeded()) * 4 - 2

    def whole(t):
        return (t.detach().double() * 2**FRACTION_BITS).round().long()

    patches = nn.functional.unfold(whole(x).double(), 3, padding=1).long()
    sums = whole(layer[0].weight).flatten(1) @ patches
    sums += (whole(layer[0].bias) * 2**FRACTION_BITS)[:, None]
    expected = (sums.double() / 2**FRACTION_BITS).round() / 2**FRACTION_BITS
    assert torch.equal(evaluate(layer, x, exact=True).flatten(2), expected)


def test_another_process_with_another_number_of_threads(fresh):
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]);"
        "torch.set_num_threads(int(sys.argv[2]));"
        "from test_exact import net, seeded; from compress.exact import evaluate;"
        "x = torch.rand(7, 3, 64, 64, generator=seeded());"
        "print(evaluate(net(), x, exact=True).detach().numpy().tobytes().hex()[:4000])"
    )
    printed = set()
    for threads in (1, 2, 3):
        run = fresh.run(code, __file__.rsplit("/", 1)[0], threads)
        assert run.returncode == 0, run.stderr
        printed.add(run.stdout)
    assert len(printed) == 1


def test_it_is_close_to_the_plain_evaluation_and_has_its_gradient():
    layers, x = net(), torch.rand(2, 3, 32, 32, generator=seeded()).requires_grad_()
    slopes, values = [], []
    for exact in (False, True):
        y = evaluate(layers, x, exact=exact)
        values.append(y.detach().double())
        slopes.append(torch.autograd.grad(y.square().sum(), [x, *layers.parameters()]))
    torch.testing.assert_close(values[1], values[0], rtol=0, atol=2e-3)
    for exact_slope, slope in zip(*reversed(slopes), strict=True):
        torch.testing.assert_close(exact_slope, slope, rtol=0.02, atol=0.02)


def test_autocast_does_not_reach_it():
    layers, x = net(), torch.rand(2, 3, 32, 32, generator=seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = evaluate(layers, x, exact=True)
    assert torch.equal(inside, evaluate(layers, x, exact=True))


def test_others_find_the_parameters_where_they_are():
    # Another thread may read them meanwhile: to evaluate too, or for the fingerprint of a file.
    found = []

    class Watched(nn.Conv2d):
        def forward(self, x):
            found.extend((layers[0].weight, layers[1][0].weight))
            return super().forward(x)

    layers = nn.Sequential(Watched(3, 3, 1), nn.Sequential(Watched(3, 3, 1)))
    parameters = layers[0].weight, layers[1][0].weight
    evaluate(layers, torch.rand(1, 3, 4, 4, generator=seeded()), exact=True)
    assert len(found) == 4
    assert all(now is then for now, then in zip(found, 2 * parameters, strict=True))


def test_a_layer_of_layers_is_evaluated_in_the_same_numbers():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(0.3))
            self.inner = nn.ModuleDict({"a": nn.Conv2d(3, 2, 3, bias=False), "b": nn.ReLU()})

        def forward(self, x):
            assert self.inner["a"].weight.dtype == self.scale.dtype == torch.float64
            assert layer.inner["a"].weight is weight  # that others see
            return self.inner["b"](self.inner["a"](x)) * self.scale

    layer, x = Pair(), torch.rand(1, 3, 8, 8, generator=seeded())
    weight = layer.inner["a"].weight
    kernel = snap(weight)
    expected = snap(nn.functional.conv2d(snap(x), kernel).relu() * snap(layer.scale))
    assert torch.equal(evaluate(layer, x, exact=True), expected)
    assert layer.scale.dtype == torch.float32
    assert len(list(layer.parameters())) == 2


def test_a_parametrized_weight_is_made_in_float64_and_is_one_of_the_numbers():
    layer = parametrizations.weight_norm(nn.Conv2d(3, 5, 3))
    scale, direction = layer.parametrizations.weight.parameters()
    with torch.no_grad():
        scale *= 0.37
    v = direction.detach().double()
    weight = scale.detach().double() * v / v.square().sum((1, 2, 3), keepdim=True).sqrt()
    x = torch.rand(3, 3, 9, 9, generator=seeded()) * 4 - 2
    expected = snap(nn.functional.conv2d(snap(x), snap(weight), snap(layer.bias)))
    made = evaluate(layer, x, exact=True)
    assert torch.equal(made, expected)
    assert torch.equal(evaluate(nn.Sequential(layer), x[1:2], exact=True), made[1:2])
    # Close to the plain evaluation: 28 products of numbers of 2^-17 off, none beyond 2.
    torch.testing.assert_close(layer(x).double(), made, rtol=0, atol=28 * 3 * 2.0**-17)
    made.sum().backward()
    exact_slopes = scale.grad, direction.grad
    plain_slopes = torch.autograd.grad(layer(x).sum(), (scale, direction))
    torch.testing.assert_close(exact_slopes, plain_slopes, rtol=1e-3, atol=1e-3)


def test_the_memory_of_a_parametrization_is_neither_used_up_nor_seen_in_training():
    layer = parametrizations.spectral_norm(nn.Conv2d(3, 5, 3))
    x = torch.rand(2, 3, 9, 9, generator=seeded())
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    made = [evaluate(layer.train(mode), x, exact=True) for mode in (True, True, False)]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
    assert layer.training is False
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert parametrize.is_parametrized(layer, "weight")
    assert layer.weight.dtype == torch.float32


def test_a_parametrized_layer_is_compiled_around_and_not_exported():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 5, 3)))

        def forward(self, x):
            return evaluate(self.layers, x, exact=True)

    module, x = Net(), torch.rand(2, 3, 9, 9, generator=seeded())
    with pytest.raises(TypeError, match=r"parametrized Conv2d .*\.remove_parametrizations"):
        torch.export.export(module, (x,))
    with torch.no_grad():  # with a graph, the compiler itself warns of weights that are no leaves
        assert torch.equal(torch.compile(module, backend="eager")(x), module(x))
    parametrize.remove_parametrizations(module.layers[0], "weight")
    torch.export.export(module, (x,))
