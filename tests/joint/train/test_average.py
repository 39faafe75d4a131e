import math

import numpy as np
import pytest
import torch
from torch import nn

from joint.train import average as parts
from joint.train.average import agree, follow, lent


class Net(nn.Module):
    """A real weight, a complex one, a count, and a mask."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.phase = nn.Parameter(torch.tensor([1 + 1j], dtype=torch.complex128))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))

    def move(self, step):
        with torch.no_grad():
            self.weight += step
            self.phase += 1j * step
            self.count += 1


@pytest.mark.parametrize("averaging", [0.3, 0.999])
def test_an_average_is_the_weighted_sum_of_all_weights_so_far(averaging):
    """Weights ``1 - d_k`` of each step, times the decays of all after it."""
    net, average, path = Net(), {}, []
    for step in range(1, 9):
        net.move(step)
        follow(average, net, averaging=averaging, steps=step)
        path.append((net.weight.detach().numpy().copy(), net.phase.detach().numpy().copy()))
    decays = np.array([0, *(min(averaging, (1 + k) / (10 + k)) for k in range(2, 9))])
    shares = [(1 - decays[k]) * decays[k + 1 :].prod() for k in range(8)]
    assert sum(shares) == pytest.approx(1)
    for name, number in (("weight", 0), ("phase", 1)):
        expected = sum(share * path[k][number] for k, share in enumerate(shares))
        np.testing.assert_allclose(average[name].numpy(), expected, rtol=1e-12)
    assert average["count"] == 8
    assert torch.equal(average["mask"], net.mask)


def test_an_average_begins_as_a_copy():
    net, average = Net(), {}
    follow(average, net, averaging=0.9, steps=1)
    net.move(1)
    assert average["weight"].tolist() == [1.0, -2.0]
    assert not average["weight"].requires_grad


def test_an_average_is_lent_and_the_weights_come_back():
    net, average = Net(), {}
    follow(average, net, averaging=0.9, steps=1)
    net.move(3)
    seen = []

    def fail():
        with lent(average, net):
            seen.append(net.weight.tolist())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [[1.0, -2.0]]
    assert net.weight.tolist() == [4.0, 1.0]
    with lent({}, net):
        assert net.weight.tolist() == [4.0, 1.0]


def test_buffers_of_processes_become_their_mean_and_equal_ones_keep_their_bits(monkeypatch):
    """Of two, the other of which has numbers one larger, and process 0 is this one."""
    net = Net()
    net.register_buffer("mean", torch.tensor([0.1, 0.7]))
    average = {"mean": torch.tensor([3.0, 4.0]), "weight": torch.tensor([5.0])}
    own = {id(tensor) for tensor in (net.mean, average["mean"])}
    others = {0: 1.0}

    def reduce(off):
        return off + others[0]

    monkeypatch.setattr(parts, "world_size", lambda: 2)
    monkeypatch.setattr(parts.dist, "broadcast", lambda tensor, source: None)
    monkeypatch.setattr(parts, "all_reduce", reduce)
    agree(net, average)
    torch.testing.assert_close(net.mean, torch.tensor([0.6, 1.2]))
    assert average["mean"].tolist() == [3.5, 4.5]
    assert average["weight"].tolist() == [5.0]  # no buffer: all processes took the same steps
    assert {id(net.mean), id(average["mean"])} == own
    assert net.count == 0  # a whole number is that of process 0
    others[0], before = 0.0, net.mean.clone()
    agree(net, average)
    assert torch.equal(net.mean, before)


def test_one_process_agrees_with_itself(monkeypatch):
    monkeypatch.setattr(parts.dist, "broadcast", None)
    net = Net()
    agree(net, {})
    assert net.mask.tolist() == [0.0, -math.inf]
