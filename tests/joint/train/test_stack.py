import copy

import pytest
import torch
from small import Head
from torch import nn

import compress
import joint
import optics
from joint.train.stack import _joined, _Net, _obstacle, obstacles


def _nets(count=3, dropout=0.0):
    nets = []
    for seed in range(count):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            nets.append(Head())
        nets[-1].net[7].p = dropout
    return nets


class Priced(compress.Codec):
    """Its bits have a price that is no tensor."""

    channels = 3

    def __init__(self, price=1.0):
        super().__init__()
        self.price, self.gain = price, nn.Parameter(torch.ones(1))

    def forward(self, image, *, generator=None):
        del generator
        bits = self.price * image.square().mean(1, keepdim=True)
        return compress.Coded(self.gain * image, None, bits, bits.new_zeros(len(image)), "rounded")

    def compress(self, image):
        raise NotImplementedError

    def decompress(self, payloads):
        raise NotImplementedError


def test_a_stack_passes_and_learns_as_its_members_do():
    members, pictures = _nets(), [torch.rand(4, 3, 16, 16) for _ in range(3)]
    alone = copy.deepcopy(members)
    net = _Net(members)
    outputs = net(pictures)
    sum(output.square().sum() for output in outputs).backward()
    for member, other, picture, output in zip(members, alone, pictures, outputs, strict=True):
        expected = other(picture)
        expected.square().sum().backward()
        torch.testing.assert_close(output, expected)
        for one, two in zip(member.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(member.net[1].running_mean, other.net[1].running_mean)
    net.unstack()
    for member in members:
        for tensor in (*member.parameters(), *member.buffers()):
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_fields_of_a_code_are_those_of_each_member():
    codecs, pictures = [Priced(), Priced()], [torch.rand(2, 3, 4, 4) for _ in range(2)]
    with torch.no_grad():
        codecs[1].gain.fill_(3.0)
    for codec, picture, coded in zip(codecs, pictures, _Net(codecs)(pictures), strict=True):
        expected = codec(picture)
        torch.testing.assert_close(coded.reconstruction, expected.reconstruction)
        torch.testing.assert_close(coded.bits, expected.bits)
        assert (coded.latent, coded.rate) == (None, "rounded")


def test_types_are_not_mixed():
    with pytest.raises(TypeError, match="weight is of different types"):
        _joined([{"weight": torch.zeros(2)}, {"weight": torch.zeros(2).double()}])


def test_a_look_says_of_each_net_why_it_is_not_stacked():
    scenes = torch.rand(8, 3, 16, 16)

    def looked(change):
        systems = [
            joint.ImagingSystem(sensor=optics.Sensor(200), codec=Priced(), classifier=net)
            for net in _nets(2)
        ]
        change(*systems)
        before = copy.deepcopy([system.state_dict() for system in systems])
        state = torch.get_rng_state()
        found = obstacles(systems, scenes)
        assert torch.equal(torch.get_rng_state(), state)
        for system, old in zip(systems, before, strict=True):
            assert all(torch.equal(old[name], t) for name, t in system.state_dict().items())
        return found

    assert looked(lambda one, two: None) == {"codec": None, "classifier": None}
    lacking = looked(lambda one, two: setattr(two, "codec", None))
    assert lacking == {"codec": "only some of the systems have one", "classifier": None}
    found = looked(lambda one, two: two.classifier.net.eval())
    assert found["classifier"].startswith("some of them, or of their layers, are frozen")
    found = looked(lambda one, two: two.classifier.net.append(nn.Identity()))
    assert found["classifier"] == "they are of different architectures"


class Remembers(nn.Module):
    """Keeps a mean of what it saw, and a mask; ``assigns`` it, or changes it in place."""

    def __init__(self, momentum=0.1, *, assigns=False, begun=0.0):
        super().__init__()
        self.momentum, self.assigns = momentum, assigns
        self.scale = nn.Parameter(torch.ones(3, 1, 1))
        self.register_buffer("mean", torch.full((3,), begun))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("seen", torch.tensor(False))

    def forward(self, image):
        mean = image.detach().mean((0, 2, 3))
        if self.assigns:
            self.mean = self.mean.lerp(mean, self.momentum)
        else:
            self.mean.mul_(1 - self.momentum).add_(self.momentum * mean)
            self.seen.fill_(True)
        return self.scale * image


@pytest.mark.parametrize("begun", [0.0, 100.0])  # at first, and when little changes any more
def test_a_stack_that_remembers_something_else_is_not_taken(begun):
    pictures = [torch.rand(8, 3, 4, 4) for _ in range(2)]
    settings = [({}, {}), ({}, {"momentum": 0.01}), ({"assigns": True}, {"assigns": True})]
    found = []
    for pair in settings:
        members = [Remembers(begun=begun, **given) for given in pair]
        kept = [(member.mean, member.mean.clone()) for member in members]
        with torch.no_grad():
            found.append(_obstacle(members, pictures))
        for member, (mean, value) in zip(members, kept, strict=True):
            assert member.mean is mean
            assert torch.equal(mean, value)
            assert not member.seen
    assert found == [
        None,
        "stacked, they remember something else than one by one",
        "mean is a buffer that a pass assigns, and does not change in place",
    ]


def test_a_stack_whose_numbers_are_none_is_not_taken():
    class Scaled(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor  # no tensor: the stack would take the first one's for all
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, image):
            return self.weight * self.factor * image

    pictures = [torch.rand(8, 3, 4, 4) for _ in range(2)]
    found = [_obstacle([Scaled(f), Scaled(1.0)], pictures) for f in (1.0, torch.nan)]
    # Bits are compared as pictures are.
    nets = [[Priced(price), Priced()] for price in (1.0, 2.0)]
    found += [_obstacle(pair, pictures) for pair in nets]
    assert found == [None, "stacked, they give something else than one by one"] * 2


def test_a_layer_under_two_names_is_none_of_a_stack_if_it_has_weights():
    nets, pictures = _nets(2), [torch.rand(8, 3, 16, 16) for _ in range(2)]
    with torch.no_grad():
        for net in nets:
            net.twin = net.net[0]
        found = _obstacle(nets, pictures)
        assert found == "twin is a layer that is there under another name, too"
        for net in nets:
            net.twin = net.net[2]
        assert _obstacle(nets, pictures) is None
