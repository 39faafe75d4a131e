import sys

import pytest
import torch
from judgeable import noise
from safetensors.torch import save_file

import classify

timm = pytest.importorskip("timm")

# One of each family whose layers lie elsewhere: names of stem and head, padding, what stands
# between the map and the last layer.
NETS = [
    "tf_efficientnet_lite0",
    "resnet10t",
    "mobilenetv4_conv_small",
    "convnext_atto",
    "regnety_002",
    "edgenext_xx_small",
    "tf_mobilenetv3_small_minimal_100",
]


@pytest.fixture(scope="module", params=NETS)
def original(request):
    torch.manual_seed(0)
    return request.param, timm.create_model(request.param, num_classes=7).eval()


def test_it_is_the_net_of_timm_between_normalisation_and_head(original, tmp_path):
    name, net = original
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    ours = classify.backbone(f"timm/{name}", weights=tmp_path / "net.safetensors").eval()
    told = net.pretrained_cfg
    mean, deviation = (torch.tensor(told[key])[:, None, None] for key in ("mean", "std"))
    image = noise(64)
    with torch.no_grad():
        expected = net((image - mean) / deviation)
        torch.testing.assert_close(ours(image), expected, rtol=0, atol=1e-5)
        features = ours.features(image)
        torch.testing.assert_close(ours.from_features(features), expected, rtol=0, atol=1e-5)
    assert features.shape[:2] == (2, net.num_features)


def test_a_head_for_other_classes_is_left_out(original, tmp_path):
    name, net = original
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    with pytest.warns(UserWarning, match="is for 7 classes, and begins anew for 5"):
        ours = classify.backbone(f"timm/{name}", 5, weights=tmp_path / "net.safetensors").eval()
    assert ours(noise(64)).shape == (2, 5)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_answer_to_grey_alike(original, channels, tmp_path):
    name, net = original
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    path = tmp_path / "net.safetensors"
    colour, other = (
        classify.backbone(f"timm/{name}", in_channels=count, weights=path).double().eval()
        for count in (3, channels)
    )
    # The grey that both normalisations leave grey.
    grey = noise(64, 1).double()
    same = (grey - colour.mean.mean()) / colour.deviation.mean()
    with torch.no_grad():
        expected = colour(same * colour.deviation + colour.mean)
        found = other(grey.expand(-1, channels, -1, -1))
    # The weights were spread over the channels in single precision.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_kind_of_a_first_convolution_is_kept():
    # One of TensorFlow pads an even picture at its right and lower border alone.
    colour, grey = (
        classify.backbone("timm/tf_efficientnet_lite0", in_channels=channels).net.conv_stem
        for channels in (3, 1)
    )
    assert type(grey) is type(colour) is not torch.nn.Conv2d


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet1o1", "did you mean resnet101"),
        ("nothing_of_the_kind", r"no model 'nothing_of_the_kind'$"),
        ("vit_tiny_patch16_224", "convolutional nets alone.*choose vit_tiny_16"),
        ("swin_tiny_patch4_window7_224", "convolutional nets alone"),
        ("resnetv2_50x1_bit", "a Conv2d where a Linear is needed"),
    ],
)
def test_what_cannot_be_taken_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        classify.backbone(f"timm/{name}", image_size=224)


def test_a_size_that_it_cannot_take_is_refused():
    with pytest.raises(ValueError, match="takes no pictures of 64 pixels along a side"):
        classify.backbone("timm/vit_tiny_patch16_224", image_size=64)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"pip install 'lens2label\[timm\]'"):
        classify.backbone("timm/resnet10t")
