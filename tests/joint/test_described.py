"""Kinds and settings of modules are held as JSON, and compared."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import classify
import compress
import joint
import optics
from joint.described import _shown, described, differing, part_of


def _net(**options):
    return classify.backbone("resnet_s", 3, image_size=(16, 16), **options)


def _loaded(theirs, ours):
    """Differences once the module is trained."""
    return differing(described(theirs), described(ours), learning=False)


def _resumed(theirs, ours):
    """Differences for a run that goes on, of which one is in a file."""
    return differing(json.loads(json.dumps(described(theirs))), described(ours), learning=True)


def test_a_stage_is_found_in_its_system():
    codec = compress.FactorizedCodec()
    whole = described(joint.ImagingSystem(codec=codec, classifier=_net()))
    assert part_of(whole, "codec") == described(codec)
    assert part_of(whole, "sensor") == part_of(whole, "code") == {}
    sensor = described(optics.Sensor())
    assert differing({}, sensor, learning=False) == "none there, Sensor here"
    assert differing(sensor, {}, learning=False) == "Sensor there, none here"


def _at(quality):
    codec = compress.FactorizedCodec()
    codec.quality = quality
    return codec


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        (compress.JPEG(50), compress.JPEG(90), "quality=50 there, quality=90 here"),
        (_at(0), _at(None), "quality=0.0 there, quality=None here"),
        (_at(None), _at(0), None),  # of several, any may be chosen
        (compress.Autoencoder(3), compress.Autoencoder(3.0), None),
        (compress.DifferentiableJPEG(50), compress.DifferentiableJPEG(60),
         "quality=50 there, quality=60 here"),
        (compress.DifferentiableJPEG(75), compress.DifferentiableJPEG(75, trainable=True), None),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.GELU()), "0: ReLU there, GELU here"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=(1, 1))),
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=(1, 0))),
            "0: padding=[1, 1] there, padding=[1, 0] here",
        ),
        (nn.Dropout(0.5), nn.Dropout(0.1), None),  # how it learns
        (nn.Sequential(nn.Dropout(0.5)), nn.Sequential(nn.Identity()), None),
        (nn.Sequential(nn.Dropout(0.5)), nn.Sequential(), None),
        (nn.Sequential(nn.ReLU()), nn.Sequential(), "0: ReLU there, none here"),
        (nn.Sequential(), nn.Sequential(nn.ReLU()), "0: none there, ReLU here"),
        (
            nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()), nn.LeakyReLU(0.1)),
            nn.Sequential(nn.GELU(), nn.GELU(), nn.LeakyReLU(0.2)),
            "0: ReLU there, GELU here; 1: Sequential there, GELU here; "
            "2: negative_slope=0.1 there, negative_slope=0.2 here",
        ),
        (
            nn.Sequential(*[nn.ReLU()] * 6),
            nn.Sequential(),
            "; ".join(f"{place}: ReLU there, none here" for place in range(4)) + "; and 2 more",
        ),
        (nn.Sequential(nn.ReLU()), nn.ReLU(inplace=True), "Sequential there, ReLU here"),
        (nn.ReLU(), nn.ReLU(inplace=True), None),
        (
            optics.Sensor(2000, cfa="rggb"),
            optics.Sensor(2000, cfa="rggb", cfa_channels="bgr", demosaicing="malvar"),
            "cfa: channels='rgb' there, channels='bgr' here; "
            "cfa: method='bilinear' there, method='malvar' here",
        ),
        (optics.Sensor(2000, cfa="rggb"), optics.Sensor(2000),
         "cfa: ColourFilterArray there, none here"),
        (optics.Sensor(2000), optics.Sensor(2000, automatic_gain=False),
         "automatic_gain=True there, automatic_gain=False here"),
    ],
)  # fmt: skip
def test_the_first_differences_are_named(theirs, ours, told):
    assert _loaded(theirs, ours) == told


def test_numbers_are_compared_to_nine_digits():
    gain, near = 1.23456789, 1.23456788
    sensors = [optics.Sensor(2000, gain=value) for value in (gain, near)]
    assert _resumed(*sensors) == f"gain={gain!r} there, gain={near!r} here"
    # The last digits of what is computed from settings differ between machines.
    assert _resumed(sensors[0], optics.Sensor(2000, gain=math.nextafter(gain, 2))) is None


class _GeM(nn.Module):
    def __init__(self, p=3.0, momentum=0.1):
        super().__init__()
        self.p, self.momentum = p, momentum


def test_only_of_some_types_a_setting_is_one_of_learning():
    told = "p=3.0 there, p=1.0 here; momentum=0.1 there, momentum=0.2 here"
    assert _loaded(_GeM(), _GeM(1.0, 0.2)) == told
    for theirs, ours, name in (
        (nn.BatchNorm2d(3), nn.BatchNorm2d(3, momentum=0.2), "momentum=0.1 there"),
        (nn.Dropout(0.5), nn.Dropout(0.1), "p=0.5 there"),
        (compress.FactorizedCodec(), compress.FactorizedCodec(proxy="noise"), "proxy='mixed'"),
        (_at(None), _at(0), "quality=None there"),
        (_net(frozen="stem"), _net(), "frozen='stem'"),
    ):
        assert _loaded(theirs, ours) is None
        assert name in _resumed(theirs, ours)


class _Told(nn.Module):
    def __init__(self, sigma, far=1.0):
        super().__init__()
        self._width = 2 * sigma
        self._far = far
        self._calls = 0
        self.cached = torch.zeros(3)

    def extra_repr(self):
        return f"sigma={self._width / 2}"


def test_what_a_module_of_another_package_says_counts():
    assert _resumed(_Told(1.0), _Told(2.0)) == (
        "extra_repr='sigma=1.0' there, extra_repr='sigma=2.0' here"
    )
    assert _resumed(_Told(1.0), _Told(1.0, far=math.inf)) == "far=1.0 there, far='inf' here"
    assert {*described(_Told(1.0))[""]["settings"]} == {"far", "extra_repr"}


def test_settings_with_other_names_are_told_apart():
    masks = [
        optics.CubicMask(
            32, spacing=1e-5, diameter=diameter, alpha=3.0, design_wavelength=5e-7
        )
        for diameter in (3e-4, 2e-4)
    ]  # fmt: skip
    assert "diameter=0.0003 m" in _loaded(*masks)


class _Tilted(nn.Module):
    def __init__(self, tilts, device=None):
        super().__init__()
        self.register_buffer("tilts", torch.tensor(tilts, device=device), persistent=False)
        self._end = ")"

    def extra_repr(self):
        return str(self.tilts).removesuffix(")") + self._end


def test_a_tensor_that_is_told_is_the_same_on_another_device():
    tilts = _Tilted([0.125] * 40)
    there = described(tilts)
    # As on a GPU, where the last line may be too long for it.
    tilts._end = ",\n       device='cuda:0')"
    assert f"{tilts.extra_repr()}".endswith("0.1250],\n       device='cuda:0')")
    assert differing(there, described(tilts), learning=True) is None
    assert "device" not in described(_Tilted([0.125], "meta"))[""]["settings"]["extra_repr"]
    assert "0.1250" in str(_resumed(tilts, _Tilted([0.25] * 40)))


class _Holding(nn.Module):
    def __init__(self, held):
        super().__init__()
        self.held = held


@pytest.mark.parametrize(
    ("there", "here", "told"),
    [
        ({"a": 0.1 + 0.2}, {"a": 0.3}, None),
        ({"a": 0.3}, {"b": 0.3}, "held={'a': 0.3} there, held={'b': 0.3} here"),
        ({1: 0.5}, {1: 0.6}, "held={'1': 0.5} there, held={'1': 0.6} here"),
        (
            {1: 2, "1": 3},
            {1: 4, "1": 3},
            "held=[['1', 3], [1, 2]] there, held=[['1', 3], [1, 4]] here",
        ),
        ({1: 2, "1": 3}, {"1": 3, 1: 2}, None),
        (np.True_, np.False_, "held=True there, held=False here"),
        (1 + 2j, 1 + 3j, "held=[1.0, 2.0] there, held=[1.0, 3.0] here"),
        ({"b", "a"}, {"a", "b"}, None),
        ({"b", "a"}, {"a", "c"}, "held=['a', 'b'] there, held=['a', 'c'] here"),
        (torch.float32, torch.float64, "held='torch.float32' there, held='torch.float64' here"),
        (torch.zeros(3), torch.ones(3), None),  # a tensor is no setting
    ],
)
def test_what_counts_as_a_setting(there, here, told):
    assert _resumed(_Holding(there), _Holding(here)) == told


def test_the_normalisation_of_a_classifier_is_a_setting():
    theirs, ours = _net(), _net()
    theirs.mean.fill_(0.25)
    ours.mean.fill_(0.75)
    assert _loaded(theirs, ours) == ("mean=[0.25, 0.25, 0.25] there, mean=[0.75, 0.75, 0.75] here")
    ours = _net()
    ours.mean.fill_(0.25)
    ours.deviation *= 2
    assert _loaded(theirs, ours).startswith("deviation=[")


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_a_classifier_is_the_same_in_half_precision(precision):
    theirs, ours, other = _net(), _net().to(precision), _net()
    assert not torch.equal(ours.mean.float(), theirs.mean)
    assert _loaded(theirs, ours) is None
    other.deviation *= 1.01
    assert _loaded(ours, other).startswith("deviation=[")


def test_a_value_with_commas_is_left_out_whole():
    class Centred(nn.Module):
        def extra_repr(self):
            return "n=3, centre=((1, 2), [3, 4]), f(a, b), momentum={'a': 1, 'b': 2}"

    told = _shown(Centred(), ("centre", "momentum", "other"))
    assert told == "n=3, f(a, b)"
    assert _shown(Centred(), ("n",)).startswith(", centre=((1, 2), [3, 4]), f(a, b)")


def test_where_a_net_of_timm_is_from_is_no_setting():
    class Net(nn.Module):
        def __init__(self, url, width=8):
            super().__init__()
            self.pretrained_cfg = self.default_cfg = {"url": url, "crop_pct": 0.95}
            self.width = width

    assert "pretrained_cfg={" in str(_resumed(Net("a"), Net("b")))
    Net.__module__ = "timm.models.net"
    assert _resumed(Net("a"), Net("b")) is None
    assert _resumed(Net("a"), Net("a", 16)) == "width=8 there, width=16 here"


def test_limits_of_the_penalty_of_a_lens_are_of_learning():
    surfaces = [
        optics.Surface(20.0, 4e-3, "n_bk7", 5e-3, stop=True),
        optics.Surface(-20.0, 40e-3),
    ]
    theirs, ours = (optics.CompoundLens(surfaces, centre=least) for least in (1e-3, 2e-3))
    assert _loaded(theirs, ours) is None
    assert "centre=" in _resumed(theirs, ours)


def test_a_setting_that_one_version_alone_knows_is_no_difference():
    old, new = described(nn.Conv2d(3, 3, 3)), described(nn.Conv2d(3, 3, 3))
    new[""]["settings"]["rounding"] = "up"
    for learning in (False, True):
        assert differing(old, new, learning=learning) is None
        assert differing(new, old, learning=learning) is None


def test_use_and_place_of_a_module_are_none_of_its_settings():
    system = joint.ImagingSystem(
        sensor=optics.Sensor(2000, cfa="rggb"), codec=compress.FactorizedCodec(), classifier=_net()
    )
    before = described(system)
    system(torch.rand(2, 3, 16, 16)).logits.sum().backward()
    system.eval()(torch.rand(2, 3, 16, 16))
    system.classes = ("a", "b", "c")
    assert described(system) == before
    assert differing(before, described(system.to("meta")), learning=True) is None
