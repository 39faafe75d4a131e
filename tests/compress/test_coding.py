"""What stands between nets and file: symbols, and the numbers that tie a file to its model."""

import copy
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from compress.bitstream import SymbolTable
from compress.coding import checksum, fingerprint, integers, result_type, stacked


def net() -> nn.Module:
    """A net with parameters, and a buffer that is not all zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    return made


def test_the_fingerprint_is_the_crc_of_all_values_in_float64():
    module = nn.Linear(2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[0.5, -3.0]]))
        module.bias.copy_(torch.tensor([0.1]))
    values = np.array([0.5, -3.0, np.float32(0.1)], "<f8")
    assert fingerprint(module) == zlib.crc32(values.tobytes())


def test_the_fingerprint_depends_on_values_only():
    model = net()
    for other in (
        copy.deepcopy(model).double(),
        copy.deepcopy(model).to(memory_format=torch.channels_last),
        copy.deepcopy(model).eval().requires_grad_(False),
    ):
        assert fingerprint(other) == fingerprint(model)
    for name in model.state_dict():
        other = copy.deepcopy(model)
        other.state_dict()[name].view(-1)[0] += 1  # of parameters and buffers alike
        assert fingerprint(other) != fingerprint(model), name


def test_the_checksum_sees_every_number_of_every_table():
    mass = np.array([0.25, 0.5, 0.125])
    table = SymbolTable.from_mass(mass, first=-1)
    seen = {
        checksum([table]),
        checksum([SymbolTable.from_mass(mass, first=0)]),
        checksum([SymbolTable.from_mass(mass[::-1], first=-1)]),
        checksum([table, table]),
        checksum([]),
    }
    assert len(seen) == 5
    numbers = np.array([*table.frequencies, -1], "<i8")
    assert checksum([table]) == zlib.crc32(numbers.tobytes())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_latent_becomes_symbols_and_comes_back(dtype):
    latent = torch.tensor([-2.5, -0.5, 0.49, 0.5, 1.5, 2.0**30], dtype=dtype).view(2, 3, 1, 1)
    symbols = integers(latent)
    assert symbols.dtype == np.int64
    assert symbols.ravel().tolist() == [-2, 0, 0, 0, 2, 2**30]  # as torch rounds, halves to even
    back = stacked(list(symbols), net())
    assert back.dtype == torch.float64
    assert torch.equal(back, latent.round().double())


def test_the_type_of_results_is_that_of_the_parameters_from_float32_on():
    types = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
    for given in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert result_type(net().to(given)) == types.get(given, given)
