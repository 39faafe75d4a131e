import copy
import pickle
import re
import zlib

import numpy as np
import pytest
import torch
import torchvision
from judgeable import noise
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

import classify
import joint

# Millions of parameters with seven classes, from the papers by way of torchvision and timm.
MILLIONS = {
    "resnet_s": 0.693,
    "inception_s": 1.847,
    "resnet18_cifar": 11.17,
    "resnet18": 11.18,
    "resnet34": 21.29,
    "resnet50": 23.52,
    "inception_v3": 21.80,
    "densenet121": 6.961,
    "efficientnet_b0": 4.017,
    "mobilenet_v3_small": 1.525,
    "mobilenet_v3_large": 4.211,
    "convnext_atto": 3.377,
    "convnext_femto": 4.835,
    "convnext_tiny": 27.83,
    "vit_tiny_8": 5.427,
    "vit_tiny_16": 5.500,
    "vit_b_16": 85.7,
}
# Checksums of the names in a state dict: another one, and nobody's weights fit any more.
KEYS = {
    "resnet_s": 0xDD7C7AE0,
    "inception_s": 0x9788EBEF,
    "resnet18_cifar": 0x11602636,
    "resnet18": 0x11602636,
    "resnet34": 0xDEFDD17A,
    "resnet50": 0x1F08CF30,
    "inception_v3": 0x31053132,
    "densenet121": 0x019476C5,
    "efficientnet_b0": 0x246484F2,
    "mobilenet_v3_small": 0x102B088C,
    "mobilenet_v3_large": 0x89CCA7C4,
    "convnext_atto": 0x81C683E5,
    "convnext_femto": 0x81C683E5,
    "convnext_tiny": 0xBF9B1D85,
    "vit_tiny_8": 0x0E6934D1,
    "vit_tiny_16": 0x0E6934D1,
    "vit_b_16": 0x0E6934D1,
}
# Torchvision has a model of this name, and weights of it.
PUBLIC = [name for name in MILLIONS if hasattr(torchvision.models, name)]
TRANSFORMERS = ["vit_tiny_8", "vit_tiny_16", "vit_b_16"]
SMALL = [
    "resnet_s",
    "inception_s",
    "resnet18",
    "resnet18_cifar",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_atto",
    "vit_tiny_8",
]


def _table():
    """Name to the columns of the table in the docstring."""
    rows = re.findall(
        r"^    (\w+) +([\d.]+) +([\d.]+) +(\d+) +(\d+)\b(.*)$",
        classify.backbone.__doc__,
        flags=re.MULTILINE,
    )
    return {name: columns for name, *columns in rows}


@pytest.fixture(scope="module", params=list(MILLIONS))
def built(request):
    """Each backbone in evaluation mode, for the smallest pictures that it takes."""
    smallest = classify.BACKBONES[request.param].smallest
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return request.param, classify.backbone(request.param, 7, image_size=smallest).eval()


def test_every_backbone_is_tested_and_documented():
    assert set(MILLIONS) == set(KEYS) == set(classify.BACKBONES) == set(_table())


def test_the_table_is_true(built):
    name, model = built
    millions, _, _, smallest, remarks = _table()[name]
    # Positions of a transformer grow with the picture; the table is for 128 pixels.
    positions = classify.BACKBONES[name].patch and (
        ((128 // classify.BACKBONES[name].patch) ** 2 + 1) * model.head.in_features
        - model.net.encoder.pos_embedding.numel()
    )
    count = sum(p.numel() for p in model.parameters()) + positions
    assert f"{count / 1e6:.3f}" == millions
    assert count / 1e6 == pytest.approx(MILLIONS[name], rel=0.01)
    assert int(smallest) == model.smallest == classify.BACKBONES[name].smallest
    assert ("public weights" in remarks) == (name in PUBLIC)


@pytest.mark.parametrize("name", [*SMALL, "vit_tiny_16"])
def test_cost_and_grid_of_the_table_are_true(name):
    _, giga, grid, _, _ = _table()[name]
    with torch.random.fork_rng():
        model = classify.backbone(name, 7, image_size=128).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(noise(128, count=1))
    assert f"{counter.get_total_flops() / 2e9:.3f}" == giga
    with torch.no_grad():
        assert model.features(noise(128, count=1)).shape[-2:] == (int(grid), int(grid))


def test_names_of_weights_never_change(built):
    name, model = built
    assert zlib.crc32("\n".join(model.state_dict()).encode()) == KEYS[name]


def test_the_head_of_the_features_is_the_forward_pass(built):
    name, model = built
    smallest = model.smallest
    for size in (smallest, (smallest + 9, smallest)):
        picture = noise(size)
        with torch.no_grad():
            logits = model(picture)
            features = model.features(picture)
        assert features.ndim == 4
        traced = model.trace(picture)
        torch.testing.assert_close(traced.logits, logits, rtol=1e-5, atol=1e-5)
        assert torch.equal(traced.features, features)
        assert traced.features.is_leaf
        assert traced.features.requires_grad
        if name in TRANSFORMERS:
            with pytest.raises(ValueError, match=r"its class token.*use trace\(image\)"):
                model.from_features(features)
        else:
            torch.testing.assert_close(model.from_features(features), logits, rtol=1e-5, atol=1e-5)


def test_it_is_the_net_between_normalisation_and_head(built):
    """The net's own forward, torchvision's where it is theirs, knows nothing of features."""
    name, model = built
    record = classify.BACKBONES[name]
    side = max(record.smallest, record.enlarge)
    picture = noise(side)
    with torch.no_grad():
        expected = model.head(model.net((picture - model.mean) / model.deviation))
        torch.testing.assert_close(model(picture), expected, rtol=1e-4, atol=1e-5)


def test_pictures_are_judged_alone_and_each_of_their_channels_counts(built):
    _, model = built
    picture = noise(model.smallest, count=3).requires_grad_()
    logits = model(picture)
    with torch.no_grad():
        alone = torch.cat([model(one[None]) for one in picture])
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)
    (slope,) = torch.autograd.grad(logits[1].square().sum(), picture)
    assert torch.isfinite(slope).all()
    assert (slope[1].abs().amax((-2, -1)) > 0).all()
    assert not slope[[0, 2]].any()


def test_smaller_pictures_are_refused(built):
    _, model = built
    side = model.smallest
    message = f"at least {side} pixels along a side, not {side - 1} x {side}; enlarge image_size"
    with pytest.raises(ValueError, match=message):
        model(noise((side - 1, side)))
    with pytest.raises(ValueError, match=f"at least {side} pixels"):
        model.features(noise((side, side - 1)))


@pytest.mark.parametrize("name", [name for name in SMALL if name != "resnet18_cifar"])
@pytest.mark.parametrize("size", [64, (97, 70), 299])
def test_pictures_of_64_to_299_pixels_are_taken(name, size):
    with torch.random.fork_rng(), torch.no_grad():
        model = classify.backbone(name, 7, image_size=size).eval()
        assert model(noise(size, count=1)).shape == (1, 7)


@pytest.mark.parametrize("name", ["inception_v3", "vit_b_16"])
def test_the_largest_size_of_the_study_is_taken(name):
    with torch.random.fork_rng(), torch.no_grad():
        assert classify.backbone(name, 7, image_size=299).eval()(noise(299)).shape == (2, 7)


def test_a_net_in_half_precision_enlarges_its_pictures():
    net = classify.backbone("vit_tiny_8", 3, image_size=64).eval()
    pictures = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        expected, found = net(pictures), net.bfloat16()(pictures.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)


def test_the_slope_of_an_averaging_head_is_its_weights():
    with torch.random.fork_rng():
        model = classify.backbone("inception_s").eval()
    with torch.no_grad():  # a caller's no_grad is no obstacle
        traced = model.trace(noise((70, 64)))
    (slope,) = torch.autograd.grad(traced.logits[:, 2].sum(), traced.features)
    height, width = traced.features.shape[-2:]
    assert (height, width) == (5, 4)
    expected = model.head.weight[2, :, None, None] / (height * width)
    torch.testing.assert_close(slope, expected.expand_as(slope))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_any_number_of_channels_and_classes(name, channels):
    with torch.random.fork_rng():
        model = classify.backbone(name, 4, in_channels=channels)
    image = noise(48, channels).requires_grad_()
    logits = model(image)
    assert logits.shape == (2, 4)
    logits.square().sum().backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().max() > 0
    for name_, parameter in model.named_parameters():
        assert parameter.grad is not None, name_


def test_options_reach_the_net():
    with torch.random.fork_rng():
        assert classify.backbone(dropout=0.3).dropout.p == 0.3
        for channels in (1, 6):
            model = classify.backbone(in_channels=channels)
            torch.testing.assert_close(model.mean, torch.full((channels, 1, 1), 0.449))
            torch.testing.assert_close(model.deviation, torch.full((channels, 1, 1), 0.226))


def test_copies_give_the_same_output():
    with torch.random.fork_rng():
        model = classify.backbone("resnet_s", 5).eval()
    expected = model(noise(32))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(noise(32)), expected)
    double = model.double()(noise(32).double())
    torch.testing.assert_close(double.float(), expected, rtol=1e-4, atol=1e-5)


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
        (lambda: classify.backbone("resnet18").eval()(noise(16)), "at least 32 pixels"),
    ],
)
def test_what_cannot_be_built_is_refused(call, message):
    with torch.random.fork_rng(), pytest.raises(ValueError, match=message):
        call()


def test_a_head_of_cosines(tmp_path):
    made = classify.backbone("resnet_s", 5, head="cosine").eval()
    assert isinstance(made.head, classify.CosineHead)
    logits = made(torch.rand(3, 3, 16, 16))
    assert logits.shape == (3, 5)
    assert float(logits.detach().abs().max()) <= made.head.scale
    torch.testing.assert_close(made.from_features(made.features(torch.zeros(1, 3, 16, 16))),
                               made(torch.zeros(1, 3, 16, 16)))  # fmt: skip
    # Weights of a net with a linear head bring the features alone, and the other way round.
    for first, second in (("linear", "cosine"), ("cosine", "linear")):
        source = classify.backbone("resnet_s", 5, head=first)
        save_file(source.state_dict(), tmp_path / "net.safetensors")
        with pytest.warns(UserWarning, match=f"begins anew as a {second} one"):
            loaded = classify.backbone(
                "resnet_s", 5, head=second, weights=tmp_path / "net.safetensors"
            )
        assert torch.equal(loaded.net.stem.weight, source.net.stem.weight)
    with pytest.raises(ValueError, match="head must be one of linear, cosine, not 'round'"):
        classify.backbone("resnet_s", 5, head="round")


def test_codes_are_no_pictures():
    with torch.random.fork_rng():
        model = classify.backbone("resnet_s").eval()
    with pytest.raises(ValueError, match=r"in 0..1, not codes of torch.uint8; divide them"):
        model(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": (64,)}, r"one int or \(H, W\), not \(64,\)"),
        ({"image_size": 64.5}, r"one int or \(H, W\), not 64.5"),
        ({"classes": 2.5}, "at least 2 classes, .* not 2.5, 3"),
        ({"in_channels": 1.5}, "1 channel .* not 7, 1.5"),
    ],
)
def test_counts_are_whole(change, message):
    with pytest.raises(ValueError, match=message):
        classify.backbone("resnet_s", **change)


def test_integers_of_numpy_are_integers():
    with torch.random.fork_rng():
        model = classify.backbone("resnet_s", np.int64(3), image_size=np.int64(32))
    assert (model.classes, type(model.classes)) == (3, int)


def _moments(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "frozen", "still", "learns"),
    [
        ("resnet18", "layer2", "layer2.1.bn2", "layer3.0.conv1"),
        ("efficientnet_b0", "features.3", "features.3.1.block.0.1", "features.4.0.block.0.0"),
        ("resnet_s", "stages", "stem", None),
        ("vit_tiny_8", "encoder.layers.encoder_layer_5", "conv_proj", "encoder.ln"),
        ("vit_tiny_8", "encoder", "conv_proj", None),
    ],
)
def test_frozen_layers_keep_weights_and_statistics(name, frozen, still, learns):
    torch.manual_seed(0)
    net = classify.backbone(name, image_size=32, frozen=frozen).train()
    before = _moments(net)
    image = noise(32).requires_grad_()
    classify.task_loss(net(image), torch.tensor([0, 1])).backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1.0).step()
    after = net.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert "head.weight" in changed
    assert not [key for key in changed if key.startswith(f"net.{still}.")]
    trained = {f"net.{name}" for name, p in net.net.named_parameters() if p.requires_grad}
    assert {key for key in changed if key.startswith("net.")} >= trained
    assert [key for key in changed if learns and key.startswith(f"net.{learns}.")] or not learns
    # Nothing in it or built before it has changed: of a transformer, class token and positions too.
    order = list(before)
    last = max(k for k, key in enumerate(order) if key.startswith(f"net.{frozen}."))
    assert not changed & set(order[: last + 1])


def test_frozen_layers_have_no_dropout_and_go_on_so_in_every_mode():
    net = classify.backbone("efficientnet_b0", frozen="features.8")
    modes = {m: m.training for m in net.net.features.modules() if not any(m.children())}
    assert net.training
    assert not any(modes.values())
    net.eval().train()
    assert net.head.training
    assert not net.net.get_submodule("features.8.1").training


def test_a_layer_that_is_not_there_is_not_frozen():
    with pytest.raises(ValueError, match=r"no layer 'layer9'.*conv1.*layer4"):
        classify.backbone("resnet18", frozen="layer9")


def test_what_is_frozen_is_printed(tmp_path):
    """It is a setting of the net, by which a run is known: another one is not continued."""
    nets = [classify.backbone("resnet18", frozen=layer) for layer in (None, "layer1", "layer3")]
    assert "frozen" not in repr(nets[0])
    assert [f"frozen='{layer}'" in repr(nets[1]) for layer in ("layer1", "layer3")] == [1, 0]
    assert "Classifier(ResNet, frozen='layer3')" in str(joint.ImagingSystem(classifier=nets[2]))
    scenes = classify.split(classify.LesionPhantom(40, image_size=32, seed=0), seed=0)
    options = {"config": joint.Training(epochs=1, batch_size=16), "directory": tmp_path}
    first, other = (joint.ImagingSystem(classifier=net) for net in nets[1:])
    joint.fit(first, scenes.train, scenes.validation, **options)
    with pytest.raises(joint.CheckpointError, match=r"frozen='layer1' there, frozen='layer3' here"):
        joint.fit(other, scenes.train, scenes.validation, **options, resume=True)


def test_a_trained_system_keeps_its_frozen_layers(tmp_path):
    scenes = classify.split(classify.LesionPhantom(40, image_size=32, seed=0), seed=0)
    torch.manual_seed(0)
    system = joint.ImagingSystem(classifier=classify.backbone("resnet18", frozen="layer3"))
    before = _moments(system)
    joint.fit(
        system,
        scenes.train,
        scenes.validation,
        config=joint.Training(epochs=1, batch_size=16, averaging=0.9),
    )
    after = system.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    layers = {".".join(key.split(".")[1:3]) for key in changed}
    assert layers == {"net.layer4", "head.weight", "head.bias"}


@pytest.mark.parametrize(("arguments", "message"), [
    ({"name": 3}, "name must be the name of a backbone, such as 'resnet_s', not 3"),
    ({"dropout": "x"}, "dropout must be a number, not str"),
])  # fmt: skip
def test_what_is_of_another_kind_is_refused_by_name(arguments, message):
    with pytest.raises(TypeError, match=message):
        classify.backbone(**arguments)
