import re
from contextlib import nullcontext

import pytest
import torch
import torchvision
from judgeable import noise
from safetensors.torch import save_file

import classify

# Torchvision has a model of this name, and weights of it.
PUBLIC = [name for name in classify.BACKBONES if hasattr(torchvision.models, name)]


def test_a_grey_stem_answers_to_grey_as_the_colour_stem_does():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        colour = classify.backbone("resnet18").eval()
        torch.manual_seed(0)
        grey = classify.backbone("resnet18", in_channels=1).eval()
    picture = noise(40, 1)

    def stems():
        return [
            m.net.conv1((p - m.mean) / m.deviation)
            for m, p in ((colour, picture.expand(-1, 3, -1, -1)), (grey, picture))
        ]

    of_colour, of_grey = stems()  # each colour has a mean of its own
    assert 0.05 < (of_grey - of_colour).norm() / of_colour.norm() < 0.2
    for model in (colour, grey):
        model.mean.fill_(0.5)
        model.deviation.fill_(0.25)
    torch.testing.assert_close(*stems(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PUBLIC)
def test_weights_of_torchvision_fit_without_their_head(name, tmp_path):
    options = {"image_size": 64} if name == "vit_b_16" else {}
    if name == "inception_v3":
        options = {"init_weights": False}
    with torch.random.fork_rng():
        theirs = getattr(torchvision.models, name)(weights=None, **options)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    told = pytest.warns(UserWarning, match=r"weights.safetensors is for 1000 classes, .* for 3$")
    with torch.random.fork_rng(), told:
        ours = classify.backbone(
            name, 3, image_size=96, in_channels=1, weights=tmp_path / "weights.safetensors"
        )
    state = theirs.state_dict()
    own = ours.net.state_dict()
    copied = [k for k in own if k in state and own[k].shape == state[k].shape]
    assert len(copied) >= len(own) - 2  # the stem, and the positions of the transformer
    assert all(torch.equal(own[key], state[key]) for key in copied)
    with torch.no_grad():
        assert ours.eval()(noise(96, 1)).shape == (2, 3)


def test_public_names_of_densenet_are_known(tmp_path):
    with torch.random.fork_rng():
        model = classify.backbone("densenet121")
    public = {
        re.sub(
            r"(denselayer\d+\.(?:norm|conv))([12])\.",
            r"\1.\2.",
            key.removeprefix("net.").replace("head.", "classifier."),
        ): value
        for key, value in model.state_dict().items()
    }
    assert any("norm.1." in key for key in public)
    save_file(public, tmp_path / "public.safetensors")
    again = classify.backbone("densenet121", weights=tmp_path / "public.safetensors")
    assert torch.equal(again.net.features.conv0.weight, model.net.features.conv0.weight)


def test_own_weights_come_back(tmp_path):
    with torch.random.fork_rng():
        model = classify.backbone("resnet_s", 5).eval()
        save_file(model.state_dict(), tmp_path / "own.safetensors")
        again = classify.backbone("resnet_s", 5, weights=tmp_path / "own.safetensors").eval()
    assert torch.equal(model(noise(32)), again(noise(32)))


def test_weights_that_do_not_fit_are_refused(tmp_path):
    with torch.random.fork_rng():
        save_file(classify.backbone("resnet_s").state_dict(), tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match=r"weights of 'resnet18': 100 missing .*unknown"):
        classify.backbone("resnet18", weights=tmp_path / "small.safetensors")
    torch.save({"encoder.pos_embedding": torch.ones(1, 5, 8)}, tmp_path / "vit.pth")
    with pytest.raises(ValueError, match="does not hold weights of 'resnet18'"):
        classify.backbone("resnet18", weights=tmp_path / "vit.pth")
    for shape in ((1, 1, 192), (1, 0, 192), (1, 6, 192), (5,), ()):  # no class token and square
        torch.save({"encoder.pos_embedding": torch.ones(shape)}, tmp_path / "vit.pth")
        with pytest.raises(ValueError, match="does not hold weights of 'vit_tiny_8'"):
            classify.backbone("vit_tiny_8", image_size=32, weights=tmp_path / "vit.pth")
    torch.save({"conv1.weight": torch.ones(())}, tmp_path / "scalar.pth")
    with pytest.raises(ValueError, match="does not hold weights of 'resnet18'"):
        classify.backbone("resnet18", weights=tmp_path / "scalar.pth")
    with pytest.raises(ValueError, match="there are no weights at"):
        classify.backbone(weights=tmp_path / "nothing.pth")
    with pytest.raises(
        TypeError, match="weights must be the path of a file, not dict: save a state"
    ):
        classify.backbone(weights={"head.weight": torch.zeros(2, 3)})
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


def test_what_a_wrapper_puts_in_front_of_names_is_named(tmp_path):
    with torch.random.fork_rng():
        state = classify.backbone("resnet_s").state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "wrapped.pth")
    with pytest.raises(ValueError, match=r"take 'module.', of a wrapper, off the names"):
        classify.backbone("resnet_s", weights=tmp_path / "wrapped.pth")
    theirs = {key: value for key, value in state.items() if key.startswith("net.")}
    theirs = {f"model.{key.removeprefix('net.')}": value for key, value in theirs.items()}
    torch.save(theirs, tmp_path / "theirs.pth")
    with pytest.raises(ValueError, match=r"take 'model.', of a wrapper, off"):
        classify.backbone("resnet_s", weights=tmp_path / "theirs.pth")
    torch.save({"epoch": 3, "model": state}, tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match="it has epoch, model; of a checkpoint, save the entry"):
        classify.backbone("resnet_s", weights=tmp_path / "checkpoint.pth")


def test_nobody_is_told_to_execute_a_file(tmp_path):
    (tmp_path / "text.pth").write_bytes(b"zz")
    with pytest.raises(ValueError, match="without objects in it") as refused:
        classify.backbone(weights=tmp_path / "text.pth")
    assert "weights_only" not in str(refused.value)


@pytest.mark.parametrize("name", ["resnet_s", "mobilenet_v3_small"])
def test_weights_of_a_system_are_those_of_its_classifier(name, tmp_path):
    old = classify.backbone(name, 4)
    system = {f"classifier.{key}": value for key, value in old.state_dict().items()}
    system["front_end.raw"] = torch.zeros(3)
    save_file(system, tmp_path / "best.safetensors")
    same = classify.backbone(name, 4, weights=tmp_path / "best.safetensors").state_dict()
    assert all(torch.equal(same[key], value) for key, value in old.state_dict().items())
    torch.manual_seed(1)
    with pytest.warns(UserWarning, match="is for 4 classes, and begins anew for 2"):
        fewer = classify.backbone(name, 2, weights=tmp_path / "best.safetensors").state_dict()
    for key, value in old.state_dict().items():
        assert key.startswith("head.") or torch.equal(fewer[key], value)


@pytest.mark.parametrize("name", ["resnet_s", "resnet18"])
def test_counts_of_batches_may_be_missing(name, tmp_path):
    """As in files of before PyTorch 0.4.1, and of other programs."""
    old = classify.backbone(name, 4).state_dict()
    some = {key: value for key, value in old.items() if "num_batches_tracked" not in key}
    assert len(some) < len(old)
    save_file(some, tmp_path / "old.safetensors")
    again = classify.backbone(name, 4, weights=tmp_path / "old.safetensors").state_dict()
    assert all(torch.equal(again[key], value) for key, value in some.items())


@pytest.mark.parametrize("heads", [("cosine", "linear"), ("linear", "cosine")])
def test_a_head_of_the_other_kind_is_left_out(heads, tmp_path):
    torch.manual_seed(0)
    old = classify.backbone("resnet_s", 4, head=heads[0])
    save_file(old.state_dict(), tmp_path / "old.safetensors")
    told = pytest.warns(UserWarning, match=rf"has (a|no) bias, and begins anew as a {heads[1]} one")
    news = []
    for path, maybe in ((None, nullcontext()), (tmp_path / "old.safetensors", told)):
        torch.manual_seed(1)
        with maybe:
            news.append(classify.backbone("resnet_s", 4, head=heads[1], weights=path))
    assert torch.equal(news[1].net.stem.weight, old.net.stem.weight)
    for key, begun in news[0].head.state_dict().items():
        assert torch.equal(news[1].head.state_dict()[key], begun)


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        (["weight"], "lacks its weights, and begins anew"),
        (["bias"], "has no bias, and begins anew as a linear one"),
        (["weight", "bias"], "net.pth has no last layer, which begins anew"),
    ],
)
def test_a_head_is_loaded_whole_or_not_at_all(lacks, said, tmp_path):
    state = torchvision.models.resnet18(num_classes=7).state_dict()
    torch.save({k: v for k, v in state.items() if k.removeprefix("fc.") not in lacks},
               tmp_path / "net.pth")  # fmt: skip
    torch.manual_seed(1)
    begun = classify.backbone("resnet18").head.state_dict()
    torch.manual_seed(1)
    with pytest.warns(UserWarning, match=said):
        made = classify.backbone("resnet18", weights=tmp_path / "net.pth")
    assert said in made.head_left_out
    assert all(torch.equal(made.head.state_dict()[key], value) for key, value in begun.items())
    torch.save(state, tmp_path / "net.pth")
    made = classify.backbone("resnet18", weights=tmp_path / "net.pth")
    assert made.head_left_out is None
    assert torch.equal(made.head.bias, state["fc.bias"])


@pytest.mark.parametrize("shape", [(7, 100), (1000, 100), (7,), (7, 512, 1)])
def test_a_head_for_other_features_is_of_another_net(shape, tmp_path):
    """Such as that of resnet50, of 2048: no smaller number of classes explains its width."""
    state = torchvision.models.resnet18(num_classes=7).state_dict()
    torch.save({**state, "fc.weight": torch.ones(shape)}, tmp_path / "net.pth")
    said = rf"1 of another shape \(head.weight is {re.escape(str(shape))}, not \(7, 512\)\)"
    with pytest.raises(ValueError, match=said):
        classify.backbone("resnet18", weights=tmp_path / "net.pth")


def test_a_suffix_may_be_in_capitals(tmp_path):
    old = classify.backbone("resnet_s").state_dict()
    save_file(old, tmp_path / "up.SAFETENSORS")
    again = classify.backbone("resnet_s", weights=tmp_path / "up.SAFETENSORS").state_dict()
    assert all(torch.equal(again[key], value) for key, value in old.items())


@pytest.mark.parametrize(
    "spoil", [lambda w: w.fill_(torch.nan), lambda w: w * torch.inf, lambda w: w.to(torch.int8)]
)
def test_weights_that_are_no_finite_floats_are_refused(spoil, tmp_path):
    state = classify.backbone("resnet_s", 4).state_dict()
    for key in ("net.stem.weight", "head.weight"):
        spoiled = {**state, key: spoil(state[key].clone())}
        save_file(spoiled, tmp_path / "spoiled.safetensors")
        with pytest.raises(ValueError, match=rf"sound weights of 'resnet_s': 1 are .*\({key}\)"):
            classify.backbone("resnet_s", 4, weights=tmp_path / "spoiled.safetensors")
    # A head that is left out may be whatever it is.
    with pytest.warns(UserWarning, match="for 4 classes"):
        classify.backbone("resnet_s", 5, weights=tmp_path / "spoiled.safetensors")
    half = {k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()}
    save_file(half, tmp_path / "half.safetensors")
    new = classify.backbone("resnet_s", 4, weights=tmp_path / "half.safetensors")
    assert torch.equal(new.head.weight, state["head.weight"].bfloat16().float())


def test_a_head_in_a_sequential_is_told_what_to_rename(tmp_path):
    """As transfer learning often has it: ``fc = Sequential(Dropout, Linear)``."""
    net = torchvision.models.resnet18()
    net.fc = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(512, 4))
    torch.save(net.state_dict(), tmp_path / "own.pth")
    with pytest.raises(ValueError, match=r"head is a Sequential: take '\.1', the place of its"):
        classify.backbone("resnet18", 4, weights=tmp_path / "own.pth")
    renamed = {key.replace("fc.1.", "fc."): value for key, value in net.state_dict().items()}
    torch.save(renamed, tmp_path / "own.pth")
    again = classify.backbone("resnet18", 4, weights=tmp_path / "own.pth")
    assert torch.equal(again.head.weight, net.fc[1].weight)
    # Of two layers there, neither is the one that is here.
    net.fc = torch.nn.Sequential(torch.nn.Linear(512, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    torch.save(net.state_dict(), tmp_path / "own.pth")
    with pytest.raises(ValueError, match=r"unknown(?!.*Sequential)"):
        classify.backbone("resnet18", 4, weights=tmp_path / "own.pth")
