import math

import pytest
import torch
from small import _same, _settings, _state, full_system
from torch import nn
from torch.nn.utils import parametrizations, prune

import classify
import compress
import joint
import optics
from joint.train.optimizer import make_optimizer, optimised, restore_state, state_by_name


def test_a_module_may_learn_faster_than_its_stage():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(3))
            self.net[0].learning_rate_factor = 0.5

        learning_rate_factor = 4

        def forward(self, x):
            return self.net(x)

    system = joint.ImagingSystem(codec=compress.HyperpriorCodec(), classifier=Own())
    system(torch.rand(1, 3, 32, 32))  # the lazy layer has its size
    config = _settings(learning_rate=1e-3, learning_rates={"codec": 1e-4})
    optimizer = make_optimizer(system, config)
    peaks = {id(p): g["peak"] for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in system.named_parameters():
        expected = {
            "codec.prior": 1e-3,
            "codec.gain": 1e-3,
            "classifier.net.0": 5e-4,
            "classifier.net.2": 4e-3,
        }
        found = [rate for part, rate in expected.items() if name.startswith(part)]
        assert peaks[id(parameter)] == pytest.approx(*found or [1e-4]), name


@pytest.mark.parametrize("factor", [0, -1, math.nan, math.inf, "2", True])
def test_a_factor_that_is_no_positive_number_is_refused(factor):
    system = full_system()
    system.classifier.net.learning_rate_factor = factor
    with pytest.raises(
        ValueError, match=r"learning_rate_factor of net \(Sequential\) must be a pos"
    ):
        make_optimizer(system, _settings())


def test_weight_decay_leaves_physics_alone():
    system = full_system()
    system.restoration = optics.RestorationUNet(width=2)
    # Optics of one's own may be called as networks call theirs.
    system.front_end.weight = nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer(system, _settings(weight_decay=0.1))
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    for name, parameter in system.named_parameters():
        network = name.startswith(("restoration", "codec", "classifier"))
        weight = name.endswith("weight") and parameter.ndim > 1
        assert (id(parameter) in decayed) == (network and weight), name


@pytest.mark.parametrize(
    ("stage", "spared", "some"),
    [
        ({"codec": compress.FactorizedCodec(levels=2)}, ("prior.", "log_"), "analysis"),
        ({"codec": compress.HyperpriorCodec(levels=2)}, ("prior.", "log_"), "synthesis"),
        ({"codec": compress.DifferentiableJPEG(50, trainable=True)}, ("log_tables",), None),
        (
            {"classifier": classify.backbone("convnext_atto", classes=3)},
            ("layer_scale", "bias"),
            "classifier",
        ),
        (
            {"classifier": classify.backbone("vit_tiny_8", classes=3, image_size=32)},
            ("class_token", "pos_embedding", "bias"),
            "in_proj_weight",
        ),
    ],
)
def test_what_is_a_logarithm_a_scale_or_a_token_does_not_decay(stage, spared, some):
    system = joint.ImagingSystem(**stage)
    optimizer = make_optimizer(system, _settings(weight_decay=0.1))
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    names = {name: id(parameter) in decayed for name, parameter in system.named_parameters()}
    for word in spared:
        assert any(word in name for name in names)
        assert not any(decays for name, decays in names.items() if word in name)
    assert some is None or any(decays for name, decays in names.items() if some in name)
    together = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(together) == len(names)


def test_what_decays_is_a_weight_of_a_layer():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm([3, 4, 4])
            self.rows = nn.Embedding(4, 3)
            self.plain = nn.Linear(4, 4)
            self.pruned = prune.identity(nn.Linear(4, 4), "weight")
            self.spectral = parametrizations.spectral_norm(nn.Conv2d(3, 3, 3))
            self.length = parametrizations.weight_norm(nn.Linear(4, 4))
            self.spread = parametrizations.spectral_norm(nn.Embedding(4, 3))
            self.recurrent = nn.LSTM(4, 4, bidirectional=True, proj_size=2)
            self.attention = nn.MultiheadAttention(4, 2, kdim=3)
            self.original = nn.Parameter(torch.ones(2, 2))  # no parametrization

    system = joint.ImagingSystem(classifier=Net())
    optimizer = make_optimizer(system, _settings(weight_decay=0.1))
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    names = [n for n, p in system.classifier.named_parameters() if id(p) in decayed]
    recurrent = [
        f"recurrent.weight_{kind}_l0{way}"
        for way in ("", "_reverse")
        for kind in ("ih", "hh", "hr")
    ]
    attention = [f"attention.{kind}_weight" for kind in ("q_proj", "k_proj", "v_proj")]
    assert sorted(names) == sorted(
        [
            "plain.weight", "pruned.weight_orig", "spectral.parametrizations.weight.original",
            "attention.out_proj.weight", *recurrent, *attention,
        ]
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_an_optimizer_takes_the_step_of_torch_s_own(kind):
    """With weight decay, in which the two differ; over the stages that learn alone."""
    system, other = full_system(), full_system()
    config = _settings(optimizer=kind, weight_decay=0.3, stages=("classifier",), learning_rate=0.01)
    ours = make_optimizer(system, config)
    weights = [p for p in other.classifier.parameters() if p.ndim > 1]
    rest = [p for p in other.classifier.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}]
    theirs = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind](groups, lr=0.01)
    held = {id(p) for group in ours.param_groups for p in group["params"]}
    assert held == {id(p) for p in system.classifier.parameters()}
    for step in range(3):
        for mine, its in zip(system.parameters(), other.parameters(), strict=True):
            mine.grad = its.grad = torch.full_like(mine, 0.1 * (step + 1))
        ours.step()
        theirs.step()
    torch.testing.assert_close(_state(system), _state(other), rtol=1e-6, atol=1e-7)


def _steps(system, optimizer, count):
    """So many, each with other gradients."""
    for step in range(count):
        for number, parameter in enumerate(system.parameters()):
            parameter.grad = torch.full_like(parameter, 0.1 * (step + 1) + 0.01 * number)
        optimizer.step()


def test_a_state_by_names_is_that_of_torch_in_any_order_of_memory():
    """Restored into weights of another layout, the next steps are the same to the bit."""
    system, config = full_system(), _settings(learning_rates={"codec": 1e-4}, weight_decay=0.1)
    optimizer = make_optimizer(system, config)
    names = [*optimised(optimizer, system)]
    assert state_by_name(optimizer, names) == {}
    _steps(system, optimizer, 3)
    kept = {name: tensor.clone() for name, tensor in state_by_name(optimizer, names).items()}
    weight = dict(system.named_parameters())["classifier.net.0.weight"]
    assert torch.equal(kept["classifier.net.0.weight.exp_avg"], optimizer.state[weight]["exp_avg"])
    assert len(kept) == 3 * len(names)  # two moments, and the count of the steps

    other = full_system(seed=1)
    for parameter in other.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    other.load_state_dict(system.state_dict())
    again = make_optimizer(other, config)
    assert [*optimised(again, other)] == names
    restore_state(again, names, dict(reversed(kept.items())))
    for parameter, slots in again.state.items():
        assert slots["exp_avg"].stride() == parameter.stride()
    _steps(system, optimizer, 2)
    _steps(other, again, 2)
    assert _same(_state(system), _state(other))


def test_what_learns_is_named_as_the_optimizer_counts_it():
    system = full_system()
    system.codec.requires_grad_(False)
    optimizer = make_optimizer(system, _settings(stages=("front_end", "codec", "classifier")))
    held = [p for group in optimizer.param_groups for p in group["params"]]
    named, found = dict(system.named_parameters()), optimised(optimizer, system)
    assert all(named[name] is p for name, p in found.items())
    assert [id(p) for p in found.values()] == [id(p) for p in held]
    assert {name.partition(".")[0] for name in found} == {"front_end", "classifier"}


def test_where_nothing_learns_it_says_so():
    system = full_system()
    system.classifier.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train: the stages classifier have no train"):
        make_optimizer(system, _settings(stages=("classifier",)))
