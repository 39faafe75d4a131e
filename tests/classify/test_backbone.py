import copy
import pickle
import re

import pytest
import torch
import torchvision
from safetensors.torch import save_file

import classify

# Millions of parameters with seven classes, from the papers by way of torchvision.
MILLIONS = {
    "resnet_s": 0.693,
    "resnet18": 11.18,
    "resnet50": 23.52,
    "inception_v3": 21.80,
    "efficientnet_b0": 4.017,
    "convnext_tiny": 27.83,
    "densenet121": 6.961,
    "mobilenet_v3_small": 1.525,
    "mobilenet_v3_large": 4.211,
    "vit_b_16": 85.7,
}
SMALL = ["resnet_s", "resnet18", "mobilenet_v3_small", "efficientnet_b0"]


def _picture(size, channels=3, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, size, size, generator=generator)


def test_every_backbone_is_tested():
    assert set(MILLIONS) == set(classify.BACKBONES)


@pytest.mark.parametrize("name", list(MILLIONS))
def test_backbones_have_their_size_and_take_64_to_299_pixels(name):
    for size in (64, 97, 299) if name in SMALL else (64, 97):
        with torch.random.fork_rng():
            model = classify.backbone(name, 7, image_size=size).eval()
            with torch.no_grad():
                assert model(_picture(size, count=1)).shape == (1, 7)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert millions == pytest.approx(MILLIONS[name], rel=0.01)
    assert model.net.get_submodule(model.feature_layer) is not None


@pytest.mark.parametrize("name", ["inception_v3", "vit_b_16"])
def test_the_largest_size_of_the_study_is_taken(name):
    with torch.random.fork_rng(), torch.no_grad():
        assert classify.backbone(name, 7, image_size=299).eval()(_picture(299)).shape == (2, 7)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_any_number_of_channels_and_classes(name, channels):
    with torch.random.fork_rng():
        model = classify.backbone(name, 4, in_channels=channels)
    image = _picture(48, channels).requires_grad_()
    logits = model(image)
    assert logits.shape == (2, 4)
    logits.square().sum().backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().max() > 0
    for name_, parameter in model.named_parameters():
        assert parameter.grad is not None, name_


def test_a_grey_stem_answers_to_grey_as_the_colour_stem_does():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        colour = classify.backbone("resnet18").eval()
        torch.manual_seed(0)
        grey = classify.backbone("resnet18", in_channels=1).eval()
    picture = _picture(40, 1)
    for model in (colour, grey):
        model.mean.fill_(0.5)
        model.deviation.fill_(0.25)
    stems = [
        m.net.conv1((p - 0.5) / 0.25)
        for m, p in ((colour, picture.expand(-1, 3, -1, -1)), (grey, picture))
    ]
    torch.testing.assert_close(*stems, rtol=1e-4, atol=1e-5)


def test_it_is_torchvisions_model_between_normalisation_and_head(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torchvision.models.resnet18(weights=None, num_classes=5).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = classify.backbone("resnet18", 5, weights=tmp_path / "weights.pth").eval()
    picture = _picture(64)
    normalised = torchvision.transforms.functional.normalize(
        picture, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(ours(picture), theirs(normalised), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in MILLIONS if n not in ("resnet_s", "convnext_tiny")])
def test_weights_of_torchvision_fit_without_their_head(name, tmp_path):
    options = {"image_size": 64} if name == "vit_b_16" else {}
    if name == "inception_v3":
        options = {"init_weights": False}
    with torch.random.fork_rng():
        theirs = getattr(torchvision.models, name)(weights=None, **options)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    with torch.random.fork_rng():
        ours = classify.backbone(
            name, 3, image_size=96, in_channels=1, weights=tmp_path / "weights.safetensors"
        )
    state = theirs.state_dict()
    own = ours.net.state_dict()
    copied = [k for k in own if k in state and own[k].shape == state[k].shape]
    assert len(copied) >= len(own) - 2  # the stem, and the positions of the transformer
    assert all(torch.equal(own[key], state[key]) for key in copied)
    with torch.no_grad():
        assert ours.eval()(_picture(96, 1)).shape == (2, 3)


def test_inception_sees_what_its_public_weights_expect(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torchvision.models.inception_v3(
            weights=None, transform_input=True, aux_logits=False, init_weights=False
        ).eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = classify.backbone("inception_v3", 1000, weights=tmp_path / "weights.safetensors").eval()
    picture = _picture(96)
    normalised = torchvision.transforms.functional.normalize(
        picture, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        torch.testing.assert_close(ours(picture), theirs(normalised), rtol=1e-3, atol=1e-4)


def test_public_names_of_densenet_are_known(tmp_path):
    with torch.random.fork_rng():
        model = classify.backbone("densenet121")
    public = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value
        for key, value in model.state_dict().items()
    }
    assert any("norm.1." in key for key in public)
    save_file(public, tmp_path / "public.safetensors")
    again = classify.backbone("densenet121", weights=tmp_path / "public.safetensors")
    assert torch.equal(again.net.features.conv0.weight, model.net.features.conv0.weight)


def test_options_reach_the_net():
    with torch.random.fork_rng():
        assert classify.backbone(dropout=0.3).dropout.p == 0.3
        for channels in (1, 6):
            model = classify.backbone(in_channels=channels)
            torch.testing.assert_close(model.mean, torch.full((channels, 1, 1), 0.449))
            torch.testing.assert_close(model.deviation, torch.full((channels, 1, 1), 0.226))


def test_own_weights_come_back(tmp_path):
    with torch.random.fork_rng():
        model = classify.backbone("resnet_s", 5).eval()
        save_file(model.state_dict(), tmp_path / "own.safetensors")
        again = classify.backbone("resnet_s", 5, weights=tmp_path / "own.safetensors").eval()
    assert torch.equal(model(_picture(32)), again(_picture(32)))


def test_copies_give_the_same_output():
    with torch.random.fork_rng():
        model = classify.backbone("resnet_s", 5).eval()
    expected = model(_picture(32))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(_picture(32)), expected)
    double = model.double()(_picture(32).double())
    torch.testing.assert_close(double.float(), expected, rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    with torch.random.fork_rng():
        save_file(classify.backbone("resnet_s").state_dict(), tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match=r"weights of 'resnet18': 120 missing .*unknown"):
        classify.backbone("resnet18", weights=tmp_path / "small.safetensors")
    torch.save({"encoder.pos_embedding": torch.ones(1, 5, 8)}, tmp_path / "vit.pth")
    with pytest.raises(ValueError, match="does not hold weights of 'resnet18'"):
        classify.backbone("resnet18", weights=tmp_path / "vit.pth")
    torch.save({"conv1.weight": torch.ones(())}, tmp_path / "scalar.pth")
    with pytest.raises(ValueError, match="does not hold weights of 'resnet18'"):
        classify.backbone("resnet18", weights=tmp_path / "scalar.pth")
    with pytest.raises(ValueError, match="there are no weights at"):
        classify.backbone(weights=tmp_path / "nothing.pth")
    (tmp_path / "text.pth").write_text("text")
    with pytest.raises(ValueError, match="not a readable state dict"):
        classify.backbone(weights=tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="does not hold a state dict"):
        classify.backbone(weights=tmp_path / "list.pth")


class _Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_a_pickle_is_never_executed(tmp_path):
    torch.save({"net.stem.weight": _Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="not a readable state dict"):
        classify.backbone(weights=tmp_path / "evil.pth")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: classify.backbone("resnet_x"),
            "no backbone is called 'resnet_x'; choose from resnet_s",
        ),
        (lambda: classify.backbone(image_size=4), "at least 8 pixels along a side, not 4 x 4"),
        (lambda: classify.backbone("resnet18", image_size=(64, 16)), "at least 32.*not 64 x 16"),
        (lambda: classify.backbone(classes=1), "at least 2 classes"),
        (lambda: classify.backbone(in_channels=0), "1 channel"),
        (lambda: classify.backbone(dropout=1.0), "dropout in"),
        (lambda: classify.backbone()(torch.rand(1, 1, 32, 32)), r"\[B, 3, H, W\], not \(1, 1, 32"),
        (lambda: classify.backbone("resnet18").eval()(_picture(16)), "at least 32 pixels"),
    ],
)
def test_what_cannot_be_built_is_refused(call, message):
    with torch.random.fork_rng(), pytest.raises(ValueError, match=message):
        call()
