import pytest
import torch
from torch import nn

from joint.device import device_of, usable_device


@pytest.mark.parametrize("device", ["meta", "fpga"])
def test_a_device_that_computes_nothing_is_refused(device):
    with pytest.raises(ValueError, match=f"'{device}' was asked for, on which torch can compute"):
        usable_device(device)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="device 'gpu' is unknown; use 'cpu', 'cuda'"):
        usable_device("gpu")
    with pytest.raises(ValueError, match="device 'None' is unknown; use 'cpu', 'cuda'"):
        usable_device(None)
    count = torch.cuda.device_count()
    with pytest.raises(
        ValueError, match=f"'cuda:{count}' was asked for, but torch sees {count} GP"
    ):
        usable_device(f"cuda:{count}")
    assert usable_device("cpu") == usable_device(torch.device("cpu")) == torch.device("cpu")


def test_a_module_is_where_its_tensors_are():
    assert device_of(nn.Identity()) == torch.device("cpu")
    assert device_of(nn.Linear(2, 2, device="meta")) == torch.device("meta")
    held = nn.Module()
    held.register_buffer("held", torch.zeros(1, device="meta"))
    assert device_of(held) == torch.device("meta")
