import pytest
import torch
from torchvision.models.resnet import BasicBlock

import classify
from classify.residual import _Residual


def test_resnet_s_has_the_size_that_it_says_and_takes_small_pictures():
    with torch.random.fork_rng():
        net = classify.ResNetS().eval()
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(0.692e6, rel=0.01)
    assert net(torch.rand(2, 3, 8, 11)).shape == (2, 1)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(8, 8, 1), (8, 12, 2)])
def test_a_block_is_that_of_torchvision(inputs, outputs, stride):
    shortcut = torch.nn.Sequential(
        torch.nn.Conv2d(inputs, outputs, 1, stride, bias=False), torch.nn.BatchNorm2d(outputs)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = _Residual(inputs, outputs, stride)
        theirs = BasicBlock(inputs, outputs, stride, shortcut if stride > 1 else None)
    state = {
        key.replace("norm", "bn").replace("shortcut", "downsample"): value
        for key, value in ours.state_dict().items()
    }
    theirs.load_state_dict(state)
    x = torch.randn(3, inputs, 9, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(x), theirs(x))
