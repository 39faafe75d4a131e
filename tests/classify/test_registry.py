import pytest
import torch
from torch import nn

import classify


@pytest.mark.parametrize("name", classify.BACKBONES)
def test_a_record_names_the_first_convolution_and_the_last_layer(name):
    """Of the net as it is built: its first convolution sees colours, its last layer judges."""
    record = classify.backbone_record(name)
    assert record is classify.BACKBONES[name]
    with torch.device("meta"):
        net = record.build(64)
    kinds = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    convolutions = [n for n, module in kinds.items() if isinstance(module, nn.Conv2d)]
    assert convolutions[0] == record.stem
    assert kinds[record.stem].in_channels == 3
    assert list(kinds)[-1] == record.head
    assert isinstance(kinds[record.head], nn.Linear)


def test_an_unknown_name_is_refused_with_the_names_that_there_are():
    with pytest.raises(ValueError, match=r"'resnet_x'; choose from resnet_s, .*timm as timm/NAME"):
        classify.backbone_record("resnet_x")
