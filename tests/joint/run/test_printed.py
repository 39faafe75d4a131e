"""Settings are read from what a module prints of itself, layer by layer."""

import pytest
import torch
from torch import nn

import classify
import compress
import joint
import optics
from joint.run.printed import differing, printed_stage


def _system(codec):
    net = classify.backbone("resnet_s", 3, image_size=(16, 16))
    return joint.ImagingSystem(codec=codec, classifier=net)


@pytest.mark.parametrize("codec", [compress.FactorizedCodec(), compress.JPEG(50)])
def test_a_stage_is_found_in_its_system(codec):
    printed = printed_stage(repr(_system(codec)), "codec")
    assert repr(codec).startswith(printed)
    assert differing(printed, codec) is None
    assert printed_stage(repr(_system(None)), "codec") is None


def _at(quality):
    codec = compress.FactorizedCodec()
    codec.quality = quality
    return codec


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        (compress.JPEG(50), compress.JPEG(90), "quality=50 there, quality=90 here"),
        (_at(0), _at(None), "quality=0 there, not set here"),
        (_at(None), _at(0), None),  # of several, any may be chosen
        (compress.Autoencoder(3), compress.Autoencoder(3.0), None),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.GELU()), "0: ReLU there, GELU here"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=(1, 1))),
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=(1, 0))),
            "0: padding=(1, 1) there, padding=(1, 0) here",
        ),
        (nn.Dropout(0.5), nn.Dropout(0.1), None),  # how it learns
        (nn.Sequential(nn.Dropout(0.5)), nn.Sequential(nn.Identity()), None),
        (nn.Sequential(nn.Dropout(0.5)), nn.Sequential(), None),
        (nn.Sequential(nn.ReLU()), nn.Sequential(), "0: ReLU there, none here"),
        (nn.Sequential(), nn.Sequential(nn.ReLU()), None),
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
        (compress.DifferentiableJPEG(75), compress.DifferentiableJPEG(75, trainable=True), None),
        (nn.Sequential(nn.ReLU()), nn.ReLU(inplace=True), "Sequential there, ReLU here"),
    ],
)
def test_the_first_differences_are_named(theirs, ours, told):
    assert differing(repr(theirs), ours) == told


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        ({}, {}, None),
        ({}, {"automatic_gain": False}, "not set there, automatic_gain=False here"),
        ({"automatic_gain": False}, {}, "automatic_gain=False there, not set here"),
        ({"cfa": "rggb"}, {"cfa": "rggb"}, None),
        ({"cfa": "rggb"}, {"cfa": "bggr"}, "cfa: rg/gb there, bg/gr here"),
        ({"cfa": "rggb"}, {}, "cfa: ColourFilterArray there, none here"),
        ({}, {"cfa": "rggb"}, "cfa: none there, ColourFilterArray here"),
        (
            {"cfa": "rggb"},
            {"cfa": "rggb", "cfa_channels": "bgr", "demosaicing": "malvar"},
            "cfa: channels='rgb' there, channels='bgr' here; "
            "cfa: method='bilinear' there, method='malvar' here",
        ),
    ],
)
def test_both_sides_of_a_sensor_are_compared(theirs, ours, told):
    sensor = optics.Sensor(2000, **ours)
    printed = repr(joint.ImagingSystem(sensor=optics.Sensor(2000, **theirs)))
    assert differing(printed_stage(printed, "sensor"), sensor, both=True) == told


def test_how_a_stage_learns_and_what_its_weights_say_is_no_difference():
    frozen, free = (
        classify.backbone("resnet_s", 3, image_size=(16, 16), frozen=layer)
        for layer in ("stem", None)
    )
    assert repr(frozen) != repr(free)
    assert differing(repr(frozen), free) is None
    shutters = [
        optics.CodedExposure(torch.tensor(code), motion=1.0, trainable=False)
        for code in ([1.0, 0.0, 1.0], [1.0, 1.0, 1.0])
    ]
    assert differing(repr(shutters[0]), shutters[1]) is None


def test_where_weights_lie_is_no_difference():
    codec = compress.FactorizedCodec()
    on_gpu = repr(codec).replace("32x3x1]", "32x3x1 (cuda:0)]")  # as torch prints a list there
    assert on_gpu != repr(codec)
    assert differing(on_gpu, codec) is None


def test_what_a_later_version_says_besides_is_no_difference():
    class Later(nn.Conv2d):
        def extra_repr(self):
            return f"{super().extra_repr()}, rounding='up'"

    Later.__name__ = "Conv2d"
    later = nn.Sequential(Later(3, 3, 3))
    assert differing(repr(nn.Sequential(nn.Conv2d(3, 3, 3))), later) is None
    assert differing(repr(later), nn.Sequential(nn.Conv2d(3, 3, 3))) is None
